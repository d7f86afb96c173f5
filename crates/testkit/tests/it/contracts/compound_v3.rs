//! Compound III, by a market of our own with its interface, events and accounting (`contracts/Comet.sol`): npm has none.

use super::{Place, Silver, lower, scaled, story};
use alloy_primitives::{Address, I256, U256};
use testkit::devnet::Day;
use testkit::devnet::abi::{Value, uint_at};
use testkit::devnet::comet::{Asset, Comet};
use testkit::devnet::story::{PEOPLE, STORY_DAYS, Story, Told};

const DEBT: &str = "AbsorbDebt(address,address,uint256,uint256)";
const COLLATERAL: &str = "AbsorbCollateral(address,address,address,uint256,uint256)";
const TRUTH: &str = "Truth(address,uint256,uint256)";

/// A token with a feed that the market takes.
fn asset(
    s: &mut Story,
    market: &Comet,
    (symbol, decimals, usd): (&'static str, u8, &str),
    percents: [u64; 3],
    cap: &str,
) -> Asset {
    let (token, feed) = (s.token(symbol, decimals).unwrap(), s.feed(symbol, usd).unwrap());
    market.add(s, token, feed, percents, cap).unwrap()
}

#[test]
#[ignore = "takes anvil and solc from npm: make test-contracts"]
fn compound_v3_is_what_its_contract_and_receipts_say() {
    let mut s = story();
    let (usdc, feed) = (s.token("USDC", 6).unwrap(), s.feed("USDC", "0.9998").unwrap());
    let market = Comet::deploy(&mut s, usdc, feed).unwrap();
    let weth = asset(&mut s, &market, ("WETH", 18, "2512.47"), [82, 89, 93], "1000");
    let wbtc = asset(&mut s, &market, ("WBTC", 8, "69412.35"), [70, 77, 95], "20.5");
    s.at(0, 19, 0).unwrap();
    let base = market.base;
    market.supply(&mut s, 0, &base, "500000.123456").unwrap();
    market.supply(&mut s, 1, &weth, "60").unwrap();
    market.supply(&mut s, 1, &wbtc, "0.5").unwrap();
    market.withdraw(&mut s, 1, &base, "130000").unwrap();
    market.supply(&mut s, 2, &weth, "30.5").unwrap();
    market.withdraw(&mut s, 2, &base, "60000.000001").unwrap();
    market.supply(&mut s, 3, &wbtc, "2").unwrap();
    market.withdraw(&mut s, 3, &base, "90000").unwrap();

    // Midnight exactly: one account with two tokens, whose collateral is worth more than its debt.
    s.at(1, 0, 0).unwrap();
    s.move_feed(weth.feed, "2000").unwrap();
    s.move_feed(wbtc.feed, "57000").unwrap();
    market.absorb(&mut s, 7, &[1]).unwrap();
    s.at(1, 14, 0).unwrap();
    s.move_feed(weth.feed, "2512.47").unwrap();

    // The second day has a token more, and two accounts in one transaction, one of them short.
    s.at(2, 10, 0).unwrap();
    let link = asset(&mut s, &market, ("LINK", 18, "11.2143"), [75, 82, 90], "50000");
    market.supply(&mut s, 4, &link, "9000.5").unwrap();
    market.withdraw(&mut s, 4, &base, "60000").unwrap();
    s.at(2, 18, 0).unwrap();
    s.move_feed(link.feed, "6.5").unwrap();
    s.move_feed(weth.feed, "2180.01").unwrap();
    market.absorb(&mut s, 6, &[4, 2]).unwrap();

    s.at(3, 9, 0).unwrap();
    s.admin(market.address, "pause(uint8)", &[16.into()]).unwrap();
    market.supply(&mut s, 5, &base, "1000").unwrap();
    s.at(4, 0, 0).unwrap();
    s.move_feed(wbtc.feed, "40000").unwrap();
    market.absorb(&mut s, 7, &[3]).unwrap();
    let mut told = s.end().unwrap();

    let more = format!("deployed_block = {}", market.deployed_block);
    let entry = ("comet", market.address);
    let mut silver =
        Silver::of(&told, &Place { family: "compound_v3", csu: "compound_v3_story", entry, more: &more });
    let all = [weth, wbtc, link];
    let (mut legs, mut short) = (0, 0);
    for (index, day) in STORY_DAYS.iter().enumerate() {
        let assets = if index == 0 { &all[..2] } else { &all[..] };
        compare_market(&mut silver, &mut told, day, &market, assets);
        let base_row = silver.reserve(day, &lower(market.address), base.token.address, "base");
        assert_eq!(base_row["flags"].contains("buy_paused"), index == 2, "{base_row:#?}");
        let (of_day, short_of_day) = compare_liquidations(&mut silver, &mut told, day, &market, &all);
        legs += of_day;
        short += short_of_day;
    }
    assert_eq!((legs, short), (3 + 4, 1));
    silver.is_the_same_backwards();
    silver.tell();
}

fn compare_market(silver: &mut Silver, told: &mut Told, day: &Day, market: &Comet, assets: &[Asset]) {
    let last = told.last_block(day).unwrap().number;
    let (comet, base) = (market.address, market.base);
    let mut read =
        |to: Address, signature: &str, args: &[Value]| told.uint(last, to, signature, args).unwrap();
    let row = silver.reserve(day, &lower(comet), base.token.address, "base");
    let price = read(comet, "getPrice(address)", &[base.feed.address.into()]);
    let utilization = read(comet, "getUtilization()", &[]);
    let year = U256::from(31_536_000);
    let of = &mut silver.compared;
    of.same(&row, "block_number", last);
    of.same(&row, "status", "collected");
    of.same(&row, "supplied_raw", read(comet, "totalSupply()", &[]));
    of.same(&row, "borrowed_raw", read(comet, "totalBorrow()", &[]));
    of.same(&row, "available_raw", read(base.token.address, "balanceOf(address)", &[comet.into()]));
    of.same(&row, "reserves_raw", I256::from_raw(read(comet, "getReserves()", &[])));
    of.close(
        &row,
        "supply_apr",
        scaled(read(comet, "getSupplyRate(uint256)", &[utilization.into()]) * year, 18),
    );
    of.close(
        &row,
        "borrow_apr",
        scaled(read(comet, "getBorrowRate(uint256)", &[utilization.into()]) * year, 18),
    );
    of.close(&row, "price_usd", scaled(price, 8));
    of.close(&row, "identity_gap", 0.0);
    for asset in assets {
        let row = silver.reserve(day, &lower(comet), asset.token.address, "collateral");
        let supplied = PEOPLE.iter().fold(U256::ZERO, |sum, person| {
            sum + read(
                comet,
                "collateralOf(address,address)",
                &[(*person).into(), asset.token.address.into()],
            )
        });
        let held = read(asset.token.address, "balanceOf(address)", &[comet.into()]);
        let price = read(comet, "getPrice(address)", &[asset.feed.address.into()]);
        let of = &mut silver.compared;
        of.same(&row, "status", "collected");
        of.same(&row, "supplied_raw", supplied);
        of.same(&row, "reserves_raw", held - supplied);
        of.null(&row, "borrowed_raw");
        of.close(&row, "price_usd", scaled(price, 8));
        of.close(&row, "ltv", scaled(U256::from(asset.factors[0]), 18));
        of.close(&row, "liq_threshold", scaled(U256::from(asset.factors[1]), 18));
        of.close(&row, "liq_bonus", 1.0 - scaled(U256::from(asset.factors[2]), 18));
        of.close(&row, "supplied_usd", scaled(supplied * price, i32::from(asset.token.decimals) + 8));
    }
    assert_eq!(silver.reserves(day).len(), 1 + assets.len(), "{}", day.date);
}

/// How many legs, and how many of them left debt uncovered.
fn compare_liquidations(
    silver: &mut Silver,
    told: &mut Told,
    day: &Day,
    market: &Comet,
    assets: &[Asset],
) -> (usize, usize) {
    let logs = told.logs(day, &[DEBT, COLLATERAL]).unwrap();
    let truths = told.logs(day, &[TRUTH]).unwrap();
    let rows = silver.liquidations(day);
    assert_eq!(rows.len(), logs.len(), "{}", day.date);
    let mut short = 0;
    for (row, log) in rows.iter().zip(&logs) {
        let borrower = log.address_topic(2).unwrap();
        let block = log.block.number;
        let mut price = |asset: &Asset| {
            told.uint(block, market.address, "getPrice(address)", &[asset.feed.address.into()]).unwrap()
        };
        let amount = uint_at(&log.data, 0).unwrap();
        let of = &mut silver.compared;
        of.place(row, log, "event_block");
        of.same(row, "liquidator", lower(log.sender));
        of.same(row, "borrower", lower(borrower));
        if log.topics.len() == 4 {
            let token = log.address_topic(3).unwrap();
            let asset = assets.iter().find(|asset| asset.token.address == token).unwrap();
            of.same(row, "coll_token", lower(token));
            of.same(row, "coll_raw", amount);
            of.close(row, "coll_usd", scaled(amount * price(asset), i32::from(asset.token.decimals) + 8));
            of.null(row, "debt_raw");
            continue;
        }
        of.same(row, "debt_token", lower(market.base.token.address));
        of.same(row, "debt_raw", amount);
        of.close(row, "debt_usd", scaled(amount * price(&market.base), 6 + 8));
        of.null(row, "coll_raw");
        let truth = truths.iter().find(|it| it.address_topic(1).unwrap() == borrower).unwrap();
        let (debt, covered) = (truth.word(0).unwrap(), truth.word(1).unwrap());
        let uncovered = debt.saturating_sub(covered);
        // An estimate from values of 8 digits in the events: within two hundredths of a cent.
        let estimate: U256 = row["bad_debt_raw"].parse().unwrap();
        assert!(estimate.abs_diff(uncovered) <= U256::from(200), "{estimate} is not {uncovered}: {row:#?}");
        assert_eq!(estimate.is_zero(), uncovered.is_zero());
        assert_eq!(row["flags"].contains("paid_beyond_debt"), debt < covered, "{row:#?}");
        short += usize::from(!uncovered.is_zero());
    }
    (rows.len(), short)
}
