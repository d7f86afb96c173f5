//! Filling gaps: prices that silver lacks, asked of an off-chain service, and kept apart from those of the chain.
//!
//! Only what `transform run` listed is asked for (`checks/silver/missing_prices/`). What the service answered goes into
//! `bronze/fills/<service>/<date>.json` in its own words, and stays: a later fill adds, and changes nothing. Every figure
//! that is then made with such a price says so.

use crate::plan::{right, with_separators};
use crate::rpc::secret::{Scrubber, SecretUrl};
use crate::rpc::wire;
use backon::{ExponentialBuilder, Retryable};
use comfy_table::{Cell, Table, presets};
use governor::{Quota, RateLimiter};
use lake::Lake;
use lake::bronze::{BronzeError, Fill, FillPrice, Record};
use lake::day::Day;
use lake::missing::{MissingPrice, MissingPrices};
use lake::path::{BronzeKey, missing_prices};
use lake::registry::Registry;
use lake::run::Run;
use lake::store::StoreError;
use protocols::oracle::defillama;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::time::Duration;

/// Where DefiLlama's free service is.
pub const DEFILLAMA: &str = "https://coins.llama.fi";
/// Coins asked for in one request: an address line stays under 8,000 bytes.
const COINS_PER_REQUEST: usize = 100;
/// Longest response that is read, bytes.
const LONGEST_RESPONSE: usize = 4 << 20;
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Times that a request is made again after a refusal that may pass.
const AGAIN: usize = 4;

/// Why nothing could be filled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FillError {
    /// The lake cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such service.
    #[error("no off-chain source is called `{asked}`\nhint: this build knows {}", defillama::SERVICE)]
    UnknownSource {
        /// What was asked for.
        asked: String,
    },
    /// The base URL is none. It is not repeated: it may hold a key.
    #[error("--base-url is no http or https URL\nhint: leave it out for {DEFILLAMA}")]
    BadUrl,
    /// The base URL is plain HTTP to another machine. It is not repeated: it may hold a key.
    #[error(
        "--base-url is plain http to another machine: whoever is on the way can read it\nhint: use https"
    )]
    OpenUrl,
    /// Silver of a month was not built, so nobody knows what it lacks.
    #[error(
        "there is no {path} in the lake at {location}\nhint: transform run builds the month and writes it"
    )]
    NotBuilt {
        /// Path of the list.
        path: String,
        /// The lake.
        location: String,
    },
    /// An object of the lake is not what it should be.
    #[error("{path} cannot be used: {why}\nhint: look at it, move it out of the lake and run again")]
    BadObject {
        /// Its path.
        path: String,
        /// Why not.
        why: String,
    },
    /// What was filled contradicts itself.
    #[error("cannot write {path}: {source}")]
    Unwritable {
        /// Path of the fill.
        path: String,
        /// What is wrong.
        source: BronzeError,
    },
    /// The HTTP client could not be made.
    #[error(transparent)]
    Client(#[from] wire::ClientError),
}

/// What is needed to fill gaps.
pub struct Filler<'a> {
    /// The run.
    pub run: &'a Run,
    /// Its lake.
    pub lake: &'a Lake,
    /// Name of the service.
    pub source: &'a str,
    /// Where it is. May hold a key.
    pub base_url: SecretUrl,
    /// Requests a second, at most.
    pub pace: NonZeroU32,
}

/// What became of the gaps.
#[derive(Debug, Default, Serialize)]
pub struct Filled {
    /// Service.
    pub source: String,
    /// Prices that the run lacks, by the list.
    pub missing: usize,
    /// Of these, prices that the lake has from an earlier fill: `transform run` was not run since.
    pub there_already: usize,
    /// Prices that were added.
    pub added: usize,
    /// Requests sent, those sent again included.
    pub requests: u64,
    /// Prices that are still missing, by reason.
    pub left: BTreeMap<String, Vec<Left>>,
}

/// A price that is still missing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Left {
    /// Chain.
    pub chain: String,
    /// Token.
    pub token: String,
    /// Symbol, as the contract gives it.
    pub symbol: Option<String>,
    /// Day.
    pub date: Day,
    /// Block.
    pub block: u64,
}

impl Left {
    fn of(missing: &MissingPrice) -> Self {
        Self {
            chain: missing.chain.clone(),
            token: protocols::token::item(missing.token),
            symbol: missing.symbol.clone(),
            date: missing.date,
            block: missing.block,
        }
    }
}

impl Filler<'_> {
    /// Asks for what the run lacks, and keeps what the service answered, day by day.
    ///
    /// # Errors
    /// [`FillError`]. A refused request is none: what it was for is left, with the reason.
    pub async fn fill(&self) -> Result<Filled, FillError> {
        if self.source != defillama::SERVICE {
            return Err(FillError::UnknownSource { asked: self.source.to_owned() });
        }
        let service = Service::open(&self.base_url, self.pace)?;
        let mut filled = Filled { source: self.source.to_owned(), ..Filled::default() };
        let mut by_day: BTreeMap<Day, Vec<MissingPrice>> = BTreeMap::new();
        for missing in self.missing().await? {
            filled.missing += 1;
            by_day.entry(missing.date).or_default().push(missing);
        }
        for (date, missing) in by_day {
            let key = BronzeKey::Fill { source: self.source.to_owned(), date };
            let there = self.stored(&key).await?;
            let is_there = |one: &MissingPrice| {
                there.prices.iter().any(|price| {
                    (&price.chain, price.block, price.token) == (&one.chain, one.block, one.token)
                })
            };
            let (known, unknown): (Vec<_>, Vec<_>) = missing.into_iter().partition(is_there);
            filled.there_already += known.len();
            let found = self.ask(&service, &unknown, &mut filled).await;
            if found.is_empty() {
                continue;
            }
            filled.added += found.len();
            let fill = there.with(found);
            let path = key.path();
            let bytes =
                fill.to_bytes().map_err(|source| FillError::Unwritable { path: path.to_string(), source })?;
            self.lake.replace(&path, bytes).await?;
        }
        filled.requests = service.sent.into_inner();
        Ok(filled)
    }

    /// What silver lacks of the run's days and CSUs.
    async fn missing(&self) -> Result<Vec<MissingPrice>, FillError> {
        let months: BTreeSet<String> = self.run.days.days().map(Day::month).collect();
        let days: BTreeSet<Day> = self.run.days.days().collect();
        let mut all = Vec::new();
        for month in months {
            let path = missing_prices(&month);
            let Some(bytes) = self.lake.get(&path).await? else {
                let location = self.lake.location().to_owned();
                return Err(FillError::NotBuilt { path: path.to_string(), location });
            };
            let list: MissingPrices = serde_json::from_slice(&bytes)
                .map_err(|error| FillError::BadObject { path: path.to_string(), why: error.to_string() })?;
            all.extend(list.missing);
        }
        let is_of_run = |one: &MissingPrice| {
            days.contains(&one.date) && one.csus.iter().any(|csu| self.run.csus.contains(csu))
        };
        all.retain(is_of_run);
        Ok(all)
    }

    /// The fill that is there, or an empty one.
    async fn stored(&self, key: &BronzeKey) -> Result<Fill, FillError> {
        let path = key.path();
        let bad = |why: String| FillError::BadObject { path: path.to_string(), why };
        let zone = self.run.zone.name().to_owned();
        let Some(bytes) = self.lake.get(&path).await? else {
            return Ok(Fill { source: self.source.to_owned(), date: key.date(), zone, prices: Vec::new() });
        };
        let fill = Fill::from_bytes(&bytes).map_err(|error| bad(error.to_string()))?;
        if (fill.source.as_str(), fill.date, &fill.zone) != (self.source, key.date(), &zone) {
            return Err(
                bad("it is of another source, day or time zone than its path and the run say".into()),
            );
        }
        Ok(fill)
    }

    /// The prices that the service has of these; the rest is left, with the reason.
    async fn ask(&self, service: &Service, missing: &[MissingPrice], filled: &mut Filled) -> Vec<FillPrice> {
        let mut by_time: BTreeMap<u64, Vec<(String, &MissingPrice)>> = BTreeMap::new();
        let mut leave = |why: &str, one: &MissingPrice| {
            filled.left.entry(why.to_owned()).or_default().push(Left::of(one));
        };
        for one in missing {
            match coin(&self.run.registry, one) {
                Some(coin) => by_time.entry(one.timestamp).or_default().push((coin, one)),
                None => leave(&format!("fills.toml has no name of {} at {}", one.chain, self.source), one),
            }
        }
        let mut found = Vec::new();
        for (timestamp, asked) in by_time {
            for batch in asked.chunks(COINS_PER_REQUEST) {
                // Two CSUs' tokens, or a native coin and its wrapped token, may be one coin.
                let coins: BTreeSet<&str> = batch.iter().map(|(coin, _)| coin.as_str()).collect();
                let coins: Vec<String> = coins.into_iter().map(str::to_owned).collect();
                match service.answers(timestamp, &coins).await {
                    Err(why) => batch.iter().for_each(|(_, one)| leave(&why, one)),
                    Ok(answers) => {
                        for (coin, one) in batch {
                            match answers.get(coin) {
                                None => leave(&format!("{} has no price", self.source), one),
                                Some(answer) if !is_price(answer, timestamp) => {
                                    leave(&format!("{} has a price that is none", self.source), one);
                                }
                                Some(answer) => found.push(FillPrice {
                                    chain: one.chain.clone(),
                                    block: one.block,
                                    token: one.token,
                                    timestamp,
                                    coin: coin.clone(),
                                    answer: answer.clone(),
                                }),
                            }
                        }
                    }
                }
            }
        }
        found
    }
}

/// The token in the service's words, if it knows the chain.
fn coin(registry: &Registry, missing: &MissingPrice) -> Option<String> {
    let name = registry.name_at_service(defillama::SERVICE, &missing.chain)?;
    let wrapped = registry.chain(&missing.chain).and_then(|chain| chain.wrapped_native);
    Some(defillama::coin(name, missing.token, wrapped))
}

/// Whether an answer is a positive price near enough to the time. One that is not is not kept, since what is kept is never
/// asked again.
fn is_price(answer: &str, timestamp: u64) -> bool {
    let Ok(coin) = defillama::read_answer(answer) else { return false };
    let is_near =
        i64::try_from(coin.timestamp.abs_diff(timestamp)).is_ok_and(|off| off <= defillama::REACH_S);
    let is_positive = lake::amount::exact(&coin.price).is_some_and(|(digits, _)| !digits.is_zero());
    is_near && is_positive
}

/// The service, asked no faster than it was agreed.
struct Service {
    client: reqwest::Client,
    base: SecretUrl,
    scrubber: Scrubber,
    pace: governor::DefaultDirectRateLimiter,
    sent: std::sync::atomic::AtomicU64,
}

/// Why a request had no answer, and whether another one might.
struct Refused {
    why: String,
    may_pass: bool,
}

impl Service {
    fn open(base: &SecretUrl, pace: NonZeroU32) -> Result<Self, FillError> {
        let url = url::Url::parse(base.expose()).map_err(|_| FillError::BadUrl)?;
        if !["http", "https"].contains(&url.scheme()) || url.host().is_none() {
            return Err(FillError::BadUrl);
        }
        if base.is_open_to_others() {
            return Err(FillError::OpenUrl);
        }
        Ok(Self {
            client: wire::http_client()?,
            base: SecretUrl::new(base.expose().trim_end_matches('/')),
            scrubber: Scrubber::new(base, []),
            // One after the other, without a burst at the beginning.
            pace: RateLimiter::direct(Quota::per_second(pace).allow_burst(NonZeroU32::MIN)),
            sent: Default::default(),
        })
    }

    /// The answers for coins at a time, by coin.
    async fn answers(&self, timestamp: u64, coins: &[String]) -> Result<BTreeMap<String, String>, String> {
        let path = defillama::path(timestamp, coins);
        let text = (|| self.get(&path))
            .retry(
                ExponentialBuilder::default()
                    .with_min_delay(Duration::from_millis(500))
                    .with_max_times(AGAIN),
            )
            .when(|refused| refused.may_pass)
            .await
            .map_err(|refused| refused.why)?;
        defillama::read_response(&text).map_err(|error| self.scrubber.clean(&error.to_string()))
    }

    async fn get(&self, path: &str) -> Result<String, Refused> {
        while let Err(too_soon) = self.pace.check() {
            use governor::clock::{Clock as _, DefaultClock};
            tokio::time::sleep(too_soon.wait_time_from(DefaultClock::default().now())).await;
        }
        self.sent.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let failed = |error: reqwest::Error| {
            let kind = if error.is_timeout() { "took too long" } else { "could not be reached" };
            let why = self.scrubber.clean(&error.without_url().to_string());
            Refused { why: format!("{} {kind}: {why}", defillama::SERVICE), may_pass: true }
        };
        let url = format!("{}{path}", self.base.expose());
        let mut response = self.client.get(url).timeout(PATIENCE).send().await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            let may_pass = status.as_u16() == 429 || status.is_server_error();
            return Err(Refused {
                why: format!("{} answered {}", defillama::SERVICE, status.as_u16()),
                may_pass,
            });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_RESPONSE {
                let why = format!("{} answered more than {LONGEST_RESPONSE} bytes", defillama::SERVICE);
                return Err(Refused { why, may_pass: false });
            }
        }
        String::from_utf8(body).map_err(|_| Refused {
            why: format!("{} answered what is no text", defillama::SERVICE),
            may_pass: false,
        })
    }
}

impl Filled {
    /// Whether nothing is missing any more.
    pub fn is_complete(&self) -> bool {
        self.left.is_empty()
    }

    /// The outcome in words.
    pub fn in_words(&self) -> String {
        let mut text = format!(
            "{} prices were missing; {} added from {}, {} there already; {} requests\n",
            with_separators(self.missing as u64),
            with_separators(self.added as u64),
            self.source,
            with_separators(self.there_already as u64),
            with_separators(self.requests)
        );
        if self.added + self.there_already > 0 {
            text.push_str("hint: transform run builds silver anew with them; figures made with them are flagged off_chain_price\n");
        }
        if self.left.is_empty() {
            return text;
        }
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
            "still missing",
            "chain",
            "token",
            "symbol",
            "blocks",
            "days",
        ]);
        for (why, left) in &self.left {
            let mut by_token: BTreeMap<(&str, &str), Vec<&Left>> = BTreeMap::new();
            for one in left {
                by_token.entry((&one.chain, &one.token)).or_default().push(one);
            }
            for ((chain, token), blocks) in by_token {
                let symbol = blocks.iter().find_map(|one| one.symbol.as_deref()).unwrap_or("-");
                let days: BTreeSet<Day> = blocks.iter().map(|one| one.date).collect();
                table.add_row([
                    Cell::new(why),
                    Cell::new(chain),
                    Cell::new(token),
                    Cell::new(symbol),
                    right(blocks.len()),
                    right(days.len()),
                ]);
            }
        }
        let _ = writeln!(text, "{table}");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_price_is_kept() {
        for (answer, is_one) in [
            ("{\"price\":1.5,\"timestamp\":1000000}", true),
            ("{\"price\":1.5,\"timestamp\":1021600}", true),
            ("{\"price\":1.5,\"timestamp\":1021601}", false),
            ("{\"price\":0,\"timestamp\":1000000}", false),
            ("{\"price\":-1,\"timestamp\":1000000}", false),
            ("{\"price\":null,\"timestamp\":1000000}", false),
            ("{}", false),
        ] {
            assert_eq!(is_price(answer, 1_000_000), is_one, "{answer}");
        }
    }

    #[test]
    fn a_base_url_is_never_told() {
        let open = |url: &str| Service::open(&SecretUrl::new(url), NonZeroU32::MIN);
        open("https://pro-api.example/0123456789abcdef/coins/").unwrap();
        for url in ["", "coins.llama.fi", "ftp://example/0123456789abcdef", "https://"] {
            let Err(error) = open(url) else { panic!("{url} was taken") };
            assert!(!error.to_string().contains("0123456789abcdef"), "{error}");
        }
    }
}
