//! Starts a real Kubernetes control plane, as users of a cluster meet it, and stops what it started.
//!
//! * [`ControlPlane`] is etcd and kube-apiserver, and with [`Parts::Full`] also the controllers, the scheduler and kwok,
//!   which pretends to be the kubelet of every node. Nothing of it outlives the program that started it.
//! * [`ControlPlane::run_container`] runs the container of a Pod as a process, with the arguments, files and user that it would have.
//! * [`Suite`] runs the tests of a test binary (`harness = false`) in parallel against one control plane, each in a
//!   [`TestNamespace`] of its own, and after them the tests that need one for themselves.
//! * [`wait_for`] waits for a condition, bounded.
//!
//! The programs are built by `make testbed`; see `testbed/README.md`.

mod container;
mod credentials;
mod dump;
mod folder;
mod kubectl;
mod namespace;
mod plane;
mod ports;
mod process;
mod programs;
mod stages;
mod suite;
mod wait;

pub use container::{Image, RunningContainer};
pub use kubectl::{Kubectl, Output};
pub use namespace::TestNamespace;
pub use plane::{ControlPlane, Options, Parts};
pub use ports::free_port;
pub use process::{Log, Process};
pub use programs::find as program;
pub use stages::KUBELET_STOPPED;
pub use suite::{Case, Suite};
pub use wait::wait_for;
