//! Morpho Blue 1.0.0 from its npm sources, and any contract with its functions.

use alloy_primitives::{Address, U256};
use anyhow::Result;

use super::aave::{DEPLOYER, units};
use super::abi::{Value, uint_at};
use super::artifacts::{Artifacts, package};
use super::solidity::{Settings, Sources};
use super::story::{PEOPLE, Story, Token, Told};

/// How Morpho compiles its contract.
pub const SOLC: Settings = Settings { solc: "0.8.19", evm: "paris", optimizer_runs: 999_999, via_ir: true };
/// What a market is, in a signature.
pub const PARAMS: &str = "(address,address,address,address,uint256)";
/// 3 % a year, in 1e18 a second.
pub const FIXED_RATE: u64 = 951_293_759;

/// A market: five things, and the hash of them.
#[derive(Clone, Copy, Debug)]
pub struct Market {
    /// What is lent.
    pub loan: Token,
    /// What backs it.
    pub collateral: Token,
    /// Prices the collateral in the loan token.
    pub oracle: Address,
    /// Rate model; none for a market without interest.
    pub irm: Address,
    /// Threshold in 1e18.
    pub lltv: u64,
    /// The hash.
    pub id: U256,
}

impl Market {
    /// The market as an argument.
    pub fn params(&self) -> Value {
        Value::Tuple(vec![
            self.loan.address.into(),
            self.collateral.address.into(),
            self.oracle.into(),
            self.irm.into(),
            self.lltv.into(),
        ])
    }

    /// The id in hex.
    pub fn id(&self) -> String {
        format!("{:#066x}", self.id)
    }
}

/// Sources of Morpho Blue by `src/`, and these files.
///
/// # Errors
/// When npm cannot fetch them.
pub fn sources(artifacts: &Artifacts, files: &[&str]) -> Result<Sources> {
    let morpho_blue = package(artifacts.cache(), "@morpho-org/morpho-blue", "1.0.0")?;
    Sources::of(files, &[("src/", morpho_blue.join("src"))])
}

/// The contracts of a story.
#[derive(Clone, Copy, Debug)]
pub struct Blue {
    /// The contract of all markets.
    pub morpho: Address,
    /// Says what Morpho's own library says of a market (`contracts/MorphoReader.sol`).
    pub reader: Address,
}

impl Blue {
    /// Deploys Morpho Blue and the reader, with the deployer as owner.
    ///
    /// # Errors
    /// When npm, the compiler or the node refuses.
    pub fn deploy(s: &mut Story) -> Result<Self> {
        let sources = sources(&s.artifacts, &["src/Morpho.sol", "MorphoReader.sol"])?;
        let code = s.compile(&sources, &["Morpho", "MorphoReader"], SOLC)?;
        let morpho = s.create("Morpho", code.code("Morpho")?, &[DEPLOYER.into()])?;
        let reader = s.create("reader", code.code("MorphoReader")?, &[])?;
        Ok(Self { morpho, reader })
    }

    /// Allows rate models and thresholds.
    ///
    /// # Errors
    /// When the node refuses a transaction.
    pub fn enable(&self, s: &mut Story, irms: &[Address], lltvs: &[u64]) -> Result<()> {
        for irm in irms {
            s.admin(self.morpho, "enableIrm(address)", &[(*irm).into()])?;
        }
        for lltv in lltvs {
            s.admin(self.morpho, "enableLltv(uint256)", &[(*lltv).into()])?;
        }
        Ok(())
    }

    /// Creates a market whose oracle already has a price.
    ///
    /// # Errors
    /// When the node refuses the transaction.
    pub fn create(
        &self,
        s: &mut Story,
        (loan, collateral): (Token, Token),
        oracle: Address,
        irm: Address,
        lltv: u64,
    ) -> Result<Market> {
        let mut market = Market { loan, collateral, oracle, irm, lltv, id: U256::ZERO };
        s.admin(self.morpho, &format!("createMarket({PARAMS})"), &[market.params()])?;
        let id = s.read(self.reader, &format!("id({PARAMS})"), &[market.params()])?;
        market.id = uint_at(&id, 0)?;
        Ok(market)
    }

    /// Someone lends.
    ///
    /// # Errors
    /// When the node refuses a transaction.
    pub fn supply(&self, s: &mut Story, who: usize, market: &Market, amount: &str) -> Result<()> {
        let who = PEOPLE[who];
        let amount = units(amount, market.loan.decimals)?;
        s.fund(who, market.loan.address, self.morpho, amount)?;
        let args = [market.params(), amount.into(), 0.into(), who.into(), Value::Bytes(vec![])];
        s.send(who, self.morpho, &format!("supply({PARAMS},uint256,uint256,address,bytes)"), &args)
    }

    /// Someone takes back what was lent.
    ///
    /// # Errors
    /// When the node refuses the transaction.
    pub fn withdraw(&self, s: &mut Story, who: usize, market: &Market, amount: &str) -> Result<()> {
        let who = PEOPLE[who];
        let amount = units(amount, market.loan.decimals)?;
        let args = [market.params(), amount.into(), 0.into(), who.into(), who.into()];
        s.send(who, self.morpho, &format!("withdraw({PARAMS},uint256,uint256,address,address)"), &args)
    }

    /// Someone puts up collateral and borrows.
    ///
    /// # Errors
    /// When the node refuses a transaction.
    pub fn borrow(
        &self,
        s: &mut Story,
        who: usize,
        market: &Market,
        collateral: &str,
        amount: &str,
    ) -> Result<()> {
        let who = PEOPLE[who];
        let collateral = units(collateral, market.collateral.decimals)?;
        s.fund(who, market.collateral.address, self.morpho, collateral)?;
        let args = [market.params(), collateral.into(), who.into(), Value::Bytes(vec![])];
        s.send(who, self.morpho, &format!("supplyCollateral({PARAMS},uint256,address,bytes)"), &args)?;
        let amount = units(amount, market.loan.decimals)?;
        let args = [market.params(), amount.into(), 0.into(), who.into(), who.into()];
        s.send(who, self.morpho, &format!("borrow({PARAMS},uint256,uint256,address,address)"), &args)
    }

    /// Seizes so much collateral, or else repays all that is owed.
    ///
    /// # Errors
    /// When the node refuses a transaction.
    pub fn liquidate(
        &self,
        s: &mut Story,
        who: usize,
        market: &Market,
        borrower: usize,
        seized: Option<&str>,
    ) -> Result<()> {
        let (who, borrower) = (PEOPLE[who], PEOPLE[borrower]);
        let (seized, shares) = match seized {
            Some(seized) => (units(seized, market.collateral.decimals)?, U256::ZERO),
            None => {
                let position = [market.id.into(), borrower.into()];
                let position = s.read(self.morpho, "position(bytes32,address)", &position)?;
                (U256::ZERO, uint_at(&position, 1)?)
            }
        };
        let purse = units("1000000", market.loan.decimals)?;
        s.fund(who, market.loan.address, self.morpho, purse)?;
        let args = [market.params(), borrower.into(), seized.into(), shares.into(), Value::Bytes(vec![])];
        s.send(who, self.morpho, &format!("liquidate({PARAMS},address,uint256,uint256,bytes)"), &args)
    }

    /// A market's totals by Morpho's own library, with the interest up to the block: supplied, borrowed.
    ///
    /// # Errors
    /// When the call fails.
    pub fn totals(&self, told: &mut Told, block: u64, market: &Market) -> Result<(U256, U256)> {
        let args = [self.morpho.into(), market.params()];
        let totals = told.call(block, self.reader, &format!("totals(address,{PARAMS})"), &args)?;
        Ok((uint_at(&totals, 0)?, uint_at(&totals, 1)?))
    }

    /// A token's collateral at a block: the sum of all positions.
    ///
    /// # Errors
    /// When a call fails.
    pub fn collateral(
        &self,
        told: &mut Told,
        block: u64,
        markets: &[Market],
        token: Address,
    ) -> Result<U256> {
        let mut sum = U256::ZERO;
        for market in markets.iter().filter(|market| market.collateral.address == token) {
            for person in PEOPLE {
                let args = [market.id.into(), person.into()];
                let position = told.call(block, self.morpho, "position(bytes32,address)", &args)?;
                sum += uint_at(&position, 2)?;
            }
        }
        Ok(sum)
    }
}

/// Moves an oracle of Morpho's mocks: one whole collateral token in loan tokens.
///
/// # Errors
/// When the node refuses the transaction.
pub fn move_price(s: &mut Story, market: &Market, price: &str) -> Result<()> {
    // One unit of the collateral in units of the loan token, with 36 more decimals.
    let scale = 36 + market.loan.decimals - market.collateral.decimals;
    s.admin(market.oracle, "setPrice(uint256)", &[units(price, scale)?.into()])
}
