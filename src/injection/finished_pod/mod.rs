//! Predicts what Kubernetes will say about the finished Pod because of what sets injected. Kubernetes does not name the
//! SidecarSet, so its message does not help to find the cause.
//!
//! Source: `ValidatePodSpec` of `k8s.io/kubernetes/pkg/apis/core/validation` 1.37, and the behaviour of the kubelet and of Services.
//! Only checks that depend on the Pod are made here. Problems of a set alone are rejected, or warned about, when the set is written.

mod pod_resources;
mod ports;
mod resources;

pub(super) use pod_resources::PodResources;

use super::container::InjectableContainer;
use super::demands::SecurityDemands;
use super::forecast::{Consequence, Forecast};
use super::pod_lists::{PodList, PodLists};
use super::resources::ComputedResources;
use crate::api::pod::{ContainerView, NamedView, SpecView};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashSet;

/// The termination grace period in seconds if the Pod has none.
pub(super) const GRACE_SECONDS: i64 = 30;

/// A container that a set puts into the Pod.
pub(super) struct Newcomer<'s> {
    /// The index of the set.
    pub set: usize,
    pub list: PodList,
    pub container: &'s InjectableContainer,
    /// The computed resources that replace its own.
    pub resources: Option<ComputedResources>,
    /// Whether it takes block devices from the app containers.
    pub shares_devices: bool,
    pub placement: Placement,
}

/// Where a container is put.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// Replaces the Pod's container at this index.
    Of(usize),
    Front,
    Back,
}

impl Newcomer<'_> {
    /// Whether it is an init container that runs to completion.
    fn ends(&self) -> bool {
        self.list == PodList::Init && !self.container.fixed.is_sidecar
    }

    fn forecast(&self, consequence: Consequence, field: &str, problem: String) -> (usize, Forecast) {
        let field = format!("spec.{} {:?} {field}", self.list.field(), self.container.name);
        (self.set, Forecast { field, problem, consequence })
    }
}

/// A Pod together with the containers injected into it.
pub(super) struct FinishedPod<'p, 'a, 's> {
    spec: Option<&'p SpecView<'a>>,
    lists: &'p PodLists<'a>,
    newcomers: &'p [Newcomer<'s>],
    /// Names of the containers that are replaced.
    replaced: HashSet<&'p str>,
}

impl<'p, 'a, 's> FinishedPod<'p, 'a, 's> {
    pub fn new(spec: Option<&'p SpecView<'a>>, lists: &'p PodLists<'a>, newcomers: &'p [Newcomer<'s>]) -> Self {
        let replaced = newcomers.iter().filter(|newcomer| matches!(newcomer.placement, Placement::Of(_)));
        let replaced = replaced.map(|newcomer| newcomer.container.name.as_str()).collect();
        Self { spec, lists, newcomers, replaced }
    }

    /// Returns the problems, each with the index of its set. `resources` are the Pod's own after injection; `grows` tells whether a set
    /// lets them grow.
    pub fn forecasts(
        &self,
        resources: Option<&PodResources<'_>>,
        grows: impl Fn(usize) -> bool,
    ) -> Vec<(usize, Forecast)> {
        let mut found = Vec::new();
        for newcomer in self.newcomers {
            self.check(newcomer, &mut found);
        }
        self.check_ports(&mut found);
        match resources {
            Some(resources) => self.check_resources(resources, grows, &mut found),
            None => self.check_quality_of_service(&mut found),
        }
        found
    }

    /// Returns the Pod's containers of a list that are not replaced.
    fn others(&self, list: PodList) -> impl Iterator<Item = &ContainerView<'a>> {
        let containers = self.lists.of(list).map_or(&[][..], |containers| containers);
        containers.iter().filter(|container| !self.replaced.contains(&*container.name))
    }

    /// Checks the requirements of one container.
    fn check(&self, newcomer: &Newcomer<'_>, found: &mut Vec<(usize, Forecast)>) {
        let demands = &newcomer.container.demands;
        let mut add = |consequence, field: &str, problem: String| {
            found.push(newcomer.forecast(consequence, field, problem));
        };
        let Some(spec) = self.spec else { return };
        if !demands.claims.is_empty() {
            let claims: Vec<NamedView<'_>> = read(spec.resource_claims).unwrap_or_default();
            for claim in demands.claims.iter().filter(|claim| !claims.iter().any(|own| *own.name == ***claim)) {
                let problem = format!("the Pod has no spec.resourceClaims {claim:?}");
                add(Consequence::Refused, "resources.claims", problem);
            }
        }
        let os = spec.os_name();
        match os.as_deref() {
            Some("windows") => {
                for field in &demands.security.linux_fields {
                    let problem = "cannot be set in a Pod of Windows (spec.os.name)".to_owned();
                    add(Consequence::Refused, &format!("securityContext.{field}"), problem);
                }
            }
            Some("linux") if demands.security.is_for_windows => {
                let problem = "cannot be set in a Pod of Linux (spec.os.name)".to_owned();
                add(Consequence::Refused, "securityContext.windowsOptions", problem);
            }
            _ => {}
        }
        if demands.security.unmasked && !spec.has_own_users() {
            let problem = "Unmasked needs a Pod with hostUsers: false".to_owned();
            add(Consequence::Refused, "securityContext.procMount", problem);
        }
        if (demands.devices || newcomer.shares_devices) && spec.has_own_users() {
            let problem = "cannot be set in a Pod with hostUsers: false".to_owned();
            add(Consequence::Refused, "volumeDevices", problem);
        }
        if !demands.sleeps.is_empty() {
            let grace = read(spec.termination_grace_period_seconds).unwrap_or(GRACE_SECONDS);
            // The API server replaces a negative value by 1.
            let grace = if grace < 0 { 1 } else { grace };
            for (hook, seconds) in demands.sleeps.iter().filter(|(_, seconds)| *seconds > grace) {
                let problem =
                    format!("{seconds} is more than the Pod's terminationGracePeriodSeconds, which is {grace}");
                add(Consequence::Refused, &format!("lifecycle.{hook}.sleep.seconds"), problem);
            }
        }
        if demands.restarts_to_resize && spec.never_restarts() {
            let problem = "must be NotRequired in a Pod with restartPolicy: Never".to_owned();
            add(Consequence::Refused, "resizePolicy", problem);
        }
        for name in &demands.files_of {
            let volume = self.lists.volumes.as_ref().and_then(|volumes| volumes.get(name));
            if volume.is_some_and(|volume| !is_empty_dir(volume.text)) {
                let problem = format!("the Pod's volume {name:?} is not an emptyDir");
                add(Consequence::Refused, "env fileKeyRef", problem);
            }
        }
        if let Some(problem) = self.runs_as_root_that_must_not(&demands.security) {
            add(Consequence::Fails, "securityContext.runAsUser", problem.to_owned());
        }
    }

    /// Whether set and Pod together demand a non-root user and set the root user.
    fn runs_as_root_that_must_not(&self, demands: &SecurityDemands) -> Option<&'static str> {
        let pod = || self.lists.security_context(self.spec);
        match (demands.user, demands.non_root) {
            (Some(0), None) if pod().run_as_non_root == Some(true) => {
                Some("is 0, and the Pod's securityContext has runAsNonRoot: true")
            }
            (None, Some(true)) if pod().run_as_user == Some(0) => {
                Some("is 0 in the Pod's securityContext, and this container has runAsNonRoot: true")
            }
            _ => None,
        }
    }
}

/// Reads a part of the Pod. An unreadable part counts as absent; the API server refuses it.
fn read<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

/// Whether a volume, as JSON text, is an `emptyDir`.
fn is_empty_dir(volume: &str) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Volume<'a> {
        #[serde(borrow, default)]
        empty_dir: Option<&'a RawValue>,
    }
    serde_json::from_str::<Volume<'_>>(volume).is_ok_and(|volume| volume.empty_dir.is_some())
}
