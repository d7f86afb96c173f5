//! What a family of lending contracts must be able to say, and the words it says it in.
//!
//! The joints were drawn against all seven families of the plan (Aave V3, Compound V2, Compound V3, Fluid, Morpho
//! Blue, Gearbox, Cap): a reserve may be a reserve, a base token, collateral or minted; a market may be an address or
//! a 32-byte id; a liquidation may have several legs, no borrower or no debt amount; a log's emitter may have been
//! found only by discovery.

use crate::answers::{Answers, Call, Missing};
use lake::bronze::{DayBlocks, LogFilter, RawLog, ReadsAtBlock};
use lake::registry::Csu;
use lake::status::{PriceSource, Role};
use lake::{Address, I256, U256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One family of lending contracts.
///
/// Everything here is pure: the same arguments give the same result. A call's name (`key` and `item`) ties a plan to
/// its decoder; positions mean nothing.
pub trait Family: Send + Sync {
    /// Name: that of the registry file with its CSUs.
    fn name(&self) -> &'static str;

    /// Which of gold's columns the family can fill.
    fn gives(&self) -> Gives;

    /// The gold columns that the family fills by estimate or never, each with the reason. What is not named here is read.
    fn limits(&self) -> &'static [ColumnLimit] {
        &[]
    }

    /// The next step of finding a deployment's contracts at a block: more questions, or the layout.
    ///
    /// `extract` asks the questions of [`Discovery::Ask`] at one block and comes back with all answers so far, until
    /// it gets a layout. Each step must ask something that has not been answered. `history` holds the logs of
    /// [`Family::history`] up to that block; it is empty for families that have none.
    ///
    /// # Errors
    /// [`DiscoveryError`] when the entry contract does not answer as one of this family.
    fn discover(
        &self,
        csu: &Csu,
        answers: &Answers<'_>,
        history: &[RawLog],
    ) -> Result<Discovery, DiscoveryError>;

    /// The logs since the deployment that list its markets, where no view function does (Morpho Blue). `extract` reads
    /// them once and keeps them.
    fn history(&self, _csu: &Csu) -> Option<LogFilter> {
        None
    }

    /// Whether whoever creates a market names its oracle (Morpho Blue). What such an oracle says is believed after all else
    /// that is said on the chain.
    fn oracles_are_anyones(&self, _csu: &Csu) -> bool {
        false
    }

    /// Whether contracts that emit liquidations come and go, so that a day's filter must be made from the layouts at both
    /// of its ends. Not for a family whose one emitter is the same at every block.
    fn has_changing_emitters(&self) -> bool {
        true
    }

    /// The view calls of a snapshot, given a layout. They read the layout's own roots and lists again, so that
    /// [`Family::confirm`] can tell from the same batch whether the layout still held.
    fn snapshot(&self, csu: &Csu, layout: &Layout) -> Vec<Call>;

    /// The view calls that price the liquidations of one block, with what confirms the layout's oracle there.
    fn event_reads(&self, csu: &Csu, layout: &Layout, logs: &[&RawLog]) -> Vec<Call>;

    /// Whether the layout held at the block of these answers, as far as they tell.
    ///
    /// # Errors
    /// [`LayoutDrift`]: the layout must be found again at that block.
    fn confirm(&self, csu: &Csu, layout: &Layout, answers: &Answers<'_>) -> Result<(), LayoutDrift>;

    /// The logs that are liquidations of this CSU, for a day on which these layouts held.
    fn filter(&self, csu: &Csu, layouts: &[&Layout]) -> LogFilter;

    /// A log of this day that must exist, as the contracts' own state in a snapshot says: the earliest one at or after
    /// `since`. An endpoint that does not have it does not hold the day's logs, and its empty answers mean nothing. `None`
    /// when the state tells of none.
    fn witness(&self, csu: &Csu, reads: &ReadsAtBlock, since: DayStart) -> Option<Witness>;

    /// What a snapshot says. `pace` is that of the snapshot's day, for rates that contracts give per block.
    ///
    /// # Errors
    /// [`DiscoveryError`] when the batch does not even hold the list of reserves.
    fn read_snapshot(
        &self,
        csu: &Csu,
        reads: &ReadsAtBlock,
        pace: BlockPace,
    ) -> Result<Snapshot, DiscoveryError>;

    /// What the reads at a liquidation's block say of prices and tokens.
    fn read_event_prices(&self, csu: &Csu, reads: &ReadsAtBlock) -> (Vec<PriceAnswer>, Vec<TokenAnswer>);

    /// What each log says: legs in order of log, or why it cannot be read. Every log appears at least once. `reads` are
    /// those of [`Family::event_reads`], one a block with a log: they tell what a log leaves out (a cToken's underlying).
    fn read_logs(&self, csu: &Csu, logs: &[RawLog], reads: &[ReadsAtBlock]) -> Vec<LogReading>;
}

/// Which of gold's liquidation columns a family can fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gives {
    /// Whether its events name the borrower.
    pub borrower: bool,
    /// Whether its events give the debt repaid.
    pub debt_amount: bool,
    /// How bad debt is known.
    pub bad_debt: BadDebt,
}

/// A gold column that a family fills by estimate, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnLimit {
    /// Name of the column in `panel_daily`.
    pub column: &'static str,
    /// How far it is filled.
    pub extent: Extent,
    /// Why no further, in a sentence for the codebook.
    pub why: &'static str,
}

impl ColumnLimit {
    /// A column that is filled by an estimate.
    pub(crate) const fn estimated(column: &'static str, why: &'static str) -> Self {
        Self { column, extent: Extent::Estimated, why }
    }

    /// A column that is never filled.
    pub(crate) const fn never(column: &'static str, why: &'static str) -> Self {
        Self { column, extent: Extent::Never, why }
    }
}

/// How far a column is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// By an estimate.
    Estimated,
    /// Never.
    Never,
}

/// How bad debt is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadDebt {
    /// From an event.
    Event,
    /// From an event that only some contract versions have: those that keep a figure for booked bad debt, which the
    /// day's snapshot shows.
    EventIfDeficit,
    /// Computed from other figures of the event.
    Estimate,
    /// Not at all.
    None,
}

impl BadDebt {
    /// The word in silver's `csu` table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::EventIfDeficit => "event_if_deficit",
            Self::Estimate => "estimate",
            Self::None => "none",
        }
    }
}

/// A deployment's contracts as found at some block. Families name the roles; the engine only keeps and compares them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Contracts that the whole deployment shares: `pool`, `oracle`, `comptroller`, ...
    pub roots: BTreeMap<String, Address>,
    /// Its markets, reserves, vaults or pools, in the order in which the chain lists them.
    pub markets: Vec<Market>,
}

/// One market of a layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Market {
    /// Address or 32-byte id, lower-case hex.
    pub id: String,
    /// Its contracts and tokens, by role.
    pub contracts: BTreeMap<String, Address>,
}

/// One step of discovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// Ask these, at the same block, and come back with all answers.
    Ask(Vec<Call>),
    /// The layout.
    Found(Layout),
}

/// A contract that does not answer as one of the family.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct DiscoveryError {
    /// What was looked for.
    pub what: &'static str,
    /// Why it was not found.
    pub why: Missing,
}

/// A layout that no longer holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not what it was when the contracts were last listed")]
pub struct LayoutDrift {
    /// What differs.
    pub what: String,
}

/// Where a day begins, by both clocks that contracts go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayStart {
    /// First block of the day.
    pub block: u64,
    /// First second of the day, Unix.
    pub timestamp: u64,
}

/// For tests of families that go by the time.
#[cfg(test)]
impl From<u64> for DayStart {
    fn from(timestamp: u64) -> Self {
        Self { block: 0, timestamp }
    }
}

/// A log that must exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Its block.
    pub at: At,
    /// A filter that at least one log there matches.
    pub filter: LogFilter,
}

/// A block, by the clock of the contract that remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// The blocks of a second, Unix.
    Time(u64),
    /// The block of a number.
    Block(u64),
}

/// How fast a chain made blocks on a day: what turns a rate per block into one per year.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockPace {
    /// Blocks made.
    pub blocks: u64,
    /// In so many seconds.
    pub seconds: u64,
}

impl BlockPace {
    /// The pace between the last block before the day and the day's last one; of a chain that began on that day, from its
    /// first block on.
    pub fn of_day(blocks: &DayBlocks) -> Self {
        let Some((from, to)) = blocks.before.or(blocks.first).zip(blocks.last) else {
            return Self::default();
        };
        Self {
            blocks: to.number.saturating_sub(from.number),
            seconds: to.timestamp.saturating_sub(from.timestamp),
        }
    }

    /// Blocks in a year of 365 days; `None` when no time passed.
    pub fn blocks_per_year(self) -> Option<f64> {
        (self.seconds > 0).then(|| self.blocks as f64 * 31_536_000.0 / self.seconds as f64)
    }
}

/// What a snapshot says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Every reserve that the chain lists, readable or not.
    pub reserves: Vec<ReserveFigures>,
    /// Every oracle answer.
    pub prices: Vec<PriceAnswer>,
    /// Every token.
    pub tokens: Vec<TokenAnswer>,
}

/// The state of one token in one market. Amounts are raw; `None` is missing and has its reason in `missing`.
#[derive(Debug, Clone, PartialEq)]
pub struct ReserveFigures {
    /// Market: address or 32-byte id.
    pub market_id: String,
    /// Token.
    pub token: Address,
    /// Part the token plays.
    pub role: Role,
    /// Claims of suppliers with accrued interest.
    pub supplied: Option<U256>,
    /// Debt with accrued interest.
    pub borrowed: Option<U256>,
    /// Tokens that can leave now.
    pub available: Option<U256>,
    /// The protocol's own share.
    pub reserves: Option<I256>,
    /// Booked bad debt.
    pub deficit: Option<U256>,
    /// What is left of the family's accounting identity.
    pub identity_gap: Option<I256>,
    /// Simple annual rate paid to suppliers, fraction.
    pub supply_apr: Option<f64>,
    /// Simple annual variable rate paid by borrowers, fraction.
    pub borrow_apr: Option<f64>,
    /// Simple annual rate of stable-rate debt, fraction.
    pub borrow_apr_stable_mode: Option<f64>,
    /// Loan to value, fraction.
    pub ltv: Option<f64>,
    /// Liquidation threshold, fraction.
    pub liq_threshold: Option<f64>,
    /// Liquidation bonus, fraction.
    pub liq_bonus: Option<f64>,
    /// Share of interest that goes to the protocol, fraction.
    pub reserve_factor: Option<f64>,
    /// Upper bound on supply, whole tokens.
    pub supply_cap: Option<f64>,
    /// Upper bound on debt, whole tokens.
    pub borrow_cap: Option<f64>,
    /// Whether the reserve is active.
    pub is_active: Option<bool>,
    /// Whether new supply and borrowing are off.
    pub is_frozen: Option<bool>,
    /// Whether all actions are off.
    pub is_paused: Option<bool>,
    /// Remarks.
    pub flags: Vec<&'static str>,
    /// Why figures that the family should have are missing. Not empty: the reserve is partial.
    pub missing: Vec<Missing>,
}

impl ReserveFigures {
    /// A token in a market of which nothing is known yet.
    pub fn new(market_id: String, token: Address, role: Role) -> Self {
        Self {
            market_id,
            token,
            role,
            supplied: None,
            borrowed: None,
            available: None,
            reserves: None,
            deficit: None,
            identity_gap: None,
            supply_apr: None,
            borrow_apr: None,
            borrow_apr_stable_mode: None,
            ltv: None,
            liq_threshold: None,
            liq_bonus: None,
            reserve_factor: None,
            supply_cap: None,
            borrow_cap: None,
            is_active: None,
            is_frozen: None,
            is_paused: None,
            flags: Vec::new(),
            missing: Vec::new(),
        }
    }
}

/// What a token says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenAnswer {
    /// Token.
    pub token: Address,
    /// Symbol, without control characters.
    pub symbol: Option<String>,
    /// Decimals.
    pub decimals: Option<u8>,
}

/// Currency of a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quote {
    /// US dollars.
    Usd,
    /// Another token, at whose price the answer becomes dollars.
    Token(Address),
    /// The oracle did not say.
    Unknown,
}

impl std::fmt::Display for Quote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Usd => f.write_str("USD"),
            Self::Token(token) => write!(f, "{token:#x}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// One oracle answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceAnswer {
    /// Token priced.
    pub token: Address,
    /// Kind of source.
    pub source: PriceSource,
    /// Contract asked.
    pub feed: Address,
    /// The answer, as an integer.
    pub raw: Result<U256, Missing>,
    /// What the answer is divided by.
    pub unit: Result<U256, Missing>,
    /// Currency of the answer.
    pub quote: Quote,
    /// Time of the feed's round, Unix seconds, where the source tells.
    pub updated_at: Option<u64>,
}

/// What one log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogReading {
    /// A leg of a liquidation.
    Leg(Box<Leg>),
    /// A log of the filter that could not be read.
    Reject {
        /// Block of the log.
        block_number: u64,
        /// Index of the log in its block.
        log_index: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A log that was asked for to read its neighbours by, and is no liquidation itself (a repayment to a Gearbox pool).
    Context {
        /// Block of the log.
        block_number: u64,
        /// Index of the log in its block.
        log_index: u64,
    },
}

impl LogReading {
    /// A log that could not be read.
    pub fn reject(log: &RawLog, why: impl ToString) -> Self {
        Self::Reject { block_number: log.block_number, log_index: log.log_index, why: why.to_string() }
    }

    /// A log that is there for its neighbours.
    pub fn context(log: &RawLog) -> Self {
        Self::Context { block_number: log.block_number, log_index: log.log_index }
    }
}

/// One leg of a liquidation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// Block of the log.
    pub block_number: u64,
    /// Index of the log in its block.
    pub log_index: u64,
    /// Leg within the log, from 0.
    pub leg: u32,
    /// Event.
    pub event: &'static str,
    /// Market: address or 32-byte id.
    pub market_id: String,
    /// Legs of one transaction with the same text belong to one liquidation.
    pub liquidation: String,
    /// Address that repaid the debt.
    pub liquidator: Option<Address>,
    /// Address whose debt was repaid.
    pub borrower: Option<Address>,
    /// Debt repaid: token and amount.
    pub debt: Option<(Address, U256)>,
    /// Collateral received by the liquidator: token and amount.
    pub collateral: Option<(Address, U256)>,
    /// Bad debt booked: token and amount.
    pub bad_debt: Option<(Address, U256)>,
    /// Value of the collateral in US dollars where the log itself carries it and names no token (Cap): a number, and what it
    /// is divided by.
    pub collateral_value: Option<(U256, U256)>,
    /// Remarks.
    pub flags: Vec<&'static str>,
}

impl Leg {
    /// The first leg of a log, without parties or amounts.
    pub fn new(log: &RawLog, event: &'static str, market_id: String, liquidation: String) -> Self {
        Self {
            block_number: log.block_number,
            log_index: log.log_index,
            leg: 0,
            event,
            market_id,
            liquidation,
            liquidator: None,
            borrower: None,
            debt: None,
            collateral: None,
            bad_debt: None,
            collateral_value: None,
            flags: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lake::bronze::{DayOfChain, Header};

    #[test]
    fn a_pace_is_of_the_day_that_it_was_made_on() {
        let header = |number, timestamp| Header {
            number,
            timestamp,
            hash: Default::default(),
            parent_hash: Default::default(),
        };
        let day = DayOfChain {
            chain: "binance".into(),
            chain_id: 56,
            date: "2024-12-01".parse().unwrap(),
            zone: "America/New_York".into(),
            day_start: 1_000,
            day_end: 87_400,
        };
        let mut blocks = DayBlocks {
            day,
            before: Some(header(99, 997)),
            first: Some(header(100, 1_000)),
            last: Some(header(28_899, 87_397)),
            after: header(28_900, 87_400),
        };
        assert_eq!(BlockPace::of_day(&blocks), BlockPace { blocks: 28_800, seconds: 86_400 });
        assert_eq!(BlockPace::of_day(&blocks).blocks_per_year(), Some(10_512_000.0));
        blocks.before = None;
        assert_eq!(BlockPace::of_day(&blocks), BlockPace { blocks: 28_799, seconds: 86_397 });
        (blocks.first, blocks.last) = (None, None);
        assert_eq!(BlockPace::of_day(&blocks).blocks_per_year(), None);
    }
}
