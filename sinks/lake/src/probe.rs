//! The start-up probe: a lake must prove, by doing it, that a name is created by one writer only and that a
//! listing shows it at once. Everything else rests on that, so nobody is believed about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{BoxFuture, join_all};

use crate::{Created, Lake, LakeError};

/// Below this the probe creates names, and removes them again.
const PLACE: &str = "_landfall/probe";
const SIZES: [usize; 2] = [200, 200_000];
/// A probe that was killed left names; they are removed when they are certainly nobody's any more.
const STALE_SECONDS: u64 = 3600;

/// How hard a lake is tried. A store that looks and then writes is found out only by chance: one that lets several
/// win in every third race passes 50 of them less often than once in a hundred million times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trials {
    /// Races for each size.
    pub rounds: usize,
    /// In each race.
    pub writers: usize,
}

impl Default for Trials {
    fn default() -> Trials {
        Trials { rounds: 25, writers: 20 }
    }
}

/// What a lake has proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub url: String,
    /// Names that were created and seen in a listing.
    pub names: usize,
    /// Races for one name, of how many writers.
    pub races: usize,
    pub writers: usize,
    /// Sizes of the contents, in bytes.
    pub sizes: Vec<usize>,
}

impl fmt::Display for Probe {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Probe { url, names, races, writers, sizes } = self;
        write!(to, "{url} creates exclusively: {names} names, {races} races of {writers} writers, {sizes:?} bytes; ")?;
        write!(to, "each had one winner, whose bytes stand, and was listed at once")
    }
}

/// Proves exclusive creation, one writer after the other and all at once, and a listing that shows what was
/// created. [`LakeError::Refused`] names what is missing; any other error is of a lake that could not be reached.
pub async fn probe(lake: &dyn Lake) -> Result<Probe, LakeError> {
    let run =
        Run { lake, trials: lake.trials(), prefix: format!("{PLACE}/{:012}-{:016x}", now(), rand::random::<u64>()) };
    let proved = run.prove().await;
    run.clean(proved.is_ok()).await;
    proved
}

struct Run<'a> {
    lake: &'a dyn Lake,
    prefix: String,
    trials: Trials,
}

/// What a writer wanted to write, and what it was told.
struct Attempt {
    content: Bytes,
    told: Result<Created, LakeError>,
}

impl Run<'_> {
    async fn prove(&self) -> Result<Probe, LakeError> {
        let mut made = BTreeMap::new();
        for (number, size) in SIZES.into_iter().enumerate() {
            let name = format!("{}-{number}-sequential", self.prefix);
            self.one_after_the_other(&name, size).await?;
            made.insert(name, size as u64);
            for round in 0..self.trials.rounds {
                let name = format!("{}-{number}-race-{round}", self.prefix);
                self.all_at_once(&name, size).await?;
                made.insert(name, size as u64);
            }
        }
        self.listed(&made).await?;
        Ok(Probe {
            url: self.lake.url().to_owned(),
            names: made.len(),
            races: SIZES.len() * self.trials.rounds,
            writers: self.trials.writers,
            sizes: SIZES.to_vec(),
        })
    }

    fn missing(&self, what: String) -> LakeError {
        LakeError::refused(self.lake.url(), format!("{what}. Exactly-once cannot be kept here: use a store that can"))
    }

    async fn one_after_the_other(&self, name: &str, size: usize) -> Result<(), LakeError> {
        let mut attempts = Vec::new();
        for writer in 0..4 {
            attempts.push(self.attempt(name, writer, size).await);
            // Each is judged before the next may spoil what it left.
            self.judge(name, &attempts).await?;
        }
        self.in_list(name, size as u64).await
    }

    async fn all_at_once(&self, name: &str, size: usize) -> Result<(), LakeError> {
        let attempts = join_all((0..self.trials.writers).map(|writer| self.attempt(name, writer, size))).await;
        self.judge(name, &attempts).await?;
        self.in_list(name, size as u64).await
    }

    /// Even writers create a small object, odd ones publish a file: they compete for the same names.
    fn attempt<'b>(&'b self, name: &'b str, writer: usize, size: usize) -> BoxFuture<'b, Attempt> {
        let mark = format!("writer {writer} of {name} ").into_bytes();
        let content: Bytes = mark.into_iter().cycle().take(size).collect();
        Box::pin(async move {
            let told = if writer.is_multiple_of(2) {
                self.lake.create(name, content.clone()).await
            } else {
                self.published(name, &content).await
            };
            Attempt { content, told }
        })
    }

    async fn published(&self, name: &str, content: &[u8]) -> Result<Created, LakeError> {
        let mut file = self.lake.stage()?;
        for chunk in content.chunks(64 << 10) {
            file.write(chunk)?;
        }
        file.publish(name).await
    }

    /// One writer at most was told that it created the name, and its bytes stand, all of them.
    async fn judge(&self, name: &str, attempts: &[Attempt]) -> Result<(), LakeError> {
        let stands = self.lake.read(name).await?;
        let size = self.lake.size(name).await?;
        let told = |what: fn(&Result<Created, LakeError>) -> bool| {
            attempts.iter().filter(move |attempt| what(&attempt.told)).collect::<Vec<_>>()
        };
        let created = told(|told| matches!(told, Ok(Created::Created)));
        let unclear = told(|told| matches!(told, Err(LakeError::Unknown { .. })));
        if created.len() > 1 {
            let (winners, writers) = (created.len(), attempts.len());
            let what =
                format!("creation is not exclusive: {winners} of {writers} writers were told that they created {name}");
            return Err(self.missing(what));
        }
        let Some(stands) = stands else {
            let Some(failed) = attempts.iter().find_map(|attempt| attempt.told.as_ref().err()) else {
                return Err(self.missing(format!("a name that was created cannot be read at once: {name}")));
            };
            if !created.is_empty() {
                return Err(self.missing(format!("a name that was created cannot be read at once: {name}")));
            }
            // Nobody got anything done: not a word about exclusiveness.
            return Err(copy(failed));
        };
        if size != Some(stands.len() as u64) {
            let what = format!("the size of {name} is told as {size:?}, but {} bytes are read", stands.len());
            return Err(self.missing(what));
        }
        let may_stand = if created.is_empty() { &unclear } else { &created };
        if may_stand.iter().any(|attempt| attempt.content == stands) {
            return Ok(());
        }
        let what = if created.is_empty() {
            format!(
                "every writer of {name} was told that it exists, and yet it stands with bytes of one that was not told"
            )
        } else {
            format!("creation is not exclusive: {name} does not hold the bytes of the one writer that created it")
        };
        Err(self.missing(what))
    }

    async fn names(&self, after: Option<&str>) -> Result<BTreeMap<String, u64>, LakeError> {
        let (mut shown, mut tags) = (BTreeMap::new(), BTreeSet::new());
        let mut listing = self.lake.list(PLACE, after).await?;
        while let Some(entry) = listing.next().await {
            let entry = entry?;
            if !entry.path.starts_with(&self.prefix) {
                continue;
            }
            // No two objects of a probe have the same content.
            if entry.tag.is_some_and(|tag| !tags.insert(tag)) {
                let what = format!("objects of other contents have the same tag (ETag), {} among them", entry.path);
                return Err(self.missing(what));
            }
            shown.insert(entry.path, entry.size);
        }
        Ok(shown)
    }

    async fn in_list(&self, name: &str, size: u64) -> Result<(), LakeError> {
        match self.names(None).await?.get(name) {
            Some(shown) if *shown == size => Ok(()),
            Some(shown) => Err(self.missing(format!("a listing shows {name} with {shown} instead of {size} bytes"))),
            None => Err(self.missing(format!("a listing does not show a name that was just created: {name}"))),
        }
    }

    /// In the end exactly the names of this probe are shown, from any of them on.
    async fn listed(&self, made: &BTreeMap<String, u64>) -> Result<(), LakeError> {
        if self.names(None).await? != *made {
            return Err(self.missing("a listing does not show exactly the names that were created".into()));
        }
        let Some(middle) = made.keys().nth(made.len() / 2) else { return Ok(()) };
        let rest: Vec<_> = self.names(Some(middle)).await?.into_keys().collect();
        let expected: Vec<_> = made.keys().skip(made.len() / 2 + 1).cloned().collect();
        if rest == expected {
            return Ok(());
        }
        Err(self.missing("a listing that starts after a name does not show exactly the names after it".into()))
    }

    /// Removes the own names, and those of probes that were killed long ago. What cannot be removed does no harm.
    async fn clean(&self, proved: bool) {
        let Ok(mut listing) = self.lake.list(PLACE, None).await else { return };
        let mut names = Vec::new();
        while let Some(Ok(entry)) = listing.next().await {
            let made = entry.path.strip_prefix(PLACE).and_then(|name| name.get(1..13)?.parse::<u64>().ok());
            let stale = made.is_some_and(|made| made + STALE_SECONDS < now());
            if entry.path.starts_with(&self.prefix) || stale {
                names.push(entry.path);
            }
        }
        drop(listing);
        for name in names {
            if let Err(error) = self.lake.delete(&name).await {
                tracing::debug!(%error, proved, "a name of the probe stays");
            }
        }
    }
}

fn copy(error: &LakeError) -> LakeError {
    match error {
        LakeError::NotDone { path, message } => LakeError::not_done(path, message),
        LakeError::Unknown { path, message } => LakeError::unknown(path, message),
        LakeError::Refused { path, message } => LakeError::refused(path, message),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
