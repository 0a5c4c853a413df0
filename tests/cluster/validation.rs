//! outrigger's validation of a container or volume, compared with the API server's validation of a Pod.

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PostParams};
use outrigger::injection::InjectableSet;
use outrigger_testbed::Case;
use serde_json::{Value, json};

use crate::outrigger::Outrigger;
use crate::seen;
use crate::versions::is_newest;

/// Whether the two agree.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Accepted,
    Refused,
    /// Rejected in a SidecarSet although allowed in a Pod, with the reason.
    OnlyInPods(&'static str),
    /// Accepted in a SidecarSet although not allowed in a Pod, with the reason.
    OnlyInSets(&'static str),
    /// Accepted by the newest Kubernetes. An older one does not know the field or this use of it.
    AcceptedLately,
    /// Rejected by the newest Kubernetes, likewise.
    RefusedLately,
}
use Verdict::{Accepted, AcceptedLately, OnlyInPods, OnlyInSets, Refused, RefusedLately};

fn overlaid(mut base: Value, fields: &Value) -> Value {
    for (field, value) in fields.as_object().into_iter().flatten() {
        base[field] = value.clone();
    }
    base
}

/// A spec with a container with these fields.
fn container(fields: &Value) -> Value {
    json!({"containers": [overlaid(json!({"name": "c", "image": "x:1"}), fields)]})
}

/// A spec with an init container with these fields.
fn init(fields: &Value) -> Value {
    json!({"initContainers": [overlaid(json!({"name": "i", "image": "x:1"}), fields)]})
}

/// A spec with a volume with this source.
fn volume(source: &Value) -> Value {
    json!({"volumes": [overlaid(json!({"name": "v"}), source)]})
}

/// A spec with a volume and a container with these mounts.
fn mounts(mounts: &Value, more: &Value) -> Value {
    let container = overlaid(json!({"name": "c", "image": "x:1", "volumeMounts": mounts}), more);
    json!({"containers": [container], "volumes": [{"name": "v", "emptyDir": {}}]})
}

/// A rule of `restartPolicyRules`.
fn restart_on(code: i32) -> Value {
    json!({"action": "Restart", "exitCodes": {"operator": "In", "values": [code]}})
}

/// A spec with a container with a variable from a file of the volume `v`.
fn variables_of(file: &Value, volume: &Value) -> Value {
    let env = json!([{"name": "A", "valueFrom": {"fileKeyRef": file}}]);
    overlaid(container(&json!({"env": env})), &json!({"volumes": [overlaid(json!({"name": "v"}), volume)]}))
}

fn containers() -> Vec<(Value, Verdict)> {
    let c = |fields: Value| container(&fields);
    let ports = |ports: Value| container(&json!({"ports": ports}));
    let resources =
        |limits: Value, requests: Value| container(&json!({"resources": {"limits": limits, "requests": requests}}));
    let security = |context: Value| container(&json!({"securityContext": context}));
    vec![
        (c(json!({})), Accepted),
        (c(json!({"image": null})), Refused),
        (c(json!({"image": ""})), Refused),
        (c(json!({"image": " x:1"})), Refused),
        (c(json!({"image": "x y"})), OnlyInPods("no image has this name, so that the Pod would wait for it forever")),
        (c(json!({"name": "A_b"})), Refused),
        (c(json!({"name": "c".repeat(63)})), Accepted),
        (c(json!({"name": "c".repeat(64)})), Refused),
        (json!({"containers": [{"name": "c", "image": "x"}, {"name": "c", "image": "x"}]}), Refused),
        (overlaid(init(&json!({"name": "c"})), &c(json!({}))), Refused),
        (c(json!({"imagePullPolicy": "Sometimes"})), Refused),
        (c(json!({"imagePullPolicy": "", "terminationMessagePolicy": "", "terminationMessagePath": ""})), Accepted),
        (c(json!({"terminationMessagePolicy": "Nowhere"})), Refused),
        (c(json!({"command": "true"})), Refused),
        (c(json!({"tty": "yes"})), Refused),
        (c(json!({"newerThanAll": {"a": 1}})), Accepted),
        (ports(json!([{"name": "http", "containerPort": 80}, {"name": "http", "containerPort": 81}])), Refused),
        (ports(json!([{"name": "much-too-long-a-name", "containerPort": 80}])), Refused),
        (ports(json!([{"name": "80", "containerPort": 80}])), Refused),
        (ports(json!([{"containerPort": 65535, "hostPort": 65535}])), Accepted),
        (ports(json!([{"containerPort": 65536}])), Refused),
        (ports(json!([{"containerPort": 0}])), Refused),
        (ports(json!([{"containerPort": 80, "hostPort": 65536}])), Refused),
        (ports(json!([{"containerPort": 80, "hostPort": -1}])), Refused),
        (ports(json!([{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 80}])), Refused),
        (
            ports(json!([
                {"containerPort": 80, "hostPort": 80},
                {"containerPort": 80, "hostPort": 80, "protocol": "UDP"},
            ])),
            Accepted,
        ),
        (ports(json!([{"containerPort": 80, "protocol": "HTTP"}])), Refused),
        (ports(json!([{"name": "", "containerPort": 80, "protocol": "", "hostPort": 0, "hostIP": ""}])), Accepted),
        (
            overlaid(
                init(&json!({"restartPolicy": "Always", "ports": [{"containerPort": 80, "hostPort": 80}]})),
                &ports(json!([{"containerPort": 80, "hostPort": 80}])),
            ),
            Accepted,
        ),
        (resources(json!({"cpu": 1, "memory": "1Gi"}), json!({"cpu": "1000m"})), Accepted),
        (resources(json!({"cpu": "1"}), json!({"cpu": "1001m"})), Refused),
        (resources(json!({"cpu": "1 m"}), json!({})), Refused),
        (resources(json!({"memory": "1gi"}), json!({})), Refused),
        (resources(json!({"cpu": "-1"}), json!({})), Refused),
        (resources(json!({"gpu": 1}), json!({})), Refused),
        (resources(json!({"example.com/gpu": 1}), json!({})), Accepted),
        (resources(json!({"example.com/gpu": "1500m"}), json!({})), Refused),
        (resources(json!({}), json!({"example.com/gpu": 1})), Refused),
        (resources(json!({"hugepages-2Mi": "4Mi"}), json!({})), Refused),
        (resources(json!({"cpu": 1, "hugepages-2Mi": "4Mi"}), json!({})), Accepted),
        (resources(json!({"cpu": 1, "hugepages-2Mi": "3Mi"}), json!({})), Refused),
        (resources(json!({"cpu": 1, "hugepages-much": "3Mi"}), json!({})), Refused),
        (c(json!({"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "Maybe"}]})), Refused),
        (c(json!({"restartPolicy": "Always"})), Accepted),
        (c(json!({"restartPolicy": "OnFailure"})), Accepted),
        (c(json!({"restartPolicy": "Never", "restartPolicyRules": [restart_on(42)]})), Accepted),
        (c(json!({"restartPolicyRules": [restart_on(42)]})), RefusedLately),
        (c(json!({"restartPolicy": "Never", "restartPolicyRules": vec![restart_on(42); 21]})), RefusedLately),
        (c(json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart"}]})), RefusedLately),
        (
            c(
                json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Stop", "exitCodes": {"operator": "In", "values": [1]}}]}),
            ),
            RefusedLately,
        ),
        (c(json!({"restartPolicy": "Sometimes"})), RefusedLately),
        (init(&json!({"restartPolicy": "Always"})), Accepted),
        (init(&json!({"restartPolicy": "Never"})), Accepted),
        (init(&json!({"restartPolicy": "OnFailure", "restartPolicyRules": [restart_on(1)]})), Accepted),
        (init(&json!({"restartPolicy": "Always", "restartPolicyRules": [restart_on(1)]})), Accepted),
        (init(&json!({"restartPolicyRules": [restart_on(1)]})), RefusedLately),
        (init(&json!({"restartPolicy": "Sometimes"})), RefusedLately),
        (security(json!({"runAsUser": 0, "privileged": true, "capabilities": {"add": ["NET_ADMIN"]}})), Accepted),
        (security(json!({"runAsUser": -1})), Refused),
        (security(json!({"privileged": true, "allowPrivilegeEscalation": false})), Refused),
        (security(json!({"capabilities": {"add": ["CAP_SYS_ADMIN"]}, "allowPrivilegeEscalation": false})), Refused),
        (security(json!({"seccompProfile": {"type": "Localhost"}})), Refused),
        (security(json!({"seccompProfile": {"type": "RuntimeDefault", "localhostProfile": "a"}})), Refused),
        (security(json!({"appArmorProfile": {"type": "Default"}})), Refused),
        (security(json!({"procMount": "None"})), Refused),
        (security(json!({"windowsOptions": {"gmsaCredentialSpecName": "web.example"}})), Accepted),
        (security(json!({"windowsOptions": {"gmsaCredentialSpecName": "Web_1"}})), Refused),
        (security(json!({"windowsOptions": {"gmsaCredentialSpec": ""}})), Refused),
        (security(json!({"windowsOptions": {"runAsUserName": "CORP\\web user"}})), Accepted),
        (security(json!({"windowsOptions": {"runAsUserName": "a\\b\\c"}})), Refused),
        (security(json!({"windowsOptions": {"runAsUserName": "a@b"}})), Refused),
        (init(&json!({"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]})), RefusedLately),
        (init(&json!({"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]})), Accepted),
        (security(json!({"procMount": "Unmasked"})), OnlyInSets("the Pod may have hostUsers: false")),
    ]
}

fn environments_and_probes() -> Vec<(Value, Verdict)> {
    let env = |variable: Value| container(&json!({"env": [variable]}));
    let from = |source: Value| container(&json!({"env": [{"name": "A", "valueFrom": source}]}));
    let env_from = |source: Value| container(&json!({"envFrom": [source]}));
    let live = |probe: Value| container(&json!({"livenessProbe": probe}));
    let ready = |probe: Value| container(&json!({"readinessProbe": probe}));
    let hook = |hook: Value| container(&json!({"lifecycle": {"preStop": hook}}));
    let tcp = |more: Value| overlaid(json!({"tcpSocket": {"port": 80}}), &more);
    vec![
        (env(json!({"name": "A", "value": "b"})), Accepted),
        (env(json!({"value": "b"})), Refused),
        (env(json!({"name": "A=B"})), Refused),
        (env(json!({"name": "ü"})), Refused),
        (env(json!({"name": "1 a"})), Accepted),
        (env(json!({"name": "A", "value": 5})), Refused),
        (from(json!({})), Refused),
        (from(json!({"fieldRef": {"fieldPath": "metadata.labels['a']"}})), Accepted),
        (from(json!({"fieldRef": {"fieldPath": "metadata.labels"}})), Refused),
        (from(json!({"fieldRef": {"fieldPath": "status.podIPs"}})), Accepted),
        (from(json!({"fieldRef": {"fieldPath": "spec.containers"}})), Refused),
        (from(json!({"secretKeyRef": {"name": "s", "key": "a/b"}})), Refused),
        (from(json!({"configMapKeyRef": {"name": "s"}})), Refused),
        (from(json!({"secretKeyRef": {"name": "s", "key": "k"}, "fieldRef": {"fieldPath": "metadata.name"}})), Refused),
        (from(json!({"resourceFieldRef": {"resource": "limits.cpu"}})), Accepted),
        (from(json!({"resourceFieldRef": {"resource": "limits.gpu"}})), Refused),
        (from(json!({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "7"}})), Refused),
        (from(json!({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}})), Accepted),
        (from(json!({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1024Ki"}})), Accepted),
        (from(json!({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1m"}})), Refused),
        (
            variables_of(&json!({"volumeName": "v", "path": "a/b.env", "key": "K"}), &json!({"emptyDir": {}})),
            AcceptedLately,
        ),
        (variables_of(&json!({"volumeName": "w", "path": "a", "key": "K"}), &json!({"emptyDir": {}})), Refused),
        (
            variables_of(&json!({"volumeName": "v", "path": "a", "key": "K"}), &json!({"secret": {"secretName": "s"}})),
            Refused,
        ),
        (variables_of(&json!({"volumeName": "v", "path": "../a", "key": "K"}), &json!({"emptyDir": {}})), Refused),
        (variables_of(&json!({"volumeName": "v", "path": "a", "key": "K=L"}), &json!({"emptyDir": {}})), Refused),
        (variables_of(&json!({"volumeName": "v", "path": "a"}), &json!({"emptyDir": {}})), Refused),
        (env_from(json!({"secretRef": {"name": "s"}, "prefix": "P_"})), Accepted),
        (env_from(json!({})), Refused),
        (env_from(json!({"secretRef": {"name": "s"}, "configMapRef": {"name": "c"}})), Refused),
        (env_from(json!({"secretRef": {"name": "S_"}})), Refused),
        (live(tcp(json!({}))), Accepted),
        (live(tcp(json!({"exec": {"command": ["true"]}}))), Refused),
        (live(json!({})), Refused),
        (live(json!({"httpGet": {"port": "web", "path": "/x"}})), Accepted),
        (live(json!({"httpGet": {"port": "Web"}})), Refused),
        (live(json!({"httpGet": {"port": 80, "scheme": "FTP"}})), Refused),
        (live(json!({"httpGet": {"port": 80, "httpHeaders": [{"name": "a b", "value": ""}]}})), Refused),
        (live(json!({"exec": {"command": []}})), Refused),
        (live(json!({"grpc": {"port": 0}})), Refused),
        (live(tcp(json!({"successThreshold": 2}))), Refused),
        (live(tcp(json!({"periodSeconds": -1}))), Refused),
        (live(tcp(json!({"successThreshold": 0, "periodSeconds": 0, "timeoutSeconds": 0}))), Accepted),
        (live(json!({"httpGet": {"port": 80, "path": "", "scheme": "", "host": ""}})), Accepted),
        (live(tcp(json!({"terminationGracePeriodSeconds": 0}))), Refused),
        (ready(tcp(json!({"successThreshold": 2}))), Accepted),
        (ready(tcp(json!({"terminationGracePeriodSeconds": 5}))), Refused),
        (hook(json!({"sleep": {"seconds": 5}})), Accepted),
        (hook(json!({"sleep": {"seconds": -1}})), Refused),
        (hook(json!({"sleep": {"seconds": 31}})), OnlyInSets("the Pod may have a longer grace period")),
        (hook(json!({})), Refused),
        (hook(tcp(json!({"exec": {"command": ["true"]}}))), Refused),
        (container(&json!({"lifecycle": {"stopSignal": "SIGUSR1"}})), Accepted),
        (init(&json!({"livenessProbe": tcp(json!({}))})), Refused),
        (init(&json!({"lifecycle": {"preStop": tcp(json!({}))}})), Refused),
        (init(&json!({"restartPolicy": "Always", "startupProbe": tcp(json!({}))})), Accepted),
    ]
}

fn volumes() -> Vec<(Value, Verdict)> {
    let v = |source: Value| volume(&source);
    let m = |list: Value| mounts(&list, &json!({}));
    let projected = |sources: Value| volume(&json!({"projected": {"sources": sources}}));
    let claim = |modes: Value, storage: Value| {
        let spec = json!({"accessModes": modes, "resources": {"requests": {"storage": storage}}});
        volume(&json!({"ephemeral": {"volumeClaimTemplate": {"spec": spec}}}))
    };
    let secret = || json!({"secret": {"name": "s", "items": [{"key": "k", "path": "p"}]}});
    let file = json!({"path": "a", "fieldRef": {"fieldPath": "metadata.name"}});
    vec![
        (m(json!([{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b", "subPath": "x/y"}])), Accepted),
        (m(json!([{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}])), Refused),
        (m(json!([{"name": "none", "mountPath": "/a"}])), Refused),
        (m(json!([{"name": "v"}])), Refused),
        (m(json!([{"name": "v", "mountPath": "/a", "subPath": "x/../y"}])), Refused),
        (m(json!([{"name": "v", "mountPath": "/a", "subPath": "/x"}])), Refused),
        (m(json!([{"name": "v", "mountPath": "/a", "subPath": "x", "subPathExpr": "y"}])), Refused),
        (m(json!([{"name": "v", "mountPath": "/a", "mountPropagation": "Sideways"}])), Refused),
        (m(json!([{"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional"}])), Refused),
        (
            mounts(
                &json!([{"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional"}]),
                &json!({"securityContext": {"privileged": true}}),
            ),
            Accepted,
        ),
        (m(json!([{"name": "v", "mountPath": "/a", "recursiveReadOnly": "Enabled"}])), Refused),
        (mounts(&json!([]), &json!({"volumeDevices": [{"name": "v", "devicePath": "/dev/a"}]})), Refused),
        (v(json!({})), Accepted),
        (v(json!({"name": "V"})), Refused),
        (json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]}), Refused),
        (v(json!({"emptyDir": {}, "hostPath": {"path": "/a"}})), Refused),
        (v(json!({"emptyDir": {"sizeLimit": "1Gi", "medium": "Memory"}})), Accepted),
        (v(json!({"emptyDir": {"sizeLimit": "-1"}})), Refused),
        (v(json!({"emptyDir": {"sizeLimit": "much"}})), Refused),
        (v(json!({"hostPath": {"path": "/a/../b"}})), Refused),
        (v(json!({"hostPath": {}})), Refused),
        (v(json!({"hostPath": {"path": "/a", "type": ""}})), Accepted),
        (v(json!({"image": {"reference": "x:1", "pullPolicy": ""}})), Accepted),
        (v(json!({"emptyDir": {"medium": "", "sizeLimit": "0"}})), Accepted),
        (v(json!({"hostPath": {"path": "/a", "type": "Folder"}})), Refused),
        (v(json!({"secret": {"secretName": "s", "defaultMode": 511}})), Accepted),
        (v(json!({"secret": {"secretName": "s", "defaultMode": 512}})), Refused),
        (v(json!({"configMap": {"name": "c", "items": [{"key": "k", "path": "../p"}]}})), Refused),
        (v(json!({"configMap": {}})), Refused),
        (v(json!({"persistentVolumeClaim": {}})), Refused),
        (v(json!({"nfs": {"server": "s", "path": "p"}})), Refused),
        (v(json!({"csi": {}})), Refused),
        (v(json!({"image": {"reference": "x:1", "pullPolicy": "Sometimes"}})), RefusedLately),
        (v(json!({"downwardAPI": {"items": [file]}})), Accepted),
        (v(json!({"downwardAPI": {"items": [{"path": "a"}]}})), Refused),
        (v(json!({"downwardAPI": {"items": [file, file]}})), OnlyInPods("nobody can want one file to be two")),
        (projected(json!([secret(), {"serviceAccountToken": {"path": "t", "expirationSeconds": 600}}])), Accepted),
        (projected(json!([{"serviceAccountToken": {"path": "t", "expirationSeconds": 599}}])), Refused),
        (projected(json!([secret(), secret()])), Refused),
        (projected(json!([{"clusterTrustBundle": {"name": "b", "path": "p"}}])), Accepted),
        (
            projected(json!([{"clusterTrustBundle": {"name": "b", "signerName": "example.com/s", "path": "p"}}])),
            RefusedLately,
        ),
        (projected(json!([{"clusterTrustBundle": {"path": "p"}}])), RefusedLately),
        (v(json!({"ephemeral": {}})), Refused),
        (claim(json!(["ReadWriteOnce"]), json!("1Gi")), Accepted),
        (claim(json!(["ReadWriteOncePod", "ReadWriteOncePod"]), json!(5)), Accepted),
        (claim(json!(["ReadWriteOncePod", "ReadWriteOnce"]), json!("1Gi")), Refused),
        (claim(json!(["Sometimes"]), json!("1Gi")), Refused),
        (claim(json!([]), json!("1Gi")), Refused),
        (claim(json!(["ReadWriteOnce"]), json!("0")), Refused),
        (claim(json!(["ReadWriteOnce"]), json!("much")), Refused),
        (claim(json!(["ReadWriteOnce"]), json!(null)), Refused),
        (v(json!({"gcePersistentDisk": {}})), OnlyInSets("sources of few are not looked at")),
        (v(json!({"iscsi": {}})), OnlyInSets("sources of few are not looked at")),
    ]
}

/// Whether the API server accepts the object in a dry run, and its message if not.
async fn taken(api: &Api<DynamicObject>, object: Value) -> Result<Result<(), String>> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&params, &serde_json::from_value(object)?).await {
        Ok(_) => Ok(Ok(())),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => Ok(Err(status.message)),
        Err(error) => bail!(error),
    }
}

/// Whether a stored set would be injected if its container mounted all the volumes.
fn is_fit(set: &Value) -> bool {
    let mut set = set.clone();
    let volumes = set["spec"]["volumes"].as_array().into_iter().flatten().enumerate();
    let mounts: Vec<Value> =
        volumes.map(|(index, volume)| json!({"name": volume["name"], "mountPath": format!("/{index}")})).collect();
    let container = &mut set["spec"]["containers"][0];
    if container["volumeMounts"].is_null() && !mounts.is_empty() {
        container["volumeMounts"] = mounts.into();
    }
    InjectableSet::decode(&set).and_then(InjectableSet::stored).is_ok()
}

/// The webhook sets defaults that the schema requires, so that YAML accepted by OpenKruise need not be changed.
pub async fn what_openkruise_accepts_is_accepted_as_it_is(case: Case<Outrigger>) -> Result<()> {
    let sets = seen::objects(&case.plane);
    let selector = json!({"matchLabels": {"a": "b"}});
    let policy = json!({"targetContainersMode": "sum", "resourcesExpr": {"requests": {}}});
    let transfer = json!([{"sourceContainerNameFrom": {"fieldRef": {"fieldPath": "metadata.name"}}, "envName": "A"}]);
    for spec in [
        json!({"updateStrategy": {"scatterStrategy": [{"key": "a"}]}}),
        json!({"updateStrategy": {"priorityStrategy": {"weightPriority": [{"matchSelector": selector}]}}}),
        json!({"updateStrategy": {"maxUnavailable": "101%"}}),
        container(&json!({"resourcesPolicy": policy})),
        init(&json!({"transferEnv": transfer})),
    ] {
        let answer = taken(&sets, seen::set("accepted", "x:1", &spec)).await?;
        ensure!(answer.is_ok(), "{spec}: {answer:?}");
    }
    Ok(())
}

/// What Kubernetes rejects in a Pod is rejected in a SidecarSet, and what it accepts is accepted. The table has the
/// exceptions.
pub async fn containers_and_volumes_are_judged_as_in_pods(case: Case<Outrigger>) -> Result<()> {
    let pods = Api::namespaced_with(case.plane.client(), case.namespace.name(), &ApiResource::erase::<Pod>(&()));
    let sets = seen::objects(&case.plane);
    let (newest, mut wrong) = (is_newest(&case.plane).await?, Vec::new());
    for (spec, expected) in containers().into_iter().chain(environments_and_probes()).chain(volumes()) {
        let pod_spec =
            overlaid(container(&json!({})), &overlaid(spec.clone(), &json!({"automountServiceAccountToken": false})));
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "judged"}, "spec": pod_spec});
        let mut set = seen::set("judged", "x:1", &spec);
        set["spec"]["containers"] = pod["spec"]["containers"].clone();
        let fit = is_fit(&set);
        let (in_pod, in_set) = (taken(&pods, pod).await?, taken(&sets, set).await?);
        if matches!(expected, AcceptedLately | RefusedLately) && !newest {
            println!("not compared with Pods, as this Kubernetes is too old: {spec}");
            ensure!(in_set.is_ok() == (expected == AcceptedLately), "{spec}: {in_set:?}");
            continue;
        }
        // If it were stored, it would be injected if it is allowed in Pods.
        if fit != in_pod.is_ok() && !matches!(expected, OnlyInSets(_)) {
            wrong.push(format!("{spec}\n  fit for Pods: {fit}\n  Pod: {in_pod:?}"));
        }
        let found = (in_pod.is_ok(), in_set.is_ok());
        let expected_pair = match expected {
            Accepted | AcceptedLately => (true, true),
            Refused | RefusedLately => (false, false),
            OnlyInPods(_) => (true, false),
            OnlyInSets(_) => (false, true),
        };
        if found != expected_pair {
            wrong.push(format!("{spec}\n  expected {expected:?}\n  Pod: {in_pod:?}\n  set: {in_set:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
