//! Rows as text: the CSV twin of the panel, and the digest of a row.
//!
//! One form of each value serves both: text as it is, integers in decimal, floats in the shortest decimal form that
//! reads back as the same float (always with a point or an exponent), days as `YYYY-MM-DD`, instants as RFC 3339 in
//! UTC to the second, `true` and `false`. A null is an empty CSV field.

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use lake::day::Day;
use lake::digest::sha256_hex;
use lake::schema::gold::PanelDaily;
use lake::schema::{BadCell, Row};

/// Name of the column that [`row_hash`] fills. It is the last of a table that has one.
pub(crate) const ROW_HASH: &str = "row_hash";

/// The rows as CSV after RFC 4180: a header, fields quoted where they must be, lines ended by CR LF.
///
/// # Errors
/// A value no column may hold, or what the CSV writer reports.
pub fn csv_bytes(rows: &[PanelDaily]) -> Result<Vec<u8>, CsvError> {
    csv_of(&PanelDaily::to_batch(rows)?)
}

/// [`csv_bytes`] of rows that are columns already.
///
/// # Errors
/// What the CSV writer reports.
pub fn csv_of(batch: &RecordBatch) -> Result<Vec<u8>, CsvError> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(batch.schema_ref().fields().iter().map(|field| field.name()))?;
    for row in 0..batch.num_rows() {
        writer.write_record(batch.columns().iter().map(|array| cell_text(array, row).unwrap_or_default()))?;
    }
    writer.into_inner().map_err(|error| CsvError::Writer(error.into_error().into()))
}

/// Why the CSV could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    /// A value that no column may hold.
    #[error(transparent)]
    Cell(#[from] BadCell),
    /// The writer refused.
    #[error("cannot write the CSV: {0}")]
    Writer(#[from] csv::Error),
}

/// SHA-256 over the row's columns in order of the table, without `row_hash`: a line `name=value` for each, or `name`
/// alone for a null, each ended by a line feed.
///
/// # Errors
/// A value that no column may hold.
pub fn row_hash(row: &PanelDaily) -> Result<String, BadCell> {
    let batch = PanelDaily::to_batch(std::slice::from_ref(row))?;
    let mut text = String::new();
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if field.name() == ROW_HASH {
            continue;
        }
        text.push_str(field.name());
        if let Some(value) = cell_text(array, 0) {
            text.push('=');
            text.push_str(&value);
        }
        text.push('\n');
    }
    Ok(sha256_hex(text.as_bytes()))
}

/// The text of a cell, or `None` for a null.
pub(crate) fn cell_text(array: &ArrayRef, row: usize) -> Option<String> {
    if row >= array.len() || array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Utf8 => Some(array.as_string_opt::<i32>()?.value(row).to_owned()),
        DataType::Int32 => Some(array.as_primitive_opt::<Int32Type>()?.value(row).to_string()),
        DataType::Int64 => Some(array.as_primitive_opt::<Int64Type>()?.value(row).to_string()),
        DataType::Float64 => Some(float_text(array.as_primitive_opt::<Float64Type>()?.value(row))),
        DataType::Date32 => {
            let days = array.as_primitive_opt::<Date32Type>()?.value(row);
            Some(Day::from_days_since_epoch(days).to_string())
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros = array.as_primitive_opt::<TimestampMicrosecondType>()?.value(row);
            Some(instant_text(micros.div_euclid(1_000_000)))
        }
        DataType::Boolean => Some(array.as_boolean_opt()?.value(row).to_string()),
        // No table of the lake has another type (`lake::schema::Kind`).
        _ => None,
    }
}

/// Shortest decimal form that reads back as the same float; of two such that are as near, the one with the even digit, as
/// Python's `repr` has it. The point or exponent that it always has keeps readers that guess types from taking a column of
/// whole numbers for integers.
pub(crate) fn write_float(value: f64, text: &mut String) {
    text.push_str(zmij::Buffer::new().format_finite(value));
}

/// [`write_float`] as a text of its own.
pub(crate) fn float_text(value: f64) -> String {
    let mut text = String::new();
    write_float(value, &mut text);
    text
}

/// Unix seconds as RFC 3339 in UTC.
pub(crate) fn instant_text(seconds: i64) -> String {
    const DAY: i64 = 86_400;
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let date = Day::from_days_since_epoch(i32::try_from(days).unwrap_or(i32::MAX));
    format!("{date}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn instants_are_rfc_3339() {
        assert_eq!(instant_text(0), "1970-01-01T00:00:00Z");
        assert_eq!(instant_text(1_730_696_399), "2024-11-04T04:59:59Z");
        assert_eq!(instant_text(-1), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn whole_floats_keep_their_point() {
        let floats = [0.0, 0.1, 1e15, 1e22, 1e-5, 1e-7, 5_124_013_263_665_706.0 / 8.0];
        let texts = ["0.0", "0.1", "1000000000000000.0", "1e+22", "0.00001", "1e-7", "640501657958213.2"];
        assert_eq!(floats.map(float_text), texts);
    }

    proptest! {
        #[test]
        fn floats_read_back(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
            prop_assert_eq!(float_text(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
        }
    }
}
