//! Bronze as it lies in the lake: found by listing, checked against its path, the registry and the day's blocks, and
//! decoded by its family.
//!
//! An object with a [`Flaw`] gives nothing to silver; the flaw becomes the reason of its gap.

mod decode;
mod fetching;
mod listing;
mod prices;

pub use listing::{Listed, list};
pub use prices::{PricesDay, fills};

use crate::prices::OwnFeeds;
use decode::{OfCsu, audit, day_blocks, same};
use fetching::{each, fetch, object};
use lake::bronze::{Audit, BronzeError, CallRecord, DayBlocks, Fill, Header, RawLog};
use lake::day::{Day, Zone};
use lake::digest::sha256_hex;
use lake::ledger::LedgerEntry;
use lake::path::{BronzeKey, ledger_entry};
use lake::registry::Registry;
use lake::status::Dataset;
use lake::store::{Got, Lake, StoreError};
use object_store::path::Path;
use protocols::oracle::chainlink::FeedReading;
use protocols::{DiscoveryError, LogReading, PriceAnswer, Snapshot, TokenAnswer};
use std::collections::{BTreeMap, BTreeSet};

/// Why an object is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It is not a sound record.
    #[error(transparent)]
    Record(#[from] BronzeError),
    /// It is a sound record of something else than its path and the registry say.
    #[error("it is of {what} {found}; its path and the registry say {expected}")]
    Stranger {
        /// What differs.
        what: &'static str,
        /// What the object says.
        found: String,
        /// What its path, the registry and the run's zone say.
        expected: String,
    },
    /// Its days are those of another zone than the run's.
    #[error("it is of zone `{found}`, the run is of zone `{expected}`")]
    OtherZone {
        /// What the object says.
        found: String,
        /// The run's.
        expected: String,
    },
    /// It contradicts the object with the day's blocks.
    #[error("it contradicts {path}: {why}")]
    OtherBlocks {
        /// Path of the object with the day's blocks.
        path: String,
        /// What differs.
        why: String,
    },
    /// The object with the day's blocks is not there or has a flaw itself.
    #[error("its blocks are not proven: {path} {why}")]
    Unproven {
        /// Path of the object with the day's blocks.
        path: String,
        /// What became of it.
        why: String,
    },
    /// A number in it is larger than any column holds.
    #[error("{what} is no number that a column holds")]
    TooLarge {
        /// Which number.
        what: String,
    },
    /// A ledger entry is not one.
    #[error("it is no ledger entry: {why}")]
    Ledger {
        /// The parser's words.
        why: String,
    },
}

impl Flaw {
    /// Whether the flaw is the object's own, so that deleting it and collecting it again mends it.
    pub fn is_own(&self) -> bool {
        !matches!(self, Self::Unproven { .. })
    }
}

/// An object of the lake: where it is, what it weighs in, what it says.
#[derive(Debug, Clone)]
pub struct Object<T> {
    /// Path in the lake.
    pub path: String,
    /// Digest of its bytes.
    pub sha256: String,
    /// What it says, or why it is of no use.
    pub content: Result<T, Flaw>,
}

impl<T> Object<T> {
    /// What the object says, if it is sound.
    pub fn sound(&self) -> Option<&T> {
        self.content.as_ref().ok()
    }
}

/// Calls of a record, and how many returned data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls in the record.
    pub planned: i64,
    /// Calls that succeeded and returned something.
    pub ok: i64,
}

impl Calls {
    fn of<'a>(calls: impl IntoIterator<Item = &'a CallRecord>) -> Self {
        calls.into_iter().fold(Self::default(), |sum, call| Self {
            planned: sum.planned + 1,
            ok: sum.ok + i64::from(call.ok && !call.output.is_empty()),
        })
    }
}

/// A snapshot that could not be read as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotFault {
    /// The family did not find its list of reserves.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The chain lists one reserve twice, which no table can hold.
    #[error("the chain lists {token} of market {market} twice")]
    Twice {
        /// Market.
        market: String,
        /// Token.
        token: String,
    },
}

/// A decoded snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotDay {
    /// Snapshot block.
    pub block: Header,
    /// Its calls.
    pub calls: Calls,
    /// What it says.
    pub snapshot: Result<Snapshot, SnapshotFault>,
}

/// What was read at the block of a liquidation.
#[derive(Debug, Clone)]
pub struct EventBlock {
    /// The block.
    pub block: Header,
    /// Oracle answers at it.
    pub prices: Vec<PriceAnswer>,
    /// Chainlink feeds that were asked for its tokens.
    pub feeds: Vec<FeedReading>,
    /// Tokens at it.
    pub tokens: Vec<TokenAnswer>,
}

impl EventBlock {
    /// Everyone whom the CSU asked at this block.
    pub fn own_feeds(&self) -> OwnFeeds {
        let of_feeds = self.feeds.iter().flat_map(|reading| &reading.prices);
        OwnFeeds::of(self.prices.iter().chain(of_feeds))
    }
}

/// Decoded liquidation logs of a day.
#[derive(Debug, Clone)]
pub struct LogsDay {
    /// Whether the day has blocks at all.
    pub has_blocks: bool,
    /// Blocks whose logs were read.
    pub blocks_scanned: i64,
    /// Calls at the blocks of its logs.
    pub calls: Calls,
    /// The logs.
    pub logs: Vec<RawLog>,
    /// What they say.
    pub readings: Vec<LogReading>,
    /// What was read at their blocks, by block number.
    pub events: BTreeMap<u64, EventBlock>,
}

/// A CSU or chain, and a day.
pub type NameAndDay = (String, Day);

/// Sound and unsound objects of one month.
#[derive(Debug, Clone, Default)]
pub struct Month {
    /// Blocks, by chain and day.
    pub blocks: BTreeMap<NameAndDay, Object<DayBlocks>>,
    /// Snapshots, by CSU and day.
    pub snapshots: BTreeMap<NameAndDay, Object<SnapshotDay>>,
    /// Liquidation logs, by CSU and day.
    pub logs: BTreeMap<NameAndDay, Object<LogsDay>>,
    /// Audits, by chain and day; read by [`audits`].
    pub audits: BTreeMap<NameAndDay, Object<Audit>>,
    /// Price books, by chain and day.
    pub prices: BTreeMap<NameAndDay, Object<PricesDay>>,
    /// Off-chain prices, by service and day; read by [`fills`].
    pub fills: BTreeMap<NameAndDay, Object<Fill>>,
}

impl Month {
    /// Path, digest and flaw of every object, in order of path.
    pub fn objects(&self) -> BTreeMap<&str, (&str, Option<&Flaw>)> {
        fn entries<T>(
            objects: &BTreeMap<NameAndDay, Object<T>>,
        ) -> impl Iterator<Item = (&str, (&str, Option<&Flaw>))> {
            objects
                .values()
                .map(|object| (object.path.as_str(), (object.sha256.as_str(), object.content.as_ref().err())))
        }
        let data = entries(&self.blocks).chain(entries(&self.snapshots)).chain(entries(&self.logs));
        let prices = entries(&self.prices).chain(entries(&self.fills));
        data.chain(prices).chain(entries(&self.audits)).collect()
    }
}

/// What a reader must know: the registry and the zone whose days the lake holds.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The registry.
    pub registry: &'a Registry,
    /// The zone of the days.
    pub zone: &'a Zone,
}

/// Reads and decodes the objects of one month, in a rayon pool: all but the audits and fills.
///
/// # Errors
/// [`StoreError`] when the lake cannot be read. What is wrong with an object is told in the object.
pub async fn month(
    lake: &Lake,
    expected: Expected<'_>,
    listed: &Listed,
    pool: &rayon::ThreadPool,
) -> Result<Month, StoreError> {
    let of_chain = |kind: fn(String, Day) -> BronzeKey| {
        move |(name, date): &&NameAndDay| kind(name.clone(), *date).path()
    };
    let path = of_chain(|chain, date| BronzeKey::Blocks { chain, date });
    let blocks = |key: &NameAndDay, path, got: Got| {
        Some((key.clone(), object(path, &got, |bytes| day_blocks(expected, key, bytes))))
    };
    let blocks: BTreeMap<_, _> =
        each(lake, pool, listed.blocks.iter().collect(), path, blocks).await?.into_iter().collect();

    let path = of_chain(|chain, date| BronzeKey::Prices { chain, date });
    let prices = |key: &NameAndDay, path, got: Got| {
        Some((key.clone(), object(path, &got, |bytes| prices::price_book(expected, key, &blocks, bytes))))
    };
    let prices = each(lake, pool, listed.prices.iter().collect(), path, prices).await?;

    enum Decoded {
        Snapshot(Object<SnapshotDay>),
        Logs(Object<LogsDay>),
    }
    let path = |((csu, date), dataset): &&(NameAndDay, Dataset)| BronzeKey::of(*dataset, csu, *date).path();
    let decoded = |(key, dataset): &(NameAndDay, Dataset), path, got: Got| {
        // The listing asks for the registry's CSUs only.
        let csu = expected.registry.csu(&key.0)?;
        let of = OfCsu { expected, csu, date: key.1, blocks: &blocks };
        let decoded = match dataset {
            Dataset::Tvl => Decoded::Snapshot(object(path, &got, |bytes| of.snapshot(bytes))),
            Dataset::Liquidations => Decoded::Logs(object(path, &got, |bytes| of.logs(bytes))),
        };
        Some((key.clone(), decoded))
    };
    let decoded = each(lake, pool, listed.objects.iter().collect(), path, decoded).await?;
    let mut month = Month { blocks, prices: prices.into_iter().collect(), ..Month::default() };
    for (key, decoded) in decoded {
        match decoded {
            Decoded::Snapshot(object) => drop(month.snapshots.insert(key, object)),
            Decoded::Logs(object) => drop(month.logs.insert(key, object)),
        }
    }
    Ok(month)
}

/// Reads the audits of one month, given its blocks. They are read for months that are built, and for no other: an audit
/// may be replaced, and the manifest must name the one that a month was built from.
///
/// # Errors
/// [`StoreError`] when the lake cannot be read. What is wrong with an audit is told in the object.
pub async fn audits(
    lake: &Lake,
    expected: Expected<'_>,
    listed: &Listed,
    blocks: &BTreeMap<NameAndDay, Object<DayBlocks>>,
) -> Result<BTreeMap<NameAndDay, Object<Audit>>, StoreError> {
    let path = |(chain, date): &NameAndDay| BronzeKey::Audit { chain: chain.clone(), date: *date }.path();
    let read = fetch(lake, listed.audits.iter().map(path).collect()).await?;
    Ok(listed
        .audits
        .iter()
        .zip(read)
        .filter_map(|(key, (path, bytes))| {
            let bytes = bytes?;
            Some((key.clone(), object(path, &bytes, |bytes| audit(expected, key, blocks, bytes))))
        })
        .collect())
}

/// Reads ledger entries. One that is gone since it was listed is left out.
///
/// # Errors
/// [`StoreError`] when the lake cannot be read.
pub async fn ledger(
    lake: &Lake,
    keys: &BTreeSet<(NameAndDay, Dataset)>,
) -> Result<BTreeMap<(NameAndDay, Dataset), Object<LedgerEntry>>, StoreError> {
    let paths = keys.iter().map(|((csu, date), dataset)| ledger_entry(*dataset, csu, *date)).collect();
    let read = fetch(lake, paths).await?;
    let entry = |key: &(NameAndDay, Dataset), bytes: &[u8]| -> Result<LedgerEntry, Flaw> {
        let entry: LedgerEntry =
            serde_json::from_slice(bytes).map_err(|error| Flaw::Ledger { why: error.to_string() })?;
        let ((csu, date), dataset) = key;
        same("CSU", &entry.csu, csu)?;
        same("day", &entry.date, date)?;
        same("dataset", &entry.dataset, dataset)?;
        Ok(entry)
    };
    Ok(keys
        .iter()
        .zip(read)
        .filter_map(|(key, (path, bytes))| {
            let bytes = bytes?;
            Some((key.clone(), object(path, &bytes, |bytes| entry(key, bytes))))
        })
        .collect())
}

/// Digests of the objects that [`month`] reads and, if asked for, of the audits and fills: by path, without decoding.
///
/// # Errors
/// [`StoreError`] when the lake cannot be read.
pub async fn digests(
    lake: &Lake,
    listed: &Listed,
    with_audits_and_fills: bool,
    pool: &rayon::ThreadPool,
) -> Result<BTreeMap<String, String>, StoreError> {
    let of_chain =
        |kind: fn(String, Day) -> BronzeKey| move |(name, date): &NameAndDay| kind(name.clone(), *date);
    let blocks = listed.blocks.iter().map(of_chain(|chain, date| BronzeKey::Blocks { chain, date }));
    let prices = listed.prices.iter().map(of_chain(|chain, date| BronzeKey::Prices { chain, date }));
    let objects = listed.objects.iter().map(|((csu, date), dataset)| BronzeKey::of(*dataset, csu, *date));
    let mut keys: Vec<BronzeKey> = blocks.chain(prices).chain(objects).collect();
    if with_audits_and_fills {
        keys.extend(listed.audits.iter().map(of_chain(|chain, date| BronzeKey::Audit { chain, date })));
        keys.extend(listed.fills.iter().map(of_chain(|source, date| BronzeKey::Fill { source, date })));
    }
    let digest = |_, path: Path, got| {
        let sha256 = match got {
            Got::Whole(bytes) => sha256_hex(&bytes),
            Got::TooLarge { sha256, .. } => sha256,
        };
        Some((path.to_string(), sha256))
    };
    Ok(each(lake, pool, keys, BronzeKey::path, digest).await?.into_iter().collect())
}
