//! Morpho Blue 1.0.0 from its npm sources: markets are known from logs alone, one is created on the second day.

use super::{Place, Silver, lower, scaled, story};
use alloy_primitives::{Address, U256, address};
use testkit::devnet::abi::uint_at;
use testkit::devnet::morpho::{self, Blue, FIXED_RATE, Market, PARAMS, SOLC, move_price};
use testkit::devnet::story::{Emitted, STORY_DAYS, Story, Token, Told};

pub(super) const LIQUIDATE: &str =
    "Liquidate(bytes32,address,address,uint256,uint256,uint256,uint256,uint256)";
const FEES: Address = address!("00000000000000000000000000000000000000fe");

#[test]
#[ignore = "takes anvil, solc and Morpho Blue from npm: make test-contracts"]
fn morpho_blue_is_what_its_contract_and_receipts_say() {
    let mut s = story();
    let files = ["src/mocks/IrmMock.sol", "src/mocks/OracleMock.sol", "MorphoReader.sol"];
    let sources = morpho::sources(&s.artifacts, &files).unwrap();
    let code = s.compile(&sources, &["IrmMock", "OracleMock", "FixedRateModel"], SOLC).unwrap();
    let usdc = s.token("USDC", 6).unwrap();
    let (weth, wbtc) = (s.token("WETH", 18).unwrap(), s.token("WBTC", 8).unwrap());
    let deployed = s.chain.next_block();
    let blue = Blue::deploy(&mut s).unwrap();
    let by_utilization = s.create("IrmMock", code.code("IrmMock").unwrap(), &[]).unwrap();
    let fixed_rate = [FIXED_RATE.into()];
    let fixed = s.create("FixedRateModel", code.code("FixedRateModel").unwrap(), &fixed_rate).unwrap();
    let (lltv_86, lltv_77, lltv_915) =
        (860_000_000_000_000_000, 770_000_000_000_000_000, 915_000_000_000_000_000);
    blue.enable(&mut s, &[by_utilization, fixed, Address::ZERO], &[lltv_86, lltv_77, lltv_915]).unwrap();
    s.admin(blue.morpho, "setFeeRecipient(address)", &[FEES.into()]).unwrap();
    let create = |s: &mut Story, loan: Token, collateral: Token, irm: Address, lltv: u64, price: &str| {
        let oracle = s.create("an oracle", code.code("OracleMock").unwrap(), &[]).unwrap();
        let market = blue.create(s, (loan, collateral), oracle, irm, lltv).unwrap();
        move_price(s, &market, price).unwrap();
        market
    };

    // The day before: three markets; the third lends without interest.
    let eth = create(&mut s, usdc, weth, by_utilization, lltv_86, "2512.47");
    let btc = create(&mut s, weth, wbtc, fixed, lltv_77, "27.5");
    let free = create(&mut s, usdc, wbtc, Address::ZERO, lltv_915, "69000.5");
    let fee = [btc.params(), 100_000_000_000_000_000.into()];
    s.admin(blue.morpho, &format!("setFee({PARAMS},uint256)"), &fee).unwrap();
    s.at(0, 20, 0).unwrap();
    blue.supply(&mut s, 0, &eth, "900000.123456").unwrap();
    blue.supply(&mut s, 0, &btc, "400.5").unwrap();
    blue.borrow(&mut s, 1, &eth, "100", "200000").unwrap();
    blue.borrow(&mut s, 2, &btc, "5.00000001", "100.25").unwrap();

    // Day 1: one in the very block of midnight, another part of the way through.
    s.at(1, 0, 0).unwrap();
    move_price(&mut s, &eth, "2300").unwrap();
    blue.liquidate(&mut s, 7, &eth, 1, Some("10.5")).unwrap();
    s.at(1, 9, 0).unwrap();
    blue.borrow(&mut s, 3, &eth, "20", "30000.000001").unwrap();
    s.at(1, 15, 12).unwrap();
    move_price(&mut s, &eth, "2100.01").unwrap();
    blue.liquidate(&mut s, 6, &eth, 1, Some("31.25")).unwrap();
    s.at(1, 20, 0).unwrap();
    blue.supply(&mut s, 4, &free, "50000").unwrap();
    blue.borrow(&mut s, 5, &free, "0.5", "20000").unwrap();

    // Day 2: a market more, and a whole position.
    s.at(2, 11, 0).unwrap();
    let late = create(&mut s, usdc, wbtc, fixed, lltv_77, "69000.5");
    blue.supply(&mut s, 0, &late, "250000").unwrap();
    s.at(2, 12, 0).unwrap();
    blue.borrow(&mut s, 4, &late, "3", "150000").unwrap();
    s.at(2, 18, 30).unwrap();
    move_price(&mut s, &btc, "22.1").unwrap();
    blue.liquidate(&mut s, 7, &btc, 2, Some("2")).unwrap();
    s.at(2, 20, 0).unwrap();
    move_price(&mut s, &late, "62000").unwrap();
    blue.liquidate(&mut s, 6, &late, 4, None).unwrap();

    // Day 3: a price falls so far that debt is left over.
    s.at(3, 10, 0).unwrap();
    blue.withdraw(&mut s, 0, &eth, "100000").unwrap();
    s.at(3, 13, 0).unwrap();
    move_price(&mut s, &eth, "1200.5").unwrap();
    blue.liquidate(&mut s, 7, &eth, 3, Some("20")).unwrap();
    s.at(3, 23, 56).unwrap();
    blue.supply(&mut s, 5, &btc, "1.000000000000000001").unwrap();
    // The first block of the day after is not theirs.
    s.at(4, 0, 0).unwrap();
    blue.liquidate(&mut s, 7, &eth, 1, Some("1")).unwrap();
    let mut told = s.end().unwrap();

    let more = format!("deployed_block = {deployed}");
    let entry = ("morpho", blue.morpho);
    let mut silver =
        Silver::of(&told, &Place { family: "morpho_blue", csu: "morpho_blue_story", entry, more: &more });
    let all = [eth, btc, free, late];
    let mut legs = 0;
    let mut bad_debts = 0;
    for (index, day) in STORY_DAYS.iter().enumerate() {
        let markets = if index == 0 { &all[..3] } else { &all[..] };
        compare_markets(&mut silver, &mut told, day, &blue, markets);
        let logs = told.logs(day, &[LIQUIDATE]).unwrap();
        let rows = silver.liquidations(day);
        assert_eq!(rows.len(), logs.len(), "{}", day.date);
        for (row, log) in rows.iter().zip(&logs) {
            let market = all.iter().find(|market| market.id == U256::from_be_bytes(log.topics[1].0)).unwrap();
            bad_debts += compare_liquidation(&mut silver, row, log, market);
        }
        legs += rows.len();
    }
    assert_eq!((legs, bad_debts, silver.reserves.len()), (5, 1, 5 + 6 + 6));
    for row in silver.prices.clone() {
        let (block, feed) = (row["block_number"].parse().unwrap(), row["feed"].parse().unwrap());
        silver.compared.same(&row, "answer_raw", told.uint(block, feed, "price()", &[]).unwrap());
    }
    assert!(silver.prices.len() > 12, "{} prices", silver.prices.len());
    silver.is_the_same_backwards();
    silver.tell();
}

fn compare_markets(
    silver: &mut Silver,
    told: &mut Told,
    day: &testkit::devnet::Day,
    blue: &Blue,
    markets: &[Market],
) {
    let last = told.last_block(day).unwrap().number;
    for market in markets {
        let row = silver.reserve(day, &market.id(), market.loan.address, "base");
        let (supplied, borrowed) = blue.totals(told, last, market).unwrap();
        let of = &mut silver.compared;
        of.same(&row, "block_number", last);
        of.same(&row, "status", "collected");
        of.same(&row, "decimals", market.loan.decimals);
        of.same(&row, "supplied_raw", supplied);
        of.same(&row, "borrowed_raw", borrowed);
        of.same(&row, "available_raw", supplied - borrowed);
        of.close(&row, "liq_threshold", scaled(U256::from(market.lltv), 18));
        let stored = told.call(last, blue.morpho, "market(bytes32)", &[market.id.into()]).unwrap();
        of.close(&row, "reserve_factor", scaled(uint_at(&stored, 5).unwrap(), 18));
        // The rate of a model that no one knows is not told.
        let is_known = market.irm.is_zero() || borrowed.is_zero() || row.contains_key("borrow_apr");
        assert!(is_known || row["flags"].contains("rate_model_unknown"), "{row:#?}");
        if row["flags"].contains("rate_model_unknown") {
            of.null(&row, "borrow_apr");
        } else if market.irm.is_zero() {
            of.close(&row, "borrow_apr", 0.0);
        } else {
            of.close(&row, "borrow_apr", scaled(U256::from(FIXED_RATE) * U256::from(31_536_000), 18));
        }
    }
    let backing: std::collections::BTreeSet<Address> =
        markets.iter().map(|market| market.collateral.address).collect();
    for token in &backing {
        let row = silver.reserve(day, &lower(blue.morpho), *token, "collateral");
        let held = blue.collateral(told, last, markets, *token).unwrap();
        silver.compared.same(&row, "supplied_raw", held);
        silver.compared.same(&row, "status", "collected");
    }
    assert_eq!(silver.reserves(day).len(), markets.len() + backing.len(), "{}", day.date);
}

fn compare_liquidation(silver: &mut Silver, row: &super::Row, log: &Emitted, market: &Market) -> usize {
    let of = &mut silver.compared;
    // There are no dollars in Morpho Blue, and no other CSU on this chain.
    of.place(row, log, "none");
    of.same(row, "market_id", market.id());
    of.same(row, "liquidator", lower(log.sender));
    of.same(row, "borrower", lower(log.address_topic(3).unwrap()));
    of.same(row, "debt_token", lower(market.loan.address));
    of.same(row, "debt_raw", log.word(0).unwrap());
    of.same(row, "coll_token", lower(market.collateral.address));
    of.same(row, "coll_raw", log.word(2).unwrap());
    let bad_debt = log.word(3).unwrap();
    if bad_debt.is_zero() {
        of.null(row, "bad_debt_raw");
        return 0;
    }
    of.same(row, "bad_debt_raw", bad_debt);
    1
}
