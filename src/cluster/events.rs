//! Kubernetes Events about managed objects, sent in the background without delaying anything.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, Recorder, Reporter};
use tokio::sync::mpsc;

use super::client::describe;

/// The reporting controller of all our events.
const CONTROLLER: &str = "outrigger";

/// At most this many Events wait to be sent. Further ones are dropped.
const WAITING: usize = 256;

/// The maximum length of a note in bytes. The API server rejects longer ones.
const LONGEST_NOTE: usize = 1024;

/// Accepts Events for sending. Clones share the publisher.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::Sender<(Event, ObjectReference)>,
}

/// Creates the publisher of a process. The future sends Events until it is dropped. `instance` names this process:
/// [`super::lease::identity`].
///
/// An Event repeated within 6 minutes (same object, type, reason and action) only increases the count of the first one, which
/// keeps its note. Varying details belong in conditions and logs. An Event that cannot be sent is logged and dropped. Requires
/// `create` and `patch` on `events` of `events.k8s.io`.
pub fn events(client: Client, instance: String) -> (Events, impl Future<Output = ()> + Send) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let recorder = Recorder::new(client, Reporter { controller: CONTROLLER.to_owned(), instance: Some(instance) });
    (Events { sender }, send(recorder, receiver))
}

impl Events {
    /// Queues an Event about an object. Never waits and never fails.
    pub fn publish(&self, object: &ObjectReference, mut event: Event) {
        if let Some(note) = &mut event.note {
            shorten(note, LONGEST_NOTE);
        }
        // With a resourceVersion, the recorder would treat the next version as another object and not count.
        let object = ObjectReference { resource_version: None, ..object.clone() };
        if let Err(unsent) = self.sender.try_send((event, object)) {
            let (event, object) = unsent.into_inner();
            tracing::debug!(reason = event.reason, object = object.name, "an event was dropped: too many wait");
        }
    }
}

async fn send(recorder: Recorder, mut receiver: mpsc::Receiver<(Event, ObjectReference)>) {
    let mut said = String::new();
    while let Some((event, object)) = receiver.recv().await {
        let problem =
            recorder.publish(&event, &object).await.err().and_then(|error| problem(&error)).unwrap_or_default();
        if problem != said && !problem.is_empty() {
            tracing::warn!(problem, reason = event.reason, object = object.name, "an event was not sent");
        }
        said = problem;
    }
}

/// The problem to log for an Event that was not sent. There is none if its namespace does not exist: nobody could read it.
fn problem(error: &kube::Error) -> Option<String> {
    let no_namespace = matches!(error, kube::Error::Api(status) if status.code == 404);
    (!no_namespace).then(|| describe(error))
}

/// Cuts a text to at most this many bytes, at a character boundary.
pub(super) fn shorten(text: &mut String, bytes: usize) {
    const ELLIPSIS: char = '…';
    if text.len() <= bytes {
        return;
    }
    let mut end = bytes - ELLIPSIS.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push(ELLIPSIS);
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn an_event_for_a_namespace_that_does_not_exist_is_no_problem() {
        let answered = |code| kube::Error::Api(Status::failure("no", "").with_code(code).boxed());
        assert_eq!(problem(&answered(404)), None);
        assert!(problem(&answered(403)).is_some());
    }
}
