//! Every oracle answer of a month, and which of them a figure uses.
//!
//! For a figure of a CSU the order is: the answers that the CSU itself asked for, best source first; then, at the same
//! block of the same chain, what other CSUs asked for. No price is ever taken from another block here.

use crate::read::Month;
use lake::amount::ratio;
use lake::bronze::Header;
use lake::day::Day;
use lake::registry::Registry;
use lake::schema::Seconds;
use lake::schema::silver::Price;
use lake::status::PriceSource;
use lake::{Address, B256, U256};
use protocols::token::item;
use protocols::{PriceAnswer, Quote};
use std::collections::BTreeMap;

/// Why there is no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPrice {
    /// Nobody asked for a price of this token at this block.
    NotAsked,
    /// The call failed, or its answer could not be read.
    CallFailed,
    /// The answer is zero, or is divided by zero.
    NotPositive,
    /// The answer is not in US dollars.
    QuoteNotUsd,
    /// Two objects of the lake give different answers of one contract at one block.
    Conflict,
}

impl NoPrice {
    /// The word in `price.status` and after `no_price:` in flags.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAsked => "not_asked",
            Self::CallFailed => "call_failed",
            Self::NotPositive => "not_positive",
            Self::QuoteNotUsd => "quote_not_usd",
            Self::Conflict => "conflict",
        }
    }
}

/// A price that a figure uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Selected {
    /// US dollars per whole token, positive.
    pub usd: f64,
    /// Where it comes from, seen from the CSU of the figure.
    pub source: PriceSource,
    /// Block time minus the time of the feed's round, seconds.
    pub age_s: Option<i64>,
}

/// What a figure in US dollars is made with: a price, why there is none, or the registry's word that the token is
/// left out of pricing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Valuation {
    /// A price.
    Priced(Selected),
    /// No price: what is not zero has no value.
    Unpriced(NoPrice),
    /// Excluded by the registry: nothing has a value, zero included.
    Excluded,
}

impl Valuation {
    /// The price, if there is one.
    pub fn selected(self) -> Option<Selected> {
        match self {
            Self::Priced(selected) => Some(selected),
            Self::Unpriced(_) | Self::Excluded => None,
        }
    }

    /// The remark that a row carries when there is no price.
    pub fn flag(self) -> Option<String> {
        match self {
            Self::Priced(_) => None,
            Self::Unpriced(why) => Some(format!("no_price:{}", why.as_str())),
            Self::Excluded => Some("excluded".to_owned()),
        }
    }

    /// US dollars of an amount of whole tokens. Nothing is worth nothing, also without a price or decimals.
    pub fn usd(self, is_zero: bool, tokens: Option<f64>) -> Option<f64> {
        match self {
            Self::Excluded => None,
            _ if is_zero => Some(0.0),
            Self::Priced(selected) => tokens.map(|tokens| tokens * selected.usd),
            Self::Unpriced(_) => None,
        }
    }
}

/// Block of a chain that a price is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Block number.
    pub block: u64,
}

/// Source and contract of an answer.
pub type Feed = (PriceSource, Address);

/// Which feeds a CSU itself asked at a block, by token.
#[derive(Debug, Clone, Default)]
pub struct OwnFeeds(BTreeMap<Address, Vec<Feed>>);

impl OwnFeeds {
    /// The feeds of these answers.
    pub fn of(answers: &[PriceAnswer]) -> Self {
        let mut feeds: BTreeMap<Address, Vec<Feed>> = BTreeMap::new();
        for answer in answers {
            feeds.entry(answer.token).or_default().push((answer.source, answer.feed));
        }
        feeds.values_mut().for_each(|feeds| feeds.sort());
        Self(feeds)
    }

    fn of_token(&self, token: Address) -> &[Feed] {
        self.0.get(&token).map_or(&[], Vec::as_slice)
    }
}

#[derive(Debug, Clone)]
struct Answer {
    raw: Option<U256>,
    unit: Option<U256>,
    quote: Quote,
    updated_at: Option<i64>,
    block_time: i64,
    price: Result<f64, NoPrice>,
    is_selected: bool,
    chain: String,
    date: Day,
    path: String,
    sha256: String,
}

/// The answers of a month.
#[derive(Debug, Clone, Default)]
pub struct PriceBook {
    answers: BTreeMap<(At, Address), BTreeMap<Feed, Answer>>,
    hashes: BTreeMap<At, (B256, String)>,
    conflicts: Vec<String>,
}

/// Where answers were found.
#[derive(Debug, Clone, Copy)]
struct Origin<'a> {
    chain_id: u64,
    chain: &'a str,
    date: Day,
    block: Header,
    path: &'a str,
    sha256: &'a str,
}

impl PriceBook {
    /// The answers of all sound objects of a month.
    pub fn of_month(registry: &Registry, month: &Month) -> Self {
        let mut book = Self::default();
        let chain_of = |csu: &str| registry.csu(csu).and_then(|csu| registry.chain_of(csu));
        for ((csu, date), object) in &month.snapshots {
            let (Some(day), Some(chain)) = (object.sound(), chain_of(csu)) else { continue };
            let Ok(snapshot) = &day.snapshot else { continue };
            let origin = Origin {
                chain_id: chain.chain_id,
                chain: &chain.name,
                date: *date,
                block: day.block,
                path: &object.path,
                sha256: &object.sha256,
            };
            book.add(origin, &snapshot.prices);
        }
        for ((csu, date), object) in &month.logs {
            let (Some(day), Some(chain)) = (object.sound(), chain_of(csu)) else { continue };
            for event in day.events.values() {
                let origin = Origin {
                    chain_id: chain.chain_id,
                    chain: &chain.name,
                    date: *date,
                    block: event.block,
                    path: &object.path,
                    sha256: &object.sha256,
                };
                book.add(origin, &event.prices);
            }
        }
        book
    }

    fn add(&mut self, origin: Origin<'_>, answers: &[PriceAnswer]) {
        let at = At { chain_id: origin.chain_id, block: origin.block.number };
        match self.hashes.get(&at) {
            None => drop(self.hashes.insert(at, (origin.block.hash, origin.path.to_owned()))),
            Some((hash, path)) if *hash != origin.block.hash => self.conflicts.push(format!(
                "block {} of {} has hash {hash:#x} in {path} and {:#x} in {}: the chain reorganised between them",
                at.block, origin.chain, origin.block.hash, origin.path
            )),
            Some(_) => {}
        }
        for answer in answers {
            self.add_one(at, origin, answer);
        }
    }

    fn add_one(&mut self, at: At, origin: Origin<'_>, answer: &PriceAnswer) {
        let block_time = i64::try_from(origin.block.timestamp).unwrap_or(i64::MAX);
        let found = Answer {
            raw: answer.raw.as_ref().ok().copied(),
            unit: answer.unit.as_ref().ok().copied(),
            quote: answer.quote,
            // Seconds that no column holds are no time.
            updated_at: answer
                .updated_at
                .and_then(|time| i64::try_from(time).ok())
                .filter(|time| *time < 1 << 40),
            block_time,
            price: price(answer),
            is_selected: false,
            chain: origin.chain.to_owned(),
            date: origin.date,
            path: origin.path.to_owned(),
            sha256: origin.sha256.to_owned(),
        };
        let feeds = self.answers.entry((at, answer.token)).or_default();
        let Some(present) = feeds.get_mut(&(answer.source, answer.feed)) else {
            feeds.insert((answer.source, answer.feed), found);
            return;
        };
        let says = |answer: &Answer| (answer.raw, answer.unit, answer.quote, answer.updated_at);
        if says(present) == says(&found) {
            return;
        }
        self.conflicts.push(format!(
            "{} {} gives two answers for token {} at block {} of {}: {} in {}, {} in {}",
            answer.source,
            item(answer.feed),
            item(answer.token),
            at.block,
            origin.chain,
            in_words(present),
            present.path,
            in_words(&found),
            found.path,
        ));
        // A failed call beside an answer says less than the answer; of two answers neither can be believed.
        if present.price == Err(NoPrice::CallFailed) {
            *present = found;
        } else if found.price != Err(NoPrice::CallFailed) {
            present.price = Err(NoPrice::Conflict);
        }
    }

    /// The price of a token for a figure of a CSU that asked `own` at this block. Marks the answer as used.
    ///
    /// # Errors
    /// [`NoPrice`]: what became of the CSU's own best answer.
    pub fn select(&mut self, at: At, token: Address, own: &OwnFeeds) -> Result<Selected, NoPrice> {
        let own = own.of_token(token);
        let Some(feeds) = self.answers.get_mut(&(at, token)) else { return Err(NoPrice::NotAsked) };
        let mut why = None;
        for feed in own {
            match feeds.get_mut(feed) {
                Some(answer) => match answer.price {
                    Ok(usd) => return Ok(answer.used(usd, feed.0)),
                    Err(no_price) => why = why.or(Some(no_price)),
                },
                None => why = why.or(Some(NoPrice::NotAsked)),
            }
        }
        let seen_from_here = |source| match source {
            PriceSource::ProtocolOracle => PriceSource::OtherCsuOracle,
            source => source,
        };
        let others = feeds
            .iter()
            .filter(|(feed, answer)| !own.contains(feed) && answer.price.is_ok())
            .map(|(feed, _)| (seen_from_here(feed.0), *feed));
        let best = others.min();
        if let Some((source, feed)) = best
            && let Some(answer) = feeds.get_mut(&feed)
            && let Ok(usd) = answer.price
        {
            return Ok(answer.used(usd, source));
        }
        Err(why.unwrap_or(NoPrice::NotAsked))
    }

    /// One sentence for every contradiction between two objects.
    pub fn conflicts(&self) -> &[String] {
        &self.conflicts
    }

    /// The rows of the `price` table. Ask for them after every figure has selected its price.
    pub fn rows(&self) -> Vec<Price> {
        let mut rows = Vec::new();
        for ((at, token), feeds) in &self.answers {
            for ((source, feed), answer) in feeds {
                rows.push(Price {
                    chain_id: i64::try_from(at.chain_id).unwrap_or(i64::MAX),
                    token: item(*token),
                    block_number: i64::try_from(at.block).unwrap_or(i64::MAX),
                    source: *source,
                    feed: item(*feed),
                    chain: answer.chain.clone(),
                    date: answer.date,
                    answer_raw: answer.raw.map(|raw| raw.to_string()),
                    answer_unit: answer.unit.map(|unit| unit.to_string()),
                    quote: answer.quote.to_string(),
                    price_usd: answer.price.ok(),
                    updated_at: answer.updated_at.map(Seconds),
                    age_s: answer.age(),
                    is_selected: answer.is_selected,
                    status: answer.price.map_or_else(NoPrice::as_str, |_| "ok").to_owned(),
                    bronze_sha256: answer.sha256.clone(),
                });
            }
        }
        rows
    }
}

impl Answer {
    fn age(&self) -> Option<i64> {
        self.updated_at.map(|updated_at| self.block_time - updated_at)
    }

    fn used(&mut self, usd: f64, source: PriceSource) -> Selected {
        self.is_selected = true;
        Selected { usd, source, age_s: self.age() }
    }
}

fn in_words(answer: &Answer) -> String {
    match (answer.raw, answer.unit) {
        (Some(raw), Some(unit)) => format!("{raw} / {unit} {}", answer.quote),
        _ => NoPrice::CallFailed.as_str().to_owned(),
    }
}

/// US dollars per whole token.
fn price(answer: &PriceAnswer) -> Result<f64, NoPrice> {
    let (Ok(raw), Ok(unit)) = (&answer.raw, &answer.unit) else { return Err(NoPrice::CallFailed) };
    if answer.quote != Quote::Usd {
        return Err(NoPrice::QuoteNotUsd);
    }
    if raw.is_zero() {
        return Err(NoPrice::NotPositive);
    }
    ratio(*raw, *unit).filter(|usd| usd.is_finite() && *usd > 0.0).ok_or(NoPrice::NotPositive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocols::Missing;

    const TOKEN: Address = Address::repeat_byte(9);
    const AT: At = At { chain_id: 1, block: 7 };

    fn answer(feed: u8, raw: u64) -> PriceAnswer {
        PriceAnswer {
            token: TOKEN,
            source: PriceSource::ProtocolOracle,
            feed: Address::repeat_byte(feed),
            raw: Ok(U256::from(raw)),
            unit: Ok(U256::from(100_000_000)),
            quote: Quote::Usd,
            updated_at: Some(90),
        }
    }

    fn failed(feed: u8) -> PriceAnswer {
        let why = Missing::Reverted { key: "oracle".into(), data: Default::default() };
        PriceAnswer { raw: Err(why), ..answer(feed, 1) }
    }

    fn add(book: &mut PriceBook, path: &str, answers: &[PriceAnswer]) -> OwnFeeds {
        let block = Header { number: 7, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 100 };
        let date = "2024-12-01".parse().unwrap();
        book.add(Origin { chain_id: 1, chain: "ethereum", date, block, path, sha256: path }, answers);
        OwnFeeds::of(answers)
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
    fn chainlink_comes_before_another_csus_oracle() {
        let mut book = PriceBook::default();
        let chainlink = PriceAnswer { source: PriceSource::Chainlink, ..answer(8, 300_000_000) };
        add(&mut book, "one", &[answer(5, 200_000_000), chainlink]);
        let other = book.select(AT, TOKEN, &OwnFeeds::default()).unwrap();
        assert_eq!((other.usd, other.source), (3.0, PriceSource::Chainlink));
    }

    #[test]
    fn nothing_is_worth_nothing_unless_it_is_excluded() {
        let priced = Valuation::Priced(Selected { usd: 2.0, source: PriceSource::Chainlink, age_s: None });
        let unpriced = Valuation::Unpriced(NoPrice::CallFailed);
        assert_eq!((priced.usd(false, Some(3.0)), priced.usd(false, None)), (Some(6.0), None));
        assert_eq!((unpriced.usd(true, None), unpriced.usd(false, Some(3.0))), (Some(0.0), None));
        assert_eq!((Valuation::Excluded.usd(true, Some(0.0)), priced.flag()), (None, None));
        assert_eq!(unpriced.flag().as_deref(), Some("no_price:call_failed"));
    }

    #[test]
    fn what_is_no_price_says_why() {
        let usd_per_eth = PriceAnswer { quote: Quote::Token(TOKEN), ..answer(1, 1) };
        let no_unit = PriceAnswer { unit: Ok(U256::ZERO), ..answer(1, 1) };
        for (answer, why) in [
            (failed(1), NoPrice::CallFailed),
            (answer(1, 0), NoPrice::NotPositive),
            (no_unit, NoPrice::NotPositive),
            (usd_per_eth, NoPrice::QuoteNotUsd),
        ] {
            let mut book = PriceBook::default();
            let own = add(&mut book, "one", &[answer]);
            assert_eq!(book.select(AT, TOKEN, &own), Err(why));
            assert_eq!(book.rows()[0].status, why.as_str());
            assert_eq!(book.rows()[0].price_usd, None);
        }
        assert_eq!(PriceBook::default().select(AT, TOKEN, &OwnFeeds::default()), Err(NoPrice::NotAsked));
    }

    #[test]
    fn equal_answers_are_one_row_and_different_ones_an_error() {
        let mut book = PriceBook::default();
        let own = add(&mut book, "one", &[answer(5, 2)]);
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
        let mut book = PriceBook::default();
        add(&mut book, "one", &[answer(5, 2)]);
        let block = Header { number: 7, hash: B256::repeat_byte(1), parent_hash: B256::ZERO, timestamp: 100 };
        let date = "2024-12-01".parse().unwrap();
        book.add(Origin { chain_id: 1, chain: "ethereum", date, block, path: "two", sha256: "two" }, &[]);
        let [conflict] = <[String; 1]>::try_from(book.conflicts().to_vec()).unwrap();
        assert!(conflict.contains("in one") && conflict.contains("in two"), "{conflict}");
    }
}
