//! `docs/src/reference/cli.md`.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};
use highwater::cli::{EXIT_CODES, definition};
use highwater::config::{SETTINGS, flag_of};

use super::{assert_page, cell};

const INTRODUCTION: &str = "\
# Command line

`highwater COMMAND --help` prints the same information. Flags of commands that connect to the database override the environment and the
[configuration](configuration.md) file.
";

fn page() -> String {
    let mut command = definition();
    command.build();
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n| command | purpose |\n| --- | --- |\n");
    let commands: Vec<&Command> =
        command.get_subcommands().filter(|command| command.get_name() != "help").collect();
    for command in &commands {
        let name = command.get_name();
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        line(&mut page, &format!("| [`{name}`](#highwater-{name}) | {} |", cell(&about)));
    }
    page.push_str("\n## Exit codes\n\n| code | meaning |\n| --- | --- |\n");
    for (code, meaning) in EXIT_CODES {
        line(&mut page, &format!("| {code} | {} |", cell(meaning)));
    }
    for command in commands {
        page.push_str(&section(command));
    }
    page
}

fn line(page: &mut String, text: &str) {
    writeln!(page, "{text}").expect("a String accepts text");
}

fn section(command: &Command) -> String {
    let mut section = format!("\n## `highwater {}`\n\n", command.get_name());
    let about = command.get_long_about().or(command.get_about()).expect("every command has one");
    line(&mut section, &about.to_string());
    line(&mut section, &format!("\n```text\n{}\n```", usage(command)));
    section.push_str("\n| argument | meaning | default |\n| --- | --- | --- |\n");
    for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
        line(&mut section, &row(argument));
    }
    line(&mut section, &format!("\n```sh\n{}\n```", examples(command).join("\n")));
    section
}

fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    usage.trim_start_matches("Usage: ").to_owned()
}

/// The examples of the short help, one per line.
fn examples(command: &Command) -> Vec<String> {
    let help = command.get_after_help().expect("every command has an example").to_string();
    let examples = help.lines().map(|line| {
        line.trim().trim_start_matches("Examples:").trim_start_matches("Example:").trim().to_owned()
    });
    examples.filter(|line| !line.is_empty()).collect()
}

fn row(argument: &Arg) -> String {
    let value = argument.get_value_names().and_then(|names| names.first());
    let value = value.filter(|_| takes_value(argument)).map(ToString::to_string);
    let name = match (argument.get_long(), value) {
        (Some(long), Some(value)) => format!("--{long} {value}"),
        (Some(long), None) => format!("--{long}"),
        (None, value) => value.expect("an argument without a flag has a value"),
    };
    let short = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let long = argument.get_long_help().map(ToString::to_string).unwrap_or_default();
    // The long help begins with the short one.
    let details: Vec<&str> =
        long.strip_prefix(&short).unwrap_or_default().split_whitespace().collect();
    let (help, default) = without_default(&short);
    let mut meaning = format!("{help}{}", possible_values(argument));
    if !details.is_empty() {
        meaning = format!("{meaning}. {}", details.join(" "));
    }
    let default = default.unwrap_or_else(|| default_value(argument));
    format!("| `{}` | {} | {default} |", cell(&name), cell(&meaning))
}

/// A help text without its part `[default: …]`, and that part. Defaults of the configuration are stated
/// in the text, because clap does not know them.
fn without_default(help: &str) -> (String, Option<String>) {
    let parts = help.split_once(" [default: ").and_then(|(before, rest)| {
        rest.split_once(']')
            .map(|(default, after)| (format!("{before}{after}"), default.to_owned()))
    });
    parts.map_or_else(|| (help.to_owned(), None), |(help, default)| (help, Some(default)))
}

fn default_value(argument: &Arg) -> String {
    let values = argument.get_default_values().iter().filter(|_| takes_value(argument));
    let values: Vec<String> = values.map(|value| value.to_string_lossy().into_owned()).collect();
    values.join(", ")
}

/// The values of an argument that accepts a fixed set of them.
fn possible_values(argument: &Arg) -> String {
    let values = argument.get_possible_values();
    if values.is_empty() || !takes_value(argument) {
        return String::new();
    }
    let values: Vec<String> =
        values.iter().map(|value| format!("`{}`", value.get_name())).collect();
    format!(" ({})", values.join(" or "))
}

fn takes_value(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Set | ArgAction::Append)
}

#[test]
fn the_page_is_up_to_date() {
    assert_page("docs/src/reference/cli.md", &page());
}

#[test]
fn defaults_are_split_from_the_help() {
    let (help, default) = without_default("Level [env: RUST_LOG] [default: info]");
    assert_eq!((help.as_str(), default.as_deref()), ("Level [env: RUST_LOG]", Some("info")));
    assert_eq!(without_default("Level"), ("Level".to_owned(), None));
}

#[test]
fn flags_of_the_configuration_exist() {
    let mut command = definition();
    command.build();
    let run = command.find_subcommand("run").unwrap();
    for setting in SETTINGS {
        let Some(flag) = flag_of(setting.key) else { continue };
        let known = run.get_arguments().filter_map(Arg::get_long);
        assert!(known.into_iter().any(|long| flag == format!("--{long}")), "{flag}");
    }
}
