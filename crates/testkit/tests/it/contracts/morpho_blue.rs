//! Morpho Blue 1.0.0 from its npm sources: markets are known from logs alone, one is created on the second day.

use super::{Place, Silver, lower, scaled, story};
use alloy_primitives::{Address, U256, address};
use testkit::devnet::aave::{DEPLOYER, units};
use testkit::devnet::abi::{Value, uint_at};
use testkit::devnet::artifacts::package;
use testkit::devnet::solidity::{Settings, Sources};
use testkit::devnet::story::{Emitted, PEOPLE, STORY_DAYS, Story, Told};

pub(super) const SOLC: Settings =
    Settings { solc: "0.8.19", evm: "paris", optimizer_runs: 999_999, via_ir: true };
pub(super) const LIQUIDATE: &str =
    "Liquidate(bytes32,address,address,uint256,uint256,uint256,uint256,uint256)";
pub(super) const PARAMS: &str = "(address,address,address,address,uint256)";
const FEES: Address = address!("00000000000000000000000000000000000000fe");
/// 3 % a year.
pub(super) const FIXED_RATE: u64 = 951_293_759;

#[derive(Clone, Copy)]
pub(super) struct Token {
    pub(super) address: Address,
    pub(super) decimals: u8,
}

#[derive(Clone, Copy)]
pub(super) struct Market {
    pub(super) loan: Token,
    pub(super) collateral: Token,
    pub(super) oracle: Address,
    pub(super) irm: Address,
    pub(super) lltv: u64,
    pub(super) id: U256,
}

impl Market {
    pub(super) fn params(&self) -> Value {
        Value::Tuple(vec![
            self.loan.address.into(),
            self.collateral.address.into(),
            self.oracle.into(),
            self.irm.into(),
            self.lltv.into(),
        ])
    }

    pub(super) fn id(&self) -> String {
        format!("{:#066x}", self.id)
    }
}

/// The contracts of the story.
pub(super) struct Blue {
    pub(super) morpho: Address,
    pub(super) reader: Address,
}

impl Blue {
    /// Creates a market whose oracle already has a price.
    pub(super) fn create(
        &self,
        s: &mut Story,
        (loan, collateral): (Token, Token),
        oracle: Address,
        irm: Address,
        lltv: u64,
    ) -> Market {
        let mut market = Market { loan, collateral, oracle, irm, lltv, id: U256::ZERO };
        s.admin(self.morpho, &format!("createMarket({PARAMS})"), &[market.params()]).unwrap();
        let id = s.read(self.reader, &format!("id({PARAMS})"), &[market.params()]).unwrap();
        market.id = uint_at(&id, 0).unwrap();
        market
    }

    pub(super) fn supply(&self, s: &mut Story, who: usize, market: &Market, amount: &str) {
        let who = PEOPLE[who];
        let amount = units(amount, market.loan.decimals).unwrap();
        s.fund(who, market.loan.address, self.morpho, amount).unwrap();
        let args = [market.params(), amount.into(), 0.into(), who.into(), Value::Bytes(vec![])];
        s.send(who, self.morpho, &format!("supply({PARAMS},uint256,uint256,address,bytes)"), &args).unwrap();
    }

    pub(super) fn withdraw(&self, s: &mut Story, who: usize, market: &Market, amount: &str) {
        let who = PEOPLE[who];
        let amount = units(amount, market.loan.decimals).unwrap();
        let args = [market.params(), amount.into(), 0.into(), who.into(), who.into()];
        s.send(who, self.morpho, &format!("withdraw({PARAMS},uint256,uint256,address,address)"), &args)
            .unwrap();
    }

    pub(super) fn borrow(&self, s: &mut Story, who: usize, market: &Market, collateral: &str, amount: &str) {
        let who = PEOPLE[who];
        let collateral = units(collateral, market.collateral.decimals).unwrap();
        s.fund(who, market.collateral.address, self.morpho, collateral).unwrap();
        let args = [market.params(), collateral.into(), who.into(), Value::Bytes(vec![])];
        s.send(who, self.morpho, &format!("supplyCollateral({PARAMS},uint256,address,bytes)"), &args)
            .unwrap();
        let amount = units(amount, market.loan.decimals).unwrap();
        let args = [market.params(), amount.into(), 0.into(), who.into(), who.into()];
        s.send(who, self.morpho, &format!("borrow({PARAMS},uint256,uint256,address,address)"), &args)
            .unwrap();
    }

    /// Seizes so much collateral, or else repays all that is owed.
    pub(super) fn liquidate(
        &self,
        s: &mut Story,
        who: usize,
        market: &Market,
        borrower: usize,
        seized: Option<&str>,
    ) {
        let (who, borrower) = (PEOPLE[who], PEOPLE[borrower]);
        let (seized, shares) = match seized {
            Some(seized) => (units(seized, market.collateral.decimals).unwrap(), U256::ZERO),
            None => {
                let position = [market.id.into(), borrower.into()];
                let position = s.read(self.morpho, "position(bytes32,address)", &position).unwrap();
                (U256::ZERO, uint_at(&position, 1).unwrap())
            }
        };
        let purse = units("1000000", market.loan.decimals).unwrap();
        s.fund(who, market.loan.address, self.morpho, purse).unwrap();
        let args = [market.params(), borrower.into(), seized.into(), shares.into(), Value::Bytes(vec![])];
        s.send(who, self.morpho, &format!("liquidate({PARAMS},address,uint256,uint256,bytes)"), &args)
            .unwrap();
    }
}

/// An oracle of the package's, which anyone moves.
fn move_price(s: &mut Story, market: &Market, price: &str) {
    // One unit of the collateral in units of the loan token, with 36 more decimals.
    let scale = 36 + market.loan.decimals - market.collateral.decimals;
    s.admin(market.oracle, "setPrice(uint256)", &[units(price, scale).unwrap().into()]).unwrap();
}

/// A token's collateral: the sum of all positions.
pub(super) fn collateral(
    told: &mut Told,
    at: u64,
    morpho: Address,
    markets: &[Market],
    token: Address,
) -> U256 {
    let mut sum = U256::ZERO;
    for market in markets.iter().filter(|market| market.collateral.address == token) {
        for person in PEOPLE {
            let args = [market.id.into(), person.into()];
            let position = told.call(at, morpho, "position(bytes32,address)", &args).unwrap();
            sum += uint_at(&position, 2).unwrap();
        }
    }
    sum
}

#[test]
#[ignore = "takes anvil, solc and Morpho Blue from npm: make test-contracts"]
fn morpho_blue_is_what_its_contract_and_receipts_say() {
    let mut s = story();
    let morpho_blue = package(s.artifacts.cache(), "@morpho-org/morpho-blue", "1.0.0").unwrap();
    let files = ["src/Morpho.sol", "src/mocks/IrmMock.sol", "src/mocks/OracleMock.sol", "MorphoReader.sol"];
    let sources = Sources::of(&files, &[("src/", morpho_blue.join("src"))]).unwrap();
    let contracts = ["Morpho", "IrmMock", "OracleMock", "MorphoReader", "FixedRateModel"];
    let code = s.compile(&sources, &contracts, SOLC).unwrap();
    let token_code = s.token_code().unwrap();
    let token = |s: &mut Story, symbol: &str, decimals: u8| {
        let args = [symbol.into(), u64::from(decimals).into()];
        Token { address: s.create(symbol, &token_code, &args).unwrap(), decimals }
    };
    let (usdc, weth, wbtc) = (token(&mut s, "USDC", 6), token(&mut s, "WETH", 18), token(&mut s, "WBTC", 8));
    let deployed = s.chain.next_block();
    let morpho = s.create("Morpho", code.code("Morpho").unwrap(), &[DEPLOYER.into()]).unwrap();
    let reader = s.create("reader", code.code("MorphoReader").unwrap(), &[]).unwrap();
    let by_utilization = s.create("IrmMock", code.code("IrmMock").unwrap(), &[]).unwrap();
    let fixed_rate = [FIXED_RATE.into()];
    let fixed = s.create("FixedRateModel", code.code("FixedRateModel").unwrap(), &fixed_rate).unwrap();
    for irm in [by_utilization, fixed, Address::ZERO] {
        s.admin(morpho, "enableIrm(address)", &[irm.into()]).unwrap();
    }
    let (lltv_86, lltv_77, lltv_915) =
        (860_000_000_000_000_000, 770_000_000_000_000_000, 915_000_000_000_000_000);
    for lltv in [lltv_86, lltv_77, lltv_915] {
        s.admin(morpho, "enableLltv(uint256)", &[lltv.into()]).unwrap();
    }
    s.admin(morpho, "setFeeRecipient(address)", &[FEES.into()]).unwrap();
    let blue = Blue { morpho, reader };
    let create = |s: &mut Story, loan: Token, collateral: Token, irm: Address, lltv: u64, price: &str| {
        let oracle = s.create("an oracle", code.code("OracleMock").unwrap(), &[]).unwrap();
        let market = blue.create(s, (loan, collateral), oracle, irm, lltv);
        move_price(s, &market, price);
        market
    };

    // The day before: three markets; the third lends without interest.
    let eth = create(&mut s, usdc, weth, by_utilization, lltv_86, "2512.47");
    let btc = create(&mut s, weth, wbtc, fixed, lltv_77, "27.5");
    let free = create(&mut s, usdc, wbtc, Address::ZERO, lltv_915, "69000.5");
    let fee = [btc.params(), 100_000_000_000_000_000.into()];
    s.admin(morpho, &format!("setFee({PARAMS},uint256)"), &fee).unwrap();
    s.at(0, 20, 0).unwrap();
    blue.supply(&mut s, 0, &eth, "900000.123456");
    blue.supply(&mut s, 0, &btc, "400.5");
    blue.borrow(&mut s, 1, &eth, "100", "200000");
    blue.borrow(&mut s, 2, &btc, "5.00000001", "100.25");

    // Day 1: one in the very block of midnight, another part of the way through.
    s.at(1, 0, 0).unwrap();
    move_price(&mut s, &eth, "2300");
    blue.liquidate(&mut s, 7, &eth, 1, Some("10.5"));
    s.at(1, 9, 0).unwrap();
    blue.borrow(&mut s, 3, &eth, "20", "30000.000001");
    s.at(1, 15, 12).unwrap();
    move_price(&mut s, &eth, "2100.01");
    blue.liquidate(&mut s, 6, &eth, 1, Some("31.25"));
    s.at(1, 20, 0).unwrap();
    blue.supply(&mut s, 4, &free, "50000");
    blue.borrow(&mut s, 5, &free, "0.5", "20000");

    // Day 2: a market more, and a whole position.
    s.at(2, 11, 0).unwrap();
    let late = create(&mut s, usdc, wbtc, fixed, lltv_77, "69000.5");
    blue.supply(&mut s, 0, &late, "250000");
    s.at(2, 12, 0).unwrap();
    blue.borrow(&mut s, 4, &late, "3", "150000");
    s.at(2, 18, 30).unwrap();
    move_price(&mut s, &btc, "22.1");
    blue.liquidate(&mut s, 7, &btc, 2, Some("2"));
    s.at(2, 20, 0).unwrap();
    move_price(&mut s, &late, "62000");
    blue.liquidate(&mut s, 6, &late, 4, None);

    // Day 3: a price falls so far that debt is left over.
    s.at(3, 10, 0).unwrap();
    blue.withdraw(&mut s, 0, &eth, "100000");
    s.at(3, 13, 0).unwrap();
    move_price(&mut s, &eth, "1200.5");
    blue.liquidate(&mut s, 7, &eth, 3, Some("20"));
    s.at(3, 23, 56).unwrap();
    blue.supply(&mut s, 5, &btc, "1.000000000000000001");
    // The first block of the day after is not theirs.
    s.at(4, 0, 0).unwrap();
    blue.liquidate(&mut s, 7, &eth, 1, Some("1"));
    let mut told = s.end().unwrap();

    let more = format!("deployed_block = {deployed}");
    let entry = ("morpho", morpho);
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
        let args = [blue.morpho.into(), market.params()];
        let totals = told.call(last, blue.reader, &format!("totals(address,{PARAMS})"), &args).unwrap();
        let (supplied, borrowed) = (uint_at(&totals, 0).unwrap(), uint_at(&totals, 1).unwrap());
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
        let held = collateral(told, last, blue.morpho, markets, *token);
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
