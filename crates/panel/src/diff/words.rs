//! What moved, for people.

use super::{Compared, Key, Reason, Side};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, Table};
use std::fmt::Write as _;

/// Rows listed one by one; JSON has them all.
const LISTED: usize = 20;

/// The differences as text: a line a side, then what moved by row, column and reason.
pub fn table(compared: &Compared) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "A {}", side(&compared.before));
    let _ = writeln!(text, "B {}", side(&compared.after));
    let _ = writeln!(
        text,
        "rows: {} the same, {} changed, {} added, {} removed",
        compared.rows_same,
        compared.rows_changed.len(),
        compared.rows_added.len(),
        compared.rows_removed.len()
    );
    listed(&mut text, "added", &compared.rows_added);
    listed(&mut text, "removed", &compared.rows_removed);
    for (word, columns) in [("added", &compared.columns_added), ("removed", &compared.columns_removed)] {
        if !columns.is_empty() {
            let _ = writeln!(text, "columns {word}: {}", columns.join(", "));
        }
    }
    if !compared.columns.is_empty() {
        let _ = writeln!(text, "{}", columns(compared));
    }
    if !compared.reasons.is_empty() {
        let _ = writeln!(text, "{}", reasons(compared));
    }
    for (moved, rows) in &compared.statuses {
        let _ = writeln!(text, "status {moved}: {rows} rows");
    }
    for row in compared.rows_changed.iter().take(LISTED) {
        let names: Vec<&str> = row.cells.keys().map(String::as_str).collect();
        let reasons: Vec<&str> = row.reasons.iter().map(|reason| reason.as_str()).collect();
        let _ = writeln!(
            text,
            "changed: {} {} ({}): {}",
            row.csu,
            row.date,
            reasons.join(", "),
            names.join(", ")
        );
    }
    if let Some(more) = compared.rows_changed.len().checked_sub(LISTED).filter(|more| *more > 0) {
        let _ = writeln!(text, "changed: and {more} more rows; --json lists them");
    }
    if !compared.lineage.is_empty() {
        let moved: Vec<_> =
            compared.lineage.iter().map(|(name, rows)| format!("{name} in {rows} rows")).collect();
        let _ = writeln!(text, "lineage moved: {}", moved.join(", "));
    }
    if compared.is_same() {
        text.push_str("the panels hold the same values\n");
    }
    text
}

fn side(side: &Side) -> String {
    format!("{}: {} rows, release {}", side.place, side.rows, side.releases.join(", "))
}

fn listed(text: &mut String, word: &str, keys: &[Key]) {
    for key in keys.iter().take(LISTED) {
        let _ = writeln!(text, "{word}: {} {}", key.csu, key.date);
    }
    if let Some(more) = keys.len().checked_sub(LISTED).filter(|more| *more > 0) {
        let _ = writeln!(text, "{word}: and {more} more rows; --json lists them");
    }
}

fn plain(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).force_no_tty().set_header(header);
    table
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn columns(compared: &Compared) -> Table {
    let mut table = plain(&["column", "changed", "filled", "emptied", "max abs", "max rel", "at"]);
    let number = |value: Option<f64>| right(value.map_or_else(|| "-".to_owned(), short));
    for column in &compared.columns {
        let at = column.at.as_ref().map_or_else(String::new, |key| format!("{} {}", key.csu, key.date));
        table.add_row([
            Cell::new(&column.column),
            right(column.changed.to_string()),
            right(column.filled.to_string()),
            right(column.emptied.to_string()),
            number(column.max_abs),
            number(column.max_rel),
            Cell::new(at),
        ]);
    }
    table
}

/// Four digits, with an exponent where a plain number would be long.
fn short(value: f64) -> String {
    let plain = value == 0.0 || (1e-3..1e7).contains(&value.abs());
    if plain { format!("{value:.4}") } else { format!("{value:.3e}") }
}

fn reasons(compared: &Compared) -> Table {
    let mut table = plain(&["reason", "rows", "what it means"]);
    for (reason, rows) in &compared.reasons {
        let reason: Reason = *reason;
        table.add_row([Cell::new(reason.as_str()), right(rows.to_string()), Cell::new(reason.meaning())]);
    }
    table
}
