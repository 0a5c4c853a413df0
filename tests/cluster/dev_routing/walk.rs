//! The document of virtualservice-operator, typed as shown.

use anyhow::Result;
use outrigger_testbed::{Case, free_port};
use serde_json::{Value, json};

use super::world::World;
use crate::outrigger::Outrigger;

/// From the seed's document, with other names of namespaces.
const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata:
  name: my-app
  namespace: default
spec:
  selector:
    app: my-app
  ports:
  - port: 80
    targetPort: 8080
";

/// From the seed's document.
const CONFIG: &str = r#"
defaultNamespace: "default"
developerNamespaces:
  - "dev-alice"
  - "dev-bob"
  - "staging"
virtualServiceTemplate: |
  apiVersion: networking.istio.io/v1beta1
  kind: VirtualService
  metadata:
    name: "${serviceName}-virtual-service"
    namespace: "${defaultNamespace}"
  spec:
    hosts:
    - ${serviceName}
    http:
    # Developer routes will be injected here
    - route:
      - destination:
          host: ${serviceName}.${defaultNamespace}.svc.cluster.local
"#;

/// The document's ConfigMap and Services produce the document's VirtualService. One of its namespaces does not exist,
/// which is reported.
pub async fn the_walk_of_the_virtualservice_operator_document_works(case: Case<Outrigger>) -> Result<()> {
    let world = World::new(&case, &["alice", "staging"]).await?;
    let (health, mut start) = (free_port()?, world.start().await?);
    let flags = ["-zap-log-level=debug".to_owned(), format!("-health-probe-bind-address=127.0.0.1:{health}")];
    start.args.extend(flags);
    let outrigger = Outrigger::start(&world.plane, start)?;
    outrigger.ready().await?;
    for (path, text) in [("/healthz", "ok"), ("/readyz", "ready"), ("/metrics", "not found")] {
        let page = outrigger.page_at(health, path).await?.1;
        assert!(page.contains(text), "{path}: {page}");
    }
    let [alice, staging] = &world.developers[..] else { anyhow::bail!("two developers") };
    let bob = format!("{}-bob", world.default);
    let here = |text: &str| {
        text.replace("\"default\"", &world.default)
            .replace("namespace: default", &format!("namespace: {}", world.default))
            .replace("dev-alice", alice)
            .replace("dev-bob", &bob)
            .replace("\"staging\"", staging)
    };
    let service_of = |developer: &str| SERVICE.replace("namespace: default", &format!("namespace: {developer}"));
    world.kubectl(&["apply", "-f", "-"], Some(&service_of(alice))).await?;
    world.kubectl(&["apply", "-f", "-"], Some(&here(SERVICE))).await?;
    world.write_config_map(&json!({"config.yaml": here(CONFIG)})).await?;

    let routed = world.routed("my-app", &[alice]).await?;
    assert_eq!(routed["metadata"]["labels"], json!({"managed-by": "virtualservice-operator"}));
    let owner = &routed["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["name"], &owner["controller"]),
        (&json!("Service"), &json!("my-app"), &json!(true))
    );
    assert_eq!(routed["spec"], shown(&world.default, &[alice]));
    let note = world.event(&world.default, "ConfigMap", super::world::CONFIG_MAP, "NamespacesMissing").await?;
    assert!(note.contains(&bob) && !note.contains(alice.as_str()), "{note}");

    world.kubectl(&["apply", "-f", "-"], Some(&service_of(staging))).await?;
    let routed = world.routed("my-app", &[alice, staging]).await?;
    assert_eq!(routed["spec"], shown(&world.default, &[alice, staging]));
    world.delete_service(alice, "my-app").await?;
    world.routed("my-app", &[staging]).await?;
    // The missing namespace is served as soon as it exists.
    world.create_namespace(&bob).await?;
    world.service(&bob, "my-app").await?;
    world.routed("my-app", &[&bob, staging]).await?;
    assert!(outrigger.metric("rest_client_requests_total{code=\"201\",method=\"POST\"}").await? > 0);
    assert!(
        outrigger.metric("controller_runtime_reconcile_total{controller=\"devrouting\",result=\"success\"}").await? > 0
    );
    world.delete_service(&world.default, "my-app").await?;
    world.not_routed("my-app").await?;
    outrigger.stop().await
}

/// Returns the VirtualService shown in the document.
fn shown(default: &str, developers: &[&String]) -> Value {
    let to = |namespace: &str| json!([{"destination": {"host": format!("my-app.{namespace}.svc.cluster.local")}}]);
    let route = |developer: &&String| json!({"match": [{"headers": {"x-developer": {"exact": developer}}}], "route": to(developer)});
    let http: Vec<Value> = developers.iter().map(route).chain([json!({"route": to(default)})]).collect();
    json!({"hosts": ["my-app"], "http": http})
}
