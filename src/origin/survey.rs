//! What the destination shows of a stream under every layout, laid out as one line of offsets.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use landfall_sink::{Landed, Layout, Plan, Sink, SinkError, Span, Stream, merge_spans};

use super::error::recorded;
use super::{Origin, OriginError};

/// A stretch of offsets behind a checkpoint's `next`, or behind a genesis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Names without a hole between them, with the gaps of their metadata.
    Landed { span: Span, gaps: Vec<Span> },
    /// No name, although names stand behind it.
    Hole(Span),
}

/// Layouts grouped by the names that they give this stream: those that differ in nothing else (the isolation
/// level, say) share their files, and would show each of them twice.
fn by_names(layouts: &[Arc<Layout>], stream: &Stream) -> Vec<Vec<Arc<Layout>>> {
    let mut groups: Vec<Vec<Arc<Layout>>> = Vec::new();
    let names = |layout: &Layout| (layout.format.clone(), layout.extension.clone(), layout.directory(stream));
    for layout in layouts {
        match groups.iter_mut().find(|group| names(&group[0]) == names(layout)) {
            Some(group) if group.contains(layout) => {}
            Some(group) => group.push(layout.clone()),
            None => groups.push(vec![layout.clone()]),
        }
    }
    groups
}

/// Where names of a stream can be: every layout of the lake, by names. A directory belongs to one stream
/// (its birth sees to it), so where another topic of the same name has its files, this one has none.
pub(crate) async fn places(
    origin: &Origin,
    sink: &dyn Sink,
    stream: &Stream,
) -> Result<Vec<Vec<Arc<Layout>>>, OriginError> {
    let current = sink.layout();
    let mut layouts = origin.layouts_since_start().await?;
    layouts.push(current.clone());
    let mut places = by_names(&layouts, stream);
    for former in origin.formers(stream).await? {
        let mut kept = Vec::with_capacity(places.len());
        for group in places {
            // Where new files go, a file among another topic's must be found: there each one is looked at.
            let each = group.contains(&current);
            if !is_of(sink, &group[0], &former, each).await? {
                kept.push(group);
            }
        }
        places = kept;
    }
    Ok(places)
}

/// Whether the names under a layout are those of `stream`: the first one, or each.
async fn is_of(sink: &dyn Sink, layout: &Layout, stream: &Stream, each: bool) -> Result<bool, OriginError> {
    let mut some = false;
    let mut names = match sink.landed(layout, stream, 0).await {
        Ok(names) => names,
        Err(SinkError::Conflict(_)) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    while let Some(name) = names.next().await {
        match name {
            Ok(_) if !each => return Ok(true),
            Ok(_) => some = true,
            Err(SinkError::Conflict(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(some)
}

/// Every range with `until > from` that stands under one of the layouts, in order of `from`, and durable: a
/// name that a crashed writer left may be in memory only, and what is committed must outlive us.
pub(crate) async fn survey(
    origin: &Origin,
    sink: &dyn Sink,
    stream: &Stream,
    from: i64,
) -> Result<Vec<Landed>, OriginError> {
    let mut found: Vec<Landed> = Vec::new();
    for group in places(origin, sink, stream).await? {
        let mut landed = sink.landed(&group[0], stream, from).await?;
        while let Some(landed) = landed.try_next().await? {
            check(stream, &landed)?;
            if let Some(landed) = standing(sink, &group, stream, landed.span).await? {
                check(stream, &landed)?;
                found.push(landed);
            }
        }
    }
    found.sort_by_key(|landed| landed.span);
    Ok(found)
}

/// What stands, under whichever of the layouts that share its name.
async fn standing(
    sink: &dyn Sink,
    group: &[Arc<Layout>],
    stream: &Stream,
    span: Span,
) -> Result<Option<Landed>, SinkError> {
    let mut conflict = None;
    for layout in group {
        let plan = Plan { stream: stream.clone(), span, layout: layout.clone() };
        match sink.standing(&plan).await {
            Err(SinkError::Conflict(why)) => conflict = conflict.or(Some(SinkError::Conflict(why))),
            other => return other,
        }
    }
    conflict.map_or(Ok(None), Err)
}

/// Any name of the stream under any layout.
pub(crate) async fn any_name(origin: &Origin, sink: &dyn Sink, stream: &Stream) -> Result<Option<String>, OriginError> {
    for group in places(origin, sink, stream).await? {
        if let Some(name) = first_name(sink, &group[0], stream).await? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

pub(super) async fn first_name(
    sink: &dyn Sink,
    layout: &Layout,
    stream: &Stream,
) -> Result<Option<String>, OriginError> {
    match sink.landed(layout, stream, 0).await?.next().await {
        Some(landed) => Ok(Some(landed?.name)),
        None => Ok(None),
    }
}

fn check(stream: &Stream, landed: &Landed) -> Result<(), OriginError> {
    let wrong = |what: &str| Err(OriginError::contradiction(stream, format!("{}: {what}", landed.name)));
    if landed.stream != *stream {
        return wrong("the sink showed it as a file of this stream, but its metadata are another's");
    }
    if landed.span.is_empty() || landed.span.from < 0 {
        return wrong("its range holds no offset");
    }
    if landed.gaps.iter().any(|gap| gap.is_empty() || !landed.span.covers(*gap)) {
        return wrong("its metadata record a gap outside its range");
    }
    Ok(())
}

/// Lays what was found behind `from` out without overlap; names that touch become one piece.
pub(crate) fn tile(stream: &Stream, from: i64, found: &[Landed]) -> Result<Vec<Piece>, OriginError> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut at = from;
    let mut before: Option<&Landed> = None;
    for landed in found {
        let span = landed.span;
        if span.from < at {
            let first = before.map_or_else(|| recorded(Span::new(0, from)), |before| before.name.clone());
            return Err(OriginError::overlap(stream, first, &landed.name));
        }
        if span.from > at {
            pieces.push(Piece::Hole(Span::new(at, span.from)));
        }
        match pieces.last_mut() {
            Some(Piece::Landed { span: run, gaps }) => {
                run.until = span.until;
                gaps.extend_from_slice(&landed.gaps);
            }
            _ => pieces.push(Piece::Landed { span, gaps: landed.gaps.clone() }),
        }
        at = span.until;
        before = Some(landed);
    }
    for piece in &mut pieces {
        if let Piece::Landed { gaps, .. } = piece {
            *gaps = merge_spans(std::mem::take(gaps));
        }
    }
    Ok(pieces)
}
