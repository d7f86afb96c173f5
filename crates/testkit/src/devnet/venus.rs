//! Venus from its compiled npm artefacts: the core pool (Unitroller, diamond with four facets, markets that count blocks,
//! the market of the chain's coin, VAI, the Liquidator), and what isolated pools are made of.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use alloy_primitives::{Address, U256, keccak256};
use anyhow::{Context, Result};

use super::aave::{DEPLOYER, units};
use super::abi::{self, Value};
use super::artifacts::{Artifacts, Contract, package};
use super::story::{PEOPLE, Story, Token};

/// The facets of the comptroller, and how they come to have their functions.
const FACETS: [&str; 4] = ["MarketFacet", "PolicyFacet", "SetterFacet", "RewardFacet"];

/// The compiled contracts of one npm package.
#[derive(Clone, Debug)]
pub struct Artefacts(PathBuf);

impl Artefacts {
    /// Venus's core pool.
    ///
    /// # Errors
    /// When npm cannot fetch it.
    pub fn core_pool(artifacts: &Artifacts) -> Result<Self> {
        Ok(Self(package(artifacts.cache(), "@venusprotocol/venus-protocol", "9.2.0")?))
    }

    /// Venus's isolated pools.
    ///
    /// # Errors
    /// When npm cannot fetch them.
    pub fn isolated_pools(artifacts: &Artifacts) -> Result<Self> {
        Ok(Self(package(artifacts.cache(), "@venusprotocol/isolated-pools", "4.4.0")?))
    }

    fn file(&self, path: &str) -> PathBuf {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.0.join("artifacts/contracts").join(format!("{path}.sol")).join(format!("{name}.json"))
    }

    /// Queues the creation of a contract.
    ///
    /// # Errors
    /// When there is no such contract.
    pub fn create(&self, s: &mut Story, path: &str, args: &[Value]) -> Result<Address> {
        let code = Contract::read(&self.file(path))?.link(&HashMap::new())?;
        s.create(path, &code, args)
    }

    /// The selectors of a contract's functions.
    fn selectors(&self, path: &str) -> Result<BTreeSet<[u8; 4]>> {
        let file = self.file(path);
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let artefact: serde_json::Value = serde_json::from_str(&text)?;
        let parts = artefact["abi"].as_array().context("an artefact without ABI")?;
        let mut selectors = BTreeSet::new();
        for function in parts.iter().filter(|part| part["type"] == "function") {
            let inputs = function["inputs"].as_array().context("a function without inputs")?.iter();
            let types: Vec<&str> = inputs.filter_map(|input| input["type"].as_str()).collect();
            let name = function["name"].as_str().context("a function without name")?;
            let hash = keccak256(format!("{name}({})", types.join(",")));
            selectors.insert([hash[0], hash[1], hash[2], hash[3]]);
        }
        Ok(selectors)
    }
}

/// A market of the pool.
#[derive(Clone, Copy, Debug)]
pub struct Market {
    /// Its vToken.
    pub v_token: Address,
    /// What it lends; the wrapped coin for the market of the chain's coin.
    pub token: Token,
    /// Whether it lends the chain's coin.
    pub is_coin: bool,
}

/// What Venus's contracts want around them, of our own (`contracts/Venus.sol`).
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// An oracle of both lines.
    pub oracle: Address,
    /// Takes the protocol's share.
    pub reserve: Address,
}

impl Surroundings {
    /// Queues their creation.
    ///
    /// # Errors
    /// When the compiler, or the node, refuses.
    pub fn deploy(s: &mut Story) -> Result<Self> {
        let code = s.compile_ours("Venus.sol", &["VenusOracle", "ShareReserve"])?;
        let oracle = s.create("an oracle", code.code("VenusOracle")?, &[])?;
        Ok(Self { oracle, reserve: s.create("share reserve", code.code("ShareReserve")?, &[])? })
    }
}

/// Queues a proxy of a contract.
///
/// # Errors
/// When the compiler, or the node, refuses.
pub fn proxy(s: &mut Story, implementation: Address) -> Result<Address> {
    let code = s.compile_ours("Venus.sol", &["Proxy"])?.code("Proxy")?.to_vec();
    s.create("a proxy", &code, &[implementation.into()])
}

/// VAI: the token and its controller's proxy.
#[derive(Clone, Copy, Debug)]
pub struct Vai {
    /// The token.
    pub token: Token,
    /// The controller.
    pub controller: Address,
}

/// A core pool.
#[derive(Debug)]
pub struct Venus {
    /// Its contracts.
    pub artefacts: Artefacts,
    /// The Unitroller: the entry.
    pub comptroller: Address,
    /// A price oracle that anyone moves.
    pub oracle: Address,
    /// Lets the deployer do everything.
    pub access: Address,
    model: Address,
    /// The block of the comptroller.
    pub deployed_block: u64,
}

/// A share or rate with 18 decimals.
///
/// # Errors
/// When it is not a decimal number.
pub fn mantissa(amount: &str) -> Result<Value> {
    Ok(units(amount, 18)?.into())
}

impl Venus {
    /// Deploys a pool without markets: half of a debt can be repaid at once, a tenth is the liquidator's.
    ///
    /// # Errors
    /// When a contract is missing or the node refuses a transaction.
    pub fn deploy(s: &mut Story) -> Result<Self> {
        let artefacts = Artefacts::core_pool(&s.artifacts)?;
        let deployed_block = s.chain.next_block();
        let comptroller = artefacts.create(s, "Comptroller/Unitroller", &[])?;
        let diamond = artefacts.create(s, "Comptroller/Diamond/Diamond", &[])?;
        s.admin(comptroller, "_setPendingImplementation(address)", &[diamond.into()])?;
        s.admin(diamond, "_become(address)", &[comptroller.into()])?;
        let mut known = artefacts.selectors("Comptroller/Diamond/Diamond")?;
        known.extend(artefacts.selectors("Comptroller/Unitroller")?);
        for facet in FACETS {
            let path = format!("Comptroller/Diamond/facets/{facet}");
            let address = artefacts.create(s, &path, &[])?;
            let selectors = artefacts.selectors(&path)?.into_iter().filter(|it| known.insert(*it));
            let selectors = selectors.map(|selector| {
                let mut word = [0; 32];
                word[..4].copy_from_slice(&selector);
                Value::Uint(U256::from_be_bytes(word))
            });
            let cut = Value::Tuple(vec![address.into(), 0.into(), Value::Array(selectors.collect())]);
            let signature = "diamondCut((address,uint8,bytes4[])[])";
            let data = abi::call(signature, &[Value::Array(vec![cut])]);
            s.chain.send_with_gas(DEPLOYER, comptroller, facet, &data, 12_000_000)?;
        }
        let access = artefacts.create(s, "test/AccessControlManagerMock", &[DEPLOYER.into()])?;
        let lens = artefacts.create(s, "Lens/ComptrollerLens", &[])?;
        let oracle = artefacts.create(s, "test/SimplePriceOracle", &[])?;
        let rates = [mantissa("0.02")?, mantissa("0.3")?, mantissa("4")?, mantissa("0.7")?];
        let model = artefacts.create(s, "InterestRateModels/JumpRateModel", &rates)?;
        s.admin(comptroller, "_setAccessControl(address)", &[access.into()])?;
        s.admin(comptroller, "_setComptrollerLens(address)", &[lens.into()])?;
        s.admin(comptroller, "_setPriceOracle(address)", &[oracle.into()])?;
        s.admin(comptroller, "_setCloseFactor(uint256)", &[mantissa("0.5")?])?;
        s.admin(comptroller, "_setLiquidationIncentive(uint256)", &[mantissa("1.1")?])?;
        Ok(Self { artefacts, comptroller, oracle, access, model, deployed_block })
    }

    /// Lists a market of a token at a price in dollars, with a collateral factor.
    ///
    /// # Errors
    /// When the node refuses a transaction.
    pub fn list(&self, s: &mut Story, token: Token, price: &str, factor: &str) -> Result<Market> {
        let Token { address, decimals, symbol } = token;
        let v_token = self.artefacts.create(
            s,
            "Tokens/VTokens/VBep20Immutable",
            &[
                address.into(),
                self.comptroller.into(),
                self.model.into(),
                // 0.02 of the token for one of 8 decimals
                units("0.02", 10 + decimals)?.into(),
                format!("Venus {symbol}").into(),
                format!("v{symbol}").into(),
                8.into(),
                DEPLOYER.into(),
            ],
        )?;
        let market = Market { v_token, token, is_coin: false };
        self.set_up(s, &market, price, factor)?;
        Ok(market)
    }

    /// Prices by another oracle from now on.
    ///
    /// # Errors
    /// When the node refuses the transaction.
    pub fn use_oracle(&mut self, s: &mut Story, oracle: Address) -> Result<()> {
        self.oracle = oracle;
        s.admin(self.comptroller, "_setPriceOracle(address)", &[oracle.into()])
    }

    /// Lists a market of the chain's coin, and the wrapped coin. It wants an oracle that knows markets without a token.
    ///
    /// # Errors
    /// When the node refuses a transaction.
    pub fn list_coin(&self, s: &mut Story, price: &str, factor: &str) -> Result<Market> {
        let address = self.artefacts.create(s, "test/WBNB", &[])?;
        let v_token = self.artefacts.create(
            s,
            "Tokens/VTokens/VBNB",
            &[
                self.comptroller.into(),
                self.model.into(),
                units("0.02", 28)?.into(),
                "Venus BNB".into(),
                "vBNB".into(),
                8.into(),
                DEPLOYER.into(),
            ],
        )?;
        let token = Token { address, decimals: 18, symbol: "WBNB" };
        let market = Market { v_token, token, is_coin: true };
        self.set_up(s, &market, price, factor)?;
        Ok(market)
    }

    /// Sets up VAI: half of what an account could borrow may be minted, at two per cent a year.
    ///
    /// # Errors
    /// When the node refuses a transaction.
    pub fn add_vai(&self, s: &mut Story, receiver: Address) -> Result<Vai> {
        let chain_id = s.chain.spec.chain_id;
        let address = self.artefacts.create(s, "Tokens/VAI/VAI", &[chain_id.into()])?;
        let controller = self.artefacts.create(s, "Tokens/VAI/VAIUnitroller", &[])?;
        let code = self.artefacts.create(s, "Tokens/VAI/VAIController", &[])?;
        s.admin(controller, "_setPendingImplementation(address)", &[code.into()])?;
        s.admin(code, "_become(address)", &[controller.into()])?;
        s.admin(controller, "initialize()", &[])?;
        s.admin(controller, "_setComptroller(address)", &[self.comptroller.into()])?;
        s.admin(controller, "setVAIToken(address)", &[address.into()])?;
        s.admin(controller, "setAccessControl(address)", &[self.access.into()])?;
        s.admin(controller, "setReceiver(address)", &[receiver.into()])?;
        s.admin(controller, "setBaseRate(uint256)", &[mantissa("0.02")?])?;
        s.admin(address, "rely(address)", &[controller.into()])?;
        s.admin(self.comptroller, "_setVAIController(address)", &[controller.into()])?;
        s.admin(self.comptroller, "_setVAIMintRate(uint256)", &[5_000.into()])?;
        Ok(Vai { token: Token { address, decimals: 18, symbol: "VAI" }, controller })
    }

    /// Sets up the Liquidator, which all liquidations go through from now on: a twentieth of what is seized is the treasury's.
    ///
    /// # Errors
    /// When the node refuses a transaction.
    pub fn add_liquidator(&self, s: &mut Story, coin: &Market, reserve: Address) -> Result<Address> {
        let args = [self.comptroller.into(), coin.v_token.into(), coin.token.address.into()];
        let code = self.artefacts.create(s, "Liquidator/Liquidator", &args)?;
        let liquidator = proxy(s, code)?;
        let args = [mantissa("0.05")?, self.access.into(), reserve.into()];
        s.admin(liquidator, "initialize(uint256,address,address)", &args)?;
        s.admin(self.comptroller, "_setLiquidatorContract(address)", &[liquidator.into()])?;
        Ok(liquidator)
    }

    fn set_up(&self, s: &mut Story, market: &Market, price: &str, factor: &str) -> Result<()> {
        let v_token = market.v_token;
        s.admin(v_token, "setAccessControlManager(address)", &[self.access.into()])?;
        s.admin(v_token, "setReduceReservesBlockDelta(uint256)", &[1_000_000_000.into()])?;
        s.admin(v_token, "_setReserveFactor(uint256)", &[mantissa("0.2")?])?;
        self.price(s, market, price)?;
        s.admin(self.comptroller, "_supportMarket(address)", &[v_token.into()])?;
        self.collateral_factor(s, market, mantissa(factor)?)?;
        self.caps(s, market, "2000000", "1000000")
    }

    fn collateral_factor(&self, s: &mut Story, market: &Market, factor: Value) -> Result<()> {
        let args = [market.v_token.into(), factor];
        s.admin(self.comptroller, "_setCollateralFactor(address,uint256)", &args)
    }

    fn caps(&self, s: &mut Story, market: &Market, supply: &str, borrow: &str) -> Result<()> {
        for (signature, cap) in [
            ("_setMarketSupplyCaps(address[],uint256[])", supply),
            ("_setMarketBorrowCaps(address[],uint256[])", borrow),
        ] {
            let cap = units(cap, market.token.decimals)?;
            let args = [Value::Array(vec![market.v_token.into()]), Value::Array(vec![cap.into()])];
            s.admin(self.comptroller, signature, &args)?;
        }
        Ok(())
    }

    /// Moves the price of a market's token.
    ///
    /// # Errors
    /// When the node refuses the transaction.
    pub fn price(&self, s: &mut Story, market: &Market, price: &str) -> Result<()> {
        let price = units(price, 36 - market.token.decimals)?;
        let asset = if market.is_coin { market.v_token } else { market.token.address };
        let args = [asset.into(), price.into()];
        s.admin(self.oracle, "setDirectPrice(address,uint256)", &args)
    }

    /// Someone supplies, and lets it back debt.
    ///
    /// # Errors
    /// When the node refuses a transaction.
    pub fn mint(&self, s: &mut Story, who: usize, market: &Market, amount: &str) -> Result<()> {
        let who = PEOPLE[who];
        let amount = units(amount, market.token.decimals)?;
        s.fund(who, market.token.address, market.v_token, amount)?;
        s.send(who, market.v_token, "mint(uint256)", &[amount.into()])?;
        let entered = Value::Array(vec![market.v_token.into()]);
        s.send(who, self.comptroller, "enterMarkets(address[])", &[entered])
    }

    /// Someone borrows.
    ///
    /// # Errors
    /// When the node refuses the transaction.
    pub fn borrow(&self, s: &mut Story, who: usize, market: &Market, amount: &str) -> Result<()> {
        let amount = units(amount, market.token.decimals)?;
        s.send(PEOPLE[who], market.v_token, "borrow(uint256)", &[amount.into()])
    }

    /// Someone repays a part of another's debt and takes collateral.
    ///
    /// # Errors
    /// When the node refuses a transaction.
    pub fn liquidate(
        &self,
        s: &mut Story,
        who: usize,
        debt: &Market,
        user: usize,
        amount: &str,
        collateral: &Market,
    ) -> Result<()> {
        let (who, user) = (PEOPLE[who], PEOPLE[user]);
        let amount = units(amount, debt.token.decimals)?;
        s.fund(who, debt.token.address, debt.v_token, amount)?;
        let args = [user.into(), amount.into(), collateral.v_token.into()];
        s.send(who, debt.v_token, "liquidateBorrow(address,uint256,address)", &args)
    }

    /// Pauses all that can be done with a market and takes it off the list.
    ///
    /// # Errors
    /// When the node refuses a transaction.
    pub fn unlist(&self, s: &mut Story, market: &Market) -> Result<()> {
        let actions = (0..9u64).map(Value::from).collect();
        let args = [Value::Array(vec![market.v_token.into()]), Value::Array(actions), true.into()];
        s.admin(self.comptroller, "_setActionsPaused(address[],uint8[],bool)", &args)?;
        self.collateral_factor(s, market, 0.into())?;
        self.caps(s, market, "0", "0")?;
        s.admin(self.comptroller, "unlistMarket(address)", &[market.v_token.into()])
    }
}
