//! `panel build`: silver to `gold/panel_daily.parquet`, its CSV twin and a manifest.

use crate::export::{CsvError, csv_bytes};
use crate::frame::{FrameError, panel};
use crate::silver::{Silver, SilverError};
use lake::day::Day;
use lake::digest::sha256_hex;
use lake::manifest::Manifest;
use lake::path::gold_file;
use lake::run::Run;
use lake::schema::gold::PanelDaily;
use lake::status::{Dataset, Status};
use lake::store::{Lake, StoreError};
use lake::table_file::{TableError, parquet_bytes};
use serde::Serialize;
use std::collections::BTreeMap;

/// The panel.
pub const PARQUET: &str = "panel_daily.parquet";
/// Its CSV twin.
pub const CSV: &str = "panel_daily.csv";
/// What gold was made from.
pub const MANIFEST: &str = "manifest.json";

/// Why gold could not be built. Nothing is written then, except by a store that fails half way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Silver could not be read.
    #[error(transparent)]
    Silver(#[from] SilverError),
    /// The frame could not be filled.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The rows make no Parquet file.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The rows make no CSV.
    #[error(transparent)]
    Csv(#[from] CsvError),
    /// The manifest makes no JSON.
    #[error("cannot write the manifest of gold: {0}")]
    Manifest(#[from] serde_json::Error),
    /// The object store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a build made.
#[derive(Debug, Clone, Serialize)]
pub struct Built {
    /// Name of the run.
    pub run: String,
    /// Location of the lake.
    pub lake: String,
    /// First day.
    pub from: Day,
    /// Last day.
    pub to: Day,
    /// Number of CSUs.
    pub csus: usize,
    /// Number of rows: CSUs times days.
    pub rows: usize,
    /// Rows by the word in `status`.
    pub by_status: BTreeMap<&'static str, usize>,
    /// Rows in which running again could fill what the run asks for, in order of CSU and day.
    pub missing: Vec<MissingRow>,
    /// Months of the run that silver does not have.
    pub months_without_silver: Vec<String>,
    /// Files of gold.
    pub files: Vec<File>,
}

/// A row of the frame that is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingRow {
    /// CSU.
    pub csu: String,
    /// Day.
    pub date: Day,
    /// What became of the snapshot.
    pub snap_status: Status,
    /// What became of the scan.
    pub liq_status: Status,
}

/// A file of gold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Path in the lake.
    pub path: String,
    /// Digest.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: usize,
}

impl Built {
    /// Whether every row of the frame has what the run asks for.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }
}

/// Builds gold for a run. The same silver and registry give the same bytes; a file whose bytes are there already is
/// left alone.
///
/// # Errors
/// [`BuildError`].
pub async fn build(run: &Run, lake: &Lake) -> Result<Built, BuildError> {
    let silver = Silver::read(run, lake).await?;
    let rows = panel(run, &silver)?;

    let mut by_status = BTreeMap::new();
    for row in &rows {
        *by_status.entry(row.status.as_str()).or_insert(0) += 1;
    }
    let missing = rows.iter().filter(|row| is_missing(run, row)).map(missing_row).collect();
    let n_rows = rows.len();

    // All bytes are made before the first is written.
    let csv = csv_bytes(&rows)?;
    let parquet = parquet_bytes(rows)?;
    let mut files = vec![file(PARQUET, &parquet), file(CSV, &csv)];
    let manifest = Manifest {
        schema: "gold/1".to_owned(),
        code_version: env!("CARGO_PKG_VERSION").to_owned(),
        registry_sha256: run.registry.sha256().to_owned(),
        inputs: silver.inputs,
        outputs: files.iter().map(|file| (file.path.clone(), file.sha256.clone())).collect(),
    }
    .to_bytes()?;
    files.push(file(MANIFEST, &manifest));
    lake.replace(&gold_file(PARQUET), parquet).await?;
    lake.replace(&gold_file(CSV), csv).await?;
    lake.replace(&gold_file(MANIFEST), manifest).await?;

    Ok(Built {
        run: run.name.clone(),
        lake: lake.location().to_owned(),
        from: run.days.from(),
        to: run.days.to(),
        csus: run.csus.len(),
        rows: n_rows,
        by_status,
        missing,
        months_without_silver: silver.months_without,
        files,
    })
}

/// A dataset that the run does not ask for is not missing, though its status says that nobody tried it.
fn is_missing(run: &Run, row: &PanelDaily) -> bool {
    let status_of = |dataset: &Dataset| match dataset {
        Dataset::Tvl => row.snap_status,
        Dataset::Liquidations => row.liq_status,
    };
    run.datasets.iter().map(status_of).any(Status::is_worth_a_retry)
}

fn missing_row(row: &PanelDaily) -> MissingRow {
    MissingRow {
        csu: row.csu.clone(),
        date: row.date,
        snap_status: row.snap_status,
        liq_status: row.liq_status,
    }
}

fn file(name: &str, bytes: &[u8]) -> File {
    File { path: gold_file(name).to_string(), sha256: sha256_hex(bytes), bytes: bytes.len() }
}
