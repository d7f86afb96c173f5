//! The third chain of the demo: Venus's core pool, a Compound III market and Morpho Blue side by side, with the tokens
//! and Chainlink feeds that they share.
//!
//! Venus prices by an oracle of its own, Compound III by the feeds, Morpho Blue by one oracle a market, in the loan token.
//! One of its tokens has no feed, so that nothing but its market's oracle prices it.

use std::path::Path;

use alloy_primitives::Address;
use anyhow::{Context, Result};

use super::artifacts::Artifacts;
use super::comet::{Asset, Comet};
use super::morpho::{self, Blue};
use super::story::{Feed, Story, Token, Told};
use super::venus::{self, Venus};
use super::{ChainSpec, DAYS};

/// A chain that has a block exactly at New York's midnight (2024-11-01 12:00:00 UTC, every 300 s).
pub static DEVNET_C: ChainSpec =
    ChainSpec { name: "devnet_c", chain_id: 900_004, genesis: 1_730_462_400, block_seconds: 300 };

/// Longest time between two rounds of the feeds, in seconds. The story refreshes them more often.
pub const HEARTBEAT: u32 = 86_400;

/// A token, what it is, and the feed that prices it.
#[derive(Clone, Debug)]
pub struct Priced {
    /// The token.
    pub token: Token,
    /// `stablecoin`, `eth`, `btc` or `other`, for the registry.
    pub asset_class: &'static str,
    /// Its feed, and what that says that it is; none for a token that the oracle of a market alone prices.
    pub feed: Option<(Feed, &'static str)>,
    usd: &'static str,
}

impl Priced {
    /// Its feed.
    ///
    /// # Errors
    /// When it has none.
    pub fn feed(&self) -> Result<Feed> {
        let (feed, _) = self.feed.with_context(|| format!("{} has no feed", self.token.symbol))?;
        Ok(feed)
    }
}

/// The three protocols and what they share.
#[derive(Debug)]
pub struct Families {
    /// The chain.
    pub told: Told,
    /// Tokens in the order in which they came.
    pub tokens: Vec<Priced>,
    /// Venus's core pool.
    pub venus: Venus,
    /// Its markets, in the order of listing.
    pub v_markets: Vec<venus::Market>,
    /// The Compound III market.
    pub comet: Comet,
    /// Its collateral, in the order of listing.
    pub collateral: Vec<Asset>,
    /// Morpho Blue.
    pub blue: Blue,
    /// Its block.
    pub blue_block: u64,
    /// Its markets, in the order of creation.
    pub markets: Vec<morpho::Market>,
}

/// Thresholds of Morpho Blue in 1e18.
const LLTV_86: u64 = 860_000_000_000_000_000;
const LLTV_77: u64 = 770_000_000_000_000_000;

const LENDER: usize = 0;
const ALICE: usize = 1;
const BOB: usize = 2;
const CAROL: usize = 3;
const DAVE: usize = 4;
const ERIN: usize = 5;
const LIQUIDATOR_1: usize = 6;
const LIQUIDATOR_2: usize = 7;

/// The chain while its story is told.
struct Street {
    s: Story,
    tokens: Vec<Priced>,
    venus: Venus,
    v_markets: Vec<venus::Market>,
    comet: Comet,
    collateral: Vec<Asset>,
    blue: Blue,
    blue_block: u64,
    irm: Address,
    oracle_code: Vec<u8>,
    markets: Vec<morpho::Market>,
}

/// Plays the story.
///
/// # Errors
/// When npm, a compiler or the node fails, or a step reverts; the message says which.
pub fn play(artifacts: &Artifacts, states: &Path) -> Result<Families> {
    let s = Story::begin_on(&DEVNET_C, &DAYS, artifacts, states)?;
    let mut street = Street::set_up(s)?;
    street.lend_and_borrow()?;
    street.play_days()?;
    let Street { s, tokens, venus, v_markets, comet, collateral, blue, blue_block, markets, .. } = street;
    let told = s.end()?;
    Ok(Families { told, tokens, venus, v_markets, comet, collateral, blue, blue_block, markets })
}

fn create(
    s: &mut Story,
    symbol: &'static str,
    decimals: u8,
    asset_class: &'static str,
    pair: &'static str,
    usd: &'static str,
) -> Result<Priced> {
    let token = s.token(symbol, decimals)?;
    Ok(Priced { token, asset_class, feed: Some((s.feed(pair, usd)?, pair)), usd })
}

impl Street {
    /// All contracts, and the markets of the first day.
    fn set_up(mut s: Story) -> Result<Self> {
        let usdc = create(&mut s, "USDC", 6, "stablecoin", "USDC / USD", "0.9998")?;
        let weth = create(&mut s, "WETH", 18, "eth", "ETH / USD", "2512.47")?;
        let wbtc = create(&mut s, "WBTC", 8, "btc", "WBTC / USD", "69412.35")?;
        let venus = Venus::deploy(&mut s)?;
        let mut v_markets = Vec::new();
        for (of, factor) in [(&usdc, "0.825"), (&weth, "0.75"), (&wbtc, "0.75")] {
            v_markets.push(venus.list(&mut s, of.token, of.usd, factor)?);
        }
        let comet = Comet::deploy(&mut s, usdc.token, usdc.feed()?)?;
        let collateral = vec![
            comet.add(&mut s, weth.token, weth.feed()?, [82, 89, 93], "1000")?,
            comet.add(&mut s, wbtc.token, wbtc.feed()?, [70, 77, 95], "20.5")?,
        ];
        // What Morpho Blue alone has, and no feed.
        let wsteth = s.token("wstETH", 18)?;
        let wsteth = Priced { token: wsteth, asset_class: "eth", feed: None, usd: "2950.11" };
        let blue_block = s.chain.next_block();
        let blue = Blue::deploy(&mut s)?;
        let sources = morpho::sources(&s.artifacts, &["src/mocks/OracleMock.sol", "MorphoReader.sol"])?;
        let code = s.compile(&sources, &["OracleMock", "FixedRateModel"], morpho::SOLC)?;
        let irm = s.create("FixedRateModel", code.code("FixedRateModel")?, &[morpho::FIXED_RATE.into()])?;
        blue.enable(&mut s, &[irm], &[LLTV_86, LLTV_77])?;
        let oracle_code = code.code("OracleMock")?.to_vec();
        let tokens = vec![usdc, weth, wbtc, wsteth];
        let markets = Vec::new();
        let mut street = Self {
            s,
            tokens,
            venus,
            v_markets,
            comet,
            collateral,
            blue,
            blue_block,
            irm,
            oracle_code,
            markets,
        };
        street.lend_against("WETH", LLTV_86)?;
        street.lend_against("WBTC", LLTV_77)?;
        street.lend_against("wstETH", LLTV_86)?;
        Ok(street)
    }

    fn place(&self, symbol: &str) -> Result<usize> {
        let place = self.tokens.iter().position(|of| of.token.symbol == symbol);
        place.with_context(|| format!("no token {symbol}"))
    }

    /// A market of Morpho Blue that lends USDC.
    fn lend_against(&mut self, symbol: &str, lltv: u64) -> Result<()> {
        let (loan, of) = (self.tokens[self.place("USDC")?].token, self.tokens[self.place(symbol)?].clone());
        let oracle = self.s.create("an oracle", &self.oracle_code, &[])?;
        let market = self.blue.create(&mut self.s, (loan, of.token), oracle, self.irm, lltv)?;
        morpho::move_price(&mut self.s, &market, of.usd)?;
        self.markets.push(market);
        Ok(())
    }

    fn against(&self, symbol: &str) -> Result<morpho::Market> {
        let market = self.markets.iter().find(|market| market.collateral.symbol == symbol);
        market.copied().with_context(|| format!("nothing is lent against {symbol}"))
    }

    fn v_market(&self, symbol: &str) -> Result<venus::Market> {
        let market = self.v_markets.iter().find(|market| market.token.symbol == symbol);
        market.copied().with_context(|| format!("Venus has no market of {symbol}"))
    }

    fn asset(&self, symbol: &str) -> Result<Asset> {
        let mut all = self.collateral.iter().chain([&self.comet.base]);
        all.find(|asset| asset.token.symbol == symbol).copied().with_context(|| format!("no {symbol} in it"))
    }

    /// Moves a token's price for the feed and for the oracles of Venus and Morpho Blue.
    fn price(&mut self, symbol: &str, usd: &'static str) -> Result<()> {
        let place = self.place(symbol)?;
        self.tokens[place].usd = usd;
        if let Some((feed, _)) = self.tokens[place].feed {
            self.s.move_feed(feed, usd)?;
        }
        if let Some(market) = self.v_markets.iter().find(|market| market.token.symbol == symbol) {
            self.venus.price(&mut self.s, market, usd)?;
        }
        for market in self.markets.iter().filter(|market| market.collateral.symbol == symbol) {
            // As many oracles do, it takes the loan token for a dollar.
            morpho::move_price(&mut self.s, market, usd)?;
        }
        Ok(())
    }

    /// A round of every feed at the price that it has.
    fn heartbeat(&mut self) -> Result<()> {
        for place in 0..self.tokens.len() {
            if let Priced { feed: Some((feed, _)), usd, .. } = self.tokens[place] {
                self.s.move_feed(feed, usd)?;
            }
        }
        Ok(())
    }

    fn mint(&mut self, who: usize, symbol: &str, amount: &str) -> Result<()> {
        let market = self.v_market(symbol)?;
        self.venus.mint(&mut self.s, who, &market, amount)
    }

    fn borrow(&mut self, who: usize, symbol: &str, amount: &str) -> Result<()> {
        let market = self.v_market(symbol)?;
        self.venus.borrow(&mut self.s, who, &market, amount)
    }

    fn liquidate(&mut self, who: usize, user: usize, amount: &str, collateral: &str) -> Result<()> {
        let (debt, collateral) = (self.v_market("USDC")?, self.v_market(collateral)?);
        self.venus.liquidate(&mut self.s, who, &debt, user, amount, &collateral)
    }

    fn supply(&mut self, who: usize, symbol: &str, amount: &str) -> Result<()> {
        let asset = self.asset(symbol)?;
        self.comet.supply(&mut self.s, who, &asset, amount)
    }

    fn withdraw(&mut self, who: usize, symbol: &str, amount: &str) -> Result<()> {
        let asset = self.asset(symbol)?;
        self.comet.withdraw(&mut self.s, who, &asset, amount)
    }

    fn lend(&mut self, symbol: &str, amount: &str) -> Result<()> {
        let market = self.against(symbol)?;
        self.blue.supply(&mut self.s, LENDER, &market, amount)
    }

    fn borrow_against(&mut self, who: usize, symbol: &str, backing: &str, amount: &str) -> Result<()> {
        let market = self.against(symbol)?;
        self.blue.borrow(&mut self.s, who, &market, backing, amount)
    }

    fn seize(&mut self, who: usize, symbol: &str, user: usize, amount: Option<&str>) -> Result<()> {
        let market = self.against(symbol)?;
        self.blue.liquidate(&mut self.s, who, &market, user, amount)
    }

    /// The evening before the first day.
    fn lend_and_borrow(&mut self) -> Result<()> {
        self.s.at(0, 14, 0)?;
        self.mint(LENDER, "USDC", "500000.123456")?;
        self.mint(LENDER, "WETH", "100")?;
        self.mint(ALICE, "WBTC", "3.5")?;
        self.borrow(ALICE, "USDC", "150000")?;
        self.mint(BOB, "WETH", "40")?;
        self.borrow(BOB, "USDC", "60000.000001")?;
        self.s.at(0, 15, 0)?;
        self.supply(LENDER, "USDC", "400000")?;
        self.supply(ALICE, "WETH", "60")?;
        self.supply(ALICE, "WBTC", "0.5")?;
        self.withdraw(ALICE, "USDC", "130000")?;
        self.supply(CAROL, "WBTC", "2")?;
        self.withdraw(CAROL, "USDC", "95000.5")?;
        self.supply(BOB, "WETH", "50.5")?;
        self.withdraw(BOB, "USDC", "40000")?;
        self.s.at(0, 16, 0)?;
        self.lend("WETH", "600000")?;
        self.lend("WBTC", "400000.000001")?;
        self.borrow_against(ALICE, "WETH", "80", "160000")?;
        self.borrow_against(DAVE, "WBTC", "4.00000001", "190000")?;
        self.lend("wstETH", "100000")?;
        self.borrow_against(ERIN, "wstETH", "30", "60000")
    }

    fn play_days(&mut self) -> Result<()> {
        // 2024-11-02: one of Morpho Blue, of a part
        self.s.at(1, 8, 0)?;
        self.heartbeat()?;
        self.s.at(1, 13, 30)?;
        self.price("WETH", "2310.08")?;
        self.s.at(1, 13, 35)?;
        self.seize(LIQUIDATOR_1, "WETH", ALICE, Some("20.25"))?;
        self.s.at(1, 20, 0)?;
        self.lend("WETH", "50000")?;

        // 2024-11-03: one of Venus in the second of the two hours called 01:00, one of Compound III after it
        self.s.at(2, 2, 30)?;
        self.price("WBTC", "56000.5")?;
        self.liquidate(LIQUIDATOR_2, ALICE, "10000.5", "WBTC")?;
        self.s.at(2, 3, 30)?;
        self.comet.absorb(&mut self.s, LIQUIDATOR_1, &[CAROL])?;
        self.s.at(2, 9, 0)?;
        self.heartbeat()?;
        self.s.at(2, 24, 55)?; // the last block of a day of 25 hours
        self.mint(ERIN, "USDC", "1000")?;

        // 2024-11-04: none; a token more in two of the three
        self.s.at(3, 8, 0)?;
        self.heartbeat()?;
        self.s.at(3, 12, 0)?;
        let link = create(&mut self.s, "LINK", 18, "other", "LINK / USD", "11.2143")?;
        let asset = self.comet.add(&mut self.s, link.token, link.feed()?, [75, 82, 90], "50000")?;
        self.collateral.push(asset);
        self.tokens.push(link);
        self.lend_against("LINK", LLTV_77)?;
        self.s.at(3, 13, 0)?;
        self.supply(ERIN, "LINK", "9000.5")?;
        self.withdraw(ERIN, "USDC", "60000")?;
        self.lend("LINK", "100000")?;
        self.borrow_against(CAROL, "LINK", "5000", "30000")?;

        // 2024-11-05: at midnight exactly one of Compound III; two of Venus in one block; bad debt in Compound III and
        // in Morpho Blue
        self.s.at(4, 0, 0)?;
        self.price("WETH", "1990.01")?;
        self.comet.absorb(&mut self.s, LIQUIDATOR_1, &[ALICE])?;
        self.s.at(4, 8, 0)?;
        self.heartbeat()?;
        self.s.at(4, 9, 0)?;
        self.liquidate(LIQUIDATOR_1, BOB, "25000", "WETH")?;
        self.liquidate(LIQUIDATOR_2, ALICE, "30000", "WBTC")?;
        self.s.at(4, 15, 0)?;
        self.price("LINK", "6.5")?;
        self.comet.absorb(&mut self.s, LIQUIDATOR_2, &[ERIN])?;
        self.seize(LIQUIDATOR_1, "LINK", CAROL, Some("1500"))?;
        self.s.at(4, 16, 0)?;
        self.price("WBTC", "45000")?;
        self.seize(LIQUIDATOR_2, "WBTC", DAVE, Some("4.00000001"))?;
        self.price("wstETH", "2250.5")?;
        self.seize(LIQUIDATOR_2, "wstETH", ERIN, Some("5"))?;

        // 2024-11-06 begins: one of Venus in the block of midnight exactly, which is no day of the demo's
        self.s.at(5, 0, 0)?;
        self.liquidate(LIQUIDATOR_1, ALICE, "1000", "WBTC")
    }
}
