//! `outrigger demo`: the server in file mode, real AdmissionReviews for the examples over TLS, the added containers,
//! and the latency.

mod example;
mod latencies;
mod show;

use super::injection_args::InjectionArgs;
use super::input::load;
use super::output::{Paint, print};
use super::serve::{self, Running};
use crate::admission::Client;
use crate::documents::{Content, Folder};
use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use example::Example;
use serde_json::Value;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Reviews before the measured ones, which warm up code and connection.
const WARM_UP: usize = 200;

/// Flags of `outrigger demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outrigger demo
  outrigger demo --from examples/guestbook --reviews 500")]
pub(super) struct Args {
    /// Folder of SidecarSets, Pods and workloads
    #[arg(long, value_name = "DIR", default_value = "examples")]
    from: PathBuf,
    /// Number of reviews to measure, one after the other on one connection
    #[arg(long, value_name = "NUMBER", default_value_t = 2_000)]
    reviews: usize,
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
    let paint = Paint::stdout();
    let from = args.from.display();
    print(|out| {
        writeln!(out, "Serving {from} at https://{webhook}/mutate-pod, with a certificate made for this run.\n")
    })?;

    let ca = running.ca_pem.as_deref().context("the server made no certificate")?;
    let mut client = Client::connect(webhook, ca).await?;
    let mut first = None;
    for example in &examples {
        let (after, warnings) = review(&mut client, example).await?;
        if example.pod != after {
            first.get_or_insert(example);
        }
        print(|out| show::pod(out, paint, &sets, example, &after, &warnings))?;
    }
    let first =
        first.with_context(|| format!("no Pod of {from} was injected: do the selectors of the SidecarSets match?"))?;

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
    print(|out| {
        latencies::write(out, paint, times)?;
        write_next_steps(out, paint, &args.from, first)
    })?;
    drop(client);
    running.stop().await
}

/// Returns the Pods that the objects of a folder are or would create.
fn examples(from: &Path) -> Result<Vec<Example>> {
    let mut folder =
        Folder::new(from).context("--from (run this where the examples folder is, or name another one)")?;
    let mut examples = Vec::new();
    let mut broken = None;
    folder.poll(
        |document| Example::of(&document),
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

/// Prints the next commands: for the same Pod as YAML, and for the reasons.
fn write_next_steps(out: &mut impl Write, paint: Paint, from: &Path, example: &Example) -> io::Result<()> {
    let program = std::env::args_os().next().map_or("outrigger".into(), |name| name.to_string_lossy().into_owned());
    // The name of a single file is not relative to a folder.
    let file = if from.is_dir() { from.join(&example.file) } else { from.to_owned() };
    writeln!(out, "Next, see what changes in a manifest, and why:\n")?;
    for (command, more) in [("inject", " -o diff"), ("explain", "")] {
        let line = format!("{program} {command} -f {} --from {}{more}", file.display(), from.display());
        writeln!(out, "  {}", paint.bold(&line))?;
    }
    Ok(())
}
