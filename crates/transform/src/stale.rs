//! Whether a month of silver is what its inputs make of it: what it was built from, by digest, and what differs now.
//!
//! A month is stale when one of these differs from the last build: the bytes of its bronze objects, audits and fills; what
//! the ledger says of days without an object (status, reason, words and counts; not when or how often it was tried); which
//! CSU-days are promised; the registry; the code; the tables' definitions; the decimals that a token had in an earlier
//! month; and the bytes of its own files. No file time is looked at.

use crate::build::BadObject;
use crate::coverage::Task;
use crate::read::Object;
use crate::tokens::Sighting;
use lake::digest::{sha256_hex, sha256_of_listing};
use lake::ledger::LedgerEntry;
use lake::manifest::Manifest;
use lake::path::{BronzeKey, silver_month_notes};
use lake::run::Run;
use lake::schema::silver;
use lake::store::{Lake, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Digest of the code that silver depends on: `src` of lake, protocols and transform.
pub const CODE: &str = env!("SILVER_CODE_SHA256");

/// Digests by kind of thing.
pub type Mark = BTreeMap<String, String>;

/// Kinds of things that make a month stale, in the order in which they are told.
const BRONZE: &str = "bronze";
const AUDITS: &str = "audits";
const FILLS: &str = "fills";
const LEDGER: &str = "ledger";
const TASKS: &str = "tasks";
const REGISTRY: &str = "registry";
const CODE_PART: &str = "code";
const SCHEMA: &str = "schema";
const ZONE: &str = "zone";
const TOKENS: &str = "tokens";
const MISSING_PRICES: &str = "missing_prices";

/// What differs, in words.
const WORDS: [(&str, &str); 10] = [
    (CODE_PART, "the code changed"),
    (SCHEMA, "the definitions of the tables changed"),
    (REGISTRY, "the registry changed"),
    (ZONE, "the zone of the days changed"),
    (BRONZE, "bronze changed"),
    (AUDITS, "audits changed"),
    (FILLS, "off-chain prices changed"),
    (LEDGER, "the ledger says otherwise of days that are not there"),
    (TASKS, "other CSU-days are promised"),
    (TOKENS, "a token had other decimals in an earlier month"),
];

/// What is known of a month's last build beyond its rows, in `state/silver/<month>.json`. It spares a decoding, and is
/// believed only while its digests are those of the manifest; without it the month is built again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notes {
    /// Digests of what it was built from.
    pub mark: Mark,
    /// What it says of its tokens.
    pub tokens: Vec<Sighting>,
    /// Objects that nothing was taken from.
    pub bad_objects: Vec<BadObject>,
    /// Objects that contradict each other.
    pub contradictions: Vec<String>,
    /// Prices that are missing.
    pub missing_prices: usize,
    /// Rows of each table.
    pub rows: BTreeMap<String, usize>,
}

impl Notes {
    /// The notes of a month; `None` when there are none that can be read.
    ///
    /// # Errors
    /// [`StoreError`] when the lake cannot be read.
    pub async fn of_month(lake: &Lake, month: &str) -> Result<Option<Self>, StoreError> {
        let Some(bytes) = lake.get(&silver_month_notes(month)).await? else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(notes) => Ok(Some(notes)),
            Err(error) => {
                tracing::info!(month, %error, "the notes of the last build cannot be read, the month is built again");
                Ok(None)
            }
        }
    }

    /// Whether a build of today's registry and code would find the same tokens in these objects, all of them sound or
    /// flawed as before.
    pub fn tokens_hold(&self, now: &Mark) -> bool {
        [BRONZE, REGISTRY, CODE_PART, ZONE].iter().all(|part| self.mark.get(*part) == now.get(*part))
    }
}

/// The digests of a month's objects and of what all months have in common. `objects` are path and digest.
pub fn of_objects<'a>(run: &Run, objects: impl Iterator<Item = (&'a str, &'a str)>) -> Mark {
    let (mut data, mut audits, mut fills) = (Vec::new(), Vec::new(), Vec::new());
    for (path, sha256) in objects {
        match BronzeKey::parse(path) {
            Some(BronzeKey::Audit { .. }) => audits.push((path, sha256)),
            Some(BronzeKey::Fill { .. }) => fills.push((path, sha256)),
            _ => data.push((path, sha256)),
        }
    }
    let schemas: Vec<(String, String)> = silver::tables()
        .iter()
        .map(|table| (table.name.to_owned(), sha256_hex(format!("{table:?}").as_bytes())))
        .collect();
    Mark::from([
        (BRONZE.to_owned(), sha256_of_listing(data)),
        (AUDITS.to_owned(), sha256_of_listing(audits)),
        (FILLS.to_owned(), sha256_of_listing(fills)),
        (REGISTRY.to_owned(), run.registry.sha256().to_owned()),
        (CODE_PART.to_owned(), CODE.to_owned()),
        (ZONE.to_owned(), sha256_hex(run.zone.name().as_bytes())),
        (SCHEMA.to_owned(), listing(&schemas)),
    ])
}

/// Adds what else a month is built from: the ledger's words, the promise, and tokens that changed.
pub fn add_words(
    mark: &mut Mark,
    ledger: &BTreeMap<Task, Object<LedgerEntry>>,
    tasks: &BTreeSet<Task>,
    changed_tokens: &[(String, String)],
) {
    let name = |((csu, date), dataset): &Task| format!("{dataset} {csu} {date}");
    let words = |object: &Object<LedgerEntry>| match &object.content {
        Ok(entry) => {
            let LedgerEntry { calls_planned, calls_ok, blocks_expected, blocks_scanned, .. } = entry;
            let counts = (calls_planned, calls_ok, blocks_expected, blocks_scanned);
            format!("{} {:?} {:?} {counts:?}", entry.status, entry.reason, entry.message.lines().next())
        }
        Err(flaw) => flaw.to_string(),
    };
    let said: Vec<(String, String)> =
        ledger.iter().map(|(task, object)| (name(task), sha256_hex(words(object).as_bytes()))).collect();
    let promised: Vec<(String, String)> = tasks.iter().map(|task| (name(task), String::new())).collect();
    mark.insert(LEDGER.to_owned(), listing(&said));
    mark.insert(TASKS.to_owned(), listing(&promised));
    mark.insert(TOKENS.to_owned(), listing(changed_tokens));
}

/// Adds the digest of the list of missing prices, which is written with a month and is no output of the manifest.
pub fn add_missing_prices(mark: &mut Mark, list: &[u8]) {
    mark.insert(MISSING_PRICES.to_owned(), sha256_hex(list));
}

fn listing(pairs: &[(String, String)]) -> String {
    sha256_of_listing(pairs.iter().map(|(name, digest)| (name.as_str(), digest.as_str())))
}

/// Why nothing of a month's last build can be relied on, whatever the lake holds now.
pub fn unknown(month: &str, before: &Manifest, notes: Option<&Notes>) -> Option<&'static str> {
    let Some(mark) = before.months.get(month) else { return Some("it was not built before") };
    notes.is_none_or(|notes| notes.mark != *mark).then_some("nothing is known of how it was built")
}

/// Why a month must be built again; empty when it need not. `now` are today's digests and `objects` today's objects,
/// `there` the files of the month and its list of missing prices as they lie in the lake, with their digests.
pub fn reasons(
    month: &str,
    before: &Manifest,
    notes: Option<&Notes>,
    now: &Mark,
    objects: &BTreeMap<String, String>,
    there: &Files,
) -> Vec<String> {
    if let Some(why) = unknown(month, before, notes) {
        return vec![why.to_owned()];
    }
    let no_mark = Mark::new();
    let mark = before.months.get(month).unwrap_or(&no_mark);
    let mut reasons: Vec<String> = WORDS
        .iter()
        .filter(|(part, _)| mark.get(*part) != now.get(*part))
        .map(|(part, words)| match *part {
            BRONZE => format!("{words}: {}", bronze_changes(month, before, objects)),
            _ => (*words).to_owned(),
        })
        .collect();
    for (path, sha256) in &there.tables {
        if before.outputs.get(path) != sha256.as_ref() || sha256.is_none() {
            let what = if sha256.is_some() { "is not what was written" } else { "is gone" };
            reasons.push(format!("{path} {what}"));
        }
    }
    if there.missing_prices.as_ref() != mark.get(MISSING_PRICES) {
        reasons.push("its list of missing prices is not what was written".to_owned());
    }
    reasons
}

/// Digests of a month's files; `None` for one that is not there.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Its tables, by path.
    pub tables: BTreeMap<String, Option<String>>,
    /// Its list of missing prices.
    pub missing_prices: Option<String>,
}

/// How many objects are new, changed and gone, and the first of them.
fn bronze_changes(month: &str, before: &Manifest, objects: &BTreeMap<String, String>) -> String {
    let is_data = |path: &str| match BronzeKey::parse(path) {
        Some(BronzeKey::Audit { .. } | BronzeKey::Fill { .. }) | None => false,
        Some(key) => key.date().month() == month,
    };
    let then: BTreeMap<&String, &String> = before.inputs.iter().filter(|(path, _)| is_data(path)).collect();
    let now: BTreeMap<&String, &String> = objects.iter().filter(|(path, _)| is_data(path)).collect();
    let new = now.keys().filter(|path| !then.contains_key(**path));
    let changed = now.iter().filter(|(path, sha256)| then.get(**path).is_some_and(|then| then != *sha256));
    let gone = then.keys().filter(|path| !now.contains_key(**path));
    let lists: [(&str, Vec<&String>); 3] = [
        ("new", new.copied().collect()),
        ("changed", changed.map(|(path, _)| *path).collect()),
        ("gone", gone.copied().collect()),
    ];
    let words: Vec<String> = lists
        .iter()
        .filter_map(|(word, paths)| {
            let first = paths.first()?;
            Some(match paths.len() {
                1 => format!("1 object is {word} ({first})"),
                count => format!("{count} objects are {word} (first {first})"),
            })
        })
        .collect();
    if words.is_empty() { "other objects".to_owned() } else { words.join(", ") }
}
