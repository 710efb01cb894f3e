//! What Kafka adds to the checkpoints of a lake that processes share: where the partitions end, and which process
//! plans each of them. Where it does not answer in time there is nothing to add.

use std::collections::BTreeMap;
use std::time::Duration;

use super::engine::{asked, connect, origin};
use super::status::StatusRow;
use crate::config::Config;
use crate::kafka::At;

const ASK: Duration = Duration::from_secs(3);

pub async fn add(config: &Config, rows: &mut [StatusRow]) {
    let (Ok(kafka), Ok(Some(origin))) = (connect(config), origin(config).await) else { return };
    if rows.is_empty() || asked(&kafka, |kafka| kafka.is_answered(None, ASK)).await.is_err() {
        return;
    }
    let asks: Vec<_> = rows.iter().map(|row| (row.topic.clone(), row.partition, At::End)).collect();
    let isolation = config.isolation();
    if let Ok(ends) = asked(&kafka, move |kafka| kafka.list_offsets(&asks, isolation, ASK)).await {
        for (row, end) in rows.iter_mut().zip(ends) {
            row.end = end.ok().map(|end| end.offset);
            row.lag = row.end.map(|end| (end - row.committed).max(0));
        }
    }
    let group = config.group_id().map_or_else(|| format!("landfall-{}", origin.lake_id()), str::to_owned);
    let Ok(members) = asked(&kafka, move |kafka| kafka.members(&group, ASK)).await else { return };
    let mut owners = BTreeMap::new();
    for member in members {
        let owner = format!("{} on {}", member.name, member.host);
        owners.extend(member.partitions.into_iter().map(|partition| (partition, owner.clone())));
    }
    for row in rows {
        row.owner = owners.get(&(row.topic.clone(), row.partition)).cloned();
    }
}
