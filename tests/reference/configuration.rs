//! `docs/src/reference/configuration.md`.

use std::fmt::Write as _;

use highwater::config::{
    AUTH_SETTINGS, SETTINGS, SettingSpec, TABLE_SETTINGS, flag_of, variable_of,
};

use super::assert_page;

const INTRODUCTION: &str = "\
# Configuration

Settings come from a TOML file (`--config FILE`, or the variable `HIGHWATER_CONFIG`), from environment variables and from flags. Flags
override the environment, the environment overrides the file. Every error is reported at once, with the location of the setting and the
accepted values, and the service does not start. `highwater check --config FILE` checks a file before it is deployed.

- The key `postgres.url` is `url` in section `[postgres]` of the file and `HIGHWATER_POSTGRES__URL` in the environment. `DATABASE_URL`,
  `RUST_LOG` and libpq's variables (`PGHOST`, `PGPASSWORD`, …) are accepted, too; variables with the prefix override them. A variable with an
  empty value counts as not set.
- Durations have a unit: `500ms`, `30s`, `5m`, `24h`. Sizes are `64MB` (decimal), `256MiB` (binary) or a number of bytes. Digits may be
  grouped: `1_000_000`.
- A list is an array in the file, and separated by commas in the environment.
- Secrets can be given in files: `postgres.url_file`, `postgres.password_file`, `auth.tokens.NAME.hash_file` and the key files of `[auth.jwt]`.
  They do not appear in logs or errors.
- An unknown key is an error that names the most similar known one.

[Limits](../operations/limits.md) describes what happens at each limit, [Sizing](../operations/sizing.md) how to choose the memory limits.
";

/// Sections in the order of the page, with the sentence that introduces each.
const SECTIONS: &[(&str, &str)] = &[
    ("postgres", "The database, the publication and the replication slot."),
    ("log", "The version log: for how long and how precisely clients can catch up."),
    (
        "tables.NAME",
        "Settings of one table. `NAME` is the table in the spelling of the API: `items`, `shop.orders`, `\"A.b\"`. In the file: `[tables.items]`.",
    ),
    ("cache", "The row cache, for tables with `rows = \"lazy\"` or `\"preload\"`."),
    ("consistency", "Periodic comparison of cached rows with the database."),
    ("http", "The listeners and their limits."),
    (
        "auth",
        "Who may read what, see [Authentication](../guides/authentication.md). `NAME` is a name for the token, `TABLE` a table, `COLUMN` one \
         of its scope columns.",
    ),
    ("logging", "Log lines on standard error, see [Logging](../operations/logging.md)."),
];

fn section_of(setting: &SettingSpec) -> &'static str {
    let is_in = |section: &&str| {
        setting.key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
    };
    let sections = SECTIONS.iter().map(|(section, _)| *section);
    sections.into_iter().find(|section| is_in(section)).expect("every key is in a section")
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let settings = || SETTINGS.iter().chain(AUTH_SETTINGS).chain(TABLE_SETTINGS);
    for (section, introduction) in SECTIONS {
        write!(page, "\n## `[{section}]`\n\n{introduction}\n").expect("a String accepts text");
        for setting in settings().filter(|setting| section_of(setting) == *section) {
            page.push_str(&entry(setting));
        }
    }
    page
}

/// A heading, so that each key can be linked to, the meaning, and a list of facts.
fn entry(setting: &SettingSpec) -> String {
    let SettingSpec { key, default, form, meaning } = setting;
    let default = match default {
        None => "none".to_owned(),
        Some("") => "empty".to_owned(),
        Some(default) => format!("`{default}`"),
    };
    let flag = flag_of(key).map(|flag| format!("\n- Flag: `{flag}`")).unwrap_or_default();
    // Sentences mention keys by their names only.
    let meaning = meaning.replace('<', "\\<");
    format!(
        "\n### `{key}`\n\n{meaning}\n\n- Value: {form}\n- Default: {default}\n- Environment: `{}`{flag}\n",
        variable_of(key)
    )
}

#[test]
fn the_page_is_up_to_date() {
    assert_page("docs/src/reference/configuration.md", &page());
}

#[test]
fn an_entry_has_all_facts() {
    let setting = SETTINGS.iter().find(|setting| setting.key == "http.listen").unwrap();
    assert_eq!(
        entry(setting),
        "\n### `http.listen`\n\nAddress of the listener for clients. Port 0 selects a free port.\n\n\
         - Value: address:port\n- Default: `127.0.0.1:8080`\n\
         - Environment: `HIGHWATER_HTTP__LISTEN`\n- Flag: `--listen`\n"
    );
}

#[test]
fn every_key_is_on_the_page() {
    let page = page();
    for setting in SETTINGS.iter().chain(AUTH_SETTINGS).chain(TABLE_SETTINGS) {
        assert!(page.contains(&format!("\n### `{}`\n", setting.key)), "{}", setting.key);
    }
}
