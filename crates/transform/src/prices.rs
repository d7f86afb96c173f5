//! Every price answer of a month, what it is in US dollars, and which of them a figure uses.
//!
//! A figure of a CSU uses the first price in the order of [`rule::PREFERENCE`] at its own block of its own chain; no price
//! is ever taken from another block here. An answer in a quote currency (ETH, wstETH, BTC) becomes dollars at the price of
//! that currency at the same block, which is chosen by the same rule, seen from nowhere. An answer that is zero, negative,
//! stale, or in a currency without a price is no price: it stays in the table with its reason.

mod answer;
pub mod rule;

use crate::read::{Month, Object};
use answer::{Answer, Worth};
use lake::bronze::Header;
use lake::day::Day;
use lake::registry::{Chain, Registry};
use lake::schema::Seconds;
use lake::schema::silver::Price;
use lake::status::PriceSource;
use lake::{Address, B256};
use protocols::oracle::chainlink::FeedReading;
use protocols::oracle::defillama;
use protocols::token::item;
use protocols::{PriceAnswer, Quote};
use rule::{DISAGREEMENT, STEPS, rank};
use std::collections::BTreeMap;
use std::fmt;

/// Why there is no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPrice {
    /// Nobody asked for a price of this token at this block.
    NotAsked,
    /// The call failed (a paused oracle reverts), or its answer could not be read.
    CallFailed,
    /// The answer is zero or negative, or is divided by zero.
    NotPositive,
    /// The answer is older than two heartbeats of its feed, or lies further from the block than an off-chain price may.
    Stale,
    /// The source does not say in which currency it answers, or says another than the registry.
    QuoteUnknown,
    /// The currency of the answer has no price at this block.
    QuoteUnpriced,
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
            Self::Stale => "stale",
            Self::QuoteUnknown => "quote_unknown",
            Self::QuoteUnpriced => "quote_unpriced",
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
    /// Age of the oldest round that went into it, seconds.
    pub age_s: Option<i64>,
    /// Whether whoever created a market named its oracle.
    pub is_anyones: bool,
    /// By how much the prices of this token at this block differ, as a fraction of the lowest, where that is more than
    /// [`DISAGREEMENT`].
    pub spread: Option<f64>,
}

impl Selected {
    /// The remarks that a figure made with this price carries.
    pub fn flags(self) -> impl Iterator<Item = String> {
        let off_chain = (self.source == PriceSource::OffChain).then(|| "off_chain_price".to_owned());
        let of_market = self.is_anyones.then(|| "market_oracle".to_owned());
        off_chain.into_iter().chain(of_market).chain(self.spread.map(spread_flag))
    }
}

fn spread_flag(spread: f64) -> String {
    format!("sources_disagree:{:.1}%", spread * 100.0)
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

    /// The remarks that a row carries for its price or the want of one.
    pub fn flags(self) -> Vec<String> {
        match self {
            Self::Priced(selected) => selected.flags().collect(),
            Self::Unpriced(why) => vec![format!("no_price:{}", why.as_str())],
            Self::Excluded => vec!["excluded".to_owned()],
        }
    }

    /// US dollars of an amount of whole tokens. Nothing is worth nothing, also without a price or decimals.
    pub fn usd(self, is_zero: bool, tokens: Option<f64>) -> Option<f64> {
        match self {
            Self::Excluded => None,
            _ if is_zero => Some(0.0),
            Self::Priced(selected) => tokens.map(|tokens| lake::amount::usd(tokens, selected.usd)),
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

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// A contract.
    Contract(Address),
    /// An off-chain service.
    Service(&'static str),
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contract(address) => f.write_str(&item(*address)),
            Self::Service(name) => f.write_str(name),
        }
    }
}

/// Source and place of an answer.
pub type Feed = (PriceSource, Asked);

/// Which feeds a CSU itself asked at a block, by token.
#[derive(Debug, Clone, Default)]
pub struct OwnFeeds(BTreeMap<Address, Vec<Feed>>);

impl OwnFeeds {
    /// The feeds of these answers.
    pub fn of<'a>(answers: impl IntoIterator<Item = &'a PriceAnswer>) -> Self {
        let mut feeds: BTreeMap<Address, Vec<Feed>> = BTreeMap::new();
        for answer in answers {
            feeds.entry(answer.token).or_default().push((answer.source, Asked::Contract(answer.feed)));
        }
        Self(feeds)
    }

    fn of_token(&self, token: Address) -> &[Feed] {
        self.0.get(&token).map_or(&[], Vec::as_slice)
    }
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
    /// Whether what is no feed of the registry was named by whoever created a market.
    is_anyones: bool,
}

impl<'a> Origin<'a> {
    fn of<T>(chain: &'a Chain, date: Day, block: Header, object: &'a Object<T>) -> Self {
        let (path, sha256) = (object.path.as_str(), object.sha256.as_str());
        Self { chain_id: chain.chain_id, chain: &chain.name, date, block, path, sha256, is_anyones: false }
    }

    /// Of an object of this CSU.
    fn of_csu(self, registry: &Registry, csu: &str) -> Self {
        let csu = registry.csu(csu);
        let family = csu.and_then(|csu| protocols::family(&csu.family)).zip(csu);
        Self { is_anyones: family.is_some_and(|(family, csu)| family.oracles_are_anyones(csu)), ..self }
    }
}

impl PriceBook {
    /// The answers of all sound objects of a month, each with its worth in US dollars.
    pub fn of_month(registry: &Registry, month: &Month) -> Self {
        let mut book = Self::default();
        let chain_of = |csu: &str| registry.csu(csu).and_then(|csu| registry.chain_of(csu));
        for ((csu, date), object) in &month.snapshots {
            let (Some(day), Some(chain)) = (object.sound(), chain_of(csu)) else { continue };
            let Ok(snapshot) = &day.snapshot else { continue };
            let origin = Origin::of(chain, *date, day.block, object).of_csu(registry, csu);
            book.add(registry, origin, &snapshot.prices);
        }
        for ((csu, date), object) in &month.logs {
            let (Some(day), Some(chain)) = (object.sound(), chain_of(csu)) else { continue };
            for event in day.events.values() {
                let origin = Origin::of(chain, *date, event.block, object).of_csu(registry, csu);
                book.add(registry, origin, &event.prices);
                book.add_readings(registry, origin, &event.feeds);
            }
        }
        for ((chain, date), object) in &month.prices {
            let (Some(day), Some(chain)) = (object.sound(), registry.chain(chain)) else { continue };
            book.add_readings(registry, Origin::of(chain, *date, day.block, object), &day.feeds);
        }
        for object in month.fills.values() {
            let Some(fill) = object.sound() else { continue };
            for price in &fill.prices {
                // Only what the service of this build's words says of chains of the registry.
                let Some(chain) = registry.chain(&price.chain) else { continue };
                let at = At { chain_id: chain.chain_id, block: price.block };
                let answer = Answer::off_chain(price, fill.date, &object.path, &object.sha256);
                let feed = (PriceSource::OffChain, Asked::Service(defillama::SERVICE));
                book.answers.entry((at, price.token)).or_default().insert(feed, answer);
            }
        }
        book.resolve();
        book
    }

    fn add_readings(&mut self, registry: &Registry, origin: Origin<'_>, readings: &[FeedReading]) {
        for reading in readings {
            self.add(registry, origin, &reading.prices);
            let Some(said) = &reading.described_as else { continue };
            let at = At { chain_id: origin.chain_id, block: origin.block.number };
            let feed = (PriceSource::Chainlink, Asked::Contract(reading.feed));
            for price in &reading.prices {
                if let Some(answer) =
                    self.answers.get_mut(&(at, price.token)).and_then(|feeds| feeds.get_mut(&feed))
                {
                    answer.described_as = Some(said.replace(';', ","));
                }
            }
        }
    }

    fn add(&mut self, registry: &Registry, origin: Origin<'_>, answers: &[PriceAnswer]) {
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
            let heartbeat = match answer.source {
                PriceSource::Chainlink => {
                    registry.feed(origin.chain, answer.feed).map(|feed| feed.heartbeat_s)
                }
                _ => None,
            };
            self.add_one(at, origin, answer, heartbeat);
        }
    }

    fn add_one(&mut self, at: At, origin: Origin<'_>, answer: &PriceAnswer, heartbeat_s: Option<u32>) {
        let found = Answer::of(answer, &origin, heartbeat_s);
        let feed = (answer.source, Asked::Contract(answer.feed));
        let feeds = self.answers.entry((at, answer.token)).or_default();
        let Some(present) = feeds.get_mut(&feed) else {
            feeds.insert(feed, found);
            return;
        };
        // Whom a protocol asks for all its markets is not anyone's, though a market may have named it, too.
        let is_anyones = present.is_anyones && found.is_anyones;
        present.is_anyones = is_anyones;
        if present.says() == found.says() {
            return;
        }
        self.conflicts.push(format!(
            "{} {} gives two answers for token {} at block {} of {}: {} in {}, {} in {}",
            answer.source,
            feed.1,
            item(answer.token),
            at.block,
            origin.chain,
            present.in_words(),
            present.path,
            found.in_words(),
            found.path,
        ));
        // A failed call beside an answer says less than the answer; of two answers neither can be believed.
        if present.ratio == Err(NoPrice::CallFailed) {
            *present = found;
            present.is_anyones = is_anyones;
        } else if found.ratio != Err(NoPrice::CallFailed) {
            present.ratio = Err(NoPrice::Conflict);
        }
    }

    /// Gives every answer its worth in US dollars, and its group the flag of disagreement.
    fn resolve(&mut self) {
        let mut worths = Vec::new();
        for (&(at, _), feeds) in &self.answers {
            worths.extend(feeds.values().map(|answer| self.worth(at, answer, &mut Vec::new())));
        }
        let mut worths = worths.into_iter();
        for feeds in self.answers.values_mut() {
            for answer in feeds.values_mut() {
                if let Some(worth) = worths.next() {
                    answer.worth = worth;
                }
            }
            // What is anyone's casts no doubt on the others: it would cost a lie in a market of one's own to flag a whole chain.
            let spread = |all: bool| {
                let counts = |answer: &&Answer| all || !answer.is_anyones;
                let prices = || {
                    let of = feeds.values().filter(counts);
                    of.filter_map(|answer| Some(answer.worth.as_ref().ok()?.usd))
                };
                let (lowest, highest) =
                    (prices().fold(f64::INFINITY, f64::min), prices().fold(f64::NEG_INFINITY, f64::max));
                Some(highest / lowest - 1.0).filter(|spread| *spread > DISAGREEMENT)
            };
            let (of_others, of_all) = (spread(false), spread(true));
            feeds.values_mut().for_each(|answer| {
                answer.spread = if answer.is_anyones { of_all } else { of_others };
            });
        }
    }

    /// What an answer is in US dollars. `path` holds the currencies that are being turned into dollars already.
    fn worth(&self, at: At, answer: &Answer, path: &mut Vec<Address>) -> Result<Worth, NoPrice> {
        let ratio = answer.ratio?;
        let currency = match answer.quote {
            Quote::Usd => return Ok(Worth { usd: ratio, age_s: answer.age(), via: Vec::new() }),
            Quote::Unknown => return Err(NoPrice::QuoteUnknown),
            Quote::Token(currency) => currency,
        };
        if path.len() >= STEPS || path.contains(&currency) {
            return Err(NoPrice::QuoteUnpriced);
        }
        path.push(currency);
        let feeds = self.answers.get(&(at, currency)).into_iter().flatten();
        let mut seen_from_nowhere: Vec<_> = feeds
            .map(|(feed, answer)| (rank(seen_by_others(feed.0), answer.is_anyones), *feed, answer))
            .collect();
        seen_from_nowhere.sort_by_key(|(rank, feed, _)| (*rank, *feed));
        let best = seen_from_nowhere
            .into_iter()
            .find_map(|(_, feed, answer)| Some((feed, self.worth(at, answer, path).ok()?)));
        path.pop();
        let (feed, unit) = best.ok_or(NoPrice::QuoteUnpriced)?;
        let usd = Some(ratio * unit.usd).filter(|usd| usd.is_finite() && *usd > 0.0);
        Ok(Worth {
            usd: usd.ok_or(NoPrice::NotPositive)?,
            age_s: answer.age().max(unit.age_s),
            via: [vec![(currency, feed)], unit.via].concat(),
        })
    }

    /// The price of a token for a figure of a CSU that asked `own` at this block. Marks the answer as used, and those that
    /// turned its currency into dollars.
    ///
    /// # Errors
    /// [`NoPrice`]: what became of the answer that would have come first.
    pub fn select(&mut self, at: At, token: Address, own: &OwnFeeds) -> Result<Selected, NoPrice> {
        let own = own.of_token(token);
        let feeds = self.answers.get(&(at, token)).ok_or(NoPrice::NotAsked)?;
        let source_from_here = |feed: &Feed| if own.contains(feed) { feed.0 } else { seen_by_others(feed.0) };
        let mut candidates: Vec<(usize, bool, Feed)> = feeds
            .iter()
            .map(|(feed, answer)| {
                (rank(source_from_here(feed), answer.is_anyones), !own.contains(feed), *feed)
            })
            .collect();
        candidates.sort_unstable();
        let mut why = None;
        for (_, _, feed) in candidates {
            let Some(answer) = feeds.get(&feed) else { continue };
            match &answer.worth {
                Err(no_price) => why = why.or(Some(*no_price)),
                Ok(worth) => {
                    let selected = Selected {
                        usd: worth.usd,
                        source: source_from_here(&feed),
                        age_s: worth.age_s,
                        is_anyones: answer.is_anyones,
                        spread: answer.spread,
                    };
                    let used: Vec<(Address, Feed)> = [&[(token, feed)], worth.via.as_slice()].concat();
                    for (token, feed) in used {
                        if let Some(answer) =
                            self.answers.get_mut(&(at, token)).and_then(|feeds| feeds.get_mut(&feed))
                        {
                            answer.is_selected = true;
                        }
                    }
                    return Ok(selected);
                }
            }
        }
        Err(why.unwrap_or(NoPrice::NotAsked))
    }

    /// Why no figure finds a price of a token at a block; `None` when one would.
    pub fn why_not(&self, at: At, token: Address) -> Option<NoPrice> {
        let feeds: Vec<_> = self.answers.get(&(at, token)).into_iter().flatten().collect();
        if feeds.iter().any(|(_, answer)| answer.worth.is_ok()) {
            return None;
        }
        let first = feeds.into_iter().min_by_key(|(feed, answer)| (rank(feed.0, answer.is_anyones), **feed));
        Some(first.and_then(|(_, answer)| answer.worth.as_ref().err().copied()).unwrap_or(NoPrice::NotAsked))
    }

    /// The price of a token at the nearest block of the month that has one, by the rule seen from nowhere. It tells what
    /// is worth looking for; nothing is valued with it.
    pub fn nearby(&self, at: At, token: Address) -> Option<f64> {
        let of_token = |((other, of), feeds): (&(At, Address), &BTreeMap<Feed, Answer>)| {
            if *of != token {
                return None;
            }
            let priced = feeds.iter().filter_map(|(feed, answer)| {
                let rank = rank(seen_by_others(feed.0), answer.is_anyones);
                Some(((rank, *feed), answer.worth.as_ref().ok()?.usd))
            });
            let (_, usd) = priced.min_by_key(|(order, _)| *order)?;
            Some((other.block.abs_diff(at.block), other.block, usd))
        };
        let first = (At { chain_id: at.chain_id, block: 0 }, Address::ZERO);
        let last = (At { chain_id: at.chain_id, block: u64::MAX }, Address::repeat_byte(0xff));
        let found = self.answers.range(first..=last).filter_map(of_token);
        found.min_by_key(|(distance, block, _)| (*distance, *block)).map(|(_, _, usd)| usd)
    }

    /// One sentence for every contradiction between two objects.
    pub fn conflicts(&self) -> &[String] {
        &self.conflicts
    }

    /// The rows of the `price` table. Ask for them after every figure has selected its price.
    pub fn rows(&self) -> Vec<Price> {
        let mut rows = Vec::new();
        for ((at, token), feeds) in &self.answers {
            for ((source, asked), answer) in feeds {
                let worth = answer.worth.as_ref();
                let via = |worth: &Worth| {
                    let steps: Vec<String> =
                        worth.via.iter().map(|(_, (source, asked))| format!("{source}:{asked}")).collect();
                    Some(steps.join(";")).filter(|steps| !steps.is_empty())
                };
                rows.push(Price {
                    chain_id: i64::try_from(at.chain_id).unwrap_or(i64::MAX),
                    token: item(*token),
                    block_number: i64::try_from(at.block).unwrap_or(i64::MAX),
                    source: *source,
                    feed: asked.to_string(),
                    chain: answer.chain.clone(),
                    date: answer.date,
                    answer_raw: answer.raw.clone(),
                    answer_unit: answer.unit.map(|unit| unit.to_string()),
                    quote: answer.quote.to_string(),
                    via: worth.ok().and_then(via),
                    price_usd: worth.ok().map(|worth| worth.usd),
                    updated_at: answer.updated_at.map(Seconds),
                    age_s: answer.age(),
                    is_selected: answer.is_selected,
                    status: worth.map_or_else(|why| why.as_str(), |_| "ok").to_owned(),
                    flags: answer.flags(),
                    bronze_sha256: answer.sha256.clone(),
                });
            }
        }
        rows
    }
}

/// A protocol's oracle is another CSU's to all but its own.
fn seen_by_others(source: PriceSource) -> PriceSource {
    match source {
        PriceSource::ProtocolOracle => PriceSource::OtherCsuOracle,
        source => source,
    }
}

#[cfg(test)]
mod tests;
