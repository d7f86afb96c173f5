//! Tables of the lake as text, to compare with what is expected.

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// One row: column name to text; a null has no entry.
pub(crate) type Row = BTreeMap<String, String>;

/// Every row of every Parquet file below a directory, or of one file.
pub(crate) fn rows(path: &Path) -> Vec<Row> {
    if path.is_dir() {
        let mut entries: Vec<_> =
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        return entries.iter().flat_map(|entry| rows(entry)).collect();
    }
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        let schema = batch.schema();
        for index in 0..batch.num_rows() {
            let columns = schema.fields().iter().zip(batch.columns());
            let known = columns.filter(|(_, column)| column.is_valid(index));
            let cells = known.map(|(field, column)| (field.name().clone(), text(column, index)));
            rows.push(cells.collect());
        }
    }
    rows
}

fn text(column: &ArrayRef, index: usize) -> String {
    use arrow_array::types::ArrowPrimitiveType;
    fn number<T: ArrowPrimitiveType<Native: ToString>>(column: &ArrayRef, index: usize) -> Option<String> {
        column.as_primitive_opt::<T>().map(|values| values.value(index).to_string())
    }
    column
        .as_string_opt::<i32>()
        .map(|values| values.value(index).to_owned())
        .or_else(|| column.as_boolean_opt().map(|values| values.value(index).to_string()))
        .or_else(|| number::<Int32Type>(column, index))
        .or_else(|| number::<Int64Type>(column, index))
        .or_else(|| number::<Float64Type>(column, index))
        .or_else(|| number::<Date32Type>(column, index))
        .or_else(|| number::<TimestampMicrosecondType>(column, index))
        .unwrap_or_else(|| panic!("a column of type {}", column.data_type()))
}
