//! The context of a SidecarSet's validation.

use super::other_set::OtherSet;
use super::whitelist::{Whitelist, WhitelistError};

/// The context of a SidecarSet's validation. By default, other sets and revisions are not known, and without a whitelist
/// every annotation is allowed.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// All SidecarSets. The set under validation may be included and is skipped. If `None`, conflicts and the
    /// base of a canary are not checked.
    pub others: Option<&'a [&'a OtherSet]>,
    /// The annotations that may be set on Pods: the `ConfigMap` [`super::WHITELIST_CONFIG_MAP`], if it has the key
    /// [`super::WHITELIST_KEY`].
    pub whitelist: Option<&'a Result<Whitelist, WhitelistError>>,
    /// Whether sets without a whitelist rule may set any annotation on Pods: OpenKruise's feature gate
    /// `SidecarSetPatchPodMetadataDefaultsAllowed`.
    pub patch_without_whitelist: bool,
    /// The set's `ControllerRevisions`. If `None`, a chosen revision is not checked.
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
