//! outrigger on a real control plane. Needs `make testbed`, which `make test` runs.

mod bad_input;
mod balancer;
mod cert_manager;
mod certificates;
mod certificates_self_managed;
#[path = "../console/mod.rs"]
mod console;
mod conversion;
mod creates;
mod dry_run;
mod load;
mod mutators;
mod outrigger;
mod registration;
mod replicas;
mod scope;
mod seen;
mod sidecar_generator;
mod status;
mod validation;
mod walk;
mod web;

use crate::outrigger::Outrigger;
use outrigger_testbed::{Parts, Suite};
use std::process::ExitCode;

fn main() -> ExitCode {
    let suite = Suite::new(Parts::Full, outrigger::world);
    let suite = sidecar_generator::add_to(on_the_shared_plane(suite));
    certificates_self_managed::add_to(with_a_plane_of_their_own(suite)).run()
}

fn on_the_shared_plane(suite: Suite<Outrigger>) -> Suite<Outrigger> {
    suite
        .test("revisions_are_deleted_with_their_set", status::revisions_are_deleted_with_their_set)
        .test("the_walk_of_the_document_works", walk::the_walk_of_the_document_works)
        .test("nothing_differs_after_it_was_applied", walk::nothing_differs_after_it_was_applied)
        .test("a_set_can_be_written_and_read_in_both_versions", walk::a_set_can_be_written_and_read_in_both_versions)
        .test(
            "mutators_before_and_after_lead_to_no_duplicates",
            mutators::mutators_before_and_after_lead_to_no_duplicates,
        )
        .test("counts_follow_pods", status::counts_follow_pods)
        .test(
            "counts_follow_pods_of_a_set_that_does_not_update",
            status::counts_follow_pods_of_a_set_that_does_not_update,
        )
        .test("counts_follow_the_labels_of_namespaces", status::counts_follow_the_labels_of_namespaces)
        .test("an_edited_set_has_no_updated_pods_but_new_ones", status::an_edited_set_has_no_updated_pods_but_new_ones)
        .test("one_change_is_one_write", status::one_change_is_one_write)
        .test("revisions_keep_what_a_set_was", status::revisions_keep_what_a_set_was)
        .test("a_revision_whose_name_is_taken_gets_another", status::a_revision_whose_name_is_taken_gets_another)
        .test(
            "a_pinned_revision_is_injected_and_kept_as_those_in_use_are",
            status::a_pinned_revision_is_injected_and_kept_as_those_in_use_are,
        )
        .test("a_dry_run_leaves_no_trace", dry_run::a_dry_run_leaves_no_trace)
        .test("an_invalid_set_is_denied_with_all_causes", bad_input::an_invalid_set_is_denied_with_all_causes)
        .test("containers_and_volumes_are_judged_as_in_pods", validation::containers_and_volumes_are_judged_as_in_pods)
        .test(
            "a_namespace_that_vanishes_takes_its_pods_out_of_the_counts",
            bad_input::a_namespace_that_vanishes_takes_its_pods_out_of_the_counts,
        )
}

fn with_a_plane_of_their_own(suite: Suite<Outrigger>) -> Suite<Outrigger> {
    suite
        .apart(
            "an_api_server_that_restarts_is_not_missed",
            Parts::ApiOnly,
            replicas::an_api_server_that_restarts_is_not_missed,
        )
        .alone(
            "a_replica_that_stops_under_load_costs_no_pod",
            Parts::ApiOnly,
            replicas::a_replica_that_stops_under_load_costs_no_pod,
        )
        .alone(
            "a_replica_that_is_killed_under_load_costs_what_it_was_answering",
            Parts::ApiOnly,
            replicas::a_replica_that_is_killed_under_load_costs_what_it_was_answering,
        )
        .alone("overload_is_retried_by_the_api_server", Parts::ApiOnly, load::overload_is_retried_by_the_api_server)
        .alone(
            "a_rolling_restart_under_load_costs_no_pod",
            Parts::ApiOnly,
            load::a_rolling_restart_under_load_costs_no_pod,
        )
        .alone("connections_that_idled_are_good", Parts::ApiOnly, load::connections_that_idled_are_good)
        .apart(
            "what_is_stored_and_cannot_be_used_stops_nothing",
            Parts::ApiOnly,
            bad_input::what_is_stored_and_cannot_be_used_stops_nothing,
        )
        .apart(
            "sidecarsets_may_be_installed_later_and_removed",
            Parts::ApiOnly,
            bad_input::sidecarsets_may_be_installed_later_and_removed,
        )
        .apart("a_restart_writes_nothing", Parts::ApiOnly, status::a_restart_writes_nothing)
        .alone(
            "pods_are_sent_as_soon_as_a_set_needs_them_and_no_others",
            Parts::ApiOnly,
            scope::pods_are_sent_as_soon_as_a_set_needs_them_and_no_others,
        )
        .alone(
            "with_two_replicas_none_is_missed_a_second_later",
            Parts::ApiOnly,
            scope::with_two_replicas_none_is_missed_a_second_later,
        )
        .apart("break_glass_takes_the_webhooks_out", Parts::ApiOnly, scope::break_glass_takes_the_webhooks_out)
        .alone(
            "a_fight_over_the_registration_slows_down",
            Parts::ApiOnly,
            scope::a_fight_over_the_registration_slows_down,
        )
        .apart(
            "sets_that_an_older_installation_stored_are_taken_over",
            Parts::ApiOnly,
            conversion::sets_that_an_older_installation_stored_are_taken_over,
        )
        .apart(
            "a_replica_that_does_not_lead_converts_a_long_list",
            Parts::ApiOnly,
            conversion::a_replica_that_does_not_lead_converts_a_long_list,
        )
        .apart(
            "what_is_registered_stays_as_it_should_be",
            Parts::ApiOnly,
            registration::what_is_registered_stays_as_it_should_be,
        )
        .apart(
            "the_cluster_role_takes_the_configurations_along",
            Parts::Full,
            registration::the_cluster_role_takes_the_configurations_along,
        )
        .apart("by_service_all_webhooks_are_reached", Parts::ApiOnly, registration::by_service_all_webhooks_are_reached)
        .apart(
            "pods_that_are_not_sent_need_no_replica",
            Parts::ApiOnly,
            registration::pods_that_are_not_sent_need_no_replica,
        )
        .apart("a_leader_that_stops_hands_over", Parts::ApiOnly, registration::a_leader_that_stops_hands_over)
        .alone(
            "certificates_that_cert_manager_renews_cost_no_pod",
            Parts::ApiOnly,
            cert_manager::certificates_that_cert_manager_renews_cost_no_pod,
        )
}
