//! Whether a kind is still installed, which is checked when the API server answers 404 for a kind that it has served.
//!
//! A 404 alone proves nothing. A version that is briefly not served, or a proxy in between, looks the same, and believing it would
//! drop all objects of the kind.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::{Api, Client};

/// A kind, in the form of its `CustomResourceDefinition`'s name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KindName {
    plural: String,
    group: String,
}

impl KindName {
    /// Parses the path of its objects; `None` for a kind of the core group, which every API server has.
    pub fn of(path: &str) -> Option<Self> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let (Some("apis"), Some(group)) = (parts.next(), parts.next()) else { return None };
        Some(Self { plural: parts.next_back()?.to_owned(), group: group.to_owned() })
    }

    /// Whether its `CustomResourceDefinition` exists, or discovery lists it in any version. Neither requires permissions: if the
    /// first is forbidden, the second decides.
    ///
    /// # Errors
    /// When the API server does not tell.
    pub async fn is_installed(&self, client: &Client) -> kube::Result<bool> {
        let only = ListParams::default().fields(&format!("metadata.name={}.{}", self.plural, self.group));
        match Api::<CustomResourceDefinition>::all(client.clone()).list_metadata(&only).await {
            Ok(found) if !found.items.is_empty() => return Ok(true),
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 403 => {}
            Err(error) => return Err(error),
        }
        let groups = client.list_api_groups().await?.groups;
        let versions = groups.into_iter().filter(|group| group.name == self.group).flat_map(|group| group.versions);
        for version in versions {
            let resources = client.list_api_group_resources(&version.group_version).await?.resources;
            if resources.iter().any(|resource| resource.name == self.plural) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_named_by_the_path_of_its_objects() {
        let named = |path| KindName::of(path).map(|kind| format!("{}.{}", kind.plural, kind.group));
        let sets = Some("sidecarsets.apps.kruise.io".to_owned());
        assert_eq!(named("/apis/apps.kruise.io/v1beta1/sidecarsets"), sets);
        let revisions = Some("controllerrevisions.apps".to_owned());
        assert_eq!(named("/apis/apps/v1/namespaces/outrigger-system/controllerrevisions"), revisions);
        assert_eq!(named("/api/v1/namespaces"), None);
    }
}
