//! What Moolah adds to the recorded markets.

use super::*;

/// Moolah's additions on top of the recorded markets.
fn moolah_reads(recorded: &Recorded, answer: impl Fn(&CallRecord) -> Option<(bool, Bytes)>) -> ReadsAtBlock {
    let mut reads = recorded.reads(&recorded.moolah());
    for call in &mut reads.calls {
        if let Some((ok, output)) = answer(call) {
            (call.ok, call.output) = (ok, output);
        }
    }
    reads
}

#[test]
fn moolah_prices_every_token_in_dollars_at_every_oracle() {
    let recorded = Recorded::load();
    let layout = recorded.layout(&recorded.moolah());
    let first = params_in(&layout.markets[0]).unwrap().1;
    let reads = moolah_reads(recorded, |call| match call.key.as_str() {
        key::PAUSED => Some(word(1)),
        key::PEEK if call.item.starts_with(&item(first.loanToken)) => Some(word(99_990_000)),
        _ => None,
    });
    let snapshot = read(&recorded.moolah(), &reads);
    let usdc: Vec<_> = snapshot.prices.iter().filter(|price| price.token == first.loanToken).collect();
    assert_eq!(usdc.len(), 4, "four oracles price it");
    for price in usdc {
        assert_eq!((price.raw.clone(), price.quote), (Ok(U256::from(99_990_000)), crate::Quote::Usd));
        assert_eq!(price.unit, Ok(U256::from(100_000_000)));
    }
    let reverted = snapshot.prices.iter().filter(|price| price.token == first.collateralToken);
    assert!(reverted.into_iter().all(|price| matches!(price.raw, Err(Missing::Reverted { .. }))));
    let base: Vec<_> = snapshot.reserves.iter().filter(|row| row.role == Role::Base).collect();
    assert!(base.iter().all(|row| row.is_paused == Some(true) && row.missing.is_empty()));
}

#[test]
fn a_version_of_moolah_without_caps_has_the_plain_curve() {
    let recorded = Recorded::load();
    let plain = read(&recorded.csu(), &recorded.reads(&recorded.csu()));
    let moolah = read(&recorded.moolah(), &moolah_reads(recorded, |_| None));
    let rates = |snapshot: &Snapshot| -> Vec<_> {
        snapshot.reserves.iter().map(|row| (row.borrow_apr, row.supply_apr)).collect()
    };
    assert_eq!(rates(&plain), rates(&moolah));
}

#[test]
fn a_cap_that_the_accrual_did_not_heed_is_not_the_models() {
    let recorded = Recorded::load();
    let high = &recorded.expected.markets[6].id;
    let low = &recorded.expected.markets[0].id;
    let reads = moolah_reads(recorded, |call| match call.key.as_str() {
        key::RATE_CAP | key::RATE_FLOOR | key::MIN_CAP => Some(word(0)),
        key::BROKER if call.item == *low => Some((true, Address::repeat_byte(9).abi_encode().into())),
        key::BROKER => Some(word(0)),
        _ => None,
    });
    let snapshot = read(&recorded.moolah(), &reads);
    // The recorded market accrued at 175% a year; Moolah would have stopped at its default of 30%.
    assert_eq!(row(&snapshot, high).borrow_apr, None);
    assert_eq!(row(&snapshot, high).flags, ["rate_model_unknown"]);
    assert!(row(&snapshot, low).borrow_apr.is_some());
    assert_eq!(row(&snapshot, low).flags, ["broker_market"]);
}
