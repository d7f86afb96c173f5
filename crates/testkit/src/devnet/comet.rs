//! A market with Compound III's interface, events and accounting, of our own (`contracts/Comet.sol`): npm has none.

use alloy_primitives::Address;
use anyhow::Result;

use super::aave::units;
use super::abi::Value;
use super::story::{Feed, PEOPLE, Story, Token};

/// A token of the market and the feed that prices it.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// The token.
    pub token: Token,
    /// Its feed.
    pub feed: Feed,
    /// Of borrowing, of liquidation, and what is left after the penalty, in 1e18. All nought for the base token.
    pub factors: [u64; 3],
}

/// The market.
#[derive(Clone, Copy, Debug)]
pub struct Comet {
    /// The contract.
    pub address: Address,
    /// What is lent.
    pub base: Asset,
    /// Its block.
    pub deployed_block: u64,
}

impl Comet {
    /// Deploys a market that lends a token of six decimals.
    ///
    /// # Errors
    /// When the compiler, or the node, refuses.
    pub fn deploy(s: &mut Story, token: Token, feed: Feed) -> Result<Self> {
        let code = s.compile_ours("Comet.sol", &["Comet"])?.code("Comet")?.to_vec();
        let scale = 10u64.pow(token.decimals.into());
        let deployed_block = s.chain.next_block();
        let args = [token.address.into(), feed.address.into(), scale.into()];
        let address = s.create("Comet", &code, &args)?;
        Ok(Self { address, base: Asset { token, feed, factors: [0; 3] }, deployed_block })
    }

    /// Takes one more token as collateral: its factors in hundredths, its cap in whole tokens.
    ///
    /// # Errors
    /// When the node refuses the transaction.
    pub fn add(
        &self,
        s: &mut Story,
        token: Token,
        feed: Feed,
        percents: [u64; 3],
        cap: &str,
    ) -> Result<Asset> {
        let factors = percents.map(|percent| percent * 10_000_000_000_000_000);
        let scale = 10u64.pow(token.decimals.into());
        let mut args = vec![token.address.into(), feed.address.into(), scale.into()];
        args.extend(factors.map(Value::from));
        args.push(units(cap, token.decimals)?.into());
        s.admin(self.address, "addAsset(address,address,uint64,uint64[3],uint128)", &args)?;
        Ok(Asset { token, feed, factors })
    }

    /// Someone supplies.
    ///
    /// # Errors
    /// When the node refuses a transaction.
    pub fn supply(&self, s: &mut Story, who: usize, asset: &Asset, amount: &str) -> Result<()> {
        let amount = units(amount, asset.token.decimals)?;
        s.fund(PEOPLE[who], asset.token.address, self.address, amount)?;
        let args = [asset.token.address.into(), amount.into()];
        s.send(PEOPLE[who], self.address, "supply(address,uint256)", &args)
    }

    /// Someone withdraws; of the base token, what one does not have is borrowed.
    ///
    /// # Errors
    /// When the node refuses the transaction.
    pub fn withdraw(&self, s: &mut Story, who: usize, asset: &Asset, amount: &str) -> Result<()> {
        let args = [asset.token.address.into(), units(amount, asset.token.decimals)?.into()];
        s.send(PEOPLE[who], self.address, "withdraw(address,uint256)", &args)
    }

    /// Someone has accounts absorbed, all in one transaction.
    ///
    /// # Errors
    /// When the node refuses the transaction.
    pub fn absorb(&self, s: &mut Story, who: usize, accounts: &[usize]) -> Result<()> {
        let accounts = accounts.iter().map(|account| PEOPLE[*account].into()).collect();
        let args = [PEOPLE[who].into(), Value::Array(accounts)];
        s.send(PEOPLE[who], self.address, "absorb(address,address[])", &args)
    }
}
