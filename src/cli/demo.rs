//! `outrigger demo`: the server in file mode, real AdmissionReviews for the examples over TLS, what it adds and how fast.

use super::injection_args::InjectionArgs;
use super::input::{describe, load};
use super::serve::{self, Running};
use super::template::pod_template;
use crate::admission::Client;
use crate::api::keys;
use crate::documents::{Content, Document, Folder};
use crate::injection::Snapshot;
use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Reviews before the measured ones, so that code and connection are warm.
const WARM_UP: usize = 200;

/// Flags of `outrigger demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of SidecarSets, Pods and workloads
    #[arg(long, value_name = "DIR", default_value = "examples")]
    from: PathBuf,
    /// Reviews to measure, one after the other on one connection
    #[arg(long, value_name = "NUMBER", default_value_t = 2_000)]
    reviews: usize,
}

/// A Pod that the examples would create.
struct Example {
    what: String,
    pod: Value,
    review: Bytes,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(demo(args))?;
    Ok(ExitCode::SUCCESS)
}

async fn demo(args: &Args) -> Result<()> {
    let examples = examples(&args.from)?;
    let injection = InjectionArgs { exclude_namespaces: vec!["kube-system".to_owned()], ..InjectionArgs::default() };
    let sets = load(&args.from, &injection)?;
    let loopback = ([127, 0, 0, 1], 0).into();
    let running = Running::start(&serve::Args {
        from: Some(args.from.clone()),
        listen: Some(loopback),
        admin_listen: Some(loopback),
        injection,
        ..serve::Args::default()
    })
    .await?;
    let webhook = running.webhook.context("nothing is served")?;
    let paint = Paint::new();
    let mut out = io::stdout();
    writeln!(
        out,
        "Serving {} at https://{}/mutate-pod, with a certificate made for this run.\n",
        args.from.display(),
        webhook
    )?;

    let ca = running.ca_pem.as_deref().context("the server made no certificate")?;
    let mut client = Client::connect(webhook, ca).await?;
    let mut added = 0;
    for example in &examples {
        let (after, warnings) = review(&mut client, example).await?;
        added += usize::from(example.pod != after);
        show(&mut out, &paint, &sets, example, &after, &warnings)?;
    }
    if added == 0 {
        bail!("no Pod of {} was injected: do the SidecarSets' selectors match?", args.from.display());
    }

    let mut times = Vec::with_capacity(args.reviews);
    for number in 0..WARM_UP + args.reviews {
        let example = &examples[number % examples.len()];
        let start = Instant::now();
        let answer = client.post("/mutate-pod", example.review.clone()).await?;
        let time = start.elapsed();
        if !answer.status.is_success() {
            bail!("a review was answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        if number >= WARM_UP {
            times.push(time);
        }
    }
    times.sort_unstable();
    if let (Some(p50), Some(p99)) = (quantile(&times, 50), quantile(&times, 99)) {
        let build = if cfg!(debug_assertions) { "this build is not optimised" } else { "optimised build" };
        writeln!(
            out,
            "{} reviews over TLS, one connection, one after the other: p50 {}, p99 {} ({build}).",
            times.len(),
            paint.bold(&milliseconds(p50)),
            paint.bold(&milliseconds(p99)),
        )?;
    }
    drop(client);
    running.stop().await
}

/// The Pods that the objects of a folder are, or would create.
fn examples(from: &std::path::Path) -> Result<Vec<Example>> {
    let mut folder =
        Folder::new(from).context("--from (run this where the examples folder is, or name another one)")?;
    let mut examples = Vec::new();
    let mut broken = None;
    folder.poll(
        |document| example(&document),
        |change| match change.content {
            Content::Documents(found) => examples.extend(found.into_iter().flatten()),
            Content::Broken(error) => broken = Some(error),
            Content::Removed => {}
        },
    );
    if let Some(error) = broken {
        bail!("{error}");
    }
    if examples.is_empty() {
        bail!("{} holds no Pods or workloads to send", from.display());
    }
    Ok(examples)
}

fn example(document: &Document) -> Option<Example> {
    let pod = pod_template(&document.value)?.pod();
    let namespace = pod.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": format!("demo-{}", document.position),
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": namespace,
            "object": pod,
        }
    });
    let review = Bytes::from(review.to_string());
    Some(Example { what: describe(document), pod, review })
}

/// Sends one review and applies the patch of its answer.
async fn review(client: &mut Client, example: &Example) -> Result<(Value, Vec<String>)> {
    let answer = client.post("/mutate-pod", example.review.clone()).await?;
    let body = String::from_utf8_lossy(&answer.body);
    let context = || format!("{}: answer {} {body}", example.what, answer.status);
    let review: Value = serde_json::from_slice(&answer.body).with_context(context)?;
    let response = &review["response"];
    if response["allowed"] != true {
        bail!("{}: denied: {}", example.what, response["status"]["message"]);
    }
    let mut pod = example.pod.clone();
    if let Some(patch) = response["patch"].as_str() {
        let patch: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch)?)?;
        json_patch::patch(&mut pod, &patch).with_context(context)?;
    }
    let warnings = response["warnings"].as_array().into_iter().flatten();
    Ok((pod, warnings.filter_map(Value::as_str).map(str::to_owned).collect()))
}

/// Prints a Pod's containers before and after, and which set brought which.
fn show(
    out: &mut impl Write,
    paint: &Paint,
    sets: &Snapshot,
    example: &Example,
    after: &Value,
    warnings: &[String],
) -> Result<()> {
    let (what, before) = (&example.what, &example.pod);
    writeln!(out, "{}", paint.bold(what))?;
    if before == after {
        writeln!(out, "  {}\n", paint.dim("no SidecarSet matches"))?;
        return Ok(());
    }
    let listed = after["metadata"]["annotations"][keys::INJECTED_LIST].as_str().unwrap_or_default();
    let set_of = |container: &str| {
        let set = sets.sets().find(|set| {
            listed.split(',').any(|name| name == set.name)
                && set.content.container_names().any(|name| name == container)
        });
        set.map(|set| set.name.as_str()).unwrap_or_default()
    };
    for (list, title) in [("initContainers", "init containers"), ("containers", "containers")] {
        let (before, after) = (&before["spec"][list], &after["spec"][list]);
        if after.is_null() {
            continue;
        }
        let known = names(before);
        let line = names(after)
            .into_iter()
            .map(|name| if known.contains(&name) { name } else { paint.green(&format!("+{name}")) });
        writeln!(out, "  {title}: {}", line.collect::<Vec<_>>().join(" "))?;
        for container in after.as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default();
            if !known.iter().any(|known| known == name) {
                let native = if container["restartPolicy"] == "Always" && list == "initContainers" {
                    ", a native sidecar"
                } else {
                    ""
                };
                let set = set_of(name);
                let image = container["image"].as_str().unwrap_or_default();
                writeln!(out, "    {} {image}{native}, by SidecarSet {set}", paint.green(&format!("+ {name}")))?;
                for line in details(container) {
                    writeln!(out, "        {}", paint.dim(&line))?;
                }
            }
        }
    }
    for (list, title) in [("volumes", "volume"), ("imagePullSecrets", "image pull secret")] {
        let known = names(&before["spec"][list]);
        for name in names(&after["spec"][list]).into_iter().filter(|name| !known.contains(name)) {
            writeln!(out, "    {}", paint.green(&format!("+ {title} {name}")))?;
        }
    }
    for warning in warnings {
        writeln!(out, "    {}", paint.yellow(&format!("warning: {warning}")))?;
    }
    writeln!(out)?;
    Ok(())
}

/// What a container has, in a line each: what it mounts, its variables, its resources.
fn details(container: &Value) -> Vec<String> {
    let texts = |list: &str, key: &str| {
        let items = container[list].as_array().into_iter().flatten();
        items.filter_map(|item| item[key].as_str()).collect::<Vec<_>>()
    };
    let mut variables = texts("env", "name");
    variables.retain(|name| *name != keys::IS_INJECTED);
    let listed = [("mounts", texts("volumeMounts", "mountPath")), ("variables", variables)];
    let mut lines: Vec<String> = listed
        .into_iter()
        .filter(|(_, items)| !items.is_empty())
        .map(|(title, items)| format!("{title} {}", items.join(", ")))
        .collect();
    for part in ["limits", "requests"] {
        let amounts = container["resources"][part].as_object().into_iter().flatten();
        let amounts: Vec<_> =
            amounts.map(|(resource, amount)| format!("{resource} {}", amount.as_str().unwrap_or_default())).collect();
        if !amounts.is_empty() {
            lines.push(format!("{part} {}", amounts.join(", ")));
        }
    }
    lines
}

fn names(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(|item| item["name"].as_str()).map(str::to_owned).collect()
}

fn quantile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?)).copied()
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// Colours, on a terminal only.
struct Paint {
    on: bool,
}

impl Paint {
    fn new() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { on: io::stdout().is_terminal() && !no_color }
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.on { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    fn yellow(&self, text: &str) -> String {
        self.paint("33", text)
    }
}
