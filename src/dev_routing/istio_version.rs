//! The version in which the cluster serves Istio's VirtualServices.

use super::virtual_service::resource;
use crate::cluster::describe;
use crate::istio::virtual_service::{GROUP, VERSIONS};
use kube::Client;
use std::time::Duration;
use tokio::time::sleep;

/// The pause between two checks while they are not served.
const PAUSE: Duration = Duration::from_secs(5);

/// Waits until VirtualServices are served, and returns the version to write.
pub(super) async fn served(client: &Client) -> &'static str {
    let mut told = String::new();
    loop {
        let problem = match look(client).await {
            Ok(Some(version)) => return version,
            Ok(None) => "Istio's VirtualService kind is not installed in this cluster; waiting for it".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube::client::Body;
    use std::convert::Infallible;

    /// A client of an API server that serves VirtualServices in these versions.
    fn client(versions: &'static [&'static str]) -> Client {
        let server = tower::service_fn(move |request: Request<Body>| async move {
            let version = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let (status, body) = if versions.contains(&version.as_str()) {
                let kind = serde_json::json!({
                    "name": "virtualservices", "singularName": "", "namespaced": true, "kind": "VirtualService", "verbs": [],
                });
                let list = serde_json::json!({"groupVersion": format!("{GROUP}/{version}"), "resources": [kind]});
                (200, list)
            } else {
                (404, serde_json::json!({"kind": "Status", "code": 404, "message": "not found"}))
            };
            let mut answer = Response::new(Body::from(body.to_string().into_bytes()));
            *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
            Ok::<_, Infallible>(answer)
        });
        Client::new(server, "default")
    }

    #[tokio::test]
    async fn the_newest_version_that_is_served_is_written() {
        assert_eq!(look(&client(&["v1", "v1beta1"])).await.unwrap(), Some("v1"));
        assert_eq!(look(&client(&["v1beta1", "v1alpha3"])).await.unwrap(), Some("v1beta1"));
        assert_eq!(look(&client(&[])).await.unwrap(), None);
    }
}
