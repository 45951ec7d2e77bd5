//! A complete Highwater service in this process or as a child process, accessed over HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use highwater::app::App;
use highwater::config::{Config, Environment, Flag, Sources};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{CertificateAuthority, TestPostgres};

/// Upper bound for every wait in a test.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A running service, which stops when dropped.
pub(crate) struct Highwater {
    address: SocketAddr,
    scheme: &'static str,
    client: reqwest::Client,
    shutdown: CancellationToken,
    task: Option<JoinHandle<anyhow::Result<()>>>,
}

/// The response of any endpoint.
#[derive(Debug)]
pub(crate) struct HttpReply {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Highwater {
    /// Starts on the publication `highwater` of this database, with a slot named after the
    /// database, and waits until it is ready.
    pub(crate) async fn start(pg: &TestPostgres) -> Self {
        Self::start_with(pg, &[]).await
    }

    /// Like [`Self::start`], with settings such as `("log.max_changes", "10")`.
    pub(crate) async fn start_with(pg: &TestPostgres, settings: &[(&'static str, &str)]) -> Self {
        let service = Self::launch(pg, settings).await;
        service.ready().await;
        service
    }

    /// Like [`Self::start_with`], without waiting until it is ready.
    pub(crate) async fn launch(pg: &TestPostgres, settings: &[(&'static str, &str)]) -> Self {
        Self::launch_as(&config(pg, settings)).await
    }

    /// Starts with this configuration, without waiting until it is ready.
    #[expect(clippy::unused_async, reason = "it must be called inside a runtime")]
    pub(crate) async fn launch_as(config: &Config) -> Self {
        let app = App::build(config).expect("the service builds");
        let address = app.address().expect("a bound address");
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        #[allow(clippy::disallowed_methods, reason = "joined in stop, ended in drop")]
        let task = tokio::spawn(async move { app.run(token).await });
        Self { address, scheme: "http", client: client(), shutdown, task: Some(task) }
    }

    /// Starts the program as a child process that is killed when dropped.
    pub(crate) async fn program(pg: &TestPostgres, settings: &[(&str, &str)]) -> (Self, Program) {
        Self::program_as(pg, settings, Stdio::null(), None).await
    }

    /// Like [`Self::program`], with its log sent to `log`, and over TLS if an authority is given.
    pub(crate) async fn program_as(
        pg: &TestPostgres,
        settings: &[(&str, &str)],
        log: Stdio,
        authority: Option<&CertificateAuthority>,
    ) -> (Self, Program) {
        Self::program_at(&pg.url(), pg.database(), settings, log, authority).await
    }

    /// Like [`Self::program_as`], with this database URL and slot.
    pub(crate) async fn program_at(
        url: &str,
        slot: &str,
        settings: &[(&str, &str)],
        log: Stdio,
        authority: Option<&CertificateAuthority>,
    ) -> (Self, Program) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let program = Command::new(env!("CARGO_BIN_EXE_highwater"))
            .args(["run", "--url", url, "--slot", slot])
            .args(["--listen", &address.to_string()])
            .env_clear()
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let program = Program(program);
        let shutdown = CancellationToken::new();
        let service = Self { address, scheme: "http", client: client(), shutdown, task: None };
        let service = match authority {
            Some(authority) => service.trusting(authority),
            None => service,
        };
        let started = Instant::now();
        while service.client.get(service.url() + "/livez").send().await.is_err() {
            assert!(started.elapsed() < PATIENCE, "the program does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        service.ready().await;
        (service, program)
    }

    /// Uses TLS from now on and trusts this authority.
    pub(crate) fn trusting(mut self, authority: &CertificateAuthority) -> Self {
        self.client = trusting(authority).build().expect("an HTTP client");
        self.scheme = "https";
        self
    }

    /// The address on which it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until `/readyz` reports readiness.
    pub(crate) async fn ready(&self) {
        let started = Instant::now();
        loop {
            let reply = self.fetch("/readyz").await;
            if reply.status == 200 {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "not ready: {:?}", reply.body);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the service as SIGTERM does; answers with its result.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.ended().await
    }

    /// Waits until the service ends by itself.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        let task = self.task.take().expect("not stopped before");
        tokio::time::timeout(PATIENCE, task).await.expect("ends in time").expect("no panic")
    }

    /// Its base URL.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Fetches a path.
    pub(crate) async fn fetch(&self, path: &str) -> HttpReply {
        self.fetch_with(path, &[]).await
    }

    /// Fetches a path with these headers.
    pub(crate) async fn fetch_with(&self, path: &str, headers: &[(&str, &str)]) -> HttpReply {
        let request = self.client.get(format!("{}{path}", self.url()));
        reply(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
            .await
    }

    /// Posts to a path.
    pub(crate) async fn post(&self, path: &str) -> HttpReply {
        reply(self.client.post(format!("{}{path}", self.url()))).await
    }

    /// The response to a request with its body unread.
    pub(crate) async fn open(&self, path: &str, last_event_id: Option<&str>) -> reqwest::Response {
        let mut request = self.client.get(format!("{}{path}", self.url()));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        request.send().await.unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    /// A poll; the query begins after the `?`.
    pub(crate) async fn poll(&self, query: &str) -> Poll {
        let reply = self.fetch(&format!("/v1/changes?{query}")).await;
        assert_eq!(reply.status, 200, "{query}: {:?}", reply.body);
        Poll::new(&reply.body)
    }

    /// The current version, from which a client without a copy starts.
    pub(crate) async fn version(&self) -> String {
        self.poll("").await.version
    }

    /// The changes of these tables since `after`, after everything committed so far has been applied.
    pub(crate) async fn changes_since(&self, pg: &TestPostgres, tables: &str, after: &str) -> Poll {
        self.applied(pg).await;
        self.poll(&format!("tables={tables}&after={after}&limit=10000")).await
    }

    /// The reason that `/readyz` gives; `None` when it reports readiness.
    pub(crate) async fn disconnect_reason(&self) -> Option<String> {
        let reply = self.fetch("/readyz").await;
        (reply.status != 200).then(|| reply.body["detail"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until `/readyz` reports this reason; returns the time that took.
    pub(crate) async fn until_disconnected(&self, reason: &str) -> Duration {
        let started = Instant::now();
        loop {
            let current = self.disconnect_reason().await;
            if current.as_deref().is_some_and(|current| current.contains(reason)) {
                return started.elapsed();
            }
            assert!(started.elapsed() < PATIENCE, "{current:?} instead of {reason:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until everything committed before this call is applied.
    pub(crate) async fn applied(&self, pg: &TestPostgres) {
        // A separate transaction, so that everything before it is flushed.
        let lsn: String = pg.value("SELECT pg_logical_emit_message(true, 'test', '')::text").await;
        let goal = lsn_number(&lsn);
        let started = Instant::now();
        while position(&self.version().await) < goal {
            assert!(started.elapsed() < PATIENCE, "{lsn} is not applied in time");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Highwater {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn reply(request: reqwest::RequestBuilder) -> HttpReply {
    let response = request.send().await.unwrap_or_else(|error| panic!("{error:?}"));
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("a complete body");
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    HttpReply { status, headers, body }
}

fn client() -> reqwest::Client {
    client_builder().build().expect("an HTTP client")
}

fn client_builder() -> reqwest::ClientBuilder {
    // The HTTP client links TLS without a default provider; installing it twice fails harmlessly.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy()
}

/// A client that also trusts this authority.
pub(crate) fn trusting(authority: &CertificateAuthority) -> reqwest::ClientBuilder {
    let certificate = reqwest::Certificate::from_pem(authority.pem().as_bytes());
    client_builder().add_root_certificate(certificate.expect("a certificate"))
}

/// The program as a child process, which is killed (SIGKILL) when dropped.
pub(crate) struct Program(Child);

impl Program {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Its peak resident memory, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Its resident memory, in bytes.
    pub(crate) fn resident_memory(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("a size");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib << 10
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.id().try_into().expect("a process id"));
        nix::sys::signal::kill(pid, signal).expect("a child process");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().expect("a child process");
        self.0.wait().expect("a child process");
    }
}

/// The configuration of a test's service.
pub(crate) fn config(pg: &TestPostgres, settings: &[(&'static str, &str)]) -> Config {
    let mut all = BTreeMap::from([
        ("postgres.url", pg.url()),
        ("postgres.slot", pg.database().to_owned()),
        ("http.listen", "127.0.0.1:0".to_owned()),
    ]);
    all.extend(settings.iter().map(|(key, value)| (*key, (*value).to_owned())));
    let flags =
        all.into_iter().map(|(key, value)| Flag { flag: "a test's setting", key, value }).collect();
    let sources = Sources { file: None, flags, environment: Environment::default() };
    Config::load(&sources).unwrap_or_else(|errors| panic!("{errors}"))
}

fn lsn_number(text: &str) -> u64 {
    text.parse::<highwater::lsn::Lsn>().expect("an LSN").0
}

/// The LSN inside a version.
pub(crate) fn position(version: &str) -> u64 {
    version.parse::<highwater::version::Version>().expect("a version").position.lsn.0
}

/// The response to a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Poll {
    pub(crate) version: String,
    pub(crate) more: bool,
    pub(crate) reset: Vec<String>,
    /// Such as `insert items 7`, in the order of the response; the id as JSON.
    pub(crate) changes: Vec<String>,
}

impl Poll {
    /// Parses the JSON of a response.
    pub(crate) fn read(text: &str) -> Self {
        Self::new(&serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    fn new(body: &Value) -> Self {
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let list = |name: &str| body[name].as_array().expect("an array").clone();
        Self {
            version: text(&body["version"]),
            more: body["more"].as_bool().expect("a boolean"),
            reset: list("reset").iter().map(text).collect(),
            changes: list("changes")
                .iter()
                .map(|c| format!("{} {} {}", text(&c["op"]), text(&c["table"]), c["id"]))
                .collect(),
        }
    }

    /// The changes without their order.
    pub(crate) fn set(&self) -> BTreeSet<&str> {
        self.changes.iter().map(String::as_str).collect()
    }
}
