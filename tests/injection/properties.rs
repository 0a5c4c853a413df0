//! Properties of a patch: it has the effect of the reference, once, changes nothing else, and no input panics.

use json_patch::Patch;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{FileFailurePersistence, TestRunner};
use serde_json::{Map, Value, json};

use crate::api_server::{complete_by_others, default_pod};
use crate::mutators::{mutated, mutators};
use crate::reference::{
    DEFAULT_CONTAINER, HASH, HASH_OF_REST, HASH_WITHOUT_IMAGE, INJECTED_LIST, Outcome, Request, Set, WORKING, inject,
    injected_names, items,
};
use crate::sets::{LISTS, json_values, namespaces, sets};
use crate::shape::fault_of_shape;
use crate::strategies::{Case, cases, mutated_reviews, mutated_sets, review};
use crate::{Answer, NOW, real, real_on_anything, world};

/// `halves` times half of `PROPTEST_CASES` (256) cases. A failure is saved next to this file and tried first from then
/// on.
fn config(halves: u32) -> ProptestConfig {
    let regressions = FileFailurePersistence::Direct("tests/injection/proptest-regressions.txt");
    let default = ProptestConfig::default();
    ProptestConfig { failure_persistence: Some(Box::new(regressions)), cases: halves * default.cases / 2, ..default }
}

proptest! {
    #![proptest_config(config(4))]

    #[test]
    fn the_patch_does_what_the_reference_does(case in cases()) {
        let answer = real(&case.world, &case.request, &case.pod_text);
        let expected = inject(&case.world, &case.request, NOW);
        match (&answer, &expected) {
            (Answer::Patch(patch), Outcome::Injected(pod)) => {
                prop_assert_eq!(fault_of_shape(&case.request.pod, patch), None);
                let [patched, pod] = [patched(&case, patch)?, pod.clone()].map(sorted_lines);
                let difference = diffy::create_patch(&pod, &patched);
                prop_assert!(pod == patched, "the crate differs from the reference:\n{difference}");
            }
            (Answer::Nothing, Outcome::Nothing) => {}
            (Answer::Denied(reason), Outcome::Denied(_)) => prop_assert!(!reason.is_empty()),
            _ => prop_assert!(false, "the crate answers {answer:?}\nthe reference {expected:?}"),
        }
    }
}

/// Returns the JSON with sorted keys, one value on each line.
fn sorted_lines(mut value: Value) -> String {
    value.sort_all_objects();
    format!("{value:#}")
}

/// Whether a container has everything that was written, besides defaults and the mark of injection. SidecarSet's own
/// fields are not part of a container, and resources are canonical.
fn carries(container: &Value, written: &Value) -> bool {
    const NOT_COPIED: [&str; 6] = [
        "podInjectPolicy",
        "upgradeStrategy",
        "shareVolumePolicy",
        "shareVolumeDevicePolicy",
        "transferEnv",
        "resources",
    ];
    match (container, written) {
        (Value::Object(container), Value::Object(written)) => written.iter().all(|(key, written)| {
            NOT_COPIED.contains(&key.as_str())
                || written.is_null()
                || written == ""
                || container.get(key).is_some_and(|value| carries(value, written))
        }),
        (Value::Array(items), Value::Array(written)) => {
            items.len() >= written.len() && items.iter().zip(written).all(|(item, written)| carries(item, written))
        }
        _ => container == written,
    }
}

/// Whether an annotation is merged by one patch and written by another. The first pass may keep a patch's spelling
/// including nulls, and the second merges it into the result of the other.
fn patches_depend_on_each_other(case: &Case) -> bool {
    let patches: Vec<&Value> =
        case.world.sets.iter().flat_map(|set| items(&set.stored, "/spec/patchPodMetadata")).collect();
    let writers = |key: &String| patches.iter().filter(|patch| patch["annotations"].get(key).is_some()).count();
    let mut merging = patches.iter().filter(|patch| patch["patchPolicy"] == "MergePatchJson");
    merging.any(|patch| patch["annotations"].as_object().into_iter().flat_map(Map::keys).any(|key| writers(key) > 1))
}

/// Whether a variable may come from a container that the first pass added, which only a second pass sees.
fn transfers_from_a_sidecar(case: &Case, patched: &Value) -> bool {
    let sets = &case.world.sets;
    let brought: Vec<String> = sets.iter().flat_map(|set| set.injected_names("containers")).collect();
    let of_pod = ["labels", "annotations"].into_iter().filter_map(|field| patched["metadata"][field].as_object());
    let by_pod: Vec<&Value> = of_pod.flat_map(Map::values).collect();
    let containers = sets.iter().flat_map(|set| LISTS.iter().flat_map(|list| set.containers(list)));
    containers.flat_map(|container| items(container, "/transferEnv")).any(|entry| {
        let sources = by_pod.iter().copied().chain(entry.get("sourceContainerName"));
        sources.filter_map(Value::as_str).any(|source| brought.iter().any(|name| name == source))
    })
}

/// Returns the containers of a set's list as written, with their names in the Pod.
fn written_containers(set: &Set, list: &str) -> Vec<Value> {
    let mut containers = Vec::new();
    for (written, stored) in pod_list(&set.written, list).iter().zip(set.containers(list)) {
        for injected in injected_names(list, stored) {
            let mut container = written.clone();
            if injected.ends_with("-2") && injected != name(stored) {
                container["image"] = written["upgradeStrategy"]["hotUpgradeEmptyImage"].clone();
            }
            container["name"] = json!(injected);
            containers.push(container);
        }
    }
    containers
}

proptest! {
    #![proptest_config(config(2))]

    #[test]
    fn a_second_pass_over_the_patched_pod_has_no_patch_whatever_others_added_meanwhile(case in cases()) {
        if let Answer::Patch(patch) = real(&case.world, &case.request, &case.pod_text) {
            let pod = patched(&case, &patch)?;
            let defaulted = default_pod(&pod);
            for pod in [complete_by_others(&defaulted), complete_by_others(&pod), defaulted, pod] {
                let request = Request { pod, ..case.request.clone() };
                let second = real(&case.world, &request, &request.pod.to_string());
                let is_stable = matches!(second, Answer::Nothing);
                prop_assert!(is_stable || patches_depend_on_each_other(&case) || transfers_from_a_sidecar(&case, &request.pod),
                    "{second:?}\nover {:#}", request.pod);
            }
        }
    }
}

proptest! {
    #![proptest_config(config(2))]

    #[test]
    fn what_others_do_to_a_sidecar_is_left_to_them_whether_its_set_enforces_or_not(
        mut case in cases(), mutators in mutators(), enforce in any::<bool>()
    ) {
        if enforce {
            let mut sets: Vec<Value> = case.world.sets.iter().map(|set| set.written.clone()).collect();
            for set in &mut sets {
                set["metadata"]["annotations"]["outrigger.dev/verify"] = json!("enforce");
            }
            case.world.sets = world(&sets, &[]).sets;
        }
        if let Answer::Patch(patch) = real(&case.world, &case.request, &case.pod_text) {
            let pod = mutated(complete_by_others(&default_pod(&patched(&case, &patch)?)), &mutators);
            let request = Request { pod, ..case.request.clone() };
            let second = real(&case.world, &request, &request.pod.to_string());
            let is_stable = matches!(second, Answer::Nothing);
            prop_assert!(is_stable || patches_depend_on_each_other(&case) || transfers_from_a_sidecar(&case, &request.pod),
                "{second:?}\nover {:#}", request.pod);
        }
    }
}

proptest! {
    #![proptest_config(config(1))]

    #[test]
    fn everything_but_what_injection_is_about_stays_as_it_is(case in cases()) {
        if let Answer::Patch(patch) = real(&case.world, &case.request, &case.pod_text) {
            let pod = patched(&case, &patch)?;
            prop_assert_eq!(uninjected(&pod, &case), uninjected(&case.request.pod, &case));
            for list in ["volumes", "imagePullSecrets"] {
                let own = pod_list(&case.request.pod, list);
                prop_assert_eq!(pod_list(&pod, list).get(..own.len()), Some(own), "{} of the Pod come first", list);
            }
            for list in LISTS {
                let own = names(pod_list(&case.request.pod, list));
                let kept: Vec<&str> = names(pod_list(&pod, list)).into_iter().filter(|name| own.contains(name)).collect();
                prop_assert_eq!(kept, own, "{} keep their order", list);
            }
        }
    }

    #[test]
    fn injected_containers_carry_their_own_unknown_fields(case in cases()) {
        if let Answer::Patch(patch) = real(&case.world, &case.request, &case.pod_text) {
            let pod = patched(&case, &patch)?;
            for list in LISTS {
                let received = pod_list(&case.request.pod, list);
                for container in pod_list(&pod, list) {
                    let is_of_set = !received.iter().any(|received| carries(container, received));
                    let written: Vec<Value> = case.world.sets.iter().flat_map(|set| written_containers(set, list)).collect();
                    prop_assert!(!is_of_set || written.iter().any(|written| carries(container, written)), "{container:#}");
                }
            }
        }
    }

    #[test]
    fn mutated_reviews_do_not_panic((case, review) in mutated_reviews()) {
        let sets: Vec<Value> = case.world.sets.iter().map(|set| set.written.clone()).collect();
        real_on_anything(&sets, &case.world.namespaces, review.to_string().as_bytes());
    }

    #[test]
    fn mutated_sidecar_sets_do_not_panic(sets in mutated_sets(), case in cases()) {
        let pod = &case.request.pod;
        real_on_anything(&sets, &case.world.namespaces, review("CREATE", "", "shop", pod).to_string().as_bytes());
    }

    #[test]
    fn arbitrary_json_does_not_panic(sets in sets(), namespaces in namespaces(), any in vec(json_values(), 3)) {
        real_on_anything(&sets, &namespaces, any[0].to_string().as_bytes());
        real_on_anything(&sets, &namespaces, review("CREATE", "", "shop", &any[1]).to_string().as_bytes());
        real_on_anything(&any, &any, json!({"request": any[2]}).to_string().as_bytes());
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(
        sets in sets(), bytes in vec(any::<u8>(), 0..200), (_, review) in mutated_reviews(), cut in any::<prop::sample::Index>()
    ) {
        real_on_anything(&sets, &[], &bytes);
        let review = review.to_string().into_bytes();
        real_on_anything(&sets, &[], &review[..cut.index(review.len())]);
        let mut with_bytes_within = review.clone();
        with_bytes_within.splice(cut.index(review.len()).., bytes);
        real_on_anything(&sets, &[], &with_bytes_within);
    }
}

#[test]
fn the_generated_cases_reach_every_kind_of_outcome() {
    let mut runner = TestRunner::deterministic();
    let (mut injected, mut nothing, mut denied, mut replaced, mut kept) = (0, 0, 0, 0, 0);
    for _ in 0..200 {
        let case = cases().new_tree(&mut runner).expect("a case").current();
        let pod = match inject(&case.world, &case.request, NOW) {
            Outcome::Nothing => {
                nothing += 1;
                continue;
            }
            Outcome::Denied(_) => {
                denied += 1;
                continue;
            }
            Outcome::Injected(pod) => pod,
        };
        injected += 1;
        for list in LISTS {
            let of_sets: Vec<String> = case.world.sets.iter().flat_map(|set| set.injected_names(list)).collect();
            let both = |container: &&Value| of_sets.iter().any(|of_set| of_set == name(container));
            let before: Vec<&Value> = pod_list(&case.request.pod, list).iter().filter(both).collect();
            let stays = before.iter().filter(|container| pod_list(&pod, list).contains(container)).count();
            kept += stays;
            replaced += before.len() - stays;
        }
    }
    let seen =
        [("injected", injected), ("nothing", nothing), ("denied", denied), ("replaced", replaced), ("kept", kept)];
    for (kind, count) in seen {
        assert!(count >= 6, "{kind} only {count} times: {seen:?}");
    }
}

fn patched(case: &Case, patch: &Patch) -> Result<Value, TestCaseError> {
    let mut pod = case.request.pod.clone();
    let applied = json_patch::patch(&mut pod, patch);
    applied.map_err(|error| TestCaseError::fail(format!("{error}\nof {patch}\nto {pod:#}")))?;
    Ok(pod)
}

/// Returns the Pod without everything that injection may write. Missing, null and empty parents are equal.
fn uninjected(pod: &Value, case: &Case) -> Value {
    let mut pod = pod.clone();
    for list in LISTS {
        let of_sets: Vec<String> = case.world.sets.iter().flat_map(|set| set.injected_names(list)).collect();
        if let Some(containers) = pod["spec"][list].as_array_mut() {
            containers.retain(|container| !of_sets.iter().any(|of_set| of_set == name(container)));
        }
    }
    for list in ["volumes", "imagePullSecrets"] {
        remove(&mut pod["spec"], list);
    }
    let patches = case.world.sets.iter().flat_map(|set| items(&set.stored, "/spec/patchPodMetadata"));
    let keys: Vec<&String> = patches.filter_map(|patch| patch["annotations"].as_object()).flat_map(Map::keys).collect();
    if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
        annotations.retain(|key, _| {
            !([HASH, HASH_OF_REST, HASH_WITHOUT_IMAGE, INJECTED_LIST, WORKING].contains(&key.as_str())
                || case.world.default_container && key == DEFAULT_CONTAINER
                || ["version.", "versionalt."].iter().any(|it| key.starts_with(&format!("{it}sidecarset.kruise.io/")))
                || keys.contains(&key))
        });
    }
    for (parent, child) in [
        ("/metadata", "annotations"),
        ("/spec", "initContainers"),
        ("/spec", "containers"),
        ("", "metadata"),
        ("", "spec"),
    ] {
        let Some(parent) = pod.pointer_mut(parent) else { continue };
        let child_is_empty = match &parent[child] {
            Value::Object(fields) => fields.is_empty(),
            Value::Array(elements) => elements.is_empty(),
            other => other.is_null(),
        };
        if child_is_empty {
            remove(parent, child);
        }
    }
    pod
}

fn remove(object: &mut Value, key: &str) {
    object.as_object_mut().and_then(|fields| fields.shift_remove(key));
}

fn pod_list<'a>(pod: &'a Value, list: &str) -> &'a [Value] {
    items(pod, &format!("/spec/{list}"))
}

fn names(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(name).collect()
}

fn name(object: &Value) -> &str {
    object["name"].as_str().unwrap_or_default()
}
