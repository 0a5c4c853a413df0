//! `outrigger check`: problems of the mesh in files.

use crate::harness::{Files, Output, command, run};
use serde_json::Value;
use std::path::Path;

fn check(args: &[&str]) -> Output {
    let mut command = command(["check"]);
    run(command.args(args).current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))), "")
}

/// Returns the findings as `CODE resource`.
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
    assert_eq!((quiet.code, quiet.stdout.as_str()), (0, "no findings; 1 suppressed by annotations\n"));
}

/// Two VirtualServices for one host, of which the second ignores all findings.
#[test]
fn nobody_silences_what_concerns_others() {
    let routes = |namespace: &str, annotations: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a, namespace: {namespace}, annotations: {{{annotations}}}}}\n\
             spec: {{hosts: [a.com], http: [{{directResponse: {{status: 200}}}}]}}\n"
        )
    };
    let files = Files::new([
        ("a.yaml", routes("shop", "").as_str()),
        ("b.yaml", routes("other", "galley.istio.io/analyze-suppress: '*'").as_str()),
    ]);
    let output = check(&[files.path().to_str().expect("UTF-8"), "-o", "json"]);
    assert_eq!(codes(&output.stdout), ["IST0109 VirtualService/* (host: a.com, gateway: mesh)"]);
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

/// An object with a finding in the second line of the file.
const BROKEN: &str = "# A rule.\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: rule}\nspec:\n  host: nowhere\n";

#[test]
fn a_finding_has_the_line_of_its_field() {
    let files = Files::new([("a.yaml", BROKEN)]);
    let folder = files.path().to_str().expect("UTF-8");
    let list: Vec<Value> = serde_json::from_str(&check(&[folder, "-o", "json"]).stdout).expect("a list");
    assert_eq!((&list[0]["field"], &list[0]["line"]), (&"spec.host".into(), &6.into()));
    let text = check(&[folder]).stdout;
    assert!(text.contains("a.yaml:2)\n") && text.contains("at line 6, spec.host\n"), "{text}");
}

/// A link without a target, and one to a device that never ends: the other files are checked, and the report is
/// complete.
#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_opened_is_a_finding_beside_the_others() {
    let files = Files::new([("a.yaml", BROKEN)]);
    std::os::unix::fs::symlink("nowhere", files.path().join("gone.yaml")).expect("a link");
    std::os::unix::fs::symlink("/dev/zero", files.path().join("zero.yaml")).expect("a link");
    let output = check(&[files.path().to_str().expect("UTF-8"), "-o", "json"]);
    let told = codes(&output.stdout);
    assert_eq!((output.code, told.len()), (1, 3), "{told:?}");
    assert!(
        told[0].contains("gone.yaml") && told[1].contains("zero.yaml") && told[2].starts_with("IST0174"),
        "{told:?}"
    );
    let output = check(&["absent.yaml", "-o", "sarif"]);
    assert!(output.code == 1 && output.stdout.contains("OUT0001"), "{}", output.stdout);
}

#[test]
fn yaml_that_is_no_object_is_skipped_and_a_broken_object_spares_the_others() {
    let files = Files::new([
        ("values.yaml", "replicas: 3\nimage: nginx\n"),
        ("rule.yaml", format!("kind: Forgotten\n---\n{BROKEN}").as_str()),
    ]);
    let output = check(&[files.path().to_str().expect("UTF-8"), "-o", "json"]);
    let list: Vec<Value> = serde_json::from_str(&output.stdout).expect("a list");
    let told: Vec<_> = list.iter().map(|one| (one["code"].as_str(), one["severity"].as_str(), &one["line"])).collect();
    assert_eq!(
        told,
        [
            (Some("OUT0001"), Some("Error"), &1.into()),
            (Some("OUT0003"), Some("Info"), &1.into()),
            (Some("IST0174"), Some("Error"), &8.into()),
        ]
    );
}

/// Names and values that would clear the screen, forge a finding, or be a command of GitHub's workflows.
#[test]
fn text_of_files_does_not_steer_the_terminal() {
    let files = Files::new([(
        "a.yaml",
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: \"x\\e[2J\\n::error file=x::y\", namespace: \"n\\r\\n  Error   IST9999 forged\\u202E\"}\nspec: {host: \"a\\n::add-mask::b\"}\n",
    )]);
    let text = check(&[files.path().to_str().expect("UTF-8")]).stdout;
    assert!(text.contains("forged") && text.contains("add-mask"), "{text}");
    assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("::") || line.starts_with("  Error   IST9999")), "{text}");
}

#[test]
fn input_that_would_fill_memory_is_refused() {
    let level = |level: u32| format!("a{level}: &a{level} [*a{0}, *a{0}, *a{0}, *a{0}]", level - 1);
    let bomb = (1..30).map(level).collect::<Vec<_>>().join("\n");
    let long = format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {}}}\n", "a".repeat(100 << 20));
    for text in [format!("apiVersion: v1\nkind: Service\na0: &a0 [b]\n{bomb}"), long] {
        let files = Files::new([("a.yaml", text.as_str())]);
        let output = check(&[files.path().to_str().expect("UTF-8"), "-o", "json"]);
        assert_eq!(output.code, 1);
        let told = codes(&output.stdout);
        assert!(matches!(&told[..], [only] if only.starts_with("OUT0001 ")), "{told:?}");
    }
}

/// Each of many conflicting objects is reported once, rather than once for each other object.
#[test]
fn many_conflicting_objects_are_told_in_as_many_lines() {
    let text: String = (0..200)
        .map(|number| {
            let object = |kind: &str, spec: &str| {
                format!("---\napiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: a{number}, namespace: shop}}\nspec: {spec}\n")
            };
            object("Sidecar", "{workloadSelector: {labels: {app: web}}, egress: [{hosts: ['./*']}]}")
                + &object(
                    "Gateway",
                    "{selector: {istio: ingressgateway}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.com, '*.com'], tls: {mode: SIMPLE, credentialName: c}}]}",
                )
        })
        .collect();
    let files = Files::new([("a.yaml", text.as_str())]);
    let output = check(&[files.path().to_str().expect("UTF-8"), "-o", "json"]);
    let told = codes(&output.stdout);
    let count = |code: &str| told.iter().filter(|told| told.starts_with(code)).count();
    assert_eq!((count("IST0110"), count("IST0138"), count("IST0145")), (199, 199, 398));
    assert!(told.len() < 1_300, "{}", told.len());
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
    let driver = &sarif["runs"][0]["tool"]["driver"];
    let rules: Vec<_> = driver["rules"].as_array().expect("rules").iter().map(|rule| rule["id"].clone()).collect();
    for result in sarif["runs"][0]["results"].as_array().expect("results") {
        assert!(rules.contains(&result["ruleId"]), "{result}");
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().expect("a level")), "{result}");
        assert!(result["message"]["text"].as_str().is_some_and(|text| !text.is_empty()), "{result}");
        assert!(result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"].is_string(), "{result}");
    }
    let files = Files::new([("sp ace#1%41.yaml", BROKEN)]);
    let sarif = check(&[files.path().to_str().expect("UTF-8"), "-o", "sarif"]).stdout;
    assert!(sarif.contains("\"file:///") && sarif.contains("/sp%20ace%231%2541.yaml\""), "{sarif}");
}

#[test]
fn the_picture_shows_what_is_broken_in_red() {
    let dot = check(&["examples/mesh/broken", "-o", "dot"]).stdout;
    assert!(dot.contains("label=\"Gateway/shop/publik\"") && dot.contains("[color=red]"), "{dot}");
    let fixed = check(&["examples/mesh/fixed", "-o", "dot"]).stdout;
    assert!(fixed.contains("[color=black]") && !fixed.contains("red"), "{fixed}");
    let ignoring = check(&["examples/mesh/broken", "-o", "dot", "-S", "IST0101=*"]).stdout;
    assert!(!ignoring.contains("red"), "what is ignored is not broken: {ignoring}");
    // A graph without edges is also drawn.
    let empty = check(&["examples/test-sidecarset", "-o", "svg"]);
    assert!(empty.stdout.starts_with("<svg") && empty.code == 0, "{}", empty.stderr);
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
