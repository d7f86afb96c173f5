//! A plan as a person reads it.

use crate::plan::{Basis, Plan};
use comfy_table::{Cell, CellAlignment, Table, presets};
use std::fmt::Write as _;

impl Plan {
    /// The plan in words and tables, for a terminal.
    pub fn in_words(&self) -> String {
        let mut text = String::new();
        let settled: Vec<String> =
            self.settled.iter().map(|(status, count)| format!("{count} {status}")).collect();
        let _ = writeln!(
            text,
            "{} tasks to do; {}",
            self.open,
            if settled.is_empty() { "none done".into() } else { settled.join(", ") }
        );
        if !self.rows.is_empty() {
            let mut table = Table::new();
            table
                .load_style(presets::UTF8_FULL_CONDENSED)
                .set_header(["chain", "days", "endpoint", "for", "method", "requests", "units"]);
            for row in &self.rows {
                table.add_row([
                    Cell::new(&row.chain),
                    right(row.days),
                    Cell::new(&row.endpoint),
                    Cell::new(row.purpose.as_str()),
                    Cell::new(row.method),
                    right(format!("{}{}", about(row.basis), with_separators(row.calls))),
                    right(format!("{}{} {}", about(row.basis), with_separators(row.units), row.unit)),
                ]);
            }
            let _ = writeln!(text, "{table}");
            let mut table = Table::new();
            table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
                "key or endpoint",
                "units",
                "hours",
                "of the month",
            ]);
            for purse in &self.purses {
                let month = purse.of_month.map_or("-".to_owned(), |of| {
                    let share = |units: u64| 100.0 * units as f64 / of.max(1) as f64;
                    format!("{:.1}% (spent so far {:.1}%)", share(purse.units), share(purse.spent))
                });
                table.add_row([
                    Cell::new(&purse.purse),
                    right(format!("{} {}", with_separators(purse.units), purse.unit)),
                    right(format!("{:.2}", purse.hours)),
                    right(month),
                ]);
            }
            let _ = writeln!(text, "{table}");
            let _ = writeln!(
                text,
                "~ is an estimate: it rests on what the chain's searches cost before, or on contracts that were not listed yet.\n\
                 Not counted: a header and a batch of oracle reads for each block with a liquidation, receipts; requests made \
                 again."
            );
        }
        for (chain, keys) in &self.without_endpoint {
            let hint = if keys.is_empty() {
                "add an [[endpoint]] for it".to_owned()
            } else {
                format!("set {}", keys.join(" or "))
            };
            let _ = writeln!(text, "{chain} has nobody to ask: {hint}");
        }
        text
    }

    /// What is asked for each CSU, or why nothing is, for a terminal.
    pub fn csus_in_words(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
            "csu",
            "chain",
            "days",
            "view calls",
            "nothing because",
        ]);
        for csu in &self.csus {
            let days = csu.days.values().max().copied().unwrap_or(0);
            let calls = csu.snapshot_calls.map_or("-".to_owned(), |snapshots| {
                format!("{}{}", about(snapshots.basis), with_separators(snapshots.calls))
            });
            table.add_row([
                Cell::new(&csu.csu),
                Cell::new(&csu.chain),
                right(days),
                right(calls),
                Cell::new(csu.nothing_because.as_deref().unwrap_or("")),
            ]);
        }
        let asked = self.csus.iter().filter(|csu| csu.nothing_because.is_none()).count();
        format!("{table}\n{asked} of {} CSUs are asked for\n", self.csus.len())
    }
}

/// The mark of an estimate.
fn about(basis: Basis) -> &'static str {
    match basis {
        Basis::Counted => "",
        Basis::Estimated => "~",
    }
}

pub(crate) fn right(value: impl ToString) -> Cell {
    Cell::new(value.to_string()).set_alignment(CellAlignment::Right)
}

pub(crate) fn with_separators(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_threes() {
        assert_eq!([0, 999, 1_000, 14_100_000].map(with_separators), ["0", "999", "1,000", "14,100,000"]);
    }
}
