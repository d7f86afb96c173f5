//! The logs of a day.

use super::*;

pub(super) fn log<E: SolEvent>(event: &E, emitter: Address, tx: u8, log_index: u64) -> RawLog {
    let data = event.encode_log_data();
    RawLog {
        address: emitter,
        topics: data.topics().to_vec(),
        data: data.data,
        block_number: 79,
        block_hash: B256::ZERO,
        transaction_hash: B256::repeat_byte(tx),
        transaction_index: 0,
        log_index,
    }
}

fn legs(csu: &Csu, logs: &[RawLog], reads: &[ReadsAtBlock]) -> Vec<Leg> {
    MorphoBlue
        .read_logs(csu, logs, reads)
        .into_iter()
        .map(|reading| match reading {
            LogReading::Leg(leg) => *leg,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn liquidations_of_the_real_contract_keep_bad_debt_apart_from_what_was_repaid() {
    let recorded = Recorded::load();
    let csu = recorded.csu();
    let params = params_in(&recorded.layout(&csu).markets[0]).unwrap().1;
    assert!(recorded.liquidations.iter().all(|log| MorphoBlue.filter(&csu, &[]).matches(log)));
    let legs = legs(&csu, &recorded.liquidations, &recorded.event_reads());
    let [partial, full] = legs.as_slice() else { panic!("{legs:?}") };
    let usdc = |raw: u64| Some((params.loanToken, U256::from(raw)));
    let weth =
        |whole: u64| Some((params.collateralToken, U256::from(whole) * U256::from(adaptive_curve::WAD)));
    // 50 WETH at 2,450 and 100 WETH at 1,800, less the bonus of 4.3841 per cent, rounded up twice.
    assert_eq!((partial.debt, partial.collateral, partial.bad_debt), (usdc(117_355_000_002), weth(50), None));
    assert_eq!((full.debt, full.collateral), (usdc(172_440_000_002), weth(100)));
    assert_eq!(full.bad_debt, usdc(41_861_084_659));
    let party = |text: &str| Some(text.parse::<Address>().unwrap());
    assert_eq!(partial.liquidator, party("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"));
    assert_eq!(partial.borrower, party("0x70997970c51812dc3a010c7d01b50e0d17dc79c8"));
    assert_eq!(partial.market_id, recorded.expected.markets[0].id);
    assert_ne!(partial.liquidation, full.liquidation);
}

#[test]
fn a_liquidation_is_priced_by_its_markets_oracle_at_its_block() {
    let recorded = Recorded::load();
    let values: Vec<_> = recorded
        .event_reads()
        .iter()
        .map(|reads| {
            let (prices, tokens) = MorphoBlue.read_event_prices(&recorded.csu(), reads);
            let [price] = prices.as_slice() else { panic!("{prices:?}") };
            let decimals: Vec<_> = tokens.iter().map(|token| token.decimals).collect();
            assert_eq!(decimals.len(), 2);
            lake::amount::ratio(price.raw.clone().unwrap(), price.unit.clone().unwrap())
        })
        .collect();
    assert_eq!(values, [Some(2_450.0), Some(1_800.0)]);
}

#[test]
fn a_broker_that_writes_off_debt_repaid_nothing() {
    let recorded = Recorded::load();
    let id = recorded.liquidations[0].topics[1];
    let event = |repaid: u64, seized: u64, bad: u64| IMorpho::Liquidate {
        id,
        caller: Address::repeat_byte(0xee),
        borrower: Address::repeat_byte(0xa1),
        repaidAssets: U256::from(repaid),
        repaidShares: U256::from(repaid * 1_000),
        seizedAssets: U256::from(seized),
        badDebtAssets: U256::from(bad),
        badDebtShares: U256::from(bad * 1_000),
    };
    let logs = [
        log(&event(90, 40, 0), recorded.morpho, 1, 0),
        log(&event(10, 0, 10), recorded.morpho, 1, 1),
        log(&event(10, 0, 9), recorded.morpho, 1, 2),
    ];
    let reads = recorded.event_reads();
    let repaid = |csu: &Csu| -> Vec<_> {
        legs(csu, &logs, &reads).iter().map(|leg| leg.debt.unwrap().1.to::<u64>()).collect()
    };
    assert_eq!(repaid(&recorded.moolah()), [90, 0, 10]);
    assert_eq!(repaid(&recorded.csu()), [90, 10, 10], "Morpho Blue has no brokers");
    let moolah = legs(&recorded.moolah(), &logs, &reads);
    assert_eq!(moolah[1].bad_debt.unwrap().1, U256::from(10));
    assert_eq!((moolah[0].flags.len(), moolah[1].flags.as_slice()), (0, ["broker_bad_debt"].as_slice()));
    assert_eq!(moolah[0].liquidation, moolah[1].liquidation, "one borrower, one market, one transaction");
}

#[test]
fn a_log_of_another_shape_or_an_unknown_market_is_a_reject_with_its_reason() {
    let recorded = Recorded::load();
    let reads = recorded.event_reads();
    let sound = recorded.liquidations[0].clone();
    let mut short = sound.clone();
    short.data = Bytes::from(short.data[..128].to_vec());
    let mut unindexed = sound.clone();
    unindexed.topics.truncate(3);
    let mut bare = sound.clone();
    bare.topics.clear();
    let mut dirty = sound.clone();
    dirty.topics[2] = B256::repeat_byte(0xff);
    let mut unknown = sound.clone();
    unknown.topics[1] = B256::repeat_byte(0x07);
    let mut unread = sound.clone();
    unread.block_number += 1_000;
    for bad in [short, unindexed, bare, dirty, unknown, unread] {
        let readings = MorphoBlue.read_logs(&recorded.csu(), &[bad, sound.clone()], &reads);
        assert!(matches!(&readings[0], LogReading::Reject { why, .. } if !why.is_empty()), "{readings:?}");
        assert!(matches!(&readings[1], LogReading::Leg(_)));
    }
}
