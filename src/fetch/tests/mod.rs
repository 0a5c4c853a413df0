//! Fetches over real sockets, all on this machine.

mod addresses;
mod answers;
mod connections;
mod credentials;
mod limits;
mod proxies;
mod redirects;
mod server;
mod tls;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{self, BoxFuture};

use super::{Answer, FetchError, Fetcher, Limits, Outcome, Request, Resolve, Settings};
use server::Server;

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A limit that is waited for.
const SHORT: Duration = Duration::from_millis(150);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// A resolver that knows what a test tells it; the last answer for a name is repeated.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<HashMap<String, Vec<Vec<IpAddr>>>>>);

impl Names {
    fn of(names: &[(&str, &[&[&str]])]) -> Self {
        let address = |text: &&str| text.parse().expect("an address");
        let answers = |answers: &[&[&str]]| answers.iter().map(|answer| answer.iter().map(address).collect()).collect();
        Self(Arc::new(Mutex::new(names.iter().map(|(name, all)| ((*name).to_owned(), answers(all))).collect())))
    }
}

impl Resolve for Names {
    fn resolve(&self, name: &str) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        let mut names = self.0.lock().expect("unharmed");
        let Some(answers) = names.get_mut(name) else {
            return future::err(std::io::Error::from(std::io::ErrorKind::NotFound)).boxed();
        };
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        future::ok(answer).boxed()
    }
}

/// Settings under which servers on this machine can be fetched from, by address or as `a.test` and `b.test`.
fn open() -> Settings {
    let here: &[&[&str]] = &[&["127.0.0.1"]];
    Settings {
        allow: vec!["127.0.0.1".parse().expect("an address")],
        resolver: Arc::new(Names::of(&[("a.test", here), ("b.test", here)])),
        limits: Limits { connect: PATIENCE, total: PATIENCE, ..Limits::default() },
        ..Settings::default()
    }
}

fn limited(change: impl FnOnce(&mut Limits)) -> Fetcher {
    let mut settings = open();
    change(&mut settings.limits);
    Fetcher::new(settings)
}

fn request(url: &str) -> Request {
    Request::new(url.parse().expect(url))
}

async fn get(fetcher: &Fetcher, url: &str) -> Result<Answer, FetchError> {
    soon(url, fetcher.get(request(url))).await
}

/// The body of a 200.
#[track_caller]
fn body(answer: Result<Answer, FetchError>) -> Bytes {
    match answer.expect("an answer") {
        Answer::Body { bytes, .. } => bytes,
        Answer::NotModified => panic!("not modified"),
    }
}

/// What a failure is called, and its text after the URL.
#[track_caller]
fn failure(url: &str, answer: Result<Answer, FetchError>) -> (Outcome, String) {
    assert!(Outcome::ALL.contains(&Outcome::of(&answer)));
    let error = answer.expect_err(url);
    let text = error.to_string();
    let shown = request(url).target.to_string();
    let rest = text.strip_prefix(&format!("{shown}: ")).unwrap_or_else(|| panic!("{text}: not of {shown}"));
    (error.outcome(), rest.to_owned())
}

/// Fetches from a server that answers everything with these bytes.
async fn failure_of(bytes: &[u8]) -> (Outcome, String) {
    let server = Server::answering(bytes).await;
    let url = server.url("/");
    failure(&url, get(&Fetcher::new(open()), &url).await)
}
