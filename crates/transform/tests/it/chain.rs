//! A small chain with Aave V3 pools, answering view calls as the contracts do, and the bronze records of its days.

use alloy_sol_types::{SolEvent, SolValue};
use lake::bronze::{
    CallRecord, CsuOfDay, DayBlocks, DayOfChain, Header, LiquidationLogs, RawLog, ReadsAtBlock, TvlSnapshot,
};
use lake::day::{Day, Zone};
use lake::registry::Csu;
use lake::span::{BlockSpan, Coverage};
use lake::{Address, B256, U256};
use protocols::aave_v3::{IPool, ReserveData};
use protocols::token::item;
use protocols::{Answers, Call, Discovery, Family, Layout};

pub const DAY: &str = "2024-12-03";
pub const BLOCKS_A_DAY: u64 = 100;

pub fn day(text: &str) -> Day {
    text.parse().unwrap()
}

pub fn new_york() -> Zone {
    Zone::named("America/New_York").unwrap()
}

/// One reserve of a pool. Amounts are in base units; the price has 8 decimals.
#[derive(Clone)]
pub struct Reserve {
    pub asset: Address,
    pub symbol: &'static str,
    pub decimals: u64,
    pub supply: U256,
    pub debt: U256,
    pub cash: U256,
    /// `None`: the oracle reverts.
    pub price: Option<u64>,
    /// Whether the aToken reverts.
    pub is_broken: bool,
}

pub fn reserve(byte: u8, symbol: &'static str, decimals: u64, whole: u64, price: u64) -> Reserve {
    let unit = U256::from(10).pow(U256::from(decimals));
    Reserve {
        asset: Address::repeat_byte(byte),
        symbol,
        decimals,
        supply: U256::from(whole) * unit,
        debt: U256::from(whole) * unit / U256::from(4),
        cash: U256::from(whole) * unit * U256::from(3) / U256::from(4),
        price: Some(price),
        is_broken: false,
    }
}

pub fn usdc() -> Reserve {
    reserve(0x10, "USDC", 6, 1_000, 99_000_000)
}

pub fn weth() -> Reserve {
    reserve(0x11, "WETH", 18, 10, 400_000_000_000)
}

/// A deployment with the state of its reserves, the same at every block.
#[derive(Clone)]
pub struct Pool {
    pub csu: &'static str,
    pub chain: &'static str,
    pub chain_id: u64,
    pub entry: Address,
    pub pool: Address,
    pub oracle: Address,
    pub reserves: Vec<Reserve>,
}

impl Pool {
    pub fn one() -> Self {
        Self {
            csu: "aave_v3_one",
            chain: "ethereum",
            chain_id: 1,
            entry: Address::repeat_byte(0x01),
            pool: Address::repeat_byte(0x02),
            oracle: Address::repeat_byte(0x03),
            reserves: vec![usdc(), weth()],
        }
    }

    /// Another deployment on the same chain, with an oracle of its own.
    pub fn two() -> Self {
        Self {
            csu: "aave_v3_two",
            entry: Address::repeat_byte(0x04),
            pool: Address::repeat_byte(0x05),
            oracle: Address::repeat_byte(0x06),
            ..Self::one()
        }
    }

    pub fn row(&self) -> Csu {
        Csu::bare(self.csu, "aave_v3", self.chain, "pool_addresses_provider", self.entry)
    }

    fn family(&self) -> &'static dyn Family {
        protocols::family("aave_v3").unwrap()
    }

    fn answer(&self, call: Call) -> CallRecord {
        let word = |value: U256| Some(value.abi_encode());
        let reserve = self.reserves.iter().find(|reserve| item(reserve.asset) == call.item);
        let output = match (call.key.as_str(), reserve) {
            ("provider.getPool", _) => Some(self.pool.abi_encode()),
            ("provider.getPriceOracle", _) => Some(self.oracle.abi_encode()),
            ("pool.POOL_REVISION", _) => word(U256::ONE),
            ("pool.getReservesList", _) => {
                Some(self.reserves.iter().map(|reserve| reserve.asset).collect::<Vec<_>>().abi_encode())
            }
            ("oracle.BASE_CURRENCY", _) => Some(Address::ZERO.abi_encode()),
            ("oracle.BASE_CURRENCY_UNIT", _) => word(U256::from(100_000_000)),
            ("pool.getReserveData", Some(reserve)) => Some(reserve_data(reserve).abi_encode()),
            ("pool.getReserveNormalizedIncome", Some(_)) => word(U256::from(10).pow(U256::from(27))),
            ("a_token.totalSupply", Some(reserve)) if !reserve.is_broken => word(reserve.supply),
            ("variable_debt.totalSupply", Some(reserve)) => word(reserve.debt),
            ("token.balanceOf(a_token)", Some(reserve)) => word(reserve.cash),
            ("oracle.getAssetPrice", Some(reserve)) => {
                reserve.price.and_then(|price| word(U256::from(price)))
            }
            ("oracle.getSourceOfAsset", Some(_)) => Some(Address::repeat_byte(0x77).abi_encode()),
            ("token.symbol", Some(reserve)) => Some((reserve.symbol.to_owned(),).abi_encode_params()),
            ("token.decimals", Some(reserve)) => word(U256::from(reserve.decimals)),
            _ => None,
        };
        call.answered(output.is_some(), output.unwrap_or_default().into())
    }

    fn layout(&self) -> Layout {
        let mut records: Vec<CallRecord> = Vec::new();
        for _ in 0..5 {
            match self.family().discover(&self.row(), &Answers::new(&records), &[]).unwrap() {
                Discovery::Ask(calls) => records.extend(calls.into_iter().map(|call| self.answer(call))),
                Discovery::Found(layout) => return layout,
            }
        }
        panic!("discovery does not end");
    }

    pub fn day_of_chain(&self, date: &str) -> DayOfChain {
        let zone = new_york();
        let window = zone.window(day(date)).unwrap();
        DayOfChain {
            chain: self.chain.into(),
            chain_id: self.chain_id,
            date: day(date),
            zone: zone.name().into(),
            day_start: window.start,
            day_end: window.end,
        }
    }

    fn of(&self, date: &str) -> CsuOfDay {
        CsuOfDay {
            csu: self.csu.into(),
            family: "aave_v3".into(),
            entry: self.entry,
            day: self.day_of_chain(date),
        }
    }

    pub fn blocks(&self, date: &str) -> DayBlocks {
        let first = first_block(date);
        let last = first + BLOCKS_A_DAY - 1;
        DayBlocks {
            day: self.day_of_chain(date),
            before: Some(header(first - 1)),
            first: Some(header(first)),
            last: Some(header(last)),
            after: header(last + 1),
        }
    }

    pub fn snapshot(&self, date: &str) -> TvlSnapshot {
        let calls = self.family().snapshot(&self.row(), &self.layout());
        TvlSnapshot {
            of: self.of(date),
            reads: ReadsAtBlock {
                block: self.blocks(date).last.unwrap(),
                calls: calls.into_iter().map(|call| self.answer(call)).collect(),
            },
        }
    }

    /// The day's logs, with reads at their blocks in which the pool is as `at_event` has it.
    pub fn liquidations(&self, date: &str, logs: Vec<RawLog>, at_event: &Pool) -> LiquidationLogs {
        let family = self.family();
        let layout = at_event.layout();
        let mut numbers: Vec<u64> = logs.iter().map(|log| log.block_number).collect();
        numbers.dedup();
        let reads = numbers.iter().map(|&number| {
            let of_block: Vec<&RawLog> = logs.iter().filter(|log| log.block_number == number).collect();
            let calls = family.event_reads(&self.row(), &layout, &of_block);
            let calls = calls.into_iter().map(|call| at_event.answer(call)).collect();
            ReadsAtBlock { block: header(number), calls }
        });
        let span = BlockSpan::new(first_block(date), first_block(date) + BLOCKS_A_DAY - 1).unwrap();
        LiquidationLogs {
            of: self.of(date),
            blocks: Some(span),
            filter: family.filter(&self.row(), &[&layout]),
            scanned: Coverage::try_from(vec![span]).unwrap(),
            reads: reads.collect(),
            logs,
        }
    }

    pub fn log<E: SolEvent>(&self, event: &E, date: &str, block: u64, tx: u8, log_index: u64) -> RawLog {
        let data = event.encode_log_data();
        let number = first_block(date) + block;
        RawLog {
            address: self.pool,
            topics: data.topics().to_vec(),
            data: data.data,
            block_number: number,
            block_hash: header(number).hash,
            transaction_hash: B256::repeat_byte(tx),
            transaction_index: 3,
            log_index,
        }
    }
}

/// Blocks are evenly spread over the day; a day is the same hundred blocks whatever the chain.
pub fn first_block(date: &str) -> u64 {
    1_000 + u64::try_from(day(date).days_since_epoch() - 20_000).unwrap() * BLOCKS_A_DAY
}

pub fn header(number: u64) -> Header {
    let hash = |number: u64| B256::from(U256::from(number) + (U256::ONE << 200));
    let days = i32::try_from((number - 1_000) / BLOCKS_A_DAY).unwrap() + 20_000;
    let window = new_york().window(Day::from_days_since_epoch(days)).unwrap();
    let timestamp = u64::try_from(window.start).unwrap() + 10 + (number - 1_000) % BLOCKS_A_DAY * 600;
    Header { number, hash: hash(number), parent_hash: hash(number - 1), timestamp }
}

fn reserve_data(reserve: &Reserve) -> ReserveData {
    let field = |value: u64, first: usize| U256::from(value) << first;
    let part = |offset: u8| Address::repeat_byte(reserve.asset[0] + offset);
    ReserveData {
        configuration: field(7_500, 0)
            | field(7_800, 16)
            | field(10_450, 32)
            | field(reserve.decimals, 48)
            | field(1, 56)
            | field(1_000, 64),
        liquidityIndex: 0,
        currentLiquidityRate: 20_000_000_000_000_000_000_000_000,
        variableBorrowIndex: 0,
        currentVariableBorrowRate: 43_000_000_000_000_000_000_000_000,
        currentStableBorrowRate: 0,
        lastUpdateTimestamp: Default::default(),
        id: 0,
        aTokenAddress: part(0x40),
        stableDebtTokenAddress: Address::ZERO,
        variableDebtTokenAddress: part(0x60),
        interestRateStrategyAddress: Address::ZERO,
        accruedToTreasury: 0,
        unbacked: 0,
        isolationModeTotalDebt: 0,
    }
}

/// Half a WETH taken for 1,500 USDC of debt.
pub fn liquidation(user: u8) -> IPool::LiquidationCall {
    IPool::LiquidationCall {
        collateralAsset: weth().asset,
        debtAsset: usdc().asset,
        user: Address::repeat_byte(user),
        debtToCover: U256::from(1_500_000_000_u64),
        liquidatedCollateralAmount: U256::from(500_000_000_000_000_000_u64),
        liquidator: Address::repeat_byte(0xee),
        receiveAToken: false,
    }
}

/// 25 USDC of bad debt.
pub fn deficit(user: u8) -> IPool::DeficitCreated {
    IPool::DeficitCreated {
        user: Address::repeat_byte(user),
        debtAsset: usdc().asset,
        amountCreated: U256::from(25_000_000),
    }
}
