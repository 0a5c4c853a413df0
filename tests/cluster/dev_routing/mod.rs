//! Developer routing on the real control plane: the seed's document, and each fault of its program.

mod configuration;
mod kills;
mod page;
mod placeholders;
mod scale;
mod walk;
mod world;

use crate::outrigger::Outrigger;
use outrigger_testbed::{Parts, Suite, tests};

/// Adds the tests of this folder.
pub fn add_to(suite: Suite<Outrigger>) -> Suite<Outrigger> {
    let suite = tests!(
        suite,
        test:
        walk::the_walk_of_the_virtualservice_operator_document_works,
        page::commands_of_the_page_on_developer_routing_print_what_it_shows,
        placeholders::a_manifest_over_a_placeholder_becomes_the_developers_service,
        placeholders::what_vs_operator_left_behind_is_taken_over,
        placeholders::a_placeholder_never_overwrites_a_service,
        configuration::the_configuration_is_followed_while_it_is_good,
        configuration::virtual_services_of_others_stay_and_ours_are_repaired,
        configuration::templates_ports_and_ready_endpoints_count,
        kills::a_kill_never_leaves_a_virtual_service_without_the_routes_it_had,
    );
    tests!(
        suite,
        apart(Parts::ApiOnly):
        scale::two_hundred_services_of_ten_developers_are_routed_by_one_write_each,
    )
}

/// Adds the tests that take minutes.
pub fn add_long_to(suite: Suite<Outrigger>) -> Suite<Outrigger> {
    tests!(suite, apart(Parts::ApiOnly): kills::routing_is_right_after_a_kill_at_each_write)
}
