//! `highwater token`.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;

use super::failure::CommandFailure;
use crate::auth::TokenHash;

/// Make a token and its hash
///
/// Prints the token, which is shown this once and kept nowhere, and the lines of the configuration that
/// make it known: they hold only a hash. Nothing is stored and no database is asked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  highwater token --name shop --tables items,users\n  \
                  highwater token --name operator --admin")]
pub(crate) struct TokenArgs {
    /// What the configuration calls it: letters, digits, - and _
    #[arg(long, value_name = "NAME", default_value = "mine", value_parser = name)]
    name: String,
    /// The tables it may read, or * for all
    #[arg(long, value_name = "TABLES", value_delimiter = ',')]
    tables: Vec<String>,
    /// It opens what operators ask: status, metrics, reload
    #[arg(long)]
    admin: bool,
}

/// Random bytes in a token: as hard to guess as a key.
const RANDOM_BYTES: usize = 32;
/// By this people, and programs that look for secrets in texts, know what it is.
const PREFIX: &str = "hw_";

pub(crate) fn run(args: &TokenArgs) -> Result<(), CommandFailure> {
    let token = make()?;
    let mut out = anstream::stdout();
    writeln!(out, "The token, shown this once:\n\n{token}\n")?;
    writeln!(out, "For the configuration, with auth.mode = \"token\":\n")?;
    writeln!(out, "[auth.tokens.{}]\nhash = \"{}\"", args.name, TokenHash::of(&token))?;
    if !args.tables.is_empty() || !args.admin {
        writeln!(out, "tables = {}", list(&args.tables))?;
    }
    if args.admin {
        writeln!(out, "admin = true")?;
    }
    Ok(())
}

fn make() -> Result<String, CommandFailure> {
    let mut random = [0; RANDOM_BYTES];
    let provider = rustls::crypto::ring::default_provider();
    let filled = provider.secure_random.fill(&mut random);
    filled.map_err(|_| CommandFailure::Failed("the system gives no random numbers".to_owned()))?;
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
}

/// As TOML; a token that may read nothing would be refused.
fn list(tables: &[String]) -> String {
    if tables.is_empty() {
        return "[\"…\"]  # the tables it may read, or \"*\"".to_owned();
    }
    let names: Vec<String> = tables.iter().map(|table| toml_string(table.trim())).collect();
    format!("[{}]", names.join(", "))
}

/// Basic strings of TOML escape as JSON does.
fn toml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if text.is_empty() || !text.bytes().all(plain) {
        return Err("write letters, digits, - and _ only".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_is_another_and_can_stand_in_a_header() {
        let (one, other) = (make().unwrap(), make().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 46);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    }

    #[test]
    fn tables_are_written_as_toml() {
        let tables = ["items", " shop.\"A\""].map(str::to_owned);
        assert_eq!(list(&tables), r#"["items", "shop.\"A\""]"#);
        assert!(name("a.b").is_err() && name("").is_err() && name("a-b_1").is_ok());
    }
}
