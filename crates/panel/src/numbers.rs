//! Numbers as people read them. A null is an en dash.

/// What stands for a null.
pub(crate) const NULL: &str = "–";

/// A number with separators between thousands.
pub(crate) fn separated(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let is_zero = !text.bytes().any(|b| (b'1'..=b'9').contains(&b));
    format!("{}{grouped}{rest}", if value < 0.0 && !is_zero { "-" } else { "" })
}

/// US dollars and cents.
pub(crate) fn usd(value: Option<f64>) -> String {
    value.map_or_else(|| NULL.to_owned(), |value| separated(value, 2))
}

/// A price: more digits the smaller it is.
pub(crate) fn price(value: Option<f64>) -> String {
    let decimals = |value: f64| if value == 0.0 || value.abs() >= 1.0 { 4 } else { 8 };
    value.map_or_else(|| NULL.to_owned(), |value| separated(value, decimals(value)))
}

/// A fraction with four digits.
pub(crate) fn fraction(value: Option<f64>) -> String {
    value.map_or_else(|| NULL.to_owned(), |value| format!("{value:.4}"))
}

/// A count.
pub(crate) fn whole(value: impl TryInto<i64>) -> String {
    value.try_into().map_or_else(
        |_| NULL.to_owned(),
        |value: i64| {
            let digits = separated(value.unsigned_abs() as f64, 0);
            if value < 0 { format!("-{digits}") } else { digits }
        },
    )
}

/// A count that may be null.
pub(crate) fn count(value: Option<i32>) -> String {
    value.map_or_else(|| NULL.to_owned(), |value| whole(i64::from(value)))
}

/// A share in per cent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

/// US dollars in a few digits.
pub(crate) fn short_usd(value: f64) -> String {
    let (unit, word) = match value.abs() {
        size if size >= 1e9 => (1e9, " bn"),
        size if size >= 1e6 => (1e6, " m"),
        size if size >= 1e3 => (1e3, " k"),
        _ => (1.0, ""),
    };
    format!("${:.2}{word}", value / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        assert_eq!(usd(Some(43_903_560_090.737)), "43,903,560,090.74");
        assert_eq!(usd(Some(-1_234.5)), "-1,234.50");
        assert_eq!(usd(None), "–");
        assert_eq!(short_usd(43_903_560_090.737), "$43.90 bn");
        assert_eq!(short_usd(0.0), "$0.00");
        assert_eq!(whole(1_234_567_usize), "1,234,567");
        assert_eq!(price(Some(0.000_012_3)), "0.00001230");
        assert_eq!(percent(0.256), "25.6%");
        assert_eq!(fraction(Some(0.283)), "0.2830");
    }
}
