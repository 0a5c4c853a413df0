//! Tests of leadership.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::soon;
use super::store::{Link, Store};
use crate::cluster::lease::{Leadership, SHARED_HOLDER, SHARED_LEASE};

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/ours/leases/outrigger";

/// Starts and ends of leading, of all candidates.
type Log = Arc<Mutex<Vec<(&'static str, What, Instant)>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Began,
    Ended,
}

/// A candidate.
struct Candidate {
    link: watch::Sender<Link>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// Work that records when it begins and when it is dropped.
struct Leading(&'static str, Log);

impl Leading {
    fn begin(name: &'static str, log: &Log) -> Self {
        log.lock().unwrap().push((name, What::Began, Instant::now()));
        Self(name, log.clone())
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.1.lock().unwrap().push((self.0, What::Ended, Instant::now()));
    }
}

impl Candidate {
    /// Starts a candidate of an older version: one Lease for all jobs.
    fn start(store: &Store, name: &'static str, log: &Log) -> Self {
        let (client, link) = store.client();
        Self::run(Leadership::new(client, "ours", SHARED_LEASE, name.to_owned()), link, name, log)
    }

    /// Starts a candidate for the job given by the first letter of its name.
    fn of_job(store: &Store, name: &'static str, log: &Log) -> Self {
        let (client, link) = store.client();
        let lease = format!("outrigger-{}", &name[..1]);
        Self::run(Leadership::of_job(client, "ours", &lease, name.to_owned()), link, name, log)
    }

    fn run(leadership: Leadership, link: watch::Sender<Link>, name: &'static str, log: &Log) -> Self {
        let (shutdown, log) = (CancellationToken::new(), log.clone());
        let token = shutdown.clone();
        let task = tokio::spawn(async move {
            let work = |term: crate::cluster::Term| {
                let leading = Leading::begin(name, &log);
                async move {
                    term.ended().await;
                    // Work that does not stop by itself is stopped.
                    std::future::pending::<()>().await;
                    drop(leading);
                }
            };
            leadership.run(&token, work).await;
        });
        Self { link, shutdown, task }
    }
}

/// Returns when this first happened.
async fn when(log: &Log, name: &str, what: What) -> Instant {
    let event = async {
        loop {
            if let Some((_, _, at)) = log.lock().unwrap().iter().find(|(who, did, _)| *who == name && *did == what) {
                return *at;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    soon(&format!("{name} {what:?}"), event).await
}

fn holder(store: &Store) -> String {
    let lease = store.get(PATH).unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

/// A Lease of a dead holder whose wall clock was wrong by years.
fn abandoned() -> Value {
    json!({
        "metadata": {"name": "outrigger", "namespace": "ours"},
        "spec": {"holderIdentity": "dead", "leaseDurationSeconds": 15, "renewTime": "2099-01-01T00:00:00.000000Z", "leaseTransitions": 4},
    })
}

/// Asserts that nobody starts to lead while another leads.
fn assert_one_at_a_time(log: &Log) {
    let mut leading = None;
    for (name, what, _) in log.lock().unwrap().iter() {
        match what {
            What::Began => assert_eq!(leading.replace(*name), None, "{name} led beside another"),
            What::Ended => assert_eq!(leading.take(), Some(*name)),
        }
    }
}

/// Work may notice the end of its term before the candidate does. That does not end the candidacy.
#[tokio::test(start_paused = true)]
async fn work_that_ends_with_its_term_begins_again_in_the_next() {
    let (store, log) = (Store::default(), Log::default());
    let (client, link) = store.client();
    let leadership = Leadership::new(client, "ours", SHARED_LEASE, "first".to_owned());
    let begun = log.clone();
    let task = tokio::spawn(async move {
        let work = |term: crate::cluster::Term| {
            let leading = Leading::begin("first", &begun);
            async move {
                term.ended().await;
                drop(leading);
            }
        };
        leadership.run(&CancellationToken::new(), work).await;
    });
    let events = || log.lock().unwrap().len();
    for term in 0..8 {
        link.send_replace(Link::Up);
        soon("a term", async {
            while events() < 2 * term + 1 {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        link.send_replace(Link::Hangs);
        soon("its end", async {
            while events() < 2 * term + 2 {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
    assert!(!task.is_finished());
}

async fn a_leader_cut_off_steps_down_before_its_lease_expires(broken: Link) {
    let (store, log) = (Store::default(), Log::default());
    let first = Candidate::start(&store, "first", &log);
    when(&log, "first", What::Began).await;
    let _second = Candidate::start(&store, "second", &log);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(holder(&store), "first", "renewals keep it");

    first.link.send_replace(broken);
    let cut = Instant::now();
    let ended = when(&log, "first", What::Ended).await;
    let began = when(&log, "second", What::Began).await;
    assert!(ended - cut <= Duration::from_secs(10), "led for {:?} after the cut", ended - cut);
    assert!(ended - cut >= Duration::from_secs(7), "a short trouble must not cost the leadership: {:?}", ended - cut);
    assert!(began - ended >= Duration::from_secs(3), "too little between the terms: {:?}", began - ended);
    assert!(began - cut <= Duration::from_secs(20), "took over only after {:?}", began - cut);
    assert_one_at_a_time(&log);
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_api_server_refuses_steps_down_before_its_lease_expires() {
    a_leader_cut_off_steps_down_before_its_lease_expires(Link::Refuses).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_api_server_hangs_steps_down_before_its_lease_expires() {
    a_leader_cut_off_steps_down_before_its_lease_expires(Link::Hangs).await;
}

#[tokio::test(start_paused = true)]
async fn a_standby_slow_between_its_read_and_its_write_does_not_take_over() {
    let (store, log) = (Store::default(), Log::default());
    store.put(PATH, abandoned());
    let slow = Candidate::start(&store, "slow", &log);
    slow.link.send_replace(Link::HoldsWrites);
    // It finds the Lease expired and writes, but slowly.
    sleep(Duration::from_secs(18)).await;
    let _quick = Candidate::start(&store, "quick", &log);
    when(&log, "quick", What::Began).await;
    slow.link.send_replace(Link::Up);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(holder(&store), "quick");
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 1, "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn of_two_that_find_it_expired_one_leads() {
    let (store, log) = (Store::default(), Log::default());
    store.put(PATH, abandoned());
    let started = Instant::now();
    let _both = [Candidate::start(&store, "one", &log), Candidate::start(&store, "other", &log)];
    sleep(Duration::from_secs(60)).await;
    let log = log.lock().unwrap();
    let [(name, What::Began, at)] = log[..] else { panic!("{log:?}") };
    assert_eq!(holder(&store), name);
    assert!(
        at - started >= Duration::from_secs(15),
        "whatever the wall clocks say, it is taken after {:?}",
        at - started
    );
    assert_eq!(store.get(PATH).unwrap()["spec"]["leaseTransitions"], 5);
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_the_lease_is_released_and_the_next_one_need_not_wait() {
    let (store, log) = (Store::default(), Log::default());
    let first = Candidate::start(&store, "first", &log);
    when(&log, "first", What::Began).await;
    let _second = Candidate::start(&store, "second", &log);
    sleep(Duration::from_secs(30)).await;

    let stopped = Instant::now();
    first.shutdown.cancel();
    soon("the end", first.task).await.expect("no panic");
    assert!(stopped.elapsed() <= Duration::from_secs(5), "the work has that long: {:?}", stopped.elapsed());
    let began = when(&log, "second", What::Began).await;
    assert!(began - stopped <= Duration::from_secs(8), "{:?}", began - stopped);
    assert_one_at_a_time(&log);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_bounded_when_the_api_server_hangs() {
    let (store, log) = (Store::default(), Log::default());
    let leader = Candidate::start(&store, "leader", &log);
    when(&log, "leader", What::Began).await;
    leader.link.send_replace(Link::Hangs);
    let standby = Candidate::start(&store, "standby", &log);
    standby.link.send_replace(Link::Hangs);
    sleep(Duration::from_secs(1)).await;

    let stopped = Instant::now();
    leader.shutdown.cancel();
    standby.shutdown.cancel();
    soon("the leader's end", leader.task).await.expect("no panic");
    soon("the standby's end", standby.task).await.expect("no panic");
    assert!(stopped.elapsed() <= Duration::from_secs(8), "{:?}", stopped.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_lease_was_taken_or_deleted_stops_at_the_next_renewal() {
    for deleted in [true, false] {
        let (store, log) = (Store::default(), Log::default());
        let _leader = Candidate::start(&store, "leader", &log);
        when(&log, "leader", What::Began).await;
        if deleted {
            store.remove(PATH);
        } else {
            store.put(PATH, abandoned());
        }
        let changed = Instant::now();
        let ended = when(&log, "leader", What::Ended).await;
        assert!(ended - changed <= Duration::from_secs(3), "deleted: {deleted}: {:?}", ended - changed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_by_others_that_keeps_the_holder_does_not_end_the_term() {
    let (store, log) = (Store::default(), Log::default());
    let leader = Candidate::start(&store, "leader", &log);
    when(&log, "leader", What::Began).await;
    leader.link.send_replace(Link::HoldsWrites);
    sleep(Duration::from_millis(2500)).await; // a renewal that has read and is writing
    let mut lease = store.get(PATH).unwrap();
    lease["metadata"]["labels"] = json!({"team": "mesh"});
    store.put(PATH, lease);
    leader.link.send_replace(Link::Up);
    sleep(Duration::from_secs(60)).await;
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 1, "{log:?}");
    assert_eq!(store.get(PATH).unwrap()["metadata"]["labels"]["team"], "mesh");
}

#[tokio::test(start_paused = true)]
async fn work_that_ends_by_itself_gives_the_leadership_back() {
    let store = Store::default();
    let leadership = Leadership::new(store.good_client(), "ours", SHARED_LEASE, "leader".to_owned());
    soon("the end", leadership.run(&CancellationToken::new(), |_| async {})).await;
    assert_eq!(store.get(PATH).unwrap()["spec"]["holderIdentity"], "");
}

/// Whether two candidates may not lead at the same time: both have the same job, or one is of an older version, which
/// has all jobs.
fn exclude_each_other(one: &str, other: &str) -> bool {
    one[..1] == other[..1] || one.starts_with("old") || other.starts_with("old")
}

/// Returns who leads at the end. Asserts that nobody starts to lead while an excluded candidate leads.
fn leaders(log: &Log) -> Vec<&'static str> {
    let mut leaders: Vec<&'static str> = Vec::new();
    for (name, what, _) in log.lock().unwrap().iter() {
        if *what == What::Ended {
            leaders.retain(|leader| leader != name);
            continue;
        }
        for leader in &leaders {
            assert!(!exclude_each_other(leader, name), "{name} led beside {leader}");
        }
        leaders.push(name);
    }
    leaders.sort_unstable();
    leaders
}

#[tokio::test(start_paused = true)]
async fn leaders_of_different_jobs_do_not_exclude_each_other() {
    let (store, log) = (Store::default(), Log::default());
    let candidates = ["a-1", "b-1", "a-2", "b-2"].map(|name| Candidate::of_job(&store, name, &log));
    sleep(Duration::from_secs(120)).await;
    let first = leaders(&log);
    assert_eq!(first.iter().map(|name| &name[..1]).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(log.lock().unwrap().len(), 2, "both keep on leading");
    assert_eq!(holder(&store), SHARED_HOLDER);

    // Another candidate takes over the job of a killed one, and the other job continues.
    let killed = candidates.iter().zip(["a-1", "b-1", "a-2", "b-2"]).find(|(_, name)| *name == first[0]).unwrap();
    killed.0.link.send_replace(Link::Hangs);
    sleep(Duration::from_secs(30)).await;
    let second = leaders(&log);
    assert_eq!((second.len(), second[1]), (2, first[1]));
    assert_ne!(second[0], first[0]);
}

#[tokio::test(start_paused = true)]
async fn no_job_is_led_while_an_older_version_leads() {
    let (store, log) = (Store::default(), Log::default());
    let old = Candidate::start(&store, "old", &log);
    when(&log, "old", What::Began).await;
    let _new = ["a", "b"].map(|name| Candidate::of_job(&store, name, &log));
    sleep(Duration::from_secs(120)).await;
    assert_eq!(leaders(&log), ["old"]);
    let stopped = Instant::now();
    old.shutdown.cancel();
    for name in ["a", "b"] {
        let took = when(&log, name, What::Began).await - stopped;
        assert!(took <= Duration::from_secs(8), "{name} leads only after {took:?}");
    }
    assert_eq!(leaders(&log), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn an_older_version_that_is_killed_is_followed_when_its_lease_has_run_out() {
    let (store, log) = (Store::default(), Log::default());
    store.put(PATH, abandoned());
    let started = Instant::now();
    let _new = Candidate::of_job(&store, "a", &log);
    let took = when(&log, "a", What::Began).await - started;
    assert!((Duration::from_secs(15)..Duration::from_secs(20)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_older_version_does_not_lead_while_any_job_is_led() {
    let (store, log) = (Store::default(), Log::default());
    let new = ["a", "b"].map(|name| Candidate::of_job(&store, name, &log));
    when(&log, "a", What::Began).await;
    when(&log, "b", What::Began).await;
    let _old = Candidate::start(&store, "old", &log);
    for (ends, lead) in [(&new[0], vec!["b"]), (&new[1], vec!["old"])] {
        sleep(Duration::from_secs(60)).await;
        ends.shutdown.cancel();
        sleep(Duration::from_secs(30)).await;
        assert_eq!(leaders(&log), lead);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_loses_the_shared_lease_stops_at_the_next_renewal() {
    let (store, log) = (Store::default(), Log::default());
    let _leader = Candidate::of_job(&store, "a", &log);
    when(&log, "a", What::Began).await;
    store.put(PATH, abandoned());
    let changed = Instant::now();
    let ended = when(&log, "a", What::Ended).await;
    assert!(ended - changed <= Duration::from_secs(3), "{:?}", ended - changed);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_used_is_told() {
    let store = Store::default();
    let (client, link) = store.client();
    let leadership = Leadership::of_job(client, "ours", "outrigger-a", "me".to_owned());
    let mut standing = leadership.standing();
    link.send_replace(Link::Refuses);
    let work = async |term: crate::cluster::Term| term.ended().await;
    let task = tokio::spawn(async move { leadership.run(&CancellationToken::new(), work).await });
    soon("a failure", standing.wait_for(|standing| standing.fails)).await.unwrap();
    let told = standing.borrow().check().unwrap();
    let expected =
        "FAILS: the Lease outrigger-a cannot be used: the server is currently unable to handle the request (503)";
    assert_eq!((told.as_str(), standing.borrow().leads), (expected, false));
    link.send_replace(Link::Up);
    soon("to lead", standing.wait_for(|standing| standing.leads && !standing.fails)).await.unwrap();
    assert_eq!(standing.borrow().check().unwrap(), "this replica leads");
    link.send_replace(Link::Refuses);
    soon("a failure", standing.wait_for(|standing| standing.leads && standing.fails)).await.unwrap();
    soon("the end of the term", standing.wait_for(|standing| !standing.leads)).await.unwrap();
    task.abort();
}

/// A step of a candidate in the model.
#[derive(Clone, Copy, Debug)]
enum Step {
    Link(Link),
    Restart,
    Stop,
}

const CANDIDATES: [&str; 6] = ["old-1", "old-2", "a-1", "a-2", "b-1", "b-2"];

/// Generates steps, each with its candidate and the seconds until the next step.
fn steps() -> impl Strategy<Value = Vec<(usize, Step, u64)>> {
    let step = prop_oneof![
        2 => Just(Step::Link(Link::Up)),
        1 => Just(Step::Link(Link::Refuses)),
        1 => Just(Step::Link(Link::Hangs)),
        1 => Just(Step::Link(Link::HoldsWrites)),
        3 => Just(Step::Restart),
        1 => Just(Step::Stop),
    ];
    proptest::collection::vec((0..CANDIDATES.len(), step, 0..25_u64), 1..30)
}

/// Old and new candidates come, go and lose their connections, as in a rolling upgrade that goes wrong.
async fn upgrade(steps: Vec<(usize, Step, u64)>) {
    let (store, log) = (Store::default(), Log::default());
    let start = |name: &'static str| {
        if name.starts_with("old") {
            Candidate::start(&store, name, &log)
        } else {
            Candidate::of_job(&store, name, &log)
        }
    };
    let mut candidates: [Option<Candidate>; CANDIDATES.len()] = Default::default();
    for (number, step, seconds) in steps {
        let candidate = &mut candidates[number];
        match (step, &candidate) {
            (Step::Link(link), Some(candidate)) => _ = candidate.link.send_replace(link),
            (Step::Restart, None) => *candidate = Some(start(CANDIDATES[number])),
            // It is waited for, because a process of that name is gone before there is another.
            (Step::Stop | Step::Restart, Some(_)) => {
                let Some(stopped) = candidate.take() else { continue };
                stopped.shutdown.cancel();
                soon("the end of a candidate", stopped.task).await.unwrap();
            }
            _ => {}
        }
        sleep(Duration::from_millis(seconds * 1000 + 37)).await;
        leaders(&log);
    }
    // In the end there is exactly one leader for everything that a candidate may lead.
    for candidate in candidates.iter().flatten() {
        candidate.link.send_replace(Link::Up);
    }
    sleep(Duration::from_secs(90)).await;
    let leaders = leaders(&log);
    let alive: Vec<&str> =
        CANDIDATES.iter().zip(&candidates).filter_map(|(name, candidate)| candidate.as_ref().map(|_| *name)).collect();
    for name in &alive {
        assert!(leaders.iter().any(|leader| exclude_each_other(leader, name)), "of {alive:?} only {leaders:?} lead");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_happens_in_an_upgrade_no_job_has_two_leaders(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(upgrade(steps));
    }
}
