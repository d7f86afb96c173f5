//! What rests on the word of an endpoint that was caught is collected again.

use super::{Collector, OpenChain, Unit};
use crate::ledger::Outcome;
use crate::rpc::trust::Distrust;
use lake::day::Day;
use lake::ledger::LedgerEntry;
use lake::path::{self, BronzeKey};
use lake::status::{Dataset, Status};
use std::collections::BTreeSet;

impl<'a> Collector<'a> {
    /// Collects again, without the endpoints that were caught, what rests on their answers: days of this run whose objects
    /// were written before, by this or by an earlier run.
    pub(super) async fn again_without_the_caught(
        &self,
        open: &OpenChain<'_>,
        units: &[Unit<'a>],
        outcomes: &mut Vec<Outcome>,
    ) {
        let mut known: BTreeSet<(String, Distrust)> = BTreeSet::new();
        loop {
            let caught = open.pool.distrusted().into_iter().map(|caught| (caught.refusal.label, caught.of));
            let caught: BTreeSet<(String, Distrust)> =
                caught.filter(|caught| !known.contains(caught)).collect();
            if caught.is_empty() {
                return;
            }
            known.extend(caught.iter().cloned());
            let doubtful = self.resting_on(&caught, outcomes).await;
            let doubtful_books = self.price_books_resting_on(open.chain, &caught).await;
            if doubtful.is_empty() && doubtful_books.is_empty() {
                continue;
            }
            for date in &doubtful_books {
                let key = BronzeKey::Prices { chain: open.chain.name.clone(), date: *date };
                if let Err(error) = self.lake.delete(&key.path()).await {
                    tracing::warn!("{error}");
                }
            }
            for (csu, date, dataset) in &doubtful {
                let path = BronzeKey::of(*dataset, csu, *date).path();
                if let Err(error) = self.lake.delete(&path).await {
                    tracing::warn!("{error}");
                }
            }
            let is_doubtful =
                |csu: &str, date: Day, set: Dataset| doubtful.contains(&(csu.to_owned(), date, set));
            let (mut days, _) = self.open_days(open.chain, units).await;
            for day in &mut days {
                let date = day.window.day;
                day.tasks.retain(|(unit, set)| is_doubtful(&unit.csu.id, date, *set));
                day.awaiting_blocks.clear();
                day.wants_prices &= doubtful_books.contains(&date);
            }
            days.retain(|day| !day.tasks.is_empty() || day.wants_prices);
            outcomes.retain(|outcome| !is_doubtful(&outcome.csu, outcome.date, outcome.dataset));
            outcomes.extend(self.days(open, units, days).await.outcomes);
        }
    }

    /// Collected tasks that rest on what these endpoints are not believed, as this run knows or the ledger remembers.
    async fn resting_on(
        &self,
        caught: &BTreeSet<(String, Distrust)>,
        outcomes: &[Outcome],
    ) -> BTreeSet<(String, Day, Dataset)> {
        let mut doubtful = BTreeSet::new();
        for outcome in outcomes.iter().filter(|outcome| outcome.status == Status::Collected) {
            let (rests_on, logs_from) = match &outcome.effort {
                Some(effort) => (effort.endpoints.clone(), effort.logs_from.clone()),
                None => {
                    let path = path::ledger_entry(outcome.dataset, &outcome.csu, outcome.date);
                    let Ok(Some(bytes)) = self.lake.get(&path).await else { continue };
                    let Ok(entry) = serde_json::from_slice::<LedgerEntry>(&bytes) else { continue };
                    // The ledger does not say who gave the logs and who the reads: it may have been any of them.
                    let all: BTreeSet<String> = entry.endpoints.into_iter().collect();
                    (all.clone(), all)
                }
            };
            let is_doubtful = |(label, of): &(String, Distrust)| match (of, outcome.dataset) {
                (Distrust::Everything, _) => rests_on.contains(label),
                (Distrust::Logs, Dataset::Liquidations) => logs_from.contains(label),
                (Distrust::Logs, Dataset::Tvl) => false,
            };
            if caught.iter().any(is_doubtful) {
                doubtful.insert((outcome.csu.clone(), outcome.date, outcome.dataset));
            }
        }
        doubtful
    }
}
