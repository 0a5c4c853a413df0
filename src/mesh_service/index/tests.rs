//! Tests of which MeshServices the leader reconciles after an event, and what is known then.

use super::*;
use crate::api::keys;
use crate::mesh_integrity;
use crate::mesh_service::look;
use jiff::Timestamp;
use serde_json::{Value, json};

fn index() -> MeshIndex {
    let (root_namespace, domain) = ("istio-system".to_owned(), "cluster.local".to_owned());
    let mut index = MeshIndex::new(Settings { kinds: MeshKinds::default(), root_namespace, domain });
    index.is_installed = true;
    index
}

fn mesh_service(name: &str, version: u32, service: &str) -> Arc<ObservedMeshService> {
    Arc::new(ObservedMeshService::read(json!({
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": version.to_string(), "uid": name},
        "spec": {"serviceName": service, "ports": [{"port": 80}], "gateway": {"name": "edge", "namespace": "istio-system"}},
    })))
}

fn seen(kind: Watched, namespace: &str, name: &str, version: u32, more: &Value) -> Arc<Seen> {
    let mut object =
        json!({"metadata": {"name": name, "namespace": namespace, "resourceVersion": version.to_string()}});
    if namespace.is_empty() {
        object["metadata"].as_object_mut().unwrap().shift_remove("namespace");
    }
    object["metadata"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Arc::new(Seen::read(kind, object))
}

fn made_for(name: &str) -> Value {
    json!({"labels": {
        keys::MANAGED_BY: "outrigger", keys::MESH_SERVICE: name, keys::MESH_SERVICE_NAMESPACE: "shop",
    }})
}

fn made_elsewhere(name: &str) -> Value {
    let mut metadata = made_for(name);
    metadata["annotations"] = json!({keys::MESH_OBJECT: format!("elsewhere/shop.{name}")});
    metadata
}

const ROUTES: Watched = Watched::Made(MeshKind::VirtualService);

fn names(touched: &BTreeSet<Key>) -> Vec<&str> {
    touched.iter().map(|key| key.name.as_str()).collect()
}

fn now() -> Timestamp {
    Timestamp::from_second(1).unwrap()
}

fn key(name: &str) -> Key {
    Key::new("shop", name)
}

#[test]
fn a_meshservice_and_those_that_name_the_same_are_looked_at_when_it_changes() {
    let mut index = index();
    assert_eq!(names(&index.mesh_services_event(Event::Applied(mesh_service("a", 1, "web")))), ["a"]);
    assert_eq!(names(&index.mesh_services_event(Event::Applied(mesh_service("b", 2, "web")))), ["a", "b"]);
    assert_eq!(names(&index.mesh_services_event(Event::Applied(mesh_service("b", 2, "web")))), [""; 0], "the same");
    assert_eq!(names(&index.mesh_services_event(Event::Deleted(mesh_service("b", 3, "web")))), ["a", "b"]);
    index.mesh_services_event(Event::Begin);
    assert_eq!(index.keys().len(), 1, "a list that may break off takes nothing away");
    assert_eq!(names(&index.mesh_services_event(Event::End)), ["a"]);
    assert!(index.keys().is_empty() && index.naming.is_empty());
}

#[test]
fn a_meshservice_is_looked_at_when_something_that_it_names_or_made_changes() {
    let mut index = index();
    index.mesh_services_event(Event::Applied(mesh_service("a", 1, "web")));
    let _ = look::at(&mut index, &key("a"), now());
    let nothing = json!({});
    for (kind, namespace, name) in [
        (Watched::Made(MeshKind::Service), "shop", "web"),
        (Watched::Made(MeshKind::Gateway), "istio-system", "edge"),
        (Watched::Namespace, "", "shop"),
        (Watched::Namespace, "", "istio-system"),
    ] {
        let touched = index.objects_event(kind, Event::Applied(seen(kind, namespace, name, 1, &nothing)));
        assert_eq!(names(&touched), ["a"], "{name}");
        let touched = index.objects_event(kind, Event::Applied(seen(kind, namespace, name, 2, &nothing)));
        assert_eq!(names(&touched), [""; 0], "{name}: nothing that matters");
        let touched = index.objects_event(kind, Event::Deleted(seen(kind, namespace, name, 3, &nothing)));
        assert_eq!(names(&touched), ["a"], "{name}");
    }
    let other = seen(Watched::Made(MeshKind::Service), "shop", "other", 1, &nothing);
    assert_eq!(names(&index.objects_event(other.key.kind, Event::Applied(other))), [""; 0]);
    let made = seen(ROUTES, "elsewhere", "shop.a", 1, &made_elsewhere("a"));
    assert_eq!(names(&index.objects_event(ROUTES, Event::Applied(made))), ["a"]);
    let given_up = seen(ROUTES, "elsewhere", "shop.a", 2, &nothing);
    assert_eq!(names(&index.objects_event(ROUTES, Event::Applied(given_up))), ["a"]);
    assert_eq!(index.made(), 0);
}

/// It may exist from an older spec, or from one that is not managed.
#[test]
fn a_meshservice_is_looked_at_when_a_namespace_that_has_something_of_it_lets_it_in_no_longer() {
    let mut index = index();
    index.objects_event(ROUTES, Event::Applied(seen(ROUTES, "elsewhere", "shop.a", 1, &made_elsewhere("a"))));
    index.mesh_services_event(Event::Applied(mesh_service("a", 1, "web")));
    let _ = look::at(&mut index, &key("a"), now());
    for (version, metadata) in [(1, json!({"annotations": {keys::ALLOW_MESH_FROM: "shop"}})), (2, json!({}))] {
        let namespace = seen(Watched::Namespace, "", "elsewhere", version, &metadata);
        assert_eq!(names(&index.objects_event(Watched::Namespace, Event::Applied(namespace))), ["a"], "{metadata}");
    }
}

#[test]
fn what_a_list_lacks_is_gone_at_its_end() {
    let mut index = index();
    for event in
        Event::list([seen(ROUTES, "shop", "a", 1, &made_for("a")), seen(ROUTES, "shop", "b", 1, &made_for("b"))])
    {
        index.objects_event(ROUTES, event);
    }
    assert_eq!(names(&index.keys()), ["a", "b"], "those that are gone and left something");
    index.objects_event(ROUTES, Event::Begin);
    index.objects_event(ROUTES, Event::Item(seen(ROUTES, "shop", "a", 1, &made_for("a"))));
    assert_eq!(index.made(), 2);
    assert_eq!(names(&index.objects_event(ROUTES, Event::End)), ["b"]);
    assert_eq!(index.made(), 1);
}

#[test]
fn what_the_api_server_answered_counts_until_the_watch_has_told_of_it() {
    let mut index = index();
    let at = |version| seen(ROUTES, "shop", "a", version, &made_for("a"));
    let version = |index: &MeshIndex| index.object(&at(1).key).map(|seen| seen.resource_version.clone());
    index.object_answered(Seen::clone(&at(5)), None);
    assert_eq!(version(&index).as_deref(), Some("5"));
    index.objects_event(ROUTES, Event::Applied(at(3)));
    assert_eq!(version(&index).as_deref(), Some("5"), "that was before");
    index.objects_event(ROUTES, Event::Applied(at(7)));
    index.object_answered(Seen::clone(&at(6)), Some("5"));
    assert_eq!(version(&index).as_deref(), Some("7"));
    index.object_deleted(&at(1).key);
    assert_eq!(version(&index), None);
}

#[test]
fn a_namespace_that_lets_somebody_in_matters_to_whoever_names_it() {
    let mut index = index();
    index.mesh_services_event(Event::Applied(mesh_service("a", 1, "web")));
    let _ = look::at(&mut index, &key("a"), now());
    let allows = |version, from: &str| {
        let annotations = json!({"annotations": {keys::ALLOW_MESH_FROM: from}});
        Event::Applied(seen(Watched::Namespace, "", "istio-system", version, &annotations))
    };
    assert_eq!(names(&index.objects_event(Watched::Namespace, allows(1, "other"))), ["a"]);
    assert!(!index.consents.allow("istio-system", "shop"));
    assert_eq!(names(&index.objects_event(Watched::Namespace, allows(2, "shop"))), ["a"]);
    assert!(index.consents.allow("istio-system", "shop"));
    let gone = seen(Watched::Namespace, "", "istio-system", 3, &json!({}));
    index.objects_event(Watched::Namespace, Event::Deleted(gone));
    assert!(!index.consents.allow("istio-system", "shop"));
}

#[test]
fn a_status_waits_until_the_checks_are_of_what_is_there() {
    let mut index = index();
    let (changes, _found) = mesh_integrity::start(mesh_integrity::Options::default(), Vec::new()).unwrap();
    index.judge().begin(changes);
    index.mesh_services_event(Event::Applied(mesh_service("a", 1, "web")));
    assert!(!index.is_checked(&key("a")), "nothing was checked");
    index.found(Found::default());
    assert!(index.is_checked(&key("a")));
    let made = seen(ROUTES, "shop", "a", 1, &made_for("a"));
    index.objects_event(ROUTES, Event::Applied(made));
    assert!(!index.is_checked(&key("a")));
    index.memory(&key("a")).is_waiting = true;
    assert_eq!(names(&index.found(Found::default())), [""; 0]);
    assert_eq!(names(&index.found(Found { changes: 1, ..Found::default() })), ["a"]);
    assert!(index.is_checked(&key("a")));
}

#[test]
fn all_are_looked_at_when_a_kind_comes_or_goes() {
    let mut index = index();
    index.mesh_services_event(Event::Applied(mesh_service("a", 1, "web")));
    assert_eq!(names(&index.set_absent(ROUTES, true)), ["a"]);
    assert_eq!(names(&index.set_absent(ROUTES, true)), [""; 0]);
    assert_eq!(names(&index.set_absent(ROUTES, false)), ["a"]);
}

/// Returns a MeshService with a host for its gateway, and its own Service.
fn through_gateway(name: &str, namespace: &str, version: u32, service_namespace: &str) -> Arc<ObservedMeshService> {
    Arc::new(ObservedMeshService::read(json!({
        "metadata": {
            "name": name, "namespace": namespace, "resourceVersion": version.to_string(), "uid": name,
            "creationTimestamp": format!("2026-11-29T10:00:{version:02}Z"),
        },
        "spec": {
            "serviceName": name, "namespace": service_namespace, "ports": [{"port": 80}], "hosts": [format!("{name}.example.com")],
            "gateway": {"name": "edge", "namespace": "istio-system"},
        },
    })))
}

fn letting(version: u32, namespace: &str, from: &str) -> Event<Arc<Seen>> {
    Event::Applied(seen(
        Watched::Namespace,
        "",
        namespace,
        version,
        &json!({"annotations": {keys::ALLOW_MESH_FROM: from}}),
    ))
}

/// Otherwise it would be deleted and recreated, and unavailable meanwhile.
#[test]
fn a_gateway_of_a_meshservice_that_is_gone_is_taken_over_by_who_names_it_too() {
    let (mut index, kind) = (index(), Watched::Made(MeshKind::Gateway));
    for version in 1..=2 {
        index.objects_event(Watched::Namespace, letting(version, "istio-system", "shop"));
    }
    index.objects_event(Watched::Namespace, Event::Applied(seen(Watched::Namespace, "", "shop", 1, &json!({}))));
    index.mesh_services_event(Event::Applied(through_gateway("a", "shop", 1, "shop")));
    index.mesh_services_event(Event::Applied(through_gateway("b", "shop", 2, "shop")));
    let mut made = made_for("a");
    made["annotations"] = json!({keys::MESH_OBJECT: "istio-system/edge"});
    let edge = seen(kind, "istio-system", "edge", 3, &made);
    index.objects_event(kind, Event::Applied(Arc::clone(&edge)));
    let is_planned = |index: &MeshIndex| {
        let plan = index.plan(index.mesh_service(&key("b")).unwrap());
        plan.objects.iter().any(|object| ObjectKey::of_made(object).as_ref() == Some(&edge.key))
    };
    assert!(!is_planned(&index), "it is the other's");
    index.mesh_services_event(Event::Deleted(through_gateway("a", "shop", 1, "shop")));
    assert!(
        is_planned(&index) && look::at(&mut index, &key("a"), now()).writes.is_empty(),
        "whoever is looked at first"
    );
    let writes = look::at(&mut index, &key("b"), now()).writes;
    assert!(
        writes.iter().any(|write| matches!(write, look::Write::Apply(_, key, look::Over::Left(_)) if *key == edge.key)),
        "{writes:?}"
    );
}

/// The older of two MeshServices that name a Gateway gets it, unless its objects are not allowed in the namespace of
/// its Service.
#[test]
fn a_meshservice_is_looked_at_when_another_is_no_longer_in_its_way() {
    let mut index = index();
    index.objects_event(Watched::Namespace, letting(1, "istio-system", "shop"));
    index.objects_event(Watched::Namespace, letting(1, "third", "shop"));
    index.mesh_services_event(Event::Applied(through_gateway("older", "shop", 1, "third")));
    index.mesh_services_event(Event::Applied(through_gateway("younger", "shop", 2, "shop")));
    for name in ["older", "younger"] {
        let _ = look::at(&mut index, &key(name), now());
    }
    assert_eq!(names(&index.objects_event(Watched::Namespace, letting(2, "third", "other"))), ["older", "younger"]);
}
