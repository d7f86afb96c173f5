//! What was learned of an endpoint, kept from run to run in the lake's `state/endpoints`.
//!
//! The providers file says what to begin with; an endpoint's own refusals override it. Lasting limits are forgotten after
//! some weeks, so that an endpoint that has grown is tried again; how wide a window a filter's logs allow is a hint and
//! grows back by itself.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long a lasting limit is believed.
const BELIEVED_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Accepted windows after which one twice as wide is tried.
const CLEAN_WINDOWS: u32 = 4;

/// A limit, with the time at which the endpoint named it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learned {
    /// The limit.
    pub value: u64,
    /// When it was learned.
    pub at: Timestamp,
}

/// What was learned of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// Blocks of one `eth_getLogs`, whatever the filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_window: Option<Learned>,
    /// Addresses of one filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Learned>,
    /// First topics of one filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<Learned>,
    /// Members of one JSON-RPC batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<Learned>,
    /// Newest block whose logs it said not to hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_logs_at: Option<Learned>,
    /// Newest block whose state it said not to hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_state_at: Option<Learned>,
    /// Windows that the logs of a filter were too many for, by the filter's digest.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dense: BTreeMap<String, Dense>,
    /// What `extract doctor` found: a [`Probe`](crate::doctor::Probe), as far as this build can read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probed: Option<serde_json::Value>,
}

/// A window narrowed because a range held too many logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dense {
    /// Blocks to ask for.
    pub width: u64,
    /// Windows accepted at this width since it was last changed.
    pub clean: u32,
}

impl Profile {
    /// The profile without the limits that are too old to be believed.
    #[must_use]
    pub fn without_stale_limits(mut self, now: Timestamp) -> Self {
        let fresh = |learned: &Learned| now.duration_since(learned.at) < BELIEVED_FOR;
        for limit in [
            &mut self.log_window,
            &mut self.addresses,
            &mut self.topics,
            &mut self.batch,
            &mut self.no_logs_at,
            &mut self.no_state_at,
        ] {
            *limit = limit.filter(fresh);
        }
        self
    }

    /// Blocks to ask for in one `eth_getLogs` with this filter, at least one, where the providers file says `stated`.
    pub fn window(&self, filter: &str, stated: u64) -> u64 {
        let cap = self.log_window.map_or(stated, |learned| learned.value);
        let dense = self.dense.get(filter).map_or(u64::MAX, |dense| dense.width);
        cap.min(dense).max(1)
    }

    /// Takes to heart that windows of more than `width` blocks are never taken.
    pub fn cap_window(&mut self, width: u64, now: Timestamp) {
        let known = self.log_window.map_or(u64::MAX, |learned| learned.value);
        self.log_window = Some(Learned { value: known.min(width).max(1), at: now });
    }

    /// Puts a window that was measured in place of what refusals said of windows: it may be wider than what was learned,
    /// never wider than `stated`.
    pub fn measured_window(&mut self, width: u64, stated: u64, now: Timestamp) {
        self.log_window = (width < stated).then_some(Learned { value: width.max(1), at: now });
    }

    /// Takes to heart that the filter's logs were too many for more than `width` blocks, here.
    pub fn narrow(&mut self, filter: &str, width: u64) {
        let known = self.dense.get(filter).map_or(u64::MAX, |dense| dense.width);
        self.dense.insert(filter.to_owned(), Dense { width: known.min(width).max(1), clean: 0 });
    }

    /// An accepted window of so many blocks: after a few in a row the filter's window grows, up to the cap again.
    pub fn accepted(&mut self, filter: &str, width: u64, stated: u64) {
        let cap = self.log_window.map_or(stated, |learned| learned.value);
        let Some(dense) = self.dense.get_mut(filter) else { return };
        if width < dense.width {
            return;
        }
        dense.clean += 1;
        if dense.clean >= CLEAN_WINDOWS {
            *dense = Dense { width: dense.width.saturating_mul(2), clean: 0 };
            if dense.width >= cap {
                self.dense.remove(filter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(day: &str) -> Timestamp {
        format!("{day}T00:00:00Z").parse().unwrap()
    }

    #[test]
    fn a_cap_lasts_and_a_dense_stretch_does_not() {
        let mut profile = Profile::default();
        assert_eq!(profile.window("f", 10_000), 10_000);
        profile.narrow("f", 2_000);
        assert_eq!((profile.window("f", 10_000), profile.window("other", 10_000)), (2_000, 10_000));
        for _ in 0..4 {
            profile.accepted("f", 2_000, 10_000);
        }
        assert_eq!(profile.window("f", 10_000), 4_000);
        for _ in 0..8 {
            let width = profile.window("f", 10_000);
            profile.accepted("f", width, 10_000);
        }
        assert_eq!((profile.window("f", 10_000), profile.dense.len()), (10_000, 0));
        profile.cap_window(500, at("2026-11-24"));
        for _ in 0..50 {
            profile.accepted("f", 500, 10_000);
        }
        assert_eq!(profile.window("f", 10_000), 500);
        let later = profile.without_stale_limits(at("2026-12-25"));
        assert_eq!(later.window("f", 10_000), 10_000);
    }

    #[test]
    fn a_measured_window_takes_the_place_of_a_learned_one() {
        let mut profile = Profile::default();
        profile.cap_window(10, at("2026-11-24"));
        for (measured, expected) in [(2_000, 2_000), (50_000, 10_000), (0, 1)] {
            profile.measured_window(measured, 10_000, at("2026-11-25"));
            assert_eq!(profile.window("f", 10_000), expected);
        }
        profile.measured_window(10_000, 10_000, at("2026-11-25"));
        assert_eq!(profile, Profile::default());
    }

    #[test]
    fn a_remainder_shorter_than_the_window_proves_nothing() {
        let mut profile = Profile::default();
        profile.narrow("f", 100);
        for _ in 0..20 {
            profile.accepted("f", 7, 1_000);
        }
        assert_eq!(profile.window("f", 1_000), 100);
    }

    proptest! {
        #[test]
        fn no_window_is_ever_below_one_block_or_above_the_cap(
            steps in prop::collection::vec((0_u8..3, 0_u64..20_000), 0..60), stated in 1_u64..20_000,
        ) {
            let mut profile = Profile::default();
            for (step, width) in steps {
                match step {
                    0 => profile.cap_window(width, at("2026-11-24")),
                    1 => profile.narrow("f", width),
                    _ => { let width = profile.window("f", stated); profile.accepted("f", width, stated) }
                }
                let cap = profile.log_window.map_or(stated, |learned| learned.value);
                prop_assert!((1..=cap.max(1)).contains(&profile.window("f", stated)));
            }
        }
    }
}
