{{/*
These checks refuse installations that would fail later or silently, before anything is written. Without a cluster (helm template) they
refuse nothing.
*/}}
{{- define "outrigger.refusals" -}}
{{- if lookup "v1" "Namespace" "" "kube-system" }}
{{- include "outrigger.refuseSecond" . }}
{{- if .Values.controllers.sidecarset }}
{{- include "outrigger.refuseOpenKruise" . }}
{{- if eq .Values.certificates.mode "cert-manager" }}
{{- if not (lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "certificates.cert-manager.io") }}
{{- fail "certificates.mode is cert-manager, but cert-manager is not installed: the CRD certificates.cert-manager.io does not exist. Install cert-manager, or set certificates.mode to self-managed." }}
{{- end }}
{{- end }}
{{- end }}
{{- range $value, $kind := dict "podMonitor" "podmonitors" "serviceMonitor" "servicemonitors" "prometheusRule" "prometheusrules" }}
{{- if (index $.Values.metrics $value).enabled }}
{{- $crd := printf "%s.monitoring.coreos.com" $kind }}
{{- if not (lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" $crd) }}
{{- fail (printf "metrics.%s.enabled needs the Prometheus operator: the CRD %s does not exist. Install the operator, or remove the value." $value $crd) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "outrigger.refuseSecond" -}}
{{- $there := lookup "rbac.authorization.k8s.io/v1" "ClusterRole" "" "outrigger" }}
{{- if and $there (not .Values.takeOver) }}
{{- $annotations := $there.metadata.annotations | default dict }}
{{- $name := index $annotations "meta.helm.sh/release-name" | default "" }}
{{- $namespace := index $annotations "meta.helm.sh/release-namespace" | default "" }}
{{- if not $name }}
{{- fail "Outrigger is already installed, but not by helm: the ClusterRole outrigger exists. To manage it with helm, add --take-ownership --force-conflicts --set takeOver=true. Otherwise remove it first (make undeploy)." }}
{{- else if or (ne $name .Release.Name) (ne $namespace .Release.Namespace) }}
{{- fail (printf "Outrigger is already installed as release %s in namespace %s. A cluster can have only one, because its webhook configurations have fixed names. Upgrade that release (helm upgrade %s --namespace %s), or uninstall it first." $name $namespace $name $namespace) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "outrigger.refuseOpenKruise" -}}
{{- range $kind := list "MutatingWebhookConfiguration" "ValidatingWebhookConfiguration" }}
{{- range (lookup "admissionregistration.k8s.io/v1" $kind "" "").items }}
{{- $configuration := . }}
{{- range .webhooks }}
{{- $service := (.clientConfig).service | default dict }}
{{- if and (hasPrefix "kruise-" ($service.name | default "")) (or (contains "sidecarset" ($service.path | default "")) (eq "/mutate-pod" ($service.path | default ""))) }}
{{- fail (printf "OpenKruise handles Pods and SidecarSets in this cluster: %s %s has the webhook %s. Both would inject the same sidecars. Stop its manager, and delete that configuration or remove this webhook from it. Then take over its CRD: see \"Taking over from OpenKruise\" in docs/operations.md." $configuration.kind $configuration.metadata.name .name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $crd := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "sidecarsets.apps.kruise.io" }}
{{- if $crd }}
{{- $conversion := ((($crd.spec.conversion).webhook).clientConfig).service | default dict }}
{{- if hasPrefix "kruise-" ($conversion.name | default "") }}
{{- fail "The CRD sidecarsets.apps.kruise.io is OpenKruise's: its conversion webhook is the Service kruise-…, and helm would not remove all fields of it. Remove it first: kubectl patch crd sidecarsets.apps.kruise.io --type=merge -p '{\"spec\":{\"conversion\":{\"strategy\":\"None\",\"webhook\":null}}}' and install with --take-ownership --force-conflicts --set takeOver=true,revisionNamespace=kruise-system" }}
{{- end }}
{{- $annotations := $crd.metadata.annotations | default dict }}
{{- $ours := and (eq .Release.Name (index $annotations "meta.helm.sh/release-name" | default "")) (eq .Release.Namespace (index $annotations "meta.helm.sh/release-namespace" | default "")) }}
{{- if and .Values.crds.enabled (not $ours) (not .Values.takeOver) }}
{{- fail "The CRD sidecarsets.apps.kruise.io exists and does not belong to this release. To replace it, add --take-ownership --force-conflicts --set takeOver=true: all SidecarSets are kept. To leave it unchanged, add --set crds.enabled=false." }}
{{- end }}
{{- if not .Values.crds.enabled }}
{{- $beta := false }}
{{- range $crd.spec.versions }}
{{- if eq .name "v1beta1" }}{{ $beta = dig "schema" "openAPIV3Schema" "properties" "status" "properties" "conditions" false . }}{{ end }}
{{- end }}
{{- if not $beta }}
{{- fail "The CRD sidecarsets.apps.kruise.io is too old: it has no version v1beta1 with status.conditions. Replace it: kubectl apply --server-side --force-conflicts -f manifests/crds (all SidecarSets are kept), or leave crds.enabled on." }}
{{- end }}
{{- end }}
{{- else if not .Values.crds.enabled }}
{{- fail "crds.enabled is off, but the CRD sidecarsets.apps.kruise.io does not exist. Install it first: kubectl apply --server-side -f manifests/crds" }}
{{- end }}
{{- end }}
