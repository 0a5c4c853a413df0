//! The program as users run it: the real binary, real files, signals and sockets.

mod api_server;
mod bad_requests;
mod check;
#[path = "../console/mod.rs"]
mod console;
mod descriptors;
mod docs;
mod drain;
mod explain;
mod files;
mod harness;
mod help;
mod inject;
mod objects;
mod outputs;
mod printed;
mod serve;
mod sources;
mod untouched;
