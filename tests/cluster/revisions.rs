//! Revisions of contents with more than one JSON form: numbered, labelled, orphaned.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use outrigger::api::keys;
use outrigger_testbed::{Case, ControlPlane, wait_for};
use serde_json::{Value, json};

use crate::outrigger::{Outrigger, PATIENCE};
use crate::seen;

/// A command as people write it, with characters that Go escapes in JSON although it need not.
const COMMAND: &str = "init && run < in > out \t \"ü\"";

fn set(name: &str, image: &str, version: &str) -> Value {
    let mut set = seen::set(name, image, &json!({"customVersion": version}));
    set["spec"]["containers"][0]["command"] = json!(["sh", "-c", COMMAND]);
    set
}

fn revisions(plane: &ControlPlane) -> Api<ControllerRevision> {
    Api::namespaced(plane.client(), "outrigger-system")
}

/// Returns the name of the latest revision once it has this number, and of its label.
async fn latest(plane: &ControlPlane, set: &str, number: i64, version: &str) -> Result<String> {
    wait_for("the latest revision", PATIENCE, async || {
        let name = seen::objects(plane).get(set).await?.data["status"]["latestRevision"].clone();
        let revision = revisions(plane).get(name.as_str().context("no latest revision")?).await?;
        let label = revision.labels().get(keys::CUSTOM_VERSION).map(String::as_str);
        ensure!((revision.revision, label) == (number, Some(version)), "{}, {label:?}", revision.revision);
        Ok(Some(revision.name_any()))
    })
    .await
}

/// Replaces a revision by one with the same data in unescaped form, as earlier versions wrote it. It cannot be patched.
pub async fn write_unescaped(plane: &ControlPlane, name: &str) -> Result<()> {
    let api = revisions(plane);
    let mut revision = api.get(name).await?;
    api.delete(name, &DeleteParams::default()).await?;
    (revision.metadata.resource_version, revision.metadata.uid) = (None, None);
    api.create(&PostParams::default(), &revision).await?;
    let label = Patch::Merge(json!({"metadata": {"labels": {"test.dev/by": "anybody"}}}));
    let refused = api.patch(name, &PatchParams::default(), &label).await;
    let refused = refused.err().context("the API server does not compare bytes any more")?;
    ensure!(refused.to_string().contains("field is immutable"), "{refused}");
    Ok(())
}

async fn orphan(plane: &ControlPlane, name: &str, revisions_left: &[&str]) -> Result<()> {
    let resource = format!("sidecarset/{name}");
    plane.kubectl(&["delete", &resource, "--cascade=orphan", "--timeout=60s"], None).await?.ok()?;
    for revision in revisions_left {
        let revision = revisions(plane).get(revision).await?;
        ensure!(revision.owner_references().is_empty(), "{:?}", revision.owner_references());
        revisions(plane).delete(&revision.name_any(), &DeleteParams::default()).await?;
    }
    Ok(())
}

/// A rollback renumbers the old revision, a new custom version labels it, and the set can be deleted without it.
pub async fn a_set_with_any_text_is_rolled_back_labelled_and_orphaned(case: Case<Outrigger>) -> Result<()> {
    let (plane, name) = (&case.plane, "any-text");
    seen::apply(plane, &set(name, "side:1", "v1")).await?;
    let first = latest(plane, name, 1, "v1").await?;
    seen::apply(plane, &set(name, "side:2", "v2")).await?;
    let second = latest(plane, name, 2, "v2").await?;
    let uid = revisions(plane).get(&first).await?.uid();
    seen::apply(plane, &set(name, "side:1", "v1-again")).await?;
    ensure!(latest(plane, name, 3, "v1-again").await? == first, "another revision");
    ensure!(revisions(plane).get(&first).await?.uid() == uid, "it was made anew");
    let kept = revisions(plane).get(&first).await?.data.context("no data")?.0;
    ensure!(kept["spec"]["containers"][0]["command"][2] == COMMAND, "{kept}");
    orphan(plane, name, &[&first, &second]).await
}

/// Revisions of earlier builds with unescaped data are recreated as soon as they must be patched.
pub async fn revisions_that_cannot_be_patched_are_made_anew(case: Case<Outrigger>) -> Result<()> {
    let (plane, name) = (&case.plane, "unescaped");
    seen::apply(plane, &set(name, "side:1", "v1")).await?;
    let first = latest(plane, name, 1, "v1").await?;
    seen::apply(plane, &set(name, "side:2", "v2")).await?;
    let second = latest(plane, name, 2, "v2").await?;
    write_unescaped(plane, &first).await?;
    seen::apply(plane, &set(name, "side:1", "v1-again")).await?;
    ensure!(latest(plane, name, 3, "v1-again").await? == first, "another revision");
    write_unescaped(plane, &second).await?;
    orphan(plane, name, &[&first, &second]).await
}
