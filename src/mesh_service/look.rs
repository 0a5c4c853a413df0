//! Pure: what is to be done for a MeshService now: which objects are to be written, and what is to be told.

use super::drift::{Drift, Extras};
use super::index::MeshIndex;
use super::key::Key;
use super::kind::MeshKind;
use super::observed::ObservedMeshService;
use super::outcome::Plan;
use super::repair::{Act, Consent, Repair, ordered};
use super::seen::{Giving, Seen};
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
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// An object of the name is somebody else's.
pub const NAME_TAKEN: &str = "NameTaken";
/// The API server refuses a write.
pub const WRITE_REFUSED: &str = "WriteRefused";
/// The annotation [`keys::MESH_REPAIR`] names what nobody does.
pub const UNKNOWN_REPAIR: &str = "UnknownRepair";
/// At most this many objects of a finding are named.
const NAMED: usize = 5;
/// What refers to something that does not exist.
const FOREIGN_KEY: &str = "ForeignKeyViolation";

/// What is to be done.
#[derive(Debug, Default)]
pub struct Look {
    /// The MeshService, if there is one.
    pub mesh_service: Option<Arc<ObservedMeshService>>,
    /// What is to be written, in this order.
    pub writes: Vec<Write>,
    /// When there is more to be written.
    pub pause: Option<Duration>,
    /// What is to be told once all is written.
    pub told: Option<Told>,
}

/// One write.
#[derive(Clone, Debug)]
pub enum Write {
    /// These fields are to be there, over this state of the object.
    Apply(Box<DynamicObject>, ObjectKey, Over),
    /// These fields, which somebody added, are to go.
    Trim(Arc<Seen>, Vec<PointerBuf>),
    /// It is of no use any more.
    Delete(Arc<Seen>),
}

/// Over what an object is applied.
#[derive(Clone, Debug)]
pub enum Over {
    /// There is none.
    Nothing,
    /// It was made for the MeshService, and differs in these fields.
    Drift(Arc<Seen>, String),
    /// It was made for a MeshService that is gone.
    Left(Arc<Seen>),
    /// It is somebody else's, who gives it away, or that is asked for.
    Adopted(Arc<Seen>),
}

/// What could not be written, and what has to wait for it.
#[derive(Debug, Default)]
pub struct Lacks {
    /// Whether anything could not.
    pub anything: bool,
    subsets: bool,
    policy: bool,
}

/// Why an object is not written.
struct Obstacle {
    violation: Violation,
    repair: Repair,
}

impl Lacks {
    /// Policies that are asked for, cannot be planned, and are not there.
    fn at_first(index: &MeshIndex, plan: &Plan) -> Self {
        let mut lacks = Self::default();
        for (kind, kept) in &plan.kept {
            let kept = ObjectKey::made(*kind, kept.clone());
            if is_policy(kept.kind) && index.object(&kept).is_none() {
                lacks.note(kept.kind);
            }
        }
        lacks
    }

    /// An object of this kind could not be written.
    pub fn note(&mut self, kind: Watched) {
        self.anything = true;
        self.subsets |= kind == Watched::Made(MeshKind::DestinationRule);
        self.policy |= is_policy(kind);
    }

    /// Whether one of this kind has to wait: routes lead to subsets, and nobody is let in anew before the policies are there.
    #[must_use]
    pub fn hinders(&self, kind: Watched, is_new: bool) -> bool {
        match kind {
            Watched::Made(MeshKind::VirtualService) => self.subsets || self.policy && is_new,
            Watched::Made(MeshKind::Gateway) => self.policy && is_new,
            _ => false,
        }
    }
}

fn is_policy(kind: Watched) -> bool {
    matches!(kind, Watched::Made(MeshKind::PeerAuthentication | MeshKind::AuthorizationPolicy))
}

impl Write {
    /// What is written.
    #[must_use]
    pub fn object(&self) -> &ObjectKey {
        match self {
            Self::Apply(_, key, _) => key,
            Self::Trim(seen, _) | Self::Delete(seen) => &seen.key,
        }
    }
}

impl Over {
    /// The object as it is.
    #[must_use]
    pub fn seen(&self) -> Option<&Arc<Seen>> {
        match self {
            Self::Nothing => None,
            Self::Drift(seen, _) | Self::Left(seen) | Self::Adopted(seen) => Some(seen),
        }
    }
}

/// Which object this is, if it is of a kind that is made.
fn key_of(object: &DynamicObject) -> Option<ObjectKey> {
    let kind = object.types.as_ref()?.kind.parse::<MeshKind>().ok()?;
    Some(ObjectKey::made(kind, Key::of(&object.metadata)))
}

/// The MeshService, if there is one, and what is to be done.
#[must_use]
pub fn at(index: &mut MeshIndex, key: &Key, now: Timestamp) -> Look {
    let Some(mesh_service) = index.mesh_service(key).filter(|found| !found.deleting).cloned() else {
        return sweep(index, key, now);
    };
    let plan = index.plan(&mesh_service);
    index.desire(&mesh_service, plan.objects.iter().filter_map(key_of).collect());
    look(index, &mesh_service, &plan, now)
}

/// What is to be done about what was made for a MeshService that is gone, or is being deleted: all of it goes, but for what another one
/// takes over. What is in its own namespace goes by its ownerReference, and stays without one: so it was asked for.
fn sweep(index: &mut MeshIndex, mesh_service: &Key, now: Timestamp) -> Look {
    let is_there = index.mesh_service(mesh_service).is_some();
    let rests = index.gone(mesh_service, now);
    if !is_there && !index.is_installed {
        return Look::default();
    }
    let goes = |seen: &&Arc<Seen>| {
        let is_elsewhere = seen.key.key.namespace != mesh_service.namespace;
        !seen.deleting && (is_elsewhere || !is_there && seen.has_owner_reference()) && !index.is_wanted(&seen.key)
    };
    let left: Vec<Write> = index.owned_by(mesh_service).rev().filter(goes).cloned().map(Write::Delete).collect();
    if left.is_empty() {
        return Look { pause: rests, ..Look::default() };
    }
    let memory = index.memory(mesh_service);
    let (writes, paused): (Vec<_>, Vec<_>) =
        left.into_iter().partition(|write| memory.pause(write.object(), now).is_zero());
    let pause = paused.iter().map(|write| memory.pause(write.object(), now)).min();
    Look { writes, pause, ..Look::default() }
}

/// What is to be done for a MeshService of which this is the plan.
fn look(index: &mut MeshIndex, mesh_service: &Arc<ObservedMeshService>, plan: &Plan, now: Timestamp) -> Look {
    let key = &mesh_service.key;
    let asked = mesh_service.annotations.get(keys::MESH_REPAIR).map(String::as_str);
    let (consent, unknown) = Consent::read(asked);
    let mut writes = Vec::new();
    let (mut violations, mut repairs) = (plan.violations.clone(), Vec::new());
    let mut waits = BTreeSet::new();
    repairs.extend(plan.violations.iter().filter_map(|told| Repair::of_violation(told, mesh_service)));
    violations.extend(unknown.into_iter().map(|word| unknown_repair(key, &word)));
    let mut lacks = Lacks::at_first(index, plan);
    let mut objects: Vec<_> = plan.objects.iter().filter_map(|object| Some((key_of(object)?, object))).collect();
    objects.sort_by_key(|(object_key, _)| object_key.kind);
    let mut compared = Vec::new();
    for (object_key, object) in objects {
        let present = index.object(&object_key);
        if index.is_absent(object_key.kind) {
            lacks.note(object_key.kind);
            waits.insert(object_key.kind);
            continue;
        }
        if lacks.hinders(object_key.kind, present.is_none()) {
            lacks.anything = true;
            continue;
        }
        let object = subsets::until_rerouted(index, key, &object_key, object);
        match step(index, key, &consent, &object, &object_key) {
            Ok(write) => {
                let is_so = write.is_none() && present.is_some_and(|seen| !seen.deleting);
                compared.push((object_key, hash(&desired(&object)), is_so));
                writes.extend(write);
            }
            Err(obstacle) => {
                lacks.note(object_key.kind);
                violations.push(obstacle.violation);
                repairs.push(obstacle.repair);
            }
        }
    }
    let is_useless = |seen: &&Arc<Seen>| match seen.key.kind {
        Watched::Made(kind) => !seen.deleting && plan.sweeps(kind, &seen.key.key),
        _ => false,
    };
    let is_put_out =
        |seen: &Arc<Seen>| plan.places.as_ref().is_some_and(|places| !places.contains(&seen.key.key.namespace));
    let (out, useless): (Vec<_>, Vec<_>) = index.owned_by(key).rev().filter(is_useless).cloned().partition(is_put_out);
    writes.splice(0..0, out.into_iter().map(Write::Delete));
    writes.extend(useless.into_iter().map(Write::Delete));

    let stays: Vec<&Arc<Seen>> =
        index.owned_by(key).filter(|seen| !seen.deleting && !is_useless(seen) && !is_put_out(seen)).collect();
    for finding in about(index, &stays, &plan.violations) {
        violations.push(of_finding(finding));
        let is_ours = |judged: &mesh_integrity::Key| is_owned(index, judged, key);
        repairs.extend(Repair::of(finding, key, is_ours));
    }
    let managed = stays.into_iter().map(managed).collect();
    let memory = index.memory(key);
    memory.compare(compared);
    memory.refused.retain(|object, _| writes.iter().any(|write| write.object() == object));
    violations.extend(memory.refused.iter().map(|(object, problem)| refused(object, problem)));
    let refuses = !memory.refused.is_empty();
    let (mut due, paused): (Vec<Write>, Vec<Write>) =
        writes.into_iter().partition(|write| memory.pause(write.object(), now).is_zero());
    if lacks.anything || paused.iter().any(|write| !matches!(write, Write::Delete(_))) {
        // What is of no use goes when what takes its place is there. What was put out waits for nothing.
        due.retain(|write| if let Write::Delete(seen) = write { is_put_out(seen) } else { true });
    }
    let pause = paused.iter().map(|write| memory.pause(write.object(), now)).min();

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
        pause,
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

/// What is to be done about one object that there is to be.
fn step(
    index: &MeshIndex,
    mesh_service: &Key,
    consent: &Consent,
    object: &DynamicObject,
    key: &ObjectKey,
) -> Result<Option<Write>, Box<Obstacle>> {
    let namespace = ObjectKey::namespace(&key.key.namespace);
    match index.object(&namespace) {
        None => return Err(missing_namespace(&namespace, key)),
        Some(seen) if seen.deleting => return Ok(None), // with all that is in it
        Some(_) => {}
    }
    let apply = |over: Over| {
        let mut object = object.clone();
        let present = over.seen();
        let version = present.map_or(ABSENT, |seen| &seen.resource_version);
        object.metadata.resource_version = Some(version.to_owned());
        // What it was before it was taken over stays written down.
        if let Some(before) = present.and_then(|seen| seen.annotation(keys::MESH_ADOPTED)) {
            let annotations = object.metadata.annotations.get_or_insert_default();
            annotations.insert(keys::MESH_ADOPTED.to_owned(), before.to_owned());
        }
        Ok(Some(Write::Apply(Box::new(object), key.clone(), over)))
    };
    let Some(seen) = index.object(key) else { return apply(Over::Nothing) };
    if seen.deleting {
        return Ok(None); // it is made anew once it is gone
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
        (Some(owner), _) if index.mesh_service(owner).is_none() && index.is_installed => {
            apply(Over::Left(Arc::clone(seen)))
        }
        (None, Giving::Given) => apply(Over::Adopted(Arc::clone(seen))),
        (None, Giving::Asked) if consent.covers(Act::Adopt) && !is_policy(key.kind) => {
            apply(Over::Adopted(Arc::clone(seen)))
        }
        _ => Err(taken(mesh_service, seen)),
    }
}

/// What is compared of an object that there is to be.
fn desired(object: &DynamicObject) -> Value {
    let metadata = &object.metadata;
    json!({
        "metadata": {
            "labels": metadata.labels, "annotations": metadata.annotations, "ownerReferences": metadata.owner_references,
        },
        "spec": object.data.get("spec"),
    })
}

/// A kind that is not there, or not in the version that is written.
fn absent(kind: Watched) -> String {
    format!("{} of {} is not installed in this cluster", kind.as_str(), kind.resource().api_version)
}

fn missing_namespace(namespace: &ObjectKey, object: &ObjectKey) -> Box<Obstacle> {
    let violation = Violation {
        type_: FOREIGN_KEY.to_owned(),
        resource: object.to_string(),
        message: format!("References non-existent {namespace}"),
        severity: Severity::Error,
    };
    let repair = Repair {
        act: Act::Create,
        resource: namespace.to_string(),
        action: "create the namespace, or correct its name in the spec".to_owned(),
        reason: violation.message.clone(),
        severity: mesh_integrity::Severity::Error,
    };
    Box::new(Obstacle { violation, repair })
}

/// An object of the name is there, and somebody else's.
fn taken(mesh_service: &Key, seen: &Seen) -> Box<Obstacle> {
    let whose = match (&seen.owner, &seen.giving) {
        (Some(owner), _) => format!("was made for MeshService/{owner}"),
        (None, Giving::Controlled(controller)) => format!("is controlled by {controller}"),
        (None, _) => "was not made for this MeshService".to_owned(),
    };
    let message = format!("There is one of this name already, which {whose}; it is left as it is");
    let (act, action) = if seen.owner.is_none() && !matches!(seen.giving, Giving::Controlled(_)) {
        let or_ask = if is_policy(seen.key.kind) {
            String::new()
        } else {
            format!(", or give the MeshService {}: Adopt", keys::MESH_REPAIR)
        };
        let action = format!(
            "to have MeshService/{mesh_service} take it over, give it the annotation {}: \"true\"{or_ask}; else rename one of them",
            keys::ADOPT,
        );
        (Act::Adopt, action)
    } else {
        (Act::Update, "rename one of them".to_owned())
    };
    let violation =
        Violation { type_: NAME_TAKEN.to_owned(), resource: seen.key.to_string(), message, severity: Severity::Error };
    let repair = Repair {
        act,
        resource: violation.resource.clone(),
        action,
        reason: violation.message.clone(),
        severity: mesh_integrity::Severity::Error,
    };
    Box::new(Obstacle { violation, repair })
}

fn refused(object: &ObjectKey, problem: &str) -> Violation {
    Violation {
        type_: WRITE_REFUSED.to_owned(),
        resource: object.to_string(),
        message: format!("{problem}; it is tried again"),
        severity: Severity::Error,
    }
}

fn unknown_repair(mesh_service: &Key, word: &str) -> Violation {
    Violation {
        type_: UNKNOWN_REPAIR.to_owned(),
        resource: format!("MeshService/{mesh_service}"),
        message: format!("The annotation {} names {word:?}, which is none: it may be Adopt", keys::MESH_REPAIR),
        severity: Severity::Warning,
    }
}

/// What the checks say of the objects of a MeshService, once each, and not what its plan says already.
fn about<'i>(index: &'i MeshIndex, made: &[&Arc<Seen>], planned: &[Violation]) -> Vec<&'i Finding> {
    let is_planned = |finding: &Finding| {
        finding.code == Code::IST0132
            && planned.iter().any(|violation| violation.type_ == violation::GATEWAY_HOST_MISSING)
    };
    let mut found = index.findings(made.iter().map(|seen| &seen.key));
    found.retain(|one| !is_planned(one));
    found
}

fn of_finding(finding: &Finding) -> Violation {
    let mut message = finding.message.clone();
    if let [_, _, ..] = &finding.objects[..] {
        let names: Vec<String> = finding.objects.iter().take(NAMED).map(ToString::to_string).collect();
        message = format!("{message}: {}", names.join(", "));
        if finding.objects.len() > NAMED {
            message = format!("{message} and {} more", finding.objects.len() - NAMED);
        }
    }
    Violation {
        type_: finding.code.violation().unwrap_or(finding.code.name()).to_owned(),
        resource: finding.resource.clone(),
        message: format!("{message} ({})", finding.code),
        severity: match finding.severity {
            mesh_integrity::Severity::Error => Severity::Error,
            mesh_integrity::Severity::Warning => Severity::Warning,
            mesh_integrity::Severity::Info => Severity::Info,
        },
    }
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
