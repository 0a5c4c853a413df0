//! The samples that the tests of MeshServices share.

use crate::documents;
use crate::mesh_integrity::Object;
use std::sync::Arc;

/// Returns the objects of this YAML in the form of the checks.
pub fn mesh(text: &str) -> Vec<Arc<Object>> {
    let documents = documents::parse("mesh.yaml", text.as_bytes()).unwrap();
    documents.iter().filter_map(|document| Object::read(&document.value, "")).map(Arc::new).collect()
}
