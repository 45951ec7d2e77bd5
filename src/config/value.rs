//! Parsers of values. Pure; an error says what is wrong and what is allowed.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::http::AllowedOrigin;
use crate::scope::SCOPE_COLUMNS_MAX;

/// What is wrong with a value and what is allowed, as the end of a sentence.
pub(super) type ValueError = String;

pub(super) fn boolean(text: &str) -> Result<bool, ValueError> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

/// A duration; `0s` is allowed, a number without a unit is not.
pub(super) fn duration(text: &str) -> Result<Duration, ValueError> {
    let allowed = "write a number with a unit, such as 500ms, 30s, 5m or 24h";
    if text.trim().parse::<f64>().is_ok() {
        return Err(format!("has no unit; {allowed}"));
    }
    humantime::parse_duration(text).map_err(|_| format!("not a duration; {allowed}"))
}

pub(super) fn positive_duration(text: &str) -> Result<Duration, ValueError> {
    let duration = duration(text)?;
    if duration.is_zero() {
        return Err("must be longer than zero".into());
    }
    Ok(duration)
}

/// A duration up to a second, an additional delay that clients hardly notice; `0s` is allowed.
pub(super) fn short_duration(text: &str) -> Result<Duration, ValueError> {
    match duration(text)? {
        short if short <= Duration::from_secs(1) => Ok(short),
        _ => Err("must be at most 1s".into()),
    }
}

/// The interval of periodic work: at least 10 ms, so that runs do not follow each other immediately.
pub(super) fn pause(text: &str) -> Result<Duration, ValueError> {
    match duration(text)? {
        pause if pause >= Duration::from_millis(10) => Ok(pause),
        _ => Err("must be at least 10ms".into()),
    }
}

/// Time limit for something that a client can do immediately.
pub(super) fn request_timeout(text: &str) -> Result<Duration, ValueError> {
    within(text, Duration::from_mins(5), "5m")
}

/// Time limit for an idle client.
pub(super) fn idle_timeout(text: &str) -> Result<Duration, ValueError> {
    within(text, Duration::from_hours(24), "24h")
}

fn within(text: &str, most: Duration, shown: &str) -> Result<Duration, ValueError> {
    match duration(text)? {
        fine if fine >= Duration::from_millis(100) && fine <= most => Ok(fine),
        _ => Err(format!("must be from 100ms to {shown}")),
    }
}

/// Bytes of a request's target and headers. The HTTP parser needs at least 8 KiB.
pub(super) fn header_size(text: &str) -> Result<usize, ValueError> {
    let size = memory(text)?;
    let fine = (8 << 10..=1 << 20).contains(&size);
    if fine { Ok(size) } else { Err("must be from 8KiB to 1MiB".into()) }
}

/// Bytes of buffered responses. With less than the minimum, cached responses could take all of it.
pub(super) fn response_memory(text: &str) -> Result<usize, ValueError> {
    let size = memory(text)?;
    if size >= 64 << 20 { Ok(size) } else { Err("must be at least 64MiB".into()) }
}

/// A number of bytes; zero is allowed.
pub(super) fn size(text: &str) -> Result<u64, ValueError> {
    let plain = text.replace('_', "");
    // PostgreSQL's own positions are 64-bit, but signed arithmetic on them is not: stay below.
    let most = i64::MAX.unsigned_abs();
    plain.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64()).filter(|n| *n <= most).ok_or_else(
        || "not a size; write a number with a unit, such as 64MB or 256MiB, or a bare number of bytes".into(),
    )
}

pub(super) fn positive_size(text: &str) -> Result<u64, ValueError> {
    match size(text)? {
        0 => Err("must be more than zero".into()),
        bytes => Ok(bytes),
    }
}

/// A positive number of bytes that fits the address space.
pub(super) fn memory(text: &str) -> Result<usize, ValueError> {
    let bytes = positive_size(text)?;
    usize::try_from(bytes).map_err(|_| "exceeds the address space of this machine".into())
}

/// Lifetime of a cached row. The cache panics on a thousand years, because it counts nanoseconds.
pub(super) fn time_to_live(text: &str) -> Result<Duration, ValueError> {
    const MOST: Duration = Duration::from_hours(100 * 365 * 24);
    let duration = positive_duration(text)?;
    if duration > MOST { Err("must be shorter than a hundred years".into()) } else { Ok(duration) }
}

/// A list with at least one item.
pub(super) fn not_empty<T>(items: Vec<T>) -> Result<Vec<T>, ValueError> {
    if items.is_empty() {
        Err("must name at least one; omit the key for all".into())
    } else {
        Ok(items)
    }
}

/// A count from 0 to `most`.
pub(super) fn count_or_none(text: &str, most: u32) -> Result<u32, ValueError> {
    let number = text.replace('_', "").parse().ok().filter(|number| *number <= most);
    number.ok_or_else(|| format!("must be a whole number from 0 to {most}"))
}

/// A count from 1 to `most`; underscores between digits are allowed, as in TOML.
pub(super) fn count(text: &str, most: u32) -> Result<u32, ValueError> {
    let number = text.replace('_', "").parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("must be a whole number from 1 to {most}"))
}

/// `address:port`; `localhost` stands for 127.0.0.1.
pub(super) fn listener(text: &str) -> Result<SocketAddr, ValueError> {
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| {
        "not an address to listen on; write an IP address and a port, such as 127.0.0.1:8080, \
         0.0.0.0:8080 or [::1]:8080"
            .into()
    })
}

/// An origin in the form in which browsers send it, or `*`.
pub(super) fn origin(text: &str) -> Result<AllowedOrigin, ValueError> {
    // Browsers send the host in lower case.
    let origin = text.to_ascii_lowercase().parse::<AllowedOrigin>();
    origin.map_err(|error| error.to_string())
}

/// PostgreSQL's longest name, in bytes (`NAMEDATALEN - 1`).
const NAME_BYTES_MAX: usize = 63;

/// The name of a publication: any identifier.
pub(super) fn identifier(text: &str) -> Result<String, ValueError> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.contains(char::is_control) {
        return Err(format!("must be a name of 1 to {NAME_BYTES_MAX} bytes"));
    }
    Ok(text.to_owned())
}

/// A table in the spelling of the API, or `*`.
pub(super) fn table(text: &str) -> Result<String, ValueError> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err("not a table; write its name as in the API: items, shop.orders, \"A.b\"".into());
    }
    Ok(text.to_owned())
}

/// Scope columns. They must be among the served columns, which decide whether a row is visible to a caller.
pub(super) fn scope(
    names: Vec<String>,
    served: Option<&[String]>,
) -> Result<Vec<String>, ValueError> {
    if names.len() > SCOPE_COLUMNS_MAX {
        return Err(format!("must name at most {SCOPE_COLUMNS_MAX} columns"));
    }
    let is_twice = |name: &&String| names.iter().filter(|other| other == name).count() > 1;
    if let Some(twice) = names.iter().find(is_twice) {
        return Err(format!("names {twice} twice"));
    }
    let hidden = |name: &&String| served.is_some_and(|served| !served.contains(name));
    match names.iter().find(hidden) {
        Some(name) => {
            Err(format!("names {name}, which is not among the served columns; add it to columns"))
        }
        None => Ok(names),
    }
}

/// The name of a replication slot. PostgreSQL restricts it because it is also a directory name.
pub(super) fn slot(text: &str) -> Result<String, ValueError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(allowed) {
        return Err(format!(
            "a replication slot's name is 1 to {NAME_BYTES_MAX} lower-case letters, digits and underscores"
        ));
    }
    Ok(text.to_owned())
}

/// A log filter: comma-separated levels, each optionally for one module (`MODULE=LEVEL`).
pub(super) fn log_filter(text: &str) -> Result<String, ValueError> {
    match text.parse::<tracing_subscriber::filter::Targets>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => {
            Err("not a log filter; write off, error, warn, info, debug or trace, or one per \
                       module as in info,highwater::store=debug"
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("5m"), Ok(Duration::from_mins(5)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert!(duration("300").is_err_and(|e| e.starts_with("has no unit; write")));
        assert!(duration("soon").is_err_and(|e| e.starts_with("not a duration; write")));
        assert!(duration("-5m").is_err());
        assert!(positive_duration("0s").is_err());
    }

    #[test]
    fn sizes_are_binary_decimal_or_bare() {
        assert_eq!(size("256MiB"), Ok(256 << 20));
        assert_eq!(size("64MB"), Ok(64_000_000));
        assert_eq!(size("1_000"), Ok(1000));
        assert_eq!(size("0"), Ok(0));
        for wrong in ["", "much", "-1", "10 apples", "18446744073709551615"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert!(positive_size("0").is_err());
    }

    #[test]
    fn counts_have_bounds() {
        assert_eq!(count("1_000_000", 2_000_000), Ok(1_000_000));
        for wrong in ["0", "-1", "1.5", "2000001", "many"] {
            assert!(count(wrong, 2_000_000).is_err(), "{wrong}");
        }
    }

    #[test]
    fn listeners_are_addresses() {
        assert_eq!(listener("localhost:80").map(|a| a.to_string()), Ok("127.0.0.1:80".into()));
        assert!(listener("[::1]:0").is_ok());
        for wrong in ["8080", ":8080", "127.0.0.1", "example.com:80", "127.0.0.1:65536"] {
            assert!(listener(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn origins_have_no_path() {
        assert_eq!(origin("https://App.example"), origin("https://app.example"));
        assert_eq!(origin("*"), Ok(AllowedOrigin::Any));
        for wrong in ["app.example", "https://", "https://a/", "https://a\n", "null"] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_what_postgresql_allows() {
        assert!(identifier("My publication").is_ok());
        assert!(identifier("").is_err() && identifier(&"x".repeat(64)).is_err());
        assert!(identifier("a\nb").is_err());
        assert!(slot("highwater_2").is_ok());
        for wrong in ["", "Highwater", "high-water", &"x".repeat(64)] {
            assert!(slot(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn log_filters_are_checked() {
        assert!(log_filter("info,highwater::store=debug").is_ok());
        assert!(log_filter("highwater=loud").is_err());
    }
}
