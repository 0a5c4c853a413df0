//! The objects of the registration: two webhook configurations, and the conversion of a CRD.

use std::fmt;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::{DynamicObject, TypeMeta};
use kube::discovery::ApiResource;
use kube::{Api, Client};
use serde_json::Value;

use super::desired::{CRD, MUTATING, Registration, VALIDATING};
use super::scope::Scope;

/// An object of the registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    Mutating,
    Validating,
    Conversion,
}

impl Target {
    pub const ALL: [Self; 3] = [Self::Mutating, Self::Validating, Self::Conversion];

    pub fn name(self) -> &'static str {
        match self {
            Self::Mutating => MUTATING,
            Self::Validating => VALIDATING,
            Self::Conversion => CRD,
        }
    }

    /// Returns the failpoints of its writes.
    pub fn failpoint(self) -> &'static str {
        match self {
            Self::Mutating => "registration.mutating",
            Self::Validating => "registration.validating",
            Self::Conversion => "registration.conversion",
        }
    }

    pub fn kind(self) -> ApiResource {
        match self {
            Self::Mutating => ApiResource::erase::<MutatingWebhookConfiguration>(&()),
            Self::Validating => ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
            Self::Conversion => ApiResource::erase::<CustomResourceDefinition>(&()),
        }
    }

    /// Returns the object with its kind, which the items of a list lack. Without it, it would differ from the desired
    /// one.
    pub fn typed(self, mut object: DynamicObject) -> DynamicObject {
        let kind = self.kind();
        object.types = Some(TypeMeta { api_version: kind.api_version, kind: kind.kind });
        object
    }

    pub fn desired(self, registration: &Registration, scope: &Scope) -> Value {
        match self {
            Self::Mutating => registration.mutating(scope),
            Self::Validating => registration.validating(),
            Self::Conversion => registration.conversion(),
        }
    }

    pub fn api(self, client: &Client) -> Api<DynamicObject> {
        Api::all_with(client.clone(), &self.kind())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if *self == Self::Conversion { "the conversion of " } else { "" };
        write!(f, "{of}{} {}", self.kind().kind, self.name())
    }
}
