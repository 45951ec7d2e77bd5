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
/// touched. A slot that nobody reads keeps WAL until the disk is full, so do this when you leave.
#[derive(Debug, Args)]
#[command(after_help = "Example: highwater teardown --url postgres://postgres@db/app --dry-run")]
pub(crate) struct TeardownArgs {
    #[command(flatten)]
    database: DatabaseFlags,
    /// Drop the slot only, which the role that runs the service may do
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
