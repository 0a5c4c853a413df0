//! `resourcesPolicy`: the resources of a sidecar, computed from those of the Pod's app containers.
//!
//! A policy is compiled once for each `SidecarSet`. For a Pod, the containers that its regular expression selects are aggregated,
//! each resource separately:
//! * limits: the sum or the maximum, if every container has the limit. Otherwise the Pod's own limit counts
//!   (`spec.resources`). If there is none, the app is unlimited and the sidecar does not get this limit either, not even
//!   from an expression without a variable.
//! * requests: the sum or the maximum. A container without the request counts as 0.
//!
//! The expressions compute the sidecar's resources from the aggregates. A resource without an expression is not set.

use super::expression::{Expression, ExpressionError, Resource};
use super::patterns::Patterns;
use super::transfer::LONGEST_NAME;
use crate::api::decode::FieldError;
use crate::api::quantity::{Quantity, QuantityError};
use crate::api::re2::Re2;
use crate::api::sidecarset::{ResourceExpressions, ResourcesPolicy, TargetContainersMode};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// One value for each of the two resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PerResource<T> {
    /// For `cpu`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<T>,
    /// For `memory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<T>,
}

/// A container of the Pod, as policies see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetContainer<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its limits as written. A number is kept as its text.
    pub limits: PerResource<&'a str>,
    /// Its requests, likewise.
    pub requests: PerResource<&'a str>,
}

/// The computed `resources` of a sidecar. Serializes to the whole object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ComputedResources {
    /// Limits.
    #[serde(skip_serializing_if = "PerResource::is_empty")]
    pub limits: PerResource<Quantity>,
    /// Requests.
    #[serde(skip_serializing_if = "PerResource::is_empty")]
    pub requests: PerResource<Quantity>,
}

/// A policy, ready for Pods.
#[derive(Clone, Debug)]
pub struct CompiledPolicy {
    names: Arc<Re2>,
    mode: TargetContainersMode,
    limits: PerResource<Expression>,
    requests: PerResource<Expression>,
}

/// One of the two parts of `resources`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `limits`
    Limits,
    /// `requests`
    Requests,
}

/// Why a policy cannot compute resources for a Pod.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PolicyError {
    /// The Pod has no container that the policy selects.
    #[error("failed to get target containers: no containers match the regex pattern {pattern:?}")]
    NoTarget {
        /// `targetContainersNameRegex`.
        pattern: String,
    },
    /// A container of the Pod is at fault.
    #[error("container {container:?}: resources.{part}.{resource}: {problem}")]
    Container {
        /// Name of the container.
        container: String,
        /// The part with the quantity.
        part: Part,
        /// The resource.
        resource: Resource,
        /// The problem.
        problem: QuantityError,
    },
    /// The sum overflows.
    #[error("the sum of resources.{part}.{resource} of the target containers is too large")]
    Overflow {
        /// The part.
        part: Part,
        /// The resource.
        resource: Resource,
    },
    /// An expression fails for the Pod's amounts.
    #[error("resourcesPolicy.resourcesExpr.{part}.{resource}: {problem}")]
    Expression {
        /// The part with the expression.
        part: Part,
        /// The resource.
        resource: Resource,
        /// The problem.
        problem: ExpressionError,
    },
    /// Requests exceed limits, which Kubernetes refuses.
    #[error(
        "resourcesPolicy.resourcesExpr: requests.{resource}, {request_expression:?}, come to {request}, and limits.{resource}, {limit_expression:?}, only to {limit}: write min(…) around the first, or max(…) around the second"
    )]
    RequestAboveLimit {
        /// The resource.
        resource: Resource,
        /// The request.
        request: Quantity,
        /// Its expression.
        request_expression: String,
        /// The limit.
        limit: Quantity,
        /// Its expression.
        limit_expression: String,
    },
}

impl CompiledPolicy {
    /// Compiles the policy found at `field`. `patterns` holds the expressions of the set's other policies.
    ///
    /// # Errors
    /// When the regular expression or one of the expressions cannot be parsed, or when the set's regular expressions
    /// are too large.
    pub fn compile(policy: &ResourcesPolicy, field: &str, patterns: &mut Patterns) -> Result<Self, FieldError> {
        let names = patterns
            .compile(&policy.target_containers_name_regex)
            .map_err(|e| FieldError { field: format!("{field}.targetContainersNameRegex"), problem: e.to_string() })?;
        let compile = |part: Part, expressions: Option<&ResourceExpressions>| {
            PerResource::try_from_fn(|resource| match (expressions, resource) {
                (Some(ResourceExpressions { cpu: text, .. }), Resource::Cpu)
                | (Some(ResourceExpressions { memory: text, .. }), Resource::Memory)
                    if !text.is_empty() =>
                {
                    Expression::parse(resource, text).map(Some).map_err(|e| FieldError {
                        field: format!("{field}.resourcesExpr.{part}.{resource}"),
                        problem: e.to_string(),
                    })
                }
                _ => Ok(None),
            })
        };
        Ok(Self {
            names,
            mode: policy.target_containers_mode,
            limits: compile(Part::Limits, policy.resources_expr.limits.as_ref())?,
            requests: compile(Part::Requests, policy.resources_expr.requests.as_ref())?,
        })
    }

    /// Returns the sidecar's `resources`, which replace its own. `containers` are the Pod's app containers and native sidecars that
    /// no matching `SidecarSet` names; the policy selects from them. `pod_limits` are the Pod's own.
    ///
    /// # Errors
    /// When it selects no container, a quantity of a selected container cannot be read, an expression fails, or requests exceed
    /// limits.
    pub fn resources<'c, 't: 'c>(
        &self,
        containers: impl IntoIterator<Item = &'c TargetContainer<'t>>,
        pod_limits: &PerResource<Quantity>,
    ) -> Result<ComputedResources, PolicyError> {
        // No Pod has longer names, and the cost of an expression grows with the text.
        let of_pods = containers.into_iter().filter(|container| container.name.len() <= LONGEST_NAME);
        let targets: Vec<_> = of_pods.filter(|container| self.names.is_match(container.name)).collect();
        if targets.is_empty() {
            return Err(PolicyError::NoTarget { pattern: self.names.as_str().to_owned() });
        }
        let compute = |part| PerResource::try_from_fn(|resource| self.compute(part, resource, &targets, pod_limits));
        let computed = ComputedResources { limits: compute(Part::Limits)?, requests: compute(Part::Requests)? };
        [Resource::Cpu, Resource::Memory].into_iter().try_for_each(|resource| self.compare(resource, &computed))?;
        Ok(computed)
    }

    /// Fails if a request exceeds the limit.
    fn compare(&self, resource: Resource, computed: &ComputedResources) -> Result<(), PolicyError> {
        match (computed.requests.get(resource), computed.limits.get(resource)) {
            (Some(request), Some(limit)) if request.compare(*limit).is_gt() => {
                let text = |of: &PerResource<Expression>| of.get(resource).map(ToString::to_string).unwrap_or_default();
                Err(PolicyError::RequestAboveLimit {
                    resource,
                    request: *request,
                    request_expression: text(&self.requests),
                    limit: *limit,
                    limit_expression: text(&self.limits),
                })
            }
            _ => Ok(()),
        }
    }

    fn compute(
        &self,
        part: Part,
        resource: Resource,
        targets: &[&TargetContainer<'_>],
        pod_limits: &PerResource<Quantity>,
    ) -> Result<Option<Quantity>, PolicyError> {
        let expressions = match part {
            Part::Limits => &self.limits,
            Part::Requests => &self.requests,
        };
        let Some(expression) = expressions.get(resource) else { return Ok(None) };
        let mut aggregate = None;
        for target in targets {
            let quantity = match target.part(part).get(resource) {
                Some(text) => read(text).map_err(|problem| {
                    let container = target.name.to_owned();
                    PolicyError::Container { container, part, resource, problem }
                })?,
                None if part == Part::Limits => {
                    aggregate = pod_limits.get(resource).copied();
                    break;
                }
                None => Quantity::from_milli(0, resource.format()),
            };
            aggregate = Some(match aggregate {
                None => quantity,
                Some(aggregate) => self.join(aggregate, quantity).ok_or(PolicyError::Overflow { part, resource })?,
            });
        }
        let Some(aggregate) = aggregate else { return Ok(None) };
        let evaluated = expression.evaluate(aggregate);
        evaluated.map(Some).map_err(|problem| PolicyError::Expression { part, resource, problem })
    }

    fn join(&self, one: Quantity, other: Quantity) -> Option<Quantity> {
        match self.mode {
            TargetContainersMode::Sum => one.checked_add(other),
            TargetContainersMode::Max => Some(if one.compare(other).is_lt() { other } else { one }),
        }
    }
}

/// Reads a quantity as the API server stores it: rounded to thousandths.
fn read(text: &str) -> Result<Quantity, QuantityError> {
    Quantity::parse(text).map(Quantity::round_up_to_milli)
}

impl<T> Default for PerResource<T> {
    fn default() -> Self {
        Self { cpu: None, memory: None }
    }
}

impl<T> PerResource<T> {
    /// Returns the value for `resource`.
    #[must_use]
    pub fn get(&self, resource: Resource) -> Option<&T> {
        match resource {
            Resource::Cpu => self.cpu.as_ref(),
            Resource::Memory => self.memory.as_ref(),
        }
    }

    fn try_from_fn<E>(make: impl Fn(Resource) -> Result<Option<T>, E>) -> Result<Self, E> {
        Ok(Self { cpu: make(Resource::Cpu)?, memory: make(Resource::Memory)? })
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cpu.is_none() && self.memory.is_none()
    }
}

impl<'a> TargetContainer<'a> {
    fn part(&self, part: Part) -> &PerResource<&'a str> {
        match part {
            Part::Limits => &self.limits,
            Part::Requests => &self.requests,
        }
    }
}

/// The name of the field.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Limits => "limits",
            Self::Requests => "requests",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(yaml: &str) -> CompiledPolicy {
        let policy: ResourcesPolicy = serde_saphyr::from_str(yaml).unwrap_or_else(|e| panic!("{e}"));
        CompiledPolicy::compile(&policy, "policy", &mut Patterns::default()).unwrap_or_else(|e| panic!("{e}"))
    }

    fn amounts<'a>(cpu: &'a str, memory: &'a str) -> PerResource<&'a str> {
        let written = |text: &'a str| (!text.is_empty()).then_some(text);
        PerResource { cpu: written(cpu), memory: written(memory) }
    }

    fn container<'a>(
        name: &'a str,
        limits: PerResource<&'a str>,
        requests: PerResource<&'a str>,
    ) -> TargetContainer<'a> {
        TargetContainer { name, limits, requests }
    }

    fn resources(policy: &CompiledPolicy, containers: &[TargetContainer<'_>]) -> String {
        let resources = policy.resources(containers, &PerResource::default()).unwrap_or_else(|e| panic!("{e}"));
        serde_json::to_string(&resources).unwrap_or_else(|e| panic!("{e}"))
    }

    const SHARES: &str = "
        targetContainersMode: sum
        targetContainersNameRegex: ^app
        resourcesExpr:
          limits: {cpu: 'max(cpu*50%, 50m)', memory: 200Mi}
          requests: {cpu: cpu*50%, memory: 'max(memory/4, 64Mi)'}";

    #[test]
    fn sums_are_over_the_containers_that_the_expression_selects() {
        let containers = [
            container("app-1", amounts("200m", "1Gi"), amounts("100m", "512Mi")),
            container("my-app", amounts("9", "9Gi"), amounts("9", "9Gi")),
            container("app-2", amounts("1", "1G"), amounts("", "")),
        ];
        assert_eq!(
            resources(&policy(SHARES), &containers),
            r#"{"limits":{"cpu":"600m","memory":"200Mi"},"requests":{"cpu":"50m","memory":"128Mi"}}"#
        );
        assert_eq!(
            resources(&policy(&SHARES.replace("sum", "max")), &containers),
            r#"{"limits":{"cpu":"500m","memory":"200Mi"},"requests":{"cpu":"50m","memory":"128Mi"}}"#
        );
    }

    #[test]
    fn one_container_without_the_limit_leaves_the_sidecar_without_even_from_a_constant() {
        let unlimited = [
            container("app-1", amounts("1", "1Gi"), amounts("100m", "512Mi")),
            container("app-2", amounts("1", ""), amounts("", "")),
        ];
        for mode in ["sum", "max"] {
            let json = resources(&policy(&SHARES.replace("sum", mode)), &unlimited);
            assert!(json.contains(r#""limits":{"cpu":""#) && !json.contains("200Mi"), "{json}");
        }
        let bare = [container("app", amounts("", ""), amounts("", ""))];
        assert_eq!(resources(&policy(SHARES), &bare), r#"{"requests":{"cpu":"0","memory":"64Mi"}}"#);
    }

    #[test]
    fn a_resource_without_expression_is_not_set() {
        let app = [container("app", amounts("1", "1Gi"), amounts("1", "nonsense"))];
        for (expressions, json) in [
            ("{limits: {cpu: cpu}}", r#"{"limits":{"cpu":"1"}}"#),
            ("{limits: {cpu: '', memory: memory}}", r#"{"limits":{"memory":"1Gi"}}"#),
            ("{requests: {cpu: cpu*2}}", r#"{"requests":{"cpu":"2"}}"#),
            ("{}", "{}"),
        ] {
            let policy = policy(&format!("{{targetContainersMode: max, resourcesExpr: {expressions}}}"));
            assert_eq!(resources(&policy, &app), json, "{expressions}");
        }
    }

    #[test]
    fn aggregates_keep_the_notation_of_the_first_that_is_not_zero() {
        let policy = policy(
            "{targetContainersMode: sum, resourcesExpr: {limits: {memory: memory}, requests: {memory: memory}}}",
        );
        for (amounts_of_memory, sum) in [
            (["1Gi", "1Mi"], "1025Mi"),
            (["1e9", "1Gi"], "2073741824"),
            (["0", "1Gi"], "1Gi"),
            (["1e9", "1e9"], "2e9"),
            (["100u", "100u"], "2m"),
        ] {
            let containers = amounts_of_memory.map(|memory| container("app", amounts("", memory), amounts("", memory)));
            let expected = format!(r#"{{"limits":{{"memory":"{sum}"}},"requests":{{"memory":"{sum}"}}}}"#);
            assert_eq!(resources(&policy, &containers), expected);
        }
    }

    #[test]
    fn errors_name_pattern_container_and_expression() {
        let policy = policy(&SHARES.replace("max(memory/4, 64Mi)", "memory-1Gi"));
        let error = |containers: &[_]| {
            policy.resources(containers, &PerResource::default()).map(drop).map_err(|e| e.to_string())
        };
        let none = "failed to get target containers: no containers match the regex pattern \"^app\"".to_owned();
        assert_eq!(error(&[]), Err(none.clone()));
        assert_eq!(error(&[container("web", amounts("1", ""), amounts("", ""))]), Err(none));
        assert_eq!(
            error(&[container("app", amounts("1", "5Mi"), amounts("1x", ""))]),
            Err(format!("container \"app\": resources.requests.cpu: {}", QuantityError::Syntax("1x".to_owned())))
        );
        assert_eq!(
            error(&[container("app", amounts("", ""), amounts("1", "512Mi"))]),
            Err("resourcesPolicy.resourcesExpr.requests.memory: expression \"memory-1Gi\": the result -512Mi is negative"
                .to_owned())
        );
        let huge = [container("app", amounts("", ""), amounts("100000000000E", "1Gi")); 2];
        let overflow = PolicyError::Overflow { part: Part::Requests, resource: Resource::Cpu };
        assert_eq!(error(&huge), Err(overflow.to_string()));
    }

    #[test]
    fn what_cannot_be_compiled_is_an_error_of_its_field() {
        for (yaml, field) in [
            (
                "{targetContainersMode: sum, targetContainersNameRegex: 'a**', resourcesExpr: {}}",
                "p.targetContainersNameRegex",
            ),
            ("{targetContainersMode: sum, resourcesExpr: {limits: {cpu: cpu*}}}", "p.resourcesExpr.limits.cpu"),
            ("{targetContainersMode: sum, resourcesExpr: {requests: {memory: x}}}", "p.resourcesExpr.requests.memory"),
        ] {
            let policy: ResourcesPolicy = serde_saphyr::from_str(yaml).unwrap_or_else(|e| panic!("{e}"));
            let error = CompiledPolicy::compile(&policy, "p", &mut Patterns::default()).map(drop).map_err(|e| e.field);
            assert_eq!(error, Err(field.to_owned()));
        }
    }

    #[test]
    fn a_pods_own_limit_counts_where_a_container_has_none() {
        let policy = policy(SHARES);
        let containers = [
            container("app-1", amounts("200m", "1Gi"), amounts("100m", "256Mi")),
            container("app-2", amounts("", "1Gi"), amounts("100m", "256Mi")),
        ];
        let limited = |cpu: &str| {
            let pod = PerResource { cpu: Quantity::parse(cpu).ok(), memory: Quantity::parse("64Mi").ok() };
            policy.resources(&containers, &pod).unwrap().limits
        };
        assert_eq!(limited("2").cpu.map(|cpu| cpu.to_string()).as_deref(), Some("1"));
        assert_eq!(limited("2").memory.map(|memory| memory.to_string()).as_deref(), Some("200Mi"), "all have one");
        assert_eq!(limited("").cpu, None);
    }

    /// Kubernetes: "must be less than or equal to cpu limit".
    #[test]
    fn requests_that_come_to_more_than_limits_are_told_with_both_expressions() {
        let policy = policy(
            "
            targetContainersMode: sum
            resourcesExpr: {limits: {cpu: 'cpu*50%'}, requests: {cpu: 'max(cpu*10%, 50m)'}}",
        );
        let error = |limit: &str| {
            let containers = [container("app", amounts(limit, ""), amounts("10m", ""))];
            policy.resources(&containers, &PerResource::default()).map(drop).map_err(|e| e.to_string())
        };
        assert_eq!(error("100m"), Ok(()));
        assert_eq!(
            error("80m"),
            Err("resourcesPolicy.resourcesExpr: requests.cpu, \"max(cpu*10%, 50m)\", come to 50m, and limits.cpu, \"cpu*50%\", only to 40m: write min(…) around the first, or max(…) around the second".to_owned())
        );
    }
}
