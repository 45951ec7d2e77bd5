//! What the README repeats must be what is true.

use highwater::config::{AUTH_SETTINGS, Config, SETTINGS, SettingSpec, Sources, TABLE_SETTINGS};

/// The README's table of settings, as it must be.
pub(crate) fn settings_table() -> String {
    let rows = SETTINGS.iter().chain(AUTH_SETTINGS).chain(TABLE_SETTINGS).map(row);
    std::iter::once("| key | default | may be | meaning |\n| --- | --- | --- | --- |\n".to_owned())
        .chain(rows)
        .collect()
}

fn row(setting: &SettingSpec) -> String {
    let default = match setting.default {
        None | Some("") => String::new(),
        Some(default) => format!("`{default}`"),
    };
    let [form, meaning] = [setting.form, setting.meaning].map(|text| text.replace('|', "\\|"));
    format!("| `{}` | {default} | {form} | {meaning} |\n", setting.key)
}

/// A finding unless `readme` holds `part`, which is `what`.
pub(crate) fn missing(readme: &str, part: &str, what: &str) -> Option<String> {
    let finding = || format!("README.md: {what} is out of date; it must be\n\n{part}");
    (!readme.contains(part)).then(finding)
}

/// What the service would say to the configuration that `readme` shows.
pub(crate) fn refused_configuration(readme: &str) -> Vec<String> {
    let blocks = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    // Others show a part.
    let block = blocks.into_iter().find(|block| block.contains("[postgres]"));
    let Some(block) = block else { return vec!["README.md: show a configuration file".into()] };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [file, password] = ["highwater.toml", "password"].map(|name| directory.path().join(name));
    std::fs::write(&password, "secret").expect("a file can be written");
    let here = block.replace("/run/secrets/highwater", &password.display().to_string());
    std::fs::write(&file, here).expect("a file can be written");
    match Config::load(&Sources { file: Some(&file), ..Sources::default() }) {
        Ok(_) => Vec::new(),
        Err(errors) => vec![format!("README.md: the configuration shown is refused: {errors}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_row() {
        let setting = SettingSpec {
            key: "a.b",
            default: Some("5m"),
            form: "this | that",
            meaning: "What it does.",
        };
        assert_eq!(row(&setting), "| `a.b` | `5m` | this \\| that | What it does. |\n");
        assert!(settings_table().contains("\n| `postgres.url` |  | "));
    }

    #[test]
    fn a_configuration_that_would_be_refused_is_found() {
        let refused =
            refused_configuration("```toml\n[postgres]\nulr = \"postgres://db/app\"\n```");
        assert!(refused[0].contains("postgres.url"), "{refused:?}");
        let accepted = "```toml\n[postgres]\nurl = \"postgres://db/app\"\n```";
        assert_eq!(refused_configuration(accepted), Vec::<String>::new());
    }

    #[test]
    fn what_is_out_of_date_is_found() {
        assert_eq!(missing("a\nb\n", "a\n", "the letter"), None);
        let found = missing("b", "a", "the letter").unwrap();
        assert_eq!(found, "README.md: the letter is out of date; it must be\n\na");
    }
}
