//! MeshServices: the seed's document and samples, and what becomes of them, on the real control plane.

mod installed;
mod kills;
mod objects;
mod page;
mod refused;
mod samples;
mod schema;
mod takeover;
mod world;

use crate::outrigger::Outrigger;
use outrigger_testbed::{Parts, Suite, tests};

/// Adds the tests of this folder.
pub fn add_to(suite: Suite<Outrigger>) -> Suite<Outrigger> {
    let suite = tests!(
        suite,
        test:
        schema::the_samples_of_the_seed_are_taken_word_for_word,
        schema::the_crd_of_mesh_services_refuses_what_cannot_be_used,
        schema::the_crds_of_istio_take_all_that_is_made,
        page::commands_of_the_page_on_meshservices_print_what_it_shows,
        samples::the_samples_of_the_first_operator_of_meshservices_become_objects,
        objects::what_is_made_is_kept_as_it_is_and_goes_with_its_meshservice,
        objects::a_meshservice_that_changes_takes_its_objects_along,
        objects::a_namespace_lets_meshservices_in_and_puts_them_out,
        objects::of_two_meshservices_for_a_service_the_older_has_it,
        objects::a_gateway_of_somebody_else_is_never_edited_for_a_meshservice,
        objects::what_is_somebody_elses_is_a_meshservices_only_when_it_is_given,
        objects::a_service_of_somebody_else_is_mended_for_a_meshservice_only_as_it_allows,
        objects::what_was_made_for_a_meshservice_that_is_deleted_without_it_stays,
        refused::what_is_refused_for_a_meshservice_is_told_and_tried_again,
        objects::what_the_first_operator_of_meshservices_left_behind_is_taken_over,
    );
    tests!(
        suite,
        apart(Parts::ApiOnly):
        installed::istio_may_be_installed_after_meshservices_and_the_next_leader_writes_nothing,
        takeover::meshservices_stored_under_the_crd_of_the_first_operator_are_followed_under_ours,
    )
}

/// Adds those that take minutes.
pub fn add_long_to(suite: Suite<Outrigger>) -> Suite<Outrigger> {
    tests!(
        suite,
        apart(Parts::ApiOnly):
        kills::a_meshservice_is_right_after_a_kill_at_each_write,
        installed::beside_meshservices_that_are_well_nothing_is_written_for_a_minute,
    )
}
