//! Log lines on standard error, above the progress bar.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::progress::Terminal;
use crate::config::{LogFormat, LoggingConfig};

/// Installs the subscriber of the process, unless there is one already. Returns the terminal to which
/// it writes.
pub(crate) fn install(logging: &LoggingConfig) -> Terminal {
    // The configuration has validated the filter.
    let filter = logging.level.parse();
    let filter = filter.unwrap_or_else(|_| Targets::new().with_default(LevelFilter::ERROR));
    let terminal = Terminal::default();
    let colour = std::io::stderr().is_terminal()
        && anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let lines = tracing_subscriber::fmt::layer().with_writer(terminal.clone());
    let registry = tracing_subscriber::registry().with(filter);
    let installed = match logging.format {
        LogFormat::Text => registry.with(lines.with_ansi(colour)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    drop(installed);
    terminal
}

/// For commands that print a result: warnings only.
pub(crate) fn install_quiet() -> Terminal {
    install(&LoggingConfig { format: LogFormat::Text, level: "warn".into() })
}
