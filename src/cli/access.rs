//! The flags that choose the cluster, with kubectl's names.

use crate::cluster::Access;
use std::path::PathBuf;

/// The cluster to connect to.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct AccessArgs {
    /// Kubeconfig file [default: the variable KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current context]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl AccessArgs {
    pub fn access(&self) -> Access<'_> {
        Access { kubeconfig: self.kubeconfig.as_deref(), context: self.context.as_deref() }
    }
}
