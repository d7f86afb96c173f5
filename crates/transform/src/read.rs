//! Bronze as it lies in the lake: found by listing, checked against its path, the registry and the day's blocks, and
//! decoded by its family.
//!
//! An object with a [`Flaw`] gives nothing to silver; the flaw becomes the reason of its gap.

mod prices;

pub use prices::{PricesDay, fills};

use crate::prices::OwnFeeds;
use futures::{StreamExt, TryStreamExt, stream};
use lake::bronze::{Audit, BronzeError, CsuOfDay, DayBlocks, DayOfChain, Header, LiquidationLogs, RawLog};
use lake::bronze::{CallRecord, Fill, LARGEST, ReadsAtBlock, Record, TvlSnapshot};
use lake::day::{Day, Zone};
use lake::digest::sha256_hex;
use lake::ledger::LedgerEntry;
use lake::path::{
    BronzeKey, audits_prefix, blocks_prefix, bronze_prefix, fills_prefix, ledger_entry, ledger_key,
    ledger_prefix, prices_prefix,
};
use lake::registry::{Csu, Registry};
use lake::status::Dataset;
use lake::store::{Got, Lake, StoreError};
use object_store::path::Path;
use protocols::oracle::chainlink::{self, FeedReading};
use protocols::oracle::defillama;
use protocols::token::printable;
use protocols::{Answers, BlockPace, DiscoveryError, LogReading, PriceAnswer, Snapshot, TokenAnswer};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Requests to the object store that are under way at one time.
const REQUESTS: usize = 32;
/// Objects that are held as bytes at one time.
const CHUNK: usize = 256;

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

/// What the lake lists for one month, without having read it.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// Chain-days with an object of their blocks.
    pub blocks: BTreeSet<NameAndDay>,
    /// CSU-days with an object.
    pub objects: BTreeSet<(NameAndDay, Dataset)>,
    /// Chain-days with an audit.
    pub audits: BTreeSet<NameAndDay>,
    /// Chain-days with a price book.
    pub prices: BTreeSet<NameAndDay>,
    /// Off-chain services and days with a fill.
    pub fills: BTreeSet<NameAndDay>,
    /// CSU-days with a ledger entry.
    pub ledger: BTreeSet<(NameAndDay, Dataset)>,
}

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

/// Lists bronze and ledger of the registry's CSUs and chains, by month (`YYYY-MM`).
///
/// # Errors
/// [`StoreError`] when the lake cannot be listed.
pub async fn list(lake: &Lake, registry: &Registry) -> Result<BTreeMap<String, Listed>, StoreError> {
    let chains: BTreeSet<&str> = registry.csus().map(|csu| csu.chain.as_str()).collect();
    let mut prefixes: Vec<Path> = chains
        .into_iter()
        .flat_map(|chain| [blocks_prefix(chain), audits_prefix(chain), prices_prefix(chain)])
        .collect();
    prefixes.push(fills_prefix(defillama::SERVICE));
    for csu in registry.csus() {
        for &dataset in Dataset::ALL {
            prefixes.push(bronze_prefix(dataset, &csu.id));
            prefixes.push(ledger_prefix(dataset, &csu.id));
        }
    }
    let found: Vec<Vec<Path>> = stream::iter(prefixes)
        .map(|prefix| async move { lake.list(&prefix).await })
        .buffered(REQUESTS)
        .try_collect()
        .await?;
    let mut months: BTreeMap<String, Listed> = BTreeMap::new();
    for path in found.into_iter().flatten() {
        match BronzeKey::parse(&path) {
            Some(BronzeKey::Blocks { chain, date }) => {
                months.entry(date.month()).or_default().blocks.insert((chain, date));
            }
            Some(BronzeKey::Tvl { csu, date }) => {
                months.entry(date.month()).or_default().objects.insert(((csu, date), Dataset::Tvl));
            }
            Some(BronzeKey::Liquidations { csu, date }) => {
                months.entry(date.month()).or_default().objects.insert(((csu, date), Dataset::Liquidations));
            }
            Some(BronzeKey::Audit { chain, date }) => {
                months.entry(date.month()).or_default().audits.insert((chain, date));
            }
            Some(BronzeKey::Prices { chain, date }) => {
                months.entry(date.month()).or_default().prices.insert((chain, date));
            }
            Some(BronzeKey::Fill { source, date }) => {
                months.entry(date.month()).or_default().fills.insert((source, date));
            }
            None => match ledger_key(&path) {
                Some((dataset, csu, date)) => {
                    months.entry(date.month()).or_default().ledger.insert(((csu, date), dataset));
                }
                None => {
                    tracing::warn!(%path, "is the path of no object that the lake knows, and is left alone")
                }
            },
        }
    }
    Ok(months)
}

/// Reads and decodes the objects of one month, in the current rayon pool: all but the audits and fills.
///
/// # Errors
/// [`StoreError`] when the lake cannot be read. What is wrong with an object is told in the object.
pub async fn month(
    lake: &Lake,
    expected: Expected<'_>,
    listed: &Listed,
    pool: &rayon::ThreadPool,
) -> Result<Month, StoreError> {
    let mut month = Month::default();
    let keys: Vec<&NameAndDay> = listed.blocks.iter().collect();
    for chunk in keys.chunks(CHUNK) {
        let path = |(chain, date): &NameAndDay| BronzeKey::Blocks { chain: chain.clone(), date: *date };
        let read = fetch(lake, chunk.iter().map(|key| path(key).path()).collect()).await?;
        let decoded: Vec<_> = pool.install(|| {
            chunk
                .par_iter()
                .zip(read)
                .filter_map(|(key, (path, bytes))| {
                    let bytes = bytes?;
                    Some(((*key).clone(), object(path, &bytes, |bytes| day_blocks(expected, key, bytes))))
                })
                .collect()
        });
        month.blocks.extend(decoded);
    }

    let keys: Vec<&NameAndDay> = listed.prices.iter().collect();
    for chunk in keys.chunks(CHUNK) {
        let path = |(chain, date): &NameAndDay| BronzeKey::Prices { chain: chain.clone(), date: *date };
        let read = fetch(lake, chunk.iter().map(|key| path(key).path()).collect()).await?;
        let blocks = &month.blocks;
        let decoded: Vec<_> = pool.install(|| {
            chunk
                .par_iter()
                .zip(read)
                .filter_map(|(key, (path, bytes))| {
                    let bytes = bytes?;
                    let content =
                        object(path, &bytes, |bytes| prices::price_book(expected, key, blocks, bytes));
                    Some(((*key).clone(), content))
                })
                .collect()
        });
        month.prices.extend(decoded);
    }

    enum Decoded {
        Snapshot(Object<SnapshotDay>),
        Logs(Object<LogsDay>),
    }
    let keys: Vec<&(NameAndDay, Dataset)> = listed.objects.iter().collect();
    for chunk in keys.chunks(CHUNK) {
        let paths = chunk.iter().map(|((csu, date), dataset)| BronzeKey::of(*dataset, csu, *date).path());
        let read = fetch(lake, paths.collect()).await?;
        let blocks = &month.blocks;
        let decoded: Vec<(NameAndDay, Decoded)> = pool.install(|| {
            chunk
                .par_iter()
                .zip(read)
                .filter_map(|((key, dataset), (path, bytes))| {
                    let bytes = bytes?;
                    // The listing asks for the registry's CSUs only.
                    let csu = expected.registry.csu(&key.0)?;
                    let of = OfCsu { expected, csu, date: key.1, blocks };
                    let decoded = match dataset {
                        Dataset::Tvl => Decoded::Snapshot(object(path, &bytes, |bytes| of.snapshot(bytes))),
                        Dataset::Liquidations => Decoded::Logs(object(path, &bytes, |bytes| of.logs(bytes))),
                    };
                    Some((key.clone(), decoded))
                })
                .collect()
        });
        for (key, decoded) in decoded {
            match decoded {
                Decoded::Snapshot(object) => drop(month.snapshots.insert(key, object)),
                Decoded::Logs(object) => drop(month.logs.insert(key, object)),
            }
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
    let digests: Vec<Option<(String, String)>> = stream::iter(keys)
        .map(|key| async move {
            let path = key.path();
            let sha256 = match lake.get_at_most(&path, LARGEST).await? {
                None => return Ok(None),
                Some(Got::Whole(bytes)) => sha256_hex(&bytes),
                Some(Got::TooLarge { sha256, .. }) => sha256,
            };
            Ok(Some((path.to_string(), sha256)))
        })
        .buffered(REQUESTS)
        .try_collect()
        .await?;
    Ok(digests.into_iter().flatten().collect())
}

/// Objects in the order of their paths, several at a time.
async fn fetch(lake: &Lake, paths: Vec<Path>) -> Result<Vec<(Path, Option<Got>)>, StoreError> {
    stream::iter(paths)
        .map(|path| async move {
            let bytes = lake.get_at_most(&path, LARGEST).await?;
            Ok((path, bytes))
        })
        .buffered(REQUESTS)
        .try_collect()
        .await
}

fn object<T>(path: Path, got: &Got, decode: impl FnOnce(&[u8]) -> Result<T, Flaw>) -> Object<T> {
    let path = path.to_string();
    match got {
        Got::Whole(bytes) => Object { path, sha256: sha256_hex(bytes), content: decode(bytes) },
        Got::TooLarge { size, sha256 } => {
            let content = Err(BronzeError::TooLarge { size: *size }.into());
            Object { path, sha256: sha256.clone(), content }
        }
    }
}

fn same<T: PartialEq + ToString>(what: &'static str, found: &T, expected: &T) -> Result<(), Flaw> {
    if found == expected {
        return Ok(());
    }
    let quoted = |value: &T| format!("`{}`", printable(&value.to_string(), 100));
    Err(Flaw::Stranger { what, found: quoted(found), expected: quoted(expected) })
}

fn day_of_chain(expected: Expected<'_>, chain: &str, date: Day, found: &DayOfChain) -> Result<(), Flaw> {
    same("chain", &found.chain, &chain.to_owned())?;
    let chain_id = expected.registry.chain(chain).map_or(0, |chain| chain.chain_id);
    same("chain id", &found.chain_id, &chain_id)?;
    same("day", &found.date, &date)?;
    if found.zone != expected.zone.name() {
        let (found, expected) = (printable(&found.zone, 100), expected.zone.name().to_owned());
        return Err(Flaw::OtherZone { found, expected });
    }
    let window = expected.zone.window(date).map_err(|error| Flaw::Stranger {
        what: "day",
        found: date.to_string(),
        expected: error.to_string().lines().next().unwrap_or_default().to_owned(),
    })?;
    same("a day that starts at", &found.day_start, &window.start)?;
    same("a day that ends at", &found.day_end, &window.end)
}

fn day_blocks(expected: Expected<'_>, (chain, date): &NameAndDay, bytes: &[u8]) -> Result<DayBlocks, Flaw> {
    let blocks = DayBlocks::from_bytes(bytes)?;
    day_of_chain(expected, chain, *date, &blocks.day)?;
    for header in [blocks.before, blocks.first, blocks.last, Some(blocks.after)].into_iter().flatten() {
        fits(&header)?;
    }
    Ok(blocks)
}

/// A day's blocks, which every object of the day leans on, and the path of the object that proves them.
fn proof<'a>(
    blocks: &'a BTreeMap<NameAndDay, Object<DayBlocks>>,
    key: &NameAndDay,
) -> Result<(&'a str, &'a DayBlocks), Flaw> {
    let path = || BronzeKey::Blocks { chain: key.0.clone(), date: key.1 }.to_string();
    let Some(object) = blocks.get(key) else {
        return Err(Flaw::Unproven { path: path(), why: "is not there".into() });
    };
    match &object.content {
        Ok(blocks) => Ok((&object.path, blocks)),
        Err(flaw) => Err(Flaw::Unproven { path: path(), why: format!("cannot be used: {flaw}") }),
    }
}

fn audit(
    expected: Expected<'_>,
    key: &NameAndDay,
    blocks: &BTreeMap<NameAndDay, Object<DayBlocks>>,
    bytes: &[u8],
) -> Result<Audit, Flaw> {
    let audit = Audit::from_bytes(bytes)?;
    day_of_chain(expected, &key.0, key.1, &audit.day)?;
    let (path, blocks) = proof(blocks, key)?;
    let has = blocks.span().map_or(0, |span| span.count());
    match audit.scans.iter().find(|scan| scan.blocks != has) {
        None => Ok(audit),
        Some(scan) => {
            let why = format!("a scan is of {} blocks, the day has {has}", scan.blocks);
            Err(Flaw::OtherBlocks { path: path.to_owned(), why })
        }
    }
}

/// Numbers that a column of 64 bits holds without loss in every reader.
fn fits(header: &Header) -> Result<(), Flaw> {
    const LARGEST: u64 = 1 << 53;
    if header.number < LARGEST && header.timestamp < LARGEST / 1_000_000 {
        return Ok(());
    }
    let what = format!("block {} at {} s", header.number, header.timestamp);
    Err(Flaw::TooLarge { what })
}

/// What an object of a CSU and a day is checked against.
#[derive(Clone, Copy)]
struct OfCsu<'a> {
    expected: Expected<'a>,
    csu: &'a Csu,
    date: Day,
    blocks: &'a BTreeMap<NameAndDay, Object<DayBlocks>>,
}

impl OfCsu<'_> {
    fn check(&self, found: &CsuOfDay) -> Result<(), Flaw> {
        same("CSU", &found.csu, &self.csu.id)?;
        same("family", &found.family, &self.csu.family)?;
        same("entry contract", &found.entry, &self.csu.entry)?;
        day_of_chain(self.expected, &self.csu.chain, self.date, &found.day)
    }

    fn proof(&self) -> Result<(&str, &DayBlocks), Flaw> {
        proof(self.blocks, &(self.csu.chain.clone(), self.date))
    }

    fn snapshot(&self, bytes: &[u8]) -> Result<SnapshotDay, Flaw> {
        let record = TvlSnapshot::from_bytes(bytes)?;
        self.check(&record.of)?;
        let block = record.reads.block;
        let (path, blocks) = self.proof()?;
        if blocks.last != Some(block) {
            let last = blocks.last.map_or_else(|| "the day has none".to_owned(), |last| named(&last));
            let why = format!("the snapshot is of {}, the day's last block: {last}", named(&block));
            return Err(Flaw::OtherBlocks { path: path.to_owned(), why });
        }
        let pace = BlockPace::of_day(blocks);
        let snapshot = self.family()?.read_snapshot(self.csu, &record.reads, pace);
        let snapshot = snapshot.map_err(SnapshotFault::from);
        Ok(SnapshotDay {
            block,
            calls: Calls::of(&record.reads.calls),
            snapshot: snapshot.and_then(without_repeats),
        })
    }

    fn logs(&self, bytes: &[u8]) -> Result<LogsDay, Flaw> {
        let record = LiquidationLogs::from_bytes(bytes)?;
        self.check(&record.of)?;
        let (path, blocks) = self.proof()?;
        let contradiction = |why: String| Flaw::OtherBlocks { path: path.to_owned(), why };
        if record.blocks != blocks.span() {
            let named = |span: Option<lake::span::BlockSpan>| {
                span.map_or_else(|| "no block".to_owned(), |span| span.to_string())
            };
            return Err(contradiction(format!(
                "the scan is of blocks {}, the day's blocks are {}",
                named(record.blocks),
                named(blocks.span())
            )));
        }
        for read in &record.reads {
            let ends = [blocks.first, blocks.last].into_iter().flatten();
            for end in ends.filter(|end| end.number == read.block.number) {
                if end != read.block {
                    let (found, there) = (named(&read.block), named(&end));
                    return Err(contradiction(format!("a log is of {found}, the day has {there}")));
                }
            }
        }
        for log in &record.logs {
            if i32::try_from(log.log_index).is_err() || i32::try_from(log.transaction_index).is_err() {
                return Err(Flaw::TooLarge {
                    what: format!("the index of log {} of block {}", log.log_index, log.block_number),
                });
            }
        }
        let family = self.family()?;
        let event = |reads: &ReadsAtBlock| {
            let (prices, tokens) = family.read_event_prices(self.csu, reads);
            let feeds = self.expected.registry.feeds(&self.csu.chain);
            let feeds = chainlink::readings(feeds, &Answers::new(&reads.calls));
            (reads.block.number, EventBlock { block: reads.block, prices, feeds, tokens })
        };
        Ok(LogsDay {
            has_blocks: record.blocks.is_some(),
            blocks_scanned: i64::try_from(record.scanned.count()).unwrap_or(i64::MAX),
            calls: Calls::of(record.reads.iter().flat_map(|reads| &reads.calls)),
            readings: family.read_logs(self.csu, &record.logs, &record.reads),
            events: record.reads.iter().map(event).collect(),
            logs: record.logs,
        })
    }

    /// The build refuses a registry with an unknown family before anything is read.
    fn family(&self) -> Result<&'static dyn protocols::Family, Flaw> {
        protocols::family(&self.csu.family).ok_or_else(|| Flaw::Stranger {
            what: "family",
            found: format!("`{}`", self.csu.family),
            expected: "a family that this build reads".into(),
        })
    }
}

fn named(header: &Header) -> String {
    format!("block {} ({:#x})", header.number, header.hash)
}

fn without_repeats(snapshot: Snapshot) -> Result<Snapshot, SnapshotFault> {
    let mut seen = BTreeSet::new();
    for reserve in &snapshot.reserves {
        if !seen.insert((&reserve.market_id, reserve.token, reserve.role)) {
            return Err(SnapshotFault::Twice {
                market: reserve.market_id.clone(),
                token: protocols::token::item(reserve.token),
            });
        }
    }
    Ok(snapshot)
}
