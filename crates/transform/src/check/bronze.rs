//! Bronze as the checks see it: every object of a month, with what it says of itself even where the build refuses it.

use super::{CheckError, Subject};
use crate::read::{Flaw, Listed, Object, ledger};
use futures::{StreamExt, TryStreamExt, stream};
use lake::B256;
use lake::bronze::{
    Audit, BronzeError, CsuOfDay, DayBlocks, DayOfChain, Fill, Header, LARGEST, LiquidationLogs, PriceBook,
    Record, TvlSnapshot,
};
use lake::day::Day;
use lake::digest::sha256_hex;
use lake::failure::Failure;
use lake::ledger::LedgerEntry;
use lake::manifest::Manifest;
use lake::path::BronzeKey;
use lake::status::{Dataset, Status};
use lake::store::{Got, Lake};
use object_store::path::Path;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Objects that are held as bytes at one time.
const CHUNK: usize = 64;
/// By how much the calls of a snapshot may change from one day to the next, as a fraction.
const CALLS_CHANGE: f64 = 0.2;

/// What an object says, without the answers of its calls.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    key: BronzeKey,
    path: String,
    sha256: String,
    /// Why it is no record, or which contradiction it has.
    fault: Option<BronzeError>,
    /// Words that must not be in a lake.
    secrets: Vec<&'static str>,
    day: Option<DayOfChain>,
    csu: Option<CsuOfDay>,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Blocks(Box<DayBlocks>),
    /// Block, and number of calls.
    Snapshot(Header, usize),
    /// Logs without their data; blocks at which calls were made.
    Logs(Box<LiquidationLogs>),
    Prices(Header),
    /// Nothing that is held against blocks, or unreadable.
    Other,
}

/// The objects of a month.
pub(super) struct Bronze {
    objects: Vec<Seen>,
    /// Objects that silver was built from, with their digests.
    inputs: BTreeMap<String, String>,
    ledger: BTreeMap<((String, Day), Dataset), Object<LedgerEntry>>,
}

/// What the next month is held against: of each chain the last day's blocks, of each CSU the last snapshot's calls.
#[derive(Debug, Default)]
pub(super) struct Before {
    blocks: BTreeMap<String, DayBlocks>,
    calls: BTreeMap<String, (Day, usize)>,
}

impl Before {
    pub(super) fn note(&mut self, bronze: &Bronze) {
        for seen in &bronze.objects {
            match &seen.kind {
                Kind::Blocks(blocks) => {
                    drop(self.blocks.insert(blocks.day.chain.clone(), (**blocks).clone()))
                }
                Kind::Snapshot(_, calls) => {
                    if let BronzeKey::Tvl { csu, date } = &seen.key {
                        self.calls.insert(csu.clone(), (*date, *calls));
                    }
                }
                _ => {}
            }
        }
    }
}

/// The inputs of a manifest that are of a month.
pub(super) fn inputs_of(manifest: &Manifest, month: &str) -> BTreeMap<String, String> {
    let is_of = |path: &str| BronzeKey::parse(path).is_some_and(|key| key.date().month() == month);
    let inputs = manifest.inputs.iter().filter(|(path, _)| is_of(path));
    inputs.map(|(path, sha256)| (path.clone(), sha256.clone())).collect()
}

impl Bronze {
    pub(super) async fn read(
        lake: &Lake,
        paths: &[(BronzeKey, Path)],
        inputs: BTreeMap<String, String>,
        listed: &Listed,
        pool: &rayon::ThreadPool,
    ) -> Result<Self, CheckError> {
        let mut objects = Vec::new();
        for chunk in paths.chunks(CHUNK) {
            let got: Vec<Option<Got>> = stream::iter(chunk)
                .map(|(_, path)| async move { lake.get_at_most(path, LARGEST).await })
                .buffered(CHUNK)
                .try_collect()
                .await?;
            let seen: Vec<Option<Seen>> = pool.install(|| {
                chunk.par_iter().zip(got).map(|((key, path), got)| Some(seen(key, path, got?))).collect()
            });
            objects.extend(seen.into_iter().flatten());
        }
        let ledger = ledger(lake, &listed.ledger).await?;
        Ok(Self { objects, inputs, ledger })
    }

    /// The day's blocks of each chain.
    fn blocks(&self) -> BTreeMap<(&str, Day), &DayBlocks> {
        fn of(seen: &Seen) -> Option<((&str, Day), &DayBlocks)> {
            match (&seen.key, &seen.kind) {
                (BronzeKey::Blocks { chain, date }, Kind::Blocks(blocks)) => {
                    Some(((chain.as_str(), *date), blocks.as_ref()))
                }
                _ => None,
            }
        }
        self.objects.iter().filter_map(of).collect()
    }
}

fn seen(key: &BronzeKey, path: &Path, got: Got) -> Seen {
    let bytes = match got {
        Got::Whole(bytes) => bytes,
        Got::TooLarge { size, sha256 } => {
            return Seen {
                key: key.clone(),
                path: path.to_string(),
                sha256,
                fault: Some(BronzeError::TooLarge { size }),
                secrets: Vec::new(),
                day: None,
                csu: None,
                kind: Kind::Other,
            };
        }
    };
    let mut seen = Seen {
        key: key.clone(),
        path: path.to_string(),
        sha256: sha256_hex(&bytes),
        fault: None,
        secrets: secrets_in(&bytes),
        day: None,
        csu: None,
        kind: Kind::Other,
    };
    let said = match key {
        BronzeKey::Blocks { .. } => sealed::<DayBlocks>(&bytes)
            .map(|(record, fault)| (fault, Some(record.day.clone()), None, Kind::Blocks(Box::new(record)))),
        BronzeKey::Tvl { .. } => sealed::<TvlSnapshot>(&bytes).map(|(record, fault)| {
            let kind = Kind::Snapshot(record.reads.block, record.reads.calls.len());
            (fault, Some(record.of.day.clone()), Some(record.of), kind)
        }),
        BronzeKey::Liquidations { .. } => sealed::<LiquidationLogs>(&bytes).map(|(mut record, fault)| {
            record.reads.iter_mut().for_each(|reads| reads.calls = Vec::new());
            record.logs.iter_mut().for_each(|log| log.data = Default::default());
            (fault, Some(record.of.day.clone()), Some(record.of.clone()), Kind::Logs(Box::new(record)))
        }),
        BronzeKey::Prices { .. } => sealed::<PriceBook>(&bytes)
            .map(|(record, fault)| (fault, Some(record.day), None, Kind::Prices(record.reads.block))),
        BronzeKey::Audit { .. } => {
            sealed::<Audit>(&bytes).map(|(record, fault)| (fault, Some(record.day), None, Kind::Other))
        }
        BronzeKey::Fill { .. } => sealed::<Fill>(&bytes).map(|(_, fault)| (fault, None, None, Kind::Other)),
    };
    match said {
        Ok((fault, day, csu, kind)) => (seen.fault, seen.day, seen.csu, seen.kind) = (fault, day, csu, kind),
        Err(error) => seen.fault = Some(error),
    }
    seen
}

/// A record and the contradiction that it has, if any.
fn sealed<R: Record>(bytes: &[u8]) -> Result<(R, Option<BronzeError>), BronzeError> {
    let record = R::sealed_in(bytes)?;
    let fault = record.check().err();
    Ok((record, fault))
}

/// What in a text looks like something that is none of the lake's business.
fn secrets_in(bytes: &[u8]) -> Vec<&'static str> {
    const PLACES: [(&str, &str); 4] = [
        ("://", "a URL"),
        ("/home/", "a home directory"),
        ("/Users/", "a home directory"),
        ("/root/", "a home directory"),
    ];
    let text = String::from_utf8_lossy(bytes);
    let mut found: Vec<&str> =
        PLACES.iter().filter(|(mark, _)| text.contains(mark)).map(|(_, what)| *what).collect();
    if text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').any(is_like_a_key) {
        found.push("a key-like token");
    }
    found.dedup();
    found
}

/// Long words with digits, capital and small letters, as providers make their keys. Addresses and data begin with 0x.
fn is_like_a_key(word: &str) -> bool {
    let count = |is: fn(&char) -> bool| word.chars().filter(is).count();
    word.len() >= 20
        && !word.starts_with("0x")
        && count(char::is_ascii_digit) >= 3
        && count(char::is_ascii_uppercase) >= 3
        && count(char::is_ascii_lowercase) >= 3
}

fn about(seen: &Seen, why: impl Into<String>) -> Failure {
    let failure = Failure::new(why).date(seen.key.date()).column(seen.path.clone());
    match &seen.key {
        BronzeKey::Tvl { csu, .. } | BronzeKey::Liquidations { csu, .. } => failure.csu(csu),
        _ => failure,
    }
}

/// B1.
pub(super) fn records(subject: &Subject<'_>) -> Vec<Failure> {
    let failure = |seen: &Seen| seen.fault.as_ref().map(|fault| about(seen, fault.to_string()));
    subject.bronze.objects.iter().filter_map(failure).collect()
}

/// B2, first half: a path that no object of the lake has, such as a second copy.
pub(super) fn stray(path: &Path) -> Failure {
    Failure::new("it is the path of no object that the lake knows").column(path)
}

/// B2, second half: what was written once is as it was when silver was built.
pub(super) fn once(subject: &Subject<'_>) -> Vec<Failure> {
    let there: BTreeMap<&str, &Seen> =
        subject.bronze.objects.iter().map(|seen| (seen.path.as_str(), seen)).collect();
    let failure = |(path, sha256): (&String, &String)| {
        let key = BronzeKey::parse(path)?;
        if matches!(key, BronzeKey::Audit { .. } | BronzeKey::Fill { .. }) {
            return None;
        }
        match there.get(path.as_str()) {
            None => Some(
                Failure::new("it was removed since silver was built")
                    .date(key.date())
                    .column(path.clone())
                    .expected(sha256),
            ),
            Some(seen) if seen.sha256 != *sha256 => Some(
                about(seen, "it was overwritten since silver was built").found(&seen.sha256).expected(sha256),
            ),
            Some(_) => None,
        }
    };
    subject.bronze.inputs.iter().filter_map(failure).collect()
}

/// B3.
pub(super) fn registry(subject: &Subject<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    for seen in &subject.bronze.objects {
        let mut compare = |what: &str, found: String, expected: String| {
            if found != expected {
                failures.push(about(seen, format!("another {what}")).found(found).expected(expected));
            }
        };
        let chain = match &seen.key {
            BronzeKey::Tvl { csu, .. } | BronzeKey::Liquidations { csu, .. } => {
                let Some(row) = subject.registry.csu(csu) else {
                    failures.push(about(seen, "the registry has no such CSU").found(csu));
                    continue;
                };
                if let Some(of) = &seen.csu {
                    compare("CSU", of.csu.clone(), row.id.clone());
                    compare("family", of.family.clone(), row.family.clone());
                    compare("entry contract", format!("{:#x}", of.entry), format!("{:#x}", row.entry));
                }
                &row.chain
            }
            BronzeKey::Blocks { chain, .. }
            | BronzeKey::Prices { chain, .. }
            | BronzeKey::Audit { chain, .. } => chain,
            BronzeKey::Fill { .. } => continue,
        };
        match (&seen.day, subject.registry.chain(chain)) {
            (_, None) => failures.push(about(seen, "the registry has no such chain").found(chain)),
            (Some(day), Some(row)) => {
                compare("chain", day.chain.clone(), row.name.clone());
                compare("chain id", day.chain_id.to_string(), row.chain_id.to_string());
            }
            (None, Some(_)) => {}
        }
    }
    failures
}

/// B4.
pub(super) fn window(subject: &Subject<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    let zone = &subject.run.zone;
    for seen in &subject.bronze.objects {
        let (Some(day), Ok(window)) = (&seen.day, zone.window(seen.key.date())) else { continue };
        let found = (day.date.to_string(), day.zone.clone(), day.day_start, day.day_end);
        let expected = (seen.key.date().to_string(), zone.name().to_owned(), window.start, window.end);
        if found != expected {
            let text = |(date, zone, start, end): (String, String, i64, i64)| {
                format!("{date} of {zone}, {start} to {end}, {} hours", end.saturating_sub(start) / 3600)
            };
            failures.push(about(seen, "another window").found(text(found)).expected(text(expected)));
        }
    }
    failures
}

fn time(header: &Header) -> i64 {
    i64::try_from(header.timestamp).unwrap_or(i64::MAX)
}

fn named(header: &Header) -> String {
    format!("block {} at {} s ({:#x})", header.number, header.timestamp, header.hash)
}

/// B5.
pub(super) fn snapshot(subject: &Subject<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    let blocks = subject.bronze.blocks();
    for seen in &subject.bronze.objects {
        let Some(day) = &seen.day else { continue };
        let mut must = |holds: bool, why: &str, found: &Header| {
            if !holds {
                failures.push(about(seen, why).found(named(found)));
            }
        };
        let of_chain = blocks.get(&(day.chain.as_str(), seen.key.date()));
        match &seen.kind {
            Kind::Blocks(of) => {
                for (header, why) in [(of.first, "the first block"), (of.last, "the last block")] {
                    if let Some(header) = header {
                        let within = day.day_start <= time(&header) && time(&header) < day.day_end;
                        must(within, &format!("{why} lies outside the day"), &header);
                    }
                }
                must(
                    time(&of.after) >= day.day_end,
                    "the block after the day lies before its end",
                    &of.after,
                );
                if let Some(header) = of.before {
                    must(time(&header) < day.day_start, "the block before the day lies within it", &header);
                }
            }
            Kind::Snapshot(header, _) | Kind::Prices(header) => {
                if let Some(of) = of_chain {
                    must(of.last == Some(*header), "it is not of the day's last block", header);
                }
            }
            Kind::Logs(of) => {
                for read in &of.reads {
                    let within = day.day_start <= time(&read.block) && time(&read.block) < day.day_end;
                    must(within, "a block that was read lies outside the day", &read.block);
                }
            }
            Kind::Other => {}
        }
    }
    failures
}

/// B6.
pub(super) fn chain(subject: &Subject<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut last = subject.before.bronze.blocks.clone();
    for ((chain, date), blocks) in subject.bronze.blocks() {
        let earlier = last.insert(chain.to_owned(), blocks.clone());
        let Some(earlier) = earlier.filter(|earlier| earlier.day.date.next() == date) else { continue };
        // Without a block the day before hands on the block before it.
        let expected = earlier.last.or(earlier.before);
        let Some((found, expected)) =
            blocks.before.zip(expected).filter(|(found, expected)| found != expected)
        else {
            continue;
        };
        failures.push(
            Failure::new("the block before the day is not the last of the day before")
                .date(date)
                .column(BronzeKey::Blocks { chain: chain.to_owned(), date }.to_string())
                .found(named(&found))
                .expected(named(&expected)),
        );
    }
    failures
}

/// B7.
pub(super) fn whole(subject: &Subject<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    let blocks = subject.bronze.blocks();
    for seen in &subject.bronze.objects {
        match &seen.kind {
            Kind::Snapshot(_, 0) => failures.push(about(seen, "it has no call")),
            Kind::Logs(of) => {
                let tiles = of.blocks.map_or(of.scanned.count() == 0, |span| of.scanned.is_exactly(span));
                if !tiles {
                    let spans: Vec<String> = of.scanned.spans().iter().map(ToString::to_string).collect();
                    let expected = of.blocks.map_or("no block".to_owned(), |span| span.to_string());
                    let failure = about(seen, "the scanned blocks do not tile the day's");
                    failures.push(failure.found(spans.join(", ")).expected(expected));
                }
                let of_day = seen.day.as_ref().and_then(|day| blocks.get(&(day.chain.as_str(), day.date)));
                if let Some(of_day) = of_day.filter(|of_day| of_day.span() != of.blocks) {
                    let text = |span: Option<lake::span::BlockSpan>| {
                        span.map_or("no block".to_owned(), |span| span.to_string())
                    };
                    let failure = about(seen, "its blocks are not those of the chain's day");
                    failures.push(failure.found(text(of.blocks)).expected(text(of_day.span())));
                }
                let read: BTreeSet<u64> = of.reads.iter().map(|reads| reads.block.number).collect();
                let unread: BTreeSet<u64> = of
                    .logs
                    .iter()
                    .map(|log| log.block_number)
                    .filter(|number| !read.contains(number))
                    .collect();
                failures.extend(unread.iter().map(|number| {
                    about(seen, "a block with a log has no reads").found(format!("block {number}"))
                }));
            }
            _ => {}
        }
    }
    for (((csu, date), dataset), object) in &subject.bronze.ledger {
        let Some(entry) = object.sound().filter(|entry| entry.status == Status::Collected) else { continue };
        let counts = (entry.blocks_scanned, entry.blocks_expected);
        if let (Some(scanned), Some(expected)) = counts
            && scanned != expected
        {
            let failure = Failure::new(format!("the ledger calls {dataset} collected"));
            failures.push(
                failure.csu(csu).date(*date).column("blocks_scanned").found(scanned).expected(expected),
            );
        }
    }
    failures
}

/// B8.
pub(super) fn logs(subject: &Subject<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut hashes: BTreeMap<(String, u64), (B256, String)> = BTreeMap::new();
    // A log belongs to one CSU.
    let mut there: BTreeMap<(String, u64, u64), String> = BTreeMap::new();
    for seen in &subject.bronze.objects {
        let Some(day) = &seen.day else { continue };
        let mut headers: Vec<(u64, B256)> = Vec::new();
        match &seen.kind {
            Kind::Blocks(of) => {
                let all = [of.before, of.first, of.last, Some(of.after)];
                headers.extend(all.into_iter().flatten().map(|header| (header.number, header.hash)));
            }
            Kind::Snapshot(header, _) | Kind::Prices(header) => headers.push((header.number, header.hash)),
            Kind::Logs(of) => {
                headers.extend(of.reads.iter().map(|reads| (reads.block.number, reads.block.hash)));
                headers.extend(of.logs.iter().map(|log| (log.block_number, log.block_hash)));
                for log in &of.logs {
                    let at = format!("log {} of block {}", log.log_index, log.block_number);
                    if !of.blocks.is_some_and(|span| span.contains(log.block_number)) {
                        failures.push(about(seen, "a log lies outside the day's blocks").found(&at));
                    }
                    if !of.filter.matches(log) {
                        failures.push(about(seen, "a log is none of the filter's").found(&at));
                    }
                    let key = (day.chain.clone(), log.block_number, log.log_index);
                    if let Some(path) = there.insert(key, seen.path.clone()) {
                        failures
                            .push(about(seen, format!("a log is there twice: here and in {path}")).found(at));
                    }
                }
            }
            Kind::Other => {}
        }
        for (number, hash) in headers {
            let (first, path) =
                hashes.entry((day.chain.clone(), number)).or_insert_with(|| (hash, seen.path.clone()));
            if *first != hash {
                let failure = about(seen, format!("block {number} has another hash in {path}"));
                failures.push(failure.found(format!("{hash:#x}")).expected(format!("{first:#x}")));
            }
        }
    }
    failures
}

/// B9, first half.
pub(super) fn reasons(subject: &Subject<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    for (((csu, date), dataset), object) in &subject.bronze.ledger {
        let failure = |why: String| Failure::new(why).csu(csu).date(*date).column(object.path.clone());
        match &object.content {
            Err(Flaw::Ledger { why }) => failures.push(failure(format!("it is no ledger entry: {why}"))),
            Err(flaw) => failures.push(failure(flaw.to_string())),
            Ok(entry) => {
                let needs_reason =
                    matches!(entry.status, Status::Partial | Status::ArchiveUnavailable | Status::Failed);
                if needs_reason && (entry.reason.is_none() || entry.message.is_empty()) {
                    failures.push(failure(format!(
                        "{dataset} is {} without a reason and a message",
                        entry.status
                    )));
                }
            }
        }
    }
    failures
}

/// B9, second half.
pub(super) fn secrets(subject: &Subject<'_>) -> Vec<Failure> {
    // The finding says where, never what.
    let of_objects = subject
        .bronze
        .objects
        .iter()
        .filter(|seen| !seen.secrets.is_empty())
        .map(|seen| about(seen, format!("it holds {}", seen.secrets.join(" and "))));
    let of_ledger = subject.bronze.ledger.iter().filter_map(|(((csu, date), _), object)| {
        let found = secrets_in(object.sound()?.message.as_bytes());
        let failure =
            || Failure::new(format!("its message holds {}", found.join(" and "))).csu(csu).date(*date);
        (!found.is_empty()).then(|| failure().column(object.path.clone()))
    });
    of_objects.chain(of_ledger).collect()
}

/// B10.
pub(super) fn calls(subject: &Subject<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut last = subject.before.bronze.calls.clone();
    for seen in &subject.bronze.objects {
        let (BronzeKey::Tvl { csu, date }, Kind::Snapshot(_, calls)) = (&seen.key, &seen.kind) else {
            continue;
        };
        let earlier = last.insert(csu.clone(), (*date, *calls));
        let Some((_, earlier)) = earlier.filter(|(day, earlier)| day.next() == *date && *earlier > 0) else {
            continue;
        };
        let change = (*calls as f64 / earlier as f64 - 1.0).abs();
        if change > CALLS_CHANGE {
            let failure = about(seen, format!("the number of calls changed by {:.0}%", change * 100.0));
            failures.push(failure.found(calls).expected(earlier));
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_urls_and_homes_are_noticed_and_hex_is_not() {
        let clean = r#"{"to":"0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","key":"pool.getReserveNormalizedVariableDebt","zone":"America/New_York"}"#;
        assert!(secrets_in(clean.as_bytes()).is_empty());
        for (text, what) in [
            ("see https://rpc.example/v2/x", "a URL"),
            ("in /home/me/lake", "a home directory"),
            ("key aB3dE5fG7hI9jK1lM3nO5", "a key-like token"),
        ] {
            assert_eq!(secrets_in(text.as_bytes()), [what]);
        }
    }
}
