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
    // Unmasked requires hostUsers: false, which only the Pod knows.
    context.get("procMount").one_of(&["Default", "Unmasked"]);
    check_windows(&context.get("windowsOptions"));
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

/// The maximum bytes of a GMSA credential spec, and the maximum characters of the two parts of a Windows user.
const LONGEST_SPEC: usize = 64 * 1024;
const LONGEST_DOMAIN: usize = 255;
const LONGEST_USER: usize = 104;

fn check_windows(options: &Node<'_>) {
    if !options.is_set() {
        return;
    }
    let name = options.get("gmsaCredentialSpecName");
    if let Some(text) = name.text() {
        name.place.syntax(text, syntax::dns_subdomain);
    }
    let spec = options.get("gmsaCredentialSpec");
    if let Some(text) = spec.text() {
        spec.place.syntax(text, |text| match text.len() {
            0 => Err("cannot be an empty string"),
            1..=LONGEST_SPEC => Ok(()),
            _ => Err("must be at most 64 KiB"),
        });
    }
    let user = options.get("runAsUserName");
    if let Some(text) = user.text() {
        user.place.syntax(text, windows_user);
    }
    options.get("hostProcess").bool();
}

/// `DOMAIN\USER`, or `USER`.
fn windows_user(text: &str) -> Result<(), &'static str> {
    let (domain, user) = text.split_once('\\').map_or((None, text), |(domain, user)| (Some(domain), user));
    let rules = [
        (!text.chars().any(char::is_control), "cannot contain control characters"),
        (
            domain.is_none_or(|domain| !domain.is_empty() && domain.len() <= LONGEST_DOMAIN),
            "must have a domain of 1 to 255 characters in front of the backslash",
        ),
        (!user.is_empty() && user.len() <= LONGEST_USER, "must have a user of 1 to 104 characters"),
        (!user.chars().all(|c| matches!(c, '.' | ' ')), "cannot have a user of nothing but periods and blanks"),
        (!user.contains(|c| "\"/\\:;|=,+*?<>@[]".contains(c)), "cannot have a user with one of \"/\\:;|=,+*?<>@[]"),
    ];
    rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, problem)| Err(problem))
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

    #[test]
    fn options_of_windows_name_what_there_can_be() {
        let of = |options| json!({"securityContext": {"windowsOptions": options}});
        for good in [
            json!({"gmsaCredentialSpecName": "web.example", "runAsUserName": "CORP\\web user", "hostProcess": false}),
            json!({"runAsUserName": "ContainerAdministrator", "gmsaCredentialSpec": "{}"}),
        ] {
            accepts_container(&of(good));
        }
        for (options, field) in [
            (json!({"gmsaCredentialSpecName": "Web_1"}), "gmsaCredentialSpecName"),
            (json!({"gmsaCredentialSpecName": ""}), "gmsaCredentialSpecName"),
            (json!({"gmsaCredentialSpec": ""}), "gmsaCredentialSpec"),
            (json!({"gmsaCredentialSpec": "x".repeat(65 * 1024)}), "gmsaCredentialSpec"),
            (json!({"runAsUserName": ""}), "runAsUserName"),
            (json!({"runAsUserName": "a\\b\\c"}), "runAsUserName"),
            (json!({"runAsUserName": "a\nb"}), "runAsUserName"),
            (json!({"runAsUserName": "a@b"}), "runAsUserName"),
            (json!({"runAsUserName": ". ."}), "runAsUserName"),
            (json!({"runAsUserName": "u".repeat(105)}), "runAsUserName"),
        ] {
            rejects_container(&of(options), &format!("securityContext.windowsOptions.{field}"), "FieldValueInvalid");
        }
    }
}
