//! A real day: the liquidations of Aave V3 on Ethereum on 2025-11-03 in New York, from the data beside the repository.
//!
//! Real are the 94 logs with their blocks, hashes and times, the addresses, decimals, rates and indexes of the 55
//! reserves, and the prices (off-chain ones, in the oracle's unit). The data has no balances: what is supplied
//! (1,000,000 tokens) and borrowed (400,000) is invented, and so are the blocks without logs.

use crate::contracts::{AaveReserve, AaveV3, Configuration, Price, RAY};
use crate::defillama::Points;
use crate::simchain::{Clock, SimChain};
use alloy_primitives::{Address, B256, U256, address};
use anyhow::{Context, Result, ensure};
use lake::bronze::RawLog;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `PoolAddressesProvider` of Aave V3 on Ethereum.
pub const PROVIDER: Address = address!("0x2f39d218133AFaB8F2B819B1066c7E434Ad94E9e");
/// `Pool` of Aave V3 on Ethereum.
pub const POOL: Address = address!("0x87870Bca3F3fD6335C3F4ce8392D69350B4fA4E2");
/// `AaveOracle` of Aave V3 on Ethereum.
pub const ORACLE: Address = address!("0x54586bE62E3c3580375aE3723C145253060Ca0C2");
/// The day, in New York.
pub const DAY: &str = "2025-11-03";

/// Blocks before the first and after the last log whose times are 12 seconds apart, as without missed slots.
const MARGIN: u64 = 2_000;

/// The day's data.
#[derive(Debug, Clone)]
pub struct RealDay {
    directory: PathBuf,
    /// The logs, in order.
    pub logs: Vec<RawLog>,
    /// Number and time of each block with a log, in order.
    pub times: Vec<(u64, u64)>,
}

/// A row of `expected_events.csv`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the file, whose README explains them")]
pub struct ExpectedEvent {
    pub block_number: u64,
    pub log_index: u64,
    pub tx_hash: B256,
    pub timestamp: u64,
    pub ny_date: String,
    pub collateral_token: Address,
    pub debt_token: Address,
    pub borrower: Address,
    pub liquidator: Address,
    pub collateral_raw: U256,
    pub debt_raw: U256,
    pub receive_a_token: u8,
    pub bonus_net_of_fee: f64,
}

/// A row of `expected_daily_token_ny.csv`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the file, whose README explains them")]
pub struct ExpectedToken {
    pub ny_date: String,
    pub role: String,
    pub token: Address,
    pub events: u64,
    pub raw_sum: U256,
    pub usd_given_prices: f64,
    pub events_without_price: u64,
}

/// A row of `expected_daily_ny.csv`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the file, whose README explains them")]
pub struct ExpectedDay {
    pub ny_date: String,
    pub events: u64,
    pub transactions: u64,
    pub unique_borrowers: u64,
    pub unique_liquidators: u64,
    pub blocks_with_events: u64,
    pub collateral_usd_given_prices: f64,
    pub debt_usd_given_prices: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockTime {
    #[serde(with = "hex_quantity")]
    block_timestamp: u64,
}

mod hex_quantity {
    use serde::{Deserialize as _, Deserializer, de::Error as _};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(text.trim_start_matches("0x"), 16).map_err(D::Error::custom)
    }
}

/// The parts of a reserve of the data that the simulated market answers with. Caps are left out: they are misdecoded
/// there (USDC's supply cap reads 41,275), as is the liquidation protocol fee.
#[derive(Deserialize)]
struct ReserveFacts {
    asset_address: Address,
    symbol: String,
    decimals: u8,
    a_token_address: Address,
    stable_debt_token_address: Address,
    variable_debt_token_address: Address,
    current_liquidity_rate: f64,
    current_variable_borrow_rate: f64,
    liquidity_index: f64,
    variable_borrow_index: f64,
    loan_to_value: f64,
    liquidation_threshold: f64,
    liquidation_bonus: f64,
    reserve_factor: f64,
    active: bool,
    frozen: bool,
    paused: bool,
    borrowing_enabled: bool,
}

#[derive(Deserialize)]
struct ReservesFile {
    networks: BTreeMap<String, Vec<ReserveFacts>>,
}

#[derive(Deserialize)]
struct PricePoint {
    timestamp: u64,
    price_usd: f64,
}

impl RealDay {
    /// The day, or `None` where the data is not beside the repository.
    ///
    /// # Errors
    /// When the data is there and cannot be read.
    pub fn find() -> Result<Option<Self>> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
        if directory.is_dir() { Self::read(directory).map(Some) } else { Ok(None) }
    }

    fn read(directory: PathBuf) -> Result<Self> {
        let text = text_of(&directory.join("aave_v3_ethereum_2025-11-03_raw_logs.ndjson"))?;
        let (mut logs, mut times) = (Vec::new(), BTreeMap::new());
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let log: RawLog = serde_json::from_str(line)?;
            let BlockTime { block_timestamp } = serde_json::from_str(line)?;
            let known = *times.entry(log.block_number).or_insert(block_timestamp);
            ensure!(known == block_timestamp, "two times for block {}", log.block_number);
            logs.push(log);
        }
        Ok(Self { directory, logs, times: times.into_iter().collect() })
    }

    /// Ethereum as far as that day needs it: the blocks from the beginning to some hours after the day.
    ///
    /// # Errors
    /// When the data cannot be read or contradicts itself.
    pub fn chain(&self) -> Result<SimChain> {
        self.chain_with(self.market()?)
    }

    /// [`RealDay::chain`] with another market.
    ///
    /// # Errors
    /// When the data contradicts itself.
    pub fn chain_with(&self, market: AaveV3) -> Result<SimChain> {
        let (Some(&(first, first_time)), Some(&(last, last_time))) = (self.times.first(), self.times.last())
        else {
            anyhow::bail!("there is no log");
        };
        let head = last + MARGIN;
        // Genesis, its first successor and the first block after the merge place the years before within a few
        // hours, enough for a search by time to behave as on the real chain.
        let mut anchors = vec![(0, 0), (1, 1_438_269_988), (15_537_394, 1_663_224_179)];
        anchors.push((first - MARGIN, first_time - 12 * MARGIN));
        anchors.extend(&self.times);
        anchors.push((head, last_time + 12 * MARGIN));
        let chain = SimChain::new(1, 0..=head, Clock::through(anchors)?)?
            .with_finality(64)
            .with_multicall3_from(Some(14_353_601))
            .with_contracts(market)
            .with_recorded_logs(self.logs.iter().cloned())?;
        Ok(chain)
    }

    /// The market on that day.
    ///
    /// # Errors
    /// When the data cannot be read.
    pub fn market(&self) -> Result<AaveV3> {
        let text = text_of(&self.directory.join("aave_v3_reserves_2025-11-03.json"))?;
        let mut file: ReservesFile = serde_json::from_str(&text)?;
        let facts = file.networks.remove("ethereum").context("no network `ethereum`")?;
        // From 3.3 the pool names one stand-in for the stable debt token of every reserve.
        let mock_stable_debt = facts.first().context("no reserve")?.stable_debt_token_address;
        ensure!(
            facts.iter().all(|reserve| reserve.stable_debt_token_address == mock_stable_debt),
            "the reserves have stable debt tokens of their own"
        );
        let reserves = facts.into_iter().map(|facts| self.reserve(facts)).collect::<Result<_>>()?;
        Ok(AaveV3 {
            provider: PROVIDER,
            pool: POOL,
            oracle: ORACLE,
            mock_stable_debt,
            revision: 9,
            deployed_block: 16_291_071,
            ..AaveV3::named("ethereum", reserves)
        })
    }

    fn reserve(&self, facts: ReserveFacts) -> Result<AaveReserve> {
        let unit = 10_u128.pow(facts.decimals.into());
        let borrowed = if facts.current_variable_borrow_rate > 0.0 { 400_000 } else { 0 };
        let points = basis_points;
        let configuration = Configuration {
            ltv: points(facts.loan_to_value),
            liquidation_threshold: points(facts.liquidation_threshold),
            liquidation_bonus: (facts.liquidation_threshold > 0.0).then(|| points(facts.liquidation_bonus)),
            active: facts.active,
            frozen: facts.frozen,
            paused: facts.paused,
            borrowing: facts.borrowing_enabled,
            reserve_factor: points(facts.reserve_factor),
            ..Configuration::usual(facts.decimals)
        };
        Ok(AaveReserve {
            a_token: facts.a_token_address,
            stable_debt_token: facts.stable_debt_token_address,
            variable_debt_token: facts.variable_debt_token_address,
            configuration: configuration.word(),
            liquidity_index: ray(facts.liquidity_index),
            variable_borrow_index: ray(facts.variable_borrow_index),
            liquidity_rate: ray(facts.current_liquidity_rate),
            variable_borrow_rate: ray(facts.current_variable_borrow_rate),
            ..AaveReserve::new(
                facts.asset_address,
                &facts.symbol,
                facts.decimals,
                1_000_000 * unit,
                borrowed * unit,
                self.price(facts.asset_address)?,
            )
        })
    }

    /// The price points of a token; a token without any has an oracle that reverts.
    fn price(&self, token: Address) -> Result<Price> {
        let file = self.directory.join("prices").join(format!("ethereum_{token:#x}.csv"));
        if !file.exists() {
            return Ok(Price::Reverts);
        }
        let points: Vec<PricePoint> = rows(&file)?;
        Ok(Price::FromTime(
            points.iter().map(|point| (point.timestamp, scaled(point.price_usd, 8))).collect(),
        ))
    }

    /// The off-chain price points of the data in their very digits, under DefiLlama's names of the tokens.
    ///
    /// # Errors
    /// When the data cannot be read.
    pub fn price_points(&self) -> Result<Points> {
        #[derive(Deserialize)]
        struct Point {
            timestamp: u64,
            price_usd: String,
        }
        let mut points = Points::new();
        for entry in std::fs::read_dir(self.directory.join("prices"))? {
            let file = entry?.path();
            let name = file.file_stem().and_then(|stem| stem.to_str()).context("a file without a name")?;
            let of_token: Vec<Point> = rows(&file)?;
            let of_token = of_token.into_iter().map(|point| (point.timestamp, point.price_usd)).collect();
            points.insert(name.replace('_', ":"), of_token);
        }
        Ok(points)
    }

    /// What each log means.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn expected_events(&self) -> Result<Vec<ExpectedEvent>> {
        rows(&self.directory.join("expected_events.csv"))
    }

    /// Sums by token and role.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn expected_tokens(&self) -> Result<Vec<ExpectedToken>> {
        rows(&self.directory.join("expected_daily_token_ny.csv"))
    }

    /// Counts and sums of the day.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn expected_day(&self) -> Result<ExpectedDay> {
        rows(&self.directory.join("expected_daily_ny.csv"))?.pop().context("no row")
    }
}

fn text_of(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn rows<T: serde::de::DeserializeOwned>(file: &Path) -> Result<Vec<T>> {
    let mut reader =
        csv::Reader::from_path(file).with_context(|| format!("cannot read {}", file.display()))?;
    reader.deserialize().map(|row| row.with_context(|| file.display().to_string())).collect()
}

/// `value x 10^decimals`, rounded, by way of decimal text: exact for what the files hold.
fn scaled(value: f64, decimals: usize) -> U256 {
    let digits = format!("{value:.decimals$}").replace('.', "");
    digits.parse().unwrap_or_default()
}

/// The file's rates and indexes have six decimals.
fn ray(value: f64) -> u128 {
    scaled(value, 6).to::<u128>() * (RAY / 1_000_000)
}

fn basis_points(fraction: f64) -> u16 {
    scaled(fraction, 4).to::<u16>()
}
