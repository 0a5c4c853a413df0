//! What Kubernetes is going to say of the finished Pod because of what sets put into it. It names no SidecarSet, so its words help
//! nobody to find the one that is to blame.
//!
//! Source: `ValidatePodSpec` of `k8s.io/kubernetes/pkg/apis/core/validation` 1.37, and what kubelet and Services make of a Pod. Only
//! what depends on the Pod is looked at: what follows from a set alone is refused, or told, when the set is written.

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

/// Seconds that containers have to end, where a Pod does not say.
pub(super) const GRACE_SECONDS: i64 = 30;

/// A container that a set puts into the Pod.
pub(super) struct Newcomer<'s> {
    /// Which of the sets.
    pub set: usize,
    pub list: PodList,
    pub container: &'s InjectableContainer,
    /// What takes the place of its own resources.
    pub resources: Option<ComputedResources>,
    /// Whether it has block devices of the application's.
    pub shares_devices: bool,
    pub placement: Placement,
}

/// Where a container is put.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// In place of the Pod's own at this index.
    Of(usize),
    Front,
    Back,
}

impl Newcomer<'_> {
    /// Whether it is an init container that ends.
    fn ends(&self) -> bool {
        self.list == PodList::Init && !self.container.fixed.is_sidecar
    }

    fn forecast(&self, consequence: Consequence, field: &str, problem: String) -> (usize, Forecast) {
        let field = format!("spec.{} {:?} {field}", self.list.field(), self.container.name);
        (self.set, Forecast { field, problem, consequence })
    }
}

/// A Pod with what is put into it.
pub(super) struct FinishedPod<'p, 'a, 's> {
    spec: Option<&'p SpecView<'a>>,
    lists: &'p PodLists<'a>,
    newcomers: &'p [Newcomer<'s>],
    /// Names of the containers whose place others take.
    replaced: HashSet<&'p str>,
}

impl<'p, 'a, 's> FinishedPod<'p, 'a, 's> {
    pub fn new(spec: Option<&'p SpecView<'a>>, lists: &'p PodLists<'a>, newcomers: &'p [Newcomer<'s>]) -> Self {
        let replaced = newcomers.iter().filter(|newcomer| matches!(newcomer.placement, Placement::Of(_)));
        let replaced = replaced.map(|newcomer| newcomer.container.name.as_str()).collect();
        Self { spec, lists, newcomers, replaced }
    }

    /// What does not fit, each after the set it comes from. `resources` are the Pod's own, as they are going to be, `grows` whether a set
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

    /// The Pod's containers of a list that stay.
    fn others(&self, list: PodList) -> impl Iterator<Item = &ContainerView<'a>> {
        let containers = self.lists.of(list).map_or(&[][..], |containers| containers);
        containers.iter().filter(|container| !self.replaced.contains(&*container.name))
    }

    /// What a container asks of the Pod by itself.
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
            // The API server takes 1 for what is negative.
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

    /// Whether set and Pod together ask for a user other than root that is root.
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

/// A part of the Pod, where it is there and can be read: what cannot is for the API server to refuse.
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
