//! All objects of the replayed cluster except its Pods: lists, watches and writes as the API server has them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

/// The resourceVersion of the last change, shared with the Pods.
pub type Version = Arc<AtomicU64>;

/// Objects, and what changed since the start.
pub struct Store {
    inner: Mutex<Inner>,
    version: Version,
    /// The number of changes.
    changes: watch::Sender<usize>,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<Key, Value>,
    log: Vec<Change>,
    /// Writes by verb and kind, as `PATCH sidecarsets/status`.
    writes: BTreeMap<String, usize>,
}

/// An object's kind as the path of its API (`/apis/apps/v1/controllerrevisions`), namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: String,
    namespace: String,
    name: String,
}

struct Change {
    version: u64,
    key: Key,
    line: Bytes,
}

/// The target of a request: a collection, an object, or an object's subresource.
#[derive(Clone, Debug)]
pub struct Target {
    pub kind: String,
    namespace: String,
    /// Of the object, or of the only object that a list or watch is about.
    name: Option<String>,
    subresource: Option<String>,
}

/// A list's part.
pub struct Part {
    pub limit: usize,
    /// The number of objects before it.
    pub from: usize,
}

impl Target {
    /// Reads the path of a request, and the name in its field selector.
    pub fn of(path: &str, selected: Option<&str>) -> Option<Self> {
        let mut rest = path.trim_start_matches('/').split('/').peekable();
        let groups = if rest.peek() == Some(&"api") { 2 } else { 3 };
        let api: Vec<_> = rest.by_ref().take(groups).collect();
        let rest: Vec<_> = rest.collect();
        let (namespace, rest) = match rest[..] {
            ["namespaces", namespace, _, ..] => (namespace, &rest[2..]),
            _ => ("", &rest[..]),
        };
        let name = rest.get(1).copied().or(selected);
        Some(Self {
            kind: format!("/{}/{}", api.join("/"), rest.first()?),
            namespace: namespace.to_owned(),
            name: name.map(str::to_owned),
            subresource: rest.get(2).map(|part| (*part).to_owned()),
        })
    }

    /// Whether it is a single object, rather than a collection.
    pub fn is_object(path: &str) -> bool {
        Self::of(path, None).is_some_and(|target| target.name.is_some())
    }

    fn has(&self, key: &Key) -> bool {
        key.kind == self.kind
            && (self.namespace.is_empty() || key.namespace == self.namespace)
            && self.name.as_ref().is_none_or(|name| *name == key.name)
    }
}

/// A status that reports a failure.
pub fn failure(code: u16, reason: &str) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": reason, "reason": reason, "code": code}),
    )
}

impl Store {
    pub fn new(version: Version) -> Self {
        Self { inner: Mutex::default(), version, changes: watch::Sender::new(0) }
    }

    /// Stores an object that nobody wrote.
    pub fn put(&self, kind: &str, object: Value) {
        let name = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = Key { kind: kind.to_owned(), namespace: name("namespace"), name: name("name") };
        self.record(&mut self.lock(), "ADDED", key, object);
    }

    /// Returns the objects of a kind.
    pub fn all<T>(&self, kind: &str, mut read: impl FnMut(&Value) -> T) -> Vec<T> {
        let from = Key { kind: kind.to_owned(), namespace: String::new(), name: String::new() };
        let inner = self.lock();
        let after = inner.objects.range((Bound::Included(from), Bound::Unbounded));
        after.take_while(|(key, _)| key.kind == kind).map(|(_, object)| read(object)).collect()
    }

    /// Returns the number of writes of this form.
    pub fn writes(&self, write: &str) -> usize {
        self.lock().writes.get(write).copied().unwrap_or_default()
    }

    /// Returns all writes.
    pub fn all_writes(&self) -> BTreeMap<String, usize> {
        self.lock().writes.clone()
    }

    /// Tells of changes.
    pub fn changes(&self) -> watch::Receiver<usize> {
        self.changes.subscribe()
    }

    pub fn list(&self, target: &Target, part: &Part) -> Value {
        let inner = self.lock();
        let found: Vec<&Value> =
            inner.objects.iter().filter(|(key, _)| target.has(key)).map(|(_, object)| object).collect();
        let items: Vec<&Value> = found.iter().skip(part.from).take(part.limit).copied().collect();
        let next = part.from + items.len();
        let next = if next < found.len() { next.to_string() } else { String::new() };
        let version = self.version.load(Ordering::SeqCst).to_string();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version, "continue": next}, "items": items})
    }

    /// Returns the first change after a version.
    pub fn position(&self, version: u64) -> usize {
        self.lock().log.partition_point(|change| change.version <= version)
    }

    /// Returns the events of a watch from a position in the log, and the position after them.
    pub fn events(&self, target: &Target, position: usize) -> (Vec<Bytes>, usize) {
        let inner = self.lock();
        let new = inner.log[position..].iter();
        (new.filter(|change| target.has(&change.key)).map(|change| change.line.clone()).collect(), inner.log.len())
    }

    /// Returns an object.
    pub fn get(&self, target: &Target) -> (u16, Value) {
        let inner = self.lock();
        let found = inner.objects.iter().find(|(key, _)| target.has(key));
        found.map_or_else(|| failure(404, "NotFound"), |(_, object)| (200, object.clone()))
    }

    /// Carries out a write.
    pub fn write(&self, verb: &str, target: &Target, form: &str, body: Value) -> Result<(u16, Value)> {
        let resource = target.kind.rsplit('/').next().unwrap_or_default();
        let subresource = target.subresource.as_ref().map(|part| format!("/{part}")).unwrap_or_default();
        let mut inner = self.lock();
        *inner.writes.entry(format!("{verb} {resource}{subresource}")).or_default() += 1;
        let name = target.name.as_deref().or(body["metadata"]["name"].as_str());
        if resource == "events" {
            return Ok((201, body)); // they are not read
        }
        let name = name.context("a name")?.to_owned();
        let key = Key { kind: target.kind.clone(), namespace: target.namespace.clone(), name };
        let present = inner.objects.get(&key).cloned();
        let wanted = match &body {
            Value::Array(operations) => {
                operations.iter().find(|one| one["path"] == "/metadata/resourceVersion").map(|one| &one["value"])
            }
            _ if verb == "DELETE" => body.pointer("/preconditions/resourceVersion"),
            body => body.pointer("/metadata/resourceVersion"),
        };
        if let (Some(wanted), Some(present)) = (wanted, &present)
            && *wanted != present["metadata"]["resourceVersion"]
        {
            return Ok(failure(409, "Conflict"));
        }
        let object = match (verb, present) {
            ("POST", Some(_)) => return Ok(failure(409, "AlreadyExists")),
            ("POST", None) => {
                let mut object = body;
                object["metadata"]["namespace"] = key.namespace.clone().into();
                object["metadata"]["uid"] = format!("0b1ec700-0c1e-4f6e-9d6b-{:012x}", inner.log.len()).into();
                object
            }
            ("PATCH", None) if form.contains("apply") => body,
            (_, None) => return Ok(failure(404, "NotFound")),
            ("PUT", Some(_)) => body,
            ("DELETE", Some(object)) => {
                inner.objects.remove(&key);
                return Ok((200, self.record(&mut inner, "DELETED", key, object)));
            }
            (_, Some(mut object)) => {
                if form.contains("json-patch") {
                    let patch: json_patch::Patch = serde_json::from_value(body)?;
                    json_patch::patch(&mut object, &patch)?;
                } else {
                    json_patch::merge(&mut object, &body);
                }
                object
            }
        };
        let (code, event) = if verb == "POST" { (201, "ADDED") } else { (200, "MODIFIED") };
        Ok((code, self.record(&mut inner, event, key, object)))
    }

    /// Records a change, with the next version.
    fn record(&self, inner: &mut Inner, event: &str, key: Key, mut object: Value) -> Value {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        let line = format!("{{\"type\":\"{event}\",\"object\":{object}}}\n").into();
        inner.log.push(Change { version, key: key.clone(), line });
        if event != "DELETED" {
            inner.objects.insert(key, object.clone());
        }
        self.changes.send_replace(inner.log.len());
        object
    }

    /// Returns the version of the last change of any object.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
