//! The cases, each on an empty destination; and those of ordinary life.

use std::sync::Arc;

use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt};
use landfall_sink::{Landed, Layout, Plan, Sink, SinkError, Span};

use crate::destination::Destination;
use crate::faults::*;
use crate::rows;
use crate::run::*;

type Checked<'a> = BoxFuture<'a, Result<(), String>>;
pub type Case = (&'static str, for<'a> fn(&'a dyn Destination) -> Checked<'a>);

pub const ALL: &[Case] = &[
    ("what lands can be read, row for row", what_lands_can_be_read),
    ("nothing is visible before land", nothing_before_land),
    ("landing again changes nothing", landing_again),
    ("concurrent attempts land once", concurrent_attempts),
    ("the gaps of what stands count", the_gaps_of_what_stands),
    ("a batch without rows takes its name", a_batch_without_rows),
    ("a huge batch", a_huge_batch),
    ("two plans tile, in order and from an offset on", two_plans_tile),
    ("partitions are kept apart", partitions_are_kept_apart),
    ("standing before and after", standing_before_and_after),
    ("another plan than the one sealed for", another_plan_than_sealed_for),
    ("an unknown layout", an_unknown_layout),
    ("weight and relieve", weight_and_relieve),
    ("a stop between any two calls", a_stop_between_any_two_calls),
    ("a stop inside land", a_stop_inside_land),
    ("a lost answer", a_lost_answer),
    ("a lost answer in a race", a_lost_answer_in_a_race),
    ("other bytes under the name", other_bytes_under_the_name),
    ("a topic created again", a_topic_created_again),
];

fn what_lands_can_be_read(destination: &dyn Destination) -> Checked<'_> {
    async move {
        let sink = destination.open();
        let plan = plan(&*sink, 0, 1_000, 3_000);
        let landed = attempt(sink, &plan, &[1, 400, 64], &[]).await.map_err(unexpected)?;
        is_of(&landed, &plan, expected(&plan).len() as u64, &[])?;
        shows(destination, &plan, &expected(&plan)).await
    }
    .boxed()
}

fn nothing_before_land(destination: &dyn Destination) -> Checked<'_> {
    async move {
        let sink = destination.open();
        let plan = plan(&*sink, 0, 0, 2_000);
        let sealed = seal(&*sink, &plan, &batches(&plan, &[100]), &[]).map_err(unexpected)?;
        ensure(destination.visible().await == 0, || "a sealed batch is visible".into())?;
        ensure(sink.standing(&plan).await.map_err(unexpected)?.is_none(), || "a sealed batch stands".into())?;
        ensure(all_landed(&*sink, &plan, 0).await?.is_empty(), || "a sealed batch is shown as landed".into())?;
        drop(sealed);
        ensure(destination.visible().await == 0, || "a dropped batch left something behind".into())
    }
    .boxed()
}

fn landing_again(destination: &dyn Destination) -> Checked<'_> {
    async move {
        let sink = destination.open();
        let plan = plan(&*sink, 0, 0, 100);
        let mut sealed = seal(&*sink, &plan, &batches(&plan, &[100]), &[]).map_err(unexpected)?;
        let first = sealed.land(&plan).await.map_err(unexpected)?;
        let visible = destination.visible().await;
        let again = sealed.land(&plan).await.map_err(unexpected)?;
        ensure(again == first, || format!("the same batch again gave {again:?} after {first:?}"))?;
        let other = attempt(destination.open(), &plan, &[17], &[]).await.map_err(unexpected)?;
        ensure(other == first, || format!("another attempt gave {other:?} after {first:?}"))?;
        ensure(destination.visible().await == visible, || "landing again made more visible".into())?;
        shows(destination, &plan, &expected(&plan)).await
    }
    .boxed()
}

fn concurrent_attempts(destination: &dyn Destination) -> Checked<'_> {
    async move {
        let cuts: [&[usize]; 4] = [&[500], &[1, 2, 3], &[64], &[499, 1]];
        let plan = plan(&*destination.open(), 0, 0, 500);
        let attempts = cuts.iter().enumerate().map(|(turn, sizes)| {
            let (sink, plan) = (destination.open(), &plan);
            let hole = 3 + 5 * turn as i64;
            let gaps = vec![Span::new(hole, hole + 1)];
            async move { attempt(sink, plan, sizes, &gaps).await }
        });
        let mut landed: Vec<Landed> = Vec::new();
        for answer in join_all(attempts).await {
            landed.push(answer.map_err(unexpected)?);
        }
        let standing = destination.open().standing(&plan).await.map_err(unexpected)?;
        let Some(standing) = standing else { return Err("nothing stands after four attempts".into()) };
        ensure(landed.iter().all(|landed| *landed == standing), || {
            format!("the attempts returned {landed:?}, and what stands is {standing:?}")
        })?;
        shows(destination, &plan, &expected(&plan)).await
    }
    .boxed()
}

fn the_gaps_of_what_stands(destination: &dyn Destination) -> Checked<'_> {
    async move {
        let gaps = [Span::new(3, 4), Span::new(8, 9)];
        let plan = plan(&*destination.open(), 0, 0, 100);
        let first = attempt(destination.open(), &plan, &[100], &gaps).await.map_err(unexpected)?;
        is_of(&first, &plan, expected(&plan).len() as u64, &gaps)?;
        for other in [&[][..], &[Span::new(13, 14)]] {
            let later = attempt(destination.open(), &plan, &[50], other).await.map_err(unexpected)?;
            is_of(&later, &plan, expected(&plan).len() as u64, &gaps)?;
        }
        Ok(())
    }
    .boxed()
}

fn a_batch_without_rows(destination: &dyn Destination) -> Checked<'_> {
    async move {
        let sink = destination.open();
        let plan = plan(&*sink, 0, 10, 20);
        let gaps = [plan.span];
        let landed = seal(&*sink, &plan, &[], &gaps).map_err(unexpected)?.land(&plan).await.map_err(unexpected)?;
        is_of(&landed, &plan, 0, &gaps)?;
        let other = destination.open();
        let standing = other.standing(&plan).await.map_err(unexpected)?;
        ensure(standing.as_ref() == Some(&landed), || format!("an empty batch stands as {standing:?}"))?;
        let shown = all_landed(&*other, &plan, 0).await?;
        ensure(shown == [landed], || format!("an empty batch is shown as {shown:?}"))?;
        shows(destination, &plan, &[]).await
    }
    .boxed()
}

fn a_huge_batch(destination: &dyn Destination) -> Checked<'_> {
    async move {
        let sink = destination.open();
        let plan = plan(&*sink, 0, 0, 12_000);
        let mut all: Vec<rows::Row> = expected(&plan);
        let large: Vec<u8> = (0..3_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        all[4_000].value = Some(large);
        let batch = rows::batch_of(&plan.stream, &all);
        let landed = seal(&*sink, &plan, &[batch], &[]).map_err(unexpected)?.land(&plan).await.map_err(unexpected)?;
        is_of(&landed, &plan, all.len() as u64, &[])?;
        shows(destination, &plan, &all).await
    }
    .boxed()
}

fn two_plans_tile(destination: &dyn Destination) -> Checked<'_> {
    async move {
        let sink = destination.open();
        let plans: Vec<Plan> =
            [(9, 100), (100, 250), (250, 1_000)].map(|(from, until)| plan(&*sink, 0, from, until)).into();
        // They may be landed in any order.
        for plan in [&plans[2], &plans[0], &plans[1]] {
            attempt(destination.open(), plan, &[60], &[]).await.map_err(unexpected)?;
        }
        for (from, count) in [(0, 3), (9, 3), (99, 3), (100, 2), (101, 2), (250, 1), (999, 1), (1_000, 0)] {
            let shown = all_landed(&*destination.open(), &plans[0], from).await?;
            let spans: Vec<Span> = shown.iter().map(|landed| landed.span).collect();
            let wanted: Vec<Span> = plans[3 - count..].iter().map(|plan| plan.span).collect();
            ensure(spans == wanted, || format!("from offset {from} on {spans:?} is shown instead of {wanted:?}"))?;
        }
        for plan in &plans {
            shows(destination, plan, &expected(plan)).await?;
        }
        Ok(())
    }
    .boxed()
}

fn partitions_are_kept_apart(destination: &dyn Destination) -> Checked<'_> {
    async move {
        let sink = destination.open();
        for partition in [1, 11, 10] {
            let plan = plan(&*sink, partition, 0, 100);
            attempt(sink.clone(), &plan, &[100], &[]).await.map_err(unexpected)?;
        }
        let one = plan(&*sink, 1, 0, 100);
        let shown = all_landed(&*sink, &one, 0).await?;
        ensure(shown.len() == 1 && shown[0].stream == one.stream, || format!("partition 1 is shown as {shown:?}"))?;
        shows(destination, &one, &expected(&one)).await
    }
    .boxed()
}

fn standing_before_and_after(destination: &dyn Destination) -> Checked<'_> {
    async move {
        let sink = destination.open();
        let plan = plan(&*sink, 0, 0, 100);
        ensure(sink.standing(&plan).await.map_err(unexpected)?.is_none(), || "something stands before".into())?;
        let landed = attempt(sink, &plan, &[100], &[]).await.map_err(unexpected)?;
        let standing = destination.open().standing(&plan).await.map_err(unexpected)?;
        ensure(standing.as_ref() == Some(&landed), || format!("{landed:?} landed, and {standing:?} stands"))?;
        let neighbour = Plan { span: Span::new(100, 200), ..plan };
        let none = destination.open().standing(&neighbour).await.map_err(unexpected)?;
        ensure(none.is_none(), || "the next plan stands already".into())
    }
    .boxed()
}

fn another_plan_than_sealed_for(destination: &dyn Destination) -> Checked<'_> {
    async move {
        let sink = destination.open();
        let sealed_for = plan(&*sink, 0, 0, 100);
        let mut sealed = seal(&*sink, &sealed_for, &batches(&sealed_for, &[100]), &[]).map_err(unexpected)?;
        let shorter = Plan { span: Span::new(0, 50), ..sealed_for.clone() };
        let elsewhere = Plan { stream: stream(7), ..sealed_for };
        for other in [shorter, elsewhere] {
            match sealed.land(&other).await {
                Err(SinkError::Refused(_)) => {}
                answer => return Err(format!("landing rows of another plan gave {answer:?}, not a refusal")),
            }
        }
        ensure(destination.visible().await == 0, || "rows of another plan became visible".into())
    }
    .boxed()
}

fn an_unknown_layout(destination: &dyn Destination) -> Checked<'_> {
    async move {
        let sink = destination.open();
        let mut plan = plan(&*sink, 0, 0, 10);
        plan.layout = Arc::new(Layout { format: "of-a-later-release".into(), ..(*plan.layout).clone() });
        let refused = |answer: Result<(), SinkError>| match answer {
            Err(SinkError::Refused(_)) => Ok(()),
            other => Err(format!("a layout of a later release gave {other:?}, not a refusal")),
        };
        refused(begin(&*sink, &plan).map(drop))?;
        refused(sink.standing(&plan).await.map(drop))
    }
    .boxed()
}

fn weight_and_relieve(destination: &dyn Destination) -> Checked<'_> {
    async move {
        let sink = destination.open();
        let plan = plan(&*sink, 0, 0, 4_000);
        let mut writer = begin(&*sink, &plan).map_err(unexpected)?;
        let mut rows = 0;
        for batch in batches(&plan, &[500]) {
            writer.write(&batch).map_err(unexpected)?;
            rows += batch.num_rows() as u64;
            let before = writer.weight();
            ensure(before.rows == rows, || format!("{} rows weigh as {}", rows, before.rows))?;
            writer.relieve().map_err(unexpected)?;
            let after = writer.weight();
            ensure(after.memory <= before.memory && after.rows == rows, || {
                format!("relieving {before:?} made it {after:?}")
            })?;
        }
        let facts = landfall_sink::Facts { span: plan.span, gaps: Vec::new() };
        writer.seal(&facts).map_err(unexpected)?.land(&plan).await.map_err(unexpected)?;
        shows(destination, &plan, &expected(&plan)).await
    }
    .boxed()
}

async fn all_landed(sink: &dyn Sink, plan: &Plan, from: i64) -> Result<Vec<Landed>, String> {
    let mut shown = sink.landed(&plan.layout, &plan.stream, from).await.map_err(unexpected)?;
    let mut all = Vec::new();
    while let Some(landed) = shown.next().await {
        all.push(landed.map_err(unexpected)?);
    }
    Ok(all)
}
