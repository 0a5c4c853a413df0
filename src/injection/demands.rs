//! Requirements of a container that may not fit a Pod, read once when its set is prepared.

use super::amounts::ContainerAmounts;
use super::volume_names::volumes_with_variables;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

/// Fields of a `securityContext` that Windows Pods cannot have.
const LINUX_FIELDS: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// The requirements of a container.
#[derive(Debug, Default)]
pub(super) struct Demands {
    /// Names of the claims it uses.
    pub claims: Box<[String]>,
    pub ports: Box<[DemandedPort]>,
    pub security: SecurityDemands,
    /// Whether it has block devices.
    pub devices: bool,
    /// Hooks that sleep, with their seconds.
    pub sleeps: Box<[(&'static str, i64)]>,
    /// Whether a resize restarts it.
    pub restarts_to_resize: bool,
    /// Volumes that hold files from which it reads variables.
    pub files_of: Box<[String]>,
    /// Its `resources`. The amounts are parsed only for the few Pods that need them.
    pub resources: Option<Box<RawValue>>,
    /// Whether its requests and limits of CPU and memory are equal.
    pub is_guaranteed: bool,
}

/// The requirements of its `securityContext`.
#[derive(Debug, Default)]
pub(super) struct SecurityDemands {
    /// The Linux-only fields that it sets.
    pub linux_fields: Box<[&'static str]>,
    /// Whether it sets Windows options.
    pub is_for_windows: bool,
    /// Whether it sees all of /proc.
    pub unmasked: bool,
    pub user: Option<i64>,
    pub non_root: Option<bool>,
}

/// A port of a container.
#[derive(Debug)]
pub(super) struct DemandedPort {
    pub name: Box<str>,
    pub protocol: Box<str>,
    pub number: i64,
    pub host_port: i64,
    pub host_ip: Box<str>,
}

impl Demands {
    /// Reads the requirements of a container as it is injected. Fields of the wrong type require nothing.
    pub fn of(container: &Map<String, Value>) -> Self {
        let list = |field: &str| container.get(field).and_then(Value::as_array).into_iter().flatten();
        let context = container.get("securityContext").and_then(Value::as_object);
        let in_context = |field: &str| context.and_then(|context| context.get(field)).filter(|value| !value.is_null());
        let claims = container.get("resources").and_then(|resources| resources.get("claims")?.as_array());
        let claims = claims.into_iter().flatten().filter_map(|claim| claim.get("name")?.as_str());
        let sleep = |hook: &'static str| {
            let seconds = container.get("lifecycle")?.get(hook)?.get("sleep")?.get("seconds")?.as_i64()?;
            Some((hook, seconds))
        };
        let resources = container.get("resources").and_then(|resources| to_raw_value(resources).ok());
        Self {
            claims: claims.map(str::to_owned).collect(),
            ports: list("ports").map(DemandedPort::of).collect(),
            security: SecurityDemands {
                linux_fields: LINUX_FIELDS.into_iter().filter(|field| in_context(field).is_some()).collect(),
                is_for_windows: in_context("windowsOptions").is_some(),
                unmasked: in_context("procMount").and_then(Value::as_str) == Some("Unmasked"),
                user: in_context("runAsUser").and_then(Value::as_i64),
                non_root: in_context("runAsNonRoot").and_then(Value::as_bool),
            },
            devices: list("volumeDevices").next().is_some(),
            sleeps: ["postStart", "preStop"].into_iter().filter_map(sleep).collect(),
            restarts_to_resize: list("resizePolicy").any(|policy| policy["restartPolicy"] == "RestartContainer"),
            files_of: volumes_with_variables(container).map(str::to_owned).collect(),
            is_guaranteed: ContainerAmounts::read(resources.as_deref()).are_guaranteed(),
            resources,
        }
    }
}

impl DemandedPort {
    fn of(port: &Value) -> Self {
        let text = |field: &str| port.get(field).and_then(Value::as_str).unwrap_or_default();
        let number = |field: &str| port.get(field).and_then(Value::as_i64).unwrap_or_default();
        let protocol = Some(text("protocol")).filter(|protocol| !protocol.is_empty()).unwrap_or("TCP");
        Self {
            name: text("name").into(),
            protocol: protocol.into(),
            number: number("containerPort"),
            host_port: number("hostPort"),
            host_ip: text("hostIP").into(),
        }
    }
}
