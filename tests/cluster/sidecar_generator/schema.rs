//! What the CRD accepts, and what an older one accepted.

use anyhow::{Context, Result, ensure};
use kube::api::{Patch, PatchParams, PostParams};
use outrigger_testbed::{Case, ControlPlane, wait_for};
use serde_json::{Value, json};

use super::objects::{GOOD, Objects, condition, every_second, generator};
use crate::outrigger::{Outrigger, PATIENCE, Start, install_crds, install_rights};
use crate::web::Web;

/// Fields of a spec besides a URL, each with the field that a rejection names.
fn specs() -> (Vec<Value>, Vec<(Value, &'static str)>) {
    let many: serde_json::Map<String, Value> = (0..257).map(|n| (format!("k{n}"), "v".into())).collect();
    let accepted = vec![
        json!({}),
        json!({"url": "https://user:pw@example.com:8443/a/b?c=d"}),
        json!({"url": "http://[2001:db8::1]:80/"}),
        json!({"url": "http://h"}),
        json!({"refreshPeriod": "1h30m"}),
        json!({"refreshPeriod": "1.5h"}),
        json!({"refreshPeriod": "100ms"}),
        json!({"refreshPeriod": "1ns"}),
        json!({"workloadSelector": {}}),
        json!({"workloadSelector": {"labels": {}}}),
        json!({"workloadSelector": {"labels": {"app.kubernetes.io/name": "x", "empty": ""}}}),
        json!({"insecureSkipTLSVerify": true, "suspend": true, "onEmpty": "Apply", "maxShrinkPercent": 100}),
        json!({"jitter": "0s", "maxShrinkPercent": 0, "onEmpty": "Keep"}),
        json!({"jitter": "30s", "auth": {"secretRef": {"name": "s"}}, "caSecretRef": {"name": "c", "key": "k"}}),
    ];
    let refused = vec![
        (json!({"url": null}), "spec.url"),
        (json!({"url": ""}), "spec.url"),
        (json!({"url": "example.com/x"}), "spec.url"),
        (json!({"url": "ftp://example.com/"}), "spec.url"),
        (json!({"url": "file:///etc/passwd"}), "spec.url"),
        (json!({"url": "http:///path"}), "spec.url"),
        (json!({"url": "http://"}), "spec.url"),
        (json!({"url": "javascript:alert(1)"}), "spec.url"),
        (json!({"url": format!("http://h/{}", "x".repeat(2048))}), "spec.url"),
        (json!({"url": 5}), "spec.url"),
        (json!({"refreshPeriod": "abc"}), "spec.refreshPeriod"),
        (json!({"refreshPeriod": ""}), "spec.refreshPeriod"),
        (json!({"refreshPeriod": "5"}), "spec.refreshPeriod"),
        (json!({"refreshPeriod": "0s"}), "spec.refreshPeriod"),
        (json!({"refreshPeriod": "-5s"}), "spec.refreshPeriod"),
        (json!({"refreshPeriod": "1d"}), "spec.refreshPeriod"),
        (json!({"refreshPeriod": "0h0m0.0s"}), "spec.refreshPeriod"),
        (json!({"refreshPeriod": 60}), "spec.refreshPeriod"),
        (json!({"jitter": "-1s"}), "spec.jitter"),
        (json!({"jitter": "soon"}), "spec.jitter"),
        (json!({"workloadSelector": {"labels": {"app": "my*"}}}), "spec.workloadSelector.labels"),
        (json!({"workloadSelector": {"labels": {"a*": "x"}}}), "spec.workloadSelector.labels"),
        (json!({"workloadSelector": {"labels": {"app": "x".repeat(64)}}}), "spec.workloadSelector.labels"),
        (json!({"workloadSelector": {"labels": many}}), "spec.workloadSelector.labels"),
        (json!({"insecureSkipTLSVerify": "yes"}), "spec.insecureSkipTLSVerify"),
        (json!({"onEmpty": "Delete"}), "spec.onEmpty"),
        (json!({"maxShrinkPercent": 101}), "spec.maxShrinkPercent"),
        (json!({"maxShrinkPercent": -1}), "spec.maxShrinkPercent"),
        (json!({"suspend": "true"}), "spec.suspend"),
        (json!({"auth": {}}), "spec.auth.secretRef"),
        (json!({"auth": {"secretRef": {"name": ""}}}), "spec.auth.secretRef.name"),
        (json!({"caSecretRef": {}}), "spec.caSecretRef.name"),
    ];
    (accepted, refused)
}

/// Created as a dry run, so nothing is fetched.
async fn create(objects: &Objects, spec: &Value) -> Result<Value, kube::Error> {
    let mut object = json!({
        "apiVersion": "networking.example.com/v1alpha1", "kind": "SidecarGenerator", "metadata": {"name": "judged"},
        "spec": {"url": "http://example.com/x"},
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let object = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
    let created = objects.generators.create(&dry, &object).await?;
    serde_json::to_value(created).map_err(kube::Error::SerdeError)
}

/// Rules of the CRD: a bad spec is rejected when it is written, with the field at fault.
pub async fn the_crd_refuses_what_cannot_be_used(case: Case<Outrigger>) -> Result<()> {
    let objects = Objects::of(&case);
    let (accepted, refused) = specs();
    for spec in accepted {
        create(&objects, &spec).await.with_context(|| format!("{spec} was refused"))?;
    }
    for (spec, field) in refused {
        let Err(kube::Error::Api(status)) = create(&objects, &spec).await else { anyhow::bail!("{spec} was accepted") };
        ensure!(status.code == 422, "{spec}: {status:?}");
        ensure!(status.message.contains(field), "{spec}: {field} is not in {}", status.message);
    }
    let defaults = create(&objects, &json!({})).await?;
    assert_eq!(
        defaults["spec"],
        json!({"url": "http://example.com/x", "refreshPeriod": "1h", "insecureSkipTLSVerify": false})
    );
    Ok(())
}

/// Replaces the CRD by sidecar-generator-operator's, which has types and no rules.
async fn install_crd_of_the_seed(plane: &ControlPlane) -> Result<()> {
    let text = json!({"type": "string"});
    let labels = json!({"type": "object", "maxProperties": 256, "additionalProperties": text});
    let spec = json!({"type": "object", "required": ["url", "refreshPeriod"], "properties": {
        "url": text, "refreshPeriod": {"type": "string", "default": "1h"},
        "insecureSkipTLSVerify": {"type": "boolean", "default": false},
        "workloadSelector": {"type": "object", "properties": {"labels": labels}},
    }});
    let status = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "sidecargenerators.networking.example.com"},
        "spec": {
            "group": "networking.example.com", "scope": "Namespaced",
            "names": {
                "kind": "SidecarGenerator", "listKind": "SidecarGeneratorList", "plural": "sidecargenerators",
                "singular": "sidecargenerator",
            },
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
            }],
        },
    });
    plane.apply(&crd.to_string()).await?;
    let established =
        ["wait", "--for=condition=Established", "--timeout=60s", "crd/sidecargenerators.networking.example.com"];
    wait_for("the CRD of the seed", PATIENCE, async || Ok(Some(plane.kubectl(&established, None).await?.ok()?)))
        .await?;
    Ok(())
}

/// The hash of `{"workloadSelector":{"labels":{"app":"taken-over"}},"egress":[{"hosts":["./*","istio-system/*"]}]}`.
const HASH_OF_TAKEN_OVER: &str = "e523804687bc65789db528ea7b257a78710375ab220069ec2df83f6dc86a57d6";

/// Unusable objects stored by an older installation report it one by one. All others are served, its Sidecars are taken over
/// unchanged, and an object is served as soon as it is corrected.
pub async fn generators_that_an_older_installation_stored_hurt_no_other(case: Case<()>) -> Result<()> {
    let (plane, web, objects) = (&case.plane, Web::http().await?, Objects::of(&case));
    web.says("/", GOOD);
    plane.install_istio_crds().await?;
    install_crd_of_the_seed(plane).await?;
    let bad = [
        ("abc", json!({"refreshPeriod": "abc"}), "spec.refreshPeriod"),
        ("zero", json!({"refreshPeriod": "0s"}), "spec.refreshPeriod"),
        ("negative", json!({"refreshPeriod": "-5s"}), "spec.refreshPeriod"),
        ("overflow", json!({"refreshPeriod": "99999999h"}), "spec.refreshPeriod"),
        ("scheme", json!({"url": "gopher://127.0.0.1/s3cr3t"}), "spec.url"),
        ("no-scheme", json!({"url": "127.0.0.1/x"}), "spec.url"),
        ("empty", json!({"url": ""}), "spec.url"),
        ("star", json!({"workloadSelector": {"labels": {"app": "my*"}}}), "spec.workloadSelector.labels"),
    ];
    let stored = async |object: &Value| -> Result<()> {
        let name = object["metadata"]["name"].as_str().context("no name")?;
        // The API server needs a moment until it stores objects of a new kind.
        let params = PatchParams::apply("outrigger-test").force();
        let write = async || Ok(Some(objects.generators.patch(name, &params, &Patch::Apply(object)).await?));
        wait_for(&format!("{name} to be stored"), PATIENCE, write).await?;
        Ok(())
    };
    for (name, more, _) in &bad {
        stored(&generator(name, &web.url("/"), more)).await?;
    }
    stored(&json!({
        "apiVersion": "networking.example.com/v1alpha1", "kind": "SidecarGenerator", "metadata": {"name": "no-spec"},
    }))
    .await?;
    // The other operator's Sidecar, with its annotation and its owner reference.
    stored(&generator("taken-over", &web.url("/"), &every_second())).await?;
    let uid = objects.generator("taken-over").await?["metadata"]["uid"].clone();
    let mut made = super::objects::sidecar("taken-over", &json!({"app": "taken-over"}), &["./*", "istio-system/*"]);
    made["metadata"]["annotations"] = json!({super::objects::HASH: HASH_OF_TAKEN_OVER});
    made["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "networking.example.com/v1alpha1", "kind": "SidecarGenerator", "name": "taken-over", "uid": uid,
        "controller": true, "blockOwnerDeletion": true,
    }]);
    objects.apply_sidecar(&made).await?;
    let made = objects.sidecar("taken-over").await?;

    install_crds(plane).await?;
    let kubeconfig = install_rights(plane).await?;
    let args = ["--controllers=sidecargenerator", "--fetch-allow=127.0.0.1", "--min-refresh-period=1s"];
    let start = Start { args: args.map(str::to_owned).into(), ..Start::with(&kubeconfig) };
    let outrigger = Outrigger::start(plane, start)?;
    outrigger.ready().await?;
    objects.reconciled("taken-over").await?;
    assert_eq!(objects.sidecar("taken-over").await?, made, "it was written, though all was as it should be");
    for (name, field) in bad.iter().map(|(name, _, field)| (*name, *field)).chain([("no-spec", "spec")]) {
        let stalled = objects.condition(name, "Stalled", "True", "InvalidSpec").await?;
        for type_ in ["Stalled", "Reconciled"] {
            let message = condition(&stalled, type_)["message"].as_str().unwrap_or_default();
            ensure!(message.contains(field), "{name}: {message}");
            ensure!(!message.contains("s3cr3t"), "{name}: {message}");
        }
        ensure!(condition(&stalled, "Ready")["status"] == "False", "{stalled}");
        objects.event(name, "Warning", "InvalidSpec").await?;
    }
    objects.apply(&generator("good", &web.url("/"), &every_second())).await?;
    objects.reconciled("good").await?;

    objects.apply(&generator("abc", &web.url("/"), &json!({}))).await?;
    objects.hosts("abc", &["./*", "istio-system/*"]).await?;
    let corrected = objects.reconciled("abc").await?;
    assert_eq!(condition(&corrected, "Stalled")["status"], "False");
    outrigger.stop().await
}
