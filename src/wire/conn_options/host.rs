//! A server of the connection target.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The address of a host, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostAddr {
    /// The directory of a Unix-domain socket.
    Unix(PathBuf),
    /// A name or an address, to be resolved.
    Name(String),
    /// `hostaddr`: an address, with or without a name to verify certificates against.
    Address {
        address: IpAddr,
        /// `host`, if given too.
        name: Option<String>,
    },
}

/// An address and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) addr: HostAddr,
    pub(crate) port: u16,
}

impl Host {
    /// PostgreSQL's default port.
    pub(crate) const PORT_DEFAULT: u16 = 5432;
    /// Directories of the server's socket: that of the Debian and Red Hat packages, then PostgreSQL's own
    /// default.
    pub(crate) const SOCKET_DIRECTORIES: [&'static str; 2] = ["/var/run/postgresql", "/tmp"];

    /// One entry of `host` with its port: a path names a socket's directory, as in libpq.
    pub(crate) fn named(name: &str, port: u16) -> Self {
        let addr = if name.starts_with('/') {
            HostAddr::Unix(PathBuf::from(name))
        } else {
            HostAddr::Name(name.to_owned())
        };
        Self { addr, port }
    }

    /// The default host: an existing local socket, else `localhost`.
    pub(crate) fn local(port: u16) -> Self {
        let existing = |dir: &&str| socket_path(Path::new(dir), port).exists();
        let name = Self::SOCKET_DIRECTORIES.into_iter().find(existing).unwrap_or("localhost");
        Self::named(name, port)
    }

    /// The socket's file; `None` for TCP.
    pub(crate) fn socket_path(&self) -> Option<PathBuf> {
        match &self.addr {
            HostAddr::Unix(dir) => Some(socket_path(dir, self.port)),
            HostAddr::Name(_) | HostAddr::Address { .. } => None,
        }
    }

    /// The name that a certificate must contain.
    pub(crate) fn certificate_name(&self) -> String {
        match &self.addr {
            HostAddr::Unix(_) => String::new(),
            HostAddr::Name(name) | HostAddr::Address { name: Some(name), .. } => name.clone(),
            HostAddr::Address { address, name: None } => address.to_string(),
        }
    }

    /// The name of the host in the password file.
    pub(crate) fn passfile_name(&self) -> String {
        match &self.addr {
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
        match &self.addr {
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
