//! `highwater demo`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::demo::{self, DemoOptions, PAUSE_DEFAULT, ServiceRequest};
use super::failure::CommandFailure;
use super::progress::Terminal;
use super::{logging, signals};
use crate::app::App;
use crate::config::{Config, Environment, Flag, Sources};
use crate::temp_postgres::{FindOptions, cache_directory};

/// Watch it work: no database needed
///
/// Starts a private PostgreSQL with a small shop in it, runs the service, changes rows in the ways that
/// other means of invalidation miss, and prints what was committed and what a client received. Without
/// PostgreSQL on this machine its programs are downloaded into the user's cache directory; nothing is
/// installed. At the end the private server and its files are deleted.
#[derive(Debug, Args)]
#[command(after_help = "Example: highwater demo --for 20s")]
pub(crate) struct DemoArgs {
    /// End after this time [default: at Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    run_for: Option<Duration>,
    /// Loopback address to listen on [default: 127.0.0.1:8080, or a free port]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

pub(crate) async fn run(args: DemoArgs, environment: &Environment) -> Result<(), CommandFailure> {
    let terminal = logging::install_quiet();
    let options = DemoOptions {
        find: find_options(environment)?,
        listen: args.listen.unwrap_or(LISTEN_DEFAULT),
        any_port: args.listen.is_none(),
        run_for: args.run_for,
        pause: PAUSE_DEFAULT,
    };
    let out = anstream::stdout();
    let serve = move |request, stop| serve(request, stop, terminal);
    let demo = demo::run(options, signals::terminated(), out, serve);
    Box::pin(demo).await.map_err(CommandFailure::failed)
}

/// Runs the service with the demo's configuration; environment and files are ignored.
async fn serve(
    request: ServiceRequest,
    stop: CancellationToken,
    terminal: Terminal,
) -> anyhow::Result<()> {
    let setting = |key, value: &str| Flag { flag: "the demo", key, value: value.to_owned() };
    let mut flags = vec![
        setting("postgres.url", &request.database_url),
        setting("postgres.publication", request.publication),
        setting("postgres.slot", request.slot),
    ];
    flags.extend(request.row_cache_settings.iter().map(|(key, value)| setting(key, value)));
    let sources = Sources { flags, ..Sources::default() };
    let config = Config::load(&sources)?;
    let app = App::on(&config, request.listener, None)?;
    let preloads = app.preloads();
    let running = app.with_pages(request.pages, request.console_head).run(stop);
    terminal.show(preloads, running).await
}

fn find_options(environment: &Environment) -> Result<FindOptions, CommandFailure> {
    let (cache, home) = (environment.path("XDG_CACHE_HOME"), environment.home());
    let cache =
        cache_directory(cache.as_deref(), home.as_deref()).map_err(CommandFailure::failed)?;
    Ok(FindOptions {
        bin_dir: environment.path("HIGHWATER_PG_BIN"),
        path: environment.path("PATH").map(Into::into),
        cache_dir: Some(cache),
        major: None,
    })
}
