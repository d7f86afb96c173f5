use super::*;
use alloy_sol_types::SolCall;
use lake::bronze::{CallRecord, Header};
use lake::status::{PriceSource, Role};
use lake::{Bytes, I256};
use proptest::prelude::*;
use serde::Deserialize;
use std::sync::LazyLock;

mod logs;
mod moolah;

/// What the real contracts answered: Morpho Blue 1.0.0 (npm @morpho-org/morpho-blue), AdaptiveCurveIrm and FixedRateIrm
/// (morpho-org/morpho-blue-irm a1a87fd), on anvil 1.7.1. Seven markets: three that lend at the adaptive curve, one at a fixed
/// rate, one without a rate model, two empty ones, of which one has an oracle that reverts. Five DAI were sent to the contract as
/// a gift. `expected` was computed by the project's own MorphoBalancesLib, by `borrowRateView` with the true market, and from
/// the positions: none of it by code of ours.
#[derive(Deserialize)]
struct Recorded {
    morpho: Address,
    history: Vec<RawLog>,
    liquidations: Vec<RawLog>,
    accrual_times: Vec<u64>,
    reads: Vec<RecordedReads>,
    expected: Expected,
}

#[derive(Deserialize)]
struct RecordedReads {
    block: Header,
    calls: Vec<RecordedCall>,
}

#[derive(Deserialize)]
struct RecordedCall {
    to: Address,
    input: Bytes,
    ok: bool,
    output: Bytes,
}

#[derive(Deserialize)]
struct Expected {
    markets: Vec<ExpectedMarket>,
    collateral: BTreeMap<Address, String>,
}

#[derive(Deserialize)]
struct ExpectedMarket {
    id: String,
    supply: String,
    borrow: String,
    average: Option<String>,
    spot: Option<String>,
}

impl Recorded {
    fn load() -> &'static Self {
        static RECORDED: LazyLock<Recorded> =
            LazyLock::new(|| serde_json::from_str(include_str!("tests/recorded.json")).unwrap());
        &RECORDED
    }

    fn csu(&self) -> Csu {
        Csu::bare("morpho_blue_test", "morpho_blue", "ethereum", "morpho", self.morpho)
    }

    fn moolah(&self) -> Csu {
        Csu { variant: "moolah".into(), ..self.csu() }
    }

    /// The answer at a recorded block; a call that was not recorded is one that the contracts do not have.
    fn answer(&self, at: &RecordedReads, call: Call) -> CallRecord {
        let recorded = at.calls.iter().find(|known| known.to == call.to && known.input == call.input);
        let (ok, output) = recorded.map_or((false, Bytes::new()), |known| (known.ok, known.output.clone()));
        call.answered(ok, output)
    }

    fn last(&self) -> &RecordedReads {
        self.reads.last().unwrap()
    }

    fn layout(&self, csu: &Csu) -> Layout {
        let mut records = Vec::new();
        for _ in 0..3 {
            match MorphoBlue.discover(csu, &Answers::new(&records), &self.history).unwrap() {
                Discovery::Ask(calls) => {
                    records.extend(calls.into_iter().map(|call| self.answer(self.last(), call)));
                }
                Discovery::Found(layout) => return layout,
            }
        }
        panic!("discovery does not end");
    }

    fn reads(&self, csu: &Csu) -> ReadsAtBlock {
        let calls = MorphoBlue.snapshot(csu, &self.layout(csu)).into_iter();
        ReadsAtBlock {
            block: self.last().block,
            calls: calls.map(|call| self.answer(self.last(), call)).collect(),
        }
    }

    fn event_reads(&self) -> Vec<ReadsAtBlock> {
        let layout = self.layout(&self.csu());
        let at_block = |log: &RawLog| {
            let at = self.reads.iter().find(|reads| reads.block.number == log.block_number).unwrap();
            let calls = MorphoBlue.event_reads(&self.csu(), &layout, &[log]).into_iter();
            ReadsAtBlock { block: at.block, calls: calls.map(|call| self.answer(at, call)).collect() }
        };
        self.liquidations.iter().map(at_block).collect()
    }
}

fn read(csu: &Csu, reads: &ReadsAtBlock) -> Snapshot {
    MorphoBlue.read_snapshot(csu, reads, BlockPace::default()).unwrap()
}

fn row<'a>(snapshot: &'a Snapshot, id: &str) -> &'a crate::family::ReserveFigures {
    snapshot.reserves.iter().find(|row| row.market_id == id).unwrap()
}

fn amount(text: &str) -> Option<U256> {
    Some(text.parse().unwrap())
}

/// Changes the answers that `which` picks.
fn spoil(reads: &ReadsAtBlock, which: impl Fn(&CallRecord) -> bool, how: (bool, Bytes)) -> ReadsAtBlock {
    let mut spoiled = reads.clone();
    for call in spoiled.calls.iter_mut().filter(|call| which(call)) {
        (call.ok, call.output) = how.clone();
    }
    spoiled
}

fn lost() -> (bool, Bytes) {
    (true, Bytes::new())
}

fn word(value: u64) -> (bool, Bytes) {
    (true, U256::from(value).abi_encode().into())
}

#[test]
fn the_signatures_are_those_of_the_contracts() {
    // facts/protocols.md 5, computed there with another keccak library.
    let hash = |text: &str| text.parse::<B256>().unwrap();
    assert_eq!(
        IMorpho::Liquidate::SIGNATURE_HASH,
        hash("0xa4946ede45d0c6f06a0f5ce92c9ad3b4751452d2fe0e25010783bcab57a67e41")
    );
    assert_eq!(
        IMorpho::CreateMarket::SIGNATURE_HASH,
        hash("0xac4b2400f169220b0c0afdde7a0b32e775ba727ea1cb30b35f935cdaab8683ac")
    );
}

#[test]
fn markets_are_listed_by_their_creation_and_keep_all_five_parts() {
    let recorded = Recorded::load();
    let layout = recorded.layout(&recorded.csu());
    let ids: Vec<&str> = layout.markets.iter().map(|market| market.id.as_str()).collect();
    let expected: Vec<&str> = recorded.expected.markets.iter().map(|market| market.id.as_str()).collect();
    assert_eq!(ids, expected);
    assert!(layout.markets.iter().all(|market| params_in(market).is_some()));
    let twice: Vec<RawLog> = recorded.history.iter().chain(&recorded.history).cloned().collect();
    let records = [root_call(recorded.morpho).answered(true, Address::ZERO.abi_encode().into())];
    let found = MorphoBlue.discover(&recorded.csu(), &Answers::new(&records), &twice).unwrap();
    assert_eq!(found, Discovery::Found(layout), "a log that is there twice is one market");
}

#[test]
fn totals_are_accrued_to_the_unit_and_cash_is_the_rest() {
    let recorded = Recorded::load();
    let snapshot = read(&recorded.csu(), &recorded.reads(&recorded.csu()));
    for expected in &recorded.expected.markets {
        let row = row(&snapshot, &expected.id);
        assert_eq!(row.missing, [], "{}", expected.id);
        assert_eq!((row.supplied, row.borrowed), (amount(&expected.supply), amount(&expected.borrow)));
        assert_eq!(row.available, Some(row.supplied.unwrap() - row.borrowed.unwrap()));
        assert_eq!((row.role, row.is_active, row.is_paused), (Role::Base, Some(true), Some(false)));
    }
    // Stored totals are older: without accrual this market would have less.
    let id = &recorded.expected.markets[0].id;
    let reads = recorded.reads(&recorded.csu());
    let stored = Answers::new(&reads.calls).value::<IMorpho::marketCall>(key::MARKET, id).unwrap();
    assert!(U256::from(stored.totalBorrowAssets) < row(&snapshot, id).borrowed.unwrap());
}

#[test]
fn rates_are_those_that_the_rate_models_give_after_accrual() {
    let recorded = Recorded::load();
    let snapshot = read(&recorded.csu(), &recorded.reads(&recorded.csu()));
    let per_year = |rate: &str| {
        lake::amount::ratio(
            rate.parse::<U256>().unwrap() * U256::from(31_536_000),
            U256::from(adaptive_curve::WAD),
        )
    };
    for expected in &recorded.expected.markets {
        let row = row(&snapshot, &expected.id);
        let rate = expected.spot.as_deref().map_or(Some(0.0), per_year);
        assert_eq!(row.borrow_apr, rate, "{}", expected.id);
        assert_eq!(row.flags, [] as [&str; 0]);
        let utilization = match (row.supplied, row.borrowed) {
            (Some(supplied), Some(borrowed)) if !supplied.is_zero() => {
                f64::from(borrowed) / f64::from(supplied)
            }
            _ => 0.0,
        };
        let supply = rate.unwrap() * utilization * (1.0 - row.reserve_factor.unwrap());
        assert!(
            (row.supply_apr.unwrap() - supply).abs() < 1e-12,
            "{}: {:?} {supply}",
            expected.id,
            row.supply_apr
        );
    }
    let with_fee = row(&snapshot, &recorded.expected.markets[6].id);
    assert_eq!(with_fee.reserve_factor, Some(0.1));
    assert!(with_fee.borrow_apr.unwrap() > 1.0, "lent out beyond the target for weeks");
}

#[test]
fn the_average_rate_is_that_of_the_model_itself() {
    let recorded = Recorded::load();
    let reads = recorded.reads(&recorded.csu());
    let answers = Answers::new(&reads.calls);
    let mut compared = 0;
    for expected in &recorded.expected.markets {
        let rate = answers.value::<IIrm::rateAtTargetCall>(key::RATE_AT_TARGET, &expected.id);
        let (Ok(rate_at_target), Some(average)) = (rate, &expected.average) else { continue };
        let stored = answers.value::<IMorpho::marketCall>(key::MARKET, &expected.id).unwrap();
        let elapsed = reads.block.timestamp - u64::try_from(stored.lastUpdate).unwrap();
        let curve = adaptive_curve::Curve { rate_at_target, bounds: None };
        assert_eq!(
            adaptive_curve::Model::Adaptive(curve).average(&stored, elapsed),
            Some(average.parse().unwrap())
        );
        compared += 1;
    }
    assert_eq!(compared, 5);
}

#[test]
fn thresholds_and_bonus_follow_from_lltv() {
    let recorded = Recorded::load();
    let snapshot = read(&recorded.csu(), &recorded.reads(&recorded.csu()));
    let market = row(&snapshot, &recorded.expected.markets[0].id);
    assert_eq!((market.ltv, market.liq_threshold), (Some(0.86), Some(0.86)));
    assert_eq!(market.liq_bonus, Some(0.043841336116910229));
    let none = row(&snapshot, &recorded.expected.markets[3].id);
    assert_eq!(none.liq_bonus, Some(0.15), "the bonus has an upper bound");
}

#[test]
fn collateral_is_the_balance_that_is_no_markets_cash() {
    let recorded = Recorded::load();
    let snapshot = read(&recorded.csu(), &recorded.reads(&recorded.csu()));
    let rows: Vec<_> = snapshot.reserves.iter().filter(|row| row.role == Role::Collateral).collect();
    let found: BTreeMap<Address, String> =
        rows.iter().map(|row| (row.token, row.supplied.unwrap().to_string())).collect();
    assert_eq!(found, recorded.expected.collateral, "the sum of all positions");
    assert!(rows.iter().all(|row| row.market_id == item(recorded.morpho) && row.missing.is_empty()));
}

#[test]
fn what_no_market_accounts_for_is_the_gap_of_a_token_that_backs_nothing() {
    let recorded = Recorded::load();
    let snapshot = read(&recorded.csu(), &recorded.reads(&recorded.csu()));
    let gaps: Vec<_> = snapshot
        .reserves
        .iter()
        .filter_map(|row| Some((row.market_id.as_str(), row.identity_gap?)))
        .collect();
    let gift = I256::try_from(5_000_000_000_000_000_000_u64).unwrap();
    assert_eq!(gaps, [(recorded.expected.markets[6].id.as_str(), gift)]);
}

#[test]
fn a_price_is_in_the_loan_token_and_scaled_by_both_decimals() {
    let recorded = Recorded::load();
    let snapshot = read(&recorded.csu(), &recorded.reads(&recorded.csu()));
    let layout = recorded.layout(&recorded.csu());
    let params = params_in(&layout.markets[0]).unwrap().1;
    let weth: Vec<_> = snapshot.prices.iter().filter(|price| price.token == params.collateralToken).collect();
    let [price] = weth.as_slice() else { panic!("{weth:?}") };
    assert_eq!(
        (price.source, price.quote),
        (PriceSource::ProtocolOracle, crate::Quote::Token(params.loanToken))
    );
    let value = lake::amount::ratio(price.raw.clone().unwrap(), price.unit.clone().unwrap());
    assert_eq!(value, Some(1_800.0));
    assert_eq!(price.feed, params.oracle, "not the oracle of the empty market, which says 9,999");
}

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
}

#[test]
fn a_contract_without_any_market_is_not_told_from_logs_that_were_not_read() {
    let recorded = Recorded::load();
    let records = [root_call(recorded.morpho).answered(true, Address::ZERO.abi_encode().into())];
    let error = MorphoBlue.discover(&recorded.csu(), &Answers::new(&records), &[]).unwrap_err();
    assert!(error.to_string().contains("no CreateMarket log is known up to this block"), "{error}");
}

#[test]
fn stored_state_is_read_before_anything_is_accrued() {
    let recorded = Recorded::load();
    for csu in [recorded.csu(), recorded.moolah()] {
        let calls = MorphoBlue.snapshot(&csu, &recorded.layout(&csu));
        let first = calls.iter().position(|call| call.key == key::ACCRUED).unwrap();
        assert!(calls[first..].iter().all(|call| call.key == key::ACCRUED));
        assert_eq!(calls.len() - first, 7);
    }
}

#[test]
fn two_hundred_markets_cost_five_calls_each_and_share_their_tokens() {
    let recorded = Recorded::load();
    let csu = recorded.csu();
    let model = params_in(&recorded.layout(&csu).markets[0]).unwrap().1;
    let markets: Vec<Market> = (0..200_u64)
        .map(|number| MarketParams { lltv: U256::from(number), ..model.clone() })
        .map(|params| Market { id: format!("{:#x}", params.id()), contracts: params.parts() })
        .collect();
    let layout = Layout { markets, ..recorded.layout(&csu) };
    let calls = MorphoBlue.snapshot(&csu, &layout);
    assert_eq!(calls.len(), 1 + 200 * 5 + 2 * 3);
    let names: BTreeSet<_> = calls.iter().map(|call| (&call.key, &call.item)).collect();
    assert_eq!(names.len(), calls.len(), "bronze refuses a name that is there twice");
    let moolah = MorphoBlue.snapshot(&recorded.moolah(), &layout);
    assert_eq!(moolah.len(), 2 + 1 + 200 * 7 + 2 + 2 * 3);
}

#[test]
fn the_earliest_accrual_of_the_day_is_witness_that_its_logs_are_held() {
    let recorded = Recorded::load();
    let reads = recorded.reads(&recorded.csu());
    let since = *recorded.accrual_times.iter().rev().nth(1).unwrap();
    let witness = MorphoBlue.witness(&recorded.csu(), &reads, since).unwrap();
    assert!(recorded.accrual_times.contains(&witness.timestamp), "an AccrueInterest log bears this time");
    assert_eq!(witness.filter.addresses, [recorded.morpho]);
    assert!(witness.filter.topic0.contains(&IMorpho::CreateMarket::SIGNATURE_HASH));
    assert_eq!(MorphoBlue.witness(&recorded.csu(), &reads, reads.block.timestamp - 60), None);
    // A read of the stored market that came after the accrual would name a log that does not exist.
    let of_now = State {
        totalSupplyAssets: 0,
        totalSupplyShares: 0,
        totalBorrowAssets: 0,
        totalBorrowShares: 0,
        lastUpdate: u128::from(reads.block.timestamp),
        fee: 0,
    };
    let accrued = spoil(&reads, |call| call.key == key::MARKET, (true, of_now.abi_encode().into()));
    assert_eq!(MorphoBlue.witness(&recorded.csu(), &accrued, 0), None);
}

#[test]
fn every_limit_names_a_column_of_gold() {
    let columns: Vec<&str> = lake::schema::tables()
        .iter()
        .filter(|table| table.name == "panel_daily")
        .flat_map(|table| table.columns.iter().map(|column| column.name))
        .collect();
    for limit in MorphoBlue.limits() {
        assert!(columns.contains(&limit.column), "{}", limit.column);
        assert!(limit.why.ends_with('.'), "{}", limit.why);
    }
}

#[test]
fn every_row_of_the_registry_has_a_role_and_a_variant_that_belong_together() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../pipelines/registry");
    let registry = lake::registry::Registry::load(std::path::Path::new(directory)).unwrap();
    let rows: Vec<_> = registry.csus().filter(|csu| csu.family == "morpho_blue").collect();
    assert_eq!(rows.len(), 19);
    for row in rows {
        assert!(["morpho", "moolah"].contains(&row.entry_role.as_str()), "{}", row.id);
        assert_eq!(is_moolah(row), row.entry_role == "moolah", "{}", row.id);
        assert!(row.deployed_block.is_some(), "{}: the list of markets is read from there on", row.id);
    }
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
            let _ = MorphoBlue.witness(&csu, &reads, 0);
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
