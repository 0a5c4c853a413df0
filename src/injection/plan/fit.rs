//! Checks whether each set fits the finished Pod, and raises the Pod's resources so that it does.

use super::{PatchPlan, PodList};
use crate::injection::finished_pod::FinishedPod;
use crate::injection::forecast::{self, Consequence, Forecast};
use crate::injection::pod_security::{Enforced, Finding, PodSecurity};
use serde_json::Value;

impl PatchPlan<'_, '_> {
    /// Raises the Pod's own resources if a set asks for it, and collects what does not fit the finished Pod.
    pub fn fit(&mut self) {
        if self.newcomers.is_empty() {
            return;
        }
        let finished = FinishedPod::new(self.pod.spec.as_ref(), self.lists, &self.newcomers);
        if let Some(resources) = &mut self.pod_resources {
            for growth in finished.grow(resources, |set| self.matches[set].grows_pod) {
                let amount = Value::String(growth.amount.to_string()).to_string();
                self.patch.add(["spec", "resources", growth.part, &growth.resource], &amount);
            }
        }
        for (set, forecast) in finished.forecasts(self.pod_resources.as_ref(), |set| self.matches[set].grows_pod) {
            self.forecasts[set].push(forecast);
        }
    }

    /// Collects violations of the Pod Security level that the Namespace enforces, for each added container and volume.
    pub fn pod_security(&mut self, enforced: Enforced, pod: &PodSecurity<'_>) {
        let forecast = |field: String, findings: &[Finding]| {
            let broken = findings.iter().filter(|finding| finding.breaks(enforced, pod)).map(|f| &*f.text);
            let broken = broken.collect::<Vec<_>>().join(", ");
            let problem = format!("breaks Pod Security {}: {broken}", enforced.level.name());
            (!broken.is_empty()).then_some(Forecast { field, problem, consequence: Consequence::Refused })
        };
        for (set, m) in self.matches.iter().enumerate() {
            let of_list = |list| m.containers(list, self.lists).map(move |container| (list, container));
            let containers = of_list(PodList::Init).chain(of_list(PodList::App)).filter_map(|(list, container)| {
                forecast(format!("spec.{} {:?}", list.field(), container.name), &container.pod_security)
            });
            self.forecasts[set].extend(containers);
            let volumes = self.added_volumes.iter().filter(|(of, _)| *of == m.name);
            let volumes = volumes
                .filter_map(|(_, volume)| forecast(format!("spec.volumes {:?}", volume.name), &volume.pod_security));
            self.forecasts[set].extend(volumes);
        }
    }

    /// Adds one warning for each set that does not fit.
    pub fn warn_of_forecasts(&mut self) {
        for (m, forecasts) in self.matches.iter().zip(&self.forecasts) {
            if let Some(line) = forecast::line(m.name, forecasts) {
                self.warnings.push(line);
            }
        }
    }
}
