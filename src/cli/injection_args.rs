//! The flags for the injection of Pods.

use crate::injection::{Exclusions, Options};

/// Options of injection, with the same flags in all commands.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct InjectionArgs {
    /// Namespaces whose Pods are never injected
    #[arg(long, value_name = "NAMESPACE,…", value_delimiter = ',', default_value = "kube-system")]
    pub exclude_namespaces: Vec<String>,
    /// Skip Pods with the annotation outrigger.dev/inject: "false". Users can then avoid any sidecar
    #[arg(long)]
    pub allow_opt_out: bool,
    /// Annotate Pods that get containers before their own, so that `kubectl logs` and `kubectl exec` still choose the
    /// Pod's own first container
    #[arg(long)]
    pub default_container: bool,
}

impl InjectionArgs {
    pub fn options(&self) -> Options {
        let namespaces = self.exclude_namespaces.iter().filter(|name| !name.is_empty()).cloned().collect();
        let exclusions = Exclusions { namespaces, allow_opt_out: self.allow_opt_out };
        Options { exclusions, default_container: self.default_container, ..Options::default() }
    }
}
