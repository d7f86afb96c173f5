//! Cap, by contracts of our own with its functions and its event (`contracts/Cap.sol`): npm has none.

use super::{Place, Silver, lower, scaled, story};
use alloy_primitives::{Address, U256};
use testkit::devnet::Day;
use testkit::devnet::aave::units;
use testkit::devnet::abi::{Value, address_at, uint_at};
use testkit::devnet::solidity::Compiled;
use testkit::devnet::story::{PEOPLE, STORY_DAYS, Story, Told};

const CONTRACTS: [&str; 7] =
    ["CapVault", "DebtToken", "Oracle", "SymbioticVault", "Network", "Delegation", "Lender"];
const LIQUIDATE: &str = "Liquidate(address,address,address,uint256,uint256)";

#[derive(Clone, Copy)]
struct Token {
    address: Address,
    decimals: u8,
}

#[derive(Clone, Copy)]
struct Agent {
    account: Address,
    collateral: Token,
    /// Per cent.
    ltv: u64,
    threshold: u64,
}

struct Cap {
    code: Compiled,
    token_code: Vec<u8>,
    vault: Address,
    lender: Address,
    delegation: Address,
    oracle: Address,
    network: Address,
}

/// Hundredths of a ray.
fn ray(percent: u64) -> U256 {
    U256::from(percent) * U256::from(10).pow(U256::from(25))
}

impl Cap {
    fn deploy(s: &mut Story) -> Self {
        let code = s.compile_ours("Cap.sol", &CONTRACTS).unwrap();
        let token_code = s.token_code().unwrap();
        let create = |s: &mut Story, name: &str, args: &[Value]| {
            s.create(name, code.code(name).unwrap(), args).unwrap()
        };
        let vault = create(s, "CapVault", &[]);
        let oracle = create(s, "Oracle", &[]);
        let delegation = create(s, "Delegation", &[oracle.into()]);
        let lender = create(s, "Lender", &[delegation.into(), oracle.into()]);
        let network = create(s, "Network", &[]);
        Self { code, token_code, vault, lender, delegation, oracle, network }
    }

    fn token(&self, s: &mut Story, symbol: &str, decimals: u8, usd: &str) -> Token {
        let args = [symbol.into(), u64::from(decimals).into()];
        let token = Token { address: s.create(symbol, &self.token_code, &args).unwrap(), decimals };
        self.price(s, token, usd);
        token
    }

    fn price(&self, s: &mut Story, token: Token, usd: &str) {
        let args = [token.address.into(), units(usd, 8).unwrap().into()];
        s.admin(self.oracle, "set(address,uint256)", &args).unwrap();
    }

    /// An asset of the vault, lent at so many per cent a year, or not at all.
    fn asset(&self, s: &mut Story, token: Token, rate: Option<u64>) {
        s.admin(self.vault, "add(address)", &[token.address.into()]).unwrap();
        let Some(rate) = rate else { return };
        let a_second = ray(rate) / U256::from(31_536_000);
        let debt =
            s.create("a debt token", self.code.code("DebtToken").unwrap(), &[a_second.into()]).unwrap();
        let args = [token.address.into(), self.vault.into(), debt.into()];
        s.admin(self.lender, "addAsset(address,address,address)", &args).unwrap();
    }

    fn agent(
        &self,
        s: &mut Story,
        who: usize,
        collateral: Token,
        staked: &str,
        (ltv, threshold): (u64, u64),
    ) -> Agent {
        let account = PEOPLE[who];
        let code = self.code.code("SymbioticVault").unwrap();
        let vault = s.create("a Symbiotic vault", code, &[collateral.address.into()]).unwrap();
        s.admin(self.network, "register(address,address)", &[account.into(), vault.into()]).unwrap();
        let args = [account.into(), self.network.into(), ray(ltv).into(), ray(threshold).into()];
        s.admin(self.delegation, "add(address,address,uint256,uint256)", &args).unwrap();
        let staked = units(staked, collateral.decimals).unwrap();
        s.admin(self.delegation, "stake(address,uint256)", &[account.into(), staked.into()]).unwrap();
        Agent { account, collateral, ltv, threshold }
    }

    fn mint(&self, s: &mut Story, who: usize, token: Token, amount: &str) {
        let amount = units(amount, token.decimals).unwrap();
        s.fund(PEOPLE[who], token.address, self.vault, amount).unwrap();
        s.send(PEOPLE[who], self.vault, "mint(address,uint256)", &[token.address.into(), amount.into()])
            .unwrap();
    }

    fn borrow(&self, s: &mut Story, agent: Agent, token: Token, amount: &str) {
        let args = [token.address.into(), units(amount, token.decimals).unwrap().into()];
        s.send(agent.account, self.lender, "borrow(address,uint256)", &args).unwrap();
    }

    fn liquidate(&self, s: &mut Story, who: usize, agent: Agent, token: Token, amount: &str) {
        let amount = units(amount, token.decimals).unwrap();
        s.fund(PEOPLE[who], token.address, self.vault, amount).unwrap();
        s.send(PEOPLE[who], self.lender, "openLiquidation(address)", &[agent.account.into()]).unwrap();
        let args = [agent.account.into(), token.address.into(), amount.into()];
        s.send(PEOPLE[who], self.lender, "liquidate(address,address,uint256)", &args).unwrap();
    }
}

#[test]
#[ignore = "takes anvil and solc from npm: make test-contracts"]
fn cap_is_what_its_contracts_and_receipts_say() {
    let mut s = story();
    let cap = Cap::deploy(&mut s);
    let usdc = cap.token(&mut s, "USDC", 6, "0.9999");
    let usdt = cap.token(&mut s, "USDT", 6, "1.0002");
    let pyusd = cap.token(&mut s, "pyUSD", 18, "1");
    let weth = cap.token(&mut s, "WETH", 18, "2512.47");
    let wbtc = cap.token(&mut s, "WBTC", 8, "69412.35");
    cap.asset(&mut s, usdc, Some(8));
    cap.asset(&mut s, usdt, Some(11));
    cap.asset(&mut s, pyusd, None);
    let first = cap.agent(&mut s, 1, weth, "400.123456789012345678", (50, 80));
    s.at(0, 20, 0).unwrap();
    cap.mint(&mut s, 0, usdc, "900000.123456");
    cap.mint(&mut s, 0, usdt, "300000");
    cap.borrow(&mut s, first, usdc, "400000");
    cap.borrow(&mut s, first, usdt, "50000.5");
    let invested = [usdc.address.into(), 100_000_000_000.into(), PEOPLE[6].into()];
    s.admin(cap.vault, "invest(address,uint256,address)", &invested).unwrap();

    s.at(1, 0, 0).unwrap();
    cap.price(&mut s, weth, "1400");
    cap.liquidate(&mut s, 7, first, usdc, "25000.5");
    s.at(1, 21, 0).unwrap();
    s.send(PEOPLE[7], cap.lender, "closeLiquidation(address)", &[first.account.into()]).unwrap();

    // The second day has an agent more, and a vault that knows caps.
    s.at(2, 9, 0).unwrap();
    let second = cap.agent(&mut s, 2, wbtc, "5.00000001", (40, 70));
    cap.borrow(&mut s, second, usdc, "150000");
    let caps = [usdc.address.into(), 2_000_000_000_000.into()];
    s.admin(cap.vault, "upgrade(address,uint256)", &caps).unwrap();
    s.at(2, 19, 0).unwrap();
    cap.price(&mut s, wbtc, "41000");
    cap.liquidate(&mut s, 6, second, usdc, "70000");
    cap.liquidate(&mut s, 6, first, usdt, "50000.5");

    // On the third an asset is gone, another paused, and the delegation knows an agent's collateral by itself.
    s.at(3, 12, 0).unwrap();
    s.admin(cap.vault, "remove(uint256)", &[2.into()]).unwrap();
    s.admin(cap.vault, "setPaused(address,bool)", &[usdt.address.into(), true.into()]).unwrap();
    s.admin(cap.delegation, "upgrade()", &[]).unwrap();
    s.at(4, 0, 0).unwrap();
    cap.liquidate(&mut s, 7, second, usdc, "1000");
    let mut told = s.end().unwrap();

    let more = format!(
        "deployed_block = 1\ncontracts = {{ lender = \"{}\", delegation = \"{}\", oracle = \"{}\" }}",
        cap.lender, cap.delegation, cap.oracle
    );
    let entry = ("cap_token_vault", cap.vault);
    let mut silver = Silver::of(&told, &Place { family: "cap", csu: "cap_story", entry, more: &more });
    let mut legs = 0;
    for (index, day) in STORY_DAYS.iter().enumerate() {
        let assets = if index == 2 { vec![usdc, usdt] } else { vec![usdc, usdt, pyusd] };
        let agents = if index == 0 { vec![first] } else { vec![first, second] };
        for asset in &assets {
            compare_asset(&mut silver, &mut told, day, &cap, *asset, &agents);
        }
        for agent in &agents {
            compare_agent(&mut silver, &mut told, day, &cap, *agent);
        }
        assert_eq!(silver.reserves(day).len(), assets.len() + agents.len(), "{}", day.date);
        let row = silver.reserve(day, &lower(cap.vault), usdt.address, "reserve");
        assert_eq!(row["is_frozen"], (index == 2).to_string());
        let row = silver.reserve(day, &lower(cap.vault), usdc.address, "reserve");
        match index {
            0 => silver.compared.null(&row, "supply_cap"),
            _ => silver.compared.close(&row, "supply_cap", 2_000_000.0),
        }
        legs += compare_liquidations(&mut silver, &mut told, day, &cap);
    }
    assert_eq!(legs, 3);
    silver.is_the_same_backwards();
    silver.tell();
}

fn compare_asset(silver: &mut Silver, told: &mut Told, day: &Day, cap: &Cap, asset: Token, agents: &[Agent]) {
    let last = told.last_block(day).unwrap().number;
    let token = asset.address;
    let row = silver.reserve(day, &lower(cap.vault), token, "reserve");
    let mut read =
        |to: Address, signature: &str, args: &[Value]| told.call(last, to, signature, args).unwrap();
    let reserve = read(cap.lender, "reservesData(address)", &[token.into()]);
    let debt_token = address_at(&reserve, 2).unwrap();
    let mut uint =
        |to: Address, signature: &str, args: &[Value]| uint_at(&read(to, signature, args), 0).unwrap();
    let supplied = uint(cap.vault, "totalSupplies(address)", &[token.into()]);
    let principal = uint(cap.vault, "totalBorrows(address)", &[token.into()]);
    let mut borrowed = principal;
    if !debt_token.is_zero() {
        borrowed = uint(debt_token, "totalSupply()", &[]);
        for agent in agents {
            let args = [agent.account.into(), token.into()];
            borrowed += uint(cap.lender, "accruedRestakerInterest(address,address)", &args);
        }
    }
    let price = uint(cap.oracle, "getPrice(address)", &[token.into()]);
    let of = &mut silver.compared;
    of.same(&row, "block_number", last);
    of.same(&row, "status", "collected");
    of.same(&row, "supplied_raw", supplied);
    of.same(&row, "borrowed_raw", borrowed);
    of.same(&row, "available_raw", supplied - principal);
    of.close(&row, "identity_gap", 0.0);
    of.close(&row, "price_usd", scaled(price, 8));
    of.close(&row, "borrowed_usd", scaled(borrowed * price, i32::from(asset.decimals) + 8));
}

fn compare_agent(silver: &mut Silver, told: &mut Told, day: &Day, cap: &Cap, agent: Agent) {
    let last = told.last_block(day).unwrap().number;
    let row = silver.reserve(day, &lower(agent.account), agent.collateral.address, "collateral");
    let mut uint =
        |to: Address, signature: &str, args: &[Value]| told.uint(last, to, signature, args).unwrap();
    let coverage = uint(cap.delegation, "coverage(address)", &[agent.account.into()]);
    let staked = uint(cap.delegation, "staked(address)", &[agent.account.into()]);
    let price = uint(cap.oracle, "getPrice(address)", &[agent.collateral.address.into()]);
    let scale = U256::from(10).pow(U256::from(agent.collateral.decimals));
    let found: U256 = row["supplied_raw"].parse().unwrap();
    // Coverage is in dollars of 8 decimals: what one of them buys is lost on the way.
    assert!(found <= staked && staked - found <= scale / price + U256::from(1), "{found} is not {staked}");
    let of = &mut silver.compared;
    of.same(&row, "status", "collected");
    of.same(&row, "supplied_raw", coverage * scale / price);
    of.close(
        &row,
        "supplied_usd",
        scaled(coverage * scale / price * price, i32::from(agent.collateral.decimals) + 8),
    );
    of.close(&row, "ltv", scaled(U256::from(agent.ltv), 2));
    of.close(&row, "liq_threshold", scaled(U256::from(agent.threshold), 2));
    of.close(&row, "liq_bonus", 0.1);
}

fn compare_liquidations(silver: &mut Silver, told: &mut Told, day: &Day, cap: &Cap) -> usize {
    let logs = told.logs(day, &[LIQUIDATE]).unwrap();
    let rows = silver.liquidations(day);
    assert_eq!(rows.len(), logs.len(), "{}", day.date);
    for (row, log) in rows.iter().zip(&logs) {
        let asset = address_at(&log.data, 0).unwrap();
        let (amount, value) = (log.word(1).unwrap(), log.word(2).unwrap());
        let price = told.uint(log.block.number, cap.oracle, "getPrice(address)", &[asset.into()]).unwrap();
        let of = &mut silver.compared;
        of.place(row, log, "event_block");
        of.same(row, "borrower", lower(log.address_topic(1).unwrap()));
        of.same(row, "liquidator", lower(log.sender));
        of.same(row, "debt_token", lower(asset));
        of.same(row, "debt_raw", amount);
        of.close(row, "debt_usd", scaled(amount * price, 6 + 8));
        of.null(row, "coll_token");
        of.close(row, "coll_usd", scaled(value, 8));
    }
    rows.len()
}
