//! What of a run is in the lake, from listings: no data object is opened, and ledger entries only for what is missing.
//!
//! Where the registry gives a block of deployment but the lake has no object, the day's blocks object says whether the
//! deployment was there yet: of the days around the deployment, and of no others.

use crate::ledger;
use crate::shard::{Never, never};
use futures::{StreamExt, TryStreamExt, stream};
use lake::Lake;
use lake::bronze::{DayBlocks, Record};
use lake::day::{Day, DayWindow};
use lake::path::{self, BronzeKey, Path};
use lake::registry::{Chain, Csu};
use lake::run::Run;
use lake::status::{Dataset, Reason, Status};
use lake::store::StoreError;
use std::collections::{BTreeMap, BTreeSet};

/// Listings and reads under way at once.
const AT_ONCE: usize = 16;

/// What of a run is in the lake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// In order of CSU and dataset.
    pub rows: Vec<Row>,
}

/// One dataset of one CSU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// CSU.
    pub csu: String,
    /// Its chain.
    pub chain: String,
    /// Dataset.
    pub dataset: Dataset,
    /// Every day of the run, in order.
    pub days: Vec<CoveredDay>,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoveredDay {
    /// Day.
    pub date: Day,
    /// What became of it.
    pub status: Status,
    /// Why it is not done, if the ledger says.
    pub reason: Option<Reason>,
    /// The reason in words.
    pub message: String,
}

/// Days of objects directly under a prefix.
async fn days_under(lake: Lake, prefix: Path) -> Result<BTreeSet<Day>, StoreError> {
    let names = lake.names(&prefix).await?;
    Ok(names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect())
}

/// Lists prefixes at once, each in a task of its own: reading names costs more than asking for them.
async fn listed<K: Send + 'static>(
    lake: &Lake,
    prefixes: impl Iterator<Item = (K, Path)>,
) -> Result<Vec<(K, BTreeSet<Day>)>, StoreError> {
    let listings = prefixes.map(|(key, prefix)| {
        let listing = tokio::spawn(days_under(lake.clone(), prefix));
        async move {
            let stopped = |error: tokio::task::JoinError| StoreError::Stopped { why: error.to_string() };
            Ok((key, listing.await.map_err(stopped)??))
        }
    });
    stream::iter(listings).buffered(AT_ONCE).try_collect().await
}

impl Coverage {
    /// The coverage of a run.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn of(run: &Run, lake: &Lake) -> Result<Self, StoreError> {
        let windows: Vec<DayWindow> = run.windows().collect();
        let chains: BTreeSet<&str> = run.csus().map(|csu| csu.chain.as_str()).collect();
        let blocks = chains.iter().map(|chain| ((*chain).to_owned(), path::blocks_prefix(chain)));
        let blocks: BTreeMap<String, BTreeSet<Day>> = listed(lake, blocks).await?.into_iter().collect();
        let wanted = || run.csus().flat_map(|csu| run.datasets.iter().map(move |set| (csu, *set)));
        let prefixes = wanted().map(|(csu, set)| ((csu.id.clone(), set), path::bronze_prefix(set, &csu.id)));
        let objects: BTreeMap<(String, Dataset), BTreeSet<Day>> =
            listed(lake, prefixes).await?.into_iter().collect();

        let (nothing, mut rows) = (BTreeSet::new(), Vec::new());
        for (csu, dataset) in wanted() {
            let Some(chain) = run.registry.chain(&csu.chain) else { continue };
            let objects = objects.get(&(csu.id.clone(), dataset)).unwrap_or(&nothing);
            let blocks = blocks.get(&csu.chain).unwrap_or(&nothing);
            let day = |window: &DayWindow| {
                let date = window.day;
                let is_there = (objects.contains(&date), blocks.contains(&date));
                standing(chain, csu, *window, is_there)
            };
            let days = windows.iter().map(day).collect();
            rows.push(Row { csu: csu.id.clone(), chain: csu.chain.clone(), dataset, days });
        }
        let mut coverage = Self { rows };
        coverage.add_reasons(lake).await?;
        coverage.add_deployments(run, lake, &blocks).await?;
        Ok(coverage)
    }

    /// Every task, with its row.
    pub fn tasks(&self) -> impl Iterator<Item = (&Row, &CoveredDay)> {
        self.rows.iter().flat_map(|row| row.days.iter().map(move |day| (row, day)))
    }

    /// Tasks by status.
    pub fn counts(&self) -> BTreeMap<Status, usize> {
        let mut counts = BTreeMap::new();
        for (_, day) in self.tasks() {
            *counts.entry(day.status).or_default() += 1;
        }
        counts
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.tasks().all(|(_, day)| !day.status.is_worth_a_retry())
    }

    /// Takes from the ledger what it knows of missing tasks.
    async fn add_reasons(&mut self, lake: &Lake) -> Result<(), StoreError> {
        let is_missing = |row: &Row| row.days.iter().any(|day| day.status == Status::NotAttempted);
        let rows = self.rows.iter().enumerate().filter(|(_, row)| is_missing(row));
        let prefixes = rows.map(|(index, row)| (index, path::ledger_prefix(row.dataset, &row.csu)));
        let known: Vec<(usize, BTreeSet<Day>)> = listed(lake, prefixes).await?;
        let mut tasks = Vec::new();
        for (index, dates) in known {
            for (nth, day) in self.rows[index].days.iter().enumerate() {
                if day.status == Status::NotAttempted && dates.contains(&day.date) {
                    let row = &self.rows[index];
                    tasks.push((index, nth, (row.dataset, row.csu.clone(), day.date)));
                }
            }
        }
        let reads = tasks.into_iter().map(|(row, nth, (dataset, csu, date))| async move {
            ledger::entry(lake, dataset, &csu, date).await.map(|entry| (row, nth, entry))
        });
        let entries: Vec<_> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        for (row, nth, entry) in entries {
            // One that says `collected` has lost its object: it is to be collected again.
            if let Some(entry) = entry.filter(|entry| entry.status != Status::Collected) {
                let day = &mut self.rows[row].days[nth];
                (day.status, day.reason, day.message) = (entry.status, entry.reason, entry.message);
            }
        }
        Ok(())
    }

    /// Finds days that end before a deployment of which the registry gives the block, and days without a block.
    async fn add_deployments(
        &mut self,
        run: &Run,
        lake: &Lake,
        blocks: &BTreeMap<String, BTreeSet<Day>>,
    ) -> Result<(), StoreError> {
        let is_told = |chain: &str, date: &Day| blocks.get(chain).is_some_and(|days| days.contains(date));
        let asked: BTreeSet<(String, Day)> = self
            .tasks()
            .filter(|(row, day)| day.status == Status::NotAttempted && is_told(&row.chain, &day.date))
            .map(|(row, day)| (row.chain.clone(), day.date))
            .collect();
        let reads = asked.into_iter().map(|(chain, date)| async move {
            let at = BronzeKey::Blocks { chain: chain.clone(), date }.path();
            lake.get(&at).await.map(|bytes| ((chain, date), bytes))
        });
        let read: Vec<_> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let parsed =
            read.into_iter().filter_map(|(key, bytes)| Some((key, DayBlocks::from_bytes(&bytes?).ok()?)));
        let known: BTreeMap<(String, Day), DayBlocks> = parsed.collect();
        for row in &mut self.rows {
            let deployed = run.registry.csu(&row.csu).and_then(|csu| csu.deployed_block);
            for day in row.days.iter_mut().filter(|day| day.status == Status::NotAttempted) {
                let Some(blocks) = known.get(&(row.chain.clone(), day.date)) else { continue };
                match blocks.last {
                    None => day.status = Status::NoBlock,
                    Some(last) if deployed.is_some_and(|deployed| deployed > last.number) => {
                        day.status = Status::NotDeployed;
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// What names and the registry say of a task. `is_there`: its object, and its day's blocks.
fn standing(chain: &Chain, csu: &Csu, window: DayWindow, is_there: (bool, bool)) -> CoveredDay {
    let of = |status| CoveredDay { date: window.day, status, reason: None, message: String::new() };
    match (never(chain, csu, window), is_there) {
        (Some(Never::Retired), _) => of(Status::Retired),
        (Some(Never::NotDeployed), _) => of(Status::NotDeployed),
        (None, (true, true)) => of(Status::Collected),
        (None, (true, false)) => CoveredDay {
            message: "its day has lost the blocks object".to_owned(),
            reason: Some(Reason::BlocksMissing),
            ..of(Status::Partial)
        },
        (None, (false, _)) if protocols::family(&csu.family).is_none() => of(Status::Unsupported),
        (None, (false, _)) => of(Status::NotAttempted),
    }
}
