//! What token contracts say of themselves, over every day of the lake.
//!
//! The first day counts: months are seen in order, and within a month days, CSUs and blocks in order. A token whose
//! decimals change is an error, because every amount before or after would be off by a power of ten.

use crate::read::Month;
use lake::Address;
use lake::day::Day;
use lake::registry::{Pricing, Registry};
use lake::schema::silver::TokenRow;
use protocols::TokenAnswer;
use protocols::token::item;
use std::collections::BTreeMap;

/// Tokens by chain and address.
#[derive(Debug, Clone, Default)]
pub struct TokenBook {
    tokens: BTreeMap<(String, Address), Seen>,
}

#[derive(Debug, Clone, Default)]
struct Seen {
    symbol: Option<String>,
    decimals: Option<(u8, Day)>,
    /// First day with other decimals, and those.
    changed: Option<(u8, Day)>,
}

impl TokenBook {
    /// Adds the tokens of a month. Months must come in order.
    pub fn see_month(&mut self, registry: &Registry, month: &Month) {
        let mut sightings: Vec<(Day, &str, u64, &TokenAnswer)> = Vec::new();
        for ((csu, date), object) in &month.snapshots {
            let Some(day) = object.sound() else { continue };
            let Ok(snapshot) = &day.snapshot else { continue };
            sightings
                .extend(snapshot.tokens.iter().map(|token| (*date, csu.as_str(), day.block.number, token)));
        }
        for ((csu, date), object) in &month.logs {
            for (number, event) in object.sound().into_iter().flat_map(|day| &day.events) {
                sightings.extend(event.tokens.iter().map(|token| (*date, csu.as_str(), *number, token)));
            }
        }
        sightings.sort_by_key(|(date, csu, block, token)| (*date, *csu, *block, token.token));
        for (date, csu, _, token) in sightings {
            if let Some(csu) = registry.csu(csu) {
                self.see(&csu.chain, date, token);
            }
        }
    }

    fn see(&mut self, chain: &str, date: Day, answer: &TokenAnswer) {
        let seen = self.tokens.entry((chain.to_owned(), answer.token)).or_default();
        if seen.symbol.is_none() {
            seen.symbol.clone_from(&answer.symbol);
        }
        match (answer.decimals, seen.decimals) {
            (Some(decimals), None) => seen.decimals = Some((decimals, date)),
            (Some(decimals), Some((first, _))) if decimals != first && seen.changed.is_none() => {
                seen.changed = Some((decimals, date));
            }
            _ => {}
        }
    }

    /// Whether the token had other decimals when it was first seen.
    pub fn has_changed(&self, chain: &str, token: Address, decimals: u8) -> bool {
        let seen = self.tokens.get(&(chain.to_owned(), token));
        seen.and_then(|seen| seen.decimals).is_some_and(|(first, _)| first != decimals)
    }

    /// One sentence for every token whose decimals changed.
    pub fn conflicts(&self) -> Vec<String> {
        let sentence = |((chain, token), seen): (&(String, Address), &Seen)| {
            let ((first, from), (then, since)) = (seen.decimals?, seen.changed?);
            Some(format!(
                "token {} on {chain} has {first} decimals on {from} and {then} on {since}; the token table keeps {first}",
                item(*token)
            ))
        };
        self.tokens.iter().filter_map(sentence).collect()
    }

    /// The rows of the `token` table.
    pub fn rows(&self, registry: &Registry) -> Vec<TokenRow> {
        let row = |((chain, token), seen): (&(String, Address), &Seen)| {
            let facts = registry.token(chain, *token);
            let is_excluded = facts.is_some_and(|facts| facts.pricing == Pricing::Excluded);
            Some(TokenRow {
                chain_id: i64::try_from(registry.chain(chain)?.chain_id).unwrap_or(i64::MAX),
                token: item(*token),
                chain: chain.clone(),
                symbol: seen.symbol.clone(),
                decimals: seen.decimals.map(|(decimals, _)| i32::from(decimals)),
                decimals_source: seen.decimals.map(|_| "onchain".to_owned()),
                asset_class: facts.map_or("other", |facts| facts.asset_class.as_str()).to_owned(),
                is_stablecoin: facts.is_some_and(|facts| facts.is_stablecoin),
                pricing: if is_excluded { "excluded" } else { "oracle" }.to_owned(),
                pricing_reason: facts.filter(|_| is_excluded).and_then(|facts| facts.pricing_reason.clone()),
            })
        };
        self.tokens.iter().filter_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_decimals_stay_and_the_change_is_told() {
        let token = Address::repeat_byte(1);
        let answer = |decimals, symbol: Option<&str>| TokenAnswer {
            token,
            symbol: symbol.map(str::to_owned),
            decimals,
        };
        let mut book = TokenBook::default();
        let day = |text: &str| text.parse::<Day>().unwrap();
        book.see("ethereum", day("2024-12-01"), &answer(None, None));
        book.see("ethereum", day("2024-12-02"), &answer(Some(6), Some("USDC")));
        book.see("ethereum", day("2024-12-03"), &answer(Some(6), Some("USDC.e")));
        assert!(book.conflicts().is_empty());
        book.see("ethereum", day("2024-12-04"), &answer(Some(18), None));
        book.see("base", day("2024-12-04"), &answer(Some(18), None));
        let [conflict] = <[String; 1]>::try_from(book.conflicts()).unwrap();
        assert!(conflict.contains("6 decimals on 2024-12-02 and 18 on 2024-12-04"), "{conflict}");
        assert!(book.has_changed("ethereum", token, 18) && !book.has_changed("ethereum", token, 6));
        assert!(!book.has_changed("base", token, 18));
    }
}
