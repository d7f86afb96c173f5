//! How often an endpoint may be asked the same again: for one request in ten that it was sent in the last minute, and ten
//! times a minute where it was sent few. An outage costs no more than that, however many questions are open.
//!
//! tower's `TpsBudget` has no floor below sixty a minute, and does not say how long to wait.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The time that is looked back on.
const MINUTE: Duration = Duration::from_secs(60);
/// Requests for which one may be made again.
const REQUESTS_A_RETRY: u64 = 10;
/// Requests made again in a minute that are allowed however few were sent.
const ALWAYS_ALLOWED: u64 = 10;

/// What an endpoint was sent, and sent again, in the last minute.
#[derive(Default)]
pub(crate) struct Retries(Mutex<LastMinute>);

#[derive(Default)]
struct LastMinute {
    /// Requests, counted by the second in which the first of them was sent.
    sent: VecDeque<(Instant, u64)>,
    /// Requests made again.
    again: VecDeque<Instant>,
}

impl Retries {
    /// Takes down a request.
    pub(crate) fn sent(&self) {
        let now = Instant::now();
        let mut minute = self.minute(now);
        match minute.sent.back_mut() {
            Some((since, count)) if now.duration_since(*since) < Duration::from_secs(1) => *count += 1,
            _ => minute.sent.push_back((now, 1)),
        }
    }

    /// Takes the right to make one request again.
    ///
    /// # Errors
    /// How long to wait for it.
    pub(crate) fn take(&self) -> Result<(), Duration> {
        let now = Instant::now();
        let mut minute = self.minute(now);
        let wait = minute.wait(now);
        if wait.is_zero() {
            minute.again.push_back(now);
            return Ok(());
        }
        Err(wait)
    }

    /// How long to wait until a request may be made again.
    pub(crate) fn wait(&self) -> Duration {
        let now = Instant::now();
        self.minute(now).wait(now)
    }

    fn minute(&self, now: Instant) -> MutexGuard<'_, LastMinute> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |at: Instant| now.duration_since(at) >= MINUTE;
        while minute.sent.front().is_some_and(|(since, _)| is_over(*since)) {
            minute.sent.pop_front();
        }
        while minute.again.front().is_some_and(|at| is_over(*at)) {
            minute.again.pop_front();
        }
        minute
    }
}

impl LastMinute {
    fn wait(&self, now: Instant) -> Duration {
        let sent: u64 = self.sent.iter().map(|(_, count)| count).sum();
        let allowed = (sent / REQUESTS_A_RETRY).max(ALWAYS_ALLOWED);
        match self.again.front() {
            Some(oldest) if self.again.len() as u64 >= allowed => {
                MINUTE.saturating_sub(now.duration_since(*oldest))
            }
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn ten_a_minute_are_always_allowed_and_the_eleventh_waits() {
        let retries = Retries::default();
        for _ in 0..10 {
            retries.take().unwrap();
            advance(Duration::from_secs(1)).await;
        }
        let wait = retries.take().unwrap_err();
        assert_eq!(wait, Duration::from_secs(50));
        advance(wait).await;
        retries.take().unwrap();
        assert_eq!(retries.wait(), Duration::from_secs(1));
    }

    #[test]
    fn no_minute_has_more_than_a_tenth_of_its_requests_again() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        proptest!(ProptestConfig::with_cases(24), |(paces in prop::collection::vec((1_u64..60, 1_u64..40), 1..20))| {
            runtime.block_on(async {
                let retries = Retries::default();
                let began = Instant::now();
                let (mut sent, mut again) = (Vec::new(), Vec::new());
                // Stretches of so many seconds with so many requests each; every one of them is to be made again.
                for (seconds, a_second) in paces {
                    for _ in 0..seconds {
                        for _ in 0..a_second {
                            retries.sent();
                            sent.push(began.elapsed());
                            if retries.take().is_ok() {
                                again.push(began.elapsed());
                            }
                        }
                        advance(Duration::from_secs(1)).await;
                    }
                }
                let within = |times: &[Duration], end: Duration| {
                    times.iter().filter(|at| **at <= end && **at + MINUTE > end).count() as u64
                };
                for end in &again {
                    let (sent, again) = (within(&sent, *end), within(&again, *end));
                    assert!(again <= (sent / 10).max(10), "{again} of {sent} at {end:?}");
                }
            });
        });
    }
}
