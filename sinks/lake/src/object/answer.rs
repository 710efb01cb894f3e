//! What an answer of an object store means: did it happen, and what should a person do?

use std::time::Duration;

use object_store::Error;

use super::wire::Seen;
use crate::LakeError;

/// A request that did not end in a clear success.
#[derive(Debug)]
pub(super) struct Answer {
    pub meaning: Meaning,
    pub seen: Seen,
    /// The store asked for fewer requests.
    pub throttled: bool,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It never went out, so nothing happened.
    NotSent,
    /// A condition did not hold, or somebody else was at the same name.
    Conflict,
    /// The store named the object, and does not have it.
    Absent,
    /// The store said no. Repeating it unchanged may help when somebody changed a permission or a setting.
    Denied,
    /// The store cannot do this at all.
    Never,
    /// Whether it happened is not known.
    Doubtful,
}

/// How stores say that an object is not there. A bucket that is not there answers 404 too, and so may a proxy.
const ABSENT: [&str; 4] = ["NoSuchKey", "BlobNotFound", "No such object", "NoSuchVersion"];

impl Answer {
    pub fn of(error: &Error, seen: Seen) -> Answer {
        let text = said(error);
        let meaning = match seen {
            Seen::Nothing | Seen::NotSent => Meaning::NotSent,
            Seen::NoAnswer => Meaning::Doubtful,
            Seen::Status(304 | 409 | 412) => Meaning::Conflict,
            Seen::Status(404) if ABSENT.iter().any(|word| text.contains(word)) => Meaning::Absent,
            Seen::Status(408 | 429) => Meaning::Doubtful,
            Seen::Status(405 | 411 | 413 | 501) => Meaning::Never,
            Seen::Status(400) if never(&text) => Meaning::Never,
            Seen::Status(400..=499) => Meaning::Denied,
            // Of one of many objects that were to be deleted.
            Seen::Status(200..=299) if text.contains("AccessDenied") => Meaning::Denied,
            Seen::Status(_) => Meaning::Doubtful,
        };
        let throttled = matches!(seen, Seen::Status(429 | 503)) || text.contains("SlowDown");
        Answer { meaning, seen, throttled, text: advised(text, seen) }
    }

    pub fn timed_out(after: Duration, seen: Seen) -> Answer {
        let unsent = matches!(seen, Seen::Nothing | Seen::NotSent);
        let meaning = if unsent { Meaning::NotSent } else { Meaning::Doubtful };
        Answer { meaning, seen, throttled: false, text: format!("no answer within {} s", after.as_secs()) }
    }

    /// The answer to a question about `path`: nothing can have happened by asking.
    pub fn unread(self, path: &str) -> LakeError {
        match self.meaning {
            Meaning::Never => LakeError::refused(path, self.text),
            _ => LakeError::not_done(path, self.text),
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(&self.text)
    }
}

/// Requests that no permission and no patience make right.
fn never(text: &str) -> bool {
    ["EntityTooLarge", "KeyTooLong", "InvalidBucketName", "MetadataTooLarge"].iter().any(|word| text.contains(word))
}

/// The library's words, without the layers that say nothing, and not a page long.
fn said(error: &Error) -> String {
    let mut text = error.to_string();
    if let Some((_, body)) = text.split_once(" - ") {
        text = body.to_owned();
    }
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(600) {
        Some((end, _)) => format!("{} …", &words[..end]),
        None => words,
    }
}

fn advised(text: String, seen: Seen) -> String {
    let advice = match seen {
        Seen::NotSent => {
            "there is no connection to the store; look at its address (aws_endpoint in [lake.options], \
             or AWS_ENDPOINT_URL) and at the network"
        }
        _ if text.contains("AccessDenied") || matches!(seen, Seen::Status(401 | 403)) => {
            "the store refuses these credentials, or they do not permit this; look at them, \
             at the policy of the bucket, and at this machine's clock"
        }
        Seen::Status(404) if text.contains("NoSuchBucket") || text.contains("ContainerNotFound") => {
            "create the bucket, or correct lake.url"
        }
        Seen::Status(301 | 302 | 307 | 308) => "the bucket is in another region: set aws_region in [lake.options]",
        _ => return text,
    };
    format!("{text} ({advice})")
}
