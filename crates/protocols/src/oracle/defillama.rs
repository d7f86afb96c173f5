//! DefiLlama's historical prices: prices from outside the chain, asked for only to fill gaps.
//!
//! `GET /prices/historical/{timestamp}/{coins}?searchWidth=6h` with coins as `{chain}:{address}`, comma-separated, answers
//! `{"coins":{"{chain}:{address}":{"decimals":6,"symbol":"USDC","price":0.9998,"timestamp":1733115590,"confidence":0.99}}}`.
//! A coin that it has no price of is left out. The price is the nearest within `searchWidth` on either side. (Path and
//! `searchWidth`: npm defillama-api 1.0.2 lib/coins.js; fields: defillama-rs 0.1.8 src/models.rs. Not asked live.)

use crate::answers::Missing;
use lake::Address;
use lake::registry::NATIVE_COIN;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Name of the service in paths, registry and tables.
pub const SERVICE: &str = "defillama";
/// How far from the asked time a price may lie, seconds.
pub const REACH_S: i64 = 6 * 3_600;

/// Why a response or an answer cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not what DefiLlama's historical endpoint answers: {why}")]
pub struct Unreadable {
    why: String,
}

/// A token in the service's words. `chain` is the service's name of the chain; `wrapped` stands in for the native coin,
/// which it is redeemable for.
pub fn coin(chain: &str, token: Address, wrapped: Option<Address>) -> String {
    let token = if token == NATIVE_COIN { wrapped.unwrap_or_default() } else { token };
    format!("{chain}:{token:#x}")
}

/// Path and query of the question for these coins at a time.
pub fn path(timestamp: u64, coins: &[String]) -> String {
    format!("/prices/historical/{timestamp}/{}?searchWidth=6h", coins.join(","))
}

/// The answers of a response by coin, each as the text of its JSON.
///
/// # Errors
/// [`Unreadable`].
pub fn read_response(text: &str) -> Result<BTreeMap<String, String>, Unreadable> {
    #[derive(Deserialize)]
    struct Response<'a> {
        #[serde(borrow)]
        coins: BTreeMap<String, &'a RawValue>,
    }
    let response: Response<'_> =
        serde_json::from_str(text).map_err(|error| Unreadable { why: error.to_string() })?;
    Ok(response
        .coins
        .into_iter()
        .map(|(coin, answer)| (coin.to_lowercase(), answer.get().to_owned()))
        .collect())
}

/// What the service says of one coin.
#[derive(Debug, Clone, PartialEq)]
pub struct CoinPrice {
    /// US dollars per whole token, in its very digits.
    pub price: String,
    /// Time of the price, Unix seconds.
    pub timestamp: u64,
    /// How sure the service is, 0 to 1.
    pub confidence: Option<f64>,
}

/// One answer of [`read_response`].
///
/// # Errors
/// [`Missing::Undecodable`].
pub fn read_answer(text: &str) -> Result<CoinPrice, Missing> {
    #[derive(Deserialize)]
    struct Coin<'a> {
        #[serde(borrow)]
        price: &'a RawValue,
        timestamp: u64,
        #[serde(default)]
        confidence: Option<f64>,
    }
    let coin: Coin<'_> = serde_json::from_str(text)
        .map_err(|_| Missing::Undecodable { key: SERVICE.to_owned(), length: text.len() })?;
    Ok(CoinPrice {
        price: coin.price.get().to_owned(),
        timestamp: coin.timestamp,
        confidence: coin.confidence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_of_a_price_are_kept() {
        let text = r#"{"coins":{"bsc:0xAb":{"decimals":18,"symbol":"X","price":3731.671062763221,"timestamp":1762152095,"confidence":0.99},
            "bsc:0xcd":{"symbol":"Y","price":1.2e-7,"timestamp":5}}}"#;
        let answers = read_response(text).unwrap();
        let price = read_answer(&answers["bsc:0xab"]).unwrap();
        assert_eq!((price.price.as_str(), price.timestamp), ("3731.671062763221", 1_762_152_095));
        assert_eq!(price.confidence, Some(0.99));
        assert_eq!(read_answer(&answers["bsc:0xcd"]).unwrap().price, "1.2e-7");
        assert_eq!(read_response("{\"coins\":{}}").unwrap(), BTreeMap::new());
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in ["", "[]", "{}", "{\"coins\":[]}", "{\"coins\":{\"a\":", "<html>"] {
            assert!(read_response(text).is_err(), "{text}");
        }
        for text in ["null", "{}", "{\"price\":1}", "{\"price\":1,\"timestamp\":-1}", "3"] {
            assert!(read_answer(text).is_err(), "{text}");
        }
        // Not a number of ours: `lake::amount::exact` says so.
        assert_eq!(read_answer("{\"price\":\"1\",\"timestamp\":1}").unwrap().price, "\"1\"");
    }

    #[test]
    fn a_question_is_one_line_of_address() {
        let token = Address::repeat_byte(1);
        let coins = [coin("bsc", token, None), coin("bsc", NATIVE_COIN, Some(Address::repeat_byte(2)))];
        assert_eq!(
            path(7, &coins),
            "/prices/historical/7/bsc:0x0101010101010101010101010101010101010101,bsc:0x0202020202020202020202020202020202020202?searchWidth=6h"
        );
        assert_eq!(coin("x", NATIVE_COIN, None), format!("x:{:#x}", Address::ZERO));
    }
}
