//! Names of annotations, labels and environment variables shared by OpenKruise, Kubernetes, users and outrigger.

/// On a SidecarSet: the hash of its containers. On a Pod: a JSON map from set name to the injected hash.
pub const HASH: &str = "kruise.io/sidecarset-hash";
/// Like [`HASH`], with every image empty.
pub const HASH_WITHOUT_IMAGE: &str = "kruise.io/sidecarset-hash-without-image";
/// The hash of container fields that OpenKruise does not know, which the other two hashes do not cover. On a SidecarSet with such
/// fields: the hash. On a Pod: a JSON map from set name to the hash.
pub const HASH_OF_REST: &str = "outrigger.dev/sidecarset-hash-rest";
/// On a Pod: the sorted, comma-separated names of the SidecarSets injected into it.
pub const INJECTED_LIST: &str = "kruise.io/sidecarset-injected-list";
/// On a Pod: a JSON map from set name to the state of its containers before their images were updated in place.
pub const IN_PLACE_STATE: &str = "kruise.io/sidecarset-inplace-update-state";
/// Label of a `ControllerRevision`: the SidecarSet that it belongs to.
pub const REVISION_OF: &str = "kruise.io/sidecarset-name";
/// Label of a `ControllerRevision`: the last part of its name, a hash of its content.
pub const REVISION_HASH: &str = "controller.kubernetes.io/hash";
/// Label of a v1alpha1 SidecarSet that corresponds to `spec.customVersion`.
pub const CUSTOM_VERSION: &str = "apps.kruise.io/sidecarset-custom-version";
/// On a SidecarSet: `true` makes it a canary of the set that [`CANARY_BASE`] names.
pub const CANARY: &str = "apps.kruise.io/sidecarset-canary";
/// On a canary: the name of the set that it replaces.
pub const CANARY_BASE: &str = "apps.kruise.io/sidecarset-base";
/// Environment variable of every injected container; its value is `true`.
pub const IS_INJECTED: &str = "IS_INJECTED";
/// On a Pod: a JSON map from each hot container to the name of its working twin.
pub const WORKING_HOT_UPGRADE: &str = "kruise.io/sidecarset-working-hotupgrade-container";
/// Environment variable of hot containers: the number of upgrades of this twin, `0` while it is idle.
pub const SIDECARSET_VERSION: &str = "SIDECARSET_VERSION";
/// Environment variable of hot containers: the other twin's `SIDECARSET_VERSION`.
pub const SIDECARSET_VERSION_ALT: &str = "SIDECARSET_VERSION_ALT";
/// On a Pod: kubectl's default container.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The name in v1alpha1 of a v1beta1 object's label [`CUSTOM_VERSION`], which has no meaning there.
pub const CUSTOM_VERSION_LABEL_OF_V1BETA1: &str = "outrigger.dev/v1beta1-label-custom-version";
/// On a Pod: `"false"` opts out of injection, if the server allows it.
pub const INJECT: &str = "outrigger.dev/inject";
/// On a SidecarSet: `enforce` replaces a container that only claims to be the set's; `warn`, the default, reports it.
pub const VERIFY: &str = "outrigger.dev/verify";
/// On a SidecarSet: [`GROW`] raises a Pod's own resources by the requests of the set's containers.
pub const POD_LEVEL_RESOURCES: &str = "outrigger.dev/pod-level-resources";
/// The only value of [`POD_LEVEL_RESOURCES`].
pub const GROW: &str = "grow";
/// On a SidecarSet: [`IN_PLACE`] applies changed amounts of CPU and memory to running Pods.
pub const RESIZE: &str = "outrigger.dev/resize";
/// The only value of [`RESIZE`].
pub const IN_PLACE: &str = "in-place";
/// On a SidecarSet: [`NATIVE`] makes its containers with [`ENDS_WITH_JOB`] native sidecars in Pods that run to
/// completion.
pub const JOB_SIDECARS: &str = "outrigger.dev/job-sidecars";
/// The only value of [`JOB_SIDECARS`].
pub const NATIVE: &str = "native";
/// Environment variable of a sidecar that ends with the containers of a Job: its value is `true`.
pub const ENDS_WITH_JOB: &str = "KRUISE_TERMINATE_SIDECAR_WHEN_JOB_EXIT";
/// On the Secret with our CA: the time since when it signs certificates, in RFC 3339.
pub const SIGNING_SINCE: &str = "outrigger.dev/signing-since";

/// On a Sidecar: the hash of the spec that a SidecarGenerator wrote.
pub const SIDECAR_SPEC_HASH: &str = "sidecar-generator-operator/sidecar-spec-hash";
/// On an object without a controller: `"true"` lets a SidecarGenerator or MeshService of its name take it over.
pub const ADOPT: &str = "outrigger.dev/adopt";
/// On a Secret: the hosts that may receive it as credentials, as `HOST[:PORT],…`.
pub const SEND_TO: &str = "outrigger.dev/send-to";

/// On a MeshService or its Service: with [`NOT_MANAGED`] nothing is written or deleted for it.
pub const MANAGED: &str = "mesh.operator.istio.io/managed";
/// The only meaningful value of [`MANAGED`].
pub const NOT_MANAGED: &str = "false";
/// On a MeshService: the Pod labels that its Service selects, as `KEY=VALUE,…`.
pub const SERVICE_SELECTOR: &str = "outrigger.dev/service-selector";
/// On a Namespace: the namespaces whose MeshServices may have objects in it, as `NAMESPACE,…`.
pub const ALLOW_MESH_FROM: &str = "outrigger.dev/allow-mesh-from";
/// On a MeshService: the repairs that may change objects of others, as `Adopt,…`. On a Service: the repairs that may change it, as
/// `AddPort,…`.
pub const MESH_REPAIR: &str = "outrigger.dev/mesh-repair";
/// On an object in another namespace than that of its MeshService: the object's own namespace and name, which those of a copy differ
/// from.
pub const MESH_OBJECT: &str = "outrigger.dev/mesh-object";
/// On an object that a MeshService took over: its previous spec, as JSON.
pub const MESH_ADOPTED: &str = "outrigger.dev/mesh-spec-before";
/// Label of an object made for a MeshService: the MeshService's name.
pub const MESH_SERVICE: &str = "outrigger.dev/mesh-service";
/// Label of an object made for a MeshService: the MeshService's namespace.
pub const MESH_SERVICE_NAMESPACE: &str = "outrigger.dev/mesh-service-namespace";

/// On an object that refers to a webhook: the Certificate whose CA cert-manager's injector writes there, as
/// `NAMESPACE/NAME`.
pub const INJECT_CA_FROM: &str = "cert-manager.io/inject-ca-from";

/// Kubernetes' label for the program that manages an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The annotation in which `kubectl apply` keeps the whole applied object.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Label that the API server sets on every Namespace: its name.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Annotation of mirror Pods. The kubelet owns them, so nothing may be injected.
pub const MIRROR_POD: &str = "kubernetes.io/config.mirror";
/// Label of a Namespace: the Pod Security level that its Pods must meet.
pub const POD_SECURITY_ENFORCE: &str = "pod-security.kubernetes.io/enforce";
/// Label of a Namespace: the Kubernetes version whose rules that level uses.
pub const POD_SECURITY_ENFORCE_VERSION: &str = "pod-security.kubernetes.io/enforce-version";

/// The annotation of a Pod with the version of a hot container.
#[must_use]
pub fn version_of(container: &str) -> String {
    format!("version.sidecarset.kruise.io/{container}")
}

/// The annotation of a Pod with the version of a hot container's twin.
#[must_use]
pub fn version_alt_of(container: &str) -> String {
    format!("versionalt.sidecarset.kruise.io/{container}")
}
