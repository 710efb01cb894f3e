//! A finished file that has no name yet, and the one create-only step that gives it one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use landfall_lake::{Created, LakeError, Staged, fault};
use landfall_sink::{Landed, Layout, Plan, SealedBatch, SinkError};

use crate::errors::{failpoint, sorted};
use crate::metadata::FileMetadata;
use crate::sink::standing;
use crate::writer::Shared;

/// How often an unclear answer is followed by another try, before the engine decides what to do.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct SealedFile {
    shared: Arc<Shared>,
    layout: Arc<Layout>,
    metadata: FileMetadata,
    bytes: u64,
    staged: Box<dyn Staged>,
}

impl SealedFile {
    pub fn new(
        shared: Arc<Shared>,
        layout: Arc<Layout>,
        metadata: FileMetadata,
        bytes: u64,
        staged: Box<dyn Staged>,
    ) -> SealedFile {
        SealedFile { shared, layout, metadata, bytes, staged }
    }

    fn landed(&self, name: String) -> Landed {
        Landed {
            stream: self.metadata.stream.clone(),
            span: self.metadata.span,
            rows: self.metadata.rows,
            bytes: self.bytes,
            gaps: self.metadata.gaps.clone(),
            name,
        }
    }

    fn check(&self, plan: &Plan) -> Result<(), SinkError> {
        let differs = self.metadata.differs_from(plan);
        if differs.is_none() && *self.layout == *plan.layout {
            return Ok(());
        }
        let why = differs.unwrap_or_else(|| "its layout is another".into());
        Err(SinkError::Refused(format!("{}: these rows were sealed for another plan: {why}", plan.range())))
    }

    /// What stands is the truth; only a test that breaks this rule lets the attempt's own gaps win.
    fn found(&self, mut landed: Landed) -> Landed {
        if fault::sabotaged("gap_of_the_attempt") {
            landed.gaps = self.metadata.gaps.clone();
        }
        landed
    }
}

#[async_trait]
impl SealedBatch for SealedFile {
    async fn land(&mut self, plan: &Plan) -> Result<Landed, SinkError> {
        self.check(plan)?;
        let path = plan.file();
        if fault::sabotaged("no_rows_no_file") && self.metadata.rows == 0 {
            return Ok(self.landed(path));
        }
        let mut unclear = None;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(PAUSE * attempt).await;
            }
            fault::point("sink.before_publish").map_err(failpoint)?;
            let answer = self.staged.publish(&path).await;
            fault::point("sink.after_publish").map_err(failpoint_after)?;
            match answer {
                Ok(Created::Created) => return Ok(self.landed(path)),
                Ok(Created::Exists) if fault::sabotaged("believe_exists") => return Ok(self.landed(path)),
                Ok(Created::Exists) => {
                    unclear = Some(LakeError::unknown(&path, "it was there when created, and is not there when read"));
                }
                Err(error) => unclear = Some(error),
            }
            if let Some(landed) = standing(&*self.shared.lake, plan).await? {
                return Ok(self.found(landed));
            }
            // It is known not to be there, so it may be published again; but trying again at once helps only
            // against a lost answer, not against a full disk or a missing permission.
            if !matches!(unclear, Some(LakeError::Unknown { .. })) {
                break;
            }
        }
        let error = unclear.unwrap_or_else(|| LakeError::not_done(&path, "it was not published"));
        Err(named(plan, sorted(error)))
    }
}

/// Here the file may stand already.
fn failpoint_after(error: std::io::Error) -> SinkError {
    match failpoint(error) {
        SinkError::NotDone(text) => SinkError::Unknown(text),
        other => other,
    }
}

/// Says whose file it was.
fn named(plan: &Plan, error: SinkError) -> SinkError {
    let range = plan.range();
    match error {
        SinkError::NotDone(text) => SinkError::NotDone(format!("{range} was not landed: {text}")),
        SinkError::Unknown(text) => SinkError::Unknown(format!("{range}: {text}")),
        SinkError::Refused(text) => SinkError::Refused(format!("{range} cannot be landed: {text}")),
        other => other,
    }
}
