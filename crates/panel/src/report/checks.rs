//! Checks that have failing rows.

use crate::findings::Check;
use crate::numbers::NULL;

/// Rows shown of a check.
const SHOWN: usize = 20;

pub(super) struct CheckPart {
    pub(super) layer: String,
    pub(super) check: String,
    pub(super) level: &'static str,
    pub(super) n_rows: usize,
    pub(super) rows: Vec<FindingRow>,
}

pub(super) struct FindingRow {
    pub(super) csu: String,
    pub(super) date: String,
    pub(super) column: String,
    pub(super) found: String,
    pub(super) expected: String,
    pub(super) why: String,
}

impl CheckPart {
    pub(super) fn of(check: Check) -> Self {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| NULL.to_owned());
        Self {
            level: check.level.as_str(),
            n_rows: check.rows.len(),
            rows: check
                .rows
                .into_iter()
                .take(SHOWN)
                .map(|row| FindingRow {
                    csu: or_dash(row.csu),
                    date: or_dash(row.date.map(|date| date.to_string())),
                    column: or_dash(row.column),
                    found: or_dash(row.found),
                    expected: or_dash(row.expected),
                    why: row.why,
                })
                .collect(),
            layer: check.layer,
            check: check.check,
        }
    }
}
