//! Sets up a real Aave V3.0.2 market: addresses provider, pool, configurator, oracle, data provider, reserves.

use std::collections::HashMap;

use alloy_primitives::{Address, U256, address, utils::parse_units};
use anyhow::{Context, Result, bail};

use super::abi::{self, Value};
use super::artifacts::Artifacts;
use super::driver::Driver;

/// First account of anvil's test mnemonic: deploys and administers everything.
pub const DEPLOYER: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
/// Where Multicall3 lies on nearly every chain.
pub const MULTICALL3: Address = address!("cA11bde05977b3631167028862bE2a173976CA11");
/// The account whose first transaction creates it there.
const MULTICALL3_DEPLOYER: Address = address!("05f32B3cC3888453ff71B01135B34FF8e41263F2");
/// Receives the reserve factor and the liquidation protocol fee.
const TREASURY: Address = address!("464C71f6c2F760DdA6093dCB91C24c39e5d6e18c");

/// Decimals of every price; the oracle's base currency is USD with 1e8.
const PRICE_DECIMALS: u8 = 8;

/// The libraries in an order in which each finds those it links.
const LIBRARIES: [&str; 8] = [
    "BorrowLogic",
    "BridgeLogic",
    "ConfiguratorLogic",
    "EModeLogic",
    "FlashLoanLogic",
    "LiquidationLogic",
    "PoolLogic",
    "SupplyLogic",
];

/// How a reserve is listed. Shares are in basis points.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    /// Token symbol.
    pub symbol: &'static str,
    /// Token name.
    pub name: &'static str,
    /// Token decimals.
    pub decimals: u8,
    /// `stablecoin`, `eth`, `btc` or `other`, for the registry.
    pub asset_class: &'static str,
    /// First price in USD.
    pub price: &'static str,
    /// Loan to value.
    pub ltv: u64,
    /// Liquidation threshold.
    pub threshold: u64,
    /// Liquidation bonus (10,500 = 5 % on top).
    pub bonus: u64,
    /// Reserve factor.
    pub reserve_factor: u64,
    /// Supply cap in whole tokens.
    pub supply_cap: u64,
    /// Borrow cap in whole tokens.
    pub borrow_cap: u64,
    /// Share of the bonus that goes to the treasury.
    pub protocol_fee: u64,
    /// Optimal usage ratio.
    pub optimal: u64,
    /// Variable rate at no usage.
    pub base_rate: u64,
    /// Slope of the variable rate below the optimum.
    pub slope1: u64,
    /// Slope above it.
    pub slope2: u64,
    /// Whether loans at a stable rate are allowed.
    pub stable_rate: bool,
}

/// A listed reserve.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// How it was listed.
    pub listing: Listing,
    /// The token.
    pub token: Address,
    /// Its aToken, stable debt token and variable debt token, in this order.
    pub tokens: [Address; 3],
}

/// The addresses of a market.
#[derive(Clone, Debug)]
pub struct Market {
    /// PoolAddressesProvider, the entry point.
    pub provider: Address,
    /// Block the provider was created in.
    pub provider_block: u64,
    /// Block Multicall3 was created in.
    pub multicall3_block: u64,
    /// Pool (the proxy).
    pub pool: Address,
    configurator: Address,
    oracle: Address,
    a_token: Address,
    stable_debt: Address,
    variable_debt: Address,
    /// In the order of listing.
    pub reserves: Vec<Reserve>,
}

/// An amount in words, such as `"1.5"`, in a token's smallest unit.
///
/// # Errors
/// When it is not a decimal number.
pub fn units(amount: &str, decimals: u8) -> Result<U256> {
    Ok(parse_units(amount, decimals).with_context(|| format!("the amount {amount:?}"))?.get_absolute())
}

/// A share in basis points as a ray (1e27).
fn ray(basis_points: u64) -> Value {
    Value::Uint(U256::from(basis_points) * U256::from(10u64).pow(U256::from(23)))
}

/// Deploys Multicall3 where it lies on every chain, and says in which block.
///
/// # Errors
/// When the transaction reverts.
pub fn deploy_multicall3(chain: &mut Driver, artifacts: &Artifacts) -> Result<u64> {
    chain.impersonate(MULTICALL3_DEPLOYER)?;
    let block = chain.next_block();
    let multicall3 = chain.deploy(MULTICALL3_DEPLOYER, "Multicall3", artifacts.multicall3())?;
    if multicall3 != MULTICALL3 {
        bail!("Multicall3 would land at {multicall3}; its deployer's nonce is not 0");
    }
    chain.mine()?;
    Ok(block)
}

impl Market {
    /// Deploys Multicall3 and a market with these reserves.
    ///
    /// # Errors
    /// When a contract is missing or a transaction reverts.
    pub fn deploy(chain: &mut Driver, artifacts: &Artifacts, listings: &[Listing]) -> Result<Self> {
        let multicall3_block = deploy_multicall3(chain, artifacts)?;

        let mut libraries = HashMap::new();
        for name in LIBRARIES {
            let code = artifacts.contract(&format!("protocol/libraries/logic/{name}"))?.link(&libraries)?;
            libraries.insert(name.to_owned(), chain.deploy(DEPLOYER, name, &code)?);
        }
        let create = |chain: &mut Driver, path: &str, args: &[Value]| -> Result<Address> {
            let mut code = artifacts.contract(path)?.link(&libraries)?;
            code.extend(abi::arguments(args));
            chain.deploy(DEPLOYER, path, &code)
        };
        chain.mine()?;
        let provider_block = chain.next_block();
        let provider = create(
            chain,
            "protocol/configuration/PoolAddressesProvider",
            &[chain.spec.name.into(), DEPLOYER.into()],
        )?;
        chain.mine()?;
        let admin = |chain: &mut Driver, to: Address, signature: &str, args: &[Value]| -> Result<()> {
            chain.send_with_gas(DEPLOYER, to, signature, &abi::call(signature, args), 2_000_000)
        };
        admin(chain, provider, "setACLAdmin(address)", &[DEPLOYER.into()])?;
        let acl = create(chain, "protocol/configuration/ACLManager", &[provider.into()])?;
        admin(chain, provider, "setACLManager(address)", &[acl.into()])?;
        admin(chain, acl, "addPoolAdmin(address)", &[DEPLOYER.into()])?;
        let pool_implementation = create(chain, "protocol/pool/Pool", &[provider.into()])?;
        let configurator_implementation = create(chain, "protocol/pool/PoolConfigurator", &[])?;
        admin(chain, provider, "setPoolImpl(address)", &[pool_implementation.into()])?;
        admin(chain, provider, "setPoolConfiguratorImpl(address)", &[configurator_implementation.into()])?;
        let oracle = create(
            chain,
            "misc/AaveOracle",
            &[
                provider.into(),
                Value::Array(vec![]),
                Value::Array(vec![]),
                Address::ZERO.into(),
                // base currency USD, one dollar is 1e8
                Address::ZERO.into(),
                100_000_000.into(),
            ],
        )?;
        admin(chain, provider, "setPriceOracle(address)", &[oracle.into()])?;
        let data_provider = create(chain, "misc/AaveProtocolDataProvider", &[provider.into()])?;
        admin(chain, provider, "setPoolDataProvider(address)", &[data_provider.into()])?;
        chain.mine()?;
        let pool = abi::address_at(&chain.read(provider, &abi::call("getPool()", &[]))?, 0)?;
        let configurator =
            abi::address_at(&chain.read(provider, &abi::call("getPoolConfigurator()", &[]))?, 0)?;
        let a_token = create(chain, "protocol/tokenization/AToken", &[pool.into()])?;
        let stable_debt = create(chain, "protocol/tokenization/StableDebtToken", &[pool.into()])?;
        let variable_debt = create(chain, "protocol/tokenization/VariableDebtToken", &[pool.into()])?;
        chain.mine()?;

        let mut market = Self {
            provider,
            provider_block,
            multicall3_block,
            pool,
            configurator,
            oracle,
            a_token,
            stable_debt,
            variable_debt,
            reserves: Vec::new(),
        };
        for listing in listings {
            market.list(chain, artifacts, listing)?;
        }
        Ok(market)
    }

    /// Lists one more reserve, with a token and a price feed of its own. Takes two blocks.
    ///
    /// # Errors
    /// When a transaction reverts.
    pub fn list(&mut self, chain: &mut Driver, artifacts: &Artifacts, listing: &Listing) -> Result<()> {
        let none = HashMap::new();
        let mut code = artifacts.contract("mocks/tokens/MintableERC20")?.link(&none)?;
        code.extend(abi::arguments(&[
            listing.name.into(),
            listing.symbol.into(),
            u64::from(listing.decimals).into(),
        ]));
        let token = chain.deploy(DEPLOYER, listing.symbol, &code)?;
        self.feed(chain, artifacts, listing.symbol, token, listing.price)?;

        let mut code = artifacts.contract("protocol/pool/DefaultReserveInterestRateStrategy")?.link(&none)?;
        code.extend(abi::arguments(&[
            self.provider.into(),
            ray(listing.optimal),
            ray(listing.base_rate),
            ray(listing.slope1),
            ray(listing.slope2),
            // the stable rate of Aave's own markets: small slope, 1 % above the variable slope, 8 % when in excess
            ray(50),
            ray(listing.slope2),
            ray(100),
            ray(800),
            ray(2_000),
        ]));
        let strategy = chain.deploy(DEPLOYER, &format!("rate strategy of {}", listing.symbol), &code)?;

        let symbol = listing.symbol;
        let input = Value::Tuple(vec![
            self.a_token.into(),
            self.stable_debt.into(),
            self.variable_debt.into(),
            u64::from(listing.decimals).into(),
            strategy.into(),
            token.into(),
            TREASURY.into(),
            Address::ZERO.into(),
            format!("Devnet Aave {symbol}").into(),
            format!("a{symbol}").into(),
            format!("Devnet Variable Debt {symbol}").into(),
            format!("variableDebt{symbol}").into(),
            format!("Devnet Stable Debt {symbol}").into(),
            format!("stableDebt{symbol}").into(),
            Value::Bytes(vec![0x10]),
        ]);
        let asset = || Value::from(token);
        self.configure(
            chain,
            "initReserves((address,address,address,uint8,address,address,address,address,string,string,string,string,string,string,bytes)[])",
            &[Value::Array(vec![input])],
            5_000_000,
        )?;
        chain.mine()?;
        let settings: [(&str, Vec<Value>); 7] = [
            ("setReserveBorrowing(address,bool)", vec![asset(), true.into()]),
            (
                "configureReserveAsCollateral(address,uint256,uint256,uint256)",
                vec![asset(), listing.ltv.into(), listing.threshold.into(), listing.bonus.into()],
            ),
            ("setReserveFactor(address,uint256)", vec![asset(), listing.reserve_factor.into()]),
            ("setSupplyCap(address,uint256)", vec![asset(), listing.supply_cap.into()]),
            ("setBorrowCap(address,uint256)", vec![asset(), listing.borrow_cap.into()]),
            ("setLiquidationProtocolFee(address,uint256)", vec![asset(), listing.protocol_fee.into()]),
            ("setReserveStableRateBorrowing(address,bool)", vec![asset(), listing.stable_rate.into()]),
        ];
        for (signature, args) in settings {
            self.configure(chain, signature, &args, 600_000)?;
        }
        chain.mine()?;
        let data = chain.read(self.pool, &abi::call("getReserveData(address)", &[asset()]))?;
        let tokens = [abi::address_at(&data, 8)?, abi::address_at(&data, 9)?, abi::address_at(&data, 10)?];
        self.reserves.push(Reserve { listing: *listing, token, tokens });
        Ok(())
    }

    fn configure(&self, chain: &mut Driver, signature: &str, args: &[Value], gas: u64) -> Result<()> {
        let what = signature.split('(').next().unwrap_or(signature);
        chain.send_with_gas(DEPLOYER, self.configurator, what, &abi::call(signature, args), gas)
    }

    /// Moves a price: Aave's mock feed cannot change its answer, so the oracle is given a new feed.
    ///
    /// # Errors
    /// When a transaction is refused.
    pub fn set_price(
        &self,
        chain: &mut Driver,
        artifacts: &Artifacts,
        symbol: &str,
        price: &str,
    ) -> Result<()> {
        let token = self.reserve(symbol)?.token;
        self.feed(chain, artifacts, symbol, token, price)
    }

    fn feed(
        &self,
        chain: &mut Driver,
        artifacts: &Artifacts,
        symbol: &str,
        token: Address,
        price: &str,
    ) -> Result<()> {
        let mut code =
            artifacts.contract("mocks/oracle/CLAggregators/MockAggregator")?.link(&HashMap::new())?;
        code.extend(abi::arguments(&[units(price, PRICE_DECIMALS)?.into()]));
        let feed = chain.deploy(DEPLOYER, &format!("feed of {symbol}"), &code)?;
        let data = abi::call(
            "setAssetSources(address[],address[])",
            &[Value::Array(vec![token.into()]), Value::Array(vec![feed.into()])],
        );
        chain.send_with_gas(DEPLOYER, self.oracle, &format!("price of {symbol}"), &data, 300_000)
    }

    /// A listed reserve by symbol.
    ///
    /// # Errors
    /// When no such reserve is listed (yet).
    pub fn reserve(&self, symbol: &str) -> Result<&Reserve> {
        self.reserves
            .iter()
            .find(|r| r.listing.symbol == symbol)
            .with_context(|| format!("no reserve {symbol} is listed"))
    }

    /// Contracts that were created by other contracts.
    pub fn proxies(&self) -> Vec<Address> {
        let mut all = vec![self.pool, self.configurator];
        all.extend(self.reserves.iter().flat_map(|r| r.tokens));
        all
    }
}
