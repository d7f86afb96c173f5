//! What rests on the word of an endpoint that was caught is collected again.

use super::{Collector, OpenChain, Unit};
use crate::ledger::{self, Outcome};
use crate::rpc::tally::Purpose;
use crate::rpc::trust::Distrust;
use lake::bronze::DayBlocks;
use lake::day::Day;
use lake::path::BronzeKey;
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
            let mut doubtful = self.resting_on(&caught, outcomes).await;
            let mut doubtful_books = self.price_books_resting_on(open.chain, &caught).await;
            let labels = caught.iter().map(|(label, _)| label.as_str()).collect();
            let unlisted = self.forget_histories_from(units, &labels).await;
            let of_unlisted = outcomes
                .iter()
                .filter(|outcome| outcome.status == Status::Collected && unlisted.contains(&outcome.csu));
            doubtful.extend(of_unlisted.map(task_of));
            if caught.iter().any(|(_, of)| *of == Distrust::Everything) {
                let unproven = self.without_proven_blocks(open).await;
                for date in &unproven {
                    self.delete(&BronzeKey::Blocks { chain: open.chain.name.clone(), date: *date }).await;
                }
                open.boundaries.forget();
                let is_tried = |outcome: &&Outcome| outcome.status == Status::Collected || !outcome.is_done();
                let of_them =
                    outcomes.iter().filter(is_tried).filter(|outcome| unproven.contains(&outcome.date));
                doubtful.extend(of_them.map(task_of));
                doubtful_books.extend(unproven);
            }
            if doubtful.is_empty() && doubtful_books.is_empty() {
                continue;
            }
            for date in &doubtful_books {
                self.delete(&BronzeKey::Prices { chain: open.chain.name.clone(), date: *date }).await;
            }
            for (csu, date, dataset) in &doubtful {
                self.delete(&BronzeKey::of(*dataset, csu, *date)).await;
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

    async fn delete(&self, key: &BronzeKey) {
        if let Err(error) = self.lake.delete(&key.path()).await {
            tracing::warn!("{error}");
        }
    }

    /// Days of the run whose blocks were found by headers that those who are still trusted do not give so: who gave a header
    /// is kept nowhere, so all are asked for again.
    async fn without_proven_blocks(&self, open: &OpenChain<'_>) -> BTreeSet<Day> {
        let mut unproven = BTreeSet::new();
        for window in self.run.windows() {
            let Ok(Some(blocks)) = self.stored_blocks(open.chain, window).await else { continue };
            let DayBlocks { before, first, last, after, .. } = blocks;
            for header in [before, first, last, Some(after)].into_iter().flatten() {
                if open.pool.header(Purpose::Boundary, header.number).await.ok() != Some(header) {
                    unproven.insert(window.day);
                    break;
                }
            }
        }
        unproven
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
                    let entry = ledger::entry(self.lake, outcome.dataset, &outcome.csu, outcome.date).await;
                    let Ok(Some(entry)) = entry else { continue };
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
                doubtful.insert(task_of(outcome));
            }
        }
        doubtful
    }
}

fn task_of(outcome: &Outcome) -> (String, Day, Dataset) {
    (outcome.csu.clone(), outcome.date, outcome.dataset)
}
