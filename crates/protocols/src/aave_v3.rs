//! Aave V3 and its forks (SparkLend, Tydro): versions 3.0 to 3.7.
//!
//! Sources: aave/aave-v3-core (3.0.x) and aave-dao/aave-v3-origin (tags v3.1.0 to v3.6.0 and HEAD), files named at
//! each rule. What is read, and what it means:
//!
//! | figure | from | note |
//! |---|---|---|
//! | supplied | `aToken.totalSupply()` | accrues by view to the block's time |
//! | borrowed | `variableDebt.totalSupply() + stableDebt.totalSupply()` | no stable debt from 3.2 |
//! | available | `getVirtualUnderlyingBalance` where the reserve has virtual accounting (configuration bit 252, from 3.1), else `underlying.balanceOf(aToken)` | |
//! | reserves | `accruedToTreasury x getReserveNormalizedIncome / 1e27` | the treasury's share not yet minted |
//! | deficit | `getReserveDeficit` | from 3.3; a revert means that the version keeps none |
//! | price | `oracle.getAssetPrice / BASE_CURRENCY_UNIT` | US dollars when `BASE_CURRENCY` is zero |
//!
//! The market is the pool: one a CSU, with many reserves.
//!
//! Accounting identity: `supplied + reserves = available + borrowed + unbacked + deficit`, up to rounding, donations
//! to the aToken (3.0) and the treasury's share of the interest since the reserve was last touched.

use crate::answers::{Answers, Call, Missing, keep};
use crate::family::{
    At, BadDebt, BlockPace, DayStart, Discovery, DiscoveryError, Family, Gives, Layout, LayoutDrift, Leg,
    LogReading, Market, PriceAnswer, Quote, ReserveFigures, Snapshot, TokenAnswer, Witness,
};
use crate::token::{self, IErc20, item};
use alloy_sol_types::{SolEvent, sol};
use lake::amount::ratio;
use lake::bronze::{LogFilter, RawLog, ReadsAtBlock};
use lake::registry::Csu;
use lake::status::{PriceSource, Role};
use lake::{Address, B256, I256, U256};
use std::collections::{BTreeMap, BTreeSet};

sol! {
    /// aave-v3-core contracts/interfaces/IPoolAddressesProvider.sol
    interface IPoolAddressesProvider {
        function getPool() external view returns (address);
        function getPriceOracle() external view returns (address);
        function getAddress(bytes32 id) external view returns (address);
    }

    /// The 15 words that `getReserveData` returns in every version (aave-v3-origin DataTypes.sol, ReserveDataLegacy).
    struct ReserveData {
        uint256 configuration;
        uint128 liquidityIndex;
        uint128 currentLiquidityRate;
        uint128 variableBorrowIndex;
        uint128 currentVariableBorrowRate;
        uint128 currentStableBorrowRate;
        uint40 lastUpdateTimestamp;
        uint16 id;
        address aTokenAddress;
        address stableDebtTokenAddress;
        address variableDebtTokenAddress;
        address interestRateStrategyAddress;
        uint128 accruedToTreasury;
        uint128 unbacked;
        uint128 isolationModeTotalDebt;
    }

    /// aave-v3-origin src/contracts/interfaces/IPool.sol
    interface IPool {
        /// Emitted with the amounts that moved; the collateral is what the liquidator got, without the protocol's fee.
        event LiquidationCall(
            address indexed collateralAsset,
            address indexed debtAsset,
            address indexed user,
            uint256 debtToCover,
            uint256 liquidatedCollateralAmount,
            address liquidator,
            bool receiveAToken
        );
        /// Emitted whenever a reserve's state was brought up to date and its rates were set anew.
        event ReserveDataUpdated(
            address indexed reserve,
            uint256 liquidityRate,
            uint256 stableBorrowRate,
            uint256 variableBorrowRate,
            uint256 liquidityIndex,
            uint256 variableBorrowIndex
        );
        /// From 3.3: bad debt burned from a user, once per debt asset.
        event DeficitCreated(address indexed user, address indexed debtAsset, uint256 amountCreated);

        function ADDRESSES_PROVIDER() external view returns (address);
        function POOL_REVISION() external view returns (uint256);
        function getReservesList() external view returns (address[]);
        function getReserveData(address asset) external view returns (ReserveData);
        function getReserveNormalizedIncome(address asset) external view returns (uint256);
        function getVirtualUnderlyingBalance(address asset) external view returns (uint128);
        function getReserveDeficit(address asset) external view returns (uint256);
    }

    /// aave-v3-core contracts/misc/AaveOracle.sol
    interface IAaveOracle {
        function BASE_CURRENCY() external view returns (address);
        function BASE_CURRENCY_UNIT() external view returns (uint256);
        function getAssetPrice(address asset) external view returns (uint256);
        function getSourceOfAsset(address asset) external view returns (address);
    }
}

/// Rates and indexes are in ray.
const RAY: U256 = U256::from_limbs([0x9fd0_803c_e800_0000, 0x033b_2e3c, 0, 0]);

/// Names of the calls: what `key` says in bronze.
mod key {
    pub(super) const PROVIDER: &str = "pool.ADDRESSES_PROVIDER";
    pub(super) const POOL: &str = "provider.getPool";
    pub(super) const ORACLE: &str = "provider.getPriceOracle";
    pub(super) const MOCK_STABLE_DEBT: &str = "provider.getAddress(MOCK_STABLE_DEBT)";
    pub(super) const REVISION: &str = "pool.POOL_REVISION";
    pub(super) const LIST: &str = "pool.getReservesList";
    pub(super) const RESERVE: &str = "pool.getReserveData";
    pub(super) const INCOME: &str = "pool.getReserveNormalizedIncome";
    pub(super) const VIRTUAL: &str = "pool.getVirtualUnderlyingBalance";
    pub(super) const DEFICIT: &str = "pool.getReserveDeficit";
    pub(super) const SUPPLY: &str = "a_token.totalSupply";
    pub(super) const STABLE_DEBT: &str = "stable_debt.totalSupply";
    pub(super) const VARIABLE_DEBT: &str = "variable_debt.totalSupply";
    pub(super) const CASH: &str = "token.balanceOf(a_token)";
    pub(super) const BASE: &str = "oracle.BASE_CURRENCY";
    pub(super) const UNIT: &str = "oracle.BASE_CURRENCY_UNIT";
    pub(super) const PRICE: &str = "oracle.getAssetPrice";
    pub(super) const SOURCE: &str = "oracle.getSourceOfAsset";
}

/// Names of contracts in a layout.
mod part {
    pub(super) const PROVIDER: &str = "provider";
    pub(super) const POOL: &str = "pool";
    pub(super) const ORACLE: &str = "oracle";
    pub(super) const A_TOKEN: &str = "a_token";
    pub(super) const STABLE_DEBT: &str = "stable_debt";
    pub(super) const VARIABLE_DEBT: &str = "variable_debt";
}

/// The Aave V3 family.
#[derive(Debug, Clone, Copy)]
pub struct AaveV3;

impl Family for AaveV3 {
    fn name(&self) -> &'static str {
        "aave_v3"
    }

    fn gives(&self) -> Gives {
        Gives { borrower: true, debt_amount: true, bad_debt: BadDebt::EventIfDeficit }
    }

    /// The pool's proxy, the same at every block.
    fn has_changing_emitters(&self) -> bool {
        false
    }

    fn discover(
        &self,
        csu: &Csu,
        answers: &Answers<'_>,
        _history: &[RawLog],
    ) -> Result<Discovery, DiscoveryError> {
        let Some(provider) = provider(csu, answers)? else {
            return Ok(Discovery::Ask(vec![provider_call(csu)]));
        };
        if !answers.asked(key::POOL, "") {
            return Ok(Discovery::Ask(root_calls(csu, provider)));
        }
        let (pool, oracle) = roots(answers)?;
        if !answers.asked(key::LIST, "") {
            return Ok(Discovery::Ask(vec![Call::new(key::LIST, "", pool, &IPool::getReservesListCall {})]));
        }
        let assets = reserves_list(answers)?;
        let unasked: Vec<Call> = assets
            .iter()
            .filter(|asset| !answers.asked(key::RESERVE, &item(**asset)))
            .map(|asset| reserve_data_call(pool, *asset))
            .collect();
        if !unasked.is_empty() {
            return Ok(Discovery::Ask(unasked));
        }
        let market = |asset: &Address| -> Result<Market, DiscoveryError> {
            let data = reserve_data(answers, &item(*asset))
                .map_err(|why| DiscoveryError { what: "the tokens of an Aave V3 reserve", why })?;
            Ok(Market { id: item(*asset), contracts: token_contracts(&data) })
        };
        Ok(Discovery::Found(Layout {
            roots: [(part::PROVIDER, provider), (part::POOL, pool), (part::ORACLE, oracle)]
                .map(|(name, address)| (name.to_owned(), address))
                .into(),
            markets: assets.iter().map(market).collect::<Result<_, _>>()?,
        }))
    }

    fn snapshot(&self, csu: &Csu, layout: &Layout) -> Vec<Call> {
        let root = |name: &str| layout.roots.get(name).copied();
        let (Some(provider), Some(pool), Some(oracle)) =
            (root(part::PROVIDER), root(part::POOL), root(part::ORACLE))
        else {
            return Vec::new();
        };
        let mut calls = root_calls(csu, provider);
        let mock = IPoolAddressesProvider::getAddressCall { id: mock_stable_debt_id() };
        calls.push(Call::new(key::MOCK_STABLE_DEBT, "", provider, &mock));
        calls.push(Call::new(key::REVISION, "", pool, &IPool::POOL_REVISIONCall {}));
        calls.push(Call::new(key::LIST, "", pool, &IPool::getReservesListCall {}));
        calls.extend(oracle_unit_calls(oracle));
        for market in &layout.markets {
            let Ok(asset) = market.id.parse::<Address>() else { continue };
            let id = &market.id;
            calls.push(reserve_data_call(pool, asset));
            calls.push(Call::new(key::INCOME, id, pool, &IPool::getReserveNormalizedIncomeCall { asset }));
            calls.push(Call::new(key::VIRTUAL, id, pool, &IPool::getVirtualUnderlyingBalanceCall { asset }));
            calls.push(Call::new(key::DEFICIT, id, pool, &IPool::getReserveDeficitCall { asset }));
            for (name, contract) in [
                (key::SUPPLY, part::A_TOKEN),
                (key::STABLE_DEBT, part::STABLE_DEBT),
                (key::VARIABLE_DEBT, part::VARIABLE_DEBT),
            ] {
                if let Some(&address) = market.contracts.get(contract) {
                    calls.push(Call::new(name, id, address, &IErc20::totalSupplyCall {}));
                }
            }
            if let Some(&account) = market.contracts.get(part::A_TOKEN) {
                calls.push(Call::new(key::CASH, id, asset, &IErc20::balanceOfCall { account }));
            }
            calls.extend(price_calls(oracle, asset));
            calls.extend(token::calls(asset));
        }
        calls
    }

    fn event_reads(&self, csu: &Csu, layout: &Layout, logs: &[&RawLog]) -> Vec<Call> {
        let tokens: BTreeSet<Address> = logs.iter().flat_map(|log| tokens_of(log)).collect();
        let mut calls = Vec::new();
        if let (Some(&provider), Some(&oracle)) =
            (layout.roots.get(part::PROVIDER), layout.roots.get(part::ORACLE))
        {
            calls.extend(root_calls(csu, provider));
            calls.extend(oracle_unit_calls(oracle));
            for token in tokens {
                calls.extend(price_calls(oracle, token));
                calls.extend(token::calls(token));
            }
        }
        calls
    }

    fn confirm(&self, csu: &Csu, layout: &Layout, answers: &Answers<'_>) -> Result<(), LayoutDrift> {
        let drift = |what: String| Err(LayoutDrift { what });
        if provider(csu, answers).ok().flatten().as_ref() != layout.roots.get(part::PROVIDER) {
            return drift("the addresses provider".into());
        }
        let same = |name: &str,
                    found: &Result<(Address, Address), DiscoveryError>,
                    pick: fn(&(Address, Address)) -> Address| {
            found.as_ref().ok().map(pick).as_ref() == layout.roots.get(name)
        };
        let found = roots(answers);
        if !same(part::POOL, &found, |roots| roots.0) {
            return drift("the pool".into());
        }
        if !same(part::ORACLE, &found, |roots| roots.1) {
            return drift("the price oracle".into());
        }
        if !answers.asked(key::LIST, "") {
            return Ok(());
        }
        let listed: Option<Vec<String>> =
            reserves_list(answers).ok().map(|assets| assets.iter().map(|asset| item(*asset)).collect());
        if listed != Some(layout.markets.iter().map(|market| market.id.clone()).collect()) {
            return drift("the list of reserves".into());
        }
        for market in &layout.markets {
            // A reserve that cannot be read is a matter of that reserve, not of the layout.
            if let Ok(data) = reserve_data(answers, &market.id)
                && token_contracts(&data) != market.contracts
            {
                return drift(format!("a token of reserve {}", market.id));
            }
        }
        Ok(())
    }

    fn filter(&self, _csu: &Csu, layouts: &[&Layout]) -> LogFilter {
        let pools = layouts.iter().filter_map(|layout| layout.roots.get(part::POOL).copied());
        LogFilter::new(pools, [IPool::LiquidationCall::SIGNATURE_HASH, IPool::DeficitCreated::SIGNATURE_HASH])
    }

    /// `lastUpdateTimestamp` is set in `updateState` alone, and whoever calls it emits `ReserveDataUpdated` in the same
    /// transaction, or `LiquidationCall` (from 3.6 a liquidation paid in aTokens touches its collateral without new rates):
    /// read in aave-v3-core HEAD and aave-v3-origin v3.3.0, v3.6.0 and HEAD, every caller in `libraries/logic` and `pool`.
    fn witness(&self, _csu: &Csu, reads: &ReadsAtBlock, since: DayStart) -> Option<Witness> {
        let answers = Answers::new(&reads.calls);
        let pool = answers.contract(key::LIST, "")?;
        let touched = reserves_list(&answers).ok()?.into_iter().filter_map(|asset| {
            let data = reserve_data(&answers, &item(asset)).ok()?;
            u64::try_from(data.lastUpdateTimestamp).ok()
        });
        let of_day = since.timestamp..=reads.block.timestamp;
        let timestamp = touched.filter(|time| of_day.contains(time)).min()?;
        let topics = [IPool::ReserveDataUpdated::SIGNATURE_HASH, IPool::LiquidationCall::SIGNATURE_HASH];
        Some(Witness { at: At::Time(timestamp), filter: LogFilter::new([pool], topics) })
    }

    fn read_snapshot(
        &self,
        csu: &Csu,
        reads: &ReadsAtBlock,
        _pace: BlockPace,
    ) -> Result<Snapshot, DiscoveryError> {
        let answers = Answers::new(&reads.calls);
        let assets = reserves_list(&answers)?;
        Ok(Snapshot {
            reserves: assets.iter().map(|asset| reserve_figures(csu, &answers, *asset)).collect(),
            prices: assets.iter().map(|asset| price_answer(&answers, *asset)).collect(),
            tokens: assets.iter().map(|asset| token::answer(&answers, *asset)).collect(),
        })
    }

    fn read_event_prices(&self, _csu: &Csu, reads: &ReadsAtBlock) -> (Vec<PriceAnswer>, Vec<TokenAnswer>) {
        let answers = Answers::new(&reads.calls);
        let tokens: BTreeSet<Address> = reads
            .calls
            .iter()
            .filter(|call| call.key == key::PRICE)
            .filter_map(|call| call.item.parse().ok())
            .collect();
        (
            tokens.iter().map(|token| price_answer(&answers, *token)).collect(),
            tokens.iter().map(|token| token::answer(&answers, *token)).collect(),
        )
    }

    fn read_logs(&self, _csu: &Csu, logs: &[RawLog], _reads: &[ReadsAtBlock]) -> Vec<LogReading> {
        let events: Vec<Result<Event, String>> = logs.iter().map(read_event).collect();
        let readings = logs.iter().zip(&events).enumerate().map(|(index, (log, event))| {
            let leg = |event, liquidation, borrower| Leg {
                borrower: Some(borrower),
                ..Leg::new(log, event, item(log.address), liquidation)
            };
            match event {
                Ok(Event::Liquidation(call)) => LogReading::Leg(Box::new(Leg {
                    liquidator: Some(call.liquidator),
                    debt: Some((call.debtAsset, call.debtToCover)),
                    collateral: Some((call.collateralAsset, call.liquidatedCollateralAmount)),
                    flags: if call.receiveAToken { vec!["receive_a_token"] } else { Vec::new() },
                    ..leg("LiquidationCall", liquidation_of(call), call.user)
                })),
                Ok(Event::Deficit(deficit)) => {
                    let cause = liquidation_that_caused(deficit, log, &logs[index..], &events[index..]);
                    let flags =
                        if cause.is_some() { Vec::new() } else { vec!["deficit_without_liquidation"] };
                    let liquidation = cause.unwrap_or_else(|| format!("deficit {}", item(deficit.user)));
                    LogReading::Leg(Box::new(Leg {
                        bad_debt: Some((deficit.debtAsset, deficit.amountCreated)),
                        flags,
                        ..leg("DeficitCreated", liquidation, deficit.user)
                    }))
                }
                Err(why) => LogReading::reject(log, why),
            }
        });
        readings.collect()
    }
}

enum Event {
    Liquidation(IPool::LiquidationCall),
    Deficit(IPool::DeficitCreated),
}

/// Topic count and data length are checked by the decoder: other contracts' events may share a first topic.
fn read_event(log: &RawLog) -> Result<Event, String> {
    let topic0 = *log.topics.first().ok_or("the log has no topic")?;
    let topics = log.topics.iter().copied();
    let explain =
        |error: alloy_sol_types::Error| format!("not the event that its first topic names: {error}");
    let length = |expected: usize| {
        if log.data.len() == expected {
            Ok(())
        } else {
            Err(format!("{} bytes of data, not {expected}", log.data.len()))
        }
    };
    if topic0 == IPool::LiquidationCall::SIGNATURE_HASH {
        length(128)?;
        IPool::LiquidationCall::decode_raw_log_validate(topics, &log.data)
            .map(Event::Liquidation)
            .map_err(explain)
    } else if topic0 == IPool::DeficitCreated::SIGNATURE_HASH {
        length(32)?;
        IPool::DeficitCreated::decode_raw_log_validate(topics, &log.data).map(Event::Deficit).map_err(explain)
    } else {
        Err(format!("unknown first topic {topic0}"))
    }
}

fn liquidation_of(call: &IPool::LiquidationCall) -> String {
    format!("borrower {} debt {}", item(call.user), item(call.debtAsset))
}

/// The pool emits `DeficitCreated` before the `LiquidationCall` that caused it, in the same transaction
/// (aave-v3-origin v3.3.0 LiquidationLogic.sol: debt is burned before the event is emitted).
fn liquidation_that_caused(
    deficit: &IPool::DeficitCreated,
    log: &RawLog,
    later_logs: &[RawLog],
    later_events: &[Result<Event, String>],
) -> Option<String> {
    later_logs.iter().zip(later_events).find_map(|(later, event)| match event {
        Ok(Event::Liquidation(call))
            if later.transaction_hash == log.transaction_hash && call.user == deficit.user =>
        {
            Some(liquidation_of(call))
        }
        _ => None,
    })
}

fn tokens_of(log: &RawLog) -> Vec<Address> {
    match read_event(log) {
        Ok(Event::Liquidation(call)) => vec![call.collateralAsset, call.debtAsset],
        Ok(Event::Deficit(deficit)) => vec![deficit.debtAsset],
        Err(_) => Vec::new(),
    }
}

/// Whether the registry knows the pool alone, as of many forks. It names its provider.
fn is_entered_by_pool(csu: &Csu) -> bool {
    csu.entry_role == "pool"
}

fn provider_call(csu: &Csu) -> Call {
    Call::new(key::PROVIDER, "", csu.entry, &IPool::ADDRESSES_PROVIDERCall {})
}

/// The addresses provider: the entry, or what the pool that is the entry says. `None` when it was not asked.
fn provider(csu: &Csu, answers: &Answers<'_>) -> Result<Option<Address>, DiscoveryError> {
    if !is_entered_by_pool(csu) {
        return Ok(Some(csu.entry));
    }
    if !answers.asked(key::PROVIDER, "") {
        return Ok(None);
    }
    let provider = answers.value::<IPool::ADDRESSES_PROVIDERCall>(key::PROVIDER, "");
    let what = "the addresses provider of an Aave V3 pool";
    provider.map(Some).map_err(|why| DiscoveryError { what, why })
}

fn root_calls(csu: &Csu, provider: Address) -> Vec<Call> {
    let of_pool = is_entered_by_pool(csu).then(|| provider_call(csu));
    let of_provider = [
        Call::new(key::POOL, "", provider, &IPoolAddressesProvider::getPoolCall {}),
        Call::new(key::ORACLE, "", provider, &IPoolAddressesProvider::getPriceOracleCall {}),
    ];
    of_pool.into_iter().chain(of_provider).collect()
}

fn oracle_unit_calls(oracle: Address) -> [Call; 2] {
    [
        Call::new(key::BASE, "", oracle, &IAaveOracle::BASE_CURRENCYCall {}),
        Call::new(key::UNIT, "", oracle, &IAaveOracle::BASE_CURRENCY_UNITCall {}),
    ]
}

fn price_calls(oracle: Address, asset: Address) -> [Call; 2] {
    let id = item(asset);
    [
        Call::new(key::PRICE, &id, oracle, &IAaveOracle::getAssetPriceCall { asset }),
        Call::new(key::SOURCE, &id, oracle, &IAaveOracle::getSourceOfAssetCall { asset }),
    ]
}

fn reserve_data_call(pool: Address, asset: Address) -> Call {
    Call::new(key::RESERVE, item(asset), pool, &IPool::getReserveDataCall { asset })
}

fn roots(answers: &Answers<'_>) -> Result<(Address, Address), DiscoveryError> {
    let pool = answers.value::<IPoolAddressesProvider::getPoolCall>(key::POOL, "");
    let oracle = answers.value::<IPoolAddressesProvider::getPriceOracleCall>(key::ORACLE, "");
    Ok((
        pool.map_err(|why| DiscoveryError { what: "the pool of an Aave V3 addresses provider", why })?,
        oracle.map_err(|why| DiscoveryError { what: "the oracle of an Aave V3 addresses provider", why })?,
    ))
}

fn reserves_list(answers: &Answers<'_>) -> Result<Vec<Address>, DiscoveryError> {
    answers
        .value::<IPool::getReservesListCall>(key::LIST, "")
        .map_err(|why| DiscoveryError { what: "the list of reserves of an Aave V3 pool", why })
}

fn reserve_data(answers: &Answers<'_>, id: &str) -> Result<ReserveData, Missing> {
    answers.value::<IPool::getReserveDataCall>(key::RESERVE, id)
}

fn token_contracts(data: &ReserveData) -> BTreeMap<String, Address> {
    [
        (part::A_TOKEN, data.aTokenAddress),
        (part::STABLE_DEBT, data.stableDebtTokenAddress),
        (part::VARIABLE_DEBT, data.variableDebtTokenAddress),
    ]
    .into_iter()
    .filter(|(_, address)| !address.is_zero())
    .map(|(name, address)| (name.to_owned(), address))
    .collect()
}

/// `bytes32('MOCK_STABLE_DEBT')`: from 3.3 the pool answers the address under this id for every reserve's stable debt
/// token (aave-v3-origin v3.3.0 Pool.sol `getReserveData`).
fn mock_stable_debt_id() -> B256 {
    let mut id = B256::ZERO;
    id[..16].copy_from_slice(b"MOCK_STABLE_DEBT");
    id
}

/// The configuration word of a reserve (aave-v3-core ReserveConfiguration.sol, aave-v3-origin for bit 252).
#[derive(Clone, Copy)]
struct Configuration(U256);

impl Configuration {
    fn bits(self, first: usize, count: usize) -> U256 {
        (self.0 >> first) & ((U256::ONE << count) - U256::ONE)
    }

    fn flag(self, bit: usize) -> bool {
        self.0.bit(bit)
    }

    /// Basis points as a fraction.
    fn fraction(self, first: usize) -> Option<f64> {
        ratio(self.bits(first, 16), U256::from(10_000))
    }

    /// Stored as 10,000 plus the bonus; zero when the token is no collateral.
    fn liquidation_bonus(self) -> Option<f64> {
        let stored = self.bits(32, 16);
        ratio(stored.checked_sub(U256::from(10_000))?, U256::from(10_000))
    }

    /// A cap in whole tokens; zero means that there is none.
    fn cap(self, first: usize) -> Option<f64> {
        let cap = self.bits(first, 36);
        if cap.is_zero() { None } else { ratio(cap, U256::ONE) }
    }

    fn decimals(self) -> U256 {
        self.bits(48, 8)
    }

    fn has_virtual_accounting(self) -> bool {
        self.flag(252)
    }
}

fn reserve_figures(csu: &Csu, answers: &Answers<'_>, asset: Address) -> ReserveFigures {
    let id = item(asset);
    let mut missing = Vec::new();
    let mut flags = Vec::new();
    let data = keep(reserve_data(answers, &id), &mut missing);
    let configuration = data.as_ref().map(|data| Configuration(data.configuration));

    let supplied = keep(answers.value::<IErc20::totalSupplyCall>(key::SUPPLY, &id), &mut missing);
    let variable = keep(answers.value::<IErc20::totalSupplyCall>(key::VARIABLE_DEBT, &id), &mut missing);
    let stable = data.as_ref().and_then(|data| keep(stable_debt(answers, &id, data), &mut missing));
    let borrowed = variable.zip(stable).and_then(|(variable, stable)| variable.checked_add(stable));

    let has_virtual_accounting = configuration.is_some_and(Configuration::has_virtual_accounting);
    let available = if has_virtual_accounting {
        keep(answers.value::<IPool::getVirtualUnderlyingBalanceCall>(key::VIRTUAL, &id), &mut missing)
            .map(U256::from)
    } else {
        flags.push("available_by_balance");
        keep(answers.value::<IErc20::balanceOfCall>(key::CASH, &id), &mut missing)
    };
    let treasury = data.as_ref().and_then(|data| {
        let income =
            keep(answers.value::<IPool::getReserveNormalizedIncomeCall>(key::INCOME, &id), &mut missing)?;
        U256::from(data.accruedToTreasury).checked_mul(income).map(|product| product / RAY)
    });
    let deficit = match answers.value::<IPool::getReserveDeficitCall>(key::DEFICIT, &id) {
        // Before 3.3 the pool has no such function.
        Err(why) if why.is_revert() => None,
        answer => keep(answer, &mut missing),
    };

    match token::decimals(answers, &id) {
        Ok(decimals) if configuration.is_some_and(|c| c.decimals() != U256::from(decimals)) => {
            flags.push("decimals_disagree");
        }
        Ok(_) => {}
        Err(why) => missing.push(why),
    }

    // Debt that a facilitator mints (GHO before 3.4) sits in a reserve without virtual accounting that nobody supplies.
    let is_minted = csu.minted_tokens.contains(&asset) && !has_virtual_accounting;
    let identity_gap = if is_minted {
        None
    } else {
        identity_gap(
            supplied,
            treasury,
            available,
            borrowed,
            data.as_ref().map(|data| data.unbacked),
            deficit,
        )
    };
    let ray = |rate: u128| ratio(U256::from(rate), RAY);
    let has_stable_debt = data.as_ref().is_some_and(|data| !is_without_stable_debt(answers, data));
    ReserveFigures {
        market_id: answers.contract(key::LIST, "").map(item).unwrap_or_default(),
        token: asset,
        role: if is_minted { Role::Minted } else { Role::Reserve },
        supplied,
        borrowed,
        available,
        reserves: treasury.and_then(|treasury| I256::try_from(treasury).ok()),
        deficit,
        identity_gap,
        supply_apr: data.as_ref().and_then(|data| ray(data.currentLiquidityRate)),
        borrow_apr: data.as_ref().and_then(|data| ray(data.currentVariableBorrowRate)),
        borrow_apr_stable_mode: data
            .as_ref()
            .filter(|_| has_stable_debt)
            .and_then(|data| ray(data.currentStableBorrowRate)),
        ltv: configuration.and_then(|c| c.fraction(0)),
        liq_threshold: configuration.and_then(|c| c.fraction(16)),
        liq_bonus: configuration.and_then(Configuration::liquidation_bonus),
        reserve_factor: configuration.and_then(|c| c.fraction(64)),
        supply_cap: configuration.and_then(|c| c.cap(116)),
        borrow_cap: configuration.and_then(|c| c.cap(80)),
        is_active: configuration.map(|c| c.flag(56)),
        is_frozen: configuration.map(|c| c.flag(57)),
        is_paused: configuration.map(|c| c.flag(60)),
        flags,
        missing,
    }
}

/// Whether the pool itself says that the reserve has no stable debt: it names no token, or the stand-in.
fn is_without_stable_debt(answers: &Answers<'_>, data: &ReserveData) -> bool {
    let mock = answers.value::<IPoolAddressesProvider::getAddressCall>(key::MOCK_STABLE_DEBT, "");
    data.stableDebtTokenAddress.is_zero() || mock == Ok(data.stableDebtTokenAddress)
}

fn stable_debt(answers: &Answers<'_>, id: &str, data: &ReserveData) -> Result<U256, Missing> {
    if is_without_stable_debt(answers, data) {
        return Ok(U256::ZERO);
    }
    answers.value::<IErc20::totalSupplyCall>(key::STABLE_DEBT, id)
}

/// `supplied + reserves - available - borrowed - unbacked - deficit`; a version without deficits has none to subtract.
fn identity_gap(
    supplied: Option<U256>,
    treasury: Option<U256>,
    available: Option<U256>,
    borrowed: Option<U256>,
    unbacked: Option<u128>,
    deficit: Option<U256>,
) -> Option<I256> {
    let signed = |amount: U256| I256::try_from(amount).ok();
    let claims = signed(supplied?)?.checked_add(signed(treasury?)?)?;
    [available?, borrowed?, U256::from(unbacked?)]
        .into_iter()
        .chain(deficit)
        .try_fold(claims, |gap, term| gap.checked_sub(signed(term)?))
}

fn price_answer(answers: &Answers<'_>, token: Address) -> PriceAnswer {
    let id = item(token);
    let quote = match answers.value::<IAaveOracle::BASE_CURRENCYCall>(key::BASE, "") {
        Ok(base) if base.is_zero() => Quote::Usd,
        Ok(base) => Quote::Token(base),
        Err(_) => Quote::Unknown,
    };
    PriceAnswer {
        token,
        source: PriceSource::ProtocolOracle,
        feed: answers.contract(key::PRICE, &id).unwrap_or_default(),
        raw: answers.value::<IAaveOracle::getAssetPriceCall>(key::PRICE, &id),
        unit: answers.value::<IAaveOracle::BASE_CURRENCY_UNITCall>(key::UNIT, ""),
        quote,
        updated_at: None,
    }
}

#[cfg(test)]
mod tests;
