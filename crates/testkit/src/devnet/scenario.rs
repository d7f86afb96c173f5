//! The story: who lends, borrows and is liquidated, and exactly when.
//!
//! Times are given as a day of November 2024 and a UTC clock time. New York is four hours behind UTC until 2024-11-03
//! 06:00 UTC and five hours behind from then on, so its days start at 04:00 UTC on the 2nd and 3rd and at 05:00 UTC on
//! the 4th, 5th and 6th.

use alloy_primitives::{Address, U256, address};
use anyhow::{Result, bail};

use super::aave::{Listing, MULTICALL3, Market, units};
use super::abi::{self, Value};
use super::artifacts::Artifacts;
use super::driver::{Driver, EVERYTHING};

/// Someone on the chain; the accounts of anvil's test mnemonic.
#[derive(Clone, Copy, Debug)]
struct Person {
    name: &'static str,
    account: Address,
}

const LENDER: Person =
    Person { name: "lender", account: address!("70997970C51812dc3A010C7d01b50e0d17dc79C8") };
const ALICE: Person = Person { name: "alice", account: address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC") };
const BOB: Person = Person { name: "bob", account: address!("90F79bf6EB2c4f870365E785982E1f101E93b906") };
const CAROL: Person = Person { name: "carol", account: address!("15d34AAf54267DB7D7c367839AAf71A00a2C6A65") };
const DAVE: Person = Person { name: "dave", account: address!("9965507D1a55bcC2695C58ba16FB37d819B0A4dc") };
const ERIN: Person = Person { name: "erin", account: address!("976EA74026E726554dB657fA54763abd0C3a0aa9") };
const FRANK: Person = Person { name: "frank", account: address!("14dC79964da2C08b23698B3D3cc7Ca32193d9955") };
const LIQUIDATOR_1: Person =
    Person { name: "liquidator 1", account: address!("23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f") };
const LIQUIDATOR_2: Person =
    Person { name: "liquidator 2", account: address!("a0Ee7A142d267C1f36714E4a8F75612F20a79720") };
const LIQUIDATOR_3: Person =
    Person { name: "liquidator 3", account: address!("Bcd4042DE499D14e55001CcbB24a551F3b954096") };

const USDC: Listing = Listing {
    symbol: "USDC",
    name: "USD Coin (devnet)",
    decimals: 6,
    asset_class: "stablecoin",
    price: "1",
    ltv: 7_700,
    threshold: 8_000,
    bonus: 10_450,
    reserve_factor: 1_000,
    supply_cap: 20_000_000,
    borrow_cap: 18_000_000,
    protocol_fee: 1_000,
    optimal: 9_000,
    base_rate: 0,
    slope1: 550,
    slope2: 6_000,
    stable_rate: false,
};
const WBTC: Listing = Listing {
    symbol: "WBTC",
    name: "Wrapped BTC (devnet)",
    decimals: 8,
    asset_class: "btc",
    price: "69412.35",
    ltv: 7_300,
    threshold: 7_800,
    bonus: 10_500,
    reserve_factor: 2_000,
    supply_cap: 1_000,
    borrow_cap: 400,
    protocol_fee: 1_000,
    optimal: 4_500,
    base_rate: 0,
    slope1: 400,
    slope2: 30_000,
    stable_rate: false,
};
const WETH: Listing = Listing {
    symbol: "WETH",
    name: "Wrapped Ether (devnet)",
    decimals: 18,
    asset_class: "eth",
    price: "2512.47",
    ltv: 8_050,
    threshold: 8_300,
    bonus: 10_500,
    reserve_factor: 1_500,
    supply_cap: 50_000,
    borrow_cap: 40_000,
    protocol_fee: 1_000,
    optimal: 8_000,
    base_rate: 0,
    slope1: 330,
    slope2: 8_000,
    stable_rate: false,
};
const LINK: Listing = Listing {
    symbol: "LINK",
    name: "ChainLink Token (devnet)",
    decimals: 18,
    asset_class: "other",
    price: "11.2143",
    ltv: 5_300,
    threshold: 6_800,
    bonus: 10_700,
    reserve_factor: 2_000,
    supply_cap: 500_000,
    borrow_cap: 100_000,
    protocol_fee: 1_000,
    optimal: 4_500,
    base_rate: 0,
    slope1: 700,
    slope2: 30_000,
    stable_rate: false,
};
const DAI: Listing = Listing {
    symbol: "DAI",
    name: "Dai Stablecoin (devnet)",
    decimals: 18,
    asset_class: "stablecoin",
    price: "0.9999",
    ltv: 6_300,
    threshold: 7_700,
    bonus: 10_500,
    reserve_factor: 2_500,
    supply_cap: 10_000_000,
    borrow_cap: 8_000_000,
    protocol_fee: 2_000,
    optimal: 9_000,
    base_rate: 0,
    slope1: 600,
    slope2: 7_500,
    stable_rate: true,
};

/// Interest rate modes of Aave V3.0.
const STABLE: u64 = 1;
const VARIABLE: u64 = 2;

/// Plays the story of the driver's chain up to its last step.
///
/// # Errors
/// When a step fails; the message says which.
pub fn play(chain: &mut Driver, artifacts: &Artifacts) -> Result<Market> {
    match chain.spec.name {
        "devnet_a" => play_a(chain, artifacts),
        "devnet_b" => play_b(chain, artifacts),
        other => bail!("there is no story for a chain called {other}"),
    }
}

fn play_a(chain: &mut Driver, artifacts: &Artifacts) -> Result<Market> {
    let market = Market::deploy(chain, artifacts, &[USDC, WBTC, WETH])?;
    let mut s = Story { chain, artifacts, market };

    s.at(1, 15, 0)?;
    s.supply(LENDER, "USDC", "500000")?;
    s.supply(LENDER, "WBTC", "4")?;
    s.supply(LENDER, "WETH", "150.25")?;
    s.at(1, 16, 0)?;
    s.supply(ALICE, "WETH", "100")?;
    s.borrow(ALICE, "USDC", "198000", VARIABLE)?;
    s.supply(BOB, "WBTC", "5.00000001")?;
    s.borrow(BOB, "USDC", "245000.5", VARIABLE)?;
    s.at(1, 17, 0)?;
    s.supply(CAROL, "WETH", "60")?;
    s.borrow(CAROL, "WBTC", "1.7", VARIABLE)?;
    s.supply(DAVE, "USDC", "200000")?;
    s.borrow(DAVE, "WETH", "55", VARIABLE)?;
    s.at(1, 18, 0)?;
    s.supply(FRANK, "WETH", "30")?;
    s.borrow(FRANK, "USDC", "40000", VARIABLE)?;

    // 2024-11-02: two liquidations, one of them paid in aTokens
    s.at(2, 13, 3)?;
    s.repay(DAVE, "WETH", "2", VARIABLE)?;
    s.at(2, 17, 30)?;
    s.price("WETH", "2331.08")?;
    s.at(2, 17, 33)?;
    s.liquidate(LIQUIDATOR_1, "WETH", "USDC", ALICE, None, false)?;
    s.at(2, 18, 0)?;
    s.liquidate(LIQUIDATOR_2, "WETH", "WBTC", CAROL, Some("0.8"), true)?;

    // 2024-11-03 (25 hours): none, but the totals move, also in both of its hours called 01:00
    s.at(3, 5, 30)?;
    s.supply(FRANK, "USDC", "1234.567891")?;
    s.at(3, 6, 30)?;
    s.withdraw(LENDER, "WETH", "50.123456789012345678")?;
    s.at(3, 14, 0)?;
    s.price("WETH", "2465.5")?;
    s.price("USDC", "0.9998")?;
    s.at(3, 15, 0)?;
    s.repay(ALICE, "USDC", "10000", VARIABLE)?;
    s.at(4, 4, 57)?; // the last block of the day
    s.supply(LENDER, "USDC", "150000")?;

    // 2024-11-04: two, and a new reserve about noon
    s.at(4, 15, 0)?;
    s.price("WBTC", "61480.2")?;
    s.at(4, 15, 9)?;
    s.liquidate(LIQUIDATOR_3, "WBTC", "USDC", BOB, Some("100000"), false)?;
    s.at(4, 16, 57)?;
    s.list(&LINK)?;
    s.at(4, 17, 30)?;
    s.supply(ERIN, "LINK", "20000")?;
    s.borrow(ERIN, "USDC", "115000", VARIABLE)?;
    s.borrow(FRANK, "LINK", "500", VARIABLE)?;
    s.at(4, 22, 3)?;
    s.price("LINK", "8.1045")?;
    s.at(4, 22, 6)?;
    s.liquidate(LIQUIDATOR_2, "LINK", "USDC", ERIN, None, false)?;

    // 2024-11-05: the price moves and the liquidation happens in the block of midnight exactly
    s.at(5, 5, 0)?;
    s.price("WETH", "3049.99")?;
    s.liquidate(LIQUIDATOR_1, "USDC", "WETH", DAVE, None, false)?;
    s.at(5, 12, 0)?;
    s.withdraw(LENDER, "WBTC", "3.5")?;
    s.at(5, 19, 0)?;
    s.price("WBTC", "54950.01")?;
    s.at(5, 19, 6)?;
    s.liquidate(LIQUIDATOR_3, "WBTC", "USDC", BOB, None, false)?;

    // 2024-11-06 begins: one more in the block of midnight exactly, which is not part of the demo's days
    s.at(6, 5, 0)?;
    s.price("WETH", "1549.99")?;
    s.liquidate(LIQUIDATOR_1, "WETH", "USDC", FRANK, Some("5000"), false)?;
    s.finish()
}

fn play_b(chain: &mut Driver, artifacts: &Artifacts) -> Result<Market> {
    let market = Market::deploy(chain, artifacts, &[WETH, USDC, WBTC, DAI])?;
    let mut s = Story { chain, artifacts, market };

    s.at(1, 15, 0)?;
    s.supply(LENDER, "DAI", "700000")?;
    s.supply(LENDER, "USDC", "250000")?;
    s.supply(LENDER, "WBTC", "5")?;
    s.supply(LENDER, "WETH", "80")?;
    s.supply(DAVE, "DAI", "100000")?;
    s.at(1, 16, 0)?;
    s.supply(ALICE, "WETH", "40")?;
    s.borrow(ALICE, "DAI", "75000", VARIABLE)?;
    s.supply(BOB, "WBTC", "3")?;
    s.borrow(BOB, "DAI", "140000", STABLE)?;
    s.at(1, 17, 0)?;
    s.supply(CAROL, "WETH", "80")?;
    s.borrow(CAROL, "USDC", "150000", VARIABLE)?;
    s.borrow(DAVE, "WETH", "24.5", VARIABLE)?;
    s.at(1, 18, 0)?;
    s.supply(ERIN, "WBTC", "2")?;
    s.borrow(ERIN, "WETH", "38", VARIABLE)?;

    // 2024-11-02: none
    s.at(2, 15, 0)?;
    s.repay(DAVE, "WETH", "5", VARIABLE)?;
    s.at(2, 20, 0)?;
    s.withdraw(LENDER, "USDC", "20000.000001")?;

    // 2024-11-03: one in the second of the two hours called 01:00 in New York
    s.at(3, 6, 25)?;
    s.price("WETH", "2219.75")?;
    s.at(3, 6, 29)?;
    s.liquidate(LIQUIDATOR_1, "WETH", "DAI", ALICE, None, false)?;
    s.at(3, 9, 0)?;
    s.price("WETH", "2431.6")?;

    // 2024-11-04: none
    s.at(4, 16, 0)?;
    s.supply(FRANK, "WETH", "20")?;
    s.borrow(FRANK, "DAI", "15000", STABLE)?;
    s.at(4, 21, 0)?;
    s.repay(CAROL, "USDC", "1000", VARIABLE)?;
    s.withdraw(LENDER, "DAI", "50000.5")?;

    // 2024-11-05: three in one block, two of them in one transaction, one of them of a stable loan; then one more
    s.at(5, 14, 0)?;
    s.price("WETH", "2200.33")?;
    s.price("WBTC", "53010")?;
    s.at(5, 14, 9)?;
    s.liquidate_together(LIQUIDATOR_1, [("WBTC", "DAI", BOB, "60000"), ("WETH", "USDC", CAROL, "70000")])?;
    s.liquidate(LIQUIDATOR_2, "WBTC", "WETH", ERIN, None, true)?;
    s.at(5, 20, 0)?;
    s.liquidate(LIQUIDATOR_3, "WBTC", "DAI", BOB, Some("30000"), false)?;
    s.finish()
}

struct Story<'a> {
    chain: &'a mut Driver,
    artifacts: &'a Artifacts,
    market: Market,
}

impl Story<'_> {
    /// What follows happens in the first block at or after this UTC time of November 2024.
    fn at(&mut self, day: u64, hour: u64, minute: u64) -> Result<()> {
        // 2024-11-01 00:00:00 UTC
        const NOVEMBER: u64 = 1_730_419_200;
        self.chain.go_to(NOVEMBER + (day - 1) * 86_400 + hour * 3_600 + minute * 60)
    }

    /// Closes the last block.
    fn finish(self) -> Result<Market> {
        self.chain.mine()?;
        Ok(self.market)
    }

    fn list(&mut self, listing: &Listing) -> Result<()> {
        self.market.list(self.chain, self.artifacts, listing)
    }

    fn price(&mut self, symbol: &str, price: &str) -> Result<()> {
        self.market.set_price(self.chain, self.artifacts, symbol, price)
    }

    fn token(&self, symbol: &str) -> Result<(Address, u8)> {
        let reserve = self.market.reserve(symbol)?;
        Ok((reserve.token, reserve.listing.decimals))
    }

    fn mint_and_approve(&mut self, who: Person, token: Address, amount: U256) -> Result<()> {
        let mint = abi::call("mint(address,uint256)", &[who.account.into(), amount.into()]);
        self.chain.send_with_gas(who.account, token, &format!("mint for {}", who.name), &mint, 200_000)?;
        let approve = abi::call("approve(address,uint256)", &[self.market.pool.into(), amount.into()]);
        self.chain.send_with_gas(who.account, token, &format!("{} approves", who.name), &approve, 200_000)
    }

    fn supply(&mut self, who: Person, symbol: &str, amount: &str) -> Result<()> {
        let (token, decimals) = self.token(symbol)?;
        let units = units(amount, decimals)?;
        self.mint_and_approve(who, token, units)?;
        let data = abi::call(
            "supply(address,uint256,address,uint16)",
            &[token.into(), units.into(), who.account.into(), 0.into()],
        );
        self.pool(who, &format!("supplies {amount} {symbol}"), &data)
    }

    fn withdraw(&mut self, who: Person, symbol: &str, amount: &str) -> Result<()> {
        let (token, decimals) = self.token(symbol)?;
        let data = abi::call(
            "withdraw(address,uint256,address)",
            &[token.into(), units(amount, decimals)?.into(), who.account.into()],
        );
        self.pool(who, &format!("withdraws {amount} {symbol}"), &data)
    }

    fn borrow(&mut self, who: Person, symbol: &str, amount: &str, mode: u64) -> Result<()> {
        let (token, decimals) = self.token(symbol)?;
        let data = abi::call(
            "borrow(address,uint256,uint256,uint16,address)",
            &[token.into(), units(amount, decimals)?.into(), mode.into(), 0.into(), who.account.into()],
        );
        self.pool(who, &format!("borrows {amount} {symbol}"), &data)
    }

    fn repay(&mut self, who: Person, symbol: &str, amount: &str, mode: u64) -> Result<()> {
        let (token, decimals) = self.token(symbol)?;
        let units = units(amount, decimals)?;
        self.mint_and_approve(who, token, units)?;
        let data = abi::call(
            "repay(address,uint256,uint256,address)",
            &[token.into(), units.into(), mode.into(), who.account.into()],
        );
        self.pool(who, &format!("repays {amount} {symbol}"), &data)
    }

    /// `amount` of none is as much as the close factor allows.
    fn liquidate(
        &mut self,
        who: Person,
        collateral: &str,
        debt: &str,
        user: Person,
        amount: Option<&str>,
        receive_a_token: bool,
    ) -> Result<()> {
        let (debt_token, decimals) = self.token(debt)?;
        let purse = units("1000000", decimals)?;
        self.mint_and_approve(who, debt_token, purse)?;
        let amount = amount.map_or(Ok(EVERYTHING), |a| units(a, decimals))?;
        let data = self.liquidation(collateral, debt, user, amount, receive_a_token)?;
        self.pool(who, &format!("liquidates {} ({collateral} for {debt})", user.name), &data)
    }

    /// Several liquidations in one transaction, through Multicall3, which is thereby the liquidator.
    fn liquidate_together(&mut self, who: Person, all: [(&str, &str, Person, &str); 2]) -> Result<()> {
        let mut calls = Vec::new();
        let mut step = |target: Address, data: Vec<u8>| {
            calls.push(Value::Tuple(vec![target.into(), false.into(), Value::Bytes(data)]));
        };
        for (collateral, debt, user, amount) in all {
            let (debt_token, decimals) = self.token(debt)?;
            let units = units(amount, decimals)?;
            step(debt_token, abi::call("mint(address,uint256)", &[MULTICALL3.into(), units.into()]));
            step(debt_token, abi::call("approve(address,uint256)", &[self.market.pool.into(), units.into()]));
            step(self.market.pool, self.liquidation(collateral, debt, user, units, false)?);
        }
        let data = abi::call("aggregate3((address,bool,bytes)[])", &[Value::Array(calls)]);
        let what = format!("{} liquidates {} users in one transaction", who.name, all.len());
        self.chain.send_with_gas(who.account, MULTICALL3, &what, &data, 3_000_000)
    }

    fn liquidation(
        &self,
        collateral: &str,
        debt: &str,
        user: Person,
        amount: U256,
        receive_a_token: bool,
    ) -> Result<Vec<u8>> {
        Ok(abi::call(
            "liquidationCall(address,address,address,uint256,bool)",
            &[
                self.token(collateral)?.0.into(),
                self.token(debt)?.0.into(),
                user.account.into(),
                amount.into(),
                receive_a_token.into(),
            ],
        ))
    }

    fn pool(&mut self, who: Person, what: &str, data: &[u8]) -> Result<()> {
        self.chain.send(who.account, self.market.pool, &format!("{} {what}", who.name), data)
    }
}
