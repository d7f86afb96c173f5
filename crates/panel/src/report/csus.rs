//! A line and a part for each CSU.

use super::facts::{Fact, Facts, Reserve, Silver};
use crate::numbers::{self, NULL};
use lake::registry::Csu;
use lake::run::Run;
use lake::status::Status;

/// Days shown one by one; a longer run shows the last day of each month.
const DAYS: usize = 40;
/// Reserves shown of a CSU.
const RESERVES: usize = 12;
/// From so many CSUs on each gets less room, so that the page of a year stays below 2 MB.
const MANY_CSUS: usize = 60;
/// Reserves shown of a CSU among many.
const RESERVES_AMONG_MANY: usize = 6;
/// Points of a sparkline.
const POINTS: usize = 60;

pub(super) struct CsuPart {
    pub(super) csu: String,
    pub(super) protocol: String,
    pub(super) chain: String,
    pub(super) measured: String,
    pub(super) expected: String,
    pub(super) last: String,
    pub(super) tvl: String,
    pub(super) spark: String,
    pub(super) borrowed: String,
    pub(super) utilization: String,
    pub(super) supply_apr: String,
    pub(super) borrow_apr: String,
    pub(super) liq_count: String,
    pub(super) liq_debt: String,
    pub(super) facts: String,
    pub(super) days_heading: &'static str,
    pub(super) days: Vec<DayLine>,
    pub(super) n_reserves: usize,
    pub(super) reserves: Vec<ReserveLine>,
}

pub(super) struct DayLine {
    pub(super) day: String,
    pub(super) status: &'static str,
    pub(super) usd_status: &'static str,
    pub(super) tvl: String,
    pub(super) net: String,
    pub(super) borrowed: String,
    pub(super) utilization: String,
    pub(super) borrow_apr: String,
    pub(super) liq_count: String,
    pub(super) liq_debt: String,
    pub(super) flags: String,
}

pub(super) struct ReserveLine {
    pub(super) symbol: String,
    pub(super) role: String,
    pub(super) supplied: String,
    pub(super) borrowed: String,
    pub(super) price: String,
    pub(super) source: String,
}

pub(super) fn parts(run: &Run, facts: &Facts, silver: &Silver) -> Vec<CsuPart> {
    let none = Vec::new();
    let csus = facts.csus();
    let is_among_many = csus.len() > MANY_CSUS;
    csus.into_iter()
        .filter_map(|rows| {
            let first = rows.first()?;
            let reserves = silver.reserves.get(&first.csu).unwrap_or(&none);
            Some(part(first, rows, run.registry.csu(&first.csu), reserves, is_among_many))
        })
        .collect()
}

fn part(
    first: &Fact,
    rows: &[Fact],
    csu: Option<&Csu>,
    reserves: &[Reserve],
    is_among_many: bool,
) -> CsuPart {
    let last = rows.iter().rfind(|row| row.snap_status == Status::Collected);
    let expected = rows.iter().filter(|row| row.has_stocks() || row.has_flows()).count();
    let measured = rows.iter().filter(|row| row.status == Status::Collected).count();
    let counts: Vec<i64> = rows.iter().filter_map(|row| row.liq_count).map(i64::from).collect();
    let debts: Vec<f64> = rows.iter().filter_map(|row| row.liq_debt_usd).collect();
    let of_last = |value: fn(&Fact) -> Option<f64>| last.and_then(value);
    let (days_heading, days) = shown_days(rows, is_among_many);
    CsuPart {
        csu: first.csu.clone(),
        protocol: first.protocol.clone(),
        chain: first.chain.clone(),
        measured: numbers::whole(measured),
        expected: numbers::whole(expected),
        last: last.map_or_else(|| NULL.to_owned(), |row| row.date.to_string()),
        tvl: numbers::usd(of_last(|row| row.tvl_usd)),
        spark: spark(rows),
        borrowed: numbers::usd(of_last(|row| row.borrowed_usd)),
        utilization: numbers::fraction(of_last(|row| row.utilization)),
        supply_apr: numbers::fraction(of_last(|row| row.supply_apr)),
        borrow_apr: numbers::fraction(of_last(|row| row.borrow_apr)),
        liq_count: if counts.is_empty() {
            NULL.to_owned()
        } else {
            numbers::whole(counts.iter().sum::<i64>())
        },
        liq_debt: numbers::usd((!debts.is_empty()).then(|| debts.iter().sum())),
        facts: csu.map(words).unwrap_or_default(),
        days_heading,
        days,
        n_reserves: reserves.len(),
        reserves: reserves
            .iter()
            .take(if is_among_many { RESERVES_AMONG_MANY } else { RESERVES })
            .map(reserve_line)
            .collect(),
    }
}

/// What the registry says of a CSU.
fn words(csu: &Csu) -> String {
    let mut words = format!("{} {} on {}, family {}", csu.protocol, csu.version, csu.chain, csu.family);
    if let Some(deployed) = csu.deployed_date {
        words.push_str(&format!(", deployed {deployed}"));
    }
    if let Some(retired) = csu.retired_date {
        words.push_str(&format!(", retired {retired}"));
    }
    words.push_str(&format!(", {} {}.", csu.entry_role, csu.entry));
    words
}

fn shown_days(rows: &[Fact], is_among_many: bool) -> (&'static str, Vec<DayLine>) {
    if rows.len() <= DAYS {
        return ("Day by day", rows.iter().map(day_line).collect());
    }
    let months: Vec<&Fact> = rows
        .chunk_by(|one, other| one.date.month() == other.date.month())
        .filter_map(|month| month.last())
        .collect();
    if is_among_many {
        let quarters = months.chunks(3).filter_map(|quarter| quarter.last());
        return ("The last day of every third month", quarters.map(|row| day_line(row)).collect());
    }
    ("The last day of each month", months.into_iter().map(day_line).collect())
}

fn day_line(row: &Fact) -> DayLine {
    DayLine {
        day: row.date.to_string(),
        status: row.status.as_str(),
        usd_status: row.usd_status.as_str(),
        tvl: numbers::usd(row.tvl_usd),
        net: numbers::usd(row.tvl_net_usd),
        borrowed: numbers::usd(row.borrowed_usd),
        utilization: numbers::fraction(row.utilization),
        borrow_apr: numbers::fraction(row.borrow_apr),
        liq_count: numbers::count(row.liq_count),
        liq_debt: numbers::usd(row.liq_debt_usd),
        flags: row.flags.replace(';', "; "),
    }
}

fn reserve_line(reserve: &Reserve) -> ReserveLine {
    ReserveLine {
        symbol: reserve.symbol.clone(),
        role: reserve.role.clone(),
        supplied: numbers::usd(reserve.supplied_usd),
        borrowed: numbers::usd(reserve.borrowed_usd),
        price: numbers::price(reserve.price_usd),
        source: reserve.price_source.clone().unwrap_or_else(|| NULL.to_owned()),
    }
}

/// TVL over time as a path in a box of 96 by 20; broken where it was not measured.
fn spark(rows: &[Fact]) -> String {
    let step = rows.len().div_ceil(POINTS).max(1);
    let values: Vec<Option<f64>> = rows.iter().step_by(step).map(|row| row.tvl_usd).collect();
    let known = || values.iter().flatten().copied();
    let (low, high) = (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
    if known().count() < 2 {
        return String::new();
    }
    let mut path = String::new();
    let mut is_on = false;
    for (at, value) in values.iter().enumerate() {
        let Some(value) = value else {
            is_on = false;
            continue;
        };
        let x = 1.0 + 94.0 * at as f64 / (values.len() - 1).max(1) as f64;
        let y = if high > low { 18.0 - 16.0 * (value - low) / (high - low) } else { 10.0 };
        path.push_str(&format!("{}{x:.1} {y:.1}", if is_on { "L" } else { "M" }));
        is_on = true;
    }
    path
}
