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
use serde::{Deserialize, Serialize};
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

/// What a month says of one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sighting {
    /// Chain.
    pub chain: String,
    /// Token.
    pub token: Address,
    /// First symbol that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Every number of decimals that was given, with the first day it was, in that order: one, if all is well.
    pub decimals: Vec<(u8, Day)>,
}

/// What a month says of its tokens, in order of chain and token.
pub fn of_month(registry: &Registry, month: &Month) -> Vec<Sighting> {
    let mut answers: Vec<(Day, &str, u64, &TokenAnswer)> = Vec::new();
    for ((csu, date), object) in &month.snapshots {
        let Some(day) = object.sound() else { continue };
        let Ok(snapshot) = &day.snapshot else { continue };
        answers.extend(snapshot.tokens.iter().map(|token| (*date, csu.as_str(), day.block.number, token)));
    }
    for ((csu, date), object) in &month.logs {
        for (number, event) in object.sound().into_iter().flat_map(|day| &day.events) {
            answers.extend(event.tokens.iter().map(|token| (*date, csu.as_str(), *number, token)));
        }
    }
    answers.sort_by_key(|(date, csu, block, token)| (*date, *csu, *block, token.token));
    let mut seen: BTreeMap<(&str, Address), Sighting> = BTreeMap::new();
    for (date, csu, _, answer) in answers {
        let Some(csu) = registry.csu(csu) else { continue };
        let sighting = seen.entry((&csu.chain, answer.token)).or_insert_with(|| Sighting {
            chain: csu.chain.clone(),
            token: answer.token,
            symbol: None,
            decimals: Vec::new(),
        });
        if sighting.symbol.is_none() {
            sighting.symbol.clone_from(&answer.symbol);
        }
        if let Some(decimals) = answer.decimals
            && !sighting.decimals.iter().any(|(known, _)| *known == decimals)
        {
            sighting.decimals.push((decimals, date));
        }
    }
    seen.into_values().collect()
}

impl TokenBook {
    /// Adds the tokens of a month. Months must come in order.
    pub fn see(&mut self, sightings: &[Sighting]) {
        for sighting in sightings {
            let seen = self.tokens.entry((sighting.chain.clone(), sighting.token)).or_default();
            if seen.symbol.is_none() {
                seen.symbol.clone_from(&sighting.symbol);
            }
            for (decimals, date) in &sighting.decimals {
                match seen.decimals {
                    None => seen.decimals = Some((*decimals, *date)),
                    Some((first, _)) if *decimals != first && seen.changed.is_none() => {
                        seen.changed = Some((*decimals, *date));
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// The tokens of a month that have other decimals than when they were first seen, once the month was added: the one
    /// thing in which a month's rows depend on the months before it.
    pub fn changed_in(&self, sightings: &[Sighting]) -> Vec<(String, String)> {
        let changed = |sighting: &Sighting| {
            let changed = sighting
                .decimals
                .iter()
                .filter(|(decimals, _)| self.has_changed(&sighting.chain, sighting.token, *decimals));
            let changed: Vec<String> = changed.map(|(decimals, _)| decimals.to_string()).collect();
            (!changed.is_empty())
                .then(|| (format!("{} {}", sighting.chain, item(sighting.token)), changed.join(" ")))
        };
        sightings.iter().filter_map(changed).collect()
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
        let sighting = |chain: &str, symbol: Option<&str>, decimals: &[(u8, &str)]| Sighting {
            chain: chain.into(),
            token,
            symbol: symbol.map(str::to_owned),
            decimals: decimals.iter().map(|(decimals, day)| (*decimals, day.parse().unwrap())).collect(),
        };
        let mut book = TokenBook::default();
        book.see(&[sighting("ethereum", None, &[])]);
        let december = [sighting("ethereum", Some("USDC"), &[(6, "2024-12-02")])];
        book.see(&december);
        book.see(&[sighting("ethereum", Some("USDC.e"), &[(6, "2025-01-03")])]);
        assert!(book.conflicts().is_empty() && book.changed_in(&december).is_empty());
        let last = [
            sighting("base", None, &[(18, "2025-02-04")]),
            sighting("ethereum", None, &[(18, "2025-02-04"), (6, "2025-02-05")]),
        ];
        book.see(&last);
        assert_eq!(book.changed_in(&last), [(format!("ethereum {}", item(token)), "18".to_owned())]);
        let [conflict] = <[String; 1]>::try_from(book.conflicts()).unwrap();
        assert!(conflict.contains("6 decimals on 2024-12-02 and 18 on 2025-02-04"), "{conflict}");
        assert!(book.has_changed("ethereum", token, 18) && !book.has_changed("ethereum", token, 6));
        assert!(!book.has_changed("base", token, 18));
    }
}
