//! The administrators' whitelist of annotations that SidecarSets may set on Pods: a `ConfigMap` of OpenKruise.

use super::node::FieldPlace;
use crate::api::re2::Re2;
use crate::api::sidecarset::SidecarSet;
use crate::injection::selector::Selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use thiserror::Error;

/// Name of the `ConfigMap`, in the manager's namespace.
pub const CONFIG_MAP: &str = "kruise-configuration";
/// The key in it.
pub const KEY: &str = "SidecarSet_PatchPodMetadata_WhiteList";

/// Which sets may set which annotations.
#[derive(Clone, Debug, Default)]
pub struct Whitelist {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// Matches the labels of SidecarSets; all sets if absent.
    selector: Option<Selector>,
    /// Match annotation keys.
    keys: Vec<Re2>,
}

/// Why the text is not a whitelist.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("ConfigMap {CONFIG_MAP}, key {KEY}: {0}")]
pub struct WhitelistError(String);

#[derive(Deserialize)]
struct WrittenWhitelist {
    #[serde(default)]
    rules: Vec<WrittenRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRule {
    selector: Option<LabelSelector>,
    #[serde(default)]
    allowed_annotation_key_exprs: Vec<String>,
}

impl Whitelist {
    /// Parses the value of the `ConfigMap`'s key.
    ///
    /// # Errors
    /// When it is not JSON of that form, or when a selector or an expression in it is invalid.
    pub fn parse(text: &str) -> Result<Self, WhitelistError> {
        let written: WrittenWhitelist = serde_json::from_str(text).map_err(|e| WhitelistError(e.to_string()))?;
        let mut rules = Vec::new();
        for (index, rule) in written.rules.into_iter().enumerate() {
            let selector = rule
                .selector
                .map(|selector| Selector::parse(&selector, &format!("rules[{index}].selector")))
                .transpose()
                .map_err(|e| WhitelistError(e.to_string()))?;
            let expressions = rule.allowed_annotation_key_exprs.iter().enumerate().map(|(key, expression)| {
                Re2::new(expression).map_err(|problem| {
                    WhitelistError(format!("rules[{index}].allowedAnnotationKeyExprs[{key}]: {problem}"))
                })
            });
            rules.push(Rule { selector, keys: expressions.collect::<Result<_, _>>()? });
        }
        Ok(Self { rules })
    }

    /// Returns the expressions that apply to a set.
    fn expressions<'w>(&'w self, set: &SidecarSet) -> impl Iterator<Item = &'w Re2> {
        let labels = set.metadata.labels.clone().unwrap_or_default();
        let applies = move |rule: &&Rule| {
            let unmet = |selector: &Selector| selector.unmet(|key| labels.get(key).map(String::as_str)).is_some();
            !rule.selector.as_ref().is_some_and(unmet)
        };
        self.rules.iter().filter(applies).flat_map(|rule| &rule.keys)
    }
}

/// Checks that the set may set its annotations on Pods: by the whitelist, or if that has no rule for them, by `others_may`.
/// `place` is its list of patches.
pub(super) fn check(
    set: &SidecarSet,
    whitelist: Option<&Result<Whitelist, WhitelistError>>,
    others_may: bool,
    place: &FieldPlace<'_>,
) {
    let whitelist = match whitelist {
        None if others_may => return,
        None => {
            return place.required(&format!(
                "SidecarSet patch metadata whitelist not found: ConfigMap {CONFIG_MAP} needs the key {KEY}, or turn on the feature gate SidecarSetPatchPodMetadataDefaultsAllowed"
            ));
        }
        Some(Err(error)) => return place.required(&error.to_string()),
        Some(Ok(whitelist)) => whitelist,
    };
    let matchers: Vec<_> = whitelist.expressions(set).collect();
    if matchers.is_empty() {
        if !others_may {
            place.required(
                "sidecarSet patch metadata annotation is not allowed: no rule of the whitelist is for this set",
            );
        }
        return;
    }
    let patches = set.spec.patch_pod_metadata.iter().flatten();
    for key in patches.flat_map(|patch| patch.annotations.iter().flatten().map(|(key, _)| key)) {
        if !matchers.iter().any(|expression| expression.is_match(key)) {
            place.required(&format!("sidecarSet patch metadata annotation({key}) is not allowed"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::set;
    use super::super::{World, validate};
    use super::*;
    use serde_json::json;

    fn problems(whitelist: Option<&str>, gate: bool) -> Vec<String> {
        let set = set(
            &json!({"name": "s", "labels": {"team": "a"}}),
            &json!({"patchPodMetadata": [{"annotations": {"oom-score": "1", "log": "x"}}]}),
        );
        let whitelist = whitelist.map(Whitelist::parse);
        let world = World { whitelist: whitelist.as_ref(), patch_without_whitelist: gate, ..World::default() };
        validate(&set, None, &world).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn without_a_whitelist_the_gate_decides() {
        assert!(problems(None, true).is_empty());
        let found = problems(None, false);
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .starts_with("spec.patchPodMetadata: Required value: SidecarSet patch metadata whitelist not found"),
            "{found:?}"
        );
    }

    #[test]
    fn every_key_matches_an_expression_for_the_set() {
        for (rules, gate, expected) in [
            (json!([{"allowedAnnotationKeyExprs": ["oom", "log"]}]), false, vec![]),
            (
                json!([{"allowedAnnotationKeyExprs": ["oom"]}, {"selector": {"matchLabels": {"team": "a"}}, "allowedAnnotationKeyExprs": ["log"]}]),
                false,
                vec![],
            ),
            (
                json!([{"allowedAnnotationKeyExprs": ["oom"]}]),
                true,
                vec!["spec.patchPodMetadata: Required value: sidecarSet patch metadata annotation(log) is not allowed"],
            ),
            (
                json!([{"selector": {"matchLabels": {"team": "b"}}, "allowedAnnotationKeyExprs": ["oom", "log"]}]),
                true,
                vec![],
            ),
            (
                json!([{"selector": {"matchLabels": {"team": "b"}}, "allowedAnnotationKeyExprs": ["oom", "log"]}]),
                false,
                vec![
                    "spec.patchPodMetadata: Required value: sidecarSet patch metadata annotation is not allowed: no rule of the whitelist is for this set",
                ],
            ),
        ] {
            assert_eq!(problems(Some(&json!({"rules": rules}).to_string()), gate), expected, "{rules}");
        }
    }

    #[test]
    fn a_broken_whitelist_allows_nothing_and_names_the_config_map() {
        for (text, problem) in [
            ("{", "EOF"),
            (
                r#"{"rules": [{"allowedAnnotationKeyExprs": ["("]}]}"#,
                r#"rules[0].allowedAnnotationKeyExprs[0]: invalid regex pattern "(": missing closing )"#,
            ),
            (
                r#"{"rules": [{"selector": {"matchExpressions": [{"key": "a", "operator": "is"}]}}]}"#,
                "rules[0].selector",
            ),
        ] {
            let found = problems(Some(text), true);
            assert_eq!(found.len(), 1);
            let start = "spec.patchPodMetadata: Required value: ConfigMap kruise-configuration, key SidecarSet_PatchPodMetadata_WhiteList: ";
            assert!(found[0].starts_with(&format!("{start}{problem}")), "{found:?}");
        }
    }
}
