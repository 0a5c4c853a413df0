//! Developer routing: the seed's document, and each of its program's faults, on the real control plane.

mod walk;
mod world;

use crate::outrigger::Outrigger;
use outrigger_testbed::{Suite, tests};

/// Adds the tests of this folder.
pub fn add_to(suite: Suite<Outrigger>) -> Suite<Outrigger> {
    tests!(
        suite,
        test:
        walk::the_walk_of_the_virtualservice_operator_document_works,
    )
}
