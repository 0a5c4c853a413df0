//! outrigger on a real control plane. Needs `make testbed`, which `make test` runs.

mod certificates;
mod certificates_self_managed;
mod mutators;
mod outrigger;
mod replicas;
mod walk;

use outrigger_testbed::{Parts, Suite};
use std::process::ExitCode;

fn main() -> ExitCode {
    Suite::new(Parts::Full, outrigger::world)
        .test("the_walk_of_the_document_works", walk::the_walk_of_the_document_works)
        .test("nothing_differs_after_it_was_applied", walk::nothing_differs_after_it_was_applied)
        .test("a_set_can_be_written_and_read_in_both_versions", walk::a_set_can_be_written_and_read_in_both_versions)
        .test("mutators_before_and_after_lead_to_no_duplicates", mutators::mutators_before_and_after_lead_to_no_duplicates)
        .alone("an_api_server_that_restarts_is_not_missed", Parts::ApiOnly, replicas::an_api_server_that_restarts_is_not_missed)
        .alone("a_replica_that_stops_under_load_costs_no_pod", Parts::ApiOnly, replicas::a_replica_that_stops_under_load_costs_no_pod)
        .alone("a_replica_that_is_killed_under_load_costs_what_it_was_answering", Parts::ApiOnly, replicas::a_replica_that_is_killed_under_load_costs_what_it_was_answering)
        .alone("replicas_that_start_at_once_agree_on_one_ca", Parts::ApiOnly, certificates_self_managed::replicas_that_start_at_once_agree_on_one_ca)
        .alone("a_deleted_ca_comes_back_and_is_renewed_and_no_review_fails", Parts::ApiOnly, certificates_self_managed::a_deleted_ca_comes_back_and_is_renewed_and_no_review_fails)
        .alone("garbage_in_the_secret_is_replaced", Parts::ApiOnly, certificates_self_managed::garbage_in_the_secret_is_replaced)
        .alone("with_cert_manager_no_bundle_is_written", Parts::ApiOnly, certificates_self_managed::with_cert_manager_no_bundle_is_written)
        .run()
}
