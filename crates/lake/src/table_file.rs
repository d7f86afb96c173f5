//! Tables as Parquet bytes that old and new readers agree on.
//!
//! zstd, dictionary and plain encodings (floats plain), data pages of version 1, no statistics that depend on a reader, rows sorted
//! by key. The same rows give the same bytes: nothing here asks for the time or the machine.

use crate::schema::{BadCell, KeyPart, Row};
use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use std::marker::PhantomData;
use std::sync::Arc;

/// Why rows could not become a file.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A value no column may hold.
    #[error(transparent)]
    Cell(#[from] BadCell),
    /// Two rows share a key.
    #[error("table {table}: two rows have the key {key:?}")]
    DuplicateKey {
        /// Table.
        table: &'static str,
        /// The key.
        key: Vec<KeyPart>,
    },
    /// The Parquet writer refused.
    #[error("table {table}: {source}")]
    Parquet {
        /// Table.
        table: &'static str,
        /// The writer's error.
        source: parquet::errors::ParquetError,
    },
}

/// Rows sorted by key, as the bytes of a Parquet file.
///
/// # Errors
/// [`TableError`]: a NaN, a repeated key, or a writer's refusal.
pub fn parquet_bytes<R: Row>(mut rows: Vec<R>) -> Result<Vec<u8>, TableError> {
    let table = R::TABLE.name;
    rows.sort_by(Row::key_cmp);
    if let Some(pair) = rows.windows(2).find(|pair| pair[0].key_cmp(&pair[1]).is_eq()) {
        return Err(TableError::DuplicateKey { table, key: pair[0].key() });
    }
    let batch = R::to_batch(&rows)?;
    // The rows weigh more than batch and file together.
    drop(rows);
    batch_bytes(table, &batch)
}

/// A batch of a table, in the order of its rows, as the bytes of a Parquet file.
///
/// # Errors
/// [`TableError::Parquet`].
pub fn batch_bytes(table: &'static str, batch: &RecordBatch) -> Result<Vec<u8>, TableError> {
    let failed = |source| TableError::Parquet { table, source };
    let properties = properties(&batch.schema()).map_err(failed)?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).map_err(failed)?;
    writer.write(batch).map_err(failed)?;
    writer.close().map_err(failed)?;
    for_old_readers(bytes, batch.num_columns()).map_err(failed)
}

/// The file with the order of its float columns named as every reader knows it.
///
/// The parquet crate (60) marks float columns with the column order IEEE_754_TOTAL_ORDER, without a choice; polars 0.20 and
/// other readers of before 2025 refuse such a file ("Invalid thrift: bad data"). The older TYPE_DEFINED_ORDER says the same
/// of columns without NaN, and no column of the lake holds one. In the footer the mark is one byte of the last field, a list
/// with three bytes for each column.
///
/// # Errors
/// When the footer does not end as described; a newer parquet crate may write another.
fn for_old_readers(mut file: Vec<u8>, columns: usize) -> Result<Vec<u8>, ParquetError> {
    /// Field 1 (TYPE_DEFINED_ORDER) or 2 (IEEE_754_TOTAL_ORDER) of the union, an empty struct, the union's end.
    const TYPE_DEFINED: [u8; 3] = [0x1c, 0, 0];
    const TOTAL_ORDER: [u8; 3] = [0x2c, 0, 0];
    /// Length of the footer and `PAR1`, and before them the end of the footer's struct.
    const TAIL: usize = 4 + 4 + 1;
    let unknown = || ParquetError::General("the footer does not end with its column orders".to_owned());
    let end = file.len().checked_sub(TAIL).ok_or_else(unknown)?;
    let begin = end.checked_sub(columns * TYPE_DEFINED.len()).ok_or_else(unknown)?;
    let orders = file.get_mut(begin..end).ok_or_else(unknown)?;
    for order in orders.chunks_exact_mut(TYPE_DEFINED.len()) {
        match order.as_array::<3>() {
            Some(&TYPE_DEFINED) => {}
            Some(&TOTAL_ORDER) => order.copy_from_slice(&TYPE_DEFINED),
            _ => return Err(unknown()),
        }
    }
    Ok(file)
}

/// Bytes that are no Parquet file, or less than one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl Unreadable {
    fn of(error: impl ToString) -> Self {
        // It stands in a message that says that this is an error.
        let text = error.to_string();
        Self(text.strip_prefix("Parquet error: ").unwrap_or(&text).to_owned())
    }
}

/// The schema version that a Parquet file of the lake says it is of; `None` for a file that says nothing.
///
/// # Errors
/// [`Unreadable`].
pub fn schema_version(bytes: &Bytes) -> Result<Option<String>, Unreadable> {
    let metadata = ArrowReaderMetadata::load(bytes, ArrowReaderOptions::new()).map_err(Unreadable::of)?;
    Ok(metadata.schema().metadata().get("schema_version").cloned())
}

/// All rows of a Parquet file, with whatever columns it has.
///
/// # Errors
/// [`Unreadable`]: no Parquet file, or one whose rows are not as many as its footer counts.
pub fn read_batch(bytes: Bytes) -> Result<RecordBatch, Unreadable> {
    read(bytes, None)
}

/// All rows of a Parquet file, with those of the named columns that it has, in the file's order.
///
/// # Errors
/// [`Unreadable`], as [`read_batch`].
pub fn read_columns(bytes: Bytes, columns: &[&str]) -> Result<RecordBatch, Unreadable> {
    read(bytes, Some(columns))
}

fn read(bytes: Bytes, columns: Option<&[&str]>) -> Result<RecordBatch, Unreadable> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(Unreadable::of)?;
    let rows = usize::try_from(builder.metadata().file_metadata().num_rows())
        .map_err(|_| Unreadable("its footer counts a negative number of rows".to_owned()))?;
    let (builder, schema) = match columns {
        None => {
            let schema = Arc::clone(builder.schema());
            (builder, schema)
        }
        Some(columns) => {
            let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
            let mut at: Vec<usize> =
                columns.iter().filter_map(|name| builder.schema().index_of(name).ok()).collect();
            at.sort_unstable();
            let schema = builder.schema().project(&at).map_err(Unreadable::of)?;
            (builder.with_projection(mask), Arc::new(schema))
        }
    };
    // The whole file as one batch.
    let mut reader = builder.with_batch_size(rows.max(1)).build().map_err(Unreadable::of)?;
    let batch = match reader.next() {
        // The reader leaves the table's own metadata out.
        Some(batch) => batch.and_then(|batch| batch.with_schema(schema)).map_err(Unreadable::of)?,
        None => RecordBatch::new_empty(schema),
    };
    if batch.num_rows() != rows {
        return Err(Unreadable(format!("it holds {} rows, its footer counts {rows}", batch.num_rows())));
    }
    Ok(batch)
}

/// Rows that come in pieces, as one Parquet file. The pieces must come in order of key.
pub struct TableWriter<R> {
    writer: ArrowWriter<Vec<u8>>,
    rows: PhantomData<R>,
}

impl<R: Row> TableWriter<R> {
    /// A file without rows.
    ///
    /// # Errors
    /// [`TableError::Parquet`].
    pub fn new() -> Result<Self, TableError> {
        let failed = |source| TableError::Parquet { table: R::TABLE.name, source };
        let schema = Arc::new(R::TABLE.arrow_schema());
        let properties = properties(&schema).map_err(failed)?;
        let writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).map_err(failed)?;
        Ok(Self { writer, rows: PhantomData })
    }

    /// Adds rows as a batch of the table.
    ///
    /// # Errors
    /// [`TableError::Parquet`].
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), TableError> {
        self.writer.write(batch).map_err(|source| TableError::Parquet { table: R::TABLE.name, source })
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`TableError::Parquet`].
    pub fn finish(self) -> Result<Vec<u8>, TableError> {
        let failed = |source| TableError::Parquet { table: R::TABLE.name, source };
        for_old_readers(self.writer.into_inner().map_err(failed)?, R::TABLE.columns.len()).map_err(failed)
    }
}

fn properties(schema: &Schema) -> Result<WriterProperties, ParquetError> {
    let writer = WriterProperties::builder()
        .set_created_by(format!("lendlake {}", env!("CARGO_PKG_VERSION")))
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?));
    // No two amounts are alike: a dictionary of them is the column itself, and an index besides.
    let floats = schema.fields().iter().filter(|field| *field.data_type() == DataType::Float64);
    let plain = floats.fold(writer, |writer, field| {
        writer.set_column_dictionary_enabled(ColumnPath::from(field.name().as_str()), false)
    });
    Ok(plain.build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::day::Day;
    use crate::schema::silver::Coverage;
    use crate::status::{Dataset, Status};
    use proptest::prelude::*;

    fn row(csu: &str) -> Coverage {
        Coverage {
            csu: csu.into(),
            date: "2024-12-01".parse().unwrap(),
            dataset: Dataset::Tvl,
            status: Status::Collected,
            reason: None,
            message: None,
            calls_planned: Some(3),
            calls_ok: Some(3),
            blocks_expected: None,
            blocks_scanned: None,
            audit_level: None,
            object: None,
            sha256: None,
        }
    }

    #[test]
    fn the_order_of_rows_does_not_change_the_bytes() {
        let one = parquet_bytes(vec![row("a"), row("b")]).unwrap();
        assert_eq!(one, parquet_bytes(vec![row("b"), row("a")]).unwrap());
    }

    proptest! {
        #[test]
        fn keys_compare_as_their_parts_do(rows in prop::collection::vec(("[ab]{1,2}", -1_i32..2, any::<bool>()), 2)) {
            let row = |(csu, day, is_tvl): &(String, i32, bool)| Coverage {
                date: Day::from_days_since_epoch(*day),
                dataset: if *is_tvl { Dataset::Tvl } else { Dataset::Liquidations },
                ..row(csu)
            };
            let (one, other) = (row(&rows[0]), row(&rows[1]));
            prop_assert_eq!(one.key_cmp(&other), one.key().cmp(&other.key()));
        }
    }

    #[test]
    fn a_repeated_key_is_refused() {
        assert!(matches!(parquet_bytes(vec![row("a"), row("a")]), Err(TableError::DuplicateKey { .. })));
    }

    #[test]
    fn units_and_meanings_are_in_the_file() {
        use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
        let bytes = bytes::Bytes::from(parquet_bytes(vec![row("a")]).unwrap());
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let field = reader.schema().field_with_name("blocks_scanned").unwrap().clone();
        assert_eq!(field.metadata()["unit"], "blocks");
        assert_eq!(field.metadata()["description"], "Blocks whose logs were read.");
    }

    #[test]
    fn floats_are_marked_as_old_readers_know_it() {
        use crate::schema::Row;
        use crate::schema::gold::PanelDaily;
        use parquet::basic::ColumnOrder;
        let bytes = Bytes::from(parquet_bytes::<PanelDaily>(vec![]).unwrap());
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let orders = reader.metadata().file_metadata().column_orders().unwrap();
        assert_eq!(orders.len(), PanelDaily::TABLE.columns.len());
        assert!(orders.iter().all(|order| matches!(order, ColumnOrder::TYPE_DEFINED_ORDER(_))), "{orders:?}");
    }

    #[test]
    fn a_footer_that_ends_otherwise_is_refused() {
        assert!(for_old_readers(vec![0; 4], 1).is_err());
        assert!(for_old_readers(vec![0x3c, 0, 0, 0, 0, 0, 0, 0, b'P', b'A', b'R', b'1'], 1).is_err());
        let known = vec![0x2c, 0, 0, 0, 0, 0, 0, 0, b'P', b'A', b'R', b'1'];
        assert_eq!(for_old_readers(known, 1).unwrap()[0], 0x1c);
    }

    #[test]
    fn a_file_says_which_schema_it_is_of_and_pieces_make_one_file() {
        let bytes = Bytes::from(parquet_bytes(vec![row("a")]).unwrap());
        assert_eq!(schema_version(&bytes).unwrap().as_deref(), Some(Coverage::TABLE.version));
        assert!(schema_version(&bytes.slice(..bytes.len() - 1)).is_err());
        let mut writer = TableWriter::<Coverage>::new().unwrap();
        for csu in ["a", "b"] {
            writer.write(&Coverage::to_batch(&[row(csu)]).unwrap()).unwrap();
        }
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes, parquet_bytes(vec![row("a"), row("b")]).unwrap());
        let bytes = Bytes::from(bytes);
        let batch = read_batch(bytes.clone()).unwrap();
        assert_eq!(batch, Coverage::to_batch(&[row("a"), row("b")]).unwrap());
        assert_eq!(Coverage::from_batch(&batch).unwrap(), [row("a"), row("b")]);
        let named = read_columns(bytes.clone(), &["date", "csu", "no such column"]).unwrap();
        assert_eq!(named, batch.project(&[0, 1]).unwrap());
        let lacking = batch.project(&[0, 1]).unwrap();
        let error = Coverage::from_batch(&lacking).unwrap_err();
        assert_eq!(error.to_string(), "table coverage, column dataset: it is not there");
    }

    #[test]
    fn an_empty_table_still_has_its_schema() {
        use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
        let bytes = bytes::Bytes::from(parquet_bytes::<Coverage>(vec![]).unwrap());
        assert_eq!(ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().schema().fields().len(), 13);
    }
}
