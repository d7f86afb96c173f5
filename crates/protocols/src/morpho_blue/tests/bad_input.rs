//! Answers, histories and logs that are wrong.

use super::*;
use proptest::prelude::*;

#[test]
fn an_oracle_that_reverts_takes_the_price_of_its_own_market_alone() {
    let recorded = Recorded::load();
    let layout = recorded.layout(&recorded.csu());
    let params = params_in(&layout.markets[0]).unwrap().1;
    let reads = recorded.reads(&recorded.csu());
    let is_oracle = |call: &CallRecord| call.key == key::PRICE && call.to == params.oracle;
    let spoiled = spoil(&reads, is_oracle, (false, Bytes::new()));
    let (before, after) = (read(&recorded.csu(), &reads), read(&recorded.csu(), &spoiled));
    assert_eq!(before.reserves, after.reserves, "no figure depends on a price");
    let failed: Vec<_> = after.prices.iter().filter(|price| price.raw.is_err()).collect();
    assert_eq!(
        failed,
        [] as [&PriceAnswer; 0],
        "the other market of the pair answers, although nothing is lent there"
    );
    let both = spoil(
        &reads,
        |call| call.key == key::PRICE && call.item != layout.markets[2].id,
        (false, Bytes::new()),
    );
    let both = read(&recorded.csu(), &both);
    let weth = both.prices.iter().find(|price| price.token == params.collateralToken).unwrap();
    assert!(matches!(weth.raw, Err(Missing::Reverted { .. })), "{weth:?}");
    assert_eq!(both.prices.iter().filter(|price| price.raw.is_ok()).count(), 1);
}

#[test]
fn a_price_of_zero_stays_zero_and_prices_nothing() {
    let recorded = Recorded::load();
    let reads = recorded.reads(&recorded.csu());
    let zero = read(&recorded.csu(), &spoil(&reads, |call| call.key == key::PRICE, word(0)));
    assert!(zero.prices.iter().all(|price| price.raw == Ok(U256::ZERO)), "transform says `not_positive`");
}

#[test]
fn stale_totals_are_never_given_for_accrued_ones() {
    let recorded = Recorded::load();
    let csu = recorded.csu();
    let reads = recorded.reads(&csu);
    let first = recorded.expected.markets[0].id.clone();
    let nested = |results: Vec<(bool, Bytes)>| -> Bytes {
        let results = results
            .into_iter()
            .map(|(success, data)| crate::multicall::IMulticall3::Result { success, returnData: data })
            .collect::<Vec<_>>();
        crate::multicall::IMulticall3::aggregate3Call::abi_encode_returns(&results).into()
    };
    let stored = Answers::new(&reads.calls).value::<IMorpho::marketCall>(key::MARKET, &first).unwrap();
    let one_sided = State {
        lastUpdate: u128::from(reads.block.timestamp),
        totalBorrowAssets: stored.totalBorrowAssets + 1,
        ..stored.clone()
    };
    let state = |state: &State| (true, Bytes::from(state.abi_encode()));
    let nothing = (true, Bytes::new());
    let cases = [
        (lost(), "there is no contract at 0xcA11bde05977b3631167028862bE2a173976CA11"),
        ((false, Bytes::new()), "reverted"),
        ((true, nested(vec![nothing.clone(), state(&stored)])), "not at the block's time"),
        ((true, nested(vec![nothing.clone(), state(&one_sided)])), "did not grow by the same interest"),
        ((true, nested(vec![(false, Bytes::new()), state(&stored)])), "not two that succeeded"),
        ((true, nested(vec![state(&stored)])), "1 answers inside"),
        ((true, nested(vec![nothing.clone(), nothing])), "0 bytes that are not its type"),
    ];
    for (answer, why) in cases {
        let spoiled = spoil(&reads, |call| call.key == key::ACCRUED && call.item == first, answer);
        let snapshot = read(&csu, &spoiled);
        let figures = row(&snapshot, &first);
        assert_eq!((figures.supplied, figures.borrowed), (None, None));
        let [missing] = figures.missing.as_slice() else { panic!("{:?}", figures.missing) };
        assert!(missing.to_string().contains(why), "{missing}\ndoes not say: {why}");
        let whole = read(&csu, &reads);
        for (others, neighbours) in snapshot.reserves.iter().zip(&whole.reserves).skip(1) {
            assert_eq!(others, neighbours, "the neighbour of {first} changed");
        }
    }
}

#[test]
fn where_nothing_accrues_stored_totals_are_enough() {
    let recorded = Recorded::load();
    let reads = spoil(&recorded.reads(&recorded.csu()), |call| call.key == key::ACCRUED, lost());
    let snapshot = read(&recorded.csu(), &reads);
    let known: Vec<bool> = recorded
        .expected
        .markets
        .iter()
        .map(|market| row(&snapshot, &market.id).supplied.is_some())
        .collect();
    // No rate model, or no debt.
    assert_eq!(known, [false, false, false, true, true, true, false]);
}

#[test]
fn a_rate_model_that_does_not_give_the_accrued_interest_is_not_believed() {
    let recorded = Recorded::load();
    let reads = recorded.reads(&recorded.csu());
    let first = &recorded.expected.markets[0].id;
    let spoiled =
        spoil(&reads, |call| call.key == key::RATE_AT_TARGET && call.item == *first, word(1_268_391_680));
    let snapshot = read(&recorded.csu(), &spoiled);
    let market = row(&snapshot, first);
    assert_eq!((market.borrow_apr, market.supply_apr), (None, None));
    assert_eq!(market.flags, ["rate_model_unknown"]);
    assert_eq!(
        market.supplied,
        amount(&recorded.expected.markets[0].supply),
        "the totals are the contract's own"
    );
}

#[test]
fn every_answer_that_is_lost_is_missing_and_leaves_the_neighbours_alone() {
    let recorded = Recorded::load();
    let csu = recorded.csu();
    let reads = recorded.reads(&csu);
    let whole = read(&csu, &reads);
    let lent = &recorded.expected.markets[6].id;
    for name in [key::MARKET, key::ACCRUED] {
        let spoiled = read(&csu, &spoil(&reads, |call| call.key == name && call.item == *lent, lost()));
        assert!(!row(&spoiled, lent).missing.is_empty(), "{name} was lost without a word");
        let others = |snapshot: &Snapshot| -> Vec<_> {
            snapshot.reserves.iter().filter(|row| row.market_id != *lent).cloned().collect()
        };
        assert_eq!(others(&spoiled), others(&whole), "{name} spoiled a neighbour");
    }
    let wbtc = params_in(&recorded.layout(&csu).markets[6]).unwrap().1.collateralToken;
    for name in [key::BALANCE, token::DECIMALS] {
        let spoiled = read(&csu, &spoil(&reads, |call| call.key == name && call.item == item(wbtc), lost()));
        let partial: Vec<_> = spoiled.reserves.iter().filter(|row| !row.missing.is_empty()).collect();
        let [partial] = partial.as_slice() else { panic!("{name}: {partial:?}") };
        assert_eq!((partial.token, partial.role), (wbtc, Role::Collateral));
    }
}

#[test]
fn an_empty_market_of_tokens_that_are_none_spoils_nothing() {
    let recorded = Recorded::load();
    let csu = recorded.csu();
    let junk = MarketParams {
        loanToken: Address::repeat_byte(0xd1),
        collateralToken: Address::repeat_byte(0xd2),
        oracle: Address::repeat_byte(0xd3),
        ..params_in(&recorded.layout(&csu).markets[0]).unwrap().1
    };
    let id = format!("{:#x}", junk.id());
    let mut layout = recorded.layout(&csu);
    layout.markets.push(Market { id: id.clone(), contracts: junk.parts() });
    let reads_with = |borrowed: u128| {
        let state = State {
            totalSupplyAssets: borrowed,
            totalSupplyShares: 0,
            totalBorrowAssets: borrowed,
            totalBorrowShares: 0,
            lastUpdate: u128::from(recorded.last().block.timestamp),
            fee: 0,
        };
        let calls = MorphoBlue.snapshot(&csu, &layout).into_iter().map(|call| {
            if call.key == key::MARKET && call.item == id {
                return call.answered(true, state.abi_encode().into());
            }
            recorded.answer(recorded.last(), call)
        });
        ReadsAtBlock { block: recorded.last().block, calls: calls.collect() }
    };
    let snapshot = read(&csu, &reads_with(0));
    assert!(snapshot.reserves.iter().all(|row| row.missing.is_empty()), "{:?}", snapshot.reserves);
    assert_eq!((row(&snapshot, &id).supplied, row(&snapshot, &id).borrowed), (amount("0"), amount("0")));
    assert!(snapshot.reserves.iter().all(|row| row.token != junk.collateralToken));
    // With something in it the same market is partial, and so is the collateral behind it.
    let snapshot = read(&csu, &reads_with(5));
    let partial: Vec<_> = snapshot.reserves.iter().filter(|row| !row.missing.is_empty()).collect();
    assert_eq!(
        partial.iter().map(|row| row.token).collect::<Vec<_>>(),
        [junk.loanToken, junk.collateralToken]
    );
}

#[test]
fn without_a_markets_cash_the_collateral_of_its_loan_token_is_not_known() {
    let recorded = Recorded::load();
    let csu = recorded.csu();
    let lends_weth = &recorded.expected.markets[1].id;
    let reads =
        spoil(&recorded.reads(&csu), |call| call.key == key::MARKET && call.item == *lends_weth, lost());
    let weth = params_in(&recorded.layout(&csu).markets[1]).unwrap().1.loanToken;
    let snapshot = read(&csu, &reads);
    let collateral: Vec<_> = snapshot.reserves.iter().filter(|row| row.role == Role::Collateral).collect();
    for row in collateral {
        assert_eq!(row.supplied.is_none(), row.token == weth, "{row:?}");
    }
}

#[test]
fn a_balance_below_the_cash_of_its_markets_is_a_gap_and_no_collateral() {
    let recorded = Recorded::load();
    let csu = recorded.csu();
    let weth = params_in(&recorded.layout(&csu).markets[0]).unwrap().1.collateralToken;
    let reads =
        spoil(&recorded.reads(&csu), |call| call.key == key::BALANCE && call.item == item(weth), word(1));
    let snapshot = read(&csu, &reads);
    let row = snapshot.reserves.iter().find(|row| row.role == Role::Collateral && row.token == weth).unwrap();
    assert_eq!(row.supplied, None);
    assert!(row.identity_gap.unwrap().is_negative());
    assert!(row.missing[0].to_string().ends_with("it is less than the cash of the token's markets"));
}

#[test]
fn an_entry_that_is_no_morpho_contract_is_told_as_such() {
    let recorded = Recorded::load();
    let csu = recorded.csu();
    let Discovery::Ask(calls) = MorphoBlue.discover(&csu, &Answers::default(), &[]).unwrap() else {
        panic!("nothing was asked yet")
    };
    for (answer, why) in [(lost(), "there is no contract at"), ((false, Bytes::new()), "reverted")] {
        let records: Vec<_> =
            calls.iter().cloned().map(|call| call.answered(answer.0, answer.1.clone())).collect();
        let error = MorphoBlue.discover(&csu, &Answers::new(&records), &recorded.history).unwrap_err();
        assert!(error.to_string().starts_with("the fee recipient of a Morpho Blue contract: "), "{error}");
        assert!(error.to_string().contains(why), "{error}");
        let reads = spoil(&recorded.reads(&csu), |call| call.key == key::FEE_RECIPIENT, answer);
        MorphoBlue.read_snapshot(&csu, &reads, BlockPace::default()).unwrap_err();
        let layout = recorded.layout(&csu);
        MorphoBlue.confirm(&csu, &layout, &Answers::new(&reads.calls)).unwrap_err();
    }
}

#[test]
fn a_history_that_contradicts_itself_is_refused() {
    let recorded = Recorded::load();
    let records = [root_call(recorded.morpho).answered(true, Address::ZERO.abi_encode().into())];
    let refusal = |history: &[RawLog]| {
        MorphoBlue.discover(&recorded.csu(), &Answers::new(&records), history).unwrap_err().to_string()
    };
    let mut other_id = recorded.history[0].clone();
    other_id.topics[1] = B256::repeat_byte(7);
    assert!(refusal(&[other_id]).contains("is not the hash of its parameters"));
    let mut short = recorded.history[0].clone();
    short.data = Bytes::from(short.data[..96].to_vec());
    assert!(refusal(&[short]).contains("96 bytes of data, not 160"));
    assert!(refusal(&recorded.liquidations).contains("unknown first topic"));
    let mut params = params_in(&recorded.layout(&recorded.csu()).markets[0]).unwrap().1;
    params.lltv = U256::from(adaptive_curve::WAD);
    let impossible =
        logs::log(&IMorpho::CreateMarket { id: params.id(), marketParams: params }, recorded.morpho, 1, 0);
    assert!(refusal(&[impossible]).contains("has a threshold of one or more"));
}

#[test]
fn a_layout_holds_until_it_names_a_market_that_is_not_there() {
    let recorded = Recorded::load();
    let csu = recorded.csu();
    let (layout, reads) = (recorded.layout(&csu), recorded.reads(&csu));
    MorphoBlue.confirm(&csu, &layout, &Answers::new(&reads.calls)).unwrap();
    let id = layout.markets[4].id.clone();
    let gone = (true, Bytes::from(vec![0; 192]));
    let shrunk = spoil(&reads, |call| call.key == key::MARKET && call.item == id, gone);
    let drift = MorphoBlue.confirm(&csu, &layout, &Answers::new(&shrunk.calls)).unwrap_err();
    assert!(drift.what.contains(&id), "{drift}");
    let snapshot = read(&csu, &shrunk);
    let missing = &row(&snapshot, &id).missing;
    assert!(missing[0].to_string().contains("there is no such market at this block"), "{missing:?}");
    for reads in recorded.event_reads() {
        MorphoBlue.confirm(&csu, &layout, &Answers::new(&reads.calls)).unwrap();
    }
    let mut edited = layout;
    edited.markets[0].contracts.remove(part::LLTV);
    MorphoBlue.confirm(&csu, &edited, &Answers::new(&reads.calls)).unwrap_err();
}

#[test]
fn a_contract_without_any_market_is_not_told_from_logs_that_were_not_read() {
    let recorded = Recorded::load();
    let records = [root_call(recorded.morpho).answered(true, Address::ZERO.abi_encode().into())];
    let error = MorphoBlue.discover(&recorded.csu(), &Answers::new(&records), &[]).unwrap_err();
    assert!(error.to_string().contains("no CreateMarket log is known up to this block"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_answer_and_no_log_makes_it_panic(
        output in prop::collection::vec(any::<u8>(), 0..260),
        ok: bool,
        which in 0_usize..60,
        topics in prop::collection::vec(any::<[u8; 32]>(), 0..5),
        keep_topic: bool,
    ) {
        let recorded = Recorded::load();
        for csu in [recorded.csu(), recorded.moolah()] {
            let mut reads = recorded.reads(&csu);
            let index = which % reads.calls.len();
            reads.calls[index].ok = ok;
            reads.calls[index].output = output.clone().into();
            let _ = MorphoBlue.read_snapshot(&csu, &reads, BlockPace::default());
            let _ = MorphoBlue.witness(&csu, &reads, 0.into());
            let _ = MorphoBlue.confirm(&csu, &recorded.layout(&csu), &Answers::new(&reads.calls));
            let _ = MorphoBlue.read_event_prices(&csu, &reads);
            let mut topics: Vec<B256> = topics.iter().map(|topic| B256::from(*topic)).collect();
            if keep_topic && let Some(first) = topics.first_mut() {
                *first = IMorpho::Liquidate::SIGNATURE_HASH;
            }
            let log = RawLog { topics, data: output.clone().into(), ..recorded.liquidations[0].clone() };
            let _ = MorphoBlue.event_reads(&csu, &recorded.layout(&csu), &[&log]);
            prop_assert_eq!(MorphoBlue.read_logs(&csu, std::slice::from_ref(&log), &[]).len(), 1);
            let answered = [root_call(csu.entry).answered(true, Address::ZERO.abi_encode().into())];
            let _ = MorphoBlue.discover(&csu, &Answers::new(&answered), &[log]);
        }
    }

    #[test]
    fn no_state_makes_the_arithmetic_panic(
        supply: u128, borrow: u128, last_update: u64, fee: u128, elapsed: u64, rate in any::<[u8; 32]>(),
    ) {
        let state = State {
            totalSupplyAssets: supply,
            totalSupplyShares: 0,
            totalBorrowAssets: borrow,
            totalBorrowShares: 0,
            lastUpdate: u128::from(last_update),
            fee,
        };
        let rate_at_target = I256::from_be_bytes(rate);
        let bounds = adaptive_curve::Bounds::new(U256::from_be_bytes(rate), U256::ZERO, U256::from(borrow));
        for bounds in [None, Some(bounds)] {
            let model = adaptive_curve::Model::Adaptive(adaptive_curve::Curve { rate_at_target, bounds });
            let _ = model.average(&state, elapsed);
            let _ = model.spot(&state, &state, elapsed);
        }
        let _ = adaptive_curve::interest(&state, U256::from_be_bytes(rate), elapsed);
    }
}
