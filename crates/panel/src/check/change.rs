//! Checks from day to day: G8. All are warnings: they show where a change of registry, decoder or market wants a look.

use super::gold::Gold;
use super::{CheckError, OfGold, Subject};
use crate::silver::Month;
use lake::day::Day;
use lake::failure::Failure;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Half up or half down, in logarithms, is more than lenders do in a day without a price having moved.
const JUMP: f64 = 0.5;
/// Prices that moved by less count as unchanged.
const UNCHANGED: f64 = 0.05;
/// A day's TVL over that of the day before.
const COLLAPSE: f64 = 0.01;
/// Half a year without a liquidation, in measured days.
const QUIET_DAYS: usize = 180;

/// A row, its CSU's row of the day before, and both values of a column.
struct Pair {
    before: usize,
    row: usize,
    from: f64,
    to: f64,
}

/// Rows whose day before was measured, too.
fn pairs(gold: &Gold, column: &str) -> Vec<Pair> {
    let values = gold.numbers(column);
    let pair = |row: usize| {
        let before = row - 1;
        let follows = gold.csus[before] == gold.csus[row] && gold.days[before].next() == gold.days[row];
        let (from, to) = values[before].zip(values[row]).filter(|_| follows)?;
        Some(Pair { before, row, from, to })
    };
    (1..gold.height()).filter_map(pair).collect()
}

/// Pairs of days between which supply jumped, for whatever reason.
fn jumps(gold: &Gold) -> Vec<Pair> {
    let is_jump = |pair: &Pair| pair.from > 0.0 && pair.to > 0.0 && (pair.to / pair.from).ln().abs() > JUMP;
    pairs(gold, "supplied_usd").into_iter().filter(is_jump).collect()
}

/// Price of each reserve, on the days around a jump.
#[derive(Default)]
pub(super) struct Prices {
    of: HashMap<(String, i32), BTreeMap<String, Option<f64>>>,
    wanted: BTreeSet<(String, i32)>,
}

impl Prices {
    /// Which days will be asked for.
    pub(super) fn wanted_by(gold: &Gold) -> Self {
        let key = |row: usize| (gold.csus[row].clone(), gold.days[row].days_since_epoch());
        let wanted = jumps(gold).iter().flat_map(|pair| [key(pair.before), key(pair.row)]).collect();
        Self { wanted, ..Self::default() }
    }

    /// Notes the wanted days of a month.
    pub(super) fn note(&mut self, month: &Month) -> Result<(), CheckError> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        let rows = &month.reserve_day;
        let text = |name: &str| Ok::<_, CheckError>(rows.column(name)?.str()?.iter());
        let keys = text("csu")?.zip(rows.column("date")?.i32()?.iter());
        let names = text("market_id")?.zip(text("token")?).zip(text("role")?);
        for (((csu, day), ((market, token), role)), price) in
            keys.zip(names).zip(rows.column("price_usd")?.f64()?.iter())
        {
            let (Some(csu), Some(day)) = (csu, day) else { continue };
            let key = (csu.to_owned(), day);
            if self.wanted.contains(&key) {
                let name = [market, token, role].map(Option::unwrap_or_default).join(" ");
                self.of.entry(key).or_default().insert(name, price);
            }
        }
        Ok(())
    }
}

/// Supply that jumped though the reserves are the same and their prices stood still.
pub(super) fn jump(subject: &Subject<'_>) -> Result<Vec<Failure>, CheckError> {
    let gold = subject.gold;
    let mut failures = Vec::new();
    for pair in jumps(gold) {
        let of =
            |row: usize| subject.prices.of.get(&(gold.csus[row].clone(), gold.days[row].days_since_epoch()));
        let Some((before, after)) = of(pair.before).zip(of(pair.row)) else { continue };
        if !before.keys().eq(after.keys()) {
            continue;
        }
        let moved = before.values().zip(after.values()).any(|prices| match prices {
            (Some(from), Some(to)) => (to / from).ln().abs() > UNCHANGED,
            (from, to) => from.is_some() != to.is_some(),
        });
        if !moved {
            let why = format!(
                "{:+.0}% in a day, with the same reserves and prices",
                (pair.to / pair.from - 1.0) * 100.0
            );
            let failure = Failure::new(why).of_row(gold, pair.row).column("supplied_usd");
            failures.push(failure.found_number(Some(pair.to)).expected_number(Some(pair.from)));
        }
    }
    Ok(failures)
}

/// Value that is gone from one day to the next.
pub(super) fn collapse(subject: &Subject<'_>) -> Result<Vec<Failure>, CheckError> {
    let failure = |pair: Pair| {
        let why = format!("{:.2}% of the day before", pair.to / pair.from * 100.0);
        let failure = Failure::new(why).of_row(subject.gold, pair.row).column("tvl_usd");
        failure.found_number(Some(pair.to)).expected_number(Some(pair.from))
    };
    let collapsed = pairs(subject.gold, "tvl_usd").into_iter();
    Ok(collapsed.filter(|pair| pair.from > 0.0 && pair.to < COLLAPSE * pair.from).map(failure).collect())
}

/// Days on which a CSU had no liquidation though each was scanned whole.
struct Quiet {
    csu: String,
    from: Day,
    to: Day,
    days: usize,
}

/// An event whose signature was taken down wrongly is never seen, and its absence looks like calm.
pub(super) fn dead_signature(subject: &Subject<'_>) -> Result<Vec<Failure>, CheckError> {
    let gold = subject.gold;
    let counts = gold.numbers("liq_count");
    let mut quiet: Vec<Quiet> = Vec::new();
    let mut open: Option<Quiet> = None;
    for (row, count) in counts.iter().enumerate() {
        let (csu, day) = (&gold.csus[row], gold.days[row]);
        if open.as_ref().is_some_and(|open| open.csu != *csu) {
            quiet.extend(open.take());
        }
        match count {
            // Nobody looked: the day neither counts nor ends the calm.
            None => {}
            Some(0.0) => {
                let calm =
                    open.get_or_insert_with(|| Quiet { csu: csu.clone(), from: day, to: day, days: 0 });
                calm.to = day;
                calm.days += 1;
            }
            Some(_) => quiet.extend(open.take()),
        }
    }
    quiet.extend(open);

    let (chains, families) = (gold.texts("chain"), gold.texts("family"));
    let mut home: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
    for row in 0..gold.height() {
        home.insert(&gold.csus[row], (chains[row], families[row]));
    }
    let mut failures = Vec::new();
    for calm in quiet.iter().filter(|calm| calm.days >= QUIET_DAYS) {
        let Some((chain, family)) = home.get(calm.csu.as_str()) else { continue };
        let mut peers: BTreeMap<&str, f64> = BTreeMap::new();
        for row in 0..gold.height() {
            let is_peer = gold.csus[row] != calm.csu && (chains[row] == *chain || families[row] == *family);
            let count = counts[row].filter(|count| *count > 0.0 && is_peer);
            if let Some(count) = count.filter(|_| (calm.from..=calm.to).contains(&gold.days[row])) {
                *peers.entry(&gold.csus[row]).or_default() += count;
            }
        }
        let busiest = peers.iter().max_by(|one, two| one.1.total_cmp(two.1));
        if let Some((peer, count)) = busiest {
            let why = format!(
                "no liquidation in {} measured days since {}, {peer} had {count}: is the event's signature right?",
                calm.days, calm.from
            );
            let failure = Failure::new(why).csu(&calm.csu).date(calm.to).column("liq_count");
            failures.push(failure.found_number(Some(0.0)).expected("some"));
        }
    }
    Ok(failures)
}
