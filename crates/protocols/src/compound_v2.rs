//! Compound V2 and its forks: Venus (core and isolated pools), Benqi, Moonwell, Tectonic, Kinetic, Sumer, Iron Bank and
//! others.
//!
//! Sources, each named at its rule: compound-finance/compound-protocol a3214f6, VenusProtocol/venus-protocol ce5c8be
//! (and npm 10.3.0, whose `getCash` is a number of its own),
//! VenusProtocol/isolated-pools 58b76f8, Benqi-fi/BENQI-Smart-Contracts e0cfd24, moonwell-fi/moonwell-contracts-v2 45866f4,
//! kinetic-market/public-money-market-contracts d46f522, sg-meter/sumer-contracts 8277a37 to 9c69808,
//! ibdotxyz/compound-protocol 6e1d3d3, traderjoe-xyz/joe-lending 2a7529e. What is read, and what it means:
//!
//! | figure | from | note |
//! |---|---|---|
//! | borrowed | `totalBorrows` and the interest since the last accrual | `compound_v2/accrual.rs` |
//! | reserves | `totalReserves` and its share of that interest | |
//! | supplied | `getCash + borrowed + badDebt - reserves`; nothing where `totalSupply` is 0 | `badDebt`: Venus isolated pools |
//! | available | `getCash` | |
//! | deficit | `badDebt` | a revert means that the version keeps none |
//! | price | `oracle.getUnderlyingPrice(cToken) / 10^(36 - decimals)` | Sumer: `/ 10^18` |
//!
//! The market is the cToken: many a CSU, with one reserve each.
//!
//! Accounting identity, on the totals as the contract keeps them: `getCash + totalBorrows + badDebt - totalReserves =
//! totalSupply x exchangeRateStored / 1e18` (CToken.sol `exchangeRateStoredInternal`), up to rounding.

mod accrual;
mod events;
mod figures;
mod interfaces;
mod prices;
mod vai;

pub use interfaces::{
    ICToken, IComptroller, IIsolatedVToken, IOldCToken, IPegStability, IPriceOracle, IVaiController,
    IVenusLiquidator,
};

use crate::answers::{Answers, Call, Missing};
use crate::family::{
    At, BadDebt, BlockPace, ColumnLimit, DayStart, Discovery, DiscoveryError, Family, Gives, Layout,
    LayoutDrift, LogReading, Market, PriceAnswer, Snapshot, TokenAnswer, Witness,
};
use crate::token::{self, item};
use accrual::{Clock, last_accrual};
use alloy_sol_types::{SolCall, SolEvent};
use lake::Address;
use lake::bronze::{LogFilter, RawLog, ReadsAtBlock};
use lake::registry::Csu;
use std::collections::{BTreeMap, BTreeSet};

/// Names of the calls: what `key` says in bronze.
mod key {
    pub(super) const LIST: &str = "comptroller.getAllMarkets";
    pub(super) const ORACLE: &str = "comptroller.oracle";
    pub(super) const INCENTIVE: &str = "comptroller.liquidationIncentiveMantissa";
    pub(super) const PROTOCOL_PAUSED: &str = "comptroller.protocolPaused";
    pub(super) const LIQUIDATOR: &str = "comptroller.liquidatorContract";
    pub(super) const VAI_CONTROLLER: &str = "comptroller.vaiController";
    pub(super) const PARAMETERS: &str = "comptroller.markets";
    pub(super) const BORROW_CAP: &str = "comptroller.borrowCaps";
    pub(super) const SUPPLY_CAP: &str = "comptroller.supplyCaps";
    pub(super) const MINT_PAUSED: &str = "comptroller.mintGuardianPaused";
    pub(super) const BORROW_PAUSED: &str = "comptroller.borrowGuardianPaused";
    pub(super) const MINT_ACTION_PAUSED: &str = "comptroller.actionPaused(MINT)";
    pub(super) const BORROW_ACTION_PAUSED: &str = "comptroller.actionPaused(BORROW)";
    pub(super) const MARKET_CONFIG: &str = "comptroller.marketConfig";
    pub(super) const UNDERLYING: &str = "c_token.underlying";
    pub(super) const C_SYMBOL: &str = "c_token.symbol";
    pub(super) const C_DECIMALS: &str = "c_token.decimals";
    pub(super) const CASH: &str = "c_token.getCash";
    pub(super) const BORROWS: &str = "c_token.totalBorrows";
    pub(super) const RESERVES: &str = "c_token.totalReserves";
    pub(super) const SUPPLY: &str = "c_token.totalSupply";
    pub(super) const EXCHANGE_RATE: &str = "c_token.exchangeRateStored";
    pub(super) const RESERVE_FACTOR: &str = "c_token.reserveFactorMantissa";
    pub(super) const BORROW_INDEX: &str = "c_token.borrowIndex";
    pub(super) const ACCRUAL_BLOCK: &str = "c_token.accrualBlockNumber";
    pub(super) const ACCRUAL_TIMESTAMP: &str = "c_token.accrualBlockTimestamp";
    pub(super) const BAD_DEBT: &str = "c_token.badDebt";
    pub(super) const IS_C_TOKEN: &str = "c_token.isCToken";
    pub(super) const SEIZE_SHARE: &str = "c_token.protocolSeizeShareMantissa";
    pub(super) const SEIZE: &str = "c_token.liquidateCalculateSeizeTokens";
    pub(super) const PRICE: &str = "oracle.getUnderlyingPrice";
    pub(super) const VAI: &str = "vai_controller.getVAIAddress";
    pub(super) const VAI_RATE: &str = "vai_controller.getVAIRepayRate";
    pub(super) const VAI_SUPPLY: &str = "vai.totalSupply";
    pub(super) const PSM_MINTED: &str = "vai_psm.vaiMinted";
}

/// Names of contracts in a layout, and in the registry's `contracts`.
mod part {
    pub(super) const ORACLE: &str = "oracle";
    pub(super) const LIQUIDATOR: &str = "liquidator";
    pub(super) const VAI_CONTROLLER: &str = "vai_controller";
    pub(super) const VAI: &str = "vai";
    /// Registry only: Venus's peg stability module, which mints VAI against stablecoins.
    pub(super) const VAI_PSM: &str = "vai_psm";
    /// Registry only: the ERC-20 that stands for the chain's coin, one for one.
    pub(super) const WRAPPED_NATIVE: &str = "wrapped_native";
    pub(super) const UNDERLYING: &str = "underlying";
    /// The cToken itself, where it holds the chain's coin and has no `underlying()` to ask.
    pub(super) const NATIVE: &str = "native";
}

/// A getter without arguments.
struct Getter {
    key: &'static str,
    selector: [u8; 4],
}

const fn getter<C: SolCall>(key: &'static str) -> Getter {
    Getter { key, selector: C::SELECTOR }
}

/// What every cToken tells of its state.
const STATE_GETTERS: [Getter; 9] = [
    getter::<ICToken::symbolCall>(key::C_SYMBOL),
    getter::<ICToken::decimalsCall>(key::C_DECIMALS),
    getter::<ICToken::getCashCall>(key::CASH),
    getter::<ICToken::totalBorrowsCall>(key::BORROWS),
    getter::<ICToken::totalReservesCall>(key::RESERVES),
    getter::<ICToken::totalSupplyCall>(key::SUPPLY),
    getter::<ICToken::exchangeRateStoredCall>(key::EXCHANGE_RATE),
    getter::<ICToken::reserveFactorMantissaCall>(key::RESERVE_FACTOR),
    getter::<ICToken::borrowIndexCall>(key::BORROW_INDEX),
];

/// A cToken has one of these; the layout remembers which under its key.
const ACCRUAL_GETTERS: [Getter; 2] = [
    getter::<ICToken::accrualBlockNumberCall>(key::ACCRUAL_BLOCK),
    getter::<ICToken::accrualBlockTimestampCall>(key::ACCRUAL_TIMESTAMP),
];

/// A cToken has one of these, and the supply rate of the same name.
const BORROW_RATE_GETTERS: [Getter; 3] = [
    getter::<ICToken::borrowRatePerBlockCall>("c_token.borrowRatePerBlock"),
    getter::<ICToken::borrowRatePerTimestampCall>("c_token.borrowRatePerTimestamp"),
    getter::<ICToken::borrowRatePerSecondCall>("c_token.borrowRatePerSecond"),
];

const SUPPLY_RATE_GETTERS: [Getter; 3] = [
    getter::<ICToken::supplyRatePerBlockCall>("c_token.supplyRatePerBlock"),
    getter::<ICToken::supplyRatePerTimestampCall>("c_token.supplyRatePerTimestamp"),
    getter::<ICToken::supplyRatePerSecondCall>("c_token.supplyRatePerSecond"),
];

/// Line of code, where the contracts do not tell it themselves: the registry's `variant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Compound,
    VenusCore,
    VenusIsolated,
    Sumer,
}

impl Line {
    /// The registry's word; [`Line::check`] refuses one that is none.
    fn of(csu: &Csu) -> Self {
        match csu.variant.as_str() {
            "venus_core" => Self::VenusCore,
            "venus_isolated" => Self::VenusIsolated,
            "sumer" => Self::Sumer,
            _ => Self::Compound,
        }
    }

    fn check(csu: &Csu) -> Result<(), DiscoveryError> {
        if csu.variant.is_empty() || Self::of(csu) != Self::Compound {
            return Ok(());
        }
        let why = Missing::Unusable {
            key: format!("variant `{}`", token::printable(&csu.variant, 40)),
            why: "it is none of venus_core, venus_isolated and sumer, or nothing".to_owned(),
        };
        Err(DiscoveryError { what: "the line of code that the registry names", why })
    }
}

/// What a market lends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Underlying {
    /// An ERC-20.
    Token(Address),
    /// The chain's coin, in the name of its wrapped form: one for one, so the decimals that the wrapper answers are those
    /// of the coin, and its prices are the coin's.
    Native(Address),
}

impl Underlying {
    fn token(self) -> Address {
        match self {
            Self::Token(token) | Self::Native(token) => token,
        }
    }
}

/// Stands for a coin whose wrapped form the registry does not know. Nothing is there to answer for its decimals, so figures
/// in whole tokens stay missing.
const UNKNOWN_COIN: Address = Address::repeat_byte(0xee);

fn native_coin(csu: &Csu) -> Address {
    csu.contracts.get(part::WRAPPED_NATIVE).copied().unwrap_or(UNKNOWN_COIN)
}

/// The Compound V2 family.
#[derive(Debug, Clone, Copy)]
pub struct CompoundV2;

impl Family for CompoundV2 {
    fn name(&self) -> &'static str {
        "compound_v2"
    }

    fn gives(&self) -> Gives {
        Gives { borrower: true, debt_amount: true, bad_debt: BadDebt::EventIfDeficit }
    }

    fn limits(&self) -> &'static [ColumnLimit] {
        const PER_BLOCK: &str =
            "where rates are per block, a year has as many blocks as the day's pace makes it";
        const SEIZED: &str = "events count cTokens: they are turned into the underlying at the exchange rate of their block, less the protocol's share; accounts healed by Venus's isolated pools (at most minLiquidatableCollateral) leave no collateral in the log";
        const VAI: &str = "Venus's VAI debt is the token's supply less what the peg stability module minted, without the interest still owed; Sumer's minted debt is read";
        const {
            &[
                ColumnLimit::estimated("supply_apr", PER_BLOCK),
                ColumnLimit::estimated("borrow_apr", PER_BLOCK),
                ColumnLimit::estimated("minted_usd", VAI),
                ColumnLimit::estimated("liq_coll_usd", SEIZED),
                ColumnLimit::estimated("liq_bonus_usd", SEIZED),
            ]
        }
    }

    fn discover(
        &self,
        csu: &Csu,
        answers: &Answers<'_>,
        _history: &[RawLog],
    ) -> Result<Discovery, DiscoveryError> {
        Line::check(csu)?;
        if !answers.asked(key::LIST, "") {
            let list = list_call(csu);
            return Ok(Discovery::Ask(root_calls(csu).into_iter().chain([list]).collect()));
        }
        let c_tokens = markets_list(answers)?;
        let mut roots = roots(csu, answers)?;
        let mut unasked: Vec<Call> = c_tokens
            .iter()
            .filter(|c_token| !is_probed(answers, &item(**c_token)))
            .flat_map(|c_token| probes(*c_token))
            .collect();
        let controller = roots.get(part::VAI_CONTROLLER).filter(|it| !answers.asked(key::VAI, &item(**it)));
        unasked.extend(controller.map(|controller| vai::address_call(*controller)));
        if !unasked.is_empty() {
            return Ok(Discovery::Ask(unasked));
        }
        // Without an answer VAI's debt is missing, and said to be.
        roots.extend(vai::token(answers, &roots).map(|vai| (part::VAI.to_owned(), vai)));
        let markets = c_tokens.iter().map(|c_token| listed_market(answers, *c_token)).collect();
        Ok(Discovery::Found(Layout { roots, markets }))
    }

    fn snapshot(&self, csu: &Csu, layout: &Layout) -> Vec<Call> {
        let line = Line::of(csu);
        let mut calls = root_calls(csu);
        calls.push(list_call(csu));
        calls.push(incentive_call(csu));
        if line == Line::VenusCore {
            calls.push(Call::new(key::PROTOCOL_PAUSED, "", csu.entry, &IComptroller::protocolPausedCall {}));
        }
        let oracle = layout.roots.get(part::ORACLE).copied();
        let mut tokens = BTreeSet::new();
        for market in &layout.markets {
            let Ok(c_token) = market.id.parse::<Address>() else { continue };
            calls.extend(state_calls(market, c_token));
            calls.extend(line_calls(line, csu.entry, c_token));
            calls.extend(oracle.map(|oracle| prices::call(oracle, &market.id, c_token)));
            tokens.extend(token_of_layout(csu, market));
        }
        calls.extend(vai::snapshot_calls(csu, layout));
        tokens.extend(layout.roots.get(part::VAI));
        calls.extend(tokens.into_iter().flat_map(token::calls));
        calls
    }

    fn event_reads(&self, csu: &Csu, layout: &Layout, logs: &[&RawLog]) -> Vec<Call> {
        let mut calls = root_calls(csu);
        calls.push(incentive_call(csu));
        calls.extend(events::reads(csu, layout, logs));
        calls
    }

    fn confirm(&self, csu: &Csu, layout: &Layout, answers: &Answers<'_>) -> Result<(), LayoutDrift> {
        let drift = |what: String| Err(LayoutDrift { what });
        let found = roots(csu, answers).unwrap_or_default();
        for name in [part::ORACLE, part::LIQUIDATOR, part::VAI_CONTROLLER] {
            if found.get(name) != layout.roots.get(name) {
                return drift(format!("the comptroller's {name}"));
            }
        }
        if vai::token(answers, &found).is_some_and(|vai| layout.roots.get(part::VAI) != Some(&vai)) {
            return drift("the token of the VAI controller".into());
        }
        // The reads of an event go to single markets.
        if !answers.asked(key::LIST, "") {
            return Ok(());
        }
        let listed: Option<Vec<String>> =
            markets_list(answers).ok().map(|list| list.iter().map(|c_token| item(*c_token)).collect());
        if listed != Some(layout.markets.iter().map(|market| market.id.clone()).collect()) {
            return drift("the list of markets".into());
        }
        match layout.markets.iter().find_map(|market| changed_part(answers, market)) {
            Some(what) => drift(what),
            None => Ok(()),
        }
    }

    fn filter(&self, csu: &Csu, layouts: &[&Layout]) -> LogFilter {
        let markets = layouts.iter().flat_map(|layout| &layout.markets).filter_map(|m| m.id.parse().ok());
        let venus = [part::LIQUIDATOR, part::VAI_CONTROLLER];
        let asked = layouts.iter().flat_map(|layout| venus.map(|name| layout.roots.get(name).copied()));
        // Venus's Liquidator is older than the comptroller's word for it.
        let listed = venus.map(|name| csu.contracts.get(name).copied());
        LogFilter::new(markets.chain(asked.chain(listed).flatten()), events::TOPICS)
    }

    /// The clock is set in `accrueInterest`, which emits `AccrueInterest` in the same call, and when the market is set up,
    /// which does not; there the borrow index is 1e18, and any interest raises it (read in every source named above).
    fn witness(&self, csu: &Csu, reads: &ReadsAtBlock, since: DayStart) -> Option<Witness> {
        let answers = Answers::new(&reads.calls);
        let touched = markets_list(&answers).ok()?.into_iter().filter_map(|c_token| {
            let id = item(c_token);
            let index = answers.value::<ICToken::borrowIndexCall>(key::BORROW_INDEX, &id).ok()?;
            let last = last_accrual(&answers, &id, &csu.chain, reads.block).ok()?;
            let (at, is_of_day) = match last.clock {
                Clock::Seconds => (At::Time(last.at), last.at >= since.timestamp),
                Clock::Blocks => (At::Block(last.at), last.at >= since.block),
            };
            (is_of_day && index > accrual::WAD).then_some((at, c_token))
        });
        let (at, c_token) = touched.min()?;
        let topics = [ICToken::AccrueInterest::SIGNATURE_HASH, IOldCToken::AccrueInterest::SIGNATURE_HASH];
        Some(Witness { at, filter: LogFilter::new([c_token], topics) })
    }

    fn read_snapshot(
        &self,
        csu: &Csu,
        reads: &ReadsAtBlock,
        pace: BlockPace,
    ) -> Result<Snapshot, DiscoveryError> {
        let answers = Answers::new(&reads.calls);
        let ids: Vec<String> = markets_list(&answers)?.iter().map(|c_token| item(*c_token)).collect();
        let vai = vai::controller(csu, &answers);
        let priced = ids.iter().chain(vai.as_ref());
        let (prices, disputed) = prices::of_tokens(csu, &answers, priced.clone());
        let of = figures::OfBlock { csu, answers: &answers, block: reads.block, pace, disputed: &disputed };
        let reserves = ids.iter().map(|id| of.market(id));
        let vai_debt = vai.as_ref().map(|controller| vai::figures(&of, controller));
        Ok(Snapshot {
            reserves: reserves.chain(vai_debt).collect(),
            prices,
            tokens: tokens(csu, &answers, priced),
        })
    }

    fn read_event_prices(&self, csu: &Csu, reads: &ReadsAtBlock) -> (Vec<PriceAnswer>, Vec<TokenAnswer>) {
        let answers = Answers::new(&reads.calls);
        let ids: BTreeSet<&String> =
            reads.calls.iter().filter(|call| call.key == key::PRICE).map(|call| &call.item).collect();
        let (prices, _) = prices::of_tokens(csu, &answers, ids.iter().copied());
        (prices, tokens(csu, &answers, ids.into_iter()))
    }

    fn read_logs(&self, csu: &Csu, logs: &[RawLog], reads: &[ReadsAtBlock]) -> Vec<LogReading> {
        events::readings(csu, logs, reads)
    }
}

fn tokens<'i>(csu: &Csu, answers: &Answers<'_>, ids: impl Iterator<Item = &'i String>) -> Vec<TokenAnswer> {
    let tokens: BTreeSet<Address> = ids.map(|id| token_or_market(csu, answers, id).0).collect();
    tokens.into_iter().map(|token| token::answer(answers, token)).collect()
}

fn list_call(csu: &Csu) -> Call {
    Call::new(key::LIST, "", csu.entry, &IComptroller::getAllMarketsCall {})
}

fn incentive_call(csu: &Csu) -> Call {
    Call::new(key::INCENTIVE, "", csu.entry, &IComptroller::liquidationIncentiveMantissaCall {})
}

fn root_calls(csu: &Csu) -> Vec<Call> {
    let mut calls = vec![Call::new(key::ORACLE, "", csu.entry, &IComptroller::oracleCall {})];
    if Line::of(csu) == Line::VenusCore {
        calls.push(Call::new(key::LIQUIDATOR, "", csu.entry, &IComptroller::liquidatorContractCall {}));
        calls.push(Call::new(key::VAI_CONTROLLER, "", csu.entry, &IComptroller::vaiControllerCall {}));
    }
    calls
}

fn markets_list(answers: &Answers<'_>) -> Result<Vec<Address>, DiscoveryError> {
    answers
        .value::<IComptroller::getAllMarketsCall>(key::LIST, "")
        .map_err(|why| DiscoveryError { what: "the list of markets of a comptroller", why })
}

/// The contracts that the whole deployment shares. Those of Venus may be unset, or not yet have a getter.
fn roots(csu: &Csu, answers: &Answers<'_>) -> Result<BTreeMap<String, Address>, DiscoveryError> {
    let oracle = answers
        .value::<IComptroller::oracleCall>(key::ORACLE, "")
        .map_err(|why| DiscoveryError { what: "the oracle of a comptroller", why })?;
    let mut roots = BTreeMap::from([(part::ORACLE.to_owned(), oracle)]);
    if Line::of(csu) == Line::VenusCore {
        let named = [
            (part::LIQUIDATOR, answers.value::<IComptroller::liquidatorContractCall>(key::LIQUIDATOR, "")),
            (part::VAI_CONTROLLER, answers.value::<IComptroller::vaiControllerCall>(key::VAI_CONTROLLER, "")),
        ];
        for (name, answer) in named {
            roots.extend(answer.ok().filter(|it| !it.is_zero()).map(|address| (name.to_owned(), address)));
        }
    }
    Ok(roots)
}

/// The questions that tell what a market lends and how it counts.
///
/// They are asked when contracts are listed, and of a market that lends the chain's coin never again: `CEther` of
/// compound-protocol until 2022-06, and with it vBNB, qiAVAX and others, has a fallback (`function () external payable`)
/// that mints. A question that it does not know succeeds, returns nothing and brings the market up to date, so that what is
/// read after it in the same batch is of another state than what was read before.
fn probes(c_token: Address) -> impl Iterator<Item = Call> {
    let underlying = getter::<ICToken::underlyingCall>(key::UNDERLYING);
    let clocks = ACCRUAL_GETTERS.into_iter().chain(BORROW_RATE_GETTERS);
    std::iter::once(underlying).chain(clocks).map(move |getter| ask(&getter, c_token))
}

fn ask(getter: &Getter, c_token: Address) -> Call {
    Call { key: getter.key.to_owned(), item: item(c_token), to: c_token, input: getter.selector.into() }
}

/// Whether it was asked what the market is; a snapshot counts, which has left out what the layout knew.
fn is_probed(answers: &Answers<'_>, id: &str) -> bool {
    ACCRUAL_GETTERS.iter().any(|getter| answers.asked(getter.key, id))
}

fn listed_market(answers: &Answers<'_>, c_token: Address) -> Market {
    let id = item(c_token);
    let mut contracts = BTreeMap::new();
    let first_that_answers = |getters: &[Getter]| {
        getters.iter().map(|getter| getter.key).find(|name| answers.data(name, &id).is_ok())
    };
    for getters in [&ACCRUAL_GETTERS[..], &BORROW_RATE_GETTERS[..]] {
        contracts.extend(first_that_answers(getters).map(|name| (name.to_owned(), c_token)));
    }
    match token_lent(answers, &id) {
        Ok(Some(token)) => drop(contracts.insert(part::UNDERLYING.to_owned(), token)),
        Ok(None) => drop(contracts.insert(part::NATIVE.to_owned(), c_token)),
        // It has no such function: it reverts, or its fallback answers with nothing.
        Err(Missing::Reverted { .. } | Missing::NoCode { .. }) if is_alive(answers, &id) => {
            contracts.insert(part::NATIVE.to_owned(), c_token);
        }
        Err(_) => {}
    }
    Market { id, contracts }
}

/// The ERC-20 that a market lends; `None` when it lends the chain's coin. Of that `underlying()` is not asked by a plan
/// that knows, or is zero (sumer-contracts CEther.sol).
fn token_lent(answers: &Answers<'_>, id: &str) -> Result<Option<Address>, Missing> {
    match answers.value::<ICToken::underlyingCall>(key::UNDERLYING, id) {
        Ok(token) => Ok(Some(token).filter(|token| !token.is_zero())),
        Err(Missing::NotAsked { .. }) if is_alive(answers, id) => Ok(None),
        Err(why) => Err(why),
    }
}

/// Whether a cToken is there at all.
fn is_alive(answers: &Answers<'_>, id: &str) -> bool {
    let alive = [key::ACCRUAL_BLOCK, key::ACCRUAL_TIMESTAMP, key::EXCHANGE_RATE];
    alive.iter().any(|name| answers.data(name, id).is_ok())
}

/// What a market lends: a cToken's underlying, or VAI.
fn underlying(csu: &Csu, answers: &Answers<'_>, id: &str) -> Result<Underlying, Missing> {
    if answers.asked(key::VAI, id) {
        return answers.value::<IVaiController::getVAIAddressCall>(key::VAI, id).map(Underlying::Token);
    }
    let token = token_lent(answers, id)?;
    Ok(token.map_or_else(|| Underlying::Native(native_coin(csu)), Underlying::Token))
}

/// What a market lends, or the market itself in its place, with the reason. Nothing prices a cToken, so an amount in it
/// stays without a value instead of vanishing from the sums.
fn token_or_market(csu: &Csu, answers: &Answers<'_>, id: &str) -> (Address, Option<Missing>) {
    match underlying(csu, answers, id) {
        Ok(underlying) => (underlying.token(), None),
        Err(why) => (id.parse().unwrap_or_default(), Some(why)),
    }
}

fn token_of_layout(csu: &Csu, market: &Market) -> Option<Address> {
    let native = || market.contracts.contains_key(part::NATIVE).then(|| native_coin(csu));
    market.contracts.get(part::UNDERLYING).copied().or_else(native)
}

fn state_calls(market: &Market, c_token: Address) -> Vec<Call> {
    let is_native = market.contracts.contains_key(part::NATIVE);
    let mut calls: Vec<Call> = STATE_GETTERS.iter().map(|getter| ask(getter, c_token)).collect();
    let known = |getters: &[Getter]| getters.iter().position(|it| market.contracts.contains_key(it.key));
    let mut ask_one = |getters: &[Getter], known: Option<usize>| match known {
        Some(index) => calls.extend(getters.get(index).map(|getter| ask(getter, c_token))),
        // Where none was found the usual one tells why; a market without a fallback may be asked for all.
        None if is_native => calls.extend(getters.first().map(|getter| ask(getter, c_token))),
        None => calls.extend(getters.iter().map(|getter| ask(getter, c_token))),
    };
    ask_one(&ACCRUAL_GETTERS, known(&ACCRUAL_GETTERS));
    let rate = known(&BORROW_RATE_GETTERS);
    ask_one(&BORROW_RATE_GETTERS, rate);
    ask_one(&SUPPLY_RATE_GETTERS, rate);
    if !is_native {
        calls.push(ask(&getter::<ICToken::underlyingCall>(key::UNDERLYING), c_token));
        calls.push(ask(&getter::<ICToken::badDebtCall>(key::BAD_DEBT), c_token));
    }
    calls
}

fn line_calls(line: Line, comptroller: Address, c_token: Address) -> Vec<Call> {
    let id = item(c_token);
    let market = c_token;
    let mut calls =
        vec![Call::new(key::PARAMETERS, &id, comptroller, &IComptroller::marketsCall { cToken: c_token })];
    if line == Line::Sumer {
        calls.push(ask(&getter::<ICToken::isCTokenCall>(key::IS_C_TOKEN), c_token));
        let config = IComptroller::marketConfigCall { cToken: c_token };
        calls.push(Call::new(key::MARKET_CONFIG, &id, comptroller, &config));
        return calls;
    }
    let borrow_cap = IComptroller::borrowCapsCall { cToken: c_token };
    calls.push(Call::new(key::BORROW_CAP, &id, comptroller, &borrow_cap));
    let supply_cap = IComptroller::supplyCapsCall { cToken: c_token };
    calls.push(Call::new(key::SUPPLY_CAP, &id, comptroller, &supply_cap));
    if line == Line::Compound {
        let mint = IComptroller::mintGuardianPausedCall { cToken: c_token };
        calls.push(Call::new(key::MINT_PAUSED, &id, comptroller, &mint));
        let borrow = IComptroller::borrowGuardianPausedCall { cToken: c_token };
        calls.push(Call::new(key::BORROW_PAUSED, &id, comptroller, &borrow));
    } else {
        let mint = IComptroller::actionPausedCall { market, action: 0 };
        calls.push(Call::new(key::MINT_ACTION_PAUSED, &id, comptroller, &mint));
        let borrow = IComptroller::actionPausedCall { market, action: 2 };
        calls.push(Call::new(key::BORROW_ACTION_PAUSED, &id, comptroller, &borrow));
    }
    calls
}

/// What of a market is no longer as the layout has it. A getter that has stopped to answer may have been replaced (Sumer
/// went from blocks to seconds in 2024); a market that cannot be read at all is a matter of that market.
fn changed_part(answers: &Answers<'_>, market: &Market) -> Option<String> {
    let id = &market.id;
    let known = market.contracts.get(part::UNDERLYING);
    if answers.value::<ICToken::underlyingCall>(key::UNDERLYING, id).is_ok_and(|it| Some(&it) != known) {
        return Some(format!("the underlying of market {id}"));
    }
    ACCRUAL_GETTERS
        .iter()
        .chain(&BORROW_RATE_GETTERS)
        .find(|getter| market.contracts.contains_key(getter.key) && answers.data(getter.key, id).is_err())
        .map(|getter| format!("{} of market {id}", getter.key))
}

#[cfg(test)]
mod tests;
