//! The fields of Istio objects that checks need, read leniently. Validation reports what cannot be read.

mod destination_rule;
mod gateway;
mod service_entry;
mod sidecar;
mod virtual_service;

pub(crate) use destination_rule::DestinationRule;
pub(crate) use gateway::{Gateway, Server};
pub(crate) use service_entry::ServiceEntry;
pub(crate) use sidecar::Sidecar;
pub(crate) use virtual_service::{Delegate, Destination, GatewayName, Match, VirtualService, WhatDestination};

/// Returns a port number, if it is one.
fn port(number: Option<i64>) -> Option<u32> {
    number.and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0)
}
