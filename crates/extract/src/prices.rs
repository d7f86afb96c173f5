//! The chain's price book: its Chainlink feeds at the day's last block, one object for all CSUs of the chain; and the
//! feeds that are asked at the block of a liquidation, with the family's own reads.
//!
//! A missing price book makes no CSU-day unfinished: prices may come from elsewhere. It is told, and tried again.

use crate::collect::{Collector, DayWork, Unit, bad_object, effort_of};
use crate::ledger::{Effort, Failure};
use crate::rpc::tally::Purpose;
use crate::rpc::trust::Distrust;
use lake::bronze::{PriceBook, RawLog, ReadsAtBlock, Record};
use lake::day::{Day, DayWindow};
use lake::ledger::PriceBookEntry;
use lake::path::{BronzeKey, prices_ledger};
use lake::registry::{Chain, Feed};
use lake::status::{Reason, Status};
use protocols::oracle::chainlink;
use protocols::token::item;
use protocols::{Answers, Call, Layout};
use std::collections::BTreeSet;
use std::sync::PoisonError;

/// Calls that read one feed.
pub(crate) const CALLS_PER_FEED: usize = 3;

impl Collector<'_> {
    /// Whether the chain has feeds, and the lake no price book of the day. One that cannot be used is not tried again:
    /// it stays until a person has looked at it.
    pub(crate) async fn lacks_price_book(&self, chain: &Chain, window: DayWindow) -> bool {
        let has_feeds = self.run.registry.feeds(&chain.name).next().is_some();
        let is_anew = self.schedule.choice().forces(window.day);
        has_feeds && (is_anew || matches!(self.stored_price_book(chain, window).await, Ok(None)))
    }

    async fn stored_price_book(
        &self,
        chain: &Chain,
        window: DayWindow,
    ) -> Result<Option<PriceBook>, Failure> {
        let key = BronzeKey::Prices { chain: chain.name.clone(), date: window.day };
        let Some(bytes) = self.lake.get(&key.path()).await? else { return Ok(None) };
        let book = PriceBook::from_bytes(&bytes).map_err(|error| bad_object(&key, &error.to_string()))?;
        if book.day != self.day_of_chain(chain, window) {
            let why = "it is of another chain, day or time zone than its path and the run say";
            return Err(bad_object(&key, why));
        }
        Ok(Some(book))
    }

    /// What a person should know of the price books that are there: those that cannot be used, and those that were
    /// collected before the registry listed a feed.
    pub(crate) async fn price_book_warnings(&self, chain: &Chain) -> Vec<String> {
        let feeds: Vec<_> = self.run.registry.feeds(&chain.name).collect();
        let (mut warnings, mut without, mut missing) = (Vec::new(), 0, BTreeSet::new());
        for window in self.run.windows().filter(|_| !feeds.is_empty()) {
            match self.stored_price_book(chain, window).await {
                Ok(None) => {}
                Ok(Some(book)) => {
                    let answers = Answers::new(&book.reads.calls);
                    let lacks = |feed: &&&Feed| !answers.asked(chainlink::ROUND, &item(feed.address));
                    let lacking: Vec<&str> =
                        feeds.iter().filter(lacks).map(|feed| feed.description.as_str()).collect();
                    without += usize::from(!lacking.is_empty());
                    missing.extend(lacking);
                }
                Err(failure) => warnings.push(failure.message),
            }
        }
        if without > 0 {
            let names: Vec<&str> = missing.into_iter().collect();
            warnings.push(format!(
                "{without} price books of {} were collected before the registry listed {}\nhint: delete bronze/prices/{}/<date>.json and run again to have the feeds on those days, too",
                chain.name,
                names.join(", "),
                chain.name
            ));
        }
        warnings
    }

    /// Collects the price book of a day, and tells what became of it.
    pub(crate) async fn price_book(&self, work: &DayWork<'_>) {
        let reader = work.open.reader();
        let key = BronzeKey::Prices { chain: work.day.chain.clone(), date: work.day.date };
        let feeds = self.run.registry.feeds(&work.day.chain);
        let calls: Vec<Call> = feeds.flat_map(|feed| chainlink::calls(feed.address)).collect();
        let mut effort = Effort { calls_planned: calls.len() as u64, ..Effort::default() };
        let written = match reader.read(Purpose::Snapshot, calls, work.last.number).await {
            Err(error) => Err(Failure::from(&error)),
            Ok(calls) => {
                let reads = ReadsAtBlock { block: work.last, calls };
                effort = effort_of(&[&reads]);
                if effort.calls_ok == 0 {
                    // A node without the state of that block answers with nothing to everything.
                    let why = format!("no feed answered at block {}", work.last.number);
                    Err(Failure::new(Reason::CallFailed, why))
                } else {
                    self.write(&key, &PriceBook { day: work.day.clone(), reads }).await
                }
            }
        };
        effort.endpoints = reader.labels();
        if let Err(failure) = &written {
            let warning = format!("{} {}: no price book: {}", work.day.chain, work.day.date, failure.message);
            work.open.without_prices.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
        }
        if let Err(error) = self.record_price_book(work, effort, written.err()).await {
            tracing::warn!("{error}");
        }
    }

    async fn record_price_book(
        &self,
        work: &DayWork<'_>,
        effort: Effort,
        failure: Option<Failure>,
    ) -> Result<(), lake::store::StoreError> {
        let path = prices_ledger(&work.day.chain, work.day.date);
        let earlier = self.price_book_entry(&work.day.chain, work.day.date).await;
        let (status, reason, message) = match failure {
            None => (Status::Collected, None, String::new()),
            Some(Failure { status, reason, message }) => (status, Some(reason), message),
        };
        let entry = PriceBookEntry {
            chain: work.day.chain.clone(),
            date: work.day.date,
            status,
            reason,
            message,
            attempts: earlier.map_or(1, |entry| entry.attempts.saturating_add(1)),
            calls_planned: effort.calls_planned,
            calls_ok: effort.calls_ok,
            endpoints: effort.endpoints.into_iter().collect(),
            last_try_at: jiff::Timestamp::now().to_string(),
        };
        self.lake.replace_json(&path, &entry).await
    }

    /// The ledger is a memory: an entry that cannot be read is none.
    async fn price_book_entry(&self, chain: &str, date: Day) -> Option<PriceBookEntry> {
        let bytes = self.lake.get(&prices_ledger(chain, date)).await.ok().flatten()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Days of the run whose price books rest on the word of these endpoints: of those that are not believed anything, since a
    /// price book holds answers of contracts and no logs.
    pub(crate) async fn price_books_resting_on(
        &self,
        chain: &Chain,
        caught: &BTreeSet<(String, Distrust)>,
    ) -> BTreeSet<Day> {
        let mut doubtful = BTreeSet::new();
        if self.run.registry.feeds(&chain.name).next().is_none() {
            return doubtful;
        }
        for date in self.run.days.days() {
            let Some(entry) = self.price_book_entry(&chain.name, date).await else { continue };
            let is_theirs =
                entry.endpoints.iter().any(|label| caught.contains(&(label.clone(), Distrust::Everything)));
            if entry.status == Status::Collected && is_theirs {
                doubtful.insert(date);
            }
        }
        doubtful
    }

    /// The calls at the block of a liquidation: the family's own, and in the same batch the feeds that price its tokens.
    /// Where the protocol has an oracle they are a second source; where it has none (Fluid) they are the only one.
    pub(crate) fn event_calls(
        &self,
        work: &DayWork<'_>,
        unit: Unit<'_>,
        layout: &Layout,
        logs: &[&RawLog],
    ) -> Vec<Call> {
        let mut calls = unit.family.event_reads(unit.csu, layout, logs);
        let tokens = chainlink::tokens_of(&calls);
        for feed in self.run.registry.feeds_for(&work.day.chain, &tokens) {
            // A family may have asked the feed itself.
            let asked =
                |call: &Call| calls.iter().any(|other| (&other.key, &other.item) == (&call.key, &call.item));
            let new: Vec<Call> =
                chainlink::calls(feed.address).into_iter().filter(|call| !asked(call)).collect();
            calls.extend(new);
        }
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_takes_three_calls() {
        assert_eq!(chainlink::calls(lake::Address::ZERO).len(), CALLS_PER_FEED);
    }
}
