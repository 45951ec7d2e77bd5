//! The connection parameters we know, and where libpq looks when one is not given.

use std::collections::BTreeMap;

use super::{ConnectOptionsError, LibpqEnvironment};

/// Every parameter with a meaning here, and its environment variable.
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
    // Accepted because other clients' URLs carry them; what we do is what they ask for.
    ("gssencmode", None),
    ("client_encoding", None),
];

/// libpq's others: dropping one silently could weaken what the user asked for.
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

/// A name must be at least this similar (0 to 1) to be worth suggesting.
const SIMILARITY_MIN: f64 = 0.7;

/// The parameters a connection URL sets; a later one wins, as in libpq.
#[derive(Default)]
pub(super) struct RawParams(BTreeMap<&'static str, String>);

impl RawParams {
    pub(super) fn set(&mut self, name: &str, value: String) -> Result<(), ConnectOptionsError> {
        let Some((name, _)) = KNOWN.iter().find(|(known, _)| *known == name) else {
            return Err(refusal(name));
        };
        if value.contains('\0') {
            return Err(ConnectOptionsError::Malformed(format!(
                "the value of \"{name}\" holds a zero byte"
            )));
        }
        self.0.insert(name, value);
        Ok(())
    }

    /// The value given, else the environment's; an empty one means the default, as in libpq.
    pub(super) fn value<'a>(&'a self, name: &str, env: &'a LibpqEnvironment) -> Option<&'a str> {
        let variable = || {
            let (_, variable) = KNOWN.iter().find(|(known, _)| *known == name)?;
            env.vars.get((*variable)?)
        };
        let value = self.0.get(name).or_else(variable)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }
}

fn refusal(name: &str) -> ConnectOptionsError {
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
