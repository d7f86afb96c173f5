//! The rate that an interest rate model asks of borrowers, in the model's own arithmetic.
//!
//! Sources: morpho-org/morpho-blue-irm `src/adaptive-curve-irm/AdaptiveCurveIrm.sol`, `libraries/ConstantsLib.sol` and
//! `libraries/ExpLib.sol` (the constants are the same at tag v1.0.0 and at HEAD); lista-dao/moolah
//! `src/interest-rate-model/InterestRateModel.sol`, the same curve with a cap and a floor on the rate. Every division
//! rounds toward zero, as Solidity's does. `None` stands for an overflow: the contract would revert.
//!
//! No rate of this file is believed by itself. The contract's own accrual was made with the average rate since the market
//! was last touched; a model that does not give that interest to the unit is not the market's model.

use super::State;
use lake::{I256, U256};

/// One in 18 decimals.
pub(super) const WAD: u128 = 1_000_000_000_000_000_000;
/// A year of 365 days, in which the contracts count.
pub(super) const YEAR: u64 = 31_536_000;

const CURVE_STEEPNESS: i128 = 4_000_000_000_000_000_000;
const ADJUSTMENT_SPEED: i128 = 50_000_000_000_000_000_000 / YEAR as i128;
const TARGET_UTILIZATION: i128 = 900_000_000_000_000_000;
const INITIAL_RATE_AT_TARGET: i128 = 40_000_000_000_000_000 / YEAR as i128;
const MIN_RATE_AT_TARGET: i128 = 1_000_000_000_000_000 / YEAR as i128;
const MAX_RATE_AT_TARGET: i128 = 2_000_000_000_000_000_000 / YEAR as i128;

const LN_2: i128 = 693_147_180_559_945_309;
const LN_WEI: i128 = -41_446_531_673_892_822_312;
const WEXP_UPPER_BOUND: i128 = 93_859_467_695_000_404_319;
/// `wExp(WEXP_UPPER_BOUND)`: 57716089161558943949701069502944508345128.422502756744429568 in 18 decimals.
const WEXP_UPPER_VALUE: U256 = U256::from_limbs([0, 0, 0x31d8_1650_c7d8_8b80, 0x9]);

/// How a market's borrow rate comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    /// A rate that moves with utilization.
    Adaptive(Curve),
    /// One rate per second, whatever the market's state (FixedRateIrm), 18 decimals.
    Fixed(U256),
}

/// The adaptive curve of one market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Curve {
    /// `rateAtTarget` as stored when the market was last touched.
    pub(super) rate_at_target: I256,
    /// Bounds of the rate, where the model has them (Moolah).
    pub(super) bounds: Option<Bounds>,
}

/// Lowest and highest rate per second that Moolah's model gives, 18 decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) floor: U256,
    pub(super) cap: U256,
}

impl Bounds {
    /// Moolah's default cap: 30% a year (moolah ConstantsLib.sol, `DEFAULT_RATE_CAP`).
    pub(super) fn new(rate_cap: U256, min_cap: U256, floor: U256) -> Self {
        let default = U256::from(300_000_000_000_000_000_u128 / u128::from(YEAR));
        let cap = if rate_cap.is_zero() { default } else { rate_cap };
        Self { floor, cap: cap.max(min_cap) }
    }

    fn hold(self, rate: U256) -> U256 {
        rate.min(self.cap).max(self.floor)
    }
}

impl Model {
    /// The average rate per second of the time since `stored` was last touched: `_borrowRate`, first value.
    pub(super) fn average(self, stored: &State, elapsed: u64) -> Option<U256> {
        match self {
            Self::Fixed(rate) => Some(rate),
            Self::Adaptive(curve) => {
                let (average, _) = curve.rates_at_target(stored, elapsed)?;
                curve.rate(average, error_of(stored)?)
            }
        }
    }

    /// The rate per second right after accrual: the curve at the new rate at target and the new utilization.
    pub(super) fn spot(self, stored: &State, accrued: &State, elapsed: u64) -> Option<U256> {
        match self {
            Self::Fixed(rate) => Some(rate),
            Self::Adaptive(curve) => {
                let (_, end) = curve.rates_at_target(stored, elapsed)?;
                curve.rate(curve.bounded_end(end)?, error_of(accrued)?)
            }
        }
    }
}

impl Curve {
    /// Average and last rate at target after `elapsed` seconds at the stored utilization.
    fn rates_at_target(self, stored: &State, elapsed: u64) -> Option<(I256, I256)> {
        let start = self.rate_at_target;
        if start.is_zero() {
            let initial = signed(INITIAL_RATE_AT_TARGET)?;
            return Some((initial, initial));
        }
        let speed = mul_wad(signed(ADJUSTMENT_SPEED)?, error_of(stored)?)?;
        let adaptation = speed.checked_mul(signed(i128::from(elapsed))?)?;
        if adaptation.is_zero() {
            return Some((start, start));
        }
        let end = new_rate_at_target(start, adaptation)?;
        let middle = new_rate_at_target(start, adaptation.checked_div(signed(2)?)?)?;
        let sum = start.checked_add(end)?.checked_add(middle.checked_mul(signed(2)?)?)?;
        Some((sum.checked_div(signed(4)?)?, end))
    }

    /// Moolah keeps the rate at target within four times the floor and a fourth of the cap.
    fn bounded_end(self, end: I256) -> Option<I256> {
        let Some(bounds) = self.bounds else { return Some(end) };
        let four = U256::from(4);
        let floor = I256::try_from(bounds.floor.checked_mul(four)?).ok()?;
        let cap = I256::try_from(bounds.cap / four).ok()?;
        Some(end.max(floor).min(cap))
    }

    /// The curve: a fourth of the rate at target when nothing is lent out, four times it when all is.
    fn rate(self, rate_at_target: I256, error: I256) -> Option<U256> {
        let (wad, steepness) = (wad()?, signed(CURVE_STEEPNESS)?);
        let coefficient = if error.is_negative() {
            wad.checked_sub(div_wad(wad, steepness)?)?
        } else {
            steepness.checked_sub(wad)?
        };
        let rate = mul_wad(mul_wad(coefficient, error)?.checked_add(wad)?, rate_at_target)?;
        let rate = U256::try_from(rate).ok()?;
        Some(self.bounds.map_or(rate, |bounds| bounds.hold(rate)))
    }
}

/// The growth of a debt over `elapsed` seconds, 18 decimals: three terms of e^x - 1 (morpho-blue MathLib.sol,
/// `wTaylorCompounded`).
pub(super) fn compounded(rate: U256, elapsed: u64) -> Option<U256> {
    let wad = U256::from(WAD);
    let first = rate.checked_mul(U256::from(elapsed))?;
    let second = first.checked_mul(first)? / (U256::from(2) * wad);
    let third = second.checked_mul(first)? / (U256::from(3) * wad);
    first.checked_add(second)?.checked_add(third)
}

/// The interest on the stored debt at an average rate (Morpho.sol, `_accrueInterest`).
pub(super) fn interest(stored: &State, rate: U256, elapsed: u64) -> Option<U256> {
    let debt = U256::from(stored.totalBorrowAssets);
    Some(debt.checked_mul(compounded(rate, elapsed)?)? / U256::from(WAD))
}

/// Share of what is lent out, 18 decimals.
pub(super) fn utilization(state: &State) -> Option<U256> {
    let supply = U256::from(state.totalSupplyAssets);
    if supply.is_zero() {
        return Some(U256::ZERO);
    }
    Some(U256::from(state.totalBorrowAssets).checked_mul(U256::from(WAD))? / supply)
}

/// Distance of utilization from its target, from -1 when nothing is lent out to 1 when all is.
fn error_of(state: &State) -> Option<I256> {
    let (wad, target) = (wad()?, signed(TARGET_UTILIZATION)?);
    let utilization = I256::try_from(utilization(state)?).ok()?;
    let norm = if utilization > target { wad.checked_sub(target)? } else { target };
    div_wad(utilization.checked_sub(target)?, norm)
}

fn new_rate_at_target(start: I256, adaptation: I256) -> Option<I256> {
    let rate = mul_wad(start, exponential(adaptation)?)?;
    Some(rate.max(signed(MIN_RATE_AT_TARGET)?).min(signed(MAX_RATE_AT_TARGET)?))
}

/// `ExpLib.wExp`: 2^q x (1 + r + r^2 / 2), with x = q ln 2 + r.
fn exponential(x: I256) -> Option<I256> {
    if x < signed(LN_WEI)? {
        return Some(I256::ZERO);
    }
    if x >= signed(WEXP_UPPER_BOUND)? {
        return I256::try_from(WEXP_UPPER_VALUE).ok();
    }
    let ln_2 = signed(LN_2)?;
    let half = signed(if x.is_negative() { -(LN_2 / 2) } else { LN_2 / 2 })?;
    let q = x.checked_add(half)?.checked_div(ln_2)?;
    let r = x.checked_sub(q.checked_mul(ln_2)?)?;
    let square = r.checked_mul(r)?.checked_div(wad()?)?.checked_div(signed(2)?)?;
    let near_one = wad()?.checked_add(r)?.checked_add(square)?;
    let shift = usize::try_from(q.unsigned_abs()).ok()?;
    let power = U256::try_from(near_one).ok()?;
    let shifted = if q.is_negative() { power >> shift } else { power << shift };
    I256::try_from(shifted).ok()
}

fn signed(value: i128) -> Option<I256> {
    I256::try_from(value).ok()
}

fn wad() -> Option<I256> {
    I256::try_from(WAD).ok()
}

/// `(x * y) / WAD`, toward zero.
fn mul_wad(x: I256, y: I256) -> Option<I256> {
    x.checked_mul(y)?.checked_div(wad()?)
}

/// `(x * WAD) / y`, toward zero.
fn div_wad(x: I256, y: I256) -> Option<I256> {
    x.checked_mul(wad()?)?.checked_div(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exp(x: i128) -> String {
        exponential(signed(x).unwrap()).unwrap().to_string()
    }

    #[test]
    fn the_exponential_is_that_of_the_contract_at_its_edges() {
        assert_eq!(exp(0), WAD.to_string());
        assert_eq!(exp(LN_WEI - 1), "0");
        assert_eq!(exp(WEXP_UPPER_BOUND), "57716089161558943949701069502944508345128422502756744429568");
        // 2 x e^0: ln 2 decomposes without a rest, on both sides of zero.
        assert_eq!(exp(LN_2), (2 * WAD).to_string());
        assert_eq!(exp(-LN_2), (WAD / 2).to_string());
        // Computed from ExpLib.sol in another language, with integers of any length.
        let wad = i128::try_from(WAD).unwrap();
        let computed = [
            (-20, "2060822889"),
            (-1, "370113253479550356"),
            (1, "2707864291678420188"),
            (10, "21950129074211421782016"),
        ];
        for (x, value) in computed {
            assert_eq!(exp(x * wad), value);
        }
    }

    #[test]
    fn a_cap_of_zero_is_the_default_and_the_least_cap_counts() {
        let default = U256::from(9_512_937_595_u64);
        assert_eq!(Bounds::new(U256::ZERO, U256::ZERO, U256::ZERO).cap, default);
        assert_eq!(Bounds::new(U256::from(7), U256::from(9), U256::ZERO).cap, U256::from(9));
        let bounds = Bounds::new(U256::from(20), U256::ZERO, U256::from(5));
        let held = [3_u64, 10, 30].map(|rate| bounds.hold(U256::from(rate)));
        assert_eq!(held, [5_u64, 10, 20].map(U256::from));
    }

    #[test]
    fn at_its_target_the_curve_is_the_rate_at_target() {
        let curve = Curve { rate_at_target: signed(1_268_391_679).unwrap(), bounds: None };
        let state = |supply, borrow| State {
            totalSupplyAssets: supply,
            totalSupplyShares: 0,
            totalBorrowAssets: borrow,
            totalBorrowShares: 0,
            lastUpdate: 0,
            fee: 0,
        };
        let rate = |supply, borrow| Model::Adaptive(curve).average(&state(supply, borrow), 0);
        let at_target = U256::from(1_268_391_679_u64);
        assert_eq!(rate(1_000, 900), Some(at_target));
        assert_eq!(rate(1_000, 1_000), Some(at_target * U256::from(4)));
        assert_eq!(rate(1_000, 0), Some(at_target / U256::from(4)));
        assert_eq!(rate(0, 0), Some(at_target / U256::from(4)), "an empty market has no utilization");
    }
}
