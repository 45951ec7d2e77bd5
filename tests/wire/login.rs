//! Who we are, proven in every way; and which server of several is wanted.

use highwater::temp_postgres::{ShutdownMode, TempPostgresOptions};
use highwater::wire::{ConnectError, WalsenderConnection};

use super::servers::{self, Impostor, url};
use super::{ask, open, refusal, target, value};
use crate::support::{CertificateAuthority, TestPostgres};

#[tokio::test]
async fn passwords_are_proven_as_the_server_asks_for_it() {
    let pg = servers::plain().await;
    for role in ["trusted", "md5er:secret", "scram:secret", "unencrypted"] {
        let mut connection = open(&url(&pg, role, "")).await.unwrap();
        let user = value(&mut connection, "SELECT current_user").await;
        assert_eq!(Some(user.as_str()), role.split(':').next());
    }
    for role in ["md5er", "scram"] {
        let said = refusal(&url(&pg, &format!("{role}:wrong"), "")).await;
        assert!(said.contains(&format!("authentication of role \"{role}\" failed")), "{said}");
        assert!(said.ends_with("[SQLSTATE 28P01]; check the password"), "{said}");
        let said = refusal(&url(&pg, role, "")).await;
        assert!(
            said.contains(&format!("the password of role \"{role}\" and none is given")),
            "{said}"
        );
    }
    let given = target(&url(&pg, "scram:wrong", "")).with_password("secret");
    assert_eq!(ask(&given, "SELECT current_user").await.unwrap(), "scram");
}

#[tokio::test]
async fn a_password_is_never_sent_in_the_clear_over_tcp() {
    let authority = CertificateAuthority::new();
    let pg = servers::encrypted(&authority.sign("db", &["127.0.0.1"]), &authority).await;
    for sslmode in ["require", "prefer"] {
        open(&url(&pg, "clear:secret", &format!("sslmode={sslmode}"))).await.unwrap();
    }
    for sslmode in ["disable", "allow"] {
        let said = refusal(&url(&pg, "clear:secret", &format!("sslmode={sslmode}"))).await;
        assert!(said.contains("in clear text over a connection without TLS"), "{said}");
    }
    pg.server().set_hba("local all clear password\nlocal all all trust\n").unwrap();
    let socket = pg.socket_url().replace("postgres://postgres@", "postgres://clear:secret@");
    open(&socket).await.unwrap();
}

#[tokio::test]
async fn sessions_show_values_the_same_way_whatever_is_configured() {
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
    assert_eq!(ask(&target(&url), shown).await.unwrap(), expected);
    let renamed = target(&url).with_application_name("other");
    assert_eq!(ask(&renamed, "current_setting('application_name')").await.unwrap(), "other");
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
async fn the_first_host_that_will_do_is_taken() {
    let pg = TestPostgres::start().await;
    let dead = Impostor::answering(b"").await;
    let gone = Impostor::answering(b"").await.port;
    let (port, database) = (pg.server().port(), pg.database());
    let hosts = format!("127.0.0.1:{gone},127.0.0.1:{},127.0.0.1:{port}", dead.port);
    for attrs in ["any", "read-write", "primary", "prefer-standby"] {
        let url = format!("postgres://postgres@{hosts}/{database}?target_session_attrs={attrs}");
        open(&url).await.unwrap();
    }
    for attrs in ["standby", "read-only"] {
        let url = format!("postgres://postgres@{hosts}/{database}?target_session_attrs={attrs}");
        let said = refusal(&url).await;
        assert!(
            said.contains(&format!("not what target_session_attrs={attrs} asks for")),
            "{said}"
        );
        assert!(said.contains("Connection refused") && said.contains("was lost before"), "{said}");
    }
    pg.execute(&format!("ALTER DATABASE {database} SET default_transaction_read_only = on")).await;
    let one = |attrs| {
        format!("postgres://postgres@127.0.0.1:{port}/{database}?target_session_attrs={attrs}")
    };
    open(&one("read-only")).await.unwrap();
    open(&one("primary")).await.unwrap();
    let said = refusal(&one("read-write")).await;
    assert!(said.contains("target_session_attrs=read-write"), "{said}");
}

#[tokio::test]
async fn a_host_that_refuses_us_ends_the_search() {
    let pg = servers::plain().await;
    let wrong = url(&pg, "scram:wrong", "").replace("127.0.0.1:", "127.0.0.1:1,127.0.0.1:");
    let other = TestPostgres::start().await.server().port();
    let wrong = wrong.replace("/test", &format!(",127.0.0.1:{other}/test"));
    let error = WalsenderConnection::connect(&target(&wrong)).await.err().unwrap();
    assert_eq!(error.sqlstate(), Some("28P01"));
    assert_eq!(error.server(), format!("127.0.0.1:{}", pg.server().port()));
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    let pg = servers::plain().await;
    pg.execute("CREATE ROLE plain LOGIN PASSWORD 'secret'; CREATE ROLE nologin").await;
    pg.execute("CREATE ROLE unwelcome LOGIN REPLICATION; CREATE ROLE single LOGIN REPLICATION CONNECTION LIMIT 0").await;
    pg.execute(&format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", pg.database())).await;
    pg.server().set_hba("local all all trust\nhost all banned 127.0.0.1/32 reject\nhost all,postgres plain,nologin,ghost,unwelcome,single,trusted 127.0.0.1/32 trust\n").unwrap();
    let said = refusal(&url(&pg, "banned", "")).await;
    assert!(
        said.contains("into database \"test_") && said.contains("add a line for it to pg_hba.conf"),
        "{said}"
    );
    let said = refusal(&url(&pg, "stranger", "")).await;
    assert!(said.contains("add a line for it to pg_hba.conf"), "{said}");
    for role in ["ghost", "nologin"] {
        let said = refusal(&url(&pg, role, "")).await;
        assert!(said.contains(&format!("role \"{role}\" can't log in")), "{said}");
        assert!(said.contains("ALTER ROLE … LOGIN"), "{said}");
    }
    let said = refusal(&url(&pg, "unwelcome", "")).await;
    assert!(said.contains("GRANT CONNECT ON DATABASE \"test_"), "{said}");
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
    assert_eq!(ask(&plain, "SELECT 1").await.unwrap(), "1");
    let error = WalsenderConnection::connect(&plain).await.err().unwrap();
    assert!(error.to_string().ends_with("ALTER ROLE \"plain\" REPLICATION"), "{error}");
    let error = ask(&target(&url(&pg, "single", "")), "SELECT 1").await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("53300"));
    assert!(!error.is_permanent());
    assert!(error.to_string().contains("raise max_connections, or the role's"), "{error}");
}

#[tokio::test]
async fn walsenders_are_limited() {
    let pg =
        TestPostgres::private(TempPostgresOptions::default().setting("max_wal_senders", "1")).await;
    let only = WalsenderConnection::connect(&target(&pg.url())).await.unwrap();
    let error = WalsenderConnection::connect(&target(&pg.url())).await.err().unwrap();
    assert_eq!(error.sqlstate(), Some("53300"));
    assert!(error.to_string().contains("raise max_wal_senders or max_connections"), "{error}");
    only.close().await;
}

#[tokio::test]
async fn a_server_that_is_stopping_or_gone_may_come_back() {
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
