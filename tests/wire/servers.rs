//! PostgreSQL servers with their own `pg_hba.conf`, and servers that are not PostgreSQL.

use highwater::temp_postgres::TempPostgresOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::{CertificateAuthority, SignedPair, TestPostgres};

/// Roles named after their authentication method in `HBA`; the password of each is `secret`.
const ROLES: [&str; 8] =
    ["clear", "md5er", "scram", "certified", "encrypted", "unencrypted", "banned", "trusted"];

const HBA: &str = "\
local   all all trust
host    all banned      127.0.0.1/32 reject
host    all clear       127.0.0.1/32 password
host    all md5er       127.0.0.1/32 md5
host    all scram       127.0.0.1/32 scram-sha-256
hostssl all certified   127.0.0.1/32 cert
hostssl all encrypted   127.0.0.1/32 trust
hostnossl all unencrypted 127.0.0.1/32 trust
host    all trusted     127.0.0.1/32 trust
";

/// A server without TLS, with the `HBA` rules.
pub(super) async fn plain() -> TestPostgres {
    start(TempPostgresOptions { hba: Some(HBA.into()), ..TempPostgresOptions::default() }).await
}

/// A server with TLS and the `HBA` rules. It accepts client certificates signed by `authority`.
pub(super) async fn encrypted(
    server: &SignedPair,
    authority: &CertificateAuthority,
) -> TestPostgres {
    let files = [
        ("tls.crt", server.certificate.as_str()),
        ("tls.key", server.key.as_str()),
        ("clients.crt", authority.pem()),
    ];
    let options = TempPostgresOptions {
        hba: Some(HBA.into()),
        files: files.map(|(name, content)| (name.to_owned(), content.to_owned())).to_vec(),
        ..TempPostgresOptions::default()
    }
    .setting("ssl", "on")
    .setting("ssl_cert_file", "tls.crt")
    .setting("ssl_key_file", "tls.key")
    .setting("ssl_ca_file", "clients.crt");
    start(options).await
}

async fn start(options: TempPostgresOptions) -> TestPostgres {
    let pg = TestPostgres::private(options).await;
    for role in ROLES {
        let kind = if role == "md5er" { "md5" } else { "scram-sha-256" };
        pg.execute(&format!(
            "SET password_encryption = '{kind}'; CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'secret'"
        ))
        .await;
    }
    pg
}

/// `postgres://role@127.0.0.1:port/database?parameters`
pub(super) fn url(pg: &TestPostgres, role: &str, parameters: &str) -> String {
    let (port, database) = (pg.server().port(), pg.database());
    format!("postgres://{role}@127.0.0.1:{port}/{database}?{parameters}")
}

/// A server that is not PostgreSQL; it stops when dropped.
pub(super) struct Impostor {
    pub(super) port: u16,
    serving: JoinHandle<()>,
}

impl Impostor {
    /// Serves every connection with `serve`.
    #[allow(clippy::disallowed_methods, reason = "aborted when the impostor is dropped")]
    pub(super) async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = std::io::Result<()>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // The client may disconnect first.
                let _ = serve(stream).await;
            }
        });
        Self { port, serving }
    }

    /// Sends `response` after the first bytes of every connection, then disconnects.
    pub(super) async fn responding(response: &'static [u8]) -> Self {
        Self::start(move |mut stream| async move {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await?;
            stream.write_all(response).await
        })
        .await
    }

    pub(super) fn url(&self, parameters: &str) -> String {
        format!("postgres://me@127.0.0.1:{}/app?{parameters}", self.port)
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
