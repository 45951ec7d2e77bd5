//! The privileges of the connected role.

use serde::Deserialize;

use super::finding::Finding;
use super::provider::Provider;
use crate::table::quoted;

/// A row of `check_role.sql`.
#[derive(Clone, Debug, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "the columns of the catalog")]
pub(crate) struct RoleRow {
    pub(crate) name: String,
    pub(crate) superuser: bool,
    pub(crate) replication: bool,
    pub(crate) rds_replication: bool,
    pub(crate) may_connect: bool,
    pub(crate) may_create: bool,
}

impl RoleRow {
    /// Whether the server permits the role to open a replication connection.
    pub(crate) fn may_replicate(&self) -> bool {
        self.superuser || self.replication || self.rds_replication
    }
}

pub(crate) fn findings(role: &RoleRow, database: &str, provider: Option<Provider>) -> Vec<Finding> {
    let mut findings = vec![replication(role, provider)];
    if !role.may_connect {
        findings.push(
            Finding::error("role", format!("role {} has no CONNECT on this database", role.name))
                .why("the server will reject new sessions")
                .fix(format!(
                    "GRANT CONNECT ON DATABASE {} TO {};",
                    quoted(database),
                    quoted(&role.name)
                )),
        );
    }
    findings
}

fn replication(role: &RoleRow, provider: Option<Provider>) -> Finding {
    if role.superuser {
        return Finding::note("role", format!("role {} is a superuser", role.name)).why(
            "it works, but LOGIN, REPLICATION and CONNECT are enough: `highwater setup --role highwater` prints such a role",
        );
    }
    if role.may_replicate() {
        return Finding::ok("role", format!("role {} may replicate", role.name))
            .why("it needs SELECT only on tables whose rows are cached");
    }
    Finding::error("role", format!("role {} has no REPLICATION", role.name))
        .why("the server will reject the replication connection")
        .fix(replication_fix(&role.name, provider))
}

/// The statement or advice that permits a role to replicate.
pub(crate) fn replication_fix(role: &str, provider: Option<Provider>) -> String {
    let role = quoted(role);
    provider
        .and_then(|provider| provider.replication_grant(&role))
        .unwrap_or_else(|| format!("ALTER ROLE {role} REPLICATION;"))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::super::fixtures::plain_role;
    use super::*;

    #[test]
    fn the_replication_privilege_is_sufficient() {
        let found = findings(&plain_role(), "shop", None);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].severity, Severity::Ok);
        let member = RoleRow { replication: false, rds_replication: true, ..plain_role() };
        assert_eq!(findings(&member, "shop", Some(Provider::Rds))[0].severity, Severity::Ok);
    }

    #[test]
    fn a_missing_replication_privilege_has_a_fix_for_the_provider() {
        let role = RoleRow { replication: false, ..plain_role() };
        let fix = |provider| findings(&role, "shop", provider)[0].fix.join("");
        assert_eq!(fix(None), "ALTER ROLE \"App\" REPLICATION;");
        assert_eq!(fix(Some(Provider::Azure)), "ALTER ROLE \"App\" REPLICATION;");
        assert_eq!(fix(Some(Provider::Rds)), "GRANT rds_replication TO \"App\";");
    }

    #[test]
    fn a_missing_connect_privilege_has_a_grant_for_the_database() {
        let role = RoleRow { may_connect: false, superuser: true, ..plain_role() };
        let found = findings(&role, "my shop", None);
        assert_eq!(found[0].severity, Severity::Note);
        assert_eq!(found[1].fix, ["GRANT CONNECT ON DATABASE \"my shop\" TO \"App\";"]);
    }
}
