//! How the demo prints a Pod: its containers before and after, and the SidecarSet of each new part.

use super::example::Example;
use crate::api::keys;
use crate::cli::output::Paint;
use crate::injection::Snapshot;
use serde_json::Value;
use std::io::{self, Write};

/// Prints a Pod's containers before and after, with the set that added each one.
pub(super) fn pod(
    out: &mut impl Write,
    paint: Paint,
    sets: &Snapshot,
    example: &Example,
    after: &Value,
    warnings: &[String],
) -> io::Result<()> {
    let (what, before) = (&example.what, &example.pod);
    writeln!(out, "{}", paint.bold(what))?;
    if before == after {
        return writeln!(out, "  {}\n", paint.dim("no SidecarSet matches"));
    }
    let listed = after["metadata"]["annotations"][keys::INJECTED_LIST].as_str().unwrap_or_default();
    let set_of = |container: &str| {
        let set = sets.sets().find(|set| {
            listed.split(',').any(|name| name == set.name)
                && set.content.container_names().any(|name| name == container)
        });
        set.map(|set| set.name.as_str()).unwrap_or_default()
    };
    for (list, title) in [("initContainers", "init containers"), ("containers", "containers")] {
        let (before, after) = (&before["spec"][list], &after["spec"][list]);
        if after.is_null() {
            continue;
        }
        let known = names(before);
        let line = names(after)
            .into_iter()
            .map(|name| if known.contains(&name) { name } else { paint.green(&format!("+{name}")) });
        writeln!(out, "  {title}: {}", line.collect::<Vec<_>>().join(" "))?;
        for container in after.as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default();
            if !known.iter().any(|known| known == name) {
                let native = if container["restartPolicy"] == "Always" && list == "initContainers" {
                    ", a native sidecar"
                } else {
                    ""
                };
                let set = set_of(name);
                let image = container["image"].as_str().unwrap_or_default();
                writeln!(out, "    {} {image}{native}, by SidecarSet {set}", paint.green(&format!("+ {name}")))?;
                for line in details(container) {
                    writeln!(out, "        {}", paint.dim(&line))?;
                }
            }
        }
    }
    for (list, title) in [("volumes", "volume"), ("imagePullSecrets", "image pull secret")] {
        let known = names(&before["spec"][list]);
        for name in names(&after["spec"][list]).into_iter().filter(|name| !known.contains(name)) {
            writeln!(out, "    {}", paint.green(&format!("+ {title} {name}")))?;
        }
    }
    for warning in warnings {
        writeln!(out, "    {}", paint.yellow(&format!("warning: {warning}")))?;
    }
    writeln!(out)
}

/// Returns details of a container, one on each line: its mounts, variables and resources.
fn details(container: &Value) -> Vec<String> {
    let texts = |list: &str, key: &str| {
        let items = container[list].as_array().into_iter().flatten();
        items.filter_map(|item| item[key].as_str()).collect::<Vec<_>>()
    };
    let mut variables = texts("env", "name");
    variables.retain(|name| *name != keys::IS_INJECTED);
    let listed = [("mounts", texts("volumeMounts", "mountPath")), ("variables", variables)];
    let mut lines: Vec<String> = listed
        .into_iter()
        .filter(|(_, items)| !items.is_empty())
        .map(|(title, items)| format!("{title} {}", items.join(", ")))
        .collect();
    for part in ["limits", "requests"] {
        let amounts = container["resources"][part].as_object().into_iter().flatten();
        let amounts: Vec<_> =
            amounts.map(|(resource, amount)| format!("{resource} {}", amount.as_str().unwrap_or_default())).collect();
        if !amounts.is_empty() {
            lines.push(format!("{part} {}", amounts.join(", ")));
        }
    }
    lines
}

fn names(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(|item| item["name"].as_str()).map(str::to_owned).collect()
}
