//! Venus's core pool from its compiled npm artefacts: a diamond, markets that count blocks, one listed on the second day
//! and one unlisted on the third.

use super::{Place, Silver, lower, scaled, story};
use alloy_primitives::{Address, U256};
use testkit::devnet::Day;
use testkit::devnet::abi::{address_at, uint_at};
use testkit::devnet::expected_families::accrued;
use testkit::devnet::story::{STORY_DAYS, Told};
use testkit::devnet::venus::{Market, Venus};

const LIQUIDATE: &str = "LiquidateBorrow(address,address,uint256,address,uint256)";
#[test]
#[ignore = "takes anvil and Venus from npm: make test-contracts"]
fn venus_core_pool_is_what_its_contracts_and_receipts_say() {
    let mut s = story();
    let venus = Venus::deploy(&mut s).unwrap();
    let usdt = s.token("USDT", 18).unwrap();
    let usdt = venus.list(&mut s, usdt, "0.9997", "0.8").unwrap();
    let btc = s.token("BTCB", 18).unwrap();
    let btc = venus.list(&mut s, btc, "69412.35", "0.75").unwrap();
    let usdc = s.token("USDC", 6).unwrap();
    let usdc = venus.list(&mut s, usdc, "1", "0.825").unwrap();
    s.at(0, 20, 0).unwrap();
    venus.mint(&mut s, 0, &usdt, "500000.123").unwrap();
    venus.mint(&mut s, 0, &usdc, "300000.5").unwrap();
    venus.mint(&mut s, 1, &btc, "3.5").unwrap();
    venus.borrow(&mut s, 1, &usdt, "150000").unwrap();
    venus.mint(&mut s, 2, &btc, "1").unwrap();
    venus.borrow(&mut s, 2, &usdc, "50000.000001").unwrap();

    s.at(1, 0, 0).unwrap();
    venus.price(&mut s, &btc, "56000").unwrap();
    venus.liquidate(&mut s, 7, &usdt, 1, "10000.5", &btc).unwrap();
    s.at(1, 16, 0).unwrap();
    venus.liquidate(&mut s, 6, &usdc, 2, "25000", &btc).unwrap();

    // A market more on the second day.
    s.at(2, 9, 0).unwrap();
    let eth = s.token("ETH", 18).unwrap();
    let eth = venus.list(&mut s, eth, "2500", "0.7").unwrap();
    s.at(2, 10, 0).unwrap();
    venus.mint(&mut s, 3, &eth, "80").unwrap();
    venus.borrow(&mut s, 3, &usdt, "130000").unwrap();
    s.at(2, 20, 0).unwrap();
    venus.price(&mut s, &eth, "2200").unwrap();
    venus.liquidate(&mut s, 7, &usdt, 3, "64000", &eth).unwrap();

    // A price so low that debt without collateral is left, which this line of code books nowhere; then a market goes.
    s.at(3, 11, 0).unwrap();
    venus.price(&mut s, &btc, "20000").unwrap();
    venus.liquidate(&mut s, 7, &usdt, 1, "55000", &btc).unwrap();
    s.at(3, 23, 56).unwrap();
    venus.unlist(&mut s, &usdc).unwrap();
    s.at(4, 0, 0).unwrap();
    venus.price(&mut s, &eth, "1900").unwrap();
    venus.liquidate(&mut s, 7, &usdt, 3, "1000", &eth).unwrap();
    let mut told = s.end().unwrap();

    let place = Place {
        family: "compound_v2",
        csu: "venus_story",
        entry: ("comptroller", venus.comptroller),
        more: "variant = \"venus_core\"\ndeployed_block = 1",
    };
    let mut silver = Silver::of(&told, &place);
    let all = [usdt, btc, usdc, eth];
    let mut legs = 0;
    for (index, day) in STORY_DAYS.iter().enumerate() {
        let markets = if index == 0 { &all[..3] } else { &all[..] };
        for market in markets {
            compare_market(
                &mut silver,
                &mut told,
                day,
                &venus,
                market,
                index == 2 && market.token.symbol == "USDC",
            );
        }
        assert_eq!(silver.reserves(day).len(), markets.len(), "{}", day.date);
        legs += compare_liquidations(&mut silver, &mut told, day, &venus, &all);
    }
    assert_eq!(legs, 4);
    silver.is_the_same_backwards();
    silver.tell();
}

fn compare_market(
    silver: &mut Silver,
    told: &mut Told,
    day: &Day,
    venus: &Venus,
    market: &Market,
    is_unlisted: bool,
) {
    let last = told.last_block(day).unwrap().number;
    let row = silver.reserve(day, &lower(market.v_token), market.token.address, "reserve");
    let borrows = accrued(told, last, market.v_token, "totalBorrows()").unwrap();
    let reserves = accrued(told, last, market.v_token, "totalReserves()").unwrap();
    let cash = told.uint(last, market.token.address, "balanceOf(address)", &[market.v_token.into()]).unwrap();
    let stale = told.uint(last, market.v_token, "totalBorrows()", &[]).unwrap();
    assert!(
        borrows.is_zero() || market.token.symbol == "BTCB" || borrows > stale,
        "{} accrues",
        market.token.symbol
    );
    let year = U256::from(told.blocks(day) * 365);
    let borrow_rate = told.uint(last, market.v_token, "borrowRatePerBlock()", &[]).unwrap();
    let supply_rate = told.uint(last, market.v_token, "supplyRatePerBlock()", &[]).unwrap();
    let price =
        told.uint(last, venus.oracle, "getUnderlyingPrice(address)", &[market.v_token.into()]).unwrap();
    let parameters =
        told.call(last, venus.comptroller, "markets(address)", &[market.v_token.into()]).unwrap();
    let of = &mut silver.compared;
    of.same(&row, "block_number", last);
    of.same(&row, "status", "collected");
    of.same(&row, "symbol", market.token.symbol);
    of.same(&row, "borrowed_raw", borrows);
    of.same(&row, "reserves_raw", reserves);
    of.same(&row, "available_raw", cash);
    of.same(&row, "supplied_raw", cash + borrows - reserves);
    of.same(&row, "is_active", !is_unlisted);
    of.null(&row, "deficit_raw");
    of.close(&row, "borrow_apr", scaled(borrow_rate * year, 18));
    of.close(&row, "supply_apr", scaled(supply_rate * year, 18));
    of.close(&row, "price_usd", scaled(price, 36 - i32::from(market.token.decimals)));
    of.close(&row, "ltv", scaled(uint_at(&parameters, 1).unwrap(), 18));
    of.close(&row, "reserve_factor", 0.2);
    of.close(&row, "supplied_usd", scaled((cash + borrows - reserves) * price, 36));
    of.close(&row, "borrowed_usd", scaled(borrows * price, 36));
}

fn compare_liquidations(
    silver: &mut Silver,
    told: &mut Told,
    day: &Day,
    venus: &Venus,
    all: &[Market],
) -> usize {
    let logs = told.logs(day, &[LIQUIDATE]).unwrap();
    let rows = silver.liquidations(day);
    assert_eq!(rows.len(), logs.len(), "{}", day.date);
    for (row, log) in rows.iter().zip(&logs) {
        let market = |v_token: Address| all.iter().find(|market| market.v_token == v_token).unwrap();
        let debt = market(log.emitter);
        let collateral = market(address_at(&log.data, 3).unwrap());
        let block = log.block.number;
        let price = |told: &mut Told, market: &Market| {
            told.uint(block, venus.oracle, "getUnderlyingPrice(address)", &[market.v_token.into()]).unwrap()
        };
        let (debt_price, collateral_price) = (price(told, debt), price(told, collateral));
        let rate = told.uint(block, collateral.v_token, "exchangeRateStored()", &[]).unwrap();
        let seized = log.word(4).unwrap() * rate / U256::from(10).pow(U256::from(18));
        let repaid = log.word(2).unwrap();
        let of = &mut silver.compared;
        of.place(row, log, "event_block");
        of.same(row, "market_id", lower(debt.v_token));
        of.same(row, "liquidator", lower(address_at(&log.data, 0).unwrap()));
        of.same(row, "borrower", lower(address_at(&log.data, 1).unwrap()));
        of.same(row, "debt_token", lower(debt.token.address));
        of.same(row, "debt_raw", repaid);
        of.same(row, "coll_token", lower(collateral.token.address));
        of.same(row, "coll_raw", seized);
        of.null(row, "bad_debt_raw");
        of.close(row, "debt_usd", scaled(repaid * debt_price, 36));
        of.close(row, "coll_usd", scaled(seized * collateral_price, 36));
    }
    rows.len()
}
