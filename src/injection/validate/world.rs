//! What the validation of a SidecarSet must know besides the object.

use super::other_set::OtherSet;
use super::whitelist::{Whitelist, WhitelistError};

/// What validation must know besides the object. By default: other sets and revisions are not known, and without a whitelist
/// everything is allowed that one decides.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// All SidecarSets; the one under validation may be among them and is skipped. `None` where they are not
    /// known: then neither conflicts nor the base of a canary are looked up.
    pub others: Option<&'a [&'a OtherSet]>,
    /// Which annotations may be put on Pods: the `ConfigMap` [`super::WHITELIST_CONFIG_MAP`], if it has the key [`super::WHITELIST_KEY`].
    pub whitelist: Option<&'a Result<Whitelist, WhitelistError>>,
    /// Whether sets without a rule in the whitelist may put any annotation on Pods: OpenKruise's feature gate
    /// `SidecarSetPatchPodMetadataDefaultsAllowed`.
    pub patch_without_whitelist: bool,
    /// The set's `ControllerRevisions`; `None` where they are not known: then a choice of revision is not looked up.
    pub revisions: Option<&'a [KnownRevision<'a>]>,
}

impl Default for World<'_> {
    fn default() -> Self {
        Self { others: None, whitelist: None, patch_without_whitelist: true, revisions: None }
    }
}

/// A `ControllerRevision` of the set under validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownRevision<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its label `apps.kruise.io/sidecarset-custom-version`.
    pub custom_version: Option<&'a str>,
}
