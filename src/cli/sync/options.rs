//! Interprets the variables and flags of `outrigger sync`, for both profiles.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::args::{Args, given, number};
use crate::file_sync::Kind;
use crate::file_sync::naming::{Absolute, Naming};
use crate::file_sync::options::{
    ByName, Calls, Login, Method, Options, Payload, Reload, ReloadRequest, Selection, Urls,
};

/// The program whose rules apply to the options.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Profile {
    K8sSidecar,
    Gsidecar,
}

/// Returns the options for these arguments.
///
/// # Errors
/// When a value is invalid: names its variable.
pub(super) fn of(args: &Args, own_namespace: &str) -> Result<Options> {
    let profile = match given(args.profile.as_ref()) {
        None | Some("k8s-sidecar") => Profile::K8sSidecar,
        Some("gsidecar") => Profile::Gsidecar,
        Some(other) => {
            bail!("OUTRIGGER_PROFILE: Unsupported value: {other:?}: supported values: k8s-sidecar, gsidecar")
        }
    };
    let naming = naming(args, profile)?;
    let method = method(args, profile)?;
    let selection = selection(args, profile, own_namespace)?;
    let server: u32 = number("WATCH_SERVER_TIMEOUT", args.watch_server_timeout.as_ref(), 60)?;
    let client = seconds("WATCH_CLIENT_TIMEOUT", args.watch_client_timeout.as_ref(), f64::from(server) + 6.0)?;
    let round = match method {
        Method::Poll(period) => period,
        Method::Watch | Method::Once(_) => Duration::from_secs(server.into()),
    };
    let resync = seconds("OUTRIGGER_RESYNC_SECONDS", args.resync.as_ref(), 60.0)?;
    ensure!(
        server > 0 && !client.is_zero() && !resync.is_zero(),
        "WATCH_SERVER_TIMEOUT, WATCH_CLIENT_TIMEOUT and OUTRIGGER_RESYNC_SECONDS are longer than 0"
    );
    Ok(Options {
        selection,
        method,
        naming,
        mode: mode(args)?,
        resync,
        heal: !flag("IGNORE_ALREADY_PROCESSED", args.ignore_already_processed.as_ref())?,
        urls: urls(args, profile)?,
        reload: reload(args, profile)?,
        calls: calls(args)?,
        contact: seconds("K8S_CONTACT_THRESHOLD_SECONDS", args.contact_threshold.as_ref(), round.as_secs_f64() * 2.0)?,
        watch: (server, client),
        longest_pause: seconds("ERROR_THROTTLE_SLEEP", args.error_throttle_sleep.as_ref(), 5.0)?
            .max(Duration::from_millis(100)),
    })
}

fn selection(args: &Args, profile: Profile, own_namespace: &str) -> Result<Selection> {
    let kinds = match given(args.resource.as_ref()).map(str::to_ascii_lowercase).as_deref() {
        None | Some("configmap") => vec![Kind::ConfigMap],
        Some("secret") => vec![Kind::Secret],
        Some("both") => vec![Kind::Secret, Kind::ConfigMap],
        Some(other) => bail!("RESOURCE: Unsupported value: {other:?}: supported values: configmap, secret, both"),
    };
    let namespaces = match (args.namespace.as_deref(), profile) {
        (None, Profile::K8sSidecar) => vec![own_namespace.to_owned()],
        (None, Profile::Gsidecar) => Vec::new(),
        (Some(text), _) => list(text).map(str::to_owned).collect(),
    };
    let namespaces = if namespaces.iter().any(|name| name == "ALL") { Vec::new() } else { namespaces };
    let mut names = Vec::new();
    for name in list(given(args.resource_name.as_ref()).unwrap_or_default()) {
        let name: ByName = name.parse().context("RESOURCE_NAME")?;
        if name.kind.is_some_and(|kind| !kinds.contains(&kind)) {
            tracing::warn!("RESOURCE_NAME: {} is of a kind that RESOURCE does not select, and is skipped", name.name);
            continue;
        }
        names.push(name);
    }
    if namespaces.is_empty() && !names.is_empty() {
        tracing::warn!("RESOURCE_NAME has no effect in all namespaces; objects are selected by LABEL");
        names.clear();
    } else if names.is_empty() {
        ensure!(
            given(args.resource_name.as_ref()).is_none() || namespaces.is_empty(),
            "RESOURCE_NAME names no object of the kinds in RESOURCE"
        );
    }
    let labels = labels(given(args.label.as_ref()), given(args.label_value.as_ref()));
    ensure!(
        labels.is_some() || !names.is_empty(),
        "LABEL is missing: set it to the label that ConfigMaps and Secrets must have"
    );
    Ok(Selection { kinds, namespaces, labels, names })
}

fn labels(label: Option<&str>, value: Option<&str>) -> Option<String> {
    Some(match (label?, value) {
        (label, None) => label.to_owned(),
        (label, Some(value)) if value.starts_with("in ") || value.starts_with("notin ") => format!("{label} {value}"),
        (label, Some(value)) => format!("{label}={value}"),
    })
}

fn method(args: &Args, profile: Profile) -> Result<Method> {
    let limit = seconds("OUTRIGGER_LIST_TIMEOUT", args.list_timeout.as_ref(), 60.0)?;
    let period = seconds("SLEEP_TIME", args.sleep_time.as_ref(), 60.0)?.max(Duration::from_secs(1));
    let name = given(args.method.as_ref()).unwrap_or("WATCH").to_ascii_uppercase();
    Ok(match (name.as_str(), profile) {
        ("LIST", Profile::K8sSidecar) | ("SLEEP" | "ONCE", Profile::Gsidecar) => Method::Once(limit),
        ("SLEEP", Profile::K8sSidecar) | ("LIST", Profile::Gsidecar) => Method::Poll(period),
        ("WATCH", _) => Method::Watch,
        // k8s-sidecar watches with any other value.
        (other, Profile::K8sSidecar) => {
            tracing::warn!("METHOD: Unsupported value: {other:?}; watching");
            Method::Watch
        }
        (other, Profile::Gsidecar) => {
            bail!("METHOD: Unsupported value: {other:?}: supported values: watch, list, sleep")
        }
    })
}

fn naming(args: &Args, profile: Profile) -> Result<Naming> {
    let folder =
        given(args.folder.as_ref()).context("FOLDER is missing: set it to the folder that files are written to")?;
    let mut roots = vec![absolute(Path::new(folder))?];
    for folder in list(given(args.absolute_folders.as_ref()).unwrap_or_default()) {
        ensure!(folder.starts_with('/'), "OUTRIGGER_ABSOLUTE_FOLDERS: {folder:?} is not absolute");
        roots.push(absolute(Path::new(folder))?);
    }
    ensure!(roots.len() <= 1_000, "OUTRIGGER_ABSOLUTE_FOLDERS: at most 999 folders");
    let default_suffixes = if profile == Profile::Gsidecar { ".json" } else { "" };
    let suffixes = list(given(args.suffixes.as_ref()).unwrap_or(default_suffixes)).map(str::to_owned).collect();
    Ok(Naming {
        roots,
        annotation: given(args.folder_annotation.as_ref()).unwrap_or("k8s-sidecar-target-directory").to_owned(),
        absolute: if profile == Profile::Gsidecar { Absolute::Nested } else { Absolute::Itself },
        per_namespace: flag("FOLDER_PER_NAMESPACE", args.folder_per_namespace.as_ref())?,
        unique: flag("UNIQUE_FILENAMES", args.unique_filenames.as_ref())?,
        suffixes,
        urls: profile == Profile::K8sSidecar,
    })
}

/// Removes `.` and `..`, which may change their meaning.
fn absolute(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).with_context(|| format!("the folder {}", path.display()))?;
    ensure!(!path.components().any(|part| part.as_os_str() == ".."), "the folder {} has .. in it", path.display());
    Ok(path.components().collect())
}

fn mode(args: &Args) -> Result<Option<u32>> {
    let Some(text) = given(args.default_file_mode.as_ref()) else { return Ok(None) };
    let mode = u32::from_str_radix(text.trim_start_matches("0o"), 8).ok().filter(|mode| *mode <= 0o7777);
    mode.map(Some).with_context(|| format!("DEFAULT_FILE_MODE: {text:?} is not a mode; write octal digits, as in 0644"))
}

fn urls(args: &Args, profile: Profile) -> Result<Urls> {
    let allow = list(given(args.url_allow.as_ref()).unwrap_or_default()).map(str::parse).collect::<Result<_, _>>();
    let hosts = given(args.url_credentials.as_ref()).unwrap_or_default();
    let credentials = match hosts {
        "*" => None,
        "none" => Some(Vec::new()),
        hosts => Some(list(hosts).map(str::parse).collect::<Result<_, _>>().context("OUTRIGGER_URL_CREDENTIALS")?),
    };
    Ok(Urls {
        allow: allow.context("OUTRIGGER_URL_ALLOW")?,
        limit: number("OUTRIGGER_URL_LIMIT", args.url_limit.as_ref(), 64 * 1024 * 1024)?,
        store_5xx: flag("ENABLE_5XX", args.enable_5xx.as_ref())? && profile == Profile::K8sSidecar,
        credentials,
        credentials_home: hosts != "none",
        refused: Vec::new(),
    })
}

fn reload(args: &Args, profile: Profile) -> Result<Reload> {
    let payload = given(args.req_payload.as_ref()).map(|text| match (Payload::of(text), profile) {
        (Payload::Text(text), Profile::Gsidecar) => Payload::Raw(text),
        (payload, _) => payload,
    });
    let request = given(args.req_url.as_ref()).map(|url| -> Result<_> {
        let post = match given(args.req_method.as_ref()).unwrap_or("GET").to_ascii_uppercase().as_str() {
            "GET" => false,
            "POST" => true,
            other => bail!("REQ_METHOD: Unsupported value: {other:?}: supported values: GET, POST"),
        };
        Ok(ReloadRequest { target: url.parse().context("REQ_URL")?, post, payload })
    });
    let window: u64 = number("OUTRIGGER_BATCH_MILLISECONDS", args.batch_window.as_ref(), 500)?;
    Ok(Reload {
        script: given(args.script.as_ref()).map(PathBuf::from),
        script_timeout: seconds("OUTRIGGER_SCRIPT_TIMEOUT", args.script_timeout.as_ref(), 60.0)?,
        request: request.transpose()?,
        window: Duration::from_millis(window),
        skip_first: flag("REQ_SKIP_INIT", args.req_skip_init.as_ref())?,
    })
}

fn calls(args: &Args) -> Result<Calls> {
    let utf8 = match given(args.req_basic_auth_encoding.as_ref()).unwrap_or("latin1").to_ascii_lowercase().as_str() {
        "latin1" | "latin-1" | "iso-8859-1" | "ascii" => false,
        "utf-8" | "utf8" => true,
        other => bail!("REQ_BASIC_AUTH_ENCODING: Unsupported value: {other:?}: supported values: latin1, utf-8"),
    };
    let path = |value: Option<&String>| given(value).map(PathBuf::from);
    let backoff: f64 = number("REQ_RETRY_BACKOFF_FACTOR", args.req_retry_backoff_factor.as_ref(), 1.1)?;
    ensure!(backoff.is_finite() && backoff >= 0.0, "REQ_RETRY_BACKOFF_FACTOR: {backoff} is not a valid duration");
    let timeout = seconds("REQ_TIMEOUT", args.req_timeout.as_ref(), 10.0)?;
    ensure!(!timeout.is_zero(), "REQ_TIMEOUT is longer than 0");
    Ok(Calls {
        retries: number("REQ_RETRY_TOTAL", args.req_retry_total.as_ref(), 5)?,
        retries_connect: number("REQ_RETRY_CONNECT", args.req_retry_connect.as_ref(), 10)?,
        retries_read: number("REQ_RETRY_READ", args.req_retry_read.as_ref(), 5)?,
        backoff,
        timeout,
        skip_verify: flag("REQ_SKIP_TLS_VERIFY", args.req_skip_tls_verify.as_ref())?,
        ca_file: path(args.req_ca_file.as_ref()),
        login: Login {
            username: given(args.req_username.as_ref()).map(str::to_owned),
            password: args.req_password.clone(),
            username_file: path(args.req_username_file.as_ref()),
            password_file: path(args.req_password_file.as_ref()),
            token_file: path(args.req_token_file.as_ref()),
            utf8,
        },
    })
}

fn seconds(variable: &str, value: Option<&String>, default: f64) -> Result<Duration> {
    let seconds = number(variable, value, default)?;
    let length =
        Duration::try_from_secs_f64(seconds).ok().filter(|length| *length <= Duration::from_secs(366 * 24 * 60 * 60));
    length.with_context(|| format!("{variable}: {seconds} is not a valid number of seconds"))
}

fn flag(variable: &str, value: Option<&String>) -> Result<bool> {
    match given(value).unwrap_or("false").to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "y" | "on" | "t" => Ok(true),
        "false" | "0" | "no" | "n" | "off" | "f" => Ok(false),
        other => bail!("{variable}: {other:?} is neither true nor false"),
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn options(flags: &[&str]) -> Result<Options> {
        let base = ["sync", "--folder", "/f/", "--label", "l"];
        let cli = Cli::try_parse_from(base.iter().chain(flags)).map_err(anyhow::Error::from)?;
        of(&cli.args, "own")
    }

    fn good(flags: &[&str]) -> Options {
        options(flags).unwrap_or_else(|error| panic!("{flags:?}: {error:?}"))
    }

    #[test]
    fn logs_are_json_unless_their_format_is_changed() {
        use crate::telemetry::logs::LogFormat::{Json, Text};
        let format = |flags: &[&str]| {
            let base = ["sync", "--folder", "/f/", "--label", "l"];
            Cli::try_parse_from(base.iter().chain(flags)).expect("flags").args.log_format()
        };
        assert_eq!(format(&[]), Json);
        assert_eq!(format(&["--agent-log-format", "logfmt"]), Text);
        assert_eq!(format(&["--agent-log-format", "JSON"]), Json);
    }

    #[test]
    fn each_profile_has_its_methods_and_namespaces() {
        let minute = Duration::from_secs(60);
        for (profile, method, expected) in [
            ("k8s-sidecar", "", Method::Watch),
            ("k8s-sidecar", "LIST", Method::Once(minute)),
            ("k8s-sidecar", "SLEEP", Method::Poll(minute)),
            ("k8s-sidecar", "sleep", Method::Poll(minute)),
            ("k8s-sidecar", "other", Method::Watch),
            ("gsidecar", "", Method::Watch),
            ("gsidecar", "watch", Method::Watch),
            ("gsidecar", "list", Method::Poll(minute)),
            ("gsidecar", "sleep", Method::Once(minute)),
        ] {
            assert_eq!(good(&["--profile", profile, "--method", method]).method, expected, "{profile} {method}");
        }
        assert!(options(&["--profile", "gsidecar", "--method", "other"]).is_err());
        let namespaces = |flags: &[&str]| good(flags).selection.namespaces;
        assert_eq!(namespaces(&[]), ["own"]);
        assert_eq!(namespaces(&["--profile", "gsidecar"]), Vec::<String>::new());
        assert_eq!(namespaces(&["--namespace", "a, b,"]), ["a", "b"], "with spaces and commas too many");
        for all in ["", "ALL"] {
            assert_eq!(namespaces(&["--namespace", all]), Vec::<String>::new(), "{all:?}");
        }
        assert_eq!(good(&["--profile", "gsidecar"]).naming.suffixes, [".json"]);
        assert_eq!(good(&["--profile", "gsidecar", "--suffixes", ".json,.yaml"]).naming.suffixes, [".json", ".yaml"]);
    }

    #[test]
    fn labels_may_be_sets_of_values() {
        for (value, expected) in [("", "l"), ("v", "l=v"), ("in (a,b)", "l in (a,b)"), ("notin (a)", "l notin (a)")] {
            assert_eq!(good(&["--label-value", value]).selection.labels.as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_by_its_variable() {
        for (flags, variable) in [
            (&["--default-file-mode", "888"][..], "DEFAULT_FILE_MODE"),
            (&["--resource", "pods"], "RESOURCE"),
            (&["--req-url", "ftp://h"], "REQ_URL"),
            (&["--req-url", "http://h", "--req-method", "PUT"], "REQ_METHOD"),
            (&["--sleep-time", "soon"], "SLEEP_TIME"),
            (&["--sleep-time", "1e99"], "SLEEP_TIME"),
            (&["--unique-filenames", "maybe"], "UNIQUE_FILENAMES"),
            (&["--absolute-folders", "relative"], "OUTRIGGER_ABSOLUTE_FOLDERS"),
            (&["--resource-name", "pod/x"], "RESOURCE_NAME"),
            (&["--resource-name", "secret/x"], "RESOURCE_NAME"),
            (&["--label", ""], "LABEL"),
            (&["--folder", ""], "FOLDER"),
            (&["--profile", "other"], "OUTRIGGER_PROFILE"),
        ] {
            // The case tests one flag, so the base replaces a flag that is given twice.
            let base: Vec<&str> = ["--folder", "/f/", "--label", "l"]
                .chunks(2)
                .filter(|pair| !flags.contains(&pair[0]))
                .flatten()
                .copied()
                .collect();
            let cli = Cli::try_parse_from(["sync"].iter().chain(&base).chain(flags)).expect("flags");
            let error = of(&cli.args, "own").expect_err("refused");
            assert!(format!("{error:#}").contains(variable), "{flags:?}: {error:#}");
        }
    }

    #[test]
    fn a_program_of_that_name_has_the_profile_of_gsidecar() {
        let args = |name: &str| super::super::by_name([name].iter().map(Into::into));
        assert_eq!(args("/usr/bin/k8s-gsidecar"), ["/usr/bin/k8s-gsidecar", "sync", "--profile", "gsidecar"]);
        assert_eq!(args("outrigger"), ["outrigger"]);
    }
}
