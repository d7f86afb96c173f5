mod logs;
mod on_anvil;

use super::*;
use alloy_sol_types::private::primitives::aliases::{U40, U104};
use alloy_sol_types::{SolError, SolValue};
use lake::bronze::{CallRecord, Header};
use lake::{B256, Bytes};

const COMET: Address = Address::repeat_byte(0x01);
const USD_FEED: Address = Address::repeat_byte(0x02);
const BASE_FEED: Address = Address::repeat_byte(0x03);
const BASE: Address = Address::repeat_byte(0x10);
const WETH: Address = Address::repeat_byte(0x11);
const WBTC: Address = Address::repeat_byte(0x12);

fn csu() -> Csu {
    Csu::bare("compound_v3_test", "compound_v3", "ethereum", "comet", COMET)
}

fn csu_in_base_tokens() -> Csu {
    Csu { contracts: BTreeMap::from([("usd_feed".to_owned(), USD_FEED)]), ..csu() }
}

/// A Comet as its storage would be, answering calls as the contract does.
struct Comet {
    base_symbol: &'static str,
    base_price: Option<u64>,
    usd_answer: i64,
    assets: Vec<Asset>,
    pause_flags: u8,
    utilization: u128,
    has_rate_model: bool,
}

#[derive(Clone)]
struct Asset {
    token: Address,
    supplied: u128,
    reserves: u64,
    price: Option<u64>,
    feed_text: &'static str,
}

fn weth() -> Asset {
    Asset {
        token: WETH,
        supplied: 7_000_000_000_000_000_000,
        reserves: 5,
        price: Some(340_000_000_000),
        feed_text: "ETH / USD",
    }
}

fn wbtc() -> Asset {
    Asset { token: WBTC, price: Some(9_700_000_000_000), feed_text: "BTC / USD", ..weth() }
}

fn usdc_market() -> Comet {
    Comet {
        base_symbol: "USDC",
        base_price: Some(99_990_000),
        usd_answer: 0,
        assets: vec![weth(), wbtc()],
        pause_flags: 0,
        utilization: 800_000_000_000_000_000,
        has_rate_model: true,
    }
}

fn weth_market() -> Comet {
    Comet {
        base_symbol: "WETH",
        base_price: Some(100_000_000),
        usd_answer: 340_000_000_000,
        assets: vec![Asset { price: Some(108_000_000), feed_text: "cbETH / ETH", ..wbtc() }],
        ..usdc_market()
    }
}

/// The feed of a token: another than any token.
fn feed_of(token: Address) -> Address {
    Address::repeat_byte(token[0] + 0x80)
}

impl Comet {
    fn info(&self, index: usize) -> Option<IComet::AssetInfo> {
        Some(IComet::AssetInfo {
            offset: u8::try_from(index).ok()?,
            asset: self.assets.get(index)?.token,
            priceFeed: feed_of(self.assets[index].token),
            scale: 1_000_000_000_000_000_000,
            borrowCollateralFactor: 825_000_000_000_000_000,
            liquidateCollateralFactor: 895_000_000_000_000_000,
            liquidationFactor: 950_000_000_000_000_000,
            supplyCap: 350_000_000_000_000_000_000_000,
        })
    }

    fn totals(&self) -> IComet::TotalsBasic {
        IComet::TotalsBasic {
            baseSupplyIndex: 1_000_000_000_000_000,
            baseBorrowIndex: 1_000_000_000_000_000,
            trackingSupplyIndex: 0,
            trackingBorrowIndex: 0,
            totalSupplyBase: U104::from(1_000),
            totalBorrowBase: U104::from(800),
            lastAccrualTime: U40::from(1_500),
            pauseFlags: self.pause_flags,
        }
    }

    /// cUSDCv3's model of late 2024 in its order: kink, base, slope below, slope above.
    fn parameter(&self, key: &str) -> Option<U256> {
        let of = |model: [&str; 4], values: [u64; 4]| {
            model.iter().position(|name| *name == key).map(|index| U256::from(values[index]))
        };
        of(key::SUPPLY_MODEL, [900_000_000_000_000_000, 0, 1_141_552_511, 101_040_081_177])
            .or(of(key::BORROW_MODEL, [900_000_000_000_000_000, 475_646_879, 824_454_591, 107_496_194_824]))
            .filter(|_| self.has_rate_model)
    }

    fn answer(&self, call: Call) -> CallRecord {
        let word = |value: u64| Some(U256::from(value).abi_encode());
        let text = |text: &str| Some((text.to_owned(),).abi_encode_params());
        let index = call.item.parse::<usize>().unwrap_or(usize::MAX);
        let position = self.assets.iter().position(|asset| item(asset.token) == call.item);
        let asset = position.map(|position| &self.assets[position]);
        let output = match (call.key.as_str(), asset) {
            (key::BASE, _) => Some(BASE.abi_encode()),
            (key::BASE_FEED, _) => Some(BASE_FEED.abi_encode()),
            (key::COUNT, _) => word(self.assets.len() as u64),
            (key::INFO, _) => self.info(index).map(|info| info.abi_encode()),
            (key::INFO_OF, _) => position.and_then(|i| self.info(i)).map(|info| info.abi_encode()),
            (key::SCALE, _) => word(1_000_000_000_000_000_000),
            (key::SUPPLY, _) => word(1_000),
            (key::BORROW, _) => word(800),
            (key::RESERVES, _) => Some(I256::try_from(-20).unwrap().abi_encode()),
            (key::CASH, _) => word(180),
            (key::TOTALS, _) => Some(self.totals().abi_encode()),
            (key::UTILIZATION, _) => Some(U256::from(self.utilization).abi_encode()),
            (key::BASE_PRICE, _) => self.base_price.and_then(word),
            (key::CREDITED, _) => word(if call.item == item(Address::repeat_byte(0xa1)) { 7 } else { 0 }),
            (key::COLLATERAL, Some(asset)) => Some((asset.supplied, 0_u128).abi_encode_params()),
            (key::COLLATERAL_RESERVES, Some(asset)) => word(asset.reserves),
            (key::PRICE, Some(asset)) => asset.price.and_then(word),
            (key::FEED_TEXT, Some(asset)) => text(asset.feed_text),
            (token::SYMBOL, Some(_)) => text("COLL"),
            (token::SYMBOL, None) => text(self.base_symbol),
            (token::DECIMALS, _) => word(18),
            ("usd_feed.latestRoundData", _) => {
                let answer = I256::try_from(self.usd_answer).unwrap();
                Some((U256::ONE, answer, U256::ZERO, U256::from(1_990), U256::ONE).abi_encode_params())
            }
            ("usd_feed.decimals", _) => word(8),
            ("usd_feed.description", _) => text("ETH / USD"),
            (parameter, _) => self.parameter(parameter).map(|value| value.abi_encode()),
        };
        call.answered(output.is_some(), output.unwrap_or_default().into())
    }

    fn discover(&self) -> Layout {
        let mut records: Vec<CallRecord> = Vec::new();
        for _ in 0..5 {
            match CompoundV3.discover(&csu(), &Answers::new(&records), &[]).unwrap() {
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

    fn reads(&self, csu: &Csu, layout: &Layout) -> ReadsAtBlock {
        self.answered(CompoundV3.snapshot(csu, layout))
    }

    fn snapshot(&self, csu: &Csu) -> Snapshot {
        read(csu, &self.reads(csu, &self.discover()))
    }

    fn event_reads(&self, csu: &Csu, logs: &[RawLog]) -> ReadsAtBlock {
        self.answered(CompoundV3.event_reads(csu, &self.discover(), &logs.iter().collect::<Vec<_>>()))
    }
}

fn read(csu: &Csu, reads: &ReadsAtBlock) -> Snapshot {
    CompoundV3.read_snapshot(csu, reads, BlockPace::default()).unwrap()
}

fn signed(value: i64) -> Option<I256> {
    Some(I256::try_from(value).unwrap())
}

#[test]
fn the_signatures_are_those_of_the_contracts() {
    // facts/protocols.md 5, computed there with another keccak library.
    let hash = |text: &str| text.parse::<B256>().unwrap();
    assert_eq!(
        IComet::AbsorbDebt::SIGNATURE_HASH,
        hash("0x1547a878dc89ad3c367b6338b4be6a65a5dd74fb77ae044da1e8747ef1f4f62f")
    );
    assert_eq!(
        IComet::AbsorbCollateral::SIGNATURE_HASH,
        hash("0x9850ab1af75177e4a9201c65a2cf7976d5d28e40ef63494b44366f86b2f9412e")
    );
    let ten = |exponent: u64| U256::from(10).pow(U256::from(exponent));
    assert_eq!((FACTOR, PRICE, SECONDS_PER_YEAR), (ten(18), ten(8), U256::from(365 * 86_400)));
}

#[test]
fn a_sale_of_collateral_is_not_asked_for() {
    let filter = CompoundV3.filter(&csu(), &[]);
    let buy_collateral = alloy_primitives::keccak256("BuyCollateral(address,address,uint256,uint256)");
    assert_eq!((filter.addresses.as_slice(), filter.topic0.len()), ([COMET].as_slice(), 2));
    assert!(!filter.topic0.contains(&buy_collateral));
}

#[test]
fn a_market_in_dollars_has_a_base_token_and_its_collateral() {
    let snapshot = usdc_market().snapshot(&csu());
    let [base, weth, _] = snapshot.reserves.as_slice() else { panic!("three reserves") };
    assert_eq!((base.role, base.market_id.as_str(), base.token), (Role::Base, item(COMET).as_str(), BASE));
    assert_eq!((base.supplied, base.borrowed), (Some(U256::from(1_000)), Some(U256::from(800))));
    assert_eq!((base.available, base.reserves), (Some(U256::from(180)), signed(-20)));
    assert_eq!(base.identity_gap, signed(0), "1000 - 20 = 180 + 800");
    assert_eq!((base.is_frozen, base.is_paused), (Some(false), Some(false)));
    assert_eq!((base.missing.as_slice(), base.flags.as_slice()), ([].as_slice(), [].as_slice()));

    assert_eq!((weth.role, weth.borrowed, weth.available), (Role::Collateral, None, None));
    assert_eq!(weth.supplied, Some(U256::from(7_000_000_000_000_000_000_u64)));
    assert_eq!((weth.reserves, weth.supply_cap), (signed(5), Some(350_000.0)));
    assert_eq!((weth.ltv, weth.liq_threshold, weth.liq_bonus), (Some(0.825), Some(0.895), Some(0.05)));
    assert_eq!((weth.missing.as_slice(), weth.flags.as_slice()), ([].as_slice(), [].as_slice()));

    let [base, weth, _] = snapshot.prices.as_slice() else { panic!("three prices") };
    let of = |price: &PriceAnswer| (price.raw.clone(), price.unit.clone(), price.quote, price.feed);
    assert_eq!(of(base), (Ok(U256::from(99_990_000)), Ok(PRICE), Quote::Usd, COMET));
    assert_eq!(of(weth), (Ok(U256::from(340_000_000_000_u64)), Ok(PRICE), Quote::Usd, COMET));
    assert_eq!(snapshot.tokens.len(), 3);
}

#[test]
fn rates_are_those_of_the_contracts_arithmetic() {
    let rates = |utilization: u128| {
        let market = Comet { utilization, ..usdc_market() };
        let base = market.snapshot(&csu()).reserves.remove(0);
        (base.supply_apr.unwrap(), base.borrow_apr.unwrap())
    };
    let year = |per_second: u64| (per_second * 31_536_000) as f64 / 1e18;
    // 1,141,552,511 * 0.8 = 913,242,008.8 and 475,646,879 + 824,454,591 * 0.8 = 475,646,879 + 659,563,672.8, rounded down.
    assert_eq!(rates(800_000_000_000_000_000), (year(913_242_008), year(475_646_879 + 659_563_672)));
    // At the kink the upper slope counts for nothing; above it, and above 1, it goes on.
    assert_eq!(rates(900_000_000_000_000_000), (year(1_027_397_259), year(475_646_879 + 742_009_131)));
    let above = (1_027_397_259 + 20_208_016_235, 475_646_879 + 742_009_131 + 21_499_238_964);
    assert_eq!(rates(1_100_000_000_000_000_000), (year(above.0), year(above.1)));
    assert_eq!(rates(0), (0.0, year(475_646_879)));
}

#[test]
fn a_contract_without_the_rate_model_says_so_and_keeps_its_figures() {
    let base = Comet { has_rate_model: false, ..usdc_market() }.snapshot(&csu()).reserves.remove(0);
    assert_eq!((base.supply_apr, base.borrow_apr), (None, None));
    assert_eq!(
        (base.flags.as_slice(), base.missing.as_slice()),
        (["no_rate_model"].as_slice(), [].as_slice())
    );
    assert_eq!(base.supplied, Some(U256::from(1_000)));
}

#[test]
fn a_market_in_ether_is_priced_in_base_tokens_and_the_base_token_by_its_feed() {
    let snapshot = weth_market().snapshot(&csu_in_base_tokens());
    let [base, collateral] = snapshot.prices.as_slice() else { panic!("two prices") };
    assert_eq!((base.token, base.source, base.feed), (BASE, PriceSource::Chainlink, USD_FEED));
    assert_eq!(
        (base.raw.clone(), base.quote, base.updated_at),
        (Ok(U256::from(340_000_000_000_u64)), Quote::Usd, Some(1_990))
    );
    assert_eq!((collateral.raw.clone(), collateral.unit.clone()), (Ok(U256::from(108_000_000)), Ok(PRICE)));
    assert_eq!((collateral.quote, collateral.source), (Quote::Token(BASE), PriceSource::ProtocolOracle));
    assert_eq!(snapshot.reserves[0].flags, [] as [&str; 0]);
}

#[test]
fn where_the_base_token_is_not_worth_one_unit_collateral_is_divided_by_it() {
    // cWBTCv3: everything in bitcoin, WBTC at 0.9985.
    let market = Comet { base_price: Some(99_850_000), base_symbol: "WBTC", ..weth_market() };
    let snapshot = market.snapshot(&csu_in_base_tokens());
    assert_eq!(snapshot.prices[1].unit, Ok(U256::from(99_850_000)));
    assert_eq!(snapshot.reserves[0].flags, ["base_price_not_one"]);
}

#[test]
fn an_ether_market_without_a_feed_is_suspicious_and_has_no_price() {
    let snapshot = weth_market().snapshot(&csu());
    assert_eq!(snapshot.reserves[0].flags, ["unit_of_account_unknown"]);
    assert!(snapshot.prices.iter().all(|price| price.quote == Quote::Unknown), "{:?}", snapshot.prices);
    // A stablecoin at exactly one dollar, and ether at its price in dollars, are what they seem.
    for market in [
        Comet { base_symbol: "USDT", ..weth_market() },
        Comet { base_price: Some(340_000_000_000), ..weth_market() },
    ] {
        let snapshot = market.snapshot(&csu());
        assert!(snapshot.prices.iter().all(|price| price.quote == Quote::Usd));
        assert_eq!(snapshot.reserves[0].flags, [] as [&str; 0]);
    }
}

#[test]
fn a_dollar_feed_below_zero_prices_nothing_and_spoils_no_figure() {
    let snapshot = Comet { usd_answer: -1, ..weth_market() }.snapshot(&csu_in_base_tokens());
    let why = snapshot.prices[0].raw.clone().unwrap_err().to_string();
    assert!(why.ends_with("returned -1"), "{why}");
    assert!(snapshot.reserves.iter().all(|reserve| reserve.missing.is_empty()));
}

#[test]
fn an_oracle_that_reverts_for_one_token_leaves_the_others_alone() {
    // `getPrice` reverts with BadPrice() where the feed answers zero or less.
    let market = Comet { assets: vec![Asset { price: None, ..weth() }, wbtc()], ..usdc_market() };
    let snapshot = market.snapshot(&csu());
    assert!(snapshot.prices[1].raw.as_ref().is_err_and(Missing::is_revert));
    assert_eq!(snapshot.prices[2].raw, Ok(U256::from(9_700_000_000_000_u64)));
    assert_eq!(snapshot.reserves[1].supplied, Some(U256::from(7_000_000_000_000_000_000_u64)));
}

#[test]
fn pauses_are_told_one_by_one() {
    let base = |pause_flags| Comet { pause_flags, ..usdc_market() }.snapshot(&csu()).reserves.remove(0);
    let supply_off = base(0b00001);
    assert_eq!((supply_off.is_frozen, supply_off.is_paused), (Some(false), Some(false)));
    assert_eq!(supply_off.flags, ["supply_paused"]);
    assert_eq!((base(0b00101).is_frozen, base(0b11111).is_paused), (Some(true), Some(true)));
    assert_eq!(base(0b11111).flags, PAUSES);
}

#[test]
fn a_constant_price_of_collateral_is_told() {
    let given_up = Asset { feed_text: CONSTANT_FEED, price: Some(1), ..weth() };
    let snapshot = Comet { assets: vec![given_up, wbtc()], ..usdc_market() }.snapshot(&csu());
    assert_eq!(snapshot.reserves[1].flags, ["constant_price"]);
    assert_eq!(snapshot.reserves[2].flags, [] as [&str; 0]);
}

#[test]
fn every_answer_that_is_lost_is_missing_and_leaves_the_neighbour_alone() {
    let reads = usdc_market().reads(&csu(), &usdc_market().discover());
    let spoiled = |key: &str, id: &str| {
        let mut spoiled = reads.clone();
        let calls = spoiled.calls.iter_mut().filter(|call| call.key == key && call.item == id);
        assert_eq!(calls.map(|call| call.output = Bytes::new()).count(), 1, "{key} of {id}");
        read(&csu(), &spoiled)
    };
    let of_base = [key::SUPPLY, key::BORROW, key::RESERVES, key::CASH, key::UTILIZATION, key::SCALE];
    for key in of_base.into_iter().chain(key::SUPPLY_MODEL).chain(key::BORROW_MODEL) {
        let snapshot = spoiled(key, "");
        assert!(!snapshot.reserves[0].missing.is_empty(), "{key} was lost without a word");
        assert_eq!(snapshot.reserves[1].missing, [], "{key} spoiled the neighbour");
    }
    for key in [key::COLLATERAL, key::COLLATERAL_RESERVES, token::DECIMALS] {
        let snapshot = spoiled(key, &item(WETH));
        assert!(!snapshot.reserves[1].missing.is_empty(), "{key} was lost without a word");
        assert_eq!(snapshot.reserves[0].missing, [], "{key} spoiled the base token");
        assert_eq!(snapshot.reserves[2].missing, [], "{key} spoiled the neighbour");
    }
    let snapshot = spoiled(key::TOTALS, "");
    assert!(
        snapshot.reserves.iter().all(|reserve| reserve.is_paused.is_none() && reserve.missing.len() == 1)
    );
}

#[test]
fn a_layout_drifts_when_a_token_comes_goes_or_gets_another_feed_and_not_before() {
    let old = usdc_market();
    let layout = old.discover();
    let confirm = |comet: &Comet| {
        CompoundV3.confirm(&csu(), &layout, &Answers::new(&comet.reads(&csu(), &layout).calls))
    };
    confirm(&old).unwrap();
    let list = "the list of collateral tokens";
    let grown = Comet { assets: vec![weth(), wbtc(), Asset { token: BASE_FEED, ..weth() }], ..usdc_market() };
    assert!(confirm(&grown).unwrap_err().what.starts_with(list));
    let shrunk = Comet { assets: vec![weth()], ..usdc_market() };
    assert!(confirm(&shrunk).unwrap_err().what.starts_with(list));
    assert_eq!(shrunk.discover().markets.len(), 1);
    let swapped = Comet { assets: vec![wbtc(), weth()], ..usdc_market() };
    assert!(confirm(&swapped).unwrap_err().what.starts_with(list));

    let mut other_feed = layout.clone();
    other_feed.markets[0].contracts.insert("price_feed".to_owned(), COMET);
    let answers = old.reads(&csu(), &other_feed);
    let drift = CompoundV3.confirm(&csu(), &other_feed, &Answers::new(&answers.calls)).unwrap_err();
    assert_eq!(drift.what, "the list of collateral tokens and their price feeds");
}

#[test]
fn a_market_of_200_tokens_is_found_and_read_whole() {
    let assets = |count: u8| -> Vec<Asset> {
        (0..count).map(|i| Asset { token: Address::with_last_byte(i), ..weth() }).collect()
    };
    let market = Comet { assets: assets(200), ..usdc_market() };
    assert_eq!(market.discover().markets.len(), 200);
    let snapshot = market.snapshot(&csu());
    assert_eq!((snapshot.reserves.len(), snapshot.prices.len()), (201, 201));
    assert!(snapshot.reserves.iter().all(|reserve| reserve.missing.is_empty()));
}

#[test]
fn an_entry_that_is_no_comet_is_told_as_such() {
    let step = |answer: fn(Call) -> CallRecord| {
        let mut records: Vec<CallRecord> = Vec::new();
        loop {
            match CompoundV3.discover(&csu(), &Answers::new(&records), &[]) {
                Ok(Discovery::Ask(calls)) => records.extend(calls.into_iter().map(answer)),
                Ok(Discovery::Found(layout)) => panic!("{layout:?}"),
                Err(error) => return error.to_string(),
            }
        }
    };
    let no_code = step(|call| call.answered(true, Bytes::new()));
    assert!(no_code.starts_with("the base token of a Comet: "), "{no_code}");
    assert!(no_code.contains("there is no contract at"), "{no_code}");
    // An Aave pool, say: it has none of the functions.
    let refusal = |call: Call| {
        let data = alloy_sol_types::Revert { reason: "unknown selector".into() }.abi_encode();
        call.answered(false, data.into())
    };
    assert_eq!(step(refusal), "the base token of a Comet: comet.baseToken reverted: unknown selector");
    // A contract with a fallback that answers everything with one word.
    let one = step(|call| call.answered(true, U256::ONE.abi_encode().into()));
    assert_eq!(
        one,
        "a collateral token of a Comet: comet.getAssetInfo of 0 returned 32 bytes that are not its type"
    );
}

#[test]
fn the_registry_has_a_dollar_feed_for_exactly_the_markets_in_coins() {
    let registry = crate::tests::registry();
    for csu in registry.csus().filter(|csu| csu.family == "compound_v3") {
        let is_in_coins = ["WETH", "wstETH", "WBTC"].contains(&csu.market.as_str());
        assert_eq!(csu.contracts.contains_key(part::USD_FEED), is_in_coins, "{}", csu.id);
    }
}
