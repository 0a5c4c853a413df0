//! `outrigger crds`: the CustomResourceDefinitions as YAML.

use super::output;
use crate::api::crds;
use crate::documents::to_yaml_stream;
use anyhow::{Context, Result};
use std::io::Write;
use std::process::ExitCode;

pub(super) fn run() -> Result<ExitCode> {
    let crds = crds::all().context("the versions of a resource contradict each other")?;
    let crds = crds.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
    output::print(|out| out.write_all(to_yaml_stream(&crds).as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}
