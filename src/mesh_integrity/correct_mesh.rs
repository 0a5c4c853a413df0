//! A correct mesh of any size, as YAML. It uses each checked feature and has no errors.

use std::fmt::Write;

/// Writes a mesh of this many services in namespaces of ten, with routes to them: about six objects per service.
#[must_use]
pub fn correct_mesh(services: usize) -> String {
    let mut text = String::from(ROOT);
    for index in 0..services {
        let (namespace, next) = (index / 10, (index + 10) % services.max(1) / 10);
        if index % 10 == 0 {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "{}",
                NAMESPACE
                    .replace("NEXT", &next.to_string())
                    .replace("NS", &format!("team-{namespace}"))
                    .replace("GATEWAY", &format!("gateway-{}", namespace % 5))
            );
        }
        let filled = SERVICE.replace("NAME", &format!("svc-{index}")).replace("NS", &format!("team-{namespace}"));
        let _ = write!(text, "{}", filled.replace("GATEWAY", &format!("gateway-{}", namespace % 5)));
    }
    text
}

const ROOT: &str = r#"
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: default, namespace: istio-system}
spec:
  host: "*.local"
  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: istio-system}
spec:
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
  egress: [{hosts: ["./*"]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: kubernetes, namespace: istio-system}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: partners, namespace: istio-system}
spec:
  hosts: ["*.partners.example.com"]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: NONE
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: members, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  jwtRules: [{issuer: "https://id.example.com"}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: members, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  action: DENY
  rules: [{from: [{source: {notRequestPrincipals: ["*"]}}], to: [{operation: {paths: [/members/*], ports: ["443"]}}]}]
---
"#;

const NAMESPACE: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: NS, labels: {istio-injection: enabled}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: NS}
spec:
  egress:
  - hosts: ["./*", "istio-system/*", "team-NEXT/*", "*/api.partners.example.com"]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: GATEWAY-NS, namespace: NS}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["./*.NS.example.com"]
    tls: {httpsRedirect: true}
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ["./*.NS.example.com"]
    tls: {mode: SIMPLE, credentialName: NS-certificate}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: database, namespace: NS}
spec:
  hosts: [database.example.com]
  addresses: [192.0.2.10]
  exportTo: ["."]
  ports: [{number: 5432, name: tcp-postgres, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.11}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: legacy, namespace: NS}
spec:
  hosts: [legacy.NS.example.com]
  location: MESH_INTERNAL
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  workloadSelector: {labels: {app: legacy}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: legacy, namespace: NS}
spec: {address: 192.0.2.12, labels: {app: legacy}}
---
apiVersion: v1
kind: Service
metadata: {name: shared, namespace: NS}
spec:
  selector: {app: shared}
  ports: [{name: web, appProtocol: HTTP, port: 80, targetPort: web}]
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: shared, namespace: NS}
spec:
  template:
    metadata: {labels: {app: shared}}
    spec: {containers: [{name: app, image: "app:1", ports: [{name: web, containerPort: 8080}]}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: shared, namespace: NS}
spec:
  workloadSelector: {labels: {app: shared}}
  egress:
  - hosts: ["./*", "istio-system/*", "~./legacy.NS.example.com"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: members-only, namespace: NS}
spec:
  hosts: [members.NS.example.com]
  gateways: [GATEWAY-NS]
  http:
  - match:
    - uri: {prefix: /members}
      headers: {"@request.auth.claims.group": {exact: members}}
    route:
    - destination: {host: shared}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: members-all, namespace: NS}
spec:
  hosts: [members.NS.example.com]
  gateways: [GATEWAY-NS]
  http:
  - route:
    - destination: {host: shared.NS.svc.cluster.local}
---
"#;

const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: NS}
spec:
  selector: {app: NAME}
  ports:
  - {name: http-web, port: 80, targetPort: web}
  - {name: grpc, port: 9000, targetPort: 9000}
  - {name: http-metrics, port: 9090, targetPort: metrics}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME-v1, namespace: NS}
spec:
  selector: {matchLabels: {app: NAME, version: v1}}
  template:
    metadata: {labels: {app: NAME, version: v1}}
    spec:
      initContainers:
      - {name: metrics, image: "metrics:1", restartPolicy: Always, ports: [{name: metrics, containerPort: 9090}]}
      containers: [{name: app, image: "app:1", ports: [{name: web, containerPort: 8080}]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME-v2, namespace: NS}
spec:
  selector: {matchLabels: {app: NAME, version: v2}}
  template:
    metadata: {labels: {app: NAME, version: v2}}
    spec: {containers: [{name: app, image: "app:2", ports: [{name: web, containerPort: 8080}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: NAME, namespace: NS}
spec:
  host: NAME
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 100}}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME, namespace: NS}
spec:
  hosts: [NAME.NS.svc.cluster.local]
  exportTo: ["*"]
  http:
  - match:
    - headers: {x-canary: {exact: "true"}}
    route:
    - destination: {host: NAME, subset: v2, port: {number: 80}}
  - route:
    - destination: {host: NAME.NS.svc.cluster.local, subset: v1, port: {number: 80}}
      weight: 90
    - destination: {host: NAME, subset: v2, port: {number: 80}}
      weight: 10
    mirror: {host: NAME, subset: v2, port: {number: 80}}
    mirrorPercentage: {value: 5}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME-public, namespace: NS}
spec:
  hosts: [NAME.NS.example.com]
  gateways: [GATEWAY-NS, istio-system/kubernetes]
  exportTo: [".", istio-system]
  http:
  - match: [{uri: {prefix: /rpc}, gateways: [GATEWAY-NS]}]
    delegate: {name: NAME-rpc}
  - route:
    - destination: {host: NAME, subset: v1, port: {number: 80}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME-rpc, namespace: NS}
spec:
  http:
  - route:
    - destination: {host: NAME, subset: v1, port: {number: 9000}}
---
"#;
