//! What the CRD lets in, and that Istio's let in what is made.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use outrigger_testbed::Case;
use serde_json::{Value, json};

use crate::outrigger::Outrigger;

/// The objects of a file of each case of which Istio's own code is asked, with their case.
fn objects(file: &str) -> Result<Vec<(String, Value)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed/go/istio-routes/mesh");
    let mut objects = Vec::new();
    for case in std::fs::read_dir(folder)? {
        let path = case?.path().join(file);
        for document in outrigger::documents::parse(file, &std::fs::read(&path)?)? {
            objects.push((path.display().to_string(), document.value));
        }
    }
    Ok(objects)
}

/// Written as a dry run, where each field that is not known is an error: nobody makes anything of it.
async fn judged(case: &Case<Outrigger>, object: &Value) -> Result<Value, kube::Error> {
    let mut object = object.clone();
    object["metadata"]["namespace"] = case.namespace.name().into();
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let (group, version) = match text("apiVersion").split_once('/') {
        Some((group, version)) => (group.to_owned(), version.to_owned()),
        None => (String::new(), text("apiVersion")),
    };
    let resource = ApiResource::from_gvk(&GroupVersionKind { group, version, kind: text("kind") });
    let api: Api<DynamicObject> = Api::namespaced_with(case.plane.client(), case.namespace.name(), &resource);
    let params = PatchParams { dry_run: true, ..PatchParams::apply("outrigger-test").force().validation_strict() };
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let judged = api.patch(&name, &params, &Patch::Apply(&object)).await?;
    serde_json::to_value(judged).map_err(kube::Error::SerdeError)
}

/// Those of istio-integrity-operator's document and both rich samples, which its own CRD refuses.
pub async fn the_samples_of_the_seed_are_taken_word_for_word(case: Case<Outrigger>) -> Result<()> {
    let mut taken = 0;
    for (file, object) in objects("given.yaml")?.into_iter().filter(|(_, object)| object["kind"] == "MeshService") {
        let stored = judged(&case, &object).await.with_context(|| format!("{file} was refused"))?;
        assert_eq!(stored["spec"], object["spec"], "{file}: nothing is dropped or added");
        taken += 1;
    }
    ensure!(taken >= 4, "{taken}");
    Ok(())
}

/// Fields of a spec beside a Service and a port: those that are taken, and those that are refused, each with the field that is named.
fn specs() -> (Vec<Value>, Vec<(Value, &'static str)>) {
    let many: Vec<Value> = (0..65).map(|number| json!(format!("h{number}.com"))).collect();
    let headers: serde_json::Map<_, _> = (0..65).map(|number| (format!("x-{number}"), json!("a"))).collect();
    let ports: Vec<Value> = (1..34).map(|number| json!({"port": number})).collect();
    let accepted = vec![
        json!({}),
        json!({"hosts": []}),
        json!({"hosts": ["*.example.com", "web", "10.0.0.1"], "gateway": {"name": "g"}}),
        json!({"ports": [{"port": 80, "protocol": "GRPC-WEB"}, {"port": 81, "name": "http-1", "targetPort": 65535}]}),
        json!({"ports": [{"port": 53, "protocol": "tcp"}, {"port": 53, "protocol": "UDP"}]}),
        json!({"subsets": [{"name": "v1", "labels": {}}, {"name": "v2", "labels": {"a": "b"}, "weight": 0}]}),
        json!({"gateway": {"name": "g", "selector": {"a": "b"}, "tls": {"mode": "SIMPLE", "credentialName": "c"}}}),
        json!({"timeout": "1m30s", "retries": {"attempts": 3, "retryRemoteLocalities": true}}),
        json!({"trafficPolicy": {"portLevelSettings": [{"port": {"number": 80}, "tls": {"mode": "SIMPLE"}}]}}),
        json!({"peerAuthentication": {"portLevelMtls": {"80": {"mode": "DISABLE"}}}}),
        json!({"authorization": {}}),
    ];
    let refused = vec![
        (json!({"serviceName": null}), "spec.serviceName"),
        (json!({"serviceName": "a.b"}), "spec.serviceName"),
        (json!({"namespace": "../etc"}), "spec.namespace"),
        (json!({"ports": []}), "spec.ports"),
        (json!({"ports": ports}), "spec.ports"),
        (json!({"ports": [{"port": 0}]}), "spec.ports[0].port"),
        (json!({"ports": [{"port": 80}, {"port": 80}]}), "spec.ports"),
        (json!({"ports": [{"port": 80, "protocol": "udp"}, {"port": 80, "protocol": "UDP"}]}), "spec.ports"),
        (json!({"headers": {"request": {"set": headers}}}), "spec.headers.request.set"),
        (json!({"headers": {"request": {"set": {"a": "b".repeat(4097)}}}}), "spec.headers.request.set.a"),
        (json!({"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]}), "spec.ports"),
        (json!({"ports": [{"port": 80, "protocol": "SCTP"}]}), "spec.ports[0].protocol"),
        (json!({"ports": [{"port": 80, "name": "A_b"}]}), "spec.ports[0].name"),
        (json!({"ports": [{"port": 80, "nodePort": 80}]}), "spec.ports[0].nodePort"),
        (json!({"hosts": many}), "spec.hosts"),
        (json!({"hosts": ["a.com", "a.com"]}), "spec.hosts"),
        (json!({"hosts": ["a b"]}), "spec.hosts[0]"),
        (json!({"hosts": ["a".repeat(254)]}), "spec.hosts[0]"),
        (json!({"gateway": {}}), "spec.gateway.name"),
        (json!({"subsets": [{"name": "a"}]}), "spec.subsets[0].labels"),
        (json!({"subsets": [{"name": "a", "labels": {}, "weight": 101}]}), "spec.subsets[0].weight"),
        (json!({"subsets": [{"name": "a", "labels": {}}, {"name": "a", "labels": {}}]}), "spec.subsets"),
        (json!({"trafficPolicy": {"loadBalancer": {"simple": "BEST"}}}), "spec.trafficPolicy.loadBalancer.simple"),
        (json!({"trafficPolicy": {"loadbalancer": {}}}), "spec.trafficPolicy.loadbalancer"),
        (json!({"destinationRule": {"host": "other"}}), "spec.destinationRule.host"),
        (json!({"fault": {"delay": {"fixedDelay": "soon"}}}), "spec.fault.delay.fixedDelay"),
        (json!({"mirror": {"subset": "a"}}), "spec.mirror.host"),
        (json!({"timeout": "5"}), "spec.timeout"),
        (json!({"serviceEntries": [{}]}), "spec.serviceEntries[0].hosts"),
        (json!({"peerAuthentication": {"mtls": {"mode": "strict"}}}), "spec.peerAuthentication.mtls.mode"),
        (json!({"authorization": {"action": "LOG"}}), "spec.authorization.action"),
        (json!({"authorization": {"targetRefs": []}}), "spec.authorization.targetRefs"),
        (json!({"sidecar": {}}), "spec.sidecar"),
    ];
    (accepted, refused)
}

/// Rules of the CRD: a bad spec is refused when it is written, with the field at fault.
pub async fn the_crd_of_mesh_services_refuses_what_cannot_be_used(case: Case<Outrigger>) -> Result<()> {
    let with = |more: &Value| {
        let mut object = json!({
            "apiVersion": "mesh.istio.operator/v1alpha1", "kind": "MeshService", "metadata": {"name": "judged"},
            "spec": {"serviceName": "web", "ports": [{"port": 80}]},
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        object
    };
    let (accepted, refused) = specs();
    for spec in accepted {
        judged(&case, &with(&spec)).await.with_context(|| format!("{spec} was refused"))?;
    }
    for (spec, field) in refused {
        let Err(kube::Error::Api(status)) = judged(&case, &with(&spec)).await else {
            anyhow::bail!("{spec} was accepted")
        };
        ensure!(status.message.contains(field), "{spec}: {field} is not in {}", status.message);
    }
    Ok(())
}

/// All kinds are among the objects, and no field is dropped.
pub async fn the_crds_of_istio_take_all_that_is_made(case: Case<Outrigger>) -> Result<()> {
    let mut kinds = std::collections::BTreeSet::new();
    for (file, object) in objects("written.yaml")? {
        let stored = judged(&case, &object).await.with_context(|| format!("{file}: {} was refused", object["kind"]))?;
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        if kind != "Service" {
            assert_eq!(stored["spec"], object["spec"], "{file}: {kind}");
        }
        kinds.insert(kind);
    }
    ensure!(kinds.len() == 7, "{kinds:?}");
    Ok(())
}
