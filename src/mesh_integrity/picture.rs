//! A mesh as a graph: from Gateways through VirtualServices to hosts and their subsets.

use super::mesh::Mesh;
use super::object::{Key, Kind, Spec};
use crate::istio::host;
use std::collections::BTreeSet;

/// The graph of a mesh.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// The references, without duplicates.
    pub edges: BTreeSet<Edge>,
}

/// A reference from an object to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The source of requests.
    pub from: String,
    /// Their target.
    pub to: String,
    /// The object and the field that make the reference.
    pub said_by: (Key, String),
}

pub(super) fn of(mesh: &Mesh) -> Picture {
    let mut picture = Picture::default();
    for object in mesh.of(Kind::VirtualService) {
        let Spec::VirtualService(routes) = &object.spec else { continue };
        let own = object.key.to_string();
        let mut edge = |from: String, to: String, field: &str| {
            picture.edges.insert(Edge { from, to, said_by: (object.key.clone(), field.to_owned()) });
        };
        for gateway in &routes.gateways {
            if let Some((namespace, name)) = &gateway.named {
                edge(format!("Gateway/{namespace}/{name}"), own.clone(), &gateway.field);
            }
        }
        for delegate in &routes.delegates {
            edge(own.clone(), format!("VirtualService/{}/{}", delegate.namespace, delegate.name), &delegate.field);
        }
        for to in &routes.destinations {
            let full = host::full(&to.host, &object.key.namespace, &mesh.options.domain).into_owned();
            let port = to.port.map(|port| format!(":{port}")).unwrap_or_default();
            let subset = if to.subset.is_empty() { String::new() } else { format!(" ({})", to.subset) };
            edge(own.clone(), format!("{full}{port}{subset}"), &to.field);
        }
    }
    picture
}
