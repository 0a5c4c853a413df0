//! The real cert-manager: `certs/cert-manager.yaml`, with renewals as fast as possible.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use outrigger_testbed::{Case, ControlPlane, free_port, wait_for};
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::outrigger::{Outrigger, PATIENCE, Start, install, registered};
use crate::seen;

/// How long Pods are created: a minute in `make faults`.
fn duration() -> Duration {
    Duration::from_secs(if std::env::var_os("OUTRIGGER_LONG").is_some() { 60 } else { 10 })
}

/// The shipped file with both Certificates renewed 2 s after they were signed.
fn renewed_often() -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/cert-manager.yaml");
    let mut certificates = 0;
    let shipped = fs::read_to_string(path)?;
    let lines = shipped.lines().map(|line| {
        if line.starts_with("  duration: ") {
            certificates += 1;
            "  duration: 1h\n  renewBefore: 59m58s\n".to_owned()
        } else {
            format!("{line}\n")
        }
    });
    let yaml = lines.collect();
    ensure!(certificates == 2, "{certificates} Certificates in the file");
    Ok(yaml)
}

/// Returns how many times a Certificate was signed.
async fn revision(plane: &ControlPlane, certificate: &str) -> Result<u64> {
    let get =
        format!("get certificates.cert-manager.io {certificate} -n outrigger-system -o jsonpath={{.status.revision}}");
    let arguments: Vec<_> = get.split(' ').collect();
    Ok(plane.kubectl(&arguments, None).await?.ok()?.parse()?)
}

/// Writes a Secret into a folder like the kubelet: all files change at once.
fn mount(secret: &Secret, folder: &Path) -> Result<()> {
    let version = secret.resource_version().context("no resourceVersion")?;
    let content = format!("..{version}");
    fs::create_dir(folder.join(&content))?;
    for (name, bytes) in secret.data.iter().flatten() {
        fs::write(folder.join(&content).join(name), &bytes.0)?;
        if !folder.join(name).is_symlink() {
            symlink(Path::new("..data").join(name), folder.join(name))?;
        }
    }
    let (new, data) = (folder.join("..data_tmp"), folder.join("..data"));
    let before = fs::read_link(&data).ok();
    symlink(&content, &new)?;
    fs::rename(&new, &data)?;
    if let Some(before) = before {
        fs::remove_dir_all(folder.join(before))?;
    }
    Ok(())
}

/// Updates the folder from the Secret until it is stopped.
fn keep_mounted(secrets: Api<Secret>, first: Secret, folder: &Path, stop: Arc<AtomicBool>) -> JoinHandle<Result<()>> {
    let (mut mounted, folder) = (first, folder.to_owned());
    tokio::spawn(async move {
        let mut ticks = interval(Duration::from_millis(100));
        while !stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            let secret = secrets.get("outrigger-webhook-tls").await?;
            if secret.data != mounted.data {
                mount(&secret, &folder)?;
                mounted = secret;
            }
        }
        Ok(())
    })
}

/// Returns who wrote a `caBundle` into an object.
fn writers_of_bundles(fields: Option<&[ManagedFieldsEntry]>) -> Vec<String> {
    let wrote = |entry: &&ManagedFieldsEntry| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0.to_string().contains("\"f:caBundle\""))
    };
    let entries = fields.unwrap_or_default().iter().filter(wrote);
    entries.map(|entry| entry.manager.clone().unwrap_or_default()).collect()
}

/// Returns the bundle of the Pods' webhook. All bundles that outrigger registers belong to cert-manager alone. Outrigger owns them
/// too only until the first renewal, because it gives a new webhook the bundle of the existing ones.
async fn bundle(plane: &ControlPlane) -> Result<Vec<String>> {
    let mutating = Api::<MutatingWebhookConfiguration>::all(plane.client()).get("outrigger-mutating").await?;
    let validating = Api::<ValidatingWebhookConfiguration>::all(plane.client()).get("outrigger-validating").await?;
    let crd = Api::<CustomResourceDefinition>::all(plane.client()).get("sidecarsets.apps.kruise.io").await?;
    for metadata in [&mutating.metadata, &validating.metadata, &crd.metadata] {
        let writers = writers_of_bundles(metadata.managed_fields.as_deref());
        ensure!(
            writers == ["cert-manager-cainjector"],
            "the caBundles of {:?} are written by {writers:?}",
            metadata.name
        );
    }
    trusted(plane).await
}

/// Returns the CAs in PEM that all webhooks' bundles contain.
async fn trusted(plane: &ControlPlane) -> Result<Vec<String>> {
    let mutating = Api::<MutatingWebhookConfiguration>::all(plane.client()).get("outrigger-mutating").await?;
    let validating = Api::<ValidatingWebhookConfiguration>::all(plane.client()).get("outrigger-validating").await?;
    let crd = Api::<CustomResourceDefinition>::all(plane.client()).get("sidecarsets.apps.kruise.io").await?;
    let mutating = mutating.webhooks.into_iter().flatten().map(|webhook| webhook.client_config.ca_bundle);
    let validating = validating.webhooks.into_iter().flatten().map(|webhook| webhook.client_config.ca_bundle);
    let conversion = crd.spec.conversion.and_then(|conversion| conversion.webhook?.client_config?.ca_bundle);
    let mut all = Vec::new();
    for bundle in mutating.chain(validating).chain([conversion]) {
        let pem = String::from_utf8(bundle.context("no caBundle")?.0)?;
        all.extend(pem.split_inclusive("-----END CERTIFICATE-----").map(|ca| ca.trim().to_owned()));
    }
    all.retain(|ca| !ca.is_empty());
    Ok(all)
}

/// Pods are created at 20 a second while CA and certificate are renewed every 2 s, each time with another CA for the API server.
/// No Pod is rejected or left without its sidecar.
pub async fn certificates_that_cert_manager_renews_cost_no_pod(case: Case<()>) -> Result<()> {
    let plane = &case.plane;
    plane.start_cert_manager().await?;
    let kubeconfig = install(plane).await?;
    for name in ["outrigger-webhook", "outrigger-conversion"] {
        let create =
            ["create", "service", "externalname", name, "--external-name=localhost", "--namespace=outrigger-system"];
        plane.kubectl(&create, None).await?.ok()?;
    }
    plane.kubectl(&["apply", "-f", "-"], Some(&renewed_often()?)).await?.ok()?;
    let secrets: Api<Secret> = Api::namespaced(plane.client(), "outrigger-system");
    let first = wait_for("the Secret with the certificate", PATIENCE, async || {
        Ok(secrets.get_opt("outrigger-webhook-tls").await?)
    })
    .await?;
    let folder = tempfile::tempdir()?;
    mount(&first, folder.path())?;
    let stop = Arc::new(AtomicBool::new(false));
    let mounted = keep_mounted(secrets, first, folder.path(), stop.clone());

    // Before, it had its own CA.
    let (webhook, admin) = (free_port()?, free_port()?);
    let args = vec![format!("--service-port={webhook}")];
    let self_managed = Outrigger::start_at(plane, Start { args, ..Start::with(&kubeconfig) }, webhook, admin)?;
    self_managed.ready().await?;
    registered(plane).await?;
    let own = wait_for("its own CA to be trusted", PATIENCE, async || Ok(Some(trusted(plane).await?))).await?;
    self_managed.stop().await?;
    let args = vec![
        format!("--service-port={webhook}"),
        "--certificates=cert-manager".to_owned(),
        "--certificate-times=60,30,0".to_owned(),
        format!("--tls-dir={}", folder.path().display()),
    ];
    let outrigger = Outrigger::start_at(plane, Start { args, ..Start::with(&kubeconfig) }, webhook, admin)?;
    outrigger.ready().await?;
    registered(plane).await?;
    seen::apply(plane, &seen::set("renewed", "side:1", &json!({}))).await?;
    seen::injects(&case.namespace, "renewed", Some("side:1")).await?;

    let before = [revision(plane, "outrigger-ca").await?, revision(plane, "outrigger-webhook").await?];
    let bundle_before = wait_for("the caBundles to be cert-manager's", PATIENCE, async || {
        let bundle = bundle(plane).await?;
        ensure!(own.iter().all(|own| !bundle.contains(own)), "outrigger's own CA is still trusted");
        Ok(Some(bundle))
    })
    .await?;
    let load = tokio::spawn({
        let (pods, stop) = (case.namespace.api::<Pod>(), stop.clone());
        async move {
            let mut ticks = interval(Duration::from_millis(50));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let dry = PostParams { dry_run: true, ..PostParams::default() };
            let mut requests = JoinSet::new();
            while !stop.load(Ordering::Relaxed) {
                ticks.tick().await;
                let (pods, dry) = (pods.clone(), dry.clone());
                requests.spawn(async move {
                    let pod = pods.create(&dry, &seen::pod("p", "renewed", &json!({}))?).await?;
                    ensure!(seen::sidecar(&pod).is_some(), "not injected");
                    Ok(())
                });
            }
            requests.join_all().await
        }
    });
    let started = Instant::now();
    let taken = "outrigger_certificate_renewals_total{type=\"serving\",result=\"success\"}";
    let renewed = wait_for("certificates to be renewed", duration() + PATIENCE, async || {
        let now = [revision(plane, "outrigger-ca").await?, revision(plane, "outrigger-webhook").await?];
        let [ca, leaf] = [now[0] - before[0], now[1] - before[1]];
        let now_trusted = bundle(plane).await?;
        ensure!(now_trusted != bundle_before, "the API server trusts the CA from before");
        ensure!(own.iter().all(|own| !now_trusted.contains(own)), "outrigger's own CA came back");
        let used = outrigger.metric(taken).await?;
        ensure!(ca >= 3 && leaf >= 3 && used >= 1, "CA {ca}, leaf {leaf}, of which used {used}");
        Ok((started.elapsed() >= duration()).then_some([ca, leaf, used]))
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let (results, seconds) = (load.await?, started.elapsed().as_secs_f64());
    mounted.await??;
    let all = results.len();
    let failed: Vec<_> = results.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    let [ca, leaf, used] = renewed?;
    println!("{all} Pods in {seconds:.1} s; renewed: the CA {ca}, the leaf {leaf} times, of which {used} were used");
    ensure!(failed.is_empty(), "{} of {all} failed: {}", failed.len(), failed.join("\n"));
    ensure!(all >= 150, "only {all} Pods");
    let errors = outrigger.metric("outrigger_certificate_renewals_total{type=\"serving\",result=\"error\"}").await?;
    ensure!(errors == 0, "{errors} certificates could not be used");
    outrigger.stop().await
}
