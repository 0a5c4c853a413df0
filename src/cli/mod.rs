//! The command line: one file or folder for each subcommand. This is the only module that combines the others.

mod access;
mod check;
mod crds;
mod demo;
mod download;
mod errors;
mod explain;
mod given;
mod go_flags;
mod inject;
mod injection_args;
mod input;
mod live;
mod output;
mod serve;
mod source;
mod sync;
mod template;

use crate::telemetry::LogFormat;
use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use errors::{is_broken_pipe, with_causes};
use std::io::{self, Write};
use std::process::ExitCode;

/// The exit code of an error. A wrong command line exits with 2.
const FAILURE: u8 = 1;

/// Sidecars for Kubernetes: injects containers into Pods, updates them, and keeps the related Istio objects up to date.
#[derive(Debug, Parser)]
#[command(
    name = "outrigger",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  outrigger demo
  outrigger inject -f app.yaml --from sidecarsets/ -o diff
  outrigger explain -f pod.yaml --from sidecarsets/
  outrigger check manifests/

Type outrigger COMMAND --help for the options and examples of a command."
)]
struct Cli {
    /// Format of the log lines on standard error [default: text; for sync the variable `LOG_FORMAT`, else json]
    #[arg(long, global = true, value_enum, env = "OUTRIGGER_LOG_FORMAT", help_heading = "Logging")]
    log_format: Option<LogFormat>,
    /// Lowest level to log: error, warn, info, debug or trace, or a list of target=level pairs [default: the variable
    /// `RUST_LOG`, else info for serve and warn for the other commands]
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Logging")]
    log_level: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the webhook server and the controllers
    Serve(Box<serve::Args>),
    /// Print Pods and workloads with their sidecars, without a cluster
    Inject(inject::Args),
    /// Explain which SidecarSets a Pod gets and why, or how far the rollout of one is
    Explain(explain::Args),
    /// Find problems between Services, workloads and Istio objects, in files or in a cluster
    Check(check::Args),
    /// Start the server, send it the Pods of the examples, and show what it adds and how fast
    Demo(demo::Args),
    /// Write ConfigMaps and Secrets to files next to an application
    Sync(Box<sync::Args>),
    /// Print the CustomResourceDefinitions
    #[command(after_help = "\
Examples:
  outrigger crds | kubectl apply --server-side -f -
  outrigger crds > crds.yaml")]
    Crds,
    /// Print the completion script of a shell
    #[command(after_help = "\
Examples:
  source <(outrigger completions bash)
  outrigger completions zsh > _outrigger
  outrigger completions fish > outrigger.fish")]
    Completions {
        /// The shell to complete in
        shell: clap_complete::Shell,
    },
}

/// Runs the command line of this process.
#[must_use]
pub fn run() -> ExitCode {
    let Cli { log_format, log_level, command } =
        match Cli::try_parse_from(go_flags::translated(sync::by_name(std::env::args_os()))) {
            Ok(cli) => cli,
            Err(told) => return tell(&told),
        };
    let quiet = match &command {
        Command::Serve(_) => None,
        Command::Sync(args) => args.log_level(),
        _ => Some("warn"),
    };
    let quiet = quiet.filter(|_| std::env::var_os("RUST_LOG").is_none());
    let log_format = log_format.unwrap_or_else(|| match &command {
        Command::Sync(args) => args.log_format(),
        _ => LogFormat::default(),
    });
    let result = crate::telemetry::logs::init(log_format, log_level.as_deref().or(quiet))
        .context("cannot set up logging")
        .and_then(|()| match command {
            Command::Serve(args) => serve::run(&args),
            Command::Inject(args) => inject::run(&args),
            Command::Explain(args) => explain::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Demo(args) => demo::run(&args),
            Command::Sync(args) => sync::run(&args),
            Command::Crds => crds::run(),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "outrigger", &mut script);
                output::print(|out| out.write_all(&script)).map(|()| ExitCode::SUCCESS)
            }
        });
    result.unwrap_or_else(|error| failed(&error))
}

/// Prints a help text, a version, or the problem of the command line.
fn tell(told: &clap::Error) -> ExitCode {
    let printed = told.print().and_then(|()| io::stdout().flush()).context("cannot write to standard output");
    match printed {
        Ok(()) => ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(FAILURE)),
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS; // the reader of the output has closed it
    }
    eprintln!("outrigger: {}", with_causes(error));
    ExitCode::from(FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
