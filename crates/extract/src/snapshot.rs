//! The snapshot of a day: every view call of all CSUs of a chain, at the day's last block.

use crate::collect::{Collector, DayWork, LayoutHistory, Unit, collected, csu_of_day, effort_of};
use crate::discovery::{confirm, discover, remember};
use crate::ledger::{Effort, Failure, Outcome};
use crate::reads::Reader;
use crate::rpc::tally::Purpose;
use lake::bronze::{RawLog, ReadsAtBlock, TvlSnapshot};
use lake::path::{self, BronzeKey};
use lake::status::Dataset;
use protocols::{Call, Layout};
use std::collections::BTreeMap;

impl<'a> Collector<'a> {
    /// One batch of view calls for all the CSUs, at the snapshot block.
    pub(crate) async fn snapshots(
        &self,
        work: &DayWork<'_>,
        units: &[Unit<'a>],
        layouts: &mut BTreeMap<&'a str, LayoutHistory>,
        confirmed: &mut BTreeMap<&'a str, Layout>,
    ) -> Vec<Outcome> {
        let reader = work.open.reader();
        let mut outcomes = Vec::new();
        let unfinished = |unit: &Unit<'_>, failure: &Failure| {
            Outcome::unfinished(&unit.csu.id, work.day.date, Dataset::Tvl, failure, Effort::default())
        };
        let mut planned: Vec<(Unit<'a>, Layout, Vec<RawLog>, Vec<Call>)> = Vec::new();
        for unit in units {
            match self.layout_for(work, &reader, *unit, layouts).await {
                Ok((layout, history)) => {
                    let calls = unit.family.snapshot(unit.csu, &layout);
                    planned.push((*unit, layout, history, calls));
                }
                Err(failure) => outcomes.push(unfinished(unit, &failure)),
            }
        }
        let all_calls = planned.iter().flat_map(|(_, _, _, calls)| calls.iter().cloned()).collect();
        let mut answers = match reader.read(Purpose::Snapshot, all_calls, work.last.number).await {
            Ok(answers) => answers.into_iter(),
            Err(error) => {
                let failure = Failure::from(&error);
                outcomes.extend(planned.iter().map(|(unit, ..)| unfinished(unit, &failure)));
                return outcomes;
            }
        };
        for (unit, layout, history, calls) in planned {
            let records = answers.by_ref().take(calls.len()).collect();
            let reads = ReadsAtBlock { block: work.last, calls: records };
            let again = |layout: &Layout| unit.family.snapshot(unit.csu, layout);
            let confirming = confirm(&reader, Purpose::Snapshot, unit, layout, &history, reads, again);
            let written = match confirming.await {
                Ok((layout, reads)) => {
                    if unit.family.history(unit.csu).is_none() {
                        let known = layouts.entry(&unit.csu.id).or_default();
                        if remember(known, work.day.date, &layout)
                            // Only a memory: what is not saved is found again.
                            && let Err(error) =
                                self.lake.replace_json(&path::layout_cache(&unit.csu.id), known).await
                        {
                            tracing::warn!("{error}");
                        }
                    }
                    confirmed.insert(&unit.csu.id, layout);
                    let effort = Effort { endpoints: reader.labels(), ..effort_of(&[&reads]) };
                    let record = TvlSnapshot { of: csu_of_day(unit.csu, work.day.clone()), reads };
                    let key = BronzeKey::of(Dataset::Tvl, &unit.csu.id, work.day.date);
                    self.write(&key, &record).await.map(|()| effort)
                }
                Err(failure) => Err(failure),
            };
            outcomes.push(match written {
                Ok(effort) => collected(unit.csu, work.day.date, Dataset::Tvl, effort),
                Err(failure) => unfinished(&unit, &failure),
            });
        }
        outcomes
    }

    /// The layout for a snapshot: the latest known for the day, or found at the snapshot block; with the logs that list its
    /// markets, from which it is then made anew each day, since no answer of the batch would tell of another market.
    async fn layout_for(
        &self,
        work: &DayWork<'_>,
        reader: &Reader<'_>,
        unit: Unit<'a>,
        layouts: &BTreeMap<&'a str, LayoutHistory>,
    ) -> Result<(Layout, Vec<RawLog>), Failure> {
        let history = self.listing_logs(work, unit).await?;
        if unit.family.history(unit.csu).is_some() {
            let layout = discover(reader, unit, work.last, Vec::new(), &history).await?;
            return Ok((layout, history));
        }
        let known =
            layouts.get(unit.csu.id.as_str()).and_then(|history| history.range(..=work.day.date).next_back());
        let layout = match known {
            Some((_, layout)) => layout.clone(),
            None => discover(reader, unit, work.last, Vec::new(), &[]).await?,
        };
        Ok((layout, history))
    }
}
