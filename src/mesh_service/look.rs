//! Pure: the next steps for a MeshService: which objects to write, and the content of its status.

use super::drift::{Drift, Extras};
use super::index::MeshIndex;
use super::key::Key;
use super::kind::MeshKind;
use super::memory::Memory;
use super::mend::Mend;
use super::observed::{Cascade, ObservedMeshService};
use super::obstacle::{self, Obstacle};
use super::outcome::Plan;
use super::release::Released;
use super::repair::{Act, Consent, Repair, ordered};
use super::seen::{Giving, Matters, Seen};
use super::selection::{Selection, Subset};
use super::state::{Grounds, Writes, state};
use super::subsets;
use super::told::{Phase, Told};
use super::violation;
use super::watched::{ObjectKey, Watched};
use crate::api::keys;
use crate::api::mesh_service::{ManagedResource, Severity, Violation};
use crate::cluster::apply::ABSENT;
use crate::mesh_integrity::{self, Code, Finding};
use jiff::Timestamp;
use json_patch::jsonptr::PointerBuf;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// What to do.
#[derive(Debug, Default)]
pub struct Look {
    /// The MeshService, if there is one.
    pub mesh_service: Option<Arc<ObservedMeshService>>,
    /// The writes, in order.
    pub writes: Vec<Write>,
    /// The Pods to request, after the writes and before the status.
    pub asks: Vec<Selection>,
    /// When to check again, for a write or a question that is not due yet.
    pub pause: Option<Duration>,
    /// The status, once all is written.
    pub told: Option<Told>,
}

/// One write.
#[derive(Clone, Debug)]
pub enum Write {
    /// Apply these fields over this state of the object.
    Apply(Box<DynamicObject>, ObjectKey, Over),
    /// Change an object of another owner, who allows it.
    Mend(Arc<Seen>, Mend),
    /// Remove these fields, which another client added.
    Trim(Arc<Seen>, Vec<PointerBuf>),
    /// Delete it.
    Delete(Arc<Seen>),
    /// Remove our labels and ownerReference from it.
    Release(Arc<Seen>, Released),
}

/// The state over which an object is applied.
#[derive(Clone, Debug)]
pub enum Over {
    /// It does not exist.
    Nothing,
    /// It was made for the MeshService and differs in these fields.
    Drift(Arc<Seen>, String),
    /// It was made for a MeshService that is gone.
    Left(Arc<Seen>),
    /// It is not ours, and an annotation allows us to take it over.
    Adopted(Arc<Seen>),
}

/// The objects that could not be written, and what has to wait for them.
#[derive(Debug, Default)]
pub struct Lacks {
    /// Whether any object could not be written.
    pub anything: bool,
    subsets: bool,
    policy: bool,
}

impl Lacks {
    /// Returns the policies that the spec requests, that cannot be planned, and that do not exist.
    fn at_first(index: &MeshIndex, plan: &Plan) -> Self {
        let mut lacks = Self::default();
        for (kind, kept) in &plan.kept {
            let kept = ObjectKey::made(*kind, kept.clone());
            if kept.kind.is_policy() && index.object(&kept).is_none() {
                lacks.note(kept.kind);
            }
        }
        lacks
    }

    /// Records that an object of this kind could not be written.
    pub fn note(&mut self, kind: Watched) {
        self.anything = true;
        self.subsets |= kind == Watched::Made(MeshKind::DestinationRule);
        self.policy |= kind.is_policy();
    }

    /// Returns whether an object of this kind has to wait. Routes wait for their subsets, and new Gateways and routes
    /// wait for the policies.
    #[must_use]
    pub fn hinders(&self, kind: Watched, is_new: bool) -> bool {
        match kind {
            Watched::Made(MeshKind::VirtualService) => self.subsets || self.policy && is_new,
            Watched::Made(MeshKind::Gateway) => self.policy && is_new,
            _ => false,
        }
    }
}

impl Write {
    /// Returns the object that is written.
    #[must_use]
    pub fn object(&self) -> &ObjectKey {
        match self {
            Self::Apply(_, key, _) => key,
            Self::Mend(seen, _) | Self::Trim(seen, _) | Self::Delete(seen) | Self::Release(seen, _) => &seen.key,
        }
    }

    /// Deletes an object that is left over, or releases it if it was taken over.
    fn taking_away(seen: &Arc<Seen>) -> Self {
        let seen = Arc::clone(seen);
        if seen.is_adopted() { Self::Release(seen, Released::AsItWas) } else { Self::Delete(seen) }
    }

    /// Returns the object, if it is deleted or released.
    #[must_use]
    pub fn taken_away(&self) -> Option<&Arc<Seen>> {
        if let Self::Delete(seen) | Self::Release(seen, _) = self { Some(seen) } else { None }
    }
}

impl Over {
    /// Returns the present object.
    #[must_use]
    pub fn seen(&self) -> Option<&Arc<Seen>> {
        match self {
            Self::Nothing => None,
            Self::Drift(seen, _) | Self::Left(seen) | Self::Adopted(seen) => Some(seen),
        }
    }
}

/// Returns what to do for the MeshService of this key.
#[must_use]
pub fn at(index: &mut MeshIndex, key: &Key, now: Timestamp) -> Look {
    let Some(mesh_service) = index.mesh_service(key).filter(|found| !found.deleting).cloned() else {
        return sweep(index, key, now);
    };
    let plan = index.plan(&mesh_service);
    index.desire(&mesh_service, plan.objects.iter().filter_map(ObjectKey::of_made).collect());
    look(index, &mesh_service, &plan, now)
}

/// Returns what to do about the objects of a MeshService that is deleted or being deleted. All are deleted, except
/// those that another one takes over, and taken-over objects, which are released. Objects in its own namespace are
/// deleted by their ownerReference. Without one they stay, as requested.
fn sweep(index: &mut MeshIndex, mesh_service: &Key, now: Timestamp) -> Look {
    let there = index.mesh_service(mesh_service);
    let (is_there, is_first) = (there.is_some(), there.is_some_and(|there| there.cascade == Cascade::Foreground));
    let stays = index.is_orphaning(mesh_service);
    let rests = index.gone(mesh_service, now);
    if !is_there && !index.is_installed {
        return Look::default();
    }
    let goes = |seen: &&Arc<Seen>| {
        let is_elsewhere = seen.key.key.namespace != mesh_service.namespace;
        // In addition to the garbage collector, which does not delete routes before policies.
        let is_collected = (!is_there || is_first) && seen.has_owner_reference();
        let is_meant = stays || is_elsewhere || seen.is_adopted() || is_collected;
        is_meant && !seen.deleting && !index.is_wanted(&seen.key)
    };
    let write = |seen: &Arc<Seen>| {
        if stays { Write::Release(Arc::clone(seen), Released::AsItIs) } else { Write::taking_away(seen) }
    };
    let left: Vec<Write> = index.owned_by(mesh_service).rev().filter(goes).map(write).collect();
    if left.is_empty() {
        return Look { pause: rests, ..Look::default() };
    }
    let memory = index.memory(mesh_service);
    let (writes, paused): (Vec<_>, Vec<_>) =
        left.into_iter().partition(|write| memory.pause(write.object(), now).is_zero());
    let pause = paused.iter().map(|write| memory.pause(write.object(), now)).min();
    Look { writes, pause, ..Look::default() }
}

/// The writes of the planned objects, and what is wrong.
#[derive(Default)]
struct Steps {
    writes: Vec<Write>,
    violations: Vec<Violation>,
    repairs: Vec<Repair>,
    /// The kinds that are not installed.
    waits: BTreeSet<Watched>,
    lacks: Lacks,
    /// The hash of each object, and whether the present one is equal.
    compared: Vec<(ObjectKey, u64, bool)>,
}

/// Compares the objects of a plan with the present ones.
fn steps(index: &MeshIndex, mesh_service: &ObservedMeshService, plan: &Plan) -> Steps {
    let key = &mesh_service.key;
    let asked = mesh_service.annotations.get(keys::MESH_REPAIR).map(String::as_str);
    let (consent, unknown) = Consent::read(asked, &Act::OF_MESH_SERVICES);
    let mut steps = Steps {
        writes: mended(index, mesh_service, plan).into_iter().collect(),
        violations: plan.violations.clone(),
        repairs: plan.violations.iter().filter_map(|told| Repair::of_violation(told, mesh_service)).collect(),
        lacks: Lacks::at_first(index, plan),
        ..Steps::default()
    };
    steps.violations.extend(unknown.into_iter().map(|word| violation::unknown_repair(key, &word)));
    let mut objects: Vec<_> =
        plan.objects.iter().filter_map(|object| Some((ObjectKey::of_made(object)?, object))).collect();
    objects.sort_by_key(|(object_key, _)| object_key.kind);
    for (object_key, object) in objects {
        let present = index.object(&object_key);
        if index.is_absent(object_key.kind) {
            steps.lacks.note(object_key.kind);
            steps.waits.insert(object_key.kind);
            continue;
        }
        if steps.lacks.hinders(object_key.kind, present.is_none()) {
            steps.lacks.anything = true;
            continue;
        }
        let object = subsets::until_rerouted(index, key, &object_key, object);
        match step(index, key, &consent, &object, &object_key) {
            Ok(write) => {
                let is_so = write.is_none() && present.is_some_and(|seen| !seen.deleting);
                steps.compared.push((object_key, hash(&desired(&object)), is_so));
                steps.writes.extend(write);
            }
            Err(obstacle) => {
                steps.lacks.note(object_key.kind);
                steps.violations.push(obstacle.violation);
                steps.repairs.push(obstacle.repair);
            }
        }
    }
    steps
}

/// Returns what to do for a MeshService with this plan.
fn look(index: &mut MeshIndex, mesh_service: &Arc<ObservedMeshService>, plan: &Plan, now: Timestamp) -> Look {
    let key = &mesh_service.key;
    let Steps { mut writes, mut violations, mut repairs, waits, lacks, compared } = steps(index, mesh_service, plan);
    let is_useless = |seen: &&Arc<Seen>| match seen.key.kind {
        Watched::Made(kind) => !seen.deleting && plan.sweeps(kind, &seen.key.key),
        _ => false,
    };
    let is_put_out = |seen: &Arc<Seen>| match (&plan.places, seen.key.kind) {
        (Some(places), Watched::Made(kind)) => !places.contain(&seen.key.key.namespace, kind),
        _ => false,
    };
    let (out, useless): (Vec<_>, Vec<_>) = index.owned_by(key).rev().filter(is_useless).cloned().partition(is_put_out);
    writes.splice(0..0, out.iter().map(Write::taking_away));
    writes.extend(useless.iter().map(Write::taking_away));

    let stays: Vec<&Arc<Seen>> =
        index.owned_by(key).filter(|seen| !seen.deleting && !is_useless(seen) && !is_put_out(seen)).collect();
    for finding in about(index, mesh_service, &stays, &plan.violations) {
        violations.push(violation::of_finding(finding));
        let is_ours = |judged: &mesh_integrity::Key| is_owned(index, judged, key);
        repairs.extend(Repair::of(finding, key, is_ours));
    }
    let managed = stays.into_iter().map(managed).collect();
    let subsets = subsets_of(index, mesh_service, plan);
    let (asks, next_ask) = asks(index.memory(key), &subsets, now);
    let empty = empty_subsets(index, key, &subsets);
    repairs.extend(empty.iter().map(|told| Repair::of_empty_subset(told, key)));
    violations.extend(empty);
    let memory = index.memory(key);
    memory.compare(compared);
    memory.refused.retain(|object, _| writes.iter().any(|write| write.object() == object));
    violations.extend(memory.refused.iter().map(|(object, problem)| violation::refused(object, problem)));
    let refuses = !memory.refused.is_empty();
    let (mut due, paused): (Vec<Write>, Vec<Write>) =
        writes.into_iter().partition(|write| memory.pause(write.object(), now).is_zero());
    if lacks.anything || paused.iter().any(|write| write.taken_away().is_none()) {
        // An unused object is deleted once its replacement exists. An object that is not allowed is deleted at once.
        due.retain(|write| write.taken_away().is_none_or(is_put_out));
    }
    let pause = paused.iter().map(|write| memory.pause(write.object(), now)).min();

    // The status reports no success until it is clear which MeshService wins.
    let undone: BTreeMap<&ObjectKey, Duration> = memory.undone(now).collect();
    violations.extend(undone.keys().map(|object| violation::changed_back(object)));
    let pause = pause.into_iter().chain(undone.values().copied()).min();

    let repairs = ordered(repairs);
    let writes = match () {
        () if refuses => Writes::Refused,
        () if pause.is_some() || !due.is_empty() => Writes::Outstanding,
        () => Writes::Done,
    };
    let (waiting, is_known) = (!waits.is_empty(), !repairs.is_empty());
    let state = state(Grounds { waits: waiting, writes, is_known, violations: &violations });
    let has_error = violations.iter().any(|violation| violation.severity == Severity::Error);
    let phase = match () {
        () if waiting || writes != Writes::Done => Phase::Working,
        () if has_error => Phase::Stalled,
        () => Phase::Done,
    };
    let waits = waits.into_iter().map(absent).collect();
    let generation = mesh_service.generation;
    Look {
        mesh_service: Some(Arc::clone(mesh_service)),
        writes: due,
        asks,
        pause: pause.into_iter().chain(next_ask).min(),
        told: Some(Told {
            generation,
            service: plan.service.clone(),
            state,
            phase,
            waits,
            violations,
            repairs,
            managed,
        }),
    }
}

/// Returns the change of the Service, if it has another owner who allows it.
fn mended(index: &MeshIndex, mesh_service: &ObservedMeshService, plan: &Plan) -> Option<Write> {
    let service = mesh_service.named.service.clone()?;
    let seen = index.object(&ObjectKey::made(MeshKind::Service, service)).filter(|seen| !seen.deleting)?;
    Some(Write::Mend(Arc::clone(seen), plan.mend.clone()?))
}

/// Returns the subsets of the planned rules, for the Service that exists.
fn subsets_of(index: &MeshIndex, mesh_service: &ObservedMeshService, plan: &Plan) -> Vec<Subset> {
    let Some(service) = &mesh_service.named.service else { return Vec::new() };
    match index.object(&ObjectKey::made(MeshKind::Service, service.clone())).map(|seen| &seen.matters) {
        Some(Matters::Service(seen)) => Subset::of_plan(plan, &service.namespace, &seen.selector),
        _ => Vec::new(),
    }
}

/// Returns the Pods to request now, and when to request the next.
fn asks(memory: &mut Memory<Told>, subsets: &[Subset], now: Timestamp) -> (Vec<Selection>, Option<Duration>) {
    let selections: BTreeSet<&Selection> = subsets.iter().filter_map(|subset| subset.selection.as_ref()).collect();
    memory.pods.keep(selections.iter().copied());
    let (due, later): (Vec<_>, Vec<_>) =
        selections.into_iter().partition(|selection| memory.pods.due(selection, now).is_zero());
    let next = later.into_iter().map(|selection| memory.pods.due(selection, now)).min();
    (due.into_iter().cloned().collect(), next)
}

/// Returns the subsets that select neither a Pod nor a WorkloadEntry.
fn empty_subsets(index: &mut MeshIndex, mesh_service: &Key, subsets: &[Subset]) -> Vec<Violation> {
    let pods = &index.memory(mesh_service).pods;
    let without: Vec<&Subset> = subsets
        .iter()
        .filter(|subset| subset.selection.as_ref().is_none_or(|selection| pods.is_empty(selection)))
        .collect();
    let is_empty =
        |subset: &&Subset| subset.selection.as_ref().is_none_or(|selection| !index.has_workload_entry(selection));
    without.into_iter().filter(is_empty).map(Subset::without_pods).collect()
}

/// Returns what to do about one planned object.
fn step(
    index: &MeshIndex,
    mesh_service: &Key,
    consent: &Consent,
    object: &DynamicObject,
    key: &ObjectKey,
) -> Result<Option<Write>, Box<Obstacle>> {
    let namespace = ObjectKey::namespace(&key.key.namespace);
    match index.object(&namespace) {
        None => return Err(obstacle::missing_namespace(&namespace, key)),
        Some(seen) if seen.deleting => return Ok(None), // with everything in it
        Some(_) => {}
    }
    let object = &of_adopted(object, index.object(key));
    let apply = |over: Over| {
        let mut object = match over {
            Over::Adopted(_) => without_owner(object),
            _ => DynamicObject::clone(object),
        };
        let present = over.seen();
        let version = present.map_or(ABSENT, |seen| &seen.resource_version);
        object.metadata.resource_version = Some(version.to_owned());
        // Its spec from before it was taken over stays recorded.
        if let Some(before) = present.and_then(|seen| seen.annotation(keys::MESH_ADOPTED)) {
            let annotations = object.metadata.annotations.get_or_insert_default();
            annotations.insert(keys::MESH_ADOPTED.to_owned(), before.to_owned());
        }
        Ok(Some(Write::Apply(Box::new(object), key.clone(), over)))
    };
    let Some(seen) = index.object(key) else { return apply(Over::Nothing) };
    if seen.deleting {
        return Ok(None); // it is recreated once it is gone
    }
    match (&seen.owner, &seen.giving) {
        (Some(owner), _) if owner == mesh_service => {
            let extras = if key.kind == Watched::Made(MeshKind::Service) { Extras::Allowed } else { Extras::Drift };
            let present = seen.content.as_deref().unwrap_or(&Value::Null);
            let drift = Drift::between(&desired(object), present, extras);
            if !drift.different.is_empty() {
                return apply(Over::Drift(Arc::clone(seen), drift.fields()));
            }
            Ok((!drift.extra.is_empty()).then(|| Write::Trim(Arc::clone(seen), drift.extra)))
        }
        (Some(owner), _) if index.is_gone(owner) => apply(Over::Left(Arc::clone(seen))),
        (None, Giving::Given) => apply(Over::Adopted(Arc::clone(seen))),
        (None, Giving::Asked) if consent.covers(Act::Adopt) && !key.kind.is_policy() => {
            apply(Over::Adopted(Arc::clone(seen)))
        }
        _ => Err(obstacle::taken(mesh_service, seen)),
    }
}

/// Returns the desired object, without an ownerReference if the present one was taken over.
fn of_adopted<'o>(object: &'o DynamicObject, present: Option<&Arc<Seen>>) -> Cow<'o, DynamicObject> {
    match present {
        Some(seen) if seen.is_adopted() => Cow::Owned(without_owner(object)),
        _ => Cow::Borrowed(object),
    }
}

/// Returns a released object. Its ownerReference is removed: the garbage collector would delete it with its
/// MeshService.
fn without_owner(object: &DynamicObject) -> DynamicObject {
    let mut object = object.clone();
    object.metadata.owner_references = None;
    object
}

/// Returns the part of a desired object that is compared with the present one.
fn desired(object: &DynamicObject) -> Value {
    let metadata = &object.metadata;
    json!({
        "metadata": {
            "labels": metadata.labels, "annotations": metadata.annotations, "ownerReferences": metadata.owner_references,
        },
        "spec": object.data.get("spec"),
    })
}

/// Returns the message about a kind that is not installed in the version that is written.
fn absent(kind: Watched) -> String {
    format!("{} of {} is not installed in this cluster", kind.as_str(), kind.resource().api_version)
}

/// Returns the findings about the objects of a MeshService, each once, except those that its plan already reports.
fn about<'i>(
    index: &'i MeshIndex,
    mesh_service: &ObservedMeshService,
    made: &[&Arc<Seen>],
    planned: &[Violation],
) -> Vec<&'i Finding> {
    let is_told = |type_: &str| planned.iter().any(|violation| violation.type_ == type_);
    let of_service = |service: &Key| format!(" of host {}.{}.svc.", service.name, service.namespace);
    let of_service = mesh_service.named.service.as_ref().map(of_service);
    let is_planned = |finding: &Finding| match finding.code {
        Code::IST0132 => is_told(violation::GATEWAY_HOST_MISSING),
        Code::IST0101 if finding.message.starts_with("References non-existent port ") => {
            let is_of_service = of_service.as_ref().is_some_and(|service| finding.message.contains(service));
            is_of_service && is_told(violation::PORT_MISSING)
        }
        _ => false,
    };
    let mut found = index.findings(made.iter().map(|seen| &seen.key));
    found.retain(|one| !is_planned(one));
    found
}

fn is_owned(index: &MeshIndex, judged: &mesh_integrity::Key, mesh_service: &Key) -> bool {
    let seen = ObjectKey::of_judged(judged).and_then(|key| index.object(&key).cloned());
    seen.is_some_and(|seen| seen.owner.as_ref() == Some(mesh_service))
}

fn managed(seen: &Arc<Seen>) -> ManagedResource {
    ManagedResource {
        kind: seen.key.kind.as_str().to_owned(),
        name: seen.key.key.name.clone(),
        namespace: seen.key.key.namespace.clone(),
        version: Some(seen.key.kind.resource().api_version),
    }
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
