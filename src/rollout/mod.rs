//! A SidecarSet after admission: how many Pods it is in, which versions of it are kept, and what its status says.

pub mod counting;
pub mod pod;
pub mod pods;
#[cfg(test)]
mod tests;
pub mod text;
pub mod watched_pod;
