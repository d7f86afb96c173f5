//! Token amounts: 256-bit integers in a token's base units, and what they are in whole tokens.
//!
//! Raw amounts are decimal text in bronze and silver. They become Float64 once, here, rounded to the nearest
//! value: never by dividing floats.

use alloy_primitives::{I256, U256};

/// Decimals beyond this cannot be a token's: 10^77 is the largest power of ten in 256 bits.
pub const MAX_DECIMALS: u8 = 77;

/// The amount in whole tokens, correctly rounded to the nearest Float64.
///
/// `raw` is in base units, `decimals` as the token contract answers it.
pub fn whole_tokens(raw: U256, decimals: u8) -> f64 {
    nearest(&decimal_text(raw, decimals))
}

/// [`whole_tokens`] of a signed amount.
pub fn signed_whole_tokens(raw: I256, decimals: u8) -> f64 {
    let magnitude = whole_tokens(raw.unsigned_abs(), decimals);
    if raw.is_negative() { -magnitude } else { magnitude }
}

/// `raw / 10^decimals` as exact decimal text, without an exponent: `1500000` with 6 decimals is `1.500000`.
pub fn decimal_text(raw: U256, decimals: u8) -> String {
    let digits = raw.to_string();
    let decimals = usize::from(decimals);
    if decimals == 0 {
        return digits;
    }
    let padded = format!("{digits:0>width$}", width = decimals + 1);
    let (whole, fraction) = padded.split_at(padded.len() - decimals);
    format!("{whole}.{fraction}")
}

/// A ratio of two integers as Float64: `raw / unit`, with `unit` a power of ten (a rate in ray, a price in 1e8).
///
/// Returns `None` when `unit` is zero. Exact to the nearest Float64 when `unit` is a power of ten; within one
/// unit in the last place otherwise.
pub fn ratio(raw: U256, unit: U256) -> Option<f64> {
    if unit.is_zero() {
        return None;
    }
    match power_of_ten(unit) {
        Some(decimals) => Some(whole_tokens(raw, decimals)),
        None => Some(nearest(&raw.to_string()) / nearest(&unit.to_string())),
    }
}

fn power_of_ten(unit: U256) -> Option<u8> {
    (0..=MAX_DECIMALS).find(|&decimals| U256::from(10).pow(U256::from(decimals)) == unit)
}

/// The nearest Float64 of plain decimal digits. The standard parser rounds correctly and accepts every text
/// that this module makes, so the fallback is unreachable; NaN would be refused by the table writer.
fn nearest(digits: &str) -> f64 {
    digits.parse().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_third_of_a_wei_short_of_two_rounds_to_two() {
        let raw = U256::from(1_999_999_999_999_999_999_u64);
        assert_eq!(decimal_text(raw, 18), "1.999999999999999999");
        assert_eq!(whole_tokens(raw, 18), 2.0);
    }

    #[test]
    fn the_largest_amount_is_finite_at_every_scale() {
        for decimals in 0..=MAX_DECIMALS {
            assert!(whole_tokens(U256::MAX, decimals).is_finite());
        }
    }

    #[test]
    fn reserves_may_be_negative() {
        assert_eq!(signed_whole_tokens(I256::try_from(-1_500_000).unwrap(), 6), -1.5);
    }

    #[test]
    fn a_ratio_without_a_unit_is_no_number() {
        assert_eq!(ratio(U256::from(1), U256::ZERO), None);
        assert_eq!(ratio(U256::from(250_000_000_000_u64), U256::from(100_000_000)), Some(2500.0));
        assert_eq!(ratio(U256::from(1), U256::from(4)), Some(0.25));
    }

    proptest! {
        #[test]
        fn decimal_text_holds_every_digit(words in any::<[u64; 4]>(), decimals in 0_u8..=MAX_DECIMALS) {
            let raw = U256::from_limbs(words);
            let text = decimal_text(raw, decimals).replace('.', "");
            prop_assert_eq!(text.parse::<U256>().unwrap(), raw);
        }
    }
}
