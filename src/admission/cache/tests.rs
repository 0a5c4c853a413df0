//! Tests of what reviews see of the cluster.

use super::*;
use crate::injection::PodRequest;
use futures::FutureExt;
use serde_json::json;

fn set(image: &str) -> Value {
    json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "s"},
           "spec": {"selector": {"matchLabels": {"app": "web"}}, "containers": [{"name": "c", "image": image}]}})
}

fn tell(cache: &Cache, event: Event<Value>) {
    cache.sidecarsets(event.map(StoredSet::read).as_ref());
}

fn tell_sets<const N: usize>(cache: &Cache, sets: [Value; N]) {
    Event::list(sets).for_each(|event| tell(cache, event));
}

/// Returns a set of this name and version.
fn version(name: &str, version: &str) -> Value {
    let mut set = set(&format!("x:{version}"));
    set["metadata"] = json!({"name": name, "uid": name, "resourceVersion": version});
    set
}

#[test]
fn reviews_go_by_what_was_known_until_a_list_is_complete() {
    let cache = Cache::new(Options::default(), true, Arc::new(Metrics::default()));
    let in_use = || {
        let snapshot = cache.snapshot();
        let sets = snapshot.sets().map(|set| (set.name.clone(), set.content.hashes.hash.clone()));
        sets.collect::<Vec<_>>()
    };
    tell_sets(&cache, [version("a", "1"), version("b", "1")]);
    let before = in_use();
    assert_eq!(before.len(), 2);
    // The list is interrupted while something else changes.
    for event in [Event::Begin, Event::Item(version("a", "2")), Event::Item(version("c", "2"))] {
        tell(&cache, event);
        cache.configuration(None);
        assert_eq!(in_use(), before);
    }
    tell(&cache, Event::Begin);
    tell(&cache, Event::Item(version("b", "1")));
    cache.configuration(None);
    assert_eq!(in_use(), before);
    tell(&cache, Event::End);
    assert_eq!(in_use(), before[1..], "nothing of the first try is left");
}

#[test]
fn an_object_that_a_list_has_as_it_is_known_stays_what_it_is() {
    let cache = Cache::new(Options::default(), true, Arc::new(Metrics::default()));
    let stored = |name: &str| cache.world().sets.as_ref().unwrap()[name].clone();
    tell_sets(&cache, [version("a", "1"), version("b", "1")]);
    let (a, b) = (stored("a"), stored("b"));
    tell_sets(&cache, [version("a", "1"), version("b", "2")]);
    assert!(Arc::ptr_eq(&stored("a"), &a) && !Arc::ptr_eq(&stored("b"), &b));
}

#[test]
fn a_status_that_no_review_uses_makes_no_new_snapshot() {
    let cache = Cache::new(Options::default(), true, Arc::new(Metrics::default()));
    let stored = |resource_version: &str, generation: i64, status: Value| {
        let mut set = version("a", resource_version);
        set["metadata"]["generation"] = json!(generation);
        set["status"] = status;
        set
    };
    let changes = |set: &Value| {
        tell(&cache, Event::Applied(set.clone()));
        cache.changed.notified().now_or_never().is_some()
    };
    assert!(changes(&stored("1", 1, Value::Null)));
    assert!(!changes(&stored("2", 1, json!({"matchedPods": 5}))));
    assert!(changes(&stored("3", 1, json!({"matchedPods": 5, "latestRevision": "a-1"}))));
    assert!(changes(&stored("4", 2, json!({"latestRevision": "a-1"}))));
    let mut annotated = stored("5", 2, json!({"latestRevision": "a-1"}));
    annotated["metadata"]["annotations"] = json!({"a": "b"});
    assert!(changes(&annotated) && !changes(&annotated));
    // A list that has the newest version does not decode it again.
    cache.publish();
    let known = cache.world().sets.clone();
    annotated["metadata"]["resourceVersion"] = json!("6");
    assert!(!changes(&annotated));
    tell_sets(&cache, [annotated]);
    let listed = cache.world().sets.clone();
    assert!(Arc::ptr_eq(&known.unwrap()["a"], &listed.unwrap()["a"]));
}

#[test]
fn a_revision_that_a_list_lacks_is_gone_when_it_is_complete() {
    let cache = Cache::new(Options::default(), true, Arc::new(Metrics::default()));
    let labels = json!({"kruise.io/sidecarset-name": "s"});
    let revision = |name: &str, data: Value| {
        json!({"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "1", "labels": labels},
               "revision": 1, "data": data})
    };
    let good = |name: &str| revision(name, json!({"spec": {"containers": [{"name": "c", "image": "x:1"}]}}));
    let names = || {
        let world = cache.world();
        let of_set = world.revisions.as_ref().unwrap().get("s").into_iter().flatten();
        of_set.map(|revision| revision.name.clone()).collect::<Vec<_>>()
    };
    for event in Event::list([good("s-1"), revision("s-2", json!({"spec": 5})), good("s-3")]) {
        cache.revisions(event);
    }
    assert_eq!(names(), ["s-1", "s-3"]);
    assert_eq!(cache.metrics.source_errors.get(), 1, "{:?}", cache.check());
    for event in [Event::Begin, Event::Item(good("s-1"))] {
        cache.revisions(event);
    }
    assert_eq!((names().len(), cache.metrics.source_errors.get()), (2, 1), "the list is not complete");
    cache.revisions(Event::End);
    assert_eq!(names(), ["s-1"]);
    assert_eq!(cache.metrics.source_errors.get(), 0);
}

#[test]
fn a_namespace_that_a_list_lacks_is_gone_when_it_is_complete() {
    let cache = Cache::new(Options::default(), true, Arc::new(Metrics::default()));
    let mut everywhere = set("x:1");
    everywhere["spec"]["namespaceSelector"] = json!({"matchLabels": {"team": "blue"}});
    tell_sets(&cache, [everywhere]);
    let pod = serde_json::from_str(r#"{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[]}}"#).unwrap();
    let injects = || {
        cache.publish();
        let snapshot = cache.snapshot();
        ["a", "b"].map(|namespace| {
            let request = PodRequest::create(namespace, jiff::Timestamp::UNIX_EPOCH);
            snapshot.sets().any(|set| snapshot.mismatch(set, &pod, &request).is_none())
        })
    };
    let namespace = |name: &str| -> PartialObjectMeta<Namespace> {
        serde_json::from_value(json!({"metadata": {"name": name, "labels": {"team": "blue"}}})).unwrap()
    };
    cache.namespaces(Event::Applied(namespace("a")));
    cache.namespaces(Event::Begin);
    cache.namespaces(Event::Item(namespace("b")));
    assert_eq!(injects(), [true, false], "the list is not complete");
    cache.namespaces(Event::End);
    assert_eq!(injects(), [false, true]);
}

#[test]
fn a_pod_right_after_its_namespace_waits_until_that_is_known() {
    let cache = Cache::new(Options::default(), true, Arc::new(Metrics::default()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    let mut of_blue = set("x:1");
    of_blue["spec"]["namespaceSelector"] = json!({"matchLabels": {"team": "blue"}});
    tell_sets(&cache, [of_blue]);
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let object = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app"}]}});
    let request = json!({"uid": "u", "kind": kind, "namespace": "new", "operation": "CREATE", "object": object});
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    let body = review.to_string();
    let mut waiting = Box::pin(cache.awaited_for(body.as_bytes()).expect("it waits"));
    assert!((&mut waiting).now_or_never().is_none());
    let namespace = json!({"metadata": {"name": "new", "labels": {"team": "blue"}}});
    cache.namespaces(Event::Applied(serde_json::from_value(namespace).unwrap()));
    cache.publish();
    assert!(waiting.now_or_never().is_some(), "it is known");
    assert!(cache.awaited_for(body.as_bytes()).is_none());
}

#[test]
fn a_set_that_pods_would_be_refused_for_is_told_with_what_is_injected_instead() {
    let cache = Cache::new(Options::default(), true, Arc::new(Metrics::default()));
    let errors = || cache.metrics.source_errors.get();
    let in_use = || cache.snapshot().sets().count();
    tell_sets(&cache, [set("")]);
    let problem = "1 cannot be used; SidecarSet \"s\": spec.containers[0].image: Required value";
    assert_eq!(cache.check(), Ok(problem.to_owned()));
    assert_eq!((errors(), in_use()), (1, 0));
    assert!(cache.world().sets.as_ref().unwrap().contains_key("s"), "it is there for those that would clash with it");
    let labels = json!({"kruise.io/sidecarset-name": "s"});
    let revision = json!({"metadata": {"name": "s-1", "namespace": "n", "labels": labels}, "revision": 1,
                          "data": {"spec": {"containers": [{"name": "c", "image": "x:1"}]}}});
    for event in Event::list([revision]) {
        cache.revisions(event);
    }
    assert_eq!(cache.check(), Ok(format!("{problem} (revision s-1 is injected instead)")));
    assert_eq!((errors(), in_use()), (1, 1));
    tell_sets(&cache, [set("x:2")]);
    assert_eq!(cache.check(), Ok("all can be used".to_owned()));
    assert_eq!((errors(), in_use()), (0, 1));
}
