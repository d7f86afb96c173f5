//! What was learned of an endpoint: taken up from the lake, brought to bear on what it is asked, and kept.

use super::{Endpoint, lock};
use crate::rpc::profile::{Learned, Profile};
use lake::Lake;
use lake::store::StoreError;

/// A learned limit as a number of things, at least one.
fn most(learned: Option<Learned>) -> usize {
    learned.and_then(|learned| usize::try_from(learned.value).ok()).unwrap_or(usize::MAX).max(1)
}

impl Endpoint {
    /// Takes up what earlier runs learned of it.
    pub async fn take_up(&self, lake: &Lake) {
        // A memory that cannot be read is none: it is learned again.
        if let Ok(Some(bytes)) = lake.get(&lake::path::endpoint_profile(&self.label)).await
            && let Ok(profile) = serde_json::from_slice::<Profile>(&bytes)
        {
            *lock(&self.profile) = profile.without_stale_limits(self.clock.timestamp());
        }
    }

    /// Keeps what was learned of it, if there is anything.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep(&self, lake: &Lake) -> Result<(), StoreError> {
        let profile = lock(&self.profile).clone();
        if profile == Profile::default() {
            return Ok(());
        }
        lake.replace_json(&lake::path::endpoint_profile(&self.label), &profile).await
    }

    /// What is known of it.
    pub fn profile(&self) -> Profile {
        lock(&self.profile).clone()
    }

    /// Blocks to ask for in one `eth_getLogs` with this filter.
    pub fn log_window(&self, filter: &str) -> u64 {
        lock(&self.profile).window(filter, self.stated_window)
    }

    /// Takes to heart that it wants fewer blocks: of this filter's logs, or, where that lasts, of any.
    pub fn narrow(&self, filter: &str, width: u64, lasts: bool) {
        let mut profile = lock(&self.profile);
        if lasts {
            profile.cap_window(width, self.clock.timestamp());
        } else {
            profile.narrow(filter, width);
        }
    }

    /// Takes to heart the widest window that it takes, as measured just now, whatever it said before.
    pub fn measured_window(&self, width: u64) {
        lock(&self.profile).measured_window(width, self.stated_window, self.clock.timestamp());
    }

    /// Takes to heart that it gave the logs of so many blocks.
    pub fn accepted(&self, filter: &str, width: u64) {
        lock(&self.profile).accepted(filter, width, self.stated_window);
    }

    /// Addresses that it takes in one filter.
    pub fn most_addresses(&self) -> usize {
        most(lock(&self.profile).addresses)
    }

    /// Topics that it takes in one filter.
    pub fn most_topics(&self) -> usize {
        most(lock(&self.profile).topics)
    }

    /// Takes to heart that it wants no more than so many addresses in one filter, or takes as many as there are.
    pub fn cap_addresses(&self, most: Option<usize>) {
        lock(&self.profile).addresses = most.map(|most| self.learned(most));
    }

    /// Takes to heart that it wants no more than so many topics in one filter.
    pub fn cap_topics(&self, most: usize) {
        lock(&self.profile).topics = Some(self.learned(most));
    }

    fn learned(&self, most: usize) -> Learned {
        let value = u64::try_from(most.max(1)).unwrap_or(u64::MAX);
        Learned { value, at: self.clock.timestamp() }
    }

    /// Members of a method that it takes in one batch.
    pub fn most_members(&self, method: &str) -> usize {
        let most = most(lock(&self.profile).batch);
        most.min(self.purse.as_ref().map_or(usize::MAX, |purse| purse.tariff().most_members(method)))
    }

    /// Takes to heart that it wants no more than so many members in one batch.
    pub fn cap_members(&self, most: usize) {
        lock(&self.profile).batch = Some(self.learned(most));
    }

    /// Takes to heart the size of batch that it takes, as measured just now, whatever it said before; none when no limit
    /// was met.
    pub fn measured_members(&self, most: Option<usize>) {
        lock(&self.profile).batch = None;
        if let Some(most) = most {
            self.cap_members(most);
        }
    }

    /// Whether it said that it does not hold the block for such a request: its state for calls, its logs for scans.
    pub fn does_not_hold(&self, method: &str, block: u64) -> bool {
        let profile = lock(&self.profile);
        let newest = if method == "eth_getLogs" { profile.no_logs_at } else { profile.no_state_at };
        newest.is_some_and(|newest| block <= newest.value)
    }

    /// Takes to heart that it does not hold a block.
    pub fn lacks_block(&self, method: &str, block: u64) {
        let mut profile = lock(&self.profile);
        let at = self.clock.timestamp();
        let newest = if method == "eth_getLogs" { &mut profile.no_logs_at } else { &mut profile.no_state_at };
        let value = newest.map_or(block, |known| known.value.max(block));
        *newest = Some(Learned { value, at });
    }

    /// Takes to heart that it does hold a block: what it said of this or a newer one before is not true any more.
    pub fn holds_block(&self, method: &str, block: u64) {
        let mut profile = lock(&self.profile);
        let newest = if method == "eth_getLogs" { &mut profile.no_logs_at } else { &mut profile.no_state_at };
        *newest = newest.filter(|known| known.value < block);
    }

    /// Keeps what `extract doctor` found, beside what was learned.
    pub fn set_probed(&self, probe: serde_json::Value) {
        lock(&self.profile).probed = Some(probe);
    }
}
