//! Tokens of every algorithm, good and bad.

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

fn rules(keys: KeyFiles) -> JwtOptions {
    let tables = GrantedTables::Named(vec!["items".to_owned()]);
    JwtOptions {
        keys,
        issuer: None,
        audience: None,
        leeway: Duration::from_secs(30),
        grant: Grant { tables, ..Grant::default() },
    }
}

/// Files with keys in a folder that goes away with it.
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

    /// The key in a file of its own.
    fn with(mut self, signer: &Signer) -> Self {
        let path = self.write(signer.algorithm(), &signer.key_file());
        match signer {
            Signer::Secret(_) => self.keys.secret = Some(path),
            _ => self.keys.public.push(path),
        }
        self
    }

    /// The keys as a set.
    fn with_set(mut self, keys: &[Value]) -> Self {
        self.keys.jwks = Some(self.write("jwks.json", &json!({ "keys": keys }).to_string()));
        self
    }

    fn jwt(&self) -> Jwt {
        Jwt::new(rules(self.keys.clone())).unwrap()
    }

    fn refused(&self) -> String {
        Jwt::new(rules(self.keys.clone())).err().unwrap().to_string()
    }
}

fn claims() -> Value {
    json!({"sub": "5", "exp": seconds_from_now(60)})
}

fn all() -> [Signer; 4] {
    [Signer::secret(), Signer::rsa(), Signer::p256(), Signer::ed25519()]
}

fn outcome(jwt: &Jwt, token: &str) -> String {
    jwt.identify(token).map_or_else(|refused| refused.to_string(), |_| "known".to_owned())
}

#[test]
fn a_token_of_each_algorithm_is_known_by_its_key_from_a_file_or_from_a_set() {
    for signer in all() {
        let token = signer.token(&claims());
        let jwt = KeyFixtures::new().with(&signer).jwt();
        let identity = jwt.identify(&token).unwrap();
        assert_eq!(identity.access, Access::Tables(vec![Granted::whole("items")]));
        assert!(!identity.operator && !identity.is_over());
        if !matches!(signer, Signer::Secret(_)) {
            let jwt = KeyFixtures::new().with_set(&[signer.jwk("k1")]).jwt();
            assert_eq!(outcome(&jwt, &token), "known", "{}", signer.algorithm());
            assert_eq!(outcome(&jwt, &signer.token_by("k1", &claims())), "known");
            let unknown = outcome(&jwt, &signer.token_by("k2", &claims()));
            assert_eq!(unknown, "none of the keys has signed it");
        }
    }
}

#[test]
fn all_algorithms_hold_side_by_side_and_none_is_taken_for_another() {
    let signers = all();
    let jwt = signers.iter().fold(KeyFixtures::new(), KeyFixtures::with).jwt();
    for signer in &signers {
        assert_eq!(outcome(&jwt, &signer.token(&claims())), "known");
        for other in &signers {
            let parts = parts(&json!({"alg": other.algorithm()}), &claims());
            let known = outcome(&jwt, &signer.sign(&parts)) == "known";
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
        assert_ne!(outcome(&jwt, &forged.token(&claims())), "known");
        for none in ["none", "None", "NONE", ""] {
            let unsigned = parts(&json!({"alg": none}), &claims());
            assert_ne!(outcome(&jwt, &format!("{unsigned}.")), "known");
        }
        // Of the same family, but not the algorithm of the key.
        for other in ["HS512", "RS512", "PS256", "ES384"] {
            let token = signer.sign(&parts(&json!({"alg": other}), &claims()));
            assert_ne!(outcome(&jwt, &token), "known", "{other}");
        }
    }
}

#[test]
fn what_was_changed_after_signing_is_refused() {
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
        assert_ne!(outcome(&jwt, &changed), "known", "{changed}");
    }
}

#[test]
fn a_header_with_extensions_that_must_be_understood_is_refused() {
    let signer = Signer::p256();
    let jwt = KeyFixtures::new().with(&signer).jwt();
    let header = json!({"alg": "ES256", "crit": ["b64"], "b64": false});
    assert!(outcome(&jwt, &signer.sign(&parts(&header, &claims()))).contains("extensions"));
}

#[test]
fn times_hold_within_the_leeway() {
    let signer = Signer::secret();
    let jwt = KeyFixtures::new().with(&signer).jwt();
    let now = seconds_from_now(0);
    let said = |claims: Value| outcome(&jwt, &signer.token(&claims));
    assert_eq!(said(json!({"exp": now - 20})), "known");
    assert_eq!(said(json!({"exp": now - 40})), "ExpiredSignature");
    assert_eq!(said(json!({"exp": now + 60, "nbf": now + 20})), "known");
    assert_eq!(said(json!({"exp": now + 60, "nbf": now + 40})), "ImmatureSignature");
    assert_eq!(said(json!({"sub": "5"})), "Missing required claim: exp");
    assert_ne!(said(json!({"exp": "tomorrow"})), "known");
    assert_ne!(said(json!({"exp": null})), "known");
    assert_ne!(said(json!({"exp": now + 60, "nbf": "yesterday"})), "known");
    assert_eq!(said(json!({"exp": u64::MAX / 2})), "known");
}

#[test]
fn issuer_and_audience_must_be_those_that_are_configured() {
    let signer = Signer::secret();
    let files = KeyFixtures::new().with(&signer);
    let exp = seconds_from_now(60);
    let jwt = |issuer: Option<&str>, audience: Option<&str>| {
        let (issuer, audience) = (issuer.map(str::to_owned), audience.map(str::to_owned));
        Jwt::new(JwtOptions { issuer, audience, ..rules(files.keys.clone()) }).unwrap()
    };
    let said = |jwt: &Jwt, claims: Value| outcome(jwt, &signer.token(&claims)) == "known";
    let strict = jwt(Some("https://login.example"), Some("highwater"));
    let good = json!({"exp": exp, "iss": "https://login.example", "aud": ["x", "highwater"]});
    assert!(said(&strict, good.clone()));
    for (claim, wrong) in
        [("iss", json!("https://other.example")), ("aud", json!("other")), ("iss", Value::Null)]
    {
        let mut claims = good.clone();
        claims[claim] = wrong;
        assert!(!said(&strict, claims.clone()), "{claims}");
        claims.as_object_mut().unwrap().remove(claim);
        assert!(!said(&strict, claims.clone()), "{claims}");
    }
    let open = jwt(None, None);
    assert!(said(&open, json!({"exp": exp, "iss": "anybody"})));
    assert!(!said(&open, json!({"exp": exp, "aud": "somebody else"})));
}

/// RFC 7515, A.1 and A.3; RFC 8037, A.4; and a token that OpenSSL has signed.
#[test]
fn signatures_of_others_are_understood() {
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
    // Times are looked at only where the signature holds.
    assert_eq!(outcome(&jwt, &token), "ExpiredSignature");
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PP\
                 Ot7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert!(outcome(&jwt, token).starts_with("it is no JWT"), "its payload is no JSON");
    let token = std::fs::read_to_string(fixtures.join("openssl_rs256.txt")).unwrap();
    assert_eq!(outcome(&jwt, token.trim()), "known");
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
fn files_that_hold_no_key_for_us_are_refused_with_what_would_be_right() {
    let refused = |form: &str, text: &str| {
        let mut files = KeyFixtures::new();
        let path = files.write("file", text);
        match form {
            "secret" => files.keys.secret = Some(path),
            "pem" => files.keys.public = vec![path],
            _ => files.keys.jwks = Some(path),
        }
        files.refused()
    };
    assert!(refused("secret", "hunter2\n").ends_with("this one has 7"));
    let private =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/jwt/rsa.pem"));
    assert!(refused("pem", &private.unwrap()).contains("a private key, which must not be here"));
    assert!(refused("pem", "nothing").contains("holds no key"));
    assert!(refused("pem", "-----BEGIN PUBLIC KEY-----\n*\n").contains("not a public key"));
    let damaged = Signer::p256().key_file().replace("MFkw", "MFkx");
    assert!(refused("pem", &damaged).contains("damaged"));
    assert!(refused("jwks", "{").contains("not a JSON Web Key Set"));
    let secret = json!({"keys": [Signer::secret().jwk("k")]}).to_string();
    assert!(refused("jwks", &secret).contains("auth.jwt.secret_file"));
    let mut encrypts = Signer::rsa().jwk("k");
    encrypts["use"] = "enc".into();
    let mut short = Signer::rsa().jwk("k");
    short["n"] = "AQAB".into();
    let mut longer = Signer::rsa().jwk("k");
    longer["alg"] = "RS512".into();
    let other = json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"});
    for unusable in [encrypts, short, longer, other] {
        let set = json!({ "keys": [unusable] }).to_string();
        assert!(refused("jwks", &set).contains("none of its keys"), "{set}");
        let mixed = KeyFixtures::new().with_set(&[unusable, Signer::ed25519().jwk("good")]);
        assert_eq!(mixed.jwt().keys.borrow().len(), 1);
    }
    let mut files = KeyFixtures::new();
    files.keys.secret = Some("/nowhere/secret".into());
    assert!(files.refused().starts_with("auth.jwt.secret_file /nowhere/secret: No such file"));
}

/// A few looks at the files.
async fn a_while() {
    tokio::time::sleep(2 * LOOK_INTERVAL).await;
}

#[tokio::test(start_paused = true)]
async fn keys_change_with_their_file_and_a_broken_file_changes_nothing() {
    let (old, new) = (Signer::p256(), Signer::ed25519());
    let files = KeyFixtures::new().with_set(&[old.jwk("old")]);
    let jwt = files.jwt();
    let (before, after) = (old.token_by("old", &claims()), new.token_by("new", &claims()));
    let held = jwt.identify(&before).unwrap();
    let story = async {
        assert_ne!(outcome(&jwt, &after), "known");
        files.write("jwks.json", "{\"keys\": [");
        a_while().await;
        assert_eq!(outcome(&jwt, &before), "known");
        std::fs::remove_file(files.folder.path().join("jwks.json")).unwrap();
        a_while().await;
        assert_eq!(outcome(&jwt, &before), "known");
        let both = json!({"keys": [new.jwk("new"), old.jwk("old")]});
        files.write("jwks.json", &both.to_string());
        a_while().await;
        assert_eq!(
            (outcome(&jwt, &before), outcome(&jwt, &after)),
            ("known".into(), "known".into())
        );
        assert!(!held.is_over());
        files.write("jwks.json", &json!({"keys": [new.jwk("new")]}).to_string());
        held.ended().await;
        assert!(held.is_over());
        assert_eq!(outcome(&jwt, &before), "none of the keys has signed it");
        assert_eq!(outcome(&jwt, &after), "known");
    };
    tokio::select! {
        () = jwt.follow_files() => {}
        () = story => {}
    }
}

#[tokio::test(start_paused = true)]
async fn an_identity_ends_when_its_token_expires() {
    let signer = Signer::secret();
    let jwt = KeyFixtures::new().with(&signer).jwt();
    let identity = jwt.identify(&signer.token(&claims())).unwrap();
    let since = Instant::now();
    identity.ended().await;
    let lasted = since.elapsed().as_secs();
    // 60 s and the leeway; the token knows whole seconds only.
    assert!((88..=91).contains(&lasted), "{lasted}");
}

#[test]
fn nothing_that_is_shown_holds_a_secret() {
    let signer = Signer::secret();
    let files = KeyFixtures::new().with(&signer);
    let rules = rules(files.keys.clone());
    let jwt = Jwt::new(rules.clone()).unwrap();
    let identity = jwt.identify(&signer.token(&claims())).unwrap();
    let authority =
        TokenVerifier::new(AuthOptions { tokens: Vec::new(), jwt: Some(rules.clone()) }).unwrap();
    let shown = format!("{rules:?} {identity:?} {authority:?} {:?}", jwt.keys.borrow());
    assert!(!shown.contains(&signer.key_file()), "{shown}");
    let bytes = format!("{:?}", signer.key_file().as_bytes());
    assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
}
