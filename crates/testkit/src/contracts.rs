//! Contract answers for a simulated chain, from plain values.
//!
//! [`Table`] answers exact calls with exact bytes. [`AaveV3`] is a small Aave V3 market: it answers what the family's
//! plan asks, from one [`AaveReserve`] a token. A `Vec` of contracts asks the first that has code at the address.

use crate::simchain::{Contracts, Emitted};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, SolEvent, SolInterface};
use lake::bronze::Header;
use protocols::aave_v3::{IAaveOracle, IPool, IPoolAddressesProvider, ReserveData};
use protocols::token::IErc20;
use std::collections::HashMap;

impl Contracts for Vec<Box<dyn Contracts>> {
    fn has_code(&self, to: Address, block: &Header) -> bool {
        self.iter().any(|contracts| contracts.has_code(to, block))
    }

    fn call(&self, to: Address, input: &[u8], block: &Header) -> Result<Bytes, Bytes> {
        self.iter()
            .find(|contracts| contracts.has_code(to, block))
            .map_or_else(|| Ok(Bytes::new()), |contracts| contracts.call(to, input, block))
    }
}

/// Exact answers to exact calls; another call of the same contract reverts.
#[derive(Debug, Clone, Default)]
pub struct Table {
    answers: HashMap<Address, HashMap<Bytes, Result<Bytes, Bytes>>>,
}

impl Table {
    /// The table with the answer to one call, at every block.
    #[must_use]
    pub fn with(mut self, to: Address, input: impl Into<Bytes>, answer: Result<Bytes, Bytes>) -> Self {
        self.answers.entry(to).or_default().insert(input.into(), answer);
        self
    }
}

impl Contracts for Table {
    fn has_code(&self, to: Address, _block: &Header) -> bool {
        self.answers.contains_key(&to)
    }

    fn call(&self, to: Address, input: &[u8], _block: &Header) -> Result<Bytes, Bytes> {
        let answers = self.answers.get(&to).ok_or_else(Bytes::new)?;
        answers.get(input).cloned().unwrap_or_else(|| Err(Bytes::new()))
    }
}

/// What an oracle says of a token, in its base unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Price {
    /// Nothing: the call reverts.
    Reverts,
    /// One price at every block.
    Always(U256),
    /// From each of these blocks on; reverts before the first.
    FromBlock(Vec<(u64, U256)>),
    /// From each of these Unix seconds on; reverts before the first.
    FromTime(Vec<(u64, U256)>),
}

impl Price {
    /// The price at a block.
    pub fn at(&self, block: &Header) -> Option<U256> {
        let last = |steps: &[(u64, U256)], now: u64| {
            steps.iter().take_while(|(from, _)| *from <= now).last().map(|(_, price)| *price)
        };
        match self {
            Self::Reverts => None,
            Self::Always(price) => Some(*price),
            Self::FromBlock(steps) => last(steps, block.number),
            Self::FromTime(steps) => last(steps, block.timestamp),
        }
    }
}

/// The settings in a reserve's configuration word (aave-v3-origin ReserveConfiguration.sol).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Configuration {
    /// Loan to value, basis points.
    pub ltv: u16,
    /// Liquidation threshold, basis points.
    pub liquidation_threshold: u16,
    /// Bonus, basis points above 100%; `None` when the token is no collateral.
    pub liquidation_bonus: Option<u16>,
    /// Decimals.
    pub decimals: u8,
    /// Active.
    pub active: bool,
    /// Frozen.
    pub frozen: bool,
    /// Can be borrowed.
    pub borrowing: bool,
    /// Paused.
    pub paused: bool,
    /// Reserve factor, basis points.
    pub reserve_factor: u16,
    /// Borrow cap in whole tokens, 0 for none.
    pub borrow_cap: u64,
    /// Supply cap in whole tokens, 0 for none.
    pub supply_cap: u64,
    /// Virtual accounting (from 3.1).
    pub virtual_accounting: bool,
}

impl Configuration {
    /// An active collateral of a market with virtual accounting.
    pub fn usual(decimals: u8) -> Self {
        Self {
            ltv: 7_500,
            liquidation_threshold: 8_000,
            liquidation_bonus: Some(500),
            decimals,
            active: true,
            frozen: false,
            borrowing: true,
            paused: false,
            reserve_factor: 1_000,
            borrow_cap: 0,
            supply_cap: 0,
            virtual_accounting: true,
        }
    }

    /// The word as the pool keeps it.
    pub fn word(self) -> U256 {
        let number = |value: u64, bit: usize| U256::from(value) << bit;
        let flag = |value: bool, bit: usize| U256::from(u8::from(value)) << bit;
        number(self.ltv.into(), 0)
            | number(self.liquidation_threshold.into(), 16)
            | number(self.liquidation_bonus.map_or(0, |bonus| 10_000 + u64::from(bonus)), 32)
            | number(self.decimals.into(), 48)
            | flag(self.active, 56)
            | flag(self.frozen, 57)
            | flag(self.borrowing, 58)
            | flag(self.paused, 60)
            | number(self.reserve_factor.into(), 64)
            | number(self.borrow_cap, 80)
            | number(self.supply_cap, 116)
            | flag(self.virtual_accounting, 252)
    }
}

/// One reserve of a simulated Aave V3 market. Amounts are in base units.
#[derive(Debug, Clone)]
pub struct AaveReserve {
    /// Token.
    pub asset: Address,
    /// Its symbol.
    pub symbol: String,
    /// What its contract says of its decimals.
    pub decimals: u8,
    /// The aToken.
    pub a_token: Address,
    /// The stable debt token; zero for none.
    pub stable_debt_token: Address,
    /// The variable debt token.
    pub variable_debt_token: Address,
    /// The configuration word.
    pub configuration: U256,
    /// Supply index in ray; here also the normalised income.
    pub liquidity_index: u128,
    /// Borrow index in ray.
    pub variable_borrow_index: u128,
    /// Rate paid to suppliers, in ray.
    pub liquidity_rate: u128,
    /// Variable rate paid by borrowers, in ray.
    pub variable_borrow_rate: u128,
    /// Stable rate paid by borrowers, in ray.
    pub stable_borrow_rate: u128,
    /// Total supply of the aToken.
    pub supplied: U256,
    /// Total supply of the variable debt token.
    pub variable_debt: U256,
    /// Total supply of the stable debt token.
    pub stable_debt: U256,
    /// Tokens in the aToken contract.
    pub cash: U256,
    /// Virtual balance; `None` in versions before 3.1, where the call reverts.
    pub virtual_balance: Option<u128>,
    /// Deficit; `None` in versions before 3.3, where the call reverts.
    pub deficit: Option<U256>,
    /// Treasury's share not yet minted, scaled.
    pub accrued_to_treasury: u128,
    /// Unbacked aTokens.
    pub unbacked: u128,
    /// When it was last touched, Unix seconds, before the first of `touches`; zero for never.
    pub touched_at: u64,
    /// When it was touched since, Unix seconds, in order.
    pub touches: Vec<u64>,
    /// What the oracle says.
    pub price: Price,
}

/// 1e27.
pub const RAY: u128 = 1_000_000_000_000_000_000_000_000_000;

impl AaveReserve {
    /// A reserve whose books balance: what is supplied and not borrowed lies in the aToken.
    pub fn new(
        asset: Address,
        symbol: &str,
        decimals: u8,
        supplied: u128,
        borrowed: u128,
        price: Price,
    ) -> Self {
        let cash = supplied.saturating_sub(borrowed);
        Self {
            asset,
            symbol: symbol.to_owned(),
            decimals,
            a_token: derived(asset, "aToken"),
            stable_debt_token: Address::ZERO,
            variable_debt_token: derived(asset, "variable debt"),
            configuration: Configuration::usual(decimals).word(),
            liquidity_index: RAY,
            variable_borrow_index: RAY,
            liquidity_rate: RAY / 50,
            variable_borrow_rate: RAY / 25,
            stable_borrow_rate: 0,
            supplied: U256::from(supplied),
            variable_debt: U256::from(borrowed),
            stable_debt: U256::ZERO,
            cash: U256::from(cash),
            virtual_balance: Some(cash),
            deficit: Some(U256::ZERO),
            accrued_to_treasury: 0,
            unbacked: 0,
            touched_at: 0,
            touches: Vec::new(),
            price,
        }
    }

    /// When it had last been touched at the end of a block, Unix seconds.
    pub fn last_touch(&self, block: &Header) -> u64 {
        let before = self.touches.partition_point(|touch| *touch <= block.timestamp);
        before.checked_sub(1).and_then(|last| self.touches.get(last)).copied().unwrap_or(self.touched_at)
    }

    fn data(&self, id: usize, block: &Header) -> ReserveData {
        ReserveData {
            configuration: self.configuration,
            liquidityIndex: self.liquidity_index,
            currentLiquidityRate: self.liquidity_rate,
            variableBorrowIndex: self.variable_borrow_index,
            currentVariableBorrowRate: self.variable_borrow_rate,
            currentStableBorrowRate: self.stable_borrow_rate,
            lastUpdateTimestamp: alloy_primitives::Uint::saturating_from(self.last_touch(block)),
            id: u16::try_from(id).unwrap_or(u16::MAX),
            aTokenAddress: self.a_token,
            stableDebtTokenAddress: self.stable_debt_token,
            variableDebtTokenAddress: self.variable_debt_token,
            interestRateStrategyAddress: derived(self.asset, "rates"),
            accruedToTreasury: self.accrued_to_treasury,
            unbacked: self.unbacked,
            isolationModeTotalDebt: 0,
        }
    }
}

/// An address that only this name of this address gives.
fn derived(from: Address, name: &str) -> Address {
    Address::from_word(keccak256([from.as_slice(), name.as_bytes()].concat()))
}

/// A small Aave V3 market.
#[derive(Debug, Clone)]
pub struct AaveV3 {
    /// Addresses provider: the CSU's entry.
    pub provider: Address,
    /// Pool.
    pub pool: Address,
    /// Price oracle.
    pub oracle: Address,
    /// What the provider says of `MOCK_STABLE_DEBT`; zero before 3.3.
    pub mock_stable_debt: Address,
    /// Revision of the pool.
    pub revision: u64,
    /// Base currency of the oracle; zero is the US dollar.
    pub base_currency: Address,
    /// Unit of the base currency.
    pub base_unit: U256,
    /// First block of the market's own contracts. Tokens are older.
    pub deployed_block: u64,
    /// Reserves, in the order in which the pool lists them.
    pub reserves: Vec<AaveReserve>,
}

/// A liquidation of a simulated market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liquidation {
    /// Block.
    pub block: u64,
    /// Index of the transaction in its block.
    pub tx_index: u64,
    /// Index of the log in its block.
    pub log_index: u64,
    /// Token seized.
    pub collateral: Address,
    /// Token repaid.
    pub debt: Address,
    /// Borrower.
    pub borrower: Address,
    /// Liquidator.
    pub liquidator: Address,
    /// Amount repaid.
    pub debt_amount: u128,
    /// Amount seized.
    pub collateral_amount: u128,
}

impl AaveV3 {
    /// A market in US dollars with these reserves, its contracts at addresses made from `name`.
    pub fn named(name: &str, reserves: Vec<AaveReserve>) -> Self {
        let seed = Address::from_word(keccak256(name));
        Self {
            provider: derived(seed, "provider"),
            pool: derived(seed, "pool"),
            oracle: derived(seed, "oracle"),
            mock_stable_debt: Address::ZERO,
            revision: 9,
            base_currency: Address::ZERO,
            base_unit: U256::from(100_000_000),
            deployed_block: 0,
            reserves,
        }
    }

    /// The log of a liquidation.
    pub fn liquidation(&self, of: &Liquidation) -> Emitted {
        let event = IPool::LiquidationCall {
            collateralAsset: of.collateral,
            debtAsset: of.debt,
            user: of.borrower,
            debtToCover: U256::from(of.debt_amount),
            liquidatedCollateralAmount: U256::from(of.collateral_amount),
            liquidator: of.liquidator,
            receiveAToken: false,
        };
        self.emitted(&event, of.block, of.tx_index, of.log_index)
    }

    /// The log that goes with a touch of a reserve.
    pub fn touch(&self, reserve: &AaveReserve, block: u64, tx_index: u64, log_index: u64) -> Emitted {
        let event = IPool::ReserveDataUpdated {
            reserve: reserve.asset,
            liquidityRate: U256::from(reserve.liquidity_rate),
            stableBorrowRate: U256::from(reserve.stable_borrow_rate),
            variableBorrowRate: U256::from(reserve.variable_borrow_rate),
            liquidityIndex: U256::from(reserve.liquidity_index),
            variableBorrowIndex: U256::from(reserve.variable_borrow_index),
        };
        self.emitted(&event, block, tx_index, log_index)
    }

    /// An event of the pool as a log.
    pub fn emitted(&self, event: &impl SolEvent, block: u64, tx_index: u64, log_index: u64) -> Emitted {
        let log = event.encode_log_data();
        let topics: Vec<B256> = log.topics().to_vec();
        Emitted { block, tx_index, log_index, address: self.pool, topics, data: log.data }
    }

    fn find(&self, asset: Address) -> Result<(usize, &AaveReserve), Bytes> {
        self.reserves.iter().enumerate().find(|(_, reserve)| reserve.asset == asset).ok_or_else(Bytes::new)
    }

    fn provider_call(&self, input: &[u8]) -> Result<Bytes, Bytes> {
        use IPoolAddressesProvider::{
            IPoolAddressesProviderCalls as Calls, getAddressCall, getPoolCall, getPriceOracleCall,
        };
        Ok(match decode(input)? {
            Calls::getPool(_) => encoded::<getPoolCall>(&self.pool),
            Calls::getPriceOracle(_) => encoded::<getPriceOracleCall>(&self.oracle),
            Calls::getAddress(call) => {
                let is_mock = call.id.starts_with(b"MOCK_STABLE_DEBT\0");
                encoded::<getAddressCall>(if is_mock { &self.mock_stable_debt } else { &Address::ZERO })
            }
        })
    }

    fn pool_call(&self, input: &[u8], block: &Header) -> Result<Bytes, Bytes> {
        use IPool::IPoolCalls as Calls;
        Ok(match decode(input)? {
            Calls::ADDRESSES_PROVIDER(_) => encoded::<IPool::ADDRESSES_PROVIDERCall>(&self.provider),
            Calls::POOL_REVISION(_) => encoded::<IPool::POOL_REVISIONCall>(&U256::from(self.revision)),
            Calls::getReservesList(_) => {
                let assets: Vec<_> = self.reserves.iter().map(|reserve| reserve.asset).collect();
                encoded::<IPool::getReservesListCall>(&assets)
            }
            Calls::getReserveData(call) => {
                let (id, reserve) = self.find(call.asset)?;
                encoded::<IPool::getReserveDataCall>(&reserve.data(id, block))
            }
            Calls::getReserveNormalizedIncome(call) => {
                let index = U256::from(self.find(call.asset)?.1.liquidity_index);
                encoded::<IPool::getReserveNormalizedIncomeCall>(&index)
            }
            Calls::getVirtualUnderlyingBalance(call) => {
                let balance = self.find(call.asset)?.1.virtual_balance.ok_or_else(Bytes::new)?;
                encoded::<IPool::getVirtualUnderlyingBalanceCall>(&balance)
            }
            Calls::getReserveDeficit(call) => {
                let deficit = self.find(call.asset)?.1.deficit.ok_or_else(Bytes::new)?;
                encoded::<IPool::getReserveDeficitCall>(&deficit)
            }
        })
    }

    fn oracle_call(&self, input: &[u8], block: &Header) -> Result<Bytes, Bytes> {
        use IAaveOracle::IAaveOracleCalls as Calls;
        Ok(match decode(input)? {
            Calls::BASE_CURRENCY(_) => encoded::<IAaveOracle::BASE_CURRENCYCall>(&self.base_currency),
            Calls::BASE_CURRENCY_UNIT(_) => encoded::<IAaveOracle::BASE_CURRENCY_UNITCall>(&self.base_unit),
            Calls::getAssetPrice(call) => {
                let price = self.find(call.asset)?.1.price.at(block).ok_or_else(Bytes::new)?;
                encoded::<IAaveOracle::getAssetPriceCall>(&price)
            }
            Calls::getSourceOfAsset(call) => {
                encoded::<IAaveOracle::getSourceOfAssetCall>(&derived(call.asset, "feed"))
            }
        })
    }

    fn token_call(&self, to: Address, input: &[u8]) -> Result<Bytes, Bytes> {
        let (reserve, part) = self.token(to).ok_or_else(Bytes::new)?;
        let supply = match part {
            // Most of a token is elsewhere; only that the market holds it is simulated.
            Part::Asset | Part::AToken => reserve.supplied,
            Part::StableDebt => reserve.stable_debt,
            Part::VariableDebt => reserve.variable_debt,
        };
        use IErc20::IErc20Calls as Calls;
        Ok(match decode(input)? {
            Calls::symbol(_) => encoded::<IErc20::symbolCall>(&part.symbol(&reserve.symbol)),
            Calls::decimals(_) => encoded::<IErc20::decimalsCall>(&U256::from(reserve.decimals)),
            Calls::totalSupply(_) => encoded::<IErc20::totalSupplyCall>(&supply),
            Calls::balanceOf(call) => {
                let held = part == Part::Asset && call.account == reserve.a_token;
                encoded::<IErc20::balanceOfCall>(if held { &reserve.cash } else { &U256::ZERO })
            }
        })
    }

    fn token(&self, address: Address) -> Option<(&AaveReserve, Part)> {
        self.reserves.iter().find_map(|reserve| {
            [
                (reserve.asset, Part::Asset),
                (reserve.a_token, Part::AToken),
                (reserve.stable_debt_token, Part::StableDebt),
                (reserve.variable_debt_token, Part::VariableDebt),
            ]
            .into_iter()
            .find(|(token, _)| *token == address && !token.is_zero())
            .map(|(_, part)| (reserve, part))
        })
    }
}

/// Which of a reserve's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Asset,
    AToken,
    StableDebt,
    VariableDebt,
}

impl Part {
    fn symbol(self, of: &str) -> String {
        let prefix = match self {
            Self::Asset => "",
            Self::AToken => "a",
            Self::StableDebt => "stableDebt",
            Self::VariableDebt => "variableDebt",
        };
        format!("{prefix}{of}")
    }
}

/// A function that the contract does not have reverts without data.
fn decode<C: SolInterface>(input: &[u8]) -> Result<C, Bytes> {
    C::abi_decode(input).map_err(|_| Bytes::new())
}

fn encoded<C: SolCall>(value: &C::Return) -> Bytes {
    C::abi_encode_returns(value).into()
}

impl Contracts for AaveV3 {
    fn has_code(&self, to: Address, block: &Header) -> bool {
        let own = [self.provider, self.pool, self.oracle].contains(&to);
        (own && block.number >= self.deployed_block) || self.token(to).is_some()
    }

    fn call(&self, to: Address, input: &[u8], block: &Header) -> Result<Bytes, Bytes> {
        if to == self.provider {
            self.provider_call(input)
        } else if to == self.pool {
            self.pool_call(input, block)
        } else if to == self.oracle {
            self.oracle_call(input, block)
        } else {
            self.token_call(to, input)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simchain::{Clock, SimChain};
    use lake::bronze::{CallRecord, ReadsAtBlock};
    use lake::registry::Csu;
    use protocols::{Answers, Call, Discovery, Family, aave_v3};

    fn csu(entry: Address) -> Csu {
        Csu::bare("aave_v3_sim", "aave_v3", "sim", "pool_addresses_provider", entry)
    }

    fn ask(chain: &SimChain, block: u64, calls: Vec<Call>) -> Vec<CallRecord> {
        let block = chain.header(block).unwrap();
        calls
            .into_iter()
            .map(|call| match chain.call(call.to, &call.input, &block) {
                Ok(output) => call.answered(true, output),
                Err(output) => call.answered(false, output),
            })
            .collect()
    }

    #[test]
    fn a_reserve_s_last_touch_is_that_of_the_block_that_is_asked() {
        let reserve = AaveReserve::new(Address::repeat_byte(1), "USD", 6, 1, 0, Price::Always(U256::from(1)));
        let reserve = AaveReserve { touched_at: 5, touches: vec![24, 60, 60, 72], ..reserve };
        let chain = SimChain::new(7, 0..=9, Clock::every(12, 0..=9, 0).unwrap()).unwrap();
        let touch = |number| reserve.last_touch(&chain.header(number).unwrap());
        assert_eq!([0, 1, 2, 4, 5, 6, 9].map(touch), [5, 5, 24, 24, 60, 72, 72]);
    }

    #[test]
    fn the_family_reads_the_market_as_it_was_written_down() {
        let (usd, eth) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let prices = Price::FromBlock(vec![(0, U256::from(300_000_000_000_u64)), (60, U256::from(1))]);
        let market = AaveV3::named(
            "a",
            vec![
                AaveReserve::new(usd, "USD", 6, 1_000_000, 250_000, Price::Always(U256::from(100_000_000))),
                AaveReserve { deficit: None, ..AaveReserve::new(eth, "ETH", 18, 5_000, 0, prices) },
            ],
        );
        let csu = csu(market.provider);
        let chain =
            SimChain::new(7, 0..=100, Clock::every(12, 0..=100, 0).unwrap()).unwrap().with_contracts(market);
        let mut answers = Vec::new();
        let layout = loop {
            match aave_v3::AaveV3.discover(&csu, &Answers::new(&answers), &[]).unwrap() {
                Discovery::Ask(calls) => answers.extend(ask(&chain, 50, calls)),
                Discovery::Found(layout) => break layout,
            }
        };
        let calls = ask(&chain, 50, aave_v3::AaveV3.snapshot(&csu, &layout));
        aave_v3::AaveV3.confirm(&csu, &layout, &Answers::new(&calls)).unwrap();
        let reads = ReadsAtBlock { block: chain.header(50).unwrap(), calls };
        let snapshot = aave_v3::AaveV3.read_snapshot(&csu, &reads, Default::default()).unwrap();
        let [usd, eth] = snapshot.reserves.as_slice() else { panic!("two reserves") };
        assert_eq!(usd.missing, []);
        assert_eq!(
            (usd.supplied, usd.borrowed, usd.available),
            (Some(U256::from(1_000_000)), Some(U256::from(250_000)), Some(U256::from(750_000)))
        );
        assert_eq!(usd.identity_gap, Some(lake::I256::ZERO));
        assert_eq!((usd.supply_apr, usd.borrow_apr, usd.liq_bonus), (Some(0.02), Some(0.04), Some(0.05)));
        assert_eq!((eth.deficit, eth.missing.len()), (None, 0));
        assert_eq!(snapshot.prices[1].raw, Ok(U256::from(300_000_000_000_u64)));
        assert_eq!(snapshot.tokens[1].symbol.as_deref(), Some("ETH"));
    }
}
