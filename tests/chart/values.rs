//! Values: rejected ones, and the effect of others.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};

use super::{helm, objects, path, read, refused, rendered, values_files};

#[test]
fn each_file_with_values_is_valid() {
    for file in values_files() {
        let output = helm(&["lint", "chart", "--strict", "--values", &file]);
        assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(objects(&rendered(&["--values", &file])).contains_key("Deployment/outrigger"), "{file}");
    }
}

#[test]
fn what_is_no_value_is_refused_with_its_place() {
    for (value, words) in [
        ("replicaCount=two", ["/replicaCount", "want integer"]),
        ("webhook.port=70000", ["/webhook/port", "65,535"]),
        ("certificates.mode=letsencrypt", ["/certificates/mode", "'self-managed', 'cert-manager', 'files'"]),
        ("webhook.failurePolicy=fail", ["/webhook/failurePolicy", "'Fail', 'Ignore'"]),
        ("controllers.sidecarsets=true", ["/controllers", "'sidecarsets' not allowed"]),
        ("replicas=3", ["''", "'replicas' not allowed"]),
        ("apiTimeout=5", ["/apiTimeout", "string"]),
        ("image.digest=latest", ["/image/digest", "sha256"]),
        ("meshService.kinds={Sidecar}", ["/meshService/kinds/0", "'VirtualService'"]),
        ("certificates.mode=files", ["certificates.secretName is needed", "ca.crt"]),
    ] {
        let told = refused(&["--set", value]);
        for word in words {
            assert!(told.contains(word), "{value}: {word:?} is not in {told}");
        }
    }
}

/// The files in `manifests/rbac` define the permissions.
fn rights(files: &[&str]) -> BTreeMap<String, Value> {
    let all = files.iter().flat_map(|file| objects(&read(&format!("manifests/rbac/{file}.yaml"))));
    all.filter(|(name, _)| !name.starts_with("ServiceAccount/")).collect()
}

/// Returns the rendered permissions without the chart's additions.
fn rendered_rights(arguments: &[&str]) -> BTreeMap<String, Value> {
    let all = objects(&rendered(arguments)).into_iter();
    let rights = all.filter(|(_, object)| object["apiVersion"] == "rbac.authorization.k8s.io/v1");
    rights
        .map(|(name, mut object)| {
            let labels = object["metadata"]["labels"].as_object_mut().expect("labels");
            labels.retain(|label, _| !label.starts_with("app.kubernetes.io/"));
            if labels.is_empty() {
                object["metadata"].as_object_mut().expect("metadata").remove("labels");
            }
            (name, object)
        })
        .collect()
}

#[test]
fn each_job_brings_its_own_rights_and_no_others() {
    let jobs = jobs();
    let only = |job: &str, more: &str| {
        let off: Vec<_> = jobs.iter().map(|name| format!("controllers.{name}={}", name == job)).collect();
        format!("--set={}{more}", off.join(","))
    };
    let users = "optional/users";
    for (job, files) in [
        ("devrouting", &["devrouting"][..]),
        ("meshservice", &["meshservice"]),
        ("rollout", &["sidecarset-rollout"]),
        ("sidecargenerator", &["sidecargenerator"]),
        ("sidecarset", &["sidecarset", "certificates"]),
    ] {
        let expected = rights(&[&["common", users], files].concat());
        assert_eq!(rendered_rights(&[&only(job, "")]), expected, "{job}");
    }
    let secrets = rights(&["common", "sidecargenerator", "optional/sidecargenerator-secrets"]);
    let values = only("sidecargenerator", ",sidecarGenerator.readSecrets=true,rbac.userRoles=false");
    assert_eq!(rendered_rights(&[&values]), secrets);
    let of_files = only("sidecarset", ",certificates.mode=files,certificates.secretName=x,rbac.userRoles=false");
    assert_eq!(rendered_rights(&[&of_files]), rights(&["common", "sidecarset"]), "no CA is kept");
    assert_eq!(rendered_rights(&["--set=rbac.create=false"]), BTreeMap::new());
}

#[test]
fn no_file_of_rights_is_left_out() {
    let all = std::fs::read_dir(path("manifests/rbac")).expect("a folder");
    let files: BTreeSet<String> =
        all.filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".yaml")?.to_owned())).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    assert_eq!(rendered_rights(&["--set=rbac.userRoles=false"]), rights(&files));
}

#[test]
fn who_may_edit_objects_may_not_write_sidecarsets_and_not_even_read_meshservices() {
    for (name, role) in objects(&rendered(&[])) {
        let labels = role["metadata"]["labels"].as_object().cloned().unwrap_or_default();
        if !labels.keys().any(|label| label.contains("aggregate-to-")) {
            continue;
        }
        for rule in role["rules"].as_array().expect("rules") {
            let resources = rule["resources"].as_array().expect("resources");
            assert!(!resources.contains(&json!("meshservices")), "{name}: {rule}");
            let reach_far = resources.contains(&json!("sidecarsets"));
            assert!(!reach_far || rule["verbs"] == json!(["get", "list", "watch"]), "{name}: {rule}");
        }
    }
}

/// Returns the values of `--controllers`, as the program prints them.
fn jobs() -> Vec<String> {
    let output =
        Command::new(env!("CARGO_BIN_EXE_outrigger")).args(["serve", "--controllers=?"]).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, names) = told.split_once("[possible values: ").expect("names");
    names.split(']').next().expect("names").split(", ").map(str::to_owned).collect()
}

#[test]
fn each_job_can_be_switched_off() {
    let values: Value = serde_saphyr::from_str(&read("manifests/chart/values.yaml")).expect("YAML");
    let known: BTreeSet<_> = values["controllers"].as_object().expect("controllers").keys().cloned().collect();
    assert_eq!(known, jobs().into_iter().collect(), "controllers in values.yaml and values.schema.json");
}

#[test]
fn the_program_takes_the_arguments_that_are_rendered() {
    for file in values_files() {
        let deployment = &objects(&rendered(&["--values", &file]))["Deployment/outrigger"];
        let arguments =
            deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().expect("args").clone();
        let output = Command::new(env!("CARGO_BIN_EXE_outrigger"))
            .args(arguments.iter().map(|argument| argument.as_str().expect("text")))
            .arg("--from=nowhere") // prevents the start
            .output()
            .expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{file}: {told}"); // 2: wrong command line
    }
}

#[test]
fn what_outrigger_writes_is_not_rendered() {
    for file in values_files() {
        for (name, object) in objects(&rendered(&["--values", &file])) {
            assert!(!name.contains("WebhookConfiguration/") && !name.starts_with("Secret/"), "{file}: {name}");
            assert!(object["spec"].get("conversion").is_none(), "{file}: {name}");
            assert_ne!(name, "ConfigMap/outrigger-disabled", "{file}");
        }
    }
}

#[test]
fn crds_stay_unless_that_is_switched_off() {
    let policy = |arguments: &[&str]| {
        let crd = objects(&rendered(arguments)).remove("CustomResourceDefinition/sidecarsets.apps.kruise.io")?;
        Some(crd["metadata"]["annotations"]["helm.sh/resource-policy"].clone())
    };
    assert_eq!(policy(&[]), Some(json!("keep")));
    assert_eq!(policy(&["--set=crds.keep=false"]), Some(Value::Null));
    assert_eq!(policy(&["--set=crds.enabled=false"]), None);
}

#[test]
fn a_user_is_named_nowhere_and_root_is_excluded() {
    for file in values_files() {
        let text = rendered(&["--values", &file]);
        assert!(!text.contains("runAsUser") && text.contains("runAsNonRoot: true"), "{file}");
    }
}

#[test]
fn an_image_is_named_by_its_parts() {
    let image = |arguments: &[&str]| {
        let deployment = &objects(&rendered(arguments))["Deployment/outrigger"];
        deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().expect("text").to_owned()
    };
    assert_eq!(image(&[]), concat!("outrigger:", env!("CARGO_PKG_VERSION")));
    assert_eq!(image(&["--set=image.registry=r.example/t,image.tag=v2"]), "r.example/t/outrigger:v2");
    let digest = format!("sha256:{}", "0".repeat(64));
    assert_eq!(image(&["--set=image.tag=v2", &format!("--set=image.digest={digest}")]), format!("outrigger@{digest}"));
}

#[test]
fn another_namespace_and_account_are_everywhere() {
    let text = rendered(&["--namespace=sidecars", "--set=serviceAccount.name=robot,certificates.mode=cert-manager"]);
    assert!(!text.contains("outrigger-system"), "{text}");
    for (name, object) in objects(&text) {
        for subject in object["subjects"].as_array().into_iter().flatten() {
            assert_eq!((&subject["name"], &subject["namespace"]), (&json!("robot"), &json!("sidecars")), "{name}");
        }
    }
}
