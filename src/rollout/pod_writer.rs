//! Writes the planned changes of a set's Pods, several at a time. A rejected write delays only its own Pod.

use super::attempts::{AttemptEnd, PodWrite};
use super::index::RolloutIndex;
use super::metrics::RolloutMetrics;
use super::pod_patch;
use super::set::ObservedSet;
use super::upgrade::{PodCondition, PodUpdate, UpdateKind, UpgradePlan};
use super::watched_pod::WatchedPod;
use crate::cluster::{
    Events, IndexedQueue, ObjectVersion, Objects, Outcome, Term, Versioned, WriteError, Written, apply, failpoint,
};
use crate::telemetry::seldom;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use json_patch::PatchOperation;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, Patch, PatchParams};
use kube::runtime::events::EventType;
use kube::{Api, Client};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// The number of Pods of one set that are written at the same time.
const AT_ONCE: usize = 8;

/// How the API server reports a missing permission, as opposed to rejection by admission.
const NO_RIGHT: [&str; 2] = ["cannot patch resource", "cannot get resource"];

/// How the API server reports rejection by a webhook or policy.
const DENIED: &str = "denied";

/// Writes Pods.
pub struct PodWriter {
    client: Client,
    /// For Events.
    pods: Objects,
    pub metrics: RolloutMetrics,
}

/// Writes the Pods of one set.
struct Writer<'a> {
    shared: &'a PodWriter,
    queue: &'a IndexedQueue<String, RolloutIndex>,
    set: &'a ObservedSet,
    term: &'a Term,
}

impl PodWriter {
    /// Uses this client, these Events and these metrics.
    pub fn new(client: Client, events: Events, metrics: RolloutMetrics) -> Self {
        let pods = Objects::new(client.clone(), ApiResource::erase::<Pod>(&()), events);
        Self { client, pods, metrics }
    }

    /// Writes the plan. Returns when to look at the set again.
    pub async fn write(
        &self,
        queue: &IndexedQueue<String, RolloutIndex>,
        set: &ObservedSet,
        plan: &UpgradePlan,
        term: &Term,
    ) -> Outcome {
        let writer = &Writer { shared: self, queue, set, term };
        stream::iter(&plan.updates).for_each_concurrent(AT_ONCE, |update| writer.update(update)).await;
        stream::iter(&plan.conditions).for_each_concurrent(AT_ONCE, |condition| writer.tell(condition)).await;
        let until = plan.look_again.map(|until| until.duration_since(Timestamp::now()));
        let pause = until.map(|pause| Duration::try_from(pause).unwrap_or_default() + Duration::from_millis(1));
        pause.map_or(Outcome::Done, Outcome::RequeueAfter)
    }
}

impl Writer<'_> {
    async fn update(&self, update: &PodUpdate) {
        if !self.term.is_current() {
            return;
        }
        let end = match self.read_again(update).await {
            Ok(()) => match self.resize(update).await {
                Ok(pod) => self.patch(update, &pod).await,
                Err(end) => end,
            },
            Err(end) => end,
        };
        self.end(update.pod.version(), update.kind, end);
    }

    /// Reads a Pod that may already have been written, to find out whether it has changed.
    async fn read_again(&self, update: &PodUpdate) -> Result<(), AttemptEnd> {
        if !update.is_in_doubt {
            return Ok(());
        }
        let version = update.pod.version();
        let api = self.api(&update.pod);
        let read = api.get_opt(version.name).await;
        let unknown = |error| AttemptEnd::Unknown(WriteError::of("read", &api, version.name, error).to_string());
        let Some(pod) = read.map_err(unknown)? else { return Err(AttemptEnd::Conflict) };
        if pod.version() == version {
            return Ok(());
        }
        self.queue.change(|index| index.pod_read(pod));
        Err(AttemptEnd::Conflict)
    }

    /// Gives the Pod its amounts of CPU and memory, and returns the changed Pod. Until the Pod records the update, it
    /// shows what is left to do.
    async fn resize(&self, update: &PodUpdate) -> Result<WatchedPod, AttemptEnd> {
        let (api, pod) = (self.api(&update.pod), &update.pod);
        if update.resize.is_empty() {
            return Ok(pod.clone());
        }
        self.begins(update, pod);
        let patch = apply::patch(&api, pod, Some("resize"), update.resize.clone());
        match failpoint::around("upgrade.pod.resize", patch).await {
            Ok(Written::Done(anew)) => {
                self.queue.change(|index| index.pod_answered(anew.clone(), pod));
                Ok(anew)
            }
            written => Err(self.learn(pod, written)),
        }
    }

    async fn patch(&self, update: &PodUpdate, pod: &WatchedPod) -> AttemptEnd {
        let mut operations = match self.annotations(update, pod.version()).await {
            Ok(operations) => operations,
            Err(end) => return end,
        };
        operations.extend(update.patch.operations.iter().cloned());
        self.begins(update, pod);
        let api = self.api(pod);
        let patch = apply::patch(&api, pod, None, operations);
        let written = failpoint::around("upgrade.pod.update", patch).await;
        self.learn(pod, written)
    }

    fn begins(&self, update: &PodUpdate, pod: &WatchedPod) {
        self.queue.lock().update_begins(&self.set.name, pod.version(), update);
    }

    /// Returns the parts of the patch that depend on annotations that are not kept. They are read if needed.
    async fn annotations(
        &self,
        update: &PodUpdate,
        version: ObjectVersion<'_>,
    ) -> Result<Vec<PatchOperation>, AttemptEnd> {
        let (Ok(usable), false) = (&self.set.usable, update.kind == UpdateKind::Reset) else { return Ok(Vec::new()) };
        let content = &usable.injectable.content;
        let is_resized = update.kind == UpdateKind::Resources;
        let mut present = BTreeMap::new();
        if content.patches_look_at_annotations() || is_resized || !update.patch.hot.is_empty() {
            let api: Api<Pod> = Api::namespaced(self.shared.client.clone(), version.namespace);
            let read = api.get_metadata_opt(version.name).await;
            let read = read.map_err(|error| ended_with(&WriteError::of("read", &api, version.name, error)))?;
            let metadata = read.ok_or(AttemptEnd::Conflict)?.metadata;
            if metadata.resource_version.as_deref() != Some(version.resource_version) {
                return Err(AttemptEnd::Conflict);
            }
            present = metadata.annotations.unwrap_or_default();
        }
        let changes = content.patched_annotations(&present).map_err(AttemptEnd::Refused)?;
        let mut operations = pod_patch::metadata(&changes);
        operations.extend(pod_patch::versions(&update.patch.hot, &self.set.resource_version, &present));
        if is_resized {
            let now = Timestamp::now();
            operations.extend(pod_patch::record_without_image(&self.set.name, &usable.rules, &present, now));
        }
        Ok(operations)
    }

    async fn tell(&self, PodCondition { pod, condition }: &PodCondition) {
        if !self.term.is_current() {
            return;
        }
        let version = pod.version();
        // Conditions are merged by type. The uid ensures that it is this Pod.
        let status = Patch::Strategic(json!({"metadata": {"uid": version.uid}, "status": {"conditions": [condition]}}));
        let (api, params) = (self.api(pod), PatchParams::default());
        let patch = api.patch_status(version.name, &params, &status);
        let written = match failpoint::around("upgrade.pod.tell", patch).await {
            Ok(pod) => Ok(Written::Done(pod)),
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(Written::Conflict),
            Err(error) => Err(WriteError::of("write the status of", &api, version.name, error)),
        };
        let end = self.learn(pod, written);
        self.ended(version, PodWrite::Condition, end);
    }

    /// Records the outcome of a write. The watch reports it too, but later.
    fn learn(&self, pod: &WatchedPod, written: Result<Written<WatchedPod>, WriteError>) -> AttemptEnd {
        match written {
            Ok(Written::Done(anew)) => {
                self.queue.change(|index| index.pod_answered(anew, pod));
                AttemptEnd::Written
            }
            Ok(Written::Unchanged) => AttemptEnd::Written,
            Ok(Written::Conflict) => AttemptEnd::Conflict,
            Err(error) => ended_with(&error),
        }
    }

    /// An update ended. Reports it in Events of the Pod.
    fn end(&self, pod: ObjectVersion<'_>, kind: UpdateKind, end: AttemptEnd) {
        let set = &self.set.name;
        let written = matches!(end, AttemptEnd::Written);
        let problem = end.problem().map(str::to_owned);
        let is_news = self.ended(pod, PodWrite::Update, end);
        let event = match (kind, problem) {
            (UpdateKind::Reset, None) if written => {
                let note =
                    format!("SidecarSet {set}: the hot upgrade is over, its older container has the empty image");
                Some((EventType::Normal, "ResetContainerSucceed", note))
            }
            (UpdateKind::Reset, Some(problem)) if is_news => {
                Some((EventType::Warning, "ResetContainerFailed", format!("SidecarSet {set}: {problem}")))
            }
            (UpdateKind::Images | UpdateKind::Resources, Some(problem)) if is_news => {
                Some((EventType::Warning, "SidecarUpdateFailed", format!("SidecarSet {set}: {problem}")))
            }
            _ => None,
        };
        if let Some((type_, reason, note)) = event {
            self.shared.pods.tell(pod, type_, reason, &note);
        }
    }

    /// Records the outcome of a write. Returns whether its problem is new.
    fn ended(&self, pod: ObjectVersion<'_>, write: PodWrite, end: AttemptEnd) -> bool {
        let set = &self.set.name;
        self.shared.metrics.ended(&end);
        if let Some(problem) = end.problem() {
            seldom!(warn, sidecarset = set, pod = pod.name, namespace = pod.namespace, "{problem}; retrying");
        }
        let mut is_news = false;
        self.queue.change(|index| {
            is_news = index.write_ended(set, pod, write, end, Timestamp::now());
            [set.clone()]
        });
        is_news
    }

    fn api(&self, pod: &WatchedPod) -> Api<WatchedPod> {
        Api::namespaced(self.shared.client.clone(), pod.version().namespace)
    }
}

/// Returns what an error says about the outcome of a write.
fn ended_with(error: &WriteError) -> AttemptEnd {
    let problem = error.to_string();
    match error.code() {
        Some(403) if NO_RIGHT.iter().any(|words| problem.contains(words)) => {
            AttemptEnd::Forbidden(format!("{problem}; apply manifests/rbac/sidecarset-rollout.yaml"))
        }
        // The patch does not fit the current Pod. Admission answers 422 with its own message.
        Some(422) if !error.has_causes() && !problem.contains(DENIED) => AttemptEnd::Conflict,
        // For 5xx it is unknown how far the write got.
        Some(code) if (400..500).contains(&code) && code != 408 => AttemptEnd::Refused(problem),
        _ => AttemptEnd::Unknown(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;
    use kube::core::Status;

    #[tokio::test]
    async fn a_patch_that_does_not_fit_is_no_refusal_and_a_refusal_is_no_missing_right() {
        let service =
            tower::service_fn(async |_: http::Request<Body>| Ok::<_, kube::Error>(http::Response::new(Body::empty())));
        let api: Api<Pod> = Api::namespaced(Client::new(service, "default"), "n");
        let end = |code: u16, message: &str, causes: serde_json::Value| {
            let status = json!({"code": code, "message": message, "reason": "X", "details": {"causes": causes}});
            let status: Status = serde_json::from_value(status).unwrap();
            ended_with(&WriteError::of("patch", &api, "p", kube::Error::Api(Box::new(status))))
        };
        let word = |end: &AttemptEnd| format!("{end:?}").split('(').next().unwrap_or_default().to_owned();
        let cause =
            json!([{"field": "spec.containers[0].image", "message": "Required value", "reason": "FieldValueRequired"}]);
        for (code, message, causes, expected) in [
            (422, "the server rejected our request due to an error in our request", json!([]), "Conflict"),
            (422, "Pod \"p\" is invalid: spec.containers[0].image: Required value", cause, "Refused"),
            (422, "admission webhook \"x\" denied the request: no", json!([]), "Refused"),
            (403, "pods \"p\" is forbidden: exceeded quota: q", json!([]), "Refused"),
            (403, "pods \"p\" is forbidden: User \"u\" cannot patch resource \"pods\"", json!([]), "Forbidden"),
            (403, "pods \"p\" is forbidden: User \"u\" cannot get resource \"pods\"", json!([]), "Forbidden"),
            (429, "too many requests", json!([]), "Refused"),
            (408, "timeout", json!([]), "Unknown"),
            (500, "etcdserver: request timed out", json!([]), "Unknown"),
        ] {
            assert_eq!(word(&end(code, message, causes)), expected, "{code} {message}");
        }
    }
}
