//! A user's URL, validated once, and displayed without secrets.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::authorization::Authorization;

/// An `http` or `https` URL with a host. `Display` and `Debug` show `scheme://host[:port]/path`, because user, password,
/// query and fragment may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct FetchTarget {
    /// Without user, password and fragment.
    url: Url,
    uri: Uri,
    authorization: Option<Authorization>,
}

/// Why a text is not a [`FetchTarget`]. No variant contains the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a URL.
    #[error("no URL: {0}")]
    Syntax(#[from] url::ParseError),
    /// Another scheme, or none.
    #[error("must begin with http:// or https://")]
    Scheme,
    /// More than 8 KiB.
    #[error("longer than {LONGEST} bytes")]
    Long,
    /// Characters that cannot be sent.
    #[error("holds characters that cannot be sent")]
    Characters,
}

/// The maximum length of a URL in bytes.
const LONGEST: usize = 8 * 1024;

impl FetchTarget {
    /// Returns the host: a name in lower case, or an address.
    #[must_use]
    pub fn host(&self) -> Host<&str> {
        // URLs with these schemes always have a host.
        self.url.host().unwrap_or(Host::Domain(""))
    }

    /// Returns the port, which defaults to the scheme's.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }

    /// Whether it uses TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Returns scheme, host and port for display.
    pub(super) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Whether scheme, host and port are equal.
    pub(super) fn has_origin_of(&self, other: &Self) -> bool {
        self.url.origin() == other.url.origin()
    }

    /// Returns the header for user and password in the URL.
    pub(super) fn authorization(&self) -> Option<&Authorization> {
        self.authorization.as_ref()
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the target of a redirect. User and password in it are ignored, because a server chose them.
    pub(super) fn join(&self, location: &str) -> Result<Self, TargetError> {
        let target = Self::of(self.url.join(location)?)?;
        Ok(Self { authorization: None, ..target })
    }

    fn of(mut url: Url) -> Result<Self, TargetError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(TargetError::Scheme);
        }
        if url.as_str().len() > LONGEST {
            return Err(TargetError::Long);
        }
        let decoded = |text| percent_decode_str(text).collect::<Vec<u8>>();
        let authorization = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some(Authorization::basic(&decoded(user), &decoded(password.unwrap_or_default()))),
        };
        url.set_fragment(None);
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return Err(TargetError::Characters);
        }
        let uri = url.as_str().parse().map_err(|_| TargetError::Characters)?;
        Ok(Self { url, uri, authorization })
    }
}

impl FromStr for FetchTarget {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        match Url::parse(text) {
            Ok(url) => Self::of(url),
            Err(url::ParseError::RelativeUrlWithoutBase) => Err(TargetError::Scheme),
            Err(error) => Err(error.into()),
        }
    }
}

impl fmt::Display for FetchTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().split('?').next().unwrap_or_default())
    }
}

impl fmt::Debug for FetchTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> FetchTarget {
        text.parse().expect(text)
    }

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        for (text, shown) in [
            ("http://host", "http://host/"),
            ("HTTPS://User:Pass@Host:8443/a/b?token=x#part", "https://host:8443/a/b"),
            ("https://host:443/", "https://host/"),
            ("http://token@host/?", "http://host/"),
            ("http://host/a#?b", "http://host/a"),
            ("http://127.1/", "http://127.0.0.1/"),
            ("http://0x7f000001/", "http://127.0.0.1/"),
            ("http://[::FFFF:127.0.0.1]/", "http://[::ffff:7f00:1]/"),
            ("http://bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC"),
        ] {
            assert_eq!(target(text).to_string(), shown);
            assert_eq!(format!("{:?}", target(text)), shown);
        }
    }

    #[test]
    fn what_is_no_http_url_is_refused_and_not_quoted() {
        for text in [
            "",
            "host/path-s3cret",
            "/s3cret",
            "ftp://host/s3cret",
            "file:///etc/s3cret",
            "s3cret:pass@host",
            "http://",
            "http://user:s3cret@",
            "http://a b/s3cret",
            "http://host:99999/s3cret",
            "http://300.1.1.1/s3cret",
            &format!("http://host/{}s3cret", "x".repeat(LONGEST)),
        ] {
            let error = text.parse::<FetchTarget>().expect_err(text);
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{text}: {error}");
        }
    }

    #[test]
    fn every_path_and_query_that_a_url_may_have_can_be_sent() {
        let every: String = (0x20..0x7f).map(char::from).filter(|c| !"#".contains(*c)).collect();
        let uri = target(&format!("http://host/{every}?{every}é")).uri().to_string();
        assert!(uri.starts_with("http://host/") && uri.ends_with("%C3%A9"), "{uri}");
    }

    #[test]
    fn a_redirect_leads_to_a_url_of_the_same_rules() {
        let from = target("https://me:pw@host/a/b?c");
        for (location, expected) in [
            ("/x", Ok("https://host/x")),
            ("x?y", Ok("https://host/a/x")),
            ("//other/x", Ok("https://other/x")),
            ("http://user:pw@other:81", Ok("http://other:81/")),
            ("ftp://other", Err(TargetError::Scheme)),
            ("http://", Err(TargetError::Syntax(url::ParseError::EmptyHost))),
        ] {
            let joined = from.join(location);
            assert!(joined.as_ref().map_or(true, |target| target.authorization().is_none()), "{location}");
            assert_eq!(joined.map(|target| target.to_string()), expected.map(str::to_owned), "{location}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let from = target("https://host/");
        for (text, same) in [
            ("https://HOST:443/x?y", true),
            ("https://user@host", true),
            ("http://host/", false),
            ("https://host:444/", false),
            ("https://host./", false),
            ("https://a.host/", false),
        ] {
            assert_eq!(from.has_origin_of(&target(text)), same, "{text}");
        }
    }
}
