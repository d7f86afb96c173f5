//! What the answers of a Comet amount to: figures of the base token and of the collateral, rates, prices.

use super::*;
use crate::answers::keep;

/// What a Comet's prices are in.
pub(super) struct UnitOfAccount {
    /// Currency of a collateral's price once it is divided by `unit`.
    quote: Quote,
    unit: Result<U256, Missing>,
    /// The base token's own price, in the unit of account.
    base: Result<U256, Missing>,
}

impl UnitOfAccount {
    /// Dollars, or the base token where the registry names a feed that prices it. A base token that looks like ether or
    /// bitcoin and is worth exactly one unit is not worth one dollar: its unit is unknown until the row has a feed.
    pub(super) fn of(csu: &Csu, answers: &Answers<'_>, base: Address) -> Self {
        let price = answers.value::<IComet::getPriceCall>(key::BASE_PRICE, "");
        let symbol = || token::answer(answers, base).symbol.unwrap_or_default().to_ascii_uppercase();
        let looks_like_a_coin = || ["ETH", "BTC"].iter().any(|coin| symbol().contains(coin));
        let (quote, unit) = if csu.contracts.contains_key(part::USD_FEED) {
            (Quote::Token(base), price.clone())
        } else if price == Ok(super::PRICE) && looks_like_a_coin() {
            (Quote::Unknown, Ok(super::PRICE))
        } else {
            (Quote::Usd, Ok(super::PRICE))
        };
        Self { quote, unit, base: price }
    }

    /// Remarks for the base token's row.
    fn flags(&self) -> Option<&'static str> {
        match (self.quote, &self.base) {
            (Quote::Unknown, _) => Some("unit_of_account_unknown"),
            (Quote::Token(_), Ok(price)) if *price != super::PRICE => Some("base_price_not_one"),
            _ => None,
        }
    }

    /// What the base token is worth: by the dollar feed where there is one, for in base tokens it is worth one.
    pub(super) fn base_price(&self, csu: &Csu, answers: &Answers<'_>, base: Address) -> PriceAnswer {
        match self.quote {
            Quote::Token(base) => usd_feed::answer(answers, base),
            quote => PriceAnswer {
                token: base,
                source: PriceSource::ProtocolOracle,
                feed: csu.entry,
                raw: self.base.clone(),
                unit: self.unit.clone(),
                quote,
                updated_at: None,
            },
        }
    }

    /// What a collateral token is worth. `Comet.getPrice` keeps the answer of the feed's round and not its time.
    pub(super) fn price(&self, csu: &Csu, answers: &Answers<'_>, token: Address) -> PriceAnswer {
        PriceAnswer {
            token,
            source: PriceSource::ProtocolOracle,
            feed: csu.entry,
            raw: answers.value::<IComet::getPriceCall>(key::PRICE, &item(token)),
            unit: self.unit.clone(),
            quote: self.quote,
            updated_at: None,
        }
    }
}

pub(super) fn base_figures(
    csu: &Csu,
    answers: &Answers<'_>,
    base: Address,
    unit: &UnitOfAccount,
) -> ReserveFigures {
    let mut missing = Vec::new();
    let mut flags: Vec<&'static str> = unit.flags().into_iter().collect();
    let supplied = keep(word(answers, key::SUPPLY), &mut missing);
    let borrowed = keep(word(answers, key::BORROW), &mut missing);
    let available = keep(answers.value::<IErc20::balanceOfCall>(key::CASH, ""), &mut missing);
    let reserves = keep(answers.value::<IComet::getReservesCall>(key::RESERVES, ""), &mut missing);
    let pauses = keep(pauses(answers), &mut missing);
    let utilization = keep(word(answers, key::UTILIZATION), &mut missing);
    let mut apr = |model| keep_rate(apr(answers, utilization?, model), &mut missing, &mut flags);
    let (supply_apr, borrow_apr) = (apr(key::SUPPLY_MODEL), apr(key::BORROW_MODEL));
    let scale = keep(word(answers, key::SCALE), &mut missing);
    check_decimals(answers, base, scale, &mut missing, &mut flags);
    ReserveFigures {
        supplied,
        borrowed,
        available,
        reserves,
        identity_gap: identity_gap(supplied, reserves, available, borrowed),
        supply_apr,
        borrow_apr,
        ..paused(ReserveFigures::new(item(csu.entry), base, Role::Base), pauses, flags, missing)
    }
}

pub(super) fn collateral_figures(
    csu: &Csu,
    answers: &Answers<'_>,
    info: &IComet::AssetInfo,
) -> ReserveFigures {
    let id = item(info.asset);
    let mut missing = Vec::new();
    let mut flags = Vec::new();
    let totals = keep(answers.value::<IComet::totalsCollateralCall>(key::COLLATERAL, &id), &mut missing);
    let reserves = answers.value::<IComet::getCollateralReservesCall>(key::COLLATERAL_RESERVES, &id);
    let reserves = keep(reserves, &mut missing);
    let pauses = keep(pauses(answers), &mut missing);
    check_decimals(answers, info.asset, Some(U256::from(info.scale)), &mut missing, &mut flags);
    // A token that governance has given up is left with a feed that answers one number for ever
    // (comet deployments/polygon/usdc/migrations/1772805892_deprecate_stmatic.ts).
    let description = answers.value::<IPriceFeed::descriptionCall>(key::FEED_TEXT, &id);
    if description.is_ok_and(|text| text == CONSTANT_FEED) {
        flags.push("constant_price");
    }
    let factor = |factor: u64| ratio(U256::from(factor), FACTOR);
    let penalty = FACTOR.checked_sub(U256::from(info.liquidationFactor));
    ReserveFigures {
        supplied: totals.map(|totals| U256::from(totals.totalSupplyAsset)),
        reserves: reserves.and_then(|reserves| I256::try_from(reserves).ok()),
        ltv: factor(info.borrowCollateralFactor),
        liq_threshold: factor(info.liquidateCollateralFactor),
        liq_bonus: penalty.and_then(|penalty| ratio(penalty, FACTOR)),
        // Here a cap of zero is one: no more can be supplied.
        supply_cap: ratio(U256::from(info.supplyCap), U256::from(info.scale)),
        ..paused(ReserveFigures::new(item(csu.entry), info.asset, Role::Collateral), pauses, flags, missing)
    }
}

/// `supplied + reserves - available - borrowed` (Comet.sol `getReserves`: balance - supply + borrow).
fn identity_gap(
    supplied: Option<U256>,
    reserves: Option<I256>,
    available: Option<U256>,
    borrowed: Option<U256>,
) -> Option<I256> {
    let signed = |amount: U256| I256::try_from(amount).ok();
    let claims = signed(supplied?)?.checked_add(reserves?)?;
    claims.checked_sub(signed(available?)?)?.checked_sub(signed(borrowed?)?)
}

/// Which of `PAUSES` are on.
fn pauses(answers: &Answers<'_>) -> Result<[bool; PAUSES.len()], Missing> {
    let totals = answers.value::<IComet::totalsBasicCall>(key::TOTALS, "")?;
    Ok(std::array::from_fn(|bit| totals.pauseFlags >> bit & 1 == 1))
}

/// Frozen: neither supply nor withdrawal, which is also how one borrows. Paused: nothing at all.
fn paused(
    figures: ReserveFigures,
    pauses: Option<[bool; PAUSES.len()]>,
    mut flags: Vec<&'static str>,
    missing: Vec<Missing>,
) -> ReserveFigures {
    flags.extend(PAUSES.iter().zip(pauses.iter().flatten()).filter(|(_, on)| **on).map(|(flag, _)| *flag));
    ReserveFigures {
        is_frozen: pauses.map(|[supply, _, withdraw, ..]| supply && withdraw),
        is_paused: pauses.map(|pauses| pauses.iter().all(|on| *on)),
        flags,
        missing,
        ..figures
    }
}

fn check_decimals(
    answers: &Answers<'_>,
    token: Address,
    scale: Option<U256>,
    missing: &mut Vec<Missing>,
    flags: &mut Vec<&'static str>,
) {
    match token::decimals(answers, &item(token)) {
        Ok(decimals) if scale.is_some_and(|scale| scale != U256::from(10).pow(U256::from(decimals))) => {
            flags.push("decimals_disagree");
        }
        Ok(_) => {}
        Err(why) => missing.push(why),
    }
}

/// Simple annual rate at a utilization, by a model's four parameters.
fn apr(answers: &Answers<'_>, utilization: U256, model: [&str; 4]) -> Result<f64, Missing> {
    let [kink, base, low, high] = model.map(|parameter| word(answers, parameter));
    per_second(utilization, kink?, base?, low?, high?)
        .and_then(|rate| ratio(rate.checked_mul(SECONDS_PER_YEAR)?, FACTOR))
        .ok_or_else(|| {
            let why = "and the other parameters give a rate of more than 256 bits".to_owned();
            Missing::Unusable { key: model[0].to_owned(), why }
        })
}

/// Comet.sol `getSupplyRate` and `getBorrowRate`, rounded down where they round: per second, in 1e18.
fn per_second(utilization: U256, kink: U256, base: U256, low: U256, high: U256) -> Option<U256> {
    let rise = |slope: U256, over: U256| Some(slope.checked_mul(over)? / FACTOR);
    let below = base.checked_add(rise(low, utilization.min(kink))?)?;
    below.checked_add(rise(high, utilization.saturating_sub(kink))?)
}

/// A contract without the parameters has rates that are not known here, and is otherwise sound.
fn keep_rate(
    rate: Result<f64, Missing>,
    missing: &mut Vec<Missing>,
    flags: &mut Vec<&'static str>,
) -> Option<f64> {
    match rate {
        Err(why) if why.is_revert() => {
            if !flags.contains(&"no_rate_model") {
                flags.push("no_rate_model");
            }
            None
        }
        rate => keep(rate, missing),
    }
}
