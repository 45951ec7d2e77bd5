//! The published resources: by which names they are found, and which of them a request is about.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::sync::Notify;

use super::metrics::{CacheResult, RowMetrics, StoreMetrics};
use super::notifications::AtomicPosition;
use crate::scope::RowScope;
use crate::table::{Column, RowCaching, Table, TableOid, Tracking};

/// What a client's name for a set of rows stands for, as readers hold it: a published table. Carries
/// its definition, its name ready for JSON, its metrics, and the notifications that let a reader
/// see without a lock that nothing happened to it.
///
/// A table whose definition changes is replaced by a new resource, one that leaves the publication
/// by none: readers that hold the old one are woken and get a reset.
#[derive(Debug)]
pub struct Resource {
    definition: Arc<Table>,
    /// The displayed name.
    pub name: String,
    /// The displayed name as a JSON string, quotes included.
    pub name_json: String,
    /// The position of its newest change or reset.
    pub(super) newest: AtomicPosition,
    /// Notified when `newest` rises.
    pub(super) changed: Notify,
    pub(super) row_metrics: RowMetrics,
    /// The generation under which its rows are found in the shared cache; 0: they are not there.
    generation: AtomicU64,
}

impl Resource {
    pub(super) fn new(table: Table, metrics: &StoreMetrics) -> Self {
        let name = table.name.to_string();
        let name_json = serde_json::Value::from(name.as_str()).to_string();
        Self {
            definition: Arc::new(table),
            row_metrics: RowMetrics::new(metrics, &name),
            name,
            name_json,
            newest: AtomicPosition::default(),
            changed: Notify::new(),
            generation: AtomicU64::new(0),
        }
    }

    /// The table it stands for.
    pub fn table(&self) -> &Arc<Table> {
        &self.definition
    }

    /// The relation's OID: unique among the published resources.
    pub fn oid(&self) -> TableOid {
        self.definition.oid
    }

    /// The columns by whose values callers see some of its rows only.
    pub fn scope_columns(&self) -> &[Column] {
        &self.definition.scope
    }

    /// Whether its changes are known by id.
    pub fn tracking(&self) -> &Tracking {
        &self.definition.tracking
    }

    /// Whether and how its rows are cached.
    pub fn row_caching(&self) -> &RowCaching {
        &self.definition.rows
    }

    /// Counts a request for one of its rows.
    pub fn count_request(&self, result: CacheResult) {
        self.row_metrics.count_request(result);
    }

    /// The generation under which its rows are found in the shared cache, if it is cached lazily.
    pub(super) fn generation(&self) -> Option<u64> {
        Some(self.generation.load(SeqCst)).filter(|generation| *generation > 0)
    }

    pub(super) fn set_generation(&self, generation: u64) {
        self.generation.store(generation, SeqCst);
    }

    /// Ends lookups in the shared cache and the notifications: the resource was replaced or removed.
    pub(super) fn close(&self) {
        self.newest.close();
        self.set_generation(0);
    }
}

/// The published resources at one moment. Cheap to share; replaced as a whole when they change.
#[derive(Debug, Default)]
pub struct Directory {
    resources: Vec<Arc<Resource>>,
    spellings: HashMap<String, Arc<Resource>>,
}

impl Directory {
    pub(super) fn new(mut resources: Vec<Arc<Resource>>) -> Self {
        resources.sort_by(|a, b| a.name.cmp(&b.name));
        let spellings = spellings(&resources);
        Self { resources, spellings }
    }

    /// Every published resource, ordered by displayed name.
    pub fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// The resource that a client means by `spelling`.
    pub fn resolve(&self, spelling: &str) -> Option<&Arc<Resource>> {
        self.spellings.get(spelling)
    }
}

/// All spellings with their resources. One that several share belongs to the resource that displays
/// as it, else to none.
fn spellings(resources: &[Arc<Resource>]) -> HashMap<String, Arc<Resource>> {
    let mut owners: HashMap<String, Option<Arc<Resource>>> = HashMap::new();
    for resource in resources {
        for spelling in resource.definition.name.spellings() {
            let owner = Some(resource.clone());
            owners.entry(spelling).and_modify(|owner| *owner = None).or_insert(owner);
        }
    }
    for resource in resources {
        owners.insert(resource.name.clone(), Some(resource.clone()));
    }
    owners.into_iter().filter_map(|(spelling, owner)| Some((spelling, owner?))).collect()
}

/// The resources that a request is about.
#[derive(Clone, Debug)]
pub enum ResourceSelection {
    /// Every resource that is published when the request is answered.
    All,
    /// These, each once.
    Listed(Vec<ScopedResource>),
}

/// A resource that a request is about, and which of its rows.
#[derive(Clone, Debug)]
pub struct ScopedResource {
    /// The table or view that is asked for.
    pub resource: Arc<Resource>,
    /// The rows that exist for the caller.
    pub scope: RowScope,
}

impl From<Arc<Resource>> for ScopedResource {
    /// All rows of a resource.
    fn from(resource: Arc<Resource>) -> Self {
        Self { resource, scope: RowScope::AllRows }
    }
}

impl ResourceSelection {
    /// All rows of some resources, in the order given; repeated ones count once.
    pub fn unscoped(resources: impl IntoIterator<Item = Arc<Resource>>) -> Self {
        Self::scoped(resources.into_iter().map(ScopedResource::from))
    }

    /// Some rows of some resources, in the order given; of repeated resources the first counts.
    pub fn scoped(resources: impl IntoIterator<Item = ScopedResource>) -> Self {
        let mut unique: Vec<ScopedResource> = Vec::new();
        for scoped in resources {
            if !unique.iter().any(|known| known.resource.oid() == scoped.resource.oid()) {
                unique.push(scoped);
            }
        }
        Self::Listed(unique)
    }

    /// Whether it includes all rows of its resources.
    pub(super) fn is_unscoped(&self) -> bool {
        match self {
            Self::All => true,
            Self::Listed(resources) => resources.iter().all(|scoped| scoped.scope.is_all()),
        }
    }

    /// The rows of a resource that it includes.
    pub(super) fn scope_of(&self, resource: &Resource) -> &RowScope {
        match self {
            Self::All => &RowScope::AllRows,
            Self::Listed(resources) => {
                let scoped = resources.iter().find(|s| s.resource.oid() == resource.oid());
                scoped.map_or(&RowScope::Nothing, |scoped| &scoped.scope)
            }
        }
    }
}

/// Equal when they include the same rows of the same resources, as they are defined now, in the same
/// order.
impl PartialEq for ResourceSelection {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, Self::All) => true,
            (Self::Listed(ours), Self::Listed(theirs)) => {
                ours.len() == theirs.len()
                    && ours
                        .iter()
                        .zip(theirs)
                        .all(|(a, b)| Arc::ptr_eq(&a.resource, &b.resource) && a.scope == b.scope)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::Registry;

    use super::*;
    use crate::table::TableName;

    fn published(oid: u32, schema: &str, name: &str) -> Arc<Resource> {
        let table = Table {
            oid: TableOid(oid),
            name: TableName::new(schema, name),
            key_columns: vec!["id".into()],
            tracking: Tracking::Ids,
            rows: RowCaching::Disabled,
            scope: vec![],
        };
        Arc::new(Resource::new(table, &StoreMetrics::register(&Registry::default()).unwrap()))
    }

    fn resolved(directory: &Directory, spelling: &str) -> Option<u32> {
        directory.resolve(spelling).map(|table| table.oid().0)
    }

    #[test]
    fn a_table_resolves_by_any_of_its_spellings() {
        let directory =
            Directory::new(vec![published(2, "shop", "items"), published(1, "public", "items")]);
        for spelling in ["items", "public.items", "\"items\"", "\"public\".\"items\""] {
            assert_eq!(resolved(&directory, spelling), Some(1), "{spelling}");
        }
        assert_eq!(resolved(&directory, "shop.items"), Some(2));
        assert_eq!(resolved(&directory, "shop"), None);
        let names: Vec<_> = directory.resources().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["items", "shop.items"]);
    }

    #[test]
    fn a_shared_spelling_belongs_to_the_table_that_displays_as_it_or_to_none() {
        // `a.b` is how table b of schema a displays; public."a.b" may be spelled so, too.
        let directory = Directory::new(vec![published(1, "a", "b"), published(2, "public", "a.b")]);
        assert_eq!(resolved(&directory, "a.b"), Some(1));
        assert_eq!(resolved(&directory, "\"a.b\""), Some(2));
        // x."y.z" and "x.y".z may both be spelled x.y.z, and neither displays as it.
        let directory = Directory::new(vec![published(1, "x", "y.z"), published(2, "x.y", "z")]);
        assert_eq!(resolved(&directory, "x.y.z"), None);
        assert_eq!(resolved(&directory, "x.\"y.z\""), Some(1));
    }

    #[test]
    fn names_are_ready_for_json() {
        let table = published(1, "public", "a\"b\n");
        let read: String = serde_json::from_str(&table.name_json).unwrap();
        assert_eq!(read, table.name);
    }

    #[test]
    fn a_selection_lists_each_resource_once() {
        let table = published(1, "public", "a");
        let other = published(2, "public", "b");
        let ResourceSelection::Listed(listed) =
            ResourceSelection::unscoped([table.clone(), other, table])
        else {
            panic!("a list");
        };
        assert_eq!(listed.iter().map(|scoped| scoped.resource.oid().0).collect::<Vec<_>>(), [1, 2]);
    }
}
