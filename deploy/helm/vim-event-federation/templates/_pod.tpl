{{/* What it is called in labels. */}}
{{- define "vimfed.appName" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of everything: the release's, and the chart's where that does not say it. */}}
{{- define "vimfed.fullname" -}}
{{- $name := include "vimfed.appName" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* A map of texts as YAML; YAML's numbers and booleans are no texts to Kubernetes. */}}
{{- define "vimfed.texts" -}}
{{- range $key, $value := . }}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) }}
{{ $key | quote }}: {{ printf "%.0f" $value | quote }}
{{- else }}
{{ $key | quote }}: {{ toString $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The annotation by which ONAP's Microservice Bus finds the workers: none without msb.enabled. */}}
{{- define "vimfed.msb" -}}
{{- if .Values.msb.enabled }}
{{- $services := list }}
{{- $prefix := dig "web" "prefix" "/api/multicloud" .Values.settings }}
{{- range list "v0" "v1" }}
{{- $services = append $services (dict
      "serviceName" $.Values.msb.serviceName "version" . "url" (printf "%s/%s" $prefix .) "protocol" "REST"
      "port" "6066" "enable_ssl" (eq (include "vimfed.scheme" $) "https") "visualRange" $.Values.msb.visualRange) }}
{{- end }}
msb.onap.org/service-info: {{ toJson $services | quote }}
{{- end }}
{{- end -}}

{{/* Labels that select everything of this release. */}}
{{- define "vimfed.release" -}}
app.kubernetes.io/name: {{ include "vimfed.appName" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels that select the pods of a component: (dict "root" $ "component" "worker"). */}}
{{- define "vimfed.selector" -}}
{{ include "vimfed.release" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "vimfed.labels" -}}
{{ include "vimfed.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* The outputs by name; without any in the settings, the default one. */}}
{{- define "vimfed.outputs" -}}
{{- $names := list -}}
{{- range (dig "dmaap" "outputs" list .Values.settings) -}}
{{- $names = append $names (default "dmaap" .name) -}}
{{- end -}}
{{- $taken := dict -}}
{{- range $names -}}
{{- $component := include "vimfed.publisher" . -}}
{{- $name := printf "%s-%s" (include "vimfed.fullname" $) $component | trunc 52 -}}
{{- if hasKey $taken $name -}}
{{- fail (printf "settings.dmaap.outputs: %s and %s would both be %s: give one of them another name" (get $taken $name) . $name) -}}
{{- end -}}
{{- $_ := set $taken $name . -}}
{{- end -}}
{{- toJson (default (list "dmaap") $names) -}}
{{- end -}}

{{/* The component that serves an output; objects have room for so many letters of it behind the chart's name. */}}
{{- define "vimfed.publisher" -}}
{{- printf "publisher-%s" (lower . | replace "." "-") | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* What the workers' API speaks: https where their settings name a certificate. */}}
{{- define "vimfed.scheme" -}}
{{- $settings := include "vimfed.settings" (dict "root" . "kind" "worker" "component" "worker") | fromJson -}}
{{- ternary "https" "http" (ne "" (dig "web" "cert_file" "" $settings)) -}}
{{- end -}}

{{/* The image, by its digest where there is one. */}}
{{- define "vimfed.image" -}}
{{- with .Values.image.registry }}{{ . }}/{{ end -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* One pod of a component goes at a time: (dict "root" $ "component" "worker"). */}}
{{- define "vimfed.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "vimfed.name" . }}
  labels:
    {{- include "vimfed.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  # Who is not ready, since Kafka is away, holds up no drain.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "vimfed.selector" . | nindent 6 }}
{{- end -}}

{{/* By kind of process, the ports on which its pods listen, as JSON. */}}
{{- define "vimfed.ports" -}}
{{- toJson (dict
      "bridge" (dict "monitoring" 6065)
      "worker" (dict "http" 6066 "monitoring" 6166)
      "publisher" (dict "monitoring" 6070)
      "gateway" (dict "http" 3904 "monitoring" 3966)) -}}
{{- end -}}

{{/* The name of the Service by which a component's metrics are scraped: what vimfed.settings takes. */}}
{{- define "vimfed.monitoringName" -}}
{{- printf "%s-%s" (include "vimfed.fullname" .root) .component | trunc 52 | trimSuffix "-" }}-monitoring
{{- end -}}

{{/* Where `vimfed status` finds bridge, publishers and gateway. */}}
{{- define "vimfed.addresses" -}}
{{- $found := list -}}
{{- range $process := include "vimfed.processes" . | fromJsonArray -}}
{{- if ne $process.kind "worker" -}}
{{- $context := merge (dict "root" $) $process -}}
{{- $name := $process.kind -}}
{{- if $process.output -}}
{{- $name = printf "publisher.%s" $process.output -}}
{{- end -}}
{{- $port := (get (include "vimfed.ports" $ | fromJson) $process.kind).monitoring -}}
{{- $found = append $found (printf "%s=http://%s.%s.svc:%v" $name (include "vimfed.monitoringName" $context) $.Release.Namespace $port) -}}
{{- end -}}
{{- end -}}
{{- join " " $found -}}
{{- end -}}

{{/* The security of all pods, and whence images come: of those of processes, of the check and of the test. */}}
{{- define "vimfed.podDefaults" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
The environment of one process: what vimfed.settings takes, and (dict "env" (list …) "host" "0.0.0.0"): variables of its
own, and the name at which it listens, or is asked.
*/}}
{{- define "vimfed.env" -}}
{{- $ports := get (include "vimfed.ports" .root | fromJson) .kind -}}
{{- $section := get (dict "bridge" "BRIDGE" "worker" "WEB" "publisher" "DMAAP" "gateway" "GATEWAY") .kind -}}
- name: VIMFED_STATE_DIR
  value: /var/lib/vimfed
- name: VIMFED_{{ $section }}__HOST
  value: {{ default "0.0.0.0" .host | quote }}
- name: VIMFED_{{ $section }}__PORT
  value: {{ default $ports.monitoring $ports.http | quote }}
{{- if $ports.http }}
- name: VIMFED_{{ $section }}__MONITORING_PORT
  value: {{ $ports.monitoring | quote }}
{{- end }}
{{- with .env }}
{{ toYaml . }}
{{- end }}
{{- range $name := include "vimfed.secretVariables" . | fromJsonArray }}
{{- $secret := get $.root.Values.secretEnv $name }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret.name }}
      key: {{ $secret.key }}
{{- end }}
{{- with (index .root.Values .kind).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A value of a component, or that of all where it has none of its own: (dict … "name" "affinity"). */}}
{{- define "vimfed.own" -}}
{{- with default (get .root.Values .name) (get (index .root.Values .kind) .name) }}
{{ $.name }}: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A probe: (dict … "probe" "startup" "path" "/healthz" "defaults" (dict "periodSeconds" 2)). */}}
{{- define "vimfed.probe" -}}
{{- $given := dig "probes" .probe dict (index .root.Values .kind) -}}
{{ .probe }}Probe:
  httpGet: {path: {{ .path }}, port: monitoring}
  {{- toYaml (mergeOverwrite (dict "timeoutSeconds" 5) .defaults (default dict $given)) | nindent 2 }}
{{- end -}}

{{/*
The pod of one process: what vimfed.settings takes, and
(dict "args" (list "bridge") "env" (list) "stateVolume" "emptyDir" or "claim")
*/}}
{{- define "vimfed.pod" -}}
{{- $folders := include "vimfed.secretFolders" . | fromJson -}}
{{- $values := index .root.Values .kind -}}
{{- $ports := get (include "vimfed.ports" .root | fromJson) .kind -}}
metadata:
  labels:
    {{- include "vimfed.labels" . | nindent 4 }}
    {{- /* Alerts and dashboard know the processes by it. */}}
    vimfed/job: vimfed-{{ .kind }}
    {{- include "vimfed.texts" (merge (dict) (default dict $values.podLabels) .root.Values.podLabels) | nindent 4 }}
  annotations:
    checksum/settings: {{ include "vimfed.read" . | sha256sum }}
    checksum/secrets: {{ include "vimfed.secretVersions" . | sha256sum }}
    {{- include "vimfed.texts" (merge (dict) (default dict $values.podAnnotations) .root.Values.podAnnotations) | nindent 4 }}
spec:
  {{- include "vimfed.podDefaults" .root | nindent 2 }}
  serviceAccountName: {{ coalesce $values.serviceAccountName .root.Values.serviceAccount.name (include "vimfed.fullname" .root) }}
  {{- /* What stops takes 30 s at most; a Service's process waits first, see preStop. */}}
  terminationGracePeriodSeconds: {{ ternary (add 30 .root.Values.service.drainSeconds) 30 (hasKey $ports "http") }}
  {{- with default .root.Values.priorityClassName $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- if not (or $values.topologySpreadConstraints .root.Values.topologySpreadConstraints) }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "vimfed.selector" . | nindent 10 }}
  {{- end }}
  {{- range $name := list "topologySpreadConstraints" "nodeSelector" "affinity" "tolerations" }}
  {{- include "vimfed.own" (dict "root" $.root "kind" $.kind "name" $name) | trim | nindent 2 }}
  {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ include "vimfed.image" .root | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args:
        {{- toYaml .args | nindent 8 }}
      env:
        {{- include "vimfed.env" . | nindent 8 }}
      ports:
        {{- range $name, $port := $ports }}
        - name: {{ $name }}
          containerPort: {{ $port }}
        {{- end }}
      {{- if $ports.http }}
      {{- /* Nodes and proxies learn of the end meanwhile: no request comes to a closed port. */}}
      lifecycle:
        preStop:
          exec:
            command: [sleep, {{ .root.Values.service.drainSeconds | quote }}]
      {{- end }}
      {{- include "vimfed.probe" (merge (dict "probe" "startup" "path" "/healthz" "defaults" (dict "periodSeconds" 2 "failureThreshold" 90)) .) | nindent 6 }}
      {{- include "vimfed.probe" (merge (dict "probe" "liveness" "path" "/healthz" "defaults" (dict "periodSeconds" 10 "failureThreshold" 6)) .) | nindent 6 }}
      {{- include "vimfed.probe" (merge (dict "probe" "readiness" "path" "/readyz" "defaults" (dict "periodSeconds" 5 "failureThreshold" 2)) .) | nindent 6 }}
      terminationMessagePolicy: FallbackToLogsOnError
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        {{- toYaml .root.Values.securityContext | nindent 8 }}
      volumeMounts:
        - name: settings
          mountPath: /etc/vimfed/vimfed.toml
          subPath: vimfed.toml
          readOnly: true
        - name: state
          mountPath: /var/lib/vimfed
        - name: tmp
          mountPath: /tmp
        {{- range $folder, $_ := $folders }}
        - name: secret-{{ $folder }}
          mountPath: /etc/vimfed/secrets/{{ $folder }}
          readOnly: true
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: settings
      configMap:
        name: {{ include "vimfed.name" . }}
    - name: tmp
      emptyDir: {}
    {{- if eq .stateVolume "emptyDir" }}
    - name: state
      emptyDir: {}
    {{- end }}
    {{- range $folder, $secret := $folders }}
    - name: secret-{{ $folder }}
      secret:
        secretName: {{ $secret }}
        defaultMode: 0440
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
