//! `highwater check`.

use std::fmt::Display;
use std::io::Write;

use anstyle::Style;
use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::failure::CommandFailure;
use super::flags::{DatabaseFlags, Format, ServiceFlags};
use super::output::{BOLD, CYAN, DIM, GREEN, RED, YELLOW, escape_control, paint, pluralize};
use super::session::with_client;
use crate::config::{Config, Environment, SetupMode};
use crate::database::checks::{self, CheckOptions, CheckReport, Finding, Severity, StreamProbe};
use crate::wire::{ConnectErrorKind, WalsenderConnection};

/// Check whether the database is ready; every finding comes with its fix
///
/// Changes nothing. Exit code 1 if the service would not start, or if it would make the application's
/// own writes fail.
#[derive(Debug, Args)]
#[command(after_help = "Example: highwater check --url postgres://highwater@db/app")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    database: DatabaseFlags,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(crate) async fn run(args: CheckArgs, environment: &Environment) -> Result<(), CommandFailure> {
    let config = args.database.load(ServiceFlags::default(), environment)?;
    super::logging::install_quiet();
    let mut report = examine(&config).await;
    report
        .findings
        .extend(config.http.tls.as_ref().map(|files| tls(files.check(), Timestamp::now())));
    let jwt = config.auth.as_ref().and_then(|auth| auth.jwt.as_ref());
    report.findings.extend(jwt.map(|options| jwt_keys(options.keys.check())));
    let mut out = anstream::stdout().lock();
    match args.format {
        Format::Text => print(&mut out, &report)?,
        Format::Json => print_json(&mut out, &report)?,
    }
    if report.worst() == Severity::Error { Err(CommandFailure::Reported) } else { Ok(()) }
}

/// Opens an ordinary and a replication connection and collects the findings. A failure is a finding.
async fn examine(config: &Config) -> CheckReport {
    let target = &config.postgres.target;
    let server = target.display_name();
    let inspected = with_client(config, async |client| {
        let stream = probe(config).await;
        let report = checks::inspect(client, &server, &check_options(config), stream).await?;
        Ok(report)
    });
    match inspected.await {
        Ok(report) => report,
        Err(CommandFailure::Failed(why) | CommandFailure::Usage(why)) => {
            checks::unreachable(&server, &why)
        }
        Err(_) => checks::unreachable(&server, "the inspection failed"),
    }
}

fn check_options(config: &Config) -> CheckOptions<'_> {
    let postgres = &config.postgres;
    CheckOptions {
        publication: &postgres.publication,
        slot: &postgres.slot,
        temporary_slot: postgres.temporary_slot,
        creates_publication: config.setup == SetupMode::Auto,
        resume_max_wal: postgres.resume_window.max_wal,
        rows: &postgres.rows,
        scopes: &postgres.scopes,
    }
}

async fn probe(config: &Config) -> StreamProbe {
    match Box::pin(WalsenderConnection::connect(&config.postgres.target)).await {
        Ok(connection) => {
            connection.close().await;
            StreamProbe::Works
        }
        Err(error) if matches!(error.kind(), ConnectErrorKind::Pooler(_)) => {
            StreamProbe::Pooler(error.to_string())
        }
        Err(error) => StreamProbe::Failed(error.to_string()),
    }
}

/// Remaining validity below which a certificate is reported: time enough to repair a failed renewal.
const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The certificate, as a finding.
fn tls(valid_until: Result<i64, impl Display>, now: Timestamp) -> Finding {
    let seconds = match valid_until {
        Ok(seconds) => seconds,
        Err(error) => return unusable("tls", &error, "http.tls_cert_file and http.tls_key_file"),
    };
    let until = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    let shown = until.strftime("%Y-%m-%d");
    let renew = vec!["renew it; a running service reloads the files".to_owned()];
    let (severity, what, why, fix) = if until < now {
        let what = format!("the certificate expired on {shown}");
        (Severity::Error, what, "clients reject it", renew)
    } else if until.duration_since(now) < EXPIRES_SOON {
        let what = format!("the certificate is valid only until {shown}");
        (Severity::Warn, what, "then clients reject it", renew)
    } else {
        (Severity::Ok, format!("the certificate is valid until {shown}"), "", Vec::new())
    };
    Finding { severity, topic: "tls".into(), what, why: why.into(), fix }
}

/// The keys of JWTs, as a finding.
fn jwt_keys(keys: Result<usize, impl Display>) -> Finding {
    let (severity, what, why, fix) = match keys {
        Err(error) => return unusable("auth", &error, "the files that [auth.jwt] names"),
        Ok(0) => {
            let what = "the set in auth.jwt.jwks_file has no keys".to_owned();
            let fix = "add keys to it; a running service reloads the file";
            (Severity::Warn, what, "every JWT is rejected", vec![fix.to_owned()])
        }
        Ok(count) => {
            let what = format!("{} for JWTs usable", pluralize(count, "key"));
            (Severity::Ok, what, "", Vec::new())
        }
    };
    Finding { severity, topic: "auth".into(), what, why: why.into(), fix }
}

/// A file that prevents startup. The error contains the fix.
fn unusable(topic: &str, error: &impl Display, files: &str) -> Finding {
    Finding {
        severity: Severity::Error,
        topic: topic.to_owned(),
        what: error.to_string(),
        why: "the service would not start".to_owned(),
        fix: vec![format!("fix {files}, then run highwater check again")],
    }
}

fn print(out: &mut impl Write, report: &CheckReport) -> std::io::Result<()> {
    let provider = report.provider.map(|name| format!(" ({name})")).unwrap_or_default();
    writeln!(out, "{}{provider}\n", paint(BOLD, escape_control(&report.server)))?;
    for finding in &report.findings {
        print_finding(out, finding)?;
    }
    writeln!(out, "\n{}", conclusion(report))
}

fn print_finding(out: &mut impl Write, finding: &Finding) -> std::io::Result<()> {
    let word = paint(colour(finding.severity), format!("{:<5}", finding.severity));
    writeln!(
        out,
        "{word}  {}  {}",
        paint(BOLD, escape_control(&finding.topic)),
        escape_control(&finding.what)
    )?;
    if !finding.why.is_empty() {
        writeln!(out, "       {}", paint(DIM, escape_control(&finding.why)))?;
    }
    for fix in &finding.fix {
        writeln!(out, "       {} {}", paint(CYAN, "→"), escape_control(fix))?;
    }
    Ok(())
}

fn colour(severity: Severity) -> Style {
    match severity {
        Severity::Ok => GREEN,
        Severity::Note => CYAN,
        Severity::Warn => YELLOW,
        Severity::Error => RED.bold(),
    }
}

fn conclusion(report: &CheckReport) -> String {
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warn));
    let warnings = match warnings {
        0 => String::new(),
        count => format!(", {}", pluralize(count, "warning")),
    };
    match errors {
        0 => paint(GREEN.bold(), format!("ready{warnings}")),
        count => paint(RED.bold(), format!("not ready: {}{warnings}", pluralize(count, "error"))),
    }
}

fn print_json(out: &mut impl Write, report: &CheckReport) -> Result<(), CommandFailure> {
    #[derive(serde::Serialize)]
    struct CheckOutput<'a> {
        ready: bool,
        #[serde(flatten)]
        report: &'a CheckReport,
    }
    let output = CheckOutput { ready: report.worst() < Severity::Error, report };
    let text = serde_json::to_string_pretty(&output).map_err(CommandFailure::failed)?;
    Ok(writeln!(out, "{text}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(severities: &[Severity]) -> CheckReport {
        let finding = |severity: &Severity| Finding {
            severity: *severity,
            topic: "t".into(),
            what: "w\u{1b}".into(),
            why: String::new(),
            fix: vec!["SELECT 1;".into()],
        };
        CheckReport {
            server: "db:5432/shop".into(),
            provider: None,
            findings: severities.iter().map(finding).collect(),
        }
    }

    fn printed(report: &CheckReport) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        print(&mut out, report).unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    #[test]
    fn findings_are_printed_with_their_fixes() {
        let text = printed(&report(&[Severity::Error, Severity::Warn]));
        assert_eq!(
            text,
            "db:5432/shop\n\nerror  t  w\\u{1b}\n       → SELECT 1;\nwarn   t  w\\u{1b}\n       \
             → SELECT 1;\n\nnot ready: 1 error, 1 warning\n"
        );
        assert!(printed(&report(&[Severity::Note, Severity::Ok])).ends_with("\nready\n"));
    }

    #[test]
    fn a_certificate_that_expires_soon_is_a_warning_and_an_expired_one_an_error() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let in_days = |days: i64| tls(Ok::<_, String>(now.as_second() + days * 86_400), now);
        assert_eq!(in_days(8).severity, Severity::Ok);
        assert_eq!(in_days(8).what, "the certificate is valid until 2026-03-09");
        assert_eq!(in_days(6).severity, Severity::Warn);
        assert!(in_days(6).fix[0].contains("renew it"), "{:?}", in_days(6));
        assert_eq!(in_days(-1).severity, Severity::Error);
        assert_eq!(in_days(-1).what, "the certificate expired on 2026-02-28");
        assert_eq!(tls(Ok::<_, String>(i64::MAX), now).severity, Severity::Ok);
    }

    #[test]
    fn json_contains_the_verdict() {
        let mut out = Vec::new();
        print_json(&mut out, &report(&[Severity::Warn])).unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(answer["ready"], true);
        assert_eq!(answer["findings"][0]["severity"], "warn");
    }
}
