//! Tests that planning any spec ends, stays in its namespaces, and reports no more than a status can hold.

use super::Fake;
use crate::mesh_service::ObservedMeshService;
use proptest::prelude::*;
use serde_json::{Value, json};

/// The rich samples, which together have each field.
const SAMPLES: [&str; 3] = [
    include_str!("../../../testbed/go/istio-routes/mesh/complex/given.yaml"),
    include_str!("../../../testbed/go/istio-routes/mesh/payments/given.yaml"),
    include_str!("../../../testbed/go/istio-routes/mesh/readme/given.yaml"),
];

/// Collects the paths of all values below one.
fn paths(value: &Value, at: &str, paths: &mut Vec<String>) {
    paths.push(at.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            self::paths(value, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), paths);
        }),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| self::paths(item, &format!("{at}/{index}"), paths));
        }
        _ => {}
    }
}

fn anything() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,300}".prop_map(Value::from),
        "[a-z*./]{0,20}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[null], {"a": {"b": []}}, "x"])),
        Just(json!({"*": "*", "a/b/c": 5, "": {}})),
        "[a-z]".prop_map(|text| Value::from(text.repeat(10_000))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_spec_makes_planning_fail_or_leave_its_namespaces(
        sample in 0..SAMPLES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), anything()), 1..4),
    ) {
        let mut object = crate::documents::parse("given.yaml", SAMPLES[sample].as_bytes()).unwrap()[0].value.clone();
        for (place, value) in changes {
            let mut all = Vec::new();
            paths(&object["spec"], "", &mut all);
            if let Some(changed) = object["spec"].pointer_mut(place.get::<String>(&all)) {
                *changed = value;
            }
        }
        let mut fake = Fake::of(SAMPLES[sample]);
        let own = fake.mesh_services[0].key.namespace.clone();
        fake.mesh_services[0] = ObservedMeshService::read(object);
        let plan = fake.plan(0);
        prop_assert!(plan.violations.len() <= 1000, "{}", plan.violations.len());
        for violation in &plan.violations {
            prop_assert!(violation.message.chars().count() <= 1024);
        }
        for object in &plan.objects {
            let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
            prop_assert!(namespace == own || namespace == "istio-system" && own == "default", "{namespace}");
            let name = object.metadata.name.as_deref().unwrap_or_default();
            prop_assert!(name.len() <= 253 && !name.is_empty());
        }
    }
}
