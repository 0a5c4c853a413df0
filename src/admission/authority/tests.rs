//! Tests with several replicas that learn of changes late, and a Secret that users delete: every called replica is
//! always trusted.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use rustls::pki_types::CertificateDer;

use super::plan::{Leaf, Plan, RememberedSecret, Step, Stored, keep, renew, sign_at};
use super::{Authority, Content, Times, after, before};
use crate::admission::registration::{Bundles, Published};

const TIMES: Times =
    Times { authority: Duration::from_secs(1000), leaf: Duration::from_secs(100), grace: Duration::from_secs(10) };

/// How long an API server may use an older registration.
const API_SERVER_LAG: Duration = Duration::from_secs(8);

/// The longest delay until a replica learns of a change of the Secret.
const WATCH_LAG: Duration = Duration::from_secs(14);

const REPLICAS: usize = 3;

type Certificate = CertificateDer<'static>;

#[derive(Clone, Copy, Debug)]
enum Action {
    /// The clock advances by so many seconds; then every replica checks its state.
    Wait(u8),
    /// A replica learns of the next change of the Secret.
    Hear(usize),
    /// The leader sees the present state of one registered object.
    Observe(usize),
    /// The leader writes one of them.
    Register(usize),
    /// The leader takes the next step.
    Renew,
    Delete,
    Overwrite,
    /// The Secret gets another client's CA, which may have expired.
    Replace {
        expired: bool,
    },
    /// Another replica leads.
    Elect(usize),
    Restart(usize),
}

#[derive(Clone, Debug)]
enum Secret {
    Absent,
    Garbage,
    Usable(Content),
}

#[derive(Default)]
struct Replica {
    /// The part of the Secret's history that it knows.
    heard: usize,
    memory: RememberedSecret,
    leaf: Option<Leaf>,
    registered: Published,
}

struct World {
    now: Timestamp,
    /// Each state of the Secret, and its time.
    secret: Vec<(Timestamp, Secret)>,
    /// Each bundle of each object, and its time.
    objects: [Vec<(Timestamp, Vec<Certificate>)>; 3],
    replicas: [Replica; REPLICAS],
    leader: usize,
    /// What the leader knows of each object: the version and the trusted CAs.
    observed: [Option<usize>; 3],
    published: Published,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut known: Vec<&Certificate> = Vec::new();
        for (_, secret) in &self.secret {
            if let Secret::Usable(content) = secret {
                known.extend(
                    content.bundle.iter().filter(|certificate| !known.contains(certificate)).collect::<Vec<_>>(),
                );
            }
        }
        let number = |certificate: &Certificate| known.iter().position(|known| *known == certificate);
        let all = |bundle: &[Certificate]| bundle.iter().map(number).collect::<Vec<_>>();
        writeln!(f, "at {}", self.now)?;
        for (since, secret) in &self.secret {
            match secret {
                Secret::Usable(content) => writeln!(
                    f,
                    "{since} {:?} signs, of {:?}",
                    number(content.signing.certificate()),
                    all(&content.bundle)
                )?,
                other => writeln!(f, "{since} {other:?}")?,
            }
        }
        for history in &self.objects {
            writeln!(
                f,
                "object {:?}",
                history.iter().map(|(since, bundle)| (since.to_string(), all(bundle))).collect::<Vec<_>>()
            )?;
        }
        for (i, replica) in self.replicas.iter().enumerate() {
            writeln!(
                f,
                "replica {i} heard {} shows {:?}",
                replica.heard,
                replica.leaf.as_ref().map(|leaf| number(&leaf.issuer))
            )?;
        }
        writeln!(f, "leader {}", self.leader)
    }
}

impl World {
    fn new() -> Self {
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        Self {
            now,
            secret: vec![(now, Secret::Absent)],
            objects: Default::default(),
            replicas: Default::default(),
            leader: 0,
            observed: [None; 3],
            published: Published::default(),
        }
    }

    fn seen(&self, replica: usize) -> &Secret {
        &self.secret[self.replicas[replica].heard].1
    }

    fn current(&self) -> &Secret {
        &self.secret.last().expect("never empty").1
    }

    /// Writes as the API server does: a new object if there is none, otherwise over the version that was seen.
    fn write(&mut self, replica: usize, content: Content) {
        let creates = matches!((self.seen(replica), self.current()), (Secret::Absent, Secret::Absent));
        if creates || self.replicas[replica].heard == self.secret.len() - 1 {
            self.secret.push((self.now, Secret::Usable(content)));
        }
    }

    fn make(&self) -> Authority {
        Authority::generate(self.now, TIMES.authority).expect("a CA")
    }

    /// Does what [`super::Keeper`] does in every replica.
    fn look(&mut self, replica: usize) {
        let secret = self.seen(replica).clone();
        let stored = match &secret {
            Secret::Absent => Stored::Absent,
            Secret::Garbage => Stored::Unusable,
            Secret::Usable(content) => Stored::Usable(content),
        };
        let last = self.replicas[replica].memory.content.clone();
        if let Plan::Do(step) = keep(stored, last.as_ref(), self.now) {
            if let (Step::Restore, Some(content)) = (step, &last) {
                self.renew_leaf(replica, content);
            }
            let trusted = if let Secret::Usable(content) = &secret { content.bundle.clone() } else { Vec::new() };
            let Ok(next) = step.taken(last.as_ref(), trusted, self.now, || Ok::<_, Infallible>(self.make()));
            return self.write(replica, next);
        }
        let Secret::Usable(content) = &secret else { return };
        self.replicas[replica].memory.remember(content, self.now);
        self.renew_leaf(replica, content);
    }

    fn renew_leaf(&mut self, replica: usize, content: &Content) {
        let (now, this) = (self.now, &mut self.replicas[replica]);
        for (name, history) in Published::NAMES.into_iter().zip(&self.objects) {
            let bundle = history.last().map(|(_, bundle)| Bundles::from(vec![bundle.clone()]));
            this.registered.saw(name, bundle, now);
        }
        let trusted_since = this.memory.trusted_since(content.signing.certificate());
        if sign_at(this.leaf.as_ref(), content, trusted_since, Some(&this.registered), now, TIMES) <= now {
            let not_after = after(now, TIMES.leaf).min(content.signing.not_after());
            let issuer = content.signing.certificate().clone();
            this.leaf = Some(Leaf { issuer, signed: now, not_after, jitter: 0.5 });
        }
    }

    fn hear(&mut self, replica: usize) {
        if self.replicas[replica].heard + 1 < self.secret.len() {
            self.replicas[replica].heard += 1;
            self.look(replica);
        }
    }

    fn catch_up(&mut self, replica: usize) {
        while self.replicas[replica].heard + 1 < self.secret.len() {
            self.hear(replica);
        }
    }

    fn observe(&mut self, object: usize) {
        let bundle = self.objects[object].last().map(|(_, bundle)| Bundles::from(vec![bundle.clone()]));
        self.observed[object] = Some(self.objects[object].len());
        self.published.saw(Published::NAMES[object], bundle, self.now);
    }

    fn register(&mut self, object: usize) {
        let current = Some(self.objects[object].len());
        if let Some(content) = &self.replicas[self.leader].memory.content
            && self.observed[object] == current
            && self.objects[object].last().is_none_or(|(_, bundle)| *bundle != content.bundle)
        {
            self.objects[object].push((self.now, content.bundle.clone()));
            self.observe(object);
        }
    }

    fn renew(&mut self) {
        if !matches!(self.seen(self.leader), Secret::Usable(_)) {
            return;
        }
        let memory = self.replicas[self.leader].memory.clone();
        if let Plan::Do(step) = renew(&memory, &self.published, self.now, TIMES) {
            let Ok(next) =
                step.taken(memory.content.as_ref(), Vec::new(), self.now, || Ok::<_, Infallible>(self.make()));
            self.write(self.leader, next);
        }
    }

    /// No replica remembers the Secret: nothing can be restored.
    fn all_remember(&self) -> bool {
        self.replicas.iter().all(|replica| replica.memory.content.is_some())
    }

    /// Returns whether the CA is registered. A new replica can sign only with the CA of the Secret.
    fn is_current_ca_registered(&self) -> bool {
        let Secret::Usable(content) = self.current() else { return false };
        let trusts = |bundle: &[Certificate]| bundle.contains(content.signing.certificate());
        self.objects.iter().all(|history| history.last().is_none_or(|(_, bundle)| trusts(bundle)))
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Wait(seconds) => {
                for _ in 0..seconds {
                    self.now = after(self.now, Duration::from_secs(1));
                    for replica in 0..REPLICAS {
                        let late = |world: &Self| {
                            let next = world.secret.get(world.replicas[replica].heard + 1);
                            next.is_some_and(|(since, _)| after(*since, WATCH_LAG) <= world.now)
                        };
                        while late(self) {
                            self.hear(replica);
                        }
                        self.look(replica);
                    }
                    self.check();
                }
            }
            Action::Hear(replica) => self.hear(replica),
            Action::Observe(object) => self.observe(object),
            Action::Register(object) => self.register(object),
            Action::Renew => self.renew(),
            Action::Delete if self.all_remember() => self.secret.push((self.now, Secret::Absent)),
            Action::Overwrite if self.all_remember() => self.secret.push((self.now, Secret::Garbage)),
            Action::Elect(replica) => {
                self.leader = replica;
                self.catch_up(replica); // it waits for a fresh list
                (self.observed, self.published) = ([None; 3], Published::default());
            }
            Action::Replace { expired } if self.all_remember() => {
                let age = if expired { TIMES.authority * 2 } else { Duration::ZERO };
                let made = Authority::generate(before(self.now, age), TIMES.authority).expect("a CA");
                self.secret.push((self.now, Secret::Usable(Content::begin(made, Vec::new(), self.now))));
            }
            Action::Restart(replica) if self.is_current_ca_registered() => {
                self.replicas[replica] = Replica { heard: self.secret.len() - 1, ..Replica::default() };
                self.look(replica);
                self.act(Action::Elect((replica + 1) % REPLICAS));
            }
            Action::Delete | Action::Overwrite | Action::Replace { .. } | Action::Restart(_) => {}
        }
        self.check();
    }

    /// Checks that all the bundles that an API server may still use trust every leaf.
    fn check(&self) {
        for (number, replica) in self.replicas.iter().enumerate() {
            let Some(leaf) = &replica.leaf else { continue };
            assert!(leaf.not_after > self.now, "replica {number} shows an expired leaf");
            for history in &self.objects {
                let mut until = Timestamp::MAX;
                for (since, bundle) in history.iter().rev() {
                    if until <= self.now {
                        break;
                    }
                    assert!(bundle.contains(&leaf.issuer), "replica {number} is not trusted: {self:?}");
                    until = after(*since, API_SERVER_LAG);
                }
            }
        }
    }

    /// Lets all replicas learn of everything for so long.
    fn settle(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.act(Action::Wait(1));
            self.act(Action::Renew);
            (0..REPLICAS).for_each(|replica| self.catch_up(replica));
            for object in 0..3 {
                self.act(Action::Observe(object));
                self.act(Action::Register(object));
                self.act(Action::Observe(object));
            }
        }
    }

    fn content(&self) -> &Content {
        let Secret::Usable(content) = self.current() else { panic!("the Secret is {:?}", self.current()) };
        content
    }
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let (replica, object) = (0..REPLICAS, 0..3_usize);
    let action = prop_oneof![
        12 => (1..20_u8).prop_map(Action::Wait),
        10 => replica.clone().prop_map(Action::Hear),
        10 => object.clone().prop_map(Action::Observe),
        10 => object.prop_map(Action::Register),
        10 => Just(Action::Renew),
        1 => Just(Action::Delete),
        1 => Just(Action::Overwrite),
        1 => any::<bool>().prop_map(|expired| Action::Replace { expired }),
        1 => replica.clone().prop_map(Action::Elect),
        1 => replica.prop_map(Action::Restart),
    ];
    prop::collection::vec(action, 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_leaf_is_trusted_at_every_moment_and_all_renewals_come_to_an_end(actions in actions()) {
        let mut world = World::new();
        for action in actions {
            world.act(action);
        }
        // This is longer than a whole renewal, and shorter than the time to the next one.
        world.settle(200);
        let content = world.content().clone();
        if content.next.is_none() && after(content.signing_since, TIMES.leaf * 8 / 7) <= world.now {
            prop_assert_eq!(&content.bundle, &[content.signing.certificate().clone()]);
        }
        for replica in &world.replicas {
            prop_assert!(replica.leaf.as_ref().is_some_and(|leaf| content.bundle.contains(&leaf.issuer)));
        }
        for history in &world.objects {
            prop_assert_eq!(history.last().map(|(_, bundle)| bundle), Some(&content.bundle));
        }
    }
}

#[test]
fn a_ca_is_renewed_in_the_order_of_the_steps() {
    let mut world = World::new();
    world.settle(5);
    let first = world.content().signing.certificate().clone();
    let mut signed = vec![first.clone()];
    let mut bundles = vec![1];
    for _ in 0..1000 {
        world.settle(1);
        let content = world.content();
        if signed.last() != Some(content.signing.certificate()) {
            signed.push(content.signing.certificate().clone());
        }
        if bundles.last() != Some(&content.bundle.len()) {
            bundles.push(content.bundle.len());
        }
    }
    assert_eq!(signed.len(), 2, "one renewal in the life of a CA");
    assert_eq!(bundles, [1, 2, 1], "announced, retired");
    assert!(!world.content().bundle.contains(&first));
}

#[test]
fn replicas_that_start_at_once_agree_on_one_ca() {
    let mut world = World::new();
    (0..REPLICAS).for_each(|replica| world.look(replica));
    world.settle(2);
    assert_eq!(world.secret.len(), 2, "written once");
    assert!(
        world
            .replicas
            .iter()
            .all(|replica| replica.leaf.as_ref().is_some_and(|leaf| leaf.issuer == world.content().bundle[0]))
    );
}

#[test]
fn a_deleted_secret_comes_back_and_another_ca_takes_over() {
    let mut world = World::new();
    world.settle(5);
    let first = world.content().signing.certificate().clone();
    world.act(Action::Delete);
    world.settle(2);
    assert_eq!(world.content().signing.certificate(), &first);
    world.settle(200);
    assert_ne!(world.content().signing.certificate(), &first);
    assert_eq!(world.content().bundle.len(), 1);
}

#[test]
fn a_leaf_is_renewed_while_the_secret_is_never_restored_in_time() {
    let mut world = World::new();
    world.settle(5);
    for destruction in [Action::Delete, Action::Overwrite].into_iter().cycle().take(20) {
        world.act(destruction);
        world.act(Action::Wait(12));
    }
    assert!(!matches!(world.current(), Secret::Usable(_)), "each write came too late");
    world.settle(200);
    assert_eq!(world.content().bundle.len(), 1);
}

#[test]
fn a_ca_of_somebody_else_signs_nothing_and_another_one_of_ours_takes_over() {
    for expired in [false, true] {
        let mut world = World::new();
        world.settle(5);
        let first = world.content().signing.certificate().clone();
        world.act(Action::Replace { expired });
        let theirs = world.content().signing.certificate().clone();
        world.settle(2);
        assert_eq!(world.content().signing.certificate(), &first);
        world.settle(200);
        let last = world.content().signing.certificate();
        assert!(*last != first && *last != theirs);
        assert_eq!(world.content().bundle.len(), 1);
    }
}

#[test]
fn while_an_object_does_not_trust_the_announced_ca_it_does_not_sign() {
    let mut world = World::new();
    world.settle(5);
    world.act(Action::Delete);
    (0..REPLICAS).for_each(|replica| world.catch_up(replica));
    world.act(Action::Wait(1));
    (0..REPLICAS).for_each(|replica| world.catch_up(replica));
    assert!(world.content().next.is_some());
    for _ in 0..100 {
        for object in 0..2 {
            world.act(Action::Observe(object));
            world.act(Action::Register(object));
        }
        world.act(Action::Renew);
        world.act(Action::Wait(1));
    }
    assert!(world.content().next.is_some());
    assert_eq!(renew(&world.replicas[0].memory, &world.published, world.now, TIMES), Plan::Rest(None));
}
