//! The supported connection parameters, and the environment variables that libpq reads for them.

use std::collections::BTreeMap;

use super::{ConnectOptionsError, LibpqEnvironment};

/// Every supported parameter, with its environment variable.
const KNOWN: [(&str, Option<&str>); 25] = [
    ("host", Some("PGHOST")),
    ("hostaddr", Some("PGHOSTADDR")),
    ("port", Some("PGPORT")),
    ("user", Some("PGUSER")),
    ("password", Some("PGPASSWORD")),
    ("passfile", Some("PGPASSFILE")),
    ("dbname", Some("PGDATABASE")),
    ("sslmode", Some("PGSSLMODE")),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslkey", Some("PGSSLKEY")),
    ("sslnegotiation", Some("PGSSLNEGOTIATION")),
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("application_name", Some("PGAPPNAME")),
    ("options", Some("PGOPTIONS")),
    ("keepalives", None),
    ("keepalives_idle", None),
    ("keepalives_interval", None),
    ("keepalives_count", None),
    ("tcp_user_timeout", None),
    ("load_balance_hosts", Some("PGLOADBALANCEHOSTS")),
    // Accepted because other clients' URLs contain them; the values accepted describe what happens anyway.
    ("gssencmode", None),
    ("client_encoding", None),
];

/// libpq's other parameters. They are rejected because ignoring one could weaken what the user requires.
const UNSUPPORTED: [&str; 22] = [
    "fallback_application_name",
    "gssdelegation",
    "gsslib",
    "krbsrvname",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_client_id",
    "oauth_issuer",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "scram_client_key",
    "scram_server_key",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslpassword",
];

/// Similarity (0 to 1) from which a known name is suggested for an unknown one.
const SIMILARITY_MIN: f64 = 0.7;

/// The parameters that a connection URL sets; the last of several values counts, as in libpq.
#[derive(Default)]
pub(super) struct RawParams(BTreeMap<&'static str, String>);

impl RawParams {
    pub(super) fn set(&mut self, name: &str, value: String) -> Result<(), ConnectOptionsError> {
        let Some((name, _)) = KNOWN.iter().find(|(known, _)| *known == name) else {
            return Err(unknown(name));
        };
        if value.contains('\0') {
            return Err(ConnectOptionsError::Malformed(format!(
                "the value of \"{name}\" contains a zero byte"
            )));
        }
        self.0.insert(name, value);
        Ok(())
    }

    /// The value from the URL, else from the environment; an empty one means the default, as in libpq.
    pub(super) fn value<'a>(&'a self, name: &str, env: &'a LibpqEnvironment) -> Option<&'a str> {
        let variable = || {
            let (_, variable) = KNOWN.iter().find(|(known, _)| *known == name)?;
            env.vars.get((*variable)?)
        };
        let value = self.0.get(name).or_else(variable)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }
}

fn unknown(name: &str) -> ConnectOptionsError {
    if UNSUPPORTED.contains(&name) {
        return ConnectOptionsError::Unsupported(name.to_owned());
    }
    let similarity = |known: &str| strsim::jaro_winkler(&name.to_ascii_lowercase(), known);
    let nearest = KNOWN
        .iter()
        .map(|(known, _)| (*known, similarity(known)))
        .filter(|(_, similarity)| *similarity >= SIMILARITY_MIN)
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(known, _)| known);
    ConnectOptionsError::Unknown { name: name.to_owned(), nearest }
}
