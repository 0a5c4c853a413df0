//! The controller with an in-memory API server and a web server. Tests decide when it hears of changes.

use super::*;
use crate::cluster::queue::{Work, WorkQueue};
use crate::cluster::tests::server::{Server, served};
use crate::cluster::{Feeds, Outcome, Reconciler, Slice, Watch, events};
use crate::fetch::{self, Allow, Guard, Rules};
use crate::sidecar_generator::answer::{AnswerProblem, FETCH_FAILED};
use crate::sidecar_generator::generator::Key;
use crate::sidecar_generator::tests::{generator, sidecar};
use crate::telemetry::Metrics;
use futures::FutureExt;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

const GENERATORS: &str = "/apis/networking.example.com/v1alpha1/namespaces/default/sidecargenerators";
const SIDECARS: &str = "/apis/networking.istio.io/v1/namespaces/default/sidecars";

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(LONG, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// A web server whose answers are given by the test.
struct Web(TcpListener);

/// A request that waits for its answer.
struct Asked {
    head: String,
    connection: TcpStream,
}

impl Web {
    async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn url(&self) -> String {
        format!("http://{}/", self.0.local_addr().unwrap())
    }

    /// Returns the next request.
    async fn next(&self) -> Asked {
        let (mut connection, _) = soon("a request", self.0.accept()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon("the rest of a request", connection.read_u8()).await.unwrap());
        }
        Asked { head: String::from_utf8(head).unwrap(), connection }
    }

    async fn is_not_asked(&self) -> bool {
        timeout(Duration::from_millis(100), self.0.accept()).await.is_err()
    }
}

impl Asked {
    async fn answer(mut self, status: &str, body: &str) {
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\netag: \"1\"\r\n\r\n", body.len());
        self.connection.write_all((head + body).as_bytes()).await.unwrap();
    }

    /// Waits until the client disconnects.
    async fn given_up(mut self) {
        let end = soon("the end of a request", self.connection.read(&mut [0])).await;
        assert!(!matches!(end, Ok(1..)), "more was sent");
    }
}

struct World {
    server: Arc<Mutex<Server>>,
    controller: Controller,
    leader: Leader,
    term: Term,
    web: Web,
}

impl World {
    async fn new() -> Self {
        Self::with(fetch::Settings::default(), Allow::loopback()).await
    }

    async fn with(settings: fetch::Settings, allow: Vec<Allow>) -> Self {
        let (server, client) = served(Server::default());
        let (events, _unsent) = events::events(client.clone(), "test".to_owned());
        let metrics = Metrics::new().register(GeneratorMetrics::register);
        let fetcher = Fetcher::new(settings);
        let rules = Rules { guard: Guard { allow, ..Guard::default() }, ..Rules::default() }.into();
        let (observer, settings) = (Arc::new(()), Settings::default());
        let controller = Controller::new(client.clone(), fetcher, rules, events, metrics, observer, settings);
        let mut feeds = Feeds::new(client.clone());
        let unused: Watch = feeds.subscribe(Slice::all::<ConfigMap>("things"), |_: Event<Value>| {});
        let leader = controller.leader(unused);
        controller.queue.opened();
        let term = Term::new(Instant::now() + Duration::from_secs(3600));
        Self { server, controller, leader, term, web: Web::new().await }
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap()
    }

    /// Creates a SidecarGenerator for the web server, with a status that already reports the fetch, and informs the
    /// controller.
    fn apply(&self, name: &str, generation: i64) {
        let mut object = generator(name, &json!({"url": format!("{}{name}", self.web.url()), "refreshPeriod": "1h"}));
        object["metadata"]["generation"] = json!(generation);
        let path = format!("{GENERATORS}/{name}");
        let present = self.server().objects.get(&path).cloned();
        let begun = json!({"conditions": [{"type": "Ready", "status": "Unknown", "reason": "Fetching", "message": "",
                                           "lastTransitionTime": "2026-01-08T19:07:21Z"}]});
        object["status"] = present.map_or(begun, |present| present["status"].clone());
        self.server().put(&path, object);
        self.catch_up();
    }

    /// Informs the controller of the current state.
    fn catch_up(&self) {
        let server = self.server();
        let generators = server.under(GENERATORS).into_iter().map(|object| Arc::new(ObservedGenerator::read(object)));
        Event::list(generators).for_each(|event| self.controller.generators_event(event));
        let sidecars = server.under(SIDECARS).into_iter().map(|object| Arc::new(ObservedSidecar::read(object)));
        Event::list(sidecars).for_each(|event| self.controller.sidecars_event(event));
    }

    async fn reconcile(&self, name: &str) -> Outcome {
        self.leader.reconcile(&key(name), &self.term).await
    }

    /// Waits until a SidecarGenerator is due, and reconciles it.
    async fn reconcile_next(&self) -> Outcome {
        let work = soon("something to look at", self.queue().next()).await;
        let outcome = self.leader.reconcile(work.key(), &self.term).await;
        work.done();
        outcome
    }

    /// Empties the queue.
    fn drain(&self) {
        while self.is_any_to_be_looked_at() {}
    }

    fn queue(&self) -> &WorkQueue<Key> {
        self.controller.queue.opened()
    }

    /// Whether a key was queued. Takes it from the queue.
    fn is_any_to_be_looked_at(&self) -> bool {
        self.queue().next().now_or_never().map(Work::done).is_some()
    }

    /// Creates a SidecarGenerator that is up to date.
    async fn settle(&self, name: &str) {
        self.apply(name, 1);
        self.drain();
        self.reconcile(name).await;
        self.web.next().await.answer("200 OK", r#"[{"hosts":["./*"]}]"#).await;
        assert!(matches!(self.reconcile_next().await, Outcome::RequeueAfter(_)));
        self.catch_up();
        self.drain();
        self.writes();
    }

    /// Returns the writes since the last call.
    fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.server().writes)
    }

    fn ready(&self, name: &str) -> (Value, Value) {
        let server = self.server();
        let conditions = server.objects[&format!("{GENERATORS}/{name}")]["status"]["conditions"].as_array().unwrap();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
        (ready["status"].clone(), ready["reason"].clone())
    }
}

fn key(name: &str) -> Key {
    Key { namespace: "default".to_owned(), name: name.to_owned() }
}

fn status_of(name: &str) -> String {
    format!("PATCH {GENERATORS}/{name}/status")
}

#[tokio::test]
async fn what_the_url_says_becomes_the_sidecar_and_then_the_status_and_then_there_is_peace() {
    let world = World::new().await;
    world.apply("g", 1);
    world.drain();
    assert_eq!(world.reconcile("g").await, Outcome::Done, "the fetch says when to look again");
    assert_eq!(world.writes().len(), 0);
    let asked = world.web.next().await;
    assert!(
        asked.head.contains("accept: application/json\r\n") && !asked.head.contains("if-none-match"),
        "{}",
        asked.head
    );
    asked.answer("200 OK", r#"[{"hosts":["./*","istio-system/*","ns1/*"]}]"#).await;
    let outcome = world.reconcile_next().await;
    assert!(matches!(outcome, Outcome::RequeueAfter(pause) if pause > Duration::from_secs(3590)), "{outcome:?}");
    assert_eq!(world.writes(), [format!("POST {SIDECARS}"), status_of("g")]);
    world.catch_up();
    world.drain();
    let echo = ObservedGenerator::read(world.server().objects[&format!("{GENERATORS}/g")].clone());
    world.controller.generators_event(Event::Applied(Arc::new(echo)));
    assert!(!world.is_any_to_be_looked_at(), "our own write is no reason to look again");
    assert!(matches!(world.reconcile("g").await, Outcome::RequeueAfter(_)));
    assert!(world.writes().is_empty() && world.web.is_not_asked().await);
}

#[tokio::test]
async fn one_that_was_never_fetched_is_told_to_be_under_way() {
    let world = World::new().await;
    world.server().put(&format!("{GENERATORS}/g"), generator("g", &json!({"url": world.web.url()})));
    world.catch_up();
    world.reconcile("g").await;
    assert_eq!((world.writes(), world.ready("g")), (vec![status_of("g")], (json!("Unknown"), json!("Fetching"))));
    world.reconcile("g").await;
    assert!(world.writes().is_empty(), "once");
}

#[tokio::test]
async fn a_slow_url_delays_no_other() {
    let world = World::new().await;
    world.apply("slow", 1);
    world.reconcile("slow").await;
    let slow = world.web.next().await;
    world.settle("g").await;
    assert_eq!(world.ready("g").0, "True");
    slow.answer("200 OK", r#"[{"hosts":["./*"]}]"#).await;
    world.reconcile_next().await;
    assert_eq!(world.ready("slow").0, "True");
}

#[tokio::test]
async fn a_url_that_failed_before_takes_no_place_of_others() {
    let limits = fetch::Limits { requests: 1, failing_requests: 1, ..fetch::Limits::default() };
    let world = World::with(fetch::Settings { limits, ..fetch::Settings::default() }, Allow::loopback()).await;
    world.apply("slow", 1);
    world.drain();
    world.reconcile("slow").await;
    world.web.next().await.answer("503 Service Unavailable", "").await;
    world.reconcile_next().await;
    world.apply("slow", 2);
    world.reconcile("slow").await;
    let _hanging = world.web.next().await;
    world.settle("g").await;
    assert_eq!(world.ready("g").0, "True");
}

#[tokio::test]
async fn a_fetch_ends_with_its_term_and_what_it_would_have_brought_is_not_written() {
    let world = World::new().await;
    world.apply("g", 1);
    world.drain();
    world.reconcile("g").await;
    let asked = world.web.next().await;
    drop(Ending(&world.controller));
    asked.given_up().await;
    let (generator, spec) = {
        let known = world.controller.queue.lock();
        let generator = known.index.get(&key("g")).unwrap().clone();
        (generator.clone(), generator.usable.clone().unwrap())
    };
    world.controller.fetches.fetched(&generator, &spec, 1, Err(AnswerProblem::new(FETCH_FAILED, "late")), None);
    assert_eq!((world.is_any_to_be_looked_at(), world.writes().len()), (false, 0), "too late");

    let over = Term::new(Instant::now());
    world.controller.queue.lock().index.forget();
    assert_eq!(world.leader.reconcile(&key("g"), &over).await, Outcome::Done);
    world.controller.fetches.begin(&generator, &over);
    assert!(world.web.is_not_asked().await && world.writes().is_empty());
}

#[tokio::test]
async fn a_changed_spec_and_a_deletion_end_the_fetch_that_is_under_way() {
    let world = World::new().await;
    world.apply("g", 1);
    world.reconcile("g").await;
    let first = world.web.next().await;
    world.apply("g", 2);
    world.reconcile("g").await;
    let second = world.web.next().await;
    first.given_up().await;
    world.server().objects.get_mut(&format!("{GENERATORS}/g")).unwrap()["metadata"]["deletionTimestamp"] =
        json!("2026-01-08T19:08:00Z");
    let deleting = world.server().objects[&format!("{GENERATORS}/g")].clone();
    world.server().put(&format!("{GENERATORS}/g"), deleting);
    world.catch_up();
    world.reconcile("g").await;
    second.given_up().await;

    let world = World::new().await;
    world.apply("g", 1);
    world.reconcile("g").await;
    let asked = world.web.next().await;
    Event::list([]).for_each(|event| world.controller.generators_event(event));
    asked.given_up().await;
    assert!(world.writes().is_empty());
}

#[tokio::test]
async fn an_answer_for_a_spec_that_changed_meanwhile_is_dropped_and_the_url_asked_again() {
    let world = World::new().await;
    world.apply("g", 1);
    world.reconcile("g").await;
    let asked = world.web.next().await;
    world.apply("g", 2);
    world.drain();
    asked.answer("200 OK", r#"[{"hosts":["./*"]}]"#).await;
    assert_eq!(world.reconcile_next().await, Outcome::Done);
    assert!(world.writes().is_empty());
    world.web.next().await.answer("200 OK", r#"[{"hosts":["./*"]}]"#).await;
    world.reconcile_next().await;
    assert_eq!(world.writes(), [format!("POST {SIDECARS}"), status_of("g")]);
}

#[tokio::test]
async fn one_that_cannot_be_read_is_told_so_and_hurts_no_other() {
    let world = World::new().await;
    world
        .server()
        .put(&format!("{GENERATORS}/bad"), generator("bad", &json!({"url": ["http://h"], "refreshPeriod": 5})));
    world.settle("g").await;
    assert_eq!(world.reconcile("bad").await, Outcome::Done);
    assert_eq!(world.writes(), [status_of("bad")]);
    assert_eq!(world.ready("bad"), (json!("False"), json!("InvalidSpec")));
    assert_eq!(world.ready("g").0, "True");
}

#[tokio::test]
async fn drift_is_repaired_without_asking_and_a_cache_that_lags_is_no_harm() {
    let world = World::new().await;
    world.settle("g").await;
    let path = format!("{SIDECARS}/g");
    let good = world.server().objects[&path].clone();
    let mut drifted = good.clone();
    drifted["spec"]["egress"] = json!([{"hosts": ["*/*"]}]);
    world.server().put(&path, drifted.clone());
    world.catch_up();
    drifted["metadata"]["labels"] = json!({"theirs": "kept"});
    world.server().put(&path, drifted);
    assert_eq!(world.reconcile("g").await, Outcome::Retry, "it is no longer as it was looked at");
    assert!(world.writes().is_empty());
    world.catch_up();
    assert!(matches!(world.reconcile("g").await, Outcome::RequeueAfter(_)));
    assert_eq!(world.writes(), [format!("PATCH {path}")]);
    assert_eq!(world.server().objects[&path]["spec"], good["spec"]);
    assert_eq!(world.server().objects[&path]["metadata"]["labels"], json!({"theirs": "kept"}));
    assert!(world.web.is_not_asked().await);
}

#[tokio::test]
async fn a_sidecar_that_the_cache_does_not_know_yet_is_not_overwritten() {
    let world = World::new().await;
    world.apply("g", 1);
    world.reconcile("g").await;
    world.drain();
    let by_hand = sidecar("g", &json!({"egress": [{"hosts": ["hand/written"]}]}));
    world.server().put(&format!("{SIDECARS}/g"), by_hand.clone());
    world.web.next().await.answer("200 OK", r#"[{"hosts":["./*"]}]"#).await;
    assert_eq!(world.reconcile_next().await, Outcome::Retry);
    world.catch_up();
    assert_eq!(world.reconcile("g").await, Outcome::Done);
    assert_eq!(world.server().objects[&format!("{SIDECARS}/g")]["spec"], by_hand["spec"]);
    assert_eq!((world.writes(), world.ready("g").1), (vec![status_of("g")], json!("NotOwned")));
}

#[tokio::test]
async fn a_write_that_is_refused_is_told_and_tried_again() {
    let world = World::new().await;
    world.server().refuses = Some(SIDECARS);
    world.apply("g", 1);
    world.reconcile("g").await;
    world.drain();
    world.web.next().await.answer("200 OK", r#"[{"hosts":["./*"]}]"#).await;
    assert_eq!(world.reconcile_next().await, Outcome::Retry);
    assert_eq!((world.writes(), world.ready("g").1), (vec![status_of("g")], json!("WriteFailed")));
    world.server().refuses = None;
    assert!(matches!(world.reconcile("g").await, Outcome::RequeueAfter(_)));
    assert_eq!(world.writes(), [format!("POST {SIDECARS}"), status_of("g")]);
    assert_eq!(world.ready("g").0, "True");
}

#[tokio::test]
async fn a_changed_spec_asks_without_conditions_and_a_refresh_with_them() {
    let world = World::new().await;
    world.settle("g").await;
    world.controller.queue.lock().index.memory(&key("g")).unwrap().due = None;
    world.reconcile("g").await;
    world.writes();
    let asked = world.web.next().await;
    assert!(asked.head.contains("if-none-match: \"1\"\r\n"), "{}", asked.head);
    asked.answer("304 Not Modified", "").await;
    world.reconcile_next().await;
    assert_eq!(world.writes(), [status_of("g")], "the times");
    assert_eq!(world.ready("g").0, "True");
    world.apply("g", 2);
    world.reconcile("g").await;
    assert!(!world.web.next().await.head.contains("if-none-match"));
}

#[tokio::test]
async fn an_address_that_is_refused_is_told_with_what_opens_it() {
    let world = World::with(fetch::Settings::default(), Vec::new()).await;
    world.apply("g", 1);
    world.drain();
    world.reconcile("g").await;
    world.reconcile_next().await;
    assert_eq!(world.ready("g"), (json!("False"), json!("FetchFailed")));
    let text = world.server().objects[&format!("{GENERATORS}/g")]["status"].to_string();
    assert!(text.contains("--fetch-allow"), "{text}");
}
