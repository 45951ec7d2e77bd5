//! A bare server: a task per client, a tokio broadcast channel, unmodified bytes.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use axum::body::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::support::writers::SendTimes;

/// Messages that a slow client may lag behind: more than a run has.
const BEHIND_MAX: usize = 1 << 16;

/// The server's process, which reads ids from its standard input.
pub(crate) struct Broadcast;

impl Broadcast {
    /// Serves on a runtime like that of `highwater run`.
    pub(crate) fn serve() -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            println!("{}", listener.local_addr()?);
            let (sender, _) = broadcast::channel(BEHIND_MAX);
            let mut tasks = JoinSet::new();
            tasks.spawn(pass_on(sender.clone()));
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (stream, _) = accepted?;
                        tasks.spawn(send_to_client(stream, sender.subscribe()));
                    }
                    // A client's disconnection is expected; the end of the input ends the process.
                    _ = tasks.join_next() => {}
                }
            }
        })
    }
}

/// Turns each line into an event like Highwater's and broadcasts it.
async fn pass_on(sender: Sender<Bytes>) -> anyhow::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(id) = lines.next_line().await? {
        let id: u64 = id.parse()?;
        let version = format!("5f3a9c01-{id:016x}");
        let event = format!(
            "id: {version}\ndata: {{\"version\":\"{version}\",\"more\":false,\"reset\":[],\"changes\":\
             [{{\"table\":\"commits\",\"id\":{id},\"op\":\"insert\"}}]}}\n\n"
        );
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        // Without a connected client there is no receiver.
        let _ = sender.send(chunk.into());
    }
    Ok(())
}

async fn send_to_client(
    mut stream: TcpStream,
    mut messages: Receiver<Bytes>,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = Vec::with_capacity(512);
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    drop(request);
    let head =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head).await?;
    loop {
        stream.write_all(&messages.recv().await?).await?;
    }
}

/// The process, seen from outside; ended when dropped.
pub(super) struct Broadcaster {
    child: Child,
    stdin: ChildStdin,
    pub(super) address: SocketAddr,
}

impl Broadcaster {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe().context("find this program")?)
            .arg("broadcast")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start the bare server")?;
        let stdin = child.stdin.take().context("the bare server's input")?;
        let stdout = child.stdout.take().context("the bare server's output")?;
        let first = BufReader::new(stdout).lines().next_line().await?;
        let address = first.context("the bare server ended")?.parse()?;
        Ok(Self { child, stdin, address })
    }

    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the bare server ended")
    }

    /// Broadcasts `count` messages at this rate (per second).
    pub(super) async fn broadcast(&mut self, count: usize, rate: f64) -> anyhow::Result<SendTimes> {
        let sent = SendTimes::new(count);
        let begun = Instant::now();
        for number in 0..count {
            sleep_until(begun + Duration::from_secs_f64(number as f64 / rate)).await;
            sent.set(number);
            self.stdin.write_all(format!("{}\n", number + 1).as_bytes()).await?;
        }
        Ok(sent)
    }
}
