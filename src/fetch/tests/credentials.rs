//! Where credentials are and are not sent.

use super::super::{Authorization, Credentials, Identity};
use super::server::{Server, ok, redirect};
use super::*;

const BEARER: &str = "authorization: Bearer t0ken\r\n";

fn bearer(recipients: &[&str]) -> Credentials {
    let authorization = Authorization::bearer("t0ken").ok();
    let recipients = recipients.iter().map(|text| text.parse().expect("a host")).collect();
    Credentials { authorization, recipients, ..Credentials::default() }
}

fn with(credentials: Credentials, url: &str) -> Request {
    request(url).credentials(Some(credentials))
}

#[tokio::test]
async fn user_and_password_of_a_url_are_sent_and_never_shown() {
    let server = Server::start(|_, _| ok("").clone()).await;
    let url = format!("http://us%40er:p%C3%A4ss@{}/", server.address);
    let asker = Asker::open();
    asker.get(&url).await.expect("an answer");
    assert!(server.head().await.contains("authorization: Basic dXNAZXI6cMOkc3M=\r\n"), "us@er:päss");
    assert!(!format!("{:?}", request(&url)).contains("%C3%A4"));

    let url = format!("http://t0ken@{}/", server.address);
    asker.get(&url).await.expect("an answer");
    assert!(server.head().await.contains("authorization: Basic dDBrZW46\r\n"), "t0ken:");
}

#[tokio::test]
async fn given_credentials_come_before_those_of_the_url() {
    let server = Server::start(|_, _| ok("")).await;
    let url = format!("http://user:pass@{}/", server.address);
    Asker::open().fetch(with(bearer(&[&server.url("")]), &url)).await.expect("sent");
    let head = server.head().await;
    assert!(head.contains(BEARER) && !head.contains("Basic"), "{head}");
}

#[tokio::test]
async fn nothing_is_sent_where_credentials_may_not_go() {
    let server = Server::start(|_, _| ok("")).await;
    let url = server.url("/");
    let over_tls = server.address.to_string();
    for recipients in [&[][..], &["http://127.0.0.1"], &["a.test:80", "http://127.0.0.1:1"], &[over_tls.as_str()]] {
        let answer = Asker::open().fetch(with(bearer(recipients), &url)).await;
        let expected = "the credentials given may not be sent to this host".to_owned();
        assert_eq!(failure(&url, answer), (FetchOutcome::Credentials, expected));
    }
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn a_redirect_within_the_origin_keeps_credentials_and_one_elsewhere_does_not() {
    let other = Server::start(|_, _| ok("other")).await;
    let elsewhere = format!("http://mallory:x@{}/other", other.address);
    let server = Server::start(move |head, _| match head.split(' ').nth(1) {
        Some("/") => redirect("/same"),
        Some("/same") => redirect(&elsewhere),
        path => panic!("{path:?}"),
    })
    .await;
    let asker = Asker::open();
    // Even an allowed recipient is not sent credentials after a redirect.
    let credentials = bearer(&[&server.url(""), &other.url("")]);
    for (request, sent) in [
        (with(credentials, &server.url("/")), BEARER),
        (request(&format!("http://user:pass@{}/", server.address)), "authorization: Basic dXNlcjpwYXNz\r\n"),
    ] {
        assert_eq!(body(asker.fetch(request).await), "other");
        for _ in 0..2 {
            assert!(server.head().await.contains(sent));
        }
        assert!(!other.head().await.contains("authorization"));
    }
}

#[tokio::test]
async fn the_same_address_by_another_name_is_another_origin() {
    let server = Server::start(|head, _| {
        let port = head.split("a.test:").nth(1).and_then(|rest| rest.split('\r').next());
        port.map_or_else(|| ok("end"), |port| redirect(&format!("http://b.test:{port}/")))
    })
    .await;
    let url = server.url_at("a.test", "/").replace("http://", "http://user:pass@");
    assert_eq!(body(Asker::open().get(&url).await), "end");
    assert!(server.head().await.contains("authorization"));
    assert!(!server.head().await.contains("authorization"));
}

#[tokio::test]
async fn a_certificate_or_key_that_cannot_be_used_is_told_without_showing_it() {
    for (certificate, key, expected) in [
        ("s3cret", "s3cret", "it holds no certificate as PEM"),
        (
            "-----BEGIN CERTIFICATE-----\ns3cret!\n-----END CERTIFICATE-----",
            "",
            "its certificate cannot be read as PEM",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
            "s3cret",
            "it holds no unencrypted private key as PEM",
        ),
    ] {
        let identity = Identity { certificate_pem: certificate.into(), key_pem: key.into() };
        let recipients = vec!["a.test".parse().expect("a host")];
        let credentials = Credentials { identity: Some(identity), recipients, ..Credentials::default() };
        let url = "https://a.test/";
        let answer = Asker::open().fetch(with(credentials, url)).await;
        let expected = format!("the client certificate given cannot be used: {expected}");
        assert_eq!(failure(url, answer), (FetchOutcome::Credentials, expected));
    }
}
