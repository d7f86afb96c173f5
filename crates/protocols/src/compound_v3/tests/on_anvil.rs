//! A real Comet, run once on a local node: what it answered and logged, and what another program made of it.
//!
//! Two accounts borrowed at the limit; after a month the first was absorbed at prices 12% lower, with something left over,
//! the second at half the prices and less, with bad debt.

use super::*;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Recording {
    comet: Address,
    expected: Value,
    snapshot: ReadsAtBlock,
    logs: Vec<RawLog>,
    reads: Vec<ReadsAtBlock>,
}

fn recording() -> Recording {
    serde_json::from_str(include_str!("comet_on_anvil.json")).unwrap()
}

fn csu_of(recording: &Recording) -> Csu {
    Csu { entry: recording.comet, ..csu() }
}

fn number(value: &Value) -> Option<U256> {
    Some(value.as_str().unwrap().parse().unwrap())
}

#[test]
fn figures_are_those_of_the_contracts_own_functions() {
    let recording = recording();
    let (csu, expected) = (csu_of(&recording), &recording.expected["snapshot"]);
    let snapshot = read(&csu, &recording.snapshot);
    assert!(snapshot.reserves.iter().all(|reserve| reserve.missing.is_empty() && reserve.flags.is_empty()));
    let base = &snapshot.reserves[0];
    assert_eq!((base.supplied, base.borrowed), (number(&expected["supply"]), number(&expected["borrow"])));
    assert_eq!(base.available, number(&expected["cash"]));
    assert_eq!(base.reserves.map(|reserves| reserves.to_string()).as_deref(), expected["reserves"].as_str());
    assert_eq!(base.identity_gap, signed(0));
    // getSupplyRate(getUtilization()) and getBorrowRate(getUtilization()), which no batch can ask.
    let year = |rate: &Value| ratio(number(rate).unwrap() * SECONDS_PER_YEAR, FACTOR);
    assert_eq!(
        (base.supply_apr, base.borrow_apr),
        (year(&expected["supplyRate"]), year(&expected["borrowRate"]))
    );
    for (reserve, expected) in snapshot.reserves[1..].iter().zip(expected["coll"].as_array().unwrap()) {
        assert_eq!(item(reserve.token), expected["token"].as_str().unwrap());
        assert_eq!(reserve.supplied, number(&expected["total"]));
        assert_eq!(
            reserve.reserves.map(|reserves| reserves.to_string()).as_deref(),
            expected["reserves"].as_str()
        );
    }
}

#[test]
fn absorptions_are_what_storage_before_and_after_says() {
    let recording = recording();
    let readings = CompoundV3.read_logs(&csu_of(&recording), &recording.logs, &recording.reads);
    let legs: Vec<&Leg> = readings
        .iter()
        .map(|reading| match reading {
            LogReading::Leg(leg) => leg.as_ref(),
            other => panic!("{other:?}"),
        })
        .collect();
    let debts: Vec<&&Leg> = legs.iter().filter(|leg| leg.debt.is_some()).collect();
    let absorptions = recording.expected["absorptions"].as_array().unwrap();
    assert_eq!((legs.len(), debts.len(), absorptions.len()), (6, 2, 2), "two tokens and a debt, twice");
    for (leg, expected) in debts.iter().zip(absorptions) {
        assert_eq!(leg.borrower.map(item).as_deref(), expected["borrower"].as_str());
        assert_eq!(leg.debt.map(|(_, amount)| amount), number(&expected["paid"]));
        // The event's value is rounded to a hundred-millionth, so the estimate may be a base unit off.
        let (bad, exact) = (leg.bad_debt.unwrap().1, number(&expected["bad"]).unwrap());
        assert!(bad.abs_diff(exact) <= U256::ONE, "{bad} for {exact}");
        let beyond = number(&expected["credited"]) > Some(U256::ZERO);
        assert_eq!(leg.flags.contains(&"paid_beyond_debt"), beyond);
        assert_eq!(leg.bad_debt.map(|(_, bad)| bad.is_zero()), Some(beyond));
    }
}

#[test]
fn the_layout_is_found_again_in_the_answers_of_a_snapshot() {
    let recording = recording();
    let csu = csu_of(&recording);
    let answers = Answers::new(&recording.snapshot.calls);
    let Discovery::Found(layout) = CompoundV3.discover(&csu, &answers, &[]).unwrap() else {
        panic!("a snapshot holds all that discovery asks")
    };
    CompoundV3.confirm(&csu, &layout, &answers).unwrap();
    let asked = |reads: &ReadsAtBlock| -> Vec<(String, Address, Bytes)> {
        reads.calls.iter().map(|call| (call.key.clone(), call.to, call.input.clone())).collect()
    };
    let plan: Vec<_> =
        CompoundV3.snapshot(&csu, &layout).into_iter().map(|call| (call.key, call.to, call.input)).collect();
    assert_eq!(plan, asked(&recording.snapshot));
}
