//! The floor: a minimal server that reads a review and answers as many bytes as ours, with the same TLS, HTTP and
//! runtime.

use anyhow::{Context, Result};
use axum::http::{HeaderValue, Response, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Serves until the process is ended. Prints its address as `outrigger serve` does, and writes the certificate to
/// trust.
pub fn serve(ca: &Path, answer: usize) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    std::fs::write(ca, made.cert.pem())?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let answer = Bytes::from(vec![b' '; answer]);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr().context("the address")?;
        eprintln!(r#"{{"message":"serving","webhook":"https://{address}/","admin":"http://{address}/"}}"#);
        loop {
            let (tcp, _) = listener.accept().await?;
            tokio::spawn(connection(acceptor.clone(), tcp, answer.clone()));
        }
    })
}

async fn connection(acceptor: TlsAcceptor, tcp: TcpStream, answer: Bytes) -> Result<()> {
    tcp.set_nodelay(true)?;
    let stream = TokioIo::new(acceptor.accept(tcp).await?);
    let service = service_fn(|mut request: hyper::Request<hyper::body::Incoming>| {
        let answer = answer.clone();
        async move {
            let mut length = 0;
            while let Some(Ok(frame)) = request.body_mut().frame().await {
                length += frame.data_ref().map_or(0, Bytes::len);
            }
            std::hint::black_box(length);
            let mut response = Response::new(Full::new(answer));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok::<_, Infallible>(response)
        }
    });
    Ok(http1::Builder::new().serve_connection(stream, service).await?)
}
