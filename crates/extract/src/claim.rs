//! Claims: a word from one shard to the others that it is at work on a day of a chain.
//!
//! A claim is a small object under `state/claims/`, written again while the work goes on. It only saves requests: two
//! shards that work on one day write the same bytes, so nothing breaks when a store ignores create-if-absent, a claim is
//! lost, or two take over an abandoned day at once. A shard that dies leaves a claim that grows old; how old is told by
//! the store's own clock, so that hosts whose clocks disagree agree on it.

use crate::shard::Shard;
use lake::Lake;
use lake::day::Day;
use lake::path;
use lake::store::{Put, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Age at which a claim counts as abandoned, unless the command line says otherwise.
pub const ABANDONED_AFTER: Duration = Duration::from_secs(180);
/// A claim is renewed so many times before it would count as abandoned.
const RENEWALS: u32 = 4;

/// What a claim says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    /// `K/N`.
    shard: String,
    /// A number of this process's own.
    process: String,
    /// Renewals so far, so that each writes other bytes.
    renewals: u64,
    /// What became of the day, once the work on it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
}

/// How work on a day ended when it is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Some is missing, whoever tries: the ledger has the reasons.
    WithGaps,
    /// The shard's keys are spent; another's need not be.
    OutOfBudget,
}

/// What a shard finds when it wants a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// The day is its own now.
    Ours,
    /// This shard is at work on it, or has done what can be done.
    Theirs(String),
}

/// The claims of one shard.
#[derive(Debug)]
pub struct Claims {
    shard: Shard,
    process: String,
    abandoned_after: Duration,
    held: Mutex<BTreeSet<(String, Day)>>,
}

impl Claims {
    /// The claims of this process.
    pub fn new(shard: Shard, abandoned_after: Duration) -> Self {
        let process = format!("{}-{}", std::process::id(), jiff::Timestamp::now().as_nanosecond());
        Self { shard, process, abandoned_after, held: Mutex::default() }
    }

    /// Takes a day, unless another shard is at work on it. `is_own` days are tried again even where an earlier try ended with
    /// gaps.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take(&self, lake: &Lake, chain: &str, day: Day, is_own: bool) -> Result<Turn, StoreError> {
        let turn = self.taken(lake, chain, day, is_own).await?;
        if turn == Turn::Ours {
            self.held().insert((chain.to_owned(), day));
        }
        Ok(turn)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeSet<(String, Day)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn taken(&self, lake: &Lake, chain: &str, day: Day, is_own: bool) -> Result<Turn, StoreError> {
        let at = path::claim(chain, day);
        let mine = encode(&self.claim(0, None));
        let Some(bytes) = lake.get(&at).await? else {
            match lake.put_once(&at, mine).await {
                Ok(Put::Created | Put::AlreadyThere) => return Ok(Turn::Ours),
                Err(StoreError::Conflict { .. }) => return self.look_again(lake, chain, day).await,
                Err(error) => return Err(error),
            }
        };
        // A claim that cannot be read is nobody's.
        if let Ok(theirs) = serde_json::from_slice::<Claim>(&bytes) {
            let is_ours = self.is_ours(&theirs);
            let is_theirs = match theirs.ended {
                Some(Ended::WithGaps) => !is_own,
                Some(Ended::OutOfBudget) => is_ours && !is_own,
                None => !is_ours && !self.is_abandoned(lake, chain, day).await?,
            };
            if is_theirs {
                return Ok(Turn::Theirs(theirs.shard));
            }
        }
        lake.overwrite(&at, mine).await?;
        self.look_again(lake, chain, day).await
    }

    /// Whether it is of one's own shard, whichever process it was: a shard that is run again does not wait for itself.
    fn is_ours(&self, claim: &Claim) -> bool {
        claim.shard == self.shard.to_string()
    }

    /// Whose claim is there after a race. With none at all the day is taken: a claim is no lock.
    async fn look_again(&self, lake: &Lake, chain: &str, day: Day) -> Result<Turn, StoreError> {
        let there = lake.get(&path::claim(chain, day)).await?;
        let there = there.and_then(|bytes| serde_json::from_slice::<Claim>(&bytes).ok());
        Ok(match there {
            Some(claim) if claim.process != self.process => Turn::Theirs(claim.shard),
            _ => Turn::Ours,
        })
    }

    /// Whether a claim was not renewed for long, by the clock that stamps the store's objects.
    async fn is_abandoned(&self, lake: &Lake, chain: &str, day: Day) -> Result<bool, StoreError> {
        let Some(renewed) = lake.written_at(&path::claim(chain, day)).await? else { return Ok(true) };
        let clock = path::claims_clock(&self.shard.as_name());
        lake.overwrite(&clock, self.process.clone()).await?;
        let now = lake.written_at(&clock).await?.unwrap_or(renewed);
        let age = Duration::from_millis(now.saturating_sub(renewed).try_into().unwrap_or_default());
        Ok(age >= self.abandoned_after)
    }

    /// Removes the claims on finished days that a process has left which died before it could: those of this shard, and
    /// abandoned ones. A day that ended with gaps keeps its word, which another run's shards may go by.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep(&self, lake: &Lake, chain: &str, finished: &BTreeSet<Day>) -> Result<(), StoreError> {
        for name in lake.names(&path::claims_prefix(chain)).await? {
            let day = name.strip_suffix(".json").and_then(|date| date.parse::<Day>().ok());
            let Some(day) = day.filter(|day| finished.contains(day)) else { continue };
            let at = path::claim(chain, day);
            let Some(bytes) = lake.get(&at).await? else { continue };
            let is_left = match serde_json::from_slice::<Claim>(&bytes) {
                Err(_) => true,
                Ok(Claim { ended: Some(_), .. }) => false,
                Ok(claim) => self.is_ours(&claim) || self.is_abandoned(lake, chain, day).await?,
            };
            if is_left {
                lake.delete(&at).await?;
            }
        }
        Ok(())
    }

    /// Does the work on a day, and renews its claim meanwhile. A renewal that fails is made up by the next. One that is under way
    /// when the work ends is waited for: it goes on by itself, and would bring back a claim that was ended.
    pub async fn renewed_during<T>(
        &self,
        lake: &Lake,
        chain: &str,
        day: Day,
        work: impl Future<Output = T>,
    ) -> T {
        let at = path::claim(chain, day);
        let (working, mut is_over) = oneshot::channel::<()>();
        let work = async {
            let done = work.await;
            drop(working);
            done
        };
        let renewing = async {
            for renewals in 1.. {
                tokio::select! {
                    _ = &mut is_over => return,
                    () = tokio::time::sleep(self.abandoned_after / RENEWALS) => {}
                }
                if let Err(error) = lake.overwrite(&at, encode(&self.claim(renewals, None))).await {
                    tracing::debug!("{error}");
                }
            }
        };
        tokio::join!(work, renewing).0
    }

    /// Ends the work on a day: a whole day needs no claim any more, one with gaps keeps a word of how it ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end(
        &self,
        lake: &Lake,
        chain: &str,
        day: Day,
        ended: Option<Ended>,
    ) -> Result<(), StoreError> {
        self.held().remove(&(chain.to_owned(), day));
        let at = path::claim(chain, day);
        match ended {
            None => lake.delete(&at).await,
            Some(ended) => lake.overwrite(&at, encode(&self.claim(0, Some(ended)))).await,
        }
    }

    /// Gives back every day that is still held, for whoever comes next.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn give_back(&self, lake: &Lake) -> Result<(), StoreError> {
        let held = std::mem::take(&mut *self.held());
        for (chain, day) in held {
            lake.delete(&path::claim(&chain, day)).await?;
        }
        Ok(())
    }

    fn claim(&self, renewals: u64, ended: Option<Ended>) -> Claim {
        Claim { shard: self.shard.to_string(), process: self.process.clone(), renewals, ended }
    }
}

fn encode(claim: &Claim) -> Vec<u8> {
    // Strings and numbers: this cannot fail, and an empty claim would be nobody's.
    serde_json::to_vec(claim).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: &str = "ethereum";

    fn day() -> Day {
        "2024-12-01".parse().unwrap()
    }

    fn claims(number: u32, millis: u64) -> Claims {
        Claims::new(Shard::new(number, 3).unwrap(), Duration::from_millis(millis))
    }

    #[tokio::test]
    async fn a_claimed_day_is_another_shards_until_it_is_given_back() {
        let lake = Lake::open("memory:///").unwrap();
        let (one, two) = (claims(1, 60_000), claims(2, 60_000));
        assert_eq!(one.take(&lake, CHAIN, day(), true).await.unwrap(), Turn::Ours);
        assert_eq!(two.take(&lake, CHAIN, day(), false).await.unwrap(), Turn::Theirs("1/3".into()));
        // The same shard, run again after a crash.
        assert_eq!(claims(1, 60_000).take(&lake, CHAIN, day(), true).await.unwrap(), Turn::Ours);
        one.end(&lake, CHAIN, day(), None).await.unwrap();
        assert_eq!(two.take(&lake, CHAIN, day(), false).await.unwrap(), Turn::Ours);
    }

    #[tokio::test]
    async fn a_claim_that_nobody_renews_is_taken_over_and_one_that_is_renewed_is_not() {
        let lake = Lake::open("memory:///").unwrap();
        let (one, two) = (claims(1, 400), claims(2, 400));
        assert_eq!(one.take(&lake, CHAIN, day(), true).await.unwrap(), Turn::Ours);
        one.renewed_during(&lake, CHAIN, day(), tokio::time::sleep(Duration::from_millis(900))).await;
        assert_eq!(two.take(&lake, CHAIN, day(), false).await.unwrap(), Turn::Theirs("1/3".into()));
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(two.take(&lake, CHAIN, day(), false).await.unwrap(), Turn::Ours);
    }

    /// A write into a directory goes on in a thread of its own when nobody waits for it any more.
    #[tokio::test]
    async fn a_renewal_under_way_does_not_outlive_the_claim() {
        let directory = tempfile::tempdir().unwrap();
        let lake = Lake::open(directory.path().to_str().unwrap()).unwrap();
        let one = claims(1, 4);
        for micros in (900..4_900).step_by(10) {
            assert_eq!(one.take(&lake, CHAIN, day(), true).await.unwrap(), Turn::Ours);
            let work = tokio::time::sleep(Duration::from_micros(micros));
            one.renewed_during(&lake, CHAIN, day(), work).await;
            one.end(&lake, CHAIN, day(), None).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(lake.names(&path::claims_prefix(CHAIN)).await.unwrap(), Vec::<String>::new());
        assert_eq!(std::fs::read_dir(directory.path().join("state/writing")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_day_with_gaps_is_tried_again_by_its_own_shard_and_one_without_budget_by_all() {
        let lake = Lake::open("memory:///").unwrap();
        let (one, two) = (claims(1, 60_000), claims(2, 60_000));
        one.end(&lake, CHAIN, day(), Some(Ended::WithGaps)).await.unwrap();
        assert_eq!(two.take(&lake, CHAIN, day(), false).await.unwrap(), Turn::Theirs("1/3".into()));
        assert_eq!(one.take(&lake, CHAIN, day(), true).await.unwrap(), Turn::Ours);
        one.end(&lake, CHAIN, day(), Some(Ended::OutOfBudget)).await.unwrap();
        assert_eq!(one.take(&lake, CHAIN, day(), false).await.unwrap(), Turn::Theirs("1/3".into()));
        assert_eq!(two.take(&lake, CHAIN, day(), false).await.unwrap(), Turn::Ours);
    }

    #[tokio::test]
    async fn of_many_who_take_one_day_at_once_one_gets_it() {
        let lake = Lake::open("memory:///").unwrap();
        let all: Vec<Claims> = (1..=3).map(|number| claims(number, 60_000)).collect();
        let turns =
            futures::future::join_all(all.iter().map(|claims| claims.take(&lake, CHAIN, day(), false)));
        let ours = turns.await.into_iter().filter(|turn| matches!(turn, Ok(Turn::Ours))).count();
        assert_eq!(ours, 1);
    }

    /// The times are those of the files: a machine whose own clock is wrong has no say in them.
    #[tokio::test]
    async fn age_is_told_by_the_clock_that_stamps_the_objects() {
        let directory = tempfile::tempdir().unwrap();
        let lake = Lake::open(directory.path().to_str().unwrap()).unwrap();
        let (one, two) = (claims(1, 60_000), claims(2, 60_000));
        assert_eq!(one.take(&lake, CHAIN, day(), true).await.unwrap(), Turn::Ours);
        let file = directory.path().join(path::claim(CHAIN, day()).as_ref());
        let stamp =
            |time| std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        let (now, hour) = (std::time::SystemTime::now(), Duration::from_secs(3_600));
        // The store's clock was put back since.
        stamp(now + hour);
        assert_eq!(two.take(&lake, CHAIN, day(), false).await.unwrap(), Turn::Theirs("1/3".into()));
        stamp(now - Duration::from_secs(50));
        assert_eq!(two.take(&lake, CHAIN, day(), false).await.unwrap(), Turn::Theirs("1/3".into()));
        stamp(now - hour);
        assert_eq!(two.take(&lake, CHAIN, day(), false).await.unwrap(), Turn::Ours);
    }

    #[tokio::test]
    async fn claims_that_the_dead_left_on_finished_days_are_swept_and_no_others() {
        let lake = Lake::open("memory:///").unwrap();
        let (one, two) = (claims(1, 60_000), claims(2, 60_000));
        let days: Vec<Day> = (1..=6).map(|day| format!("2024-12-0{day}").parse().unwrap()).collect();
        for (claims, day) in [(&one, days[0]), (&one, days[1]), (&two, days[2]), (&two, days[3])] {
            assert_eq!(claims.take(&lake, CHAIN, day, true).await.unwrap(), Turn::Ours);
        }
        one.end(&lake, CHAIN, days[4], Some(Ended::WithGaps)).await.unwrap();
        lake.overwrite(&path::claim(CHAIN, days[5]), "{").await.unwrap();
        let left = || async { lake.names(&path::claims_prefix(CHAIN)).await.unwrap() };
        let name = |day: usize| format!("{}.json", days[day]);

        // All but the second day are finished. The first shard is run again; the second is alive.
        let finished = days.iter().copied().filter(|day| *day != days[1]).collect();
        claims(1, 60_000).sweep(&lake, CHAIN, &finished).await.unwrap();
        assert_eq!(left().await, [name(1), name(2), name(3), name(4)]);
        // The second shard does not come back.
        tokio::time::sleep(Duration::from_millis(20)).await;
        claims(3, 10).sweep(&lake, CHAIN, &finished).await.unwrap();
        assert_eq!(left().await, [name(1), name(4)]);
    }

    #[tokio::test]
    async fn an_unreadable_claim_is_nobodys() {
        let lake = Lake::open("memory:///").unwrap();
        lake.overwrite(&path::claim(CHAIN, day()), "{").await.unwrap();
        assert_eq!(claims(2, 60_000).take(&lake, CHAIN, day(), false).await.unwrap(), Turn::Ours);
    }
}
