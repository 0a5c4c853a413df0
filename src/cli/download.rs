//! Downloads a file of objects from a URL.

use crate::documents::MAX_FILE_BYTES;
use crate::fetch::{Allow, Answer, FetchTarget, Fetcher, Guard, Proxies, Request, Rules, Settings};
use http::HeaderValue;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// For a file, including all redirects.
const TIMEOUT: Duration = Duration::from_secs(60);

/// For a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Downloads an https URL. Its own host may have any address, because the user named it. Redirects may not lead to http, or to other
/// hosts that are refused by default.
pub(super) fn download(target: &FetchTarget) -> io::Result<Vec<u8>> {
    let named = target.host().to_string().trim_matches(['[', ']']).parse::<Allow>();
    let guard = Guard { allow: named.into_iter().collect(), opened_by: "naming it in the URL", ..Guard::default() };
    let rules = Rules { guard, connect: CONNECT_TIMEOUT, total: TIMEOUT, body: MAX_FILE_BYTES, ..Rules::default() };
    let name = concat!("outrigger/", env!("CARGO_PKG_VERSION"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let fetcher = Fetcher::new(Settings {
            proxies: Some(Proxies::from_env()),
            user_agent: HeaderValue::from_static(name),
            ..Settings::default()
        });
        fetcher.fetch(Request::get(target.clone(), &Arc::new(rules))).await
    });
    runtime.shutdown_background(); // a name lookup that hangs does not delay the exit
    match answer {
        Ok(Answer::Body { bytes, .. }) => Ok(bytes.into()),
        Ok(Answer::NotModified) => Err(io::Error::other("the server says that it has not changed")),
        Err(error) => Err(io::Error::other(error)),
    }
}
