//! The audit of one stream: its files in order, some of them being read at any time.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{BoxStream, Peekable};
use landfall_sink::{Isolation, Landed, Layout, Plan, SinkError, Span, Stream};
use tokio::task::JoinHandle;

use super::line::Line;
use super::report::{Kind, Severity, StreamReport};
use super::{Audited, Run};
use crate::checkpoint::{Checkpoint, Planned};
use crate::origin::{OriginError, places};

/// A file and how it was landed.
pub(super) struct Shown {
    pub landed: Landed,
    pub isolation: Isolation,
}

type Listing<'a> = Peekable<BoxStream<'a, Result<Landed, SinkError>>>;
type Reading = (Landed, JoinHandle<Result<Audited, SinkError>>);

impl Run<'_> {
    /// `None` for a stream that was never born.
    pub(super) async fn stream(&self, stream: Stream) -> Result<Option<StreamReport>, OriginError> {
        let origin = self.scope.origin;
        let (cluster, topic, id) = (&stream.cluster, &stream.topic, stream.topic_id_or_dash());
        let genesis = origin.genesis(cluster, topic, id).await?;
        let known = self.scope.checkpoints.as_ref();
        let checkpoint = known.and_then(|known| known.get(&stream));
        let first = genesis.as_ref().map(|genesis| genesis.first_offset(stream.partition));
        let start = first.or(checkpoint.map(|checkpoint| checkpoint.genesis)).unwrap_or(0);
        let mut report = StreamReport::new(stream.clone(), start);
        if first.is_none() {
            let what = "the object below _landfall/genesis/ that says where the topic starts is gone";
            report.damage(Kind::Origin, None, None, what);
        }
        if let Some(checkpoint) = checkpoint {
            self.against(&mut report, checkpoint, first).await?;
        }
        let born = origin.is_born(&stream).await?;
        let runs = self.files(&mut report, checkpoint).await?;
        if known.is_some() && checkpoint.is_none() && (born || report.files > 0) {
            let what = "the stream was born, and the store has no checkpoint of it: run `landfall rebuild`";
            report.damage(Kind::Checkpoint, None, None, what);
        }
        if checkpoint.is_none() && !born && report.files == 0 && report.damage + report.unchecked == 0 {
            return Ok(None);
        }
        if !born {
            let what = "the mark of its birth is missing; the next start of its owner writes it";
            report.find(Severity::Note, Kind::Origin, None, None, what);
        }
        if let Some(topic) = self.scope.topic {
            self.compare(&mut report, topic, &runs, checkpoint).await?;
        }
        Ok(Some(report))
    }

    async fn against(
        &self,
        report: &mut StreamReport,
        checkpoint: &Checkpoint,
        first: Option<i64>,
    ) -> Result<(), OriginError> {
        report.next = Some(checkpoint.next);
        report.planned = checkpoint.planned.iter().map(Planned::span).collect();
        if let Some(first) = first.filter(|first| *first != checkpoint.genesis) {
            let what = format!("the checkpoint starts at {}, the lake says {first}", checkpoint.genesis);
            report.damage(Kind::Origin, None, None, what);
        }
        for plan in &checkpoint.planned {
            match self.scope.origin.layout(&plan.layout).await {
                Ok(_) => {}
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => report.damage(Kind::Origin, Some(plan.span()), None, error.to_string()),
            }
        }
        Ok(())
    }

    /// Audits the files; returns the committed stretches, each of one isolation level.
    async fn files(
        &self,
        report: &mut StreamReport,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Vec<(Span, Isolation)>, OriginError> {
        let stream = report.stream.clone();
        let groups = places(self.scope.origin, self.scope.sink, &stream).await?;
        let mut line = Line::new(report.genesis, checkpoint);
        let mut runs: Vec<(Span, Isolation)> = Vec::new();
        let mut reading: VecDeque<Reading> = VecDeque::new();
        let mut files = Files::open(self, &groups, &stream, 0).await?;
        let mut whole = true;
        while let Some(shown) = files.next().await {
            let Shown { landed, isolation } = match shown {
                Ok(shown) => shown,
                Err(error) => {
                    whole = false;
                    not_read(report, None, &error, "the files behind it were not looked at");
                    break;
                }
            };
            if line.take(report, &landed) {
                match runs.last_mut() {
                    Some((run, level)) if *level == isolation && run.until == landed.span.from => {
                        run.until = landed.span.until;
                    }
                    _ => runs.push((landed.span, isolation)),
                }
            }
            reading.push_back(self.read(landed));
            if reading.len() >= self.parallel
                && let Some(first) = reading.pop_front()
            {
                self.was_read(report, first).await;
            }
        }
        for next in reading {
            self.was_read(report, next).await;
        }
        if whole {
            line.finish(report);
        }
        Ok(runs)
    }

    /// Reads a file on a task of its own, so that several cores read.
    fn read(&self, landed: Landed) -> Reading {
        let (auditor, permits, file) = (self.scope.auditor.clone(), self.permits.clone(), landed.clone());
        let task = tokio::spawn(async move {
            let _permit = permits.acquire_owned().await;
            auditor.audit(&file).await
        });
        (landed, task)
    }

    async fn was_read(&self, report: &mut StreamReport, (landed, task): Reading) {
        let (span, name) = (Some(landed.span), Some(landed.name.as_str()));
        match task.await {
            Ok(Ok(audited)) => {
                for problem in &audited.problems {
                    report.damage(Kind::File, span, name, format!("{}: {problem}", landed.name));
                }
                let says = |file: &Landed| (file.stream.clone(), file.span, file.rows, file.gaps.clone());
                if audited.landed.as_ref().is_some_and(|file| says(file) != says(&landed)) {
                    let what = format!("{} says something else of itself than it did when it was listed", landed.name);
                    report.damage(Kind::File, span, name, what);
                }
            }
            Ok(Err(error)) => not_read(report, Some(&landed), &error, "it was not audited"),
            Err(error) => {
                let what = format!("{}: reading it failed: {error}", landed.name);
                report.find(Severity::Unchecked, Kind::File, span, name, what);
            }
        }
        self.done(&landed);
    }
}

/// An answer of the sink that is no content.
pub(super) fn not_read(report: &mut StreamReport, landed: Option<&Landed>, error: &SinkError, so: &str) {
    let severity = match error {
        SinkError::Conflict(_) => Severity::Damage,
        _ => Severity::Unchecked,
    };
    let (span, name) = (landed.map(|file| file.span), landed.map(|file| file.name.as_str()));
    report.find(severity, Kind::File, span, name, format!("{error}; {so}"));
}

/// The files of a stream under all its layouts, in order of `from`.
pub(super) struct Files<'a> {
    run: &'a Run<'a>,
    sources: Vec<(&'a [Arc<Layout>], Listing<'a>)>,
}

impl<'a> Files<'a> {
    pub async fn open(
        run: &'a Run<'_>,
        groups: &'a [Vec<Arc<Layout>>],
        stream: &'a Stream,
        from: i64,
    ) -> Result<Files<'a>, SinkError> {
        let mut sources = Vec::with_capacity(groups.len());
        for group in groups {
            let landed = run.scope.sink.landed(&group[0], stream, from).await?;
            sources.push((group.as_slice(), landed.peekable()));
        }
        Ok(Files { run, sources })
    }

    pub async fn next(&mut self) -> Option<Result<Shown, SinkError>> {
        let mut first: Option<(Span, usize)> = None;
        for (index, (_, source)) in self.sources.iter_mut().enumerate() {
            // An error comes first: what stands behind it is not shown anyway.
            let span = match std::pin::Pin::new(source).peek().await {
                None => continue,
                Some(Ok(landed)) => landed.span,
                Some(Err(_)) => Span::new(i64::MIN, i64::MIN),
            };
            if first.is_none_or(|(lowest, _)| span < lowest) {
                first = Some((span, index));
            }
        }
        let (group, source) = &mut self.sources[first?.1];
        let landed = match source.next().await? {
            Ok(landed) => landed,
            Err(error) => return Some(Err(error)),
        };
        Some(match isolation_of(self.run, group, &landed).await {
            Ok(isolation) => Ok(Shown { landed, isolation }),
            Err(error) => Err(error),
        })
    }
}

/// Layouts that differ in the isolation level alone share their names: the one that the file fits is its.
async fn isolation_of(run: &Run<'_>, group: &[Arc<Layout>], landed: &Landed) -> Result<Isolation, SinkError> {
    let mut level = group[0].isolation;
    if group.iter().all(|layout| layout.isolation == level) {
        return Ok(level);
    }
    for layout in group {
        let plan = Plan { stream: landed.stream.clone(), span: landed.span, layout: layout.clone() };
        match run.scope.sink.standing(&plan).await {
            Ok(Some(_)) => {
                level = layout.isolation;
                break;
            }
            Ok(None) | Err(SinkError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(level)
}
