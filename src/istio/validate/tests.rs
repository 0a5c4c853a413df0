//! Each rule with a spec that violates it and the reported field, and with an accepted one.

use super::{By, FaultKind, object};
use serde_json::Value;

/// Returns the problems of a `spec` as users write it, as `Kind field`.
fn said(kind: &str, spec: &str) -> Vec<(FaultKind, String)> {
    let is_policy = matches!(kind, "PeerAuthentication" | "AuthorizationPolicy");
    let group = if is_policy { "security.istio.io" } else { "networking.istio.io" };
    let text = format!("apiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: it, namespace: shop}}\nspec: {spec}\n");
    let document: Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let faults = object(kind, "v1", &document, "shop");
    let whoever = |kind| if matches!(kind, FaultKind::Error(_)) { ERROR } else { kind };
    faults.into_iter().map(|fault| (whoever(fault.kind), fault.field)).collect()
}

#[track_caller]
fn table(kind: &str, rows: &[(&str, &str, FaultKind)]) {
    for (spec, field, fault) in rows {
        let said = said(kind, spec);
        if field.is_empty() {
            assert_eq!(said, [], "{spec}");
        } else {
            assert!(said.contains(&(*fault, format!("spec{field}"))), "{spec}\n{said:?}");
        }
    }
}

use FaultKind::{Deprecated, Ineffective, Unreachable, Warning};

const ERROR: FaultKind = FaultKind::Error(By::Both);

/// An accepted spec has no problem.
const TAKEN: &str = "";

#[test]
fn virtual_services_follow_istio() {
    table(
        "VirtualService",
        &[
            ("{hosts: [a], http: [{route: [{destination: {host: a}}]}]}", TAKEN, ERROR),
            ("{hosts: [a], http: [{rout: []}]}", ".http[0].rout", ERROR),
            ("{hosts: a}", ".hosts", ERROR),
            ("{hosts: [a], http: [{timeout: soon, route: [{destination: {host: a}}]}]}", ".http[0].timeout", ERROR),
            ("{hosts: [a], http: [{timeout: 1ns, route: [{destination: {host: a}}]}]}", ".http[0].timeout", ERROR),
            ("{hosts: [a], http: [{timeout: 1h30m, route: [{destination: {host: a}}]}]}", TAKEN, ERROR),
            ("{hosts: ['*'], http: [{route: [{destination: {host: a}}]}]}", ".hosts[0]", ERROR),
            ("{hosts: ['*'], gateways: [g], http: [{route: [{destination: {host: a}}]}]}", TAKEN, ERROR),
            ("{hosts: ['*.a.com', b.a.com], http: [{route: [{destination: {host: a}}]}]}", ".hosts[1]", ERROR),
            ("{hosts: [a], http: [{}]}", ".http[0]", ERROR),
            ("{gateways: [g], http: [{route: [{destination: {host: a}}]}]}", ".gateways", ERROR),
            ("{hosts: [a], gateways: [x/y/z], http: [{route: [{destination: {host: a}}]}]}", ".gateways[0]", ERROR),
            ("{hosts: [a], gateways: [g.ns], http: [{route: [{destination: {host: a}}]}]}", ".gateways[0]", Warning),
            (
                "{hosts: [a], http: [{route: [{destination: {host: '*'}}]}]}",
                ".http[0].route[0].destination.host",
                ERROR,
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a, port: {number: 70000}}}]}]}",
                ".http[0].route[0].destination.port.number",
                ERROR,
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a}}, {destination: {host: b}}]}]}",
                ".http[0].route",
                ERROR,
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a}, weight: 30}, {destination: {host: b}, weight: 30}]}]}",
                TAKEN,
                ERROR,
            ),
            (
                "{hosts: [a], http: [{match: [{uri: {exact: /a, prefix: /b}}], route: [{destination: {host: a}}]}]}",
                ".http[0].match[0].uri",
                ERROR,
            ),
            (
                "{hosts: [a], http: [{match: [{headers: {x: {prefix: ''}}}], route: [{destination: {host: a}}]}]}",
                ".http[0].match[0].headers[x].prefix",
                ERROR,
            ),
            (
                "{hosts: [a], http: [{match: [{uri: {regex: '(('}}], route: [{destination: {host: a}}]}]}",
                ".http[0].match[0].uri.regex",
                ERROR,
            ),
            (
                r"{hosts: [a], http: [{match: [{uri: {regex: '/(?!a).*'}}], route: [{destination: {host: a}}]}]}",
                ".http[0].match[0].uri.regex",
                ERROR,
            ),
            (
                r"{hosts: [a], http: [{match: [{uri: {regex: '/v\d+/\w*'}}], route: [{destination: {host: a}}]}]}",
                TAKEN,
                ERROR,
            ),
            ("{hosts: [a, a.shop.svc.cluster.local], http: [{route: [{destination: {host: a}}]}]}", TAKEN, ERROR),
            (
                "{hosts: [a], http: [{match: [{headers: {a b: {exact: x}}}], route: [{destination: {host: a}}]}]}",
                ".http[0].match[0].headers[a b]",
                ERROR,
            ),
            (
                "{hosts: [a], http: [{match: [{headers: {'@request.auth.claims.sub': {exact: a}}}], route: [{destination: {host: a}}]}]}",
                ".http[0].match[0].headers[@request.auth.claims.sub]",
                ERROR,
            ),
        ],
    );
}

#[test]
fn details_of_routes_follow_istio() {
    table(
        "VirtualService",
        &[
            (
                "{hosts: [a], http: [{redirect: {uri: /a}, route: [{destination: {host: a}}]}]}",
                ".http[0].redirect",
                ERROR,
            ),
            ("{hosts: [a], http: [{redirect: {redirectCode: 200}}]}", ".http[0].redirect.redirectCode", ERROR),
            ("{hosts: [a], http: [{redirect: {redirectCode: 301}}]}", ".http[0].redirect", ERROR),
            (
                "{hosts: [a], http: [{match: [{uri: {exact: /a}}], redirect: {prefixRewrite: /b}}]}",
                ".http[0].redirect.prefixRewrite",
                ERROR,
            ),
            (
                "{hosts: [a], http: [{match: [{uri: {prefix: /a}}, {port: 80}], redirect: {prefixRewrite: /b}}]}",
                TAKEN,
                ERROR,
            ),
            ("{hosts: [a], http: [{directResponse: {status: 100}}]}", ".http[0].directResponse.status", ERROR),
            (
                "{hosts: [a], http: [{rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}, route: [{destination: {host: a}}]}]}",
                ".http[0].rewrite.uriRegexRewrite",
                ERROR,
            ),
            (
                "{hosts: [a], http: [{retries: {attempts: 0, retryOn: 5xx}, route: [{destination: {host: a}}]}]}",
                ".http[0].retries.attempts",
                ERROR,
            ),
            (
                "{hosts: [a], http: [{retries: {attempts: 2, retryOn: 'often'}, route: [{destination: {host: a}}]}]}",
                ".http[0].retries.retryOn",
                ERROR,
            ),
            (
                "{hosts: [a], http: [{fault: {delay: {percentage: {value: 200}, fixedDelay: 5s}}, route: [{destination: {host: a}}]}]}",
                ".http[0].fault.delay.percentage.value",
                ERROR,
            ),
            (
                "{hosts: [a], http: [{fault: {delay: {percent: 5, fixedDelay: 5s}}, route: [{destination: {host: a}}]}]}",
                ".http[0].fault.delay.percent",
                Deprecated,
            ),
            (
                "{hosts: [a], http: [{corsPolicy: {allowMethods: [FETCH]}, route: [{destination: {host: a}}]}]}",
                ".http[0].corsPolicy.allowMethods[0]",
                ERROR,
            ),
            (
                "{hosts: [a], http: [{mirror: {host: b}, mirrors: [{destination: {host: b}}], route: [{destination: {host: a}}]}]}",
                ".http[0].mirrors",
                ERROR,
            ),
            ("{http: [{delegate: {name: b}}]}", ".http[0].delegate", ERROR),
            (
                "{hosts: [a], http: [{headers: {request: {set: {':path': b}}}, route: [{destination: {host: a}}]}]}",
                ".http[0].headers.request.set[:path]",
                ERROR,
            ),
            (
                "{hosts: [a.com], tls: [{match: [{sniHosts: [b.com]}], route: [{destination: {host: a}}]}]}",
                ".tls[0].match[0].sniHosts[0]",
                ERROR,
            ),
            (
                "{hosts: [a.com], tls: [{match: [{sniHosts: [a.com]}], route: [{destination: {host: a}}]}]}",
                TAKEN,
                ERROR,
            ),
            ("{hosts: [a], tcp: [{}]}", ".tcp[0].route", ERROR),
            (
                "{hosts: [a], tcp: [{match: [{destinationSubnets: [here]}], route: [{destination: {host: a}}]}]}",
                ".tcp[0].match[0].destinationSubnets[0]",
                ERROR,
            ),
            ("{hosts: [a], exportTo: ['*', b], http: [{route: [{destination: {host: a}}]}]}", ".exportTo", ERROR),
            ("{hosts: [a], exportTo: ['.', shop], http: [{route: [{destination: {host: a}}]}]}", ".exportTo[1]", ERROR),
            ("{hosts: [a], exportTo: ['~'], http: [{route: [{destination: {host: a}}]}]}", ".exportTo[0]", ERROR),
        ],
    );
}

#[test]
fn routes_that_are_never_used_are_told() {
    let to = "route: [{destination: {host: a}}]";
    for (routes, field, fault) in [
        (format!("[{{{to}}}, {{{to}}}]"), ".http[1]", Unreachable),
        (format!("[{{{to}}}, {{match: [{{uri: {{exact: /a}}}}], {to}}}]"), ".http[1]", Unreachable),
        (
            format!("[{{match: [{{uri: {{exact: /a}}}}], {to}}}, {{match: [{{name: b, uri: {{exact: /a}}}}], {to}}}]"),
            ".http[1]",
            Unreachable,
        ),
        (
            format!("[{{match: [{{uri: {{prefix: /a}}}}], {to}}}, {{match: [{{uri: {{prefix: /a/b}}}}], {to}}}]"),
            ".http[1].match[0]",
            Ineffective,
        ),
        (
            format!(
                "[{{match: [{{uri: {{prefix: /a/b}}}}], {to}}}, {{match: [{{uri: {{prefix: /a}}}}], {to}}}, {{{to}}}]"
            ),
            "",
            ERROR,
        ),
        (
            format!(
                "[{{match: [{{uri: {{prefix: /a}}, port: 80}}], {to}}}, {{match: [{{uri: {{prefix: /a/b}}, port: 81}}], {to}}}]"
            ),
            "",
            ERROR,
        ),
    ] {
        table("VirtualService", &[(&format!("{{hosts: [a], http: {routes}}}"), field, fault)]);
    }
}

#[test]
fn gateways_follow_istio() {
    let server = |server: &str| format!("{{selector: {{istio: ingressgateway}}, servers: [{server}]}}");
    for (text, field, fault) in [
        ("{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.com]}", "", ERROR),
        ("{port: {number: 80, name: http, protocol: HTTP}}", ".servers[0].hosts", ERROR),
        ("{port: {number: 80, name: http, protocol: HTTP}, hosts: [a]}", ".servers[0].hosts[0]", ERROR),
        ("{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*a.com']}", ".servers[0].hosts[0]", ERROR),
        ("{port: {number: 80, name: http, protocol: HTTP}, hosts: ['shop/*.a.com', './*']}", "", ERROR),
        ("{port: {number: 80, name: http, protocol: SPDY}, hosts: [a.com]}", ".servers[0].port.protocol", ERROR),
        ("{port: {number: 0, name: http, protocol: HTTP}, hosts: [a.com]}", ".servers[0].port.number", ERROR),
        ("{port: {number: 80, protocol: HTTP}, hosts: [a.com]}", ".servers[0].port.name", ERROR),
        ("{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.com]}", ".servers[0]", ERROR),
        (
            "{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.com], tls: {mode: SIMPLE}}",
            ".servers[0].tls",
            ERROR,
        ),
        (
            "{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.com], tls: {mode: SIMPLE, credentialName: a}}",
            "",
            ERROR,
        ),
        (
            "{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.com], tls: {mode: SIMPLE, credentialName: a}}",
            ".servers[0].tls",
            ERROR,
        ),
        ("{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.com], tls: {httpsRedirect: true}}", "", ERROR),
        (
            "{port: {number: 443, name: tls, protocol: TLS}, hosts: [a.com], tls: {mode: PASSTHROUGH, credentialName: a}}",
            ".servers[0].tls",
            Warning,
        ),
        (
            "{port: {number: 443, name: tls, protocol: TLS}, hosts: [a.com], tls: {mode: MUTUAL, serverCertificate: a, privateKey: b}}",
            ".servers[0].tls.caCertificates",
            ERROR,
        ),
    ] {
        table("Gateway", &[(&server(text), field, fault)]);
    }
    table("Gateway", &[("{selector: {a: b}}", ".servers", ERROR)]);
}

#[test]
fn rules_sidecars_and_service_entries_follow_istio() {
    table(
        "DestinationRule",
        &[
            ("{host: a, subsets: [{name: v1, labels: {version: v1}}]}", TAKEN, ERROR),
            ("{}", ".host", ERROR),
            ("{host: a, subsets: [{name: v1}, {name: v1}]}", ".subsets[1].name", ERROR),
            ("{host: a, subsets: [{name: v.1}]}", ".subsets[0].name", ERROR),
            ("{host: a, subsets: [{name: v1, labels: {'a b': c}}]}", ".subsets[0].labels[a b]", ERROR),
            ("{host: a, trafficPolicy: {}}", ".trafficPolicy", ERROR),
            ("{host: a, trafficPolicy: {tls: {mode: STRICT}}}", ".trafficPolicy.tls.mode", ERROR),
            ("{host: a, trafficPolicy: {tls: {mode: MUTUAL}}}", ".trafficPolicy.tls", ERROR),
            ("{host: a, trafficPolicy: {connectionPool: {}}}", ".trafficPolicy.connectionPool", ERROR),
            (
                "{host: a, trafficPolicy: {outlierDetection: {maxEjectionPercent: 200}}}",
                ".trafficPolicy.outlierDetection.maxEjectionPercent",
                ERROR,
            ),
            ("{host: a, workloadSelector: {matchLabels: {a: b}}, exportTo: ['*']}", ".exportTo", ERROR),
        ],
    );
    table(
        "Sidecar",
        &[
            ("{egress: [{hosts: ['./*', 'istio-system/*']}]}", TAKEN, ERROR),
            ("{workloadSelector: {labels: {}}, egress: [{hosts: ['./*']}]}", ".workloadSelector", Warning),
            ("{egress: [{hosts: ['*.foo']}]}", ".egress[0].hosts[0]", ERROR),
            ("{egress: [{hosts: []}]}", ".egress[0].hosts", ERROR),
            ("{ingress: [{defaultEndpoint: '127.0.0.1:80'}]}", ".ingress[0].port", ERROR),
            ("{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}", TAKEN, ERROR),
            ("{outboundTrafficPolicy: {mode: SOME}}", ".outboundTrafficPolicy.mode", ERROR),
        ],
    );
    table(
        "ServiceEntry",
        &[
            ("{hosts: [a.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}", TAKEN, ERROR),
            ("{ports: [{number: 443, name: tls, protocol: TLS}]}", ".hosts", ERROR),
            ("{hosts: ['*'], ports: []}", ".hosts[0]", ERROR),
            (
                "{hosts: [a.com], ports: [{number: 1, name: a, protocol: TCP}, {number: 1, name: b, protocol: TCP}]}",
                ".ports[1].number",
                ERROR,
            ),
            ("{hosts: [a.com], resolution: STATIC}", TAKEN, ERROR),
            ("{hosts: ['*.a.com'], resolution: DNS}", ".hosts[0]", ERROR),
            ("{hosts: [a.com], exportTo: ['~']}", TAKEN, ERROR),
        ],
    );
}

#[test]
fn an_object_without_http_tls_or_tcp_is_refused_as_a_whole() {
    assert_eq!(said("VirtualService", "{hosts: [a]}"), [(ERROR, "spec".to_owned())]);
    assert_eq!(said("Sidecar", "{}"), [(ERROR, "spec".to_owned())]);
}

#[test]
fn peer_authentications_follow_istio() {
    table(
        "PeerAuthentication",
        &[
            ("{mtls: {mode: STRICT}}", TAKEN, ERROR),
            ("{mtls: {mode: VERY}}", ".mtls.mode", ERROR),
            ("{selector: {matchLabels: {a: b}}, portLevelMtls: {'80': {mode: DISABLE}}}", TAKEN, ERROR),
            ("{selector: {matchLabels: {a: b}}, portLevelMtls: {'0': {mode: DISABLE}}}", ".portLevelMtls[0]", ERROR),
            ("{selector: {matchLabels: {a: b}}, portLevelMtls: {}}", ".portLevelMtls", ERROR),
            ("{portLevelMtls: {'80': {mode: DISABLE}}}", ".portLevelMtls", ERROR),
            ("{selector: {matchLabels: {a: '*'}}}", ".selector.matchLabels[a]", ERROR),
            ("{selector: {}}", ".selector", Warning),
        ],
    );
}

#[test]
fn authorization_policies_follow_istio() {
    const RULE: &str = ".rules[0]";
    let rows: Vec<(String, String, FaultKind)> = [
        ("from: [{source: {principals: ['*'], notNamespaces: [a], ipBlocks: [10.0.0.0/8, '::1']}}]", TAKEN, ERROR),
        ("to: [{operation: {methods: [GET], paths: ['/a/{*}/b', '/a/{**}'], ports: ['80']}}]", TAKEN, ERROR),
        ("when: [{key: 'request.headers[x]', values: [a]}, {key: source.ip, notValues: [10.0.0.1]}]", TAKEN, ERROR),
        ("from: []", TAKEN, ERROR),
        ("from: [{}]", ".from[0].source", ERROR),
        ("from: [{source: {}}]", ".from[0].source", ERROR),
        ("from: [{source: {principal: [a]}}]", ".from[0].source.principal", ERROR),
        ("from: [{source: {principals: ['']}}]", ".from[0].source.principals[0]", ERROR),
        ("from: [{source: {ipBlocks: [10.0.0]}}]", ".from[0].source.ipBlocks[0]", ERROR),
        ("from: [{source: {serviceAccounts: [a/b/c]}}]", ".from[0].source.serviceAccounts[0]", ERROR),
        ("from: [{source: {serviceAccounts: [a], namespaces: [b]}}]", ".from[0].source", ERROR),
        ("from: [{source: {trustDomains: ['a*b']}}]", ".from[0].source.trustDomains[0]", ERROR),
        ("to: []", TAKEN, ERROR),
        ("to: [{operation: {}}]", ".to[0].operation", ERROR),
        ("to: [{operation: {ports: ['http']}}]", ".to[0].operation.ports[0]", ERROR),
        ("to: [{operation: {ports: ['70000']}}]", ".to[0].operation.ports[0]", ERROR),
        ("to: [{operation: {paths: ['/a/{b}']}}]", ".to[0].operation.paths[0]", ERROR),
        ("to: [{operation: {paths: ['/{**}/{*}']}}]", ".to[0].operation.paths[0]", ERROR),
        ("to: [{operation: {paths: ['/a b/{*}']}}]", ".to[0].operation.paths[0]", ERROR),
        ("when: [{key: source.ip}]", ".when[0]", ERROR),
        ("when: [{values: [a]}]", ".when[0].key", ERROR),
        ("when: [{key: request.headers, values: [a]}]", ".when[0].key", ERROR),
        ("when: [{key: source.name, values: [a]}]", ".when[0].key", ERROR),
        ("when: [{key: destination.port, values: [a]}]", ".when[0].values[0]", ERROR),
    ]
    .into_iter()
    .map(|(rule, field, kind)| {
        let field = if field == TAKEN { String::new() } else { format!("{RULE}{field}") };
        (format!("{{selector: {{matchLabels: {{a: b}}}}, rules: [{{{rule}}}]}}"), field, kind)
    })
    .collect();
    let rows: Vec<_> = rows.iter().map(|(spec, field, kind)| (spec.as_str(), field.as_str(), *kind)).collect();
    table("AuthorizationPolicy", &rows);
    table(
        "AuthorizationPolicy",
        &[
            ("{}", TAKEN, ERROR),
            ("{rules: [{}]}", TAKEN, ERROR),
            ("{action: DENY}", ".rules", ERROR),
            ("{action: ALWAYS}", ".action", ERROR),
            ("{action: CUSTOM, rules: [{}]}", ".provider.name", ERROR),
            ("{action: CUSTOM, provider: {name: p}, rules: [{to: [{operation: {paths: [/]}}]}]}", TAKEN, ERROR),
            (
                "{action: CUSTOM, provider: {name: p}, rules: [{from: [{source: {namespaces: [a]}}]}]}",
                ".rules[0].from[0].source.namespaces",
                ERROR,
            ),
            ("{provider: {name: p}, rules: [{}]}", ".provider", ERROR),
            ("{action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}", ".rules[0]", Warning),
            ("{action: DENY, rules: [{to: [{operation: {methods: [GET], ports: ['80']}}]}]}", TAKEN, ERROR),
        ],
    );
    let both = "{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]}";
    assert_eq!(said("AuthorizationPolicy", both), [(ERROR, "spec".to_owned())]);
}
