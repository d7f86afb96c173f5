//! Sealing rows: the digest of each row, and the row as a line of CSV, from one writing-out of its cells.
//!
//! One form of each value serves both: text as it is, integers in decimal, floats in the shortest decimal form that
//! reads back as the same float (always with a point or an exponent), days as `YYYY-MM-DD`, instants as RFC 3339 in
//! UTC to the second, `true` and `false`. A null is an empty CSV field.
//!
//! The digest, in the column `row_hash`, is SHA-256 over the row's other columns in order of the table: a line
//! `name=value` for each, or `name` alone for a null, each ended by a line feed.

use crate::export::{ROW_HASH, instant_text, write_float};
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use bytes::Bytes;
use lake::day::Day;
use lake::digest::{Sha256Stream, sha256_hex};
use lake::schema::{Kind, Row, Table};
use lake::table_file::{TableError, TableWriter};
use object_store::PutPayload;
use std::sync::Arc;

/// Why rows could not be sealed or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// A value that no column may hold, or what the Parquet writer reports.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The CSV writer refused.
    #[error("cannot write the CSV: {0}")]
    Csv(#[from] csv::Error),
    /// A column that the table's schema does not describe.
    #[error("table {table}: column {column} is not of its type")]
    Column {
        /// Table.
        table: &'static str,
        /// Column.
        column: &'static str,
    },
}

/// Rows with their digests.
pub struct Sealed {
    /// The rows, `row_hash` filled in.
    pub batch: RecordBatch,
    /// The rows as lines of CSV after RFC 4180, ended by CR LF; without a header.
    pub csv: Vec<u8>,
}

/// Rows, sealed. Whatever they have in `row_hash` is replaced.
///
/// # Errors
/// [`SealError`].
pub fn seal<R: Row>(rows: &[R]) -> Result<Sealed, SealError> {
    let batch = R::to_batch(rows).map_err(TableError::from)?;
    let mut csv = csv_writer(Vec::with_capacity(rows.len() * 1024));
    let digests = write_rows(&R::TABLE, &batch, Some(&mut csv))?;
    let mut columns = batch.columns().to_vec();
    if let Some(last) = columns.last_mut() {
        *last = Arc::new(StringArray::from(digests)) as ArrayRef;
    }
    let batch = RecordBatch::try_new(batch.schema(), columns)
        .map_err(|_| SealError::Column { table: R::TABLE.name, column: ROW_HASH })?;
    let csv = csv.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
    Ok(Sealed { batch, csv })
}

/// The digests that the rows of a batch should have, whatever stands in their `row_hash`.
///
/// # Errors
/// [`SealError::Column`] when the batch is not of the table.
pub(crate) fn digests(table: &Table, batch: &RecordBatch) -> Result<Vec<String>, SealError> {
    write_rows(table, batch, None)
}

/// Writes out every cell, once: the digests of the rows, and the rows as lines of `csv`.
fn write_rows(
    table: &Table,
    batch: &RecordBatch,
    mut csv: Option<&mut csv::Writer<Vec<u8>>>,
) -> Result<Vec<String>, SealError> {
    let mut cells = Vec::with_capacity(table.columns.len());
    for column in table.columns.iter().filter(|column| column.name != ROW_HASH) {
        let wrong = SealError::Column { table: table.name, column: column.name };
        let array = batch.column_by_name(column.name).and_then(|array| Cells::of(array, column.kind));
        cells.push((format!("{}=", column.name), array.ok_or(wrong)?));
    }
    let mut digests = Vec::with_capacity(batch.num_rows());
    let mut listing = String::new();
    for row in 0..batch.num_rows() {
        listing.clear();
        for (name, cells) in &cells {
            listing.push_str(name);
            let begin = listing.len();
            let is_null = !cells.write(row, &mut listing);
            if let Some(csv) = csv.as_deref_mut() {
                csv.write_field(listing.get(begin..).unwrap_or_default())?;
            }
            if is_null {
                // Of `name=` remains `name`.
                listing.pop();
            }
            listing.push('\n');
        }
        let digest = sha256_hex(listing.as_bytes());
        if let Some(csv) = csv.as_deref_mut() {
            csv.write_field(&digest)?;
            csv.write_record(None::<&[u8]>)?;
        }
        digests.push(digest);
    }
    Ok(digests)
}

/// A table of gold being written: the Parquet file and its CSV twin.
pub struct Twins<R> {
    parquet: TableWriter<R>,
    /// In pieces, as they came: a year is a hundred megabytes, which nobody needs in one place.
    csv: Vec<Bytes>,
    rows: usize,
}

/// What will be a file: its content and the digest of it.
pub struct Content {
    /// The bytes.
    pub payload: PutPayload,
    /// SHA-256 of all of them, in hex.
    pub sha256: String,
}

impl<P: Into<PutPayload>> From<P> for Content {
    fn from(payload: P) -> Self {
        let payload = payload.into();
        let mut digest = Sha256Stream::default();
        payload.iter().for_each(|piece| digest.add(piece));
        Self { payload, sha256: digest.hex() }
    }
}

impl<R: Row> Twins<R> {
    /// Files without rows.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn new() -> Result<Self, SealError> {
        let mut header = csv_writer(Vec::new());
        header.write_record(R::TABLE.columns.iter().map(|column| column.name))?;
        let csv = header.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
        Ok(Self { parquet: TableWriter::new()?, csv: vec![csv.into()], rows: 0 })
    }

    /// Adds rows; they must come in order of key.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn add(&mut self, rows: Sealed) -> Result<(), SealError> {
        self.rows += rows.batch.num_rows();
        self.parquet.write(&rows.batch)?;
        self.csv.push(rows.csv.into());
        Ok(())
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The Parquet file and the CSV, each made on a thread of its own.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn finish(self) -> Result<[Content; 2], SealError>
    where
        R: Send,
    {
        let Self { parquet, csv, .. } = self;
        let (parquet, csv) = rayon::join(
            || Ok::<_, SealError>(Content::from(parquet.finish()?)),
            || Content::from(csv.into_iter().collect::<PutPayload>()),
        );
        Ok([parquet?, csv])
    }
}

fn csv_writer(bytes: Vec<u8>) -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(bytes)
}

/// The cells of a column, by type.
enum Cells<'a> {
    Text(&'a StringArray),
    Int32(&'a arrow_array::Int32Array),
    Int64(&'a arrow_array::Int64Array),
    Float64(&'a arrow_array::Float64Array),
    Date(&'a arrow_array::Date32Array),
    Timestamp(&'a arrow_array::TimestampMicrosecondArray),
    Boolean(&'a arrow_array::BooleanArray),
}

impl<'a> Cells<'a> {
    fn of(array: &'a ArrayRef, kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Text => Self::Text(array.as_string_opt::<i32>()?),
            Kind::Int32 => Self::Int32(array.as_primitive_opt::<Int32Type>()?),
            Kind::Int64 => Self::Int64(array.as_primitive_opt::<Int64Type>()?),
            Kind::Float64 => Self::Float64(array.as_primitive_opt::<Float64Type>()?),
            Kind::Date => Self::Date(array.as_primitive_opt::<Date32Type>()?),
            Kind::Timestamp => Self::Timestamp(array.as_primitive_opt::<TimestampMicrosecondType>()?),
            Kind::Boolean => Self::Boolean(array.as_boolean_opt()?),
        })
    }

    /// Writes a cell at the end of `text`; `false` and nothing written for a null.
    fn write(&self, row: usize, text: &mut String) -> bool {
        let written = match self {
            Self::Text(array) => array.is_valid(row).then(|| text.push_str(array.value(row))),
            Self::Int32(array) => array.is_valid(row).then(|| write_whole(array.value(row), text)),
            Self::Int64(array) => array.is_valid(row).then(|| write_whole(array.value(row), text)),
            Self::Float64(array) => array.is_valid(row).then(|| write_float(array.value(row), text)),
            Self::Date(array) => array
                .is_valid(row)
                .then(|| text.push_str(&Day::from_days_since_epoch(array.value(row)).to_string())),
            Self::Timestamp(array) => array
                .is_valid(row)
                .then(|| text.push_str(&instant_text(array.value(row).div_euclid(1_000_000)))),
            Self::Boolean(array) => {
                array.is_valid(row).then(|| text.push_str(if array.value(row) { "true" } else { "false" }))
            }
        };
        written.is_some()
    }
}

fn write_whole(value: impl itoa::Integer, text: &mut String) {
    text.push_str(itoa::Buffer::new().format(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{csv_bytes, row_hash};
    use lake::schema::gold::PanelDaily;

    #[test]
    fn sealed_rows_are_what_the_export_writes() {
        let mut rows = crate::frame::tests::rows();
        let mut twins = Twins::<PanelDaily>::new().unwrap();
        for piece in rows.chunks(2) {
            twins.add(seal(piece).unwrap()).unwrap();
        }
        for row in &mut rows {
            row.row_hash = row_hash(row).unwrap();
        }
        assert_eq!(twins.rows(), rows.len());
        let [parquet, csv] = twins.finish().unwrap().map(|content| Bytes::from(content.payload));
        assert_eq!(
            String::from_utf8(csv.into()).unwrap(),
            String::from_utf8(csv_bytes(&rows).unwrap()).unwrap()
        );
        assert!(parquet.starts_with(b"PAR1"));
    }
}
