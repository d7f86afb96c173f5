//! What the bench prints: one table, the ratios, and the limits.

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;
use testkit::december::{DAYS, LineUp, Place, Reading, date};

/// Compute units that a key of Alchemy's free plan has a month.
pub(crate) const KEY_MONTH: u64 = 30_000_000;

/// What the engine may cost, from `rpc_budget.md` section 4.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Limits {
    /// Alchemy's compute units.
    pub(crate) units: u64,
    /// Calls to endpoints without a key.
    pub(crate) keyless_calls: u64,
}

impl Limits {
    /// The month's limits, in proportion.
    pub(crate) fn of_days(days: u64) -> Self {
        let share = |of_month: u64| (of_month * days).div_ceil(DAYS);
        Self { units: share(15_000_000), keyless_calls: share(52_000) }
    }
}

/// One run.
#[derive(Debug, Serialize)]
pub(crate) struct Column {
    name: String,
    /// Keys it had.
    keys: usize,
    calls: u64,
    alchemy_calls: u64,
    keyless_calls: u64,
    calls_by_provider: BTreeMap<String, u64>,
    calls_by_method: BTreeMap<String, u64>,
    replies_by_status: BTreeMap<u16, u64>,
    compute_units: u64,
    /// Of one key's month.
    key_months: f64,
    hours: f64,
    csu_days: u64,
    csu_days_whole: u64,
    snapshots_missing: u64,
    /// Once for each CSU.
    blocks: u64,
    blocks_unread: u64,
    liquidations_found: u64,
    liquidations_missed: u64,
    /// Found, but not there.
    liquidations_invented: u64,
    /// Of this machine, to simulate it.
    seconds: f64,
    #[serde(skip)]
    found: BTreeSet<Place>,
}

impl Column {
    /// What a run read, and what the providers say it asked.
    pub(crate) fn new(name: &str, reading: Reading, line_up: &LineUp, simulated_in: Duration) -> Self {
        let bill = line_up.bill();
        Self {
            name: name.to_owned(),
            keys: line_up.keys.len(),
            calls: bill.requests(),
            alchemy_calls: bill.alchemy,
            keyless_calls: bill.keyless,
            compute_units: bill.units(),
            key_months: bill.units() as f64 / KEY_MONTH as f64,
            calls_by_provider: bill.by_provider,
            calls_by_method: bill.by_method,
            replies_by_status: bill.by_status,
            hours: reading.took.as_secs_f64() / 3_600.0,
            csu_days: reading.tasks,
            csu_days_whole: reading.whole_tasks,
            snapshots_missing: reading.snapshots_lost,
            blocks: reading.blocks,
            blocks_unread: reading.blocks_unread,
            liquidations_found: 0,
            liquidations_missed: 0,
            liquidations_invented: 0,
            seconds: simulated_in.as_secs_f64(),
            found: reading.found,
        }
    }

    fn replies(&self, status: u16) -> u64 {
        self.replies_by_status.get(&status).copied().unwrap_or(0)
    }
}

/// The whole bench.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    from: String,
    to: String,
    liquidations: u64,
    limits: Limits,
    /// The engine first.
    columns: Vec<Column>,
    /// What the engine did not keep to.
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// Judges the runs, the first of which is the engine's.
    pub(crate) fn new(
        days: &RangeInclusive<u64>,
        truth: &BTreeSet<Place>,
        mut columns: Vec<Column>,
        limits: Limits,
    ) -> Self {
        for column in &mut columns {
            let found = column.found.intersection(truth).count() as u64;
            column.liquidations_found = found;
            column.liquidations_missed = truth.len() as u64 - found;
            column.liquidations_invented = column.found.len() as u64 - found;
        }
        let failures = columns.first().map_or_else(Vec::new, |engine| failures(engine, limits));
        let (from, to) = (date(*days.start()), date(*days.end()));
        Self { from, to, liquidations: truth.len() as u64, limits, columns, failures }
    }
}

fn failures(engine: &Column, limits: Limits) -> Vec<String> {
    let at_most = |what: &str, is: u64, most: u64| {
        (is > most).then(|| format!("{} {what}, at most {} are allowed", grouped(is), grouped(most)))
    };
    let none = |what: &str, is: u64| (is > 0).then(|| format!("{} {what}", grouped(is)));
    [
        at_most("compute units of Alchemy", engine.compute_units, limits.units),
        at_most("calls to endpoints without a key", engine.keyless_calls, limits.keyless_calls),
        none("CSU-days not whole", engine.csu_days - engine.csu_days_whole),
        none("blocks not read", engine.blocks_unread),
        none("liquidations missed", engine.liquidations_missed),
        none("liquidations invented", engine.liquidations_invented),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A row of the table: what, each column's number, and whether a ratio of it means anything.
struct Row {
    what: String,
    cells: Vec<String>,
    ratios: Vec<String>,
}

impl Report {
    fn row(&self, what: &str, value: impl Fn(&Column) -> u64) -> Row {
        let ratio = |column: &Column| match (value(column), self.columns.first().map_or(0, &value)) {
            (_, 0) => String::new(),
            (plan, engine) => times(plan as f64 / engine as f64),
        };
        Row {
            what: what.to_owned(),
            cells: self.columns.iter().map(|column| grouped(value(column))).collect(),
            ratios: self.columns.iter().skip(1).map(ratio).collect(),
        }
    }

    fn plain(&self, what: &str, value: impl Fn(&Column) -> String) -> Row {
        let ratios = vec![String::new(); self.columns.len().saturating_sub(1)];
        Row { what: what.to_owned(), cells: self.columns.iter().map(value).collect(), ratios }
    }

    fn rows(&self) -> Vec<Row> {
        let providers: BTreeSet<&String> =
            self.columns.iter().flat_map(|column| column.calls_by_provider.keys()).collect();
        let methods: BTreeSet<&String> =
            self.columns.iter().flat_map(|column| column.calls_by_method.keys()).collect();
        let of = |map: &BTreeMap<String, u64>, key: &String| map.get(key).copied().unwrap_or(0);
        let mut rows = vec![
            self.plain("keys of Alchemy's free plan", |column| grouped(column.keys as u64)),
            self.row("calls", |column| column.calls),
        ];
        for provider in providers {
            rows.push(self.row(&format!("  {provider}"), |column| of(&column.calls_by_provider, provider)));
        }
        rows.push(self.row("calls without a key", |column| column.keyless_calls));
        for method in methods {
            rows.push(self.row(&format!("  {method}"), |column| of(&column.calls_by_method, method)));
        }
        rows.extend([
            self.row("refused as too fast (429)", |column| column.replies(429)),
            self.row("refused, month spent (403)", |column| column.replies(403)),
            self.row("compute units", |column| column.compute_units),
            self.plain("key-months", |column| format!("{:.2}", column.key_months)),
            self.plain("hours", |column| format!("{:.1}", column.hours)),
            self.plain("CSU-days whole", |column| share(column.csu_days_whole, column.csu_days)),
            self.plain("snapshots missing", |column| grouped(column.snapshots_missing)),
            self.plain("blocks not read, by CSU", |column| share(column.blocks_unread, column.blocks)),
            self.plain("liquidations found", |column| share(column.liquidations_found, self.liquidations)),
            self.plain("simulated in", |column| format!("{:.0} s", column.seconds)),
        ]);
        rows
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let right = |text: &str| Cell::new(text).set_alignment(CellAlignment::Right);
        let mut table = Table::new();
        let mut header = vec![Cell::new(format!("{} to {}", self.from, self.to))];
        header.extend(self.columns.iter().map(|column| right(&column.name)));
        header.extend(self.columns.iter().skip(1).map(|_| right("times ours")));
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
        for Row { what, cells, ratios } in self.rows() {
            let mut row = vec![Cell::new(what)];
            row.extend(cells.iter().chain(&ratios).map(|text| right(text)));
            table.add_row(row);
        }
        writeln!(f, "{table}")?;
        let Limits { units, keyless_calls } = self.limits;
        writeln!(
            f,
            "limits: {} compute units of Alchemy and {} calls without a key",
            grouped(units),
            grouped(keyless_calls)
        )?;
        for failure in &self.failures {
            writeln!(f, "FAILED: {failure}")?;
        }
        if self.failures.is_empty() { write!(f, "kept, and nothing is missing") } else { Ok(()) }
    }
}

fn times(ratio: f64) -> String {
    if ratio >= 10.0 { grouped(ratio.round() as u64) } else { format!("{ratio:.2}") }
}

fn share(part: u64, of: u64) -> String {
    let percent = 100.0 * part as f64 / of.max(1) as f64;
    format!("{} of {} ({percent:.1}%)", grouped(part), grouped(of))
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}
