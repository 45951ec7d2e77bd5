//! The table of configuration keys: default, accepted form and meaning of each. Defaults, `--help` and the
//! configuration reference are all derived from this table, so they cannot disagree.

use std::fmt::Write as _;

/// A configuration key and its documentation.
#[derive(Clone, Copy, Debug)]
pub struct SettingSpec {
    /// Section and name, `postgres.url`.
    pub key: &'static str,
    /// The default, in the form in which an operator would write it.
    pub default: Option<&'static str>,
    /// Accepted values, with their unit and bounds.
    pub form: &'static str,
    /// One or more sentences; those of a limit include the behaviour when it is reached.
    pub meaning: &'static str,
}

macro_rules! settings {
    ($($constant:ident = $key:literal, $default:expr, $form:literal, $meaning:literal;)*) => {
        $(pub(super) const $constant: SettingSpec =
            SettingSpec { key: $key, default: $default, form: $form, meaning: $meaning };)*
        /// The keys without a name chosen by the operator, in the order of the documentation.
        pub const SETTINGS: &[SettingSpec] = &[$($constant),*];
    };
}

settings! {
    URL = "postgres.url", None, "postgres:// URL or \"host=… dbname=…\"",
        "The database to follow. Must be its direct address, not that of a pooler. DATABASE_URL and libpq's PG* variables are accepted, too.";
    URL_FILE = "postgres.url_file", None, "path",
        "A file that contains postgres.url, for deployments that keep secrets in files.";
    PASSWORD_FILE = "postgres.password_file", None, "path",
        "A file that contains the password only; it replaces a password in the URL.";
    PUBLICATION = "postgres.publication", Some("highwater"), "name",
        "The publication that selects the tables to follow. Must exist unless postgres.setup is auto.";
    SLOT = "postgres.slot", Some("highwater"), "lower-case letters, digits and underscores, at most 63",
        "The replication slot. Created when it is missing.";
    TEMPORARY_SLOT = "postgres.temporary_slot", Some("false"), "true | false",
        "true: the server drops the slot when the connection ends. Nothing remains in the database, and every client is reset after a restart.";
    FAILOVER_SLOT = "postgres.failover_slot", Some("true"), "true | false",
        "true: standbys may synchronize the slot, so that clients continue without a reset after a standby is promoted (PostgreSQL 17 and newer).";
    SETUP = "postgres.setup", Some("manual"), "manual | auto",
        "auto: create the publication at startup when it is missing, as `highwater setup --apply` does.";
    RESUME_WINDOW = "postgres.resume_window", Some("5m"), "duration",
        "How long the slot retains WAL that is already applied, so that clients seen in this window continue without a reset after a restart. 0s retains none.";
    RESUME_MAX_WAL = "postgres.resume_max_wal", Some("256MiB"), "size",
        "Upper bound of the WAL retained for postgres.resume_window. Beyond it, older clients are reset after a restart.";
    STREAMING = "postgres.streaming", Some("on"), "off | on | parallel",
        "Whether the server sends large transactions while they are in progress instead of spilling them to its disk until they commit. parallel needs PostgreSQL 16; older versions use on.";
    CONNECT_TIMEOUT = "postgres.connect_timeout", Some("10s"), "duration",
        "Time limit for connecting to one host, rounded up to whole seconds. A connect_timeout in the URL and PGCONNECT_TIMEOUT take precedence.";
    MAX_CHANGES = "log.max_changes", Some("1_000_000"), "number, 1 to 2_000_000_000",
        "Ids in the version log, per table. Beyond it the oldest are evicted, and clients older than these get a reset.";
    MAX_AGE = "log.max_age", Some("24h"), "duration",
        "How long the version log keeps a change. Clients that were away for longer get a reset.";
    MAX_BYTES = "log.max_bytes", Some("1GiB"), "size",
        "Memory of the version logs of all tables together. Beyond it the oldest changes of the largest table are evicted.";
    MAX_TRANSACTION_CHANGES = "log.max_transaction_changes", Some("100_000"), "number, 1 to 2_000_000_000",
        "Rows of one table in one commit. Beyond it the commit is reported as a reset of the table instead of single ids.";
    MAX_TRANSACTION_BYTES = "log.max_transaction_bytes", Some("64MiB"), "size",
        "Memory of the ids and rows of one transaction while it is received. Beyond it the largest tables of the transaction are reset instead.";
    MAX_STREAMED_BYTES = "log.max_streamed_bytes", Some("256MiB"), "size",
        "Memory of all transactions that the server sends while they are in progress, together. Beyond it the largest are reported as resets.";
    CACHE_MAX_BYTES = "cache.max_bytes", Some("256MiB"), "size",
        "Memory of the lazily cached rows of all tables together. Beyond it the least recently used rows are evicted.";
    TIME_TO_IDLE = "cache.time_to_idle", None, "duration",
        "Drop a lazily cached row after this long without reads or changes.";
    TIME_TO_LIVE = "cache.time_to_live", None, "duration",
        "Drop a lazily cached row this long after it was last loaded or changed, whether it is read or not.";
    MAX_PRELOAD_BYTES = "cache.max_preload_bytes", Some("1GiB"), "size",
        "Memory of the rows of one preloaded table. A table that needs more is not cached, and requests for its rows are refused with the reason.";
    MAX_PENDING_LOADS = "cache.max_pending_loads", Some("10_000"), "number, 1 to 1_000_000",
        "Rows that may wait to be loaded from the database. Beyond it requests for rows that are not cached get 503.";
    LOAD_CONNECTIONS = "cache.load_connections", Some("4"), "number, 1 to 100",
        "Maximum number of connections that load rows. Further loads wait.";
    LOAD_TIMEOUT = "cache.load_timeout", Some("5s"), "duration",
        "Time limit of one query for rows. A longer query is cancelled, and the requests that wait for it get 503.";
    CHECK_INTERVAL = "consistency.interval", None, "duration, at least 10ms",
        "Interval at which cached rows are compared with the database; differences are logged and counted. Unset: disabled.";
    CHECK_ROWS = "consistency.rows", Some("100"), "number, 1 to 250",
        "Cached rows that each comparison covers.";
    LISTEN = "http.listen", Some("127.0.0.1:8080"), "address:port",
        "Address of the listener for clients. Port 0 selects a free port.";
    ADMIN_LISTEN = "http.admin_listen", None, "address:port",
        "Address of a separate listener for /livez, /readyz, /v1/status, /metrics and /admin. Unset: http.listen serves them.";
    TLS_CERT_FILE = "http.tls_cert_file", None, "path",
        "Serve TLS with the certificate in this file (PEM, followed by the intermediate certificates). Reloaded when the file changes.";
    TLS_KEY_FILE = "http.tls_key_file", None, "path",
        "The certificate's private key (PEM, not encrypted).";
    CORS_ORIGINS = "http.cors_origins", Some(""), "list of origins such as https://app.example, or *",
        "Origins of web pages that may send requests from a browser. Separated by commas in the environment.";
    MAX_PUSH_CLIENTS = "http.max_push_clients", Some("10_000"), "number, 0 to 15_000",
        "Concurrent event streams and WebSockets. Further clients get 503. Each takes a file descriptor.";
    MAX_BUFFERED_RESPONSE_BYTES = "http.max_buffered_response_bytes", Some("256MiB"), "size, at least 64MiB",
        "Memory of responses that clients have not read yet. Beyond it requests get 503 unless their response is small.";
    MAX_CONNECTIONS = "http.max_connections", Some("16_384"), "number, 1 to 1_000_000",
        "Concurrent connections of a listener. Further connections wait until one ends. Each takes a file descriptor.";
    HEADER_TIMEOUT = "http.header_timeout", Some("10s"), "duration, 100ms to 5m",
        "Time limit for receiving a request's header; for the first request of a connection it includes the TLS handshake. Then the connection is closed.";
    IDLE_TIMEOUT = "http.idle_timeout", Some("75s"), "duration, 100ms to 24h",
        "A connection without a request and without transferred bytes is closed after this long. Longer than the keep-alive time of common proxies.";
    MAX_HEADER_BYTES = "http.max_header_bytes", Some("64KiB"), "size, 8KiB to 1MiB",
        "Size of a request's target and headers together. Larger requests get 431, as do requests with more than 100 headers (HTTP/1.1).";
    MAX_HTTP2_STREAMS = "http.max_http2_streams", Some("200"), "number, 1 to 10_000",
        "Concurrent requests on one HTTP/2 connection. Further requests wait. Clients that reset streams in large numbers are disconnected.";
    RATE_LIMIT = "http.rate_limit", None, "number, 1 to 1_000_000",
        "Requests per second of one client: of one token, or without a token of one address (IPv6: a /64 network). Further requests get 429. Unset: unlimited.";
    RATE_BURST = "http.rate_burst", None, "number, 1 to 1_000_000",
        "Requests that a client may send at once when http.rate_limit is set. Unset: equal to http.rate_limit.";
    COALESCE_INTERVAL = "http.coalesce_interval", Some("0ms"), "duration, at most 1s",
        "Delay before waking waiting requests after a commit, so that several commits share one response.";
    AUTH_MODE = "auth.mode", None, "none | token",
        "none: every client that reaches the listener may read. token: each request needs a token. Must be set when a listener is not on a loopback address.";
    JWT_SECRET_FILE = "auth.jwt.secret_file", None, "path",
        "A file with the secret of JWTs signed with HS256, at least 32 bytes. Reloaded when it changes, like the other key files.";
    JWT_PUBLIC_KEY_FILES = "auth.jwt.public_key_files", None, "list of paths",
        "Files with public keys in PEM: RSA for RS256, P-256 for ES256, Ed25519 for EdDSA.";
    JWT_JWKS_FILE = "auth.jwt.jwks_file", None, "path",
        "A file with a JSON Web Key Set for RS256, ES256 and EdDSA; tokens select a key by kid.";
    JWT_ISSUER = "auth.jwt.issuer", None, "text",
        "Required value of a JWT's iss. Unset: any issuer is accepted.";
    JWT_AUDIENCE = "auth.jwt.audience", None, "text",
        "Required member of a JWT's aud. Unset: JWTs with an audience are rejected.";
    JWT_LEEWAY = "auth.jwt.leeway", Some("30s"), "duration, at most 1h",
        "Accepted difference between the clocks of the issuer and of this service, for exp and nbf.";
    JWT_TABLES = "auth.jwt.tables", None, "list of tables, or *",
        "The tables that JWTs may read. Required with JWTs.";
    JWT_TABLES_CLAIM = "auth.jwt.tables_claim", None, "name of a claim",
        "A claim with a list of table names that limits a JWT to these among auth.jwt.tables.";
    LOGGING_FORMAT = "logging.format", Some("text"), "text | json",
        "Format of the log lines on standard error.";
    LOGGING_LEVEL = "logging.level", Some("info"), "filter such as warn or info,highwater::store=debug",
        "The level (off, error, warn, info, debug, trace), also per module. RUST_LOG is accepted, too.";
}

pub(super) const TABLE_ROWS: SettingSpec = SettingSpec {
    key: "tables.NAME.rows",
    default: Some("off"),
    form: "off | lazy | preload",
    meaning: "Which rows of the table are cached. off: none, clients receive ids only. lazy: rows that were requested. preload: all rows.",
};
pub(super) const TABLE_COLUMNS: SettingSpec = SettingSpec {
    key: "tables.NAME.columns",
    default: None,
    form: "list of column names",
    meaning: "The columns of the rows that are served. Unset: all published columns.",
};
pub(super) const TOKEN_HASH: SettingSpec = SettingSpec {
    key: "auth.tokens.NAME.hash",
    default: None,
    form: "sha256: and 64 hexadecimal digits",
    meaning: "The hash of a static token, as `highwater token` prints it. The token itself is not stored.",
};
pub(super) const TOKEN_HASH_FILE: SettingSpec = SettingSpec {
    key: "auth.tokens.NAME.hash_file",
    default: None,
    form: "path",
    meaning: "A file that contains the hash.",
};
pub(super) const TOKEN_TABLES: SettingSpec = SettingSpec {
    key: "auth.tokens.NAME.tables",
    default: None,
    form: "list of tables, or *",
    meaning: "The tables that the token may read.",
};
pub(super) const TOKEN_ADMIN: SettingSpec = SettingSpec {
    key: "auth.tokens.NAME.admin",
    default: Some("false"),
    form: "true | false",
    meaning: "true: the token grants access to /v1/status, /metrics, /admin/reload, /admin/verify, and the reasons in /readyz.",
};
pub(super) const TOKEN_WHERE: SettingSpec = SettingSpec {
    key: "auth.tokens.NAME.where.TABLE.COLUMN",
    default: None,
    form: "value",
    meaning: "Limits the token to the rows of the table with this value in this column.",
};
pub(super) const JWT_WHERE: SettingSpec = SettingSpec {
    key: "auth.jwt.where.TABLE.COLUMN",
    default: None,
    form: "value, or { claim = \"name\" }",
    meaning: "Limits JWTs to the rows of the table with this value, or with the value of the JWT's claim, in this column. JWTs without the claim are rejected.",
};
/// The keys of section `[auth]` that contain a name chosen by the operator.
pub const AUTH_SETTINGS: &[SettingSpec] =
    &[TOKEN_HASH, TOKEN_HASH_FILE, TOKEN_TABLES, TOKEN_ADMIN, TOKEN_WHERE, JWT_WHERE];

pub(super) const TABLE_SCOPE: SettingSpec = SettingSpec {
    key: "tables.NAME.scope",
    default: None,
    form: "list of column names, at most 3",
    meaning: "Columns that partition a table's rows by caller. The replica identity must contain each of them, or be FULL.",
};
/// The keys of a section `[tables.NAME]`; `NAME` stands for the table.
pub const TABLE_SETTINGS: &[SettingSpec] = &[TABLE_ROWS, TABLE_COLUMNS, TABLE_SCOPE];

/// The command-line flags that set a key.
const FLAGS: &[(&str, &str)] = &[
    ("postgres.url", "--url"),
    ("postgres.publication", "--publication"),
    ("postgres.slot", "--slot"),
    ("postgres.temporary_slot", "--temporary-slot"),
    ("http.listen", "--listen"),
    ("http.admin_listen", "--admin-listen"),
    ("logging.level", "--log-level"),
    ("logging.format", "--log-format"),
];

/// Keys of earlier versions and their present names.
const RENAMED: &[(&str, &str)] = &[
    ("http.connections_max", "http.max_connections"),
    ("http.push_clients_max", "http.max_push_clients"),
    ("http.head_max_bytes", "http.max_header_bytes"),
    ("http.http2_streams_max", "http.max_http2_streams"),
    ("http.head_timeout", "http.header_timeout"),
    ("http.answers_max_bytes", "http.max_buffered_response_bytes"),
    ("http.notify_interval", "http.coalesce_interval"),
    ("cache.loads_waiting_max", "cache.max_pending_loads"),
    ("cache.preload_max_bytes", "cache.max_preload_bytes"),
];

/// The flag that sets `key`, such as `--url`.
pub fn flag_of(key: &str) -> Option<&'static str> {
    FLAGS.iter().find(|(known, _)| *known == key).map(|(_, flag)| *flag)
}

/// The environment variable that sets `key`: `HIGHWATER_POSTGRES__URL` for `postgres.url`.
pub fn variable_of(key: &str) -> String {
    format!("HIGHWATER_{}", key.replace('.', "__").to_uppercase())
}

/// The known key that is most similar to `field` in the section of a token.
pub(super) fn nearest_of_token(field: &str) -> &'static str {
    most_similar(&format!("auth.tokens.NAME.{field}"), AUTH_SETTINGS)
}

/// The present name of a renamed key, else the known key that is most similar to `key`.
pub(super) fn nearest(key: &str) -> &'static str {
    let renamed = RENAMED.iter().find(|(old, _)| *old == key);
    renamed.map_or_else(|| most_similar(key, SETTINGS), |(_, new)| new)
}

/// The known key that is most similar to `field` in the section of a table.
pub(super) fn nearest_of_table(field: &str) -> &'static str {
    most_similar(&format!("tables.NAME.{field}"), TABLE_SETTINGS)
}

fn most_similar(key: &str, settings: &[SettingSpec]) -> &'static str {
    let similarity = |known: &str| strsim::normalized_damerau_levenshtein(known, key);
    let keys = settings.iter().map(|setting| setting.key);
    keys.max_by(|a, b| similarity(a).total_cmp(&similarity(b))).unwrap_or(URL.key)
}

/// The table of all keys as text, for `--help`.
pub fn documentation() -> String {
    let mut text = String::from(
        "Configuration: a TOML file (--config or HIGHWATER_CONFIG), environment variables and flags. Flags \
         override the environment, the environment overrides the file. The key postgres.url is url in \
         section [postgres] of the file and HIGHWATER_POSTGRES__URL in the environment. Durations: 500ms, \
         30s, 5m, 24h. Sizes: 64MB, 256MiB, or a number of bytes.\n",
    );
    for setting in SETTINGS.iter().chain(AUTH_SETTINGS).chain(TABLE_SETTINGS) {
        let default = match setting.default {
            None => String::new(),
            Some("") => "; default empty".into(),
            Some(default) => format!("; default {default}"),
        };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n  {} ({}{default})\n      {}\n",
            setting.key, setting.form, setting.meaning
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_tolerates_typing_errors_and_wrong_sections() {
        assert_eq!(nearest("postgres.ulr"), "postgres.url");
        assert_eq!(nearest("postgres.publications"), "postgres.publication");
        assert_eq!(nearest("log.level"), "logging.level");
        assert_eq!(nearest("listen"), "http.listen");
    }

    #[test]
    fn a_renamed_key_names_its_successor() {
        for (old, new) in RENAMED {
            assert_eq!(nearest(old), *new);
            assert!(SETTINGS.iter().any(|setting| setting.key == *new), "{new}");
        }
    }

    #[test]
    fn every_flag_sets_a_key() {
        for (key, _) in FLAGS {
            assert!(SETTINGS.iter().any(|setting| setting.key == *key), "{key}");
        }
    }

    #[test]
    fn every_key_is_documented_with_its_default() {
        let text = documentation();
        for setting in SETTINGS {
            assert!(text.contains(setting.key), "{}", setting.key);
            assert!(setting.meaning.ends_with('.'), "{}", setting.key);
        }
        assert!(text.contains("log.max_age (duration; default 24h)"));
        assert_eq!(variable_of("postgres.url"), "HIGHWATER_POSTGRES__URL");
    }
}
