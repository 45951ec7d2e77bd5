//! One server to try.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// How to reach a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostAddr {
    /// The directory of a Unix-domain socket.
    Unix(PathBuf),
    /// A name or an address to be looked up.
    Name(String),
    /// `hostaddr`: an address, with or without a name to check certificates against.
    Address {
        /// Where to connect.
        address: IpAddr,
        /// `host`, when given too.
        name: Option<String>,
    },
}

/// A place and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) place: HostAddr,
    pub(crate) port: u16,
}

impl Host {
    /// PostgreSQL's own port.
    pub(crate) const PORT_DEFAULT: u16 = 5432;
    /// Where packagers put the socket: Debian and Red Hat, then PostgreSQL's own default.
    pub(crate) const SOCKET_DIRECTORIES: [&'static str; 2] = ["/var/run/postgresql", "/tmp"];

    /// What libpq does with one `host` entry and its port.
    pub(crate) fn named(name: &str, port: u16) -> Self {
        let place = if name.starts_with('/') {
            HostAddr::Unix(PathBuf::from(name))
        } else {
            HostAddr::Name(name.to_owned())
        };
        Self { place, port }
    }

    /// The default host: a local socket that exists, else `localhost`.
    pub(crate) fn local(port: u16) -> Self {
        let existing = |dir: &&str| socket_path(Path::new(dir), port).exists();
        let name = Self::SOCKET_DIRECTORIES.into_iter().find(existing).unwrap_or("localhost");
        Self::named(name, port)
    }

    /// The socket's file, when there is one.
    pub(crate) fn socket_path(&self) -> Option<PathBuf> {
        match &self.place {
            HostAddr::Unix(dir) => Some(socket_path(dir, self.port)),
            HostAddr::Name(_) | HostAddr::Address { .. } => None,
        }
    }

    /// What a certificate must be made out to.
    pub(crate) fn certificate_name(&self) -> String {
        match &self.place {
            HostAddr::Unix(_) => String::new(),
            HostAddr::Name(name) | HostAddr::Address { name: Some(name), .. } => name.clone(),
            HostAddr::Address { address, name: None } => address.to_string(),
        }
    }

    /// The name under which the password file lists it.
    pub(crate) fn passfile_name(&self) -> String {
        match &self.place {
            HostAddr::Unix(dir) if Self::SOCKET_DIRECTORIES.iter().any(|d| dir == Path::new(d)) => {
                "localhost".into()
            }
            HostAddr::Unix(dir) => dir.to_string_lossy().into_owned(),
            HostAddr::Name(_) | HostAddr::Address { .. } => self.certificate_name(),
        }
    }
}

fn socket_path(dir: &Path, port: u16) -> PathBuf {
    dir.join(format!(".s.PGSQL.{port}"))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.place {
            HostAddr::Unix(dir) => write!(f, "{}:{port}", dir.display()),
            HostAddr::Name(name) | HostAddr::Address { name: Some(name), .. } => {
                if name.contains(':') {
                    write!(f, "[{name}]:{port}")
                } else {
                    write!(f, "{name}:{port}")
                }
            }
            HostAddr::Address { address: IpAddr::V6(v6), name: None } => write!(f, "[{v6}]:{port}"),
            HostAddr::Address { address: IpAddr::V4(v4), name: None } => write!(f, "{v4}:{port}"),
        }
    }
}
