//! The alerts of the chart and of the documentation are the same.

use serde_json::Value;

use super::{objects, read, rendered};

/// Returns the rows of the table in `docs/operations.md` that begins with this header.
fn rows(header: &str) -> Vec<String> {
    let page = read("docs/operations.md");
    let lines = page.lines().skip_while(|line| !line.starts_with(header)).skip(2);
    lines.take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

fn alerts() -> Vec<Value> {
    let rule = &objects(&rendered(&["--set=metrics.prometheusRule.enabled=true"]))["PrometheusRule/outrigger"];
    rule["spec"]["groups"][0]["rules"].as_array().expect("rules").clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn the_page_has_the_chart_s_alerts() {
    let row = |alert: &Value| {
        let (expr, summary) = (text(&alert["expr"]).replace('|', "\\|"), text(&alert["annotations"]["summary"]));
        let minutes = text(&alert["for"]).trim_end_matches('m');
        let lasting = if minutes.is_empty() { String::new() } else { format!(" for {minutes} min") };
        format!("| `{expr}`{lasting} | {summary} |")
    };
    let expected: Vec<_> = alerts().iter().map(row).collect();
    assert_eq!(rows("| expression"), expected, "manifests/chart/files/alerts.yaml and docs/operations.md differ");
}

#[test]
fn alerts_are_about_metrics_that_there_are_and_have_names_of_their_own() {
    let known = rows("| name | type");
    let mut names = Vec::new();
    for alert in alerts() {
        let expr = text(&alert["expr"]);
        let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics: Vec<_> = words.filter(|word| word.contains('_')).collect();
        assert!(!metrics.is_empty(), "{expr}");
        for metric in metrics {
            let is =
                |row: &String| [format!("`{metric}`"), format!("`{metric}{{")].iter().any(|name| row.contains(name));
            assert!(known.iter().any(is), "{expr}: {metric} is none");
            // Other programs have these metrics too.
            let of_us = metric.starts_with("outrigger_") || metric == "process_max_fds";
            assert!(of_us || expr.contains("container=\"outrigger\""), "{expr}: of any program");
        }
        names.push(text(&alert["alert"]).to_owned());
    }
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}
