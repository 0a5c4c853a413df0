//! The container fields that only SidecarSets have.
//!
//! Source: OpenKruise's rules. OpenKruise checks `containers` only, and not every enumeration. Here the rules also
//! apply to init containers, except for `transferEnv`, because their fields work there too.

use super::super::kind::ContainerKind;
use super::super::node::FieldPlace;
use super::super::{policy, transfer};
use super::image;
use crate::api::sidecarset::{PodInjectPolicy, SidecarContainer, UpgradeType};
use crate::injection::patterns::Patterns;

pub(super) fn check(
    kind: ContainerKind,
    container: &SidecarContainer,
    place: &FieldPlace<'_>,
    patterns: &mut Patterns,
) {
    if let Some(PodInjectPolicy::Other(unknown)) = &container.pod_inject_policy {
        place.field("podInjectPolicy").not_supported(unknown, &["BeforeAppContainer", "AfterAppContainer"]);
    }
    let sharing = [
        ("shareVolumePolicy", Some(&container.share_volume_policy)),
        ("shareVolumeDevicePolicy", container.share_volume_device_policy.as_ref()),
    ];
    for (field, policy) in sharing {
        if let Some(unknown) = policy.and_then(|policy| policy.policy.as_deref())
            && !matches!(unknown, "enabled" | "disabled")
        {
            place.field(field).field("type").not_supported(unknown, &["enabled", "disabled"]);
        }
    }
    check_upgrade(kind, container, &place.field("upgradeStrategy"));
    transfer::check(kind, container, place);
    policy::check(kind, container, place, patterns);
}

fn check_upgrade(kind: ContainerKind, container: &SidecarContainer, place: &FieldPlace<'_>) {
    let strategy = &container.upgrade_strategy;
    let (image, place_of_image) = (&strategy.hot_upgrade_empty_image, place.field("hotUpgradeEmptyImage"));
    match &strategy.upgrade_type {
        Some(UpgradeType::Other(unknown)) => {
            place.field("upgradeType").not_supported(unknown, &["ColdUpgrade", "HotUpgrade"]);
        }
        // OpenKruise accepts this, and the API server then refuses every Pod, because the idle twin has no image.
        Some(UpgradeType::HotUpgrade) if kind != ContainerKind::Init && image.is_empty() => {
            place_of_image.of_pods().required("HotUpgrade needs an image for the idle container");
        }
        _ => {}
    }
    if !image.is_empty() {
        image::check(image, &place_of_image.of_pods());
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{accepts_container, rejects_container, rejects_spec};
    use serde_json::json;

    #[test]
    fn enumerations_are_known() {
        accepts_container(&json!({
            "podInjectPolicy": "AfterAppContainer", "shareVolumePolicy": {"type": "enabled"},
            "shareVolumeDevicePolicy": {"type": "disabled"}
        }));
        accepts_container(&json!({"shareVolumeDevicePolicy": {}}));
        for (container, field) in [
            (json!({"podInjectPolicy": "Inside"}), "podInjectPolicy"),
            (json!({"shareVolumePolicy": {"type": "Enabled"}}), "shareVolumePolicy.type"),
            (json!({"shareVolumeDevicePolicy": {"type": "on"}}), "shareVolumeDevicePolicy.type"),
            (json!({"upgradeStrategy": {"upgradeType": "WarmUpgrade"}}), "upgradeStrategy.upgradeType"),
        ] {
            rejects_container(&container, field, "FieldValueNotSupported");
            let mut init = container.clone();
            init["name"] = json!("i");
            init["image"] = json!("x");
            let field = format!("spec.initContainers[0].{field}");
            rejects_spec(&json!({"initContainers": [init]}), &field, "FieldValueNotSupported");
        }
    }

    #[test]
    fn a_hot_upgrade_needs_its_empty_image() {
        let strategy = |strategy| json!({"upgradeStrategy": strategy});
        let field = "upgradeStrategy.hotUpgradeEmptyImage";
        accepts_container(&strategy(json!({"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "empty:1"})));
        rejects_container(&strategy(json!({"upgradeType": "HotUpgrade"})), field, "FieldValueRequired");
        rejects_container(&strategy(json!({"hotUpgradeEmptyImage": "x y"})), field, "FieldValueInvalid");
    }
}
