//! Writes what is planned for the Pods of a set, several at a time. A Pod whose write is refused waits; it delays no other.

use super::attempts::AttemptEnd;
use super::index::RolloutIndex;
use super::upgrade::{PodCondition, PodUpdate, UpgradePlan};
use super::watched_pod::WatchedPod;
use crate::cluster::{IndexedQueue, Outcome, Term, Versioned, WriteError, Written, apply, failpoint};
use crate::telemetry::seldom;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use std::time::Duration;

/// Pods of one set that are written at a time.
const AT_ONCE: usize = 8;

/// How the API server says that a right is missing, and not that admission refuses.
const NO_RIGHT: &str = "cannot patch resource";

/// Writes what is planned, and says when the set is to be looked at again.
pub async fn write(
    client: &Client,
    queue: &IndexedQueue<String, RolloutIndex>,
    set: &str,
    plan: &UpgradePlan,
    term: &Term,
) -> Outcome {
    let writer = &Writer { client, queue, set, term };
    stream::iter(&plan.updates).for_each_concurrent(AT_ONCE, |update| writer.update(update)).await;
    stream::iter(&plan.conditions).for_each_concurrent(AT_ONCE, |condition| writer.tell(condition)).await;
    let until = plan.look_again.map(|until| until.duration_since(Timestamp::now()));
    let pause = until.map(|pause| Duration::try_from(pause).unwrap_or_default() + Duration::from_millis(1));
    pause.map_or(Outcome::Done, Outcome::RequeueAfter)
}

struct Writer<'a> {
    client: &'a Client,
    queue: &'a IndexedQueue<String, RolloutIndex>,
    set: &'a str,
    term: &'a Term,
}

impl Writer<'_> {
    async fn update(&self, update: &PodUpdate) {
        if !self.term.is_current() {
            return;
        }
        self.queue.lock().update_begins(self.set, update);
        let (api, operations) = (self.api(&update.pod), update.operations.clone());
        let patch = apply::patch(&api, &update.pod, None, operations);
        let written = failpoint::around("upgrade.pod.update", patch).await;
        self.end(&update.pod, written);
    }

    async fn tell(&self, PodCondition { pod, condition }: &PodCondition) {
        if !self.term.is_current() {
            return;
        }
        let version = pod.version();
        // Conditions are merged by their type; the uid makes sure that it is this Pod.
        let status = Patch::Strategic(json!({"metadata": {"uid": version.uid}, "status": {"conditions": [condition]}}));
        let (api, params) = (self.api(pod), PatchParams::default());
        let patch = api.patch_status(version.name, &params, &status);
        let written = match failpoint::around("upgrade.pod.tell", patch).await {
            Ok(pod) => Ok(Written::Done(pod)),
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(Written::Conflict),
            Err(error) => Err(WriteError::of("write the status of", &api, version.name, error)),
        };
        self.end(pod, written);
    }

    /// Learns how a write ended.
    fn end(&self, pod: &WatchedPod, written: Result<Written<WatchedPod>, WriteError>) {
        let end = match written {
            Ok(Written::Done(anew)) => {
                self.queue.change(|index| index.pod_answered(anew, pod));
                AttemptEnd::Written
            }
            Ok(Written::Unchanged) => AttemptEnd::Written,
            Ok(Written::Conflict) => AttemptEnd::Conflict,
            Err(error) => {
                seldom!(warn, sidecarset = self.set, "{error}; it is tried again");
                ended_with(&error)
            }
        };
        let set = self.set.to_owned();
        self.queue.change(|index| {
            index.write_ended(self.set, pod, end, Timestamp::now());
            [set]
        });
    }

    fn api(&self, pod: &WatchedPod) -> Api<WatchedPod> {
        Api::namespaced(self.client.clone(), pod.version().namespace)
    }
}

/// What an error says of whether it is written.
fn ended_with(error: &WriteError) -> AttemptEnd {
    let problem = error.to_string();
    match error.code() {
        Some(403) if problem.contains(NO_RIGHT) => {
            AttemptEnd::Forbidden(format!("{problem}; apply manifests/rbac/sidecarset-rollout.yaml"))
        }
        // Of 5xx nobody knows how far the write came.
        Some(code) if (400..500).contains(&code) && code != 408 => AttemptEnd::Refused(problem),
        _ => AttemptEnd::Unknown(problem),
    }
}
