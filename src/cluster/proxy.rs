//! Pure: finds the proxy for the API server of a kubeconfig, as kubectl does.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use ipnet::IpNet;
use kube::config::Kubeconfig;
use thiserror::Error;

/// An HTTP, HTTPS or SOCKS 5 proxy.
#[derive(Clone)]
pub struct Proxy(Intercept);

/// A proxy that cannot be used. The error does not repeat its value, which may contain a password.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{given_by} names no proxy that can be used: write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT")]
pub struct ProxyError {
    given_by: &'static str,
}

impl Proxy {
    /// Returns the proxy for `server`: the kubeconfig's, or else the environment's, unless `NO_PROXY` excludes the server. This
    /// machine is always excluded.
    ///
    /// # Errors
    /// When the value is not a proxy.
    pub fn find(
        server: &Uri,
        of_kubeconfig: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ProxyError> {
        if let Some(url) = of_kubeconfig.filter(|url| !url.is_empty()) {
            return Self::parse(url, "proxy-url of the kubeconfig").map(Some);
        }
        let first = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| Some((name, variable(name).filter(|value| !value.is_empty())?)))
        };
        let is_https = server.scheme() == Some(&http::uri::Scheme::HTTPS);
        let named = first(if is_https { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] });
        let Some((name, url)) = named else { return Ok(None) };
        let without = first(["NO_PROXY", "no_proxy"]).map(|(_, list)| list).unwrap_or_default();
        let port = server.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        if is_reached_without(&without, server.host().unwrap_or_default(), port) {
            return Ok(None);
        }
        Self::parse(&url, name).map(Some)
    }

    fn parse(url: &str, given_by: &'static str) -> Result<Self, ProxyError> {
        let any = Uri::from_static("https://any");
        let proxy = Matcher::builder().all(url.trim().to_owned()).build().intercept(&any);
        let known =
            proxy.filter(|proxy| matches!(proxy.uri().scheme_str(), Some("http" | "https" | "socks5" | "socks5h")));
        known.map(Self).ok_or(ProxyError { given_by })
    }

    /// Returns its URL without user and password.
    #[must_use]
    pub fn url(&self) -> &Uri {
        self.0.uri()
    }

    /// Whether it is a SOCKS proxy, and not HTTP.
    pub(super) fn is_socks(&self) -> bool {
        matches!(self.url().scheme_str(), Some("socks5" | "socks5h"))
    }

    /// Returns user and password for SOCKS.
    pub(super) fn user(&self) -> Option<(&str, &str)> {
        self.0.raw_auth()
    }

    /// Returns user and password for HTTP.
    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.0.basic_auth()
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.url())
    }
}

/// Returns `proxy-url` of the cluster of a kubeconfig's context, or of its current context.
#[must_use]
pub fn of_cluster<'k>(kubeconfig: &'k Kubeconfig, context: Option<&str>) -> Option<&'k str> {
    let name = context.or(kubeconfig.current_context.as_deref())?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == name)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster)?;
    cluster.cluster.as_ref()?.proxy_url.as_deref()
}

/// Whether a `NO_PROXY` list contains a host, by Go's rules (golang.org/x/net/http/httpproxy), which kubectl uses.
fn is_reached_without(list: &str, host: &str, port: u16) -> bool {
    let host = host.to_lowercase();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
    let address = bare.parse::<IpAddr>().ok();
    if bare == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    list.split(',').map(|entry| entry.trim().to_lowercase()).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let Ok(network) = entry.parse::<IpNet>() {
            return address.is_some_and(|address| network.contains(&address));
        }
        let (name, of_port) = host_and_port(&entry);
        if name.is_empty() || of_port.is_some_and(|of_port| of_port != port.to_string()) {
            return false;
        }
        if let Ok(wanted) = name.parse::<IpAddr>() {
            return address == Some(wanted);
        }
        // `.example.com` and `*.example.com` match only names below it.
        let below = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
        match below.strip_prefix('.') {
            Some(_) => bare.ends_with(below),
            None => bare == below || bare.strip_suffix(below).is_some_and(|front| front.ends_with('.')),
        }
    })
}

/// Splits `HOST:PORT` or `[ADDRESS]:PORT`. Anything else is a host, including an IPv6 address.
fn host_and_port(entry: &str) -> (&str, Option<&str>) {
    if let Some((address, port)) = entry.strip_prefix('[').and_then(|entry| entry.split_once(']')) {
        return (address, port.strip_prefix(':'));
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (entry, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(server: &str, of_kubeconfig: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let proxy = Proxy::find(&server.parse().unwrap(), of_kubeconfig, variable);
        proxy.map(|proxy| proxy.map(|proxy| proxy.url().to_string())).map_err(|error| error.to_string())
    }

    /// Expected values are from kubectl 1.37.2, which uses golang.org/x/net/http/httpproxy.
    #[test]
    fn no_proxy_is_compared_with_the_host_of_the_api_server() {
        for (list, server, without) in [
            ("", "https://api.example.com:6443", false),
            ("*", "https://api.example.com:6443", true),
            ("api.example.com", "https://api.example.com:6443", true),
            ("API.example.com", "https://api.EXAMPLE.com", true),
            ("example.com", "https://api.example.com:6443", true),
            (".example.com", "https://api.example.com:6443", true),
            ("*.example.com", "https://api.example.com:6443", true),
            (".example.com", "https://example.com", false),
            ("ample.com", "https://example.com", false),
            ("api.example.com:6443", "https://api.example.com:6443", true),
            ("api.example.com:443", "https://api.example.com:6443", false),
            ("api.example.com:443", "https://api.example.com", true),
            ("10.0.0.0/8", "https://10.1.2.3:6443", true),
            ("10.0.0.0/8", "https://11.1.2.3:6443", false),
            ("10.1.2.3", "https://10.1.2.3:6443", true),
            ("10.1.2.3:443", "https://10.1.2.3:6443", false),
            ("2001:db8::1", "https://[2001:db8::1]:6443", true),
            ("[2001:db8::1]:6443", "https://[2001:db8::1]:6443", true),
            ("2001:db8::/32", "https://[2001:db8::1]", true),
            ("other, ,api.example.com,", "https://api.example.com", true),
            ("proxy.example.org,", "https://api.example.com", false),
            (":6443", "https://api.example.com:6443", false),
            ("", "https://localhost:6443", true),
            ("", "https://127.0.0.1:6443", true),
            ("", "https://[::1]:6443", true),
        ] {
            let variables = [("HTTPS_PROXY", "http://proxy.example.org:3128"), ("NO_PROXY", list)];
            let expected = (!without).then(|| "http://proxy.example.org:3128/".to_owned());
            assert_eq!(found(server, None, &variables), Ok(expected), "{list:?} {server}");
        }
    }

    #[test]
    fn the_proxy_of_the_kubeconfig_wins_and_is_used_for_every_host() {
        let variables = [("HTTPS_PROXY", "http://other:1"), ("NO_PROXY", "*")];
        let proxy = found("https://127.0.0.1:6443", Some("socks5://me:secret@proxy:1080"), &variables);
        assert_eq!(proxy, Ok(Some("socks5://proxy:1080/".to_owned())));
    }

    #[test]
    fn the_variables_are_those_of_the_scheme_and_of_either_case() {
        let https = [("https_proxy", "proxy:3128"), ("HTTP_PROXY", "http://wrong"), ("ALL_PROXY", "http://wrong")];
        assert_eq!(found("https://api", None, &https), Ok(Some("http://proxy:3128/".to_owned())));
        assert_eq!(found("http://api", None, &https), Ok(Some("http://wrong/".to_owned())));
        assert_eq!(found("https://api", None, &[("HTTPS_PROXY", "")]), Ok(None));
        assert_eq!(found("https://api", None, &[("HTTPS_PROXY", "http://p"), ("no_proxy", "api")]), Ok(None));
    }

    #[test]
    fn what_is_no_proxy_is_named_and_not_repeated() {
        for url in ["ftp://me:secret@proxy", "http://me:secret@", "socks4://proxy"] {
            let error = found("https://api", Some(url), &[]).unwrap_err();
            assert!(
                error.starts_with("proxy-url of the kubeconfig names no proxy") && !error.contains("secret"),
                "{error}"
            );
            let error = found("https://api", None, &[("HTTPS_PROXY", url)]).unwrap_err();
            assert!(error.starts_with("HTTPS_PROXY names no proxy"), "{error}");
        }
    }
}
