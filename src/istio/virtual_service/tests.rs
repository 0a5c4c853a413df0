//! Reading and writing VirtualServices, and their hosts.

use super::{VirtualService, exports_to, fqdn, resolve, service_of};
use serde_json::json;

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
    assert_eq!(read.destinations().map(|to| to.host.as_str()).collect::<Vec<_>>(), ["a", "m", "a", "a"]);
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
