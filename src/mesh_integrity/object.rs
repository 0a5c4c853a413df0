//! Objects of a mesh, as the checks need them: the fields that no check reads are dropped.

use super::secret::Secret;
use crate::istio::export::Export;
use crate::istio::node::Node;
use crate::istio::read::{DestinationRule, Gateway, ServiceEntry, Sidecar, VirtualService};
use crate::istio::validate::{self, Fault};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// The kinds that are checked. Those of workloads are adjacent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    Namespace,
    Service,
    ServiceEntry,
    Gateway,
    /// Of `gateway.networking.k8s.io`.
    KubernetesGateway,
    VirtualService,
    DestinationRule,
    Sidecar,
    RequestAuthentication,
    PeerAuthentication,
    AuthorizationPolicy,
    Secret,
    WorkloadEntry,
    Pod,
    Deployment,
    StatefulSet,
    DaemonSet,
    ReplicaSet,
    Job,
    CronJob,
    /// Of a CustomResourceDefinition.
    OtherWorkload,
}

impl Kind {
    /// Kinds that have Pods.
    pub(crate) const WORKLOADS: [Self; 8] = [
        Self::Pod,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::ReplicaSet,
        Self::Job,
        Self::CronJob,
        Self::OtherWorkload,
    ];

    /// Returns the value of `kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Service => "Service",
            Self::ServiceEntry => "ServiceEntry",
            Self::Gateway | Self::KubernetesGateway => "Gateway",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::Sidecar => "Sidecar",
            Self::RequestAuthentication => "RequestAuthentication",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::Secret => "Secret",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::Pod => "Pod",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
            Self::OtherWorkload => "Workload",
        }
    }

    /// Any object with a template of Pods, such as a Rollout or a `CloneSet`, is a workload.
    fn with_template(object: &Value) -> Option<Self> {
        let template = object.get("spec")?.get("template")?;
        template.get("spec")?.get("containers")?.as_array().map(|_| Self::OtherWorkload)
    }

    /// Returns the kind of an object. `None` if no check reads it.
    fn of(group: &str, kind: &str) -> Option<Self> {
        Some(match (group, kind) {
            ("", "Namespace") => Self::Namespace,
            ("", "Service") => Self::Service,
            ("", "Pod") => Self::Pod,
            ("", "Secret") => Self::Secret,
            ("apps", "Deployment") => Self::Deployment,
            ("apps", "StatefulSet") => Self::StatefulSet,
            ("apps", "DaemonSet") => Self::DaemonSet,
            ("apps", "ReplicaSet") => Self::ReplicaSet,
            ("batch", "Job") => Self::Job,
            ("batch", "CronJob") => Self::CronJob,
            ("networking.istio.io", "ServiceEntry") => Self::ServiceEntry,
            ("networking.istio.io", "Gateway") => Self::Gateway,
            ("networking.istio.io", "VirtualService") => Self::VirtualService,
            ("networking.istio.io", "DestinationRule") => Self::DestinationRule,
            ("networking.istio.io", "Sidecar") => Self::Sidecar,
            ("networking.istio.io", "WorkloadEntry") => Self::WorkloadEntry,
            ("security.istio.io", "RequestAuthentication") => Self::RequestAuthentication,
            ("security.istio.io", "PeerAuthentication") => Self::PeerAuthentication,
            ("security.istio.io", "AuthorizationPolicy") => Self::AuthorizationPolicy,
            ("gateway.networking.k8s.io", "Gateway") => Self::KubernetesGateway,
            _ => return None,
        })
    }
}

/// The name of an object; displays as `Kind/namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for a Namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{}/{}", self.kind.as_str(), self.name),
            namespace => write!(f, "{}/{namespace}/{}", self.kind.as_str(), self.name),
        }
    }
}

/// An object of a mesh. Two objects are equal if their findings are the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub(crate) key: Key,
    /// When it was created, as the API server writes it. Empty for objects of files.
    pub(crate) created: String,
    /// The codes that its author suppresses.
    pub(crate) suppressed: Vec<String>,
    /// Whether it is assumed to exist ([`super::assumed`]).
    pub(crate) assumed: bool,
    /// The errors of Istio's validation.
    pub(crate) faults: Vec<Fault>,
    pub(crate) spec: Spec,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Spec {
    Namespace(Namespace),
    Service(Service),
    ServiceEntry(ServiceEntry),
    Gateway(Gateway),
    VirtualService(VirtualService),
    DestinationRule(DestinationRule),
    Sidecar(Sidecar),
    /// Labels of its Pods.
    RequestAuthentication(BTreeMap<String, String>),
    /// A policy, which only Istio's validation checks.
    Policy,
    Secret(Secret),
    Workload(Workload),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Namespace {
    /// Whether its Pods have no sidecars, but are in the mesh through their node.
    pub is_ambient: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Service {
    pub export: Export,
    pub ports: Vec<ServicePort>,
    pub selector: BTreeMap<String, String>,
    pub is_external: bool,
    /// Whether its ports need no name, because Istio itself installs it.
    pub is_of_istio: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServicePort {
    pub field: String,
    pub name: String,
    pub number: u32,
    pub protocol: String,
    pub app_protocol: String,
    /// A number or the name of a container's port.
    pub target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Number(u32),
    Name(String),
}

/// A workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Workload {
    pub labels: BTreeMap<String, String>,
    pub port_names: Vec<String>,
    pub is_ambient: bool,
}

/// The annotation with the codes that an author suppresses.
const SUPPRESS: &str = "galley.istio.io/analyze-suppress";

impl Object {
    /// Reads an object. `None` if no check reads its kind. An object without a namespace is in `default_namespace`.
    #[must_use]
    pub fn read(object: &Value, default_namespace: &str) -> Option<Self> {
        let api_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let kind = Kind::of(group, object.get("kind")?.as_str()?).or_else(|| Kind::with_template(object))?;
        let metadata = Node::root(object, "metadata");
        let namespace = match (kind, metadata.text("namespace")) {
            (Kind::Namespace, _) => "",
            (_, "") => default_namespace,
            (_, own) => own,
        };
        let key = Key { kind, namespace: namespace.to_owned(), name: metadata.text("name").to_owned() };
        let annotations = metadata.field("annotations");
        let suppressed = annotations.text(SUPPRESS).split(',').map(str::trim).filter(|code| !code.is_empty());
        let suppressed = suppressed.map(str::to_owned).collect();
        let spec = Node::root(object, "spec");
        let read = Spec::read(kind, &metadata, &spec, object, namespace);
        let faults = match group {
            "networking.istio.io" | "security.istio.io" => {
                validate::object(key.kind.as_str(), version, object, namespace)
            }
            _ => Vec::new(),
        };
        let created = metadata.text("creationTimestamp").to_owned();
        Some(Self { key, created, suppressed, assumed: false, faults, spec: read })
    }

    /// Returns its kind, namespace and name.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Takes over the creation time of the object that it replaces.
    pub fn keep_age(&mut self, before: &Self) {
        self.created.clone_from(&before.created);
    }

    /// Returns whether its author suppresses a code.
    #[must_use]
    pub fn suppresses(&self, code: Code) -> bool {
        self.suppressed.iter().any(|one| one == "*" || one == code.as_str())
    }
}

use super::code::Code;

impl Spec {
    /// Returns the labels by which a Service or a Sidecar selects workloads of its namespace, if any.
    pub fn selector(&self) -> Option<&BTreeMap<String, String>> {
        match self {
            Self::Service(service) => Some(&service.selector).filter(|selector| !selector.is_empty()),
            Self::Sidecar(sidecar) => sidecar.labels(),
            _ => None,
        }
    }

    fn read(kind: Kind, metadata: &Node<'_>, spec: &Node<'_>, object: &Value, namespace: &str) -> Self {
        match kind {
            Kind::Namespace => Self::Namespace(Namespace::read(metadata)),
            Kind::Service => Self::Service(Service::read(metadata, spec, namespace)),
            Kind::ServiceEntry => Self::ServiceEntry(ServiceEntry::read(spec, namespace)),
            Kind::Gateway => Self::Gateway(Gateway::read(spec, namespace)),
            Kind::KubernetesGateway => Self::Gateway(Gateway::of_kubernetes(spec)),
            Kind::VirtualService => Self::VirtualService(VirtualService::read(spec, namespace)),
            Kind::DestinationRule => Self::DestinationRule(DestinationRule::read(spec, namespace)),
            Kind::Sidecar => Self::Sidecar(Sidecar::read(spec, namespace)),
            Kind::RequestAuthentication => Self::RequestAuthentication(spec.field("selector").labels("matchLabels")),
            Kind::PeerAuthentication | Kind::AuthorizationPolicy => Self::Policy,
            Kind::Secret => Self::Secret(Secret::read(object)),
            Kind::WorkloadEntry => Self::Workload(Workload { labels: spec.labels("labels"), ..Workload::default() }),
            Kind::Pod => Self::Workload(Workload::read(metadata, spec)),
            Kind::CronJob => Self::template(&spec.field("jobTemplate").field("spec")),
            Kind::Deployment
            | Kind::StatefulSet
            | Kind::DaemonSet
            | Kind::ReplicaSet
            | Kind::Job
            | Kind::OtherWorkload => Self::template(spec),
        }
    }

    fn template(spec: &Node<'_>) -> Self {
        let template = spec.field("template");
        Self::Workload(Workload::read(&template.field("metadata"), &template.field("spec")))
    }
}

/// The label for how Pods are in the mesh.
const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";

impl Namespace {
    fn read(metadata: &Node<'_>) -> Self {
        let labels = metadata.field("labels");
        let has_sidecars = labels.has("istio-injection") || labels.has("istio.io/rev");
        Self { is_ambient: !has_sidecars && labels.text(DATAPLANE_MODE) == "ambient" }
    }
}

impl Workload {
    fn read(metadata: &Node<'_>, spec: &Node<'_>) -> Self {
        let containers = spec.list("containers").into_iter().chain(spec.list("initContainers"));
        let ports = containers.flat_map(|container| container.list("ports"));
        let port_names = ports.map(|port| port.text("name").to_owned()).filter(|name| !name.is_empty()).collect();
        let is_ambient = metadata.field("annotations").text("ambient.istio.io/redirection") == "enabled"
            || metadata.field("labels").text(DATAPLANE_MODE) == "ambient";
        Self { labels: metadata.labels("labels"), port_names, is_ambient }
    }
}

impl Service {
    fn read(metadata: &Node<'_>, spec: &Node<'_>, namespace: &str) -> Self {
        let export = metadata.field("annotations").text("networking.istio.io/exportTo");
        let labels = metadata.labels("labels");
        let ports = spec.list("ports").into_iter().filter_map(|port| {
            let number = port.number("port").and_then(|number| u32::try_from(number).ok())?;
            let target = match (port.number("targetPort"), port.text("targetPort")) {
                (Some(target), _) => Target::Number(u32::try_from(target).unwrap_or(number)),
                (None, "") => Target::Number(number),
                (None, name) => Target::Name(name.to_owned()),
            };
            let protocol = port.text("protocol");
            Some(ServicePort {
                field: port.path(),
                name: port.text("name").to_owned(),
                number,
                protocol: if protocol.is_empty() { "TCP".to_owned() } else { protocol.to_owned() },
                app_protocol: port.text("appProtocol").to_owned(),
                target,
            })
        });
        Self {
            export: Export::new(export.split(',').map(str::trim).filter(|entry| !entry.is_empty()), namespace),
            ports: ports.collect(),
            selector: spec.labels("selector"),
            is_external: spec.text("type") == "ExternalName",
            is_of_istio: labels.contains_key("istio")
                || labels.get("release").is_some_and(|release| release == "istio")
                || labels.contains_key("gateway.istio.io/managed"),
        }
    }
}

/// Returns whether labels have all those of a selector.
pub(crate) fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}
