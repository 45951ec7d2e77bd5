//! `highwater run`.

use std::convert::Infallible;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::failure::CommandFailure;
use super::flags::{DatabaseFlags, ServiceFlags};
use super::signals::SighupStream;
use super::{logging, signals};
use crate::app::App;
use crate::config::{Environment, documentation};

/// Run the service
#[derive(Debug, Args)]
#[command(
    after_help = "Example: highwater run --url postgres://highwater@db/app --listen 127.0.0.1:8080",
    after_long_help = long_help()
)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    database: DatabaseFlags,
    #[command(flatten)]
    service: ServiceFlags,
}

fn long_help() -> String {
    let documentation = documentation();
    format!(
        "Examples:\n  highwater run --url postgres://highwater@db/app\n  \
         highwater run --config highwater.toml --listen 127.0.0.1:8080\n\n{documentation}"
    )
}

pub(crate) async fn run(args: RunArgs, environment: &Environment) -> Result<(), CommandFailure> {
    let config = args.database.load(args.service, environment)?;
    let terminal = logging::install(&config.logging);
    let terminated = signals::terminated();
    let mut hang_ups = SighupStream::catch();
    let serve = async {
        let app = App::build(&config)?;
        let shutdown = CancellationToken::new();
        let stopping = async {
            terminated.await;
            tracing::info!("stop requested");
            shutdown.cancel();
            std::future::pending::<Infallible>().await
        };
        let (reload, preloads) = (app.reload(), app.preloads());
        let reloading = async {
            loop {
                hang_ups.next().await;
                tracing::info!("reload of the TLS certificate requested");
                reload.notify_one();
            }
        };
        tokio::select! {
            ended = terminal.show(preloads, app.run(shutdown.clone())) => ended,
            never = reloading => never,
            never = stopping => match never {},
        }
    };
    Box::pin(serve).await.map_err(|error| CommandFailure::with_causes(&error))
}
