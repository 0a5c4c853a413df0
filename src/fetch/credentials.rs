//! The credentials of a request, and the hosts that may receive them. `Debug` does not show them.

use std::fmt;
use std::str::FromStr;

use url::Host;

use super::authorization::Authorization;
use super::target::FetchTarget;

/// Credentials of a user, and their recipients.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The header `Authorization`. It takes precedence over user and password in the URL.
    pub authorization: Option<Authorization>,
    /// The client certificate.
    pub identity: Option<Identity>,
    /// The only hosts that may receive them. A URL with another host is an error before anything is sent.
    pub recipients: Vec<Recipient>,
}

/// A client certificate with its key in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The leaf certificate, followed by intermediates.
    pub certificate_pem: Vec<u8>,
    /// One unencrypted PKCS#8, PKCS#1 or SEC1 key.
    pub key_pem: Vec<u8>,
}

/// A host that may receive credentials: `host` or `host:port` over TLS, and in clear text only if given as `http://host`. The
/// default port is the scheme's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    is_https: bool,
    host: Host,
    port: u16,
}

/// A text that is not a [`Recipient`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither host nor host:port, with http:// in front where it is to be sent in clear text")]
pub struct RecipientError(String);

impl Credentials {
    /// Whether credentials may be sent there.
    #[must_use]
    pub fn may_go_to(&self, target: &FetchTarget) -> bool {
        self.recipients.iter().any(|recipient| recipient.is(target))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

impl Recipient {
    fn is(&self, target: &FetchTarget) -> bool {
        self.is_https == target.is_https() && self.port == target.port() && self.host == target.host()
    }
}

impl FromStr for Recipient {
    type Err = RecipientError;

    fn from_str(text: &str) -> Result<Self, RecipientError> {
        let wrong = || RecipientError(text.to_owned());
        let (is_https, place) = match text.split_once("://") {
            Some(("https", place)) => (true, place),
            Some(("http", place)) => (false, place),
            Some(_) => return Err(wrong()),
            None => (true, text),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (place, if is_https { 443 } else { 80 }),
        };
        let host = Host::parse(host).map_err(|_| wrong())?;
        // A star has no meaning here, so it is rejected.
        if matches!(&host, Host::Domain(name) if name.contains('*')) {
            return Err(wrong());
        }
        Ok(Self { is_https, host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_only_to_the_hosts_that_are_named() {
        for (recipient, url, expected) in [
            ("host", "https://host/x", true),
            ("HOST", "https://Host/", true),
            ("host", "http://host/", false),
            ("host", "http://host:443/", false),
            ("host:8443", "http://host:8443/", false),
            ("http://host", "http://host/", true),
            ("http://host", "https://host/", false),
            ("http://host", "http://host:8080/", false),
            ("http://host:8080", "http://host:8080/", true),
            ("http://host:8080", "https://host:8080/", false),
            ("https://host", "https://host/", true),
            ("https://host:8443", "https://host:8443/", true),
            ("host", "https://host:8443/", false),
            ("host", "https://sub.host/", false),
            ("host:8443", "https://host:8443/", true),
            ("host:8443", "https://host/", false),
            ("host:443", "https://host/", true),
            ("host:443", "http://host/", false),
            ("http://10.0.0.1:80", "http://10.0.0.1/", true),
            ("[fd00::1]", "https://[fd00:0::1]/", true),
            ("http://[fd00::1]:81", "http://[fd00::1]:81/", true),
        ] {
            let recipients = vec![recipient.parse().expect(recipient)];
            let credentials = Credentials { recipients, ..Credentials::default() };
            assert_eq!(credentials.may_go_to(&url.parse().expect(url)), expected, "{recipient} {url}");
        }
        assert!(!Credentials::default().may_go_to(&"https://host/".parse().expect("a URL")));
        for text in [
            "",
            ":80",
            "host:",
            "host:x",
            "host:99999",
            "ftp://host",
            "http://",
            "http://a/b",
            "a/b",
            "user@host",
            "*.host",
            "fd00::1",
            "https://http://host",
        ] {
            assert_eq!(text.parse::<Recipient>(), Err(RecipientError(text.to_owned())));
        }
    }

    #[test]
    fn nothing_of_credentials_is_shown() {
        let identity = Identity { certificate_pem: b"s3cret".to_vec(), key_pem: b"s3cret".to_vec() };
        let authorization = Authorization::bearer("s3cret").ok();
        let credentials = Credentials { authorization, identity: Some(identity), recipients: Vec::new() };
        let text = format!("{credentials:?}");
        assert!(!text.contains("s3cret") && !text.contains("115"), "{text}");
    }
}
