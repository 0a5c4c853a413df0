//! Clients that must present a certificate: those with a valid one are served, those without one can only convert.

use std::fs;
use std::sync::Arc;

use outrigger::admission::{ClientCa, Limits, Settings, router};
use outrigger::admission::{Metrics, Webhook};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificates::{Ca, ca};
use crate::harness::{TestServer, head, measure, read_to_end, read_until, send};

fn client(ca: &Ca) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, ca).unwrap().der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
}

/// A server of reviews and conversions that requires certificates of this CA.
async fn requiring(ca: &Ca) -> TestServer {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client-ca.crt");
    fs::write(&file, ca.pem()).unwrap();
    let client_ca = Some(ClientCa::read(&file).unwrap());
    let metrics = Arc::new(Metrics::default());
    let webhooks = [Webhook::MutatePod, Webhook::Convert].map(|webhook| (webhook, measure(), Limits::of(webhook)));
    TestServer::serve(router(webhooks, &metrics), metrics, Settings { client_ca, ..Settings::default() }).await
}

#[tokio::test]
async fn who_shows_a_certificate_of_the_ca_is_served() {
    let ca = ca();
    let server = requiring(&ca).await;
    let mut stream = server.connect(Some(client(&ca))).await.unwrap();
    send(&mut stream, head(3) + "123").await;
    assert!(read_until(&mut stream, "\r\n\r\n3").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn who_shows_none_gets_conversion_and_nothing_else() {
    let server = requiring(&ca()).await;
    let mut stream = server.raw().await;
    send(&mut stream, head(3).replace("/mutate-pod", "/convert") + "123").await;
    assert!(read_until(&mut stream, "\r\n\r\n3").await.starts_with("HTTP/1.1 200 OK\r\n"));
    send(&mut stream, head(3) + "123").await;
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n") && answer.contains("--client-ca-file"), "{answer}");
}

#[tokio::test]
async fn who_shows_one_of_another_ca_gets_no_connection() {
    let server = requiring(&ca()).await;
    if let Ok(mut stream) = server.connect(Some(client(&ca()))).await {
        send(&mut stream, head(3).replace("/mutate-pod", "/convert") + "123").await;
        assert_eq!(read_to_end(&mut stream).await, "");
    }
    assert_eq!(server.metrics.certificates.handshake_errors.get(), 1);
}

#[test]
fn a_file_without_a_certificate_is_told_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client-ca.crt");
    for text in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(&file, text).unwrap();
        let error = ClientCa::read(&file).unwrap_err();
        assert!(error.contains("client-ca.crt") && error.contains("PEM"), "{error}");
    }
    assert!(ClientCa::read(&folder.path().join("absent")).unwrap_err().contains("absent"));
}
