//! What a request proves its sender with, and the hosts that may see it. No `Debug` shows any of it.

use std::fmt;
use std::str::FromStr;

use url::Host;

use super::authorization::Authorization;
use super::target::FetchTarget;

/// Credentials of a user, and where they may go.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The header `Authorization`. It comes before user and password of the URL.
    pub authorization: Option<Authorization>,
    /// The client certificate.
    pub identity: Option<Identity>,
    /// The only hosts that these may be sent to; a URL elsewhere is an error before anything is sent.
    pub recipients: Vec<Recipient>,
}

/// A client certificate with its key, as PEM.
#[derive(Clone)]
pub struct Identity {
    /// The leaf first, then its intermediates.
    pub certificate_pem: Vec<u8>,
    /// One unencrypted PKCS#8, PKCS#1 or SEC1 key.
    pub key_pem: Vec<u8>,
}

/// Who may see credentials: `host` or `host:port`, over TLS; in clear text only where that is said, as in `http://host`. The port is
/// the scheme's where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    is_https: bool,
    host: Host,
    port: u16,
}

/// A text that is no [`Recipient`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither host nor host:port, with http:// in front where it is to be sent in clear text")]
pub struct RecipientError(String);

impl Credentials {
    /// Whether they may be sent there.
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
        // A star means nothing here, so that nobody takes it for one that does.
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
