//! The mount of the service account token, which the API server's own admission adds to every container.
//!
//! Source: `mountServiceAccountToken` of `k8s.io/kubernetes/plugin/pkg/admission/serviceaccount`. It runs before the webhooks and
//! again after them. A sidecar without the mount would get it in the second run, and the API server would then call its webhooks
//! again.

use super::go_json::write_text;
use super::mount_path::cleaned;
use super::pod_lists::PodLists;
use crate::api::pod::{ContainerView, MountView, SpecView};

/// The mount path.
const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The prefix of its volumes' names. The rest is random for each Pod.
const VOLUME: &str = "kube-api-access-";

/// Returns the mount as JSON text; `None` if the API server adds it to no container of the Pod. Any container of the Pod shows what the
/// API server did.
pub(super) fn token_mount(spec: Option<&SpecView<'_>>, lists: &PodLists<'_>) -> Option<String> {
    if spec?.refuses_token() {
        return None;
    }
    let volume = lists.volumes.as_ref()?.iter().find(|volume| volume.value.name.starts_with(VOLUME))?;
    let volume = &*volume.value.name;
    let mut containers = lists.containers.iter().chain(&lists.init_containers).flat_map(|list| list.iter());
    if !containers.clone().all(|container| mounts(container).any(|mount| *mount.mount_path == *PATH)) {
        return None;
    }
    let is_token = |mount: &MountView<'_>| *mount.mount_path == *PATH && *mount.name == *volume;
    containers.any(|container| mounts(container).any(is_token)).then(|| {
        let mut mount = String::from("{\"name\":");
        write_text(&mut mount, volume);
        mount.push_str(",\"readOnly\":true,\"mountPath\":\"");
        mount.push_str(PATH);
        mount.push_str("\"}");
        mount
    })
}

/// Whether a path is the token's.
pub(super) fn is_token_path(path: &str) -> bool {
    *cleaned(path) == *PATH
}

fn mounts<'v, 'a>(container: &'v ContainerView<'a>) -> impl Iterator<Item = &'v MountView<'a>> {
    container.volume_mounts.iter().flatten().map(|mount| &mount.value)
}
