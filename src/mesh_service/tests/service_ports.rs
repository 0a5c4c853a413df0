//! Tests of how the ports of another owner's Service fit the spec.

use super::table::web;
use super::{Fake, said};
use crate::mesh_service::{MeshKind, Plan};
use serde_json::{Value, json};

fn plan(ports: &str, service: &str, metadata: &str) -> Plan {
    let yaml = web("").replace("[{port: 80}]", ports);
    let service =
        format!("kind: Service\nmetadata: {{name: web, {metadata}}}\nspec: {{selector: {{app: web}}, {service}}}\n");
    Fake::of(&(yaml + &service)).plan(0)
}

fn letting(words: &str) -> String {
    format!("annotations: {{outrigger.dev/mesh-repair: '{words}'}}")
}

/// Returns the change as JSON.
fn mend(plan: &Plan) -> Value {
    plan.mend.as_ref().map_or(Value::Null, |mend| serde_json::to_value(&mend.operations).unwrap())
}

#[test]
fn a_service_with_the_ports_of_the_spec_is_well() {
    for (ports, service) in [
        ("[{port: 80}]", "ports: [{port: 80}]"),
        ("[{port: 80}]", "ports: [{name: web, port: 80}, {name: more, port: 81}]"),
        ("[{name: grpc, port: 80}]", "ports: [{name: http-web, port: 80}]"),
        ("[{name: tcp-db, port: 3306}]", "ports: [{name: db, port: 3306}]"),
        ("[{name: https, port: 443}]", "ports: [{name: x, port: 443, appProtocol: kubernetes.io/wss}]"),
        ("[{name: dns, port: 53, protocol: UDP}]", "ports: [{name: a, port: 53}, {name: b, port: 53, protocol: UDP}]"),
        ("[{port: 80}]", "clusterIP: None"),
        ("[{port: 80}]", "type: ExternalName, externalName: a.com, ports: [{port: 81}]"),
    ] {
        let plan = plan(ports, service, &letting("AddPort,SetProtocol"));
        assert_eq!((said(&plan), &plan.mend), (Vec::new(), &None), "{ports} {service}");
    }
}

#[test]
fn a_port_that_a_service_lacks_is_added_only_where_the_service_lets_us() {
    let (ports, service) =
        ("[{port: 80}, {name: admin, port: 81, targetPort: 8081, protocol: HTTP}]", "ports: [{name: http, port: 80}]");
    let told = plan(ports, service, "");
    assert_eq!(
        said(&told),
        [
            "PortMissing: spec.ports[1]: the Service shop/web has no port 81 of TCP: add it to the Service, or remove it here, or annotate the \
          Service outrigger.dev/mesh-repair: AddPort"
        ]
    );
    assert_eq!(told.mend, None);
    assert_eq!(plan(ports, service, &letting("SetProtocol")).mend, None, "it lets us do something else");
    let added = json!([{"op": "add", "path": "/spec/ports/-", "value": {
        "name": "admin", "port": 81, "targetPort": 8081, "protocol": "TCP", "appProtocol": "http"}}]);
    assert_eq!(mend(&plan(ports, service, &letting("AddPort"))), added);
    let udp = plan("[{name: dns, port: 53, protocol: UDP}]", "ports: [{name: tcp-dns, port: 53}]", &letting("AddPort"));
    assert_eq!(mend(&udp)[0]["value"]["protocol"], json!("UDP"));
}

#[test]
fn a_port_that_istio_takes_for_another_protocol_is_named_only_where_the_service_lets_us() {
    for (ports, port, app_protocol) in [
        ("[{port: 80}]", "{name: tcp-web, port: 80}", "http"),
        ("[{port: 3306}]", "{port: 3306}", "http"),
        ("[{name: tcp, port: 80}]", "{name: http, port: 80}", "tcp"),
        ("[{name: https, port: 443}]", "{name: http, port: 443}", "https"),
        ("[{name: grpc-web, port: 80}]", "{name: tls, port: 80}", "grpc-web"),
    ] {
        let service = format!("ports: [{{name: a, port: 1}}, {port}]");
        let told = plan(ports, &service, "");
        assert!(said(&told)[0].starts_with("PortProtocol: spec.ports[0]: Istio takes port "), "{told:?}");
        assert_eq!(told.mend, None);
        let expected = json!([{"op": "add", "path": "/spec/ports/1/appProtocol", "value": app_protocol}]);
        assert_eq!(mend(&plan(ports, &service, &letting("AddPort, SetProtocol"))), expected, "{port}");
    }
    let said_so = plan("[{port: 80}]", "ports: [{port: 80, appProtocol: tcp}]", &letting("SetProtocol"));
    assert_eq!(said_so.mend, None);
    assert!(
        said(&said_so)[0].ends_with("or correct name and protocol here: somebody gave it an appProtocol"),
        "{said_so:?}"
    );
}

/// The API server would refuse it, or the owner of the Service would undo it.
#[test]
fn what_stands_in_the_way_of_a_change_is_told_and_nothing_is_changed() {
    let owner =
        "ownerReferences: [{'apiVersion': serving.knative.dev/v1, 'kind': Route, name: web, uid: u, controller: true}]";
    let other = "labels: {app.kubernetes.io/managed-by: outrigger, outrigger.dev/mesh-service: other, \
                 outrigger.dev/mesh-service-namespace: shop}";
    for (service, metadata, obstacle) in [
        ("ports: [{port: 81}]", "", "its port has no name, which all need where there are several"),
        ("ports: [{name: http-80, port: 81}]", "", "its port 81 has the name http-80 already"),
        ("ports: [{name: x, port: 81}]", owner, "it is controlled by Route/web, which would undo a change"),
        ("ports: [{name: x, port: 81}]", other, "it was made for the MeshService shop/other, whose spec.ports decide"),
    ] {
        let plan = plan("[{port: 80}]", service, &format!("{}, {metadata}", letting("AddPort")));
        assert!(said(&plan)[0].ends_with(obstacle), "{plan:?}");
        assert_eq!(plan.mend, None, "{obstacle}");
    }
    let yaml = web("")
        + &format!(
            "kind: Service\nmetadata: {{name: web, {}}}\nspec: {{ports: [{{name: x, port: 81}}]}}\n",
            letting("AddPort")
        );
    let plan = Fake::of(&yaml).with([MeshKind::VirtualService]).plan(0);
    assert!(plan.mend.is_none() && said(&plan)[0].ends_with("--mesh-kinds leaves out Services"), "{plan:?}");
}

#[test]
fn a_word_of_a_service_that_is_no_repair_is_told() {
    let plan = plan("[{port: 80}]", "ports: [{port: 80}]", &letting("Adopt"));
    assert_eq!(
        said(&plan),
        [
            "UnknownRepair: The annotation outrigger.dev/mesh-repair of the Service shop/web names \"Adopt\", which is none: it may be AddPort, \
          SetProtocol"
        ]
    );
}
