//! Whether a pooler stands between: change streams need the server itself.

use serde::Deserialize;

use super::finding::Finding;
use super::provider::Provider;

/// What `check_pooler.sql` answers.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SessionIdentity {
    /// The process id the session has on the server.
    pub(crate) backend_pid: i32,
}

/// How an attempt to open a replication connection ended.
#[derive(Clone, Debug)]
pub enum StreamProbe {
    /// The server answered `IDENTIFY_SYSTEM`.
    Works,
    /// What answered is a pooler that does not pass it on; the sentence says so.
    Pooler(String),
    /// It failed; the sentence says why and what to do.
    Failed(String),
}

/// What tells about the way to the server.
#[derive(Clone, Debug)]
pub(crate) struct ServerRoute<'a> {
    /// `host:port` as configured.
    pub(crate) address: &'a str,
    /// Whose server it is.
    pub(crate) provider: Option<Provider>,
    /// Process ids that two statements of one session saw.
    pub(crate) pids: [i32; 2],
    /// The replication connection.
    pub(crate) stream: StreamProbe,
}

pub(crate) fn findings(way: &ServerRoute<'_>) -> Vec<Finding> {
    const TOPIC: &str = "replication connection";
    let remedy =
        "use the server's own address, not the pooler's (PgBouncer, pgcat, Odyssey, Supavisor, …)";
    let hint = way.provider.and_then(Provider::connection_hint);
    let with_hints = |finding: Finding| {
        let finding = finding.fix(remedy);
        hint.into_iter().fold(finding, Finding::fix)
    };
    match &way.stream {
        StreamProbe::Pooler(why) => {
            vec![with_hints(Finding::error(TOPIC, why).why("without it no change can be read"))]
        }
        StreamProbe::Failed(why) if looks_like_a_pooler(way.address) => {
            vec![with_hints(Finding::error(TOPIC, why).why("the address looks like a pooler's"))]
        }
        StreamProbe::Failed(why) => {
            let finding = Finding::error(TOPIC, why).why("without it no change can be read");
            vec![hint.into_iter().fold(finding, Finding::fix)]
        }
        StreamProbe::Works if way.pids[0] != way.pids[1] || looks_like_a_pooler(way.address) => {
            vec![Finding::warn(TOPIC, "works, but there seems to be a pooler in between")
                .why("poolers end idle or long connections and hide from the server that a client is gone")
                .fix(remedy)]
        }
        StreamProbe::Works => vec![Finding::ok(TOPIC, "works")],
    }
}

/// By the names and ports that poolers commonly have.
pub(crate) fn looks_like_a_pooler(address: &str) -> bool {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    ["6432", "6543"].contains(&port) || host.contains("-pooler.") || host.contains(".pooler.")
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    fn way(address: &str, stream: StreamProbe) -> ServerRoute<'_> {
        ServerRoute { address, provider: Provider::of_host(address), pids: [7, 7], stream }
    }

    #[test]
    fn poolers_are_known_by_name_and_port() {
        for address in ["db:6432", "x.pooler.supabase.com:5432", "ep-1-pooler.eu.neon.tech:5432"] {
            assert!(looks_like_a_pooler(address), "{address}");
        }
        for address in ["db:5432", "pooler:5432", "[::1]:5432", "/run/postgresql"] {
            assert!(!looks_like_a_pooler(address), "{address}");
        }
    }

    #[test]
    fn a_lost_replication_parameter_means_a_pooler() {
        let found = findings(&way("db:5432", StreamProbe::Pooler("syntax error".into())));
        assert_eq!(found[0].severity, Severity::Error);
        assert!(found[0].fix[0].starts_with("use the server's own address"));
    }

    #[test]
    fn a_working_connection_through_a_pooler_is_warned_of() {
        assert_eq!(findings(&way("db:5432", StreamProbe::Works))[0].severity, Severity::Ok);
        assert_eq!(findings(&way("db:6432", StreamProbe::Works))[0].severity, Severity::Warn);
        let switched = ServerRoute { pids: [7, 8], ..way("db:5432", StreamProbe::Works) };
        assert_eq!(findings(&switched)[0].severity, Severity::Warn);
    }

    #[test]
    fn a_failure_says_why() {
        let failed = || StreamProbe::Failed("no pg_hba.conf entry".into());
        let found = &findings(&way("db:5432", failed()))[0];
        assert_eq!(
            (found.severity, found.what.as_str()),
            (Severity::Error, "no pg_hba.conf entry")
        );
        assert!(findings(&way("db:6543", failed()))[0].fix[0].contains("not the pooler's"));
    }
}
