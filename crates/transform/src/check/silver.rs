//! Silver as the checks see it: the rows that lie in the lake, not those that the build had in mind.

use super::{CheckError, Subject};
use crate::prices::NoPrice;
use crate::prices::rule::{DISAGREEMENT, HEARTBEATS};
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, RecordBatch};
use lake::day::Day;
use lake::failure::Failure;
use lake::path::{silver_month, silver_whole};
use lake::registry::Registry;
use lake::schema::silver::{Coverage, CsuRow, DayBlock, Liquidation, Price, Reject, ReserveDay, TokenRow};
use lake::schema::{KeyPart, Row, Table};
use lake::status::{Dataset, PriceSource, Status};
use lake::store::Lake;
use lake::table_file::read_batch;
use lake::{Address, I256, U256};
use object_store::path::Path;
use protocols::LogReading;
use protocols::token::item;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The identity may be off by this share of what was supplied.
const IDENTITY: f64 = 1e-5;
/// Beyond this share it is an error.
const IDENTITY_LARGE: f64 = 1e-3;
/// What the identity may be off by whatever was supplied, in tokens: dust that lies in every pool.
const IDENTITY_DUST: f64 = 1e-6;
/// Largest rate, as a fraction a year.
const LARGEST_RATE: f64 = 10.0;
/// Largest change of a price from day to day, in logarithm.
const JUMP: f64 = 0.3;
/// What a stablecoin may cost.
const PEG: (f64, f64) = (0.95, 1.05);
/// What a liquidator may get over what was repaid, as a fraction.
const BONUS: (f64, f64) = (-0.05, 0.25);
/// Liquidations below so many US dollars are left out: the rounding of base units shows in them.
const SMALLEST: f64 = 1.0;

/// One file of a table.
struct Loaded<R> {
    rows: Vec<R>,
    schema: Vec<Failure>,
    keys: Vec<Failure>,
    ranges: Vec<Failure>,
}

impl<R: Row> Loaded<R> {
    async fn read(lake: &Lake, path: Path) -> Result<Self, CheckError> {
        let mut loaded = Self { rows: Vec::new(), schema: Vec::new(), keys: Vec::new(), ranges: Vec::new() };
        let about = |why: String| Failure::new(why).column(path.to_string());
        let Some(bytes) = lake.get(&path).await? else {
            loaded.schema.push(about("it is not there: transform run builds it".into()));
            return Ok(loaded);
        };
        let batch = match read_batch(bytes) {
            Ok(batch) => batch,
            Err(error) => {
                loaded.schema.push(about(format!("it cannot be read: {error}")));
                return Ok(loaded);
            }
        };
        loaded.schema.extend(schema_of(&R::TABLE, &batch).into_iter().map(|failure| in_file(failure, &path)));
        loaded.keys.extend(null_keys(&R::TABLE, &batch));
        loaded.ranges.extend(no_numbers(&R::TABLE, &batch));
        match R::from_batch(&batch) {
            Ok(rows) => loaded.rows = rows,
            Err(error) if loaded.schema.is_empty() && loaded.keys.is_empty() => {
                loaded.schema.push(about(error.to_string()));
            }
            Err(_) => {}
        }
        let keys: Vec<Vec<KeyPart>> = loaded.rows.iter().map(Row::key).collect();
        for pair in keys.windows(2).filter(|pair| pair[0] >= pair[1]) {
            let why = if pair[0] == pair[1] { "a key is there twice" } else { "keys are not in order" };
            let key: Vec<String> = pair[1].iter().map(key_text).collect();
            loaded.keys.push(Failure::new(format!("{}: {why}", R::TABLE.name)).found(key.join(" ")));
        }
        Ok(loaded)
    }
}

fn in_file(failure: Failure, path: &Path) -> Failure {
    Failure { why: format!("{path}: {}", failure.why), ..failure }
}

fn key_text(part: &KeyPart) -> String {
    match part {
        KeyPart::Number(number) => number.to_string(),
        KeyPart::Text(text) => text.clone(),
    }
}

fn schema_of(table: &Table, batch: &RecordBatch) -> Vec<Failure> {
    let (declared, found) = (table.arrow_schema(), batch.schema());
    let mut failures = Vec::new();
    let names = |schema: &arrow_schema::Schema| {
        schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
    };
    if names(&declared) != names(&found) {
        let failure = Failure::new("another list of columns");
        failures.push(failure.found(names(&found).join(" ")).expected(names(&declared).join(" ")));
    }
    for field in declared.fields() {
        let Ok(there) = found.field_with_name(field.name()) else { continue };
        if there != field.as_ref() {
            let failure =
                Failure::new("another type, null rule, unit or description").column(field.name().as_str());
            failures.push(failure.found(format!("{there:?}")).expected(format!("{field:?}")));
        }
    }
    for (name, value) in declared.metadata() {
        if found.metadata().get(name) != Some(value) {
            let failure = Failure::new(format!("another {name}")).expected(value);
            failures.push(match found.metadata().get(name) {
                Some(found) => failure.found(found),
                None => failure,
            });
        }
    }
    failures
}

fn null_keys(table: &Table, batch: &RecordBatch) -> Vec<Failure> {
    let nulls = |name: &str| batch.column_by_name(name).map_or(0, |column| column.null_count());
    let null = table.key().into_iter().filter(|name| nulls(name) > 0);
    null.map(|name| Failure::new(format!("{}: a key is null", table.name)).column(name).found(nulls(name)))
        .collect()
}

/// Floats that are no numbers.
fn no_numbers(table: &Table, batch: &RecordBatch) -> Vec<Failure> {
    let mut failures = Vec::new();
    for column in table.columns {
        let Some(array) =
            batch.column_by_name(column.name).and_then(|array| array.as_primitive_opt::<Float64Type>())
        else {
            continue;
        };
        for (row, value) in array.iter().enumerate() {
            if let Some(value) = value.filter(|value| !value.is_finite()) {
                let failure = Failure::new(format!("{}: row {row} is no number", table.name));
                failures.push(failure.column(column.name).found(value));
            }
        }
    }
    failures
}

/// The tables without partitions.
pub(super) struct Whole {
    csu: Loaded<CsuRow>,
    token: Loaded<TokenRow>,
    csus: BTreeSet<String>,
    tokens: HashSet<(i64, String)>,
}

impl Whole {
    pub(super) async fn read(lake: &Lake) -> Result<Self, CheckError> {
        let csu = Loaded::<CsuRow>::read(lake, silver_whole(CsuRow::TABLE.name)).await?;
        let token = Loaded::<TokenRow>::read(lake, silver_whole(TokenRow::TABLE.name)).await?;
        let csus = csu.rows.iter().map(|row| row.csu.clone()).collect();
        let tokens = token.rows.iter().map(|row| (row.chain_id, row.token.clone())).collect();
        Ok(Self { csu, token, csus, tokens })
    }
}

/// Silver of a month.
pub(super) struct Silver {
    day_block: Loaded<DayBlock>,
    reserve_day: Loaded<ReserveDay>,
    liquidation: Loaded<Liquidation>,
    reject: Loaded<Reject>,
    price: Loaded<Price>,
    coverage: Loaded<Coverage>,
}

impl Silver {
    pub(super) async fn read(lake: &Lake, month: &str) -> Result<Self, CheckError> {
        let path = |table: &Table| silver_month(table.name, month);
        Ok(Self {
            day_block: Loaded::read(lake, path(&DayBlock::TABLE)).await?,
            reserve_day: Loaded::read(lake, path(&ReserveDay::TABLE)).await?,
            liquidation: Loaded::read(lake, path(&Liquidation::TABLE)).await?,
            reject: Loaded::read(lake, path(&Reject::TABLE)).await?,
            price: Loaded::read(lake, path(&Price::TABLE)).await?,
            coverage: Loaded::read(lake, path(&Coverage::TABLE)).await?,
        })
    }
}

/// What later months are held against.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// Decimals and symbol of a token, by chain and address, as first seen.
    tokens: BTreeMap<(String, String), (Option<i32>, Option<String>)>,
    /// Last day and price of a CSU's token.
    prices: BTreeMap<(String, String), (Day, f64)>,
    /// Whether a month was looked at.
    any: bool,
}

impl Before {
    pub(super) fn note(&mut self, silver: &Silver, registry: &Registry) {
        self.any = true;
        for row in in_order_of_day(&silver.reserve_day.rows) {
            if let Some(csu) = registry.csu(&row.csu) {
                let seen = self.tokens.entry((csu.chain.clone(), row.token.clone())).or_default();
                seen.0 = seen.0.or(row.decimals);
                seen.1 = seen.1.take().or_else(|| row.symbol.clone());
            }
            if let Some(price) = row.price_usd {
                self.prices.insert((row.csu.clone(), row.token.clone()), (row.date, price));
            }
        }
    }
}

fn in_order_of_day(rows: &[ReserveDay]) -> Vec<&ReserveDay> {
    let mut rows: Vec<&ReserveDay> = rows.iter().collect();
    rows.sort_by_key(|row| row.date);
    rows
}

/// The tables without partitions, with the first month only: what is wrong with them is told once.
fn whole<'a>(subject: &Subject<'a>) -> Option<&'a Whole> {
    (!subject.before.silver.any).then_some(subject.whole)
}

fn of_reserve(row: &ReserveDay, why: impl Into<String>) -> Failure {
    let why: String = why.into();
    Failure::new(format!("token {} of market {} as {}: {why}", row.token, row.market_id, row.role))
        .csu(&row.csu)
        .date(row.date)
}

fn of_log(csu: &str, date: Day, block: i64, index: i32, why: &str) -> Failure {
    Failure::new(format!("log {index} of block {block}: {why}")).csu(csu).date(date)
}

/// S1.
pub(super) fn keys(subject: &Subject<'_>) -> Vec<Failure> {
    let silver = subject.silver;
    let of_whole = whole(subject).map(|whole| [&whole.csu.keys, &whole.token.keys]);
    let mut failures: Vec<Failure> = of_whole.into_iter().flatten().flatten().cloned().collect();
    for found in [
        &silver.day_block.keys,
        &silver.reserve_day.keys,
        &silver.liquidation.keys,
        &silver.reject.keys,
        &silver.price.keys,
        &silver.coverage.keys,
    ] {
        failures.extend_from_slice(found);
    }
    failures
}

/// S2.
pub(super) fn schema(subject: &Subject<'_>) -> Vec<Failure> {
    let silver = subject.silver;
    let of_whole = whole(subject).map(|whole| [&whole.csu.schema, &whole.token.schema]);
    let mut failures: Vec<Failure> = of_whole.into_iter().flatten().flatten().cloned().collect();
    for found in [
        &silver.day_block.schema,
        &silver.reserve_day.schema,
        &silver.liquidation.schema,
        &silver.reject.schema,
        &silver.price.schema,
        &silver.coverage.schema,
    ] {
        failures.extend_from_slice(found);
    }
    failures
}

/// S3. Bronze is decoded again: what its families read of it must lie in silver, all of it and nothing else.
pub(super) fn conservation(subject: &Subject<'_>) -> Vec<Failure> {
    let (month, silver) = (subject.month, subject.silver);
    let mut failures = Vec::new();
    let compare = |csu: &str, date: Day, what: &str, found: BTreeSet<String>, expected: BTreeSet<String>| {
        if found == expected {
            return None;
        }
        let first = found.symmetric_difference(&expected).next().cloned().unwrap_or_default();
        let failure =
            Failure::new(format!("another number of {what} than in bronze, or others; the first is {first}"));
        Some(failure.csu(csu).date(date).found(found.len()).expected(expected.len()))
    };

    let mut listed: BTreeMap<(&str, Day), BTreeSet<String>> = BTreeMap::new();
    for row in &silver.reserve_day.rows {
        let entry = listed.entry((&row.csu, row.date)).or_default();
        entry.insert(format!("{} {} {}", row.market_id, row.token, row.role));
    }
    for ((csu, date), object) in &month.snapshots {
        let found = listed.remove(&(csu.as_str(), *date)).unwrap_or_default();
        let snapshot = object.sound().and_then(|day| day.snapshot.as_ref().ok());
        let expected = snapshot
            .into_iter()
            .flat_map(|snapshot| &snapshot.reserves)
            .map(|figures| format!("{} {} {}", figures.market_id, item(figures.token), figures.role));
        failures.extend(compare(csu, *date, "reserves", found, expected.collect()));
    }
    failures.extend(
        listed
            .into_iter()
            .filter_map(|((csu, date), found)| compare(csu, date, "reserves", found, BTreeSet::new())),
    );

    let mut rows: BTreeMap<(&str, Day), BTreeSet<String>> = BTreeMap::new();
    let text = |block: u64, index: u64| format!("log {index} of block {block}");
    for row in &silver.liquidation.rows {
        let entry = rows.entry((&row.csu, row.date)).or_default();
        entry.insert(format!("log {} of block {}", row.log_index, row.block_number));
    }
    for row in &silver.reject.rows {
        let entry = rows.entry((&row.csu, row.date)).or_default();
        if !entry.insert(format!("log {} of block {}", row.log_index, row.block_number)) {
            failures.push(of_log(
                &row.csu,
                row.date,
                row.block_number,
                row.log_index,
                "it is a leg and a reject",
            ));
        }
    }
    for ((csu, date), object) in &month.logs {
        let found = rows.remove(&(csu.as_str(), *date)).unwrap_or_default();
        let day = object.sound();
        let mut expected: BTreeSet<String> = day
            .into_iter()
            .flat_map(|day| &day.logs)
            .map(|log| text(log.block_number, log.log_index))
            .collect();
        for reading in day.into_iter().flat_map(|day| &day.readings) {
            if let LogReading::Context { block_number, log_index } = reading {
                expected.remove(&text(*block_number, *log_index));
            }
        }
        failures.extend(compare(csu, *date, "logs", found, expected));
    }
    failures.extend(
        rows.into_iter()
            .filter_map(|((csu, date), found)| compare(csu, date, "logs", found, BTreeSet::new())),
    );
    failures
}

/// The first facts of a token that this month's rows are held against, in order of day.
fn against_first<T: PartialEq + Clone + ToString>(
    subject: &Subject<'_>,
    column: &str,
    earlier: impl Fn(&(Option<i32>, Option<String>)) -> Option<T>,
    of: impl Fn(&ReserveDay) -> Option<T>,
) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut first: HashMap<(String, &str), T> = HashMap::new();
    for row in in_order_of_day(&subject.silver.reserve_day.rows) {
        let (Some(found), Some(csu)) = (of(row), subject.registry.csu(&row.csu)) else { continue };
        let known = subject.before.silver.tokens.get(&(csu.chain.clone(), row.token.clone()));
        let expected = first
            .entry((csu.chain.clone(), row.token.as_str()))
            .or_insert_with(|| known.and_then(&earlier).unwrap_or_else(|| found.clone()));
        if found != *expected {
            let failure =
                of_reserve(row, format!("another {column} than when it was first seen")).column(column);
            failures.push(failure.found(found.to_string()).expected(expected.to_string()));
        }
    }
    failures
}

/// S4, decimals.
pub(super) fn decimals(subject: &Subject<'_>) -> Vec<Failure> {
    let not_read =
        |row: &&TokenRow| row.decimals.is_some() != (row.decimals_source.as_deref() == Some("onchain"));
    let tokens = whole(subject).into_iter().flat_map(|whole| &whole.token.rows);
    let mut failures: Vec<Failure> = tokens
        .filter(not_read)
        .map(|row| {
            Failure::new(format!(
                "token {} of {}: its decimals were not read on the chain",
                row.token, row.chain
            ))
            .column("decimals_source")
        })
        .collect();
    failures.extend(against_first(subject, "decimals", |seen| seen.0, |row| row.decimals));
    failures
}

/// S4, amounts that nobody can read in whole tokens.
pub(super) fn no_decimals(subject: &Subject<'_>) -> Vec<Failure> {
    let silver = subject.silver;
    let of_reserves = silver
        .reserve_day
        .rows
        .iter()
        .filter(|row| row.decimals.is_none() && (row.supplied_raw.is_some() || row.borrowed_raw.is_some()))
        .map(|row| of_reserve(row, "its decimals are not known").column("decimals"));
    let of_legs = silver.liquidation.rows.iter().flat_map(|row| {
        let sides = [("debt_raw", &row.debt_raw, row.debt), ("coll_raw", &row.coll_raw, row.coll)];
        sides.into_iter().filter(|(_, raw, whole)| raw.is_some() && whole.is_none()).map(
            |(column, raw, _)| {
                let why = "the decimals of its token are not known";
                let failure = of_log(&row.csu, row.date, row.block_number, row.log_index, why).column(column);
                failure.found(raw.clone().unwrap_or_default())
            },
        )
    });
    of_reserves.chain(of_legs).collect()
}

/// S4, symbols.
pub(super) fn symbols(subject: &Subject<'_>) -> Vec<Failure> {
    against_first(subject, "symbol", |seen| seen.1.clone(), |row| row.symbol.clone())
}

fn off_by_more_than(subject: &Subject<'_>, share: f64) -> Vec<Failure> {
    let failure = |row: &ReserveDay| {
        let (gap, supplied) = row.identity_gap.zip(row.supplied)?;
        let limit = (share * supplied).max(IDENTITY_DUST);
        (gap.abs() > limit).then(|| {
            let failure = of_reserve(row, "the accounting identity does not hold").column("identity_gap");
            failure.found(gap).expected(format!("at most {limit}"))
        })
    };
    subject.silver.reserve_day.rows.iter().filter_map(failure).collect()
}

/// S5.
pub(super) fn identity(subject: &Subject<'_>) -> Vec<Failure> {
    off_by_more_than(subject, IDENTITY)
}

/// S5, beyond what any rounding explains.
pub(super) fn identity_large(subject: &Subject<'_>) -> Vec<Failure> {
    off_by_more_than(subject, IDENTITY_LARGE)
}

/// S6.
pub(super) fn ranges(subject: &Subject<'_>) -> Vec<Failure> {
    let silver = subject.silver;
    let mut failures = Vec::new();
    for found in [&silver.reserve_day.ranges, &silver.liquidation.ranges, &silver.price.ranges] {
        failures.extend_from_slice(found);
    }
    let is_amount =
        |raw: &Option<String>| raw.as_ref().is_none_or(|raw| U256::from_str_radix(raw, 10).is_ok());
    for row in &silver.reserve_day.rows {
        let mut must = |holds: bool, column: &str, found: String| {
            if !holds {
                failures.push(of_reserve(row, "out of range").column(column).found(found));
            }
        };
        for (column, raw) in [
            ("supplied_raw", &row.supplied_raw),
            ("borrowed_raw", &row.borrowed_raw),
            ("available_raw", &row.available_raw),
            ("deficit_raw", &row.deficit_raw),
        ] {
            must(is_amount(raw), column, raw.clone().unwrap_or_default());
        }
        let signed = row.reserves_raw.as_ref().is_none_or(|raw| raw.parse::<I256>().is_ok());
        must(signed, "reserves_raw", row.reserves_raw.clone().unwrap_or_default());
        let share = |value: Option<f64>| value.is_none_or(|value| (0.0..=1.0).contains(&value));
        let text = |value: Option<f64>| value.map_or("null".to_owned(), |value| value.to_string());
        for (column, value) in
            [("ltv", row.ltv), ("liq_threshold", row.liq_threshold), ("reserve_factor", row.reserve_factor)]
        {
            must(share(value), column, text(value));
        }
        let in_order = row.ltv.zip(row.liq_threshold).is_none_or(|(ltv, threshold)| ltv <= threshold);
        must(in_order, "ltv", format!("{} above liq_threshold {}", text(row.ltv), text(row.liq_threshold)));
        for (column, rate) in [
            ("supply_apr", row.supply_apr),
            ("borrow_apr", row.borrow_apr),
            ("borrow_apr_stable_mode", row.borrow_apr_stable_mode),
        ] {
            must(rate.is_none_or(|rate| (0.0..=LARGEST_RATE).contains(&rate)), column, text(rate));
        }
    }
    for row in &silver.liquidation.rows {
        for (column, raw) in
            [("debt_raw", &row.debt_raw), ("coll_raw", &row.coll_raw), ("bad_debt_raw", &row.bad_debt_raw)]
        {
            if !is_amount(raw) {
                let failure = of_log(&row.csu, row.date, row.block_number, row.log_index, "out of range");
                failures.push(failure.column(column).found(raw.clone().unwrap_or_default()));
            }
        }
    }
    failures
}

fn of_price(row: &Price, why: &str) -> Failure {
    Failure::new(format!(
        "token {} of {} at block {} from {} {}: {why}",
        row.token, row.chain, row.block_number, row.source, row.feed
    ))
    .date(row.date)
}

/// S7.
pub(super) fn prices(subject: &Subject<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    for row in &subject.silver.price.rows {
        let is_ok = row.status == "ok";
        if is_ok != row.price_usd.is_some() {
            failures.push(of_price(row, "status and price disagree").column("status").found(&row.status));
        }
        if let Some(price) = row.price_usd.filter(|price| *price <= 0.0) {
            failures.push(of_price(row, "it is not above zero").column("price_usd").found(price));
        }
        if row.is_selected && !is_ok {
            failures.push(of_price(row, "it is selected and is no price").column("is_selected"));
        }
        let heartbeat =
            row.feed.parse::<Address>().ok().and_then(|feed| subject.registry.feed(&row.chain, feed));
        let heartbeat = heartbeat.filter(|_| row.source == PriceSource::Chainlink);
        if let (Some(feed), Some(age), true) = (heartbeat, row.age_s, is_ok) {
            let limit = HEARTBEATS * i64::from(feed.heartbeat_s);
            if age > limit {
                failures.push(
                    of_price(row, "it is stale and not called so").column("age_s").found(age).expected(limit),
                );
            }
        }
    }
    failures
}

/// S7, objects that disagree. The build believes neither and marks the answer.
pub(super) fn conflicts(subject: &Subject<'_>) -> Vec<Failure> {
    let of_two = subject.silver.price.rows.iter().filter(|row| row.status == NoPrice::Conflict.as_str());
    of_two.map(|row| of_price(row, "two objects of bronze give two answers").column("answer_raw")).collect()
}

/// S7, sources that disagree.
pub(super) fn disagree(subject: &Subject<'_>) -> Vec<Failure> {
    type AtBlock<'a> = (i64, &'a str, i64);
    let mut of_block: BTreeMap<AtBlock<'_>, Vec<(&Price, f64)>> = BTreeMap::new();
    for row in &subject.silver.price.rows {
        if let Some(price) = row.price_usd.filter(|price| *price > 0.0) {
            of_block.entry((row.chain_id, &row.token, row.block_number)).or_default().push((row, price));
        }
    }
    let failure = |rows: Vec<(&Price, f64)>| {
        let lowest = rows.iter().min_by(|one, other| one.1.total_cmp(&other.1))?;
        let highest = rows.iter().max_by(|one, other| one.1.total_cmp(&other.1))?;
        let spread = highest.1 / lowest.1 - 1.0;
        (spread > DISAGREEMENT).then(|| {
            let other = format!("{} {} says {}", highest.0.source, highest.0.feed, highest.1);
            of_price(lowest.0, &format!("{:.1}% below another source", spread * 100.0))
                .column("price_usd")
                .found(lowest.1)
                .expected(other)
        })
    };
    of_block.into_values().filter_map(failure).collect()
}

/// S8, jumps.
pub(super) fn jumps(subject: &Subject<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut last: BTreeMap<(&str, &str), (Day, f64)> = BTreeMap::new();
    for ((csu, token), seen) in &subject.before.silver.prices {
        last.insert((csu, token), *seen);
    }
    for row in in_order_of_day(&subject.silver.reserve_day.rows) {
        let Some(price) = row.price_usd.filter(|price| *price > 0.0) else { continue };
        let Some((day, earlier)) = last.insert((&row.csu, &row.token), (row.date, price)) else { continue };
        let change = (price / earlier).ln();
        if day.next() == row.date && change.abs() > JUMP {
            let failure = of_reserve(row, format!("its price moved by {change:.3} in logarithm"));
            failures.push(failure.column("price_usd").found(price).expected(format!("about {earlier}")));
        }
    }
    failures
}

/// S8, pegs.
pub(super) fn pegs(subject: &Subject<'_>) -> Vec<Failure> {
    let failure = |row: &ReserveDay| {
        let price = row.price_usd.filter(|price| row.is_stablecoin && !(PEG.0..=PEG.1).contains(price))?;
        Some(of_reserve(row, "a stablecoin away from its peg").column("price_usd").found(price))
    };
    subject.silver.reserve_day.rows.iter().filter_map(failure).collect()
}

/// S9, the bonus that prices imply. A liquidation of several legs is one.
pub(super) fn bonus(subject: &Subject<'_>) -> Vec<Failure> {
    struct Sides<'a> {
        first: &'a Liquidation,
        debt: f64,
        coll: f64,
        is_known: bool,
    }
    let mut by_id: BTreeMap<&str, Sides<'_>> = BTreeMap::new();
    for row in &subject.silver.liquidation.rows {
        let sides =
            by_id.entry(&row.liq_id).or_insert(Sides { first: row, debt: 0.0, coll: 0.0, is_known: true });
        sides.is_known &= row.debt_raw.is_none() || row.debt_usd.is_some();
        sides.is_known &= row.coll_raw.is_none() || row.coll_usd.is_some();
        sides.debt += row.debt_usd.unwrap_or(0.0);
        sides.coll += row.coll_usd.unwrap_or(0.0);
    }
    let failure = |sides: Sides<'_>| {
        // One of a side alone (a bad debt that was booked, an absorption) implies nothing.
        if !sides.is_known || sides.debt < SMALLEST || sides.coll <= 0.0 {
            return None;
        }
        let (row, bonus) = (sides.first, sides.coll / sides.debt - 1.0);
        (!(BONUS.0..=BONUS.1).contains(&bonus)).then(|| {
            of_log(&row.csu, row.date, row.block_number, row.log_index, "an unusual bonus")
                .column("coll_usd")
                .found(format!("{bonus:.4}: {} for {}", sides.coll, sides.debt))
                .expected(format!("{} to {}", BONUS.0, BONUS.1))
        })
    };
    by_id.into_values().filter_map(failure).collect()
}

fn day_blocks<'a>(subject: &Subject<'a>) -> BTreeMap<(&'a str, Day), &'a DayBlock> {
    let rows = &subject.silver.day_block.rows;
    rows.iter().map(|row| ((row.chain.as_str(), row.date), row)).collect()
}

/// S9, the day of an event.
pub(super) fn event_window(subject: &Subject<'_>) -> Vec<Failure> {
    let days = day_blocks(subject);
    let mut failures = Vec::new();
    let silver = subject.silver;
    let legs = silver
        .liquidation
        .rows
        .iter()
        .map(|row| (&row.csu, row.date, row.block_number, row.log_index, Some(row.block_ts)));
    let rejects =
        silver.reject.rows.iter().map(|row| (&row.csu, row.date, row.block_number, row.log_index, None));
    for (csu, date, block, index, time) in legs.chain(rejects) {
        let Some(row) = subject.registry.csu(csu).and_then(|csu| days.get(&(csu.chain.as_str(), date)))
        else {
            continue;
        };
        let in_blocks =
            row.first_block.zip(row.last_block).is_some_and(|(first, last)| (first..=last).contains(&block));
        let in_time = time.is_none_or(|time| row.day_start_utc <= time && time < row.day_end_utc);
        if !in_blocks || !in_time {
            let text = |block: Option<i64>| block.map_or("none".to_owned(), |block| block.to_string());
            let failure = of_log(csu, date, block, index, "it lies outside its day").column("block_number");
            failures.push(failure.found(block).expected(format!(
                "{} to {}",
                text(row.first_block),
                text(row.last_block)
            )));
        }
    }
    failures
}

/// S10.
pub(super) fn relations(subject: &Subject<'_>) -> Vec<Failure> {
    let silver = subject.silver;
    let days = day_blocks(subject);
    let covered: BTreeMap<(&str, Day, Dataset), Status> = silver
        .coverage
        .rows
        .iter()
        .map(|row| ((row.csu.as_str(), row.date, row.dataset), row.status))
        .collect();
    let mut failures = Vec::new();
    let mut must_be_there = |failure: Failure, dataset: Dataset, tokens: &[&String]| {
        let (Some(csu), Some(date)) = (failure.csu.clone(), failure.date) else { return };
        let mut lacks = |column: &str, what: &str, found: &str| {
            let why = format!("{}: {what}", failure.why);
            failures.push(Failure { why, ..failure.clone() }.column(column).found(found));
        };
        if !subject.whole.csus.contains(&csu) {
            lacks("csu", "the table csu has no such CSU", &csu);
        }
        let status = covered.get(&(csu.as_str(), date, dataset));
        if !status.is_some_and(|status| matches!(status, Status::Collected | Status::Partial)) {
            let found = status.map_or("no row", |status| status.as_str());
            lacks("csu", "coverage does not say that it was collected", found);
        }
        let Some(row) = subject.registry.csu(&csu) else { return };
        if !days.contains_key(&(row.chain.as_str(), date)) {
            lacks("date", "day_block has no such day", &row.chain);
        }
        let chain_id = subject.registry.chain_of(row).and_then(|chain| i64::try_from(chain.chain_id).ok());
        for token in tokens {
            if !chain_id.is_some_and(|id| subject.whole.tokens.contains(&(id, (*token).clone()))) {
                lacks("token", "the table token has no such token", token);
            }
        }
    };
    for row in &silver.reserve_day.rows {
        must_be_there(of_reserve(row, "a reserve"), Dataset::Tvl, &[&row.token]);
    }
    for row in &silver.liquidation.rows {
        let tokens: Vec<&String> = [&row.debt_token, &row.coll_token].into_iter().flatten().collect();
        let failure = of_log(&row.csu, row.date, row.block_number, row.log_index, "a leg");
        must_be_there(failure, Dataset::Liquidations, &tokens);
    }
    for row in &silver.reject.rows {
        let failure = of_log(&row.csu, row.date, row.block_number, row.log_index, "a reject");
        must_be_there(failure, Dataset::Liquidations, &[]);
    }
    for row in &silver.price.rows {
        if !days.contains_key(&(row.chain.as_str(), row.date)) {
            failures.push(of_price(row, "day_block has no such day").column("date").found(&row.chain));
        }
    }
    failures
}
