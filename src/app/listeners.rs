//! The listeners and their certificate.

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

/// Interval between checks of the certificate's files.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// Length of the accept queue; `net.core.somaxconn` may limit it further (`listen(2)`). A client
/// beyond it retries only after a second, and after a restart all clients connect at once.
const BACKLOG: u32 = 4096;

/// `flag` is the flag that selects another address, for the error.
pub(super) fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    listen(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "listen on {address}: the port is in use; stop the other program or select another port with {flag}"
        ),
        _ => anyhow::anyhow!("listen on {address}: {error}"),
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Otherwise connections of a previous process block the address (`TIME_WAIT`).
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The configured certificate; `None` without TLS.
pub(super) fn certificates(config: &Config) -> anyhow::Result<Option<Certificates>> {
    let files = config.http.tls.as_ref();
    files.map(Certificates::load).transpose().context("set up TLS")
}

/// The context in which listeners are started.
pub(super) struct Listeners<'a> {
    pub(super) tasks: &'a mut JoinSet<anyhow::Result<()>>,
    pub(super) options: &'a HttpServerOptions,
    pub(super) certificates: Option<&'a Certificates>,
    pub(super) metrics: &'a Metrics,
    pub(super) shutdown: &'a CancellationToken,
}

impl Listeners<'_> {
    /// Starts the listener for clients.
    pub(super) fn serve(&mut self, listener: TcpListener, router: Router) -> anyhow::Result<()> {
        let tls = self.certificates.cloned();
        tracing::info!(address = %listener.local_addr()?, tls = tls.is_some(), "listening");
        self.spawn(listener, router, tls);
        Ok(())
    }

    /// Starts the admin listener. It uses clear text on a loopback address: probes and scrapers on the
    /// same machine address the service by a name that no certificate contains.
    pub(super) fn serve_admin(
        &mut self,
        listener: TcpListener,
        router: Router,
    ) -> anyhow::Result<()> {
        let address = listener.local_addr()?;
        let is_remote = !address.ip().to_canonical().is_loopback();
        let tls = self.certificates.filter(|_| is_remote).cloned();
        tracing::info!(%address, tls = tls.is_some(), "listening for admin requests");
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

    /// Reloads the certificate when its files change.
    pub(super) fn watch_certificates(&mut self, reload: Arc<Notify>) {
        let Some(certificates) = self.certificates.cloned() else { return };
        report_expiry(&certificates, self.metrics);
        let (metrics, shutdown) = (self.metrics.clone(), self.shutdown.clone());
        self.tasks.spawn(async move {
            let watching = watch(certificates, metrics, &reload);
            shutdown.run_until_cancelled(watching).await.transpose().map(|_| ())
        });
    }
}

/// Checks the files at an interval and on request.
async fn watch(
    certificates: Certificates,
    metrics: Metrics,
    reload: &Notify,
) -> anyhow::Result<()> {
    loop {
        // Elapsed or notified: both mean to check.
        let _ = tokio::time::timeout(RELOAD_INTERVAL, reload.notified()).await;
        let checked = certificates.clone();
        let outcome = tokio::task::spawn_blocking(move || checked.reload()).await;
        match outcome.context("check the certificate")? {
            ReloadOutcome::Same => {}
            ReloadOutcome::Replaced => report_expiry(&certificates, &metrics),
            ReloadOutcome::Refused(error) => tracing::error!(
                %error,
                "failed to reload the TLS certificate; keeping the previous one; fix the files, they \
                 are checked again within {RELOAD_INTERVAL:?}"
            ),
        }
    }
}

/// Reports the certificate's expiry time as a metric and in the log.
fn report_expiry(certificates: &Certificates, metrics: &Metrics) {
    let seconds = certificates.expiry();
    metrics.tls_certificate_expiry.with_label_values::<&str>(&[]).set(seconds);
    let until = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    if until < Timestamp::now() {
        tracing::warn!(%until, "TLS certificate expired: clients will reject it");
    } else {
        tracing::info!(%until, "TLS certificate in use");
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_thousand_clients_connect_before_any_is_accepted() {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into(), "--listen").unwrap();
        let address = listener.local_addr().unwrap();
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(900));
        let clients: Result<Vec<_>, _> = (0..1000).map(connect).collect();
        assert_eq!(clients.unwrap().len(), 1000);
    }

    #[tokio::test]
    async fn the_error_for_a_port_in_use_names_the_flag() {
        let first = bind((Ipv4Addr::LOCALHOST, 0).into(), "--listen").unwrap();
        let error = bind(first.local_addr().unwrap(), "--listen").unwrap_err();
        assert!(error.to_string().ends_with("select another port with --listen"), "{error}");
    }
}
