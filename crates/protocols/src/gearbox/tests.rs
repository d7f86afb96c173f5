use super::*;
use crate::answers::Missing;
use crate::family::{Leg, ReserveFigures};
use alloy_sol_types::{SolCall, SolValue};
use lake::bronze::{CallRecord, Header};
use lake::status::Role;
use lake::{Bytes, I256, U256};

mod logs;

const PROVIDER: Address = Address::repeat_byte(0x01);
const PROVIDER_3_1: Address = Address::repeat_byte(0x02);
const REGISTER: Address = Address::repeat_byte(0x03);
const FACTORY: Address = Address::repeat_byte(0x04);
const CONFIGURATOR: Address = Address::repeat_byte(0x05);
const REGISTER_3_1: Address = Address::repeat_byte(0x06);

const OLD_POOL: Address = Address::repeat_byte(0x10);
const POOL: Address = Address::repeat_byte(0x11);
const NEW_POOL: Address = Address::repeat_byte(0x12);

const MANAGER_V1: Address = Address::repeat_byte(0x21);
const MANAGER_V2: Address = Address::repeat_byte(0x22);
const MANAGER_A: Address = Address::repeat_byte(0x23);
const MANAGER_B: Address = Address::repeat_byte(0x24);
const MANAGER_3_1: Address = Address::repeat_byte(0x25);

const USDC: Address = Address::repeat_byte(0x71);
const WETH: Address = Address::repeat_byte(0x72);
const DAI: Address = Address::repeat_byte(0x73);

fn facade(manager: Address) -> Address {
    Address::repeat_byte(manager[0] + 0x20)
}

fn csu() -> Csu {
    Csu {
        contracts: [("address_provider_v3_1".to_owned(), PROVIDER_3_1)].into(),
        ..Csu::bare("gearbox_test", "gearbox", "ethereum", "address_provider_v3_0", PROVIDER)
    }
}

/// A deployment as its storage would be, answering calls as the contracts do.
#[derive(Clone)]
struct Deployment {
    /// Whether version 3.1 has been deployed.
    has_3_1: bool,
    pools: Vec<State>,
    managers: Vec<Manager>,
    shut: Vec<Address>,
    oracle: Address,
}

#[derive(Clone)]
struct State {
    address: Address,
    version: u64,
    token: Address,
    expected: u64,
    available: u64,
    principal: u64,
    price: u64,
    touched: u64,
    is_in_both: bool,
}

#[derive(Clone)]
struct Manager {
    address: Address,
    version: u64,
    pool: Address,
    facade: Address,
    principal: u64,
}

fn pool(address: Address, version: u64, token: Address) -> State {
    State {
        address,
        version,
        token,
        expected: 1_000,
        available: 370,
        principal: 600,
        price: 99_990_000,
        touched: 0,
        is_in_both: false,
    }
}

fn manager(address: Address, version: u64, pool: Address, principal: u64) -> Manager {
    Manager { address, version, pool, facade: facade(address), principal }
}

impl Deployment {
    fn new() -> Self {
        Self {
            has_3_1: true,
            pools: vec![
                pool(OLD_POOL, 1, USDC),
                State { is_in_both: true, ..pool(POOL, 300, WETH) },
                pool(NEW_POOL, 310, DAI),
            ],
            managers: vec![
                manager(MANAGER_V1, 1, OLD_POOL, 0),
                manager(MANAGER_V2, 210, OLD_POOL, 0),
                manager(MANAGER_A, 300, POOL, 400),
                manager(MANAGER_B, 300, POOL, 200),
                manager(MANAGER_3_1, 310, NEW_POOL, 600),
            ],
            shut: Vec::new(),
            oracle: Address::repeat_byte(0x61),
        }
    }

    fn before_3_1() -> Self {
        let mut old = Self::new();
        old.has_3_1 = false;
        old.pools.truncate(2);
        old.managers.truncate(4);
        old
    }

    fn pool(&self, item_: &str) -> Option<&State> {
        self.pools.iter().find(|pool| item(pool.address) == item_)
    }

    fn manager(&self, item_: &str) -> Option<&Manager> {
        self.managers.iter().find(|manager| item(manager.address) == item_)
    }

    fn answer(&self, call: Call) -> CallRecord {
        let address = |address: Address| Some(address.abi_encode());
        let addresses = |addresses: Vec<Address>| Some(addresses.abi_encode());
        let number = |value: u64| Some(U256::from(value).abi_encode());
        let is_new = call.to == REGISTER_3_1;
        let (pool, manager) = (self.pool(&call.item), self.manager(&call.item));
        let v3 = pool.filter(|pool| pool.version >= 300);
        let output = match call.key.as_str() {
            key::REGISTER_V3 => address(REGISTER),
            key::FACTORY if self.has_3_1 => address(FACTORY),
            key::CONFIGURATORS => addresses(vec![CONFIGURATOR]),
            key::SHUT_CONFIGURATORS => addresses(vec![]),
            key::REGISTER => address(REGISTER_3_1),
            key::POOLS => {
                let is_listed = |pool: &&State| {
                    if is_new { pool.version > 300 || pool.is_in_both } else { pool.version <= 300 }
                };
                let open = self.pools.iter().filter(is_listed).map(|pool| pool.address);
                addresses(open.filter(|pool| !self.shut.contains(pool)).collect())
            }
            key::SHUT_POOLS if is_new => addresses(self.shut.clone()),
            key::MANAGERS => {
                let is_listed = |manager: &&Manager| (manager.version > 300) == is_new;
                addresses(self.managers.iter().filter(is_listed).map(|manager| manager.address).collect())
            }
            key::POOL_ORACLE => pool.and_then(|_| address(self.oracle)),
            key::MANAGER_POOL => {
                manager.filter(|manager| manager.version > 1).and_then(|manager| address(manager.pool))
            }
            key::MANAGER_POOL_V1 => {
                manager.filter(|manager| manager.version < 300).and_then(|manager| address(manager.pool))
            }
            key::FACADE => {
                manager.filter(|manager| manager.version > 1).and_then(|manager| address(manager.facade))
            }
            key::MANAGER_ORACLE => {
                manager.filter(|manager| manager.version > 1).and_then(|_| address(self.oracle))
            }
            key::FACADE_MANAGER => self
                .managers
                .iter()
                .find(|manager| manager.facade == call.to)
                .and_then(|manager| address(manager.address)),
            key::UNDERLYING => pool.and_then(|pool| address(pool.token)),
            key::VERSION => pool.and_then(|pool| number(pool.version)),
            key::EXPECTED => pool.and_then(|pool| number(pool.expected)),
            key::AVAILABLE => pool.and_then(|pool| number(pool.available)),
            key::PRINCIPAL => pool.and_then(|pool| number(pool.principal)),
            key::RATE_V1 => pool.filter(|pool| pool.version < 300).and_then(|_| ray(50)),
            key::RATE => v3.and_then(|_| ray(40)),
            key::SUPPLY_RATE => v3.and_then(|_| ray(30)),
            key::DEBT_LIMIT => v3.and_then(|pool| {
                if pool.version == 300 { Some(U256::MAX.abi_encode()) } else { number(5_000_000) }
            }),
            key::MANAGER_PRINCIPAL => manager.and_then(|manager| number(manager.principal)),
            key::LAST_UPDATE => v3.and_then(|pool| number(pool.touched)),
            key::PAUSED => pool.and_then(|_| number(0)),
            key::PRICE => {
                let token: Address = call.item.split('/').next().unwrap().parse().unwrap();
                self.pools.iter().find(|pool| pool.token == token).and_then(|pool| number(pool.price))
            }
            token::SYMBOL => Some(("USDC".to_owned(),).abi_encode_params()),
            token::DECIMALS => number(6),
            _ => None,
        };
        call.answered(output.is_some(), output.unwrap_or_default().into())
    }

    fn discover(&self) -> Layout {
        let mut records: Vec<CallRecord> = Vec::new();
        for _ in 0..8 {
            match Gearbox.discover(&csu(), &Answers::new(&records), &[]).unwrap() {
                Discovery::Ask(calls) => records.extend(calls.into_iter().map(|call| self.answer(call))),
                Discovery::Found(layout) => return layout,
            }
        }
        panic!("discovery does not end");
    }

    fn reads(&self, layout: &Layout) -> ReadsAtBlock {
        let calls = Gearbox.snapshot(&csu(), layout).into_iter().map(|call| self.answer(call)).collect();
        ReadsAtBlock { block: block(), calls }
    }

    fn snapshot(&self) -> Snapshot {
        read(&self.reads(&self.discover()))
    }
}

fn ray(per_mille: u64) -> Option<Vec<u8>> {
    Some((U256::from(per_mille) * U256::from(10).pow(U256::from(24))).abi_encode())
}

fn block() -> Header {
    Header { number: 7, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 2_000 }
}

fn read(reads: &ReadsAtBlock) -> Snapshot {
    Gearbox.read_snapshot(&csu(), reads, BlockPace::default()).unwrap()
}

fn row(snapshot: &Snapshot, pool: Address) -> &ReserveFigures {
    snapshot.reserves.iter().find(|row| row.market_id == item(pool)).unwrap()
}

/// Changes the answers that `which` picks.
fn spoil(
    reads: &ReadsAtBlock,
    which: impl Fn(&CallRecord) -> bool,
    ok: bool,
    output: Vec<u8>,
) -> ReadsAtBlock {
    let mut spoiled = reads.clone();
    for call in spoiled.calls.iter_mut().filter(|call| which(call)) {
        (call.ok, call.output) = (ok, Bytes::from(output.clone()));
    }
    spoiled
}

fn raw(value: u64) -> Option<U256> {
    Some(U256::from(value))
}

#[test]
fn the_signatures_are_those_of_the_contracts() {
    // facts/protocols.md 5, computed there with another keccak library.
    let hash = |text: &str| text.parse::<B256>().unwrap();
    let shared = hash("0x7dfecd8419723a9d3954585a30c2a270165d70aafa146c11c1e1b88ae1439064");
    assert_eq!(IFacadeV2::LiquidateCreditAccount::SIGNATURE_HASH, shared);
    assert_eq!(IFacadeV3::LiquidateCreditAccount::SIGNATURE_HASH, shared);
    let others = [
        (
            IFacadeV2::LiquidateExpiredCreditAccount::SIGNATURE_HASH,
            "0xfada13ff2d5e1a1d9da37ad4a4130893b34e3c69c32b17f87ec31fd661b86707",
        ),
        (
            IManagerV1::LiquidateCreditAccount::SIGNATURE_HASH,
            "0x5e5da6c348e62989f9cfe029252433fc99009b7d28fa3c20d675520a10ff5896",
        ),
        (
            IFacadeV3::PartiallyLiquidateCreditAccount::SIGNATURE_HASH,
            "0x04d7a59a828995563eaa48eb65f11b681f7fec2fb7d6bc1a5426243882f9d249",
        ),
        (IPool::Repay::SIGNATURE_HASH, "0x2fe77b1c99aca6b022b8efc6e3e8dd1b48b30748709339b65c50ef3263443e09"),
        (
            IPool::IncurUncoveredLoss::SIGNATURE_HASH,
            "0x33fc1787be707f18e553b02263e12d2fa6d2d40733535382066fd1d77e32c595",
        ),
    ];
    for (found, expected) in others {
        assert_eq!(found, hash(expected));
    }
}

#[test]
fn names_of_a_provider_are_text_from_the_left() {
    let Discovery::Ask(calls) = Gearbox.discover(&csu(), &Answers::default(), &[]).unwrap() else {
        panic!("nothing was asked yet")
    };
    let keys: Vec<_> = calls
        .iter()
        .map(|call| IAddressProviderV3::getAddressOrRevertCall::abi_decode(&call.input).unwrap())
        .map(|call| (call.key, call.version))
        .collect();
    let text =
        |name: &str| format!("0x{:0<64}", name.bytes().map(|byte| format!("{byte:02x}")).collect::<String>());
    let expected = ["CONTRACTS_REGISTER", "MARKET_CONFIGURATOR_FACTORY"];
    assert_eq!(keys, expected.map(|name| (text(name).parse().unwrap(), U256::ZERO)));
}

#[test]
fn pools_of_both_registers_are_listed_once_with_their_managers() {
    let layout = Deployment::new().discover();
    let pools: Vec<_> = layout.markets.iter().map(|market| market.id.clone()).collect();
    assert_eq!(pools, [OLD_POOL, POOL, NEW_POOL].map(item));
    let contracts = Contracts::in_layout(&layout);
    assert_eq!(contracts.layout(), layout, "a layout holds all that was found");
    let managers = |index: usize| -> Vec<Address> {
        contracts.pools[index].managers.iter().map(|manager| manager.address).collect()
    };
    assert_eq!(managers(0), [MANAGER_V1, MANAGER_V2]);
    assert_eq!(managers(1), [MANAGER_A, MANAGER_B]);
    assert_eq!(contracts.pools[0].managers[0].facade, None, "version 1 has no facade");
    assert_eq!(contracts.pools[1].register, Some(REGISTER_3_1), "its market is of 3.1, too");
    assert_eq!(contracts.unplaced, []);
}

#[test]
fn what_is_not_there_yet_is_left_out_and_what_is_needed_is_not() {
    let old = Deployment::before_3_1();
    assert_eq!(old.discover().markets.len(), 2);
    let snapshot = old.snapshot();
    assert!(snapshot.reserves.iter().all(|row| row.missing.is_empty()), "{:?}", snapshot.reserves);
    let only_3_1 = Csu::bare("gearbox_test", "gearbox", "plasma", "address_provider_v3_1", PROVIDER_3_1);
    let mut records: Vec<CallRecord> = Vec::new();
    let layout = loop {
        match Gearbox.discover(&only_3_1, &Answers::new(&records), &[]).unwrap() {
            Discovery::Ask(calls) => {
                records.extend(calls.into_iter().map(|call| Deployment::new().answer(call)))
            }
            Discovery::Found(layout) => break layout,
        }
    };
    let pools: Vec<_> = layout.markets.iter().map(|market| market.id.clone()).collect();
    assert_eq!(pools, [POOL, NEW_POOL].map(item));
}

#[test]
fn a_configurator_that_the_row_names_counts_once_it_is_there() {
    let row =
        Csu { contracts: [("market_configurator_chaos_labs".to_owned(), CONFIGURATOR)].into(), ..csu() };
    let discover = |has_code: bool| {
        let mut records: Vec<CallRecord> = Vec::new();
        loop {
            match Gearbox.discover(&row, &Answers::new(&records), &[]).unwrap() {
                Discovery::Ask(calls) => {
                    records.extend(calls.into_iter().map(|call| match call.key.as_str() {
                        key::REGISTER if !has_code => call.answered(true, Bytes::new()),
                        _ => Deployment::new().answer(call),
                    }))
                }
                Discovery::Found(layout) => return layout.markets.len(),
            }
        }
    };
    assert_eq!((discover(false), discover(true)), (2, 3));
}

#[test]
fn an_entry_that_leads_nowhere_is_told_as_such() {
    let Discovery::Ask(calls) = Gearbox.discover(&csu(), &Answers::default(), &[]).unwrap() else {
        panic!("nothing was asked yet")
    };
    for (ok, why) in [(true, "there is no contract at"), (false, "reverted")] {
        let records: Vec<_> = calls.iter().cloned().map(|call| call.answered(ok, Bytes::new())).collect();
        let error = Gearbox.discover(&csu(), &Answers::new(&records), &[]).unwrap_err();
        assert!(error.to_string().starts_with("the contracts register of a Gearbox deployment: "), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    // The other provider's pools are not all.
    let half: Vec<_> = calls
        .into_iter()
        .map(|call| match call.key.as_str() {
            key::FACTORY => Deployment::new().answer(call),
            _ => call.answered(false, Bytes::new()),
        })
        .chain(contracts_of_the_factory())
        .collect();
    Gearbox.discover(&csu(), &Answers::new(&half), &[]).unwrap_err();
    let stranger = Csu::bare("gearbox_test", "gearbox", "ethereum", "pool", PROVIDER);
    let error = Gearbox.discover(&stranger, &Answers::default(), &[]).unwrap_err();
    assert!(error.to_string().ends_with("pool: it leads to no contracts register"), "{error}");
}

fn contracts_of_the_factory() -> Vec<CallRecord> {
    let record = |key: &str, name: String, to| {
        let call = IMarketConfiguratorFactory::getMarketConfiguratorsCall {};
        Deployment::new().answer(Call::new(key, name, to, &call))
    };
    vec![
        record(key::CONFIGURATORS, String::new(), FACTORY),
        record(key::SHUT_CONFIGURATORS, String::new(), FACTORY),
        record(key::REGISTER, item(CONFIGURATOR), CONFIGURATOR),
    ]
}

#[test]
fn a_register_that_does_not_list_is_a_failure_and_not_an_empty_list() {
    let deployment = Deployment::new();
    let reads = deployment.reads(&deployment.discover());
    for list in [key::POOLS, key::MANAGERS] {
        let spoiled = spoil(&reads, |call| call.key == list && call.to == REGISTER_3_1, true, Vec::new());
        let error = Gearbox.read_snapshot(&csu(), &spoiled, BlockPace::default()).unwrap_err();
        assert!(error.to_string().contains("there is no contract at"), "{error}");
        Gearbox.confirm(&csu(), &deployment.discover(), &Answers::new(&spoiled.calls)).unwrap_err();
    }
}

#[test]
fn a_version_3_pool_owes_what_it_expects_beyond_its_cash() {
    let snapshot = Deployment::new().snapshot();
    let pool = row(&snapshot, POOL);
    assert_eq!(pool.missing, []);
    assert_eq!((pool.token, pool.role), (WETH, Role::Base));
    assert_eq!((pool.supplied, pool.available, pool.borrowed), (raw(1_000), raw(370), raw(630)));
    assert_eq!((pool.borrow_apr, pool.supply_apr), (Some(0.04), Some(0.03)));
    assert_eq!(pool.identity_gap, Some(I256::ZERO), "400 and 200 are the 600");
    assert_eq!((pool.borrow_cap, row(&snapshot, NEW_POOL).borrow_cap), (None, Some(5.0)));
    assert_eq!((pool.is_active, pool.is_paused), (Some(true), Some(false)));
    assert_eq!(pool.flags, [] as [&str; 0]);
    assert_eq!((pool.deficit, pool.reserves), (None, None));
}

#[test]
fn an_older_pool_has_its_own_rate_and_no_figures_by_manager() {
    let snapshot = Deployment::new().snapshot();
    let pool = row(&snapshot, OLD_POOL);
    assert_eq!(pool.missing, []);
    assert_eq!((pool.supplied, pool.borrowed), (raw(1_000), raw(630)));
    // Five per cent on 600 of 1,000.
    assert_eq!((pool.borrow_apr, pool.supply_apr), (Some(0.05), Some(0.03)));
    assert_eq!(pool.identity_gap, None);
}

#[test]
fn a_pool_that_does_not_tell_its_version_is_known_by_its_rate() {
    let deployment = Deployment::new();
    let reads = deployment.reads(&deployment.discover());
    let spoiled = read(&spoil(&reads, |call| call.key == key::VERSION, false, Vec::new()));
    assert_eq!(spoiled.reserves, deployment.snapshot().reserves);
}

#[test]
fn what_a_manager_owes_that_no_list_names_is_the_gap() {
    let mut deployment = Deployment::new();
    deployment.managers.retain(|manager| manager.address != MANAGER_B);
    let snapshot = deployment.snapshot();
    assert_eq!(row(&snapshot, POOL).identity_gap, I256::try_from(200).ok());
}

#[test]
fn a_gift_to_a_pool_does_not_hide_what_it_lent() {
    let mut deployment = Deployment::new();
    deployment.pools[1].available = 5_000;
    let snapshot = deployment.snapshot();
    let pool = row(&snapshot, POOL);
    assert_eq!((pool.borrowed, pool.available), (raw(600), raw(5_000)));
    assert_eq!(pool.flags, ["borrowed_is_principal"]);
}

#[test]
fn a_pool_that_was_shut_down_still_owes_its_suppliers() {
    let mut deployment = Deployment::new();
    deployment.shut.push(NEW_POOL);
    let snapshot = deployment.snapshot();
    let pool = row(&snapshot, NEW_POOL);
    assert_eq!((pool.supplied, pool.is_active), (raw(1_000), Some(false)));
    assert_eq!(pool.flags, ["shut_down"]);
}

#[test]
fn prices_are_dollars_with_eight_decimals() {
    let snapshot = Deployment::new().snapshot();
    assert_eq!(snapshot.prices.len(), 3);
    for price in &snapshot.prices {
        assert_eq!(
            (price.raw.clone(), price.unit.clone()),
            (Ok(U256::from(99_990_000)), Ok(U256::from(100_000_000)))
        );
        assert_eq!((price.quote, price.feed), (crate::Quote::Usd, Deployment::new().oracle));
    }
}

#[test]
fn an_oracle_that_reverts_or_says_zero_for_one_token_leaves_the_others_alone() {
    let deployment = Deployment::new();
    let reads = deployment.reads(&deployment.discover());
    let is_weth = |call: &CallRecord| call.key == key::PRICE && call.item.starts_with(&item(WETH));
    let whole = read(&reads);
    for (ok, output) in [(false, Vec::new()), (true, U256::ZERO.abi_encode())] {
        let snapshot = read(&spoil(&reads, is_weth, ok, output));
        assert_eq!(snapshot.reserves, whole.reserves, "no figure depends on a price");
        for (before, after) in whole.prices.iter().zip(&snapshot.prices) {
            assert_eq!(before == after, after.token != WETH);
        }
        let weth = snapshot.prices.iter().find(|price| price.token == WETH).unwrap();
        assert!(if ok { weth.raw == Ok(U256::ZERO) } else { weth.raw.is_err() });
    }
}

#[test]
fn every_answer_that_is_lost_is_missing_and_leaves_the_neighbours_alone() {
    let deployment = Deployment::new();
    let reads = deployment.reads(&deployment.discover());
    let whole = read(&reads);
    for name in [key::EXPECTED, key::AVAILABLE, key::PRINCIPAL, key::RATE, key::SUPPLY_RATE, key::UNDERLYING]
    {
        let snapshot =
            read(&spoil(&reads, |call| call.key == name && call.item == item(POOL), true, Vec::new()));
        assert!(!row(&snapshot, POOL).missing.is_empty(), "{name} was lost without a word");
        for other in [OLD_POOL, NEW_POOL] {
            assert_eq!(row(&snapshot, other), row(&whole, other), "{name} spoiled a neighbour");
        }
    }
    let snapshot =
        read(&spoil(&reads, |call| call.key == token::DECIMALS && call.item == item(WETH), true, Vec::new()));
    assert_eq!(row(&snapshot, POOL).missing.len(), 1);
}

#[test]
fn a_pool_without_code_is_partial_and_the_only_one() {
    let mut deployment = Deployment::new();
    let ghost = Address::repeat_byte(0x1f);
    deployment.pools.push(State { version: 310, ..pool(ghost, 310, DAI) });
    let layout = deployment.discover();
    let reads = spoil(&deployment.reads(&layout), |call| call.to == ghost, true, Vec::new());
    let snapshot = read(&reads);
    let partial: Vec<_> = snapshot.reserves.iter().filter(|row| !row.missing.is_empty()).collect();
    let [partial] = partial.as_slice() else { panic!("{partial:?}") };
    assert_eq!((partial.market_id.as_str(), partial.supplied), (item(ghost).as_str(), None));
    assert!(partial.missing.iter().all(|why| matches!(why, Missing::NoCode { .. })), "{:?}", partial.missing);
}

#[test]
fn a_layout_drifts_when_a_pool_a_facade_or_an_oracle_changes_and_not_before() {
    let old = Deployment::new();
    let layout = old.discover();
    let confirm =
        |now: &Deployment| Gearbox.confirm(&csu(), &layout, &Answers::new(&now.reads(&layout).calls));
    confirm(&old).unwrap();

    let mut grown = old.clone();
    grown.pools.push(pool(Address::repeat_byte(0x13), 310, USDC));
    assert_eq!(confirm(&grown).unwrap_err().what, "the list of contracts");
    let mut shrunk = old.clone();
    shrunk.pools.remove(2);
    assert_eq!(confirm(&shrunk).unwrap_err().what, "the list of pools");
    let mut upgraded = old.clone();
    upgraded.managers[2].facade = Address::repeat_byte(0x99);
    assert_eq!(confirm(&upgraded).unwrap_err().what, format!("a contract of pool {}", item(POOL)));
    let mut repriced = old.clone();
    repriced.oracle = Address::repeat_byte(0x98);
    confirm(&repriced).unwrap_err();
    let mut joined = old;
    joined.managers.push(manager(Address::repeat_byte(0x26), 310, NEW_POOL, 0));
    confirm(&joined).unwrap_err();
}

#[test]
fn a_manager_of_a_pool_that_no_list_names_is_still_listened_to() {
    let mut deployment = Deployment::new();
    deployment.managers[3].pool = Address::repeat_byte(0x1e);
    let layout = deployment.discover();
    let filter = Gearbox.filter(&csu(), &[&layout]);
    assert!(filter.addresses.contains(&facade(MANAGER_B)));
    assert_eq!(Contracts::in_layout(&layout).unplaced.len(), 1);
    Gearbox.confirm(&csu(), &layout, &Answers::new(&deployment.reads(&layout).calls)).unwrap();
}

#[test]
fn two_hundred_pools_have_names_of_their_own() {
    let mut deployment = Deployment::new();
    deployment.pools = (0..200_u64)
        .map(|number| {
            let address = Address::from_word(U256::from(0x1_0000 + number).into());
            State { version: 310, ..pool(address, 310, if number % 2 == 0 { USDC } else { DAI }) }
        })
        .collect();
    let calls = Gearbox.snapshot(&csu(), &deployment.discover());
    let names: BTreeSet<_> = calls.iter().map(|call| (&call.key, &call.item)).collect();
    assert_eq!(names.len(), calls.len(), "bronze refuses a name that is there twice");
    // A pool 12, its token and price shared; the roots, lists and managers beside.
    let of_pools = calls.iter().filter(|call| deployment.pool(&call.item).is_some()).count();
    assert_eq!(of_pools, 200 * 12);
    assert_eq!(deployment.snapshot().reserves.len(), 200);
}

#[test]
fn the_earliest_touch_of_the_day_is_witness_that_its_logs_are_held() {
    let mut deployment = Deployment::new();
    (deployment.pools[1].touched, deployment.pools[2].touched) = (1_500, 1_200);
    let reads = deployment.reads(&deployment.discover());
    let witness = |since: u64| Gearbox.witness(&csu(), &reads, since.into());
    let found = witness(1_000).unwrap();
    assert_eq!((found.at, found.filter.addresses.as_slice()), (At::Time(1_200), [NEW_POOL].as_slice()));
    assert!(found.filter.topic0.contains(&IPool::Deposit::SIGNATURE_HASH));
    assert_eq!(witness(1_300).unwrap().filter.addresses, [POOL]);
    assert_eq!(witness(1_600), None, "nothing was touched that late");
}

#[test]
fn every_limit_names_a_column_of_gold() {
    let columns: Vec<&str> = lake::schema::tables()
        .iter()
        .filter(|table| table.name == "panel_daily")
        .flat_map(|table| table.columns.iter().map(|column| column.name))
        .collect();
    for limit in Gearbox.limits() {
        assert!(columns.contains(&limit.column), "{}", limit.column);
        assert!(limit.why.ends_with('.'), "{}", limit.why);
    }
}

#[test]
fn every_row_of_the_registry_begins_with_a_question_to_each_contract_that_it_names() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../pipelines/registry");
    let registry = lake::registry::Registry::load(std::path::Path::new(directory)).unwrap();
    let rows: Vec<_> = registry.csus().filter(|csu| csu.family == "gearbox").collect();
    assert_eq!(rows.len(), 11);
    for row in rows {
        let Discovery::Ask(calls) = Gearbox.discover(row, &Answers::default(), &[]).unwrap() else {
            panic!("{}: nothing was asked yet", row.id)
        };
        let configurators =
            row.contracts.keys().filter(|role| role.starts_with("market_configurator_")).count();
        assert_eq!(calls.len() + configurators, 1 + row.contracts.len(), "{}: a role is not known", row.id);
        assert!(calls.iter().any(|call| call.to == row.entry), "{}", row.id);
    }
}
