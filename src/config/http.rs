//! What of section `[http]` is about connections.

use std::path::PathBuf;

use super::error::ConfigError;
use super::reader::SettingsReader;
use super::{settings, value};
use crate::http::{HttpServerOptions, RateLimit, TlsFiles};

/// The certificate's files; one without the other is an error.
pub(super) fn tls(reader: &mut SettingsReader<'_>) -> Option<TlsFiles> {
    let (certificate, key) = (&settings::TLS_CERT_FILE, &settings::TLS_KEY_FILE);
    let path = |text: &str| Ok(PathBuf::from(text));
    let written = [certificate, key].map(|setting| reader.place_of(&[setting]));
    let alone = |place, given: &settings::SettingSpec, missing: &settings::SettingSpec| {
        ConfigError::Alone { place, given: given.key, missing: missing.key }
    };
    match written {
        [Some(place), None] => reader.errors.push(alone(place, certificate, key)),
        [None, Some(place)] => reader.errors.push(alone(place, key, certificate)),
        _ => {}
    }
    let certificate = reader.optional(certificate, path);
    let key = reader.optional(key, path);
    Some(TlsFiles { certificate: certificate?, key: key? })
}

/// The limits of connections.
pub(super) fn server(reader: &mut SettingsReader<'_>) -> Option<HttpServerOptions> {
    let connections_max =
        reader.value(&settings::CONNECTIONS_MAX, |text| value::count(text, 1_000_000));
    let head_timeout = reader.value(&settings::HEAD_TIMEOUT, value::patience);
    let idle_timeout = reader.value(&settings::IDLE_TIMEOUT, value::long_patience);
    let head_max_bytes = reader.value(&settings::HEAD_MAX_BYTES, value::head_size);
    let streams = reader.value(&settings::HTTP2_STREAMS_MAX, |text| value::count(text, 10_000));
    Some(HttpServerOptions {
        max_connections: connections_max? as usize,
        header_timeout: head_timeout?,
        idle_timeout: idle_timeout?,
        max_header_bytes: head_max_bytes?,
        max_http2_streams: streams?,
        rate_limit: rate_limit(reader),
    })
}

fn rate_limit(reader: &mut SettingsReader<'_>) -> Option<RateLimit> {
    let count = |text: &str| value::count(text, 1_000_000);
    let written = reader.place_of(&[&settings::RATE_BURST]);
    let per_second = reader.optional(&settings::RATE_LIMIT, count);
    let burst = reader.optional(&settings::RATE_BURST, count);
    if let (Some(place), None) = (written, reader.place_of(&[&settings::RATE_LIMIT])) {
        let (given, missing) = (settings::RATE_BURST.key, settings::RATE_LIMIT.key);
        reader.errors.push(ConfigError::Alone { place, given, missing });
    }
    per_second.map(|per_second| RateLimit { per_second, burst: burst.unwrap_or(per_second) })
}

/// Streams and sockets may not take every connection.
pub(super) fn leave_room_for_polls(
    reader: &mut SettingsReader<'_>,
    push_clients_max: usize,
    connections_max: usize,
) {
    if push_clients_max >= connections_max {
        reader.errors.push(ConfigError::NoRoomForPolls { push_clients_max, connections_max });
    }
}
