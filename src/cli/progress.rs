//! A progress bar for preloads, below the log lines.

use std::convert::Infallible;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use tokio::time::{MissedTickBehavior, interval};
use tracing_subscriber::fmt::MakeWriter;

use super::output::{escape_control, pluralize};
use crate::app::{Preloading, Preloads};

/// Refresh interval. Copies that finish sooner show no bar.
const REFRESH_INTERVAL: Duration = Duration::from_millis(200);

/// With and without PostgreSQL's estimate of the number of rows.
const ESTIMATED: &str = "{prefix} [{bar:24}] {human_pos} of about {human_len} rows, {rate}{msg}";
const NOT_ESTIMATED: &str = "{prefix} {human_pos} rows, {rate}{msg}";

/// Standard error: log lines, and a bar below them. Without a terminal no bar is drawn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terminal(MultiProgress);

impl Terminal {
    /// Shows the progress of `preloads` until all are loaded, or until `work` ends.
    pub(crate) async fn show<T>(&self, preloads: Preloads, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            never = self.follow(|| preloads.now()) => match never {},
        }
    }

    async fn follow(&self, progress: impl Fn() -> Preloading) -> Infallible {
        let mut ticks = interval(REFRESH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shown: Option<CopyBar> = None;
        loop {
            ticks.tick().await;
            match progress() {
                Preloading::NotStarted => {}
                Preloading::Copying { table, rows, estimate, left } => {
                    if shown.as_ref().is_none_or(|bar| bar.table != table) {
                        shown = None;
                    }
                    let bar = shown.get_or_insert_with(|| CopyBar::new(&self.0, table));
                    bar.update(rows, estimate, left);
                }
                Preloading::Done => {
                    drop(shown);
                    return std::future::pending().await;
                }
            }
        }
    }
}

/// The bar of one table; it disappears when dropped.
struct CopyBar {
    table: String,
    bar: ProgressBar,
}

impl CopyBar {
    fn new(all: &MultiProgress, table: String) -> Self {
        let bar = all.add(ProgressBar::no_length());
        bar.set_prefix(escape_control(&table));
        Self { table, bar }
    }

    fn update(&self, rows: u64, estimate: u64, left: usize) {
        if left > 1 {
            self.bar.set_message(format!("; then {}", pluralize(left - 1, "table")));
        }
        if estimate > 0 {
            // The estimate may be outdated.
            self.bar.set_length(estimate.max(rows));
        }
        let template = if estimate > 0 { ESTIMATED } else { NOT_ESTIMATED };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("#> ").with_key("rate", rate));
        }
        self.bar.set_position(rows);
        self.bar.tick();
    }
}

impl Drop for CopyBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Average since the start of the copy, as in the log.
fn rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let seconds = state.elapsed().max(REFRESH_INTERVAL).as_secs_f64();
    // An error would only hide the rate.
    let _ = write!(out, "{:.0} a second", state.pos() as f64 / seconds);
}

impl<'a> MakeWriter<'a> for Terminal {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use indicatif::{ProgressDrawTarget, TermLike};
    use parking_lot::Mutex;
    use tokio::time::timeout;

    use super::*;

    /// Records what was drawn last.
    #[derive(Clone, Debug, Default)]
    struct ProgressScreen(Arc<Mutex<String>>);

    impl TermLike for ProgressScreen {
        fn width(&self) -> u16 {
            100
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.0.lock().clear();
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn copying(table: &str, rows: u64, estimate: u64, left: usize) -> Preloading {
        Preloading::Copying { table: table.into(), rows, estimate, left }
    }

    /// The screen before the first refresh and after each.
    async fn drawn(states: Vec<Preloading>) -> Vec<String> {
        let screen = ProgressScreen::default();
        let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
        let terminal = Terminal(MultiProgress::with_draw_target(target));
        let drawn = Mutex::new(Vec::new());
        let draw = || drawn.lock().push(screen.0.lock().trim().to_owned());
        let states = Mutex::new(states.into_iter());
        let progress = || {
            draw();
            states.lock().next().unwrap_or(Preloading::Done)
        };
        assert!(timeout(Duration::from_mins(1), terminal.follow(progress)).await.is_err());
        draw();
        drawn.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn a_bar_is_shown_for_the_active_copy_and_removed_when_it_is_done() {
        let states = vec![
            Preloading::NotStarted,
            copying("items", 0, 0, 2),
            copying("items", 5_000, 10_000, 2),
            copying("items", 12_000, 10_000, 2),
            copying("us\u{1b}ers", 7, 0, 1),
        ];
        let drawn = drawn(states).await;
        let starts = [
            "",
            "",
            "items 0 rows, 0 a second; then 1 table",
            "items [############>           ] 5,000 of about 10,000 rows, ",
            "items [########################] 12,000 of about 12,000 rows, ",
            "us\\u{1b}ers 7 rows, ",
            "",
        ];
        assert_eq!(drawn.len(), starts.len());
        for (drawn, start) in drawn.iter().zip(starts) {
            assert!(drawn.starts_with(start), "{drawn:?} is not {start:?}");
        }
        assert!(drawn[3].ends_with(" a second; then 1 table"), "{drawn:?}");
        assert!(drawn[5].ends_with(" a second") && drawn[6].is_empty(), "{drawn:?}");
    }
}
