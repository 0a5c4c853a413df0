//! Exceptions from the default refusals: addresses, or hosts by name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use super::address::plain;

/// An exception from the default refusals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allow {
    /// These addresses, with any name: `127.0.0.1`, `10.0.0.0/8`, `::1`, `fd00::/8`.
    Addresses(IpNet),
    /// All addresses of this name, whose DNS the operator controls: `config.example.com`. In lower case.
    Host(String),
    /// All addresses of names below this one, without itself: `*.example.com` is `example.com` here. In lower case.
    HostsBelow(String),
}

/// An invalid exception.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{value:?}: {problem}; write an address (127.0.0.1), a range (10.0.0.0/8), a host (name.example.com) or *.example.com"
)]
pub struct AllowError {
    value: String,
    problem: &'static str,
}

impl Allow {
    /// The addresses of this machine.
    #[must_use]
    pub fn loopback() -> Vec<Self> {
        vec![
            Self::Addresses(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into()),
            Self::Addresses(IpAddr::V6(Ipv6Addr::LOCALHOST).into()),
        ]
    }

    /// Whether it includes the address.
    pub(super) fn has_address(&self, address: IpAddr) -> bool {
        let Self::Addresses(range) = self else { return false };
        range.contains(&address) || range.contains(&plain(address))
    }

    /// Whether it includes the name, in lower case as in parsed URLs.
    pub(super) fn has_host(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        match self {
            Self::Addresses(_) => false,
            Self::Host(host) => name == host,
            Self::HostsBelow(domain) => name
                .strip_suffix(domain.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| !rest.is_empty()),
        }
    }
}

impl FromStr for Allow {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        let wrong = |problem| AllowError { value: text.to_owned(), problem };
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Addresses(address.into()));
        }
        if text.contains('/') {
            let range: IpNet = text.parse().map_err(|_| wrong("no range of addresses"))?;
            if range.trunc() != range {
                return Err(wrong("the address has bits that its prefix does not cover"));
            }
            return Ok(Self::Addresses(range));
        }
        let lower = text.to_ascii_lowercase();
        let (name, below) = lower.strip_prefix("*.").map_or((lower.as_str(), false), |name| (name, true));
        let name = name.strip_suffix('.').unwrap_or(name);
        check_name(name).map_err(wrong)?;
        Ok(if below { Self::HostsBelow(name.to_owned()) } else { Self::Host(name.to_owned()) })
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses(range) => range.fmt(f),
            Self::Host(name) => f.write_str(name),
            Self::HostsBelow(name) => write!(f, "*.{name}"),
        }
    }
}

/// Checks a DNS name in lower case.
fn check_name(name: &str) -> Result<(), &'static str> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    if name.contains("://") || name.contains(':') {
        Err("neither scheme nor port belong here")
    } else if name.len() > 253 || !name.split('.').all(is_label) {
        Err("no host name")
    } else if last.bytes().all(|byte| byte.is_ascii_digit()) {
        Err("an address has four numbers")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(text: &str) -> Allow {
        text.parse().expect(text)
    }

    #[test]
    fn values_are_read_and_shown_as_they_are_written() {
        for (text, shown) in [
            ("127.0.0.1", "127.0.0.1/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("::1", "::1/128"),
            ("fd00::/8", "fd00::/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("localhost", "localhost"),
            ("Config.Example.com.", "config.example.com"),
            ("*.example.com", "*.example.com"),
            ("my_service.ns.svc", "my_service.ns.svc"),
        ] {
            assert_eq!(allow(text).to_string(), shown);
            assert_eq!(allow(shown), allow(text));
        }
    }

    #[test]
    fn other_values_are_refused_with_what_is_wrong() {
        for (text, problem) in [
            ("", "no host name"),
            ("*", "no host name"),
            ("a.*.example.com", "no host name"),
            ("*.*.example.com", "no host name"),
            ("a b", "no host name"),
            ("example..com", "no host name"),
            ("bücher.example", "no host name"),
            ("127.1", "an address has four numbers"),
            ("300.1.1.1", "an address has four numbers"),
            ("host:80", "neither scheme nor port belong here"),
            ("[::1]", "neither scheme nor port belong here"),
            ("http://host", "no range of addresses"),
            ("10.0.0.0/33", "no range of addresses"),
            ("10.0.0.1/8", "the address has bits that its prefix does not cover"),
        ] {
            let error = text.parse::<Allow>().expect_err(text);
            assert_eq!(error.problem, problem, "{text}");
            assert!(error.to_string().starts_with(&format!("{text:?}: ")), "{error}");
        }
    }

    #[test]
    fn a_range_opens_its_addresses_in_every_form_and_no_name() {
        let range = allow("127.0.0.0/8");
        for (address, expected) in [
            ("127.9.9.9", true),
            ("::ffff:127.0.0.1", true),
            ("64:ff9b::7f00:1", true),
            ("128.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(range.has_address(address.parse().expect(address)), expected, "{address}");
        }
        assert!(!range.has_host("127.0.0.1"));
    }

    #[test]
    fn a_name_opens_itself_and_a_star_only_what_is_below() {
        for (text, name, expected) in [
            ("example.com", "example.com", true),
            ("example.com", "example.com.", true),
            ("example.com", "a.example.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com.", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "badexample.com", false),
        ] {
            assert_eq!(allow(text).has_host(name), expected, "{text} {name}");
        }
        assert!(!allow("localhost").has_address([127, 0, 0, 1].into()));
    }
}
