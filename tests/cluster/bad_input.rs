//! Unusable objects are reported and do not affect others.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use outrigger::api::keys;
use outrigger_testbed::{Case, wait_for};
use serde_json::{Value, json};

use crate::outrigger::{Outrigger, PATIENCE, Start, install_crds, install_rights, registered};
use crate::seen;

/// A rejected set is rejected with all its causes, for people and programs.
pub async fn an_invalid_set_is_denied_with_all_causes(case: Case<Outrigger>) -> Result<()> {
    let mut invalid = seen::set("invalid", "", &json!({"revisionHistoryLimit": -1}));
    invalid["spec"]["selector"] = json!({"matchExpressions": [{"key": "app", "operator": "Near"}]});
    let set: DynamicObject = serde_json::from_value(invalid.clone())?;
    let error = seen::objects(&case.plane).create(&PostParams::default(), &set).await;
    let Err(kube::Error::Api(status)) = error else { anyhow::bail!("not denied: {error:?}") };
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"), "{status:?}");
    let details = status.details.context("no details")?;
    let mut fields: Vec<_> = details.causes.iter().map(|cause| (cause.field.as_str(), cause.reason.as_str())).collect();
    fields.sort_unstable();
    let expected = [
        ("spec.containers[0].image", "FieldValueRequired"),
        ("spec.revisionHistoryLimit", "FieldValueInvalid"),
        ("spec.selector.matchExpressions[0].operator", "FieldValueInvalid"),
    ];
    assert_eq!(fields, expected);

    let kubectl = case.plane.kubectl(&["create", "-f", "-"], Some(&invalid.to_string())).await?;
    assert!(!kubectl.status.success());
    for text in ["The SidecarSet \"invalid\" is invalid:", "\n* spec.containers[0].image: Required value\n"] {
        assert!(kubectl.stderr.contains(text), "{}", kubectl.stderr);
    }
    Ok(())
}

/// The Pods of a deleted namespace no longer count, and others still do.
pub async fn a_namespace_that_vanishes_takes_its_pods_out_of_the_counts(case: Case<Outrigger>) -> Result<()> {
    let (plane, name) = (&case.plane, "vanishing");
    // With a selector that needs the namespace's labels.
    let everywhere =
        json!({"namespaceSelector": {"matchExpressions": [{"key": "test.dev/none", "operator": "DoesNotExist"}]}});
    seen::apply(plane, &seen::set(name, "side:1", &everywhere)).await?;
    let vanishing = plane.namespace("vanishing").await?;
    for namespace in [&vanishing, &case.namespace] {
        seen::injects(namespace, name, Some("side:1")).await?;
        namespace.api().create(&PostParams::default(), &seen::pod("p", name, &json!({}))?).await?;
    }
    seen::counts(plane, name, [2, 2, 2, 2]).await?;
    vanishing.delete().await?;
    seen::counts(plane, name, [1, 1, 1, 1]).await?;
    seen::objects(plane).delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Objects that were stored before there was a webhook.
pub async fn what_is_stored_and_cannot_be_used_stops_nothing(case: Case<()>) -> Result<()> {
    let plane = &case.plane;
    install_crds(plane).await?;
    let kubeconfig = install_rights(plane).await?;
    let mut unparsable = seen::set("unparsable", "side:1", &json!({}));
    unparsable["spec"]["selector"] = json!({"matchExpressions": [{"key": "app", "operator": "Near", "values": ["x"]}]});
    let mut undecodable = seen::set("undecodable", "side:1", &json!({}));
    undecodable["spec"]["containers"][0]["name"] = json!(5);
    for set in [&seen::set("good", "side:1", &json!({})), &unparsable, &undecodable] {
        seen::apply(plane, set).await?;
    }
    let revisions: Api<ControllerRevision> = Api::namespaced(plane.client(), seen::REVISIONS);
    for (name, data) in
        [("garbage", json!({"spec": "none"})), ("garbage-containers", json!({"spec": {"containers": 5}}))]
    {
        let revision =
            json!({"metadata": {"name": name, "labels": {keys::REVISION_OF: "good"}}, "revision": 7, "data": data});
        revisions.create(&PostParams::default(), &serde_json::from_value(revision)?).await?;
    }
    let configuration: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "kruise-configuration"}, "data": {"SidecarSet_PatchPodMetadata_WhiteList": "garbage"},
    }))?;
    let configurations: Api<ConfigMap> = Api::namespaced(plane.client(), seen::REVISIONS);
    configurations.create(&PostParams::default(), &configuration).await?;
    let mut forged = seen::pod("forged", "good", &json!({}))?;
    forged.metadata.annotations = Some(
        [(keys::HASH, "{"), (keys::INJECTED_LIST, "good,,nobody")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
    );
    let pods: Api<Pod> = case.namespace.api();
    pods.create(&PostParams::default(), &forged).await?;

    let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
    let errors = async |expected: u64| {
        wait_for(&format!("{expected} errors to be told"), PATIENCE, async || {
            let errors = outrigger.metric("outrigger_source_errors").await?;
            ensure!(errors == expected, "{errors} are");
            Ok(Some(()))
        })
        .await
    };
    errors(5).await?;
    let good = seen::counts(plane, "good", [0, 0, 0, 0]).await?;
    assert_eq!(seen::kstatus(&good), "Current", "{good}");
    seen::injects(&case.namespace, "good", Some("side:1")).await?;
    pods.create(&PostParams::default(), &seen::pod("p", "good", &json!({}))?).await?;
    seen::counts(plane, "good", [1, 1, 0, 0]).await?;
    let mut bare = seen::pod("without-labels", "", &json!({}))?;
    bare.metadata.labels = None;
    assert_eq!(seen::sidecar(&pods.create(&PostParams::default(), &bare).await?), None);

    let bad =
        [("unparsable", "spec.selector.matchExpressions[0].operator"), ("undecodable", "spec.containers[0].name")];
    for (name, field) in bad {
        let set = seen::status(plane, name, &json!({})).await?;
        assert_eq!(seen::kstatus(&set), "Failed", "{set}");
        let message = seen::message(&set, "Stalled").context("not stalled")?;
        assert!(message.contains(field), "{message}");
        let events = wait_for("the Event", PATIENCE, async || {
            let events = seen::events(plane, name).await?;
            Ok((!events.is_empty()).then_some(events))
        })
        .await?;
        let [event] = &*events else { anyhow::bail!("{} Events about {name}", events.len()) };
        assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Warning"), Some("Stalled")));
        assert_eq!(event.note.as_deref(), Some(message));
    }
    let log = plane.log("outrigger")?;
    for named in ["unparsable", "undecodable", "garbage", "garbage-containers", "kruise-configuration"] {
        let told = log.lines().any(|line| line.contains("ERROR") && line.contains(named));
        assert!(told, "{named} is not in the log");
    }

    // An earlier problem may stay while something else changes.
    let label = plane.kubectl(&["label", "sidecarset", "unparsable", "team=x"], None).await?;
    assert!(
        label.status.success() && label.stderr.contains("Warning: invalid, but stored like this before: spec.selector"),
        "{}",
        label.stderr
    );
    for name in ["unparsable", "undecodable"] {
        seen::apply(plane, &seen::set(name, "side:1", &json!({}))).await?;
        seen::injects(&case.namespace, name, Some("side:1")).await?;
        let set = seen::status(plane, name, &json!({"matchedPods": 0})).await?;
        assert_eq!(seen::kstatus(&set), "Current", "{set}");
    }
    errors(3).await?;
    configurations.delete("kruise-configuration", &DeleteParams::default()).await?;
    for name in ["garbage", "garbage-containers"] {
        let foreign = Patch::Merge(json!({"metadata": {"labels": {keys::REVISION_OF: Value::Null}}}));
        revisions.patch(name, &PatchParams::default(), &foreign).await?;
    }
    errors(0).await?;
    outrigger.stop().await
}

/// Without the CRD there are no sets. Once installed they work, and after its removal they are gone.
pub async fn sidecarsets_may_be_installed_later_and_removed(case: Case<()>) -> Result<()> {
    let plane = &case.plane;
    let kubeconfig = install_rights(plane).await?;
    let outrigger = Outrigger::start(plane, Start::with(&kubeconfig))?;
    outrigger.ready().await?;
    let is_told = async |text: &str| {
        wait_for(&format!("/readyz to say {text:?}"), PATIENCE, async || {
            let (status, page) = outrigger.page("/readyz?verbose").await?;
            ensure!(status == 200, "{page}");
            ensure!(page.lines().any(|line| line.contains("sidecarsets") && line.contains(text)), "{page}");
            Ok(Some(()))
        })
        .await
    };
    is_told("not installed").await?;
    let log = plane.log("outrigger")?;
    assert!(log.lines().any(|line| line.contains("sidecarsets") && line.contains("is not installed")), "{log}");
    seen::injects(&case.namespace, "later", None).await?;

    install_crds(plane).await?;
    is_told("in step").await?;
    registered(plane).await?;
    seen::apply(plane, &seen::set("later", "side:1", &json!({}))).await?;
    seen::injects(&case.namespace, "later", Some("side:1")).await?;
    case.namespace.api().create(&PostParams::default(), &seen::pod("p", "later", &json!({}))?).await?;
    seen::counts(plane, "later", [1, 1, 0, 0]).await?;

    let crds: Api<CustomResourceDefinition> = Api::all(plane.client());
    crds.delete("sidecarsets.apps.kruise.io", &DeleteParams::default()).await?;
    seen::injects(&case.namespace, "later", None).await?;
    is_told("not installed").await?;
    outrigger.stop().await
}

/// Fields that the API server rejects in kubectl's sets are also rejected in files.
pub async fn kubectl_and_files_refuse_the_same_fields(case: Case<Outrigger>) -> Result<()> {
    for version in ["v1alpha1", "v1beta1"] {
        let object = json!({
            "apiVersion": format!("apps.kruise.io/{version}"), "kind": "SidecarSet", "metadata": {"name": "odd", "label": {"a": "b"}},
            "spec": {
                "selector": {"matchLabels": {"app": "none"}, "matchExpression": []}, "namespace": "shop", "customVersion": "v1",
                "injectStrategy": {"paused": true}, "updateStrategy": {"partion": 1, "scatterStrategy": [{"key": "a", "val": "b"}]},
                "volumes": [{"name": "v", "emptyDir": {}, "future": 1}],
                "containers": [{"name": "c", "image": "x:1", "livenesProbe": {}, "upgradeStrategy": {"type": "ColdUpgrade"}}],
            },
            "stat": {},
        });
        let apply = ["create", "--dry-run=server", "-f", "-"];
        let refused = case.plane.kubectl(&apply, Some(&object.to_string())).await?.ok();
        let refused = refused.err().context("the API server let it in")?.to_string();
        let mut named: Vec<_> =
            refused.split("unknown field \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let mut ours = outrigger::api::unknown_fields::of_sidecarset(&object);
        named.sort_unstable();
        ours.sort_unstable();
        ensure!(named == ours, "{version}: {named:?} {ours:?}: {refused}");
    }
    Ok(())
}
