//! A database that commits, shows its commits late, and returns results late.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::change::{Change, Event, Op, Reset, ResetReason, Transaction};
use crate::key::Key;
use crate::load::{CopySink, LoadError, LoadedRow, LoadedRows, Loader, ReadPoint};
use crate::lsn::Lsn;
use crate::row::{PartialRow, Row, RowAfter, RowChange};
use crate::snapshot::Xid;
use crate::source_status::PostmasterId;
use crate::store::tests::model::Random;
use crate::store::tests::{now, table};
use crate::table::{RowCachePlan, RowCaching, RowMode, Table, TableOid};

pub(super) const LAZY: u32 = 1;
pub(super) const PRELOADED: u32 = 2;
pub(super) const IDS: i64 = 6;

/// One table of each kind.
pub(in crate::store) fn tables() -> Vec<Table> {
    let held = |mode| RowCachePlan {
        mode,
        columns: vec![],
        key: vec![],
        partitioned: false,
        filter: None,
        definition: String::new(),
        keys_are_exact: true,
    };
    [(LAZY, "lazy", RowMode::Lazy), (PRELOADED, "preloaded", RowMode::Preload)]
        .map(|(oid, name, mode)| Table {
            rows: RowCaching::Enabled(held(mode).into()),
            ..table(oid, name)
        })
        .to_vec()
}

/// A row's values: a number that no other row ever had, and one that is seldom changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) number: u64,
    big: u64,
}

impl Values {
    pub(super) fn row(self, id: i64) -> Row {
        let Self { number, big } = self;
        Row::new(format!(r#"{{"id":{id},"n":{number},"big":{big}}}"#).as_bytes())
    }
}

type KeyVisibility = (u32, i64);

struct ModelTransaction {
    end: Lsn,
    xid: Xid,
    visible: bool,
    after: BTreeMap<KeyVisibility, Option<Values>>,
    event: Option<Event>,
}

pub(super) struct ModelDatabase {
    random: Random,
    commits: Vec<ModelTransaction>,
    delivered: usize,
    end: u64,
    numbers: u64,
}

impl ModelDatabase {
    pub(super) fn new(seed: u64) -> Self {
        let random = Random::new(seed ^ 0xDB);
        Self { random, commits: Vec::new(), delivered: 0, end: 800, numbers: 0 }
    }

    /// The row under a key when everything up to `lsn` was committed.
    pub(super) fn at(&self, place: KeyVisibility, lsn: Lsn) -> Option<Values> {
        let mut commits = self.commits.iter().rev().filter(|commit| commit.end <= lsn);
        commits.find_map(|commit| commit.after.get(&place)).copied().flatten()
    }

    /// The row under a key at `lsn` and after every later commit, with the end of that commit.
    pub(super) fn since(&self, place: KeyVisibility, lsn: Lsn) -> Vec<(Lsn, Option<Values>)> {
        let later = self.commits.iter().filter(|commit| commit.end > lsn);
        let later = later.filter_map(|c| Some((c.end, *c.after.get(&place)?)));
        [(lsn, self.at(place, lsn))].into_iter().chain(later).collect()
    }

    fn visible(&self, place: KeyVisibility) -> Option<Values> {
        let mut commits = self.commits.iter().rev().filter(|commit| commit.visible);
        commits.find_map(|commit| commit.after.get(&place)).copied().flatten()
    }

    /// Whether a transaction that changed it still holds its lock.
    fn is_locked(&self, place: KeyVisibility) -> bool {
        self.commits.iter().any(|commit| !commit.visible && commit.after.contains_key(&place))
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn commit(&mut self) {
        self.end += 8 * (1 + self.random.below(3));
        let xid = Xid(u32::try_from(self.commits.len()).unwrap() + 10);
        let (mut after, mut rows, mut changes, mut resets) =
            (BTreeMap::new(), vec![], vec![], vec![]);
        let truncates = self.random.chance(3);
        for table in [LAZY, PRELOADED] {
            let free = !(0..IDS).any(|id| self.is_locked((table, id)));
            if truncates && free {
                after.extend((0..IDS).map(|id| ((table, id), None)));
                rows.push(RowChange::Truncate(TableOid(table)));
                resets.push(Reset { table: TableOid(table), reason: ResetReason::Truncate });
                continue;
            }
            for _ in 0..self.random.below(3) {
                let id = i64::try_from(self.random.below(IDS.cast_unsigned())).unwrap();
                if self.is_locked((table, id)) || after.contains_key(&(table, id)) {
                    continue;
                }
                let before = self.visible((table, id));
                let other = i64::try_from(self.random.below(IDS.cast_unsigned())).unwrap();
                let to = (table, other);
                let moves = before.is_some() && self.random.chance(20);
                if moves
                    && !self.is_locked(to)
                    && !after.contains_key(&to)
                    && self.visible(to).is_none()
                {
                    let (now, image) = self.update(before, other, Some(id));
                    let gone = (table, id, Op::Delete, RowAfter::Deleted, None);
                    for (table, id, op, image, now) in
                        [gone, (table, other, Op::Insert, image, now)]
                    {
                        after.insert((table, id), now);
                        rows.push(RowChange::Upsert {
                            table: TableOid(table),
                            key: Key::integer(id),
                            image,
                        });
                        changes.push((table, id, op));
                    }
                    continue;
                }
                let (now, image) = self.update(before, id, None);
                let op = match (before, now) {
                    (_, None) => Op::Delete,
                    (None, _) => Op::Insert,
                    _ => Op::Update,
                };
                after.insert((table, id), now);
                rows.push(RowChange::Upsert {
                    table: TableOid(table),
                    key: Key::integer(id),
                    image,
                });
                changes.push((table, id, op));
            }
            if self.random.chance(2) {
                rows.push(RowChange::Invalidate(TableOid(table)));
            }
        }
        let changes = (1..).zip(changes).map(|(ordinal, (table, id, op))| Change {
            table: TableOid(table),
            key: Key::integer(id),
            op,
            ordinal,
            scope: None,
        });
        let end = Lsn(self.end);
        let transaction = Transaction {
            end_lsn: end,
            committed_at: now(),
            xid,
            changes: changes
                .filter(|c| !resets.iter().any(|r: &Reset| r.table == c.table))
                .collect(),
            resets,
            rows,
        };
        let event = Some(Event::Commit(transaction));
        let visible = self.random.chance(50);
        self.commits.push(ModelTransaction { end, xid, visible, after, event });
    }

    /// A row's new values, and its change in the stream.
    fn update(
        &mut self,
        before: Option<Values>,
        id: i64,
        from: Option<i64>,
    ) -> (Option<Values>, RowAfter) {
        let number = self.number();
        match before {
            Some(_) if from.is_none() && self.random.chance(25) => (None, RowAfter::Deleted),
            Some(before) if self.random.chance(50) => {
                let now = Values { number, ..before };
                let json = format!(r#"{{"id":{id},"n":{number},"big":null}}"#);
                let row = PartialRow::new(json.as_bytes(), &[2]);
                (Some(now), RowAfter::Partial { row, before: from.map(Key::integer) })
            }
            _ => {
                let now = Values { number, big: number };
                let unknown = self.random.chance(15);
                let image =
                    if unknown { RowAfter::Unresolved } else { RowAfter::Full(now.row(id)) };
                (Some(now), image)
            }
        }
    }

    pub(super) fn make_visible(&mut self) {
        let hidden: Vec<usize> =
            (0..self.commits.len()).filter(|n| !self.commits[*n].visible).collect();
        if !hidden.is_empty() {
            let number = *self.random.pick(&hidden);
            self.commits[number].visible = true;
        }
    }

    pub(super) fn make_all_visible(&mut self) {
        self.commits.iter_mut().for_each(|commit| commit.visible = true);
    }

    /// The next event of the stream; at the end, a watermark.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        let Some(commit) = self.commits.get_mut(self.delivered) else {
            return Some(Event::Watermark(Lsn(self.end)));
        };
        self.delivered += 1;
        commit.event.take()
    }

    fn loaded_at(&self) -> ReadPoint {
        let hidden: Vec<u32> =
            self.commits.iter().filter(|c| !c.visible).map(|c| c.xid.0).collect();
        let xmax = self.commits.len() + 10;
        let xmin = hidden.first().map_or(xmax, |xid| *xid as usize);
        let list = hidden.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let snapshot = format!("{xmin}:{xmax}:{list}").parse().unwrap();
        ReadPoint { snapshot, visible_up_to: Lsn(self.end), server: PostmasterId::default() }
    }

    fn rows(&self, table: u32) -> Vec<(Key, Row)> {
        let rows = (0..IDS).filter_map(|id| Some((id, self.visible((table, id))?)));
        rows.map(|(id, values)| (Key::integer(id), values.row(id))).collect()
    }
}

/// A loader that reads now and returns later.
pub(super) struct ModelConnection(pub(super) Arc<Mutex<ModelDatabase>>);

impl ModelConnection {
    async fn delay(&self) {
        let millis = self.0.lock().random.below(12);
        sleep(Duration::from_millis(millis)).await;
    }
}

impl Loader for ModelConnection {
    fn load<'a>(
        &'a self,
        table: &'a Arc<Table>,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<LoadedRows, LoadError>> {
        async move {
            self.delay().await;
            let loaded = {
                let mut database = self.0.lock();
                match database.random.below(20) {
                    0 => return Err(LoadError::Unavailable("broken".into())),
                    1 => return Err(LoadError::Outdated),
                    _ => {}
                }
                let rows: BTreeMap<Key, Row> = database.rows(table.oid.0).into_iter().collect();
                let found =
                    |key: &Key| Ok(LoadedRow { key: key.clone(), row: rows.get(key).cloned() });
                LoadedRows { at: database.loaded_at(), rows: keys.iter().map(found).collect() }
            };
            self.delay().await;
            Ok(loaded)
        }
        .boxed()
    }

    fn copy<'a>(
        &'a self,
        table: &'a Arc<Table>,
        sink: &'a mut dyn CopySink,
    ) -> BoxFuture<'a, Result<(), LoadError>> {
        async move {
            loop {
                self.delay().await;
                let (at, rows) = {
                    let database = self.0.lock();
                    (database.loaded_at(), database.rows(table.oid.0))
                };
                self.delay().await;
                if !sink.begin(&at, rows.len() as u64)? {
                    continue;
                }
                for row in rows {
                    self.delay().await;
                    sink.rows(vec![row])?;
                }
                self.delay().await;
                return Ok(());
            }
        }
        .boxed()
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<ReadPoint, LoadError>> {
        async move { Ok(self.0.lock().loaded_at()) }.boxed()
    }
}
