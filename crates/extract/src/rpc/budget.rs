//! What requests cost, how fast a key may spend, and what it has spent this month.
//!
//! A tariff is a row of the providers file; a purse is one key's (or one keyless endpoint's) pace and month. All endpoints
//! of a key share its purse, on whatever chains. What was spent is kept in the lake's `state/quota`, under the name of the
//! variable that holds the key, never the key.

mod book;
mod tariff;

use crate::rpc::clock::Clock;
use book::{Account, Book, Shelf, next_day, next_month};
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use jiff::Timestamp;
use lake::Lake;
use lake::store::StoreError;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

pub(crate) use book::periods;
pub use book::spent;
pub use tariff::Tariff;

/// Share of a month or day that is spent; the rest is left for what cannot wait.
pub const QUOTA_SHARE: f64 = 0.9;
/// Late wake-ups that the bucket makes good, where the operator's holds more than one request.
const SLACK_SECONDS: f64 = 0.002;
/// Share of a month that is written down ahead of its being spent, so that a killed run forgets nothing.
const AHEAD_SHARE: f64 = 0.001;
/// What is left of the pace after the operator said that the key is too fast, again and again down to [`SLOWEST`].
const SLOWER: f64 = 0.7;
const SLOWEST: f64 = 0.1;
/// By how much it grows back in every minute without such a word.
const FASTER: f64 = 1.05;
/// Such words within so short a time are one: they are about requests that were under way together.
const ONE_WORD: Duration = Duration::from_secs(1);
/// The limiter counts thousandths of a unit, so that half a request a second can be said.
const THOUSANDTHS: f64 = 1_000.0;

/// A month or a day that is spent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{purse} has spent {spent} of its {of} {unit} of {period}; it goes on at {resumes}")]
pub struct QuotaSpent {
    /// The purse.
    pub purse: String,
    /// Units spent.
    pub spent: u64,
    /// Units of the period.
    pub of: u64,
    /// Unit.
    pub unit: String,
    /// The period, `YYYY-MM` or `YYYY-MM-DD`.
    pub period: String,
    /// When the next one begins, UTC.
    pub resumes: Timestamp,
}

/// A request that is paid for and under way.
#[derive(Debug)]
pub struct Paid(Arc<AtomicUsize>);

impl Drop for Paid {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One key's pace, month and day.
pub struct Purse {
    name: String,
    tariff: Tariff,
    clock: Clock,
    limiter: RateLimiter<NotKeyed, InMemoryState, Clock, NoOpMiddleware<Duration>>,
    /// Requests pay in the order in which they come. Holds the time before which nothing is sent.
    turn: tokio::sync::Mutex<()>,
    held_until: Mutex<Option<Instant>>,
    is_closed: AtomicBool,
    under_way: Arc<AtomicUsize>,
    eagerness: Mutex<Eagerness>,
    /// What stands in the book, and what was spent since.
    account: Mutex<Account>,
    /// What stands in the other books of the key, as far as it counts here.
    others: Mutex<Account>,
    book: tokio::sync::Mutex<Book>,
}

/// The share of the pace that is used: all of it, until the operator objects.
#[derive(Debug, Clone, Copy)]
struct Eagerness {
    share: f64,
    told_off: Option<Instant>,
}

impl Eagerness {
    /// The share now, grown back since the operator last objected.
    fn now(self) -> f64 {
        let minutes = self.told_off.map_or(0.0, |at| (at.elapsed().as_secs_f64() / 60.0).floor());
        (self.share * FASTER.powf(minutes)).min(1.0)
    }
}

impl std::fmt::Debug for Purse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Purse").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Purse {
    /// A purse from which nothing was spent. `name` is printed: the variable that holds the key, or a label.
    pub fn new(name: &str, tariff: Tariff, clock: Clock) -> Self {
        let cells = |units: f64| NonZeroU32::new((units * THOUSANDTHS) as u32).unwrap_or(NonZeroU32::MIN);
        let (pace, dearest) = (tariff.pace(), f64::from(tariff.dearest()));
        let slack = (pace * SLACK_SECONDS).min(tariff.units_per_second - dearest).max(0.0);
        let burst = cells(dearest + slack);
        let limiter =
            RateLimiter::direct_with_clock(Quota::per_second(cells(pace)).allow_burst(burst), clock);
        // It begins empty: a run that was killed a moment ago may have spent all that the operator's bucket held. What does
        // not fit into the bucket cannot be taken out of it, and this does.
        drop(limiter.check_n(burst));
        let (month, day) = periods(clock.timestamp());
        Self {
            name: name.to_owned(),
            limiter,
            clock,
            turn: tokio::sync::Mutex::default(),
            held_until: Mutex::default(),
            is_closed: AtomicBool::new(false),
            under_way: Arc::default(),
            eagerness: Mutex::new(Eagerness { share: 1.0, told_off: None }),
            account: Mutex::new(Account { month, day, ..Account::default() }),
            others: Mutex::default(),
            book: tokio::sync::Mutex::default(),
            tariff,
        }
    }

    /// Name of the purse.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its tariff.
    pub fn tariff(&self) -> &Tariff {
        &self.tariff
    }

    /// Units spent this month, in all books of the key.
    pub fn spent(&self) -> u64 {
        self.with_others(self.account()).spent
    }

    /// Whether a request of the method can still be paid, and if not, until when.
    pub fn is_spent(&self, method: &str) -> Option<QuotaSpent> {
        self.account_after(u64::from(self.tariff.cost(method))).err()
    }

    /// Pays for a request: waits until the pace allows it, and books it.
    ///
    /// # Errors
    /// [`QuotaSpent`] when the month or the day has no room for it; nothing is booked.
    pub async fn pay(&self, method: &str) -> Result<(), QuotaSpent> {
        self.pay_all(&[self.tariff.cost(method)]).await
    }

    /// Pays for a JSON-RPC batch of so many requests: all of it before anybody else pays, for it will be sent at once.
    ///
    /// # Errors
    /// As [`Purse::pay`].
    pub async fn pay_batch(&self, method: &str, members: usize) -> Result<(), QuotaSpent> {
        let mut costs = vec![self.tariff.cost(method); members];
        costs.extend((self.tariff.batch > 0).then_some(self.tariff.batch));
        self.pay_all(&costs).await
    }

    async fn pay_all(&self, costs: &[u32]) -> Result<(), QuotaSpent> {
        if self.is_closed.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        let _turn = self.turn.lock().await;
        while let Some(until) = self.held() {
            tokio::time::sleep_until(until).await;
        }
        // It may have been closed while this request waited for its turn.
        if self.is_closed.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        self.book(costs.iter().map(|cost| u64::from(*cost)).sum()).await?;
        for cost in costs {
            let Some(cells) = NonZeroU32::new(cost.saturating_mul(THOUSANDTHS as u32)) else { continue };
            loop {
                match self.limiter.check_n(cells) {
                    Ok(Ok(())) => break,
                    Ok(Err(not_yet)) => tokio::time::sleep(not_yet.wait_time_from(self.clock.now())).await,
                    // The bucket holds the dearest request of the tariff, so none is too dear for it.
                    Err(_) => {
                        tracing::warn!("{}: {cost} units are more than its bucket holds", self.name);
                        break;
                    }
                }
            }
            let share = self.share_of_pace();
            if share < 1.0 {
                // In its turn, so that those who come after wait as well. The bucket fills meanwhile, so this is all that
                // the next one waits.
                let longer = f64::from(*cost) / self.tariff.pace() / share;
                tokio::time::sleep(Duration::from_secs_f64(longer)).await;
            }
        }
        Ok(())
    }

    /// Pays for nothing from now on: whoever asks waits for ever. What is paid for goes on.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// A request that is paid for is under way until what is returned is dropped.
    pub fn begin(&self) -> Paid {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Paid(Arc::clone(&self.under_way))
    }

    /// Requests that are paid for and not yet answered.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Sends nothing for so long and then more slowly: the operator said that this key is too fast, wherever it is used.
    /// The pace grows back, for the word may have been about one bad moment.
    pub fn too_fast(&self, wait: Duration) {
        let mut eagerness = self.eagerness.lock().unwrap_or_else(PoisonError::into_inner);
        if eagerness.told_off.is_none_or(|at| at.elapsed() >= ONE_WORD) {
            let share = (eagerness.now() * SLOWER).max(SLOWEST);
            *eagerness = Eagerness { share, told_off: Some(Instant::now()) };
        }
        let until = Instant::now() + wait;
        let mut held = self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(held.map_or(until, |known| known.max(until)));
    }

    /// Share of the tariff's pace that is used at present.
    pub fn share_of_pace(&self) -> f64 {
        self.eagerness.lock().unwrap_or_else(PoisonError::into_inner).now()
    }

    /// Whether a request waits for its turn to pay: then what comes late is late by our own pace.
    pub fn is_waited_for(&self) -> bool {
        self.turn.try_lock().is_err()
    }

    /// Whether more than so large a share of the month and of the day is left.
    pub fn has_left(&self, share: f64) -> bool {
        // Nothing more to pay, so the account as it is in today's periods.
        let Ok(account) = self.account_after(0) else { return false };
        let account = self.with_others(account);
        let quotas =
            [(self.tariff.units_per_month, account.spent), (self.tariff.units_per_day, account.spent_today)];
        quotas.iter().all(|(of, spent)| of.is_none_or(|of| *spent as f64 <= of as f64 * (1.0 - share)))
    }

    fn held(&self) -> Option<Instant> {
        let held = *self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        held.filter(|until| *until > Instant::now())
    }

    fn account(&self) -> Account {
        self.account.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An account of this purse with what the other books of the key add to it.
    fn with_others(&self, mut account: Account) -> Account {
        account.add(&self.others.lock().unwrap_or_else(PoisonError::into_inner), 1.0);
        account
    }

    /// The account with so much more spent, in today's periods.
    fn account_after(&self, cost: u64) -> Result<Account, QuotaSpent> {
        let mut account = self.account();
        let now = self.clock.timestamp();
        let (month, day) = periods(now);
        if account.month != month {
            account = Account { month, spent: 0, ..account };
        }
        if account.day != day {
            account = Account { day, spent_today: 0, ..account };
        }
        let of_key = self.with_others(account.clone());
        let quotas = [
            (self.tariff.units_per_month, of_key.spent, &of_key.month, next_month(now)),
            (self.tariff.units_per_day, of_key.spent_today, &of_key.day, next_day(now)),
        ];
        for (of, spent, period, resumes) in quotas {
            if let Some(of) = of
                && spent.saturating_add(cost) as f64 > of as f64 * QUOTA_SHARE
            {
                return Err(QuotaSpent {
                    purse: self.name.clone(),
                    spent,
                    of,
                    unit: self.tariff.unit.clone(),
                    period: period.clone(),
                    resumes,
                });
            }
        }
        account.spent = account.spent.saturating_add(cost);
        account.spent_today = account.spent_today.saturating_add(cost);
        Ok(account)
    }

    async fn book(&self, cost: u64) -> Result<(), QuotaSpent> {
        let mut after = self.account_after(cost)?;
        let of_month = self.tariff.units_per_month.or(self.tariff.units_per_day.map(|units| units * 31));
        let mut book = self.book.lock().await;
        let is_written = book
            .written
            .as_ref()
            .is_some_and(|(month, spent)| *month == after.month && *spent >= after.spent);
        let to_write = book.shelf.clone().filter(|_| !is_written);
        if let (Some(shelf), Some(of_month)) = (to_write, of_month) {
            // A book that cannot be read or written is told at the end of the run, by `keep`.
            if self.take_in(&mut book, &shelf).await.is_ok() {
                after = self.account_after(cost)?;
            }
            let ahead = (of_month as f64 * AHEAD_SHARE) as u64;
            let written = Account {
                spent: after.spent.saturating_add(ahead),
                spent_today: after.spent_today.saturating_add(ahead),
                ..after.clone()
            };
            if shelf.lake.replace_json(&shelf.path(&self.name), &written).await.is_ok() {
                book.written = Some((written.month.clone(), written.spent));
                book.seen = written;
            }
        }
        *self.account.lock().unwrap_or_else(PoisonError::into_inner) = after;
        Ok(())
    }

    /// Takes up what earlier runs on this lake have spent, and keeps its account there from now on, a little ahead of what
    /// is spent: a run that is killed leaves no unit uncounted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_up(&self, lake: &Lake) -> Result<(), StoreError> {
        self.take_up_as(lake, None, 1.0).await
    }

    /// As [`Purse::take_up`], for one of several processes that may use the key at once: `part` is its shard's name, under which
    /// it keeps a book of its own, and `share` its share of the key. What stands in the other books of the key counts by
    /// that share; the books of its own fellows do not, when each has a share.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_up_as(&self, lake: &Lake, part: Option<&str>, share: f64) -> Result<(), StoreError> {
        let shelf = Shelf { lake: lake.clone(), part: part.map(str::to_owned), share };
        let mut book = self.book.lock().await;
        self.take_in(&mut book, &shelf).await?;
        book.shelf = Some(shelf);
        Ok(())
    }

    /// Takes in what others have written into the books of the key since they were read last.
    async fn take_in(&self, book: &mut Book, shelf: &Shelf) -> Result<(), StoreError> {
        let books = shelf.read(&self.name, periods(self.clock.timestamp())).await?;
        self.account.lock().unwrap_or_else(PoisonError::into_inner).take_in(&books.own, &book.seen);
        *self.others.lock().unwrap_or_else(PoisonError::into_inner) = books.others;
        book.seen = books.own;
        Ok(())
    }

    /// Writes down exactly what is spent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep(&self) -> Result<(), StoreError> {
        let mut book = self.book.lock().await;
        let has_quota = self.tariff.units_per_month.is_some() || self.tariff.units_per_day.is_some();
        let Some(shelf) = book.shelf.clone().filter(|_| has_quota) else { return Ok(()) };
        self.take_in(&mut book, &shelf).await?;
        let account = self.account();
        shelf.lake.replace_json(&shelf.path(&self.name), &account).await?;
        book.written = Some((account.month.clone(), account.spent));
        book.seen = account;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn alchemy(per_second: f64, per_month: Option<u64>) -> Tariff {
        Tariff {
            operator: "alchemy".into(),
            unit: "CU".into(),
            units_per_second: per_second,
            units_per_month: per_month,
            units_per_day: None,
            cost: BTreeMap::from([("eth_getLogs".into(), 60), ("eth_chainId".into(), 0)]),
            other: 26,
            batch: 0,
            source: "a test".into(),
        }
    }

    fn purse(tariff: Tariff) -> Purse {
        Purse::new("ALCHEMY_KEY_1", tariff, Clock::start())
    }

    async fn spend_all(purse: &Purse) -> (u64, QuotaSpent) {
        let mut paid = 0;
        loop {
            match purse.pay("eth_getLogs").await {
                Ok(()) => paid += 60,
                Err(refusal) => return (paid, refusal),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_month_ends_before_it_is_overdrawn_and_says_when_it_goes_on() {
        let purse = purse(alchemy(1e6, Some(1_000)));
        let (paid, refusal) = spend_all(&purse).await;
        assert_eq!((paid, purse.spent()), (900, 900));
        let text = refusal.to_string();
        assert!(text.starts_with("ALCHEMY_KEY_1 has spent 900 of its 1000 CU of 20"), "{text}");
        assert!(text.ends_with("-01T00:00:00Z"), "{text}");
        purse.pay("eth_chainId").await.unwrap();
        // The next month is as full as the first.
        let wait = refusal.resumes.duration_since(purse.clock.timestamp());
        tokio::time::advance(wait.unsigned_abs() + Duration::from_secs(1)).await;
        assert_eq!(spend_all(&purse).await.0, 900);
    }

    #[tokio::test(start_paused = true)]
    async fn a_day_ends_as_a_month_does() {
        let purse = purse(Tariff { units_per_day: Some(300), ..alchemy(1e6, None) });
        let (paid, refusal) = spend_all(&purse).await;
        assert_eq!((paid, refusal.of), (240, 300));
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert_eq!(spend_all(&purse).await.0, 240);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_spent_outlives_the_run_and_a_kill() {
        let lake = Lake::open("memory:///").unwrap();
        let first = purse(alchemy(1e6, Some(100_000)));
        first.take_up(&lake).await.unwrap();
        for _ in 0..3 {
            first.pay("eth_getLogs").await.unwrap();
        }
        // Killed here: a tenth of a percent of the month is counted that may not have been spent, never less.
        let killed = purse(alchemy(1e6, Some(100_000)));
        killed.take_up(&lake).await.unwrap();
        assert!((180..=180 + 100).contains(&killed.spent()), "{}", killed.spent());
        first.keep().await.unwrap();
        let ended = purse(alchemy(1e6, Some(100_000)));
        ended.take_up(&lake).await.unwrap();
        assert_eq!(ended.spent(), 180);
        let other = Purse::new("ALCHEMY_KEY_2", alchemy(1e6, Some(100_000)), Clock::start());
        other.take_up(&lake).await.unwrap();
        assert_eq!(other.spent(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn runs_at_the_same_time_share_a_month() {
        let lake = Lake::open("memory:///").unwrap();
        let tariff = || Tariff { units_per_day: Some(80_000), ..alchemy(1e6, Some(100_000)) };
        let purses = [purse(tariff()), purse(tariff()), purse(tariff())];
        for purse in &purses {
            purse.take_up(&lake).await.unwrap();
        }
        let (mut paid, mut refused) = (0, 0);
        while refused < 300 {
            for purse in &purses {
                match purse.pay("eth_getLogs").await {
                    Ok(()) => paid += 60,
                    Err(_) => refused += 1,
                }
                if paid % 7 == 0 {
                    purse.keep().await.unwrap();
                }
            }
        }
        // Of the day's 72,000 units each may hold back what it wrote ahead.
        assert!((71_000..=72_000).contains(&paid), "{paid}");
        let after = purse(tariff());
        after.take_up(&lake).await.unwrap();
        assert!(after.spent() >= paid, "{} of {paid}", after.spent());
    }

    #[tokio::test(start_paused = true)]
    async fn nearly_all_of_a_rate_is_used_and_no_second_has_more_than_it() {
        for (tariff, method) in [
            (alchemy(500.0, None), "eth_getLogs"),
            (Tariff::by_requests("official", 5.0), "eth_getLogs"),
            (Tariff::by_requests("slow", 0.5), "eth_call"),
        ] {
            let cost = f64::from(tariff.cost(method));
            let allowed = tariff.units_per_second;
            let purse = purse(tariff);
            let began = Instant::now();
            let mut sent: Vec<f64> = Vec::new();
            while began.elapsed() < Duration::from_secs(100) {
                purse.pay(method).await.unwrap();
                sent.push(began.elapsed().as_secs_f64());
            }
            let used = sent.len() as f64 * cost / 100.0;
            assert!(used >= 0.95 * allowed, "{used} of {allowed}");
            let seconds = cost.max(allowed) / allowed;
            for (index, from) in sent.iter().enumerate() {
                let within = sent[index..].iter().take_while(|at| **at < from + seconds - 0.003).count();
                assert!(within as f64 * cost <= allowed * seconds + 1e-6, "{within} requests from {from}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_was_too_fast_waits_everywhere() {
        let purse = purse(alchemy(1e6, None));
        purse.too_fast(Duration::from_secs(7));
        let began = Instant::now();
        purse.pay("eth_call").await.unwrap();
        assert!(began.elapsed() >= Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pace_that_was_too_fast_is_slowed_down_once_a_moment_and_grows_back() {
        let purse = purse(Tariff::by_requests("official", 10.0));
        let a_hundred = async || {
            let began = Instant::now();
            for _ in 0..100 {
                purse.pay("eth_call").await.unwrap();
            }
            began.elapsed().as_secs_f64()
        };
        let usual = a_hundred().await;
        // Eight requests that were under way together were refused.
        (0..8).for_each(|_| purse.too_fast(Duration::ZERO));
        let slower = a_hundred().await;
        assert!((slower / usual - 1.0 / SLOWER).abs() < 0.03, "{slower} after {usual}");
        for _ in 0..20 {
            tokio::time::advance(ONE_WORD).await;
            purse.too_fast(Duration::ZERO);
        }
        assert!((purse.share_of_pace() - SLOWEST).abs() < 1e-9);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert!((purse.share_of_pace() - 1.0).abs() < 1e-9);
        assert!((a_hundred().await / usual - 1.0).abs() < 0.03);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_known_of_month_and_day() {
        let purse = purse(Tariff { units_per_day: Some(1_000), ..alchemy(1e6, Some(100_000)) });
        assert!(purse.has_left(0.99));
        for _ in 0..13 {
            purse.pay("eth_getLogs").await.unwrap();
        }
        assert!(purse.has_left(0.2) && !purse.has_left(0.25), "780 of 1,000 are spent");
    }
}
