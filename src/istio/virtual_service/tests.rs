//! VirtualServices that Istio takes, refuses or warns of.

use super::{Findings, VirtualService, exports_to, fqdn, resolve, service_of, validate};
use serde_json::{Value, json};

fn with(field: &str, value: Value) -> VirtualService {
    let mut spec = json!({"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}]});
    spec[field] = value;
    VirtualService::read(spec).unwrap()
}

fn route(more: &Value) -> VirtualService {
    let mut route = json!({"route": [{"destination": {"host": "a"}}]});
    route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    route.as_object_mut().unwrap().retain(|_, value| *value != json!([]));
    with("http", json!([route]))
}

fn matching(matches: &Value) -> VirtualService {
    route(&json!({"match": [matches]}))
}

/// The fields at fault.
fn errors(virtual_service: &VirtualService) -> Vec<String> {
    validate(virtual_service, "ns").errors.into_iter().map(|error| error.field).collect()
}

#[test]
fn a_spec_is_written_as_it_was_read() {
    let spec = json!({
        "hosts": ["a"], "gateways": ["ns/g", "mesh"], "exportTo": ["."],
        "http": [{
            "name": "n", "timeout": "5s",
            "match": [{"headers": {"x-developer": {"exact": "dev"}}, "port": 80, "uri": {"prefix": "/"}}],
            "retries": {"attempts": 0}, "mirrorPercentage": {"value": 1.5}, "mirror": {"host": "m"},
            "fault": {"abort": {"httpStatus": 500, "percentage": {"value": 1.0}}},
            "corsPolicy": {"allowOrigins": [{"exact": "x"}], "unmatchedPreflights": "IGNORE"},
            "headers": {"request": {"set": {"h": "v"}}},
            "route": [{"destination": {"host": "a", "port": {"number": 80}}, "weight": 1}],
        }],
        "tls": [{"match": [{"sniHosts": ["a"], "port": 443}], "route": [{"destination": {"host": "a"}}]}],
        "tcp": [{"route": [{"destination": {"host": "a"}}]}],
    });
    let read = VirtualService::read(spec.clone()).unwrap();
    assert_eq!(read.spec(), spec);
    assert_eq!(validate(&read, "ns"), Findings::default());
    assert_eq!(VirtualService::read(json!({"hosts": ["a"], "http": null})).unwrap().spec(), json!({"hosts": ["a"]}));
}

#[test]
fn what_is_not_known_is_named() {
    for (spec, field) in [
        (json!({"host": ["a"]}), "host"),
        (json!({"http": [{"routes": []}]}), "http[0].routes"),
        (json!({"http": [{"route": [{"destination": {"host": 5}}]}]}), "http[0].route[0].destination.host"),
    ] {
        assert_eq!(VirtualService::read(spec).unwrap_err().field, field);
    }
}

#[test]
fn what_istio_refuses_is_an_error_at_its_field() {
    let destination = json!([{"destination": {"host": "a"}}]);
    for (virtual_service, fields) in [
        (with("hosts", json!(["*"])), vec!["hosts[0]"]),
        (with("hosts", json!(["a b"])), vec!["hosts[0]"]),
        (with("hosts", json!(["a", "a.ns.svc.cluster.local"])), vec!["hosts[1]"]),
        (with("hosts", json!(["*.b.c", "a.b.c"])), vec!["hosts[1]"]),
        (with("gateways", json!(["ns/a/b"])), vec!["gateways[0]"]),
        (with("http", json!([])), vec!["http"]),
        (with("exportTo", json!([".", "ns"])), vec!["exportTo[1]"]),
        (with("exportTo", json!(["*", "x"])), vec!["exportTo"]),
        (with("exportTo", json!(["a.b"])), vec!["exportTo[0]"]),
        (route(&json!({"route": []})), vec!["http[0]"]),
        (route(&json!({"redirect": {"uri": "/"}})), vec!["http[0].redirect"]),
        (route(&json!({"delegate": {"name": "d"}})), vec!["http[0].delegate"]),
        (route(&json!({"timeout": "1us"})), vec!["http[0].timeout"]),
        (route(&json!({"timeout": "5"})), vec!["http[0].timeout"]),
        (route(&json!({"retries": {"attempts": 0, "retryOn": "5xx"}})), vec!["http[0].retries.attempts"]),
        (route(&json!({"retries": {"attempts": 1, "retryOn": "5xx,sometimes"}})), vec!["http[0].retries.retryOn"]),
        (route(&json!({"fault": {}})), vec!["http[0].fault"]),
        (route(&json!({"rewrite": {}})), vec!["http[0].rewrite"]),
        (route(&json!({"corsPolicy": {"allowMethods": ["get"]}})), vec!["http[0].corsPolicy.allowMethods[0]"]),
        (
            route(&json!({"headers": {"response": {"set": {":status": "200"}}}})),
            vec!["http[0].headers.response.set[:status]"],
        ),
        (route(&json!({"route": [{"destination": {"host": "*"}}]})), vec!["http[0].route[0].destination.host"]),
        (
            route(&json!({"route": [{"destination": {"host": "a", "port": {"number": 0}}}]})),
            vec!["http[0].route[0].destination.port.number"],
        ),
        (
            route(&json!({"route": [{"destination": {"host": "a"}}, {"destination": {"host": "b"}}]})),
            vec!["http[0].route"],
        ),
        (matching(&json!({"headers": {"a b": {"exact": "x"}}})), vec!["http[0].match[0].headers[a b]"]),
        (matching(&json!({"headers": {"a": {"prefix": ""}}})), vec!["http[0].match[0].headers[a].prefix"]),
        (matching(&json!({"headers": {"a": {"exact": "x", "regex": "x"}}})), vec!["http[0].match[0].headers[a]"]),
        (
            matching(&json!({"headers": {"@request.auth.claims.g": {"exact": "x"}}})),
            vec!["http[0].match[0].headers[@request.auth.claims.g]"],
        ),
        (matching(&json!({"port": 70_000})), vec!["http[0].match[0].port"]),
        (with("tls", json!([{"match": [], "route": destination}])), vec!["tls[0].match"]),
        (
            with("tls", json!([{"match": [{"sniHosts": ["b"]}], "route": destination}])),
            vec!["tls[0].match[0].sniHosts[0]"],
        ),
        (
            with("tcp", json!([{"match": [{"sourceSubnet": "10.0.0.0/33"}], "route": destination}])),
            vec!["tcp[0].match[0].sourceSubnet"],
        ),
    ] {
        assert_eq!(errors(&virtual_service), fields, "{}", virtual_service.spec());
    }
}

#[test]
fn routes_that_are_never_reached_are_warned_of() {
    let to = json!([{"destination": {"host": "a"}}]);
    let matches = json!([{"headers": {"h": {"exact": "x"}}}]);
    let named = json!([{"headers": {"h": {"exact": "x"}}, "name": "again"}]);
    let fields = |http: Value| -> Vec<String> {
        let warnings = validate(&with("http", http), "ns").warnings;
        warnings.into_iter().map(|warning| warning.field).collect()
    };
    assert_eq!(fields(json!([{"match": matches, "route": to}, {"route": to}])), [""; 0]);
    assert_eq!(fields(json!([{"route": to}, {"match": matches, "route": to}])), ["http[1]"]);
    assert_eq!(fields(json!([{"match": matches, "route": to}, {"match": named, "route": to}])), ["http[1].match[0]"]);
}

#[test]
fn hosts_are_resolved_as_istio_does_it() {
    assert_eq!(resolve("a", "ns"), "a.ns.svc.cluster.local");
    for as_it_is in ["a.ns", "a.ns.svc.cluster.local", "*", "*.x", ""] {
        assert_eq!(resolve(as_it_is, "ns"), as_it_is);
    }
    assert_eq!(service_of(&fqdn("a", "ns")), Some(("a", "ns")));
    for other in
        ["a.ns", "a.b.ns.svc.cluster.local", ".ns.svc.cluster.local", "a..svc.cluster.local", "asvc.cluster.local"]
    {
        assert_eq!(service_of(other), None, "{other}");
    }
    assert!(exports_to::<&str>(&[], "ns", "other") && exports_to(&["."], "ns", "ns") && exports_to(&["b"], "ns", "b"));
    assert!(!exports_to(&["."], "ns", "other") && !exports_to(&["b"], "ns", "ns"));
}
