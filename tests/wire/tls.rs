//! TLS: every `sslmode` against servers with and without TLS.

use std::os::unix::fs::PermissionsExt;

use highwater::wire::WalsenderConnection;

use super::servers::{self, url};
use super::{connect_error, open, query_sql, target, value};
use crate::support::{CertificateAuthority, CertificateFiles, TestPostgres, of_version_1};

const IS_ENCRYPTED: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/// Whether the session is encrypted; asserts that the walsender and the SQL session agree.
async fn is_encrypted(url: &str) -> bool {
    let mut connection = open(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    let walsender = value(&mut connection, IS_ENCRYPTED).await;
    let sql = query_sql(&target(url), IS_ENCRYPTED).await.unwrap();
    assert_eq!(walsender == "t", sql == "true", "{url}");
    walsender == "t"
}

#[tokio::test]
async fn each_sslmode_encrypts_as_documented() {
    let authority = CertificateAuthority::new();
    let with = servers::encrypted(&authority.sign("db", &["127.0.0.1"]), &authority).await;
    let without = servers::plain().await;
    for (sslmode, if_offered, if_not) in [
        ("disable", Some(false), Some(false)),
        ("allow", Some(false), Some(false)),
        ("prefer", Some(true), Some(false)),
        ("require", Some(true), None),
    ] {
        let parameters = format!("sslmode={sslmode}");
        for (pg, expected) in [(&with, if_offered), (&without, if_not)] {
            let url = url(pg, "trusted", &parameters);
            let Some(expected) = expected else {
                let message = connect_error(&url).await;
                let why = "the server offers no TLS; sslmode=require needs it";
                assert!(message.contains(why), "{message}");
                continue;
            };
            assert_eq!(is_encrypted(&url).await, expected, "{sslmode}");
        }
    }
}

#[tokio::test]
async fn allow_and_prefer_fall_back_when_the_first_attempt_is_rejected() {
    let authority = CertificateAuthority::new();
    let pg = servers::encrypted(&authority.sign("db", &[]), &authority).await;
    assert!(is_encrypted(&url(&pg, "encrypted", "sslmode=allow")).await);
    assert!(!is_encrypted(&url(&pg, "unencrypted", "sslmode=prefer")).await);
    let message = connect_error(&url(&pg, "encrypted", "sslmode=disable")).await;
    assert!(message.contains("pg_hba.conf"), "{message}");
    let message = connect_error(&url(&pg, "unencrypted", "sslmode=require")).await;
    assert!(message.contains("pg_hba.conf"), "{message}");
    // Both attempts rejected: the error of the preferred one is returned.
    let message = connect_error(&url(&pg, "banned", "sslmode=prefer")).await;
    assert!(message.contains("SSL encryption"), "{message}");
    // A rejected certificate: prefer falls back to no encryption, as in libpq.
    let files = CertificateFiles::new();
    let root = files.write("other.crt", CertificateAuthority::new().pem());
    assert!(
        !is_encrypted(&url(&pg, "trusted", &format!("sslmode=prefer&sslrootcert={root}"))).await
    );
}

#[tokio::test]
async fn the_servers_certificate_is_verified_according_to_sslmode() {
    let (authority, other_authority, files) =
        (CertificateAuthority::new(), CertificateAuthority::new(), CertificateFiles::new());
    let pg = servers::encrypted(&authority.sign("x", &["db.example"]), &authority).await;
    let root = files.write("root.crt", authority.pem());
    let other = files.write("other.crt", other_authority.pem());
    let url = |sslmode: &str, root: &str, host: &str| {
        let parameters =
            format!("sslmode={sslmode}&sslrootcert={root}&host={host}&hostaddr=127.0.0.1");
        url(&pg, "trusted", &parameters)
    };
    for (sslmode, root, host, reason) in [
        ("verify-full", &root, "db.example", None),
        ("verify-full", &root, "other.example", Some("not valid for name")),
        (
            "verify-full",
            &other,
            "db.example",
            Some("none of the trusted root certificates has signed it"),
        ),
        ("verify-ca", &root, "other.example", None),
        (
            "verify-ca",
            &other,
            "other.example",
            Some("none of the trusted root certificates has signed it"),
        ),
        // Root certificates turn require into verify-ca.
        ("require", &root, "other.example", None),
        (
            "require",
            &other,
            "db.example",
            Some("none of the trusted root certificates has signed it"),
        ),
    ] {
        let url = url(sslmode, root, host);
        match reason {
            None => assert!(is_encrypted(&url).await),
            Some(reason) => {
                let message = connect_error(&url).await;
                assert!(message.contains("the server's certificate is rejected"), "{message}");
                assert!(message.contains(reason), "{message}");
            }
        }
    }
    let message = connect_error(&url("verify-ca", "/nowhere/root.crt", "db.example")).await;
    assert!(message.contains("\"/nowhere/root.crt\" (sslrootcert) can't be used"), "{message}");
    let none = url("verify-full", "", "db.example");
    let message = connect_error(&none).await;
    assert!(message.contains("sslmode=verify-full needs root certificates"), "{message}");
}

#[tokio::test]
async fn a_version_1_certificate_encrypts_but_can_not_be_verified() {
    let (authority, files) = (CertificateAuthority::new(), CertificateFiles::new());
    let pair = of_version_1();
    let pg = servers::encrypted(&pair, &authority).await;
    for parameters in ["sslmode=prefer", "sslmode=require&channel_binding=require"] {
        assert!(is_encrypted(&url(&pg, "scram:secret", parameters)).await);
    }
    let root = files.write("root.crt", authority.pem());
    let message =
        connect_error(&url(&pg, "trusted", &format!("sslmode=verify-ca&sslrootcert={root}"))).await;
    assert!(message.contains("X.509 version 1"), "{message}");
    // It is trusted without a chain if it is listed as a root itself.
    let own = files.write("own.crt", &pair.certificate);
    let parameters = format!("sslmode=verify-ca&sslrootcert={own}");
    assert!(is_encrypted(&url(&pg, "trusted", &parameters)).await);
}

#[tokio::test]
async fn an_address_can_be_in_the_certificate() {
    let (authority, files) = (CertificateAuthority::new(), CertificateFiles::new());
    let pg = servers::encrypted(&authority.sign("x", &["127.0.0.1"]), &authority).await;
    let root = files.write("root.crt", authority.pem());
    let parameters = format!("sslmode=verify-full&sslrootcert={root}");
    assert!(is_encrypted(&url(&pg, "trusted", &parameters)).await);
}

#[tokio::test]
async fn a_client_certificate_authenticates() {
    let (authority, other_authority, files) =
        (CertificateAuthority::new(), CertificateAuthority::new(), CertificateFiles::new());
    let pg = servers::encrypted(&authority.sign("db", &["127.0.0.1"]), &authority).await;
    let mine = authority.sign("certified", &[]);
    let certificate = files.write("client.crt", &mine.certificate);
    let key = files.write("client.key", &mine.key);
    let with = |certificate: &str, key: &str| {
        url(&pg, "certified", &format!("sslmode=require&sslcert={certificate}&sslkey={key}"))
    };
    assert!(is_encrypted(&with(&certificate, &key)).await);

    let message = connect_error(&url(&pg, "certified", "sslmode=require")).await;
    assert!(message.contains("certificate") && message.contains("28000"), "{message}");
    let theirs = other_authority.sign("certified", &[]);
    let other = files.write("other.crt", &theirs.certificate);
    let other_key = files.write("other.key", &theirs.key);
    let message = connect_error(&with(&other, &other_key)).await;
    assert!(message.contains("the server ended it with alert UnknownCA"), "{message}");
    let message = connect_error(&with(&certificate, &other_key)).await;
    assert!(message.contains("can't be used"), "{message}");

    let readable = files.write("readable.key", &mine.key);
    std::fs::set_permissions(&readable, std::fs::Permissions::from_mode(0o644)).unwrap();
    let message = connect_error(&with(&certificate, &readable)).await;
    assert!(message.contains("others may read it; chmod 600"), "{message}");
}

#[tokio::test]
async fn scram_is_bound_to_the_channel_if_required() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let authority = CertificateAuthority::new();
        let pg = servers::encrypted(&authority.sign_with(algorithm, "db", &[]), &authority).await;
        for binding in ["require", "prefer", "disable"] {
            let parameters = format!("sslmode=require&channel_binding={binding}");
            assert!(is_encrypted(&url(&pg, "scram:secret", &parameters)).await);
            if binding == "require" {
                let message = connect_error(&url(&pg, "scram:wrong", &parameters)).await;
                assert!(message.contains("28P01"), "{message}");
                for role in ["md5er:secret", "trusted", "clear:secret"] {
                    let message = connect_error(&url(&pg, role, &parameters)).await;
                    assert!(message.contains("does not ask for SCRAM"), "{message}");
                }
            }
        }
        let message =
            connect_error(&url(&pg, "scram:secret", "sslmode=disable&channel_binding=require"))
                .await;
        assert!(message.contains("the connection has no TLS"), "{message}");
    }
}

#[tokio::test]
async fn direct_negotiation_needs_a_server_that_supports_it() {
    let authority = CertificateAuthority::new();
    let pg = servers::encrypted(&authority.sign("db", &[]), &authority).await;
    let major = pg.value::<i32>("SELECT current_setting('server_version_num')::int / 10000").await;
    let url = url(&pg, "trusted", "sslmode=require&sslnegotiation=direct");
    if major >= 17 {
        assert!(is_encrypted(&url).await);
    } else {
        connect_error(&url).await;
    }
}

#[tokio::test]
async fn large_responses_arrive_complete_through_tls() {
    let authority = CertificateAuthority::new();
    let pg = servers::encrypted(&authority.sign("db", &[]), &authority).await;
    let target = target(&url(&pg, "trusted", "sslmode=require"));
    let mut connection = WalsenderConnection::connect(&target).await.unwrap();
    let text = value(&mut connection, "SELECT repeat('highwater', 500000)").await;
    assert_eq!(text.len(), 4_500_000);
    assert_eq!(
        query_sql(&target, "SELECT length(repeat('highwater', 500000))").await.unwrap(),
        "4500000"
    );
    drop::<TestPostgres>(pg);
}
