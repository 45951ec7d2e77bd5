//! `highwater setup`.

use std::io::Write;

use clap::Args;
use tokio_postgres::Client;

use super::failure::CommandFailure;
use super::flags::{DatabaseFlags, ServiceFlags};
use super::output::{BOLD, DIM, GREEN, YELLOW, paint, tame};
use super::session::with_client;
use crate::config::{Config, Environment};
use crate::database::setup::{self, PublishedSelection, SetupPlan, SetupRequest};

/// Print the SQL that sets the database up, or run it
///
/// Creates what is missing of publication and slot, and leaves alone what is there: running it twice
/// is running it once. Without --apply nothing is changed, and what is printed can be piped to psql.
/// What would make the application's own writes fail is printed with a warning, but not run.
///
/// Without --tables, --schemas or --all-tables every table is published that is there now, has a key
/// and belongs to the role connected as (for a superuser: to anyone).
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  highwater setup --url postgres://postgres@db/app\n  \
                  highwater setup --url postgres://postgres@db/app --tables items,users --role highwater --apply")]
pub(crate) struct SetupArgs {
    #[command(flatten)]
    database: DatabaseFlags,
    /// Run the SQL instead of printing it
    #[arg(long)]
    apply: bool,
    /// Create this role for Highwater, too; set its password in psql with \password
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// Publish these tables; added to a publication that exists
    #[arg(long, value_name = "TABLES", value_delimiter = ',', conflicts_with_all = ["schemas", "all_tables"])]
    tables: Vec<String>,
    /// Publish every table of these schemas, also later ones (superusers only)
    #[arg(long, value_name = "SCHEMAS", value_delimiter = ',', conflicts_with = "all_tables")]
    schemas: Vec<String>,
    /// Publish every table, also later ones (superusers only)
    #[arg(long)]
    all_tables: bool,
    /// Let changed definitions announce themselves in the change stream (superusers only)
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
        rows: config.rows.clone(),
        // A temporary one cannot be created ahead.
        slot: (!postgres.temporary_slot).then(|| postgres.slot.clone()),
        event_trigger: args.event_trigger,
    };
    with_client(&config, async |client| {
        let plan = setup::plan(client, &postgres.target.display_name(), &request).await?;
        if args.apply {
            refuse_harm(&plan)?;
            return apply(client, &plan, Wording::SETUP).await;
        }
        let mut out = anstream::stdout();
        print(&mut out, &config, &plan)?;
        if request.role.is_none() {
            writeln!(out, "\n-- For a role of Highwater's own, with no other rights: --role NAME")?;
        }
        Ok(())
    })
    .await
}

/// The database comes first: a publication that breaks the application is its owner's to create.
fn refuse_harm(plan: &SetupPlan) -> Result<(), CommandFailure> {
    if plan.dangers.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = plan.dangers.iter().map(|danger| tame(danger)).collect();
    lines.push(
        "nothing was changed; should you mean it, run what is printed without --apply".into(),
    );
    Err(CommandFailure::Failed(lines.join("\n")))
}

/// What is said of a step that is done, and of one that was not needed.
#[derive(Clone, Copy)]
pub(super) struct Wording {
    pub(super) done: &'static str,
    pub(super) not_needed: &'static str,
}

impl Wording {
    const SETUP: Self = Self { done: "set up", not_needed: "already there" };
    pub(super) const TEARDOWN: Self = Self { done: "dropped", not_needed: "not there" };
}

/// Runs the steps, telling each as it is done.
pub(super) async fn apply(
    client: &Client,
    plan: &SetupPlan,
    wording: Wording,
) -> Result<(), CommandFailure> {
    let mut out = anstream::stdout();
    for remark in &plan.remarks {
        writeln!(out, "{} {}", paint(YELLOW, "!"), tame(remark))?;
    }
    for step in &plan.steps {
        setup::run(client, step).await?;
        let what = paint(BOLD, tame(&step.what));
        match step.statement {
            Some(_) => writeln!(out, "{} {what} {}", paint(GREEN, "✓"), wording.done)?,
            None => writeln!(out, "{} {what} {}", paint(DIM, "="), paint(DIM, wording.not_needed))?,
        }
    }
    Ok(())
}

/// Prints the SQL; everything else is a comment in it.
pub(super) fn print(
    out: &mut impl Write,
    config: &Config,
    plan: &SetupPlan,
) -> Result<(), CommandFailure> {
    writeln!(out, "-- For {}", tame(&config.postgres.target.display_name()))?;
    for remark in &plan.remarks {
        writeln!(out, "-- {}", tame(remark))?;
    }
    for danger in &plan.dangers {
        writeln!(out, "-- CAREFUL: {}", tame(danger))?;
    }
    for step in &plan.steps {
        match &step.statement {
            Some(statement) => write!(out, "\n{statement}")?,
            None => writeln!(out, "\n-- {}: nothing to do", tame(&step.what))?,
        }
    }
    Ok(())
}
