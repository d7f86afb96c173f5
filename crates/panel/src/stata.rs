//! Rows for Stata: a `.dta` file of release 118 (Stata 14 and later).
//!
//! Text becomes `str#`, whole numbers `long` or `double`, floats `double`, days `%td` (days since 1960-01-01), instants
//! `%tc` (milliseconds since 1960, UTC), truths `byte`. A null number becomes an extended missing value that says why
//! ([`LETTERS`]); a null text becomes `""`. Variable labels are those of the codebook.
//! No time stamp is written, so the same rows give the same bytes.

use crate::rows::{Rows, RowsError, at, text_at};
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use dta::stata::dta::byte_order::ByteOrder;
use dta::stata::dta::dta_error::DtaError;
use dta::stata::dta::dta_writer::DtaWriter;
use dta::stata::dta::header::Header;
use dta::stata::dta::release::Release;
use dta::stata::dta::schema::Schema;
use dta::stata::dta::value::Value;
use dta::stata::dta::variable::Variable;
use dta::stata::dta::variable_type::VariableType;
use dta::stata::missing_value::MissingValue;
use dta::stata::stata_byte::StataByte;
use dta::stata::stata_double::StataDouble;
use dta::stata::stata_long::StataLong;
use lake::schema::gold::PanelDaily;
use lake::schema::{Column, Row};
use lake::status::{Status, UsdStatus};
use std::borrow::Cow;
use std::io::Cursor;

/// Days from 1960-01-01, Stata's first, to 1970-01-01.
const EPOCH_DAYS: i32 = 3_653;
/// Longest text that a `str#` holds, in bytes.
const LONGEST_TEXT: usize = 2_045;
/// Why a panel could not become a `.dta` file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StataError {
    /// Rows lacks a column or holds another type.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// A value that no Stata type holds.
    #[error(
        "column `{column}`, row {row}: {why}\nhint: Stata has no type for it; export CSV or Parquet instead"
    )]
    Value {
        /// Column.
        column: String,
        /// Row, from 0.
        row: usize,
        /// What is wrong.
        why: String,
    },
    /// The writer refused.
    #[error("cannot write the .dta file: {0}")]
    Writer(#[from] DtaError),
}

/// The panel as the bytes of a `.dta` file.
///
/// # Errors
/// [`StataError`].
pub fn dta_bytes(gold: &Rows) -> Result<Vec<u8>, StataError> {
    let why = Reasons::of(gold)?;
    let variables = PanelDaily::TABLE
        .columns
        .iter()
        .map(|column| StataColumn::of(gold, column))
        .collect::<Result<Vec<_>, _>>()?;
    let schema = Schema::builder()
        .variables(variables.iter().map(StataColumn::variable).collect())
        .sort_order(sort_order(&variables))
        .build()?;
    // Windows and macOS are little-endian too; Stata reads either.
    let header = Header::builder(Release::V118, ByteOrder::LittleEndian)
        .dataset_label("lendlake panel_daily: one lending deployment (csu) on one day")
        .build();
    let mut writer = DtaWriter::new()
        .from_writer(Cursor::new(Vec::new()))
        .write_header(header)?
        .write_schema(schema)?
        .into_record_writer()?;
    for row in 0..gold.height() {
        let values: Vec<_> =
            variables.iter().map(|column| column.value(row, &why)).collect::<Result<_, _>>()?;
        writer.write_record(&values)?;
    }
    Ok(writer.into_long_string_writer()?.into_value_label_writer()?.finish()?.into_inner())
}

fn sort_order(columns: &[StataColumn<'_>]) -> Vec<u32> {
    let keys = columns.iter().enumerate().filter(|(_, column)| column.column.is_key);
    keys.filter_map(|(at, _)| u32::try_from(at).ok()).collect()
}

/// What decides whether a column's figures were measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Governor {
    /// The snapshot at the day's last block.
    Snapshot,
    /// The scan for liquidations.
    Scan,
    /// Neither: the column has a rule of its own.
    Neither,
}

/// Read from the column's null rule, following `as <column>` to the rule it names.
fn governor(column: &Column) -> Governor {
    let rule = column.null_when;
    if rule.contains("snap_status") {
        return Governor::Snapshot;
    }
    if rule.contains("liq_status") {
        return Governor::Scan;
    }
    let named = rule.strip_prefix("as ").and_then(|rule| rule.split([',', ' ']).next());
    let other = named.and_then(|name| PanelDaily::TABLE.columns.iter().find(|column| column.name == name));
    other.filter(|other| other.name != column.name).map_or(Governor::Neither, governor)
}

/// The extended missing value (`.a` to `.z`) of each status under which a figure is not measured. A figure that was
/// measured and has no value, such as a ratio to zero, is the plain `.`.
pub const LETTERS: [(Status, MissingValue); 8] = [
    (Status::ArchiveUnavailable, MissingValue::A),
    (Status::NoBlock, MissingValue::B),
    (Status::Failed, MissingValue::F),
    (Status::NotDeployed, MissingValue::N),
    (Status::Partial, MissingValue::P),
    (Status::Retired, MissingValue::R),
    (Status::NotAttempted, MissingValue::T),
    (Status::Unsupported, MissingValue::U),
];
/// The snapshot was collected, a reserve with a balance has no price.
pub const NO_PRICE: MissingValue = MissingValue::X;

/// Why the nulls of each row are null, by what governs the column.
struct Reasons {
    snapshot: Vec<MissingValue>,
    scan: Vec<MissingValue>,
}

impl Reasons {
    fn of(gold: &Rows) -> Result<Self, StataError> {
        let letter = |word: Option<&str>| {
            let status = word.and_then(|word| word.parse::<Status>().ok());
            let found = LETTERS.iter().find(|(known, _)| Some(*known) == status);
            found.map_or(MissingValue::System, |(_, letter)| *letter)
        };
        let usd = gold.text("usd_status")?;
        let snapshot =
            gold.text("snap_status")?.iter().zip(usd.iter()).map(|(snap, usd)| match letter(snap) {
                MissingValue::System if usd != Some(UsdStatus::Complete.as_str()) => NO_PRICE,
                letter => letter,
            });
        let scan = gold.text("liq_status")?.iter().map(letter);
        Ok(Self { snapshot: snapshot.collect(), scan: scan.collect() })
    }

    fn why(&self, governor: Governor, row: usize) -> MissingValue {
        let letters = match governor {
            Governor::Snapshot => &self.snapshot,
            Governor::Scan => &self.scan,
            Governor::Neither => return MissingValue::System,
        };
        letters.get(row).copied().unwrap_or_default()
    }
}

struct StataColumn<'a> {
    column: &'static Column,
    array: &'a ArrayRef,
    governor: Governor,
    kind: VariableType,
    format: String,
}

impl<'a> StataColumn<'a> {
    fn of(gold: &'a Rows, column: &'static Column) -> Result<Self, StataError> {
        let array = gold.column(column.name)?;
        let (kind, format) = match array.data_type() {
            DataType::Utf8 => {
                let width = text_width(array, column.name)?;
                (VariableType::FixedString(width), format!("%-{}s", width.min(40)))
            }
            DataType::Int32 => (VariableType::Long, "%12.0g".to_owned()),
            DataType::Date32 => (VariableType::Long, "%tdCCYY-NN-DD".to_owned()),
            DataType::Timestamp(..) => (VariableType::Double, "%tcCCYY-NN-DD_HH:MM:SS".to_owned()),
            DataType::Boolean => (VariableType::Byte, "%8.0g".to_owned()),
            _ if column.unit == "USD" => (VariableType::Double, "%20.2fc".to_owned()),
            _ => (VariableType::Double, "%12.0g".to_owned()),
        };
        Ok(Self { column, array, governor: governor(column), kind, format })
    }

    fn variable(&self) -> dta::stata::dta::variable::VariableBuilder {
        Variable::builder(self.kind, self.column.name).format(&self.format).label(self.column.label())
    }

    fn value(&self, row: usize, reasons: &Reasons) -> Result<Value<'a>, StataError> {
        let why = reasons.why(self.governor, row);
        let array = self.array;
        let misfit = |why: String| StataError::Value { column: self.column.name.to_owned(), row, why };
        let other = || misfit(format!("{} is no type of the panel", array.data_type()));
        let double =
            |value: Option<f64>| Value::Double(value.map_or(StataDouble::Missing(why), StataDouble::Present));
        Ok(match array.data_type() {
            DataType::Utf8 => {
                let texts = array.as_string_opt::<i32>().ok_or_else(other)?;
                Value::String(Cow::Borrowed(text_at(texts, row).unwrap_or_default()))
            }
            DataType::Int32 | DataType::Date32 => {
                let value = match array.as_primitive_opt::<Date32Type>() {
                    Some(days) => at(days, row).map(|days| days.saturating_add(EPOCH_DAYS)),
                    None => at(array.as_primitive_opt::<Int32Type>().ok_or_else(other)?, row),
                };
                // Stata keeps the largest 27 numbers and the smallest for its missing values.
                const LARGEST: i32 = 2_147_483_620;
                if let Some(value) = value.filter(|value| *value > LARGEST || *value == i32::MIN) {
                    return Err(misfit(format!("{value} does not fit a `long`")));
                }
                Value::Long(value.map_or(StataLong::Missing(why), StataLong::Present))
            }
            DataType::Int64 => {
                let value = at(array.as_primitive_opt::<Int64Type>().ok_or_else(other)?, row);
                const EXACT: u64 = 1 << 53;
                if let Some(value) = value.filter(|value| value.unsigned_abs() > EXACT) {
                    return Err(misfit(format!("{value} does not fit a `double` without rounding")));
                }
                double(value.map(|value| value as f64))
            }
            DataType::Float64 => double(at(array.as_primitive_opt::<Float64Type>().ok_or_else(other)?, row)),
            DataType::Timestamp(..) => {
                let micros = at(array.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(other)?, row);
                let epoch = i64::from(EPOCH_DAYS) * 86_400_000;
                double(micros.map(|micros| (micros.div_euclid(1_000) + epoch) as f64))
            }
            DataType::Boolean => {
                let truths = array.as_boolean_opt().ok_or_else(other)?;
                let value = truths.is_valid(row).then(|| i8::from(truths.value(row)));
                Value::Byte(value.map_or(StataByte::Missing(why), StataByte::Present))
            }
            _ => return Err(other()),
        })
    }
}

/// Bytes of the longest text of a column; 1 for a column of empty texts, since Stata has no `str0`.
fn text_width(array: &ArrayRef, column: &str) -> Result<u16, StataError> {
    let Some(texts) = array.as_string_opt::<i32>() else { return Ok(1) };
    let mut width = 1;
    for (row, text) in texts.iter().enumerate() {
        let length = text.unwrap_or_default().len();
        if length > LONGEST_TEXT {
            let why = format!("a text of {length} bytes is longer than {LONGEST_TEXT}");
            return Err(StataError::Value { column: column.to_owned(), row, why });
        }
        width = width.max(length);
    }
    Ok(u16::try_from(width).unwrap_or(LONGEST_TEXT as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str) -> &'static Column {
        PanelDaily::TABLE.columns.iter().find(|column| column.name == name).unwrap()
    }

    #[test]
    fn every_nullable_figure_but_those_of_the_clock_is_governed_by_a_status() {
        for (name, expected) in [
            ("tvl_usd", Governor::Snapshot),
            ("borrow_apr_stable", Governor::Snapshot),
            ("liq_threshold_wavg", Governor::Snapshot),
            ("px_other_share", Governor::Snapshot),
            ("liq_count", Governor::Scan),
            ("bad_debt_usd", Governor::Scan),
            ("top1_liquidator_share", Governor::Scan),
            ("block_ts", Governor::Neither),
            ("log_cov_share", Governor::Neither),
            ("csu", Governor::Neither),
        ] {
            assert_eq!(governor(column(name)), expected, "{name}");
        }
        let left: Vec<_> = PanelDaily::TABLE
            .columns
            .iter()
            .filter(|column| column.nullable && governor(column) == Governor::Neither)
            .map(|column| column.name)
            .collect();
        let clock = [
            "block_number",
            "block_ts",
            "snap_lag_s",
            "age_days",
            "blocks_expected",
            "blocks_scanned",
            "log_cov_share",
        ];
        assert_eq!(left, clock);
    }

    #[test]
    fn every_status_that_measures_nothing_has_a_letter_of_its_own() {
        for status in Status::ALL.iter().filter(|status| **status != Status::Collected) {
            assert!(LETTERS.iter().any(|(known, _)| known == status), "{status}");
        }
        let mut letters: Vec<_> = LETTERS.iter().map(|(_, letter)| letter.code()).collect();
        letters.push(NO_PRICE.code());
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(letters.len(), LETTERS.len() + 1);
    }
}
