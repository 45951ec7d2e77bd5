//! One SQL session for the length of a command.

use tokio_postgres::Client;

use super::failure::CommandFailure;
use crate::config::Config;
use crate::database;

/// Connects and runs `work` while driving the connection.
pub(crate) async fn with_client<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Client) -> Result<T, CommandFailure>,
) -> Result<T, CommandFailure> {
    let (client, driver) = Box::pin(database::connect(&config.postgres.target)).await?;
    let work = Box::pin(async {
        let outcome = work(&client).await;
        drop(client);
        outcome
    });
    // Both always end: the work fails when the connection is lost, and dropping the client ends the
    // driver after it has sent Terminate.
    let (outcome, ()) = tokio::join!(work, Box::pin(driver));
    outcome
}
