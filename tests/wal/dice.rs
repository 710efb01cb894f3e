//! Where the tests' randomness comes from: `LANDFALL_SEED=n` repeats a run, `LANDFALL_TEST_ALL=1` asks for the long one.

pub fn long() -> bool {
    std::env::var("LANDFALL_TEST_ALL").is_ok_and(|value| value == "1")
}

/// A seed, which is printed.
pub fn seed(what: &str) -> u64 {
    let given = std::env::var("LANDFALL_SEED").ok();
    let seed =
        given.map_or_else(|| rand::random::<u64>() >> 16, |text| text.parse().expect("LANDFALL_SEED is a number"));
    println!("{what}: LANDFALL_SEED={seed}");
    seed
}
