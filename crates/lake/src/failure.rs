//! What a check finds, before it has a number: one failing row, or one fact of a whole table.
//!
//! The checks of every layer tell it in this form; [`rows`] makes it rows of the table `finding`.

use crate::day::Day;
use crate::schema::checks::Finding;
use crate::status::CheckLevel;
use serde::Serialize;

/// A row, or a fact of a whole table, that fails a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// CSU, where it is of one.
    pub csu: Option<String>,
    /// Day, where it is of one.
    pub date: Option<Day>,
    /// Column, or the object's path, where it is of one.
    pub column: Option<String>,
    /// What is there; `None` for nothing, or a null.
    pub found: Option<String>,
    /// What should be there; `None` for nothing, a null, or not one value.
    pub expected: Option<String>,
    /// What is wrong, in words.
    pub why: String,
}

impl Failure {
    /// Of a whole table.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), ..Self::default() }
    }

    /// The same, of a CSU.
    pub fn csu(self, csu: &str) -> Self {
        Self { csu: Some(csu.to_owned()), ..self }
    }

    /// The same, of a day.
    pub fn date(self, date: Day) -> Self {
        Self { date: Some(date), ..self }
    }

    /// The same, of a column or an object's path.
    pub fn column(self, name: impl AsRef<str>) -> Self {
        Self { column: Some(name.as_ref().to_owned()), ..self }
    }

    /// The same, with what is there.
    pub fn found(self, found: impl ToString) -> Self {
        Self { found: Some(found.to_string()), ..self }
    }

    /// The same, with what should be there.
    pub fn expected(self, expected: impl ToString) -> Self {
        Self { expected: Some(expected.to_string()), ..self }
    }
}

/// The failures of a check as rows of its file, numbered from 1 in their order.
pub fn rows(check: &str, level: CheckLevel, failures: Vec<Failure>) -> Vec<Finding> {
    let row = |(number, failure): (i32, Failure)| Finding {
        check: check.to_owned(),
        number,
        level,
        csu: failure.csu,
        date: failure.date,
        column: failure.column,
        found: failure.found,
        expected: failure.expected,
        why: failure.why,
    };
    (1..).zip(failures).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_numbered_in_their_order_and_keep_what_they_say() {
        let day = "2024-12-01".parse().unwrap();
        let whole = Failure::new("the table is empty");
        let of_row = Failure::new("too much").csu("a").date(day).column("ltv").found(1.5).expected(1);
        let rows = rows("s6_ranges", CheckLevel::Warn, vec![whole, of_row]);
        let numbers: Vec<_> = rows.iter().map(|row| (row.check.as_str(), row.number, row.level)).collect();
        assert_eq!(numbers, [("s6_ranges", 1, CheckLevel::Warn), ("s6_ranges", 2, CheckLevel::Warn)]);
        let (whole, of_row) = (&rows[0], &rows[1]);
        assert_eq!(
            (whole.csu.as_deref(), whole.date, whole.why.as_str()),
            (None, None, "the table is empty")
        );
        assert_eq!(
            (of_row.csu.as_deref(), of_row.date, of_row.column.as_deref()),
            (Some("a"), Some(day), Some("ltv"))
        );
        assert_eq!((of_row.found.as_deref(), of_row.expected.as_deref()), (Some("1.5"), Some("1")));
    }
}
