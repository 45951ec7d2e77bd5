//! The tasks that keep cached rows: loads, copies, consistency checks.

use std::sync::Arc;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::database::loader::{LoaderOptions, PgLoader};
use crate::store::{CheckPace, Store};

/// Starts the load workers, the preloader and the consistency checker.
pub(super) fn spawn(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    store: &Store,
    options: LoaderOptions,
    pace: Option<CheckPace>,
    shutdown: &CancellationToken,
) {
    let workers = options.max_connections;
    let loader = Arc::new(PgLoader::new(options));
    for _ in 0..workers {
        let work = store.load_worker().run(loader.clone(), shutdown.clone());
        tasks.spawn(async {
            work.await;
            Ok(())
        });
    }
    let copies = store.preloader().run(loader.clone(), shutdown.clone());
    tasks.spawn_blocking(move || block_thread(copies));
    let checks = store.checker(pace).run(loader.clone(), shutdown.clone());
    tasks.spawn_blocking(move || block_thread(checks));
    let token = shutdown.clone();
    tasks.spawn(async move {
        token.run_until_cancelled(loader.close_idle()).await;
        Ok(())
    });
}

/// Blocks the calling thread: rendering or comparing millions of rows on the main runtime would delay
/// requests.
fn block_thread(work: impl Future<Output = ()>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime for rows")?;
    runtime.block_on(work);
    runtime.shutdown_background();
    Ok(())
}
