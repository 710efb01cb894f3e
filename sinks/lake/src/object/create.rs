//! The conditional put, and what becomes of its answers.
//!
//! An answer may be of an earlier attempt whose answer was lost: "exists" may mean "you made it yourself", and an
//! error may come after the object. So each call gives its object a mark, the same in all its attempts, and asks
//! whose object stands after every answer that is not a clear success.

use object_store::path::Path;
use object_store::{Attribute, Attributes, GetOptions, PutMode, PutOptions, PutPayload};

use super::Inner;
use super::answer::{Answer, Meaning};
use super::asking::{deadline, pause};
use super::wire::Seen;
use crate::{Created, LakeError, fault};

/// The name of the mark in the object's metadata: letters alone, because Azure takes no hyphen and proxies drop underscores.
const MARK: &str = "landfallput";
const ATTEMPTS: u32 = 4;

/// Whose object stands under a name.
enum Stands {
    Own,
    Others,
    /// As far as anybody can see: a put that is still under way may bring it.
    Nothing,
}

impl Inner {
    /// Puts `payload` under `key` if nothing stands there. [`LakeError::Unknown`] wherever a put went out
    /// that may have come, or may come yet.
    pub(super) async fn put(&self, path: &str, key: &Path, payload: PutPayload) -> Result<Created, LakeError> {
        let mark = format!("{:032x}", rand::random::<u128>());
        let size = payload.content_length() as u64;
        let mut doubted = false;
        let mut attempt = 0;
        loop {
            let put = self.store.put_opts(key, payload.clone(), options(&mark));
            let Err(answer) = self.once(deadline(size), put).await else { return Ok(Created::Created) };
            attempt += 1;
            // A conflict with nothing there may be with a put that is still under way, and that one may be ours.
            doubted |= matches!(answer.meaning, Meaning::Doubtful | Meaning::Conflict);
            if answer.meaning != Meaning::NotSent {
                match self.whose(path, key, &mark).await {
                    Ok(Stands::Own) => return Ok(Created::Created),
                    Ok(Stands::Others) => return Ok(exists()),
                    Ok(Stands::Nothing) => {}
                    Err(unread) => {
                        let message = format!("{answer}; and when it was looked for: {unread}");
                        return Err(LakeError::unknown(path, message));
                    }
                }
            }
            let final_word = matches!(answer.meaning, Meaning::Denied | Meaning::Never | Meaning::Absent);
            if final_word || attempt == ATTEMPTS {
                return Err(failed(path, &answer, doubted));
            }
            tracing::debug!(path, attempt, "putting it again: {answer}");
            pause(attempt - 1, &answer).await;
        }
    }

    /// A failed look says nothing of what stands there.
    async fn whose(&self, path: &str, key: &Path, mark: &str) -> Result<Stands, LakeError> {
        let head = || GetOptions { head: true, ..GetOptions::default() };
        let look = || async {
            match self.once(deadline(0), self.store.get_opts(key, head())).await {
                Ok(found) => {
                    let shown = found.attributes.get(&Attribute::Metadata(MARK.into()));
                    Ok(if shown.is_some_and(|shown| shown.as_ref() == mark) { Stands::Own } else { Stands::Others })
                }
                // Believed without a word of what is absent: all that follows from it is another conditional put.
                Err(answer) if answer.seen == Seen::Status(404) => Ok(Stands::Nothing),
                Err(answer) => Err(answer),
            }
        };
        Ok(self.asked(path, look).await?.unwrap_or(Stands::Nothing))
    }
}

fn options(mark: &str) -> PutOptions {
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::Metadata(MARK.into()), mark.to_owned().into());
    // What a put must never do; only a test that wants to see it noticed asks for it.
    let mode = if fault::sabotaged("overwrite_on_exists") { PutMode::Overwrite } else { PutMode::Create };
    PutOptions { mode, attributes, ..PutOptions::default() }
}

fn failed(path: &str, answer: &Answer, doubted: bool) -> LakeError {
    match answer.meaning {
        // An earlier attempt may be under way.
        _ if doubted => LakeError::unknown(path, answer),
        Meaning::Never => LakeError::refused(path, answer),
        _ => LakeError::not_done(path, answer),
    }
}

/// "Something stands there", unless a test broke that answer on purpose.
fn exists() -> Created {
    if fault::sabotaged("exists_is_created") { Created::Created } else { Created::Exists }
}
