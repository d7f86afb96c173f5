//! What requests cost, how fast a key may spend, and what it has spent this month.
//!
//! A tariff is a row of the providers file; a purse is one key's (or one keyless endpoint's) pace and month. All endpoints
//! of a key share its purse, on whatever chains. What was spent is kept in the lake's `state/quota`, under the name of the
//! variable that holds the key, never the key.

use crate::rpc::clock::Clock;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lake::Lake;
use lake::store::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Share of a month or day that is spent; the rest is left for what cannot wait.
pub const QUOTA_SHARE: f64 = 0.9;
/// Share of the allowed rate that is used where whole requests do not fill it exactly.
const RATE_SHARE: f64 = 0.96;
/// Late wake-ups that the bucket makes good.
const SLACK_SECONDS: f64 = 0.002;
/// Share of a month that is written down ahead of its being spent, so that a killed run forgets nothing.
const AHEAD_SHARE: f64 = 0.001;
/// The limiter counts thousandths of a unit, so that half a request a second can be said.
const THOUSANDTHS: f64 = 1_000.0;

/// What an operator charges. Defaults to one unit a request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tariff {
    /// Operator that charges it.
    pub operator: String,
    /// Name of the unit: `CU`, `credits`, `requests`.
    pub unit: String,
    /// Units that a key may spend a second.
    pub units_per_second: f64,
    /// Units that a key has a month.
    #[serde(default)]
    pub units_per_month: Option<u64>,
    /// Units that a key has a day, UTC.
    #[serde(default)]
    pub units_per_day: Option<u64>,
    /// Units of each method.
    #[serde(default)]
    pub cost: BTreeMap<String, u32>,
    /// Units of every other method.
    pub other: u32,
    /// Where this is stated.
    pub source: String,
}

impl Tariff {
    /// A tariff of so many requests a second, without a month.
    pub fn by_requests(operator: &str, per_second: f64) -> Self {
        Self {
            operator: operator.to_owned(),
            unit: "requests".to_owned(),
            units_per_second: per_second,
            units_per_month: None,
            units_per_day: None,
            cost: BTreeMap::new(),
            other: 1,
            source: String::new(),
        }
    }

    /// Units of one request.
    pub fn cost(&self, method: &str) -> u32 {
        self.cost.get(method).copied().unwrap_or(self.other)
    }

    /// What is wrong with the row, if anything.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn check(&self) -> Result<(), String> {
        let rate = self.units_per_second;
        if self.source.trim().is_empty() {
            return Err("the tariff has no source: say where it is stated".into());
        }
        if !(rate.is_finite() && rate > 0.0 && rate <= 1e6) {
            return Err("`units_per_second` must be a positive number up to a million".into());
        }
        Ok(())
    }

    /// The part of it that one of several processes on one key may use: rate, month and day by this share.
    #[must_use]
    pub fn scaled(&self, share: f64) -> Self {
        let part = |units: u64| (units as f64 * share) as u64;
        Self {
            units_per_second: self.units_per_second * share,
            units_per_month: self.units_per_month.map(part),
            units_per_day: self.units_per_day.map(part),
            ..self.clone()
        }
    }

    fn dearest(&self) -> u32 {
        self.cost.values().copied().chain([self.other, 1]).max().unwrap_or(1)
    }

    /// Units a second at which requests are sent: as many whole requests of the dearest kind as the rate holds, so that no
    /// second has one too many, or nearly the rate where that would waste more of it.
    pub fn pace(&self) -> f64 {
        let dearest = f64::from(self.dearest());
        let whole = (self.units_per_second / dearest).floor() * dearest;
        whole.max(self.units_per_second * RATE_SHARE) * 0.9999
    }

    /// Seconds of the pace that one request takes: what units of different operators are compared by.
    pub fn seconds(&self, method: &str) -> f64 {
        f64::from(self.cost(method)) / self.pace()
    }
}

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
    account: Mutex<Account>,
    book: tokio::sync::Mutex<Book>,
}

/// What a purse has spent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    month: String,
    spent: u64,
    #[serde(default)]
    day: String,
    #[serde(default)]
    spent_today: u64,
}

impl Account {
    /// Without what was carried over from other books, in the periods of which that was.
    fn without(self, carried: &Self) -> Self {
        let is = |own: &str, other: &str| u64::from(own == other);
        let (month, day) = (is(&self.month, &carried.month), is(&self.day, &carried.day));
        Self {
            spent: self.spent.saturating_sub(carried.spent * month),
            spent_today: self.spent_today.saturating_sub(carried.spent_today * day),
            ..self
        }
    }
}

/// Where the account is kept, and up to which sum it is written down.
#[derive(Default)]
struct Book {
    lake: Option<Lake>,
    /// Name of the object where it is not the purse's own: a process that shares its key keeps a book of its own.
    name: Option<String>,
    written: Option<(String, u64)>,
    /// What others have spent of this key, as far as it counts here. Never written: it stands in their books.
    carried: Account,
}

impl std::fmt::Debug for Purse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Purse").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Purse {
    /// A full purse. `name` is printed: the variable that holds the key, or a label.
    pub fn new(name: &str, tariff: Tariff, clock: Clock) -> Self {
        let cells = |units: f64| NonZeroU32::new((units * THOUSANDTHS) as u32).unwrap_or(NonZeroU32::MIN);
        let pace = tariff.pace();
        let burst = f64::from(tariff.dearest()) + pace * SLACK_SECONDS;
        let quota = Quota::per_second(cells(pace)).allow_burst(cells(burst));
        let (month, day) = periods(clock.timestamp());
        Self {
            name: name.to_owned(),
            limiter: RateLimiter::direct_with_clock(quota, clock),
            clock,
            turn: tokio::sync::Mutex::default(),
            held_until: Mutex::default(),
            is_closed: AtomicBool::new(false),
            under_way: Arc::default(),
            account: Mutex::new(Account { month, day, ..Account::default() }),
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

    /// Units spent this month.
    pub fn spent(&self) -> u64 {
        self.account().spent
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
        if self.is_closed.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        let cost = self.tariff.cost(method);
        let _turn = self.turn.lock().await;
        while let Some(until) = self.held() {
            tokio::time::sleep_until(until).await;
        }
        // It may have been closed while this request waited for its turn.
        if self.is_closed.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        self.book(u64::from(cost)).await?;
        let Some(cells) = NonZeroU32::new(cost.saturating_mul(THOUSANDTHS as u32)) else { return Ok(()) };
        loop {
            match self.limiter.check_n(cells) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(not_yet)) => tokio::time::sleep(not_yet.wait_time_from(self.clock.now())).await,
                // The bucket holds the dearest request of the tariff, so none is too dear for it.
                Err(_) => {
                    tracing::warn!("{}: {method} costs more than its bucket holds", self.name);
                    return Ok(());
                }
            }
        }
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

    /// Sends nothing more for so long: the operator said that this key is too fast, wherever it is used.
    pub fn hold(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut held = self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(held.map_or(until, |known| known.max(until)));
    }

    fn held(&self) -> Option<Instant> {
        let held = *self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        held.filter(|until| *until > Instant::now())
    }

    fn account(&self) -> Account {
        self.account.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        let quotas = [
            (self.tariff.units_per_month, account.spent, &account.month, next_month(now)),
            (self.tariff.units_per_day, account.spent_today, &account.day, next_day(now)),
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
        let after = self.account_after(cost)?;
        *self.account.lock().unwrap_or_else(PoisonError::into_inner) = after.clone();
        let Some(of_month) =
            self.tariff.units_per_month.or(self.tariff.units_per_day.map(|units| units * 31))
        else {
            return Ok(());
        };
        let mut book = self.book.lock().await;
        let is_written = book
            .written
            .as_ref()
            .is_some_and(|(month, spent)| *month == after.month && *spent >= after.spent);
        if let Some(lake) = book.lake.clone().filter(|_| !is_written) {
            let ahead = (of_month as f64 * AHEAD_SHARE) as u64;
            let written = Account {
                spent: after.spent.saturating_add(ahead),
                spent_today: after.spent_today.saturating_add(ahead),
                ..after
            };
            let own = written.clone().without(&book.carried);
            // A book that cannot be written is told at the end of the run, by `keep`.
            if lake.replace_json(&self.book_path(&book), &own).await.is_ok() {
                book.written = Some((written.month, written.spent));
            }
        }
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
        let own = part.map(|part| format!("{}.{part}", self.name));
        let fellows = part.and_then(|part| Some(format!("-of-{}.json", part.rsplit_once("-of-")?.1)));
        let mut book = self.book.lock().await;
        (book.lake, book.name) = (Some(lake.clone()), own);
        let own_path = self.book_path(&book);
        let (month, day) = periods(self.clock.timestamp());
        let mut kept = Account { month: month.clone(), day: day.clone(), ..Account::default() };
        let mut carried = kept.clone();
        for path in lake.list(&lake::path::quota_prefix()).await? {
            let Some(file) = path.filename() else { continue };
            let rest = file.strip_prefix(self.name.as_str());
            let is_of_a_part = rest.is_some_and(|rest| rest.starts_with('.') && rest.contains("-of-"));
            if rest != Some(".json") && !is_of_a_part {
                continue;
            }
            // An account that cannot be read counts as empty, as in a new lake.
            let Some(read) = lake.get(&path).await? else { continue };
            let Ok(read) = serde_json::from_slice::<Account>(&read) else { continue };
            let is_fellows =
                share < 1.0 && fellows.as_ref().is_some_and(|fellows| file.ends_with(fellows.as_str()));
            let (to, counts) = match path == own_path {
                true => (&mut kept, 1.0),
                false if is_fellows => continue,
                false => (&mut carried, share),
            };
            let part = |units: u64| (units as f64 * counts).ceil() as u64;
            if read.month == month {
                to.spent = to.spent.saturating_add(part(read.spent));
            }
            if read.day == day {
                to.spent_today = to.spent_today.saturating_add(part(read.spent_today));
            }
        }
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        if account.month == month {
            account.spent = account.spent.max(kept.spent.saturating_add(carried.spent));
        }
        if account.day == day {
            account.spent_today =
                account.spent_today.max(kept.spent_today.saturating_add(carried.spent_today));
        }
        book.carried = carried;
        Ok(())
    }

    fn book_path(&self, book: &Book) -> lake::path::Path {
        lake::path::quota(book.name.as_deref().unwrap_or(&self.name))
    }

    /// Writes down exactly what is spent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep(&self) -> Result<(), StoreError> {
        let mut book = self.book.lock().await;
        let has_quota = self.tariff.units_per_month.is_some() || self.tariff.units_per_day.is_some();
        let Some(lake) = book.lake.clone().filter(|_| has_quota) else { return Ok(()) };
        let account = self.account();
        lake.replace_json(&self.book_path(&book), &account.clone().without(&book.carried)).await?;
        book.written = Some((account.month, account.spent));
        Ok(())
    }
}

/// What each key has spent by month, in all its books: those of shards are added up.
///
/// # Errors
/// [`StoreError`].
pub async fn spent(lake: &Lake) -> Result<BTreeMap<String, BTreeMap<String, u64>>, StoreError> {
    let mut spent: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for path in lake.list(&lake::path::quota_prefix()).await? {
        let Some(name) = path.filename().and_then(|name| name.strip_suffix(".json")) else { continue };
        let Some(bytes) = lake.get(&path).await? else { continue };
        // As in `take_up`: an account that cannot be read counts as empty.
        let Ok(account) = serde_json::from_slice::<Account>(&bytes) else { continue };
        let key =
            name.rsplit_once('.').filter(|(_, part)| part.contains("-of-")).map_or(name, |(key, _)| key);
        let month = spent.entry(key.to_owned()).or_default().entry(account.month).or_default();
        *month = month.saturating_add(account.spent);
    }
    Ok(spent)
}

/// Month and day of a moment, UTC.
fn periods(now: Timestamp) -> (String, String) {
    let date = now.to_zoned(TimeZone::UTC).date();
    (date.strftime("%Y-%m").to_string(), date.to_string())
}

fn next_month(now: Timestamp) -> Timestamp {
    midnight(now.to_zoned(TimeZone::UTC).date().last_of_month().tomorrow())
}

fn next_day(now: Timestamp) -> Timestamp {
    midnight(now.to_zoned(TimeZone::UTC).date().tomorrow())
}

/// Neither fails before the year 9999.
fn midnight(day: Result<jiff::civil::Date, jiff::Error>) -> Timestamp {
    let midnight = day.and_then(|day| day.to_zoned(TimeZone::UTC));
    midnight.map_or(Timestamp::MAX, |midnight| midnight.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alchemy(per_second: f64, per_month: Option<u64>) -> Tariff {
        Tariff {
            operator: "alchemy".into(),
            unit: "CU".into(),
            units_per_second: per_second,
            units_per_month: per_month,
            units_per_day: None,
            cost: BTreeMap::from([("eth_getLogs".into(), 60), ("eth_chainId".into(), 0)]),
            other: 26,
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
        purse.hold(Duration::from_secs(7));
        let began = Instant::now();
        purse.pay("eth_call").await.unwrap();
        assert!(began.elapsed() >= Duration::from_secs(7));
    }
}
