{{/* Names are contracts (docs/architecture.md §1): they do not follow the release name. */}}
{{- define "elink.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/part-of: elink
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "elink.operatorSelector" -}}
app.kubernetes.io/name: elink-operator
{{- end }}

{{- define "elink.probeSelector" -}}
app.kubernetes.io/name: elink-probe
{{- end }}

{{/* Full reference of an image: (dict "image" .Values.image.X "root" $) */}}
{{- define "elink.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "elink.probeImage" -}}
{{- if .Values.image.probe.repository -}}
{{ include "elink.image" (dict "image" .Values.image.probe "root" .) }}
{{- else -}}
{{ include "elink.image" (dict "image" .Values.image.operator "root" .) }}
{{- end -}}
{{- end }}

{{/* Pod and container security: Pod Security "restricted". */}}
{{- define "elink.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "elink.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* "true" when a monitoring object of kind .kind is wanted: (dict "mode" auto|always|never "kind" PodMonitor "root" $) */}}
{{- define "elink.monitored" -}}
{{- if or (eq .mode "always") (and (eq .mode "auto") (.root.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" .kind))) -}}true{{- end -}}
{{- end }}

{{/* Where the object store is, as a peer of a NetworkPolicy; the operator finds the same for its servers. */}}
{{- define "elink.storePeers" -}}
{{- $host := regexReplaceAll ":[0-9]+$" (urlParse .Values.backup.s3.endpoint).host "" -}}
{{- range .Values.backup.s3.cidrs }}
- ipBlock: {cidr: {{ . | quote }}}
{{- else }}
{{- if regexMatch "^[0-9.]+$" $host }}
- ipBlock: {cidr: "{{ $host }}/32"}
{{- else if regexMatch "^[^.]+[.][^.]+[.]svc([.]|$)" $host }}
- namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ index (splitList "." $host) 1 }}}}
{{- else }}
- ipBlock: {cidr: 0.0.0.0/0, except: [169.254.0.0/16]}
- ipBlock: {cidr: "::/0", except: ["fd00:ec2::254/128", "fd20:ce::254/128", "fe80::/10"]}
{{- end }}
{{- end }}
{{- end }}

{{- define "elink.storePort" -}}
{{- $url := urlParse .Values.backup.s3.endpoint -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (eq $url.scheme "https" | ternary "443" "80") -}}
{{- end }}

{{/* Environment of the operator, as a map; names are the operator's settings. */}}
{{- define "elink.env" -}}
ELINK_NAMESPACE: {{ .Release.Namespace | quote }}
ELINK_GATEWAY_NAMESPACE: {{ .Values.gateway.namespace | quote }}
ELINK_GATEWAY_NAME: {{ .Values.gateway.name | quote }}
ELINK_GATEWAY_LISTENER: {{ .Values.gateway.listener | quote }}
ELINK_PROBE_NAMESPACE: {{ .Values.probe.namespace | quote }}
ELINK_PROBE_SERVICE: probe
ELINK_PROBE_PORT: 8080
ELINK_PROBE_CONTROL: {{ .Values.probe.control | quote }}
ELINK_MAIL_NAMESPACE: {{ .Values.mail.namespace | quote }}
ELINK_MAIL_SERVICE: {{ .Values.mail.service | quote }}
ELINK_MAIL_PORT: {{ .Values.mail.port | quote }}
ELINK_MAIL_FROM: {{ .Values.mail.from | quote }}
ELINK_MAIL_TLS: {{ .Values.mail.tls | quote }}
ELINK_MAIL_LOGIN_SECRET: {{ .Values.mail.loginSecret | quote }}
ELINK_MAIL_LOGIN_DIR: {{ .Values.mail.loginSecret | empty | ternary "" "/etc/elink/mail" | quote }}
ELINK_MAIL_CA_FILE: {{ empty .Values.mail.caSecretName | ternary "" "/etc/elink/mail-ca/ca.crt" | quote }}
ELINK_MAIL_DOMAIN_PER_MINUTE: {{ int .Values.mail.domainPerMinute | quote }}
ELINK_BOUNCE_DOMAIN: {{ .Values.mail.bounceDomain | quote }}
ELINK_BASE_DOMAIN: {{ .Values.baseDomain | quote }}
ELINK_EXTERNAL_PORT: {{ .Values.externalPort | quote }}
ELINK_REGIONS: {{ join "," .Values.regions | quote }}
ELINK_DEFAULT_REGION: {{ .Values.defaultRegion | quote }}
ELINK_REGION_NODE_LABEL: {{ .Values.regionNodeLabel | quote }}
ELINK_APP_IMAGE: {{ .Values.image.tenantApp.repository | quote }}
ELINK_DEFAULT_APP_VERSION: {{ .Values.image.tenantApp.tag | default .Chart.AppVersion | quote }}
ELINK_POSTGRES_IMAGE: {{ include "elink.image" (dict "image" .Values.image.postgres "root" .) | quote }}
ELINK_BACKUP_IMAGE: {{ include "elink.image" (dict "image" .Values.image.backup "root" .) | quote }}
ELINK_IMAGE_PULL_POLICY: {{ .Values.image.pullPolicy | quote }}
ELINK_IMAGE_PULL_SECRET: {{ .Values.tenants.imagePullSecret | quote }}
ELINK_TEMPLATE_REVISION: {{ .Values.tenants.templateRevision | quote }}
ELINK_STORAGE_CLASS: {{ .Values.tenants.storageClass | quote }}
ELINK_BACKUPS_SIZE: {{ .Values.tenants.backupsSize | quote }}
ELINK_PRIORITY_CLASS: {{ .Values.tenants.priorityClass | quote }}
ELINK_ERASURE_GRACE_DAYS: {{ .Values.tenants.erasureGraceDays | quote }}
ELINK_CHANGE_RECORD_DAYS: {{ .Values.tenants.changeRecordDays | quote }}
ELINK_SETUP_LINK_DAYS: {{ .Values.tenants.setupLinkDays | quote }}
ELINK_BACKUP_GENERATIONS: {{ .Values.tenants.backupGenerations | quote }}
ELINK_TIME_ZONE: {{ .Values.tenants.timeZone | quote }}
{{- with .Values.backup }}
ELINK_BACKUP_STORE: {{ .store | quote }}
ELINK_BACKUP_S3_ENDPOINT: {{ .s3.endpoint | quote }}
ELINK_BACKUP_S3_REGION: {{ .s3.region | quote }}
ELINK_BACKUP_S3_ACCOUNTS: {{ .s3.accounts | quote }}
ELINK_BACKUP_S3_BUCKET_PREFIX: {{ .s3.bucketPrefix | quote }}
ELINK_BACKUP_S3_CREDENTIALS_DIR: /etc/elink/backup-store
ELINK_BACKUP_S3_CA_FILE: {{ empty .s3.caSecretName | ternary "" "/etc/elink/backup-store-ca/ca.crt" | quote }}
ELINK_BACKUP_S3_CIDRS: {{ join "," .s3.cidrs | quote }}
{{- end }}
ELINK_EXTERNAL_DATABASE_CIDRS: {{ join "," .Values.networkPolicy.externalDatabaseCIDRs | quote }}
ELINK_EXTERNAL_DATABASE_NAMESPACES: {{ join "," .Values.networkPolicy.externalDatabaseNamespaces | quote }}
ELINK_METRICS_PORT: 9000
ELINK_WEBHOOK_ENABLED: {{ .Values.webhook.enabled | quote }}
ELINK_WEBHOOK_PORT: 9443
{{- if .Values.webhook.enabled }}
ELINK_WEBHOOK_CERT_DIR: /etc/elink/webhook
{{- end }}
ELINK_LEADER_ELECTION: true
ELINK_LOG_LEVEL: {{ .Values.operator.logLevel | quote }}
{{- range $name, $value := .Values.operator.tuning }}
{{- /* Helm reads every number as a float: 1000000 would be printed as 1e+06. */}}
ELINK_{{ $name | snakecase | upper }}: {{ (eq (floor $value) (float64 $value)) | ternary (int64 $value) $value | toString | quote }}
{{- end }}
{{- end }}
