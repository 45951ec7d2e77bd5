//! Valid and invalid tokens of every algorithm.

use std::path::PathBuf;

use jsonwebtoken::DecodingKey;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::auth::{Access, AuthOptions, Granted, GrantedTables, TokenVerifier};

#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]
#[path = "../../../tests/support/jwt.rs"]
mod signer;

use signer::{Signer, parts, seconds_from_now};

fn options(keys: KeyFiles) -> JwtOptions {
    let tables = GrantedTables::Named(vec!["items".to_owned()]);
    JwtOptions {
        keys,
        issuer: None,
        audience: None,
        leeway: Duration::from_secs(30),
        grant: Grant { tables, ..Grant::default() },
    }
}

/// Key files in a temporary folder.
struct KeyFixtures {
    folder: TempDir,
    keys: KeyFiles,
}

impl KeyFixtures {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), keys: KeyFiles::default() }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Adds the key in a separate file.
    fn with(mut self, signer: &Signer) -> Self {
        let path = self.write(signer.algorithm(), &signer.key_file());
        match signer {
            Signer::Secret(_) => self.keys.secret = Some(path),
            _ => self.keys.public.push(path),
        }
        self
    }

    /// Adds the keys as a JWK set.
    fn with_set(mut self, keys: &[Value]) -> Self {
        self.keys.jwks = Some(self.write("jwks.json", &json!({ "keys": keys }).to_string()));
        self
    }

    fn jwt(&self) -> JwtAuthenticator {
        JwtAuthenticator::new(options(self.keys.clone())).unwrap()
    }

    fn rejection(&self) -> String {
        JwtAuthenticator::new(options(self.keys.clone())).err().unwrap().to_string()
    }
}

fn claims() -> Value {
    json!({"sub": "5", "exp": seconds_from_now(60)})
}

fn all() -> [Signer; 4] {
    [Signer::secret(), Signer::rsa(), Signer::p256(), Signer::ed25519()]
}

fn outcome(jwt: &JwtAuthenticator, token: &str) -> String {
    jwt.identify(token).map_or_else(|rejected| rejected.to_string(), |_| "accepted".to_owned())
}

#[test]
fn a_token_of_each_algorithm_is_verified_with_a_key_from_a_file_or_a_set() {
    for signer in all() {
        let token = signer.token(&claims());
        let jwt = KeyFixtures::new().with(&signer).jwt();
        let identity = jwt.identify(&token).unwrap();
        assert_eq!(identity.access, Access::Tables(vec![Granted::whole("items")]));
        assert!(!identity.is_admin && !identity.has_expired());
        if !matches!(signer, Signer::Secret(_)) {
            let jwt = KeyFixtures::new().with_set(&[signer.jwk("k1")]).jwt();
            assert_eq!(outcome(&jwt, &token), "accepted", "{}", signer.algorithm());
            assert_eq!(outcome(&jwt, &signer.token_by("k1", &claims())), "accepted");
            let unknown = outcome(&jwt, &signer.token_by("k2", &claims()));
            assert_eq!(unknown, "none of the keys has signed it");
        }
    }
}

#[test]
fn keys_of_all_algorithms_coexist_and_verify_only_their_own() {
    let signers = all();
    let jwt = signers.iter().fold(KeyFixtures::new(), KeyFixtures::with).jwt();
    for signer in &signers {
        assert_eq!(outcome(&jwt, &signer.token(&claims())), "accepted");
        for other in &signers {
            let parts = parts(&json!({"alg": other.algorithm()}), &claims());
            let known = outcome(&jwt, &signer.sign(&parts)) == "accepted";
            assert_eq!(known, signer.algorithm() == other.algorithm());
        }
    }
}

#[test]
fn another_key_has_not_signed_it() {
    for (ours, theirs) in [
        (Signer::secret(), Signer::secret()),
        (Signer::p256(), Signer::p256()),
        (Signer::ed25519(), Signer::ed25519()),
    ] {
        let jwt = KeyFixtures::new().with(&ours).jwt();
        assert_eq!(outcome(&jwt, &theirs.token(&claims())), "none of the keys has signed it");
    }
}

#[test]
fn a_public_key_is_no_secret_and_none_is_no_algorithm() {
    for signer in [Signer::rsa(), Signer::p256(), Signer::ed25519()] {
        let jwt = KeyFixtures::new().with(&signer).jwt();
        let forged = Signer::Secret(signer.key_file());
        assert_ne!(outcome(&jwt, &forged.token(&claims())), "accepted");
        for none in ["none", "None", "NONE", ""] {
            let unsigned = parts(&json!({"alg": none}), &claims());
            assert_ne!(outcome(&jwt, &format!("{unsigned}.")), "accepted");
        }
        // Of the same family, but not the algorithm of the key.
        for other in ["HS512", "RS512", "PS256", "ES384"] {
            let token = signer.sign(&parts(&json!({"alg": other}), &claims()));
            assert_ne!(outcome(&jwt, &token), "accepted", "{other}");
        }
    }
}

#[test]
fn a_token_changed_after_signing_is_rejected() {
    let signer = Signer::ed25519();
    let jwt = KeyFixtures::new().with(&signer).jwt();
    let token = signer.token(&claims());
    let (body, signature) = token.rsplit_once('.').unwrap();
    let more = json!({"sub": "6", "exp": seconds_from_now(60)});
    let other = parts(&json!({"alg": "EdDSA", "typ": "JWT"}), &more);
    for changed in [
        format!("{other}.{signature}"),
        format!("{body}."),
        body.to_owned(),
        format!("{token}.{signature}"),
        format!("{body}.{signature}="),
        "..".to_owned(),
        "a.b.c".to_owned(),
        String::new(),
    ] {
        assert_ne!(outcome(&jwt, &changed), "accepted", "{changed}");
    }
}

#[test]
fn a_header_with_critical_extensions_is_rejected() {
    let signer = Signer::p256();
    let jwt = KeyFixtures::new().with(&signer).jwt();
    let header = json!({"alg": "ES256", "crit": ["b64"], "b64": false});
    assert!(outcome(&jwt, &signer.sign(&parts(&header, &claims()))).contains("extensions"));
}

#[test]
fn times_are_compared_with_the_leeway() {
    let signer = Signer::secret();
    let jwt = KeyFixtures::new().with(&signer).jwt();
    let now = seconds_from_now(0);
    let result = |claims: Value| outcome(&jwt, &signer.token(&claims));
    assert_eq!(result(json!({"exp": now - 20})), "accepted");
    assert_eq!(result(json!({"exp": now - 40})), "ExpiredSignature");
    assert_eq!(result(json!({"exp": now + 60, "nbf": now + 20})), "accepted");
    assert_eq!(result(json!({"exp": now + 60, "nbf": now + 40})), "ImmatureSignature");
    assert_eq!(result(json!({"sub": "5"})), "Missing required claim: exp");
    assert_ne!(result(json!({"exp": "tomorrow"})), "accepted");
    assert_ne!(result(json!({"exp": null})), "accepted");
    assert_ne!(result(json!({"exp": now + 60, "nbf": "yesterday"})), "accepted");
    assert_eq!(result(json!({"exp": u64::MAX / 2})), "accepted");
}

#[test]
fn issuer_and_audience_must_match_the_configuration() {
    let signer = Signer::secret();
    let files = KeyFixtures::new().with(&signer);
    let exp = seconds_from_now(60);
    let jwt = |issuer: Option<&str>, audience: Option<&str>| {
        let (issuer, audience) = (issuer.map(str::to_owned), audience.map(str::to_owned));
        JwtAuthenticator::new(JwtOptions { issuer, audience, ..options(files.keys.clone()) })
            .unwrap()
    };
    let result =
        |jwt: &JwtAuthenticator, claims: Value| outcome(jwt, &signer.token(&claims)) == "accepted";
    let strict = jwt(Some("https://login.example"), Some("highwater"));
    let good = json!({"exp": exp, "iss": "https://login.example", "aud": ["x", "highwater"]});
    assert!(result(&strict, good.clone()));
    for (claim, wrong) in
        [("iss", json!("https://other.example")), ("aud", json!("other")), ("iss", Value::Null)]
    {
        let mut claims = good.clone();
        claims[claim] = wrong;
        assert!(!result(&strict, claims.clone()), "{claims}");
        claims.as_object_mut().unwrap().remove(claim);
        assert!(!result(&strict, claims.clone()), "{claims}");
    }
    let open = jwt(None, None);
    assert!(result(&open, json!({"exp": exp, "iss": "any"})));
    assert!(!result(&open, json!({"exp": exp, "aud": "another"})));
}

/// RFC 7515, A.1 and A.3; RFC 8037, A.4; and a token that OpenSSL has signed.
#[test]
fn signatures_of_other_implementations_are_verified() {
    let joe = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290\
               Ijp0cnVlfQ";
    let es256 = json!({"kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let eddsa = json!({"kty": "OKP", "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let mut files = KeyFixtures::new().with_set(&[es256, eddsa]);
    let fixtures = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/jwt"));
    files.keys.public = vec![fixtures.join("rsa_public.pem")];
    let jwt = files.jwt();
    let token = format!(
        "eyJhbGciOiJFUzI1NiJ9.{joe}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISl\
         SApmWQxfKTUJqPP3-Kg6NU1Q"
    );
    // Times are checked only after the signature.
    assert_eq!(outcome(&jwt, &token), "ExpiredSignature");
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PP\
                 Ot7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert!(outcome(&jwt, token).starts_with("it is not a JWT"), "its payload is not JSON");
    let token = std::fs::read_to_string(fixtures.join("openssl_rs256.txt")).unwrap();
    assert_eq!(outcome(&jwt, token.trim()), "accepted");
    let secret =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let secret = jsonwebtoken::jwk::Jwk {
        common: jsonwebtoken::jwk::CommonParameters::default(),
        algorithm: serde_json::from_value(json!({"kty": "oct", "k": secret})).unwrap(),
    };
    let token = format!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{joe}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    let key = DecodingKey::from_jwk(&secret).unwrap();
    let validation = Validation::new(Algorithm::HS256);
    let error = decode::<Value>(&token, &key, &validation).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::ExpiredSignature);
}

#[test]
fn files_without_a_usable_key_are_rejected_with_the_expected_content() {
    let rejection = |form: &str, text: &str| {
        let mut files = KeyFixtures::new();
        let path = files.write("file", text);
        match form {
            "secret" => files.keys.secret = Some(path),
            "pem" => files.keys.public = vec![path],
            _ => files.keys.jwks = Some(path),
        }
        files.rejection()
    };
    assert!(rejection("secret", "hunter2\n").ends_with("this one has 7"));
    let private =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/jwt/rsa.pem"));
    assert!(rejection("pem", &private.unwrap()).contains("a private key, which must not be here"));
    assert!(rejection("pem", "nothing").contains("contains no key"));
    assert!(rejection("pem", "-----BEGIN PUBLIC KEY-----\n*\n").contains("not a public key"));
    let damaged = Signer::p256().key_file().replace("MFkw", "MFkx");
    assert!(rejection("pem", &damaged).contains("damaged"));
    assert!(rejection("jwks", "{").contains("not a JSON Web Key Set"));
    let secret = json!({"keys": [Signer::secret().jwk("k")]}).to_string();
    assert!(rejection("jwks", &secret).contains("auth.jwt.secret_file"));
    let mut encrypts = Signer::rsa().jwk("k");
    encrypts["use"] = "enc".into();
    let mut short = Signer::rsa().jwk("k");
    short["n"] = "AQAB".into();
    let mut longer = Signer::rsa().jwk("k");
    longer["alg"] = "RS512".into();
    let other = json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"});
    for unusable in [encrypts, short, longer, other] {
        let set = json!({ "keys": [unusable] }).to_string();
        assert!(rejection("jwks", &set).contains("none of its keys"), "{set}");
        let mixed = KeyFixtures::new().with_set(&[unusable, Signer::ed25519().jwk("good")]);
        assert_eq!(mixed.jwt().keys.borrow().len(), 1);
    }
    let mut files = KeyFixtures::new();
    files.keys.secret = Some("/nowhere/secret".into());
    assert!(files.rejection().starts_with("auth.jwt.secret_file /nowhere/secret: No such file"));
}

/// Waits for at least one check of the files.
async fn poll_files() {
    tokio::time::sleep(2 * POLL_INTERVAL).await;
}

#[tokio::test(start_paused = true)]
async fn changed_files_replace_the_keys_and_broken_files_change_nothing() {
    let (old, new) = (Signer::p256(), Signer::ed25519());
    let files = KeyFixtures::new().with_set(&[old.jwk("old")]);
    let jwt = files.jwt();
    let (before, after) = (old.token_by("old", &claims()), new.token_by("new", &claims()));
    let identity = jwt.identify(&before).unwrap();
    let test = async {
        assert_ne!(outcome(&jwt, &after), "accepted");
        files.write("jwks.json", "{\"keys\": [");
        poll_files().await;
        assert_eq!(outcome(&jwt, &before), "accepted");
        std::fs::remove_file(files.folder.path().join("jwks.json")).unwrap();
        poll_files().await;
        assert_eq!(outcome(&jwt, &before), "accepted");
        let both = json!({"keys": [new.jwk("new"), old.jwk("old")]});
        files.write("jwks.json", &both.to_string());
        poll_files().await;
        assert_eq!(
            (outcome(&jwt, &before), outcome(&jwt, &after)),
            ("accepted".into(), "accepted".into())
        );
        assert!(!identity.has_expired());
        files.write("jwks.json", &json!({"keys": [new.jwk("new")]}).to_string());
        identity.expired().await;
        assert!(identity.has_expired());
        assert_eq!(outcome(&jwt, &before), "none of the keys has signed it");
        assert_eq!(outcome(&jwt, &after), "accepted");
    };
    tokio::select! {
        () = jwt.follow_files() => {}
        () = test => {}
    }
}

#[tokio::test(start_paused = true)]
async fn an_identity_expires_with_its_token() {
    let signer = Signer::secret();
    let jwt = KeyFixtures::new().with(&signer).jwt();
    let identity = jwt.identify(&signer.token(&claims())).unwrap();
    let since = Instant::now();
    identity.expired().await;
    let lasted = since.elapsed().as_secs();
    // 60 s and the leeway; a token's times are whole seconds.
    assert!((88..=91).contains(&lasted), "{lasted}");
}

#[test]
fn debug_output_contains_no_secret() {
    let signer = Signer::secret();
    let files = KeyFixtures::new().with(&signer);
    let options = options(files.keys.clone());
    let jwt = JwtAuthenticator::new(options.clone()).unwrap();
    let identity = jwt.identify(&signer.token(&claims())).unwrap();
    let verifier =
        TokenVerifier::new(AuthOptions { tokens: Vec::new(), jwt: Some(options.clone()) }).unwrap();
    let shown = format!("{options:?} {identity:?} {verifier:?} {:?}", jwt.keys.borrow());
    assert!(!shown.contains(&signer.key_file()), "{shown}");
    let bytes = format!("{:?}", signer.key_file().as_bytes());
    assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
}
