//! A run of `transform`: which months are built, from what, and what is written.
//!
//! Silver's partitions are months. A month that the run touches is built again from every bronze object that the lake
//! has of it for the registry's CSUs, whatever run collected them, so that two runs over one lake do not take each
//! other's rows away. A month that nothing changed for is left as it is ([`crate::stale`]). Months are taken in order; in
//! each, objects are decoded in parallel and rows made in order. Nothing is written before everything is built, and the
//! manifest is written last.

use crate::coverage::{Sources, Task};
use crate::liquidations::LogsLost;
use crate::prices::PriceBook;
use crate::read::{Expected, Flaw, Listed, Month, NameAndDay, Object};
use crate::stale::{self, Files, Mark, Notes};
use crate::tokens::{self, Sighting, TokenBook};
use crate::{dimensions, liquidations, missing, read, reserves};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use lake::day::Day;
use lake::digest::sha256_hex;
use lake::ledger::LedgerEntry;
use lake::manifest::Manifest;
use lake::missing::MissingPrices;
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
        run,
        lake,
        pool,
        before: manifest_before(lake).await?,
        tokens: TokenBook::default(),
        summary: Summary::default(),
        files: BTreeMap::new(),
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
            build.touch(name, listed, how.all).await?;
            month_done(name);
        } else {
            build.pass_by(name, listed, how.all).await?;
        }
    }
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
    run: &'a Run,
    lake: &'a Lake,
    pool: rayon::ThreadPool,
    /// The manifest as it was when the run began.
    before: Manifest,
    tokens: TokenBook,
    summary: Summary,
    files: BTreeMap<Path, Bytes>,
    lists: Vec<(Path, Bytes)>,
    notes: Vec<(String, Notes)>,
    marks: BTreeMap<String, Mark>,
    inputs: BTreeMap<String, String>,
}

impl Build<'_> {
    /// A month that the run does not touch: only its tokens count, and what is wrong with its objects.
    async fn pass_by(&mut self, name: &str, listed: &Listed, all: bool) -> Result<(), BuildError> {
        if let Some(notes) = Notes::of_month(self.lake, name).await?.filter(|_| !all) {
            let objects = read::digests(self.lake, listed, false).await?;
            if notes.tokens_hold(&stale::of_objects(self.run, pairs(&objects))) {
                let is_data = |bad: &BadObject| {
                    let key = BronzeKey::parse(&Path::from(bad.path.as_str()));
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
    async fn touch(&mut self, name: &str, listed: &Listed, all: bool) -> Result<(), BuildError> {
        let without_object =
            listed.ledger.iter().filter(|task| !listed.objects.contains(*task)).cloned().collect();
        // No input of the manifest: an entry says when it was tried. What is taken from it stands in `coverage`.
        let ledger = read::ledger(self.lake, &without_object).await?;
        let notes = Notes::of_month(self.lake, name).await?;

        let mut reasons = vec!["all was asked for".to_owned()];
        if !all {
            let objects = read::digests(self.lake, listed, true).await?;
            let mut now = stale::of_objects(self.run, pairs(&objects));
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
                self.tokens = with_month;
                return self.keep(name, notes, objects, &there).await;
            }
        }

        let expected = Expected { registry: &self.run.registry, zone: &self.run.zone };
        let mut month = self.decode(name, listed).await?;
        month.audits = read::audits(self.lake, expected, listed, &month.blocks).await?;
        month.fills = read::fills(self.lake, expected, listed).await?;
        let sightings = tokens::of_month(&self.run.registry, &month);
        self.tokens.see(&sightings);
        self.summary.built.insert(name.to_owned(), reasons);
        self.build(name, listed, &month, ledger, sightings)
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
        self.note_gaps(&self.frame(name), &coverage);
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
        let run = self.run;
        let days = run.days.days().filter(|day| day.month() == name);
        days.flat_map(|day| {
            run.csus
                .iter()
                .flat_map(move |csu| run.datasets.iter().map(move |dataset| ((csu.clone(), day), *dataset)))
        })
        .collect()
    }

    fn build(
        &mut self,
        name: &str,
        listed: &Listed,
        month: &Month,
        mut ledger: BTreeMap<Task, Object<LedgerEntry>>,
        sightings: Vec<Sighting>,
    ) -> Result<(), BuildError> {
        let run = self.run;
        let tasks = self.tasks(name, listed);
        let objects = objects_of(month);
        let mut mark = stale::of_objects(run, pairs(&objects));
        stale::add_words(&mut mark, &ledger, &tasks, &self.tokens.changed_in(&sightings));

        let sources = Sources { registry: &run.registry, zone: &run.zone, month };
        ledger.retain(|task, _| sources.asks_ledger(task));
        let coverage = sources.rows(&tasks, &ledger);
        self.note_gaps(&self.frame(name), &coverage);

        let chain_of = |name: &str| run.registry.csu(name).map(|csu| csu.chain.clone());
        let mut chain_days: BTreeSet<NameAndDay> = month.blocks.keys().cloned().collect();
        chain_days.extend(tasks.iter().filter_map(|((csu, day), _)| Some((chain_of(csu)?, *day))));

        let mut prices = PriceBook::of_month(&run.registry, month);
        let reserves = reserves::rows(&run.registry, month, &self.tokens, &mut prices);
        let (legs, rejects) = liquidations::rows(&run.registry, month, &mut prices)?;
        let missing = missing::of_month(name, &run.registry, month, &prices, &reserves, &legs);
        let list = json(&missing)?;
        stale::add_missing_prices(&mut mark, &list);

        let mut notes = Notes {
            mark: mark.clone(),
            tokens: sightings,
            bad_objects: bad_objects(month),
            contradictions: prices.conflicts().to_vec(),
            missing_prices: missing.missing.len(),
            rows: BTreeMap::new(),
        };
        self.summary.contradictions.extend_from_slice(&notes.contradictions);
        self.summary.bad_objects.extend_from_slice(&notes.bad_objects);
        self.summary.missing_prices += notes.missing_prices;
        self.inputs.extend(objects);
        self.lists.push((missing_prices(name), list.into()));

        let day_blocks = dimensions::day_blocks(&run.registry, &run.zone, &chain_days, month);
        self.partition(name, day_blocks, &mut notes)?;
        self.partition(name, reserves, &mut notes)?;
        self.partition(name, legs, &mut notes)?;
        self.partition(name, rejects, &mut notes)?;
        self.partition(name, prices.rows(), &mut notes)?;
        self.partition(name, coverage, &mut notes)?;
        self.marks.insert(name.to_owned(), mark);
        self.notes.push((name.to_owned(), notes));
        Ok(())
    }

    fn note_gaps(&mut self, frame: &BTreeSet<Task>, coverage: &[Coverage]) {
        for row in coverage {
            if !frame.contains(&((row.csu.clone(), row.date), row.dataset)) {
                continue;
            }
            *self.summary.statuses.entry(row.status.as_str()).or_default() += 1;
            if row.status.is_worth_a_retry() {
                self.summary.missing.push(Gap {
                    csu: row.csu.clone(),
                    date: row.date,
                    dataset: row.dataset,
                    status: row.status,
                    reason: row.reason,
                    message: row.message.clone(),
                });
            }
        }
    }

    fn partition<R: Row>(&mut self, month: &str, rows: Vec<R>, notes: &mut Notes) -> Result<(), BuildError> {
        notes.rows.insert(R::TABLE.name.to_owned(), rows.len());
        self.file(silver_month(R::TABLE.name, month), rows)
    }

    fn whole<R: Row>(&mut self, rows: Vec<R>) -> Result<(), BuildError> {
        self.file(silver_whole(R::TABLE.name), rows)
    }

    fn file<R: Row>(&mut self, path: Path, rows: Vec<R>) -> Result<(), BuildError> {
        *self.summary.rows.entry(R::TABLE.name.to_owned()).or_default() += rows.len();
        self.files.insert(path, parquet_bytes(rows)?.into());
        Ok(())
    }

    async fn write(self, touched: &BTreeSet<String>) -> Result<Summary, BuildError> {
        let lake = self.lake;
        let written: BTreeMap<String, String> =
            self.files.iter().map(|(path, bytes)| (path.to_string(), sha256_hex(bytes))).collect();
        stream::iter(self.files)
            .map(|(path, bytes)| async move { lake.replace(&path, bytes).await })
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

fn pairs(objects: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    objects.iter().map(|(path, sha256)| (path.as_str(), sha256.as_str()))
}

fn objects_of(month: &Month) -> BTreeMap<String, String> {
    month.objects().into_iter().map(|(path, (sha256, _))| (path.to_owned(), sha256.to_owned())).collect()
}

/// The objects of a month that nothing was taken from, for a fault of their own.
fn bad_objects(month: &Month) -> Vec<BadObject> {
    let bad = |(path, (_, flaw)): (&str, (&str, Option<&Flaw>))| {
        let flaw = flaw.filter(|flaw| flaw.is_own())?;
        let why = match BronzeKey::parse(&Path::from(path)) {
            // Nobody need fear for the day's data.
            Some(BronzeKey::Audit { .. }) => format!("{flaw}; its day stands, without audit_level"),
            Some(BronzeKey::Prices { .. } | BronzeKey::Fill { .. }) => {
                format!("{flaw}; its day stands, without these prices")
            }
            _ => flaw.to_string(),
        };
        Some(BadObject { path: path.to_owned(), why })
    };
    month.objects().into_iter().filter_map(bad).collect()
}

fn json(value: &MissingPrices) -> Result<Vec<u8>, BuildError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|source| BuildError::Manifest { source })?;
    text.push(b'\n');
    Ok(text)
}

/// Month of a bronze object's path, which ends in `<date>.json`.
fn month_of_input(path: &str) -> Option<String> {
    let date: Day = path.rsplit('/').next()?.strip_suffix(".json")?.parse().ok()?;
    Some(date.month())
}
