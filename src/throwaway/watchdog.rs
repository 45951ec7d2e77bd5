//! Ends the server when this process is gone, however it went.
//!
//! A shell waits to read a line from us. [`Watchdog::dismiss`] writes it; when we are killed, or
//! just exit (statics are never dropped), the pipe closes without a line and the shell stops the
//! server and removes its directory.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};

use super::account::{Account, command_as};
use super::error::ThrowawayError;

/// `$1` is the data directory, `$2` what is to be removed. Every postmaster writes its process id
/// to the first line of `postmaster.pid`, so restarts need not be told. SIGQUIT is the immediate
/// shutdown: the data is not wanted any more.
const SCRIPT: &str = r#"
if read -r line; then exit 0; fi
cd /
if read -r pid < "$1/postmaster.pid"; then
    kill -QUIT "$pid"
    tries=0
    while kill -0 "$pid" && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
fi
rm -rf "$2"
"#;

/// A process that outlives us for a moment.
pub(crate) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Starts watching over the cluster in `data`; `directory` is what to remove in the end.
    pub(crate) fn start(
        account: Option<&Account>,
        data: &Path,
        directory: &Path,
    ) -> Result<Self, ThrowawayError> {
        let shell = Path::new("/bin/sh");
        let child = command_as(account, shell)
            .args(["-c", SCRIPT, "highwater-watchdog"])
            .args([data, directory])
            // Ctrl-C in a terminal goes to the whole process group: to us, not to it.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| ThrowawayError::Run { program: shell.into(), source })?;
        Ok(Self { shell: child })
    }

    /// Nothing is left to watch over.
    pub(crate) fn dismiss(&mut self) {
        if let Some(mut stdin) = self.shell.stdin.take() {
            // If the shell is gone already there is nobody to tell.
            let _ = stdin.write_all(b"dismissed\n");
        }
        let _ = self.shell.wait();
    }
}
