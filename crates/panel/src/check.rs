//! `panel check`: does gold keep its rules?
//!
//! Each check selects the rows that break it into `checks/gold/<check>.parquet` (the table `finding` of the dictionary; a
//! file without rows: the check ran and found nothing). An error says that gold is wrong, a warning that somebody should
//! look. Facts of silver are asked for again, by queries of the checks' own.

mod change;
mod expect;
mod gold;
mod identities;
mod rebuild;
mod recount;
mod rules;
mod shape;

pub use expect::ExpectError;

use crate::build::{ASSET_PARQUET, PARQUET};
use crate::frame::{Frame, FrameError};
use crate::seal::SealError;
use crate::silver::{Silver, SilverError};
use gold::Gold;
use lake::failure::{self, Failure};
use lake::path::{GOLD, check_rows, checks_prefix, gold_file};
use lake::run::Run;
use lake::schema::Row;
use lake::schema::gold::{PanelDaily, PanelDailyAsset};
use lake::status::CheckLevel;
use lake::store::{Lake, StoreError};
use lake::table_file::{TableError, parquet_bytes, read_batch};
use polars::prelude::PolarsError;
use serde::Serialize;
use std::path::Path;

/// Why gold could not be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The object store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no gold.
    #[error("no panel in the lake at {location}\nhint: run `panel build` (make gold) first")]
    None {
        /// The lake.
        location: String,
    },
    /// Gold is no Parquet file.
    #[error("cannot read {path} in the lake at {location}: {why}\nhint: run `panel build` (make gold) again")]
    Damaged {
        /// The object.
        path: String,
        /// The lake.
        location: String,
        /// The reader's words.
        why: String,
    },
    /// Silver could not be read.
    #[error(transparent)]
    Silver(#[from] SilverError),
    /// The panel could not be computed again.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Rows make no digest.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// polars could not run a query.
    #[error("cannot query silver: {0}")]
    Query(#[from] PolarsError),
    /// The failing rows make no file.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The file of expectations cannot be used.
    #[error(transparent)]
    Expect(#[from] ExpectError),
}

/// How a failure is told of gold: a row by its place, numbers in the form of gold's CSV, a null as nothing.
trait OfGold {
    /// Of a row of gold.
    fn of_row(self, gold: &Gold, row: usize) -> Self;
    fn found_number(self, value: Option<f64>) -> Self;
    fn expected_number(self, value: Option<f64>) -> Self;
    fn found_text(self, found: Option<impl Into<String>>) -> Self;
    fn expected_text(self, expected: Option<impl Into<String>>) -> Self;
}

impl OfGold for Failure {
    fn of_row(self, gold: &Gold, row: usize) -> Self {
        Self { csu: gold.csus.get(row).cloned(), date: gold.days.get(row).copied(), ..self }
    }

    fn found_number(self, value: Option<f64>) -> Self {
        self.found_text(value.map(crate::export::float_text))
    }

    fn expected_number(self, value: Option<f64>) -> Self {
        self.expected_text(value.map(crate::export::float_text))
    }

    fn found_text(self, found: Option<impl Into<String>>) -> Self {
        Self { found: found.map(Into::into), ..self }
    }

    fn expected_text(self, expected: Option<impl Into<String>>) -> Self {
        Self { expected: expected.map(Into::into), ..self }
    }
}

/// What the checks look at.
pub(crate) struct Subject<'a> {
    run: &'a Run,
    /// Silver, asked again.
    figures: &'a recount::Figures,
    /// Prices of the reserves around days on which supply jumped.
    prices: &'a change::Prices,
    frame: &'a Frame<'a>,
    gold: &'a Gold,
    assets: Option<&'a Gold>,
    expectations: Option<&'a Path>,
}

type Find = fn(&Subject<'_>) -> Result<Vec<Failure>, CheckError>;

/// A check that needs rows of the right shape.
struct Check {
    id: &'static str,
    level: CheckLevel,
    what: &'static str,
    find: Find,
}

const fn error(id: &'static str, what: &'static str, find: Find) -> Check {
    Check { id, level: CheckLevel::Error, what, find }
}

const fn warn(id: &'static str, what: &'static str, find: Find) -> Check {
    Check { id, level: CheckLevel::Warn, what, find }
}

/// The check of the shape, without which the others cannot look.
const SHAPE: (&str, &str) =
    ("g9_schema", "names, types, order and words of the columns are those of the codebook, both ways");

const CHECKS: &[Check] = &[
    error(
        "g1_frame",
        "one row for every CSU and day of the run, keys one to one with their numbers",
        shape::frame,
    ),
    error("g2_days", "days of a CSU follow each other without a gap", shape::days),
    error("g3_status", "status words are what coverage and the registry imply", rules::statuses),
    error(
        "g4_nulls",
        "a figure is there exactly where status and applicability say so; no NaN, no infinity",
        rules::nulls,
    ),
    error("g5_sums", "sums equal those of silver to 1e-9, counts exactly", recount::panel),
    error("g5_assets", "classes of assets add up to the panel (if the table was made)", recount::assets),
    error("g6_identities", "totals, nets, shares and counts agree within a row", identities::within_rows),
    error("g7_ranges", "values lie in the ranges of the codebook", identities::ranges),
    warn("g7_unusual", "utilization above 1, or less than nothing available", identities::unusual),
    warn("g8_jump", "supplied_usd moved by more than half while prices and reserves did not", change::jump),
    warn("g8_collapse", "tvl_usd fell below 1% of the day before", change::collapse),
    warn(
        "g8_dead_signature",
        "no liquidation in 180 measured days while another CSU of the chain or family has some",
        change::dead_signature,
    ),
    warn("g9_empty_column", "a column is null in every row", shape::empty_columns),
    error("g10_rebuild", "silver gives these rows again: inputs_hash and row_hash", rebuild::rebuild),
    error(
        "g10_expected",
        "rows and nulls of each CSU-month are those of the file of expectations",
        expect::compare,
    ),
];

/// What a check came to.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Check.
    pub check: &'static str,
    /// What a failure means.
    pub level: CheckLevel,
    /// What it looks at.
    pub what: &'static str,
    /// How many failures there are; `None` when it could not run.
    pub failures: Option<usize>,
    /// Where the failing rows are, in the lake.
    pub rows: Option<String>,
    /// The first failures, for people.
    pub first: Vec<Failure>,
}

/// Failures of each check that are shown.
const SHOWN: usize = 5;

/// What all checks came to.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Name of the run.
    pub run: String,
    /// Location of the lake.
    pub lake: String,
    /// Rows of the panel.
    pub rows: usize,
    /// The checks, in order.
    pub checks: Vec<Outcome>,
}

impl Report {
    /// Whether every check of level error ran and found nothing.
    pub fn is_sound(&self) -> bool {
        self.checks.iter().all(|check| check.level == CheckLevel::Warn || check.failures == Some(0))
    }
}

/// Checks gold of a run against its rules, silver and, if given, a file of expectations; writes the failing rows into
/// `checks/gold`.
///
/// # Errors
/// [`CheckError`] when gold or silver is not there or cannot be read.
pub async fn check(run: &Run, lake: &Lake, expectations: Option<&Path>) -> Result<Report, CheckError> {
    let panel = batch(lake, PARQUET)
        .await?
        .ok_or_else(|| CheckError::None { location: lake.location().to_owned() })?;
    let assets = batch(lake, ASSET_PARQUET).await?;
    let mut shape = shape::schema(&PanelDaily::TABLE, &panel);
    if let Some(assets) = &assets {
        shape.extend(shape::schema(&PanelDailyAsset::TABLE, assets));
    }
    let rows = panel.num_rows();
    let gold = Gold::of(PanelDaily::TABLE, panel);
    let assets = assets.map(|assets| Gold::of(PanelDailyAsset::TABLE, assets));
    let mut found: Vec<(&Check, Option<Vec<Failure>>)> = Vec::new();
    if let Some(gold) = gold.filter(|_| !matches!(assets, Some(None))) {
        let assets = assets.flatten();
        let silver = Silver::open(run, lake).await?;
        let frame = Frame::read(run, &silver, false).await?;
        let (mut figures, mut prices) = (recount::Figures::default(), change::Prices::wanted_by(&gold));
        let asker = recount::Asker::of(run, &silver)?;
        for month in &silver.months {
            let month = silver.month(month).await?.decode()?;
            asker.ask(&month, &mut figures)?;
            prices.note(&month)?;
        }
        let subject = Subject {
            run,
            figures: &figures,
            prices: &prices,
            frame: &frame,
            gold: &gold,
            assets: assets.as_ref(),
            expectations,
        };
        for check in CHECKS {
            found.push((check, Some((check.find)(&subject)?)));
        }
    } else {
        found.extend(CHECKS.iter().map(|check| (check, None)));
    }

    let mut checks = vec![write(lake, SHAPE.0, CheckLevel::Error, SHAPE.1, Some(shape)).await?];
    for (check, failures) in found {
        checks.push(write(lake, check.id, check.level, check.what, failures).await?);
    }
    for path in lake.list(&checks_prefix(GOLD)).await? {
        // Of a check that is no more.
        if !checks.iter().any(|check| check_rows(GOLD, check.check) == path) {
            lake.delete(&path).await?;
        }
    }
    Ok(Report { run: run.name.clone(), lake: lake.location().to_owned(), rows, checks })
}

/// Writes the file of expectations from gold as it is. Returns how many CSU-months it has.
///
/// # Errors
/// [`CheckError`] when gold cannot be read or the file cannot be written.
pub async fn bless(lake: &Lake, expectations: &Path) -> Result<usize, CheckError> {
    let location = || lake.location().to_owned();
    let panel = batch(lake, PARQUET).await?.ok_or_else(|| CheckError::None { location: location() })?;
    let gold = Gold::of(PanelDaily::TABLE, panel).ok_or_else(|| CheckError::Damaged {
        path: gold_file(PARQUET).to_string(),
        location: location(),
        why: "its columns are not those of this program's schema".to_owned(),
    })?;
    Ok(expect::write(&gold, expectations)?)
}

async fn batch(lake: &Lake, name: &str) -> Result<Option<arrow_array::RecordBatch>, CheckError> {
    let path = gold_file(name);
    let Some(bytes) = lake.get(&path).await? else { return Ok(None) };
    let damaged = |why: String| CheckError::Damaged {
        path: path.to_string(),
        location: lake.location().to_owned(),
        why,
    };
    read_batch(bytes).map(Some).map_err(|error| damaged(error.to_string()))
}

async fn write(
    lake: &Lake,
    check: &'static str,
    level: CheckLevel,
    what: &'static str,
    failures: Option<Vec<Failure>>,
) -> Result<Outcome, CheckError> {
    let path = check_rows(GOLD, check);
    let Some(failures) = failures else {
        // Rows of an earlier gold say nothing of this one.
        lake.delete(&path).await?;
        return Ok(Outcome { check, level, what, failures: None, rows: None, first: Vec::new() });
    };
    let (count, first) = (failures.len(), failures.iter().take(SHOWN).cloned().collect());
    lake.replace(&path, parquet_bytes(failure::rows(check, level, failures))?).await?;
    Ok(Outcome { check, level, what, failures: Some(count), rows: Some(path.to_string()), first })
}
