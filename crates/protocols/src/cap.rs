//! Cap: a vault whose tokens back cUSD, lent to a few named agents that are covered by restaked collateral.
//!
//! Sources: cap-labs-dev/cap-contracts 7254ed0 and its history from the deployment of July 2025 on, files named at each
//! rule. What is read, and what it means:
//!
//! | figure | from | note |
//! |---|---|---|
//! | supplied | `vault.totalSupplies(asset)` | what cUSD holders paid in and did not take out; interest goes elsewhere |
//! | borrowed | `debtToken.totalSupply()` + sum over agents of `lender.accruedRestakerInterest(agent, asset)` | accrues by view |
//! | available | `vault.availableBalance(asset)` | supplies less principal borrowed, also what is invested for the time being |
//! | collateral | `delegation.coverage(agent)` | US dollars, 8 decimals; turned into the collateral token at the oracle's price |
//! | price | `oracle.getPrice(asset)` | US dollars, 8 decimals (ChainlinkAdapter.sol), with the time of the answer |
//!
//! Markets are the vault, and one for each agent: an agent's restakers answer for that agent alone, with a threshold of
//! its own. The three further contracts cannot be asked of the vault and stand in the registry row: `lender`,
//! `delegation`, `oracle`.
//!
//! Accounting identity: `supplied = balance of the vault + loaned + totalBorrows` (VaultLogic.sol, FractionalReserveLogic.sol),
//! up to tokens sent to the vault. `totalBorrows` is principal and interest already paid out of the vault, so `borrowed` is
//! larger by the interest that is still owed.

mod backing;
mod figures;

use crate::answers::{Answers, Call, Missing};
use crate::family::{
    At, BadDebt, BlockPace, ColumnLimit, DayStart, Discovery, DiscoveryError, Family, Gives, Layout,
    LayoutDrift, Leg, LogReading, Market, PriceAnswer, Snapshot, TokenAnswer, Witness,
};
use crate::token::{self, IErc20, item};
use alloy_sol_types::{SolEvent, sol};
use backing::{Backing, agent_market, backing};
use lake::bronze::{LogFilter, RawLog, ReadsAtBlock};
use lake::registry::Csu;
use lake::{Address, U256};
use std::collections::{BTreeMap, BTreeSet};

sol! {
    /// contracts/vault/Vault.sol, Minter.sol, FractionalReserve.sol: the cUSD token is the vault.
    interface ICapVault {
        function assets() external view returns (address[]);
        function totalSupplies(address asset) external view returns (uint256);
        function totalBorrows(address asset) external view returns (uint256);
        function availableBalance(address asset) external view returns (uint256);
        function loaned(address asset) external view returns (uint256);
        function paused(address asset) external view returns (bool);
        /// From November 2025.
        function depositCap(address asset) external view returns (uint256);
    }

    /// OpenZeppelin's PausableUpgradeable, which the vault inherits beside its own `paused(address)`.
    interface IPausable {
        function paused() external view returns (bool);
    }

    /// contracts/lendingPool/Lender.sol; the events of LiquidationLogic.sol.
    interface ICapLender {
        /// `amount` of `asset` was repaid; the liquidator got collateral worth `value`, US dollars with 8 decimals.
        event Liquidate(address indexed agent, address indexed liquidator, address asset, uint256 amount, uint256 value);
        /// A liquidation window was opened: `liquidationStart` is the time of this log.
        event OpenLiquidation(address agent);
        /// Its name until the day after the deployment's audit (commit 9a31861).
        event InitiateLiquidation(address agent);

        function reservesData(address asset) external view returns (uint256 id, address vault, address debtToken, address interestReceiver, uint8 decimals, bool paused, uint256 minBorrow);
        function accruedRestakerInterest(address agent, address asset) external view returns (uint256);
        function liquidationStart(address agent) external view returns (uint256);
        function bonusCap() external view returns (uint256);
    }

    /// The same event with one topic less, as LewisSchrock/defi_lending says to have seen it. No source has it.
    interface ICapLenderOneTopic {
        event Liquidate(address indexed agent, address liquidator, address asset, uint256 amount, uint256 value);
    }

    /// contracts/delegation/Delegation.sol.
    interface ICapDelegation {
        function agents() external view returns (address[]);
        function networks(address agent) external view returns (address);
        /// From February 2026.
        function collateral(address agent) external view returns (address);
        function coverage(address agent) external view returns (uint256);
        function ltv(address agent) external view returns (uint256);
        function liquidationThreshold(address agent) external view returns (uint256);
    }

    /// contracts/delegation/providers: SymbioticNetworkMiddleware.sol has `vaults`, EigenServiceManager.sol the other one.
    interface ICapNetwork {
        function vaults(address agent) external view returns (address);
        function operatorToStrategy(address agent) external view returns (address);
    }

    /// symbioticfi/core IVaultStorage.sol.
    interface ISymbioticVault {
        function collateral() external view returns (address);
    }

    /// Layr-Labs/eigenlayer-contracts IStrategy.sol.
    interface IEigenStrategy {
        function underlyingToken() external view returns (address);
    }

    /// contracts/oracle/PriceOracle.sol. Reverts when both of its sources are stale.
    interface ICapOracle {
        function getPrice(address asset) external view returns (uint256 price, uint256 lastUpdated);
    }
}

/// Ratios of the Lender and the Delegation are in ray.
const RAY: U256 = U256::from_limbs([0x9fd0_803c_e800_0000, 0x033b_2e3c, 0, 0]);
/// Prices, coverage and liquidated value have 8 decimals.
const USD: U256 = U256::from_limbs([100_000_000, 0, 0, 0]);

/// Names of the calls: what `key` says in bronze.
mod key {
    pub(super) const ASSETS: &str = "vault.assets";
    pub(super) const AGENTS: &str = "delegation.agents";
    pub(super) const SUPPLIES: &str = "vault.totalSupplies";
    pub(super) const BORROWS: &str = "vault.totalBorrows";
    pub(super) const AVAILABLE: &str = "vault.availableBalance";
    pub(super) const LOANED: &str = "vault.loaned";
    pub(super) const CASH: &str = "token.balanceOf(vault)";
    pub(super) const PAUSED: &str = "vault.paused";
    pub(super) const ASSET_PAUSED: &str = "vault.paused(asset)";
    pub(super) const CAP: &str = "vault.depositCap";
    pub(super) const RESERVE: &str = "lender.reservesData";
    pub(super) const DEBT: &str = "debt_token.totalSupply";
    pub(super) const RESTAKERS: &str = "lender.accruedRestakerInterest";
    pub(super) const START: &str = "lender.liquidationStart";
    pub(super) const BONUS: &str = "lender.bonusCap";
    pub(super) const NETWORK: &str = "delegation.networks";
    pub(super) const COLLATERAL: &str = "delegation.collateral";
    pub(super) const VAULT: &str = "network.vaults";
    pub(super) const VAULT_TOKEN: &str = "symbiotic_vault.collateral";
    pub(super) const STRATEGY: &str = "network.operatorToStrategy";
    pub(super) const STRATEGY_TOKEN: &str = "strategy.underlyingToken";
    pub(super) const COVERAGE: &str = "delegation.coverage";
    pub(super) const LTV: &str = "delegation.ltv";
    pub(super) const THRESHOLD: &str = "delegation.liquidationThreshold";
    pub(super) const PRICE: &str = "oracle.getPrice";
}

/// Names of contracts in a layout, and in a registry row.
mod part {
    pub(super) const VAULT: &str = "vault";
    pub(super) const LENDER: &str = "lender";
    pub(super) const DELEGATION: &str = "delegation";
    pub(super) const ORACLE: &str = "oracle";
    pub(super) const DEBT_TOKEN: &str = "debt_token";
    pub(super) const AGENT: &str = "agent";
    pub(super) const COLLATERAL: &str = "collateral";
    pub(super) const NETWORK: &str = "network";
    pub(super) const NETWORK_VAULT: &str = "network_vault";
    pub(super) const STRATEGY: &str = "strategy";
}

/// The Cap family.
#[derive(Debug, Clone, Copy)]
pub struct Cap;

/// The contracts of a registry row.
#[derive(Debug, Clone, Copy)]
struct Contracts {
    vault: Address,
    lender: Address,
    delegation: Address,
    oracle: Address,
}

impl Contracts {
    fn of(csu: &Csu) -> Result<Self, DiscoveryError> {
        let contract = |role: &str| {
            csu.contracts.get(role).copied().ok_or_else(|| DiscoveryError {
                what: "the contracts of a Cap vault",
                why: Missing::Unusable {
                    key: "the registry row".to_owned(),
                    why: format!("has no `{role}` in `contracts`, and the vault cannot be asked for it"),
                },
            })
        };
        Ok(Self {
            vault: csu.entry,
            lender: contract(part::LENDER)?,
            delegation: contract(part::DELEGATION)?,
            oracle: contract(part::ORACLE)?,
        })
    }

    fn roots(self) -> BTreeMap<String, Address> {
        [
            (part::VAULT, self.vault),
            (part::LENDER, self.lender),
            (part::DELEGATION, self.delegation),
            (part::ORACLE, self.oracle),
        ]
        .map(|(name, address)| (name.to_owned(), address))
        .into()
    }

    fn list_calls(self) -> Vec<Call> {
        vec![
            Call::new(key::ASSETS, "", self.vault, &ICapVault::assetsCall {}),
            Call::new(key::AGENTS, "", self.delegation, &ICapDelegation::agentsCall {}),
        ]
    }

    fn reserve_call(self, asset: Address) -> Call {
        Call::new(key::RESERVE, item(asset), self.lender, &ICapLender::reservesDataCall { asset })
    }

    fn price_calls(self, tokens: impl IntoIterator<Item = Address>) -> Vec<Call> {
        let mut calls = Vec::new();
        for asset in tokens.into_iter().collect::<BTreeSet<_>>() {
            calls.push(Call::new(key::PRICE, item(asset), self.oracle, &ICapOracle::getPriceCall { asset }));
            calls.extend(token::calls(asset));
        }
        calls
    }

    fn asset_calls(self, asset: Address, debt_token: Option<Address>) -> Vec<Call> {
        let (id, vault) = (item(asset), self.vault);
        let mut calls = vec![
            self.reserve_call(asset),
            Call::new(key::SUPPLIES, &id, vault, &ICapVault::totalSuppliesCall { asset }),
            Call::new(key::BORROWS, &id, vault, &ICapVault::totalBorrowsCall { asset }),
            Call::new(key::AVAILABLE, &id, vault, &ICapVault::availableBalanceCall { asset }),
            Call::new(key::LOANED, &id, vault, &ICapVault::loanedCall { asset }),
            Call::new(key::CASH, &id, asset, &IErc20::balanceOfCall { account: vault }),
            Call::new(key::ASSET_PAUSED, &id, vault, &ICapVault::pausedCall { asset }),
            Call::new(key::CAP, &id, vault, &ICapVault::depositCapCall { asset }),
        ];
        if let Some(token) = debt_token {
            calls.push(Call::new(key::DEBT, &id, token, &IErc20::totalSupplyCall {}));
        }
        calls
    }

    fn agent_calls(self, agent: Address, market: &Market) -> Vec<Call> {
        let (id, delegation) = (&market.id, self.delegation);
        let mut calls = backing::first_calls(delegation, agent).to_vec();
        calls.extend([
            Call::new(key::COVERAGE, id, delegation, &ICapDelegation::coverageCall { agent }),
            Call::new(key::LTV, id, delegation, &ICapDelegation::ltvCall { agent }),
            Call::new(key::THRESHOLD, id, delegation, &ICapDelegation::liquidationThresholdCall { agent }),
            Call::new(key::START, id, self.lender, &ICapLender::liquidationStartCall { agent }),
        ]);
        calls.extend(backing::network_calls(agent, market));
        calls
    }
}

/// An asset of the vault, with its debt token where the Lender lends it from this vault.
fn asset_market(answers: &Answers<'_>, contracts: Contracts, asset: Address) -> Market {
    let id = item(asset);
    let debt_token = figures::debt_token(answers, contracts, &id).ok().flatten();
    Market {
        contracts: debt_token.map(|token| (part::DEBT_TOKEN.to_owned(), token)).into_iter().collect(),
        id,
    }
}

impl Family for Cap {
    fn name(&self) -> &'static str {
        "cap"
    }

    fn gives(&self) -> Gives {
        Gives { borrower: true, debt_amount: true, bad_debt: BadDebt::None }
    }

    fn limits(&self) -> &'static [ColumnLimit] {
        LIMITS
    }

    /// The Lender's proxy, the same at every block.
    fn has_changing_emitters(&self) -> bool {
        false
    }

    fn discover(
        &self,
        csu: &Csu,
        answers: &Answers<'_>,
        _history: &[RawLog],
    ) -> Result<Discovery, DiscoveryError> {
        let contracts = Contracts::of(csu)?;
        if !answers.asked(key::ASSETS, "") {
            return Ok(Discovery::Ask(contracts.list_calls()));
        }
        let (assets, agents) = (assets(answers)?, agents(answers)?);
        let is_unasked = |asset: &&Address| !answers.asked(key::RESERVE, &item(**asset));
        let mut calls: Vec<Call> =
            assets.iter().filter(is_unasked).map(|asset| contracts.reserve_call(*asset)).collect();
        for agent in &agents {
            // An agent whose collateral cannot be found is a matter of that agent.
            if let Ok(Backing::Ask(further)) = backing(answers, contracts, *agent) {
                calls.extend(further);
            }
        }
        if !calls.is_empty() {
            return Ok(Discovery::Ask(calls));
        }
        let markets = assets
            .iter()
            .map(|asset| asset_market(answers, contracts, *asset))
            .chain(agents.iter().map(|agent| agent_market(answers, contracts, *agent)));
        Ok(Discovery::Found(Layout { roots: contracts.roots(), markets: markets.collect() }))
    }

    fn snapshot(&self, csu: &Csu, layout: &Layout) -> Vec<Call> {
        // Without its contracts the deployment has no layout either: discovery has said so.
        let Ok(contracts) = Contracts::of(csu) else { return Vec::new() };
        let mut calls = contracts.list_calls();
        calls.push(Call::new(key::PAUSED, "", contracts.vault, &IPausable::pausedCall {}));
        calls.push(Call::new(key::BONUS, "", contracts.lender, &ICapLender::bonusCapCall {}));
        let mut tokens = BTreeSet::new();
        let mut lent = Vec::new();
        for market in &layout.markets {
            let part = |name| market.contracts.get(name).copied();
            if let Some(agent) = part(part::AGENT) {
                calls.extend(contracts.agent_calls(agent, market));
                tokens.extend(part(part::COLLATERAL));
                for asset in &lent {
                    let owed = ICapLender::accruedRestakerInterestCall { agent, asset: *asset };
                    calls.push(Call::new(key::RESTAKERS, pair(agent, *asset), contracts.lender, &owed));
                }
            } else if let Ok(asset) = market.id.parse::<Address>() {
                calls.extend(contracts.asset_calls(asset, part(part::DEBT_TOKEN)));
                tokens.insert(asset);
                lent.extend(part(part::DEBT_TOKEN).map(|_| asset));
            }
        }
        calls.extend(contracts.price_calls(tokens));
        calls
    }

    fn event_reads(&self, csu: &Csu, _layout: &Layout, logs: &[&RawLog]) -> Vec<Call> {
        let Ok(contracts) = Contracts::of(csu) else { return Vec::new() };
        let assets = logs.iter().filter_map(|log| read_event(log).ok());
        contracts.price_calls(assets.map(|event| event.asset))
    }

    /// The roots stand in the registry; what the chain lists is compared.
    fn confirm(&self, csu: &Csu, layout: &Layout, answers: &Answers<'_>) -> Result<(), LayoutDrift> {
        if !answers.asked(key::ASSETS, "") {
            return Ok(());
        }
        let drift = |what: &str| Err(LayoutDrift { what: what.to_owned() });
        let (Ok(contracts), Ok(assets), Ok(agents)) = (Contracts::of(csu), assets(answers), agents(answers))
        else {
            return drift("the lists of assets and agents");
        };
        let listed: Vec<String> = assets.iter().chain(&agents).map(|address| item(*address)).collect();
        if listed != layout.markets.iter().map(|market| market.id.clone()).collect::<Vec<_>>() {
            return drift("the lists of assets and agents");
        }
        for market in &layout.markets {
            let part = |name| market.contracts.get(name).copied();
            match part(part::AGENT) {
                // What cannot be read is a matter of that asset or agent, not of the layout.
                Some(agent) => {
                    let is_as_listed = match backing(answers, contracts, agent) {
                        Ok(Backing::Token(token)) => part(part::COLLATERAL) == Some(token),
                        Ok(Backing::Nothing) => part(part::COLLATERAL).is_none(),
                        Ok(Backing::Ask(_)) => false,
                        Err(_) => true,
                    };
                    if !is_as_listed {
                        return drift(&format!("the collateral of agent {}", market.id));
                    }
                }
                None => match figures::debt_token(answers, contracts, &market.id) {
                    Ok(token) if part(part::DEBT_TOKEN) != token => {
                        return drift(&format!("the debt token of asset {}", market.id));
                    }
                    _ => {}
                },
            }
        }
        Ok(())
    }

    fn filter(&self, csu: &Csu, _layouts: &[&Layout]) -> LogFilter {
        let lender = csu.contracts.get(part::LENDER).copied();
        LogFilter::new(lender, [ICapLender::Liquidate::SIGNATURE_HASH])
    }

    /// `liquidationStart` is set in `openLiquidation` alone, to the time of the block and with a log (LiquidationLogic.sol,
    /// every commit since 2025-01); it is 0 again once the window is closed. So there is a witness on few days, but on those
    /// that may hold a liquidation.
    fn witness(&self, csu: &Csu, reads: &ReadsAtBlock, since: DayStart) -> Option<Witness> {
        let answers = Answers::new(&reads.calls);
        let lender = csu.contracts.get(part::LENDER).copied()?;
        let opened = answers.items(key::START).into_iter().filter_map(|agent| {
            let start = answers.value::<ICapLender::liquidationStartCall>(key::START, agent).ok()?;
            u64::try_from(start).ok()
        });
        let timestamp =
            opened.filter(|time| (since.timestamp..=reads.block.timestamp).contains(time)).min()?;
        let topics =
            [ICapLender::OpenLiquidation::SIGNATURE_HASH, ICapLender::InitiateLiquidation::SIGNATURE_HASH];
        Some(Witness { at: At::Time(timestamp), filter: LogFilter::new([lender], topics) })
    }

    fn read_snapshot(
        &self,
        csu: &Csu,
        reads: &ReadsAtBlock,
        _pace: BlockPace,
    ) -> Result<Snapshot, DiscoveryError> {
        let answers = Answers::new(&reads.calls);
        let contracts = Contracts::of(csu)?;
        let (assets, agents) = (assets(&answers)?, agents(&answers)?);
        let (prices, tokens) = priced(&answers, contracts);
        let of_asset = |asset: &Address| figures::asset_figures(&answers, contracts, *asset, &agents);
        let of_agent = |agent: &Address| figures::agent_figures(&answers, contracts, *agent);
        let reserves = assets.iter().map(of_asset).chain(agents.iter().filter_map(of_agent)).collect();
        Ok(Snapshot { reserves, prices, tokens })
    }

    fn read_event_prices(&self, csu: &Csu, reads: &ReadsAtBlock) -> (Vec<PriceAnswer>, Vec<TokenAnswer>) {
        match Contracts::of(csu) {
            Ok(contracts) => priced(&Answers::new(&reads.calls), contracts),
            // Then nothing was asked either.
            Err(_) => (Vec::new(), Vec::new()),
        }
    }

    fn read_logs(&self, csu: &Csu, logs: &[RawLog], _reads: &[ReadsAtBlock]) -> Vec<LogReading> {
        let reading = |log: &RawLog| match read_event(log) {
            Err(why) => LogReading::reject(log, why),
            Ok(event) => {
                let liquidation = format!("borrower {} debt {}", item(event.agent), item(event.asset));
                LogReading::Leg(Box::new(Leg {
                    liquidator: Some(event.liquidator),
                    borrower: Some(event.agent),
                    debt: Some((event.asset, event.amount)),
                    collateral_value: Some((event.value, USD)),
                    ..Leg::new(log, "Liquidate", item(csu.entry), liquidation)
                }))
            }
        };
        logs.iter().map(reading).collect()
    }
}

/// What gold's columns mean here where they mean something else than read.
const LIMITS: &[ColumnLimit] = &[
    ColumnLimit::estimated(
        "collateral_usd",
        "the coverage that the Delegation grants the agents, in its own dollars: what can be slashed for an agent, \
              never more than its coverage cap",
    ),
    ColumnLimit::never(
        "supply_apr",
        "cUSD pays no interest; what borrowers pay is auctioned for stcUSD holders and restakers",
    ),
    ColumnLimit::never("supply_apr_stable", "as supply_apr"),
    ColumnLimit::never(
        "borrow_apr",
        "a debt token's rate is stored without a getter; it is set at each touch from Aave's rate, a benchmark and \
              the utilization, and each agent pays its restakers a rate besides",
    ),
    ColumnLimit::never("borrow_apr_stable", "as borrow_apr"),
    ColumnLimit::estimated(
        "liq_bonus_wavg",
        "the cap of a bonus that grows from zero between grace period and expiry",
    ),
    ColumnLimit::never("reserves_usd", "the vault keeps no share of its own: fees and interest leave it"),
    ColumnLimit::never(
        "deficit_usd",
        "debt that no collateral covers stays the agent's debt; no figure of it is kept",
    ),
    ColumnLimit::never("bad_debt_usd", "no event books it"),
];

/// What a `Liquidate` log says.
struct Liquidation {
    agent: Address,
    liquidator: Address,
    asset: Address,
    amount: U256,
    value: U256,
}

/// Told apart by the number of topics; the decoder checks it again, with the length of the data. Euler's vaults have an
/// event of the same signature.
fn read_event(log: &RawLog) -> Result<Liquidation, String> {
    let topic0 = *log.topics.first().ok_or("the log has no topic")?;
    if topic0 != ICapLender::Liquidate::SIGNATURE_HASH {
        return Err(format!("unknown first topic {topic0}"));
    }
    let topics = log.topics.iter().copied();
    let explain =
        |error: alloy_sol_types::Error| format!("not the event that its first topic names: {error}");
    let length = |expected: usize| {
        let found = log.data.len();
        if found == expected { Ok(()) } else { Err(format!("{found} bytes of data, not {expected}")) }
    };
    match log.topics.len() {
        3 => {
            length(96)?;
            let event = ICapLender::Liquidate::decode_raw_log_validate(topics, &log.data).map_err(explain)?;
            let ICapLender::Liquidate { agent, liquidator, asset, amount, value } = event;
            Ok(Liquidation { agent, liquidator, asset, amount, value })
        }
        2 => {
            length(128)?;
            let event =
                ICapLenderOneTopic::Liquidate::decode_raw_log_validate(topics, &log.data).map_err(explain)?;
            let ICapLenderOneTopic::Liquidate { agent, liquidator, asset, amount, value } = event;
            Ok(Liquidation { agent, liquidator, asset, amount, value })
        }
        topics => Err(format!("{topics} topics; the event has 3, or 2")),
    }
}

fn assets(answers: &Answers<'_>) -> Result<Vec<Address>, DiscoveryError> {
    let assets = answers.value::<ICapVault::assetsCall>(key::ASSETS, "");
    assets.map_err(|why| DiscoveryError { what: "the assets of a Cap vault", why })
}

fn agents(answers: &Answers<'_>) -> Result<Vec<Address>, DiscoveryError> {
    let agents = answers.value::<ICapDelegation::agentsCall>(key::AGENTS, "");
    agents.map_err(|why| DiscoveryError { what: "the agents of a Cap delegation", why })
}

/// An agent's debt in an asset, as the item of a call.
fn pair(agent: Address, asset: Address) -> String {
    format!("{} {}", item(agent), item(asset))
}

/// Every token whose price was asked.
fn priced(answers: &Answers<'_>, contracts: Contracts) -> (Vec<PriceAnswer>, Vec<TokenAnswer>) {
    let tokens: Vec<Address> =
        answers.items(key::PRICE).into_iter().filter_map(|token| token.parse().ok()).collect();
    (
        tokens.iter().map(|token| figures::price(answers, contracts, *token)).collect(),
        tokens.iter().map(|token| token::answer(answers, *token)).collect(),
    )
}

#[cfg(test)]
mod tests;
