//! SidecarSets stored past the webhook: what would make Pods be rejected is not injected, and clashing sets report it.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use outrigger_testbed::{Case, ControlPlane, wait_for};
use serde_json::{Value, json};

use crate::outrigger::{Outrigger, PATIENCE, Start, install, registered};
use crate::seen;

/// A set whose container has these additional fields.
fn with(name: &str, fields: &Value) -> Value {
    let mut set = seen::set(name, "side:1", &json!({}));
    for (field, value) in fields.as_object().into_iter().flatten() {
        set["spec"]["containers"][0][field] = value.clone();
    }
    set
}

/// Waits until the set is Stalled and its message has these texts. Returns the message.
async fn stalled(plane: &ControlPlane, name: &str, texts: &[&str]) -> Result<String> {
    let what = format!("SidecarSet {name} to be Stalled with {texts:?}");
    wait_for(&what, PATIENCE, async || {
        let set = seen::get(plane, name).await?;
        let message = seen::message(&set, "Stalled").with_context(|| format!("it is not: {set}"))?;
        ensure!(seen::kstatus(&set) == "Failed" && texts.iter().all(|text| message.contains(text)), "{set}");
        Ok(Some(message.to_owned()))
    })
    .await
}

/// Waits until the only Event about a set has this note.
async fn told(plane: &ControlPlane, name: &str, note: &str) -> Result<()> {
    wait_for(&format!("the Event about {name}"), PATIENCE, async || {
        let events = seen::events(plane, name).await?;
        let [event] = &*events else { anyhow::bail!("{} Events", events.len()) };
        ensure!(event.type_.as_deref() == Some("Warning") && event.note.as_deref() == Some(note), "{event:?}");
        Ok(Some(()))
    })
    .await
}

async fn errors(outrigger: &Outrigger, expected: usize) -> Result<()> {
    wait_for(&format!("{expected} errors to be told"), PATIENCE, async || {
        let errors = outrigger.metric("outrigger_source_errors").await?;
        ensure!(usize::try_from(errors)? == expected, "{errors} are");
        Ok(Some(()))
    })
    .await
}

/// Each kind of problem for which the API server would reject every Pod: the Pod is created without the sidecar, the set reports the
/// reason, and a restart does not report it again.
pub async fn what_pods_would_be_refused_for_is_not_injected(case: Case<()>) -> Result<()> {
    let (plane, pods) = (&case.plane, case.namespace.api::<Pod>());
    let kubeconfig = install(plane).await?;
    let faults = [
        ("bad-name", json!({"name": "A_b"}), "spec.containers[0].name"),
        ("no-image", json!({"image": null}), "spec.containers[0].image"),
        ("port-0", json!({"ports": [{"containerPort": 0}]}), "spec.containers[0].ports[0].containerPort"),
        ("negative", json!({"resources": {"limits": {"cpu": "-1"}}}), "spec.containers[0].resources.limits[cpu]"),
        (
            "no-volume",
            json!({"volumeMounts": [{"name": "none", "mountPath": "/v"}]}),
            "spec.containers[0].volumeMounts[0].name",
        ),
        (
            "no-empty-image",
            json!({"upgradeStrategy": {"upgradeType": "HotUpgrade"}}),
            "spec.containers[0].upgradeStrategy.hotUpgradeEmptyImage",
        ),
        ("no-container", json!(null), "spec.containers"),
    ];
    for (name, fields, _) in &faults {
        let mut set = with(name, fields);
        if fields.is_null() {
            set["spec"]["containers"] = json!([]);
        }
        seen::apply(plane, &set).await?;
    }
    // Rejected when it is written, but harmless for Pods.
    let loose = seen::set("loose", "side:1", &json!({"revisionHistoryLimit": -1}));
    seen::apply(plane, &loose).await?;
    for start in ["first", "second"] {
        let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
        errors(&outrigger, faults.len()).await?;
        seen::injects(&case.namespace, "loose", Some("side:1")).await?;
        let (status, page) = outrigger.page("/readyz?verbose").await?;
        assert_eq!(status, 200, "{page}");
        for (name, _, field) in &faults {
            let message = stalled(plane, name, &[field, "; it is not injected until it is corrected"]).await?;
            told(plane, name, &message).await?;
            assert!(page.contains(&format!("SidecarSet {name:?}: {field}: ")), "{page}");
            let pod =
                pods.create(&PostParams::default(), &seen::pod(&format!("{start}-{name}"), name, &json!({}))?).await?;
            assert_eq!(pod.spec.context("no spec")?.containers.len(), 1, "{name}");
        }
        outrigger.stop().await?;
    }
    let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
    for (name, _, _) in &faults {
        seen::apply(plane, &with(name, &json!({}))).await?;
        seen::injects(&case.namespace, name, Some("side:1")).await?;
        let set = seen::status(plane, name, &json!({"matchedPods": 0})).await?;
        assert_eq!(seen::kstatus(&set), "Current", "{set}");
    }
    errors(&outrigger, 0).await?;
    outrigger.stop().await
}

/// An invalid edit during break-glass is not used: new Pods get the last good revision, from every replica and after a restart.
pub async fn the_last_good_revision_stays_in_use(case: Case<()>) -> Result<()> {
    const FIELD: &str = "spec.containers[0].ports[0].containerPort: Required value";
    let (plane, name) = (&case.plane, "once-good");
    let kubeconfig = install(plane).await?;
    let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
    seen::apply(plane, &with(name, &json!({}))).await?;
    let revisions = seen::kept_images(plane, name, &[(1, "side:1")]).await?;
    let revision = revisions[0]["metadata"]["name"].as_str().context("no name")?.to_owned();

    let maps: Api<ConfigMap> = Api::namespaced(plane.client(), "outrigger-system");
    let switch: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "outrigger-disabled"}}))?;
    maps.create(&PostParams::default(), &switch).await?;
    seen::apply(plane, &with(name, &json!({"image": "side:2", "ports": [{"containerPort": 0}]}))).await?;
    let in_use = format!("the last good revision {revision} is injected");
    let message = stalled(plane, name, &[FIELD, &in_use]).await?;
    maps.delete("outrigger-disabled", &DeleteParams::default()).await?;
    registered(plane).await?;
    seen::injects_revision(&case.namespace, name, "side:1", &revision).await?;
    outrigger.stop().await?;

    let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
    seen::injects_revision(&case.namespace, name, "side:1", &revision).await?;
    errors(&outrigger, 1).await?;
    let (_, page) = outrigger.page("/readyz?verbose").await?;
    assert!(page.contains(&format!("{FIELD} (revision {revision} is injected instead)")), "{page}");
    told(plane, name, &message).await?;
    seen::kept_images(plane, name, &[(1, "side:1")]).await?;
    seen::apply(plane, &with(name, &json!({"image": "side:3"}))).await?;
    seen::injects(&case.namespace, name, Some("side:3")).await?;
    let set = seen::status(plane, name, &json!({"matchedPods": 0})).await?;
    assert_eq!(seen::kstatus(&set), "Current", "{set}");
    errors(&outrigger, 0).await?;
    outrigger.stop().await
}

/// Two sets that the webhook never compared report that their Pods are denied, until one of them is changed.
pub async fn sets_that_clash_say_so(case: Case<()>) -> Result<()> {
    let (plane, pods) = (&case.plane, case.namespace.api::<Pod>());
    let kubeconfig = install(plane).await?;
    for name in ["one", "other"] {
        let mut set = seen::set(name, "side:1", &json!({}));
        set["spec"]["selector"] = json!({"matchLabels": {"app": "both"}});
        seen::apply(plane, &set).await?;
    }
    let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
    for (name, other) in [("one", "other"), ("other", "one")] {
        let text = format!("SidecarSet {other:?} injects a container \"sidecar\", too");
        let message = stalled(plane, name, &[&text, "Pods that both match are denied"]).await?;
        told(plane, name, &message).await?;
    }
    let pod = seen::pod("p", "both", &json!({}))?;
    let denied = pods.create(&PostParams::default(), &pod).await.err().context("not denied")?;
    assert!(
        denied.to_string().contains("SidecarSet \"other\" cannot be injected: spec.containers \"sidecar\""),
        "{denied}"
    );

    seen::apply(plane, &seen::set("other", "side:2", &json!({}))).await?;
    for name in ["one", "other"] {
        wait_for(&format!("SidecarSet {name} to be Current"), PATIENCE, async || {
            let set = seen::get(plane, name).await?;
            ensure!(seen::kstatus(&set) == "Current", "{set}");
            Ok(Some(()))
        })
        .await?;
    }
    seen::injects(&case.namespace, "both", Some("side:1")).await?;
    outrigger.stop().await
}
