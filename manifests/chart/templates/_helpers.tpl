{{/* Labels of every object. */}}
{{- define "outrigger.labels" -}}
app.kubernetes.io/name: outrigger
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* By what the Pods are found. */}}
{{- define "outrigger.selector" -}}
app.kubernetes.io/name: outrigger
{{- end }}

{{- define "outrigger.image" -}}
{{- with .Values.image -}}
{{- with .registry }}{{ . }}/{{ end }}{{ .repository }}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{/* The Secret with the certificate; empty where outrigger makes it. */}}
{{- define "outrigger.tlsSecret" -}}
{{- if not .Values.controllers.sidecarset -}}
{{- else if eq .Values.certificates.mode "cert-manager" -}}outrigger-webhook-tls
{{- else if eq .Values.certificates.mode "files" -}}
{{- required "certificates.secretName is needed with certificates.mode files: a Secret with tls.crt, tls.key and ca.crt" .Values.certificates.secretName }}
{{- end -}}
{{- end }}

{{/*
The objects of a file, as they are to be here: (list . TEXT). The file is for the namespace outrigger-system and the ServiceAccount
outrigger in it.
*/}}
{{- define "outrigger.objects" -}}
{{- $root := index . 0 }}
{{- range splitList "\n---\n" (index . 1) }}
{{- $object := fromYaml . }}
{{- with $object.Error }}{{ fail . }}{{ end }}
{{- if ne $object.kind "ServiceAccount" }}
{{- $metadata := $object.metadata }}
{{- if eq (toString $metadata.namespace) "outrigger-system" }}
{{- $_ := set $metadata "namespace" $root.Release.Namespace }}
{{- end }}
{{- if and $root.Values.revisionNamespace $metadata.namespace (eq $metadata.name "outrigger-sidecarset") }}
{{- $_ := set $metadata "namespace" $root.Values.revisionNamespace }}
{{- end }}
{{- range $object.subjects }}
{{- $_ := set . "namespace" $root.Release.Namespace }}
{{- $_ := set . "name" $root.Values.serviceAccount.name }}
{{- end }}
{{- $labels := merge (dict) ($metadata.labels | default dict) (fromYaml (include "outrigger.labels" $root)) }}
{{- $_ := set $metadata "labels" $labels }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}
{{- end }}
