{{/*
The processes, as a JSON list of (kind, component, output): a kind of process is a component, but of
publishers each output's is one.
*/}}
{{- define "vimfed.processes" -}}
{{- $all := list (dict "kind" "bridge" "component" "bridge") (dict "kind" "worker" "component" "worker") -}}
{{- range include "vimfed.outputs" . | fromJsonArray -}}
{{- $component := include "vimfed.publisher" . -}}
{{- $all = append $all (dict "kind" "publisher" "component" $component "output" .) -}}
{{- end -}}
{{- if .Values.gateway.enabled -}}
{{- $all = append $all (dict "kind" "gateway" "component" "gateway") -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

{{/* The name of what belongs to a component alone: (dict "root" $ "component" "worker"). */}}
{{- define "vimfed.name" -}}
{{- printf "%s-%s" (include "vimfed.fullname" .root) .component | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
The settings of one process, as JSON: the sections that it reads, and of what is others' no more than it
needs, so that no process holds, nor names, the secrets of another.
(dict "root" $ "kind" "publisher" "component" "publisher-dmaap" "output" "dmaap")
*/}}
{{- define "vimfed.settings" -}}
{{- $root := .root -}}
{{- $all := mergeOverwrite (deepCopy $root.Values.settings) (deepCopy (default dict (index $root.Values .kind).settings)) -}}
{{- $sections := dict
      "bridge" (list "kafka" "vims" "bridge" "log" "tracing")
      "worker" (list "kafka" "vims" "dmaap" "filter" "worker" "alerts" "metrics" "web" "self_service" "log" "tracing")
      "publisher" (list "kafka" "dmaap" "filter" "worker" "self_service" "log" "tracing")
      "gateway" (list "kafka" "dmaap" "gateway" "web" "log") -}}
{{- $own := dict -}}
{{- range get $sections .kind -}}
{{- if hasKey $all . -}}
{{- $_ := set $own . (get $all .) -}}
{{- end -}}
{{- end -}}
{{- if eq .kind "worker" -}}
{{- $vims := list -}}
{{- range $own.vims -}}
{{- $vim := omit . "rabbit" "kafka" "poll" "samples" -}}
{{- with .samples -}}
{{- /* From where a bridge has samples is its own; that there are any is the worker's, too. */ -}}
{{- $read := not (empty (or .usage .rabbit .kafka .prometheus)) -}}
{{- $vim = set $vim "samples" (dict "pushed" (default false .pushed) "usage" $read) -}}
{{- end -}}
{{- $vims = append $vims $vim -}}
{{- end -}}
{{- $_ := set $own "vims" $vims -}}
{{- $_ := set $own "web" (include "vimfed.web" (dict "root" $root "web" (default dict $own.web)) | fromJson) -}}
{{- end -}}
{{- if eq .kind "gateway" -}}
{{- $_ := set $own "gateway" (include "vimfed.gateway" (dict "root" $root "gateway" (default dict $own.gateway)) | fromJson) -}}
{{- $web := pick (default dict $own.web) "allowed_hosts" "trusted_proxies" -}}
{{- $_ := set $own "web" (set $web "allowed_hosts" (include "vimfed.hosts" (dict "root" $root "web" $web) | fromJsonArray)) -}}
{{- end -}}
{{- if and $own.dmaap $own.dmaap.outputs -}}
{{- $served := include "vimfed.served" (dict "settings" $all) -}}
{{- $outputs := list -}}
{{- $kind := .kind -}}
{{- $output := default "" .output -}}
{{- range $own.dmaap.outputs -}}
{{- $name := default "dmaap" .name -}}
{{- if or (and (eq $kind "publisher") (eq $name $output)) (and (eq $kind "gateway") (eq $name $served)) -}}
{{- $outputs = append $outputs . -}}
{{- else if ne $kind "gateway" -}}
{{- /* Its name, and what it gets, is needed for filters and subscriptions; the place is the job's own cluster. */ -}}
{{- $outputs = append $outputs (dict "name" $name "carries" (default "events" .carries) "url" (printf "kafka://%s/unauthenticated.VIM_VM_EVENTS" (dig "kafka" "bootstrap" "127.0.0.1:9092" $own))) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $own "dmaap" (set (ternary (dict) $own.dmaap (eq $kind "worker")) "outputs" $outputs) -}}
{{- end -}}
{{- $_ := include "vimfed.refuseSecrets" (toToml $own) -}}
{{- toJson $own -}}
{{- end -}}

{{/* The name of the output whose cluster the gateway serves: (dict "settings" …). */}}
{{- define "vimfed.served" -}}
{{- $wanted := dig "gateway" "output" "" .settings -}}
{{- $found := list -}}
{{- range .settings.dmaap.outputs -}}
{{- $name := default "dmaap" .name -}}
{{- if and (regexMatch "^(ves[+])?kafka://" .url) (has $wanted (list "" $name)) -}}
{{- $found = append $found $name -}}
{{- end -}}
{{- end -}}
{{- first (append $found "") -}}
{{- end -}}

{{/* The names by which workers and gateway are reached: (dict "root" $ "web" …). */}}
{{- define "vimfed.hosts" -}}
{{- $hosts := concat (default list .web.allowed_hosts) .root.Values.ingress.hosts .root.Values.httpRoute.hostnames -}}
{{- $name := include "vimfed.fullname" .root -}}
{{- $namespace := .root.Release.Namespace -}}
{{- range $service := list $name (printf "%s-stale" $name) (printf "%s-gateway" $name) -}}
{{- range $suffix := list "" (printf ".%s" $namespace) (printf ".%s.svc" $namespace) (printf ".%s.svc.cluster.local" $namespace) -}}
{{- $hosts = append $hosts (printf "%s%s" $service $suffix) -}}
{{- end -}}
{{- end -}}
{{- toJson $hosts -}}
{{- end -}}

{{/* Whether a variable of secretEnv begins so, "yes" or nothing: (dict "root" $ "prefix" "VIMFED_…"). */}}
{{- define "vimfed.fromEnvironment" -}}
{{- $prefix := .prefix -}}
{{- range $name, $_ := .root.Values.secretEnv -}}
{{- if hasPrefix $prefix $name -}}yes{{- end -}}
{{- end -}}
{{- end -}}

{{/*
[web] of the workers. Who does not say who may log in, or that nobody has to, gets a first login; the
workers' secret is made wherever a login is.
*/}}
{{- define "vimfed.web" -}}
{{- $web := set .web "allowed_hosts" (include "vimfed.hosts" . | fromJsonArray) -}}
{{- $auth := default dict $web.auth -}}
{{- $users := or $auth.users (include "vimfed.fromEnvironment" (dict "root" .root "prefix" "VIMFED_WEB__AUTH__USERS__")) -}}
{{- if not (or $users (dig "keystone" "url" "" $auth) $auth.allow_anonymous) -}}
{{- $user := dict "name" .root.Values.worker.login.name "role" "admin" "password_file" "/etc/vimfed/secrets/login/password" -}}
{{- $auth = set $auth "users" (list $user) -}}
{{- end -}}
{{- $given := include "vimfed.fromEnvironment" (dict "root" .root "prefix" "VIMFED_WEB__AUTH__PEER_SECRET") -}}
{{- if not (or $auth.allow_anonymous $auth.peer_secret_file $given) -}}
{{- $auth = set $auth "peer_secret_file" "/etc/vimfed/secrets/login/peer-secret" -}}
{{- end -}}
{{- toJson (set $web "auth" $auth) -}}
{{- end -}}

{{/* [gateway], with a first login where nobody else is named. */}}
{{- define "vimfed.gateway" -}}
{{- $gateway := .gateway -}}
{{- $users := or $gateway.users (include "vimfed.fromEnvironment" (dict "root" .root "prefix" "VIMFED_GATEWAY__USERS__")) -}}
{{- if not (or $users $gateway.allow_anonymous) -}}
{{- $user := dict "name" .root.Values.gateway.login.name "password_file" "/etc/vimfed/secrets/login/password" "publish" (list "*") "subscribe" (list "*") -}}
{{- $gateway = set $gateway "users" (list $user) -}}
{{- if not (hasKey $gateway "open_subscribe") -}}
{{- $gateway = set $gateway "open_subscribe" list -}}
{{- end -}}
{{- end -}}
{{- toJson $gateway -}}
{{- end -}}

{{/* Ends where a settings file holds a secret: everybody who may read ConfigMaps would read it. */}}
{{- define "vimfed.refuseSecrets" -}}
{{- range regexFindAll "(?m)^\\s*(?:password|token|secret|secret_previous|peer_secret|peer_secret_previous|application_credential_secret|telemetry_secret|bearer_token) = \"[^\"]+\"" . -1 -}}
{{- if not (regexMatch "= \"\\$?scrypt\\$" .) -}}
{{- fail (printf "settings: %s would be readable in a ConfigMap: give it by secretEnv, or by secretFiles and %s_file" (regexFind "\\w+" .) (regexFind "\\w+" .)) -}}
{{- end -}}
{{- end -}}
{{- if regexMatch "transport_urls = \\[[^\\]]*//[^/\"]*:[^/\"]*@" . -}}
{{- fail "settings: the passwords in transport_urls would be readable in a ConfigMap: give them by secretFiles and transport_urls_file" -}}
{{- end -}}
{{- end -}}

{{/*
The folders below /etc/vimfed/secrets that the settings of one process name, and the Secret of each, as
JSON: the arguments are those of vimfed.settings.
*/}}
{{- define "vimfed.secretFolders" -}}
{{- $text := include "vimfed.settings" . -}}
{{- $folders := deepCopy .root.Values.secretFiles -}}
{{- if has .kind (list "worker" "gateway") -}}
{{- $made := printf "%s-login" (include "vimfed.name" .) -}}
{{- $_ := set $folders "login" (default $made (index .root.Values .kind).login.existingSecret) -}}
{{- end -}}
{{- $own := dict -}}
{{- range $folder, $secret := $folders -}}
{{- if contains (printf "/etc/vimfed/secrets/%s/" $folder) $text -}}
{{- $_ := set $own $folder $secret -}}
{{- end -}}
{{- end -}}
{{- toJson $own -}}
{{- end -}}

{{/*
Whether settings have what a variable would give, itself or by a file, "yes" or nothing: the variable would
go before it. (dict "settings" .Values.bridge.settings "name" "VIMFED_KAFKA__PASSWORD")
*/}}
{{- define "vimfed.isGiven" -}}
{{- $path := splitList "__" (trimPrefix "VIMFED_" .name | lower) -}}
{{- $place := .settings -}}
{{- range initial $path -}}
{{- $inner := get $place . -}}
{{- $place = dict -}}
{{- if kindIs "map" $inner -}}
{{- $place = $inner -}}
{{- end -}}
{{- end -}}
{{- if or (hasKey $place (last $path)) (hasKey $place (printf "%s_file" (last $path))) -}}yes{{- end -}}
{{- end -}}

{{/*
The names of the variables of secretEnv that one process needs, as JSON: the arguments are those of
vimfed.settings.
*/}}
{{- define "vimfed.secretVariables" -}}
{{- $owners := dict "VIMFED_VIMS__" "bridge" "VIMFED_BRIDGE__" "bridge" "VIMFED_WEB__" "worker" "VIMFED_DMAAP__" "" "VIMFED_GATEWAY__" "gateway" -}}
{{- $output := default "" .output -}}
{{- if eq .kind "gateway" -}}
{{- $output = include "vimfed.served" (dict "settings" (merge (deepCopy .root.Values.settings) (dict "dmaap" (dict "outputs" list)))) -}}
{{- end -}}
{{- $outputPrefix := printf "VIMFED_DMAAP__OUTPUTS__%s__" (regexReplaceAll "[^A-Z0-9]" (upper $output) "_") -}}
{{- $own := list -}}
{{- $kind := .kind -}}
{{- $settings := default dict (index .root.Values .kind).settings -}}
{{- range $name, $_ := .root.Values.secretEnv -}}
{{- $isOwn := and (ne $output "") (hasPrefix $outputPrefix $name) -}}
{{- $isOthers := false -}}
{{- range $prefix, $owner := $owners -}}
{{- if hasPrefix $prefix $name -}}
{{- $isOthers = true -}}
{{- $isOwn = or $isOwn (eq $owner $kind) -}}
{{- end -}}
{{- end -}}
{{- if and (or $isOwn (not $isOthers)) (not (include "vimfed.isGiven" (dict "settings" $settings "name" $name))) -}}
{{- $own = append $own $name -}}
{{- end -}}
{{- end -}}
{{- toJson $own -}}
{{- end -}}

{{/*
What of its settings a process heeds, as JSON: a change of anything else does not start it anew. The arguments
are those of vimfed.settings.
*/}}
{{- define "vimfed.read" -}}
{{- $read := include "vimfed.settings" . | fromJson -}}
{{- if eq .kind "worker" -}}
{{- /* Clouds that a bridge follows are known when they are heard of; others are pushed for, which needs the name. */ -}}
{{- $pushed := list -}}
{{- range default .root.Values.settings.vims .root.Values.worker.settings.vims -}}
{{- if not (or .rabbit .kafka .poll) -}}
{{- $pushed = append $pushed (pick . "cloud_owner" "cloud_region_id") -}}
{{- end -}}
{{- end -}}
{{- /* With the first cloud whose samples are taken, a worker has a second table. */ -}}
{{- $isMeasured := false -}}
{{- $samplesPushed := list -}}
{{- range $read.vims -}}
{{- $isMeasured = or $isMeasured (not (empty .samples)) -}}
{{- if dig "samples" "pushed" false . -}}
{{- $samplesPushed = append $samplesPushed (pick . "cloud_owner" "cloud_region_id") -}}
{{- end -}}
{{- end -}}
{{- $_ := set $read "samples" (list $isMeasured $samplesPushed) -}}
{{- $_ := set $read "vims" $pushed -}}
{{- end -}}
{{- if eq .kind "publisher" -}}
{{- $_ := set $read "worker" (pick (default dict $read.worker) "stuck_after") -}}
{{- $output := .output -}}
{{- $outputs := list -}}
{{- range dig "dmaap" "outputs" list $read -}}
{{- if eq (default "dmaap" .name) $output -}}
{{- $outputs = append $outputs . -}}
{{- end -}}
{{- end -}}
{{- $_ := set $read "dmaap" (set (default dict $read.dmaap) "outputs" $outputs) -}}
{{- end -}}
{{- toJson $read -}}
{{- end -}}

{{/*
The versions of the Secrets that one process has, as the cluster tells them: which secret they hold a checksum
would tell who guesses. Logins that the chart makes stay as they are. The arguments are those of
vimfed.settings.
*/}}
{{- define "vimfed.secretVersions" -}}
{{- $root := .root -}}
{{- $made := printf "%s-login" (include "vimfed.name" .) -}}
{{- $names := values (include "vimfed.secretFolders" . | fromJson) -}}
{{- range $variable := include "vimfed.secretVariables" . | fromJsonArray -}}
{{- $names = append $names (get $root.Values.secretEnv $variable).name -}}
{{- end -}}
{{- range without (uniq $names | sortAlpha) $made -}}
{{- $found := default dict (lookup "v1" "Secret" $root.Release.Namespace .).metadata -}}
{{- printf "%s %s %s\n" . (default "" $found.uid) (default "" $found.resourceVersion) -}}
{{- end -}}
{{- end -}}

{{/*
The settings with which one process is checked: a publisher's without what stands there for other outputs, whose
clusters it would try. The arguments are those of vimfed.settings.
*/}}
{{- define "vimfed.checked" -}}
{{- if and (eq .kind "publisher") .root.Values.check.connections -}}
{{- $read := include "vimfed.read" . | fromJson -}}
{{- if ne .output (dig "filter" "output" .output $read) -}}
{{- $_ := set $read "filter" (omit $read.filter "output") -}}
{{- end -}}
{{- toJson $read -}}
{{- else -}}
{{- include "vimfed.settings" . -}}
{{- end -}}
{{- end -}}

{{/* The check's volume for a folder of secrets: (dict "root" $ "context" … "folder" "login" "secret" "NAME"). */}}
{{- define "vimfed.checkedVolume" -}}
{{- if ne .folder "login" -}}
secret-{{ .folder }}
{{- else if (index .root.Values .context.kind).login.existingSecret -}}
login-{{ .context.kind }}
{{- else -}}
no-login
{{- end -}}
{{- end -}}
