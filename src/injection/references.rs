//! `$(NAME)` in the values of variables. Kubernetes expands it to earlier variables, so a variable that is copied without them
//! changes its value.

use crate::api::pod::{ContainerView, EnvView, WithText};
use serde_json::Value;
use std::borrow::Cow;

/// Returns the names that a value refers to. `$$(NAME)` is plain text.
pub(super) fn references(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            let (_, after) = rest.split_once('$')?;
            if let Some(inner) = after.strip_prefix('(') {
                let (name, after) = inner.split_once(')')?;
                rest = after;
                return Some(name);
            }
            rest = after.strip_prefix('$').unwrap_or(after);
        }
    })
}

/// Returns the names that a variable of an app container refers to and that may be set there: by earlier variables, or by
/// `envFrom`, whose names are not in the Pod. Variables that Kubernetes sets in every container are left out.
pub(super) fn resolved_in<'v>(
    app: &ContainerView<'_>,
    variable: &'v EnvView<'_>,
    is_in_front: impl Fn(&str) -> bool,
) -> impl Iterator<Item = &'v str> {
    let from_elsewhere = app.env_from.is_some();
    let value = variable.value.as_deref().filter(|value| value.contains("$(")).unwrap_or_default();
    references(value).filter(move |name| is_in_front(name) || from_elsewhere && !is_of_service(name))
}

/// Whether Kubernetes sets the variable for a Service, for example `KUBERNETES_SERVICE_HOST`:
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>.
fn is_of_service(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT")
}

/// Returns the text of an app container's variable as copied to a sidecar. A `resourceFieldRef` without a container name refers to
/// its own container, so the copy names the app container.
pub(super) fn copied<'a>(app: &ContainerView<'a>, variable: &WithText<'a, EnvView<'a>>) -> Cow<'a, str> {
    let text = variable.text;
    // A key may contain escapes.
    if !text.contains("resourceFieldRef") && !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let Ok(mut variable) = serde_json::from_str::<Value>(text) else { return Cow::Borrowed(text) };
    let Some(reference) = variable.pointer_mut("/valueFrom/resourceFieldRef").and_then(Value::as_object_mut) else {
        return Cow::Borrowed(text);
    };
    let names_one = reference.get("containerName").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
    if names_one {
        return Cow::Borrowed(text);
    }
    reference.insert("containerName".to_owned(), (*app.name).into());
    Cow::Owned(variable.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_names_in_dollar_brackets() {
        let of = |value| references(value).collect::<Vec<_>>();
        assert_eq!(of("http://$(HOST):8126/$(PATH)"), ["HOST", "PATH"]);
        assert_eq!(of("$$(HOST) $$$(PATH) $HOST $"), ["PATH"]);
        assert_eq!(of("$(OPEN"), Vec::<&str>::new());
    }
}
