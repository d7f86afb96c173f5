//! How requests fail that nobody refused, and the dice that say which.
//!
//! Dice are rolled from the seed, the content of the request and how often that content was asked before, never from
//! the order of arrival or the time: a run with more workers meets the same faults, and a retry may have better luck.

use std::time::Duration;

/// How a request fails without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// HTTP 429.
    TooManyRequests,
    /// HTTP 500 with a plain text.
    InternalError,
    /// HTTP 502 with a proxy's page.
    BadGateway,
    /// HTTP 503 with a page.
    Unavailable,
    /// HTTP 504 without a body.
    GatewayTimeout,
    /// HTTP 200 and half of the answer, then the connection breaks.
    CutBody,
    /// HTTP 200 and half of the answer, whose length says that this is all of it.
    HalfBody,
    /// HTTP 200 without a body.
    EmptyBody,
    /// HTTP 200 and a web page.
    Html,
    /// HTTP 200 and an internal error in JSON-RPC's envelope, without an id.
    Nameless,
    /// The connection is reset before anything came.
    Reset,
    /// Nothing ever comes, and the connection stays open.
    Hang,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 12] = [
        Self::TooManyRequests,
        Self::InternalError,
        Self::BadGateway,
        Self::Unavailable,
        Self::GatewayTimeout,
        Self::CutBody,
        Self::HalfBody,
        Self::EmptyBody,
        Self::Html,
        Self::Nameless,
        Self::Reset,
        Self::Hang,
    ];
}

/// Faults at random.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FaultRate {
    /// How many of a thousand requests fail.
    pub per_mille: u32,
    /// In which ways, all as likely.
    pub among: Vec<Fault>,
}

/// A time in which every request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Its beginning, after the provider was made.
    pub from: Duration,
    /// Its end, after the provider was made.
    pub to: Duration,
    /// How requests fail.
    pub fault: Fault,
}

/// How long answers take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// Most answers.
    pub usual: Duration,
    /// How many of a thousand answers take longer.
    pub slow_per_mille: u32,
    /// Those.
    pub slow: Duration,
}

/// What a roll of the dice decides. Each has dice of its own, so that one fault switched on does not move another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Matter {
    Fails,
    WhichFault,
    Latency,
    Node,
    Order,
    LogMissing,
}

/// The dice of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice {
    seed: u64,
    content: u64,
    nth: u64,
}

impl Dice {
    /// Dice for content asked for the `nth` time.
    pub(crate) fn new(seed: u64, content: u64, nth: u64) -> Self {
        Self { seed, content, nth }
    }

    /// A number for a matter.
    pub(crate) fn roll(self, matter: Matter) -> u64 {
        let mixed = [self.content, self.nth, matter as u64];
        mixed.into_iter().fold(mix(self.seed), |state, part| mix(state ^ part))
    }

    /// Whether something happens that does so in `per_mille` of a thousand cases.
    pub(crate) fn happens(self, matter: Matter, per_mille: u32) -> bool {
        self.roll(matter) % 1_000 < u64::from(per_mille)
    }

    /// The fault of a request at this rate.
    pub(crate) fn fault(self, rate: &FaultRate) -> Option<Fault> {
        if rate.among.is_empty() || !self.happens(Matter::Fails, rate.per_mille) {
            return None;
        }
        let at = self.roll(Matter::WhichFault) % rate.among.len() as u64;
        usize::try_from(at).ok().and_then(|at| rate.among.get(at)).copied()
    }

    /// How long the answer takes.
    pub(crate) fn delay(self, latency: &Latency) -> Duration {
        if self.happens(Matter::Latency, latency.slow_per_mille) { latency.slow } else { latency.usual }
    }
}

/// The finaliser of splitmix64: every bit in moves about half of those out.
pub(crate) fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// FNV-1a: the same on every machine and in every version, which the standard library's hasher does not promise.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_are_fair_and_fall_the_same_way_again() {
        let rate = FaultRate { per_mille: 300, among: Fault::ALL.to_vec() };
        let faults =
            |seed| (0..20_000).map(|content| Dice::new(seed, content, 1).fault(&rate)).collect::<Vec<_>>();
        let once = faults(1);
        assert_eq!(once, faults(1));
        assert_ne!(once, faults(2));
        let failed = once.iter().flatten().count();
        assert!((5_700..6_300).contains(&failed), "{failed} of 20000");
        for fault in Fault::ALL {
            let of_it = once.iter().flatten().filter(|other| **other == fault).count();
            assert!((400..600).contains(&of_it), "{fault:?}: {of_it} of {failed}");
        }
    }

    #[test]
    fn a_retry_rolls_again_and_matters_do_not_move_each_other() {
        let happens = |nth, matter| {
            (0..2_000)
                .filter(|content| Dice::new(7, *content, nth).happens(matter, 500))
                .collect::<Vec<u64>>()
        };
        assert_ne!(happens(1, Matter::Fails), happens(2, Matter::Fails));
        assert_ne!(happens(1, Matter::Fails), happens(1, Matter::Latency));
    }
}
