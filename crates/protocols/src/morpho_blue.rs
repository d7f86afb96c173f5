//! Morpho Blue, and Lista's Moolah, which has its interface.
//!
//! Sources: morpho-org/morpho-blue (tag v1.0.0 and HEAD), morpho-org/morpho-blue-irm, lista-dao/moolah (tags moolah-1.0 to
//! moolah-audit-1.6 and HEAD), files named at each rule. One contract holds every market; a market is a loan token, a
//! collateral token, an oracle, a rate model and a threshold, and its id is the hash of these five
//! (MarketParamsLib.sol). Nothing lists the markets but `CreateMarket` logs. What is read, and what it means:
//!
//! | figure | from | note |
//! |---|---|---|
//! | supplied, borrowed | `market(id)` after `accrueInterest`, in one call | [`accrual`]; a market that is not shown as of the block's time has none |
//! | available | supplied - borrowed | the market's cash: interest adds to both, so it is the same before and after |
//! | collateral | `token.balanceOf(morpho)` less the cash of the token's markets | one row a token: positions are not summed by the contract |
//! | rates | the rate model's arithmetic | [`adaptive_curve`]; only where it gives the interest that was accrued, to the unit |
//! | price | Moolah `oracle.peek(token) / 1e8`, in dollars; Morpho Blue `oracle.price()`, in the loan token | |
//!
//! Calls: for a market of Morpho Blue 5 (`market`, `rateAtTarget`, `borrowRateView`, `price`, accrual), of Moolah 7; for a
//! token 3, and in Moolah one for each oracle that prices it. All of them follow from the layout, so a market without
//! anything in it costs what a large one costs: that it is empty is known from its answer only.
//!
//! Accounting identity: a token's balance = the cash of its markets + the collateral in it. For a token that backs no market
//! the last term is none, and what is left over is the gap. It stands at the token's largest market.

#![allow(
    clippy::too_many_arguments,
    reason = "`sol!` makes a constructor for `Liquidate`, which has eight fields"
)]

mod accrual;
mod adaptive_curve;
mod figures;

use crate::answers::{Answers, Call, Missing};
use crate::family::{
    At, BadDebt, BlockPace, ColumnLimit, DayStart, Discovery, DiscoveryError, Family, Gives, Layout,
    LayoutDrift, Leg, LogReading, Market, PriceAnswer, Snapshot, TokenAnswer, Witness,
};
use crate::token::{self, IErc20, item};
use alloy_primitives::keccak256;
use alloy_sol_types::{SolEvent, SolValue, sol};
use lake::bronze::{LogFilter, RawLog, ReadsAtBlock};
use lake::registry::Csu;
use lake::{Address, B256, U256};
use std::collections::{BTreeMap, BTreeSet};

sol! {
    /// morpho-blue src/interfaces/IMorpho.sol, moolah src/moolah/interfaces/IMoolah.sol: what a market's id is the hash of.
    #[derive(Debug, PartialEq, Eq)]
    struct MarketParams {
        address loanToken;
        address collateralToken;
        address oracle;
        address irm;
        uint256 lltv;
    }

    /// The same files, `Market`: the totals of the moment `lastUpdate`.
    #[derive(Debug, PartialEq, Eq)]
    struct State {
        uint128 totalSupplyAssets;
        uint128 totalSupplyShares;
        uint128 totalBorrowAssets;
        uint128 totalBorrowShares;
        uint128 lastUpdate;
        uint128 fee;
    }

    /// morpho-blue src/Morpho.sol and libraries/EventsLib.sol; `paused` and `brokers` moolah src/moolah/Moolah.sol alone.
    interface IMorpho {
        event CreateMarket(bytes32 indexed id, MarketParams marketParams);
        /// Emitted in `_accrueInterest`, where a market has a rate model and time has passed.
        event AccrueInterest(bytes32 indexed id, uint256 prevBorrowRate, uint256 interest, uint256 feeShares);
        event Liquidate(
            bytes32 indexed id,
            address indexed caller,
            address indexed borrower,
            uint256 repaidAssets,
            uint256 repaidShares,
            uint256 seizedAssets,
            uint256 badDebtAssets,
            uint256 badDebtShares
        );

        function feeRecipient() external view returns (address);
        function idToMarketParams(bytes32 id) external view returns (MarketParams);
        function market(bytes32 id) external view returns (State);
        function accrueInterest(MarketParams marketParams) external;
        function paused() external view returns (bool);
        function brokers(bytes32 id) external view returns (address);
    }

    /// morpho-blue-irm src/adaptive-curve-irm and src/fixed-rate-irm; caps and floors moolah src/interest-rate-model alone.
    interface IIrm {
        function borrowRateView(MarketParams marketParams, State market) external view returns (uint256);
        function rateAtTarget(bytes32 id) external view returns (int256);
        function rateCap(bytes32 id) external view returns (uint256);
        function rateFloor(bytes32 id) external view returns (uint256);
        function minCap() external view returns (uint256);
    }

    /// morpho-blue src/interfaces/IOracle.sol (`price`), moolah src/moolah/interfaces/IOracle.sol (`peek`).
    interface IOracle {
        function price() external view returns (uint256);
        function peek(address asset) external view returns (uint256);
    }
}

/// Names of the calls: what `key` says in bronze.
mod key {
    pub(super) use super::accrual::ACCRUED;
    pub(super) const FEE_RECIPIENT: &str = "morpho.feeRecipient";
    pub(super) const PAUSED: &str = "morpho.paused";
    pub(super) const PARAMS: &str = "morpho.idToMarketParams";
    pub(super) const MARKET: &str = "morpho.market";
    pub(super) const BROKER: &str = "morpho.brokers";
    pub(super) const RATE_AT_TARGET: &str = "irm.rateAtTarget";
    pub(super) const RATE_CAP: &str = "irm.rateCap";
    pub(super) const RATE_FLOOR: &str = "irm.rateFloor";
    pub(super) const MIN_CAP: &str = "irm.minCap";
    pub(super) const FIXED_RATE: &str = "irm.borrowRateView(empty market)";
    pub(super) const PRICE: &str = "oracle.price";
    pub(super) const PEEK: &str = "oracle.peek";
    pub(super) const BALANCE: &str = "token.balanceOf(morpho)";
}

/// Names of contracts in a layout. A market's threshold is no contract, yet belongs to what its id is the hash of: it is
/// below 1e18 (Morpho.sol, `enableLltv`), and kept as the address of that number.
mod part {
    pub(super) const MORPHO: &str = "morpho";
    pub(super) const LOAN: &str = "loan";
    pub(super) const COLLATERAL: &str = "collateral";
    pub(super) const ORACLE: &str = "oracle";
    pub(super) const IRM: &str = "irm";
    pub(super) const LLTV: &str = "lltv";
}

const LIMITS: &[ColumnLimit] = &[
    ColumnLimit::estimated(
        "n_markets",
        "One more than there are: all collateral is one row a token under the contract's own address.",
    ),
    ColumnLimit::estimated(
        "collateral_usd",
        "A token's balance less the cash of its markets: tokens sent to the contract by mistake count.",
    ),
    ColumnLimit::never(
        "reserves_usd",
        "Fees are supply shares of the fee recipient, who is a supplier among others.",
    ),
    ColumnLimit::never(
        "deficit_usd",
        "Bad debt is taken from the market's suppliers in the liquidation; none is kept.",
    ),
    ColumnLimit::estimated("liq_threshold_wavg", WEIGHTED_BY_SUPPLY),
    ColumnLimit::estimated("liq_bonus_wavg", WEIGHTED_BY_SUPPLY),
];
const WEIGHTED_BY_SUPPLY: &str =
    "A market's figure is weighted by what is lent in it, since the collateral of a market is not stored.";

/// The Morpho Blue family.
#[derive(Debug, Clone, Copy)]
pub struct MorphoBlue;

impl Family for MorphoBlue {
    fn name(&self) -> &'static str {
        "morpho_blue"
    }

    fn gives(&self) -> Gives {
        Gives { borrower: true, debt_amount: true, bad_debt: BadDebt::Event }
    }

    fn limits(&self) -> &'static [ColumnLimit] {
        LIMITS
    }

    /// The contract itself: Morpho Blue cannot be changed, Moolah's proxy keeps its address.
    fn has_changing_emitters(&self) -> bool {
        false
    }

    fn history(&self, csu: &Csu) -> Option<LogFilter> {
        Some(LogFilter::new([csu.entry], [IMorpho::CreateMarket::SIGNATURE_HASH]))
    }

    fn discover(
        &self,
        csu: &Csu,
        answers: &Answers<'_>,
        history: &[RawLog],
    ) -> Result<Discovery, DiscoveryError> {
        if !answers.asked(key::FEE_RECIPIENT, "") {
            return Ok(Discovery::Ask(vec![root_call(csu.entry)]));
        }
        let morpho = root(answers)?;
        let what = "the markets of a Morpho Blue contract";
        if history.is_empty() {
            // Logs that were not read look the same, and would make a contract full of money an empty one.
            let why =
                "no CreateMarket log is known up to this block: none was emitted, or the logs were not read";
            return Err(DiscoveryError { what, why: Missing::unusable("history", why) });
        }
        let mut seen = BTreeSet::new();
        let mut markets = Vec::new();
        for log in history {
            let (id, params) = created_market(log).map_err(|why| DiscoveryError {
                what,
                why: Missing::unusable(format!("log {} of block {}", log.log_index, log.block_number), why),
            })?;
            if seen.insert(id) {
                markets.push(Market { id: format!("{id:#x}"), contracts: params.parts() });
            }
        }
        let roots = BTreeMap::from([(part::MORPHO.to_owned(), morpho)]);
        Ok(Discovery::Found(Layout { roots, markets }))
    }

    /// Reads of stored state come first, accruals last: in one `eth_call` a read that came later would see what was accrued.
    fn snapshot(&self, csu: &Csu, layout: &Layout) -> Vec<Call> {
        let Some(&morpho) = layout.roots.get(part::MORPHO) else { return vec![root_call(csu.entry)] };
        let markets: Vec<(B256, MarketParams)> = layout.markets.iter().filter_map(params_in).collect();
        let mut calls = vec![root_call(morpho)];
        if is_moolah(csu) {
            calls.push(Call::new(key::PAUSED, "", morpho, &IMorpho::pausedCall {}));
            let models: BTreeSet<Address> = markets.iter().map(|(_, params)| params.irm).collect();
            for irm in models.into_iter().filter(|irm| !irm.is_zero()) {
                calls.push(Call::new(key::MIN_CAP, item(irm), irm, &IIrm::minCapCall {}));
            }
        }
        for (id, params) in &markets {
            calls.push(Call::new(key::MARKET, format!("{id:#x}"), morpho, &IMorpho::marketCall { id: *id }));
            calls.extend(rate_calls(csu, *id, params));
            if is_moolah(csu) {
                let brokers = IMorpho::brokersCall { id: *id };
                calls.push(Call::new(key::BROKER, format!("{id:#x}"), morpho, &brokers));
            }
        }
        calls.extend(price_calls(csu, markets.iter().map(|(id, params)| (*id, params))));
        for token in tokens_of(markets.iter().map(|(_, params)| params)) {
            let balance = IErc20::balanceOfCall { account: morpho };
            calls.push(Call::new(key::BALANCE, item(token), token, &balance));
            calls.extend(token::calls(token));
        }
        calls.extend(markets.iter().map(|(id, params)| accrual::call(morpho, *id, params)));
        calls
    }

    fn event_reads(&self, csu: &Csu, layout: &Layout, logs: &[&RawLog]) -> Vec<Call> {
        let ids: BTreeSet<B256> =
            logs.iter().filter_map(|log| liquidation(log).ok()).map(|event| event.id).collect();
        let known: Vec<(B256, MarketParams)> =
            layout.markets.iter().filter_map(params_in).filter(|(id, _)| ids.contains(id)).collect();
        let mut calls: Vec<Call> = ids
            .iter()
            .map(|id| {
                let params = IMorpho::idToMarketParamsCall { id: *id };
                Call::new(key::PARAMS, format!("{id:#x}"), csu.entry, &params)
            })
            .collect();
        calls.extend(price_calls(csu, known.iter().map(|(id, params)| (*id, params))));
        for token in tokens_of(known.iter().map(|(_, params)| params)) {
            calls.extend(token::calls(token));
        }
        calls
    }

    /// A market never goes and never changes. One that came after the layout was made is in no answer: that the list still
    /// holds is known from the logs of [`Family::history`] alone.
    fn confirm(&self, _csu: &Csu, layout: &Layout, answers: &Answers<'_>) -> Result<(), LayoutDrift> {
        if answers.asked(key::FEE_RECIPIENT, "")
            && root(answers).ok() != layout.roots.get(part::MORPHO).copied()
        {
            return Err(LayoutDrift { what: "the Morpho Blue contract".into() });
        }
        for market in &layout.markets {
            if params_in(market).is_none() {
                return Err(LayoutDrift {
                    what: format!("market {}, whose parts are not those of its id,", market.id),
                });
            }
            let state = answers.value::<IMorpho::marketCall>(key::MARKET, &market.id);
            if state.is_ok_and(|state| state.lastUpdate == 0) {
                return Err(LayoutDrift { what: format!("market {}, which is not there,", market.id) });
            }
        }
        Ok(())
    }

    /// Not of Moolah's, whose oracles price tokens in dollars and not against each other.
    fn oracles_are_anyones(&self, csu: &Csu) -> bool {
        !is_moolah(csu)
    }

    fn filter(&self, csu: &Csu, _layouts: &[&Layout]) -> LogFilter {
        LogFilter::new([csu.entry], [IMorpho::Liquidate::SIGNATURE_HASH])
    }

    /// `lastUpdate` is set in `createMarket`, which emits `CreateMarket`, and in `_accrueInterest`, which emits
    /// `AccrueInterest` where the market has a rate model: read in Morpho.sol v1.0.0 and HEAD, in Moolah.sol moolah-1.0,
    /// moolah-audit-1.6 and HEAD. A market without a rate model is no witness: its accrual says nothing. Nor is a market
    /// that was touched at the snapshot's very time: the accruals of the batch bear that time, too.
    fn witness(&self, _csu: &Csu, reads: &ReadsAtBlock, since: DayStart) -> Option<Witness> {
        let answers = Answers::new(&reads.calls);
        let morpho = root(&answers).ok()?;
        let touched = figures::listed(&reads.calls).filter_map(|(id, params)| {
            let has_rate_model = params.is_ok_and(|params| !params.irm.is_zero());
            let state = answers.value::<IMorpho::marketCall>(key::MARKET, id).ok();
            state.filter(|_| has_rate_model).and_then(|state| u64::try_from(state.lastUpdate).ok())
        });
        let timestamp =
            touched.filter(|time| (since.timestamp..reads.block.timestamp).contains(time)).min()?;
        let topics = [IMorpho::AccrueInterest::SIGNATURE_HASH, IMorpho::CreateMarket::SIGNATURE_HASH];
        Some(Witness { at: At::Time(timestamp), filter: LogFilter::new([morpho], topics) })
    }

    fn read_snapshot(
        &self,
        csu: &Csu,
        reads: &ReadsAtBlock,
        _pace: BlockPace,
    ) -> Result<Snapshot, DiscoveryError> {
        let answers = Answers::new(&reads.calls);
        let morpho = root(&answers)?;
        figures::snapshot(is_moolah(csu), morpho, reads, &answers)
    }

    fn read_event_prices(&self, csu: &Csu, reads: &ReadsAtBlock) -> (Vec<PriceAnswer>, Vec<TokenAnswer>) {
        let answers = Answers::new(&reads.calls);
        let markets = markets_at(reads);
        let prices = if is_moolah(csu) {
            figures::peeks(&answers, reads)
        } else {
            let asked = markets.iter().filter(|(id, _)| answers.asked(key::PRICE, id));
            figures::without_repeats(asked.map(|(id, params)| figures::price(&answers, id, params)))
        };
        let tokens = tokens_of(markets.values());
        (prices, tokens.iter().map(|token| token::answer(&answers, *token)).collect())
    }

    fn read_logs(&self, csu: &Csu, logs: &[RawLog], reads: &[ReadsAtBlock]) -> Vec<LogReading> {
        let markets: BTreeMap<u64, BTreeMap<String, MarketParams>> =
            reads.iter().map(|reads| (reads.block.number, markets_at(reads))).collect();
        let reading = |log: &RawLog| {
            let event = match liquidation(log) {
                Ok(event) => event,
                Err(why) => return LogReading::reject(log, why),
            };
            let id = format!("{:#x}", event.id);
            match markets.get(&log.block_number).and_then(|markets| markets.get(&id)) {
                Some(params) => LogReading::Leg(Box::new(leg(csu, log, &event, params))),
                None => {
                    LogReading::reject(log, format!("the tokens of market {id} were not read at its block"))
                }
            }
        };
        logs.iter().map(reading).collect()
    }
}

impl MarketParams {
    /// The market's id (MarketParamsLib.sol).
    fn id(&self) -> B256 {
        keccak256(self.abi_encode())
    }

    fn parts(&self) -> BTreeMap<String, Address> {
        [
            (part::LOAN, self.loanToken),
            (part::COLLATERAL, self.collateralToken),
            (part::ORACLE, self.oracle),
            (part::IRM, self.irm),
            (part::LLTV, Address::from_word(self.lltv.into())),
        ]
        .map(|(name, address)| (name.to_owned(), address))
        .into()
    }
}

/// A market of a layout, if its parts are those of its id.
fn params_in(market: &Market) -> Option<(B256, MarketParams)> {
    let get = |name: &str| market.contracts.get(name).copied();
    let params = MarketParams {
        loanToken: get(part::LOAN)?,
        collateralToken: get(part::COLLATERAL)?,
        oracle: get(part::ORACLE)?,
        irm: get(part::IRM)?,
        lltv: U256::from_be_bytes(get(part::LLTV)?.into_word().0),
    };
    let id = params.id();
    (format!("{id:#x}") == market.id).then_some((id, params))
}

fn is_moolah(csu: &Csu) -> bool {
    csu.variant == "moolah"
}

fn root_call(morpho: Address) -> Call {
    Call::new(key::FEE_RECIPIENT, "", morpho, &IMorpho::feeRecipientCall {})
}

/// The contract, if it answers as one of the family.
fn root(answers: &Answers<'_>) -> Result<Address, DiscoveryError> {
    let what = "the fee recipient of a Morpho Blue contract";
    answers
        .value::<IMorpho::feeRecipientCall>(key::FEE_RECIPIENT, "")
        .map_err(|why| DiscoveryError { what, why })?;
    let contract = answers.contract(key::FEE_RECIPIENT, "");
    contract.ok_or_else(|| DiscoveryError { what, why: Missing::NotAsked { key: key::FEE_RECIPIENT.into() } })
}

/// What a market's rate is made of. Moolah's models have bounds.
fn rate_calls(csu: &Csu, id: B256, params: &MarketParams) -> Vec<Call> {
    let (irm, name) = (params.irm, format!("{id:#x}"));
    if irm.is_zero() {
        return Vec::new();
    }
    let empty = State {
        totalSupplyAssets: 0,
        totalSupplyShares: 0,
        totalBorrowAssets: 0,
        totalBorrowShares: 0,
        lastUpdate: 0,
        fee: 0,
    };
    let fixed = IIrm::borrowRateViewCall { marketParams: params.clone(), market: empty };
    let mut calls = vec![
        Call::new(key::RATE_AT_TARGET, &name, irm, &IIrm::rateAtTargetCall { id }),
        Call::new(key::FIXED_RATE, &name, irm, &fixed),
    ];
    if is_moolah(csu) {
        calls.push(Call::new(key::RATE_CAP, &name, irm, &IIrm::rateCapCall { id }));
        calls.push(Call::new(key::RATE_FLOOR, &name, irm, &IIrm::rateFloorCall { id }));
    }
    calls
}

/// Moolah's oracles price a token in dollars; Morpho Blue's price a market's collateral in its loan token.
fn price_calls<'a>(csu: &Csu, markets: impl Iterator<Item = (B256, &'a MarketParams)>) -> Vec<Call> {
    let with_oracle = markets.filter(|(_, params)| !params.oracle.is_zero());
    if !is_moolah(csu) {
        let with_collateral = with_oracle.filter(|(_, params)| !params.collateralToken.is_zero());
        return with_collateral
            .map(|(id, params)| {
                Call::new(key::PRICE, format!("{id:#x}"), params.oracle, &IOracle::priceCall {})
            })
            .collect();
    }
    let pairs: BTreeSet<(Address, Address)> = with_oracle
        .flat_map(|(_, params)| {
            [params.loanToken, params.collateralToken].map(|token| (token, params.oracle))
        })
        .filter(|(token, _)| !token.is_zero())
        .collect();
    pairs
        .into_iter()
        .map(|(token, oracle)| {
            let peek = IOracle::peekCall { asset: token };
            Call::new(key::PEEK, format!("{}/{}", item(token), item(oracle)), oracle, &peek)
        })
        .collect()
}

fn tokens_of<'a>(markets: impl Iterator<Item = &'a MarketParams>) -> BTreeSet<Address> {
    markets
        .flat_map(|params| [params.loanToken, params.collateralToken])
        .filter(|token| !token.is_zero())
        .collect()
}

/// The markets whose tokens were read at a block.
fn markets_at(reads: &ReadsAtBlock) -> BTreeMap<String, MarketParams> {
    let answers = Answers::new(&reads.calls);
    let asked = reads.calls.iter().filter(|call| call.key == key::PARAMS);
    asked
        .filter_map(|call| {
            let params = answers.value::<IMorpho::idToMarketParamsCall>(key::PARAMS, &call.item).ok()?;
            // The contract answers zeros for an id that it does not know.
            (format!("{:#x}", params.id()) == call.item).then(|| (call.item.clone(), params))
        })
        .collect()
}

fn leg(csu: &Csu, log: &RawLog, event: &IMorpho::Liquidate, params: &MarketParams) -> Leg {
    let id = format!("{:#x}", event.id);
    let liquidation = format!("borrower {} market {id}", item(event.borrower));
    // `liquidateBrokerPosition` gives the bad debt as repaid, too, although nobody paid (Moolah.sol).
    let nobody_paid = is_moolah(csu)
        && event.seizedAssets.is_zero()
        && (event.repaidAssets, event.repaidShares) == (event.badDebtAssets, event.badDebtShares)
        && !event.badDebtAssets.is_zero();
    let repaid = if nobody_paid { U256::ZERO } else { event.repaidAssets };
    let has_bad_debt = !event.badDebtAssets.is_zero();
    Leg {
        liquidator: Some(event.caller),
        borrower: Some(event.borrower),
        debt: Some((params.loanToken, repaid)),
        collateral: Some((params.collateralToken, event.seizedAssets)),
        bad_debt: has_bad_debt.then_some((params.loanToken, event.badDebtAssets)),
        flags: if nobody_paid { vec!["broker_bad_debt"] } else { Vec::new() },
        ..Leg::new(log, "Liquidate", id, liquidation)
    }
}

/// Topic count and data length are checked by the decoder: other contracts' events may share a first topic.
fn liquidation(log: &RawLog) -> Result<IMorpho::Liquidate, String> {
    event::<IMorpho::Liquidate>(log, 160)
}

/// A market that was created: its id is that of its parameters, or the log is none of this family's.
fn created_market(log: &RawLog) -> Result<(B256, MarketParams), String> {
    let event = event::<IMorpho::CreateMarket>(log, 160)?;
    if event.marketParams.id() != event.id {
        return Err(format!("market {:#x} is not the hash of its parameters", event.id));
    }
    if event.marketParams.lltv >= U256::from(adaptive_curve::WAD) {
        return Err(format!("market {:#x} has a threshold of one or more", event.id));
    }
    Ok((event.id, event.marketParams))
}

fn event<E: SolEvent>(log: &RawLog, length: usize) -> Result<E, String> {
    let topic0 = *log.topics.first().ok_or("the log has no topic")?;
    if topic0 != E::SIGNATURE_HASH {
        return Err(format!("unknown first topic {topic0}"));
    }
    if log.data.len() != length {
        return Err(format!("{} bytes of data, not {length}", log.data.len()));
    }
    E::decode_raw_log_validate(log.topics.iter().copied(), &log.data)
        .map_err(|error| format!("not the event that its first topic names: {error}"))
}

#[cfg(test)]
mod tests;
