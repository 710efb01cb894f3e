//! Steps three to five of a batch: the write, with every unclear answer read back, on its way to the commit.

use std::sync::Arc;
use std::time::Duration;

use landfall_lake::fault;
use landfall_sink::{Landed, Plan, SealedBatch, SinkError};

use super::Works;
use super::trouble::Trouble;
use crate::ambient;
use crate::status::Activity;

/// After so many attempts the staged rows are given up and read again: what keeps failing may be they.
const ATTEMPTS: u32 = 5;

/// Lands the batch of a plan that is durable. The order of the checks matters: the topic's identity is
/// compared after the last read and before the put.
pub(super) async fn land(
    works: Arc<Works>,
    plan: Plan,
    adopted: Option<String>,
    mut sealed: Box<dyn SealedBatch>,
) -> Result<Landed, Trouble> {
    fail_here("pipeline.before_land")?;
    works.identity.verify(&plan.stream, adopted.as_deref()).await?;
    let mut pause = Duration::from_millis(50);
    for _ in 0..ATTEMPTS {
        let why = match sealed.land(&plan).await {
            Ok(landed) => {
                fail_here("pipeline.after_land")?;
                return Ok(landed);
            }
            Err(SinkError::NotDone(why)) => why,
            Err(SinkError::Unknown(why)) => match works.sink.standing(&plan).await {
                Ok(Some(landed)) => return Ok(landed),
                // Known to be absent: put again. An answer that is itself unclear stays unknown.
                Ok(None) | Err(SinkError::NotDone(_) | SinkError::Unknown(_)) => why,
                Err(error) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        };
        let waiting = Activity::Waiting { why: format!("{}: {why}", plan.range()) };
        if works.board.activity(&plan.stream, waiting) {
            tracing::warn!("{}: not landed yet: {why}; trying again", plan.range());
        }
        tokio::time::sleep(ambient::jitter(pause)).await;
        pause *= 4;
    }
    Err(Trouble::again(format!("{}: {ATTEMPTS} attempts to land it failed", plan.range())))
}

pub(super) fn fail_here(name: &str) -> Result<(), Trouble> {
    fault::point(name).map_err(|error| Trouble::again(error.to_string()))
}
