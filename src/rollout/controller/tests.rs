//! The controller with an API server in memory. Tests decide when it hears of changes.

use super::*;
use crate::cluster::events;
use crate::cluster::tests::server::{Server, served};
use crate::rollout::tests::{PodBuilder, set};
use serde_json::{Value, json};
use std::sync::MutexGuard;

/// The path of the revisions.
const REVISIONS: &str = "/apis/apps/v1/namespaces/kruise-system/controllerrevisions";

/// The path of Events about cluster-scoped objects.
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

const STATUS: &str = "/apis/apps.kruise.io/v1beta1/sidecarsets/s/status";

impl Server {
    /// Returns the names of the revisions.
    fn revisions(&self) -> Vec<String> {
        self.objects.keys().filter_map(|path| Some(path.strip_prefix(REVISIONS)?[1..].to_owned())).collect()
    }

    fn status(&self) -> &Value {
        &self.objects[STATUS.trim_end_matches("/status")]["status"]
    }
}

struct World {
    server: Arc<Mutex<Server>>,
    client: Client,
    controller: Controller,
    term: Term,
}

impl World {
    /// A world with the set `s` of this spec, which the controller knows.
    fn new(spec: &Value) -> Self {
        let (server, client) = served(Server::default());
        let world = Self::of(server, client);
        world.change_set(spec);
        world
    }

    /// A controller of this API server that knows nothing yet.
    fn of(server: Arc<Mutex<Server>>, client: Client) -> Self {
        let (events, send) = events::events(client.clone(), "test".to_owned());
        tokio::spawn(send);
        let controller =
            Controller::new(client.clone(), "kruise-system", events, Arc::new(()), RolloutMetrics::default());
        Self { server, client, controller, term: Term::new(Instant::now() + Duration::from_secs(3600)) }
    }

    /// Returns the next leader.
    fn successor(&self) -> Self {
        let next = Self::of(Arc::clone(&self.server), self.client.clone());
        next.catch_up();
        next
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap()
    }

    /// A user changes the set, and the controller hears of it.
    fn change_set(&self, spec: &Value) {
        let path = STATUS.trim_end_matches("/status");
        let mut object = set("s", spec);
        let present = self.server().objects.get(path).cloned();
        object["status"] = present.map(|present| present["status"].clone()).unwrap_or_default();
        self.server().put(path, object);
        self.catch_up();
    }

    /// The controller hears of the current sets and revisions.
    fn catch_up(&self) {
        let server = self.server();
        let sets = server.under("/apis/apps.kruise.io").into_iter().map(|object| Arc::new(ObservedSet::read(&object)));
        Event::list(sets).for_each(|event| self.controller.sets_event(event));
        let revisions = server.under(REVISIONS).into_iter().filter_map(|object| Revision::read(object).ok().flatten());
        let kept = revisions.map(|revision| KeptRevision::from(&revision));
        Event::list(kept).for_each(|event| self.controller.revisions_event(event));
    }

    async fn reconcile(&self) -> Outcome {
        self.controller.shared.reconcile(&"s".to_owned(), &self.term).await
    }

    /// Returns the writes since the last call: the method with the last part of the path.
    fn writes(&self) -> Vec<String> {
        let writes = std::mem::take(&mut self.server().writes);
        writes.into_iter().filter(|write| !write.contains(EVENTS)).collect()
    }

    /// Returns the reasons of all Events, once pending ones are sent.
    async fn events(&self) -> Vec<Value> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.server().under(EVENTS).into_iter().map(|event| event["reason"].clone()).collect()
    }
}

fn spec(image: &str) -> Value {
    json!({"selector": {"matchLabels": {"app": "a"}}, "containers": [{"name": "c", "image": image}],
           "revisionHistoryLimit": 2, "updateStrategy": {"type": "NotUpdate"}})
}

fn pod(name: &str) -> WatchedPod {
    PodBuilder::new(name).label("app", "a").injected("s", "h").container("c", "x:1").ready().watched()
}

fn status_write() -> String {
    format!("PATCH {STATUS}")
}

#[tokio::test(start_paused = true)]
async fn a_new_set_gets_its_revision_then_its_status_and_then_nothing_more() {
    let world = World::new(&spec("x:1"));
    assert_eq!(world.reconcile().await, Outcome::Done);
    assert_eq!(world.writes(), [format!("POST {REVISIONS}"), status_write()]);
    let revisions = world.server().revisions();
    assert_eq!(world.server().status()["latestRevision"], json!(revisions[0]));
    world.catch_up();
    tokio::time::advance(STATUS_PAUSE).await;
    assert_eq!((world.reconcile().await, world.writes().len()), (Outcome::Done, 0));
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_lags_creates_nothing_twice() {
    let world = World::new(&spec("x:1"));
    world.reconcile().await;
    world.writes();
    // As if the watch had not reported the revision. The first list may have begun before it was created.
    for _ in 0..2 {
        Event::list([]).for_each(|event| world.controller.revisions_event(event));
    }
    tokio::time::advance(STATUS_PAUSE).await;
    assert_eq!(world.reconcile().await, Outcome::Retry, "the status was based on what is no longer so");
    assert_eq!((world.writes().len(), world.server().revisions().len()), (0, 1));
    world.catch_up();
    assert_eq!((world.reconcile().await, world.writes().len()), (Outcome::Done, 0));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_something_else_has_is_a_collision() {
    let world = World::new(&spec("x:1"));
    world.reconcile().await;
    let (name, mut object) = world
        .server()
        .objects
        .iter()
        .find(|(path, _)| path.starts_with(REVISIONS))
        .map(|(p, o)| (p.clone(), o.clone()))
        .unwrap();
    object["data"] = json!({"spec": {"containers": [{"name": "other"}]}});
    world.server().put(&name, object.clone());
    Event::list([]).for_each(|event| world.controller.revisions_event(event));
    tokio::time::advance(STATUS_PAUSE).await;
    world.catch_up();
    Event::list([]).for_each(|event| world.controller.revisions_event(event));
    assert_eq!(world.reconcile().await, Outcome::Done);
    assert_eq!(world.server().revisions().len(), 2);
    assert_eq!(world.server().status()["collisionCount"], 1);
    object["metadata"]["labels"] = json!({});
    let world = World::new(&spec("x:1"));
    world.server().put(&name, object);
    assert_eq!(world.reconcile().await, Outcome::Done);
    let server = world.server();
    assert_eq!((server.revisions().len(), &server.status()["collisionCount"]), (2, &json!(1)));
}

#[tokio::test(start_paused = true)]
async fn going_back_bumps_the_old_revision_and_the_history_is_cut_after_the_status() {
    let world = World::new(&spec("x:1"));
    for image in ["x:1", "x:2", "x:1", "x:3"] {
        world.change_set(&spec(image));
        tokio::time::advance(STATUS_PAUSE).await;
        assert_eq!(world.reconcile().await, Outcome::Done);
    }
    let writes = world.writes();
    let verbs: Vec<&str> = writes.iter().filter_map(|write| write.split(' ').next()).collect();
    assert_eq!(verbs, ["POST", "PATCH", "POST", "PATCH", "PATCH", "PATCH", "POST", "PATCH", "DELETE"]);
    let server = world.server();
    let mut numbers: Vec<i64> = server.objects.values().filter_map(|object| object["revision"].as_i64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [3, 4], "x:1, which came back, and x:3");
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_cannot_be_patched_is_made_anew_when_its_content_comes_back() {
    let world = World::new(&spec("x:1"));
    let mut first = None;
    for image in ["x:1", "x:2"] {
        world.change_set(&spec(image));
        tokio::time::advance(STATUS_PAUSE).await;
        assert_eq!(world.reconcile().await, Outcome::Done);
        first.get_or_insert_with(|| world.server().revisions()[0].clone());
    }
    let path = format!("{REVISIONS}/{}", first.unwrap());
    world.server().unpatchable.insert(path.clone());
    world.writes();
    world.change_set(&spec("x:1"));
    tokio::time::advance(STATUS_PAUSE).await;
    assert_eq!(world.reconcile().await, Outcome::Done);
    let expected = [format!("DELETE {path}"), format!("POST {REVISIONS}"), format!("PATCH {path}"), status_write()];
    assert_eq!(world.writes(), expected);
    let server = world.server();
    assert_eq!((&server.objects[&path]["revision"], server.revisions().len()), (&json!(3), 2));
    assert!(path.ends_with(server.status()["latestRevision"].as_str().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn revisions_of_a_set_that_orphans_them_are_made_anew_without_it_where_they_cannot_be_patched() {
    let world = World::new(&spec("x:1"));
    for image in ["x:1", "x:2"] {
        world.change_set(&spec(image));
        tokio::time::advance(STATUS_PAUSE).await;
        assert_eq!(world.reconcile().await, Outcome::Done);
    }
    let path = format!("{REVISIONS}/{}", world.server().revisions()[0]);
    world.server().unpatchable.insert(path.clone());
    let before = world.server().objects[&path].clone();
    assert_eq!(before["metadata"]["ownerReferences"][0]["uid"], "uid-of-s");
    world.writes();
    let set = STATUS.trim_end_matches("/status");
    let mut object = world.server().objects[set].clone();
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    object["metadata"]["finalizers"] = json!(["orphan"]);
    world.server().put(set, object);
    world.catch_up();
    tokio::time::advance(STATUS_PAUSE).await;
    assert_eq!(world.reconcile().await, Outcome::Done);
    assert_eq!(world.writes(), [format!("DELETE {path}"), format!("POST {REVISIONS}")]);
    let after = world.server().objects[&path].clone();
    assert_eq!(after["metadata"].get("ownerReferences"), Some(&json!([])));
    for field in ["data", "revision"] {
        assert_eq!(after[field], before[field]);
    }
    assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"]);
    tokio::time::advance(STATUS_PAUSE).await;
    assert_eq!((world.reconcile().await, world.writes().len()), (Outcome::Done, 0));
}

#[tokio::test(start_paused = true)]
async fn a_revision_seen_too_early_is_not_overwritten() {
    let world = World::new(&spec("x:1"));
    world.reconcile().await;
    let (path, object) = world
        .server()
        .objects
        .iter()
        .find(|(path, _)| path.starts_with(REVISIONS))
        .map(|(p, o)| (p.clone(), o.clone()))
        .unwrap();
    let mut custom = spec("x:1");
    custom["customVersion"] = json!("v1");
    world.change_set(&custom);
    world.writes();
    world.server().put(&path, object);
    tokio::time::advance(STATUS_PAUSE).await;
    assert_eq!((world.reconcile().await, world.writes().len()), (Outcome::Retry, 0));
    world.catch_up();
    assert_eq!(world.reconcile().await, Outcome::Done);
    assert_eq!(world.server().objects[&path]["metadata"]["labels"][keys::CUSTOM_VERSION], "v1");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_after_the_term() {
    let world = World::new(&spec("x:1"));
    let over = World { term: Term::new(Instant::now()), ..world };
    assert_eq!((over.reconcile().await, over.writes().len()), (Outcome::Done, 0));
}

#[tokio::test(start_paused = true)]
async fn the_first_change_is_written_at_once_and_further_ones_are_gathered() {
    let world = World::new(&spec("x:1"));
    world.controller.pods_event(Event::Applied(pod("p")));
    assert_eq!(world.reconcile().await, Outcome::Done);
    world.catch_up();
    world.controller.pods_event(Event::Applied(pod("q")));
    assert_eq!(world.reconcile().await, Outcome::RequeueAfter(STATUS_PAUSE));
    world.controller.pods_event(Event::Applied(pod("r")));
    tokio::time::advance(STATUS_PAUSE).await;
    world.writes();
    assert_eq!(world.reconcile().await, Outcome::Done);
    assert_eq!((world.writes(), &world.server().status()["matchedPods"]), (vec![status_write()], &json!(3)));
}

#[tokio::test(start_paused = true)]
async fn where_revisions_are_refused_the_counts_are_told_all_the_same() {
    let world = World::new(&spec("x:1"));
    world.server().refuses = Some(REVISIONS);
    world.controller.pods_event(Event::Applied(pod("p")));
    assert_eq!(world.reconcile().await, Outcome::Retry);
    assert_eq!(world.writes(), [status_write()]);
    let server = world.server();
    assert_eq!((&server.status()["matchedPods"], server.status().get("latestRevision")), (&json!(1), None));
}

#[tokio::test(start_paused = true)]
async fn a_set_that_cannot_be_used_gets_a_status_that_says_so() {
    let world = World::new(&json!({"selector": {}, "containers": 5}));
    assert_eq!(world.reconcile().await, Outcome::Done);
    assert_eq!(world.writes(), [status_write()]);
    let server = world.server();
    assert_eq!(server.status()["observedGeneration"], 1);
    assert_eq!(server.status()["conditions"][2]["reason"], "InvalidSpec");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_has_to_correct_is_told_once_and_not_again_by_the_next_leader() {
    let unusable = json!({"selector": {}, "containers": 5});
    let world = World::new(&unusable);
    world.reconcile().await;
    assert_eq!(world.events().await, ["Stalled"]);
    world.server().objects.retain(|path, _| !path.starts_with(EVENTS));
    let successor = world.successor();
    for (leader, generation) in [(&world, 2), (&successor, 3)] {
        let path = STATUS.trim_end_matches("/status");
        let mut object = world.server().objects[path].clone();
        object["metadata"]["generation"] = json!(generation);
        world.server().put(path, object);
        leader.catch_up();
        tokio::time::advance(STATUS_PAUSE).await;
        world.writes();
        assert_eq!(leader.reconcile().await, Outcome::Done);
        assert_eq!((leader.writes(), leader.events().await.len()), (vec![status_write()], 0), "it was said before");
    }
    for spec in [&spec("x:1"), &unusable] {
        successor.change_set(spec);
        tokio::time::advance(STATUS_PAUSE).await;
        successor.reconcile().await;
    }
    assert_eq!(successor.events().await, ["Stalled"], "it was over meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_set_that_is_gone_is_left_alone() {
    let world = World::new(&spec("x:1"));
    world.reconcile().await;
    world.writes();
    Event::list([]).for_each(|event| world.controller.sets_event(event));
    tokio::time::advance(STATUS_PAUSE).await;
    assert_eq!((world.reconcile().await, world.writes().len()), (Outcome::Done, 0));
}

#[tokio::test(start_paused = true)]
async fn the_pauses_that_are_over_are_forgotten() {
    let world = World::new(&spec("x:1"));
    for name in ["one", "of", "many"] {
        world.controller.shared.begin_pause(name);
        assert_eq!(world.controller.shared.pause(name), Some(STATUS_PAUSE));
    }
    tokio::time::advance(STATUS_PAUSE).await;
    world.controller.shared.begin_pause("last");
    assert_eq!(world.controller.shared.status_written.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_looks_at_all_sets_and_stops_with_its_term() {
    let world = World::new(&spec("x:1"));
    world.controller.run(Term::new(Instant::now() + Duration::from_secs(1)), &[]).await;
    assert_eq!(world.writes(), [format!("POST {REVISIONS}"), status_write()]);
    world.controller.pods_event(Event::Applied(pod("p")));
    world.catch_up();
    world.controller.run(Term::new(Instant::now()), &[]).await;
    assert_eq!(world.writes().len(), 0, "this term is over");
    world.controller.run(Term::new(Instant::now() + Duration::from_secs(1)), &[]).await;
    assert_eq!(world.writes(), [status_write()]);
}

#[tokio::test]
async fn while_the_namespace_of_revisions_is_gone_the_log_is_not_flooded() {
    let lines = Lines::default();
    let writer = lines.clone();
    let logs = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _logs = tracing::subscriber::set_default(logs);
    let world = World::new(&spec("i:1"));
    world.server().refuses = Some(REVISIONS);
    for _ in 0..500 {
        world.controller.shared.status_written.lock().unwrap().clear();
        assert_eq!(world.reconcile().await, Outcome::Retry);
    }
    let told = lines.0.load(std::sync::atomic::Ordering::Relaxed);
    assert!(told <= 20, "{told} lines");
}

/// The number of log lines.
#[derive(Clone, Default)]
struct Lines(Arc<std::sync::atomic::AtomicUsize>);

impl std::io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
