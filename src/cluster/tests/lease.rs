//! The rules of leadership.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::soon;
use super::store::{Link, Store};
use crate::cluster::lease::{LEASE, Leadership};

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/ours/leases/outrigger";

/// Beginnings and ends of leading, of all candidates.
type Log = Arc<Mutex<Vec<(&'static str, What, Instant)>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Began,
    Ended,
}

/// Somebody who wants to lead.
struct Candidate {
    link: watch::Sender<Link>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// Work that notes when it begins and when it is dropped.
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
    fn start(store: &Store, name: &'static str, log: &Log) -> Self {
        let (client, link) = store.client();
        let leadership = Leadership::new(client, "ours", LEASE, name.to_owned());
        let (shutdown, log) = (CancellationToken::new(), log.clone());
        let token = shutdown.clone();
        let task = tokio::spawn(async move {
            let work = |term: crate::cluster::Term| {
                let leading = Leading::begin(name, &log);
                async move {
                    term.ended().await;
                    // Whoever does not stop by itself is stopped.
                    std::future::pending::<()>().await;
                    drop(leading);
                }
            };
            leadership.run(&token, work).await;
        });
        Self { link, shutdown, task }
    }
}

/// When this happened for the first time.
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

/// A Lease whose holder is dead. Its wall clock was wrong by years.
fn abandoned() -> Value {
    json!({
        "metadata": {"name": "outrigger", "namespace": "ours"},
        "spec": {"holderIdentity": "dead", "leaseDurationSeconds": 15, "renewTime": "2099-01-01T00:00:00.000000Z", "leaseTransitions": 4},
    })
}

/// Nobody begins while another leads.
fn assert_one_at_a_time(log: &Log) {
    let mut leading = None;
    for (name, what, _) in log.lock().unwrap().iter() {
        match what {
            What::Began => assert_eq!(leading.replace(*name), None, "{name} led beside another"),
            What::Ended => assert_eq!(leading.take(), Some(*name)),
        }
    }
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
    // It finds the Lease expired and writes, but that takes its time.
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
    sleep(Duration::from_millis(2500)).await; // a renewal has read and is writing
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
    let leadership = Leadership::new(store.good_client(), "ours", LEASE, "leader".to_owned());
    soon("the end", leadership.run(&CancellationToken::new(), |_| async {})).await;
    assert_eq!(store.get(PATH).unwrap()["spec"]["holderIdentity"], "");
}
