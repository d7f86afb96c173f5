//! The feed that turns a market's unit of account into US dollars, where its registry row names one: read in the market's
//! own batch, under the token that it prices.
//!
//! It is a Chainlink feed, or another contract with that interface (compound-finance/comet contracts/IPriceFeed.sol,
//! contracts/pricefeeds).

use crate::answers::{Answers, Call, Missing};
use crate::family::{PriceAnswer, Quote};
use crate::oracle::chainlink::{IAggregatorV3, not_negative, unit};
use crate::token::item;
use lake::status::PriceSource;
use lake::{Address, U256};

const ROUND: &str = "usd_feed.latestRoundData";
const DECIMALS: &str = "usd_feed.decimals";
const DESCRIPTION: &str = "usd_feed.description";

/// The calls that price a token in US dollars by a feed.
pub fn calls(token: Address, feed: Address) -> [Call; 3] {
    let item = item(token);
    [
        Call::new(ROUND, &item, feed, &IAggregatorV3::latestRoundDataCall {}),
        Call::new(DECIMALS, &item, feed, &IAggregatorV3::decimalsCall {}),
        Call::new(DESCRIPTION, &item, feed, &IAggregatorV3::descriptionCall {}),
    ]
}

/// What a feed says a token is worth. The currency is unknown when the feed describes itself as a pair without dollars, such as
/// `stETH / ETH`; feeds of other makers name no pair at all (`Redstone Price Feed`) and are believed.
pub fn answer(answers: &Answers<'_>, token: Address) -> PriceAnswer {
    let item = item(token);
    let (raw, updated_at) = match round(answers, &item) {
        Ok((raw, updated_at)) => (Ok(raw), Some(updated_at)),
        Err(why) => (Err(why), None),
    };
    let description = answers.value::<IAggregatorV3::descriptionCall>(DESCRIPTION, &item);
    let is_in_other_coins = description.is_ok_and(|text| text.contains(" / ") && !text.contains("USD"));
    PriceAnswer {
        token,
        source: PriceSource::Chainlink,
        feed: answers.contract(ROUND, &item).unwrap_or_default(),
        raw,
        unit: unit(answers, DECIMALS, &item),
        quote: if is_in_other_coins { Quote::Unknown } else { Quote::Usd },
        updated_at,
    }
}

fn round(answers: &Answers<'_>, item: &str) -> Result<(U256, u64), Missing> {
    let round = answers.value::<IAggregatorV3::latestRoundDataCall>(ROUND, item)?;
    let answer = not_negative(ROUND, item, round.answer)?;
    match u64::try_from(round.updatedAt) {
        Ok(time) if time > 0 => Ok((answer, time)),
        _ => {
            let why = format!("is of a round without its end (updatedAt {})", round.updatedAt);
            Err(Missing::Unusable { key: format!("{ROUND} of {item}"), why })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_sol_types::SolValue;
    use lake::I256;
    use lake::bronze::CallRecord;

    const TOKEN: Address = Address::repeat_byte(9);
    const FEED: Address = Address::repeat_byte(8);

    fn read(answer: i64, updated_at: u64, decimals: u64, description: &str) -> PriceAnswer {
        let round =
            (U256::ONE, I256::try_from(answer).unwrap(), U256::ZERO, U256::from(updated_at), U256::ONE);
        let outputs = [
            round.abi_encode_params(),
            U256::from(decimals).abi_encode(),
            (description.to_owned(),).abi_encode_params(),
        ];
        let records: Vec<CallRecord> = calls(TOKEN, FEED)
            .into_iter()
            .zip(outputs)
            .map(|(call, output)| call.answered(true, output.into()))
            .collect();
        super::answer(&Answers::new(&records), TOKEN)
    }

    #[test]
    fn a_round_is_a_price_with_its_time_and_its_own_decimals() {
        let price = read(341_234_000_000, 1_733_000_000, 8, "ETH / USD");
        assert_eq!(
            (price.raw, price.unit),
            (Ok(U256::from(341_234_000_000_u64)), Ok(U256::from(100_000_000)))
        );
        assert_eq!((price.quote, price.updated_at, price.feed), (Quote::Usd, Some(1_733_000_000), FEED));
        assert_eq!(read(1, 1, 18, "X / USD").unit, Ok(U256::from(10_u64.pow(18))));
    }

    #[test]
    fn what_is_no_price_says_why() {
        // Nothing is worth nothing: `transform` says so of a zero.
        assert_eq!(read(0, 1, 8, "ETH / USD").raw, Ok(U256::ZERO));
        assert!(matches!(read(-5, 1, 8, "ETH / USD").raw, Err(Missing::Negative { .. })));
        assert!(matches!(read(1, 0, 8, "ETH / USD").raw, Err(Missing::Unusable { .. })));
        assert!(matches!(read(1, 1, 78, "ETH / USD").unit, Err(Missing::Undecodable { .. })));
        assert!(matches!(answer(&Answers::default(), TOKEN).raw, Err(Missing::NotAsked { .. })));
    }

    #[test]
    fn a_feed_of_a_pair_without_dollars_has_no_known_currency() {
        assert_eq!(read(1, 1, 18, "stETH / ETH").quote, Quote::Unknown);
        for description in ["Custom price feed for wstETH / USD", "Redstone Price Feed", ""] {
            assert_eq!(read(1, 1, 8, description).quote, Quote::Usd, "{description}");
        }
    }
}
