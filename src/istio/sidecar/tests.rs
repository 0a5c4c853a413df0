//! Tests of reading, writing and hashing Sidecars.

use super::egress::{ReadError, read};
use super::*;
use proptest::prelude::*;
use serde_json::json;

fn listeners(answer: &Value) -> Result<Vec<EgressListener>, ReadError> {
    read(answer)
}

fn of_hosts(hosts: &[&str]) -> EgressListener {
    EgressListener { hosts: hosts.iter().map(ToString::to_string).collect(), ..EgressListener::default() }
}

fn selecting(labels: &[(&str, &str)]) -> WorkloadSelector {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    WorkloadSelector { labels }
}

/// Expected values are from sidecar-generator-operator.
#[test]
fn hashes_are_those_of_the_go_operator() {
    let hosts = ["./*", "istio-system/*", "ns2/*", "ns1/*"];
    let sorted = ["./*", "istio-system/*", "ns1/*", "ns2/*"];
    for (sidecar, json, hash) in [
        (
            Sidecar { workload_selector: Some(selecting(&[("app", "myapp")])), egress: vec![of_hosts(&hosts)] },
            r#"{"workloadSelector":{"labels":{"app":"myapp"}},"egress":[{"hosts":["./*","istio-system/*","ns2/*","ns1/*"]}]}"#,
            "96e264924cbf40670253cf8627f3bab038a3b7684f9fac8d5039a4dc2318ee37",
        ),
        (
            Sidecar { workload_selector: Some(selecting(&[("app", "myapp")])), egress: vec![of_hosts(&sorted)] },
            r#"{"workloadSelector":{"labels":{"app":"myapp"}},"egress":[{"hosts":["./*","istio-system/*","ns1/*","ns2/*"]}]}"#,
            "64a87891c4a2a5348e3ca0ed6348cb4657b3685ba06ca545ac1f6e05c8ef701f",
        ),
        (
            Sidecar { workload_selector: None, egress: vec![of_hosts(&sorted[..3])] },
            r#"{"egress":[{"hosts":["./*","istio-system/*","ns1/*"]}]}"#,
            "5825caac54c42b277602a8010e4f25405565726cc41f1850c19ae83de5c1aa51",
        ),
        (Sidecar::default(), "{}", "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
    ] {
        assert_eq!(sidecar.canonical_json(), json);
        assert_eq!(sidecar.spec_hash(), hash);
        assert_eq!(spec_hash_of(&sidecar.to_value()).as_deref(), Some(hash), "{json}");
    }
}

#[test]
fn the_canonical_text_has_the_order_of_the_proto_file_and_no_zero_values() {
    let port = SidecarPort { number: 80, protocol: "HTTP".into(), name: "web".into(), target_port: 0 };
    let mut listener = of_hosts(&["a/<b>&\u{2028}\u{2029}\u{8}\u{c}\u{1}\u{7f}\"\\"]);
    listener.port = Some(port);
    listener.bind = "127.0.0.1".into();
    listener.capture_mode = CaptureMode::None;
    let empty = EgressListener { port: Some(SidecarPort::default()), ..EgressListener::default() };
    let sidecar = Sidecar {
        workload_selector: Some(selecting(&[("b", "1"), ("B", ""), ("a", "2")])),
        egress: vec![listener, empty],
    };
    assert_eq!(
        sidecar.canonical_json(),
        r#"{"workloadSelector":{"labels":{"B":"","a":"2","b":"1"}},"egress":[{"port":{"number":80,"protocol":"HTTP","name":"web"},"bind":"127.0.0.1","captureMode":"NONE","hosts":["a/\u003cb\u003e\u0026\u2028\u2029\b\f\u0001"#
            .to_owned()
            + "\u{7f}"
            + r#"\"\\"]},{"port":{}}]}"#
    );
    let sidecar = Sidecar { workload_selector: Some(selecting(&[])), egress: Vec::new() };
    assert_eq!(sidecar.canonical_json(), r#"{"workloadSelector":{}}"#);
}

#[test]
fn an_answer_is_read_as_proto_json() {
    let full = EgressListener {
        port: Some(SidecarPort { number: 8080, protocol: "TCP".into(), name: "n".into(), target_port: 7 }),
        bind: "::1".into(),
        capture_mode: CaptureMode::Iptables,
        hosts: vec!["./*".into()],
    };
    let port = json!({"number": 8080, "protocol": "TCP", "name": "n", "targetPort": 7});
    let snake = json!({"number": "8080", "protocol": "TCP", "name": "n", "target_port": "7"});
    let both = json!({"number": 8080, "protocol": "TCP", "name": "n", "targetPort": 7, "target_port": 9});
    for (answer, expected) in [
        (json!(null), vec![]),
        (json!([]), vec![]),
        (json!([{}]), vec![EgressListener::default()]),
        (json!([{"hosts": ["a/*"]}, {"hosts": []}]), vec![of_hosts(&["a/*"]), of_hosts(&[])]),
        (json!([{"port": port, "bind": "::1", "captureMode": "IPTABLES", "hosts": ["./*"]}]), vec![full.clone()]),
        (json!([{"port": snake, "bind": "::1", "capture_mode": 1, "hosts": ["./*"]}]), vec![full.clone()]),
        (json!([{"port": both, "bind": "::1", "captureMode": 1, "hosts": ["./*"], "future": {"a": []}}]), vec![full]),
        (
            json!([{"port": null, "bind": null, "captureMode": null, "hosts": null, "HOSTS": ["a/*"]}]),
            vec![EgressListener::default()],
        ),
    ] {
        assert_eq!(listeners(&answer), Ok(expected), "{answer}");
    }
}

#[test]
fn what_cannot_be_read_is_named_without_its_value() {
    for (answer, message) in [
        (json!({}), "the answer must be a JSON list of egress listeners, it is an object"),
        (json!("x"), "the answer must be a JSON list of egress listeners, it is a string"),
        (json!([{}, null]), "egress[1]: must be an egress listener, not null"),
        (json!(["./*"]), "egress[0]: expected an object, found a string"),
        (json!([{"hosts": "./*"}]), "egress[0].hosts: expected a list, found a string"),
        (json!([{"hosts": ["a/*", null]}]), "egress[0].hosts[1]: expected a string, found null"),
        (json!([{"port": 80}]), "egress[0].port: expected an object, found a number"),
        (json!([{"port": {"number": 1.0}}]), "egress[0].port.number: expected a whole number, found a number"),
        (json!([{"port": {"number": "+1"}}]), "egress[0].port.number: expected a whole number, found a string"),
        (json!([{"port": {"number": "01"}}]), "egress[0].port.number: expected a whole number, found a string"),
        (json!([{"port": {"number": -1}}]), "egress[0].port.number: must be 0 to 4294967295"),
        (json!([{"port": {"target_port": "4294967296"}}]), "egress[0].port.targetPort: must be 0 to 4294967295"),
        (json!([{"captureMode": "hunter2"}]), "egress[0].captureMode: must be one of DEFAULT, IPTABLES, NONE"),
        (json!([{"captureMode": "1"}]), "egress[0].captureMode: must be one of DEFAULT, IPTABLES, NONE"),
        (json!([{"captureMode": 3}]), "egress[0].captureMode: must be one of DEFAULT, IPTABLES, NONE"),
        (json!([{"captureMode": true}]), "egress[0].captureMode: expected a string, found a boolean"),
        (json!([{"bind": 5}]), "egress[0].bind: expected a string, found a number"),
    ] {
        assert_eq!(listeners(&answer).unwrap_err().to_string(), message, "{answer}");
    }
}

/// Expected texts are from `istio.io/api` 1.31.1.
#[test]
fn specs_of_others_hash_as_the_go_types_write_them() {
    for (spec, text) in [
        (json!(null), "{}"),
        (json!({"workloadSelector": null, "egress": [], "ingress": null}), "{}"),
        (json!({"workloadSelector": {"labels": {}}}), r#"{"workloadSelector":{}}"#),
        (
            json!({"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}, "egress": [{"hosts": ["./*"]}]}),
            r#"{"egress":[{"hosts":["./*"]}],"outboundTrafficPolicy":{}}"#,
        ),
        (
            json!({"outbound_traffic_policy": {"mode": 1, "egressProxy": {"port": {"number": 9}, "host": "a.b"}}}),
            r#"{"outboundTrafficPolicy":{"mode":"ALLOW_ANY","egressProxy":{"host":"a.b","port":{"number":9}}}}"#,
        ),
        (
            json!({"inboundConnectionPool": {
                "http": {"http2MaxRequests": 5, "http1MaxPendingRequests": -1, "h2UpgradePolicy": "UPGRADE",
                         "http2KeepAlive": {"timeout": "0s", "interval": "1.50s"}},
                "tcp": {"tcpKeepalive": {"time": "7200s", "probes": 3}, "connectTimeout": "0.0001s"}}}),
            r#"{"inboundConnectionPool":{"tcp":{"connectTimeout":"0.000100s","tcpKeepalive":{"probes":3,"time":"7200s"}},"http":{"http1MaxPendingRequests":-1,"http2MaxRequests":5,"h2UpgradePolicy":"UPGRADE","http2KeepAlive":{"interval":"1.500s","timeout":"0s"}}}}"#,
        ),
        (
            json!({"ingress": [{"tls": {"mode": "MUTUAL", "insecureSkipVerify": false, "caCrl": "c", "caCertificates": "b",
                                        "minProtocolVersion": "TLSV1_2", "httpsRedirect": false},
                                "defaultEndpoint": "127.0.0.1:1", "port": {"number": 1}}]}),
            r#"{"ingress":[{"port":{"number":1},"defaultEndpoint":"127.0.0.1:1","tls":{"mode":"MUTUAL","caCertificates":"b","caCrl":"c","minProtocolVersion":"TLSV1_2","insecureSkipVerify":false}}]}"#,
        ),
    ] {
        assert_eq!(spec_hash_of(&spec), Some(hash(text)), "{spec}");
    }
}

#[test]
fn what_the_proto_form_cannot_hold_has_no_hash() {
    for spec in [
        json!([]),
        json!({"future": 1}),
        json!({"egress": [{"hosts": ["./*"], "future": null}]}),
        json!({"egress": [null]}),
        json!({"egress": [{"captureMode": "FUTURE"}]}),
        json!({"inboundConnectionPool": {"tcp": {"connectTimeout": "1h"}}}),
        json!({"inboundConnectionPool": {"tcp": {"connectTimeout": "-1s"}}}),
        json!({"workloadSelector": {"labels": {"a": 1}}}),
    ] {
        assert_eq!(spec_hash_of(&spec), None, "{spec}");
    }
}

#[test]
fn hosts_are_counted_over_all_listeners() {
    let spec =
        json!({"egress": [{"hosts": ["a/*", "b/*"], "port": {"number": "1"}}, {"hosts": ["c/*"]}], "ingress": [{}]});
    assert_eq!(Sidecar::read(&spec).map(|sidecar| sidecar.hosts()), Ok(3));
    let spec = json!({"egress": [{"hosts": [NOTHING]}, {"hosts": ["a/*", "~a/b.c"]}]});
    assert_eq!(Sidecar::read(&spec).map(|sidecar| sidecar.hosts()), Ok(1), "what names nothing is no host");
}

/// JSON similar to a list of egress listeners.
fn answers() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[a-z~.*]{1,3}/([a-z*]{1,3}[.])?[a-z*]{1,3}",
        "(unix://[/@])?[a-z0-9.:]{0,4}",
        "DEFAULT|IPTABLES|NONE|HTTP|80|0",
        any::<String>(),
    ];
    let leaf = prop_oneof![
        4 => text.prop_map(Value::from),
        1 => any::<u32>().prop_map(Value::from),
        1 => (0..70_000_u32).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("hosts".to_owned()),
        "port|bind|captureMode|capture_mode|number|protocol|name|targetPort|target_port",
        any::<String>(),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Hosts and ports that are mostly valid.
fn likely_listeners() -> impl Strategy<Value = Value> {
    let host = "([a-z]{1,3}|[.*~])/([*]|([*][.])?[a-z]{1,3}[.][a-z<&]{1,3})";
    let listener =
        (prop::collection::vec(host, 1..4), prop::option::of(0..70_000_u32), "(unix:///[a-z>]{1,3})?", 0..3_u8);
    prop::collection::vec(listener, 1..4).prop_map(|listeners| {
        let listeners = listeners.into_iter().map(|(hosts, number, bind, mode)| {
            let port = number.map_or(Value::Null, |number| json!({"number": number.to_string(), "name": "n"}));
            json!({"hosts": hosts, "port": port, "bind": bind, "capture_mode": mode})
        });
        listeners.collect()
    })
}

proptest! {
    #[test]
    fn what_was_read_is_written_so_that_it_is_read_again(
        answer in prop_oneof![answers(), prop::collection::vec(answers(), 0..3).prop_map(Value::from), likely_listeners()],
        labels in prop::option::of(prop::collection::btree_map("[a-z<]{0,3}", "[a-z*&]{0,3}", 0..3)),
    ) {
        if let Ok(egress) = listeners(&answer) {
            let sidecar = Sidecar { workload_selector: labels.map(|labels| WorkloadSelector { labels }), egress };
            let _ = validate(&sidecar, "own");
            let text = sidecar.canonical_json();
            let again: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&again, &sidecar.to_value());
            prop_assert_eq!(Sidecar::read(&again), Ok(sidecar.clone()));
            prop_assert_eq!(spec_hash_of(&again), Some(sidecar.spec_hash()));
            prop_assert!(!text.contains(['<', '>', '&']));
        }
    }
}
