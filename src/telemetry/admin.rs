//! The admin port: probes and metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::metrics::Metrics;
use super::readiness::Readiness;

/// Returns `/healthz`, `/readyz` and `/metrics`. Public so that tests need no socket.
pub fn router(readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Router {
    ready_and_metrics(readiness, metrics).route("/healthz", get(|| async { "ok\n" }))
}

/// Returns the same without `/healthz`.
pub fn ready_and_metrics(readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/readyz", get(ready).with_state(readiness))
        .route("/metrics", get(scrape).with_state(metrics))
        .fallback(|| async {
            (StatusCode::NOT_FOUND, "not found; this port serves /healthz, /readyz?verbose and /metrics\n")
        })
}

/// Returns `/healthz` and `/readyz` for a separate port.
pub fn probes(readiness: Arc<Readiness>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(readiness))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found; this port serves /healthz and /readyz?verbose\n") })
}

async fn ready(State(readiness): State<Arc<Readiness>>, RawQuery(query): RawQuery) -> Response {
    let verbose =
        query.is_some_and(|query| query.split('&').any(|part| part == "verbose" || part.starts_with("verbose=")));
    let report = readiness.report();
    let status = if report.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, report.text(verbose)).into_response()
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be written: {error}\n")).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn get(readiness: Readiness, path: &str) -> (StatusCode, String, String) {
        let router = router(Arc::new(readiness), Arc::new(Metrics::new()));
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = router.oneshot(request).await.expect("infallible");
        let status = response.status();
        let kind = response.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().expect("ascii").to_owned());
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, kind.unwrap_or_default(), String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn healthz_is_ok_even_when_nothing_is_ready() {
        let (status, _, body) = get(Readiness::new().check("sets", || Err("none".to_owned())), "/healthz").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "ok\n"));
    }

    #[tokio::test]
    async fn readyz_says_503_and_names_the_failing_checks() {
        let readiness =
            Readiness::new().check("sets", || Err("none loaded".to_owned())).check("tls", || Ok("valid".to_owned()));
        let (status, _, body) = get(readiness, "/readyz").await;
        assert_eq!(
            (status, body.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "[-]sets failed: none loaded\nnot ready\n")
        );
    }

    #[tokio::test]
    async fn readyz_verbose_lists_every_check_with_its_detail() {
        let readiness = Readiness::new().check("sets", || Ok("3 loaded".to_owned()));
        let (status, _, body) = get(readiness, "/readyz?verbose").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(body, "[+]sets ok: 3 loaded\n[+]shutdown ok: not stopping\nready\n");
    }

    #[tokio::test]
    async fn readyz_says_503_while_draining() {
        let readiness = Readiness::new();
        readiness.drain();
        assert_eq!(get(readiness, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn metrics_are_openmetrics_text() {
        let (status, kind, body) = get(Readiness::new(), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        assert!(body.ends_with("# EOF\n"), "{body}");
    }

    #[tokio::test]
    async fn an_unknown_path_names_the_known_ones() {
        let (status, _, body) = get(Readiness::new(), "/debug").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(body.contains("/readyz"), "{body}");
    }
}
