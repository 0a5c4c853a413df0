//! Options for objects and files, each with its own agent, and with the same objects.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use outrigger_testbed::{Case, TestNamespace, free_port};
use serde_json::{Value, json};

use super::{Agent, LABEL, command, config_map, delete, manifest, program, put, rights, tree};
use crate::outrigger::PATIENCE;

/// The kubeconfig, the variables, and the resulting files.
type Expected<'e> = (&'e Path, &'e [(&'e str, &'e str)], Vec<String>);

/// Creates the objects that all agents can follow.
async fn objects(own: &TestNamespace, other: &TestNamespace) -> Result<()> {
    let of = own.name();
    let in_folder = |name: &str, folder: &str, data: Value| {
        let mut object = config_map(of, name, &data);
        object["metadata"]["annotations"] = json!({"k8s-sidecar-target-directory": folder});
        object
    };
    put(own, &config_map(of, "a", &json!({"one.json": "1", "two.txt": "2"}))).await?;
    let mut binary = config_map(of, "binary", &json!({}));
    binary["binaryData"] = json!({"blob": "AAECZm9v"});
    put(own, &binary).await?;
    put(own, &in_folder("folder", "sub", json!({"three.json": "3"}))).await?;
    put(own, &in_folder("outside", "../../outside", json!({"out.json": "out"}))).await?;
    put(own, &in_folder("absolute", "/etc/outrigger", json!({"out.json": "out"}))).await?;
    let mut named = config_map(of, "named", &json!({"named.json": "n"}));
    named["metadata"]["labels"] = json!({});
    put(own, &named).await?;
    let secret = json!({"metadata": {"name": "s", "labels": {LABEL: of}}, "data": {"password.json": "c2VjcmV0"}});
    own.api::<Secret>().create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
    put(other, &config_map(of, "d", &json!({"one.json": "other"}))).await
}

/// Permissions for these verbs on these ConfigMaps only, or on all if none is named.
async fn narrow<W>(case: &Case<W>, account: &str, verbs: &[&str], names: &[&str]) -> Result<PathBuf> {
    let metadata = json!({"name": account});
    let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs, "resourceNames": names});
    let reference = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account});
    let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": case.namespace.name()});
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata, "roleRef": reference, "subjects": [subject]},
    ]});
    case.namespace.apply(&objects.to_string()).await?;
    case.plane.kubeconfig_of(case.namespace.name(), account).await
}

/// Returns the files of an agent that runs once.
async fn once<W>(
    case: &Case<W>,
    program: &Path,
    kubeconfig: &Path,
    args: &[&str],
    variables: &[(&str, &str)],
) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let mut command = command(program, kubeconfig, folder.path(), free_port()?);
    command.args(args).envs(variables.iter().copied());
    let ended = case.plane.spawn(&command)?.ended(PATIENCE).await?;
    ensure!(ended.success(), "{variables:?}: {ended}");
    tree(folder.path())
}

/// Which objects are selected, by label, name, kind, namespace and method, and which files they become.
pub async fn each_option_selects_names_and_places_files<W>(case: Case<W>) -> Result<()> {
    let (plane, own) = (&*case.plane, &case.namespace);
    let other = plane.namespace("file_sync_other").await?;
    let kubeconfig = rights(&case).await?;
    let subject = |namespace: &str| format!("- kind: ServiceAccount\n  name: outrigger-sync\n  namespace: {namespace}");
    other.apply(&manifest(other.name())?.replace(&subject(other.name()), &subject(own.name()))).await?;
    objects(own, &other).await?;
    let by_name = narrow(&case, "by-name", &["get", "list", "watch"], &["named", "a"]).await?;
    let without_watch = narrow(&case, "without-watch", &["get", "list"], &[]).await?;
    let admin = plane.kubeconfig().to_owned();

    let (n, o) = (own.name(), other.name());
    let both = format!("{n}, {o}");
    let within = format!("in (nobody,{n})");
    let unique = |kind: &str, name: &str, key: &str, value: &str| format!("namespace_{n}.{kind}_{name}.{key}={value}");
    let blob = "blob=\0\u{1}\u{2}foo";
    let plain = [blob, "one.json=1", "sub/three.json=3", "two.txt=2"].map(str::to_owned).to_vec();
    let start = async |kubeconfig: &Path, variables: &[(&str, &str)], expected: Vec<String>| -> Result<Agent> {
        let all = [&[("NAMESPACE", n), ("LABEL_VALUE", n), ("LOG_LEVEL", "WARN")][..], variables].concat();
        let agent = Agent::start(plane, kubeconfig, &all).await?;
        agent.is(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        Ok(agent)
    };
    let text = |files: &[&str]| files.iter().map(ToString::to_string).collect::<Vec<_>>();
    let agents: [Expected; 9] = [
        (&kubeconfig, &[], plain.clone()),
        (&kubeconfig, &[("NAMESPACE", both.as_str())], plain.clone()),
        (
            &by_name,
            &[("RESOURCE_NAME", "named, configmap/a, secret/s")],
            text(&["named.json=n", "one.json=1", "two.txt=2"]),
        ),
        (&without_watch, &[("METHOD", "SLEEP"), ("SLEEP_TIME", "1")], plain.clone()),
        (&kubeconfig, &[("RESOURCE", "secret"), ("LABEL_VALUE", within.as_str())], text(&["password.json=secret"])),
        (
            &kubeconfig,
            &[("RESOURCE", "both"), ("UNIQUE_FILENAMES", "true"), ("DEFAULT_FILE_MODE", "600")],
            vec![
                unique("configmap", "a", "one.json", "1"),
                unique("configmap", "a", "two.txt", "2"),
                unique("configmap", "binary", "blob", "\0\u{1}\u{2}foo"),
                unique("secret", "s", "password.json", "secret"),
                format!("sub/{}", unique("configmap", "folder", "three.json", "3")),
            ],
        ),
        (
            &kubeconfig,
            &[("NAMESPACE", both.as_str()), ("FOLDER_PER_NAMESPACE", "true")],
            vec![
                format!("{n}/{blob}"),
                format!("{n}/one.json=1"),
                format!("{n}/sub/three.json=3"),
                format!("{n}/two.txt=2"),
                format!("{o}/one.json=other"),
            ],
        ),
        (&admin, &[("NAMESPACE", "ALL")], plain.clone()),
        (&admin, &[("NAMESPACE", "")], plain.clone()),
    ];
    let agents = agents.iter().map(|(kubeconfig, variables, expected)| start(kubeconfig, variables, expected.clone()));
    let agents = try_join_all(agents).await?;
    let [default, two, named, slept, _, unique, ..] = &agents[..] else { unreachable!() };

    let mode = std::fs::metadata(unique.path(&format!("namespace_{n}.secret_s.password.json")))?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    let (_, page) = default.page("/readyz?verbose").await?;
    for words in ["../../outside", "/etc/outrigger"] {
        ensure!(page.contains(words), "what is refused is told: {page}");
    }

    // Agents that run once.
    let folder = tempfile::tempdir()?;
    let gsidecar = folder.path().join("k8s-gsidecar");
    std::os::unix::fs::symlink(program(), &gsidecar)?;
    let selection = [("NAMESPACE", n), ("LABEL_VALUE", n)];
    let listed =
        once(&case, program(), &kubeconfig, &["sync"], &[&selection[..], &[("METHOD", "LIST")]].concat()).await?;
    ensure!(listed == plain, "{listed:?}");
    let slept_once =
        once(&case, &gsidecar, &kubeconfig, &[], &[&selection[..], &[("METHOD", "sleep")]].concat()).await?;
    // An absolute folder is interpreted as one below the folder.
    let expected = ["etc/outrigger/out.json=out", "one.json=1", "sub/three.json=3"];
    ensure!(slept_once == expected, "{slept_once:?}");

    // Changes, a removed label, and a new owner.
    put(own, &config_map(n, "a", &json!({"one.json": "11"}))).await?;
    put(own, &config_map("others", "folder", &json!({"three.json": "3"}))).await?;
    for agent in [default, slept] {
        agent.is(&[blob, "one.json=11"]).await?;
    }
    named.is(&["named.json=n", "one.json=11"]).await?;
    two.is(&[blob, "one.json=11"]).await?;
    delete(own, "a").await?;
    two.is(&[blob, "one.json=other"]).await.context("the next one's")?;
    other.delete().await
}
