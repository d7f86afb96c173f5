//! Compound III (Comet): one contract a market, one base token that is lent, any number of collateral tokens that are not.
//!
//! Sources: compound-finance/comet d5a30b0, files named at each rule. Comet.sol, ScrollComet.sol (15 collateral tokens)
//! and CometWithExtendedAssetList.sol (24, from late 2024) have the same interface, events and arithmetic, back to the
//! first deployment of August 2022. What is read, and what it means:
//!
//! | figure | from | note |
//! |---|---|---|
//! | supplied, borrowed (base) | `totalSupply()`, `totalBorrow()` | accrue by view to the block's time |
//! | available (base) | `baseToken.balanceOf(comet)` | |
//! | reserves (base) | `getReserves()` | signed: bad debt makes it smaller |
//! | supplied (collateral) | `totalsCollateral(asset).totalSupplyAsset` | never lent |
//! | reserves (collateral) | `getCollateralReserves(asset)` | absorbed from borrowers and not yet sold |
//! | rates | the model's eight parameters and `getUtilization()` | the arithmetic of `getSupplyRate` and `getBorrowRate`, which want the utilization as argument and so do not fit one batch |
//! | price | `getPrice(feed)` | 8 decimals, in the market's unit of account |
//!
//! **Unit of account.** US dollars, unless the registry row has `contracts.usd_feed`. Then the market's prices are in ether,
//! bitcoin or a staked ether, which no function tells; a collateral's price is divided by the base token's, which makes it a
//! price in base tokens whatever the unit is, and the feed prices the base token in dollars.
//!
//! The market is the Comet. Accounting identity: `supplied + reserves = available + borrowed`, exactly.

mod figures;

use crate::answers::{Answers, Call, Missing};
use crate::family::{
    BadDebt, BlockPace, ColumnLimit, DayStart, Discovery, DiscoveryError, Family, Gives, Layout, LayoutDrift,
    Leg, LogReading, Market, PriceAnswer, Quote, ReserveFigures, Snapshot, TokenAnswer, Witness,
};
use crate::oracle::usd_feed;
use crate::token::{self, IErc20, item};
use alloy_sol_types::{SolCall, SolEvent, sol};
use figures::{UnitOfAccount, base_figures, collateral_figures};
use lake::amount::ratio;
use lake::bronze::{LogFilter, RawLog, ReadsAtBlock};
use lake::registry::Csu;
use lake::status::{PriceSource, Role};
use lake::{Address, I256, U256};
use std::collections::{BTreeMap, BTreeSet};

sol! {
    /// CometMainInterface.sol; the structs of CometCore.sol and CometStorage.sol; `totalsBasic` of CometExtInterface.sol,
    /// which the Comet reaches through its fallback.
    interface IComet {
        /// CometCore.sol. Factors in 1e18; `supplyCap` in base units, `scale` is 10 to the token's decimals.
        struct AssetInfo {
            uint8 offset;
            address asset;
            address priceFeed;
            uint64 scale;
            uint64 borrowCollateralFactor;
            uint64 liquidateCollateralFactor;
            uint64 liquidationFactor;
            uint128 supplyCap;
        }
        /// CometStorage.sol.
        struct TotalsBasic {
            uint64 baseSupplyIndex;
            uint64 baseBorrowIndex;
            uint64 trackingSupplyIndex;
            uint64 trackingBorrowIndex;
            uint104 totalSupplyBase;
            uint104 totalBorrowBase;
            uint40 lastAccrualTime;
            uint8 pauseFlags;
        }
        /// Once for each account absorbed, after its collateral. `usdValue` is in the unit of account, 8 decimals.
        event AbsorbDebt(address indexed absorber, address indexed borrower, uint256 basePaidOut, uint256 usdValue);
        /// Once for each collateral token of an account absorbed.
        event AbsorbCollateral(address indexed absorber, address indexed borrower, address indexed asset, uint256 collateralAbsorbed, uint256 usdValue);

        function baseToken() external view returns (address);
        function baseTokenPriceFeed() external view returns (address);
        function numAssets() external view returns (uint8);
        function getAssetInfo(uint8 i) external view returns (AssetInfo);
        function getAssetInfoByAddress(address asset) external view returns (AssetInfo);
        function totalSupply() external view returns (uint256);
        function totalBorrow() external view returns (uint256);
        function totalsBasic() external view returns (TotalsBasic);
        function getReserves() external view returns (int256);
        function getUtilization() external view returns (uint256);
        function totalsCollateral(address asset) external view returns (uint128 totalSupplyAsset, uint128 _reserved);
        function getCollateralReserves(address asset) external view returns (uint256);
        function getPrice(address priceFeed) external view returns (uint256);
        function baseScale() external view returns (uint256);
        function supplyKink() external view returns (uint256);
        function supplyPerSecondInterestRateBase() external view returns (uint256);
        function supplyPerSecondInterestRateSlopeLow() external view returns (uint256);
        function supplyPerSecondInterestRateSlopeHigh() external view returns (uint256);
        function borrowKink() external view returns (uint256);
        function borrowPerSecondInterestRateBase() external view returns (uint256);
        function borrowPerSecondInterestRateSlopeLow() external view returns (uint256);
        function borrowPerSecondInterestRateSlopeHigh() external view returns (uint256);
    }

    /// IPriceFeed.sol.
    interface IPriceFeed {
        function description() external view returns (string);
    }
}

/// CometCore.sol `FACTOR_SCALE`: factors, rates and utilization are in 1e18.
const FACTOR: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);
/// CometCore.sol `PRICE_SCALE`: a feed with other than 8 decimals is refused by the constructor.
const PRICE: U256 = U256::from_limbs([100_000_000, 0, 0, 0]);
/// CometCore.sol `SECONDS_PER_YEAR`.
const SECONDS_PER_YEAR: U256 = U256::from_limbs([31_536_000, 0, 0, 0]);
/// What contracts/pricefeeds/ConstantPriceFeed.sol says of itself.
const CONSTANT_FEED: &str = "Constant price feed";

/// Names of the calls: what `key` says in bronze.
mod key {
    pub(super) const BASE: &str = "comet.baseToken";
    pub(super) const BASE_FEED: &str = "comet.baseTokenPriceFeed";
    pub(super) const COUNT: &str = "comet.numAssets";
    pub(super) const INFO: &str = "comet.getAssetInfo";
    pub(super) const INFO_OF: &str = "comet.getAssetInfoByAddress";
    pub(super) const SCALE: &str = "comet.baseScale";
    pub(super) const SUPPLY: &str = "comet.totalSupply";
    pub(super) const BORROW: &str = "comet.totalBorrow";
    pub(super) const TOTALS: &str = "comet.totalsBasic";
    pub(super) const RESERVES: &str = "comet.getReserves";
    pub(super) const UTILIZATION: &str = "comet.getUtilization";
    pub(super) const CASH: &str = "base_token.balanceOf(comet)";
    pub(super) const COLLATERAL: &str = "comet.totalsCollateral";
    pub(super) const COLLATERAL_RESERVES: &str = "comet.getCollateralReserves";
    pub(super) const BASE_PRICE: &str = "comet.getPrice(baseTokenPriceFeed)";
    pub(super) const PRICE: &str = "comet.getPrice";
    pub(super) const FEED_TEXT: &str = "price_feed.description";
    pub(super) const CREDITED: &str = "comet.balanceOf(borrower)";
    /// Kink, base, slope below the kink, slope above it.
    pub(super) const SUPPLY_MODEL: [&str; 4] = [
        "comet.supplyKink",
        "comet.supplyPerSecondInterestRateBase",
        "comet.supplyPerSecondInterestRateSlopeLow",
        "comet.supplyPerSecondInterestRateSlopeHigh",
    ];
    /// As `SUPPLY_MODEL`.
    pub(super) const BORROW_MODEL: [&str; 4] = [
        "comet.borrowKink",
        "comet.borrowPerSecondInterestRateBase",
        "comet.borrowPerSecondInterestRateSlopeLow",
        "comet.borrowPerSecondInterestRateSlopeHigh",
    ];
}

/// The functions of a snapshot that take no argument and whose answer is one word.
const WORDS: [(&str, [u8; 4]); 13] = [
    (key::SCALE, IComet::baseScaleCall::SELECTOR),
    (key::SUPPLY, IComet::totalSupplyCall::SELECTOR),
    (key::BORROW, IComet::totalBorrowCall::SELECTOR),
    (key::RESERVES, IComet::getReservesCall::SELECTOR),
    (key::UTILIZATION, IComet::getUtilizationCall::SELECTOR),
    (key::SUPPLY_MODEL[0], IComet::supplyKinkCall::SELECTOR),
    (key::SUPPLY_MODEL[1], IComet::supplyPerSecondInterestRateBaseCall::SELECTOR),
    (key::SUPPLY_MODEL[2], IComet::supplyPerSecondInterestRateSlopeLowCall::SELECTOR),
    (key::SUPPLY_MODEL[3], IComet::supplyPerSecondInterestRateSlopeHighCall::SELECTOR),
    (key::BORROW_MODEL[0], IComet::borrowKinkCall::SELECTOR),
    (key::BORROW_MODEL[1], IComet::borrowPerSecondInterestRateBaseCall::SELECTOR),
    (key::BORROW_MODEL[2], IComet::borrowPerSecondInterestRateSlopeLowCall::SELECTOR),
    (key::BORROW_MODEL[3], IComet::borrowPerSecondInterestRateSlopeHighCall::SELECTOR),
];

/// Names of contracts in a layout, and in a registry row.
mod part {
    pub(super) const BASE: &str = "base_token";
    pub(super) const FEED: &str = "price_feed";
    pub(super) const USD_FEED: &str = "usd_feed";
}

/// Bits of `TotalsBasic.pauseFlags` (CometCore.sol `PAUSE_SUPPLY_OFFSET` and following), with the remark each leaves.
const PAUSES: [&str; 5] =
    ["supply_paused", "transfer_paused", "withdraw_paused", "absorb_paused", "buy_paused"];

/// The Comet family.
#[derive(Debug, Clone, Copy)]
pub struct CompoundV3;

impl Family for CompoundV3 {
    fn name(&self) -> &'static str {
        "compound_v3"
    }

    fn gives(&self) -> Gives {
        Gives { borrower: true, debt_amount: true, bad_debt: BadDebt::Estimate }
    }

    fn limits(&self) -> &'static [ColumnLimit] {
        LIMITS
    }

    /// The Comet's proxy, the same at every block.
    fn has_changing_emitters(&self) -> bool {
        false
    }

    fn discover(
        &self,
        csu: &Csu,
        answers: &Answers<'_>,
        _history: &[RawLog],
    ) -> Result<Discovery, DiscoveryError> {
        if !answers.asked(key::BASE, "") {
            return Ok(Discovery::Ask(root_calls(csu)));
        }
        let (base, feed) = roots(answers)?;
        let count = number_of_assets(answers)?;
        let unasked: Vec<u8> = (0..count).filter(|i| !answers.asked(key::INFO, &i.to_string())).collect();
        if !unasked.is_empty() {
            return Ok(Discovery::Ask(unasked.into_iter().map(|i| info_call(csu.entry, i)).collect()));
        }
        let market = |info: IComet::AssetInfo| Market {
            id: item(info.asset),
            contracts: BTreeMap::from([(part::FEED.to_owned(), info.priceFeed)]),
        };
        Ok(Discovery::Found(Layout {
            roots: BTreeMap::from([(part::BASE.to_owned(), base), (part::FEED.to_owned(), feed)]),
            markets: assets(answers)?.into_iter().map(market).collect(),
        }))
    }

    fn snapshot(&self, csu: &Csu, layout: &Layout) -> Vec<Call> {
        let comet = csu.entry;
        let mut calls = root_calls(csu);
        calls.extend(WORDS.map(|(key, selector)| word_call(key, comet, selector)));
        calls.push(Call::new(key::TOTALS, "", comet, &IComet::totalsBasicCall {}));
        calls.extend(base_price_calls(csu, layout));
        if let Some(&base) = layout.roots.get(part::BASE) {
            calls.push(Call::new(key::CASH, "", base, &IErc20::balanceOfCall { account: comet }));
        }
        for (i, market) in (0..=u8::MAX).zip(&layout.markets) {
            let Ok(asset) = market.id.parse::<Address>() else { continue };
            let id = &market.id;
            calls.push(info_call(comet, i));
            calls.push(Call::new(key::COLLATERAL, id, comet, &IComet::totalsCollateralCall { asset }));
            let reserves = IComet::getCollateralReservesCall { asset };
            calls.push(Call::new(key::COLLATERAL_RESERVES, id, comet, &reserves));
            if let Some(&price_feed) = market.contracts.get(part::FEED) {
                calls.push(Call::new(key::PRICE, id, comet, &IComet::getPriceCall { priceFeed: price_feed }));
                calls.push(Call::new(key::FEED_TEXT, id, price_feed, &IPriceFeed::descriptionCall {}));
            }
            calls.extend(token::calls(asset));
        }
        calls
    }

    fn event_reads(&self, csu: &Csu, layout: &Layout, logs: &[&RawLog]) -> Vec<Call> {
        let (mut seized, mut absorbed) = (BTreeSet::new(), BTreeSet::new());
        for log in logs {
            match read_event(log) {
                Ok(Event::Collateral(event)) => drop(seized.insert(event.asset)),
                Ok(Event::Debt(event)) => drop(absorbed.insert(event.borrower)),
                Err(_) => {}
            }
        }
        let mut calls = root_calls(csu);
        calls.extend(base_price_calls(csu, layout));
        for account in absorbed {
            let balance = IErc20::balanceOfCall { account };
            calls.push(Call::new(key::CREDITED, item(account), csu.entry, &balance));
        }
        for asset in seized {
            let id = item(asset);
            let info = IComet::getAssetInfoByAddressCall { asset };
            calls.push(Call::new(key::INFO_OF, &id, csu.entry, &info));
            let market = layout.markets.iter().find(|market| market.id == id);
            if let Some(&price_feed) = market.and_then(|market| market.contracts.get(part::FEED)) {
                calls.push(Call::new(
                    key::PRICE,
                    &id,
                    csu.entry,
                    &IComet::getPriceCall { priceFeed: price_feed },
                ));
            }
            calls.extend(token::calls(asset));
        }
        calls
    }

    /// At a liquidation's block, of the seized tokens only.
    fn confirm(&self, _csu: &Csu, layout: &Layout, answers: &Answers<'_>) -> Result<(), LayoutDrift> {
        let drift = |what: String| Err(LayoutDrift { what });
        let found = roots(answers).ok();
        let root = |name| layout.roots.get(name).copied();
        if found.map(|roots| roots.0) != root(part::BASE) {
            return drift("the base token".into());
        }
        if found.map(|roots| roots.1) != root(part::FEED) {
            return drift("the price feed of the base token".into());
        }
        let known = |id: &str| layout.markets.iter().find(|market| market.id == id);
        if answers.asked(key::SUPPLY, "") {
            let Ok(listed) = assets(answers) else { return drift("the list of collateral tokens".into()) };
            let listed: Vec<_> = listed.iter().map(|info| (item(info.asset), Some(info.priceFeed))).collect();
            let market = |market: &Market| (market.id.clone(), market.contracts.get(part::FEED).copied());
            if listed != layout.markets.iter().map(market).collect::<Vec<_>>() {
                return drift("the list of collateral tokens and their price feeds".into());
            }
        }
        for id in answers.items(key::INFO_OF) {
            // A token that is no longer listed has no feed here, and none in a layout of this block.
            let feed = asset_info(answers, id).ok().map(|info| info.priceFeed);
            if feed != known(id).and_then(|market| market.contracts.get(part::FEED).copied()) {
                return drift(format!("the price feed of collateral token {id}"));
            }
        }
        Ok(())
    }

    fn filter(&self, csu: &Csu, _layouts: &[&Layout]) -> LogFilter {
        let topics = [IComet::AbsorbDebt::SIGNATURE_HASH, IComet::AbsorbCollateral::SIGNATURE_HASH];
        LogFilter::new([csu.entry], topics)
    }

    /// None: the one time that a Comet keeps, `lastAccrualTime`, is set by `accrueInternal`, and two of its callers leave no
    /// log of the Comet's: `accrueAccount`, which CometRewards calls at every claim, and `transferBase` between two
    /// borrowers (Comet.sol).
    fn witness(&self, _csu: &Csu, _reads: &ReadsAtBlock, _since: DayStart) -> Option<Witness> {
        None
    }

    fn read_snapshot(
        &self,
        csu: &Csu,
        reads: &ReadsAtBlock,
        _pace: BlockPace,
    ) -> Result<Snapshot, DiscoveryError> {
        let answers = Answers::new(&reads.calls);
        let (base, _) = roots(&answers)?;
        let unit = UnitOfAccount::of(csu, &answers, base);
        let assets = assets(&answers)?;
        let collateral = |info: &IComet::AssetInfo| collateral_figures(csu, &answers, info);
        let tokens = || std::iter::once(base).chain(assets.iter().map(|info| info.asset));
        Ok(Snapshot {
            reserves: std::iter::once(base_figures(csu, &answers, base, &unit))
                .chain(assets.iter().map(collateral))
                .collect(),
            prices: std::iter::once(unit.base_price(csu, &answers, base))
                .chain(assets.iter().map(|info| unit.price(csu, &answers, info.asset)))
                .collect(),
            tokens: tokens().map(|token| token::answer(&answers, token)).collect(),
        })
    }

    fn read_event_prices(&self, csu: &Csu, reads: &ReadsAtBlock) -> (Vec<PriceAnswer>, Vec<TokenAnswer>) {
        let answers = Answers::new(&reads.calls);
        // A batch in which the Comet did not name its base token was not confirmed, and prices nothing.
        let Ok((base, _)) = roots(&answers) else { return (Vec::new(), Vec::new()) };
        let unit = UnitOfAccount::of(csu, &answers, base);
        let seized: BTreeSet<Address> =
            answers.items(key::PRICE).into_iter().filter_map(|token| token.parse().ok()).collect();
        let tokens = std::iter::once(base).chain(seized.iter().copied());
        (
            std::iter::once(unit.base_price(csu, &answers, base))
                .chain(seized.iter().map(|token| unit.price(csu, &answers, *token)))
                .collect(),
            tokens.map(|token| token::answer(&answers, token)).collect(),
        )
    }

    fn read_logs(&self, _csu: &Csu, logs: &[RawLog], reads: &[ReadsAtBlock]) -> Vec<LogReading> {
        let events: Vec<Result<Event, String>> = logs.iter().map(read_event).collect();
        let at: BTreeMap<u64, Answers<'_>> =
            reads.iter().map(|reads| (reads.block.number, Answers::new(&reads.calls))).collect();
        // A Comet has one base token for life (it is the market), so any block of the day names it.
        let base = at.values().find_map(|answers| roots(answers).ok()).map(|(base, _)| base);
        let nothing = Answers::default();
        let readings = logs.iter().zip(&events).enumerate().map(|(index, (log, event))| {
            let leg = |event, borrower, absorber| Leg {
                borrower: Some(borrower),
                liquidator: Some(absorber),
                ..Leg::new(log, event, item(log.address), format!("borrower {}", item(borrower)))
            };
            match (event, base) {
                (Err(why), _) => LogReading::reject(log, why),
                (Ok(Event::Collateral(event)), _) => LogReading::Leg(Box::new(Leg {
                    collateral: Some((event.asset, event.collateralAbsorbed)),
                    ..leg("AbsorbCollateral", event.borrower, event.absorber)
                })),
                (Ok(Event::Debt(_)), None) => {
                    LogReading::reject(log, "the Comet's base token was not read at any block of the day")
                }
                (Ok(Event::Debt(event)), Some(base)) => {
                    let answers = at.get(&log.block_number).unwrap_or(&nothing);
                    let seized = seized_before(event, log, &logs[..index], &events[..index]);
                    let bad_debt = seized.and_then(|seized| uncovered(event, &seized, answers));
                    LogReading::Leg(Box::new(Leg {
                        debt: Some((base, event.basePaidOut)),
                        bad_debt: bad_debt.map(|amount| (base, amount)),
                        flags: remark(event, bad_debt, answers).into_iter().collect(),
                        ..leg("AbsorbDebt", event.borrower, event.absorber)
                    }))
                }
            }
        });
        readings.collect()
    }
}

/// What gold's columns mean here where they mean something else than read.
const LIMITS: &[ColumnLimit] = &[
    ColumnLimit::estimated(
        "liq_debt_usd",
        "what the reserves paid out for the collateral: the debt, and where the collateral at its liquidation \
              factor is worth more, what the borrower was credited beyond it",
    ),
    ColumnLimit::estimated(
        "liq_coll_usd",
        "collateral that the protocol took over; the absorber receives none of it, and its later sale is no liquidation",
    ),
    ColumnLimit::estimated(
        "liq_bonus_usd",
        "goes to the protocol's reserves until the collateral is sold at a discount, not to the absorber",
    ),
    ColumnLimit::estimated(
        "liq_bonus_wavg",
        "the borrower's penalty, 1 - liquidationFactor; the absorber gets nothing",
    ),
    ColumnLimit::estimated(
        "bad_debt_usd",
        "no event tells it: the debt less the absorbed collateral at its liquidation factor, from the events' own \
              values",
    ),
    ColumnLimit::never(
        "deficit_usd",
        "bad debt is taken off the reserves when it arises; no figure of it is kept",
    ),
];

enum Event {
    Debt(IComet::AbsorbDebt),
    Collateral(IComet::AbsorbCollateral),
}

/// Topic count and data length are checked by the decoder: other contracts' events may share a first topic.
fn read_event(log: &RawLog) -> Result<Event, String> {
    let topic0 = *log.topics.first().ok_or("the log has no topic")?;
    if log.data.len() != 64 {
        return Err(format!("{} bytes of data, not 64", log.data.len()));
    }
    let topics = log.topics.iter().copied();
    let event = if topic0 == IComet::AbsorbDebt::SIGNATURE_HASH {
        IComet::AbsorbDebt::decode_raw_log_validate(topics, &log.data).map(Event::Debt)
    } else if topic0 == IComet::AbsorbCollateral::SIGNATURE_HASH {
        IComet::AbsorbCollateral::decode_raw_log_validate(topics, &log.data).map(Event::Collateral)
    } else {
        return Err(format!("unknown first topic {topic0}"));
    };
    event.map_err(|error| format!("not the event that its first topic names: {error}"))
}

/// The collateral that was seized for an `AbsorbDebt`: the logs of its transaction and borrower since the last one, for
/// `absorbInternal` emits an account's collateral first. `None` when a log of the transaction cannot be read.
fn seized_before<'a>(
    debt: &IComet::AbsorbDebt,
    log: &RawLog,
    earlier_logs: &[RawLog],
    earlier_events: &'a [Result<Event, String>],
) -> Option<Vec<&'a IComet::AbsorbCollateral>> {
    let mut seized = Vec::new();
    for (earlier, event) in earlier_logs.iter().zip(earlier_events).rev() {
        if earlier.transaction_hash != log.transaction_hash {
            break;
        }
        match event.as_ref().ok()? {
            Event::Debt(other) if other.borrower == debt.borrower => break,
            Event::Collateral(event) if event.borrower == debt.borrower => seized.push(event),
            Event::Debt(_) | Event::Collateral(_) => {}
        }
    }
    Some(seized)
}

/// The part of the debt that the seized collateral did not cover, in base units.
///
/// `absorbInternal` credits each token's value times its liquidation factor against the debt, and the reserves bear the
/// rest. Then `basePaidOut` is the whole debt, and `usdValue` its value; otherwise `basePaidOut` is worth what was
/// credited, and nothing is uncovered. `None` when a liquidation factor was not read.
fn uncovered(
    debt: &IComet::AbsorbDebt,
    seized: &[&IComet::AbsorbCollateral],
    answers: &Answers<'_>,
) -> Option<U256> {
    let mut credited = U256::ZERO;
    for event in seized {
        let factor = U256::from(asset_info(answers, &item(event.asset)).ok()?.liquidationFactor);
        credited = credited.checked_add(event.usdValue.checked_mul(factor)? / FACTOR)?;
    }
    match debt.usdValue.checked_sub(credited) {
        None => Some(U256::ZERO),
        Some(short) if short.is_zero() => Some(U256::ZERO),
        Some(short) => Some(debt.basePaidOut.checked_mul(short)? / debt.usdValue),
    }
}

/// Where everything was covered, `basePaidOut` is what the collateral is worth at its factors: the debt, and a credit of base
/// tokens for the rest, which is what the borrower has of them after the block. (Some have spent it by then.)
fn remark(debt: &IComet::AbsorbDebt, bad_debt: Option<U256>, answers: &Answers<'_>) -> Option<&'static str> {
    let credited = answers.value::<IErc20::balanceOfCall>(key::CREDITED, &item(debt.borrower));
    match bad_debt {
        None => Some("bad_debt_unknown"),
        Some(amount) if amount.is_zero() && credited != Ok(U256::ZERO) => Some("paid_beyond_debt"),
        Some(_) => None,
    }
}

fn root_calls(csu: &Csu) -> Vec<Call> {
    vec![
        Call::new(key::BASE, "", csu.entry, &IComet::baseTokenCall {}),
        Call::new(key::BASE_FEED, "", csu.entry, &IComet::baseTokenPriceFeedCall {}),
        Call::new(key::COUNT, "", csu.entry, &IComet::numAssetsCall {}),
    ]
}

fn base_price_calls(csu: &Csu, layout: &Layout) -> Vec<Call> {
    let mut calls = Vec::new();
    if let Some(&price_feed) = layout.roots.get(part::FEED) {
        calls.push(Call::new(
            key::BASE_PRICE,
            "",
            csu.entry,
            &IComet::getPriceCall { priceFeed: price_feed },
        ));
    }
    if let Some(&base) = layout.roots.get(part::BASE) {
        calls.extend(token::calls(base));
        if let Some(&feed) = csu.contracts.get(part::USD_FEED) {
            calls.extend(usd_feed::calls(base, feed));
        }
    }
    calls
}

fn info_call(comet: Address, i: u8) -> Call {
    Call::new(key::INFO, i, comet, &IComet::getAssetInfoCall { i })
}

fn word_call(key: &str, to: Address, selector: [u8; 4]) -> Call {
    Call { key: key.to_owned(), item: String::new(), to, input: selector.to_vec().into() }
}

fn word(answers: &Answers<'_>, key: &str) -> Result<U256, Missing> {
    answers.value::<IComet::totalSupplyCall>(key, "")
}

/// Base token and its price feed.
fn roots(answers: &Answers<'_>) -> Result<(Address, Address), DiscoveryError> {
    let base = answers.value::<IComet::baseTokenCall>(key::BASE, "");
    let feed = answers.value::<IComet::baseTokenPriceFeedCall>(key::BASE_FEED, "");
    Ok((
        base.map_err(|why| DiscoveryError { what: "the base token of a Comet", why })?,
        feed.map_err(|why| DiscoveryError { what: "the price feed of a Comet's base token", why })?,
    ))
}

fn number_of_assets(answers: &Answers<'_>) -> Result<u8, DiscoveryError> {
    let count = answers.value::<IComet::numAssetsCall>(key::COUNT, "");
    count.map_err(|why| DiscoveryError { what: "the number of a Comet's collateral tokens", why })
}

/// Every collateral token, in the Comet's order.
fn assets(answers: &Answers<'_>) -> Result<Vec<IComet::AssetInfo>, DiscoveryError> {
    let info = |i: u8| {
        answers
            .value::<IComet::getAssetInfoCall>(key::INFO, &i.to_string())
            .map_err(|why| DiscoveryError { what: "a collateral token of a Comet", why })
    };
    (0..number_of_assets(answers)?).map(info).collect()
}

fn asset_info(answers: &Answers<'_>, id: &str) -> Result<IComet::AssetInfo, Missing> {
    answers.value::<IComet::getAssetInfoByAddressCall>(key::INFO_OF, id)
}

#[cfg(test)]
mod tests;
