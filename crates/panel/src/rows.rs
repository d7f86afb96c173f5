//! A Parquet file of the lake as one Arrow batch, with its columns by name.
//!
//! Arrow keeps every type of the file as it is, so what is read here can be exported, compared and published without a
//! change of a bit. [`crate::silver`] reads with polars, which joins and counts.

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Date32Type};
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, RecordBatch, StringArray};
use bytes::Bytes;
use lake::day::Day;
use lake::path::gold_file;
use lake::schema::Row;
use lake::schema::gold::PanelDaily;
use lake::store::{Lake, StoreError};
use lake::table_file::{Unreadable, read_batch, read_columns};
use object_store::path::Path;

use crate::build::PARQUET;

/// Why gold could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowsError {
    /// The object store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is none.
    #[error("no panel in the lake at {location}\nhint: run `panel build` (make gold) first")]
    None {
        /// The lake.
        location: String,
    },
    /// It cannot be read, or lacks a column of this program's schema.
    #[error(
        "cannot read {file}: {why}\nhint: the file was cut off, edited or written by another version; run the stage that writes it again (make silver, make gold)"
    )]
    Damaged {
        /// The file, with its place.
        file: String,
        /// What is wrong.
        why: String,
    },
}

/// The rows of a file, in its order, with its columns by name.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Where it was read from, for messages.
    pub name: String,
    /// The rows.
    pub batch: RecordBatch,
    /// The bytes of the file.
    pub bytes: Bytes,
}

impl Rows {
    /// The panel of a lake, with every column of [`PanelDaily`] in the type it must have.
    ///
    /// # Errors
    /// [`RowsError`].
    pub async fn of_gold(lake: &Lake) -> Result<Self, RowsError> {
        let path = gold_file(PARQUET);
        let location = || lake.location().trim_end_matches('/').to_owned();
        let bytes = lake.get(&path).await?.ok_or_else(|| RowsError::None { location: location() })?;
        let gold = Self::parse(&format!("{}/{path}", location()), bytes)?;
        gold.check_schema()?;
        Ok(gold)
    }

    /// The named columns of a file of the lake; `None` when there is no such file.
    ///
    /// # Errors
    /// [`RowsError`].
    pub async fn of_lake(lake: &Lake, path: &Path, columns: &[&str]) -> Result<Option<Self>, RowsError> {
        let Some(bytes) = lake.get(path).await? else { return Ok(None) };
        let name = format!("{}/{path}", lake.location().trim_end_matches('/'));
        Self::of(&name, read_columns(bytes.clone(), columns), bytes).map(Some)
    }

    /// Any Parquet file, whatever its columns.
    ///
    /// # Errors
    /// [`RowsError::Damaged`].
    pub fn parse(name: &str, bytes: Bytes) -> Result<Self, RowsError> {
        Self::of(name, read_batch(bytes.clone()), bytes)
    }

    fn of(name: &str, batch: Result<RecordBatch, Unreadable>, bytes: Bytes) -> Result<Self, RowsError> {
        let name = name.to_owned();
        match batch {
            Ok(batch) => Ok(Self { name, batch, bytes }),
            Err(error) => Err(RowsError::Damaged { file: name, why: error.to_string() }),
        }
    }

    /// Whether every column of the panel is there in its type.
    fn check_schema(&self) -> Result<(), RowsError> {
        for column in PanelDaily::TABLE.columns {
            let have = self.column(column.name)?.data_type();
            if *have != column.kind.data_type() {
                return Err(self.damaged(format!(
                    "column `{}` holds {have}, not {}",
                    column.name,
                    column.kind.name()
                )));
            }
        }
        Ok(())
    }

    /// An error about this file.
    pub fn damaged(&self, why: String) -> RowsError {
        RowsError::Damaged { file: self.name.clone(), why }
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.batch.num_rows()
    }

    /// A column.
    ///
    /// # Errors
    /// [`RowsError::Damaged`] when there is none of that name.
    pub fn column(&self, name: &str) -> Result<&ArrayRef, RowsError> {
        self.batch.column_by_name(name).ok_or_else(|| self.damaged(format!("it has no column `{name}`")))
    }

    /// A column of text.
    ///
    /// # Errors
    /// [`RowsError::Damaged`] when there is none, or it holds another type.
    pub fn text(&self, name: &str) -> Result<&StringArray, RowsError> {
        self.column(name)?.as_string_opt::<i32>().ok_or_else(|| self.other_type(name, "text"))
    }

    /// A column of numbers, days (numbers of days) or instants.
    ///
    /// # Errors
    /// [`RowsError::Damaged`] when there is none, or it holds another type.
    pub fn numbers<T: ArrowPrimitiveType>(&self, name: &str) -> Result<&PrimitiveArray<T>, RowsError> {
        let array = self.column(name)?.as_primitive_opt::<T>();
        array.ok_or_else(|| self.other_type(name, &T::DATA_TYPE.to_string()))
    }

    /// A column of truths.
    ///
    /// # Errors
    /// [`RowsError::Damaged`] when there is none, or it holds another type.
    pub fn booleans(&self, name: &str) -> Result<&BooleanArray, RowsError> {
        self.column(name)?.as_boolean_opt().ok_or_else(|| self.other_type(name, "booleans"))
    }

    fn other_type(&self, name: &str, wanted: &str) -> RowsError {
        self.damaged(format!("column `{name}` does not hold {wanted}"))
    }

    /// CSU and day of every row.
    ///
    /// # Errors
    /// [`RowsError::Damaged`] when the key columns are not there.
    pub fn keys(&self) -> Result<Vec<(String, Day)>, RowsError> {
        let (csu, date) = (self.text("csu")?, self.numbers::<Date32Type>("date")?);
        let keys = csu.iter().zip(date.iter()).map(|(csu, date)| match (csu, date) {
            (Some(csu), Some(date)) => Ok((csu.to_owned(), Day::from_days_since_epoch(date))),
            _ => Err(self.damaged("a row has no csu or no date".to_owned())),
        });
        keys.collect()
    }

    /// The rows for which `keep` holds.
    ///
    /// # Errors
    /// [`RowsError::Damaged`] as [`Rows::keys`].
    pub fn rows_where(&self, keep: impl Fn(&str, Day) -> bool) -> Result<Self, RowsError> {
        let mask: BooleanArray = self.keys()?.iter().map(|(csu, date)| Some(keep(csu, *date))).collect();
        let batch = arrow_select::filter::filter_record_batch(&self.batch, &mask)
            .map_err(|error| self.damaged(error.to_string()))?;
        Ok(Self { batch, ..self.clone() })
    }
}

/// A number, or `None` for a null.
pub(crate) fn at<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    (row < array.len() && array.is_valid(row)).then(|| array.value(row))
}

/// A text, or `None` for a null.
pub(crate) fn text_at(array: &StringArray, row: usize) -> Option<&str> {
    (row < array.len() && array.is_valid(row)).then(|| array.value(row))
}
