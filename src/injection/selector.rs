//! Label selectors, parsed once and matched against borrowed labels. They can report which requirement failed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::fmt;

use crate::api::decode::FieldError;

/// A parsed selector. All requirements must hold. A selector without requirements matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One condition on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Key of the label.
    pub key: String,
    /// The operator and its values.
    pub operator: Operator,
}

/// The condition on the label's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Present, with one of these values.
    In(Vec<String>),
    /// Absent, or with none of these values.
    NotIn(Vec<String>),
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
}

impl Selector {
    /// Parses a selector found at `field`.
    ///
    /// # Errors
    /// When an expression has an unknown operator, no key, or values that do not fit its operator.
    pub fn parse(selector: &LabelSelector, field: &str) -> Result<Self, FieldError> {
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.push(Requirement { key: key.clone(), operator: Operator::In(vec![value.clone()]) });
        }
        for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
            let error = |part: &str, problem: &str| FieldError {
                field: format!("{field}.matchExpressions[{index}].{part}"),
                problem: problem.to_owned(),
            };
            let values = expression.values.clone().unwrap_or_default();
            let operator = match (expression.operator.as_str(), values.is_empty()) {
                ("In", false) => Operator::In(values),
                ("NotIn", false) => Operator::NotIn(values),
                ("Exists", true) => Operator::Exists,
                ("DoesNotExist", true) => Operator::DoesNotExist,
                ("In" | "NotIn", true) => return Err(error("values", "In and NotIn need at least one value")),
                ("Exists" | "DoesNotExist", false) => {
                    return Err(error("values", "must be empty with Exists and DoesNotExist"));
                }
                (other, _) => {
                    let problem = format!("{other:?} is not an operator: use In, NotIn, Exists or DoesNotExist");
                    return Err(error("operator", &problem));
                }
            };
            if expression.key.is_empty() {
                return Err(error("key", "must name a label"));
            }
            requirements.push(Requirement { key: expression.key.clone(), operator });
        }
        Ok(Self { requirements })
    }

    /// All requirements.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Returns the first requirement that these labels do not meet; `None` if the selector matches.
    pub fn unmet<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> Option<&Requirement> {
        self.requirements.iter().find(|requirement| !requirement.holds(label(&requirement.key)))
    }
}

impl Requirement {
    /// Whether this value of the label meets the requirement.
    #[must_use]
    pub fn holds(&self, value: Option<&str>) -> bool {
        let among = |values: &[String]| value.is_some_and(|value| values.iter().any(|v| v == value));
        match &self.operator {
            Operator::In(values) => among(values),
            Operator::NotIn(values) => !among(values),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// In the syntax of `kubectl -l`.
impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.operator {
            Operator::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0]),
            Operator::In(values) => write!(f, "{key} in ({})", values.join(",")),
            Operator::NotIn(values) => write!(f, "{key} notin ({})", values.join(",")),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn selector(text: &Value) -> Result<Selector, FieldError> {
        Selector::parse(&serde_json::from_value(text.clone()).unwrap(), "spec.selector")
    }

    fn matches(text: &Value, labels: &[(&str, &'static str)]) -> bool {
        selector(text).unwrap().unmet(|key| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)).is_none()
    }

    #[test]
    fn requirements_hold_as_in_kubernetes() {
        let labels = [("app", "web"), ("tier", "")];
        assert!(matches(&json!({"matchLabels": {"app": "web"}}), &labels));
        assert!(!matches(&json!({"matchLabels": {"app": "db"}}), &labels));
        assert!(matches(
            &json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "web"]}]}),
            &labels
        ));
        assert!(matches(
            &json!({"matchExpressions": [{"key": "gone", "operator": "NotIn", "values": ["a"]}]}),
            &labels
        ));
        assert!(!matches(
            &json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}),
            &labels
        ));
        assert!(matches(&json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}), &labels));
        assert!(!matches(&json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}), &labels));
        assert!(matches(&json!({}), &labels));
    }

    #[test]
    fn what_cannot_be_parsed_is_named() {
        for (expression, message) in [
            (json!({"key": "a", "operator": "in", "values": ["x"]}), "operator: \"in\" is not an operator"),
            (json!({"key": "a", "operator": "In"}), "values: In and NotIn need at least one value"),
            (json!({"key": "a", "operator": "Exists", "values": ["x"]}), "values: must be empty"),
            (json!({"key": "", "operator": "Exists"}), "key: must name a label"),
        ] {
            let error = selector(&json!({"matchExpressions": [expression]})).unwrap_err().to_string();
            assert!(error.starts_with(&format!("spec.selector.matchExpressions[0].{message}")), "{error}");
        }
    }
}
