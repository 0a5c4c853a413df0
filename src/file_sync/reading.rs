//! Reads objects whose content is needed again, because a file was changed on disk, could not be written, or has a new
//! owner.

use kube::Client;
use kube::core::Request;

use super::engine::Engine;
use super::object::{ObjectKey, WireObject};
use crate::cluster::{Watch, describe};

/// Above this number, objects are listed instead of read one by one.
const MOST_ONE_BY_ONE: usize = 20;

/// Reads the objects forever. If an object cannot be read by itself, all are listed, because the agent may list.
pub async fn run(engine: Engine, client: Client, watches: Vec<Watch>) {
    let list = || watches.iter().for_each(|watch| drop(watch.ask()));
    loop {
        let keys = engine.to_read().await;
        if keys.len() > MOST_ONE_BY_ONE {
            list();
            continue;
        }
        for key in keys {
            match read(&client, &key).await {
                Ok(object) => engine.read(&key, Some(&object)),
                // The watch reports it.
                Err(kube::Error::Api(status)) if status.code == 404 => engine.read(&key, None),
                Err(error) => {
                    tracing::debug!("{key} cannot be read by itself, all are listed: {}", describe(&error));
                    list();
                }
            }
        }
    }
}

async fn read(client: &Client, key: &ObjectKey) -> kube::Result<WireObject> {
    let path = format!("/api/v1/namespaces/{}/{}", key.namespace, key.kind.plural());
    let request =
        Request::new(path).get(&key.name, &kube::api::GetParams::default()).map_err(kube::Error::BuildRequest)?;
    let text = client.request_text(request).await?;
    serde_json::from_str(&text).map_err(kube::Error::SerdeError)
}
