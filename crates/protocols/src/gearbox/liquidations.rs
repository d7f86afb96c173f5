//! What the logs of a day say.
//!
//! A full liquidation's event names neither debt nor collateral. The debt is in the `Repay` that the manager's pool emits
//! before it in the same transaction: the facade calls the manager, which pays the pool and has it book the repayment, and
//! emits its own event when the manager returns (core-v2 CreditFacade.sol `liquidateCreditAccount` and CreditManager.sol
//! `closeCreditAccount`; core-v3 CreditFacadeV3.sol and CreditManagerV3.sol `liquidateCreditAccount`; gearbox-contracts
//! CreditManager.sol `_closeCreditAccountImpl`). So it is the manager's last `Repay` before the event, and each `Repay` belongs
//! to one. What is left of principal when the loss is taken off was repaid; the interest that was paid with it is in no event.
//!
//! A loss that the treasury's shares do not cover is a log of its own, right before its `Repay` (PoolService.sol, PoolV3.sol
//! `repayCreditAccount`).

use super::contracts::Contracts;
use super::{IFacadeV2, IFacadeV3, IManagerV1, IPool, key, price_call};
use crate::answers::{Answers, Call};
use crate::family::{Leg, LogReading};
use crate::token::{self, item};
use alloy_sol_types::SolEvent;
use lake::bronze::{RawLog, ReadsAtBlock};
use lake::{Address, U256};
use std::collections::{BTreeMap, BTreeSet};

/// What one log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// All of an account's debt was repaid or written off.
    Full(Full),
    /// Some of an account's debt was repaid for one of its tokens.
    Partial(Partial),
    /// A pool booked a repayment.
    Repay { manager: Address, principal: U256, loss: U256 },
    /// A pool has a loss that its treasury does not cover.
    Loss { name: &'static str, manager: Address, amount: U256 },
}

/// A full liquidation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Full {
    name: &'static str,
    /// Version 1: the manager itself emits the event.
    is_by_manager: bool,
    /// The owner of the account, from version 3 the account.
    borrower: Address,
    liquidator: Address,
    remaining: U256,
}

/// A partial liquidation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partial {
    account: Address,
    liquidator: Address,
    token: Address,
    repaid: U256,
    seized: U256,
}

/// Versions 2 and 3 have events of one signature: they are told apart by the number of topics.
pub(super) fn read_event(log: &RawLog) -> Result<Event, String> {
    let topic0 = *log.topics.first().ok_or("the log has no topic")?;
    let is = |hash| topic0 == hash;
    let full = |name, is_by_manager, borrower, liquidator, remaining| {
        Ok(Event::Full(Full { name, is_by_manager, borrower, liquidator, remaining }))
    };
    const LIQUIDATED: &str = "LiquidateCreditAccount";
    const EXPIRED: &str = "LiquidateExpiredCreditAccount";
    if is(IFacadeV3::LiquidateCreditAccount::SIGNATURE_HASH) && log.topics.len() == 3 {
        let event = decode::<IFacadeV3::LiquidateCreditAccount>(log, 64)?;
        return full(LIQUIDATED, false, event.creditAccount, event.liquidator, event.remainingFunds);
    }
    if is(IFacadeV2::LiquidateCreditAccount::SIGNATURE_HASH) {
        let event = decode::<IFacadeV2::LiquidateCreditAccount>(log, 32)?;
        return full(LIQUIDATED, false, event.borrower, event.liquidator, event.remainingFunds);
    }
    if is(IFacadeV2::LiquidateExpiredCreditAccount::SIGNATURE_HASH) {
        let event = decode::<IFacadeV2::LiquidateExpiredCreditAccount>(log, 32)?;
        return full(EXPIRED, false, event.borrower, event.liquidator, event.remainingFunds);
    }
    if is(IManagerV1::LiquidateCreditAccount::SIGNATURE_HASH) {
        let event = decode::<IManagerV1::LiquidateCreditAccount>(log, 32)?;
        return full(LIQUIDATED, true, event.owner, event.liquidator, event.remainingFunds);
    }
    if is(IFacadeV3::PartiallyLiquidateCreditAccount::SIGNATURE_HASH) {
        let event = decode::<IFacadeV3::PartiallyLiquidateCreditAccount>(log, 96)?;
        return Ok(Event::Partial(Partial {
            account: event.creditAccount,
            liquidator: event.liquidator,
            token: event.token,
            repaid: event.repaidDebt,
            seized: event.seizedCollateral,
        }));
    }
    if is(IPool::Repay::SIGNATURE_HASH) {
        let event = decode::<IPool::Repay>(log, 96)?;
        let (manager, principal, loss) = (event.creditManager, event.borrowedAmount, event.loss);
        return Ok(Event::Repay { manager, principal, loss });
    }
    if is(IPool::IncurUncoveredLoss::SIGNATURE_HASH) {
        let event = decode::<IPool::IncurUncoveredLoss>(log, 32)?;
        return Ok(Event::Loss {
            name: "IncurUncoveredLoss",
            manager: event.creditManager,
            amount: event.loss,
        });
    }
    if is(IPool::UncoveredLoss::SIGNATURE_HASH) {
        let event = decode::<IPool::UncoveredLoss>(log, 32)?;
        return Ok(Event::Loss { name: "UncoveredLoss", manager: event.creditManager, amount: event.loss });
    }
    Err(format!("unknown first topic {topic0}"))
}

/// Topic count and data length are checked: other contracts' events may share a first topic.
fn decode<E: SolEvent>(log: &RawLog, length: usize) -> Result<E, String> {
    if log.data.len() != length {
        return Err(format!("{} bytes of data, not {length}", log.data.len()));
    }
    E::decode_raw_log_validate(log.topics.iter().copied(), &log.data)
        .map_err(|error| format!("not the event that its first topic names: {error}"))
}

/// The calls at a block with these logs: whose facade it is, of which token a pool is, and prices.
pub(super) fn calls(contracts: &Contracts, logs: &[&RawLog]) -> Vec<Call> {
    let events: Vec<(&RawLog, Event)> =
        logs.iter().filter_map(|log| Some((*log, read_event(log).ok()?))).collect();
    if events.iter().all(|(_, event)| matches!(event, Event::Repay { .. })) {
        return Vec::new();
    }
    let mut calls = Vec::new();
    let at_address = |address: Address| contracts.pools.iter().find(|pool| pool.address == address);
    for (log, event) in &events {
        let emitter = log.address;
        // A facade that was replaced later in the day is not the layout's: the pool that booked the repayment is.
        let in_transaction = || {
            events
                .iter()
                .filter(|(other, event)| {
                    matches!(event, Event::Repay { .. }) && other.transaction_hash == log.transaction_hash
                })
                .find_map(|(other, _)| at_address(other.address))
        };
        let pool = at_address(emitter).or_else(|| contracts.pool_of_emitter(emitter)).or_else(in_transaction);
        match event {
            Event::Repay { .. } | Event::Loss { .. } => {
                let underlying = super::IPool::underlyingTokenCall {};
                calls.push(Call::new(key::UNDERLYING, item(emitter), emitter, &underlying));
            }
            Event::Full(full) if full.is_by_manager => {}
            Event::Full(_) | Event::Partial(_) => {
                let manager = IFacadeV2::creditManagerCall {};
                calls.push(Call::new(key::FACADE_MANAGER, item(emitter), emitter, &manager));
            }
        }
        let seized = match event {
            Event::Partial(partial) => Some(partial.token),
            _ => None,
        };
        for token in pool.and_then(|pool| pool.underlying).into_iter().chain(seized) {
            calls.extend(token::calls(token));
            calls.extend(pool.and_then(|pool| pool.oracle).map(|oracle| price_call(oracle, token)));
        }
        calls.extend(pool.into_iter().flat_map(|pool| pool.oracle_calls()));
    }
    calls
}

/// What the reads at the blocks say of the emitters.
struct Emitters {
    manager_of_facade: BTreeMap<(u64, Address), Address>,
    token_of_pool: BTreeMap<(u64, Address), Address>,
}

impl Emitters {
    fn of(reads: &[ReadsAtBlock]) -> Self {
        let (mut manager_of_facade, mut token_of_pool) = (BTreeMap::new(), BTreeMap::new());
        for reads in reads {
            let answers = Answers::new(&reads.calls);
            for call in &reads.calls {
                let at = (reads.block.number, call.to);
                if call.key == key::FACADE_MANAGER {
                    let manager = answers.value::<IFacadeV2::creditManagerCall>(&call.key, &call.item);
                    manager_of_facade.extend(manager.ok().map(|manager| (at, manager)));
                } else if call.key == key::UNDERLYING {
                    let token = answers.value::<IPool::underlyingTokenCall>(&call.key, &call.item);
                    token_of_pool.extend(token.ok().map(|token| (at, token)));
                }
            }
        }
        Self { manager_of_facade, token_of_pool }
    }

    fn manager(&self, log: &RawLog, event: &Event) -> Result<Address, String> {
        match event {
            Event::Full(full) if full.is_by_manager => Ok(log.address),
            Event::Full(_) | Event::Partial(_) => self
                .manager_of_facade
                .get(&(log.block_number, log.address))
                .copied()
                .ok_or_else(|| format!("the credit manager of facade {} was not read", item(log.address))),
            Event::Repay { manager, .. } | Event::Loss { manager, .. } => Ok(*manager),
        }
    }

    fn token(&self, log: &RawLog) -> Result<Address, String> {
        let token = self.token_of_pool.get(&(log.block_number, log.address)).copied();
        token.ok_or_else(|| format!("the token of pool {} was not read", item(log.address)))
    }
}

/// Readings of all logs of a day, in their order.
pub(super) fn readings(
    logs: &[RawLog],
    events: &[Result<Event, String>],
    reads: &[ReadsAtBlock],
) -> Vec<LogReading> {
    let emitters = Emitters::of(reads);
    let repay_of = repayments(logs, events, &emitters);
    let liquidation_of: BTreeMap<usize, usize> = repay_of
        .iter()
        .filter_map(|(liquidation, repay)| Some((*repay.as_ref().ok()?, *liquidation)))
        .collect();

    let reading = |index: usize, log: &RawLog| -> Result<LogReading, String> {
        let leg = |leg: Leg| LogReading::Leg(Box::new(leg));
        match events.get(index).ok_or("the log was not read")?.as_ref()? {
            Event::Repay { .. } => Ok(LogReading::context(log)),
            event @ (Event::Full(_) | Event::Partial(_)) => {
                let repay = *repay_of.get(&index).ok_or("the log was not paired")?.as_ref()?;
                let (pool, repay) = logs.get(repay).zip(events.get(repay)).ok_or("the log was not paired")?;
                let token = emitters.token(pool)?;
                let manager = emitters.manager(log, event)?;
                let parts = (pool.address, token, manager);
                liquidation(log, event, parts, repay)
                    .map(leg)
                    .ok_or_else(|| "it was not paired with a repayment".into())
            }
            Event::Loss { name, manager, amount } => {
                let token = emitters.token(log)?;
                let repay = repay_after(logs, events, index, *manager);
                let liquidated = repay.and_then(|repay| liquidation_of.get(&repay)).and_then(|liquidation| {
                    let event = events.get(*liquidation)?.as_ref().ok()?;
                    Some((name_of(event, *manager), borrower_of(event)))
                });
                let flags = if liquidated.is_some() { Vec::new() } else { vec!["loss_without_liquidation"] };
                let (liquidation, borrower) = match liquidated {
                    Some((liquidation, borrower)) => (liquidation, borrower),
                    None => (format!("loss of manager {}", item(*manager)), None),
                };
                Ok(leg(Leg {
                    borrower,
                    bad_debt: Some((token, *amount)),
                    flags,
                    ..Leg::new(log, name, item(log.address), liquidation)
                }))
            }
        }
    };
    let all = logs.iter().enumerate();
    all.map(|(index, log)| reading(index, log).unwrap_or_else(|why| LogReading::reject(log, why))).collect()
}

/// The leg of a liquidation, in the words of its pool, the pool's token and its manager.
fn liquidation(
    log: &RawLog,
    event: &Event,
    (pool, token, manager): (Address, Address, Address),
    repay: &Result<Event, String>,
) -> Option<Leg> {
    let leg = |name| Leg::new(log, name, item(pool), name_of(event, manager));
    match (event, repay) {
        (Event::Full(full), Ok(Event::Repay { principal, loss, .. })) => {
            let mut flags = vec!["debt_is_principal"];
            if !full.remaining.is_zero() {
                flags.push("funds_remain");
            }
            Some(Leg {
                liquidator: Some(full.liquidator),
                borrower: Some(full.borrower),
                debt: Some((token, principal.saturating_sub(*loss))),
                flags,
                ..leg(full.name)
            })
        }
        (Event::Partial(partial), Ok(Event::Repay { .. })) => Some(Leg {
            liquidator: Some(partial.liquidator),
            borrower: Some(partial.account),
            debt: Some((token, partial.repaid)),
            collateral: Some((partial.token, partial.seized)),
            flags: vec!["partial_liquidation"],
            ..leg("PartiallyLiquidateCreditAccount")
        }),
        _ => None,
    }
}

/// One position of one manager.
fn name_of(event: &Event, manager: Address) -> String {
    let borrower = borrower_of(event).map(item).unwrap_or_default();
    format!("borrower {borrower} manager {}", item(manager))
}

fn borrower_of(event: &Event) -> Option<Address> {
    match event {
        Event::Full(full) => Some(full.borrower),
        Event::Partial(partial) => Some(partial.account),
        Event::Repay { .. } | Event::Loss { .. } => None,
    }
}

/// Each liquidation's repayment: the last one of its manager before it in its transaction that no earlier liquidation has.
fn repayments(
    logs: &[RawLog],
    events: &[Result<Event, String>],
    emitters: &Emitters,
) -> BTreeMap<usize, Result<usize, String>> {
    let mut taken = BTreeSet::new();
    let mut pairs = BTreeMap::new();
    for (index, (log, event)) in logs.iter().zip(events).enumerate() {
        let Ok(event @ (Event::Full(_) | Event::Partial(_))) = event else { continue };
        let pair = emitters.manager(log, event).and_then(|manager| {
            let earlier = logs.iter().zip(events).enumerate().take(index).rev();
            let mut same_transaction =
                earlier.take_while(|(_, (earlier, _))| earlier.transaction_hash == log.transaction_hash);
            let repay = same_transaction.find(|(repay, (_, event))| {
                let is_of_manager = matches!(event, Ok(Event::Repay { manager: of, .. }) if *of == manager);
                is_of_manager && !taken.contains(repay)
            });
            repay.map(|(repay, _)| repay).ok_or_else(|| {
                format!("no repayment by credit manager {} comes before it in its transaction", item(manager))
            })
        });
        if let Ok(repay) = &pair {
            taken.insert(*repay);
        }
        pairs.insert(index, pair);
    }
    pairs
}

/// The repayment that a loss belongs to: the pool's next one of the same manager in the same transaction.
fn repay_after(
    logs: &[RawLog],
    events: &[Result<Event, String>],
    index: usize,
    manager: Address,
) -> Option<usize> {
    let loss = logs.get(index)?;
    let later = logs.iter().zip(events).enumerate().skip(index);
    let mut same_transaction =
        later.take_while(|(_, (later, _))| later.transaction_hash == loss.transaction_hash);
    let repay = same_transaction.find(|(_, (log, event))| {
        log.address == loss.address && matches!(event, Ok(Event::Repay { manager: of, .. }) if *of == manager)
    });
    repay.map(|(index, _)| index)
}
