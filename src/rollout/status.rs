//! The status of a SidecarSet: counts, revision, and conditions as kstatus reads them.

use super::advice;
use super::attempts::PodUpdates;
use super::pods::PodIndex;
use super::revisions::RevisionPlan;
use super::set::{ObservedSet, UsableSet};
use super::standing::Counts;
use super::survey::{Example, Survey};
use crate::api::sidecarset::SidecarSetStatus;
use crate::cluster::conditions;
use crate::injection::validate::Clash;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use std::fmt::Write;

/// Whether the set works as written.
pub const READY: &str = "Ready";
/// Whether some Pods do not have the current containers yet.
pub const RECONCILING: &str = "Reconciling";
/// Whether somebody must correct the set.
pub const STALLED: &str = "Stalled";

/// The beginning of the message part about Pods that cannot be updated in place.
pub const MADE_ANEW: &str = "; Pods that must be recreated: ";

/// At most 4 clashes of a set are reported.
const CLASHES_TOLD: usize = 4;

/// A summary of a set's Pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodsSeen {
    /// The counts.
    pub counts: Counts,
    /// The number of outdated Pods among those that updates select.
    pub outdated: usize,
    /// One of the Pods that only claim to have the latest containers, with the difference.
    pub deviating: Option<String>,
    /// One of the Pods that must be recreated, with the difference.
    pub recreation: Option<String>,
    /// The number of Pods that could not be updated, and one of them with the reason.
    pub refused: Option<(usize, String)>,
    /// Whether this process updates Pods.
    pub updates_are_on: bool,
}

impl PodsSeen {
    /// Summarizes a survey of a set's Pods.
    #[must_use]
    pub fn of(survey: &Survey, pods: &PodIndex, updates: &PodUpdates<'_>) -> Self {
        let sentence = |example: &Option<Example>| example.as_ref().map(Example::sentence);
        let (refused, example) = &survey.refused;
        Self {
            counts: pods.counts(&survey.set.name),
            outdated: survey.outdated,
            deviating: sentence(&survey.deviating),
            recreation: sentence(&survey.recreation),
            refused: sentence(example).map(|example| (*refused, example)),
            updates_are_on: updates.are_on,
        }
    }
}

/// The problem of a usable set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// It is injected, but not completely.
    Heeded(String),
    /// Pods are denied, or none can match: the reason and the problem.
    Denied(&'static str, String),
}

/// A problem that somebody must correct, as an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarningEvent {
    /// The Event's reason.
    pub reason: &'static str,
    /// Sentences that name the fields.
    pub note: String,
}

/// The state that the three conditions express.
struct SetStanding {
    ready: bool,
    reconciling: bool,
    stalled: bool,
    reason: &'static str,
    message: String,
}

impl Trouble {
    /// Returns the state of a set with these revisions and clashes. `unreachable` tells why no Pod can match.
    pub fn of<'c>(
        revisions: &RevisionPlan,
        clashes: impl Iterator<Item = Clash<'c>>,
        unreachable: Option<String>,
    ) -> Self {
        if let Some(problem) = unreachable {
            return Self::Denied("NamespacesExcluded", problem);
        }
        if let Some(problem) = &revisions.unusable_pin {
            return Self::Denied("RevisionMissing", problem.clone());
        }
        let (denying, other): (Vec<_>, Vec<_>) = clashes.partition(Clash::denies_pods);
        let sentences = |clashes: &[Clash<'_>]| {
            let told: Vec<String> = clashes.iter().take(CLASHES_TOLD).map(ToString::to_string).collect();
            told.join("; ")
        };
        match (denying.as_slice(), other.as_slice()) {
            ([], []) => Self::None,
            ([], other) => Self::Heeded(sentences(other)),
            (denying, _) => Self::Denied("ContainerClash", sentences(denying)),
        }
    }

    /// Returns the problem for an Event.
    #[must_use]
    pub fn problem(&self) -> Option<WarningEvent> {
        match self {
            Self::None => None,
            Self::Heeded(note) => Some(WarningEvent { reason: "Clash", note: note.clone() }),
            Self::Denied(_, note) => Some(WarningEvent { reason: STALLED, note: note.clone() }),
        }
    }
}

/// Returns the status of a usable set; `None` if it is unchanged.
#[must_use]
pub fn usable(
    set: &ObservedSet,
    usable: &UsableSet,
    seen: &PodsSeen,
    revisions: &RevisionPlan,
    trouble: &Trouble,
    now: Timestamp,
) -> Option<SidecarSetStatus> {
    let PodsSeen { counts, outdated, deviating, recreation, refused, updates_are_on } = seen;
    let but = match trouble {
        Trouble::Heeded(note) => format!("; but {note}"),
        _ => String::new(),
    };
    let new = if usable.injectable.paused {
        "new Pods are not injected while spec.injectionStrategy.paused is true"
    } else {
        "new Pods are injected"
    };
    let mut state = if let Trouble::Denied(reason, problem) = trouble {
        SetStanding::stalled(reason, problem)
    } else if *outdated > usable.strategy.kept_back(counts.matched) {
        SetStanding {
            ready: false,
            reconciling: true,
            stalled: false,
            reason: match () {
                () if !updates_are_on => "UpdatesOff",
                () if counts.in_place == 0 => "RecreationNeeded",
                () => "PodsOutdated",
            },
            message: format!("{new}; {outdated} of {} Pods do not have the latest containers yet{but}", counts.matched),
        }
    } else if counts.updating > 0 {
        SetStanding {
            ready: false,
            reconciling: true,
            stalled: false,
            reason: "PodsNotReady",
            message: format!("{new}; all Pods that are to be updated have the latest containers{but}"),
        }
    } else {
        SetStanding {
            ready: true,
            reconciling: false,
            stalled: false,
            reason: if usable.injectable.paused { "Paused" } else { "Current" },
            message: format!("{new}, and no running Pod is to be updated{but}"),
        }
    };
    if state.reconciling && counts.in_place > 0 && !updates_are_on {
        state.message += "; no Pod is updated in place: --controllers leaves out rollout";
    }
    if let Some(example) = recreation {
        let _ = write!(state.message, "{MADE_ANEW}{}, such as {example}", counts.recreate);
    }
    if let Some((pods, example)) = refused.as_ref().filter(|_| state.reconciling) {
        let _ = write!(state.message, "; Pods that cannot be updated: {pods}, such as {example}");
    }
    let not_ready = counts.unavailable.max(counts.updating);
    if state.reconciling && not_ready > 0 {
        let _ = write!(state.message, "; updated Pods that are not ready yet: {not_ready}");
    }
    if let Some(example) = deviating {
        let _ = write!(
            state.message,
            "; Pods that record the latest containers but have others: {}, such as {example}",
            counts.deviating
        ); // writing to a String cannot fail
    }
    let mut conditions = state.conditions(set, now);
    advice::add(&mut conditions, &usable.advice, set.generation, now);
    let status = SidecarSetStatus {
        observed_generation: set.generation,
        matched_pods: as_i32(counts.matched),
        updated_pods: as_i32(counts.updated),
        ready_pods: as_i32(counts.ready),
        updated_ready_pods: as_i32(counts.updated_ready),
        latest_revision: revisions.latest.clone(),
        collision_count: Some(revisions.collision_count),
        conditions,
    };
    (status != set.status).then_some(status)
}

/// Returns the status of a set that cannot be used; `None` if it is unchanged. It is unknown which Pods count, so the counts
/// stay as they were.
#[must_use]
pub fn unusable(set: &ObservedSet, problem: &str, now: Timestamp) -> Option<SidecarSetStatus> {
    let conditions = SetStanding::stalled("InvalidSpec", problem).conditions(set, now);
    let status = SidecarSetStatus { observed_generation: set.generation, conditions, ..set.status.clone() };
    (status != set.status).then_some(status)
}

impl SetStanding {
    fn stalled(reason: &'static str, problem: &str) -> Self {
        Self { ready: false, reconciling: false, stalled: true, reason, message: problem.to_owned() }
    }

    /// Returns the conditions of the set in this state. Those of other types stay unchanged.
    fn conditions(&self, set: &ObservedSet, now: Timestamp) -> Vec<Condition> {
        let mut conditions = set.status.conditions.clone();
        for (type_, is) in [(READY, self.ready), (RECONCILING, self.reconciling), (STALLED, self.stalled)] {
            conditions::set(
                &mut conditions,
                conditions::condition(type_, is, self.reason, self.message.as_str(), Some(set.generation), now),
            );
        }
        conditions
    }
}

fn as_i32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injection::validate::Clashes;
    use crate::rollout::tests::set;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    const LATER: i64 = 1_700_000_000;

    fn spec() -> Value {
        json!({"selector": {"matchLabels": {"a": "b"}}, "containers": [{"name": "c", "image": "x:1"}]})
    }

    fn revisions() -> RevisionPlan {
        let (latest, obsolete) = ("s-1".to_owned(), Vec::new());
        RevisionPlan { write: None, latest, collision_count: 0, obsolete, unusable_pin: None }
    }

    fn status(spec: &Value, present: &Value, counts: Counts, revisions: &RevisionPlan) -> Option<Value> {
        let strategy = &spec["updateStrategy"];
        let is_off = strategy["type"] == "NotUpdate" || strategy["paused"] == true;
        let outdated = if is_off { 0 } else { counts.matched - counts.updated };
        let seen = PodsSeen { counts, outdated, updates_are_on: true, ..PodsSeen::default() };
        let mut object = set("s", spec);
        object["status"] = present.clone();
        let set = ObservedSet::read(&object);
        let now = Timestamp::from_second(LATER).unwrap();
        let status = match &set.usable {
            Ok(ready) => usable(&set, ready, &seen, revisions, &Trouble::of(revisions, [].into_iter(), None), now),
            Err(unusable) => super::unusable(&set, &unusable.problem, now),
        };
        status.map(|status| serde_json::to_value(status).unwrap())
    }

    fn conditions(status: &Value) -> Vec<(&str, &str, &str)> {
        let text = |condition: &'_ Value, field: &str| condition[field].as_str().map(str::to_owned).unwrap();
        let all = status["conditions"].as_array().unwrap();
        assert!(
            all.iter().all(|condition| condition["observedGeneration"] == 1 && !text(condition, "message").is_empty())
        );
        all.iter()
            .map(|condition| ["type", "status", "reason"].map(|field| condition[field].as_str().unwrap()).into())
            .collect()
    }

    const COUNTS: Counts = Counts {
        matched: 3,
        updated: 2,
        deviating: 0,
        ready: 2,
        updated_ready: 1,
        in_place: 1,
        recreate: 0,
        unavailable: 0,
        updating: 0,
    };

    #[test]
    fn the_status_has_the_shape_that_openkruise_writes_and_conditions() {
        let mut spec = spec();
        spec["updateStrategy"] = json!({"type": "NotUpdate"});
        let mut status = status(&spec, &json!(null), COUNTS, &revisions()).unwrap();
        let expected =
            [("Ready", "True", "Current"), ("Reconciling", "False", "Current"), ("Stalled", "False", "Current")];
        assert_eq!(conditions(&status), expected);
        status.as_object_mut().unwrap().shift_remove("conditions");
        assert_eq!(
            status,
            json!({"observedGeneration": 1, "matchedPods": 3, "updatedPods": 2, "readyPods": 2, "updatedReadyPods": 1,
                   "latestRevision": "s-1", "collisionCount": 0})
        );
    }

    #[test]
    fn nothing_is_written_when_nothing_changed() {
        let first = status(&spec(), &json!(null), COUNTS, &revisions()).unwrap();
        assert_eq!(status(&spec(), &first, COUNTS, &revisions()), None);
        let more = Counts { ready: 3, ..COUNTS };
        assert_eq!(status(&spec(), &first, more, &revisions()).unwrap()["readyPods"], 3);
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let mut present = status(&spec(), &json!(null), COUNTS, &revisions()).unwrap();
        let conditions = present["conditions"].as_array_mut().unwrap();
        for condition in conditions.iter_mut() {
            condition["lastTransitionTime"] = json!("2020-01-01T00:00:00Z");
        }
        conditions.push(json!({"type": "Other", "status": "True", "reason": "X", "message": "", "lastTransitionTime": "2020-01-01T00:00:00Z"}));
        let all = Counts { updated: 3, ..COUNTS };
        let status = status(&spec(), &present, all, &revisions()).unwrap();
        let since = |of: &str| {
            let mut all = status["conditions"].as_array().unwrap().iter();
            all.find(|condition| condition["type"] == of).unwrap()["lastTransitionTime"].clone()
        };
        assert_eq!(since("Ready"), "2023-11-14T22:13:20Z");
        assert_eq!(since("Reconciling"), "2023-11-14T22:13:20Z");
        assert_eq!((since("Stalled"), since("Other")), (json!("2020-01-01T00:00:00Z"), json!("2020-01-01T00:00:00Z")));
    }

    #[test]
    fn what_has_no_effect_is_told_in_a_condition_until_it_is_corrected() {
        let mut spec = spec();
        spec["containers"][0]["livenesProbe"] = json!({});
        let all = Counts { updated: 3, ..COUNTS };
        let told = status(&spec, &json!(null), all, &revisions()).unwrap();
        assert_eq!(conditions(&told)[0], ("Ready", "True", "Current"));
        assert_eq!(conditions(&told)[3], ("Advice", "True", "WithoutEffect"));
        let message = told["conditions"][3]["message"].as_str().unwrap();
        assert!(message.starts_with("spec.containers[0].livenesProbe: "), "{message}");
        spec["containers"][0].as_object_mut().unwrap().shift_remove("livenesProbe");
        let corrected = status(&spec, &told, all, &revisions()).unwrap();
        assert_eq!(conditions(&corrected)[3], ("Advice", "False", "AsMeant"));
        assert_eq!(
            conditions(&status(&spec, &json!(null), all, &revisions()).unwrap()).len(),
            3,
            "it never needed some"
        );
    }

    #[test]
    fn a_paused_set_does_not_say_that_new_pods_are_injected() {
        let mut spec = spec();
        spec["injectionStrategy"] = json!({"paused": true});
        let all = Counts { updated: 3, ..COUNTS };
        let paused = status(&spec, &json!(null), all, &revisions()).unwrap();
        assert_eq!(conditions(&paused)[0], ("Ready", "True", "Paused"));
        let message = "new Pods are not injected while spec.injectionStrategy.paused is true, and no running Pod is to be updated";
        assert_eq!(paused["conditions"][0]["message"], message);
        let outdated = status(&spec, &json!(null), COUNTS, &revisions()).unwrap();
        assert_eq!(conditions(&outdated)[0], ("Ready", "False", "PodsOutdated"));
        let message = outdated["conditions"][0]["message"].as_str().unwrap();
        assert!(message.starts_with("new Pods are not injected") && message.contains("1 of 3 Pods"), "{message}");
    }

    #[test]
    fn a_set_whose_namespaces_are_all_excluded_is_stalled() {
        let name = "kubernetes.io/metadata.name";
        let labelled = |namespace: &str, team: &str| {
            let labels = [(name, namespace), ("team", team)].map(|(key, value)| (key.to_owned(), value.to_owned()));
            (namespace.to_owned(), BTreeMap::from(labels))
        };
        let namespaces = BTreeMap::from([
            labelled("kube-system", "core"),
            labelled("outrigger-system", "core"),
            labelled("shop", "sales"),
        ]);
        let of = |namespaces_selected: Value| {
            let mut spec = spec();
            spec["namespaceSelector"] = namespaces_selected;
            let set = ObservedSet::read(&set("s", &spec));
            let excluded = ["kube-system", "outrigger-system"].map(str::to_owned).into();
            let usable = set.usable.as_ref().unwrap();
            let trouble = Trouble::of(&revisions(), [].into_iter(), usable.only_excluded(&excluded, namespaces.iter()));
            let now = Timestamp::from_second(LATER).unwrap();
            let status = super::usable(&set, usable, &PodsSeen::default(), &revisions(), &trouble, now).unwrap();
            let status = serde_json::to_value(status).unwrap();
            (status["conditions"][0]["reason"].clone(), status["conditions"][2]["status"] == "True")
        };
        let among = |names: Value| json!({"matchExpressions": [{"key": name, "operator": "In", "values": names}]});
        assert_eq!(of(json!({"matchLabels": {name: "kube-system"}})), (json!("NamespacesExcluded"), true));
        assert_eq!(of(among(json!(["outrigger-system", "kube-system"]))), (json!("NamespacesExcluded"), true));
        assert_eq!(of(among(json!(["shop", "kube-system"]))), (json!("Current"), false));
        assert_eq!(
            of(json!({"matchLabels": {"team": "core"}})),
            (json!("NamespacesExcluded"), true),
            "by other labels"
        );
        assert_eq!(of(json!({"matchLabels": {"team": "sales"}})), (json!("Current"), false));
        assert_eq!(of(json!({"matchLabels": {"team": "new"}})), (json!("Current"), false), "one may come");
        let other = json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["sales"]}]});
        assert_eq!(of(other), (json!("NamespacesExcluded"), true));
        assert_eq!(of(json!({})), (json!("Current"), false));
    }

    #[test]
    fn a_set_whose_pods_are_to_be_updated_is_reconciling_until_they_are() {
        let of = |strategy: Value, counts: Counts| {
            let mut spec = spec();
            spec["updateStrategy"] = strategy;
            let status = status(&spec, &json!(null), counts, &revisions()).unwrap();
            let all = conditions(&status);
            (all[0].1 == "True", all[1].1 == "True")
        };
        assert_eq!(of(json!({}), COUNTS), (false, true));
        assert_eq!(of(json!({}), Counts { updated: 3, ..COUNTS }), (true, false));
        assert_eq!(of(json!({"partition": 1}), COUNTS), (true, false));
        assert_eq!(of(json!({"paused": true}), COUNTS), (true, false));
        assert_eq!(of(json!({"type": "NotUpdate"}), COUNTS), (true, false));
        assert_eq!(of(json!({}), Counts::default()), (true, false));
    }

    #[test]
    fn a_set_that_cannot_be_used_is_stalled_with_the_field_and_keeps_its_counts() {
        let mut spec = spec();
        spec["selector"] = json!({"matchExpressions": [{"key": "a", "operator": "Near"}]});
        let present = json!({"matchedPods": 3, "updatedPods": 2, "readyPods": 1, "latestRevision": "s-0"});
        let status = status(&spec, &present, Counts::default(), &revisions()).unwrap();
        let expected = [("Ready", "False"), ("Reconciling", "False"), ("Stalled", "True")];
        assert_eq!(conditions(&status), expected.map(|(type_, on)| (type_, on, "InvalidSpec")));
        let message = status["conditions"][2]["message"].as_str().unwrap();
        assert!(message.starts_with("spec.selector.matchExpressions[0].operator: \"Near\""), "{message}");
        assert_eq!((&status["observedGeneration"], &status["matchedPods"]), (&json!(1), &json!(3)));
        assert_eq!(self::status(&spec, &status, Counts::default(), &revisions()), None);
    }

    /// Returns the status of the set `s` next to another one, whose spec is merged with this.
    fn beside(other: &Value) -> Value {
        let with = |name: &str, more: &Value| {
            let mut spec = spec();
            for (field, value) in more.as_object().unwrap() {
                spec[field] = value.clone();
            }
            ObservedSet::read(&set(name, &spec))
        };
        let ours = with("s", &json!({"volumes": [{"name": "v", "emptyDir": {}}]}));
        let usable = ours.usable.clone().unwrap();
        let clashes: Clashes =
            [usable.injectable.clone(), with("other", other).usable.unwrap().injectable].into_iter().collect();
        let trouble = Trouble::of(&revisions(), clashes.of("s"), None);
        let now = Timestamp::from_second(LATER).unwrap();
        let updated = Counts { updated: 3, ..COUNTS };
        let status = super::usable(
            &ours,
            &usable,
            &PodsSeen { counts: updated, updates_are_on: true, ..PodsSeen::default() },
            &revisions(),
            &trouble,
            now,
        )
        .unwrap();
        serde_json::to_value(status).unwrap()
    }

    #[test]
    fn a_clash_that_denies_pods_stalls_the_set_and_another_is_told() {
        let status = beside(&json!({}));
        let expected = [("Ready", "False"), ("Reconciling", "False"), ("Stalled", "True")];
        assert_eq!(conditions(&status), expected.map(|(type_, is)| (type_, is, "ContainerClash")));
        let message = "SidecarSet \"other\" injects a container \"c\", too, and Pods that both match are denied: rename one of them, or select other Pods";
        assert_eq!(status["conditions"][2]["message"], message);
        assert_eq!(status["matchedPods"], 3, "it counts all the same");

        let volume = json!({"containers": [{"name": "d", "image": "x:1"}], "volumes": [{"name": "v", "hostPath": {"path": "/v"}}]});
        let status = beside(&volume);
        assert_eq!(conditions(&status)[0], ("Ready", "True", "Current"));
        assert_eq!(
            status["conditions"][0]["message"],
            "new Pods are injected, and no running Pod is to be updated; but SidecarSet \"other\" has another volume \"v\": Pods that both match get that of \"other\""
        );
        assert_eq!(conditions(&beside(&json!({"containers": [{"name": "d", "image": "x:1"}]})))[0].1, "True");
    }

    #[test]
    fn a_missing_pinned_revision_stalls_the_set() {
        let missing =
            RevisionPlan { unusable_pin: Some("spec.injectionStrategy.revision: gone".to_owned()), ..revisions() };
        let status = status(&spec(), &json!(null), COUNTS, &missing).unwrap();
        assert_eq!(conditions(&status)[2], ("Stalled", "True", "RevisionMissing"));
        assert_eq!(status["conditions"][2]["message"], "spec.injectionStrategy.revision: gone");
    }
}
