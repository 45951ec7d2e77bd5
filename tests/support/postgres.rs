//! A real PostgreSQL for every test: a separate database on the server that all tests of the process
//! share, or a private server.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use highwater::temp_postgres::{
    FindOptions, Installation, TempPostgres, TempPostgresOptions, cache_directory, fetch,
};
use tokio::task::JoinHandle;
use tokio_postgres::types::FromSqlOwned;
use tokio_postgres::{Client, NoTls, Row};

/// The shared server. It is never dropped: its watchdog stops it after this process.
static SHARED: OnceLock<TempPostgres> = OnceLock::new();

/// The number in the name of the next test's database.
static DATABASES: AtomicU32 = AtomicU32::new(1);

/// A database for one test, and a session in it.
pub(crate) struct TestPostgres {
    server: ServerHandle,
    database: String,
    session: TestSession,
}

/// The shared server or a private one.
enum ServerHandle {
    Shared(&'static TempPostgres),
    Private(Box<TempPostgres>),
}

impl TestPostgres {
    /// A new database on the shared server. Slots belong to the whole server: name them after
    /// [`TestPostgres::database`], and drop them.
    pub(crate) async fn start() -> Self {
        let server = blocking(|| SHARED.get_or_init(start_shared_server)).await;
        Self::in_new_database(ServerHandle::Shared(server)).await
    }

    /// A private server, for other settings, and to be stopped or killed. It has the system identifier of
    /// the shared server.
    pub(crate) async fn private(mut options: TempPostgresOptions) -> Self {
        options.templates = Some(templates());
        Self::unrelated(options).await
    }

    /// A private server with its own system identifier.
    pub(crate) async fn unrelated(options: TempPostgresOptions) -> Self {
        let server = blocking(move || start_server(options)).await;
        Self::in_new_database(ServerHandle::Private(Box::new(server))).await
    }

    /// A private server that starts with the data directory and the database of another one.
    pub(crate) async fn of_template(options: TempPostgresOptions, database: &str) -> Self {
        let server = blocking(move || start_server(options)).await;
        let session = TestSession::open(&server.socket_url(database)).await;
        Self { server: ServerHandle::Private(Box::new(server)), database: database.into(), session }
    }

    async fn in_new_database(server: ServerHandle) -> Self {
        let database = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let url = server.get().socket_url("postgres");
        TestSession::open(&url).await.execute(&format!("CREATE DATABASE {database}")).await;
        let session = TestSession::open(&server.get().socket_url(&database)).await;
        Self { server, database, session }
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.session.execute(sql).await;
    }

    pub(crate) async fn query(&self, sql: &str) -> Vec<Row> {
        self.session.query(sql).await
    }

    /// The only row of a query.
    pub(crate) async fn query_one(&self, sql: &str) -> Row {
        self.session.query_one(sql).await
    }

    /// The only column of the only row of a query.
    pub(crate) async fn value<T: FromSqlOwned>(&self, sql: &str) -> T {
        self.session.value(sql).await
    }

    /// Opens another session in the same database.
    pub(crate) async fn connect(&self) -> TestSession {
        TestSession::open(&self.server().socket_url(&self.database)).await
    }

    /// Replaces the session after the server was stopped.
    pub(crate) async fn reconnect(&mut self) {
        self.session = self.connect().await;
    }

    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// The database's URL over TCP, as the superuser.
    pub(crate) fn url(&self) -> String {
        self.server().url(&self.database)
    }

    /// The database's URL over the Unix socket, as the superuser.
    pub(crate) fn socket_url(&self) -> String {
        self.server().socket_url(&self.database)
    }

    pub(crate) fn server(&self) -> &TempPostgres {
        self.server.get()
    }
}

impl ServerHandle {
    fn get(&self) -> &TempPostgres {
        match self {
            Self::Shared(server) => server,
            Self::Private(server) => server,
        }
    }
}

/// One SQL session. Every method panics with the server's message when it fails.
pub(crate) struct TestSession {
    client: Client,
    driver: JoinHandle<()>,
}

impl TestSession {
    #[allow(clippy::disallowed_methods, reason = "aborted when the session is dropped")]
    pub(crate) async fn open(url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls)
            .await
            .unwrap_or_else(|error| panic!("connect to {url}: {error:?}"));
        // The client's methods report the end of the connection.
        let driver = tokio::spawn(async { drop(connection.await) });
        Self { client, driver }
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub(crate) async fn query(&self, sql: &str) -> Vec<Row> {
        self.client.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// The only row of a query.
    pub(crate) async fn query_one(&self, sql: &str) -> Row {
        self.client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// The only column of the only row of a query.
    pub(crate) async fn value<T: FromSqlOwned>(&self, sql: &str) -> T {
        self.query_one(sql).await.get(0)
    }

    /// The client, for COPY, parameters and expected errors.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}

impl Drop for TestSession {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The server programs that the tests use: those of the major version in
/// `HIGHWATER_TEST_PG_MAJOR`, else the newest ones installed; fetched if there are none.
pub(crate) fn installation() -> Installation {
    static FOUND: OnceLock<Installation> = OnceLock::new();
    FOUND.get_or_init(find_installation).clone()
}

#[allow(clippy::disallowed_methods, reason = "the tests' own settings")]
fn find_installation() -> Installation {
    let major = std::env::var("HIGHWATER_TEST_PG_MAJOR")
        .ok()
        .map(|text| text.parse().expect("HIGHWATER_TEST_PG_MAJOR is a number like 17"));
    let directory = |name| std::env::var_os(name).map(PathBuf::from);
    let cache =
        cache_directory(directory("XDG_CACHE_HOME").as_deref(), directory("HOME").as_deref());
    let options = FindOptions {
        bin_dir: directory("HIGHWATER_PG_BIN"),
        path: std::env::var_os("PATH"),
        cache_dir: cache.ok(),
        major,
    };
    let installed = Installation::all(&options).unwrap_or_else(|error| panic!("{error}"));
    installed.into_iter().max_by_key(Installation::major).unwrap_or_else(|| {
        fetch(&options, &mut |line| eprintln!("{line}")).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// The folder of initialized clusters to copy, which later runs reuse.
fn templates() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("postgresql-templates")
}

/// Linux's file system in memory, in which creating a cluster is ten times faster, if it has space for
/// the largest test.
fn memory_file_system() -> Option<PathBuf> {
    const REQUIRED_KIB: u64 = 8 << 20;
    let df = Command::new("df").args(["-Pk", "/dev/shm"]).output().ok()?;
    let table = String::from_utf8(df.stdout).ok()?;
    let available: u64 = table.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    (available >= REQUIRED_KIB).then(|| PathBuf::from("/dev/shm"))
}

/// Permits enough slots for those that failed tests did not drop.
fn start_shared_server() -> TempPostgres {
    let options =
        TempPostgresOptions { templates: Some(templates()), ..TempPostgresOptions::default() };
    start_server(options.setting("max_replication_slots", "500"))
}

fn start_server(mut options: TempPostgresOptions) -> TempPostgres {
    options.parent = options.parent.or_else(memory_file_system);
    TempPostgres::start(&installation(), &options).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs blocking work outside of the test's runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("blocking work ends without a panic")
}
