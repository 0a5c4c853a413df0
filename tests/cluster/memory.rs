//! How much memory a replica takes, whatever is posted to it: anybody who reaches its port can post.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use outrigger::admission::client::Destination;
use outrigger_testbed::Case;
use serde_json::{Value, json};

use crate::certificates::Certificates;
use crate::creates::{SIDECARSET, pod};
use crate::outrigger::{Outrigger, Start, install};

const MIB: usize = 1024 * 1024;
/// What a container that runs outrigger may take.
const LIMIT: usize = 256 * MIB;

/// The most that the process of a replica has taken until now, in bytes.
fn peak(outrigger: &Outrigger) -> Result<usize> {
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
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")).context("no VmHWM")?;
    Ok(peak.trim().parse::<usize>()? * 1024)
}

/// `item,item,…` of about so many bytes.
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

/// A SidecarSet of 13 KiB, as many are.
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

/// Posts bodies at once, each over its own connection; the answers' statuses and sizes.
async fn post(target: &Destination, path: &str, bodies: Vec<Bytes>) -> Result<Vec<(u16, usize)>> {
    let answers = bodies.into_iter().map(async |body| -> Result<(u16, usize)> {
        let mut client = target.connect().await?;
        // A server that refuses a body may close the connection before the client has written all of it.
        let answer = client.post(path, body).await;
        Ok(answer.map_or((0, 0), |answer| (answer.status.as_u16(), answer.body.len())))
    });
    try_join_all(answers).await
}

/// A body that is posted so many times at once.
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

/// Bodies made to take much memory are refused, or take their turn, and the largest that is realistic is answered.
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
    let sets = conversion(&list(&realistic, 5_000 * (realistic.len() + 1)));
    let size = sets.len();
    let answers = post(&target, "/convert", vec![sets]).await?;
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
