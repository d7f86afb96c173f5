//! A run of `transform`: which months are built, from what, and what is written.
//!
//! Silver's partitions are months. A month that the run touches is built again from every bronze object that the lake
//! has of it for the registry's CSUs, whatever run collected them, so that two runs over one lake do not take each
//! other's rows away. A month that nothing changed for is left as it is ([`crate::stale`]). Months are taken in order; in
//! each, objects are decoded in parallel and rows made in order, while the objects of the next are decoded. So memory is
//! bounded by two months. Nothing is written before everything is built: files wait in [`Held`], and the manifest is written
//! last.

use crate::coverage::Task;
use crate::held::Held;
use crate::liquidations::LogsLost;
use crate::read::{Expected, Flaw, Listed, Month};
use crate::stale::{self, Files, Mark, Notes};
use crate::tables::{Decoded, Made, bad_objects, objects_of, pairs};
use crate::tokens::{self, TokenBook};
use crate::{dimensions, read};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use lake::day::Day;
use lake::digest::sha256_hex;
use lake::manifest::Manifest;
use lake::path::{
    BronzeKey, SILVER, missing_prices, silver_manifest, silver_month, silver_month_notes, silver_whole,
};
use lake::run::Run;
use lake::schema::Row;
use lake::schema::silver::{Coverage, CsuRow, DayBlock, Liquidation, Price, Reject, ReserveDay, TokenRow};
use lake::status::{Dataset, Reason, Status};
use lake::store::{Lake, StoreError};
use lake::table_file::{TableError, parquet_bytes, read_batch};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Name and version of the layer in its manifest.
const LAYER: &str = "silver/1";
/// Files written at one time.
const WRITES: usize = 8;
/// How often the manifest is written again when another run wrote its own between.
const MERGES: usize = 5;
/// The tables with months.
const OF_MONTHS: [&str; 6] = [
    DayBlock::TABLE.name,
    ReserveDay::TABLE.name,
    Liquidation::TABLE.name,
    Reject::TABLE.name,
    Price::TABLE.name,
    Coverage::TABLE.name,
];

/// Why silver could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The lake cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry has a family that this build does not know.
    #[error(transparent)]
    UnknownFamily(#[from] dimensions::UnknownFamily),
    /// A family's decoder lost a log.
    #[error(transparent)]
    LogsLost(#[from] LogsLost),
    /// Rows do not make a table: a key twice, or a value that is no number.
    #[error(
        "silver cannot be built: {source}\nhint: two CSUs of the registry may be one deployment, or a family's decoder is wrong; nothing was written"
    )]
    Table {
        /// What is wrong.
        #[from]
        source: TableError,
    },
    /// The lake's days are those of another zone.
    #[error(
        "{path}: its day is one of {found}, the run's days are those of {expected}\nhint: a lake has days of one zone: give this run a lake of its own, or the zone {found}; nothing was written"
    )]
    OtherZone {
        /// The object with the day's blocks.
        path: String,
        /// Its zone.
        found: String,
        /// The run's zone.
        expected: String,
    },
    /// The threads could not be started.
    #[error("cannot start the threads: {source}\nhint: give a smaller --jobs")]
    Threads {
        /// The pool's error.
        source: rayon::ThreadPoolBuildError,
    },
    /// A table of silver that was left as it is cannot be read.
    #[error("{path}: {why}\nhint: transform run --all builds it again")]
    Unreadable {
        /// The file.
        path: String,
        /// The reader's words.
        why: String,
    },
    /// What was built could not be kept until it is written.
    #[error(
        "cannot keep what was built in a temporary file: {source}\nhint: set TMPDIR to a directory with some gigabytes of room; nothing was written"
    )]
    Held {
        /// The system's error.
        source: std::io::Error,
    },
    /// The thread that makes a month's tables was stopped from outside.
    #[error("the thread that makes the tables was stopped: {source}\nhint: run it again")]
    Stopped {
        /// The runtime's error.
        source: tokio::task::JoinError,
    },
    /// The manifest could not be written as JSON.
    #[error("cannot write the manifest: {source}")]
    Manifest {
        /// The writer's error.
        source: serde_json::Error,
    },
}

/// What a run did and what is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Name of the run.
    pub run: String,
    /// Months of the run.
    pub months: Vec<String>,
    /// Months that were built, each with why.
    pub built: BTreeMap<String, Vec<String>>,
    /// Rows of each table, over the months of the run.
    pub rows: BTreeMap<String, usize>,
    /// Tasks of the run by status.
    pub statuses: BTreeMap<&'static str, usize>,
    /// Tasks of the run that are not there and could be.
    pub missing: Vec<Gap>,
    /// Objects of the lake that nothing was taken from.
    pub bad_objects: Vec<BadObject>,
    /// Errors of the data: objects that contradict each other, decimals that changed.
    pub contradictions: Vec<String>,
    /// Tokens with an amount and no price, over the blocks of the run's months. `transform missing-prices` lists
    /// them.
    pub missing_prices: usize,
}

impl Summary {
    /// Whether everything of the run is there or cannot be, and no object is at fault.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.bad_objects.is_empty() && self.contradictions.is_empty()
    }

    fn add(&mut self, gaps: Gaps) {
        for (status, tasks) in gaps.statuses {
            *self.statuses.entry(status).or_default() += tasks;
        }
        self.missing.extend(gaps.missing);
    }
}

/// A task of the run that is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// CSU.
    pub csu: String,
    /// Day.
    pub date: Day,
    /// Dataset.
    pub dataset: Dataset,
    /// What became of it.
    pub status: Status,
    /// Why.
    pub reason: Option<Reason>,
    /// Why, in words.
    pub message: Option<String>,
}

/// What became of the tasks of a month that the run promises.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    statuses: BTreeMap<&'static str, usize>,
    missing: Vec<Gap>,
}

impl Gaps {
    pub(crate) fn of(frame: &BTreeSet<Task>, coverage: &[Coverage]) -> Self {
        let mut gaps = Self::default();
        for row in coverage {
            if !frame.contains(&((row.csu.clone(), row.date), row.dataset)) {
                continue;
            }
            *gaps.statuses.entry(row.status.as_str()).or_default() += 1;
            if row.status.is_worth_a_retry() {
                gaps.missing.push(Gap {
                    csu: row.csu.clone(),
                    date: row.date,
                    dataset: row.dataset,
                    status: row.status,
                    reason: row.reason,
                    message: row.message.clone(),
                });
            }
        }
        gaps
    }
}

/// An object that nothing was taken from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BadObject {
    /// Path in the lake.
    pub path: String,
    /// What is wrong with it.
    pub why: String,
}

/// How a run is carried out.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// Decoding threads; `None` takes one a processor.
    pub jobs: Option<usize>,
    /// Whether months are built that nothing changed for.
    pub all: bool,
}

/// Builds the silver of a run's months in its lake: those that are stale, or all. `month_done` is called after each month
/// of the run.
///
/// # Errors
/// [`BuildError`]; nothing was written then, unless it is the lake that refused a write.
pub async fn run(run: &Run, lake: &Lake, how: How, month_done: impl Fn(&str)) -> Result<Summary, BuildError> {
    let csus = dimensions::csus(&run.registry)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(how.jobs.unwrap_or(0))
        .build()
        .map_err(|source| BuildError::Threads { source })?;

    let touched: BTreeSet<String> = run.days.days().map(Day::month).collect();
    let mut listed = read::list(lake, &run.registry).await?;
    for month in &touched {
        listed.entry(month.clone()).or_default();
    }

    let mut build = Build {
        run: Arc::new(run.clone()),
        lake,
        pool: Arc::new(pool),
        before: manifest_before(lake).await?,
        tokens: TokenBook::default(),
        making: None,
        summary: Summary::default(),
        files: Held::default(),
        lists: Vec::new(),
        notes: Vec::new(),
        marks: BTreeMap::new(),
        inputs: BTreeMap::new(),
    };
    build.summary.run.clone_from(&run.name);
    build.summary.months = touched.iter().cloned().collect();
    // Every month counts, since a token's first day may be in any; only those that the run touches are built.
    for (name, listed) in &listed {
        if touched.contains(name) {
            build.touch(name, listed, how.all, &month_done).await?;
        } else {
            build.pass_by(name, listed, how.all).await?;
        }
    }
    build.settle(&month_done).await?;
    let conflicts = build.tokens.conflicts();
    build.summary.contradictions.extend(conflicts);
    build.summary.bad_objects.sort();
    build.whole::<CsuRow>(csus)?;
    let tokens = build.tokens.rows(&run.registry);
    build.whole::<TokenRow>(tokens)?;
    build.write(&touched).await
}

/// Silver of a month replaces what is there, so a run must not read another zone's days as flaws and leave them out.
fn of_one_zone(month: &Month) -> Result<(), BuildError> {
    for object in month.blocks.values() {
        if let Err(Flaw::OtherZone { found, expected }) = &object.content {
            let (path, found, expected) = (object.path.clone(), found.clone(), expected.clone());
            return Err(BuildError::OtherZone { path, found, expected });
        }
    }
    Ok(())
}

struct Build<'a> {
    run: Arc<Run>,
    lake: &'a Lake,
    pool: Arc<rayon::ThreadPool>,
    /// The manifest as it was when the run began.
    before: Manifest,
    tokens: TokenBook,
    /// The month whose tables are being made while the next is read. Two months at most are held.
    making: Option<JoinHandle<Result<Made, BuildError>>>,
    summary: Summary,
    files: Held,
    lists: Vec<(Path, Bytes)>,
    notes: Vec<(String, Notes)>,
    marks: BTreeMap<String, Mark>,
    inputs: BTreeMap<String, String>,
}

impl Build<'_> {
    /// A month that the run does not touch: only its tokens count, and what is wrong with its objects.
    async fn pass_by(&mut self, name: &str, listed: &Listed, all: bool) -> Result<(), BuildError> {
        if let Some(notes) = Notes::of_month(self.lake, name).await?.filter(|_| !all) {
            let objects = read::digests(self.lake, listed, false, &self.pool).await?;
            if notes.tokens_hold(&stale::of_objects(&self.run, pairs(&objects))) {
                let is_data = |bad: &BadObject| {
                    let key = BronzeKey::parse(&bad.path);
                    !matches!(key, Some(BronzeKey::Audit { .. } | BronzeKey::Fill { .. }))
                };
                self.summary.bad_objects.extend(notes.bad_objects.into_iter().filter(is_data));
                self.inputs.extend(objects);
                self.tokens.see(&notes.tokens);
                return Ok(());
            }
        }
        let month = self.decode(name, listed).await?;
        let bad_objects = bad_objects(&month);
        self.summary.bad_objects.extend(bad_objects);
        self.inputs.extend(objects_of(&month));
        self.tokens.see(&tokens::of_month(&self.run.registry, &month));
        Ok(())
    }

    async fn decode(&self, name: &str, listed: &Listed) -> Result<Month, BuildError> {
        tracing::info!(month = %name, objects = listed.objects.len(), "decoding");
        let expected = Expected { registry: &self.run.registry, zone: &self.run.zone };
        let month = read::month(self.lake, expected, listed, &self.pool).await?;
        of_one_zone(&month)?;
        Ok(month)
    }

    /// What was promised of a month, by this run or by others that tried.
    fn tasks(&self, name: &str, listed: &Listed) -> BTreeSet<Task> {
        let mut tasks = self.frame(name);
        tasks.extend(listed.objects.iter().cloned());
        // What other runs tried and did not get stays told.
        tasks.extend(listed.ledger.iter().cloned());
        tasks
    }

    /// A month of the run: left as it is when nothing changed for it, built otherwise.
    async fn touch(
        &mut self,
        name: &str,
        listed: &Listed,
        all: bool,
        month_done: &impl Fn(&str),
    ) -> Result<(), BuildError> {
        let without_object =
            listed.ledger.iter().filter(|task| !listed.objects.contains(*task)).cloned().collect();
        // No input of the manifest: an entry says when it was tried. What is taken from it stands in `coverage`.
        let ledger = read::ledger(self.lake, &without_object).await?;
        let notes = Notes::of_month(self.lake, name).await?;

        let mut reasons = vec!["all was asked for".to_owned()];
        if let Some(why) = stale::unknown(name, &self.before, notes.as_ref()).filter(|_| !all) {
            reasons = vec![why.to_owned()];
        } else if !all {
            let objects = read::digests(self.lake, listed, true, &self.pool).await?;
            let mut now = stale::of_objects(&self.run, pairs(&objects));
            // Tokens of a month whose bronze changed are not known yet; it is stale whatever they are.
            let tokens = notes.as_ref().filter(|notes| notes.tokens_hold(&now)).map(|notes| &notes.tokens);
            let mut with_month = self.tokens.clone();
            with_month.see(tokens.map_or(&[], Vec::as_slice));
            let changed = with_month.changed_in(tokens.map_or(&[], Vec::as_slice));
            stale::add_words(&mut now, &ledger, &self.tasks(name, listed), &changed);
            let there = self.files_of(name).await?;
            reasons = stale::reasons(name, &self.before, notes.as_ref(), &now, &objects, &there);
            if let (true, Some(notes)) = (reasons.is_empty(), notes) {
                tracing::info!(month = %name, "nothing changed");
                self.settle(month_done).await?;
                self.tokens = with_month;
                self.keep(name, notes, objects, &there).await?;
                month_done(name);
                return Ok(());
            }
        }

        let run = Arc::clone(&self.run);
        let expected = Expected { registry: &run.registry, zone: &run.zone };
        let mut month = self.decode(name, listed).await?;
        month.audits = read::audits(self.lake, expected, listed, &month.blocks).await?;
        month.fills = read::fills(self.lake, expected, listed).await?;
        let sightings = tokens::of_month(&run.registry, &month);
        self.tokens.see(&sightings);
        self.summary.built.insert(name.to_owned(), reasons);
        let decoded = Decoded {
            name: name.to_owned(),
            month,
            ledger,
            tasks: self.tasks(name, listed),
            frame: self.frame(name),
            sightings,
            tokens: self.tokens.clone(),
        };
        self.settle(month_done).await?;
        let pool = Arc::clone(&self.pool);
        self.making = Some(tokio::task::spawn_blocking(move || pool.install(|| decoded.made(&run))));
        Ok(())
    }

    /// Waits for the month that is being made, and takes it in.
    async fn settle(&mut self, month_done: &impl Fn(&str)) -> Result<(), BuildError> {
        let Some(making) = self.making.take() else { return Ok(()) };
        let made = match making.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(made) => made?,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(source)) => return Err(BuildError::Stopped { source }),
        };
        let Made { name, files, list, notes, gaps, objects } = made;
        tracing::info!(month = %name, "made");
        self.summary.add(gaps);
        self.summary.contradictions.extend_from_slice(&notes.contradictions);
        self.summary.bad_objects.extend_from_slice(&notes.bad_objects);
        self.summary.missing_prices += notes.missing_prices;
        for (table, rows) in &notes.rows {
            *self.summary.rows.entry(table.clone()).or_default() += rows;
        }
        for (path, bytes) in files {
            self.hold(path, bytes)?;
        }
        self.inputs.extend(objects);
        self.lists.push((missing_prices(&name), list));
        self.marks.insert(name.clone(), notes.mark.clone());
        month_done(&name);
        self.notes.push((name, notes));
        Ok(())
    }

    /// Tells of a month that is left as it is what a build would tell.
    async fn keep(
        &mut self,
        name: &str,
        notes: Notes,
        objects: BTreeMap<String, String>,
        there: &Files,
    ) -> Result<(), BuildError> {
        let path = silver_month(Coverage::TABLE.name, name);
        let bytes = self.lake.get(&path).await?.unwrap_or_default();
        let coverage = read_batch(bytes)
            .map_err(|error| error.to_string())
            .and_then(|batch| Coverage::from_batch(&batch).map_err(|error| error.to_string()))
            .map_err(|why| BuildError::Unreadable { path: path.to_string(), why })?;
        self.summary.add(Gaps::of(&self.frame(name), &coverage));
        for (table, rows) in &notes.rows {
            *self.summary.rows.entry(table.clone()).or_default() += rows;
        }
        self.summary.bad_objects.extend(notes.bad_objects);
        self.summary.contradictions.extend(notes.contradictions);
        self.summary.missing_prices += notes.missing_prices;
        self.marks.insert(name.to_owned(), notes.mark);
        self.inputs.extend(objects);
        tracing::debug!(month = %name, files = there.tables.len(), "left as it is");
        Ok(())
    }

    /// Digests of a month's files as they lie in the lake.
    async fn files_of(&self, name: &str) -> Result<Files, BuildError> {
        let digest = |path: Path| async move {
            let bytes = self.lake.get(&path).await?;
            Ok::<_, StoreError>((path.to_string(), bytes.map(|bytes| sha256_hex(&bytes))))
        };
        let paths = OF_MONTHS.map(|table| silver_month(table, name));
        let tables = stream::iter(paths).map(digest).buffered(WRITES).try_collect().await?;
        let (_, missing_prices) = digest(missing_prices(name)).await?;
        Ok(Files { tables, missing_prices })
    }

    /// What the run promises of a month: every CSU, day and dataset.
    fn frame(&self, name: &str) -> BTreeSet<Task> {
        let run = &self.run;
        let days = run.days.days().filter(|day| day.month() == name);
        days.flat_map(|day| {
            run.csus
                .iter()
                .flat_map(move |csu| run.datasets.iter().map(move |dataset| ((csu.clone(), day), *dataset)))
        })
        .collect()
    }

    fn whole<R: Row>(&mut self, rows: Vec<R>) -> Result<(), BuildError> {
        *self.summary.rows.entry(R::TABLE.name.to_owned()).or_default() += rows.len();
        self.hold(silver_whole(R::TABLE.name), parquet_bytes(rows)?.into())
    }

    fn hold(&mut self, path: Path, bytes: Bytes) -> Result<(), BuildError> {
        self.files.add(path, bytes).map_err(|source| BuildError::Held { source })
    }

    async fn write(self, touched: &BTreeSet<String>) -> Result<Summary, BuildError> {
        let lake = self.lake;
        let written = self.files.digests();
        stream::iter(self.files.into_files())
            .map(|file| async move {
                let (path, bytes) = file.map_err(|source| BuildError::Held { source })?;
                Ok::<_, BuildError>(lake.replace(&path, bytes).await?)
            })
            .buffer_unordered(WRITES)
            .try_collect::<()>()
            .await?;
        for (path, list) in self.lists {
            lake.replace(&path, list).await?;
        }
        for (month, notes) in &self.notes {
            lake.replace_json(&silver_month_notes(month), notes).await?;
        }
        let ours = Manifest {
            schema: LAYER.to_owned(),
            code_version: env!("CARGO_PKG_VERSION").to_owned(),
            registry_sha256: self.run.registry.sha256().to_owned(),
            inputs: self.inputs,
            outputs: written,
            months: self.marks,
        };
        // Another run may write its months and its manifest at the same time. Each puts its own months over what is
        // there, and looks whether they stayed.
        for _ in 0..MERGES {
            let before = manifest_before(lake).await?;
            let merged = merged(lake, before, &ours, touched).await?;
            let bytes = merged.to_bytes().map_err(|source| BuildError::Manifest { source })?;
            lake.replace(&silver_manifest(), bytes.clone()).await?;
            if lake.get(&silver_manifest()).await?.as_deref() == Some(bytes.as_slice()) {
                break;
            }
        }
        Ok(self.summary)
    }
}

/// The manifest with a run's months in it, and what it says of the months that the run left alone.
async fn merged(
    lake: &Lake,
    before: Manifest,
    ours: &Manifest,
    touched: &BTreeSet<String>,
) -> Result<Manifest, StoreError> {
    let mut merged = ours.clone();
    let there: BTreeSet<String> =
        lake.list(&Path::from(SILVER)).await?.iter().map(ToString::to_string).collect();
    let is_of_touched = |path: &str| touched.iter().any(|month| path.contains(&format!("/month={month}/")));
    for (path, sha256) in before.outputs {
        // A month of ours that was left as it is has its files here, too.
        if there.contains(&path) {
            merged.outputs.entry(path).or_insert(sha256);
        }
    }
    // What the months left alone were built from stays told.
    if merged.outputs.keys().any(|path| path.contains("/month=") && !is_of_touched(path)) {
        for (path, sha256) in before.inputs {
            if month_of_input(&path).is_some_and(|month| !touched.contains(&month)) {
                merged.inputs.insert(path, sha256);
            }
        }
        let alone = before.months.into_iter().filter(|(month, _)| !touched.contains(month));
        merged.months.extend(alone);
    }
    Ok(merged)
}

/// The manifest in the lake. One that cannot be read is as good as none: every month of the run is built again then,
/// and the panel has no digests to hold the others against until they are, too.
async fn manifest_before(lake: &Lake) -> Result<Manifest, StoreError> {
    let Some(bytes) = lake.get(&silver_manifest()).await? else { return Ok(Manifest::default()) };
    match serde_json::from_slice::<Manifest>(&bytes) {
        Ok(manifest) if manifest.schema == LAYER => Ok(manifest),
        Ok(manifest) => {
            tracing::warn!(schema = %manifest.schema, "the manifest in the lake is of another schema and is replaced");
            Ok(Manifest::default())
        }
        Err(error) => {
            tracing::warn!(%error, "the manifest in the lake cannot be read and is replaced");
            Ok(Manifest::default())
        }
    }
}

/// Month of a bronze object's path, which ends in `<date>.json`.
fn month_of_input(path: &str) -> Option<String> {
    let date: Day = path.rsplit('/').next()?.strip_suffix(".json")?.parse().ok()?;
    Some(date.month())
}
