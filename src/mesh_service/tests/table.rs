//! Tests of each rule of the plan.

use super::{Fake, names, said, spec};
use crate::api::keys;
use crate::api::mesh_service::Severity;
use crate::mesh_service::{Key, MeshKind, violation};
use serde_json::json;

/// Returns a MeshService of the namespace `shop` with this spec, its Service `web` and its port 80.
pub(super) fn web(spec: &str) -> String {
    named("web", "", spec)
}

pub(super) fn named(name: &str, metadata: &str, spec: &str) -> String {
    format!(
        "kind: MeshService\nmetadata: {{name: {name}, {metadata}}}\nspec: {{serviceName: web, ports: [{{port: 80}}], {spec}}}\n---\n"
    )
}

const SERVICE: &str = "kind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}}\n---\n";

/// Allows objects of `shop` in a namespace.
pub(super) fn consenting(namespace: &str) -> String {
    format!("kind: Namespace\nmetadata: {{name: {namespace}, annotations: {{{}: shop}}}}\n---\n", keys::ALLOW_MESH_FROM)
}

pub(super) const EDGE: &str = "hosts: [web.example.com], gateway: {name: edge, namespace: istio-system}";

#[test]
fn the_smallest_mesh_service_routes_the_services_own_name() {
    let plan = Fake::of(&web("")).plan(0);
    assert_eq!(names(&plan), ["VirtualService shop/web-mesh"]);
    assert_eq!(
        *spec(&plan, MeshKind::VirtualService, "web-mesh"),
        json!({
            "hosts": ["web.shop.svc.cluster.local"],
            "http": [{
                "match": [{"port": 80}],
                "route": [{"destination": {"host": "web.shop.svc.cluster.local", "port": {"number": 80}}}],
            }],
        })
    );
    assert_eq!(said(&plan), [""; 0]);
}

#[test]
fn hosts_are_the_gateways_but_for_names_of_the_service() {
    for own in ["web", "web.shop", "web.shop.svc", "WEB.shop.svc.cluster.local"] {
        let fake = Fake::of(&(web(&format!("hosts: [a.com, {own}], gateway: {{name: edge}}")) + &consenting("x")));
        let plan = fake.plan(0);
        let hosts = |name| spec(&plan, MeshKind::VirtualService, name)["hosts"].clone();
        assert_eq!(hosts("/web".trim_start_matches('/')), json!(["a.com"]), "{own}");
        assert_eq!(hosts("web-mesh"), json!(["web.shop.svc.cluster.local"]), "{own}");
        assert_eq!(spec(&plan, MeshKind::VirtualService, "web")["gateways"], json!(["shop/edge"]));
    }
}

#[test]
fn a_host_that_leads_nowhere_is_told() {
    let plan = Fake::of(&web("hosts: [web.example.com, web]")).plan(0);
    assert_eq!(names(&plan), ["VirtualService shop/web-mesh"]);
    assert!(
        said(&plan)[0].starts_with("NoEffect: spec.hosts[0]: web.example.com is no name of the Service"),
        "{plan:?}"
    );
    let plan = Fake::of(&web("gateway: {name: edge}")).plan(0);
    assert!(said(&plan)[0].starts_with("NoEffect: spec.gateway: no host"), "{plan:?}");
}

/// Requests at the number of a port go there, all others to the first.
#[test]
fn several_ports_are_told_apart_by_their_numbers() {
    let ports = "hosts: [a.com], gateway: {name: edge}, ports: [{port: 8080}, {name: grpc, port: 9090}, {name: tls, port: 443}, {name: \
                 tcp-x, port: 5000}, {name: dns, port: 53, protocol: UDP}]";
    let yaml = format!("kind: MeshService\nmetadata: {{name: web}}\nspec: {{serviceName: web, {ports}}}\n");
    let plan = Fake::of(&yaml).plan(0);
    let of = |list: &str| spec(&plan, MeshKind::VirtualService, "web")[list].clone();
    let seen = |list: &str| {
        let routes = of(list).as_array().unwrap().clone();
        let seen = routes.iter().map(|route| {
            let to = route["route"][0]["destination"]["port"]["number"].as_i64().unwrap();
            (route["match"][0]["port"].as_i64(), to)
        });
        seen.collect::<Vec<_>>()
    };
    assert_eq!(seen("http"), [(Some(9090), 9090), (None, 8080)]);
    assert_eq!(seen("tls"), [(None, 443)]);
    assert_eq!(of("tls")[0]["match"][0]["sniHosts"], json!(["a.com"]));
    assert_eq!(seen("tcp"), [(Some(5000), 5000)]);
}

/// Istio applies a VirtualService of the mesh to all ports of its host. Ports that match no route are routed as if it did not exist.
#[test]
fn a_port_of_the_service_that_is_not_listed_is_not_routed_in_the_mesh() {
    let yaml =
        web("").replace("[{port: 80}]", "[{port: 80}, {port: 81}, {name: tls, port: 443}, {name: tls-1, port: 444}]");
    let plan = Fake::of(&yaml).plan(0);
    let spec = spec(&plan, MeshKind::VirtualService, "web-mesh");
    let ports = |list: &str| -> Vec<_> {
        spec[list].as_array().unwrap().iter().map(|route| route["match"][0]["port"].as_i64()).collect()
    };
    assert_eq!((ports("http"), ports("tls")), (vec![Some(80), Some(81)], vec![Some(443), Some(444)]));
}

/// One row for each port of a Service broke all checks of an earlier operator.
#[test]
fn m2_a_service_of_two_ports_is_like_any_other() {
    let yaml = web("ports: [{port: 80}, {port: 81}]").replacen("ports: [{port: 80}], ", "", 1);
    let plan = Fake::of(&(yaml + SERVICE)).plan(0);
    assert_eq!((names(&plan).len(), said(&plan).len()), (1, 0), "{plan:?}");
}

#[test]
fn requests_are_shared_out_by_weight() {
    let subsets = |weights: [&str; 2]| {
        let [v1, v2] = weights;
        let yaml = web(&format!("subsets: [{{name: v1, labels: {{v: a}} {v1}}}, {{name: v2, labels: {{v: b}} {v2}}}]"));
        Fake::of(&yaml).plan(0)
    };
    let routed = |weights| spec(&subsets(weights), MeshKind::VirtualService, "web-mesh")["http"][0]["route"].clone();
    let to = |subset: &str| json!({"host": "web.shop.svc.cluster.local", "port": {"number": 80}, "subset": subset});
    assert_eq!(
        routed([", weight: 90", ", weight: 10"]),
        json!([{"destination": to("v1"), "weight": 90}, {"destination": to("v2"), "weight": 10}])
    );
    assert_eq!(routed([", weight: 100", ""]), json!([{"destination": to("v1")}]));
    assert_eq!(routed(["", ""])[0]["destination"].get("subset"), None);
}

/// They would answer 503.
#[test]
fn no_routes_are_written_to_subsets_that_are_not() {
    let canary = "subsets: [{name: v1, labels: {v: a}, weight: 90}, {name: v2, labels: {v: b}, weight: 10 POLICY}]";
    let refused = canary.replace("POLICY", ", trafficPolicy: {loadBalancer: {simple: BEST}}");
    let left_out = canary.replace("POLICY", "");
    for (spec, kinds) in [(&refused, MeshKind::ALL.to_vec()), (&left_out, vec![MeshKind::VirtualService])] {
        let plan = Fake::of(&web(spec)).with(kinds).plan(0);
        assert_eq!(names(&plan), [""; 0]);
        assert!(!plan.sweeps(MeshKind::VirtualService, &Key::new("shop", "web-mesh")));
        let told = plan.violations.iter().find(|told| told.type_ == violation::SUBSETS_NOT_MADE);
        assert_eq!(told.map(|told| told.severity), Some(Severity::Error), "{plan:?}");
    }
}

#[test]
fn weights_that_do_not_make_100_are_told() {
    let of = |v1: i32, v2: i32| {
        let subset = |name, weight| format!("{{name: {name}, labels: {{v: {name}}}, weight: {weight}}}");
        Fake::of(&web(&format!("subsets: [{}, {}]", subset("v1", v1), subset("v2", v2)))).plan(0)
    };
    let plan = of(60, 20);
    assert_eq!(
        said(&plan),
        ["Weights: spec.subsets: the weights make 80, not 100. Istio takes them as shares: v1 75.0 %, v2 25.0 %"]
    );
    assert_eq!(plan.violations[0].severity, Severity::Warning);
    assert_eq!(names(&plan), ["DestinationRule shop/web", "VirtualService shop/web-mesh"]);
    let plan = of(0, 0);
    assert_eq!((plan.violations[0].type_.as_str(), plan.violations[0].severity), (violation::WEIGHTS, Severity::Error));
    assert_eq!(names(&plan), ["DestinationRule shop/web"]);
    assert!(!plan.sweeps(MeshKind::VirtualService, &Key::new("shop", "web-mesh")), "requests would be routed anyhow");
}

#[test]
fn policies_and_subsets_of_both_places_become_one_destination_rule() {
    let plan = Fake::of(&web(
        "trafficPolicy: {tls: {mode: SIMPLE}, loadBalancer: {simple: RANDOM}}, subsets: [{name: v1, labels: {v: a}}], destinationRule: \
         {exportTo: ['.'], trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}, subsets: [{name: v1, trafficPolicy: {tls: {mode: DISABLE}}}, \
         {name: v2, labels: {v: b}}]}",
    ))
    .plan(0);
    assert_eq!(
        *spec(&plan, MeshKind::DestinationRule, "web"),
        json!({
            "host": "web.shop.svc.cluster.local",
            "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}, "loadBalancer": {"simple": "RANDOM"}},
            "subsets": [
                {"name": "v1", "labels": {"v": "a"}, "trafficPolicy": {"tls": {"mode": "DISABLE"}}},
                {"name": "v2", "labels": {"v": "b"}},
            ],
            "exportTo": ["."],
        })
    );
}

/// The message names what the user wrote, not what was made of it. Existing objects stay.
#[test]
fn what_istio_would_refuse_is_told_by_the_field_of_the_mesh_service_and_not_written() {
    for (wrong, field, kind, name) in [
        (
            "trafficPolicy: {loadBalancer: {simple: LEAST}}",
            "spec.trafficPolicy.loadBalancer.simple",
            "DestinationRule",
            "web",
        ),
        (
            "destinationRule: {trafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}}",
            "spec.destinationRule.trafficPolicy.outlierDetection.maxEjectionPercent",
            "DestinationRule",
            "web",
        ),
        ("subsets: [{name: a_b, labels: {v: a}}]", "spec.subsets[0].name", "DestinationRule", "web"),
        (
            "destinationRule: {subsets: [{name: a, labels: {v: '*'}}]}",
            "spec.destinationRule.subsets[0].labels",
            "DestinationRule",
            "web",
        ),
        (
            "fault: {abort: {httpStatus: 999, percentage: {value: 200}}}",
            "spec.fault.abort",
            "VirtualService",
            "web-mesh",
        ),
        ("mirror: {host: a.com, percentage: {value: 200}}", "spec.mirror.percentage", "VirtualService", "web-mesh"),
        ("timeout: soon", "spec.timeout", "VirtualService", "web-mesh"),
        ("retries: {attempts: -1}", "spec.retries.attempts", "VirtualService", "web-mesh"),
        ("headers: {request: {set: {'a b': x}}}", "spec.headers.request.set", "VirtualService", "web-mesh"),
        ("hosts: [web, 'a..b'], gateway: {name: edge}", "spec.hosts[1]", "VirtualService", "web"),
        (
            "serviceEntries: [{hosts: [a.com], resolution: DNS, ports: [{number: 0, name: x}]}]",
            "spec.serviceEntries[0].ports[0].number",
            "ServiceEntry",
            "web-a-com",
        ),
        ("peerAuthentication: {mtls: {mode: VERY}}", "spec.peerAuthentication.mtls.mode", "PeerAuthentication", "web"),
        (
            "authorization: {rules: [{from: [{source: {ipBlocks: [here]}}]}]}",
            "spec.authorization.rules[0].from[0].source.ipBlocks[0]",
            "AuthorizationPolicy",
            "web",
        ),
    ] {
        let plan = Fake::of(&(web(wrong) + SERVICE)).plan(0);
        let kind: MeshKind = kind.parse().unwrap();
        let found = plan.violations.iter().find(|told| told.type_ == violation::INVALID_OBJECT);
        let message = &found.unwrap_or_else(|| panic!("{wrong}: {plan:?}")).message;
        assert!(message.starts_with(field), "{message}");
        assert!(!names(&plan).contains(&format!("{kind} shop/{name}")), "{wrong}");
        assert!(!plan.sweeps(kind, &Key::new("shop", name)), "{wrong}");
        assert!(plan.sweeps(kind, &Key::new("shop", "older")), "{wrong}");
    }
}

#[test]
fn fields_of_http_without_a_port_of_http_are_told() {
    let yaml =
        web("fault: {abort: {httpStatus: 500, percentage: {value: 1}}}").replace("{port: 80}", "{name: tcp, port: 80}");
    assert_eq!(said(&Fake::of(&yaml).plan(0)), ["NoEffect: spec.fault: has no effect: no port is of HTTP"]);
}

#[test]
fn policies_are_for_the_pods_of_the_service_and_no_others() {
    let policies = "peerAuthentication: {mtls: {mode: STRICT}}, authorization: {rules: [{}]}";
    let selectors = |yaml: &str| {
        let plan = Fake::of(yaml).plan(0);
        let of = |kind: MeshKind| {
            let is = |object: &&kube::api::DynamicObject| object.types.as_ref().unwrap().kind == kind.as_str();
            plan.objects.iter().find(is).map(|object| object.data["spec"]["selector"]["matchLabels"].clone())
        };
        let found = [of(MeshKind::PeerAuthentication), of(MeshKind::AuthorizationPolicy)];
        (found, said(&plan))
    };
    let both = |labels| [Some(labels), None].map(|labels: Option<serde_json::Value>| labels);
    let (found, said) = selectors(&(web(policies) + SERVICE));
    assert_eq!((found, said.len()), ([Some(json!({"app": "web"})), Some(json!({"app": "web"}))], 0));
    // The MeshService's own values, if it makes the Service.
    let annotated = named("web", "annotations: {outrigger.dev/service-selector: app=mine}", policies);
    assert_eq!(selectors(&annotated).0, [Some(json!({"app": "mine"})), Some(json!({"app": "mine"}))]);
    let own = "peerAuthentication: {selector: {matchLabels: {app: x}}, mtls: {mode: STRICT}}";
    assert_eq!(selectors(&web(own)).0, both(json!({"app": "x"})));
    for (yaml, problem) in [
        (web(policies), "the Service, whose Pods are meant, does not exist"),
        (web(policies) + "kind: Service\nmetadata: {name: web}\nspec: {}\n", "the Service selects no Pods"),
        (
            web("peerAuthentication: {selector: {}}, authorization: {selector: {matchLabels: {}}}") + SERVICE,
            "selector.matchLabels must have a label",
        ),
    ] {
        let (found, said) = selectors(&yaml);
        assert_eq!(found, [None, None], "{yaml}");
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said.iter().all(|told| told.starts_with("NoSelector: ") && told.contains(problem)), "{said:?}");
    }
}

/// A PeerAuthentication with a selector is ignored there, and an AuthorizationPolicy applies to Pods of all namespaces.
#[test]
fn no_policy_of_one_service_is_made_in_the_root_namespace() {
    let policies = "peerAuthentication: {mtls: {mode: STRICT}}, authorization: {rules: [{}]}";
    let yaml = web(&format!("namespace: istio-system, {policies}")) + &consenting("istio-system");
    let plan = Fake::of(&yaml).plan(0);
    assert_eq!(names(&plan), ["VirtualService istio-system/shop.web-mesh"]);
    assert!(said(&plan)[0].starts_with("RootNamespace: spec.peerAuthentication: "), "{plan:?}");
    assert!(said(&plan)[1].starts_with("RootNamespace: spec.authorization: "), "{plan:?}");
}

#[test]
fn a_service_is_made_only_where_its_pods_are_named_and_none_is_taken_over() {
    let annotated = named("web", "annotations: {outrigger.dev/service-selector: 'app=web,tier=front'}", "");
    let plan = Fake::of(&annotated).plan(0);
    assert_eq!(
        *spec(&plan, MeshKind::Service, "web"),
        json!({
            "selector": {"app": "web", "tier": "front"},
            "ports": [{"name": "http-80", "port": 80, "targetPort": 80, "protocol": "TCP"}],
        })
    );
    let plan = Fake::of(&(annotated + SERVICE)).plan(0);
    assert_eq!(names(&plan), ["VirtualService shop/web-mesh"]);
    assert!(said(&plan)[0].starts_with("ServiceNotOwned: The Service shop/web is somebody else's"), "{plan:?}");
}

#[test]
fn a_selector_that_is_no_selector_concerns_the_service_alone() {
    let plan = Fake::of(&named("web", "annotations: {outrigger.dev/service-selector: app}", "")).plan(0);
    assert_eq!(names(&plan), ["VirtualService shop/web-mesh"]);
    assert!(
        said(&plan)[0].starts_with("InvalidSpec: metadata.annotations[outrigger.dev/service-selector]: "),
        "{plan:?}"
    );
    assert!(!plan.sweeps(MeshKind::Service, &Key::new("shop", "web")));
}

#[test]
fn a_gateway_that_does_not_exist_is_made_where_the_namespace_lets_it_in() {
    let plan = Fake::of(&(web(EDGE) + &consenting("istio-system"))).plan(0);
    assert_eq!(names(&plan), ["Gateway istio-system/edge", "VirtualService shop/web"]);
    assert_eq!(
        *spec(&plan, MeshKind::Gateway, "edge"),
        json!({
            "selector": {"istio": "ingressgateway"},
            "servers": [{"port": {"number": 80, "name": "http-80", "protocol": "HTTP"}, "hosts": ["shop/web.example.com"]}],
        })
    );
    let plan = Fake::of(&web(EDGE)).plan(0);
    assert_eq!(names(&plan), ["VirtualService shop/web"]);
    assert_eq!(
        said(&plan),
        [
            "GatewayNotMade: The Gateway istio-system/edge does not exist, and is not made: create it, or annotate the Namespace \
          istio-system outrigger.dev/allow-mesh-from: shop"
        ]
    );
}

#[test]
fn a_gateway_that_is_made_has_tls_where_that_is_asked_for_and_no_plain_http_at_443() {
    let with = |ports: &str, tls: &str| {
        let yaml = web(&format!("hosts: [a.com], gateway: {{name: edge{tls}}}")).replace("[{port: 80}]", ports);
        Fake::of(&yaml).plan(0)
    };
    let plan = with("[{port: 443}]", "");
    assert_eq!(names(&plan), ["VirtualService shop/web"]);
    assert!(said(&plan)[0].contains("port 443 would be served without TLS: give spec.gateway.tls"), "{plan:?}");
    let servers = |plan| spec(&plan, MeshKind::Gateway, "edge")["servers"].clone();
    let tls = json!({"mode": "SIMPLE", "credentialName": "c"});
    let secured = servers(with("[{port: 443}]", ", tls: {mode: SIMPLE, credentialName: c}"));
    assert_eq!((&secured[0]["port"]["protocol"], &secured[0]["tls"]), (&json!("HTTPS"), &tls));
    let passed = servers(with("[{name: https, port: 443}, {name: mongo, port: 27017}]", ""));
    assert_eq!((&passed[0]["port"]["protocol"], &passed[0]["tls"]), (&json!("TLS"), &json!({"mode": "PASSTHROUGH"})));
    assert_eq!((&passed[1]["port"]["protocol"], passed[1].get("tls")), (&json!("MONGO"), None));
    let wrong = with("[{port: 443}]", ", tls: {mode: SIMPLE}");
    assert!(said(&wrong)[0].starts_with("InvalidObject: spec.gateway.tls"), "{wrong:?}");
}

/// The Service has another owner: the message says what to add there.
#[test]
fn a_gateway_of_somebody_else_is_not_edited() {
    let gateway = |hosts: &str, labels: &str| {
        format!(
            "kind: Gateway\nmetadata: {{name: edge, namespace: istio-system{labels}}}\nspec: {{servers: [{{port: {{number: 80, name: h, \
             protocol: HTTP}}, hosts: [{hosts}]}}]}}\n---\n"
        )
    };
    let with = |hosts: &str, labels: &str| {
        Fake::of(&(web(EDGE) + &consenting("istio-system") + &gateway(hosts, labels))).plan(0)
    };
    for offered in ["web.example.com", "WEB.example.com", "'*.example.com'", "shop/*.example.com", "'*/*'", "'*'"] {
        let plan = with(offered, "");
        assert_eq!((names(&plan), said(&plan).len()), (vec!["VirtualService shop/web".to_owned()], 0), "{offered}");
    }
    for offered in ["other.example.com", "./web.example.com", "other/*", "'*.web.example.com'"] {
        let plan = with(offered, "");
        assert_eq!(names(&plan), ["VirtualService shop/web"], "{offered}");
        assert_eq!(
            said(&plan),
            [
                "GatewayHostMissing: spec.hosts[0]: the Gateway istio-system/edge offers no host web.example.com to the namespace shop: \
              add shop/web.example.com to the hosts of one of its servers"
            ],
            "{offered}"
        );
    }
    let labels = |owner: &str| {
        format!(
            ", annotations: {{outrigger.dev/mesh-object: istio-system/edge}}, labels: {{app.kubernetes.io/managed-by: outrigger, \
             outrigger.dev/mesh-service: {owner}, outrigger.dev/mesh-service-namespace: shop}}"
        )
    };
    let plan = with("other.example.com", &labels("other"));
    assert!(said(&plan)[0].contains("add it to spec.hosts of the MeshService shop/other"), "{plan:?}");
    assert_eq!(names(&with("other.example.com", &labels("web")))[0], "Gateway istio-system/edge");
}

/// An earlier operator planned to delete it, which would be an outage.
#[test]
fn m12_a_virtual_service_stays_when_its_gateway_is_missing() {
    let plan = Fake::of(&web(EDGE)).plan(0);
    assert!(!plan.sweeps(MeshKind::VirtualService, &Key::new("shop", "web")));
    assert_eq!(plan.violations[0].type_, violation::GATEWAY_NOT_MADE);
}

#[test]
fn kinds_that_are_left_out_are_neither_made_nor_deleted() {
    let yaml = web(&format!("{EDGE}, subsets: [{{name: v1, labels: {{v: a}}}}], authorization: {{rules: [{{}}]}}"));
    let fake = Fake::of(&(yaml + SERVICE + &consenting("istio-system"))).with([MeshKind::VirtualService]);
    let plan = fake.plan(0);
    assert_eq!(names(&plan), ["VirtualService shop/web"]);
    let told: Vec<_> = said(&plan).iter().map(|told| told.split_once(':').unwrap().0.to_owned()).collect();
    assert_eq!(told, [violation::KIND_LEFT_OUT, violation::GATEWAY_NOT_MADE, violation::KIND_LEFT_OUT]);
    assert!(!plan.sweeps(MeshKind::DestinationRule, &Key::new("shop", "web")));
    assert!(plan.sweeps(MeshKind::VirtualService, &Key::new("shop", "web-mesh")));
}

#[test]
fn service_entries_are_named_by_their_first_host_and_seen_in_the_namespace_alone() {
    let long = format!("{0}.{0}.{0}.com", "a".repeat(63));
    let entries = format!(
        "serviceEntries: [{{hosts: [a.b.com], resolution: NONE}}, {{hosts: ['*.c.com'], resolution: NONE, exportTo: ['*']}}, {{hosts: \
         [a-b.com], resolution: NONE}}, {{hosts: [{long}], resolution: NONE}}]"
    );
    let yaml = named(&"n".repeat(63), "", &entries);
    let plan = Fake::of(&yaml).plan(0);
    let start = "n".repeat(63);
    let names: Vec<_> = plan.objects.iter().map(|object| object.metadata.name.clone().unwrap()).collect();
    let [first, second, third, fourth, _] = names.as_slice() else { panic!("{names:?}") };
    assert_eq!(
        [first, second, third],
        [&format!("{start}-a-b-com"), &format!("{start}-any-c-com"), &format!("{start}-a-b-com-2")]
    );
    assert!(fourth.len() <= 253 && fourth.starts_with(&format!("{start}-aaa")), "{fourth}");
    let seen = |name: &str| spec(&plan, MeshKind::ServiceEntry, name)["exportTo"].clone();
    assert_eq!([seen("-a-b-com"), seen("-any-c-com")], [json!(["."]), json!(["*"])]);
}

#[test]
fn a_spec_that_cannot_be_used_changes_nothing() {
    let plan = Fake::of("kind: MeshService\nmetadata: {name: web}\n").plan(0);
    assert_eq!(said(&plan), ["InvalidSpec: spec: must be given: serviceName and ports at least"]);
    assert!(!plan.sweeps(MeshKind::VirtualService, &Key::new("shop", "web")));
}

#[test]
fn nothing_is_written_or_deleted_where_an_annotation_says_so() {
    let not_managed = format!("annotations: {{{}: 'false'}}", keys::MANAGED);
    let of_service = SERVICE.replace("name: web", &format!("name: web, {not_managed}"));
    for yaml in [named("web", &not_managed, ""), web("") + &of_service] {
        let plan = Fake::of(&yaml).plan(0);
        assert_eq!((names(&plan).len(), plan.violations[0].type_.as_str()), (0, violation::LEFT_ALONE));
        assert!(!plan.sweeps(MeshKind::VirtualService, &Key::new("shop", "web-mesh")));
    }
}

#[test]
fn what_was_made_for_one_that_is_being_deleted_is_swept() {
    let plan = Fake::of(&named("web", "deletionTimestamp: '2026-11-29T10:00:00Z'", "")).plan(0);
    assert_eq!((names(&plan).len(), said(&plan).len()), (0, 0));
    assert!(plan.sweeps(MeshKind::VirtualService, &Key::new("shop", "web-mesh")));
}

/// Messages contain texts of users, and each route may have an error.
#[test]
fn what_is_said_is_bounded() {
    let hosts: Vec<String> = (0..64).map(|n| format!("'{n}{}..'", "a".repeat(2000))).collect();
    let plan = Fake::of(&web(&format!("hosts: [{}], gateway: {{name: edge}}", hosts.join(", ")))).plan(0);
    assert!(plan.violations.iter().all(|told| told.message.chars().count() <= 1024));
    assert!(plan.violations.len() <= 16, "{}", plan.violations.len());
}

/// A listed kind allows only that kind: there are no routes or policies for a consent to have a Gateway.
#[test]
fn a_namespace_that_lets_in_some_kinds_has_no_others() {
    let consent = |kinds: &str| consenting("other").replace("shop", &format!("'shop:{kinds}'"));
    let yaml = web("namespace: other, hosts: [a.com], gateway: {name: edge, namespace: other}");
    let plan = Fake::of(&(yaml.clone() + &consent("Gateway"))).plan(0);
    assert_eq!(names(&plan), ["Gateway other/edge"]);
    assert_eq!(
        said(&plan),
        [
            "NoConsent: The Namespace other lets no VirtualService of shop in: add it to its annotation outrigger.dev/allow-mesh-from, as \
          shop:VirtualService+…. No VirtualService is written"
        ]
    );
    let key = |name| Key::new("other", name);
    assert!(plan.sweeps(MeshKind::VirtualService, &key("shop.web")) && !plan.sweeps(MeshKind::Gateway, &key("edge")));
    let plan = Fake::of(&(yaml + &consent("VirtualService"))).plan(0);
    assert_eq!(names(&plan), ["VirtualService other/shop.web"]);
    assert!(said(&plan)[0].starts_with("GatewayNotMade: "), "{plan:?}");
}

#[test]
fn tls_at_the_port_of_plain_http_is_told() {
    let with = |ports: &str| {
        let more = "hosts: [a.com], gateway: {name: edge, tls: {mode: SIMPLE, credentialName: web}}";
        Fake::of(&web(more).replace("[{port: 80}]", ports)).plan(0)
    };
    assert!(said(&with("[{port: 80}]"))[0].starts_with("TlsAtPort80: spec.gateway.tls: port 80 "));
    assert_eq!(said(&with("[{port: 443}]")), [""; 0]);
}

/// Only its hosts determine its name, not the rest of the list.
#[test]
fn a_service_entry_keeps_its_name_when_another_goes() {
    let names_of = |entries: &[&str]| {
        let entry = |hosts: &&str| format!("{{hosts: [{hosts}], resolution: NONE}}");
        let entries: Vec<String> = entries.iter().map(entry).collect();
        let plan = Fake::of(&web(&format!("serviceEntries: [{}]", entries.join(", ")))).plan(0);
        names(&plan).into_iter().filter(|name| name.starts_with("ServiceEntry")).collect::<Vec<_>>()
    };
    let all = names_of(&["a.com, b.com", "a.com", "a.com, c.com"]);
    assert_eq!(all.len(), 3);
    assert!(all.contains(&"ServiceEntry shop/web-a-com".to_owned()), "{all:?}");
    assert_eq!(names_of(&["a.com, c.com"])[0], all[2]);
    assert_eq!(names_of(&["a.com, c.com", "a.com"])[0], all[2]);
}
