//! From commands to the engine: the runtime, signals, and what the engine's errors mean to a person.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Exit, Failure, view};
use crate::LandfallError;
use crate::checkpoint::holder::{Inspection, open_or_ask};
use crate::checkpoint::{Checkpoint, store_id};
use crate::config::{Config, StoreKind};
use crate::kafka::{Kafka, KafkaError, Settings};
use crate::lakes::{self, IO_THREADS};
use crate::landfall;
use crate::origin::{Origin, OriginError};
use crate::supervisor::RunError;

/// Runs `work` on a runtime of its own.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    block_on_threads(2, work)
}

/// As [`block_on`], for work that keeps so many cores busy.
pub fn block_on_threads<T>(threads: usize, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads.max(1)).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Failure, format!("no runtime: {error}")))?;
    let done = runtime.block_on(work);
    // A question to a broker that does not answer is not waited for.
    runtime.shutdown_background();
    done
}

/// A client for the brokers that a configuration names. Does not wait for them.
pub fn connect(config: &Config) -> Result<Kafka, Failure> {
    let settings = Settings::new(config.kafka.properties.to_map()).map_err(LandfallError::Settings)?;
    Ok(Kafka::connect(&settings)?)
}

/// Calls that wait for brokers are made away from the async threads.
pub async fn asked<T: Send + 'static>(
    kafka: &Kafka,
    ask: impl FnOnce(&Kafka) -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, Failure> {
    let kafka = kafka.clone();
    let answer = tokio::task::spawn_blocking(move || ask(&kafka)).await;
    Ok(answer.map_err(|error| Failure::new(Exit::Failure, error))??)
}

/// Every checkpoint, whoever holds the store; `None` where there is no store. The store is let go at once, so that
/// a landfall that starts meanwhile can have it.
pub async fn known_checkpoints(config: &Config) -> Result<Option<Vec<Checkpoint>>, Failure> {
    match config.checkpoint.store {
        StoreKind::Sled => {}
        StoreKind::Memory => return Ok(None),
        StoreKind::Lake => return view::own_checkpoints(config).await,
    }
    match open_or_ask(&config.checkpoint.path).await? {
        Inspection::Absent => Ok(None),
        there => Ok(Some(there.checkpoints().await?)),
    }
}

/// The lake of a configuration and what it says of itself; `None` where there is no lake yet.
pub async fn origin(config: &Config) -> Result<Option<Origin>, Failure> {
    if !lakes::is_there(&config.lake.url) {
        return Ok(None);
    }
    let lake = lakes::open_to_read(&config.lake.url, &config.lake.options, IO_THREADS)?;
    match Origin::open(lake).await {
        Ok(origin) => Ok(Some(origin)),
        Err(OriginError::NoLake { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Refuses where another store owns the lake: what this one knows, or that there is none, says nothing of its files.
pub async fn same_owner(config: &Config) -> Result<(), Failure> {
    if config.checkpoint.store != StoreKind::Sled {
        return Ok(());
    }
    let own = store_id(&config.checkpoint.path)?;
    let origin = match origin(config).await {
        Ok(Some(origin)) => origin,
        Ok(None) => return Ok(()),
        // The store itself can be asked all the same.
        Err(_) if own.is_some() => return Ok(()),
        Err(failure) => return Err(failure),
    };
    let place = config.checkpoint.path.display();
    let missing = if own.is_none() { format!("there is no checkpoint store in {place}; ") } else { String::new() };
    origin.is_of(own.as_deref(), &landfall::about(config)).map_err(|error| {
        let failure = Failure::from(error);
        Failure { what: missing + &failure.what, ..failure }.way_out(format!(
            "name the right store in checkpoint.path (here {place}); to see what the files alone show, name the lake \
             ({}) in place of the configuration",
            config.lake.url
        ))
    })
}

/// Ready at the first SIGTERM or Ctrl-C; the second one ends the process at once.
pub async fn stopped() {
    let listen = |kind| signal(kind).map_err(|error| tracing::error!("signals cannot be received: {error}"));
    let (Ok(mut term), Ok(mut interrupt)) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    either(&mut term, &mut interrupt).await;
    tracing::info!("stopping: what is under way is finished; a second signal ends at once");
    tokio::spawn(async move {
        let code = either(&mut term, &mut interrupt).await;
        std::process::exit(code);
    });
}

async fn either(term: &mut Signal, interrupt: &mut Signal) -> i32 {
    tokio::select! {
        _ = term.recv() => 143,
        _ = interrupt.recv() => 130,
    }
}

impl From<LandfallError> for Failure {
    fn from(error: LandfallError) -> Failure {
        match error {
            LandfallError::Config(why) => Failure::new(Exit::Config, why),
            LandfallError::Settings(error) => Failure::new(Exit::Config, error),
            LandfallError::Held(error) => {
                Failure::new(Exit::Owned, error).way_out("end that process first, or give this one another lake")
            }
            LandfallError::Kafka(error) => error.into(),
            LandfallError::Store(error) => error.into(),
            LandfallError::Lake(error) => error.into(),
            LandfallError::Origin(error) => error.into(),
            LandfallError::Run(error) => error.into(),
        }
    }
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Failure {
        match error {
            KafkaError::Unreachable(_) => Failure::new(Exit::Unreachable, error)
                .way_out("check bootstrap.servers in [kafka.properties], and whether the brokers run"),
            KafkaError::Config(_) => Failure::new(Exit::Config, error).way_out("correct [kafka.properties]"),
            KafkaError::NotAuthorized(_) => Failure::new(Exit::Failure, error)
                .way_out("check the credentials in [kafka.properties] and the permissions of this principal"),
            _ => Failure::new(Exit::Failure, error),
        }
    }
}

impl From<OriginError> for Failure {
    fn from(error: OriginError) -> Failure {
        match error {
            OriginError::Store(error) => error.into(),
            OriginError::Lake(error) => error.into(),
            OriginError::Sink(error) => error.into(),
            error => {
                let is_owned = matches!(error, OriginError::OtherOwner { .. } | OriginError::WrongLake { .. });
                let hint = error.way_out();
                Failure { hint, ..Failure::new(if is_owned { Exit::Owned } else { Exit::Failure }, error) }
            }
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Failure {
        match error {
            RunError::Kafka(error) => error.into(),
            RunError::Origin(error) => error.into(),
            error => {
                let code = match &error {
                    RunError::Unreachable(_) => Exit::Unreachable,
                    RunError::Fatal(_) => Exit::Io,
                    RunError::StartBeyondEnd { .. } => Exit::Config,
                    _ => Exit::Failure,
                };
                Failure { hint: error.way_out(), ..Failure::new(code, error) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_out_stands_beside_what_happened() {
        let stream = landfall_sink::Stream { cluster: "c".into(), topic: "t".into(), topic_id: None, partition: 0 };
        let stopped = RunError::Stopped(vec![(stream, "t/0: a gap".into(), "decide about it".into())]);
        let missing = RunError::MissingTopics { topics: vec!["t".into()], stopped: Vec::new() };
        let lost = OriginError::NoLake { lake: "file:///x".into() };
        for failure in [Failure::from(stopped), Failure::from(missing), Failure::from(lost)] {
            let hint = failure.hint.clone().unwrap_or_default();
            assert!(!hint.is_empty() && !failure.what.contains(&hint), "{failure:?}");
        }
    }
}
