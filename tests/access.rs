//! Access control of the running program: tokens of every kind, on every route, in every spelling.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use highwater::auth::TokenHash;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::jwt::{Signer, seconds_from_now};
use crate::support::{Highwater, PATIENCE, Program, TestPostgres};

const READER: &str = "hw_reader_of_items";
const OTHER: &str = "hw_reader_of_users";
const ADMIN: &str = "hw_operator";

/// Upper bound for the detection of a removed key or an expired token.
const SOON: Duration = Duration::from_secs(40);

/// The program with tokens, on a database with `items` and `users`.
struct Guarded {
    pg: TestPostgres,
    service: Highwater,
    _program: Program,
    log: tempfile::NamedTempFile,
    /// The folder of the key files.
    keys: TempDir,
}

/// A key file: the setting's environment variable, the file's name and its content.
type KeyFile<'a> = (&'a str, &'a str, String);

impl Guarded {
    async fn start() -> Self {
        Self::with_keys(&[], &[]).await
    }

    async fn with_keys(files: &[KeyFile<'_>], settings: &[(&str, &str)]) -> Self {
        let pg = TestPostgres::start().await;
        pg.execute("CREATE TABLE items (id int PRIMARY KEY)").await;
        pg.execute("CREATE TABLE users (id int PRIMARY KEY)").await;
        pg.execute("CREATE PUBLICATION highwater FOR TABLE items, users").await;
        let keys = tempfile::tempdir().unwrap();
        let mut variables = vec![
            ("HIGHWATER_AUTH__MODE".to_owned(), "token".to_owned()),
            ("HIGHWATER_TABLES__ITEMS__ROWS".to_owned(), "preload".to_owned()),
            ("HIGHWATER_LOGGING__LEVEL".to_owned(), "trace".to_owned()),
        ];
        for (name, token, field, value) in [
            ("READER", READER, "TABLES", "items"),
            ("OTHER", OTHER, "TABLES", "users"),
            ("ADMIN", ADMIN, "ADMIN", "true"),
        ] {
            let key = format!("HIGHWATER_AUTH__TOKENS__{name}__");
            variables.push((format!("{key}HASH"), TokenHash::of(token).to_string()));
            variables.push((format!("{key}{field}"), value.to_owned()));
        }
        for (setting, file, text) in files {
            let path = write(&keys, file, text).display().to_string();
            let name = format!("HIGHWATER_AUTH__JWT__{setting}");
            match variables.iter_mut().find(|(known, _)| *known == name) {
                Some((_, paths)) => *paths = format!("{paths},{path}"),
                None => variables.push((name, path)),
            }
        }
        let settings = settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        variables.extend(settings);
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let log = tempfile::NamedTempFile::new().unwrap();
        let stderr = log.reopen().unwrap().into();
        let (service, program) = Highwater::program_as(&pg, &variables, stderr, None).await;
        Self { pg, service, _program: program, log, keys }
    }

    /// The program's log so far.
    fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    async fn status(&self, token: &str, path: &str) -> u16 {
        self.service.fetch_with(path, &bearer(token).each()).await.status
    }

    /// Opens a stream and returns its content once it ends.
    async fn stream_to_its_end(&self, token: &str) -> String {
        let url = format!("{}/v1/stream?tables=items", self.service.url());
        let response = client().get(url).bearer_auth(token).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.text().await.unwrap()
    }

    async fn socket(&self, headers: &[(&'static str, &str)]) -> Result<AccessSocket, u16> {
        let address = self.service.url().replace("http://", "");
        let mut request = format!("ws://{address}/v1/ws").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(address).await.unwrap();
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(AccessSocket(socket)),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// The status of a long poll.
    async fn long_poll(&self, token: &str) -> u16 {
        let begin = self.service.fetch_with("/v1/changes", &bearer(token).each()).await;
        let after = begin.body["version"].as_str().unwrap();
        self.status(token, &format!("/v1/changes?wait=60s&after={after}")).await
    }
}

struct Bearer(String);

fn bearer(token: &str) -> Bearer {
    Bearer(if token.is_empty() { String::new() } else { format!("Bearer {token}") })
}

impl Bearer {
    fn each(&self) -> Vec<(&str, &str)> {
        if self.0.is_empty() { vec![] } else { vec![("authorization", self.0.as_str())] }
    }
}

struct AccessSocket(WebSocketStream<TcpStream>);

impl AccessSocket {
    async fn subscribe(&mut self) -> Value {
        let message = Message::text(r#"{"subscribe":{"tables":["items"]}}"#);
        self.0.send(message).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, self.0.next()).await.unwrap().unwrap().unwrap();
        serde_json::from_str(answer.to_text().unwrap()).unwrap()
    }

    async fn closed(&mut self) -> CloseCode {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("it closes");
            if let Message::Close(frame) = next.expect("a close").unwrap() {
                return frame.expect("a reason").code;
            }
        }
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn write(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    // As deployments do: the new file replaces the old one atomically.
    let new = folder.path().join("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, &path).unwrap();
    path
}

fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// The status of the response to exactly this request target.
async fn raw(service: &Highwater, target: &str, token: &str) -> u16 {
    let mut stream = TcpStream::connect(service.url().replace("http://", "")).await.unwrap();
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn every_route_has_its_access_class() {
    let guarded = Guarded::start().await;
    // No token, an invalid one, a reader of another table, a reader, an admin.
    for (path, expected) in [
        ("/v1/changes?tables=items", [401, 401, 404, 200, 404]),
        ("/v1/tables/items/changes", [401, 401, 404, 200, 404]),
        ("/v1/tables/public.items/changes", [401, 401, 404, 200, 404]),
        ("/v1/tables/items/rows/1", [401, 401, 404, 404, 404]),
        ("/v1/tables/items/rows", [401, 401, 404, 200, 404]),
        ("/v1/tables/items/rows?ids=1", [401, 401, 404, 200, 404]),
        ("/v1/store?tables=items", [401, 401, 404, 200, 404]),
        ("/v1/store", [401, 401, 409, 200, 409]),
        ("/v1/ws", [401, 401, 426, 426, 426]),
        ("/v1/status", [401, 401, 403, 403, 200]),
        ("/metrics", [401, 401, 403, 403, 200]),
        ("/livez", [200; 5]),
        ("/readyz", [200; 5]),
        ("/openapi.json", [200; 5]),
        ("/v1/nothing", [404; 5]),
    ] {
        let mut output = Vec::new();
        for token in ["", "hw_unknown", OTHER, READER, ADMIN] {
            output.push(guarded.status(token, path).await);
        }
        assert_eq!(output, expected, "{path}");
    }
    let mut output = Vec::new();
    for token in ["", "hw_unknown", OTHER, READER, ADMIN] {
        let url = format!("{}/admin/reload?table=items", guarded.service.url());
        let request = client().post(url).header("authorization", format!("Bearer {token}"));
        output.push(request.send().await.unwrap().status().as_u16());
    }
    assert_eq!(output, [401, 401, 403, 403, 202]);
    let missing =
        guarded.service.fetch_with("/v1/tables/items/rows/1", &bearer(READER).each()).await;
    assert_eq!(missing.body["type"], "urn:highwater:problem:unknown-row");
    let hidden = guarded.service.fetch_with("/v1/tables/items/rows/1", &bearer(OTHER).each()).await;
    let absent = guarded.service.fetch_with("/v1/tables/none/rows/1", &bearer(OTHER).each()).await;
    assert_eq!(hidden.body["type"], absent.body["type"]);
    assert_eq!(hidden.body["tables"], json!(["users"]));
}

#[tokio::test]
async fn no_spelling_of_a_path_bypasses_the_access_check() {
    let guarded = Guarded::start().await;
    assert_eq!(raw(&guarded.service, "/v1/changes?tables=items", READER).await, 200);
    for spelling in [
        "//v1/changes",
        "/v1//changes",
        "/%761/changes",
        "/v1/%63hanges",
        "/v1%2Fchanges",
        "/v1/changes/",
        "/V1/CHANGES",
        "/v1/./changes",
        "/x/../v1/changes",
        "/livez/../v1/changes",
        "/openapi.json/../v1/status",
        "/v1/status/",
        "/%6Detrics",
        "//metrics",
        "/v1/tables/items//rows",
        "/v1/tables//rows",
        "http://x/v1/changes",
        "http://x//v1/status",
    ] {
        for token in ["", "hw_unknown"] {
            let output = raw(&guarded.service, spelling, token).await;
            assert!([401, 404].contains(&output), "{spelling}: {output}");
        }
        let output = raw(&guarded.service, spelling, OTHER).await;
        assert!(
            [403, 404].contains(&output) || spelling == "http://x/v1/changes",
            "{spelling}: {output}"
        );
    }
    for table in ["items", "%69tems", "%22items%22", "public.items", "%22public%22.items"] {
        let path = format!("/v1/tables/{table}/rows/1");
        assert_eq!(raw(&guarded.service, &path, OTHER).await, 404, "{path}");
        assert_eq!(raw(&guarded.service, &path, "").await, 401, "{path}");
    }
}

#[tokio::test]
async fn valid_jwts_of_every_algorithm_are_accepted_and_invalid_ones_rejected() {
    let [secret, rsa, p256, ed25519] =
        [Signer::secret(), Signer::rsa(), Signer::p256(), Signer::ed25519()];
    let listed = Signer::p256();
    let files = [
        ("SECRET_FILE", "secret", secret.key_file()),
        ("PUBLIC_KEY_FILES", "rsa.pem", rsa.key_file()),
        ("PUBLIC_KEY_FILES", "p256.pem", p256.key_file()),
        ("PUBLIC_KEY_FILES", "ed25519.pem", ed25519.key_file()),
        ("JWKS_FILE", "jwks.json", jwks(&[listed.jwk("k1")])),
    ];
    let settings = [
        ("HIGHWATER_AUTH__JWT__TABLES", "items,users"),
        ("HIGHWATER_AUTH__JWT__TABLES_CLAIM", "tables"),
        ("HIGHWATER_AUTH__JWT__LEEWAY", "0s"),
    ];
    let guarded = Guarded::with_keys(&files, &settings).await;
    let claims = |exp: i64| json!({"exp": seconds_from_now(exp), "tables": ["items"]});
    let good = claims(600);
    for signer in [&secret, &rsa, &p256, &ed25519] {
        let token = signer.token(&good);
        assert_eq!(guarded.status(&token, "/v1/changes?tables=items").await, 200);
        assert_eq!(guarded.status(&token, "/v1/changes?tables=users").await, 404);
        assert_eq!(guarded.status(&token, "/v1/status").await, 403);
    }
    assert_eq!(guarded.status(&listed.token_by("k1", &good), "/v1/changes").await, 200);
    let confused = Signer::Secret(rsa.key_file());
    for (refused, token) in [
        ("expired", rsa.token(&claims(-5))),
        ("signed by another key", Signer::p256().token(&good)),
        ("signed by another key of that name", Signer::p256().token_by("k1", &good)),
        ("of a name that is not there", Signer::ed25519().token_by("k2", &good)),
        ("a public key taken for a secret", confused.token(&good)),
        ("without the claim", rsa.token(&json!({"exp": seconds_from_now(600)}))),
        ("without an end", rsa.token(&json!({"tables": ["items"]}))),
        ("unsigned", format!("{}.", crate::support::jwt::parts(&json!({"alg": "none"}), &good))),
    ] {
        let reply = guarded.service.fetch_with("/v1/changes", &bearer(&token).each()).await;
        assert_eq!(reply.status, 401, "{refused}");
        assert_eq!(reply.body["detail"], "the token is not valid or has expired", "{refused}");
    }
}

#[tokio::test]
async fn removing_a_key_ends_the_requests_that_it_authorized() {
    let (old, new) = (Signer::ed25519(), Signer::rsa());
    let files = [("JWKS_FILE", "jwks.json", jwks(&[old.jwk("old")]))];
    let settings = [("HIGHWATER_AUTH__JWT__TABLES", "items")];
    let guarded = Guarded::with_keys(&files, &settings).await;
    let claims = json!({"exp": seconds_from_now(3600)});
    let (before, after) = (old.token_by("old", &claims), new.token_by("new", &claims));
    assert_eq!(guarded.status(&after, "/v1/changes").await, 401);

    write(&guarded.keys, "jwks.json", "{ \"keys\": [ half of it");
    let started = Instant::now();
    while !guarded.log().contains("reloading the keys for JWTs failed") {
        assert!(started.elapsed() < SOON, "{}", guarded.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(guarded.status(&before, "/v1/changes").await, 200, "the old keys stay in use");

    let header = format!("Bearer {before}");
    let mut socket = guarded.socket(&[("authorization", header.as_str())]).await.unwrap();
    assert_eq!(socket.subscribe().await["reset"], json!(["items"]));
    let (stream, poll, closed, rotated) = tokio::join!(
        guarded.stream_to_its_end(&before),
        guarded.long_poll(&before),
        socket.closed(),
        async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            write(&guarded.keys, "jwks.json", &jwks(&[new.jwk("new")]));
            Instant::now()
        }
    );
    assert!(rotated.elapsed() < SOON);
    assert!(stream.contains("\"reset\":[\"items\"]"), "{stream}");
    let (_, problem) = stream.rsplit_once("event: problem\ndata: ").expect("a problem at the end");
    assert!(problem.contains("urn:highwater:problem:invalid-token"), "{problem}");
    assert_eq!((poll, closed), (401, CloseCode::Policy));
    assert_eq!(guarded.status(&before, "/v1/changes").await, 401);
    assert_eq!(guarded.status(&after, "/v1/changes").await, 200);
}

#[tokio::test]
async fn an_expired_token_ends_its_bearers_waiting_requests() {
    let signer = Signer::secret();
    let files = [("SECRET_FILE", "secret", signer.key_file())];
    let settings =
        [("HIGHWATER_AUTH__JWT__TABLES", "items"), ("HIGHWATER_AUTH__JWT__LEEWAY", "0s")];
    let guarded = Guarded::with_keys(&files, &settings).await;
    let token = signer.token(&json!({"exp": seconds_from_now(6)}));
    let header = format!("Bearer {token}");
    let mut socket = guarded.socket(&[("authorization", header.as_str())]).await.unwrap();
    let started = Instant::now();
    // A position that is never reached.
    let row = "/v1/tables/items/rows/1?at_least=FFFFFFFF/0&wait=60s";
    let (stream, poll, row, closed) = tokio::join!(
        guarded.stream_to_its_end(&token),
        guarded.long_poll(&token),
        guarded.status(&token, row),
        socket.closed()
    );
    assert!(started.elapsed() < SOON && started.elapsed() > Duration::from_secs(2));
    assert!(stream.contains("event: problem"), "{stream}");
    assert_eq!((poll, row, closed), (401, 401, CloseCode::Policy));
}

#[tokio::test]
async fn web_pages_send_the_token_of_a_socket_as_a_subprotocol() {
    let guarded = Guarded::start().await;
    let protocol = "sec-websocket-protocol";
    let offered = format!("highwater, bearer.{READER}");
    let mut socket = guarded.socket(&[(protocol, offered.as_str())]).await.unwrap();
    assert_eq!(socket.subscribe().await["reset"], json!(["items"]));
    let refused = guarded.socket(&[(protocol, "highwater, bearer.hw_unknown")]).await;
    assert_eq!(refused.err(), Some(401));
    assert_eq!(guarded.socket(&[(protocol, "highwater")]).await.err(), Some(401));
    assert_eq!(guarded.socket(&[]).await.err(), Some(401));
}

#[tokio::test]
async fn logs_status_and_metrics_contain_no_secret() {
    let signer = Signer::secret();
    let files = [("SECRET_FILE", "secret", signer.key_file())];
    let settings = [("HIGHWATER_AUTH__JWT__TABLES", "items")];
    let guarded = Guarded::with_keys(&files, &settings).await;
    let good = signer.token(&json!({"exp": seconds_from_now(600), "sub": "secret-subject"}));
    let bad = Signer::secret().token(&json!({"exp": seconds_from_now(600)}));
    for token in [good.as_str(), &bad, READER, "hw_unknown"] {
        guarded.status(token, "/v1/changes?tables=items").await;
        let offered = format!("highwater, bearer.{token}");
        drop(guarded.socket(&[("sec-websocket-protocol", offered.as_str())]).await);
    }
    let mut output = guarded.log();
    assert!(output.contains("token rejected"), "the rejection is logged with its reason: {output}");
    for path in ["/v1/status", "/metrics"] {
        let reply = guarded.service.fetch_with(path, &bearer(ADMIN).each()).await;
        assert_eq!(reply.status, 200);
        output.push_str(&reply.body.to_string());
    }
    let hash = TokenHash::of(READER).to_string();
    let signature = good.rsplit('.').next().unwrap();
    let bad = bad.rsplit('.').next().unwrap();
    let secret = signer.key_file();
    for secret in
        [READER, ADMIN, "hw_unknown", &hash[7..], signature, bad, &secret, "secret-subject"]
    {
        assert!(!output.contains(secret), "{secret} is printed");
    }
}

async fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
    command.args(arguments).env_clear().envs(variables.iter().copied());
    command.stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn commands_send_a_token_from_a_file_or_from_the_environment() {
    let guarded = Guarded::start().await;
    let url = guarded.service.url();
    let [admin, reader] = [("admin", ADMIN), ("reader", READER)]
        .map(|(name, token)| write(&guarded.keys, name, &format!("{token}\n")));
    let shown = |path: &Path| path.display().to_string();
    let status = ["status", "--url", &url];
    let refused = command(&status, &[]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("--token-file"), "{}", text(&refused.stderr));
    let known = command(&status, &[("HIGHWATER_TOKEN", ADMIN)]).await;
    assert_eq!(known.status.code(), Some(0), "{}", text(&known.stderr));
    let admin = shown(&admin);
    let reload = ["reload", "items", "--url", &url, "--token-file", &admin];
    let reloading = command(&reload, &[("HIGHWATER_TOKEN", READER)]).await;
    assert_eq!(text(&reloading.stdout), "reloading items\n", "{}", text(&reloading.stderr));
    let reader = shown(&reader);
    let refused = command(&["status", "--url", &url, "--token-file", &reader], &[]).await;
    assert!(
        text(&refused.stderr).contains("if http.admin_listen is set"),
        "{}",
        text(&refused.stderr)
    );
    let tail = ["tail", "--url", &url, "--tables", "users", "--token-file", &reader];
    let hidden = command(&tail, &[]).await;
    assert_eq!(hidden.status.code(), Some(1));
    assert!(text(&hidden.stderr).contains("no published table"), "{}", text(&hidden.stderr));
    let none = command(&["status", "--url", &url, "--token-file", "/nowhere"], &[]).await;
    assert_eq!(none.status.code(), Some(2));
    guarded.pg.execute("INSERT INTO items VALUES (1)").await;
}

#[tokio::test]
async fn a_generated_token_is_accepted_with_the_printed_configuration() {
    let made = command(&["token", "--name", "shop", "--tables", "items"], &[]).await;
    let output = text(&made.stdout);
    let token = output.lines().find(|line| line.starts_with("hw_")).expect("a token").to_owned();
    let lines = output.split_once("[auth.tokens.shop]\n").expect("lines for the configuration").1;
    assert!(
        lines.contains("hash = \"sha256:") && lines.contains("tables = [\"items\"]"),
        "{output}"
    );
    assert!(!lines.contains(&token));
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE items (id int PRIMARY KEY)").await;
    pg.execute("CREATE PUBLICATION highwater FOR TABLE items").await;
    let folder = tempfile::tempdir().unwrap();
    let config = format!("[auth]\nmode = \"token\"\n[auth.tokens.shop]\n{lines}");
    let config = write(&folder, "highwater.toml", &config).display().to_string();
    let (service, _program) =
        Highwater::program(&pg, &[("HIGHWATER_CONFIG", config.as_str())]).await;
    let reply = service.fetch_with("/v1/changes", &bearer(&token).each()).await;
    assert_eq!((reply.status, &reply.body["reset"]), (200, &json!(["items"])));
    assert_eq!(service.fetch("/v1/changes").await.status, 401);
}

#[tokio::test]
async fn the_service_does_not_start_without_its_keys() {
    let pg = TestPostgres::start().await;
    let variables = [
        ("HIGHWATER_AUTH__MODE", "token"),
        ("HIGHWATER_AUTH__JWT__TABLES", "*"),
        ("HIGHWATER_AUTH__JWT__JWKS_FILE", "/nowhere/jwks.json"),
    ];
    let url = pg.url();
    let refused = command(&["run", "--url", &url, "--listen", "127.0.0.1:0"], &variables).await;
    assert_eq!(refused.status.code(), Some(1));
    let output = text(&refused.stderr);
    assert!(output.contains("auth.jwt.jwks_file /nowhere/jwks.json: No such file"), "{output}");
}

#[tokio::test]
async fn check_reads_the_keys_for_jwts() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE items (id int PRIMARY KEY)").await;
    pg.execute("CREATE PUBLICATION highwater FOR TABLE items").await;
    let folder = tempfile::tempdir().unwrap();
    let signers = [Signer::ed25519(), Signer::rsa()];
    let good = jwks(&[signers[0].jwk("a"), signers[1].jwk("b")]);
    for (text, code, expected) in [
        (good.as_str(), 0, "2 keys for JWTs usable"),
        (r#"{"keys":[]}"#, 0, "the set in auth.jwt.jwks_file has no keys"),
        ("{ half of it", 1, "not a JSON Web Key Set"),
    ] {
        let file = write(&folder, "jwks.json", text).display().to_string();
        let variables = [
            ("HIGHWATER_AUTH__MODE", "token"),
            ("HIGHWATER_AUTH__JWT__TABLES", "*"),
            ("HIGHWATER_AUTH__JWT__JWKS_FILE", file.as_str()),
        ];
        let checked = command(&["check", "--url", &pg.url()], &variables).await;
        let output = self::text(&checked.stdout);
        assert_eq!(checked.status.code(), Some(code), "{output}");
        assert!(output.contains(expected), "{output}");
    }
}

#[tokio::test]
async fn the_claims_of_a_jwt_select_the_rows_that_its_bearer_sees() {
    let signer = Signer::secret();
    let files = [("SECRET_FILE", "secret", signer.key_file())];
    let settings = [
        ("HIGHWATER_AUTH__JWT__TABLES", "items,users"),
        ("HIGHWATER_AUTH__JWT__WHERE__USERS__ID__CLAIM", "sub"),
        ("HIGHWATER_TABLES__USERS__ROWS", "preload"),
        ("HIGHWATER_TABLES__USERS__SCOPE", "id"),
    ];
    let guarded = Guarded::with_keys(&files, &settings).await;
    let token = |sub: Value| signer.token(&json!({"exp": seconds_from_now(600), "sub": sub}));
    let (ann, bob) = (token(json!("1")), token(json!(2)));
    let reply = guarded.service.fetch_with("/v1/changes", &bearer(&ann).each()).await;
    let after = reply.body["version"].as_str().unwrap().to_owned();
    guarded
        .pg
        .execute("INSERT INTO users VALUES (1), (2), (3); INSERT INTO items VALUES (9)")
        .await;
    let written: String = guarded.pg.value("SELECT pg_current_wal_insert_lsn()::text").await;
    for (token, id) in [(&ann, 1), (&bob, 2)] {
        let bearer = bearer(token);
        let fetch = async |path: &str| guarded.service.fetch_with(path, &bearer.each()).await;
        let row = fetch(&format!("/v1/tables/users/rows/{id}?at_least={written}")).await;
        assert_eq!((row.status, row.body), (200, json!({"id": id})));
        let poll = fetch(&format!("/v1/changes?after={after}")).await;
        let own = json!({"table": "users", "id": id, "op": "insert"});
        let public = json!({"table": "items", "id": 9, "op": "insert"});
        assert_eq!(poll.body["changes"], json!([own, public]));
        assert_eq!(fetch("/v1/store?tables=users").await.body["users"], json!([{"id": id}]));
        assert_eq!(fetch("/v1/tables/users/rows/3").await.status, 404);
        let others = fetch(&format!("/v1/changes?tables=users&where=id:3&after={after}")).await;
        assert_eq!(others.body["changes"], json!([]));
    }
    let without_claim = signer.token(&json!({"exp": seconds_from_now(600)}));
    assert_eq!(guarded.status(&without_claim, "/v1/changes").await, 401, "the claim is missing");
}
