//! Pure: the VirtualService of a Service: a route to each developer's copy, then the route to the Service itself.

use super::configuration::{Configuration, Matching};
use super::key::Key;
use super::service::{ObservedService, Port, ServiceKind};
use super::template::Rendered;
use super::virtual_service::{LABEL, LABEL_VALUE};
use crate::api::decode::FieldError;
use crate::istio::validate::refused_virtual_service;
use crate::istio::virtual_service::http::{HttpMatch, HttpRoute, StringMatch};
use crate::istio::virtual_service::{Destination, VirtualService, fqdn, is_for_mesh, resolve, service_of};
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// The desired state for a Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routed {
    /// The VirtualService.
    pub rendered: Rendered,
    /// Its `spec` in serialized form.
    pub spec: Value,
    /// Services in the cluster that its template refers to.
    pub targets: BTreeSet<Target>,
    /// Developers whose copies are routed.
    pub developers: Vec<String>,
    /// Copies that cannot be routed, with the reason.
    pub left_out: Vec<(Key, &'static str)>,
}

/// A destination in a template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The Service.
    pub service: Key,
    /// Its port, if the template specifies it.
    pub port: Option<u32>,
}

impl Routed {
    /// Returns namespace and name of the VirtualService.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::new(&self.rendered.namespace, &self.rendered.name)
    }

    /// Returns the full names to which it applies in the mesh.
    #[must_use]
    pub fn mesh_hosts(&self) -> Vec<String> {
        let VirtualService { hosts, gateways, .. } = &self.rendered.virtual_service;
        let hosts = hosts.iter().filter(|_| is_for_mesh(gateways));
        hosts.map(|host| resolve(host, &self.rendered.namespace)).collect()
    }
}

/// Envoy's optional white space around the parts of a `baggage` member.
const OWS: &str = "[ \\t]*";

/// Returns the VirtualService of a Service without an obstacle ([`ObservedService::obstacle`]), with routes to these
/// copies of it.
///
/// # Errors
/// What Istio would reject, or why the template cannot be rendered; by field.
pub fn virtual_service(
    configuration: &Configuration,
    service: &ObservedService,
    copies: &[&ObservedService],
) -> Result<Routed, Vec<FieldError>> {
    let Key { namespace, name } = &service.key;
    let mut rendered = match &configuration.template {
        Some(template) => template.render(name, namespace).map_err(|error| vec![error])?,
        None => without_template(configuration, name, namespace),
    };
    rendered.labels.insert(LABEL.to_owned(), LABEL_VALUE.to_owned());

    let target = |to: &Destination| {
        let host = resolve(&to.host, &rendered.namespace);
        let (name, namespace) = service_of(&host)?;
        Some(Target { service: Key::new(namespace, name), port: to.port.map(|port| port.number) })
    };
    let targets = rendered.virtual_service.destinations().filter_map(target).collect();
    let mut routed = Routed { targets, ..Routed::default() };
    let mut of_developers: Vec<(&str, Vec<HttpRoute>)> = Vec::new();
    for copy in copies {
        match to_copy(configuration, service, copy) {
            Ok(to_copy) => {
                of_developers.push((&copy.key.namespace, to_copy));
                routed.developers.push(copy.key.namespace.clone());
            }
            Err(problem) => routed.left_out.push((copy.key.clone(), problem)),
        }
    }
    let own = &mut rendered.virtual_service.http;
    let last = own.pop().unwrap_or_else(|| to_service(configuration, service));
    let takes_all = last.matches.is_empty();
    let last = at_ports(last, service, &rendered.namespace, true);
    let mut http: Vec<HttpRoute> = std::mem::take(own)
        .into_iter()
        .flat_map(|route| at_ports(route, service, &rendered.namespace, false))
        .collect();
    if configuration.matching.prefix {
        // Requests of a developer without a copy must not go to another one with a shorter name.
        let is_other = |developer: &&String| {
            routed.developers.iter().any(|routed| developer.starts_with(routed))
                && !routed.developers.contains(developer)
        };
        for developer in configuration.developers.iter().filter(|_| takes_all).filter(is_other) {
            let named = last.iter().map(|route| named(&configuration.matching, developer, route));
            of_developers.push((developer, named.collect()));
        }
        of_developers.sort_by_key(|(developer, _)| Reverse(developer.len())); // the most specific first
    }
    http.extend(of_developers.into_iter().flat_map(|(_, routes)| routes));
    http.extend(last);
    rendered.virtual_service.http = http;

    let spec = rendered.virtual_service.spec();
    let errors = refused_virtual_service(&spec, &rendered.namespace);
    if errors.is_empty() { Ok(Routed { rendered, spec, ..routed }) } else { Err(errors) }
}

/// The same name as in vs-operator.
fn without_template(configuration: &Configuration, name: &str, namespace: &str) -> Rendered {
    Rendered {
        name: format!("{name}-virtual-service"),
        namespace: namespace.to_owned(),
        virtual_service: VirtualService {
            hosts: vec![name.to_owned()],
            gateways: configuration.gateways.clone(),
            ..VirtualService::default()
        },
        ..Rendered::default()
    }
}

/// Returns the route to the Service itself.
fn to_service(configuration: &Configuration, service: &ObservedService) -> HttpRoute {
    bounded(configuration, HttpRoute::to(Destination::host(fqdn(&service.key.name, &service.key.namespace))))
}

/// Returns the routes to a copy: one for each HTTP port of the Service.
fn to_copy(
    configuration: &Configuration,
    service: &ObservedService,
    copy: &ObservedService,
) -> Result<Vec<HttpRoute>, &'static str> {
    if let Some(obstacle) = copy.obstacle() {
        return Err(obstacle);
    }
    if copy.kind == ServiceKind::Headless {
        return Err(
            "it is headless: Istio would send requests to the addresses that the client resolved, which are not its own",
        );
    }
    let ports = service.http_ports();
    let routes: Vec<HttpRoute> = ports
        .iter()
        .filter_map(|port| {
            let to = port_of_copy(port, &ports, copy)?;
            let host = fqdn(&copy.key.name, &copy.key.namespace);
            let destination = Destination::host(host).at((copy.ports.len() > 1).then_some(to));
            let mut route = bounded(configuration, HttpRoute::to(destination));
            route.matches = matches(&configuration.matching, &copy.key.namespace);
            if ports.len() > 1 {
                route.matches.iter_mut().for_each(|matches| matches.port = Some(port.number.into()));
            }
            Some(route)
        })
        .collect();
    if routes.is_empty() { Err("none of its ports is one of the Service's, by number or by name") } else { Ok(routes) }
}

/// Returns the port of a copy for a port of the Service: with the same number, else with the same name, else the only one for
/// the only one.
fn port_of_copy(port: &Port, ports: &[&Port], copy: &ObservedService) -> Option<u16> {
    let of_copy = copy.http_ports();
    let same_number = of_copy.iter().find(|other| other.number == port.number);
    let same_name = || of_copy.iter().find(|other| !other.name.is_empty() && other.name == port.name);
    let only = || of_copy.first().filter(|_| of_copy.len() == 1 && ports.len() == 1);
    same_number.or_else(same_name).or_else(only).map(|port| port.number)
}

fn bounded(configuration: &Configuration, route: HttpRoute) -> HttpRoute {
    HttpRoute { timeout: configuration.timeout.clone(), retries: configuration.retries.clone(), ..route }
}

/// Returns the conditions for a developer's requests: any of these.
fn matches(matching: &Matching, developer: &str) -> Vec<HttpMatch> {
    let value = if matching.prefix { StringMatch::prefix(developer) } else { StringMatch::exact(developer) };
    let mut matches: Vec<_> = matching.headers.iter().map(|header| HttpMatch::header(header, value.clone())).collect();
    if matching.baggage {
        matches.push(HttpMatch::header("baggage", StringMatch::regex(member(&matching.headers, developer))));
    }
    matches
}

/// Restricts a route to requests that name this developer.
fn named(matching: &Matching, developer: &str, route: &HttpRoute) -> HttpRoute {
    let port = route.matches.first().and_then(|matches| matches.port);
    let matches = matches(matching, developer).into_iter().map(|matches| HttpMatch { port, ..matches });
    HttpRoute { matches: matches.collect(), ..route.clone() }
}

/// Returns a match for a `baggage` header with a member that names the developer:
/// <https://www.w3.org/TR/baggage/#definition>.
pub(super) fn member(keys: &[String], developer: &str) -> String {
    let keys: Vec<String> = keys.iter().map(|key| quoted(key)).collect();
    let keys = if keys.len() == 1 { keys.concat() } else { format!("(?:{})", keys.join("|")) };
    format!("(?:.*,)?{OWS}{keys}{OWS}={OWS}{}{OWS}(?:[,;].*)?", quoted(developer))
}

/// Returns an RE2 expression that matches only this text, which is the name of a header or namespace.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        if !character.is_ascii_alphanumeric() && !matches!(character, '-' | '_') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted
}

/// Returns a route of the template once for each HTTP port, if it refers to the Service without one of its several ports.
/// `is_last`: no other route follows.
fn at_ports(route: HttpRoute, service: &ObservedService, namespace: &str, is_last: bool) -> Vec<HttpRoute> {
    let name = fqdn(&service.key.name, &service.key.namespace);
    let lacks_port = |to: &Destination| to.port.is_none() && resolve(&to.host, namespace) == name;
    if service.ports.len() < 2 || !route.route.iter().any(|to| lacks_port(&to.destination)) {
        return vec![route];
    }
    let ports = service.http_ports();
    let several = ports.len() > 1;
    let mut routes = Vec::with_capacity(ports.len());
    for (index, port) in ports.iter().enumerate() {
        let number = u32::from(port.number);
        let mut at = route.clone();
        if several {
            at.matches.retain(|matches| matches.port.is_none_or(|port| port == number));
            at.matches.iter_mut().for_each(|matches| matches.port = Some(number));
            if at.matches.is_empty() && !route.matches.is_empty() {
                continue; // it is for other ports
            }
            // The last route takes what no other port takes.
            if at.matches.is_empty() && !(is_last && index + 1 == ports.len()) {
                at.matches.push(HttpMatch { port: Some(number), ..HttpMatch::default() });
            }
        }
        for to in at.route.iter_mut().filter(|to| lacks_port(&to.destination)) {
            to.destination = std::mem::take(&mut to.destination).at(Some(port.number));
        }
        routes.push(at);
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev_routing::tests::{configuration, service, service_with};
    use serde_json::{Value, json};

    const PROD: &str = "app.default.svc.cluster.local";

    fn spec(config: &str, own: &ObservedService, copies: &[&ObservedService]) -> Value {
        virtual_service(&configuration(config), own, copies).unwrap().spec
    }

    fn http(config: &str, own: &ObservedService, copies: &[&ObservedService]) -> Value {
        spec(config, own, copies)["http"].clone()
    }

    fn left_out(own: &ObservedService, copy: &ObservedService) -> bool {
        let routed = virtual_service(&configuration("{baggage: false}"), own, &[copy]).unwrap();
        assert_eq!(routed.developers.is_empty(), !routed.left_out.is_empty());
        routed.developers.is_empty()
    }

    #[test]
    fn it_is_what_the_readme_shows() {
        let copy = service("dev-alice", "app");
        let routed =
            virtual_service(&configuration("developerNamespaces: [dev-alice]"), &service("default", "app"), &[&copy]);
        let rendered = routed.unwrap().rendered;
        assert_eq!((rendered.name.as_str(), rendered.namespace.as_str()), ("app-virtual-service", "default"));
        assert_eq!(rendered.labels, [("managed-by".to_owned(), "virtualservice-operator".to_owned())].into());
        assert_eq!(
            rendered.virtual_service.spec(),
            json!({
                "hosts": ["app"],
                "http": [
                    {
                        "match": [{"headers": {"x-developer": {"exact": "dev-alice"}}}],
                        "route": [{"destination": {"host": "app.dev-alice.svc.cluster.local"}}],
                    },
                    {"route": [{"destination": {"host": PROD}}]},
                ],
            })
        );
    }

    #[test]
    fn a_template_s_last_route_comes_after_the_developers() {
        let template = "
virtualServiceTemplate: |
  apiVersion: networking.istio.io/v1
  kind: VirtualService
  metadata: {name: \"${serviceName}\"}
  spec:
    hosts: [\"${serviceName}\"]
    exportTo: [\".\"]
    http:
    - match: [{uri: {prefix: /health}}]
      directResponse: {status: 200}
    - route: [{destination: {host: \"${serviceName}\", subset: v2}}]
      timeout: 5s
";
        let copy = service("dev", "app");
        let spec = spec(template, &service("default", "app"), &[&copy]);
        let is = |index: usize, field: &str| !spec["http"][index][field].is_null();
        assert!(is(0, "directResponse") && is(1, "match") && is(2, "timeout"), "{spec}");
        assert_eq!(spec["exportTo"], json!(["."]));
        assert_eq!(spec["http"][2]["route"][0]["destination"], json!({"host": "app", "subset": "v2"}));
    }

    #[test]
    fn a_service_of_several_ports_is_routed_port_by_port() {
        let ports = json!([{"name": "http", "port": 80}, {"name": "grpc", "port": 9000}, {"name": "tcp", "port": 1}]);
        let own = service_with("default", "app", &json!({"ports": ports}));
        let other_numbers = json!([{"name": "grpc", "port": 9001}, {"name": "http", "port": 80}]);
        let copy = service_with("dev", "app", &json!({"ports": other_numbers}));
        let developer = |port: u32, to: u32| {
            json!({
                "match": [{"headers": {"x-developer": {"exact": "dev"}}, "port": port}],
                "route": [{"destination": {"host": "app.dev.svc.cluster.local", "port": {"number": to}}}],
            })
        };
        let prod = |port: u32| json!([{"destination": {"host": PROD, "port": {"number": port}}}]);
        assert_eq!(
            http("{}", &own, &[&copy]),
            json!([
                developer(80, 80),
                developer(9000, 9001),
                {"match": [{"port": 80}], "route": prod(80)},
                {"route": prod(9000)},
            ])
        );
        // A copy with only one of the ports is routed by it.
        let only_grpc = service_with("dev", "app", &json!({"ports": [{"name": "grpc", "port": 1234}]}));
        let routes = http("{}", &own, &[&only_grpc]);
        assert_eq!(routes[0]["match"][0]["port"], 9000);
        assert_eq!(routes[0]["route"][0]["destination"], json!({"host": "app.dev.svc.cluster.local"}));
        assert_eq!(routes.as_array().unwrap().len(), 3);
        let neither = service_with("dev", "app", &json!({"ports": [{"name": "web", "port": 1234}]}));
        assert!(left_out(&own, &neither));
        // One of two ports is HTTP: no port is matched, and the destination names it.
        let dns = json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "http", "port": 80}]);
        let own = service_with("default", "app", &json!({"ports": dns}));
        assert_eq!(http("{}", &own, &[]), json!([{"route": prod(80)}]));
    }

    #[test]
    fn routes_of_a_template_get_ports_where_they_lead_to_the_service() {
        let template = "
virtualServiceTemplate: |
  apiVersion: networking.istio.io/v1
  kind: VirtualService
  metadata: {name: \"${serviceName}\"}
  spec:
    hosts: [\"${serviceName}\"]
    http:
    - match: [{port: 81, uri: {prefix: /a}}, {uri: {prefix: /b}}]
      route: [{destination: {host: \"${serviceName}\"}}]
    - match: [{uri: {prefix: /c}}]
      route: [{destination: {host: elsewhere.example.com}}]
    - route: [{destination: {host: \"${serviceName}\", port: {number: 80}}}]
";
        let own =
            service_with("default", "app", &json!({"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}));
        let to = |port: u32| json!([{"destination": {"host": "app", "port": {"number": port}}}]);
        assert_eq!(
            http(template, &own, &[]),
            json!([
                {"match": [{"port": 80, "uri": {"prefix": "/b"}}], "route": to(80)},
                {"match": [{"port": 81, "uri": {"prefix": "/a"}}, {"port": 81, "uri": {"prefix": "/b"}}], "route": to(81)},
                {"match": [{"uri": {"prefix": "/c"}}], "route": [{"destination": {"host": "elsewhere.example.com"}}]},
                {"route": to(80)},
            ])
        );
    }

    #[test]
    fn copies_that_cannot_be_routed_to_are_left_out() {
        let own = service("default", "app");
        assert!(!left_out(&own, &service_with("dev", "app", &json!({"ports": [{"port": 8080}]}))), "the only port");
        for other in [
            json!({"ports": [{"port": 80, "name": "tcp"}]}),
            json!({"ports": [{"port": 80, "protocol": "UDP"}]}),
            json!({"ports": []}),
            json!({"clusterIP": "None"}),
            json!({"type": "ExternalName", "externalName": "a.b"}),
            json!({"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}),
        ] {
            assert!(left_out(&own, &service_with("dev", "app", &other)), "{other}");
        }
    }

    #[test]
    fn headers_prefixes_and_baggage_are_matched_as_configured() {
        let (own, copy) = (service("default", "app"), service("dev", "app"));
        let matches = |config: &str| http(config, &own, &[&copy])[0]["match"].clone();
        assert_eq!(
            matches("headers: [X-Env, x-developer]"),
            json!([{"headers": {"x-env": {"exact": "dev"}}}, {"headers": {"x-developer": {"exact": "dev"}}}])
        );
        assert_eq!(matches("match: prefix"), json!([{"headers": {"x-developer": {"prefix": "dev"}}}]));
        let baggage = matches("baggage: true");
        assert_eq!(baggage[0], json!({"headers": {"x-developer": {"exact": "dev"}}}));
        assert!(baggage[1]["headers"]["baggage"]["regex"].is_string(), "{baggage}");
        let longer = service("dev-a", "app");
        let routes = http("match: prefix", &own, &[&copy, &longer]);
        assert_eq!(routes[0]["match"][0]["headers"]["x-developer"]["prefix"], "dev-a");
        let routes = http("{timeout: 5s, retries: {attempts: 2}, gateways: [mesh, a/b]}", &own, &[&copy]);
        for route in routes.as_array().unwrap() {
            assert_eq!((&route["timeout"], &route["retries"]), (&json!("5s"), &json!({"attempts": 2})));
        }
        assert_eq!(spec("gateways: [mesh, a/b]", &own, &[])["gateways"], json!(["mesh", "a/b"]));
    }

    /// Otherwise they would go to the copy of another developer with a shorter name.
    #[test]
    fn with_a_prefix_requests_of_a_developer_without_a_copy_go_to_everybody_s() {
        let config = "{developerNamespaces: [dev, dev-a, dev-b, other], match: prefix}";
        let own =
            service_with("default", "app", &json!({"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}));
        let copy = |namespace: &str| service_with(namespace, "app", &json!({"ports": [{"name": "a", "port": 80}]}));
        let routes = http(config, &own, &[&copy("dev"), &copy("dev-a")]);
        let told = routes.as_array().unwrap().iter().map(|route| {
            let one = &route["match"][0];
            let developer = one["headers"]["x-developer"]["prefix"].as_str().unwrap_or("anybody");
            let to = route["route"][0]["destination"]["host"].as_str().unwrap();
            format!("{developer} at {} to {}", one["port"], to.trim_end_matches(".svc.cluster.local"))
        });
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                "dev-a at 80 to app.dev-a",
                "dev-b at 80 to app.default",
                "dev-b at null to app.default",
                "dev at 80 to app.dev",
                "anybody at 80 to app.default",
                "anybody at null to app.default",
            ]
        );
    }

    #[test]
    fn a_member_of_baggage_is_matched_as_a_whole() {
        let matches = |keys: &[&str], text: &str| {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            let whole = format!("^(?:{})$", member(&keys, "dev-a"));
            regex_automata::meta::Regex::new(&whole).unwrap().is_match(text)
        };
        for text in [
            "x-developer=dev-a",
            "a=b,x-developer=dev-a",
            "a=b;p=q , x-developer = dev-a ;p,c=d",
            "x-developer=dev-b,x-developer=dev-a",
        ] {
            assert!(matches(&["x-developer"], text), "{text}");
        }
        for text in [
            "",
            "x-developer=dev-ab",
            "x-developer=dev",
            "my-x-developer=dev-a",
            "a=x-developer=dev-a",
            "x-developerXdev-a",
            "x-env=dev-a",
        ] {
            assert!(!matches(&["x-developer"], text), "{text}");
        }
        assert!(matches(&["x.env", "x-developer"], "x-developer=dev-a") && matches(&["x.env"], "x.env=dev-a"));
        assert!(!matches(&["x.env"], "xxenv=dev-a"));
    }
}
