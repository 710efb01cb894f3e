//! Lively, believable events of a small shop: several topics, keys, headers, tombstones, one hot partition.

use rand::Rng;
use serde_json::json;

pub struct Event {
    pub topic: &'static str,
    pub partition: i32,
    pub key: Option<String>,
    /// `None` is a tombstone.
    pub value: Option<String>,
    pub headers: Vec<(&'static str, Option<String>)>,
}

/// Topic, partitions, and how often its events come among a hundred.
pub const TOPICS: [(&str, i32, u32); 3] = [("orders", 4, 45), ("payments-eu", 3, 20), ("clicks", 6, 35)];

const PRODUCTS: [&str; 8] =
    ["espresso beans", "hand grinder", "gooseneck kettle", "filter papers", "milk jug", "scale", "tamper", "mug"];
const COUNTRIES: [&str; 6] = ["DE", "FR", "IT", "SE", "PL", "ES"];
const METHODS: [&str; 3] = ["card", "transfer", "wallet"];
const PAGES: [&str; 5] = ["/", "/beans", "/grinders", "/checkout", "/help"];

/// Most orders of a flash sale are of one product, so one partition gets most of them.
const HOT_SHARE: f64 = 0.7;

pub fn next(rng: &mut impl Rng, sequence: u64, now_ms: i64) -> Event {
    match rng.random_range(0..100u32) {
        roll if roll < TOPICS[0].2 => order(rng, sequence, now_ms),
        roll if roll < TOPICS[0].2 + TOPICS[1].2 => payment(rng, sequence, now_ms),
        _ => click(rng, sequence, now_ms),
    }
}

fn order(rng: &mut impl Rng, sequence: u64, now_ms: i64) -> Event {
    let hot = rng.random_bool(HOT_SHARE);
    let product = if hot { 0 } else { rng.random_range(0..PRODUCTS.len()) };
    let key = format!("order-{sequence:09}");
    // One order in fifty is withdrawn: a record without a value.
    let withdrawn = rng.random_ratio(1, 50);
    let value = json!({
        "order": key,
        "customer": format!("c{:05}", rng.random_range(0..20_000)),
        "product": PRODUCTS[product],
        "quantity": rng.random_range(1..=4),
        "cents": rng.random_range(350..28_000),
        "country": COUNTRIES[rng.random_range(0..COUNTRIES.len())],
        "at": now_ms,
    });
    Event {
        topic: TOPICS[0].0,
        partition: if hot { 0 } else { rng.random_range(0..TOPICS[0].1) },
        key: Some(key),
        value: (!withdrawn).then(|| value.to_string()),
        headers: vec![("trace", Some(format!("{:016x}", rng.random::<u64>()))), ("source", Some("shop".into()))],
    }
}

fn payment(rng: &mut impl Rng, sequence: u64, now_ms: i64) -> Event {
    let value = json!({
        "payment": format!("p{sequence:09}"),
        "method": METHODS[rng.random_range(0..METHODS.len())],
        "cents": rng.random_range(350..28_000),
        "accepted": rng.random_ratio(29, 30),
        "at": now_ms,
    });
    let retried = rng.random_ratio(1, 10).then_some(("retried", None));
    Event {
        topic: TOPICS[1].0,
        partition: rng.random_range(0..TOPICS[1].1),
        key: Some(format!("c{:05}", rng.random_range(0..20_000))),
        value: Some(value.to_string()),
        headers: retried.into_iter().collect(),
    }
}

fn click(rng: &mut impl Rng, sequence: u64, now_ms: i64) -> Event {
    let value = json!({
        "session": format!("s{:08x}", rng.random::<u32>()),
        "page": PAGES[rng.random_range(0..PAGES.len())],
        "ms": rng.random_range(5..900),
        "sequence": sequence,
        "at": now_ms,
    });
    // Clicks have no key.
    Event {
        topic: TOPICS[2].0,
        partition: rng.random_range(0..TOPICS[2].1),
        key: None,
        value: Some(value.to_string()),
        headers: Vec::new(),
    }
}
