//! Single requests: served, rejected, shed and survived. No sockets.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use bytes::Bytes;
use outrigger::admission::metrics::{Shed, Webhook};
use outrigger::admission::{Limits, Reply, at_once};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::harness::{PATH, PATIENCE, held, measure, piecemeal, read, review, routed, soon, until};

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn a_review_is_answered_with_what_the_handler_says() {
    let (router, metrics) = routed(measure(), Limits::default());
    let response = router.oneshot(review("12345")).await.expect("infallible");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    assert_eq!(read(response).await, (200, "5".to_owned()));
    assert_eq!(metrics.webhook(Webhook::MutatePod).requests(200).get(), 1);
}

#[tokio::test]
async fn a_handler_may_answer_one_line_of_text_with_any_status() {
    let (router, metrics) = routed(at_once(|_| Reply::text(400, "no uid\n")), Limits::default());
    let response = router.oneshot(review("{}")).await.expect("infallible");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(read(response).await, (400, "no uid\n".to_owned()));
    assert_eq!(metrics.webhook(Webhook::MutatePod).requests(400).get(), 1);
}

#[tokio::test]
async fn a_status_that_http_does_not_know_becomes_500() {
    let (router, _) = routed(at_once(|_| Reply::text(7, "?")), Limits::default());
    assert_eq!(read(router.oneshot(review("{}")).await.expect("infallible")).await.0, 500);
}

#[tokio::test]
async fn an_unknown_path_is_404_and_names_the_known_ones() {
    let (router, _) = routed(measure(), Limits::default());
    let request = Request::post("/mutate").body(Body::empty()).expect("a request");
    let (status, text) = read(router.oneshot(request).await.expect("infallible")).await;
    assert_eq!(status, 404);
    assert!(text.contains(PATH), "{text}");
}

#[tokio::test]
async fn another_method_than_post_is_405() {
    let (router, _) = routed(measure(), Limits::default());
    let request = Request::get(PATH).body(Body::empty()).expect("a request");
    let response = router.oneshot(request).await.expect("infallible");
    assert_eq!(response.headers()[header::ALLOW], "POST");
    let (status, text) = read(response).await;
    assert_eq!(status, 405);
    assert!(text.contains("POST"), "{text}");
}

async fn with_headers(headers: &[(&str, &str)]) -> (u16, String) {
    let (router, _) = routed(measure(), Limits::default());
    let request = headers.iter().fold(Request::post(PATH), |request, (name, value)| request.header(*name, *value));
    read(router.oneshot(request.body(Body::from("{}")).expect("a request")).await.expect("infallible")).await
}

#[tokio::test]
async fn another_content_type_than_json_is_415() {
    for wrong in [&[][..], &[("content-type", "text/json")], &[("content-type", "application/json-patch+json")]] {
        let (status, text) = with_headers(wrong).await;
        assert_eq!(status, 415, "{wrong:?}");
        assert!(text.contains("application/json"), "{text}");
    }
    for right in ["application/json", "application/json; charset=utf-8", "Application/JSON ;x=y"] {
        assert_eq!(with_headers(&[("content-type", right)]).await.0, 200, "{right}");
    }
}

#[tokio::test]
async fn a_compressed_body_is_415() {
    let json = ("content-type", "application/json");
    for coding in ["gzip", "br", "identity, gzip"] {
        let (status, text) = with_headers(&[json, ("content-encoding", coding)]).await;
        assert_eq!(status, 415, "{coding}");
        assert!(text.contains("uncompressed"), "{text}");
    }
    assert_eq!(with_headers(&[json, ("content-encoding", "identity")]).await.0, 200);
}

#[tokio::test]
async fn an_announced_body_over_7_mib_is_413_and_not_waited_for() {
    let (router, _) = routed(measure(), Limits::default());
    let (_pieces, body) = piecemeal(Some(7 * MIB as u64 + 1));
    let response = soon(router.oneshot(review(body))).await.expect("infallible");
    assert_eq!(response.headers()[header::CONNECTION], "close");
    let (status, text) = read(response).await;
    assert_eq!(status, 413);
    assert!(text.contains("7340032 bytes"), "{text}");
}

#[tokio::test]
async fn a_body_of_7_mib_is_served() {
    let (router, _) = routed(measure(), Limits::default());
    let response = router.oneshot(review(vec![b' '; 7 * MIB])).await.expect("infallible");
    assert_eq!(read(response).await, (200, "7340032".to_owned()));
}

#[tokio::test]
async fn a_chunked_body_is_413_as_soon_as_it_is_over_7_mib() {
    let (router, _) = routed(measure(), Limits::default());
    let (pieces, body) = piecemeal(None);
    let answer = tokio::spawn(router.oneshot(review(body)));
    let piece = Bytes::from(vec![b' '; MIB]);
    let mut sent = 0;
    while pieces.send(piece.clone()).await.is_ok() {
        sent += 1;
        assert!(sent < 20, "the server reads on");
    }
    let response = soon(answer).await.expect("no panic").expect("infallible");
    assert_eq!(response.headers()[header::CONNECTION], "close");
    assert_eq!(read(response).await.0, 413);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_503_which_the_api_server_repeats() {
    let limits = Limits { body_timeout: Duration::from_millis(20), ..Limits::default() };
    let (router, metrics) = routed(measure(), limits);
    let (_pieces, body) = piecemeal(Some(10));
    let response = soon(router.clone().oneshot(review(body))).await.expect("infallible");
    assert_eq!(response.headers()[header::CONNECTION], "close");
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    let (status, text) = read(response).await;
    assert_eq!(status, 503);
    assert!(text.contains("did not arrive in time"), "{text}");
    assert_eq!(metrics.shed(Shed::SlowBody).get(), 1);
    assert_eq!(read(router.oneshot(review("{}")).await.expect("infallible")).await.0, 200);
}

#[tokio::test]
async fn bodies_that_are_not_whole_take_no_place_whatever_they_announce() {
    let patient = Limits { reviews: 1, body_timeout: PATIENCE, ..Limits::default() };
    let (router, metrics) = routed(measure(), patient);
    let webhook = metrics.webhook(Webhook::MutatePod);
    let (mut bodies, mut answers) = (Vec::new(), JoinSet::new());
    for number in 0..300 {
        let (pieces, body) = piecemeal([None, Some(4), Some(7 * MIB as u64)][number % 3]);
        pieces.send(Bytes::from_static(b"1")).await.expect("the body lives");
        bodies.push(pieces);
        answers.spawn(router.clone().oneshot(review(body)));
    }
    until("all arrive", || webhook.arriving().get() == 300).await;
    assert_eq!(webhook.in_flight().get(), 0);
    for _ in 0..10 {
        assert_eq!(read(router.clone().oneshot(review("{}")).await.expect("infallible")).await.0, 200);
    }
    answers.shutdown().await;
    assert_eq!(webhook.arriving().get(), 0);
}

#[tokio::test]
async fn of_300_reviews_256_are_worked_on_and_the_rest_shed_at_once() {
    let (go, handler) = held();
    let (router, metrics) = routed(handler, Limits::default());
    let mut answers = JoinSet::new();
    for _ in 0..300 {
        answers.spawn(router.clone().oneshot(review("1234")));
    }
    for _ in 0..44 {
        let response = soon(answers.join_next()).await.expect("an answer").expect("no panic").expect("infallible");
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let (status, text) = read(response).await;
        assert_eq!(status, 503);
        assert!(text.contains("try again"), "{text}");
    }
    assert_eq!(metrics.shed(Shed::Reviews).get(), 44);
    let webhook = metrics.webhook(Webhook::MutatePod);
    assert_eq!(webhook.in_flight().get(), 256);
    go.send(true).expect("they wait");
    while let Some(answer) = soon(answers.join_next()).await {
        assert_eq!(read(answer.expect("no panic").expect("infallible")).await, (200, "4".to_owned()));
    }
    assert_eq!((webhook.in_flight().get(), webhook.requests(200).get(), webhook.requests(503).get()), (0, 256, 44));
}

#[tokio::test]
async fn bodies_of_64_mib_in_flight_shed_the_next_even_with_free_places() {
    let (go, handler) = held();
    let (router, metrics) = routed(handler, Limits::default());
    let webhook = metrics.webhook(Webhook::MutatePod);
    let mut large = JoinSet::new();
    // Nine times 7 MiB leaves 1 MiB, apart from an uncounted part of each.
    for _ in 0..9 {
        large.spawn(router.clone().oneshot(review(vec![b' '; 7 * MIB])));
    }
    until("nine reviews are in flight", || webhook.in_flight().get() == 9).await;
    let shed = router.clone().oneshot(review(vec![b' '; MIB + MIB / 4])).await.expect("infallible");
    assert_eq!(shed.headers()[header::RETRY_AFTER], "1");
    assert_eq!(read(shed).await.0, 503);
    assert_eq!(metrics.shed(Shed::Bytes).get(), 1);
    large.spawn(router.clone().oneshot(review(vec![b' '; MIB])));
    until("the tenth is in flight", || webhook.in_flight().get() == 10).await;
    go.send(true).expect("they wait");
    while let Some(answer) = soon(large.join_next()).await {
        assert_eq!(read(answer.expect("no panic").expect("infallible")).await.0, 200);
    }
    let next = router.oneshot(review(vec![b' '; MIB + MIB / 4])).await.expect("infallible");
    assert_eq!(read(next).await.0, 200);
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_place_back() {
    let (go, handler) = held();
    let (router, metrics) = routed(handler, Limits { reviews: 1, ..Limits::default() });
    let webhook = metrics.webhook(Webhook::MutatePod);
    let gone = tokio::spawn(router.clone().oneshot(review("1234")));
    until("the review is in flight", || webhook.in_flight().get() == 1).await;
    gone.abort();
    assert!(gone.await.is_err());
    assert_eq!(webhook.in_flight().get(), 0);
    go.send(true).expect("the handler lives");
    assert_eq!(read(router.oneshot(review("{}")).await.expect("infallible")).await.0, 200);
}

#[tokio::test]
async fn a_panic_is_a_500_in_text_and_counted_and_the_next_review_is_served() {
    let (router, metrics) = routed(measure(), Limits::default());
    let response = router.clone().oneshot(review("panic")).await.expect("infallible");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    let (status, text) = read(response).await;
    assert_eq!(status, 500);
    assert!(!text.contains("allowed"), "{text}");
    assert_eq!(metrics.webhook_panics.get(), 1);
    assert_eq!(metrics.webhook(Webhook::MutatePod).requests(500).get(), 1);
    assert_eq!(read(router.oneshot(review("{}")).await.expect("infallible")).await.0, 200);
}
