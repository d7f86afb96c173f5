//! The rows of `reserve_day`: the state of every token of every market at the day's last block, in US dollars at the
//! oracle's price of that block.

use crate::prices::{At, OwnFeeds, PriceBook, Valuation};
use crate::read::Month;
use crate::tokens::TokenBook;
use lake::amount::{signed_whole_tokens, whole_tokens};
use lake::day::Day;
use lake::registry::{Chain, Csu, Pricing, Registry};
use lake::schema::silver::ReserveDay;
use lake::status::Status;
use lake::{Address, I256, U256};
use protocols::token::item;
use protocols::{ReserveFigures, Snapshot};

/// Whether the registry leaves a token out of pricing.
pub fn is_excluded(registry: &Registry, chain: &str, token: Address) -> bool {
    registry.token(chain, token).is_some_and(|facts| facts.pricing == Pricing::Excluded)
}

/// The rows of a month.
pub fn rows(
    registry: &Registry,
    month: &Month,
    tokens: &TokenBook,
    prices: &mut PriceBook,
) -> Vec<ReserveDay> {
    let mut rows = Vec::new();
    for ((csu, date), object) in &month.snapshots {
        let Some(day) = object.sound() else { continue };
        let Ok(snapshot) = &day.snapshot else { continue };
        let Some((csu, chain)) = registry.csu(csu).and_then(|csu| Some((csu, registry.chain_of(csu)?)))
        else {
            continue;
        };
        let at = At { chain_id: chain.chain_id, block: day.block.number };
        let of = OfSnapshot { registry, csu, chain, date: *date, at, snapshot, sha256: &object.sha256 };
        let own = OwnFeeds::of(&snapshot.prices);
        for figures in &snapshot.reserves {
            let valuation = if is_excluded(registry, &chain.name, figures.token) {
                Valuation::Excluded
            } else {
                prices.select(at, figures.token, &own).map_or_else(Valuation::Unpriced, Valuation::Priced)
            };
            rows.push(of.row(figures, valuation, tokens));
        }
    }
    rows
}

#[derive(Clone, Copy)]
struct OfSnapshot<'a> {
    registry: &'a Registry,
    csu: &'a Csu,
    chain: &'a Chain,
    date: Day,
    at: At,
    snapshot: &'a Snapshot,
    sha256: &'a str,
}

impl OfSnapshot<'_> {
    fn row(self, figures: &ReserveFigures, valuation: Valuation, tokens: &TokenBook) -> ReserveDay {
        let token = self.snapshot.tokens.iter().find(|answer| answer.token == figures.token);
        let decimals = token.and_then(|token| token.decimals);
        let facts = self.registry.token(&self.chain.name, figures.token);
        let price = valuation.selected();

        let whole = |raw: Option<U256>| Some(whole_tokens(raw?, decimals?));
        let signed = |raw: Option<I256>| Some(signed_whole_tokens(raw?, decimals?));
        let usd = |raw: Option<U256>| valuation.usd(raw?.is_zero(), whole(raw));
        let signed_usd = |raw: Option<I256>| valuation.usd(raw?.is_zero(), signed(raw));
        let text = |raw: Option<U256>| raw.map(|raw| raw.to_string());

        let mut flags: Vec<String> = figures.flags.iter().map(|flag| (*flag).to_owned()).collect();
        if facts.is_none() {
            flags.push("unlisted_token".into());
        }
        flags.extend(valuation.flags());
        match decimals {
            None => flags.push("no_decimals".into()),
            Some(decimals) if tokens.has_changed(&self.chain.name, figures.token, decimals) => {
                flags.push("decimals_changed".into());
            }
            Some(_) => {}
        }

        ReserveDay {
            csu: self.csu.id.clone(),
            date: self.date,
            market_id: figures.market_id.clone(),
            token: item(figures.token),
            role: figures.role,
            block_number: i64::try_from(self.at.block).unwrap_or(i64::MAX),
            symbol: token.and_then(|token| token.symbol.clone()),
            decimals: decimals.map(i32::from),
            supplied_raw: text(figures.supplied),
            borrowed_raw: text(figures.borrowed),
            available_raw: text(figures.available),
            reserves_raw: figures.reserves.map(|raw| raw.to_string()),
            deficit_raw: text(figures.deficit),
            supplied: whole(figures.supplied),
            borrowed: whole(figures.borrowed),
            available: whole(figures.available),
            reserves: signed(figures.reserves),
            deficit: whole(figures.deficit),
            identity_gap: signed(figures.identity_gap),
            price_usd: price.map(|price| price.usd),
            price_source: price.map(|price| price.source),
            price_age_s: price.and_then(|price| price.age_s),
            supplied_usd: usd(figures.supplied),
            borrowed_usd: usd(figures.borrowed),
            available_usd: usd(figures.available),
            reserves_usd: signed_usd(figures.reserves),
            deficit_usd: usd(figures.deficit),
            supply_apr: figures.supply_apr,
            borrow_apr: figures.borrow_apr,
            borrow_apr_stable_mode: figures.borrow_apr_stable_mode,
            ltv: figures.ltv,
            liq_threshold: figures.liq_threshold,
            liq_bonus: figures.liq_bonus,
            reserve_factor: figures.reserve_factor,
            supply_cap: figures.supply_cap,
            borrow_cap: figures.borrow_cap,
            is_active: figures.is_active,
            is_frozen: figures.is_frozen,
            is_paused: figures.is_paused,
            asset_class: facts.map_or("other", |facts| facts.asset_class.as_str()).to_owned(),
            is_stablecoin: facts.is_some_and(|facts| facts.is_stablecoin),
            status: if figures.missing.is_empty() { Status::Collected } else { Status::Partial },
            flags: flags.join(";"),
            bronze_sha256: self.sha256.to_owned(),
        }
    }
}
