//! A lake of any size, made from a seed: bronze of many Aave V3 deployments over many days, with registry and run file.
//!
//! For measuring `transform` without a network. The contracts are those of [`crate::contracts`], so that every object is one
//! that `extract` could have written; prices walk at random, and some days have liquidations. The same size and seed give
//! the same bytes.

use crate::contracts::{AaveReserve, AaveV3, Liquidation, Price};
use crate::simchain::Contracts;
use alloy_primitives::{Address, B256, U256, keccak256};
use anyhow::{Context, Result};
use clap::Args;
use lake::bronze::{
    CallRecord, CsuOfDay, DayBlocks, DayOfChain, Header, LiquidationLogs, RawLog, ReadsAtBlock, Record,
    TvlSnapshot,
};
use lake::day::{Day, Zone};
use lake::path::BronzeKey;
use lake::registry::Csu;
use lake::span::{BlockSpan, Coverage};
use lake::status::Dataset;
use protocols::{Answers, Call, Discovery, Family, Layout};
use std::path::{Path, PathBuf};

/// Write a synthetic lake: bronze, registry and run file
#[derive(Debug, Args)]
pub struct SyntheticLake {
    /// Directory to write into
    #[arg(long)]
    out: PathBuf,
    /// Number of CSUs
    #[arg(long, default_value_t = 224)]
    csus: usize,
    /// Number of days, from 2024-01-01 on
    #[arg(long, default_value_t = 366)]
    days: usize,
    /// Reserves of each CSU
    #[arg(long, default_value_t = 15)]
    reserves: u8,
    /// Seed of prices, amounts and liquidations
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// CSUs on one chain.
const CSUS_A_CHAIN: usize = 14;
const BLOCKS_A_DAY: u64 = 1_440;
const SECONDS_A_BLOCK: u64 = 60;
const FIRST_DAY: &str = "2024-01-01";
/// A block number that no day before the first reaches.
const FIRST_BLOCK: u64 = 1_000_000;

/// Writes the lake and says how large it is.
///
/// # Errors
/// What the file system refuses.
pub fn run(options: &SyntheticLake) -> Result<()> {
    let zone = Zone::named("America/New_York")?;
    let first: Day = FIRST_DAY.parse()?;
    let days: Vec<Day> =
        std::iter::successors(Some(first), |day| Some(day.next())).take(options.days).collect();
    let last = days.last().copied().context("no day: give --days 1 at least")?;
    let chains = options.csus.div_ceil(CSUS_A_CHAIN).max(1);
    let mut rows = (String::new(), String::new());
    let mut bytes = 0;
    for chain in 0..chains {
        let chain = Chain { name: format!("chain_{chain:02}"), id: 1_000 + chain as u64, zone: &zone };
        rows.0.push_str(&chain.row());
        for day in &days {
            let key = BronzeKey::Blocks { chain: chain.name.clone(), date: *day };
            bytes += put(&options.out, &key, &chain.blocks(*day)?)?;
        }
    }
    for number in 0..options.csus {
        let at = number / CSUS_A_CHAIN;
        let chain = Chain { name: format!("chain_{at:02}"), id: 1_000 + at as u64, zone: &zone };
        let deployment = Deployment::of(options, number, chain);
        rows.1.push_str(&deployment.row(number + 1));
        for day in &days {
            bytes += deployment.write(&options.out, *day)?;
        }
    }
    let file = |name: &str, text: &str| {
        let path = options.out.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    file("registry/chains.toml", &rows.0)?;
    file("registry/csus/aave_v3.toml", &rows.1)?;
    file("registry/tokens.toml", "")?;
    file(
        "run.toml",
        &format!(
            "name = \"synthetic\"\nfrom = \"{first}\"\nto = \"{last}\"\ncsus = [\"*\"]\nregistry = \"registry\"\nlake = \"lake\"\n"
        ),
    )?;
    println!("{} CSUs x {} days, {:.1} MB of bronze", options.csus, options.days, bytes as f64 / 1e6);
    Ok(())
}

fn put(out: &Path, key: &BronzeKey, record: &impl Record) -> Result<usize> {
    let path = out.join("lake").join(key.to_string());
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    let bytes = record.to_bytes()?;
    std::fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(bytes.len())
}

struct Chain<'a> {
    name: String,
    id: u64,
    zone: &'a Zone,
}

impl Chain<'_> {
    fn row(&self) -> String {
        format!(
            "[[chain]]\nname = \"{}\"\nchain_id = {}\nnative_symbol = \"ETH\"\nis_l2 = false\nblock_seconds = {SECONDS_A_BLOCK}\n\
             finality_blocks = 64\nsource = \"synthetic\"\n\n",
            self.name, self.id
        )
    }

    fn day(&self, date: Day) -> Result<DayOfChain> {
        let window = self.zone.window(date)?;
        Ok(DayOfChain {
            chain: self.name.clone(),
            chain_id: self.id,
            date,
            zone: self.zone.name().to_owned(),
            day_start: window.start,
            day_end: window.end,
        })
    }

    /// One block a minute since a time before the first day.
    fn header(&self, number: u64) -> Header {
        let hash = |number: u64| keccak256([self.id.to_be_bytes(), number.to_be_bytes()].concat());
        Header {
            number,
            hash: hash(number),
            parent_hash: hash(number - 1),
            timestamp: 1_600_000_000 + (number - FIRST_BLOCK) * SECONDS_A_BLOCK,
        }
    }

    /// The first block at or after a second.
    fn block_at(second: i64) -> Result<u64> {
        let since = u64::try_from(second)?.saturating_sub(1_600_000_000);
        Ok(FIRST_BLOCK + since.div_ceil(SECONDS_A_BLOCK))
    }

    fn span(&self, date: Day) -> Result<BlockSpan> {
        let window = self.zone.window(date)?;
        Ok(BlockSpan::new(Self::block_at(window.start)?, Self::block_at(window.end)? - 1)?)
    }

    fn blocks(&self, date: Day) -> Result<DayBlocks> {
        let span = self.span(date)?;
        Ok(DayBlocks {
            day: self.day(date)?,
            before: Some(self.header(span.first() - 1)),
            first: Some(self.header(span.first())),
            last: Some(self.header(span.last())),
            after: self.header(span.last() + 1),
        })
    }
}

struct Deployment<'a> {
    chain: Chain<'a>,
    csu: Csu,
    contracts: AaveV3,
    family: &'static dyn Family,
    layout: Layout,
    random: u64,
}

/// SplitMix64 (Steele, Lea and Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl<'a> Deployment<'a> {
    fn of(options: &SyntheticLake, number: usize, chain: Chain<'a>) -> Self {
        let id = format!("aave_v3_{number:03}");
        let mut random = options.seed.wrapping_mul(1_000_003).wrapping_add(number as u64);
        let start = Chain::block_at(1_704_000_000).unwrap_or(FIRST_BLOCK);
        let reserves = (0..options.reserves).map(|at| {
            let decimals = [18, 6, 8][usize::from(at) % 3];
            let unit = 10_u128.pow(decimals.into());
            let supplied = u128::from(next(&mut random) % 1_000_000 + 1_000) * unit;
            // A price a day, each within 2% of the one before.
            let mut price = next(&mut random) % 400_000_000_000 + 50_000_000;
            let steps: Vec<(u64, U256)> = (0..options.days as u64 + 2)
                .map(|day| {
                    price = price / 1_000 * (980 + next(&mut random) % 41);
                    price = price.max(1_000_000);
                    (start + day * BLOCKS_A_DAY, U256::from(price))
                })
                .collect();
            // A token is the same contract for all CSUs of a chain.
            let asset = Address::from_word(keccak256([&chain.id.to_be_bytes()[..], &[at]].concat()));
            let borrowed = supplied / (2 + u128::from(next(&mut random) % 8));
            AaveReserve::new(asset, &format!("T{at}"), decimals, supplied, borrowed, Price::FromBlock(steps))
        });
        let contracts = AaveV3::named(&id, reserves.collect());
        let csu = Csu::bare(&id, "aave_v3", &chain.name, "pool_addresses_provider", contracts.provider);
        let family: &'static dyn Family = &protocols::aave_v3::AaveV3;
        let mut made = Self { chain, csu, contracts, family, layout: Layout::default(), random };
        made.layout = made.find(start);
        made
    }

    fn row(&self, number: usize) -> String {
        format!(
            "[[csu]]\nid = \"{id}\"\nnum = {number}\nprotocol = \"aave_v3\"\nversion = \"v3\"\nchain = \"{}\"\nmarket = \"{id}\"\n\
             entry_role = \"pool_addresses_provider\"\nentry = \"{}\"\nverified = \"no\"\nsource = \"synthetic\"\n\n",
            self.csu.chain,
            self.csu.entry.to_checksum(None),
            id = self.csu.id,
        )
    }

    fn answer(&self, call: Call, block: &Header) -> CallRecord {
        let answer = self.contracts.call(call.to, &call.input, block);
        let ok = answer.is_ok();
        let output = answer.unwrap_or_else(|revert| revert);
        call.answered(ok, output)
    }

    fn find(&self, block: u64) -> Layout {
        let header = self.chain.header(block);
        let mut records = Vec::new();
        while let Ok(step) = self.family.discover(&self.csu, &Answers::new(&records), &[]) {
            match step {
                Discovery::Ask(calls) => {
                    records.extend(calls.into_iter().map(|call| self.answer(call, &header)));
                }
                Discovery::Found(layout) => return layout,
            }
        }
        Layout::default()
    }

    fn of_day(&self, date: Day) -> Result<CsuOfDay> {
        Ok(CsuOfDay {
            csu: self.csu.id.clone(),
            family: self.csu.family.clone(),
            entry: self.csu.entry,
            day: self.chain.day(date)?,
        })
    }

    /// Writes a day. Returns the bytes.
    fn write(&self, out: &Path, date: Day) -> Result<usize> {
        let span = self.chain.span(date)?;
        let reads = |calls: Vec<Call>, number: u64| {
            let block = self.chain.header(number);
            ReadsAtBlock { block, calls: calls.into_iter().map(|call| self.answer(call, &block)).collect() }
        };
        let plan = self.family.snapshot(&self.csu, &self.layout);
        let snapshot = TvlSnapshot { of: self.of_day(date)?, reads: reads(plan, span.last()) };
        let logs = self.logs(date, span);
        let at_events = logs
            .iter()
            .map(|log| reads(self.family.event_reads(&self.csu, &self.layout, &[log]), log.block_number));
        let liquidations = LiquidationLogs {
            of: self.of_day(date)?,
            blocks: Some(span),
            filter: self.family.filter(&self.csu, &[&self.layout]),
            scanned: Coverage::try_from(vec![span])?,
            reads: at_events.collect(),
            logs,
        };
        let key = |dataset| BronzeKey::of(dataset, &self.csu.id, date);
        Ok(put(out, &key(Dataset::Tvl), &snapshot)? + put(out, &key(Dataset::Liquidations), &liquidations)?)
    }

    /// Up to four liquidations, in blocks of their own; none on most days.
    fn logs(&self, date: Day, span: BlockSpan) -> Vec<RawLog> {
        let mut random = self.random ^ (date.days_since_epoch() as u64).wrapping_mul(0x9e37_79b9);
        let count = (next(&mut random) % 16).saturating_sub(11);
        let mut block = span.first();
        let [debt, collateral] = [1, 0].map(|at| self.contracts.reserves.get(at));
        let Some((debt, collateral)) = debt.zip(collateral) else { return Vec::new() };
        (0..count)
            .map(|_| {
                block += 1 + next(&mut random) % 200;
                let emitted = self.contracts.liquidation(&Liquidation {
                    block,
                    tx_index: 1,
                    // CSUs of a chain share its blocks: a log index is theirs alone.
                    log_index: u64::from(u16::try_from(self.csu.id.len()).unwrap_or(0))
                        + self.random % 10_000,
                    collateral: collateral.asset,
                    debt: debt.asset,
                    borrower: Address::from_word(B256::from(U256::from(next(&mut random)))),
                    liquidator: Address::repeat_byte(0xee),
                    debt_amount: u128::from(next(&mut random) % 10_000_000_000),
                    collateral_amount: u128::from(next(&mut random)),
                });
                let header = self.chain.header(block);
                RawLog {
                    address: emitted.address,
                    topics: emitted.topics,
                    data: emitted.data,
                    block_number: block,
                    block_hash: header.hash,
                    transaction_hash: keccak256([header.hash.as_slice(), self.csu.id.as_bytes()].concat()),
                    transaction_index: emitted.tx_index,
                    log_index: emitted.log_index,
                }
            })
            .collect()
    }
}
