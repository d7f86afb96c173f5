//! The answers of the chain of three families ([`super::families`]): single calls and receipts, word by word.
//!
//! Totals are those that the protocols' own code gives after accruing (Venus `accrueInterest()`, Compound III's views,
//! Morpho's own library), collateral of Morpho Blue is the sum of all positions, and Compound III's bad debt is told by an
//! event that only our contract has.

use alloy_primitives::{Address, U256};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::aave::MULTICALL3;
use super::abi::{self, Value, address_at, uint_at};
use super::decimal::Decimal;
use super::families::Families;
use super::story::{Emitted, Header, Token, Told};
use super::{DAYS, Day, REPEATED_HOUR};

const LIQUIDATE_BORROW: &str = "LiquidateBorrow(address,address,uint256,address,uint256)";
const ABSORB_DEBT: &str = "AbsorbDebt(address,address,uint256,uint256)";
const ABSORB_COLLATERAL: &str = "AbsorbCollateral(address,address,address,uint256,uint256)";
const TRUTH: &str = "Truth(address,uint256,uint256)";
const LIQUIDATE: &str = "Liquidate(bytes32,address,address,uint256,uint256,uint256,uint256,uint256)";

/// One CSU of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedCsu {
    /// Its name in the registry.
    pub csu: String,
    /// Its chain.
    pub chain: String,
    /// Its entry point.
    pub entry: String,
    /// The block of its entry point.
    pub deployed_block: String,
    /// The four days of the demo.
    pub days: Vec<ExpectedCsuDay>,
    /// Transactions of liquidations after these days, which lendlake must leave out.
    pub outside: Vec<String>,
}

/// One day of a CSU. USD are exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedCsuDay {
    /// The date in the zone.
    pub day: String,
    /// First second of the day.
    pub day_start: String,
    /// First second of the next day.
    pub day_end: String,
    /// Number of the first block.
    pub first_block: String,
    /// Number of the last block, at which everything is read.
    pub last_block: String,
    /// Its hash.
    pub last_hash: String,
    /// Number of blocks in the day.
    pub blocks: String,
    /// What is supplied to be lent.
    pub supplied_usd: String,
    /// What only backs debt.
    pub collateral_usd: String,
    /// What is owed.
    pub borrowed_usd: String,
    /// Positions liquidated.
    pub liquidations_count: String,
    /// Debt repaid, each at its own block's price.
    pub liq_debt_usd: String,
    /// Collateral seized, likewise.
    pub liq_coll_usd: String,
    /// Debt left without collateral; none where the protocol does not tell.
    pub bad_debt_usd: Option<String>,
    /// Reserves and collateral, by market, token and role.
    pub rows: Vec<ExpectedRow>,
    /// In the chain's order.
    pub legs: Vec<ExpectedLeg>,
}

/// A token of a market at the last block of a day. Amounts are raw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedRow {
    /// As silver names it: vToken, Comet, Morpho's id or, for its collateral, Morpho.
    pub market: String,
    /// The token.
    pub token: String,
    /// Its symbol.
    pub symbol: String,
    /// `reserve`, `base` or `collateral`.
    pub role: String,
    /// Supplied.
    pub supplied: String,
    /// Owed; none for collateral.
    pub borrowed: Option<String>,
    /// What can leave; none for collateral.
    pub available: Option<String>,
    /// Price in dollars.
    pub price_usd: String,
}

/// One log of a liquidation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedLeg {
    /// Its block.
    pub block: String,
    /// The block's timestamp.
    pub timestamp: String,
    /// Position among the logs of the block.
    pub log_index: String,
    /// Its transaction.
    pub tx_hash: String,
    /// Who was liquidated.
    pub borrower: String,
    /// Who liquidated.
    pub liquidator: String,
    /// Debt repaid.
    pub debt: Option<ExpectedAmount>,
    /// Collateral seized.
    pub collateral: Option<ExpectedAmount>,
    /// Debt left without collateral.
    pub bad_debt: Option<ExpectedAmount>,
}

/// An amount at its block's price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedAmount {
    /// The token.
    pub token: String,
    /// Raw.
    pub raw: String,
    /// In USD, exact.
    pub usd: String,
}

fn amount(token: Token, raw: U256, price: Decimal) -> Result<ExpectedAmount> {
    let usd = Decimal::of(raw, token.decimals).times(price)?;
    Ok(ExpectedAmount { token: token.address.to_string(), raw: raw.to_string(), usd: usd.to_string() })
}

/// One row and the price that it was made with.
struct Found {
    row: ExpectedRow,
    decimals: u8,
    price: Decimal,
}

fn row(
    market: String,
    token: Token,
    role: &str,
    [supplied, borrowed, available]: [Option<U256>; 3],
    price: Decimal,
) -> Found {
    let text = |raw: Option<U256>| raw.map(|raw| raw.to_string());
    let row = ExpectedRow {
        market,
        token: token.address.to_string(),
        symbol: token.symbol.to_owned(),
        role: role.to_owned(),
        supplied: supplied.unwrap_or_default().to_string(),
        borrowed: text(borrowed),
        available: text(available),
        price_usd: price.to_string(),
    };
    Found { row, decimals: token.decimals, price }
}

/// How a protocol is read.
trait Protocol {
    fn csu(&self) -> &'static str;
    fn entry(&self) -> (Address, u64);
    fn rows(&self, told: &mut Told, block: u64) -> Result<Vec<Found>>;
    fn events(&self) -> &'static [&'static str];
    fn legs(&self, told: &mut Told, day: &Day, logs: &[Emitted]) -> Result<Vec<ExpectedLeg>>;
    fn tells_bad_debt(&self) -> bool;
}

/// What the protocols lean on beside the chain.
struct Venus<'a>(&'a Setting<'a>);
struct CompoundV3<'a>(&'a Setting<'a>);
struct Morpho<'a>(&'a Setting<'a>);

/// [`Families`] without its chain.
struct Setting<'a> {
    tokens: &'a [super::families::Priced],
    venus: &'a super::venus::Venus,
    v_markets: &'a [super::venus::Market],
    comet: &'a super::comet::Comet,
    collateral: &'a [super::comet::Asset],
    blue: &'a super::morpho::Blue,
    blue_block: u64,
    markets: &'a [super::morpho::Market],
}

/// Reads the answers off the chain, in order of the CSUs' names.
///
/// # Errors
/// When a call fails, or the chain contradicts the story.
pub fn read(families: &mut Families) -> Result<Vec<ExpectedCsu>> {
    let Families { told, tokens, venus, v_markets, comet, collateral, blue, blue_block, markets } = families;
    let setting =
        Setting { tokens, venus, v_markets, comet, collateral, blue, blue_block: *blue_block, markets };
    let protocols: [&dyn Protocol; 3] = [&CompoundV3(&setting), &Morpho(&setting), &Venus(&setting)];
    let csus = protocols.into_iter().map(|protocol| {
        read_csu(told, protocol).with_context(|| format!("the answers of {}", protocol.csu()))
    });
    let csus = csus.collect::<Result<Vec<_>>>()?;
    check_story(&csus)?;
    Ok(csus)
}

fn read_csu(told: &mut Told, protocol: &dyn Protocol) -> Result<ExpectedCsu> {
    let (entry, deployed_block) = protocol.entry();
    let days = DAYS.iter().map(|day| read_day(told, protocol, day).with_context(|| day.date));
    let days = days.collect::<Result<Vec<_>>>()?;
    let last = DAYS.last().context("no days")?.end;
    let after = Day { date: "after", start: last, end: u64::MAX };
    let outside = told.logs(&after, protocol.events())?.into_iter().map(|log| log.tx).collect();
    Ok(ExpectedCsu {
        csu: protocol.csu().to_owned(),
        chain: told.spec.name.to_owned(),
        entry: entry.to_string(),
        deployed_block: deployed_block.to_string(),
        days,
        outside,
    })
}

fn read_day(told: &mut Told, protocol: &dyn Protocol, day: &Day) -> Result<ExpectedCsuDay> {
    let (first, last) = (told.first_block(day)?, told.last_block(day)?);
    let rows = protocol.rows(told, last.number)?;
    let [mut supplied, mut collateral, mut borrowed] = [Decimal::ZERO; 3];
    for Found { row, decimals, price } in &rows {
        let usd = |raw: &str| Decimal::of(raw.parse()?, *decimals).times(*price);
        if row.role == "collateral" {
            collateral = collateral.plus(usd(&row.supplied)?)?;
        } else {
            supplied = supplied.plus(usd(&row.supplied)?)?;
        }
        if let Some(raw) = &row.borrowed {
            borrowed = borrowed.plus(usd(raw)?)?;
        }
    }
    let logs = told.logs(day, protocol.events())?;
    let legs = protocol.legs(told, day, &logs)?;
    let sum = |part: fn(&ExpectedLeg) -> &Option<ExpectedAmount>| -> Result<String> {
        let mut total = Decimal::ZERO;
        for amount in legs.iter().filter_map(|leg| part(leg).as_ref()) {
            total = total.plus(amount.usd.parse()?)?;
        }
        Ok(total.to_string())
    };
    Ok(ExpectedCsuDay {
        day: day.date.to_owned(),
        day_start: day.start.to_string(),
        day_end: day.end.to_string(),
        first_block: first.number.to_string(),
        last_block: last.number.to_string(),
        last_hash: last.hash,
        blocks: told.blocks(day).to_string(),
        supplied_usd: supplied.to_string(),
        collateral_usd: collateral.to_string(),
        borrowed_usd: borrowed.to_string(),
        liquidations_count: legs.iter().filter(|leg| leg.debt.is_some()).count().to_string(),
        liq_debt_usd: sum(|leg| &leg.debt)?,
        liq_coll_usd: sum(|leg| &leg.collateral)?,
        bad_debt_usd: protocol.tells_bad_debt().then(|| sum(|leg| &leg.bad_debt)).transpose()?,
        rows: rows.into_iter().map(|found| found.row).collect(),
        legs,
    })
}

fn leg(log: &Emitted, borrower: Address, liquidator: Address) -> ExpectedLeg {
    let Header { number, timestamp, .. } = &log.block;
    ExpectedLeg {
        block: number.to_string(),
        timestamp: timestamp.to_string(),
        log_index: log.index.to_string(),
        tx_hash: log.tx.clone(),
        borrower: borrower.to_string(),
        liquidator: liquidator.to_string(),
        debt: None,
        collateral: None,
        bad_debt: None,
    }
}

/// A getter's answer after the market has accrued by its own code, both in one call.
///
/// # Errors
/// When either reverts.
pub fn accrued(told: &mut Told, block: u64, v_token: Address, getter: &str) -> Result<U256> {
    let call = |signature: &str| {
        Value::Tuple(vec![v_token.into(), false.into(), Value::Bytes(abi::call(signature, &[]))])
    };
    let both = [Value::Array(vec![call("accrueInterest()"), call(getter)])];
    let answer = told.call(block, MULTICALL3, "aggregate3((address,bool,bytes)[])", &both)?;
    // offset, count, two offsets from here, the second of which leads to: success, offset, length, data
    let second = usize::try_from(uint_at(&answer, 3)?)? / 32 + 2;
    ensure!(uint_at(&answer, second + 2)? == U256::from(32), "{getter} after accruing is not one word");
    uint_at(&answer, second + 3)
}

impl Venus<'_> {
    fn price(&self, told: &mut Told, block: u64, market: &super::venus::Market) -> Result<Decimal> {
        let args = [market.v_token.into()];
        let answer = told.uint(block, self.0.venus.oracle, "getUnderlyingPrice(address)", &args)?;
        Ok(Decimal::of(answer, 36 - market.token.decimals))
    }

    fn market(&self, v_token: Address) -> Result<&super::venus::Market> {
        let market = self.0.v_markets.iter().find(|market| market.v_token == v_token);
        market.with_context(|| format!("a log of {v_token}, which is no market"))
    }
}

impl Protocol for Venus<'_> {
    fn csu(&self) -> &'static str {
        "venus_core_pool_devnet_c"
    }

    fn entry(&self) -> (Address, u64) {
        (self.0.venus.comptroller, self.0.venus.deployed_block)
    }

    fn rows(&self, told: &mut Told, block: u64) -> Result<Vec<Found>> {
        let mut rows = Vec::new();
        for market in self.0.v_markets {
            let (v_token, token) = (market.v_token, market.token);
            let borrowed = accrued(told, block, v_token, "totalBorrows()")?;
            let reserves = accrued(told, block, v_token, "totalReserves()")?;
            let cash = told.uint(block, token.address, "balanceOf(address)", &[v_token.into()])?;
            let supplied = cash + borrowed - reserves;
            let price = self.price(told, block, market)?;
            let amounts = [Some(supplied), Some(borrowed), Some(cash)];
            rows.push(row(v_token.to_string(), token, "reserve", amounts, price));
        }
        Ok(rows)
    }

    fn events(&self) -> &'static [&'static str] {
        &[LIQUIDATE_BORROW]
    }

    fn legs(&self, told: &mut Told, _day: &Day, logs: &[Emitted]) -> Result<Vec<ExpectedLeg>> {
        let mut legs = Vec::new();
        for log in logs {
            let debt = self.market(log.emitter)?;
            let collateral = self.market(address_at(&log.data, 3)?)?;
            let block = log.block.number;
            let rate = told.uint(block, collateral.v_token, "exchangeRateStored()", &[])?;
            let seized = log.word(4)? * rate / U256::from(10u64).pow(U256::from(18));
            let (debt_price, price) = (self.price(told, block, debt)?, self.price(told, block, collateral)?);
            legs.push(ExpectedLeg {
                debt: Some(amount(debt.token, log.word(2)?, debt_price)?),
                collateral: Some(amount(collateral.token, seized, price)?),
                ..leg(log, address_at(&log.data, 1)?, address_at(&log.data, 0)?)
            });
        }
        Ok(legs)
    }

    fn tells_bad_debt(&self) -> bool {
        false
    }
}

/// Dollars by a feed at a block.
fn feed_price(told: &mut Told, block: u64, feed: super::story::Feed) -> Result<Decimal> {
    let answer = told.call(block, feed.address, "latestRoundData()", &[])?;
    Ok(Decimal::of(uint_at(&answer, 1)?, 8u8))
}

impl Protocol for CompoundV3<'_> {
    fn csu(&self) -> &'static str {
        "compound_v3_usdc_devnet_c"
    }

    fn entry(&self) -> (Address, u64) {
        (self.0.comet.address, self.0.comet.deployed_block)
    }

    fn rows(&self, told: &mut Told, block: u64) -> Result<Vec<Found>> {
        let (comet, base) = (self.0.comet.address, self.0.comet.base);
        let supplied = told.uint(block, comet, "totalSupply()", &[])?;
        let borrowed = told.uint(block, comet, "totalBorrow()", &[])?;
        let cash = told.uint(block, base.token.address, "balanceOf(address)", &[comet.into()])?;
        let price = feed_price(told, block, base.feed)?;
        let amounts = [Some(supplied), Some(borrowed), Some(cash)];
        let mut rows = vec![row(comet.to_string(), base.token, "base", amounts, price)];
        let listed = usize::try_from(told.uint(block, comet, "numAssets()", &[])?)?;
        for asset in self.0.collateral.iter().take(listed) {
            let mut held = U256::ZERO;
            for person in super::story::PEOPLE {
                let args = [person.into(), asset.token.address.into()];
                held += told.uint(block, comet, "collateralOf(address,address)", &args)?;
            }
            let price = feed_price(told, block, asset.feed)?;
            rows.push(row(comet.to_string(), asset.token, "collateral", [Some(held), None, None], price));
        }
        Ok(rows)
    }

    fn events(&self) -> &'static [&'static str] {
        &[ABSORB_DEBT, ABSORB_COLLATERAL]
    }

    fn legs(&self, told: &mut Told, day: &Day, logs: &[Emitted]) -> Result<Vec<ExpectedLeg>> {
        let truths = told.logs(day, &[TRUTH])?;
        let mut legs = Vec::new();
        for log in logs {
            let (block, base) = (log.block.number, self.0.comet.base);
            let borrower = log.address_topic(2)?;
            let leg = leg(log, borrower, log.sender);
            if log.topics.len() == 4 {
                let token = log.address_topic(3)?;
                let asset = self.0.collateral.iter().find(|asset| asset.token.address == token);
                let asset = asset.with_context(|| format!("{token} is no collateral"))?;
                let price = feed_price(told, block, asset.feed)?;
                let collateral = Some(amount(asset.token, log.word(0)?, price)?);
                legs.push(ExpectedLeg { collateral, ..leg });
                continue;
            }
            let price = feed_price(told, block, base.feed)?;
            let truth =
                truths.iter().find(|it| it.tx == log.tx && it.address_topic(1).ok() == Some(borrower));
            let truth = truth.context("an absorption without the truth about it")?;
            let uncovered = truth.word(0)?.saturating_sub(truth.word(1)?);
            let debt = Some(amount(base.token, log.word(0)?, price)?);
            let bad_debt = Some(amount(base.token, uncovered, price)?);
            legs.push(ExpectedLeg { debt, bad_debt, ..leg });
        }
        Ok(legs)
    }

    fn tells_bad_debt(&self) -> bool {
        true
    }
}

impl Morpho<'_> {
    /// Dollars of a token: by its feed, and without one by its market's oracle, in the loan token.
    fn price(&self, told: &mut Told, block: u64, token: Address) -> Result<Decimal> {
        let priced = self.0.tokens.iter().find(|of| of.token.address == token);
        let priced = priced.with_context(|| format!("{token} is no token of the story"))?;
        if priced.feed.is_some() {
            return feed_price(told, block, priced.feed()?);
        }
        if let Some(market) = self.0.markets.iter().find(|market| market.collateral.address == token) {
            let answer = told.uint(block, market.oracle, "price()", &[])?;
            let in_loan = Decimal::of(answer, 36 + market.loan.decimals - market.collateral.decimals);
            return in_loan.times(self.price(told, block, market.loan.address)?);
        }
        anyhow::bail!("{token} is priced by nobody")
    }
}

impl Protocol for Morpho<'_> {
    fn csu(&self) -> &'static str {
        "morpho_blue_devnet_c"
    }

    fn entry(&self) -> (Address, u64) {
        (self.0.blue.morpho, self.0.blue_block)
    }

    fn rows(&self, told: &mut Told, block: u64) -> Result<Vec<Found>> {
        let (morpho, mut rows) = (self.0.blue.morpho, Vec::new());
        for market in self.0.markets {
            // A market that was never created has no time of its last touch.
            let stored = told.call(block, morpho, "market(bytes32)", &[market.id.into()])?;
            if uint_at(&stored, 4)?.is_zero() {
                continue;
            }
            let (supplied, borrowed) = self.0.blue.totals(told, block, market)?;
            let price = self.price(told, block, market.loan.address)?;
            let amounts = [Some(supplied), Some(borrowed), Some(supplied - borrowed)];
            rows.push(row(market.id(), market.loan, "base", amounts, price));
            let held = self.0.blue.collateral(told, block, self.0.markets, market.collateral.address)?;
            let price = self.price(told, block, market.collateral.address)?;
            let amounts = [Some(held), None, None];
            rows.push(row(morpho.to_string(), market.collateral, "collateral", amounts, price));
        }
        Ok(rows)
    }

    fn events(&self) -> &'static [&'static str] {
        &[LIQUIDATE]
    }

    fn legs(&self, told: &mut Told, _day: &Day, logs: &[Emitted]) -> Result<Vec<ExpectedLeg>> {
        let mut legs = Vec::new();
        for log in logs {
            let id = U256::from_be_bytes(log.topics.get(1).context("too few topics")?.0);
            let market = self.0.markets.iter().find(|market| market.id == id).context("no such market")?;
            let block = log.block.number;
            let debt_price = self.price(told, block, market.loan.address)?;
            let price = self.price(told, block, market.collateral.address)?;
            let bad_debt = log.word(3)?;
            let bad_debt =
                (!bad_debt.is_zero()).then(|| amount(market.loan, bad_debt, debt_price)).transpose()?;
            legs.push(ExpectedLeg {
                debt: Some(amount(market.loan, log.word(0)?, debt_price)?),
                collateral: Some(amount(market.collateral, log.word(2)?, price)?),
                bad_debt,
                ..leg(log, log.address_topic(3)?, log.sender)
            });
        }
        Ok(legs)
    }

    fn tells_bad_debt(&self) -> bool {
        true
    }
}

/// The cases that the chain is there to show. A change of the story that loses one of them must not pass unnoticed.
fn check_story(csus: &[ExpectedCsu]) -> Result<()> {
    let story = [
        ("compound_v3_usdc_devnet_c", ["0", "1", "0", "2"], [3, 3, 4, 4]),
        ("morpho_blue_devnet_c", ["1", "0", "0", "3"], [6, 6, 8, 8]),
        ("venus_core_pool_devnet_c", ["0", "1", "0", "2"], [3, 3, 3, 3]),
    ];
    for (csu, (name, liquidations, rows)) in csus.iter().zip(story) {
        let found: Vec<&str> = csu.days.iter().map(|day| day.liquidations_count.as_str()).collect();
        ensure!(csu.csu == name && found == liquidations, "{}: liquidations by day are {found:?}", csu.csu);
        let found: Vec<usize> = csu.days.iter().map(|day| day.rows.len()).collect();
        ensure!(found == rows, "{}: rows by day are {found:?}", csu.csu);
    }
    let [comet, morpho, venus] = csus else { anyhow::bail!("expected three CSUs") };
    let last = |csu: &ExpectedCsu| csu.days.last().map(|day| day.legs.clone()).unwrap_or_default();
    let midnight = DAYS.last().context("no days")?.start.to_string();
    ensure!(last(comet).first().is_some_and(|leg| leg.timestamp == midnight), "none at midnight exactly");
    for csu in [comet, morpho] {
        let has_some = |leg: &ExpectedLeg| leg.bad_debt.as_ref().is_some_and(|bad_debt| bad_debt.raw != "0");
        ensure!(last(csu).iter().any(has_some), "{}: no bad debt", csu.csu);
    }
    ensure!(
        matches!(&last(venus)[..], [one, two] if one.block == two.block),
        "not two of Venus in one block"
    );
    let leg = venus.days[1].legs.first().context("none of Venus on the second day")?;
    ensure!(
        REPEATED_HOUR.contains(&leg.timestamp.parse::<u64>()?),
        "{}: not in the repeated hour",
        venus.csu
    );
    ensure!(venus.outside.len() == 1, "{}: none in the block after the last day", venus.csu);
    Ok(())
}
