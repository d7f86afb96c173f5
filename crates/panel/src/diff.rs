//! `panel diff`: which rows and columns moved between two panels, by how much, and for what reason.
//!
//! Columns that say where a row comes from ([`LINEAGE`]) are not compared: they are the reasons. A changed row is put
//! down to every reason that its lineage shows, and to [`Reason::Unexplained`] where there is none.

use crate::export::cell_text;
use crate::rows::{Rows, RowsError};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use bytes::Bytes;
use lake::day::Day;
use lake::store::{Lake, StoreError};
use object_store::path::Path as ObjectPath;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

mod words;
pub use words::table;

/// Columns that say how a row came about. They move with every release and every version.
pub const LINEAGE: [&str; 6] =
    ["schema_version", "release", "code_version", "registry_hash", "inputs_hash", "row_hash"];
/// Where a panel lies in a lake and in a release.
const PLACES: [&str; 3] = ["gold/panel_daily.parquet", "data/panel_daily.parquet", "panel_daily.parquet"];

/// Why two panels could not be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffError {
    /// A panel could not be read.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The object store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be read.
    #[error("cannot read {file}: {source}\nhint: name a Parquet file, a lake or a release")]
    File {
        /// The file.
        file: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// There is no panel in a lake or directory.
    #[error(
        "no panel in {location}: none of {} is there\nhint: name a Parquet file, a lake with gold or a release",
        PLACES.join(", ")
    )]
    None {
        /// The lake or directory.
        location: String,
    },
    /// A panel has a row twice.
    #[error("{file} has two rows of {csu} on {date}\nhint: it is no panel that `panel build` wrote")]
    Twice {
        /// The panel.
        file: String,
        /// CSU.
        csu: String,
        /// Day.
        date: Day,
    },
}

/// The panel in a Parquet file, a lake (directory or URL) or a release.
///
/// # Errors
/// [`DiffError`].
pub async fn panel_at(place: &str) -> Result<Rows, DiffError> {
    let path = std::path::Path::new(place);
    if path.is_file() {
        let bytes =
            std::fs::read(path).map_err(|source| DiffError::File { file: place.to_owned(), source })?;
        return Ok(Rows::parse(place, Bytes::from(bytes))?);
    }
    // A lake is made when it is opened; a place that is not there must not be.
    if !place.contains("://") && !path.is_dir() {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(DiffError::File { file: place.to_owned(), source });
    }
    let lake = Lake::open(place)?;
    for inside in PLACES {
        if let Some(bytes) = lake.get(&ObjectPath::from(inside)).await? {
            return Ok(Rows::parse(&format!("{}/{inside}", place.trim_end_matches('/')), bytes)?);
        }
    }
    Err(DiffError::None { location: place.to_owned() })
}

/// Share of the larger of two numbers below which their difference does not count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance(pub f64);

/// What accounts for a change. In the order in which a reader should look at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Values moved, though inputs, registry, code and statuses are the same.
    Unexplained,
    /// A status word moved: something is measured now, or no longer.
    Status,
    /// The bronze objects below the row are others (`inputs_hash`).
    Inputs,
    /// The registry is another (`registry_hash`).
    Registry,
    /// The program or the table's definition is another (`code_version`, `schema_version`).
    Code,
}

impl Reason {
    /// The word in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unexplained => "unexplained",
            Self::Status => "status",
            Self::Inputs => "inputs",
            Self::Registry => "registry",
            Self::Code => "code",
        }
    }

    /// What the word means.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Unexplained => "same inputs, registry, code and status: look into it",
            Self::Status => "a status word moved",
            Self::Inputs => "bronze below the row is other (inputs_hash)",
            Self::Registry => "the registry is another (registry_hash)",
            Self::Code => "code_version or schema_version is another",
        }
    }
}

/// What moved between two panels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// The earlier panel.
    pub before: Side,
    /// The later panel.
    pub after: Side,
    /// Rows with the same key and the same values.
    pub rows_same: usize,
    /// Rows that only the later panel has.
    pub rows_added: Vec<Key>,
    /// Rows that only the earlier panel has.
    pub rows_removed: Vec<Key>,
    /// Columns that only the later panel has.
    pub columns_added: Vec<String>,
    /// Columns that only the earlier panel has.
    pub columns_removed: Vec<String>,
    /// What moved in each column, in order of the file.
    pub columns: Vec<ColumnMoved>,
    /// Changed rows by reason; a row with two reasons counts in both.
    pub reasons: BTreeMap<Reason, usize>,
    /// Moves of `status`, as `before -> after`, by number of rows.
    pub statuses: BTreeMap<String, usize>,
    /// Rows whose lineage moved, by column. Not a difference.
    pub lineage: BTreeMap<String, usize>,
    /// Every changed row.
    pub rows_changed: Vec<RowMoved>,
}

/// One of the two panels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Where it was read from.
    pub place: String,
    /// Rows.
    pub rows: usize,
    /// Words of `release`.
    pub releases: Vec<String>,
}

/// The key of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Key {
    /// CSU.
    pub csu: String,
    /// Day.
    pub date: Day,
}

/// What moved in one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnMoved {
    /// Column.
    pub column: String,
    /// Rows in which both panels have a value, and not the same.
    pub changed: usize,
    /// Rows in which only the later panel has a value.
    pub filled: usize,
    /// Rows in which only the earlier panel has a value.
    pub emptied: usize,
    /// Largest difference, in the column's unit; for numbers.
    pub max_abs: Option<f64>,
    /// Largest difference as a share of the larger of the two values; for numbers.
    pub max_rel: Option<f64>,
    /// The row of `max_rel`; of the first change for words.
    pub at: Option<Key>,
}

/// A row that moved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowMoved {
    /// CSU.
    pub csu: String,
    /// Day.
    pub date: Day,
    /// What accounts for it.
    pub reasons: BTreeSet<Reason>,
    /// The cells that moved: column, then the values before and after as the CSV has them, null for a null.
    pub cells: BTreeMap<String, (Option<String>, Option<String>)>,
}

impl Compared {
    /// Whether no row and no column outside the lineage moved.
    pub fn is_same(&self) -> bool {
        self.rows_added.is_empty()
            && self.rows_removed.is_empty()
            && self.columns_added.is_empty()
            && self.columns_removed.is_empty()
            && self.rows_changed.is_empty()
    }
}

/// Compares two panels row by row.
///
/// # Errors
/// [`DiffError`]: a key column is missing, or a row is there twice.
pub fn compare(before: &Rows, after: &Rows, tolerance: Tolerance) -> Result<Compared, DiffError> {
    let (rows_before, rows_after) = (rows_by_key(before)?, rows_by_key(after)?);
    let (names_before, names_after) = (names(before), names(after));
    let only_in = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|name| !those.contains(name)).cloned().collect()
    };
    let shared: Vec<Pair<'_>> = names_after
        .iter()
        .filter_map(|name| {
            let (before, after) = (before.column(name).ok()?, after.column(name).ok()?);
            Some(Pair { name, before, after })
        })
        .collect();
    let (lineage, measured): (Vec<&Pair<'_>>, Vec<&Pair<'_>>) =
        shared.iter().partition(|pair| LINEAGE.contains(&pair.name));

    let mut compared = Compared {
        before: side(before),
        after: side(after),
        rows_same: 0,
        rows_added: keys_only_in(&rows_after, &rows_before),
        rows_removed: keys_only_in(&rows_before, &rows_after),
        columns_added: only_in(&names_after, &names_before),
        columns_removed: only_in(&names_before, &names_after),
        columns: Vec::new(),
        reasons: BTreeMap::new(),
        statuses: BTreeMap::new(),
        lineage: BTreeMap::new(),
        rows_changed: Vec::new(),
    };
    let mut moved: Vec<ColumnMoved> = measured.iter().map(|pair| ColumnMoved::none(pair.name)).collect();
    for (key, row_before) in &rows_before {
        let Some(row_after) = rows_after.get(key) else { continue };
        let rows = (*row_before, *row_after);
        let changed_lineage: Vec<&str> =
            lineage.iter().filter(|pair| pair.texts(rows).is_some()).map(|pair| pair.name).collect();
        for name in &changed_lineage {
            *compared.lineage.entry((*name).to_owned()).or_insert(0) += 1;
        }
        let mut cells = BTreeMap::new();
        for (pair, column) in measured.iter().zip(&mut moved) {
            if let Some(change) = pair.change(rows, tolerance) {
                column.add(&change, key);
                cells.insert(pair.name.to_owned(), (change.before, change.after));
            }
        }
        if cells.is_empty() {
            compared.rows_same += 1;
            continue;
        }
        let reasons = reasons(&cells, &changed_lineage);
        for reason in &reasons {
            *compared.reasons.entry(*reason).or_insert(0) += 1;
        }
        if let Some((before, after)) = cells.get("status") {
            let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "null".to_owned());
            let move_ = format!("{} -> {}", word(before), word(after));
            *compared.statuses.entry(move_).or_insert(0) += 1;
        }
        compared.rows_changed.push(RowMoved { csu: key.csu.clone(), date: key.date, reasons, cells });
    }
    moved.retain(|column| column.changed + column.filled + column.emptied > 0);
    compared.columns = moved;
    Ok(compared)
}

type Cells = BTreeMap<String, (Option<String>, Option<String>)>;

fn reasons(cells: &Cells, lineage: &[&str]) -> BTreeSet<Reason> {
    let mut reasons = BTreeSet::new();
    if cells.keys().any(|name| name == "status" || name.ends_with("_status")) {
        reasons.insert(Reason::Status);
    }
    for name in lineage {
        match *name {
            "inputs_hash" => reasons.insert(Reason::Inputs),
            "registry_hash" => reasons.insert(Reason::Registry),
            "code_version" | "schema_version" => reasons.insert(Reason::Code),
            _ => false,
        };
    }
    if reasons.is_empty() {
        reasons.insert(Reason::Unexplained);
    }
    reasons
}

fn side(gold: &Rows) -> Side {
    let releases: BTreeSet<&str> =
        gold.text("release").map(|column| column.iter().flatten().collect()).unwrap_or_default();
    Side {
        place: gold.name.clone(),
        rows: gold.height(),
        releases: releases.into_iter().map(str::to_owned).collect(),
    }
}

fn names(gold: &Rows) -> Vec<String> {
    gold.batch.schema_ref().fields().iter().map(|field| field.name().clone()).collect()
}

fn rows_by_key(gold: &Rows) -> Result<BTreeMap<Key, usize>, DiffError> {
    let mut rows = BTreeMap::new();
    for (row, (csu, date)) in gold.keys()?.into_iter().enumerate() {
        if rows.insert(Key { csu: csu.clone(), date }, row).is_some() {
            return Err(DiffError::Twice { file: gold.name.clone(), csu, date });
        }
    }
    Ok(rows)
}

fn keys_only_in(these: &BTreeMap<Key, usize>, those: &BTreeMap<Key, usize>) -> Vec<Key> {
    these.keys().filter(|key| !those.contains_key(key)).cloned().collect()
}

/// A column that both panels have.
struct Pair<'a> {
    name: &'a str,
    before: &'a ArrayRef,
    after: &'a ArrayRef,
}

struct Change {
    before: Option<String>,
    after: Option<String>,
    /// Absolute and relative difference of two numbers.
    by: Option<(f64, f64)>,
}

impl Pair<'_> {
    /// The two cells as text where they differ.
    fn texts(&self, (before, after): (usize, usize)) -> Option<(Option<String>, Option<String>)> {
        let texts = (cell_text(self.before, before), cell_text(self.after, after));
        (texts.0 != texts.1).then_some(texts)
    }

    fn change(&self, rows: (usize, usize), tolerance: Tolerance) -> Option<Change> {
        // Numbers first: most cells are, and most are equal.
        let numbers = number(self.before, rows.0).zip(number(self.after, rows.1));
        if let Some((before, after)) = numbers {
            let by = (after - before).abs();
            let share = if by == 0.0 { 0.0 } else { by / before.abs().max(after.abs()) };
            if share <= tolerance.0 {
                return None;
            }
            let (before, after) = (cell_text(self.before, rows.0), cell_text(self.after, rows.1));
            return Some(Change { before, after, by: Some((by, share)) });
        }
        let (before, after) = self.texts(rows)?;
        Some(Change { before, after, by: None })
    }
}

/// The value of a cell that holds a number; whole numbers of gold are below 2^53.
fn number(array: &ArrayRef, row: usize) -> Option<f64> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Float64 => Some(array.as_primitive_opt::<Float64Type>()?.value(row)),
        DataType::Int32 => Some(f64::from(array.as_primitive_opt::<Int32Type>()?.value(row))),
        DataType::Int64 => Some(array.as_primitive_opt::<Int64Type>()?.value(row) as f64),
        _ => None,
    }
}

impl ColumnMoved {
    fn none(column: &str) -> Self {
        Self {
            column: column.to_owned(),
            changed: 0,
            filled: 0,
            emptied: 0,
            max_abs: None,
            max_rel: None,
            at: None,
        }
    }

    fn add(&mut self, change: &Change, key: &Key) {
        match (&change.before, &change.after) {
            (None, _) => self.filled += 1,
            (_, None) => self.emptied += 1,
            _ => self.changed += 1,
        }
        if let Some((abs, rel)) = change.by {
            self.max_abs = Some(self.max_abs.map_or(abs, |largest| largest.max(abs)));
            if self.max_rel.is_none_or(|largest| rel > largest) {
                self.max_rel = Some(rel);
                self.at = Some(key.clone());
            }
        } else if self.at.is_none() {
            self.at = Some(key.clone());
        }
    }
}
