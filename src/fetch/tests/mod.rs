//! Fetches over real sockets on this machine.

mod addresses;
mod answers;
mod connections;
mod credentials;
mod limits;
mod methods;
mod proxies;
mod redirects;
mod rules;
pub mod server;
mod tls;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{self, BoxFuture};

use super::{
    Allow, Answer, FetchError, FetchOutcome, FetchTarget, Fetcher, Guard, Limits, Request, Resolve, Rules, Settings,
};
use server::Server;

/// The maximum time that a test waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// A time limit that a test waits for.
const SHORT: Duration = Duration::from_millis(150);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// A resolver with the test's answers. The last answer for a name is repeated.
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

/// Settings that also resolve `a.test` and `b.test` to this machine.
fn settings() -> Settings {
    let here: &[&[&str]] = &[&["127.0.0.1"]];
    Settings { resolver: Arc::new(Names::of(&[("a.test", here), ("b.test", here)])), ..Settings::default() }
}

/// Rules that allow servers on this machine.
fn open() -> Rules {
    let guard = Guard { allow: Allow::loopback(), ..Guard::default() };
    Rules { guard, connect: PATIENCE, total: PATIENCE, ..Rules::default() }
}

/// A fetcher with the rules of its requests.
#[derive(Clone)]
struct Asker {
    fetcher: Fetcher,
    rules: Arc<Rules>,
}

impl Asker {
    fn new(settings: Settings, rules: Rules) -> Self {
        Self { fetcher: Fetcher::new(settings), rules: rules.into() }
    }

    /// Allows servers on this machine.
    fn open() -> Self {
        Self::new(settings(), open())
    }

    /// The same with other rules.
    fn ruled(change: impl FnOnce(&mut Rules)) -> Self {
        let mut rules = open();
        change(&mut rules);
        Self::new(settings(), rules)
    }

    /// The same with other limits.
    fn limited(change: impl FnOnce(&mut Limits)) -> Self {
        let mut settings = settings();
        change(&mut settings.limits);
        Self::new(settings, open())
    }

    /// A GET request.
    fn request(&self, url: &str) -> Request {
        Request::get(target(url), &self.rules)
    }

    async fn fetch(&self, request: Request) -> Result<Answer, FetchError> {
        soon("an answer", self.fetcher.fetch(request)).await
    }

    async fn get(&self, url: &str) -> Result<Answer, FetchError> {
        self.fetch(self.request(url)).await
    }
}

/// A GET request with rules that allow everything.
fn request(url: &str) -> Request {
    static OPEN: LazyLock<Arc<Rules>> = LazyLock::new(|| open().into());
    Request::get(target(url), &OPEN)
}

fn target(url: &str) -> FetchTarget {
    url.parse().expect(url)
}

/// Returns the body of a good answer.
#[track_caller]
fn body(answer: Result<Answer, FetchError>) -> Bytes {
    match answer.expect("an answer") {
        Answer::Body { bytes, .. } => bytes,
        Answer::NotModified => panic!("not modified"),
    }
}

/// Returns the outcome of a failure, and its text after the URL.
#[track_caller]
fn failure(url: &str, answer: Result<Answer, FetchError>) -> (FetchOutcome, String) {
    assert!(FetchOutcome::ALL.contains(&FetchOutcome::of(&answer)));
    let error = answer.expect_err(url);
    let text = error.to_string();
    let shown = target(url).to_string();
    let rest = text.strip_prefix(&format!("{shown}: ")).unwrap_or_else(|| panic!("{text}: not of {shown}"));
    (error.outcome(), rest.to_owned())
}

/// Fetches from a server with this answer.
async fn failure_of(bytes: &[u8]) -> (FetchOutcome, String) {
    let server = Server::answering(bytes).await;
    let url = server.url("/");
    failure(&url, Asker::open().get(&url).await)
}
