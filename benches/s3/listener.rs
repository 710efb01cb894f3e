//! What the product says of itself: how long its batches took, from the plan to the commit; and its warnings, which
//! would spoil a figure in silence.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// In milliseconds, in the order of the commits.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<f64>>>);

impl Heard {
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn since(&self, first: usize) -> Vec<f64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(first..).unwrap_or_default().to_vec()
    }
}

impl<S: Subscriber> Layer<S> for Heard {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut took = Took(None);
        event.record(&mut took);
        if let Some(took) = took.0 {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        }
    }
}

struct Took(Option<f64>);

impl Visit for Took {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "plan_to_commit_ms" {
            self.0 = Some(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// For the life of this process.
pub fn listen() -> anyhow::Result<Heard> {
    let heard = Heard::default();
    let commits = Targets::new().with_target("landfall::pipeline::commit", Level::DEBUG);
    let warnings = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(LevelFilter::WARN);
    tracing_subscriber::registry().with(heard.clone().with_filter(commits)).with(warnings).try_init()?;
    Ok(heard)
}
