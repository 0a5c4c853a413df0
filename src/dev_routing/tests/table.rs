//! The result of each possible event: vs-operator's behaviours and faults, row by row, and more.

use super::super::mark::{PLACEHOLDER, SOURCE};
use super::super::plan::{DESTINATION_MISSING, HOST_SHARED, HOST_TAKEN, INVALID, NAME_TAKEN, NOT_ROUTED};
use super::super::virtual_service::SERVICE;
use super::super::{Key, ObservedVirtualService};
use super::fake::Fake;
use crate::cluster::Event;
use serde_json::{Value, json};
use std::sync::Arc;

const NAMESPACES: [&str; 5] = ["default", "dev-a", "dev-b", "dev-c", "routes"];
const TWO: &str = "developerNamespaces: [dev-a, dev-b]";
const WITH_PLACEHOLDERS: &str = "{developerNamespaces: [dev-a, dev-b], enablePlaceholderServices: true}";

fn fake(configuration: &str) -> Fake {
    Fake::new(&NAMESPACES, configuration)
}

/// A settled state with the Service `app`.
fn with_app(configuration: &str) -> Fake {
    let mut fake = fake(configuration);
    fake.service("default", "app");
    fake.settle();
    fake
}

fn own(name: &str) -> Value {
    json!({
        "metadata": {
            "labels": {"managed-by": "virtualservice-operator"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": name, "uid": "x", "controller": true}],
        },
        "spec": {"hosts": [name], "http": [{"route": [{"destination": {"host": format!("{name}.default.svc.cluster.local")}}]}]},
    })
}

#[test]
fn a_service_alone_has_its_own_route() {
    let mut fake = fake(TWO);
    fake.service("default", "app");
    assert_eq!(fake.settle(), ["create virtualservice default/app-virtual-service"]);
    assert_eq!(fake.routed("app"), Some(vec![]));
}

#[test]
fn routes_follow_the_copies_in_the_order_of_the_configuration_in_whatever_order_they_come() {
    for order in [["default", "dev-a", "dev-b"], ["dev-b", "default", "dev-a"], ["dev-b", "dev-a", "default"]] {
        let mut fake = fake(TWO);
        for namespace in order {
            fake.service(namespace, "app");
            fake.settle();
        }
        fake.service("dev-c", "app");
        assert_eq!(fake.settle(), [""; 0], "of no developer");
        assert_eq!(fake.routed("app").unwrap(), ["dev-a", "dev-b"], "{order:?}");
    }
}

#[test]
fn a_change_is_one_write_and_no_change_is_none() {
    let mut fake = with_app(TWO);
    fake.service("dev-a", "app");
    fake.service("dev-b", "app");
    assert_eq!(fake.settle(), ["change virtualservice default/app-virtual-service"]);
    for _ in 0..5 {
        fake.service("default", "app");
        fake.service("dev-a", "app");
        assert_eq!(fake.settle(), [""; 0]);
    }
    fake.restart();
    assert_eq!(fake.settle(), [""; 0]);
    fake.delete_service("dev-a", "app");
    assert_eq!(fake.settle(), ["change virtualservice default/app-virtual-service"]);
    assert_eq!(fake.routed("app").unwrap(), ["dev-b"]);
}

#[test]
fn with_the_service_all_that_belongs_to_it_goes_and_nothing_else() {
    let mut fake = with_app(WITH_PLACEHOLDERS);
    fake.service_with(
        "dev-c",
        "app",
        json!({"spec": {"type": "ExternalName", "externalName": "app.default.svc.cluster.local"}}),
    );
    assert!(fake.has_placeholder("dev-a", "app") && fake.has_placeholder("dev-b", "app"));
    fake.delete_service("default", "app");
    fake.settle();
    assert_eq!(fake.routed("app"), None);
    assert_eq!(
        fake.services.keys().collect::<Vec<_>>(),
        [&Key::new("dev-c", "app")],
        "a user's own ExternalName stays"
    );

    // The same without a running controller.
    let mut fake = with_app(WITH_PLACEHOLDERS);
    fake.services.remove(&Key::new("default", "app"));
    fake.restart();
    fake.settle();
    assert!(fake.services.is_empty() && fake.virtual_services.is_empty(), "{:?}", fake.services);
}

#[test]
fn a_placeholder_stands_in_for_a_copy_and_makes_way_for_one() {
    let mut fake = with_app(WITH_PLACEHOLDERS);
    assert_eq!(fake.routed("app").unwrap(), [""; 0], "a placeholder is no copy");
    let placeholder = &fake.services[&Key::new("dev-a", "app")];
    assert_eq!(
        placeholder["metadata"]["annotations"],
        json!({
            PLACEHOLDER: "true", SOURCE: "app.default.svc.cluster.local",
            "meta.helm.sh/release-name": "app", "meta.helm.sh/release-namespace": "dev-a",
        })
    );
    assert_eq!(placeholder["spec"], json!({"type": "ExternalName", "externalName": "app.default.svc.cluster.local"}));

    // A chart or an apply with an explicit type: the annotation stays, and it is still a Service.
    let mut real = placeholder.clone();
    real["spec"] = json!({"type": "ClusterIP", "ports": [{"port": 80}]});
    fake.service_with("dev-a", "app", real);
    fake.settle();
    assert_eq!(fake.routed("app").unwrap(), ["dev-a"]);

    // Without an explicit type: the type is still ours and is removed.
    let mut applied = fake.services[&Key::new("dev-b", "app")].clone();
    applied["spec"]["selector"] = json!({"app": "app"});
    applied["spec"]["ports"] = json!([{"port": 80}]);
    fake.service_with("dev-b", "app", applied);
    assert_eq!(fake.settle(), ["hand over dev-b/app", "change virtualservice default/app-virtual-service"]);
    assert_eq!(fake.routed("app").unwrap(), ["dev-a", "dev-b"]);

    fake.delete_service("dev-a", "app");
    fake.settle();
    assert!(fake.has_placeholder("dev-a", "app"), "it comes back");
    assert_eq!(fake.routed("app").unwrap(), ["dev-b"]);
}

#[test]
fn a_placeholder_is_repaired_and_one_that_only_looks_like_it_is_left_alone() {
    let mut fake = with_app(WITH_PLACEHOLDERS);
    let mut turned = fake.services[&Key::new("dev-a", "app")].clone();
    turned["spec"]["externalName"] = json!("elsewhere.example.com");
    fake.service_with("dev-a", "app", turned.clone());
    assert_eq!(fake.settle(), ["apply placeholder dev-a/app"]);
    let external = json!({"spec": {"type": "ExternalName", "externalName": "app.default.svc.cluster.local"}});
    fake.service_with("dev-a", "app", external);
    assert_eq!(fake.settle(), [""; 0]);
    assert_eq!(fake.reasons(), [NOT_ROUTED]);
    // Only placeholders that still refer to their Service are removed.
    fake.service_with("dev-a", "app", turned);
    fake.configure("developerNamespaces: []");
    fake.settle();
    assert!(fake.has_placeholder("dev-a", "app") && !fake.has_placeholder("dev-b", "app"));
}

#[test]
fn a_namespace_comes_and_goes_with_the_configuration() {
    let mut fake = with_app(WITH_PLACEHOLDERS);
    fake.service("dev-b", "app");
    fake.service("dev-c", "app");
    fake.settle();
    fake.configure("{developerNamespaces: [dev-c, dev-b], enablePlaceholderServices: true}");
    assert_eq!(fake.settle(), ["change virtualservice default/app-virtual-service", "delete placeholder dev-a/app"]);
    assert_eq!(fake.routed("app").unwrap(), ["dev-c", "dev-b"]);
    fake.configure("developerNamespaces: [dev-c]");
    fake.settle();
    assert_eq!(fake.routed("app").unwrap(), ["dev-c"]);
    // The same without a running controller.
    let mut fake = with_app(WITH_PLACEHOLDERS);
    fake.configure("developerNamespaces: [dev-b]");
    fake.restart();
    fake.settle();
    assert!(!fake.has_placeholder("dev-a", "app") && !fake.has_placeholder("dev-b", "app"));
}

#[test]
fn a_namespace_that_does_not_exist_holds_up_nothing() {
    let mut fake = Fake::new(&["default", "dev-b"], WITH_PLACEHOLDERS);
    fake.service("default", "app");
    assert_eq!(fake.settle(), ["create virtualservice default/app-virtual-service", "apply placeholder dev-b/app"]);
    fake.namespace("dev-a", true);
    assert_eq!(fake.settle(), ["apply placeholder dev-a/app"]);
}

#[test]
fn a_virtual_service_that_somebody_edits_or_deletes_is_repaired() {
    let mut fake = with_app(TWO);
    let key = Key::new("default", "app-virtual-service");
    let good = fake.virtual_services[&key].clone();
    let mut edited = good.clone();
    edited["spec"]["http"] = json!([]);
    edited["metadata"]["labels"]["more"] = json!("stays");
    fake.virtual_service("default", "app-virtual-service", edited);
    assert_eq!(fake.settle(), ["change virtualservice default/app-virtual-service"]);
    assert_eq!(fake.virtual_services[&key]["spec"], good["spec"]);
    assert_eq!(fake.virtual_services[&key]["metadata"]["labels"]["more"], "stays");
    fake.delete_virtual_service("default", "app-virtual-service");
    assert_eq!(fake.settle(), ["create virtualservice default/app-virtual-service"]);
    // The Service is another one of the same name. The garbage collector must not delete its VirtualService.
    let mut of_earlier = good;
    of_earlier["metadata"]["ownerReferences"][0]["uid"] = json!("earlier");
    fake.virtual_service("default", "app-virtual-service", of_earlier);
    fake.settle();
    let owners = &fake.virtual_services[&key]["metadata"]["ownerReferences"];
    assert_eq!((owners.as_array().unwrap().len(), owners[0]["uid"] == "earlier"), (1, false));
}

#[test]
fn a_virtual_service_of_somebody_else_is_never_touched_and_is_told() {
    let somebody = json!({"spec": {"hosts": ["x"], "http": [{"route": [{"destination": {"host": "x"}}]}]}});
    let mut fake = fake(TWO);
    fake.virtual_service("default", "app-virtual-service", somebody.clone());
    fake.service("default", "app");
    assert_eq!(fake.settle(), [""; 0]);
    assert_eq!(fake.reasons(), [NAME_TAKEN]);
    fake.delete_virtual_service("default", "app-virtual-service");
    assert_eq!(fake.settle(), ["create virtualservice default/app-virtual-service"]);
    assert_eq!(fake.reasons(), [""; 0]);

    // Another name and the same host: Istio uses the older one.
    let with_host = |host: &str, more: Value| {
        let mut object = json!({"spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": "x"}}]}]}});
        object["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    fake.virtual_service("default", "mine", with_host("app", json!({})));
    assert_eq!((fake.settle(), fake.reasons()), (vec![], vec![HOST_SHARED]), "it is of no effect");
    fake.delete_virtual_service("default", "app-virtual-service");
    assert_eq!((fake.settle(), fake.reasons()), (vec![], vec![HOST_TAKEN]), "the user's own counts");
    fake.virtual_service("default", "mine", with_host("app", json!({"gateways": ["g"]})));
    assert_eq!(fake.settle(), ["create virtualservice default/app-virtual-service"], "not in the mesh");
    let whole = "app.default.svc.cluster.local";
    fake.virtual_service("dev-a", "theirs", with_host(whole, json!({"exportTo": ["."]})));
    assert_eq!(fake.settle(), [""; 0], "seen by some only");
    assert_eq!(fake.reasons(), [HOST_SHARED]);
    // An older one that now applies to the host.
    fake.virtual_service("default", "mine", with_host(whole, json!({})));
    assert_eq!(fake.settle(), ["delete virtualservice default/app-virtual-service"]);
}

#[test]
fn a_new_name_that_is_taken_takes_nothing_away() {
    let mut fake = with_app("developerNamespaces: [dev-a]");
    fake.service("dev-a", "app");
    fake.settle();
    let somebody = json!({"spec": {"hosts": ["x"], "http": [{"route": [{"destination": {"host": "x"}}]}]}});
    fake.virtual_service("default", "app-vs", somebody);
    fake.configure(&TEMPLATE.replace("NAMESPACE", "default").replace("NAME", "vs"));
    assert_eq!((fake.settle(), fake.reasons()), (vec![], vec![NAME_TAKEN]));
    assert_eq!(fake.routed("app").unwrap(), ["dev-a"], "by the one that was there");
    // The same while ours of that name is being deleted.
    let mut going = own("app");
    going["metadata"]["deletionTimestamp"] = json!("2026-11-29T00:00:00Z");
    fake.virtual_service("default", "app-vs", going);
    assert_eq!(fake.settle(), [""; 0]);
    fake.delete_virtual_service("default", "app-vs");
    assert_eq!(
        fake.settle(),
        ["create virtualservice default/app-vs", "delete virtualservice default/app-virtual-service"]
    );
    // And while its namespace does not exist.
    fake.configure(&TEMPLATE.replace("NAMESPACE", "later").replace("NAME", "vs"));
    assert_eq!(fake.settle(), [""; 0]);
    fake.namespace("later", true);
    assert_eq!(fake.settle(), ["create virtualservice later/app-vs", "delete virtualservice default/app-vs"]);
}

#[test]
fn a_virtual_service_of_another_service_is_not_taken_over() {
    let mut fake = fake(&TEMPLATE.replace("NAMESPACE", "routes").replace("NAME", "vs"));
    let mut of_other = own("app");
    of_other["metadata"].as_object_mut().unwrap().shift_remove("ownerReferences");
    of_other["metadata"]["annotations"] = json!({SERVICE: "production/app"});
    fake.virtual_service("routes", "app-vs", of_other);
    fake.service("default", "app");
    assert_eq!((fake.settle(), fake.reasons()), (vec![], vec![NAME_TAKEN]));
}

/// Istio accepts any host in a VirtualService of any namespace. A developer must not be able to disable the routing of
/// a Service with one.
#[test]
fn a_developer_does_not_take_a_host_of_everybody() {
    let mut fake = with_app(TWO);
    let theirs = |host: &str| json!({"spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": "x"}}]}]}});
    fake.virtual_service("dev-a", "theirs", theirs("App.default.svc.cluster.local"));
    assert_eq!((fake.settle(), fake.reasons()), (vec![], vec![HOST_SHARED]));
    assert!(fake.findings.iter().all(|finding| finding.note.contains("dev-a/theirs")), "{:?}", fake.findings);
    // One that claims to be ours is deleted, and reported while it exists.
    let mut claimed = theirs("app.default.svc.cluster.local");
    claimed["metadata"] =
        json!({"labels": {"managed-by": "virtualservice-operator"}, "annotations": {SERVICE: "default/app"}});
    fake.virtual_service("dev-a", "theirs", claimed.clone());
    assert_eq!((fake.settle(), fake.reasons()), (vec!["delete virtualservice dev-a/theirs".to_owned()], vec![]));
    claimed["metadata"]["deletionTimestamp"] = json!("2026-11-29T00:00:00Z");
    fake.virtual_service("dev-a", "theirs", claimed);
    assert_eq!((fake.settle(), fake.reasons()), (vec![], vec![HOST_SHARED]));
    fake.virtual_service("dev-a", "early", theirs("other.default.svc.cluster.local"));
    fake.service("default", "other");
    assert_eq!(fake.settle(), ["create virtualservice default/other-virtual-service"]);
    // Only a few of any number are reported.
    for number in 0..100 {
        fake.virtual_service("dev-a", &format!("theirs-{number}"), theirs("app.default.svc.cluster.local"));
    }
    assert_eq!(fake.settle(), [""; 0]);
    assert_eq!(fake.findings.iter().filter(|finding| finding.service.name == "app").count(), 1);
    // In a namespace that is not a developer's, the owner decides.
    fake.configure("developerNamespaces: [dev-b]");
    assert_eq!(fake.settle(), ["delete virtualservice default/other-virtual-service"]);
}

/// Requests to missing destinations would fail.
#[test]
fn a_template_leads_only_to_what_is_there() {
    let template = TEMPLATE.replace("NAMESPACE", "default").replace("NAME", "vs");
    let to = |more: &str| {
        template.replace("default.svc.cluster.local\"}}]", &format!("default.svc.cluster.local\"}}}}], {more}"))
    };
    let mut fake = with_app(&to("mirror: {host: \"${serviceName}-shadow\"}"));
    assert_eq!((fake.virtual_services.len(), fake.reasons()), (0, vec![DESTINATION_MISSING]));
    let note = &fake.findings.first().unwrap().note;
    assert!(note.ends_with("refers to missing objects: Service default/app-shadow does not exist"), "{note}");
    fake.service("default", "app-shadow");
    let writes = fake.settle();
    assert_eq!(writes, ["create virtualservice default/app-vs"], "app-shadow has no shadow itself");
    fake.delete_service("default", "app-shadow");
    assert_eq!(fake.settle(), ["delete virtualservice default/app-vs"]);

    let mut fake = with_app(&to("mirrors: [{destination: {host: all.shadows.svc.cluster.local, port: {number: 81}}}]"));
    fake.service("shadows", "all");
    assert_eq!(fake.settle(), [""; 0]);
    assert!(fake.findings.first().unwrap().note.ends_with("Service shadows/all has no port 81"));
    fake.service_with("shadows", "all", json!({"spec": {"ports": [{"port": 81}]}}));
    assert_eq!(fake.settle(), ["create virtualservice default/app-vs"]);
    // A name that is not a Service's may be a ServiceEntry.
    let mut fake = with_app(&to("mirror: {host: shadow.example.com}"));
    assert_eq!(fake.virtual_services.len(), 1);
    assert_eq!(fake.settle(), [""; 0]);
}

#[test]
fn what_vs_operator_left_is_taken_over_without_a_write() {
    let mut fake = fake(WITH_PLACEHOLDERS);
    fake.service("default", "app");
    let uid = fake.services[&Key::new("default", "app")]["metadata"]["uid"].clone();
    let mut theirs = own("app");
    theirs["metadata"]["ownerReferences"][0]["uid"] = uid;
    theirs["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = json!(true);
    fake.virtual_service("default", "app-virtual-service", theirs);
    for namespace in ["dev-a", "dev-b"] {
        let annotations = json!({
            PLACEHOLDER: "true", SOURCE: "app.default.svc.cluster.local",
            "meta.helm.sh/release-name": "app", "meta.helm.sh/release-namespace": namespace,
        });
        fake.service_with(namespace, "app", json!({
            "metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": annotations},
            "spec": {"type": "ExternalName", "externalName": "app.default.svc.cluster.local", "sessionAffinity": "None"},
        }));
    }
    assert_eq!(fake.settle(), [""; 0]);
    fake.service("dev-a", "app");
    assert_eq!(fake.settle(), ["change virtualservice default/app-virtual-service"]);
}

#[test]
fn a_sweep_takes_what_has_label_owner_and_shape_and_no_more() {
    let mut fake = fake(TWO);
    let spec = |host: &str| json!({"hosts": [host], "http": [{"route": [{"destination": {"host": host}}]}]});
    let mut unlabelled = own("gone");
    unlabelled["metadata"]["labels"] = json!({});
    let mut unowned = own("gone");
    unowned["metadata"]["ownerReferences"] = json!([]);
    let mut misshapen = own("gone");
    misshapen["spec"] = spec("other");
    fake.virtual_service("default", "unlabelled", unlabelled);
    fake.virtual_service("default", "unowned", unowned);
    fake.virtual_service("default", "misshapen", misshapen);
    fake.virtual_service("prod", "of-another-operator", own("gone"));
    fake.virtual_service("default", "gone-virtual-service", own("gone"));
    let other = json!({PLACEHOLDER: "true", SOURCE: "gone.prod.svc.cluster.local"});
    fake.service_with("dev-a", "gone", json!({
        "metadata": {"annotations": other}, "spec": {"type": "ExternalName", "externalName": "gone.prod.svc.cluster.local"},
    }));
    fake.restart();
    assert_eq!(fake.settle(), ["delete virtualservice default/gone-virtual-service"]);
    assert!(fake.has_placeholder("dev-a", "gone"));
}

#[test]
fn without_a_good_configuration_nothing_changes() {
    let mut fake = with_app(WITH_PLACEHOLDERS);
    fake.service("dev-a", "app");
    fake.settle();
    for bad in
        [None, Some(json!({"data": {}})), Some(json!({"data": {"config.yaml": "developerNamespaces: [default]"}}))]
    {
        fake.config_map(bad);
        assert_eq!(fake.settle(), [""; 0]);
        fake.delete_service("dev-a", "app");
        fake.settle();
        assert_eq!(fake.routed("app").unwrap(), [""; 0], "the last good one is followed");
        fake.service("dev-a", "app");
        fake.settle();
    }
    // A process that never saw a good configuration deletes nothing.
    fake.delete_service("default", "app");
    fake.index.standing = super::super::annotated::Standing::default();
    fake.restart();
    assert_eq!(fake.settle(), [""; 0]);
    assert!(fake.routed("app").is_some() && fake.has_placeholder("dev-b", "app"));
}

const TEMPLATE: &str = "
developerNamespaces: [dev-a]
virtualServiceTemplate: |
  apiVersion: networking.istio.io/v1
  kind: VirtualService
  metadata: {name: \"${serviceName}-NAME\", namespace: NAMESPACE}
  spec:
    hosts: [\"${serviceName}.default.svc.cluster.local\"]
    http: [{route: [{destination: {host: \"${serviceName}.default.svc.cluster.local\"}}]}]
";

#[test]
fn a_template_of_another_name_or_namespace_replaces_the_old_one_the_new_one_first() {
    let mut fake = with_app("developerNamespaces: [dev-a]");
    fake.service("dev-a", "app");
    fake.settle();
    fake.configure(&TEMPLATE.replace("NAMESPACE", "default").replace("NAME", "vs"));
    assert_eq!(
        fake.settle(),
        ["create virtualservice default/app-vs", "delete virtualservice default/app-virtual-service"]
    );
    fake.configure(&TEMPLATE.replace("NAMESPACE", "routes").replace("NAME", "vs"));
    assert_eq!(fake.settle(), ["create virtualservice routes/app-vs", "delete virtualservice default/app-vs"]);
    let metadata = &fake.virtual_services[&Key::new("routes", "app-vs")]["metadata"];
    assert_eq!(metadata["annotations"], json!({SERVICE: "default/app"}), "an owner in another namespace is none");
    assert!(metadata["ownerReferences"].is_null());
    fake.delete_service("default", "app");
    assert_eq!(fake.settle(), ["delete virtualservice routes/app-vs"]);
}

#[test]
fn somebody_else_may_have_any_host_of_a_template() {
    let template = TEMPLATE.replace("NAMESPACE", "default").replace("NAME", "vs");
    for host in ["${serviceName}.example.com", "${serviceName}-canary"] {
        let mut fake = fake(&template.replace("${serviceName}.default.svc.cluster.local\"]", &format!("{host}\"]")));
        let theirs = json!({"spec": {"hosts": ["app.example.com", "app-canary.default.svc.cluster.local"], "http": [{"route": [{"destination": {"host": "x"}}]}]}});
        fake.virtual_service("networking", "theirs", theirs);
        fake.service("default", "app");
        assert_eq!((fake.settle(), fake.reasons()), (vec![], vec![HOST_TAKEN]));
        fake.delete_virtual_service("networking", "theirs");
        assert_eq!(fake.settle(), ["create virtualservice default/app-vs"]);
    }
}

#[test]
fn what_istio_would_refuse_is_told_and_not_written() {
    let mut fake = fake(&TEMPLATE.replace("NAMESPACE", "default").replace("NAME", "vs"));
    fake.settle();
    fake.configure(
        "
developerNamespaces: [dev-a]
virtualServiceTemplate: |
  apiVersion: networking.istio.io/v1
  kind: VirtualService
  metadata: {name: \"${serviceName}\"}
  spec:
    hosts: [\"${serviceName}\", sample-2]
    gateways: [a/b]
    http: [{route: [{destination: {host: \"${serviceName}\"}}]}]
",
    );
    fake.service("default", "sample-2");
    assert_eq!(fake.settle(), [""; 0]);
    assert_eq!(fake.reasons(), [INVALID]);
}

#[test]
fn services_that_istio_cannot_route_by_header_have_no_virtual_service() {
    for spec in [
        json!({"ports": [{"port": 53, "protocol": "UDP"}]}),
        json!({"ports": [{"port": 80, "name": "tcp"}]}),
        json!({"type": "ExternalName", "externalName": "example.com"}),
    ] {
        let mut fake = with_app(TWO);
        fake.service_with("default", "app", json!({"spec": spec}));
        assert_eq!(fake.settle(), ["delete virtualservice default/app-virtual-service"], "{spec}");
        assert_eq!(fake.reasons(), [""; 0], "nobody has a copy");
        fake.service("dev-a", "app");
        fake.settle();
        assert_eq!(fake.reasons(), [NOT_ROUTED]);
    }
    // Headless Services are routed, but not destinations: the proxy forwards to the address that the client resolved.
    let mut fake = with_app(TWO);
    fake.service_with("default", "app", json!({"spec": {"clusterIP": "None", "ports": [{"port": 80}]}}));
    fake.service("dev-a", "app");
    fake.service_with("dev-b", "app", json!({"spec": {"clusterIP": "None", "ports": [{"port": 80}]}}));
    fake.settle();
    assert_eq!((fake.routed("app").unwrap(), fake.reasons()), (vec!["dev-a".to_owned()], vec![NOT_ROUTED]));
}

#[test]
fn system_services_and_namespaces_are_left_alone() {
    let mut fake = Fake::new(
        &["default", "dev-a", "istio-system", "kube-public"],
        "{developerNamespaces: [dev-a, istio-system, kube-public], enablePlaceholderServices: true}",
    );
    for name in ["kubernetes", "kube-dns", "kube-system", "kube-dns-2"] {
        fake.service("default", name);
    }
    fake.service("istio-system", "kube-dns-2");
    assert_eq!(
        fake.settle(),
        ["create virtualservice default/kube-dns-2-virtual-service", "apply placeholder dev-a/kube-dns-2"]
    );
}

#[test]
fn what_is_being_deleted_counts_as_gone() {
    let mut fake = with_app(WITH_PLACEHOLDERS);
    fake.service("dev-a", "app");
    fake.settle();
    let deleting =
        json!({"metadata": {"deletionTimestamp": "2026-11-29T00:00:00Z"}, "spec": {"ports": [{"port": 80}]}});
    fake.service_with("dev-a", "app", deleting.clone());
    fake.settle();
    assert_eq!(fake.routed("app").unwrap(), [""; 0]);
    fake.service_with("default", "app", deleting);
    fake.settle();
    assert_eq!(fake.routed("app"), None);
    assert!(!fake.has_placeholder("dev-b", "app"));
}

#[test]
fn a_copy_without_a_ready_endpoint_is_routed_to_only_where_that_is_not_asked_for() {
    let mut fake = fake("{developerNamespaces: [dev-a], requireReadyEndpoints: true}");
    fake.service("default", "app");
    fake.service("dev-a", "app");
    assert_eq!(fake.settle(), [""; 0], "nobody knows yet");
    // Placeholders are independent of it.
    let mut other =
        self::fake("{developerNamespaces: [dev-a], requireReadyEndpoints: true, enablePlaceholderServices: true}");
    other.service("default", "app");
    assert_eq!(other.settle(), ["apply placeholder dev-a/app"]);
    let slice = |ready: bool| {
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "dev-a", "labels": {"kubernetes.io/service-name": "app"}},
            "endpoints": [{"conditions": {"ready": ready}}],
        }))
        .unwrap()
    };
    for (event, expected) in [
        (Event::Begin, None),
        (Event::End, Some(vec![])),
        (Event::Applied(slice(true)), Some(vec!["dev-a".to_owned()])),
        (Event::Applied(slice(false)), Some(vec![])),
    ] {
        let touched = fake.index.endpoints_event(event);
        fake.touch(touched);
        fake.settle();
        assert_eq!(fake.routed("app"), expected);
    }
    // The state of an earlier term is not used.
    let touched = fake.index.endpoints_event(Event::Applied(slice(true)));
    fake.touch(touched);
    fake.settle();
    let kept = fake.virtual_services.clone();
    fake.index.forget_feeds_of_term();
    for event in Event::list(kept.values().cloned().map(|object| Arc::new(ObservedVirtualService::read(object)))) {
        let touched = fake.index.virtual_services_event(event);
        fake.touch(touched);
    }
    fake.service("dev-b", "app");
    assert_eq!(fake.settle(), [""; 0], "nobody knows yet");
}
