//! Random histories against a model: a list of everything that ever happened.
//!
//! A [`World`] invents the commits of a database and the events of its stream, keeps the expected
//! state, and applies the events to the store. Then any query, from any version ever issued, must
//! return the change set computed from the list, or a reset where one is due or allowed.
//! [`ModelClient`]s follow their polls as clients do and must equal the expected state whenever they
//! are up to date.
//!
//! Everything is a function of the seed, which a failure prints.

mod client;
mod random;
mod scoped;
mod world;

use client::ModelClient;
pub(in crate::store) use random::Random;
use world::World;

use crate::store::LogLimits;
use crate::store::tests::GENEROUS;

/// Prints the seed if the test fails.
pub(in crate::store) struct Seed(pub(in crate::store) u64, pub(in crate::store) &'static str);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {} ({})", self.0, self.1);
        }
    }
}

fn run(seed: u64, name: &'static str, limits: LogLimits, steps: usize) {
    let _seed = Seed(seed, name);
    let mut random = Random::new(seed);
    let mut world = World::new(limits, &mut random);
    let mut mirrors: Vec<ModelClient> = (0..4).map(|_| ModelClient::new(&mut random)).collect();
    for _ in 0..steps {
        world.step(&mut random);
        world.check_any_poll(&mut random);
        for mirror in &mut mirrors {
            if random.chance(30) {
                mirror.follow(&mut world, &mut random);
            }
        }
    }
}

fn run_many(name: &'static str, limits: LogLimits) {
    for seed in 0..40 {
        run(seed, name, limits, 150);
    }
}

#[test]
fn any_history_is_reported_correctly() {
    run_many("generous", GENEROUS);
}

#[test]
fn any_history_is_reported_correctly_or_reset_with_little_room() {
    run_many("few changes", LogLimits { max_changes: 5, ..GENEROUS });
    run_many("no changes", LogLimits { max_changes: 0, ..GENEROUS });
    // An empty log weighs some hundred bytes, each small segment some more.
    run_many("few bytes", LogLimits { max_bytes: 3_000, ..GENEROUS });
}

#[test]
fn any_history_is_reported_correctly_or_reset_when_it_expires() {
    let max_age = std::time::Duration::from_secs(20);
    run_many("short age", LogLimits { max_age, ..GENEROUS });
}

#[test]
fn a_long_history_is_reported_correctly() {
    run(1, "long", LogLimits { max_changes: 40, ..GENEROUS }, 5_000);
    run(2, "long, generous", GENEROUS, 3_000);
}
