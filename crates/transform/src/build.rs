//! A run of `transform`: which months are built, from what, and what is written.
//!
//! Silver's partitions are months. A month that the run touches is built again from every bronze object that the lake
//! has of it for the registry's CSUs, whatever run collected them, so that two runs over one lake do not take each
//! other's rows away. Months are taken in order; in each, objects are decoded in parallel and rows made in order.
//! Nothing is written before everything is built, and the manifest is written last.

use crate::coverage::{Sources, Task};
use crate::liquidations::LogsLost;
use crate::prices::PriceBook;
use crate::read::{Expected, Flaw, Listed, Month, NameAndDay};
use crate::tokens::TokenBook;
use crate::{dimensions, liquidations, missing, read, reserves};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use lake::day::Day;
use lake::digest::sha256_hex;
use lake::manifest::Manifest;
use lake::missing::MissingPrices;
use lake::path::{BronzeKey, SILVER, missing_prices, silver_manifest, silver_month, silver_whole};
use lake::run::Run;
use lake::schema::Row;
use lake::schema::silver::{Coverage, CsuRow, TokenRow};
use lake::status::{Dataset, Reason, Status};
use lake::store::{Lake, StoreError};
use lake::table_file::{TableError, parquet_bytes};
use object_store::path::Path;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Name and version of the layer in its manifest.
const LAYER: &str = "silver/1";
/// Files written at one time.
const WRITES: usize = 8;

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
    /// Months that were built.
    pub months: Vec<String>,
    /// Rows of each table, over the months that were built.
    pub rows: BTreeMap<&'static str, usize>,
    /// Tasks of the run by status.
    pub statuses: BTreeMap<&'static str, usize>,
    /// Tasks of the run that are not there and could be.
    pub missing: Vec<Gap>,
    /// Objects of the lake that nothing was taken from.
    pub bad_objects: Vec<BadObject>,
    /// Errors of the data: objects that contradict each other, decimals that changed.
    pub contradictions: Vec<String>,
    /// Tokens with an amount and no price, over the blocks of the months that were built. `transform missing-prices` lists
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct BadObject {
    /// Path in the lake.
    pub path: String,
    /// What is wrong with it.
    pub why: String,
}

/// Builds the silver of a run's months in its lake. `jobs` is the number of decoding threads; `None` takes one a
/// processor.
///
/// # Errors
/// [`BuildError`]; nothing was written then, unless it is the lake that refused a write.
pub async fn run(run: &Run, lake: &Lake, jobs: Option<usize>) -> Result<Summary, BuildError> {
    let csus = dimensions::csus(&run.registry)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(jobs.unwrap_or(0))
        .build()
        .map_err(|source| BuildError::Threads { source })?;
    let expected = Expected { registry: &run.registry, zone: &run.zone };

    let touched: BTreeSet<String> = run.days.days().map(Day::month).collect();
    let mut listed = read::list(lake, &run.registry).await?;
    for month in &touched {
        listed.entry(month.clone()).or_default();
    }

    let mut build = Build {
        run,
        lake,
        summary: Summary::default(),
        files: BTreeMap::new(),
        lists: Vec::new(),
        inputs: BTreeMap::new(),
    };
    build.summary.run.clone_from(&run.name);
    build.summary.months = touched.iter().cloned().collect();
    let mut tokens = TokenBook::default();
    // Every month is read, since a token's first day may be in any; only those that the run touches are built.
    for (name, listed) in &listed {
        tracing::info!(month = %name, objects = listed.objects.len(), "reading");
        let mut month = read::month(lake, expected, listed, &pool).await?;
        of_one_zone(&month)?;
        if touched.contains(name) {
            month.audits = read::audits(lake, expected, listed, &month.blocks).await?;
            month.fills = read::fills(lake, expected, listed).await?;
        }
        build.note_inputs(&month);
        tokens.see_month(&run.registry, &month);
        if touched.contains(name) {
            build.month(name, listed, &month, &tokens).await?;
        }
    }
    build.summary.contradictions.extend(tokens.conflicts());
    build.summary.bad_objects.sort();
    build.whole::<CsuRow>(csus)?;
    build.whole::<TokenRow>(tokens.rows(&run.registry))?;
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
    summary: Summary,
    files: BTreeMap<Path, Bytes>,
    lists: Vec<(Path, MissingPrices)>,
    inputs: BTreeMap<String, String>,
}

impl Build<'_> {
    fn note_inputs(&mut self, month: &Month) {
        for (path, (sha256, flaw)) in month.objects() {
            self.inputs.insert(path.to_owned(), sha256.to_owned());
            if let Some(flaw) = flaw.filter(|flaw| flaw.is_own()) {
                let why = match BronzeKey::parse(&Path::from(path)) {
                    // Nobody need fear for the day's data.
                    Some(BronzeKey::Audit { .. }) => format!("{flaw}; its day stands, without audit_level"),
                    Some(BronzeKey::Prices { .. } | BronzeKey::Fill { .. }) => {
                        format!("{flaw}; its day stands, without these prices")
                    }
                    _ => flaw.to_string(),
                };
                self.summary.bad_objects.push(BadObject { path: path.to_owned(), why });
            }
        }
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

    async fn month(
        &mut self,
        name: &str,
        listed: &Listed,
        month: &Month,
        tokens: &TokenBook,
    ) -> Result<(), BuildError> {
        let run = self.run;
        let frame = self.frame(name);
        let mut tasks = frame.clone();
        tasks.extend(listed.objects.iter().cloned());
        // What other runs tried and did not get stays told.
        tasks.extend(listed.ledger.iter().cloned());

        let sources = Sources { registry: &run.registry, zone: &run.zone, month };
        let asked = listed.ledger.iter().filter(|task| sources.asks_ledger(task)).cloned().collect();
        // No input of the manifest: an entry says when it was tried. What is taken from it stands in `coverage`.
        let ledger = read::ledger(self.lake, &asked).await?;
        let coverage = sources.rows(&tasks, &ledger);
        self.note_gaps(&frame, &coverage);

        let chain_of = |name: &str| run.registry.csu(name).map(|csu| csu.chain.clone());
        let mut chain_days: BTreeSet<NameAndDay> = month.blocks.keys().cloned().collect();
        chain_days.extend(tasks.iter().filter_map(|((csu, day), _)| Some((chain_of(csu)?, *day))));

        let mut prices = PriceBook::of_month(&run.registry, month);
        let reserves = reserves::rows(&run.registry, month, tokens, &mut prices);
        let (legs, rejects) = liquidations::rows(&run.registry, month, &mut prices)?;
        self.summary.contradictions.extend_from_slice(prices.conflicts());
        let missing = missing::of_month(name, &run.registry, month, &prices, &reserves, &legs);
        self.summary.missing_prices += missing.missing.len();
        self.lists.push((missing_prices(name), missing));

        self.partition(name, dimensions::day_blocks(&run.registry, &run.zone, &chain_days, month))?;
        self.partition(name, reserves)?;
        self.partition(name, legs)?;
        self.partition(name, rejects)?;
        self.partition(name, prices.rows())?;
        self.partition(name, coverage)
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

    fn partition<R: Row>(&mut self, month: &str, rows: Vec<R>) -> Result<(), BuildError> {
        self.file(silver_month(R::TABLE.name, month), rows)
    }

    fn whole<R: Row>(&mut self, rows: Vec<R>) -> Result<(), BuildError> {
        self.file(silver_whole(R::TABLE.name), rows)
    }

    fn file<R: Row>(&mut self, path: Path, rows: Vec<R>) -> Result<(), BuildError> {
        *self.summary.rows.entry(R::TABLE.name).or_default() += rows.len();
        self.files.insert(path, parquet_bytes(rows)?.into());
        Ok(())
    }

    async fn write(mut self, touched: &BTreeSet<String>) -> Result<Summary, BuildError> {
        let mut outputs: BTreeMap<String, String> =
            self.files.iter().map(|(path, bytes)| (path.to_string(), sha256_hex(bytes))).collect();
        let before = self.manifest_before().await?;
        let there: BTreeSet<String> =
            self.lake.list(&Path::from(SILVER)).await?.iter().map(ToString::to_string).collect();
        let is_of_touched =
            |path: &str| touched.iter().any(|month| path.contains(&format!("/month={month}/")));
        for (path, sha256) in before.outputs {
            if there.contains(&path) && !is_of_touched(&path) {
                outputs.entry(path).or_insert(sha256);
            }
        }
        // What the months left alone were built from stays told.
        if outputs.keys().any(|path| path.contains("/month=") && !is_of_touched(path)) {
            for (path, sha256) in before.inputs {
                if month_of_input(&path).is_some_and(|month| !touched.contains(&month)) {
                    self.inputs.entry(path).or_insert(sha256);
                }
            }
        }
        let manifest = Manifest {
            schema: LAYER.to_owned(),
            code_version: env!("CARGO_PKG_VERSION").to_owned(),
            registry_sha256: self.run.registry.sha256().to_owned(),
            inputs: self.inputs,
            outputs,
        };
        let manifest = manifest.to_bytes().map_err(|source| BuildError::Manifest { source })?;

        let lake = self.lake;
        stream::iter(self.files)
            .map(|(path, bytes)| async move { lake.replace(&path, bytes).await })
            .buffer_unordered(WRITES)
            .try_collect::<()>()
            .await?;
        for (path, list) in &self.lists {
            lake.replace_json(path, list).await?;
        }
        lake.replace(&silver_manifest(), manifest).await?;
        Ok(self.summary)
    }

    /// The manifest in the lake. One that cannot be read is as good as none: the panel then has no digests to hold
    /// the months left alone against, until they are built again.
    async fn manifest_before(&self) -> Result<Manifest, BuildError> {
        let Some(bytes) = self.lake.get(&silver_manifest()).await? else { return Ok(Manifest::default()) };
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
}

/// Month of a bronze object's path, which ends in `<date>.json`.
fn month_of_input(path: &str) -> Option<String> {
    let date: Day = path.rsplit('/').next()?.strip_suffix(".json")?.parse().ok()?;
    Some(date.month())
}
