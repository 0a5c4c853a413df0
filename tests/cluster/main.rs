//! outrigger on a real control plane. Needs `make testbed`, which `make test` runs.

mod bad_input;
mod balancer;
mod cert_manager;
mod certificates;
mod certificates_self_managed;
mod chart;
mod check;
#[path = "../console/mod.rs"]
mod console;
mod conversion;
mod creates;
mod dev_routing;
mod dry_run;
mod failpoints;
mod fields;
mod file_sync;
mod forecasts;
mod from_your_machine;
mod guestbook;
mod job_sidecars;
mod leases;
mod load;
mod memory;
mod mesh_service;
mod mutators;
mod namespaces;
mod outrigger;
mod pages;
mod proxy;
mod registration;
mod replicas;
mod revisions;
mod scope;
mod seen;
mod server_side_apply;
mod sidecar_generator;
mod status;
mod stored;
mod token;
mod upgrade_rights;
mod upgrades;
mod upgrades_killed;
mod upgrades_large;
mod upgrades_taken_over;
mod upgrades_troubled;
mod validation;
mod verification;
mod versions;
mod walk;
mod watches;
mod web;

use outrigger_testbed::{Parts, Suite, tests};
use std::process::ExitCode;

fn main() -> ExitCode {
    let suite = Suite::new(Parts::Full, outrigger::world);
    let suite = tests!(
        suite,
        test:
        status::revisions_are_deleted_with_their_set,
        walk::the_walk_of_the_document_works,
        walk::nothing_differs_after_it_was_applied,
        walk::a_set_can_be_written_and_read_in_both_versions,
        server_side_apply::a_set_keeps_its_namespace_in_either_order_of_versions,
        server_side_apply::a_namespace_is_changed_and_lifted_in_v1alpha1,
        server_side_apply::a_manager_of_labels_applies_in_both_versions,
        mutators::mutators_before_and_after_lead_to_no_duplicates,
        status::counts_follow_pods,
        status::counts_follow_pods_of_a_set_that_does_not_update,
        status::counts_follow_the_labels_of_namespaces,
        status::an_edited_set_has_no_updated_pods_but_new_ones,
        status::one_change_is_one_write,
        status::revisions_keep_what_a_set_was,
        status::a_revision_whose_name_is_taken_gets_another,
        revisions::a_set_with_any_text_is_rolled_back_labelled_and_orphaned,
        revisions::revisions_that_cannot_be_patched_are_made_anew,
        status::a_pinned_revision_is_injected_and_kept_as_those_in_use_are,
        verification::a_container_that_only_claims_to_be_the_sidecar_is_told_and_replaced,
        dry_run::a_dry_run_leaves_no_trace,
        bad_input::an_invalid_set_is_denied_with_all_causes,
        bad_input::kubectl_and_files_refuse_the_same_fields,
        validation::containers_and_volumes_are_judged_as_in_pods,
        validation::what_openkruise_accepts_is_accepted_as_it_is,
        forecasts::the_api_server_does_what_is_forecast,
        guestbook::commands_of_the_tutorial_print_what_it_shows,
        fields::each_field_of_kubernetes_is_known_and_survives,
        job_sidecars::a_sidecar_that_ends_with_a_job_is_a_native_one_and_counts,
        check::the_objects_of_the_cluster_are_checked_and_files_laid_over_them,
        bad_input::a_namespace_that_vanishes_takes_its_pods_out_of_the_counts,
    );
    let suite = tests!(
        suite,
        // The longest first.
        apart(Parts::ApiOnly):
        leases::no_job_is_led_beside_an_older_version,
        cert_manager::certificates_that_cert_manager_renews_cost_no_pod,
        certificates_self_managed::a_replaced_or_deleted_ca_comes_back_and_is_renewed_and_no_review_fails,
        replicas::an_api_server_that_restarts_is_not_missed,
        replicas::a_follower_is_in_step_seconds_after_an_outage,
        replicas::a_replica_that_drains_injects_a_set_that_is_new,
        replicas::while_etcd_hangs_pods_are_injected_and_afterwards_all_goes_on,
        namespaces::a_pod_right_after_its_namespace_is_injected,
        leases::replicas_of_different_jobs_do_not_exclude_each_other,
        leases::a_lease_that_is_forbidden_is_told,
        leases::a_leader_that_is_killed_is_followed_within_seconds,
        watches::each_kind_and_slice_is_watched_once,
        bad_input::what_is_stored_and_cannot_be_used_stops_nothing,
        bad_input::sidecarsets_may_be_installed_later_and_removed,
        stored::what_pods_would_be_refused_for_is_not_injected,
        stored::the_last_good_revision_stays_in_use,
        stored::sets_that_clash_say_so,
        status::a_restart_writes_nothing,
        scope::break_glass_takes_the_webhooks_out,
        conversion::sets_that_an_older_installation_stored_are_taken_over,
        conversion::the_crd_of_openkruise_is_replaced_however_it_came,
        conversion::a_replica_that_does_not_lead_converts_a_long_list,
        registration::what_is_registered_stays_as_it_should_be,
        registration::by_service_all_webhooks_are_reached,
        registration::pods_that_are_not_sent_need_no_replica,
        registration::a_leader_that_stops_hands_over,
        server_side_apply::without_a_replica_all_but_server_side_apply_goes_on,
        proxy::the_proxy_that_kubectl_takes_is_taken,
        from_your_machine::outrigger_on_the_machine_injects_until_it_is_unregistered,
        certificates_self_managed::replicas_that_start_at_once_agree_on_one_ca,
        certificates_self_managed::garbage_in_the_secret_is_replaced,
        certificates_self_managed::with_cert_manager_no_bundle_is_written,
    );
    let suite = tests!(
        suite,
        alone(Parts::ApiOnly):
        memory::whatever_is_posted_a_replica_stays_small,
        replicas::a_replica_that_stops_under_load_costs_no_pod,
        replicas::a_replica_that_is_killed_under_load_costs_what_it_was_answering,
        load::overload_is_retried_by_the_api_server,
        load::a_rolling_restart_under_load_costs_no_pod,
        load::connections_that_idled_are_good,
        scope::pods_are_sent_as_soon_as_a_set_needs_them_and_no_others,
        scope::with_two_replicas_none_is_missed_a_second_later,
        scope::many_new_sets_accuse_nobody_and_a_deletion_is_undone_at_once,
        scope::a_fight_over_the_registration_slows_down,
    );
    let suite = tests!(
        suite,
        apart(Parts::Full):
        registration::the_cluster_role_takes_the_configurations_along,
        token::a_pod_with_a_token_is_reviewed_once,
    );
    let suite = chart::add_to(suite);
    let suite = upgrades::add_to(sidecar_generator::add_to(file_sync::add_to(mesh_service::add_to(
        dev_routing::add_to(suite),
    ))));
    let suite = if std::env::var_os("OUTRIGGER_OLD").is_some() { chart::add_upgrade_to(suite) } else { suite };
    if std::env::var_os("OUTRIGGER_LONG").is_none() {
        return suite.run();
    }
    add_long_to(suite).run()
}

/// These take minutes: `make failpoints` and `make memory` run them.
fn add_long_to(suite: Suite<outrigger::Outrigger>) -> Suite<outrigger::Outrigger> {
    let suite = tests!(suite, alone(Parts::ApiOnly): memory::a_start_beside_many_sets_is_small);
    let suite = mesh_service::add_long_to(file_sync::add_long_to(dev_routing::add_long_to(suite)));
    let suite = tests!(
        suite,
        apart(Parts::ApiOnly):
        failpoints::a_set_is_right_after_a_kill_at_each_write,
        failpoints::the_registration_is_right_after_a_kill_at_each_write,
        failpoints::a_sidecar_is_right_after_a_kill_at_each_write,
        failpoints::migration_and_leadership_go_on_after_a_kill_at_each_write,
    );
    upgrades_large::add_to(upgrades_killed::add_to(suite))
}
