//! Random histories of rows that move between scopes, and callers who see some of them.
//!
//! The expected state is a list of the changes to each row and their scopes. Every caller polls from any
//! version it ever received; the result must be exactly the changes in its own scope, each id once,
//! and its copy must be the rows in its scope.

use std::collections::{BTreeMap, BTreeSet};

use super::{Random, Seed};
use crate::change::{Change, Event, Op, ResetReason, ScopeTransition, Transaction};
use crate::json_type::{JsonShape, JsonType};
use crate::key::Key;
use crate::lsn::Lsn;
use crate::scope::{RowScope, ScopeConditions, ScopeValues};
use crate::snapshot::Xid;
use crate::store::tests::{EPOCH, GENEROUS, Harness, now, reset, started, table};
use crate::store::{
    ChangeQuery, ChangeSet, LogLimits, PollChange, ResourceSelection, ScopedResource,
};
use crate::table::{Column, Table};
use crate::version::{Position, Version};

const IDS: u64 = 5;
const OWNERS: u64 = 3;
const LANDS: u64 = 2;
const TABLE: u32 = 1;

/// An owner, or NULL; and a land.
type Scope = (Option<u64>, u64);

/// A change to a row, with its scope before and after.
struct ScopedCommit {
    position: Position,
    id: i64,
    before: Option<Scope>,
    after: Option<Scope>,
}

struct ScopedWorld {
    harness: Harness,
    lsn: u64,
    rows: BTreeMap<i64, Scope>,
    happened: Vec<ScopedCommit>,
    /// The last reset, and the rows that it left.
    reset: (Position, BTreeMap<i64, Scope>),
    given: Vec<Version>,
}

/// A caller, and its copy of the rows in its scope by its polls.
struct ScopedClient {
    owner: Option<&'static str>,
    land: Option<&'static str>,
    version: Option<Version>,
    ids: BTreeSet<i64>,
}

fn orders() -> Table {
    let column = |name: &str, kind| Column {
        name: name.into(),
        type_oid: 20,
        type_name: "x".into(),
        form: Some(JsonShape::Scalar(kind)),
    };
    let scope = vec![column("owner_id", JsonType::Integer), column("land", JsonType::String)];
    Table { scope, ..table(TABLE, "orders") }
}

fn values((owner, land): Scope) -> ScopeValues {
    let owner = owner.map_or("null".to_owned(), |owner| owner.to_string());
    ScopeValues::json(format!(r#"[{owner},"{land}"]"#).as_bytes())
}

impl ScopedWorld {
    fn new(limits: LogLimits) -> Self {
        let mut harness = Harness::new(limits);
        harness.take(started(800, vec![orders()], None));
        let reset = (Position::after_commit(Lsn(800)), BTreeMap::new());
        let given = vec![harness.store.applied().unwrap()];
        Self { harness, lsn: 800, rows: BTreeMap::new(), happened: vec![], reset, given }
    }

    fn step(&mut self, random: &mut Random) {
        self.lsn += 64;
        if random.chance(3) {
            return self.truncate(random);
        }
        let mut changes = Vec::new();
        for number in 1..=1 + random.below(4) {
            self.touch_row(random, u32::try_from(2 * number).unwrap(), &mut changes);
        }
        self.commit(changes, vec![]);
    }

    fn commit(&mut self, changes: Vec<Change>, resets: Vec<crate::change::Reset>) {
        self.harness.take(Event::Commit(Transaction {
            end_lsn: Lsn(self.lsn),
            committed_at: now(),
            xid: Xid(0),
            changes,
            resets,
            rows: vec![],
        }));
    }

    fn truncate(&mut self, random: &mut Random) {
        self.rows = (0..2).map(|id| (id, some_scope(random))).collect();
        self.reset = (Position::after_commit(Lsn(self.lsn)), self.rows.clone());
        self.commit(vec![], vec![reset(TABLE, ResetReason::Truncate)]);
    }

    /// Inserts, updates, moves or deletes a row, or changes its key, perhaps in another scope.
    fn touch_row(&mut self, random: &mut Random, ordinal: u32, changes: &mut Vec<Change>) {
        let id = i64::try_from(random.below(IDS)).unwrap();
        let other = i64::try_from(random.below(IDS)).unwrap();
        let Some(before) = self.rows.get(&id).copied() else {
            return self.happen(changes, ordinal, id, None, Some(some_scope(random)));
        };
        match random.below(5) {
            0 => self.happen(changes, ordinal, id, Some(before), None),
            1 if !self.rows.contains_key(&other) => {
                let after = if random.chance(50) { before } else { some_scope(random) };
                self.happen(changes, ordinal - 1, id, Some(before), None);
                self.happen(changes, ordinal, other, None, Some(after));
            }
            2 => self.happen(changes, ordinal, id, Some(before), Some(before)),
            _ => self.happen(changes, ordinal, id, Some(before), Some(some_scope(random))),
        }
    }

    fn happen(
        &mut self,
        changes: &mut Vec<Change>,
        ordinal: u32,
        id: i64,
        before: Option<Scope>,
        after: Option<Scope>,
    ) {
        let op = match (before, after) {
            (None, _) => Op::Insert,
            (Some(_), Some(_)) => Op::Update,
            (Some(_), None) => Op::Delete,
        };
        let reported_before = before.filter(|before| Some(*before) != after).map(values);
        let scope = ScopeTransition { before: reported_before, after: after.map(values) };
        let (key, table) = (Key::integer(id), crate::table::TableOid(TABLE));
        changes.push(Change { table, key, op, ordinal, scope: Some(Box::new(scope)) });
        match after {
            Some(after) => self.rows.insert(id, after),
            None => self.rows.remove(&id),
        };
        let position = Position { lsn: Lsn(self.lsn), ordinal };
        self.happened.push(ScopedCommit { position, id, before, after });
    }

    fn poll(
        &mut self,
        selection: &ResourceSelection,
        after: Option<Version>,
        limit: usize,
    ) -> ChangeSet {
        let query = ChangeQuery { resources: selection, after, limit };
        let answer = self.harness.store.changes(&query).unwrap();
        self.given.push(answer.version);
        answer
    }
}

fn some_scope(random: &mut Random) -> Scope {
    let owner = Some(random.below(OWNERS)).filter(|_| !random.chance(15));
    (owner, random.below(LANDS))
}

impl ScopedClient {
    fn all() -> Vec<Self> {
        let owners = [None, Some("0"), Some("1"), Some("x")];
        let lands = [None, Some("0"), Some("1")];
        let each = owners.iter().flat_map(|owner| lands.iter().map(move |land| (*owner, *land)));
        each.map(|(owner, land)| Self { owner, land, version: None, ids: BTreeSet::new() })
            .collect()
    }

    fn sees(&self, (owner, land): Scope) -> bool {
        self.owner.is_none_or(|wanted| owner.is_some_and(|owner| owner.to_string() == wanted))
            && self.land.is_none_or(|wanted| land.to_string() == wanted)
    }

    fn selection(&self, world: &ScopedWorld) -> ResourceSelection {
        let directory = world.harness.store.directory();
        let table = directory.resolve("orders").unwrap().clone();
        let columns = [("owner_id", self.owner), ("land", self.land)];
        let conditions: ScopeConditions =
            columns.into_iter().filter_map(|(column, value)| Some((column, value?))).collect();
        let scope = RowScope::of(table.table(), &conditions).unwrap();
        ResourceSelection::scoped([ScopedResource { resource: table, scope }])
    }

    fn visible(&self, rows: &BTreeMap<i64, Scope>) -> BTreeSet<i64> {
        rows.iter().filter(|(_, scope)| self.sees(**scope)).map(|(id, _)| *id).collect()
    }

    /// The ids in scope at a position after the last reset.
    fn seen_at(&self, world: &ScopedWorld, position: Position) -> BTreeSet<i64> {
        let mut ids = self.visible(&world.reset.1);
        let since = world.happened.iter().filter(|h| h.position > world.reset.0);
        for happened in since {
            let (was, is) = self.sight(happened);
            if was && !is && happened.left_at(is) <= position {
                ids.remove(&happened.id);
            }
            if is && happened.position <= position {
                ids.insert(happened.id);
            }
        }
        ids
    }

    /// Whether the row was in scope before, and is after.
    fn sight(&self, happened: &ScopedCommit) -> (bool, bool) {
        let seen = |scope: Option<Scope>| scope.is_some_and(|scope| self.sees(scope));
        (seen(happened.before), seen(happened.after))
    }

    /// The changes in its scope after a position, by id.
    fn touched_after(&self, world: &ScopedWorld, position: Position) -> BTreeSet<i64> {
        let concerns = |happened: &&ScopedCommit| {
            let (was, is) = self.sight(happened);
            (is && happened.position > position) || (was && happened.left_at(is) > position)
        };
        world.happened.iter().filter(concerns).map(|happened| happened.id).collect()
    }

    /// Polls from any version ever issued: everything in its scope is reported correctly, nothing else is.
    fn check_any_poll(&self, world: &mut ScopedWorld, random: &mut Random, forgets: bool) {
        let after = *random.pick(&world.given);
        let selection = self.selection(world);
        let limit = usize::try_from(1 + random.below(4)).unwrap();
        let answer = world.poll(&selection, Some(after), limit);
        if !answer.reset.is_empty() {
            assert!(after.position < world.reset.0 || forgets, "a reset that is not due");
            assert!(answer.changes.is_empty());
            return;
        }
        assert!(after.position >= world.reset.0, "a reset is due");
        let (before, now) = (self.seen_at(world, after.position), self.visible(&world.rows));
        let touched = self.touched_after(world, after.position);
        let reported: Vec<i64> = answer.changes.iter().map(id_of).collect();
        assert_eq!(
            reported.iter().collect::<BTreeSet<_>>().len(),
            reported.len(),
            "an id reported twice"
        );
        for change in &answer.changes {
            let id = id_of(change);
            assert!(touched.contains(&id), "{id} was never in sight");
            let expected = match (before.contains(&id), now.contains(&id)) {
                (_, false) => Op::Delete,
                (true, true) => Op::Update,
                (false, true) => Op::Insert,
            };
            assert_eq!(change.op, expected, "of {id}");
        }
        if !answer.more {
            assert_eq!(reported.into_iter().collect::<BTreeSet<_>>(), touched);
        }
        let state = world.harness.store.shared.state.read();
        assert_eq!(state.has_news(&selection, after), !touched.is_empty());
        drop(state);
        self.check_newest(world, &answer, forgets);
    }

    /// Changes to other rows don't show in the newest version.
    fn check_newest(&self, world: &ScopedWorld, answer: &ChangeSet, forgets: bool) {
        let seen = world.happened.iter().rev().find(|happened| {
            let (was, is) = self.sight(happened);
            was || is
        });
        let newest = seen.map_or(world.reset.0, |happened| {
            world.reset.0.max(Position::after_commit(happened.position.lsn))
        });
        let is_forgotten = forgets && answer.newest.position == world.reset.0;
        assert!(answer.newest.position == newest || is_forgotten);
        assert_eq!(answer.newest.epoch, EPOCH);
    }

    /// Keeps its copy by polls alone, and reads tables in full at resets.
    fn follow(&mut self, world: &mut ScopedWorld, random: &mut Random) {
        loop {
            let selection = self.selection(world);
            let answer =
                world.poll(&selection, self.version, usize::try_from(1 + random.below(3)).unwrap());
            if !answer.reset.is_empty() {
                self.ids = self.visible(&world.rows);
            }
            for change in &answer.changes {
                match change.op {
                    Op::Delete => self.ids.remove(&id_of(change)),
                    Op::Insert | Op::Update => self.ids.insert(id_of(change)),
                };
            }
            self.version = Some(answer.version);
            if !answer.more {
                break;
            }
        }
        assert_eq!(self.ids, self.visible(&world.rows));
    }
}

impl ScopedCommit {
    /// The position at which the row left its scope: just before that in the next one.
    fn left_at(&self, is_visible_after: bool) -> Position {
        let moved = self.before.is_some() && self.after.is_some() && !is_visible_after;
        Position { ordinal: self.position.ordinal - u32::from(moved), ..self.position }
    }
}

fn id_of(change: &PollChange) -> i64 {
    format!("{:?}", change.key).parse().unwrap()
}

fn run(seed: u64, name: &'static str, limits: LogLimits, steps: usize) {
    let _seed = Seed(seed, name);
    let mut random = Random::new(seed);
    let mut world = ScopedWorld::new(limits);
    let mut mirrors = ScopedClient::all();
    let forgets = limits.max_changes < 1000;
    for _ in 0..steps {
        world.step(&mut random);
        for mirror in &mut mirrors {
            mirror.check_any_poll(&mut world, &mut random, forgets);
            if random.chance(30) {
                mirror.follow(&mut world, &mut random);
            }
        }
    }
}

#[test]
fn a_scoped_caller_gets_changes_to_its_rows_and_to_no_others() {
    for seed in 0..20 {
        run(seed, "scopes", GENEROUS, 80);
    }
    run(99, "scopes, long", GENEROUS, 600);
}

#[test]
fn a_scoped_caller_gets_correct_changes_or_a_reset_with_little_room() {
    for (seed, max_changes) in (0..24).zip([0, 1, 3, 8, 20, 60].into_iter().cycle()) {
        run(seed, "scopes, few changes", LogLimits { max_changes, ..GENEROUS }, 120);
    }
}
