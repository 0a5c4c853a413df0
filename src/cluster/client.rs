//! The connection to the API server: finding it, time limits of calls, and descriptions of its errors.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri, header};
use kube::client::ClientBuilder;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;

use super::calls::{CallLayer, CallObserver, Calls};
use super::causes::chain;
use super::proxy::{self, Proxy, ProxyError};
use super::tunnel;

/// The maximum silence on a connection that is waited on. It is longer than the silence of any watch (60 s, see
/// [`super::watch`]), so it only ends connections that would hang: the rest of an answer that never arrives.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(75);

/// At most 1,000 characters of a message are kept.
const LONGEST_MESSAGE: usize = 1_000;

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// A kubeconfig was given or found, and cannot be used.
    #[error("the kubeconfig cannot be used: {}; correct the file (--kubeconfig, KUBECONFIG or ~/.kube/config) or --context", chain(.0))]
    Kubeconfig(#[source] KubeconfigError),
    /// Neither a kubeconfig nor the environment of a Pod.
    #[error(
        "no cluster found: no kubeconfig ({}), and not in a Pod ({}); set KUBECONFIG, write ~/.kube/config, or run in a Pod with a service account",
        chain(kubeconfig),
        chain(in_cluster)
    )]
    Nowhere {
        /// Why there is no kubeconfig.
        kubeconfig: KubeconfigError,
        /// Why this is not a Pod with a service account.
        in_cluster: InClusterError,
    },
    /// An unusable proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// A configuration from which no client can be created.
    #[error("the configuration of the cluster cannot be used: {}", describe(.0))]
    Unusable(#[source] Box<kube::Error>),
}

/// The cluster to connect to. The default is the kubeconfig's current context, or the own cluster in a Pod.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access<'a> {
    /// The kubeconfig, instead of `KUBECONFIG` and `~/.kube/config`.
    pub kubeconfig: Option<&'a Path>,
    /// The context of the kubeconfig, instead of its current one.
    pub context: Option<&'a str>,
}

/// Returns a client for the cluster, and the URL of the API server. With a kubeconfig it uses the same proxy as kubectl. Nothing is
/// sent yet, so an unreachable cluster is not an error here.
///
/// A call fails if the head of its answer takes longer than `head_timeout`. The limit for a list page is six times as long. Bodies have
/// no limit, so a watch can stay open. A call that the overloaded API server rejects is repeated after the pause it asks for. Other calls
/// are not repeated, because the caller knows better whether and when to retry (a work queue, a watch, an election). The observer sees
/// each call.
///
/// # Errors
/// When there is no configuration, or an unusable one.
pub async fn connect(
    access: Access<'_>,
    head_timeout: Duration,
    observer: Arc<dyn CallObserver>,
) -> Result<(Client, Uri), ClientError> {
    connect_by(access, head_timeout, observer, |_| {}).await
}

/// Like [`connect`], with a configuration that is changed before use.
///
/// # Errors
/// Like [`connect`].
pub async fn connect_by(
    access: Access<'_>,
    head_timeout: Duration,
    observer: Arc<dyn CallObserver>,
    change: impl FnOnce(&mut Config),
) -> Result<(Client, Uri), ClientError> {
    let (mut configuration, proxy) = configuration(access).await?;
    change(&mut configuration);
    let url = configuration.cluster_url.clone();
    if let Some(proxy) = &proxy {
        tracing::info!(proxy = %proxy.url(), "the API server is reached through a proxy");
    }
    let layer = CallLayer::new(head_timeout, observer);
    Ok((client_of(configuration, proxy, &layer)?, url))
}

async fn configuration(access: Access<'_>) -> Result<(Config, Option<Proxy>), ClientError> {
    let kubeconfig = match of_kubeconfig(access).await {
        Ok((config, proxy_url)) => {
            let proxy = Proxy::find(&config.cluster_url, proxy_url.as_deref(), |name| std::env::var(name).ok())?;
            return Ok((config, proxy));
        }
        Err(error) => error,
    };
    let asked_for = access.kubeconfig.is_some()
        || access.context.is_some()
        || std::env::var_os("KUBECONFIG").is_some_and(|paths| !paths.is_empty());
    if asked_for || !is_missing(&kubeconfig) {
        return Err(ClientError::Kubeconfig(kubeconfig));
    }
    let config = Config::incluster().map_err(|in_cluster| ClientError::Nowhere { kubeconfig, in_cluster })?;
    Ok((config, None))
}

/// Returns the configuration from a kubeconfig, and its `proxy-url`.
async fn of_kubeconfig(
    Access { kubeconfig, context }: Access<'_>,
) -> Result<(Config, Option<String>), KubeconfigError> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let kubeconfig = kubeconfig.map_or_else(Kubeconfig::read, Kubeconfig::read_from)?;
    let proxy_url = proxy::of_cluster(&kubeconfig, context).map(str::to_owned);
    Ok((Config::from_custom_kubeconfig(kubeconfig, &options).await?, proxy_url))
}

/// Whether there is no kubeconfig at all, as opposed to a broken one.
fn is_missing(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn client_of(mut config: Config, proxy: Option<Proxy>, layer: &CallLayer) -> Result<Client, ClientError> {
    config.proxy_url = None; // what kube would read from the environment
    config.default_retry = false;
    config.read_timeout = Some(SILENCE_TIMEOUT);
    config.reset_reader_on_write = true;
    let name = concat!("outrigger/", env!("CARGO_PKG_VERSION"));
    config.headers.push((header::USER_AGENT, HeaderValue::from_static(name)));
    let client = match proxy {
        None => ClientBuilder::try_from(config).map(|builder| bounded(builder, layer).build()),
        Some(proxy) => tunnel::stack(&config, proxy).map(|builder| bounded(builder, layer).build()),
    };
    client.map_err(|error| ClientError::Unusable(Box::new(error)))
}

/// Builds a stack with time limits and with retries while the API server is overloaded.
fn bounded<S>(builder: ClientBuilder<S>, layer: &CallLayer) -> ClientBuilder<Calls<S>> {
    builder.with_layer(layer)
}

/// Describes a client error for operators: the API server's message, or the whole chain of causes.
#[must_use]
pub fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => {
            format!("{} ({})", shortened(&status.message), status.code)
        }
        kube::Error::Api(status) => {
            format!("the API server answered {} {}", status.code, status.reason).trim_end().to_owned()
        }
        kube::Error::Service(error) => chain(error.as_ref()),
        error => chain(error),
    }
}

/// Keeps both ends of a long message. The API server quotes the whole rejected value between the field and the reason.
fn shortened(message: &str) -> Cow<'_, str> {
    let start = message.char_indices().nth(LONGEST_MESSAGE / 2).map(|(index, _)| index);
    let end = message.char_indices().nth_back(LONGEST_MESSAGE / 2).map(|(index, _)| index);
    match (start, end) {
        (Some(start), Some(end)) if start < end => format!("{} … {}", &message[..start], &message[end..]).into(),
        _ => message.into(),
    }
}

#[cfg(test)]
mod tests {
    use kube::config::Kubeconfig;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::cluster::calls::HEAD_TIMEOUT;

    async fn version(client: &Client) -> kube::Error {
        client.apiserver_version().await.expect_err("no answer of use")
    }

    #[tokio::test]
    async fn a_refused_call_is_not_repeated_and_says_who_we_are() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = client_of(
            Config::new(format!("http://{address}").parse().expect("a URL")),
            None,
            &CallLayer::new(HEAD_TIMEOUT, Arc::new(())),
        )
        .expect("a client");
        let server = async {
            let (mut connection, _) = listener.accept().await.expect("a connection");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(connection.read_u8().await.expect("a request"));
            }
            let answer = b"HTTP/1.1 503 Unavailable\r\ncontent-length: 4\r\nconnection: close\r\n\r\naway";
            connection.write_all(answer).await.expect("sent");
            String::from_utf8(head).expect("text")
        };
        // A second attempt would find no server and fail with another error.
        let (head, error) = tokio::join!(server, version(&client));
        assert!(head.contains(concat!("user-agent: outrigger/", env!("CARGO_PKG_VERSION"), "\r\n")), "{head}");
        assert_eq!(describe(&error), "away (503)");
    }

    #[tokio::test]
    async fn an_api_server_that_is_not_there_is_told_with_its_cause() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let client = client_of(
            Config::new(format!("https://{address}").parse().expect("a URL")),
            None,
            &CallLayer::new(HEAD_TIMEOUT, Arc::new(())),
        )
        .expect("a client");
        let text = describe(&version(&client).await);
        assert!(text.contains("Connection refused"), "{text}");
        assert_eq!(text.matches("Connection refused").count(), 1, "{text}");
    }

    #[test]
    fn a_message_that_quotes_much_is_cut_in_its_middle() {
        let message = format!("webhooks[0]: Invalid value: {}: too long", "ü".repeat(5_000));
        let short = shortened(&message);
        assert!(short.starts_with("webhooks[0]: Invalid value: ü") && short.ends_with("ü: too long"), "{short}");
        assert!(short.chars().count() < LONGEST_MESSAGE + 10);
        assert_eq!(shortened("as it is"), "as it is");
        let longest = "x".repeat(LONGEST_MESSAGE);
        assert_eq!(shortened(&longest), longest);
    }

    #[test]
    fn only_a_kubeconfig_that_is_not_there_is_missing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        let missing = Kubeconfig::read_from(&path).expect_err("missing");
        assert!(is_missing(&missing), "{missing}");
        std::fs::write(&path, "clusters: 3").expect("written");
        let broken = Kubeconfig::read_from(&path).expect_err("broken");
        assert!(!is_missing(&broken), "{broken}");
        let text = ClientError::Kubeconfig(broken).to_string();
        assert!(text.starts_with("the kubeconfig cannot be used: ") && text.contains("KUBECONFIG"), "{text}");
    }
}
