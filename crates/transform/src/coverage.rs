//! The rows of `coverage`: what became of every dataset of every CSU-day, and why there is a gap.
//!
//! The first that applies counts: a sound object; an object with a flaw; the registry (not deployed, retired); a day
//! without blocks; the ledger's last word; not attempted. An audit adds how far a collected scan was checked, and changes
//! nothing else.

use crate::read::{Calls, Flaw, LogsDay, Month, NameAndDay, Object, SnapshotDay};
use lake::bronze::DayBlocks;
use lake::day::{Day, DayWindow, Zone};
use lake::ledger::LedgerEntry;
use lake::registry::{Chain, Csu, Registry};
use lake::schema::silver::Coverage;
use lake::status::{AuditLevel, Dataset, Reason, Status};
use protocols::Snapshot;
use protocols::token::printable;
use std::collections::{BTreeMap, BTreeSet};

/// CSU, day and dataset.
pub type Task = (NameAndDay, Dataset);

/// Longest message, in characters.
const LONGEST_MESSAGE: usize = 500;
/// Reserves that a message names before it only counts.
const NAMED_RESERVES: usize = 3;
const SECONDS_A_DAY: i64 = 86_400;

/// What the rows are made from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The registry.
    pub registry: &'a Registry,
    /// The zone of the days.
    pub zone: &'a Zone,
    /// The month's objects.
    pub month: &'a Month,
}

impl Sources<'_> {
    /// Whether only the ledger can say what became of a task.
    pub fn asks_ledger(self, ((name, date), dataset): &Task) -> bool {
        let key = (name.clone(), *date);
        let has_object = match dataset {
            Dataset::Tvl => self.month.snapshots.contains_key(&key),
            Dataset::Liquidations => self.month.logs.contains_key(&key),
        };
        let Some((csu, window)) = self.registry.csu(name).zip(self.zone.window(*date).ok()) else {
            return false;
        };
        !has_object && self.without_object(csu, window).is_none()
    }

    /// The rows of these tasks, given what the ledger says of those that need it.
    pub fn rows(self, tasks: &BTreeSet<Task>, ledger: &BTreeMap<Task, Object<LedgerEntry>>) -> Vec<Coverage> {
        tasks.iter().filter_map(|task| self.row(task, ledger.get(task))).collect()
    }

    fn blocks(&self, csu: &Csu, window: DayWindow) -> Option<&DayBlocks> {
        self.month.blocks.get(&(csu.chain.clone(), window.day))?.sound()
    }

    /// How far a collected scan was checked, if an audit that can be read says so.
    fn audit_level(&self, csu: &Csu, date: Day) -> Option<AuditLevel> {
        self.month.audits.get(&(csu.chain.clone(), date))?.sound()?.level_of(&csu.id)
    }

    fn without_object(&self, csu: &Csu, window: DayWindow) -> Option<Status> {
        let launch = self.registry.chain_of(csu).and_then(Chain::nothing_before);
        without_object(csu, launch, window, self.blocks(csu, window))
    }

    fn row(self, task: &Task, ledger: Option<&Object<LedgerEntry>>) -> Option<Coverage> {
        let (key, dataset) = task;
        let csu = self.registry.csu(&key.0)?;
        let window = self.zone.window(key.1).ok()?;
        let blocks = self.blocks(csu, window);
        let found = match dataset {
            Dataset::Tvl => self.month.snapshots.get(key).map(of_snapshot),
            Dataset::Liquidations => self.month.logs.get(key).map(of_logs),
        };
        let found = found
            .or_else(|| self.without_object(csu, window).map(Found::word))
            .unwrap_or_else(|| ledger.map_or_else(|| Found::word(Status::NotAttempted), of_ledger));

        let applies = !matches!(found.status, Status::NotDeployed | Status::Retired);
        let expected = blocks.map(|blocks| blocks.span().map_or(0, |span| span.count()));
        let expected = expected.and_then(|count| i64::try_from(count).ok()).or(found.blocks_expected);
        let scan = *dataset == Dataset::Liquidations && applies;
        let audit_level = (*dataset == Dataset::Liquidations && found.status == Status::Collected)
            .then(|| self.audit_level(csu, key.1))
            .flatten();
        let has_none = found.status == Status::NoBlock && expected == Some(0);
        Some(Coverage {
            csu: csu.id.clone(),
            date: key.1,
            dataset: *dataset,
            status: found.status,
            reason: found.reason,
            message: found.message.map(|text| printable(&text, LONGEST_MESSAGE)),
            calls_planned: found.calls.map(|calls| calls.planned),
            calls_ok: found.calls.map(|calls| calls.ok),
            blocks_expected: expected.filter(|_| scan),
            blocks_scanned: found
                .blocks_scanned
                .or(has_none.then_some(0))
                .filter(|_| scan && expected.is_some()),
            audit_level,
            object: found.object.as_ref().map(|(path, _)| path.clone()),
            sha256: found.object.map(|(_, sha256)| sha256),
        })
    }
}

/// What a row says beyond its key.
struct Found {
    status: Status,
    reason: Option<Reason>,
    message: Option<String>,
    calls: Option<Calls>,
    blocks_expected: Option<i64>,
    blocks_scanned: Option<i64>,
    object: Option<(String, String)>,
}

impl Found {
    fn word(status: Status) -> Self {
        Self {
            status,
            reason: None,
            message: None,
            calls: None,
            blocks_expected: None,
            blocks_scanned: None,
            object: None,
        }
    }

    fn flawed(flaw: &Flaw) -> Self {
        Self {
            reason: Some(Reason::BadObject),
            message: Some(flaw.to_string()),
            ..Self::word(Status::Failed)
        }
    }
}

/// What is known of a day without asking the ledger. `launch` is the second before which the chain had nothing; `blocks` are
/// the day's, when they are proven.
fn without_object(
    csu: &Csu,
    launch: Option<i64>,
    window: DayWindow,
    blocks: Option<&DayBlocks>,
) -> Option<Status> {
    let last = blocks.and_then(|blocks| blocks.last);
    let is_before = match (csu.deployed_block, last, csu.deployed_date) {
        (Some(deployed), Some(last), _) => last.number < deployed,
        // The registry's date is a UTC day; the lake's day ends in its own zone.
        (_, _, Some(deployed)) => window.end <= i64::from(deployed.days_since_epoch()) * SECONDS_A_DAY,
        _ => launch.is_some_and(|launch| window.end <= launch),
    };
    if is_before {
        Some(Status::NotDeployed)
    } else if csu.retired_date.is_some_and(|retired| retired < window.day) {
        Some(Status::Retired)
    } else if blocks.is_some_and(|blocks| blocks.span().is_none()) {
        Some(Status::NoBlock)
    } else {
        None
    }
}

fn of_snapshot(object: &Object<SnapshotDay>) -> Found {
    let day = match &object.content {
        Ok(day) => day,
        Err(flaw) => return Found::flawed(flaw),
    };
    let calls = Some(day.calls);
    let snapshot = match &day.snapshot {
        Ok(snapshot) => snapshot,
        Err(fault) => {
            return Found {
                reason: Some(Reason::DiscoveryFailed),
                message: Some(fault.to_string()),
                calls,
                ..Found::word(Status::Failed)
            };
        }
    };
    let object = Some((object.path.clone(), object.sha256.clone()));
    match missing_in(snapshot) {
        None => Found { calls, object, ..Found::word(Status::Collected) },
        Some(message) => Found {
            reason: Some(Reason::CallFailed),
            message: Some(message),
            calls,
            object,
            ..Found::word(Status::Partial)
        },
    }
}

/// Which reserves lack figures, the first few with their reason.
fn missing_in(snapshot: &Snapshot) -> Option<String> {
    let partial: Vec<_> = snapshot.reserves.iter().filter(|reserve| !reserve.missing.is_empty()).collect();
    if partial.is_empty() {
        return None;
    }
    let named = partial.iter().take(NAMED_RESERVES).filter_map(|reserve| reserve.missing.first());
    let named: Vec<String> = named.map(ToString::to_string).collect();
    let more = if partial.len() > NAMED_RESERVES { "; ..." } else { "" };
    Some(format!(
        "{} of {} reserves lack figures: {}{more}",
        partial.len(),
        snapshot.reserves.len(),
        named.join("; ")
    ))
}

fn of_logs(object: &Object<LogsDay>) -> Found {
    match &object.content {
        Err(flaw) => Found::flawed(flaw),
        Ok(day) => Found {
            calls: Some(day.calls),
            blocks_scanned: Some(day.blocks_scanned),
            object: Some((object.path.clone(), object.sha256.clone())),
            ..Found::word(if day.has_blocks { Status::Collected } else { Status::NoBlock })
        },
    }
}

fn of_ledger(object: &Object<LedgerEntry>) -> Found {
    let entry = match &object.content {
        Ok(entry) => entry,
        Err(flaw) => {
            let message = Some(format!("its ledger entry cannot be used: {flaw}"));
            return Found { message, ..Found::word(Status::NotAttempted) };
        }
    };
    // The ledger gives reasons for gaps. What closes one is proven by bronze or stands in the registry, and neither does
    // here: a `no_block` that nothing proves would become liquidations measured as 0.
    let unproven = match entry.status {
        Status::Collected => Some("the object is not in the lake"),
        Status::NoBlock => Some("no object in the lake proves a day without blocks"),
        Status::NotDeployed | Status::Retired => Some("the registry does not say so"),
        Status::Unsupported
        | Status::Partial
        | Status::ArchiveUnavailable
        | Status::NotAttempted
        | Status::Failed => None,
    };
    if let Some(why) = unproven {
        let message = Some(format!("the ledger says {}, but {why}", entry.status));
        return Found { message, ..Found::word(Status::NotAttempted) };
    }
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    Found {
        status: entry.status,
        reason: entry.reason,
        // The first line says what; the lines below it name endpoints and files, which no layer above state/ knows.
        message: entry.message.lines().next().map(str::to_owned).filter(|message| !message.is_empty()),
        calls: Some(Calls { planned: number(entry.calls_planned), ok: number(entry.calls_ok) }),
        blocks_expected: entry.blocks_expected.map(number),
        blocks_scanned: entry.blocks_scanned.map(number),
        object: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lake::B256;
    use lake::bronze::{DayOfChain, Header};

    fn csu() -> Csu {
        Csu {
            deployed_block: Some(100),
            deployed_date: Some(day("2024-12-02")),
            retired_date: Some(day("2024-12-20")),
            ..Csu::bare("aave_v3_test", "aave_v3", "ethereum", "pool_addresses_provider", lake::Address::ZERO)
        }
    }

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    fn window(text: &str) -> DayWindow {
        Zone::named("America/New_York").unwrap().window(day(text)).unwrap()
    }

    fn blocks(last: Option<u64>) -> DayBlocks {
        let header = |number| Header { number, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 0 };
        DayBlocks {
            day: DayOfChain {
                chain: "ethereum".into(),
                chain_id: 1,
                date: day("2024-12-01"),
                zone: "America/New_York".into(),
                day_start: 0,
                day_end: 1,
            },
            before: None,
            first: last.map(header),
            last: last.map(header),
            after: header(1_000),
        }
    }

    #[test]
    fn the_block_of_the_deployment_decides_before_its_date() {
        let status =
            |date: &str, blocks: Option<&DayBlocks>| without_object(&csu(), None, window(date), blocks);
        assert_eq!(status("2024-12-05", Some(&blocks(Some(99)))), Some(Status::NotDeployed));
        assert_eq!(status("2024-11-01", Some(&blocks(Some(100)))), None);
        // No block to compare with. 2024-12-01 of New York ends at 05:00 of 2024-12-02 UTC, the day of deployment.
        assert_eq!(status("2024-11-30", None), Some(Status::NotDeployed));
        assert_eq!(status("2024-12-01", None), None);
    }

    #[test]
    fn nothing_was_deployed_before_its_chain_was_there() {
        let undated = Csu { deployed_block: None, deployed_date: None, ..csu() };
        let launch = Some(window("2024-12-03").start);
        let status = |csu: &Csu, date: &str| without_object(csu, launch, window(date), None);
        assert_eq!(status(&undated, "2024-12-02"), Some(Status::NotDeployed));
        assert_eq!(status(&undated, "2024-12-03"), None);
        // Whose day is known needs no guess.
        assert_eq!(status(&csu(), "2024-12-02"), None);
    }

    #[test]
    fn retired_begins_the_day_after_the_last() {
        let status = |date: &str| without_object(&csu(), None, window(date), Some(&blocks(Some(500))));
        assert_eq!((status("2024-12-20"), status("2024-12-21")), (None, Some(Status::Retired)));
    }

    #[test]
    fn a_day_without_blocks_is_told_from_one_without_knowledge() {
        assert_eq!(
            without_object(&csu(), None, window("2024-12-05"), Some(&blocks(None))),
            Some(Status::NoBlock)
        );
        assert_eq!(without_object(&csu(), None, window("2024-12-05"), None), None);
    }
}
