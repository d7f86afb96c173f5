//! Events, and the reads beside them.

use super::*;
use crate::family::Leg;
use proptest::prelude::*;

const BORROWER: Address = Address::repeat_byte(0xb0);
const LIQUIDATOR_ACCOUNT: Address = Address::repeat_byte(0xee);

fn log_of<E: SolEvent>(emitter: Address, event: &E, tx: u8, log_index: u64) -> RawLog {
    let data = event.encode_log_data();
    RawLog {
        address: emitter,
        topics: data.topics().to_vec(),
        data: data.data,
        block_number: BLOCK.number,
        block_hash: B256::ZERO,
        transaction_hash: B256::repeat_byte(tx),
        transaction_index: 0,
        log_index,
    }
}

/// 100 USDC repaid, 1,100 cTokens taken.
fn liquidate_borrow(liquidator: Address) -> ICToken::LiquidateBorrow {
    ICToken::LiquidateBorrow {
        liquidator,
        borrower: BORROWER,
        repayAmount: U256::from(100_000_000),
        cTokenCollateral: C_COIN,
        seizeTokens: U256::from(1_100),
    }
}

fn isolated() -> IIsolatedVToken::LiquidateBorrow {
    IIsolatedVToken::LiquidateBorrow {
        liquidator: LIQUIDATOR_ACCOUNT,
        borrower: BORROWER,
        repayAmount: U256::from(100_000_000),
        vTokenCollateral: C_COIN,
        seizeTokens: U256::from(1_100),
    }
}

fn routed(borrowed: Address, liquidator: Address) -> IVenusLiquidator::LiquidateBorrowedTokens {
    IVenusLiquidator::LiquidateBorrowedTokens {
        liquidator,
        borrower: BORROWER,
        repayAmount: U256::from(100_000_000),
        vTokenBorrowed: borrowed,
        vTokenCollateral: C_COIN,
        seizeTokensForTreasury: U256::from(50),
        seizeTokensForLiquidator: U256::from(1_050),
    }
}

fn liquidate_vai() -> IVaiController::LiquidateVAI {
    IVaiController::LiquidateVAI {
        liquidator: LIQUIDATOR,
        borrower: BORROWER,
        repayAmount: wad("30"),
        vTokenCollateral: C_COIN,
        seizeTokens: U256::from(1_100),
    }
}

fn heal(repaid: u64) -> IIsolatedVToken::HealBorrow {
    IIsolatedVToken::HealBorrow {
        payer: LIQUIDATOR_ACCOUNT,
        borrower: BORROWER,
        repayAmount: U256::from(repaid),
    }
}

fn bad_debt(delta: u64) -> IIsolatedVToken::BadDebtIncreased {
    IIsolatedVToken::BadDebtIncreased {
        borrower: BORROWER,
        badDebtDelta: U256::from(delta),
        badDebtOld: U256::ZERO,
        badDebtNew: U256::from(delta),
    }
}

/// A world with a market of USDC and one of the chain's coin, whose cToken is worth a thousand base units of the coin.
fn world(variant: &str) -> World {
    let coin = coin(Lends::CoinWithFallback);
    let supply = (coin.cash + coin.borrows - coin.reserves) / U256::from(1_000);
    World::new(variant, vec![usdc(), Sim { supply, ..coin }])
}

fn reads(world: &World, logs: &[RawLog]) -> ReadsAtBlock {
    let layout = world.discover();
    let calls = CompoundV2.event_reads(&world.csu, &layout, &logs.iter().collect::<Vec<_>>());
    let reads = ReadsAtBlock { block: BLOCK, calls: world.answers(calls) };
    assert_eq!(CompoundV2.confirm(&world.csu, &layout, &Answers::new(&reads.calls)), Ok(()));
    reads
}

fn readings(world: &World, logs: &[RawLog]) -> Vec<LogReading> {
    CompoundV2.read_logs(&world.csu, logs, &[reads(world, logs)])
}

fn leg(reading: &LogReading) -> &Leg {
    match reading {
        LogReading::Leg(leg) => leg,
        other => panic!("{other:?}"),
    }
}

fn coin_amount(base_units: u64) -> Option<(Address, U256)> {
    Some((WRAPPED, U256::from(base_units)))
}

#[test]
fn a_liquidation_is_of_the_emitters_underlying_and_without_the_protocols_share() {
    let log = log_of(C_USDC, &liquidate_borrow(LIQUIDATOR_ACCOUNT), 1, 4);
    let readings = readings(&world(""), std::slice::from_ref(&log));
    let leg = leg(&readings[0]);
    assert_eq!((leg.event, leg.market_id.as_str()), ("LiquidateBorrow", item(C_USDC).as_str()));
    assert_eq!((leg.liquidator, leg.borrower), (Some(LIQUIDATOR_ACCOUNT), Some(BORROWER)));
    assert_eq!(leg.debt, Some((USDC, U256::from(100_000_000))));
    // 2.8 per cent of 1,100 is 30: 1,070 are left, at a thousand each.
    assert_eq!((leg.collateral, leg.flags.as_slice()), (coin_amount(1_070_000), [].as_slice()));

    // Of a market that the layout does not have only the coin is not told by its answers.
    let world = world("");
    let bare = Layout { markets: Vec::new(), ..world.discover() };
    let calls = CompoundV2.event_reads(&world.csu, &bare, &[&log]);
    let reads = ReadsAtBlock { block: BLOCK, calls: world.answers(calls) };
    let readings = CompoundV2.read_logs(&world.csu, &[log], &[reads]);
    let unlisted = self::leg(&readings[0]);
    assert_eq!(unlisted.debt, Some((USDC, U256::from(100_000_000))));
    assert_eq!(unlisted.collateral, Some((C_COIN, U256::from(1_070))));
    assert_eq!(unlisted.flags, ["collateral_in_c_tokens"]);
}

#[test]
fn a_market_without_a_share_of_the_protocol_gives_all_to_the_liquidator() {
    for lends in [Lends::CoinWithFallback, Lends::CoinThatReverts] {
        let mut world = world("");
        (world.markets[1].seize_share, world.markets[1].lends) = (None, lends);
        let log = log_of(C_USDC, &liquidate_borrow(LIQUIDATOR_ACCOUNT), 1, 4);
        let readings = readings(&world, &[log]);
        let leg = leg(&readings[0]);
        assert_eq!((leg.collateral, leg.flags.as_slice()), (coin_amount(1_100_000), [].as_slice()));
    }
}

/// The log of cUSDT in transaction 0x0001a89e439c3673b8264f880730784ebd698502bb9dd62949d42a66a4129f23 of Ethereum's block
/// 14,756,345 (rotki/test-caching eb86a80c), and what it means by shared/data/expected_liquidation_decodes.csv. The receipt
/// also has the transfer of all 25,883,142,924,011 cBAT to the liquidator: that market is of before the protocol took a
/// share.
#[test]
fn a_real_liquidation_of_compound() {
    let address = |text: &str| text.parse::<Address>().unwrap();
    let c_usdt = address("0xf650c3d88d12db855b8bf7d11be6c55a4e07dcc9");
    let c_bat = address("0x6c8c6b02e7b2be14d4fa6022dfd6d75921d90e4e");
    let usdt = address("0xdac17f958d2ee523a2206206994597c13d831ec7");
    let bat = address("0x0d8775f648430679a709e98d2b0cb6250d2887ef");
    let data = "0x000000000000000000000000d911560979b78821d7b045c79e36e9cbfc2f6c6f\
                0000000000000000000000009bf62c518ffe86bd43d57c7026aa1a4fbea83b15\
                0000000000000000000000000000000000000000000000000000000071af3288\
                0000000000000000000000006c8c6b02e7b2be14d4fa6022dfd6d75921d90e4e\
                0000000000000000000000000000000000000000000000000000178a638a26eb";
    let log = RawLog {
        address: c_usdt,
        topics: vec!["0x298637f684da70674f26509b10f07ec2fbc77a335ab1e7d6215a4b2484d8bb52".parse().unwrap()],
        data: data.parse().unwrap(),
        ..log_of(c_usdt, &bad_debt(0), 1, 268)
    };
    let of_bat = Sim {
        c_token: c_bat,
        lends: Lends::Token(bat),
        seize_share: None,
        supply: U256::from(50_000_000_000_u64),
        ..usdc()
    };
    let of_usdt = Sim { c_token: c_usdt, lends: Lends::Token(usdt), ..usdc() };
    let world = World::new("", vec![of_usdt, of_bat]);
    let readings = readings(&world, &[log]);
    let leg = leg(&readings[0]);
    assert_eq!(leg.liquidator, Some(address("0xd911560979b78821d7b045c79e36e9cbfc2f6c6f")));
    assert_eq!(leg.borrower, Some(address("0x9bf62c518ffe86bd43d57c7026aa1a4fbea83b15")));
    assert_eq!(leg.debt, Some((usdt, U256::from(1_907_307_144))));
    // The exchange rate is the simulation's: 0.02 base units a cToken.
    assert_eq!(leg.collateral, Some((bat, U256::from(25_883_142_924_011_u64 / 50))));
}

#[test]
fn an_isolated_pool_is_told_by_its_topics_and_divides_its_share_by_the_incentive() {
    let readings = readings(&world("venus_isolated"), &[log_of(C_USDC, &isolated(), 1, 0)]);
    let leg = leg(&readings[0]);
    assert_eq!((leg.liquidator, leg.borrower), (Some(LIQUIDATOR_ACCOUNT), Some(BORROWER)));
    assert_eq!(leg.debt, Some((USDC, U256::from(100_000_000))));
    // 2.8 per cent of 1,100, truncated to 30, over 1.1: 27 go to the protocol.
    assert_eq!((leg.collateral, leg.flags.as_slice()), (coin_amount(1_073_000), [].as_slice()));
}

#[test]
fn venus_liquidator_is_not_counted_twice_and_names_the_one_behind_it() {
    let one = Address::repeat_byte(0xe1);
    let two = Address::repeat_byte(0xe2);
    let logs = [
        log_of(C_USDC, &liquidate_borrow(LIQUIDATOR), 1, 0),
        log_of(LIQUIDATOR, &routed(C_USDC, one), 1, 1),
        log_of(C_USDC, &liquidate_borrow(LIQUIDATOR), 1, 2),
        log_of(LIQUIDATOR, &routed(C_USDC, two), 1, 3),
        log_of(VAI_CONTROLLER, &liquidate_vai(), 2, 4),
        log_of(LIQUIDATOR, &routed(VAI_CONTROLLER, one), 2, 5),
        log_of(C_USDC, &liquidate_borrow(LIQUIDATOR_ACCOUNT), 3, 6),
    ];
    let readings = readings(&world("venus_core"), &logs);
    for (index, liquidator, kept) in
        [(0, one, 1_050_000), (2, two, 1_050_000), (6, LIQUIDATOR_ACCOUNT, 1_100_000)]
    {
        let leg = leg(&readings[index]);
        assert_eq!((leg.liquidator, leg.collateral), (Some(liquidator), coin_amount(kept)), "log {index}");
        assert_eq!(leg.debt, Some((USDC, U256::from(100_000_000))));
    }
    let vai = leg(&readings[4]);
    assert_eq!((vai.event, vai.market_id.as_str()), ("LiquidateVAI", item(VAI_CONTROLLER).as_str()));
    assert_eq!((vai.liquidator, vai.debt), (Some(one), Some((VAI, wad("30")))));
    assert_eq!(vai.collateral, coin_amount(1_050_000));
    for index in [1, 3, 5] {
        assert_eq!(readings[index], LogReading::context(&logs[index]));
    }
}

#[test]
fn a_liquidation_that_only_the_liquidator_tells_of_is_kept() {
    let of_another_borrower = IVenusLiquidator::LiquidateBorrowedTokens {
        borrower: Address::repeat_byte(0xb1),
        ..routed(C_USDC, LIQUIDATOR_ACCOUNT)
    };
    let logs = [
        log_of(C_USDC, &liquidate_borrow(LIQUIDATOR), 1, 0),
        log_of(LIQUIDATOR, &of_another_borrower, 1, 1),
        // Of another transaction.
        log_of(LIQUIDATOR, &routed(C_USDC, LIQUIDATOR_ACCOUNT), 2, 2),
    ];
    let readings = readings(&world("venus_core"), &logs);
    assert_eq!(leg(&readings[0]).liquidator, Some(LIQUIDATOR));
    for reading in &readings[1..] {
        let leg = leg(reading);
        assert_eq!(
            (leg.event, leg.flags.as_slice()),
            ("LiquidateBorrowedTokens", ["without_liquidate_borrow"].as_slice())
        );
        assert_eq!(
            (leg.debt, leg.collateral),
            (Some((USDC, U256::from(100_000_000))), coin_amount(1_050_000))
        );
    }
}

#[test]
fn healing_repays_a_part_and_books_the_rest_as_bad_debt_of_one_liquidation() {
    let logs = [log_of(C_USDC, &bad_debt(70), 1, 0), log_of(C_USDC, &heal(30), 1, 1)];
    let readings = readings(&world("venus_isolated"), &logs);
    let (booked, repaid) = (leg(&readings[0]), leg(&readings[1]));
    assert_eq!(booked.liquidation, repaid.liquidation);
    assert_eq!((booked.bad_debt, booked.debt, booked.liquidator), (Some((USDC, U256::from(70))), None, None));
    assert_eq!((repaid.debt, repaid.liquidator), (Some((USDC, U256::from(30))), Some(LIQUIDATOR_ACCOUNT)));
    assert_eq!((repaid.collateral, repaid.flags.as_slice()), (None, ["collateral_not_in_log"].as_slice()));
}

#[test]
fn sumer_takes_a_share_of_the_profit_alone() {
    let mut world = world("sumer");
    world.markets[1].seize_share = Some(300_000_000_000_000_000);
    let log = log_of(C_USDC, &liquidate_borrow(LIQUIDATOR_ACCOUNT), 1, 9);
    let found = readings(&world, std::slice::from_ref(&log));
    // 100 of the 1,100 are profit, 30 of these go to the protocol.
    assert_eq!(
        (leg(&found[0]).collateral, leg(&found[0]).flags.as_slice()),
        (coin_amount(1_070_000), [].as_slice())
    );

    // The price moved within the block: the split is of other amounts, in the same proportion.
    let seized =
        ICToken::LiquidateBorrow { seizeTokens: U256::from(2_200), ..liquidate_borrow(LIQUIDATOR_ACCOUNT) };
    let moved = readings(&world, &[log_of(C_USDC, &seized, 1, 9)]);
    let moved = leg(&moved[0]);
    assert_eq!(
        (moved.collateral, moved.flags.as_slice()),
        (coin_amount(2_140_000), ["protocol_share_estimated"].as_slice())
    );

    world.markets[1].seize_share = None;
    let unknown = readings(&world, &[log]);
    let unknown = leg(&unknown[0]);
    assert_eq!(unknown.collateral, coin_amount(1_100_000));
    assert_eq!(unknown.flags, ["protocol_share_unknown"]);
}

#[test]
fn what_cannot_be_turned_into_an_underlying_stays_in_c_tokens_and_is_worth_nothing_known() {
    let log = log_of(C_USDC, &liquidate_borrow(LIQUIDATOR_ACCOUNT), 1, 4);
    let world = world("");
    let reads = reads(&world, std::slice::from_ref(&log));
    let without = |key: &str, id: Address| {
        let mut reads = reads.clone();
        reads.calls.retain(|call| (call.key.as_str(), call.item.as_str()) != (key, item(id).as_str()));
        CompoundV2.read_logs(&world.csu, std::slice::from_ref(&log), &[reads])
    };
    let no_rate = without(key::EXCHANGE_RATE, C_COIN);
    assert_eq!(leg(&no_rate[0]).collateral, Some((C_COIN, U256::from(1_070))));
    assert_eq!(leg(&no_rate[0]).flags, ["collateral_in_c_tokens"]);
    assert_eq!(leg(&no_rate[0]).debt, Some((USDC, U256::from(100_000_000))));

    // Without any read of the block: nothing is lost, nothing has a value.
    let nothing = CompoundV2.read_logs(&world.csu, &[log], &[]);
    let nothing = leg(&nothing[0]);
    assert_eq!(
        (nothing.debt, nothing.collateral),
        (Some((C_USDC, U256::from(100_000_000))), Some((C_COIN, U256::from(1_100))))
    );
    assert_eq!(nothing.flags, ["protocol_share_unknown", "underlying_unknown", "collateral_in_c_tokens"]);
}

#[test]
fn each_event_fires_and_a_log_of_another_shape_is_a_reject_with_its_reason() {
    let world = world("venus_core");
    let sound = [
        log_of(C_USDC, &liquidate_borrow(LIQUIDATOR_ACCOUNT), 1, 0),
        log_of(C_USDC, &isolated(), 2, 1),
        log_of(C_USDC, &heal(1), 3, 2),
        log_of(C_USDC, &bad_debt(1), 4, 3),
        log_of(VAI_CONTROLLER, &liquidate_vai(), 5, 4),
        log_of(LIQUIDATOR, &routed(C_USDC, LIQUIDATOR_ACCOUNT), 6, 5),
    ];
    let topics: BTreeSet<B256> = sound.iter().map(|log| log.topics[0]).collect();
    assert_eq!(topics, events::TOPICS.into(), "each topic of the filter has its log here");
    assert!(readings(&world, &sound).iter().all(|reading| matches!(reading, LogReading::Leg(_))));
    for log in sound {
        let mut short = log.clone();
        short.data = Bytes::from(short.data[..short.data.len() - 32].to_vec());
        let mut long = log.clone();
        long.data = [&long.data[..], &[0; 32]].concat().into();
        let mut bare = log.clone();
        bare.topics.clear();
        let mut more = log.clone();
        more.topics.push(B256::ZERO);
        let mut other = log.clone();
        other.topics[0] = ICToken::AccrueInterest::SIGNATURE_HASH;
        let mut dirty = log.clone();
        dirty.topics.iter_mut().skip(1).for_each(|topic| *topic = B256::repeat_byte(0xff));
        dirty.data = vec![0xff; dirty.data.len()].into();
        for (what, bad) in [
            ("short", short),
            ("long", long),
            ("bare", bare),
            ("more", more),
            ("other", other),
            ("dirty", dirty),
        ] {
            let readings = readings(&world, &[bad, log.clone()]);
            assert!(
                matches!(&readings[0], LogReading::Reject { why, .. } if !why.is_empty()),
                "{what}: {readings:?}"
            );
            assert!(matches!(&readings[1], LogReading::Leg(_)));
        }
    }
}

#[test]
fn event_reads_ask_for_each_market_once_and_what_may_touch_a_market_last() {
    let world = world("");
    let logs = [
        log_of(C_USDC, &liquidate_borrow(LIQUIDATOR_ACCOUNT), 1, 0),
        log_of(C_USDC, &liquidate_borrow(LIQUIDATOR_ACCOUNT), 2, 1),
    ];
    let calls = CompoundV2.event_reads(&world.csu, &world.discover(), &logs.iter().collect::<Vec<_>>());
    let names: Vec<(&str, &str)> = calls.iter().map(|call| (call.key.as_str(), call.item.as_str())).collect();
    let (usdc, coin) = (item(C_USDC), item(C_COIN));
    let (usdc_token, coin_token) = (item(USDC), item(WRAPPED));
    assert_eq!(
        names,
        [
            (key::ORACLE, ""),
            (key::INCENTIVE, ""),
            (key::EXCHANGE_RATE, &usdc),
            (key::PRICE, &usdc),
            (key::EXCHANGE_RATE, &coin),
            (key::PRICE, &coin),
            (token::SYMBOL, &coin_token),
            (token::DECIMALS, &coin_token),
            (token::SYMBOL, &usdc_token),
            (token::DECIMALS, &usdc_token),
            (key::UNDERLYING, &usdc),
            (key::SEIZE_SHARE, &coin),
        ]
    );
    let reads = reads(&world, &logs);
    let (prices, tokens) = CompoundV2.read_event_prices(&world.csu, &reads);
    let priced: Vec<_> = prices.iter().map(|price| (price.token, price.raw.clone().ok())).collect();
    assert_eq!(priced, [(USDC, usdc_price()), (WRAPPED, Some(wad("600")))]);
    assert_eq!(tokens.iter().map(|token| token.decimals).collect::<Vec<_>>(), [Some(18), Some(6)]);
}

fn usdc_price() -> Option<U256> {
    super::usdc().price
}

proptest! {
    #[test]
    fn no_log_makes_it_panic(
        topic0 in prop::sample::select(events::TOPICS.to_vec()),
        topics in proptest::collection::vec(any::<[u8; 32]>(), 0..5),
        data in proptest::collection::vec(any::<u8>(), 0..200),
        variant in prop::sample::select(vec!["", "venus_core", "venus_isolated", "sumer"]),
        has_topic in any::<bool>(),
    ) {
        let mut log = log_of(C_USDC, &heal(1), 1, 0);
        log.topics = has_topic.then_some(topic0).into_iter().chain(topics.into_iter().map(B256::from)).collect();
        log.data = data.into();
        let world = world(variant);
        let readings = readings(&world, &[log]);
        prop_assert_eq!(readings.len(), 1);
    }

    /// Any words in the right places: amounts of any size end as a leg, with what could not be computed told in flags.
    #[test]
    fn no_amount_makes_it_panic(words in proptest::collection::vec(any::<[u8; 32]>(), 5), variant in 0_usize..4) {
        let mut data: Vec<u8> = words.concat();
        for word in [0, 1, 3] {
            data[word * 32..word * 32 + 12].fill(0);
        }
        let log = RawLog { data: data.into(), ..log_of(C_USDC, &liquidate_borrow(BORROWER), 1, 0) };
        let world = world(["", "venus_core", "venus_isolated", "sumer"][variant]);
        let readings = readings(&world, &[log]);
        prop_assert!(matches!(&readings[0], LogReading::Leg(leg) if leg.debt.is_some() && leg.collateral.is_some()));
    }
}
