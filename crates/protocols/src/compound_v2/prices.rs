//! Oracle answers, and whether they are on the scale that they should be.

use super::{IPriceOracle, Line, key, token_or_market};
use crate::answers::{Answers, Call, Missing};
use crate::family::{PriceAnswer, Quote};
use crate::token::{self, item};
use lake::registry::Csu;
use lake::status::PriceSource;
use lake::{Address, U256};
use std::collections::BTreeSet;

/// The question for the price of a market's underlying. Venus's oracle takes VAI in the place of a cToken (voracle
/// ResilientOracle.sol `_getUnderlyingAsset`; VAIController.sol asks it so).
pub(super) fn call(oracle: Address, id: &str, market: Address) -> Call {
    Call::new(key::PRICE, id, oracle, &IPriceOracle::getUnderlyingPriceCall { cToken: market })
}

/// One answer a token, in order of market; and the tokens for which two markets get two prices. Of those the first market's
/// is kept: a market that gets none leaves the word to the next.
pub(super) fn of_tokens<'i>(
    csu: &Csu,
    answers: &Answers<'_>,
    ids: impl Iterator<Item = &'i String>,
) -> (Vec<PriceAnswer>, BTreeSet<Address>) {
    let mut prices: Vec<PriceAnswer> = Vec::new();
    let mut disputed = BTreeSet::new();
    let is_price = |answer: &PriceAnswer| answer.raw.as_ref().is_ok_and(|raw| !raw.is_zero());
    for id in ids {
        let found = price(csu, answers, id);
        match prices.iter_mut().find(|known| known.token == found.token) {
            None => prices.push(found),
            Some(known) if is_price(known) && is_price(&found) => {
                if known.raw != found.raw {
                    disputed.insert(found.token);
                }
            }
            Some(known) if is_price(&found) => *known = found,
            Some(_) => {}
        }
    }
    (prices, disputed)
}

fn price(csu: &Csu, answers: &Answers<'_>, id: &str) -> PriceAnswer {
    let (token, _) = token_or_market(csu, answers, id);
    PriceAnswer {
        token,
        source: PriceSource::ProtocolOracle,
        feed: answers.contract(key::PRICE, id).unwrap_or_default(),
        raw: answers.value::<IPriceOracle::getUnderlyingPriceCall>(key::PRICE, id),
        unit: unit(csu, answers, token),
        quote: Quote::Usd,
        updated_at: None,
    }
}

/// What an answer is divided by. US dollars times `10^(36 - decimals)`, so that an amount in base units times the price is
/// dollars times 1e36 (venus-oracle ResilientOracle.sol, BenqiChainlinkOracle.sol, Moonwell ChainlinkOracle.sol, Kinetic
/// ProtocolFTSOV2Oracle.sol); Sumer's is dollars times 1e18 for every token (FeedPriceOracle.sol; Comptroller.sol
/// `getUnderlyingPriceNormalized` scales it afterwards).
fn unit(csu: &Csu, answers: &Answers<'_>, token: Address) -> Result<U256, Missing> {
    let ten = |power: u8| U256::from(10).pow(U256::from(power));
    if Line::of(csu) == Line::Sumer {
        return Ok(ten(18));
    }
    let decimals = token::decimals(answers, &item(token))?;
    36_u8.checked_sub(decimals).map(ten).ok_or_else(|| Missing::Unusable {
        key: format!("the unit of the price of {}", item(token)),
        why: format!("{decimals} decimals are more than 36"),
    })
}

/// Whether the price of a token that calls itself a dollar is not within a factor of two of one: the oracle's scale may be
/// another than the family's. A remark for a person to look at; nothing is changed by it.
pub(super) fn is_doubtful(csu: &Csu, answers: &Answers<'_>, id: &str, token: Address) -> bool {
    let symbol = token::answer(answers, token).symbol.unwrap_or_default().to_ascii_uppercase();
    if !(symbol.contains("USD") || symbol.contains("DAI")) {
        return false;
    }
    let answer = price(csu, answers, id);
    let (Ok(raw), Ok(unit)) = (answer.raw, answer.unit) else { return false };
    !raw.is_zero() && (raw < unit / U256::from(2) || raw / U256::from(2) > unit)
}
