//! Certificates that outrigger manages itself: replicas agree on a CA, and it is renewed while reviews continue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use outrigger::admission::client::Destination;
use outrigger::api::keys;
use outrigger_testbed::{Case, ControlPlane, wait_for};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd};
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::balancer::Balancer;
use crate::outrigger::{Outrigger, PATIENCE, Start, install, sets};

const SECRET: &str = "outrigger-webhook-ca";

/// A CA for an hour, leaf certificates for 6 s, and 1 s between announcement and switch.
const TIMES: &str = "--certificate-times=3600,6,1";

fn secrets(plane: &ControlPlane) -> Api<Secret> {
    Api::namespaced(plane.client(), "outrigger-system")
}

fn field(secret: &Secret, name: &str) -> Result<String> {
    let bytes = &secret.data.as_ref().and_then(|data| data.get(name)).with_context(|| format!("no {name}"))?.0;
    Ok(String::from_utf8(bytes.clone())?)
}

fn certificates(pem: &str) -> usize {
    pem.matches("BEGIN CERTIFICATE").count()
}

/// Returns the registered bundle for the webhook of SidecarSets.
async fn registered_bundle(plane: &ControlPlane) -> Result<String> {
    let configuration = Api::<MutatingWebhookConfiguration>::all(plane.client()).get("outrigger-mutating").await?;
    let webhook = configuration.webhooks.and_then(|webhooks| webhooks.into_iter().next()).context("no webhook")?;
    Ok(String::from_utf8(webhook.client_config.ca_bundle.context("no caBundle")?.0)?)
}

/// Starts two replicas at the same time behind one address.
async fn two_replicas(case: &Case<()>, args: &[&str]) -> Result<[Outrigger; 2]> {
    let kubeconfig = install(&case.plane).await?;
    let balancer = Balancer::start().await?;
    let args = args.iter().map(ToString::to_string).collect();
    let start = Start { url: Some(balancer.url.clone()), args, ..Start::with(&kubeconfig) };
    balancer.pair(&case.plane, start).await
}

/// There is one CA, whichever replica was first, and the API server trusts both replicas through it.
pub async fn replicas_that_start_at_once_agree_on_one_ca(case: Case<()>) -> Result<()> {
    let replicas = two_replicas(&case, &[]).await?;
    let secret = secrets(&case.plane).get(SECRET).await?;
    let bundle = field(&secret, "ca.crt")?;
    ensure!(certificates(&bundle) == 1, "{bundle}");
    ensure!(bundle == field(&secret, "tls.crt")?, "the CA that signs is not the one to trust");
    ensure!(registered_bundle(&case.plane).await? == bundle, "another bundle is registered");
    let crds = Api::<CustomResourceDefinition>::all(case.plane.client());
    // Registered after the webhooks.
    let client = wait_for("the conversion to be registered", PATIENCE, async || {
        let conversion = crds.get("sidecarsets.apps.kruise.io").await?.spec.conversion;
        Ok(conversion.and_then(|conversion| conversion.webhook?.client_config))
    })
    .await?;
    ensure!(client.ca_bundle.context("no caBundle")?.0 == bundle.as_bytes(), "another bundle converts");
    for replica in &replicas {
        Destination::new(([127, 0, 0, 1], replica.webhook).into(), &bundle)?.connect().await?;
        let metric = "outrigger_certificate_expiration_timestamp_seconds";
        let (ca, leaf) = (
            replica.metric(&format!("{metric}{{type=\"ca\"}}")).await?,
            replica.metric(&format!("{metric}{{type=\"serving\"}}")).await?,
        );
        ensure!(ca > leaf && leaf > 0, "the CA ends at {ca}, the leaf at {leaf}");
    }
    wait_for("the leader to see that all trust it", PATIENCE, async || {
        let mut in_sync = 0;
        for replica in &replicas {
            for name in ["outrigger-mutating", "outrigger-validating", "sidecarsets.apps.kruise.io"] {
                in_sync += replica.metric(&format!("outrigger_cabundle_in_sync{{webhook=\"{name}\"}}")).await?;
            }
        }
        ensure!(in_sync == 3, "{in_sync} of 3");
        Ok(Some(()))
    })
    .await
}

/// Continuous calls: by the API server, which writes SidecarSets, and on new connections to each replica with the currently
/// registered bundle.
struct Calls {
    stop: Arc<AtomicBool>,
    written: JoinHandle<Result<usize>>,
    connected: JoinHandle<Result<usize>>,
}

impl Calls {
    fn start(plane: &Arc<ControlPlane>, ports: [u16; 2]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let written = tokio::spawn({
            let (sets, stop) = (sets(plane), stop.clone());
            async move {
                let (mut ticks, mut written) = (interval(Duration::from_millis(20)), 0);
                let params = PatchParams { dry_run: true, ..PatchParams::apply("outrigger-test") };
                while !stop.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    let set = json!({
                        "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "again-and-again"},
                        "spec": {"selector": {"matchLabels": {"app": "a"}}, "containers": [{"name": "c", "image": "x:1"}]},
                    });
                    let set = sets.patch("again-and-again", &params, &Patch::Apply(&set)).await?;
                    ensure!(set.annotations().contains_key(keys::HASH), "not reviewed");
                    written += 1;
                }
                Ok(written)
            }
        });
        let connected = tokio::spawn({
            let (plane, stop) = (plane.clone(), stop.clone());
            async move {
                let (mut ticks, mut connected) = (interval(Duration::from_millis(50)), 0);
                while !stop.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    let bundle = registered_bundle(&plane).await?;
                    for port in ports {
                        let target = Destination::new(([127, 0, 0, 1], port).into(), &bundle)?;
                        target.connect().await.with_context(|| format!("with {} CAs", certificates(&bundle)))?;
                        connected += 1;
                    }
                }
                Ok(connected)
            }
        });
        Self { stop, written, connected }
    }

    /// Asserts that none failed, and that there were enough.
    async fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let (written, connected) = (self.written.await??, self.connected.await??);
        ensure!(written > 50 && connected > 50, "{written} written, {connected} connected");
        Ok(())
    }
}

/// A CA that somebody writes to the Secret, expired or valid, is replaced by the previous one. If the Secret is deleted, there is a
/// new CA. No call fails in between.
pub async fn a_replaced_or_deleted_ca_comes_back_and_is_renewed_and_no_review_fails(case: Case<()>) -> Result<()> {
    let replicas = two_replicas(&case, &[TIMES]).await?;
    let before = field(&secrets(&case.plane).get(SECRET).await?, "tls.crt")?;
    let calls = Calls::start(&case.plane, [replicas[0].webhook, replicas[1].webhook]);
    let secrets = secrets(&case.plane);
    for not_after in [(2020, 1, 1), (2036, 1, 1)] {
        let (certificate, key) = foreign_ca(not_after)?;
        let data = [("tls.crt", &certificate), ("ca.crt", &certificate), ("tls.key", &key)];
        let data: Map<String, Value> =
            data.into_iter().map(|(name, pem)| (name.to_owned(), STANDARD.encode(pem).into())).collect();
        secrets.patch(SECRET, &PatchParams::default(), &Patch::Merge(&json!({"data": data}))).await?;
        wait_for("the CA from before to be stored again", PATIENCE, async || {
            Ok((field(&secrets.get(SECRET).await?, "tls.crt")? == before).then_some(()))
        })
        .await?;
    }
    secrets.delete(SECRET, &DeleteParams::default()).await?;
    let renewed = async {
        wait_for("another CA, and no other one to trust", PATIENCE, async || {
            let secret = secrets.get(SECRET).await?;
            let (signing, bundle) = (field(&secret, "tls.crt")?, field(&secret, "ca.crt")?);
            ensure!(signing != before, "the CA from before signs");
            ensure!(signing == bundle, "{} CAs are trusted", certificates(&bundle));
            ensure!(registered_bundle(&case.plane).await? == bundle, "not yet registered");
            Ok(Some(()))
        })
        .await
    };
    renewed.await?;
    calls.end().await?;
    for replica in &replicas {
        let renewals =
            replica.metric("outrigger_certificate_renewals_total{type=\"serving\",result=\"success\"}").await?;
        ensure!(renewals >= 3, "{renewals} leaves");
        let errors = replica.metric("outrigger_certificate_renewals_total{type=\"serving\",result=\"error\"}").await?;
        ensure!(errors == 0, "{errors} errors");
    }
    Ok(())
}

/// A Secret filled with garbage is rewritten by replicas that know its content. If there are none left, a new CA is created.
pub async fn garbage_in_the_secret_is_replaced(case: Case<()>) -> Result<()> {
    let replicas = two_replicas(&case, &[TIMES]).await?;
    let secrets = secrets(&case.plane);
    let spoil = async || {
        let garbage = json!({"data": {"tls.crt": STANDARD.encode("garbage"), "tls.key": STANDARD.encode("garbage")}});
        secrets.patch(SECRET, &PatchParams::default(), &Patch::Merge(&garbage)).await
    };
    let first = field(&secrets.get(SECRET).await?, "tls.crt")?;
    spoil().await?;
    wait_for("the CA to be stored again", PATIENCE, async || {
        let bundle = field(&secrets.get(SECRET).await?, "ca.crt")?;
        ensure!(bundle.contains(&first), "it is not trusted");
        Ok((field(&secrets.get(SECRET).await?, "tls.crt")? != STANDARD.encode("garbage")).then_some(()))
    })
    .await?;

    for replica in replicas {
        replica.stop().await?;
    }
    spoil().await?;
    let kubeconfig = case.plane.kubeconfig_of("outrigger-system", "outrigger").await?;
    let replica = Outrigger::serving(&case.plane, Start::with(&kubeconfig)).await?;
    let bundle = field(&secrets.get(SECRET).await?, "ca.crt")?;
    Destination::new(([127, 0, 0, 1], replica.webhook).into(), &bundle)?.connect().await?;
    Ok(())
}

/// A CA that ends on this day.
fn foreign_ca((year, month, day): (i32, u8, u8)) -> Result<(String, String)> {
    let mut params = CertificateParams::new(Vec::new())?;
    (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(year, month, day));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// With cert-manager, outrigger names the CA's Certificate and writes no bundle. Without it, the name is removed.
pub async fn with_cert_manager_no_bundle_is_written(case: Case<()>) -> Result<()> {
    let kubeconfig = install(&case.plane).await?;
    let files = crate::certificates::Certificates::new()?;
    let mut args = files.arguments();
    args.push("--certificates=cert-manager".to_owned());
    let start = Start { args, ..Start::with(&kubeconfig) };
    let replica = Outrigger::start(&case.plane, start)?;
    replica.ready().await?;
    let configurations = Api::<MutatingWebhookConfiguration>::all(case.plane.client());
    let crds = Api::<CustomResourceDefinition>::all(case.plane.client());
    let annotated = async |expected: Option<&str>| {
        wait_for("the annotation", PATIENCE, async || {
            let configuration = configurations.get("outrigger-mutating").await?;
            let crd = crds.get("sidecarsets.apps.kruise.io").await?;
            for annotations in [configuration.annotations(), crd.annotations()] {
                let found = annotations.get(keys::INJECT_CA_FROM).map(String::as_str);
                ensure!(found == expected, "{found:?}");
            }
            let conversion = crd.spec.conversion.and_then(|conversion| conversion.webhook?.client_config);
            ensure!(conversion.is_some(), "no conversion yet");
            let bundles = configuration.webhooks.into_iter().flatten().map(|webhook| webhook.client_config.ca_bundle);
            Ok(Some(bundles.chain([conversion.and_then(|client| client.ca_bundle)]).flatten().count()))
        })
        .await
    };
    ensure!(annotated(Some("outrigger-system/outrigger-webhook")).await? == 0, "a bundle was written");
    replica.stop().await?;
    let start = Start { args: files.arguments(), ..Start::with(&kubeconfig) };
    let _replica = Outrigger::serving(&case.plane, start).await?;
    ensure!(annotated(None).await? > 0, "no bundle was written");
    Ok(())
}
