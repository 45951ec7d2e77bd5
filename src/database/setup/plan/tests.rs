//! Plans for different states of the database.

use super::*;
use crate::database::checks::PublicationRow;
use crate::database::checks::fixtures::{
    complete_publication, free_slot, good_server, plain_role, table,
};
use crate::table::RowMode;

/// A table that is not published yet.
fn unpublished(name: &str) -> TableRow {
    TableRow { published: false, ..table(name) }
}

fn facts() -> SetupFacts {
    SetupFacts {
        provider: None,
        server: good_server(),
        connected: plain_role(),
        role_exists: false,
        publication: None,
        tables: vec![
            unpublished("items"),
            TableRow { schema: "Shop".into(), ..unpublished("users") },
        ],
        slot: None,
        has_event_trigger: false,
    }
}

fn request(tables: PublishedSelection) -> SetupRequest {
    SetupRequest {
        role: None,
        publication: "highwater".into(),
        tables,
        rows: vec![],
        slot: Some("highwater".into()),
        event_trigger: false,
    }
}

fn statements(plan: &SetupPlan) -> Vec<String> {
    let steps = plan.steps.iter().filter_map(|step| step.statement.as_deref());
    steps.map(sql::without_comments).collect()
}

#[test]
fn a_bare_database_gets_a_publication_of_its_tables_and_then_a_slot() {
    let plan = plan(&request(PublishedSelection::WithKeys), &facts()).unwrap();
    assert_eq!(
        statements(&plan),
        [
            "CREATE PUBLICATION \"highwater\" FOR TABLE \"public\".\"items\", \"Shop\".\"users\" WITH \
             (publish = 'insert, update, delete, truncate', publish_via_partition_root = true);",
            "SELECT pg_create_logical_replication_slot('highwater', 'pgoutput');",
        ]
    );
    assert_eq!(plan.remarks, [""; 0]);
}

#[test]
fn existing_objects_need_no_statement() {
    let facts = SetupFacts {
        publication: Some(complete_publication()),
        slot: Some(free_slot()),
        ..facts()
    };
    let plan = plan(&request(PublishedSelection::WithKeys), &facts).unwrap();
    assert_eq!(statements(&plan), [""; 0]);
    assert_eq!(plan.steps.len(), 2);
}

#[test]
fn tables_without_a_key_or_of_other_owners_are_left_out_and_named() {
    let mut facts = facts();
    facts.tables.push(TableRow { has_primary_key: false, ..unpublished("log") });
    facts.tables.push(TableRow { owned: false, ..unpublished("theirs") });
    facts.tables.push(TableRow { is_partition: true, ..unpublished("leaf") });
    facts.tables.push(TableRow { persistence: "u".into(), ..unpublished("unlogged") });
    let plan = plan(&request(PublishedSelection::WithKeys), &facts).unwrap();
    assert!(
        statements(&plan)[0].contains("FOR TABLE \"public\".\"items\", \"Shop\".\"users\" WITH")
    );
    assert!(plan.remarks[0].starts_with("left out: log has no key"), "{:?}", plan.remarks);
    assert!(plan.remarks[1].contains("does not own theirs"), "{:?}", plan.remarks);
}

#[test]
fn tables_are_chosen_by_any_of_their_names() {
    let names = vec!["Shop.users".into(), "public.items".into(), "items".into()];
    let plan = plan(&request(PublishedSelection::Tables(names)), &facts()).unwrap();
    assert!(
        statements(&plan)[0].contains("FOR TABLE \"public\".\"items\", \"Shop\".\"users\" WITH")
    );
}

#[test]
fn an_unknown_table_names_the_nearest() {
    let error =
        plan(&request(PublishedSelection::Tables(vec!["item".into()])), &facts()).unwrap_err();
    assert_eq!(error.to_string(), "there is no table item in this database; did you mean items?");
}

#[test]
fn an_unknown_table_is_an_error_even_where_all_tables_are_published() {
    let whole = PublicationRow { all_tables: true, ..complete_publication() };
    let mut facts = SetupFacts { publication: Some(whole), ..facts() };
    facts.tables = vec![table("items")];
    let named = |name: &str| plan(&request(PublishedSelection::Tables(vec![name.into()])), &facts);
    assert!(named("itmes").is_err());
    assert_eq!(named("items").unwrap().steps[0].statement, None);
}

#[test]
fn missing_tables_are_added_to_an_existing_publication() {
    let mut facts = SetupFacts { publication: Some(complete_publication()), ..facts() };
    facts.tables = vec![table("items"), TableRow { has_primary_key: false, ..unpublished("log") }];
    let names = vec!["items".into(), "log".into()];
    let plan = plan(&request(PublishedSelection::Tables(names)), &facts).unwrap();
    assert_eq!(
        statements(&plan)[0],
        "ALTER PUBLICATION \"highwater\" ADD TABLE \"public\".\"log\";"
    );
    assert!(plan.dangers[0].starts_with("log has no key"), "{:?}", plan.dangers);
}

#[test]
fn schemas_and_all_tables_have_their_own_clauses() {
    let whole = |tables| statements(&plan(&request(tables), &facts()).unwrap())[0].clone();
    assert!(whole(PublishedSelection::All).contains("\"highwater\" FOR ALL TABLES WITH"));
    let schemas = || PublishedSelection::Schemas(vec!["Shop".into(), "new".into()]);
    assert!(whole(schemas()).contains("FOR TABLES IN SCHEMA \"Shop\", \"new\" WITH"));
    let mut existing = SetupFacts { publication: Some(complete_publication()), ..facts() };
    existing.tables = vec![TableRow { schema: "Shop".into(), ..table("users") }];
    let added = statements(&plan(&request(schemas()), &existing).unwrap())[0].clone();
    assert_eq!(added, "ALTER PUBLICATION \"highwater\" ADD TABLES IN SCHEMA \"new\";");
}

#[test]
fn requests_that_postgresql_cannot_fulfil_are_rejected_with_an_alternative() {
    let mut old = facts();
    old.server.version_number = 140_010;
    let error = plan(&request(PublishedSelection::Schemas(vec!["Shop".into()])), &old).unwrap_err();
    assert!(error.to_string().starts_with("PostgreSQL 14 cannot publish whole schemas"));
    let facts = SetupFacts { publication: Some(complete_publication()), ..facts() };
    let error = plan(&request(PublishedSelection::All), &facts).unwrap_err();
    assert!(error.to_string().contains("drop it first (highwater teardown)"));
}

#[test]
fn a_slot_of_another_program_is_rejected() {
    let slot = SlotRow { plugin: Some("wal2json".into()), ..free_slot() };
    let error =
        plan(&request(PublishedSelection::WithKeys), &SetupFacts { slot: Some(slot), ..facts() });
    assert_eq!(
        error.unwrap_err().to_string(),
        "slot highwater exists and decodes with wal2json, not pgoutput; choose another name with \
         --slot"
    );
}

#[test]
fn the_role_is_created_first_with_the_statements_of_the_provider() {
    let request = SetupRequest { role: Some("hw".into()), ..request(PublishedSelection::WithKeys) };
    let role = |facts: &SetupFacts| statements(&plan(&request, facts).unwrap())[0].clone();
    assert_eq!(
        role(&facts()),
        "CREATE ROLE \"hw\" WITH LOGIN REPLICATION;\nGRANT CONNECT ON DATABASE \"shop\" TO \"hw\";"
    );
    let rds = SetupFacts { provider: Some(Provider::Rds), ..facts() };
    assert!(role(&rds).contains("GRANT rds_replication TO \"hw\";"));
    let existing = SetupFacts { role_exists: true, ..facts() };
    assert!(role(&existing).starts_with("CREATE PUBLICATION"));
}

#[test]
fn an_empty_database_is_rejected() {
    let empty = SetupFacts { tables: Vec::new(), ..facts() };
    let error = plan(&request(PublishedSelection::WithKeys), &empty).unwrap_err().to_string();
    assert!(error.starts_with("no table could be published: there are no tables yet"), "{error}");
}

#[test]
fn the_role_is_granted_select_on_tables_whose_rows_are_cached() {
    let rows = vec![RowsConfig { table: "Shop.users".into(), mode: RowMode::Lazy, columns: None }];
    let request =
        SetupRequest { role: Some("hw".into()), rows, ..request(PublishedSelection::WithKeys) };
    let plan = plan(&request, &facts()).unwrap();
    let grants = plan.steps[1].statement.as_deref();
    assert_eq!(
        grants,
        Some(
            "GRANT USAGE ON SCHEMA \"Shop\" TO \"hw\";\nGRANT SELECT ON TABLE \"Shop\".\"users\" TO \"hw\";"
        )
    );
}

#[test]
fn the_event_trigger_is_created_last_if_requested_and_missing() {
    let requested = SetupRequest { event_trigger: true, ..request(PublishedSelection::WithKeys) };
    let steps = plan(&requested, &facts()).unwrap().steps;
    let last = steps.last().and_then(|step| step.statement.as_deref());
    assert_eq!(last, Some(sql::EVENT_TRIGGER));
    let existing = SetupFacts { has_event_trigger: true, ..facts() };
    assert_eq!(plan(&requested, &existing).unwrap().steps.last().unwrap().statement, None);
    assert_eq!(plan(&request(PublishedSelection::WithKeys), &existing).unwrap().steps.len(), 2);
}
