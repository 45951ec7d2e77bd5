//! The server to compare with: axum, with a handler that returns a copy of one of Highwater's responses,
//! head and body, or a file. A separate process, on a runtime like that of `highwater run`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::routing::{any, get_service};
use axum::serve::ListenerExt;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tower_http::services::ServeFile;

use super::http::BenchHttpClient;

/// What the process serves at every path.
#[derive(clap::Args)]
pub(crate) struct Bare {
    /// A file with the response to return.
    #[arg(long)]
    answer: Option<PathBuf>,
    /// A file to serve unchanged.
    #[arg(long)]
    file: Option<PathBuf>,
}

/// A recorded response.
#[derive(Serialize, Deserialize)]
pub(crate) struct CannedResponse {
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl CannedResponse {
    pub(crate) async fn of(address: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let mut client = BenchHttpClient::connect(address).await?;
        let body = String::from_utf8(client.get(path).await?.to_vec())?;
        let head = std::str::from_utf8(client.head())?;
        Ok(Self { headers: headers(head), body })
    }

    pub(crate) fn has_header(&self, name: &str, value: &str) -> bool {
        self.headers.iter().any(|(n, v)| n == name && v == value)
    }
}

/// The headers of a head, except those that the bare server adds itself.
fn headers(head: &str) -> Vec<(String, String)> {
    let made = ["date", "content-length"];
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    fields
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .filter(|(name, _)| !made.contains(&name.as_str()))
        .collect()
}

/// The bare server's process; killed when dropped.
pub(crate) struct BareServer {
    child: Child,
    pub(crate) address: SocketAddr,
    answer: Option<tempfile::NamedTempFile>,
}

impl BareServer {
    /// A server that returns this response.
    pub(crate) async fn start(answer: &CannedResponse) -> anyhow::Result<Self> {
        let file = tempfile::NamedTempFile::new().context("make a temporary file")?;
        serde_json::to_writer(&file, answer)?;
        let mut server = Self::spawn("--answer", file.path()).await?;
        server.answer = Some(file);
        Ok(server)
    }

    /// A server of this file.
    pub(crate) async fn of_file(file: &Path) -> anyhow::Result<Self> {
        Self::spawn("--file", file).await
    }

    async fn spawn(option: &str, file: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe().context("find this program")?)
            .arg("bare")
            .arg(option)
            .arg(file)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start the bare server")?;
        let stdout = child.stdout.take().context("the bare server's output")?;
        let first = BufReader::new(stdout).lines().next_line().await?;
        let address = first.context("the bare server exited")?.parse()?;
        Ok(Self { child, address, answer: None })
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the bare server exited")
    }
}

impl Bare {
    pub(crate) fn serve(&self) -> anyhow::Result<()> {
        let router = match (&self.answer, &self.file) {
            (Some(file), _) => replay(&serde_json::from_slice(&std::fs::read(file)?)?)?,
            (None, Some(file)) => Router::new().fallback_service(get_service(ServeFile::new(file))),
            (None, None) => anyhow::bail!("give --answer or --file"),
        };
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            println!("{}", listener.local_addr()?);
            let listener = listener.tap_io(|stream| {
                // Without it responses are only slower.
                let _ = stream.set_nodelay(true);
            });
            axum::serve(listener, router).await.context("serve")
        })
    }
}

/// A router that returns the recorded response.
fn replay(answer: &CannedResponse) -> anyhow::Result<Router> {
    let mut headers = HeaderMap::new();
    for (name, value) in &answer.headers {
        headers.insert(name.parse::<HeaderName>()?, value.parse::<HeaderValue>()?);
    }
    let body = axum::body::Bytes::from(answer.body.clone());
    let handler = move || async move { (headers, body) };
    // A real route, so that the comparison is not with axum's fallback.
    Ok(Router::new().route("/{*path}", any(handler)))
}
