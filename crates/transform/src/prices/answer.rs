//! One answer: what a source said, and what it is worth in the currency that it answers in.

use super::rule::HEARTBEATS;
use super::{Feed, NoPrice, Origin, spread_flag};
use lake::amount::{exact, ratio};
use lake::bronze::FillPrice;
use lake::day::Day;
use lake::status::PriceSource;
use lake::{Address, U256};
use protocols::oracle::defillama::{self, CoinPrice};
use protocols::{Missing, PriceAnswer, Quote};

/// What an answer is in US dollars.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Worth {
    /// US dollars per whole token, finite and positive.
    pub(super) usd: f64,
    /// Age of the oldest round that went into it.
    pub(super) age_s: Option<i64>,
    /// The currencies on the way to dollars, each with the feed that priced it.
    pub(super) via: Vec<(Address, Feed)>,
}

/// What a source said.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The answer as an integer; negative where a feed says so.
    pub(super) raw: Option<String>,
    pub(super) unit: Option<U256>,
    pub(super) quote: Quote,
    /// Time of the round, where the source tells and a column holds it.
    pub(super) updated_at: Option<i64>,
    block_time: i64,
    /// Whole units of the quote currency per whole token, finite and positive.
    pub(super) ratio: Result<f64, NoPrice>,
    /// In US dollars; set once all answers of the month are there.
    pub(super) worth: Result<Worth, NoPrice>,
    pub(super) spread: Option<f64>,
    pub(super) described_as: Option<String>,
    confidence: Option<f64>,
    /// Whether whoever created a market named this oracle.
    pub(super) is_anyones: bool,
    pub(super) is_selected: bool,
    pub(super) chain: String,
    pub(super) date: Day,
    pub(super) path: String,
    pub(super) sha256: String,
}

impl Answer {
    /// The answer of a contract, of which one is believed for two heartbeats where there is one.
    pub(super) fn of(answer: &PriceAnswer, origin: &Origin<'_>, heartbeat_s: Option<u32>) -> Self {
        let found = Self {
            raw: match &answer.raw {
                Ok(raw) => Some(raw.to_string()),
                Err(Missing::Negative { value, .. }) => Some(value.to_string()),
                Err(_) => None,
            },
            unit: answer.unit.as_ref().ok().copied(),
            quote: answer.quote,
            updated_at: answer.updated_at.and_then(seconds),
            block_time: i64::try_from(origin.block.timestamp).unwrap_or(i64::MAX),
            ratio: Err(NoPrice::NotAsked),
            worth: Err(NoPrice::NotAsked),
            spread: None,
            described_as: None,
            confidence: None,
            is_anyones: origin.is_anyones && answer.source == PriceSource::ProtocolOracle,
            is_selected: false,
            chain: origin.chain.to_owned(),
            date: origin.date,
            path: origin.path.to_owned(),
            sha256: origin.sha256.to_owned(),
        };
        let limit = heartbeat_s.map(|heartbeat| HEARTBEATS * i64::from(heartbeat));
        let is_stale = limit.zip(found.age()).is_some_and(|(limit, age)| age > limit);
        let ratio = match (&answer.raw, &answer.unit) {
            (Err(Missing::Negative { .. }), Ok(_)) => Err(NoPrice::NotPositive),
            (Ok(raw), Ok(unit)) => positive(*raw, *unit),
            _ => Err(NoPrice::CallFailed),
        };
        Self {
            ratio: ratio.and_then(|ratio| if is_stale { Err(NoPrice::Stale) } else { Ok(ratio) }),
            ..found
        }
    }

    /// The answer of an off-chain service.
    pub(super) fn off_chain(price: &FillPrice, date: Day, path: &str, sha256: &str) -> Self {
        let read = defillama::read_answer(&price.answer).ok();
        let digits = read.as_ref().and_then(|coin| exact(&coin.price));
        let unit = digits.map(|(_, decimals)| U256::from(10).pow(U256::from(decimals)));
        let of = |coin: &CoinPrice| seconds(coin.timestamp);
        let found = Self {
            raw: digits.map(|(raw, _)| raw.to_string()),
            unit,
            quote: Quote::Usd,
            updated_at: read.as_ref().and_then(of),
            block_time: i64::try_from(price.timestamp).unwrap_or(i64::MAX),
            ratio: Err(NoPrice::CallFailed),
            worth: Err(NoPrice::NotAsked),
            spread: None,
            described_as: None,
            confidence: read.and_then(|coin| coin.confidence).filter(|confidence| confidence.is_finite()),
            is_anyones: false,
            is_selected: false,
            chain: price.chain.clone(),
            date,
            path: path.to_owned(),
            sha256: sha256.to_owned(),
        };
        let ratio = match (digits.zip(unit), found.age()) {
            (None, _) | (_, None) => Err(NoPrice::CallFailed),
            (Some(_), Some(age)) if age.saturating_abs() > defillama::REACH_S => Err(NoPrice::Stale),
            (Some(((raw, _), unit)), Some(_)) => positive(raw, unit),
        };
        Self { ratio, ..found }
    }

    /// Block time minus the time of the round.
    pub(super) fn age(&self) -> Option<i64> {
        self.updated_at.map(|updated_at| self.block_time.saturating_sub(updated_at))
    }

    /// What two objects must agree on.
    pub(super) fn says(&self) -> (Option<&String>, Option<U256>, Quote, Option<i64>) {
        (self.raw.as_ref(), self.unit, self.quote, self.updated_at)
    }

    pub(super) fn in_words(&self) -> String {
        match (&self.raw, self.unit) {
            (Some(raw), Some(unit)) => format!("{raw} / {unit} {}", self.quote),
            _ => NoPrice::CallFailed.as_str().to_owned(),
        }
    }

    pub(super) fn flags(&self) -> String {
        let spread = self.spread.filter(|_| self.worth.is_ok()).map(spread_flag);
        let described_as = self.described_as.as_ref().map(|said| format!("described_as:{said}"));
        let confidence = self.confidence.map(|confidence| format!("confidence:{confidence}"));
        let of_market = self.is_anyones.then(|| "market_oracle".to_owned());
        let flags: Vec<String> =
            of_market.into_iter().chain(spread).chain(described_as).chain(confidence).collect();
        flags.join(";")
    }
}

/// Seconds that a column holds; others are no time.
fn seconds(time: u64) -> Option<i64> {
    i64::try_from(time).ok().filter(|time| *time < 1 << 40)
}

fn positive(raw: U256, unit: U256) -> Result<f64, NoPrice> {
    if raw.is_zero() {
        return Err(NoPrice::NotPositive);
    }
    ratio(raw, unit).filter(|ratio| ratio.is_finite() && *ratio > 0.0).ok_or(NoPrice::NotPositive)
}
