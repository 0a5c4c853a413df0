//! Starts a real Kubernetes control plane, and stops it again.
//!
//! * [`ControlPlane`] is etcd and kube-apiserver. With [`Parts::Full`] it also has the controllers, the scheduler and
//!   kwok, which simulates the kubelet of every node. All of it ends with the program that started it.
//! * [`ControlPlane::run_container`] runs a Pod's container as a process, with its arguments, files and user.
//! * [`Suite`] runs the tests of a test binary (`harness = false`) in parallel with one control plane, each in its
//!   own [`TestNamespace`], and then the tests that need their own control plane.
//! * [`wait_for`] waits for a condition with a time limit.
//!
//! `make testbed` builds the programs; see `testbed/README.md`.

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
