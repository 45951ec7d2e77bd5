//! Encryption: every `sslmode` against servers with and without TLS.

use std::os::unix::fs::PermissionsExt;

use highwater::wire::WalsenderConnection;

use super::servers::{self, url};
use super::{ask, open, refusal, target, value};
use crate::support::{CertificateAuthority, CertificateFiles, TestPostgres, of_version_1};

const IS_ENCRYPTED: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/// Whether the walsender and the SQL session are both encrypted, or both not.
async fn is_encrypted(url: &str) -> bool {
    let mut connection = open(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    let walsender = value(&mut connection, IS_ENCRYPTED).await;
    let sql = ask(&target(url), IS_ENCRYPTED).await.unwrap();
    assert_eq!(walsender == "t", sql == "true", "{url}");
    walsender == "t"
}

#[tokio::test]
async fn each_sslmode_encrypts_when_it_says_so() {
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
                let said = refusal(&url).await;
                let why = "the server offers no TLS; sslmode=require asks for it";
                assert!(said.contains(why), "{said}");
                continue;
            };
            assert_eq!(is_encrypted(&url).await, expected, "{sslmode}");
        }
    }
}

#[tokio::test]
async fn allow_and_prefer_fall_back_when_the_rules_refuse_the_first_way() {
    let authority = CertificateAuthority::new();
    let pg = servers::encrypted(&authority.sign("db", &[]), &authority).await;
    assert!(is_encrypted(&url(&pg, "encrypted", "sslmode=allow")).await);
    assert!(!is_encrypted(&url(&pg, "unencrypted", "sslmode=prefer")).await);
    let said = refusal(&url(&pg, "encrypted", "sslmode=disable")).await;
    assert!(said.contains("pg_hba.conf"), "{said}");
    let said = refusal(&url(&pg, "unencrypted", "sslmode=require")).await;
    assert!(said.contains("pg_hba.conf"), "{said}");
    // Both ways refused: the preferred way's refusal is told.
    let said = refusal(&url(&pg, "banned", "sslmode=prefer")).await;
    assert!(said.contains("SSL encryption"), "{said}");
    // A certificate that is refused: prefer does without, as libpq does.
    let files = CertificateFiles::new();
    let root = files.write("other.crt", CertificateAuthority::new().pem());
    assert!(
        !is_encrypted(&url(&pg, "trusted", &format!("sslmode=prefer&sslrootcert={root}"))).await
    );
}

#[tokio::test]
async fn the_servers_certificate_is_checked_as_far_as_sslmode_says() {
    let (authority, stranger, files) =
        (CertificateAuthority::new(), CertificateAuthority::new(), CertificateFiles::new());
    let pg = servers::encrypted(&authority.sign("x", &["db.example"]), &authority).await;
    let ours = files.write("root.crt", authority.pem());
    let other = files.write("other.crt", stranger.pem());
    let url = |sslmode: &str, root: &str, host: &str| {
        let parameters =
            format!("sslmode={sslmode}&sslrootcert={root}&host={host}&hostaddr=127.0.0.1");
        url(&pg, "trusted", &parameters)
    };
    for (sslmode, root, host, refused) in [
        ("verify-full", &ours, "db.example", None),
        ("verify-full", &ours, "other.example", Some("not valid for name")),
        (
            "verify-full",
            &other,
            "db.example",
            Some("none of the trusted root certificates has signed it"),
        ),
        ("verify-ca", &ours, "other.example", None),
        (
            "verify-ca",
            &other,
            "other.example",
            Some("none of the trusted root certificates has signed it"),
        ),
        // Root certificates turn require into verify-ca.
        ("require", &ours, "other.example", None),
        (
            "require",
            &other,
            "db.example",
            Some("none of the trusted root certificates has signed it"),
        ),
    ] {
        let url = url(sslmode, root, host);
        match refused {
            None => assert!(is_encrypted(&url).await),
            Some(reason) => {
                let said = refusal(&url).await;
                assert!(said.contains("the server's certificate is refused"), "{said}");
                assert!(said.contains(reason), "{said}");
            }
        }
    }
    let said = refusal(&url("verify-ca", "/nowhere/root.crt", "db.example")).await;
    assert!(said.contains("\"/nowhere/root.crt\" (sslrootcert) can't be used"), "{said}");
    let none = url("verify-full", "", "db.example");
    let said = refusal(&none).await;
    assert!(said.contains("sslmode=verify-full needs root certificates"), "{said}");
}

#[tokio::test]
async fn an_old_certificate_encrypts_but_proves_nothing() {
    let (authority, files) = (CertificateAuthority::new(), CertificateFiles::new());
    let pg = servers::encrypted(&of_version_1(), &authority).await;
    for parameters in ["sslmode=prefer", "sslmode=require&channel_binding=require"] {
        assert!(is_encrypted(&url(&pg, "scram:secret", parameters)).await);
    }
    let root = files.write("root.crt", authority.pem());
    let said =
        refusal(&url(&pg, "trusted", &format!("sslmode=verify-ca&sslrootcert={root}"))).await;
    assert!(said.contains("X.509 version 1"), "{said}");
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
async fn a_client_certificate_is_who_we_are() {
    let (authority, stranger, files) =
        (CertificateAuthority::new(), CertificateAuthority::new(), CertificateFiles::new());
    let pg = servers::encrypted(&authority.sign("db", &["127.0.0.1"]), &authority).await;
    let mine = authority.sign("certified", &[]);
    let certificate = files.write("client.crt", &mine.certificate);
    let key = files.write("client.key", &mine.key);
    let with = |certificate: &str, key: &str| {
        url(&pg, "certified", &format!("sslmode=require&sslcert={certificate}&sslkey={key}"))
    };
    assert!(is_encrypted(&with(&certificate, &key)).await);

    let said = refusal(&url(&pg, "certified", "sslmode=require")).await;
    assert!(said.contains("certificate") && said.contains("28000"), "{said}");
    let theirs = stranger.sign("certified", &[]);
    let other = files.write("other.crt", &theirs.certificate);
    let other_key = files.write("other.key", &theirs.key);
    let said = refusal(&with(&other, &other_key)).await;
    assert!(said.contains("the server ended it with alert UnknownCA"), "{said}");
    let said = refusal(&with(&certificate, &other_key)).await;
    assert!(said.contains("can't be used"), "{said}");

    let readable = files.write("readable.key", &mine.key);
    std::fs::set_permissions(&readable, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = refusal(&with(&certificate, &readable)).await;
    assert!(said.contains("others may read it; chmod 600"), "{said}");
}

#[tokio::test]
async fn scram_is_bound_to_the_channel_where_that_is_asked_for() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let authority = CertificateAuthority::new();
        let pg = servers::encrypted(&authority.sign_with(algorithm, "db", &[]), &authority).await;
        for binding in ["require", "prefer", "disable"] {
            let parameters = format!("sslmode=require&channel_binding={binding}");
            assert!(is_encrypted(&url(&pg, "scram:secret", &parameters)).await);
            if binding == "require" {
                let said = refusal(&url(&pg, "scram:wrong", &parameters)).await;
                assert!(said.contains("28P01"), "{said}");
                for role in ["md5er:secret", "trusted", "clear:secret"] {
                    let said = refusal(&url(&pg, role, &parameters)).await;
                    assert!(said.contains("does not ask for SCRAM"), "{said}");
                }
            }
        }
        let said =
            refusal(&url(&pg, "scram:secret", "sslmode=disable&channel_binding=require")).await;
        assert!(said.contains("the connection has no TLS"), "{said}");
    }
}

#[tokio::test]
async fn direct_negotiation_needs_a_server_that_knows_it() {
    let authority = CertificateAuthority::new();
    let pg = servers::encrypted(&authority.sign("db", &[]), &authority).await;
    let major = pg.value::<i32>("SELECT current_setting('server_version_num')::int / 10000").await;
    let url = url(&pg, "trusted", "sslmode=require&sslnegotiation=direct");
    if major >= 17 {
        assert!(is_encrypted(&url).await);
    } else {
        refusal(&url).await;
    }
}

#[tokio::test]
async fn large_answers_come_whole_through_tls() {
    let authority = CertificateAuthority::new();
    let pg = servers::encrypted(&authority.sign("db", &[]), &authority).await;
    let target = target(&url(&pg, "trusted", "sslmode=require"));
    let mut connection = WalsenderConnection::connect(&target).await.unwrap();
    let text = value(&mut connection, "SELECT repeat('highwater', 500000)").await;
    assert_eq!(text.len(), 4_500_000);
    assert_eq!(
        ask(&target, "SELECT length(repeat('highwater', 500000))").await.unwrap(),
        "4500000"
    );
    drop::<TestPostgres>(pg);
}
