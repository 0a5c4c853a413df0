//! Credentials and CAs from Secrets: sent only where the Secret allows it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use outrigger_testbed::Case;
use serde_json::{Value, json};

use super::objects::{GOOD, Objects, every_second, generator};
use crate::certificates::Certificates;
use crate::outrigger::Outrigger;
use crate::web::{Reply, Web};

/// Annotation of a Secret: the hosts that may receive it.
const SEND_TO: &str = "outrigger.dev/send-to";

/// Lets outrigger read the Secrets of the test's namespace, as the manifest describes for one namespace.
async fn allow(case: &Case<Outrigger>) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/rbac/optional/sidecargenerator-secrets.yaml");
    let objects = outrigger::documents::parse("secrets.yaml", &std::fs::read(path)?)?;
    for mut object in objects.into_iter().map(|document| document.value) {
        if object["kind"] == "ClusterRoleBinding" {
            object["kind"] = "RoleBinding".into();
        }
        // Concurrent tests create the same ClusterRole.
        let apply = ["apply", "--server-side", "--force-conflicts", "-n", case.namespace.name(), "-f", "-"];
        case.plane.kubectl(&apply, Some(&object.to_string())).await?.ok()?;
    }
    Ok(())
}

/// Writes a Secret with the hosts that may receive it.
async fn secret(case: &Case<Outrigger>, name: &str, send_to: Option<&str>, data: &[(&str, &str)]) -> Result<()> {
    let annotations = send_to.map(|hosts| json!({SEND_TO: hosts}));
    // Not as `stringData`, which would keep other keys of the Secret.
    let data: BTreeMap<_, _> = data.iter().map(|(key, value)| (*key, STANDARD.encode(value))).collect();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "annotations": annotations}, "data": data,
    });
    let secrets: Api<Secret> = case.namespace.api();
    secrets.patch(name, &PatchParams::apply("outrigger-test").force(), &Patch::Apply(&secret)).await?;
    Ok(())
}

/// Further fields of the spec: these credentials.
fn with(secret: &str) -> Value {
    let mut more = every_second();
    more["auth"] = json!({"secretRef": {"name": secret}});
    more
}

/// Without the permission to read Secrets, the Secret, its consent or usable keys, the condition has the solution, and nothing is
/// sent.
pub async fn a_secret_is_sent_only_where_it_says_itself(case: Case<Outrigger>) -> Result<()> {
    let (web, objects, name) = (Web::http().await?, Objects::of(&case), "guarded");
    let bearer = "Bearer t0p-s3cr3t";
    web.answers("/", move |asked, _| match asked.header("authorization") {
        header if header == bearer => Reply::ok(GOOD),
        _ => Reply::status(401),
    });
    objects.apply(&generator(name, &web.url("/"), &with("token"))).await?;
    let refused = async |words: &[&str]| objects.failed_with(name, "SecretUnusable", words).await;
    refused(&["token", "manifests/rbac/optional/sidecargenerator-secrets.yaml"]).await?;
    allow(&case).await?;
    let waits_for = async |words: &[&str]| {
        objects
            .generator_where(name, &format!("refused for {words:?}"), |generator| {
                let message =
                    super::objects::condition(generator, "Reconciled")["message"].as_str().unwrap_or_default();
                words.iter().all(|word| message.contains(word))
            })
            .await
    };
    waits_for(&["token", "there is no Secret"]).await?;
    let token = [("token", "t0p-s3cr3t")];
    secret(&case, "token", None, &token).await?;
    waits_for(&["token", SEND_TO, &web.host()]).await?;
    secret(&case, "token", Some("elsewhere.example.com, http://127.0.0.1:1"), &token).await?;
    waits_for(&["token", SEND_TO, &web.host()]).await?;
    // This means over TLS.
    secret(&case, "token", Some(&web.host()), &token).await?;
    waits_for(&["token", SEND_TO, &web.url("")]).await?;
    secret(&case, "token", Some(&web.url("")), &[("user", "x")]).await?;
    waits_for(&["token", "username"]).await?;
    assert_eq!(web.count("/"), 0, "asked without credentials");

    secret(&case, "token", Some(&format!("elsewhere.example.com, {}", web.url(""))), &token).await?;
    objects.hosts(name, &["./*", "istio-system/*"]).await?;
    let well = objects.reconciled(name).await?;
    // The next fetch uses a changed Secret.
    secret(&case, "token", Some(&web.url("")), &[("token", "another")]).await?;
    objects.failed_with(name, "FetchFailed", &["401"]).await?;
    for text in [well.to_string(), case.world.log()?, serde_json::to_string(&objects.events(name).await?)?] {
        assert!(!text.contains("t0p-s3cr3t"), "the token is shown: {text}");
    }

    // Nothing of it reaches another origin.
    let other = Web::http().await?;
    other.says("/", GOOD);
    web.replies("/away", Reply::redirect(other.url("/")));
    objects.apply(&generator("redirected", &web.url("/away"), &with("token"))).await?;
    other.asked("/", 1).await?;
    assert_eq!(web.asked("/away", 1).await?.header("authorization"), "Bearer another");
    assert_eq!(other.asked("/", 1).await?.header("authorization"), "");
    Ok(())
}

/// User and password, a client certificate, and a CA.
pub async fn secrets_of_each_kind_work(case: Case<Outrigger>) -> Result<()> {
    let (servers, clients) = (Certificates::new()?, Certificates::new()?);
    let (plain, tls, mutual) =
        (Web::http().await?, Web::https(&servers).await?, Web::https_for(&servers, &clients).await?);
    let objects = Objects::of(&case);
    allow(&case).await?;
    let hosts = [plain.url(""), tls.host(), mutual.host()].join(",");
    let (certificate, key) = (clients.certificate()?, clients.key()?);
    secret(&case, "password", Some(&hosts), &[("username", "shop"), ("password", "p:w")]).await?;
    secret(&case, "identity", Some(&hosts), &[("tls.crt", &certificate), ("tls.key", &key)]).await?;
    let both = [("tls.crt", certificate.as_str()), ("tls.key", key.as_str()), ("token", "with-it")];
    secret(&case, "both", Some(&hosts), &both).await?;
    secret(&case, "broken", Some(&hosts), &[("tls.crt", "no PEM"), ("tls.key", "no PEM")]).await?;
    secret(&case, "ca", None, &[("ca.crt", &servers.ca), ("other", &servers.ca), ("bad", "no PEM")]).await?;

    plain.answers("/", |asked, _| match asked.header("authorization") {
        "Basic c2hvcDpwOnc=" => Reply::ok(GOOD),
        _ => Reply::status(401),
    });
    tls.says("/", GOOD);
    mutual.answers("/", |asked, _| if asked.certificate { Reply::ok(GOOD) } else { Reply::status(403) });
    let auth = |name: &str| json!({"secretRef": {"name": name}});
    for (name, url, more) in [
        ("basic", plain.url("/"), json!({"auth": auth("password")})),
        ("ca", tls.url("/"), json!({"caSecretRef": {"name": "ca"}})),
        ("ca-key", tls.url("/"), json!({"caSecretRef": {"name": "ca", "key": "other"}})),
        ("certificate", mutual.url("/"), json!({"auth": auth("identity"), "caSecretRef": {"name": "ca"}})),
        ("certificate-and-token", mutual.url("/"), json!({"auth": auth("both"), "insecureSkipTLSVerify": true})),
    ] {
        objects.apply(&generator(name, &url, &more)).await?;
        objects.reconciled(name).await?;
    }
    let tokens = mutual.requests("/").into_iter().filter(|asked| asked.header("authorization") == "Bearer with-it");
    ensure!(tokens.count() == 1, "the token did not come along");

    let (secret, fetch) = ("SecretUnusable", "FetchFailed");
    for (name, url, more, reason, words) in [
        ("no-ca", tls.url("/"), json!({"caSecretRef": {"name": "absent"}}), secret, "there is no Secret \"absent\""),
        (
            "no-key",
            tls.url("/"),
            json!({"caSecretRef": {"name": "ca", "key": "missing"}}),
            secret,
            "has no \"missing\"",
        ),
        (
            "bad-ca",
            tls.url("/"),
            json!({"caSecretRef": {"name": "ca", "key": "bad"}}),
            fetch,
            "the CA given cannot be used",
        ),
        (
            "bad-pair",
            mutual.url("/"),
            json!({"auth": auth("broken")}),
            fetch,
            "the client certificate given cannot be used",
        ),
    ] {
        objects.apply(&generator(name, &url, &more)).await?;
        objects.failed_with(name, reason, &[words]).await?;
    }
    let without = json!({"insecureSkipTLSVerify": true});
    objects.apply(&generator("no-certificate", &mutual.url("/"), &without)).await?;
    objects.failed("no-certificate", "FetchFailed").await?;
    Ok(())
}
