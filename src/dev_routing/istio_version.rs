//! In which version the cluster serves Istio's VirtualServices.

use super::virtual_service::resource;
use crate::cluster::describe;
use crate::istio::virtual_service::{GROUP, VERSIONS};
use kube::Client;
use std::time::Duration;
use tokio::time::sleep;

/// Between two looks while they are not served.
const PAUSE: Duration = Duration::from_secs(5);

/// Waits until VirtualServices are served, and says in which version they are to be written.
pub(super) async fn served(client: &Client) -> &'static str {
    let mut told = String::new();
    loop {
        let problem = match look(client).await {
            Ok(Some(version)) => return version,
            Ok(None) => "Istio's VirtualService kind is not installed in this cluster; it is looked for".to_owned(),
            Err(error) => format!("cannot find out whether VirtualServices are installed: {}", describe(&error)),
        };
        if problem != told {
            tracing::warn!("developer routing waits: {problem}");
            told = problem;
        }
        sleep(PAUSE).await;
    }
}

async fn look(client: &Client) -> kube::Result<Option<&'static str>> {
    for version in VERSIONS {
        match client.list_api_group_resources(&format!("{GROUP}/{version}")).await {
            Ok(list) if list.resources.iter().any(|served| served.name == resource(version).plural) => {
                return Ok(Some(version));
            }
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
