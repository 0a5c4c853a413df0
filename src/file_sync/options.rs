//! Pure: what is wanted, checked: which objects, which files, whom to tell.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::naming::Naming;
use super::object::Kind;

/// Everything that a user can say.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which objects.
    pub selection: Selection,
    /// How they are kept in step.
    pub method: Method,
    /// Which files.
    pub naming: Naming,
    /// Their permissions.
    pub mode: Option<u32>,
    /// Between two looks at whether files and URLs are as they should be.
    pub resync: Duration,
    /// Skip looks at files that changed on disk.
    pub heal: bool,
    /// What is downloaded.
    pub urls: Urls,
    /// Whom to tell.
    pub reload: Reload,
    /// Of requests and downloads.
    pub calls: Calls,
    /// What a watch may be without a word, before `/healthz` says so.
    pub contact: Duration,
    /// Of the API server: watches end after so many seconds, and are dead when they are silent for so long.
    pub watch: (u32, Duration),
    /// While the API server fails, pauses grow to this.
    pub longest_pause: Duration,
}

/// Which objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Of which kinds.
    pub kinds: Vec<Kind>,
    /// In which namespaces; empty is all.
    pub namespaces: Vec<String>,
    /// With which labels.
    pub labels: Option<String>,
    /// Those of these names, whatever their labels.
    pub names: Vec<ByName>,
}

/// An object that is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByName {
    /// Of this kind; without one, of all that are asked for.
    pub kind: Option<Kind>,
    /// In this namespace; without one, in all that are asked for.
    pub namespace: Option<String>,
    /// Of this name.
    pub name: String,
}

/// A part of what is selected, which one watch follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Of this kind.
    pub kind: Kind,
    /// In this namespace; without one, in all.
    pub namespace: Option<String>,
    /// Of this name.
    pub name: Option<String>,
}

/// How objects are kept in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By a watch.
    Watch,
    /// By a list each time this is over.
    Poll(Duration),
    /// Once; it fails after so long.
    Once(Duration),
}

/// What is downloaded.
#[derive(Clone, Debug)]
pub struct Urls {
    /// Addresses and hosts that are refused by default, and are not here.
    pub allow: Vec<crate::fetch::Allow>,
    /// At most this many bytes of an answer.
    pub limit: usize,
    /// Whether what the statuses 500, 502, 503 and 504 come with is content, too.
    pub store_5xx: bool,
    /// Addresses that are never asked: the API server's.
    pub refused: Vec<std::net::SocketAddr>,
    /// Hosts beside that of the request which credentials are sent to; `None` is every host.
    pub credentials: Option<Vec<crate::fetch::Recipient>>,
    /// Whether credentials are sent to that of the request.
    pub credentials_home: bool,
}

/// Whom to tell of changes.
#[derive(Clone, Debug, Default)]
pub struct Reload {
    /// A program.
    pub script: Option<PathBuf>,
    /// How long it may take.
    pub script_timeout: Duration,
    /// A request.
    pub request: Option<ReloadRequest>,
    /// Changes within this are told together.
    pub window: Duration,
    /// No request about what the first list brought.
    pub skip_first: bool,
}

/// A request that tells of changes.
#[derive(Clone, Debug)]
pub struct ReloadRequest {
    /// Where.
    pub target: crate::fetch::FetchTarget,
    /// Whether it is a POST rather than a GET.
    pub post: bool,
    /// The body of a POST.
    pub payload: Option<Payload>,
}

/// The body of a request. `{{files}}` and `{{count}}` in it stand for what changed.
#[derive(Clone)]
pub enum Payload {
    /// A JSON document.
    Json(serde_json::Value),
    /// Text that is sent as JSON, which is k8s-sidecar's way.
    Text(String),
    /// Text that is sent as it is.
    Raw(String),
}

/// How requests are made.
#[derive(Clone, Debug)]
pub struct Calls {
    /// Calls beside the first.
    pub retries: u32,
    /// Of these, after no connection.
    pub retries_connect: u32,
    /// Of these, after no answer.
    pub retries_read: u32,
    /// Seconds; the pause before the n-th retry is so long times 2 to the n-1, and none before the first.
    pub backoff: f64,
    /// For a connection, and for an answer.
    pub timeout: Duration,
    /// Take any certificate.
    pub skip_verify: bool,
    /// A file of CAs beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// What is proved.
    pub login: Login,
}

/// What a request proves its sender with.
#[derive(Clone, Default)]
pub struct Login {
    /// A user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// A file with the user, read for each request.
    pub username_file: Option<PathBuf>,
    /// A file with the password, read for each request.
    pub password_file: Option<PathBuf>,
    /// A file with a bearer token, read for each request.
    pub token_file: Option<PathBuf>,
    /// Whether user and password are sent as UTF-8 rather than Latin-1.
    pub utf8: bool,
}

/// A text that names no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no object; write name, kind/name or namespace/kind/name with the kind configmap or secret")]
pub struct NameError(String);

impl std::str::FromStr for ByName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError(text.to_owned());
        let kind = |kind: &str| match kind.to_ascii_lowercase().as_str() {
            "configmap" => Ok(Some(Kind::ConfigMap)),
            "secret" => Ok(Some(Kind::Secret)),
            _ => Err(wrong()),
        };
        let parts: Vec<&str> = text.split('/').map(str::trim).collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(wrong());
        }
        match parts[..] {
            [name] => Ok(Self { kind: None, namespace: None, name: name.to_owned() }),
            [of, name] => Ok(Self { kind: kind(of)?, namespace: None, name: name.to_owned() }),
            [namespace, of, name] => {
                Ok(Self { kind: kind(of)?, namespace: Some(namespace.to_owned()), name: name.to_owned() })
            }
            _ => Err(wrong()),
        }
    }
}

impl Selection {
    /// The parts that are followed, each by a watch of its own. A name that is of no kind asked for has none.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let everywhere = [None];
        let namespaces: Vec<Option<String>> = if self.namespaces.is_empty() {
            everywhere.to_vec()
        } else {
            self.namespaces.iter().cloned().map(Some).collect()
        };
        let mut parts: Vec<Part> = Vec::new();
        let mut add = |part: Part| {
            if !parts.contains(&part) {
                parts.push(part);
            }
        };
        for &kind in &self.kinds {
            if self.names.is_empty() {
                for namespace in &namespaces {
                    add(Part { kind, namespace: namespace.clone(), name: None });
                }
            }
            for named in self.names.iter().filter(|named| named.kind.is_none_or(|wanted| wanted == kind)) {
                let own = [named.namespace.clone()];
                let of = if named.namespace.is_some() { &own[..] } else { &namespaces[..] };
                for namespace in of {
                    add(Part { kind, namespace: namespace.clone(), name: Some(named.name.clone()) });
                }
            }
        }
        parts
    }

    /// A short text that tells this selection from others: two agents that write to one folder leave each other's files alone.
    #[must_use]
    pub fn id(&self) -> String {
        let kinds = self.kinds.iter().map(ToString::to_string);
        let of = |named: &ByName| {
            let kind = named.kind.map(|kind| kind.to_string()).unwrap_or_default();
            format!("{}/{kind}/{}", named.namespace.as_deref().unwrap_or_default(), named.name)
        };
        let (kinds, names) = (kinds.collect::<Vec<_>>(), self.names.iter().map(of).collect::<Vec<_>>());
        let labels = self.labels.as_deref().unwrap_or_default();
        // What an earlier version wrote is found by this text.
        let text = format!("{}\n{}\n{labels}\n{}", kinds.join(","), self.namespaces.join(","), names.join(","));
        let digest = super::plan::digest(text.as_bytes());
        format!("{:08x}", u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
    }
}

impl Part {
    /// Whether it has an object.
    #[must_use]
    pub fn has(&self, kind: Kind, namespace: &str, name: &str) -> bool {
        self.kind == kind
            && self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
            && self.name.as_deref().is_none_or(|wanted| wanted == name)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.plural())?;
        match &self.namespace {
            Some(namespace) => write!(f, " of the namespace {namespace}")?,
            None => f.write_str(" of all namespaces")?,
        }
        self.name.iter().try_for_each(|name| write!(f, " named {name}"))
    }
}

impl Payload {
    /// What a text is.
    #[must_use]
    pub fn of(text: &str) -> Self {
        serde_json::from_str(text).map_or_else(|_| Self::Text(text.to_owned()), Self::Json)
    }

    /// The body about these files.
    #[must_use]
    pub fn about(&self, files: &str, count: usize) -> String {
        let fill = |text: &str| text.replace("{{files}}", files).replace("{{count}}", &count.to_string());
        match self {
            Self::Json(value) => {
                let mut value = value.clone();
                each_text(&mut value, &fill);
                value.to_string()
            }
            Self::Raw(text) => fill(text),
            Self::Text(text) => serde_json::Value::String(fill(text)).to_string(),
        }
    }
}

fn each_text(value: &mut serde_json::Value, fill: &impl Fn(&str) -> String) {
    match value {
        serde_json::Value::String(text) => *text = fill(text),
        serde_json::Value::Array(values) => values.iter_mut().for_each(|value| each_text(value, fill)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|value| each_text(value, fill)),
        _ => {}
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payload")
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(names: &[&str], namespaces: &[&str]) -> Vec<String> {
        let selection = Selection {
            kinds: vec![Kind::Secret, Kind::ConfigMap],
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
            labels: None,
            names: names.iter().map(|name| name.parse().expect(name)).collect(),
        };
        selection.parts().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_of_another_kind_or_namespace_lists_nothing_else() {
        assert_eq!(selection(&["secret/x"], &["a"]), ["secrets of the namespace a named x"]);
        assert_eq!(
            selection(&["b/secret/x", "y"], &["a"]),
            [
                "secrets of the namespace b named x",
                "secrets of the namespace a named y",
                "configmaps of the namespace a named y"
            ]
        );
        assert_eq!(selection(&[], &[]), ["secrets of all namespaces", "configmaps of all namespaces"]);
        for text in ["", "/", "pod/x", "a/pod/x", "a/b/c/d", "secret/"] {
            assert!(text.parse::<ByName>().is_err(), "{text}");
        }
    }

    #[test]
    fn selections_have_the_ids_that_they_had() {
        let id = |labels: &str, namespaces: &[&str], names: &[&str]| {
            let selection = Selection {
                kinds: vec![Kind::Secret, Kind::ConfigMap],
                namespaces: namespaces.iter().map(ToString::to_string).collect(),
                labels: Some(labels.to_owned()),
                names: names.iter().map(|name| name.parse().expect(name)).collect(),
            };
            selection.id()
        };
        assert_eq!([id("l", &["a"], &[]), id("l=v", &["a", "b"], &["x", "n/secret/y"])], ["288d2774", "dd48b114"]);
        assert_ne!(id("l", &["a"], &[]), id("l", &[], &[]));
    }

    #[test]
    fn a_payload_names_what_changed_and_stays_json() {
        let payload = Payload::of(r#"{"text":"{{count}} files: {{files}}","n":1}"#);
        assert_eq!(payload.about("/a/\"b\"", 1), r#"{"text":"1 files: /a/\"b\"","n":1}"#);
        assert_eq!(Payload::of("reload {{count}}").about("", 2), "\"reload 2\"");
    }
}
