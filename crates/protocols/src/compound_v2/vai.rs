//! VAI: the dollar that Venus's core pool mints against its cTokens, and that no cToken knows of.
//!
//! venus-protocol contracts/Tokens/VAI/VAIController.sol keeps what each account minted (`mintedVAIs` of the comptroller)
//! and an interest index, but no total. Repaying burns the principal and hands the interest on (`repayVAIFresh`), so the
//! token's supply is the principal of all accounts, together with what the peg stability module minted against stablecoins
//! (PegStability.sol `vaiMinted`). The interest still owed is in none of these: the debt here is principal only, and says
//! so.

use super::figures::OfBlock;
use super::{IComptroller, IPegStability, IVaiController, Line, key, part, prices, token_or_market};
use crate::answers::{self, Answers, Call, Missing};
use crate::family::{Layout, ReserveFigures};
use crate::token::{self, IErc20, item};
use lake::amount::ratio;
use lake::registry::Csu;
use lake::status::Role;
use lake::{Address, U256};
use std::collections::BTreeMap;

pub(super) fn address_call(controller: Address) -> Call {
    Call::new(key::VAI, item(controller), controller, &IVaiController::getVAIAddressCall {})
}

/// The token, as the controller among these roots says.
pub(super) fn token(answers: &Answers<'_>, roots: &BTreeMap<String, Address>) -> Option<Address> {
    let controller = roots.get(part::VAI_CONTROLLER)?;
    answers.value::<IVaiController::getVAIAddressCall>(key::VAI, &item(*controller)).ok()
}

pub(super) fn snapshot_calls(csu: &Csu, layout: &Layout) -> Vec<Call> {
    let Some(&controller) = layout.roots.get(part::VAI_CONTROLLER) else { return Vec::new() };
    let id = item(controller);
    let mut calls = vec![
        address_call(controller),
        Call::new(key::VAI_RATE, &id, controller, &IVaiController::getVAIRepayRateCall {}),
    ];
    if let Some(&vai) = layout.roots.get(part::VAI) {
        calls.push(Call::new(key::VAI_SUPPLY, &id, vai, &IErc20::totalSupplyCall {}));
        calls.extend(layout.roots.get(part::ORACLE).map(|oracle| prices::call(*oracle, &id, vai)));
    }
    if let Some(&psm) = csu.contracts.get(part::VAI_PSM) {
        calls.push(Call::new(key::PSM_MINTED, &id, psm, &IPegStability::vaiMintedCall {}));
    }
    calls
}

/// The controller, if there is one, as the market's id.
pub(super) fn controller(csu: &Csu, answers: &Answers<'_>) -> Option<String> {
    let address = answers.value::<IComptroller::vaiControllerCall>(key::VAI_CONTROLLER, "").ok()?;
    (Line::of(csu) == Line::VenusCore && !address.is_zero()).then(|| item(address))
}

/// The debt in VAI.
pub(super) fn figures(of: &OfBlock<'_>, controller: &str) -> ReserveFigures {
    let answers = of.answers;
    let (vai, unknown) = token_or_market(of.csu, answers, controller);
    let mut missing: Vec<Missing> = unknown.into_iter().collect();
    let mut flags = vec!["principal_only"];
    if !of.csu.contracts.contains_key(part::VAI_PSM) {
        flags.push("vai_psm_unknown");
    }
    let mut keep = |answer| answers::keep(answer, &mut missing);
    let supply = keep(answers.value::<IErc20::totalSupplyCall>(key::VAI_SUPPLY, controller));
    let by_psm = keep(minted_by_psm(answers, controller));
    let borrowed = supply.zip(by_psm).and_then(|(supply, by_psm)| {
        keep(supply.checked_sub(by_psm).ok_or_else(|| Missing::Unusable {
            key: format!("debt of {controller}"),
            why: format!("the peg stability module minted {by_psm} of a supply of {supply}"),
        }))
    });
    let rate = keep(answers.value::<IVaiController::getVAIRepayRateCall>(key::VAI_RATE, controller));
    missing.extend(token::decimals(answers, &item(vai)).err());
    ReserveFigures {
        borrowed,
        borrow_apr: rate.and_then(|rate| ratio(rate, super::accrual::WAD)),
        flags,
        missing,
        ..ReserveFigures::new(controller.to_owned(), vai, Role::Minted)
    }
}

/// A module that is not there yet has minted nothing, and so has one that the registry does not name, which a flag tells.
fn minted_by_psm(answers: &Answers<'_>, controller: &str) -> Result<U256, Missing> {
    match answers.value::<IPegStability::vaiMintedCall>(key::PSM_MINTED, controller) {
        Err(Missing::NoCode { .. } | Missing::NotAsked { .. }) => Ok(U256::ZERO),
        answer => answer,
    }
}
