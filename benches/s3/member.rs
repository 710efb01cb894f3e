//! A process that shares the partitions with others, and those processes as their parent sees them.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};
use landfall::Landfall;

use crate::arms::Order;
use crate::quota::Quota;
use crate::rig::encoding;
use crate::rig::work::{Cost, Stopwatch};
use crate::rounds::arm;

const LOOK: Duration = Duration::from_millis(20);
/// What a member says as soon as it has landed something.
const LANDS: &str = "lands";

/// Runs until its standard input ends: with the parent, however that ended.
pub fn run(order: &Order) -> anyhow::Result<Cost> {
    let watch = Stopwatch::start()?;
    let landed = encoding::runtime()?.block_on(async {
        let landfall = order.open(&order.place).await?;
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            // However it ends, and whether or not anybody still waits for that.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let _ = tell.send(());
        });
        let stop = async {
            tokio::select! {
                _ = told => {}
                never = say(&landfall) => match never {},
            }
        };
        landfall.run(stop).await?;
        anyhow::Ok(landfall.board().totals().records)
    })?;
    watch.stop(landed)
}

async fn say(landfall: &Landfall) -> std::convert::Infallible {
    while landfall.board().totals().records == 0 {
        tokio::time::sleep(LOOK).await;
    }
    println!("{LANDS}");
    std::future::pending().await
}

/// One of them.
pub struct Member {
    child: Child,
    input: Option<ChildStdin>,
    lands: Arc<AtomicBool>,
    answer: Option<JoinHandle<anyhow::Result<Cost>>>,
    pub quota: Option<Quota>,
}

impl Member {
    pub fn start(order: &Order, share: Option<f64>) -> anyhow::Result<Member> {
        let mut child = arm(order)?.stdin(Stdio::piped()).spawn()?;
        let quota = share.map(|share| Quota::new(&child, share)).transpose();
        let (input, output) = (child.stdin.take(), child.stdout.take().context("its output")?);
        let lands = Arc::new(AtomicBool::new(false));
        let tell = lands.clone();
        let answer = std::thread::spawn(move || {
            let mut answer = String::new();
            for line in BufReader::new(output).lines() {
                match line?.as_str() {
                    LANDS => tell.store(true, Ordering::Relaxed),
                    line => line.clone_into(&mut answer),
                }
            }
            serde_json::from_str(&answer).context("a member's answer")
        });
        let mut member = Member { child, input, lands, answer: Some(answer), quota: None };
        member.quota = quota?;
        Ok(member)
    }

    pub fn lands(&self) -> bool {
        self.lands.load(Ordering::Relaxed)
    }

    /// While it is not asked to end it does not.
    pub fn is_there(&self) -> anyhow::Result<()> {
        let listens = self.answer.as_ref().is_some_and(|answer| !answer.is_finished());
        ensure!(listens, "a process of several ended by itself");
        Ok(())
    }

    /// Asks it to end; what it has cost is told by [`Member::cost`].
    pub fn end(&mut self) -> anyhow::Result<()> {
        self.input = None;
        self.quota.as_mut().map_or(Ok(()), Quota::lift)
    }

    pub fn cost(mut self) -> anyhow::Result<Cost> {
        self.end()?;
        ensure!(self.child.wait()?.success(), "a process of several failed");
        let answer = self.answer.take().context("an answer is asked for once")?;
        answer.join().unwrap_or_else(|_| anyhow::bail!("who listened to a member panicked"))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.end();
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
