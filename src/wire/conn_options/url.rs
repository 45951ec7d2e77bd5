//! `postgres://user:password@host:port,host:port/database?parameter=value&…`
//! (manual: libpq-connect, "Connection URIs").

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::ConnectOptionsError;
use super::parameters::RawParams;

/// What follows the scheme, if the text is a PostgreSQL URL.
pub(super) fn split_scheme(text: &str) -> Option<&str> {
    let text = text.trim();
    text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"))
}

/// Parses what follows `postgres://`.
pub(super) fn parse(rest: &str) -> Result<RawParams, ConnectOptionsError> {
    let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = before_query.split_once('/').unwrap_or((before_query, ""));
    // The last @, so that an unencoded one in a password does no harm.
    let (credentials, hosts) = match authority.rsplit_once('@') {
        Some((credentials, hosts)) => (Some(credentials), hosts),
        None => (None, authority),
    };
    let mut params = RawParams::default();
    if let Some(credentials) = credentials {
        parse_credentials(credentials, &mut params)?;
    }
    parse_hosts(hosts, &mut params)?;
    if !database.is_empty() {
        params.set("dbname", decode(database, "the database name")?)?;
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        parse_parameter(pair, &mut params)?;
    }
    Ok(params)
}

fn parse_credentials(text: &str, params: &mut RawParams) -> Result<(), ConnectOptionsError> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (text, None),
    };
    if !user.is_empty() {
        params.set("user", decode(user, "the user name")?)?;
    }
    if let Some(password) = password.filter(|password| !password.is_empty()) {
        params.set("password", decode(password, "the password")?)?;
    }
    Ok(())
}

/// `h1:1,[::1]:2,h3` becomes libpq's two lists `host=h1,::1,h3` and `port=1,2,`.
fn parse_hosts(text: &str, params: &mut RawParams) -> Result<(), ConnectOptionsError> {
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    for entry in text.split(',') {
        let (host, port) = split_port(entry)?;
        hosts.push(decode(host, "the host name")?);
        ports.push(port);
    }
    if hosts.iter().any(|host| !host.is_empty()) {
        params.set("host", hosts.join(","))?;
    }
    if ports.iter().any(|port| !port.is_empty()) {
        params.set("port", ports.join(","))?;
    }
    Ok(())
}

fn split_port(entry: &str) -> Result<(&str, &str), ConnectOptionsError> {
    let Some(bracketed) = entry.strip_prefix('[') else {
        return Ok(entry.split_once(':').unwrap_or((entry, "")));
    };
    let malformed = |what: &str| ConnectOptionsError::Malformed(what.to_owned());
    let (address, rest) = bracketed
        .split_once(']')
        .ok_or_else(|| malformed("a host in brackets has no closing ]"))?;
    if rest.is_empty() {
        return Ok((address, ""));
    }
    let port = rest
        .strip_prefix(':')
        .ok_or_else(|| malformed("expected : and a port after a host in brackets"))?;
    Ok((address, port))
}

fn parse_parameter(pair: &str, params: &mut RawParams) -> Result<(), ConnectOptionsError> {
    // The text is not quoted: what follows an unencoded ? may be the end of a password.
    let no_pair = || {
        let expected = "expected name=value after the ? (in a password, ? is written %3F)";
        ConnectOptionsError::Malformed(expected.into())
    };
    let pair = pair.split_once('=').filter(|(name, _)| !name.contains('@'));
    let (name, value) = pair.ok_or_else(no_pair)?;
    let name = decode(name, "a parameter name")?;
    let value = decode(value, "a parameter's value")?;
    // The spelling of JDBC URLs.
    if name == "ssl" && value == "true" {
        return params.set("sslmode", "require".into());
    }
    params.set(&name, value)
}

/// Percent-decodes as libpq does: a `%` without digits and a zero byte are errors, `+` is a plus.
fn decode(text: &str, what: &str) -> Result<String, ConnectOptionsError> {
    let malformed = |why: &str| ConnectOptionsError::Malformed(format!("{what} {why}"));
    if text.split('%').skip(1).any(|after| !starts_with_two_hex_digits(after)) {
        return Err(malformed(
            "contains a % without two hexadecimal digits (write %25 for a % itself)",
        ));
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| malformed("is not UTF-8 once decoded"))
}

fn starts_with_two_hex_digits(text: &str) -> bool {
    matches!(text.as_bytes(), [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
}
