//! A Sidecar: the proxies it selects, and what they can reach.

use crate::istio::host;
use crate::istio::node::Node;
use crate::istio::sidecar::WorkloadSelector;

/// The fields of a Sidecar that checks need.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sidecar {
    pub selector: Option<WorkloadSelector>,
    /// Whether it limits what can be reached. If not, the default of the namespace or mesh applies.
    pub limits_egress: bool,
    pub egress: Vec<EgressHost>,
    /// `outboundTrafficPolicy` without `mode`, which means `REGISTRY_ONLY`.
    pub unsaid_mode: Option<String>,
    pub egress_proxy: Option<String>,
}

/// A host that can be reached, or (`~`) cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EgressHost {
    pub field: String,
    pub written: String,
    pub excluded: bool,
    /// `None`: any namespace.
    pub namespace: Option<String>,
    pub host: String,
}

impl Sidecar {
    pub fn read(spec: &Node<'_>, namespace: &str) -> Self {
        let policy = spec.field("outboundTrafficPolicy");
        let listeners = spec.list("egress");
        let hosts = listeners.iter().flat_map(|listener| listener.list("hosts"));
        Self {
            selector: spec
                .present("workloadSelector")
                .map(|selector| WorkloadSelector { labels: selector.labels("labels") }),
            limits_egress: !listeners.is_empty(),
            egress: hosts.filter_map(|host| EgressHost::read(&host, namespace)).collect(),
            unsaid_mode: (policy.is_present() && !policy.has("mode")).then(|| policy.path()),
            egress_proxy: policy.present("egressProxy").map(|proxy| proxy.path()),
        }
    }

    /// Returns the labels of the selected Pods; `None` for all Pods of the namespace.
    pub fn labels(&self) -> Option<&std::collections::BTreeMap<String, String>> {
        self.selector.as_ref().map(|selector| &selector.labels).filter(|labels| !labels.is_empty())
    }

    /// Whether a host in a namespace can be reached.
    pub fn imports(&self, namespace: &str, host: &str) -> bool {
        if !self.limits_egress {
            return true;
        }
        let meets = |entry: &&EgressHost| {
            entry.namespace.as_ref().is_none_or(|own| own == namespace) && host::overlap(&entry.host, host)
        };
        let excludes = |entry: &&EgressHost| {
            entry.namespace.as_ref().is_none_or(|own| own == namespace) && host::covers(&entry.host, host)
        };
        let (except, included): (Vec<_>, Vec<_>) = self.egress.iter().partition(|entry| entry.excluded);
        included.iter().any(meets) && !except.iter().any(excludes)
    }
}

impl EgressHost {
    fn read(entry: &Node<'_>, own_namespace: &str) -> Option<Self> {
        let written = entry.as_text();
        let (namespace, host) = written.split_once('/')?;
        let (excluded, namespace) = match namespace.strip_prefix('~') {
            Some("") if host == "*" => return None, // nothing at all
            Some(rest) => (true, rest),
            None => (false, namespace),
        };
        let namespace = match namespace {
            "" | "*" => None,
            "." => Some(own_namespace.to_owned()),
            other => Some(other.to_owned()),
        };
        let (field, written, host) = (entry.path(), written.to_owned(), host.to_ascii_lowercase());
        Some(Self { field, written, excluded, namespace, host })
    }
}
