//! Log lines on standard error, above what else is shown there.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;

use super::progress::Terminal;
use crate::config::{LogFormat, LoggingConfig};

/// Installs the process's subscriber. Nothing happens when there is one. Answers with the terminal that
/// its lines appear on.
pub(crate) fn install(logging: &LoggingConfig) -> Terminal {
    // The configuration has checked the filter.
    let filter = EnvFilter::try_new(&logging.level).unwrap_or_default();
    let terminal = Terminal::default();
    let builder =
        SubscriberBuilder::default().with_env_filter(filter).with_writer(terminal.clone());
    let colour = std::io::stderr().is_terminal()
        && anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let installed = match logging.format {
        LogFormat::Text => builder.with_ansi(colour).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    drop(installed);
    terminal
}

/// For commands whose output is the answer: warnings only.
pub(crate) fn install_quiet() -> Terminal {
    install(&LoggingConfig { format: LogFormat::Text, level: "warn".into() })
}
