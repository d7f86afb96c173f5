//! Numbers that look drawn, and are the same for the same seed.

use crate::server::faults::mix;

/// Numbers drawn from a seed, one after the other.
#[derive(Debug, Clone)]
pub struct Drawn(u64);

impl Drawn {
    /// The numbers of a seed.
    pub fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below a bound; 0 below 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let drawn = mix(self.0);
        self.0 = drawn;
        drawn % bound.max(1)
    }

    /// Whether something happens that does so once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_below_the_bound_comes_and_a_seed_gives_the_same_again() {
        let draw = |seed| {
            let mut drawn = Drawn::from_seed(seed);
            (0..600).map(|_| drawn.below(6)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        for number in 0..6 {
            let times = draw(7).iter().filter(|drawn| **drawn == number).count();
            assert!((60..140).contains(&times), "{number} came {times} times of 600");
        }
    }
}
