//! A Highwater process behind a proxy that can fail.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::schema::{RowSet, TABLES};
use crate::support::{Proxy, TestPostgres};

/// Time to exit after SIGTERM. The contract allows 5 s; the rest is slack for a busy machine.
const STOP_TIME_MAX: Duration = Duration::from_secs(9);
/// Time for a started process to listen.
const START_TIME_MAX: Duration = Duration::from_secs(20);
/// Longest response time, long polls included.
const RESPONSE_TIME_MAX: Duration = Duration::from_secs(20);

/// One of the two services.
pub(crate) struct Instance {
    pub(crate) name: &'static str,
    pub(crate) proxy: Proxy,
    pub(crate) slot: String,
    pub(crate) client: reqwest::Client,
    address: String,
    config: PathBuf,
    log: PathBuf,
    child: Mutex<Option<Child>>,
    /// Number of starts.
    starts: AtomicUsize,
}

impl Instance {
    /// Writes the configuration into `directory`; the process is started later.
    pub(crate) async fn new(
        pg: &TestPostgres,
        name: &'static str,
        settings: &str,
        directory: &Path,
    ) -> Self {
        let proxy = Proxy::start(pg).await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let slot = format!("chaos_{name}");
        // One receives transactions in progress, the other only whole ones: their versions are equal.
        let streaming = if name == "one" { "on" } else { "off" };
        let mut text = format!(
            "[postgres]\nurl = {:?}\nslot = {slot:?}\nconnect_timeout = \"2s\"\n\
             streaming = {streaming:?}\n[http]\nlisten = {address:?}\n{settings}\n",
            proxy.url(pg.database())
        );
        for (table, rows) in TABLES.iter().filter(|(_, rows)| *rows != RowSet::Off) {
            let rows = format!("{rows:?}").to_lowercase();
            let _ = write!(text, "[tables.{table}]\nrows = {rows:?}\n");
        }
        let (config, log) =
            (directory.join(format!("{name}.toml")), directory.join(format!("{name}.log")));
        std::fs::write(&config, text).expect("a file");
        // The HTTP client links TLS without a cryptography provider; installing a second one fails.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().timeout(RESPONSE_TIME_MAX).build();
        Self {
            name,
            proxy,
            slot,
            client: client.expect("an HTTP client"),
            address,
            config,
            log,
            child: Mutex::new(None),
            starts: AtomicUsize::new(0),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Number of starts: a row may be older after a restart than before it.
    pub(crate) fn start_count(&self) -> usize {
        self.starts.load(Ordering::SeqCst)
    }

    /// Starts the process unless it runs.
    pub(crate) fn start(&self) {
        let mut child = self.child.lock().unwrap();
        if child.is_some() {
            return;
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log);
        self.starts.fetch_add(1, Ordering::SeqCst);
        let started = Command::new(env!("CARGO_BIN_EXE_highwater"))
            .args(["run", "--config"])
            .arg(&self.config)
            .env_clear()
            .stdin(Stdio::null())
            .stderr(log.expect("a file"))
            .spawn();
        *child = Some(started.expect("the program starts"));
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM; an error describes a wrong exit. The signal's default action kills a process that has not
    /// installed its handler yet, so this waits until the service responds.
    pub(crate) async fn stop(&self) -> Result<(), String> {
        let began = Instant::now();
        while self.client.get(self.url() + "/livez").send().await.is_err() {
            if began.elapsed() > START_TIME_MAX {
                return Err(format!("no response within {START_TIME_MAX:?}"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let Some(mut child) = self.child.lock().unwrap().take() else { return Ok(()) };
        let pid = i32::try_from(child.id()).expect("a process id");
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let began = Instant::now();
        loop {
            match child.try_wait().expect("the process is a child") {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("exited with {status}")),
                None if began.elapsed() > STOP_TIME_MAX => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("still running {STOP_TIME_MAX:?} after SIGTERM"));
                }
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Its status if it exited without a signal from the test, which is a failure.
    pub(crate) fn unexpected_exit(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().as_mut()?.try_wait().expect("the process is a child")
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self, lines: usize) -> String {
        tail(&std::fs::read_to_string(&self.log).unwrap_or_default(), lines)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
