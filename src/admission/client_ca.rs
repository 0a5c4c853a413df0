//! Verification of client certificates with the CA of a file.
//!
//! The API server can be configured to present one to admission webhooks. It presents none to conversion webhooks. So a
//! client without a certificate can connect, but is refused everything except conversion.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::certificate::provider;
use super::metrics::Webhook;
use super::reload::PERIOD;
use super::reply::Reply;
use super::x509::is_of_p521;
use crate::connections::Certified;
use crate::telemetry::seldom;

/// The file of the CA certificates for client certificates, with its last good content.
#[derive(Clone, Debug)]
pub struct ClientCa {
    file: PathBuf,
    pem: Vec<u8>,
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientCa {
    /// Reads the file.
    ///
    /// # Errors
    /// The file cannot be read, or holds no usable certificate.
    pub fn read(file: &Path) -> Result<Self, String> {
        let wrong = |problem: String| format!("{}: {problem}; give certificates of CAs in PEM", file.display());
        let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
        let (mut roots, mut unsupported) = (RootCertStore::empty(), 0);
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            if is_of_p521(&certificate) {
                let file = file.display().to_string();
                seldom!(
                    warn,
                    file,
                    "a CA's key is of the curve P-521, which is not supported: its clients are refused"
                );
                unsupported += 1;
                continue;
            }
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        if roots.is_empty() && unsupported > 0 {
            return Err(wrong("keys of the curve P-521 are not supported".to_owned()));
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .allow_unauthenticated()
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self { file: file.to_owned(), pem, verifier })
    }

    /// Reads the file periodically and passes new, good content to `renew`. On an error, which is logged once, the old
    /// content stays.
    pub(super) async fn reload(mut self, renew: impl Fn(&Self)) -> Infallible {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last_problem = None;
        loop {
            ticks.tick().await;
            let file = self.file.clone();
            let read = tokio::task::spawn_blocking(move || Self::read(&file)).await;
            match read.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(new) => {
                    last_problem = None;
                    if new.pem != self.pem {
                        tracing::info!(file = %new.file.display(), "new CA certificates for clients are in use");
                        renew(&new);
                        self = new;
                    }
                }
                Err(problem) => {
                    if last_problem.as_ref() != Some(&problem) {
                        tracing::error!(
                            problem,
                            "the CA certificates for clients cannot be read; those before stay in use"
                        );
                    }
                    last_problem = Some(problem);
                }
            }
        }
    }
}

/// Serves only conversion to clients without a certificate.
pub(super) fn require_certificates(router: Router) -> Router {
    router.layer(from_fn(async |request: Request, next: Next| -> Response {
        if request.extensions().get::<Certified>().is_some() || request.uri().path() == Webhook::Convert.path() {
            return next.run(request).await;
        }
        let text = "show a client certificate: this server was given --client-ca-file\n";
        let mut response = Reply::text(403, text).into_response();
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::sync::mpsc;
    use tokio::time::sleep;

    use super::*;
    use crate::admission::CertificatePair;

    fn ca() -> String {
        let pair = CertificatePair::generate(&["localhost"], SystemTime::now()).expect("a certificate");
        pair.ca_pem().expect("it makes its CA").to_owned()
    }

    #[test]
    fn a_key_of_the_curve_p521_is_said_to_be_unsupported() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = |text: String| {
            let file = folder.path().join("client-ca.crt");
            std::fs::write(&file, text).expect("written");
            ClientCa::read(&file).map(drop)
        };
        let p521 = include_str!("testdata/p521.crt");
        let refused = read(p521.to_owned()).expect_err("none is left");
        assert!(refused.contains("keys of the curve P-521 are not supported"), "{refused}");
        assert_eq!(read(format!("{p521}\n{}", ca())), Ok(()), "the others count");
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_file_is_taken_up_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("client-ca.crt");
        std::fs::write(&file, ca()).expect("written");
        let (renewed, mut renewals) = mpsc::unbounded_channel();
        let read = ClientCa::read(&file).expect("a CA");
        tokio::spawn(read.reload(move |new| renewed.send(new.pem.clone()).expect("the test listens")));
        std::fs::write(&file, "no certificate").expect("written");
        sleep(PERIOD * 3).await;
        assert!(renewals.try_recv().is_err());
        let other = ca();
        std::fs::write(&file, &other).expect("written");
        assert_eq!(renewals.recv().await, Some(other.into_bytes()));
    }
}
