//! A bar on the terminal while tables are loaded as a whole, below the log's lines.

use std::convert::Infallible;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use tokio::time::{MissedTickBehavior, interval};
use tracing_subscriber::fmt::MakeWriter;

use super::output::{counted, tame};
use crate::app::{Preloading, Preloads};

/// How far the copies are is looked at so often. What takes less time is never seen.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Where PostgreSQL has counted the rows, and where it has not.
const COUNTED: &str = "{prefix} [{bar:24}] {human_pos} of about {human_len} rows, {rate}{msg}";
const UNCOUNTED: &str = "{prefix} {human_pos} rows, {rate}{msg}";

/// Standard error: the log's lines, and a bar below them. Where it is no terminal no bar is drawn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terminal(MultiProgress);

impl Terminal {
    /// Shows how far the copies are until all are made, or until `work` is done.
    pub(crate) async fn show<T>(&self, preloads: Preloads, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            never = self.follow(|| preloads.now()) => match never {},
        }
    }

    async fn follow(&self, look: impl Fn() -> Preloading) -> Infallible {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shown: Option<CopyBar> = None;
        loop {
            looks.tick().await;
            match look() {
                Preloading::NotYet => {}
                Preloading::Copying { table, rows, estimate, left } => {
                    if shown.as_ref().is_none_or(|bar| bar.table != table) {
                        shown = None;
                    }
                    let bar = shown.get_or_insert_with(|| CopyBar::new(&self.0, table));
                    bar.is_at(rows, estimate, left);
                }
                Preloading::Done => {
                    drop(shown);
                    return std::future::pending().await;
                }
            }
        }
    }
}

/// The bar of one table, on the screen as long as it lives.
struct CopyBar {
    table: String,
    bar: ProgressBar,
}

impl CopyBar {
    fn new(all: &MultiProgress, table: String) -> Self {
        let bar = all.add(ProgressBar::no_length());
        bar.set_prefix(tame(&table));
        Self { table, bar }
    }

    fn is_at(&self, rows: u64, estimate: u64, left: usize) {
        if left > 1 {
            self.bar.set_message(format!("; then {}", counted(left - 1, "table")));
        }
        if estimate > 0 {
            // It was counted a while ago.
            self.bar.set_length(estimate.max(rows));
        }
        let template = if estimate > 0 { COUNTED } else { UNCOUNTED };
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

/// Over all its time, as in the log.
fn rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let seconds = state.elapsed().max(LOOK_INTERVAL).as_secs_f64();
    // What can't be written is not shown.
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

    /// What was drawn last.
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

    /// What is on the screen before the first look, and after each.
    async fn drawn(looks: Vec<Preloading>) -> Vec<String> {
        let screen = ProgressScreen::default();
        let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
        let terminal = Terminal(MultiProgress::with_draw_target(target));
        let drawn = Mutex::new(Vec::new());
        let draw = || drawn.lock().push(screen.0.lock().trim().to_owned());
        let looks = Mutex::new(looks.into_iter());
        let look = || {
            draw();
            looks.lock().next().unwrap_or(Preloading::Done)
        };
        assert!(timeout(Duration::from_mins(1), terminal.follow(look)).await.is_err());
        draw();
        drawn.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn a_bar_is_drawn_for_the_table_that_is_being_copied_and_goes_when_it_is_done() {
        let looks = vec![
            Preloading::NotYet,
            copying("items", 0, 0, 2),
            copying("items", 5_000, 10_000, 2),
            copying("items", 12_000, 10_000, 2),
            copying("us\u{1b}ers", 7, 0, 1),
        ];
        let drawn = drawn(looks).await;
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
