//! Which findings are printed: by severity, and by what authors and the command line ignore.

use super::print::Located;
use crate::mesh_integrity::{Code, Severity};
use std::str::FromStr;

/// A severity on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Level {
    /// Everything
    Info,
    /// Warnings and errors
    Warning,
    /// Errors only
    Error,
}

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::Info => Self::Info,
            Level::Warning => Self::Warning,
            Level::Error => Self::Error,
        }
    }
}

/// `CODE=GLOB`: findings with this code about objects whose name matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ignored {
    code: String,
    glob: String,
}

impl FromStr for Ignored {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (code, glob) = text.split_once('=').ok_or("must be CODE=GLOB, such as IST0118=Service/shop/*")?;
        if code != "*" && !Code::ALL.iter().any(|known| known.as_str() == code) {
            return Err(format!("the code {code} is not known: outrigger check --list prints all codes"));
        }
        Ok(Self { code: code.to_owned(), glob: glob.to_owned() })
    }
}

impl Ignored {
    /// Whether a finding is ignored. Its object is matched as `Kind/namespace/name` and in istioctl's form, `Kind
    /// name.namespace`.
    pub fn fits(&self, finding: &Located) -> bool {
        let mut parts = finding.resource.splitn(3, '/');
        let (kind, namespace, name) = (parts.next(), parts.next(), parts.next());
        let of_istio = match (kind, namespace, name) {
            (Some(kind), Some(namespace), Some(name)) => format!("{kind} {name}.{namespace}"),
            (Some(kind), Some(name), None) => format!("{kind} {name}"),
            _ => String::new(),
        };
        (self.code == "*" || self.code == finding.code.as_str())
            && (glob(self.glob.as_bytes(), finding.resource.as_bytes())
                || glob(self.glob.as_bytes(), of_istio.as_bytes()))
    }
}

/// Whether a text matches a pattern, in which `*` stands for any text and `?` for one character.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut star, mut tried) = (0, None, 0);
    let mut rest = 0;
    while rest < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some(at);
                tried = rest;
                at += 1;
            }
            Some(one) if *one == b'?' || *one == text[rest] => {
                at += 1;
                rest += 1;
            }
            _ => match star {
                Some(star) => {
                    tried += 1;
                    (at, rest) = (star + 1, tried);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|one| *one == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_named_as_here_or_as_by_istioctl() {
        let finding =
            |resource: &str| Located::new(Code::IST0118, resource.to_owned(), String::new(), "f.yaml".to_owned(), 1);
        for (text, resource, expected) in [
            ("IST0118=Service/shop/*", "Service/shop/web", true),
            ("IST0118=Service web.shop", "Service/shop/web", true),
            ("IST0118=*.shop", "Service/shop/web", true),
            ("*=Service/*/w?b", "Service/shop/web", true),
            ("IST0118=Service/shop/a*", "Service/shop/web", false),
            ("IST0101=*", "Service/shop/web", false),
        ] {
            assert_eq!(text.parse::<Ignored>().unwrap().fits(&finding(resource)), expected, "{text}");
        }
        assert!("IST9999=*".parse::<Ignored>().is_err() && "IST0118".parse::<Ignored>().is_err());
    }
}
