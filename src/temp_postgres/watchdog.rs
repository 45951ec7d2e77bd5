//! A helper process that stops the server when this process has ended, for whatever reason.
//!
//! It is a shell that waits to read a line from this process. [`Watchdog::dismiss`] writes that
//! line; when this process is killed or just exits (statics are never dropped), the pipe closes
//! without a line, and the shell stops the server and deletes its directory.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};

use super::error::TempPostgresError;
use super::server_user::{ServerUser, command_as};

/// `$1` is the data directory, `$2` the directory to delete. Every postmaster writes its process id
/// to the first line of `postmaster.pid`, so restarts need no message to the watchdog. SIGQUIT is
/// the immediate shutdown: the data is about to be deleted anyway.
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

/// The watchdog process; it outlives this process just long enough to clean up.
pub(crate) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Starts a watchdog for the cluster in `data`; `directory` is deleted at the end.
    pub(crate) fn start(
        user: Option<&ServerUser>,
        data: &Path,
        directory: &Path,
    ) -> Result<Self, TempPostgresError> {
        let shell = Path::new("/bin/sh");
        let child = command_as(user, shell)
            .args(["-c", SCRIPT, "highwater-watchdog"])
            .args([data, directory])
            // Ctrl-C in a terminal signals the whole process group: a group of its own keeps the
            // watchdog out of it.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| TempPostgresError::Run { program: shell.into(), source })?;
        Ok(Self { shell: child })
    }

    /// Ends the watchdog: the server has stopped, and the owner deletes its files.
    pub(crate) fn dismiss(&mut self) {
        if let Some(mut stdin) = self.shell.stdin.take() {
            // An error means that the shell has ended already.
            let _ = stdin.write_all(b"dismissed\n");
        }
        let _ = self.shell.wait();
    }
}
