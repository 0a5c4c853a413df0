//! Annotation, label and environment variable names that pass between OpenKruise, Kubernetes, users and us.

/// On a SidecarSet: the bare hash of its containers. On a Pod: a JSON map from set name to what was injected.
pub const HASH: &str = "kruise.io/sidecarset-hash";
/// As [`HASH`], with every image taken as empty.
pub const HASH_WITHOUT_IMAGE: &str = "kruise.io/sidecarset-hash-without-image";
/// What the two hashes do not cover: fields of containers that OpenKruise does not know. On a SidecarSet that has such: their hash. On
/// a Pod: a JSON map from the names of such sets to the hash.
pub const HASH_OF_REST: &str = "outrigger.dev/sidecarset-hash-rest";
/// On a Pod: sorted, comma separated names of the SidecarSets injected into it.
pub const INJECTED_LIST: &str = "kruise.io/sidecarset-injected-list";
/// On a Pod: a JSON map from set name to what its containers were before their images were changed in place.
pub const IN_PLACE_STATE: &str = "kruise.io/sidecarset-inplace-update-state";
/// Label of a `ControllerRevision`: the SidecarSet it belongs to.
pub const REVISION_OF: &str = "kruise.io/sidecarset-name";
/// Label of a `ControllerRevision`: the last part of its name, which comes from its content.
pub const REVISION_HASH: &str = "controller.kubernetes.io/hash";
/// v1alpha1's place of `spec.customVersion`: a label of the SidecarSet.
pub const CUSTOM_VERSION: &str = "apps.kruise.io/sidecarset-custom-version";
/// On a SidecarSet: `true` makes it a canary of the set that [`CANARY_BASE`] names.
pub const CANARY: &str = "apps.kruise.io/sidecarset-canary";
/// On a canary: name of the set whose place it takes.
pub const CANARY_BASE: &str = "apps.kruise.io/sidecarset-base";
/// Environment variable of every injected container; its value is `true`.
pub const IS_INJECTED: &str = "IS_INJECTED";
/// On a Pod: a JSON map from each container with hot upgrade to the one of its two that works.
pub const WORKING_HOT_UPGRADE: &str = "kruise.io/sidecarset-working-hotupgrade-container";
/// Environment variable of hot containers: how often this one was upgraded, `0` while it is the idle one.
pub const SIDECARSET_VERSION: &str = "SIDECARSET_VERSION";
/// Environment variable of hot containers: the other one's `SIDECARSET_VERSION`.
pub const SIDECARSET_VERSION_ALT: &str = "SIDECARSET_VERSION_ALT";
/// On a Pod: the container that kubectl takes where none is named.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// v1alpha1's name of the label [`CUSTOM_VERSION`] of a v1beta1 object, where it means nothing.
pub const CUSTOM_VERSION_LABEL_OF_V1BETA1: &str = "outrigger.dev/v1beta1-label-custom-version";
/// On a Pod: `"false"` opts out of injection where the server allows it.
pub const INJECT: &str = "outrigger.dev/inject";
/// On a SidecarSet: `enforce` puts the set's container in the place of one that only claims to be it; `warn`, the default, tells.
pub const VERIFY: &str = "outrigger.dev/verify";
/// On a SidecarSet: with the value [`GROW`] a Pod's own resources grow by what the set's containers ask for.
pub const POD_LEVEL_RESOURCES: &str = "outrigger.dev/pod-level-resources";
/// The only value of [`POD_LEVEL_RESOURCES`].
pub const GROW: &str = "grow";
/// On a SidecarSet: with the value [`IN_PLACE`] changed amounts of CPU and memory reach Pods that run.
pub const RESIZE: &str = "outrigger.dev/resize";
/// The only value of [`RESIZE`].
pub const IN_PLACE: &str = "in-place";
/// On a SidecarSet: with the value [`NATIVE`] its containers that have [`ENDS_WITH_JOB`] are native sidecars in Pods that end.
pub const JOB_SIDECARS: &str = "outrigger.dev/job-sidecars";
/// The only value of [`JOB_SIDECARS`].
pub const NATIVE: &str = "native";
/// Environment variable of a sidecar that is to end once the containers of a Job have: its value is `true`.
pub const ENDS_WITH_JOB: &str = "KRUISE_TERMINATE_SIDECAR_WHEN_JOB_EXIT";
/// On the Secret with our CA: since when its CA signs, in RFC 3339.
pub const SIGNING_SINCE: &str = "outrigger.dev/signing-since";

/// On a Sidecar: the hash of the spec that a SidecarGenerator gave it.
pub const SIDECAR_SPEC_HASH: &str = "sidecar-generator-operator/sidecar-spec-hash";
/// On an object that nothing controls: `"true"` lets a SidecarGenerator or a MeshService that would have one of its name take it over.
pub const ADOPT: &str = "outrigger.dev/adopt";
/// On a Secret: the hosts, as `HOST[:PORT],…`, to which it may be sent as credentials.
pub const SEND_TO: &str = "outrigger.dev/send-to";

/// On a MeshService or its Service: with the value [`NOT_MANAGED`] nothing is written or deleted for it.
pub const MANAGED: &str = "mesh.operator.istio.io/managed";
/// The only value of [`MANAGED`] that means something.
pub const NOT_MANAGED: &str = "false";
/// On a MeshService: the labels of the Pods, as `KEY=VALUE,…`, for which its Service is made.
pub const SERVICE_SELECTOR: &str = "outrigger.dev/service-selector";
/// On a Namespace: the namespaces, as `NAMESPACE,…`, whose MeshServices may have objects in it.
pub const ALLOW_MESH_FROM: &str = "outrigger.dev/allow-mesh-from";
/// On a MeshService: which repairs, as `Adopt`, are made beyond what belongs to it. On a Service: which, as `AddPort,…`, are made in it.
pub const MESH_REPAIR: &str = "outrigger.dev/mesh-repair";
/// On an object that was made in another namespace than that of its MeshService: its own namespace and name, which a copy has not.
pub const MESH_OBJECT: &str = "outrigger.dev/mesh-object";
/// On an object that a MeshService took over: the spec that it had before, as JSON.
pub const MESH_ADOPTED: &str = "outrigger.dev/mesh-spec-before";
/// Label of an object that was made for a MeshService: its name.
pub const MESH_SERVICE: &str = "outrigger.dev/mesh-service";
/// Label of an object that was made for a MeshService: its namespace.
pub const MESH_SERVICE_NAMESPACE: &str = "outrigger.dev/mesh-service-namespace";

/// On what refers to a webhook: the Certificate, as `NAMESPACE/NAME`, whose CA cert-manager's injector writes there.
pub const INJECT_CA_FROM: &str = "cert-manager.io/inject-ca-from";

/// Label of Kubernetes for the program that manages an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// What `kubectl apply` keeps of an object: the whole of it as it was applied.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Label that the API server puts on every Namespace: its name.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Annotation of mirror Pods: the kubelet owns them, nothing may be injected.
pub const MIRROR_POD: &str = "kubernetes.io/config.mirror";
/// Label of a Namespace: the Pod Security level its Pods must meet.
pub const POD_SECURITY_ENFORCE: &str = "pod-security.kubernetes.io/enforce";
/// Label of a Namespace: the version of Kubernetes whose rules that level has.
pub const POD_SECURITY_ENFORCE_VERSION: &str = "pod-security.kubernetes.io/enforce-version";

/// Annotation of a Pod with the version of a hot container.
#[must_use]
pub fn version_of(container: &str) -> String {
    format!("version.sidecarset.kruise.io/{container}")
}

/// Annotation of a Pod with the version of a hot container's twin.
#[must_use]
pub fn version_alt_of(container: &str) -> String {
    format!("versionalt.sidecarset.kruise.io/{container}")
}
