//! Whether an endpoint is asked at all at present.
//!
//! One that loses requests is left alone for a while, then asked one small thing. If that comes back, it is asked as
//! before; if not, it is left alone for twice as long. Only faults of the way to it count: what it says no with is an
//! answer, and a rate limit is the pace's matter.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Requests lost in a row after which an endpoint is left alone.
const LOST_IN_A_ROW: u32 = 5;
/// Outcomes that are looked back on.
const LOOKED_BACK_ON: usize = 80;
/// Requests lost among those after which an endpoint is left alone.
const LOST_OF_THOSE: usize = 20;
/// How long it is left alone at first, and at most.
const FIRST_REST: Duration = Duration::from_secs(30);
const LONGEST_REST: Duration = Duration::from_secs(600);
/// Answers in a time without rests after which the next one is as short as the first.
const GOOD_AGAIN: u32 = 20;
/// How long to leave it to the one who is asking whether it is back.
const WHILE_PROBED: Duration = Duration::from_secs(1);

/// What is known of an endpoint's way of late.
#[derive(Default)]
pub(crate) struct Breaker(Mutex<State>);

struct State {
    lost_in_a_row: u32,
    /// The last outcomes, and whether each was a fault.
    recent: VecDeque<bool>,
    answers: u32,
    /// How long the next rest is.
    rest: Duration,
    /// The end of the rest, if it is at rest.
    rests_until: Option<Instant>,
    is_probed: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            lost_in_a_row: 0,
            recent: VecDeque::new(),
            answers: 0,
            rest: FIRST_REST,
            rests_until: None,
            is_probed: false,
        }
    }
}

impl Breaker {
    /// How long to wait until it may be asked; nothing when it may be asked now, if only whether it is back.
    pub(crate) fn wait(&self) -> Duration {
        self.state().wait()
    }

    /// Lets a request pass. After a rest only one at a time passes, with a [`Probe`]: it is to ask first whether the
    /// endpoint is back.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn pass(&self) -> Result<Option<Probe<'_>>, Duration> {
        let mut state = self.state();
        let wait = state.wait();
        if !wait.is_zero() {
            return Err(wait);
        }
        if state.rests_until.is_none() {
            return Ok(None);
        }
        state.is_probed = true;
        Ok(Some(Probe { breaker: self }))
    }

    /// Takes down what became of a request.
    pub(crate) fn record(&self, is_fault: bool) {
        let mut state = self.state();
        // What comes in late from the time before the rest is known already.
        if state.rests_until.is_some() {
            return;
        }
        state.recent.push_back(is_fault);
        if state.recent.len() > LOOKED_BACK_ON {
            state.recent.pop_front();
        }
        if !is_fault {
            state.lost_in_a_row = 0;
            state.answers = state.answers.saturating_add(1);
            if state.answers >= GOOD_AGAIN {
                state.rest = FIRST_REST;
            }
            return;
        }
        state.lost_in_a_row += 1;
        let lost = state.recent.iter().filter(|is_fault| **is_fault).count();
        if state.lost_in_a_row >= LOST_IN_A_ROW || lost >= LOST_OF_THOSE {
            state.begin_rest();
        }
    }

    /// Begins anew, as if nothing had been lost.
    pub(crate) fn forgive(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&self) -> Duration {
        let left = self.rests_until.map_or(Duration::ZERO, |until| until.duration_since(Instant::now()));
        if left.is_zero() && self.is_probed { WHILE_PROBED } else { left }
    }

    fn begin_rest(&mut self) {
        self.rests_until = Some(Instant::now() + self.rest);
        self.rest = (self.rest * 2).min(LONGEST_REST);
        self.end_stretch();
    }

    fn end_stretch(&mut self) {
        self.lost_in_a_row = 0;
        self.answers = 0;
        self.recent.clear();
    }
}

/// One who asks whether an endpoint is back. Dropped without a word, it leaves that to the next.
pub(crate) struct Probe<'b> {
    breaker: &'b Breaker,
}

impl Probe<'_> {
    /// It is.
    pub(crate) fn came_back(self) {
        let mut state = self.breaker.state();
        state.rests_until = None;
        state.end_stretch();
    }

    /// It is not: it rests for twice as long.
    pub(crate) fn was_lost(self) {
        self.breaker.state().begin_rest();
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.breaker.state().is_probed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn lose(breaker: &Breaker, times: u32) {
        (0..times).for_each(|_| breaker.record(true));
    }

    #[tokio::test(start_paused = true)]
    async fn five_lost_in_a_row_or_twenty_of_eighty_open_it_and_fewer_do_not() {
        let breaker = Breaker::default();
        for _ in 0..100 {
            lose(&breaker, 1);
            (0..4).for_each(|_| breaker.record(false));
        }
        assert!(breaker.wait().is_zero(), "one of five is under twenty of eighty");
        lose(&breaker, 4);
        breaker.record(false);
        lose(&breaker, 4);
        assert!(!breaker.wait().is_zero(), "sixteen before and the rest of these make twenty of eighty");

        let breaker = Breaker::default();
        lose(&breaker, 4);
        breaker.record(false);
        lose(&breaker, 4);
        assert!(breaker.wait().is_zero());
        lose(&breaker, 1);
        assert_eq!(breaker.pass().err(), Some(FIRST_REST));
    }

    #[tokio::test(start_paused = true)]
    async fn rests_double_up_to_ten_minutes_and_one_at_a_time_asks_whether_it_is_back() {
        let breaker = Breaker::default();
        lose(&breaker, 5);
        for seconds in [30, 60, 120, 240, 480, 600, 600] {
            assert_eq!(breaker.wait(), Duration::from_secs(seconds));
            advance(Duration::from_secs(seconds) - Duration::from_millis(1)).await;
            assert!(breaker.pass().is_err());
            advance(Duration::from_millis(1)).await;
            let probe = breaker.pass().unwrap().unwrap();
            assert_eq!(breaker.pass().err(), Some(WHILE_PROBED), "one is asking already");
            probe.was_lost();
        }
        advance(LONGEST_REST).await;
        drop(breaker.pass().unwrap());
        breaker.pass().unwrap().unwrap().came_back();
        assert!(breaker.pass().unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_back_only_to_fail_rests_longer_until_it_has_been_good_for_a_while() {
        let breaker = Breaker::default();
        for (answers, rest) in [(0, 30), (3, 60), (19, 120), (20, 30)] {
            (0..answers).for_each(|_| breaker.record(false));
            lose(&breaker, 5);
            assert_eq!(breaker.wait(), Duration::from_secs(rest), "after {answers} answers");
            advance(breaker.wait()).await;
            breaker.pass().unwrap().unwrap().came_back();
        }
    }
}
