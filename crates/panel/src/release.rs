//! `panel release`: gold as a bundle that can be deposited, cited and checked.
//!
//! ```text
//! README.md        after the social-science data editors' template
//! CITATION.cff     how to cite it
//! CHANGES.md       what moved in the data, from the changelog
//! SHA256SUMS       digest of every other file: sha256sum --check SHA256SUMS
//! data/            panel_daily as Parquet, CSV and Stata
//! codebook/        every column: unit, meaning, null rule
//! registry/        the CSUs, chains and tokens that gold was made with
//! manifests/       what silver, gold and the release were made from
//! checks/          the rows that fail a check, if any
//! diff/            what moved since the release before, if one was named
//! ```
//!
//! The bundle is a function of the lake, the registry, the changelog and the arguments: no clock, no host.

use crate::dictionary::package::package;
use crate::dictionary::{DictionaryError, PACKAGE, pages};
use crate::diff::{Compared, DiffError, Tolerance, compare, table};
use crate::export::{CsvError, ROW_HASH, csv_of};
use crate::findings::{Check, FindingsError, findings};
use crate::rows::{Rows, RowsError};
use crate::stata::{StataError, dta_bytes};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use lake::day::Day;
use lake::digest::{sha256_hex, sha256_of_listing};
use lake::manifest::Manifest;
use lake::path::{CHECKS, gold_file, silver_manifest};
use lake::run::Run;
use lake::schema::Row;
use lake::schema::gold::PanelDaily;
use lake::status::CheckLevel;
use lake::store::{Lake, StoreError};
use lake::table_file::{TableError, batch_bytes};
use object_store::path::Path as ObjectPath;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

mod changes;
mod papers;
pub use changes::{ChangesError, data_changes};

/// Why a release could not be made. Nothing is written then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// Rows could not be read.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The object store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Findings could not be read.
    #[error(transparent)]
    Findings(#[from] FindingsError),
    /// The codebook could not be written.
    #[error(transparent)]
    Dictionary(#[from] DictionaryError),
    /// The rows make no Parquet file.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The rows make no CSV.
    #[error(transparent)]
    Csv(#[from] CsvError),
    /// The rows make no Stata file.
    #[error(transparent)]
    Stata(#[from] StataError),
    /// The release before could not be compared with.
    #[error(transparent)]
    Diff(#[from] DiffError),
    /// Something makes no JSON.
    #[error("cannot write JSON of the release: {0}")]
    Json(#[from] serde_json::Error),
    /// A template could not be filled.
    #[error("cannot fill a page of the release: {0}")]
    Page(#[from] askama::Error),
    /// The name is not one of a release.
    #[error("`{name}` is no name of a release\nhint: write vYEAR.MONTH.NUMBER, for example v2024.12.0")]
    Name {
        /// The name.
        name: String,
    },
    /// Rows is not what its manifest says, or was made with another registry.
    #[error("{what}\nhint: run `panel build` (make gold) again")]
    NotOfThisRun {
        /// What does not fit.
        what: String,
    },
    /// A check of level error failed.
    #[error(
        "{} of level error failed: {}\nhint: look at the rows in checks/ (panel report shows them), or say --with-failed-checks to release all the same",
        if checks.len() == 1 { "a check".to_owned() } else { format!("{} checks", checks.len()) },
        checks.join(", ")
    )]
    FailedChecks {
        /// The checks, as layer/check (rows).
        checks: Vec<String>,
    },
    /// A file of the registry cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Registry {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// Name of a release: `vYEAR.MONTH.NUMBER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseName(String);

impl ReleaseName {
    /// The name, if it is one.
    ///
    /// # Errors
    /// [`ReleaseError::Name`].
    pub fn parse(name: &str) -> Result<Self, ReleaseError> {
        let refuse = || ReleaseError::Name { name: name.to_owned() };
        let parts: Vec<&str> = name.strip_prefix('v').ok_or_else(refuse)?.split('.').collect();
        let [year, month, number] = parts.as_slice() else { return Err(refuse()) };
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let no_zero = |text: &str| text == "0" || !text.starts_with('0');
        let is_name = year.len() == 4
            && [*year, *month, *number].into_iter().all(|part| plain(part) && no_zero(part))
            && month.parse().is_ok_and(|month: u8| (1..=12).contains(&month));
        if is_name { Ok(Self(name.to_owned())) } else { Err(refuse()) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its year.
    pub fn year(&self) -> &str {
        self.0.get(1..5).unwrap_or_default()
    }
}

/// What a person says of a release.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub name: ReleaseName,
    /// Its date; left out of the citation when it is not given.
    pub date: Option<Day>,
    /// Its DOI, once there is one.
    pub doi: Option<String>,
    /// The project's changelog, whose headings *Data* are kept.
    pub changelog: String,
    /// The panel of the release before.
    pub previous: Option<Rows>,
    /// Whether to release though a check of level error failed.
    pub with_failed_checks: bool,
}

/// A release: path and bytes of every file.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The files.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What a person should know besides.
    pub notes: Vec<String>,
}

/// Rows as they stand in a release: `release` set, `row_hash` made anew.
///
/// # Errors
/// [`RowsError::Damaged`] when a column is not there.
pub fn as_release(gold: &Rows, name: &str) -> Result<RecordBatch, RowsError> {
    let rows = gold.height();
    let release = Arc::new(StringArray::from(vec![name; rows]));
    let batch = with_column(gold, &gold.batch, "release", release)?;
    let digests =
        crate::seal::digests(&PanelDaily::TABLE, &batch).map_err(|error| gold.damaged(error.to_string()))?;
    with_column(gold, &batch, ROW_HASH, Arc::new(StringArray::from(digests)))
}

fn with_column(
    gold: &Rows,
    batch: &RecordBatch,
    name: &str,
    array: ArrayRef,
) -> Result<RecordBatch, RowsError> {
    let at = batch.schema_ref().index_of(name).map_err(|error| gold.damaged(error.to_string()))?;
    let mut columns = batch.columns().to_vec();
    if let Some(column) = columns.get_mut(at) {
        *column = array;
    }
    RecordBatch::try_new(batch.schema(), columns).map_err(|error| gold.damaged(error.to_string()))
}

/// Makes the bundle of a run's gold.
///
/// # Errors
/// [`ReleaseError`].
pub async fn bundle(run: &Run, lake: &Lake, wanted: &Wanted) -> Result<Bundle, ReleaseError> {
    let gold = Rows::of_gold(lake).await?;
    let manifest = gold_manifest(lake, &gold).await?;
    is_of_run(run, &gold, &manifest)?;
    let (checks, n_checks) = findings(lake).await?;
    let mut notes = Vec::new();
    if n_checks == 0 {
        notes.push("the lake has no checks/: run `panel check` before a release".to_owned());
    }
    let failed: Vec<&Check> = checks.iter().filter(|check| check.level == CheckLevel::Error).collect();
    if !failed.is_empty() && !wanted.with_failed_checks {
        let words =
            failed.iter().map(|check| format!("{}/{} ({})", check.layer, check.check, check.rows.len()));
        return Err(ReleaseError::FailedChecks { checks: words.collect() });
    }

    let mut files = BTreeMap::new();
    let batch = as_release(&gold, wanted.name.as_str())?;
    let released = Rows { batch, ..gold.clone() };
    let name = PanelDaily::TABLE.name;
    files.insert(format!("data/{name}.parquet"), batch_bytes(name, &released.batch)?);
    files.insert(format!("data/{name}.csv"), csv_of(&released.batch)?);
    files.insert(format!("data/{name}.dta"), dta_bytes(&released)?);
    for (page, text) in pages()? {
        // The package that goes with the data stands beside them, with their digests.
        if page != PACKAGE {
            files.insert(format!("codebook/{page}"), text.into_bytes());
        }
    }
    let described = package(|file| files.get(&format!("data/{file}")).cloned())?;
    files.insert(format!("data/{PACKAGE}"), described.into_bytes());
    for (path, bytes) in registry(run)? {
        files.insert(format!("registry/{path}"), bytes);
    }
    for path in lake.list(&ObjectPath::from(CHECKS)).await? {
        if let Some(bytes) = lake.get(&path).await? {
            files.insert(path.to_string(), bytes.to_vec());
        }
    }
    for (path, file) in [(gold_file(crate::build::MANIFEST), "gold"), (silver_manifest(), "silver")] {
        if let Some(bytes) = lake.get(&path).await? {
            files.insert(format!("manifests/{file}.json"), bytes.to_vec());
        }
    }
    if let Some(previous) = &wanted.previous {
        let compared = compare(previous, &released, Tolerance(0.0))?;
        // Where the earlier panel lies on this machine is nobody's business.
        let compared = without_places(compared, wanted);
        files.insert("diff/diff.txt".to_owned(), table(&compared).into_bytes());
        let mut json = serde_json::to_vec_pretty(&compared)?;
        json.push(b'\n');
        files.insert("diff/diff.json".to_owned(), json);
    }
    files.insert("manifests/release.json".to_owned(), release_manifest(&manifest, &gold, &files)?);
    files.insert("CHANGES.md".to_owned(), changes::page(&wanted.name, &wanted.changelog).into_bytes());
    papers::write(run, &released, wanted, &checks, n_checks, &mut files)?;
    let mut sums = String::new();
    for (path, bytes) in &files {
        let _ = writeln!(sums, "{}  {path}", sha256_hex(bytes));
    }
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    Ok(Bundle { files, notes })
}

async fn gold_manifest(lake: &Lake, gold: &Rows) -> Result<Manifest, ReleaseError> {
    let path = gold_file(crate::build::MANIFEST);
    let refuse = |what: String| ReleaseError::NotOfThisRun { what };
    let bytes = lake
        .get(&path)
        .await?
        .ok_or_else(|| refuse(format!("the lake at {} has a panel and no {path}", lake.location())))?;
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|error| refuse(format!("cannot read {path}: {error}")))?;
    let digest = sha256_hex(&gold.bytes);
    let panel = gold_file(crate::build::PARQUET).to_string();
    match manifest.outputs.get(&panel) {
        Some(listed) if *listed == digest => Ok(manifest),
        listed => Err(refuse(format!(
            "{panel} has the digest {digest}, {path} says {}",
            listed.map_or("nothing of it", String::as_str)
        ))),
    }
}

/// A release is of the whole frame of its run, made with the registry that goes with it.
fn is_of_run(run: &Run, gold: &Rows, manifest: &Manifest) -> Result<(), ReleaseError> {
    if manifest.registry_sha256 != run.registry.sha256() {
        return Err(ReleaseError::NotOfThisRun {
            what: format!(
                "gold was made with the registry {}, the run's is {}",
                manifest.registry_sha256,
                run.registry.sha256()
            ),
        });
    }
    let keys = gold.keys()?;
    let found: BTreeSet<(&str, Day)> = keys.iter().map(|(csu, date)| (csu.as_str(), *date)).collect();
    let days: Vec<Day> = run.days.days().collect();
    let frame: BTreeSet<(&str, Day)> =
        run.csus.iter().flat_map(|csu| days.iter().map(move |day| (csu.as_str(), *day))).collect();
    if found != frame {
        let missing = frame.difference(&found).count();
        let more = found.difference(&frame).count();
        return Err(ReleaseError::NotOfThisRun {
            what: format!(
                "gold is not the frame of run {}: {missing} of its rows are not there, {more} are of other CSUs or days",
                run.name
            ),
        });
    }
    Ok(())
}

/// The registry's files, whose digest is that of the run.
fn registry(run: &Run) -> Result<BTreeMap<String, Vec<u8>>, ReleaseError> {
    let directory = run.registry.directory();
    let failed = |file: PathBuf| move |source| ReleaseError::Registry { file, source };
    let mut names = vec!["chains.toml".to_owned(), "tokens.toml".to_owned()];
    let may_be_missing =
        ["feeds.toml", "fills.toml"].into_iter().filter(|name| directory.join(name).exists());
    names.extend(may_be_missing.map(str::to_owned));
    let csus = directory.join("csus");
    for entry in std::fs::read_dir(&csus).map_err(failed(csus.clone()))? {
        let name = entry.map_err(failed(csus.clone()))?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".toml") {
            names.push(format!("csus/{name}"));
        }
    }
    let mut files = BTreeMap::new();
    for name in names {
        let file = directory.join(&name);
        let bytes = std::fs::read(&file).map_err(failed(file.clone()))?;
        files.insert(name, bytes);
    }
    let digests: Vec<(String, String)> =
        files.iter().map(|(name, bytes)| (name.clone(), sha256_hex(bytes))).collect();
    let digest = sha256_of_listing(digests.iter().map(|(name, digest)| (name.as_str(), digest.as_str())));
    if digest != run.registry.sha256() {
        return Err(ReleaseError::NotOfThisRun {
            what: format!(
                "the registry in {} holds more or other files than the run has read",
                directory.display()
            ),
        });
    }
    Ok(files)
}

fn without_places(compared: Compared, wanted: &Wanted) -> Compared {
    let mut compared = compared;
    let before = compared.before.releases.join(", ");
    compared.before.place = if before.is_empty() { "the panel before".to_owned() } else { before };
    compared.after.place = wanted.name.as_str().to_owned();
    compared
}

fn release_manifest(
    manifest: &Manifest,
    gold: &Rows,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<Vec<u8>, ReleaseError> {
    let data = files.iter().filter(|(path, _)| path.starts_with("data/"));
    Ok(Manifest {
        schema: "release/1".to_owned(),
        code_version: env!("CARGO_PKG_VERSION").to_owned(),
        registry_sha256: manifest.registry_sha256.clone(),
        inputs: [(gold_file(crate::build::PARQUET).to_string(), sha256_hex(&gold.bytes))].into(),
        outputs: data.map(|(path, bytes)| (path.clone(), sha256_hex(bytes))).collect(),
        ..Manifest::default()
    }
    .to_bytes()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_by_year_month_and_number() {
        for name in ["v2024.12.0", "v2025.1.13"] {
            assert_eq!(ReleaseName::parse(name).unwrap().as_str(), name);
        }
        assert_eq!(ReleaseName::parse("v2024.12.0").unwrap().year(), "2024");
        for name in [
            "2024.12.0",
            "v2024.13.0",
            "v2024.0.1",
            "v24.12.0",
            "v2024.12",
            "v2024.012.0",
            "v2024.12.x",
            "v",
            "../x",
        ] {
            assert!(ReleaseName::parse(name).is_err(), "{name}");
        }
    }
}
