//! Reading silver: the lake's Parquet bytes as polars frames, each column checked against the type it must have.
//!
//! Silver is read a month at a time: a run's months never share a CSU-day, and so memory is bounded by the months in
//! flight. Days are turned into day numbers (days since 1970-01-01, Int32) on the way in, so that nothing below depends on
//! how a program shows dates.

use bytes::Bytes;
use lake::day::Day;
use lake::digest::sha256_hex;
use lake::manifest::Manifest;
use lake::path::{BronzeKey, silver_manifest, silver_month, silver_whole};
use lake::run::Run;
use lake::schema::silver::{Coverage, CsuRow, DayBlock, Liquidation, Reject, ReserveDay, TokenRow};
use lake::schema::{Kind, Row, Table};
use lake::store::{Lake, StoreError};
use lake::table_file::schema_version;
use object_store::path::Path;
use polars::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Once};

/// Name and version of the layer that this program reads, as in its manifest.
const LAYER: &str = "silver/1";

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
    /// Silver was made with another registry.
    #[error(
        "silver in the lake at {location} was made with another registry ({found}, the run has {expected})\nhint: run `transform run` (make silver) again, or give the run the registry that silver was made with"
    )]
    OtherRegistry {
        /// Digest of silver's registry.
        found: String,
        /// Digest of the run's registry.
        expected: String,
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

/// What there is of silver for a run's months. The tables of a month are read by [`Silver::month`].
pub struct Silver {
    lake: Lake,
    listed: BTreeMap<String, String>,
    /// `csu`.
    pub csu: DataFrame,
    /// `token`.
    pub token: DataFrame,
    /// Path and sha256 of the tables above.
    pub inputs: BTreeMap<String, String>,
    /// Path and sha256 of every bronze object that silver was made from, as its manifest has them.
    bronze: Arc<RawValue>,
    /// Months of the run that silver has.
    pub months: Vec<String>,
    /// Months of the run that silver does not have.
    pub months_without: Vec<String>,
}

/// The silver tables of one month, with the columns that the panel needs.
pub struct Month {
    /// `reserve_day`.
    pub reserve_day: DataFrame,
    /// `liquidation`.
    pub liquidation: DataFrame,
    /// `reject`.
    pub reject: DataFrame,
    /// `coverage`.
    pub coverage: DataFrame,
    /// `day_block`.
    pub day_block: DataFrame,
    /// Path and sha256 of every file read.
    pub inputs: BTreeMap<String, String>,
}

/// The files of one month as bytes: reading them waits, decoding them computes.
pub struct MonthFiles {
    location: String,
    listed: BTreeMap<String, String>,
    files: Vec<(Path, Bytes)>,
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
    "asset_class",
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
    "debt_price_source",
    "coll_price_source",
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
const CSU: &[&str] = &["csu", "has_borrower", "has_debt_amount", "bad_debt_method"];
const TOKEN: &[&str] = &["chain_id", "token", "pricing"];

/// The tables of a month and the columns read.
const OF_A_MONTH: &[(Table, &[&str])] = &[
    (Coverage::TABLE, COVERAGE),
    (ReserveDay::TABLE, RESERVE_DAY),
    (Liquidation::TABLE, LIQUIDATION),
    (DayBlock::TABLE, DAY_BLOCK),
    (Reject::TABLE, REJECT),
];

impl Silver {
    /// Looks what silver has for a run and reads the tables without months.
    ///
    /// # Errors
    /// [`SilverError`]: silver is not there, not whole, not readable, of another schema or of another registry.
    pub async fn open(run: &Run, lake: &Lake) -> Result<Self, SilverError> {
        let location = || lake.location().to_owned();
        let months: BTreeSet<String> = run.days.days().map(Day::month).collect();
        // The coverage table says what there is; a month without one was never made.
        let is_there: BTreeSet<String> = lake
            .list(&lake::path::silver_table(Coverage::TABLE.name))
            .await?
            .iter()
            .map(ToString::to_string)
            .collect();
        let coverage = |month: &String| silver_month(Coverage::TABLE.name, month).to_string();
        let manifest = manifest(lake).await?;
        let listed = manifest.as_ref().map(|manifest| manifest.outputs.clone()).unwrap_or_default();
        let (present, without): (Vec<String>, Vec<String>) = months
            .into_iter()
            .partition(|month| is_there.contains(&coverage(month)) || listed.contains_key(&coverage(month)));
        if present.is_empty() {
            return Err(SilverError::None { months: spans(&without).join(", "), location: location() });
        }
        let incomplete =
            |path: &Path| SilverError::Incomplete { path: path.to_string(), location: location() };
        // Written last: without it a run of `transform` was cut off.
        let manifest = manifest.ok_or_else(|| incomplete(&silver_manifest()))?;
        if manifest.registry_sha256 != run.registry.sha256() {
            return Err(SilverError::OtherRegistry {
                found: manifest.registry_sha256,
                expected: run.registry.sha256().to_owned(),
                location: location(),
            });
        }
        let mut inputs = BTreeMap::new();
        let mut whole = Vec::new();
        for (table, columns) in [(CsuRow::TABLE, CSU), (TokenRow::TABLE, TOKEN)] {
            let path = silver_whole(table.name);
            let bytes = lake.get(&path).await?.ok_or_else(|| incomplete(&path))?;
            let reading = Reading { location: lake.location(), listed: &listed };
            whole.push(reading.table(&path, &bytes, &table, columns, &mut inputs)?);
        }
        let (Some(token), Some(csu)) = (whole.pop(), whole.pop()) else {
            return Err(incomplete(&silver_whole(CsuRow::TABLE.name)));
        };
        Ok(Self {
            lake: lake.clone(),
            listed,
            csu,
            token,
            inputs,
            bronze: manifest.inputs.into(),
            months: present,
            months_without: without,
        })
    }

    /// The bronze objects with prices that silver was made from.
    pub fn prices(&self) -> Prices {
        Prices { bronze: Arc::clone(&self.bronze), location: self.lake.location().to_owned() }
    }

    /// The files of one of [`Silver::months`].
    ///
    /// # Errors
    /// [`SilverError`]: a file is not there, or the store refuses.
    pub async fn month(&self, month: &str) -> Result<MonthFiles, SilverError> {
        let location = self.lake.location().to_owned();
        let mut files = Vec::new();
        for (table, _) in OF_A_MONTH {
            let path = silver_month(table.name, month);
            match self.lake.get(&path).await? {
                Some(bytes) => files.push((path, bytes)),
                // A month without rejected logs may have no file of them.
                None if table.name == Reject::TABLE.name && !self.listed.contains_key(path.as_ref()) => {}
                None => return Err(SilverError::Incomplete { path: path.to_string(), location }),
            }
        }
        Ok(MonthFiles { location, listed: self.listed.clone(), files })
    }
}

/// The bronze objects with prices, still among all others that silver was made from. CSUs share them: silver's tables do not
/// name them by row, its manifest does.
pub struct Prices {
    bronze: Arc<RawValue>,
    location: String,
}

impl Prices {
    /// Their keys, paths and sha256.
    ///
    /// # Errors
    /// [`SilverError::Damaged`]: the manifest's list is none.
    pub fn read(&self) -> Result<Vec<(BronzeKey, String, String)>, SilverError> {
        let inputs: BTreeMap<Text, Text> = serde_json::from_str(self.bronze.get())
            .map_err(|error| damaged_manifest(&self.location, &error))?;
        let is_price = |key: &BronzeKey| matches!(key, BronzeKey::Prices { .. } | BronzeKey::Fill { .. });
        let prices = inputs.iter().filter_map(|(path, sha256)| {
            let key = BronzeKey::parse(&path.0).filter(is_price)?;
            Some((key, path.0.to_string(), sha256.0.to_string()))
        });
        Ok(prices.collect())
    }
}

impl MonthFiles {
    /// Compares the files with silver's manifest and reads their columns.
    ///
    /// # Errors
    /// [`SilverError`]: a file is not the one that was written, not readable, or of another schema.
    pub fn decode(self) -> Result<Month, SilverError> {
        let reading = Reading { location: &self.location, listed: &self.listed };
        let mut inputs = BTreeMap::new();
        let mut tables = BTreeMap::new();
        for (table, columns) in OF_A_MONTH {
            let prefix = format!("{}/", lake::path::silver_table(table.name));
            let frame = match self.files.iter().find(|(path, _)| path.as_ref().starts_with(&prefix)) {
                Some((path, bytes)) => reading.table(path, bytes, table, columns, &mut inputs)?,
                None => {
                    empty(table, columns).map_err(|error| reading.damaged(&prefix, first_line(&error)))?
                }
            };
            tables.insert(table.name, frame);
        }
        let mut take = |table: Table| tables.remove(table.name).unwrap_or_default();
        Ok(Month {
            reserve_day: take(ReserveDay::TABLE),
            liquidation: take(Liquidation::TABLE),
            reject: take(Reject::TABLE),
            coverage: take(Coverage::TABLE),
            day_block: take(DayBlock::TABLE),
            inputs,
        })
    }
}

/// A text that is not copied out of its JSON where it stands there as it is.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Silver's manifest, if there is one.
async fn manifest(lake: &Lake) -> Result<Option<Manifest<Box<RawValue>>>, SilverError> {
    let path = silver_manifest();
    let Some(bytes) = lake.get(&path).await? else { return Ok(None) };
    let manifest: Manifest<Box<RawValue>> =
        serde_json::from_slice(&bytes).map_err(|error| damaged_manifest(lake.location(), &error))?;
    if manifest.schema != LAYER {
        let why = format!("it is of `{}`, this program reads `{LAYER}`", manifest.schema);
        let location = lake.location().to_owned();
        return Err(SilverError::OtherSchema { path: path.to_string(), location, why });
    }
    Ok(Some(manifest))
}

fn damaged_manifest(location: &str, error: &serde_json::Error) -> SilverError {
    let (path, location) = (silver_manifest().to_string(), location.to_owned());
    SilverError::Damaged { path, location, why: error.to_string() }
}

/// Months as people write them: `2024-10`, or `2015-01 to 2024-10` for those that follow each other.
pub fn spans(months: &[String]) -> Vec<String> {
    let number = |month: &str| -> Option<i32> {
        let (year, month) = month.split_once('-')?;
        Some(year.parse::<i32>().ok()? * 12 + month.parse::<i32>().ok()?)
    };
    let follows =
        |one: &String, two: &String| number(one).zip(number(two)).is_some_and(|(one, two)| one + 1 == two);
    let span = |months: &[String]| match months {
        [] => String::new(),
        [one] => one.clone(),
        [first, .., last] => format!("{first} to {last}"),
    };
    months.chunk_by(follows).map(span).collect()
}

/// Reading files of one lake against silver's manifest.
struct Reading<'a> {
    location: &'a str,
    listed: &'a BTreeMap<String, String>,
}

impl Reading<'_> {
    fn table(
        &self,
        path: &Path,
        bytes: &Bytes,
        table: &Table,
        columns: &[&str],
        inputs: &mut BTreeMap<String, String>,
    ) -> Result<DataFrame, SilverError> {
        let name = path.to_string();
        let digest = sha256_hex(bytes);
        // Compared before parsing: a Parquet reader may make sense of a damaged page.
        match self.listed.get(&name) {
            Some(expected) if *expected == digest => {}
            Some(expected) => {
                let why = format!("its sha256 is {digest}, silver's manifest says {expected}");
                return Err(self.damaged(&name, why));
            }
            None => {
                let why = "silver's manifest does not list it: a run of transform was cut off".to_owned();
                return Err(self.damaged(&name, why));
            }
        }
        let other = |why: String| SilverError::OtherSchema {
            path: name.clone(),
            location: self.location.to_owned(),
            why,
        };
        let found = schema_version(bytes).map_err(|error| self.damaged(&name, error.to_string()))?;
        if let Some(found) = found.filter(|found| found != table.version) {
            let why = format!("it is {} {found}, this program reads {}", table.name, table.version);
            return Err(other(why));
        }
        let frame = decode(bytes, table, columns).map_err(|error| match error {
            DecodeError::Unreadable(why) => self.damaged(&name, why),
            DecodeError::OtherSchema(why) => other(why),
        })?;
        inputs.insert(name, digest);
        Ok(frame)
    }

    fn damaged(&self, path: &str, why: String) -> SilverError {
        SilverError::Damaged { path: path.to_owned(), location: self.location.to_owned(), why }
    }
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
    fn months_that_follow_each_other_are_one_span() {
        let months = ["2023-12", "2024-01", "2024-02", "2024-10"].map(str::to_owned);
        assert_eq!(spans(&months), ["2023-12 to 2024-02", "2024-10"]);
        assert_eq!(spans(&[]), [""; 0]);
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
