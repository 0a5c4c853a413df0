//! A container ready for injection. Its fixed part is serialized once; the part that depends on the Pod is added for
//! each Pod.

use super::additions::{AddedList, Additions};
use super::demands::Demands;
use super::go_json::write_text;
use super::mount_path::cleaned;
use super::patterns::Patterns;
use super::pod_security::{self, Finding};
use super::resources::CompiledPolicy;
use super::token_mount::is_token_path;
use super::transfer::TransferSource;
use super::verify::FixedContainer;
use super::volume_names::volumes_of;
use crate::api::decode::FieldError;
use crate::api::keys;
use crate::api::sidecarset::{PodInjectPolicy, SharePolicy, SidecarContainer, UpgradeType};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

/// A container ready for injection. A hot upgrade has two of them, the working container and its idle twin.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
pub(super) struct InjectableContainer {
    /// Its name in the Pod.
    pub name: String,
    /// The container's role in a hot upgrade.
    pub hot: Option<HotTwin>,
    /// The native sidecar that replaces it in Pods that run to completion, if the container ends with a Job and its set
    /// asks for native sidecars.
    pub in_jobs: Option<Box<Self>>,
    /// Whether it is such a native sidecar. It is placed after all other init containers, so that it starts last.
    pub is_in_jobs: bool,
    /// The part that no Pod can change.
    pub fixed: Arc<FixedContainer>,
    /// Whether it is placed before the Pod's own containers.
    pub before: bool,
    /// Names of the volumes that it refers to itself, in order, without duplicates.
    pub volumes: Box<[String]>,
    pub pod_security: Box<[Finding]>,
    /// What it takes from the Pod's app containers.
    pub shares_mounts: bool,
    pub shares_devices: bool,
    pub transfers: Vec<TransferSource>,
    /// The paths and variables that it already has.
    pub own: OwnParts,
    /// The requirements that may not fit a Pod.
    pub demands: Demands,
    /// Computes its resources from those of the app containers.
    pub policy: Option<Box<CompiledPolicy>>,
    /// A single text if nothing depends on the Pod.
    parts: Box<[Part]>,
}

/// The paths and variables that a container has itself, and so does not take from the Pod.
#[derive(Debug, Default)]
pub(super) struct OwnParts {
    /// Cleaned paths of its mounts and devices, if it shares any.
    pub paths: Texts,
    /// Names of its environment variables, including the mark, if it shares any.
    pub env: Texts,
    /// Whether it has `envFrom`, whose variable names are not in the set.
    pub has_env_from: bool,
    /// Whether it mounts something at the path of the service account token.
    pub has_token_path: bool,
    pub privileged: bool,
}

/// Texts to look up. They take little memory.
#[derive(Debug, Default)]
pub(super) struct Texts(Box<[Box<str>]>);

impl Texts {
    pub fn contains(&self, text: &str) -> bool {
        self.0.binary_search_by(|own| (**own).cmp(text)).is_ok()
    }
}

impl FromIterator<String> for Texts {
    fn from_iter<I: IntoIterator<Item = String>>(texts: I) -> Self {
        let mut texts: Vec<Box<str>> = texts.into_iter().map(String::into_boxed_str).collect();
        texts.sort_unstable();
        texts.dedup();
        Self(texts.into())
    }
}

/// One of the two containers of a hot upgrade.
#[derive(Clone, Debug)]
pub(super) struct HotTwin {
    /// The container's name in the set.
    pub base: String,
    /// Whether it runs the image first. The other twin starts with the empty image.
    pub working: bool,
}

/// A part of the container's text.
#[derive(Debug)]
enum Part {
    /// Fixed text.
    Text(Box<str>),
    /// More items for a list that already has some.
    Items(AddedList),
    /// A list that the container does not have itself.
    AddedList(AddedList),
    /// Computed resources.
    Resources,
}

impl OwnParts {
    /// Reads everything except paths and variable names.
    fn of(template: &Map<String, Value>) -> Self {
        let context = template.get("securityContext");
        Self {
            has_env_from: template.get("envFrom").and_then(Value::as_array).is_some_and(|sources| !sources.is_empty()),
            has_token_path: texts(template, AddedList::VolumeMounts, "mountPath").any(|path| is_token_path(&path)),
            privileged: context.and_then(|context| context.get("privileged")) == Some(&Value::Bool(true)),
            ..Self::default()
        }
    }
}

impl Part {
    /// The approximate number of bytes of the container's text, without additions.
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Items(_) => 1,
            Self::AddedList(list) => list.field().len() + 6,
            Self::Resources => 0,
        }
    }
}

impl InjectableContainer {
    /// Returns the containers to inject for one container of a set, found at `field`. Only sidecars can be hot.
    ///
    /// # Errors
    /// When its `resourcesPolicy` cannot be compiled.
    pub fn of(
        container: &SidecarContainer,
        is_sidecar: bool,
        field: &str,
        patterns: &mut Patterns,
    ) -> Result<Vec<Self>, FieldError> {
        let compile = |policy| CompiledPolicy::compile(policy, &format!("{field}.resourcesPolicy"), patterns);
        let policy = container.resources_policy.as_ref().map(compile).transpose()?;
        let named = |name: &str, hot: Option<HotTwin>| Self::new(container, name, is_sidecar, hot, policy.clone());
        let hot = container.upgrade_strategy.upgrade_type == Some(UpgradeType::HotUpgrade);
        if !(hot && is_sidecar) {
            return Ok(vec![named(container.name(), None)]);
        }
        let twin = |number: u8, working: bool| {
            let name = format!("{}-{number}", container.name());
            named(&name, Some(HotTwin { base: container.name().to_owned(), working }))
        };
        Ok(vec![twin(1, true), twin(2, false)])
    }

    /// Returns the containers to inject for an app container, each with its replacement in Pods that run to completion.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn of_app(container: &SidecarContainer, field: &str, patterns: &mut Patterns) -> Result<Vec<Self>, FieldError> {
        let mut apps = Self::of(container, true, field, patterns)?;
        if container.ends_with_job() {
            let mut native = container.clone();
            native.pod_inject_policy = Some(PodInjectPolicy::After);
            native.template.shift_remove("restartPolicyRules");
            native.template.insert("restartPolicy".to_owned(), "Always".into());
            for (app, native) in apps.iter_mut().zip(Self::of(&native, true, field, patterns)?) {
                let fixed = Arc::clone(&app.fixed);
                app.in_jobs = Some(Box::new(Self { is_in_jobs: true, fixed, ..native }));
            }
        }
        Ok(apps)
    }

    fn new(
        container: &SidecarContainer,
        name: &str,
        is_sidecar: bool,
        hot: Option<HotTwin>,
        policy: Option<CompiledPolicy>,
    ) -> Self {
        let mut template = container.template.clone();
        template.insert("name".to_owned(), name.into());
        if hot.as_ref().is_some_and(|twin| !twin.working) {
            let image = &container.upgrade_strategy.hot_upgrade_empty_image;
            template.insert("image".to_owned(), image.as_str().into());
        }
        if hot.is_some() {
            name_in_variables(&mut template, container.name(), name);
        }
        if policy.is_some() {
            template.shift_remove("resources");
        }
        let mut this = Self {
            name: name.to_owned(),
            in_jobs: None,
            is_in_jobs: false,
            fixed: Arc::default(),
            before: container.pod_inject_policy == Some(PodInjectPolicy::Before),
            volumes: each_once(volumes_of(&template)),
            pod_security: pod_security::of_container(&template).into(),
            shares_mounts: container.share_volume_policy.enabled(),
            shares_devices: container.share_volume_device_policy.as_ref().is_some_and(SharePolicy::enabled),
            transfers: container.transfer_env.iter().flatten().map(TransferSource::new).collect(),
            own: OwnParts::of(&template),
            demands: Demands::of(&template),
            policy: policy.map(Box::new),
            parts: Box::default(),
            hot,
        };
        if this.depends_on_pod() {
            let mounts = texts(&template, AddedList::VolumeMounts, "mountPath");
            let paths = mounts.chain(texts(&template, AddedList::VolumeDevices, "devicePath"));
            this.own.paths = paths.map(|path| cleaned(&path).into_owned()).collect();
            let mark = keys::IS_INJECTED.to_owned();
            this.own.env = texts(&template, AddedList::Env, "name").chain([mark]).collect();
        }
        mark(&mut template);
        this.parts = this.parts_of(&template);
        this.fixed = this.fixed_by(container.name(), is_sidecar);
        this
    }

    /// Returns the part that is the same in every Pod.
    fn fixed_by(&self, base: &str, is_sidecar: bool) -> Arc<FixedContainer> {
        let injected = serde_json::from_str(&self.json(&Additions::default())).unwrap_or_default();
        Arc::new(FixedContainer::of(base, is_sidecar, &injected))
    }

    /// Whether it takes something from the Pod's app containers, apart from the service account token.
    pub fn depends_on_pod(&self) -> bool {
        self.shares_mounts || self.shares_devices || !self.transfers.is_empty()
    }

    fn grows(&self, list: AddedList) -> bool {
        match list {
            AddedList::Env => self.shares_mounts || !self.transfers.is_empty(),
            AddedList::VolumeMounts => self.shares_mounts || !self.own.has_token_path,
            AddedList::VolumeDevices => self.shares_devices,
        }
    }

    /// Splits the container's object into parts. Fields keep the user's order; lists that it does not have itself come
    /// last.
    fn parts_of(&self, template: &Map<String, Value>) -> Box<[Part]> {
        let mut parts = Vec::new();
        let (mut text, mut separator) = (String::from("{"), "");
        let mut cut = |text: &mut String, part: Part| {
            parts.push(Part::Text(std::mem::take(text).into_boxed_str()));
            parts.push(part);
        };
        let own =
            |list: AddedList| template.get(list.field()).and_then(Value::as_array).filter(|items| !items.is_empty());
        for (key, value) in template {
            let list = AddedList::ALL.into_iter().find(|list| list.field() == key);
            if list.is_some_and(|list| own(list).is_none() && self.grows(list)) {
                continue;
            }
            text.push_str(separator);
            separator = ",";
            write_text(&mut text, key);
            text.push(':');
            text.push_str(&value.to_string());
            let versions =
                self.hot.as_ref().filter(|_| list == Some(AddedList::Env)).map(|_| version_variables(&self.name));
            let Some(list) = list.filter(|list| self.grows(*list) || versions.is_some()) else { continue };
            text.pop(); // the list's closing bracket
            if self.grows(list) {
                cut(&mut text, Part::Items(list));
            }
            for variable in versions.iter().flatten() {
                text.push(',');
                text.push_str(variable);
            }
            text.push(']');
        }
        for list in AddedList::ALL.into_iter().filter(|list| own(*list).is_none() && self.grows(*list)) {
            cut(&mut text, Part::AddedList(list));
        }
        if self.policy.is_some() {
            cut(&mut text, Part::Resources);
        }
        text.push('}');
        parts.push(Part::Text(text.into_boxed_str()));
        parts.into()
    }

    /// Returns the container as JSON text, with what it takes from the Pod.
    pub fn json(&self, additions: &Additions<'_>) -> Cow<'_, str> {
        if let [Part::Text(text)] = &*self.parts {
            return Cow::Borrowed(text);
        }
        let own: usize = self.parts.iter().map(Part::bytes).sum();
        let mut json = String::with_capacity(own + additions.bytes());
        for part in &self.parts {
            match part {
                Part::Text(text) => json.push_str(text),
                Part::Items(list) => {
                    for item in additions.of(*list) {
                        json.push(',');
                        json.push_str(item);
                    }
                }
                Part::AddedList(list) if additions.of(*list).is_empty() => {}
                Part::AddedList(list) => {
                    json.push_str(",\"");
                    json.push_str(list.field());
                    json.push_str("\":[");
                    json.push_str(&additions.of(*list).join(","));
                    json.push(']');
                }
                Part::Resources => {
                    json.push_str(",\"resources\":");
                    json.push_str(additions.resources.as_deref().unwrap_or("{}"));
                }
            }
        }
        Cow::Owned(json)
    }
}

/// The JSON texts of a list's items.
fn texts(template: &Map<String, Value>, list: AddedList, key: &str) -> impl Iterator<Item = String> {
    let items = template.get(list.field()).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(move |item| item.get(key)?.as_str()).map(str::to_owned)
}

/// Marks the container as injected, unless it is marked already.
fn mark(template: &mut Map<String, Value>) {
    let mark = json!({"name": keys::IS_INJECTED, "value": "true"});
    match template.get_mut(AddedList::Env.field()) {
        Some(Value::Array(env)) if env.contains(&mark) => {}
        Some(Value::Array(env)) => env.push(mark),
        _ => _ = template.insert(AddedList::Env.field().to_owned(), json!([mark])),
    }
}

/// Makes variables about the resources of container `base` refer to its name in Pods.
fn name_in_variables(template: &mut Map<String, Value>, base: &str, name: &str) {
    let variables = template.get_mut(AddedList::Env.field()).and_then(Value::as_array_mut).into_iter().flatten();
    for reference in variables.filter_map(|variable| variable.pointer_mut("/valueFrom/resourceFieldRef/containerName"))
    {
        if *reference == *base {
            *reference = name.into();
        }
    }
}

/// The variables that tell a hot container whether it is the working one. They read annotations of the Pod, in
/// OpenKruise's format.
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

fn each_once<'a>(names: impl Iterator<Item = &'a str>) -> Box<[String]> {
    let mut seen = HashSet::new();
    names.filter(|name| seen.insert(*name)).map(str::to_owned).collect()
}
