//! The command line: one module per command.

mod check;
#[cfg(feature = "demo")]
pub mod demo;
#[cfg(feature = "demo")]
mod demo_command;
mod failure;
mod flags;
mod http_client;
mod logging;
mod output;
mod progress;
mod reload;
mod run;
mod session;
mod setup;
mod signals;
mod status;
mod tail;
mod teardown;
mod token;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::Environment;
use failure::CommandFailure;

/// Reports to applications which rows of their PostgreSQL database changed.
#[derive(Debug, Parser)]
#[command(name = "highwater", version, max_term_width = 100, subcommand_required = true)]
#[cfg_attr(feature = "demo", command(after_help = "Try it without a database: highwater demo"))]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Check(check::CheckArgs),
    Setup(setup::SetupArgs),
    Teardown(teardown::TeardownArgs),
    #[cfg(feature = "demo")]
    Demo(demo_command::DemoArgs),
    Tail(tail::TailArgs),
    Status(status::StatusArgs),
    Reload(reload::ReloadArgs),
    Token(token::TokenArgs),
    Verify(verify::VerifyArgs),
}

/// Exit codes of every command and their meaning.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (0, "Success. `run`, `tail` and `demo` end with it when SIGINT or SIGTERM stops them."),
    (1, "Failure. Standard error contains the reason and the remedy."),
    (2, "Invalid usage or configuration. Standard error lists everything that is wrong."),
];

/// The definition of the command line, for the reference documentation.
pub fn definition() -> clap::Command {
    CommandLine::command()
}

/// Runs the command that the process's arguments select and returns its exit code.
pub fn main() -> ExitCode {
    let command = CommandLine::parse().command;
    let environment = Environment::collect();
    // The TLS connections to PostgreSQL and those of reqwest use the process's default. An error
    // means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(Box::pin(execute(command, &environment)));
            // Dropping the runtime would wait for abandoned lookups of host names.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(CommandFailure::failed(format!("start the runtime: {error}"))),
    };
    outcome.map_or_else(CommandFailure::report, |()| ExitCode::SUCCESS)
}

async fn execute(command: Command, environment: &Environment) -> Result<(), CommandFailure> {
    match command {
        Command::Run(args) => run::run(args, environment).await,
        Command::Check(args) => check::run(args, environment).await,
        Command::Setup(args) => setup::run(args, environment).await,
        Command::Teardown(args) => teardown::run(args, environment).await,
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo_command::run(args, environment).await,
        Command::Tail(args) => tail::run(args, environment).await,
        Command::Status(args) => status::run(args, environment).await,
        Command::Reload(args) => reload::run(args, environment).await,
        Command::Token(args) => token::run(&args),
        Command::Verify(args) => verify::run(args, environment).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_description_and_an_example() {
        for mut command in CommandLine::command().get_subcommands().cloned() {
            let help = command.render_long_help().to_string();
            let example = format!("highwater {}", command.get_name());
            let after = help.split("Example").nth(1).unwrap_or_default();
            assert!(after.contains(&example), "{help}");
            assert!(command.get_about().is_some(), "{help}");
        }
    }

    #[test]
    fn the_help_of_run_documents_every_key() {
        let mut command = CommandLine::command();
        let help = command.find_subcommand_mut("run").unwrap().render_long_help().to_string();
        for setting in crate::config::SETTINGS {
            assert!(help.contains(setting.key), "{}", setting.key);
        }
    }
}
