//! The database sessions of the demo that change the shop's rows.

use tokio_postgres::Client;

/// One session for each of the parties that write to the shop's database.
pub(crate) struct Actors {
    pub(crate) application: Client,
    /// A party that is not the application: a script, a colleague's psql.
    pub(crate) second: Client,
    /// The person who presses the buttons in the browser.
    pub(crate) visitor: Client,
}
