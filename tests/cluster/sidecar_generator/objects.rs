//! SidecarGenerators and Sidecars of tests, and their state in the control plane.

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use outrigger_testbed::{Case, wait_for};
use serde_json::{Value, json};

use crate::outrigger::PATIENCE;

/// The annotation of a Sidecar with the hash of its spec.
pub const HASH: &str = "sidecar-generator-operator/sidecar-spec-hash";

/// A good answer.
pub const GOOD: &str = r#"[{"hosts":["./*","istio-system/*"]}]"#;

/// The SidecarGenerators of a namespace and their objects.
#[derive(Clone)]
pub struct Objects {
    /// With every stored field.
    pub generators: Api<DynamicObject>,
    /// Istio's, as v1.
    pub sidecars: Api<DynamicObject>,
    events: Api<Event>,
}

/// A SidecarGenerator for Pods with the label `app: NAME`, with further fields of the spec; `null` removes one. By default it
/// requests its URL once an hour.
pub fn generator(name: &str, url: &str, more: &Value) -> Value {
    let mut generator = json!({
        "apiVersion": "networking.example.com/v1alpha1", "kind": "SidecarGenerator", "metadata": {"name": name},
        "spec": {"url": url, "refreshPeriod": "1h", "workloadSelector": {"labels": {"app": name}}},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        generator["spec"][field] = value.clone();
    }
    if let Some(spec) = generator["spec"].as_object_mut() {
        spec.retain(|_, value| !value.is_null());
    }
    generator
}

/// Further fields of the spec: the URL is requested once a second, which is the minimum period.
pub fn every_second() -> Value {
    json!({"refreshPeriod": "1s"})
}

/// A Sidecar written by hand.
pub fn sidecar(name: &str, labels: &Value, hosts: &[&str]) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": {"name": name},
        "spec": {"workloadSelector": {"labels": labels}, "egress": [{"hosts": hosts}]},
    })
}

/// Returns a condition of a generator.
pub fn condition<'g>(generator: &'g Value, type_: &str) -> &'g Value {
    let mut all = generator["status"]["conditions"].as_array().into_iter().flatten();
    all.find(|condition| condition["type"] == type_).unwrap_or(&Value::Null)
}

/// Returns a time in the status.
pub fn time(generator: &Value, field: &str) -> Result<Timestamp> {
    let text = generator["status"][field].as_str().with_context(|| format!("no {field}: {}", generator["status"]))?;
    Ok(text.parse()?)
}

/// Returns when the URL last answered well.
pub fn last(generator: &Value) -> Result<Timestamp> {
    time(generator, "lastSidecarGeneratorUpdate")
}

/// Returns when the URL is requested next.
pub fn next(generator: &Value) -> Result<Timestamp> {
    time(generator, "nextSidecarGeneratorUpdate")
}

impl Objects {
    /// Uses the test's namespace.
    pub fn of<W>(case: &Case<W>) -> Self {
        let api = |group: &str, version: &str, kind: &str| {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            Api::namespaced_with(case.plane.client(), case.namespace.name(), &resource)
        };
        Self {
            generators: api("networking.example.com", "v1alpha1", "SidecarGenerator"),
            sidecars: api("networking.istio.io", "v1", "Sidecar"),
            events: case.namespace.api(),
        }
    }

    /// Writes a SidecarGenerator, and removes other fields of an earlier one with this name.
    pub async fn apply(&self, generator: &Value) -> Result<()> {
        Self::write(&self.generators, generator).await
    }

    /// Writes a Sidecar as another manager.
    pub async fn apply_sidecar(&self, sidecar: &Value) -> Result<()> {
        Self::write(&self.sidecars, sidecar).await
    }

    async fn write(api: &Api<DynamicObject>, object: &Value) -> Result<()> {
        let name = object["metadata"]["name"].as_str().context("an object without name")?;
        let params = PatchParams::apply("outrigger-test").force();
        api.patch(name, &params, &Patch::Apply(object)).await?;
        Ok(())
    }

    /// Changes a SidecarGenerator with a merge patch.
    pub async fn change(&self, name: &str, patch: Value) -> Result<()> {
        self.generators.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Changes a Sidecar with a merge patch, like `kubectl edit`.
    pub async fn edit(&self, name: &str, patch: Value) -> Result<()> {
        self.sidecars.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Returns the current SidecarGenerator.
    pub async fn generator(&self, name: &str) -> Result<Value> {
        Ok(serde_json::to_value(self.generators.get(name).await?)?)
    }

    /// Returns the current Sidecar.
    pub async fn sidecar(&self, name: &str) -> Result<Value> {
        Ok(serde_json::to_value(self.sidecars.get(name).await?)?)
    }

    /// Waits until a Sidecar meets the condition.
    pub async fn sidecar_where(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        wait_for(&format!("Sidecar {name} to be {what}"), PATIENCE, async || {
            let sidecar = self.sidecar(name).await?;
            ensure!(is(&sidecar), "{sidecar}");
            Ok(Some(sidecar))
        })
        .await
    }

    /// Waits until a Sidecar has one listener with these hosts.
    pub async fn hosts(&self, name: &str, hosts: &[&str]) -> Result<Value> {
        let egress = json!([{"hosts": hosts}]);
        self.sidecar_where(name, &format!("for {hosts:?}"), |sidecar| sidecar["spec"]["egress"] == egress).await
    }

    /// Waits until an object is gone.
    pub async fn gone(&self, api: &Api<DynamicObject>, name: &str) -> Result<()> {
        wait_for(&format!("{name} to be gone"), PATIENCE, async || {
            let object = api.get_opt(name).await?;
            ensure!(object.is_none(), "{object:?}");
            Ok(Some(()))
        })
        .await
    }

    /// Waits until the status of a generator describes its current spec and meets the condition.
    pub async fn generator_where(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        wait_for(&format!("SidecarGenerator {name} to be {what}"), PATIENCE, async || {
            let generator = self.generator(name).await?;
            let status = &generator["status"];
            ensure!(status["observedGeneration"] == generator["metadata"]["generation"], "not observed: {generator}");
            ensure!(is(&generator), "{status}");
            Ok(Some(generator))
        })
        .await
    }

    /// Waits until a condition has this status and reason.
    pub async fn condition(&self, name: &str, type_: &str, status: &str, reason: &str) -> Result<Value> {
        self.generator_where(name, &format!("{type_} {status}/{reason}"), |generator| {
            let condition = condition(generator, type_);
            condition["status"] == status && condition["reason"] == reason
        })
        .await
    }

    /// Waits until everything is up to date.
    pub async fn reconciled(&self, name: &str) -> Result<Value> {
        self.condition(name, "Ready", "True", "Current").await
    }

    /// Waits until the last fetch failed for this reason.
    pub async fn failed(&self, name: &str, reason: &str) -> Result<Value> {
        let generator = self.condition(name, "Ready", "False", reason).await?;
        let reconciled = condition(&generator, "Reconciled");
        ensure!(reconciled["status"] == "False" && reconciled["reason"] == "ReconcileError", "{reconciled}");
        let message = reconciled["message"].as_str().context("no message")?;
        ensure!(message.starts_with("Failed to reconcile SidecarGenerator: "), "{message}");
        Ok(generator)
    }

    /// Waits until the last fetch failed with these words in the message.
    pub async fn failed_with(&self, name: &str, reason: &str, words: &[&str]) -> Result<Value> {
        let generator = self.failed(name, reason).await?;
        let message = condition(&generator, "Reconciled")["message"].as_str().unwrap_or_default().to_owned();
        for word in words {
            ensure!(message.contains(word), "{name}: {word:?} is not in {message:?}");
        }
        Ok(generator)
    }

    /// Returns the Events about a generator.
    pub async fn events(&self, name: &str) -> Result<Vec<Event>> {
        let fields = format!("regarding.kind=SidecarGenerator,regarding.name={name}");
        Ok(self.events.list(&ListParams::default().fields(&fields)).await?.items)
    }

    /// Waits for an Event about a generator.
    pub async fn event(&self, name: &str, type_: &str, reason: &str) -> Result<Event> {
        wait_for(&format!("Event {reason} about {name}"), PATIENCE, async || {
            let events = self.events(name).await?;
            let is = |event: &&Event| event.type_.as_deref() == Some(type_) && event.reason.as_deref() == Some(reason);
            let found = events.iter().find(is).cloned();
            found
                .map(Some)
                .with_context(|| format!("{:?}", events.iter().map(|event| &event.reason).collect::<Vec<_>>()))
        })
        .await
    }
}
