//! The codes of findings: Istio's and Kiali's where the meaning is the same, and our own.

use std::fmt;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// For information.
    Info,
    /// Probably not intended.
    Warning,
    /// Requests fail, or the object is refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "Info",
            Self::Warning => "Warning",
            Self::Error => "Error",
        })
    }
}

macro_rules! codes {
    ($($variant:ident $severity:ident $name:literal $meaning:literal;)*) => {
        /// What is wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $variant,)*
        }

        impl Code {
            /// All codes, in the order of their texts.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the code, such as `IST0101`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            /// Returns its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns its description.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }

            /// Returns its severity.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    IST0002 Warning "Deprecated" "A field is deprecated or without effect";
    IST0101 Error "ReferencedResourceNotFound" "A gateway, host, port, subset or selected Pod that is named does not exist, or cannot be seen from there";
    IST0106 Error "SchemaValidationError" "Istio or its CustomResourceDefinition refuses the object";
    IST0109 Error "ConflictingMeshGatewayVirtualServiceHosts" "Several VirtualServices of the mesh define one host, visible to a common namespace";
    IST0110 Error "ConflictingSidecarWorkloadSelectors" "Several Sidecars select one Pod";
    IST0111 Error "MultipleSidecarsWithoutWorkloadSelectors" "Several Sidecars of a namespace have no selector";
    IST0112 Error "VirtualServiceDestinationPortSelectorRequired" "A destination names no port of a service with several";
    IST0116 Warning "DeploymentAssociatedToMultipleServices" "Services on one workload give one port two protocols";
    IST0118 Info "PortNameIsNotUnderNamingConvention" "The name of a Service's port gives no protocol";
    IST0128 Warning "NoServerCertificateVerificationDestinationLevel" "A DestinationRule asks for TLS and verifies no server";
    IST0129 Warning "NoServerCertificateVerificationPortLevel" "A DestinationRule asks for TLS on a port and verifies no server";
    IST0130 Warning "VirtualServiceUnreachableRule" "A route is never used";
    IST0131 Info "VirtualServiceIneffectiveMatch" "A match is never used, for an earlier rule has it";
    IST0132 Warning "VirtualServiceHostNotFoundInGateway" "A gateway offers none of the hosts of a VirtualService bound to it";
    IST0133 Warning "SchemaWarning" "Istio takes the object with a warning";
    IST0134 Warning "ServiceEntryAddressesRequired" "A ServiceEntry of TCP needs addresses";
    IST0137 Warning "DeploymentConflictingPorts" "Services on one workload send one target port under several ports";
    IST0138 Warning "GatewayDuplicateCertificate" "Several Gateways use one certificate: browsers reuse connections, and get 404";
    IST0140 Warning "IngressRouteRulesNotAffected" "Requests from a gateway miss the subset rules of another VirtualService of the host";
    IST0145 Error "ConflictingGateways" "Several Gateways have one host on one port of the same Pods";
    IST0149 Error "JwtClaimBasedRoutingWithoutRequestAuthN" "Routing by a claim of a JWT, and no RequestAuthentication for the gateway's Pods";
    IST0150 Warning "ExternalNameServiceTypeInvalidPortName" "The port of an ExternalName Service is not named for TCP or TLS";
    IST0161 Error "InvalidGatewayCredential" "The Secret of a gateway's server holds no certificate that is valid";
    IST0162 Warning "GatewayPortNotDefinedOnService" "No Service of the gateway's Pods has the port of a server";
    IST0165 Warning "ReferencedInternalGateway" "A VirtualService names a gateway that Istio generates";
    IST0167 Warning "IneffectivePolicy" "A Sidecar is for Pods in ambient mode, which have no sidecars";
    IST0173 Error "DestinationRuleSubsetNotSelectPods" "The labels of a subset select no Pod";
    IST0174 Error "UnknownDestinationRuleHost" "The host of a DestinationRule is in no service; a warning in Istio";
    IST0177 Warning "ConflictingServiceEntryProtocol" "ServiceEntries give one host and port two protocols";
    KIA0005 Warning "ExportToNamespaceNotFound" "`exportTo` names a namespace that does not exist";
    KIA0201 Warning "MultipleDestinationRules" "Several DestinationRules of a namespace define one host and subset";
    KIA0209 Warning "SubsetWithoutLabels" "A subset without labels is the whole service";
    KIA0301 Warning "OverlappingGatewayServers" "Servers of the same Pods and port have hosts in common";
    KIA0701 Warning "TargetPortNotFound" "No selected workload has the named `targetPort` of a Service";
    KIA1004 Warning "SidecarHostNotFound" "A host of a Sidecar's egress is in no service, or its namespace does not exist";
    KIA1006 Warning "GlobalSidecarWithSelector" "A Sidecar of the root namespace has a selector, and so is no default of the mesh";
    KIA1007 Warning "AmbiguousOutboundTrafficPolicy" "`outboundTrafficPolicy` without `mode` is `REGISTRY_ONLY`";
    KIA1104 Warning "LoneWeight" "A weight of a route with one destination has no effect";
    KIA1106 Error "MultipleVirtualServicesOnGateway" "Several VirtualServices define one host of a Gateway";
    OUT0001 Error "UnreadableFile" "A file cannot be read as objects";
    OUT0002 Warning "DefinedTwice" "The files hold an object twice; the last one counts";
    OUT0003 Info "NoObject" "A file holds YAML that is no Kubernetes object, such as values of a chart";
    OUT0101 Error "DuplicateHostAndPort" "Several services have one host and port";
    OUT0102 Warning "DuplicateHost" "Several services share one host";
    OUT0103 Warning "SubsetOutOfReach" "A subset is defined only by DestinationRules that the callers do not look up";
    OUT0104 Error "DelegateNotFound" "A VirtualService that a route is handed to does not exist, or cannot be seen from there";
    OUT0105 Error "DelegateUnusable" "A VirtualService that a route is handed to has hosts, or hands routes on itself";
    OUT0106 Warning "MatchOutsideGateways" "A match names a gateway that its VirtualService is not bound to";
    OUT0107 Warning "ServiceSelectsNothing" "The selector of a Service matches no workload";
    OUT0108 Warning "MixedProtocolsOnPort" "A Gateway has plain and TLS servers on one port";
    OUT0109 Warning "RouteOutsideSidecar" "The callers that a route is for do not import its host";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Code {
    /// Returns the type of its violation in the status of a MeshService, for findings about the relations of objects.
    #[must_use]
    pub fn violation(self) -> Option<&'static str> {
        match self {
            Self::IST0101 | Self::IST0174 | Self::OUT0104 => Some("ForeignKeyViolation"),
            Self::IST0109 | Self::KIA1106 | Self::KIA0201 | Self::OUT0101 | Self::OUT0102 => {
                Some("UniqueConstraintViolation")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_in_order_each_once() {
        let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert!(codes.is_sorted_by(|one, next| one < next), "{codes:?}");
    }
}
