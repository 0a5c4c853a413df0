//! What the API server should know of this webhook, as plain objects. What they do not mention may be as it is.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api::keys;
use crate::telemetry::Webhook;

/// Name of the `MutatingWebhookConfiguration`.
pub const MUTATING: &str = "outrigger-mutating";
/// Name of the `ValidatingWebhookConfiguration`.
pub const VALIDATING: &str = "outrigger-validating";
/// Name of the `CustomResourceDefinition` whose versions this webhook converts.
pub const CRD: &str = "sidecarsets.apps.kruise.io";
/// The Service of the replicas that are ready.
pub const SERVICE: &str = "outrigger-webhook";
/// The Service of all replicas, ready or not: a replica becomes ready by a list that may need its own conversion.
pub const CONVERSION_SERVICE: &str = "outrigger-conversion";

/// Seconds that the API server waits for an answer.
const TIMEOUT_SECONDS: u8 = 5;

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

/// What happens to a Pod while this webhook cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FailurePolicy {
    /// It is refused.
    #[default]
    Fail,
    /// It is created without its sidecars.
    Ignore,
}

/// How this webhook is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// How the API server reaches it.
    pub reach: Reach,
    /// Certificates in PEM that the API server trusts for it; `None` leaves what is registered, for somebody else writes it, or
    /// they are not known yet.
    pub ca_bundle: Option<String>,
    /// The Certificate, as `NAMESPACE/NAME`, whose CA cert-manager's injector writes there.
    pub inject_ca_from: Option<String>,
    /// For Pods. Writes of SidecarSets are refused always: they would be stored without hashes.
    pub failure_policy: FailurePolicy,
    /// Namespaces whose Pods are never sent here, its own among them.
    pub excluded_namespaces: BTreeSet<String>,
    /// Labels and owner of the configurations.
    pub owner: Option<Owner>,
}

/// The `ClusterRole` whose deletion takes the configurations along.
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
    /// Whether the API server can trust this webhook: registered before that, it would only fail.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.ca_bundle.is_some() || self.inject_ca_from.is_some()
    }

    /// The `MutatingWebhookConfiguration`.
    #[must_use]
    pub fn mutating(&self) -> Value {
        let not_a_mirror =
            format!("!has(object.metadata.annotations) || !('{}' in object.metadata.annotations)", keys::MIRROR_POD);
        let pods = json!({
            "name": "pods.outrigger.dev",
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "Namespaced",
            }],
            "namespaceSelector": {"matchExpressions": [
                {"key": keys::NAMESPACE_NAME, "operator": "NotIn", "values": self.excluded_namespaces}
            ]},
            "matchConditions": [{"name": "not-a-mirror-pod", "expression": not_a_mirror}],
            "failurePolicy": self.failure_policy.to_string(),
            "reinvocationPolicy": "IfNeeded",
        });
        let mut sets = sidecarsets();
        sets["reinvocationPolicy"] = "IfNeeded".into();
        let webhooks = [(Webhook::MutatePod, pods), (Webhook::MutateSidecarSet, sets)];
        self.configuration("MutatingWebhookConfiguration", MUTATING, webhooks)
    }

    /// The `ValidatingWebhookConfiguration`.
    #[must_use]
    pub fn validating(&self) -> Value {
        self.configuration("ValidatingWebhookConfiguration", VALIDATING, [(Webhook::ValidateSidecarSet, sidecarsets())])
    }

    /// Of the CRD, the conversion: the rest is not ours.
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

    fn configuration<const N: usize>(&self, kind: &str, name: &str, webhooks: [(Webhook, Value); N]) -> Value {
        let webhooks = webhooks.map(|(path, mut webhook)| {
            webhook["clientConfig"] = self.client(SERVICE, path);
            // Defaults are written out, too: an edit of one is undone.
            webhook["admissionReviewVersions"] = json!(["v1"]);
            webhook["matchPolicy"] = "Equivalent".into();
            webhook["objectSelector"] = json!({});
            webhook["sideEffects"] = "None".into();
            webhook["timeoutSeconds"] = TIMEOUT_SECONDS.into();
            webhook
        });
        let mut configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": name, "labels": {keys::MANAGED_BY: "outrigger"}},
            "webhooks": webhooks.to_vec(),
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
        // One of the two must be gone when the other is there.
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

/// A webhook for the writes of SidecarSets.
fn sidecarsets() -> Value {
    json!({
        "name": "sidecarsets.outrigger.dev",
        "rules": [{
            "apiGroups": ["apps.kruise.io"], "apiVersions": ["v1alpha1", "v1beta1"], "operations": ["CREATE", "UPDATE"],
            "resources": ["sidecarsets"], "scope": "Cluster",
        }],
        "namespaceSelector": {},
        "failurePolicy": "Fail",
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
        let mutating = registration().mutating();
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
        let (mutating, validating) = (registration().mutating(), registration().validating());
        assert_eq!(mutating["webhooks"][1]["failurePolicy"], "Fail");
        assert_eq!(validating["webhooks"][0]["failurePolicy"], "Fail");
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
            by_url.mutating()["webhooks"][0]["clientConfig"],
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
}
