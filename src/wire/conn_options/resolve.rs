//! Resolution of parameters into [`ConnectOptions`]: defaults and contradictions.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::parameters::RawParams;
use super::passfile::Passfile;
use super::{
    ChannelBinding, ConnectOptions, ConnectOptionsError, Host, HostAddr, Keepalive,
    LibpqEnvironment, RootCertificates, SessionAttrs, SslMode, TcpOptions, TlsOptions,
};
use crate::secret::Secret;

/// The parameters of the connection URL, with the environment as fallback.
struct ParamSources<'a> {
    params: &'a RawParams,
    env: &'a LibpqEnvironment,
}

pub(super) fn resolve(
    params: &RawParams,
    env: &LibpqEnvironment,
) -> Result<ConnectOptions, ConnectOptionsError> {
    let sources = ParamSources { params, env };
    sources.reject_gss_encryption()?;
    let user = sources.user()?;
    Ok(ConnectOptions {
        hosts: sources.hosts()?,
        database: sources.text("dbname").unwrap_or(&user).to_owned(),
        user,
        password: sources.text("password").map(Secret::new),
        passfile: sources.passfile(),
        tls: sources.tls()?,
        session_attrs: sources
            .word("target_session_attrs", &SessionAttrs::WORDS)?
            .unwrap_or(SessionAttrs::Any),
        connect_timeout: sources.connect_timeout()?,
        application_name: sources.text("application_name").unwrap_or("highwater").to_owned(),
        options: sources.text("options").map(str::to_owned),
        tcp: sources.tcp()?,
        shuffle: sources
            .word("load_balance_hosts", &[("disable", false), ("random", true)])?
            .unwrap_or(false),
    })
}

impl ParamSources<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.params.value(name, self.env)
    }

    /// The meaning of a parameter whose value is one of `words`.
    fn word<T: Copy>(
        &self,
        name: &'static str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, ConnectOptionsError> {
        let Some(value) = self.text(name) else { return Ok(None) };
        let known = words.iter().find(|(word, _)| *word == value);
        let expected = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        known.map(|(_, meaning)| Some(*meaning)).ok_or_else(|| invalid(name, value, expected()))
    }

    fn number<T: FromStr>(
        &self,
        name: &'static str,
        expected: &str,
    ) -> Result<Option<T>, ConnectOptionsError> {
        let Some(value) = self.text(name) else { return Ok(None) };
        let number = value.trim().parse().map_err(|_| invalid(name, value, expected.to_owned()))?;
        Ok(Some(number))
    }

    fn home_file(&self, name: &str) -> Option<PathBuf> {
        self.env.home.as_ref().map(|home| home.join(name))
    }

    /// Rejects `gssencmode=require`: there is no GSSAPI encryption here.
    fn reject_gss_encryption(&self) -> Result<(), ConnectOptionsError> {
        let words = [("disable", ()), ("prefer", ())];
        self.word("gssencmode", &words).map(|_| ())
    }

    fn user(&self) -> Result<String, ConnectOptionsError> {
        if let Some(user) = self.text("user") {
            return Ok(user.to_owned());
        }
        let own = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
        own.map(|user| user.name).ok_or(ConnectOptionsError::NoUser)
    }

    fn passfile(&self) -> Passfile {
        let path = self.text("passfile").map(PathBuf::from).or_else(|| self.home_file(".pgpass"));
        path.map(|path| Passfile::read(&path)).unwrap_or_default()
    }

    fn hosts(&self) -> Result<Vec<Host>, ConnectOptionsError> {
        let names: Vec<&str> = self.list("host");
        let addresses: Vec<&str> = self.list("hostaddr");
        let count = names.len().max(addresses.len()).max(1);
        for (name, list) in [("host", &names), ("hostaddr", &addresses)] {
            if !list.is_empty() && list.len() != count {
                return Err(ConnectOptionsError::Contradiction(format!(
                    "\"{name}\" lists {} entries, expected {count}: as many as host or hostaddr",
                    list.len()
                )));
            }
        }
        let ports = self.ports(count)?;
        let entry = |list: &[&str], at: usize| list.get(at).copied().unwrap_or("").to_owned();
        let hosts = ports.into_iter().enumerate();
        hosts.map(|(at, port)| host(&entry(&names, at), &entry(&addresses, at), port)).collect()
    }

    fn list(&self, name: &str) -> Vec<&str> {
        self.text(name).map(|text| text.split(',').map(str::trim).collect()).unwrap_or_default()
    }

    /// One port for each host; a single one applies to every host.
    fn ports(&self, count: usize) -> Result<Vec<u16>, ConnectOptionsError> {
        let texts = self.list("port");
        let ports = texts.iter().map(|text| port(text)).collect::<Result<Vec<u16>, _>>()?;
        match ports.as_slice() {
            [] => Ok(vec![Host::PORT_DEFAULT; count]),
            [single] => Ok(vec![*single; count]),
            several if several.len() == count => Ok(ports),
            several => Err(ConnectOptionsError::Contradiction(format!(
                "\"port\" lists {} entries for {count} hosts: give one, or one for each",
                several.len()
            ))),
        }
    }

    fn tls(&self) -> Result<TlsOptions, ConnectOptionsError> {
        let roots = self.roots();
        let system = roots == RootCertificates::System;
        let default = if system { SslMode::VerifyFull } else { SslMode::Prefer };
        let mode = self.word("sslmode", &SslMode::WORDS)?.unwrap_or(default);
        if system && mode != SslMode::VerifyFull {
            return Err(contradiction(mode, "sslrootcert=system", "verify-full"));
        }
        let direct =
            self.word("sslnegotiation", &[("postgres", false), ("direct", true)])?.unwrap_or(false);
        if direct && mode < SslMode::Require {
            return Err(contradiction(mode, "sslnegotiation=direct", "require (or stronger)"));
        }
        let words = [
            ("disable", ChannelBinding::Disable),
            ("prefer", ChannelBinding::Prefer),
            ("require", ChannelBinding::Require),
        ];
        let channel_binding =
            self.word("channel_binding", &words)?.unwrap_or(ChannelBinding::Prefer);
        Ok(TlsOptions { mode, direct, roots, client: self.client_certificate()?, channel_binding })
    }

    fn roots(&self) -> RootCertificates {
        match self.text("sslrootcert") {
            Some("system") => RootCertificates::System,
            Some(path) => RootCertificates::File(PathBuf::from(path)),
            None => match self.home_file(".postgresql/root.crt") {
                Some(path) if path.exists() => RootCertificates::File(path),
                missing => RootCertificates::Missing(missing),
            },
        }
    }

    fn client_certificate(&self) -> Result<Option<(PathBuf, PathBuf)>, ConnectOptionsError> {
        let default = |name: &str| self.home_file(name).filter(|path| path.exists());
        let certificate = self.text("sslcert").map(PathBuf::from);
        let key = self.text("sslkey").map(PathBuf::from);
        let certificate = certificate.or_else(|| default(".postgresql/postgresql.crt"));
        let key = key.or_else(|| default(".postgresql/postgresql.key"));
        match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
            // A key without a certificate has no effect, as in libpq.
            (None, _) => Ok(None),
            (Some(certificate), None) => Err(ConnectOptionsError::Contradiction(format!(
                "client certificate \"{}\" has no private key; name it with sslkey",
                certificate.display()
            ))),
        }
    }

    fn connect_timeout(&self) -> Result<Duration, ConnectOptionsError> {
        match self.number::<i32>("connect_timeout", "a number of seconds")? {
            Some(seconds @ 1..) => Ok(Duration::from_secs(u64::from(seconds.unsigned_abs()))),
            _ => Ok(ConnectOptions::CONNECT_TIMEOUT_DEFAULT),
        }
    }

    fn tcp(&self) -> Result<TcpOptions, ConnectOptionsError> {
        let on = self.number::<i32>("keepalives", "0 or 1")?.unwrap_or(1) != 0;
        let seconds = |name, default: Duration| {
            let value = self.number::<u32>(name, "a number of seconds")?;
            Ok(value.filter(|n| *n > 0).map_or(default, |n| Duration::from_secs(u64::from(n))))
        };
        let keepalive = Keepalive {
            idle: seconds("keepalives_idle", Keepalive::DEFAULT.idle)?,
            interval: seconds("keepalives_interval", Keepalive::DEFAULT.interval)?,
            count: self
                .number::<u32>("keepalives_count", "a number of probes")?
                .filter(|n| *n > 0)
                .unwrap_or(Keepalive::DEFAULT.count),
        };
        let user_timeout = self.number::<u32>("tcp_user_timeout", "a number of milliseconds")?;
        let user_timeout =
            user_timeout.filter(|n| *n > 0).map(|n| Duration::from_millis(u64::from(n)));
        Ok(TcpOptions { keepalive: on.then_some(keepalive), user_timeout })
    }
}

fn host(name: &str, address: &str, port: u16) -> Result<Host, ConnectOptionsError> {
    if address.is_empty() {
        return Ok(if name.is_empty() { Host::local(port) } else { Host::named(name, port) });
    }
    let address: IpAddr =
        address.parse().map_err(|_| invalid("hostaddr", address, "an IP address".into()))?;
    let name = Some(name.to_owned()).filter(|name| !name.is_empty());
    Ok(Host { addr: HostAddr::Address { address, name }, port })
}

fn port(text: &str) -> Result<u16, ConnectOptionsError> {
    if text.is_empty() {
        return Ok(Host::PORT_DEFAULT);
    }
    let port = text.parse().ok().filter(|port| *port != 0);
    // An unencoded / in a password makes its beginning end up here: show only numbers.
    let shown = if text.bytes().all(|b| b.is_ascii_digit()) { text } else { "…" };
    port.ok_or_else(|| {
        invalid("port", shown, "a number from 1 to 65535; in a password, / is written %2F".into())
    })
}

fn invalid(name: &'static str, value: &str, expected: String) -> ConnectOptionsError {
    ConnectOptionsError::Invalid { name, value: value.to_owned(), expected }
}

fn contradiction(mode: SslMode, with: &str, instead: &str) -> ConnectOptionsError {
    let mode = mode.as_str();
    ConnectOptionsError::Contradiction(format!(
        "sslmode={mode} is too weak to be used with {with}; write sslmode={instead}"
    ))
}
