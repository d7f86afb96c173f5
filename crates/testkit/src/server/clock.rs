//! What time it is for a provider. Limits are about time, and tests have none to spend.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What time it is, as the time since the Unix epoch.
pub trait Clock: Debug + Send + Sync {
    /// Now. Never less than it was.
    fn now(&self) -> Duration;
}

/// A clock that stands until it is moved. Any number of providers may share one.
#[derive(Debug)]
pub struct ManualClock {
    nanoseconds: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at this Unix second.
    pub fn at(second: u64) -> Self {
        Self { nanoseconds: AtomicU64::new(second.saturating_mul(1_000_000_000)) }
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(by, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }
}

/// tokio's clock, set to some moment when it is made. It stands and jumps with `tokio::time::pause` and `advance`, so a
/// test of a month takes a second; in a server it simply runs.
#[derive(Debug)]
pub struct TokioClock {
    start: Duration,
    made: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that shows this Unix second now.
    pub fn at(second: u64) -> Self {
        Self { start: Duration::from_secs(second), made: tokio::time::Instant::now() }
    }

    /// A clock that shows the time of day.
    pub fn of_day() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self { start: now.unwrap_or_default(), made: tokio::time::Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Duration {
        self.start + self.made.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_when_it_is_told_to() {
        let clock = ManualClock::at(1_000);
        assert_eq!(clock.now(), Duration::from_secs(1_000));
        clock.advance(Duration::from_millis(1_500));
        assert_eq!(clock.now(), Duration::from_millis(1_001_500));
    }

    #[tokio::test(start_paused = true)]
    async fn tokio_s_clock_stands_while_time_is_paused() {
        let clock = TokioClock::at(1_000);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(clock.now(), Duration::from_secs(1_000));
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        assert_eq!(clock.now(), Duration::from_secs(87_400));
    }
}
