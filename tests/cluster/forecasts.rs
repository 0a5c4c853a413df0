//! outrigger's predictions about Pods and sets that do not fit together, compared with the API server's answers for the
//! finished Pods.

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use json_patch::Patch;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PostParams};
use outrigger::api::decode;
use outrigger::api::pod::PodView;
use outrigger::injection::{Consequence, Index, InjectableSet, Injected, Injection, Options, PodRequest};
use outrigger_testbed::Case;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::outrigger::Outrigger;
use crate::versions::is_newest;

/// A row of the table.
#[derive(Deserialize)]
struct Row {
    case: String,
    #[serde(default)]
    annotations: Map<String, Value>,
    #[serde(default)]
    container: Map<String, Value>,
    set: Option<Value>,
    pod: Value,
    field: Option<String>,
    /// Whether only the newest Kubernetes has the feature in this row.
    #[serde(default)]
    newest: bool,
}

impl Row {
    fn index(&self) -> Result<Index> {
        let mut container = json!({"name": "sidecar", "image": "side:1"});
        container.as_object_mut().context("an object")?.extend(self.container.clone());
        let mut spec = self.set.clone().unwrap_or_else(|| json!({"containers": [container]}));
        spec["selector"] = json!({"matchLabels": {"app": "forecast"}});
        let set = json!({
            "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "spec": spec,
            "metadata": {"name": "forecast", "annotations": self.annotations},
        });
        let mut index = Index::new(Options::default());
        index.apply_set(InjectableSet::new(decode::sidecarset(set)?)?);
        Ok(index)
    }

    fn pod(&self) -> Value {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "forecast", "labels": {"app": "forecast"}},
            "spec": self.pod,
        });
        let spec = &mut pod["spec"];
        spec["automountServiceAccountToken"] = json!(false);
        if spec["containers"].is_null() {
            spec["containers"] = json!([{"name": "app", "image": "app:1"}]);
        }
        pod
    }

    fn injected(&self) -> Result<(Value, Injected)> {
        let (index, mut pod) = (self.index()?, self.pod());
        let text = pod.to_string();
        let view: PodView<'_> = serde_json::from_str(&text)?;
        let request = PodRequest::create("default", Timestamp::UNIX_EPOCH);
        let Injection::Matched(injected) = index.snapshot().inject(&view, &request)? else { bail!("it matches") };
        let patch = injected.patch.as_deref().context("there is a patch")?;
        json_patch::patch(&mut pod, &serde_json::from_str::<Patch>(patch)?)?;
        Ok((pod, injected))
    }
}

/// Returns the fields for which the API server rejects a Pod in a dry run; empty if it accepts it.
async fn refused_fields(pods: &Api<DynamicObject>, pod: Value) -> Result<Vec<String>> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    match pods.create(&params, &serde_json::from_value(pod)?).await {
        Ok(_) => Ok(Vec::new()),
        Err(kube::Error::Api(status)) if status.code == 422 => {
            let causes = status.details.map(|details| details.causes).unwrap_or_default();
            Ok(causes.into_iter().map(|cause| cause.field).collect())
        }
        Err(error) => bail!(error),
    }
}

/// The API server rejects exactly the predicted Pods, for the predicted field.
pub async fn the_api_server_does_what_is_forecast(case: Case<Outrigger>) -> Result<()> {
    let pods = Api::namespaced_with(case.plane.client(), case.namespace.name(), &ApiResource::erase::<Pod>(&()));
    let rows: Vec<Row> = serde_saphyr::from_str(include_str!("../data/forecasts.yaml"))?;
    let (newest, mut wrong) = (is_newest(&case.plane).await?, Vec::new());
    for row in rows.iter().filter(|row| newest || !row.newest) {
        let (pod, injected) = row.injected().with_context(|| row.case.clone())?;
        let said = &injected.sets[0].forecasts;
        let forecast = said.iter().any(|forecast| forecast.consequence == Consequence::Refused);
        let fields = refused_fields(&pods, pod).await.with_context(|| row.case.clone())?;
        let agrees = match &row.field {
            None => !forecast && fields.is_empty(),
            Some(field) => forecast && fields.iter().any(|refused| refused.starts_with(field.as_str())),
        };
        if !agrees {
            wrong.push(format!("{}\n  said: {said:?}\n  refused for: {fields:?}", row.case));
        }
        // Problems that existed before the sidecar are not reported.
        let without = refused_fields(&pods, row.pod()).await.with_context(|| row.case.clone())?;
        ensure!(without.is_empty(), "{}: refused without the sidecar for {without:?}", row.case);
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
