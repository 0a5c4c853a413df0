//! outrigger is killed once before and once after each of its writes, and restarted. In the end everything is as if
//! nothing had happened.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Resource, ResourceExt};
use outrigger::api::keys;
use outrigger::cluster::failpoint::{KILLED, WRITES};
use outrigger_testbed::{Case, ControlPlane, wait_for};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::future::pending;
use std::path::PathBuf;

use crate::outrigger::{Outrigger, PATIENCE, Start, install, registered};
use crate::revisions;
use crate::seen::{self, REVISIONS};
use crate::sidecar_generator::objects::{Objects, every_second, generator};
use crate::web::Web;

/// The name of the SidecarSet and the SidecarGenerator.
const NAME: &str = "killed";

/// The state between two rounds.
struct World<'c> {
    case: &'c Case<()>,
    kubeconfig: PathBuf,
    web: Web,
    objects: Objects,
    /// The desired content, the previous one, whose revision also exists, and the first one that has not existed yet.
    wanted: u32,
    before: u32,
    unused: u32,
}

/// Kills at all writes of these groups, given by prefixes of their names.
async fn killed_at_each(case: &Case<()>, groups: &[&str]) -> Result<()> {
    let mut world = World::new(case).await?;
    let group = |write: &str| write.split('.').next().unwrap_or_default().to_owned();
    let writes: Vec<_> = WRITES.iter().filter(|write| groups.contains(&group(write).as_str())).collect();
    ensure!(!writes.is_empty() && groups.iter().all(|name| writes.iter().any(|write| group(write) == *name)));
    for write in writes {
        for moment in ["before", "after"] {
            let round = format!("{write}.{moment}");
            world.round(write, &round).await.with_context(|| format!("killed at {round}"))?;
        }
    }
    Ok(())
}

/// Status and revisions of a SidecarSet, and the registration for its Pods.
pub async fn a_set_is_right_after_a_kill_at_each_write(case: Case<()>) -> Result<()> {
    killed_at_each(&case, &["rollout", "widening"]).await
}

/// The webhooks, the conversion, and their CA.
pub async fn the_registration_is_right_after_a_kill_at_each_write(case: Case<()>) -> Result<()> {
    killed_at_each(&case, &["registration", "authority"]).await
}

/// Sidecars, and the status of their generators.
pub async fn a_sidecar_is_right_after_a_kill_at_each_write(case: Case<()>) -> Result<()> {
    killed_at_each(&case, &["generator"]).await
}

/// The storage version of SidecarSets, and leadership.
pub async fn migration_and_leadership_go_on_after_a_kill_at_each_write(case: Case<()>) -> Result<()> {
    killed_at_each(&case, &["migration", "lease"]).await
}

impl<'c> World<'c> {
    async fn new(case: &'c Case<()>) -> Result<Self> {
        case.plane.install_istio_crds().await?;
        let kubeconfig = install(&case.plane).await?;
        let (web, objects) = (Web::http().await?, Objects::of(case));
        let mut world = Self { case, kubeconfig, web, objects, wanted: 0, before: 0, unused: 1 };
        let outrigger = world.start(None, false)?;
        for _ in 0..2 {
            world.want_new();
            world.edit().await?;
            world.is_right().await?;
        }
        outrigger.stop().await?;
        Ok(world)
    }

    /// Starts outrigger to be killed at a failpoint. It leads at once without election, because a dead leader's Lease
    /// would have to expire.
    fn start(&self, failpoint: Option<&str>, elected: bool) -> Result<Outrigger> {
        let elect = format!("--leader-elect={elected}");
        let args = vec!["--fetch-allow=127.0.0.1".to_owned(), "--min-refresh-period=1s".to_owned(), elect];
        let failpoint = failpoint.map(|failpoint| format!("{failpoint}=return"));
        Outrigger::start(&self.case.plane, Start { args, failpoint, ..Start::with(&self.kubeconfig) })
    }

    async fn round(&mut self, write: &str, failpoint: &str) -> Result<()> {
        let elected = write.starts_with("lease.");
        if ["rollout.revision.remake", "rollout.revision.remove", "rollout.revision.renumber"].contains(&write) {
            std::mem::swap(&mut self.wanted, &mut self.before);
        } else {
            self.want_new();
        }
        self.provoke(write).await?;
        let mut armed = self.start(Some(failpoint), elected)?;
        if write == "lease.release" {
            registered(&self.case.plane).await?;
            armed.process().signal("TERM")?;
        }
        let edited = async {
            // It may be dead before the edit is accepted.
            _ = self.edit().await;
            pending::<Result<_>>().await
        };
        let status = tokio::select! {
            status = armed.process().ended(PATIENCE) => status?,
            never = edited => never?,
        };
        ensure!(status.code() == Some(KILLED), "it ended with {status}");
        if write == "registration.remove" {
            let switch = self.ours::<ConfigMap>();
            switch.delete("outrigger-disabled", &DeleteParams::default()).await?;
        }

        let outrigger = self.start(None, elected)?;
        self.edit().await?;
        self.is_right().await?;
        outrigger.stop().await?;
        Ok(())
    }

    fn want_new(&mut self) {
        (self.before, self.wanted) = (self.wanted, self.unused);
        self.unused += 1;
    }

    /// Creates the state in which a starting outrigger makes this write, in addition to the edit.
    async fn provoke(&self, write: &str) -> Result<()> {
        let (merge, gone) = (PatchParams::default(), DeleteParams::default());
        match write {
            "authority.change" => {
                let garbage = json!({"data": {"tls.crt": "Z2FyYmFnZQ==", "tls.key": "Z2FyYmFnZQ=="}});
                self.ours::<Secret>().patch("outrigger-webhook-ca", &merge, &Patch::Merge(garbage)).await?;
            }
            "authority.create" => {
                self.ours::<Secret>().delete("outrigger-webhook-ca", &gone).await?;
            }
            "generator.sidecar.create" => {
                self.objects.sidecars.delete(NAME, &gone).await?;
            }
            "lease.create" => {
                let lease = self.ours::<Lease>();
                if lease.get_opt("outrigger").await?.is_some() {
                    lease.delete("outrigger", &gone).await?;
                }
            }
            "migration.crd" | "migration.set" => {
                let stored = json!({"status": {"storedVersions": ["v1alpha1", "v1beta1"]}});
                let crds = self.all::<CustomResourceDefinition>();
                crds.patch_status("sidecarsets.apps.kruise.io", &merge, &Patch::Merge(stored)).await?;
            }
            "rollout.revision.remake" | "rollout.revision.remove" => {
                let api: Api<ControllerRevision> = Api::namespaced(self.case.plane.client(), REVISIONS);
                let all = api.list(&ListParams::default()).await?.items;
                let wanted = all.iter().find(|revision| {
                    revision.data.as_ref().is_some_and(|data| data.0.to_string().contains(&self.image()))
                });
                let name = wanted.context("no revision to go back to")?.name_any();
                revisions::write_unescaped(&self.case.plane, &name).await?;
            }
            "registration.inject-ca-from" => {
                let annotated = json!({"metadata": {"annotations": {keys::INJECT_CA_FROM: "a/b"}}});
                let configurations = self.all::<MutatingWebhookConfiguration>();
                configurations.patch("outrigger-mutating", &merge, &Patch::Merge(annotated)).await?;
            }
            "registration.remove" => {
                let switch = json!({"metadata": {"name": "outrigger-disabled"}});
                self.ours().create(&PostParams::default(), &serde_json::from_value::<ConfigMap>(switch)?).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns a new selector each time, so that the registration must be widened.
    fn app(&self) -> String {
        format!("{NAME}-{}", self.wanted)
    }

    fn image(&self) -> String {
        format!("side:{}", self.wanted)
    }

    fn host(&self) -> String {
        format!("ns-{}/*", self.wanted)
    }

    /// Writes the desired state.
    async fn edit(&self) -> Result<()> {
        self.web.says("/", json!([{"hosts": ["./*", self.host()]}]).to_string());
        self.objects.apply(&generator(NAME, &self.web.url("/"), &every_second())).await?;
        let selector = json!({"matchLabels": {"app": self.app()}});
        let mut set = seen::set(NAME, &self.image(), &json!({"selector": selector, "revisionHistoryLimit": 2}));
        // Revisions of this command can be written in a form that cannot be patched.
        set["spec"]["containers"][0]["command"] = json!(["sh", "-c", "init && run"]);
        seen::apply(&self.case.plane, &set).await
    }

    /// Waits until everything is up to date.
    async fn is_right(&self) -> Result<()> {
        let plane = &self.case.plane;
        registered(plane).await?;
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "labels": {"app": self.app()}},
            "spec": {"containers": [{"name": "app", "image": "app:1"}]},
        }))?;
        let pods: Api<Pod> = self.case.namespace.api();
        wait_for("Pods to be injected", PATIENCE, async || {
            let containers = pods.create(&dry_run, &pod).await?.spec.context("no spec")?.containers;
            let injected = containers.iter().find(|container| container.name == "sidecar").context("not injected")?;
            ensure!(injected.image == Some(self.image()), "{injected:?}");
            Ok(Some(()))
        })
        .await?;

        let revisions: Api<ControllerRevision> = Api::namespaced(plane.client(), REVISIONS);
        wait_for("status and revisions to be right", PATIENCE, async || {
            let set = seen::status(plane, NAME, &json!({})).await?;
            let all = revisions.list(&ListParams::default()).await?.items;
            let latest = set["status"]["latestRevision"].as_str().context("no latestRevision")?;
            let revision = all.iter().find(|revision| revision.name_any() == latest).context("no such revision")?;
            ensure!(serde_json::to_string(revision)?.contains(&self.image()), "the revision is another's");
            ensure!(all.iter().all(|other| other.revision <= revision.revision), "the present one is not the highest");
            ensure!(all.len() == if self.before == 0 { 1 } else { 2 }, "{} revisions", all.len());
            ensure!(seen::kstatus(&set) == "Current", "{}", set["status"]);
            Ok(Some(()))
        })
        .await?;

        let old = GroupVersionKind::gvk("apps.kruise.io", "v1alpha1", "SidecarSet");
        let old: Api<DynamicObject> = Api::all_with(plane.client(), &ApiResource::from_gvk(&old));
        wait_for("webhooks, conversion and storage version to be right", PATIENCE, async || {
            let set = old.get(NAME).await?;
            ensure!(set.data["spec"]["containers"][0]["image"] == self.image(), "{}", set.data);
            let mutating = self.all::<MutatingWebhookConfiguration>().get("outrigger-mutating").await?;
            ensure!(!mutating.annotations().contains_key(keys::INJECT_CA_FROM), "another writes the CA");
            self.all::<ValidatingWebhookConfiguration>().get("outrigger-validating").await?;
            let crd = self.all::<CustomResourceDefinition>().get("sidecarsets.apps.kruise.io").await?;
            let stored = crd.status.and_then(|status| status.stored_versions);
            ensure!(stored == Some(vec!["v1beta1".to_owned()]), "{stored:?}");
            Ok(Some(()))
        })
        .await?;

        self.objects.hosts(NAME, &["./*", &self.host()]).await?;
        let sidecar = self.objects.sidecar(NAME).await?;
        ensure!(
            sidecar["metadata"]["ownerReferences"][0]["name"] == NAME,
            "{}",
            Value::to_string(&sidecar["metadata"])
        );
        self.objects.reconciled(NAME).await?;
        Ok(())
    }

    fn ours<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        Api::namespaced(self.plane().client(), "outrigger-system")
    }

    fn all<K>(&self) -> Api<K>
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        Api::all(self.plane().client())
    }

    fn plane(&self) -> &ControlPlane {
        &self.case.plane
    }
}
