//! What a snapshot of all markets says.

use super::adaptive_curve::{self, Bounds, Curve, Model, WAD, YEAR};
use super::{IIrm, IMorpho, IOracle, MarketParams, State, accrual, key, tokens_of};
use crate::answers::{Answers, Missing};
use crate::family::{DiscoveryError, PriceAnswer, Quote, ReserveFigures, Snapshot};
use crate::token::{self, IErc20, item};
use lake::amount::{MAX_DECIMALS, ratio};
use lake::bronze::{CallRecord, ReadsAtBlock};
use lake::status::{PriceSource, Role};
use lake::{Address, I256, U256};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// `peek` answers dollars with 8 decimals (moolah src/moolah/interfaces/IMoolah.sol, `createMarket`: "must have 8 decimals").
const PEEK_UNIT: u64 = 100_000_000;

/// One market, read.
struct Reading<'a> {
    id: &'a str,
    params: MarketParams,
    /// As the contract keeps it.
    stored: Result<State, Missing>,
    /// With interest up to the block.
    totals: Result<State, Missing>,
}

impl Reading<'_> {
    /// Whether nothing is lent in it and nothing is owed.
    fn is_empty(&self) -> bool {
        let state = self.stored.as_ref().ok();
        state.is_some_and(|state| state.totalSupplyAssets == 0 && state.totalBorrowAssets == 0)
    }

    /// What suppliers can withdraw. The same in `stored` and in `totals`.
    fn cash(&self) -> Option<U256> {
        let state = self.stored.as_ref().ok().filter(|state| state.lastUpdate != 0)?;
        state.totalSupplyAssets.checked_sub(state.totalBorrowAssets).map(U256::from)
    }
}

/// The markets that a batch asks for, in its order, with the parameters that the question itself holds.
pub(super) fn listed(calls: &[CallRecord]) -> impl Iterator<Item = (&str, Result<MarketParams, Missing>)> {
    let accruals = calls.iter().filter(|call| call.key == key::ACCRUED);
    accruals.map(|call| (call.item.as_str(), accrual::params_of(call)))
}

pub(super) fn snapshot(
    is_moolah: bool,
    morpho: Address,
    reads: &ReadsAtBlock,
    answers: &Answers<'_>,
) -> Result<Snapshot, DiscoveryError> {
    let now = reads.block.timestamp;
    let mut markets = Vec::new();
    for (id, params) in listed(&reads.calls) {
        let what = "the parameters of a Morpho Blue market";
        let params = params.map_err(|why| DiscoveryError { what, why })?;
        let stored = answers.value::<IMorpho::marketCall>(key::MARKET, id);
        let totals = accrual::totals(answers, id, &params, &stored, now);
        markets.push(Reading { id, params, stored, totals });
    }
    let tokens = tokens_of(markets.iter().map(|market| &market.params));
    let balances = Balances::of(answers, &markets, &tokens);

    let is_paused = if is_moolah {
        answers.value::<IMorpho::pausedCall>(key::PAUSED, "").ok()
    } else {
        // Morpho Blue has no such switch.
        Some(false)
    };
    let mut reserves: Vec<ReserveFigures> = markets
        .iter()
        .map(|market| ReserveFigures { is_paused, ..loan_figures(answers, market, is_moolah, now) })
        .collect();
    for (index, gap) in balances.gaps(&markets) {
        if let Some(figures) = reserves.get_mut(index) {
            figures.identity_gap = Some(gap);
        }
    }
    reserves.extend(balances.collateral(&item(morpho)));

    let prices = if is_moolah { peeks(answers, reads) } else { prices(answers, &markets) };
    let tokens = tokens.iter().map(|token| token::answer(answers, *token)).collect();
    Ok(Snapshot { reserves, prices, tokens })
}

/// What is lent in a market.
fn loan_figures(answers: &Answers<'_>, market: &Reading<'_>, is_moolah: bool, now: u64) -> ReserveFigures {
    let params = &market.params;
    let token = params.loanToken;
    let mut figures = ReserveFigures::new(market.id.to_owned(), token, Role::Base);
    let fraction = |value: U256| ratio(value, U256::from(WAD));
    figures.ltv = fraction(params.lltv);
    figures.liq_threshold = fraction(params.lltv);
    figures.liq_bonus = liquidation_bonus(params.lltv);
    let totals = match &market.totals {
        Ok(totals) => totals,
        Err(why) => {
            figures.missing.push(why.clone());
            return figures;
        }
    };
    figures.is_active = Some(true);
    // There is no such state in either contract.
    figures.is_frozen = Some(false);
    figures.supplied = Some(U256::from(totals.totalSupplyAssets));
    figures.borrowed = Some(U256::from(totals.totalBorrowAssets));
    figures.available = market.cash();
    if figures.available.is_none() {
        figures.missing.push(Missing::unusable(
            format!("{} of {}", key::MARKET, market.id),
            "more is borrowed than supplied",
        ));
    }
    // Anyone may create a market of a token that is none. While nothing is in it, nothing is missing.
    if !market.is_empty()
        && let Err(why) = token::decimals(answers, &item(token))
    {
        figures.missing.push(why);
    }
    figures.reserve_factor = fraction(U256::from(totals.fee));
    match rates(answers, market, is_moolah, now) {
        Some((borrow, supply)) => (figures.borrow_apr, figures.supply_apr) = (Some(borrow), Some(supply)),
        None => figures.flags.push("rate_model_unknown"),
    }
    if is_moolah
        && answers.value::<IMorpho::brokersCall>(key::BROKER, market.id).is_ok_and(|broker| !broker.is_zero())
    {
        // The broker takes interest of its own on top (moolah src/broker/LendingBroker.sol).
        figures.flags.push("broker_market");
    }
    figures
}

/// `min(1.15, 1 / (1 - 0.3 x (1 - lltv))) - 1` (Morpho.sol `liquidate`, ConstantsLib.sol), divisions rounded down.
fn liquidation_bonus(lltv: U256) -> Option<f64> {
    let wad = U256::from(WAD);
    let (cursor, most) = (U256::from(300_000_000_000_000_000_u64), U256::from(1_150_000_000_000_000_000_u64));
    let share = cursor.checked_mul(wad.checked_sub(lltv)?)? / wad;
    let factor = (wad.checked_mul(wad)? / wad.checked_sub(share)?).min(most);
    ratio(factor.checked_sub(wad)?, wad)
}

/// Simple annual rates of borrowers and of suppliers, right after accrual.
///
/// `None` when the market's rate model is none that is known here, or does not give the interest that was accrued.
fn rates(answers: &Answers<'_>, market: &Reading<'_>, is_moolah: bool, now: u64) -> Option<(f64, f64)> {
    let (stored, totals) = (market.stored.as_ref().ok()?, market.totals.as_ref().ok()?);
    let rate = if market.params.irm.is_zero() {
        U256::ZERO
    } else {
        let model = model(answers, market, is_moolah)?;
        let elapsed = now.checked_sub(u64::try_from(stored.lastUpdate).ok()?)?;
        let average = model.average(stored, elapsed)?;
        let accrued = totals.totalBorrowAssets.checked_sub(stored.totalBorrowAssets)?;
        if adaptive_curve::interest(stored, average, elapsed)? != U256::from(accrued) {
            return None;
        }
        model.spot(stored, totals, elapsed)?
    };
    let wad = U256::from(WAD);
    let borrow = rate.checked_mul(U256::from(YEAR))?;
    let kept = wad.checked_sub(U256::from(totals.fee))?;
    let supply = borrow.checked_mul(adaptive_curve::utilization(totals)?)? / wad;
    let supply = supply.checked_mul(kept)? / wad;
    Some((ratio(borrow, wad)?, ratio(supply, wad)?))
}

/// The adaptive curve answers its rate at target; a fixed rate model has no such function and looks at no market.
fn model(answers: &Answers<'_>, market: &Reading<'_>, is_moolah: bool) -> Option<Model> {
    let (id, irm) = (market.id, market.params.irm);
    match answers.value::<IIrm::rateAtTargetCall>(key::RATE_AT_TARGET, id) {
        Ok(rate_at_target) => {
            let bounds = if is_moolah { bounds(answers, id, irm)? } else { None };
            Some(Model::Adaptive(Curve { rate_at_target, bounds }))
        }
        Err(why) if why.is_revert() => {
            answers.value::<IIrm::borrowRateViewCall>(key::FIXED_RATE, id).ok().map(Model::Fixed)
        }
        Err(_) => None,
    }
}

/// The bounds of Moolah's model. Its first version had none; caps came before floors (moolah, history of
/// src/interest-rate-model/InterestRateModel.sol).
fn bounds(answers: &Answers<'_>, id: &str, irm: Address) -> Option<Option<Bounds>> {
    let or_absent = |answer: Result<U256, Missing>| match answer {
        Ok(value) => Some(Some(value)),
        Err(why) if why.is_revert() => Some(None),
        Err(_) => None,
    };
    let cap = or_absent(answers.value::<IIrm::rateCapCall>(key::RATE_CAP, id))?;
    let least = or_absent(answers.value::<IIrm::minCapCall>(key::MIN_CAP, &item(irm)))?;
    let floor = or_absent(answers.value::<IIrm::rateFloorCall>(key::RATE_FLOOR, id))?;
    Some(cap.map(|cap| {
        let absent = U256::ZERO;
        Bounds::new(cap, least.unwrap_or(absent), floor.unwrap_or(absent))
    }))
}

/// Where each token's balance lies: the cash of its markets, and what is left.
struct Balances(BTreeMap<Address, Balance>);

struct Balance {
    backs: Backs,
    /// Balance less cash; negative when the contract has less than it owes.
    rest: Result<I256, Missing>,
    decimals: Result<u8, Missing>,
}

/// What a token is collateral of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backs {
    /// No market.
    Nothing,
    /// Markets in which there is nothing.
    EmptyMarkets,
    /// At least one that may have something in it.
    Markets,
}

impl Backs {
    fn of(token: Address, markets: &[Reading<'_>]) -> Self {
        let backed = markets.iter().filter(|market| market.params.collateralToken == token);
        backed.fold(Self::Nothing, |backs, market| match backs {
            Self::Markets => Self::Markets,
            _ if market.is_empty() => Self::EmptyMarkets,
            _ => Self::Markets,
        })
    }
}

impl Balances {
    fn of(answers: &Answers<'_>, markets: &[Reading<'_>], tokens: &BTreeSet<Address>) -> Self {
        let rest = |token: Address| -> Result<I256, Missing> {
            let unusable =
                |why: String| Missing::unusable(format!("{} of {}", key::BALANCE, item(token)), why);
            let mut rest =
                answers.value::<IErc20::balanceOfCall>(key::BALANCE, &item(token)).and_then(|held| {
                    I256::try_from(held).map_err(|_| unusable("the balance is no amount".into()))
                })?;
            for market in markets.iter().filter(|market| market.params.loanToken == token) {
                let cash = market.cash().and_then(|cash| I256::try_from(cash).ok());
                rest = cash
                    .and_then(|cash| rest.checked_sub(cash))
                    .ok_or_else(|| unusable(format!("the cash of market {} is not known", market.id)))?;
            }
            Ok(rest)
        };
        let balance = |token: &Address| {
            let decimals = token::decimals(answers, &item(*token));
            (*token, Balance { backs: Backs::of(*token, markets), rest: rest(*token), decimals })
        };
        Self(tokens.iter().map(balance).collect())
    }

    /// The gap of each token that backs nothing, with the index of its largest market.
    fn gaps(&self, markets: &[Reading<'_>]) -> Vec<(usize, I256)> {
        let largest = |token: Address| {
            let of_token = markets.iter().enumerate().filter(|(_, market)| market.params.loanToken == token);
            let supply =
                |market: &Reading<'_>| market.totals.as_ref().ok().map(|state| state.totalSupplyAssets);
            of_token.min_by_key(|(index, market)| (Reverse(supply(market)), *index)).map(|(index, _)| index)
        };
        let only_lent = self.0.iter().filter(|(_, balance)| balance.backs == Backs::Nothing);
        only_lent
            .filter_map(|(token, balance)| Some((largest(*token)?, *balance.rest.as_ref().ok()?)))
            .collect()
    }

    /// One row a token that backs markets, under the contract's own address. A token that does not even tell a balance has
    /// none where its markets are empty: anyone may name anything as collateral.
    fn collateral(&self, market_id: &str) -> Vec<ReserveFigures> {
        let figures = |(token, balance): (&Address, &Balance)| {
            let mut figures = ReserveFigures::new(market_id.to_owned(), *token, Role::Collateral);
            match (&balance.rest, &balance.decimals) {
                (Ok(rest), _) if rest.is_negative() => {
                    figures.identity_gap = Some(*rest);
                    figures.missing.push(Missing::unusable(
                        format!("{} of {}", key::BALANCE, item(*token)),
                        "it is less than the cash of the token's markets",
                    ));
                }
                (Ok(rest), decimals) => {
                    figures.supplied = U256::try_from(*rest).ok();
                    if let Err(why) = decimals
                        && !rest.is_zero()
                    {
                        figures.missing.push(why.clone());
                    }
                }
                (Err(Missing::Reverted { .. } | Missing::NoCode { .. }), _)
                    if balance.backs == Backs::EmptyMarkets =>
                {
                    return None;
                }
                (Err(why), _) => figures.missing.push(why.clone()),
            }
            Some(figures)
        };
        self.0.iter().filter(|(_, balance)| balance.backs != Backs::Nothing).filter_map(figures).collect()
    }
}

/// The answers of Moolah's oracles: a token's price in dollars.
pub(super) fn peeks(answers: &Answers<'_>, reads: &ReadsAtBlock) -> Vec<PriceAnswer> {
    let asked = reads.calls.iter().filter(|call| call.key == key::PEEK);
    asked
        .filter_map(|call| {
            Some(PriceAnswer {
                token: call.item.split('/').next()?.parse().ok()?,
                source: PriceSource::ProtocolOracle,
                feed: call.to,
                raw: answers.value::<IOracle::peekCall>(key::PEEK, &call.item),
                unit: Ok(U256::from(PEEK_UNIT)),
                quote: Quote::Usd,
                updated_at: None,
            })
        })
        .collect()
}

/// One answer for each pair of collateral and loan token: that of the market in which most can be withdrawn.
///
/// Anyone may create a market of Morpho Blue with any oracle, one that lies included. What is supplied and borrowed in such a
/// market proves nothing, since its creator may be both sides; cash at the end of a block is real. Markets in which nothing
/// is supplied price a token only where no other market does.
fn prices(answers: &Answers<'_>, markets: &[Reading<'_>]) -> Vec<PriceAnswer> {
    let mut best: BTreeMap<(Address, Address), (usize, PriceAnswer)> = BTreeMap::new();
    let weight = |index: usize, price: &PriceAnswer| {
        let market = markets.get(index);
        let borrowed =
            market.and_then(|market| market.stored.as_ref().ok()).map(|state| state.totalBorrowAssets);
        let answered = price.raw.as_ref().is_ok_and(|raw| !raw.is_zero());
        (answered, market.and_then(Reading::cash), borrowed, Reverse(index))
    };
    for (index, market) in markets.iter().enumerate() {
        if !answers.asked(key::PRICE, market.id) {
            continue;
        }
        let price = price(answers, market.id, &market.params);
        let pair = (market.params.collateralToken, market.params.loanToken);
        match best.get(&pair) {
            Some((other, present)) if weight(*other, present) >= weight(index, &price) => {}
            _ => drop(best.insert(pair, (index, price))),
        }
    }
    let is_funded = |index: usize| {
        let state = markets.get(index).and_then(|market| market.stored.as_ref().ok());
        state.is_some_and(|state| state.totalSupplyAssets != 0)
    };
    let funded: BTreeSet<Address> =
        best.iter().filter(|(_, (index, _))| is_funded(*index)).map(|((token, _), _)| *token).collect();
    let kept = best
        .into_iter()
        .filter(|((token, _), (index, _))| is_funded(*index) || !funded.contains(token))
        .map(|(_, kept)| kept);
    let mut in_order: Vec<(usize, PriceAnswer)> = kept.collect();
    in_order.sort_by_key(|(index, _)| *index);
    without_repeats(in_order.into_iter().map(|(_, price)| price))
}

/// A contract's answer for a token once: two markets may share an oracle.
pub(super) fn without_repeats(prices: impl Iterator<Item = PriceAnswer>) -> Vec<PriceAnswer> {
    let mut seen = BTreeSet::new();
    prices.filter(|price| seen.insert((price.token, price.feed))).collect()
}

/// The price of a market's collateral in its loan token: the answer is scaled by 36 decimals and what the two tokens' decimals
/// differ by (morpho-blue src/interfaces/IOracle.sol).
pub(super) fn price(answers: &Answers<'_>, id: &str, params: &MarketParams) -> PriceAnswer {
    PriceAnswer {
        token: params.collateralToken,
        source: PriceSource::ProtocolOracle,
        feed: params.oracle,
        raw: answers.value::<IOracle::priceCall>(key::PRICE, id),
        unit: price_unit(answers, params),
        quote: Quote::Token(params.loanToken),
        updated_at: None,
    }
}

fn price_unit(answers: &Answers<'_>, params: &MarketParams) -> Result<U256, Missing> {
    let loan = token::decimals(answers, &item(params.loanToken))?;
    let collateral = token::decimals(answers, &item(params.collateralToken))?;
    let exponent = (36 + u16::from(loan)).checked_sub(u16::from(collateral));
    exponent
        .filter(|exponent| *exponent <= u16::from(MAX_DECIMALS))
        .map(|exponent| U256::from(10).pow(U256::from(exponent)))
        .ok_or_else(|| {
            let why = format!("with {loan} and {collateral} decimals it has no scale");
            Missing::unusable(format!("{} of {}", key::PRICE, item(params.collateralToken)), why)
        })
}
