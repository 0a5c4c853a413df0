//! One SidecarGenerator in a simulated cluster. Plans are executed at times given by the test.

use super::generator;
use crate::api::keys;
use crate::fetch::{Answer, Validators};
use crate::sidecar_generator::answer::{AnswerProblem, judge};
use crate::sidecar_generator::generator::ObservedGenerator;
use crate::sidecar_generator::memory::{Ended, GeneratorMemory};
use crate::sidecar_generator::neighbours::Neighbours;
use crate::sidecar_generator::plan::{Around, Fetch, Plan, plan};
use crate::sidecar_generator::sidecar::{ObservedSidecar, Ownership};
use crate::sidecar_generator::write::Write;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The time at which each world begins: 2026-01-08T19:07:21Z.
pub const START: i64 = 1_767_899_241;

pub struct World {
    pub generator: Value,
    pub sidecar: Option<Value>,
    pub others: Vec<Value>,
    pub memory: GeneratorMemory,
    pub installed: bool,
    pub now: Timestamp,
    pub random: f64,
}

impl World {
    /// The SidecarGenerator `g` with this spec and nothing else.
    pub fn new(spec: &Value) -> Self {
        Self {
            generator: generator("g", spec),
            sidecar: None,
            others: Vec::new(),
            memory: GeneratorMemory::default(),
            installed: true,
            now: Timestamp::from_second(START).unwrap(),
            random: 1.0,
        }
    }

    /// The SidecarGenerator in the seed's README after its first fetch, with Sidecar and status written.
    pub fn settled() -> Self {
        Self::settled_with(&json!({}))
    }

    /// The same with more fields in its spec.
    pub fn settled_with(more: &Value) -> Self {
        let mut spec = json!({"url": "http://httpd.test.svc.cluster.local:8080/dependencies", "refreshPeriod": "2m",
                              "insecureSkipTLSVerify": true, "workloadSelector": {"labels": {"app": "myapp"}}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut world = Self::new(&spec);
        world.does(&world.plan());
        world.answers(&json!([{"hosts": ["./*", "istio-system/*", "ns1/*", "ns2/*"]}]));
        world.follow();
        world
    }

    pub fn observed(&self) -> ObservedGenerator {
        ObservedGenerator::read(self.generator.clone())
    }

    pub fn plan(&self) -> Plan {
        let mut neighbours = Neighbours::default();
        for sidecar in self.others.iter().chain(&self.sidecar) {
            neighbours.apply(Arc::new(ObservedSidecar::read(sidecar.clone())));
        }
        let floor = Duration::from_secs(10);
        let around =
            Around { neighbours: Some(&neighbours), installed: self.installed, root_namespace: "istio-system", floor };
        plan(&self.observed(), around, &self.memory, self.now)
    }

    /// Executes a plan. Fetches only begin.
    pub fn does(&mut self, plan: &Plan) {
        match plan.fetch {
            Fetch::Start => self.memory.fetching = self.generator["metadata"]["generation"].as_i64(),
            Fetch::Stop => self.memory.fetching = None,
            Fetch::Leave => {}
        }
        match &plan.write {
            Some(Write::Create(object)) => {
                assert!(self.sidecar.is_none());
                self.sidecar = Some(serde_json::to_value(object).unwrap());
            }
            Some(Write::Change(_, changes)) => {
                json_patch::patch(self.sidecar.as_mut().unwrap(), changes).unwrap();
            }
            None => {}
        }
        if plan.write.is_some() {
            self.memory.writes.written(true, self.now);
        }
        if let Some(status) = &plan.status {
            self.generator["status"] = serde_json::to_value(status).unwrap();
        }
    }

    /// Executes plans until only time can change anything. Returns the number of writes and the last plan.
    pub fn follow(&mut self) -> (usize, Plan) {
        for writes in 0.. {
            let plan = self.plan();
            if plan.write.is_none() && plan.status.is_none() && plan.fetch != Fetch::Start {
                return (writes, plan);
            }
            assert!(writes < 10, "there is no end: {plan:?}");
            self.does(&plan);
        }
        unreachable!()
    }

    pub fn wait(&mut self, seconds: i64) {
        self.now = Timestamp::from_second(self.now.as_second() + seconds).unwrap();
    }

    /// The URL answers.
    pub fn answers(&mut self, body: &Value) {
        let bytes = body.to_string().into_bytes().into();
        self.ended(Ok(Answer::Body { status: StatusCode::OK, bytes, validators: Validators::default() }));
    }

    /// The URL answers that nothing has changed.
    pub fn answers_not_modified(&mut self) {
        self.ended(Ok(Answer::NotModified));
    }

    /// The URL fails.
    pub fn fails(&mut self, retry_after: Option<u64>) {
        let retry_after = retry_after.map(Duration::from_secs);
        self.ended(Err(AnswerProblem { retry_after, ..AnswerProblem::new("FetchFailed", "status 500") }));
    }

    fn ended(&mut self, answer: Result<Answer, AnswerProblem>) {
        assert!(self.memory.fetching.is_some(), "nobody asked");
        let generator = self.observed();
        let sidecar = self.sidecar.clone().map(ObservedSidecar::read);
        let own = sidecar.filter(|sidecar| sidecar.ownership(&generator) == Ownership::Own);
        let spec = generator.usable.as_ref().unwrap();
        let answer = answer.and_then(|answer| judge(answer, &generator, spec));
        let ended = Ended { answer, sharing: None, at: self.now, random: self.random };
        self.memory.take(ended, &generator, spec, own.map(|own| own.hosts), Duration::from_secs(10));
    }

    /// A new leader without memory.
    pub fn restart(&mut self) {
        self.memory = GeneratorMemory::default();
    }

    /// Somebody changes the spec.
    pub fn change_spec(&mut self, field: &str, value: Value) {
        self.generator["spec"][field] = value;
        let generation = self.generator["metadata"]["generation"].as_i64().unwrap();
        self.generator["metadata"]["generation"] = json!(generation + 1);
    }

    /// Somebody changes the Sidecar.
    pub fn sidecar(&mut self) -> &mut Value {
        self.sidecar.as_mut().unwrap()
    }

    pub fn hosts(&self) -> &Value {
        &self.sidecar.as_ref().unwrap()["spec"]["egress"][0]["hosts"]
    }

    pub fn hash(&self) -> &str {
        self.sidecar.as_ref().unwrap()["metadata"]["annotations"][keys::SIDECAR_SPEC_HASH].as_str().unwrap()
    }

    pub fn status(&self) -> &Value {
        &self.generator["status"]
    }

    /// Type, status and reason of the conditions.
    pub fn conditions(&self) -> Vec<(&str, &str, &str)> {
        let all = self.status()["conditions"].as_array().unwrap();
        all.iter()
            .map(|condition| ["type", "status", "reason"].map(|of| condition[of].as_str().unwrap()).into())
            .collect()
    }

    /// Returns the condition of this type.
    pub fn condition(&self, type_: &str) -> &Value {
        let mut all = self.status()["conditions"].as_array().unwrap().iter();
        all.find(|condition| condition["type"] == type_).unwrap()
    }

    /// Returns the times of the status in seconds after the start.
    pub fn times(&self) -> (Option<i64>, Option<i64>) {
        let time = |field: &str| {
            let time: Timestamp = self.status()[field].as_str()?.parse().unwrap();
            Some(time.as_second() - START)
        };
        (time("lastSidecarGeneratorUpdate"), time("nextSidecarGeneratorUpdate"))
    }
}

/// Names of Sidecars that were found to select a common Pod.
pub fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
