//! `highwater run`.

use clap::Args;

use super::failure::Failure;
use super::flags::{DatabaseFlags, ServiceFlags};
use super::logging;
use crate::app;
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

pub(crate) async fn run(args: RunArgs, environment: &Environment) -> Result<(), Failure> {
    let config = args.database.load(args.service, environment)?;
    logging::install(&config.logging);
    app::run(config).await.map_err(|error| Failure::failed(format!("{error:#}")))
}
