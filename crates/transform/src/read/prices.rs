//! Prices that belong to no CSU: the chain's price book, and what off-chain services were asked to fill gaps.

use super::decode::{day_of_chain, fits, named, proof, same};
use super::fetching::{fetch, object};
use super::{Expected, Flaw, Listed, NameAndDay, Object};
use lake::B256;
use lake::bronze::{DayBlocks, Fill, Header, PriceBook, Record};
use lake::path::BronzeKey;
use lake::store::{Lake, StoreError};
use protocols::Answers;
use protocols::oracle::chainlink::{self, FeedReading};
use protocols::token::printable;
use std::collections::BTreeMap;

/// A chain's Chainlink feeds at the day's last block.
#[derive(Debug, Clone)]
pub struct PricesDay {
    /// The block.
    pub block: Header,
    /// What the feeds of the registry answered that were asked.
    pub feeds: Vec<FeedReading>,
}

/// Reads the off-chain prices of one month: like audits, for months that are built, since a fill may grow.
///
/// # Errors
/// [`StoreError`] when the lake cannot be read. What is wrong with a fill is told in the object.
pub async fn fills(
    lake: &Lake,
    expected: Expected<'_>,
    listed: &Listed,
) -> Result<BTreeMap<NameAndDay, Object<Fill>>, StoreError> {
    let path = |(source, date): &NameAndDay| BronzeKey::Fill { source: source.clone(), date: *date }.path();
    let read = fetch(lake, listed.fills.iter().map(path).collect()).await?;
    let decoded = listed.fills.iter().zip(read).filter_map(|(key, (path, bytes))| {
        let bytes = bytes?;
        Some((key.clone(), object(path, &bytes, |bytes| fill(expected, key, bytes))))
    });
    Ok(decoded.collect())
}

pub(super) fn price_book(
    expected: Expected<'_>,
    key: &NameAndDay,
    blocks: &BTreeMap<NameAndDay, Object<DayBlocks>>,
    bytes: &[u8],
) -> Result<PricesDay, Flaw> {
    let PriceBook { day, reads } = PriceBook::from_bytes(bytes)?;
    day_of_chain(expected, &key.0, key.1, &day)?;
    let (path, blocks) = proof(blocks, key)?;
    if blocks.last != Some(reads.block) {
        let last = blocks.last.map_or_else(|| "the day has none".to_owned(), |last| named(&last));
        let why = format!("the price book is of {}, the day's last block: {last}", named(&reads.block));
        return Err(Flaw::OtherBlocks { path: path.to_owned(), why });
    }
    let feeds = chainlink::readings(expected.registry.feeds(&key.0), &Answers::new(&reads.calls));
    Ok(PricesDay { block: reads.block, feeds })
}

fn fill(expected: Expected<'_>, (source, date): &NameAndDay, bytes: &[u8]) -> Result<Fill, Flaw> {
    let fill = Fill::from_bytes(bytes)?;
    same("service", &fill.source, source)?;
    same("day", &fill.date, date)?;
    if fill.zone != expected.zone.name() {
        let (found, expected) = (printable(&fill.zone, 100), expected.zone.name().to_owned());
        return Err(Flaw::OtherZone { found, expected });
    }
    let header = |number, timestamp| Header { number, timestamp, hash: B256::ZERO, parent_hash: B256::ZERO };
    for price in &fill.prices {
        fits(&header(price.block, price.timestamp))?;
    }
    Ok(fill)
}
