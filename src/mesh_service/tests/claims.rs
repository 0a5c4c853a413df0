//! Tests of who owns a Service, a Gateway and a place in a namespace.

use super::table::{EDGE, consenting, named, web};
use super::{Fake, names, said};
use crate::api::keys;
use crate::mesh_service::{Key, MeshKind, violation};

#[test]
fn nothing_is_made_in_another_namespace_that_does_not_let_it_in() {
    let yaml = web("namespace: other, serviceEntries: [{hosts: [a.com], resolution: NONE}]");
    let plan = Fake::of(&yaml).plan(0);
    assert_eq!(names(&plan), [""; 0]);
    assert_eq!(
        said(&plan),
        ["NoConsent: spec.namespace: the Namespace other does not let MeshServices of shop in: annotate it \
          outrigger.dev/allow-mesh-from: shop"]
    );
    assert!(plan.sweeps(MeshKind::VirtualService, &Key::new("other", "shop.web-mesh")), "consent was withdrawn");
    let plan = Fake::of(&(yaml + &consenting("other"))).plan(0);
    assert_eq!(names(&plan), ["ServiceEntry other/shop.web-a-com", "VirtualService other/shop.web-mesh"]);
    assert!(plan.objects.iter().all(|object| object.metadata.owner_references.is_none()), "{plan:?}");
}

#[test]
fn of_two_that_name_one_service_the_older_has_its_wish() {
    let fake = Fake::of(&(named("first", "", "") + &named("second", "", "")));
    assert_eq!(names(&fake.plan(0)), ["VirtualService shop/first-mesh"]);
    let second = fake.plan(1);
    assert_eq!(names(&second), [""; 0]);
    assert!(
        said(&second)[0]
            .starts_with("ServiceClaimed: The MeshService shop/first names the Service shop/web, too, and is older: "),
        "{second:?}"
    );
}

/// Returns a MeshService that serves `SERVICE`, as its status says.
fn serving(mesh_service: &str, service: &str) -> String {
    mesh_service.replace("\n---", &format!("\nstatus: {{service: {service}}}\n---"))
}

/// Otherwise an edited older one would take its routes and policies away.
#[test]
fn who_serves_a_service_keeps_it_whoever_is_older() {
    let younger = serving(&named("second", "", ""), "shop/web");
    for older in [named("first", "", ""), serving(&named("first", "", ""), "shop/other")] {
        let fake = Fake::of(&(older + &younger));
        assert_eq!(names(&fake.plan(0)), [""; 0]);
        assert_eq!(fake.plan(0).service, None);
        assert!(said(&fake.plan(0))[0].contains("shop/second names the Service shop/web, too, and has it already"));
        assert_eq!(names(&fake.plan(1)), ["VirtualService shop/second-mesh"]);
        assert_eq!(fake.plan(1).service.as_deref(), Some("shop/web"));
    }
    let both = serving(&named("first", "", ""), "shop/web") + &younger;
    assert_eq!(names(&Fake::of(&both).plan(1)), [""; 0], "of two that serve the older does");
}

/// Its objects stay, so those of another one would have the same hosts.
#[test]
fn who_serves_a_service_keeps_it_whatever_is_wrong_with_its_spec() {
    let broken = serving(&named("first", "", "timeout: 5"), "shop/web");
    let fake = Fake::of(&(broken + &named("second", "", "")));
    assert!(said(&fake.plan(0))[0].starts_with("InvalidSpec: spec.timeout: "));
    assert_eq!(fake.plan(0).service.as_deref(), Some("shop/web"));
    assert!(said(&fake.plan(1))[0].starts_with("ServiceClaimed: The MeshService shop/first "), "{:?}", fake.plan(1));
    let never_served = named("first", "", "timeout: 5");
    let fake = Fake::of(&(never_served + &named("second", "", "")));
    assert_eq!(names(&fake.plan(1)), ["VirtualService shop/second-mesh"]);
}

/// The owner of a MeshService cannot keep its objects where they are no longer allowed.
#[test]
fn what_is_where_consent_was_withdrawn_goes_whatever_else_is_said() {
    let not_managed = format!("annotations: {{{}: 'false'}}", keys::MANAGED);
    let service = format!("kind: Service\nmetadata: {{name: web, namespace: other, {not_managed}}}\nspec: {{}}\n---\n");
    let elsewhere = "namespace: other";
    for yaml in [
        named("web", &not_managed, elsewhere),
        named("web", "", &format!("{elsewhere}, timeout: 5")),
        web(elsewhere) + &service,
        web(elsewhere),
    ] {
        let sweeps = |yaml: &str, namespace: &str| {
            let plan = Fake::of(yaml).with([MeshKind::VirtualService]).plan(0);
            let no_consent = plan.violations.iter().filter(|told| told.type_ == violation::NO_CONSENT).count();
            (plan.sweeps(MeshKind::AuthorizationPolicy, &Key::new(namespace, "shop.web")), no_consent)
        };
        assert_eq!(sweeps(&yaml, "other"), (true, 1), "{yaml}");
        assert_eq!(sweeps(&(yaml.clone() + &consenting("other")), "other"), (false, 0), "{yaml}");
        assert_eq!(sweeps(&yaml, "shop"), (false, 1), "{yaml}");
        assert!(sweeps(&yaml, "third").0, "{yaml}");
    }
}

/// Otherwise a user could block the MeshService of a Service by naming the Service first.
#[test]
fn an_older_one_that_may_have_nothing_in_the_namespace_does_not_count() {
    let intruder = named("first", "namespace: evil", "namespace: shop");
    let fake = Fake::of(&(intruder.clone() + &web("")));
    assert_eq!(names(&fake.plan(1)), ["VirtualService shop/web-mesh"]);
    let consent = "kind: Namespace\nmetadata: {name: shop, annotations: {outrigger.dev/allow-mesh-from: evil}}\n";
    let fake = Fake::of(&(intruder + &web("") + consent));
    assert_eq!(names(&fake.plan(0)), ["VirtualService shop/evil.first-mesh"]);
    assert_eq!(names(&fake.plan(1)), [""; 0]);
}

#[test]
fn of_two_that_name_a_gateway_that_does_not_exist_the_older_makes_it() {
    let other = web(EDGE).replace("serviceName: web", "serviceName: other").replace("name: web", "name: other");
    let fake = Fake::of(&(web(EDGE) + &other + &consenting("istio-system")));
    assert_eq!(names(&fake.plan(0))[0], "Gateway istio-system/edge");
    let second = fake.plan(1);
    assert_eq!(names(&second), ["VirtualService shop/other"]);
    assert!(said(&second)[0].contains("the MeshService shop/web is older, names it, too"), "{second:?}");
}

#[test]
fn a_gateway_that_was_made_stays_with_whom_it_was_made_for() {
    let other = web(EDGE).replace("serviceName: web", "serviceName: other").replace("name: web", "name: other");
    let made = "kind: Gateway\nmetadata: {name: edge, namespace: istio-system, annotations: {outrigger.dev/mesh-object: istio-system/edge}, labels: {app.kubernetes.io/managed-by: outrigger, \
                outrigger.dev/mesh-service: other, outrigger.dev/mesh-service-namespace: shop}}\nspec: {servers: []}\n---\n";
    let fake = Fake::of(&(web(EDGE) + &other + &consenting("istio-system") + made));
    assert_eq!(names(&fake.plan(1)), ["Gateway istio-system/edge", "VirtualService shop/other"]);
    assert_eq!(names(&fake.plan(0)), ["VirtualService shop/web"]);
}
