//! The checks, a file for each subject.

mod checked;
mod duplicates;
mod gateways;
mod references;
mod routes;
mod services;
mod sidecars;
mod validity;

pub(super) use checked::Checked;
pub(crate) use services::subset_selector;

use super::store::StoreError;

pub(super) fn all(checked: &mut Checked<'_>) -> Result<(), StoreError> {
    references::check(checked)?;
    duplicates::check(checked)?;
    sidecars::check(checked)?;
    gateways::check(checked);
    routes::check(checked)?;
    services::check(checked);
    validity::check(checked);
    Ok(())
}
