{{- define "tagger.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* The labels that select pods; takes a list of the root and the component. */}}
{{- define "tagger.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Takes a list of the root and the variant. */}}
{{- define "tagger.image" -}}
{{- $root := index . 0 -}}
{{ $root.Values.image.repository }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}-{{ index . 1 }}
{{- end }}

{{- define "tagger.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .Values.user }}
  runAsGroup: {{ .Values.group }}
  # No fsGroup: Kubernetes would change the group and the permissions of all photos on the volume.
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "tagger.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Environment of a container; takes a list of the root, further settings and the secret. */}}
{{- define "tagger.environment" -}}
{{- $page := dict -}}
{{- with include "tagger.pageUrl" (index . 0) }}{{ $page = dict "TAGGER_WEB_URL" . }}{{ end -}}
{{- $settings := merge (dict) (index . 1) $page (index . 0).Values.settings -}}
envFrom: [{secretRef: {name: {{ (index . 2) | quote }}}}]
{{- with $settings }}
env:
{{- range $name, $value := . }}
  - {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{/* The address of the page, for all processes. Empty: not known. */}}
{{- define "tagger.pageUrl" -}}
{{- $web := .Values.web }}
{{- $ofIngress := ternary (printf "https://%s" $web.ingress.host) "" (and $web.enabled $web.ingress.enabled) }}
{{- coalesce $web.url (get .Values.settings "TAGGER_WEB_URL") $ofIngress | default "" }}
{{- end }}

{{/* Mounts and volumes; take a list of the root and whether photos are needed. */}}
{{- define "tagger.mounts" -}}
{{- $root := index . 0 -}}
volumeMounts:
  - {name: data, mountPath: /data}
  - {name: tmp, mountPath: /tmp}
{{- if and (index . 1) $root.Values.photos.volume }}
  - {name: photos, mountPath: {{ $root.Values.photos.mountPath | quote }}, readOnly: {{ $root.Values.photos.readOnly }}}
{{- end }}
{{- if $root.Values.authoritySecret }}
  - {name: authority, mountPath: /etc/tagger, readOnly: true}
{{- end }}
{{- end }}

{{- define "tagger.volumes" -}}
{{- $root := index . 0 -}}
volumes:
  - {name: data, emptyDir: {sizeLimit: 4Gi}}
  - {name: tmp, emptyDir: {sizeLimit: 2Gi}}
{{- if and (index . 1) $root.Values.photos.volume }}
  - name: photos
    {{- toYaml $root.Values.photos.volume | nindent 4 }}
{{- end }}
{{- with $root.Values.authoritySecret }}
  - {name: authority, secret: {secretName: {{ . | quote }}}}
{{- end }}
{{- end }}
