//! Keys among several processes: disjoint groups of them, or a share of each.

use crate::rpc::budget::Purse;
use crate::rpc::providers::Providers;
use lake::Lake;
use lake::store::StoreError;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

/// Keys numbered higher are not looked for.
const MOST: u32 = 100;

/// Numbers of keys, such as `1,4-6`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyGroup {
    ranges: Vec<RangeInclusive<u32>>,
}

/// Why a text names no group of keys, or no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShareError(String);

impl KeyGroup {
    /// Whether a variable's key is in the group: its number is, or it has none.
    pub fn has(&self, variable: &str) -> bool {
        number_of(variable).is_none_or(|number| self.ranges.iter().any(|range| range.contains(&number)))
    }
}

/// The number at the end of `ALCHEMY_KEY_3`.
fn number_of(variable: &str) -> Option<u32> {
    variable.rsplit_once('_')?.1.parse().ok()
}

impl FromStr for KeyGroup {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let bad = |why: &str| {
            let hint = "numbers and ranges of keys, such as 1,4-6: the 4 of ${ALCHEMY_KEY_4}";
            ShareError(format!("`{text}` is no group of keys: {why}\nhint: {hint}"))
        };
        let number = |text: &str| match text.trim().parse::<u32>() {
            Ok(number) if (1..=MOST).contains(&number) => Ok(number),
            Ok(_) => Err(bad(&format!("keys are numbered from 1 to {MOST}"))),
            Err(_) => Err(bad(&format!("`{}` is no number", text.trim()))),
        };
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last { Err(bad("a range goes up")) } else { Ok(first..=last) }
        };
        Ok(Self { ranges: text.split(',').map(range).collect::<Result<_, _>>()? })
    }
}

/// A share 1/W of every key's rate, month and day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateShare(u32);

impl RateShare {
    /// The share as a number.
    pub fn as_f64(self) -> f64 {
        1.0 / f64::from(self.0)
    }
}

impl fmt::Display for RateShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1/{}", self.0)
    }
}

impl FromStr for RateShare {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let parts = text.strip_prefix("1/").and_then(|of| of.parse::<u32>().ok());
        parts.filter(|of| (1..=1_000).contains(of)).map(Self).ok_or_else(|| {
            ShareError(format!("`{text}` is no share\nhint: 1/5 where five processes use the same keys"))
        })
    }
}

impl Providers {
    /// The endpoints with a share of every key's rate, month and day.
    #[must_use]
    pub fn with_share(mut self, share: RateShare) -> Self {
        let mut scaled: BTreeMap<String, Arc<Purse>> = BTreeMap::new();
        for endpoint in &mut self.endpoints {
            let Some(purse) = &endpoint.purse else { continue };
            let tariff = || purse.tariff().scaled(share.as_f64());
            let made = scaled
                .entry(purse.name().to_owned())
                .or_insert_with(|| Arc::new(Purse::new(purse.name(), tariff(), self.clock)));
            endpoint.purse = Some(Arc::clone(made));
        }
        self
    }

    /// Takes up what each key has spent, in this part's own books: see [`Purse::take_up_as`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_up(
        &self,
        lake: &Lake,
        part: Option<&str>,
        share: Option<RateShare>,
    ) -> Result<(), StoreError> {
        for purse in self.purses() {
            purse.take_up_as(lake, part, share.map_or(1.0, RateShare::as_f64)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::budget::Tariff;
    use crate::rpc::clock::Clock;

    #[test]
    fn a_group_names_keys_by_number() {
        let group: KeyGroup = "1,4-6".parse().unwrap();
        let has = |number: u32| group.has(&format!("ALCHEMY_KEY_{number}"));
        assert_eq!((1..=7).filter(|number| has(*number)).collect::<Vec<_>>(), [1, 4, 5, 6]);
        assert!(group.has("MY_NODE_URL"), "a key without a number is everybody's");
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (text, why) in [
            ("", "`` is no number"),
            ("a", "`a` is no number"),
            ("0", "from 1 to 100"),
            ("1-101", "from 1 to 100"),
            ("6-4", "goes up"),
            ("1,,2", "`` is no number"),
        ] {
            let error = text.parse::<KeyGroup>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("\nhint: "), "{text}: {error}");
        }
        for text in ["", "5", "2/5", "1/0", "1/x", "1/100000"] {
            let error = text.parse::<RateShare>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is no share\nhint: ")), "{error}");
        }
    }

    fn tariff() -> Tariff {
        Tariff { units_per_month: Some(1_000), ..Tariff::by_requests("alchemy", 1_000.0) }
    }

    async fn spend(lake: &Lake, part: Option<&str>, share: f64, most: usize) -> usize {
        let purse = Purse::new("ALCHEMY_KEY_1", tariff().scaled(share), Clock::start());
        purse.take_up_as(lake, part, share).await.unwrap();
        let mut paid = 0;
        while paid < most && purse.pay("eth_call").await.is_ok() {
            paid += 1;
        }
        purse.keep().await.unwrap();
        paid
    }

    #[tokio::test(start_paused = true)]
    async fn shares_of_a_month_are_no_more_than_the_month() {
        let lake = Lake::open("memory:///").unwrap();
        assert_eq!(spend(&lake, None, 1.0, 100).await, 100);
        // A quarter of 1,000 is 250, of which nine tenths are spent, and a quarter of what was spent before is gone.
        for part in 1..=4 {
            assert_eq!(spend(&lake, Some(&format!("{part}-of-4")), 0.25, usize::MAX).await, 200);
        }
        assert_eq!(
            spend(&lake, Some("2-of-4"), 0.25, usize::MAX).await,
            0,
            "run again, nothing is forgotten"
        );
        assert_eq!(spend(&lake, None, 1.0, usize::MAX).await, 0, "all books of a key count");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_goes_to_another_shard_brings_what_it_has_spent() {
        let lake = Lake::open("memory:///").unwrap();
        assert_eq!(spend(&lake, Some("1-of-2"), 1.0, 600).await, 600);
        assert_eq!(spend(&lake, Some("2-of-2"), 1.0, usize::MAX).await, 300);
        assert_eq!(spend(&lake, Some("1-of-2"), 1.0, usize::MAX).await, 0);
    }
}
