//! SidecarGenerators on the real control plane with a real web server: the seed's document, each of its faults, and all
//! kinds of URLs.

mod answers;
mod failures;
pub mod objects;
mod overlap;
mod ownership;
mod page;
mod process;
mod schema;
mod secrets;
mod times;
mod walk;

use crate::outrigger::Outrigger;
use outrigger_testbed::{Parts, Suite, tests};

/// Adds the tests of this folder.
pub fn add_to(suite: Suite<Outrigger>) -> Suite<Outrigger> {
    let suite = tests!(
        suite,
        test:
        walk::the_walk_of_the_sidecar_generator_document_works,
        walk::a_sidecar_is_deleted_with_its_generator,
        ownership::a_sidecar_of_somebody_else_is_left_alone_until_it_may_be_adopted,
        ownership::a_sidecar_of_another_controller_cannot_be_adopted,
        ownership::what_others_put_on_a_sidecar_stays,
        overlap::two_sidecars_for_a_whole_namespace_overlap,
        overlap::a_selection_within_another_overlaps,
        overlap::selections_overlap_when_a_pod_is_of_both,
        schema::the_crd_refuses_what_cannot_be_used,
        secrets::a_secret_is_sent_only_where_it_says_itself,
        secrets::secrets_of_each_kind_work,
        page::commands_of_the_page_on_sidecar_generators_print_what_it_shows,
        answers::an_answer_that_is_wrong_keeps_the_sidecar_and_names_the_item,
        answers::an_answer_is_read_as_protobuf_reads_it,
        answers::what_istio_only_warns_of_is_applied_and_told,
        answers::an_empty_answer_is_applied_only_where_that_is_wanted,
        answers::an_answer_that_shrinks_too_much_is_not_applied,
        answers::an_answer_that_has_not_changed_is_a_success,
        answers::an_answer_of_thousands_of_hosts_works,
        failures::a_url_that_fails_keeps_the_sidecar_and_is_tried_again_soon,
        failures::the_first_good_answer_makes_the_sidecar,
        failures::only_the_status_200_is_good,
        failures::a_url_that_does_not_answer_delays_no_other,
        failures::no_url_and_no_redirect_leads_to_a_refused_address,
        failures::redirects_are_followed_within_bounds,
        failures::servers_that_cannot_be_trusted_or_reached_are_told,
        failures::a_url_that_flaps_changes_the_status_only,
        failures::what_is_secret_in_a_url_is_shown_nowhere,
        failures::a_server_that_says_when_to_come_back_is_not_asked_before,
        failures::fetches_are_counted_by_outcome,
        times::no_period_is_shorter_than_the_floor,
        times::jitter_spreads_what_would_come_at_once,
        times::a_fetch_that_finds_nothing_new_writes_the_times_once,
        times::nothing_happens_while_suspended,
        times::a_fight_over_a_sidecar_slows_down,
    );
    tests!(
        suite,
        apart(Parts::ApiOnly):
        schema::generators_that_an_older_installation_stored_hurt_no_other,
        process::istio_may_be_installed_later_and_removed,
        process::another_leader_fetches_only_what_is_due,
        process::a_fetch_under_way_does_not_hold_up_the_end,
    )
}
