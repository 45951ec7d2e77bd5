//! Connection URLs and keyword strings.

use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

fn environment(vars: &[(&str, &str)]) -> LibpqEnvironment {
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    LibpqEnvironment::new(None, vars)
}

fn parse(text: &str) -> ConnectOptions {
    ConnectOptions::parse(text, &environment(&[("PGUSER", "me")]))
        .unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn parse_error(text: &str) -> String {
    ConnectOptions::parse(text, &environment(&[("PGUSER", "me")])).unwrap_err().to_string()
}

fn hosts(target: &ConnectOptions) -> Vec<String> {
    target.hosts.iter().map(ToString::to_string).collect()
}

fn password(target: &ConnectOptions) -> Option<&str> {
    target.password_for(&target.hosts[0])
}

#[test]
fn a_url_names_user_password_host_port_and_database() {
    for scheme in ["postgres", "postgresql"] {
        let target = parse(&format!("{scheme}://jo%40x:p%3Aw%2F@db.example:5433/my%20app"));
        assert_eq!(target.display_name(), "db.example:5433/my app");
        assert_eq!((target.user(), target.database()), ("jo@x", "my app"));
        assert_eq!(password(&target), Some("p:w/"));
    }
}

#[test]
fn absent_parameters_have_defaults() {
    let target = parse("postgres://db");
    assert_eq!(target.display_name(), "db:5432/me");
    assert_eq!((target.tls.mode, target.tls.direct), (SslMode::Prefer, false));
    assert_eq!(target.connect_timeout, ConnectOptions::CONNECT_TIMEOUT_DEFAULT);
    assert_eq!(target.application_name, "highwater");
    assert_eq!(target.session_attrs, SessionAttrs::Any);
    assert!(target.tcp.keepalive.is_some() && target.tcp.user_timeout.is_none());
    assert_eq!(password(&target), None);
    let own = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    let target = ConnectOptions::parse("host=db", &LibpqEnvironment::default()).unwrap();
    assert_eq!((target.user(), target.database()), (own.as_str(), own.as_str()));
}

#[test]
fn the_default_host_is_an_existing_local_socket_or_localhost() {
    // There is no socket for this port.
    assert_eq!(hosts(&parse("postgres:///app?port=1")), ["localhost:1"]);
    assert_eq!(hosts(&parse("dbname=app port=1")), ["localhost:1"]);
}

#[test]
fn hosts_and_ports_are_lists() {
    let target = parse("postgres://me@a:1,[2001:db8::1]:2,c/app?target_session_attrs=read-write");
    assert_eq!(hosts(&target), ["a:1", "[2001:db8::1]:2", "c:5432"]);
    assert_eq!(target.session_attrs, SessionAttrs::ReadWrite);
    assert_eq!(target.display_name(), "a:1,[2001:db8::1]:2,c:5432/app");
    assert_eq!(hosts(&parse("host=a,b port=7")), ["a:7", "b:7"]);
    assert_eq!(hosts(&parse("host=a,b port=7,8")), ["a:7", "b:8"]);
    assert_eq!(hosts(&parse("host=a,b hostaddr=10.0.0.1,::1 port=7")), ["a:7", "b:7"]);
    assert_eq!(hosts(&parse("hostaddr=::1")), ["[::1]:5432"]);
    assert!(parse_error("host=a,b port=1,2,3").contains("3 entries for 2 hosts"));
    assert!(parse_error("host=a,b hostaddr=10.0.0.1").contains("as many as"));
    assert!(parse_error("hostaddr=db").contains("an IP address"));
}

#[test]
fn a_directory_is_a_unix_socket() {
    for text in [
        "postgres://%2Fvar%2Frun%2Fpg:5433/app",
        "postgres:///app?host=/var/run/pg&port=5433",
        "host=/var/run/pg port=5433 dbname=app",
    ] {
        let target = parse(text);
        assert_eq!(target.hosts[0].addr, HostAddr::Unix("/var/run/pg".into()), "{text}");
        assert_eq!(
            target.hosts[0].socket_path().unwrap().to_str(),
            Some("/var/run/pg/.s.PGSQL.5433")
        );
        assert_eq!(target.display_name(), "/var/run/pg:5433/app");
    }
}

#[test]
fn values_of_keyword_strings_may_be_quoted() {
    let target =
        parse(r"  host = db  user='o\'neil x' password=a\ b\\c dbname='' options='-c a=b' ");
    assert_eq!((target.user(), target.database()), ("o'neil x", "o'neil x"));
    assert_eq!(password(&target), Some(r"a b\c"));
    assert_eq!(target.options.as_deref(), Some("-c a=b"));
    assert!(parse_error("host='db").contains("no closing quote"));
    for text in ["db", "host", "mysql://db/app", "host db=x"] {
        assert!(
            parse_error(text).contains("expected postgres://"),
            "{text}: {}",
            parse_error(text)
        );
    }
}

#[test]
fn an_unknown_parameter_names_the_nearest() {
    assert_eq!(
        parse_error("postgres://db/app?sslmod=require"),
        r#"unknown connection parameter "sslmod" (did you mean "sslmode"?)"#
    );
    assert!(parse_error("host=db databse=app").contains("unknown"));
    assert!(parse_error("host=db dbnam=app").contains("(did you mean \"dbname\"?)"));
    assert!(!parse_error("host=db zzz=1").contains("did you mean"));
    assert!(parse_error("host=db sslcrl=x").contains("\"sslcrl\" is not supported"));
    // Parameters of other clients, with values that describe what happens anyway.
    parse("postgres://db/app?ssl=true&gssencmode=prefer&client_encoding=utf8");
    assert_eq!(parse("postgres://db/app?ssl=true").tls.mode, SslMode::Require);
    assert!(parse_error("host=db gssencmode=require").contains("expected disable, prefer"));
}

#[test]
fn invalid_values_are_rejected() {
    for (text, expected) in [
        ("postgres://db:0/", "a number from 1 to 65535"),
        ("postgres://db:x/", "a number from 1 to 65535"),
        (
            "postgres://db/?sslmode=on",
            "expected disable, allow, prefer, require, verify-ca, verify-full",
        ),
        ("postgres://db/?connect_timeout=soon", "a number of seconds"),
        ("postgres://[::1/", "no closing ]"),
        ("postgres://[::1]x/", "expected : and a port"),
        ("postgres://db/?sslmode", "expected name=value"),
        ("postgres://db/a%zz", "write %25"),
        ("postgres://db/a%ff", "not UTF-8"),
        ("postgres://db/a%00b", "zero byte"),
        ("postgres://db/?sslnegotiation=direct", "sslmode=prefer is too weak"),
        ("postgres://db/?sslrootcert=system&sslmode=require", "write sslmode=verify-full"),
        ("postgres://db/?sslcert=/c.pem", "name it with sslkey"),
    ] {
        assert!(parse_error(text).contains(expected), "{text}: {}", parse_error(text));
    }
    let system = parse("postgres://db/?sslrootcert=system");
    assert_eq!(system.tls.mode, SslMode::VerifyFull);
}

#[test]
fn timeouts_and_keepalives_are_parsed() {
    let target = parse(
        "host=db connect_timeout=3 keepalives_idle=7 keepalives_interval=2 keepalives_count=5 \
         tcp_user_timeout=1500 load_balance_hosts=random",
    );
    assert_eq!(target.connect_timeout, Duration::from_secs(3));
    let keepalive = target.tcp.keepalive.unwrap();
    assert_eq!(
        (keepalive.idle.as_secs(), keepalive.interval.as_secs(), keepalive.count),
        (7, 2, 5)
    );
    assert_eq!(target.tcp.user_timeout, Some(Duration::from_millis(1500)));
    assert!(target.shuffle);
    assert!(parse("host=db keepalives=0").tcp.keepalive.is_none());
    assert_eq!(
        parse("host=db connect_timeout=0").connect_timeout,
        ConnectOptions::CONNECT_TIMEOUT_DEFAULT
    );
}

#[test]
fn the_environment_supplies_absent_parameters() {
    let env = environment(&[
        ("PGHOST", "envhost"),
        ("PGPORT", "6000"),
        ("PGUSER", "envuser"),
        ("PGDATABASE", "envdb"),
        ("PGPASSWORD", "envsecret"),
        ("PGSSLMODE", "disable"),
        ("PGAPPNAME", "envapp"),
        ("HOME", "/nowhere"),
    ]);
    assert_eq!(env.vars.len(), 7);
    let target = ConnectOptions::parse("", &env).unwrap();
    assert_eq!(target.display_name(), "envhost:6000/envdb");
    assert_eq!((target.user(), password(&target)), ("envuser", Some("envsecret")));
    assert_eq!((target.tls.mode, target.application_name.as_str()), (SslMode::Disable, "envapp"));
    let target = ConnectOptions::parse("postgres://u:s@h:1/d?sslmode=require", &env).unwrap();
    assert_eq!(target.display_name(), "h:1/d");
    assert_eq!((target.user(), password(&target)), ("u", Some("s")));
    assert_eq!(target.tls.mode, SslMode::Require);
}

#[test]
fn a_password_comes_from_the_url_then_the_environment_then_the_password_file() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".pgpass");
    std::fs::write(&file, "db:*:app:me:from file\ndb:*:other:me:for other\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut env = environment(&[("PGUSER", "me")]);
    env.home = Some(home.path().to_owned());
    let target = ConnectOptions::parse("postgres://db/app", &env).unwrap();
    assert_eq!(password(&target), Some("from file"));
    assert_eq!(password(&target.clone().with_database("other")), Some("for other"));
    assert_eq!(password(&target.with_password("given")), Some("given"));
    env.vars.insert("PGPASSWORD".into(), "from environment".into());
    assert_eq!(
        password(&ConnectOptions::parse("postgres://db/app", &env).unwrap()),
        Some("from environment")
    );
    let url = "postgres://me:from%20url@db/app";
    assert_eq!(password(&ConnectOptions::parse(url, &env).unwrap()), Some("from url"));
    let mut env = environment(&[("PGUSER", "me")]);
    env.vars.insert("PGPASSFILE".into(), file.to_str().unwrap().into());
    assert_eq!(
        password(&ConnectOptions::parse("postgres://db/app", &env).unwrap()),
        Some("from file")
    );
}

#[test]
fn certificates_have_default_paths() {
    let home = tempfile::tempdir().unwrap();
    let mut env = environment(&[("PGUSER", "me")]);
    env.home = Some(home.path().to_owned());
    let dir = home.path().join(".postgresql");
    let tls = |env: &LibpqEnvironment| ConnectOptions::parse("postgres://db", env).unwrap().tls;
    assert_eq!(tls(&env).roots, RootCertificates::Missing(Some(dir.join("root.crt"))));
    assert_eq!(tls(&env).client, None);
    std::fs::create_dir(&dir).unwrap();
    for name in ["root.crt", "postgresql.crt", "postgresql.key"] {
        std::fs::write(dir.join(name), "").unwrap();
    }
    assert_eq!(tls(&env).roots, RootCertificates::File(dir.join("root.crt")));
    let client = (dir.join("postgresql.crt"), dir.join("postgresql.key"));
    assert_eq!(tls(&env).client, Some(client));
}

#[test]
fn the_password_is_never_shown() {
    let secret = "s3cr3t";
    let env = environment(&[("PGPASSWORD", secret)]);
    assert!(!format!("{env:?}").contains(secret));
    for text in ["postgres://me:s3cr3t@db/app", "host=db password=s3cr3t"] {
        let target = parse(text);
        assert_eq!(password(&target), Some(secret));
        assert!(!format!("{target:?} {}", target.display_name()).contains(secret));
    }
    for text in [
        "postgres://me:s3cr3t%@db/app",
        "host=db password='s3cr3t",
        "host=db password = s3cr3t x",
        "postgres://me:s3cr3t@db/app?sslmod=x",
        // Unencoded special characters.
        "postgres://me:x?s3cr3t@db/app",
        "postgres://me:s3cr3t/x@db/app",
        "postgres://me:x?y&s3cr3t@db/app?a=b",
    ] {
        assert!(!parse_error(text).contains(secret), "{}", parse_error(text));
    }
}

proptest! {
    #[test]
    fn arbitrary_text_is_parsed_or_rejected(text in ".{0,60}", query in "[a-z=&%'\\\\ ]{0,30}") {
        let env = environment(&[]);
        for text in [text.clone(), format!("postgres://{text}?{query}"), format!("host={query}")] {
            let _ = ConnectOptions::parse(&text, &env).map(|target| target.display_name());
        }
    }

    #[test]
    fn percent_encoding_is_reversed(user in "[^\0]{1,20}", secret in "[^\0]{1,20}", name in "[^\0]{1,20}") {
        let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let target = parse(&format!("postgres://{}:{}@db/{}", encode(&user), encode(&secret), encode(&name)));
        prop_assert_eq!((target.user(), target.database()), (user.as_str(), name.as_str()));
        prop_assert_eq!(password(&target), Some(secret.as_str()));
    }

    #[test]
    fn quoting_is_reversed(secret in "[^\0]{1,20}") {
        let quoted = secret.replace('\\', r"\\").replace('\'', r"\'");
        let target = parse(&format!("host=db password='{quoted}'"));
        prop_assert_eq!(password(&target), Some(secret.as_str()));
    }
}
