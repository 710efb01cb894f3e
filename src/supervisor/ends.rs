//! Where every partition starts and ends, asked for in bulk: for lag, for the sharing of backlogs and to
//! notice logs that lost their end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_sink::{Isolation, Stream};

use super::births::blocking;
use crate::kafka::{At, Kafka, KafkaError};
use crate::pipeline::{Ends, Works};

/// With thousands of partitions the brokers are asked less often.
const OFTEN: Duration = Duration::from_secs(2);
const SELDOM: Duration = Duration::from_secs(20);
const MANY: usize = 500;

/// Both ends of each stream, and when they were asked for. One partition without a leader does not hide the others.
pub(super) async fn ask(
    kafka: &Kafka,
    streams: &[Stream],
    isolation: Isolation,
) -> Result<Vec<Result<(Ends, Instant), KafkaError>>, KafkaError> {
    let asked = Instant::now();
    let asks: Vec<(String, i32, At)> = streams
        .iter()
        .flat_map(|stream| [At::Start, At::End].map(|at| (stream.topic.clone(), stream.partition, at)))
        .collect();
    let answers = blocking(kafka, move |kafka| kafka.list_offsets(&asks, isolation, super::ASK)).await?;
    let mut ends = Vec::with_capacity(streams.len());
    let mut answers = answers.into_iter();
    while let (Some(start), Some(end)) = (answers.next(), answers.next()) {
        let both = start.and_then(|start| Ok(Ends { start: start.offset, end: end?.offset }));
        ends.push(both.map(|ends| (ends, asked)));
    }
    Ok(ends)
}

/// Until it is aborted.
pub(super) async fn keep_asking(works: Arc<Works>) {
    loop {
        let streams: Vec<Stream> = {
            let known = works.ends.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            known.keys().cloned().collect()
        };
        tokio::time::sleep(if streams.len() > MANY { SELDOM } else { OFTEN }).await;
        if let Err(error) = refresh(&works, &streams).await {
            tracing::debug!("asking where the partitions end: {error}");
        }
    }
}

async fn refresh(works: &Works, streams: &[Stream]) -> Result<(), KafkaError> {
    let asked = Instant::now();
    let mut asks = Vec::with_capacity(streams.len() * 2);
    for stream in streams {
        asks.extend([At::Start, At::End].map(|at| (stream.topic.clone(), stream.partition, at)));
    }
    let isolation = works.sink.layout().isolation;
    let watermarks: Vec<(String, i32, At)> =
        streams.iter().map(|stream| (stream.topic.clone(), stream.partition, At::End)).collect();
    let (answers, high) = blocking(&works.kafka, move |kafka| {
        let answers = kafka.list_offsets(&asks, isolation, super::ASK)?;
        Ok((answers, kafka.list_offsets(&watermarks, Isolation::ReadUncommitted, super::ASK)?))
    })
    .await?;
    let high: HashMap<&Stream, i64> =
        streams.iter().zip(high).filter_map(|(stream, at)| Some((stream, at.ok()?.offset))).collect();
    // One partition without a leader must not hide the others.
    for (stream, pair) in streams.iter().zip(answers.chunks_exact(2)) {
        if let [Ok(start), Ok(end)] = pair {
            works.remember_ends(stream, Ends { start: start.offset, end: end.offset }, asked);
            works.board.ends(stream, end.offset, high.get(stream).copied());
        }
    }
    Ok(())
}
