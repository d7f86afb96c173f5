//! What requests cost, how fast a key may spend, and what it has spent this month.
//!
//! A tariff is a row of the providers file; a purse is one key's (or one keyless endpoint's) pace and month. All endpoints
//! of a key share its purse, on whatever chains. What was spent is kept in the lake's `state/quota`, under the name of the
//! variable that holds the key, never the key.

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use lake::Lake;
use lake::store::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

/// Share of a month that is spent; the rest is left for what cannot wait.
const MONTHLY_SHARE: f64 = 0.9;
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

    fn dearest(&self) -> u32 {
        self.cost.values().copied().chain([self.other, 1]).max().unwrap_or(1)
    }

    /// Units a second at which requests are sent. A bucket that holds the dearest request and fills at this rate lets no
    /// second have more than the tariff's units in it.
    pub fn pace(&self) -> f64 {
        (self.units_per_second - f64::from(self.dearest())).max(self.units_per_second / 2.0)
    }
}

/// A month that is spent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{purse} has spent {spent} of its {of} {unit} of {month}; it goes on at {resumes}")]
pub struct MonthSpent {
    /// The purse.
    pub purse: String,
    /// Units spent.
    pub spent: u64,
    /// Units of the month.
    pub of: u64,
    /// Unit.
    pub unit: String,
    /// The month, `YYYY-MM`.
    pub month: String,
    /// When the next month begins, UTC.
    pub resumes: String,
}

/// One key's pace and month.
pub struct Purse {
    name: String,
    tariff: Tariff,
    limiter: DefaultDirectRateLimiter,
    account: Mutex<Account>,
}

/// What a purse has spent in a month.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    month: String,
    spent: u64,
}

impl std::fmt::Debug for Purse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Purse").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Purse {
    /// A full purse. `name` is printed: the variable that holds the key, or a label.
    pub fn new(name: &str, tariff: Tariff) -> Self {
        let cells = |units: f64| NonZeroU32::new((units * THOUSANDTHS) as u32).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(cells(tariff.pace())).allow_burst(cells(f64::from(tariff.dearest())));
        Self {
            name: name.to_owned(),
            limiter: RateLimiter::direct(quota),
            account: Mutex::new(Account { month: month_now(), spent: 0 }),
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
        self.account.lock().unwrap_or_else(PoisonError::into_inner).spent
    }

    /// Pays for a request: waits until the pace allows it, and books it.
    ///
    /// # Errors
    /// [`MonthSpent`] when the month has no room for it; nothing is booked.
    pub async fn pay(&self, method: &str) -> Result<(), MonthSpent> {
        let cost = self.tariff.cost(method);
        self.book(u64::from(cost))?;
        let cells = cost.saturating_mul(THOUSANDTHS as u32);
        if let Some(cells) = NonZeroU32::new(cells) {
            // The bucket holds the dearest request of the tariff, so none is too dear for it.
            if self.limiter.until_n_ready(cells).await.is_err() {
                tracing::warn!("{}: {method} costs more than its bucket holds", self.name);
            }
        }
        Ok(())
    }

    fn book(&self, cost: u64) -> Result<(), MonthSpent> {
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let month = month_now();
        if account.month != month {
            *account = Account { month, spent: 0 };
        }
        let after = account.spent.saturating_add(cost);
        if let Some(of) = self.tariff.units_per_month
            && after as f64 > of as f64 * MONTHLY_SHARE
        {
            return Err(MonthSpent {
                purse: self.name.clone(),
                spent: account.spent,
                of,
                unit: self.tariff.unit.clone(),
                resumes: next_month(&account.month),
                month: account.month.clone(),
            });
        }
        account.spent = after;
        Ok(())
    }

    /// Takes up what earlier runs on this lake have spent this month.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_up(&self, lake: &Lake) -> Result<(), StoreError> {
        // An account that cannot be read counts as empty, as in a new lake.
        let kept = lake.get(&lake::path::quota(&self.name)).await?;
        let kept = kept.and_then(|bytes| serde_json::from_slice::<Account>(&bytes).ok());
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.filter(|kept| kept.month == account.month) {
            account.spent = account.spent.max(kept.spent);
        }
        Ok(())
    }

    /// Writes down what is spent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep(&self, lake: &Lake) -> Result<(), StoreError> {
        if self.tariff.units_per_month.is_none() {
            return Ok(());
        }
        let account = self.account.lock().unwrap_or_else(PoisonError::into_inner).clone();
        lake.replace_json(&lake::path::quota(&self.name), &account).await
    }
}

fn month_now() -> String {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    format!("{:04}-{:02}", now.year(), now.month())
}

/// First instant of the month after `YYYY-MM`, UTC.
fn next_month(month: &str) -> String {
    let first = format!("{month}-01").parse::<jiff::civil::Date>();
    let next = first.ok().and_then(|first| first.checked_add(jiff::Span::new().months(1)).ok());
    next.map_or_else(|| "the next month".to_owned(), |next| format!("{next}T00:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn alchemy(per_second: f64, per_month: Option<u64>) -> Tariff {
        Tariff {
            operator: "alchemy".into(),
            unit: "CU".into(),
            units_per_second: per_second,
            units_per_month: per_month,
            cost: BTreeMap::from([("eth_getLogs".into(), 60), ("eth_chainId".into(), 0)]),
            other: 26,
            source: "a test".into(),
        }
    }

    #[tokio::test]
    async fn a_month_ends_before_it_is_overdrawn_and_says_when_it_goes_on() {
        let purse = Purse::new("ALCHEMY_KEY_1", alchemy(1e6, Some(1_000)));
        let mut paid = 0;
        let refusal = loop {
            match purse.pay("eth_getLogs").await {
                Ok(()) => paid += 60,
                Err(refusal) => break refusal,
            }
        };
        assert_eq!((paid, purse.spent()), (900, 900));
        assert!(
            refusal.to_string().starts_with("ALCHEMY_KEY_1 has spent 900 of its 1000 CU of 20"),
            "{refusal}"
        );
        assert!(refusal.to_string().ends_with("-01T00:00:00Z"), "{refusal}");
        assert_eq!(next_month("2026-12"), "2027-01-01T00:00:00Z");
        purse.pay("eth_chainId").await.unwrap();
    }

    #[tokio::test]
    async fn what_is_spent_outlives_the_run() {
        let lake = Lake::open("memory:///").unwrap();
        let first = Purse::new("ALCHEMY_KEY_1", alchemy(1e6, Some(1_000)));
        first.pay("eth_getLogs").await.unwrap();
        first.keep(&lake).await.unwrap();
        let second = Purse::new("ALCHEMY_KEY_1", alchemy(1e6, Some(1_000)));
        second.take_up(&lake).await.unwrap();
        assert_eq!(second.spent(), 60);
        let other = Purse::new("ALCHEMY_KEY_2", alchemy(1e6, Some(1_000)));
        other.take_up(&lake).await.unwrap();
        assert_eq!(other.spent(), 0);
    }

    #[tokio::test]
    async fn requests_are_weighed() {
        let purse = Purse::new("k", alchemy(660.0, None));
        assert_eq!(purse.tariff().pace(), 600.0);
        let began = Instant::now();
        // The first finds a full bucket; each further one waits a tenth of a second.
        for _ in 0..4 {
            purse.pay("eth_getLogs").await.unwrap();
        }
        // A lower bound only: a busy machine may be slower, never faster than the pace.
        assert!(began.elapsed() >= Duration::from_millis(290), "{:?}", began.elapsed());
    }

    #[test]
    fn half_a_request_a_second_is_a_pace() {
        assert_eq!(Tariff::by_requests("x", 0.5).pace(), 0.25);
        assert_eq!(Tariff::by_requests("x", 8.0).pace(), 7.0);
    }
}
