//! `outrigger inject`: injects the Pods and Pod templates of files, with no cluster.

pub mod template;
