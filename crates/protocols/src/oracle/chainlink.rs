//! Chainlink price feeds, by their proxies.
//!
//! Source: smartcontractkit/chainlink contracts/src/v0.8/shared/interfaces/AggregatorV3Interface.sol. A proxy forwards
//! to the aggregator of the day; `latestRoundData` gives the answer with the time of its round, `decimals` its scale,
//! `description` the pair. An answer may be negative (a feed of a rate may be), and a feed that was given up stays at its
//! last answer without reverting: only the time of its round tells.

use crate::answers::{Answers, Call, Missing};
use crate::family::{PriceAnswer, Quote};
use crate::token::{DECIMALS as TOKEN_DECIMALS, item, printable};
use alloy_sol_types::{SolCall, sol};
use lake::registry::{Feed, FeedQuote, NATIVE_COIN};
use lake::status::PriceSource;
use lake::{Address, I256, U256};
use std::collections::BTreeSet;

sol! {
    /// `decimals` is declared uint256, which also reads the usual uint8.
    interface IAggregatorV3 {
        function latestRoundData() external view returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
        function decimals() external view returns (uint256);
        function description() external view returns (string);
    }
}

/// Name of the call that reads a feed's latest round; its item is the feed's address, as of the two below.
pub const ROUND: &str = "feed.latestRoundData";
/// Name of the call that reads a feed's decimals.
pub const DECIMALS: &str = "feed.decimals";
/// Name of the call that reads what a feed says it is.
pub const DESCRIPTION: &str = "feed.description";

/// Longest description that is kept, in characters.
const LONGEST_DESCRIPTION: usize = 64;

/// The calls that read a feed.
pub fn calls(feed: Address) -> [Call; 3] {
    let id = item(feed);
    [
        Call::new(ROUND, &id, feed, &IAggregatorV3::latestRoundDataCall {}),
        Call::new(DECIMALS, &id, feed, &IAggregatorV3::decimalsCall {}),
        Call::new(DESCRIPTION, &id, feed, &IAggregatorV3::descriptionCall {}),
    ]
}

/// The tokens whose amounts will need a price, as a family's batch of calls shows: those whose decimals it asks, and the
/// native coin, which has none to ask, where any call is about it.
pub fn tokens_of(calls: &[Call]) -> BTreeSet<Address> {
    let about = calls.iter().filter_map(|call| Some((call, call.item.parse::<Address>().ok()?)));
    let needs_price = |(call, token): &(&Call, Address)| call.key == TOKEN_DECIMALS || *token == NATIVE_COIN;
    about.filter(needs_price).map(|(_, token)| token).collect()
}

/// What a feed answered.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedReading {
    /// The feed.
    pub feed: Address,
    /// One answer for each token that the registry says it prices.
    pub prices: Vec<PriceAnswer>,
    /// What the feed says it is, where that is not what the registry says.
    pub described_as: Option<String>,
}

/// What those of the feeds that were asked answered. A feed whose pair has another second half than the registry says
/// answers in an unknown currency; another first half is told and no more, since feeds are renamed with their tokens.
pub fn readings<'f>(feeds: impl IntoIterator<Item = &'f Feed>, answers: &Answers<'_>) -> Vec<FeedReading> {
    let asked = feeds.into_iter().filter(|feed| answers.asked(ROUND, &item(feed.address)));
    asked.map(|feed| reading(feed, answers)).collect()
}

fn reading(feed: &Feed, answers: &Answers<'_>) -> FeedReading {
    let id = item(feed.address);
    let round = answers.value::<IAggregatorV3::latestRoundDataCall>(ROUND, &id);
    let updated_at = round.as_ref().ok().and_then(|round| u64::try_from(round.updatedAt).ok());
    let said = answers
        .data(DESCRIPTION, &id)
        .ok()
        .and_then(|data| IAggregatorV3::descriptionCall::abi_decode_returns(data).ok())
        .map(|text| printable(&text, LONGEST_DESCRIPTION));
    let is_in_currency = said.as_deref().is_some_and(|said| halves(said).1 == halves(&feed.description).1);
    let quote = match feed.quote {
        _ if !is_in_currency => Quote::Unknown,
        FeedQuote::Usd => Quote::Usd,
        FeedQuote::Token(token) => Quote::Token(token),
    };
    let raw = round.and_then(|round| not_negative(ROUND, &id, round.answer));
    let unit = unit(answers, DECIMALS, &id);
    let answer = |token: &Address| PriceAnswer {
        token: *token,
        source: PriceSource::Chainlink,
        feed: feed.address,
        raw: raw.clone(),
        unit: unit.clone(),
        quote,
        updated_at,
    };
    FeedReading {
        feed: feed.address,
        prices: feed.tokens.iter().map(answer).collect(),
        described_as: said.filter(|said| halves(said) != halves(&feed.description)),
    }
}

/// An answer, unless it is below zero.
pub(super) fn not_negative(key: &str, id: &str, answer: I256) -> Result<U256, Missing> {
    U256::try_from(answer).map_err(|_| Missing::Negative { key: format!("{key} of {id}"), value: answer })
}

/// `10^decimals` of a feed: 8 for most in US dollars, 18 for those in ETH, and not always.
pub(super) fn unit(answers: &Answers<'_>, key: &str, id: &str) -> Result<U256, Missing> {
    let decimals = answers.value::<IAggregatorV3::decimalsCall>(key, id)?;
    let power =
        (decimals <= U256::from(lake::amount::MAX_DECIMALS)).then(|| U256::from(10).checked_pow(decimals));
    power.flatten().ok_or_else(|| Missing::Undecodable { key: format!("{key} of {id}"), length: 32 })
}

/// The two halves of a pair, without the ways in which people write it differently: `wstETH / USD Calculated` answers in
/// dollars, too.
fn halves(pair: &str) -> (String, String) {
    let plain = |half: &str| half.trim().to_lowercase();
    match pair.rsplit_once('/') {
        Some((base, quote)) => (plain(base), plain(quote.split_whitespace().next().unwrap_or_default())),
        None => (plain(pair), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_sol_types::SolValue;
    use lake::bronze::CallRecord;

    const FEED: Address = Address::repeat_byte(0xfe);
    const TOKEN: Address = Address::repeat_byte(0x01);
    const WETH: Address = Address::repeat_byte(0x02);

    fn feed(description: &str, quote: FeedQuote) -> Feed {
        Feed {
            chain: "ethereum".into(),
            address: FEED,
            description: description.into(),
            tokens: vec![TOKEN],
            quote,
            heartbeat_s: 3_600,
            source: "a test".into(),
            notes: String::new(),
        }
    }

    fn records(answer: i128, decimals: u8, description: &str) -> Vec<CallRecord> {
        let [round, scale, says] = calls(FEED);
        let one = U256::ONE;
        let data = (one, I256::try_from(answer).unwrap(), one, U256::from(1_000), one).abi_encode_params();
        vec![
            round.answered(true, data.into()),
            scale.answered(true, U256::from(decimals).abi_encode().into()),
            says.answered(true, (description.to_owned(),).abi_encode_params().into()),
        ]
    }

    fn read(feed: &Feed, records: &[CallRecord]) -> FeedReading {
        let [reading] = <[FeedReading; 1]>::try_from(readings([feed], &Answers::new(records))).unwrap();
        reading
    }

    #[test]
    fn a_feed_in_eighteen_decimals_and_in_ether_says_so() {
        let usd =
            read(&feed("AMPL / USD", FeedQuote::Usd), &records(1_200_000_000_000_000_000, 18, "AMPL / USD"));
        let [price] = &usd.prices[..] else { panic!("one token, one price") };
        assert_eq!(price.raw, Ok(U256::from(1_200_000_000_000_000_000_u64)));
        assert_eq!((price.unit.clone(), price.quote), (Ok(U256::from(10).pow(U256::from(18))), Quote::Usd));
        assert_eq!((price.updated_at, price.source, price.feed), (Some(1_000), PriceSource::Chainlink, FEED));
        assert_eq!(usd.described_as, None);
        let eth = read(&feed("STETH / ETH", FeedQuote::Token(WETH)), &records(1, 18, "stETH / ETH"));
        assert_eq!((eth.prices[0].quote, eth.described_as.as_deref()), (Quote::Token(WETH), None));
    }

    #[test]
    fn a_negative_answer_is_kept_and_is_no_price() {
        let reading = read(&feed("OIL / USD", FeedQuote::Usd), &records(-3_763, 8, "OIL / USD"));
        let expected = Missing::Negative {
            key: format!("feed.latestRoundData of {}", item(FEED)),
            value: I256::try_from(-3_763).unwrap(),
        };
        assert_eq!(reading.prices[0].raw, Err(expected));
    }

    #[test]
    fn another_currency_than_the_registrys_is_not_believed() {
        let steth = feed("STETH / USD", FeedQuote::Usd);
        let in_ether = read(&steth, &records(1, 18, "STETH / ETH"));
        assert_eq!(in_ether.prices[0].quote, Quote::Unknown);
        assert_eq!(in_ether.described_as.as_deref(), Some("STETH / ETH"));
        let renamed = read(&steth, &records(1, 8, "LIDO/ usd"));
        assert_eq!(
            (renamed.prices[0].quote, renamed.described_as.as_deref()),
            (Quote::Usd, Some("LIDO/ usd"))
        );
        let calculated = read(&steth, &records(1, 8, "stETH / USD Calculated"));
        assert_eq!((calculated.prices[0].quote, calculated.described_as), (Quote::Usd, None));
        let mut silent = records(1, 8, "STETH / USD");
        silent[2].ok = false;
        assert_eq!(read(&steth, &silent).prices[0].quote, Quote::Unknown);
    }

    #[test]
    fn what_is_not_answered_has_its_reason() {
        let eth = feed("ETH / USD", FeedQuote::Usd);
        let good = records(1, 8, "ETH / USD");
        let with = |index: usize, change: &dyn Fn(&mut CallRecord)| {
            let mut records = good.clone();
            change(&mut records[index]);
            read(&eth, &records).prices[0].clone()
        };
        let reverted = with(0, &|record| (record.ok, record.output) = (false, Default::default()));
        assert!(matches!(reverted.raw, Err(Missing::Reverted { .. })));
        assert_eq!(reverted.updated_at, None);
        let no_code = with(0, &|record| record.output = Default::default());
        assert!(matches!(no_code.raw, Err(Missing::NoCode { .. })));
        let absurd = with(1, &|record| record.output = U256::from(78).abi_encode().into());
        assert!(matches!(absurd.unit, Err(Missing::Undecodable { .. })));
        let empty = with(1, &|record| record.output = Default::default());
        assert!(matches!(empty.unit, Err(Missing::NoCode { .. })));
        assert_eq!(readings([&eth], &Answers::default()), vec![]);
    }

    #[test]
    fn the_tokens_of_a_batch_are_those_whose_decimals_it_asks() {
        let mut batch = crate::token::calls(TOKEN).to_vec();
        batch.extend(calls(FEED));
        assert_eq!(tokens_of(&batch), BTreeSet::from([TOKEN]));
        batch.push(Call { item: item(NATIVE_COIN), ..batch[0].clone() });
        assert_eq!(tokens_of(&batch), BTreeSet::from([TOKEN, NATIVE_COIN]));
    }
}
