//! Tests of objects that are no longer planned.

use super::*;

#[test]
fn what_was_made_for_one_that_is_gone_is_swept_but_for_what_another_would_have() {
    let key = Key::new("shop", "web");
    let there = [ours(MeshKind::DestinationRule, "web", &json!({})), ours(MeshKind::VirtualService, "web", &json!({}))];
    let mut index = index(&there);
    index.mesh_services_event(Event::Deleted(web()));
    assert!(index.keys().contains(&key), "it left something");
    assert_eq!(
        writes(&at(&mut index, &key, now())),
        ["delete VirtualService/shop/web", "delete DestinationRule/shop/web"]
    );
    index.is_installed = false;
    assert!(at(&mut index, &key, now()).writes.is_empty(), "nobody knows whether it is gone");
}

#[test]
fn what_is_deleted_and_comes_back_again_and_again_is_deleted_more_seldom() {
    let key = Key::new("shop", "web");
    let (old, other) = (ours(MeshKind::VirtualService, "old", &json!({})), ours(MeshKind::Gateway, "old", &json!({})));
    let mut index = index(&[old, other]);
    for _ in 0..8 {
        index.memory(&key).written(&ObjectKey::made(MeshKind::VirtualService, Key::new("shop", "old")), 1, now());
    }
    let look = look(&mut index, &web(), &plan(&[]), now());
    assert_eq!(writes(&look), ["delete Gateway/shop/old"], "and holds up no other");
    assert!(look.pause.is_some());
    index.mesh_services_event(Event::Deleted(web()));
    let look = at(&mut index, &key, now());
    assert_eq!(writes(&look), ["delete Gateway/shop/old"]);
    assert!(look.pause.is_some());
}

#[test]
fn what_is_in_its_own_namespace_is_left_to_the_garbage_collector_and_stays_without_an_owner_reference() {
    let key = Key::new("shop", "web");
    let mut orphan = ours(MeshKind::DestinationRule, "web", &json!({}));
    orphan.1["metadata"].as_object_mut().unwrap().shift_remove("ownerReferences");
    let mut index = index(&[ours(MeshKind::VirtualService, "web", &json!({})), orphan, elsewhere()]);
    let deleting = with(&json!({"deletionTimestamp": "2026-11-29T10:00:00Z", "resourceVersion": "2"}));
    index.mesh_services_event(Event::Applied(deleting));
    let look = at(&mut index, &key, now());
    assert_eq!(writes(&look), ["delete VirtualService/edge/shop.web"]);
    assert!(look.told.is_none());
    index.mesh_services_event(Event::Deleted(web()));
    let expected = ["delete VirtualService/shop/web", "delete VirtualService/edge/shop.web"];
    assert_eq!(writes(&at(&mut index, &key, now())), expected);
}

fn adopted(name: &str) -> (MeshKind, Value) {
    let (kind, mut object) = ours(MeshKind::VirtualService, name, &json!({"hosts": ["web"]}));
    object["metadata"]["annotations"] = json!({keys::MESH_ADOPTED: "{\"hosts\":[\"x\"]}"});
    object["metadata"].as_object_mut().unwrap().shift_remove("ownerReferences");
    (kind, object)
}

fn deleting(finalizer: &str) -> Arc<ObservedMeshService> {
    let finalizers: &[&str] = if finalizer.is_empty() { &[] } else { &[finalizer] };
    with(&json!({"deletionTimestamp": "2026-11-29T10:00:00Z", "resourceVersion": "2", "finalizers": finalizers}))
}

#[test]
fn what_was_taken_over_is_given_back_when_nobody_asks_for_it_any_more() {
    assert!(
        looked(&[adopted("web")], &plan(&[routes()])).writes.is_empty(),
        "it has no ownerReference, and needs none"
    );
    let expected = ["give back VirtualService/shop/web"];
    assert_eq!(writes(&looked(&[adopted("web")], &plan(&[]))), expected);
    let key = Key::new("shop", "web");
    for event in [Event::Applied(deleting("")), Event::Deleted(web())] {
        let mut index = index(&[adopted("web")]);
        index.mesh_services_event(event);
        assert_eq!(writes(&at(&mut index, &key, now())), expected);
    }
}

#[test]
fn what_is_taken_over_has_no_owner_reference_or_would_go_with_its_meshservice() {
    let given = theirs(&json!({"annotations": {keys::ADOPT: "true"}}), &json!({"hosts": ["x"]}));
    let look = looked(&[given], &plan(&[routes()]));
    let Write::Apply(applied, _, Over::Adopted(_)) = &look.writes[0] else { panic!("{:?}", look.writes) };
    assert_eq!(applied.metadata.owner_references, None);
}

#[test]
fn of_a_meshservice_that_is_deleted_without_its_objects_all_of_them_stay() {
    let key = Key::new("shop", "web");
    let mut index = index(&[ours(MeshKind::DestinationRule, "web", &json!({})), adopted("web"), elsewhere()]);
    index.mesh_services_event(Event::Applied(deleting("orphan")));
    let expected =
        ["release VirtualService/shop/web", "release VirtualService/edge/shop.web", "release DestinationRule/shop/web"];
    assert_eq!(writes(&at(&mut index, &key, now())), expected);
    index.mesh_services_event(Event::Deleted(web()));
    assert_eq!(writes(&at(&mut index, &key, now())), expected, "it may be gone before that is written");
    index.mesh_services_event(Event::Applied(with(&json!({"resourceVersion": "3"}))));
    index.mesh_services_event(Event::Deleted(web()));
    assert!(writes(&at(&mut index, &key, now()))[0].starts_with("give back "), "another one of the name");
}

#[test]
fn what_goes_before_its_meshservice_goes_in_the_right_order() {
    let key = Key::new("shop", "web");
    let policy = ours(MeshKind::AuthorizationPolicy, "web", &json!({}));
    let mut index = index(&[policy, ours(MeshKind::VirtualService, "web", &json!({}))]);
    index.mesh_services_event(Event::Applied(deleting("foregroundDeletion")));
    let expected = ["delete VirtualService/shop/web", "delete AuthorizationPolicy/shop/web"];
    assert_eq!(writes(&at(&mut index, &key, now())), expected);
}
