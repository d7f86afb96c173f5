//! The month's CSUs as simulated Aave V3 markets, with what happened on them.
//!
//! The plan's 43 CSUs belong to a dozen families. For a bill it only counts how many contracts a chain has, how many
//! calls a snapshot takes and where the logs are, so every one is an Aave V3 market here. Numbers of liquidations are
//! invented, in proportions that look like the month's: most on Ethereum, Arbitrum, Base and Polygon, most of a chain's on
//! its first market, and two fifths of them in the crash of 2024-12-09.
//!
//! A third of a market's reserves is touched once every day, and both reserves of a liquidation by it; their state tells
//! the second, and the log that goes with a touch is there, so that a witness asked for is found. Blocks without an event
//! take no room.

use super::{CHAINS, DAY, DAYS, DecemberChain, START};
use crate::contracts::{AaveReserve, AaveV3, Liquidation, Price};
use crate::server::faults::{digest, mix};
use crate::simchain::{ChainError, Contracts, Emitted, SimChain};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolEvent;
use lake::bronze::RawLog;
use protocols::aave_v3::IPool;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Seconds of the month at which the crash began and ended: 2024-12-09, noon in New York, and 18 hours later.
const CRASH: (u64, u64) = (8 * DAY + 12 * 3_600, 9 * DAY + 6 * 3_600);
/// How many of a thousand liquidations fall into it.
const CRASH_PER_MILLE: u64 = 400;

/// Liquidations of the month by chain.
static LIQUIDATIONS: &[(&str, u64)] = &[
    ("ethereum", 900),
    ("arbitrum", 700),
    ("base", 500),
    ("polygon", 500),
    ("optimism", 300),
    ("binance", 150),
    ("avalanche", 150),
    ("xdai", 60),
    ("scroll", 60),
    ("linea", 40),
    ("cronos", 15),
    ("flare", 10),
    ("meter", 5),
];

/// Symbol, decimals and whole dollars of the tokens that a market may list.
static TOKENS: &[(&str, u8, u64)] = &[
    ("WETH", 18, 3_700),
    ("USDC", 6, 1),
    ("WBTC", 8, 97_000),
    ("USDT", 6, 1),
    ("wstETH", 18, 4_400),
    ("DAI", 18, 1),
    ("LINK", 18, 24),
    ("AAVE", 18, 300),
    ("rETH", 18, 4_150),
    ("cbETH", 18, 4_000),
    ("FRAX", 18, 1),
    ("LUSD", 18, 1),
];
/// Days from touch to touch of a reserve.
const TOUCHED_EVERY: u64 = 3;
/// Reserves of the smallest market.
const FEWEST_RESERVES: u64 = 8;

/// A CSU of the world.
#[derive(Debug, Clone)]
pub struct Market {
    /// Name of the CSU.
    pub csu: String,
    /// Its contracts.
    pub aave: AaveV3,
}

/// A chain of the world.
#[derive(Debug, Clone)]
pub struct WorldChain {
    /// Which.
    pub of: &'static DecemberChain,
    /// The chain, with the logs and contracts of its markets.
    pub chain: Arc<SimChain>,
    /// Its markets.
    pub markets: Vec<Market>,
}

/// Where a liquidation is: CSU, block, log index.
pub type Place = (String, u64, u64);

/// The month, or some chains of it.
#[derive(Debug, Clone)]
pub struct World {
    /// Chains, in the order they were asked for.
    pub chains: Vec<WorldChain>,
}

impl World {
    /// All of it.
    ///
    /// # Errors
    /// None for the chains here.
    pub fn whole() -> Result<Self, ChainError> {
        Self::of(CHAINS)
    }

    /// These chains of it, the same as in the whole.
    ///
    /// # Errors
    /// None for the chains here.
    pub fn of(chains: impl IntoIterator<Item = &'static DecemberChain>) -> Result<Self, ChainError> {
        Ok(Self { chains: chains.into_iter().map(WorldChain::new).collect::<Result<_, _>>()? })
    }

    /// The chain of this name.
    pub fn chain(&self, name: &str) -> Option<&WorldChain> {
        self.chains.iter().find(|chain| chain.of.name == name)
    }

    /// Blocks that are to be read on these days of the month, counted from zero, once for each CSU.
    pub fn blocks_by_csu(&self, days: RangeInclusive<u64>) -> u64 {
        let of_chain = |chain: &WorldChain| chain.of.blocks_of(days.clone()) * chain.markets.len() as u64;
        self.chains.iter().map(of_chain).sum()
    }

    /// Every liquidation of these days of the month, counted from zero.
    pub fn liquidations(&self, days: RangeInclusive<u64>) -> BTreeSet<Place> {
        let mut places = BTreeSet::new();
        for chain in &self.chains {
            let by_pool: BTreeMap<Address, &str> =
                chain.markets.iter().map(|market| (market.aave.pool, market.csu.as_str())).collect();
            let blocks = *chain.of.day(*days.start()).start()..=*chain.of.day(*days.end()).end();
            for log in chain.chain.logs(blocks) {
                if let (true, Some(csu)) = (is_liquidation(log), by_pool.get(&log.address)) {
                    places.insert(((*csu).to_owned(), log.block_number, log.log_index));
                }
            }
        }
        places
    }
}

impl WorldChain {
    fn new(of: &'static DecemberChain) -> Result<Self, ChainError> {
        let mut markets: Vec<Market> = (1..=of.csus).map(|nth| market(of, nth)).collect();
        let logs = happen(of, &mut markets)?;
        let contracts: Vec<Box<dyn Contracts>> =
            markets.iter().map(|market| Box::new(market.aave.clone()) as Box<dyn Contracts>).collect();
        let chain = Arc::new(of.chain()?.with_logs(logs)?.with_contracts(contracts));
        Ok(Self { of, chain, markets })
    }
}

/// Whether a log is one of a liquidation.
pub fn is_liquidation(log: &RawLog) -> bool {
    log.topics.first() == Some(&IPool::LiquidationCall::SIGNATURE_HASH)
}

/// A number that only these words and this number give.
fn draw(words: &[&str], number: u64) -> u64 {
    mix(mix(digest(words.join("/").as_bytes())) ^ number)
}

fn market(of: &DecemberChain, nth: u64) -> Market {
    let csu = format!("{}_{nth}", of.name);
    let reserves =
        FEWEST_RESERVES + draw(&[&csu, "reserves"], 0) % (TOKENS.len() as u64 - FEWEST_RESERVES + 1);
    let reserves = TOKENS.iter().take(usize::try_from(reserves).unwrap_or(TOKENS.len()));
    let reserves = reserves.map(|&(symbol, decimals, dollars)| {
        // Tokens of its own: two markets of a chain never ask for the same answer.
        let asset = Address::from_word(keccak256(format!("{csu}/{symbol}")));
        let whole = 10_u128.pow(u32::from(decimals));
        let supplied = u128::from(50_000_000 / dollars) * whole;
        let price = Price::Always(U256::from(dollars * 100_000_000));
        let reserve = AaveReserve::new(asset, symbol, decimals, supplied, supplied / 3, price);
        AaveReserve { touched_at: START - DAY, ..reserve }
    });
    let aave = AaveV3::named(&csu, reserves.collect());
    Market { csu, aave }
}

/// What happens in a transaction: a touch of the first reserve, or a liquidation with the first as debt and the second as
/// collateral.
#[derive(Debug, Clone, Copy)]
struct Event {
    market: usize,
    debt: usize,
    collateral: Option<usize>,
}

/// Lets the month happen: notes the touches in the reserves and gives the logs.
fn happen(of: &DecemberChain, markets: &mut [Market]) -> Result<Vec<Emitted>, ChainError> {
    let mut events: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
    for (market, Market { csu, aave }) in markets.iter().enumerate() {
        for debt in 0..aave.reserves.len() {
            for day in (0..DAYS).filter(|day| day % TOUCHED_EVERY == debt as u64 % TOUCHED_EVERY) {
                let blocks = of.day(day);
                let offset = draw(&[csu, "touch", &debt.to_string()], day) % of.blocks_of(day..=day);
                let event = Event { market, debt, collateral: None };
                events.entry(blocks.start() + offset).or_default().push(event);
            }
        }
    }
    let number = LIQUIDATIONS.iter().find(|(name, _)| *name == of.name).map_or(0, |(_, number)| *number);
    for nth in 0..number {
        let event = liquidation(of, markets, nth);
        events.entry(liquidation_block(of, nth)).or_default().push(event);
    }

    let clock = of.chain()?;
    let mut logs = Vec::new();
    for (block, events) in events {
        let Some(header) = clock.header(block) else { return Err(ChainError::LogOffChain { block }) };
        // A busy chain has other people's logs before ours.
        let mut log_index = 3 + draw(&[of.name, "index"], block) % 200;
        for (tx_index, Event { market, debt, collateral }) in (1..).zip(events) {
            let aave = &mut markets[market].aave;
            for reserve in [Some(debt), collateral].into_iter().flatten() {
                aave.reserves[reserve].touches.push(header.timestamp);
                logs.push(aave.touch(&aave.reserves[reserve], block, tx_index, log_index));
                log_index += 1;
            }
            if let Some(collateral) = collateral {
                let of_reserve = |reserve: usize, part: u128| {
                    let reserve = &aave.reserves[reserve];
                    (reserve.asset, reserve.cash.saturating_to::<u128>() / part)
                };
                let part = 1_000 + u128::from(draw(&[of.name, "part"], log_index) % 9_000);
                let (debt, debt_amount) = of_reserve(debt, part);
                let (collateral, collateral_amount) = of_reserve(collateral, part);
                let who = keccak256(B256::from(U256::from(block) << 64 | U256::from(log_index)));
                logs.push(aave.liquidation(&Liquidation {
                    block,
                    tx_index,
                    log_index,
                    collateral,
                    debt,
                    borrower: Address::from_word(who),
                    liquidator: Address::repeat_byte(0x11),
                    debt_amount,
                    collateral_amount,
                }));
                log_index += 1;
            }
        }
    }
    Ok(logs)
}

/// Half of a chain's liquidations are on its first market, half of the others on the second, and so on.
fn liquidation(of: &DecemberChain, markets: &[Market], nth: u64) -> Event {
    let halvings = draw(&[of.name, "market"], nth).trailing_zeros();
    let market = usize::try_from(halvings).unwrap_or(0) % markets.len();
    let reserves = markets[market].aave.reserves.len();
    let pick = |what: &str, of_how_many: usize| {
        usize::try_from(draw(&[of.name, what], nth) % of_how_many as u64).unwrap_or(0)
    };
    let debt = pick("debt", reserves);
    let other = pick("collateral", reserves - 1);
    Event { market, debt, collateral: Some(if other < debt { other } else { other + 1 }) }
}

fn liquidation_block(of: &DecemberChain, nth: u64) -> u64 {
    let in_crash = draw(&[of.name, "crash"], nth) % 1_000 < CRASH_PER_MILLE;
    let (from, to) = if in_crash { CRASH } else { (0, DAYS * DAY) };
    let second = from + draw(&[of.name, "second"], nth) % (to - from);
    of.first + second * of.blocks / (DAYS * DAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::december::END;

    #[test]
    fn the_whole_month_is_there_and_small() {
        let world = World::whole().unwrap();
        let markets: usize = world.chains.iter().map(|chain| chain.markets.len()).sum();
        assert_eq!(markets, 43);
        let truth = world.liquidations(0..=DAYS - 1);
        assert_eq!(truth.len() as u64, LIQUIDATIONS.iter().map(|(_, number)| number).sum::<u64>());
        let crash = world.liquidations(8..=9).len();
        assert!((truth.len() / 3..truth.len() / 2).contains(&crash), "{crash} of {}", truth.len());
        let logs: usize = world.chains.iter().map(|chain| chain.chain.logs(0..=u64::MAX).count()).sum();
        assert!((10_000..20_000).contains(&logs), "{logs}");
        assert_eq!(world.blocks_by_csu(0..=DAYS - 1) / 10, 9_783_755);
    }

    #[test]
    fn a_chain_is_the_same_alone_and_in_the_world() {
        let alone = World::of(DecemberChain::find("cronos")).unwrap();
        let world = World::whole().unwrap();
        let logs = |world: &World| {
            world.chain("cronos").unwrap().chain.logs(0..=u64::MAX).cloned().collect::<Vec<_>>()
        };
        assert_eq!(logs(&alone), logs(&world));
    }

    #[test]
    fn state_tells_of_no_touch_without_its_log_and_every_market_is_touched_every_day() {
        let world = World::of(DecemberChain::find("arbitrum")).unwrap();
        let WorldChain { of, chain, markets } = &world.chains[0];
        let mut logged: BTreeSet<(Address, Address, u64)> = BTreeSet::new();
        for log in chain.logs(0..=u64::MAX) {
            if log.topics[0] == IPool::ReserveDataUpdated::SIGNATURE_HASH {
                let time = chain.header(log.block_number).unwrap().timestamp;
                logged.insert((log.address, Address::from_word(log.topics[1]), time));
            }
        }
        for day in 0..DAYS {
            let midnight = chain.header(*of.day(day).end()).unwrap();
            for Market { aave, .. } in markets {
                let mut today = 0;
                for reserve in &aave.reserves {
                    let touch = reserve.last_touch(&midnight);
                    assert!(touch == START - DAY || logged.contains(&(aave.pool, reserve.asset, touch)));
                    today += usize::from((START + day * DAY..END).contains(&touch));
                }
                assert!(today > 1, "day {day}");
            }
        }
    }
}
