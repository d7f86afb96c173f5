//! What the answers of a Cap deployment amount to: figures of the vault's assets and of the agents, prices.

use super::*;
use crate::answers::keep;
use crate::family::{Quote, ReserveFigures};
use lake::I256;
use lake::amount::ratio;
use lake::status::{PriceSource, Role};

/// The debt token of an asset; none where the Lender does not lend it from this vault.
pub(super) fn debt_token(
    answers: &Answers<'_>,
    contracts: Contracts,
    id: &str,
) -> Result<Option<Address>, Missing> {
    let reserve = answers.value::<ICapLender::reservesDataCall>(key::RESERVE, id)?;
    Ok((reserve.vault == contracts.vault && !reserve.debtToken.is_zero()).then_some(reserve.debtToken))
}

/// What an agent of the vault owes in an asset, summed: principal and interest of the debt token, and what has accrued for
/// the restakers since each agent's was last added to it (ViewLogic.sol `debt`).
fn debt(
    answers: &Answers<'_>,
    contracts: Contracts,
    asset: Address,
    agents: &[Address],
    missing: &mut Vec<Missing>,
) -> Option<U256> {
    let id = &item(asset);
    if keep(debt_token(answers, contracts, id), missing)?.is_none() {
        return keep(answers.value::<ICapVault::totalBorrowsCall>(key::BORROWS, id), missing);
    }
    let known = missing.len();
    let owed = keep(answers.value::<IErc20::totalSupplyCall>(key::DEBT, id), missing);
    let to_restakers: Vec<U256> = agents
        .iter()
        .filter_map(|agent| {
            let accrued = answers
                .value::<ICapLender::accruedRestakerInterestCall>(key::RESTAKERS, &pair(*agent, asset));
            keep(accrued, missing)
        })
        .collect();
    // A sum without one of its parts is none.
    if missing.len() > known {
        return None;
    }
    to_restakers.into_iter().try_fold(owed?, U256::checked_add)
}

/// An asset of the vault.
pub(super) fn asset_figures(
    answers: &Answers<'_>,
    contracts: Contracts,
    asset: Address,
    agents: &[Address],
) -> ReserveFigures {
    let id = &item(asset);
    let mut missing = Vec::new();
    let mut flags = Vec::new();
    let supplied = keep(answers.value::<ICapVault::totalSuppliesCall>(key::SUPPLIES, id), &mut missing);
    let principal = keep(answers.value::<ICapVault::totalBorrowsCall>(key::BORROWS, id), &mut missing);
    let available = keep(answers.value::<ICapVault::availableBalanceCall>(key::AVAILABLE, id), &mut missing);
    let loaned = keep(answers.value::<ICapVault::loanedCall>(key::LOANED, id), &mut missing);
    let cash = keep(answers.value::<IErc20::balanceOfCall>(key::CASH, id), &mut missing);
    let borrowed = debt(answers, contracts, asset, agents, &mut missing);
    let asset_paused = keep(answers.value::<ICapVault::pausedCall>(key::ASSET_PAUSED, id), &mut missing);
    let paused = keep(answers.value::<IPausable::pausedCall>(key::PAUSED, ""), &mut missing);
    let decimals = keep(token::decimals(answers, id), &mut missing);
    if let Ok(reserve) = answers.value::<ICapLender::reservesDataCall>(key::RESERVE, id) {
        if reserve.paused {
            flags.push("borrow_paused");
        }
        let is_listed = reserve.vault == contracts.vault;
        if is_listed && decimals.is_some_and(|decimals| decimals != reserve.decimals) {
            flags.push("decimals_disagree");
        }
    }
    let cap = match answers.value::<ICapVault::depositCapCall>(key::CAP, id) {
        // Before November 2025 the vault has no such function.
        Err(why) if why.is_revert() => None,
        answer => keep(answer, &mut missing),
    };
    ReserveFigures {
        supplied,
        borrowed,
        available,
        identity_gap: identity_gap(supplied, [cash, loaned, principal]),
        // Here a cap of zero is one: nothing more can be minted with the token.
        supply_cap: cap.zip(decimals).and_then(|(cap, decimals)| ratio(cap, power_of_ten(decimals))),
        is_frozen: asset_paused,
        is_paused: paused,
        flags,
        missing,
        ..ReserveFigures::new(item(contracts.vault), asset, Role::Reserve)
    }
}

/// `supplied - balance of the vault - loaned - totalBorrows`.
fn identity_gap(supplied: Option<U256>, parts: [Option<U256>; 3]) -> Option<I256> {
    let signed = |amount: U256| I256::try_from(amount).ok();
    parts.into_iter().try_fold(signed(supplied?)?, |gap, part| gap.checked_sub(signed(part?)?))
}

/// What covers an agent; `None` when nothing is registered for it.
pub(super) fn agent_figures(
    answers: &Answers<'_>,
    contracts: Contracts,
    agent: Address,
) -> Option<ReserveFigures> {
    let id = item(agent);
    let mut missing = Vec::new();
    let ray = |ratio_in_ray: U256| ratio(ratio_in_ray, RAY);
    let token = match backing(answers, contracts, agent) {
        Ok(Backing::Token(token)) => token,
        Ok(Backing::Nothing) => return None,
        Ok(Backing::Ask(_)) => {
            return Some(unknown(
                id,
                Missing::NotAsked { key: format!("{} of {}", key::VAULT, item(agent)) },
            ));
        }
        Err(why) => return Some(unknown(id, why)),
    };
    let ltv = keep(answers.value::<ICapDelegation::ltvCall>(key::LTV, &id), &mut missing);
    let threshold = answers.value::<ICapDelegation::liquidationThresholdCall>(key::THRESHOLD, &id);
    let threshold = keep(threshold, &mut missing);
    let bonus = keep(answers.value::<ICapLender::bonusCapCall>(key::BONUS, ""), &mut missing);
    Some(ReserveFigures {
        supplied: keep(covering_tokens(answers, &id, token), &mut missing),
        ltv: ltv.and_then(ray),
        liq_threshold: threshold.and_then(ray),
        liq_bonus: bonus.and_then(ray),
        missing,
        ..ReserveFigures::new(id, token, Role::Collateral)
    })
}

/// An agent whose collateral token cannot be found: what it is covered by has no name, and no value.
fn unknown(id: String, why: Missing) -> ReserveFigures {
    ReserveFigures {
        flags: vec!["collateral_unknown"],
        missing: vec![why],
        ..ReserveFigures::new(id, Address::ZERO, Role::Collateral)
    }
}

/// An agent's coverage in base units of its collateral token, rounded down.
///
/// The networks compute it as `amount x price / 10^decimals` with the same oracle's price (SymbioticNetworkMiddleware.sol
/// `coverageByVault`, EigenServiceManager.sol `_coverageByStrategy`); this is the way back. At the oracle's price it is worth
/// the coverage again, to less than 0.00000001 dollars and a base unit.
fn covering_tokens(answers: &Answers<'_>, id: &str, token: Address) -> Result<U256, Missing> {
    let coverage = answers.value::<ICapDelegation::coverageCall>(key::COVERAGE, id)?;
    let token = &item(token);
    let price = answers.value::<ICapOracle::getPriceCall>(key::PRICE, token)?.price;
    let scale = power_of_ten(token::decimals(answers, token)?);
    let scaled = coverage.checked_mul(scale).and_then(|scaled| scaled.checked_div(price));
    scaled.ok_or_else(|| Missing::Unusable {
        key: format!("{} of {id}", key::COVERAGE),
        why: format!("answered {coverage}, which at a price of {price} is no amount of {token}"),
    })
}

/// What a token is worth.
pub(super) fn price(answers: &Answers<'_>, contracts: Contracts, token: Address) -> PriceAnswer {
    let (raw, updated_at) = match answers.value::<ICapOracle::getPriceCall>(key::PRICE, &item(token)) {
        Ok(answer) => (Ok(answer.price), u64::try_from(answer.lastUpdated).ok().filter(|time| *time > 0)),
        Err(why) => (Err(why), None),
    };
    PriceAnswer {
        token,
        source: PriceSource::ProtocolOracle,
        feed: contracts.oracle,
        raw,
        unit: Ok(USD),
        quote: Quote::Usd,
        updated_at,
    }
}

/// `decimals` is at most [`lake::amount::MAX_DECIMALS`], so it fits.
fn power_of_ten(decimals: u8) -> U256 {
    U256::from(10).pow(U256::from(decimals))
}
