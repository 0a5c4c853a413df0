//! Watches of things, which are ConfigMaps, with events taken by the tests.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::script::{Script, Stream};
use super::soon;
use crate::cluster::{Event, Feeds, Slice, Watch};

/// The slim type of a `ConfigMap`: its name and one number from its data.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Slim {
    pub metadata: Name,
    data: Data,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Name {
    pub name: String,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Data {
    number: u32,
}

/// A watch whose events the test takes.
pub struct Watched<K> {
    pub watch: Watch,
    events: mpsc::UnboundedReceiver<Event<K>>,
}

impl<K: DeserializeOwned + Send + 'static> Watched<K> {
    pub fn start(client: Client, slice: Slice) -> Self {
        let mut feeds = Feeds::new(client);
        let watched = Self::subscribe(&mut feeds, slice);
        tokio::spawn(feeds.run());
        watched
    }

    pub fn subscribe(feeds: &mut Feeds, slice: Slice) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let watch = feeds.subscribe(slice, move |event| {
            let _ = sender.send(event);
        });
        Self { watch, events }
    }

    pub async fn next(&mut self) -> Event<K> {
        soon("an event", self.events.recv()).await.expect("the watch goes on")
    }

    /// Returns the objects of a list, from its begin to its end.
    pub async fn list(&mut self) -> Vec<K> {
        assert!(matches!(self.next().await, Event::Begin));
        let mut listed = Vec::new();
        loop {
            match self.next().await {
                Event::Item(object) => listed.push(object),
                Event::End => return listed,
                _ => panic!("no item"),
            }
        }
    }

    /// Returns the events that were not taken yet.
    pub fn told(&mut self) -> Vec<Event<K>> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }

    /// Asserts that there is no further event.
    pub fn assert_silent(&mut self) {
        assert!(self.events.try_recv().is_err());
    }
}

pub fn slice() -> Slice {
    Slice::all::<ConfigMap>("things").page_size(2)
}

pub fn start() -> (Watched<Slim>, Script) {
    let (client, script) = Script::new();
    (Watched::start(client, slice()), script)
}

/// A watch that has listed one object and follows from version 10.
pub async fn started() -> (Watched<Slim>, Script, Stream) {
    let (mut watched, mut script) = start();
    script.list().await.objects("10", &[thing("a", 1, "1")]);
    assert_eq!(watched.list().await, [slim("a", 1)]);
    let stream = script.watch("10").await.stream();
    (watched, script, stream)
}

pub fn thing(name: &str, number: u32, version: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "ours", "resourceVersion": version, "uid": name},
        "data": {"number": number, "other": "text"},
    })
}

/// A thing that `Slim` cannot represent.
pub fn broken(name: &str, version: &str) -> Value {
    let mut thing = thing(name, 0, version);
    thing["data"]["number"] = "hunter2".into();
    thing
}

pub fn slim(name: &str, number: u32) -> Slim {
    Slim { metadata: Name { name: name.to_owned() }, data: Data { number } }
}

/// Runs everything that can run.
pub async fn settle() {
    sleep(Duration::from_millis(1)).await;
}
