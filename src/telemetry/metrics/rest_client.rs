//! Calls to the API server, with client-go's name.

use super::labels::Labels;
use http::{Method, StatusCode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// `rest_client_requests_total{code,method}`. Clones share it.
#[derive(Clone, Debug)]
pub struct RestClientMetrics(Family<Labels<2>, Counter>);

/// The API server's statuses. Others are counted together.
const CODES: [(u16, &str); 20] = [
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (406, "406"),
    (409, "409"),
    (410, "410"),
    (413, "413"),
    (415, "415"),
    (422, "422"),
    (429, "429"),
    (500, "500"),
    (501, "501"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
];

impl RestClientMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let requests = Family::default();
        registry.register("rest_client_requests", "Calls to the API server, by answer", requests.clone());
        Self(requests)
    }

    /// Counts the answer of a call; `None` if there was no answer.
    pub fn answered(&self, method: &Method, status: Option<StatusCode>) {
        let code = match status {
            None => "<error>", // as in client-go
            Some(status) => CODES.iter().find(|(code, _)| *code == status.as_u16()).map_or("other", |(_, text)| text),
        };
        let method = match method.as_str() {
            "GET" => "GET",
            "POST" => "POST",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            _ => "other",
        };
        self.0.get_or_create_owned(&[("code", code), ("method", method)]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn calls_are_counted_by_code_and_method() {
        let metrics = Metrics::new();
        metrics.rest_client().answered(&Method::GET, Some(StatusCode::OK));
        metrics.rest_client().answered(&Method::PATCH, Some(StatusCode::CONFLICT));
        metrics.rest_client().answered(&Method::HEAD, Some(StatusCode::IM_A_TEAPOT));
        metrics.rest_client().answered(&Method::GET, None);
        let text = metrics.encode().unwrap();
        for expected in [
            "rest_client_requests_total{code=\"200\",method=\"GET\"} 1",
            "rest_client_requests_total{code=\"409\",method=\"PATCH\"} 1",
            "rest_client_requests_total{code=\"other\",method=\"other\"} 1",
            "rest_client_requests_total{code=\"<error>\",method=\"GET\"} 1",
        ] {
            assert!(text.lines().any(|line| line == expected), "no {expected} in\n{text}");
        }
    }
}
