//! Fluid, by a layer, a factory and vaults of our own with its storage words and events (`contracts/Fluid.sol`): npm has none.

use super::{Place, Silver, lower, scaled, story};
use alloy_primitives::{Address, U256, address};
use serde_json::json;
use testkit::devnet::Day;
use testkit::devnet::aave::units;
use testkit::devnet::abi::{address_at, uint_at};
use testkit::devnet::story::{PEOPLE, STORY_DAYS, Story, Told};

const LIQUIDATE: &str = "LogLiquidate(address,uint256,uint256,address)";
const NATIVE: Address = address!("EeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE");
/// Stands for a DEX pool: its shares have no decimals and no price.
const DEX: Address = address!("00000000000000000000000000000000000d0e00");
/// Of silver's totals to those counted by the definition of interest. The words hold the parts with and without interest in
/// four digits: what accrued since the last write, a ten-thousandth of the total at most here, may differ by that.
const MARGIN: f64 = 1e-7;

#[derive(Clone, Copy)]
struct Token {
    address: Address,
    decimals: u8,
    /// Per cent a year, and of the interest.
    rate: u64,
    fee: u64,
}

struct Vault {
    address: Address,
    /// What its logs count: a token, or shares.
    collateral: Address,
    is_smart: bool,
    debt: Token,
}

struct Layer {
    liquidity: Address,
    factory: Address,
    token_code: Vec<u8>,
}

impl Layer {
    fn list(&self, s: &mut Story, symbol: &str, decimals: u8, rate: u64, fee: u64) -> Token {
        let args = [symbol.into(), u64::from(decimals).into()];
        let address = s.create(symbol, &self.token_code, &args).unwrap();
        let rates = [address.into(), (rate * 100).into(), (fee * 100).into()];
        s.admin(self.liquidity, "list(address,uint256,uint256)", &rates).unwrap();
        Token { address, decimals, rate, fee }
    }

    fn vault(&self, s: &mut Story, collateral: Token, debt: Token, is_smart: bool) -> Vault {
        let kind: u64 = if is_smart { 20_000 } else { 10_000 };
        let supply = if is_smart { DEX } else { self.liquidity };
        let args = [
            kind.into(),
            supply.into(),
            self.liquidity.into(),
            collateral.address.into(),
            debt.address.into(),
        ];
        s.admin(self.factory, "deploy(uint256,address,address,address,address)", &args).unwrap();
        let count = s.read(self.factory, "totalVaults()", &[]).unwrap();
        let id = uint_at(&count, 0).unwrap();
        let address = s.read(self.factory, "getVaultAddress(uint256)", &[id.into()]).unwrap();
        let address = address_at(&address, 0).unwrap();
        Vault { address, collateral: if is_smart { DEX } else { collateral.address }, is_smart, debt }
    }

    fn supply(&self, s: &mut Story, who: usize, token: Token, amount: &str, with_interest: bool) {
        let amount = units(amount, token.decimals).unwrap();
        s.fund(PEOPLE[who], token.address, self.liquidity, amount).unwrap();
        let args = [token.address.into(), amount.into(), 0.into(), PEOPLE[who].into(), with_interest.into()];
        s.send(PEOPLE[who], self.liquidity, "operate(address,int256,int256,address,bool)", &args).unwrap();
    }

    fn borrow(&self, s: &mut Story, who: usize, token: Token, amount: &str, with_interest: bool) {
        let amount = units(amount, token.decimals).unwrap();
        let args = [token.address.into(), 0.into(), amount.into(), PEOPLE[who].into(), with_interest.into()];
        s.send(PEOPLE[who], self.liquidity, "operate(address,int256,int256,address,bool)", &args).unwrap();
    }
}

fn open(s: &mut Story, who: usize, vault: &Vault, collateral: (Token, &str), debt: &str) {
    let amount = units(collateral.1, collateral.0.decimals).unwrap();
    s.fund(PEOPLE[who], collateral.0.address, vault.address, amount).unwrap();
    let args = [amount.into(), units(debt, vault.debt.decimals).unwrap().into()];
    s.send(PEOPLE[who], vault.address, "open(uint256,uint256)", &args).unwrap();
}

fn liquidate(s: &mut Story, who: usize, vault: &Vault, debt: &str, collateral: U256) {
    let debt = units(debt, vault.debt.decimals).unwrap();
    s.fund(PEOPLE[who], vault.debt.address, vault.address, debt).unwrap();
    let args = [debt.into(), collateral.into(), PEOPLE[0].into()];
    s.send(PEOPLE[who], vault.address, "liquidate(uint256,uint256,address)", &args).unwrap();
}

#[test]
#[ignore = "takes anvil and solc from npm: make test-contracts"]
fn fluid_is_what_its_contracts_and_receipts_say() {
    let mut s = story();
    let code = s.compile_ours("Fluid.sol", &["Liquidity", "VaultFactory"]).unwrap();
    let token_code = s.token_code().unwrap();
    let liquidity = s.create("Liquidity", code.code("Liquidity").unwrap(), &[]).unwrap();
    let factory = s.create("VaultFactory", code.code("VaultFactory").unwrap(), &[liquidity.into()]).unwrap();
    let layer = Layer { liquidity, factory, token_code };
    let usdc = layer.list(&mut s, "USDC", 6, 9, 10);
    let weth = layer.list(&mut s, "WETH", 18, 3, 20);
    let native = Token { address: NATIVE, decimals: 18, rate: 2, fee: 10 };
    let rates = [NATIVE.into(), 200.into(), 1_000.into()];
    s.admin(liquidity, "list(address,uint256,uint256)", &rates).unwrap();
    s.chain.mine().unwrap();
    s.chain.rpc().call("anvil_setBalance", json!([liquidity, "0xde0b6b3a7640000"])).unwrap();
    let plain = layer.vault(&mut s, weth, usdc, false);
    s.at(0, 20, 0).unwrap();
    layer.supply(&mut s, 0, usdc, "800000.123456", true);
    layer.supply(&mut s, 1, usdc, "200000", false);
    layer.supply(&mut s, 0, weth, "300", true);
    open(&mut s, 2, &plain, (weth, "120.5"), "200000.000001");
    layer.borrow(&mut s, 3, usdc, "150000", true);
    layer.borrow(&mut s, 4, usdc, "70000", false);
    layer.borrow(&mut s, 4, weth, "44.4", true);

    s.at(1, 0, 0).unwrap();
    let amount = |text: &str| units(text, 18).unwrap();
    liquidate(&mut s, 7, &plain, "15000.5", amount("7.25"));
    s.at(1, 13, 0).unwrap();
    s.admin(liquidity, "setRate(address,uint256)", &[weth.address.into(), 450.into()]).unwrap();

    // The second day has a token more and two vaults, one of which takes shares of a DEX pool; it liquidates at once.
    s.at(2, 8, 0).unwrap();
    let wbtc = layer.list(&mut s, "WBTC", 8, 1, 15);
    layer.supply(&mut s, 5, wbtc, "12.00000001", true);
    layer.borrow(&mut s, 4, wbtc, "3.5", true);
    let bitcoin = layer.vault(&mut s, wbtc, usdc, false);
    let smart = layer.vault(&mut s, weth, usdc, true);
    open(&mut s, 3, &bitcoin, (wbtc, "1.5"), "60000");
    open(&mut s, 5, &smart, (weth, "1"), "30000");
    s.at(2, 17, 0).unwrap();
    liquidate(&mut s, 6, &bitcoin, "59000", U256::from(100_000_000));
    liquidate(&mut s, 6, &smart, "2500", U256::from(123_456_789));

    s.at(3, 12, 0).unwrap();
    s.admin(liquidity, "setStatus(uint256)", &[2.into()]).unwrap();
    s.at(3, 23, 56).unwrap();
    liquidate(&mut s, 7, &plain, "100000", amount("44"));
    s.at(4, 0, 0).unwrap();
    liquidate(&mut s, 7, &plain, "1", amount("0.1"));
    let mut told = s.end().unwrap();

    let more = format!("deployed_block = 1\ncontracts = {{ vault_factory = \"{factory}\" }}");
    let entry = ("liquidity", liquidity);
    let mut silver = Silver::of(&told, &Place { family: "fluid", csu: "fluid_story", entry, more: &more });
    let (tokens, vaults) = ([usdc, weth, native, wbtc], [plain, bitcoin, smart]);
    let mut legs = 0;
    let mut worst = 0.0;
    for (index, day) in STORY_DAYS.iter().enumerate() {
        let listed = if index == 0 { &tokens[..3] } else { &tokens[..] };
        assert_eq!(silver.reserves(day).len(), listed.len(), "{}", day.date);
        for token in listed {
            // The rate of WETH was raised on the first day.
            let rate = if token.address == weth.address { 0.045 } else { scaled(U256::from(token.rate), 2) };
            let row = silver.reserve(day, &lower(liquidity), token.address, "reserve");
            worst = compare_token(&mut silver, &mut told, day, (liquidity, *token, rate), &row).max(worst);
            assert_eq!(row["is_paused"], (index == 2).to_string());
        }
        legs += compare_liquidations(&mut silver, &mut told, day, &vaults);
    }
    assert_eq!(legs, 4);
    assert!(worst > 0.0, "no interest was compared that the words hold in four digits");
    eprintln!("fluid_story: totals differ by at most {worst:.1e} from those by the definition of interest");
    silver.is_the_same_backwards();
    silver.tell();
}

/// The worst difference of the totals.
fn compare_token(
    silver: &mut Silver,
    told: &mut Told,
    day: &Day,
    (liquidity, token, rate): (Address, Token, f64),
    row: &super::Row,
) -> f64 {
    let last = told.last_block(day).unwrap().number;
    let truth = told.call(last, liquidity, "truth(address)", &[token.address.into()]).unwrap();
    let cash = if token.address == NATIVE {
        let balance = told.rpc.call("eth_getBalance", json!([liquidity, format!("{last:#x}")])).unwrap();
        balance.as_str().unwrap().parse().unwrap()
    } else {
        told.uint(last, token.address, "balanceOf(address)", &[liquidity.into()]).unwrap()
    };
    let mut worst = 0.0_f64;
    for (column, index) in [("supplied_raw", 0), ("borrowed_raw", 1)] {
        let expected = scaled(uint_at(&truth, index).unwrap(), 0);
        let found: f64 = row[column].parse().unwrap();
        let difference = if found == expected { 0.0 } else { (found - expected).abs() / expected };
        assert!(difference <= MARGIN, "{column}: {found} is not {expected} in {row:#?}");
        worst = worst.max(difference);
    }
    let of = &mut silver.compared;
    of.same(row, "block_number", last);
    of.same(row, "status", "collected");
    of.same(row, "decimals", token.decimals);
    of.same(row, "available_raw", cash);
    of.close(row, "borrow_apr", rate);
    of.close(row, "reserve_factor", scaled(U256::from(token.fee), 2));
    worst
}

fn compare_liquidations(silver: &mut Silver, told: &mut Told, day: &Day, vaults: &[Vault]) -> usize {
    let logs = told.logs(day, &[LIQUIDATE]).unwrap();
    let rows = silver.liquidations(day);
    assert_eq!(rows.len(), logs.len(), "{}", day.date);
    for (row, log) in rows.iter().zip(&logs) {
        let vault = vaults.iter().find(|vault| vault.address == log.emitter).unwrap();
        let of = &mut silver.compared;
        // The layer has no oracle, and no other CSU is on this chain.
        of.place(row, log, "none");
        of.same(row, "market_id", lower(vault.address));
        of.same(row, "liquidator", lower(log.sender));
        of.null(row, "borrower");
        of.same(row, "coll_token", lower(vault.collateral));
        of.same(row, "coll_raw", log.word(1).unwrap());
        of.same(row, "debt_token", lower(vault.debt.address));
        of.same(row, "debt_raw", log.word(2).unwrap());
        assert_eq!(row["flags"].contains("collateral_in_dex_shares"), vault.is_smart, "{row:#?}");
    }
    rows.len()
}
