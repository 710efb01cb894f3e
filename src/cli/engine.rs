//! From commands to the engine: the runtime, signals, and what the engine's errors mean to a person.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Exit, Failure, view};
use crate::LandfallError;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::holder::{Inspection, open_or_ask};
use crate::config::{Config, StoreKind};
use crate::kafka::{Kafka, KafkaError, Settings};
use crate::origin::OriginError;
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
        StoreKind::Lake => return view::own_checkpoints(&config.lake.url).await,
    }
    match open_or_ask(&config.checkpoint.path).await? {
        Inspection::Absent => Ok(None),
        there => Ok(Some(there.checkpoints().await?)),
    }
}

/// Ready at the first SIGTERM or Ctrl-C; the second one ends the process at once.
pub async fn stopped() {
    let listen = |kind| signal(kind).map_err(|error| tracing::error!("signals cannot be received: {error}"));
    let (Ok(mut term), Ok(mut interrupt)) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    either(&mut term, &mut interrupt).await;
    tracing::info!("stopping: batches under way are finished; a second signal ends at once");
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
            OriginError::OtherOwner { .. } | OriginError::WrongLake { .. } => Failure::new(Exit::Owned, error),
            OriginError::Store(error) => error.into(),
            OriginError::Lake(error) => error.into(),
            _ => Failure::new(Exit::Failure, error),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Failure {
        match error {
            RunError::Kafka(error) => error.into(),
            RunError::Origin(error) => error.into(),
            RunError::Unreachable(_) => Failure::new(Exit::Unreachable, error)
                .way_out("check bootstrap.servers in [kafka.properties], and whether the brokers run"),
            RunError::Fatal(_) => Failure::new(Exit::Io, error),
            RunError::Stopped(_) | RunError::MissingTopic { .. } | RunError::Interrupted { .. } => {
                Failure::new(Exit::Failure, error)
            }
        }
    }
}
