//! What a snapshot of the pools says.

use super::contracts::{Manager, Pool};
use super::{IPool, IPriceOracle, key, price_call};
use crate::answers::{Answers, Call, Missing};
use crate::family::{PriceAnswer, Quote, ReserveFigures};
use crate::token::{self, item};
use alloy_sol_types::SolCall;
use lake::amount::{ratio, whole_tokens};
use lake::bronze::ReadsAtBlock;
use lake::status::{PriceSource, Role};
use lake::{Address, I256, U256};

/// Rates are annual, in ray.
const RAY: U256 = U256::from_limbs([0x9fd0_803c_e800_0000, 0x033b_2e3c, 0, 0]);
/// `getPrice` answers dollars with 8 decimals (core-v2 IPriceOracle.sol, core-v3 PriceOracleV3.sol).
const PRICE_UNIT: u64 = 100_000_000;
/// First version with per-manager figures and rates of their own for suppliers (core-v3 PoolV3.sol, `version`).
const VERSION_3: u64 = 300;

/// The calls for a pool's figures. Those of the other versions revert.
pub(super) fn calls(pool: &Pool) -> Vec<Call> {
    let (to, name) = (pool.address, item(pool.address));
    let mut calls = vec![
        Call::new(key::VERSION, &name, to, &IPool::versionCall {}),
        Call::new(key::EXPECTED, &name, to, &IPool::expectedLiquidityCall {}),
        Call::new(key::AVAILABLE, &name, to, &IPool::availableLiquidityCall {}),
        Call::new(key::PRINCIPAL, &name, to, &IPool::totalBorrowedCall {}),
        Call::new(key::RATE_V1, &name, to, &IPool::borrowAPY_RAYCall {}),
        Call::new(key::RATE, &name, to, &IPool::baseInterestRateCall {}),
        Call::new(key::SUPPLY_RATE, &name, to, &IPool::supplyRateCall {}),
        Call::new(key::DEBT_LIMIT, &name, to, &IPool::totalDebtLimitCall {}),
        Call::new(key::LAST_UPDATE, &name, to, &IPool::lastBaseInterestUpdateCall {}),
        Call::new(key::PAUSED, &name, to, &IPool::pausedCall {}),
    ];
    calls.extend(pool.managers.iter().map(|manager| {
        let call = IPool::creditManagerBorrowedCall { creditManager: manager.address };
        Call::new(key::MANAGER_PRINCIPAL, item(manager.address), to, &call)
    }));
    if let Some(token) = pool.underlying {
        calls.extend(pool.oracle.map(|oracle| price_call(oracle, token)));
        calls.extend(token::calls(token));
    }
    calls
}

/// The state of a pool.
pub(super) fn pool_figures(answers: &Answers<'_>, pool: &Pool) -> ReserveFigures {
    let id = item(pool.address);
    let mut missing = Vec::new();
    let mut keep = |answer: Result<U256, Missing>| answer.map_err(|why| missing.push(why)).ok();
    let supplied = keep(answers.value::<IPool::expectedLiquidityCall>(key::EXPECTED, &id));
    let available = keep(answers.value::<IPool::availableLiquidityCall>(key::AVAILABLE, &id));
    let principal = keep(answers.value::<IPool::totalBorrowedCall>(key::PRINCIPAL, &id));
    let (borrow_rate, supply_rate) = match is_v3(answers, &id) {
        Ok(true) => (
            keep(answers.value::<IPool::baseInterestRateCall>(key::RATE, &id)),
            keep(answers.value::<IPool::supplyRateCall>(key::SUPPLY_RATE, &id)),
        ),
        Ok(false) => {
            let rate = keep(answers.value::<IPool::borrowAPY_RAYCall>(key::RATE_V1, &id));
            (rate, rate.zip(principal).zip(supplied).and_then(|((rate, lent), all)| on_all(rate, lent, all)))
        }
        Err(why) => (keep(Err(why)), None),
    };
    // What was sent to a pool without a deposit is in its balance and in no one's claim.
    let owed = supplied.zip(available).map(|(supplied, available)| supplied.saturating_sub(available));
    let mut flags = Vec::new();
    let borrowed = owed.zip(principal).map(|(owed, principal)| {
        if owed < principal {
            flags.push("borrowed_is_principal");
        }
        owed.max(principal)
    });
    if pool.shut_down_by.is_some() {
        flags.push("shut_down");
    }

    let decimals = match pool.underlying {
        Some(token) => token::decimals(answers, &item(token)),
        None => Err(match answers.value::<IPool::underlyingTokenCall>(key::UNDERLYING, &id) {
            Err(why) => why,
            Ok(_) => Missing::NotAsked { key: format!("{} of {id}", key::UNDERLYING) },
        }),
    };
    let decimals = decimals.map_err(|why| missing.push(why)).ok();
    let limit = answers.value::<IPool::totalDebtLimitCall>(key::DEBT_LIMIT, &id).ok();
    let fraction = |rate: Option<U256>| rate.and_then(|rate| ratio(rate, RAY));
    ReserveFigures {
        supplied,
        borrowed,
        available,
        identity_gap: if is_v3(answers, &id) == Ok(true) {
            gap(answers, principal, &pool.managers)
        } else {
            None
        },
        supply_apr: fraction(supply_rate),
        borrow_apr: fraction(borrow_rate),
        // The largest number stands for no limit (core-v3 PoolV3.sol, `totalDebtLimit`).
        borrow_cap: limit
            .filter(|limit| *limit != U256::MAX)
            .zip(decimals)
            .map(|(limit, decimals)| whole_tokens(limit, decimals)),
        is_active: Some(pool.shut_down_by.is_none()),
        is_paused: answers.value::<IPool::pausedCall>(key::PAUSED, &id).ok(),
        flags,
        missing,
        ..ReserveFigures::new(id, pool.underlying.unwrap_or(Address::ZERO), Role::Base)
    }
}

/// Whether the pool keeps figures of version 3. One that does not tell its version is known by which rate it has.
fn is_v3(answers: &Answers<'_>, id: &str) -> Result<bool, Missing> {
    match answers.value::<IPool::versionCall>(key::VERSION, id) {
        Ok(version) => Ok(version >= U256::from(VERSION_3)),
        Err(why) => {
            let has = |rate: Result<U256, Missing>| rate.is_ok();
            match (
                has(answers.value::<IPool::baseInterestRateCall>(key::RATE, id)),
                has(answers.value::<IPool::borrowAPY_RAYCall>(key::RATE_V1, id)),
            ) {
                (true, false) => Ok(true),
                (false, true) => Ok(false),
                _ => Err(why),
            }
        }
    }
}

/// A rate on what is lent, as a rate on all that is supplied.
fn on_all(rate: U256, lent: U256, supplied: U256) -> Option<U256> {
    if supplied.is_zero() {
        return Some(U256::ZERO);
    }
    Some(rate.checked_mul(lent)? / supplied)
}

/// Principal that was lent to no manager that is known.
fn gap(answers: &Answers<'_>, principal: Option<U256>, managers: &[Manager]) -> Option<I256> {
    managers.iter().try_fold(I256::try_from(principal?).ok()?, |rest, manager| {
        let name = item(manager.address);
        let lent = answers.value::<IPool::creditManagerBorrowedCall>(key::MANAGER_PRINCIPAL, &name).ok()?;
        rest.checked_sub(I256::try_from(lent).ok()?)
    })
}

/// Every answer of an oracle.
pub(super) fn prices(answers: &Answers<'_>, reads: &ReadsAtBlock) -> Vec<PriceAnswer> {
    let asked = reads.calls.iter().filter(|call| call.key == key::PRICE);
    asked
        .filter_map(|call| {
            // The token stands in the question.
            let token = IPriceOracle::getPriceCall::abi_decode_validate(&call.input).ok()?.token;
            Some(PriceAnswer {
                token,
                source: PriceSource::ProtocolOracle,
                feed: call.to,
                raw: answers.value::<IPriceOracle::getPriceCall>(key::PRICE, &call.item),
                unit: Ok(U256::from(PRICE_UNIT)),
                quote: Quote::Usd,
                updated_at: None,
            })
        })
        .collect()
}
