//! Chooses the version of a SidecarSet for a Pod when `injectionStrategy.revision` asks for a version other than the
//! current one.
//!
//! The rules are OpenKruise's, with two exceptions. The share of Pods is drawn from the request's uid instead of at random. A
//! Pod that records one of the two versions keeps it, because the second pass over a Pod must decide as the first did.

use super::PodRequest;
use super::annotations::Record;
use super::content::Content;
use super::revision::Revision;
use super::set::InjectableSet;
use crate::api::pod::PodView;
use crate::api::sidecarset::{InjectRevision, RevisionPolicy};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sha2::{Digest, Sha256};

/// A version to inject instead of the current one.
#[derive(Debug)]
pub(super) struct ChosenRevision {
    /// The Pods that get it.
    share: Share,
    /// The version, or the reason why there is none.
    version: Result<ChosenVersion, String>,
}

/// A kept version of the set.
#[derive(Debug)]
pub(super) struct ChosenVersion {
    /// Name of the `ControllerRevision`.
    pub revision: String,
    pub content: Content,
}

/// The Pods that get the chosen version.
#[derive(Debug)]
enum Share {
    All,
    /// Pods that the update strategy's selector does not match.
    Unselected,
    /// This percentage of the selected Pods, or why the percentage cannot be read.
    Percent(Result<u32, String>),
}

const FIELD: &str = "spec.injectionStrategy.revision";

impl InjectableSet {
    /// Whether every Pod gets the version that `injectionStrategy.revision` names.
    pub(super) fn is_pinned(&self) -> bool {
        self.revision.as_ref().is_some_and(|wanted| {
            let names_one = wanted.revision_name.is_some() || wanted.custom_version.is_some();
            names_one && matches!(Share::of(self, wanted), Share::All)
        })
    }
}

impl Share {
    fn of(set: &InjectableSet, wanted: &InjectRevision) -> Self {
        match (&wanted.policy, &set.partition) {
            (RevisionPolicy::Always, _) => Self::All,
            _ if set.update_paused => Self::All,
            (RevisionPolicy::Partial, Some(IntOrString::String(text))) => {
                let percent = text.strip_suffix('%').and_then(|number| number.parse().ok());
                let problem = || format!("spec.updateStrategy.partition: {text:?} is not a percentage such as \"50%\"");
                Self::Percent(percent.ok_or_else(problem))
            }
            (RevisionPolicy::Partial, None | Some(IntOrString::Int(_))) => Self::Unselected,
        }
    }
}

impl ChosenRevision {
    /// Returns the version that the set asks for, or `None` if that is its current content. `kept` are the set's
    /// revisions.
    pub fn of(set: &InjectableSet, kept: &[&Revision]) -> Option<Self> {
        let wanted = set.revision.as_ref()?;
        let revision = match wanted {
            InjectRevision { revision_name: Some(name), .. } => {
                let found = kept.iter().find(|revision| revision.name == *name);
                found.ok_or_else(|| format!("there is no ControllerRevision {name:?} of this set"))
            }
            InjectRevision { custom_version: Some(version), .. } => {
                let of_version = kept.iter().filter(|revision| revision.custom_version.as_ref() == Some(version));
                let newest = of_version.max_by_key(|revision| revision.number);
                newest.ok_or_else(|| {
                    format!("there is no ControllerRevision with the custom version {version:?} of this set")
                })
            }
            InjectRevision { revision_name: None, custom_version: None, .. } => return None,
        };
        let version = revision.and_then(|revision| {
            let content = revision.content().map_err(|e| format!("ControllerRevision {:?}: {e}", revision.name))?;
            Ok(ChosenVersion { revision: revision.name.clone(), content })
        });
        Some(Self { share: Share::of(set, wanted), version })
    }

    /// Returns the version for a Pod that records `record`, or `None` for the current content.
    ///
    /// # Errors
    /// When the chosen version applies to the Pod and cannot be injected: the field at fault and the problem.
    pub fn for_pod(
        &self,
        set: &InjectableSet,
        pod: &PodView<'_>,
        request: &PodRequest<'_>,
        record: &Record<'_>,
    ) -> Result<Option<&ChosenVersion>, (&'static str, String)> {
        let unselected = || set.update_selector.as_ref().is_some_and(|s| s.unmet(|key| pod.label(key)).is_some());
        let chosen = match &self.share {
            Share::All => true,
            Share::Unselected | Share::Percent(_) if unselected() => true,
            Share::Unselected => false,
            Share::Percent(percent) => {
                let percent = percent.clone().map_err(|problem| (FIELD, problem))?;
                let records = |content: &Content| record.has(&set.name, &content.hashes.hash);
                if records(&set.content) {
                    false
                } else if self.version.as_ref().is_ok_and(|version| records(&version.content)) {
                    true
                } else {
                    draw(request.uid, &set.name) < f64::from(percent) / 100.0
                }
            }
        };
        if !chosen {
            return Ok(None);
        }
        self.version.as_ref().map(Some).map_err(|problem| (FIELD, problem.clone()))
    }
}

/// Returns a number in [0, 1) that is always the same for a request and a set.
fn draw(uid: &str, set: &str) -> f64 {
    let digest = Sha256::new().chain_update(uid).chain_update([0]).chain_update(set).finalize();
    let number = digest.iter().take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    f64::from(number) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::decode;
    use crate::injection::additions::Additions;
    use serde_json::{Value, json};

    fn set(injection: &Value, update: &Value) -> InjectableSet {
        let object = json!({
            "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "s"},
            "spec": {"selector": {"matchLabels": {"app": "a"}}, "containers": [{"name": "c", "image": "x:2"}],
                     "injectionStrategy": {"revision": injection}, "updateStrategy": update}
        });
        InjectableSet::new(decode::sidecarset(object).unwrap()).unwrap()
    }

    fn revision(name: &str, number: i64, image: &str) -> Revision {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": number,
            "metadata": {"name": name, "labels": {"kruise.io/sidecarset-name": "s", "apps.kruise.io/sidecarset-custom-version": "v1"}},
            "data": {"spec": {"containers": [{"name": "c", "image": image}]}}
        });
        Revision::read(object).unwrap().unwrap()
    }

    /// Returns the image that a Pod gets, or the error.
    fn image(
        set: &InjectableSet,
        kept: &[&Revision],
        pod: &str,
        uid: &str,
        record: Option<&str>,
    ) -> Result<String, String> {
        let pod: PodView<'_> = serde_json::from_str(pod).unwrap();
        let request = PodRequest { uid, ..PodRequest::create("default", jiff::Timestamp::UNIX_EPOCH) };
        let record = Record::parse(record).unwrap();
        let chosen = ChosenRevision::of(set, kept).unwrap();
        let version = chosen.for_pod(set, &pod, &request, &record).map_err(|(_, problem)| problem)?;
        let content = version.map_or(&set.content, |version| &version.content);
        let container: Value = serde_json::from_str(&content.containers[0].json(&Additions::default())).unwrap();
        Ok(container["image"].as_str().unwrap().to_owned())
    }

    const POD: &str = r#"{"metadata":{"labels":{"app":"a"}}}"#;

    #[test]
    fn a_name_wins_over_a_custom_version_of_which_the_newest_counts() {
        let (old, new) = (revision("s-1", 1, "x:0"), revision("s-2", 2, "x:1"));
        let by_version = set(&json!({"customVersion": "v1"}), &json!({}));
        assert_eq!(image(&by_version, &[&new, &old], POD, "", None).unwrap(), "x:1");
        let by_name = set(&json!({"customVersion": "v1", "revisionName": "s-1"}), &json!({}));
        assert_eq!(image(&by_name, &[&new, &old], POD, "", None).unwrap(), "x:0");
        let neither = set(&json!({"policy": "Always"}), &json!({}));
        assert!(ChosenRevision::of(&neither, &[&old]).is_none());
    }

    #[test]
    fn a_version_that_is_missing_is_an_error() {
        let set = set(&json!({"revisionName": "gone"}), &json!({}));
        let error = image(&set, &[&revision("s-1", 1, "x:0")], POD, "", None).unwrap_err();
        assert_eq!(error, "there is no ControllerRevision \"gone\" of this set");
    }

    #[test]
    fn partial_goes_by_pause_selector_and_partition() {
        let old = revision("s-1", 1, "x:0");
        let of = |update: Value| {
            let set = set(&json!({"revisionName": "s-1", "policy": "Partial"}), &update);
            image(&set, &[&old], POD, "", None).unwrap()
        };
        assert_eq!(of(json!({})), "x:2");
        assert_eq!(of(json!({"partition": 5})), "x:2");
        assert_eq!(of(json!({"paused": true})), "x:0");
        assert_eq!(of(json!({"selector": {"matchLabels": {"app": "b"}}})), "x:0");
        assert_eq!(of(json!({"selector": {"matchLabels": {"app": "a"}}})), "x:2");
        assert_eq!(of(json!({"partition": "100%"})), "x:0");
        assert_eq!(of(json!({"partition": "0%"})), "x:2");
    }

    #[test]
    fn a_share_is_drawn_from_the_uid_and_sticks_to_the_recorded_version() {
        let old = revision("s-1", 1, "x:0");
        let set = set(&json!({"revisionName": "s-1", "policy": "Partial"}), &json!({"partition": "30%"}));
        let uids: Vec<String> = (0..1000).map(|n| format!("uid-{n}")).collect();
        let historical = uids.iter().filter(|uid| image(&set, &[&old], POD, uid, None).unwrap() == "x:0").count();
        assert!((250..350).contains(&historical), "{historical}");
        let recorded = |content: &Content| format!(r#"{{"s":{{"hash":"{}"}}}}"#, content.hashes.hash);
        let kept = old.content().unwrap();
        for uid in &uids[..20] {
            assert_eq!(image(&set, &[&old], POD, uid, Some(&recorded(&set.content))).unwrap(), "x:2");
            assert_eq!(image(&set, &[&old], POD, uid, Some(&recorded(&kept))).unwrap(), "x:0");
        }
    }

    #[test]
    fn a_malformed_percentage_is_an_error() {
        let set = set(&json!({"revisionName": "s-1", "policy": "Partial"}), &json!({"partition": "half"}));
        let error = image(&set, &[&revision("s-1", 1, "x:0")], POD, "", None).unwrap_err();
        assert_eq!(error, "spec.updateStrategy.partition: \"half\" is not a percentage such as \"50%\"");
    }
}
