//! Request rate per caller. Forged addresses cannot grow the table.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    num::NonZeroU32,
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::HashMapStateStore,
};

use super::Key;

/// Maximum number of callers with their own counter.
const KNOWN: usize = 50_000;

pub(super) struct Rate {
    limiter: RateLimiter<Key, HashMapStateStore<Key>, DefaultClock>,
    clock: DefaultClock,
    known: usize,
}

impl Rate {
    /// Creates the limit; `None` without one.
    pub(super) fn per_minute(requests: u32) -> Option<Self> {
        let quota = Quota::per_minute(NonZeroU32::new(requests)?);
        Some(Self { limiter: RateLimiter::hashmap(quota), clock: DefaultClock::default(), known: KNOWN })
    }

    /// Counts a request. Returns the key that was counted; the error is the time to wait.
    pub(super) fn check(&self, key: Key) -> Result<Key, Duration> {
        let key = if self.limiter.len() < self.known { key } else { self.overflow(key) };
        let checked = self.limiter.check_key(&key);
        checked.map_err(|until| until.wait_time_from(self.clock.now()))?;
        Ok(key)
    }

    /// Removes idle callers. If the table stays full, addresses share counters.
    fn overflow(&self, key: Key) -> Key {
        // Called for each request while the table is full, so the removal runs only sometimes.
        if fastrand::u32(..1_024) == 0 || self.limiter.len() == self.known {
            self.limiter.retain_recent();
            if self.limiter.len() < self.known {
                return key;
            }
        }
        match key {
            Key::Subject(_) => key,
            other => {
                let hash = BuildHasherDefault::<DefaultHasher>::new().hash_one(&other);
                Key::Overflow((hash & 0xfff) as u16)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;

    #[test]
    fn forged_addresses_neither_fill_the_table_nor_bypass_the_limit() {
        let mut rate = Rate::per_minute(2).unwrap();
        rate.known = 100;
        let mut let_in = 0;
        for network in 0..50_000_u64 {
            let address = IpAddr::V6(Ipv6Addr::from_bits(u128::from(network) << 64 | 7));
            let_in += u32::from(rate.check(Key::of(address, None)).is_ok());
        }
        assert!(rate.limiter.len() <= 100 + 4_096, "{}", rate.limiter.len());
        assert!(let_in <= 100 + 4_096 * 2 + 4_096, "{let_in}");
    }

    #[test]
    fn an_ipv6_network_is_one_caller() {
        let rate = Rate::per_minute(1).unwrap();
        let key = |text: &str| Key::of(text.parse::<IpAddr>().unwrap(), None);
        assert!(rate.check(key("2001:db8:1:2::1")).is_ok());
        let wait = rate.check(key("2001:db8:1:2:ffff::9")).unwrap_err();
        assert!(wait > Duration::from_secs(55) && wait <= Duration::from_secs(60), "{wait:?}");
        assert!(rate.check(key("2001:db8:1:3::1")).is_ok());
        assert!(rate.check(key("192.0.2.1")).is_ok());
        assert!(rate.check(key("::ffff:192.0.2.1")).is_err(), "the same address as a mapped IPv6 address");
    }
}
