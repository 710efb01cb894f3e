//! Where every partition starts and ends, asked for in bulk: for lag, for the sharing of backlogs and to
//! notice logs that lost their end.

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
/// A broker that takes longer is away.
const ANSWER: Duration = Duration::from_secs(5);

/// Both ends of each stream, and when they were asked for. One partition without a leader does not hide the others.
pub(super) async fn ask(
    kafka: &Kafka,
    streams: &[Stream],
    isolation: Isolation,
) -> Result<Vec<Result<(Ends, Instant), KafkaError>>, KafkaError> {
    let asked = Instant::now();
    let asks = both_ends(streams);
    let answers = blocking(kafka, move |kafka| kafka.list_offsets(&asks, isolation, super::ASK)).await?;
    let mut ends = Vec::with_capacity(streams.len());
    let mut answers = answers.into_iter();
    while let (Some(start), Some(end)) = (answers.next(), answers.next()) {
        let both = start.and_then(|start| Ok(Ends { start: start.offset, end: end?.offset }));
        ends.push(both.map(|ends| (ends, asked)));
    }
    Ok(ends)
}

/// Until it is aborted. The one voice that says that the brokers are away, and back.
pub(super) async fn keep_asking(works: Arc<Works>) {
    loop {
        let streams: Vec<Stream> = {
            let known = works.ends.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            known.keys().cloned().collect()
        };
        tokio::time::sleep(if streams.len() > MANY { SELDOM } else { OFTEN }).await;
        if streams.is_empty() {
            continue;
        }
        match refresh(&works, &streams).await {
            Ok(()) => {
                if let Some(away) = works.board.brokers_back() {
                    tracing::info!("the brokers answer again, after {} s", away.as_secs());
                }
            }
            Err(error) if error.is_transient() => {
                if works.board.brokers_away(&error.to_string()) {
                    tracing::warn!("{error}; waiting for the brokers, and going on by itself");
                }
            }
            Err(error) => tracing::debug!("asking where the partitions end: {error}"),
        }
    }
}

/// An error means that no broker answers: one partition without a leader must not hide the others.
async fn refresh(works: &Works, streams: &[Stream]) -> Result<(), KafkaError> {
    let one = streams.first().map(|stream| stream.topic.clone());
    blocking(&works.kafka, move |kafka| kafka.is_answered(one.as_deref(), ANSWER)).await?;
    let asked = Instant::now();
    let isolation = works.sink.layout().isolation;
    let asks = both_ends(streams);
    let answers = blocking(&works.kafka, move |kafka| kafka.list_offsets(&asks, isolation, ANSWER)).await?;
    for (stream, pair) in streams.iter().zip(answers.chunks_exact(2)) {
        if let [Ok(start), Ok(end)] = pair {
            works.refresh_ends(stream, Ends { start: start.offset, end: end.offset }, asked);
        }
    }
    Ok(())
}

fn both_ends(streams: &[Stream]) -> Vec<(String, i32, At)> {
    let both = |stream: &Stream| [At::Start, At::End].map(|at| (stream.topic.clone(), stream.partition, at));
    streams.iter().flat_map(both).collect()
}
