//! The document of sidecar-generator-operator, typed as shown.

use anyhow::{Context, Result};
use jiff::SignedDuration;
use kube::api::DeleteParams;
use outrigger_testbed::Case;
use serde_json::{Value, json};

use super::objects::{HASH, Objects, condition, generator, last, next};
use crate::outrigger::Outrigger;
use crate::web::Web;

const NAME: &str = "sidecargenerator-sample";

/// From the seed's document.
const ANSWER: &str = r#"
    [
        {
            "hosts": [
            "./*",
            "istio-system/*",
            "ns1/*",
            "ns2/*"
            ]
        }
    ]
"#;

/// From the seed's document, with its status.
const GENERATOR: &str = r"
apiVersion: networking.example.com/v1alpha1
kind: SidecarGenerator
metadata:
  name: sidecargenerator-sample
spec:
  insecureSkipTLSVerify: true
  refreshPeriod: 2m
  url: 'http://httpd.test.svc.cluster.local:8080/dependencies'
  workloadSelector:
    labels:
      app: myapp
status:
  conditions:
    - lastTransitionTime: '2026-01-08T19:07:21Z'
      message: Successfully reconciled SidecarGenerator
      reason: ReconcileSuccess
      status: 'True'
      type: Reconciled
  lastSidecarGeneratorUpdate: '2026-01-08T19:07:21Z'
  nextSidecarGeneratorUpdate: '2026-01-08T19:09:21Z'
";

/// From the seed's document.
const SIDECAR: &str = r"
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata:
  annotations:
    sidecar-generator-operator/sidecar-spec-hash: 96e264924cbf40670253cf8627f3bab038a3b7684f9fac8d5039a4dc2318ee37
  name: sidecargenerator-sample
  namespace: default
  ownerReferences:
    - apiVersion: networking.example.com/v1alpha1
      blockOwnerDeletion: true
      controller: true
      kind: SidecarGenerator
      name: sidecargenerator-sample
      uid: ba191afb-b371-4e0e-b274-158fbb77585c
spec:
  egress:
    - hosts:
        - ./*
        - istio-system/*        
        - ns1/*
        - ns2/*
  workloadSelector:
    labels:
      app: myapp
";

/// The hash in the document belongs to the hosts in another order. This is the hash of the order shown.
const HASH_AS_SHOWN: (&str, &str) = (
    "96e264924cbf40670253cf8627f3bab038a3b7684f9fac8d5039a4dc2318ee37",
    "64a87891c4a2a5348e3ca0ed6348cb4657b3685ba06ca545ac1f6e05c8ef701f",
);

/// The document's CR and JSON produce the document's Sidecar. Then its behaviours one after the other, except for
/// deletion.
pub async fn the_walk_of_the_sidecar_generator_document_works(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    web.says("/dependencies", ANSWER);
    case.namespace.apply(&GENERATOR.replace("httpd.test.svc.cluster.local:8080", &web.host())).await?;
    let generator = objects.reconciled(NAME).await?;

    let asked = web.asked("/dependencies", 1).await?;
    assert_eq!(asked.header("accept"), "application/json");
    assert_eq!(asked.header("user-agent"), "SidecarGeneratorController/1.0");

    let uid = generator["metadata"]["uid"].as_str().context("no uid")?;
    let expected = SIDECAR
        .replace("ba191afb-b371-4e0e-b274-158fbb77585c", uid)
        .replace("namespace: default", &format!("namespace: {}", case.namespace.name()))
        .replace(HASH_AS_SHOWN.0, HASH_AS_SHOWN.1);
    let [expected] = &*outrigger::documents::parse("sidecar.yaml", expected.as_bytes())? else {
        anyhow::bail!("not one object")
    };
    assert_eq!(as_written(objects.sidecar(NAME).await?), expected.value);

    let condition = condition(&generator, "Reconciled");
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("ReconcileSuccess")));
    assert_eq!(condition["message"], "Successfully reconciled SidecarGenerator");
    assert_eq!(next(&generator)?.duration_since(last(&generator)?), SignedDuration::from_mins(2));
    objects.event(NAME, "Normal", "SidecarCreated").await?;

    // An edit of the Sidecar, and its deletion, are reverted without requesting the URL.
    let edit = r#"{"spec":{"egress":[{"hosts":["*/*"]}]}}"#;
    case.namespace.kubectl(&["patch", "sidecar", NAME, "--type=merge", "-p", edit], None).await?.ok()?;
    let hosts = ["./*", "istio-system/*", "ns1/*", "ns2/*"];
    let repaired = objects.hosts(NAME, &hosts).await?;
    assert_eq!(repaired["metadata"]["annotations"][HASH], HASH_AS_SHOWN.1);
    case.namespace.kubectl(&["delete", "sidecar", NAME], None).await?.ok()?;
    let again = objects.hosts(NAME, &hosts).await?;
    assert_ne!(again["metadata"]["uid"], repaired["metadata"]["uid"]);
    assert_eq!(as_written(again), expected.value);
    assert_eq!(web.count("/dependencies"), 1);

    // A changed spec takes effect at once, with the URL's current answer.
    web.says("/dependencies", r#"[{"hosts":["./*","istio-system/*","ns2/*","ns1/*"]}]"#);
    objects.change(NAME, json!({"spec": {"refreshPeriod": "1h30m"}})).await?;
    let sidecar = objects.hosts(NAME, &["./*", "istio-system/*", "ns2/*", "ns1/*"]).await?;
    assert_eq!(sidecar["metadata"]["annotations"][HASH], HASH_AS_SHOWN.0);
    let generator = objects.reconciled(NAME).await?;
    assert_eq!(next(&generator)?.duration_since(last(&generator)?), SignedDuration::from_mins(90));
    objects.event(NAME, "Normal", "SidecarUpdated").await?;

    let table = case.namespace.kubectl(&["get", "sgen", NAME], None).await?.ok()?;
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    assert_eq!(words, [["NAME", "RECONCILED"], [NAME, "True"]], "{table}");
    Ok(())
}

/// Returns an object without the API server's additions.
fn as_written(mut object: Value) -> Value {
    for field in ["creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"] {
        object["metadata"].as_object_mut().map(|metadata| metadata.shift_remove(field));
    }
    object
}

/// The Sidecar is deleted with its generator and not recreated, and the URL is not requested. Kubernetes' garbage collector
/// looks for new kinds only every 30 s, so this test is one of the longest.
pub async fn a_sidecar_is_deleted_with_its_generator(case: Case<Outrigger>) -> Result<()> {
    let (web, objects) = (Web::http().await?, Objects::of(&case));
    web.says("/", super::objects::GOOD);
    for (name, params) in [("behind", DeleteParams::background()), ("before", DeleteParams::foreground())] {
        objects.apply(&generator(name, &web.url("/"), &json!({}))).await?;
        objects.reconciled(name).await?;
        let asked = web.count("/");
        objects.generators.delete(name, &params).await?;
        objects.gone(&objects.sidecars, name).await?;
        objects.gone(&objects.generators, name).await?;

        // When another generator has been examined, all consequences of the deletion have happened.
        let other = format!("after-{name}");
        objects.apply(&generator(&other, &web.url("/"), &json!({}))).await?;
        objects.reconciled(&other).await?;
        assert_eq!(web.count("/"), asked + 1);
        objects.gone(&objects.sidecars, name).await?;
    }

    // A generator that replaces another waits until the other's Sidecar is gone.
    for _ in 0..2 {
        objects.apply(&generator("again", &web.url("/"), &json!({}))).await?;
        let uid = objects.reconciled("again").await?["metadata"]["uid"].clone();
        assert_eq!(objects.sidecar("again").await?["metadata"]["ownerReferences"][0]["uid"], uid);
        objects.generators.delete("again", &DeleteParams::background()).await?;
    }
    Ok(())
}
