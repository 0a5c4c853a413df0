//! The output of `outrigger check`: text for people, JSON, or SARIF for code hosts.

use crate::cli::output::{self, Paint};
use crate::mesh_integrity::{Code, Severity};
use crate::telemetry::text::OneLine;
use anyhow::Result;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{self, Write};

/// The output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Findings by object, each with advice
    #[default]
    Text,
    /// A list of `{code, severity, resource, message}`, with `advice`, `field`, `file` and `line` where known
    Json,
    /// SARIF 2.1.0, for code hosts
    Sarif,
    /// A Graphviz graph of Gateways, VirtualServices, hosts and subsets, with broken parts in red
    Dot,
    /// The same graph as a picture
    Svg,
}

/// A finding with its position.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Located {
    #[serde(serialize_with = "shown")]
    pub code: Code,
    #[serde(serialize_with = "shown")]
    pub severity: Severity,
    pub resource: String,
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub advice: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line of the field if it is known, or else of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The first line of the object.
    #[serde(skip)]
    pub begins: Option<usize>,
}

fn shown<S: serde::Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl Located {
    pub fn new(code: Code, resource: String, message: String, file: String, line: usize) -> Self {
        Self {
            code,
            severity: code.severity(),
            resource,
            message,
            advice: String::new(),
            field: String::new(),
            file: Some(file),
            line: Some(line),
            begins: Some(line),
        }
    }

    pub fn advice(mut self, advice: &str) -> Self {
        advice.clone_into(&mut self.advice);
        self
    }
}

pub(super) fn print(findings: &[Located], suppressed: usize, format: Format) -> Result<()> {
    output::print(|out| match format {
        Format::Text => text(out, findings, suppressed, Paint::stdout()),
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, findings)?;
            writeln!(out)
        }
        Format::Sarif => {
            serde_json::to_writer_pretty(&mut *out, &sarif(findings))?;
            writeln!(out)
        }
        Format::Dot | Format::Svg => Ok(()), // drawn from the mesh, not from its findings
    })
}

fn text(out: &mut impl Write, findings: &[Located], suppressed: usize, colours: Paint) -> io::Result<()> {
    // Names and values from files must not control the terminal or forge lines.
    let paint = |style: &str, text: &str| colours.paint(style, &OneLine(text).to_string());
    let mut last = None;
    for finding in findings {
        let place = match (&finding.file, finding.begins) {
            (Some(file), Some(line)) => format!(" ({file}:{line})"),
            (Some(file), None) => format!(" ({file})"),
            _ => String::new(),
        };
        let head = format!("{}{place}", finding.resource);
        if last.as_ref() != Some(&head) {
            if last.is_some() {
                writeln!(out)?;
            }
            writeln!(out, "{}", paint("1", &head))?;
            last = Some(head);
        }
        let style = match finding.severity {
            Severity::Error => "31",
            Severity::Warning => "33",
            Severity::Info => "36",
        };
        let severity = paint(style, &format!("{:7}", finding.severity));
        writeln!(out, "  {severity} {} {}", finding.code, OneLine(&finding.message))?;
        let line = finding.line.filter(|_| finding.line != finding.begins).map(|line| format!("line {line}"));
        let field =
            Some(finding.field.clone()).filter(|field| !field.is_empty() && !finding.message.starts_with(field));
        if line.is_some() || field.is_some() {
            let place = line.into_iter().chain(field).collect::<Vec<_>>().join(", ");
            writeln!(out, "          at {}", OneLine(place))?;
        }
        if !finding.advice.is_empty() {
            writeln!(out, "          {}", OneLine(&finding.advice))?;
        }
    }
    let count = |severity, name: &str| match findings.iter().filter(|finding| finding.severity == severity).count() {
        1 => format!("1 {name}"),
        number => format!("{number} {name}s"),
    };
    let suppressed = match suppressed {
        0 => String::new(),
        more => format!("; {more} suppressed by annotations"),
    };
    if findings.is_empty() {
        return writeln!(out, "no findings{suppressed}");
    }
    writeln!(
        out,
        "\n{}, {}, {}{suppressed}",
        count(Severity::Error, "error"),
        count(Severity::Warning, "warning"),
        count(Severity::Info, "info")
    )
}

/// Characters that need no escape in the path of a URI (RFC 3986, 3.3).
const IN_PATHS: AsciiSet = NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Returns a file as a URI reference for SARIF. An absolute one begins with `file://`.
fn uri(file: &str) -> String {
    let scheme = if file.starts_with('/') { "file://" } else { "" };
    format!("{scheme}{}", utf8_percent_encode(file.trim_start_matches("./"), &IN_PATHS))
}

fn sarif(findings: &[Located]) -> Value {
    let mut used: Vec<Code> = findings.iter().map(|finding| finding.code).collect();
    used.sort_unstable();
    used.dedup();
    let level = |severity| match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    };
    let rules = used.iter().map(|code| {
        json!({
            "id": code.as_str(), "name": code.name(), "shortDescription": {"text": code.meaning()},
            "defaultConfiguration": {"level": level(code.severity())},
        })
    });
    let results = findings.iter().map(|finding| {
        let text = if finding.advice.is_empty() {
            format!("{}: {}", finding.resource, finding.message)
        } else {
            format!("{}: {}; {}", finding.resource, finding.message, finding.advice)
        };
        let mut location = json!({"logicalLocations": [{"fullyQualifiedName": finding.resource}]});
        if let Some(file) = &finding.file {
            location["physicalLocation"] = json!({
                "artifactLocation": {"uri": uri(file)}, "region": {"startLine": finding.line.unwrap_or(1)},
            });
        }
        json!({
            "ruleId": finding.code.as_str(), "level": level(finding.severity), "message": {"text": text},
            "locations": [location],
        })
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "outrigger", "version": env!("CARGO_PKG_VERSION"), "rules": rules.collect::<Vec<_>>(),
            }},
            "results": results.collect::<Vec<_>>(),
        }],
    })
}
