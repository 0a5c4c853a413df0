//! Resources of the Pod as a whole: the limits of what its containers may request together, how they grow if a set asks for it,
//! and the loss of the quality of service class.
//!
//! Source: `validatePodResourceConsistency` and `AggregateContainerRequests` (`k8s.io/component-helpers/resource`) of Kubernetes 1.37.

use super::pod_resources::{Growth, PodResources};
use super::{Consequence, FinishedPod, Forecast, Newcomer, Placement};
use crate::api::quantity::Quantity;
use crate::injection::amounts::{Amounts, ContainerAmounts};
use crate::injection::pod_lists::PodList;
use std::borrow::Cow;
use std::collections::BTreeMap;

impl Newcomer<'_> {
    fn amounts(&self) -> ContainerAmounts<'_> {
        match &self.resources {
            Some(computed) => ContainerAmounts::computed(computed),
            None => ContainerAmounts::read(self.container.demands.resources.as_deref()),
        }
    }

    /// Its amounts, and whether it runs as long as the Pod.
    fn counted(&self) -> (bool, ContainerAmounts<'_>) {
        (self.container.fixed.is_sidecar, self.amounts())
    }

    /// Whether its requests and limits of both resources are equal. A Guaranteed Pod needs this of each container.
    fn is_guaranteed(&self) -> bool {
        match &self.resources {
            Some(computed) => ContainerAmounts::computed(computed).are_guaranteed(),
            None => self.container.demands.is_guaranteed,
        }
    }
}

/// The amounts of a Pod's containers in order, each with whether it runs as long as the Pod.
struct Containers<'p> {
    apps: Vec<(bool, ContainerAmounts<'p>)>,
    init: Vec<(bool, ContainerAmounts<'p>)>,
}

impl<'p> Containers<'p> {
    /// The total: the sum over app containers and native sidecars, or the peak during the Pod's start if that is
    /// higher. `of` returns the amounts of one container.
    fn together(&self, of: impl Fn(&ContainerAmounts<'p>) -> Amounts<'p>) -> Amounts<'p> {
        let (mut sum, mut native, mut most) = (Amounts::new(), Amounts::new(), Amounts::new());
        for (_, app) in &self.apps {
            add(&mut sum, &of(app));
        }
        for (goes_on, container) in &self.init {
            let mut starting = of(container);
            if *goes_on {
                add(&mut sum, &starting);
                add(&mut native, &starting);
                starting.clone_from(&native);
            } else {
                add(&mut starting, &native);
            }
            raise(&mut most, &starting);
        }
        raise(&mut sum, &most);
        sum
    }
}

fn add<'a>(sum: &mut Amounts<'a>, more: &Amounts<'a>) {
    for (name, amount) in more {
        let entry = sum.entry(name.clone()).or_insert_with(|| Quantity::from_milli(0, amount.format()));
        // The API server refuses a Pod whose sum overflows.
        *entry = entry.checked_add(*amount).unwrap_or(*entry);
    }
}

fn raise<'a>(amounts: &mut Amounts<'a>, least: &Amounts<'a>) {
    for (name, amount) in least {
        let entry = amounts.entry(name.clone()).or_insert(*amount);
        if entry.compare(*amount).is_lt() {
            *entry = *amount;
        }
    }
}

/// Returns by how much amounts increase.
fn increase<'a>(before: &Amounts<'a>, after: &Amounts<'a>) -> Amounts<'a> {
    let more = after.iter().filter_map(|(name, amount)| {
        let more = before.get(name).map_or(Some(*amount), |before| amount.checked_sub(*before))?;
        (!more.is_zero() && !more.is_negative()).then(|| (name.clone(), more))
    });
    more.collect()
}

impl FinishedPod<'_, '_, '_> {
    /// Returns the containers of the Pod, with the injected containers for which `counts` is true.
    fn containers(&self, counts: impl Fn(&Newcomer<'_>) -> bool) -> Containers<'_> {
        let of_list = |list: PodList| {
            let counted: Vec<&Newcomer<'_>> =
                self.newcomers.iter().filter(|newcomer| newcomer.list == list && counts(newcomer)).collect();
            let at = |placement: Placement| counted.iter().copied().filter(move |n| n.placement == placement);
            let mut all: Vec<(bool, ContainerAmounts<'_>)> = at(Placement::Front).map(Newcomer::counted).collect();
            for (index, own) in self.lists.of(list).map_or(&[][..], |containers| containers).iter().enumerate() {
                let replaced = self.replaced.contains(&*own.name).then(|| at(Placement::Of(index)).next()).flatten();
                let goes_on = own.restart_policy.as_deref() == Some("Always");
                all.push(replaced.map_or_else(|| (goes_on, ContainerAmounts::read(own.resources)), Newcomer::counted));
            }
            all.extend(at(Placement::Back).map(Newcomer::counted));
            all
        };
        Containers { apps: of_list(PodList::App), init: of_list(PodList::Init) }
    }

    /// Raises the Pod's own resources by the requests of injected containers whose sets ask for it.
    pub fn grow(&self, resources: &mut PodResources<'_>, grows: impl Fn(usize) -> bool) -> Vec<Growth> {
        let growing = |newcomer: &Newcomer<'_>| grows(newcomer.set);
        if !self.newcomers.iter().any(growing) {
            return Vec::new();
        }
        let (before, after) = (self.containers(|_| false), self.containers(growing));
        let requested = |all: &Containers<'_>| owned(all.together(ContainerAmounts::requested));
        let limited = |all: &Containers<'_>| owned(all.together(ContainerAmounts::limited));
        let requests = increase(&requested(&before), &requested(&after));
        let mut limits = increase(&limited(&before), &limited(&after));
        // Limits must be at least the requests.
        raise(&mut limits, &requests);
        let mut growth = Vec::new();
        let PodResources(own) = resources;
        for (part, amounts, more) in [("requests", &mut own.requests, requests), ("limits", &mut own.limits, limits)] {
            for (name, amount) in amounts.iter_mut() {
                let Some(sum) = more.get(name).and_then(|more| amount.checked_add(*more)) else { continue };
                *amount = sum;
                growth.push(Growth { part, resource: name.clone().into_owned(), amount: sum });
            }
        }
        growth
    }

    /// Reports requests and limits that exceed the Pod's own resources.
    pub(super) fn check_resources(
        &self,
        resources: &PodResources<'_>,
        grows: impl Fn(usize) -> bool,
        found: &mut Vec<(usize, Forecast)>,
    ) {
        let PodResources(ContainerAmounts { limits, requests }) = resources;
        let (before, after) = (self.containers(|_| false), self.containers(|_| true));
        let before = before.together(ContainerAmounts::requested);
        for (name, asked) in after.together(ContainerAmounts::requested) {
            // Without a request of its own, the Pod's request is the sum of its containers' requests, which may not
            // exceed its limit.
            let of_pod = requests.get(&name).map(|most| ("requests", most));
            let Some((part, most)) = of_pod.or_else(|| Some(("limits", limits.get(&name)?))) else { continue };
            let had_room = before.get(&name).is_none_or(|before| before.compare(*most).is_le());
            if had_room && asked.compare(*most).is_gt() {
                self.add_lack_of_room(&format!("{part}[{name}]"), &name, (*most, asked), &grows, found);
            }
        }
        for newcomer in self.newcomers.iter().filter(|newcomer| newcomer.list == PodList::App) {
            for (name, limit) in &newcomer.amounts().limits {
                if let Some(most) = limits.get(name).filter(|most| limit.compare(**most).is_gt()) {
                    let problem = format!("{limit} is more than the Pod's own spec.resources.limits[{name}], {most}");
                    let field = format!("resources.limits[{name}]");
                    found.push(newcomer.forecast(Consequence::Refused, &field, problem));
                }
            }
        }
    }

    /// Reports the problem for each set that contributes to it.
    fn add_lack_of_room(
        &self,
        field: &str,
        resource: &str,
        (most, asked): (Quantity, Quantity),
        grows: impl Fn(usize) -> bool,
        found: &mut Vec<(usize, Forecast)>,
    ) {
        let mut sets: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for newcomer in self.newcomers {
            let amounts = newcomer.amounts().requested();
            if let Some(amount) = amounts.get(resource).filter(|amount| !amount.is_zero()) {
                let part = format!("spec.{} {:?} {amount}", newcomer.list.field(), newcomer.container.name);
                sets.entry(newcomer.set).or_default().push(part);
            }
        }
        for (set, parts) in sets {
            let annotate = ", or annotate the SidecarSet with outrigger.dev/pod-level-resources: grow";
            let problem = format!(
                "the Pod's own {most} is less than the {asked} that its containers ask for together with {}: raise it{}",
                parts.join(", "),
                if grows(set) { "" } else { annotate }
            );
            let field = format!("spec.resources.{field}");
            found.push((set, Forecast { field, problem, consequence: Consequence::Refused }));
        }
    }

    /// Reports a Pod that was Guaranteed and no longer is.
    pub(super) fn check_quality_of_service(&self, found: &mut Vec<(usize, Forecast)>) {
        let mut spoiling = self.newcomers.iter().filter(|newcomer| !newcomer.is_guaranteed()).peekable();
        if spoiling.peek().is_none() || !self.was_guaranteed() {
            return;
        }
        let mut told = Vec::new();
        for newcomer in spoiling {
            if !told.contains(&newcomer.set) {
                told.push(newcomer.set);
                let problem = "without equal requests and limits of cpu and memory, unless a LimitRange sets them, \
                    the Pod becomes Burstable instead of Guaranteed";
                found.push(newcomer.forecast(Consequence::Changes, "resources", problem.to_owned()));
            }
        }
    }

    fn was_guaranteed(&self) -> bool {
        let all = [PodList::Init, PodList::App]
            .into_iter()
            .filter_map(|list| self.lists.of(list))
            .flat_map(|list| list.iter());
        let mut containers = all.peekable();
        containers.peek().is_some()
            && containers.all(|container| ContainerAmounts::read(container.resources).are_guaranteed())
    }
}

fn owned(amounts: Amounts<'_>) -> Amounts<'static> {
    amounts.into_iter().map(|(name, amount)| (Cow::Owned(name.into_owned()), amount)).collect()
}
