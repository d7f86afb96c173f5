//! Liquidations: which logs they are, what must be read beside them, and what they say.

use super::accrual::WAD;
use super::{
    ICToken, IComptroller, IIsolatedVToken, IVaiController, IVenusLiquidator, Line, ask, getter, key, part,
    prices, token_of_layout, token_or_market, vai,
};
use crate::answers::{Answers, Call, Missing};
use crate::family::{Layout, Leg, LogReading};
use crate::token::{self, item};
use alloy_sol_types::SolEvent;
use lake::bronze::{RawLog, ReadsAtBlock};
use lake::registry::Csu;
use lake::{Address, B256, U256};
use std::collections::{BTreeMap, BTreeSet};

/// First topics of the logs that are asked for. Sumer's `RedeemFaceValue` (suErc20.sol) takes collateral too, at face value
/// and of sound accounts: it is a redemption.
pub(super) const TOPICS: [B256; 5] = [
    ICToken::LiquidateBorrow::SIGNATURE_HASH,
    IIsolatedVToken::HealBorrow::SIGNATURE_HASH,
    IIsolatedVToken::BadDebtIncreased::SIGNATURE_HASH,
    IVenusLiquidator::LiquidateBorrowedTokens::SIGNATURE_HASH,
    IVaiController::LiquidateVAI::SIGNATURE_HASH,
];

/// A debt repaid and collateral taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seizure {
    kind: SeizureKind,
    liquidator: Address,
    borrower: Address,
    repaid: U256,
    /// Market of the collateral.
    collateral: Address,
    /// cTokens taken from the borrower.
    seized: U256,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SeizureKind {
    /// `LiquidateBorrow` without indexed arguments.
    Pool,
    /// `LiquidateBorrow` of Venus's isolated pools, with three of them.
    IsolatedPool,
    /// `LiquidateVAI`.
    Vai,
}

enum Event {
    Seizure(Seizure),
    /// Venus's Liquidator on what it did with a seizure: the one in whose name it was, and how many cTokens that one got.
    Routed {
        of: Seizure,
        borrowed: Address,
        to_liquidator: U256,
    },
    Heal(IIsolatedVToken::HealBorrow),
    BadDebt(IIsolatedVToken::BadDebtIncreased),
}

/// Topic count and data length are checked before decoding: `LiquidateBorrow` has one first topic and two shapes.
fn read_event(log: &RawLog) -> Result<Event, String> {
    let topic0 = *log.topics.first().ok_or("the log has no topic")?;
    let shape = (log.topics.len(), log.data.len());
    let misshapen = || format!("{} topics and {} bytes of data are not those of its event", shape.0, shape.1);
    let topics = || log.topics.iter().copied();
    let explain =
        |error: alloy_sol_types::Error| format!("not the event that its first topic names: {error}");
    if topic0 == ICToken::LiquidateBorrow::SIGNATURE_HASH {
        match shape {
            (1, 160) => ICToken::LiquidateBorrow::decode_raw_log_validate(topics(), &log.data).map(|it| {
                (
                    SeizureKind::Pool,
                    it.liquidator,
                    it.borrower,
                    it.repayAmount,
                    it.cTokenCollateral,
                    it.seizeTokens,
                )
            }),
            (4, 64) => {
                IIsolatedVToken::LiquidateBorrow::decode_raw_log_validate(topics(), &log.data).map(|it| {
                    (
                        SeizureKind::IsolatedPool,
                        it.liquidator,
                        it.borrower,
                        it.repayAmount,
                        it.vTokenCollateral,
                        it.seizeTokens,
                    )
                })
            }
            _ => return Err(misshapen()),
        }
        .map(|it| Event::Seizure(Seizure::from(it)))
        .map_err(explain)
    } else if topic0 == IVaiController::LiquidateVAI::SIGNATURE_HASH && shape == (1, 160) {
        IVaiController::LiquidateVAI::decode_raw_log_validate(topics(), &log.data)
            .map(|it| {
                (
                    SeizureKind::Vai,
                    it.liquidator,
                    it.borrower,
                    it.repayAmount,
                    it.vTokenCollateral,
                    it.seizeTokens,
                )
            })
            .map(|it| Event::Seizure(Seizure::from(it)))
            .map_err(explain)
    } else if topic0 == IVenusLiquidator::LiquidateBorrowedTokens::SIGNATURE_HASH && shape == (4, 128) {
        let it = IVenusLiquidator::LiquidateBorrowedTokens::decode_raw_log_validate(topics(), &log.data)
            .map_err(explain)?;
        let seized = it
            .seizeTokensForTreasury
            .checked_add(it.seizeTokensForLiquidator)
            .ok_or("more than 256 bits seized")?;
        let parts =
            (SeizureKind::Pool, it.liquidator, it.borrower, it.repayAmount, it.vTokenCollateral, seized);
        Ok(Event::Routed {
            of: parts.into(),
            borrowed: it.vTokenBorrowed,
            to_liquidator: it.seizeTokensForLiquidator,
        })
    } else if topic0 == IIsolatedVToken::HealBorrow::SIGNATURE_HASH && shape == (3, 32) {
        IIsolatedVToken::HealBorrow::decode_raw_log_validate(topics(), &log.data)
            .map(Event::Heal)
            .map_err(explain)
    } else if topic0 == IIsolatedVToken::BadDebtIncreased::SIGNATURE_HASH && shape == (2, 96) {
        IIsolatedVToken::BadDebtIncreased::decode_raw_log_validate(topics(), &log.data)
            .map(Event::BadDebt)
            .map_err(explain)
    } else if TOPICS.contains(&topic0) {
        Err(misshapen())
    } else {
        Err(format!("unknown first topic {topic0}"))
    }
}

impl From<(SeizureKind, Address, Address, U256, Address, U256)> for Seizure {
    fn from(
        (kind, liquidator, borrower, repaid, collateral, seized): (
            SeizureKind,
            Address,
            Address,
            U256,
            Address,
            U256,
        ),
    ) -> Self {
        Self { kind, liquidator, borrower, repaid, collateral, seized }
    }
}

/// What is read at a block with logs: of each market in them its underlying, exchange rate and price, and of markets that
/// are collateral the protocol's share. The exchange rate after the block is that of the liquidation: whoever liquidates
/// brings both markets up to date first, and a block brings one up to date once (CToken.sol `liquidateBorrowInternal`).
pub(super) fn reads(csu: &Csu, layout: &Layout, logs: &[&RawLog]) -> Vec<Call> {
    let controller = layout.roots.get(part::VAI_CONTROLLER).copied();
    let oracle = layout.roots.get(part::ORACLE).copied();
    let (mut calls, mut of_collateral) = (Vec::new(), Vec::new());
    let (mut markets, mut collaterals, mut tokens) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for log in logs {
        match read_event(log) {
            Ok(Event::Seizure(seizure)) => {
                markets.insert((log.address, seizure.kind == SeizureKind::Vai));
                collaterals.insert(seizure.collateral);
                if Line::of(csu) == Line::Sumer {
                    let how = ICToken::liquidateCalculateSeizeTokensCall {
                        cTokenCollateral: seizure.collateral,
                        actualRepayAmount: seizure.repaid,
                    };
                    of_collateral.push(Call::new(key::SEIZE, log.log_index, log.address, &how));
                }
            }
            Ok(Event::Routed { of, borrowed, .. }) => {
                markets.insert((borrowed, Some(borrowed) == controller));
                collaterals.insert(of.collateral);
            }
            Ok(Event::Heal(_) | Event::BadDebt(_)) => drop(markets.insert((log.address, false))),
            Err(_) => {}
        }
    }
    markets.extend(collaterals.iter().map(|market| (*market, false)));
    for (market, is_vai) in markets {
        let id = item(market);
        if is_vai {
            calls.push(vai::address_call(market));
            if let (Some(oracle), Some(&vai)) = (oracle, layout.roots.get(part::VAI)) {
                calls.push(prices::call(oracle, &id, vai));
                tokens.insert(vai);
            }
            continue;
        }
        let known = layout.markets.iter().find(|it| it.id == id);
        if !known.is_some_and(|it| it.contracts.contains_key(part::NATIVE)) {
            of_collateral.push(ask(&getter::<ICToken::underlyingCall>(key::UNDERLYING), market));
        }
        tokens.extend(known.and_then(|market| token_of_layout(csu, market)));
        calls.push(ask(&getter::<ICToken::exchangeRateStoredCall>(key::EXCHANGE_RATE), market));
        calls.extend(oracle.map(|oracle| prices::call(oracle, &id, market)));
    }
    let share = getter::<ICToken::protocolSeizeShareMantissaCall>(key::SEIZE_SHARE);
    of_collateral.extend(collaterals.into_iter().map(|market| ask(&share, market)));
    calls.extend(tokens.into_iter().flat_map(token::calls));
    // Questions that an old market of the chain's coin may take for a deposit of nothing come last (see `probes`).
    calls.extend(of_collateral);
    calls
}

/// What each log says, with the reads of its block.
pub(super) fn readings(csu: &Csu, logs: &[RawLog], reads: &[ReadsAtBlock]) -> Vec<LogReading> {
    let by_block: BTreeMap<u64, Answers<'_>> =
        reads.iter().map(|reads| (reads.block.number, Answers::new(&reads.calls))).collect();
    let nothing = Answers::default();
    let events: Vec<Result<Event, String>> = logs.iter().map(read_event).collect();
    let routes = routes(logs, &events);
    let reading = |(index, log): (usize, &RawLog)| {
        let answers = by_block.get(&log.block_number).unwrap_or(&nothing);
        let at = AtLog { csu, answers, log };
        match events.get(index) {
            Some(Ok(Event::Seizure(seizure))) => {
                match routes.get(&index).and_then(|router| events.get(*router)) {
                    Some(Ok(Event::Routed { of, to_liquidator, .. })) => {
                        at.seizure(seizure, Some((of.liquidator, *to_liquidator)))
                    }
                    _ => at.seizure(seizure, None),
                }
            }
            Some(Ok(Event::Routed { .. })) if routes.values().any(|router| *router == index) => {
                LogReading::context(log)
            }
            Some(Ok(Event::Routed { of, borrowed, to_liquidator })) => {
                at.routed_alone(of, *borrowed, *to_liquidator)
            }
            Some(Ok(Event::Heal(heal))) => at.heal(heal),
            Some(Ok(Event::BadDebt(bad_debt))) => at.bad_debt(bad_debt),
            Some(Err(why)) => LogReading::reject(log, why),
            None => LogReading::reject(log, "it was not read"),
        }
    };
    logs.iter().enumerate().map(reading).collect()
}

/// For each seizure that Venus's Liquidator made, the log in which it names the one behind it. The Liquidator emits its own
/// log after the market's, in the same transaction, with the cTokens that it found it had more (Liquidator.sol
/// `liquidateBorrow`).
fn routes(logs: &[RawLog], events: &[Result<Event, String>]) -> BTreeMap<usize, usize> {
    let mut routes = BTreeMap::new();
    for (index, (log, event)) in logs.iter().zip(events).enumerate() {
        let Ok(Event::Routed { of, borrowed, .. }) = event else { continue };
        let earlier = logs.iter().zip(events).enumerate().take(index).rev();
        let is_its_own = |(seizing, event): (&RawLog, &Result<Event, String>)| match event {
            Ok(Event::Seizure(seizure)) => {
                seizing.transaction_hash == log.transaction_hash
                    && seizing.address == *borrowed
                    && seizure.liquidator == log.address
                    && (seizure.borrower, seizure.collateral) == (of.borrower, of.collateral)
            }
            _ => false,
        };
        let seizure =
            earlier.map(|(at, pair)| (at, is_its_own(pair))).find(|(at, is)| *is && !routes.contains_key(at));
        routes.extend(seizure.map(|(at, _)| (at, index)));
    }
    routes
}

/// A log with the answers at its block.
struct AtLog<'a> {
    csu: &'a Csu,
    answers: &'a Answers<'a>,
    log: &'a RawLog,
}

impl AtLog<'_> {
    /// A leg of one debt: legs of one borrower and market of debt in a transaction are one liquidation.
    fn leg(&self, event: &'static str, market: Address, borrower: Address) -> Leg {
        let liquidation = format!("borrower {} debt {}", item(borrower), item(market));
        Leg { borrower: Some(borrower), ..Leg::new(self.log, event, item(market), liquidation) }
    }

    fn seizure(&self, seizure: &Seizure, route: Option<(Address, U256)>) -> LogReading {
        let event = if seizure.kind == SeizureKind::Vai { "LiquidateVAI" } else { "LiquidateBorrow" };
        let mut leg = self.leg(event, self.log.address, seizure.borrower);
        let tokens = match route {
            Some((_, to_liquidator)) => to_liquidator,
            None => self.without_protocol_share(seizure, &mut leg),
        };
        leg.liquidator = Some(route.map_or(seizure.liquidator, |(liquidator, _)| liquidator));
        leg.debt = Some(self.debt(self.log.address, seizure.repaid, &mut leg));
        leg.collateral = Some(self.collateral(seizure.collateral, tokens, &mut leg));
        LogReading::Leg(Box::new(leg))
    }

    /// What the Liquidator did in a market that was not scanned, or whose log is of another shape.
    fn routed_alone(&self, of: &Seizure, borrowed: Address, to_liquidator: U256) -> LogReading {
        let mut leg = self.leg("LiquidateBorrowedTokens", borrowed, of.borrower);
        leg.flags.push("without_liquidate_borrow");
        leg.liquidator = Some(of.liquidator);
        leg.debt = Some(self.debt(borrowed, of.repaid, &mut leg));
        leg.collateral = Some(self.collateral(of.collateral, to_liquidator, &mut leg));
        LogReading::Leg(Box::new(leg))
    }

    /// An account without enough collateral: all of it is taken, `repayAmount` is repaid and the rest becomes bad debt, in
    /// a log of its own (isolated-pools Comptroller.sol `healAccount`, VToken.sol `healBorrow`).
    fn heal(&self, heal: &IIsolatedVToken::HealBorrow) -> LogReading {
        let mut leg = self.leg("HealBorrow", self.log.address, heal.borrower);
        leg.flags.push("collateral_not_in_log");
        leg.liquidator = Some(heal.payer);
        leg.debt = Some(self.debt(self.log.address, heal.repayAmount, &mut leg));
        LogReading::Leg(Box::new(leg))
    }

    fn bad_debt(&self, bad_debt: &IIsolatedVToken::BadDebtIncreased) -> LogReading {
        let mut leg = self.leg("BadDebtIncreased", self.log.address, bad_debt.borrower);
        leg.bad_debt = Some(self.debt(self.log.address, bad_debt.badDebtDelta, &mut leg));
        LogReading::Leg(Box::new(leg))
    }

    fn debt(&self, market: Address, amount: U256, leg: &mut Leg) -> (Address, U256) {
        let (token, unknown) = token_or_market(self.csu, self.answers, &item(market));
        leg.flags.extend(unknown.map(|_| "underlying_unknown"));
        (token, amount)
    }

    /// cTokens in their underlying; as cTokens, which have no price, where that cannot be told.
    fn collateral(&self, market: Address, tokens: U256, leg: &mut Leg) -> (Address, U256) {
        let id = item(market);
        let (token, unknown) = token_or_market(self.csu, self.answers, &id);
        let rate = self.answers.value::<ICToken::exchangeRateStoredCall>(key::EXCHANGE_RATE, &id);
        match rate.ok().filter(|_| unknown.is_none()).and_then(|rate| tokens.checked_mul(rate)) {
            Some(product) => (token, product / WAD),
            None => {
                leg.flags.push("collateral_in_c_tokens");
                (market, tokens)
            }
        }
    }

    /// The cTokens that the liquidator got of those that were seized.
    ///
    /// | line | protocol's share |
    /// |---|---|
    /// | compound-protocol CToken.sol `seizeInternal`, Benqi, Moonwell, Kinetic, Iron Bank, JoeLend | `seized x protocolSeizeShareMantissa` |
    /// | isolated-pools VToken.sol `_seize` | the same, divided by the liquidation incentive |
    /// | sumer-contracts CToken.sol `seizeInternal` | the share of the profit alone |
    /// | cTokens of before 2021-07, venus-protocol VToken.sol | none; the Liquidator of Venus says what it kept |
    fn without_protocol_share(&self, seizure: &Seizure, leg: &mut Leg) -> U256 {
        if seizure.kind == SeizureKind::Vai || Line::of(self.csu) == Line::VenusCore {
            return seizure.seized;
        }
        let mantissa = self
            .answers
            .value::<ICToken::protocolSeizeShareMantissaCall>(key::SEIZE_SHARE, &item(seizure.collateral));
        let of_share = |amount: U256, share: U256| amount.checked_mul(share).map(|product| product / WAD);
        let kept = match mantissa {
            // An old cToken has no such function; one of the chain's coin takes the question for a deposit of nothing.
            Err(Missing::Reverted { .. } | Missing::NoCode { .. }) if Line::of(self.csu) != Line::Sumer => {
                Some(U256::ZERO)
            }
            Err(_) => None,
            Ok(share) if Line::of(self.csu) == Line::Sumer => {
                self.sumer_profit(seizure, leg).and_then(|profit| of_share(profit, share))
            }
            Ok(share) if seizure.kind == SeizureKind::IsolatedPool => {
                let incentive = self
                    .answers
                    .value::<IComptroller::liquidationIncentiveMantissaCall>(key::INCENTIVE, "")
                    .ok();
                let kept = of_share(seizure.seized, share);
                kept.zip(incentive)
                    .and_then(|(kept, incentive)| kept.checked_mul(WAD)?.checked_div(incentive))
            }
            Ok(share) => of_share(seizure.seized, share),
        };
        match kept.and_then(|kept| seizure.seized.checked_sub(kept)) {
            Some(tokens) => tokens,
            None => {
                leg.flags.push("protocol_share_unknown");
                seizure.seized
            }
        }
    }

    /// The part of the seized cTokens that is the liquidator's profit, by the market's own word at the end of the block.
    /// Where the price moved within the block its split is of other amounts, and is scaled to those of the log.
    fn sumer_profit(&self, seizure: &Seizure, leg: &mut Leg) -> Option<U256> {
        let index = self.log.log_index.to_string();
        let split =
            self.answers.value::<ICToken::liquidateCalculateSeizeTokensCall>(key::SEIZE, &index).ok()?;
        if split.seizeTokens == seizure.seized {
            return Some(split.seizeProfitTokens);
        }
        leg.flags.push("protocol_share_estimated");
        seizure.seized.checked_mul(split.seizeProfitTokens)?.checked_div(split.seizeTokens)
    }
}
