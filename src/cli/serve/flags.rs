//! Flags of `outrigger serve`.

use super::certificates::CertificateFlags;
use super::dev_routing::RoutingFlags;
use super::feature_gates::FeatureGates;
use super::mesh_service::MeshFlags;
use super::sidecar_generator::FetchFlags;
use crate::admission::registration::{CONVERSION_SERVICE, FailurePolicy, Reach, SERVICE, ScopeMode};
use crate::api::go_duration;
use crate::cli::access::AccessArgs;
use crate::cli::injection_args::InjectionArgs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The default namespace of outrigger.
pub(in crate::cli) const NAMESPACE: &str = "outrigger-system";

/// Flags of `outrigger serve`.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "\
Examples:
  # In a cluster, or against the cluster of the current kubeconfig
  outrigger serve
  # From a development machine that the API server can reach
  outrigger serve --webhook-url https://192.168.1.10:9443
  # Only two of the controllers
  outrigger serve --controllers sidecargenerator,devrouting --fetch-allow 127.0.0.1
  # Without a cluster
  outrigger serve --from sidecarsets/ --ca-out ca.crt")]
pub(in crate::cli) struct Args {
    /// Serve without a cluster: a folder or file of SidecarSets, Namespaces and ControllerRevisions, in YAML or JSON. It is
    /// read again when it changes
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
    /// Address of the webhook server, HTTPS. Port 0 picks a free port [default: [::]:9443, which is every IPv4 and IPv6
    /// address; with --from 127.0.0.1:9443]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Address of /healthz, /readyz and /metrics, HTTP. Port 0 picks a free port [default: [::]:8080, with --from
    /// 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Second address of /healthz and /readyz, HTTP, for probes that expect them on a port of their own
    #[arg(long, value_name = "ADDRESS")]
    pub health_listen: Option<SocketAddr>,
    /// Seconds to keep serving after SIGTERM, while clients move to other replicas. A second signal ends the process at once
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub shutdown_delay: u32,
    #[command(flatten)]
    pub injection: InjectionArgs,
    #[command(flatten)]
    pub certificates: CertificateFlags,
    #[command(flatten)]
    pub cluster: ClusterFlags,
}

/// Flags of `outrigger serve` against a cluster.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(in crate::cli) struct ClusterFlags {
    #[command(flatten)]
    pub access: AccessArgs,
    /// Controllers to run [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub controllers: Option<Vec<Controller>>,
    /// Namespace of outrigger: its Services and Leases are here, and Pods here are never injected [default: outrigger-system]
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    pub namespace: Option<String>,
    /// Namespace of the ControllerRevisions and of the ConfigMap kruise-configuration. Use kruise-system after a migration
    /// from OpenKruise [default: the value of --namespace]
    #[arg(long, value_name = "NAMESPACE")]
    pub revision_namespace: Option<String>,
    /// Which new Pods the API server sends to the webhook
    #[arg(long, value_enum, ignore_case = true, default_value_t)]
    pub scope: ScopeMode,
    /// What the API server does with a new Pod when no replica of outrigger answers
    #[arg(long, value_enum, ignore_case = true, default_value_t)]
    pub failure_policy: FailurePolicy,
    /// Register the webhooks by this URL instead of by Service, for a server outside the cluster
    #[arg(long, value_name = "https://HOST:PORT", value_parser = https)]
    pub webhook_url: Option<String>,
    /// Port of the Services by which the webhooks are registered [default: 443]
    #[arg(long, value_name = "PORT", conflicts_with = "webhook_url")]
    pub service_port: Option<u16>,
    /// ClusterRole that owns the webhook configurations: they are deleted together with it
    #[arg(long, value_name = "NAME")]
    pub owner_cluster_role: Option<String>,
    /// Elect a leader among the replicas before controllers run. Set false only if there is never a second replica
    #[arg(long, value_name = "true|false", default_value = "true", action = clap::ArgAction::Set)]
    pub leader_elect: bool,
    /// How long to wait for the API server to begin an answer. The limit for a page of a list is six times as long
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = go_duration::positive)]
    pub api_timeout: Duration,
    /// Feature gates, by OpenKruise's names. Only `SidecarSetPatchPodMetadataDefaultsAllowed` has an effect; it is off by
    /// default
    #[arg(long, value_name = "NAME=BOOL,…", default_value = "", hide_default_value = true)]
    pub feature_gates: FeatureGates,
    #[command(flatten)]
    pub fetching: FetchFlags,
    #[command(flatten)]
    pub routing: RoutingFlags,
    #[command(flatten)]
    pub mesh: MeshFlags,
}

/// A controller that can be disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "lower")]
pub(in crate::cli) enum Controller {
    /// Injects SidecarSets and keeps their status and revisions
    SidecarSet,
    /// Writes Istio Sidecars from the URLs of SidecarGenerators
    SidecarGenerator,
    /// Writes VirtualServices that route to developers' copies of Services, from a ConfigMap
    DevRouting,
    /// Creates Istio objects for services in the mesh, from MeshServices
    MeshService,
    /// Updates sidecars in running Pods; a part of sidecarset
    Rollout,
}

impl Args {
    pub fn listen(&self, given: Option<SocketAddr>, port: u16) -> SocketAddr {
        let address: IpAddr =
            if self.from.is_some() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        given.unwrap_or_else(|| (address, port).into())
    }

    /// Whether a controller has webhooks. One has.
    pub fn serves_webhooks(&self) -> bool {
        self.from.is_some() || self.cluster.runs(Controller::SidecarSet)
    }
}

impl ClusterFlags {
    /// Whether this controller is to run.
    pub fn runs(&self, controller: Controller) -> bool {
        self.controllers.as_ref().is_none_or(|chosen| chosen.contains(&controller))
    }

    /// Returns the problem of the chosen controllers.
    pub fn problem(&self) -> Option<&'static str> {
        let alone = self.controllers.is_some() && self.runs(Controller::Rollout) && !self.runs(Controller::SidecarSet);
        alone.then_some(
            "--controllers: rollout is a part of sidecarset and does nothing without it: name both, or neither",
        )
    }

    /// Returns outrigger's own namespace.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or(NAMESPACE)
    }

    pub fn revision_namespace(&self) -> &str {
        self.revision_namespace.as_deref().unwrap_or_else(|| self.namespace())
    }

    pub fn reach(&self) -> Reach {
        match &self.webhook_url {
            Some(url) => Reach::Url(url.clone()),
            None => Reach::Service { namespace: self.namespace().to_owned(), port: self.service_port.unwrap_or(443) },
        }
    }

    /// Returns the names that the API server expects in the certificate.
    pub fn server_names(&self) -> Vec<String> {
        match self.reach() {
            Reach::Url(url) => host(&url).into_iter().collect(),
            Reach::Service { namespace, .. } => {
                [SERVICE, CONVERSION_SERVICE].map(|service| format!("{service}.{namespace}.svc")).to_vec()
            }
        }
    }
}

/// Parses a URL for the registration of webhooks:
/// <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#url>.
fn https(url: &str) -> Result<String, String> {
    let host = url
        .strip_prefix("https://")
        .ok_or("must begin with https://, for the API server calls webhooks by TLS only")?;
    if host.is_empty() || host.contains(['@', '?', '#']) {
        return Err("must be https://HOST[:PORT][/PATH], without user, query or fragment".to_owned());
    }
    Ok(url.to_owned())
}

/// Returns the host of such a URL, in the form of certificates.
fn host(url: &str) -> Option<String> {
    let url: http::Uri = url.parse().ok()?;
    Some(url.host()?.trim_matches(['[', ']']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollout_is_not_chosen_without_sidecarset() {
        let problem = |chosen: Option<&[Controller]>| {
            ClusterFlags { controllers: chosen.map(<[_]>::to_vec), ..ClusterFlags::default() }.problem()
        };
        assert!(problem(Some(&[Controller::Rollout, Controller::DevRouting])).is_some());
        assert_eq!(problem(Some(&[Controller::Rollout, Controller::SidecarSet])), None);
        assert_eq!(problem(Some(&[Controller::SidecarSet])), None);
        assert_eq!(problem(None), None);
    }

    #[test]
    fn the_certificate_names_what_is_registered() {
        let by_url =
            |url: &str| ClusterFlags { webhook_url: Some(url.to_owned()), ..ClusterFlags::default() }.server_names();
        assert_eq!(by_url("https://laptop.example:9443/outrigger"), ["laptop.example"]);
        assert_eq!(by_url("https://[fd00::1]:9443"), ["fd00::1"]);
        let by_service = ClusterFlags { namespace: Some("ns".to_owned()), ..ClusterFlags::default() }.server_names();
        assert_eq!(by_service, ["outrigger-webhook.ns.svc", "outrigger-conversion.ns.svc"]);
    }
}
