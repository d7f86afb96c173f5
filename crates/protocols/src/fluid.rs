//! Fluid: its Liquidity layer, and the liquidations of the vaults on it.
//!
//! Sources: Instadapp/fluid-contracts-public, files named at each rule. No resolver is read: they are redeployed and do
//! not exist at old blocks. The layer's own storage words are, through `readFromStorage`.
//!
//! | figure | from | note |
//! |---|---|---|
//! | supplied | `totalAmounts` and the supply exchange price | advanced to the block's time as `LiquidityCalcs` does |
//! | borrowed | `totalAmounts` and the borrow exchange price | the same |
//! | available | balance of the Liquidity contract | with what is staked at Zircuit, where the registry names it |
//! | reserves | `available + borrowed - supplied` | the layer's revenue, by its own definition (`calcRevenue`) |
//! | price | none | the layer has no oracle in dollars |
//!
//! The market is the Liquidity contract: one a CSU. It holds what lenders, vaults and DEX pools put into it.
//!
//! Accounting identity: the layer owes no more than it has, `available + borrowed >= supplied`. It books no residue, so
//! what is left is its revenue; a negative one is flagged.
//!
//! A vault's liquidation names no borrower: a range of ticks is liquidated. Amounts of a smart side are shares of a DEX
//! pool, and are kept as such, under the pool's address: they have no price here.
#![allow(clippy::too_many_arguments, reason = "`sol!` makes a function of an event's eight fields")]

mod exchange_prices;

use crate::answers::{Answers, Call, Missing, keep};
use crate::family::{
    At, BadDebt, BlockPace, ColumnLimit, DayStart, Discovery, DiscoveryError, Family, Gives, Layout,
    LayoutDrift, Leg, LogReading, Market, PriceAnswer, ReserveFigures, Snapshot, TokenAnswer, Witness,
};
use crate::multicall;
use crate::token::{self, IErc20, item};
use alloy_sol_types::{SolEvent, sol};
use exchange_prices::{Config, TotalAmounts};
use lake::bronze::{LogFilter, RawLog, ReadsAtBlock};
use lake::registry::Csu;
use lake::status::Role;
use lake::{Address, B256, I256, U256};
use std::collections::{BTreeMap, BTreeSet};

sol! {
    /// contracts/liquidity/interfaces/iLiquidity.sol, userModule/events.sol and adminModule/events.sol
    interface IFluidLiquidity {
        /// Whoever writes a token's exchange prices emits one of these in the same transaction.
        event LogOperate(
            address indexed user,
            address indexed token,
            int256 supplyAmount,
            int256 borrowAmount,
            address withdrawTo,
            address borrowTo,
            uint256 totalAmounts,
            uint256 exchangePricesAndConfig
        );
        event LogUpdateExchangePrices(
            address indexed token,
            uint256 indexed supplyExchangePrice,
            uint256 indexed borrowExchangePrice,
            uint256 borrowRate,
            uint256 utilization
        );

        function readFromStorage(bytes32 slot) external view returns (uint256);
    }

    /// contracts/protocols/vault/factory/main.sol
    interface IFluidVaultFactory {
        function totalVaults() external view returns (uint256);
    }

    /// contracts/protocols/vault/vaultTypesCommon/coreModule/events.sol; the first vaults have the same event
    /// (vaultT1/coreModule/events.sol).
    interface IFluidVault {
        event LogLiquidate(address liquidator, uint256 colAmt, uint256 debtAmt, address to);

        /// A static struct of 13 words (interfaces/iVaultT1.sol) or 18 (interfaces/iVault.sol): read by its length.
        function constantsView() external view;
    }

    /// Zircuit's restaking pool: what an account has staked of a token.
    interface IZircuit {
        function balance(address token, address staker) external view returns (uint256);
    }

    /// mds1/multicall3 src/Multicall3.sol
    interface INativeBalance {
        function getEthBalance(address account) external view returns (uint256);
    }
}

/// Stands for the native coin (contracts/liquidity/common/variables.sol `NATIVE_TOKEN_ADDRESS`).
pub const NATIVE: Address = alloy_primitives::address!("0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE");
/// Its decimals (`NATIVE_TOKEN_DECIMALS` in the same file).
const NATIVE_DECIMALS: u8 = 18;

/// Slots of the Liquidity contract (contracts/libraries/liquiditySlotsLink.sol, liquidity/common/variables.sol).
mod slot {
    pub(super) const STATUS: u64 = 1;
    pub(super) const EXCHANGE_PRICES: u64 = 5;
    pub(super) const TOTAL_AMOUNTS: u64 = 7;
    pub(super) const LISTED_TOKENS: u64 = 10;
}

/// Names of the calls: what `key` says in bronze.
mod key {
    pub(super) const STATUS: &str = "liquidity.status";
    pub(super) const TOKENS: &str = "liquidity.listedTokens.length";
    pub(super) const TOKEN: &str = "liquidity.listedTokens";
    pub(super) const PRICES: &str = "liquidity.exchangePricesAndConfig";
    pub(super) const TOTALS: &str = "liquidity.totalAmounts";
    pub(super) const CASH: &str = "token.balanceOf(liquidity)";
    pub(super) const STAKED: &str = "zircuit.balance(liquidity)";
    pub(super) const VAULTS: &str = "vault_factory.totalVaults";
    pub(super) const CONSTANTS: &str = "vault.constantsView";
}

/// Names of contracts in a layout, and in the registry's `contracts`.
mod part {
    pub(super) const LIQUIDITY: &str = "liquidity";
    pub(super) const VAULT_FACTORY: &str = "vault_factory";
    pub(super) const VAULT: &str = "vault";
    pub(super) const ZIRCUIT: &str = "zircuit";
}

/// More tokens or vaults than this are no list.
const LONGEST_LIST: u64 = 10_000;
/// `_status` when all actions are off (contracts/liquidity/common/variables.sol).
const PAUSED: u64 = 2;

/// The Fluid family.
#[derive(Debug, Clone, Copy)]
pub struct Fluid;

const NO_BORROWER: &str = "LogLiquidate names no borrower: a range of ticks is liquidated, not a position";
const NO_COLLATERAL_FACTOR: &str =
    "thresholds belong to vaults, each with its own pair of tokens; the layer has none";
const SHARES: &str =
    "amounts of smart vaults are shares of a DEX pool without a price, and a day with one is null";

impl Family for Fluid {
    fn name(&self) -> &'static str {
        "fluid"
    }

    fn gives(&self) -> Gives {
        Gives { borrower: false, debt_amount: true, bad_debt: BadDebt::None }
    }

    fn limits(&self) -> &'static [ColumnLimit] {
        const LIMITS: &[ColumnLimit] = &[
            ColumnLimit::never("liq_borrowers", NO_BORROWER),
            ColumnLimit::never("liq_threshold_wavg", NO_COLLATERAL_FACTOR),
            ColumnLimit::never("liq_bonus_wavg", NO_COLLATERAL_FACTOR),
            ColumnLimit::estimated("liq_debt_usd", SHARES),
            ColumnLimit::estimated("liq_coll_usd", SHARES),
            ColumnLimit::never("deficit_usd", "the layer books no bad debt"),
            ColumnLimit::never(
                "bad_debt_usd",
                "what a vault absorbs is liquidated later; what is never repaid is not logged",
            ),
        ];
        LIMITS
    }

    fn discover(
        &self,
        csu: &Csu,
        answers: &Answers<'_>,
        _history: &[RawLog],
    ) -> Result<Discovery, DiscoveryError> {
        if !answers.asked(key::TOKENS, "") {
            return Ok(Discovery::Ask(list_calls(csu)));
        }
        let (tokens, vaults) = lengths(answers)?;
        let unasked: Vec<Call> = (0..tokens)
            .filter(|index| !answers.asked(key::TOKEN, &index.to_string()))
            .map(|index| word_call(csu, key::TOKEN, index, listed_token_slot(index)))
            .collect();
        if !unasked.is_empty() {
            return Ok(Discovery::Ask(unasked));
        }
        let mut markets = Vec::new();
        for index in 0..tokens {
            let token = listed_token(answers, index)?;
            markets.push(Market { id: item(token), contracts: BTreeMap::new() });
        }
        let factory = vault_factory(csu);
        for id in 1..=vaults {
            // The factory deploys vault `id` with nonce `id` (`_deployVaultStart`, `getVaultAddress`).
            let Some(vault) = factory.map(|factory| factory.create(id)) else { break };
            markets.push(Market {
                id: item(vault),
                contracts: BTreeMap::from([(part::VAULT.to_owned(), vault)]),
            });
        }
        let mut roots = BTreeMap::from([(part::LIQUIDITY.to_owned(), csu.entry)]);
        roots.extend(factory.map(|factory| (part::VAULT_FACTORY.to_owned(), factory)));
        Ok(Discovery::Found(Layout { roots, markets }))
    }

    fn snapshot(&self, csu: &Csu, layout: &Layout) -> Vec<Call> {
        let mut calls = list_calls(csu);
        calls.push(word_call(csu, key::STATUS, "", plain_slot(slot::STATUS)));
        for (index, token) in tokens_of(layout).enumerate() {
            let id = item(token);
            calls.push(word_call(csu, key::TOKEN, index, listed_token_slot(index as u64)));
            calls.push(word_call(csu, key::PRICES, &id, mapped_slot(token, slot::EXCHANGE_PRICES)));
            calls.push(word_call(csu, key::TOTALS, &id, mapped_slot(token, slot::TOTAL_AMOUNTS)));
            let account = csu.entry;
            if token == NATIVE {
                let balance = INativeBalance::getEthBalanceCall { account };
                calls.push(Call::new(key::CASH, &id, multicall::ADDRESS, &balance));
            } else {
                calls.push(Call::new(key::CASH, &id, token, &IErc20::balanceOfCall { account }));
                calls.extend(token::calls(token));
            }
            if let Some(&zircuit) = csu.contracts.get(part::ZIRCUIT) {
                let staked = IZircuit::balanceCall { token, staker: account };
                calls.push(Call::new(key::STAKED, &id, zircuit, &staked));
            }
        }
        calls
    }

    fn event_reads(&self, csu: &Csu, layout: &Layout, logs: &[&RawLog]) -> Vec<Call> {
        let vaults: BTreeSet<Address> = logs.iter().map(|log| log.address).collect();
        let mut calls = list_calls(csu);
        for vault in vaults {
            calls.push(Call::new(key::CONSTANTS, item(vault), vault, &IFluidVault::constantsViewCall {}));
        }
        // Which of them a vault holds is known with the answers: every token of a vault is listed.
        calls.extend(tokens_of(layout).filter(|token| *token != NATIVE).flat_map(token::calls));
        calls
    }

    /// The list of tokens only grows (`_listedTokens`), and so does the number of vaults: equal lengths are equal lists.
    fn confirm(&self, _csu: &Csu, layout: &Layout, answers: &Answers<'_>) -> Result<(), LayoutDrift> {
        let vaults = layout.markets.iter().filter(|market| is_vault(market)).count() as u64;
        let tokens = layout.markets.len() as u64 - vaults;
        match lengths(answers) {
            Ok(found) if found == (tokens, vaults) => Ok(()),
            Ok((found, _)) if found != tokens => Err(LayoutDrift { what: "the list of tokens".to_owned() }),
            Ok(_) => Err(LayoutDrift { what: "the number of vaults".to_owned() }),
            Err(error) => Err(LayoutDrift { what: error.what.to_owned() }),
        }
    }

    fn filter(&self, _csu: &Csu, layouts: &[&Layout]) -> LogFilter {
        let vaults = layouts.iter().flat_map(|layout| &layout.markets);
        let vaults = vaults.filter_map(|market| market.contracts.get(part::VAULT).copied());
        LogFilter::new(vaults, [IFluidVault::LogLiquidate::SIGNATURE_HASH])
    }

    /// A token's exchange prices and their time are written by `operate`, which emits `LogOperate`, and by
    /// `_updateExchangePrices` and `_updateExchangePricesAndRates`, which emit `LogUpdateExchangePrices`; `updateTokenConfigs`
    /// calls the latter (contracts/liquidity/userModule/main.sol, adminModule/main.sol: every writer of
    /// `_exchangePricesAndConfig`).
    fn witness(&self, csu: &Csu, reads: &ReadsAtBlock, since: DayStart) -> Option<Witness> {
        let answers = Answers::new(&reads.calls);
        let touched = tokens_read(reads).into_iter().filter_map(|token| {
            let word = word(&answers, key::PRICES, &item(token)).ok()?;
            Config::new(word).map(|config| config.updated_at())
        });
        let of_day = since.timestamp..=reads.block.timestamp;
        let timestamp = touched.filter(|time| of_day.contains(time)).min()?;
        let topics = [
            IFluidLiquidity::LogOperate::SIGNATURE_HASH,
            IFluidLiquidity::LogUpdateExchangePrices::SIGNATURE_HASH,
        ];
        Some(Witness { at: At::Time(timestamp), filter: LogFilter::new([csu.entry], topics) })
    }

    fn read_snapshot(
        &self,
        csu: &Csu,
        reads: &ReadsAtBlock,
        _pace: BlockPace,
    ) -> Result<Snapshot, DiscoveryError> {
        let answers = Answers::new(&reads.calls);
        lengths(&answers)?;
        let tokens = tokens_read(reads);
        Ok(Snapshot {
            reserves: tokens.iter().map(|token| figures(csu, &answers, reads, *token)).collect(),
            prices: Vec::new(),
            tokens: tokens.iter().map(|token| token_answer(&answers, *token)).collect(),
        })
    }

    fn read_event_prices(&self, _csu: &Csu, reads: &ReadsAtBlock) -> (Vec<PriceAnswer>, Vec<TokenAnswer>) {
        let answers = Answers::new(&reads.calls);
        let asked = reads.calls.iter().filter(|call| call.key == token::DECIMALS);
        let tokens: BTreeSet<Address> =
            asked.filter_map(|call| call.item.parse().ok()).chain([NATIVE]).collect();
        (Vec::new(), tokens.into_iter().map(|token| token_answer(&answers, token)).collect())
    }

    fn read_logs(&self, _csu: &Csu, logs: &[RawLog], reads: &[ReadsAtBlock]) -> Vec<LogReading> {
        let at: BTreeMap<u64, Answers<'_>> =
            reads.iter().map(|reads| (reads.block.number, Answers::new(&reads.calls))).collect();
        let read = |log: &RawLog| match read_liquidation(log, at.get(&log.block_number)) {
            Ok(leg) => LogReading::Leg(Box::new(leg)),
            Err(why) => LogReading::reject(log, why),
        };
        logs.iter().map(read).collect()
    }
}

/// Slot of a plain storage variable.
fn plain_slot(number: u64) -> B256 {
    B256::from(U256::from(number))
}

/// Slot of a token's entry in the mapping that stands at `number`: keccak256(abi.encode(token, number)).
fn mapped_slot(token: Address, number: u64) -> B256 {
    let mut preimage = [0_u8; 64];
    preimage[12..32].copy_from_slice(token.as_slice());
    preimage[32..].copy_from_slice(&U256::from(number).to_be_bytes::<32>());
    alloy_primitives::keccak256(preimage)
}

/// Slot of an element of the list of tokens: keccak256(slot of its length) + index.
fn listed_token_slot(index: u64) -> B256 {
    let first = alloy_primitives::keccak256(plain_slot(slot::LISTED_TOKENS));
    B256::from(U256::from_be_bytes(first.0).wrapping_add(U256::from(index)))
}

fn word_call(csu: &Csu, key: &str, item: impl ToString, slot: B256) -> Call {
    Call::new(key, item, csu.entry, &IFluidLiquidity::readFromStorageCall { slot })
}

fn vault_factory(csu: &Csu) -> Option<Address> {
    csu.contracts.get(part::VAULT_FACTORY).copied()
}

/// How many tokens and vaults there are.
fn list_calls(csu: &Csu) -> Vec<Call> {
    let tokens = word_call(csu, key::TOKENS, "", plain_slot(slot::LISTED_TOKENS));
    let vaults = vault_factory(csu)
        .map(|factory| Call::new(key::VAULTS, "", factory, &IFluidVaultFactory::totalVaultsCall {}));
    [tokens].into_iter().chain(vaults).collect()
}

fn word(answers: &Answers<'_>, key: &str, item: &str) -> Result<U256, Missing> {
    answers.value::<IFluidLiquidity::readFromStorageCall>(key, item)
}

fn lengths(answers: &Answers<'_>) -> Result<(u64, u64), DiscoveryError> {
    let length = |answer: Result<U256, Missing>, key: &str, what| {
        let count = answer.map_err(|why| DiscoveryError { what, why })?;
        u64::try_from(count).ok().filter(|count| *count <= LONGEST_LIST).ok_or_else(|| DiscoveryError {
            what,
            why: Missing::Undecodable { key: key.to_owned(), length: 32 },
        })
    };
    let tokens = length(word(answers, key::TOKENS, ""), key::TOKENS, "the list of tokens of Fluid's layer")?;
    let vaults = answers.value::<IFluidVaultFactory::totalVaultsCall>(key::VAULTS, "");
    Ok((tokens, length(vaults, key::VAULTS, "the number of vaults of Fluid's factory")?))
}

fn listed_token(answers: &Answers<'_>, index: u64) -> Result<Address, DiscoveryError> {
    let what = "a token of Fluid's layer";
    let word = word(answers, key::TOKEN, &index.to_string()).map_err(|why| DiscoveryError { what, why })?;
    let bytes = word.to_be_bytes::<32>();
    if bytes[..12].iter().any(|byte| *byte != 0) || word.is_zero() {
        let why = Missing::Undecodable { key: format!("{} of {index}", key::TOKEN), length: 32 };
        return Err(DiscoveryError { what, why });
    }
    Ok(Address::from_slice(&bytes[12..]))
}

fn is_vault(market: &Market) -> bool {
    market.contracts.contains_key(part::VAULT)
}

fn tokens_of(layout: &Layout) -> impl Iterator<Item = Address> + '_ {
    layout.markets.iter().filter(|market| !is_vault(market)).filter_map(|market| market.id.parse().ok())
}

/// The tokens that a snapshot was asked about, in order of address.
fn tokens_read(reads: &ReadsAtBlock) -> BTreeSet<Address> {
    let asked = reads.calls.iter().filter(|call| call.key == key::TOTALS);
    asked.filter_map(|call| call.item.parse().ok()).collect()
}

fn token_answer(answers: &Answers<'_>, token: Address) -> TokenAnswer {
    if token == NATIVE {
        return TokenAnswer { token, symbol: None, decimals: Some(NATIVE_DECIMALS) };
    }
    token::answer(answers, token)
}

fn figures(csu: &Csu, answers: &Answers<'_>, reads: &ReadsAtBlock, token: Address) -> ReserveFigures {
    let id = item(token);
    let mut figures = ReserveFigures::new(item(csu.entry), token, Role::Reserve);
    let missing = &mut figures.missing;
    let unreadable = |key: &str| Missing::Undecodable { key: format!("{key} of {id}"), length: 32 };

    // The layer's own reader, too, refuses a token without exchange prices (`ExchangePriceZero`).
    let config = word(answers, key::PRICES, &id)
        .and_then(|word| Config::new(word).ok_or_else(|| unreadable(key::PRICES)));
    let config = keep(config, missing);
    let prices = config.map(|config| config.exchange_prices_at(reads.block.timestamp));
    let totals = keep(word(answers, key::TOTALS, &id), missing).map(TotalAmounts);
    let amounts = totals.zip(prices).and_then(|(totals, prices)| {
        let amounts = totals.supplied(prices).zip(totals.borrowed(prices));
        keep(amounts.ok_or_else(|| unreadable(key::TOTALS)), missing)
    });
    let cash = match token == NATIVE {
        true => answers.value::<INativeBalance::getEthBalanceCall>(key::CASH, &id),
        false => answers.value::<IErc20::balanceOfCall>(key::CASH, &id),
    };
    let cash = keep(cash, missing);
    let staked = match csu.contracts.contains_key(part::ZIRCUIT) {
        true => keep(answers.value::<IZircuit::balanceCall>(key::STAKED, &id), missing),
        false => Some(U256::ZERO),
    };
    if token != NATIVE {
        keep(token::decimals(answers, &id), missing);
    }

    figures.supplied = amounts.map(|(supplied, _)| supplied);
    figures.borrowed = amounts.map(|(_, borrowed)| borrowed);
    figures.available = cash.zip(staked).and_then(|(cash, staked)| cash.checked_add(staked));
    figures.reserves = revenue(figures.available, figures.borrowed, figures.supplied);
    if figures.reserves.is_some_and(|revenue| revenue.is_negative()) {
        figures.flags.push("negative_revenue");
    }
    if staked.is_some_and(|staked| !staked.is_zero()) {
        figures.flags.push("staked_at_zircuit");
    }
    figures.borrow_apr = config.and_then(Config::borrow_apr);
    figures.supply_apr = config.and_then(Config::supply_apr);
    figures.reserve_factor = config.and_then(Config::fee);
    figures.is_active = config.map(|_| true);
    let status = word(answers, key::STATUS, "");
    figures.is_paused = status.ok().map(|status| status == U256::from(PAUSED));
    figures
}

fn revenue(available: Option<U256>, borrowed: Option<U256>, supplied: Option<U256>) -> Option<I256> {
    let signed = |amount: U256| I256::try_from(amount).ok();
    signed(available?)?.checked_add(signed(borrowed?)?)?.checked_sub(signed(supplied?)?)
}

/// What a vault lends and takes: tokens, or the DEX pool whose shares it deals in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct VaultSides {
    supply: Side,
    borrow: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Token(Address),
    /// Amounts are shares of this pool.
    Shares(Address),
}

impl Side {
    fn of_amount(self) -> Address {
        match self {
            Self::Token(token) => token,
            Self::Shares(dex) => dex,
        }
    }
}

/// Vault types (contracts/libraries/fluidProtocolTypes.sol): smart collateral, smart debt, or both.
const SMART_COLLATERAL: [u64; 2] = [20_000, 40_000];
const SMART_DEBT: [u64; 2] = [30_000, 40_000];

/// The sides of a vault, from the words of `constantsView`.
fn vault_sides(data: &[u8]) -> Option<VaultSides> {
    let word = |index: usize| data.get(index * 32..(index + 1) * 32);
    let address = |index: usize| {
        let word = word(index)?;
        word[..12].iter().all(|byte| *byte == 0).then(|| Address::from_slice(&word[12..]))
    };
    match data.len() {
        // interfaces/iVaultT1.sol: ..., [4] supplyToken, [5] borrowToken, ...
        416 => Some(VaultSides { supply: Side::Token(address(4)?), borrow: Side::Token(address(5)?) }),
        // interfaces/iVault.sol: [6] supply, [7] borrow, [8] supplyToken0, [10] borrowToken0, [13] vaultType, ...
        576 => {
            let kind = u64::try_from(U256::from_be_slice(word(13)?)).ok()?;
            let side = |smart: [u64; 2], dex: usize, token: usize| {
                Some(if smart.contains(&kind) {
                    Side::Shares(address(dex)?)
                } else {
                    Side::Token(address(token)?)
                })
            };
            Some(VaultSides { supply: side(SMART_COLLATERAL, 6, 8)?, borrow: side(SMART_DEBT, 7, 10)? })
        }
        _ => None,
    }
}

fn read_liquidation(log: &RawLog, answers: Option<&Answers<'_>>) -> Result<Leg, String> {
    if log.topics != [IFluidVault::LogLiquidate::SIGNATURE_HASH] {
        return Err(format!("has {} topics that are not LogLiquidate's", log.topics.len()));
    }
    if log.data.len() != 128 {
        return Err(format!("LogLiquidate has 128 bytes of data, this log has {}", log.data.len()));
    }
    let event = IFluidVault::LogLiquidate::decode_raw_log_validate(log.topics.iter().copied(), &log.data)
        .map_err(|error| format!("is no LogLiquidate: {error}"))?;
    let vault = item(log.address);
    let answers = answers.ok_or_else(|| format!("nothing was read at block {}", log.block_number))?;
    let constants = answers.data(key::CONSTANTS, &vault).map_err(|why| why.to_string())?;
    let sides = vault_sides(constants)
        .ok_or_else(|| format!("{} of {vault} returned {} bytes", key::CONSTANTS, constants.len()))?;
    let liquidation = format!("vault {vault} liquidator {}", item(event.liquidator));
    let mut leg = Leg::new(log, "LogLiquidate", vault, liquidation);
    leg.liquidator = Some(event.liquidator);
    leg.debt = Some((sides.borrow.of_amount(), event.debtAmt));
    leg.collateral = Some((sides.supply.of_amount(), event.colAmt));
    if matches!(sides.borrow, Side::Shares(_)) {
        leg.flags.push("debt_in_dex_shares");
    }
    if matches!(sides.supply, Side::Shares(_)) {
        leg.flags.push("collateral_in_dex_shares");
    }
    Ok(leg)
}

#[cfg(test)]
mod tests;
