//! The registration of this webhook, as plain objects. Fields that they do not mention may have any value.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation};
use serde_json::{Value, json};

use super::super::metrics::Webhook;
use super::scope::{self, Scope};
use crate::api::keys;

/// Name of the `MutatingWebhookConfiguration`.
pub const MUTATING: &str = "outrigger-mutating";
/// Name of the `ValidatingWebhookConfiguration`.
pub const VALIDATING: &str = "outrigger-validating";
/// Name of the `CustomResourceDefinition` whose versions this webhook converts.
pub const CRD: &str = "sidecarsets.apps.kruise.io";
/// The Service of the replicas that are ready.
pub const SERVICE: &str = "outrigger-webhook";
/// The Service of all replicas, ready or not: a replica becomes ready after a list that may need its own conversion.
pub const CONVERSION_SERVICE: &str = "outrigger-conversion";

/// The webhook for Pods.
const PODS: &str = "pods.outrigger.dev";
/// Its condition, which follows the SidecarSets.
const SELECTED: &str = "selected-by-a-sidecarset";

/// Seconds that the API server waits for an answer. A write of a SidecarSet may take this long, and its Pods are sent
/// once it is stored.
const fn timeout_seconds(path: Webhook) -> u8 {
    match path {
        Webhook::MutatePod => 5,
        Webhook::MutateSidecarSet | Webhook::ValidateSidecarSet | Webhook::Convert => 10,
    }
}

/// How the API server reaches this webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// By the Services [`SERVICE`] and [`CONVERSION_SERVICE`].
    Service {
        /// Namespace of both.
        namespace: String,
        /// Port of both.
        port: u16,
    },
    /// By the URL `https://HOST[:PORT][/PREFIX]`, to which the paths are added.
    Url(String),
}

/// What happens to a Pod while this webhook is unavailable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FailurePolicy {
    /// Refuses the Pod.
    #[default]
    Fail,
    /// Creates the Pod without its sidecars.
    Ignore,
}

/// How this webhook is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// How the API server reaches it.
    pub reach: Reach,
    /// PEM certificates that the API server trusts for it. `None` keeps the registered ones: another client writes
    /// them, or they are not known yet.
    pub ca_bundle: Option<String>,
    /// The Certificate, as `NAMESPACE/NAME`, whose CA cert-manager's injector writes.
    pub inject_ca_from: Option<String>,
    /// The failure policy for Pods. Writes of SidecarSets are always refused: they would be stored without hashes.
    pub failure_policy: FailurePolicy,
    /// Namespaces whose Pods are never sent, including our own.
    pub excluded_namespaces: BTreeSet<String>,
    /// Labels and owner of the configurations.
    pub owner: Option<Owner>,
}

/// The `ClusterRole` that owns the configurations: they are deleted with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl fmt::Display for FailurePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fail => "Fail",
            Self::Ignore => "Ignore",
        })
    }
}

impl Registration {
    /// Returns whether the API server can trust this webhook. Registered before that, it would only fail.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.ca_bundle.is_some() || self.inject_ca_from.is_some()
    }

    /// Returns the `MutatingWebhookConfiguration`. With an empty scope it has no webhook for Pods.
    #[must_use]
    pub fn mutating(&self, scope: &Scope) -> Value {
        let mut sets = sidecarsets();
        sets["reinvocationPolicy"] = "IfNeeded".into();
        let pods = self.pods(scope).map(|pods| (Webhook::MutatePod, pods));
        let webhooks = pods.into_iter().chain([(Webhook::MutateSidecarSet, sets)]);
        self.configuration("MutatingWebhookConfiguration", MUTATING, webhooks)
    }

    /// Returns the webhook for Pods, if some are sent.
    fn pods(&self, scope: &Scope) -> Option<Value> {
        let not_a_mirror =
            format!("!has(object.metadata.annotations) || !('{}' in object.metadata.annotations)", keys::MIRROR_POD);
        let mut conditions = vec![json!({"name": "not-a-mirror-pod", "expression": not_a_mirror})];
        match scope {
            Scope::Labels(labels) if labels.is_empty() => return None,
            Scope::Labels(labels) => {
                conditions.push(json!({"name": SELECTED, "expression": scope::expression(labels)}));
            }
            Scope::Broad => {}
        }
        Some(json!({
            "name": PODS,
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "Namespaced",
            }],
            "namespaceSelector": {"matchExpressions": [
                {"key": keys::NAMESPACE_NAME, "operator": "NotIn", "values": self.excluded_namespaces}
            ]},
            "matchConditions": conditions,
            "failurePolicy": self.failure_policy.to_string(),
            "reinvocationPolicy": "IfNeeded",
            "sideEffects": "None",
        }))
    }

    /// Returns the `ValidatingWebhookConfiguration`.
    #[must_use]
    pub fn validating(&self) -> Value {
        let mut sets = sidecarsets();
        sets["sideEffects"] = "NoneOnDryRun".into(); // it widens the scope
        self.configuration("ValidatingWebhookConfiguration", VALIDATING, [(Webhook::ValidateSidecarSet, sets)])
    }

    /// Returns the conversion of the CRD. The rest is not ours.
    #[must_use]
    pub fn conversion(&self) -> Value {
        let mut crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": CRD},
            "spec": {"conversion": {
                "strategy": "Webhook",
                "webhook": {
                    "clientConfig": self.client(CONVERSION_SERVICE, Webhook::Convert),
                    "conversionReviewVersions": ["v1"],
                },
            }},
        });
        self.annotate(&mut crd);
        crd
    }

    fn annotate(&self, object: &mut Value) {
        if let Some(certificate) = &self.inject_ca_from {
            object["metadata"]["annotations"] = json!({keys::INJECT_CA_FROM: certificate});
        }
    }

    fn configuration(&self, kind: &str, name: &str, webhooks: impl IntoIterator<Item = (Webhook, Value)>) -> Value {
        let webhooks = webhooks.into_iter().map(|(path, mut webhook)| {
            webhook["clientConfig"] = self.client(SERVICE, path);
            // Defaults are written too, so that an edit of one is undone.
            webhook["admissionReviewVersions"] = json!(["v1"]);
            webhook["matchPolicy"] = "Equivalent".into();
            webhook["objectSelector"] = json!({});
            webhook["timeoutSeconds"] = timeout_seconds(path).into();
            webhook
        });
        let webhooks: Vec<Value> = webhooks.collect();
        let mut configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": name, "labels": {keys::MANAGED_BY: "outrigger"}},
            "webhooks": webhooks,
        });
        self.annotate(&mut configuration);
        if let Some(Owner { name, uid }) = &self.owner {
            configuration["metadata"]["ownerReferences"] = json!([
                {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": name, "uid": uid}
            ]);
        }
        configuration
    }

    fn client(&self, service: &str, webhook: Webhook) -> Value {
        // The two exclude each other.
        let mut client = match &self.reach {
            Reach::Service { namespace, port } => {
                let path = webhook.path();
                json!({"service": {"name": service, "namespace": namespace, "path": path, "port": port}, "url": null})
            }
            Reach::Url(base) => {
                json!({"url": format!("{}{}", base.trim_end_matches('/'), webhook.path()), "service": null})
            }
        };
        if let Some(pem) = &self.ca_bundle {
            client["caBundle"] = STANDARD.encode(pem).into();
        }
        client
    }
}

/// Returns the Pods that this `MutatingWebhookConfiguration` sends; `None` if its expression is not ours.
#[must_use]
pub fn registered_scope(mutating: &Value) -> Option<Scope> {
    let Some(pods) = position(&mutating["webhooks"], PODS) else { return Some(Scope::default()) };
    let conditions = &mutating["webhooks"][pods]["matchConditions"];
    match position(conditions, SELECTED) {
        Some(selected) => scope::parse(conditions[selected]["expression"].as_str()?).map(Scope::Labels),
        None => Some(Scope::Broad),
    }
}

/// Returns the change that makes an existing `MutatingWebhookConfiguration` send these Pods and keeps everything else.
#[must_use]
pub fn rescope(registration: &Registration, scope: &Scope, present: &Value) -> Vec<PatchOperation> {
    let Some(mut wanted) = registration.pods(scope) else { return Vec::new() };
    let (path, value) = if let Some(pods) = position(&present["webhooks"], PODS) {
        let path = PointerBuf::from_tokens(["webhooks", &pods.to_string(), "matchConditions"]);
        (path, wanted["matchConditions"].take())
    } else {
        // Only the leader changes the trusted certificates.
        let mut whole = Registration { ca_bundle: None, ..registration.clone() }.mutating(scope);
        keep_bundles(&mut whole, present);
        (PointerBuf::from_tokens(["webhooks", "0"]), whole["webhooks"][0].take())
    };
    vec![PatchOperation::Add(AddOperation { path, value })]
}

/// Copies the certificates of an existing webhook to a new one when another client writes them: until that client
/// writes them, the new one could not be called.
pub fn keep_bundles(desired: &mut Value, present: &Value) {
    let there = present["webhooks"].as_array().into_iter().flatten();
    let Some(bundle) = there.map(|webhook| &webhook["clientConfig"]["caBundle"]).find(|bundle| bundle.is_string())
    else {
        return;
    };
    for webhook in desired["webhooks"].as_array_mut().into_iter().flatten() {
        let is_new = webhook["name"].as_str().is_some_and(|name| position(&present["webhooks"], name).is_none());
        if is_new && webhook["clientConfig"].get("caBundle").is_none() {
            webhook["clientConfig"]["caBundle"] = bundle.clone();
        }
    }
}

/// Returns the index of an item of this name in a list.
fn position(list: &Value, name: &str) -> Option<usize> {
    list.as_array()?.iter().position(|item| item["name"] == name)
}

/// Returns a webhook for the writes of SidecarSets.
fn sidecarsets() -> Value {
    json!({
        "name": "sidecarsets.outrigger.dev",
        "rules": [{
            "apiGroups": ["apps.kruise.io"], "apiVersions": ["v1alpha1", "v1beta1"], "operations": ["CREATE", "UPDATE"],
            "resources": ["sidecarsets"], "scope": "Cluster",
        }],
        "namespaceSelector": {},
        "failurePolicy": "Fail",
        "sideEffects": "None",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration() -> Registration {
        Registration {
            reach: Reach::Service { namespace: "outrigger-system".to_owned(), port: 443 },
            ca_bundle: Some("PEM".to_owned()),
            inject_ca_from: None,
            failure_policy: FailurePolicy::Ignore,
            excluded_namespaces: ["kube-system", "outrigger-system"].map(str::to_owned).into(),
            owner: Some(Owner { name: "outrigger".to_owned(), uid: "u-1".to_owned() }),
        }
    }

    #[test]
    fn pods_of_excluded_namespaces_and_mirror_pods_are_not_sent() {
        let mutating = registration().mutating(&Scope::Broad);
        let pods = &mutating["webhooks"][0];
        let expressions = json!([
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "outrigger-system"]}
        ]);
        assert_eq!(pods["namespaceSelector"]["matchExpressions"], expressions);
        assert!(pods["matchConditions"][0]["expression"].as_str().unwrap().contains("kubernetes.io/config.mirror"));
        assert_eq!((&pods["failurePolicy"], &pods["timeoutSeconds"]), (&json!("Ignore"), &json!(5)));
    }

    #[test]
    fn writes_of_sidecarsets_are_refused_while_nothing_answers() {
        let (mutating, validating) = (registration().mutating(&Scope::default()), registration().validating());
        for webhook in [&mutating["webhooks"][0], &validating["webhooks"][0]] {
            assert_eq!((&webhook["failurePolicy"], &webhook["timeoutSeconds"]), (&json!("Fail"), &json!(10)));
        }
    }

    #[test]
    fn conversion_is_reached_by_a_service_of_its_own() {
        let conversion = registration().conversion();
        assert_eq!(
            conversion["spec"]["conversion"]["webhook"]["clientConfig"]["service"],
            json!({"name": "outrigger-conversion", "namespace": "outrigger-system", "path": "/convert", "port": 443})
        );
    }

    #[test]
    fn by_url_no_service_is_left() {
        let by_url = Registration { reach: Reach::Url("https://127.0.0.1:9443/".to_owned()), ..registration() };
        assert_eq!(
            by_url.mutating(&Scope::Broad)["webhooks"][0]["clientConfig"],
            json!({"url": "https://127.0.0.1:9443/mutate-pod", "service": null, "caBundle": "UEVN"})
        );
    }

    #[test]
    fn a_bundle_that_somebody_else_writes_is_not_mentioned() {
        let theirs = Registration { ca_bundle: None, ..registration() };
        assert_eq!(theirs.validating()["webhooks"][0]["clientConfig"].get("caBundle"), None);
        assert!(!theirs.is_trusted());
    }

    #[test]
    fn cert_managers_injector_is_told_which_ca_to_write() {
        let certificate = Some("outrigger-system/outrigger-webhook".to_owned());
        let theirs = Registration { ca_bundle: None, inject_ca_from: certificate, ..registration() };
        for object in [theirs.validating(), theirs.conversion()] {
            let annotation = &object["metadata"]["annotations"]["cert-manager.io/inject-ca-from"];
            assert_eq!(annotation, "outrigger-system/outrigger-webhook");
        }
        assert!(theirs.is_trusted());
        assert_eq!(registration().validating()["metadata"].get("annotations"), None);
    }

    fn scopes() -> [Scope; 3] {
        [Scope::default(), Scope::Labels([("app".to_owned(), ["web".to_owned()].into())].into()), Scope::Broad]
    }

    #[test]
    fn the_scope_that_is_registered_can_be_read() {
        for scope in scopes() {
            assert_eq!(registered_scope(&registration().mutating(&scope)), Some(scope));
        }
        let mut edited = registration().mutating(&scopes()[1]);
        edited["webhooks"][0]["matchConditions"][1]["expression"] = "true".into();
        assert_eq!(registered_scope(&edited), None);
    }

    fn rescoped(registration: &Registration, scope: &Scope, present: &mut Value) {
        let patch = rescope(registration, scope, present);
        json_patch::patch(present, &patch).unwrap();
    }

    #[test]
    fn another_scope_changes_nothing_else() {
        let one_more = Scope::Labels([("app".to_owned(), ["db".to_owned(), "web".to_owned()].into())].into());
        let wider = [one_more.clone(), Scope::Broad];
        for (before, after) in scopes()[..2].iter().flat_map(|before| wider.iter().map(move |after| (before, after))) {
            let mut present = registration().mutating(before);
            rescoped(&registration(), after, &mut present);
            assert_eq!(present, registration().mutating(after));
        }
        let mut present = registration().mutating(&scopes()[1]);
        present["webhooks"][0]["timeoutSeconds"] = 30.into();
        rescoped(&registration(), &one_more, &mut present);
        assert_eq!(present["webhooks"][0]["timeoutSeconds"], 30, "that is the leader's to repair");
    }

    #[test]
    fn a_webhook_that_is_new_has_the_bundle_that_somebody_else_wrote() {
        let theirs = Registration { ca_bundle: None, ..registration() };
        let mut present = theirs.mutating(&Scope::default());
        present["webhooks"][0]["clientConfig"]["caBundle"] = "VEhFSVJT".into();
        rescoped(&theirs, &Scope::Broad, &mut present);
        assert_eq!(present["webhooks"][0]["clientConfig"]["caBundle"], "VEhFSVJT");
    }
}
