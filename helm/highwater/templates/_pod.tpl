{{/* Shared by the pods of the service and of the teardown. */}}

{{- define "highwater.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "highwater.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The connection to the database. Argument: (dict "root" $ "secret" NAME). */}}
{{- define "highwater.databaseEnv" -}}
- name: HIGHWATER_CONFIG
  value: /etc/highwater/highwater.toml
{{- with .root.Values.postgres }}
{{- if .url }}
- name: HIGHWATER_POSTGRES__URL
  value: {{ .url | quote }}
{{- else if not (and .existingSecret .urlKey) }}
{{- fail "say where the database is: postgres.url, or postgres.existingSecret and postgres.urlKey" }}
{{- else }}
- name: HIGHWATER_POSTGRES__URL_FILE
  value: /run/secrets/highwater/{{ .urlKey }}
{{- end }}
{{- if and $.secret .url .passwordKey }}
- name: HIGHWATER_POSTGRES__PASSWORD_FILE
  value: /run/secrets/highwater/{{ .passwordKey }}
{{- end }}
{{- end }}
{{- with .root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "highwater.databaseMounts" -}}
- name: config
  mountPath: /etc/highwater
  readOnly: true
{{- if .secret }}
- name: secret
  mountPath: /run/secrets/highwater
  readOnly: true
{{- end }}
{{- if .root.Values.auth.existingSecret }}
- name: auth
  mountPath: /run/secrets/highwater-auth
  readOnly: true
{{- end }}
{{- with .root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "highwater.databaseVolumes" -}}
- name: config
  configMap:
    name: {{ include "highwater.fullname" .root }}
{{- if .secret }}
- name: secret
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
{{- end }}
{{- if .root.Values.auth.existingSecret }}
- name: auth
  secret:
    secretName: {{ .root.Values.auth.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
