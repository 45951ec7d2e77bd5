//! Section `[auth]`: what tokens grant, and configurations that would grant less or more than they suggest.

use super::*;
use crate::auth::{Access, Granted, GrantedTables, RuleValue};
use crate::scope::ScopeConditions;

const HASH: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A file with `auth.mode = "token"` in line 2; `HASH` in `sections` is replaced by a hash.
fn text(sections: &str) -> String {
    format!("[auth]\nmode = \"token\"\n{}", sections.replace("HASH", HASH))
}

/// Loads `sections` with scope columns for the conditions used in these tests.
fn options(sections: &str) -> AuthOptions {
    let scopes = "[tables.items]\nscope = [\"owner_id\", \"country\"]\n\
                  [tables.orders]\nscope = [\"owner_id\", \"country\"]\n";
    load(&(text(sections) + "\n" + scopes), &[URL]).unwrap().auth.unwrap()
}

fn rejected(sections: &str) -> String {
    errors(&text(sections), &[URL])
}

#[test]
fn static_tokens_grant_exactly_what_is_configured() {
    let options = options(
        "[auth.tokens.all]\nhash = \"HASH\"\ntables = \"*\"\n\
         [auth.tokens.ops]\nhash = \"HASH\"\nadmin = true\n\
         [auth.tokens.shop]\nhash = \"HASH\"\ntables = [\"items\", \"shop.orders\"]\n\
         [auth.tokens.shop.where.\"public.items\"]\nowner_id = 5\ncountry = \"fr\"",
    );
    let [all, ops, shop] = &options.tokens[..] else { panic!("{options:?}") };
    assert_eq!((&all.access, all.is_admin), (&Access::Everything, false));
    assert_eq!((&ops.access, ops.is_admin), (&Access::nothing(), true));
    let rows = ScopeConditions::from_iter([("country", "fr"), ("owner_id", "5")]);
    let expected = vec![Granted { table: "items".into(), rows }, Granted::whole("shop.orders")];
    assert_eq!((&shop.access, shop.is_admin), (&Access::Tables(expected), false));
    assert!(options.jwt.is_none());
}

#[test]
fn tokens_can_be_set_by_the_environment() {
    let variables = [
        URL,
        ("HIGHWATER_AUTH__MODE", "token"),
        ("HIGHWATER_AUTH__TOKENS__SHOP__HASH", HASH),
        ("HIGHWATER_AUTH__TOKENS__SHOP__TABLES", "items,users"),
        ("HIGHWATER_AUTH__TOKENS__SHOP__WHERE__ITEMS__OWNER_ID", "5"),
        ("HIGHWATER_TABLES__ITEMS__SCOPE", "owner_id"),
        ("HIGHWATER_TOKEN", "is not a key"),
    ];
    let options = load("", &variables).unwrap().auth.unwrap();
    assert_eq!(options.tokens[0].name, "shop");
    let Access::Tables(granted) = &options.tokens[0].access else { panic!("{options:?}") };
    assert_eq!(granted[0].rows.to_string(), "owner_id:5");
    assert_eq!(granted[1], Granted::whole("users"));
}

#[test]
fn a_hash_may_be_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hash");
    std::fs::write(&path, format!("{HASH}\n")).unwrap();
    let token = |path: &std::path::Path| {
        format!("[auth.tokens.a]\nadmin = true\nhash_file = {:?}", path.display().to_string())
    };
    assert_eq!(options(&token(&path)).tokens.len(), 1);
    std::fs::write(&path, "the token itself").unwrap();
    let message = rejected(&token(&path));
    assert!(message.contains("auth.tokens.a.hash_file: not a token's hash"), "{message}");
    assert!(!message.contains("the token itself"));
    assert!(rejected(&token(&folder.path().join("none"))).contains("none: No such file"));
    let both = format!("{}\nhash = \"HASH\"", token(&path));
    assert!(rejected(&both).contains("not both"));
}

#[test]
fn jwts_have_keys_and_tables() {
    let jwt = options(
        "[auth.jwt]\njwks_file = \"/keys/jwks.json\"\npublic_key_files = [\"a.pem\", \"b.pem\"]\n\
         issuer = \"https://login.example\"\naudience = \"highwater\"\nleeway = \"5s\"\n\
         tables = [\"items\"]\ntables_claim = \"tables\"\n\
         [auth.jwt.where.items]\nowner_id = { claim = \"sub\" }\ncountry = \"fr\"",
    );
    let jwt = jwt.jwt.unwrap();
    assert_eq!(jwt.keys.jwks, Some("/keys/jwks.json".into()));
    assert_eq!((jwt.keys.public.len(), jwt.keys.secret), (2, None));
    assert_eq!(jwt.issuer.as_deref(), Some("https://login.example"));
    assert_eq!(jwt.audience.as_deref(), Some("highwater"));
    assert_eq!(jwt.leeway, Duration::from_secs(5));
    assert_eq!(jwt.grant.tables, GrantedTables::Named(vec!["items".into()]));
    assert_eq!(jwt.grant.tables_claim.as_deref(), Some("tables"));
    let values: Vec<_> = jwt.grant.rows.iter().map(|rule| (&*rule.column, &rule.value)).collect();
    let (claim, text) = (RuleValue::Claim("sub".into()), RuleValue::Text("fr".into()));
    assert_eq!(values, [("country", &text), ("owner_id", &claim)]);
}

#[test]
fn tokens_and_conditions_without_effect_are_rejected() {
    let token = "[auth.tokens.a]\nhash = \"HASH\"\n";
    for (sections, expected) in [
        (
            "",
            "auth.mode = \"token\": every request would be rejected; add a section \
              [auth.tokens.NAME], as `highwater token` prints it, or [auth.jwt]",
        ),
        ("[auth.tokens.a]\ntables = [\"items\"]", "auth.tokens.a: has no hash; "),
        (
            "[auth.tokens.a]\nhash = \"hw_abc\"\nadmin = true",
            "auth.tokens.a.hash: not a token's hash; ",
        ),
        (token, "auth.tokens.a: grants nothing; add tables"),
        (&format!("{token}tables = []"), "must name at least one table"),
        (&format!("{token}tables = [\"*\", \"a\"]"), "give no other names beside it"),
        (&format!("{token}tables = \"*\"\nwhere.items.owner_id = 5"), "has no effect with tables"),
        (
            &format!("{token}tables = [\"items\"]\nwhere.users.id = 5"),
            "users is not among the granted tables",
        ),
        (
            &format!("{token}tables = [\"items\"]\nwhere.items.id = {{ claim = \"sub\" }}"),
            "no claims",
        ),
        (&format!("{token}tables = [\"items\"]\nwhere.items.id = [5]"), "must be one value"),
        (
            "[auth.tokens.a.where.items]\nid = 5\n[auth.tokens.b]\nhash = \"HASH\"\nadmin = true",
            "there is no token [auth.tokens.a]",
        ),
        (
            &format!("{token}table = \"x\""),
            "unknown key auth.tokens.a.table; the nearest known one is \
              auth.tokens.a.tables",
        ),
        ("[auth.jwt]\ntables = \"*\"", "auth.jwt: has no keys; set secret_file"),
        ("[auth.jwt]\njwks_file = \"a\"", "auth.jwt: grants no tables"),
        ("[auth.jwt]\njwks_file = \"a\"\ntables = \"*\"\nleeway = \"2h\"", "must be at most 1h"),
        (
            "[auth.jwt]\njwk_file = \"a\"",
            "unknown key auth.jwt.jwk_file; the nearest known one is \
              auth.jwt.jwks_file",
        ),
        (
            "[auth.jwt]\njwks_file = \"a\"\ntables = \"*\"\nwhere.items.id = { claim = \"sub\" }",
            "auth.jwt.where.items.id = \"sub\": has no effect with tables = \"*\"",
        ),
    ] {
        let message = rejected(sections);
        assert!(message.contains(expected), "{sections}\n{message}");
    }
}

#[test]
fn tokens_without_mode_token_are_rejected() {
    let token = format!("[auth.tokens.a]\nhash = \"{HASH}\"\nadmin = true");
    for mode in ["", "[auth]\nmode = \"none\"\n"] {
        let message = errors(&format!("{mode}{token}"), &[URL]);
        assert!(
            message.contains("auth.tokens.a: has no effect without auth.mode = \"token\""),
            "{message}"
        );
    }
    let message = errors("[auth.jwt]\njwks_file = \"a\"", &[URL]);
    assert!(message.contains("auth.jwt: has no effect without"), "{message}");
}

#[test]
fn with_tokens_listeners_may_be_open_and_admin_routes_need_a_token() {
    let token = "[auth.tokens.a]\nhash = \"HASH\"\nadmin = true\n";
    let config = |admin: &str| {
        let http = format!("[http]\nlisten = \"0.0.0.0:80\"\nadmin_listen = \"{admin}\"");
        load(&text(&format!("{token}{http}")), &[URL]).unwrap()
    };
    assert!(!config("0.0.0.0:81").http.options.admin_open);
    assert!(config("127.0.0.1:81").http.options.admin_open);
}

#[test]
fn debug_output_does_not_contain_hashes() {
    let token = "[auth.tokens.a]\nhash = \"HASH\"\nadmin = true\n";
    let shown = format!("{:?}", load(&text(token), &[URL]).unwrap());
    assert!(!shown.contains(&HASH[7..20]), "{shown}");
}

#[test]
fn conditions_need_scope_columns() {
    let token = "[auth.tokens.shop]\nhash = \"HASH\"\ntables = [\"items\"]\n\
                 [auth.tokens.shop.where.items]\nowner_id = 5\n";
    let message = rejected(&format!("{token}[tables.\"public.items\"]\nscope = [\"country\"]"));
    assert!(message.contains("auth.tokens.shop.where.items.owner_id"), "{message}");
    assert!(
        message.contains("owner_id is not a scope column; add it to tables.items.scope"),
        "{message}"
    );
    let accepted = format!("{token}[tables.\"public.items\"]\nscope = [\"owner_id\"]");
    assert!(load(&text(&accepted), &[URL]).is_ok());
}
