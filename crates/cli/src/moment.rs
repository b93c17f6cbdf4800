//! Moments and spans, as people read them.

use domain::{Millis, Timestamp};
use jiff::tz::TimeZone;

/// Returns a moment in the operator's time zone: day and time.
pub(crate) fn day_and_time(moment: Timestamp) -> String {
    written(moment, "%Y-%m-%d %H:%M:%S")
}

/// Returns the day of a moment in the operator's time zone.
pub(crate) fn day(moment: Timestamp) -> String {
    written(moment, "%Y-%m-%d")
}

/// Returns the time of day of a moment in the operator's time zone.
pub(crate) fn time(moment: Timestamp) -> String {
    written(moment, "%H:%M:%S")
}

fn written(moment: Timestamp, form: &str) -> String {
    i64::try_from(moment.0)
        .ok()
        .and_then(|it| jiff::Timestamp::from_millisecond(it).ok())
        .map(|it| it.to_zoned(TimeZone::system()).strftime(form).to_string())
        .unwrap_or_default()
}

/// Reads a span: a whole number and its unit, such as `90s`, `30m`, `2h`, `7d`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn span(text: &str) -> Result<Millis, String> {
    let wrong = || format!("`{text}` is no span; write it as 90s, 30m, 2h or 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count = text
        .strip_suffix(unit)
        .and_then(|it| it.parse::<u64>().ok());
    let count = count.filter(|it| *it > 0).ok_or_else(wrong)?;
    Ok(Millis::from_secs(count.saturating_mul(seconds)))
}

/// Returns a span in its largest unit: `45s`, `3m`, `2h`, `5d`.
pub(crate) fn age(span: Millis) -> String {
    let seconds = span.0 / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        86_400.. => format!("{}d", seconds / 86_400),
    }
}

/// Returns a number of bytes in a unit that keeps it short: `812 B`, `4.0 KiB`, `1.3 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut tenths = u128::from(count) * 10;
    let mut unit = "B";
    for larger in units {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1_024;
        unit = larger;
    }
    if unit == "B" {
        format!("{count} B")
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

/// Returns a count and its noun: `1 file`, `2 files`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_their_largest_unit() {
        let told = [0, 59, 60, 3_599, 3_600, 86_399, 86_400, 864_000].map(|it| {
            let span = Millis::from_secs(it);
            age(span)
        });
        assert_eq!(told, ["0s", "59s", "1m", "59m", "1h", "23h", "1d", "10d"]);
    }

    #[test]
    fn spans_are_read_as_they_are_told() {
        assert_eq!(span("90s"), Ok(Millis::from_secs(90)));
        assert_eq!(span("7d"), Ok(Millis::from_mins(7 * 24 * 60)));
        for wrong in ["", "h", "1", "0h", "-1h", "1.5h", "1w", "1 h"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_told_with_one_decimal() {
        let told = [0, 1_023, 1_024, 1_536, 1 << 20, u64::MAX].map(bytes);
        let wanted = ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "15.9 EiB"];
        assert_eq!(told, wanted);
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(0, "file"), "0 files");
    }
}
