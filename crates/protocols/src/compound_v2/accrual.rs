//! What a cToken's totals are at a block, given what they were when it was last touched: `accrueInterest()` as a view.
//!
//! The arithmetic is that of compound-protocol contracts/CToken.sol `accrueInterest`: the same three truncating steps in
//! venus-protocol VToken.sol, isolated-pools VToken.sol, Benqi QiToken.sol, Moonwell MToken.sol, Kinetic CToken.sol and
//! Sumer CToken.sol, whichever clock they count by.

use super::{ACCRUAL_GETTERS, key};
use crate::answers::{Answers, Missing};
use alloy_sol_types::sol;
use lake::U256;
use lake::bronze::Header;

sol! { function word() external view returns (uint256); }

/// Mantissas are in 1e18.
pub(super) const WAD: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);

/// Above this rate per block or second `accrueInterest` reverts (`borrowRateMaxMantissa = 0.0005e16` in compound-protocol
/// CTokenInterfaces.sol, venus-protocol VTokenInterfaces.sol, Benqi QiTokenInterfaces.sol, Moonwell MTokenInterfaces.sol
/// and Kinetic CTokenInterfaces.sol). Isolated pools set their own bound, no higher; Sumer has none (CToken.sol).
pub(super) const HIGHEST_RATE: U256 = U256::from_limbs([5_000_000_000_000, 0, 0, 0]);

/// What a market counts its interest by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// Rates are per second.
    Seconds,
    /// Rates are per block.
    Blocks,
}

/// When a market was last brought up to date, by its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastAccrual {
    /// Its clock.
    pub(super) clock: Clock,
    /// Second or block of the last accrual.
    pub(super) at: u64,
    /// Seconds or blocks since.
    pub(super) ago: U256,
}

/// When the market was last brought up to date.
///
/// The value tells the clock, not the getter's name: Iron Bank on Avalanche and Optimism (ibdotxyz/compound-protocol,
/// branches `avax` and `op`, CToken.sol `getBlockNumber`) and the time-based pools of Venus (isolated-pools VToken.sol
/// `getBlockNumberOrTimestamp`) keep a time under `accrualBlockNumber`. No chain has as many blocks as Unix has seconds.
///
/// # Errors
/// [`Missing`] when the market does not say, or says what cannot be.
pub(super) fn last_accrual(
    answers: &Answers<'_>,
    id: &str,
    chain: &str,
    block: Header,
) -> Result<LastAccrual, Missing> {
    let name = ACCRUAL_GETTERS.iter().map(|getter| getter.key).find(|name| answers.data(name, id).is_ok());
    let name =
        name.or_else(|| ACCRUAL_GETTERS.iter().map(|getter| getter.key).find(|n| answers.asked(n, id)));
    let name = name.unwrap_or(key::ACCRUAL_BLOCK);
    let value = answers.value::<wordCall>(name, id)?;
    let impossible = |why: String| Err(Missing::Unusable { key: format!("{name} of {id}"), why });
    let at = u64::try_from(value).unwrap_or(u64::MAX);
    if at == 0 {
        return impossible("0: the market was never set up".into());
    }
    let since = |now: u64| U256::from(now.saturating_sub(at));
    if name == key::ACCRUAL_BLOCK && at <= block.number {
        // There `block.number` is that of Ethereum, and no answer tells which it was.
        if chain == "arbitrum" {
            return impossible(format!("{at} is a block of another chain than {}", block.number));
        }
        return Ok(LastAccrual { clock: Clock::Blocks, at, ago: since(block.number) });
    }
    if at <= block.timestamp {
        return Ok(LastAccrual { clock: Clock::Seconds, at, ago: since(block.timestamp) });
    }
    impossible(format!("{at} is later than block {} of time {}", block.number, block.timestamp))
}

/// Totals of a market as it keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Totals {
    /// Debt.
    pub(super) borrows: U256,
    /// The protocol's share.
    pub(super) reserves: U256,
}

/// The totals that `accrueInterest` would keep: simple interest on the debt, a share of it to the protocol. `None` where
/// the contract's own arithmetic would overflow.
pub(super) fn accrued(stored: Totals, rate: U256, ago: U256, reserve_factor: U256) -> Option<Totals> {
    let factor = rate.checked_mul(ago)?;
    let interest = factor.checked_mul(stored.borrows)? / WAD;
    Some(Totals {
        borrows: stored.borrows.checked_add(interest)?,
        reserves: stored.reserves.checked_add(reserve_factor.checked_mul(interest)? / WAD)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::Call;
    use crate::compound_v2::ICToken;
    use alloy_sol_types::SolValue;
    use lake::bronze::CallRecord;
    use lake::{Address, B256};
    use proptest::prelude::*;

    const BLOCK: Header =
        Header { number: 45_000_000, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 1_735_000_000 };

    fn read(name: &str, value: u64, chain: &str) -> Result<LastAccrual, Missing> {
        let call = Call::new(name, "m", Address::ZERO, &ICToken::accrualBlockNumberCall {});
        let record: CallRecord = call.answered(true, U256::from(value).abi_encode().into());
        last_accrual(&Answers::new([&record]), "m", chain, BLOCK)
    }

    #[test]
    fn the_value_tells_the_clock() {
        let by = |clock, at, ago| Ok(LastAccrual { clock, at, ago: U256::from(ago) });
        assert_eq!(read(key::ACCRUAL_BLOCK, 44_999_990, "binance"), by(Clock::Blocks, 44_999_990, 10_u64));
        assert_eq!(
            read(key::ACCRUAL_TIMESTAMP, 1_734_999_000, "base"),
            by(Clock::Seconds, 1_734_999_000, 1_000_u64)
        );
        // Iron Bank on Optimism, Venus on Arbitrum: a time under a block's name.
        assert_eq!(
            read(key::ACCRUAL_BLOCK, 1_734_999_000, "optimism"),
            by(Clock::Seconds, 1_734_999_000, 1_000_u64)
        );
        assert_eq!(
            read(key::ACCRUAL_BLOCK, 1_735_000_000, "arbitrum"),
            by(Clock::Seconds, 1_735_000_000, 0_u64)
        );
    }

    #[test]
    fn a_clock_that_cannot_be_is_missing() {
        for (name, value, chain, why) in [
            (key::ACCRUAL_BLOCK, 21_000_000, "arbitrum", "a block of another chain"),
            (key::ACCRUAL_BLOCK, 0, "binance", "never set up"),
            (key::ACCRUAL_BLOCK, 1_735_000_001, "binance", "later than block"),
            (key::ACCRUAL_TIMESTAMP, 1_735_000_001, "base", "later than block"),
        ] {
            let error = read(name, value, chain).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    /// Expected values by Python's integers: `i = r * d * b // 10**18; b + i, res + f * i // 10**18`.
    #[test]
    fn interest_is_truncated_where_the_contract_truncates() {
        let number = |text: &str| text.parse::<U256>().unwrap();
        for (borrows, reserves, rate, ago, factor, borrows_then, reserves_then) in [
            // 123,456,789.012345678901234567 tokens, 951,293,759 a block, 28,713 blocks, a quarter to the protocol.
            (
                "123456789012345678901234567",
                "1000000000000000001",
                "951293759",
                28_713_u64,
                "250000000000000000",
                "123460161172525473533414309",
                "844040044948658044936",
            ),
            // USDC: 6 decimals, 1,521,461,187 a second, one second: the interest of 0.003 base units is lost.
            ("1999999", "7", "1521461187", 1, "150000000000000000", "1999999", "7"),
            // One unit of interest, of which the protocol's share is lost.
            ("1000000000000", "7", "1000000", 1, "999999999999999999", "1000000000001", "7"),
            ("0", "5", "951293759", 1_000_000, "250000000000000000", "0", "5"),
        ] {
            let stored = Totals { borrows: number(borrows), reserves: number(reserves) };
            let then = accrued(stored, number(rate), U256::from(ago), number(factor)).unwrap();
            assert_eq!(then.borrows.to_string(), borrows_then);
            assert_eq!(then.reserves.to_string(), reserves_then);
        }
    }

    #[test]
    fn what_the_contract_cannot_compute_is_no_number() {
        let stored = Totals { borrows: U256::MAX, reserves: U256::ZERO };
        assert_eq!(accrued(stored, U256::from(1), U256::from(2), WAD), None);
        assert_eq!(accrued(stored, U256::ZERO, U256::MAX, WAD), Some(stored));
    }

    proptest! {
        #[test]
        fn totals_grow_with_time_and_the_protocol_takes_no_more_than_the_interest(
            borrows in any::<u128>(), reserves in any::<u128>(), rate in 0_u64..=5_000_000_000_000,
            ago in 0_u64..=100_000_000, more in 0_u64..=100_000_000, factor in 0_u64..=1_000_000_000_000_000_000,
        ) {
            let stored = Totals { borrows: U256::from(borrows), reserves: U256::from(reserves) };
            let after = |ago: u64| accrued(stored, U256::from(rate), U256::from(ago), U256::from(factor)).unwrap();
            let (soon, later) = (after(ago), after(ago + more));
            prop_assert!(stored.borrows <= soon.borrows && soon.borrows <= later.borrows);
            prop_assert!(stored.reserves <= soon.reserves && soon.reserves <= later.reserves);
            prop_assert!(later.reserves - stored.reserves <= later.borrows - stored.borrows);
        }
    }
}
