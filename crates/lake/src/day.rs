//! Calendar days of an IANA time zone, and the instants at which they begin and end.
//!
//! A day of the lake is a calendar day of the run's zone (New York unless the run says otherwise). It is 23, 24
//! or 25 hours long, and holds the blocks with `start <= timestamp < end`. The time zone database is compiled
//! in, so a lab machine with old zone files makes the same days as any other.

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What can be wrong with a day, a range of days or a zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DayError {
    /// The text is not a calendar date.
    #[error("`{text}` is not a date\nhint: write it as YYYY-MM-DD, for example 2024-12-01")]
    NotADate {
        /// What was given.
        text: String,
    },
    /// The range holds no day.
    #[error("the range {from} to {to} is empty: its first day is after its last\nhint: swap --from and --to")]
    EmptyRange {
        /// First day asked for.
        from: Day,
        /// Last day asked for.
        to: Day,
    },
    /// No such time zone.
    #[error("`{name}` is not an IANA time zone\nhint: use a name such as America/New_York or UTC")]
    UnknownZone {
        /// What was given.
        name: String,
    },
    /// The zone skips this day, or gives it a length that is not 23, 24 or 25 hours.
    #[error(
        "{day} in {zone} lasts {seconds} s; the lake knows days of 23, 24 or 25 hours\nhint: leave this day out, or use another zone for the run"
    )]
    OddLength {
        /// The day.
        day: Day,
        /// The zone.
        zone: String,
        /// Its length in that zone.
        seconds: i64,
    },
}

/// A calendar day, without a zone. Written and read as `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(Date);

impl Day {
    /// The day of a civil date.
    ///
    /// # Errors
    /// [`DayError::NotADate`] when the calendar has no such day.
    pub fn new(year: i16, month: i8, day: i8) -> Result<Self, DayError> {
        Date::new(year, month, day)
            .map(Self)
            .map_err(|_| DayError::NotADate { text: format!("{year:04}-{month:02}-{day:02}") })
    }

    /// The day after this one (the last day the calendar knows is its own successor).
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1.day()))
    }

    /// The day before this one (the first day the calendar knows is its own predecessor).
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1.day()))
    }

    /// Days since 1970-01-01: the value of an Arrow Date32.
    pub fn days_since_epoch(self) -> i32 {
        let epoch = jiff::civil::date(1970, 1, 1);
        epoch.duration_until(self.0).as_hours().div_euclid(24) as i32
    }

    /// The day with this number of days since 1970-01-01.
    pub fn from_days_since_epoch(days: i32) -> Self {
        Self(jiff::civil::date(1970, 1, 1).saturating_add(i64::from(days).days()))
    }

    /// The month of this day as `YYYY-MM`: the name of a silver partition.
    pub fn month(self) -> String {
        format!("{:04}-{:02}", self.0.year(), self.0.month())
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Day {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Self, DayError> {
        let not_a_date = || DayError::NotADate { text: text.to_owned() };
        // Only the plain form: jiff would also take times and week dates, which no path of the lake may hold.
        if text.len() != 10 || !text.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
            return Err(not_a_date());
        }
        text.parse::<Date>().map(Self).map_err(|_| not_a_date())
    }
}

impl Serialize for Day {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A non-empty range of days, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayRange {
    from: Day,
    to: Day,
}

impl DayRange {
    /// The days `from` to `to`, both included.
    ///
    /// # Errors
    /// [`DayError::EmptyRange`] when `from` is after `to`.
    pub fn new(from: Day, to: Day) -> Result<Self, DayError> {
        if from > to { Err(DayError::EmptyRange { from, to }) } else { Ok(Self { from, to }) }
    }

    /// First day.
    pub fn from(&self) -> Day {
        self.from
    }

    /// Last day.
    pub fn to(&self) -> Day {
        self.to
    }

    /// Every day, in order.
    pub fn days(&self) -> impl Iterator<Item = Day> + use<> {
        (self.from.days_since_epoch()..=self.to.days_since_epoch()).map(Day::from_days_since_epoch)
    }

    /// Whether the range holds this day.
    pub fn contains(&self, day: Day) -> bool {
        self.from <= day && day <= self.to
    }
}

impl fmt::Display for DayRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to { self.from.fmt(f) } else { write!(f, "{} to {}", self.from, self.to) }
    }
}

/// An IANA time zone, from the database compiled into this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

impl Zone {
    /// The zone of this name.
    ///
    /// # Errors
    /// [`DayError::UnknownZone`].
    pub fn named(name: &str) -> Result<Self, DayError> {
        let unknown = || DayError::UnknownZone { name: name.to_owned() };
        let rules = TimeZoneDatabase::bundled().get(name).map_err(|_| unknown())?;
        let name = rules.iana_name().ok_or_else(unknown)?.to_owned();
        Ok(Self { name, rules })
    }

    /// Its IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The instants at which `day` begins and ends in this zone.
    ///
    /// Where the clock skips midnight, the day begins at the first instant that carries its date.
    ///
    /// # Errors
    /// [`DayError::OddLength`] for a day that the zone skips, or whose length is not 23, 24 or 25 hours.
    pub fn window(&self, day: Day) -> Result<DayWindow, DayError> {
        let start = self.start_of(day)?;
        let end = self.start_of(day.next())?;
        let seconds = end - start;
        if ![23, 24, 25].map(|hours| hours * 3600).contains(&seconds) {
            return Err(DayError::OddLength { day, zone: self.name.clone(), seconds });
        }
        Ok(DayWindow { day, start, end })
    }

    /// The day that the instant (Unix seconds) falls on, or `None` outside the calendar.
    pub fn day_at(&self, timestamp: i64) -> Option<Day> {
        let instant = Timestamp::from_second(timestamp).ok()?;
        Some(Day(self.rules.to_datetime(instant).date()))
    }

    fn start_of(&self, day: Day) -> Result<i64, DayError> {
        day.0
            .to_zoned(self.rules.clone())
            .map(|start| start.timestamp().as_second())
            .map_err(|_| DayError::NotADate { text: day.to_string() })
    }
}

/// A day with its two instants, in Unix seconds: the day holds `start <= timestamp < end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayWindow {
    /// The day.
    pub day: Day,
    /// First second of the day.
    pub start: i64,
    /// First second of the next day.
    pub end: i64,
}

impl DayWindow {
    /// Length of the day: 23, 24 or 25.
    pub fn hours(&self) -> i32 {
        ((self.end - self.start) / 3600) as i32
    }

    /// Whether an instant (Unix seconds) falls on this day.
    pub fn contains(&self, timestamp: i64) -> bool {
        self.start <= timestamp && timestamp < self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn new_york() -> Zone {
        Zone::named("America/New_York").unwrap()
    }

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    #[test]
    fn the_two_dst_days_of_2024_have_23_and_25_hours() {
        let spring = new_york().window(day("2024-03-10")).unwrap();
        assert_eq!((spring.start, spring.end, spring.hours()), (1_710_046_800, 1_710_129_600, 23));
        let autumn = new_york().window(day("2024-11-03")).unwrap();
        assert_eq!((autumn.start, autumn.end, autumn.hours()), (1_730_606_400, 1_730_696_400, 25));
    }

    #[test]
    fn december_2024_is_the_month_of_the_plan() {
        let first = new_york().window(day("2024-12-01")).unwrap();
        let last = new_york().window(day("2024-12-31")).unwrap();
        assert_eq!((first.start, last.end), (1_733_029_200, 1_735_707_600));
    }

    #[test]
    fn a_day_that_the_zone_skips_is_refused() {
        // Samoa went from Thursday 29 to Saturday 31 December 2011.
        let apia = Zone::named("Pacific/Apia").unwrap();
        assert!(matches!(apia.window(day("2011-12-30")), Err(DayError::OddLength { seconds: 0, .. })));
    }

    #[test]
    fn a_midnight_that_the_clock_skips_begins_at_one() {
        let sao_paulo = Zone::named("America/Sao_Paulo").unwrap();
        assert_eq!(sao_paulo.window(day("2018-11-04")).unwrap().hours(), 23);
    }

    #[test]
    fn what_is_not_a_date_is_named() {
        for text in ["2024-13-01", "2024-02-30", "yesterday", "20241201", "2024-12-1", "2024-12-01T00", ""] {
            let error = text.parse::<Day>().unwrap_err();
            assert_eq!(error, DayError::NotADate { text: text.to_owned() });
        }
    }

    #[test]
    fn an_empty_range_is_refused() {
        assert!(DayRange::new(day("2024-12-02"), day("2024-12-01")).is_err());
        let one = DayRange::new(day("2024-12-01"), day("2024-12-01")).unwrap();
        assert_eq!(one.days().count(), 1);
    }

    proptest! {
        #[test]
        fn days_tile_any_year_without_gap_or_overlap(year in 1975_i16..2037, zone_name in prop::sample::select(
            vec!["America/New_York", "UTC", "Europe/Zurich", "Asia/Tokyo", "Australia/Sydney"])) {
            let zone = Zone::named(zone_name).unwrap();
            let range = DayRange::new(Day::new(year, 1, 1).unwrap(), Day::new(year, 12, 31).unwrap()).unwrap();
            let mut end = zone.window(range.from().previous()).unwrap().end;
            let mut count = 0;
            for day in range.days() {
                let window = zone.window(day).unwrap();
                prop_assert_eq!(window.start, end);
                prop_assert!([23, 24, 25].contains(&window.hours()));
                prop_assert_eq!(zone.day_at(window.start), Some(day));
                prop_assert_eq!(zone.day_at(window.end - 1), Some(day));
                prop_assert_eq!(zone.day_at(window.end), Some(day.next()));
                end = window.end;
                count += 1;
            }
            prop_assert!(count == 365 || count == 366);
        }

        #[test]
        fn text_and_day_number_round_trip(days in -20_000_i32..40_000) {
            let day = Day::from_days_since_epoch(days);
            prop_assert_eq!(day.days_since_epoch(), days);
            prop_assert_eq!(day.to_string().parse::<Day>().unwrap(), day);
            prop_assert!(day.previous() < day && day < day.next());
        }
    }
}
