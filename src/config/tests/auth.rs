//! Section `[auth]`: what is granted, and what is refused before anybody believes in it.

use super::*;
use crate::auth::{Access, Granted, GrantedTables, RuleValue};
use crate::scope::ScopeConditions;

const HASH: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// With `auth.mode = "token"`, in line 2; `HASH` stands for a hash.
fn text(sections: &str) -> String {
    format!("[auth]\nmode = \"token\"\n{}", sections.replace("HASH", HASH))
}

/// With scope columns for every condition that the tests write.
fn rules(sections: &str) -> AuthOptions {
    let scopes = "[tables.items]\nscope = [\"owner_id\", \"country\"]\n\
                  [tables.orders]\nscope = [\"owner_id\", \"country\"]\n";
    load(&(text(sections) + "\n" + scopes), &[URL]).unwrap().auth.unwrap()
}

fn refused(sections: &str) -> String {
    sentences(&text(sections), &[URL])
}

#[test]
fn static_tokens_read_what_is_written_and_nothing_else() {
    let rules = rules(
        "[auth.tokens.all]\nhash = \"HASH\"\ntables = \"*\"\n\
         [auth.tokens.ops]\nhash = \"HASH\"\nadmin = true\n\
         [auth.tokens.shop]\nhash = \"HASH\"\ntables = [\"items\", \"shop.orders\"]\n\
         [auth.tokens.shop.where.\"public.items\"]\nowner_id = 5\ncountry = \"fr\"",
    );
    let [all, ops, shop] = &rules.tokens[..] else { panic!("{rules:?}") };
    assert_eq!((&all.access, all.operator), (&Access::Everything, false));
    assert_eq!((&ops.access, ops.operator), (&Access::nothing(), true));
    let rows = ScopeConditions::from_iter([("country", "fr"), ("owner_id", "5")]);
    let expected = vec![Granted { table: "items".into(), rows }, Granted::whole("shop.orders")];
    assert_eq!((&shop.access, shop.operator), (&Access::Tables(expected), false));
    assert!(rules.jwt.is_none());
}

#[test]
fn the_environment_knows_tokens_too() {
    let variables = [
        URL,
        ("HIGHWATER_AUTH__MODE", "token"),
        ("HIGHWATER_AUTH__TOKENS__SHOP__HASH", HASH),
        ("HIGHWATER_AUTH__TOKENS__SHOP__TABLES", "items,users"),
        ("HIGHWATER_AUTH__TOKENS__SHOP__WHERE__ITEMS__OWNER_ID", "5"),
        ("HIGHWATER_TABLES__ITEMS__SCOPE", "owner_id"),
        ("HIGHWATER_TOKEN", "is another program's"),
    ];
    let rules = load("", &variables).unwrap().auth.unwrap();
    assert_eq!(rules.tokens[0].name, "shop");
    let Access::Tables(granted) = &rules.tokens[0].access else { panic!("{rules:?}") };
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
    assert_eq!(rules(&token(&path)).tokens.len(), 1);
    std::fs::write(&path, "the token itself").unwrap();
    let said = refused(&token(&path));
    assert!(said.contains("auth.tokens.a.hash_file: not a token's hash"), "{said}");
    assert!(!said.contains("the token itself"));
    assert!(refused(&token(&folder.path().join("none"))).contains("none: No such file"));
    let both = format!("{}\nhash = \"HASH\"", token(&path));
    assert!(refused(&both).contains("not both"));
}

#[test]
fn jwts_have_keys_and_tables() {
    let jwt = rules(
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
fn what_lets_nobody_in_or_believes_in_nothing_is_refused() {
    let token = "[auth.tokens.a]\nhash = \"HASH\"\n";
    for (sections, expected) in [
        (
            "",
            "auth.mode = \"token\": nobody would be let in; add a section [auth.tokens.NAME], as \
              `highwater token` prints it, or [auth.jwt]",
        ),
        ("[auth.tokens.a]\ntables = [\"items\"]", "auth.tokens.a: has no hash; "),
        (
            "[auth.tokens.a]\nhash = \"hw_abc\"\nadmin = true",
            "auth.tokens.a.hash: not a token's hash; ",
        ),
        (token, "auth.tokens.a: may do nothing; give it tables"),
        (&format!("{token}tables = []"), "must name at least one table"),
        (&format!("{token}tables = [\"*\", \"a\"]"), "name others beside it nowhere"),
        (&format!("{token}tables = \"*\"\nwhere.items.owner_id = 5"), "nothing is narrowed"),
        (
            &format!("{token}tables = [\"items\"]\nwhere.users.id = 5"),
            "users is not among the tables",
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
        ("[auth.jwt]\ntables = \"*\"", "auth.jwt: has no keys; name a file by secret_file"),
        ("[auth.jwt]\njwks_file = \"a\"", "auth.jwt: must say what JWTs may read"),
        ("[auth.jwt]\njwks_file = \"a\"\ntables = \"*\"\nleeway = \"2h\"", "must be at most 1h"),
        (
            "[auth.jwt]\njwk_file = \"a\"",
            "unknown key auth.jwt.jwk_file; the nearest known one is \
              auth.jwt.jwks_file",
        ),
        (
            "[auth.jwt]\njwks_file = \"a\"\ntables = \"*\"\nwhere.items.id = { claim = \"sub\" }",
            "auth.jwt.where.items.id = \"sub\": with tables = \"*\" nothing is narrowed",
        ),
    ] {
        let said = refused(sections);
        assert!(said.contains(expected), "{sections}\n{said}");
    }
}

#[test]
fn tokens_that_nobody_is_asked_for_are_refused() {
    let token = format!("[auth.tokens.a]\nhash = \"{HASH}\"\nadmin = true");
    for mode in ["", "[auth]\nmode = \"none\"\n"] {
        let said = sentences(&format!("{mode}{token}"), &[URL]);
        assert!(
            said.contains("auth.tokens.a: means nothing unless auth.mode = \"token\""),
            "{said}"
        );
    }
    let said = sentences("[auth.jwt]\njwks_file = \"a\"", &[URL]);
    assert!(said.contains("auth.jwt: means nothing unless"), "{said}");
}

#[test]
fn with_tokens_the_network_may_reach_it_and_operators_need_theirs() {
    let token = "[auth.tokens.a]\nhash = \"HASH\"\nadmin = true\n";
    let config = |admin: &str| {
        let http = format!("[http]\nlisten = \"0.0.0.0:80\"\nadmin_listen = \"{admin}\"");
        load(&text(&format!("{token}{http}")), &[URL]).unwrap()
    };
    assert!(!config("0.0.0.0:81").http.admin_open);
    assert!(config("127.0.0.1:81").http.admin_open);
}

#[test]
fn a_configuration_with_tokens_shows_none_of_their_hashes() {
    let token = "[auth.tokens.a]\nhash = \"HASH\"\nadmin = true\n";
    let shown = format!("{:?}", load(&text(token), &[URL]).unwrap());
    assert!(!shown.contains(&HASH[7..20]), "{shown}");
}

#[test]
fn conditions_are_of_scope_columns() {
    let token = "[auth.tokens.shop]\nhash = \"HASH\"\ntables = [\"items\"]\n\
                 [auth.tokens.shop.where.items]\nowner_id = 5\n";
    let told = refused(&format!("{token}[tables.\"public.items\"]\nscope = [\"country\"]"));
    assert!(told.contains("auth.tokens.shop.where.items.owner_id"), "{told}");
    assert!(told.contains("needs owner_id among the scope columns: tables.items.scope"), "{told}");
    let accepted = format!("{token}[tables.\"public.items\"]\nscope = [\"owner_id\"]");
    assert!(load(&text(&accepted), &[URL]).is_ok());
}
