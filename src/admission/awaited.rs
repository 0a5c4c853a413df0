//! SidecarSets that were allowed here a moment ago and that the watch has not told of yet: Pods that they may be for wait.
//!
//! They are not injected before the watch tells of them: whoever was asked after us may have refused them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::metrics::Metrics;
use super::mutate_pod;
use crate::api::sidecarset::SidecarSet;
use crate::injection::{Operator, Requirement, Selector};

/// A set is waited for at most this long. As a rule the watch tells of it within milliseconds; a Pod's webhook has 5 s.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// At most this many sets are waited for, the latest ones: whoever may ask us to review sets can make as many as they like.
const MOST: usize = 256;

/// A set whose selector has more keys and values, in bytes, is not waited for.
const LARGEST_SELECTOR: usize = 64 * 1024;

/// The sets that are waited for. Mostly there are none, and then a review pays for one look.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    sets: watch::Sender<Vec<AwaitedSet>>,
}

#[derive(Debug)]
struct AwaitedSet {
    metadata: ObjectMeta,
    selector: Selector,
    until: Instant,
    /// Whether it was logged that it was waited for in vain: once is enough.
    missed: Arc<AtomicBool>,
}

impl Awaited {
    /// This set will be told of, or else was refused by somebody.
    pub fn expect(&self, set: &SidecarSet, now: Instant) {
        let selector = set.spec.selector.as_ref().map(|selector| Selector::parse(selector, "spec.selector"));
        let Some(Ok(selector)) = selector else { return };
        if size(&selector) > LARGEST_SELECTOR {
            return;
        }
        let metadata = ObjectMeta {
            name: set.metadata.name.clone(),
            uid: set.metadata.uid.clone(),
            generation: set.metadata.generation,
            ..ObjectMeta::default()
        };
        self.sets.send_modify(|sets| {
            sets.retain(|set| now < set.until);
            sets.drain(..(sets.len() + 1).saturating_sub(MOST));
            sets.push(AwaitedSet { metadata, selector, until: now + PATIENCE, missed: Arc::default() });
        });
    }

    /// These sets are known now.
    pub fn told<'k>(&self, known: impl Fn(&str) -> Option<&'k ObjectMeta>) {
        self.sets.send_if_modified(|sets| {
            let before = sets.len();
            sets.retain(|AwaitedSet { metadata, .. }| {
                known(metadata.name.as_deref().unwrap_or_default()).is_none_or(|stored| is_newer(metadata, stored))
            });
            sets.len() < before
        });
    }

    /// What the Pod of this review has to wait for, if anything. Where that is in vain it is logged and counted.
    pub fn by(
        &self,
        body: &[u8],
        now: Instant,
        metrics: &Arc<Metrics>,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        if self.sets.borrow().iter().all(|set| set.until <= now) {
            return None;
        }
        // Without the lock: a large body takes its time, and who tells of a set would keep all others waiting behind this.
        let review = mutate_pod::read(body).ok()?;
        let pod = review.request.object.as_ref()?;
        let sets = self.sets.borrow();
        let for_pod = sets.iter().filter(|set| now < set.until && set.selector.unmet(|key| pod.label(key)).is_none());
        let awaited: Vec<_> = for_pod.map(|set| (set.metadata.clone(), set.until, set.missed.clone())).collect();
        drop(sets);
        let until = awaited.iter().map(|(_, until, _)| *until).max()?;
        let (mut sets, metrics) = (self.sets.subscribe(), metrics.clone());
        Some(async move {
            let is_awaited = |set: &AwaitedSet| awaited.iter().any(|(one, ..)| *one == set.metadata);
            let all_told = sets.wait_for(|sets| !sets.iter().any(is_awaited));
            if timeout_at(until, all_told).await.is_ok() {
                return;
            }
            metrics.awaited_in_vain.inc();
            let open = sets.borrow();
            for (metadata, _, missed) in awaited.iter().filter(|(one, ..)| open.iter().any(|set| set.metadata == *one))
            {
                if !missed.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        set = metadata.name,
                        "this SidecarSet was allowed here, and the watch has not told of it in time: Pods are created without it; somebody else refused it, or the watch is behind"
                    );
                }
            }
        })
    }
}

/// What the keys and values of a selector take.
fn size(selector: &Selector) -> usize {
    let texts = selector.requirements().iter().flat_map(|Requirement { key, operator }| {
        let values = match operator {
            Operator::In(values) | Operator::NotIn(values) => values.as_slice(),
            Operator::Exists | Operator::DoesNotExist => &[],
        };
        values.iter().chain([key])
    });
    texts.map(|text| size_of::<String>() + text.len()).sum()
}

/// Whether a set as it was reviewed says more than the stored one of its name: a later generation of the same object. That of
/// another object is none, as long as the stored one is there.
pub(super) fn is_newer(reviewed: &ObjectMeta, stored: &ObjectMeta) -> bool {
    reviewed.uid == stored.uid && reviewed.generation > stored.generation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::decode;
    use futures::FutureExt;
    use serde_json::json;

    fn set(name: &str, uid: &str, generation: i64) -> SidecarSet {
        decode::sidecarset(json!({
            "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet",
            "metadata": {"name": name, "uid": uid, "generation": generation},
            "spec": {"selector": {"matchLabels": {"app": name}}, "containers": [{"name": "c", "image": "x:1"}]}
        }))
        .unwrap()
    }

    fn pod(app: &str) -> Vec<u8> {
        let object = json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "app"}]}});
        let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
        let request = json!({"uid": "u", "kind": kind, "operation": "CREATE", "object": object});
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
        review.to_string().into_bytes()
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_waits_until_its_set_is_told() {
        let (awaited, web, metrics) = (Awaited::default(), set("web", "u-1", 2), Arc::new(Metrics::default()));
        assert!(awaited.by(&pod("web"), Instant::now(), &metrics).is_none());
        awaited.expect(&web, Instant::now());
        assert!(awaited.by(&pod("db"), Instant::now(), &metrics).is_none(), "another Pod has nothing to wait for");
        let mut waiting = Box::pin(awaited.by(&pod("web"), Instant::now(), &metrics).unwrap());
        assert!((&mut waiting).now_or_never().is_none());
        awaited.told(|_| None);
        let before = set("web", "u-1", 1).metadata;
        awaited.told(|_| Some(&before));
        assert!((&mut waiting).now_or_never().is_none(), "that was the generation before");
        awaited.told(|_| Some(&web.metadata));
        assert!(waiting.now_or_never().is_some());
        assert_eq!(metrics.awaited_in_vain.get(), 0);
        assert!(awaited.by(&pod("web"), Instant::now(), &metrics).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_for_a_set_that_was_refused() {
        let (awaited, begun, metrics) = (Awaited::default(), Instant::now(), Arc::new(Metrics::default()));
        awaited.expect(&set("web", "u-1", 1), begun);
        let waiting = awaited.by(&pod("web"), begun, &metrics).unwrap();
        waiting.await;
        assert_eq!(begun.elapsed(), PATIENCE);
        assert_eq!(metrics.awaited_in_vain.get(), 1);
        assert!(awaited.by(&pod("web"), Instant::now(), &metrics).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn of_very_many_sets_the_latest_are_waited_for() {
        let (awaited, metrics) = (Awaited::default(), Arc::new(Metrics::default()));
        for number in 0..2 * MOST {
            awaited.expect(&set(&format!("s{number}"), "u", 1), Instant::now());
        }
        assert_eq!(awaited.sets.borrow().len(), MOST);
        assert!(awaited.by(&pod("s0"), Instant::now(), &metrics).is_none());
        assert!(awaited.by(&pod(&format!("s{}", 2 * MOST - 1)), Instant::now(), &metrics).is_some());
        let mut large = set("large", "u", 1);
        let values: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
        let expression = json!({"key": "app", "operator": "NotIn", "values": values});
        large.spec.selector = serde_json::from_value(json!({"matchExpressions": [expression]})).unwrap();
        awaited.expect(&large, Instant::now());
        assert!(awaited.by(&pod("large"), Instant::now(), &metrics).is_none());
    }

    #[test]
    fn a_set_is_newer_as_a_later_generation_of_the_same_object() {
        let newer = |uid: &str, generation| is_newer(&set("s", uid, generation).metadata, &set("s", "u-1", 2).metadata);
        assert!(newer("u-1", 3));
        assert!(!newer("u-1", 2), "only metadata changed, or it is told already");
        assert!(!newer("u-2", 3), "the creation of what is there is refused");
    }
}
