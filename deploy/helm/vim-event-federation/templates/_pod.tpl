{{/* The name of everything: the release's, and the chart's where that does not say it. */}}
{{- define "vimfed.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the pods of a component: (dict "root" $ "component" "worker"). */}}
{{- define "vimfed.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
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
{{- toJson (default (list "dmaap") $names) -}}
{{- end -}}

{{/* What the workers' API speaks: https where their settings name a certificate. */}}
{{- define "vimfed.scheme" -}}
{{- $settings := include "vimfed.settings" (dict "root" . "kind" "worker" "component" "worker") | fromJson -}}
{{- ternary "https" "http" (ne "" (dig "web" "cert_file" "" $settings)) -}}
{{- end -}}

{{/* The image, by its digest where there is one. */}}
{{- define "vimfed.image" -}}
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
    {{- with .root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/settings: {{ include "vimfed.read" . | sha256sum }}
    checksum/secrets: {{ include "vimfed.secretVersions" . | sha256sum }}
    {{- with .root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ default (include "vimfed.fullname" .root) .root.Values.serviceAccount.name }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- /* What stops takes 30 s at most; a Service's process waits first, see preStop. */}}
  terminationGracePeriodSeconds: {{ ternary (add 30 .root.Values.service.drainSeconds) 30 (hasKey $ports "http") }}
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 1000
    runAsGroup: 1000
    fsGroup: 1000
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "vimfed.selector" . | nindent 10 }}
  containers:
    - name: {{ .component | trunc 63 | trimSuffix "-" }}
      image: {{ include "vimfed.image" .root | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args:
        {{- toYaml .args | nindent 8 }}
      env:
        - name: VIMFED_STATE_DIR
          value: /var/lib/vimfed
        {{- $section := get (dict "bridge" "BRIDGE" "worker" "WEB" "publisher" "DMAAP" "gateway" "GATEWAY") .kind }}
        - name: VIMFED_{{ $section }}__HOST
          value: "0.0.0.0"
        - name: VIMFED_{{ $section }}__PORT
          value: {{ default $ports.monitoring $ports.http | quote }}
        {{- if $ports.http }}
        - name: VIMFED_{{ $section }}__MONITORING_PORT
          value: {{ $ports.monitoring | quote }}
        {{- end }}
        {{- with .env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- range $name := include "vimfed.secretVariables" . | fromJsonArray }}
        {{- $secret := get $.root.Values.secretEnv $name }}
        - name: {{ $name }}
          valueFrom:
            secretKeyRef:
              name: {{ $secret.name }}
              key: {{ $secret.key }}
        {{- end }}
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
      startupProbe:
        httpGet: {path: /healthz, port: monitoring}
        periodSeconds: 2
        timeoutSeconds: 5
        failureThreshold: 90
      livenessProbe:
        httpGet: {path: /healthz, port: monitoring}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: monitoring}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 2
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
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
  {{- with .root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
