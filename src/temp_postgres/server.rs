//! The running temporary server.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;

use super::cluster::{Cluster, SUPERUSER};
use super::error::{TempPostgresError, last_lines};
use super::installation::Installation;
use super::port::free_port;
use super::watchdog::Watchdog;

/// Limit for the server to accept connections after its start, and to stop.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Interval between checks of the server's state while waiting for it.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Start attempts, each on another port, if another process takes the port first.
const STARTS_MAX: u32 = 5;
/// Log messages while processes of a killed postmaster are still running.
const STILL_IN_USE: [&str; 2] = ["still in use", "unexpected postmaster exit"];

/// How a temporary server differs from the default one.
#[derive(Clone, Debug)]
pub struct TempPostgresOptions {
    /// Settings for `postgresql.conf`; they override the defaults.
    pub settings: Vec<(String, String)>,
    /// The content of `pg_hba.conf`; by default every local connection is trusted.
    pub hba: Option<String>,
    /// Files for the data directory (name, content), such as a certificate and its key.
    pub files: Vec<(String, String)>,
    /// Whether to listen on 127.0.0.1, where every user of this machine can connect. The directory
    /// of the Unix socket is accessible to the server's user and root only.
    pub listen_tcp: bool,
    /// A directory that stores one new cluster per server version, to start from copies of it: ten
    /// times faster than `initdb`, but all copies have the same system identifier.
    pub templates: Option<PathBuf>,
    /// Where the cluster's directory is created; by default the directory for temporary files.
    pub parent: Option<PathBuf>,
}

impl Default for TempPostgresOptions {
    fn default() -> Self {
        Self {
            settings: Vec::new(),
            hba: None,
            files: Vec::new(),
            listen_tcp: true,
            templates: None,
            parent: None,
        }
    }
}

impl TempPostgresOptions {
    /// Adds a setting for `postgresql.conf`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }
}

/// The shutdown modes of the manual ("Shutting Down the Server").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownMode {
    /// Ends sessions, waits until walsenders have sent everything, writes a checkpoint.
    Fast,
    /// Ends everything at once, like a crash: recovery at the next start.
    Immediate,
}

/// A temporary server on a cluster of its own; dropping it stops it and deletes its files.
pub struct TempPostgres {
    cluster: Cluster,
    listen_tcp: bool,
    port: AtomicU16,
    postmaster: Mutex<Option<Child>>,
    watchdog: Watchdog,
}

impl TempPostgres {
    /// Creates a cluster and starts its server; returns when it accepts connections.
    pub fn start(
        installation: &Installation,
        options: &TempPostgresOptions,
    ) -> Result<Self, TempPostgresError> {
        let cluster =
            Cluster::init(installation, options.templates.as_deref(), options.parent.as_deref())?;
        cluster.configure_defaults()?;
        if !options.listen_tcp {
            cluster.configure([("listen_addresses", "")])?;
        }
        for (name, content) in &options.files {
            cluster.write_file(name, content)?;
        }
        if let Some(hba) = &options.hba {
            cluster.write_file("pg_hba.conf", hba)?;
        }
        cluster.configure(options.settings.iter().map(|(n, v)| (n.as_str(), v.as_str())))?;
        let watchdog =
            Watchdog::start(cluster.server_user(), &cluster.data(), cluster.directory())?;
        let server = Self {
            cluster,
            listen_tcp: options.listen_tcp,
            port: AtomicU16::new(0),
            postmaster: Mutex::new(None),
            watchdog,
        };
        server.start_on_free_port()?;
        Ok(server)
    }

    /// Stops the server and waits until it has ended; does nothing if it isn't running.
    pub fn stop(&self, mode: ShutdownMode) -> Result<(), TempPostgresError> {
        self.end(match mode {
            ShutdownMode::Fast => Signal::SIGINT,
            ShutdownMode::Immediate => Signal::SIGQUIT,
        })
    }

    /// Kills the postmaster with SIGKILL. Its child processes notice that and end by themselves.
    pub fn kill(&self) -> Result<(), TempPostgresError> {
        self.end(Signal::SIGKILL)
    }

    /// Stops the server if it is running, and starts it on the same port.
    pub fn restart(&self, mode: ShutdownMode) -> Result<(), TempPostgresError> {
        self.stop(mode)?;
        let started = Instant::now();
        loop {
            match self.launch() {
                // The processes of a killed postmaster take a moment to end. Each logs that, so that
                // the new postmaster's own message about them may be missing from the last lines.
                Err(TempPostgresError::NotReady { log })
                    if STILL_IN_USE.iter().any(|message| log.contains(message))
                        && started.elapsed() < TIMEOUT =>
                {
                    sleep(Duration::from_millis(100));
                }
                outcome => return outcome,
            }
        }
    }

    /// Makes the server reload its configuration files (SIGHUP).
    pub fn reload(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// Replaces `pg_hba.conf` and reloads it.
    pub fn set_hba(&self, content: &str) -> Result<(), TempPostgresError> {
        self.cluster.write_file("pg_hba.conf", content)?;
        self.reload();
        Ok(())
    }

    /// Appends settings to `postgresql.conf`; they apply from the next [`TempPostgres::reload`] or
    /// restart.
    pub fn configure(&self, settings: &[(&str, &str)]) -> Result<(), TempPostgresError> {
        self.cluster.configure(settings.iter().copied())
    }

    /// The URL of a database, as the superuser: over TCP, or over the Unix socket if the server
    /// doesn't listen on TCP.
    pub fn url(&self, database: &str) -> String {
        if !self.listen_tcp {
            return self.socket_url(database);
        }
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/{}", self.port(), percent_encode(database))
    }

    /// The URL of a database over the Unix socket, as the superuser.
    pub fn socket_url(&self, database: &str) -> String {
        self.socket_url_as(SUPERUSER, database)
    }

    /// The URL of a database over the Unix socket, as the given role.
    pub fn socket_url_as(&self, role: &str, database: &str) -> String {
        let role = percent_encode(role);
        let host = percent_encode(&self.socket_dir().to_string_lossy());
        let database = percent_encode(database);
        format!("postgres://{role}@{host}:{}/{database}", self.port())
    }

    /// The directory of the Unix socket.
    pub fn socket_dir(&self) -> &Path {
        self.cluster.socket_dir()
    }

    /// The TCP port; it is also part of the Unix socket's name.
    pub fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// The process id of the postmaster while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.postmaster.lock().as_ref().map(Child::id)
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.cluster.data()
    }

    /// The programs the server was started from.
    pub fn installation(&self) -> &Installation {
        self.cluster.installation()
    }

    /// The whole content of the server's log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.cluster.log()).unwrap_or_default()
    }

    /// Starts the server on a free port, and on another one if that port was taken meanwhile.
    fn start_on_free_port(&self) -> Result<(), TempPostgresError> {
        for _ in 1..STARTS_MAX {
            self.port.store(free_port().ok_or(TempPostgresError::NoPort)?, Ordering::Relaxed);
            match self.launch() {
                Err(TempPostgresError::NotReady { log }) if log.contains("could not bind") => {}
                outcome => return outcome,
            }
        }
        self.launch()
    }

    /// Runs the postmaster and waits until it accepts connections.
    fn launch(&self) -> Result<(), TempPostgresError> {
        let logged_before = self.log().len();
        let mut postmaster = self.spawn()?;
        let started = Instant::now();
        while !self.is_ready(postmaster.id()) {
            let ended = postmaster.try_wait().ok().flatten().is_some();
            if ended || started.elapsed() > TIMEOUT {
                // It has ended, or it did not start in time: make sure that it is gone.
                let _ = postmaster.kill();
                let _ = postmaster.wait();
                let log = self.log();
                let log = last_lines(log.get(logged_before..).unwrap_or_default());
                return Err(TempPostgresError::NotReady { log });
            }
            sleep(POLL_INTERVAL);
        }
        *self.postmaster.lock() = Some(postmaster);
        Ok(())
    }

    fn spawn(&self) -> Result<Child, TempPostgresError> {
        let log = self.cluster.log();
        let open = || OpenOptions::new().create(true).append(true).open(&log);
        let doing = || TempPostgresError::files(format!("write {}", log.display()));
        let (stdout, stderr) = (open().map_err(doing())?, open().map_err(doing())?);
        let postgres = self.cluster.postgres();
        self.cluster
            .command(&postgres)
            .arg("-D")
            .arg(self.cluster.data())
            .args(["-p", &self.port().to_string()])
            // Ctrl-C in a terminal signals the whole process group: a group of its own keeps the
            // server out of it.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map_err(|source| TempPostgresError::Run { program: postgres, source })
    }

    /// Whether the server accepts connections, by the test that `pg_ctl` uses: the postmaster's pid
    /// in line 1 and its state in line 8 of `postmaster.pid` (`LOCK_FILE_LINE_PM_STATUS` in
    /// `utils/pidfile.h`).
    fn is_ready(&self, pid: u32) -> bool {
        let file = std::fs::read_to_string(self.cluster.data().join("postmaster.pid"));
        let file = file.unwrap_or_default();
        let mut lines = file.lines();
        lines.next().and_then(|line| line.trim().parse().ok()) == Some(pid)
            && lines.nth(6).is_some_and(|status| status.trim() == "ready")
    }

    fn signal(&self, signal: Signal) -> bool {
        let Some(pid) = self.pid().and_then(|pid| i32::try_from(pid).ok()) else { return false };
        kill(Pid::from_raw(pid), signal).is_ok()
    }

    /// Sends a signal that ends the postmaster and waits until it has ended.
    fn end(&self, signal: Signal) -> Result<(), TempPostgresError> {
        self.signal(signal);
        let Some(mut postmaster) = self.postmaster.lock().take() else { return Ok(()) };
        let signalled = Instant::now();
        while postmaster.try_wait().ok().flatten().is_none() {
            if signalled.elapsed() > TIMEOUT {
                let pid = postmaster.id();
                *self.postmaster.lock() = Some(postmaster);
                return Err(TempPostgresError::NotStopped { pid });
            }
            sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}

impl Drop for TempPostgres {
    fn drop(&mut self) {
        // The data is about to be deleted, so a shutdown checkpoint would be wasted. If the server
        // does not stop, the watchdog tries once more when this process ends.
        if self.stop(ShutdownMode::Immediate).is_ok() {
            self.watchdog.dismiss();
        }
    }
}

impl std::fmt::Debug for TempPostgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TempPostgres({} on port {})", self.installation().version(), self.port())
    }
}

fn percent_encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
