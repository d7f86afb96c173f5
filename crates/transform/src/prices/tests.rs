use super::*;
use lake::U256;
use lake::amount::whole_tokens;
use lake::bronze::FillPrice;
use protocols::Missing;

const TOKEN: Address = Address::repeat_byte(9);
const WETH: Address = Address::repeat_byte(8);
const WSTETH: Address = Address::repeat_byte(7);
const AT: At = At { chain_id: 1, block: 7 };
/// The block's time.
const NOW: u64 = 1_000_000;

/// A registry with one feed, of address `0x0808..08` and a heartbeat of an hour.
fn registry() -> Registry {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("csus")).unwrap();
    let chain = "[[chain]]\nname = \"ethereum\"\nchain_id = 1\nnative_symbol = \"ETH\"\nis_l2 = false\n\
                 block_seconds = 12\nfinality_blocks = 64\nsource = \"a test\"\n";
    let feed = Address::repeat_byte(8);
    let feed = format!(
        "[[feed]]\nchain = \"ethereum\"\naddress = \"{feed}\"\ndescription = \"X / USD\"\ntokens = [\"{}\"]\n\
         quote = \"USD\"\nheartbeat_s = 3600\nsource = \"a test\"\n",
        TOKEN.to_checksum(None)
    );
    std::fs::write(directory.path().join("chains.toml"), chain).unwrap();
    std::fs::write(directory.path().join("tokens.toml"), "").unwrap();
    std::fs::write(directory.path().join("feeds.toml"), feed).unwrap();
    Registry::load(directory.path()).unwrap()
}

fn answer(feed: u8, raw: u64) -> PriceAnswer {
    PriceAnswer {
        token: TOKEN,
        source: PriceSource::ProtocolOracle,
        feed: Address::repeat_byte(feed),
        raw: Ok(U256::from(raw)),
        unit: Ok(U256::from(100_000_000)),
        quote: Quote::Usd,
        updated_at: Some(NOW - 10),
    }
}

fn chainlink(feed: u8, raw: u64) -> PriceAnswer {
    PriceAnswer { source: PriceSource::Chainlink, ..answer(feed, raw) }
}

fn failed(feed: u8) -> PriceAnswer {
    let why = Missing::Reverted { key: "oracle".into(), data: Default::default() };
    PriceAnswer { raw: Err(why), ..answer(feed, 1) }
}

fn block() -> Header {
    Header { number: 7, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: NOW }
}

fn add(book: &mut PriceBook, path: &str, answers: &[PriceAnswer]) -> OwnFeeds {
    add_of(book, path, answers, false)
}

/// Adds what the oracles of a CSU say whose markets anyone creates.
fn add_anyones(book: &mut PriceBook, path: &str, answers: &[PriceAnswer]) -> OwnFeeds {
    add_of(book, path, answers, true)
}

fn add_of(book: &mut PriceBook, path: &str, answers: &[PriceAnswer], is_anyones: bool) -> OwnFeeds {
    let date = "2024-12-01".parse().unwrap();
    let block = block();
    let origin = Origin { chain_id: 1, chain: "ethereum", date, block, path, sha256: path, is_anyones };
    book.add(&registry(), origin, answers);
    book.resolve();
    OwnFeeds::of(answers)
}

#[test]
fn an_oracle_that_anyone_may_have_named_is_believed_after_all_others_and_casts_no_doubt_on_them() {
    // One that lies: a hundred times what others say.
    let lie = [answer(3, 20_000_000_000)];
    let mut book = PriceBook::default();
    let own = add_anyones(&mut book, "markets", &lie);
    // Where nobody else says anything, it is the price, and says what it is.
    let alone = book.select(AT, TOKEN, &own).unwrap();
    assert_eq!((alone.usd, alone.source, alone.is_anyones), (200.0, PriceSource::ProtocolOracle, true));
    assert_eq!(alone.flags().collect::<Vec<_>>(), ["market_oracle"]);

    let other = add(&mut book, "another", &[answer(5, 200_000_000)]);
    for (seen_from, source) in [(&own, PriceSource::OtherCsuOracle), (&other, PriceSource::ProtocolOracle)] {
        let found = book.select(AT, TOKEN, seen_from).unwrap();
        assert_eq!((found.usd, found.source, found.spread), (2.0, source, None));
        assert_eq!(found.flags().count(), 0);
    }
    add(&mut book, "feed", &[chainlink(8, 201_000_000)]);
    assert_eq!(book.select(AT, TOKEN, &own).unwrap().source, PriceSource::Chainlink);
    let of_lie = book.rows().into_iter().find(|row| row.feed == item(Address::repeat_byte(3))).unwrap();
    assert_eq!(of_lie.flags, "market_oracle;sources_disagree:9900.0%");
    // When the others fail, it comes before an off-chain price and after nothing else.
    let mut failing = PriceBook::default();
    let own = add_anyones(&mut failing, "markets", &lie);
    add(&mut failing, "another", &[failed(5)]);
    assert_eq!(failing.select(AT, TOKEN, &own).unwrap().usd, 200.0);
}

#[test]
fn an_oracle_that_a_protocol_asks_for_all_its_markets_is_its_oracle_whoever_names_it() {
    for anyones_first in [true, false] {
        let mut book = PriceBook::default();
        let same = [answer(5, 200_000_000)];
        if anyones_first {
            add_anyones(&mut book, "markets", &same);
        }
        let own = add(&mut book, "protocol", &same);
        add_anyones(&mut book, "markets", &same);
        let found = book.select(AT, TOKEN, &own).unwrap();
        assert_eq!((found.source, found.is_anyones), (PriceSource::ProtocolOracle, false));
    }
}

/// A book with the answers of one object, and what that object's CSU asked.
fn book(answers: &[PriceAnswer]) -> (PriceBook, OwnFeeds) {
    let mut book = PriceBook::default();
    let own = add(&mut book, "one", answers);
    (book, own)
}

fn status(book: &PriceBook, feed: u8) -> String {
    let feed = item(Address::repeat_byte(feed));
    book.rows().into_iter().find(|row| row.feed == feed).unwrap().status
}

#[test]
fn the_own_oracle_comes_first_and_anothers_is_named_as_such() {
    let mut book = PriceBook::default();
    let one = add(&mut book, "one", &[answer(5, 200_000_000)]);
    let two = add(&mut book, "two", &[failed(4)]);
    let own = book.select(AT, TOKEN, &one).unwrap();
    assert_eq!((own.usd, own.source, own.age_s), (2.0, PriceSource::ProtocolOracle, Some(10)));
    let other = book.select(AT, TOKEN, &two).unwrap();
    assert_eq!((other.usd, other.source), (2.0, PriceSource::OtherCsuOracle));
    let rows = book.rows();
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].status.as_str(), rows[0].is_selected), ("call_failed", false));
    assert_eq!((rows[1].status.as_str(), rows[1].is_selected), ("ok", true));
}

#[test]
fn the_order_of_sources_is_that_of_the_rule() {
    let mut all = PriceBook::default();
    add(&mut all, "another", &[answer(5, 200_000_000), chainlink(8, 300_000_000)]);
    let fill = FillPrice {
        chain: "ethereum".into(),
        block: 7,
        token: TOKEN,
        timestamp: NOW,
        coin: "ethereum:0x09".into(),
        answer: format!("{{\"price\":4,\"timestamp\":{}}}", NOW + 60),
    };
    let of_fill = |fill: &FillPrice| Answer::off_chain(fill, "2024-12-01".parse().unwrap(), "fill", "fill");
    let service = (PriceSource::OffChain, Asked::Service("defillama"));
    all.answers.get_mut(&(AT, TOKEN)).unwrap().insert(service, of_fill(&fill));
    let own = add(&mut all, "own", &[answer(6, 100_000_000), chainlink(9, 350_000_000)]);

    let mut took = Vec::new();
    for _ in 0..5 {
        let selected = all.select(AT, TOKEN, &own).unwrap();
        took.push((selected.source, selected.usd));
        // Take it away, and ask again.
        let feeds = all.answers.get_mut(&(AT, TOKEN)).unwrap();
        let feed = *feeds.iter().find(|(_, answer)| answer.is_selected).unwrap().0;
        feeds.remove(&feed);
    }
    let expected = [
        (PriceSource::ProtocolOracle, 1.0),
        (PriceSource::Chainlink, 3.5),
        (PriceSource::Chainlink, 3.0),
        (PriceSource::OtherCsuOracle, 2.0),
        (PriceSource::OffChain, 4.0),
    ];
    assert_eq!(took, expected);
    assert_eq!(all.select(AT, TOKEN, &own), Err(NoPrice::NotAsked));

    let marked = Selected {
        usd: 4.0,
        source: PriceSource::OffChain,
        age_s: Some(-60),
        is_anyones: false,
        spread: None,
    };
    assert_eq!(marked.flags().collect::<Vec<_>>(), ["off_chain_price"]);
    let far = FillPrice { answer: format!("{{\"price\":4,\"timestamp\":{}}}", NOW + 21_601), ..fill.clone() };
    assert_eq!(of_fill(&far).ratio, Err(NoPrice::Stale));
    for answer in ["{\"price\":0,\"timestamp\":1000000}", "{\"price\":0.0,\"timestamp\":1000000}"] {
        assert_eq!(
            of_fill(&FillPrice { answer: answer.into(), ..fill.clone() }).ratio,
            Err(NoPrice::NotPositive)
        );
    }
    for answer in ["{\"price\":-4,\"timestamp\":1000000}", "{\"price\":null,\"timestamp\":1000000}", "{}", ""]
    {
        assert_eq!(
            of_fill(&FillPrice { answer: answer.into(), ..fill.clone() }).ratio,
            Err(NoPrice::CallFailed)
        );
    }
}

#[test]
fn a_feed_in_ether_becomes_dollars_at_the_price_of_ether_at_that_block() {
    // 18 decimals and ETH on one side, 8 decimals and dollars on the other.
    let in_ether = PriceAnswer {
        quote: Quote::Token(WETH),
        raw: Ok(U256::from(500_000_000_000_000_000_u64)),
        unit: Ok(U256::from(10).pow(U256::from(18))),
        updated_at: Some(NOW - 100),
        ..chainlink(1, 0)
    };
    let ether = PriceAnswer { token: WETH, updated_at: Some(NOW - 900), ..chainlink(2, 250_000_000_000) };
    let cheaper = PriceAnswer { token: WETH, ..answer(3, 249_000_000_000) };
    let (mut both, own) = book(&[in_ether.clone(), ether, cheaper]);
    let selected = both.select(AT, TOKEN, &own).unwrap();
    // The unit's own price is chosen by the same rule, in which another CSU's oracle comes after Chainlink.
    assert_eq!((selected.usd, selected.source, selected.age_s), (1250.0, PriceSource::Chainlink, Some(900)));
    let rows = both.rows();
    let row = |token: Address, feed: u8| {
        let (token, feed) = (item(token), item(Address::repeat_byte(feed)));
        rows.iter().find(|row| row.token == token && row.feed == feed).unwrap()
    };
    let priced = row(TOKEN, 1);
    assert_eq!((priced.quote.as_str(), priced.price_usd), (item(WETH).as_str(), Some(1250.0)));
    assert_eq!(priced.via.as_deref(), Some(format!("chainlink:{}", item(Address::repeat_byte(2))).as_str()));
    assert_eq!((priced.age_s, row(WETH, 2).is_selected, row(WETH, 3).is_selected), (Some(100), true, false));

    let (mut alone, own) = book(&[in_ether]);
    assert_eq!(alone.select(AT, TOKEN, &own), Err(NoPrice::QuoteUnpriced));
    assert_eq!(status(&alone, 1), "quote_unpriced");
}

#[test]
fn currencies_that_lead_back_to_themselves_give_no_price() {
    let quoted = |token: Address, quote: Address, feed: u8| PriceAnswer {
        token,
        quote: Quote::Token(quote),
        ..answer(feed, 100_000_000)
    };
    // A Comet whose unit is ETH says that ETH is worth one of itself.
    let itself = quoted(WETH, WETH, 1);
    let (mut circle, own) = book(&[itself.clone(), quoted(TOKEN, WSTETH, 2), quoted(WSTETH, TOKEN, 3)]);
    for token in [WETH, TOKEN, WSTETH] {
        assert_eq!(circle.select(AT, token, &own), Err(NoPrice::QuoteUnpriced));
    }
    // With one way out, the same answers are prices.
    let ether = PriceAnswer { token: WETH, ..chainlink(4, 250_000_000_000) };
    let (mut out, own) =
        book(&[itself, ether, quoted(WSTETH, WETH, 5), quoted(WSTETH, TOKEN, 3), quoted(TOKEN, WSTETH, 2)]);
    let selected = out.select(AT, WETH, &own).unwrap();
    assert_eq!((selected.usd, selected.source), (2500.0, PriceSource::ProtocolOracle));
    assert_eq!(out.select(AT, TOKEN, &own).unwrap().usd, 2500.0);
    let via = out.rows().into_iter().find(|row| row.token == item(TOKEN)).unwrap().via.unwrap();
    assert_eq!(via.matches(';').count(), 1, "{via}");

    // A chain of more steps than the rule allows ends.
    let token = |step: u8| Address::repeat_byte(100 + step);
    let mut long: Vec<PriceAnswer> = (0..10).map(|step| quoted(token(step), token(step + 1), 20)).collect();
    long.push(PriceAnswer { token: token(10), ..answer(20, 100_000_000) });
    let (mut long, own) = book(&long);
    assert_eq!(long.select(AT, token(0), &own), Err(NoPrice::QuoteUnpriced));
    assert_eq!(long.select(AT, token(6), &own).unwrap().usd, 1.0);
}

#[test]
fn an_answer_older_than_two_heartbeats_is_stale() {
    let aged = |age: u64| PriceAnswer { updated_at: Some(NOW - age), ..chainlink(8, 300_000_000) };
    let (mut fresh, own) = book(&[aged(7_200)]);
    assert_eq!(fresh.select(AT, TOKEN, &own).unwrap().age_s, Some(7_200));
    let (mut stale, own) = book(&[aged(7_201)]);
    assert_eq!(stale.select(AT, TOKEN, &own), Err(NoPrice::Stale));
    let [row] = <[Price; 1]>::try_from(stale.rows()).unwrap();
    assert_eq!((row.status.as_str(), row.price_usd, row.age_s), ("stale", None, Some(7_201)));
    assert_eq!(row.answer_raw.as_deref(), Some("300000000"));
    // A round that was never finished has the time 0.
    let (mut never, own) = book(&[aged(NOW)]);
    assert_eq!(never.select(AT, TOKEN, &own), Err(NoPrice::Stale));
    // Feeds without a row in the registry have no heartbeat, and tell their age.
    let unlisted = PriceAnswer { updated_at: Some(NOW - 900_000), ..chainlink(4, 300_000_000) };
    let (mut unlisted, own) = book(&[unlisted]);
    assert_eq!(unlisted.select(AT, TOKEN, &own).unwrap().age_s, Some(900_000));
}

#[test]
fn sources_that_disagree_are_flagged_on_every_one_of_them() {
    let of_rows = |book: &PriceBook| book.rows().into_iter().map(|row| row.flags).collect::<Vec<_>>();
    let (mut near, own) = book(&[answer(5, 100_000_000), chainlink(4, 101_900_000)]);
    assert_eq!(near.select(AT, TOKEN, &own).unwrap().spread, None);
    assert_eq!(of_rows(&near), ["", ""]);
    let (mut apart, own) = book(&[answer(5, 100_000_000), chainlink(4, 103_400_000), failed(3)]);
    let selected = apart.select(AT, TOKEN, &own).unwrap();
    assert_eq!(selected.flags().collect::<Vec<_>>(), ["sources_disagree:3.4%"]);
    // A failed call takes no side.
    assert_eq!(of_rows(&apart), ["", "sources_disagree:3.4%", "sources_disagree:3.4%"]);
}

#[test]
fn another_description_is_told_and_kills_no_price() {
    let reading = |said: &str| FeedReading {
        feed: Address::repeat_byte(8),
        prices: vec![chainlink(8, 300_000_000)],
        described_as: Some(said.into()),
    };
    let mut book = PriceBook::default();
    let date = "2024-12-01".parse().unwrap();
    let origin = Origin {
        chain_id: 1,
        chain: "ethereum",
        date,
        block: block(),
        path: "one",
        sha256: "one",
        is_anyones: false,
    };
    book.add_readings(&registry(), origin, &[reading("POL; / USD")]);
    book.resolve();
    assert_eq!(book.select(AT, TOKEN, &OwnFeeds::default()).unwrap().usd, 3.0);
    assert_eq!(book.rows()[0].flags, "described_as:POL, / USD");
}

#[test]
fn nothing_is_worth_nothing_unless_it_is_excluded() {
    let selected =
        Selected { usd: 2.0, source: PriceSource::Chainlink, age_s: None, is_anyones: false, spread: None };
    let priced = Valuation::Priced(selected);
    let unpriced = Valuation::Unpriced(NoPrice::CallFailed);
    assert_eq!((priced.usd(false, Some(3.0)), priced.usd(false, None)), (Some(6.0), None));
    assert_eq!((unpriced.usd(true, None), unpriced.usd(false, Some(3.0))), (Some(0.0), None));
    assert_eq!((Valuation::Excluded.usd(true, Some(0.0)), priced.flags()), (None, vec![]));
    assert_eq!(unpriced.flags(), ["no_price:call_failed"]);
    // Rounded once to whole tokens, once by the price.
    let raw = U256::from(1_999_999_999_999_999_999_u64);
    assert_eq!(priced.usd(false, Some(whole_tokens(raw, 18))), Some(4.0));
}

#[test]
fn what_is_no_price_says_why() {
    let no_unit = PriceAnswer { unit: Ok(U256::ZERO), ..answer(1, 1) };
    let unknown = PriceAnswer { quote: Quote::Unknown, ..answer(1, 1) };
    let value = lake::I256::try_from(-5).unwrap();
    let negative =
        PriceAnswer { raw: Err(Missing::Negative { key: "feed".into(), value }), ..chainlink(1, 0) };
    for (answer, why, raw) in [
        (failed(1), NoPrice::CallFailed, None),
        (answer(1, 0), NoPrice::NotPositive, Some("0")),
        (negative, NoPrice::NotPositive, Some("-5")),
        (no_unit, NoPrice::NotPositive, Some("1")),
        (unknown, NoPrice::QuoteUnknown, Some("1")),
    ] {
        let (mut book, own) = book(&[answer]);
        assert_eq!(book.select(AT, TOKEN, &own), Err(why));
        let [row] = <[Price; 1]>::try_from(book.rows()).unwrap();
        assert_eq!((row.status.as_str(), row.price_usd), (why.as_str(), None));
        assert_eq!(row.answer_raw.as_deref(), raw);
    }
    assert_eq!(PriceBook::default().select(AT, TOKEN, &OwnFeeds::default()), Err(NoPrice::NotAsked));
}

#[test]
fn equal_answers_are_one_row_and_different_ones_an_error() {
    let (mut book, own) = book(&[answer(5, 2)]);
    add(&mut book, "two", &[answer(5, 2)]);
    assert_eq!((book.rows().len(), book.conflicts().len()), (1, 0));
    assert_eq!(book.rows()[0].bronze_sha256, "one");
    add(&mut book, "three", &[failed(5)]);
    assert_eq!(book.conflicts().len(), 1);
    book.select(AT, TOKEN, &own).unwrap();
    add(&mut book, "four", &[answer(5, 3)]);
    assert_eq!(book.select(AT, TOKEN, &own), Err(NoPrice::Conflict));
    assert_eq!((book.rows().len(), book.conflicts().len()), (1, 2));
}

#[test]
fn one_block_number_with_two_hashes_is_an_error() {
    let (mut book, _) = book(&[answer(5, 2)]);
    let date = "2024-12-01".parse().unwrap();
    let block = Header { hash: B256::repeat_byte(1), ..block() };
    let origin =
        Origin { chain_id: 1, chain: "ethereum", date, block, path: "two", sha256: "two", is_anyones: false };
    book.add(&registry(), origin, &[]);
    let [conflict] = <[String; 1]>::try_from(book.conflicts().to_vec()).unwrap();
    assert!(conflict.contains("in one") && conflict.contains("in two"), "{conflict}");
}

#[test]
fn the_nearest_price_is_of_the_same_chain() {
    let (mut book, _) = book(&[answer(5, 200_000_000)]);
    let later = At { block: 20, ..AT };
    let answers = book.answers[&(AT, TOKEN)].clone();
    book.answers.insert((later, TOKEN), answers);
    book.answers.get_mut(&(later, TOKEN)).unwrap().values_mut().for_each(|answer| {
        answer.worth = answer.worth.clone().map(|worth| Worth { usd: 3.0, ..worth });
    });
    let nearby = |block, chain_id| book.nearby(At { chain_id, block }, TOKEN);
    assert_eq!(
        [nearby(10, 1), nearby(14, 1), nearby(900, 1), nearby(10, 2)],
        [Some(2.0), Some(3.0), Some(3.0), None]
    );
    assert_eq!(book.nearby(AT, WETH), None);
}
