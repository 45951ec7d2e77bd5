//! `highwater setup`.

use std::io::Write;

use clap::Args;
use tokio_postgres::Client;

use super::failure::CommandFailure;
use super::flags::{DatabaseFlags, ServiceFlags};
use super::output::{BOLD, DIM, GREEN, YELLOW, escape_control, paint};
use super::session::with_client;
use crate::config::{Config, Environment};
use crate::database::setup::{self, PublishedSelection, SetupPlan, SetupRequest};

/// Print the SQL that sets up the database, or run it
///
/// Creates the publication and the slot if they are missing; idempotent. Without --apply nothing
/// changes, and the output can be piped to psql. Statements that would make the application's own
/// writes fail are printed with a warning, but not run.
///
/// Without --tables, --schemas or --all-tables the publication contains every table that exists now,
/// has a key and belongs to the connected role (for a superuser: to any role).
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  highwater setup --url postgres://postgres@db/app\n  \
                  highwater setup --url postgres://postgres@db/app --tables items,users --role highwater --apply")]
pub(crate) struct SetupArgs {
    #[command(flatten)]
    database: DatabaseFlags,
    /// Run the SQL instead of printing it
    #[arg(long)]
    apply: bool,
    /// Also create this role for Highwater; set its password in psql with \password
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// Publish these tables; they are added to an existing publication
    #[arg(long, value_name = "TABLES", value_delimiter = ',', conflicts_with_all = ["schemas", "all_tables"])]
    tables: Vec<String>,
    /// Publish every table of these schemas, including future ones (superusers only)
    #[arg(long, value_name = "SCHEMAS", value_delimiter = ',', conflicts_with = "all_tables")]
    schemas: Vec<String>,
    /// Publish every table, including future ones (superusers only)
    #[arg(long)]
    all_tables: bool,
    /// Install an event trigger that reports schema changes in the change stream (superusers only)
    #[arg(long)]
    event_trigger: bool,
}

pub(crate) async fn run(args: SetupArgs, environment: &Environment) -> Result<(), CommandFailure> {
    let tables = match (args.tables, args.schemas, args.all_tables) {
        (_, _, true) => PublishedSelection::All,
        (tables, _, _) if !tables.is_empty() => PublishedSelection::Tables(tables),
        (_, schemas, _) if !schemas.is_empty() => PublishedSelection::Schemas(schemas),
        _ => PublishedSelection::WithKeys,
    };
    let config = args.database.load(ServiceFlags::default(), environment)?;
    super::logging::install_quiet();
    let postgres = &config.postgres;
    let request = SetupRequest {
        role: args.role,
        publication: postgres.publication.clone(),
        tables,
        rows: postgres.rows.clone(),
        // A temporary slot exists only within the connection that creates it.
        slot: (!postgres.temporary_slot).then(|| postgres.slot.clone()),
        event_trigger: args.event_trigger,
    };
    with_client(&config, async |client| {
        let plan = setup::plan(client, &postgres.target.display_name(), &request).await?;
        if args.apply {
            reject_dangers(&plan)?;
            return apply(client, &plan, Wording::SETUP).await;
        }
        let mut out = anstream::stdout();
        print(&mut out, &config, &plan)?;
        if request.role.is_none() {
            writeln!(out, "\n-- For a separate role with no other rights: --role NAME")?;
        }
        Ok(())
    })
    .await
}

/// Refuses a plan that would break the application: only its owner may decide that.
fn reject_dangers(plan: &SetupPlan) -> Result<(), CommandFailure> {
    if plan.dangers.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = plan.dangers.iter().map(|danger| escape_control(danger)).collect();
    lines.push(
        "nothing was changed; to do it anyway, run the SQL that is printed without --apply".into(),
    );
    Err(CommandFailure::Failed(lines.join("\n")))
}

/// The words for a step that was run, and for one that was not needed.
#[derive(Clone, Copy)]
pub(super) struct Wording {
    pub(super) done: &'static str,
    pub(super) not_needed: &'static str,
}

impl Wording {
    const SETUP: Self = Self { done: "set up", not_needed: "already there" };
    pub(super) const TEARDOWN: Self = Self { done: "dropped", not_needed: "not there" };
}

/// Runs the steps and prints each when it is done.
pub(super) async fn apply(
    client: &Client,
    plan: &SetupPlan,
    wording: Wording,
) -> Result<(), CommandFailure> {
    let mut out = anstream::stdout();
    for remark in &plan.remarks {
        writeln!(out, "{} {}", paint(YELLOW, "!"), escape_control(remark))?;
    }
    for step in &plan.steps {
        setup::run(client, step).await?;
        let what = paint(BOLD, escape_control(&step.what));
        match step.statement {
            Some(_) => writeln!(out, "{} {what} {}", paint(GREEN, "✓"), wording.done)?,
            None => writeln!(out, "{} {what} {}", paint(DIM, "="), paint(DIM, wording.not_needed))?,
        }
    }
    Ok(())
}

/// Prints the plan as an SQL script; remarks are comments in it.
pub(super) fn print(
    out: &mut impl Write,
    config: &Config,
    plan: &SetupPlan,
) -> Result<(), CommandFailure> {
    writeln!(out, "-- For {}", escape_control(&config.postgres.target.display_name()))?;
    for remark in &plan.remarks {
        writeln!(out, "-- {}", escape_control(remark))?;
    }
    for danger in &plan.dangers {
        writeln!(out, "-- CAREFUL: {}", escape_control(danger))?;
    }
    for step in &plan.steps {
        match &step.statement {
            Some(statement) => write!(out, "\n{statement}")?,
            None => writeln!(out, "\n-- {}: nothing to do", escape_control(&step.what))?,
        }
    }
    Ok(())
}
