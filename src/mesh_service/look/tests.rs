//! Tests of writes and the status, for plans and existing objects.

mod leaving;

use super::*;
use crate::api::mesh_service::ConsistencyState;
use crate::cluster::Event;
use crate::mesh_integrity::{Engine, Found, Options};
use crate::mesh_service::index::Settings;
use crate::mesh_service::kind::MeshKinds;
use crate::mesh_service::mark::mark;
use kube::api::TypeMeta;
use serde_json::json;

fn web() -> Arc<ObservedMeshService> {
    with(&json!({}))
}

fn with(metadata: &Value) -> Arc<ObservedMeshService> {
    let mut object = json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "1", "generation": 1},
        "spec": {"serviceName": "web", "ports": [{"port": 80}]},
    });
    object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
    Arc::new(ObservedMeshService::read(object))
}

/// Returns an index of the Namespace `shop` and these objects.
fn index(objects: &[(MeshKind, Value)]) -> MeshIndex {
    let (root_namespace, domain) = ("istio-system".to_owned(), "cluster.local".to_owned());
    let mut index = MeshIndex::new(Settings { kinds: MeshKinds::default(), root_namespace, domain });
    index.is_installed = true;
    index.mesh_services_event(Event::Applied(web()));
    let namespace = Seen::read(Watched::Namespace, json!({"metadata": {"name": "shop"}}));
    index.objects_event(Watched::Namespace, Event::Applied(Arc::new(namespace)));
    for (kind, object) in objects {
        let kind = Watched::Made(*kind);
        index.objects_event(kind, Event::Applied(Arc::new(Seen::read(kind, object.clone()))));
    }
    index
}

/// Returns a planned object.
fn wanted(kind: MeshKind, name: &str, spec: &Value) -> DynamicObject {
    let resource = kind.resource();
    DynamicObject {
        types: Some(TypeMeta { api_version: resource.api_version, kind: resource.kind }),
        metadata: mark(&web(), &Key::new("shop", name)),
        data: json!({"spec": spec}),
    }
}

/// Returns a present object that was made for the MeshService.
fn ours(kind: MeshKind, name: &str, spec: &Value) -> (MeshKind, Value) {
    let mut object = serde_json::to_value(wanted(kind, name, spec)).unwrap();
    object["metadata"]["resourceVersion"] = json!("5");
    (kind, object)
}

fn theirs(metadata: &Value, spec: &Value) -> (MeshKind, Value) {
    let mut object = json!({"metadata": {"name": "web", "namespace": "shop", "resourceVersion": "5"}, "spec": spec});
    object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
    (MeshKind::VirtualService, object)
}

fn routes() -> DynamicObject {
    wanted(MeshKind::VirtualService, "web", &json!({"hosts": ["web"]}))
}

fn plan(objects: &[DynamicObject]) -> Plan {
    Plan { objects: objects.to_vec(), ..Plan::default() }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_000).unwrap()
}

/// Returns the writes as text.
fn writes(look: &Look) -> Vec<String> {
    let word = |write: &Write| {
        let what = match write {
            Write::Apply(object, _, over) => {
                let version = object.metadata.resource_version.as_deref().unwrap_or_default();
                let over = match over {
                    Over::Nothing => "new",
                    Over::Drift(..) => "drift",
                    Over::Left(_) => "left",
                    Over::Adopted(_) => "adopted",
                };
                format!("apply over {version} ({over})")
            }
            Write::Trim(_, extra) => {
                format!("trim {}", extra.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            }
            Write::Mend(seen, mend) => format!("mend over {} ({})", seen.resource_version, mend.done.join(", ")),
            Write::Delete(_) => "delete".to_owned(),
            Write::Release(_, Released::AsItIs) => "release".to_owned(),
            Write::Release(_, Released::AsItWas) => "give back".to_owned(),
        };
        format!("{what} {}", write.object())
    };
    look.writes.iter().map(word).collect()
}

fn looked(objects: &[(MeshKind, Value)], plan: &Plan) -> Look {
    let mut index = index(objects);
    look(&mut index, &web(), plan, now())
}

#[test]
fn what_is_missing_is_made_and_what_differs_made_so_over_the_version_that_was_seen() {
    let kind = MeshKind::VirtualService;
    for (there, expected) in [
        (vec![], "apply over 1 (new) VirtualService/shop/web"),
        (vec![ours(kind, "web", &json!({"hosts": ["x"]}))], "apply over 5 (drift) VirtualService/shop/web"),
        (vec![ours(kind, "web", &json!({"hosts": ["web"], "tcp": [{}]}))], "trim /spec/tcp VirtualService/shop/web"),
    ] {
        let look = looked(&there, &plan(&[routes()]));
        assert_eq!(writes(&look), [expected]);
        assert_eq!(look.told.unwrap().state, ConsistencyState::RepairPending);
    }
    let well = looked(&[ours(kind, "web", &json!({"hosts": ["web"]}))], &plan(&[routes()]));
    assert!(well.writes.is_empty());
    let told = well.told.unwrap();
    assert_eq!((told.state, told.managed.len()), (ConsistencyState::Consistent, 1));
    assert_eq!(told.managed[0].version.as_deref(), Some("networking.istio.io/v1"));
}

#[test]
fn what_is_of_no_use_goes_last_and_in_reverse_and_what_is_kept_stays() {
    let there = [
        ours(MeshKind::DestinationRule, "old", &json!({})),
        ours(MeshKind::VirtualService, "old", &json!({})),
        ours(MeshKind::Gateway, "kept", &json!({})),
    ];
    let kept = [(MeshKind::Gateway, Key::new("shop", "kept"))].into();
    let look = looked(&there, &Plan { kept, ..plan(&[routes()]) });
    let expected = [
        "apply over 1 (new) VirtualService/shop/web",
        "delete VirtualService/shop/old",
        "delete DestinationRule/shop/old",
    ];
    assert_eq!(writes(&look), expected);
    let managed = look.told.unwrap().managed;
    assert_eq!(managed.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["kept"]);
}

#[test]
fn what_is_somebody_elses_is_left_unless_it_is_given_or_asked_for() {
    let given = json!({"annotations": {keys::ADOPT: "true"}});
    let owner = json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "x", "controller": true}]);
    let controlled = json!({"annotations": {keys::ADOPT: "true"}, "ownerReferences": owner});
    let others = json!({"labels": mark(&web(), &Key::new("shop", "web")).labels});
    let of_other = |name: &str| {
        let mut labels = others.clone();
        labels["labels"][keys::MESH_SERVICE] = json!(name);
        labels["ownerReferences"] = json!(mark(&web(), &Key::new("shop", "web")).owner_references);
        labels["ownerReferences"][0]["name"] = json!(name);
        labels
    };
    for (metadata, asks, expected) in [
        (json!({}), false, None),
        (json!({}), true, Some("adopted")),
        (given, false, Some("adopted")),
        (controlled.clone(), false, None),
        (controlled, true, None),
        (of_other("gone"), false, Some("left")),
        (of_other("older"), true, None),
    ] {
        let mut index = index(&[theirs(&metadata, &json!({"hosts": ["x"]}))]);
        let older = ObservedMeshService::read(json!({"metadata": {"name": "older", "namespace": "shop"}}));
        index.mesh_services_event(Event::Applied(Arc::new(older)));
        let annotations = if asks { json!({"annotations": {keys::MESH_REPAIR: "Adopt"}}) } else { json!({}) };
        let look = look(&mut index, &with(&annotations), &plan(&[routes()]), now());
        let told = look.told.as_ref().unwrap();
        let taken: Vec<_> = told.violations.iter().map(|violation| violation.type_.as_str()).collect();
        if let Some(over) = expected {
            assert_eq!(writes(&look), [format!("apply over 5 ({over}) VirtualService/shop/web")], "{metadata}");
            assert!(taken.is_empty(), "{taken:?}");
        } else {
            assert!(look.writes.is_empty(), "{metadata}");
            assert_eq!(taken, [violation::NAME_TAKEN]);
            assert!(told.repairs.iter().all(|repair| repair.type_ != "Delete"), "{:?}", told.repairs);
            assert_eq!(told.repairs.len(), 1);
        }
    }
}

#[test]
fn what_it_was_before_it_was_taken_over_stays_written_down() {
    let (kind, mut object) = ours(MeshKind::VirtualService, "web", &json!({"hosts": ["x"]}));
    object["metadata"]["annotations"] = json!({keys::MESH_ADOPTED: "{}"});
    let look = looked(&[(kind, object)], &plan(&[routes()]));
    let Write::Apply(applied, ..) = &look.writes[0] else { panic!("{:?}", look.writes) };
    assert_eq!(applied.metadata.annotations.as_ref().unwrap()[keys::MESH_ADOPTED], "{}");
}

#[test]
fn a_kind_that_is_not_installed_is_waited_for() {
    let mut index = index(&[]);
    index.set_absent(Watched::Made(MeshKind::VirtualService), true);
    let rule = wanted(MeshKind::DestinationRule, "web", &json!({"host": "web"}));
    let look = look(&mut index, &web(), &plan(&[rule, routes()]), now());
    assert_eq!(writes(&look), ["apply over 1 (new) DestinationRule/shop/web"]);
    let told = look.told.unwrap();
    assert_eq!((told.state, told.phase), (ConsistencyState::Checking, Phase::Working));
    assert_eq!(told.waits, ["VirtualService of networking.istio.io/v1 is not installed in this cluster"]);
}

#[test]
fn a_namespace_that_is_not_there_is_told_and_not_written_to() {
    let mut object = routes();
    object.metadata.namespace = Some("nowhere".to_owned());
    let look = looked(&[], &plan(&[object]));
    assert!(look.writes.is_empty());
    let told = look.told.unwrap();
    assert_eq!(told.violations[0].message, "References non-existent Namespace/nowhere");
    assert_eq!((told.repairs[0].type_.as_str(), told.repairs[0].resource.as_str()), ("Create", "Namespace/nowhere"));
}

#[test]
fn nothing_is_told_or_made_in_a_namespace_that_is_being_deleted() {
    let mut index = index(&[]);
    let deleting = json!({"metadata": {"name": "shop", "deletionTimestamp": "2026-11-29T10:00:00Z"}});
    let namespace = Seen::read(Watched::Namespace, deleting);
    index.objects_event(Watched::Namespace, Event::Applied(Arc::new(namespace)));
    let look = look(&mut index, &web(), &plan(&[routes()]), now());
    assert!(look.writes.is_empty() && look.told.unwrap().violations.is_empty());
}

#[test]
fn there_are_no_routes_to_subsets_that_cannot_be_made() {
    let (_, rule) = theirs(&json!({}), &json!({"host": "x"}));
    let wanted = [wanted(MeshKind::DestinationRule, "web", &json!({"host": "web"})), routes()];
    let look = looked(&[(MeshKind::DestinationRule, rule)], &plan(&wanted));
    assert!(look.writes.is_empty(), "{:?}", writes(&look));
    assert_eq!(look.told.unwrap().violations[0].type_, violation::NAME_TAKEN);
}

#[test]
fn nothing_is_deleted_before_what_takes_its_place_is_there() {
    let old = ours(MeshKind::VirtualService, "old", &json!({}));
    let taken = theirs(&json!({}), &json!({"hosts": ["x"]}));
    assert!(looked(&[old.clone(), taken], &plan(&[routes()])).writes.is_empty());
    let (key, mut index) = (Key::new("shop", "web"), index(&[old]));
    let object = ObjectKey::made(MeshKind::VirtualService, key.clone());
    for _ in 0..8 {
        index.memory(&key).written(&object, 1, now());
    }
    assert!(look(&mut index, &web(), &plan(&[routes()]), now()).writes.is_empty(), "it waits");
}

#[test]
fn a_refused_write_is_told_as_long_as_it_is_wanted() {
    let (key, mut index) = (Key::new("shop", "web"), index(&[]));
    let object = ObjectKey::made(MeshKind::VirtualService, key.clone());
    index.memory(&key).refused.insert(object, "cannot apply: a quota".to_owned());
    let told = look(&mut index, &web(), &plan(&[routes()]), now()).told.unwrap();
    assert_eq!((told.state, told.phase), (ConsistencyState::RepairFailed, Phase::Working));
    assert_eq!(told.violations[0].type_, violation::WRITE_REFUSED);
    let told = look(&mut index, &web(), &plan(&[]), now()).told.unwrap();
    assert_eq!(told.state, ConsistencyState::Consistent);
}

#[test]
fn what_is_undone_again_and_again_waits() {
    let (key, mut index) = (Key::new("shop", "web"), index(&[]));
    let object = ObjectKey::made(MeshKind::VirtualService, key.clone());
    for _ in 0..8 {
        index.memory(&key).written(&object, 1, now());
    }
    let look = look(&mut index, &web(), &plan(&[routes()]), now());
    assert!(look.writes.is_empty() && look.pause.is_some());
    assert_eq!(look.told.unwrap().state, ConsistencyState::RepairPending);
}

#[test]
fn what_the_checks_say_of_its_objects_is_told_with_what_would_mend_it() {
    let spec = json!({"hosts": ["web"], "http": [{"route": [{"destination": {"host": "web"}}]}]});
    let there = [ours(MeshKind::VirtualService, "web", &spec)];
    let mut index = index(&there);
    let engine = Engine::of_shared(Options::default(), index.judged()).unwrap();
    index.found(Found { findings: engine.findings().into(), changes: 0 });
    let object = wanted(MeshKind::VirtualService, "web", &spec);
    let told = look(&mut index, &web(), &plan(&[object]), now()).told.unwrap();
    assert_eq!((told.state, told.phase), (ConsistencyState::RepairPending, Phase::Stalled));
    let [violation] = &told.violations[..] else { panic!("{:?}", told.violations) };
    assert_eq!(
        (violation.type_.as_str(), violation.resource.as_str()),
        ("ForeignKeyViolation", "VirtualService/shop/web")
    );
    assert_eq!(violation.message, "References non-existent Service/shop/web (IST0101)");
    assert_eq!((told.repairs[0].type_.as_str(), told.repairs[0].resource.as_str()), ("Create", "Service/shop/web"));
}

#[test]
fn a_word_that_is_no_repair_is_told() {
    let look = look(&mut index(&[]), &with(&json!({"annotations": {keys::MESH_REPAIR: "Delete"}})), &plan(&[]), now());
    let told = look.told.unwrap();
    assert_eq!(
        (told.state, told.violations[0].type_.as_str()),
        (ConsistencyState::Consistent, violation::UNKNOWN_REPAIR)
    );
}

/// Returns an object that was made for the MeshService in another owner's namespace.
fn elsewhere() -> (MeshKind, Value) {
    let mut metadata = serde_json::to_value(mark(&web(), &Key::new("edge", "shop.web"))).unwrap();
    metadata["resourceVersion"] = json!("5");
    (MeshKind::VirtualService, json!({"metadata": metadata, "spec": {}}))
}

fn to_subset(name: &str) -> Value {
    json!({"hosts": ["web"], "http": [{"route": [{"destination": {"host": "web", "subset": name}}]}]})
}

#[test]
fn a_subset_goes_after_the_routes_to_it() {
    let rule = |names: &[&str]| {
        let subsets: Vec<Value> = names.iter().map(|name| json!({"name": name, "labels": {"version": name}})).collect();
        json!({"host": "web", "subsets": subsets})
    };
    let plan = plan(&[
        wanted(MeshKind::DestinationRule, "web", &rule(&["v2", "v3"])),
        wanted(MeshKind::VirtualService, "web", &to_subset("v3")),
    ]);
    let applied = |routes: &str, there: &[&str]| {
        let there = [
            ours(MeshKind::DestinationRule, "web", &rule(there)),
            ours(MeshKind::VirtualService, "web", &to_subset(routes)),
        ];
        let look = looked(&there, &plan);
        let of_rule = look.writes.iter().find_map(|write| match write {
            Write::Apply(object, key, _) if key.kind == Watched::Made(MeshKind::DestinationRule) => Some(&object.data),
            _ => None,
        });
        of_rule.map(|data| data["spec"].clone())
    };
    assert_eq!(applied("v1", &["v1", "v2"]), Some(rule(&["v2", "v3", "v1"])), "first with it");
    assert_eq!(applied("v1", &["v2", "v3", "v1"]), None, "until the routes are written");
    assert_eq!(applied("v3", &["v2", "v3", "v1"]), Some(rule(&["v2", "v3"])));
}

#[test]
fn a_service_that_lets_us_is_mended_first_and_is_told_as_pending_until_then() {
    let annotations = json!({keys::MESH_REPAIR: "AddPort"});
    let service = json!({
        "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "5", "annotations": annotations},
        "spec": {"ports": [{"name": "grpc", "port": 9000}]},
    });
    let mut index = index(&[(MeshKind::Service, service)]);
    let plan = index.plan(&web());
    let look = look(&mut index, &web(), &plan, now());
    let expected = [
        "mend over 5 (port 80 was added, named http-80) Service/shop/web",
        "apply over 1 (new) VirtualService/shop/web-mesh",
    ];
    assert_eq!(writes(&look), expected);
    let told = look.told.unwrap();
    assert_eq!((told.state, told.phase), (ConsistencyState::RepairPending, Phase::Working));
    assert_eq!((told.repairs[0].type_.as_str(), told.repairs[0].resource.as_str()), ("AddPort", "Service/shop/web"));
}

#[test]
fn a_port_that_the_service_lacks_is_told_once() {
    let spec =
        json!({"hosts": ["web"], "http": [{"route": [{"destination": {"host": "web", "port": {"number": 80}}}]}]});
    let service = json!({
        "metadata": {"name": "web", "namespace": "shop"}, "spec": {"ports": [{"name": "grpc", "port": 9000}]},
    });
    let mut index = index(&[(MeshKind::Service, service), ours(MeshKind::VirtualService, "web-mesh", &spec)]);
    let engine = Engine::of_shared(Options::default(), index.judged()).unwrap();
    assert!(engine.findings().iter().any(|finding| finding.message.contains("non-existent port 80")));
    index.found(Found { findings: engine.findings().into(), changes: 0 });
    let plan = index.plan(&web());
    let told = look(&mut index, &web(), &plan, now()).told.unwrap();
    let types: Vec<&str> = told.violations.iter().map(|violation| violation.type_.as_str()).collect();
    assert_eq!(types, [violation::PORT_MISSING]);
}

#[test]
fn nobody_is_let_in_anew_before_the_policies_are_there() {
    let policy = wanted(MeshKind::AuthorizationPolicy, "web", &json!({"rules": []}));
    let plan = plan(&[routes(), wanted(MeshKind::Gateway, "web", &json!({})), policy]);
    let expected =
        ["AuthorizationPolicy", "Gateway", "VirtualService"].map(|kind| format!("apply over 1 (new) {kind}/shop/web"));
    assert_eq!(writes(&looked(&[], &plan)), expected);
    let (_, taken) = theirs(&json!({}), &json!({}));
    let taken = (MeshKind::AuthorizationPolicy, taken);
    assert!(looked(std::slice::from_ref(&taken), &plan).writes.is_empty());
    let there = ours(MeshKind::VirtualService, "web", &json!({"hosts": ["x"]}));
    assert_eq!(writes(&looked(&[taken, there], &plan)), ["apply over 5 (drift) VirtualService/shop/web"]);
    let kept = [(MeshKind::AuthorizationPolicy, Key::new("shop", "web"))].into();
    let unknown = Plan { kept, objects: vec![routes()], ..Plan::default() };
    assert!(looked(&[], &unknown).writes.is_empty(), "nobody knows for which Pods it is");
}

#[test]
fn what_is_where_consent_was_withdrawn_goes_first_and_waits_for_nothing() {
    let places = Some(["shop"].into_iter().collect());
    let taken = theirs(&json!({}), &json!({"hosts": ["x"]}));
    let look = looked(&[elsewhere(), taken], &Plan { places: places.clone(), ..plan(&[routes()]) });
    assert_eq!(writes(&look), ["delete VirtualService/edge/shop.web"]);
    let look = looked(&[elsewhere()], &Plan { places, ..plan(&[routes()]) });
    let expected = ["delete VirtualService/edge/shop.web", "apply over 1 (new) VirtualService/shop/web"];
    assert_eq!(writes(&look), expected);
    assert!(look.told.unwrap().managed.is_empty());
}

#[test]
fn a_policy_of_somebody_else_is_given_by_its_own_annotation_alone() {
    let asks = with(&json!({"annotations": {keys::MESH_REPAIR: "Adopt"}}));
    let plan = plan(&[wanted(MeshKind::AuthorizationPolicy, "web", &json!({"rules": []}))]);
    for (metadata, expected) in [(json!({}), 0), (json!({"annotations": {keys::ADOPT: "true"}}), 1)] {
        let (_, theirs) = theirs(&metadata, &json!({}));
        let mut index = index(&[(MeshKind::AuthorizationPolicy, theirs)]);
        assert_eq!(look(&mut index, &asks, &plan, now()).writes.len(), expected, "{metadata}");
    }
}

#[test]
fn what_somebody_changes_back_again_and_again_is_not_said_to_be_well_in_between() {
    let (key, mut index) =
        (Key::new("shop", "web"), index(&[ours(MeshKind::VirtualService, "web", &json!({"hosts": ["web"]}))]));
    let object = ObjectKey::made(MeshKind::VirtualService, key.clone());
    for _ in 0..12 {
        index.memory(&key).written(&object, 1, now());
    }
    let told = |index: &mut MeshIndex, second: i64| {
        let look = look(index, &web(), &plan(&[routes()]), Timestamp::from_second(1_000 + second).unwrap());
        assert!(look.writes.is_empty());
        let told = look.told.unwrap();
        (told.state, told.violations.len(), look.pause)
    };
    let pending = (ConsistencyState::RepairPending, 1, Some(Duration::from_secs(50)));
    assert_eq!(told(&mut index, 10), pending);
    assert_eq!(told(&mut index, 61), (ConsistencyState::Consistent, 0, None));
}

/// `v1` has Pods, `v2` has none, and `x` can have none.
#[test]
fn subsets_that_select_no_pod_are_told_once_they_were_asked_for() {
    let service = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    let subset = |name: &str, labels: Value| json!({"name": name, "labels": labels});
    let subsets = [
        subset("v1", json!({"version": "1"})),
        subset("v2", json!({"version": "2"})),
        subset("x", json!({"app": "x"})),
    ];
    let rule = json!({"host": "web", "subsets": subsets});
    let mut index = index(&[(MeshKind::Service, service), ours(MeshKind::DestinationRule, "web", &rule)]);
    let plan = plan(&[wanted(MeshKind::DestinationRule, "web", &rule)]);
    let first = look(&mut index, &web(), &plan, now());
    let asks: Vec<String> = first.asks.iter().map(Selection::selector).collect();
    assert_eq!(asks, ["app=web,version=1", "app=web,version=2"]);
    for (ask, is_any) in first.asks.into_iter().zip([true, false]) {
        index.memory(&web().key).pods.answered(ask, Some(is_any), now());
    }
    let then = look(&mut index, &web(), &plan, now());
    let told = then.told.unwrap();
    assert_eq!(
        (told.state, then.asks.len(), then.pause),
        (ConsistencyState::Consistent, 0, Some(Duration::from_secs(60)))
    );
    let messages: Vec<&str> = told.violations.iter().map(|told| told.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "The labels version=2 of subset v2 select no Pod of web (IST0173)",
            "The labels app=x of subset x select no Pod of web (IST0173)"
        ]
    );
    let entry =
        json!({"metadata": {"name": "vm", "namespace": "shop"}, "spec": {"labels": {"app": "web", "version": "2"}}});
    let entry = Seen::read(Watched::WorkloadEntry, entry);
    index.objects_event(Watched::WorkloadEntry, Event::Applied(Arc::new(entry)));
    let told = look(&mut index, &web(), &plan, now()).told.unwrap();
    assert_eq!(told.violations.len(), 1, "a machine is as good as a Pod");
}
