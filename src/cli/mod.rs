//! The command line: one file or folder per subcommand, and the only place that wires rooms together.

mod check;
mod crds;
mod demo;
mod errors;
mod explain;
mod given;
mod go_flags;
mod inject;
mod injection_args;
mod input;
mod serve;
mod source;
mod sync;
mod template;

use crate::telemetry::LogFormat;
use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use errors::{is_broken_pipe, with_causes};
use std::io::Write;
use std::process::ExitCode;

/// Exit code for an error, as opposed to 2 for a wrong command line.
const FAILURE: u8 = 1;

/// Injects sidecar containers into Pods and keeps them up to date.
#[derive(Debug, Parser)]
#[command(name = "outrigger", version, max_term_width = 100)]
struct Cli {
    /// How log lines are written (to standard error) [default: text; for sync as `LOG_FORMAT` says, else json]
    #[arg(long, global = true, value_enum, env = "OUTRIGGER_LOG_FORMAT", help_heading = "Logging")]
    log_format: Option<LogFormat>,
    /// Least severe level that is logged: error, warn, info, debug or trace, or target=level pairs [default: the variable
    /// `RUST_LOG`, else info for serve and warn for the rest]
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Logging")]
    log_level: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the webhook server
    Serve(Box<serve::Args>),
    /// Inject the Pods and workloads of files and print them, with no cluster
    Inject(inject::Args),
    /// Say why each SidecarSet is injected into the Pods of files or not
    Explain(explain::Args),
    /// Find what is wrong with the Services and Istio objects of files, or of a cluster with files laid over it
    Check(check::Args),
    /// Start the server, send it the examples' Pods, and show what it adds and how fast
    Demo(demo::Args),
    /// Keep ConfigMaps and Secrets as files beside an app
    Sync(Box<sync::Args>),
    /// Print the CustomResourceDefinitions
    Crds,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs the command line of this process.
#[must_use]
pub fn run() -> ExitCode {
    let Cli { log_format, log_level, command } =
        Cli::parse_from(go_flags::translated(sync::by_name(std::env::args_os())));
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
                std::io::stdout().write_all(&script)?;
                Ok(ExitCode::SUCCESS)
            }
        });
    result.unwrap_or_else(|error| {
        if is_broken_pipe(&error) {
            return ExitCode::SUCCESS; // the reader of our output has seen enough
        }
        eprintln!("outrigger: {}", with_causes(&error));
        ExitCode::from(FAILURE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
