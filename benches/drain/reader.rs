//! A minimal reader of a slot: it receives, reads the frames' heads, and pauses between reads. Its cost
//! is the least of any reader; the rest of the service's time is its own.
//!
//! Its pause, its buffer and the socket's are options, for experiments with the walsender's behaviour.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, bail};
use highwater::lsn::Lsn;
use socket2::SockRef;

/// Fits the server's startup messages; no message of the stream is larger.
const BUFFER_BYTES_MAX: usize = 64 << 20;

/// Options of the reader.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct MinimalReader {
    /// `127.0.0.1:5432`, or the path of a Unix socket.
    #[arg(long)]
    pub(crate) server: String,
    #[arg(long)]
    pub(crate) slot: String,
    #[arg(long)]
    pub(crate) publication: String,
    /// Ends when everything up to this position has arrived.
    #[arg(long)]
    pub(crate) end: Lsn,
    /// Requests values in binary form.
    #[arg(long)]
    pub(crate) binary: bool,
    #[command(flatten)]
    pub(crate) pace: ReaderPace,
}

/// Pause and buffers of the reader.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct ReaderPace {
    /// Microseconds between reads; default 1000 over TCP, none over a Unix socket.
    #[arg(long = "reader-pause-us")]
    pub(crate) pause_us: Option<u64>,
    /// Largest read, in bytes.
    #[arg(long = "reader-buffer", default_value_t = 256 * 1024)]
    pub(crate) buffer_bytes: usize,
    /// The socket's receive buffer (`SO_RCVBUF`); default: sized by the system.
    #[arg(long = "reader-rcvbuf")]
    pub(crate) rcvbuf: Option<usize>,
}

trait MinimalConnection: Read + Write {}
impl<T: Read + Write> MinimalConnection for T {}

impl MinimalReader {
    /// The arguments that start the reader with this program.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut line = format!(
            "reader --server {} --slot {} --publication {} --end {} --reader-buffer {}",
            self.server, self.slot, self.publication, self.end, self.pace.buffer_bytes
        );
        // Writing to a string cannot fail.
        if let Some(pause) = self.pace.pause_us {
            let _ = write!(line, " --reader-pause-us {pause}");
        }
        if let Some(bytes) = self.pace.rcvbuf {
            let _ = write!(line, " --reader-rcvbuf {bytes}");
        }
        if self.binary {
            line.push_str(" --binary");
        }
        line.split(' ').map(str::to_owned).collect()
    }

    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let over_tcp = !self.server.starts_with('/');
        let pause = self.pace.pause_us.unwrap_or(if over_tcp { 1000 } else { 0 });
        let mut stream = MinimalStream {
            connection: self.connect()?,
            buffer: vec![0; self.pace.buffer_bytes],
            start: 0,
            filled: 0,
            reads: 0,
        };
        stream.begin(self)?;
        let frames = stream.read_until(self.end, Duration::from_micros(pause))?;
        println!("{frames} frames, {} reads", stream.reads);
        Ok(())
    }

    fn connect(&self) -> anyhow::Result<Box<dyn MinimalConnection>> {
        if self.server.starts_with('/') {
            return Ok(Box::new(UnixStream::connect(&self.server).context("connect")?));
        }
        let stream = TcpStream::connect(&self.server).context("connect")?;
        stream.set_nodelay(true)?;
        if let Some(bytes) = self.pace.rcvbuf {
            SockRef::from(&stream).set_recv_buffer_size(bytes)?;
        }
        Ok(Box::new(stream))
    }
}

/// Received bytes: messages of a tag, a length and a body.
struct MinimalStream {
    connection: Box<dyn MinimalConnection>,
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    reads: u64,
}

impl MinimalStream {
    /// Logs in (trust authentication) and starts the stream.
    fn begin(&mut self, reader: &MinimalReader) -> anyhow::Result<()> {
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        body.extend_from_slice(b"user\0postgres\0database\0postgres\0replication\0database\0\0");
        self.send(None, &body)?;
        self.wait_for(b'Z')?;
        let command = format!(
            "START_REPLICATION SLOT {} LOGICAL 0/0 \
             (proto_version '1', publication_names '{}', binary '{}')\0",
            reader.slot, reader.publication, reader.binary
        );
        self.send(Some(b'Q'), command.as_bytes())?;
        self.wait_for(b'W')
    }

    fn wait_for(&mut self, wanted: u8) -> anyhow::Result<()> {
        loop {
            while let Some((tag, body)) = self.message()? {
                if tag == b'E' {
                    bail!("the server returned {}", String::from_utf8_lossy(body));
                }
                if tag == wanted {
                    return Ok(());
                }
            }
            self.read()?;
        }
    }

    /// Reads frames until `end`; returns their number.
    fn read_until(&mut self, end: Lsn, pause: Duration) -> anyhow::Result<u64> {
        let mut frames = 0;
        loop {
            let mut reply_requested = false;
            while let Some((tag, frame)) = self.message()? {
                frames += 1;
                match (tag, frame.first()) {
                    // XLogData: three numbers before the message; of a commit, two after its flags.
                    (b'd', Some(b'w')) => {
                        let is_commit = frame.get(25) == Some(&b'C');
                        if is_commit && lsn_at(frame, 35)? >= end {
                            return Ok(frames);
                        }
                    }
                    (b'd', Some(b'k')) => {
                        if lsn_at(frame, 1)? >= end {
                            return Ok(frames);
                        }
                        reply_requested |= frame.last() == Some(&1);
                    }
                    (b'E', _) => bail!("the server returned {}", String::from_utf8_lossy(frame)),
                    _ => {}
                }
            }
            if reply_requested {
                // Written, flushed, applied: nothing yet; the status only keeps the connection alive.
                self.send(Some(b'd'), &[&b"r"[..], &[0; 33]].concat())?;
            }
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
            self.read()?;
        }
    }

    /// The next complete message.
    fn message(&mut self) -> anyhow::Result<Option<(u8, &[u8])>> {
        let unread = self.buffer.get(self.start..self.filled).unwrap_or_default();
        let Some((head, _)) = unread.split_first_chunk::<5>() else { return Ok(None) };
        let [tag, length @ ..] = *head;
        let whole = 1 + u32::from_be_bytes(length) as usize;
        if whole > BUFFER_BYTES_MAX {
            bail!("a message of {whole} bytes");
        }
        if unread.len() < whole {
            if self.buffer.len() < whole {
                self.buffer.resize(whole, 0);
            }
            return Ok(None);
        }
        let begin = self.start + 5;
        self.start += whole;
        Ok(Some((tag, self.buffer.get(begin..self.start).unwrap_or_default())))
    }

    fn read(&mut self) -> anyhow::Result<()> {
        self.buffer.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.start = 0;
        let space = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let count = self.connection.read(space).context("receive")?;
        if count == 0 {
            bail!("the server closed the connection");
        }
        self.filled += count;
        self.reads += 1;
        Ok(())
    }

    fn send(&mut self, tag: Option<u8>, body: &[u8]) -> anyhow::Result<()> {
        let length = u32::try_from(4 + body.len())?.to_be_bytes();
        let message = [tag.as_slice(), &length, body].concat();
        self.connection.write_all(&message).context("send")
    }
}

fn lsn_at(frame: &[u8], place: usize) -> anyhow::Result<Lsn> {
    let bytes = frame.get(place..).and_then(|rest| rest.first_chunk::<8>());
    Ok(Lsn(u64::from_be_bytes(*bytes.context("a short frame")?)))
}
