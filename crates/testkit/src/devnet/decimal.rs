//! Exact decimal numbers: token units times prices, whose only denominators are powers of ten.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::U256;
use anyhow::{Context, Error, Result};

/// A number of `digits / 10^places`, not below nought.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    digits: U256,
    places: u32,
}

impl Decimal {
    /// Nought.
    pub const ZERO: Self = Self { digits: U256::ZERO, places: 0 };

    /// A raw amount with its decimals.
    pub fn of(digits: U256, decimals: impl Into<u32>) -> Self {
        Self { digits, places: decimals.into() }
    }

    /// The product.
    ///
    /// # Errors
    /// When it is beyond 256 bits.
    pub fn times(self, other: Self) -> Result<Self> {
        let digits = self.digits.checked_mul(other.digits).context("a product is beyond 256 bits")?;
        Ok(Self { digits, places: self.places + other.places })
    }

    /// The sum.
    ///
    /// # Errors
    /// When it is beyond 256 bits.
    pub fn plus(self, other: Self) -> Result<Self> {
        let places = self.places.max(other.places);
        let (one, two) = (self.digits_at(places)?, other.digits_at(places)?);
        Ok(Self { digits: one.checked_add(two).context("a sum is beyond 256 bits")?, places })
    }

    fn digits_at(self, places: u32) -> Result<U256> {
        let missing = U256::from(10u64).checked_pow(U256::from(places - self.places));
        missing.and_then(|by| self.digits.checked_mul(by)).context("a number is beyond 256 bits")
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.places as usize;
        let digits = format!("{:0>width$}", self.digits.to_string(), width = places + 1);
        let (whole, part) = digits.split_at(digits.len() - places);
        match part.trim_end_matches('0') {
            "" => f.write_str(whole),
            part => write!(f, "{whole}.{part}"),
        }
    }
}

impl FromStr for Decimal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{part}").parse().with_context(|| format!("the number {text:?}"))?;
        Ok(Self { digits, places: u32::try_from(part.len())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_exact() {
        // 1.5 USDC at 0.9998 USD
        let usdc = Decimal::of(U256::from(1_500_000), 6u8);
        let dollars = usdc.times(Decimal::of(U256::from(99_980_000), 8u8)).unwrap();
        assert_eq!(dollars.to_string(), "1.4997");
        assert_eq!(Decimal::ZERO.to_string(), "0");
        let least = Decimal::of(U256::from(1), 26u8);
        assert_eq!(least.to_string(), format!("0.{}1", "0".repeat(25)));
        let sum = dollars.plus(least).unwrap();
        assert_eq!(sum.to_string(), format!("1.4997{}1", "0".repeat(21)));
        assert_eq!("12.50".parse::<Decimal>().unwrap().plus(Decimal::ZERO).unwrap().to_string(), "12.5");
        assert!(Decimal::of(U256::MAX, 0u8).plus(dollars).is_err());
    }
}
