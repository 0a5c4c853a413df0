//! Translates the flags of vs-operator's container, for users who only change its image: single-dash flags with its names,
//! and no subcommand.

use std::ffi::{OsStr, OsString};

/// The command if no subcommand is given.
const SERVE: [&str; 2] = ["serve", "--controllers=devrouting"];

/// The address of vs-operator's probes.
const HEALTH: &str = "--health-listen=[::]:8081";

/// The translation of a vs-operator flag.
#[derive(Clone, Copy)]
enum Becomes {
    /// This flag with the same value.
    Same(&'static str),
    /// This flag with an address. In Go, `:8080` means all addresses.
    Address(&'static str),
    /// This flag, which is true without a value.
    Switch(&'static str),
    /// `--log-level`. A number is a verbosity.
    Level,
    /// `--log-format`
    Format,
    /// Nothing. Its value is skipped.
    Nothing,
    /// Nothing. It needs no value.
    NoSwitch,
}

const FLAGS: [(&str, Becomes); 10] = [
    ("config-map-name", Becomes::Same("--config-map-name")),
    ("config-map-namespace", Becomes::Same("--config-map-namespace")),
    ("health-probe-bind-address", Becomes::Address("--health-listen")),
    ("leader-elect", Becomes::Switch("--leader-elect")),
    ("metrics-bind-address", Becomes::Address("--admin-listen")),
    ("zap-devel", Becomes::NoSwitch),
    ("zap-encoder", Becomes::Format),
    ("zap-log-level", Becomes::Level),
    ("zap-stacktrace-level", Becomes::Nothing),
    ("zap-time-encoding", Becomes::Nothing),
];

/// Translates the arguments of a process, of which the first is the name of the program.
pub(super) fn translated(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let mut all: Vec<OsString> = arguments.next().into_iter().collect();
    let rest: Vec<OsString> = arguments.collect();
    match rest.first() {
        Some(first) if first == "serve" => all.push(first.clone()),
        Some(first) if flag(first).is_some() => {
            all.extend(SERVE.map(OsString::from));
            let mut serve = flags(rest);
            if !serve.iter().any(|argument| argument.to_string_lossy().starts_with("--health-listen")) {
                serve.push(HEALTH.into());
            }
            all.extend(serve);
            return all;
        }
        _ => {
            all.extend(rest);
            return all;
        }
    }
    all.extend(flags(rest.into_iter().skip(1)));
    all
}

fn flags(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter().peekable();
    let mut translated = Vec::new();
    while let Some(argument) = arguments.next() {
        let Some((becomes, value)) = flag(&argument) else {
            translated.push(argument);
            continue;
        };
        let value = match (becomes, value) {
            (_, Some(value)) => Some(value),
            (Becomes::NoSwitch, None) => None,
            (Becomes::Switch(_), None) => {
                let is_value = |next: &OsString| next == "true" || next == "false";
                Some(arguments.next_if(is_value).map_or_else(|| "true".to_owned(), |value| text(&value)))
            }
            (_, None) => arguments.next().as_ref().map(text),
        };
        let value = value.unwrap_or_default();
        let flag = match becomes {
            Becomes::Address(_) if value == "0" => continue, // Go's name for none
            Becomes::Address(name) if value.starts_with(':') => format!("{name}=[::]{value}"),
            Becomes::Same(name) | Becomes::Switch(name) | Becomes::Address(name) => format!("{name}={value}"),
            Becomes::Level => format!("--log-level={}", level(&value)),
            Becomes::Format => format!("--log-format={}", if value == "json" { "json" } else { "text" }),
            Becomes::Nothing | Becomes::NoSwitch => continue,
        };
        translated.push(flag.into());
    }
    translated
}

/// Parses a vs-operator flag with one or two dashes, and its value after `=`.
fn flag(argument: &OsStr) -> Option<(Becomes, Option<String>)> {
    let argument = argument.to_str()?;
    let name = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'))?;
    let (name, value) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value.to_owned())));
    FLAGS.iter().find(|(known, _)| *known == name).map(|(_, becomes)| (*becomes, value))
}

/// Translates zap's levels. A number is a verbosity, and 1 is debug.
fn level(zap: &str) -> &str {
    match zap {
        "debug" | "info" | "error" | "warn" => zap,
        "panic" | "fatal" | "dpanic" => "error",
        number if number.parse::<u32>().is_ok_and(|verbosity| verbosity > 1) => "trace",
        number if number.parse::<u32>().is_ok() => "debug",
        other => other, // it is rejected with its text
    }
}

fn text(argument: &OsString) -> String {
    argument.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translate(arguments: &str) -> String {
        let arguments = std::iter::once("outrigger").chain(arguments.split_whitespace()).map(OsString::from);
        let translated: Vec<String> = translated(arguments).iter().skip(1).map(text).collect();
        translated.join(" ")
    }

    #[test]
    fn the_arguments_of_vs_operator_s_container_stay_as_they_are() {
        for (theirs, ours) in [
            (
                "-leader-elect -zap-log-level=debug",
                "serve --controllers=devrouting --leader-elect=true --log-level=debug --health-listen=[::]:8081",
            ),
            (
                "--health-probe-bind-address=:9 -metrics-bind-address :8 -config-map-name x -zap-devel --zap-encoder=console",
                "serve --controllers=devrouting --health-listen=[::]:9 --admin-listen=[::]:8 --config-map-name=x --log-format=text",
            ),
            ("serve -config-map-namespace=a --listen=x", "serve --config-map-namespace=a --listen=x"),
            ("serve -zap-stacktrace-level error -leader-elect=false", "serve --leader-elect=false"),
            ("serve --leader-elect true --scope broad", "serve --leader-elect=true --scope broad"),
            ("serve -zap-log-level=2 -metrics-bind-address=0", "serve --log-level=trace"),
        ] {
            assert_eq!(translate(theirs), ours, "{theirs}");
        }
    }

    #[test]
    fn our_own_arguments_stay_as_they_are() {
        for ours in ["", "-V", "--help", "inject -f x --from y", "serve --config-map-name=x", "--log-level debug serve"]
        {
            assert_eq!(translate(ours), ours);
        }
    }
}
