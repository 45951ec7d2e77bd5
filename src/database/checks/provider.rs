//! Managed PostgreSQL services: how each is recognized, and where the settings are changed there.

/// A managed PostgreSQL service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Amazon RDS and Aurora.
    Rds,
    /// Google Cloud SQL.
    CloudSql,
    /// Google AlloyDB.
    AlloyDb,
    /// Azure Database for PostgreSQL.
    Azure,
    /// Supabase, hosted.
    Supabase,
    /// Neon, with a pooled and a direct address.
    Neon,
    /// Fly Postgres.
    Fly,
    /// Heroku Postgres.
    Heroku,
    /// DigitalOcean Managed Databases.
    DigitalOcean,
    /// Aiven for PostgreSQL.
    Aiven,
}

/// Host name suffixes of each provider.
const HOSTS: &[(&str, Provider)] = &[
    (".rds.amazonaws.com", Provider::Rds),
    (".rds.amazonaws.com.cn", Provider::Rds),
    // Heroku's databases have the host names of their EC2 machines.
    (".compute-1.amazonaws.com", Provider::Heroku),
    (".eu-west-1.compute.amazonaws.com", Provider::Heroku),
    (".postgres.database.azure.com", Provider::Azure),
    (".supabase.co", Provider::Supabase),
    (".supabase.com", Provider::Supabase),
    (".neon.tech", Provider::Neon),
    (".fly.dev", Provider::Fly),
    (".flycast", Provider::Fly),
    (".fly.internal", Provider::Fly),
    (".db.ondigitalocean.com", Provider::DigitalOcean),
    (".aivencloud.com", Provider::Aiven),
];

/// Roles that identify a provider. The order matters: servers of Supabase and AlloyDB also have roles
/// of other providers.
const ROLES: &[(&str, Provider)] = &[
    ("supabase_admin", Provider::Supabase),
    ("neon_superuser", Provider::Neon),
    ("rdsadmin", Provider::Rds),
    ("alloydbsuperuser", Provider::AlloyDb),
    ("cloudsqlsuperuser", Provider::CloudSql),
    ("azure_pg_admin", Provider::Azure),
    ("azuresu", Provider::Azure),
    ("doadmin", Provider::DigitalOcean),
    ("avnadmin", Provider::Aiven),
];

impl Provider {
    /// The provider that a host name belongs to.
    pub fn of_host(host: &str) -> Option<Self> {
        let host = host.to_ascii_lowercase();
        HOSTS.iter().find(|(end, _)| host.ends_with(end)).map(|(_, provider)| *provider)
    }

    /// The provider whose roles are in this comma-separated list.
    pub fn of_roles(roles: &str) -> Option<Self> {
        let exists = |name: &str| roles.split(',').any(|role| role == name);
        ROLES.iter().find(|(role, _)| exists(role)).map(|(_, provider)| *provider)
    }

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rds => "Amazon RDS",
            Self::CloudSql => "Google Cloud SQL",
            Self::AlloyDb => "Google AlloyDB",
            Self::Azure => "Azure Database for PostgreSQL",
            Self::Supabase => "Supabase",
            Self::Neon => "Neon",
            Self::Fly => "Fly Postgres",
            Self::Heroku => "Heroku Postgres",
            Self::DigitalOcean => "DigitalOcean",
            Self::Aiven => "Aiven",
        }
    }

    /// How to enable logical decoding with this provider.
    pub(crate) fn logical_decoding(self) -> &'static str {
        match self {
            Self::Rds => {
                "in the instance's (Aurora: the cluster's) parameter group set rds.logical_replication = 1, then reboot it"
            }
            Self::CloudSql => {
                "gcloud sql instances patch INSTANCE --database-flags=cloudsql.logical_decoding=on  (include the flags already set: the list is replaced; the instance restarts)"
            }
            Self::AlloyDb => {
                "set the flag alloydb.logical_decoding = on for the instance, which restarts it"
            }
            Self::Azure => {
                "az postgres flexible-server parameter set --name wal_level --value logical, then restart the server"
            }
            Self::Supabase => {
                "logical decoding is on in every Supabase project: check that this is the direct connection"
            }
            Self::Neon => {
                "in the project's settings, under Logical Replication, choose Enable (it cannot be undone)"
            }
            Self::Fly => {
                "fly postgres config update --wal-level logical, then fly postgres restart"
            }
            Self::Heroku => {
                "Heroku Postgres offers logical decoding in some plans only: contact its support, or move the database"
            }
            Self::DigitalOcean | Self::Aiven => {
                "logical decoding is on by default with this provider: contact its support"
            }
        }
    }

    /// The most likely fix when a connection fails.
    pub(crate) fn connection_hint(self) -> Option<&'static str> {
        match self {
            Self::Supabase => Some(
                "use the direct connection (db.PROJECT.supabase.co, port 5432), not the pooler; it has an IPv6 address only, so this machine needs IPv6 or the project the IPv4 add-on",
            ),
            Self::Neon => Some("use the host name without \"-pooler\""),
            Self::Fly => Some(
                "inside Fly's private network the server offers no TLS: add ?sslmode=disable to the URL (…flycast or ….internal), or use fly proxy",
            ),
            Self::Rds => Some(
                "newer servers refuse connections without TLS: add ?sslmode=require, or verify-full with the provider's CA bundle as sslrootcert",
            ),
            Self::Azure => Some("add ?sslmode=require to the URL, and use port 5432, not 6432"),
            Self::Heroku => Some("add ?sslmode=require to the URL"),
            Self::DigitalOcean => Some(
                "add ?sslmode=require to the URL, and use the database's own port, not the connection pool's",
            ),
            Self::CloudSql | Self::AlloyDb | Self::Aiven => None,
        }
    }

    /// How to permit a role to replicate where `ALTER ROLE … REPLICATION` does not work.
    pub(crate) fn replication_grant(self, quoted_role: &str) -> Option<String> {
        match self {
            Self::Rds => Some(format!("GRANT rds_replication TO {quoted_role};")),
            Self::Heroku => Some(
                "Heroku Postgres grants REPLICATION to no role: use another provider's database"
                    .into(),
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_recognized_by_host_name() {
        let by_host = |host| Provider::of_host(host).map(Provider::name);
        assert_eq!(by_host("db1.abc.eu-central-1.RDS.amazonaws.com"), Some("Amazon RDS"));
        assert_eq!(by_host("ec2-1-2-3-4.compute-1.amazonaws.com"), Some("Heroku Postgres"));
        assert_eq!(by_host("aws-0-eu.pooler.supabase.com"), Some("Supabase"));
        assert_eq!(by_host("ep-x-pooler.eu.aws.neon.tech"), Some("Neon"));
        assert_eq!(by_host("app-db.flycast"), Some("Fly Postgres"));
        assert_eq!(by_host("db.example.com"), None);
        assert_eq!(by_host("neon.tech.example"), None);
    }

    #[test]
    fn providers_are_recognized_by_role() {
        assert_eq!(Provider::of_roles("azure_pg_admin,azuresu"), Some(Provider::Azure));
        assert_eq!(
            Provider::of_roles("alloydbsuperuser,cloudsqlsuperuser"),
            Some(Provider::AlloyDb)
        );
        assert_eq!(Provider::of_roles("myrdsadmin"), None);
        assert_eq!(Provider::of_roles(""), None);
    }
}
