//! Pure: the validated configuration: which objects, which files, and whom to notify.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::naming::Naming;
use super::object::Kind;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which objects.
    pub selection: Selection,
    /// How they are kept up to date.
    pub method: Method,
    /// Which files.
    pub naming: Naming,
    /// Their permissions.
    pub mode: Option<u32>,
    /// The interval of checks of files and URLs.
    pub resync: Duration,
    /// Whether checks restore files that changed on disk.
    pub heal: bool,
    /// The rules for downloads.
    pub urls: Urls,
    /// The notification of the app.
    pub reload: Reload,
    /// The rules for requests and downloads.
    pub calls: Calls,
    /// The maximum time without contact for a watch, before `/healthz` fails.
    pub contact: Duration,
    /// The seconds after which the API server ends a watch, and the silence after which a watch counts as dead.
    pub watch: (u32, Duration),
    /// The maximum pause while the API server fails.
    pub longest_pause: Duration,
}

/// Which objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The kinds.
    pub kinds: Vec<Kind>,
    /// The namespaces; empty for all.
    pub namespaces: Vec<String>,
    /// The label selector.
    pub labels: Option<String>,
    /// Named objects, regardless of labels.
    pub names: Vec<ByName>,
}

/// An object that is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByName {
    /// The kind; all selected kinds if absent.
    pub kind: Option<Kind>,
    /// The namespace; all selected namespaces if absent.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

/// A part of the selection that one watch follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The kind.
    pub kind: Kind,
    /// The namespace; all if absent.
    pub namespace: Option<String>,
    /// The name, if it is a single object.
    pub name: Option<String>,
}

/// How objects are kept up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// With a watch.
    Watch,
    /// With a list at this interval.
    Poll(Duration),
    /// With one list. It fails after this time.
    Once(Duration),
}

/// The rules for downloads.
#[derive(Clone, Debug)]
pub struct Urls {
    /// Allowed addresses and hosts that are refused by default.
    pub allow: Vec<crate::fetch::Allow>,
    /// The maximum number of bytes of an answer.
    pub limit: usize,
    /// Whether the bodies of the statuses 500, 502, 503 and 504 are content too.
    pub store_5xx: bool,
    /// Addresses that are never requested: the API server's.
    pub refused: Vec<std::net::SocketAddr>,
    /// Hosts besides the notification's that receive credentials; `None` means every host.
    pub credentials: Option<Vec<crate::fetch::Recipient>>,
    /// Whether the notification's host receives credentials.
    pub credentials_home: bool,
}

/// The notification of the app.
#[derive(Clone, Debug, Default)]
pub struct Reload {
    /// The program to run.
    pub script: Option<PathBuf>,
    /// Its time limit.
    pub script_timeout: Duration,
    /// The request to send.
    pub request: Option<ReloadRequest>,
    /// Changes within this time are reported together.
    pub window: Duration,
    /// Whether the first list causes no request.
    pub skip_first: bool,
}

/// A request that notifies the app.
#[derive(Clone, Debug)]
pub struct ReloadRequest {
    /// The URL.
    pub target: crate::fetch::FetchTarget,
    /// Whether it is a POST instead of a GET.
    pub post: bool,
    /// The body of a POST.
    pub payload: Option<Payload>,
}

/// The body of a request. `{{files}}` and `{{count}}` in it are replaced.
#[derive(Clone)]
pub enum Payload {
    /// A JSON document.
    Json(serde_json::Value),
    /// Text that is sent as a JSON string, as k8s-sidecar does.
    Text(String),
    /// Text that is sent unchanged.
    Raw(String),
}

/// The rules for requests.
#[derive(Clone, Debug)]
pub struct Calls {
    /// The maximum number of retries.
    pub retries: u32,
    /// The maximum number of retries after failed connections.
    pub retries_connect: u32,
    /// The maximum number of retries after missing answers.
    pub retries_read: u32,
    /// The factor of the pauses in seconds: before retry n it is multiplied by 2^(n-1). There is no pause before the
    /// first retry.
    pub backoff: f64,
    /// The time limit for a connection, and for an answer.
    pub timeout: Duration,
    /// Whether any certificate is accepted.
    pub skip_verify: bool,
    /// A file with CAs in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// The credentials.
    pub login: Login,
}

/// The credentials of a request.
#[derive(Clone, Default)]
pub struct Login {
    /// The user.
    pub username: Option<String>,
    /// The password.
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

/// A text that does not identify an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the name of an object; write name, kind/name or namespace/kind/name with the kind configmap or \
    secret"
)]
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
    /// Returns the parts to follow, each with its own watch. A name of a kind that is not selected has none.
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

    /// Returns a short id of this selection. Two agents that write to one folder leave each other's files alone.
    #[must_use]
    pub fn id(&self) -> String {
        let kinds = self.kinds.iter().map(ToString::to_string);
        let of = |named: &ByName| {
            let kind = named.kind.map(|kind| kind.to_string()).unwrap_or_default();
            format!("{}/{kind}/{}", named.namespace.as_deref().unwrap_or_default(), named.name)
        };
        let (kinds, names) = (kinds.collect::<Vec<_>>(), self.names.iter().map(of).collect::<Vec<_>>());
        let labels = self.labels.as_deref().unwrap_or_default();
        // The text must stay the same, because it identifies what an earlier version wrote.
        let text = format!("{}\n{}\n{labels}\n{}", kinds.join(","), self.namespaces.join(","), names.join(","));
        let digest = super::plan::digest(text.as_bytes());
        format!("{:08x}", u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
    }
}

impl Part {
    /// Whether it includes an object.
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
    /// Parses a payload.
    #[must_use]
    pub fn of(text: &str) -> Self {
        serde_json::from_str(text).map_or_else(|_| Self::Text(text.to_owned()), Self::Json)
    }

    /// Returns the body for these files.
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
