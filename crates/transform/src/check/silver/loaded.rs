//! One file of a table, and what is wrong with its schema, keys and numbers.

use crate::check::CheckError;
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, RecordBatch};
use lake::failure::Failure;
use lake::schema::{KeyPart, Row, Table};
use lake::store::Lake;
use lake::table_file::read_batch;
use object_store::path::Path;

/// One file of a table.
pub(super) struct Loaded<R> {
    pub(super) rows: Vec<R>,
    pub(super) faults: Faults,
}

/// What is wrong with one file of a table, whatever its rows say.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) schema: Vec<Failure>,
    pub(super) keys: Vec<Failure>,
    pub(super) ranges: Vec<Failure>,
}

impl<R: Row> Loaded<R> {
    pub(super) async fn read(lake: &Lake, path: Path) -> Result<Self, CheckError> {
        let mut loaded = Self { rows: Vec::new(), faults: Faults::default() };
        let about = |why: String| Failure::new(why).column(&path);
        let Some(bytes) = lake.get(&path).await? else {
            loaded.faults.schema.push(about("it is not there: transform run builds it".into()));
            return Ok(loaded);
        };
        let batch = match read_batch(bytes) {
            Ok(batch) => batch,
            Err(error) => {
                loaded.faults.schema.push(about(format!("it cannot be read: {error}")));
                return Ok(loaded);
            }
        };
        loaded
            .faults
            .schema
            .extend(schema_of(&R::TABLE, &batch).into_iter().map(|failure| in_file(failure, &path)));
        loaded.faults.keys.extend(null_keys(&R::TABLE, &batch));
        loaded.faults.ranges.extend(no_numbers(&R::TABLE, &batch));
        match R::from_batch(&batch) {
            Ok(rows) => loaded.rows = rows,
            Err(error) if loaded.faults.schema.is_empty() && loaded.faults.keys.is_empty() => {
                loaded.faults.schema.push(about(error.to_string()));
            }
            Err(_) => {}
        }
        let keys: Vec<Vec<KeyPart>> = loaded.rows.iter().map(Row::key).collect();
        for pair in keys.windows(2).filter(|pair| pair[0] >= pair[1]) {
            let why = if pair[0] == pair[1] { "a key is there twice" } else { "keys are not in order" };
            let key: Vec<String> = pair[1].iter().map(key_text).collect();
            loaded.faults.keys.push(Failure::new(format!("{}: {why}", R::TABLE.name)).found(key.join(" ")));
        }
        Ok(loaded)
    }
}

fn in_file(failure: Failure, path: &Path) -> Failure {
    Failure { why: format!("{path}: {}", failure.why), ..failure }
}

fn key_text(part: &KeyPart) -> String {
    match part {
        KeyPart::Number(number) => number.to_string(),
        KeyPart::Text(text) => text.clone(),
    }
}

fn schema_of(table: &Table, batch: &RecordBatch) -> Vec<Failure> {
    let (declared, found) = (table.arrow_schema(), batch.schema());
    let mut failures = Vec::new();
    let names = |schema: &arrow_schema::Schema| {
        schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
    };
    if names(&declared) != names(&found) {
        let failure = Failure::new("another list of columns");
        failures.push(failure.found(names(&found).join(" ")).expected(names(&declared).join(" ")));
    }
    for field in declared.fields() {
        let Ok(there) = found.field_with_name(field.name()) else { continue };
        if there != field.as_ref() {
            let failure =
                Failure::new("another type, null rule, unit or description").column(field.name().as_str());
            failures.push(failure.found(format!("{there:?}")).expected(format!("{field:?}")));
        }
    }
    for (name, value) in declared.metadata() {
        if found.metadata().get(name) != Some(value) {
            let failure = Failure::new(format!("another {name}")).expected(value);
            failures.push(match found.metadata().get(name) {
                Some(found) => failure.found(found),
                None => failure,
            });
        }
    }
    failures
}

fn null_keys(table: &Table, batch: &RecordBatch) -> Vec<Failure> {
    let nulls = |name: &str| batch.column_by_name(name).map_or(0, |column| column.null_count());
    let null = table.key().into_iter().filter(|name| nulls(name) > 0);
    null.map(|name| Failure::new(format!("{}: a key is null", table.name)).column(name).found(nulls(name)))
        .collect()
}

/// Floats that are no numbers.
fn no_numbers(table: &Table, batch: &RecordBatch) -> Vec<Failure> {
    let mut failures = Vec::new();
    for column in table.columns {
        let Some(array) =
            batch.column_by_name(column.name).and_then(|array| array.as_primitive_opt::<Float64Type>())
        else {
            continue;
        };
        for (row, value) in array.iter().enumerate() {
            if let Some(value) = value.filter(|value| !value.is_finite()) {
                let failure = Failure::new(format!("{}: row {row} is no number", table.name));
                failures.push(failure.column(column.name).found(value));
            }
        }
    }
    failures
}
