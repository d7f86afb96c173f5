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

/// A number written in decimal digits, with or without a point and an exponent (`3731.67`, `1.2e-7`), as an integer and
/// the number of its decimals: nothing is rounded.
///
/// `None` for what is no such number, is negative, or does not fit 256 bits and [`MAX_DECIMALS`].
pub fn exact(text: &str) -> Option<(U256, u8)> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if whole.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let raw: U256 = digits.parse().ok()?;
    let decimals = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    if decimals >= 0 {
        return u8::try_from(decimals).ok().filter(|decimals| *decimals <= MAX_DECIMALS).map(|of| (raw, of));
    }
    let power = U256::from(10).checked_pow(U256::from(decimals.unsigned_abs()))?;
    Some((raw.checked_mul(power)?, 0))
}

/// US dollars of an amount: whole tokens, rounded once from the integer, times the price, rounded once more.
///
/// The one place where an amount meets a price. Sums are formed of its results, in order of the rows' keys.
pub fn usd(whole_tokens: f64, price: f64) -> f64 {
    whole_tokens * price
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

    #[test]
    fn decimal_digits_are_read_exactly() {
        let read = |text| exact(text).map(|(raw, decimals)| decimal_text(raw, decimals));
        for (text, says) in [
            ("3731.671062763221", "3731.671062763221"),
            ("1", "1"),
            ("0.9990", "0.9990"),
            ("1.2e-7", "0.00000012"),
            ("12E+2", "1200"),
            ("1e77", &format!("1{}", "0".repeat(77))),
        ] {
            assert_eq!(read(text).as_deref(), Some(says), "{text}");
        }
        for text in
            ["", ".5", "-1", "+1", "NaN", "1e", "1e78", "1e-78", "1.2.3", "0x1", "1e99999999999", " 1"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    /// `a + b` and what is lost by it: exactly `a + b` together (Knuth, TAOCP 4.2.2, two-sum).
    fn two_sum(a: f64, b: f64) -> (f64, f64) {
        let sum = a + b;
        let rest = sum - a;
        (sum, (a - (sum - rest)) + (b - rest))
    }

    proptest! {
        #[test]
        fn exact_reads_what_decimal_text_writes(words in any::<[u64; 4]>(), decimals in 0_u8..=MAX_DECIMALS) {
            let raw = U256::from_limbs(words);
            prop_assert_eq!(exact(&decimal_text(raw, decimals)), Some((raw, decimals)));
        }

        #[test]
        fn exact_and_the_standard_parser_agree(number in 0.0_f64..1e30) {
            let (raw, decimals) = exact(&format!("{number:e}")).unwrap();
            prop_assert_eq!(whole_tokens(raw, decimals), number);
        }

        #[test]
        fn whole_tokens_differ_from_the_exact_amount_by_no_more_than_rounding(raw in any::<u128>(), decimals in 0_u8..=30) {
            // The Float64 read back as digits, compared with the integer as integers: no float judges a float.
            let found = whole_tokens(U256::from(raw), decimals);
            let (digits, places) = exact(&format!("{found:e}")).unwrap();
            let scale = |power: u8| U256::from(10).pow(U256::from(power));
            let common = decimals.max(places);
            let (exact, found) =
                (U256::from(raw) * scale(common - decimals), digits * scale(common - places));
            let off = exact.abs_diff(found);
            // Half a unit in the last place of 53 bits, and as much again for the digits that print it.
            prop_assert!(off <= (exact >> 52) + U256::from(1), "{raw} of {decimals} decimals became {found}");
        }

        #[test]
        fn the_parts_in_dollars_add_up_to_the_whole(
            parts in proptest::collection::vec(0_u128..1 << 96, 1..60),
            decimals in 6_u8..=18,
            price in 1e-6_f64..1e6,
        ) {
            let whole: U256 = parts.iter().map(|part| U256::from(*part)).sum();
            let mut sum = 0.0;
            let mut lost = 0.0;
            for part in &parts {
                let (next, error) = two_sum(sum, usd(whole_tokens(U256::from(*part), decimals), price));
                sum = next;
                lost += error;
            }
            let of_whole = usd(whole_tokens(whole, decimals), price);
            // Each part is rounded twice, the whole twice; what adding lost is added back.
            let bound = of_whole * 4.0 * f64::EPSILON;
            prop_assert!((sum + lost - of_whole).abs() <= bound, "{sum} is not {of_whole}");
            // Plain addition in order of key, as the panel adds, loses at most one unit in the last place a part.
            prop_assert!((sum - of_whole).abs() <= of_whole * f64::EPSILON * (parts.len() as f64 + 4.0));
        }

        #[test]
        fn decimal_text_holds_every_digit(words in any::<[u64; 4]>(), decimals in 0_u8..=MAX_DECIMALS) {
            let raw = U256::from_limbs(words);
            let text = decimal_text(raw, decimals).replace('.', "");
            prop_assert_eq!(text.parse::<U256>().unwrap(), raw);
        }
    }
}
