//! `outrigger check`: faults of the mesh that files describe.

use crate::harness::{Files, Output, command, run};
use serde_json::Value;
use std::path::Path;

fn check(args: &[&str]) -> Output {
    let mut command = command(["check"]);
    run(command.args(args).current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))), "")
}

/// The findings, as `CODE resource`.
fn codes(output: &str) -> Vec<String> {
    let list: Vec<Value> = serde_json::from_str(output).expect("a list");
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
    list.iter().map(|finding| format!("{} {}", text(finding, "code"), text(finding, "resource"))).collect()
}

#[test]
fn the_broken_example_has_its_faults_and_the_fixed_one_none() {
    let broken = check(&["examples/mesh/broken", "-o", "json"]);
    assert_eq!(broken.code, 1);
    assert_eq!(
        codes(&broken.stdout),
        [
            "KIA0701 Service/shop/web",
            "IST0101 VirtualService/shop/web",
            "IST0101 VirtualService/shop/web",
            "IST0106 VirtualService/shop/web",
            "IST0101 VirtualService/shop/web",
            "IST0101 VirtualService/shop/web",
            "IST0173 DestinationRule/shop/web",
            "KIA1004 Sidecar/shop/default",
        ]
    );
    let fixed = check(&["examples/mesh/fixed"]);
    assert_eq!((fixed.code, fixed.stdout.as_str()), (0, "no findings\n"));
}

#[test]
fn findings_are_chosen_by_severity_code_and_annotation() {
    let all = check(&["examples/mesh/broken", "--severity", "warning", "-o", "json", "-S", "IST*=*"]);
    assert_eq!(all.code, 2, "a code that does not exist is a wrong command line");
    let args = [
        "examples/mesh/broken",
        "-o",
        "json",
        "-S",
        "IST0101=*",
        "-S",
        "IST0106=VirtualService web.shop",
        "--ignore",
        "IST0173=DestinationRule/*",
    ];
    let rest = check(&args);
    assert_eq!(
        (rest.code, codes(&rest.stdout)),
        (0, vec!["KIA0701 Service/shop/web".to_owned(), "KIA1004 Sidecar/shop/default".to_owned()])
    );
    let strict = check(&[&args[..], &["--failure-threshold", "warning", "--severity", "error"]].concat());
    assert_eq!((strict.code, codes(&strict.stdout)), (1, vec![]));
    let files = Files::new([(
        "rule.yaml",
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a, annotations: {galley.istio.io/analyze-suppress: IST0174}}\nspec: {host: nowhere}\n",
    )]);
    let quiet = check(&[files.path().to_str().expect("UTF-8")]);
    assert_eq!((quiet.code, quiet.stdout.as_str()), (0, "no findings\n"));
}

#[test]
fn a_file_that_cannot_be_read_is_a_finding_with_its_line() {
    let files = Files::new([
        ("a.yaml", "apiVersion: v1\nkind: [\n"),
        ("b.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: b}\n"),
    ]);
    let output = check(&[files.path().to_str().expect("UTF-8"), "-o", "json"]);
    let list: Vec<Value> = serde_json::from_str(&output.stdout).expect("a list");
    assert_eq!((output.code, list.len(), &list[0]["code"]), (1, 1, &Value::from("OUT0001")));
    assert!(list[0]["line"].as_u64().is_some_and(|line| line >= 2), "{list:?}");
}

#[test]
fn sarif_names_rules_places_and_levels() {
    let sarif: Value = serde_json::from_str(&check(&["examples/mesh/broken", "-o", "sarif"]).stdout).expect("SARIF");
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(
        (&sarif["version"], &result["ruleId"], &result["level"]),
        (&Value::from("2.1.0"), &Value::from("KIA0701"), &Value::from("warning"))
    );
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "examples/mesh/broken/shop.yaml");
    assert!(place["region"]["startLine"].as_u64().is_some_and(|line| line > 1), "{place}");
}

#[test]
fn the_picture_shows_what_is_broken_in_red() {
    let dot = check(&["examples/mesh/broken", "-o", "dot"]).stdout;
    assert!(dot.contains("label=\"Gateway/shop/publik\"") && dot.contains("[color=red]"), "{dot}");
    let fixed = check(&["examples/mesh/fixed", "-o", "dot"]).stdout;
    assert!(fixed.contains("[color=black]") && !fixed.contains("red"), "{fixed}");
    let svg = check(&["examples/mesh/broken", "-o", "svg"]).stdout;
    assert!(svg.contains("<svg") && svg.contains("VirtualService/shop/web"), "{svg}");
}

#[test]
fn the_page_on_integrity_shows_what_is_printed_and_drawn() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mesh-integrity.md"));
    assert!(page.expect("the page").contains(&check(&["examples/mesh/broken"]).stdout));
    let picture = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mesh-broken.svg"));
    assert!(picture.expect("the picture") == check(&["examples/mesh/broken", "-o", "svg"]).stdout);
}

#[test]
fn the_page_on_integrity_has_the_table_of_codes_that_the_program_prints() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mesh-integrity.md"))
        .expect("the page");
    for line in check(&["--list"]).stdout.lines() {
        let (head, meaning) = line.split_once(": ").expect("a meaning");
        let [code, severity, name] = head.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
        let row = format!("| {code} | {severity} | {name} | {meaning} |");
        assert!(page.contains(&row), "docs/mesh-integrity.md lacks\n{row}");
    }
}
