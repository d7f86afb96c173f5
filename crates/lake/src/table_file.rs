//! Tables as Parquet bytes that old and new readers agree on.
//!
//! zstd, dictionary and plain encodings, data pages of version 1, no statistics that depend on a reader, rows sorted
//! by key. The same rows give the same bytes: nothing here asks for the time or the machine.

use crate::schema::{BadCell, KeyPart, Row};
use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};

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
    rows.sort_by_cached_key(Row::key);
    if let Some(pair) = rows.windows(2).find(|pair| pair[0].key() == pair[1].key()) {
        return Err(TableError::DuplicateKey { table, key: pair[0].key() });
    }
    batch_bytes(table, &R::to_batch(&rows)?)
}

/// A batch of a table, in the order of its rows, as the bytes of a Parquet file.
///
/// # Errors
/// [`TableError::Parquet`].
pub fn batch_bytes(table: &'static str, batch: &RecordBatch) -> Result<Vec<u8>, TableError> {
    let failed = |source| TableError::Parquet { table, source };
    let properties = WriterProperties::builder()
        .set_created_by(format!("lendlake {}", env!("CARGO_PKG_VERSION")))
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).map_err(failed)?))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).map_err(failed)?;
    writer.write(batch).map_err(failed)?;
    writer.close().map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::silver::Coverage;
    use crate::status::{Dataset, Status};

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
    fn an_empty_table_still_has_its_schema() {
        use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
        let bytes = bytes::Bytes::from(parquet_bytes::<Coverage>(vec![]).unwrap());
        assert_eq!(ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().schema().fields().len(), 13);
    }
}
