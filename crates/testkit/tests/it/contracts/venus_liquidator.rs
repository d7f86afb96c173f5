//! Venus's core pool as it is on BNB Chain: a market of the chain's coin (vBNB), VAI that is minted against collateral, and the
//! Liquidator through which all goes, so that its log and the market's are one liquidation.

use super::{Place, Silver, lower, scaled, story};
use alloy_primitives::{Address, U256, address};
use testkit::devnet::Day;
use testkit::devnet::aave::units;
use testkit::devnet::abi::{self, Value, address_at};
use testkit::devnet::expected_families::accrued;
use testkit::devnet::story::{PEOPLE, STORY_DAYS, Story, Told};
use testkit::devnet::venus::{Market, Surroundings, Vai, Venus};

const ROUTED: &str = "LiquidateBorrowedTokens(address,address,uint256,address,address,uint256,uint256)";
const OF_MARKET: &str = "LiquidateBorrow(address,address,uint256,address,uint256)";
const OF_VAI: &str = "LiquidateVAI(address,address,uint256,address,uint256)";
const TREASURY: Address = address!("00000000000000000000000000000000000000fe");

/// Through the Liquidator: `debt` is a market, or VAI's controller.
fn liquidate(
    s: &mut Story,
    liquidator: Address,
    who: usize,
    (debt, user): (Address, usize),
    amount: U256,
    coin: bool,
    of: &Market,
) {
    let signature = "liquidateBorrow(address,address,uint256,address)";
    let args = [debt.into(), PEOPLE[user].into(), amount.into(), of.v_token.into()];
    let value = if coin { amount } else { U256::ZERO };
    s.chain.send_with_value(PEOPLE[who], liquidator, signature, &abi::call(signature, &args), value).unwrap();
}

fn whole(amount: &str) -> U256 {
    units(amount, 18).unwrap()
}

#[test]
#[ignore = "takes anvil and Venus from npm: make test-contracts"]
fn venus_with_its_liquidator_vai_and_coin_is_what_its_contracts_and_receipts_say() {
    let mut s = story();
    let mut venus = Venus::deploy(&mut s).unwrap();
    let around = Surroundings::deploy(&mut s).unwrap();
    venus.use_oracle(&mut s, around.oracle).unwrap();
    let usdt = s.token("USDT", 18).unwrap();
    let usdt = venus.list(&mut s, usdt, "0.9997", "0.8").unwrap();
    let btc = s.token("BTCB", 18).unwrap();
    let btc = venus.list(&mut s, btc, "69412.35", "0.75").unwrap();
    let bnb = venus.list_coin(&mut s, "565.25", "0.8").unwrap();
    let vai = venus.add_vai(&mut s, TREASURY).unwrap();
    // What VAI is worth is asked of the oracle, too, which finds no token in it.
    let vai_price = [vai.token.address.into(), whole("0.9985").into()];
    s.admin(venus.oracle, "setDirectPrice(address,uint256)", &vai_price).unwrap();
    let liquidator = venus.add_liquidator(&mut s, &bnb, around.reserve).unwrap();

    s.at(0, 20, 0).unwrap();
    venus.mint(&mut s, 0, &usdt, "500000.123").unwrap();
    let deposit = abi::call("mint()", &[]);
    for (who, coins) in [(0, "300"), (4, "90.5")] {
        s.chain.send_with_value(PEOPLE[who], bnb.v_token, "mint()", &deposit, whole(coins)).unwrap();
        let entered = [Value::Array(vec![bnb.v_token.into()])];
        s.send(PEOPLE[who], venus.comptroller, "enterMarkets(address[])", &entered).unwrap();
    }
    venus.mint(&mut s, 1, &btc, "3.5").unwrap();
    venus.borrow(&mut s, 1, &usdt, "150000").unwrap();
    venus.mint(&mut s, 2, &btc, "1").unwrap();
    s.send(PEOPLE[2], vai.controller, "mintVAI(uint256)", &[whole("25000").into()]).unwrap();
    venus.borrow(&mut s, 2, &usdt, "20000").unwrap();
    venus.mint(&mut s, 3, &usdt, "100000").unwrap();
    venus.borrow(&mut s, 3, &bnb, "130").unwrap();
    venus.borrow(&mut s, 4, &usdt, "39000").unwrap();
    // VAI for the one who will repay it.
    venus.mint(&mut s, 6, &btc, "5").unwrap();
    s.send(PEOPLE[6], vai.controller, "mintVAI(uint256)", &[whole("60000").into()]).unwrap();

    // Midnight exactly: a debt of USDT; later one of VAI.
    s.at(1, 0, 0).unwrap();
    venus.price(&mut s, &btc, "56000").unwrap();
    s.fund(PEOPLE[7], usdt.token.address, liquidator, whole("1000000")).unwrap();
    liquidate(&mut s, liquidator, 7, (usdt.v_token, 1), whole("10000.5"), false, &btc);
    s.at(1, 16, 0).unwrap();
    s.send(
        PEOPLE[6],
        vai.token.address,
        "approve(address,uint256)",
        &[liquidator.into(), whole("60000").into()],
    )
    .unwrap();
    liquidate(&mut s, liquidator, 6, (vai.controller, 2), whole("4000"), false, &btc);

    // The coin as the debt, and then as the collateral, two in one block.
    s.at(2, 9, 0).unwrap();
    venus.price(&mut s, &bnb, "640.5").unwrap();
    liquidate(&mut s, liquidator, 7, (bnb.v_token, 3), whole("40.25"), true, &usdt);
    s.at(2, 20, 0).unwrap();
    venus.price(&mut s, &bnb, "520").unwrap();
    liquidate(&mut s, liquidator, 7, (usdt.v_token, 4), whole("9000"), false, &bnb);
    liquidate(&mut s, liquidator, 7, (usdt.v_token, 1), whole("20000"), false, &btc);
    s.at(3, 10, 0).unwrap();
    venus.mint(&mut s, 5, &usdt, "1000").unwrap();
    s.at(4, 0, 0).unwrap();
    venus.price(&mut s, &btc, "50000").unwrap();
    liquidate(&mut s, liquidator, 7, (usdt.v_token, 1), whole("1000"), false, &btc);
    let mut told = s.end().unwrap();

    let more = format!(
        "variant = \"venus_core\"\ndeployed_block = {}\ncontracts = {{ liquidator = \"{liquidator}\", wrapped_native = \"{}\" }}",
        venus.deployed_block, bnb.token.address,
    );
    let entry = ("comptroller", venus.comptroller);
    let mut silver = Silver::of(
        &told,
        &Place { family: "compound_v2", csu: "venus_liquidator_story", entry, more: &more },
    );
    let all = [usdt, btc, bnb];
    let (mut legs, mut of_vai) = (0, 0);
    for day in &STORY_DAYS {
        compare_markets(&mut silver, &mut told, day, &all);
        compare_vai(&mut silver, &mut told, day, &vai);
        assert_eq!(silver.reserves(day).len(), all.len() + 1, "{}", day.date);
        let (of_day, vais) = compare_liquidations(&mut silver, &mut told, day, &venus, &vai, &all);
        legs += of_day;
        of_vai += vais;
    }
    assert_eq!((legs, of_vai), (5, 1));
    silver.is_the_same_backwards();
    silver.tell();
}

fn compare_markets(silver: &mut Silver, told: &mut Told, day: &Day, all: &[Market]) {
    let last = told.last_block(day).unwrap().number;
    for market in all {
        let row = silver.reserve(day, &lower(market.v_token), market.token.address, "reserve");
        let borrows = accrued(told, last, market.v_token, "totalBorrows()").unwrap();
        let reserves = accrued(told, last, market.v_token, "totalReserves()").unwrap();
        let cash = told.uint(last, market.v_token, "getCash()", &[]).unwrap();
        let of = &mut silver.compared;
        of.same(&row, "status", "collected");
        of.same(&row, "symbol", market.token.symbol);
        of.same(&row, "borrowed_raw", borrows);
        of.same(&row, "reserves_raw", reserves);
        of.same(&row, "available_raw", cash);
        of.same(&row, "supplied_raw", cash + borrows - reserves);
        assert_eq!(row["flags"].contains("native_coin"), market.is_coin, "{row:#?}");
    }
}

fn compare_vai(silver: &mut Silver, told: &mut Told, day: &Day, vai: &Vai) {
    let last = told.last_block(day).unwrap().number;
    let row = silver.reserve(day, &lower(vai.controller), vai.token.address, "minted");
    let supply = told.uint(last, vai.token.address, "totalSupply()", &[]).unwrap();
    let rate = told.uint(last, vai.controller, "getVAIRepayRate()", &[]).unwrap();
    let of = &mut silver.compared;
    of.same(&row, "status", "collected");
    of.same(&row, "borrowed_raw", supply);
    of.close(&row, "borrow_apr", scaled(rate, 18));
    of.close(&row, "price_usd", 0.9985);
    assert!(row["flags"].contains("principal_only"), "{row:#?}");
}

/// How many legs, and how many of them of VAI.
fn compare_liquidations(
    silver: &mut Silver,
    told: &mut Told,
    day: &Day,
    venus: &Venus,
    vai: &Vai,
    all: &[Market],
) -> (usize, usize) {
    let logs = told.logs(day, &[OF_MARKET, OF_VAI]).unwrap();
    // The Liquidator's own come after those of the markets, one for each.
    let routed = told.logs(day, &[ROUTED]).unwrap();
    assert_eq!(logs.len(), routed.len(), "{}", day.date);
    let rows = silver.liquidations(day);
    assert_eq!(
        rows.len(),
        logs.len(),
        "{}: the Liquidator's logs are no liquidations of their own",
        day.date
    );
    let mut of_vai = 0;
    for ((row, log), route) in rows.iter().zip(&logs).zip(&routed) {
        assert_eq!((&log.tx, log.index < route.index), (&route.tx, true));
        let market = |v_token: Address| all.iter().find(|market| market.v_token == v_token).unwrap();
        let debt = if log.emitter == vai.controller { vai.token } else { market(log.emitter).token };
        let collateral = market(address_at(&log.data, 3).unwrap());
        let block = log.block.number;
        let mut price = |of: Address| {
            told.uint(block, venus.oracle, "getUnderlyingPrice(address)", &[of.into()]).unwrap()
        };
        let debt_price = price(if log.emitter == vai.controller { vai.token.address } else { log.emitter });
        let collateral_price = price(collateral.v_token);
        let rate = told.uint(block, collateral.v_token, "exchangeRateStored()", &[]).unwrap();
        // The third word of the Liquidator's data is the treasury's part of the vTokens, the fourth the liquidator's.
        let wad = U256::from(10).pow(U256::from(18));
        let got = route.word(3).unwrap() * rate / wad;
        let repaid = log.word(2).unwrap();
        assert!(route.word(2).unwrap() > U256::ZERO, "the treasury has a part");
        assert_eq!(address_at(&log.data, 0).unwrap(), route.emitter);
        let of = &mut silver.compared;
        of.place(row, log, "event_block");
        of.same(row, "market_id", lower(log.emitter));
        of.same(row, "liquidator", lower(route.sender));
        of.same(row, "borrower", lower(route.address_topic(2).unwrap()));
        of.same(row, "debt_token", lower(debt.address));
        of.same(row, "debt_raw", repaid);
        of.same(row, "coll_token", lower(collateral.token.address));
        of.same(row, "coll_raw", got);
        of.close(row, "debt_usd", scaled(repaid * debt_price, 36));
        of.close(row, "coll_usd", scaled(got * collateral_price, 36));
        of_vai += usize::from(log.emitter == vai.controller);
    }
    (rows.len(), of_vai)
}
