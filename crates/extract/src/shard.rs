//! A run divided among processes that never talk to each other.
//!
//! What is divided are chain-days: all CSUs of a chain on one day, since they share its blocks, its snapshot and its log
//! scan. The division is a function of the registry and the run alone, so that every process comes to the same one. It is
//! only the order in which work is begun: whoever has done its own goes on with what nobody has begun ([`crate::claim`]).

use lake::day::{Day, DayWindow};
use lake::registry::{Chain, Csu};
use lake::run::Run;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// More processes than this are a mistake of typing.
const MOST: u32 = 10_000;

/// One of several processes that divide a run: number K of N, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    number: u32,
    of: u32,
}

/// Why a text names no shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}\nhint: the first of five shards is 1/5, the last 5/5")]
pub struct ShardError {
    why: String,
}

impl Shard {
    /// Shard K of N.
    ///
    /// # Errors
    /// [`ShardError`] unless 1 <= K <= N.
    pub fn new(number: u32, of: u32) -> Result<Self, ShardError> {
        let why = match (number, of) {
            (_, 0) => "a run cannot be divided into 0 shards".to_owned(),
            (_, of) if of > MOST => format!("{of} shards are more than {MOST}"),
            (0, _) => "shards are counted from 1".to_owned(),
            (number, of) if number > of => format!("there is no shard {number} of {of}"),
            _ => return Ok(Self { number, of }),
        };
        Err(ShardError { why })
    }

    /// Its number, from 1.
    pub fn number(self) -> u32 {
        self.number
    }

    /// How many there are.
    pub fn of(self) -> u32 {
        self.of
    }

    /// `2-of-5`, for names of objects.
    pub fn as_name(self) -> String {
        format!("{}-of-{}", self.number, self.of)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let number = |text: &str| text.parse::<u32>().ok();
        let parts = text.split_once('/').and_then(|(k, n)| Some((number(k)?, number(n)?)));
        let (number, of) = parts.ok_or_else(|| ShardError { why: format!("`{text}` is no shard K/N") })?;
        Self::new(number, of)
    }
}

/// Which shard begins with which chain-days.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Division {
    owners: BTreeMap<(String, Day), u32>,
}

impl Division {
    /// Divides a run's chain-days into so many parts of nearly the same number of blocks: the longest days first, each to
    /// the part that has least so far.
    pub fn of(run: &Run, parts: u32) -> Self {
        let mut days: Vec<(u64, String, Day)> =
            costs(run).into_iter().map(|((chain, day), blocks)| (blocks, chain, day)).collect();
        days.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| (&a.1, a.2).cmp(&(&b.1, b.2))));
        let mut least: BTreeSet<(u64, u32)> = (1..=parts).map(|part| (0, part)).collect();
        let mut owners = BTreeMap::new();
        for (blocks, chain, day) in days {
            let Some((load, part)) = least.pop_first() else { break };
            least.insert((load.saturating_add(blocks), part));
            owners.insert((chain, day), part);
        }
        Self { owners }
    }

    /// The shard that begins with this day of the chain.
    pub fn owner(&self, chain: &str, day: Day) -> Option<u32> {
        self.owners.get(&(chain.to_owned(), day)).copied()
    }
}

/// Blocks of each chain-day of a run, as the registry expects them; 0 where it knows that nothing was deployed.
pub fn costs(run: &Run) -> BTreeMap<(String, Day), u64> {
    let mut of_chain: BTreeMap<&str, Vec<&Csu>> = BTreeMap::new();
    for csu in run.csus() {
        of_chain.entry(&csu.chain).or_default().push(csu);
    }
    let mut costs = BTreeMap::new();
    for (name, csus) in of_chain {
        let Some(chain) = run.registry.chain(name) else { continue };
        for window in run.windows() {
            let is_alive = csus.iter().any(|csu| never(chain, csu, window).is_none());
            let blocks = if is_alive { blocks_of(chain, window) } else { 0 };
            costs.insert((name.to_owned(), window.day), blocks);
        }
    }
    costs
}

/// Blocks that a chain usually has in this time.
fn blocks_of(chain: &Chain, window: DayWindow) -> u64 {
    ((window.end - window.start) as f64 / chain.block_seconds.max(0.001)).round() as u64
}

/// A day so many seconds before the registry's day of deployment is before it, however rough that date is.
const DEPLOYMENT_DATE_SLACK: i64 = 3 * 86_400;

/// Why a CSU has nothing on a day, as far as the registry alone can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Never {
    /// The day ends before the deployment.
    NotDeployed,
    /// The day begins after its last day.
    Retired,
}

/// Whether the registry alone says that a CSU has nothing on a day.
pub fn never(chain: &Chain, csu: &Csu, window: DayWindow) -> Option<Never> {
    if csu.retired_date.is_some_and(|retired| retired < window.day) {
        return Some(Never::Retired);
    }
    let is_before = match csu.deployed_date {
        Some(deployed) => {
            let slack = if csu.deployed_block.is_some() { DEPLOYMENT_DATE_SLACK } else { 0 };
            window.end + slack <= i64::from(deployed.days_since_epoch()) * 86_400
        }
        None => chain.nothing_before().is_some_and(|launch| window.end <= launch),
    };
    is_before.then_some(Never::NotDeployed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lake::run::Overrides;
    use proptest::prelude::*;
    use std::path::Path;

    fn december() -> Run {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        Run::load(&repository.join("pipelines/runs/2024-12.toml"), &Overrides::default()).unwrap()
    }

    #[test]
    fn shards_are_counted_from_one_and_nonsense_is_refused() {
        assert_eq!("2/5".parse::<Shard>().unwrap(), Shard::new(2, 5).unwrap());
        for (text, why) in [
            ("0/0", "a run cannot be divided into 0 shards"),
            ("1/0", "a run cannot be divided into 0 shards"),
            ("0/5", "shards are counted from 1"),
            ("6/5", "there is no shard 6 of 5"),
            ("3", "`3` is no shard K/N"),
            ("a/b", "`a/b` is no shard K/N"),
            ("1/-2", "`1/-2` is no shard K/N"),
            ("1/99999999999", "`1/99999999999` is no shard K/N"),
            ("1/20000", "20000 shards are more than 10000"),
        ] {
            let error = text.parse::<Shard>().unwrap_err().to_string();
            assert!(error.starts_with(why) && error.contains("\nhint: "), "{text}: {error}");
        }
    }

    #[test]
    fn a_day_before_every_deployment_weighs_nothing_and_others_their_blocks() {
        let run = december();
        let costs = costs(&run);
        let of = |chain: &str| costs[&(chain.to_owned(), "2024-12-10".parse().unwrap())];
        assert!((7_000..7_300).contains(&of("ethereum")));
        assert!(of("arbitrum") > 40 * of("ethereum"));
        let long_ago = "2014-01-01".parse().unwrap();
        let before = Run { days: lake::day::DayRange::new(long_ago, long_ago).unwrap(), ..run.clone() };
        let is_known = |chain: &str| run.registry.chain(chain).unwrap().nothing_before().is_some();
        let before: Vec<u64> = super::costs(&before)
            .into_iter()
            .filter(|((chain, _), _)| is_known(chain))
            .map(|(_, blocks)| blocks)
            .collect();
        assert!(before.len() > 10 && before.iter().all(|blocks| *blocks == 0), "{before:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn every_chain_day_has_one_owner_and_the_parts_weigh_the_same(parts in 1_u32..40) {
            let run = december();
            let costs = costs(&run);
            let division = Division::of(&run, parts);
            prop_assert_eq!(&division, &Division::of(&run, parts));
            prop_assert_eq!(division.owners.keys().collect::<Vec<_>>(), costs.keys().collect::<Vec<_>>());
            let mut loads: BTreeMap<u32, u64> = (1..=parts).map(|part| (part, 0)).collect();
            for (key, owner) in &division.owners {
                *loads.get_mut(owner).unwrap() += costs[key];
            }
            let (most, least) = (loads.values().max().unwrap(), loads.values().min().unwrap());
            // Longest first: no part is ahead of another by more than one day of the chain with most blocks.
            prop_assert!(most - least <= *costs.values().max().unwrap(), "{loads:?}");
        }
    }
}
