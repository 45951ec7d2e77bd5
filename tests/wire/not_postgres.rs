//! Servers that are not PostgreSQL, or can't replicate.

use std::time::{Duration, Instant};

use highwater::wire::{ConnectErrorKind, WalsenderConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::servers::Impostor;
use super::{connect_error, target};

const HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn an_http_server_is_recognised() {
    let http = Impostor::responding(HTTP).await;
    for parameters in ["sslmode=disable", "sslmode=require"] {
        let message = connect_error(&http.url(parameters)).await;
        let expected = "this is not a PostgreSQL server: it answered \"HTTP/1.1 400 Bad Request\"";
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn other_services_are_recognised() {
    for response in [
        &b"J\0\0\0\x0a8.0.36\0"[..],
        b"220 mail.example ESMTP\r\n",
        b"-ERR unknown command\r\n",
        b"D\0\0\0\x06\0\0",
        b"R\0\0\0\x06\0\0",
    ] {
        let other = Impostor::responding(response).await;
        let error = WalsenderConnection::connect(&target(&other.url("sslmode=disable")))
            .await
            .err()
            .unwrap();
        assert!(error.is_permanent(), "{error}");
    }
}

#[tokio::test]
async fn a_silent_server_times_out() {
    let silent = Impostor::start(|stream| async move {
        tokio::time::sleep(Duration::from_mins(1)).await;
        drop(stream);
        Ok(())
    })
    .await;
    for parameters in ["sslmode=disable", "sslmode=require"] {
        let started = Instant::now();
        let target = target(&silent.url(&format!("{parameters}&connect_timeout=1")));
        let error = WalsenderConnection::connect(&target).await.err().unwrap();
        assert!(started.elapsed() < Duration::from_secs(30));
        assert!(matches!(error.kind(), ConnectErrorKind::Timeout { seconds: 1 }), "{error}");
        assert!(!error.is_permanent());
    }
}

#[tokio::test]
async fn an_unknown_name_is_reported() {
    let message = connect_error("postgres://me@nowhere.invalid/app").await;
    assert!(
        message.starts_with("nowhere.invalid:5432: the host name can't be resolved"),
        "{message}"
    );
    let message = connect_error("postgres:///app?user=me&host=/nowhere").await;
    assert!(message.starts_with("/nowhere:5432: can't connect (No such file"), "{message}");
}

#[tokio::test]
async fn the_error_of_a_server_out_of_processes_is_reported() {
    let server = Impostor::responding(
        b"Ecould not fork new process for connection: Cannot allocate memory\n\0",
    )
    .await;
    let error =
        WalsenderConnection::connect(&target(&server.url("sslmode=disable"))).await.err().unwrap();
    assert!(error.to_string().contains("could not fork new process"), "{error}");
    assert!(!error.is_permanent());
}

/// Encodes an ErrorResponse.
fn error(fields: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + fields.len()).unwrap();
    [&b"E"[..], &length.to_be_bytes(), fields].concat()
}

/// A pooler that rejects the startup parameter `replication`, with PgBouncer's error message.
async fn strict_pooler(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let _ = stream.read(&mut request).await?;
    let fields = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: replication\0\0";
    stream.write_all(&error(fields)).await
}

/// A pooler that ignores the startup parameter `replication`: it accepts the session, and passes on the server's
/// syntax error for a replication command.
async fn ignoring_pooler(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let _ = stream.read(&mut request).await?;
    stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await?;
    while stream.read(&mut request).await? > 0 {
        let fields =
            b"VERROR\0C42601\0Msyntax error at or near \"IDENTIFY_SYSTEM\"\0Rscanner_yyerror\0\0";
        stream.write_all(&[&error(fields)[..], b"Z\0\0\0\x05I"].concat()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_pooler_is_recognised() {
    let ignoring = Impostor::start(ignoring_pooler).await;
    let strict = Impostor::start(strict_pooler).await;
    for pooler in [ignoring, strict] {
        let error = WalsenderConnection::connect(&target(&pooler.url("sslmode=disable")))
            .await
            .err()
            .unwrap();
        assert!(matches!(error.kind(), ConnectErrorKind::Pooler(_)), "{error}");
        assert!(error.to_string().contains("use the direct address"), "{error}");
        assert!(error.is_permanent());
    }
}

#[tokio::test]
async fn unsupported_authentication_is_named() {
    for (response, method) in [
        (&b"R\0\0\0\x08\0\0\0\x07"[..], "GSSAPI"),
        (b"R\0\0\0\x08\0\0\0\x09", "SSPI"),
        (b"R\0\0\0\x08\0\0\0\x63", "an unknown method of (99)"),
        (b"R\0\0\0\x10\0\0\0\x0aOAUTH\0\0\0", "OAUTH"),
    ] {
        let server = Impostor::responding(response).await;
        let url = server.url("sslmode=disable&password=x");
        let message = connect_error(&url).await;
        assert!(
            message.contains(&format!("the server requests {method} authentication")),
            "{message}"
        );
    }
}

/// A server that doesn't know the password, and accepts the client without its own proof.
async fn scram_impostor(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let _ = stream.read(&mut request).await?;
    stream.write_all(b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0").await?;
    let count = stream.read(&mut request).await?;
    // A nonce holds no comma, but it may hold "r=".
    let nonce = String::from_utf8_lossy(&request[..count]).split_once(",r=").unwrap().1.to_owned();
    let challenge = format!("r={nonce}x,s=c2FsdA==,i=4096");
    let length = u32::try_from(8 + challenge.len()).unwrap();
    stream
        .write_all(
            &[&b"R"[..], &length.to_be_bytes(), b"\0\0\0\x0b", challenge.as_bytes()].concat(),
        )
        .await?;
    let _ = stream.read(&mut request).await?;
    stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await
}

#[tokio::test]
async fn a_server_must_authenticate_itself() {
    let impostor = Impostor::start(scram_impostor).await;
    let message = connect_error(&impostor.url("sslmode=disable&password=x")).await;
    assert!(message.contains("(messages out of order); do not trust this server"), "{message}");
}
