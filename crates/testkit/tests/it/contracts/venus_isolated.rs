//! An isolated pool of Venus from its compiled npm artefacts: its `LiquidateBorrow` has the first topic of Compound's and three
//! indexed arguments; an account too small to be liquidated is healed, and what stays unpaid is bad debt.

use super::{Place, Silver, lower, scaled, story};
use alloy_primitives::{Address, U256, address, keccak256};
use testkit::devnet::Day;
use testkit::devnet::aave::{DEPLOYER, units};
use testkit::devnet::abi::Value;
use testkit::devnet::expected_families::accrued;
use testkit::devnet::story::{Emitted, PEOPLE, STORY_DAYS, Story, Token, Told};
use testkit::devnet::venus::{Artefacts, Market, Surroundings, mantissa, proxy};

const LIQUIDATE: &str = "LiquidateBorrow(address,address,uint256,address,uint256)";
const HEAL: &str = "HealBorrow(address,address,uint256)";
const BAD_DEBT: &str = "BadDebtIncreased(address,uint256,uint256,uint256)";
const TRANSFER: &str = "Transfer(address,address,uint256)";
const SHORTFALL: Address = address!("00000000000000000000000000000000000000fd");
/// As on BNB Chain, where a block took three seconds.
const BLOCKS_A_YEAR: u64 = 10_512_000;

struct Pool {
    comptroller: Address,
    deployed_block: u64,
    v_token_code: Address,
    model: Address,
    access: Address,
    around: Surroundings,
}

impl Pool {
    fn deploy(s: &mut Story) -> Self {
        let artefacts = Artefacts::isolated_pools(&s.artifacts).unwrap();
        let core = Artefacts::core_pool(&s.artifacts).unwrap();
        let around = Surroundings::deploy(s).unwrap();
        let access = core.create(s, "test/AccessControlManagerMock", &[DEPLOYER.into()]).unwrap();
        // The deployer stands for the registry of pools, which lists markets.
        let code = artefacts.create(s, "Comptroller", &[DEPLOYER.into()]).unwrap();
        let deployed_block = s.chain.next_block();
        let comptroller = proxy(s, code).unwrap();
        s.admin(comptroller, "initialize(uint256,address)", &[100.into(), access.into()]).unwrap();
        s.admin(comptroller, "setPriceOracle(address)", &[around.oracle.into()]).unwrap();
        for (signature, value) in [
            ("setCloseFactor(uint256)", "0.5"),
            ("setLiquidationIncentive(uint256)", "1.1"),
            ("setMinLiquidatableCollateral(uint256)", "100"),
        ] {
            s.admin(comptroller, signature, &[mantissa(value).unwrap()]).unwrap();
        }
        let args = [false.into(), BLOCKS_A_YEAR.into(), 5_000_000_000_000.into()];
        let v_token_code = artefacts.create(s, "VToken", &args).unwrap();
        let rates =
            [mantissa("0.02").unwrap(), mantissa("0.15").unwrap(), false.into(), BLOCKS_A_YEAR.into()];
        let model = artefacts.create(s, "WhitePaperInterestRateModel", &rates).unwrap();
        Self { comptroller, deployed_block, v_token_code, model, access, around }
    }

    fn list(&self, s: &mut Story, token: Token, price: &str, factors: [&str; 2]) -> Market {
        let v_token = proxy(s, self.v_token_code).unwrap();
        let args = [
            token.address.into(),
            self.comptroller.into(),
            self.model.into(),
            units("0.02", 10 + token.decimals).unwrap().into(),
            format!("Venus {}", token.symbol).into(),
            format!("v{}", token.symbol).into(),
            8.into(),
            DEPLOYER.into(),
            self.access.into(),
            Value::Tuple(vec![SHORTFALL.into(), self.around.reserve.into()]),
            mantissa("0.2").unwrap(),
        ];
        let signature = "initialize(address,address,address,uint256,string,string,uint8,address,address,(address,address),uint256)";
        s.admin(v_token, signature, &args).unwrap();
        s.admin(v_token, "setReduceReservesBlockDelta(uint256)", &[1_000_000_000.into()]).unwrap();
        let market = Market { v_token, token, is_coin: false };
        self.price(s, &market, price);
        s.admin(self.comptroller, "supportMarket(address)", &[v_token.into()]).unwrap();
        for signature in
            ["setMarketSupplyCaps(address[],uint256[])", "setMarketBorrowCaps(address[],uint256[])"]
        {
            let cap = units("1000000", token.decimals).unwrap();
            let args = [Value::Array(vec![v_token.into()]), Value::Array(vec![cap.into()])];
            s.admin(self.comptroller, signature, &args).unwrap();
        }
        let [factor, threshold] = factors.map(|factor| mantissa(factor).unwrap());
        let signature = "setCollateralFactor(address,uint256,uint256)";
        s.admin(self.comptroller, signature, &[v_token.into(), factor, threshold]).unwrap();
        market
    }

    fn price(&self, s: &mut Story, market: &Market, price: &str) {
        let price = units(price, 36 - market.token.decimals).unwrap();
        let args = [market.token.address.into(), price.into()];
        s.admin(self.around.oracle, "setDirectPrice(address,uint256)", &args).unwrap();
    }

    fn supply(&self, s: &mut Story, who: usize, market: &Market, amount: &str) {
        let amount = units(amount, market.token.decimals).unwrap();
        s.fund(PEOPLE[who], market.token.address, market.v_token, amount).unwrap();
        s.send(PEOPLE[who], market.v_token, "mint(uint256)", &[amount.into()]).unwrap();
        let entered = [Value::Array(vec![market.v_token.into()])];
        s.send(PEOPLE[who], self.comptroller, "enterMarkets(address[])", &entered).unwrap();
    }

    fn borrow(&self, s: &mut Story, who: usize, market: &Market, amount: &str) {
        let entered = [Value::Array(vec![market.v_token.into()])];
        s.send(PEOPLE[who], self.comptroller, "enterMarkets(address[])", &entered).unwrap();
        let amount = units(amount, market.token.decimals).unwrap();
        s.send(PEOPLE[who], market.v_token, "borrow(uint256)", &[amount.into()]).unwrap();
    }

    fn liquidate(&self, s: &mut Story, (debt, user, amount): (&Market, usize, &str), collateral: &Market) {
        let amount = units(amount, debt.token.decimals).unwrap();
        s.fund(PEOPLE[7], debt.token.address, debt.v_token, amount).unwrap();
        let args = [PEOPLE[user].into(), amount.into(), collateral.v_token.into()];
        s.send(PEOPLE[7], debt.v_token, "liquidateBorrow(address,uint256,address)", &args).unwrap();
    }
}

#[test]
#[ignore = "takes anvil and Venus from npm: make test-contracts"]
fn an_isolated_pool_of_venus_is_what_its_contracts_and_receipts_say() {
    let mut s = story();
    let pool = Pool::deploy(&mut s);
    let (usdt, eth) = (s.token("USDT", 6).unwrap(), s.token("ETH", 18).unwrap());
    let usdt = pool.list(&mut s, usdt, "0.9995", ["0.8", "0.85"]);
    let eth = pool.list(&mut s, eth, "2512.47", ["0.7", "0.75"]);
    s.at(0, 20, 0).unwrap();
    pool.supply(&mut s, 0, &usdt, "400000.123456");
    pool.supply(&mut s, 1, &eth, "60.5");
    pool.borrow(&mut s, 1, &usdt, "100000");
    pool.supply(&mut s, 2, &eth, "0.05");
    pool.borrow(&mut s, 2, &usdt, "80");

    // Midnight exactly, then another part.
    s.at(1, 0, 0).unwrap();
    pool.price(&mut s, &eth, "2150");
    pool.liquidate(&mut s, (&usdt, 1, "20000.5"), &eth);
    s.at(1, 14, 0).unwrap();
    pool.price(&mut s, &eth, "2000.01");
    pool.liquidate(&mut s, (&usdt, 1, "15000"), &eth);

    // A small account is healed: its collateral is worth less than its debt.
    s.at(2, 9, 0).unwrap();
    pool.price(&mut s, &eth, "1300");
    s.fund(PEOPLE[6], usdt.token.address, usdt.v_token, units("1000", 6).unwrap()).unwrap();
    s.send(PEOPLE[6], pool.comptroller, "healAccount(address)", &[PEOPLE[2].into()]).unwrap();
    s.at(3, 11, 0).unwrap();
    pool.supply(&mut s, 3, &usdt, "5000");
    s.at(4, 0, 0).unwrap();
    pool.liquidate(&mut s, (&usdt, 1, "1000"), &eth);
    let mut told = s.end().unwrap();

    let more = format!("variant = \"venus_isolated\"\ndeployed_block = {}", pool.deployed_block);
    let entry = ("comptroller", pool.comptroller);
    let mut silver =
        Silver::of(&told, &Place { family: "compound_v2", csu: "venus_isolated_story", entry, more: &more });
    let mut counts = Vec::new();
    for day in &STORY_DAYS {
        compare_markets(&mut silver, &mut told, day, &pool, &[(usdt, "0.85"), (eth, "0.75")]);
        counts.push(compare_liquidations(&mut silver, &mut told, day, &pool, (&usdt, &eth)));
    }
    // By the number of topics: none of these would be read as Compound's of one topic.
    assert_eq!(counts, [2, 2, 0]);
    silver.is_the_same_backwards();
    silver.tell();
}

fn compare_markets(silver: &mut Silver, told: &mut Told, day: &Day, pool: &Pool, all: &[(Market, &str)]) {
    let last = told.last_block(day).unwrap().number;
    for (market, threshold) in all {
        let row = silver.reserve(day, &lower(market.v_token), market.token.address, "reserve");
        let borrows = accrued(told, last, market.v_token, "totalBorrows()").unwrap();
        let reserves = accrued(told, last, market.v_token, "totalReserves()").unwrap();
        let cash =
            told.uint(last, market.token.address, "balanceOf(address)", &[market.v_token.into()]).unwrap();
        let bad_debt = told.uint(last, market.v_token, "badDebt()", &[]).unwrap();
        let price = told
            .uint(last, pool.around.oracle, "getUnderlyingPrice(address)", &[market.v_token.into()])
            .unwrap();
        let supplied = cash + borrows + bad_debt - reserves;
        let of = &mut silver.compared;
        of.same(&row, "status", "collected");
        of.same(&row, "borrowed_raw", borrows);
        of.same(&row, "reserves_raw", reserves);
        of.same(&row, "available_raw", cash);
        of.same(&row, "deficit_raw", bad_debt);
        of.same(&row, "supplied_raw", supplied);
        of.close(&row, "price_usd", scaled(price, 36 - i32::from(market.token.decimals)));
        of.close(&row, "liq_threshold", threshold.parse().unwrap());
        of.close(&row, "supplied_usd", scaled(supplied * price, 36));
    }
    assert_eq!(silver.reserves(day).len(), all.len(), "{}", day.date);
}

/// How many legs.
fn compare_liquidations(
    silver: &mut Silver,
    told: &mut Told,
    day: &Day,
    pool: &Pool,
    (debt, collateral): (&Market, &Market),
) -> usize {
    let logs = told.logs(day, &[LIQUIDATE, HEAL, BAD_DEBT]).unwrap();
    let transfers = told.logs(day, &[TRANSFER]).unwrap();
    let rows = silver.liquidations(day);
    assert_eq!(rows.len(), logs.len(), "{}", day.date);
    for (row, log) in rows.iter().zip(&logs) {
        let block = log.block.number;
        let mut price = |market: &Market| {
            let args = [market.v_token.into()];
            told.uint(block, pool.around.oracle, "getUnderlyingPrice(address)", &args).unwrap()
        };
        let (debt_price, collateral_price) = (price(debt), price(collateral));
        silver.compared.place(row, log, "event_block");
        silver.compared.same(row, "market_id", lower(log.emitter));
        if log.topics[0] == keccak256(BAD_DEBT) {
            let of = &mut silver.compared;
            let unpaid = log.word(0).unwrap();
            assert!(!unpaid.is_zero());
            of.same(row, "borrower", lower(log.address_topic(1).unwrap()));
            of.same(row, "bad_debt_raw", unpaid);
            of.close(row, "bad_debt_usd", scaled(unpaid * debt_price, 36));
            of.null(row, "debt_raw");
            continue;
        }
        let repaid = log.word(0).unwrap();
        let of = &mut silver.compared;
        of.same(row, "liquidator", lower(log.sender));
        of.same(row, "borrower", lower(log.address_topic(2).unwrap()));
        of.same(row, "debt_token", lower(debt.token.address));
        of.same(row, "debt_raw", repaid);
        of.close(row, "debt_usd", scaled(repaid * debt_price, 36));
        if log.topics[0] == keccak256(HEAL) {
            of.null(row, "coll_raw");
            assert!(row["flags"].contains("collateral_not_in_log"), "{row:#?}");
            continue;
        }
        assert_eq!((log.topics.len(), log.data.len()), (4, 64));
        // What the liquidator was given, as the vToken's own transfer says: without the protocol's share.
        let is_given = |it: &&Emitted| {
            it.tx == log.tx
                && it.emitter == collateral.v_token
                && it.address_topic(2).ok() == Some(log.sender)
        };
        let given = transfers.iter().find(is_given).unwrap().word(0).unwrap();
        let rate = told.uint(block, collateral.v_token, "exchangeRateStored()", &[]).unwrap();
        let got = given * rate / U256::from(10).pow(U256::from(18));
        let of = &mut silver.compared;
        of.same(row, "coll_token", lower(collateral.token.address));
        of.same(row, "coll_raw", got);
        of.close(row, "coll_usd", scaled(got * collateral_price, 36));
    }
    rows.len()
}
