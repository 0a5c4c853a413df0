//! Which servers are trusted over TLS, and client certificates.

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::super::{Credentials, FetchProblem, Identity, Trust};
use super::server::{Server, ok, redirect};
use super::*;

/// A CA that is only trusted by a test.
struct Authority {
    pem: String,
    der: rustls::pki_types::CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a CA");
        Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    fn sign(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    fn trusted(&self) -> Trust {
        Trust { ca_pem: Some(self.pem.clone().into_bytes()), ..Trust::default() }
    }
}

fn anyone() -> Trust {
    Trust { skip_verify: true, ..Trust::default() }
}

fn showing((certificate, key): &(rcgen::Certificate, KeyPair), clients: Option<&Authority>) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der.clone()).expect("a CA");
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), ring::default_provider().into());
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    builder.with_single_cert(vec![certificate.der().clone()], key).expect("a pair")
}

async fn get_trusting(url: &str, trust: Trust) -> Result<Answer, FetchError> {
    Asker::open().fetch(request(url).trust(trust)).await
}

#[tokio::test]
async fn a_server_is_trusted_by_its_ca_or_unseen_and_not_otherwise() {
    let (authority, other) = (Authority::new(), Authority::new());
    let pair = authority.sign(&["a.test", "127.0.0.1"], |_| {});
    let server = Server::tls(showing(&pair, None), |_, _| ok("safe")).await;
    let unknown = Err("the server's certificate is signed by no authority that is trusted");
    for (host, trust, expected) in [
        ("a.test", authority.trusted(), Ok("safe")),
        ("127.0.0.1", authority.trusted(), Ok("safe")),
        ("b.test", authority.trusted(), Err("the server's certificate is not for this host")),
        ("a.test", other.trusted(), unknown),
        ("a.test", Trust::default(), unknown),
        ("a.test", anyone(), Ok("safe")),
        ("b.test", anyone(), Ok("safe")),
    ] {
        let url = server.url_at(host, "/");
        let answer = get_trusting(&url, trust).await;
        match expected {
            Ok(expected) => assert_eq!(body(answer), expected, "{host}"),
            Err(expected) => assert_eq!(failure(&url, answer), (FetchOutcome::Tls, expected.to_owned()), "{host}"),
        }
    }
}

#[tokio::test]
async fn certificates_out_of_their_time_or_of_another_purpose_are_refused() {
    let authority = Authority::new();
    for (change, expected) in [
        ((|params| params.not_after = date_time_ymd(2001, 1, 1)) as fn(&mut CertificateParams), "has expired"),
        (|params| params.not_before = date_time_ymd(4000, 1, 1), "is not valid yet"),
        (|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth], "is not one of a server"),
    ] {
        let server = Server::tls(showing(&authority.sign(&["a.test"], change), None), |_, _| ok("")).await;
        let url = server.url_at("a.test", "/");
        let expected = (FetchOutcome::Tls, format!("the server's certificate {expected}"));
        assert_eq!(failure(&url, get_trusting(&url, authority.trusted()).await), expected);
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_when_it_is_given_as_the_ca() {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["a.test".to_owned()]).expect("a name");
    let pair = (params.self_signed(&key).expect("a certificate"), key);
    let server = Server::tls(showing(&pair, None), |_, _| ok("self")).await;
    let url = server.url_at("a.test", "/");
    let trust = Trust { ca_pem: Some(pair.0.pem().into_bytes()), ..Trust::default() };
    assert_eq!(body(get_trusting(&url, trust).await), "self");
    assert_eq!(failure(&url, get_trusting(&url, Trust::default()).await).0, FetchOutcome::Tls);
}

#[tokio::test]
async fn what_does_not_speak_tls_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}/", listener.local_addr().expect("an address"));
    let answer = async {
        let (mut connection, _) = listener.accept().await.expect("a connection");
        tokio::io::AsyncWriteExt::write_all(&mut connection, b"HTTP/1.1 400 s3cret\r\n\r\n").await.expect("sent");
        connection
    };
    let (_connection, answer) = soon("a failure", future::join(answer, get_trusting(&url, anyone()))).await;
    assert_eq!(failure(&url, answer), (FetchOutcome::Tls, "the server does not speak TLS".to_owned()));
}

#[tokio::test]
async fn a_ca_that_cannot_be_used_is_told() {
    let url = "https://a.test/";
    for (pem, expected) in [
        ("", "it holds no certificate as PEM"),
        ("s3cret", "it holds no certificate as PEM"),
        ("-----BEGIN CERTIFICATE-----\ns3cret!\n-----END CERTIFICATE-----", "it cannot be read as PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "a certificate in it cannot be used as a CA"),
    ] {
        let trust = Trust { ca_pem: Some(pem.into()), ..Trust::default() };
        let expected = (FetchOutcome::Credentials, format!("the CA given cannot be used: {expected}"));
        assert_eq!(failure(url, get_trusting(url, trust).await), expected);
    }
}

/// Returns a client certificate of this authority, for servers on this machine.
fn identity(authority: &Authority, servers: &[&Server]) -> Credentials {
    let (certificate, key) = authority.sign(&["client"], |_| {});
    let identity = Identity { certificate_pem: certificate.pem().into(), key_pem: key.serialize_pem().into() };
    let recipients = servers.iter().map(|server| server.address.to_string().parse().expect("a host")).collect();
    Credentials { identity: Some(identity), recipients, ..Credentials::default() }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_whom_it_is_for() {
    let authority = Authority::new();
    let server =
        Server::tls(showing(&authority.sign(&["127.0.0.1"], |_| {}), Some(&authority)), |_, _| ok("known")).await;
    let url = server.url("/");
    let asker = Asker::open();
    let with = |credentials| asker.request(&url).trust(authority.trusted()).credentials(credentials);
    let known = asker.fetch(with(Some(identity(&authority, &[&server])))).await;
    assert_eq!(body(known), "known");
    // Connections with different credentials are separate.
    for credentials in [None, Some(identity(&Authority::new(), &[&server]))] {
        let answer = asker.fetch(with(credentials)).await;
        let (outcome, text) = failure(&url, answer);
        assert_eq!(outcome, FetchOutcome::Tls, "{text}");
        assert!(text.starts_with("the server refused the handshake ("), "{text}");
    }
}

#[tokio::test]
async fn a_redirect_to_another_origin_is_not_shown_the_client_certificate() {
    let authority = Authority::new();
    let pair = authority.sign(&["127.0.0.1"], |_| {});
    let other = Server::tls(showing(&pair, Some(&authority)), |_, _| ok("other")).await;
    let location = other.url("/");
    let server = Server::tls(showing(&pair, Some(&authority)), move |_, _| redirect(&location)).await;
    let credentials = Some(identity(&authority, &[&server, &other]));
    let request = request(&server.url("/")).trust(authority.trusted()).credentials(credentials);
    let answer = Asker::open().fetch(request).await;
    assert_eq!(failure(&server.url("/"), answer).0, FetchOutcome::Tls);
}

#[tokio::test]
async fn a_key_that_is_not_of_its_certificate_is_told() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = Server::tls(showing(&authority.sign(&["127.0.0.1"], |_| {}), None), |_, _| ok("")).await;
    let mut credentials = identity(&authority, &[&server]);
    let (_, key) = other.sign(&["client"], |_| {});
    if let Some(identity) = &mut credentials.identity {
        identity.key_pem = key.serialize_pem().into();
    }
    let request = request(&server.url("/")).trust(authority.trusted()).credentials(Some(credentials));
    let error = Asker::open().fetch(request).await.expect_err("a mismatch");
    assert!(matches!(error.problem(), FetchProblem::Identity(_)), "{error}");
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_refused() {
    let authority = Authority::new();
    let plain = Server::start(|_, _| ok("plain")).await;
    let location = plain.url("/");
    let server =
        Server::tls(showing(&authority.sign(&["127.0.0.1"], |_| {}), None), move |_, _| redirect(&location)).await;
    let url = server.url("/");
    let expected = (FetchOutcome::Redirect, "redirected from https to http".to_owned());
    assert_eq!(failure(&url, get_trusting(&url, authority.trusted()).await), expected);
    assert_eq!(plain.accepted(), 0);
}

#[tokio::test]
async fn connections_are_kept_for_the_last_cas_only() {
    let authorities = [Authority::new(), Authority::new(), Authority::new()];
    let mut servers = Vec::new();
    for authority in &authorities {
        servers.push(Server::tls(showing(&authority.sign(&["127.0.0.1"], |_| {}), None), |_, _| ok("kept")).await);
    }
    let asker = Asker::limited(|limits| limits.clients = 2);
    // The first one is used again before the third, so the second is dropped.
    for index in [0, 1, 0, 2, 0] {
        let request = request(&servers[index].url("/")).trust(authorities[index].trusted());
        assert_eq!(body(asker.fetch(request).await), "kept");
    }
    servers[1].closed().await;
    assert_eq!(servers.iter().map(Server::accepted).collect::<Vec<_>>(), [1, 1, 1]);
}
