//! The account of a key, and the books in the lake in which it is kept: one a key, or one a shard.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lake::Lake;
use lake::store::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a purse has spent. Fields of a later version are passed over: an account that counts as empty is spent twice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) month: String,
    pub(super) spent: u64,
    #[serde(default)]
    pub(super) day: String,
    #[serde(default)]
    pub(super) spent_today: u64,
}

impl Account {
    /// Adds a share of another account, where it is of the same periods.
    pub(super) fn add(&mut self, other: &Self, share: f64) {
        let part = |units: u64| (units as f64 * share).ceil() as u64;
        if other.month == self.month {
            self.spent = self.spent.saturating_add(part(other.spent));
        }
        if other.day == self.day {
            self.spent_today = self.spent_today.saturating_add(part(other.spent_today));
        }
    }

    /// Takes in what others have written into the book since it was seen last: runs at the same time share a key's month,
    /// not its second.
    pub(super) fn take_in(&mut self, now: &Self, seen: &Self) {
        let since = |is_same: bool, now: u64, seen: u64| now.saturating_sub(if is_same { seen } else { 0 });
        if now.month == self.month {
            self.spent += since(now.month == seen.month, now.spent, seen.spent);
        }
        if now.day == self.day {
            self.spent_today += since(now.day == seen.day, now.spent_today, seen.spent_today);
        }
    }
}

/// Where the account is kept, what stood there when it was last read or written, and up to which sum this run may spend
/// without writing.
#[derive(Default)]
pub(super) struct Book {
    pub(super) shelf: Option<Shelf>,
    pub(super) seen: Account,
    pub(super) written: Option<(String, u64)>,
}

/// Where the books of a key stand, and which of them is this process's.
#[derive(Clone)]
pub(super) struct Shelf {
    pub(super) lake: Lake,
    /// The shard that keeps a book of its own.
    pub(super) part: Option<String>,
    /// The process's share of the key.
    pub(super) share: f64,
}

/// The books of a key, as they stand now.
pub(super) struct Books {
    pub(super) own: Account,
    /// What stands in all others, as far as it counts here.
    pub(super) others: Account,
}

impl Shelf {
    /// The process's own book.
    pub(super) fn path(&self, purse: &str) -> lake::path::Path {
        match &self.part {
            Some(part) => lake::path::quota(&format!("{purse}.{part}")),
            None => lake::path::quota(purse),
        }
    }

    /// All books of the key. One that cannot be understood counts as empty, as in a new lake.
    pub(super) async fn read(
        &self,
        purse: &str,
        (month, day): (String, String),
    ) -> Result<Books, StoreError> {
        let own_path = self.path(purse);
        // All parts of one division, when each has a share.
        let fellows = self.part.as_deref().filter(|_| self.share < 1.0).and_then(division_of);
        let mut books =
            Books { own: Account::default(), others: Account { month, day, ..Account::default() } };
        for path in self.lake.list(&lake::path::quota_prefix()).await? {
            let Some((key, part)) = key_and_part(&path) else { continue };
            let is_own = path == own_path;
            let is_fellows = fellows.is_some() && part.and_then(division_of) == fellows;
            if !is_own && (is_fellows || key != purse) {
                continue;
            }
            let Some(bytes) = self.lake.get(&path).await? else { continue };
            let Ok(account) = serde_json::from_slice::<Account>(&bytes) else { continue };
            match is_own {
                true => books.own = account,
                false => books.others.add(&account, self.share),
            }
        }
        Ok(books)
    }
}

/// Of which key a book is, and of which part where the key is divided: `KEY.json`, or `KEY.2-of-5.json`.
fn key_and_part(book: &lake::path::Path) -> Option<(&str, Option<&str>)> {
    let name = book.filename()?.strip_suffix(".json")?;
    let of_part = name.rsplit_once('.').filter(|(_, part)| division_of(part).is_some());
    Some(of_part.map_or((name, None), |(key, part)| (key, Some(part))))
}

/// The 5 of `2-of-5`.
fn division_of(part: &str) -> Option<&str> {
    part.rsplit_once("-of-").map(|(_, of)| of)
}

/// What each key has spent by month, in all its books: those of shards are added up.
///
/// # Errors
/// [`StoreError`].
pub async fn spent(lake: &Lake) -> Result<BTreeMap<String, BTreeMap<String, u64>>, StoreError> {
    let mut spent: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for path in lake.list(&lake::path::quota_prefix()).await? {
        let Some((key, _)) = key_and_part(&path) else { continue };
        let Some(bytes) = lake.get(&path).await? else { continue };
        // As in `take_up`: an account that cannot be read counts as empty.
        let Ok(account) = serde_json::from_slice::<Account>(&bytes) else { continue };
        let month = spent.entry(key.to_owned()).or_default().entry(account.month).or_default();
        *month = month.saturating_add(account.spent);
    }
    Ok(spent)
}

/// Month and day of a moment, UTC.
pub(crate) fn periods(now: Timestamp) -> (String, String) {
    let date = now.to_zoned(TimeZone::UTC).date();
    (date.strftime("%Y-%m").to_string(), date.to_string())
}

pub(super) fn next_month(now: Timestamp) -> Timestamp {
    midnight(now.to_zoned(TimeZone::UTC).date().last_of_month().tomorrow())
}

pub(super) fn next_day(now: Timestamp) -> Timestamp {
    midnight(now.to_zoned(TimeZone::UTC).date().tomorrow())
}

/// Neither fails before the year 9999.
fn midnight(day: Result<jiff::civil::Date, jiff::Error>) -> Timestamp {
    let midnight = day.and_then(|day| day.to_zoned(TimeZone::UTC));
    midnight.map_or(Timestamp::MAX, |midnight| midnight.timestamp())
}
