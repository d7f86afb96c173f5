use super::*;
use alloy_sol_types::{SolCall, SolValue};
use lake::Bytes;
use lake::bronze::{CallRecord, Header};

const PROVIDER: Address = Address::repeat_byte(0x01);
const POOL: Address = Address::repeat_byte(0x02);
const ORACLE: Address = Address::repeat_byte(0x03);
const USDC: Address = Address::repeat_byte(0x10);
const GHO: Address = Address::repeat_byte(0x11);
const NEW: Address = Address::repeat_byte(0x12);

fn csu() -> Csu {
    Csu {
        minted_tokens: vec![GHO],
        ..Csu::bare("aave_v3_test", "aave_v3", "ethereum", "pool_addresses_provider", PROVIDER)
    }
}

/// A pool as its storage would be, answering calls as the contracts do.
struct Pool {
    reserves: Vec<Reserve>,
    mock_stable_debt: Address,
    has_deficit: bool,
}

struct Reserve {
    asset: Address,
    configuration: U256,
    supply: u64,
    stable: Option<u64>,
    variable: u64,
    cash: u64,
    virtual_balance: u64,
    treasury: u128,
    price: u64,
    touched: u64,
}

fn configuration(virtual_accounting: bool) -> U256 {
    let field = |value: u64, first: usize| U256::from(value) << first;
    field(7_500, 0)
        | field(7_800, 16)
        | field(10_450, 32)
        | field(6, 48)
        | field(1, 56)
        | field(1_000, 64)
        | field(1_000_000, 80)
        | field(u64::from(virtual_accounting), 252)
}

fn usdc() -> Reserve {
    Reserve {
        asset: USDC,
        configuration: configuration(false),
        supply: 1_000,
        stable: Some(50),
        variable: 350,
        cash: 610,
        virtual_balance: 0,
        treasury: 10,
        price: 99_990_000,
        touched: 0,
    }
}

impl Pool {
    fn v3_0(reserves: Vec<Reserve>) -> Self {
        Self { reserves, mock_stable_debt: Address::ZERO, has_deficit: false }
    }

    fn tokens(asset: Address) -> [Address; 3] {
        [0x20, 0x40, 0x60].map(|offset| Address::repeat_byte(asset[0] + offset))
    }

    fn data(&self, reserve: &Reserve) -> ReserveData {
        let [a_token, stable, variable] = Self::tokens(reserve.asset);
        ReserveData {
            configuration: reserve.configuration,
            liquidityIndex: 1_000_000_000_000_000_000_000_000_000,
            currentLiquidityRate: 20_000_000_000_000_000_000_000_000,
            variableBorrowIndex: 1_000_000_000_000_000_000_000_000_000,
            currentVariableBorrowRate: 43_000_000_000_000_000_000_000_000,
            currentStableBorrowRate: 60_000_000_000_000_000_000_000_000,
            lastUpdateTimestamp: alloy_sol_types::private::primitives::aliases::U40::from(reserve.touched),
            id: 0,
            aTokenAddress: a_token,
            stableDebtTokenAddress: if reserve.stable.is_some() { stable } else { self.mock_stable_debt },
            variableDebtTokenAddress: variable,
            interestRateStrategyAddress: Address::ZERO,
            accruedToTreasury: reserve.treasury,
            unbacked: 0,
            isolationModeTotalDebt: 0,
        }
    }

    fn answer(&self, call: Call) -> CallRecord {
        let word = |value: u64| Some(U256::from(value).abi_encode());
        let reserve = self.reserves.iter().find(|reserve| item(reserve.asset) == call.item);
        let output = match (call.key.as_str(), reserve) {
            // Whoever is asked must be the right contract.
            (key::PROVIDER, _) if call.to == POOL => Some(PROVIDER.abi_encode()),
            (key::POOL, _) if call.to == PROVIDER => Some(POOL.abi_encode()),
            (key::ORACLE, _) => Some(ORACLE.abi_encode()),
            (key::MOCK_STABLE_DEBT, _) => Some(self.mock_stable_debt.abi_encode()),
            (key::REVISION, _) => word(1),
            (key::LIST, _) => Some(self.reserves.iter().map(|r| r.asset).collect::<Vec<_>>().abi_encode()),
            (key::BASE, _) => Some(Address::ZERO.abi_encode()),
            (key::UNIT, _) => word(100_000_000),
            (key::RESERVE, Some(reserve)) => Some(self.data(reserve).abi_encode()),
            (key::INCOME, Some(_)) => Some(RAY.abi_encode()),
            (key::VIRTUAL, Some(reserve)) if self.has_deficit => word(reserve.virtual_balance),
            (key::DEFICIT, Some(_)) if self.has_deficit => word(0),
            (key::SUPPLY, Some(reserve)) => word(reserve.supply),
            (key::STABLE_DEBT, Some(reserve)) => reserve.stable.and_then(word),
            (key::VARIABLE_DEBT, Some(reserve)) => word(reserve.variable),
            (key::CASH, Some(reserve)) => word(reserve.cash),
            (key::PRICE, Some(reserve)) => word(reserve.price),
            (key::SOURCE, Some(_)) => Some(Address::repeat_byte(0x77).abi_encode()),
            (token::SYMBOL, Some(_)) => Some(("USDC".to_owned(),).abi_encode_params()),
            (token::DECIMALS, Some(_)) => word(6),
            _ => None,
        };
        call.answered(output.is_some(), output.unwrap_or_default().into())
    }

    fn discover(&self) -> Layout {
        self.discover_as(&csu())
    }

    fn discover_as(&self, csu: &Csu) -> Layout {
        let mut records: Vec<CallRecord> = Vec::new();
        for _ in 0..6 {
            match AaveV3.discover(csu, &Answers::new(&records), &[]).unwrap() {
                Discovery::Ask(calls) => records.extend(calls.into_iter().map(|call| self.answer(call))),
                Discovery::Found(layout) => return layout,
            }
        }
        panic!("discovery does not end");
    }

    fn reads(&self, layout: &Layout) -> ReadsAtBlock {
        let block = Header { number: 1, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 2_000 };
        let calls = AaveV3.snapshot(&csu(), layout).into_iter().map(|call| self.answer(call)).collect();
        ReadsAtBlock { block, calls }
    }

    fn snapshot(&self) -> Snapshot {
        AaveV3.read_snapshot(&csu(), &self.reads(&self.discover()), BlockPace::default()).unwrap()
    }
}

#[test]
fn the_signatures_are_those_of_the_contracts() {
    // facts/protocols.md 5, computed there with another keccak library.
    let hash = |text: &str| text.parse::<B256>().unwrap();
    assert_eq!(
        IPool::LiquidationCall::SIGNATURE_HASH,
        hash("0xe413a321e8681d831f4dbccbca790d2952b56f977908e45be37335533e005286")
    );
    assert_eq!(
        IPool::DeficitCreated::SIGNATURE_HASH,
        hash("0x2bccfb3fad376d59d7accf970515eb77b2f27b082c90ed0fb15583dd5a942699")
    );
    assert_eq!(RAY, U256::from(10).pow(U256::from(27)));
    assert_eq!(IPool::getReserveDataCall::SELECTOR, [0x35, 0xea, 0x6a, 0x75]);
}

#[test]
fn a_3_0_reserve_counts_stable_debt_and_the_balance_of_its_a_token() {
    let snapshot = Pool::v3_0(vec![usdc()]).snapshot();
    let [usdc] = snapshot.reserves.as_slice() else { panic!("one reserve") };
    assert_eq!(usdc.missing, []);
    assert_eq!((usdc.supplied, usdc.borrowed), (Some(U256::from(1_000)), Some(U256::from(400))));
    assert_eq!((usdc.available, usdc.deficit), (Some(U256::from(610)), None));
    assert_eq!((usdc.reserves, usdc.identity_gap), (Some(I256::try_from(10).unwrap()), Some(I256::ZERO)));
    assert_eq!(
        (usdc.supply_apr, usdc.borrow_apr, usdc.borrow_apr_stable_mode),
        (Some(0.02), Some(0.043), Some(0.06))
    );
    assert_eq!((usdc.ltv, usdc.liq_threshold, usdc.liq_bonus), (Some(0.75), Some(0.78), Some(0.045)));
    assert_eq!((usdc.reserve_factor, usdc.borrow_cap, usdc.supply_cap), (Some(0.1), Some(1e6), None));
    assert_eq!((usdc.is_active, usdc.is_frozen, usdc.is_paused), (Some(true), Some(false), Some(false)));
    assert_eq!(usdc.flags, ["available_by_balance"]);
    let price = &snapshot.prices[0];
    assert_eq!(
        (price.raw.clone(), price.quote, price.feed),
        (Ok(U256::from(99_990_000)), Quote::Usd, ORACLE)
    );
}

#[test]
fn a_3_3_reserve_has_no_stable_debt_and_a_virtual_balance() {
    let mock = Address::repeat_byte(0x99);
    let pool = Pool {
        reserves: vec![Reserve {
            configuration: configuration(true),
            stable: None,
            cash: 9_999,
            virtual_balance: 660,
            ..usdc()
        }],
        mock_stable_debt: mock,
        has_deficit: true,
    };
    let [usdc] = <[ReserveFigures; 1]>::try_from(pool.snapshot().reserves).unwrap();
    assert_eq!(usdc.missing, []);
    assert_eq!((usdc.borrowed, usdc.available), (Some(U256::from(350)), Some(U256::from(660))));
    assert_eq!((usdc.deficit, usdc.borrow_apr_stable_mode), (Some(U256::ZERO), None));
    assert_eq!(usdc.identity_gap, Some(I256::ZERO));
    assert_eq!(usdc.flags, [] as [&str; 0]);
}

#[test]
fn gho_before_3_4_is_minted_and_has_no_identity() {
    let gho = Reserve { asset: GHO, supply: 0, stable: Some(0), variable: 500, cash: 0, ..usdc() };
    let snapshot = Pool::v3_0(vec![gho]).snapshot();
    assert_eq!((snapshot.reserves[0].role, snapshot.reserves[0].identity_gap), (Role::Minted, None));
}

#[test]
fn a_stable_debt_token_that_does_not_answer_is_missing_not_zero() {
    let pool = Pool::v3_0(vec![usdc()]);
    let mut reads = pool.reads(&pool.discover());
    for call in reads.calls.iter_mut().filter(|call| call.key == key::STABLE_DEBT) {
        (call.ok, call.output) = (false, Bytes::new());
    }
    let [usdc] = <[ReserveFigures; 1]>::try_from(
        AaveV3.read_snapshot(&csu(), &reads, BlockPace::default()).unwrap().reserves,
    )
    .unwrap();
    assert_eq!((usdc.borrowed, usdc.missing.len()), (None, 1));
}

#[test]
fn every_answer_that_is_lost_is_missing_and_leaves_the_neighbour_alone() {
    let pool = Pool::v3_0(vec![usdc(), Reserve { asset: NEW, ..usdc() }]);
    let reads = pool.reads(&pool.discover());
    for key in [key::SUPPLY, key::VARIABLE_DEBT, key::CASH, key::RESERVE, key::INCOME, token::DECIMALS] {
        let mut spoiled = reads.clone();
        for call in spoiled.calls.iter_mut().filter(|call| call.key == key && call.item == item(USDC)) {
            call.output = Bytes::new();
        }
        let snapshot = AaveV3.read_snapshot(&csu(), &spoiled, BlockPace::default()).unwrap();
        assert!(!snapshot.reserves[0].missing.is_empty(), "{key} was lost without a word");
        assert_eq!(snapshot.reserves[1].missing, [], "{key} spoiled the neighbour");
    }
}

#[test]
fn a_layout_drifts_when_a_reserve_is_added_and_not_before() {
    let old = Pool::v3_0(vec![usdc()]);
    let layout = old.discover();
    let confirm = |pool: &Pool| AaveV3.confirm(&csu(), &layout, &Answers::new(&pool.reads(&layout).calls));
    confirm(&old).unwrap();
    let grown = Pool::v3_0(vec![usdc(), Reserve { asset: NEW, ..usdc() }]);
    assert_eq!(confirm(&grown).unwrap_err().what, "the list of reserves");
    assert_eq!(grown.discover().markets.len(), 2);
}

#[test]
fn an_entry_without_code_is_told_as_such() {
    let calls = match AaveV3.discover(&csu(), &Answers::default(), &[]).unwrap() {
        Discovery::Ask(calls) => calls,
        Discovery::Found(_) => panic!("nothing was asked yet"),
    };
    let records: Vec<_> = calls.into_iter().map(|call| call.answered(true, Bytes::new())).collect();
    let error = AaveV3.discover(&csu(), &Answers::new(&records), &[]).unwrap_err();
    assert!(error.to_string().starts_with("the pool of an Aave V3 addresses provider: "), "{error}");
    assert!(error.to_string().contains("there is no contract at"), "{error}");
}

fn log<E: SolEvent>(event: &E, tx: u8, log_index: u64) -> RawLog {
    let data = event.encode_log_data();
    RawLog {
        address: POOL,
        topics: data.topics().to_vec(),
        data: data.data,
        block_number: 7,
        block_hash: B256::ZERO,
        transaction_hash: B256::repeat_byte(tx),
        transaction_index: 0,
        log_index,
    }
}

fn liquidation(user: u8) -> IPool::LiquidationCall {
    IPool::LiquidationCall {
        collateralAsset: NEW,
        debtAsset: USDC,
        user: Address::repeat_byte(user),
        debtToCover: U256::from(100),
        liquidatedCollateralAmount: U256::from(104),
        liquidator: Address::repeat_byte(0xee),
        receiveAToken: true,
    }
}

fn legs(logs: &[RawLog]) -> Vec<Leg> {
    AaveV3
        .read_logs(&csu(), logs, &[])
        .into_iter()
        .map(|reading| match reading {
            LogReading::Leg(leg) => *leg,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_deficit_belongs_to_the_liquidation_that_follows_it_in_its_transaction() {
    let deficit = |user, asset| IPool::DeficitCreated {
        user: Address::repeat_byte(user),
        debtAsset: asset,
        amountCreated: U256::from(5),
    };
    let legs = legs(&[
        log(&deficit(0xa1, USDC), 1, 0),
        log(&deficit(0xa1, GHO), 1, 1),
        log(&liquidation(0xa1), 1, 2),
        log(&deficit(0xa2, USDC), 2, 3),
        log(&liquidation(0xa2), 3, 4),
    ]);
    assert_eq!(legs[0].liquidation, legs[2].liquidation);
    assert_eq!(legs[1].liquidation, legs[2].liquidation);
    assert_eq!(legs[1].bad_debt, Some((GHO, U256::from(5))));
    assert_eq!(
        (legs[2].debt, legs[2].collateral),
        (Some((USDC, U256::from(100))), Some((NEW, U256::from(104))))
    );
    assert_eq!(legs[2].flags, ["receive_a_token"]);
    assert_eq!(legs[3].flags, ["deficit_without_liquidation"]);
    assert_ne!(legs[3].liquidation, legs[4].liquidation);
}

#[test]
fn a_log_of_another_shape_is_a_reject_with_its_reason() {
    let sound = log(&liquidation(0xa1), 1, 0);
    let mut short = sound.clone();
    short.data = Bytes::from(short.data[..96].to_vec());
    let mut unindexed = sound.clone();
    unindexed.topics.truncate(3);
    let mut bare = sound.clone();
    bare.topics.clear();
    let mut dirty = sound.clone();
    dirty.topics[1] = B256::repeat_byte(0xff);
    for bad in [short, unindexed, bare, dirty] {
        let readings = AaveV3.read_logs(&csu(), &[bad, sound.clone()], &[]);
        assert!(matches!(&readings[0], LogReading::Reject { why, .. } if !why.is_empty()), "{readings:?}");
        assert!(matches!(&readings[1], LogReading::Leg(_)));
    }
}

#[test]
fn event_reads_ask_for_both_tokens_once() {
    let layout = Pool::v3_0(vec![usdc()]).discover();
    let logs = [log(&liquidation(0xa1), 1, 0), log(&liquidation(0xa2), 1, 1)];
    let calls = AaveV3.event_reads(&csu(), &layout, &logs.iter().collect::<Vec<_>>());
    let prices: Vec<_> =
        calls.iter().filter(|call| call.key == key::PRICE).map(|call| call.item.clone()).collect();
    assert_eq!(prices, [item(USDC), item(NEW)]);
    assert_eq!(calls.len(), 4 + 2 * 4);
}

#[test]
fn the_earliest_touch_of_the_day_is_witness_that_its_logs_are_held() {
    let touched = |asset, touched| Reserve { asset, touched, ..usdc() };
    let witness = |pool: Pool, timestamp| {
        let since = DayStart { block: 1, timestamp };
        AaveV3.witness(&csu(), &pool.reads(&pool.discover()), since)
    };
    let pool = || Pool::v3_0(vec![touched(USDC, 900), touched(NEW, 1_500), touched(GHO, 1_200)]);
    let found = witness(pool(), 1_000).unwrap();
    assert_eq!((found.at, found.filter.addresses.as_slice()), (At::Time(1_200), [POOL].as_slice()));
    assert!(found.filter.topic0.contains(&IPool::ReserveDataUpdated::SIGNATURE_HASH));
    assert_eq!(witness(pool(), 1_600), None, "nothing was touched that late");
    assert_eq!(witness(Pool::v3_0(vec![]), 0), None);
}

#[test]
fn a_fork_of_which_only_the_pool_is_known_names_its_provider() {
    let fork = Csu { entry_role: "pool".into(), entry: POOL, ..csu() };
    let pool = Pool::v3_0(vec![usdc()]);
    let layout = pool.discover_as(&fork);
    assert_eq!(layout, pool.discover(), "the same contracts, whichever door one enters by");
    let calls: Vec<CallRecord> =
        AaveV3.snapshot(&fork, &layout).into_iter().map(|call| pool.answer(call)).collect();
    assert_eq!(AaveV3.confirm(&fork, &layout, &Answers::new(&calls)), Ok(()));
    let snapshot = AaveV3.read_snapshot(&fork, &pool.reads(&layout), BlockPace::default()).unwrap();
    assert_eq!(snapshot.reserves[0].supplied, Some(U256::from(1_000)));

    let mut moved = layout;
    moved.roots.insert(part::PROVIDER.to_owned(), USDC);
    let drift = AaveV3.confirm(&fork, &moved, &Answers::new(&calls)).unwrap_err();
    assert_eq!(drift.what, "the addresses provider");

    // A contract that is no pool has no such function.
    let stranger = Call::new(key::PROVIDER, "", POOL, &IPool::ADDRESSES_PROVIDERCall {});
    let answers = [stranger.answered(true, Bytes::new())];
    let error = AaveV3.discover(&fork, &Answers::new(&answers), &[]).unwrap_err();
    assert!(matches!(error.why, Missing::NoCode { .. }), "{error}");
}
