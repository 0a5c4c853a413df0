//! `securityContext` of a container.

use super::super::node::Node;
use super::super::syntax;

pub(super) fn check(context: &Node<'_>) {
    if !context.is_set() {
        return;
    }
    for id in ["runAsUser", "runAsGroup"] {
        context.get(id).in_range(0..=i64::from(i32::MAX));
    }
    for flag in ["runAsNonRoot", "readOnlyRootFilesystem"] {
        context.get(flag).bool();
    }
    // Unmasked is for Pods with hostUsers: false, which only the Pod knows.
    context.get("procMount").one_of(&["Default", "Unmasked"]);
    check_profile(&context.get("appArmorProfile"), syntax::unpadded);
    check_profile(&context.get("seccompProfile"), syntax::descending_path);
    let privileged = context.get("privileged").is_true();
    if context.get("allowPrivilegeEscalation").bool() == Some(false) {
        let place = &context.place.field("allowPrivilegeEscalation");
        if privileged {
            place.invalid(false, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        let added = context.get("capabilities").get("add");
        if added.items("").any(|capability| capability.text() == Some("CAP_SYS_ADMIN")) {
            place.invalid(false, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
        }
    }
}

fn check_profile(profile: &Node<'_>, file_rule: fn(&str) -> Result<(), &'static str>) {
    if !profile.is_set() {
        return;
    }
    let kind = profile.get("type");
    let file = profile.get("localhostProfile");
    let Some(text) = kind.required_text() else { return };
    kind.one_of(&["Localhost", "RuntimeDefault", "Unconfined"]);
    if text == "Localhost" {
        match file.text() {
            Some(text) => file.place.syntax(text, file_rule),
            None => file.place.required("must be set when the type is Localhost"),
        }
    } else if let Some(text) = file.text() {
        file.place.invalid(text, "can only be set when the type is Localhost");
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{accepts_container, rejects_container};
    use serde_json::json;

    #[test]
    fn contradictions_are_rejected() {
        accepts_container(&json!({"securityContext": {"privileged": true, "runAsUser": 0, "runAsNonRoot": false}}));
        let field = "securityContext.allowPrivilegeEscalation";
        for context in [
            json!({"privileged": true, "allowPrivilegeEscalation": false}),
            json!({"capabilities": {"add": ["CAP_SYS_ADMIN"]}, "allowPrivilegeEscalation": false}),
        ] {
            rejects_container(&json!({"securityContext": context}), field, "FieldValueInvalid");
        }
    }

    #[test]
    fn ids_and_types_are_known() {
        for (context, field, reason) in [
            (json!({"runAsUser": -1}), "runAsUser", "FieldValueInvalid"),
            (json!({"runAsGroup": 2_147_483_648_u32}), "runAsGroup", "FieldValueInvalid"),
            (json!({"runAsNonRoot": "true"}), "runAsNonRoot", "FieldValueTypeInvalid"),
            (json!({"procMount": "None"}), "procMount", "FieldValueNotSupported"),
        ] {
            rejects_container(&json!({"securityContext": context}), &format!("securityContext.{field}"), reason);
        }
    }

    #[test]
    fn profiles_name_a_file_if_and_only_if_they_are_local() {
        for profile in ["seccompProfile", "appArmorProfile"] {
            let of = |value| json!({"securityContext": {profile: value}});
            accepts_container(&of(json!({"type": "RuntimeDefault"})));
            accepts_container(&of(json!({"type": "Localhost", "localhostProfile": "a/b.json"})));
            for (value, field, reason) in [
                (json!({}), "type", "FieldValueRequired"),
                (json!({"type": "Default"}), "type", "FieldValueNotSupported"),
                (json!({"type": "Localhost"}), "localhostProfile", "FieldValueRequired"),
                (json!({"type": "Unconfined", "localhostProfile": "a"}), "localhostProfile", "FieldValueInvalid"),
            ] {
                rejects_container(&of(value), &format!("securityContext.{profile}.{field}"), reason);
            }
        }
        let escaping =
            json!({"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "../a"}}});
        let padded = json!({"securityContext": {"appArmorProfile": {"type": "Localhost", "localhostProfile": " a"}}});
        rejects_container(&padded, "securityContext.appArmorProfile.localhostProfile", "FieldValueInvalid");
        rejects_container(&escaping, "securityContext.seccompProfile.localhostProfile", "FieldValueInvalid");
    }
}
