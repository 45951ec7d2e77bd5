//! The listeners, and the certificate they show.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::http::{self, Certificates, Look, Offer, ServerOptions};
use crate::metrics::Metrics;

/// The certificate's files are looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// The certificate that is configured, if one is.
pub(super) fn certificates(config: &Config) -> anyhow::Result<Option<Certificates>> {
    let files = config.http.tls.as_ref();
    files.map(Certificates::load).transpose().context("set up TLS")
}

/// What listeners are started with.
pub(super) struct Listeners<'a> {
    pub(super) tasks: &'a mut JoinSet<anyhow::Result<()>>,
    pub(super) options: &'a ServerOptions,
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
        let served =
            http::serve(listener, Offer { router, options, tls, metrics }, self.shutdown.clone());
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
            Look::Same => {}
            Look::Replaced => tell(&certificates, &metrics),
            Look::Refused(error) => tracing::error!(
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
    metrics.tls_certificate_expires.with_label_values::<&str>(&[]).set(seconds);
    let until = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    if until < Timestamp::now() {
        tracing::warn!(%until, "the TLS certificate has expired: clients will refuse it");
    } else {
        tracing::info!(%until, "TLS certificate in use");
    }
}
