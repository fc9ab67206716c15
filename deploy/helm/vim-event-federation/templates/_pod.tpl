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

{{/* What the workers speak: HTTPS where they have a certificate. */}}
{{- define "vimfed.scheme" -}}
{{- ternary "HTTPS" "HTTP" (ne "" (dig "web" "cert_file" "" .Values.settings)) -}}
{{- end -}}

{{/*
The pod of one process:
(dict "root" $ "component" "bridge" "job" "vimfed-bridge" "args" (list "bridge") "port" 6065
"values" .Values.bridge "env" (list) "stateVolume" "emptyDir" or "claim" "scheme" "HTTP" or "HTTPS")
*/}}
{{- define "vimfed.pod" -}}
metadata:
  labels:
    {{- include "vimfed.labels" . | nindent 4 }}
    {{- /* Alerts and dashboard know the processes by it. */}}
    vimfed/job: {{ .job }}
    {{- with .root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/settings: {{ toToml .root.Values.settings | sha256sum }}
    {{- with .root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: 30
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
      image: "{{ .root.Values.image.repository }}:{{ default .root.Chart.AppVersion .root.Values.image.tag }}"
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args:
        {{- toYaml .args | nindent 8 }}
      env:
        - name: VIMFED_STATE_DIR
          value: /var/lib/vimfed
        {{- range list "BRIDGE" "WEB" "DMAAP" "GATEWAY" }}
        - name: VIMFED_{{ . }}__HOST
          value: "0.0.0.0"
        {{- end }}
        {{- with .env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- range $name, $secret := .root.Values.secretEnv }}
        - name: {{ $name }}
          valueFrom:
            secretKeyRef:
              name: {{ $secret.name }}
              key: {{ $secret.key }}
        {{- end }}
      ports:
        - name: http
          containerPort: {{ .port }}
      startupProbe:
        httpGet: {path: /healthz, port: http, scheme: {{ default "HTTP" .scheme }}}
        periodSeconds: 2
        timeoutSeconds: 5
        failureThreshold: 90
      livenessProbe:
        httpGet: {path: /healthz, port: http, scheme: {{ default "HTTP" .scheme }}}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: http, scheme: {{ default "HTTP" .scheme }}}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 2
      resources:
        {{- toYaml .values.resources | nindent 8 }}
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
        {{- range $folder, $secret := .root.Values.secretFiles }}
        - name: secret-{{ $folder }}
          mountPath: /etc/vimfed/secrets/{{ $folder }}
          readOnly: true
        {{- end }}
  volumes:
    - name: settings
      configMap:
        name: {{ include "vimfed.fullname" .root }}
    - name: tmp
      emptyDir: {}
    {{- if eq .stateVolume "emptyDir" }}
    - name: state
      emptyDir: {}
    {{- end }}
    {{- range $folder, $secret := .root.Values.secretFiles }}
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
