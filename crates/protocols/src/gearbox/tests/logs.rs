//! The logs of a day.

use super::*;
use proptest::prelude::*;

const ACCOUNT: Address = Address::repeat_byte(0xa1);
const OTHER: Address = Address::repeat_byte(0xa2);
const LIQUIDATOR: Address = Address::repeat_byte(0xee);
const STETH: Address = Address::repeat_byte(0x74);

fn log<E: SolEvent>(event: &E, emitter: Address, tx: u8, log_index: u64) -> RawLog {
    let data = event.encode_log_data();
    RawLog {
        address: emitter,
        topics: data.topics().to_vec(),
        data: data.data,
        block_number: 7,
        block_hash: B256::ZERO,
        transaction_hash: B256::repeat_byte(tx),
        transaction_index: 0,
        log_index,
    }
}

fn repay(manager: Address, principal: u64, profit: u64, loss: u64) -> IPool::Repay {
    IPool::Repay {
        creditManager: manager,
        borrowedAmount: U256::from(principal),
        profit: U256::from(profit),
        loss: U256::from(loss),
    }
}

fn v3(account: Address, remaining: u64) -> IFacadeV3::LiquidateCreditAccount {
    IFacadeV3::LiquidateCreditAccount {
        creditAccount: account,
        liquidator: LIQUIDATOR,
        to: OTHER,
        remainingFunds: U256::from(remaining),
    }
}

fn reads(deployment: &Deployment, logs: &[RawLog]) -> Vec<ReadsAtBlock> {
    let refs: Vec<&RawLog> = logs.iter().collect();
    let calls = Gearbox.event_reads(&csu(), &deployment.discover(), &refs).into_iter();
    vec![ReadsAtBlock { block: block(), calls: calls.map(|call| deployment.answer(call)).collect() }]
}

fn readings(logs: &[RawLog]) -> Vec<LogReading> {
    Gearbox.read_logs(&csu(), logs, &reads(&Deployment::new(), logs))
}

fn leg(reading: &LogReading) -> &Leg {
    match reading {
        LogReading::Leg(leg) => leg,
        other => panic!("{other:?}"),
    }
}

fn is_context(reading: &LogReading) -> bool {
    matches!(reading, LogReading::Context { .. })
}

fn why(reading: &LogReading) -> &str {
    match reading {
        LogReading::Reject { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_liquidation_takes_its_debt_from_the_repayment_before_it() {
    let logs =
        [log(&repay(MANAGER_A, 500, 12, 0), POOL, 1, 0), log(&v3(ACCOUNT, 33), facade(MANAGER_A), 1, 1)];
    let readings = readings(&logs);
    assert!(is_context(&readings[0]));
    let leg = leg(&readings[1]);
    assert_eq!((leg.debt, leg.collateral, leg.bad_debt), (Some((WETH, U256::from(500))), None, None));
    assert_eq!((leg.borrower, leg.liquidator), (Some(ACCOUNT), Some(LIQUIDATOR)));
    assert_eq!((leg.market_id.as_str(), leg.event), (item(POOL).as_str(), "LiquidateCreditAccount"));
    assert_eq!(leg.flags, ["debt_is_principal", "funds_remain"]);
}

#[test]
fn a_loss_comes_off_the_debt_and_what_is_not_covered_is_bad_debt() {
    let loss = IPool::IncurUncoveredLoss { creditManager: MANAGER_A, loss: U256::from(70) };
    let logs = [
        log(&loss, POOL, 1, 0),
        log(&repay(MANAGER_A, 500, 0, 90), POOL, 1, 1),
        log(&v3(ACCOUNT, 0), facade(MANAGER_A), 1, 2),
    ];
    let readings = readings(&logs);
    let (loss, full) = (leg(&readings[0]), leg(&readings[2]));
    assert_eq!(full.debt, Some((WETH, U256::from(410))));
    assert_eq!(full.flags, ["debt_is_principal"]);
    assert_eq!((loss.bad_debt, loss.debt), (Some((WETH, U256::from(70))), None));
    assert_eq!((loss.event, loss.borrower), ("IncurUncoveredLoss", Some(ACCOUNT)));
    assert_eq!(loss.liquidation, full.liquidation);
    assert_eq!(loss.flags, [] as [&str; 0]);
    let all_lost =
        [log(&repay(MANAGER_A, 500, 0, 510), POOL, 1, 0), log(&v3(ACCOUNT, 0), facade(MANAGER_A), 1, 1)];
    let readings = super::logs::readings(&all_lost);
    assert_eq!(leg(&readings[1]).debt, Some((WETH, U256::ZERO)), "not even interest was paid");
}

#[test]
fn versions_one_and_two_are_told_apart_by_topics_and_emitter() {
    let v2 = IFacadeV2::LiquidateCreditAccount {
        borrower: ACCOUNT,
        liquidator: LIQUIDATOR,
        to: OTHER,
        remainingFunds: U256::ZERO,
    };
    let expired = IFacadeV2::LiquidateExpiredCreditAccount {
        borrower: OTHER,
        liquidator: LIQUIDATOR,
        to: OTHER,
        remainingFunds: U256::from(1),
    };
    let v1 = IManagerV1::LiquidateCreditAccount {
        owner: ACCOUNT,
        liquidator: LIQUIDATOR,
        remainingFunds: U256::from(2),
    };
    let uncovered = IPool::UncoveredLoss { creditManager: MANAGER_V1, loss: U256::from(5) };
    let logs = [
        log(&repay(MANAGER_V2, 100, 0, 0), OLD_POOL, 1, 0),
        log(&v2, facade(MANAGER_V2), 1, 1),
        log(&repay(MANAGER_V2, 200, 0, 0), OLD_POOL, 2, 2),
        log(&expired, facade(MANAGER_V2), 2, 3),
        log(&uncovered, OLD_POOL, 3, 4),
        log(&repay(MANAGER_V1, 300, 0, 20), OLD_POOL, 3, 5),
        log(&v1, MANAGER_V1, 3, 6),
    ];
    assert_eq!((logs[1].topics.len(), logs[1].topics[0]), (4, logs_of_v3().topics[0]), "one signature");
    let readings = readings(&logs);
    let debt = |index: usize| leg(&readings[index]).debt;
    assert_eq!(debt(1), Some((USDC, U256::from(100))));
    assert_eq!(debt(3), Some((USDC, U256::from(200))));
    assert_eq!(debt(6), Some((USDC, U256::from(280))));
    assert_eq!(leg(&readings[3]).event, "LiquidateExpiredCreditAccount");
    assert_eq!(leg(&readings[4]).bad_debt, Some((USDC, U256::from(5))));
    assert_eq!(leg(&readings[4]).liquidation, leg(&readings[6]).liquidation);
    assert_eq!(leg(&readings[6]).borrower, Some(ACCOUNT));
}

fn logs_of_v3() -> RawLog {
    log(&v3(ACCOUNT, 0), facade(MANAGER_A), 9, 0)
}

fn partial() -> IFacadeV3::PartiallyLiquidateCreditAccount {
    IFacadeV3::PartiallyLiquidateCreditAccount {
        creditAccount: ACCOUNT,
        token: STETH,
        liquidator: LIQUIDATOR,
        repaidDebt: U256::from(90),
        seizedCollateral: U256::from(95),
        fee: U256::from(2),
    }
}

#[test]
fn a_partial_liquidation_names_its_own_amounts() {
    let logs =
        [log(&repay(MANAGER_3_1, 80, 1, 0), NEW_POOL, 1, 0), log(&partial(), facade(MANAGER_3_1), 1, 1)];
    let readings = readings(&logs);
    let leg = leg(&readings[1]);
    assert_eq!((leg.debt, leg.collateral), (Some((DAI, U256::from(90))), Some((STETH, U256::from(95)))));
    assert_eq!(
        (leg.event, leg.flags.as_slice()),
        ("PartiallyLiquidateCreditAccount", ["partial_liquidation"].as_slice())
    );
    let (prices, tokens) = Gearbox.read_event_prices(&csu(), &reads(&Deployment::new(), &logs)[0]);
    let priced: BTreeSet<_> = prices.iter().map(|price| price.token).collect();
    assert_eq!(priced, [DAI, STETH].into(), "the seized token is priced by the pool's oracle");
    assert_eq!(tokens.len(), 2);
}

#[test]
fn what_a_facade_seized_that_was_replaced_later_in_the_day_is_priced_at_its_block() {
    let replaced = Address::repeat_byte(0xbb);
    let logs = [log(&repay(MANAGER_3_1, 80, 1, 0), NEW_POOL, 1, 0), log(&partial(), replaced, 1, 1)];
    let (prices, _) = Gearbox.read_event_prices(&csu(), &reads(&Deployment::new(), &logs)[0]);
    assert!(prices.iter().any(|price| price.token == STETH), "{prices:?}");
}

#[test]
fn each_liquidation_of_a_transaction_has_a_repayment_of_its_own() {
    let logs = [
        log(&repay(MANAGER_A, 1, 0, 0), POOL, 1, 0),
        log(&repay(MANAGER_A, 100, 0, 0), POOL, 1, 1),
        log(&v3(ACCOUNT, 0), facade(MANAGER_A), 1, 2),
        log(&repay(MANAGER_B, 200, 0, 0), POOL, 1, 3),
        log(&v3(OTHER, 0), facade(MANAGER_B), 1, 4),
        log(&repay(MANAGER_A, 300, 0, 0), POOL, 1, 5),
        log(&v3(LIQUIDATOR, 0), facade(MANAGER_A), 1, 6),
        log(&repay(MANAGER_A, 999, 0, 0), POOL, 2, 7),
    ];
    let readings = readings(&logs);
    let debts: Vec<u64> = [2, 4, 6].map(|index| leg(&readings[index]).debt.unwrap().1.to::<u64>()).to_vec();
    assert_eq!(debts, [100, 200, 300]);
    let names: BTreeSet<_> = [2, 4, 6].map(|index| leg(&readings[index]).liquidation.clone()).into();
    assert_eq!(names.len(), 3);
    assert!([0, 1, 3, 5, 7].iter().all(|index| is_context(&readings[*index])));
}

#[test]
fn a_liquidation_without_its_repayment_is_a_reject_and_not_a_liquidation_of_nothing() {
    let logs = [
        log(&repay(MANAGER_B, 200, 0, 0), POOL, 1, 0),
        log(&v3(ACCOUNT, 0), facade(MANAGER_A), 1, 1),
        log(&repay(MANAGER_A, 200, 0, 0), POOL, 2, 2),
    ];
    let readings = readings(&logs);
    assert!(why(&readings[1]).contains("no repayment by credit manager"), "{readings:?}");
    let sound =
        [log(&repay(MANAGER_A, 500, 0, 0), POOL, 1, 0), log(&v3(ACCOUNT, 0), facade(MANAGER_A), 1, 1)];
    let unread = Gearbox.read_logs(&csu(), &sound, &[]);
    assert!(is_context(&unread[0]));
    assert!(why(&unread[1]).contains("was not read"), "{unread:?}");
    let mut half = reads(&Deployment::new(), &sound);
    half[0].calls.retain(|call| call.key != key::UNDERLYING);
    let unread = Gearbox.read_logs(&csu(), &sound, &half);
    assert!(why(&unread[1]).contains("the token of pool"), "{unread:?}");
}

#[test]
fn a_loss_that_no_liquidation_caused_says_so() {
    let loss = IPool::IncurUncoveredLoss { creditManager: MANAGER_A, loss: U256::from(70) };
    let logs = [log(&loss, POOL, 1, 0), log(&repay(MANAGER_A, 500, 0, 90), POOL, 1, 1)];
    let readings = readings(&logs);
    let loss = leg(&readings[0]);
    assert_eq!((loss.bad_debt, loss.borrower), (Some((WETH, U256::from(70))), None));
    assert_eq!(loss.flags, ["loss_without_liquidation"]);
}

#[test]
fn a_block_of_repayments_asks_nothing() {
    let deployment = Deployment::new();
    let repayments =
        [log(&repay(MANAGER_A, 1, 0, 0), POOL, 1, 0), log(&repay(MANAGER_B, 1, 0, 0), POOL, 2, 1)];
    assert_eq!(reads(&deployment, &repayments)[0].calls, []);
    assert!(readings(&repayments).iter().all(is_context));
    Gearbox.confirm(&csu(), &deployment.discover(), &Answers::default()).unwrap();
}

#[test]
fn a_facade_that_the_layout_no_longer_has_is_asked_for_its_manager() {
    let mut before = Deployment::new();
    let replaced = Address::repeat_byte(0x9a);
    before.managers[2].facade = replaced;
    let logs = [log(&repay(MANAGER_A, 500, 0, 0), POOL, 1, 0), log(&v3(ACCOUNT, 0), replaced, 1, 1)];
    let refs: Vec<&RawLog> = logs.iter().collect();
    // The layout of the day's end, the answers of the block.
    let calls = Gearbox.event_reads(&csu(), &Deployment::new().discover(), &refs).into_iter();
    let reads = ReadsAtBlock { block: block(), calls: calls.map(|call| before.answer(call)).collect() };
    let readings = Gearbox.read_logs(&csu(), &logs, &[reads]);
    assert_eq!(leg(&readings[1]).debt, Some((WETH, U256::from(500))));
}

#[test]
fn both_ends_of_a_day_are_listened_to() {
    let start = Deployment::new();
    let mut end = Deployment::new();
    end.managers[2].facade = Address::repeat_byte(0x9b);
    let filter = Gearbox.filter(&csu(), &[&start.discover(), &end.discover()]);
    let expected = [
        OLD_POOL,
        POOL,
        NEW_POOL,
        MANAGER_V1,
        facade(MANAGER_V2),
        facade(MANAGER_A),
        Address::repeat_byte(0x9b),
    ];
    assert!(expected.iter().all(|address| filter.addresses.contains(address)), "{filter:?}");
    assert_eq!(filter.topic0.len(), 7, "versions 2 and 3 share one");
    assert!(filter.matches(&logs_of_v3()));
}

#[test]
fn the_oracle_is_asked_for_again_at_the_event() {
    let deployment = Deployment::new();
    let layout = deployment.discover();
    let logs = [log(&repay(MANAGER_A, 500, 0, 0), POOL, 1, 0), log(&v3(ACCOUNT, 0), facade(MANAGER_A), 1, 1)];
    Gearbox.confirm(&csu(), &layout, &Answers::new(&reads(&deployment, &logs)[0].calls)).unwrap();
    let mut repriced = deployment.clone();
    repriced.oracle = Address::repeat_byte(0x97);
    let refs: Vec<&RawLog> = logs.iter().collect();
    let calls: Vec<CallRecord> =
        Gearbox.event_reads(&csu(), &layout, &refs).into_iter().map(|call| repriced.answer(call)).collect();
    let drift = Gearbox.confirm(&csu(), &layout, &Answers::new(&calls)).unwrap_err();
    assert_eq!(drift.what, format!("the price oracle of pool {}", item(POOL)));
}

#[test]
fn a_log_of_another_shape_is_a_reject_with_its_reason() {
    let sound = logs_of_v3();
    let mut short = sound.clone();
    short.data = Bytes::from(short.data[..32].to_vec());
    let mut unindexed = sound.clone();
    unindexed.topics.truncate(2);
    let mut bare = sound.clone();
    bare.topics.clear();
    let mut dirty = sound.clone();
    dirty.topics[1] = B256::repeat_byte(0xff);
    let mut long = log(&repay(MANAGER_A, 1, 0, 0), POOL, 1, 0);
    long.data = Bytes::from(vec![0; 128]);
    for bad in [short, unindexed, bare, dirty, long] {
        let readings = Gearbox.read_logs(&csu(), &[bad], &[]);
        assert!(
            matches!(readings.as_slice(), [LogReading::Reject { why, .. }] if !why.is_empty()),
            "{readings:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_answer_and_no_log_makes_it_panic(
        output in prop::collection::vec(any::<u8>(), 0..260),
        ok: bool,
        which in 0_usize..200,
        topics in prop::collection::vec(any::<[u8; 32]>(), 0..5),
        kind in 0_usize..8,
    ) {
        let deployment = Deployment::new();
        let layout = deployment.discover();
        let mut reads = deployment.reads(&layout);
        let index = which % reads.calls.len();
        reads.calls[index].ok = ok;
        reads.calls[index].output = output.clone().into();
        let _ = Gearbox.read_snapshot(&csu(), &reads, BlockPace::default());
        let _ = Gearbox.witness(&csu(), &reads, 0.into());
        let _ = Gearbox.confirm(&csu(), &layout, &Answers::new(&reads.calls));
        let _ = Gearbox.read_event_prices(&csu(), &reads);
        let _ = Gearbox.discover(&csu(), &Answers::new(&reads.calls), &[]);
        let known = Gearbox.filter(&csu(), &[&layout]).topic0;
        let mut topics: Vec<B256> = topics.iter().map(|topic| B256::from(*topic)).collect();
        if let (Some(first), Some(hash)) = (topics.first_mut(), known.get(kind)) {
            *first = *hash;
        }
        let log = RawLog { topics, data: output.into(), ..logs_of_v3() };
        let _ = Gearbox.event_reads(&csu(), &layout, &[&log]);
        prop_assert_eq!(Gearbox.read_logs(&csu(), std::slice::from_ref(&log), &[reads]).len(), 1);
    }
}
