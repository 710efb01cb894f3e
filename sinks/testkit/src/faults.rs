//! Cases in which something goes wrong: a stop at any place, an answer that is lost, a stranger's bytes.

use futures::FutureExt;
use futures::future::BoxFuture;
use landfall_sink::{Facts, SinkError, Span};

use crate::destination::{Destination, Effect};
use crate::run::*;

type Checked<'a> = BoxFuture<'a, Result<(), String>>;

/// A process may end between any two calls, and in the middle of `land`; the next one carries on.
pub fn a_stop_between_any_two_calls(destination: &dyn Destination) -> Checked<'_> {
    async move {
        for place in 0..6 {
            let sink = destination.open();
            let plan = plan(&*sink, 0, place * 100, place * 100 + 100);
            let before = destination.visible().await;
            stop_at(destination, place, &plan).await.map_err(unexpected)?;
            ensure(destination.visible().await == before, || {
                format!("a stop at place {place} left something visible")
            })?;
            let landed = attempt(destination.open(), &plan, &[40], &[]).await.map_err(unexpected)?;
            is_of(&landed, &plan, expected(&plan).len() as u64, &[])?;
            shows(destination, &plan, &expected(&plan)).await?;
        }
        Ok(())
    }
    .boxed()
}

async fn stop_at(destination: &dyn Destination, place: i64, plan: &landfall_sink::Plan) -> Result<(), SinkError> {
    let sink = destination.open();
    let batches = batches(plan, &[30]);
    let mut writer = begin(&*sink, plan)?;
    for (turn, batch) in batches.iter().enumerate().take(place.min(2) as usize * 2) {
        writer.write(batch)?;
        if turn == 1 && place > 1 {
            writer.relieve()?;
        }
    }
    if place < 4 {
        return Ok(());
    }
    let sealed = writer.seal(&Facts { span: plan.span, gaps: Vec::new() })?;
    if place == 5 {
        // Also one that was asked to land, and was dropped before it did anything.
        let mut sealed = sealed;
        drop(sealed.land(plan));
    }
    Ok(())
}

/// `land` is dropped after each number of steps that it takes.
pub fn a_stop_inside_land(destination: &dyn Destination) -> Checked<'_> {
    async move {
        for steps in 1..12 {
            let sink = destination.open();
            let plan = plan(&*sink, 0, steps * 50, steps * 50 + 50);
            let mut sealed = seal(&*sink, &plan, &batches(&plan, &[20]), &[]).map_err(unexpected)?;
            {
                let mut landing = sealed.land(&plan);
                for _ in 0..steps {
                    if futures::poll!(&mut landing).is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            drop(sealed);
            let sink = destination.open();
            let standing = sink.standing(&plan).await.map_err(unexpected)?;
            if standing.is_none() {
                attempt(sink, &plan, &[7], &[]).await.map_err(unexpected)?;
            }
            shows(destination, &plan, &expected(&plan)).await?;
        }
        Ok(())
    }
    .boxed()
}

/// A lost answer is read back, whatever became of the write.
pub fn a_lost_answer(destination: &dyn Destination) -> Checked<'_> {
    async move {
        for (turn, effect) in [Effect::Happened, Effect::DidNotHappen].into_iter().enumerate() {
            let sink = destination.open();
            let from = turn as i64 * 100;
            let plan = plan(&*sink, 0, from, from + 100);
            let gaps = [Span::new(from + 3, from + 4)];
            let mut sealed = seal(&*sink, &plan, &batches(&plan, &[33]), &gaps).map_err(unexpected)?;
            if !destination.lose_next_answer(effect) {
                return Ok(());
            }
            let first = sealed.land(&plan).await;
            if let Ok(landed) = &first {
                is_of(landed, &plan, expected(&plan).len() as u64, &gaps)?;
                shows(destination, &plan, &expected(&plan))
                    .await
                    .map_err(|what| format!("land succeeded after a lost answer ({effect:?}), but {what}"))?;
            }
            let landed = land_as_engine(&*sink, &plan, &mut *sealed).await?;
            is_of(&landed, &plan, expected(&plan).len() as u64, &gaps)?;
            shows(destination, &plan, &expected(&plan)).await?;
        }
        Ok(())
    }
    .boxed()
}

/// Another attempt landed while the answer to this one was lost: its gaps are the ones that count.
pub fn a_lost_answer_in_a_race(destination: &dyn Destination) -> Checked<'_> {
    async move {
        let (one, two) = (destination.open(), destination.open());
        let plan = plan(&*one, 0, 0, 100);
        let first_gaps = [Span::new(3, 4)];
        let mut late = seal(&*two, &plan, &batches(&plan, &[33]), &[]).map_err(unexpected)?;
        attempt(one, &plan, &[9], &first_gaps).await.map_err(unexpected)?;
        if !destination.lose_next_answer(Effect::DidNotHappen) {
            return Ok(());
        }
        let landed = land_as_engine(&*two, &plan, &mut *late).await?;
        is_of(&landed, &plan, expected(&plan).len() as u64, &first_gaps)?;
        shows(destination, &plan, &expected(&plan)).await
    }
    .boxed()
}

/// A stranger's bytes under the name are a conflict, for as long as they stand, and are never touched.
pub fn other_bytes_under_the_name(destination: &dyn Destination) -> Checked<'_> {
    async move {
        let sink = destination.open();
        let plan = plan(&*sink, 0, 0, 50);
        let mut sealed = seal(&*sink, &plan, &batches(&plan, &[10]), &[]).map_err(unexpected)?;
        if !destination.squat(&plan).await {
            return Ok(());
        }
        let before = destination.visible().await;
        for _ in 0..2 {
            match sealed.land(&plan).await {
                Err(SinkError::Conflict(_)) => {}
                other => return Err(format!("landing over a stranger's bytes gave {other:?}, not a conflict")),
            }
            match sink.standing(&plan).await {
                Err(SinkError::Conflict(_)) => {}
                other => return Err(format!("a stranger's bytes under the name gave {other:?}, not a conflict")),
            }
        }
        ensure(destination.visible().await == before, || "what stood there was changed".into())
    }
    .boxed()
}

/// A topic that was deleted and created again has the same names and is another stream.
pub fn a_topic_created_again(destination: &dyn Destination) -> Checked<'_> {
    async move {
        let sink = destination.open();
        let old = plan(&*sink, 0, 0, 50);
        let first = attempt(destination.open(), &old, &[50], &[]).await.map_err(unexpected)?;
        let mut new = old.clone();
        new.stream.topic_id = Some("AAAAAAAAQACAAAAAAAAAAg".into());
        let mut sealed = seal(&*sink, &new, &batches(&new, &[10]), &[]).map_err(unexpected)?;
        match sealed.land(&new).await {
            Err(SinkError::Conflict(_)) => {}
            Ok(landed) if landed.name != first.name => {}
            other => return Err(format!("the new topic's rows over the old topic's gave {other:?}")),
        }
        let standing = sink.standing(&old).await.map_err(unexpected)?;
        ensure(standing.as_ref() == Some(&first), || format!("the old topic's batch became {standing:?}"))?;
        shows(destination, &old, &expected(&old)).await
    }
    .boxed()
}
