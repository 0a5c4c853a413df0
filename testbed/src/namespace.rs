//! A namespace of one test.

use std::{
    fmt::Debug,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Namespace, ServiceAccount},
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

use crate::{Kubectl, Output, wait_for};

/// Distinguishes namespaces with the same test name.
static COUNT: AtomicU32 = AtomicU32::new(1);

/// A namespace for one test. Its label `outrigger.dev/test` has its own name as value.
#[derive(Clone)]
pub struct TestNamespace {
    name: String,
    client: Client,
    kubectl: Kubectl,
}

impl TestNamespace {
    /// Creates a namespace named after the test. If `controllers` run, waits for its ServiceAccount `default`,
    /// without which Pods are rejected.
    pub(crate) async fn create(test: &str, client: Client, kubectl: Kubectl, controllers: bool) -> Result<Self> {
        let name = format!("{}-{}", dns_label(test), COUNT.fetch_add(1, Ordering::Relaxed));
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name, "labels": {"outrigger.dev/test": name}}}))?;
        Api::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("namespace {name} cannot be created"))?;
        let created = Self { name, client, kubectl };
        if controllers {
            let accounts = created.api::<ServiceAccount>();
            let what = format!("ServiceAccount default of namespace {}", created.name);
            wait_for(&what, Duration::from_secs(30), async || Ok(accounts.get_opt("default").await?)).await?;
        }
        Ok(created)
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the admin's API for the objects of one kind in this namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType: Default>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Runs `kubectl --namespace NAME ARGUMENTS`.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub async fn kubectl(&self, arguments: &[&str], stdin: Option<&str>) -> Result<Output> {
        let mut all = vec!["--namespace", &self.name];
        all.extend(arguments);
        self.kubectl.run(&all, stdin).await
    }

    /// Runs `kubectl apply` with these objects. This is their default namespace.
    ///
    /// # Errors
    /// As [`Kubectl::apply`].
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        self.kubectl.apply(&self.name, yaml).await
    }

    /// Deletes the namespace without waiting until it is gone.
    ///
    /// # Errors
    /// When the API server rejects it.
    pub async fn delete(self) -> Result<()> {
        Api::<Namespace>::all(self.client).delete(&self.name, &DeleteParams::default()).await?;
        Ok(())
    }
}

impl Debug for TestNamespace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("TestNamespace").field(&self.name).finish()
    }
}

/// Returns a valid namespace name that leaves space for a number.
fn dns_label(test: &str) -> String {
    let letters = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let label: String = test.chars().map(letters).collect();
    let words: Vec<_> = label.split('-').filter(|word| !word.is_empty()).collect();
    let label = words.join("-");
    format!("t-{}", label.get(..50).unwrap_or(&label).trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_test_name_gives_a_name_that_a_namespace_may_have() {
        assert_eq!(dns_label("rollout::A_set (v1beta1)"), "t-rollout-a-set-v1beta1");
        assert_eq!(dns_label(&"x_".repeat(40)), format!("t-{}", ["x"; 25].join("-")));
        assert_eq!(dns_label("ä"), "t-");
    }
}
