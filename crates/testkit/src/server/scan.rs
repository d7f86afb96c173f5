//! What a provider makes of an `eth_getLogs`, and of the receipts in which the same logs stand.

use super::dialects::{Particulars, Refusal, span};
use super::faults::{Dice, Matter, digest};
use super::policy::{Absent, Archive, Hint, Policy, SpanCap, Start, StrayLog, TooManyLogs};
use crate::simchain::View;
use crate::simchain::rpc::{LogQuery, block_receipts_json, log_json, receipt_json, transaction_of};
use alloy_primitives::{Address, B256, Bytes};
use lake::bronze::RawLog;
use serde_json::{Value, json};

/// The answer of a provider with this policy.
pub(crate) fn scan(policy: &Policy, view: &View<'_>, dice: Dice, params: &Value) -> Result<Value, Refusal> {
    let query = LogQuery::read(view, params)?;
    let of = Particulars {
        asked: query.blocks(),
        range: (query.from, query.to),
        head: view.head(),
        ..Particulars::default()
    };
    refuse_filter(policy, &query, &of)?;
    if let Some(wording) = policy.beyond_head
        && query.to > view.head()
    {
        return Err(wording.refusal(&of));
    }
    let start = archive_start(policy, view, query.from, &of)?;
    refuse_span(policy, &query, &of)?;

    let held = LogQuery { from: query.from.max(start), ..query.clone() };
    let logs = if held.from > held.to { Vec::new() } else { logs_held(policy, view, &held) };
    let mut logs = cap_results(policy, &query, &of, logs)?;
    if policy.repeats_log && !logs.is_empty() {
        logs.insert(1, logs[0].clone());
    }
    if policy.shuffles_logs {
        shuffle(&mut logs, dice.roll(Matter::Order));
    }
    let mut answer: Vec<Value> = logs.iter().map(|log| log_json(view, log)).collect();
    answer.extend(policy.stray_log.map(|stray| stray_log(view, &query, stray)));
    Ok(Value::Array(answer))
}

fn refuse_filter(policy: &Policy, query: &LogQuery, of: &Particulars) -> Result<(), Refusal> {
    let Some((most, wording)) = policy.filter_cap else { return Ok(()) };
    let longest = query.topics.iter().map(Vec::len).chain([query.addresses.len()]).max().unwrap_or(0);
    if longest > most {
        return Err(wording.refusal(&Particulars { asked: longest as u64, limit: most as u64, ..*of }));
    }
    Ok(())
}

/// A transaction's receipt, from the same index: `null` or a refusal for what lies before its start, and without the logs
/// that it does not know of.
pub(crate) fn receipt(policy: &Policy, view: &View<'_>, params: &Value) -> Result<Value, Refusal> {
    let hash = transaction_of(params)?;
    let Some(header) = view.header_of_transaction(hash) else { return Ok(Value::Null) };
    let block = header.number;
    if !holds_block(policy, view, block)? {
        return Ok(Value::Null);
    }
    Ok(receipt_json(view, &header, hash, |log| holds(policy, log)))
}

/// All receipts of a block, from the same index.
pub(crate) fn block_receipts(policy: &Policy, view: &View<'_>, params: &Value) -> Result<Value, Refusal> {
    let Some(header) = view.header_of_params(params) else { return Ok(Value::Null) };
    if !holds_block(policy, view, header.number)? {
        return Ok(Value::Null);
    }
    Ok(block_receipts_json(view, &header, |log| holds(policy, log)))
}

fn holds_block(policy: &Policy, view: &View<'_>, block: u64) -> Result<bool, Refusal> {
    let of = Particulars { asked: 1, range: (block, block), head: view.head(), ..Particulars::default() };
    Ok(block >= archive_start(policy, view, block, &of)?)
}

/// First block whose logs are there, for who asks for blocks from `from` on.
fn archive_start(policy: &Policy, view: &View<'_>, from: u64, of: &Particulars) -> Result<u64, Refusal> {
    let silent =
        policy.no_logs_before.map(|block| Archive { start: Start::Block(block), before: Absent::Empty });
    let mut first = 0;
    for archive in silent.into_iter().chain(policy.logs_from) {
        let start = archive.start.block(view.head());
        match archive.before {
            Absent::Refused(wording) if from < start => return Err(wording.refusal(of)),
            Absent::Refused(_) => {}
            Absent::Empty => first = first.max(start),
        }
    }
    Ok(first)
}

fn refuse_span(policy: &Policy, query: &LogQuery, of: &Particulars) -> Result<(), Refusal> {
    let short = policy.log_span.map(|limit| SpanCap::new(limit, &span::ALCHEMY_FREE));
    for cap in short.into_iter().chain(policy.span_cap) {
        if !cap.wording.grants(cap.limit, query.from, query.to) {
            let limit = cap.told.unwrap_or(cap.limit);
            let fits = (query.from, query.from + limit.saturating_sub(1));
            return Err(cap.wording.refusal(&Particulars { limit, fits, ..*of }));
        }
    }
    Ok(())
}

/// The logs that the provider has of what was asked for.
fn logs_held(policy: &Policy, view: &View<'_>, query: &LogQuery) -> Vec<RawLog> {
    view.matching(query).filter(|log| holds(policy, log)).cloned().collect()
}

/// Whether the provider knows of a log. By the log alone: what is missing from an index stays missing, in any window and
/// at any time.
fn holds(policy: &Policy, log: &RawLog) -> bool {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&log.block_number.to_be_bytes());
    place[8..].copy_from_slice(&log.log_index.to_be_bytes());
    !Dice::new(policy.seed, digest(&place), 0).happens(Matter::LogMissing, policy.missing_logs_per_mille)
}

fn cap_results(
    policy: &Policy,
    query: &LogQuery,
    of: &Particulars,
    mut logs: Vec<RawLog>,
) -> Result<Vec<RawLog>, Refusal> {
    let Some(cap) = policy.result_cap else { return Ok(logs) };
    if logs.len() <= cap.logs {
        return Ok(logs);
    }
    match cap.more {
        TooManyLogs::CutSilently => {
            logs.truncate(cap.logs);
            Ok(logs)
        }
        // One block cannot be asked for in parts; reth answers it whole.
        TooManyLogs::Refused { .. } if query.from == query.to => Ok(logs),
        TooManyLogs::RefusedAlways { wording } => {
            let fits = (query.from, query.from);
            Err(wording.refusal(&Particulars { limit: cap.logs as u64, fits, ..*of }))
        }
        TooManyLogs::Refused { wording, hint } => {
            // The block of the first log too many is not in, unless it is the first of all.
            let last = logs[cap.logs].block_number.saturating_sub(1).max(query.from);
            let fits = match hint {
                Hint::True => (query.from, last),
                Hint::TooWide => (query.from, query.to - 1),
                Hint::Outside => {
                    let end = query.from.saturating_sub(1);
                    (end.saturating_sub(last - query.from), end)
                }
                Hint::Inverted => (last.max(query.from + 1), query.from),
            };
            Err(wording.refusal(&Particulars { limit: cap.logs as u64, fits, ..*of }))
        }
    }
}

/// Sorts by a number drawn for each place; two logs or more never come out as they went in.
fn shuffle(logs: &mut [RawLog], roll: u64) {
    for at in (1..logs.len()).rev() {
        let with = Dice::new(roll, at as u64, 0).roll(Matter::Order) % (at as u64 + 1);
        logs.swap(at, usize::try_from(with).unwrap_or(0));
    }
    if logs.len() > 1 && logs.is_sorted_by_key(|log| (log.block_number, log.log_index)) {
        logs.reverse();
    }
}

fn stray_log(view: &View<'_>, query: &LogQuery, stray: StrayLog) -> Value {
    let topic = query.topics.first().and_then(|topics| topics.first()).copied().unwrap_or_default();
    let own = query.addresses.first().copied().unwrap_or_default();
    let invented = |address: Address, block_number: u64, block_hash: B256| RawLog {
        address,
        topics: vec![topic],
        data: Bytes::new(),
        block_number,
        block_hash,
        transaction_hash: B256::repeat_byte(0xee),
        transaction_index: 0,
        log_index: 0,
    };
    let hash = |block| view.chain().hash(block);
    let log = match stray {
        StrayLog::OtherContract => invented(Address::repeat_byte(0xee), query.from, hash(query.from)),
        StrayLog::OtherBlock => invented(own, query.to + 1, hash(query.to + 1)),
        StrayLog::Removed => invented(own, query.to, hash(query.to)),
        StrayLog::OtherHash => invented(own, query.to, B256::repeat_byte(0xee)),
        StrayLog::Invented => RawLog { log_index: 7_777, ..invented(own, query.to, hash(query.to)) },
    };
    let mut log = log_json(view, &log);
    if stray == StrayLog::Removed {
        log["removed"] = json!(true);
    }
    log
}
