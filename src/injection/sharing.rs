//! What an injected container takes from the Pod's app containers: mounts, block devices and environment variables.

use super::additions::{Additions, List};
use super::container::InjectableContainer;
use super::transfer::TransferSource;
use crate::api::pod::{ContainerView, EnvView, PodView, WithText};
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

/// What the Pod's own app containers have, for all sidecars that take some of it. Found once, and only where it is asked for.
///
/// Containers that were injected are no source: OpenKruise copies variables from those that a Pod has already, which would make
/// the second pass over a Pod differ from the first.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    apps: Vec<&'a ContainerView<'a>>,
    paths: OnceCell<Vec<OfferedPath<'a>>>,
    env: OnceCell<Vec<(&'a str, &'a str)>>,
}

/// A mount or a device, the first of its list at its path.
#[derive(Debug)]
struct OfferedPath<'a> {
    list: List,
    path: &'a str,
    text: &'a str,
    /// Whether it is the first at its path of both lists.
    first: bool,
}

impl<'a> Offer<'a> {
    /// That of these app containers.
    pub fn of(app_containers: &'a [ContainerView<'a>]) -> Self {
        let apps = app_containers.iter().filter(|app| !app.is_injected()).collect();
        Self { apps, paths: OnceCell::new(), env: OnceCell::new() }
    }

    /// Mounts and devices, in the order of the containers.
    fn paths(&self) -> &[OfferedPath<'a>] {
        self.paths.get_or_init(|| {
            let mut offered: HashMap<&str, (bool, bool)> = HashMap::new();
            let mut paths = Vec::new();
            for app in &self.apps {
                let mounts = app.volume_mounts.iter().flatten();
                let mounts = mounts.map(|mount| (List::VolumeMounts, &*mount.value.mount_path, mount.text));
                let devices = app.volume_devices.iter().flatten();
                let devices = devices.map(|device| (List::VolumeDevices, &*device.value.device_path, device.text));
                for (list, path, text) in mounts.chain(devices) {
                    let (mount, device) = offered.entry(path).or_default();
                    let first = !*mount && !*device;
                    let seen = if list == List::VolumeMounts { mount } else { device };
                    if !std::mem::replace(seen, true) {
                        paths.push(OfferedPath { list, path, text, first });
                    }
                }
            }
            paths
        })
    }

    /// Variables that the `subPathExpr` of mounts name, each once, with their texts. OpenKruise copies those of each expression,
    /// whether the mount itself is taken or not.
    fn env(&self) -> &[(&'a str, &'a str)] {
        self.env.get_or_init(|| {
            let mut named: HashSet<&str> = HashSet::new();
            let mut env = Vec::new();
            for app in &self.apps {
                let mut own: Option<HashMap<&str, &WithText<'a, EnvView<'a>>>> = None;
                let mounts = app.volume_mounts.iter().flatten();
                for variable in mounts.flat_map(|mount| variables_of(&mount.value.sub_path_expr)) {
                    // of one set twice the first: collecting from the end lets it win
                    let of_app = || app.env.iter().flatten().rev().map(|env| (&*env.value.name, env)).collect();
                    let found = own.get_or_insert_with(of_app).get(variable);
                    if let Some(found) = found.filter(|found| named.insert(&found.value.name)) {
                        env.push((&*found.value.name, found.text));
                    }
                }
            }
            env
        })
    }

    /// Variables that `transferEnv` asks for, as far as they are found; of one set twice the last, which is the one that counts.
    fn transferred<'n>(&self, sources: &[(&'n str, &'n TransferSource)]) -> HashMap<(&'n str, &'n str), &'a str>
    where
        'a: 'n,
    {
        let containers: HashSet<&str> = sources.iter().map(|(from, _)| *from).collect();
        let mut wanted: HashSet<(&str, &str)> = HashSet::new();
        for (from, source) in sources {
            wanted.extend(source.variables.iter().map(|variable| (*from, variable.as_str())));
        }
        let mut found = HashMap::new();
        for app in self.apps.iter().filter(|app| containers.contains(&*app.name)) {
            for env in app.env.iter().flatten() {
                if let Some(variable) = wanted.get(&(&*app.name, &*env.value.name)) {
                    found.insert(*variable, env.text);
                }
            }
        }
        found
    }
}

/// What `container` takes of what is on offer. `present` is the container as it stands in the Pod, where it is there already: what
/// it has is not taken again. `annotation` looks up the Pod's annotations as they will be. What cannot be found is told to `warn`.
pub(super) fn additions<'a>(
    container: &InjectableContainer,
    pod: &'a PodView<'a>,
    offer: &Offer<'a>,
    annotation: impl Fn(&str) -> Option<&'a str>,
    present: Option<&ContainerView<'_>>,
    warn: impl FnMut(String),
) -> Additions<'a> {
    let mut additions = Additions::default();
    let (mut has_paths, mut has_env) = (HashSet::new(), HashSet::new());
    if let Some(present) = present {
        has_paths.extend(present.volume_mounts.iter().flatten().map(|mount| &*mount.value.mount_path));
        has_paths.extend(present.volume_devices.iter().flatten().map(|device| &*device.value.device_path));
        has_env.extend(present.env.iter().flatten().map(|env| &*env.value.name));
    }
    let (mounts, devices) = (container.shares_mounts, container.shares_devices);
    if mounts || devices {
        for offered in offer.paths() {
            let (shared, taken) = match offered.list {
                List::VolumeMounts => (mounts, &mut additions.volume_mounts),
                List::VolumeDevices => (devices, &mut additions.volume_devices),
                List::Env => continue,
            };
            let is_free = offered.first || !(mounts && devices);
            if shared && is_free && !container.own_paths.contains(offered.path) && !has_paths.contains(offered.path) {
                taken.push(offered.text);
            }
        }
    }
    let transferred = transferred(container, pod, offer, annotation, warn);
    let shared = if mounts { offer.env() } else { &[] };
    for (name, text) in transferred.into_iter().chain(shared.iter().copied()) {
        if !container.own_env.contains(name) && has_env.insert(name) {
            additions.env.push(text);
        }
    }
    additions
}

/// Names and texts of the variables that `transferEnv` copies, in the order of its entries.
fn transferred<'n, 'a: 'n>(
    container: &'n InjectableContainer,
    pod: &'a PodView<'a>,
    offer: &Offer<'a>,
    annotation: impl Fn(&str) -> Option<&'a str>,
    mut warn: impl FnMut(String),
) -> Vec<(&'n str, &'a str)> {
    let resolved: Vec<_> =
        container.transfers.iter().map(|source| (source.resolve(pod, |key| annotation(key)), source)).collect();
    let sources: Vec<_> = resolved.iter().filter_map(|(from, source)| Some((*from.as_ref().ok()?, *source))).collect();
    let found = if sources.is_empty() { HashMap::new() } else { offer.transferred(&sources) };
    let mut transferred = Vec::new();
    for (from, source) in &resolved {
        match from {
            Ok(from) => {
                for variable in &source.variables {
                    match found.get(&(*from, variable.as_str())) {
                        Some(text) => transferred.push((variable.as_str(), *text)),
                        None => warn(format!(
                            "copies no variable {variable:?}: the Pod has no container {from:?} that sets it"
                        )),
                    }
                }
            }
            Err(problem) => warn(format!("copies no variables with transferEnv: {problem}")),
        }
    }
    transferred
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
