//! Lista's Moolah: Morpho Blue's npm sources with what Moolah adds, of our own (`contracts/Moolah.sol`). Its oracles price
//! tokens in dollars, and a broker's debt is written off by an event that gives it as repaid.

use super::morpho_blue::LIQUIDATE;
use super::{Place, Silver, lower, scaled, story};
use alloy_primitives::{Address, U256};
use std::collections::BTreeSet;
use testkit::devnet::Day;
use testkit::devnet::aave::{DEPLOYER, units};
use testkit::devnet::morpho::{self, Blue, FIXED_RATE, Market, PARAMS, SOLC};
use testkit::devnet::story::{PEOPLE, STORY_DAYS, Story, Token, Told};

fn price(s: &mut Story, book: Address, token: Token, usd: &str) {
    let args = [token.address.into(), units(usd, 8).unwrap().into()];
    s.admin(book, "set(address,uint256)", &args).unwrap();
}

#[test]
#[ignore = "takes anvil, solc and Morpho Blue from npm: make test-contracts"]
fn moolah_is_what_its_contract_and_receipts_say() {
    let mut s = story();
    let sources = morpho::sources(&s.artifacts, &["Moolah.sol", "MorphoReader.sol"]).unwrap();
    let contracts = ["Moolah", "PriceBook", "BookOracle", "MorphoReader", "FixedRateModel"];
    let code = s.compile(&sources, &contracts, SOLC).unwrap();
    let lisusd = s.token("lisUSD", 18).unwrap();
    let (bnb, btcb) = (s.token("WBNB", 18).unwrap(), s.token("BTCB", 8).unwrap());
    let deployed = s.chain.next_block();
    let moolah = s.create("Moolah", code.code("Moolah").unwrap(), &[DEPLOYER.into()]).unwrap();
    let reader = s.create("reader", code.code("MorphoReader").unwrap(), &[]).unwrap();
    let book = s.create("PriceBook", code.code("PriceBook").unwrap(), &[]).unwrap();
    let model = s.create("model", code.code("FixedRateModel").unwrap(), &[FIXED_RATE.into()]).unwrap();
    let lltv = 800_000_000_000_000_000;
    let blue = Blue { morpho: moolah, reader };
    blue.enable(&mut s, &[model], &[lltv]).unwrap();
    let create = |s: &mut Story, loan: Token, collateral: Token| {
        let scale = U256::from(10).pow(U256::from(36 + loan.decimals - collateral.decimals));
        let args = [book.into(), loan.address.into(), collateral.address.into(), scale.into()];
        let oracle = s.create("an oracle", code.code("BookOracle").unwrap(), &args).unwrap();
        blue.create(s, (loan, collateral), oracle, model, lltv).unwrap()
    };
    price(&mut s, book, lisusd, "0.9991");
    price(&mut s, book, bnb, "560.25");
    price(&mut s, book, btcb, "69000.5");
    let by_bnb = create(&mut s, lisusd, bnb);
    let lend_bnb = create(&mut s, bnb, btcb);
    s.at(0, 20, 0).unwrap();
    blue.supply(&mut s, 0, &by_bnb, "700000").unwrap();
    blue.supply(&mut s, 0, &lend_bnb, "900").unwrap();
    blue.borrow(&mut s, 1, &by_bnb, "500", "200000").unwrap();
    blue.borrow(&mut s, 2, &by_bnb, "300.5", "120000").unwrap();
    blue.borrow(&mut s, 3, &lend_bnb, "2", "150").unwrap();

    s.at(1, 0, 0).unwrap();
    price(&mut s, book, bnb, "480");
    blue.liquidate(&mut s, 7, &by_bnb, 1, Some("60")).unwrap();

    s.at(2, 9, 0).unwrap();
    let late = create(&mut s, lisusd, btcb);
    blue.supply(&mut s, 4, &late, "100000").unwrap();
    blue.borrow(&mut s, 5, &late, "1", "40000").unwrap();
    s.admin(moolah, "setBroker(bytes32,address)", &[late.id.into(), PEOPLE[5].into()]).unwrap();
    s.at(2, 21, 0).unwrap();
    s.send(
        PEOPLE[5],
        moolah,
        &format!("liquidateBrokerPosition({PARAMS},address)"),
        &[late.params(), PEOPLE[5].into()],
    )
    .unwrap();

    s.at(3, 12, 0).unwrap();
    price(&mut s, book, bnb, "250");
    blue.liquidate(&mut s, 6, &by_bnb, 2, Some("300.5")).unwrap();
    s.admin(moolah, "setPaused(bool)", &[true.into()]).unwrap();
    s.at(4, 0, 0).unwrap();
    blue.liquidate(&mut s, 6, &by_bnb, 1, Some("1")).unwrap();
    let mut told = s.end().unwrap();

    let more = format!("variant = \"moolah\"\ndeployed_block = {deployed}");
    let entry = ("moolah", moolah);
    let mut silver =
        Silver::of(&told, &Place { family: "morpho_blue", csu: "moolah_story", entry, more: &more });
    let all = [by_bnb, lend_bnb, late];
    let (mut legs, mut bad_debts) = (0, 0);
    for (index, day) in STORY_DAYS.iter().enumerate() {
        let markets = if index == 0 { &all[..2] } else { &all[..] };
        compare_markets(&mut silver, &mut told, day, &blue, (book, markets));
        let row = silver.reserve(day, &by_bnb.id(), lisusd.address, "base");
        assert_eq!(row["is_paused"], (index == 2).to_string());
        if index > 0 {
            let row = silver.reserve(day, &late.id(), lisusd.address, "base");
            assert!(row["flags"].contains("broker_market"), "{row:#?}");
        }
        let (of_day, bad) = compare_liquidations(&mut silver, &mut told, day, (book, &all));
        legs += of_day;
        bad_debts += bad;
    }
    assert_eq!((legs, bad_debts), (3, 2));
    silver.is_the_same_backwards();
    silver.tell();
}

fn compare_markets(
    silver: &mut Silver,
    told: &mut Told,
    day: &Day,
    blue: &Blue,
    (book, markets): (Address, &[Market]),
) {
    let last = told.last_block(day).unwrap().number;
    for market in markets {
        let token = market.loan.address;
        let row = silver.reserve(day, &market.id(), token, "base");
        let (supplied, borrowed) = blue.totals(told, last, market).unwrap();
        let price = told.uint(last, book, "peek(address)", &[token.into()]).unwrap();
        let of = &mut silver.compared;
        of.same(&row, "status", "collected");
        of.same(&row, "supplied_raw", supplied);
        of.same(&row, "borrowed_raw", borrowed);
        of.same(&row, "available_raw", supplied - borrowed);
        of.close(&row, "borrow_apr", scaled(U256::from(FIXED_RATE) * U256::from(31_536_000), 18));
        of.close(&row, "price_usd", scaled(price, 8));
        of.close(&row, "supplied_usd", scaled(supplied * price, i32::from(market.loan.decimals) + 8));
    }
    let backing: BTreeSet<Address> = markets.iter().map(|market| market.collateral.address).collect();
    for token in &backing {
        let row = silver.reserve(day, &lower(blue.morpho), *token, "collateral");
        let held = blue.collateral(told, last, markets, *token).unwrap();
        silver.compared.same(&row, "supplied_raw", held);
    }
    assert_eq!(silver.reserves(day).len(), markets.len() + backing.len(), "{}", day.date);
}

/// How many legs, and how many of them with bad debt.
fn compare_liquidations(
    silver: &mut Silver,
    told: &mut Told,
    day: &Day,
    (book, markets): (Address, &[Market]),
) -> (usize, usize) {
    let logs = told.logs(day, &[LIQUIDATE]).unwrap();
    let rows = silver.liquidations(day);
    assert_eq!(rows.len(), logs.len(), "{}", day.date);
    let mut bad = 0;
    for (row, log) in rows.iter().zip(&logs) {
        let market = markets.iter().find(|market| market.id == U256::from_be_bytes(log.topics[1].0)).unwrap();
        let mut usd = |token: Token, amount: U256| {
            let price = told.uint(log.block.number, book, "peek(address)", &[token.address.into()]).unwrap();
            scaled(amount * price, i32::from(token.decimals) + 8)
        };
        let (repaid, seized, bad_debt) = (log.word(0).unwrap(), log.word(2).unwrap(), log.word(3).unwrap());
        // Nothing was seized: the broker's debt was written off, and the event's repaid amount is the bad debt again.
        let by_broker = seized.is_zero();
        let repaid = if by_broker { U256::ZERO } else { repaid };
        let of = &mut silver.compared;
        of.place(row, log, "event_block");
        of.same(row, "liquidator", lower(log.sender));
        of.same(row, "borrower", lower(log.address_topic(3).unwrap()));
        of.same(row, "debt_token", lower(market.loan.address));
        of.same(row, "debt_raw", repaid);
        of.same(row, "coll_raw", seized);
        of.close(row, "debt_usd", usd(market.loan, repaid));
        of.close(row, "coll_usd", usd(market.collateral, seized));
        assert_eq!(row["flags"].contains("broker_bad_debt"), by_broker, "{row:#?}");
        if bad_debt.is_zero() {
            of.null(row, "bad_debt_raw");
        } else {
            of.same(row, "bad_debt_raw", bad_debt);
            of.close(row, "bad_debt_usd", usd(market.loan, bad_debt));
            bad += 1;
        }
    }
    (rows.len(), bad)
}
