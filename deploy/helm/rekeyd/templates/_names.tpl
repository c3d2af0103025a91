{{- define "rekeyd.name" -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "rekeyd.selector" -}}
app.kubernetes.io/name: rekeyd
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "rekeyd.labels" -}}
{{ include "rekeyd.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "rekeyd.account" -}}
{{- .Values.serviceAccount.name | default (include "rekeyd.name" .) -}}
{{- end -}}

{{- /* In the namespaces of others two releases of one name may meet. */ -}}
{{- define "rekeyd.role" -}}
{{- include "rekeyd.name" . }}-{{ .Release.Namespace -}}
{{- end -}}

{{- define "rekeyd.image" -}}
{{- .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- with .Values.image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{- /* Whether the pod gets the token that the API server takes. */ -}}
{{- define "rekeyd.token" -}}
{{- or .Values.mountToken (not (empty .Values.rbac)) -}}
{{- end -}}

{{- /* Where the journal is, as the policy says it: "sqlite" or "postgres". */ -}}
{{- define "rekeyd.state" -}}
{{- if .Values.policy.existingConfigMap -}}
{{- .Values.policy.state -}}
{{- else if regexMatch `(?m)^\s*state\s*=\s*["']postgres(ql)?://` .Values.policy.text -}}
postgres
{{- else -}}
sqlite
{{- end -}}
{{- end -}}

{{- /* What can be seen to be wrong before anything is installed. The policy itself is checked by `rekeyd check`. */ -}}
{{- define "rekeyd.check" -}}
{{- $policy := .Values.policy -}}
{{- if and $policy.text $policy.existingConfigMap -}}
{{- fail "policy.text and policy.existingConfigMap: only one of them can be the policy" -}}
{{- end -}}
{{- if not (or $policy.text $policy.existingConfigMap) -}}
{{- fail "there is no policy: --set-file policy.text=policy.toml, or policy.existingConfigMap" -}}
{{- end -}}
{{- if $policy.text -}}
{{- if not (regexMatch `(?m)^\s*listen\s*=\s*["'](0\.0\.0\.0|\[::\]):9849["']` $policy.text) -}}
{{- fail "the policy must say `listen = \"0.0.0.0:9849\"` under [daemon]: on loopback neither a probe nor Prometheus gets an answer" -}}
{{- end -}}
{{- $state := regexFind `(?m)^\s*state\s*=\s*["']sqlite://[^"']*` $policy.text -}}
{{- if and $state (not (regexMatch `["']sqlite:///var/lib/rekeyd/[^/]+$` $state)) -}}
{{- fail "the journal must lie in /var/lib/rekeyd, which is the volume: `state = \"sqlite:///var/lib/rekeyd/journal.db\"`" -}}
{{- end -}}
{{- end -}}
{{- $written := regexReplaceAll `(?m)^\s*#.*$` $policy.text "" -}}
{{- range regexFindAll `/run/rekeyd/secrets/[^/"']+` $written -1 -}}
{{- if not (has (base .) $.Values.secrets) -}}
{{- fail (printf "the policy reads a file in %s, and `secrets` does not list %s" . (base .)) -}}
{{- end -}}
{{- end -}}
{{- range regexFindAll `/run/rekeyd/config/[^/"']+` $written -1 -}}
{{- if not (has (base .) $.Values.configMaps) -}}
{{- fail (printf "the policy reads a file in %s, and `configMaps` does not list %s" . (base .)) -}}
{{- end -}}
{{- end -}}
{{- if and (contains "/run/rekeyd/token/" $written) (not .Values.vaultToken.enabled) -}}
{{- fail "the policy reads a token in /run/rekeyd/token, and `vaultToken.enabled` is false" -}}
{{- end -}}
{{- if regexMatch `["'=]/run/credentials/` $written -}}
{{- fail "the policy reads a file in /run/credentials, which only systemd makes: put it into a Secret, list that in `secrets`, and name /run/rekeyd/secrets/NAME/KEY" -}}
{{- end -}}
{{- if ne (include "rekeyd.token" .) "true" -}}
{{- if contains "/run/secrets/kubernetes.io/serviceaccount" $written -}}
{{- fail "the policy reads the ServiceAccount's token, and nothing mounts it: for Vault set `vaultToken.enabled` and name /run/rekeyd/token/vault; for the API server see `rbac` and `mountToken`" -}}
{{- end -}}
{{- range regexSplit `(?m)^\s*\[` $written -1 -}}
{{- $server := printf "[%s.server]" (regexFind `^[^\]\n]+` .) -}}
{{- if and (regexMatch `\bkind\s*=\s*["']kubernetes["']` .) (not (regexMatch `\bserver\s*[=.]` .)) (not (contains $server $written)) -}}
{{- fail "a sink of the policy is Kubernetes itself, and the daemon has no right there: list in `rbac` what it may do, or set `mountToken` where a Role of your own says it" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $policy.text (ne (contains "listen_cert_file" $written) (eq .Values.scheme "HTTPS")) -}}
{{- fail "`scheme` must be HTTPS if the policy says `listen_cert_file`, and HTTP if it does not: no probe would get an answer" -}}
{{- end -}}
{{- if and .Values.podMonitor.enabled (contains "listen_token_file" $written) (not .Values.podMonitor.token) -}}
{{- fail "the policy says `listen_token_file`, and `podMonitor.token` does not say where Prometheus finds the token" -}}
{{- end -}}
{{- $granted := dict -}}
{{- range .Values.rbac -}}
{{- $namespace := .namespace | default $.Release.Namespace -}}
{{- if hasKey $granted $namespace -}}
{{- fail (printf "rbac has two entries for the namespace %s: put all names into one" $namespace) -}}
{{- end -}}
{{- $_ := set $granted $namespace true -}}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (ne (include "rekeyd.state" .) "postgres") -}}
{{- fail (printf "replicas is %d, and the journal is a SQLite file, which one daemon has for itself: use replicas 1, or `state = \"postgres://…\"` in the policy" (int .Values.replicas)) -}}
{{- end -}}
{{- end -}}
