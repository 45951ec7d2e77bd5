//! Every key there is: its default, what it may hold and what it means. The documentation and the
//! defaults come from this one table, so they cannot disagree.

use std::fmt::Write as _;

/// A key and what is to be known about it.
#[derive(Clone, Copy, Debug)]
pub struct SettingSpec {
    /// Section and name, `postgres.url`.
    pub key: &'static str,
    /// The default as one would write it; `None` where there is none.
    pub default: Option<&'static str>,
    /// What it may hold, with the unit.
    pub form: &'static str,
    /// What it means, and what happens at the limit when it is one.
    pub meaning: &'static str,
}

macro_rules! settings {
    ($($constant:ident = $key:literal, $default:expr, $form:literal, $meaning:literal;)*) => {
        $(pub(super) const $constant: SettingSpec =
            SettingSpec { key: $key, default: $default, form: $form, meaning: $meaning };)*
        /// Every key of a fixed name, in the order in which they are documented.
        pub const SETTINGS: &[SettingSpec] = &[$($constant),*];
    };
}

settings! {
    URL = "postgres.url", None, "postgres:// URL or \"host=… dbname=…\"",
        "The database to follow: its direct address, not a pooler's. DATABASE_URL and libpq's PG* variables are honoured.";
    URL_FILE = "postgres.url_file", None, "path",
        "A file that holds postgres.url, for those who keep secrets in files.";
    PASSWORD_FILE = "postgres.password_file", None, "path",
        "A file that holds the password alone; it replaces one in the URL.";
    PUBLICATION = "postgres.publication", Some("highwater"), "name",
        "The publication that says which tables are followed. Must exist, unless postgres.setup is auto.";
    SLOT = "postgres.slot", Some("highwater"), "lower-case letters, digits and underscores, at most 63",
        "The replication slot. Created when missing.";
    TEMPORARY_SLOT = "postgres.temporary_slot", Some("false"), "true | false",
        "true: the slot ends with the connection, so nothing is left behind and every client is reset after a restart.";
    FAILOVER_SLOT = "postgres.failover_slot", Some("true"), "true | false",
        "true: standbys may keep a copy of the slot, so that a promoted one goes on with it and no client is reset (PostgreSQL 17 and newer; see Failover).";
    SETUP = "postgres.setup", Some("manual"), "manual | auto",
        "auto: create the publication at start when it is missing, as `highwater setup --apply` does.";
    RESUME_WINDOW = "postgres.resume_window", Some("5m"), "duration",
        "How much WAL, by time, the slot keeps so that a restart resumes every client seen in the window. 0s keeps none.";
    RESUME_MAX_WAL = "postgres.resume_max_wal", Some("256MiB"), "size",
        "…but never more WAL than this; beyond it older clients are reset after a restart.";
    STREAMING = "postgres.streaming", Some("on"), "off | on | parallel",
        "Whether the server sends large transactions while they run, instead of keeping them on its disk until they commit (see Large transactions). parallel needs PostgreSQL 16; before that it is on.";
    CONNECT_TIMEOUT = "postgres.connect_timeout", Some("10s"), "duration",
        "How long connecting to one host may take, in whole seconds, unless the URL or PGCONNECT_TIMEOUT says so.";
    MAX_CHANGES = "log.max_changes", Some("1_000_000"), "number, 1 to 2_000_000_000",
        "Ids remembered per table. Beyond it the oldest are forgotten, and clients older than they are get a reset.";
    MAX_AGE = "log.max_age", Some("24h"), "duration",
        "How long a change is remembered. Clients that were away for longer get a reset.";
    MAX_BYTES = "log.max_bytes", Some("1GiB"), "size",
        "Memory for the changes of all tables together. At it the largest table forgets its oldest.";
    MAX_TRANSACTION_CHANGES = "log.max_transaction_changes", Some("100_000"), "number, 1 to 2_000_000_000",
        "A commit that touches more rows of a table resets that table instead of naming them.";
    MAX_TRANSACTION_BYTES = "log.max_transaction_bytes", Some("64MiB"), "size",
        "Memory for the ids and rows of one transaction while it arrives. Beyond it its largest tables are reset instead.";
    MAX_STREAMED_BYTES = "log.max_streamed_bytes", Some("256MiB"), "size",
        "Memory for all transactions that the server sends while they run, together. Beyond it the largest are told as resets.";
    CACHE_MAX_BYTES = "cache.max_bytes", Some("256MiB"), "size",
        "Memory for the lazily held rows of all tables together. Beyond it the least recently used are evicted.";
    TIME_TO_IDLE = "cache.time_to_idle", None, "duration",
        "A lazily held row that is neither read nor changed for so long is dropped.";
    TIME_TO_LIVE = "cache.time_to_live", None, "duration",
        "A lazily held row is dropped so long after it was last loaded or changed, read or not.";
    PRELOAD_MAX_BYTES = "cache.preload_max_bytes", Some("1GiB"), "size",
        "Memory for the rows of one preloaded table. A table that needs more is not held, and its rows are refused with the reason.";
    LOADS_WAITING_MAX = "cache.loads_waiting_max", Some("10_000"), "number, 1 to 1_000_000",
        "Rows that may wait to be loaded from the database. Beyond it requests for more are answered 503.";
    LOAD_CONNECTIONS = "cache.load_connections", Some("4"), "number, 1 to 100",
        "Connections that load rows, at most.";
    LOAD_TIMEOUT = "cache.load_timeout", Some("5s"), "duration",
        "How long one query for rows may take. A longer one is cancelled, and who waits for it is answered 503.";
    CHECK_INTERVAL = "consistency.interval", None, "duration, at least 10ms",
        "Every so often rows in memory are compared with the database; a difference is logged and counted. Without it: never.";
    CHECK_ROWS = "consistency.rows", Some("100"), "number, 1 to 250",
        "Rows in memory that one such comparison takes.";
    LISTEN = "http.listen", Some("127.0.0.1:8080"), "address:port",
        "Where clients ask. Port 0 takes a free one.";
    ADMIN_LISTEN = "http.admin_listen", None, "address:port",
        "A listener of their own for /livez, /readyz, /v1/status, /metrics and /admin; without it they share http.listen.";
    TLS_CERT_FILE = "http.tls_cert_file", None, "path",
        "Answer over TLS with the certificate in this file (PEM, with the intermediate ones behind it). A new one is taken when the file changes.";
    TLS_KEY_FILE = "http.tls_key_file", None, "path",
        "The certificate's private key (PEM, not encrypted).";
    CORS_ORIGINS = "http.cors_origins", Some(""), "list of origins such as https://app.example, or *",
        "Web pages of these origins may ask from a browser. In the environment: separated by commas.";
    PUSH_CLIENTS_MAX = "http.push_clients_max", Some("10_000"), "number, 0 to 15_000",
        "Streams and sockets at once. A further client is answered 503. Each takes a file descriptor.";
    ANSWERS_MAX_BYTES = "http.answers_max_bytes", Some("256MiB"), "size, at least 64MiB",
        "Memory for answers that clients have not read yet. Beyond it requests are answered 503, unless their answer is small.";
    CONNECTIONS_MAX = "http.connections_max", Some("16_384"), "number, 1 to 1_000_000",
        "Connections of a listener at once. Further ones wait until one ends. Each takes a file descriptor.";
    HEAD_TIMEOUT = "http.head_timeout", Some("10s"), "duration, 100ms to 5m",
        "Time for a request's head to arrive, for a connection's first one including the TLS handshake. Then the connection is closed.";
    IDLE_TIMEOUT = "http.idle_timeout", Some("75s"), "duration, 100ms to 24h",
        "A connection on which nothing is asked and nothing moves for so long is closed. Longer than proxies keep theirs.";
    HEAD_MAX_BYTES = "http.head_max_bytes", Some("64KiB"), "size, 8KiB to 1MiB",
        "A request's path and headers together. Larger ones are answered 431, as are more than 100 headers (HTTP/1.1).";
    HTTP2_STREAMS_MAX = "http.http2_streams_max", Some("200"), "number, 1 to 10_000",
        "Requests under way on one HTTP/2 connection. Further ones wait. Who resets streams in masses is disconnected.";
    RATE_LIMIT = "http.rate_limit", None, "number, 1 to 1_000_000",
        "Requests a second of one client: of one token, or without one of an address (IPv6: a /64). Further ones are answered 429. Without it they are not counted.";
    RATE_BURST = "http.rate_burst", None, "number, 1 to 1_000_000",
        "Requests that a client may send at once, where http.rate_limit is set. Without it: as many as http.rate_limit.";
    NOTIFY_INTERVAL = "http.notify_interval", Some("0ms"), "duration, at most 1s",
        "Whoever waits is told so long after a commit, together with the commits that came meanwhile: fewer, larger answers.";
    AUTH_MODE = "auth.mode", None, "none | token",
        "none: whoever reaches the listener may read. token: each request needs a token. One of both must be written when a listener is not on a loopback address.";
    JWT_SECRET_FILE = "auth.jwt.secret_file", None, "path",
        "A file with the secret of JWTs signed by HS256, at least 32 bytes. Read again when it changes, like the other files of keys.";
    JWT_PUBLIC_KEY_FILES = "auth.jwt.public_key_files", None, "list of paths",
        "Files with public keys in PEM: RSA for RS256, P-256 for ES256, Ed25519 for EdDSA.";
    JWT_JWKS_FILE = "auth.jwt.jwks_file", None, "path",
        "A file with a JSON Web Key Set for RS256, ES256 and EdDSA; tokens choose a key by their kid.";
    JWT_ISSUER = "auth.jwt.issuer", None, "text",
        "What a JWT's iss must be. Without it any issuer is fine.";
    JWT_AUDIENCE = "auth.jwt.audience", None, "text",
        "What must be among a JWT's aud. Without it a JWT that has an audience is refused.";
    JWT_LEEWAY = "auth.jwt.leeway", Some("30s"), "duration, at most 1h",
        "How far the clocks of issuer and service may differ, for exp and nbf.";
    JWT_TABLES = "auth.jwt.tables", None, "list of tables, or *",
        "The tables that JWTs may read. Needed with JWTs.";
    JWT_TABLES_CLAIM = "auth.jwt.tables_claim", None, "name of a claim",
        "The claim with a list of table names: of auth.jwt.tables a JWT may read only these.";
    LOGGING_FORMAT = "logging.format", Some("text"), "text | json",
        "How log lines look on standard error.";
    LOGGING_LEVEL = "logging.level", Some("info"), "filter such as warn or info,highwater::store=debug",
        "What is logged (off, error, warn, info, debug, trace, also per module). RUST_LOG is honoured.";
}

pub(super) const TABLE_ROWS: SettingSpec = SettingSpec {
    key: "tables.NAME.rows",
    default: Some("off"),
    form: "off | lazy | preload",
    meaning: "What of the table's rows is in memory. off: nothing, clients are told ids. lazy: rows that were asked for. preload: all of them.",
};
pub(super) const TABLE_COLUMNS: SettingSpec = SettingSpec {
    key: "tables.NAME.columns",
    default: None,
    form: "list of column names",
    meaning: "The columns of the rows that are served. Without it: all that are published.",
};
pub(super) const TOKEN_HASH: SettingSpec = SettingSpec {
    key: "auth.tokens.NAME.hash",
    default: None,
    form: "sha256: and 64 hexadecimal digits",
    meaning: "The hash of a static token, as `highwater token` prints it. The token itself is kept nowhere.",
};
pub(super) const TOKEN_HASH_FILE: SettingSpec = SettingSpec {
    key: "auth.tokens.NAME.hash_file",
    default: None,
    form: "path",
    meaning: "A file that holds the hash.",
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
    meaning: "true: the token opens /v1/status, /metrics, /admin/reload, /admin/verify, and the reasons in /readyz.",
};
pub(super) const TOKEN_WHERE: SettingSpec = SettingSpec {
    key: "auth.tokens.NAME.where.TABLE.COLUMN",
    default: None,
    form: "value",
    meaning: "Of the table only rows with this value in this column.",
};
pub(super) const JWT_WHERE: SettingSpec = SettingSpec {
    key: "auth.jwt.where.TABLE.COLUMN",
    default: None,
    form: "value, or { claim = \"name\" }",
    meaning: "Of the table only rows with this value in this column, or with the value of the JWT's claim. A JWT without the claim is refused.",
};
/// The keys with names of the operator's own in them, of the section `[auth]`.
pub const AUTH_SETTINGS: &[SettingSpec] =
    &[TOKEN_HASH, TOKEN_HASH_FILE, TOKEN_TABLES, TOKEN_ADMIN, TOKEN_WHERE, JWT_WHERE];

pub(super) const TABLE_SCOPE: SettingSpec = SettingSpec {
    key: "tables.NAME.scope",
    default: None,
    form: "list of column names, at most 3",
    meaning: "The columns by whose values callers may be limited to some rows. Each is part of the replica identity, or that is FULL.",
};
/// The keys that every section `[tables.NAME]` may hold, with `NAME` standing for the table.
pub const TABLE_SETTINGS: &[SettingSpec] = &[TABLE_ROWS, TABLE_COLUMNS, TABLE_SCOPE];

/// The variable that sets `key`: `postgres.url` is `HIGHWATER_POSTGRES__URL`.
pub fn variable_of(key: &str) -> String {
    format!("HIGHWATER_{}", key.replace('.', "__").to_uppercase())
}

/// The known key of a token's section most like `field`.
pub(super) fn nearest_of_token(field: &str) -> &'static str {
    most_like(&format!("auth.tokens.NAME.{field}"), AUTH_SETTINGS)
}

/// The known key most like `key`.
pub(super) fn nearest(key: &str) -> &'static str {
    most_like(key, SETTINGS)
}

/// The known key of a table's section most like `field`.
pub(super) fn nearest_of_table(field: &str) -> &'static str {
    most_like(&format!("tables.NAME.{field}"), TABLE_SETTINGS)
}

fn most_like(key: &str, settings: &[SettingSpec]) -> &'static str {
    let similarity = |known: &str| strsim::normalized_damerau_levenshtein(known, key);
    let keys = settings.iter().map(|setting| setting.key);
    keys.max_by(|a, b| similarity(a).total_cmp(&similarity(b))).unwrap_or(URL.key)
}

/// The table of all keys as text, for `--help` and for the README.
pub fn documentation() -> String {
    let mut text = String::from(
        "Configuration: a TOML file (--config, or HIGHWATER_CONFIG), the environment and flags; a flag \
         wins over the environment, the environment over the file. The key postgres.url is url in \
         section [postgres] of the file and HIGHWATER_POSTGRES__URL in the environment. Durations are \
         written 500ms, 30s, 5m, 24h; sizes 64MB, 256MiB, or a bare number of bytes.\n",
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
    fn the_nearest_key_forgives_typing_errors_and_wrong_sections() {
        assert_eq!(nearest("postgres.ulr"), "postgres.url");
        assert_eq!(nearest("postgres.publications"), "postgres.publication");
        assert_eq!(nearest("log.level"), "logging.level");
        assert_eq!(nearest("listen"), "http.listen");
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
