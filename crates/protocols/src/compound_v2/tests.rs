mod liquidations;
mod state;

use super::*;
use alloy_sol_types::SolValue;
use lake::bronze::{CallRecord, Header};
use lake::{B256, Bytes, U256};

const COMPTROLLER: Address = Address::repeat_byte(0x01);
const ORACLE: Address = Address::repeat_byte(0x02);
const LIQUIDATOR: Address = Address::repeat_byte(0x03);
const VAI_CONTROLLER: Address = Address::repeat_byte(0x04);
const VAI: Address = Address::repeat_byte(0x05);
const PSM: Address = Address::repeat_byte(0x06);
const WRAPPED: Address = Address::repeat_byte(0x07);
const C_USDC: Address = Address::repeat_byte(0x10);
const USDC: Address = Address::repeat_byte(0x11);
const C_COIN: Address = Address::repeat_byte(0x20);
const C_NEW: Address = Address::repeat_byte(0x30);

const BLOCK: Header =
    Header { number: 45_000_000, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 1_735_000_000 };
/// 28,800 blocks a day.
const PACE: BlockPace = BlockPace { blocks: 28_800, seconds: 86_400 };

fn csu(variant: &str) -> Csu {
    let contracts = [(part::WRAPPED_NATIVE, WRAPPED), (part::VAI_PSM, PSM)];
    Csu {
        variant: variant.to_owned(),
        contracts: contracts.map(|(name, address)| (name.to_owned(), address)).into(),
        ..Csu::bare("venus_test", "compound_v2", "binance", "comptroller", COMPTROLLER)
    }
}

fn wad(text: &str) -> U256 {
    text.parse::<U256>().unwrap() * accrual::WAD
}

/// What a cToken answers when it is asked for its underlying, or for anything else that it does not know.
#[derive(Clone, Copy, PartialEq)]
enum Lends {
    Token(Address),
    /// `CEther` of before 2022: a question that it does not know is a deposit of nothing, which succeeds.
    CoinWithFallback,
    /// `CEther` since.
    CoinThatReverts,
    /// `CEther` of Sumer.
    CoinAtZero,
    /// There is no contract.
    Nothing,
}

#[derive(Clone)]
struct Sim {
    c_token: Address,
    lends: Lends,
    cash: U256,
    borrows: U256,
    reserves: U256,
    supply: U256,
    /// Only where the version keeps it.
    bad_debt: Option<U256>,
    is_minting: bool,
    clock: &'static str,
    rates: [&'static str; 2],
    at: u64,
    borrow_rate: u64,
    supply_rate: u64,
    index: U256,
    seize_share: Option<u64>,
    /// `None`: the oracle reverts.
    price: Option<U256>,
    parameters: Vec<u64>,
    caps: Option<[U256; 2]>,
    paused: bool,
}

const PER_BLOCK: [&str; 2] = ["c_token.borrowRatePerBlock", "c_token.supplyRatePerBlock"];
const PER_TIMESTAMP: [&str; 2] = ["c_token.borrowRatePerTimestamp", "c_token.supplyRatePerTimestamp"];
const PER_SECOND: [&str; 2] = ["c_token.borrowRatePerSecond", "c_token.supplyRatePerSecond"];

/// 1,000 USDC of which 600 are lent, since 1,000 blocks.
fn usdc() -> Sim {
    Sim {
        c_token: C_USDC,
        lends: Lends::Token(USDC),
        cash: U256::from(410_000_000),
        borrows: U256::from(600_000_000),
        reserves: U256::from(10_000_000),
        supply: U256::from(4_000_000_000_000_u64),
        bad_debt: None,
        is_minting: false,
        clock: key::ACCRUAL_BLOCK,
        rates: PER_BLOCK,
        at: BLOCK.number - 1_000,
        borrow_rate: 5_000_000_000,
        supply_rate: 2_000_000_000,
        index: accrual::WAD + U256::from(7),
        seize_share: Some(28_000_000_000_000_000),
        price: Some(U256::from(999_900_000_000_000_000_u64) * U256::from(1_000_000_000_000_u64)),
        parameters: vec![1, 750_000_000_000_000_000, 1],
        caps: Some([U256::ZERO, U256::from(2_000_000_000_u64)]),
        paused: false,
    }
}

fn coin(lends: Lends) -> Sim {
    Sim { c_token: C_COIN, lends, price: Some(wad("600")), ..usdc() }
}

impl Sim {
    fn exchange_rate(&self) -> U256 {
        let worth = self.cash + self.borrows + self.bad_debt.unwrap_or_default() - self.reserves;
        if self.is_minting || self.supply.is_zero() { wad("1") } else { worth * accrual::WAD / self.supply }
    }

    /// What the contract returns; `None`: it has no such function.
    fn answer(&self, key: &str) -> Option<Vec<u8>> {
        let [borrow_rate, supply_rate] = self.rates;
        Some(match key {
            key::UNDERLYING => match self.lends {
                Lends::Token(token) => token.abi_encode(),
                Lends::CoinAtZero => Address::ZERO.abi_encode(),
                _ => return None,
            },
            key::C_SYMBOL => ("cUSDC".to_owned(),).abi_encode_params(),
            key::C_DECIMALS => U256::from(8).abi_encode(),
            key::CASH => self.cash.abi_encode(),
            key::BORROWS => self.borrows.abi_encode(),
            key::RESERVES => self.reserves.abi_encode(),
            key::SUPPLY => self.supply.abi_encode(),
            key::EXCHANGE_RATE => self.exchange_rate().abi_encode(),
            key::RESERVE_FACTOR => U256::from(200_000_000_000_000_000_u64).abi_encode(),
            key::BORROW_INDEX => self.index.abi_encode(),
            key::BAD_DEBT => self.bad_debt?.abi_encode(),
            key::IS_C_TOKEN => (!self.is_minting).abi_encode(),
            key::SEIZE_SHARE => U256::from(self.seize_share?).abi_encode(),
            // A tenth of what is seized is profit.
            key::SEIZE => (U256::from(1_100), U256::from(100)).abi_encode_params(),
            name if name == self.clock => U256::from(self.at).abi_encode(),
            name if name == borrow_rate => U256::from(self.borrow_rate).abi_encode(),
            name if name == supply_rate => U256::from(self.supply_rate).abi_encode(),
            _ => return None,
        })
    }
}

/// A deployment as its storage would be, answering calls as the contracts do.
#[derive(Clone)]
struct World {
    csu: Csu,
    markets: Vec<Sim>,
    vai_supply: U256,
    psm_minted: Option<u64>,
    has_liquidator: bool,
}

impl World {
    fn new(variant: &str, markets: Vec<Sim>) -> Self {
        Self { csu: csu(variant), markets, vai_supply: wad("900"), psm_minted: Some(0), has_liquidator: true }
    }

    fn market(&self, address: Address) -> Option<&Sim> {
        self.markets.iter().find(|market| market.c_token == address)
    }

    fn answer(&self, call: Call) -> CallRecord {
        if let Some(market) = self.market(call.to) {
            return match (market.answer(&call.key), market.lends) {
                (_, Lends::Nothing) | (None, Lends::CoinWithFallback) => call.answered(true, Bytes::new()),
                (Some(output), _) => call.answered(true, output.into()),
                (None, _) => call.answered(false, Bytes::new()),
            };
        }
        let output = match call.to {
            COMPTROLLER => self.comptroller(&call),
            ORACLE => self.price(&call),
            VAI_CONTROLLER => match call.key.as_str() {
                key::VAI => Some(VAI.abi_encode()),
                key::VAI_RATE => Some(U256::from(40_000_000_000_000_000_u64).abi_encode()),
                _ => None,
            },
            PSM if self.psm_minted.is_none() => return call.answered(true, Bytes::new()),
            PSM => self.psm_minted.map(|minted| wad(&minted.to_string()).abi_encode()),
            VAI | USDC | WRAPPED => match call.key.as_str() {
                token::SYMBOL if call.to == USDC => Some(("USDC".to_owned(),).abi_encode_params()),
                token::SYMBOL => Some(("WBNB".to_owned(),).abi_encode_params()),
                token::DECIMALS => Some(U256::from(if call.to == USDC { 6 } else { 18 }).abi_encode()),
                key::VAI_SUPPLY => Some(self.vai_supply.abi_encode()),
                _ => None,
            },
            // No contract is there.
            _ => return call.answered(true, Bytes::new()),
        };
        call.answered(output.is_some(), output.unwrap_or_default().into())
    }

    fn comptroller(&self, call: &Call) -> Option<Vec<u8>> {
        let market = call.item.parse().ok().and_then(|address| self.market(address));
        let is_venus = self.csu.variant.starts_with("venus");
        Some(match call.key.as_str() {
            key::LIST => self.markets.iter().map(|it| it.c_token).collect::<Vec<_>>().abi_encode(),
            key::ORACLE => ORACLE.abi_encode(),
            key::INCENTIVE => U256::from(1_100_000_000_000_000_000_u64).abi_encode(),
            key::PROTOCOL_PAUSED => false.abi_encode(),
            key::LIQUIDATOR if self.has_liquidator => LIQUIDATOR.abi_encode(),
            key::VAI_CONTROLLER => VAI_CONTROLLER.abi_encode(),
            key::PARAMETERS => {
                market?.parameters.iter().flat_map(|word| U256::from(*word).abi_encode()).collect()
            }
            key::BORROW_CAP => market?.caps?[0].abi_encode(),
            key::SUPPLY_CAP => market?.caps?[1].abi_encode(),
            key::MINT_PAUSED | key::BORROW_PAUSED if !is_venus => market?.paused.abi_encode(),
            key::MINT_ACTION_PAUSED | key::BORROW_ACTION_PAUSED if is_venus => market?.paused.abi_encode(),
            key::MARKET_CONFIG => {
                let [borrow, supply] = market?.caps?;
                let paused = market?.paused;
                (paused, paused, false, false, borrow, supply).abi_encode_params()
            }
            _ => return None,
        })
    }

    fn price(&self, call: &Call) -> Option<Vec<u8>> {
        let asked = IPriceOracle::getUnderlyingPriceCall::abi_decode(&call.input).unwrap().cToken;
        let price =
            if asked == VAI { Some(wad("1")) } else { self.market(asked).and_then(|market| market.price) };
        price.map(|price| price.abi_encode())
    }

    fn answers(&self, calls: Vec<Call>) -> Vec<CallRecord> {
        calls.into_iter().map(|call| self.answer(call)).collect()
    }

    /// The layout, and how often questions had to be put for it.
    fn discover_from(&self, mut records: Vec<CallRecord>) -> (Layout, usize) {
        for rounds in 0..5 {
            match CompoundV2.discover(&self.csu, &Answers::new(&records), &[]).unwrap() {
                Discovery::Ask(calls) => records.extend(self.answers(calls)),
                Discovery::Found(layout) => return (layout, rounds),
            }
        }
        panic!("discovery does not end");
    }

    fn discover(&self) -> Layout {
        self.discover_from(Vec::new()).0
    }

    fn reads(&self, layout: &Layout) -> ReadsAtBlock {
        ReadsAtBlock { block: BLOCK, calls: self.answers(CompoundV2.snapshot(&self.csu, layout)) }
    }

    fn snapshot(&self) -> Snapshot {
        CompoundV2.read_snapshot(&self.csu, &self.reads(&self.discover()), PACE).unwrap()
    }
}
