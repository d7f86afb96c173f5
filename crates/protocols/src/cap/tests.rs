use super::*;
use crate::family::{Quote, ReserveFigures};
use alloy_sol_types::{SolError, SolValue};
use lake::bronze::{CallRecord, Header};
use lake::status::{PriceSource, Role};
use lake::{B256, Bytes, I256};
use proptest::prelude::*;

const VAULT: Address = Address::repeat_byte(0x01);
const LENDER: Address = Address::repeat_byte(0x02);
const DELEGATION: Address = Address::repeat_byte(0x03);
const ORACLE: Address = Address::repeat_byte(0x04);
const USDC: Address = Address::repeat_byte(0x10);
const WTGXX: Address = Address::repeat_byte(0x11);
const WSTETH: Address = Address::repeat_byte(0x20);
const LBTC: Address = Address::repeat_byte(0x21);
const LENDING_BANK: Address = Address::repeat_byte(0xa1);
const TRADING_FIRM: Address = Address::repeat_byte(0xa2);

fn csu() -> Csu {
    let parts = [("lender", LENDER), ("delegation", DELEGATION), ("oracle", ORACLE)];
    Csu {
        contracts: parts.map(|(role, address)| (role.to_owned(), address)).into(),
        ..Csu::bare("cap_test", "cap", "ethereum", "cap_token_vault", VAULT)
    }
}

/// Where an agent's collateral is known.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Symbiotic,
    Eigen,
    Nowhere,
}

#[derive(Clone)]
struct Agent {
    address: Address,
    token: Address,
    place: Place,
    /// US dollars, 8 decimals; `None`: the call reverts.
    coverage: Option<u64>,
    liquidation_start: u64,
}

/// A Cap deployment as its storage would be, answering calls as the contracts do.
#[derive(Clone)]
struct Deployment {
    assets: Vec<Address>,
    agents: Vec<Agent>,
    /// Whether the Delegation names an agent's collateral (from February 2026).
    knows_collateral: bool,
    price: Option<u64>,
    loaned: u64,
}

fn agent(address: Address, token: Address, place: Place) -> Agent {
    Agent { address, token, place, coverage: Some(100_000_000_000_000), liquidation_start: 0 }
}

fn deployment() -> Deployment {
    Deployment {
        assets: vec![USDC, WTGXX],
        agents: vec![agent(LENDING_BANK, WSTETH, Place::Symbiotic), agent(TRADING_FIRM, LBTC, Place::Eigen)],
        knows_collateral: true,
        price: Some(250_000_000_000),
        loaned: 500_000,
    }
}

fn network_of(agent: Address) -> Address {
    Address::repeat_byte(agent[0] + 0x10)
}

fn place_of(agent: Address) -> Address {
    Address::repeat_byte(agent[0] + 0x20)
}

impl Deployment {
    /// The USDC reserve is lent, the other one not.
    fn reserve(asset: &str) -> Vec<u8> {
        let (vault, debt) =
            if asset == item(USDC) { (VAULT, Address::repeat_byte(0x30)) } else { Default::default() };
        (U256::ZERO, vault, debt, Address::ZERO, U256::from(6), false, U256::ZERO).abi_encode_params()
    }

    fn answer(&self, call: Call) -> CallRecord {
        let word = |value: u64| Some(U256::from(value).abi_encode());
        let at = |address: Address| Some(address.abi_encode());
        let agent = self.agents.iter().find(|agent| call.item.starts_with(&item(agent.address)));
        let is_lent = call.item.ends_with(&item(USDC));
        let output = match (call.key.as_str(), agent) {
            (key::ASSETS, _) => Some(self.assets.abi_encode()),
            (key::AGENTS, _) => {
                Some(self.agents.iter().map(|agent| agent.address).collect::<Vec<_>>().abi_encode())
            }
            (key::SUPPLIES, _) => word(1_000_000),
            (key::BORROWS, _) => word(if is_lent { 300_000 } else { 0 }),
            (key::AVAILABLE, _) => word(if is_lent { 700_000 } else { 1_000_000 }),
            (key::LOANED, _) => word(self.loaned),
            (key::CASH, _) => word(if is_lent { 200_000 } else { 500_000 }),
            (key::PAUSED | key::ASSET_PAUSED, _) => word(0),
            (key::CAP, _) => word(50_000_000_000_000),
            (key::RESERVE, _) => Some(Self::reserve(&call.item)),
            (key::DEBT, _) => word(310_000),
            (key::RESTAKERS, Some(_)) => word(45),
            (key::BONUS, _) => Some((RAY / U256::from(10)).abi_encode()),
            (key::NETWORK, Some(agent)) => at(network_of(agent.address)),
            (key::COLLATERAL, Some(agent)) if self.knows_collateral => {
                at(if agent.place == Place::Nowhere { Address::ZERO } else { agent.token })
            }
            (key::VAULT, Some(agent)) => match agent.place {
                Place::Symbiotic => at(place_of(agent.address)),
                Place::Nowhere => at(Address::ZERO),
                Place::Eigen => None,
            },
            (key::STRATEGY, Some(agent)) if agent.place == Place::Eigen => at(place_of(agent.address)),
            (key::VAULT_TOKEN, Some(agent)) if agent.place == Place::Symbiotic => at(agent.token),
            (key::STRATEGY_TOKEN, Some(agent)) if agent.place == Place::Eigen => at(agent.token),
            (key::COVERAGE, Some(agent)) => agent.coverage.and_then(word),
            (key::LTV, Some(_)) => Some((RAY / U256::from(2)).abi_encode()),
            (key::THRESHOLD, Some(_)) => Some((RAY / U256::from(10) * U256::from(8)).abi_encode()),
            (key::START, Some(agent)) => word(agent.liquidation_start),
            (key::PRICE, _) if call.item == item(USDC) => {
                Some((99_980_000_u64, 1_900_u64).abi_encode_params())
            }
            (key::PRICE, _) => self.price.map(|price| (price, 1_950_u64).abi_encode_params()),
            (token::SYMBOL, _) => Some(("TOKEN".to_owned(),).abi_encode_params()),
            (token::DECIMALS, _) if call.item == item(WSTETH) => word(18),
            (token::DECIMALS, _) if call.item == item(LBTC) => word(8),
            (token::DECIMALS, _) => word(6),
            _ => None,
        };
        call.answered(output.is_some(), output.unwrap_or_default().into())
    }

    fn discover(&self) -> Layout {
        let mut records: Vec<CallRecord> = Vec::new();
        for _ in 0..6 {
            match Cap.discover(&csu(), &Answers::new(&records), &[]).unwrap() {
                Discovery::Ask(calls) => records.extend(calls.into_iter().map(|call| self.answer(call))),
                Discovery::Found(layout) => return layout,
            }
        }
        panic!("discovery does not end");
    }

    fn answered(&self, calls: Vec<Call>) -> ReadsAtBlock {
        let block = Header { number: 7, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 2_000 };
        ReadsAtBlock { block, calls: calls.into_iter().map(|call| self.answer(call)).collect() }
    }

    fn reads(&self, layout: &Layout) -> ReadsAtBlock {
        self.answered(Cap.snapshot(&csu(), layout))
    }

    fn snapshot(&self) -> Snapshot {
        read(&self.reads(&self.discover()))
    }
}

fn read(reads: &ReadsAtBlock) -> Snapshot {
    Cap.read_snapshot(&csu(), reads, BlockPace::default()).unwrap()
}

fn confirm(deployment: &Deployment, layout: &Layout) -> Result<(), LayoutDrift> {
    Cap.confirm(&csu(), layout, &Answers::new(&deployment.reads(layout).calls))
}

#[test]
fn the_signatures_are_those_of_the_contracts() {
    // facts/protocols.md 5 and facts/README.md, computed there with another keccak library.
    let hash = |text: &str| text.parse::<B256>().unwrap();
    let liquidate = hash("0x8246cc71ab01533b5bebc672a636df812f10637ad720797319d5741d5ebb3962");
    assert_eq!(ICapLender::Liquidate::SIGNATURE_HASH, liquidate);
    assert_eq!(ICapLenderOneTopic::Liquidate::SIGNATURE_HASH, liquidate);
    assert_eq!(
        ICapLender::OpenLiquidation::SIGNATURE_HASH,
        hash("0x748e5bdb37c0004b820188cfe70c9a7b113a044ea220822a6ebdb1a0794cf744")
    );
    let ten = |exponent: u64| U256::from(10).pow(U256::from(exponent));
    assert_eq!((RAY, USD), (ten(27), ten(8)));
}

#[test]
fn an_asset_of_the_vault_counts_interest_that_is_still_owed() {
    let snapshot = deployment().snapshot();
    let [usdc, other, ..] = snapshot.reserves.as_slice() else { panic!("four reserves") };
    assert_eq!((usdc.role, usdc.market_id.as_str(), usdc.token), (Role::Reserve, item(VAULT).as_str(), USDC));
    // 310,000 of the debt token and 45 for each agent's restakers.
    assert_eq!((usdc.supplied, usdc.borrowed), (Some(U256::from(1_000_000)), Some(U256::from(310_090))));
    assert_eq!((usdc.available, usdc.supply_cap), (Some(U256::from(700_000)), Some(50_000_000.0)));
    // 1,000,000 = 200,000 in the vault + 500,000 invested + 300,000 lent.
    assert_eq!(usdc.identity_gap, Some(I256::ZERO));
    assert_eq!((usdc.reserves, usdc.deficit, usdc.supply_apr, usdc.borrow_apr), (None, None, None, None));
    assert_eq!((usdc.is_frozen, usdc.is_paused), (Some(false), Some(false)));
    assert_eq!((usdc.missing.as_slice(), usdc.flags.as_slice()), ([].as_slice(), [].as_slice()));
    // The Lender does not lend the other one.
    assert_eq!((other.borrowed, other.identity_gap), (Some(U256::ZERO), Some(I256::ZERO)));
    assert_eq!(other.missing, []);
    let price = snapshot.prices.iter().find(|price| price.token == USDC).unwrap();
    assert_eq!((price.raw.clone(), price.unit.clone()), (Ok(U256::from(99_980_000)), Ok(USD)));
    assert_eq!(
        (price.quote, price.source, price.updated_at),
        (Quote::Usd, PriceSource::ProtocolOracle, Some(1_900))
    );
}

#[test]
fn coverage_is_collateral_of_the_agent_and_worth_what_the_delegation_says() {
    let snapshot = deployment().snapshot();
    let [_, _, bank, firm] = snapshot.reserves.as_slice() else { panic!("four reserves") };
    assert_eq!(
        (bank.role, bank.token, bank.market_id.as_str()),
        (Role::Collateral, WSTETH, item(LENDING_BANK).as_str())
    );
    // 1,000,000 dollars at 2,500 dollars are 400 tokens of 18 and of 8 decimals.
    assert_eq!(bank.supplied, Some(U256::from(400) * U256::from(10).pow(U256::from(18))));
    assert_eq!((firm.token, firm.supplied), (LBTC, Some(U256::from(40_000_000_000_u64))));
    assert_eq!((bank.ltv, bank.liq_threshold, bank.liq_bonus), (Some(0.5), Some(0.8), Some(0.1)));
    assert_eq!((bank.borrowed, bank.missing.as_slice()), (None, [].as_slice()));
    assert_eq!(snapshot.tokens.len(), 4);
}

#[test]
fn before_the_delegation_knew_the_collateral_the_networks_did() {
    let early = Deployment { knows_collateral: false, ..deployment() };
    let layout = early.discover();
    let part = |market: usize, name| layout.markets[market].contracts.get(name).copied();
    assert_eq!(
        (part(2, "collateral"), part(2, "network_vault")),
        (Some(WSTETH), Some(place_of(LENDING_BANK)))
    );
    assert_eq!((part(3, "collateral"), part(3, "strategy")), (Some(LBTC), Some(place_of(TRADING_FIRM))));
    confirm(&early, &layout).unwrap();
    assert_eq!(early.snapshot().reserves, deployment().snapshot().reserves);
    // Layouts of before hold after the upgrade.
    confirm(&deployment(), &layout).unwrap();
}

#[test]
fn an_agent_without_a_network_vault_has_no_row_until_it_has_one() {
    for knows_collateral in [true, false] {
        let agents = vec![agent(LENDING_BANK, WSTETH, Place::Nowhere)];
        let before = Deployment { agents, knows_collateral, ..deployment() };
        let layout = before.discover();
        assert_eq!(before.snapshot().reserves.len(), 2, "the assets only");
        confirm(&before, &layout).unwrap();
        let agents = vec![agent(LENDING_BANK, WSTETH, Place::Symbiotic)];
        let after = Deployment { agents, knows_collateral, ..deployment() };
        assert_eq!(
            confirm(&after, &layout).unwrap_err().what,
            format!("the collateral of agent {}", item(LENDING_BANK))
        );
        assert_eq!(after.snapshot().reserves.len(), 3);
    }
}

#[test]
fn an_agent_whose_collateral_cannot_be_found_is_partial_and_alone() {
    let deployment = deployment();
    let mut reads = deployment.reads(&deployment.discover());
    for call in
        reads.calls.iter_mut().filter(|call| call.key == key::COLLATERAL && call.item == item(LENDING_BANK))
    {
        call.output = Bytes::new();
    }
    let snapshot = read(&reads);
    assert_eq!((snapshot.reserves[2].token, snapshot.reserves[2].supplied), (Address::ZERO, None));
    assert_eq!(snapshot.reserves[2].flags, ["collateral_unknown"]);
    assert!(!snapshot.reserves[2].missing.is_empty());
    assert_eq!(snapshot.reserves[3].missing, []);
}

#[test]
fn an_oracle_that_reverts_leaves_the_agent_partial_and_the_assets_alone() {
    // PriceOracle.getPrice reverts with PriceError(asset) when both sources are stale, and so does the coverage.
    let mut stale = Deployment { price: None, ..deployment() };
    stale.agents[0].coverage = None;
    let snapshot = stale.snapshot();
    let bank = &snapshot.reserves[2];
    assert_eq!(bank.supplied, None);
    assert!(bank.missing.iter().all(Missing::is_revert), "{:?}", bank.missing);
    assert_eq!(
        (snapshot.reserves[0].missing.as_slice(), snapshot.reserves[0].borrowed),
        ([].as_slice(), Some(U256::from(310_090)))
    );
    assert!(snapshot.prices.iter().any(|price| price.token == WSTETH && price.raw.is_err()));
}

#[test]
fn a_price_of_zero_makes_no_amount_of_a_coverage() {
    let snapshot = Deployment { price: Some(0), ..deployment() }.snapshot();
    let why = snapshot.reserves[2].missing[0].to_string();
    assert!(why.contains("at a price of 0 is no amount of"), "{why}");
    assert_eq!(snapshot.reserves[2].supplied, None);
}

#[test]
fn every_answer_that_is_lost_is_missing_and_leaves_the_neighbour_alone() {
    let deployment = deployment();
    let reads = deployment.reads(&deployment.discover());
    let spoiled = |key: &str, id: &str| {
        let mut spoiled = reads.clone();
        let calls = spoiled.calls.iter_mut().filter(|call| call.key == key && call.item == id);
        assert_eq!(calls.map(|call| call.output = Bytes::new()).count(), 1, "{key} of {id}");
        read(&spoiled)
    };
    let partial = |reserves: &[ReserveFigures]| -> Vec<usize> {
        (0..reserves.len()).filter(|i| !reserves[*i].missing.is_empty()).collect()
    };
    let restakers = pair(LENDING_BANK, USDC);
    for key in [
        key::SUPPLIES,
        key::BORROWS,
        key::AVAILABLE,
        key::LOANED,
        key::CASH,
        key::ASSET_PAUSED,
        key::CAP,
        key::RESERVE,
        key::DEBT,
        token::DECIMALS,
    ] {
        assert_eq!(partial(&spoiled(key, &item(USDC)).reserves), [0], "{key}");
    }
    let snapshot = spoiled(key::RESTAKERS, &restakers);
    assert_eq!((partial(&snapshot.reserves), snapshot.reserves[0].borrowed), (vec![0], None));
    for key in [key::COVERAGE, key::LTV, key::THRESHOLD, key::COLLATERAL] {
        assert_eq!(partial(&spoiled(key, &item(LENDING_BANK)).reserves), [2], "{key}");
    }
    for key in [key::PRICE, token::DECIMALS] {
        assert_eq!(partial(&spoiled(key, &item(WSTETH)).reserves), [2], "{key}");
    }
    assert_eq!(partial(&spoiled(key::PAUSED, "").reserves), [0, 1]);
    assert_eq!(partial(&spoiled(key::BONUS, "").reserves), [2, 3]);
}

#[test]
fn a_vault_before_deposit_caps_has_none() {
    let deployment = deployment();
    let mut reads = deployment.reads(&deployment.discover());
    for call in reads.calls.iter_mut().filter(|call| call.key == key::CAP) {
        (call.ok, call.output) = (false, Bytes::new());
    }
    let usdc = read(&reads).reserves.remove(0);
    assert_eq!((usdc.supply_cap, usdc.missing.as_slice()), (None, [].as_slice()));
}

#[test]
fn tokens_sent_to_the_vault_are_the_identitys_gap() {
    let usdc = Deployment { loaned: 500_007, ..deployment() }.snapshot().reserves.remove(0);
    assert_eq!(usdc.identity_gap, Some(I256::try_from(-7).unwrap()));
}

#[test]
fn a_layout_drifts_when_an_asset_or_agent_comes_or_goes_and_not_before() {
    let layout = deployment().discover();
    confirm(&deployment(), &layout).unwrap();
    let lists = "the lists of assets and agents";
    let grown = Deployment { assets: vec![USDC, WTGXX, LBTC], ..deployment() };
    assert_eq!(confirm(&grown, &layout).unwrap_err().what, lists);
    let shrunk = Deployment { assets: vec![USDC], ..deployment() };
    assert_eq!(confirm(&shrunk, &layout).unwrap_err().what, lists);
    assert_eq!(shrunk.discover().markets.len(), 3);
    let mut fewer_agents = deployment();
    fewer_agents.agents.pop();
    assert_eq!(confirm(&fewer_agents, &layout).unwrap_err().what, lists);
    let mut other_debt = layout.clone();
    other_debt.markets[0].contracts.insert("debt_token".to_owned(), LBTC);
    assert_eq!(
        confirm(&deployment(), &other_debt).unwrap_err().what,
        format!("the debt token of asset {}", item(USDC))
    );
}

#[test]
fn a_vault_of_200_assets_is_found_and_read_whole() {
    let assets = (0..200).map(Address::with_last_byte).collect();
    let wide = Deployment { assets, ..deployment() };
    let snapshot = wide.snapshot();
    assert_eq!((wide.discover().markets.len(), snapshot.reserves.len()), (202, 202));
    assert!(snapshot.reserves.iter().all(|reserve| reserve.missing.is_empty()));
}

#[test]
fn an_entry_that_is_no_vault_is_told_as_such() {
    let step = |answer: fn(Call) -> CallRecord| {
        let Ok(Discovery::Ask(calls)) = Cap.discover(&csu(), &Answers::default(), &[]) else {
            panic!("nothing was asked")
        };
        let records: Vec<CallRecord> = calls.into_iter().map(answer).collect();
        Cap.discover(&csu(), &Answers::new(&records), &[]).unwrap_err().to_string()
    };
    let no_code = step(|call| call.answered(true, Bytes::new()));
    assert!(no_code.starts_with("the assets of a Cap vault: vault.assets returned nothing"), "{no_code}");
    // A Comet, say: it has none of the functions.
    let refusal = |call: Call| {
        let data = alloy_sol_types::Revert { reason: "unknown selector".into() }.abi_encode();
        call.answered(false, data.into())
    };
    assert_eq!(step(refusal), "the assets of a Cap vault: vault.assets reverted: unknown selector");
}

#[test]
fn a_registry_row_without_the_lender_is_told_as_such() {
    let bare = Csu::bare("cap_test", "cap", "ethereum", "cap_token_vault", VAULT);
    let error = Cap.discover(&bare, &Answers::default(), &[]).unwrap_err().to_string();
    assert_eq!(
        error,
        "the contracts of a Cap vault: the registry row: has no `lender` in `contracts`, and the vault cannot be asked for it"
    );
}

fn raw_log(topics: Vec<B256>, data: Vec<u8>) -> RawLog {
    RawLog {
        address: LENDER,
        topics,
        data: data.into(),
        block_number: 7,
        block_hash: B256::ZERO,
        transaction_hash: B256::repeat_byte(1),
        transaction_index: 0,
        log_index: 3,
    }
}

fn liquidate(agent: Address) -> RawLog {
    let event = ICapLender::Liquidate {
        agent,
        liquidator: Address::repeat_byte(0xee),
        asset: USDC,
        amount: U256::from(250_000_000),
        value: U256::from(26_244_750_000_u64),
    };
    let data = event.encode_log_data();
    raw_log(data.topics().to_vec(), data.data.to_vec())
}

#[test]
fn a_liquidation_repays_an_asset_and_takes_collateral_worth_what_the_log_says() {
    let readings = Cap.read_logs(&csu(), &[liquidate(TRADING_FIRM)], &[]);
    let [LogReading::Leg(leg)] = readings.as_slice() else { panic!("{readings:?}") };
    assert_eq!((leg.event, leg.market_id.as_str()), ("Liquidate", item(VAULT).as_str()));
    assert_eq!((leg.borrower, leg.liquidator), (Some(TRADING_FIRM), Some(Address::repeat_byte(0xee))));
    assert_eq!((leg.debt, leg.collateral), (Some((USDC, U256::from(250_000_000))), None));
    assert_eq!((leg.collateral_value, leg.bad_debt), (Some((U256::from(26_244_750_000_u64), USD)), None));
}

#[test]
fn a_log_with_one_topic_less_says_the_same() {
    let whole = liquidate(TRADING_FIRM);
    let fewer = raw_log(whole.topics[..2].to_vec(), [whole.topics[2].as_slice(), &whole.data[..]].concat());
    let read = |log: &RawLog| Cap.read_logs(&csu(), std::slice::from_ref(log), &[]);
    assert_eq!(read(&fewer), read(&whole));
}

#[test]
fn a_log_of_another_shape_is_a_reject_with_its_reason() {
    let sound = liquidate(LENDING_BANK);
    let mut short = sound.clone();
    short.data = Bytes::from(short.data[..64].to_vec());
    let mut unindexed = sound.clone();
    unindexed.topics.truncate(2);
    let mut bare = sound.clone();
    bare.topics.truncate(1);
    let mut dirty = sound.clone();
    dirty.topics[1] = B256::repeat_byte(0xff);
    let mut other = sound.clone();
    other.topics[0] = B256::repeat_byte(0x12);
    for bad in [short, unindexed, bare, dirty, other] {
        let readings = Cap.read_logs(&csu(), &[bad, sound.clone()], &[]);
        assert!(matches!(&readings[0], LogReading::Reject { why, .. } if !why.is_empty()), "{readings:?}");
        assert!(matches!(&readings[1], LogReading::Leg(_)));
    }
}

#[test]
fn the_filter_is_the_lenders_and_event_reads_price_the_debt() {
    let filter = Cap.filter(&csu(), &[]);
    assert_eq!(filter.addresses, [LENDER]);
    assert!(filter.matches(&liquidate(LENDING_BANK)));
    let log = liquidate(LENDING_BANK);
    let layout = deployment().discover();
    let reads = deployment().answered(Cap.event_reads(&csu(), &layout, &[&log]));
    Cap.confirm(&csu(), &layout, &Answers::new(&reads.calls)).unwrap();
    let (prices, tokens) = Cap.read_event_prices(&csu(), &reads);
    assert_eq!((prices.len(), prices[0].token, tokens[0].decimals), (1, USDC, Some(6)));
}

#[test]
fn an_open_liquidation_window_is_witness_that_the_days_logs_are_held() {
    let witness = |starts: [u64; 2], since| {
        let mut deployment = deployment();
        for (agent, start) in deployment.agents.iter_mut().zip(starts) {
            agent.liquidation_start = start;
        }
        Cap.witness(&csu(), &deployment.reads(&deployment.discover()), DayStart::from(since))
    };
    let found = witness([1_700, 1_500], 1_000).unwrap();
    assert_eq!((found.at, found.filter.addresses.as_slice()), (At::Time(1_500), [LENDER].as_slice()));
    assert!(found.filter.topic0.contains(&ICapLender::OpenLiquidation::SIGNATURE_HASH));
    assert_eq!(witness([0, 900], 1_000), None, "no window was opened on that day");
}

fn arbitrary_log() -> impl Strategy<Value = RawLog> {
    let topic = any::<[u8; 32]>().prop_map(B256::from);
    let first = prop_oneof![Just(ICapLender::Liquidate::SIGNATURE_HASH), topic.clone()];
    let sizes = prop_oneof![Just(96_usize), Just(128), 0_usize..200];
    let data = (sizes, any::<bool>()).prop_flat_map(|(size, high)| {
        let byte = if high { 0xff_u8..=0xff } else { 0..=0xff };
        prop::collection::vec(byte, size)
    });
    (first, prop::collection::vec(topic, 0..4), data)
        .prop_map(|(first, rest, data)| raw_log(std::iter::once(first).chain(rest).collect(), data))
}

proptest! {
    #[test]
    fn no_log_is_lost_or_makes_the_decoder_panic(logs in prop::collection::vec(arbitrary_log(), 0..8)) {
        prop_assert_eq!(Cap.read_logs(&csu(), &logs, &[]).len(), logs.len());
        let borrowed: Vec<&RawLog> = logs.iter().collect();
        let calls = Cap.event_reads(&csu(), &Layout::default(), &borrowed);
        prop_assert!(calls.len() <= 3 * logs.len());
    }

    #[test]
    fn no_answer_makes_the_decoder_panic(
        spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)), 0..6),
        knows_collateral in any::<bool>(),
    ) {
        let deployment = Deployment { knows_collateral, ..deployment() };
        let layout = deployment.discover();
        let mut reads = deployment.reads(&layout);
        for (index, ok, output) in spoil {
            let call = index.index(reads.calls.len());
            (reads.calls[call].ok, reads.calls[call].output) = (ok, output.into());
        }
        let answers = Answers::new(&reads.calls);
        let _drift = Cap.confirm(&csu(), &layout, &answers);
        let _step = Cap.discover(&csu(), &answers, &[]);
        let _witness = Cap.witness(&csu(), &reads, 0.into());
        if let Ok(snapshot) = Cap.read_snapshot(&csu(), &reads, BlockPace::default()) {
            prop_assert!(snapshot.reserves.len() >= 2);
        }
    }

    #[test]
    fn a_coverage_is_worth_itself_again(coverage in any::<u64>(), price in 1_u64..10_000_000_000_000) {
        let mut deployment = Deployment { price: Some(price), ..deployment() };
        deployment.agents[0].coverage = Some(coverage);
        let tokens = deployment.snapshot().reserves[2].supplied.unwrap();
        let value = tokens * U256::from(price) / U256::from(10).pow(U256::from(18));
        prop_assert!(U256::from(coverage) - value <= U256::ONE, "{value} of {coverage}");
    }
}
