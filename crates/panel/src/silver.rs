//! Reading silver: the lake's Parquet bytes as polars frames, each column checked against the type it must have.
//!
//! Days are turned into day numbers (days since 1970-01-01, Int32) on the way in, so that nothing below depends on
//! how a program shows dates.

use lake::day::Day;
use lake::digest::sha256_hex;
use lake::manifest::Manifest;
use lake::path::{silver_manifest, silver_month, silver_whole};
use lake::run::Run;
use lake::schema::silver::{Coverage, CsuRow, DayBlock, Liquidation, Reject, ReserveDay, TokenRow};
use lake::schema::{Kind, Row, Table};
use lake::store::{Lake, StoreError};
use object_store::path::Path;
use polars::prelude::*;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::panic::AssertUnwindSafe;
use std::sync::Once;

/// Why silver could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SilverError {
    /// The object store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is none for any month of the run.
    #[error(
        "no silver for {months} in the lake at {location}\nhint: run `transform run` (make silver) first"
    )]
    None {
        /// The months.
        months: String,
        /// The lake.
        location: String,
    },
    /// A month has some tables and lacks others.
    #[error(
        "silver in the lake at {location} is incomplete: there is no {path}\nhint: run `transform run` (make silver) again"
    )]
    Incomplete {
        /// The object that should be there.
        path: String,
        /// The lake.
        location: String,
    },
    /// A file cannot be read, or is not the one that was written.
    #[error(
        "cannot read {path} in the lake at {location}: {why}\nhint: the file was cut off or edited; run `transform run` (make silver) again"
    )]
    Damaged {
        /// The object.
        path: String,
        /// The lake.
        location: String,
        /// The reader's words.
        why: String,
    },
    /// A file does not have the columns of this program's schema.
    #[error(
        "{path} in the lake at {location}: {why}\nhint: it was written by another version; run `transform run` (make silver) again"
    )]
    OtherSchema {
        /// The object.
        path: String,
        /// The lake.
        location: String,
        /// The column at fault.
        why: String,
    },
}

/// The silver tables of a run's months, with the columns that the panel needs.
pub struct Silver {
    /// `reserve_day`.
    pub reserve_day: LazyFrame,
    /// `liquidation`.
    pub liquidation: LazyFrame,
    /// `reject`.
    pub reject: LazyFrame,
    /// `coverage`.
    pub coverage: LazyFrame,
    /// `day_block`.
    pub day_block: LazyFrame,
    /// `csu`.
    pub csu: LazyFrame,
    /// `token`.
    pub token: LazyFrame,
    /// Path and sha256 of every file read.
    pub inputs: BTreeMap<String, String>,
    /// Months of the run that silver does not have.
    pub months_without: Vec<String>,
}

const RESERVE_DAY: &[&str] = &[
    "csu",
    "date",
    "market_id",
    "token",
    "role",
    "supplied_raw",
    "borrowed_raw",
    "available_raw",
    "reserves_raw",
    "deficit_raw",
    "price_usd",
    "price_source",
    "price_age_s",
    "supplied_usd",
    "borrowed_usd",
    "available_usd",
    "reserves_usd",
    "deficit_usd",
    "supply_apr",
    "borrow_apr",
    "liq_threshold",
    "liq_bonus",
    "is_stablecoin",
    "flags",
];
const LIQUIDATION: &[&str] = &[
    "chain_id",
    "block_number",
    "log_index",
    "leg",
    "csu",
    "date",
    "tx_hash",
    "liq_id",
    "liquidator",
    "borrower",
    "debt_raw",
    "debt_usd",
    "coll_raw",
    "coll_usd",
    "bad_debt_raw",
    "bad_debt_usd",
    "flags",
];
const REJECT: &[&str] = &["csu", "date"];
const COVERAGE: &[&str] =
    &["csu", "date", "dataset", "status", "blocks_expected", "blocks_scanned", "audit_level", "sha256"];
const DAY_BLOCK: &[&str] = &[
    "chain",
    "date",
    "day_start_utc",
    "day_end_utc",
    "last_block",
    "last_block_ts",
    "n_blocks",
    "bronze_sha256",
];
const CSU: &[&str] = &["csu", "has_borrower", "bad_debt_method"];
const TOKEN: &[&str] = &["chain_id", "token", "pricing"];

impl Silver {
    /// Reads the tables of the run's months.
    ///
    /// # Errors
    /// [`SilverError`]: silver is not there, not whole, or not readable.
    pub async fn read(run: &Run, lake: &Lake) -> Result<Self, SilverError> {
        let months: BTreeSet<String> = run.days.days().map(Day::month).collect();
        let mut reader = Reader { lake, listed: listed(lake).await?, inputs: BTreeMap::new() };

        // The coverage table says what there is; a month without one was never made.
        let mut present = Vec::new();
        let mut months_without = Vec::new();
        let mut coverage = Vec::new();
        for month in &months {
            let path = silver_month(Coverage::TABLE.name, month);
            match reader.table(&path, Coverage::TABLE, COVERAGE).await? {
                Some(frame) => {
                    coverage.push(frame);
                    present.push(month.as_str());
                }
                None => months_without.push(month.clone()),
            }
        }
        if present.is_empty() {
            let months: Vec<_> = months.into_iter().collect();
            return Err(SilverError::None {
                months: months.join(", "),
                location: lake.location().to_owned(),
            });
        }

        Ok(Self {
            coverage: stacked(coverage, Coverage::TABLE, COVERAGE, lake)?,
            reserve_day: reader.months(&present, ReserveDay::TABLE, RESERVE_DAY, true).await?,
            liquidation: reader.months(&present, Liquidation::TABLE, LIQUIDATION, true).await?,
            day_block: reader.months(&present, DayBlock::TABLE, DAY_BLOCK, true).await?,
            // A month without rejected logs may have no file of them.
            reject: reader.months(&present, Reject::TABLE, REJECT, false).await?,
            csu: reader.whole(CsuRow::TABLE, CSU).await?,
            token: reader.whole(TokenRow::TABLE, TOKEN).await?,
            inputs: reader.inputs,
            months_without,
        })
    }
}

/// Digests that silver's own manifest gives, if there is one.
async fn listed(lake: &Lake) -> Result<BTreeMap<String, String>, SilverError> {
    let path = silver_manifest();
    let Some(bytes) = lake.get(&path).await? else { return Ok(BTreeMap::new()) };
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| SilverError::Damaged {
        path: path.to_string(),
        location: lake.location().to_owned(),
        why: error.to_string(),
    })?;
    Ok(manifest.outputs)
}

struct Reader<'a> {
    lake: &'a Lake,
    listed: BTreeMap<String, String>,
    inputs: BTreeMap<String, String>,
}

impl Reader<'_> {
    async fn table(
        &mut self,
        path: &Path,
        table: Table,
        columns: &[&str],
    ) -> Result<Option<DataFrame>, SilverError> {
        let Some(bytes) = self.lake.get(path).await? else { return Ok(None) };
        let name = path.to_string();
        let location = || self.lake.location().to_owned();
        let digest = sha256_hex(&bytes);
        // Compared before parsing: a Parquet reader may make sense of a damaged page.
        if let Some(expected) = self.listed.get(&name)
            && *expected != digest
        {
            let why = format!("its sha256 is {digest}, silver's manifest says {expected}");
            return Err(SilverError::Damaged { path: name, location: location(), why });
        }
        let frame = decode(&bytes, &table, columns).map_err(|error| match error {
            DecodeError::Unreadable(why) => {
                SilverError::Damaged { path: name.clone(), location: location(), why }
            }
            DecodeError::OtherSchema(why) => {
                SilverError::OtherSchema { path: name.clone(), location: location(), why }
            }
        })?;
        self.inputs.insert(name, digest);
        Ok(Some(frame))
    }

    async fn months(
        &mut self,
        months: &[&str],
        table: Table,
        columns: &[&str],
        required: bool,
    ) -> Result<LazyFrame, SilverError> {
        let mut frames = Vec::new();
        for month in months {
            let path = silver_month(table.name, month);
            match self.table(&path, table, columns).await? {
                Some(frame) => frames.push(frame),
                None if required => return Err(self.incomplete(&path)),
                None => {}
            }
        }
        stacked(frames, table, columns, self.lake)
    }

    async fn whole(&mut self, table: Table, columns: &[&str]) -> Result<LazyFrame, SilverError> {
        let path = silver_whole(table.name);
        match self.table(&path, table, columns).await? {
            Some(frame) => Ok(frame.lazy()),
            None => Err(self.incomplete(&path)),
        }
    }

    fn incomplete(&self, path: &Path) -> SilverError {
        SilverError::Incomplete { path: path.to_string(), location: self.lake.location().to_owned() }
    }
}

/// Frames of one table, one below the other.
fn stacked(
    frames: Vec<DataFrame>,
    table: Table,
    columns: &[&str],
    lake: &Lake,
) -> Result<LazyFrame, SilverError> {
    let failed = |error: PolarsError| SilverError::Damaged {
        path: lake::path::silver_table(table.name).to_string(),
        location: lake.location().to_owned(),
        why: first_line(&error),
    };
    let mut frames = frames.into_iter();
    let Some(mut all) = frames.next() else {
        return empty(&table, columns).map(DataFrame::lazy).map_err(failed);
    };
    for frame in frames {
        all.vstack_mut(&frame).map_err(failed)?;
    }
    Ok(all.lazy())
}

fn empty(table: &Table, columns: &[&str]) -> PolarsResult<DataFrame> {
    let wanted = table.columns.iter().filter(|column| columns.contains(&column.name));
    let columns = wanted
        .map(|column| {
            let kind = if column.kind == Kind::Date { DataType::Int32 } else { frame_type(column.kind) };
            Column::new_empty(column.name.into(), &kind)
        })
        .collect();
    DataFrame::new(0, columns)
}

pub(crate) enum DecodeError {
    Unreadable(String),
    OtherSchema(String),
}

/// The named columns of a Parquet file, with days as day numbers and instants as microseconds.
pub(crate) fn decode(bytes: &[u8], table: &Table, columns: &[&str]) -> Result<DataFrame, DecodeError> {
    caught(|| decode_or_panic(bytes, table, columns))
}

thread_local! {
    static IS_READING: Cell<bool> = const { Cell::new(false) };
}

/// polars' reader panics on some footers that are out of specification. That is a damaged file, and nothing that a
/// user should see a backtrace of.
fn caught<T>(read: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IS_READING.get() {
                usual(info);
            }
        }));
    });
    IS_READING.set(true);
    let result = std::panic::catch_unwind(AssertUnwindSafe(read));
    IS_READING.set(false);
    result.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
        let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(DecodeError::Unreadable(format!("the reader gave up: {}", words.unwrap_or_default())))
    })
}

fn decode_or_panic(bytes: &[u8], table: &Table, columns: &[&str]) -> Result<DataFrame, DecodeError> {
    let unreadable = |error: PolarsError| DecodeError::Unreadable(first_line(&error));
    let mut reader = ParquetReader::new(Cursor::new(bytes)).read_parallel(ParallelStrategy::None);
    let found = reader.schema().map_err(unreadable)?;
    let missing = columns.iter().find(|name| !found.contains(name));
    if let Some(name) = missing {
        return Err(DecodeError::OtherSchema(format!("it has no column `{name}`")));
    }
    let names = columns.iter().map(|name| (*name).to_owned()).collect();
    let frame = reader.with_columns(Some(names)).finish().map_err(unreadable)?;

    let mut casts = Vec::new();
    for column in table.columns.iter().filter(|column| columns.contains(&column.name)) {
        let have = frame.column(column.name).map_err(unreadable)?.dtype();
        if !is_of_kind(have, column.kind) {
            return Err(DecodeError::OtherSchema(format!(
                "column `{}` holds {have}, not {}",
                column.name,
                column.kind.name()
            )));
        }
        let value = col(column.name);
        casts.push(match column.kind {
            Kind::Date => value.cast(DataType::Int32),
            Kind::Timestamp => value.cast(DataType::Int64),
            _ => value,
        });
    }
    frame.lazy().select(casts).collect().map_err(unreadable)
}

fn is_of_kind(have: &DataType, kind: Kind) -> bool {
    match kind {
        Kind::Timestamp => matches!(have, DataType::Datetime(TimeUnit::Microseconds, _)),
        _ => *have == frame_type(kind),
    }
}

/// The polars type of a column; instants are held as microseconds.
fn frame_type(kind: Kind) -> DataType {
    match kind {
        Kind::Text => DataType::String,
        Kind::Int32 => DataType::Int32,
        Kind::Int64 | Kind::Timestamp => DataType::Int64,
        Kind::Float64 => DataType::Float64,
        Kind::Date => DataType::Date,
        Kind::Boolean => DataType::Boolean,
    }
}

/// polars adds backtraces and plans below its first line.
pub(crate) fn first_line(error: &PolarsError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lake::table_file::parquet_bytes;

    fn coverage() -> Vec<u8> {
        let row = |csu: &str| Coverage {
            csu: csu.into(),
            date: "2024-12-01".parse().unwrap(),
            dataset: lake::status::Dataset::Tvl,
            status: lake::status::Status::Collected,
            reason: None,
            message: None,
            calls_planned: Some(3),
            calls_ok: Some(3),
            blocks_expected: Some(7),
            blocks_scanned: None,
            audit_level: None,
            object: None,
            sha256: Some("abc".into()),
        };
        parquet_bytes(vec![row("a"), row("b")]).unwrap()
    }

    #[test]
    fn days_become_day_numbers() {
        let Ok(frame) = decode(&coverage(), &Coverage::TABLE, COVERAGE) else { panic!("not decoded") };
        assert_eq!(frame.column("date").unwrap().i32().unwrap().get(0), Some(20_058));
        assert_eq!(frame.height(), 2);
    }

    #[test]
    fn a_file_that_ends_early_is_unreadable() {
        let whole = coverage();
        for length in 0..whole.len() {
            let cut = decode(&whole[..length], &Coverage::TABLE, COVERAGE);
            assert!(matches!(cut, Err(DecodeError::Unreadable(_))), "cut at {length}");
        }
    }

    #[test]
    fn a_reader_that_panics_is_an_unreadable_file() {
        let caught = caught(|| Option::<usize>::None.map_or_else(|| panic!("no such chunk"), Ok));
        assert!(matches!(caught, Err(DecodeError::Unreadable(why)) if why.contains("no such chunk")));
    }
}
