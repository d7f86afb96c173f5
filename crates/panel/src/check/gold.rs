//! Gold as the checks read it: the file's own rows, whatever is wrong with them.

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use lake::day::Day;
use lake::schema::{Kind, Table};

/// A table of gold with every column in the type of its schema.
pub(crate) struct Gold {
    table: Table,
    pub(crate) batch: RecordBatch,
    /// CSU of each row.
    pub(crate) csus: Vec<String>,
    /// Day of each row.
    pub(crate) days: Vec<Day>,
}

impl Gold {
    /// `None` when a column is missing, of another type, or a key is null: then the shape is wrong, and nothing else can
    /// be said.
    pub(crate) fn of(table: Table, batch: RecordBatch) -> Option<Self> {
        let is_whole = table.columns.iter().all(|column| {
            batch.column_by_name(column.name).is_some_and(|array| {
                *array.data_type() == column.kind.data_type() && (column.nullable || array.null_count() == 0)
            })
        });
        if !is_whole {
            return None;
        }
        let csus = batch.column_by_name("csu")?.as_string_opt::<i32>()?;
        let days = batch.column_by_name("date")?.as_primitive_opt::<Date32Type>()?;
        let csus = csus.iter().map(|csu| csu.unwrap_or_default().to_owned()).collect();
        let days = days.iter().map(|day| Day::from_days_since_epoch(day.unwrap_or_default())).collect();
        Some(Self { table, batch, csus, days })
    }

    pub(crate) fn height(&self) -> usize {
        self.batch.num_rows()
    }

    pub(crate) fn columns(&self) -> &'static [lake::schema::Column] {
        self.table.columns
    }

    /// The numbers of a column; integers, days and instants as floats. Text and booleans have none.
    pub(crate) fn numbers(&self, name: &str) -> Vec<Option<f64>> {
        let (Some(array), Some(column)) =
            (self.batch.column_by_name(name), self.table.columns.iter().find(|column| column.name == name))
        else {
            return vec![None; self.height()];
        };
        match column.kind {
            Kind::Int32 => array.as_primitive::<Int32Type>().iter().map(|n| n.map(f64::from)).collect(),
            // Below 2^53.
            Kind::Int64 => array.as_primitive::<Int64Type>().iter().map(|n| n.map(|n| n as f64)).collect(),
            Kind::Float64 => array.as_primitive::<Float64Type>().iter().collect(),
            Kind::Date => array.as_primitive::<Date32Type>().iter().map(|n| n.map(f64::from)).collect(),
            Kind::Timestamp => {
                array.as_primitive::<TimestampMicrosecondType>().iter().map(|n| n.map(|n| n as f64)).collect()
            }
            Kind::Text | Kind::Boolean => vec![None; self.height()],
        }
    }

    /// The texts of a column; other types have none.
    pub(crate) fn texts(&self, name: &str) -> Vec<Option<&str>> {
        let array = self.batch.column_by_name(name).and_then(|array| array.as_string_opt::<i32>());
        array.map_or_else(|| vec![None; self.height()], |array| array.iter().collect())
    }

    /// Whether each value of a column is there.
    pub(crate) fn is_there(&self, name: &str) -> Vec<bool> {
        let array = self.batch.column_by_name(name);
        array.map_or_else(Vec::new, |array| (0..self.height()).map(|row| array.is_valid(row)).collect())
    }
}
