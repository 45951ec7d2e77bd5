//! A running throw-away server.

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
use super::error::{ThrowawayError, last_lines};
use super::installation::Installation;
use super::port::free_port;
use super::watchdog::Watchdog;

/// How long a server may take to get ready, or to stop.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often another start is tried, with another port, when somebody took the port first.
const STARTS_MAX: u32 = 5;
/// What the log says while processes of a killed postmaster are still there.
const LEFT_OVER: [&str; 2] = ["still in use", "unexpected postmaster exit"];

/// What a test or the demo wants different.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Settings for `postgresql.conf`; they win over ours.
    pub settings: Vec<(String, String)>,
    /// The content of `pg_hba.conf`; by default everybody local is trusted.
    pub hba: Option<String>,
    /// Files for the data directory (name, content), like a certificate and its key.
    pub files: Vec<(String, String)>,
    /// Whether to listen on 127.0.0.1, where every user of this machine can connect. The Unix
    /// socket's directory is only for the server's user and root.
    pub listen_tcp: bool,
    /// A directory to keep new clusters in, one a version, to start from copies of them: ten
    /// times faster, but all copies have one system identifier.
    pub templates: Option<PathBuf>,
    /// Where the cluster's directory is made; by default where temporary files go.
    pub parent: Option<PathBuf>,
}

impl Default for ServerOptions {
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

impl ServerOptions {
    /// Adds a setting.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }
}

/// The shutdown modes of the manual ("Shutting Down the Server").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Ends sessions, waits until walsenders have sent everything, writes a checkpoint.
    Fast,
    /// Ends everything at once, like a crash: recovery at the next start.
    Immediate,
}

/// A throw-away server: a cluster of its own, running until dropped.
pub struct Server {
    cluster: Cluster,
    listen_tcp: bool,
    port: AtomicU16,
    postmaster: Mutex<Option<Child>>,
    watchdog: Watchdog,
}

impl Server {
    /// Makes a cluster and starts it; returns when it accepts connections.
    pub fn start(
        installation: &Installation,
        options: &ServerOptions,
    ) -> Result<Self, ThrowawayError> {
        let cluster =
            Cluster::init(installation, options.templates.as_deref(), options.parent.as_deref())?;
        cluster.configure_basics()?;
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
        let watchdog = Watchdog::start(cluster.account(), &cluster.data(), cluster.directory())?;
        let server = Self {
            cluster,
            listen_tcp: options.listen_tcp,
            port: AtomicU16::new(0),
            postmaster: Mutex::new(None),
            watchdog,
        };
        server.start_on_some_port()?;
        Ok(server)
    }

    /// Stops the server, and waits until it has ended. Nothing happens if it isn't running.
    pub fn stop(&self, mode: Shutdown) -> Result<(), ThrowawayError> {
        self.end(match mode {
            Shutdown::Fast => Signal::SIGINT,
            Shutdown::Immediate => Signal::SIGQUIT,
        })
    }

    /// Kills the postmaster with SIGKILL. Its processes find out by themselves and end.
    pub fn kill(&self) -> Result<(), ThrowawayError> {
        self.end(Signal::SIGKILL)
    }

    /// Starts a stopped server again, on the same port; stops it before if it is running.
    pub fn restart(&self, mode: Shutdown) -> Result<(), ThrowawayError> {
        self.stop(mode)?;
        let started = Instant::now();
        loop {
            match self.launch() {
                // The processes of a killed postmaster take a moment to end, and many of them say so
                // in the end of the log, where the complaint about them may be missing then.
                Err(ThrowawayError::NotReady { log })
                    if LEFT_OVER.iter().any(|words| log.contains(words))
                        && started.elapsed() < PATIENCE =>
                {
                    sleep(Duration::from_millis(100));
                }
                outcome => return outcome,
            }
        }
    }

    /// Makes the server read its configuration files again (SIGHUP).
    pub fn reload(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// Replaces `pg_hba.conf` and makes the server read it.
    pub fn set_hba(&self, content: &str) -> Result<(), ThrowawayError> {
        self.cluster.write_file("pg_hba.conf", content)?;
        self.reload();
        Ok(())
    }

    /// Appends settings to `postgresql.conf`: seen at the next [`Server::reload`] or restart.
    pub fn configure(&self, settings: &[(&str, &str)]) -> Result<(), ThrowawayError> {
        self.cluster.configure(settings.iter().copied())
    }

    /// Where to connect to a database of it as the superuser: over TCP, or over the Unix socket
    /// where it doesn't listen on TCP.
    pub fn url(&self, database: &str) -> String {
        if !self.listen_tcp {
            return self.socket_url(database);
        }
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/{}", self.port(), percent_encode(database))
    }

    /// Where to connect to a database of it as the superuser, over the Unix socket.
    pub fn socket_url(&self, database: &str) -> String {
        self.socket_url_as(SUPERUSER, database)
    }

    /// Where to connect to a database of it as some role, over the Unix socket.
    pub fn socket_url_as(&self, role: &str, database: &str) -> String {
        let role = percent_encode(role);
        let host = percent_encode(&self.socket_dir().to_string_lossy());
        let database = percent_encode(database);
        format!("postgres://{role}@{host}:{}/{database}", self.port())
    }

    /// The directory of its Unix socket.
    pub fn socket_dir(&self) -> &Path {
        self.cluster.socket_dir()
    }

    /// Its port, also part of the Unix socket's name.
    pub fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// The process id of the postmaster, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.postmaster.lock().as_ref().map(Child::id)
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.cluster.data()
    }

    /// The programs it runs from.
    pub fn installation(&self) -> &Installation {
        self.cluster.installation()
    }

    /// Everything the server logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.cluster.log()).unwrap_or_default()
    }

    /// Starts it on a free port, on another one if somebody took that meanwhile.
    fn start_on_some_port(&self) -> Result<(), ThrowawayError> {
        for _ in 1..STARTS_MAX {
            self.port.store(free_port().ok_or(ThrowawayError::NoPort)?, Ordering::Relaxed);
            match self.launch() {
                Err(ThrowawayError::NotReady { log }) if log.contains("could not bind") => {}
                outcome => return outcome,
            }
        }
        self.launch()
    }

    /// Runs the postmaster and waits until it accepts connections.
    fn launch(&self) -> Result<(), ThrowawayError> {
        let logged_before = self.log().len();
        let mut postmaster = self.spawn()?;
        let started = Instant::now();
        while !self.is_ready(postmaster.id()) {
            let ended = postmaster.try_wait().ok().flatten().is_some();
            if ended || started.elapsed() > PATIENCE {
                // Already dead, or given up: either way it isn't wanted any more.
                let _ = postmaster.kill();
                let _ = postmaster.wait();
                let log = self.log();
                let log = last_lines(log.get(logged_before..).unwrap_or_default());
                return Err(ThrowawayError::NotReady { log });
            }
            sleep(LOOK_EVERY);
        }
        *self.postmaster.lock() = Some(postmaster);
        Ok(())
    }

    fn spawn(&self) -> Result<Child, ThrowawayError> {
        let log = self.cluster.log();
        let open = || OpenOptions::new().create(true).append(true).open(&log);
        let doing = || ThrowawayError::files(format!("write {}", log.display()));
        let (stdout, stderr) = (open().map_err(doing())?, open().map_err(doing())?);
        let postgres = self.cluster.postgres();
        self.cluster
            .command(&postgres)
            .arg("-D")
            .arg(self.cluster.data())
            .args(["-p", &self.port().to_string()])
            // Ctrl-C in a terminal goes to the whole process group: to us, not to it.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map_err(|source| ThrowawayError::Run { program: postgres, source })
    }

    /// What `pg_ctl` looks at: the postmaster's pid in line 1 and its state in line 8 of
    /// `postmaster.pid` (`LOCK_FILE_LINE_PM_STATUS` in `utils/pidfile.h`).
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

    /// Sends a signal that ends the postmaster, and waits until it has ended.
    fn end(&self, signal: Signal) -> Result<(), ThrowawayError> {
        self.signal(signal);
        let Some(mut postmaster) = self.postmaster.lock().take() else { return Ok(()) };
        let told = Instant::now();
        while postmaster.try_wait().ok().flatten().is_none() {
            if told.elapsed() > PATIENCE {
                let pid = postmaster.id();
                *self.postmaster.lock() = Some(postmaster);
                return Err(ThrowawayError::NotStopped { pid });
            }
            sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The data isn't wanted any more, so there is nothing to write out. If it doesn't stop,
        // the watchdog is left to try.
        if self.stop(Shutdown::Immediate).is_ok() {
            self.watchdog.dismiss();
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({} on port {})", self.installation().version(), self.port())
    }
}

fn percent_encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
