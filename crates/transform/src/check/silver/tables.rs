//! The tables as such: keys, schema, nothing lost on the way from bronze, and rows that speak of rows that are there.

use super::{all_faults, day_blocks, of_log, of_price, of_reserve};
use crate::check::Subject;
use lake::day::Day;
use lake::failure::Failure;
use lake::status::{Dataset, Status};
use protocols::LogReading;
use protocols::token::item;
use std::collections::{BTreeMap, BTreeSet};

/// S1.
pub(in crate::check) fn keys(subject: &Subject<'_>) -> Vec<Failure> {
    all_faults(subject).flat_map(|faults| &faults.keys).cloned().collect()
}

/// S2.
pub(in crate::check) fn schema(subject: &Subject<'_>) -> Vec<Failure> {
    all_faults(subject).flat_map(|faults| &faults.schema).cloned().collect()
}

/// S3. Bronze is decoded again: what its families read of it must lie in silver, all of it and nothing else.
pub(in crate::check) fn conservation(subject: &Subject<'_>) -> Vec<Failure> {
    let (month, silver) = (subject.month, subject.silver);
    let mut failures = Vec::new();
    let compare = |csu: &str, date: Day, what: &str, found: BTreeSet<String>, expected: BTreeSet<String>| {
        if found == expected {
            return None;
        }
        let first = found.symmetric_difference(&expected).next().cloned().unwrap_or_default();
        let failure =
            Failure::new(format!("another number of {what} than in bronze, or others; the first is {first}"));
        Some(failure.csu(csu).date(date).found(found.len()).expected(expected.len()))
    };

    let mut listed: BTreeMap<(&str, Day), BTreeSet<String>> = BTreeMap::new();
    for row in &silver.reserve_day.rows {
        let entry = listed.entry((&row.csu, row.date)).or_default();
        entry.insert(format!("{} {} {}", row.market_id, row.token, row.role));
    }
    for ((csu, date), object) in &month.snapshots {
        let found = listed.remove(&(csu.as_str(), *date)).unwrap_or_default();
        let snapshot = object.sound().and_then(|day| day.snapshot.as_ref().ok());
        let expected = snapshot
            .into_iter()
            .flat_map(|snapshot| &snapshot.reserves)
            .map(|figures| format!("{} {} {}", figures.market_id, item(figures.token), figures.role));
        failures.extend(compare(csu, *date, "reserves", found, expected.collect()));
    }
    failures.extend(
        listed
            .into_iter()
            .filter_map(|((csu, date), found)| compare(csu, date, "reserves", found, BTreeSet::new())),
    );

    let mut rows: BTreeMap<(&str, Day), BTreeSet<String>> = BTreeMap::new();
    let text = |block: u64, index: u64| format!("log {index} of block {block}");
    for row in &silver.liquidation.rows {
        let entry = rows.entry((&row.csu, row.date)).or_default();
        entry.insert(format!("log {} of block {}", row.log_index, row.block_number));
    }
    for row in &silver.reject.rows {
        let entry = rows.entry((&row.csu, row.date)).or_default();
        if !entry.insert(format!("log {} of block {}", row.log_index, row.block_number)) {
            failures.push(of_log(
                &row.csu,
                row.date,
                row.block_number,
                row.log_index,
                "it is a leg and a reject",
            ));
        }
    }
    for ((csu, date), object) in &month.logs {
        let found = rows.remove(&(csu.as_str(), *date)).unwrap_or_default();
        let day = object.sound();
        let mut expected: BTreeSet<String> = day
            .into_iter()
            .flat_map(|day| &day.logs)
            .map(|log| text(log.block_number, log.log_index))
            .collect();
        for reading in day.into_iter().flat_map(|day| &day.readings) {
            if let LogReading::Context { block_number, log_index } = reading {
                expected.remove(&text(*block_number, *log_index));
            }
        }
        failures.extend(compare(csu, *date, "logs", found, expected));
    }
    failures.extend(
        rows.into_iter()
            .filter_map(|((csu, date), found)| compare(csu, date, "logs", found, BTreeSet::new())),
    );
    failures
}

/// S10.
pub(in crate::check) fn relations(subject: &Subject<'_>) -> Vec<Failure> {
    let silver = subject.silver;
    let days = day_blocks(subject);
    let covered: BTreeMap<(&str, Day, Dataset), Status> = silver
        .coverage
        .rows
        .iter()
        .map(|row| ((row.csu.as_str(), row.date, row.dataset), row.status))
        .collect();
    let mut failures = Vec::new();
    let mut must_be_there = |failure: Failure, dataset: Dataset, tokens: &[&String]| {
        let (Some(csu), Some(date)) = (failure.csu.clone(), failure.date) else { return };
        let mut lacks = |column: &str, what: &str, found: &str| {
            let why = format!("{}: {what}", failure.why);
            failures.push(Failure { why, ..failure.clone() }.column(column).found(found));
        };
        if !subject.whole.csus.contains(&csu) {
            lacks("csu", "the table csu has no such CSU", &csu);
        }
        let status = covered.get(&(csu.as_str(), date, dataset));
        if !status.is_some_and(|status| matches!(status, Status::Collected | Status::Partial)) {
            let found = status.map_or("no row", |status| status.as_str());
            lacks("csu", "coverage does not say that it was collected", found);
        }
        let Some(row) = subject.registry.csu(&csu) else { return };
        if !days.contains_key(&(row.chain.as_str(), date)) {
            lacks("date", "day_block has no such day", &row.chain);
        }
        let chain_id = subject.registry.chain_of(row).and_then(|chain| i64::try_from(chain.chain_id).ok());
        for token in tokens {
            if !chain_id.is_some_and(|id| subject.whole.tokens.contains(&(id, (*token).clone()))) {
                lacks("token", "the table token has no such token", token);
            }
        }
    };
    for row in &silver.reserve_day.rows {
        must_be_there(of_reserve(row, "a reserve"), Dataset::Tvl, &[&row.token]);
    }
    for row in &silver.liquidation.rows {
        let tokens: Vec<&String> = [&row.debt_token, &row.coll_token].into_iter().flatten().collect();
        let failure = of_log(&row.csu, row.date, row.block_number, row.log_index, "a leg");
        must_be_there(failure, Dataset::Liquidations, &tokens);
    }
    for row in &silver.reject.rows {
        let failure = of_log(&row.csu, row.date, row.block_number, row.log_index, "a reject");
        must_be_there(failure, Dataset::Liquidations, &[]);
    }
    for row in &silver.price.rows {
        if !days.contains_key(&(row.chain.as_str(), row.date)) {
            failures.push(of_price(row, "day_block has no such day").column("date").found(&row.chain));
        }
    }
    failures
}
