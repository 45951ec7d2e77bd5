//! `highwater token`.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;

use super::failure::CommandFailure;
use crate::auth::TokenHash;

/// Generate a static token and its hash
///
/// Prints the token, which is not stored and cannot be shown again, and the lines for the configuration,
/// which contain only its hash. Needs no database.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  highwater token --name shop --tables items,users\n  \
                  highwater token --name operator --admin")]
pub(crate) struct TokenArgs {
    /// Name in the configuration: letters, digits, - and _
    #[arg(long, value_name = "NAME", default_value = "mine", value_parser = name)]
    name: String,
    /// The tables that it may read, or * for all
    #[arg(long, value_name = "TABLES", value_delimiter = ',')]
    tables: Vec<String>,
    /// Grant access to the admin routes: status, metrics, reload, verify
    #[arg(long)]
    admin: bool,
}

/// Random bytes of a token: 256 bits, like a key.
const RANDOM_BYTES: usize = 32;
/// Identifies the token, for people and for secret scanners.
const PREFIX: &str = "hw_";

pub(crate) fn run(args: &TokenArgs) -> Result<(), CommandFailure> {
    let token = make()?;
    let mut out = anstream::stdout();
    writeln!(out, "The token, shown this once:\n\n{token}\n")?;
    writeln!(out, "For the configuration, with auth.mode = \"token\":\n")?;
    writeln!(out, "[auth.tokens.{}]\nhash = \"{}\"", args.name, TokenHash::of(&token))?;
    if !args.tables.is_empty() || !args.admin {
        writeln!(out, "tables = {}", toml_array(&args.tables))?;
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
    filled.map_err(|_| {
        CommandFailure::Failed("the system's random number generator failed".to_owned())
    })?;
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
}

/// A TOML array; a placeholder if it is empty, because the configuration rejects a token that grants
/// nothing.
fn toml_array(tables: &[String]) -> String {
    if tables.is_empty() {
        return "[\"…\"]  # the tables it may read, or \"*\"".to_owned();
    }
    let names: Vec<String> = tables.iter().map(|table| toml_string(table.trim())).collect();
    format!("[{}]", names.join(", "))
}

/// Basic strings of TOML use the escapes of JSON.
fn toml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if text.is_empty() || !text.bytes().all(plain) {
        return Err("use letters, digits, - and _ only".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_unique_and_valid_in_a_header() {
        let (one, other) = (make().unwrap(), make().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 46);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    }

    #[test]
    fn tables_are_a_toml_array() {
        let tables = ["items", " shop.\"A\""].map(str::to_owned);
        assert_eq!(toml_array(&tables), r#"["items", "shop.\"A\""]"#);
        assert!(name("a.b").is_err() && name("").is_err() && name("a-b_1").is_ok());
    }
}
