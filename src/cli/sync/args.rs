//! The options of `outrigger sync`. Each is a variable and a flag. [`super::options`] validates them. An empty variable counts as
//! unset.

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
    /// Whose meaning the options have: `k8s-sidecar` or `gsidecar`
    profile: "OUTRIGGER_PROFILE", "k8s-sidecar", "Selection";
    /// Label that objects must have, or a whole selector such as `team in (a,b)`
    label: "LABEL", "required", "Selection";
    /// Value that the label must have, or `in (a,b)` or `notin (a,b)`
    label_value: "LABEL_VALUE", "any", "Selection";
    /// Kinds: `configmap`, `secret` or `both`
    resource: "RESOURCE", "configmap", "Selection";
    /// Namespaces, as a list with commas, or `ALL`
    [id = "sync_namespace"]
    namespace: "NAMESPACE", "the Pod's own", "Selection";
    /// Objects by name instead of by label: a list of `name`, `kind/name` or `namespace/kind/name` with commas; not with `ALL`
    resource_name: "RESOURCE_NAME", "", "Selection";
    /// `WATCH` follows changes, `LIST` lists once and exits, `SLEEP` lists every `SLEEP_TIME`
    method: "METHOD", "WATCH", "Selection";
    /// Seconds between two lists with the method `SLEEP`
    sleep_time: "SLEEP_TIME", "60", "Selection";
    /// Seconds after which the method `LIST` fails
    list_timeout: "OUTRIGGER_LIST_TIMEOUT", "60", "Selection";
    /// Folder to write files to
    folder: "FOLDER", "required", "Files";
    /// Annotation of an object that names its folder, below `FOLDER`
    folder_annotation: "FOLDER_ANNOTATION", "k8s-sidecar-target-directory", "Files";
    /// Absolute folders that the annotation may name, each with all folders below it, as a list with commas; `/` allows every folder
    absolute_folders: "OUTRIGGER_ABSOLUTE_FOLDERS", "none but FOLDER", "Files";
    /// Write the files of each namespace to a folder of its own: `true` or `false`
    folder_per_namespace: "FOLDER_PER_NAMESPACE", "false", "Files";
    /// Put namespace, kind and name of the object into the file's name: `true` or `false`
    unique_filenames: "UNIQUE_FILENAMES", "false", "Files";
    /// Permissions of files, in octal digits
    default_file_mode: "DEFAULT_FILE_MODE", "0666 less the umask", "Files";
    /// Write only keys with one of these endings, as a list with commas
    suffixes: "OUTRIGGER_SUFFIXES", "all; .json with the profile gsidecar", "Files";
    /// Seconds between two checks of the files on disk and of the URLs
    resync: "OUTRIGGER_RESYNC_SECONDS", "60", "Files";
    /// Do not restore files that were changed on disk: `true` or `false`
    ignore_already_processed: "IGNORE_ALREADY_PROCESSED", "false", "Files";
    /// Addresses and hosts that are refused by default, and that keys ending in `.url` may name: `127.0.0.1`, `*.example.com`; as a list with commas
    url_allow: "OUTRIGGER_URL_ALLOW", "none", "Downloads";
    /// Largest download, in bytes
    url_limit: "OUTRIGGER_URL_LIMIT", "67108864", "Downloads";
    /// Hosts that downloads send credentials to in addition to that of `REQ_URL`, as a list with commas; `*` is every host, `none` is no host at all
    url_credentials: "OUTRIGGER_URL_CREDENTIALS", "", "Downloads";
    /// Write the bodies of answers 500, 502, 503 and 504: `true` or `false`. With the profile gsidecar: retry them
    enable_5xx: "ENABLE_5XX", "false", "Downloads";
    /// URL to request after changes
    req_url: "REQ_URL", "", "Telling the app";
    /// Method of that request: `GET` or `POST`
    req_method: "REQ_METHOD", "GET", "Telling the app";
    /// Body of a POST, JSON or text. `{{files}}` and `{{count}}` stand for what changed
    req_payload: "REQ_PAYLOAD", "", "Telling the app";
    /// Send no request after the first list: `true` or `false`
    req_skip_init: "REQ_SKIP_INIT", "false", "Telling the app";
    /// Program to run after changes, before the request
    script: "SCRIPT", "", "Telling the app";
    /// Seconds after which the program is ended
    script_timeout: "OUTRIGGER_SCRIPT_TIMEOUT", "60", "Telling the app";
    /// Milliseconds to collect changes in before the app is told; with 0 it is told of each change
    batch_window: "OUTRIGGER_BATCH_MILLISECONDS", "500", "Telling the app";
    /// User for the request, and for downloads that may send credentials
    req_username: "REQ_USERNAME", "", "Requests";
    /// Password
    req_password: "REQ_PASSWORD", "", "Requests";
    /// File with the user; it is read for each request
    req_username_file: "REQ_USERNAME_FILE", "", "Requests";
    /// File with the password; it is read for each request
    req_password_file: "REQ_PASSWORD_FILE", "", "Requests";
    /// File with a bearer token, used instead of user and password; it is read for each request
    req_token_file: "OUTRIGGER_REQ_TOKEN_FILE", "", "Requests";
    /// Encoding of user and password: `latin1` or `utf-8`
    req_basic_auth_encoding: "REQ_BASIC_AUTH_ENCODING", "latin1", "Requests";
    /// Seconds to wait for a connection, and for the answer of the app
    req_timeout: "REQ_TIMEOUT", "10", "Requests";
    /// Retries after the first attempt
    req_retry_total: "REQ_RETRY_TOTAL", "5", "Requests";
    /// Of these, retries after failed connections
    req_retry_connect: "REQ_RETRY_CONNECT", "10", "Requests";
    /// Of these, retries after missing answers
    req_retry_read: "REQ_RETRY_READ", "5", "Requests";
    /// Seconds. The pause before the second retry is twice as long, and doubles with each retry
    req_retry_backoff_factor: "REQ_RETRY_BACKOFF_FACTOR", "1.1", "Requests";
    /// Accept any certificate of the app and of downloads: `true` or `false`
    req_skip_tls_verify: "REQ_SKIP_TLS_VERIFY", "false", "Requests";
    /// File of additional CAs for the app and for downloads
    req_ca_file: "REQUESTS_CA_BUNDLE", "", "Requests";
    /// Accept any certificate of the API server: `true` or `false`
    skip_tls_verify: "SKIP_TLS_VERIFY", "false", "API server";
    /// No effect: no certificate is checked so strictly that this is needed
    disable_x509_strict_verification: "DISABLE_X509_STRICT_VERIFICATION", "false", "API server";
    /// Seconds after which the API server ends a watch
    watch_server_timeout: "WATCH_SERVER_TIMEOUT", "60", "API server";
    /// Seconds of silence after which a watch is started again
    watch_client_timeout: "WATCH_CLIENT_TIMEOUT", "66", "API server";
    /// Longest pause between attempts while the API server fails, in seconds
    error_throttle_sleep: "ERROR_THROTTLE_SLEEP", "5", "API server";
    /// Seconds without an answer of the API server after which `/healthz` fails
    contact_threshold: "K8S_CONTACT_THRESHOLD_SECONDS", "twice WATCH_SERVER_TIMEOUT or SLEEP_TIME", "API server";
    /// Port of `/healthz`, `/readyz` and `/metrics`
    health_port: "HEALTH_PORT", "8080", "Probes and logs";
    /// Address to listen on
    health_host: "HEALTH_HOST", "all", "Probes and logs";
    /// Lowest level to log: `DEBUG`, `INFO`, `WARN`, `WARNING`, `ERROR` or `CRITICAL`
    [id = "sync_log_level"]
    agent_log_level: "LOG_LEVEL", "INFO", "Probes and logs";
    /// `JSON`, or `LOGFMT` for text
    [id = "sync_log_format"]
    agent_log_format: "LOG_FORMAT", "JSON", "Probes and logs";
    /// No effect: times are always in UTC
    log_tz: "LOG_TZ", "UTC", "Probes and logs";
    /// No effect: it configures Python's logging
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

/// Returns a value unless it is empty.
pub(super) fn given(value: Option<&String>) -> Option<&str> {
    value.map(|value| value.trim()).filter(|value| !value.is_empty())
}

/// Parses a value as a number.
pub(super) fn number<T: FromStr>(variable: &str, value: Option<&String>, default: T) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let Some(value) = given(value) else { return Ok(default) };
    value.parse().with_context(|| format!("{variable}: {value:?} is not a valid number"))
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

    /// k8s-sidecar logs JSON by default, and log collectors expect that.
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
