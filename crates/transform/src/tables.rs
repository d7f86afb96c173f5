//! The tables of one month, made from its decoded objects on a thread of their own while the next month is read.

use crate::build::{BadObject, BuildError, Gaps};
use crate::coverage::{Sources, Task};
use crate::prices::PriceBook;
use crate::read::{Flaw, Month, NameAndDay, Object};
use crate::stale::{self, Notes};
use crate::tokens::{Sighting, TokenBook};
use crate::{dimensions, liquidations, missing, reserves};
use bytes::Bytes;
use lake::ledger::LedgerEntry;
use lake::missing::MissingPrices;
use lake::path::{BronzeKey, silver_month};
use lake::run::Run;
use lake::schema::Row;
use lake::table_file::{TableError, parquet_bytes};
use object_store::path::Path;
use std::collections::{BTreeMap, BTreeSet};

/// A month whose objects are decoded.
pub(crate) struct Decoded {
    pub(crate) name: String,
    pub(crate) month: Month,
    /// What the ledger says of tasks without an object.
    pub(crate) ledger: BTreeMap<Task, Object<LedgerEntry>>,
    /// What was promised of the month.
    pub(crate) tasks: BTreeSet<Task>,
    /// What the run promises of it.
    pub(crate) frame: BTreeSet<Task>,
    pub(crate) sightings: Vec<Sighting>,
    /// The tokens of all months up to this one.
    pub(crate) tokens: TokenBook,
}

/// A month as files.
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) files: Vec<(Path, Bytes)>,
    /// Its list of missing prices.
    pub(crate) list: Bytes,
    pub(crate) notes: Notes,
    pub(crate) gaps: Gaps,
    /// Path and digest of every object it was made from.
    pub(crate) objects: BTreeMap<String, String>,
}

impl Decoded {
    /// Makes the tables.
    ///
    /// # Errors
    /// [`BuildError::LogsLost`], [`BuildError::Table`].
    pub(crate) fn made(self, run: &Run) -> Result<Made, BuildError> {
        let Self { name, month, mut ledger, tasks, frame, sightings, tokens } = self;
        let registry = &run.registry;
        let objects = objects_of(&month);
        let mut mark = stale::of_objects(run, pairs(&objects));
        stale::add_words(&mut mark, &ledger, &tasks, &tokens.changed_in(&sightings));

        let sources = Sources { registry, zone: &run.zone, month: &month };
        ledger.retain(|task, _| sources.asks_ledger(task));
        let coverage = sources.rows(&tasks, &ledger);
        let gaps = Gaps::of(&frame, &coverage);

        let chain_of = |name: &str| registry.csu(name).map(|csu| csu.chain.clone());
        let mut chain_days: BTreeSet<NameAndDay> = month.blocks.keys().cloned().collect();
        chain_days.extend(tasks.iter().filter_map(|((csu, day), _)| Some((chain_of(csu)?, *day))));
        let day_blocks = dimensions::day_blocks(registry, &run.zone, &chain_days, &month);

        let mut prices = PriceBook::of_month(registry, &month);
        let reserves = reserves::rows(registry, &month, &tokens, &mut prices);
        let (legs, rejects) = liquidations::rows(registry, &month, &mut prices)?;
        let missing = missing::of_month(&name, registry, &month, &prices, &reserves, &legs);
        let list = json(&missing)?;
        stale::add_missing_prices(&mut mark, &list);
        let notes = Notes {
            mark,
            tokens: sightings,
            bad_objects: bad_objects(&month),
            contradictions: prices.conflicts().to_vec(),
            missing_prices: missing.missing.len(),
            rows: BTreeMap::new(),
        };
        // Rows and objects of a month need not be held at one time.
        drop(month);
        let price_rows = prices.rows();
        drop(prices);

        let (reserves, others) = rayon::join(
            || table(&name, reserves),
            || {
                let prices = table(&name, price_rows);
                let (coverage, legs) = (table(&name, coverage), table(&name, legs));
                [prices, coverage, legs, table(&name, rejects), table(&name, day_blocks)]
            },
        );
        let mut made = Made { name, files: Vec::new(), list: list.into(), notes, gaps, objects };
        for table in std::iter::once(reserves).chain(others) {
            let table = table?;
            made.notes.rows.insert(table.name.to_owned(), table.rows);
            made.files.push((table.path, table.bytes));
        }
        Ok(made)
    }
}

struct TableFile {
    name: &'static str,
    rows: usize,
    path: Path,
    bytes: Bytes,
}

fn table<R: Row>(month: &str, rows: Vec<R>) -> Result<TableFile, TableError> {
    let (name, n_rows) = (R::TABLE.name, rows.len());
    let bytes = parquet_bytes(rows)?.into();
    Ok(TableFile { name, rows: n_rows, path: silver_month(name, month), bytes })
}

/// Path and digest of every object of a month.
pub(crate) fn objects_of(month: &Month) -> BTreeMap<String, String> {
    month.objects().into_iter().map(|(path, (sha256, _))| (path.to_owned(), sha256.to_owned())).collect()
}

/// Paths and digests, borrowed.
pub(crate) fn pairs(objects: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    objects.iter().map(|(path, sha256)| (path.as_str(), sha256.as_str()))
}

/// The objects of a month that nothing was taken from, for a fault of their own.
pub(crate) fn bad_objects(month: &Month) -> Vec<BadObject> {
    let bad = |(path, (_, flaw)): (&str, (&str, Option<&Flaw>))| {
        let flaw = flaw.filter(|flaw| flaw.is_own())?;
        let why = match BronzeKey::parse(path) {
            // Nobody need fear for the day's data.
            Some(BronzeKey::Audit { .. }) => format!("{flaw}; its day stands, without audit_level"),
            Some(BronzeKey::Prices { .. } | BronzeKey::Fill { .. }) => {
                format!("{flaw}; its day stands, without these prices")
            }
            _ => flaw.to_string(),
        };
        Some(BadObject { path: path.to_owned(), why })
    };
    month.objects().into_iter().filter_map(bad).collect()
}

fn json(value: &MissingPrices) -> Result<Vec<u8>, BuildError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|source| BuildError::Manifest { source })?;
    text.push(b'\n');
    Ok(text)
}
