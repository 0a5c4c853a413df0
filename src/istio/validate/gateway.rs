//! Rules for Gateways.

use super::faults::{Faults, host_or_ip, whole_name};
use crate::istio::names;
use crate::istio::node::Node;
use std::collections::HashSet;
use std::net::IpAddr;

pub(super) fn check(spec: &Node<'_>, faults: &mut Faults) {
    let servers = spec.list("servers");
    if servers.is_empty() {
        faults.error("spec.servers", "must have a server");
    }
    let mut port_names = HashSet::new();
    for server in &servers {
        let port = server.field("port");
        if port.is_filled("name") && !port_names.insert(port.text("name")) {
            faults.error(port.at("name"), "must be unique among the servers");
        }
        self::server(server, &port, faults);
    }
}

fn server(server: &Node<'_>, port: &Node<'_>, faults: &mut Faults) {
    if server.list("hosts").is_empty() {
        faults.error(server.at("hosts"), "must have a host");
    }
    for host in server.list("hosts") {
        let (namespace, name) = host.as_text().split_once('/').map_or((None, host.as_text()), |(n, h)| (Some(n), h));
        match namespace {
            None | Some("*" | ".") => {}
            Some("") => faults.error(host.path(), "must have a namespace before '/'"),
            Some(namespace) => faults.check(|| host.path(), names::dns_label(namespace)),
        }
        faults.check(
            || host.path(),
            whole_name(name)
                .or_else(|problem| if name.contains('.') { host_or_ip(name).and(Err(problem)) } else { Err(problem) }),
        );
    }
    let is_socket = bind(server, port, faults);
    if !port.is_present() {
        faults.error(server.at("port"), "must be given");
        return;
    }
    faults.known_protocol(port);
    match port.number("number").unwrap_or_default() {
        0..=65535 if is_socket => {}
        1..=65535 => {}
        _ => faults.error(port.at("number"), "must be 1 to 65535"),
    }
    if port.number("targetPort").is_some_and(|target| target != 0) {
        faults.error(port.at("targetPort"), "has no effect on a Gateway");
    }
    if port.text("name").is_empty() {
        faults.error(port.at("name"), "must be given");
    }
    tls_of(server, port, faults);
}

/// Checks the address of a server or listener. Returns whether it is a Unix socket.
pub(super) fn bind(server: &Node<'_>, port: &Node<'_>, faults: &mut Faults) -> bool {
    let bind = server.text("bind");
    let Some(path) = bind.strip_prefix("unix://") else {
        if !bind.is_empty() && bind.parse::<IpAddr>().is_err() {
            faults.error(server.at("bind"), "must be an IP address, or unix:// and a path");
        }
        return false;
    };
    if !is_socket_path(path) {
        faults.error(server.at("bind"), "must be unix:// and an absolute path, or unix://@ and a name");
    }
    if port.number("number").is_some_and(|number| number != 0) {
        faults.error(port.at("number"), "must be 0: it is bound to a Unix socket");
    }
    true
}

/// An absolute path to a file, or `@` and a name.
pub(super) fn is_socket_path(path: &str) -> bool {
    path.starts_with('@') || (path.starts_with('/') && !path.ends_with('/'))
}

fn tls_of(server: &Node<'_>, port: &Node<'_>, faults: &mut Faults) {
    let tls = server.field("tls");
    let protocol = port.text("protocol").to_ascii_uppercase();
    let is_tls = matches!(protocol.as_str(), "HTTPS" | "TLS");
    if is_tls && !tls.is_present() {
        faults.error(server.path(), format!("must have tls: its port is of {protocol}"));
    }
    if !tls.is_present() {
        return;
    }
    if !is_tls {
        let is_http = protocol.starts_with("HTTP") || protocol.starts_with("GRPC");
        let only_redirects = matches!(tls.text("mode"), "" | "PASSTHROUGH") && !has_certificate(&tls);
        if !is_http {
            faults.error(tls.path(), format!("must not be given: the port is of {protocol}"));
            if tls.is_true("httpsRedirect") {
                faults.warning(tls.at("httpsRedirect"), "has no effect: the port is not of HTTP");
            }
        } else if !only_redirects {
            faults.error(tls.path(), "must only redirect: the port is of plain HTTP; use HTTPS");
        }
        return;
    }
    if tls.is_true("httpsRedirect") && protocol != "HTTP" && protocol != "HTTPS" {
        faults.warning(tls.at("httpsRedirect"), "has no effect: the port is not of HTTP");
    }
    options(&tls, faults);
}

const CIPHERS: [&str; 15] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];

/// Whether a text is a cipher suite, or an expression such as `!AES128-SHA`.
fn is_cipher(text: &str) -> bool {
    let is_expression = !text.starts_with(|c: char| c.is_alphanumeric());
    is_expression || text == "ALL" || CIPHERS.contains(&text)
}

fn has_certificate(tls: &Node<'_>) -> bool {
    let fields =
        ["serverCertificate", "privateKey", "caCertificates", "tlsCertificates", "credentialName", "credentialNames"];
    fields.iter().any(|field| tls.is_filled(field))
}

/// Checks TLS settings of servers of Gateways and Sidecars.
pub(super) fn options(tls: &Node<'_>, faults: &mut Faults) {
    let named = tls.is_filled("credentialName") || tls.is_filled("credentialNames");
    let sources = [
        tls.is_filled("credentialName"),
        tls.is_filled("credentialNames"),
        tls.is_filled("tlsCertificates"),
        tls.is_filled("serverCertificate") && tls.is_filled("privateKey"),
    ];
    if sources.into_iter().filter(|given| *given).count() > 1 {
        faults.error(
            tls.path(),
            "must have one of credentialName, credentialNames, tlsCertificates and serverCertificate",
        );
    }
    let old = ["TLS_AUTO", "TLSV1_0", "TLSV1_1"];
    if old[1..].contains(&tls.text("minProtocolVersion")) && !tls.is_filled("cipherSuites") {
        faults.warning(tls.at("minProtocolVersion"), "below TLS 1.2 needs cipherSuites");
    }
    let mut ciphers = HashSet::new();
    for cipher in tls.list("cipherSuites") {
        if !is_cipher(cipher.as_text()) {
            faults.warning(cipher.path(), "is not known to Istio, and ignored");
        } else if !ciphers.insert(cipher.as_text()) {
            faults.warning(cipher.path(), "stands twice");
        }
    }
    let mode = tls.text("mode");
    match mode {
        "ISTIO_MUTUAL" if has_certificate(tls) => {
            faults.error(tls.path(), "must have no certificate: ISTIO_MUTUAL uses Istio's");
        }
        "" | "PASSTHROUGH" | "AUTO_PASSTHROUGH" if has_certificate(tls) => {
            faults.warning(tls.path(), "has a certificate, which is not used: requests are passed through");
        }
        "SIMPLE" | "MUTUAL" | "OPTIONAL_MUTUAL" if !named => {
            let certificates = tls.list("tlsCertificates");
            let has_pair = |one: &Node<'_>| one.is_filled("serverCertificate") && one.is_filled("privateKey");
            if let Some(one) = certificates.iter().find(|one| !has_pair(one)) {
                faults.error(one.path(), "must have serverCertificate and privateKey");
            } else if certificates.is_empty() && !has_pair(tls) {
                faults.error(
                    tls.path(),
                    format!(
                        "must have a certificate: {mode} needs credentialName, or serverCertificate and privateKey"
                    ),
                );
            }
            if mode != "SIMPLE" && !tls.is_filled("caCertificates") {
                faults.error(tls.at("caCertificates"), format!("must be given: {mode} verifies clients by it"));
            }
            if mode == "SIMPLE" && tls.is_filled("caCrl") {
                faults.error(tls.at("caCrl"), "must not be given with mode SIMPLE");
            }
        }
        _ => {}
    }
}
