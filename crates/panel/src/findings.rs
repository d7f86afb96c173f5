//! What the checks of a lake found, read back from `checks/<layer>/<check>.parquet`.

use crate::rows::{Rows, RowsError, text_at};
use arrow_array::types::Date32Type;
use lake::day::Day;
use lake::failure::Failure;
use lake::path::CHECKS;
use lake::status::CheckLevel;
use lake::store::{Lake, StoreError};
use object_store::path::Path;
use serde::Serialize;

/// Why findings could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindingsError {
    /// The object store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of findings is none.
    #[error("{0}")]
    Damaged(#[from] RowsError),
}

/// A check with its failing rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// Layer: bronze, silver or gold.
    pub layer: String,
    /// Name of the check.
    pub check: String,
    /// Worst level among its rows.
    pub level: CheckLevel,
    /// Its failing rows, in order.
    pub rows: Vec<Failure>,
}

/// The checks of a lake that have rows, errors first, and how many files of findings there are. No file at all means
/// that nobody checked.
///
/// # Errors
/// [`FindingsError`].
pub async fn findings(lake: &Lake) -> Result<(Vec<Check>, usize), FindingsError> {
    let mut checks = Vec::new();
    let mut files = 0;
    for path in lake.list(&Path::from(CHECKS)).await? {
        let parts: Vec<_> = path.parts().collect();
        let [_, layer, file] = parts.as_slice() else { continue };
        let Some(check) = file.as_ref().strip_suffix(".parquet") else { continue };
        let Some(bytes) = lake.get(&path).await? else { continue };
        files += 1;
        let name = format!("{}/{path}", lake.location().trim_end_matches('/'));
        let rows = Rows::parse(&name, bytes)?;
        if rows.height() > 0 {
            checks.push(read(layer.as_ref(), check, &rows)?);
        }
    }
    checks.sort_by(|one, other| {
        let order =
            |check: &Check| (check.level != CheckLevel::Error, check.layer.clone(), check.check.clone());
        order(one).cmp(&order(other))
    });
    Ok((checks, files))
}

fn read(layer: &str, check: &str, rows: &Rows) -> Result<Check, FindingsError> {
    let (csu, column, why) = (rows.text("csu")?, rows.text("column")?, rows.text("why")?);
    let (found, expected) = (rows.text("found")?, rows.text("expected")?);
    let (level, date) = (rows.text("level")?, rows.numbers::<Date32Type>("date")?);
    // A level that this program does not know is taken for the worse one.
    let is_warning = |row| text_at(level, row) == Some(CheckLevel::Warn.as_str());
    let all_warnings = (0..rows.height()).all(is_warning);
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let failures = (0..rows.height()).map(|row| Failure {
        csu: owned(text_at(csu, row)),
        date: crate::rows::at(date, row).map(Day::from_days_since_epoch),
        column: owned(text_at(column, row)),
        found: owned(text_at(found, row)),
        expected: owned(text_at(expected, row)),
        why: text_at(why, row).unwrap_or_default().to_owned(),
    });
    Ok(Check {
        layer: layer.to_owned(),
        check: check.to_owned(),
        level: if all_warnings { CheckLevel::Warn } else { CheckLevel::Error },
        rows: failures.collect(),
    })
}
