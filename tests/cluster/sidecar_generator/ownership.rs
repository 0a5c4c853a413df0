//! Ownership of Sidecars, and of their parts.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use outrigger_testbed::Case;
use serde_json::{Value, json};

use super::objects::{GOOD, HASH, Objects, condition, every_second, generator, sidecar};
use crate::outrigger::Outrigger;
use crate::web::Web;

const GOOD_HOSTS: [&str; 2] = ["./*", "istio-system/*"];

/// An ownerReference that makes a ConfigMap the controller, or only an owner, of an object.
async fn owner(case: &Case<Outrigger>, name: &str, controller: bool) -> Result<Value> {
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    let map = case.namespace.api::<ConfigMap>().create(&PostParams::default(), &map).await?;
    Ok(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": map.metadata.uid, "controller": controller}),
    )
}

/// An existing Sidecar is not changed, and the generator reports it, until the Sidecar is annotated.
pub async fn a_sidecar_of_somebody_else_is_left_alone_until_it_may_be_adopted(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    web.says("/", GOOD);
    let mut by_hand = sidecar("by-hand", &json!({"app": "x"}), &["shop/*"]);
    by_hand["metadata"]["labels"] = json!({"team": "theirs"});
    objects.apply_sidecar(&by_hand).await?;
    let before = objects.sidecar("by-hand").await?;
    objects.apply(&generator("by-hand", &web.url("/"), &every_second())).await?;
    let stalled = objects.condition("by-hand", "Stalled", "True", "NotOwned").await?;
    let message = condition(&stalled, "Reconciled")["message"].as_str().context("no message")?;
    assert!(message.contains("outrigger.dev/adopt"), "it is not said what to do: {message}");
    assert_eq!(condition(&stalled, "Ready")["status"], "False");
    objects.event("by-hand", "Warning", "NotOwned").await?;
    assert_eq!(objects.sidecar("by-hand").await?, before);

    objects.edit("by-hand", json!({"metadata": {"annotations": {"outrigger.dev/adopt": "true"}}})).await?;
    let generator = objects.reconciled("by-hand").await?;
    assert_eq!(condition(&generator, "Stalled")["status"], "False");
    let adopted = objects.hosts("by-hand", &GOOD_HOSTS).await?;
    assert_eq!(adopted["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(adopted["metadata"]["labels"], json!({"team": "theirs"}));
    assert_eq!(adopted["spec"]["workloadSelector"], json!({"labels": {"app": "by-hand"}}));
    let owners = json!([{
        "apiVersion": "networking.example.com/v1alpha1", "kind": "SidecarGenerator", "name": "by-hand",
        "uid": generator["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    }]);
    assert_eq!(adopted["metadata"]["ownerReferences"], owners);
    Ok(())
}

/// No annotation gives away an object of another controller.
pub async fn a_sidecar_of_another_controller_cannot_be_adopted(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    web.says("/", GOOD);
    let mut owned = sidecar("owned", &json!({"app": "x"}), &["shop/*"]);
    owned["metadata"]["annotations"] = json!({"outrigger.dev/adopt": "true", HASH: "0".repeat(64)});
    owned["metadata"]["ownerReferences"] = json!([owner(&case, "another", true).await?]);
    objects.apply_sidecar(&owned).await?;
    let before = objects.sidecar("owned").await?;
    objects.apply(&generator("owned", &web.url("/"), &every_second())).await?;
    objects.condition("owned", "Stalled", "True", "NotOwned").await?;
    assert_eq!(objects.sidecar("owned").await?, before);

    // After the other controller has released it, the hash shows that it was ours.
    objects.edit("owned", json!({"metadata": {"ownerReferences": null}})).await?;
    objects.reconciled("owned").await?;
    objects.hosts("owned", &GOOD_HOSTS).await?;
    Ok(())
}

/// Labels, annotations, finalizers and owners of others survive every write.
pub async fn what_others_put_on_a_sidecar_stays(case: Case<Outrigger>) -> Result<()> {
    let (web, objects, name) = (Web::http().await?, Objects::of(&case), "shared");
    web.says("/", GOOD);
    objects.apply(&generator(name, &web.url("/"), &every_second())).await?;
    objects.reconciled(name).await?;
    let ours = objects.sidecar(name).await?["metadata"]["ownerReferences"][0].clone();
    let theirs = owner(&case, "beside", false).await?;
    let metadata = json!({
        "labels": {"argocd.argoproj.io/instance": "shop"}, "annotations": {"note": "theirs"},
        "finalizers": ["test.dev/hold"], "ownerReferences": [theirs, ours],
    });
    objects.edit(name, json!({"metadata": metadata, "spec": {"egress": [{"hosts": ["*/*"]}]}})).await?;
    objects.hosts(name, &GOOD_HOSTS).await?;
    web.says("/", r#"[{"hosts":["./*"]}]"#);
    let sidecar = objects.hosts(name, &["./*"]).await?;
    for field in ["labels", "finalizers", "ownerReferences"] {
        assert_eq!(sidecar["metadata"][field], metadata[field], "{field}");
    }
    assert_eq!(sidecar["metadata"]["annotations"]["note"], "theirs");

    // Our owner reference and our hash are restored, even if they were removed together with the spec.
    let edits = [
        json!({"metadata": {"ownerReferences": [theirs]}}),
        json!({"metadata": {"ownerReferences": [theirs]}, "spec": {"egress": [{"hosts": ["*/*"]}]}}),
        json!({"metadata": {"annotations": {HASH: null}}}),
        json!({"metadata": {"annotations": {HASH: "garbage"}}, "spec": {"workloadSelector": null}}),
        json!({"spec": {"outboundTrafficPolicy": {"mode": "ALLOW_ANY"}}}),
    ];
    for edit in edits {
        objects.edit(name, edit.clone()).await?;
        objects
            .sidecar_where(name, &format!("repaired after {edit}"), |now| {
                let metadata = &now["metadata"];
                let mut owners = metadata["ownerReferences"].as_array().into_iter().flatten();
                now["spec"] == sidecar["spec"]
                    && metadata["annotations"] == sidecar["metadata"]["annotations"]
                    && metadata["labels"] == sidecar["metadata"]["labels"]
                    && owners.clone().any(|owner| *owner == ours)
                    && owners.any(|owner| owner["name"] == "beside")
            })
            .await?;
    }

    // A Sidecar that is being deleted is waited for and recreated.
    let old = objects.sidecar(name).await?["metadata"]["uid"].clone();
    objects.sidecars.delete(name, &kube::api::DeleteParams::default()).await?;
    let deleting = objects.sidecar(name).await?;
    assert!(deleting["metadata"]["deletionTimestamp"].is_string(), "{deleting}");
    objects.edit(name, json!({"metadata": {"finalizers": null}})).await?;
    objects.sidecar_where(name, "another", |now| now["metadata"]["uid"] != old).await?;
    Ok(())
}
