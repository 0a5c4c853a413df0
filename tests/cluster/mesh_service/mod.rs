//! MeshServices: the seed's document and samples on the real control plane.

mod schema;

use crate::outrigger::Outrigger;
use outrigger_testbed::{Suite, tests};

/// Adds the tests of this folder.
pub fn add_to(suite: Suite<Outrigger>) -> Suite<Outrigger> {
    tests!(
        suite,
        test:
        schema::the_samples_of_the_seed_are_taken_word_for_word,
        schema::the_crd_of_mesh_services_refuses_what_cannot_be_used,
        schema::the_crds_of_istio_take_all_that_is_made,
    )
}
