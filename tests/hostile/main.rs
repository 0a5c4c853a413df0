//! Malicious clients cannot stop admission: reviews during attacks of each kind on hundreds of silent and slow
//! connections.
//!
//! A separate program, so that nothing else runs at the same time. With `OUTRIGGER_LONG` it takes longer and also checks latencies and
//! memory. With `OUTRIGGER_BINARY` another build is attacked.

mod attack;
mod clients;
// Other tests use more of them.
#[allow(dead_code)]
#[path = "../cli/harness.rs"]
mod harness;
#[allow(dead_code)]
#[path = "../cli/objects.rs"]
mod objects;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use attack::Attack;
use bytes::Bytes;
use clients::{Figures, Raw, burst, steady};
use harness::{Server, examples, object, review_of, wait_for};
use objects::SEED_POD;
use tokio::runtime::{Builder, Runtime};

/// Locked by the running test.
static ALONE: Mutex<()> = Mutex::new(());

/// Whether long measurements are enabled.
fn long() -> bool {
    std::env::var_os("OUTRIGGER_LONG").is_some()
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads")
}

fn serve() -> Server {
    Server::start(&examples().join("test-sidecarset"), ["--shutdown-delay=0"])
}

fn review() -> String {
    review_of("v1", &object(SEED_POD)).to_string()
}

/// Running attackers, until this is dropped. They have their own threads, so that they do not delay the measured
/// clients.
struct Attackers(Option<Runtime>);

impl Attackers {
    fn start(server: &Server, attack: Attack) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread");
        let (raw, review) = (Arc::new(Raw::new(server.webhook(), server.ca())), Arc::from(review()));
        for number in 0..attack.connections() {
            runtime.spawn(attack.run(number, raw.clone(), Arc::clone(&review)));
        }
        Self(Some(runtime))
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The outcome of an attack.
struct Outcome {
    attack: Attack,
    undisturbed: Figures,
    attacked: Figures,
    peak_mib: u64,
}

impl Outcome {
    fn measure(attack: Attack, time: Duration) -> Self {
        let server = serve();
        let (target, review) = (server.target(), Bytes::from(review()));
        runtime().block_on(async {
            // The first reviews create connections and fill caches.
            steady(&target, &review, time / 10).await;
            let undisturbed = steady(&target, &review, time / 2).await;
            let attackers = Attackers::start(&server, attack);
            // Until the attack is at its peak.
            steady(&target, &review, time / 2).await;
            let attacked = steady(&target, &review, time).await;
            if attack == Attack::NoAnswerTaken {
                let cut =
                    || server.metric("outrigger_connections_closed_total{port=\"webhook\",reason=\"slow_answer\"}");
                wait_for("answers that are not taken are given up", || (cut() > 0).then_some(()));
            }
            drop(attackers);
            Self { attack, undisturbed, attacked, peak_mib: server.peak_memory() / 1024 }
        })
    }

    fn row(&self) -> String {
        let Self { attack, undisturbed, attacked, peak_mib } = self;
        let percent = |count: usize| {
            let basis_points = count * 10_000 / attacked.reviews().max(1);
            format!("{}.{:02} %", basis_points / 100, basis_points % 100)
        };
        format!(
            "| {attack:?} x {} | {} | {} | {} | {:.1?} / {:.1?} | {:.1?} / {:.1?} | {peak_mib} MiB |",
            attack.connections(),
            attacked.reviews(),
            percent(attacked.at_once),
            percent(attacked.answered()),
            undisturbed.quantile(500),
            undisturbed.quantile(990),
            attacked.quantile(500),
            attacked.quantile(990),
        )
    }

    /// Returns its problems.
    fn faults(&self) -> Vec<String> {
        let Self { attack, undisturbed, attacked, peak_mib } = self;
        let mut faults = Vec::new();
        if attacked.answered() * 1000 < attacked.reviews() * 999 {
            let (first, failures) = (attacked.failures.first(), attacked.failures.len());
            faults.push(format!("{attack:?}: {failures} of {} reviews failed: {first:?}", attacked.reviews()));
        }
        let (before, during) = (undisturbed.quantile(990), attacked.quantile(990));
        if long() && attack.is_quiet() && during > before.max(Duration::from_millis(3)) * 3 {
            faults.push(format!("{attack:?}: p99 went from {before:?} to {during:?}"));
        }
        if long() && *peak_mib > 256 {
            faults.push(format!("{attack:?}: the server took {peak_mib} MiB"));
        }
        faults
    }
}

#[test]
fn hostile_clients_do_not_stop_admission() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let time = Duration::from_secs(if long() { 15 } else { 2 });
    println!(
        "| attack | reviews | 200 at once | 200 in the end | p50 / p99 undisturbed | p50 / p99 attacked | peak RSS |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut faults = Vec::new();
    for attack in Attack::ALL {
        let outcome = Outcome::measure(attack, time);
        println!("{}", outcome.row());
        faults.extend(outcome.faults());
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn creates_at_once_from_the_address_of_the_attackers_lose_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = serve();
    let (target, review) = (server.target(), Bytes::from(review()));
    // A debug build takes long for a handshake, and under load longer than the timeout of a create.
    let creates = if long() { 1_000 } else { 300 };
    let figures = runtime().block_on(async {
        let _attackers = Attackers::start(&server, Attack::SilentHead);
        steady(&target, &review, Duration::from_secs(1)).await;
        burst(&target, &review, creates).await
    });
    println!("{creates} at once: {} of them 200 at once, p99 {:.1?}", figures.at_once, figures.quantile(990));
    assert_eq!(figures.failures, Vec::<String>::new());
    assert_eq!(figures.answered(), creates);
}
