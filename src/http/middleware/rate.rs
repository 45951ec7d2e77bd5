//! How often a client may ask: so many requests a second, and a burst of them at once.
//!
//! One number for each client, the time at which its bucket will be full again (GCRA): asking puts it
//! off by one request's worth, and who would put it off too far is refused.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;

/// Clients that are told apart; beyond it, those that come anew share one bucket until others are
/// forgotten. A client is forgotten once its bucket is full again.
const CLIENTS_MAX: usize = 65_536;

/// Between two searches for clients to forget.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Requests that a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Per second, in the long run.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

/// Whom a bucket belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BucketOwner {
    /// A token that is known, as a hash of it.
    Token(u64),
    /// An address without such a token; of IPv6 the network, of which one customer has many.
    Address(IpAddr),
    /// Everybody for whom there was no room.
    Others,
}

/// The buckets of all clients. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Buckets(Arc<BucketsInner>);

struct BucketsInner {
    /// What one request takes from a bucket, as the time in which it comes back.
    cost: Duration,
    /// What a full bucket holds, beside the request that is asked.
    spare: Duration,
    began: Instant,
    hasher: RandomState,
    table: Mutex<BucketTable>,
}

#[derive(Default)]
struct BucketTable {
    /// When each bucket will be full again, since the beginning.
    full_at: HashMap<BucketOwner, Duration>,
    swept_at: Duration,
}

impl Buckets {
    pub(crate) fn new(limit: RateLimit) -> Self {
        let cost = Duration::from_secs(1) / limit.per_second.max(1);
        Self(Arc::new(BucketsInner {
            cost,
            spare: cost * limit.burst.saturating_sub(1),
            began: Instant::now(),
            hasher: RandomState::new(),
            table: Mutex::default(),
        }))
    }

    /// The client that a token stands for.
    pub(crate) fn of_token(&self, token: &[u8]) -> BucketOwner {
        BucketOwner::Token(self.0.hasher.hash_one(token))
    }

    /// Takes a request from a client's bucket; where it is empty, says how long to wait.
    pub(crate) fn take(&self, client: BucketOwner) -> Result<(), Duration> {
        self.0.take(client, self.0.began.elapsed())
    }
}

impl BucketsInner {
    fn take(&self, client: BucketOwner, now: Duration) -> Result<(), Duration> {
        let mut table = self.table.lock();
        let client = table.room_for(client, now);
        let full_at = table.full_at.entry(client).or_default();
        let missing = full_at.saturating_sub(now);
        if let Some(wait) = missing.checked_sub(self.spare).filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        *full_at = now + missing + self.cost;
        Ok(())
    }
}

impl BucketTable {
    fn room_for(&mut self, client: BucketOwner, now: Duration) -> BucketOwner {
        if self.full_at.len() < CLIENTS_MAX || self.full_at.contains_key(&client) {
            return client;
        }
        if now.saturating_sub(self.swept_at) >= SWEEP_INTERVAL {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.swept_at = now;
        }
        if self.full_at.len() < CLIENTS_MAX { client } else { BucketOwner::Others }
    }
}

impl BucketOwner {
    /// Who asks from this address.
    pub(crate) fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: BucketOwner = BucketOwner::Token(1);
    const B: BucketOwner = BucketOwner::Token(2);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Ten a second, three at once.
    fn buckets() -> Buckets {
        Buckets::new(RateLimit { per_second: 10, burst: 3 })
    }

    #[test]
    fn a_burst_is_let_through_and_then_so_many_a_second() {
        let Buckets(shared) = buckets();
        for _ in 0..3 {
            assert_eq!(shared.take(A, ms(5_000)), Ok(()));
        }
        assert_eq!(shared.take(A, ms(5_000)), Err(ms(100)));
        assert_eq!(shared.take(A, ms(5_040)), Err(ms(60)));
        assert_eq!(shared.take(B, ms(5_040)), Ok(()), "another client has a bucket of its own");
        assert_eq!(shared.take(A, ms(5_100)), Ok(()));
        assert_eq!(shared.take(A, ms(5_100)), Err(ms(100)), "what was refused took nothing");
        let passed = (0..1_000).filter(|n| shared.take(A, ms(10_000 + n * 10)).is_ok()).count();
        assert_eq!(passed, 102, "ten seconds' worth and the burst");
    }

    #[test]
    fn clients_beyond_the_limit_share_a_bucket_until_others_are_forgotten() {
        let Buckets(shared) = buckets();
        for number in 0..CLIENTS_MAX as u64 {
            assert_eq!(shared.take(BucketOwner::Token(number), ms(1_000)), Ok(()));
        }
        let new = |number| BucketOwner::at(IpAddr::from([10, 0, 0, number]));
        for number in 0..3 {
            assert_eq!(shared.take(new(number), ms(1_001)), Ok(()));
        }
        assert_eq!(shared.take(new(3), ms(1_001)), Err(ms(100)));
        assert_eq!(shared.take(A, ms(1_001)), Ok(()), "those that are known are not concerned");
        assert!(shared.table.lock().full_at.len() <= CLIENTS_MAX + 1);
        assert_eq!(shared.take(new(4), ms(3_000)), Ok(()));
        assert_eq!(shared.table.lock().full_at.len(), 1, "full buckets are forgotten");
    }

    #[test]
    fn neighbours_in_a_network_of_ipv6_are_one_client() {
        let at = |text: &str| BucketOwner::at(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
        assert_ne!(at("10.0.0.1"), at("10.0.0.2"));
    }
}
