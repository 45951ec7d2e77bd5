//! The benchmarks: one program with one command per benchmark; without a command it runs all of them.
//!
//! ```console
//! $ cargo bench                                  # all, with default sizes
//! $ cargo bench -- --only drain,polls            # some
//! $ cargo bench -- drain --rows 400000 --runs 3  # one, with other sizes
//! $ cargo bench -- --quick                       # smallest sizes: checks that all run
//! ```
//!
//! Every benchmark compares Highwater with a yardstick in one run on one machine, alternating, on a
//! private PostgreSQL of its own; its result is the ratio of the medians. Figures go to
//! `target/bench/NAME.json`, plots to `target/bench/plots`, the log of the service to
//! `target/bench/service.log`.

mod django;
mod drain;
mod fanout;
mod giant;
mod growth;
mod ingest;
mod latency;
mod log;
mod mixed;
mod polls;
mod preload;
mod rows;
mod store;
mod suite;
mod support;

use clap::{Parser, Subcommand};

use support::bare::Bare;
use support::clients::Clients;
use support::load::WriteLoad;
use support::{Common, block_on};

#[derive(Parser)]
#[command(name = "cargo bench --")]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    suite: suite::Options,
    #[command(subcommand)]
    command: Option<BenchCommand>,
}

#[derive(Subcommand)]
enum BenchCommand {
    /// Rate at which a backlog is drained from a slot
    Drain(drain::Options),
    /// Delay from COMMIT to the client
    Latency(latency::Options),
    /// Polls per second
    Polls(polls::Options),
    /// Memory and time of the version log
    Log(log::Options),
    /// Delay from COMMIT to the last of thousands of clients
    Fanout(fanout::Options),
    /// Commits, polls and waiting clients at the same time
    Mixed(mixed::Options),
    /// One giant commit beside small ones
    Giant(giant::Options),
    /// Growth of poll time, apply time and memory with ids and tables
    Growth(growth::Options),
    /// Cost of one change without a network or a server
    Ingest,
    /// Rate at which a table is read, and time until it is served
    Preload(preload::Options),
    /// Row cache hits per second, and memory of a cached row
    Rows(rows::Options),
    /// Whole tables in one response
    Store(store::Options),
    /// Comparison with Django REST framework
    Django(django::Options),

    /// The load generator, a separate process.
    #[command(hide = true)]
    Load(WriteLoad),
    /// The server to compare with, a separate process.
    #[command(hide = true)]
    Bare(Bare),
    /// Waiting or polling clients, a separate process.
    #[command(hide = true)]
    Clients(Clients),
    /// The broadcast server, a separate process.
    #[command(hide = true)]
    Broadcast,
    /// The reader to compare with, a separate process.
    #[command(hide = true)]
    Reader(drain::reader::MinimalReader),
}

fn main() -> anyhow::Result<()> {
    let Arguments { common, suite, command } = Arguments::parse();
    match &command {
        Some(BenchCommand::Load(load)) => return load.run_here(),
        Some(BenchCommand::Bare(bare)) => return bare.serve(),
        Some(BenchCommand::Reader(reader)) => return reader.run(),
        Some(BenchCommand::Clients(clients)) => return clients.run(),
        Some(BenchCommand::Broadcast) => return fanout::Broadcast::serve(),
        _ if !common.bench => {
            println!("nothing is measured; run: cargo bench");
            return Ok(());
        }
        _ => {}
    }
    match command {
        None => suite.run(&common),
        Some(BenchCommand::Drain(options)) => block_on(drain::run(&common, &options)),
        Some(BenchCommand::Latency(options)) => block_on(latency::run(&common, &options)),
        Some(BenchCommand::Polls(options)) => block_on(polls::run(&common, &options)),
        Some(BenchCommand::Fanout(options)) => block_on(fanout::run(&common, &options)),
        Some(BenchCommand::Mixed(options)) => block_on(mixed::run(&common, &options)),
        Some(BenchCommand::Giant(options)) => block_on(giant::run(&common, &options)),
        Some(BenchCommand::Log(options)) => log::run(&options),
        Some(BenchCommand::Growth(options)) => growth::run(&options),
        Some(BenchCommand::Ingest) => {
            ingest::run();
            Ok(())
        }
        Some(BenchCommand::Preload(options)) => block_on(preload::run(&common, &options)),
        Some(BenchCommand::Rows(options)) => block_on(rows::run(&common, &options)),
        Some(BenchCommand::Store(options)) => block_on(store::run(&common, &options)),
        Some(BenchCommand::Django(options)) => block_on(django::run(&common, &options)),
        // Processes started by another command: handled above.
        Some(_) => Ok(()),
    }
}
