//! The image of a container.

use super::super::node::FieldPlace;
use super::super::syntax;

/// Whether it can be pulled.
pub(super) fn check(image: &str, place: &FieldPlace<'_>) {
    if image.trim() == image {
        // Kubernetes accepts any text, which the kubelet then fails to pull.
        place.of_set().syntax(image, syntax::image_reference);
    } else {
        place.invalid(image, "must not be padded with blanks");
    }
}
