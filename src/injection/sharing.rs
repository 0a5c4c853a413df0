//! What an injected container takes from the Pod's app containers: mounts, block devices and environment variables.

use super::container::{InjectableContainer, List};
use crate::api::pod::{ContainerView, EnvView, PodView, WithText};
use crate::api::sidecarset::TransferEnv;
use std::collections::BTreeSet;

/// What is added to one container, as JSON texts.
#[derive(Debug, Default)]
pub(super) struct Additions<'a> {
    pub env: Vec<&'a str>,
    pub volume_mounts: Vec<&'a str>,
    pub volume_devices: Vec<&'a str>,
    /// Replaces the container's own resources.
    pub resources: Option<String>,
}

impl<'a> Additions<'a> {
    /// What is added to one of the lists.
    pub fn of(&self, list: List) -> &[&'a str] {
        match list {
            List::Env => &self.env,
            List::VolumeMounts => &self.volume_mounts,
            List::VolumeDevices => &self.volume_devices,
        }
    }
}

/// A `transferEnv` entry.
#[derive(Debug)]
pub(super) struct TransferSource {
    container: SourceContainer,
    /// Sorted, as OpenKruise takes them.
    variables: BTreeSet<String>,
}

/// Where the name of a container to copy from is found.
#[derive(Debug)]
enum SourceContainer {
    Named(String),
    Label(String),
    Annotation(String),
    /// A field that cannot be resolved; OpenKruise skips the entry.
    Unresolvable(String),
}

impl TransferSource {
    pub fn new(entry: &TransferEnv) -> Self {
        let field = entry.source_container_name_from.as_ref().and_then(|from| from.field_ref.as_ref());
        let container = match field {
            None => SourceContainer::Named(entry.source_container_name.clone()),
            Some(field) => {
                let key_in = |map: &str| {
                    let key = field.field_path.strip_prefix(map)?.strip_prefix("['")?.strip_suffix("']")?;
                    Some(key.to_owned())
                };
                key_in("metadata.labels")
                    .map(SourceContainer::Label)
                    .or_else(|| key_in("metadata.annotations").map(SourceContainer::Annotation))
                    .unwrap_or_else(|| SourceContainer::Unresolvable(field.field_path.clone()))
            }
        };
        let names = entry.env_names.iter().flatten().chain([&entry.env_name]);
        Self { container, variables: names.filter(|name| !name.is_empty()).cloned().collect() }
    }

    fn resolve<'p>(
        &'p self,
        pod: &'p PodView<'_>,
        annotation: impl Fn(&str) -> Option<&'p str>,
    ) -> Result<&'p str, String> {
        match &self.container {
            SourceContainer::Named(name) => Ok(name),
            SourceContainer::Label(key) => pod.label(key).ok_or_else(|| format!("the Pod has no label {key:?}")),
            SourceContainer::Annotation(key) => {
                annotation(key).ok_or_else(|| format!("the Pod has no annotation {key:?}"))
            }
            SourceContainer::Unresolvable(path) => {
                Err(format!("{path:?} is no label or annotation of the Pod, such as metadata.labels['key']"))
            }
        }
    }
}

/// What `container` takes from the Pod. `present` is the container as it stands in the Pod, where it is there already: what it
/// has is not taken again. `annotation` looks up the Pod's annotations as they will be. What cannot be found is told to `warn`.
///
/// Containers that were injected are no source: OpenKruise copies variables from those that a Pod has already, which would make
/// the second pass over a Pod differ from the first.
pub(super) fn additions<'a>(
    container: &InjectableContainer,
    pod: &'a PodView<'a>,
    app_containers: &'a [ContainerView<'a>],
    annotation: impl Fn(&str) -> Option<&'a str>,
    present: Option<&ContainerView<'_>>,
    mut warn: impl FnMut(String),
) -> Additions<'a> {
    let mut additions = Additions::default();
    if !container.depends_on_pod() {
        return additions;
    }
    let mut paths: Vec<&str> = container.own_paths.iter().map(String::as_str).collect();
    let mut names: Vec<&str> =
        container.own_env.iter().map(String::as_str).chain([crate::api::keys::IS_INJECTED]).collect();
    if let Some(present) = present {
        paths.extend(present.volume_mounts.iter().flatten().map(|mount| &*mount.value.mount_path));
        paths.extend(present.volume_devices.iter().flatten().map(|device| &*device.value.device_path));
        names.extend(present.env.iter().flatten().map(|env| &*env.value.name));
    }
    let mut env: Vec<(&str, &'a str)> = Vec::new();
    for source in &container.transfers {
        let from = match source.resolve(pod, |key| annotation(key)) {
            Ok(from) => from,
            Err(problem) => {
                warn(format!("copies no variables with transferEnv: {problem}"));
                continue;
            }
        };
        for variable in &source.variables {
            match find_last(app_containers, from, variable) {
                Some(found) => env.push((variable, found.text)),
                None => {
                    warn(format!("copies no variable {variable:?}: the Pod has no container {from:?} that sets it"));
                }
            }
        }
    }

    for app in app_containers.iter().filter(|app| !app.is_injected()) {
        if container.shares_mounts {
            for mount in app.volume_mounts.iter().flatten() {
                // OpenKruise copies the variables of each expression, whether the mount itself is taken or not
                for variable in variables_of(&mount.value.sub_path_expr) {
                    let found = app.env.iter().flatten().find(|env| &*env.value.name == variable);
                    env.extend(found.map(|found| (&*found.value.name, found.text)));
                }
                if !paths.contains(&&*mount.value.mount_path) {
                    paths.push(&mount.value.mount_path);
                    additions.volume_mounts.push(mount.text);
                }
            }
        }
        if container.shares_devices {
            for device in app.volume_devices.iter().flatten() {
                if !paths.contains(&&*device.value.device_path) {
                    paths.push(&device.value.device_path);
                    additions.volume_devices.push(device.text);
                }
            }
        }
    }
    for (name, text) in env {
        if !names.contains(&name) {
            names.push(name);
            additions.env.push(text);
        }
    }
    additions
}

/// A variable of an app container; of one set twice the last, which is the one that counts.
fn find_last<'c, 'a>(
    containers: &'c [ContainerView<'a>],
    container: &str,
    variable: &str,
) -> Option<&'c WithText<'a, EnvView<'a>>> {
    let mut named = containers.iter().rev().filter(|c| &*c.name == container && !c.is_injected());
    named.find_map(|candidate| candidate.env.iter().flatten().rev().find(|env| &*env.value.name == variable))
}

/// Names in `$(NAME)` of a `subPathExpr`, by the characters that Kubernetes allows in them.
fn variables_of(expression: &str) -> impl Iterator<Item = &str> {
    expression.split("$(").skip(1).filter_map(|rest| {
        let name = rest.split_once(')')?.0;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        (!name.is_empty() && name.chars().all(allowed) && !name.starts_with(|c: char| c.is_ascii_digit()))
            .then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_an_expression_are_those_in_dollar_brackets() {
        let of = |expression| variables_of(expression).collect::<Vec<_>>();
        assert_eq!(of("$(POD_NAME)/x/$(a.b-c)"), ["POD_NAME", "a.b-c"]);
        assert_eq!(of("$(1A) $() $(A B) $(OPEN"), Vec::<&str>::new());
        assert_eq!(of("plain"), Vec::<&str>::new());
    }
}
