use super::*;
use alloy_sol_types::SolCall;
use lake::bronze::{CallRecord, Header};
use lake::status::{PriceSource, Role};
use lake::{Bytes, I256};
use serde::Deserialize;
use std::sync::LazyLock;

mod bad_input;
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
    let witness = MorphoBlue.witness(&recorded.csu(), &reads, since.into()).unwrap();
    let is_of = |time: &u64| witness.at == At::Time(*time);
    assert!(recorded.accrual_times.iter().any(is_of), "an AccrueInterest log bears this time");
    assert_eq!(witness.filter.addresses, [recorded.morpho]);
    assert!(witness.filter.topic0.contains(&IMorpho::CreateMarket::SIGNATURE_HASH));
    assert_eq!(MorphoBlue.witness(&recorded.csu(), &reads, (reads.block.timestamp - 60).into()), None);
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
    assert_eq!(MorphoBlue.witness(&recorded.csu(), &accrued, 0.into()), None);
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
