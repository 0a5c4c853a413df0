//! Server-side dry runs: answered like real requests, without effects.

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use outrigger::api::keys;
use outrigger_testbed::Case;
use serde_json::json;

use crate::outrigger::Outrigger;
use crate::seen;

/// Stored objects, reports and injection do not change.
pub async fn a_dry_run_leaves_no_trace(case: Case<Outrigger>) -> Result<()> {
    let (plane, pods, name, other) = (&case.plane, case.namespace.api::<Pod>(), "dry-run", "dry-run-only");
    seen::apply(plane, &seen::set(name, "side:1", &json!({}))).await?;
    seen::injects(&case.namespace, name, Some("side:1")).await?;
    pods.create(&PostParams::default(), &seen::pod("p", name, &json!({}))?).await?;
    let before = seen::counts(plane, name, [1, 1, 1, 1]).await?;
    let kept = seen::revisions(plane, name).await?;

    let (sets, dry) = (seen::objects(plane), PatchParams::apply("outrigger-test").force().dry_run());
    let mut new = seen::set(other, "other:1", &json!({"selector": {"matchLabels": {"app": name}}}));
    new["spec"]["containers"][0]["name"] = json!("another");
    let created = serde_json::to_value(sets.patch(other, &dry, &Patch::Apply(&new)).await?)?;
    assert!(created["metadata"]["annotations"][keys::HASH].is_string(), "defaults and hash are shown: {created}");
    let edited = seen::set(name, "side:2", &json!({}));
    let edited = serde_json::to_value(sets.patch(name, &dry, &Patch::Apply(&edited)).await?)?;
    assert_eq!(edited["metadata"]["generation"], 2);
    assert_ne!(edited["metadata"]["annotations"][keys::HASH], before["metadata"]["annotations"][keys::HASH]);
    let new_pod = seen::pod("q", name, &json!({}))?;
    let pod = pods.create(&PostParams { dry_run: true, ..PostParams::default() }, &new_pod).await?;
    assert_eq!(seen::sidecar(&pod), Some("side:1"));
    let invalid = seen::set(other, "", &json!({}));
    assert!(sets.patch(other, &dry, &Patch::Apply(&invalid)).await.is_err(), "a dry run is judged, too");
    sets.delete(name, &DeleteParams::default().dry_run()).await?;

    assert_eq!(seen::get(plane, name).await?, before);
    // When outrigger hears of the next real change, it has heard of everything before it.
    let pod = pods.create(&PostParams::default(), &new_pod).await?;
    assert_eq!(seen::sidecar(&pod), Some("side:1"));
    let containers: Vec<_> = pod.spec.into_iter().flat_map(|spec| spec.containers).map(|one| one.name).collect();
    assert_eq!(containers, ["sidecar", "app"]);
    seen::counts(plane, name, [2, 2, 2, 2]).await?;
    assert_eq!(seen::revisions(plane, name).await?, kept);
    assert!(sets.get_opt(other).await?.is_none());
    assert_eq!(seen::revisions(plane, other).await?, [json!(null); 0]);
    for set in [name, other] {
        assert_eq!(seen::events(plane, set).await?, []);
    }
    let listed: Vec<_> =
        pods.list(&ListParams::default()).await?.items.into_iter().filter_map(|pod| pod.metadata.name).collect();
    assert_eq!(listed, ["p", "q"]);
    sets.delete(name, &DeleteParams::default()).await?;
    Ok(())
}
