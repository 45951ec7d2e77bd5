//! `highwater teardown`.

use clap::Args;

use super::failure::CommandFailure;
use super::flags::{DatabaseFlags, ServiceFlags};
use super::session::with_client;
use super::setup::{Wording, apply, print};
use crate::config::Environment;
use crate::database::setup;

/// Drop the replication slot, the publication and the event trigger
///
/// Stop Highwater first: nothing is dropped while the slot is in use. Tables and roles are not
/// changed. An unused slot retains WAL until the disk is full, so run this when you remove Highwater.
#[derive(Debug, Args)]
#[command(after_help = "Example: highwater teardown --url postgres://postgres@db/app --dry-run")]
pub(crate) struct TeardownArgs {
    #[command(flatten)]
    database: DatabaseFlags,
    /// Drop the slot only, for which the role of the service has sufficient rights
    #[arg(long)]
    keep_publication: bool,
    /// Print the SQL instead of running it
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(
    args: TeardownArgs,
    environment: &Environment,
) -> Result<(), CommandFailure> {
    let config = args.database.load(ServiceFlags::default(), environment)?;
    super::logging::install_quiet();
    let postgres = &config.postgres;
    with_client(&config, async |client| {
        let publication = (!args.keep_publication).then_some(postgres.publication.as_str());
        let plan = setup::plan_teardown(client, publication, &postgres.slot).await?;
        if args.dry_run {
            return print(&mut anstream::stdout(), &config, &plan);
        }
        apply(client, &plan, Wording::TEARDOWN).await
    })
    .await
}
