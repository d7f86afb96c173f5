//! Every column of silver and gold, defined once: type, unit, meaning and null rule.
//!
//! From one definition come the Rust row type, the Arrow and Parquet schema (with unit and description in the field
//! metadata), and the data dictionary. See [`silver`] and [`gold`] for the tables.

use crate::day::Day;
use arrow_array::builder::{
    BooleanBuilder, Date32Builder, Float64Builder, Int32Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

pub mod checks;
pub mod gold;
pub mod silver;

/// The types a column may have: those that pandas, polars, DuckDB, R and Stata all read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// 32-bit signed integer.
    Int32,
    /// 64-bit signed integer, below 2^53.
    Int64,
    /// 64-bit float, never NaN or infinite.
    Float64,
    /// Calendar day.
    Date,
    /// Instant in UTC, microseconds.
    Timestamp,
    /// True or false.
    Boolean,
}

impl Kind {
    /// The Arrow type.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Boolean => DataType::Boolean,
        }
    }

    /// The name the dictionary uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float64 => "float64",
            Self::Date => "date",
            Self::Timestamp => "timestamp[us, UTC]",
            Self::Boolean => "boolean",
        }
    }
}

/// What values a column may take, beyond its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Whatever the type holds.
    Any,
    /// Zero or more.
    NonNegative,
    /// From 0 to 1, both included.
    Fraction,
    /// Whole numbers from the first to the second, both included.
    Whole(i64, i64),
}

impl Range {
    /// Lower and upper bound, as far as there are any.
    pub const fn bounds(self) -> (Option<i64>, Option<i64>) {
        match self {
            Self::Any => (None, None),
            Self::NonNegative => (Some(0), None),
            Self::Fraction => (Some(0), Some(1)),
            Self::Whole(low, high) => (Some(low), Some(high)),
        }
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.bounds() {
            (Some(low), Some(high)) => write!(f, "{low} to {high}"),
            (Some(low), None) => write!(f, "{low} or more"),
            _ => Ok(()),
        }
    }
}

/// What the codebook says of a column beyond its unit, meaning and null rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Book {
    /// A few words, at most 80 characters (Stata's limit); empty: the meaning is short enough.
    pub label: &'static str,
    /// Values it may take.
    pub range: Range,
    /// How it comes about, in names of columns; empty for what is taken as it is.
    pub formula: &'static str,
    /// Tables of silver that it comes from; `registry` for what stands there.
    pub sources: &'static [&'static str],
    /// Version of the table that first had it.
    pub since: &'static str,
}

impl Book {
    /// A column of which the codebook has nothing more to say.
    pub const PLAIN: Self = Self { label: "", range: Range::Any, formula: "", sources: &[], since: "1.0.0" };
}

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Name: lower case, at most 32 characters.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Unit: `USD`, `tokens`, `fraction`, `blocks`, ... ; empty for words and names.
    pub unit: &'static str,
    /// Meaning, in one sentence.
    pub meaning: &'static str,
    /// When it is null; `never` for a column that cannot be.
    pub null_when: &'static str,
    /// Whether it is part of the table's key.
    pub is_key: bool,
    /// Whether it can be null.
    pub nullable: bool,
    /// The words it may hold; empty for free text and for numbers.
    pub words: &'static [&'static str],
    /// What the codebook adds.
    pub book: Book,
}

impl Column {
    /// A few words for programs that show one, such as Stata; at most 80 characters in gold.
    pub fn label(&self) -> &'static str {
        if self.book.label.is_empty() { self.meaning.trim_end_matches('.') } else { self.book.label }
    }
}

/// One table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Name.
    pub name: &'static str,
    /// Schema version, semver: a renamed column is a new major version.
    pub version: &'static str,
    /// What one row stands for.
    pub one_row_per: &'static str,
    /// The columns in file order.
    pub columns: &'static [Column],
}

impl Table {
    /// The Arrow schema, with unit and description in each field's metadata.
    pub fn arrow_schema(&self) -> Schema {
        let fields: Vec<_> = self
            .columns
            .iter()
            .map(|column| {
                let metadata =
                    [("unit", column.unit), ("description", column.meaning), ("null_when", column.null_when)];
                Field::new(column.name, column.kind.data_type(), column.nullable)
                    .with_metadata(owned(metadata))
            })
            .collect();
        let metadata =
            [("table", self.name), ("schema_version", self.version), ("one_row_per", self.one_row_per)];
        Schema::new_with_metadata(fields, owned(metadata))
    }

    /// Names of the key columns, in sort order.
    pub fn key(&self) -> Vec<&'static str> {
        self.columns.iter().filter(|column| column.is_key).map(|column| column.name).collect()
    }
}

fn owned(pairs: [(&str, &str); 3]) -> HashMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A row type made by `table!`.
pub trait Row: Sized {
    /// The table that the row belongs to.
    const TABLE: Table;

    /// The key of the row, in a form that sorts as the table is sorted.
    fn key(&self) -> Vec<KeyPart>;

    /// How the row's key compares with another's, as [`Row::key`] does, without making either.
    fn key_cmp(&self, other: &Self) -> Ordering;

    /// Makes a column null. Nothing happens to one that is never null, or that the table does not have.
    fn clear(&mut self, column: &str);

    /// Rows as one Arrow batch, in the order given.
    ///
    /// # Errors
    /// [`BadCell`] for a value that no column may hold (NaN, an infinity).
    fn to_batch(rows: &[Self]) -> Result<RecordBatch, BadCell>;

    /// The rows of a batch, its columns found by name. Further columns are left alone; a NaN stays one.
    ///
    /// # Errors
    /// [`BadCell`] for the first column that is not there or of another type, null that may not be, or unknown word.
    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, BadCell>;
}

/// One part of a row's key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyPart {
    /// A number or a day.
    Number(i64),
    /// A name.
    Text(String),
}

/// A value that no column of the lake may hold, or a batch that could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("table {table}, column {column}: {why}")]
pub struct BadCell {
    /// Table.
    pub table: &'static str,
    /// Column.
    pub column: &'static str,
    /// What is wrong.
    pub why: String,
}

/// An instant in Unix seconds, written as a UTC timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub i64);

/// A Rust type that a column can be made of.
pub trait Cell: Sized {
    /// The column's type.
    const KIND: Kind;
    /// Whether the column can be null.
    const NULLABLE: bool = false;
    /// The words it may hold, where they are a closed list.
    const WORDS: &'static [&'static str] = &[];

    /// The values as an Arrow array.
    ///
    /// # Errors
    /// Why a value cannot stand in a column.
    fn array<'a>(values: impl Iterator<Item = Option<&'a Self>>) -> Result<ArrayRef, String>
    where
        Self: 'a;

    /// The value of a row of an Arrow array; `None` for a null.
    ///
    /// # Errors
    /// Why the array or its value is not of this type.
    fn at(array: &dyn Array, row: usize) -> Result<Option<Self>, String>;

    /// The value of a row, of a type that says itself whether it may be null.
    ///
    /// # Errors
    /// As [`Cell::at`], and for a null that may not be.
    fn read(array: &dyn Array, row: usize) -> Result<Self, String> {
        Self::at(array, row)?.ok_or_else(|| format!("row {row} is null"))
    }

    /// The value as part of a key.
    fn key_part(&self) -> KeyPart;

    /// How the value compares with another as part of a key.
    fn key_cmp(&self, other: &Self) -> Ordering {
        self.key_part().cmp(&other.key_part())
    }

    /// Makes the value null, if its column can be.
    fn clear(&mut self) {}
}

/// The value of a row of an array of a kind.
fn at<A: Array + 'static, T>(
    array: &dyn Array,
    row: usize,
    kind: Kind,
    value: impl FnOnce(&A) -> T,
) -> Result<Option<T>, String> {
    let typed = array.as_any().downcast_ref::<A>();
    let typed = typed.ok_or_else(|| format!("it is of type {}, not {}", array.data_type(), kind.name()))?;
    Ok((!typed.is_null(row)).then(|| value(typed)))
}

macro_rules! cell {
    ($type:ty, $kind:ident, $builder:expr, $value:ident => $append:expr, $key:expr, $array:ty, $cell:ident => $read:expr) => {
        impl Cell for $type {
            const KIND: Kind = Kind::$kind;

            fn array<'a>(values: impl Iterator<Item = Option<&'a Self>>) -> Result<ArrayRef, String>
            where
                Self: 'a,
            {
                let mut builder = $builder;
                for value in values {
                    match value {
                        Some($value) => builder.append_value($append),
                        None => builder.append_null(),
                    }
                }
                Ok(Arc::new(builder.finish()))
            }

            fn at(array: &dyn Array, row: usize) -> Result<Option<Self>, String> {
                at::<$array, Self>(array, row, Kind::$kind, |array| {
                    let $cell = array.value(row);
                    $read
                })
            }

            fn key_part(&self) -> KeyPart {
                let $value = self;
                $key
            }

            fn key_cmp(&self, other: &Self) -> Ordering {
                self.cmp(other)
            }
        }
    };
}

cell!(String, Text, StringBuilder::new(), v => v, KeyPart::Text(v.clone()), StringArray, v => v.to_owned());
cell!(i32, Int32, Int32Builder::new(), v => *v, KeyPart::Number(i64::from(*v)), Int32Array, v => v);
cell!(i64, Int64, Int64Builder::new(), v => *v, KeyPart::Number(*v), Int64Array, v => v);
cell!(bool, Boolean, BooleanBuilder::new(), v => *v, KeyPart::Number(i64::from(*v)), BooleanArray, v => v);
cell!(
    Day,
    Date,
    Date32Builder::new(),
    v => v.days_since_epoch(),
    KeyPart::Number(i64::from(v.days_since_epoch())),
    Date32Array,
    v => Day::from_days_since_epoch(v)
);
cell!(
    Seconds,
    Timestamp,
    TimestampMicrosecondBuilder::new().with_timezone("UTC"),
    v => v.0.saturating_mul(1_000_000),
    KeyPart::Number(v.0),
    TimestampMicrosecondArray,
    v => Seconds(v.div_euclid(1_000_000))
);

impl Cell for f64 {
    const KIND: Kind = Kind::Float64;

    fn array<'a>(values: impl Iterator<Item = Option<&'a Self>>) -> Result<ArrayRef, String> {
        let mut builder = Float64Builder::new();
        for value in values {
            if let Some(bad) = value.filter(|value| !value.is_finite()) {
                return Err(format!("{bad} is no number; what is unknown must be null"));
            }
            builder.append_option(value.copied());
        }
        Ok(Arc::new(builder.finish()))
    }

    fn at(array: &dyn Array, row: usize) -> Result<Option<Self>, String> {
        at::<Float64Array, Self>(array, row, Kind::Float64, |array| array.value(row))
    }

    fn key_part(&self) -> KeyPart {
        KeyPart::Text(self.to_string())
    }
}

impl<T: Cell> Cell for Option<T> {
    const KIND: Kind = T::KIND;
    const NULLABLE: bool = true;
    const WORDS: &'static [&'static str] = T::WORDS;

    fn array<'a>(values: impl Iterator<Item = Option<&'a Self>>) -> Result<ArrayRef, String>
    where
        Self: 'a,
    {
        T::array(values.map(|value| value.and_then(Option::as_ref)))
    }

    fn at(array: &dyn Array, row: usize) -> Result<Option<Self>, String> {
        T::at(array, row).map(Some)
    }

    fn key_part(&self) -> KeyPart {
        self.as_ref().map_or_else(|| KeyPart::Text(String::new()), T::key_part)
    }

    fn clear(&mut self) {
        *self = None;
    }
}

/// Words of the lake are text columns.
macro_rules! word_cells {
    ($($type:ty),+) => { $(
        impl Cell for $type {
            const KIND: Kind = Kind::Text;
            const WORDS: &'static [&'static str] = <$type>::WORDS;

            fn array<'a>(values: impl Iterator<Item = Option<&'a Self>>) -> Result<ArrayRef, String> {
                let mut builder = StringBuilder::new();
                for value in values {
                    builder.append_option(value.map(|word| word.as_str()));
                }
                Ok(Arc::new(builder.finish()))
            }

            fn at(array: &dyn Array, row: usize) -> Result<Option<Self>, String> {
                let word = at::<StringArray, _>(array, row, Kind::Text, |array| array.value(row).parse::<Self>())?;
                word.transpose().map_err(|error| error.to_string())
            }

            fn key_part(&self) -> KeyPart {
                KeyPart::Text(self.as_str().to_owned())
            }

            fn key_cmp(&self, other: &Self) -> Ordering {
                self.as_str().cmp(other.as_str())
            }
        }
    )+ };
}

word_cells!(
    crate::status::Status,
    crate::status::UsdStatus,
    crate::status::AuditLevel,
    crate::status::Dataset,
    crate::status::Reason,
    crate::status::PriceSource,
    crate::status::PriceBasis,
    crate::status::Role,
    crate::status::AssetClass,
    crate::status::CheckLevel
);

/// Defines a table: its row type and, from the same lines, its columns.
///
/// A line is `name: RustType, "unit", "meaning", null "when";`, with `key` before the name of a key column and
/// without the null part for a column that is never null. `book { ... }` before the semicolon holds what the codebook adds.
macro_rules! table {
    (
        $(#[$meta:meta])*
        $row:ident = $name:literal, version $version:literal, one row per $per:literal {
            $($key:ident $column:ident: $type:ty, $unit:literal, $meaning:literal $(, null $when:literal)?
                $(, book { $($field:ident: $value:expr),+ $(,)? })?;)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $row { $(#[doc = $meaning] pub $column: $type,)+ }

        impl $crate::schema::Row for $row {
            const TABLE: $crate::schema::Table = $crate::schema::Table {
                name: $name,
                version: $version,
                one_row_per: $per,
                columns: &[$($crate::schema::Column {
                    name: stringify!($column),
                    kind: <$type as $crate::schema::Cell>::KIND,
                    unit: $unit,
                    meaning: $meaning,
                    null_when: $crate::schema::table!(@null $($when)?),
                    is_key: $crate::schema::table!(@key $key),
                    nullable: <$type as $crate::schema::Cell>::NULLABLE,
                    words: <$type as $crate::schema::Cell>::WORDS,
                    book: $crate::schema::Book { $($($field: $value,)+)? ..$crate::schema::Book::PLAIN },
                },)+],
            };

            fn key(&self) -> Vec<$crate::schema::KeyPart> {
                let mut key = Vec::new();
                $(if $crate::schema::table!(@key $key) {
                    key.push($crate::schema::Cell::key_part(&self.$column));
                })+
                key
            }

            fn key_cmp(&self, other: &Self) -> std::cmp::Ordering {
                let parts = std::cmp::Ordering::Equal;
                $(let parts = $crate::schema::table!(@cmp $key parts self other $column);)+
                parts
            }

            fn clear(&mut self, column: &str) {
                match column {
                    $(stringify!($column) => $crate::schema::Cell::clear(&mut self.$column),)+
                    _ => {}
                }
            }

            fn to_batch(rows: &[Self]) -> Result<arrow_array::RecordBatch, $crate::schema::BadCell> {
                let bad = |column: &'static str, why: String| $crate::schema::BadCell { table: $name, column, why };
                let arrays = vec![$(
                    <$type as $crate::schema::Cell>::array(rows.iter().map(|row| Some(&row.$column)))
                        .map_err(|why| bad(stringify!($column), why))?,
                )+];
                let schema = std::sync::Arc::new(Self::TABLE.arrow_schema());
                arrow_array::RecordBatch::try_new(schema, arrays).map_err(|error| bad("", error.to_string()))
            }

            fn from_batch(batch: &arrow_array::RecordBatch) -> Result<Vec<Self>, $crate::schema::BadCell> {
                let bad = |column: &'static str, why: String| $crate::schema::BadCell { table: $name, column, why };
                $(let $column = batch
                    .column_by_name(stringify!($column))
                    .ok_or_else(|| bad(stringify!($column), "it is not there".to_owned()))?;)+
                (0..batch.num_rows())
                    .map(|row| Ok(Self { $($column: <$type as $crate::schema::Cell>::read($column, row)
                        .map_err(|why| bad(stringify!($column), why))?,)+ }))
                    .collect()
            }
        }
    };
    (@key key) => { true };
    (@key col) => { false };
    (@cmp key $parts:ident $one:ident $other:ident $column:ident) => {
        $parts.then_with(|| $crate::schema::Cell::key_cmp(&$one.$column, &$other.$column))
    };
    (@cmp col $parts:ident $one:ident $other:ident $column:ident) => { $parts };
    (@null) => { "never" };
    (@null $when:literal) => { $when };
}
pub(crate) use table;

/// Every table of silver, then of gold, then that of the checks.
pub fn tables() -> Vec<Table> {
    [silver::tables(), gold::tables(), vec![checks::Finding::TABLE]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_stata_and_every_nullable_column_says_when() {
        for table in tables() {
            assert!(!table.key().is_empty(), "{} has no key", table.name);
            for column in table.columns {
                let name = format!("{}.{}", table.name, column.name);
                assert!(column.name.len() <= 32, "{name} is too long");
                assert!(column.name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
                assert!(
                    column.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
                    "{name}"
                );
                assert_eq!(
                    column.nullable,
                    column.null_when != "never",
                    "{name}: type and null rule disagree"
                );
                assert!(column.meaning.ends_with('.') && column.meaning.len() > 5, "{name} has no sentence");
                assert!(!(column.is_key && column.nullable), "{name} is a key that can be null");
            }
        }
    }

    #[test]
    fn every_column_of_gold_has_what_the_codebook_needs() {
        let silver: Vec<&str> = silver::tables().iter().map(|table| table.name).collect();
        for table in gold::tables() {
            for column in table.columns {
                let name = format!("{}.{}", table.name, column.name);
                assert!((3..=80).contains(&column.label().chars().count()), "{name}: {}", column.label());
                assert!(!column.book.sources.is_empty(), "{name} comes from nowhere");
                for source in column.book.sources {
                    assert!(
                        *source == "registry"
                            || *source == "bronze"
                            || *source == "program"
                            || silver.contains(source),
                        "{name}: {source}"
                    );
                }
                let since = column.book.since.split('.').map(|part| part.parse::<u32>().unwrap());
                let version = table.version.split('.').map(|part| part.parse::<u32>().unwrap());
                assert!(since.le(version), "{name} is of a version to come");
            }
        }
    }

    #[test]
    fn a_range_is_of_numbers_and_words_are_of_text() {
        for table in tables() {
            for column in table.columns {
                let is_number = matches!(column.kind, Kind::Int32 | Kind::Int64 | Kind::Float64);
                assert!(is_number || column.book.range == Range::Any, "{}.{}", table.name, column.name);
                assert!(
                    column.kind == Kind::Text || column.words.is_empty(),
                    "{}.{}",
                    table.name,
                    column.name
                );
            }
        }
        assert_eq!(
            [Range::Any, Range::NonNegative, Range::Fraction, Range::Whole(23, 25)]
                .map(|range| range.to_string()),
            ["", "0 or more", "0 to 1", "23 to 25"]
        );
    }

    #[test]
    fn a_column_means_the_same_type_in_every_table() {
        let mut kinds = HashMap::new();
        for table in tables() {
            for column in table.columns {
                let kind = *kinds.entry(column.name).or_insert(column.kind);
                assert_eq!(kind, column.kind, "{}.{}", table.name, column.name);
            }
        }
    }

    #[test]
    fn no_column_takes_a_nan() {
        assert!(f64::array([Some(&1.0), None].into_iter()).is_ok());
        assert!(f64::array([Some(&f64::NAN)].into_iter()).is_err());
        assert!(<Option<f64>>::array([Some(&Some(f64::INFINITY))].into_iter()).is_err());
    }
}
