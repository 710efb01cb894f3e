//! A lake that loses answers: it wraps another one and lets calls go wrong in every way that a disk or a
//! network knows, so that tests can show that whoever uses a lake believes only clear answers.

mod faults;

#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::{self, BoxFuture};
use futures::stream::{self, BoxStream};

use crate::{Created, Entry, Lake, LakeError, Staged, Tagged, Trials};
pub use faults::{Answer, Call, Effect, Fault, Faults, Rates};

/// Wraps a lake. Clones share everything, also what is still under way.
pub struct FaultyLake<L> {
    lake: Arc<L>,
    shared: Arc<Shared>,
}

impl<L> Clone for FaultyLake<L> {
    fn clone(&self) -> FaultyLake<L> {
        FaultyLake { lake: self.lake.clone(), shared: self.shared.clone() }
    }
}

struct Shared {
    faults: Faults,
    late: Mutex<Vec<Late>>,
}

/// A request that is still under way.
struct Late {
    due: u64,
    effect: BoxFuture<'static, ()>,
}

impl<L: Lake> FaultyLake<L> {
    pub fn new(lake: L, faults: Faults) -> FaultyLake<L> {
        FaultyLake { lake: Arc::new(lake), shared: Arc::new(Shared { faults, late: Mutex::default() }) }
    }

    /// The lake below, where nothing goes wrong.
    pub fn inner(&self) -> &L {
        &self.lake
    }

    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Everything that is still under way arrives now. Returns how many requests that were.
    pub async fn land_late(&self) -> usize {
        self.shared.land(u64::MAX).await
    }
}

impl Shared {
    /// A call is made: what is late and due arrives before it.
    async fn visit(&self, call: Call) -> Option<Fault> {
        let fault = self.faults.visit(call);
        self.land(self.faults.calls()).await;
        fault
    }

    async fn land(&self, now: u64) -> usize {
        let due: Vec<_> = {
            let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
            let (due, rest) = std::mem::take(&mut *late).into_iter().partition(|late| late.due <= now);
            *late = rest;
            due
        };
        let count = due.len();
        for late in due {
            late.effect.await;
        }
        count
    }

    fn postpone(&self, calls: u32, effect: BoxFuture<'static, ()>) {
        let due = self.faults.calls() + 1 + u64::from(calls);
        self.late.lock().unwrap_or_else(PoisonError::into_inner).push(Late { due, effect });
    }

    /// One call that can change something: `run` does it, once, now or later, or never.
    async fn change<T: Send + 'static>(
        &self,
        call: Call,
        path: &str,
        run: impl FnOnce(bool) -> BoxFuture<'static, Result<T, LakeError>>,
    ) -> Result<T, LakeError> {
        match self.visit(call).await {
            None => run(false).await,
            Some(Fault::NotDone | Fault::Midway(_)) => Err(LakeError::not_done(path, "injected: not done")),
            Some(Fault::NeverCame) => Err(LakeError::unknown(path, "injected: the request never came")),
            Some(Fault::AnswerLost) => {
                run(false).await?;
                Err(LakeError::unknown(path, "injected: the answer was lost"))
            }
            Some(Fault::Late(calls)) => {
                let effect = run(true);
                self.postpone(calls, Box::pin(async move { drop(effect.await) }));
                Err(LakeError::unknown(path, "injected: the request is still under way"))
            }
            Some(Fault::StopBefore) => future::pending().await,
            Some(Fault::StopAfter) => {
                drop(run(false).await);
                future::pending().await
            }
        }
    }

    /// One call that changes nothing.
    async fn look(&self, call: Call, path: &str) -> Result<(), LakeError> {
        match self.visit(call).await {
            None => Ok(()),
            Some(Fault::StopBefore | Fault::StopAfter) => future::pending().await,
            Some(_) => Err(LakeError::not_done(path, "injected: it could not be looked at")),
        }
    }
}

#[async_trait]
impl<L: Lake> Lake for FaultyLake<L> {
    fn url(&self) -> &str {
        self.lake.url()
    }

    async fn create(&self, path: &str, content: Bytes) -> Result<Created, LakeError> {
        let (lake, shared, name) = (self.lake.clone(), self.shared.clone(), path.to_owned());
        let run = move |late: bool| -> BoxFuture<'static, Result<Created, LakeError>> {
            Box::pin(async move {
                let (bytes, hash) = (content.len() as u64, digest(&content));
                let answer = lake.create(&name, content).await;
                let made = Answer::of(&answer);
                shared.faults.note(Effect { call: Call::Create, path: name, answer: made, bytes, content: hash, late });
                answer
            })
        };
        self.shared.change(Call::Create, path, run).await
    }

    fn stage(&self) -> Result<Box<dyn Staged>, LakeError> {
        let file = Arc::new(tokio::sync::Mutex::new(self.lake.stage()?));
        let url = self.lake.url().to_owned();
        let shared = self.shared.clone();
        Ok(Box::new(FaultyStaged { shared, file, url, bytes: 0, content: DefaultHasher::new(), spent: false }))
    }

    async fn read(&self, path: &str) -> Result<Option<Bytes>, LakeError> {
        self.shared.look(Call::Read, path).await?;
        self.lake.read(path).await
    }

    async fn read_tagged(&self, path: &str) -> Result<Option<Tagged>, LakeError> {
        self.shared.look(Call::Read, path).await?;
        self.lake.read_tagged(path).await
    }

    async fn read_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        self.shared.look(Call::ReadRange, path).await?;
        self.lake.read_range(path, range).await
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        self.shared.look(Call::Size, path).await?;
        self.lake.size(path).await
    }

    async fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> Result<BoxStream<'a, Result<Entry, LakeError>>, LakeError> {
        let good = match self.shared.visit(Call::List).await {
            None => return self.lake.list(prefix, start_after).await,
            Some(Fault::Midway(good)) => good,
            Some(Fault::StopBefore | Fault::StopAfter) => return future::pending().await,
            Some(_) => return Err(LakeError::not_done(prefix, "injected: it could not be listed")),
        };
        // The error comes also where there are fewer entries: a listing is complete, or it ends with an error.
        let error = LakeError::not_done(prefix, "injected: the listing broke off");
        let shown = self.lake.list(prefix, start_after).await?.take(good);
        Ok(shown.chain(stream::once(future::ready(Err(error)))).boxed())
    }

    async fn settle(&self, path: &str) -> Result<(), LakeError> {
        match self.shared.visit(Call::Settle).await {
            None => self.lake.settle(path).await,
            Some(Fault::StopBefore | Fault::StopAfter) => future::pending().await,
            Some(Fault::AnswerLost) => {
                self.lake.settle(path).await?;
                Err(LakeError::unknown(path, "injected: the answer was lost"))
            }
            Some(_) => Err(LakeError::not_done(path, "injected: it could not be synced")),
        }
    }

    async fn delete(&self, path: &str) -> Result<(), LakeError> {
        let (lake, shared, name) = (self.lake.clone(), self.shared.clone(), path.to_owned());
        let run = move |late: bool| -> BoxFuture<'static, Result<(), LakeError>> {
            Box::pin(async move {
                let answer = lake.delete(&name).await;
                let done = match &answer {
                    Ok(()) => Answer::Deleted,
                    Err(LakeError::NotDone { .. }) => Answer::NotDone,
                    Err(LakeError::Unknown { .. }) => Answer::Unknown,
                    Err(LakeError::Refused { .. }) => Answer::Refused,
                };
                let effect = Effect { call: Call::Delete, path: name, answer: done, bytes: 0, content: 0, late };
                shared.faults.note(effect);
                answer
            })
        };
        self.shared.change(Call::Delete, path, run).await
    }

    async fn delete_many(&self, paths: &[String]) -> Result<(), LakeError> {
        let first = paths.first().map(String::as_str).unwrap_or_default();
        let (lake, shared, paths) = (self.lake.clone(), self.shared.clone(), paths.to_vec());
        let run = move |late: bool| -> BoxFuture<'static, Result<(), LakeError>> {
            Box::pin(async move {
                let answer = lake.delete_many(&paths).await;
                let done = if answer.is_ok() { Answer::Deleted } else { Answer::Unknown };
                for path in paths {
                    shared.faults.note(Effect { call: Call::Delete, path, answer: done, bytes: 0, content: 0, late });
                }
                answer
            })
        };
        self.shared.change(Call::Delete, first, run).await
    }

    async fn sweep(&self) -> Result<u64, LakeError> {
        self.lake.sweep().await
    }

    fn trials(&self) -> Trials {
        self.lake.trials()
    }

    fn longest_request(&self) -> std::time::Duration {
        self.lake.longest_request()
    }
}

/// A draft whose publication can be lost, or come late, when its caller is gone.
struct FaultyStaged {
    shared: Arc<Shared>,
    file: Arc<tokio::sync::Mutex<Box<dyn Staged>>>,
    url: String,
    bytes: u64,
    content: DefaultHasher,
    spent: bool,
}

#[async_trait]
impl Staged for FaultyStaged {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        if self.spent || self.shared.faults.visit(Call::Write).is_some() {
            self.spent = true;
            return Err(LakeError::not_done(&self.url, "injected: no space for a temporary file"));
        }
        // Somebody else holds the draft only while it is being published, and then it takes no more bytes.
        let Ok(mut file) = self.file.try_lock() else {
            return Err(LakeError::refused(&self.url, "a file that is being published cannot be written to"));
        };
        file.write(bytes)?;
        self.bytes += bytes.len() as u64;
        self.content.write(bytes);
        Ok(())
    }

    async fn publish(&mut self, path: &str) -> Result<Created, LakeError> {
        if self.spent {
            return Err(LakeError::not_done(path, "injected: the temporary file is spent; write it again"));
        }
        let (file, shared, name) = (self.file.clone(), self.shared.clone(), path.to_owned());
        let (bytes, content) = (self.bytes, self.content.finish());
        let run = move |late: bool| -> BoxFuture<'static, Result<Created, LakeError>> {
            Box::pin(async move {
                let answer = file.lock().await.publish(&name).await;
                let made = Answer::of(&answer);
                shared.faults.note(Effect { call: Call::Publish, path: name, answer: made, bytes, content, late });
                answer
            })
        };
        self.shared.change(Call::Publish, path, run).await
    }

    fn spent(&self) -> bool {
        self.spent || self.file.try_lock().is_ok_and(|file| file.spent())
    }
}

fn digest(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    hasher.finish()
}
