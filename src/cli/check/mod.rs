//! `outrigger check`: problems of the mesh that files describe, or of a cluster, optionally with files applied on top
//! of it.

mod filter;
mod input;
mod live;
mod picture;
mod print;

use super::access::AccessArgs;
use super::output;
use crate::mesh_integrity::{Code, Engine, Finding, Key, Object, Options, Severity, assumed};
use anyhow::Result;
use filter::{Ignored, Level};
use input::Input;
use print::Located;
use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Flags of `outrigger check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code: 1 if a finding is at least as severe as --failure-threshold, else 0.

Examples:
  outrigger check manifests/
  kubectl kustomize overlays/prod | outrigger check - --failure-threshold warning
  outrigger check manifests/ -o svg > mesh.svg
  outrigger check manifests/ --ignore 'OUT0002=Service/shop/*'
  # The cluster, with the objects of a file applied
  outrigger check --cluster app.yaml")]
pub(super) struct Args {
    /// Files, folders or https URLs of objects, in YAML or JSON. `-` is standard input
    #[arg(value_name = "FILE|DIR", required_unless_present_any = ["cluster", "list"])]
    files: Vec<PathBuf>,
    /// Check the objects of the cluster. Objects of files replace those of the cluster, and then only findings about them are
    /// printed
    #[arg(long)]
    cluster: bool,
    #[command(flatten)]
    access: AccessArgs,
    /// Namespace of objects without one
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: print::Format,
    /// Lowest severity to print
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "info")]
    severity: Level,
    /// Lowest severity that makes the exit code 1
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "error")]
    failure_threshold: Level,
    /// Findings to suppress: a code, and an object as `Kind/namespace/name` or, as istioctl writes it, `Kind name.namespace`.
    /// `*` stands for any text. May be given several times
    #[arg(long, short = 'S', visible_alias = "suppress", value_name = "CODE=GLOB")]
    ignore: Vec<Ignored>,
    /// Print all codes with their meaning
    #[arg(long, conflicts_with_all = ["cluster", "files"])]
    list: bool,
    /// Root namespace of the mesh
    #[arg(long, value_name = "NAMESPACE", default_value = "istio-system")]
    root_namespace: String,
    /// DNS domain of the cluster's Services
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        output::print(|out| out.write_all(list().as_bytes()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Input { mut objects, places, unreadable } = Input::read(&args.files, &args.namespace);
    let now = jiff::Timestamp::now().as_second();
    let options =
        Options { root_namespace: args.root_namespace.clone(), domain: args.cluster_domain.clone(), now: Some(now) };
    let below = if args.cluster { live::read(&args.access)? } else { assumed()? };
    // A file changes an existing object, which keeps its age.
    let ages: HashMap<&Key, &Object> = below.iter().map(|object| (object.key(), object)).collect();
    for object in &mut objects {
        if let Some(known) = ages.get(object.key()) {
            object.keep_age(known);
        }
    }
    let engine = Engine::new(options, below.into_iter().chain(objects))?;
    let concerns = |finding: &&Finding| {
        !args.cluster || args.files.is_empty() || finding.objects.iter().any(|key| places.has(key))
    };
    let (found, suppressed): (Vec<&Finding>, Vec<&Finding>) =
        engine.findings().iter().filter(concerns).partition(|finding| !engine.suppresses(finding));
    let located = places.located(found.iter().copied());
    // The findings that are not ignored, with their positions.
    let (found, located): (Vec<&Finding>, Vec<Located>) =
        found.into_iter().zip(located).filter(|(_, located)| args.tells(located)).unzip();
    let mut findings: Vec<_> = unreadable.into_iter().filter(|finding| args.tells(finding)).chain(located).collect();
    let failed = findings.iter().any(|finding| finding.severity >= Severity::from(args.failure_threshold));
    findings.retain(|finding| finding.severity >= Severity::from(args.severity));
    match args.output {
        print::Format::Dot | print::Format::Svg => {
            let least = Severity::from(args.severity);
            let told: Vec<&Finding> = found.into_iter().filter(|finding| finding.severity >= least).collect();
            let dot = picture::dot(&engine.picture(), &told);
            let text = if args.output == print::Format::Svg { picture::svg(&dot)? } else { dot };
            output::print(|out| out.write_all(text.as_bytes()))?;
        }
        format => print::print(&findings, suppressed.len(), format)?,
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Args {
    fn tells(&self, finding: &Located) -> bool {
        !self.ignore.iter().any(|ignored| ignored.fits(finding))
    }
}

/// Returns all codes, one on each line.
pub(super) fn list() -> String {
    let line = |code: &Code| format!("{code} {:7} {}: {}\n", code.severity(), code.name(), code.meaning());
    Code::ALL.iter().map(line).collect()
}
