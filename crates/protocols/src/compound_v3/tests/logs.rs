//! Absorptions: legs, bad debt, what is read at their blocks; and that no input makes a decoder panic.

use super::*;
use proptest::prelude::*;

fn log<E: SolEvent>(event: &E, tx: u8, log_index: u64) -> RawLog {
    let data = event.encode_log_data();
    RawLog {
        address: COMET,
        topics: data.topics().to_vec(),
        data: data.data,
        block_number: 7,
        block_hash: B256::ZERO,
        transaction_hash: B256::repeat_byte(tx),
        transaction_index: 0,
        log_index,
    }
}

fn debt(borrower: u8, paid_out: u128, value: u64) -> IComet::AbsorbDebt {
    IComet::AbsorbDebt {
        absorber: Address::repeat_byte(0xee),
        borrower: Address::repeat_byte(borrower),
        basePaidOut: U256::from(paid_out),
        usdValue: U256::from(value),
    }
}

fn collateral(borrower: u8, asset: Address, value: u64) -> IComet::AbsorbCollateral {
    IComet::AbsorbCollateral {
        absorber: Address::repeat_byte(0xee),
        borrower: Address::repeat_byte(borrower),
        asset,
        collateralAbsorbed: U256::from(3),
        usdValue: U256::from(value),
    }
}

fn legs(logs: &[RawLog]) -> Vec<Leg> {
    let reads = usdc_market().event_reads(&csu(), logs);
    CompoundV3
        .read_logs(&csu(), logs, &[reads])
        .into_iter()
        .map(|reading| match reading {
            LogReading::Leg(leg) => *leg,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn an_absorption_is_one_liquidation_with_a_leg_a_log() {
    let legs = legs(&[
        log(&collateral(0xa1, WETH, 60), 1, 0),
        log(&collateral(0xa1, WBTC, 50), 1, 1),
        log(&debt(0xa1, 104, 104), 1, 2),
        log(&collateral(0xa2, WETH, 10), 1, 3),
        log(&debt(0xa2, 9, 9), 1, 4),
    ]);
    assert_eq!(legs[0].liquidation, legs[2].liquidation);
    assert_eq!(legs[1].liquidation, legs[2].liquidation);
    assert_ne!(legs[3].liquidation, legs[2].liquidation, "two accounts of one transaction");
    assert_eq!(
        (legs[0].event, legs[0].collateral, legs[0].debt),
        ("AbsorbCollateral", Some((WETH, U256::from(3))), None)
    );
    assert_eq!(
        (legs[2].event, legs[2].debt, legs[2].collateral),
        ("AbsorbDebt", Some((BASE, U256::from(104))), None)
    );
    let parties = (Some(Address::repeat_byte(0xee)), Some(Address::repeat_byte(0xa1)));
    assert_eq!((legs[2].liquidator, legs[2].borrower), parties);
    // What is over was credited to the borrower: 7 base units to the first, nothing to the second.
    assert_eq!((legs[2].bad_debt, legs[4].bad_debt), (Some((BASE, U256::ZERO)), Some((BASE, U256::ZERO))));
    assert_eq!(
        (legs[2].flags.as_slice(), legs[4].flags.as_slice()),
        (["paid_beyond_debt"].as_slice(), [].as_slice())
    );
}

#[test]
fn bad_debt_is_the_debt_that_the_collateral_at_its_liquidation_factor_does_not_cover() {
    let bad = |logs: &[RawLog]| legs(logs).pop().unwrap().bad_debt.unwrap().1;
    // 100 x 0.95 + 40 x 0.95 = 133 of 200: a third and a bit of 2,000,000 base units is left.
    let short = |value| {
        [
            log(&collateral(0xa1, WETH, 100), 1, 0),
            log(&collateral(0xa1, WBTC, 40), 1, 1),
            log(&debt(0xa1, 2_000_000, value), 1, 2),
        ]
    };
    assert_eq!(bad(&short(200)), U256::from(670_000));
    // What was paid out is never worth more than what was credited unless there is a shortfall.
    assert_eq!((bad(&short(133)), bad(&short(132))), (U256::ZERO, U256::ZERO));
    // An account without collateral left is all bad debt, and dust is worth nothing.
    assert_eq!(bad(&[log(&debt(0xa1, 500, 5), 1, 0)]), U256::from(500));
    assert_eq!(bad(&[log(&debt(0xa1, 1, 0), 1, 0)]), U256::ZERO);
    // The same borrower in another transaction, and another one in this, are not asked to pay.
    let others = [
        log(&collateral(0xa1, WETH, 100), 1, 0),
        log(&collateral(0xa2, WETH, 100), 2, 1),
        log(&debt(0xa1, 500, 5), 2, 2),
    ];
    assert_eq!(bad(&others), U256::from(500));
}

#[test]
fn bad_debt_without_the_liquidation_factor_is_unknown_and_says_so() {
    let logs = [log(&collateral(0xa1, WETH, 100), 1, 0), log(&debt(0xa1, 500, 500), 1, 1)];
    let mut reads = usdc_market().event_reads(&csu(), &logs);
    for call in reads.calls.iter_mut().filter(|call| call.key == key::INFO_OF) {
        call.ok = false;
    }
    let readings = CompoundV3.read_logs(&csu(), &logs, &[reads]);
    let LogReading::Leg(leg) = &readings[1] else { panic!("{readings:?}") };
    assert_eq!((leg.bad_debt, leg.flags.as_slice()), (None, ["bad_debt_unknown"].as_slice()));
    assert_eq!(leg.debt, Some((BASE, U256::from(500))));
}

#[test]
fn a_log_of_another_shape_is_a_reject_with_its_reason() {
    let sound = log(&collateral(0xa1, WETH, 1), 1, 0);
    let mut short = sound.clone();
    short.data = Bytes::from(short.data[..32].to_vec());
    let mut unindexed = sound.clone();
    unindexed.topics.truncate(3);
    let mut bare = sound.clone();
    bare.topics.clear();
    let mut dirty = sound.clone();
    dirty.topics[1] = B256::repeat_byte(0xff);
    for bad in [short, unindexed, bare, dirty] {
        let readings = CompoundV3.read_logs(&csu(), &[bad, sound.clone()], &[]);
        assert!(matches!(&readings[0], LogReading::Reject { why, .. } if !why.is_empty()), "{readings:?}");
        assert!(matches!(&readings[1], LogReading::Leg(_)));
    }
    let readings = CompoundV3.read_logs(&csu(), &[log(&debt(0xa1, 1, 1), 1, 0)], &[]);
    assert!(matches!(&readings[0], LogReading::Reject { .. }), "no block named the base token: {readings:?}");
}

#[test]
fn event_reads_price_the_base_token_and_what_was_seized_and_confirm_their_feeds() {
    let logs = [log(&collateral(0xa1, WETH, 1), 1, 0), log(&debt(0xa1, 1, 1), 1, 1)];
    let csu = csu_in_base_tokens();
    let reads = weth_market().event_reads(&csu, &logs);
    let (prices, tokens) = CompoundV3.read_event_prices(&csu, &reads);
    // The feed of a token that the layout does not list is not known, so it is not priced.
    assert_eq!(prices.iter().map(|price| price.token).collect::<Vec<_>>(), [BASE]);

    let layout = usdc_market().discover();
    let reads = usdc_market().event_reads(&csu, &logs);
    let (prices, _) = CompoundV3.read_event_prices(&csu, &reads);
    assert_eq!(prices.iter().map(|price| price.token).collect::<Vec<_>>(), [BASE, WETH]);
    assert_eq!((prices[0].source, prices[1].quote), (PriceSource::Chainlink, Quote::Token(BASE)));
    assert_eq!(tokens.len(), 1);
    let confirm = |layout: &Layout| CompoundV3.confirm(&csu, layout, &Answers::new(&reads.calls));
    confirm(&layout).unwrap();
    let mut without = layout.clone();
    without.markets.remove(0);
    assert_eq!(
        confirm(&without).unwrap_err().what,
        format!("the price feed of collateral token {}", item(WETH))
    );
    let mut other_base_feed = layout;
    other_base_feed.roots.insert("price_feed".to_owned(), COMET);
    assert_eq!(confirm(&other_base_feed).unwrap_err().what, "the price feed of the base token");
}

fn arbitrary_log() -> impl Strategy<Value = RawLog> {
    let known = prop_oneof![
        Just(IComet::AbsorbDebt::SIGNATURE_HASH),
        Just(IComet::AbsorbCollateral::SIGNATURE_HASH),
        any::<[u8; 32]>().prop_map(B256::from),
    ];
    let topics = (known, prop::collection::vec(any::<[u8; 32]>().prop_map(B256::from), 0..4));
    let data = prop_oneof![
        prop::collection::vec(any::<u8>(), 64..65),
        prop::collection::vec(any::<u8>(), 0..200),
        Just(vec![0xff; 64]),
    ];
    (topics, data, 0_u8..3, 0_u64..3).prop_map(|((first, rest), data, tx, block_number)| RawLog {
        address: COMET,
        topics: std::iter::once(first).chain(rest).collect(),
        data: data.into(),
        block_number,
        block_hash: B256::ZERO,
        transaction_hash: B256::repeat_byte(tx),
        transaction_index: 0,
        log_index: 0,
    })
}

proptest! {
    #[test]
    fn no_log_is_lost_or_makes_the_decoder_panic(logs in prop::collection::vec(arbitrary_log(), 0..8)) {
        let reads = usdc_market().event_reads(&csu(), &logs);
        prop_assert_eq!(CompoundV3.read_logs(&csu(), &logs, &[reads]).len(), logs.len());
        prop_assert_eq!(CompoundV3.read_logs(&csu(), &logs, &[]).len(), logs.len());
    }

    #[test]
    fn no_answer_makes_the_decoder_panic(
        spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)), 0..6),
        in_base_tokens in any::<bool>(),
    ) {
        let csu = if in_base_tokens { csu_in_base_tokens() } else { csu() };
        let layout = usdc_market().discover();
        let mut reads = usdc_market().reads(&csu, &layout);
        for (index, ok, output) in spoil {
            let call = index.index(reads.calls.len());
            (reads.calls[call].ok, reads.calls[call].output) = (ok, output.into());
        }
        let answers = Answers::new(&reads.calls);
        let _drift = CompoundV3.confirm(&csu, &layout, &answers);
        let _step = CompoundV3.discover(&csu, &answers, &[]);
        let _prices = CompoundV3.read_event_prices(&csu, &reads);
        if let Ok(snapshot) = CompoundV3.read_snapshot(&csu, &reads, BlockPace::default()) {
            prop_assert!(snapshot.reserves.len() == snapshot.prices.len());
        }
    }

    #[test]
    fn bad_debt_never_exceeds_what_was_paid_out(paid in any::<u128>(), value in any::<u64>(), seized in any::<u64>()) {
        let logs = [log(&collateral(0xa1, WETH, seized), 1, 0), log(&debt(0xa1, paid, value), 1, 1)];
        let bad = legs(&logs).pop().and_then(|leg| leg.bad_debt).map(|(_, amount)| amount);
        prop_assert!(bad.is_some_and(|bad| bad <= U256::from(paid)));
    }
}
