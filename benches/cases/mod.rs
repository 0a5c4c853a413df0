//! The data of both benchmarks: SidecarSets as users write them, and Pods as the API server sends them for review.

use serde_json::{Map, Value, json};

/// Namespace of the Pods.
pub const NAMESPACE: &str = "shop";
/// Their ServiceAccount.
pub const ACCOUNT: &str = "checkout";

/// Value of the Pods' label `app`.
const APP: &str = "checkout";

/// Volume of the service account's token, which the API server adds before the webhooks run, so its creator does not
/// own it.
const TOKEN: &str = "kube-api-access-x7k2p";

/// Fields that admission sets after the Pod's creator, or that have no owner.
const NOT_OWNED: &[&str] =
    &["managedFields", "namespace", "creationTimestamp", "tolerations", "priority", "preemptionPolicy"];

/// A SidecarSet of 2 containers that share the app containers' mounts, an init container and a volume. `NAME` and `APP`
/// are replaced.
const SIDECARSET: &str = r#"apiVersion: apps.kruise.io/v1beta1
kind: SidecarSet
metadata:
  name: NAME
  labels:
    team: observability
spec:
  selector:
    matchLabels:
      app: APP
  updateStrategy:
    type: RollingUpdate
    maxUnavailable: 10%
  initContainers:
    - name: NAME-setup
      image: registry.example.com/observability/log-setup:1.4.2
      command: ["/bin/log-setup", "--create", "/var/log/app"]
      volumeMounts:
        - name: NAME-buffer
          mountPath: /var/log/app
  containers:
    - name: NAME-agent
      image: registry.example.com/observability/log-agent:3.2.1
      podInjectPolicy: BeforeAppContainer
      shareVolumePolicy: {type: enabled}
      args: ["--config=/etc/log-agent/agent.conf", "--buffer=/var/log/app"]
      env:
        - name: POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        - name: LOG_LEVEL
          value: info
      ports:
        - name: agent
          containerPort: 2020
      readinessProbe:
        httpGet: {path: /healthz, port: agent}
        periodSeconds: 10
      resources:
        requests: {cpu: 50m, memory: 64Mi}
        limits: {memory: 128Mi}
      volumeMounts:
        - name: NAME-buffer
          mountPath: /var/log/app
    - name: NAME-metrics
      image: registry.example.com/observability/metrics-proxy:0.9.0
      podInjectPolicy: AfterAppContainer
      shareVolumePolicy: {type: enabled}
      args: ["--listen=:9102"]
      ports:
        - name: metrics
          containerPort: 9102
      resources:
        requests: {cpu: 10m, memory: 32Mi}
        limits: {memory: 64Mi}
  volumes:
    - name: NAME-buffer
      emptyDir: {sizeLimit: 256Mi}
"#;

/// Which of the sets match the Pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// None.
    None,
    /// One from the middle.
    One,
    /// The same, with every feature that costs time at injection ([`with_every_feature`]).
    EveryFeature,
    /// All.
    All,
}

/// Returns `count` SidecarSets as YAML, each with its name.
pub fn sets(count: usize, matching: Matching) -> impl Iterator<Item = (String, String)> {
    (0..count).map(move |number| {
        let name = format!("logs-{number:05}");
        let matches = matching == Matching::All || matching != Matching::None && number == count / 2;
        let app = if matches { APP.to_owned() } else { format!("app-{number:05}") };
        let yaml = SIDECARSET.replace("NAME", &name).replace("APP", &app);
        (name, if matches && matching == Matching::EveryFeature { with_every_feature(&yaml) } else { yaml })
    })
}

/// Returns a set with computed resources, transferred variables, a hot upgrade and patched annotations, in addition to
/// the shared mounts.
fn with_every_feature(yaml: &str) -> String {
    let computed = "resourcesPolicy: {targetContainersMode: sum, resourcesExpr: {limits: {memory: 'max(memory*10%, 64Mi)'}, \
                    requests: {cpu: 'max(cpu*10%, 50m)', memory: memory*5% + 16Mi}}}";
    let transferred = "transferEnv: [{sourceContainerNameFrom: {fieldRef: {fieldPath: \"metadata.labels['app']\"}}, \
                       envNames: [JAVA_OPTS, DATABASE_URL]}]";
    let hot = "upgradeStrategy: {upgradeType: HotUpgrade, hotUpgradeEmptyImage: registry.example.com/empty:1.0.0}";
    let patched = "patchPodMetadata: [{annotations: {prometheus.io/scrape: \"false\", team: observability}, \
                   patchPolicy: Retain}, {annotations: {agents: '{\"log-agent\":{\"port\":2020}}'}, patchPolicy: MergePatchJson}]";
    yaml.replace(
        "      resources:\n        requests: {cpu: 50m, memory: 64Mi}\n        limits: {memory: 128Mi}\n",
        &format!("      {computed}\n      {transferred}\n"),
    )
    .replace(
        "      podInjectPolicy: AfterAppContainer\n",
        &format!("      podInjectPolicy: AfterAppContainer\n      {hot}\n"),
    )
    .replace("  volumes:\n", &format!("  {patched}\n  volumes:\n"))
}

/// Returns the review of a Pod's creation by its `ReplicaSet`, as the API server writes it.
pub fn review(pod: &Value) -> String {
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    let review = json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "0df28fbd-5f5f-11e8-bc74-36e6bb280816",
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "namespace": NAMESPACE,
            "operation": "CREATE",
            "userInfo": {
                "username": "system:serviceaccount:kube-system:replicaset-controller",
                "uid": "5c9a1c5e-1f65-4dd5-8a5a-0c1f3a3d5f11",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
                "extra": {"authentication.kubernetes.io/credential-id": ["JTI=8f4a5d2e-2b71-4b0e-9c39-9d1c7f1b7a52"]}
            },
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}
        }
    });
    review.to_string()
}

/// Returns a Pod of a Deployment as it reaches the webhook: with defaults, the mounted service account token and the
/// managed fields of the `ReplicaSet` controller. 3 containers make about 8 KB, 12 about 27 KB.
pub fn pod(containers: usize) -> Value {
    let spec = json!({
        "volumes": [
            {"name": "config", "configMap": {"name": "checkout-config", "defaultMode": 420}},
            {"name": TOKEN, "projected": {"sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}
            ], "defaultMode": 420}}
        ],
        "containers": (0..containers).map(container).collect::<Vec<_>>(),
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": ACCOUNT,
        "serviceAccount": ACCOUNT,
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "schedulerName": "default-scheduler",
        "tolerations": [
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
             "tolerationSeconds": 300},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
             "tolerationSeconds": 300}
        ],
        "priority": 0,
        "enableServiceLinks": true,
        "preemptionPolicy": "PreemptLowerPriority"
    });
    let metadata = json!({
        "generateName": "checkout-6d4b75cb6d-",
        "namespace": NAMESPACE,
        "creationTimestamp": null,
        "labels": {
            "app": APP,
            "app.kubernetes.io/name": "checkout",
            "app.kubernetes.io/part-of": "shop",
            "pod-template-hash": "6d4b75cb6d"
        },
        "annotations": {
            "checksum/config": "1b8d3c7a6e0f5c2b9d4e8a7f6c5b4a39281706f5e4d3c2b1a0918273645546ab",
            "prometheus.io/port": "8080",
            "prometheus.io/scrape": "true"
        },
        "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "checkout-6d4b75cb6d",
            "uid": "b3f0c0de-7a54-4d2b-8f0e-4a1f6b1f2c33", "controller": true, "blockOwnerDeletion": true
        }],
        "managedFields": [{
            "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
            "time": "2026-07-01T08:15:31Z", "fieldsType": "FieldsV1"
        }]
    });
    let mut pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": {}});
    let owned = json!({"f:metadata": managed_fields(&pod["metadata"]), "f:spec": managed_fields(&pod["spec"])});
    pod["metadata"]["managedFields"][0]["fieldsV1"] = owned;
    pod
}

fn container(number: usize) -> Value {
    let name = if number == 0 { "checkout".to_owned() } else { format!("checkout-worker-{number}") };
    let port = 8080 + number;
    let probe = json!({
        "httpGet": {"path": "/readyz", "port": port, "scheme": "HTTP"},
        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3
    });
    json!({
        "name": name,
        "image": format!("registry.example.com/shop/{name}:2.14.0"),
        "args": [format!("--listen=:{port}")],
        "ports": [{"name": format!("http-{number}"), "containerPort": port, "protocol": "TCP"}],
        "env": [
            {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "checkout-db", "key": "url"}}},
            {"name": "JAVA_OPTS", "value": "-XX:MaxRAMPercentage=75.0 -Dlog.format=\"json\""}
        ],
        "resources": {
            "limits": {"cpu": "1", "memory": "512Mi"},
            "requests": {"cpu": "250m", "memory": "256Mi"}
        },
        "volumeMounts": [
            {"name": "config", "readOnly": true, "mountPath": "/etc/checkout"},
            {"name": TOKEN, "readOnly": true,
             "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
        ],
        "readinessProbe": probe,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true}
    })
}

/// Returns a value in the form of managed fields: `f:` before fields, `k:` before items with a key.
fn managed_fields(value: &Value) -> Value {
    let fields: Map<String, Value> = match value {
        Value::Object(object) => object
            .iter()
            .filter(|(field, _)| !NOT_OWNED.contains(&field.as_str()))
            .map(|(field, value)| (format!("f:{field}"), managed_fields(value)))
            .collect(),
        Value::Array(items) => items
            .iter()
            .filter(|item| item["name"] != TOKEN)
            .filter_map(|item| Some((item_key(item)?, managed_fields(item))))
            .collect(),
        _ => Map::new(),
    };
    if fields.is_empty() {
        return json!({});
    }
    let mut owned = Map::from_iter([(".".to_owned(), json!({}))]);
    owned.extend(fields);
    Value::Object(owned)
}

fn item_key(item: &Value) -> Option<String> {
    let keys = [&["containerPort", "protocol"][..], &["mountPath"], &["name"], &["uid"]];
    let key = keys.into_iter().find(|key| key.iter().all(|field| item.get(field).is_some()))?;
    let key: Map<String, Value> = key.iter().map(|field| ((*field).to_owned(), item[*field].clone())).collect();
    Some(format!("k:{}", Value::Object(key)))
}
