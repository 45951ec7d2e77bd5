//! Rows in memory: who asks the database for them.

use std::sync::Arc;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::database::loader::{LoaderOptions, PgLoader};
use crate::store::{CheckPace, Store};

/// How rows are read; `None` when no table's rows are held.
pub(super) fn loader_options(config: &Config) -> Option<LoaderOptions> {
    let usual = LoaderOptions::new(config.postgres.target.clone());
    let options = LoaderOptions {
        connections_max: config.cache.load_connections,
        statement_time_max: config.cache.load_timeout,
        silence_max: usual.silence_max.max(config.cache.load_timeout * 2),
        ..usual
    };
    (!config.rows.is_empty()).then_some(options)
}

/// Starts the loads and copies that `store` wants, and the checks at this pace.
pub(super) fn spawn(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    store: &Store,
    options: LoaderOptions,
    pace: Option<CheckPace>,
    shutdown: &CancellationToken,
) {
    let workers = options.connections_max;
    let loader = Arc::new(PgLoader::new(options));
    for _ in 0..workers {
        let work = store.load_worker().run(loader.clone(), shutdown.clone());
        tasks.spawn(async {
            work.await;
            Ok(())
        });
    }
    let copies = store.preloader().run(loader.clone(), shutdown.clone());
    tasks.spawn_blocking(move || on_this_thread(copies));
    let checks = store.checker(pace).run(loader.clone(), shutdown.clone());
    tasks.spawn_blocking(move || on_this_thread(checks));
    let token = shutdown.clone();
    tasks.spawn(async move {
        token.run_until_cancelled(loader.close_idle()).await;
        Ok(())
    });
}

/// Works on the calling thread: rendering or comparing millions of rows leaves no time for clients.
fn on_this_thread(work: impl Future<Output = ()>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime for rows")?;
    runtime.block_on(work);
    runtime.shutdown_background();
    Ok(())
}
