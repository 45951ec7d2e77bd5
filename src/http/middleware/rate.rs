//! Rate limits: a token bucket for each client, refilled continuously (GCRA, crate `governor`).

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};
use hashbrown::HashMap;
use parking_lot::Mutex;

/// Buckets kept at most. At the limit, new clients share one bucket until others are removed; a bucket
/// is removed once it is full again.
const BUCKETS_MAX: usize = 65_536;

/// Minimum time between two searches for full buckets: each visits all of them.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What a rejected client is asked to wait at least.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// Requests that a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests per second, in the long run.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
}

/// The client that a bucket belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BucketOwner {
    /// Hash of a valid token.
    Token(u64),
    /// Address of a client without one; for IPv6 its /64 network, because one customer has a whole
    /// network.
    Address(IpAddr),
    /// All clients that came when there were [`BUCKETS_MAX`] buckets.
    Others,
}

impl BucketOwner {
    /// The owner of the bucket of requests from `address`.
    pub(crate) fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// The buckets of all clients. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Buckets(Arc<BucketLimiter<MonotonicClock>>);

impl Buckets {
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self(Arc::new(BucketLimiter::new(limit, MonotonicClock)))
    }

    /// The owner of the bucket of requests with `token`.
    pub(crate) fn of_token(&self, token: &[u8]) -> BucketOwner {
        // Keyed with a secret of this process: clients can't choose tokens that share a bucket.
        BucketOwner::Token(self.0.hasher.hash_one(token))
    }

    /// Takes one request from a client's bucket.
    ///
    /// # Errors
    /// The time until the next request if the bucket is empty.
    pub(crate) fn take(&self, owner: BucketOwner) -> Result<(), Duration> {
        self.0.take(owner)
    }
}

struct BucketLimiter<C: Clock> {
    limiter: RateLimiter<BucketOwner, BucketStore, C, NoOpMiddleware<C::Instant>>,
    /// The limiter's store.
    store: BucketStore,
    clock: C,
    swept_at: Mutex<C::Instant>,
    hasher: RandomState,
}

impl<C: Clock + Clone> BucketLimiter<C> {
    fn new(limit: RateLimit, clock: C) -> Self {
        let positive = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota =
            Quota::per_second(positive(limit.per_second)).allow_burst(positive(limit.burst));
        let store = BucketStore::default();
        Self {
            limiter: RateLimiter::new(quota, store.clone(), clock.clone()),
            store,
            swept_at: Mutex::new(clock.now()),
            clock,
            hasher: RandomState::new(),
        }
    }

    fn take(&self, owner: BucketOwner) -> Result<(), Duration> {
        let owner = if self.has_room_for(owner) { owner } else { BucketOwner::Others };
        self.limiter.check_key(&owner).map_err(|rejected| {
            // The clock has moved on since the decision: the difference may be nothing.
            rejected.wait_time_from(self.clock.now()).max(WAIT_MIN)
        })
    }

    fn has_room_for(&self, owner: BucketOwner) -> bool {
        if self.store.has_room_for(owner) {
            return true;
        }
        let mut swept_at = self.swept_at.lock();
        let now = self.clock.now();
        if Duration::from(now.duration_since(*swept_at)) >= SWEEP_INTERVAL {
            *swept_at = now;
            self.limiter.retain_recent();
        }
        self.store.has_room_for(owner)
    }
}

/// For each bucket the time at which it is full again, since the limiter was made. Cloning shares it.
///
/// governor's own stores have no bound.
#[derive(Clone, Default)]
struct BucketStore(Arc<Mutex<HashMap<BucketOwner, Nanos>>>);

impl BucketStore {
    fn has_room_for(&self, owner: BucketOwner) -> bool {
        let full_at = self.0.lock();
        full_at.len() < BUCKETS_MAX || full_at.contains_key(&owner)
    }
}

impl StateStore for BucketStore {
    type Key = BucketOwner;

    fn measure_and_replace<T, F, E>(&self, owner: &BucketOwner, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut full_at = self.0.lock();
        let (outcome, next) = decide(full_at.get(owner).copied())?;
        full_at.insert(*owner, next);
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<BucketOwner> for BucketStore {
    fn retain_recent(&self, drop_below: Nanos) {
        self.0.lock().retain(|_, full_at| *full_at >= drop_below);
    }

    fn len(&self) -> usize {
        self.0.lock().len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const A: BucketOwner = BucketOwner::Token(1);
    const B: BucketOwner = BucketOwner::Token(2);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Ten requests per second, three at once, at a simulated time.
    fn limiter() -> (BucketLimiter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (BucketLimiter::new(RateLimit { per_second: 10, burst: 3 }, clock.clone()), clock)
    }

    #[test]
    fn a_burst_is_admitted_and_then_the_rate() {
        let (limiter, clock) = limiter();
        clock.advance(ms(5_000));
        for _ in 0..3 {
            assert_eq!(limiter.take(A), Ok(()));
        }
        assert_eq!(limiter.take(A), Err(ms(100)));
        clock.advance(ms(40));
        assert_eq!(limiter.take(A), Err(ms(60)));
        assert_eq!(limiter.take(B), Ok(()), "another client has its own bucket");
        clock.advance(ms(60));
        assert_eq!(limiter.take(A), Ok(()));
        assert_eq!(limiter.take(A), Err(ms(100)), "rejected requests take nothing");
        clock.advance(ms(4_900));
        let admitted = (0..1_000).filter(|_| {
            let admitted = limiter.take(A).is_ok();
            clock.advance(ms(10));
            admitted
        });
        assert_eq!(admitted.count(), 102, "ten seconds' worth and the burst");
    }

    #[test]
    fn new_clients_beyond_the_limit_share_a_bucket_until_others_are_removed() {
        let (limiter, clock) = limiter();
        clock.advance(ms(1_000));
        for number in 0..BUCKETS_MAX as u64 {
            assert_eq!(limiter.take(BucketOwner::Token(number)), Ok(()));
        }
        let new = |number| BucketOwner::at(IpAddr::from([10, 0, 0, number]));
        clock.advance(ms(1));
        for number in 0..3 {
            assert_eq!(limiter.take(new(number)), Ok(()));
        }
        assert_eq!(limiter.take(new(3)), Err(ms(100)));
        assert_eq!(limiter.take(A), Ok(()), "clients with a bucket keep it");
        assert!(limiter.store.len() <= BUCKETS_MAX + 1);
        clock.advance(ms(2_000));
        assert_eq!(limiter.take(new(4)), Ok(()));
        assert_eq!(limiter.store.len(), 1, "full buckets are removed");
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_bucket() {
        let at = |text: &str| BucketOwner::at(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
        assert_ne!(at("10.0.0.1"), at("10.0.0.2"));
    }
}
