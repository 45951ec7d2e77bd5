//! The server's version and settings.

use serde::Deserialize;

use super::finding::Finding;
use super::provider::Provider;
use crate::table::quoted;

/// The row of `check_settings.sql`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ServerRow {
    pub(crate) server_version: String,
    pub(crate) version_number: i32,
    pub(crate) database: String,
    pub(crate) in_recovery: bool,
    pub(crate) wal_level: String,
    pub(crate) max_replication_slots: i32,
    pub(crate) slots_used: i32,
    pub(crate) inactive_slots: Option<String>,
    pub(crate) max_wal_senders: i32,
    pub(crate) senders_used: i32,
    /// -1: unlimited.
    pub(crate) max_slot_wal_keep_megabytes: i64,
    pub(crate) wal_sender_timeout_milliseconds: i64,
    pub(crate) idle_slot_timeout_seconds: Option<i64>,
    pub(crate) hot_standby_feedback: bool,
    pub(crate) synchronous_commit: String,
    pub(crate) output_plugin_libraries: Option<String>,
    pub(crate) provider_roles: Option<String>,
}

impl ServerRow {
    pub(crate) fn major(&self) -> i32 {
        self.version_number / 10_000
    }
}

/// What the checks of the server's settings depend on besides the settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerContext {
    pub(crate) provider: Option<Provider>,
    /// Highwater's slot exists, so no free slot is needed.
    pub(crate) slot_exists: bool,
    /// A walsender serves that slot already, so no free walsender is needed.
    pub(crate) slot_active: bool,
    /// `postgres.resume_max_wal`, bytes.
    pub(crate) resume_max_wal: u64,
}

/// The major versions that Highwater is tested with.
const SUPPORTED: std::ops::RangeInclusive<i32> = 14..=18;
/// The first major version whose standbys support logical decoding.
const STANDBY_DECODES_FROM: i32 = 16;

pub(crate) fn findings(server: &ServerRow, context: ServerContext) -> Vec<Finding> {
    let mut findings = vec![version(server), wal_level(server, context.provider)];
    findings.extend(standby(server, context.provider));
    findings.push(slots(server, context));
    findings.push(senders(server, context));
    findings.extend(plugins(server, context.provider));
    findings.extend(slot_limits(server, context));
    findings.extend(sender_timeout(server, context.provider));
    findings.extend(synchronous_commit(server));
    findings
}

/// The action after which a changed setting takes effect.
#[derive(Clone, Copy)]
enum AppliedBy {
    Reload,
    Restart,
}

/// Adds how to change a setting; managed servers reject `ALTER SYSTEM` and have their own page for it.
fn set(
    finding: Finding,
    provider: Option<Provider>,
    name: &str,
    value: &str,
    applied_by: AppliedBy,
) -> Finding {
    let Some(provider) = provider else {
        let finding = finding.fix(format!("ALTER SYSTEM SET {name} = {value};"));
        return match applied_by {
            AppliedBy::Reload => finding.fix("SELECT pg_reload_conf();"),
            AppliedBy::Restart => finding
                .fix("then restart the server: systemctl restart postgresql, or pg_ctl restart"),
        };
    };
    let restart = match applied_by {
        AppliedBy::Reload => "",
        AppliedBy::Restart => ", then restart the server",
    };
    let (value, name_of) = (value.trim_matches('\''), provider.name());
    finding.fix(format!("set {name} = {value} among the server parameters at {name_of}{restart}"))
}

fn version(server: &ServerRow) -> Finding {
    let (major, version) = (server.major(), &server.server_version);
    let supported = format!("PostgreSQL {} to {}", SUPPORTED.start(), SUPPORTED.end());
    if major < *SUPPORTED.start() {
        return Finding::error("version", format!("PostgreSQL {version} is too old"))
            .why(format!("Highwater supports {supported}"))
            .fix("upgrade the server");
    }
    if major > *SUPPORTED.end() {
        return Finding::warn(
            "version",
            format!("PostgreSQL {version} is newer than this version of Highwater"),
        )
        .why(format!("it was tested with {supported}"))
        .fix("check for a newer version of Highwater");
    }
    Finding::ok("version", format!("PostgreSQL {version}"))
}

fn wal_level(server: &ServerRow, provider: Option<Provider>) -> Finding {
    if server.wal_level == "logical" {
        return Finding::ok("wal_level", "wal_level is logical");
    }
    let finding = Finding::error("wal_level", format!("wal_level is {}", server.wal_level))
        .why("at lower levels the WAL does not contain which rows changed");
    match provider {
        Some(provider) => finding.fix(provider.logical_decoding()),
        None => set(finding, None, "wal_level", "'logical'", AppliedBy::Restart),
    }
}

fn standby(server: &ServerRow, provider: Option<Provider>) -> Option<Finding> {
    if !server.in_recovery {
        return None;
    }
    if server.major() < STANDBY_DECODES_FROM {
        return Some(
            Finding::error("standby", "the server is a standby")
                .why(format!("only PostgreSQL {STANDBY_DECODES_FROM} and newer decode changes on a standby"))
                .fix("connect to the primary, or add ?target_session_attrs=read-write to a URL that names both"),
        );
    }
    if !server.hot_standby_feedback {
        let finding = Finding::warn("standby", "the server is a standby and hot_standby_feedback is off")
            .why("the primary may remove catalog rows the slot needs, which invalidates the slot and resets every client");
        return Some(set(finding, provider, "hot_standby_feedback", "on", AppliedBy::Reload));
    }
    Some(
        Finding::note("standby", "the server is a standby")
            .why("publications are created on the primary; a new slot waits for the primary's next snapshot record (SELECT pg_log_standby_snapshot(); on the primary writes one at once)"),
    )
}

fn slots(server: &ServerRow, context: ServerContext) -> Finding {
    let (used, most) = (server.slots_used, server.max_replication_slots);
    if context.slot_exists || used < most {
        return Finding::ok(
            "max_replication_slots",
            format!("{used} of {most} replication slots are used"),
        );
    }
    let finding =
        Finding::error("max_replication_slots", format!("all {most} replication slots are used"))
            .why("Highwater needs its own slot");
    let more = (most + 10).to_string();
    let finding =
        set(finding, context.provider, "max_replication_slots", &more, AppliedBy::Restart);
    match &server.inactive_slots {
        None => finding,
        Some(names) => finding.fix(format!(
            "or drop one that is no longer needed: SELECT pg_drop_replication_slot('…');  (inactive now: {names})"
        )),
    }
}

fn senders(server: &ServerRow, context: ServerContext) -> Finding {
    let (used, most) = (server.senders_used, server.max_wal_senders);
    if context.slot_active || used < most {
        return Finding::ok("max_wal_senders", format!("{used} of {most} walsenders are used"));
    }
    let finding = Finding::error("max_wal_senders", format!("all {most} walsenders are used"))
        .why("the change stream needs a walsender");
    let more = (most + 10).to_string();
    set(finding, context.provider, "max_wal_senders", &more, AppliedBy::Restart)
}

/// The setting exists since the minor releases of 2026; on older servers it is null.
fn plugins(server: &ServerRow, provider: Option<Provider>) -> Option<Finding> {
    let allowed = server.output_plugin_libraries.as_deref()?;
    let names: Vec<&str> = allowed.split(',').map(|name| name.trim().trim_matches('"')).collect();
    if names.contains(&"pgoutput") || names.contains(&"*") {
        return None;
    }
    let mut allowed_names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
    allowed_names.insert(0, "pgoutput");
    let allowed_names: Vec<String> = allowed_names.into_iter().map(quoted_unless_plain).collect();
    let finding = Finding::error(
        "output_plugin_libraries",
        format!("output_plugin_libraries is '{allowed}'"),
    )
    .why("Highwater reads changes through the plugin pgoutput, which is not in the list");
    let value = allowed_names.join(", ");
    Some(set(finding, provider, "output_plugin_libraries", &value, AppliedBy::Reload))
}

fn quoted_unless_plain(name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if plain { name.to_owned() } else { quoted(name) }
}

fn slot_limits(server: &ServerRow, context: ServerContext) -> Vec<Finding> {
    const MEGABYTE: u64 = 1 << 20;
    let mut findings = Vec::new();
    match u64::try_from(server.max_slot_wal_keep_megabytes) {
        Err(_) => {
            let finding = Finding::note("max_slot_wal_keep_size", "max_slot_wal_keep_size is unlimited")
                .why("if Highwater is stopped for good and its slot is not dropped, WAL accumulates until the disk is full");
            let name = "max_slot_wal_keep_size";
            findings.push(set(finding, context.provider, name, "'10GB'", AppliedBy::Reload));
        }
        Ok(megabytes) if megabytes.saturating_mul(MEGABYTE) < context.resume_max_wal => findings.push(
            Finding::warn(
                "max_slot_wal_keep_size",
                format!("max_slot_wal_keep_size is {megabytes} MB, less than postgres.resume_max_wal"),
            )
            .why("the server may invalidate the slot while Highwater still needs it, which resets every client")
            .fix(format!("postgres.resume_max_wal = \"{megabytes}MiB\" (or less) in the configuration")),
        ),
        Ok(megabytes) => findings.push(Finding::ok(
            "max_slot_wal_keep_size",
            format!("max_slot_wal_keep_size is {megabytes} MB"),
        )),
    }
    if let Some(seconds @ 1..) = server.idle_slot_timeout_seconds {
        findings.push(
            Finding::note(
                "idle_replication_slot_timeout",
                format!("idle_replication_slot_timeout is {seconds} seconds"),
            )
            .why("if Highwater is down for longer, the server invalidates its slot, and every client is reset"),
        );
    }
    findings
}

fn sender_timeout(server: &ServerRow, provider: Option<Provider>) -> Option<Finding> {
    /// Milliseconds. With less, an ordinary network interruption ends the stream.
    const SHORT_MILLISECONDS: i64 = 10_000;
    match server.wal_sender_timeout_milliseconds {
        0 => {
            let finding = Finding::warn("wal_sender_timeout", "wal_sender_timeout is 0 (disabled)")
                .why("the server does not detect that an instance disappeared (power, network), so the slot stays in use and the next instance waits");
            Some(set(finding, provider, "wal_sender_timeout", "'60s'", AppliedBy::Reload))
        }
        short if short < SHORT_MILLISECONDS => Some(
            Finding::note("wal_sender_timeout", format!("wal_sender_timeout is {short} ms")).why(
                "a network interruption of that length ends the stream, which then reconnects",
            ),
        ),
        _ => None,
    }
}

fn synchronous_commit(server: &ServerRow) -> Option<Finding> {
    (server.synchronous_commit == "off").then(|| {
        Finding::note("synchronous_commit", "synchronous_commit is off")
            .why("commits are written to the WAL, and reported, up to 3 × wal_writer_delay later")
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::super::fixtures::good_server;
    use super::*;

    const CONTEXT: ServerContext = ServerContext {
        provider: None,
        slot_exists: false,
        slot_active: false,
        resume_max_wal: 256 << 20,
    };

    /// The findings that need attention after `change` to a good server.
    fn problems(context: ServerContext, change: impl FnOnce(&mut ServerRow)) -> Vec<Finding> {
        let mut server = good_server();
        change(&mut server);
        let mut findings = findings(&server, context);
        findings.retain(|finding| finding.severity != Severity::Ok);
        findings
    }

    fn only(context: ServerContext, change: impl FnOnce(&mut ServerRow)) -> Finding {
        let mut problems = problems(context, change);
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems.remove(0)
    }

    #[test]
    fn a_good_server_has_no_findings() {
        assert_eq!(problems(CONTEXT, |_| ()), []);
    }

    #[test]
    fn old_versions_are_an_error_and_newer_ones_a_warning() {
        let severity = |number| only(CONTEXT, |server| server.version_number = number).severity;
        assert_eq!(severity(130_012), Severity::Error);
        assert_eq!(severity(190_000), Severity::Warn);
        assert_eq!(problems(CONTEXT, |server| server.version_number = 140_000), []);
        assert_eq!(problems(CONTEXT, |server| server.version_number = 180_004), []);
    }

    #[test]
    fn the_fix_of_wal_level_fits_the_provider() {
        let fix = |provider| {
            let context = ServerContext { provider, ..CONTEXT };
            let found = only(context, |server| server.wal_level = "replica".into());
            assert_eq!(found.severity, Severity::Error);
            found.fix.join("\n")
        };
        assert!(fix(None).starts_with("ALTER SYSTEM SET wal_level = 'logical';\nthen restart"));
        assert!(fix(Some(Provider::Rds)).contains("rds.logical_replication = 1"));
        assert!(fix(Some(Provider::CloudSql)).contains("cloudsql.logical_decoding=on"));
    }

    #[test]
    fn exhausted_slots_matter_only_while_ours_does_not_exist() {
        let full = |server: &mut ServerRow| {
            server.slots_used = 10;
            server.inactive_slots = Some("old".into());
        };
        let found = only(CONTEXT, full);
        assert_eq!(found.severity, Severity::Error);
        assert_eq!(found.fix[0], "ALTER SYSTEM SET max_replication_slots = 20;");
        assert!(found.fix[2].ends_with("(inactive now: old)"), "{found:?}");
        assert_eq!(problems(ServerContext { slot_exists: true, ..CONTEXT }, full), []);
    }

    #[test]
    fn exhausted_walsenders_matter_only_while_ours_is_not_connected() {
        let full = |server: &mut ServerRow| server.senders_used = 10;
        assert_eq!(only(CONTEXT, full).severity, Severity::Error);
        assert_eq!(problems(ServerContext { slot_active: true, ..CONTEXT }, full), []);
    }

    #[test]
    fn a_standby_supports_decoding_from_version_16_on() {
        let standby = |number, feedback| {
            only(CONTEXT, |server| {
                server.version_number = number;
                server.in_recovery = true;
                server.hot_standby_feedback = feedback;
            })
            .severity
        };
        assert_eq!(standby(150_004, true), Severity::Error);
        assert_eq!(standby(160_000, false), Severity::Warn);
        assert_eq!(standby(160_000, true), Severity::Note);
    }

    #[test]
    fn the_output_plugin_must_be_allowed() {
        let allowed =
            |list: &str| problems(CONTEXT, |s| s.output_plugin_libraries = Some(list.into()));
        assert_eq!(allowed("pgoutput, test_decoding"), []);
        let found = &allowed("wal2json, \"x-y\"")[0];
        assert_eq!(found.severity, Severity::Error);
        assert_eq!(
            found.fix[0],
            "ALTER SYSTEM SET output_plugin_libraries = pgoutput, wal2json, \"x-y\";"
        );
    }

    #[test]
    fn the_servers_slot_limits_are_compared_with_the_configuration() {
        let keep = |megabytes| only(CONTEXT, |s| s.max_slot_wal_keep_megabytes = megabytes);
        assert_eq!(keep(-1).severity, Severity::Note);
        let small = keep(100);
        assert_eq!(small.severity, Severity::Warn);
        assert!(small.fix[0].starts_with("postgres.resume_max_wal = \"100MiB\""));
        let idle = only(CONTEXT, |s| s.idle_slot_timeout_seconds = Some(86_400));
        assert_eq!(idle.topic, "idle_replication_slot_timeout");
        assert_eq!(problems(CONTEXT, |s| s.idle_slot_timeout_seconds = Some(0)), []);
    }

    #[test]
    fn a_disabled_sender_timeout_is_a_warning() {
        let timeout = |ms| only(CONTEXT, |s| s.wal_sender_timeout_milliseconds = ms).severity;
        assert_eq!(timeout(0), Severity::Warn);
        assert_eq!(timeout(5_000), Severity::Note);
        let context = ServerContext { provider: Some(Provider::Azure), ..CONTEXT };
        let found = only(context, |s| s.wal_sender_timeout_milliseconds = 0);
        assert!(found.fix[0].starts_with("set wal_sender_timeout = 60s among"), "{found:?}");
    }

    #[test]
    fn asynchronous_commit_is_a_note() {
        let found = only(CONTEXT, |server| server.synchronous_commit = "off".into());
        assert_eq!(found.severity, Severity::Note);
    }
}
