//! The state of a market: what its answers at a block come to.

use super::accrual::{self, Clock, LastAccrual, Totals, WAD, accrued, last_accrual};
use super::{
    BORROW_RATE_GETTERS, Getter, ICToken, IComptroller, Line, SUPPLY_RATE_GETTERS, Underlying, key,
    token_or_market, underlying,
};
use crate::answers::{Answers, Missing, keep};
use crate::family::{BlockPace, ReserveFigures};
use crate::token::{self, item};
use alloy_sol_types::sol;
use lake::amount::{ratio, whole_tokens};
use lake::bronze::Header;
use lake::registry::Csu;
use lake::status::Role;
use lake::{Address, I256, U256};
use std::collections::BTreeSet;

sol! { function rate() external view returns (uint256); }

/// Of a year of 365 days.
const SECONDS_PER_YEAR: U256 = U256::from_limbs([31_536_000, 0, 0, 0]);

/// The answers of one block, with what else is known of it.
pub(super) struct OfBlock<'a> {
    pub(super) csu: &'a Csu,
    pub(super) answers: &'a Answers<'a>,
    pub(super) block: Header,
    pub(super) pace: BlockPace,
    /// Tokens for which the oracle gives one market one price and another a different one.
    pub(super) disputed: &'a BTreeSet<Address>,
}

/// Figures of a market while they are gathered.
#[derive(Default)]
struct Gathered {
    flags: Vec<&'static str>,
    missing: Vec<Missing>,
}

impl Gathered {
    fn keep<T>(&mut self, answer: Result<T, Missing>) -> Option<T> {
        keep(answer, &mut self.missing)
    }

    /// The answer of a function that not every version has.
    fn keep_if_there<T>(&mut self, answer: Result<T, Missing>) -> Option<T> {
        match answer {
            Err(Missing::Reverted { .. } | Missing::NotAsked { .. }) => None,
            answer => self.keep(answer),
        }
    }
}

/// A market's totals, as kept and as they are.
struct State {
    cash: U256,
    bad_debt: U256,
    supply: U256,
    exchange_rate: U256,
    stored: Totals,
    now: Totals,
}

impl OfBlock<'_> {
    /// The state of one cToken.
    pub(super) fn market(&self, id: &str) -> ReserveFigures {
        let (csu, answers) = (self.csu, self.answers);
        let mut of = Gathered::default();
        let (token, unknown) = token_or_market(csu, answers, id);
        if let Some(why) = unknown {
            of.flags.push("underlying_unknown");
            of.missing.push(why);
        } else if matches!(underlying(csu, answers, id), Ok(Underlying::Native(_))) {
            of.flags.push("native_coin");
        }
        let decimals = of.keep(token::decimals(answers, &item(token)));
        self.remark_on_price(id, token, &mut of);

        let is_minted = self.is_minted(id, token, &mut of);
        let uint = |name| answers.value::<rateCall>(name, id);
        let last = of.keep(last_accrual(answers, id, &csu.chain, self.block));
        let borrow_rate = of.keep(first_that_answers(answers, &BORROW_RATE_GETTERS, id));
        let supply_rate = of.keep(first_that_answers(answers, &SUPPLY_RATE_GETTERS, id));
        let reserve_factor = of.keep(uint(key::RESERVE_FACTOR));
        let cash = of.keep(uint(key::CASH));
        let deficit = of.keep_if_there(uint(key::BAD_DEBT));
        let borrows = of.keep(uint(key::BORROWS));
        let reserves = of.keep(uint(key::RESERVES));
        let supply = of.keep(uint(key::SUPPLY));
        let exchange_rate = of.keep(uint(key::EXCHANGE_RATE));

        let stored = borrows.zip(reserves).map(|(borrows, reserves)| Totals { borrows, reserves });
        let now = stored
            .zip(last)
            .zip(borrow_rate.zip(reserve_factor))
            .and_then(|((stored, last), (rate, factor))| self.now(stored, last, rate, factor, id, &mut of));
        let lacks_bad_debt = deficit.is_none() && !is_absent(answers, key::BAD_DEBT, id);
        let state = cash.zip(stored.zip(now)).zip(supply.zip(exchange_rate)).filter(|_| !lacks_bad_debt).map(
            |((cash, (stored, now)), (supply, exchange_rate))| State {
                cash,
                bad_debt: deficit.unwrap_or_default(),
                supply,
                exchange_rate,
                stored,
                now,
            },
        );
        let supplied = state.as_ref().and_then(|state| of.keep(supplied(state, is_minted, id)));
        let identity_gap = state.as_ref().filter(|_| !is_minted).and_then(identity_gap);

        let annual = |rate: Option<U256>| match last?.clock {
            Clock::Seconds => rate?.checked_mul(SECONDS_PER_YEAR).map(|rate| whole_tokens(rate, 18)),
            Clock::Blocks => Some(whole_tokens(rate?, 18) * self.pace.blocks_per_year()?),
        };
        let parameters = self.parameters(id, &mut of);
        let [borrow_cap, supply_cap] = self.caps(id, decimals, &mut of);
        let [is_frozen, is_paused] = self.pauses(id, &mut of);
        ReserveFigures {
            supplied,
            borrowed: now.map(|now| now.borrows),
            available: cash,
            reserves: now.and_then(|now| I256::try_from(now.reserves).ok()),
            deficit,
            identity_gap,
            supply_apr: annual(supply_rate),
            borrow_apr: annual(borrow_rate),
            ltv: parameters.collateral_factor.and_then(fraction),
            liq_threshold: parameters.liquidation_threshold.and_then(fraction),
            liq_bonus: parameters.liquidation_incentive.and_then(|it| fraction(it.checked_sub(WAD)?)),
            reserve_factor: reserve_factor.and_then(fraction),
            supply_cap,
            borrow_cap,
            is_active: parameters.is_listed,
            is_frozen,
            is_paused,
            flags: of.flags,
            missing: of.missing,
            ..ReserveFigures::new(id.to_owned(), token, if is_minted { Role::Minted } else { Role::Reserve })
        }
    }

    /// The totals with the interest since the last accrual. Where `accrueInterest` reverts, nobody can make that interest
    /// count: the totals as kept are what every transaction meets.
    fn now(
        &self,
        stored: Totals,
        last: LastAccrual,
        rate: U256,
        reserve_factor: U256,
        id: &str,
        of: &mut Gathered,
    ) -> Option<Totals> {
        if Line::of(self.csu) != Line::Sumer && rate > accrual::HIGHEST_RATE && !last.ago.is_zero() {
            of.flags.push("accrual_reverts");
            return Some(stored);
        }
        let totals = accrued(stored, rate, last.ago, reserve_factor).ok_or_else(|| Missing::Unusable {
            key: format!("accrued interest of {id}"),
            why: format!("{} at {rate} for {} leaves 256 bits", stored.borrows, last.ago),
        });
        of.keep(totals)
    }

    /// Whether the debt is minted, not lent: suErc20.sol of Sumer mints what is borrowed and burns what is supplied.
    fn is_minted(&self, id: &str, token: Address, of: &mut Gathered) -> bool {
        if Line::of(self.csu) == Line::Sumer {
            let is_c_token = of.keep(self.answers.value::<ICToken::isCTokenCall>(key::IS_C_TOKEN, id));
            return is_c_token == Some(false);
        }
        self.csu.minted_tokens.contains(&token)
    }

    fn remark_on_price(&self, id: &str, token: Address, of: &mut Gathered) {
        if self.disputed.contains(&token) {
            of.flags.push("price_differs_by_market");
        }
        if super::prices::is_doubtful(self.csu, self.answers, id, token) {
            of.flags.push("price_scale_doubtful");
        }
    }

    fn parameters(&self, id: &str, of: &mut Gathered) -> Parameters {
        let Some(data) = of.keep(self.answers.data(key::PARAMETERS, id)) else {
            return Parameters::default();
        };
        let undecodable =
            || Missing::Undecodable { key: format!("{} of {id}", key::PARAMETERS), length: data.len() };
        let line = Line::of(self.csu);
        let mut parameters = of.keep(Parameters::of(line, data).ok_or_else(undecodable)).unwrap_or_default();
        if parameters.liquidation_incentive.is_none() && line != Line::Sumer {
            let of_all =
                self.answers.value::<IComptroller::liquidationIncentiveMantissaCall>(key::INCENTIVE, "");
            parameters.liquidation_incentive = of.keep_if_there(of_all);
        }
        parameters
    }

    /// Bounds on debt and supply in whole tokens. Nought means "no bound" in compound-protocol Comptroller.sol, Benqi,
    /// Kinetic and Moonwell, "none at all" in isolated-pools Comptroller.sol, sumer-contracts Comptroller.sol and, for
    /// supply, venus-protocol PolicyFacet.sol. For debt in Venus's core pool it came to mean that in early 2024 (526bcd1),
    /// and no answer tells the version.
    fn caps(&self, id: &str, decimals: Option<u8>, of: &mut Gathered) -> [Option<f64>; 2] {
        let line = Line::of(self.csu);
        let [borrow, supply] = if line == Line::Sumer {
            let config = of
                .keep_if_there(self.answers.value::<IComptroller::marketConfigCall>(key::MARKET_CONFIG, id));
            let config = config.as_ref();
            [config.map(|it| U256::from(it.borrowCap)), config.map(|it| U256::from(it.supplyCap))]
        } else {
            let cap = |name| self.answers.value::<rateCall>(name, id);
            [of.keep_if_there(cap(key::BORROW_CAP)), of.keep_if_there(cap(key::SUPPLY_CAP))]
        };
        if line == Line::VenusCore && borrow == Some(U256::ZERO) {
            of.flags.push("borrow_cap_zero");
        }
        let is_bound =
            |cap: &U256, zero_is_bound: bool| *cap != U256::MAX && (zero_is_bound || !cap.is_zero());
        let strict = matches!(line, Line::VenusIsolated | Line::Sumer);
        let in_tokens = |cap: U256| decimals.map(|decimals| whole_tokens(cap, decimals));
        [
            borrow.filter(|cap| is_bound(cap, strict)).and_then(in_tokens),
            supply.filter(|cap| is_bound(cap, strict || line == Line::VenusCore)).and_then(in_tokens),
        ]
    }

    /// Whether new supply and borrowing are off, and whether everything is.
    fn pauses(&self, id: &str, of: &mut Gathered) -> [Option<bool>; 2] {
        let mut both = |mint: &str, borrow: &str| {
            let mut flag = |name: &str| {
                of.keep_if_there(self.answers.value::<IComptroller::mintGuardianPausedCall>(name, id))
            };
            flag(mint).zip(flag(borrow)).map(|(mint, borrow)| mint && borrow)
        };
        match Line::of(self.csu) {
            Line::Compound => [both(key::MINT_PAUSED, key::BORROW_PAUSED), None],
            Line::VenusIsolated => [both(key::MINT_ACTION_PAUSED, key::BORROW_ACTION_PAUSED), None],
            Line::VenusCore => {
                let frozen = both(key::MINT_ACTION_PAUSED, key::BORROW_ACTION_PAUSED);
                let all = self.answers.value::<IComptroller::protocolPausedCall>(key::PROTOCOL_PAUSED, "");
                [frozen, of.keep_if_there(all)]
            }
            Line::Sumer => {
                let config = self.answers.value::<IComptroller::marketConfigCall>(key::MARKET_CONFIG, id);
                let config = of.keep_if_there(config);
                let frozen = config.as_ref().map(|it| it.mintPaused && it.borrowPaused);
                let rest = config.as_ref().map(|it| it.transferPaused && it.seizePaused);
                [frozen, frozen.zip(rest).map(|(frozen, rest)| frozen && rest)]
            }
        }
    }
}

/// Whether the function is not one of this version's: it reverts, or was left out of the plan.
fn is_absent(answers: &Answers<'_>, name: &str, id: &str) -> bool {
    matches!(answers.data(name, id), Err(Missing::Reverted { .. } | Missing::NotAsked { .. }))
}

/// The rate of the getter that answers; if none does, why the first that was asked does not.
fn first_that_answers(answers: &Answers<'_>, getters: &[Getter], id: &str) -> Result<U256, Missing> {
    let mut asked = getters.iter().filter(|getter| answers.asked(getter.key, id));
    let named = getters.iter().find(|getter| answers.data(getter.key, id).is_ok()).or_else(|| asked.next());
    let name = named.or(getters.first()).map_or("", |getter| getter.key);
    answers.value::<rateCall>(name, id)
}

fn fraction(mantissa: U256) -> Option<f64> {
    ratio(mantissa, WAD)
}

/// Claims of suppliers with accrued interest. Nobody has a claim on what is left in a market without cTokens. A market that
/// mints its token keeps a constant exchange rate (sumer-contracts CToken.sol `exchangeRateStoredInternal`), whatever its
/// cash.
fn supplied(state: &State, is_minted: bool, id: &str) -> Result<U256, Missing> {
    if state.supply.is_zero() {
        return Ok(U256::ZERO);
    }
    let claims = if is_minted {
        state.supply.checked_mul(state.exchange_rate).map(|claims| claims / WAD)
    } else {
        state
            .cash
            .checked_add(state.now.borrows)
            .and_then(|sum| sum.checked_add(state.bad_debt))
            .and_then(|sum| sum.checked_sub(state.now.reserves))
    };
    claims.ok_or_else(|| Missing::Unusable {
        key: format!("supply of {id}"),
        why: format!("the protocol's share {} is more than the market has", state.now.reserves),
    })
}

/// `getCash + totalBorrows + badDebt - totalReserves - totalSupply x exchangeRateStored / 1e18`, all as the contract keeps
/// them.
fn identity_gap(state: &State) -> Option<I256> {
    let signed = |amount: U256| I256::try_from(amount).ok();
    let claims = state.supply.checked_mul(state.exchange_rate)? / WAD;
    signed(state.cash)?
        .checked_add(signed(state.stored.borrows)?)?
        .checked_add(signed(state.bad_debt)?)?
        .checked_sub(signed(state.stored.reserves)?)?
        .checked_sub(signed(claims)?)
}

/// What `markets(cToken)` tells, as mantissas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Parameters {
    is_listed: Option<bool>,
    collateral_factor: Option<U256>,
    liquidation_threshold: Option<U256>,
    liquidation_incentive: Option<U256>,
}

impl Parameters {
    /// | words | version |
    /// |---|---|
    /// | 2: listed, factor | Moonwell, Kinetic (ComptrollerStorage.sol) |
    /// | 3: listed, factor, flag or version | compound-protocol, Benqi, Venus core until 2025 (ComptrollerStorageR1.sol), Strike; Iron Bank and JoeLend end with the cToken's version |
    /// | 3: listed, factor, threshold | isolated-pools ComptrollerStorage.sol |
    /// | 7: listed, factor, flag, threshold, incentive, pool, flag | Venus core since (MarketFacet.sol `markets`) |
    /// | 3: listed, group, flag | Sumer (ComptrollerStorage.sol): what a group may borrow depends on the debt's group |
    ///
    /// A flag or a version is a small number, a threshold is a mantissa. Where there is none, debt is liquidated beyond
    /// what may be borrowed: at the factor.
    fn of(line: Line, data: &[u8]) -> Option<Self> {
        let (words, rest) = data.as_chunks::<32>();
        if !rest.is_empty() {
            return None;
        }
        let words: Vec<U256> = words.iter().map(|word| U256::from_be_bytes(*word)).collect();
        let flag = |word: &U256| match u8::try_from(*word) {
            Ok(0) => Some(false),
            Ok(1) => Some(true),
            _ => None,
        };
        let (is_listed, factor, more) = match words.as_slice() {
            [listed, factor, more @ ..] => (flag(listed)?, *factor, more),
            _ => return None,
        };
        let listed = Self { is_listed: Some(is_listed), ..Self::default() };
        if line == Line::Sumer {
            return Some(listed);
        }
        let with = |threshold, liquidation_incentive| Self {
            collateral_factor: Some(factor),
            liquidation_threshold: Some(threshold),
            liquidation_incentive,
            ..listed
        };
        match more {
            [] => Some(with(factor, None)),
            [flag_or_threshold] => {
                let is_flag = *flag_or_threshold <= U256::from(u8::MAX);
                Some(with(if is_flag { factor } else { *flag_or_threshold }, None))
            }
            [_, threshold, incentive, _, _] => Some(with(*threshold, Some(*incentive))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_sol_types::SolValue;
    use proptest::prelude::*;

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| U256::from(*word).abi_encode()).collect()
    }

    const FACTOR: u64 = 750_000_000_000_000_000;
    const THRESHOLD: u64 = 800_000_000_000_000_000;
    const INCENTIVE: u64 = 1_100_000_000_000_000_000;

    #[test]
    fn the_length_of_markets_tells_its_version() {
        let read = |line, data: &[u64]| {
            let it = Parameters::of(line, &words(data)).unwrap();
            let f = |mantissa: Option<U256>| mantissa.map(|mantissa| fraction(mantissa).unwrap());
            (it.is_listed, f(it.collateral_factor), f(it.liquidation_threshold), f(it.liquidation_incentive))
        };
        let yes = Some(true);
        assert_eq!(read(Line::Compound, &[1, FACTOR]), (yes, Some(0.75), Some(0.75), None), "Moonwell");
        assert_eq!(read(Line::Compound, &[1, FACTOR, 1]), (yes, Some(0.75), Some(0.75), None), "Compound");
        assert_eq!(read(Line::Compound, &[1, FACTOR, 2]), (yes, Some(0.75), Some(0.75), None), "JoeLend");
        assert_eq!(
            read(Line::VenusIsolated, &[1, FACTOR, THRESHOLD]),
            (yes, Some(0.75), Some(0.8), None),
            "isolated pool"
        );
        assert_eq!(
            read(Line::VenusCore, &[1, FACTOR, 1, THRESHOLD, INCENTIVE, 0, 1]),
            (yes, Some(0.75), Some(0.8), Some(1.1)),
            "Venus since 2025"
        );
        assert_eq!(read(Line::Sumer, &[1, 3, 0]), (yes, None, None, None), "a group is no factor");
        assert_eq!(read(Line::Compound, &[0, 0, 0]).0, Some(false));
    }

    #[test]
    fn other_answers_are_none_of_these() {
        for data in
            [vec![], words(&[1]), words(&[2, FACTOR]), words(&[1, FACTOR, 0, 0]), vec![0; 65], vec![0xff; 96]]
        {
            assert_eq!(Parameters::of(Line::Compound, &data), None, "{} bytes", data.len());
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            for line in [Line::Compound, Line::VenusCore, Line::VenusIsolated, Line::Sumer] {
                let _ = Parameters::of(line, &data).map(|it| it.collateral_factor.and_then(fraction));
            }
        }
    }
}
