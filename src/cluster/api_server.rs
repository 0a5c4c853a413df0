//! All addresses of the API server, for code that must not connect to it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Uri;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::net::lookup_host;
use tokio::time::interval;

use super::feeds::Feeds;
use super::watch::Slice;

/// The Service of the API server, and its own `EndpointSlice`.
const NAME: &str = "kubernetes";

/// Their namespace.
const NAMESPACE: &str = "default";

/// The time between two lookups of the API server's host name.
const RESOLVE_PAUSE: Duration = Duration::from_secs(30);

/// The known addresses, by source.
struct KnownAddresses<F> {
    addresses: Mutex<[BTreeSet<SocketAddr>; 3]>,
    sink: F,
}

/// The source of an address.
#[derive(Clone, Copy)]
enum Source {
    Url,
    Service,
    Endpoints,
}

/// Passes all addresses of the API server to `sink`: at once those known without asking it, and again whenever they change.
/// Never returns, so spawn the future and drop it at shutdown. The sources are
///
/// * the URL by which this process reaches it ([`super::connect`]), resolved every 30 s
/// * `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT` of the environment
/// * the Service `kubernetes` in `default`, and its `EndpointSlice`. This requires `list` and `watch` on both; without them, a
///   message is logged and the other sources are used.
pub fn addresses<F>(feeds: &mut Feeds, url: Uri, sink: F) -> impl Future<Output = ()> + Send + use<F>
where
    F: Fn(BTreeSet<SocketAddr>) + Send + Sync + 'static,
{
    let known = Arc::new(KnownAddresses { addresses: Mutex::default(), sink });
    let told = known.clone();
    feeds.subscribe_one(Slice::all::<Service>("services").in_namespace(NAMESPACE), NAME, move |service| {
        told.tell(Source::Service, service.as_ref().map(of_service).unwrap_or_default());
    });
    let told = known.clone();
    feeds.subscribe_one(Slice::all::<EndpointSlice>("endpointslices").in_namespace(NAMESPACE), NAME, move |slice| {
        told.tell(Source::Endpoints, slice.as_ref().map(of_endpoints).unwrap_or_default());
    });
    async move {
        let (mut ticks, mut of_url) = (interval(RESOLVE_PAUSE), BTreeSet::new());
        loop {
            ticks.tick().await;
            match resolved(&url).await {
                Ok(addresses) => of_url = addresses,
                // The previous addresses are better than none.
                Err(error) => tracing::warn!("the address of the API server cannot be resolved: {error}"),
            }
            known.tell(Source::Url, of_url.iter().copied().chain(of_environment()).collect());
        }
    }
}

impl<F: Fn(BTreeSet<SocketAddr>)> KnownAddresses<F> {
    fn tell(&self, source: Source, new: BTreeSet<SocketAddr>) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses[source as usize] = new;
        (self.sink)(addresses.iter().flatten().copied().collect());
    }
}

async fn resolved(url: &Uri) -> std::io::Result<BTreeSet<SocketAddr>> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("http") { 80 } else { 443 });
    Ok(lookup_host((host, port)).await?.collect())
}

/// Reads the variables that Kubernetes sets in every Pod.
fn of_environment() -> Option<SocketAddr> {
    let value = |name| std::env::var(name).ok();
    let host: IpAddr = value("KUBERNETES_SERVICE_HOST")?.parse().ok()?;
    Some(SocketAddr::new(host, value("KUBERNETES_SERVICE_PORT")?.parse().ok()?))
}

fn of_service(service: &Service) -> BTreeSet<SocketAddr> {
    let Some(spec) = &service.spec else { return BTreeSet::new() };
    let ports = spec.ports.iter().flatten().map(|port| port.port);
    all(spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip).map(String::as_str), ports)
}

fn of_endpoints(slice: &EndpointSlice) -> BTreeSet<SocketAddr> {
    let ports = slice.ports.iter().flatten().filter_map(|port| port.port);
    all(slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses).map(String::as_str), ports)
}

/// Combines each address with each port.
fn all<'a>(addresses: impl Iterator<Item = &'a str>, ports: impl Iterator<Item = i32> + Clone) -> BTreeSet<SocketAddr> {
    let addresses = addresses.filter_map(|address| address.parse::<IpAddr>().ok());
    let ports = ports.filter_map(|port| u16::try_from(port).ok());
    addresses.flat_map(|address| ports.clone().map(move |port| SocketAddr::new(address, port))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::script::Script;
    use crate::cluster::tests::soon;
    use serde_json::json;
    use tokio::sync::mpsc;

    fn set(addresses: &[&str]) -> BTreeSet<SocketAddr> {
        addresses.iter().map(|address| address.parse().expect(address)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_url_the_service_and_the_endpoints_count_together() {
        let (client, mut script) = Script::new();
        let (sender, mut told) = mpsc::unbounded_channel();
        let url = "https://[fd00::7]:6443".parse().expect("a URL");
        let mut feeds = Feeds::new(client);
        let resolving = addresses(&mut feeds, url, move |addresses| drop(sender.send(addresses)));
        let task = tokio::spawn(async move { tokio::join!(resolving, feeds.run()) });
        let first = soon("the addresses of the URL", told.recv()).await.expect("told");
        assert!(first.is_superset(&set(&["[fd00::7]:6443"])), "{first:?}");
        for _ in 0..2 {
            let call = script.list().await;
            assert!(call.target.contains("/namespaces/default/") && call.target.contains("metadata.name%3Dkubernetes"));
            if call.target.contains("endpointslices") {
                let endpoints = json!([{"addresses": ["192.168.0.7", "no address"]}, {"addresses": ["192.168.0.8"]}]);
                let ports = json!([{"name": "https", "port": 6443}, {"name": "none"}]);
                let metadata = json!({"name": "kubernetes", "namespace": "default"});
                let slice =
                    json!({"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": ports});
                call.objects("1", &[slice]);
            } else {
                let spec =
                    json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"], "ports": [{"port": 443}]});
                call.objects("1", &[json!({"metadata": {"name": "kubernetes"}, "spec": spec})]);
            }
            soon("more addresses", told.recv()).await.expect("told");
        }
        let expected =
            set(&["[fd00::7]:6443", "10.0.0.1:443", "[fd00::1]:443", "192.168.0.7:6443", "192.168.0.8:6443"]);
        let all = soon("the next look at the URL", told.recv()).await.expect("told");
        assert!(all.is_superset(&expected), "{all:?}");
        task.abort();
    }

    #[tokio::test]
    async fn a_url_without_a_port_has_that_of_its_scheme() {
        for (url, expected) in [
            ("https://127.0.0.1", "127.0.0.1:443"),
            ("http://127.0.0.1/api", "127.0.0.1:80"),
            ("https://127.0.0.1:6443/prefix", "127.0.0.1:6443"),
        ] {
            assert_eq!(resolved(&url.parse().expect(url)).await.expect(url), set(&[expected]));
        }
    }
}
