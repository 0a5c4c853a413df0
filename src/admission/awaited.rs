//! Objects that the watches have not reported yet. Pods that may depend on them wait.
//!
//! * A SidecarSet that was allowed here a moment ago. It is not injected before the watch reports it, because a webhook
//!   called later may have refused it.
//! * A Namespace that the watch has not reported, when a SidecarSet may select the Pod by the Namespace's labels.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::early::namespace_of;
use super::metrics::Metrics;
use super::mutate_pod;
use crate::api::pod::PodView;
use crate::api::sidecarset::SidecarSet;
use crate::injection::validate::OtherSet;
use crate::injection::{Mismatch, Operator, PodRequest, Requirement, Selector, Snapshot};

/// A Pod waits for an object at most this long. The watch usually reports it in milliseconds; a Pod's webhook has 5 s.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// At most this many objects of a kind are waited for, the latest ones. Users who may create sets or Namespaces can
/// create any number of them.
const MOST: usize = 256;

/// The selectors of all awaited sets have at most this many bytes of keys and values. A larger set is not awaited.
const LARGEST_SELECTORS: usize = 8 * 1024 * 1024;

/// The objects that are awaited. Usually there are none, and then a review only reads its head.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    objects: watch::Sender<Vec<AwaitedObject>>,
}

#[derive(Clone, Debug)]
struct AwaitedObject {
    what: Arc<AwaitedFor>,
    until: Instant,
    /// Whether a wait in vain was logged. It is logged once.
    missed: Arc<AtomicBool>,
}

#[derive(Debug)]
enum AwaitedFor {
    /// Pods that a set selects with a selector of this size.
    Set { metadata: Box<ObjectMeta>, selector: Selector, size: usize },
    /// Pods of a Namespace. It stays here after its time, so that only the first Pods wait for one that is never
    /// reported.
    Namespace(String),
}

impl Awaited {
    /// Records that this set will be reported, unless another webhook refuses it.
    pub fn expect(&self, set: &SidecarSet, now: Instant) {
        let selector = set.spec.selector.as_ref().map(|selector| Selector::parse(selector, "spec.selector"));
        let Some(Ok(selector)) = selector else { return };
        let size = size(&selector);
        if size > LARGEST_SELECTORS {
            return;
        }
        let metadata = ObjectMeta {
            name: set.metadata.name.clone(),
            uid: set.metadata.uid.clone(),
            generation: set.metadata.generation,
            ..ObjectMeta::default()
        };
        let set = AwaitedFor::Set { metadata: Box::new(metadata), selector, size };
        self.objects.send_modify(|objects| add(objects, set, now));
    }

    /// Records that these objects are known now.
    pub fn told<'k>(&self, set: impl Fn(&str) -> Option<&'k OtherSet>, namespace: impl Fn(&str) -> bool) {
        self.objects.send_if_modified(|objects| {
            let before = objects.len();
            objects.retain(|object| match &*object.what {
                AwaitedFor::Set { metadata, .. } => {
                    set(metadata.name.as_deref().unwrap_or_default()).is_none_or(|stored| is_newer(metadata, stored))
                }
                AwaitedFor::Namespace(name) => !namespace(name),
            });
            objects.len() < before
        });
    }

    /// Returns what the Pod of this review has to wait for, if anything. A wait in vain is logged and counted.
    pub fn by(
        &self,
        body: &[u8],
        now: Instant,
        snapshot: &ArcSwap<Snapshot>,
        metrics: &Arc<Metrics>,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let some_set = self.objects.borrow().iter().any(|object| object.is_set() && now < object.until);
        let unknown = namespace_of(body).filter(|name| !name.is_empty() && !snapshot.load().knows_namespace(name));
        if !some_set && unknown.is_none() {
            return None;
        }
        // No lock is held: a large body takes time, and a writer that waits would block all other reviews.
        let review = mutate_pod::read(body).ok()?;
        let pod = review.request.object.as_ref()?;
        if let Some(name) = unknown.filter(|name| matters(name, pod, &snapshot.load())) {
            self.expect_namespace(name, now, snapshot);
        }
        let awaited: Vec<_> = self
            .objects
            .borrow()
            .iter()
            .filter(|object| now < object.until && object.is_for(pod, unknown))
            .cloned()
            .collect();
        let until = awaited.iter().map(|object| object.until).max()?;
        let (mut objects, metrics) = (self.objects.subscribe(), metrics.clone());
        Some(async move {
            let is_open = |objects: &[AwaitedObject], one: &AwaitedObject| {
                objects.iter().any(|object| Arc::ptr_eq(&object.what, &one.what))
            };
            let all_told = objects.wait_for(|objects| !awaited.iter().any(|one| is_open(objects, one)));
            if timeout_at(until, all_told).await.is_ok() {
                return;
            }
            let open = objects.borrow();
            let missed: Vec<_> = awaited.iter().filter(|one| is_open(&open, one)).collect();
            if missed.iter().any(|object| object.is_set()) {
                metrics.awaited_in_vain.inc();
            }
            if missed.iter().any(|object| !object.is_set()) {
                metrics.namespaces_awaited_in_vain.inc();
            }
            for object in missed {
                object.warn();
            }
        })
    }

    /// Records that the watch will report this Namespace. Its Pod is here already.
    fn expect_namespace(&self, name: &str, now: Instant, snapshot: &ArcSwap<Snapshot>) {
        self.objects.send_if_modified(|objects| {
            let is_new = !objects.iter().any(|object| object.is_namespace(name));
            if is_new {
                add(objects, AwaitedFor::Namespace(name.to_owned()), now);
            }
            is_new
        });
        // Objects that were reported before this point are in the snapshot by now.
        if snapshot.load().knows_namespace(name) {
            self.objects.send_modify(|objects| objects.retain(|object| !object.is_namespace(name)));
        }
    }
}

impl AwaitedObject {
    fn is_set(&self) -> bool {
        matches!(&*self.what, AwaitedFor::Set { .. })
    }

    fn is_namespace(&self, name: &str) -> bool {
        matches!(&*self.what, AwaitedFor::Namespace(one) if one == name)
    }

    /// Returns the size of a set's selector.
    fn size(&self) -> usize {
        match &*self.what {
            AwaitedFor::Set { size, .. } => *size,
            AwaitedFor::Namespace(_) => 0,
        }
    }

    /// Returns whether this Pod has to wait. The Namespace is given if it is not known.
    fn is_for(&self, pod: &PodView<'_>, unknown: Option<&str>) -> bool {
        match &*self.what {
            AwaitedFor::Set { selector, .. } => selector.unmet(|key| pod.label(key)).is_none(),
            AwaitedFor::Namespace(name) => unknown == Some(name),
        }
    }

    fn warn(&self) {
        if self.missed.swap(true, Ordering::Relaxed) {
            return;
        }
        match &*self.what {
            AwaitedFor::Set { metadata, .. } => tracing::warn!(
                set = metadata.name,
                "this SidecarSet was allowed here, and the watch has not told of it in time: Pods are created without it; somebody else refused it, or the watch is behind"
            ),
            AwaitedFor::Namespace(name) => tracing::warn!(
                namespace = name,
                "the watch has not told of this Namespace in time: its Pods are created without the SidecarSets that select by its labels until it has"
            ),
        }
    }
}

/// Waits for one more object. The oldest ones of its kind are dropped when there are too many.
fn add(objects: &mut Vec<AwaitedObject>, what: AwaitedFor, now: Instant) {
    let added = AwaitedObject { what: Arc::new(what), until: now + PATIENCE, missed: Arc::default() };
    objects.retain(|object| now < object.until || !object.is_set());
    objects.push(added.clone());
    let (mut count, mut bytes) = (0, 0);
    let mut kept: Vec<_> = std::mem::take(objects).into_iter().rev().collect();
    kept.retain(|object| {
        if object.is_set() != added.is_set() {
            return true;
        }
        count += 1;
        bytes += object.size();
        count <= MOST && bytes <= LARGEST_SELECTORS
    });
    kept.reverse();
    *objects = kept;
}

/// Returns whether a set may select the Pod by the labels of its unknown Namespace.
fn matters(namespace: &str, pod: &PodView<'_>, snapshot: &Snapshot) -> bool {
    let request = PodRequest::create(namespace, Timestamp::UNIX_EPOCH);
    let waits = |mismatch| matches!(mismatch, Some(Mismatch::UnknownNamespace(_)));
    snapshot.sets().any(|set| waits(snapshot.mismatch(set, pod, &request)))
}

/// Returns the size of a selector's keys and values.
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

/// Returns whether a reviewed set is newer than the stored one of its name: a later generation of the same object. A
/// set with another UID is not newer as long as the stored one exists.
pub(super) fn is_newer(reviewed: &ObjectMeta, stored: &OtherSet) -> bool {
    reviewed.uid.as_deref() == stored.uid.as_deref() && reviewed.generation > stored.generation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::decode;
    use crate::injection::{Index, InjectableSet, Options};
    use futures::FutureExt;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn set(name: &str, uid: &str, generation: i64) -> SidecarSet {
        decode::sidecarset(json!({
            "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet",
            "metadata": {"name": name, "uid": uid, "generation": generation},
            "spec": {"selector": {"matchLabels": {"app": name}}, "containers": [{"name": "c", "image": "x:1"}]}
        }))
        .unwrap()
    }

    /// Returns a set for Pods of Namespaces with a label, and the known Namespaces.
    fn snapshot(namespaces: &[&str]) -> ArcSwap<Snapshot> {
        let mut index = Index::new(Options { all_namespaces_are_known: true, ..Options::default() });
        let mut blue = set("blue", "u", 1);
        blue.spec.namespace_selector = serde_json::from_value(json!({"matchLabels": {"team": "blue"}})).unwrap();
        index.apply_set(InjectableSet::new(blue).unwrap());
        for name in namespaces {
            index.apply_namespace((*name).to_owned(), BTreeMap::new());
        }
        ArcSwap::from_pointee(index.snapshot())
    }

    fn pod(app: &str) -> Vec<u8> {
        let object = json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "app"}]}});
        let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
        let namespace = "known";
        let request =
            json!({"uid": "u", "kind": kind, "namespace": namespace, "operation": "CREATE", "object": object});
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
        review.to_string().into_bytes()
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_waits_until_its_set_is_told() {
        let (awaited, web, metrics) = (Awaited::default(), set("web", "u-1", 2), Arc::new(Metrics::default()));
        let sets = snapshot(&["known"]);
        assert!(awaited.by(&pod("web"), Instant::now(), &sets, &metrics).is_none());
        awaited.expect(&web, Instant::now());
        assert!(
            awaited.by(&pod("db"), Instant::now(), &sets, &metrics).is_none(),
            "another Pod has nothing to wait for"
        );
        let mut waiting = Box::pin(awaited.by(&pod("web"), Instant::now(), &sets, &metrics).unwrap());
        assert!((&mut waiting).now_or_never().is_none());
        awaited.told(|_| None, |_| false);
        let before = OtherSet::of(&set("web", "u-1", 1));
        awaited.told(|_| Some(&before), |_| false);
        assert!((&mut waiting).now_or_never().is_none(), "that was the generation before");
        let known = OtherSet::of(&web);
        awaited.told(|_| Some(&known), |_| false);
        assert!(waiting.now_or_never().is_some());
        assert_eq!(metrics.awaited_in_vain.get(), 0);
        assert!(awaited.by(&pod("web"), Instant::now(), &sets, &metrics).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_for_a_set_that_was_refused() {
        let (awaited, begun, metrics) = (Awaited::default(), Instant::now(), Arc::new(Metrics::default()));
        let sets = snapshot(&["known"]);
        awaited.expect(&set("web", "u-1", 1), begun);
        let waiting = awaited.by(&pod("web"), begun, &sets, &metrics).unwrap();
        waiting.await;
        assert_eq!(begun.elapsed(), PATIENCE);
        assert_eq!(metrics.awaited_in_vain.get(), 1);
        assert!(awaited.by(&pod("web"), Instant::now(), &sets, &metrics).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn of_very_many_sets_the_latest_are_waited_for() {
        let (awaited, metrics) = (Awaited::default(), Arc::new(Metrics::default()));
        let sets = snapshot(&["known"]);
        for number in 0..2 * MOST {
            awaited.expect(&set(&format!("s{number}"), "u", 1), Instant::now());
        }
        assert_eq!(awaited.objects.borrow().len(), MOST);
        assert!(awaited.by(&pod("s0"), Instant::now(), &sets, &metrics).is_none());
        assert!(awaited.by(&pod(&format!("s{}", 2 * MOST - 1)), Instant::now(), &sets, &metrics).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn selectors_of_sets_that_are_waited_for_are_bounded_in_sum() {
        let (awaited, metrics) = (Awaited::default(), Arc::new(Metrics::default()));
        let sets = snapshot(&["known"]);
        let large = |name: &str, values: usize| {
            let values: Vec<String> = (0..values).map(|number| format!("{name}{number:06}")).collect();
            let mut large = set(name, "u", 1);
            let expression = json!({"key": "app", "operator": "In", "values": values});
            large.spec.selector = serde_json::from_value(json!({"matchExpressions": [expression]})).unwrap();
            large
        };
        let waits = |app: &str| awaited.by(&pod(app), Instant::now(), &sets, &metrics).is_some();
        // About as long as a selector may be in a registration.
        awaited.expect(&large("a", 9_700), Instant::now());
        assert!(waits("a009699"));
        let each = (LARGEST_SELECTORS - 1_000) / 3 / (size_of::<String>() + 7);
        for name in ["b", "c", "d"] {
            awaited.expect(&large(name, each), Instant::now());
        }
        assert_eq!(["a000000", "b000000", "c000000", "d000000"].map(waits), [false, true, true, true]);
        awaited.expect(&large("e", 3 * each + each), Instant::now());
        assert_eq!(["b000000", "e000000"].map(waits), [true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_waits_for_its_namespace_where_a_set_selects_by_that() {
        let (awaited, metrics) = (Awaited::default(), Arc::new(Metrics::default()));
        let waiting = |app: &str, sets: &ArcSwap<Snapshot>| awaited.by(&pod(app), Instant::now(), sets, &metrics);
        assert!(waiting("blue", &snapshot(&["known"])).is_none());
        let sets = snapshot(&[]);
        assert!(waiting("other", &sets).is_none(), "no set would select it");
        let mut first = Box::pin(waiting("blue", &sets).expect("it waits"));
        assert!((&mut first).now_or_never().is_none());
        let second = waiting("blue", &sets).expect("it waits, too");
        awaited.told(|_| None, |name| name == "known");
        assert!(first.now_or_never().is_some() && second.now_or_never().is_some());
        assert_eq!(metrics.namespaces_awaited_in_vain.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_first_pods_wait_for_a_namespace_that_is_never_told() {
        let (awaited, begun, metrics) = (Awaited::default(), Instant::now(), Arc::new(Metrics::default()));
        let sets = snapshot(&[]);
        awaited.by(&pod("blue"), begun, &sets, &metrics).expect("it waits").await;
        assert_eq!((begun.elapsed(), metrics.namespaces_awaited_in_vain.get()), (PATIENCE, 1));
        assert!(awaited.by(&pod("blue"), Instant::now(), &sets, &metrics).is_none());
        assert_eq!(metrics.awaited_in_vain.get(), 0, "no set was waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_that_is_told_while_its_pod_is_read_is_not_waited_for() {
        let (awaited, metrics) = (Awaited::default(), Arc::new(Metrics::default()));
        awaited.expect_namespace("known", Instant::now(), &snapshot(&["known"]));
        assert!(awaited.objects.borrow().is_empty());
        assert!(awaited.by(&pod("blue"), Instant::now(), &snapshot(&["known"]), &metrics).is_none());
    }

    #[test]
    fn a_set_is_newer_as_a_later_generation_of_the_same_object() {
        let stored = OtherSet::of(&set("s", "u-1", 2));
        let newer = |uid: &str, generation| is_newer(&set("s", uid, generation).metadata, &stored);
        assert!(newer("u-1", 3));
        assert!(!newer("u-1", 2), "only metadata changed, or it is told already");
        assert!(!newer("u-2", 3), "the creation of what is there is refused");
    }
}
