//! What of a run stands already, from the lake and the registry, and what is remembered of its contracts.

use super::{
    Collector, DayTasks, LayoutHistory, OpenChain, Unit, bad_object, csu_of_day, failure_of, without_blocks,
};
use crate::choice::Which;
use crate::ledger::{self, Effort, Failure, Outcome};
use crate::reads::ReadMemory;
use crate::shard::{Never, never};
use futures::{StreamExt, stream};
use lake::bronze::{
    BronzeError, CallRecord, DayBlocks, DayOfChain, Header, LiquidationLogs, Record, TvlSnapshot,
};
use lake::day::{Day, DayWindow};
use lake::digest::sha256_hex;
use lake::path::{self, BronzeKey};
use lake::registry::{Chain, Csu};
use lake::status::{Dataset, Reason, Status};
use lake::store::StoreError;

/// Days of a chain that are looked at side by side: on an object store each object takes a round trip.
const LOOKS_AT_ONCE: usize = 8;

impl<'a> Collector<'a> {
    /// The days of a chain on which something is to be done, and the outcomes that stand already.
    pub(crate) async fn open_days(
        &self,
        chain: &'a Chain,
        units: &[Unit<'a>],
    ) -> (Vec<DayTasks<'a>>, Vec<Outcome>) {
        let windows: Vec<DayWindow> = self.run.windows().collect();
        let looks = windows.into_iter().map(|window| self.open_day(chain, units, window));
        let looked_at: Vec<_> = stream::iter(looks).buffered(LOOKS_AT_ONCE).collect().await;
        let (days, settled): (Vec<_>, Vec<_>) = looked_at.into_iter().unzip();
        (days.into_iter().flatten().collect(), settled.into_iter().flatten().collect())
    }

    /// What is to be done on one day, if anything, and the outcomes that stand already.
    async fn open_day(
        &self,
        chain: &'a Chain,
        units: &[Unit<'a>],
        window: DayWindow,
    ) -> (Option<DayTasks<'a>>, Vec<Outcome>) {
        let (mut tasks, mut settled) = (Vec::new(), Vec::new());
        let (mut stored, mut awaiting_blocks) = (Vec::new(), Vec::new());
        for unit in units {
            for &dataset in &self.run.datasets {
                match self.standing(chain, unit.csu, window, dataset).await {
                    Standing::Open => match self.left_out(unit.csu, window.day, dataset).await {
                        None => tasks.push((*unit, dataset)),
                        Some(outcome) => settled.push(outcome),
                    },
                    Standing::Settled(outcome) if outcome.status == Status::Collected => stored.push(outcome),
                    Standing::Settled(outcome) => settled.push(outcome),
                }
            }
        }
        let has_state = !tasks.is_empty() || !stored.is_empty();
        let wants_prices = has_state && self.lacks_price_book(chain, window).await;
        if !stored.is_empty() {
            // An object without its day's proven blocks is of no use to `transform`.
            match self.stored_blocks(chain, window).await {
                Ok(Some(_)) => settled.append(&mut stored),
                Ok(None) => awaiting_blocks = stored,
                Err(failure) => {
                    settled.extend(stored.iter().map(|outcome| without_blocks(outcome, &failure)));
                }
            }
        }
        let is_open = !tasks.is_empty() || !awaiting_blocks.is_empty() || wants_prices;
        (is_open.then_some(DayTasks { window, tasks, awaiting_blocks, wants_prices }), settled)
    }

    /// The outcome of a missing task that this run was told to leave alone.
    async fn left_out(&self, csu: &Csu, date: Day, dataset: Dataset) -> Option<Outcome> {
        let choice = self.schedule.choice();
        if choice.which == Which::All {
            return None;
        }
        let entry = match ledger::entry(self.lake, dataset, &csu.id, date).await {
            Ok(entry) => entry,
            Err(error) => return Some(unfinished(csu, date, dataset, &Failure::from(error))),
        };
        choice.leaves_out(date, entry.as_ref()).then(|| {
            let left = Outcome::settled(&csu.id, date, dataset, Status::NotAttempted);
            match entry {
                // What was put off stays so; one that says `collected` has lost its object.
                Some(entry) if entry.status != Status::Collected => {
                    Outcome { status: entry.status, reason: entry.reason, message: entry.message, ..left }
                }
                _ => {
                    Outcome { message: "it was never tried, and --retry-failed leaves it".to_owned(), ..left }
                }
            }
        })
    }

    /// What stands already, from the lake and the registry alone.
    pub(super) async fn standing(
        &self,
        chain: &Chain,
        csu: &Csu,
        window: DayWindow,
        dataset: Dataset,
    ) -> Standing {
        let settled = |status| Standing::Settled(Outcome::settled(&csu.id, window.day, dataset, status));
        match never(chain, csu, window) {
            Some(Never::Retired) => return settled(Status::Retired),
            Some(Never::NotDeployed) => return settled(Status::NotDeployed),
            None if self.schedule.choice().forces(window.day) => return Standing::Open,
            None => {}
        }
        let of = csu_of_day(csu, self.day_of_chain(chain, window));
        let standing = match dataset {
            Dataset::Tvl => {
                self.stored::<TvlSnapshot>(dataset, csu, window.day, |record| record.of == of).await
            }
            Dataset::Liquidations => {
                self.stored::<LiquidationLogs>(dataset, csu, window.day, |record| record.of == of).await
            }
        };
        match standing {
            Ok(true) => settled(Status::Collected),
            Ok(false) => Standing::Open,
            Err(failure) => Standing::Settled(unfinished(csu, window.day, dataset, &failure)),
        }
    }

    /// Whether a sound object of exactly this task is in the lake.
    async fn stored<R: Record>(
        &self,
        dataset: Dataset,
        csu: &Csu,
        date: Day,
        is_of: impl Fn(&R) -> bool,
    ) -> Result<bool, Failure> {
        let key = BronzeKey::of(dataset, &csu.id, date);
        let Some(bytes) = self.lake.get(&key.path()).await? else { return Ok(false) };
        let record = R::from_bytes(&bytes).map_err(|error| bad_object(&key, &error.to_string()))?;
        if is_of(&record) {
            return Ok(true);
        }
        Err(bad_object(&key, "it is of another CSU, chain, day or time zone than its path and the run say"))
    }

    pub(crate) fn day_of_chain(&self, chain: &Chain, window: DayWindow) -> DayOfChain {
        DayOfChain {
            chain: chain.name.clone(),
            chain_id: chain.chain_id,
            date: window.day,
            zone: self.run.zone.name().to_owned(),
            day_start: window.start,
            day_end: window.end,
        }
    }

    /// The day's blocks object, if there is a sound one of exactly this day.
    pub(super) async fn stored_blocks(
        &self,
        chain: &Chain,
        window: DayWindow,
    ) -> Result<Option<DayBlocks>, Failure> {
        let key = BronzeKey::Blocks { chain: chain.name.clone(), date: window.day };
        let Some(bytes) = self.lake.get(&key.path()).await? else { return Ok(None) };
        let blocks = DayBlocks::from_bytes(&bytes).map_err(|error| bad_object(&key, &error.to_string()))?;
        if blocks.day != self.day_of_chain(chain, window) {
            let why = "it is of another chain, day or time zone than its path and the run say";
            return Err(bad_object(&key, why));
        }
        Ok(Some(blocks))
    }

    pub(super) async fn day_blocks(
        &self,
        open: &OpenChain<'_>,
        window: DayWindow,
    ) -> Result<DayBlocks, Failure> {
        if !self.schedule.choice().forces(window.day)
            && let Some(blocks) = self.stored_blocks(open.chain, window).await?
        {
            return Ok(blocks);
        }
        // Neighbouring days share a boundary, and theirs is proven.
        for day in [window.day.previous(), window.day.next()] {
            if let Ok(window) = self.run.zone.window(day)
                && let Ok(Some(blocks)) = self.stored_blocks(open.chain, window).await
            {
                open.boundaries.know(&blocks);
            }
        }
        let key = BronzeKey::Blocks { chain: open.chain.name.clone(), date: window.day };
        let blocks =
            open.boundaries.of_day(window, &self.run.zone).await.map_err(|error| failure_of(&error))?;
        self.write(&key, &blocks).await?;
        Ok(blocks)
    }

    pub(crate) async fn write(&self, key: &BronzeKey, record: &impl Record) -> Result<(), Failure> {
        let bytes = record.to_bytes().map_err(|error: BronzeError| Failure::new(Reason::BadAnswer, error))?;
        match self.schedule.choice().forces(key.date()) {
            true => self.put_anew(key, bytes).await?,
            false => self.lake.put_once(&key.path(), bytes).await.map(drop)?,
        }
        Ok(())
    }

    /// Writes an object of a day that is collected anew. Other bytes that are there are told, and kept beside the lake's layers.
    async fn put_anew(&self, key: &BronzeKey, bytes: Vec<u8>) -> Result<(), StoreError> {
        let at = key.path();
        match self.lake.get(&at).await? {
            None => return self.lake.put_once(&at, bytes).await.map(drop),
            Some(present) if present == bytes => return Ok(()),
            Some(present) => {
                let aside = path::replaced(&at, &sha256_hex(&present));
                self.lake.replace(&aside, present).await?;
                tracing::warn!("{key} has other bytes than before; what was there is kept in {aside}");
            }
        }
        self.lake.overwrite(&at, bytes).await
    }

    /// The calls of a day's stored snapshot, if it is of this block: from them the layout of that block can be told without
    /// asking again.
    pub(crate) async fn stored_calls(&self, csu: &Csu, date: Day, block: Header) -> Vec<CallRecord> {
        let key = BronzeKey::of(Dataset::Tvl, &csu.id, date);
        // Only a shortcut: what cannot be read is asked for.
        let Ok(Some(bytes)) = self.lake.get(&key.path()).await else { return Vec::new() };
        match TvlSnapshot::from_bytes(&bytes) {
            Ok(snapshot) if snapshot.reads.block == block => snapshot.reads.calls,
            Ok(_) | Err(_) => Vec::new(),
        }
    }

    pub(crate) async fn remembered_reads(&self, chain: &Chain) -> ReadMemory {
        // As with layouts: what cannot be read is learned again.
        match self.lake.get(&path::read_memory(&chain.name)).await {
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Ok(None) | Err(_) => ReadMemory::default(),
        }
    }

    pub(crate) async fn remembered_layouts(&self, csu: &Csu) -> LayoutHistory {
        // A memory that cannot be read is no memory: the contracts are found again.
        match self.lake.get(&path::layout_cache(&csu.id)).await {
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Ok(None) | Err(_) => LayoutHistory::new(),
        }
    }
}

fn unfinished(csu: &Csu, date: Day, dataset: Dataset, failure: &Failure) -> Outcome {
    Outcome::unfinished(&csu.id, date, dataset, failure, Effort::default())
}

/// What stands of a task.
pub(super) enum Standing {
    /// Nothing is left to do, or nothing can be done.
    Settled(Outcome),
    /// It is to be collected.
    Open,
}
