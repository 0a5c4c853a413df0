//! Changed amounts of CPU and memory: which Pods get them in place, with which patches, and how long they use a place.

use super::*;

/// A set with this image and amount of CPU, resized in place or not.
fn asking(image: &str, cpu: &str) -> Value {
    let resources = json!({"requests": {"cpu": cpu}, "limits": {"cpu": "2", "memory": "1Gi"}});
    spec(image, &json!({"containers": [{"name": "c", "image": image, "resources": resources}]}))
}

/// A Pod of this set with its requests.
fn pod(name: &str, spec: &Value) -> PodBuilder {
    let container = &spec["containers"][0];
    bare(name, spec)
        .container("c", container["image"].as_str().unwrap())
        .changed("c", &json!({"resources": container["resources"]}))
}

/// Sets the kubelet's status: the amount of CPU, and possibly that it cannot be changed.
fn told(pod: &PodBuilder, cpu: &str, pending: Option<&str>) -> PodBuilder {
    let mut object = pod.json();
    object["status"]["containerStatuses"][0]["resources"] =
        json!({"requests": {"cpu": cpu}, "limits": {"cpu": "2000m", "memory": "1024Mi"}});
    if let Some(reason) = pending {
        let condition = json!({"type": "PodResizePending", "status": "True", "reason": reason, "message": "no room"});
        object["status"]["conditions"].as_array_mut().unwrap().push(condition);
    }
    PodBuilder::new("p").state(&object)
}

/// A world in which the previous version is kept, and the set has opted in or not.
fn world(before: &Value, after: &Value, opted_in: bool, pods: &[PodBuilder]) -> World {
    let mut world = World::new(after, pods);
    world.keep(1, before);
    if opted_in {
        let mut set = set("s", after);
        set["metadata"]["resourceVersion"] = json!("78");
        set["metadata"]["annotations"] = json!({keys::RESIZE: keys::IN_PLACE});
        world.index.sets_event(Event::Applied(Arc::new(ObservedSet::read(&set))));
    }
    world
}

#[test]
fn only_amounts_of_cpu_and_memory_are_changed_and_only_where_the_set_says_so() {
    let before = asking("i:1", "500m");
    let pods = [told(&pod("p", &before), "500m", None)];
    let mut more = asking("i:2", "0.75");
    more["containers"][0]["resources"]["requests"]["memory"] = json!("1Gi");
    let mut env = asking("i:2", "0.75");
    env["containers"][0]["env"] = json!([{"name": "A", "value": "1"}]);
    for (case, after, opted_in, expected) in [
        ("an amount", asking("i:1", "0.75"), true, "p"),
        ("an amount and the image", asking("i:2", "0.75"), true, "p"),
        ("without the annotation", asking("i:2", "0.75"), false, ""),
        ("one that the container did not have", more, true, ""),
        ("another field", env, true, ""),
    ] {
        let mut world = world(&before, &after, opted_in, &pods);
        assert_eq!(world.updated(), expected, "{case}");
        let is_hinted = world.message().contains("outrigger.dev/resize: in-place on the set");
        assert_eq!(is_hinted, case == "without the annotation", "{case}: {}", world.message());
    }
    // For a version that is not kept, it is unknown what else changed.
    let mut forgotten = world(&asking("i:0", "500m"), &asking("i:1", "0.75"), true, &pods);
    assert_eq!(forgotten.updated(), "");
}

#[test]
fn the_amounts_go_first_by_a_patch_of_their_own_and_the_record_follows() {
    let (before, after) = (asking("i:1", "500m"), asking("i:2", "0.75"));
    let old = told(&pod("p", &before), "500m", None);
    let update = world(&before, &after, true, std::slice::from_ref(&old)).plan().updates.remove(0);
    assert_eq!(update.kind, UpdateKind::Resources);
    let mut object = old.json();
    json_patch::patch(&mut object, &json_patch::Patch(update.resize.clone())).unwrap();
    let resources = &object["spec"]["containers"][0]["resources"];
    assert_eq!(resources, &json!({"requests": {"cpu": "750m"}, "limits": {"cpu": "2", "memory": "1Gi"}}));
    assert_eq!(object["spec"]["containers"][0]["image"], "i:1");

    // The process ended there. The next one completes the update.
    let between = told(&PodBuilder::new("p").state(&object), "500m", None);
    let mut next = world(&before, &after, true, std::slice::from_ref(&between));
    assert_eq!(next.updated(), "", "the kubelet has not done it yet");
    assert_eq!(next.counts().unavailable, 1);
    let between = told(&between, "750m", None);
    let mut next = world(&before, &after, true, std::slice::from_ref(&between));
    let update = next.plan().updates.remove(0);
    assert_eq!((update.kind, update.resize.len()), (UpdateKind::Resources, 0));
    let annotations = serde_json::from_value(between.json()["metadata"]["annotations"].clone()).unwrap();
    let usable = ObservedSet::read(&set("s", &after)).usable.unwrap();
    let record = pod_patch::record_without_image("s", &usable.rules, &annotations, next.now).unwrap();
    let mut done = patched(&between, &update);
    json_patch::patch(&mut done, &json_patch::Patch(vec![record])).unwrap();
    for (key, hash) in
        [(keys::HASH, usable.rules.hash()), (keys::HASH_WITHOUT_IMAGE, usable.rules.hash_without_image())]
    {
        assert_eq!(annotated(&done, key)["s"]["hash"], hash);
    }
}

#[test]
fn a_resize_takes_a_place_until_the_kubelet_reports_it_and_what_hinders_it_is_told() {
    let (before, after) = (asking("i:1", "500m"), asking("i:1", "0.75"));
    let updated = pod("p", &after);
    let other = told(&pod("q", &before), "500m", None).state(&json!({"metadata": {"name": "q", "uid": "q"}}));
    let with = |first: PodBuilder| world(&before, &after, true, &[first, other.clone()]);
    assert_eq!(with(told(&updated, "500m", None)).updated(), "");
    assert_eq!(with(told(&updated, "0.75", None)).updated(), "q");
    assert_eq!(with(updated.clone()).updated(), "q", "a kubelet that tells no resources is not waited for");
    for reason in ["Deferred", "Infeasible"] {
        let mut world = with(told(&updated, "500m", Some(reason)));
        assert_eq!(world.updated(), "");
        let expected =
            format!("; Pods that cannot be updated: 1, such as default/p: PodResizePending {reason}: no room");
        assert!(world.message().contains(&expected), "{}", world.message());
    }
    // The next edit reaches such a Pod. An update in progress is waited for.
    let next = asking("i:1", "600m");
    let mut stuck = world(&after, &next, true, &[told(&updated, "500m", Some("Infeasible"))]);
    assert_eq!(stuck.updated(), "p");
    assert_eq!(world(&after, &next, true, &[told(&updated, "500m", None)]).updated(), "");
}
