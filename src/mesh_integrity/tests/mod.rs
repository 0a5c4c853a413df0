//! Tests of each check with a set of objects that violates it, and a correct one.

mod incremental;
mod istio_says;

use super::{Engine, Object, Options, assumed, correct_mesh};
use crate::documents::parse;

/// Returns the engine over the objects of a text.
pub(super) fn engine(text: &str) -> Engine {
    Engine::new(Options::default(), objects(text)).unwrap()
}

pub(in crate::mesh_integrity) fn objects(text: &str) -> Vec<Object> {
    let documents = parse("f.yaml", text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    documents.iter().filter_map(|document| Object::read(&document.value, "default")).collect()
}

/// Returns the findings as `CODE resource: message`.
pub(super) fn found(text: &str) -> Vec<String> {
    let engine = engine(text);
    engine.findings().iter().map(|f| format!("{} {} {}: {}", f.code, f.severity, f.resource, f.message)).collect()
}

/// Returns a Service of a name and ports in `shop`.
pub(super) fn service(name: &str, ports: &[u32]) -> String {
    let ports: Vec<String> = ports.iter().map(|port| format!("{{name: http-{port}, port: {port}}}")).collect();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{ports: [{}]}}\n---\n",
        ports.join(", ")
    )
}

/// Returns an object of Istio in a namespace.
pub(in crate::mesh_integrity) fn istio(kind: &str, namespaced: &str, spec: &str) -> String {
    let (namespace, name) = namespaced.split_once('/').unwrap();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"
    )
}

#[test]
fn the_six_relations_are_told_in_the_words_of_the_operator() {
    let gateway = "{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.com]}]}";
    let routes = |gateway: &str, host: &str, to: &str| {
        format!(
            "{{hosts: [{host}], gateways: [{gateway}], http: [{{route: [{{destination: {{host: {to}, port: {{number: 80}}}}}}]}}]}}"
        )
    };
    let entry = "{hosts: [db.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}";
    let other_port = entry.replace("443", "444");
    let base = service("web", &[80]) + &istio("Gateway", "shop/public", gateway);
    for (objects, expected) in [
        (
            istio("VirtualService", "shop/a", &routes("edge", "a.com", "web")),
            vec!["IST0101 Error VirtualService/shop/a: References non-existent Gateway/shop/edge"],
        ),
        (
            istio("VirtualService", "shop/a", &routes("public", "a.com", "api")),
            vec!["IST0101 Error VirtualService/shop/a: References non-existent Service/shop/api"],
        ),
        (
            istio("DestinationRule", "shop/a", "{host: api}"),
            vec!["IST0174 Error DestinationRule/shop/a: References non-existent Service/shop/api"],
        ),
        (
            istio("ServiceEntry", "shop/a", entry) + &istio("ServiceEntry", "shop/b", entry),
            vec![
                "OUT0101 Error Service/* (host: db.com, port: 443): Duplicate host:port combination: db.com:443 (2 services)",
                "OUT0102 Warning Service/* (host: db.com): Multiple services share the same host: db.com (2 services)",
            ],
        ),
        (
            istio("ServiceEntry", "shop/a", entry) + &istio("ServiceEntry", "shop/b", &other_port),
            vec![
                "OUT0102 Warning Service/* (host: db.com): Multiple services share the same host: db.com (2 services)",
            ],
        ),
        (
            istio("VirtualService", "shop/a", &routes("public", "a.com", "web"))
                + &istio("VirtualService", "shop/b", &routes("shop/public", "a.com", "web")),
            vec![
                "KIA1106 Error VirtualService/* (host: a.com, gateway: shop/public): Multiple VirtualServices define the same host a.com for Gateway shop/public (2 vs)",
            ],
        ),
        (
            istio("VirtualService", "shop/a", &routes("mesh", "web", "web"))
                + &istio("VirtualService", "shop/b", &routes("mesh", "web.shop.svc.cluster.local", "web")),
            vec![
                "IST0109 Error VirtualService/* (host: web.shop.svc.cluster.local, gateway: mesh): Multiple VirtualServices define the same host web.shop.svc.cluster.local for Gateway mesh (2 vs)",
            ],
        ),
        (
            istio("VirtualService", "shop/a", &routes("public", "a.com", "web"))
                + &istio("DestinationRule", "shop/a", "{host: web}"),
            vec![],
        ),
    ] {
        assert_eq!(found(&(base.clone() + &objects)), expected, "{objects}");
    }
}

#[test]
fn nothing_is_said_of_a_correct_mesh_of_500_services() {
    let objects = assumed().unwrap().into_iter().chain(objects(&correct_mesh(500)));
    let engine = Engine::new(Options::default(), objects).unwrap();
    assert_eq!(engine.findings(), []);
}

/// Checks that `wrong` has a finding, and `right` has none.
#[track_caller]
fn repaired(objects: &str, wrong: &str, right: &str, code: &str) {
    assert!(objects.contains(wrong), "{wrong} is not in\n{objects}");
    let told = found(objects);
    assert!(told.iter().any(|finding| finding.starts_with(code)), "{code} in\n{objects}\n{told:#?}");
    let told = found(&objects.replace(wrong, right));
    assert!(!told.iter().any(|finding| finding.starts_with(code)), "{wrong} -> {right}\n{objects}\n{told:#?}");
}

fn pod(namespaced: &str, labels: &str) -> String {
    let (namespace, name) = namespaced.split_once('/').unwrap();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}\nspec: {{containers: [{{name: app, ports: [{{name: web, containerPort: 80}}]}}]}}\n---\n"
    )
}

/// Returns a VirtualService of the host `web`.
fn routes(name: &str, rest: &str, destination: &str) -> String {
    let spec = format!("{{hosts: [web], {rest} http: [{{route: [{{destination: {{{destination}}}}}]}}]}}");
    istio("VirtualService", name, &spec)
}

#[test]
fn references_that_lead_nowhere_are_told_until_they_are_repaired() {
    let web = service("web", &[80, 81]);
    let rule = istio("DestinationRule", "shop/web", "{host: web, subsets: [{name: v1, labels: {version: v1}}]}");
    let to = |destination: &str| web.clone() + &rule + &routes("shop/web", "", destination);
    repaired(&to("host: web, port: {number: 90}"), "number: 90", "number: 81", "IST0101");
    repaired(&to("host: web"), "host: web}}", "host: web, port: {number: 80}}}", "IST0112");
    repaired(&to("host: web, subset: v3, port: {number: 80}"), "subset: v3", "subset: v1", "IST0101");
    repaired(&to("host: web.shop, port: {number: 80}"), "web.shop,", "web.shop.svc.cluster.local,", "IST0101");
    let hidden = web.replace("namespace: shop}", "namespace: shop, annotations: {networking.istio.io/exportTo: '.'}}");
    let far = routes("other/web", "", "host: web.shop.svc.cluster.local, port: {number: 80}");
    repaired(&(hidden + &far), "exportTo: '.'", "exportTo: '*'", "IST0101");
    let elsewhere = to("host: web, subset: v1, port: {number: 80}").replace(
        &rule,
        &rule.replace("namespace: shop", "namespace: third").replace("host: web", "host: web.shop.svc.cluster.local"),
    );
    repaired(&elsewhere, "namespace: third", "namespace: istio-system", "OUT0103");
}

#[test]
fn the_root_namespace_and_wildcards_define_subsets_and_hosts() {
    let web = service("web", &[80]);
    let rule = "{host: '*.shop.svc.cluster.local', subsets: [{name: v1, labels: {version: v1}}]}";
    let entry = "{hosts: ['*.example.com'], ports: [{number: 443, name: tls, protocol: TLS}], resolution: NONE}";
    let rule = istio("DestinationRule", "istio-system/all", rule);
    let entry = istio("ServiceEntry", "shop/all", entry);
    let to = |to: &str| routes("shop/web", "", to);
    assert_eq!(found(&(web.clone() + &rule + &to("host: web, subset: v1, port: {number: 80}"))), [""; 0]);
    assert_eq!(found(&(web + &entry + &to("host: api.example.com"))), [""; 0]);
}

#[test]
fn gateways_are_judged_with_their_pods_and_services() {
    let server = |port: u32, host: &str| {
        format!("{{port: {{number: {port}, name: http-{host}, protocol: HTTP}}, hosts: ['{host}']}}")
    };
    let gateway = |name: &str, servers: &str| {
        istio("Gateway", name, &format!("{{selector: {{app: edge}}, servers: [{servers}]}}"))
    };
    let selecting = service("edge", &[80, 443]).replace("spec: {", "spec: {selector: {app: edge}, ");
    let edge = pod("shop/edge", "app: edge") + &selecting;
    let base = |servers: &str| edge.clone() + &gateway("shop/public", servers);
    repaired(&base(&server(80, "a.com")).replace("edge}, servers", "edges}, servers"), "edges", "edge", "IST0101");
    repaired(&base(&server(8443, "a.com")), "number: 8443", "number: 80", "IST0162");
    let two = base(&server(80, "a.com")) + &gateway("shop/other", &server(80, "a.com"));
    repaired(&two, "name: other", "name: public", "IST0145");
    let both = base(&format!("{}, {}", server(80, "a.com"), server(80, "*.com")));
    repaired(&both, "*.com']", "*.org']", "KIA0301");
    let https = |host: &str, port: u32| {
        format!(
            "{{port: {{number: {port}, name: https, protocol: HTTPS}}, hosts: [{host}], tls: {{mode: SIMPLE, credentialName: c}}}}"
        )
    };
    let mixed = base(&format!("{}, {}", server(80, "a.com"), https("b.com", 80)));
    repaired(&mixed, "number: 80, name: https", "number: 443, name: https", "OUT0108");
    let web = service("web", &[80]);
    let bound = base(&server(80, "a.com")) + &web + &routes("shop/web", "gateways: [public],", "host: web");
    repaired(&bound, "hosts: [web]", "hosts: [a.com]", "IST0132");
    let to = "route: [{destination: {host: web}}]";
    let of_mesh = format!("{{hosts: [a.com], gateways: [public], http: [{{match: [{{gateways: [mesh]}}], {to}}}]}}");
    let of_mesh = base(&server(80, "a.com")) + &web + &istio("VirtualService", "shop/web", &of_mesh);
    repaired(&of_mesh, "[{gateways: [mesh]}]", "[{gateways: [public]}]", "OUT0106");
    let claim = format!(
        "{{hosts: [a.com], gateways: [public], http: [{{match: [{{headers: {{'@request.auth.claims.sub': {{exact: a}}}}}}], {to}}}]}}"
    );
    let policy = "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: jwt, namespace: shop}\nspec: {selector: {matchLabels: {app: none}}}\n---\n";
    let claim = base(&server(80, "a.com")) + &web + &istio("VirtualService", "shop/web", &claim) + policy;
    repaired(&claim, "{app: none}", "{app: edge}", "IST0149");
    let certified = edge + &gateway("shop/a", &https("a.com", 443)) + &gateway("shop/b", &https("b.com", 443));
    repaired(&certified, "name: b,", "name: a,", "IST0138");
    let generated =
        web.clone() + &routes("shop/web", "gateways: [x-istio-autogenerated-k8s-gateway-http],", "host: web");
    repaired(&generated, "x-istio-autogenerated-k8s-gateway-http", "mesh", "IST0165");
    let ruled =
        web + &routes("shop/a", "", "host: web, subset: v1") + &routes("shop/b", "gateways: [public],", "host: web");
    repaired(&ruled, "{host: web}", "{host: web, subset: v1}", "IST0140");
}

/// Istio merges the routes of a gateway's host.
#[test]
fn routes_of_a_gateway_may_stand_in_several_objects_if_no_request_is_of_two() {
    let server = "{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.com]}";
    let base = service("web", &[80])
        + &istio("Gateway", "shop/public", &format!("{{selector: {{istio: ingressgateway}}, servers: [{server}]}}"));
    let routes = |name: &str, matches: &str| {
        let route = format!("{{{matches} route: [{{destination: {{host: web}}}}]}}");
        istio("VirtualService", name, &format!("{{hosts: [a.com], gateways: [public], http: [{route}]}}"))
    };
    let one = base + &routes("shop/one", "match: [{uri: {prefix: /one}}],");
    assert_eq!(found(&(one.clone() + &routes("shop/rest", ""))), [""; 0]);
    let same = one.clone() + &routes("shop/two", "match: [{name: b, uri: {prefix: /one}}],");
    repaired(&same, "b, uri: {prefix: /one}", "b, uri: {prefix: /two}", "KIA1106");
    let all = one + &routes("shop/two", "match: [{uri: {prefix: /}}],") + &routes("shop/three", "");
    let told = found(&all);
    assert!(matches!(&told[..], [only] if only.starts_with("KIA1106") && only.ends_with("(2 vs)")), "{told:?}");
}

#[test]
fn the_oldest_is_named_where_it_is_known() {
    let routes = |name: &str, created: &str| {
        istio("VirtualService", name, "{hosts: [a.com], http: [{directResponse: {status: 200}}]}")
            .replace("metadata: {", &format!("metadata: {{creationTimestamp: '{created}', "))
    };
    let advice = |text: &str| engine(text).findings()[0].advice.clone();
    let old = routes("shop/old", "2020-01-01T00:00:00Z");
    assert!(advice(&(old.clone() + &routes("shop/anew", ""))).starts_with("only VirtualService/shop/old counts"));
    assert!(advice(&(old + &routes("shop/anew", "2019-01-01T00:00:00Z"))).starts_with("only VirtualService/shop/anew"));
    let unknown = routes("shop/a", "") + &routes("shop/b", "");
    assert!(advice(&unknown).starts_with("only the oldest counts"));
}

#[test]
fn whatever_has_a_template_of_pods_is_a_workload() {
    let selecting = service("web", &[80]).replace("spec: {", "spec: {selector: {app: web}, ");
    let rule = istio("DestinationRule", "shop/web", "{host: web, subsets: [{name: v1, labels: {version: v1}}]}");
    let rollout = "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: web, namespace: shop}\nspec: {template: {metadata: {labels: {app: web, version: v1}}, spec: {containers: [{name: app}]}}}\n---\n";
    let text = selecting + &rule + rollout + &pod("shop/other", "app: other");
    assert_eq!(found(&text), [""; 0]);
    repaired(
        &text.replace("kind: Rollout", "kind: Policy").replace("template", "tmplate"),
        "tmplate",
        "template",
        "IST0173",
    );
}

#[test]
fn sidecars_are_judged_with_their_pods_and_what_they_import() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n";
    let web = service("web", &[80]) + &pod("shop/web", "app: web, version: v1") + namespace;
    let sidecar = |name: &str, selector: &str, host: &str| {
        istio("Sidecar", name, &format!("{{{selector} egress: [{{hosts: [{host}]}}]}}"))
    };
    let selecting = |labels: &str| format!("workloadSelector: {{labels: {{{labels}}}}},");
    let one = |host: &str| web.clone() + &sidecar("shop/a", "", host);
    repaired(&one("./api.shop.svc.cluster.local"), "./api.", "./web.", "KIA1004");
    repaired(&one("'shops/*'"), "shops/*", "shop/*", "KIA1004");
    repaired(&one("'*/*.example.com'"), "*/*.example.com", "*/*.shop.svc.cluster.local", "KIA1004");
    repaired(&(one("'./*'") + &sidecar("shop/b", "", "'./*'")), "name: b", "name: a", "IST0111");
    let first = web.clone() + &sidecar("shop/a", &selecting("app: web"), "'./*'");
    let pair = first.clone() + &sidecar("shop/b", &selecting("version: v1"), "'./*'");
    repaired(&pair, "labels: {version: v1}}, egress", "labels: {version: v2}}, egress", "IST0110");
    repaired(&first.replace("{app: web}}, egress", "{app: api}}, egress"), "app: api", "app: web", "IST0101");
    let root = sidecar("istio-system/a", &selecting("app: web"), "'./*'");
    repaired(&root, "workloadSelector: {labels: {app: web}}, ", "", "KIA1006");
    let unsaid = istio("Sidecar", "shop/a", "{outboundTrafficPolicy: {}}");
    repaired(&unsaid, "Policy: {}", "Policy: {mode: ALLOW_ANY}", "KIA1007");
    let private = routes("shop/web", "exportTo: ['.'],", "host: web") + &one("'istio-system/*'");
    repaired(&private, "istio-system/*", "./*", "OUT0109");
    let from = "{hosts: [web], http: [{match: [{sourceNamespace: far}], route: [{destination: {host: web}}]}]}";
    let from = web.clone() + &istio("VirtualService", "shop/web", from) + &sidecar("far/a", "", "'./*'");
    repaired(&from, "'./*'", "'shop/*'", "OUT0109");
}

#[test]
fn services_subsets_and_exports_are_judged_with_their_workloads() {
    let selecting = |name: &str| service(name, &[80]).replace("spec: {", "spec: {selector: {app: web}, ");
    let web = pod("shop/web", "app: web, version: v1") + &selecting("web");
    repaired(&web.replace("selector: {app: web}", "selector: {app: api}"), "app: api", "app: web", "OUT0107");
    repaired(&web.replace("port: 80}]}\n---", "port: 80, targetPort: wab}]}\n---"), "wab", "web", "KIA0701");
    repaired(&web.replace("name: http-80", "name: front"), "name: front", "name: http", "IST0118");
    let rule = |name: &str, spec: &str| istio("DestinationRule", name, &format!("{{host: web, {spec}}}"));
    let of = |spec: &str| web.clone() + &rule("shop/web", spec);
    repaired(&of("subsets: [{name: v1, labels: {version: v9}}]"), "version: v9", "version: v1", "IST0173");
    repaired(&of("subsets: [{name: v1}]"), "{name: v1}", "{name: v1, labels: {version: v1}}", "KIA0209");
    let twice = of("subsets: [{name: v1, labels: {version: v1}}]")
        + &rule("shop/more", "subsets: [{name: v1, labels: {version: v1}}]");
    repaired(&twice, "name: more, namespace: shop", "name: web, namespace: shop", "KIA0201");
    let tls =
        of("trafficPolicy: {tls: {mode: SIMPLE}, portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]}");
    repaired(&tls, "tls: {mode: SIMPLE}, port", "tls: {mode: SIMPLE, caCertificates: a}, port", "IST0128");
    repaired(&tls, "tls: {mode: SIMPLE}}]", "tls: {mode: SIMPLE, caCertificates: a}}]", "IST0129");
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: far}\n---\n";
    repaired(
        &(web.clone() + namespace + &routes("shop/web", "exportTo: [fer],", "host: web")),
        "fer]",
        "far]",
        "KIA0005",
    );
    repaired(&(web.clone() + &selecting("api").replace("http-80", "tcp-80")), "tcp-80", "http-80", "IST0116");
    let other_port = selecting("api").replace("{name: http-80, port: 80}", "{name: tcp-81, port: 81, targetPort: 80}");
    repaired(&(web.clone() + &other_port), "targetPort: 80", "targetPort: 82", "IST0137");
    let entry = |name: &str, protocol: &str| {
        istio(
            "ServiceEntry",
            name,
            &format!("{{hosts: [db.com], ports: [{{number: 80, name: p, protocol: {protocol}}}]}}"),
        )
    };
    repaired(&entry("shop/a", "TCP"), "hosts: [db.com]", "addresses: [192.0.2.1], hosts: [db.com]", "IST0134");
    repaired(&(entry("shop/a", "HTTP") + &entry("far/a", "TCP")), "protocol: TCP", "protocol: HTTP", "IST0177");
    let external = "apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: shop}\nspec: {type: ExternalName, externalName: x.com, ports: [{name: front, port: 443}]}\n";
    repaired(external, "name: front", "name: tls", "IST0150");
    let weight = "{hosts: [web], http: [{route: [{destination: {host: web}, weight: 50}]}]}";
    repaired(&(web.clone() + &istio("VirtualService", "shop/web", weight)), "weight: 50", "weight: 100", "KIA1104");
    let handing = istio("VirtualService", "shop/web", "{hosts: [web], http: [{delegate: {name: prt}}]}");
    let part = istio("VirtualService", "shop/part", "{http: [{route: [{destination: {host: web}}]}]}");
    repaired(&(web.clone() + &handing + &part), "name: prt", "name: part", "OUT0104");
    let hosted = part.replace("{http", "{hosts: [b.com], http");
    repaired(&(web + &handing.replace("prt", "part") + &hosted), "hosts: [b.com], ", "", "OUT0105");
}

/// Istio's rules apply to them as to its other kinds. Their targets are not looked up.
#[test]
fn policies_that_istio_refuses_are_told() {
    let policy =
        |kind: &str, spec: &str| istio(kind, "shop/it", spec).replace("networking.istio.io", "security.istio.io");
    for (kind, spec, expected) in [
        ("PeerAuthentication", "{mtls: {mode: STRICT}}", None),
        (
            "PeerAuthentication",
            "{portLevelMtls: {'80': {mode: DISABLE}}}",
            Some("IST0106 Error PeerAuthentication/shop/it: spec.portLevelMtls "),
        ),
        ("PeerAuthentication", "{selector: {}}", Some("IST0133 Warning PeerAuthentication/shop/it: spec.selector ")),
        ("AuthorizationPolicy", "{rules: [{}]}", None),
        (
            "AuthorizationPolicy",
            "{action: CUSTOM, rules: [{}]}",
            Some("IST0106 Error AuthorizationPolicy/shop/it: spec.provider.name "),
        ),
        ("AuthorizationPolicy", "{rule: [{}]}", Some("IST0106 Error AuthorizationPolicy/shop/it: spec.rule ")),
    ] {
        let found = found(&policy(kind, spec));
        let is_so = match expected {
            Some(start) => found.len() == 1 && found[0].starts_with(start),
            None => found.is_empty(),
        };
        assert!(is_so, "{kind} {spec}: {found:?}");
    }
}
