//! A client that keeps a copy of the ids by its polls.

use std::collections::{BTreeMap, BTreeSet};

use super::random::Random;
use super::world::{World, resolve};
use crate::change::Op;
use crate::store::ResourceSelection;
use crate::version::Version;

pub(super) struct ModelClient {
    /// The tables it selects; all of them if empty.
    names: Vec<String>,
    version: Option<Version>,
    rows: BTreeMap<u32, BTreeSet<i64>>,
    /// Tables it has to read again and has not read yet.
    to_read: BTreeSet<u32>,
    /// A selection held since an earlier poll, as a held request does.
    held: Option<ResourceSelection>,
}

impl ModelClient {
    pub(super) fn new(random: &mut Random) -> Self {
        let names = if random.chance(50) { vec![] } else { vec!["t1".into(), "t3".into()] };
        Self { names, version: None, rows: BTreeMap::new(), to_read: BTreeSet::new(), held: None }
    }

    /// One poll, or as many as it takes to be up to date; reads in full may come later.
    pub(super) fn follow(&mut self, world: &mut World, random: &mut Random) {
        self.read_in_full(world);
        let to_the_end = random.chance(70);
        loop {
            let limit = usize::try_from(1 + random.below(8)).unwrap();
            let Some(more) = self.poll_once(world, limit) else { return };
            if !random.chance(30) {
                self.read_in_full(world);
            }
            if !more {
                break;
            }
            if !to_the_end {
                return;
            }
        }
        self.compare(world);
    }

    /// Returns whether there is more; `None` if a selected table is not published.
    fn poll_once(&mut self, world: &mut World, limit: usize) -> Option<bool> {
        let selection = match self.held.take() {
            Some(held) => held,
            None if self.names.is_empty() => ResourceSelection::All,
            None => resolve(&world.store, &self.names)?,
        };
        let answer = world.poll(&selection, self.version, limit);
        for table in &answer.reset {
            self.to_read.insert(table.oid().0);
        }
        for change in &answer.changes {
            let rows = self.rows.entry(change.resource.oid().0).or_default();
            let id = format!("{:?}", change.key).parse().unwrap();
            match change.op {
                Op::Delete => rows.remove(&id),
                Op::Insert | Op::Update => rows.insert(id),
            };
        }
        self.version = Some(answer.version);
        if answer.changes.is_empty() && answer.reset.is_empty() {
            self.held = Some(selection);
        }
        Some(answer.more)
    }

    fn read_in_full(&mut self, world: &World) {
        for oid in std::mem::take(&mut self.to_read) {
            self.rows.insert(oid, world.rows.get(&oid).cloned().unwrap_or_default());
        }
    }

    /// Up to date, the copy equals the expected state.
    fn compare(&self, world: &World) {
        let published = world.store.directory();
        for table in published.resources() {
            let asked = self.names.is_empty() || self.names.contains(&table.name);
            if asked && !self.to_read.contains(&table.oid().0) {
                assert_eq!(self.rows.get(&table.oid().0), world.rows.get(&table.oid().0));
            }
        }
    }
}
