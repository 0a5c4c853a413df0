//! The memory of a replica, whatever is posted to it. Anybody who reaches its port can post.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use outrigger::admission::client::Destination;
use outrigger::api::sidecarset::SidecarSet;
use outrigger_testbed::{Case, wait_for};
use serde_json::{Value, json};

use crate::certificates::Certificates;
use crate::creates::{SIDECARSET, pod};
use crate::outrigger::{Outrigger, PATIENCE, Start, install, sets};
use crate::seen;

const MIB: usize = 1024 * 1024;
/// The memory limit of outrigger's container.
const LIMIT: usize = 256 * MIB;

/// Returns the peak memory of a replica's process in bytes.
fn peak(outrigger: &Outrigger) -> Result<usize> {
    memory(outrigger, "VmHWM:")
}

/// Returns a value of `/proc/PID/status` of a replica's process, in bytes.
fn memory(outrigger: &Outrigger, figure: &str) -> Result<usize> {
    let port = format!("--admin-listen=127.0.0.1:{}", outrigger.admin);
    let is_it = |process: &Path| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let mut arguments = line.split(|byte| *byte == 0);
        arguments.next().is_some_and(|program| program.ends_with(b"outrigger"))
            && arguments.any(|arg| arg == port.as_bytes())
    };
    let mut processes = fs::read_dir("/proc")?.filter_map(|entry| Some(entry.ok()?.path()));
    let process = processes.find(|process| is_it(process)).context("no process of outrigger")?;
    let status = fs::read_to_string(process.join("status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_suffix("kB")).context("not there")?;
    Ok(value.trim().parse::<usize>()? * 1024)
}

/// `item,item,…` of about this many bytes.
fn list(item: &str, bytes: usize) -> String {
    let mut list = format!("{item},").repeat(bytes / (item.len() + 1));
    list.pop();
    list
}

fn set(spec: &str) -> String {
    format!(r#"{{"apiVersion":"apps.kruise.io/v1alpha1","kind":"SidecarSet","metadata":{{"name":"s"}},"spec":{spec}}}"#)
}

fn conversion(objects: &str) -> Bytes {
    let head = r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","request":{"uid":"u","desiredAPIVersion":"apps.kruise.io/v1beta1","objects":["#;
    format!("{head}{objects}]}}}}").into()
}

fn admission(group: &str, kind: &str, object: &str) -> Bytes {
    let version = if group.is_empty() { "v1" } else { "v1alpha1" };
    let request = json!({
        "uid": "u", "operation": "CREATE", "namespace": "default", "object": "here",
        "kind": {"group": group, "version": version, "kind": kind},
    });
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    review.to_string().replace("\"here\"", object).into()
}

/// A SidecarSet of a realistic 13 KiB.
fn realistic_set() -> String {
    let env: Vec<Value> = (0..88)
        .map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("https://setting-{n}.example.com/some/path")}))
        .collect();
    let container =
        |n: usize| json!({"name": format!("agent-{n}"), "image": "registry.example.com/agent:1.2.3", "env": env});
    let spec = json!({
        "namespace": "team-a", "selector": {"matchLabels": {"app": "web"}}, "containers": [container(0), container(1)],
        "volumes": [{"name": "config", "configMap": {"name": "agent"}}],
    });
    set(&spec.to_string())
}

/// Posts bodies at the same time, each on its own connection. Returns statuses and sizes of the answers.
async fn post(target: &Destination, path: &str, bodies: Vec<Bytes>) -> Result<Vec<(u16, usize)>> {
    let answers = bodies.into_iter().map(async |body| -> Result<(u16, usize)> {
        let mut client = target.connect().await?;
        // A server that rejects a body may close the connection before the client has written all of it.
        let answer = client.post(path, body).await;
        Ok(answer.map_or((0, 0), |answer| (answer.status.as_u16(), answer.body.len())))
    });
    try_join_all(answers).await
}

/// A body that is posted this many times at once.
struct Attack {
    path: &'static str,
    body: Bytes,
    times: usize,
}

fn attacks() -> Result<Vec<Attack>> {
    let mut attacks = Vec::new();
    let ones = |bytes: usize| set(&format!(r#"{{"x":[{}]}}"#, list("1", bytes)));
    let tiny = set(r#"{"namespace":"a"}"#);
    for objects in [
        ones(16 * MIB),
        list("1", 32 * MIB),
        list(&tiny, 64 * MIB),
        list(&ones(3 * MIB), 32 * MIB),
        set(&format!(r#"{{"{}":1}}"#, "\\u0041".repeat(10 * MIB))),
    ] {
        attacks.push(Attack { path: "/convert", body: conversion(&objects), times: 2 });
    }
    let within = |field: &str, item: &str, bytes: usize| set(&format!(r#"{{"{field}":[{}]}}"#, list(item, bytes)));
    for path in ["/mutate-apps-kruise-io-sidecarset", "/validate-apps-kruise-io-sidecarset"] {
        for object in [
            ones(6 * MIB),
            ones(MIB / 2),
            within("volumes", r#"{"a":{}}"#, MIB),
            within("containers", r#"{"name":"a","x":[1]}"#, MIB),
            within("containers", "{}", MIB / 2),
        ] {
            attacks.push(Attack { path, body: admission("apps.kruise.io", "SidecarSet", &object), times: 6 });
        }
    }
    let matching = serde_json::to_value(pod("p")?)?;
    let with_containers = |item: &str, bytes: usize| {
        let mut pod = matching.clone();
        pod["spec"]["containers"] = "here".into();
        admission("", "Pod", &pod.to_string().replace("\"here\"", &format!("[{}]", list(item, bytes))))
    };
    let labels = format!(r#"{{"metadata":{{"labels":{{{}}}}}}}"#, list(r#""":"""#, 6 * MIB));
    for body in [
        with_containers(r#"{"name":"a"}"#, 6 * MIB + MIB / 2),
        with_containers("{}", 3 * MIB),
        with_containers("{}", MIB),
        with_containers(r#"{"name":"a"}"#, 2 * MIB),
        with_containers(r#"{"name":"a","env":[{}]}"#, 2 * MIB),
        admission("", "Pod", &labels),
    ] {
        attacks.push(Attack { path: "/mutate-pod", body, times: 9 });
    }
    Ok(attacks)
}

/// Bodies made to take much memory are rejected or take turns, and the largest realistic one is answered.
pub async fn whatever_is_posted_a_replica_stays_small(case: Case<()>) -> Result<()> {
    let kubeconfig = install(&case.plane).await?;
    let certificates = Certificates::new()?;
    let start = Start { args: certificates.arguments(), ..Start::with(&kubeconfig) };
    let outrigger = Outrigger::serving(&case.plane, start).await?;
    case.plane.apply(SIDECARSET).await?;
    let target = Destination::new(SocketAddr::from(([127, 0, 0, 1], outrigger.webhook)), &certificates.ca)?;
    let before = peak(&outrigger)?;

    let realistic = realistic_set();
    ensure!((12 * 1024..14 * 1024).contains(&realistic.len()), "{}", realistic.len());
    let many = conversion(&list(&realistic, 5_000 * (realistic.len() + 1)));
    let size = many.len();
    // On a busy machine it arrives too slowly and must be sent again, according to `Retry-After`.
    let answers = wait_for("a long list to be converted", 2 * PATIENCE, async || {
        let answers = post(&target, "/convert", vec![many.clone()]).await?;
        Ok(Some(answers).filter(|answers| answers[0].0 != 503))
    })
    .await?;
    ensure!(answers[0].0 == 200 && answers[0].1 > size, "{answers:?} of {size} bytes");
    eprintln!("a list of {size} bytes: {} MiB, {} before", peak(&outrigger)? / MIB, before / MIB);
    ensure!(peak(&outrigger)? < before + 2 * size + 16 * MIB, "{} of {size} bytes", peak(&outrigger)?);

    let attacks = attacks()?;
    for Attack { path, body, times } in &attacks {
        let answers = post(&target, path, vec![body.clone(); *times]).await?;
        eprintln!("{path}: {} MiB {answers:?}", peak(&outrigger)? / MIB);
    }
    for _ in 0..3 {
        let all = attacks.iter().map(|attack| post(&target, attack.path, vec![attack.body.clone(); attack.times]));
        try_join_all(all).await?;
        eprintln!("all at once: {} MiB", peak(&outrigger)? / MIB);
    }
    let peak = peak(&outrigger)?;
    ensure!(peak <= LIMIT, "outrigger took {} MiB", peak / MIB);
    outrigger.stop().await
}

/// A start with many sets and their revisions, like after each update of outrigger. OpenKruise's manager took 108-113 MB with 1,000
/// sets and 212 MB with 3,000.
pub async fn a_start_beside_many_sets_is_small(case: Case<()>) -> Result<()> {
    const LANES: usize = 8;
    let (plane, kubeconfig) = (&case.plane, install(&case.plane).await?);
    let mut before = 0;
    for (count, limit) in [(0, 50), (1_000, 50), (3_000, 106)] {
        let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
        let begun = Instant::now();
        let lanes = (0..LANES).map(async |lane| -> Result<()> {
            for number in (before + lane..count).step_by(LANES) {
                sets(plane).create(&PostParams::default(), &usual_set(number)?).await?;
            }
            Ok(())
        });
        try_join_all(lanes).await?;
        let created = begun.elapsed();
        let revisions: Api<ControllerRevision> = Api::namespaced(plane.client(), "outrigger-system");
        let all = ListParams::default();
        wait_for("a revision of each set", PATIENCE, async || {
            let revisions = revisions.list_metadata(&all).await?.items;
            let of_sets = revisions.iter().filter(|revision| revision.name_any().starts_with("set-")).count();
            Ok((of_sets == count).then_some(()))
        })
        .await?;
        let loaded = memory(&outrigger, "VmRSS:")?;
        outrigger.stop().await?;

        let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
        // A new leader examines all existing sets before a new one.
        let later = format!("later-{count}");
        seen::apply(plane, &seen::set(&later, "side:1", &json!({}))).await?;
        seen::counts(plane, &later, [0, 0, 0, 0]).await?;
        sets(plane).delete(&later, &DeleteParams::default()).await?;
        // Freed memory is returned to the system half a second later.
        let rss = wait_for(&format!("at most {limit} MB beside {count} sets"), PATIENCE, async || {
            Ok(Some(memory(&outrigger, "VmRSS:")?).filter(|rss| *rss <= limit * 1_000_000))
        })
        .await?;
        let peak = peak(&outrigger)?;
        println!(
            "{count} sets: {} MiB after a start, {} at most, {} before it; {} created in {created:.1?}",
            rss / MIB,
            peak / MIB,
            loaded / MIB,
            count - before
        );
        outrigger.stop().await?;
        before = count;
    }
    Ok(())
}

/// A realistic set.
fn usual_set(number: usize) -> Result<SidecarSet> {
    let env: Vec<Value> =
        (0..4).map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("value-{n}")})).collect();
    let container = json!({
        "name": format!("agent-{number}"), "image": "registry.example.com/agent:1.2.3", "env": env,
        "args": ["--config=/etc/agent/agent.yaml", "--log=info"],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/agent"}],
    });
    let spec = json!({
        "selector": {"matchLabels": {"app": format!("app-{number}")}}, "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "agent"}}],
    });
    Ok(serde_json::from_value(json!({
        "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": format!("set-{number}")}, "spec": spec,
    }))?)
}
