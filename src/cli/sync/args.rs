//! The options of `outrigger sync`, each a variable and a flag. Whether they make sense is for [`super::options`] to say: an empty
//! variable is as good as none.

use std::str::FromStr;

use anyhow::{Context, Result};

use crate::telemetry::LogFormat;

const EXAMPLES: &str = "\
Each option is also an environment variable. Options win over variables.

Examples:
  # As k8s-sidecar: keep the ConfigMaps with a label in a folder
  LABEL=grafana_dashboard FOLDER=dashboards outrigger sync
  # Write the ConfigMaps and Secrets of all namespaces once, then end
  outrigger sync --label app=web --folder conf.d --resource both --namespace ALL --method LIST";

macro_rules! args {
    ($($(#[doc = $help:literal])+ $([$($more:tt)+])? $field:ident: $variable:literal, $default:literal, $heading:literal;)+) => {
        /// Flags of `outrigger sync`.
        #[derive(Clone, Debug, Default, clap::Args)]
        #[command(after_help = EXAMPLES)]
        pub struct Args {
            $(
                $(#[doc = $help])+
                #[arg(long, env = $variable, value_name = "VALUE", help_heading = $heading, hide_env_values = true $(, $($more)+)?)]
                pub(super) $field: Option<String>,
            )+
        }

        /// Every option.
        #[cfg(test)]
        pub(super) const VARIABLES: &[Variable] = &[
            $(Variable {
                name: $variable,
                flag: stringify!($field),
                default: $default,
                heading: $heading,
                help: concat!($($help),+),
            },)+
        ];
    };
}

args! {
    /// How the options are read: `k8s-sidecar` or `gsidecar`
    profile: "OUTRIGGER_PROFILE", "k8s-sidecar", "Selection";
    /// Label that objects must have; also a whole selector, as in `team in (a,b)`
    label: "LABEL", "required", "Selection";
    /// Value that the label must have; also `in (a,b)` and `notin (a,b)`
    label_value: "LABEL_VALUE", "any", "Selection";
    /// Kinds: `configmap`, `secret` or `both`
    resource: "RESOURCE", "configmap", "Selection";
    /// Namespaces, with commas between them, or `ALL`
    [id = "sync_namespace"]
    namespace: "NAMESPACE", "the Pod's own", "Selection";
    /// Objects by name instead of by label: `name`, `kind/name` or `namespace/kind/name`, with commas between them; not with `ALL`
    resource_name: "RESOURCE_NAME", "", "Selection";
    /// `WATCH`; `LIST` is once, then the program ends; `SLEEP` lists every `SLEEP_TIME`
    method: "METHOD", "WATCH", "Selection";
    /// Seconds between two lists with the method `SLEEP`
    sleep_time: "SLEEP_TIME", "60", "Selection";
    /// Seconds after which the method `LIST` fails
    list_timeout: "OUTRIGGER_LIST_TIMEOUT", "60", "Selection";
    /// Folder that files are written to
    folder: "FOLDER", "required", "Files";
    /// Annotation of an object that names its folder, below `FOLDER`
    folder_annotation: "FOLDER_ANNOTATION", "k8s-sidecar-target-directory", "Files";
    /// Absolute folders that the annotation may name, and all below them, with commas between them; `/` is every folder
    absolute_folders: "OUTRIGGER_ABSOLUTE_FOLDERS", "none but FOLDER", "Files";
    /// A folder for each namespace: `true` or `false`
    folder_per_namespace: "FOLDER_PER_NAMESPACE", "false", "Files";
    /// Namespace, kind and name of the object in the file's name: `true` or `false`
    unique_filenames: "UNIQUE_FILENAMES", "false", "Files";
    /// Permissions of files, in octal digits
    default_file_mode: "DEFAULT_FILE_MODE", "0666 less the umask", "Files";
    /// Keys that do not end so are left out; with commas between them
    suffixes: "OUTRIGGER_SUFFIXES", "all; .json with the profile gsidecar", "Files";
    /// Seconds between two looks at whether files are as they should be and URLs answer as before
    resync: "OUTRIGGER_RESYNC_SECONDS", "60", "Files";
    /// Leave files alone that were changed on disk: `true` or `false`
    ignore_already_processed: "IGNORE_ALREADY_PROCESSED", "false", "Files";
    /// Addresses and hosts that keys ending in `.url` may name although they are refused by default: `127.0.0.1`, `*.example.com`; with commas between them
    url_allow: "OUTRIGGER_URL_ALLOW", "none", "Downloads";
    /// At most this many bytes of a download
    url_limit: "OUTRIGGER_URL_LIMIT", "67108864", "Downloads";
    /// Hosts that downloads send credentials to beside that of `REQ_URL`, with commas between them; `*` is every host, `none` not even that
    url_credentials: "OUTRIGGER_URL_CREDENTIALS", "", "Downloads";
    /// What 500, 502, 503 and 504 answer with is content: `true` or `false`. With the profile gsidecar: these are tried again
    enable_5xx: "ENABLE_5XX", "false", "Downloads";
    /// URL that is requested after changes
    req_url: "REQ_URL", "", "Telling the app";
    /// Its method: `GET` or `POST`
    req_method: "REQ_METHOD", "GET", "Telling the app";
    /// Body of a POST, JSON or text; `{{files}}` and `{{count}}` stand for what changed
    req_payload: "REQ_PAYLOAD", "", "Telling the app";
    /// No request about what the first list brings: `true` or `false`
    req_skip_init: "REQ_SKIP_INIT", "false", "Telling the app";
    /// Program that is run after changes, before the request
    script: "SCRIPT", "", "Telling the app";
    /// Seconds that it may take
    script_timeout: "OUTRIGGER_SCRIPT_TIMEOUT", "60", "Telling the app";
    /// Milliseconds within which changes are told together; 0 tells each as soon as it can
    batch_window: "OUTRIGGER_BATCH_MILLISECONDS", "500", "Telling the app";
    /// User of the request, and of downloads where credentials may go
    req_username: "REQ_USERNAME", "", "Requests";
    /// Password
    req_password: "REQ_PASSWORD", "", "Requests";
    /// File with the user, read for each request
    req_username_file: "REQ_USERNAME_FILE", "", "Requests";
    /// File with the password, read for each request
    req_password_file: "REQ_PASSWORD_FILE", "", "Requests";
    /// File with a bearer token, read for each request; goes before user and password
    req_token_file: "OUTRIGGER_REQ_TOKEN_FILE", "", "Requests";
    /// Encoding of user and password: `latin1` or `utf-8`
    req_basic_auth_encoding: "REQ_BASIC_AUTH_ENCODING", "latin1", "Requests";
    /// Seconds for a connection, and for the answer of the app
    req_timeout: "REQ_TIMEOUT", "10", "Requests";
    /// Tries beside the first
    req_retry_total: "REQ_RETRY_TOTAL", "5", "Requests";
    /// Of these, tries after no connection
    req_retry_connect: "REQ_RETRY_CONNECT", "10", "Requests";
    /// Of these, tries after no answer
    req_retry_read: "REQ_RETRY_READ", "5", "Requests";
    /// Seconds; the pause before the second retry is twice so long, and doubles
    req_retry_backoff_factor: "REQ_RETRY_BACKOFF_FACTOR", "1.1", "Requests";
    /// Take any certificate of the app and of downloads: `true` or `false`
    req_skip_tls_verify: "REQ_SKIP_TLS_VERIFY", "false", "Requests";
    /// File of CAs for them, beside the system's
    req_ca_file: "REQUESTS_CA_BUNDLE", "", "Requests";
    /// Take any certificate of the API server: `true` or `false`
    skip_tls_verify: "SKIP_TLS_VERIFY", "false", "API server";
    /// Has no effect: certificates are never judged so strictly that this was needed
    disable_x509_strict_verification: "DISABLE_X509_STRICT_VERIFICATION", "false", "API server";
    /// Seconds after which the API server ends a watch
    watch_server_timeout: "WATCH_SERVER_TIMEOUT", "60", "API server";
    /// Seconds after which a silent watch is given up as dead
    watch_client_timeout: "WATCH_CLIENT_TIMEOUT", "66", "API server";
    /// Seconds to which the pauses grow while the API server fails
    error_throttle_sleep: "ERROR_THROTTLE_SLEEP", "5", "API server";
    /// Seconds without a word of the API server after which `/healthz` fails
    contact_threshold: "K8S_CONTACT_THRESHOLD_SECONDS", "twice WATCH_SERVER_TIMEOUT or SLEEP_TIME", "API server";
    /// Port of `/healthz`, `/readyz` and `/metrics`
    health_port: "HEALTH_PORT", "8080", "Probes and logs";
    /// Address of that port
    health_host: "HEALTH_HOST", "all", "Probes and logs";
    /// Least severe level that is logged: `DEBUG`, `INFO`, `WARN`, `WARNING`, `ERROR` or `CRITICAL`
    [id = "sync_log_level"]
    agent_log_level: "LOG_LEVEL", "INFO", "Probes and logs";
    /// `JSON` or `LOGFMT`, which is text here
    [id = "sync_log_format"]
    agent_log_format: "LOG_FORMAT", "JSON", "Probes and logs";
    /// Has no effect: times are always UTC
    log_tz: "LOG_TZ", "UTC", "Probes and logs";
    /// Has no effect: a configuration of Python's logging
    log_config: "LOG_CONFIG", "", "Probes and logs";
}

/// A variable, for the documentation.
#[cfg(test)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) flag: &'static str,
    pub(super) default: &'static str,
    pub(super) heading: &'static str,
    pub(super) help: &'static str,
}

/// A value that says something.
pub(super) fn given(value: Option<&String>) -> Option<&str> {
    value.map(|value| value.trim()).filter(|value| !value.is_empty())
}

/// A value as a number.
pub(super) fn number<T: FromStr>(variable: &str, value: Option<&String>, default: T) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let Some(value) = given(value) else { return Ok(default) };
    value.parse().with_context(|| format!("{variable}: {value:?} is no number that can be used"))
}

impl Args {
    pub(in crate::cli) fn log_level(&self) -> Option<&'static str> {
        match given(self.agent_log_level.as_ref()).map(str::to_ascii_uppercase).as_deref() {
            Some("DEBUG") => Some("outrigger=debug,info"),
            Some("WARN" | "WARNING") => Some("warn"),
            Some("ERROR" | "CRITICAL") => Some("error"),
            _ => None,
        }
    }

    /// As k8s-sidecar's lines are JSON unless that is changed, whoever collects them expects that.
    pub(in crate::cli) fn log_format(&self) -> LogFormat {
        let format = given(self.agent_log_format.as_ref());
        if format.is_some_and(|format| format.eq_ignore_ascii_case("LOGFMT")) {
            LogFormat::Text
        } else {
            LogFormat::Json
        }
    }

    pub(super) fn skip_tls_verify(&self) -> bool {
        given(self.skip_tls_verify.as_ref()).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    pub(super) fn health_host(&self) -> Option<&str> {
        given(self.health_host.as_ref())
    }

    pub(super) fn health_port(&self) -> Result<u16> {
        number("HEALTH_PORT", self.health_port.as_ref(), 8080)
    }
}
