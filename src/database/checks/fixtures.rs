//! Rows of a database without problems, which each test then modifies.

use super::{PublicationRow, RoleRow, ServerRow, SlotRow, TableRow};

pub(crate) fn good_server() -> ServerRow {
    ServerRow {
        server_version: "17.5".into(),
        version_number: 170_005,
        database: "shop".into(),
        in_recovery: false,
        wal_level: "logical".into(),
        max_replication_slots: 10,
        slots_used: 1,
        inactive_slots: None,
        max_wal_senders: 10,
        senders_used: 1,
        max_slot_wal_keep_megabytes: 10_240,
        wal_sender_timeout_milliseconds: 60_000,
        idle_slot_timeout_seconds: None,
        hot_standby_feedback: false,
        synchronous_commit: "on".into(),
        output_plugin_libraries: None,
        provider_roles: None,
    }
}

pub(crate) fn plain_role() -> RoleRow {
    RoleRow {
        name: "App".into(),
        superuser: false,
        replication: true,
        rds_replication: false,
        may_connect: true,
        may_create: false,
    }
}

/// A published table with a primary key.
pub(crate) fn table(name: &str) -> TableRow {
    TableRow {
        schema: "public".into(),
        name: name.into(),
        kind: "r".into(),
        persistence: "p".into(),
        is_partition: false,
        published: true,
        published_through: None,
        row_filter: None,
        has_column_list: false,
        replica_identity: "d".into(),
        has_primary_key: true,
        has_identity_index: false,
        candidate_index: None,
        key_columns: vec!["id".into()],
        columns: vec!["id".into(), "owner_id".into()],
        owned: true,
        readable: true,
        row_security: false,
    }
}

pub(crate) fn complete_publication() -> PublicationRow {
    PublicationRow {
        all_tables: false,
        inserts: true,
        updates: true,
        deletes: true,
        truncates: true,
        via_partition_root: true,
        owner: "postgres".into(),
        may_alter: true,
    }
}

pub(crate) fn free_slot() -> SlotRow {
    SlotRow {
        plugin: Some("pgoutput".into()),
        kind: "logical".into(),
        database: Some("shop".into()),
        connected_database: "shop".into(),
        temporary: false,
        active: false,
        active_pid: None,
        wal_status: Some("reserved".into()),
        invalidation_reason: None,
        retained_bytes: Some(4096),
        safe_wal_bytes: None,
        failover: None,
        standby_slots: None,
        synchronized_standby_slots: None,
    }
}
