//! What is not a PostgreSQL server, or not one that can replicate.

use std::time::{Duration, Instant};

use highwater::wire::{ConnectErrorKind, WalsenderConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::servers::Impostor;
use super::{refusal, target};

const HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn an_http_server_is_recognised() {
    let http = Impostor::answering(HTTP).await;
    for parameters in ["sslmode=disable", "sslmode=require"] {
        let said = refusal(&http.url(parameters)).await;
        let expected = "this is not a PostgreSQL server: it answered \"HTTP/1.1 400 Bad Request\"";
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn other_strangers_are_recognised_too() {
    for answer in [
        &b"J\0\0\0\x0a8.0.36\0"[..],
        b"220 mail.example ESMTP\r\n",
        b"-ERR unknown command\r\n",
        b"D\0\0\0\x06\0\0",
        b"R\0\0\0\x06\0\0",
    ] {
        let stranger = Impostor::answering(answer).await;
        let error = WalsenderConnection::connect(&target(&stranger.url("sslmode=disable")))
            .await
            .err()
            .unwrap();
        assert!(error.is_permanent(), "{error}");
    }
}

#[tokio::test]
async fn a_silent_server_has_a_limited_time() {
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
async fn a_name_that_does_not_exist_says_so() {
    let said = refusal("postgres://me@nowhere.invalid/app").await;
    assert!(said.starts_with("nowhere.invalid:5432: the host name can't be resolved"), "{said}");
    let said = refusal("postgres:///app?user=me&host=/nowhere").await;
    assert!(said.starts_with("/nowhere:5432: can't connect (No such file"), "{said}");
}

#[tokio::test]
async fn a_server_out_of_processes_is_heard() {
    let server = Impostor::answering(
        b"Ecould not fork new process for connection: Cannot allocate memory\n\0",
    )
    .await;
    let error =
        WalsenderConnection::connect(&target(&server.url("sslmode=disable"))).await.err().unwrap();
    assert!(error.to_string().contains("could not fork new process"), "{error}");
    assert!(!error.is_permanent());
}

/// An ErrorResponse.
fn error(fields: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + fields.len()).unwrap();
    [&b"E"[..], &length.to_be_bytes(), fields].concat()
}

/// A pooler that knows no start-up parameter `replication`, in PgBouncer's words.
async fn strict_pooler(mut stream: TcpStream) -> std::io::Result<()> {
    let mut question = [0; 1024];
    let _ = stream.read(&mut question).await?;
    let fields = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: replication\0\0";
    stream.write_all(&error(fields)).await
}

/// A server that lets everybody in, then answers every query with a syntax error: what a pooler
/// that forgot about `replication` passes on.
async fn forgetful_pooler(mut stream: TcpStream) -> std::io::Result<()> {
    let mut question = [0; 1024];
    let _ = stream.read(&mut question).await?;
    stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await?;
    while stream.read(&mut question).await? > 0 {
        let fields =
            b"VERROR\0C42601\0Msyntax error at or near \"IDENTIFY_SYSTEM\"\0Rscanner_yyerror\0\0";
        stream.write_all(&[&error(fields)[..], b"Z\0\0\0\x05I"].concat()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_pooler_is_recognised() {
    let forgetful = Impostor::start(forgetful_pooler).await;
    let strict = Impostor::start(strict_pooler).await;
    for pooler in [forgetful, strict] {
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
async fn authentication_we_don_t_speak_is_named() {
    for (answer, method) in [
        (&b"R\0\0\0\x08\0\0\0\x07"[..], "GSSAPI"),
        (b"R\0\0\0\x08\0\0\0\x09", "SSPI"),
        (b"R\0\0\0\x08\0\0\0\x63", "an unknown kind of (99)"),
        (b"R\0\0\0\x10\0\0\0\x0aOAUTH\0\0\0", "OAUTH"),
    ] {
        let server = Impostor::answering(answer).await;
        let url = server.url("sslmode=disable&password=x");
        let said = refusal(&url).await;
        assert!(said.contains(&format!("the server asks for {method} authentication")), "{said}");
    }
}

/// A server that doesn't know the password, and lets us in without proving that it does.
async fn scram_impostor(mut stream: TcpStream) -> std::io::Result<()> {
    let mut question = [0; 1024];
    let _ = stream.read(&mut question).await?;
    stream.write_all(b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0").await?;
    let count = stream.read(&mut question).await?;
    // A nonce holds no comma, but it may hold "r=".
    let nonce = String::from_utf8_lossy(&question[..count]).split_once(",r=").unwrap().1.to_owned();
    let challenge = format!("r={nonce}x,s=c2FsdA==,i=4096");
    let length = u32::try_from(8 + challenge.len()).unwrap();
    stream
        .write_all(
            &[&b"R"[..], &length.to_be_bytes(), b"\0\0\0\x0b", challenge.as_bytes()].concat(),
        )
        .await?;
    let _ = stream.read(&mut question).await?;
    stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await
}

#[tokio::test]
async fn a_server_must_prove_itself_too() {
    let impostor = Impostor::start(scram_impostor).await;
    let said = refusal(&impostor.url("sslmode=disable&password=x")).await;
    assert!(said.contains("(messages out of order); do not trust this server"), "{said}");
}
