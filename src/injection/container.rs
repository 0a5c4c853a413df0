//! A container ready for injection: what is fixed of it is written out once, what depends on the Pod is added for each Pod.

use super::go_json::write_text;
use super::pod_security::{self, Finding};
use super::resources::CompiledPolicy;
use super::sharing::{Additions, TransferSource};
use crate::api::decode::FieldError;
use crate::api::keys;
use crate::api::sidecarset::{PodInjectPolicy, SharePolicy, SidecarContainer, UpgradeType};
use serde_json::{Map, Value, json};

/// A container ready for injection. Of a hot upgrade there are two, the working one and its idle twin.
#[derive(Debug)]
pub(super) struct InjectableContainer {
    /// Its name in the Pod.
    pub name: String,
    /// The container's place in the set.
    pub hot: Option<HotTwin>,
    /// In front of the Pod's own containers, or behind them.
    pub before: bool,
    /// Names of the volumes it mounts itself, in order, each once.
    pub volumes: Vec<String>,
    pub pod_security: Vec<Finding>,
    /// What it takes from the Pod's app containers.
    pub shares_mounts: bool,
    pub shares_devices: bool,
    pub transfers: Vec<TransferSource>,
    /// Paths of its own mounts and devices.
    pub own_paths: Vec<String>,
    /// Names of its own environment variables.
    pub own_env: Vec<String>,
    /// Computes its resources from those of the app containers.
    pub policy: Option<CompiledPolicy>,
    members: Vec<(String, Member)>,
    /// The container as text, where nothing of it depends on the Pod.
    fixed: Option<String>,
}

/// One of the two containers of a hot upgrade.
#[derive(Clone, Debug)]
pub(super) struct HotTwin {
    /// Name of the container in the set.
    pub base: String,
    /// Whether it runs the image first; the other has the empty image.
    pub working: bool,
}

/// A member of the container's JSON object.
#[derive(Debug)]
enum Member {
    /// JSON text.
    Fixed(String),
    /// A list that may grow: its own items as JSON text, and those that stay last.
    Growing(List, Vec<String>, Vec<String>),
}

/// A list that may grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum List {
    Env,
    VolumeMounts,
    VolumeDevices,
}

impl List {
    pub const ALL: [Self; 3] = [Self::Env, Self::VolumeMounts, Self::VolumeDevices];

    /// Name of the field.
    pub fn field(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::VolumeMounts => "volumeMounts",
            Self::VolumeDevices => "volumeDevices",
        }
    }
}

impl InjectableContainer {
    /// The containers to inject for one of a set, which stands at `field`.
    ///
    /// # Errors
    /// When its `resourcesPolicy` cannot be compiled.
    pub fn of(container: &SidecarContainer, may_be_hot: bool, field: &str) -> Result<Vec<Self>, FieldError> {
        let policy = container.resources_policy.as_ref();
        let policy =
            policy.map(|policy| CompiledPolicy::compile(policy, &format!("{field}.resourcesPolicy"))).transpose()?;
        let named =
            |name: &str, hot: Option<HotTwin>| Self { policy: policy.clone(), ..Self::new(container, name, hot) };
        let hot = container.upgrade_strategy.upgrade_type == Some(UpgradeType::HotUpgrade);
        if !(hot && may_be_hot) {
            return Ok(vec![named(container.name(), None)]);
        }
        let twin = |number: u8, working: bool| {
            let name = format!("{}-{number}", container.name());
            named(&name, Some(HotTwin { base: container.name().to_owned(), working }))
        };
        Ok(vec![twin(1, true), twin(2, false)])
    }

    fn new(container: &SidecarContainer, name: &str, hot: Option<HotTwin>) -> Self {
        let mut template = container.template.clone();
        template.insert("name".to_owned(), name.into());
        if hot.as_ref().is_some_and(|twin| !twin.working) {
            let image = &container.upgrade_strategy.hot_upgrade_empty_image;
            template.insert("image".to_owned(), image.as_str().into());
        }
        let items = |list: List| template.get(list.field()).and_then(Value::as_array).into_iter().flatten();
        let texts = |list: List, key: &str| {
            let texts = items(list).filter_map(|item| item.get(key)?.as_str());
            texts.map(str::to_owned).collect::<Vec<_>>()
        };
        let mut own_paths = texts(List::VolumeMounts, "mountPath");
        own_paths.extend(texts(List::VolumeDevices, "devicePath"));
        let transfers: Vec<_> = container.transfer_env.iter().flatten().map(TransferSource::new).collect();
        let mut this = Self {
            name: name.to_owned(),
            before: container.pod_inject_policy == Some(PodInjectPolicy::Before),
            volumes: mounted_volumes(&template),
            pod_security: pod_security::of_container(&template),
            shares_mounts: container.share_volume_policy.enabled(),
            shares_devices: container.share_volume_device_policy.as_ref().is_some_and(SharePolicy::enabled),
            transfers,
            own_paths,
            own_env: texts(List::Env, "name"),
            members: members(&template, hot.is_some().then_some(name)),
            hot,
            policy: None,
            fixed: None,
        };
        if !(this.shares_mounts || this.shares_devices || !this.transfers.is_empty()) {
            this.fixed = Some(this.written(&Additions::default()));
        }
        this
    }

    /// Whether something of it depends on the Pod's app containers.
    pub fn depends_on_pod(&self) -> bool {
        self.fixed.is_none()
    }

    /// The container as JSON text, with what it takes from the Pod.
    pub fn json(&self, additions: &Additions<'_>) -> std::borrow::Cow<'_, str> {
        match &self.fixed {
            Some(text) if additions.resources.is_none() => text.into(),
            _ => self.written(additions).into(),
        }
    }

    fn written(&self, additions: &Additions<'_>) -> String {
        let mut json = String::from("{");
        let mut separator = "";
        let mut write_member = |key: &str, write: &mut dyn FnMut(&mut String)| {
            json.push_str(separator);
            separator = ",";
            write_text(&mut json, key);
            json.push(':');
            write(&mut json);
        };
        for (key, member) in &self.members {
            match member {
                Member::Fixed(_) if key == "resources" && additions.resources.is_some() => {}
                Member::Fixed(text) => write_member(key, &mut |json| json.push_str(text)),
                Member::Growing(list, own, end) => {
                    let added = additions.of(*list);
                    if own.is_empty() && added.is_empty() && end.is_empty() {
                        continue;
                    }
                    write_member(key, &mut |json| {
                        let items = own.iter().map(String::as_str).chain(added.iter().copied());
                        json.push('[');
                        for (index, item) in items.chain(end.iter().map(String::as_str)).enumerate() {
                            if index > 0 {
                                json.push(',');
                            }
                            json.push_str(item);
                        }
                        json.push(']');
                    });
                }
            }
        }
        if let Some(resources) = &additions.resources {
            write_member("resources", &mut |json| json.push_str(resources));
        }
        json.push('}');
        json
    }
}

/// The members of the container's object in the user's order, lists that may grow in their places or at the end.
fn members(template: &Map<String, Value>, hot_name: Option<&str>) -> Vec<(String, Member)> {
    let growing = |list: List, value: Option<&Value>| {
        let mut own: Vec<Value> = value.and_then(Value::as_array).cloned().unwrap_or_default();
        let mut last = Vec::new();
        if list == List::Env {
            let mark = json!({"name": keys::IS_INJECTED, "value": "true"});
            if !own.contains(&mark) {
                own.push(mark);
            }
            last.extend(hot_name.into_iter().flat_map(version_variables));
        }
        Member::Growing(list, own.iter().map(Value::to_string).collect(), last)
    };
    let list_of = |key: &str| List::ALL.into_iter().find(|list| list.field() == key);
    let mut members: Vec<(String, Member)> = Vec::new();
    for (key, value) in template {
        let member = match list_of(key) {
            Some(list) if value.is_array() || value.is_null() => growing(list, Some(value)),
            _ => Member::Fixed(value.to_string()),
        };
        members.push((key.clone(), member));
    }
    for list in List::ALL {
        if !template.contains_key(list.field()) {
            members.push((list.field().to_owned(), growing(list, None)));
        }
    }
    members
}

/// The variables by which a hot container knows whether it works: from annotations of the Pod, as OpenKruise writes them.
fn version_variables(name: &str) -> [String; 2] {
    let variable = |variable: &str, key: String| {
        let path = format!("metadata.annotations['{key}']");
        json!({"name": variable, "valueFrom": {"fieldRef": {"fieldPath": path}}}).to_string()
    };
    [
        variable(keys::SIDECARSET_VERSION, keys::version_of(name)),
        variable(keys::SIDECARSET_VERSION_ALT, keys::version_alt_of(name)),
    ]
}

fn mounted_volumes(template: &Map<String, Value>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for mount in ["volumeMounts", "volumeDevices"].iter().filter_map(|list| template.get(*list)?.as_array()).flatten() {
        if let Some(name) = mount.get("name").and_then(Value::as_str)
            && !names.iter().any(|n| n == name)
        {
            names.push(name.to_owned());
        }
    }
    names
}
