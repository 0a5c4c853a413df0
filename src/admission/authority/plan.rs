//! The next step of the CA's renewal, and when each replica signs its leaf: functions of the observed state and the
//! time.

use std::fmt;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;

use super::super::registration::Published;
use super::{Authority, Content, Times, after, before};

/// The Secret, as a replica sees it.
#[derive(Clone, Copy, Debug)]
pub enum Stored<'a> {
    /// It does not exist.
    Absent,
    /// It holds no CA that can sign.
    Unusable,
    /// It is complete.
    Usable(&'a Content),
}

/// A change of the Secret. Any replica makes the first two, the leader the others. Each is made only over the state
/// that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is no CA, or it has expired: a new one signs at once. The trusted CAs stay trusted.
    Begin,
    /// The Secret was deleted or overwritten. The content that this replica last saw is restored, and another CA is
    /// announced, because the deletion may be meant to replace it. The CAs of the overwritten Secret are trusted too:
    /// another replica may present a certificate of them.
    Restore,
    /// The signing CA gets old: another one is announced.
    Announce,
    /// The Secret lacks something that follows from the rest of it.
    Mend,
    /// All objects trust the announced CA: it signs from now on.
    Switch,
    /// The last leaves of older CAs have expired: they are no longer trusted.
    Retire,
}

/// What to do, and when to check again if nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Take this step now.
    Do(Step),
    /// Do nothing before then; `None`: before a change.
    Rest(Option<Timestamp>),
}

/// A leaf that a replica presents.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Certificate of its CA.
    pub issuer: CertificateDer<'static>,
    /// When it was signed.
    pub signed: Timestamp,
    /// When it expires.
    pub not_after: Timestamp,
    /// How early, from 0 to 1, this one is renewed, so that not all replicas renew at once.
    pub jitter: f64,
}

/// A replica's memory of the Secret.
#[derive(Clone, Debug, Default)]
pub struct RememberedSecret {
    /// The last usable content.
    pub content: Option<Content>,
    /// The trusted CAs, and when this replica first saw each of them.
    trusted: Vec<(CertificateDer<'static>, Timestamp)>,
}

impl RememberedSecret {
    /// Records the present content of the Secret.
    pub fn remember(&mut self, content: &Content, now: Timestamp) {
        self.content = Some(content.clone());
        self.trusted.retain(|(certificate, _)| content.bundle.contains(certificate));
        for certificate in &content.bundle {
            if !self.trusted.iter().any(|(known, _)| known == certificate) {
                self.trusted.push((certificate.clone(), now));
            }
        }
    }

    /// Returns when this replica first saw this CA among the trusted ones, or the maximum time.
    #[must_use]
    pub fn trusted_since(&self, certificate: &CertificateDer<'static>) -> Timestamp {
        let known = self.trusted.iter().find(|(known, _)| known == certificate);
        known.map_or(Timestamp::MAX, |(_, since)| *since)
    }
}

impl Step {
    /// Returns the content of the Secret after this step. `last` is its content or its last good one; `trusted` are its
    /// CAs when it is not good; `make` makes a CA.
    ///
    /// # Errors
    /// `make` fails.
    pub fn taken<E>(
        self,
        last: Option<&Content>,
        trusted: Vec<CertificateDer<'static>>,
        now: Timestamp,
        make: impl FnOnce() -> Result<Authority, E>,
    ) -> Result<Content, E> {
        Ok(match (self, last) {
            (Self::Begin, _) | (_, None) => Content::begin(make()?, trusted, now),
            (Self::Restore, Some(content)) => {
                let content = content.trusting(&trusted, now);
                if content.next.is_some() { content } else { content.announce(make()?) }
            }
            (Self::Announce, Some(content)) => content.announce(make()?),
            (Self::Mend, Some(content)) => content.clone(),
            (Self::Switch, Some(content)) => content.switch(now),
            (Self::Retire, Some(content)) => content.retire(),
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Begin => "a CA begins to sign",
            Self::Restore => "the CA is stored again, and another one announced",
            Self::Announce => "another CA is announced",
            Self::Mend => "what was missing is added",
            Self::Switch => "the announced CA begins to sign",
            Self::Retire => "CAs that sign no more are no longer trusted",
        })
    }
}

/// Returns what any replica does to have a CA. `remembered` is the last good content that this replica saw.
#[must_use]
pub fn keep(stored: Stored<'_>, remembered: Option<&Content>, now: Timestamp) -> Plan {
    match (stored, good(remembered, now)) {
        (Stored::Usable(content), Some(good)) if content.signing.is_expired(now) || !continues(content, good) => {
            Plan::Do(Step::Restore)
        }
        (Stored::Usable(content), _) if !content.signing.is_expired(now) => {
            Plan::Rest(Some(content.signing.not_after()))
        }
        (Stored::Absent | Stored::Unusable, Some(_)) => Plan::Do(Step::Restore),
        _ => Plan::Do(Step::Begin),
    }
}

/// Returns the CAs to register for this content of the Secret. Until an overwritten CA is restored, both are
/// registered.
#[must_use]
pub fn to_trust(content: &Content, remembered: Option<&Content>, now: Timestamp) -> Content {
    match good(remembered, now) {
        Some(good) if !continues(content, good) => content.trusting(&good.bundle, now),
        _ => content.clone(),
    }
}

fn good(remembered: Option<&Content>, now: Timestamp) -> Option<&Content> {
    remembered.filter(|content| !content.signing.is_expired(now))
}

/// Returns whether the Secret still trusts the CA that signed before. It does after each step of a renewal, but not
/// after another client has replaced the CA.
fn continues(content: &Content, before: &Content) -> bool {
    content.bundle.contains(before.signing.certificate())
}

/// Returns what the leader does to renew the CA. `memory` has the present content of the Secret; `published` is what
/// the registered objects trust.
#[must_use]
pub fn renew(memory: &RememberedSecret, published: &Published, now: Timestamp, times: Times) -> Plan {
    let Some(content) = &memory.content else { return Plan::Rest(None) };
    if content.signing.is_expired(now) {
        return Plan::Rest(None); // any replica makes a new one
    }
    if content.is_mended {
        return Plan::Do(Step::Mend);
    }
    let renewal = |authority: &Authority| before(authority.not_after(), times.authority / 3);
    if let Some(next) = content.next.as_ref().filter(|next| renewal(next) > now) {
        // Absent objects do not delay this. But an object written before the announcement may be about to appear.
        let announced = memory.trusted_since(next.certificate());
        return match published.all_trust(next.certificate()).map(|since| after(since.max(announced), times.grace)) {
            Some(due) if due <= now => Plan::Do(Step::Switch),
            due => Plan::Rest(due),
        };
    }
    let renewal = renewal(&content.signing);
    if renewal <= now {
        return Plan::Do(Step::Announce);
    }
    if !content.has_retired() {
        return Plan::Rest(Some(renewal));
    }
    // A replica may have learned of the switch late, and signed with the old CA until then.
    let retirement = after(content.signing_since, times.leaf + times.leaf / 7);
    if retirement <= now { Plan::Do(Step::Retire) } else { Plan::Rest(Some(renewal.min(retirement))) }
}

/// Returns when a replica signs a new leaf; a past time means now. `trusted_since` is when this replica first saw the
/// signing CA among the trusted ones; `registered` is what the registered objects trust, if known.
///
/// A valid leaf is replaced by that of another CA once all objects have trusted that CA for the grace time, regardless
/// of the Secret: the API server has to trust it.
#[must_use]
pub fn sign_at(
    leaf: Option<&Leaf>,
    content: &Content,
    trusted_since: Timestamp,
    registered: Option<&Published>,
    now: Timestamp,
    times: Times,
) -> Timestamp {
    let Some(leaf) = leaf.filter(|leaf| leaf.not_after > now) else {
        return now;
    };
    if leaf.issuer != *content.signing.certificate() {
        let trust = |authority| registered.and_then(|published| published.all_trust(authority));
        return match (trust(content.signing.certificate()), trust(&leaf.issuer)) {
            (Some(since), Some(_)) => after(since.max(trusted_since), times.grace).min(leaf.not_after),
            (Some(_), None) => now,
            (None, _) => leaf.not_after,
        };
    }
    if leaf.not_after >= content.signing.not_after() {
        return leaf.not_after; // another leaf of this CA would not last longer
    }
    let third = leaf.signed.duration_until(leaf.not_after).unsigned_abs() / 3;
    before(leaf.not_after, third + third.mul_f64(leaf.jitter.clamp(0.0, 1.0) / 3.0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admission::registration::Bundles;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).expect("a time")
    }

    fn times() -> Times {
        Times::default()
    }

    /// Returns a CA that is valid for so many days.
    fn authority(days: u32) -> Authority {
        Authority::generate(now(), DAY * days).expect("a CA")
    }

    fn content(days: u32) -> Content {
        Content::begin(authority(days), Vec::new(), now())
    }

    /// Returns the memory of a replica that has seen this since then.
    fn memory(content: &Content, since: Timestamp) -> RememberedSecret {
        let mut memory = RememberedSecret::default();
        memory.remember(content, since);
        memory
    }

    /// Returns three objects that have trusted these since then.
    fn published(trusted: &[CertificateDer<'static>], since: Timestamp) -> Published {
        let mut published = Published::default();
        for name in Published::NAMES {
            published.saw(name, Some(Bundles::from(vec![trusted.to_vec()])), since);
        }
        published
    }

    #[test]
    fn without_a_ca_any_replica_begins() {
        assert_eq!(keep(Stored::Absent, None, now()), Plan::Do(Step::Begin));
        assert_eq!(keep(Stored::Unusable, None, now()), Plan::Do(Step::Begin));
    }

    #[test]
    fn an_expired_ca_is_replaced_at_once_by_any_replica_and_only_so() {
        let old = content(1);
        let late = now() + DAY;
        assert_eq!(keep(Stored::Usable(&old), Some(&old), late), Plan::Do(Step::Begin));
        assert_eq!(keep(Stored::Absent, Some(&old), late), Plan::Do(Step::Begin));
        assert_eq!(renew(&memory(&old, now()), &Published::default(), late, times()), Plan::Rest(None));
    }

    #[test]
    fn a_secret_that_was_deleted_or_overwritten_comes_back() {
        let content = content(365);
        assert_eq!(keep(Stored::Absent, Some(&content), now()), Plan::Do(Step::Restore));
        assert_eq!(keep(Stored::Unusable, Some(&content), now()), Plan::Do(Step::Restore));
        assert_eq!(keep(Stored::Usable(&content), None, now()), Plan::Rest(Some(content.signing.not_after())));
    }

    #[test]
    fn somebody_elses_ca_gives_way_to_the_one_that_replicas_are_trusted_by() {
        let (good, valid, expired) = (content(365), content(100), content(1));
        let late = now() + DAY * 2;
        for foreign in [&valid, &expired] {
            assert_eq!(keep(Stored::Usable(foreign), Some(&good), late), Plan::Do(Step::Restore));
            let trusted = to_trust(foreign, Some(&good), late).bundle;
            assert!(trusted.contains(good.signing.certificate()), "registered until then");
            let restored =
                Step::Restore.taken(Some(&good), foreign.bundle.clone(), late, || Ok::<_, ()>(authority(365)));
            let restored = restored.expect("a CA");
            assert_eq!(restored.signing.certificate(), good.signing.certificate());
            assert_eq!(keep(Stored::Usable(&restored), Some(&good), late), Plan::Rest(Some(good.signing.not_after())));
        }
        // A replica that knows only the other one does not overwrite it.
        let restored = Step::Restore.taken(Some(&good), valid.bundle.clone(), late, || Ok::<_, ()>(authority(365)));
        let restored = restored.expect("a CA");
        assert_eq!(keep(Stored::Usable(&restored), Some(&valid), late), Plan::Rest(Some(good.signing.not_after())));
        assert_eq!(to_trust(&restored, Some(&valid), late).bundle, restored.bundle);
    }

    #[test]
    fn each_step_of_a_renewal_continues_the_ca_before() {
        let first = content(365);
        let announced = first.announce(authority(365));
        let switched = announced.switch(now());
        for (before, then) in
            [(&first, &announced), (&announced, &switched), (&first, &switched), (&switched, &switched.retire())]
        {
            assert_eq!(keep(Stored::Usable(then), Some(before), now()), Plan::Rest(Some(then.signing.not_after())));
        }
    }

    #[test]
    fn another_ca_is_announced_when_a_third_of_the_life_is_left() {
        let content = content(365);
        let published = published(&content.bundle, now());
        let renewal = content.signing.not_after() - times().authority / 3;
        assert_eq!(renew(&memory(&content, now()), &published, now(), times()), Plan::Rest(Some(renewal)));
        assert_eq!(renew(&memory(&content, now()), &published, renewal, times()), Plan::Do(Step::Announce));
    }

    #[test]
    fn the_announced_ca_signs_a_grace_time_after_all_objects_were_seen_with_it() {
        let content = content(100).announce(authority(365));
        let renew = |published: &Published, at| renew(&memory(&content, now()), published, at, times());
        assert_eq!(renew(&Published::default(), now()), Plan::Rest(None));
        assert_eq!(renew(&published(&content.bundle[..1], now()), now() + DAY), Plan::Rest(None));

        let mut published = published(&content.bundle, now());
        let due = now() + times().grace;
        assert_eq!(renew(&published, now()), Plan::Rest(Some(due)));
        assert_eq!(renew(&published, due), Plan::Do(Step::Switch));
        // the last one counts
        let old = Bundles::from(vec![content.bundle.clone(), content.bundle[..1].to_vec()]);
        published.saw(Published::NAMES[2], Some(old), now());
        assert_eq!(renew(&published, due), Plan::Rest(None));
        published.saw(Published::NAMES[2], Some(Bundles::from(vec![content.bundle.clone()])), due);
        assert_eq!(renew(&published, due), Plan::Rest(Some(due + times().grace)));
    }

    #[test]
    fn an_object_that_is_not_there_need_not_trust_anything() {
        let content = content(100).announce(authority(365));
        let mut published = published(&content.bundle, now());
        published.saw(Published::NAMES[2], None, now());
        let due = now() + times().grace;
        assert_eq!(renew(&memory(&content, now()), &published, due, times()), Plan::Do(Step::Switch));
        // one may be on its way that was written before the announcement
        assert_eq!(renew(&memory(&content, due), &published, due, times()), Plan::Rest(Some(due + times().grace)));
    }

    #[test]
    fn an_announced_ca_that_has_waited_for_most_of_its_life_is_replaced() {
        let content = content(200).announce(authority(120));
        let published = published(&content.bundle, now());
        assert_eq!(
            renew(&memory(&content, now()), &published, now() + DAY, times()),
            Plan::Rest(Some(content.signing.not_after() - times().authority / 3))
        );
        assert_eq!(renew(&memory(&content, now()), &published, now() + DAY * 100, times()), Plan::Do(Step::Announce));
    }

    #[test]
    fn an_old_ca_is_trusted_until_its_last_leaf_has_expired() {
        let content = content(100).announce(authority(365)).switch(now());
        let renew = |at| renew(&memory(&content, now()), &published(&content.bundle, at), at, times());
        let retirement = now() + DAY * 8;
        assert_eq!(renew(now()), Plan::Rest(Some(retirement)));
        assert_eq!(renew(retirement), Plan::Do(Step::Retire));
    }

    fn leaf(content: &Content) -> Leaf {
        let issuer = content.signing.certificate().clone();
        Leaf { issuer, signed: now(), not_after: now() + times().leaf, jitter: 0.0 }
    }

    #[test]
    fn a_leaf_is_renewed_when_a_third_of_its_life_is_left_or_a_little_before() {
        let content = content(365);
        let sign_at = |leaf: Option<&Leaf>, now| sign_at(leaf, &content, now, None, now, times());
        let hour = Duration::from_secs(60 * 60);
        assert_eq!(sign_at(None, now()), now());
        assert_eq!(sign_at(Some(&leaf(&content)), now()), now() + hour * 112);
        let early = Leaf { jitter: 1.0, ..leaf(&content) };
        assert_eq!(sign_at(Some(&early), now()), now() + hour * 112 - hour * 56 / 3);
        let late = now() + times().leaf;
        assert_eq!(sign_at(Some(&leaf(&content)), late), late);
    }

    #[test]
    fn a_leaf_gives_way_when_all_objects_have_trusted_the_other_ca_for_the_grace_time() {
        let before = content(365);
        let switched = before.announce(authority(365)).switch(now());
        let (leaf, grace) = (leaf(&before), times().grace);
        let sign_at = |registered: Option<&Published>, since| {
            sign_at(Some(&leaf), &switched, since, registered, now() + DAY, times())
        };
        assert_eq!(sign_at(None, now()), leaf.not_after, "it is not known what is registered");
        assert_eq!(sign_at(Some(&published(&before.bundle, now())), now()), leaf.not_after, "it is not registered");
        assert_eq!(sign_at(Some(&published(&switched.bundle, now())), now()), now() + grace);
        assert_eq!(sign_at(Some(&published(&switched.bundle, now())), now() + grace), now() + grace * 2);
        let only_new = &published(&switched.bundle[1..], now() + DAY);
        assert_eq!(sign_at(Some(only_new), now()), now() + DAY, "the old one is not trusted any more");
    }

    #[test]
    fn a_leaf_stays_where_the_secret_trusts_another_ca_only() {
        let (content, other) = (content(365), content(365));
        let trusted = published(&other.bundle, now());
        let at = sign_at(Some(&leaf(&other)), &content, now(), Some(&trusted), now(), times());
        assert_eq!(at, leaf(&other).not_after);
    }

    #[test]
    fn a_leaf_that_lasts_as_long_as_its_ca_is_not_signed_again_and_again() {
        let content = content(7);
        let end = content.signing.not_after();
        assert_eq!(sign_at(Some(&leaf(&content)), &content, now(), None, end - DAY, times()), end);
    }
}
