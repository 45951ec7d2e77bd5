//! Which tables are published, and by which names they are found.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::sync::Notify;

use super::meters::{CacheResult, RowMetrics};
use super::signals::AtomicPosition;
use crate::metrics::Metrics;
use crate::scope::RowScope;
use crate::table::{Table, TableOid};

/// A published table as readers hold it: its definition, its name ready for JSON, and the signals
/// that let a reader see without a lock that nothing happened to it.
///
/// A table whose definition changes, or that leaves the publication, gets another one or none:
/// whoever still holds this one is woken, and told of a reset.
#[derive(Debug)]
pub struct Resource {
    /// The definition.
    pub table: Arc<Table>,
    /// The displayed name.
    pub name: String,
    /// The displayed name as a JSON string, quotes included.
    pub name_json: String,
    /// Where its newest change or reset is.
    pub(super) mark: AtomicPosition,
    /// Woken when `mark` rises.
    pub(super) changed: Notify,
    pub(super) row_metrics: RowMetrics,
    /// Under which its rows are found in the cache; 0: they are not.
    generation: AtomicU64,
}

impl Resource {
    pub(super) fn new(table: Table, metrics: &Metrics) -> Self {
        let name = table.name.to_string();
        let name_json = serde_json::Value::from(name.as_str()).to_string();
        Self {
            table: Arc::new(table),
            row_metrics: RowMetrics::new(metrics, &name),
            name,
            name_json,
            mark: AtomicPosition::default(),
            changed: Notify::new(),
            generation: AtomicU64::new(0),
        }
    }

    /// Counts a request for a row of it.
    pub fn count_request(&self, served: CacheResult) {
        self.row_metrics.count_request(served);
    }

    /// Where its rows are in the cache, if they are read through.
    pub(super) fn generation(&self) -> Option<u64> {
        Some(self.generation.load(SeqCst)).filter(|generation| *generation > 0)
    }

    pub(super) fn show_generation(&self, generation: u64) {
        self.generation.store(generation, SeqCst);
    }

    /// The relation's OID.
    pub fn oid(&self) -> TableOid {
        self.table.oid
    }
}

/// The published tables at some moment. Cheap to share; replaced as a whole when they change.
#[derive(Debug, Default)]
pub struct Directory {
    tables: Vec<Arc<Resource>>,
    spellings: HashMap<String, Arc<Resource>>,
}

impl Directory {
    pub(super) fn new(mut tables: Vec<Arc<Resource>>) -> Self {
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        let spellings = spellings(&tables);
        Self { tables, spellings }
    }

    /// Every published table, ordered by displayed name.
    pub fn tables(&self) -> &[Arc<Resource>] {
        &self.tables
    }

    /// The table that a client means by `spelling`.
    pub fn resolve(&self, spelling: &str) -> Option<&Arc<Resource>> {
        self.spellings.get(spelling)
    }
}

/// A spelling that several tables share belongs to the one that displays as it, else to nobody.
fn spellings(tables: &[Arc<Resource>]) -> HashMap<String, Arc<Resource>> {
    let mut shared: HashMap<String, Option<Arc<Resource>>> = HashMap::new();
    for table in tables {
        for spelling in table.table.name.spellings() {
            shared.entry(spelling).and_modify(|owner| *owner = None).or_insert(Some(table.clone()));
        }
    }
    for table in tables {
        shared.insert(table.name.clone(), Some(table.clone()));
    }
    shared.into_iter().filter_map(|(spelling, owner)| Some((spelling, owner?))).collect()
}

impl From<Arc<Resource>> for ScopedResource {
    /// All of its rows.
    fn from(table: Arc<Resource>) -> Self {
        Self { table, view: RowScope::AllRows }
    }
}

/// The tables a question is about.
#[derive(Clone, Debug)]
pub enum ResourceSelection {
    /// Every published table, whichever these are when the answer is made.
    All,
    /// These, each once.
    Tables(Vec<ScopedResource>),
}

/// A table that a question is about, and which of its rows.
#[derive(Clone, Debug)]
pub struct ScopedResource {
    /// The table.
    pub table: Arc<Resource>,
    /// The rows asked about: to who asks there are no others.
    pub view: RowScope,
}

impl ResourceSelection {
    /// The named tables, in the order given; repeated ones count once.
    pub fn tables(tables: impl IntoIterator<Item = Arc<Resource>>) -> Self {
        Self::scoped(tables.into_iter().map(ScopedResource::from))
    }

    /// The same of parts of tables.
    pub fn scoped(parts: impl IntoIterator<Item = ScopedResource>) -> Self {
        let mut unique: Vec<ScopedResource> = Vec::new();
        for part in parts {
            if !unique.iter().any(|known| known.table.oid() == part.table.oid()) {
                unique.push(part);
            }
        }
        Self::Tables(unique)
    }

    /// Whether all rows are asked about, of whatever tables.
    pub(super) fn is_unlimited(&self) -> bool {
        match self {
            Self::All => true,
            Self::Tables(parts) => parts.iter().all(|part| part.view.is_all()),
        }
    }

    /// Which rows of a table are asked about.
    pub(super) fn view_of(&self, table: &Resource) -> &RowScope {
        match self {
            Self::All => &RowScope::AllRows,
            Self::Tables(parts) => {
                let part = parts.iter().find(|part| part.table.oid() == table.oid());
                part.map_or(&RowScope::Nothing, |part| &part.view)
            }
        }
    }
}

/// Equal when they hold the same rows of the same tables, as they are defined now, in the same order.
impl PartialEq for ResourceSelection {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, Self::All) => true,
            (Self::Tables(ours), Self::Tables(theirs)) => {
                ours.len() == theirs.len()
                    && ours
                        .iter()
                        .zip(theirs)
                        .all(|(a, b)| Arc::ptr_eq(&a.table, &b.table) && a.view == b.view)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{RowCaching, TableName, Tracking};

    fn published(oid: u32, schema: &str, name: &str) -> Arc<Resource> {
        let table = Table {
            oid: TableOid(oid),
            name: TableName::new(schema, name),
            key_columns: vec!["id".into()],
            tracking: Tracking::Ids,
            rows: RowCaching::Disabled,
            scope: vec![],
        };
        Arc::new(Resource::new(table, &Metrics::new().unwrap()))
    }

    fn found(directory: &Directory, spelling: &str) -> Option<u32> {
        directory.resolve(spelling).map(|table| table.oid().0)
    }

    #[test]
    fn a_table_is_found_by_any_of_its_spellings() {
        let directory =
            Directory::new(vec![published(2, "shop", "items"), published(1, "public", "items")]);
        for spelling in ["items", "public.items", "\"items\"", "\"public\".\"items\""] {
            assert_eq!(found(&directory, spelling), Some(1), "{spelling}");
        }
        assert_eq!(found(&directory, "shop.items"), Some(2));
        assert_eq!(found(&directory, "shop"), None);
        let names: Vec<_> = directory.tables().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["items", "shop.items"]);
    }

    #[test]
    fn a_shared_spelling_belongs_to_the_table_that_displays_as_it_or_to_nobody() {
        // `a.b` is how table b of schema a displays; public."a.b" may be spelled so, too.
        let directory = Directory::new(vec![published(1, "a", "b"), published(2, "public", "a.b")]);
        assert_eq!(found(&directory, "a.b"), Some(1));
        assert_eq!(found(&directory, "\"a.b\""), Some(2));
        // x."y.z" and "x.y".z may both be spelled x.y.z, and neither displays as it.
        let directory = Directory::new(vec![published(1, "x", "y.z"), published(2, "x.y", "z")]);
        assert_eq!(found(&directory, "x.y.z"), None);
        assert_eq!(found(&directory, "x.\"y.z\""), Some(1));
    }

    #[test]
    fn names_are_ready_for_json() {
        let table = published(1, "public", "a\"b\n");
        let read: String = serde_json::from_str(&table.name_json).unwrap();
        assert_eq!(read, table.name);
    }

    #[test]
    fn a_selection_holds_each_table_once() {
        let table = published(1, "public", "a");
        let other = published(2, "public", "b");
        let ResourceSelection::Tables(tables) =
            ResourceSelection::tables([table.clone(), other, table])
        else {
            panic!("a list");
        };
        assert_eq!(tables.iter().map(|part| part.table.oid().0).collect::<Vec<_>>(), [1, 2]);
    }
}
