//! The listeners, and the certificate they show.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::http::{self, Certificates, HttpServerOptions, ListenerConfig, ReloadOutcome};
use crate::metrics::Metrics;

/// The certificate's files are looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Connections that may wait to be accepted, where `net.core.somaxconn` allows as many (`listen(2)`).
/// A client beyond that tries again only after a second, and after a restart all of them come at once.
const BACKLOG: u32 = 4096;

/// Listens there; `flag` chooses another address.
pub(super) fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    listen(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "listen on {address}: the port is in use; stop the other program or choose another with {flag}"
        ),
        _ => anyhow::anyhow!("listen on {address}: {error}"),
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of a process that just ended don't keep the address (`TIME_WAIT`).
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The certificate that is configured, if one is.
pub(super) fn certificates(config: &Config) -> anyhow::Result<Option<Certificates>> {
    let files = config.http.tls.as_ref();
    files.map(Certificates::load).transpose().context("set up TLS")
}

/// What listeners are started with.
pub(super) struct Listeners<'a> {
    pub(super) tasks: &'a mut JoinSet<anyhow::Result<()>>,
    pub(super) options: &'a HttpServerOptions,
    pub(super) certificates: Option<&'a Certificates>,
    pub(super) metrics: &'a Metrics,
    pub(super) shutdown: &'a CancellationToken,
}

impl Listeners<'_> {
    /// For clients.
    pub(super) fn serve(&mut self, listener: TcpListener, router: Router) -> anyhow::Result<()> {
        let tls = self.certificates.cloned();
        tracing::info!(address = %listener.local_addr()?, tls = tls.is_some(), "listening");
        self.spawn(listener, router, tls);
        Ok(())
    }

    /// For operators. In clear text on a loopback address: probes and scrapers of the same machine
    /// know the service by an address that no certificate names.
    pub(super) fn serve_operators(
        &mut self,
        listener: TcpListener,
        router: Router,
    ) -> anyhow::Result<()> {
        let address = listener.local_addr()?;
        let apart = !address.ip().to_canonical().is_loopback();
        let tls = self.certificates.filter(|_| apart).cloned();
        tracing::info!(%address, tls = tls.is_some(), "listening for operators");
        self.spawn(listener, router, tls);
        Ok(())
    }

    fn spawn(&mut self, listener: TcpListener, router: Router, tls: Option<Certificates>) {
        let (options, metrics) = (self.options.clone(), self.metrics.clone());
        let served = http::serve(
            listener,
            ListenerConfig { router, options, tls, metrics },
            self.shutdown.clone(),
        );
        self.tasks.spawn(async {
            served.await;
            Ok(())
        });
    }

    /// Takes a new certificate when there is one.
    pub(super) fn watch_certificates(&mut self, read_again: Arc<Notify>) {
        let Some(certificates) = self.certificates.cloned() else { return };
        tell(&certificates, self.metrics);
        let (metrics, shutdown) = (self.metrics.clone(), self.shutdown.clone());
        self.tasks.spawn(async move {
            let watching = watch(certificates, metrics, &read_again);
            shutdown.run_until_cancelled(watching).await.transpose().map(|_| ())
        });
    }
}

/// Looks at the files now and then, and when asked to.
async fn watch(
    certificates: Certificates,
    metrics: Metrics,
    read_again: &Notify,
) -> anyhow::Result<()> {
    loop {
        // Elapsed or notified: both mean to look.
        let _ = tokio::time::timeout(LOOK_INTERVAL, read_again.notified()).await;
        let looking = certificates.clone();
        let look = tokio::task::spawn_blocking(move || looking.look()).await;
        match look.context("look at the certificate")? {
            ReloadOutcome::Same => {}
            ReloadOutcome::Replaced => tell(&certificates, &metrics),
            ReloadOutcome::Refused(error) => tracing::error!(
                %error,
                "the new certificate can't be used, so the old one stays in use; mend the files, \
                 they are looked at again within {LOOK_INTERVAL:?}"
            ),
        }
    }
}

/// Says until when the certificate is valid.
fn tell(certificates: &Certificates, metrics: &Metrics) {
    let seconds = certificates.valid_until();
    metrics.tls_certificate_expiry.with_label_values::<&str>(&[]).set(seconds);
    let until = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    if until < Timestamp::now() {
        tracing::warn!(%until, "the TLS certificate has expired: clients will refuse it");
    } else {
        tracing::info!(%until, "TLS certificate in use");
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_crowd_need_not_be_accepted_one_by_one() {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into(), "--listen").unwrap();
        let address = listener.local_addr().unwrap();
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(900));
        let crowd: Result<Vec<_>, _> = (0..1000).map(connect).collect();
        assert_eq!(crowd.unwrap().len(), 1000);
    }

    #[tokio::test]
    async fn a_port_in_use_is_told_with_the_flag_that_chooses_another() {
        let first = bind((Ipv4Addr::LOCALHOST, 0).into(), "--listen").unwrap();
        let error = bind(first.local_addr().unwrap(), "--listen").unwrap_err();
        assert!(error.to_string().ends_with("choose another with --listen"), "{error}");
    }
}
