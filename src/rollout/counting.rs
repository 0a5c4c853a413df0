//! Whether a Pod counts for a SidecarSet, and as what. The rules are OpenKruise's, but for those named here.

use super::pod::{ObservedContainer, ObservedPod, PodPhase};
use super::text::Text;
use crate::api::sidecarset::{SidecarContainer, SidecarSetSpec, UpgradeType};
use crate::injection::verify::{Deviation, FixedContainers, Images};
use crate::injection::{InjectableSet, Selector};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// What decides which Pods count for a set: as long as it stays, so do its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountingRules {
    selector: Selector,
    /// All namespaces where it is absent or empty.
    namespace_selector: Option<Selector>,
    sidecars: Vec<Sidecar>,
    /// The set's hash.
    hash: String,
    /// The hash of what that does not cover, where the set has such.
    hash_of_rest: Option<String>,
    /// What a Pod that records this hash must have.
    fixed: FixedContainers,
}

/// A container of `spec.containers`. Init containers do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sidecar {
    name: String,
    /// Whether it may be a native sidecar of a Job instead.
    ends_with_job: bool,
    /// With hot upgrade there are two in the Pod, this name with `-1` and `-2`.
    hot: Option<Hot>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Hot {
    twins: [String; 2],
    /// Image of the idle one; empty where the set has none.
    empty_image: String,
}

/// As what a Pod counts for one set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is counted by itself")]
pub struct PodStanding {
    /// The set's containers are in the Pod.
    pub matched: bool,
    /// They are the latest.
    pub updated: bool,
    /// The Pod records that they are the latest, but they are not.
    pub deviates: bool,
    /// The Pod is ready and runs the images of its spec.
    pub ready: bool,
}

/// How many Pods stand how with a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pods with the set's containers.
    pub matched: usize,
    /// Of those, with the latest ones.
    pub updated: usize,
    /// Of the matched, those that only record the latest ones.
    pub deviating: usize,
    /// Of the matched, those ready.
    pub ready: usize,
    /// Of the updated, those ready.
    pub updated_ready: usize,
}

impl CountingRules {
    /// The rules of a set; `spec` is what `set` was made of.
    #[must_use]
    pub fn of(set: &InjectableSet, spec: &SidecarSetSpec) -> Self {
        Self {
            selector: set.selector.clone(),
            namespace_selector: set.namespace_selector.clone(),
            sidecars: spec.containers.iter().flatten().map(Sidecar::of).collect(),
            hash: set.content.hashes.hash.clone(),
            hash_of_rest: set.content.hash_of_rest.clone(),
            fixed: set.fixed_containers(),
        }
    }

    /// The same, where these are the images of the set's kept versions.
    #[must_use]
    pub fn knowing<'i>(mut self, kept: impl IntoIterator<Item = &'i Arc<Images>>) -> Self {
        self.fixed.know(kept);
        self
    }

    /// The hash by which Pods record the present containers.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// How a Pod stands with the set of this name. `namespace` holds the labels of the Pod's Namespace; of an unknown one it is
    /// `None`, and no selector matches that.
    #[must_use]
    pub fn standing(&self, set: &str, pod: &ObservedPod, namespace: Option<&Labels>) -> PodStanding {
        let Some(injected) = pod.injected.iter().find(|injected| &*injected.name == set) else {
            return PodStanding::default();
        };
        let matched = pod.is_active()
            && self.selector.unmet(|key| pod.label(key)).is_none()
            && self.selects_namespace(namespace)
            && self.sidecars.iter().all(|sidecar| sidecar.is_in(pod));
        // A Pod that does not record the rest was injected by an earlier version, or before the set had such fields: it counts as
        // updated, so that an upgrade of outrigger outdates no Pod.
        let has_rest = injected.hash_of_rest.as_deref().is_none_or(|rest| Some(rest) == self.hash_of_rest.as_deref());
        let recorded = matched && has_rest && injected.hash.as_deref() == Some(&self.hash);
        let deviates = recorded && self.deviation(pod).is_some();
        PodStanding {
            matched,
            updated: recorded && !deviates,
            deviates,
            ready: matched && self.is_ready(pod) && self.is_consistent(pod, &injected.image_ids_before),
        }
    }

    /// The first container of a Pod that is not the set's present one.
    #[must_use]
    pub fn deviation(&self, pod: &ObservedPod) -> Option<Deviation> {
        self.fixed.deviation(|list, name| {
            let (image, fingerprint) = if list == "containers" {
                pod.container(name).map(|container| (&container.image, &container.fingerprint))
            } else {
                pod.init_container(name).map(|container| (&container.image, &container.fingerprint))
            }?;
            Some((&**image, fingerprint.as_deref()))
        })
    }

    fn selects_namespace(&self, namespace: Option<&Labels>) -> bool {
        match (&self.namespace_selector, namespace) {
            (None, _) => true,
            (Some(selector), None) => selector.requirements().is_empty(),
            (Some(selector), Some(labels)) => selector.unmet(|key| labels.get(key).map(String::as_str)).is_none(),
        }
    }

    /// Ready, with no hot upgrade under way: each idle twin is back at its empty image.
    fn is_ready(&self, pod: &ObservedPod) -> bool {
        pod.ready && pod.phase == PodPhase::Running && self.sidecars.iter().all(|sidecar| sidecar.is_at_rest(pod))
    }

    /// Whether the kubelet runs what the spec says.
    fn is_consistent(&self, pod: &ObservedPod, image_ids_before: &[(Text, Text)]) -> bool {
        let mut sidecars = self.sidecars.iter().flat_map(Sidecar::names).filter_map(|name| pod.container(name));
        pod.reported_containers == pod.containers.len()
            && sidecars.all(|container| runs_its_image(container, image_ids_before))
    }
}

impl Sidecar {
    fn of(container: &SidecarContainer) -> Self {
        let name = container.name().to_owned();
        let upgrade = &container.upgrade_strategy;
        let hot = (upgrade.upgrade_type == Some(UpgradeType::HotUpgrade)).then(|| Hot {
            twins: [format!("{name}-1"), format!("{name}-2")],
            empty_image: upgrade.hot_upgrade_empty_image.clone(),
        });
        Self { name, ends_with_job: container.ends_with_job(), hot }
    }

    /// Its names in a Pod.
    fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.hot.as_ref().map_or(std::slice::from_ref(&self.name), |hot| &hot.twins);
        names.iter().map(String::as_str)
    }

    fn is_in(&self, pod: &ObservedPod) -> bool {
        let is_native = |name: &str| pod.init_container(name).is_some_and(|container| container.native);
        self.names().all(|name| pod.container(name).is_some() || self.ends_with_job && is_native(name))
            && (self.hot.is_none() || pod.working(&self.name).is_some())
    }

    fn is_at_rest(&self, pod: &ObservedPod) -> bool {
        let Some(Hot { twins: [first, second], empty_image }) = &self.hot else { return true };
        let idle = if pod.working(&self.name) == Some(second) { first } else { second };
        empty_image.is_empty() || pod.container(idle).is_none_or(|container| *container.image == **empty_image)
    }
}

/// Whether the container runs the image of its spec, as far as that can be known. An image with a digest is compared by that
/// digest alone: a mirror serves it under another name. Of a container whose image was changed in place it is known that
/// the image that ran before is not the one, unless the kubelet names it as the spec does (two tags of one image).
fn runs_its_image(container: &ObservedContainer, image_ids_before: &[(Text, Text)]) -> bool {
    let status = container.status.as_ref();
    if let Some((_, digest)) = container.image.rsplit_once('@') {
        return status.is_some_and(|status| status.image_id.rsplit_once('@').is_some_and(|(_, runs)| runs == digest));
    }
    let before = image_ids_before.iter().find(|(name, _)| *name == container.name);
    let (Some((_, before)), Some(status)) = (before, status) else { return true };
    status.image_id != *before || status.image == container.image
}

impl Counts {
    /// Counts one more Pod.
    pub fn add(&mut self, standing: PodStanding) {
        self.change(standing, |count| *count += 1);
    }

    /// Counts one Pod less, which was counted like this.
    pub fn subtract(&mut self, standing: PodStanding) {
        self.change(standing, |count| *count = count.saturating_sub(1));
    }

    fn change(&mut self, standing: PodStanding, mut change: impl FnMut(&mut usize)) {
        let PodStanding { matched, updated, deviates, ready } = standing;
        for (counts, count) in [
            (matched, &mut self.matched),
            (updated, &mut self.updated),
            (deviates, &mut self.deviating),
            (ready, &mut self.ready),
            (updated && ready, &mut self.updated_ready),
        ] {
            if counts {
                change(count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::tests::{PodBuilder, rules};
    use crate::rollout::text::Texts;
    use serde_json::{Value, json};

    const DIGEST: &str = "sha256:0a";

    fn standing(spec: &Value, pod: &PodBuilder) -> PodStanding {
        let labels = Labels::from([("team".to_owned(), "a".to_owned())]);
        standing_in(spec, pod, Some(&labels))
    }

    fn standing_in(spec: &Value, pod: &PodBuilder, namespace: Option<&Labels>) -> PodStanding {
        let pod = ObservedPod::of(&pod.watched(), &mut Texts::default());
        rules("s", spec).standing("s", &pod, namespace)
    }

    /// A set that has this as a kept version.
    fn images_of(spec: &Value) -> Arc<Images> {
        let spec: SidecarSetSpec = serde_json::from_value(spec.clone()).unwrap();
        Arc::new(Images::of(&spec))
    }

    fn cold() -> Value {
        json!({"selector": {"matchLabels": {"app": "a"}}, "containers": [{"name": "c", "image": "i:1"}]})
    }

    fn pod(spec: &Value) -> PodBuilder {
        PodBuilder::new("p").label("app", "a").injected("s", &rules("s", spec).hash).container("c", "i:1").ready()
    }

    const ALL: PodStanding = PodStanding { matched: true, updated: true, deviates: false, ready: true };

    #[test]
    fn an_injected_pod_that_runs_is_matched_updated_and_ready() {
        assert_eq!(standing(&cold(), &pod(&cold())), ALL);
        let outdated = PodBuilder::new("p").label("app", "a").injected("s", "other").container("c", "i:1").ready();
        assert_eq!(standing(&cold(), &outdated), PodStanding { updated: false, ..ALL });
        let starting =
            PodBuilder::new("p").label("app", "a").injected("s", &rules("s", &cold()).hash).container("c", "i:1");
        assert_eq!(standing(&cold(), &starting), PodStanding { ready: false, ..ALL });
    }

    #[test]
    fn a_pod_with_other_fields_that_openkruise_does_not_know_is_not_updated() {
        let with = |code: i64| {
            let mut spec = cold();
            spec["containers"][0]["restartPolicyRules"] =
                json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [code]}}]);
            spec
        };
        let recording = |spec: &Value| {
            let rest = json!({"s": rules("s", spec).hash_of_rest}).to_string();
            pod(spec).annotation("outrigger.dev/sidecarset-hash-rest", &rest)
        };
        assert_eq!(standing(&with(1), &recording(&with(1))), ALL);
        assert_eq!(standing(&with(2), &recording(&with(1))), PodStanding { updated: false, ..ALL });
        assert_eq!(standing(&cold(), &recording(&with(1))), PodStanding { updated: false, ..ALL });
        assert_eq!(standing(&with(1), &pod(&with(1))), ALL, "a Pod from before counts as updated");
    }

    #[test]
    fn what_does_not_match_counts_for_nothing() {
        let cases = [
            ("another label", pod(&cold()).label("app", "b")),
            ("not injected", PodBuilder::new("p").label("app", "a").container("c", "i:1").ready()),
            ("injected by another set", pod(&cold()).annotation("kruise.io/sidecarset-injected-list", "t")),
            ("without the container", PodBuilder::new("p").label("app", "a").injected("s", "h").container("d", "i:1")),
            ("being deleted", pod(&cold()).deleting()),
            ("over", pod(&cold()).phase("Succeeded")),
            ("failed", pod(&cold()).phase("Failed")),
        ];
        for (case, pod) in cases {
            assert_eq!(standing(&cold(), &pod), PodStanding::default(), "{case}");
        }
    }

    #[test]
    fn a_namespace_selector_does_not_match_an_unknown_namespace() {
        let mut spec = cold();
        spec["namespaceSelector"] = json!({"matchLabels": {"team": "a"}});
        assert_eq!(standing(&spec, &pod(&spec)), ALL);
        assert_eq!(standing_in(&spec, &pod(&spec), None), PodStanding::default());
        assert_eq!(standing_in(&spec, &pod(&spec), Some(&Labels::new())), PodStanding::default());
        spec["namespaceSelector"] = json!({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]});
        assert_eq!(standing_in(&spec, &pod(&spec), None), PodStanding::default());
    }

    #[test]
    fn with_hot_upgrade_both_twins_and_the_working_one_must_be_known_and_the_idle_one_be_empty() {
        let upgrade = json!({"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "empty:1"});
        let spec = json!({"selector": {"matchLabels": {"app": "a"}},
                          "containers": [{"name": "c", "image": "i:1", "upgradeStrategy": upgrade}]});
        let bare = PodBuilder::new("p").label("app", "a").injected("s", &rules("s", &spec).hash).ready();
        let twins = |first: &str, second: &str, working: &str| {
            let working = format!(r#"{{"c":"{working}"}}"#);
            let twins = bare.clone().container("c-1", first).container("c-2", second);
            standing(&spec, &twins.annotation("kruise.io/sidecarset-working-hotupgrade-container", &working))
        };
        assert_eq!(twins("i:1", "empty:1", "c-1"), ALL);
        assert_eq!(twins("empty:1", "i:1", "c-2"), ALL);
        assert_eq!(twins("i:0", "i:1", "c-2"), PodStanding { updated: false, deviates: true, ready: false, ..ALL });
        let mut before = spec.clone();
        before["containers"][0]["image"] = json!("i:0");
        let between = bare.clone().container("c-1", "i:0").container("c-2", "i:1");
        let between =
            between.annotation("kruise.io/sidecarset-working-hotupgrade-container", r#"{"c":"c-2"}"#).watched();
        let between = ObservedPod::of(&between, &mut Texts::default());
        let knowing = rules("s", &spec).knowing([&images_of(&before)]);
        assert_eq!(knowing.standing("s", &between, None), PodStanding { ready: false, ..ALL }, "it is under way");
        let one = bare
            .clone()
            .container("c-1", "i:1")
            .annotation("kruise.io/sidecarset-working-hotupgrade-container", r#"{"c":"c-1"}"#);
        assert_eq!(standing(&spec, &one), PodStanding::default());
        let untold = bare.container("c-1", "i:1").container("c-2", "empty:1");
        assert_eq!(standing(&spec, &untold), PodStanding::default());
    }

    #[test]
    fn a_pod_that_only_records_the_latest_containers_is_not_updated() {
        let deviation = |pod: &PodBuilder| {
            let pod = ObservedPod::of(&pod.watched(), &mut Texts::default());
            rules("s", &cold()).deviation(&pod).map(|deviation| deviation.to_string())
        };
        assert_eq!(deviation(&pod(&cold())), None);
        let many: Vec<Value> = (0..2000).map(|number| json!({"name": format!("V{number}")})).collect();
        let many = [&many[..], &[json!({"name": "IS_INJECTED", "value": "true"})]].concat();
        for (fields, expected) in [
            (json!({"image": "evil:1"}), "does not have the set's image"),
            (json!({"command": ["sleep", "9"]}), "does not have the set's command and args"),
            (json!({"env": null}), "does not have the set's env \"IS_INJECTED\""),
            (json!({"env": many}), "has too many variables, mounts and args to be compared with the set"),
        ] {
            let forged = pod(&cold()).changed("c", &fields);
            assert_eq!(standing(&cold(), &forged), PodStanding { updated: false, deviates: true, ..ALL }, "{expected}");
            assert_eq!(deviation(&forged), Some(format!("spec.containers \"c\" {expected}")));
        }
        let rewritten =
            pod(&cold()).changed("c", &json!({"image": "mirror.corp/proxy/i:1", "imagePullPolicy": "Always"}));
        assert_eq!(standing(&cold(), &rewritten), ALL);
        let older = PodBuilder::new("p").label("app", "a").injected("s", "other").container("c", "evil:1").ready();
        assert_eq!(standing(&cold(), &older), PodStanding { updated: false, ..ALL }, "it says so itself");
    }

    #[test]
    fn native_sidecars_are_looked_at_and_ordinary_init_containers_are_not() {
        let mut spec = cold();
        spec["initContainers"] =
            json!([{"name": "n", "image": "n:1", "restartPolicy": "Always"}, {"name": "o", "image": "o:1"}]);
        let native = |image: &str| {
            let env = json!([{"name": "IS_INJECTED", "value": "true"}]);
            pod(&spec).init_containers(&json!([{"name": "n", "image": image, "restartPolicy": "Always", "env": env}]))
        };
        assert_eq!(standing(&spec, &native("n:1")), ALL);
        for forged in [native("evil:1"), pod(&spec)] {
            assert_eq!(standing(&spec, &forged), PodStanding { updated: false, deviates: true, ..ALL });
        }
    }

    #[test]
    fn a_sidecar_that_ends_with_a_job_counts_as_a_native_one_too() {
        let mut spec = cold();
        spec["containers"][0]["env"] = json!([{"name": "KRUISE_TERMINATE_SIDECAR_WHEN_JOB_EXIT", "value": "true"}]);
        let in_job = |spec: &Value, image: &str, restart_policy: Value| {
            let mut native = spec["containers"][0].clone();
            native["image"] = json!(image);
            native["restartPolicy"] = restart_policy;
            native["env"] = json!([{"name": "KRUISE_TERMINATE_SIDECAR_WHEN_JOB_EXIT", "value": "true"}, {"name": "IS_INJECTED", "value": "true"}]);
            let pod = PodBuilder::new("p").label("app", "a").injected("s", &rules("s", spec).hash);
            standing(spec, &pod.init_containers(&json!([native])).ready())
        };
        assert_eq!(in_job(&spec, "i:1", json!("Always")), ALL);
        assert!(!in_job(&spec, "i:1", json!(null)).matched, "it would end before the others start");
        let deviating = PodStanding { updated: false, deviates: true, ..ALL };
        assert_eq!(in_job(&spec, "evil:1", json!("Always")), deviating);
        assert!(!in_job(&cold(), "i:1", json!("Always")).matched, "it is not to end with a Job");
    }

    #[test]
    fn a_pod_is_not_ready_before_the_kubelet_speaks_of_all_its_containers() {
        let silent = pod(&cold()).container("app", "app:1").without_status("app");
        assert_eq!(standing(&cold(), &silent), PodStanding { ready: false, ..ALL });
    }

    #[test]
    fn a_container_changed_in_place_is_consistent_once_another_image_runs() {
        let state = r#"{"s":{"lastContainerStatuses":{"c":{"imageID":"i@sha256:old"}}}}"#;
        let changed = pod(&cold()).annotation("kruise.io/sidecarset-inplace-update-state", state);
        let runs = |image: &str, id: &str| standing(&cold(), &changed.clone().status("c", image, id)).ready;
        assert!(!runs("i:0", "i@sha256:old"));
        assert!(runs("i:1", "i@sha256:new"));
        assert!(runs("docker.io/library/i:1", "i@sha256:new"));
        assert!(runs("i:1", "i@sha256:old"), "the new tag is the same image");
    }

    #[test]
    fn an_image_with_a_digest_is_compared_by_it() {
        let image = format!("i@{DIGEST}");
        let spec = json!({"selector": {"matchLabels": {"app": "a"}}, "containers": [{"name": "c", "image": image}]});
        let pod = PodBuilder::new("p").label("app", "a").injected("s", "h").container("c", &image).ready();
        let runs = |id: &str| standing(&spec, &pod.clone().status("c", "whatever", id)).ready;
        assert!(runs(&format!("i@{DIGEST}")));
        assert!(runs(&format!("mirror.example.com/i@{DIGEST}")));
        assert!(!runs("i@sha256:0b"));
        assert!(!runs(""));
    }
}
