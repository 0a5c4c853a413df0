//! Injection of the matching SidecarSets into one Pod.

use super::PodRequest;
use super::annotations::{Record, RecordOfRest};
use super::outcome::{Denial, InjectError, Injected, Injection};
use super::plan::{Match, PatchPlan};
use super::pod_lists::{PodList, PodLists};
use super::pod_metadata::Annotations;
use super::pod_security::{Enforced, PodSecurity};
use super::snapshot::Snapshot;
use super::token_mount::token_mount;
use crate::api::keys;
use crate::api::pod::{PodView, SpecView};
use std::collections::HashMap;

impl Snapshot {
    /// Decides what to inject into a Pod.
    ///
    /// # Errors
    /// When a matching set cannot be injected into the Pod, or the Pod cannot be read.
    pub fn inject(&self, pod: &PodView<'_>, request: &PodRequest<'_>) -> Result<Injection, InjectError> {
        if let Some(exclusion) = self.options().exclusions.of(pod, request) {
            return Ok(Injection::Excluded(exclusion));
        }
        let matching = self.matching(pod, request);
        let Some(first) = matching.first() else { return Ok(Injection::NotMatched) };

        let lists = PodLists::read(pod.spec.as_ref())?;
        let record = |key: &'static str| {
            Record::parse(pod.annotation(key)).map_err(|e| Denial {
                set: first.set.name.clone(),
                field: format!("the Pod's metadata.annotations[{key}]"),
                problem: e.to_string(),
            })
        };
        let (hashes, hashes_without_image) = (record(keys::HASH)?, record(keys::HASH_WITHOUT_IMAGE)?);
        let rest = RecordOfRest::parse(pod.annotation(keys::HASH_OF_REST));
        let matches = matching.into_iter().map(|entry| {
            let chosen = match &entry.chosen {
                None => None,
                Some(chosen) => chosen.for_pod(&entry.set, pod, request, &hashes).map_err(|(field, problem)| {
                    Denial { set: entry.set.name.clone(), field: field.to_owned(), problem }
                })?,
            };
            let (content, revision) = match chosen {
                Some(version) => (&version.content, Some(version.revision.as_str())),
                None => (&entry.set.content, entry.revision.as_deref()),
            };
            let name = entry.set.name.as_str();
            Ok(Match {
                name,
                created: entry.set.created,
                content,
                revision,
                current: hashes.has(name, &content.hashes.hash) && rest.agrees(name, content.hash_of_rest.as_deref()),
                images: &entry.images,
                verification: entry.set.verification,
                grows_pod: entry.set.grows_pod,
                has_job_sidecars: entry.set.has_job_sidecars && pod.spec.as_ref().is_some_and(SpecView::ends),
            })
        });
        let matches: Vec<Match<'_>> = matches.collect::<Result<_, Denial>>()?;
        deny_clashes(&matches, &lists)?;

        let mut annotations = Annotations::of(pod);
        for (m, patch) in matches.iter().flat_map(|m| m.content.metadata_patches.iter().map(move |patch| (m, patch))) {
            request.go_on()?;
            annotations.apply(patch).map_err(|(key, error)| Denial {
                set: m.name.to_owned(),
                field: format!("spec.patchPodMetadata annotation {key:?}"),
                problem: error.to_string(),
            })?;
        }
        let annotations = annotations.changes();
        let token = token_mount(pod.spec.as_ref(), &lists);
        let mut plan = PatchPlan::new(pod, request, &lists, &matches, &annotations, token.as_deref());
        plan.create_parents();
        plan.containers(PodList::Init)?;
        plan.containers(PodList::App)?;
        plan.volumes();
        plan.pull_secrets();
        plan.metadata(&hashes, &hashes_without_image, &rest, self.options().default_container);
        plan.fit();
        if let Some(enforced) = self.namespace_labels(request.namespace_of(pod)).and_then(Enforced::of) {
            plan.pod_security(enforced, &pod_security(pod.spec.as_ref(), &lists));
        }
        plan.warn_of_forecasts();
        let sets = plan.injected_sets();
        let (patch, warnings) = plan.finish();
        Ok(Injection::Matched(Injected { sets, patch, warnings }))
    }
}

/// Reads the fields of a Pod that affect its containers' security.
fn pod_security<'p, 'a>(spec: Option<&SpecView<'a>>, lists: &'p PodLists<'a>) -> PodSecurity<'p> {
    PodSecurity {
        context: Some(lists.security_context(spec)),
        has_own_users: spec.is_some_and(SpecView::has_own_users),
        is_windows: spec.and_then(SpecView::os_name).as_deref() == Some("windows"),
    }
}

/// Container names must be unique across both lists of a Pod. A clash is reported here because the API server would name
/// neither the set nor the reason.
fn deny_clashes(matches: &[Match<'_>], lists: &PodLists<'_>) -> Result<(), Denial> {
    let mut injected: HashMap<&str, &str> = HashMap::new();
    for m in matches {
        for (list, other) in [(PodList::Init, PodList::App), (PodList::App, PodList::Init)] {
            for container in m.containers(list, lists) {
                let denial = |problem: String| Denial {
                    set: m.name.to_owned(),
                    field: format!("spec.{} {:?}", list.field(), container.name),
                    problem,
                };
                if let Some(set) = injected.insert(&container.name, m.name) {
                    let problem =
                        format!("SidecarSet {set:?} injects a container of that name too: rename one of them");
                    return Err(denial(problem));
                }
                if let Some(index) = lists.position(other, &container.name) {
                    let problem =
                        format!("the Pod's spec.{}[{index}] has that name: rename one of them", other.field());
                    return Err(denial(problem));
                }
            }
        }
    }
    Ok(())
}
