//! Certificates from files, renewed under load.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use outrigger::admission::client::Destination;
use outrigger::admission::metrics::Certificate;
use outrigger::admission::reload::reload;
use outrigger::admission::{CertificatePair, Limits, Server, ServingCertificate, Settings};
use outrigger::telemetry::Readiness;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio_util::sync::CancellationToken;

use crate::harness::{PATH, measure, routed, soon, until};

pub type Ca = CertifiedIssuer<'static, KeyPair>;

pub fn ca() -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate that is valid until `year`, and its key.
fn leaf(ca: &Ca, year: i32) -> (String, String) {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year, 12, 31);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, ca).unwrap().pem(), key.serialize_pem())
}

/// Writes a pair to the folder like the kubelet: a new folder, and then one link swapped.
fn mount(folder: &Path, name: &str, certificate: &str, key: &str) {
    let version = folder.join(format!("..{name}"));
    fs::create_dir(&version).unwrap();
    fs::write(version.join("tls.crt"), certificate).unwrap();
    fs::write(version.join("tls.key"), key).unwrap();
    symlink(format!("..{name}"), folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        if !folder.join(file).exists() {
            symlink(Path::new("..data").join(file), folder.join(file)).unwrap();
        }
    }
}

#[tokio::test]
async fn renewal_under_load_fails_no_request_and_a_bad_pair_is_not_used() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), ca());
    let mount_valid = |name: &str, year: i32| {
        let (certificate, key) = leaf(&ca, year);
        mount(folder.path(), name, &certificate, &key);
    };
    mount_valid("v0", 2100);
    let serving = Arc::new(ServingCertificate::new(CertificatePair::from_dir(folder.path()).unwrap()));
    let (router, metrics) = routed(measure(), Limits::default());
    let settings = Settings { drain_delay: Duration::ZERO, last_call: Duration::ZERO, ..Settings::default() };
    let server = Server::bind(([127, 0, 0, 1], 0).into(), settings).await.unwrap();
    let target = Arc::new(Destination::new(server.address(), &ca.pem()).unwrap());
    let shutdown = CancellationToken::new();
    let (certificate, watched, token) = (serving.clone(), metrics.clone(), shutdown.clone());
    let server = tokio::spawn(async move {
        server.run(router, certificate, Arc::new(Readiness::new()), &watched, token).await.unwrap();
    });
    let reloading = reload(folder.path().to_owned(), serving.clone(), metrics.clone(), Duration::from_millis(10));
    let reloading = tokio::spawn(reloading);

    // half of the clients keep their connection, half open a new one for each request
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let (target, stop, answered) = (target.clone(), stop.clone(), answered.clone());
            tokio::spawn(async move {
                let mut client = target.connect().await.unwrap();
                while !stop.load(Ordering::Relaxed) {
                    if number % 2 == 0 {
                        client = target.connect().await.unwrap();
                    }
                    let answer = client.post(PATH, Bytes::from_static(b"{}")).await.unwrap();
                    assert!(answer.status.is_success());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let more_answers = async || {
        let before = answered.load(Ordering::Relaxed);
        until("answers after the swap", || answered.load(Ordering::Relaxed) > before + 8).await;
    };

    for (name, year) in [("v1", 2101), ("v2", 2102), ("v3", 2103)] {
        mount_valid(name, year);
        until("the new certificate", || {
            serving.current().unwrap().not_after().to_string().starts_with(&year.to_string())
        })
        .await;
        more_answers().await;
    }
    assert_eq!(metrics.certificates.read_errors.get(), 0);

    let ((certificate, _), (_, key)) = (leaf(&ca, 2104), leaf(&ca, 2105));
    mount(folder.path(), "mismatch", &certificate, &key);
    until("the mismatch to be counted", || metrics.certificates.read_errors.get() > 0).await;
    more_answers().await;
    assert!(serving.current().unwrap().not_after().to_string().starts_with("2103"));

    let (certificate, key) = leaf(&ca, 2021);
    let errors = metrics.certificates.read_errors.get();
    mount(folder.path(), "expired", &certificate, &key);
    until("the expired pair to be counted", || metrics.certificates.read_errors.get() > errors + 1).await;
    assert!(serving.current().unwrap().not_after().to_string().starts_with("2103"));

    mount_valid("v4", 2106);
    until("the certificate after the bad ones", || {
        serving.current().unwrap().not_after().to_string().starts_with("2106")
    })
    .await;
    more_answers().await;
    assert_eq!(
        metrics.certificates.expiration(Certificate::Serving).get(),
        serving.current().unwrap().not_after().as_second()
    );

    stop.store(true, Ordering::Relaxed);
    for client in clients {
        soon(client).await.unwrap();
    }
    reloading.abort();
    shutdown.cancel();
    soon(server).await.unwrap();
}
