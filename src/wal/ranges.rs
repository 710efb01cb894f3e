//! Ranges of offsets, `[from, until)`.

/// Sorts ranges and joins those that touch or overlap.
pub fn merge(ranges: &mut Vec<(i64, i64)>) {
    ranges.sort_unstable();
    let mut merged: Vec<(i64, i64)> = Vec::with_capacity(ranges.len());
    for (from, until) in ranges.drain(..) {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            _ => merged.push((from, until)),
        }
    }
    *ranges = merged;
}

/// What is left of a range when the others, which are sorted, are taken out.
pub fn without(range: (i64, i64), others: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let (mut at, mut left) = (range.0, Vec::new());
    for (from, until) in others.iter().filter(|(_, until)| *until > range.0) {
        if *from > at {
            left.push((at, (*from).min(range.1)));
        }
        at = at.max(*until);
        if at >= range.1 {
            break;
        }
    }
    if at < range.1 {
        left.push((at, range.1));
    }
    left.retain(|(from, until)| from < until);
    left
}
