//! Sizes ("128MiB") and durations ("60s") as people write them.

use std::time::Duration;

const SIZES: [(&str, u64); 11] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
    ("", 1),
];

/// Units and their milliseconds, the greatest first.
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A century is more than anyone means; beyond it arithmetic on clocks overflows.
const LONGEST_MS: u64 = 100 * 366 * 86_400_000;

/// `128MiB`, `1 GB`, `4096`: bytes.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let number: u64 = plain_number(&text[..digits])?;
    let unit = text[digits..].trim_start();
    let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

/// `500ms`, `60s`, `1h 30m`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '_')?;
        let number = plain_number(&rest[..digits])?;
        let tail = rest[digits..].trim_start();
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (_, factor) = TIMES.iter().find(|(name, _)| *name == &tail[..letters])?;
        total = total.checked_add(number.checked_mul(*factor)?)?;
        rest = tail[letters..].trim_start();
    }
    (total <= LONGEST_MS).then(|| Duration::from_millis(total))
}

fn plain_number(digits: &str) -> Option<u64> {
    let plain: String = digits.chars().filter(|c| *c != '_').collect();
    plain.parse().ok()
}

/// In the greatest binary unit that holds it exactly.
pub fn show_size(bytes: u64) -> String {
    let exact = |factor: u64| bytes != 0 && bytes.is_multiple_of(factor);
    match SIZES[..4].iter().find(|(_, factor)| exact(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

/// In the greatest unit that holds it exactly, seconds up to two minutes.
pub fn show_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".into();
    }
    if ms <= 120_000 && ms.is_multiple_of(1_000) {
        return format!("{}s", ms / 1_000);
    }
    match TIMES.iter().find(|(_, factor)| ms.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", ms / factor),
        None => format!("{ms}ms"),
    }
}

/// `10000000` as `10_000_000`.
pub fn show_number(number: u64) -> String {
    let digits = number.to_string();
    let grouped = digits.char_indices().map(|(at, digit)| {
        let border = at > 0 && (digits.len() - at).is_multiple_of(3);
        if border { format!("_{digit}") } else { digit.to_string() }
    });
    grouped.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_write() {
        assert_eq!(parse_size("128MiB"), Some(128 << 20));
        assert_eq!(parse_size(" 1_000 MB "), Some(1_000_000_000));
        assert_eq!(parse_size("4096"), Some(4096));
        for bad in ["", "MiB", "-1MiB", "1.5GiB", "1 MIB", "1mb", "99999999999TiB", "1MiB x"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
        assert_eq!(parse_duration("60s"), Some(Duration::from_secs(60)));
        assert_eq!(parse_duration("1h 30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        for bad in ["", "60", "s", "-1s", "1.5s", "1 year", "1s2", "999999999d"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes in any::<u64>(), ms in 0..LONGEST_MS) {
            prop_assert_eq!(parse_size(&show_size(bytes)), Some(bytes));
            prop_assert_eq!(parse_size(&show_number(bytes)), Some(bytes));
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,30}") {
            let _ = (parse_size(&text), parse_duration(&text));
        }
    }
}
