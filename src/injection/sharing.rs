//! The parts of app containers that an injected container takes: mounts, block devices and environment variables.

use super::additions::{AddedList, Additions};
use super::container::InjectableContainer;
use super::mount_path::cleaned;
use super::references::{copied, resolved_in};
use super::token_mount::is_token_path;
use super::transfer::TransferSource;
use crate::api::pod::{ContainerView, EnvView, MountView, PodView, WithText};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The parts of the Pod's own app containers that sidecars can take. They are collected once, on demand.
///
/// Injected containers are not a source. OpenKruise copies variables from injected containers that a Pod already has, which
/// would make the second pass over a Pod differ from the first.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    apps: Vec<&'a ContainerView<'a>>,
    paths: OnceCell<Vec<OfferedPath<'a>>>,
    env: OnceCell<Vec<EnvPlace>>,
    /// The index of the first variable, by app container and name.
    first: OnceCell<HashMap<(usize, &'a str), usize>>,
}

/// A variable's location: the index of the app container, and the index in its list.
type EnvPlace = (usize, usize);

/// A mount or a device, the first in its list at its path.
#[derive(Debug)]
struct OfferedPath<'a> {
    list: AddedList,
    /// The cleaned path.
    path: Cow<'a, str>,
    text: &'a str,
    /// Whether mounts inside it propagate to the node. Only privileged containers may have this.
    bidirectional: bool,
    /// Whether it is the first at its path in both lists.
    first: bool,
}

impl<'a> Offer<'a> {
    /// Collects from these app containers.
    pub fn of(app_containers: &'a [ContainerView<'a>]) -> Self {
        let apps = app_containers.iter().filter(|app| !app.is_injected()).collect();
        Self { apps, paths: OnceCell::new(), env: OnceCell::new(), first: OnceCell::new() }
    }

    /// Returns mounts and devices in the order of the containers.
    fn paths(&self) -> &[OfferedPath<'a>] {
        self.paths.get_or_init(|| {
            let mut offered: HashMap<Cow<'_, str>, (bool, bool)> = HashMap::new();
            let mut paths = Vec::new();
            for app in &self.apps {
                let mounts = app.volume_mounts.iter().flatten().map(|mount| {
                    let MountView { mount_path, mount_propagation, .. } = &mount.value;
                    (AddedList::VolumeMounts, mount_path, mount.text, **mount_propagation == *"Bidirectional")
                });
                let devices = app.volume_devices.iter().flatten();
                let devices =
                    devices.map(|device| (AddedList::VolumeDevices, &device.value.device_path, device.text, false));
                for (list, path, text, bidirectional) in mounts.chain(devices) {
                    let path = cleaned(path);
                    let (mount, device) = offered.entry(path.clone()).or_default();
                    let first = !*mount && !*device;
                    let seen = if list == AddedList::VolumeMounts { mount } else { device };
                    if !std::mem::replace(seen, true) {
                        paths.push(OfferedPath { list, path, text, bidirectional, first });
                    }
                }
            }
            paths
        })
    }

    /// Returns the variables that the `subPathExpr` of mounts refer to, without duplicates. OpenKruise copies them for each
    /// expression, even if the mount itself is not taken.
    fn env(&self) -> &[EnvPlace] {
        self.env.get_or_init(|| {
            let mut named: HashSet<&str> = HashSet::new();
            let mut env = Vec::new();
            for (app_index, app) in self.apps.iter().enumerate() {
                let mounts = app.volume_mounts.iter().flatten();
                for variable in mounts.flat_map(|mount| variables_of(&mount.value.sub_path_expr)) {
                    let found = self.first(app_index, variable);
                    if let Some(index) = found.filter(|_| named.insert(variable)) {
                        env.push((app_index, index));
                    }
                }
            }
            env
        })
    }

    /// Returns the variables that `transferEnv` asks for, if they exist. If a variable is set twice, the last one
    /// counts.
    fn transferred<'n>(&self, sources: &[(&'n str, &'n TransferSource)]) -> HashMap<(&'n str, &'n str), EnvPlace>
    where
        'a: 'n,
    {
        let containers: HashSet<&str> = sources.iter().map(|(from, _)| *from).collect();
        let mut wanted: HashSet<(&str, &str)> = HashSet::new();
        for (from, source) in sources {
            wanted.extend(source.variables.iter().map(|variable| (*from, variable.as_str())));
        }
        let mut found = HashMap::new();
        for (app_index, app) in self.apps.iter().enumerate().filter(|(_, app)| containers.contains(&*app.name)) {
            for (index, env) in app.env.iter().flatten().enumerate() {
                if let Some(variable) = wanted.get(&(&*app.name, &*env.value.name)) {
                    found.insert(*variable, (app_index, index));
                }
            }
        }
        found
    }

    /// Returns the index of the first variable of this name in an app container.
    fn first(&self, app: usize, name: &str) -> Option<usize> {
        let first = self.first.get_or_init(|| {
            let variables = self.apps.iter().enumerate().flat_map(|(app, container)| {
                let env = container.env.as_deref().unwrap_or_default().iter().enumerate();
                // Collecting in reverse makes the first one win.
                env.rev().map(move |(index, env)| ((app, &*env.value.name), index))
            });
            variables.collect()
        });
        first.get(&(app, name)).copied()
    }

    /// Returns the variable at a location, with its container.
    fn variable(&self, (app, index): EnvPlace) -> Option<(&'a ContainerView<'a>, &'a WithText<'a, EnvView<'a>>)> {
        let app = *self.apps.get(app)?;
        Some((app, app.env.as_ref()?.get(index)?))
    }
}

/// Returns what `container` takes. `present` is the container in the Pod, if it is already there; what it has is not taken again.
/// `annotation` looks up the Pod's annotations after injection. `warn` is called for everything that cannot be found.
pub(super) fn additions<'a>(
    container: &InjectableContainer,
    pod: &'a PodView<'a>,
    offer: &Offer<'a>,
    annotation: impl Fn(&str) -> Option<&'a str>,
    present: Option<&ContainerView<'_>>,
    mut warn: impl FnMut(String),
) -> Additions<'a> {
    let mut additions = Additions::default();
    let (mounts, devices) = (container.shares_mounts, container.shares_devices);
    if mounts || devices {
        let mut has = HashSet::new();
        if let Some(present) = present {
            has.extend(present.volume_mounts.iter().flatten().map(|mount| cleaned(&mount.value.mount_path)));
            has.extend(present.volume_devices.iter().flatten().map(|device| cleaned(&device.value.device_path)));
        }
        for offered in offer.paths() {
            let (shared, taken) = match offered.list {
                AddedList::VolumeMounts => (mounts, &mut additions.volume_mounts),
                AddedList::VolumeDevices => (devices, &mut additions.volume_devices),
                AddedList::Env => continue,
            };
            let is_free = offered.first || !(mounts && devices);
            if shared && is_free && !container.own.paths.contains(&offered.path) && !has.contains(&offered.path) {
                additions.have_token_path |= offered.list == AddedList::VolumeMounts && is_token_path(&offered.path);
                taken.push(if offered.bidirectional && !container.own.privileged {
                    from_host_only(offered.text)
                } else {
                    Cow::Borrowed(offered.text)
                });
            }
        }
    }
    let transferred = transferred(container, pod, offer, annotation, &mut warn);
    let shared = if mounts { offer.env() } else { &[] };
    additions.env = variables(container, offer, transferred.into_iter().chain(shared.iter().copied()), present, warn);
    additions
}

/// Returns the texts of the variables that a sidecar takes, the first of each name. They keep the Pod's order, because a variable's
/// value may refer to earlier ones.
fn variables<'a>(
    container: &InjectableContainer,
    offer: &Offer<'a>,
    wanted: impl Iterator<Item = EnvPlace>,
    present: Option<&ContainerView<'_>>,
    mut warn: impl FnMut(String),
) -> Vec<Cow<'a, str>> {
    let has_env = present.iter().flat_map(|present| present.env.iter().flatten());
    let mut names: HashSet<&str> = has_env.map(|env| &*env.value.name).collect();
    let mut taken = BTreeMap::new();
    for place in wanted {
        if let Some((app, variable)) = offer.variable(place)
            && !container.own.env.contains(&variable.value.name)
            && names.insert(&variable.value.name)
        {
            taken.insert(place, (app, variable));
        }
    }
    for (_, variable) in taken.values() {
        names.remove(&*variable.value.name);
    }
    let mut texts = Vec::new();
    for ((app_index, index), (app, variable)) in taken {
        let name = &*variable.value.name;
        let lacks = |reference: &&str| !names.contains(reference) && !container.own.env.contains(reference);
        if !container.own.has_env_from
            && let is_in_front = (|name: &str| offer.first(app_index, name).is_some_and(|first| first < index))
            && let Some(reference) = resolved_in(app, &variable.value, is_in_front).find(lacks)
        {
            let whence = if is_in_front(reference) { "" } else { ", if envFrom sets it there" };
            warn(format!(
                "copies the variable {name:?} of container {:?}, but not $({reference}), which its value names: copy that \
                 too{whence}",
                &*app.name
            ));
        }
        names.insert(name);
        texts.push(copied(app, variable));
    }
    texts
}

/// Removes `Bidirectional` propagation, which only privileged containers may have. The mount still receives mounts from the node.
fn from_host_only(mount: &str) -> Cow<'_, str> {
    let Ok(mut fields) = serde_json::from_str::<Map<String, Value>>(mount) else { return Cow::Borrowed(mount) };
    fields.insert("mountPropagation".to_owned(), "HostToContainer".into());
    Cow::Owned(Value::Object(fields).to_string())
}

/// Returns the locations of the variables that `transferEnv` copies, in the order of its entries.
fn transferred<'n, 'a: 'n>(
    container: &'n InjectableContainer,
    pod: &'a PodView<'a>,
    offer: &Offer<'a>,
    annotation: impl Fn(&str) -> Option<&'a str>,
    mut warn: impl FnMut(String),
) -> Vec<EnvPlace> {
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
                        Some(place) => transferred.push(*place),
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

/// Returns the names in `$(NAME)` of a `subPathExpr`, in the characters that Kubernetes allows.
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
