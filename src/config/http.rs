//! Section `[http]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::auth::AuthMode;
use super::error::ConfigError;
use super::reader::SettingsReader;
use super::{settings, value};
use crate::http::{HttpOptions, HttpServerOptions, PushOptions, RateLimit, TlsFiles};

/// The listeners and the options of the HTTP side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Address of the listener for clients.
    pub listen: SocketAddr,
    /// Address of the admin listener; `None` if `listen` serves the admin routes.
    pub admin_listen: Option<SocketAddr>,
    /// The certificate; `None` for clear text.
    pub tls: Option<TlsFiles>,
    /// Everything that the configuration alone determines; `authority` and `admin_apart` are not set.
    pub options: HttpOptions,
}

/// `None` only if the reader's errors say why.
pub(super) fn read(reader: &mut SettingsReader<'_>, auth: Option<AuthMode>) -> Option<HttpConfig> {
    let listen = reader.value(&settings::LISTEN, value::listener);
    let admin_listen = reader.value(&settings::ADMIN_LISTEN, value::listener);
    let tls = tls(reader);
    let options = options(reader, admin_listen);
    let listen = listen?;
    check_listeners(reader, listen, admin_listen, auth);
    Some(HttpConfig { listen, admin_listen, tls, options: options? })
}

fn check_listeners(
    reader: &mut SettingsReader<'_>,
    listen: SocketAddr,
    admin_listen: Option<SocketAddr>,
    auth: Option<AuthMode>,
) {
    if admin_listen == Some(listen) && listen.port() != 0 {
        reader.errors.push(ConfigError::SameListener { address: listen.to_string() });
    }
    // An open listener must be an explicit decision (`auth.mode = "none"`), not an omission.
    if auth.is_some() {
        return;
    }
    let listeners = [(&settings::LISTEN, Some(listen)), (&settings::ADMIN_LISTEN, admin_listen)];
    for (setting, address) in listeners {
        if let Some(address) = address.filter(|address| !is_loopback(address)) {
            reader.errors.push(ConfigError::OpenToAll {
                listener: setting.key,
                address: address.to_string(),
                port: address.port(),
            });
        }
    }
}

fn options(
    reader: &mut SettingsReader<'_>,
    admin_listen: Option<SocketAddr>,
) -> Option<HttpOptions> {
    const MAX_PUSH_CLIENTS: u32 = 15_000;
    let cors_origins = reader.list(&settings::CORS_ORIGINS, value::origin);
    let clients = |text: &str| value::count_or_none(text, MAX_PUSH_CLIENTS).map(|n| n as usize);
    let max_clients = reader.value(&settings::MAX_PUSH_CLIENTS, clients);
    let max_buffered = reader.value(&settings::MAX_BUFFERED_RESPONSE_BYTES, value::response_memory);
    let coalesce_interval = reader.value(&settings::COALESCE_INTERVAL, value::short_duration);
    let server = server(reader)?;
    let max_clients = max_clients?;
    leave_connections_for_polls(reader, max_clients, server.max_connections);
    Some(HttpOptions {
        cors_origins,
        coalesce_interval: coalesce_interval?,
        max_buffered_response_bytes: max_buffered?,
        push: PushOptions { max_clients, ..PushOptions::default() },
        server,
        // Without a listener of their own the admin routes follow the rules of `listen`.
        admin_open: admin_listen.is_none_or(|address| is_loopback(&address)),
        ..HttpOptions::default()
    })
}

/// The certificate's files; one without the other is an error.
fn tls(reader: &mut SettingsReader<'_>) -> Option<TlsFiles> {
    let (certificate, key) = (&settings::TLS_CERT_FILE, &settings::TLS_KEY_FILE);
    let path = |text: &str| Ok(PathBuf::from(text));
    let alone = |location, given: &settings::SettingSpec, missing: &settings::SettingSpec| {
        ConfigError::Alone { location, given: given.key, missing: missing.key }
    };
    match [certificate, key].map(|setting| reader.location_of(&[setting])) {
        [Some(location), None] => reader.errors.push(alone(location, certificate, key)),
        [None, Some(location)] => reader.errors.push(alone(location, key, certificate)),
        _ => {}
    }
    let certificate = reader.optional(certificate, path);
    let key = reader.optional(key, path);
    Some(TlsFiles { certificate: certificate?, key: key? })
}

fn server(reader: &mut SettingsReader<'_>) -> Option<HttpServerOptions> {
    let connections = |text: &str| value::count(text, 1_000_000).map(|count| count as usize);
    let max_connections = reader.value(&settings::MAX_CONNECTIONS, connections);
    let header_timeout = reader.value(&settings::HEADER_TIMEOUT, value::request_timeout);
    let idle_timeout = reader.value(&settings::IDLE_TIMEOUT, value::idle_timeout);
    let max_header_bytes = reader.value(&settings::MAX_HEADER_BYTES, value::header_size);
    let streams = reader.value(&settings::MAX_HTTP2_STREAMS, |text| value::count(text, 10_000));
    Some(HttpServerOptions {
        max_connections: max_connections?,
        header_timeout: header_timeout?,
        idle_timeout: idle_timeout?,
        max_header_bytes: max_header_bytes?,
        max_http2_streams: streams?,
        rate_limit: rate_limit(reader),
    })
}

fn rate_limit(reader: &mut SettingsReader<'_>) -> Option<RateLimit> {
    let count = |text: &str| value::count(text, 1_000_000);
    let burst_location = reader.location_of(&[&settings::RATE_BURST]);
    let per_second = reader.optional(&settings::RATE_LIMIT, count);
    let burst = reader.optional(&settings::RATE_BURST, count);
    if let (Some(location), None) = (burst_location, reader.location_of(&[&settings::RATE_LIMIT])) {
        let (given, missing) = (settings::RATE_BURST.key, settings::RATE_LIMIT.key);
        reader.errors.push(ConfigError::Alone { location, given, missing });
    }
    per_second.map(|per_second| RateLimit { per_second, burst: burst.unwrap_or(per_second) })
}

/// Push clients hold their connections: they must not be able to take all of them.
fn leave_connections_for_polls(
    reader: &mut SettingsReader<'_>,
    max_push_clients: usize,
    max_connections: usize,
) {
    if max_push_clients >= max_connections {
        reader.errors.push(ConfigError::NoRoomForPolls { max_push_clients, max_connections });
    }
}

/// Includes `::ffff:127.0.0.1`, which is reachable from the same machine only, like 127.0.0.1.
fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}
