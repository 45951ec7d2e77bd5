//! Error messages of invalid configurations, defaults and precedence.

mod auth;

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::http::{AllowedOrigin, HttpServerOptions, RateLimit, TlsFiles};
use crate::source::postgres::{Streaming, TransactionLimits};
use crate::store::{LogLimits, RowLimits};
use crate::table::{RowMode, RowsConfig};

const URL: (&str, &str) = ("DATABASE_URL", "postgres://app@db/shop");

/// Loads a configuration file with this text in an environment with these variables.
fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    load_with_flags(text, variables, Vec::new())
}

fn load_with_flags(
    text: &str,
    variables: &[(&str, &str)],
    flags: Vec<Flag>,
) -> Result<Config, ConfigErrors> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("highwater.toml");
    std::fs::write(&path, text).unwrap();
    let environment = variables.iter().copied().collect();
    let loaded = Config::load(&Sources { file: Some(&path), flags, environment });
    // The directory's name differs between runs: the messages compared below contain the file name only.
    loaded.map_err(|ConfigErrors(errors)| ConfigErrors(errors.into_iter().map(plain).collect()))
}

fn plain(mut error: ConfigError) -> ConfigError {
    let shorten = |path: &mut PathBuf| *path = path.file_name().unwrap().into();
    match &mut error {
        ConfigError::UnknownKey { location: SettingSource::File { path, .. }, .. }
        | ConfigError::Invalid { location: SettingSource::File { path, .. }, .. }
        | ConfigError::Syntax { path, .. } => shorten(path),
        ConfigError::Either { first_location, second_location, .. } => {
            for location in [first_location, second_location] {
                if let SettingSource::File { path, .. } = location {
                    shorten(path);
                }
            }
        }
        _ => {}
    }
    error
}

fn origins<const N: usize>(texts: [&str; N]) -> Vec<AllowedOrigin> {
    texts.map(|text| text.parse().unwrap()).into()
}

fn errors(text: &str, variables: &[(&str, &str)]) -> String {
    load(text, variables).unwrap_err().to_string()
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = load("", &[URL]).unwrap();
    let postgres = &config.postgres;
    assert_eq!((postgres.target.user(), postgres.target.database()), ("app", "shop"));
    assert_eq!(postgres.target.connect_timeout, Duration::from_secs(10));
    assert_eq!((postgres.publication.as_str(), postgres.slot.as_str()), ("highwater", "highwater"));
    assert!(!postgres.temporary_slot);
    assert_eq!(config.setup, SetupMode::Manual);
    assert_eq!(postgres.resume_window.max_age, Duration::from_mins(5));
    assert_eq!(postgres.resume_window.max_wal, 256 << 20);
    assert_eq!(postgres.streaming, Streaming::On);
    assert_eq!(
        config.store.log,
        LogLimits { max_changes: 1_000_000, max_age: Duration::from_hours(24), max_bytes: 1 << 30 }
    );
    assert_eq!(
        postgres.limits,
        TransactionLimits {
            max_changes: 100_000,
            max_bytes: 64 << 20,
            max_streamed_bytes: 256 << 20,
        }
    );
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.http.admin_listen, None);
    assert_eq!(config.logging.level, "info");
    assert!(postgres.rows.is_empty());
    assert_eq!(
        config.store.rows,
        RowLimits {
            max_bytes: 256 << 20,
            time_to_idle: None,
            time_to_live: None,
            max_preload_bytes: 1 << 30,
            max_pending_loads: 10_000,
        }
    );
    assert_eq!(config.loader.max_connections, 4);
    assert_eq!(config.loader.statement_timeout, Duration::from_secs(5));
    assert_eq!(config.loader.silence_timeout, Duration::from_secs(30));
}

#[test]
fn every_default_can_be_read() {
    // A default that its own parser rejects would be a missing value without an error.
    for setting in SETTINGS.iter().filter(|setting| setting.default.is_some()) {
        let text = setting.default.unwrap();
        let (section, name) = setting.key.split_once('.').unwrap();
        let file = if setting.form.starts_with("list") {
            format!("[{section}]\n{name} = []")
        } else {
            format!("[{section}]\n{name} = {text:?}")
        };
        // Keys of [auth.jwt] are accepted only together with these.
        let jwt = "\nmode = \"token\"\njwt.tables = \"*\"\njwt.jwks_file = \"keys\"";
        let file = if name.starts_with("jwt.") { file + jwt } else { file };
        assert!(load(&file, &[URL]).is_ok(), "{file}");
    }
}

#[test]
fn a_file_sets_everything() {
    let text = r#"
        [postgres]
        url = "postgres://file@db/shop"
        publication = "My pub"
        slot = "s1"
        temporary_slot = true
        setup = "auto"
        resume_window = "0s"
        resume_max_wal = 1024
        connect_timeout = "2500ms"
        [log]
        max_changes = 10
        max_age = "1h 30m"
        max_bytes = "64MB"
        max_transaction_changes = 1_000
        max_transaction_bytes = "1MiB"
        [http]
        listen = "0.0.0.0:80"
        admin_listen = "[::1]:81"
        cors_origins = ["https://a.example", "http://localhost:3000"]
        [auth]
        mode = "none"
        [logging]
        format = "json"
        level = "warn"
        [cache]
        max_bytes = "1GiB"
        time_to_idle = "1h"
        time_to_live = "1d"
        max_preload_bytes = "4GiB"
        max_pending_loads = 5
        load_connections = 2
        load_timeout = "1s"
        [tables."shop.items"]
        rows = "preload"
        columns = ["id", "Name"]
        [tables.users]
        rows = "lazy"
        [tables.log]
        rows = "off"
    "#;
    let config = load(text, &[]).unwrap();
    assert_eq!(config.postgres.target.user(), "file");
    assert_eq!(config.postgres.publication, "My pub");
    assert_eq!(config.postgres.slot, "s1");
    assert!(config.postgres.temporary_slot);
    assert_eq!(config.setup, SetupMode::Auto);
    assert_eq!(config.postgres.resume_window.max_age, Duration::ZERO);
    assert_eq!(config.postgres.resume_window.max_wal, 1024);
    assert_eq!(config.postgres.target.connect_timeout, Duration::from_secs(3));
    assert_eq!(config.store.log.max_changes, 10);
    assert_eq!(config.store.log.max_age, Duration::from_mins(90));
    assert_eq!(config.store.log.max_bytes, 64_000_000);
    assert_eq!(config.postgres.limits.max_changes, 1000);
    assert_eq!(config.postgres.limits.max_bytes, 1 << 20);
    assert_eq!(config.http.admin_listen, "[::1]:81".parse().ok());
    assert_eq!(
        config.http.options.cors_origins,
        origins(["https://a.example", "http://localhost:3000"])
    );
    assert_eq!(config.logging, LoggingConfig { format: LogFormat::Json, level: "warn".into() });
    let rows = &config.store.rows;
    assert_eq!(rows.max_bytes, 1 << 30);
    assert_eq!(rows.time_to_idle, Some(Duration::from_hours(1)));
    assert_eq!(rows.time_to_live, Some(Duration::from_hours(24)));
    assert_eq!(rows.max_preload_bytes, 4 << 30);
    assert_eq!(rows.max_pending_loads, 5);
    assert_eq!(config.loader.max_connections, 2);
    assert_eq!(config.loader.statement_timeout, Duration::from_secs(1));
    let columns = Some(vec!["id".to_owned(), "Name".to_owned()]);
    assert_eq!(
        config.postgres.rows,
        [
            RowsConfig { table: "shop.items".into(), mode: RowMode::Preload, columns },
            RowsConfig { table: "users".into(), mode: RowMode::Lazy, columns: None },
        ]
    );
}

#[test]
fn every_key_can_be_set_by_the_environment() {
    let values = [
        ("postgres.url", "postgres://env@db/shop"),
        ("postgres.url_file", ""),
        ("postgres.password_file", ""),
        ("postgres.publication", "p"),
        ("postgres.slot", "s"),
        ("postgres.temporary_slot", "true"),
        ("postgres.failover_slot", "false"),
        ("postgres.setup", "auto"),
        ("postgres.streaming", "parallel"),
        ("postgres.resume_window", "1s"),
        ("postgres.resume_max_wal", "1MiB"),
        ("postgres.connect_timeout", "1s"),
        ("log.max_changes", "5"),
        ("log.max_age", "1h"),
        ("log.max_bytes", "1GB"),
        ("log.max_transaction_changes", "6"),
        ("log.max_transaction_bytes", "2MiB"),
        ("log.max_streamed_bytes", "3MiB"),
        ("cache.max_bytes", "3MiB"),
        ("cache.time_to_idle", "1m"),
        ("cache.time_to_live", "2m"),
        ("cache.max_preload_bytes", "4MiB"),
        ("cache.max_pending_loads", "7"),
        ("cache.load_connections", "8"),
        ("cache.load_timeout", "9s"),
        ("consistency.interval", "10ms"),
        ("consistency.rows", "250"),
        ("http.listen", "127.0.0.1:1"),
        ("http.admin_listen", "127.0.0.1:2"),
        ("http.tls_cert_file", "/c"),
        ("http.tls_key_file", "/k"),
        ("http.cors_origins", "https://a.example, https://b.example"),
        ("http.max_push_clients", "11"),
        ("http.max_buffered_response_bytes", "64MiB"),
        ("http.max_connections", "12"),
        ("http.header_timeout", "13s"),
        ("http.idle_timeout", "14s"),
        ("http.max_header_bytes", "15KiB"),
        ("http.max_http2_streams", "16"),
        ("http.rate_limit", "17"),
        ("http.rate_burst", "18"),
        ("http.coalesce_interval", "5ms"),
        ("auth.mode", "token"),
        ("auth.jwt.secret_file", "secret"),
        ("auth.jwt.public_key_files", "a.pem, b.pem"),
        ("auth.jwt.jwks_file", "jwks.json"),
        ("auth.jwt.issuer", "us"),
        ("auth.jwt.audience", "them"),
        ("auth.jwt.leeway", "1s"),
        ("auth.jwt.tables", "items, users"),
        ("auth.jwt.tables_claim", "tables"),
        ("logging.format", "json"),
        ("logging.level", "debug"),
    ];
    assert_eq!(values.len(), SETTINGS.len());
    let variables: Vec<(String, &str)> =
        values.iter().map(|(key, value)| (variable_of(key), *value)).collect();
    let mut variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    variables.push(("HIGHWATER_TABLES__ITEMS__ROWS", "lazy"));
    variables.push(("HIGHWATER_TABLES__ITEMS__COLUMNS", "id, name"));
    let config = load("", &variables).unwrap();
    assert_eq!(config.postgres.target.user(), "env");
    assert_eq!(config.postgres.limits.max_changes, 6);
    let http = &config.http.options;
    assert_eq!(http.cors_origins, origins(["https://a.example", "https://b.example"]));
    let pace = crate::store::CheckPace { interval: Duration::from_millis(10), rows: 250 };
    assert_eq!(config.consistency, Some(pace));
    assert_eq!(http.push.max_clients, 11);
    assert_eq!(http.max_buffered_response_bytes, 64 << 20);
    assert_eq!(http.coalesce_interval, Duration::from_millis(5));
    let files = TlsFiles { certificate: "/c".into(), key: "/k".into() };
    assert_eq!(config.http.tls, Some(files));
    let server = HttpServerOptions {
        max_connections: 12,
        header_timeout: Duration::from_secs(13),
        idle_timeout: Duration::from_secs(14),
        max_header_bytes: 15 << 10,
        max_http2_streams: 16,
        rate_limit: Some(RateLimit { per_second: 17, burst: 18 }),
    };
    assert_eq!(http.server, server);
    let columns = Some(vec!["id".to_owned(), "name".to_owned()]);
    assert_eq!(
        config.postgres.rows,
        [RowsConfig { table: "items".into(), mode: RowMode::Lazy, columns }]
    );
}

#[test]
fn rows_are_compared_only_when_an_interval_of_some_length_is_set() {
    assert_eq!(load("", &[URL]).unwrap().consistency, None);
    for (name, wrong) in [("INTERVAL", "9ms"), ("INTERVAL", "0s"), ("ROWS", "0"), ("ROWS", "251")] {
        let name = format!("HIGHWATER_CONSISTENCY__{name}");
        assert!(load("", &[URL, (&name, wrong)]).is_err(), "{name} {wrong}");
    }
}

#[test]
fn limits_of_connections_have_bounds_and_the_defaults_of_the_http_side() {
    assert_eq!(load("", &[URL]).unwrap().http.options.server, HttpServerOptions::default());
    for (key, wrong) in [
        ("http.header_timeout", "0s"),
        ("http.header_timeout", "6m"),
        ("http.idle_timeout", "50ms"),
        ("http.max_header_bytes", "4KiB"),
        ("http.max_header_bytes", "2MiB"),
        ("http.max_http2_streams", "0"),
    ] {
        let text = load("", &[URL, (&variable_of(key), wrong)]).unwrap_err().to_string();
        assert!(text.contains(key) && text.contains("must be"), "{text}");
    }
    let limited = load("[http]\nrate_limit = 5", &[URL]).unwrap().http.options.server.rate_limit;
    assert_eq!(limited, Some(RateLimit { per_second: 5, burst: 5 }));
    let text = load("[http]\nrate_burst = 5", &[URL]).unwrap_err().to_string();
    assert!(text.contains("http.rate_burst is given, but http.rate_limit is not"), "{text}");
    let text = load("[http]\nmax_connections = 10_000", &[URL]).unwrap_err().to_string();
    assert!(text.contains("http.max_push_clients = 10000 must be less than"), "{text}");
}

#[test]
fn a_certificate_needs_its_key_and_a_key_its_certificate() {
    for (given, missing) in [("tls_cert_file", "tls_key_file"), ("tls_key_file", "tls_cert_file")] {
        let text = load(&format!("[http]\n{given} = \"/f\""), &[URL]).unwrap_err().to_string();
        let expected = format!("http.{given} is given, but http.{missing} is not");
        assert!(text.contains(&expected), "{text}");
    }
}

#[test]
fn flags_override_the_environment_and_the_environment_overrides_the_file() {
    let text = "[postgres]\nurl = \"postgres://file@db\"";
    let user = |variables: &[(&str, &str)], flags| {
        load_with_flags(text, variables, flags).unwrap().postgres.target.user().to_owned()
    };
    let value = "postgres://flag@db".to_owned();
    let flag = || vec![Flag::new("postgres.url", value.clone())];
    let variable = ("HIGHWATER_POSTGRES__URL", "postgres://variable@db");
    assert_eq!(user(&[], vec![]), "file");
    assert_eq!(user(&[URL], vec![]), "app");
    assert_eq!(user(&[URL, variable], vec![]), "variable");
    assert_eq!(user(&[URL, variable], flag()), "flag");
}

#[test]
fn secrets_are_read_from_files_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let url = path("url", "postgres://u:hunter2@db/shop\n");
    let password = path("password", "swordfish\r\n");
    let variables = [
        ("HIGHWATER_POSTGRES__URL_FILE", url.as_str()),
        ("HIGHWATER_POSTGRES__PASSWORD_FILE", password.as_str()),
        ("PGPASSWORD", "tiger"),
    ];
    let config = load("", &variables).unwrap();
    assert_eq!(config.postgres.target.user(), "u");
    let host = &config.postgres.target.hosts[0];
    assert_eq!(config.postgres.target.password_for(host), Some("swordfish"));
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("swordfish"), "{shown}");
    assert!(!shown.contains("tiger"), "{shown}");

    // A variable with the prefix that names a file overrides DATABASE_URL.
    let config = load("", &[variables[0], URL]).unwrap();
    assert_eq!(config.postgres.target.user(), "u");
}

#[test]
fn a_malformed_url_is_reported_by_location_and_not_shown() {
    let message = errors("", &[("DATABASE_URL", "postgres://u:hunter2@db/?sslmodus=require")]);
    assert_eq!(
        message,
        "environment variable DATABASE_URL: unknown connection parameter \"sslmodus\" (did you mean \
         \"sslmode\"?)"
    );
}

#[test]
fn connect_timeout_of_the_url_takes_precedence() {
    let url = ("DATABASE_URL", "postgres://u@db?connect_timeout=7");
    let config = load("[postgres]\nconnect_timeout = \"3s\"", &[url]).unwrap();
    assert_eq!(config.postgres.target.connect_timeout, Duration::from_secs(7));
}

#[test]
fn a_secret_and_its_file_exclude_each_other() {
    let text = "[postgres]\nurl = \"a\"\nurl_file = \"b\"";
    assert_eq!(
        errors(text, &[]),
        "highwater.toml:2 and highwater.toml:3: give either postgres.url or postgres.url_file, not both"
    );
}

#[test]
fn a_missing_secret_file_is_named() {
    let message = errors("", &[("HIGHWATER_POSTGRES__URL_FILE", "/nowhere/url")]);
    assert!(
        message.starts_with(
            "environment variable HIGHWATER_POSTGRES__URL_FILE: postgres.url_file /nowhere/url: "
        ),
        "{message}"
    );
}

#[test]
fn a_missing_configuration_file_is_named() {
    let file = Some(Path::new("/nowhere/highwater.toml"));
    // The file may name the database: no second error says that none is given.
    let message = Config::load(&Sources { file, ..Sources::default() }).unwrap_err();
    assert!(
        message.to_string().starts_with("configuration file /nowhere/highwater.toml: "),
        "{message}"
    );
    assert_eq!(message.0.len(), 1, "{message}");
    assert_eq!(errors("a = [", &[]).lines().count(), 1);
}

#[test]
fn the_environment_may_name_the_configuration_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, "[postgres]\nslot = \"from_file\"").unwrap();
    let environment = [URL, ("HIGHWATER_CONFIG", path.to_str().unwrap())].into_iter().collect();
    let config = Config::load(&Sources { environment, ..Sources::default() }).unwrap();
    assert_eq!(config.postgres.slot, "from_file");
}

#[test]
fn without_a_database_the_error_lists_the_ways_to_name_one() {
    let message = errors("", &[("DATABASE_URL", "")]);
    assert!(message.starts_with("no database given: set postgres.url"), "{message}");
    let config = load("", &[("PGHOST", "/run/postgresql"), ("PGUSER", "x")]).unwrap();
    assert!(config.postgres.target.display_name().starts_with("/run/postgresql"));
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    assert_eq!(
        errors("\n[postgres]\npublicaton = \"x\"", &[URL]),
        "highwater.toml:3: unknown key postgres.publicaton; the nearest known one is postgres.publication"
    );
    assert_eq!(
        errors("", &[URL, ("HIGHWATER_POSTGRES_SLOT", "x")]),
        "environment variable HIGHWATER_POSTGRES_SLOT: unknown key HIGHWATER_POSTGRES_SLOT; \
         the nearest known one is HIGHWATER_POSTGRES__SLOT"
    );
    assert_eq!(
        errors("[tables.items]\nrow = \"off\"", &[URL]),
        "highwater.toml:2: unknown key tables.items.row; the nearest known one is tables.items.rows"
    );
    assert_eq!(
        errors("[tables.items]\ncolumn = [\"id\"]", &[URL]),
        "highwater.toml:2: unknown key tables.items.column; the nearest known one is tables.items.columns"
    );
    assert_eq!(
        errors("[http]\nanswers_max_bytes = \"1GiB\"", &[URL]),
        "highwater.toml:2: unknown key http.answers_max_bytes; the nearest known one is \
         http.max_buffered_response_bytes"
    );
    assert_eq!(
        errors("", &[URL, ("HIGHWATER_HTTP__CONNECTIONS_MAX", "5")]),
        "environment variable HIGHWATER_HTTP__CONNECTIONS_MAX: unknown key \
         HIGHWATER_HTTP__CONNECTIONS_MAX; the nearest known one is HIGHWATER_HTTP__MAX_CONNECTIONS"
    );
    assert_eq!(
        errors("listen = \"x\"", &[URL]),
        "highwater.toml:1: unknown key listen; the nearest known one is http.listen"
    );
    assert_eq!(
        errors("[http.listen]\nport = 1", &[URL]),
        "highwater.toml:2: unknown key http.listen.port; the nearest known one is http.listen"
    );
}

#[test]
fn other_variables_with_the_prefix_are_ignored() {
    let others = [
        ("HIGHWATER_PG_BIN", "/opt/pg/bin"),
        ("HIGHWATER_TEST_PG_MAJOR", "16"),
        ("HIGHWATER_SERVICE_HOST", "10.0.0.1"),
        ("HIGHWATER_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(load("", &[&[URL], &others[..]].concat()).is_ok());
}

#[test]
fn wrong_values_say_what_is_allowed() {
    let one = |file: &str| errors(file, &[URL]);
    assert_eq!(
        one("[log]\nmax_age = 30"),
        "highwater.toml:2: log.max_age = \"30\": has no unit; write a number with a unit, such as \
         500ms, 30s, 5m or 24h"
    );
    assert_eq!(
        one("[log]\nmax_changes = 0"),
        "highwater.toml:2: log.max_changes = \"0\": must be a whole number from 1 to 2000000000"
    );
    assert_eq!(
        one("[log]\nmax_bytes = 0"),
        "highwater.toml:2: log.max_bytes = \"0\": must be more than zero"
    );
    assert_eq!(
        one("[postgres]\nslot = \"High-Water\""),
        "highwater.toml:2: postgres.slot = \"High-Water\": a replication slot's name is 1 to 63 \
         lower-case letters, digits and underscores"
    );
    assert_eq!(
        one("[postgres]\nsetup = \"always\""),
        "highwater.toml:2: postgres.setup = \"always\": must be \"manual\" or \"auto\""
    );
    assert_eq!(
        one("[auth]\nmode = \"tokens\""),
        "highwater.toml:2: auth.mode = \"tokens\": must be \"none\" or \"token\""
    );
    assert_eq!(
        one("[postgres]\nslot = [\"a\", \"b\"]"),
        "highwater.toml:2: postgres.slot = \"a, b\": must be one value, not a list (lower-case \
         letters, digits and underscores, at most 63)"
    );
    assert_eq!(
        one("[tables.items]\nrows = \"all\""),
        "highwater.toml:2: tables.items.rows = \"all\": must be \"off\" or \"lazy\" or \"preload\""
    );
    assert_eq!(
        one("[tables.items]\nrows = [\"lazy\"]"),
        "highwater.toml:2: tables.items.rows = \"lazy\": must be one value, not a list"
    );
    assert_eq!(
        one("[tables.items]\nrows = \"lazy\"\ncolumns = []"),
        "highwater.toml:3: tables.items.columns = \"\": must name at least one; omit the key for all"
    );
    assert_eq!(
        one("[cache]\ntime_to_idle = \"1000 years\""),
        "highwater.toml:2: cache.time_to_idle = \"1000 years\": must be shorter than a hundred years"
    );
    assert_eq!(
        errors("", &[URL, ("HIGHWATER_POSTGRES__TEMPORARY_SLOT", "yes")]),
        "environment variable HIGHWATER_POSTGRES__TEMPORARY_SLOT: postgres.temporary_slot = \"yes\": \
         must be true or false"
    );
}

#[test]
fn errors_of_flags_name_the_flag() {
    let flags = vec![Flag::new("http.listen", "8080".into())];
    let message = load_with_flags("", &[URL], flags).unwrap_err().to_string();
    assert!(
        message.starts_with("--listen: http.listen = \"8080\": not an address to listen on; write")
    );
}

#[test]
fn all_errors_are_reported_at_once() {
    let message = errors("[log]\nmax_age = \"x\"\nmax_bytes = \"x\"\n[nope]\na = 1", &[]);
    assert_eq!(message.lines().count(), 4, "{message}");
}

#[test]
fn an_open_listener_must_be_configured_explicitly() {
    let open = "[http]\nlisten = \"0.0.0.0:8080\"";
    assert_eq!(
        errors(open, &[URL]),
        "http.listen = 0.0.0.0:8080 is reachable from other machines without authentication: listen \
         on a loopback address such as 127.0.0.1:8080, require tokens with auth.mode = \"token\", or \
         set auth.mode = \"none\" to allow it"
    );
    assert!(load(open, &[URL, ("HIGHWATER_AUTH__MODE", "none")]).is_ok());
    assert!(load("[http]\nlisten = \"[::ffff:127.0.0.1]:80\"", &[URL]).is_ok());
    let admin = errors("[http]\nadmin_listen = \"[::]:9187\"", &[URL]);
    assert!(admin.starts_with("http.admin_listen = [::]:9187 is reachable"), "{admin}");
}

#[test]
fn two_listeners_need_two_addresses() {
    let text = "[http]\nlisten = \"127.0.0.1:80\"\nadmin_listen = \"localhost:80\"";
    assert!(
        errors(text, &[URL]).starts_with("http.listen and http.admin_listen are both 127.0.0.1:80")
    );
    assert!(
        load("[http]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"", &[URL]).is_ok()
    );
}
