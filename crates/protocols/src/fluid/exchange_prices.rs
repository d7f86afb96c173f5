//! The two storage words of a token in Fluid's Liquidity layer, and the interest since they were written.
//!
//! Bits and arithmetic: Instadapp/fluid-contracts-public contracts/liquidity/common/variables.sol and
//! contracts/libraries/liquidityCalcs.sol. Divisions round down in the order in which the contract makes them.

use lake::U256;
use lake::amount::ratio;

const SECONDS_PER_YEAR: u64 = 31_536_000;
const FOUR_DECIMALS: u64 = 10_000;
const PRICE_PRECISION: u64 = 1_000_000_000_000;

fn bits(word: U256, first: usize, count: usize) -> U256 {
    (word >> first) & ((U256::ONE << count) - U256::ONE)
}

fn small(word: U256, first: usize, count: usize) -> u64 {
    // At most 33 bits are asked for.
    u64::try_from(bits(word, first, count)).unwrap_or(u64::MAX)
}

fn e27() -> U256 {
    U256::from(10).pow(U256::from(27))
}

/// Supply and borrow exchange price, in 1e12.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExchangePrices {
    pub(super) supply: U256,
    pub(super) borrow: U256,
}

/// `exchangePricesAndConfig` of a token that has exchange prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Config(pub(super) U256);

impl Config {
    /// `None` for a word without exchange prices: the token is not set up.
    pub(super) fn new(word: U256) -> Option<Self> {
        let config = Self(word);
        let stored = config.stored_prices();
        (!stored.supply.is_zero() && !stored.borrow.is_zero()).then_some(config)
    }

    fn stored_prices(self) -> ExchangePrices {
        ExchangePrices { supply: bits(self.0, 91, 64), borrow: bits(self.0, 155, 64) }
    }

    /// In hundredths of a per cent a year.
    fn borrow_rate(self) -> u64 {
        small(self.0, 0, 16)
    }

    /// In hundredths of a per cent.
    fn fee_points(self) -> u64 {
        small(self.0, 16, 14)
    }

    fn utilization(self) -> u64 {
        small(self.0, 30, 14)
    }

    /// Unix seconds of the last write.
    pub(super) fn updated_at(self) -> u64 {
        small(self.0, 58, 33)
    }

    fn supply_ratio(self) -> u64 {
        small(self.0, 219, 15)
    }

    fn borrow_ratio(self) -> u64 {
        small(self.0, 234, 15)
    }

    /// Share of a borrower's interest that goes to the protocol.
    pub(super) fn fee(self) -> Option<f64> {
        ratio(U256::from(self.fee_points()), U256::from(FOUR_DECIMALS))
    }

    /// Simple annual rate, fraction.
    pub(super) fn borrow_apr(self) -> Option<f64> {
        ratio(U256::from(self.borrow_rate()), U256::from(FOUR_DECIMALS))
    }

    /// Simple annual rate of what is supplied with interest, fraction.
    pub(super) fn supply_apr(self) -> Option<f64> {
        let rate = match self.borrow_rate() == 0 || self.borrow_ratio() == 1 {
            true => U256::ZERO,
            false => self.supply_rate().unwrap_or(U256::ZERO),
        };
        ratio(rate, U256::from(FOUR_DECIMALS).pow(U256::from(3)))
    }

    /// Both prices at a later time (`calcExchangePrices`).
    pub(super) fn exchange_prices_at(self, timestamp: u64) -> ExchangePrices {
        let mut prices = self.stored_prices();
        let seconds = U256::from(timestamp.saturating_sub(self.updated_at()));
        let rate = U256::from(self.borrow_rate());
        if seconds.is_zero() || rate.is_zero() || self.borrow_ratio() == 1 {
            return prices;
        }
        let year = U256::from(SECONDS_PER_YEAR);
        let points = U256::from(FOUR_DECIMALS);
        // 64 + 16 + 33 bits: no product here reaches 256.
        prices.borrow += prices.borrow * rate * seconds / (year * points);
        if let Some(supply_rate) = self.supply_rate() {
            prices.supply += prices.supply * supply_rate * seconds / (year * points * points * points);
        }
        prices
    }

    /// Supply rate x 1e12 (three times four decimals: borrow rate, yielding share, fee). `None` when nothing is supplied
    /// with interest.
    fn supply_rate(self) -> Option<U256> {
        let points = U256::from(FOUR_DECIMALS);
        let utilization = U256::from(self.utilization());
        let supply_ratio = self.supply_ratio();
        if supply_ratio == 1 {
            return None;
        }
        let share = U256::from(supply_ratio >> 1);
        // The first bit tells which of the two parts, with and without interest, is the larger.
        let yielding_supply = if supply_ratio & 1 == 1 {
            utilization * (e27() + e27() * points / share) / points
        } else {
            e27() * utilization * (points + share) / (points * points)
        };
        let borrow_ratio = self.borrow_ratio();
        let share = U256::from(borrow_ratio >> 1);
        let part = share * e27() / (points + share);
        let yielding_borrow = if borrow_ratio & 1 == 1 { part } else { e27() - part };
        let e54 = e27() * e27();
        let yielding = points * yielding_supply * yielding_borrow / e54;
        Some(U256::from(self.borrow_rate()) * yielding * points.saturating_sub(U256::from(self.fee_points())))
    }
}

/// `totalAmounts` of a token: four amounts of 56 bits with an exponent of eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TotalAmounts(pub(super) U256);

impl TotalAmounts {
    fn amount(self, first: usize) -> Option<U256> {
        let packed = bits(self.0, first, 64);
        let exponent = small(packed, 0, 8) as usize;
        let coefficient: U256 = packed >> 8;
        // No more than 200 bits of room beside the 56: what does not fit is no amount.
        (coefficient.bit_len() + exponent <= 256).then(|| coefficient << exponent)
    }

    fn total(self, with_interest: usize, interest_free: usize, price: U256) -> Option<U256> {
        let raw = self.amount(with_interest)?.checked_mul(price)? / U256::from(PRICE_PRECISION);
        raw.checked_add(self.amount(interest_free)?)
    }

    /// Claims of suppliers (`getTotalSupply`). `None` for a word that is no amount.
    pub(super) fn supplied(self, prices: ExchangePrices) -> Option<U256> {
        self.total(0, 64, prices.supply)
    }

    /// Debt (`getTotalBorrow`). `None` for a word that is no amount.
    pub(super) fn borrowed(self, prices: ExchangePrices) -> Option<U256> {
        self.total(128, 192, prices.borrow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example in `calcExchangePrices`: 80 supplied with interest and 20 without, 50 borrowed with and 10 without, at
    /// 40% a year with a fee of 10%, for half a year.
    fn example() -> Config {
        let field = |value: u64, first: usize| U256::from(value) << first;
        let one = U256::from(PRICE_PRECISION);
        Config(
            field(4_000, 0)
                | field(1_000, 16)
                | field(6_000, 30)
                | field(1_000_000, 58)
                | (one << 91)
                | (one << 155)
                | field(2_500 << 1, 219)
                | field(2_000 << 1, 234),
        )
    }

    #[test]
    fn prices_grow_as_in_the_contract_s_own_example() {
        let half_a_year = SECONDS_PER_YEAR / 2;
        let prices = example().exchange_prices_at(1_000_000 + half_a_year);
        assert_eq!(prices.borrow, U256::from(1_200_000_000_000_u64));
        // (40% less 10%) of 62.5% for half a year.
        assert_eq!(prices.supply, U256::from(1_112_500_000_000_u64));
        assert_eq!(example().exchange_prices_at(1_000_000), example().stored_prices());
        assert_eq!((example().borrow_apr(), example().fee()), (Some(0.4), Some(0.1)));
        assert_eq!(example().supply_apr(), Some(0.225));
    }

    #[test]
    fn amounts_are_a_coefficient_and_an_exponent() {
        let packed = |coefficient: u64, exponent: u64| (coefficient << 8) | exponent;
        let word = |supply: u64, free: u64, borrow: u64, borrow_free: u64| {
            TotalAmounts(
                U256::from(supply)
                    | (U256::from(free) << 64)
                    | (U256::from(borrow) << 128)
                    | (U256::from(borrow_free) << 192),
            )
        };
        let prices =
            ExchangePrices { supply: U256::from(1_500_000_000_000_u64), borrow: U256::from(PRICE_PRECISION) };
        let totals = word(packed(100, 3), packed(7, 0), packed(5, 1), packed(1, 2));
        assert_eq!(totals.supplied(prices), Some(U256::from(1_207)));
        assert_eq!(totals.borrowed(prices), Some(U256::from(14)));
        assert_eq!(word(packed(1 << 55, 255), 0, 0, 0).supplied(prices), None, "no amount is that large");
    }

    #[test]
    fn a_token_without_prices_is_not_set_up() {
        assert_eq!(Config::new(U256::ZERO), None);
        assert_eq!(Config::new(example().0), Some(example()));
    }

    #[test]
    fn without_interest_nothing_grows() {
        let later = 2_000_000_000;
        // A ratio of 1: one part without interest, and nothing else.
        let with_ratio_one = |first: usize| {
            let ratio = U256::from(0x7fff_u64) << first;
            Config((example().0 & !ratio) | (U256::ONE << first))
        };
        let only_interest_free = with_ratio_one(234);
        assert_eq!(only_interest_free.exchange_prices_at(later), example().stored_prices());
        assert_eq!(only_interest_free.supply_apr(), Some(0.0));
        let nobody_supplies = with_ratio_one(219);
        let prices = nobody_supplies.exchange_prices_at(later);
        assert_eq!(prices.supply, example().stored_prices().supply);
        assert!(prices.borrow > example().stored_prices().borrow);
    }

    proptest! {
        #[test]
        fn any_word_has_prices_that_do_not_fall_and_no_word_panics(word: [u8; 32], totals: [u8; 32], time: u64) {
            let word = U256::from_be_bytes(word);
            if let Some(config) = Config::new(word) {
                let prices = config.exchange_prices_at(time);
                let stored = config.stored_prices();
                prop_assert!(prices.supply >= stored.supply && prices.borrow >= stored.borrow);
                let totals = TotalAmounts(U256::from_be_bytes(totals));
                let _ = (totals.supplied(prices), totals.borrowed(prices), config.supply_apr());
            }
        }
    }
}
