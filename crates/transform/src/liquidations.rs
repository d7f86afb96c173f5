//! The rows of `liquidation` and `reject`: every log of the day is in one of the two, none is dropped.
//!
//! A leg is priced at its own block; where that block has no price, at the day's last block, and says so.

use crate::prices::{At, NoPrice, OwnFeeds, PriceBook, Valuation};
use crate::read::{EventBlock, LogsDay, Month, SnapshotDay};
use crate::reserves::is_excluded;
use lake::amount::whole_tokens;
use lake::bronze::RawLog;
use lake::day::Day;
use lake::digest::sha256_hex;
use lake::registry::{Chain, Csu, Registry};
use lake::schema::Seconds;
use lake::schema::silver::{Liquidation, Reject};
use lake::status::PriceBasis;
use lake::{Address, U256};
use protocols::token::item;
use protocols::{Leg, LogReading, TokenAnswer};
use std::collections::{BTreeMap, BTreeSet};

/// A family lost, invented or counted twice a log: its decoder is wrong, and nothing of it may be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{path}: of {logs} logs the family `{family}` read {legs} as liquidations, rejected {rejected} and passed over {context}: {why}\nhint: this is a fault of the family's `read_logs` in crates/protocols"
)]
pub struct LogsLost {
    /// The bronze object.
    pub path: String,
    /// The family.
    pub family: String,
    /// Logs in the object.
    pub logs: usize,
    /// Logs with at least one leg.
    pub legs: usize,
    /// Logs rejected.
    pub rejected: usize,
    /// Logs that were there for their neighbours.
    pub context: usize,
    /// Which log.
    pub why: String,
}

/// The rows of a month.
///
/// # Errors
/// [`LogsLost`] when logs in are not legs and rejects out.
pub fn rows(
    registry: &Registry,
    month: &Month,
    prices: &mut PriceBook,
) -> Result<(Vec<Liquidation>, Vec<Reject>), LogsLost> {
    let (mut legs, mut rejects) = (Vec::new(), Vec::new());
    for (key, object) in &month.logs {
        let Some(day) = object.sound() else { continue };
        let Some((csu, chain)) = registry.csu(&key.0).and_then(|csu| Some((csu, registry.chain_of(csu)?)))
        else {
            continue;
        };
        conserved(day).map_err(|lost| LogsLost {
            path: object.path.clone(),
            family: csu.family.clone(),
            ..lost
        })?;
        let snapshot = month.snapshots.get(key).and_then(|object| object.sound());
        let of = OfDay {
            registry,
            csu,
            chain,
            date: key.1,
            day,
            day_end: snapshot.and_then(DayEnd::of),
            own: day.events.iter().map(|(number, event)| (*number, event.own_feeds())).collect(),
            sha256: &object.sha256,
        };
        let logs: BTreeMap<(u64, u64), &RawLog> =
            day.logs.iter().map(|log| ((log.block_number, log.log_index), log)).collect();
        for reading in &day.readings {
            match reading {
                LogReading::Leg(leg) => {
                    if let Some(log) = logs.get(&(leg.block_number, leg.log_index)) {
                        legs.push(of.leg(leg, log, prices));
                    }
                }
                LogReading::Reject { block_number, log_index, why } => {
                    if let Some(log) = logs.get(&(*block_number, *log_index)) {
                        rejects.push(of.reject(log, why));
                    }
                }
                LogReading::Context { .. } => {}
            }
        }
    }
    Ok((legs, rejects))
}

/// Logs in = logs with legs + rejected logs + logs for their neighbours, each exactly once.
fn conserved(day: &LogsDay) -> Result<(), LogsLost> {
    let logs: BTreeSet<(u64, u64)> = day.logs.iter().map(|log| (log.block_number, log.log_index)).collect();
    let (mut with_legs, mut rejected, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut context = BTreeSet::new();
    let mut why = None;
    let mut complain = |(block, index): (u64, u64), what: &str| {
        why.get_or_insert(format!("log {index} of block {block} {what}"));
    };
    for reading in &day.readings {
        let log = match reading {
            LogReading::Leg(leg) => {
                let log = (leg.block_number, leg.log_index);
                with_legs.insert(log);
                if i32::try_from(leg.leg).is_err() || !keys.insert((log, leg.leg)) {
                    complain(log, "has one leg twice");
                }
                log
            }
            LogReading::Reject { block_number, log_index, .. } => {
                let log = (*block_number, *log_index);
                if !rejected.insert(log) {
                    complain(log, "is rejected twice");
                }
                log
            }
            LogReading::Context { block_number, log_index } => {
                let log = (*block_number, *log_index);
                if !context.insert(log) {
                    complain(log, "is passed over twice");
                }
                log
            }
        };
        if !logs.contains(&log) {
            complain(log, "is none of the object's");
        }
    }
    let kinds = [&with_legs, &rejected, &context];
    let times = |log: &(u64, u64)| kinds.iter().filter(|kind| kind.contains(log)).count();
    for log in &logs {
        match times(log) {
            0 => complain(*log, "is neither"),
            1 => {}
            _ => complain(*log, "is both"),
        }
    }
    match why {
        None => Ok(()),
        Some(why) => Err(LogsLost {
            path: String::new(),
            family: String::new(),
            logs: logs.len(),
            legs: with_legs.len(),
            rejected: rejected.len(),
            context: context.len(),
            why,
        }),
    }
}

/// What the day's snapshot offers where the event's block has nothing.
struct DayEnd<'a> {
    block: u64,
    own: OwnFeeds,
    tokens: &'a [TokenAnswer],
}

impl<'a> DayEnd<'a> {
    fn of(day: &'a SnapshotDay) -> Option<Self> {
        let snapshot = day.snapshot.as_ref().ok()?;
        Some(Self { block: day.block.number, own: OwnFeeds::of(&snapshot.prices), tokens: &snapshot.tokens })
    }
}

struct OfDay<'a> {
    registry: &'a Registry,
    csu: &'a Csu,
    chain: &'a Chain,
    date: Day,
    day: &'a LogsDay,
    day_end: Option<DayEnd<'a>>,
    own: BTreeMap<u64, OwnFeeds>,
    sha256: &'a str,
}

/// What is known of a token for one leg.
#[derive(Clone, Copy)]
struct Side {
    decimals: Option<u8>,
    valuation: Valuation,
    basis: PriceBasis,
}

impl Side {
    fn tokens(self, raw: U256) -> Option<f64> {
        self.decimals.map(|decimals| whole_tokens(raw, decimals))
    }

    fn usd(self, raw: U256) -> Option<f64> {
        self.valuation.usd(raw.is_zero(), self.tokens(raw))
    }
}

impl OfDay<'_> {
    fn side(&self, token: Address, block: u64, prices: &mut PriceBook) -> Side {
        let of_token = |tokens: &[TokenAnswer]| {
            tokens.iter().find(|answer| answer.token == token).and_then(|answer| answer.decimals)
        };
        let event: Option<&EventBlock> = self.day.events.get(&block);
        let decimals = event
            .and_then(|event| of_token(&event.tokens))
            .or_else(|| self.day_end.as_ref().and_then(|end| of_token(end.tokens)));
        if is_excluded(self.registry, &self.chain.name, token) {
            return Side { decimals, valuation: Valuation::Excluded, basis: PriceBasis::None };
        }
        let (valuation, basis) = match self.price(token, block, prices) {
            Ok(priced) => priced,
            Err(why) => (Valuation::Unpriced(why), PriceBasis::None),
        };
        Side { decimals, valuation, basis }
    }

    fn price(
        &self,
        token: Address,
        block: u64,
        prices: &mut PriceBook,
    ) -> Result<(Valuation, PriceBasis), NoPrice> {
        let at = |block| At { chain_id: self.chain.chain_id, block };
        let nothing = OwnFeeds::default();
        let why = match prices.select(at(block), token, self.own.get(&block).unwrap_or(&nothing)) {
            Ok(selected) => return Ok((Valuation::Priced(selected), PriceBasis::EventBlock)),
            Err(why) => why,
        };
        // The word for a gap is that of the event's own block.
        let end = self.day_end.as_ref().ok_or(why)?;
        let selected = prices.select(at(end.block), token, &end.own).map_err(|_| why)?;
        Ok((Valuation::Priced(selected), PriceBasis::DayEnd))
    }

    fn leg(&self, leg: &Leg, log: &RawLog, prices: &mut PriceBook) -> Liquidation {
        let mut side = |amount: Option<(Address, U256)>| {
            amount.map(|(token, raw)| (token, raw, self.side(token, leg.block_number, prices)))
        };
        let debt = side(leg.debt);
        let collateral = side(leg.collateral);
        let bad_debt = side(leg.bad_debt);
        // A leg that only books bad debt has its token in the place of the debt's, as the unit of `bad_debt_raw`.
        let debt_token = debt.or(bad_debt).map(|(token, _, side)| (token, side));

        let sides = [debt, collateral, bad_debt].into_iter().flatten().map(|(_, _, side)| side);
        let mut flags: Vec<String> = leg.flags.iter().map(|flag| (*flag).to_owned()).collect();
        for side in sides.clone() {
            flags.extend(side.valuation.flags());
            flags.extend(side.decimals.is_none().then(|| "no_decimals".to_owned()));
        }
        // What the log itself says the collateral was worth, where it names no token.
        let value_in_log = leg
            .collateral_value
            .filter(|_| collateral.is_none())
            .and_then(|(raw, unit)| lake::amount::ratio(raw, unit));
        flags.extend(value_in_log.map(|_| "coll_value_in_log".to_owned()));
        let uses = |basis| sides.clone().any(|side| side.basis == basis);
        let price_basis = if uses(PriceBasis::DayEnd) {
            PriceBasis::DayEnd
        } else if uses(PriceBasis::EventBlock) {
            PriceBasis::EventBlock
        } else if value_in_log.is_some() {
            PriceBasis::InLog
        } else {
            PriceBasis::None
        };
        for (what, side) in [("debt", debt_token.map(|(_, side)| side)), ("coll", collateral.map(|c| c.2))] {
            if side.is_some_and(|side| side.basis == PriceBasis::DayEnd) {
                flags.push(format!("{what}_price_day_end"));
            }
        }
        if let (Some((debt, ..)), Some((bad, ..))) = (debt, bad_debt)
            && debt != bad
        {
            flags.push(format!("bad_debt_token:{}", item(bad)));
        }
        let mut seen = BTreeSet::new();
        flags.retain(|flag| seen.insert(flag.clone()));

        let selected = |side: Option<Side>| side.and_then(|side| side.valuation.selected());
        let debt_price = selected(debt_token.map(|(_, side)| side));
        let coll_price = selected(collateral.map(|(_, _, side)| side));
        let time = self.day.events.get(&leg.block_number).map_or(0, |event| event.block.timestamp);
        let tx_hash = format!("{:#x}", log.transaction_hash);
        let id = sha256_hex(format!("{}|{tx_hash}|{}", self.csu.id, leg.liquidation).as_bytes());
        Liquidation {
            chain_id: i64::try_from(self.chain.chain_id).unwrap_or(i64::MAX),
            block_number: i64::try_from(leg.block_number).unwrap_or(i64::MAX),
            log_index: i32::try_from(leg.log_index).unwrap_or(i32::MAX),
            leg: i32::try_from(leg.leg).unwrap_or(i32::MAX),
            csu: self.csu.id.clone(),
            date: self.date,
            block_ts: Seconds(i64::try_from(time).unwrap_or(i64::MAX)),
            block_hash: format!("{:#x}", log.block_hash),
            tx_hash,
            tx_index: i32::try_from(log.transaction_index).unwrap_or(i32::MAX),
            event_name: leg.event.to_owned(),
            liq_id: id[..32].to_owned(),
            market_id: leg.market_id.clone(),
            liquidator: leg.liquidator.map(item),
            borrower: leg.borrower.map(item),
            debt_token: debt_token.map(|(token, _)| item(token)),
            debt_raw: debt.map(|(_, raw, _)| raw.to_string()),
            debt: debt.and_then(|(_, raw, side)| side.tokens(raw)),
            debt_usd: debt.and_then(|(_, raw, side)| side.usd(raw)),
            coll_token: collateral.map(|(token, ..)| item(token)),
            coll_raw: collateral.map(|(_, raw, _)| raw.to_string()),
            coll: collateral.and_then(|(_, raw, side)| side.tokens(raw)),
            coll_usd: collateral.and_then(|(_, raw, side)| side.usd(raw)).or(value_in_log),
            bad_debt_raw: bad_debt.map(|(_, raw, _)| raw.to_string()),
            bad_debt_usd: bad_debt.and_then(|(_, raw, side)| side.usd(raw)),
            price_basis,
            debt_price_usd: debt_price.map(|price| price.usd),
            coll_price_usd: coll_price.map(|price| price.usd),
            debt_price_source: debt_price.map(|price| price.source),
            coll_price_source: coll_price.map(|price| price.source),
            flags: flags.join(";"),
            bronze_sha256: self.sha256.to_owned(),
        }
    }

    fn reject(&self, log: &RawLog, why: &str) -> Reject {
        Reject {
            chain_id: i64::try_from(self.chain.chain_id).unwrap_or(i64::MAX),
            block_number: i64::try_from(log.block_number).unwrap_or(i64::MAX),
            log_index: i32::try_from(log.log_index).unwrap_or(i32::MAX),
            csu: self.csu.id.clone(),
            date: self.date,
            tx_hash: format!("{:#x}", log.transaction_hash),
            topic0: log.topics.first().map(|topic| format!("{topic:#x}")),
            why: protocols::token::printable(why, 300),
            bronze_sha256: self.sha256.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::Calls;
    use lake::B256;

    fn log(log_index: u64) -> RawLog {
        RawLog {
            address: Address::ZERO,
            topics: Vec::new(),
            data: Default::default(),
            block_number: 7,
            block_hash: B256::ZERO,
            transaction_hash: B256::ZERO,
            transaction_index: 0,
            log_index,
        }
    }

    fn day(readings: Vec<LogReading>) -> LogsDay {
        LogsDay {
            has_blocks: true,
            blocks_scanned: 1,
            calls: Calls::default(),
            logs: vec![log(0), log(1)],
            readings,
            events: BTreeMap::new(),
        }
    }

    fn reject(log_index: u64) -> LogReading {
        LogReading::Reject { block_number: 7, log_index, why: "x".into() }
    }

    fn leg(log_index: u64, leg: u32) -> LogReading {
        let first = Leg::new(&log(log_index), "E", String::new(), String::new());
        LogReading::Leg(Box::new(Leg { leg, ..first }))
    }

    #[test]
    fn every_log_is_a_leg_or_a_reject() {
        conserved(&day(vec![leg(0, 0), leg(0, 1), reject(1)])).unwrap();
        conserved(&day(vec![leg(0, 0), LogReading::context(&log(1))])).unwrap();
        for (readings, why) in [
            (vec![leg(0, 0)], "log 1 of block 7 is neither"),
            (vec![leg(0, 0), leg(1, 0), reject(1)], "log 1 of block 7 is both"),
            (vec![leg(0, 0), LogReading::context(&log(0)), reject(1)], "log 0 of block 7 is both"),
            (vec![leg(0, 0), leg(1, 0), leg(1, 0)], "log 1 of block 7 has one leg twice"),
            (vec![leg(0, 0), reject(1), reject(1)], "log 1 of block 7 is rejected twice"),
            (vec![leg(0, 0), reject(1), reject(2)], "log 2 of block 7 is none of the object's"),
        ] {
            assert_eq!(conserved(&day(readings)).unwrap_err().why, why);
        }
    }
}
