//! What requests cost, and how much of it a key may spend: in a second, and in a month or a day.
//!
//! An [`Account`] is the key. Providers of several chains may share one, as they do at Alchemy.

use super::clock::Clock;
use super::dialects::Wording;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const SECOND: u128 = 1_000_000_000;
const DAY_SECONDS: u64 = 86_400;

/// What one method costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// The method.
    pub method: &'static str,
    /// Units of the month.
    pub units: u64,
    /// Units of the second, which differ for some.
    pub throughput: u64,
}

const fn price(method: &'static str, units: u64) -> Price {
    Price { method, units, throughput: units }
}

/// What a request costs that was let in and then answered with an error status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// The methods' full price.
    Full,
    /// So many units.
    Flat(u64),
    /// Nothing.
    Nothing,
}

/// A provider's price list. Requests refused for their rate or a spent quota cost nothing anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// What the methods cost.
    pub methods: &'static [Price],
    /// What any other method costs.
    pub other: u64,
    /// What a batch costs on top of its members.
    pub batch: u64,
    /// What a status from 400 on costs, 402, 403 and 429 aside, which are free.
    pub client_error: Charge,
    /// What a status from 500 on costs.
    pub server_error: Charge,
}

impl Prices {
    /// Every call is one unit: for limits that count requests.
    pub const REQUESTS: Self =
        Self { methods: &[], other: 1, batch: 0, client_error: Charge::Full, server_error: Charge::Full };

    /// Alchemy since 2025. A refused window is paid in full.
    pub const ALCHEMY: Self = Self {
        methods: &[
            price("eth_chainId", 0),
            price("net_version", 0),
            price("eth_syncing", 0),
            price("eth_blockNumber", 10),
            price("eth_getBlockByNumber", 20),
            price("eth_getCode", 20),
            price("eth_getBalance", 20),
            price("eth_getStorageAt", 20),
            price("eth_getTransactionReceipt", 20),
            Price { method: "eth_getBlockReceipts", units: 20, throughput: 500 },
            price("eth_call", 26),
            price("eth_getLogs", 60),
            price("eth_getFilterLogs", 60),
            price("eth_simulateV1", 40),
        ],
        // Not in the list: as a block, its neighbour.
        other: 20,
        batch: 0,
        client_error: Charge::Full,
        server_error: Charge::Full,
    };

    /// Infura's credits. The price of `eth_getLogs` is remembered, not verified.
    pub const INFURA: Self = Self {
        methods: &[price("eth_getLogs", 255)],
        other: 80,
        batch: 80,
        client_error: Charge::Flat(5),
        server_error: Charge::Nothing,
    };

    /// dRPC's flat price.
    pub const DRPC: Self = Self { other: 20, ..Self::REQUESTS };

    /// What a method costs.
    pub fn of(&self, method: &str) -> Cost {
        self.methods.iter().find(|price| price.method == method).map_or(
            Cost { units: self.other, throughput: self.other },
            |price| Cost { units: price.units, throughput: price.throughput },
        )
    }

    /// What is to be paid of a full price when the answer has this status.
    pub fn charged(&self, full: u64, status: u16) -> u64 {
        let charge = match status {
            402 | 403 | 429 => Charge::Nothing,
            400..=499 => self.client_error,
            500.. => self.server_error,
            _ => Charge::Full,
        };
        match charge {
            Charge::Full => full,
            // Never more than was set aside for it, or the quota could be overdrawn.
            Charge::Flat(units) => units.min(full),
            Charge::Nothing => 0,
        }
    }
}

/// Units of the month and of the second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Units of the month.
    pub units: u64,
    /// Units of the second.
    pub throughput: u64,
}

impl std::ops::Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { units: self.units + other.units, throughput: self.throughput + other.throughput }
    }
}

/// How a limit is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The wording's HTTP status and one error, for a batch too.
    Status,
    /// HTTP 200 and one error, for a batch too.
    Body,
    /// In a batch an error for each member that is too much, with HTTP 200; alone as [`By::Status`].
    Member,
}

/// What happens to a request over a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// The words.
    pub wording: &'static Wording,
    /// How they come.
    pub by: By,
    /// Whether a `Retry-After` in whole seconds comes with a status.
    pub retry_after: bool,
}

impl Over {
    /// Told by the wording's own status, without a hint.
    pub fn by_status(wording: &'static Wording) -> Self {
        Self { wording, by: By::Status, retry_after: false }
    }
}

/// A bucket that fills at a rate. A request is let in if the bucket holds all that it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerSecond {
    /// Units that flow in each second.
    pub units: u64,
    /// Units that the bucket holds.
    pub burst: u64,
    /// What happens to more.
    pub over: Over,
}

/// When a quota begins anew, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// At midnight.
    Day,
    /// On the first of the month.
    Month,
}

impl Period {
    /// Which period a moment lies in; later ones have greater numbers.
    fn index(self, now: Duration) -> u64 {
        let days = now.as_secs() / DAY_SECONDS;
        match self {
            Self::Day => days,
            Self::Month => month_of(days),
        }
    }
}

/// Months since year 0, of a day since 1970-01-01 (Howard Hinnant's `civil_from_days`, whose year begins in March).
fn month_of(days: u64) -> u64 {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    (era * 400 + year_of_era) * 12 + month_from_march
}

/// Units of a month or day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many.
    pub units: u64,
    /// Of what.
    pub period: Period,
    /// What happens to more.
    pub over: Over,
}

/// What a key may spend. The default knows no limit and counts requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What requests cost.
    pub prices: Prices,
    /// How fast.
    pub per_second: Option<PerSecond>,
    /// How much.
    pub quota: Option<Quota>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { prices: Prices::REQUESTS, per_second: None, quota: None }
    }
}

impl Limits {
    /// At most so many requests a second.
    pub fn requests_per_second(requests: u64, over: Over) -> Self {
        let per_second = Some(PerSecond { units: requests, burst: requests, over });
        Self { per_second, ..Self::default() }
    }
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMuch {
    /// Too fast; after this long it would be let in if nobody else came.
    Rate(Duration),
    /// The month or day is used up.
    Quota,
}

/// What was set aside for a request, until it is known what it is charged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slip {
    /// Units.
    pub units: u64,
    period: u64,
}

impl Slip {
    /// The two as one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        // Of the earlier period, if it turned between them: better too little given back than too much.
        Self { units: self.units + other.units, period: self.period.min(other.period) }
    }
}

/// What was spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Units in all.
    pub units: u64,
    /// Units in this month or day.
    pub units_of_period: u64,
    /// Calls let in.
    pub let_in: u64,
    /// Calls refused as too fast.
    pub too_fast: u64,
    /// Calls refused for the quota.
    pub over_quota: u64,
}

/// A key with what it has left.
#[derive(Debug)]
pub struct Account {
    limits: Limits,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Billionths of a unit in the bucket: what flows in a nanosecond is whole, so nothing is lost to rounding.
    level: u128,
    filled: Duration,
    period: u64,
    spent: Spent,
}

impl Account {
    /// A key with a full bucket and nothing spent.
    pub fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        let state = State {
            level: limits.per_second.map_or(0, |rate| u128::from(rate.burst) * SECOND),
            filled: now,
            period: limits.quota.map_or(0, |quota| quota.period.index(now)),
            spent: Spent::default(),
        };
        Self { limits, clock, state: Mutex::new(state) }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What was spent so far.
    pub fn spent(&self) -> Spent {
        let mut state = self.lock();
        self.turn(&mut state, self.clock.now());
        state.spent
    }

    /// Lets calls of this cost in together and sets their full price aside, or says why not.
    ///
    /// # Errors
    /// [`TooMuch`]; nothing is spent then.
    pub fn admit(&self, calls: u64, cost: Cost) -> Result<Slip, TooMuch> {
        let mut state = self.lock();
        let now = self.clock.now();
        self.turn(&mut state, now);
        if let Some(quota) = self.limits.quota
            && state.spent.units_of_period + cost.units > quota.units
        {
            state.spent.over_quota += calls;
            return Err(TooMuch::Quota);
        }
        if let Some(rate) = self.limits.per_second {
            // Two threads may have read the clock in one order and come here in the other.
            let passed = now.saturating_sub(state.filled);
            state.filled = state.filled.max(now);
            let flown = passed.as_nanos().saturating_mul(u128::from(rate.units));
            state.level = state.level.saturating_add(flown).min(u128::from(rate.burst) * SECOND);
            let needed = u128::from(cost.throughput) * SECOND;
            if needed > state.level {
                state.spent.too_fast += calls;
                let wait = (needed - state.level).div_ceil(u128::from(rate.units.max(1)));
                return Err(TooMuch::Rate(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))));
            }
            state.level -= needed;
        }
        state.spent.let_in += calls;
        state.spent.units += cost.units;
        state.spent.units_of_period += cost.units;
        Ok(Slip { units: cost.units, period: state.period })
    }

    /// Charges a request, and gives back what was set aside for it beyond that.
    pub fn settle(&self, slip: Slip, charged: u64) {
        let back = slip.units.saturating_sub(charged);
        let mut state = self.lock();
        state.spent.units = state.spent.units.saturating_sub(back);
        // A period that began meanwhile has nothing of it to give back.
        if slip.period == state.period {
            state.spent.units_of_period = state.spent.units_of_period.saturating_sub(back);
        }
    }

    fn turn(&self, state: &mut State, now: Duration) {
        let period = self.limits.quota.map_or(0, |quota| quota.period.index(now));
        if period > state.period {
            state.period = period;
            state.spent.units_of_period = 0;
        }
    }

    /// What a panicking test left behind is still a good count.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::clock::ManualClock;
    use crate::server::dialects::{quota, rate};

    /// 2024-12-31 23:59:00 UTC.
    const NEW_YEAR_S_EVE: u64 = 1_735_689_540;

    fn account(limits: Limits) -> (Arc<ManualClock>, Account) {
        let clock = Arc::new(ManualClock::at(NEW_YEAR_S_EVE));
        (Arc::clone(&clock), Account::new(limits, clock))
    }

    fn alchemy(per_second: u64, month: u64) -> Limits {
        Limits {
            prices: Prices::ALCHEMY,
            per_second: Some(PerSecond {
                units: per_second,
                burst: per_second,
                over: Over::by_status(&rate::ALCHEMY),
            }),
            quota: Some(Quota {
                units: month,
                period: Period::Month,
                over: Over::by_status(&quota::ALCHEMY),
            }),
        }
    }

    #[test]
    fn prices_are_those_of_the_facts() {
        let alchemy = |method| Prices::ALCHEMY.of(method);
        for (method, units) in [
            ("eth_chainId", 0),
            ("eth_blockNumber", 10),
            ("eth_getBlockByNumber", 20),
            ("eth_call", 26),
            ("eth_getLogs", 60),
        ] {
            assert_eq!(alchemy(method), Cost { units, throughput: units }, "{method}");
        }
        assert_eq!(alchemy("eth_getBlockReceipts"), Cost { units: 20, throughput: 500 });
        assert_eq!(Prices::INFURA.of("eth_getLogs").units, 255);
        // status, Alchemy's charge of 60, Infura's of 255
        for (status, of_alchemy, of_infura) in
            [(200, 60, 255), (400, 60, 5), (402, 0, 0), (403, 0, 0), (413, 60, 5), (429, 0, 0), (500, 60, 0)]
        {
            assert_eq!(Prices::ALCHEMY.charged(60, status), of_alchemy, "{status}");
            assert_eq!(Prices::INFURA.charged(255, status), of_infura, "{status}");
        }
    }

    #[test]
    fn a_client_at_exactly_the_rate_is_never_refused_and_one_above_it_gets_the_rate() {
        let cost = Cost { units: 60, throughput: 60 };
        let (clock, exact) = account(alchemy(500, 100_000_000));
        for _ in 0..10_000 {
            exact.admit(1, cost).unwrap();
            // 60 units at 500 a second.
            clock.advance(Duration::from_millis(120));
        }
        let (clock, greedy) = account(alchemy(500, 100_000_000));
        for _ in 0..100_000 {
            let _ = greedy.admit(1, cost);
            clock.advance(Duration::from_millis(10));
        }
        // A thousand seconds, and the bucket that was full at first.
        let most = 500 * 1_000 + 500;
        let units = greedy.spent().units;
        assert!(units <= most && units > most - 60, "{units} of {most}");
    }

    #[test]
    fn no_stretch_of_time_has_more_than_the_bucket_and_what_flowed_in() {
        let (clock, account) = account(alchemy(500, 100_000_000));
        let mut let_in: Vec<(u64, u64)> = Vec::new();
        let (mut now, mut state) = (0_u64, 9_u64);
        for _ in 0..3_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let step = (state >> 33) % 90;
            let throughput = [0, 10, 20, 26, 60, 500][usize::try_from((state >> 20) % 6).unwrap()];
            clock.advance(Duration::from_millis(step));
            now += step;
            match account.admit(1, Cost { units: throughput, throughput }) {
                Ok(_) => let_in.push((now, throughput)),
                Err(TooMuch::Rate(wait)) => assert!(wait > Duration::ZERO),
                Err(TooMuch::Quota) => panic!("no such limit"),
            }
        }
        for (at, (from, _)) in let_in.iter().enumerate() {
            let mut sum = 0;
            for (to, units) in &let_in[at..] {
                sum += units;
                assert!(sum * 1_000 <= 500 * 1_000 + 500 * (to - from), "{sum} units from {from} to {to} ms");
            }
        }
        assert_eq!(account.spent().units, let_in.iter().map(|(_, units)| units).sum::<u64>());
    }

    #[test]
    fn the_wait_that_is_told_is_the_shortest_that_helps() {
        let (clock, account) = account(alchemy(500, 100_000_000));
        let cost = Cost { units: 60, throughput: 60 };
        while account.admit(1, cost).is_ok() {}
        let Err(TooMuch::Rate(wait)) = account.admit(1, cost) else { panic!("the bucket is empty") };
        clock.advance(wait - Duration::from_nanos(1));
        assert!(matches!(account.admit(1, cost), Err(TooMuch::Rate(_))));
        clock.advance(Duration::from_nanos(1));
        account.admit(1, cost).unwrap();
    }

    #[test]
    fn a_quota_is_never_overdrawn_and_begins_anew_with_its_period() {
        let (clock, account) = account(alchemy(1_000_000, 150));
        let cost = Cost { units: 60, throughput: 60 };
        let slip = account.admit(1, cost).unwrap();
        let late = account.admit(1, cost).unwrap();
        assert_eq!(account.admit(1, cost), Err(TooMuch::Quota));
        account.admit(1, Cost { units: 30, throughput: 30 }).unwrap();
        assert_eq!(account.spent().units_of_period, 150);
        account.settle(slip, 0);
        account.admit(1, cost).unwrap();
        clock.advance(Duration::from_secs(59));
        assert_eq!(account.admit(1, cost), Err(TooMuch::Quota));
        clock.advance(Duration::from_secs(1));
        account.admit(1, cost).unwrap();
        let spent = account.spent();
        assert_eq!((spent.units, spent.units_of_period), (210, 60));
        assert_eq!((spent.let_in, spent.over_quota, spent.too_fast), (5, 2, 0));
        account.settle(late, 5);
        let spent = account.spent();
        assert_eq!(
            (spent.units, spent.units_of_period),
            (155, 60),
            "December's is not given back in January"
        );
    }

    #[test]
    fn threads_together_spend_no_more_than_the_quota() {
        let (_, account) = account(alchemy(1_000_000_000, 60 * 777 + 59));
        let cost = Cost { units: 60, throughput: 60 };
        let let_in: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..1_000).filter(|_| account.admit(1, cost).is_ok()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(let_in, 777);
        assert_eq!(account.spent().units, 60 * 777);
    }

    #[test]
    fn months_turn_where_the_calendar_turns() {
        let day = |date: &str| {
            let date: jiff::civil::Date = date.parse().unwrap();
            u64::try_from(date.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second()).unwrap()
                / DAY_SECONDS
        };
        for (date, next, turns) in [
            ("2024-02-28", "2024-02-29", 0),
            ("2024-02-29", "2024-03-01", 1),
            ("2024-12-31", "2025-01-01", 1),
            ("2025-02-28", "2025-03-01", 1),
            ("2025-06-14", "2025-06-15", 0),
        ] {
            assert_eq!(month_of(day(next)) - month_of(day(date)), turns, "{date}");
        }
        assert_eq!(month_of(day("2025-12-01")) - month_of(day("2024-12-01")), 12);
    }
}
