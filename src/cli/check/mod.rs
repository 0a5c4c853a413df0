//! `outrigger check`: what is wrong with the mesh that files describe, or a cluster with files laid over it.

mod input;
mod print;

use crate::mesh_integrity::{Engine, Options, Severity, assumed};
use anyhow::Result;
use input::Input;
use std::path::PathBuf;
use std::process::ExitCode;

/// Flags of `outrigger check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files or folders of objects, in YAML or JSON; `-` reads standard input
    #[arg(value_name = "FILE|DIR", required = true)]
    files: Vec<PathBuf>,
    /// Namespace of objects that have none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// What is printed
    #[arg(short, long, value_enum, default_value_t)]
    output: print::Format,
    /// Namespace whose objects are the defaults of the mesh
    #[arg(long, value_name = "NAMESPACE", default_value = "istio-system")]
    root_namespace: String,
    /// Domain of Services
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let input = Input::read(&args.files, &args.namespace)?;
    let options = Options { root_namespace: args.root_namespace.clone(), domain: args.cluster_domain.clone() };
    let Input { objects, places, unreadable } = input;
    let objects = assumed()?.into_iter().chain(objects);
    let engine = Engine::new(options, objects)?;
    let mut findings = unreadable;
    findings.extend(engine.findings().iter().map(|finding| places.located(finding)));
    print::print(&findings, args.output)?;
    let failed = findings.iter().any(|finding| finding.severity >= Severity::Error);
    Ok(if failed { ExitCode::from(super::FAILURE) } else { ExitCode::SUCCESS })
}
