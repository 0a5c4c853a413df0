//! A fetch: reads the named Secrets, requests the URL, and then asks the API server for Pods that other Sidecars select
//! too.

use super::answer::{AnswerProblem, FETCH_FAILED};
use super::generator::{ObservedGenerator, UsableSpec};
use super::metrics::GeneratorMetrics;
use super::secrets;
use crate::cluster::describe;
use crate::fetch::{Answer, FetchOutcome, Fetcher, Request, Rules, Validators};
use crate::istio::names;
use crate::telemetry::seldom;
use http::HeaderValue;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use prometheus_client::metrics::counter::Counter;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::Instant;

/// At most this many other Sidecars are checked in one fetch.
const MOST_ASKED: usize = 16;

/// Labels of a selector.
pub(super) type Labels = BTreeMap<String, String>;

/// The dependencies of fetches. Clones share them.
#[derive(Clone)]
pub(super) struct Fetching {
    client: Client,
    fetcher: Fetcher,
    rules: Arc<Rules>,
    metrics: GeneratorMetrics,
    outcomes: Arc<[(FetchOutcome, Counter)]>,
}

/// The state from earlier fetches.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// The validators of the last good answer.
    pub validators: Validators,
    /// Whether the last fetch failed.
    pub failed: bool,
}

impl Fetching {
    pub fn new(client: Client, fetcher: Fetcher, rules: Arc<Rules>, metrics: GeneratorMetrics) -> Self {
        let outcomes = FetchOutcome::ALL.map(|outcome| (outcome, metrics.fetches(outcome.label())));
        Self { client, fetcher, rules, metrics, outcomes: Arc::new(outcomes) }
    }

    /// Fetches the answer of the URL.
    pub async fn fetch(
        &self,
        generator: &ObservedGenerator,
        spec: &UsableSpec,
        earlier: Earlier,
    ) -> Result<Answer, AnswerProblem> {
        let (trust, credentials) = secrets::read(&self.client, generator, spec).await?;
        let accept = HeaderValue::from_static("application/json");
        let request = Request::get(spec.url.clone(), &self.rules)
            .accept(accept)
            .trust(trust)
            .credentials(credentials)
            .validators(earlier.validators)
            .failed_before(earlier.failed);
        let start = Instant::now();
        let result = self.fetcher.fetch(request).await;
        self.metrics.fetched(start.elapsed());
        let outcome = FetchOutcome::of(&result);
        if let Some((_, counter)) = self.outcomes.iter().find(|(counted, _)| *counted == outcome) {
            counter.inc();
        }
        tracing::debug!(generator = %generator.key, outcome = outcome.label(), url = %spec.url, "fetched");
        result.map_err(|error| AnswerProblem {
            reason: FETCH_FAILED,
            message: error.to_string(),
            retry_after: error.retry_after(),
        })
    }

    /// Returns the other Sidecars, given by name and labels, that select a Pod which these labels select too. `None` if the
    /// API server does not tell.
    pub async fn sharing(
        &self,
        namespace: &str,
        ours: &Labels,
        others: &[(String, Labels)],
    ) -> Option<BTreeSet<String>> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let mut sharing = BTreeSet::new();
        // Istio accepts selectors with labels that no Pod can have. The API server rejects queries for them.
        let is_of_pods = |labels: &Labels| {
            labels.iter().all(|(key, value)| names::label_key(key).is_ok() && names::label_value(value).is_ok())
        };
        let others = others.iter().filter(|(_, labels)| is_of_pods(ours) && is_of_pods(labels));
        for (name, labels) in others.take(MOST_ASKED) {
            let both: Labels = ours.iter().chain(labels).map(|(key, value)| (key.clone(), value.clone())).collect();
            let selector = both.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
            match pods.list_metadata(&ListParams::default().labels(&selector).limit(1)).await {
                Ok(found) if found.items.is_empty() => {}
                Ok(_) => {
                    sharing.insert(name.clone());
                }
                Err(error) => {
                    seldom!(
                        warn,
                        namespace,
                        "it is not known which Sidecars select the same Pods: {}",
                        describe(&error)
                    );
                    return None;
                }
            }
        }
        Some(sharing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::script::{Call, Script};
    use crate::fetch::Settings;
    use crate::telemetry::Metrics;
    use futures::future::join;
    use serde_json::{Value, json};

    fn labels(labels: &Value) -> Labels {
        serde_json::from_value(labels.clone()).unwrap()
    }

    /// Returns the result for these other Sidecars and a Sidecar that selects `app: a`, with this answer of the API
    /// server.
    async fn sharing(others: &[(String, Labels)], answers: &[fn(Call)]) -> Option<BTreeSet<String>> {
        let (client, mut script) = Script::new();
        let metrics = Metrics::new().register(GeneratorMetrics::register);
        let fetching = Fetching::new(client, Fetcher::new(Settings::default()), Arc::default(), metrics);
        let answering = async {
            for answer in answers {
                let call = script.list().await;
                assert!(call.target.starts_with("/api/v1/namespaces/shop/pods?"), "{}", call.target);
                assert!(call.target.contains("limit=1") && call.accept.contains("PartialObjectMetadataList"));
                assert!(call.target.contains("labelSelector=app%3Da%2Cteam%3D"), "{}", call.target);
                answer(call);
            }
        };
        let ours = labels(&json!({"app": "a"}));
        join(fetching.sharing("shop", &ours, others), answering).await.0
    }

    fn others(number: usize) -> Vec<(String, Labels)> {
        (0..number).map(|n| (format!("other-{n}"), labels(&json!({"team": format!("t{n}")})))).collect()
    }

    fn found(call: Call) {
        call.objects("1", &[json!({"metadata": {"name": "pod"}})]);
    }

    fn nothing(call: Call) {
        call.objects("1", &[]);
    }

    fn refused(call: Call) {
        call.refuse(403, "no");
    }

    #[tokio::test]
    async fn one_pod_of_both_selections_is_looked_for() {
        let shared = sharing(&others(3), &[nothing, found, nothing]).await;
        assert_eq!(shared, Some(BTreeSet::from(["other-1".to_owned()])));
        assert_eq!(sharing(&[], &[]).await, Some(BTreeSet::new()));
        assert_eq!(sharing(&others(3), &[found, refused]).await, None);
    }

    #[tokio::test]
    async fn selectors_that_no_pod_can_have_the_labels_of_are_not_asked_about() {
        let odd =
            [json!({"team": "é"}), json!({"a,b": "c"})].iter().map(|odd| ("odd".to_owned(), labels(odd))).collect();
        let others: Vec<_> = [odd, others(1)].concat();
        assert_eq!(sharing(&others, &[found]).await, Some(BTreeSet::from(["other-0".to_owned()])));
    }

    #[tokio::test]
    async fn not_all_of_many_are_asked_about() {
        assert_eq!(
            sharing(&others(100), &[found as fn(Call); MOST_ASKED]).await.map(|shared| shared.len()),
            Some(MOST_ASKED)
        );
    }
}
