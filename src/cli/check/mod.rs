//! `outrigger check`: what is wrong with the mesh that files describe, or that a cluster has, with files laid over it.

mod filter;
mod input;
mod live;
mod picture;
mod print;

use crate::mesh_integrity::{Code, Engine, Finding, Options, Severity, assumed};
use anyhow::Result;
use filter::{Ignored, Level};
use input::Input;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Flags of `outrigger check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files or folders of objects, in YAML or JSON; `-` reads standard input
    #[arg(value_name = "FILE|DIR", required_unless_present_any = ["cluster", "list"])]
    files: Vec<PathBuf>,
    /// Check the objects of the cluster; files are laid over them, and then findings that concern the files are told
    #[arg(long)]
    cluster: bool,
    /// Namespace of objects that have none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// What is printed
    #[arg(short, long, value_enum, default_value_t)]
    output: print::Format,
    /// Least severity that is told
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "info")]
    severity: Level,
    /// Least severity that makes the exit code 1
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "error")]
    failure_threshold: Level,
    /// Findings that are not told: a code or `*`, and `Kind/namespace/name`, or `Kind name.namespace` as istioctl writes it, both
    /// with `*`. May be given several times
    #[arg(long, short = 'S', visible_alias = "suppress", value_name = "CODE=GLOB")]
    ignore: Vec<Ignored>,
    /// Print all codes and what they mean
    #[arg(long, conflicts_with_all = ["cluster", "files"])]
    list: bool,
    /// Namespace whose objects are the defaults of the mesh
    #[arg(long, value_name = "NAMESPACE", default_value = "istio-system")]
    root_namespace: String,
    /// Domain of Services
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        std::io::stdout().lock().write_all(list().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let Input { objects, places, unreadable } = Input::read(&args.files, &args.namespace)?;
    let options = Options { root_namespace: args.root_namespace.clone(), domain: args.cluster_domain.clone() };
    let below = if args.cluster { live::read()? } else { assumed()? };
    let engine = Engine::new(options, below.into_iter().chain(objects))?;
    let concerns = |finding: &&Finding| {
        !args.cluster || args.files.is_empty() || finding.objects.iter().any(|key| places.has(key))
    };
    let wanted = |finding: &&Finding| {
        let mut objects = finding.objects.iter().filter_map(|key| engine.object(key));
        !objects.any(|object| object.suppresses(finding.code))
    };
    let found = engine.findings().iter().filter(concerns).filter(wanted);
    let mut findings: Vec<_> =
        unreadable.into_iter().chain(found.clone().map(|finding| places.located(finding))).collect();
    findings.retain(|finding| !args.ignore.iter().any(|ignored| ignored.fits(finding)));
    let failed = findings.iter().any(|finding| finding.severity >= Severity::from(args.failure_threshold));
    findings.retain(|finding| finding.severity >= Severity::from(args.severity));
    match args.output {
        print::Format::Dot | print::Format::Svg => {
            let told: Vec<&Finding> = found.collect();
            let dot = picture::dot(&engine.picture(), &told);
            let text = if args.output == print::Format::Svg { picture::svg(&dot)? } else { dot };
            std::io::stdout().lock().write_all(text.as_bytes())?;
        }
        output => print::print(&findings, output)?,
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// All codes, a line each.
pub(super) fn list() -> String {
    let line = |code: &Code| format!("{code} {:7} {}: {}\n", code.severity(), code.name(), code.meaning());
    Code::ALL.iter().map(line).collect()
}
