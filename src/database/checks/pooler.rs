//! The connection's route: change streams need a direct connection to the server, not a pooler.

use serde::Deserialize;

use super::finding::Finding;
use super::provider::Provider;

/// A row of `check_pooler.sql`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SessionIdentity {
    /// The process id of the session's backend on the server.
    pub(crate) backend_pid: i32,
}

/// How an attempt to open a replication connection ended.
#[derive(Clone, Debug)]
pub enum StreamProbe {
    /// The server answered `IDENTIFY_SYSTEM`.
    Works,
    /// A pooler answered that does not support replication connections; the text describes it.
    Pooler(String),
    /// It failed; the text gives the reason and the remedy.
    Failed(String),
}

/// The facts that reveal a pooler between Highwater and the server.
#[derive(Clone, Debug)]
pub(crate) struct ServerRoute<'a> {
    /// `host:port` as configured.
    pub(crate) address: &'a str,
    pub(crate) provider: Option<Provider>,
    /// The backend process ids that two statements of one session returned.
    pub(crate) pids: [i32; 2],
    /// The outcome of the replication connection.
    pub(crate) stream: StreamProbe,
}

pub(crate) fn findings(route: &ServerRoute<'_>) -> Vec<Finding> {
    const TOPIC: &str = "replication connection";
    let remedy =
        "use the server's own address, not the pooler's (PgBouncer, pgcat, Odyssey, Supavisor, …)";
    let hint = route.provider.and_then(Provider::connection_hint);
    let with_hints = |finding: Finding| {
        let finding = finding.fix(remedy);
        hint.into_iter().fold(finding, Finding::fix)
    };
    match &route.stream {
        StreamProbe::Pooler(why) => {
            vec![with_hints(
                Finding::error(TOPIC, why).why("without it Highwater can't read changes"),
            )]
        }
        StreamProbe::Failed(why) if looks_like_a_pooler(route.address) => {
            vec![with_hints(Finding::error(TOPIC, why).why("the address looks like a pooler's"))]
        }
        StreamProbe::Failed(why) => {
            let finding = Finding::error(TOPIC, why).why("without it Highwater can't read changes");
            vec![hint.into_iter().fold(finding, Finding::fix)]
        }
        StreamProbe::Works
            if route.pids[0] != route.pids[1] || looks_like_a_pooler(route.address) =>
        {
            vec![Finding::warn(TOPIC, "works, but there seems to be a pooler between Highwater and the server")
                .why("poolers close idle or long connections and hide from the server that a client has disconnected")
                .fix(remedy)]
        }
        StreamProbe::Works => vec![Finding::ok(TOPIC, "works")],
    }
}

/// Recognizes a pooler by the names and ports that poolers commonly use.
pub(crate) fn looks_like_a_pooler(address: &str) -> bool {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    ["6432", "6543"].contains(&port) || host.contains("-pooler.") || host.contains(".pooler.")
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    fn route(address: &str, stream: StreamProbe) -> ServerRoute<'_> {
        ServerRoute { address, provider: Provider::of_host(address), pids: [7, 7], stream }
    }

    #[test]
    fn poolers_are_recognized_by_name_and_port() {
        for address in ["db:6432", "x.pooler.supabase.com:5432", "ep-1-pooler.eu.neon.tech:5432"] {
            assert!(looks_like_a_pooler(address), "{address}");
        }
        for address in ["db:5432", "pooler:5432", "[::1]:5432", "/run/postgresql"] {
            assert!(!looks_like_a_pooler(address), "{address}");
        }
    }

    #[test]
    fn an_ignored_replication_parameter_is_reported_as_a_pooler() {
        let found = findings(&route("db:5432", StreamProbe::Pooler("syntax error".into())));
        assert_eq!(found[0].severity, Severity::Error);
        assert!(found[0].fix[0].starts_with("use the server's own address"));
    }

    #[test]
    fn a_working_connection_through_a_pooler_is_a_warning() {
        assert_eq!(findings(&route("db:5432", StreamProbe::Works))[0].severity, Severity::Ok);
        assert_eq!(findings(&route("db:6432", StreamProbe::Works))[0].severity, Severity::Warn);
        let switched = ServerRoute { pids: [7, 8], ..route("db:5432", StreamProbe::Works) };
        assert_eq!(findings(&switched)[0].severity, Severity::Warn);
    }

    #[test]
    fn a_failure_includes_its_reason() {
        let failed = || StreamProbe::Failed("no pg_hba.conf entry".into());
        let found = &findings(&route("db:5432", failed()))[0];
        assert_eq!(
            (found.severity, found.what.as_str()),
            (Severity::Error, "no pg_hba.conf entry")
        );
        assert!(findings(&route("db:6543", failed()))[0].fix[0].contains("not the pooler's"));
    }
}
