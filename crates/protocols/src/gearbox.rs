//! Gearbox: the pools of versions 1, 2, 3.0 and 3.1.
//!
//! Sources: Gearbox-protocol/core-v2 (v1.21.1), Gearbox-protocol/core-v3 (branch archive/v3.0.x and HEAD, which is 3.1),
//! Gearbox-protocol/permissionless (HEAD), Gearbox-protocol/gearbox-contracts (version 1), files named at each rule. A pool lends one
//! token to credit managers; a credit manager lends it on to credit accounts, through a credit facade that can be replaced. Several
//! managers share a pool, so the market is the **pool**, each once, however many lists name it. What is read, and what it means:
//!
//! | figure | from | note |
//! |---|---|---|
//! | supplied | `pool.expectedLiquidity()` | accrues by view: principal, base interest and quota revenue that are due, and cash |
//! | available | `pool.availableLiquidity()` | the pool's balance |
//! | borrowed | supplied - available | debt with what has accrued for the pool; the principal alone (`totalBorrowed`) where a gift to the pool hides it |
//! | supply_apr | `supplyRate()` from version 3; before it rate x principal / supplied | |
//! | borrow_apr | `baseInterestRate()` from version 3, `borrowAPY_RAY()` before | the base rate: quota interest and the protocol's fee come on top |
//! | price | `oracle.getPrice(token) / 1e8`, US dollars | |
//!
//! What lies in credit accounts is not read: leveraged positions, many times the pools.
//!
//! Accounting identity, from version 3: `totalBorrowed` = the sum of `creditManagerBorrowed` over the managers that are
//! known. What is left over was lent to a manager that no list names, whose liquidations are then not scanned.

mod contracts;
mod figures;
mod liquidations;

use crate::answers::{Answers, Call};
use crate::family::{
    At, BadDebt, BlockPace, ColumnLimit, DayStart, Discovery, DiscoveryError, Family, Gives, Layout,
    LayoutDrift, LogReading, PriceAnswer, Snapshot, TokenAnswer, Witness,
};
use crate::token::{self, item};
use alloy_sol_types::{SolEvent, sol};
use contracts::{Contracts, Step};
use lake::bronze::{LogFilter, RawLog, ReadsAtBlock};
use lake::registry::Csu;
use lake::{Address, B256};
use liquidations::Event;
use std::collections::BTreeSet;

sol! {
    /// core-v2 contracts/core/AddressProvider.sol
    interface IAddressProviderV2 {
        function getContractsRegister() external view returns (address);
    }

    /// core-v3 archive/v3.0.x contracts/interfaces/IAddressProviderV3.sol, permissionless contracts/interfaces/IAddressProvider.sol
    interface IAddressProviderV3 {
        function getAddressOrRevert(bytes32 key, uint256 version) external view returns (address);
    }

    /// permissionless contracts/interfaces/IMarketConfiguratorFactory.sol
    interface IMarketConfiguratorFactory {
        function getMarketConfigurators() external view returns (address[]);
        function getShutdownMarketConfigurators() external view returns (address[]);
    }

    /// permissionless contracts/interfaces/IMarketConfigurator.sol
    interface IMarketConfigurator {
        function contractsRegister() external view returns (address);
    }

    /// core-v2 contracts/interfaces/IContractsRegister.sol; the last two permissionless contracts/interfaces/IContractsRegister.sol alone
    interface IContractsRegister {
        function getPools() external view returns (address[]);
        function getCreditManagers() external view returns (address[]);
        function getShutdownPools() external view returns (address[]);
        function getPriceOracle(address pool) external view returns (address);
    }

    /// core-v2 contracts/interfaces/IPoolService.sol, core-v3 contracts/interfaces/IPoolV3.sol
    interface IPool {
        event Deposit(address indexed sender, address indexed owner, uint256 assets, uint256 shares);
        event Withdraw(
            address indexed sender,
            address indexed receiver,
            address indexed owner,
            uint256 assets,
            uint256 shares
        );
        event Borrow(address indexed creditManager, address indexed creditAccount, uint256 amount);
        event SetInterestRateModel(address indexed newInterestRateModel);
        /// Any repayment of debt: principal, the protocol's fees, and what of principal and interest was not paid.
        event Repay(address indexed creditManager, uint256 borrowedAmount, uint256 profit, uint256 loss);
        /// From version 3: the part of a loss that the treasury's shares did not cover. Emitted before its `Repay`.
        event IncurUncoveredLoss(address indexed creditManager, uint256 loss);
        /// The same in versions 1 and 2.
        event UncoveredLoss(address indexed creditManager, uint256 loss);

        function version() external view returns (uint256);
        function underlyingToken() external view returns (address);
        function expectedLiquidity() external view returns (uint256);
        function availableLiquidity() external view returns (uint256);
        function totalBorrowed() external view returns (uint256);
        function borrowAPY_RAY() external view returns (uint256);
        function baseInterestRate() external view returns (uint256);
        function supplyRate() external view returns (uint256);
        function totalDebtLimit() external view returns (uint256);
        function creditManagerBorrowed(address creditManager) external view returns (uint256);
        function lastBaseInterestUpdate() external view returns (uint40);
        function paused() external view returns (bool);
    }

    /// gearbox-contracts contracts/interfaces/ICreditManager.sol: version 1 has no facade.
    interface IManagerV1 {
        event LiquidateCreditAccount(address indexed owner, address indexed liquidator, uint256 remainingFunds);
        function poolService() external view returns (address);
    }

    /// core-v2 contracts/interfaces/ICreditManagerV2.sol, core-v3 contracts/interfaces/ICreditManagerV3.sol
    interface ICreditManager {
        function pool() external view returns (address);
        function creditFacade() external view returns (address);
        function priceOracle() external view returns (address);
    }

    /// core-v2 contracts/interfaces/ICreditFacade.sol
    interface IFacadeV2 {
        event LiquidateCreditAccount(
            address indexed borrower,
            address indexed liquidator,
            address indexed to,
            uint256 remainingFunds
        );
        event LiquidateExpiredCreditAccount(
            address indexed borrower,
            address indexed liquidator,
            address indexed to,
            uint256 remainingFunds
        );
        function creditManager() external view returns (address);
    }

    /// core-v3 contracts/interfaces/ICreditFacadeV3.sol: the first has version 2's signature, and one topic less.
    interface IFacadeV3 {
        event LiquidateCreditAccount(
            address indexed creditAccount,
            address indexed liquidator,
            address to,
            uint256 remainingFunds
        );
        /// From 3.1.
        event PartiallyLiquidateCreditAccount(
            address indexed creditAccount,
            address indexed token,
            address indexed liquidator,
            uint256 repaidDebt,
            uint256 seizedCollateral,
            uint256 fee
        );
    }

    /// core-v2 contracts/interfaces/IPriceOracle.sol, core-v3 contracts/core/PriceOracleV3.sol: US dollars with 8 decimals.
    interface IPriceOracle {
        function getPrice(address token) external view returns (uint256);
    }
}

/// Names of the calls: what `key` says in bronze.
mod key {
    pub(super) const REGISTER_V2: &str = "address_provider_v2.getContractsRegister";
    pub(super) const REGISTER_V3: &str = "address_provider_v3_0.getAddressOrRevert(CONTRACTS_REGISTER)";
    pub(super) const FACTORY: &str = "address_provider_v3_1.getAddressOrRevert(MARKET_CONFIGURATOR_FACTORY)";
    pub(super) const CONFIGURATORS: &str = "factory.getMarketConfigurators";
    pub(super) const SHUT_CONFIGURATORS: &str = "factory.getShutdownMarketConfigurators";
    pub(super) const REGISTER: &str = "configurator.contractsRegister";
    pub(super) const POOLS: &str = "register.getPools";
    pub(super) const SHUT_POOLS: &str = "register.getShutdownPools";
    pub(super) const MANAGERS: &str = "register.getCreditManagers";
    pub(super) const POOL_ORACLE: &str = "register.getPriceOracle";
    pub(super) const MANAGER_POOL: &str = "manager.pool";
    pub(super) const MANAGER_POOL_V1: &str = "manager.poolService";
    pub(super) const FACADE: &str = "manager.creditFacade";
    pub(super) const MANAGER_ORACLE: &str = "manager.priceOracle";
    pub(super) const FACADE_MANAGER: &str = "facade.creditManager";
    pub(super) const UNDERLYING: &str = "pool.underlyingToken";
    pub(super) const VERSION: &str = "pool.version";
    pub(super) const EXPECTED: &str = "pool.expectedLiquidity";
    pub(super) const AVAILABLE: &str = "pool.availableLiquidity";
    pub(super) const PRINCIPAL: &str = "pool.totalBorrowed";
    pub(super) const RATE_V1: &str = "pool.borrowAPY_RAY";
    pub(super) const RATE: &str = "pool.baseInterestRate";
    pub(super) const SUPPLY_RATE: &str = "pool.supplyRate";
    pub(super) const DEBT_LIMIT: &str = "pool.totalDebtLimit";
    pub(super) const MANAGER_PRINCIPAL: &str = "pool.creditManagerBorrowed";
    pub(super) const LAST_UPDATE: &str = "pool.lastBaseInterestUpdate";
    pub(super) const PAUSED: &str = "pool.paused";
    pub(super) const PRICE: &str = "oracle.getPrice";
}

const NO_COLLATERAL: &str =
    "Collateral lies in credit accounts, which are not read; a full liquidation's event names none of it.";
const PRINCIPAL_ONLY: &str =
    "The principal that the pool wrote off less its loss; the interest paid with it is in no event.";

const LIMITS: &[ColumnLimit] = &[
    ColumnLimit::never("collateral_usd", NO_COLLATERAL),
    ColumnLimit::never("liq_threshold_wavg", NO_COLLATERAL),
    ColumnLimit::never("liq_bonus_wavg", NO_COLLATERAL),
    ColumnLimit::never("liq_coll_usd", NO_COLLATERAL),
    ColumnLimit::never("liq_bonus_usd", NO_COLLATERAL),
    ColumnLimit::estimated("liq_debt_usd", PRINCIPAL_ONLY),
    ColumnLimit::estimated("liq_max_usd", PRINCIPAL_ONLY),
    ColumnLimit::estimated(
        "liq_borrowers",
        "From version 3 the event names the credit account, not its owner; an owner may have several.",
    ),
    ColumnLimit::estimated(
        "borrow_apr",
        "The pool's base rate; interest on quotas and the protocol's share of all interest come on top.",
    ),
    ColumnLimit::never("reserves_usd", "The treasury holds pool shares, as any supplier does."),
    ColumnLimit::never(
        "deficit_usd",
        "A loss is taken from the treasury's shares and then from all suppliers at once; none is kept.",
    ),
];

/// The Gearbox family.
#[derive(Debug, Clone, Copy)]
pub struct Gearbox;

impl Family for Gearbox {
    fn name(&self) -> &'static str {
        "gearbox"
    }

    fn gives(&self) -> Gives {
        Gives { borrower: true, debt_amount: true, bad_debt: BadDebt::Event }
    }

    fn limits(&self) -> &'static [ColumnLimit] {
        LIMITS
    }

    fn discover(
        &self,
        csu: &Csu,
        answers: &Answers<'_>,
        _history: &[RawLog],
    ) -> Result<Discovery, DiscoveryError> {
        Ok(match contracts::listed(csu, answers)? {
            Step::Ask(calls) => Discovery::Ask(calls),
            Step::Found(contracts) => Discovery::Found(contracts.layout()),
        })
    }

    fn snapshot(&self, csu: &Csu, layout: &Layout) -> Vec<Call> {
        let contracts = Contracts::in_layout(layout);
        let mut calls = contracts.calls(csu);
        for pool in &contracts.pools {
            calls.extend(figures::calls(pool));
        }
        without_repeats(calls)
    }

    /// Nothing for a block that holds repayments only.
    fn event_reads(&self, _csu: &Csu, layout: &Layout, logs: &[&RawLog]) -> Vec<Call> {
        let contracts = Contracts::in_layout(layout);
        without_repeats(liquidations::calls(&contracts, logs))
    }

    fn confirm(&self, csu: &Csu, layout: &Layout, answers: &Answers<'_>) -> Result<(), LayoutDrift> {
        let contracts = Contracts::in_layout(layout);
        if !contracts.registers.iter().any(|register| answers.asked(key::POOLS, &item(register.address))) {
            // The reads of an event: they tell of oracles alone.
            return match contracts.pools.iter().find(|pool| pool.has_other_oracle(answers)) {
                Some(pool) => {
                    Err(LayoutDrift { what: format!("the price oracle of pool {}", item(pool.address)) })
                }
                None => Ok(()),
            };
        }
        match contracts::listed(csu, answers) {
            Ok(Step::Found(found)) => match contracts.first_difference(&found) {
                Some(what) => Err(LayoutDrift { what }),
                None => Ok(()),
            },
            Ok(Step::Ask(_)) => Err(LayoutDrift { what: "the list of contracts".into() }),
            Err(error) => Err(LayoutDrift { what: error.what.to_owned() }),
        }
    }

    /// Facades are replaced, so those of every layout of the day are asked for, and the pools for the amounts.
    fn filter(&self, _csu: &Csu, layouts: &[&Layout]) -> LogFilter {
        let emitters = layouts.iter().flat_map(|layout| Contracts::in_layout(layout).emitters());
        let topics = [
            IManagerV1::LiquidateCreditAccount::SIGNATURE_HASH,
            IFacadeV2::LiquidateCreditAccount::SIGNATURE_HASH,
            IFacadeV2::LiquidateExpiredCreditAccount::SIGNATURE_HASH,
            IFacadeV3::PartiallyLiquidateCreditAccount::SIGNATURE_HASH,
            IPool::Repay::SIGNATURE_HASH,
            IPool::IncurUncoveredLoss::SIGNATURE_HASH,
            IPool::UncoveredLoss::SIGNATURE_HASH,
        ];
        LogFilter::new(emitters.collect::<Vec<Address>>(), topics)
    }

    /// `lastBaseInterestUpdate` is set where a pool is made and in `_updateBaseInterest`, and whoever calls that emits one of
    /// these in the same transaction: read in PoolV3.sol of archive/v3.0.x and of HEAD, every caller. Older pools are no
    /// witness: they keep the time under another name.
    fn witness(&self, _csu: &Csu, reads: &ReadsAtBlock, since: DayStart) -> Option<Witness> {
        let answers = Answers::new(&reads.calls);
        let touched = reads.calls.iter().filter(|call| call.key == key::LAST_UPDATE).filter_map(|call| {
            let time =
                answers.value::<IPool::lastBaseInterestUpdateCall>(key::LAST_UPDATE, &call.item).ok()?;
            Some((u64::try_from(time).ok()?, call.to))
        });
        let (timestamp, pool) =
            touched.filter(|(time, _)| (since.timestamp..=reads.block.timestamp).contains(time)).min()?;
        let topics: [B256; 5] = [
            IPool::Deposit::SIGNATURE_HASH,
            IPool::Withdraw::SIGNATURE_HASH,
            IPool::Borrow::SIGNATURE_HASH,
            IPool::Repay::SIGNATURE_HASH,
            IPool::SetInterestRateModel::SIGNATURE_HASH,
        ];
        Some(Witness { at: At::Time(timestamp), filter: LogFilter::new([pool], topics) })
    }

    fn read_snapshot(
        &self,
        csu: &Csu,
        reads: &ReadsAtBlock,
        _pace: BlockPace,
    ) -> Result<Snapshot, DiscoveryError> {
        let answers = Answers::new(&reads.calls);
        let contracts = contracts::listed(csu, &answers)?.found()?;
        let figures = |pool| figures::pool_figures(&answers, pool);
        let tokens: BTreeSet<Address> = contracts.pools.iter().filter_map(|pool| pool.underlying).collect();
        Ok(Snapshot {
            reserves: contracts.pools.iter().map(figures).collect(),
            prices: figures::prices(&answers, reads),
            tokens: tokens.into_iter().map(|token| token::answer(&answers, token)).collect(),
        })
    }

    fn read_event_prices(&self, _csu: &Csu, reads: &ReadsAtBlock) -> (Vec<PriceAnswer>, Vec<TokenAnswer>) {
        let answers = Answers::new(&reads.calls);
        let tokens: BTreeSet<Address> = reads
            .calls
            .iter()
            .filter(|call| call.key == token::DECIMALS)
            .filter_map(|call| call.item.parse().ok())
            .collect();
        (
            figures::prices(&answers, reads),
            tokens.into_iter().map(|token| token::answer(&answers, token)).collect(),
        )
    }

    fn read_logs(&self, _csu: &Csu, logs: &[RawLog], reads: &[ReadsAtBlock]) -> Vec<LogReading> {
        let events: Vec<Result<Event, String>> = logs.iter().map(liquidations::read_event).collect();
        liquidations::readings(logs, &events, reads)
    }
}

/// Calls by name once each: pools share tokens, oracles and, where two lists name one, themselves.
fn without_repeats(calls: Vec<Call>) -> Vec<Call> {
    let mut seen = BTreeSet::new();
    calls.into_iter().filter(|call| seen.insert((call.key.clone(), call.item.clone()))).collect()
}

/// The call for a token's price at an oracle.
fn price_call(oracle: Address, token: Address) -> Call {
    let name = format!("{}/{}", item(token), item(oracle));
    Call::new(key::PRICE, name, oracle, &IPriceOracle::getPriceCall { token })
}

#[cfg(test)]
mod tests;
