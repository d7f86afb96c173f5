//! Gearbox's own pools, of version 2 from the creation code in its npm package and of version 3.1 from its npm sources. What
//! finds them, borrows from them and liquidates is of our own (`contracts/Gearbox.sol`).

use super::{Place, Silver, lower, scaled, story};
use alloy_primitives::{Address, U256, hex};
use std::path::Path;
use testkit::devnet::Day;
use testkit::devnet::aave::units;
use testkit::devnet::abi::Value;
use testkit::devnet::artifacts::package;
use testkit::devnet::solidity::{Compiled, Settings, Sources};
use testkit::devnet::story::{Emitted, PEOPLE, STORY_DAYS, Story, Told};

const SOLC: Settings = Settings { solc: "0.8.19", evm: "paris", optimizer_runs: 1_000, via_ir: false };
/// Of version 2 and 3; they differ in the number of topics.
const FULL: &str = "LiquidateCreditAccount(address,address,address,uint256)";
const EXPIRED: &str = "LiquidateExpiredCreditAccount(address,address,address,uint256)";
const PARTIAL: &str = "PartiallyLiquidateCreditAccount(address,address,address,uint256,uint256,uint256)";
const REPAY: &str = "Repay(address,uint256,uint256,uint256)";
const LOSS_V3: &str = "IncurUncoveredLoss(address,uint256)";
const LOSS_V2: &str = "UncoveredLoss(address,uint256)";
const OURS: [&str; 9] = [
    "AddressProvider",
    "Factory",
    "Configurator",
    "Register",
    "Acl",
    "Prices",
    "Manager",
    "FacadeV2",
    "FacadeV3",
];

#[derive(Clone, Copy)]
struct Token {
    address: Address,
    decimals: u8,
}

#[derive(Clone, Copy)]
struct Pool {
    address: Address,
    token: Token,
    is_v3: bool,
    manager: Address,
    facade: Address,
}

/// Creation code in a file that typechain wrote.
fn factory_code(package: &Path, contract: &str) -> Vec<u8> {
    let file = package.join(format!("lib/factories/{contract}__factory.js"));
    let text = std::fs::read_to_string(file).unwrap();
    let code = text.split_once("_bytecode = \"0x").unwrap().1.split('"').next().unwrap();
    hex::decode(code).unwrap()
}

fn name(name: &str) -> Value {
    let mut word = [0; 32];
    word[..name.len()].copy_from_slice(name.as_bytes());
    Value::Uint(U256::from_be_bytes(word))
}

struct Gearbox {
    ours: Compiled,
    v2: std::path::PathBuf,
    v3: Compiled,
    token_code: Vec<u8>,
    acl: Address,
    prices: Address,
    provider_v2: Address,
    register_v2: Address,
    register: Address,
    treasury: Address,
}

impl Gearbox {
    fn create(&self, s: &mut Story, contract: &str, args: &[Value]) -> Address {
        s.create(contract, self.ours.code(contract).unwrap(), args).unwrap()
    }

    fn token(&self, s: &mut Story, symbol: &str, decimals: u8, usd: &str) -> Token {
        let args = [symbol.into(), u64::from(decimals).into()];
        let address = s.create(symbol, &self.token_code, &args).unwrap();
        let price = [address.into(), units(usd, 8).unwrap().into()];
        s.admin(self.prices, "set(address,uint256)", &price).unwrap();
        Token { address, decimals }
    }

    /// A manager of a pool with its facade.
    fn manager(&self, s: &mut Story, pool: Address, is_v3: bool) -> (Address, Address) {
        let manager = self.create(s, "Manager", &[pool.into(), self.prices.into(), is_v3.into()]);
        let facade = self.create(s, if is_v3 { "FacadeV3" } else { "FacadeV2" }, &[manager.into()]);
        s.admin(manager, "setFacade(address)", &[facade.into()]).unwrap();
        (manager, facade)
    }

    fn pool_v2(&self, s: &mut Story, token: Token) -> Pool {
        let rates = [8_000.into(), 100.into(), 400.into(), 7_500.into()];
        let code = factory_code(&self.v2, "LinearInterestRateModel");
        let model = s.create("a rate model of v2", &code, &rates).unwrap();
        let args = [self.provider_v2.into(), token.address.into(), model.into(), U256::MAX.into()];
        let address = s.create("PoolService", &factory_code(&self.v2, "PoolService"), &args).unwrap();
        let (manager, facade) = self.manager(s, address, false);
        s.admin(address, "connectCreditManager(address)", &[manager.into()]).unwrap();
        s.admin(self.register_v2, "addPool(address)", &[address.into()]).unwrap();
        s.admin(self.register_v2, "addCreditManager(address)", &[manager.into()]).unwrap();
        Pool { address, token, is_v3: false, manager, facade }
    }

    fn pool_v3(&self, s: &mut Story, token: Token, limit: &str) -> Pool {
        let rates =
            [7_000.into(), 9_000.into(), 50.into(), 200.into(), 300.into(), 6_000.into(), false.into()];
        let code = self.v3.code("LinearInterestRateModelV3").unwrap();
        let model = s.create("a rate model of v3", code, &rates).unwrap();
        let args = [
            self.acl.into(),
            self.register.into(),
            token.address.into(),
            self.treasury.into(),
            model.into(),
            units(limit, token.decimals).unwrap().into(),
            "a pool".into(),
            "dPOOL".into(),
        ];
        let address = s.create("PoolV3", self.v3.code("PoolV3").unwrap(), &args).unwrap();
        let (manager, facade) = self.manager(s, address, true);
        s.admin(self.register, "addPool(address,address)", &[address.into(), self.prices.into()]).unwrap();
        s.admin(self.register, "addManager(address)", &[manager.into()]).unwrap();
        let limit = [manager.into(), U256::MAX.into()];
        s.admin(address, "setCreditManagerDebtLimit(address,uint256)", &limit).unwrap();
        Pool { address, token, is_v3: true, manager, facade }
    }
}

fn deposit(s: &mut Story, who: usize, pool: &Pool, amount: &str) {
    let amount = units(amount, pool.token.decimals).unwrap();
    s.fund(PEOPLE[who], pool.token.address, pool.address, amount).unwrap();
    let who = PEOPLE[who];
    if pool.is_v3 {
        s.send(who, pool.address, "deposit(uint256,address)", &[amount.into(), who.into()]).unwrap();
    } else {
        let args = [amount.into(), who.into(), 0.into()];
        s.send(who, pool.address, "addLiquidity(uint256,address,uint256)", &args).unwrap();
    }
}

fn open(s: &mut Story, account: usize, pool: &Pool, amount: &str) {
    let amount = units(amount, pool.token.decimals).unwrap();
    let args = [PEOPLE[account].into(), amount.into()];
    s.admin(pool.manager, "open(address,uint256)", &args).unwrap();
}

fn fund(s: &mut Story, who: usize, pool: &Pool, amount: &str) -> U256 {
    let amount = units(amount, pool.token.decimals).unwrap();
    s.fund(PEOPLE[who], pool.token.address, pool.manager, amount * U256::from(2)).unwrap();
    amount
}

fn liquidate_v3(s: &mut Story, who: usize, pool: &Pool, account: usize, paid: &str, remaining: u64) {
    let paid = fund(s, who, pool, paid);
    let args = [PEOPLE[account].into(), paid.into(), remaining.into()];
    s.send(PEOPLE[who], pool.facade, "liquidate(address,uint256,uint256)", &args).unwrap();
}

fn liquidate_v2(s: &mut Story, who: usize, pool: &Pool, account: usize, paid: &str, expired: bool) {
    let paid = fund(s, who, pool, paid);
    let args = [PEOPLE[account].into(), paid.into(), 0.into(), expired.into()];
    s.send(PEOPLE[who], pool.facade, "liquidate(address,uint256,uint256,bool)", &args).unwrap();
}

fn deploy(s: &mut Story) -> (Gearbox, Address) {
    let cache = s.artifacts.cache().to_owned();
    let npm = |name: &str, version: &str| package(&cache, name, version).unwrap();
    let v2 = npm("@gearbox-protocol/core-v2", "1.21.1");
    let folders = [
        ("contracts/", npm("@gearbox-protocol/core-v3", "1.52.1").join("contracts")),
        ("@openzeppelin/contracts/", npm("@openzeppelin/contracts", "4.9.6")),
        ("@1inch/solidity-utils/", npm("@1inch/solidity-utils", "6.0.0")),
    ];
    let files = ["contracts/pool/PoolV3.sol", "contracts/pool/LinearInterestRateModelV3.sol"];
    let sources = Sources::of(&files, &folders).unwrap();
    let v3 = s.compile(&sources, &["PoolV3", "LinearInterestRateModelV3"], SOLC).unwrap();
    let ours = s.compile_ours("Gearbox.sol", &OURS).unwrap();
    let token_code = s.token_code().unwrap();

    let create = |s: &mut Story, contract: &str, args: &[Value]| {
        s.create(contract, ours.code(contract).unwrap(), args).unwrap()
    };
    let treasury = PEOPLE[0];
    let provider_v2 = s.create("AddressProvider v2", &factory_code(&v2, "AddressProvider"), &[]).unwrap();
    let acl_v2 = s.create("ACL", &factory_code(&v2, "ACL"), &[]).unwrap();
    s.admin(provider_v2, "setACL(address)", &[acl_v2.into()]).unwrap();
    s.admin(provider_v2, "setTreasuryContract(address)", &[treasury.into()]).unwrap();
    let code = factory_code(&v2, "ContractsRegister");
    let register_v2 = s.create("ContractsRegister", &code, &[provider_v2.into()]).unwrap();
    s.admin(provider_v2, "setContractsRegister(address)", &[register_v2.into()]).unwrap();

    let provider = create(s, "AddressProvider", &[]);
    let factory = create(s, "Factory", &[]);
    let register = create(s, "Register", &[]);
    let configurator = create(s, "Configurator", &[register.into()]);
    s.admin(factory, "add(address)", &[configurator.into()]).unwrap();
    let named = [name("MARKET_CONFIGURATOR_FACTORY"), factory.into()];
    s.admin(provider, "set(bytes32,address)", &named).unwrap();
    let acl = create(s, "Acl", &[]);
    let prices = create(s, "Prices", &[]);
    let gearbox =
        Gearbox { ours, v2, v3, token_code, acl, prices, provider_v2, register_v2, register, treasury };
    (gearbox, provider)
}

#[test]
#[ignore = "takes anvil, solc and Gearbox from npm: make test-contracts"]
fn gearbox_is_what_its_pools_and_receipts_say() {
    let mut s = story();
    let (gearbox, provider) = deploy(&mut s);
    let usdc = gearbox.token(&mut s, "USDC", 6, "0.9998");
    let weth = gearbox.token(&mut s, "WETH", 18, "2512.47");
    let dai = gearbox.token(&mut s, "DAI", 18, "1.0001");
    let old = gearbox.pool_v2(&mut s, dai);
    let mut dollars = gearbox.pool_v3(&mut s, usdc, "5000000");
    s.at(0, 20, 0).unwrap();
    deposit(&mut s, 1, &old, "600000.5");
    deposit(&mut s, 1, &dollars, "900000.123456");
    for (account, amount) in [(2, "150000"), (3, "80000.25"), (4, "40000")] {
        open(&mut s, account, &old, amount);
        open(&mut s, account, &dollars, amount);
    }

    // Version 2 by its four topics, version 3 by its three, and one that leaves the pool short of what its treasury covers.
    s.at(1, 0, 0).unwrap();
    liquidate_v2(&mut s, 7, &old, 2, "155000", false);
    s.at(1, 10, 0).unwrap();
    liquidate_v3(&mut s, 7, &dollars, 2, "151000", 123);
    s.at(1, 18, 0).unwrap();
    liquidate_v2(&mut s, 6, &old, 3, "60000", false);

    // The second day has a pool more, and a facade that is replaced between two liquidations; one is partial.
    s.at(2, 8, 0).unwrap();
    let ether = gearbox.pool_v3(&mut s, weth, "1000");
    deposit(&mut s, 5, &ether, "300");
    open(&mut s, 2, &ether, "120.75");
    let part = fund(&mut s, 6, &dollars, "30000");
    let args = [PEOPLE[3].into(), weth.address.into(), part.into(), units("13.5", 18).unwrap().into()];
    s.send(PEOPLE[6], dollars.facade, "partiallyLiquidate(address,address,uint256,uint256)", &args).unwrap();
    s.at(2, 12, 0).unwrap();
    let old_facade = dollars.facade;
    dollars.facade = gearbox.create(&mut s, "FacadeV3", &[dollars.manager.into()]);
    s.admin(dollars.manager, "setFacade(address)", &[dollars.facade.into()]).unwrap();
    s.at(2, 20, 0).unwrap();
    liquidate_v3(&mut s, 7, &dollars, 3, "20000", 0);

    // On the third an ordinary repayment, an expired account, and a pool that is shut down.
    s.at(3, 9, 0).unwrap();
    let part = fund(&mut s, 4, &dollars, "10000");
    s.send(PEOPLE[4], dollars.facade, "repay(address,uint256)", &[PEOPLE[4].into(), part.into()]).unwrap();
    s.at(3, 12, 0).unwrap();
    liquidate_v2(&mut s, 7, &old, 4, "41000", true);
    s.admin(gearbox.register, "shutDown(uint256)", &[0.into()]).unwrap();
    s.at(4, 0, 0).unwrap();
    liquidate_v3(&mut s, 7, &ether, 2, "121", 0);
    let mut told = s.end().unwrap();

    let more =
        format!("deployed_block = 1\ncontracts = {{ address_provider_v2 = \"{}\" }}", gearbox.provider_v2);
    let entry = ("address_provider_v3_1", provider);
    let mut silver =
        Silver::of(&told, &Place { family: "gearbox", csu: "gearbox_story", entry, more: &more });
    let all = [old, dollars, ether];
    let mut counts = [0, 0];
    for (index, day) in STORY_DAYS.iter().enumerate() {
        let pools = if index == 0 { &all[..2] } else { &all[..] };
        for pool in pools {
            let is_shut = index == 2 && pool.address == dollars.address;
            compare_pool(&mut silver, &mut told, day, &gearbox, *pool, is_shut);
        }
        assert_eq!(silver.reserves(day).len(), pools.len(), "{}", day.date);
        let facades =
            [(old_facade, dollars), (old.facade, old), (dollars.facade, dollars), (ether.facade, ether)];
        let of_day = compare_liquidations(&mut silver, &mut told, day, &gearbox, &facades);
        counts = [counts[0] + of_day[0], counts[1] + of_day[1]];
    }
    assert_eq!(counts, [6, 2], "liquidations and uncovered losses");
    silver.is_the_same_backwards();
    silver.tell();
}

fn compare_pool(
    silver: &mut Silver,
    told: &mut Told,
    day: &Day,
    gearbox: &Gearbox,
    pool: Pool,
    is_shut: bool,
) {
    let last = told.last_block(day).unwrap().number;
    let row = silver.reserve(day, &lower(pool.address), pool.token.address, "base");
    let mut uint =
        |to: Address, signature: &str, args: &[Value]| told.uint(last, to, signature, args).unwrap();
    let supplied = uint(pool.address, "expectedLiquidity()", &[]);
    let available = uint(pool.token.address, "balanceOf(address)", &[pool.address.into()]);
    let owed = PEOPLE
        .iter()
        .fold(U256::ZERO, |sum, account| sum + uint(pool.manager, "owed(address)", &[(*account).into()]));
    let price = uint(gearbox.prices, "getPrice(address)", &[pool.token.address.into()]);
    // What the accounts owe, by their own indexes, is what the pool expects, but that the pool's interest is simple and an
    // account's grows with each touch of the pool.
    let borrowed: U256 = row["borrowed_raw"].parse().unwrap();
    let margin = owed / U256::from(10_000_000);
    assert!(borrowed.abs_diff(owed) <= margin, "{borrowed} is not {owed} in {row:#?}");
    let (borrow_rate, supply_rate) = if pool.is_v3 {
        (uint(pool.address, "baseInterestRate()", &[]), uint(pool.address, "supplyRate()", &[]))
    } else {
        let rate = uint(pool.address, "borrowAPY_RAY()", &[]);
        (rate, rate * uint(pool.address, "totalBorrowed()", &[]) / supplied)
    };
    let of = &mut silver.compared;
    of.same(&row, "block_number", last);
    of.same(&row, "status", "collected");
    of.same(&row, "supplied_raw", supplied);
    of.same(&row, "available_raw", available);
    // Once all is repaid, a pool has a little more than it expects: see above.
    of.same(&row, "borrowed_raw", supplied.saturating_sub(available));
    of.same(&row, "is_active", !is_shut);
    of.close(&row, "borrow_apr", scaled(borrow_rate, 27));
    of.close(&row, "supply_apr", scaled(supply_rate, 27));
    of.close(&row, "price_usd", scaled(price, 8));
    if pool.is_v3 {
        of.close(&row, "identity_gap", 0.0);
    } else {
        of.null(&row, "identity_gap");
    }
}

/// The number of liquidations and of uncovered losses.
fn compare_liquidations(
    silver: &mut Silver,
    told: &mut Told,
    day: &Day,
    gearbox: &Gearbox,
    facades: &[(Address, Pool)],
) -> [usize; 2] {
    let logs = told.logs(day, &[FULL, EXPIRED, PARTIAL, LOSS_V2, LOSS_V3]).unwrap();
    let repays = told.logs(day, &[REPAY]).unwrap();
    let rows = silver.liquidations(day);
    assert_eq!(rows.len(), logs.len(), "{}", day.date);
    let is = |log: &Emitted, event: &str| log.topics[0] == alloy_primitives::keccak256(event);
    let mut counts = [0, 0];
    for (row, log) in rows.iter().zip(&logs) {
        let mut usd = |token: Token, amount: U256| {
            let args = [token.address.into()];
            let price = told.uint(log.block.number, gearbox.prices, "getPrice(address)", &args).unwrap();
            scaled(amount * price, i32::from(token.decimals) + 8)
        };
        let of = &mut silver.compared;
        of.place(row, log, "event_block");
        if is(log, LOSS_V2) || is(log, LOSS_V3) {
            let pool = facades.iter().find(|(_, pool)| pool.address == log.emitter).unwrap().1;
            of.same(row, "market_id", lower(pool.address));
            of.same(row, "bad_debt_raw", log.word(0).unwrap());
            of.close(row, "bad_debt_usd", usd(pool.token, log.word(0).unwrap()));
            of.null(row, "debt_raw");
            counts[1] += 1;
            continue;
        }
        let pool = facades.iter().find(|(facade, _)| *facade == log.emitter).unwrap().1;
        let repay = repays.iter().find(|repay| repay.tx == log.tx && repay.emitter == pool.address).unwrap();
        let (mut debt, mut collateral) = (repay.word(0).unwrap() - repay.word(2).unwrap(), None);
        if is(log, PARTIAL) {
            debt = log.word(0).unwrap();
            collateral = Some((log.address_topic(2).unwrap(), log.word(1).unwrap()));
        } else {
            assert_eq!(log.topics.len(), if pool.is_v3 { 3 } else { 4 });
        }
        of.same(row, "market_id", lower(pool.address));
        of.same(row, "borrower", lower(log.address_topic(1).unwrap()));
        of.same(row, "liquidator", lower(log.sender));
        of.same(row, "debt_token", lower(pool.token.address));
        of.same(row, "debt_raw", debt);
        of.close(row, "debt_usd", usd(pool.token, debt));
        match collateral {
            Some((token, seized)) => {
                of.same(row, "coll_token", lower(token));
                of.same(row, "coll_raw", seized);
            }
            None => of.null(row, "coll_raw"),
        }
        counts[0] += 1;
    }
    counts
}
