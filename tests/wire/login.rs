//! Authentication by every method, rejections, and the choice among several servers.

use highwater::temp_postgres::{ShutdownMode, TempPostgresOptions};
use highwater::wire::{ConnectError, WalsenderConnection};

use super::servers::{self, Impostor, url};
use super::{connect_error, open, query_sql, target, value};
use crate::support::{CertificateAuthority, TestPostgres};

#[tokio::test]
async fn every_password_method_authenticates() {
    let pg = servers::plain().await;
    for role in ["trusted", "md5er:secret", "scram:secret", "unencrypted"] {
        let mut connection = open(&url(&pg, role, "")).await.unwrap();
        let user = value(&mut connection, "SELECT current_user").await;
        assert_eq!(Some(user.as_str()), role.split(':').next());
    }
    for role in ["md5er", "scram"] {
        let message = connect_error(&url(&pg, &format!("{role}:wrong"), "")).await;
        assert!(
            message.contains(&format!("authentication of role \"{role}\" failed")),
            "{message}"
        );
        assert!(message.ends_with("[SQLSTATE 28P01]; check the password"), "{message}");
        let message = connect_error(&url(&pg, role, "")).await;
        assert!(
            message.contains(&format!("the password of role \"{role}\" and none is given")),
            "{message}"
        );
    }
    let given = target(&url(&pg, "scram:wrong", "")).with_password("secret");
    assert_eq!(query_sql(&given, "SELECT current_user").await.unwrap(), "scram");
}

#[tokio::test]
async fn a_password_is_never_sent_in_clear_text_over_tcp() {
    let authority = CertificateAuthority::new();
    let pg = servers::encrypted(&authority.sign("db", &["127.0.0.1"]), &authority).await;
    for sslmode in ["require", "prefer"] {
        open(&url(&pg, "clear:secret", &format!("sslmode={sslmode}"))).await.unwrap();
    }
    for sslmode in ["disable", "allow"] {
        let message = connect_error(&url(&pg, "clear:secret", &format!("sslmode={sslmode}"))).await;
        assert!(message.contains("in clear text over a connection without TLS"), "{message}");
    }
    pg.server().set_hba("local all clear password\nlocal all all trust\n").unwrap();
    let socket = pg.socket_url().replace("postgres://postgres@", "postgres://clear:secret@");
    open(&socket).await.unwrap();
}

#[tokio::test]
async fn pinned_settings_override_those_of_the_role() {
    let pg = TestPostgres::start().await;
    let role = format!("odd_{}", pg.database());
    pg.execute(&format!(
        "CREATE ROLE {role} LOGIN REPLICATION;
         ALTER ROLE {role} SET TimeZone = 'Asia/Tokyo';
         ALTER ROLE {role} SET DateStyle = 'German';
         ALTER ROLE {role} SET IntervalStyle = 'iso_8601';
         ALTER ROLE {role} SET bytea_output = 'escape';
         ALTER ROLE {role} SET extra_float_digits = 0;
         ALTER ROLE {role} SET client_encoding = 'LATIN1';
         ALTER ROLE {role} SET statement_timeout = '1s'"
    ))
    .await;
    let url = format!(
        "postgres://{role}@127.0.0.1:{}/{}?options=-c%20TimeZone%3DAsia/Tokyo&application_name=it%20is%20us",
        pg.server().port(),
        pg.database()
    );
    let shown = "concat_ws(' ', '2024-01-02 03:04:05Z'::timestamptz, '1 day'::interval, '\\xff'::bytea,
                 0.1::float8 + 0.2::float8, current_setting('client_encoding'), current_setting('application_name'))";
    let expected = r"2024-01-02 03:04:05+00 1 day \xff 0.30000000000000004 UTF8 it is us";
    let mut connection = open(&url).await.unwrap();
    assert_eq!(value(&mut connection, &format!("SELECT {shown}")).await, expected);
    assert_eq!(value(&mut connection, "SHOW statement_timeout").await, "0");
    assert_eq!(connection.parameter("TimeZone"), Some("UTC"));
    assert_eq!(connection.parameter("application_name"), Some("it is us"));
    assert_eq!(query_sql(&target(&url), shown).await.unwrap(), expected);
    let renamed = target(&url).with_application_name("other");
    assert_eq!(query_sql(&renamed, "current_setting('application_name')").await.unwrap(), "other");
    drop(connection);
    pg.execute(&format!("DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_unix_socket_needs_no_tls() {
    let pg = TestPostgres::start().await;
    for sslmode in ["disable", "require", "verify-full"] {
        let mut connection = open(&format!("{}?sslmode={sslmode}", pg.socket_url())).await.unwrap();
        assert_eq!(value(&mut connection, "SELECT inet_client_addr() IS NULL").await, "t");
        let pid = value(&mut connection, "SELECT pg_backend_pid()").await;
        assert_eq!(pid, connection.backend_pid().to_string());
    }
}

#[tokio::test]
async fn the_first_suitable_host_is_used() {
    let pg = TestPostgres::start().await;
    let dead = Impostor::responding(b"").await;
    let gone = Impostor::responding(b"").await.port;
    let (port, database) = (pg.server().port(), pg.database());
    let hosts = format!("127.0.0.1:{gone},127.0.0.1:{},127.0.0.1:{port}", dead.port);
    for attrs in ["any", "read-write", "primary", "prefer-standby"] {
        let url = format!("postgres://postgres@{hosts}/{database}?target_session_attrs={attrs}");
        open(&url).await.unwrap();
    }
    for attrs in ["standby", "read-only"] {
        let url = format!("postgres://postgres@{hosts}/{database}?target_session_attrs={attrs}");
        let message = connect_error(&url).await;
        assert!(
            message.contains(&format!("does not satisfy target_session_attrs={attrs}")),
            "{message}"
        );
        assert!(
            message.contains("Connection refused") && message.contains("was lost before"),
            "{message}"
        );
    }
    pg.execute(&format!("ALTER DATABASE {database} SET default_transaction_read_only = on")).await;
    let one = |attrs| {
        format!("postgres://postgres@127.0.0.1:{port}/{database}?target_session_attrs={attrs}")
    };
    open(&one("read-only")).await.unwrap();
    open(&one("primary")).await.unwrap();
    let message = connect_error(&one("read-write")).await;
    assert!(message.contains("target_session_attrs=read-write"), "{message}");
}

#[tokio::test]
async fn a_host_that_rejects_the_session_ends_the_search() {
    let pg = servers::plain().await;
    let wrong = url(&pg, "scram:wrong", "").replace("127.0.0.1:", "127.0.0.1:1,127.0.0.1:");
    let other = TestPostgres::start().await.server().port();
    let wrong = wrong.replace("/test", &format!(",127.0.0.1:{other}/test"));
    let error = WalsenderConnection::connect(&target(&wrong)).await.err().unwrap();
    assert_eq!(error.sqlstate(), Some("28P01"));
    assert_eq!(error.server(), format!("127.0.0.1:{}", pg.server().port()));
}

#[tokio::test]
async fn a_rejection_names_the_remedy() {
    let pg = servers::plain().await;
    pg.execute("CREATE ROLE plain LOGIN PASSWORD 'secret'; CREATE ROLE nologin").await;
    pg.execute("CREATE ROLE unwelcome LOGIN REPLICATION; CREATE ROLE single LOGIN REPLICATION CONNECTION LIMIT 0").await;
    pg.execute(&format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", pg.database())).await;
    pg.server().set_hba("local all all trust\nhost all banned 127.0.0.1/32 reject\nhost all,postgres plain,nologin,ghost,unwelcome,single,trusted 127.0.0.1/32 trust\n").unwrap();
    let message = connect_error(&url(&pg, "banned", "")).await;
    assert!(
        message.contains("into database \"test_")
            && message.contains("add a line for it to pg_hba.conf"),
        "{message}"
    );
    let message = connect_error(&url(&pg, "stranger", "")).await;
    assert!(message.contains("add a line for it to pg_hba.conf"), "{message}");
    for role in ["ghost", "nologin"] {
        let message = connect_error(&url(&pg, role, "")).await;
        assert!(message.contains(&format!("role \"{role}\" can't log in")), "{message}");
        assert!(message.contains("ALTER ROLE … LOGIN"), "{message}");
    }
    let message = connect_error(&url(&pg, "unwelcome", "")).await;
    assert!(message.contains("GRANT CONNECT ON DATABASE \"test_"), "{message}");
    let missing = target(&url(&pg, "trusted", "")).with_database("nowhere");
    let error = WalsenderConnection::connect(&missing).await.err().unwrap();
    assert_eq!(error.sqlstate(), Some("3D000"));
    assert!(error.is_permanent());
    assert!(
        error.to_string().ends_with("check the database name of the connection URL"),
        "{error}"
    );

    pg.execute(&format!("GRANT CONNECT ON DATABASE {} TO PUBLIC", pg.database())).await;
    let plain = target(&url(&pg, "plain", ""));
    assert_eq!(query_sql(&plain, "SELECT 1").await.unwrap(), "1");
    let error = WalsenderConnection::connect(&plain).await.err().unwrap();
    assert!(error.to_string().ends_with("ALTER ROLE \"plain\" REPLICATION"), "{error}");
    let error = query_sql(&target(&url(&pg, "single", "")), "SELECT 1").await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("53300"));
    assert!(!error.is_permanent());
    assert!(error.to_string().contains("raise max_connections, or the role's"), "{error}");
}

#[tokio::test]
async fn the_limit_of_walsenders_is_reported() {
    let pg =
        TestPostgres::private(TempPostgresOptions::default().setting("max_wal_senders", "1")).await;
    let only = WalsenderConnection::connect(&target(&pg.url())).await.unwrap();
    let error = WalsenderConnection::connect(&target(&pg.url())).await.err().unwrap();
    assert_eq!(error.sqlstate(), Some("53300"));
    assert!(error.to_string().contains("raise max_wal_senders or max_connections"), "{error}");
    only.close().await;
}

#[tokio::test]
async fn a_stopped_server_is_a_temporary_error() {
    let pg = TestPostgres::private(TempPostgresOptions::default()).await;
    let target = target(&pg.url());
    let mut connection = WalsenderConnection::connect(&target).await.unwrap();
    pg.server().stop(ShutdownMode::Immediate).unwrap();
    let error = connection.simple_query("SELECT 1").await.unwrap_err();
    assert!(error.sqlstate().is_none_or(|state| state == "57P02"), "{error}");
    let error: ConnectError = WalsenderConnection::connect(&target).await.err().unwrap();
    assert!(!error.is_permanent());
    assert!(error.to_string().contains("Connection refused"), "{error}");
    assert!(error.to_string().contains("check that PostgreSQL runs there"), "{error}");
}
