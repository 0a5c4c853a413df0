//! Hot upgrades: how the two containers take turns, how an upgrade ends, and what may interrupt it.

use super::*;

fn hot(image: &str) -> Value {
    let upgrade = json!({"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "empty:1"});
    spec("i:0", &json!({"containers": [{"name": "c", "image": image, "upgradeStrategy": upgrade}]}))
}

/// A builder for this Pod.
fn rebuilt(json: &Value) -> PodBuilder {
    PodBuilder::new("p").state(json)
}

/// A Pod as injected.
fn injected(image: &str) -> PodBuilder {
    let pod = bare("p", &hot(image)).container("c-1", image).container("c-2", "empty:1");
    pod.annotation(keys::WORKING_HOT_UPGRADE, r#"{"c":"c-1"}"#)
        .annotation(&keys::version_of("c-1"), "1")
        .annotation(&keys::version_alt_of("c-1"), "0")
        .annotation(&keys::version_of("c-2"), "0")
        .annotation(&keys::version_alt_of("c-2"), "1")
}

fn images(pod: &Value) -> [String; 2] {
    [0, 1].map(|n| pod["spec"]["containers"][n]["image"].as_str().unwrap().to_owned())
}

#[test]
fn a_hot_upgrade_gives_the_image_to_the_empty_container_and_then_empties_the_other() {
    let versions = |pod: &Value| {
        let of = |key: String| pod["metadata"]["annotations"][key.as_str()].as_str().unwrap().to_owned();
        ["c-1", "c-2"].map(|name| (of(keys::version_of(name)), of(keys::version_alt_of(name))))
    };
    let texts = |[a, b]: [(&str, &str); 2]| [a, b].map(|(x, y)| (x.to_owned(), y.to_owned()));
    let pod = injected("i:1");
    let mut world = World::new(&hot("i:2"), std::slice::from_ref(&pod));
    let plan = world.plan();
    let upgraded = patched(&pod, &plan.updates[0]);
    assert_eq!(images(&upgraded), ["i:1", "i:2"]);
    assert_eq!(annotated(&upgraded, keys::WORKING_HOT_UPGRADE), json!({"c": "c-2"}));
    assert_eq!(versions(&upgraded), texts([("1", "77"), ("77", "1")]));

    // The new image is bad: nothing is reset, and the next image goes to the same container.
    let mut world = World::new(&hot("i:2"), &[rebuilt(&upgraded)]);
    assert_eq!(world.updated(), "", "it does not run yet");
    let failed = rebuilt(&upgraded).state(&json!({"status": {"conditions": [], "containerStatuses": [
        {"name": "c-1", "image": "i:1", "imageID": "i:1", "ready": true},
        {"name": "c-2", "image": "i:2", "imageID": "", "ready": false}]}}));
    let plan = World::new(&hot("i:3"), std::slice::from_ref(&failed)).plan();
    let again = patched(&failed, &plan.updates[0]);
    assert_eq!(images(&again), ["i:1", "i:3"]);
    assert_eq!(annotated(&again, keys::WORKING_HOT_UPGRADE), json!({"c": "c-2"}));

    let runs = rebuilt(&upgraded).status("c-2", "i:2", "i:2");
    let plan = World::new(&hot("i:2"), std::slice::from_ref(&runs)).plan();
    let reset = patched(&runs, &plan.updates[0]);
    assert_eq!(images(&reset), ["empty:1", "i:2"]);
    assert_eq!(versions(&reset), texts([("0", "77"), ("77", "0")]));
    let ended = rebuilt(&reset).status("c-1", "empty:1", "empty:1");
    let mut world = World::new(&hot("i:2"), &[ended]);
    assert_eq!(world.updated(), "");
    let counts = world.index.pods().counts("s");
    assert_eq!((counts.updated, counts.updated_ready, counts.unavailable), (1, 1, 0));
}

#[test]
fn a_hot_upgrade_comes_to_its_end_although_the_set_moved_on_and_holds_the_pod() {
    let pod = injected("i:1");
    let mut world = World::new(&hot("i:2"), std::slice::from_ref(&pod));
    let upgraded = rebuilt(&patched(&pod, &world.plan().updates[0])).status("c-2", "i:2", "i:2");
    for held in [json!({"paused": true}), json!({"partition": 1}), json!({"type": "NotUpdate"}), json!({})] {
        let mut spec = hot("i:3");
        spec["updateStrategy"].as_object_mut().unwrap().extend(held.as_object().unwrap().clone());
        let mut world = World::new(&spec, std::slice::from_ref(&upgraded));
        let plan = world.plan();
        assert_eq!(plan.updates.len(), 1, "{held}");
        assert_eq!(plan.updates[0].kind, UpdateKind::Reset, "{held}");
        assert_eq!(images(&patched(&upgraded, &plan.updates[0])), ["empty:1", "i:2"], "{held}");
    }
}

#[test]
fn containers_that_no_injector_marked_are_not_emptied() {
    let forged = injected("i:1").changed("c-2", &json!({"image": "theirs:1", "env": []}));
    assert_eq!(World::new(&hot("i:1"), &[forged]).updated(), "");
}

#[test]
fn hot_native_sidecars_are_upgraded_where_they_are() {
    let set = |image: &str| {
        let upgrade = json!({"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "empty:1"});
        let native = json!({"name": "n", "image": image, "restartPolicy": "Always", "upgradeStrategy": upgrade});
        spec("i:1", &json!({"initContainers": [native]}))
    };
    let version = |variable: &str, key: &str, name: &str| {
        let path = format!("metadata.annotations['{key}.sidecarset.kruise.io/{name}']");
        json!({"name": variable, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
    };
    let native = |name: &str, image: &str| {
        let mark = json!({"name": "IS_INJECTED", "value": "true"});
        let env = [
            mark,
            version("SIDECARSET_VERSION", "version", name),
            version("SIDECARSET_VERSION_ALT", "versionalt", name),
        ];
        json!({"name": name, "image": image, "restartPolicy": "Always", "env": env})
    };
    let status = |name: &str, image: &str| json!({"name": name, "image": image, "imageID": image, "ready": true});
    let statuses = json!({"status": {"initContainerStatuses": [status("n-1", "n:1"), status("n-2", "empty:1")]}});
    let pod = bare("p", &set("n:1"))
        .container("c", "i:1")
        .init_containers(&json!([native("n-1", "n:1"), native("n-2", "empty:1")]))
        .annotation(keys::WORKING_HOT_UPGRADE, r#"{"n":"n-1"}"#)
        .state(&statuses);
    assert_eq!(World::new(&set("n:1"), std::slice::from_ref(&pod)).counts().updated_ready, 1);
    let mut world = World::new(&set("n:2"), std::slice::from_ref(&pod));
    let images = |pod: &Value| [0, 1].map(|n| pod["spec"]["initContainers"][n]["image"].as_str().unwrap().to_owned());
    let upgraded = patched(&pod, &world.plan().updates[0]);
    assert_eq!(images(&upgraded), ["n:1", "n:2"]);
    assert_eq!(annotated(&upgraded, keys::WORKING_HOT_UPGRADE), json!({"n": "n-2"}));
    let statuses = json!({"status": {"initContainerStatuses": [status("n-1", "n:1"), status("n-2", "n:2")]}});
    let runs = rebuilt(&upgraded).state(&statuses);
    let reset = patched(&runs, &World::new(&set("n:2"), std::slice::from_ref(&runs)).plan().updates[0]);
    assert_eq!(images(&reset), ["empty:1", "n:2"]);
}
