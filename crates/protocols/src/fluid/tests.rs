use super::*;
use alloy_primitives::{address, b256};
use alloy_sol_types::{SolCall, SolValue};
use lake::bronze::{CallRecord, Header};
use lake::{Bytes, registry::Csu};
use proptest::prelude::*;

const LIQUIDITY: Address = address!("0x52Aa899454998Be5b000Ad077a46Bbe360F4e497");
const FACTORY: Address = address!("0x324c5Dc1fC42c7a4D43d92df1eBA58a54d13Bf2d");
const USDC: Address = address!("0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48");
const DEX: Address = Address::repeat_byte(0xde);
/// When the layer's words were written, and when it is read: a year of 10% on 600 of 1,000.
const WRITTEN: u64 = 1_700_000_000;
const READ: u64 = WRITTEN + 31_536_000;

fn csu() -> Csu {
    Csu {
        contracts: [(part::VAULT_FACTORY.to_owned(), FACTORY)].into(),
        ..Csu::bare("fluid_test", "fluid", "ethereum", "liquidity", LIQUIDITY)
    }
}

fn config(utilization: u64) -> U256 {
    let one = U256::from(1_000_000_000_000_u64);
    U256::from(1_000_u64)
        | (U256::from(1_000_u64) << 16)
        | (U256::from(utilization) << 30)
        | (U256::from(WRITTEN) << 58)
        | (one << 91)
        | (one << 155)
}

fn totals(supply: u64, borrow: u64) -> U256 {
    U256::from(supply << 8) | (U256::from(borrow << 8) << 128)
}

/// The layer as its storage would be, answering calls as the contracts do.
#[derive(Clone)]
struct Layer {
    tokens: Vec<Address>,
    vaults: u64,
    /// Balance of every token.
    cash: u64,
    /// Storage that answers something else than it should, by slot.
    spoiled: Vec<(B256, U256)>,
}

impl Layer {
    fn new() -> Self {
        Self { tokens: vec![NATIVE, USDC], vaults: 3, cash: 470, spoiled: Vec::new() }
    }

    fn storage(&self, slot: B256) -> U256 {
        if let Some((_, word)) = self.spoiled.iter().find(|(spoiled, _)| *spoiled == slot) {
            return *word;
        }
        if slot == plain_slot(slot::LISTED_TOKENS) {
            return U256::from(self.tokens.len());
        }
        if slot == plain_slot(slot::STATUS) {
            return U256::ONE;
        }
        for (index, token) in self.tokens.iter().enumerate() {
            if slot == listed_token_slot(index as u64) {
                return token.into_word().into();
            } else if slot == mapped_slot(*token, slot::EXCHANGE_PRICES) {
                return config(6_000);
            } else if slot == mapped_slot(*token, slot::TOTAL_AMOUNTS) {
                return totals(1_000, 600);
            }
        }
        U256::ZERO
    }

    fn answer(&self, call: Call) -> CallRecord {
        let word = |value: u64| Some(U256::from(value).abi_encode());
        let output = match call.key.as_str() {
            key::VAULTS if call.to == FACTORY => word(self.vaults),
            key::CASH => word(self.cash),
            key::STAKED => word(30),
            key::CONSTANTS if call.item == item(FACTORY.create(1)) => Some(first_vault()),
            key::CONSTANTS => Some(smart_vault()),
            token::DECIMALS => word(6),
            token::SYMBOL => Some(("USDC".to_owned(),).abi_encode_params()),
            _ if call.to == LIQUIDITY => {
                let asked = IFluidLiquidity::readFromStorageCall::abi_decode(&call.input).unwrap();
                Some(self.storage(asked.slot).abi_encode())
            }
            _ => None,
        };
        call.answered(output.is_some(), output.unwrap_or_default().into())
    }

    fn ask(&self, calls: Vec<Call>) -> Vec<CallRecord> {
        calls.into_iter().map(|call| self.answer(call)).collect()
    }

    fn discover(&self) -> Layout {
        let mut records: Vec<CallRecord> = Vec::new();
        for _ in 0..4 {
            match Fluid.discover(&csu(), &Answers::new(&records), &[]).unwrap() {
                Discovery::Ask(calls) => records.extend(self.ask(calls)),
                Discovery::Found(layout) => return layout,
            }
        }
        panic!("discovery does not end");
    }

    fn reads(&self, csu: &Csu) -> ReadsAtBlock {
        let block = Header { number: 1, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: READ };
        ReadsAtBlock { block, calls: self.ask(Fluid.snapshot(csu, &self.discover())) }
    }

    fn snapshot(&self) -> Snapshot {
        Fluid.read_snapshot(&csu(), &self.reads(&csu()), BlockPace::default()).unwrap()
    }
}

/// `constantsView` of a vault of the first kind: ETH against USDC.
fn first_vault() -> Vec<u8> {
    let mut words = vec![B256::ZERO; 13];
    words[4] = NATIVE.into_word();
    words[5] = USDC.into_word();
    words.concat()
}

/// `constantsView` of a vault with smart collateral: shares of a DEX pool against USDC.
fn smart_vault() -> Vec<u8> {
    let mut words = vec![B256::ZERO; 18];
    words[6] = DEX.into_word();
    words[7] = LIQUIDITY.into_word();
    words[8] = NATIVE.into_word();
    words[9] = USDC.into_word();
    words[10] = USDC.into_word();
    words[13] = B256::from(U256::from(20_000));
    words.concat()
}

fn log(vault: Address, log_index: u64) -> RawLog {
    let event = IFluidVault::LogLiquidate {
        liquidator: Address::repeat_byte(0x11),
        colAmt: U256::from(5),
        debtAmt: U256::from(9_000),
        to: Address::repeat_byte(0x12),
    };
    let data = event.encode_log_data();
    RawLog {
        address: vault,
        topics: data.topics().to_vec(),
        data: data.data,
        block_number: 1,
        block_hash: B256::ZERO,
        transaction_hash: B256::ZERO,
        transaction_index: 0,
        log_index,
    }
}

#[test]
fn slots_are_those_of_mainnet() {
    // Computed for USDC and the native coin on Ethereum: facts/protocols.md 3.4.
    for (token, number, expected) in [
        (USDC, 5, b256!("0xa8e1248eddf82e10c0adc6c737b6d8da17674abf51801ea5a4549f41c2dfdf21")),
        (USDC, 7, b256!("0xf942f4688cdba65adc8aa59da583acae93fa87351143ebc775559218bfa5f832")),
        (NATIVE, 5, b256!("0xa1829a9003092132f585b6ccdd167c19fe9774dbdea4260287e8a8e8ca8185d7")),
        (NATIVE, 7, b256!("0xb2084a3e4595ccf007fb44245853374aaf0de960074375e8e0fb334712e94d0e")),
    ] {
        assert_eq!(mapped_slot(token, number), expected);
    }
    let first = b256!("0xc65a7bb8d6351c1cf70c95a316cc6a92839c986682d98bc35f958f4883f9d2a8");
    assert_eq!(listed_token_slot(0), first);
    assert_eq!(U256::from_be_bytes(listed_token_slot(3).0), U256::from_be_bytes(first.0) + U256::from(3));
}

#[test]
fn vaults_are_where_the_factory_deploys_them() {
    let layout = Layer::new().discover();
    let vaults: Vec<Address> =
        layout.markets.iter().filter_map(|market| market.contracts.get(part::VAULT).copied()).collect();
    assert_eq!(vaults[0], address!("0xeAbBfca72F8a8bf14C4ac59e69ECB2eB69F0811C"));
    assert_eq!(FACTORY.create(128), address!("0xA272016f333702e52d066E0bBB20db5C19fAFa6e"));
    let filter = Fluid.filter(&csu(), &[&layout]);
    assert_eq!(filter.addresses.len(), 3);
    assert_eq!(
        filter.topic0,
        [b256!("0x80fd9cc6b1821f4a510e45ffce6852ea3404807b5d3d833ffa85664408afcb66")],
        "LogLiquidate of facts/protocols.md 5"
    );
}

#[test]
fn totals_carry_the_interest_up_to_the_block() {
    let snapshot = Layer::new().snapshot();
    let [usdc, native] = <[ReserveFigures; 2]>::try_from(snapshot.reserves).unwrap();
    assert_eq!((usdc.token, native.token), (USDC, NATIVE));
    for figures in [&usdc, &native] {
        assert_eq!(figures.missing, []);
        // 600 at 10% for a year; suppliers get 90% of it.
        assert_eq!(figures.borrowed, Some(U256::from(660)));
        assert_eq!(figures.supplied, Some(U256::from(1_054)));
        assert_eq!(figures.available, Some(U256::from(470)));
        assert_eq!(figures.reserves, Some(I256::try_from(76).unwrap()));
        assert_eq!((figures.borrow_apr, figures.supply_apr), (Some(0.1), Some(0.054)));
        assert_eq!((figures.reserve_factor, figures.is_paused), (Some(0.1), Some(false)));
        assert!(figures.flags.is_empty());
    }
    assert_eq!(snapshot.prices, []);
    let decimals: Vec<_> = snapshot.tokens.iter().map(|token| token.decimals).collect();
    assert_eq!(decimals, [Some(6), Some(18)]);
}

#[test]
fn what_is_staked_at_zircuit_can_be_withdrawn_too() {
    let mut with_zircuit = csu();
    with_zircuit.contracts.insert(part::ZIRCUIT.to_owned(), Address::repeat_byte(9));
    let reads = Layer::new().reads(&with_zircuit);
    let snapshot = Fluid.read_snapshot(&with_zircuit, &reads, BlockPace::default()).unwrap();
    assert_eq!(snapshot.reserves[0].available, Some(U256::from(500)));
    assert_eq!(snapshot.reserves[0].flags, ["staked_at_zircuit"]);
}

#[test]
fn a_layer_that_owes_more_than_it_has_is_flagged() {
    let layer = Layer { cash: 10, ..Layer::new() };
    let figures = &layer.snapshot().reserves[0];
    assert_eq!(figures.reserves, Some(I256::try_from(-384).unwrap()));
    assert_eq!(figures.flags, ["negative_revenue"]);
}

#[test]
fn a_word_that_is_none_spoils_its_token_alone() {
    for slot in [slot::EXCHANGE_PRICES, slot::TOTAL_AMOUNTS] {
        let word = if slot == slot::TOTAL_AMOUNTS { U256::from(u64::MAX) } else { U256::ZERO };
        let layer = Layer { spoiled: vec![(mapped_slot(USDC, slot), word)], ..Layer::new() };
        let [usdc, native] = <[ReserveFigures; 2]>::try_from(layer.snapshot().reserves).unwrap();
        assert_eq!((usdc.supplied, usdc.borrowed, usdc.reserves), (None, None, None));
        assert!(matches!(usdc.missing[..], [Missing::Undecodable { .. }]), "{:?}", usdc.missing);
        assert_eq!((native.supplied, native.missing.len()), (Some(U256::from(1_054)), 0));
    }
}

#[test]
fn a_view_that_reverts_is_missing_and_no_zero() {
    let layer = Layer::new();
    let mut reads = layer.reads(&csu());
    let cash = reads.calls.iter_mut().find(|call| call.key == key::CASH && call.item == item(USDC)).unwrap();
    (cash.ok, cash.output) = (false, Bytes::new());
    let snapshot = Fluid.read_snapshot(&csu(), &reads, BlockPace::default()).unwrap();
    assert_eq!((snapshot.reserves[0].available, snapshot.reserves[0].reserves), (None, None));
    assert_eq!(snapshot.reserves[0].missing.len(), 1);
    assert_eq!(snapshot.reserves[1].missing, []);
}

#[test]
fn a_contract_that_is_no_layer_is_not_read() {
    let nothing = Fluid.discover(&csu(), &Answers::default(), &[]).unwrap();
    let Discovery::Ask(calls) = nothing else { panic!("nothing was asked") };
    let no_code: Vec<CallRecord> =
        calls.iter().cloned().map(|call| call.answered(true, Bytes::new())).collect();
    let error = Fluid.discover(&csu(), &Answers::new(&no_code), &[]).unwrap_err();
    assert!(matches!(error.why, Missing::NoCode { .. }), "{error}");
    let reverted: Vec<CallRecord> =
        calls.iter().cloned().map(|call| call.answered(false, Bytes::new())).collect();
    let error = Fluid.discover(&csu(), &Answers::new(&reverted), &[]).unwrap_err();
    assert!(error.why.is_revert(), "{error}");
    let huge: Vec<CallRecord> =
        calls.into_iter().map(|call| call.answered(true, U256::MAX.abi_encode().into())).collect();
    let error = Fluid.discover(&csu(), &Answers::new(&huge), &[]).unwrap_err();
    assert!(matches!(error.why, Missing::Undecodable { .. }), "{error}");
}

#[test]
fn a_grown_list_is_noticed() {
    let layer = Layer::new();
    let layout = layer.discover();
    let confirm = |layer: &Layer| {
        let calls = layer.ask(Fluid.snapshot(&csu(), &layout));
        Fluid.confirm(&csu(), &layout, &Answers::new(&calls))
    };
    assert_eq!(confirm(&layer), Ok(()));
    let more_vaults = Layer { vaults: 4, ..layer.clone() };
    assert_eq!(confirm(&more_vaults).unwrap_err().what, "the number of vaults");
    let mut more_tokens = layer;
    more_tokens.tokens.push(Address::repeat_byte(7));
    assert_eq!(confirm(&more_tokens).unwrap_err().what, "the list of tokens");
}

#[test]
fn a_liquidation_is_read_by_the_constants_of_its_vault() {
    let layer = Layer { vaults: 2, ..Layer::new() };
    let logs = [log(FACTORY.create(1), 0), log(FACTORY.create(2), 1)];
    let calls = layer.ask(Fluid.event_reads(&csu(), &layer.discover(), &[&logs[0], &logs[1]]));
    let block = Header { number: 1, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: READ };
    let reads = [ReadsAtBlock { block, calls }];
    let legs: Vec<Leg> = Fluid
        .read_logs(&csu(), &logs, &reads)
        .into_iter()
        .map(|reading| match reading {
            LogReading::Leg(leg) => *leg,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(legs[0].debt, Some((USDC, U256::from(9_000))));
    assert_eq!(legs[0].collateral, Some((NATIVE, U256::from(5))));
    assert_eq!((legs[0].borrower, legs[0].liquidator), (None, Some(Address::repeat_byte(0x11))));
    assert!(legs[0].flags.is_empty());
    // Shares are kept under the pool's address, which has neither decimals nor a price.
    assert_eq!(legs[1].collateral, Some((DEX, U256::from(5))));
    assert_eq!(legs[1].debt, Some((USDC, U256::from(9_000))));
    assert_eq!(legs[1].flags, ["collateral_in_dex_shares"]);
    assert_ne!(legs[0].liquidation, legs[1].liquidation);
    let (prices, tokens) = Fluid.read_event_prices(&csu(), &reads[0]);
    assert_eq!((prices.len(), tokens.len()), (0, 2));
}

#[test]
fn a_log_that_is_none_of_ours_is_rejected_with_a_reason() {
    let sound = log(FACTORY.create(1), 0);
    let mut short = sound.clone();
    short.data = short.data.slice(..96);
    let mut indexed = sound.clone();
    indexed.topics.push(B256::ZERO);
    for (bad, why) in [(short, "128 bytes"), (indexed, "2 topics"), (sound, "nothing was read at block 1")] {
        let readings = Fluid.read_logs(&csu(), &[bad], &[]);
        assert!(matches!(&readings[..], [LogReading::Reject { why: text, .. }] if text.contains(why)));
    }
}

#[test]
fn a_witness_is_the_first_write_of_the_day() {
    let reads = Layer::new().reads(&csu());
    let since = |timestamp| DayStart { block: 0, timestamp };
    let witness = Fluid.witness(&csu(), &reads, since(WRITTEN - 10)).unwrap();
    assert_eq!((witness.at, witness.filter.addresses), (At::Time(WRITTEN), vec![LIQUIDITY]));
    assert!(
        witness
            .filter
            .topic0
            .contains(&b256!("0x4d93b232a24e82b284ced7461bf4deacffe66759d5c24513e6f29e571ad78d15"))
    );
    assert_eq!(Fluid.witness(&csu(), &reads, since(WRITTEN + 1)), None);
}

proptest! {
    #[test]
    fn no_bytes_panic(topics in proptest::collection::vec(any::<[u8; 32]>(), 0..3), data: Vec<u8>, constants: Vec<u8>) {
        let mut log = log(FACTORY.create(1), 0);
        let known = std::iter::once(IFluidVault::LogLiquidate::SIGNATURE_HASH);
        log.topics = known.chain(topics.into_iter().map(B256::from)).collect();
        log.data = data.into();
        let call = Call::new(key::CONSTANTS, item(log.address), log.address, &IFluidVault::constantsViewCall {});
        let block = Header { number: 1, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: READ };
        let reads = [ReadsAtBlock { block, calls: vec![call.answered(true, constants.into())] }];
        prop_assert_eq!(Fluid.read_logs(&csu(), &[log], &reads).len(), 1);
    }
}
