//! Which SidecarSets match a Pod, and the JSON Patch that injects them. All of it is pure.

pub mod hash;
