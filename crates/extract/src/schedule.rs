//! Which days of a run this process goes through, in which order, and when it stops beginning new ones.

use crate::choice::Choice;
use crate::claim::Claims;
use crate::ledger::Outcome;
use crate::shard::{Division, Shard, costs};
use lake::Lake;
use lake::day::Day;
use lake::path;
use lake::run::{Order, Run};
use lake::status::Reason;
use lake::store::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What a run's process goes through. The default is all of it, oldest day first.
#[derive(Debug, Default)]
pub struct Schedule {
    order: Order,
    choice: Choice,
    share: Option<Share>,
    stopping: AtomicBool,
    lost_lake: Mutex<Option<String>>,
    costs: BTreeMap<(String, Day), u64>,
    progress: Mutex<Option<Progress>>,
}

/// This process's part of a run.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) shard: Shard,
    pub(crate) claims: Claims,
    division: Division,
}

/// How far a process is with a run, as it stands in `state/progress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Run.
    pub run: String,
    /// `K/N`, if the run is divided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// When it began, RFC 3339 in UTC.
    pub began: String,
    /// When this was written.
    pub updated: String,
    /// Blocks of the chain-days that it has made whole, as the registry expects them.
    pub blocks: u64,
    /// Tasks that it has done.
    pub tasks: u64,
    /// Whether it has come to its end.
    pub ended: bool,
}

impl Schedule {
    /// The schedule of a run: all of it, or one shard's part.
    pub fn of(run: &Run, shard: Option<Shard>, abandoned_after: Duration) -> Self {
        let share = shard.map(|shard| Share {
            shard,
            claims: Claims::new(shard, abandoned_after),
            division: Division::of(run, shard.of()),
        });
        let now = jiff::Timestamp::now().to_string();
        let progress = Progress {
            run: run.name.clone(),
            shard: shard.map(|shard| shard.to_string()),
            began: now.clone(),
            updated: now,
            blocks: 0,
            tasks: 0,
            ended: false,
        };
        Self {
            order: run.order,
            choice: Choice::default(),
            share,
            stopping: AtomicBool::new(false),
            lost_lake: Mutex::default(),
            costs: costs(run),
            progress: Mutex::new(Some(progress)),
        }
    }

    /// With a choice among the run's tasks.
    #[must_use]
    pub fn choosing(self, choice: Choice) -> Self {
        Self { choice, ..self }
    }

    /// Which of the run's tasks are done.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// How far it is.
    pub fn progress(&self) -> Option<Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins no further day from now on.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Begins no further day, for the lake takes nothing any more: what is paid for would be lost.
    pub(crate) fn stop_without_lake(&self, why: String) {
        *self.lost_lake.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.stop();
    }

    /// Why the lake takes nothing any more, if that is why the run was stopped.
    pub fn lost_lake(&self) -> Option<String> {
        self.lost_lake.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn share(&self) -> Option<&Share> {
        self.share.as_ref()
    }

    /// Whether this process begins with the day: all are its own when the run is not divided.
    pub fn is_own(&self, chain: &str, day: Day) -> bool {
        self.share.as_ref().is_none_or(|share| share.division.owner(chain, day) == Some(share.shard.number()))
    }

    /// Divides days, sorted by date, into its own in the run's order, and those of others: from the next shard's on, its last
    /// day first, so that it meets nobody who is at work from the other end.
    pub(crate) fn divide<T>(&self, chain: &str, days: Vec<T>, date: impl Fn(&T) -> Day) -> (Vec<T>, Vec<T>) {
        let (mut own, mut others): (Vec<T>, Vec<T>) =
            days.into_iter().partition(|day| self.is_own(chain, date(day)));
        let is_newest_first = self.order == Order::NewestFirst;
        if is_newest_first {
            own.reverse();
        } else {
            others.reverse();
        }
        if let Some(share) = &self.share {
            let distance = |day: &T| {
                let owner = share.division.owner(chain, date(day)).unwrap_or(0);
                (owner + share.shard.of() - share.shard.number()) % share.shard.of()
            };
            others.sort_by_key(distance);
        }
        (own, others)
    }

    /// Notes what became of a day, and writes how far the run is. A memory: what cannot be written is told, and no more.
    pub(crate) async fn note(&self, lake: &Lake, chain: &str, day: Day, outcomes: &[Outcome]) {
        let done = outcomes.iter().filter(|outcome| outcome.is_done()).count() as u64;
        let blocks = self.costs.get(&(chain.to_owned(), day)).copied().unwrap_or(0);
        let is_whole = done == outcomes.len() as u64;
        {
            let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(progress) = progress.as_mut() else { return };
            progress.tasks += done;
            progress.blocks += if is_whole { blocks } else { 0 };
        }
        if let Err(error) = self.write_progress(lake, false).await {
            tracing::warn!("{error}");
        }
    }

    /// Writes how far the run is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn write_progress(&self, lake: &Lake, ended: bool) -> Result<(), StoreError> {
        let progress = {
            let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(progress) = progress.as_mut() else { return Ok(()) };
            progress.updated = jiff::Timestamp::now().to_string();
            progress.ended = ended;
            progress.clone()
        };
        lake.replace_json(&path::run_progress(&self.name_of(&progress.run)), &progress).await
    }

    /// Gives back the days that are claimed and not ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn give_back(&self, lake: &Lake) -> Result<(), StoreError> {
        match &self.share {
            Some(share) => share.claims.give_back(lake).await,
            None => Ok(()),
        }
    }

    /// The run's name with the shard's, for objects of which each process has its own.
    pub fn name_of(&self, run: &str) -> String {
        match &self.share {
            Some(share) => format!("{run}.{}", share.shard.as_name()),
            None => run.to_owned(),
        }
    }
}

impl Share {
    /// The shard that begins with a day, for a person.
    pub(crate) fn owner(&self, chain: &str, day: Day) -> String {
        let owner = self.division.owner(chain, day).unwrap_or(0);
        format!("{owner}/{}", self.shard.of())
    }
}

/// How work on a day ended, for the other shards: `None` when it is whole.
pub(crate) fn ended(outcomes: &[Outcome]) -> Option<crate::claim::Ended> {
    use crate::claim::Ended;
    let mut missing = outcomes.iter().filter(|outcome| !outcome.is_done()).peekable();
    missing.peek()?;
    let is_budget = missing.any(|outcome| outcome.reason == Some(Reason::Budget));
    Some(if is_budget { Ended::OutOfBudget } else { Ended::WithGaps })
}

/// Lets no chain go on to others' days before every chain's own are gone through: they share keys.
pub(crate) struct OwnFirst {
    left: watch::Sender<usize>,
}

/// The own days of one chain are not gone through yet.
pub(crate) struct OwnDays<'a>(&'a OwnFirst);

impl OwnFirst {
    /// So many chains.
    pub(crate) fn of(chains: usize) -> Self {
        Self { left: watch::Sender::new(chains) }
    }

    /// Begins a chain; it has ended when what is returned is dropped.
    pub(crate) fn begin(&self) -> OwnDays<'_> {
        OwnDays(self)
    }

    /// Waits until the own days of every chain are gone through.
    pub(crate) async fn all_done(&self) {
        // The sender lives as long as this call, so there is nothing to fail.
        if let Err(error) = self.left.subscribe().wait_for(|left| *left == 0).await {
            tracing::debug!("{error}");
        }
    }
}

impl Drop for OwnDays<'_> {
    fn drop(&mut self) {
        self.0.left.send_modify(|left| *left = left.saturating_sub(1));
    }
}
