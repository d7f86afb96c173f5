//! Totals with interest up to the block.
//!
//! `market(id)` holds the totals of the moment at which the market was last touched. Whoever wants them as of the block must
//! call `accrueInterest` first, and a second call of a batch sees what the first has written only while both are carried out
//! in one `eth_call`. Batches are split where an endpoint wants it, so two calls of a plan may be parted. Therefore both are in
//! **one** call here: one to Multicall3 with both inside. It means the same whether it is asked alone, in a batch or in a
//! batch that was cut, and its answer shows by `lastUpdate` that it is of the block's time.
//!
//! docs/decisions/morpho-accrual.md has the alternatives.

use super::{IMorpho, MarketParams, State};
use crate::answers::{Answers, Call, Missing};
use crate::multicall::{self, IMulticall3};
use alloy_sol_types::SolCall;
use lake::bronze::CallRecord;
use lake::{Address, B256};

/// Name of the call.
pub(super) const ACCRUED: &str = "multicall3.aggregate3(accrueInterest, market)";

/// The call that accrues a market's interest and reads the market.
pub(super) fn call(morpho: Address, id: B256, params: &MarketParams) -> Call {
    // Not allowed to fail: a market read after an accrual that failed would be taken for accrued.
    let inner =
        |input: Vec<u8>| IMulticall3::Call3 { target: morpho, allowFailure: false, callData: input.into() };
    let accrue = IMorpho::accrueInterestCall { marketParams: params.clone() }.abi_encode();
    let read = IMorpho::marketCall { id }.abi_encode();
    let calls = vec![inner(accrue), inner(read)];
    Call::new(ACCRUED, format!("{id:#x}"), multicall::ADDRESS, &IMulticall3::aggregate3Call { calls })
}

/// The parameters that the call was made with.
///
/// # Errors
/// [`Missing::Unusable`] when the input is not that of [`call`], or the parameters are not those of the market's id.
pub(super) fn params_of(record: &CallRecord) -> Result<MarketParams, Missing> {
    let decoded = IMulticall3::aggregate3Call::abi_decode_validate(&record.input).ok();
    let accrue = decoded.and_then(|batch| {
        let first = batch.calls.into_iter().next()?;
        IMorpho::accrueInterestCall::abi_decode_validate(&first.callData).ok()
    });
    match accrue.map(|call| call.marketParams) {
        Some(params) if format!("{:#x}", params.id()) == record.item => Ok(params),
        _ => Err(Missing::unusable(
            format!("{ACCRUED} of {}", record.item),
            "its input is not that of a market with this id",
        )),
    }
}

/// The market's totals with interest up to `now`, the block's time.
///
/// Where there is nothing to accrue (no rate model, no debt, or the market was touched in this very block) the stored totals
/// are these totals.
///
/// # Errors
/// [`Missing`]: stale totals are never given for accrued ones.
pub(super) fn totals(
    answers: &Answers<'_>,
    id: &str,
    params: &MarketParams,
    stored: &Result<State, Missing>,
    now: u64,
) -> Result<State, Missing> {
    let stored = stored.clone()?;
    if stored.lastUpdate == 0 {
        return Err(Missing::unusable(
            format!("morpho.market of {id}"),
            "there is no such market at this block",
        ));
    }
    if params.irm.is_zero() || stored.totalBorrowAssets == 0 || stored.lastUpdate == u128::from(now) {
        return Ok(stored);
    }
    let unusable = |why: String| Missing::unusable(format!("{ACCRUED} of {id}"), why);
    let accrued = answer(answers, id)?;
    if accrued.lastUpdate != u128::from(now) {
        return Err(unusable(format!(
            "the market it shows was last accrued at {}, not at the block's time {now}",
            accrued.lastUpdate
        )));
    }
    // Interest is added to both totals, so what can be withdrawn stays as it is.
    let cash = |state: &State| state.totalSupplyAssets.checked_sub(state.totalBorrowAssets);
    if cash(&accrued) != cash(&stored) || accrued.totalBorrowAssets < stored.totalBorrowAssets {
        return Err(unusable("supply and debt did not grow by the same interest".into()));
    }
    Ok(accrued)
}

/// The second of the two answers inside.
fn answer(answers: &Answers<'_>, id: &str) -> Result<State, Missing> {
    let results = answers.value::<IMulticall3::aggregate3Call>(ACCRUED, id)?;
    let read = match results.as_slice() {
        [accrued, read] if accrued.success && read.success => &read.returnData,
        _ => {
            return Err(Missing::unusable(
                format!("{ACCRUED} of {id}"),
                format!("{} answers inside, not two that succeeded", results.len()),
            ));
        }
    };
    IMorpho::marketCall::abi_decode_returns_validate(read)
        .map_err(|_| Missing::Undecodable { key: format!("{ACCRUED} of {id}"), length: read.len() })
}
