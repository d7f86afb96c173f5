//! What an object says, once it is known to be of its path, the registry and the day's blocks.

use super::{Calls, EventBlock, Expected, Flaw, LogsDay, NameAndDay, Object, SnapshotDay, SnapshotFault};
use lake::bronze::{
    Audit, CsuOfDay, DayBlocks, DayOfChain, Header, LiquidationLogs, ReadsAtBlock, Record, TvlSnapshot,
};
use lake::day::Day;
use lake::path::BronzeKey;
use lake::registry::Csu;
use protocols::oracle::chainlink;
use protocols::token::printable;
use protocols::{Answers, BlockPace, Snapshot};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn same<T: PartialEq + ToString>(what: &'static str, found: &T, expected: &T) -> Result<(), Flaw> {
    if found == expected {
        return Ok(());
    }
    let quoted = |value: &T| format!("`{}`", printable(&value.to_string(), 100));
    Err(Flaw::Stranger { what, found: quoted(found), expected: quoted(expected) })
}

pub(super) fn day_of_chain(
    expected: Expected<'_>,
    chain: &str,
    date: Day,
    found: &DayOfChain,
) -> Result<(), Flaw> {
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

pub(super) fn day_blocks(
    expected: Expected<'_>,
    (chain, date): &NameAndDay,
    bytes: &[u8],
) -> Result<DayBlocks, Flaw> {
    let blocks = DayBlocks::from_bytes(bytes)?;
    day_of_chain(expected, chain, *date, &blocks.day)?;
    for header in [blocks.before, blocks.first, blocks.last, Some(blocks.after)].into_iter().flatten() {
        fits(&header)?;
    }
    Ok(blocks)
}

/// A day's blocks, which every object of the day leans on, and the path of the object that proves them.
pub(super) fn proof<'a>(
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

pub(super) fn audit(
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
pub(super) fn fits(header: &Header) -> Result<(), Flaw> {
    const LARGEST: u64 = 1 << 53;
    if header.number < LARGEST && header.timestamp < LARGEST / 1_000_000 {
        return Ok(());
    }
    let what = format!("block {} at {} s", header.number, header.timestamp);
    Err(Flaw::TooLarge { what })
}

/// What an object of a CSU and a day is checked against.
#[derive(Clone, Copy)]
pub(super) struct OfCsu<'a> {
    pub(super) expected: Expected<'a>,
    pub(super) csu: &'a Csu,
    pub(super) date: Day,
    pub(super) blocks: &'a BTreeMap<NameAndDay, Object<DayBlocks>>,
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

    pub(super) fn snapshot(&self, bytes: &[u8]) -> Result<SnapshotDay, Flaw> {
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

    pub(super) fn logs(&self, bytes: &[u8]) -> Result<LogsDay, Flaw> {
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

pub(super) fn named(header: &Header) -> String {
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
