//! TLS on the listeners, with the program itself and clients of both protocols.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::{StatusCode, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::commands::{finish, highwater, program};
use crate::support::{
    CertificateAuthority, CertificateFiles, Highwater, PATIENCE, SignedPair, TestPostgres, trusting,
};

async fn shop() -> TestPostgres {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE items (id int PRIMARY KEY); CREATE PUBLICATION highwater FOR TABLE items",
    )
    .await;
    pg
}

/// The files of a certificate and key, and the settings that name them.
struct TlsPair {
    files: CertificateFiles,
    certificate: String,
    key: String,
}

impl TlsPair {
    fn new(signed: &SignedPair) -> Self {
        let files = CertificateFiles::new();
        let certificate = files.write("tls.crt", &signed.certificate);
        let key = files.write("tls.key", &signed.key);
        Self { files, certificate, key }
    }

    fn replace(&self, signed: &SignedPair) {
        self.files.write("tls.crt", &signed.certificate);
        self.files.write("tls.key", &signed.key);
    }

    fn settings(&self) -> [(&'static str, &str); 2] {
        [("http.tls_cert_file", &self.certificate), ("http.tls_key_file", &self.key)]
    }

    fn variables(&self) -> [(&'static str, &str); 2] {
        [
            ("HIGHWATER_HTTP__TLS_CERT_FILE", &self.certificate),
            ("HIGHWATER_HTTP__TLS_KEY_FILE", &self.key),
        ]
    }
}

fn signed_by(authority: &CertificateAuthority) -> SignedPair {
    authority.sign("highwater", &["127.0.0.1", "localhost"])
}

#[tokio::test]
async fn clients_are_served_over_tls_by_either_protocol() {
    let (pg, authority) = (shop().await, CertificateAuthority::new());
    let pair = TlsPair::new(&signed_by(&authority));
    let service = Highwater::launch(&pg, &pair.settings()).await.trusting(&authority);
    service.ready().await;
    let url = service.url();
    assert!(url.starts_with("https://"), "{url}");

    let either = [
        (trusting(&authority), Version::HTTP_2),
        (trusting(&authority).http1_only(), Version::HTTP_11),
    ];
    for (client, version) in either {
        let client = client.build().unwrap();
        let poll = client.get(format!("{url}/v1/changes")).send().await.unwrap();
        assert_eq!((poll.status(), poll.version()), (StatusCode::OK, version));
        let head = client.head(format!("{url}/v1/changes")).send().await.unwrap();
        assert_eq!((head.status(), head.version()), (StatusCode::OK, version));
        assert!(head.bytes().await.unwrap().is_empty());
        let options = client.request(reqwest::Method::OPTIONS, format!("{url}/v1/changes"));
        let options = options.send().await.unwrap();
        assert_eq!(options.status(), StatusCode::NO_CONTENT);
        assert_eq!(options.headers()["allow"], "GET, HEAD, OPTIONS");
        let mut stream = client.get(format!("{url}/v1/stream")).send().await.unwrap();
        for begins in ["retry: ", "id: "] {
            let chunk = stream.chunk().await.unwrap().expect("more comes");
            assert!(chunk.starts_with(begins.as_bytes()), "{chunk:?}");
        }
        let after = poll.headers()["highwater-version"].to_str().unwrap();
        let waiting = client.get(format!("{url}/v1/changes?wait=500ms&after={after}"));
        assert!(waiting.send().await.unwrap().text().await.unwrap().contains("\"changes\":[]"));
    }

    // Clients that do not trust the authority, and clear-text clients, get no response.
    let stranger = trusting(&CertificateAuthority::new()).build().unwrap();
    assert!(stranger.get(format!("{url}/livez")).send().await.is_err());
    let mut plain = TcpStream::connect(service.address()).await.unwrap();
    plain.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let metrics = service.fetch("/metrics").await.body.to_string();
    assert!(
        metrics.contains("highwater_http_connections_closed_total{reason=\\\"tls_handshake\\\"} 2"),
        "{metrics}"
    );
    assert!(metrics.contains("highwater_tls_certificate_expiry_timestamp_seconds "), "{metrics}");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn the_admin_listener_on_loopback_is_served_in_clear_text() {
    let (pg, authority) = (shop().await, CertificateAuthority::new());
    let pair = TlsPair::new(&signed_by(&authority));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let admin = free.to_string();
    let settings = [&pair.settings()[..], &[("http.admin_listen", &admin)]].concat();
    let service = Highwater::launch(&pg, &settings).await.trusting(&authority);
    let started = Instant::now();
    while asked(&format!("http://{admin}/readyz")).await != Some(StatusCode::OK) {
        assert!(started.elapsed() < PATIENCE, "not ready");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(service.fetch("/livez").await.status, 404);
    assert_eq!(service.fetch("/v1/changes").await.status, 200);
    service.stop().await.unwrap();
}

async fn asked(url: &str) -> Option<StatusCode> {
    reqwest::get(url).await.ok().map(|answer| answer.status())
}

#[tokio::test]
async fn a_new_certificate_is_loaded_on_request_and_a_broken_one_is_not() {
    let (pg, old, new) = (shop().await, CertificateAuthority::new(), CertificateAuthority::new());
    let pair = TlsPair::new(&signed_by(&old));
    let log_file = pair.files.write("log", "");
    let log = || std::fs::read_to_string(&log_file).unwrap();
    let (service, running) = Highwater::program_as(
        &pg,
        &pair.variables(),
        Stdio::from(File::create(&log_file).unwrap()),
        Some(&old),
    )
    .await;
    let held = service.version().await;
    let poll = format!("/v1/changes?tables=items&after={held}&wait=30s");
    let waiting = service.open(&poll, None);

    let changing = async {
        pair.replace(&signed_by(&new));
        running.signal(Signal::SIGHUP);
        until(async || is_trusted(&new, service.address()).await).await;
        assert!(
            !is_trusted(&old, service.address()).await,
            "the old certificate is no longer used"
        );

        // Only the key changes: it does not match the certificate.
        pair.files.write("tls.key", &signed_by(&new).key);
        running.signal(Signal::SIGHUP);
        until(async || log().contains("failed to reload the TLS certificate")).await;
        let said = log();
        assert!(said.contains("is not the key of the first certificate"), "{said}");
        assert!(
            is_trusted(&new, service.address()).await,
            "the previous certificate is still used"
        );
        running.signal(Signal::SIGHUP);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(log().matches("failed to reload").count(), 1, "logged once: {}", log());
        pair.replace(&signed_by(&old));
        running.signal(Signal::SIGHUP);
        until(async || is_trusted(&old, service.address()).await).await;
        pg.execute("INSERT INTO items VALUES (1)").await;
    };
    // A poll that waited meanwhile was not disturbed.
    let (answer, ()) = tokio::join!(waiting, changing);
    assert!(answer.text().await.unwrap().contains(r#""id":1,"op":"insert""#));
}

/// Whether a new connection gets a certificate signed by this authority.
async fn is_trusted(authority: &CertificateAuthority, address: SocketAddr) -> bool {
    let client = trusting(authority).build().unwrap();
    client.get(format!("https://{address}/livez")).send().await.is_ok()
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "not in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_commands_connect_over_tls() {
    let (pg, authority) = (shop().await, CertificateAuthority::new());
    let pair = TlsPair::new(&signed_by(&authority));
    let ca = pair.files.write("ca.crt", authority.pem());
    let settings = [&pair.settings()[..], &[("tables.items.rows", "lazy")]].concat();
    let service = Highwater::launch(&pg, &settings).await.trusting(&authority);
    service.ready().await;
    let url = service.url();
    let flags = ["--url", &url, "--ca-file", &ca];

    highwater(&[&["status"], &flags[..]].concat()).await.expect(0).says("highwater streaming");
    highwater(&[&["reload", "items"], &flags[..]].concat()).await.expect(0).says("reloading items");
    highwater(&[&["tail", "--tables", "none"], &flags[..]].concat())
        .await
        .expect(1)
        .says("no published table");
    let mut by_variable = program(&["status", "--url", &url]);
    by_variable.env("SSL_CERT_FILE", &ca);
    finish(by_variable).await.expect(0);

    highwater(&["status", "--url", &url]).await.expect(1).says("certificate");
    let key = ["status", "--url", &url, "--ca-file", &pair.key];
    highwater(&key).await.expect(2).says("it contains no certificates in PEM format");
    let nothing = ["status", "--url", &url, "--ca-file", "/nothing/here"];
    highwater(&nothing).await.expect(2).says("--ca-file /nothing/here: No such file");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn unusable_files_are_reported_at_start_and_by_check() {
    let (pg, authority) = (shop().await, CertificateAuthority::new());
    let (one, other) = (signed_by(&authority), signed_by(&authority));
    let files = CertificateFiles::new();
    let [certificate, key] = [files.write("c", &one.certificate), files.write("k", &one.key)];
    let other = files.write("other", &other.key);
    let text = files.write("text", "hello\n");
    let said_of = async |certificate: &str, key: &str, code: i32| {
        let variables =
            [("HIGHWATER_HTTP__TLS_CERT_FILE", certificate), ("HIGHWATER_HTTP__TLS_KEY_FILE", key)];
        let mut outputs = Vec::new();
        for command in [&["check"][..], &["run", "--listen", "127.0.0.1:0"]] {
            // With a valid pair it would run until stopped.
            if code == 0 && command[0] == "run" {
                continue;
            }
            let flags = ["--url", &pg.url(), "--slot", pg.database()];
            let mut command = program(&[command, &flags].concat());
            command.envs(variables);
            let finished = finish(command).await.expect(code);
            outputs.push(finished);
        }
        outputs
    };
    for (certificate, key, problem) in [
        ("/nothing/here", key.as_str(), "http.tls_cert_file \"/nothing/here\" can't be read"),
        (&certificate, "/nothing/here", "http.tls_key_file \"/nothing/here\" can't be read"),
        (&text, &key, "it contains no certificate in PEM form"),
        (&certificate, &text, "expected a private key in PEM form"),
        (&certificate, &other, "is not the key of the first certificate"),
    ] {
        for finished in said_of(certificate, key, 1).await {
            finished.says(problem);
        }
    }
    for finished in said_of(&certificate, "", 2).await {
        finished.says("http.tls_cert_file is given, but http.tls_key_file is not");
    }
    for finished in said_of(&certificate, &key, 0).await {
        finished.says("the certificate is valid until");
    }
}

#[tokio::test]
async fn slow_handshakes_delay_no_other_client_and_time_out() {
    let (pg, authority) = (shop().await, CertificateAuthority::new());
    let pair = TlsPair::new(&signed_by(&authority));
    let settings = [&pair.settings()[..], &[("http.header_timeout", "6s")]].concat();
    let service = Highwater::launch(&pg, &settings).await.trusting(&authority);
    service.ready().await;
    let mut silent = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(service.address()).await.unwrap();
        if number % 2 == 0 {
            // The first bytes of a handshake.
            stream.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
        }
        silent.push(stream);
    }
    let started = Instant::now();
    assert!(is_trusted(&authority, service.address()).await);
    // Before the others are closed: it does not wait for them.
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    for mut stream in silent {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "it is closed in time");
        assert!(rest.is_empty());
    }
    let metrics = service.fetch("/metrics").await.body.to_string();
    assert!(metrics.contains("{reason=\\\"header_timeout\\\"} 300"), "{metrics}");
    service.stop().await.unwrap();
}
