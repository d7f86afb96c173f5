//! The engine's time: tokio's, so that a test may pause it, counted from the wall clock at the start.

use governor::clock::Clock as GovernorClock;
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// Now, as a date for months and quotas and as a duration for paces. Both go on together, even in paused time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: Timestamp,
    began: Instant,
}

impl Clock {
    /// A clock that reads the wall clock once, now.
    pub fn start() -> Self {
        Self::at(Timestamp::now())
    }

    /// A clock that shows this moment now.
    pub fn at(wall: Timestamp) -> Self {
        Self { wall, began: Instant::now() }
    }

    /// The date and time.
    pub fn timestamp(&self) -> Timestamp {
        let elapsed = jiff::SignedDuration::try_from(self.began.elapsed()).unwrap_or_default();
        self.wall.checked_add(elapsed).unwrap_or(Timestamp::MAX)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::start()
    }
}

impl GovernorClock for Clock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}
