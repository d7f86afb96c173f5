//! Discovery and snapshots.

use super::*;
use crate::family::{Quote, ReserveFigures};
use lake::I256;
use lake::status::Role;
use proptest::prelude::*;

fn one<T>(mut items: Vec<T>) -> T {
    assert_eq!(items.len(), 1);
    items.pop().unwrap()
}

fn int(value: i64) -> Option<I256> {
    I256::try_from(value).ok()
}

fn uint(value: u64) -> Option<U256> {
    Some(U256::from(value))
}

#[test]
fn the_signatures_are_those_of_the_contracts() {
    // facts/protocols.md 5, computed there and here with other keccaks; both AccrueInterest also stand in a receipt of
    // Ethereum's block 14,756,345 (rotki/test-caching eb86a80c).
    let hash = |text: &str| text.parse::<B256>().unwrap();
    let liquidate = hash("0x298637f684da70674f26509b10f07ec2fbc77a335ab1e7d6215a4b2484d8bb52");
    assert_eq!(ICToken::LiquidateBorrow::SIGNATURE_HASH, liquidate);
    assert_eq!(IIsolatedVToken::LiquidateBorrow::SIGNATURE_HASH, liquidate);
    for (found, expected) in [
        (
            IVenusLiquidator::LiquidateBorrowedTokens::SIGNATURE_HASH,
            "0xdd091524d794aecdb5235b2d816620c2598790835e0f3849808504c2dcb4f1a9",
        ),
        (
            IVaiController::LiquidateVAI::SIGNATURE_HASH,
            "0x42d401f96718a0c42e5cea8108973f0022677b7e2e5f4ee19851b2de7a0394e7",
        ),
        (
            IIsolatedVToken::HealBorrow::SIGNATURE_HASH,
            "0x9fe0294717a8efbc6ace1c151b73a4c89982339b2228a27d1ca21394e348986f",
        ),
        (
            IIsolatedVToken::BadDebtIncreased::SIGNATURE_HASH,
            "0x90125ffdb441e57c4f6bf69789206424859f206bea5727f2d81ad2470826ef6a",
        ),
        (
            ICToken::AccrueInterest::SIGNATURE_HASH,
            "0x4dec04e750ca11537cabcd8a9eab06494de08da3735bc8871cd41250e190bc04",
        ),
        (
            IOldCToken::AccrueInterest::SIGNATURE_HASH,
            "0x875352fb3fadeb8c0be7cbbe8ff761b308fa7033470cd0287f02f3436fd76cb9",
        ),
    ] {
        assert_eq!(found, hash(expected));
    }
    // Selectors of facts/protocols.md 6.
    assert_eq!(ICToken::totalBorrowsCall::SELECTOR, [0x47, 0xbd, 0x37, 0x18]);
    assert_eq!(IPriceOracle::getUnderlyingPriceCall::SELECTOR, [0xfc, 0x57, 0xd4, 0xdf]);
}

#[test]
fn a_market_is_read_as_it_would_be_after_accruing() {
    let snapshot = World::new("", vec![usdc()]).snapshot();
    let usdc = one(snapshot.reserves);
    assert_eq!((usdc.missing.as_slice(), usdc.flags.as_slice()), ([].as_slice(), [].as_slice()));
    assert_eq!((usdc.market_id, usdc.token, usdc.role), (item(C_USDC), USDC, Role::Reserve));
    // 600e6 x 5e9 x 1,000 / 1e18 = 3,000 of interest, a fifth of it to the protocol.
    assert_eq!((usdc.borrowed, usdc.reserves), (uint(600_003_000), int(10_000_600)));
    assert_eq!((usdc.supplied, usdc.available), (uint(1_000_002_400), uint(410_000_000)));
    assert_eq!((usdc.deficit, usdc.identity_gap), (None, Some(I256::ZERO)));
    // 28,800 blocks a day.
    assert_eq!((usdc.borrow_apr, usdc.supply_apr), (Some(0.05256), Some(0.021024)));
    assert_eq!((usdc.ltv, usdc.liq_threshold, usdc.reserve_factor), (Some(0.75), Some(0.75), Some(0.2)));
    assert_eq!(usdc.liq_bonus, Some(0.1));
    assert_eq!((usdc.borrow_cap, usdc.supply_cap), (None, Some(2_000.0)), "nought is no cap");
    assert_eq!((usdc.is_active, usdc.is_frozen, usdc.is_paused), (Some(true), Some(false), None));
    let price = one(snapshot.prices);
    assert_eq!((price.token, price.feed, price.quote), (USDC, ORACLE, Quote::Usd));
    assert_eq!(price.unit, Ok(U256::from(10).pow(U256::from(30))));
    let token = one(snapshot.tokens);
    assert_eq!((token.symbol.as_deref(), token.decimals), (Some("USDC"), Some(6)));
}

#[test]
fn rates_are_of_the_markets_clock_whatever_the_getters_are_called() {
    let at = BLOCK.timestamp - 1_000;
    for (clock, rates) in [
        (key::ACCRUAL_TIMESTAMP, PER_TIMESTAMP), // Benqi, Moonwell, Kinetic
        (key::ACCRUAL_TIMESTAMP, PER_SECOND),    // JoeLend
        (key::ACCRUAL_TIMESTAMP, PER_BLOCK),     // Sumer
        (key::ACCRUAL_BLOCK, PER_BLOCK),         // Iron Bank on Optimism, Venus on Arbitrum
    ] {
        let usdc = one(World::new("", vec![Sim { clock, rates, at, ..usdc() }]).snapshot().reserves);
        assert_eq!(usdc.missing, [], "{clock} {rates:?}");
        assert_eq!(usdc.borrowed, uint(600_003_000));
        assert_eq!((usdc.borrow_apr, usdc.supply_apr), (Some(0.15768), Some(0.063072)));
    }
}

#[test]
fn the_bad_debt_of_an_isolated_pool_stays_with_the_suppliers() {
    let caps = Some([U256::ZERO, U256::MAX]);
    let parameters = vec![1, 700_000_000_000_000_000, 800_000_000_000_000_000];
    let market = Sim { bad_debt: uint(5_000_000), caps, parameters, paused: true, ..usdc() };
    let usdc = one(World::new("venus_isolated", vec![market]).snapshot().reserves);
    assert_eq!(usdc.missing, []);
    assert_eq!((usdc.supplied, usdc.deficit), (uint(1_005_002_400), uint(5_000_000)));
    assert_eq!(usdc.identity_gap, Some(I256::ZERO));
    assert_eq!((usdc.ltv, usdc.liq_threshold), (Some(0.7), Some(0.8)));
    assert_eq!((usdc.borrow_cap, usdc.supply_cap), (Some(0.0), None), "nought is none at all, all is no cap");
    assert_eq!(usdc.is_frozen, Some(true));
}

#[test]
fn vai_is_minted_debt_of_the_core_pool_less_what_the_peg_module_minted() {
    let mut world = World::new("venus_core", vec![usdc()]);
    world.psm_minted = Some(100);
    let snapshot = world.snapshot();
    let [_, vai] = <[ReserveFigures; 2]>::try_from(snapshot.reserves).unwrap();
    assert_eq!((vai.market_id, vai.token, vai.role), (item(VAI_CONTROLLER), VAI, Role::Minted));
    assert_eq!((vai.borrowed, vai.supplied, vai.borrow_apr), (Some(wad("800")), None, Some(0.04)));
    assert_eq!(
        (vai.missing.as_slice(), vai.flags.as_slice()),
        ([].as_slice(), ["principal_only"].as_slice())
    );
    let price = snapshot.prices.iter().find(|price| price.token == VAI).unwrap();
    assert_eq!((price.raw.clone(), price.unit.clone()), (Ok(wad("1")), Ok(wad("1"))));

    // Before the module was there.
    world.psm_minted = None;
    assert_eq!(world.snapshot().reserves[1].borrowed, Some(wad("900")));
    world.psm_minted = Some(901);
    let vai = &world.snapshot().reserves[1];
    assert_eq!(vai.borrowed, None);
    assert!(vai.missing[0].to_string().contains("of a supply of"), "{:?}", vai.missing);
    world.csu.contracts.remove(part::VAI_PSM);
    let vai = &world.snapshot().reserves[1];
    assert_eq!((vai.borrowed, vai.flags.len()), (Some(wad("900")), 2));
    assert_eq!(vai.flags, ["principal_only", "vai_psm_unknown"]);
}

#[test]
fn sumer_prices_every_token_alike_and_mints_some() {
    let market = Sim {
        price: Some(U256::from(999_900_000_000_000_000_u64)),
        clock: key::ACCRUAL_TIMESTAMP,
        at: BLOCK.timestamp - 1_000,
        parameters: vec![1, 3, 0],
        ..usdc()
    };
    let su = Sim {
        c_token: C_NEW,
        is_minting: true,
        cash: U256::ZERO,
        reserves: U256::ZERO,
        supply: U256::from(50_000_000),
        ..market.clone()
    };
    let snapshot = World::new("sumer", vec![market, su]).snapshot();
    let [lent, minted] = <[ReserveFigures; 2]>::try_from(snapshot.reserves).unwrap();
    assert_eq!((lent.missing.as_slice(), minted.missing.as_slice()), ([].as_slice(), [].as_slice()));
    assert_eq!((lent.role, lent.supplied, lent.ltv), (Role::Reserve, uint(1_000_002_400), None));
    assert_eq!((lent.borrow_cap, lent.supply_cap), (Some(0.0), Some(2_000.0)), "nought is none at all");
    assert_eq!((minted.role, minted.borrowed), (Role::Minted, uint(600_003_000)));
    assert_eq!((minted.supplied, minted.identity_gap), (uint(50_000_000), None));
    assert_eq!((one(snapshot.prices).unit, lent.flags.as_slice()), (Ok(wad("1")), [].as_slice()));
}

#[test]
fn a_market_of_the_chains_coin_goes_by_its_wrapped_form_and_is_asked_nothing_it_does_not_know() {
    for lends in [Lends::CoinWithFallback, Lends::CoinThatReverts, Lends::CoinAtZero] {
        let world = World::new("", vec![usdc(), coin(lends)]);
        let layout = world.discover();
        assert_eq!(layout.markets[1].contracts.get(part::NATIVE), Some(&C_COIN));
        let reads = world.reads(&layout);
        let is_unknown = |call: &&CallRecord| call.to == C_COIN && (!call.ok || call.output.is_empty());
        assert_eq!(reads.calls.iter().find(is_unknown), None);
        let snapshot = CompoundV2.read_snapshot(&world.csu, &reads, PACE).unwrap();
        let coin = &snapshot.reserves[1];
        assert_eq!((coin.token, coin.borrowed), (WRAPPED, uint(600_003_000)));
        assert_eq!(
            (coin.flags.as_slice(), coin.missing.as_slice()),
            (["native_coin"].as_slice(), [].as_slice())
        );
        let price = snapshot.prices.iter().find(|price| price.token == WRAPPED).unwrap();
        assert_eq!((price.raw.clone(), price.unit.clone()), (Ok(wad("600")), Ok(wad("1"))));
        assert_eq!(CompoundV2.confirm(&world.csu, &layout, &Answers::new(&reads.calls)), Ok(()));
    }
}

#[test]
fn an_underlying_that_is_asked_for_and_does_not_answer_is_missing_and_no_coin() {
    let world = World::new("", vec![usdc()]);
    let reads = world.reads(&world.discover());
    for ok in [true, false] {
        let mut spoiled = reads.clone();
        for call in spoiled.calls.iter_mut().filter(|call| call.key == key::UNDERLYING) {
            (call.ok, call.output) = (ok, Bytes::new());
        }
        let usdc = one(CompoundV2.read_snapshot(&world.csu, &spoiled, PACE).unwrap().reserves);
        assert_eq!((usdc.token, usdc.flags.as_slice()), (C_USDC, ["underlying_unknown"].as_slice()));
        assert!(usdc.missing[0].to_string().starts_with("c_token.underlying of"), "{:?}", usdc.missing);
    }
}

#[test]
fn a_line_of_code_that_is_none_is_refused_before_anything_is_asked() {
    let error = CompoundV2.discover(&csu("venus-core"), &Answers::default(), &[]).unwrap_err().to_string();
    assert!(error.contains("variant `venus-core`") && error.contains("venus_isolated"), "{error}");
}

#[test]
fn a_coin_whose_wrapped_form_is_unknown_has_no_decimals_and_says_so() {
    let mut world = World::new("", vec![usdc(), coin(Lends::CoinThatReverts)]);
    world.csu.contracts.remove(part::WRAPPED_NATIVE);
    let snapshot = world.snapshot();
    let coin = &snapshot.reserves[1];
    assert_eq!((coin.token, coin.missing.len()), (UNKNOWN_COIN, 1), "{:?}", coin.missing);
    assert!(coin.missing[0].to_string().contains("token.decimals of 0xeeee"), "{:?}", coin.missing);
    assert!(snapshot.prices.iter().find(|price| price.token == UNKNOWN_COIN).unwrap().unit.is_err());
    assert_eq!(snapshot.reserves[0].missing, []);
}

#[test]
fn a_snapshot_is_enough_to_list_the_contracts_again() {
    let world = World::new("venus_core", vec![usdc(), coin(Lends::CoinWithFallback)]);
    let layout = world.discover();
    assert_eq!(world.discover_from(world.reads(&layout).calls), (layout, 0));
}

#[test]
fn the_layout_names_what_is_asked_for_at_the_block() {
    let world = World::new("venus_core", vec![usdc(), coin(Lends::CoinThatReverts)]);
    let layout = world.discover();
    let roots = [
        (part::LIQUIDATOR, LIQUIDATOR),
        (part::ORACLE, ORACLE),
        (part::VAI, VAI),
        (part::VAI_CONTROLLER, VAI_CONTROLLER),
    ];
    assert_eq!(layout.roots, roots.map(|(name, address)| (name.to_owned(), address)).into());
    let filter = CompoundV2.filter(&world.csu, &[&layout]);
    assert_eq!(filter.addresses, [LIQUIDATOR, VAI_CONTROLLER, C_USDC, C_COIN]);
    assert_eq!(filter.topic0.len(), 5);

    let mut elsewhere = layout.clone();
    elsewhere.roots.insert(part::VAI.to_owned(), USDC);
    let reads = world.reads(&layout);
    let drift = CompoundV2.confirm(&world.csu, &elsewhere, &Answers::new(&reads.calls)).unwrap_err();
    assert_eq!(drift.what, "the token of the VAI controller");

    // Before the comptroller knew its Liquidator, the registry does.
    let mut early = World { has_liquidator: false, ..world };
    let registered = Address::repeat_byte(0x99);
    early.csu.contracts.insert(part::LIQUIDATOR.to_owned(), registered);
    let layout = early.discover();
    assert_eq!(layout.roots.get(part::LIQUIDATOR), None);
    assert!(CompoundV2.filter(&early.csu, &[&layout]).addresses.contains(&registered));
}

#[test]
fn the_filter_holds_the_markets_of_both_ends_of_the_day() {
    let world = World::new("", vec![usdc()]);
    let grown = World::new("", vec![usdc(), Sim { c_token: C_NEW, ..usdc() }]);
    let filter = CompoundV2.filter(&world.csu, &[&world.discover(), &grown.discover()]);
    assert_eq!(filter.addresses, [C_USDC, C_NEW]);
    assert!(CompoundV2.has_changing_emitters());
}

#[test]
fn a_layout_drifts_with_the_list_the_oracle_an_underlying_or_a_clock() {
    let world = World::new("", vec![usdc()]);
    let layout = world.discover();
    let confirm = |world: &World, layout: &Layout| {
        let reads = world.reads(layout);
        CompoundV2.confirm(&world.csu, layout, &Answers::new(&reads.calls)).map_err(|drift| drift.what)
    };
    assert_eq!(confirm(&world, &layout), Ok(()));
    let market = |market| World::new("", vec![market]);
    let added = World::new("", vec![usdc(), Sim { c_token: C_NEW, ..usdc() }]);
    let replaced = Sim { clock: key::ACCRUAL_TIMESTAMP, at: BLOCK.timestamp, ..usdc() };
    for (now, what) in [
        (added.clone(), "the list of markets"),
        (World::new("", vec![]), "the list of markets"),
        (market(Sim { lends: Lends::Token(WRAPPED), ..usdc() }), "the underlying of market"),
        (market(replaced), "c_token.accrualBlockNumber of market"),
        (market(Sim { rates: PER_TIMESTAMP, ..usdc() }), "c_token.borrowRatePerBlock of market"),
    ] {
        let drift = confirm(&now, &layout).unwrap_err();
        assert!(drift.starts_with(what), "{drift}");
        assert_eq!(confirm(&now, &now.discover()), Ok(()), "listed again, it holds");
    }
    assert_eq!(confirm(&world, &added.discover()).unwrap_err(), "the list of markets", "it shrinks");
    // What did not say what it lends when it was listed, and now does, is listed again.
    let mut dumb = layout.clone();
    dumb.markets[0].contracts.remove(part::UNDERLYING);
    assert!(confirm(&world, &dumb).unwrap_err().starts_with("the underlying of market"));
    let mut elsewhere = layout.clone();
    elsewhere.roots.insert(part::ORACLE.to_owned(), WRAPPED);
    assert_eq!(confirm(&world, &elsewhere).unwrap_err(), "the comptroller's oracle");
}

#[test]
fn a_market_without_code_is_partial_and_leaves_its_neighbours_alone() {
    let broken = Sim { c_token: C_NEW, lends: Lends::Nothing, price: None, ..usdc() };
    let world = World::new("", vec![usdc(), broken, coin(Lends::CoinThatReverts)]);
    let layout = world.discover();
    let reads = world.reads(&layout);
    assert_eq!(CompoundV2.confirm(&world.csu, &layout, &Answers::new(&reads.calls)), Ok(()));
    let snapshot = CompoundV2.read_snapshot(&world.csu, &reads, PACE).unwrap();
    let [good, broken, coin] = <[ReserveFigures; 3]>::try_from(snapshot.reserves).unwrap();
    assert_eq!((good.missing.len(), coin.missing.len()), (0, 0));
    assert_eq!((broken.supplied, broken.borrowed, broken.available), (None, None, None));
    assert_eq!((broken.reserves, broken.deficit, broken.borrow_apr), (None, None, None));
    assert_eq!((broken.token, broken.flags.as_slice()), (C_NEW, ["underlying_unknown"].as_slice()));
    assert!(broken.missing[0].to_string().contains("there is no contract at"), "{}", broken.missing[0]);
}

#[test]
fn every_answer_that_is_lost_is_missing_and_leaves_the_neighbour_alone() {
    let world = World::new("", vec![usdc(), coin(Lends::CoinThatReverts)]);
    let reads = world.reads(&world.discover());
    let lost = |key: &str, id: Address, ok: bool| {
        let mut spoiled = reads.clone();
        let asked = |call: &&mut CallRecord| call.key == key && call.item == item(id);
        let call = spoiled.calls.iter_mut().find(asked).expect(key);
        (call.ok, call.output) = (ok, Bytes::new());
        CompoundV2.read_snapshot(&world.csu, &spoiled, PACE).unwrap().reserves
    };
    for ok in [true, false] {
        for (key, id) in [
            (key::CASH, C_USDC),
            (key::BORROWS, C_USDC),
            (key::RESERVES, C_USDC),
            (key::SUPPLY, C_USDC),
            (key::EXCHANGE_RATE, C_USDC),
            (key::RESERVE_FACTOR, C_USDC),
            (key::ACCRUAL_BLOCK, C_USDC),
            (PER_BLOCK[0], C_USDC),
            (PER_BLOCK[1], C_USDC),
            (key::PARAMETERS, C_USDC),
            (token::DECIMALS, USDC),
        ] {
            let [spoiled, neighbour] = <[ReserveFigures; 2]>::try_from(lost(key, id, ok)).unwrap();
            assert!(!spoiled.missing.is_empty(), "{key} was lost without a word");
            assert_eq!(neighbour.missing, [], "{key} spoiled the neighbour");
            let zero = [spoiled.supplied, spoiled.borrowed, spoiled.available].contains(&Some(U256::ZERO));
            assert!(!zero, "{key} made a zero");
        }
    }
    // A revert is how a version without the figure answers; nothing at all is not.
    assert_eq!(lost(key::BAD_DEBT, C_USDC, false)[0].missing, []);
    let spoiled = &lost(key::BAD_DEBT, C_USDC, true)[0];
    assert_eq!((spoiled.supplied, spoiled.missing.len()), (None, 1));
}

#[test]
fn an_oracle_that_reverts_for_one_asset_or_says_nought_spoils_that_price_alone() {
    let prices = |price| {
        let other = Sim { c_token: C_NEW, lends: Lends::Token(WRAPPED), price, ..usdc() };
        World::new("", vec![usdc(), other]).snapshot()
    };
    let snapshot = prices(None);
    assert!(matches!(snapshot.prices[1].raw, Err(Missing::Reverted { .. })));
    assert!(snapshot.prices[0].raw.is_ok());
    assert!(
        snapshot.reserves.iter().all(|reserve| reserve.missing.is_empty()),
        "amounts do not need a price"
    );
    assert_eq!(prices(Some(U256::ZERO)).prices[1].raw, Ok(U256::ZERO), "silver says that it is none");
}

#[test]
fn of_two_markets_of_one_token_the_first_price_counts_and_a_second_one_is_told() {
    let two = |price| {
        let other = Sim { c_token: C_NEW, price, ..usdc() };
        World::new("", vec![usdc(), other]).snapshot()
    };
    for price in [usdc().price, None, Some(U256::ZERO)] {
        let snapshot = two(price);
        assert_eq!(one(snapshot.prices).raw.ok(), usdc().price);
        assert!(snapshot.reserves.iter().all(|reserve| reserve.flags.is_empty()));
    }
    let snapshot = two(usdc().price.map(|price| price + U256::ONE));
    assert_eq!(one(snapshot.prices).raw.ok(), usdc().price);
    assert!(snapshot.reserves.iter().all(|reserve| reserve.flags == ["price_differs_by_market"]));
}

#[test]
fn a_dollar_on_another_scale_is_remarked_and_not_mended() {
    let price = Some(wad("1"));
    let snapshot = World::new("", vec![Sim { price, ..usdc() }]).snapshot();
    assert_eq!(one(snapshot.reserves).flags, ["price_scale_doubtful"]);
    assert_eq!(one(snapshot.prices).raw.ok(), price);
}

#[test]
fn where_accruing_reverts_the_totals_as_kept_are_what_counts() {
    let market = Sim { borrow_rate: 5_000_000_000_001, ..usdc() };
    let stuck = one(World::new("", vec![market.clone()]).snapshot().reserves);
    assert_eq!((stuck.borrowed, stuck.flags.as_slice()), (uint(600_000_000), ["accrual_reverts"].as_slice()));
    let at = BLOCK.timestamp - 1_000;
    let market = Sim { clock: key::ACCRUAL_TIMESTAMP, at, parameters: vec![1, 3, 0], ..market };
    let sumer = one(World::new("sumer", vec![market]).snapshot().reserves);
    assert_eq!(sumer.borrowed, uint(603_000_000), "Sumer has no bound");
}

#[test]
fn a_share_of_the_protocol_beyond_what_is_there_is_no_supply() {
    let world = World::new("", vec![usdc()]);
    let mut reads = world.reads(&world.discover());
    for call in reads.calls.iter_mut().filter(|call| call.key == key::RESERVES) {
        call.output = wad("1").abi_encode().into();
    }
    let usdc = one(CompoundV2.read_snapshot(&world.csu, &reads, PACE).unwrap().reserves);
    assert_eq!((usdc.supplied, usdc.borrowed), (None, uint(600_003_000)));
    assert!(usdc.missing[0].to_string().contains("more than the market has"), "{:?}", usdc.missing);
}

#[test]
fn an_empty_market_is_measured_as_empty_and_what_nobody_claims_is_the_gap() {
    let nothing = U256::ZERO;
    let empty = Sim { borrows: nothing, reserves: nothing, supply: nothing, cash: U256::from(5), ..usdc() };
    let usdc = one(World::new("", vec![empty]).snapshot().reserves);
    assert_eq!(usdc.missing, []);
    assert_eq!((usdc.supplied, usdc.borrowed, usdc.identity_gap), (uint(0), uint(0), int(5)));
}

#[test]
fn two_hundred_markets_are_two_hundred_reserves() {
    let address = |index: u64| Address::left_padding_from(&(1_000 + index).to_be_bytes());
    let markets: Vec<Sim> = (0..200).map(|index| Sim { c_token: address(index), ..usdc() }).collect();
    let world = World::new("", markets);
    let layout = world.discover();
    assert_eq!(CompoundV2.filter(&world.csu, &[&layout]).addresses.len(), 200);
    let snapshot = CompoundV2.read_snapshot(&world.csu, &world.reads(&layout), PACE).unwrap();
    assert_eq!((snapshot.reserves.len(), snapshot.prices.len(), snapshot.tokens.len()), (200, 1, 1));
    assert!(snapshot.reserves.iter().all(|reserve| reserve.missing.is_empty()));
}

#[test]
fn an_entry_without_code_or_of_another_family_is_told_as_such() {
    let Discovery::Ask(calls) = CompoundV2.discover(&csu(""), &Answers::default(), &[]).unwrap() else {
        panic!("nothing was asked yet");
    };
    for (ok, why) in [(true, "there is no contract at"), (false, "reverted")] {
        let records: Vec<_> = calls.iter().cloned().map(|call| call.answered(ok, Bytes::new())).collect();
        let error = CompoundV2.discover(&csu(""), &Answers::new(&records), &[]).unwrap_err().to_string();
        assert!(error.starts_with("the list of markets of a comptroller: "), "{error}");
        assert!(error.contains(why), "{error}");
        let reads = ReadsAtBlock { block: BLOCK, calls: records };
        assert!(CompoundV2.read_snapshot(&csu(""), &reads, PACE).is_err());
    }
}

#[test]
fn the_earliest_accrual_of_the_day_is_witness_by_either_clock() {
    let since = DayStart { block: BLOCK.number - 500, timestamp: BLOCK.timestamp - 1_500 };
    let witness = |markets: Vec<Sim>| {
        let world = World::new("", markets);
        CompoundV2.witness(&world.csu, &world.reads(&world.discover()), since)
    };
    let block = |c_token, ago| Sim { c_token, at: BLOCK.number - ago, ..usdc() };
    let found = witness(vec![block(C_USDC, 501), block(C_NEW, 400), block(C_COIN, 3)]).unwrap();
    assert_eq!(found.at, At::Block(BLOCK.number - 400));
    assert_eq!(found.filter.addresses, [C_NEW]);
    assert!(found.filter.topic0.contains(&ICToken::AccrueInterest::SIGNATURE_HASH));
    assert!(found.filter.topic0.contains(&IOldCToken::AccrueInterest::SIGNATURE_HASH));

    let at = BLOCK.timestamp - 1_500;
    let by_time = Sim { clock: key::ACCRUAL_TIMESTAMP, rates: PER_TIMESTAMP, at, ..usdc() };
    assert_eq!(witness(vec![by_time]).unwrap().at, At::Time(at));

    // Set up and never touched since: that leaves no such log.
    let new = Sim { index: accrual::WAD, ..block(C_NEW, 1) };
    assert_eq!(witness(vec![block(C_USDC, 501), new]), None);
    assert_eq!(witness(vec![]), None);
}

#[test]
fn what_is_estimated_is_named_once_and_with_a_reason() {
    let limits = CompoundV2.limits();
    let columns: BTreeSet<&str> = limits.iter().map(|limit| limit.column).collect();
    assert_eq!(columns.len(), limits.len());
    assert!(limits.iter().all(|limit| limit.extent == crate::Extent::Estimated && limit.why.len() > 20));
}

proptest! {
    /// Whatever contracts answer, they are read without panic; and what one market answers does not reach another.
    #[test]
    fn no_answer_makes_it_panic(
        spoiled in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..230)),
            0..12,
        ),
        variant in prop::sample::select(vec!["", "venus_core", "venus_isolated", "sumer"]),
    ) {
        let world = World::new(variant, vec![usdc(), coin(Lends::CoinThatReverts)]);
        let layout = world.discover();
        let mut reads = world.reads(&layout);
        let mut is_of_usdc_alone = true;
        for (index, ok, output) in spoiled {
            let at = index.index(reads.calls.len());
            let call = &mut reads.calls[at];
            (call.ok, call.output) = (ok, output.into());
            is_of_usdc_alone &= [item(C_USDC), item(USDC)].contains(&call.item);
        }
        let answers = Answers::new(&reads.calls);
        let _ = CompoundV2.confirm(&world.csu, &layout, &answers);
        let _ = CompoundV2.discover(&world.csu, &answers, &[]);
        let _ = CompoundV2.witness(&world.csu, &reads, DayStart { block: 0, timestamp: 0 });
        let snapshot = CompoundV2.read_snapshot(&world.csu, &reads, PACE);
        if is_of_usdc_alone {
            let neighbour = &snapshot.unwrap().reserves[1];
            prop_assert_eq!(neighbour.borrowed, uint(600_003_000));
        }
    }
}
