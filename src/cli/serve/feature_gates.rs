//! `--feature-gates`, as in OpenKruise's manager.

use std::str::FromStr;

/// The gates with the same meaning as in OpenKruise. Its other gates are accepted, with a message that they have no
/// effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct FeatureGates {
    /// `SidecarSetPatchPodMetadataDefaultsAllowed`: without a whitelist, SidecarSets may put any annotations on Pods.
    pub patch_without_whitelist: bool,
    /// Unknown names.
    pub without_meaning: Vec<String>,
}

impl FromStr for FeatureGates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut gates = Self::default();
        for gate in text.split(',').map(str::trim).filter(|gate| !gate.is_empty()) {
            let (name, value) =
                gate.split_once('=').ok_or_else(|| format!("{gate:?}: write NAME=true or NAME=false"))?;
            let value = match value.trim().to_ascii_lowercase().as_str() {
                "true" | "t" | "1" => true,
                "false" | "f" | "0" => false,
                other => return Err(format!("{name}: {other:?} is neither true nor false")),
            };
            match name.trim() {
                "SidecarSetPatchPodMetadataDefaultsAllowed" | "AllAlpha" => gates.patch_without_whitelist = value,
                other => gates.without_meaning.push(other.to_owned()),
            }
        }
        Ok(gates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_gates_count_and_others_are_named() {
        let gates: FeatureGates = "PodWebhook=true, SidecarSetPatchPodMetadataDefaultsAllowed=true".parse().unwrap();
        assert!(gates.patch_without_whitelist);
        assert_eq!(gates.without_meaning, ["PodWebhook"]);
        assert_eq!("".parse(), Ok(FeatureGates::default()));
    }

    #[test]
    fn a_gate_without_a_value_is_an_error() {
        assert_eq!("A".parse::<FeatureGates>(), Err("\"A\": write NAME=true or NAME=false".to_owned()));
        assert_eq!("A=yes".parse::<FeatureGates>(), Err("A: \"yes\" is neither true nor false".to_owned()));
    }
}
