//! What the benchmarks share: records and brokers to read them from, the parts of landing that are measured alone, and
//! what an arm costs.
//!
//! Each program starts itself again: once per arm (`--arm`), and once for the in-process broker (`--playground`).
#![allow(dead_code)]

pub mod elsewhere;
pub mod encoding;
pub mod gauge;
pub mod reading;
pub mod servers;
pub mod shapes;
pub mod work;

/// Of an even number, the middle between the two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.into_iter().collect();
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    match all.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => all[middle],
        _ => f64::midpoint(all[middle - 1], all[middle]),
    }
}
