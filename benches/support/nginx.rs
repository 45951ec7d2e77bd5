//! nginx serving one file from a temporary directory, if nginx is installed.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::service::free_address;

/// Time for nginx to listen.
const PATIENCE: Duration = Duration::from_secs(5);

/// nginx with as many workers as processors; stopped when dropped.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Nginx {
    /// Serves `body` at `/answer`; `None` if nginx is not installed.
    pub(crate) fn start(body: &str) -> anyhow::Result<Option<Self>> {
        let directory = tempfile::tempdir().context("make a temporary directory")?;
        let path = directory.path();
        // The workers run as another user, who must be able to read it.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        fs::create_dir(path.join("html"))?;
        fs::write(path.join("html/answer"), body)?;
        let address = free_address()?;
        let text = configuration(&path.display().to_string(), address);
        fs::write(path.join("nginx.conf"), text)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(path).arg("-c").arg(path.join("nginx.conf"));
        let child = match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            child => child.context("start nginx")?,
        };
        let mut nginx = Self { child, address, _directory: directory };
        nginx.wait_until_it_listens()?;
        Ok(Some(nginx))
    }

    fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("nginx exited: {status}");
            }
            if Instant::now() > end {
                bail!("nginx does not listen");
            }
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Process ids: the master's children do the work.
    pub(crate) fn pids(&self) -> anyhow::Result<Vec<u32>> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let children = children.split_whitespace().map(str::parse);
        Ok(children.collect::<Result<Vec<_>, _>>()?)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that the workers end as well.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

fn configuration(directory: &str, address: SocketAddr) -> String {
    format!(
        "daemon off; worker_processes auto; pid {directory}/pid; error_log {directory}/error.log;
         events {{ worker_connections 2048; }}
         http {{
             access_log off; sendfile on; tcp_nodelay on; keepalive_requests 100000000;
             client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
             fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
             scgi_temp_path {directory}/scgi; default_type application/json;
             open_file_cache max=10;
             server {{ listen {address}; root {directory}/html; }}
         }}\n"
    )
}
