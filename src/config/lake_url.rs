//! Where the lake is, as a person writes it.

use std::fmt;
use std::path::{Path, PathBuf};

use landfall_lake::{OBJECT_SCHEMES, ObjectUrl};

/// A lake on a local disk, `file:///data/lake` or a plain path, or in an object store, `s3://bucket/prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeUrl {
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Local(PathBuf),
    Object(ObjectUrl),
}

impl Default for LakeUrl {
    fn default() -> LakeUrl {
        LakeUrl::from_path("")
    }
}

/// Why a text is no lake that this release can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LakeUrlError {
    #[error("a lake on {scheme}:// is not in this release")]
    Later { scheme: String },
    #[error("{0}")]
    Wrong(String),
}

/// Schemes that later releases will know: said so, rather than called unknown.
const LATER: [&str; 4] = ["abfs", "abfss", "adl", "hdfs"];

impl LakeUrl {
    pub fn parse(text: &str) -> Result<LakeUrl, LakeUrlError> {
        if text.is_empty() {
            return Err(LakeUrlError::Wrong("an empty text is not a lake".into()));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(LakeUrl::from_path(text));
        };
        if LATER.contains(&scheme) {
            return Err(LakeUrlError::Later { scheme: scheme.into() });
        }
        if OBJECT_SCHEMES.contains(&scheme) || scheme == "s3a" {
            let url = text.parse().map_err(LakeUrlError::Wrong)?;
            return Ok(LakeUrl { place: Place::Object(url) });
        }
        if scheme != "file" {
            return Err(LakeUrlError::Wrong(format!("{scheme}:// is not known (known: file://, s3://, gs://, az://)")));
        }
        let path = rest.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(rest);
        if !path.starts_with('/') {
            return Err(LakeUrlError::Wrong(format!("{text:?} does not hold an absolute path")));
        }
        let path = decode(path).ok_or_else(|| LakeUrlError::Wrong(format!("{text:?} has a broken % escape")))?;
        Ok(LakeUrl::from_path(path))
    }

    pub fn from_path(path: impl Into<PathBuf>) -> LakeUrl {
        LakeUrl { place: Place::Local(path.into()) }
    }

    /// The root directory of a lake on a local disk.
    pub fn local_path(&self) -> Option<&Path> {
        match &self.place {
            Place::Local(path) => Some(path),
            Place::Object(_) => None,
        }
    }

    /// The bucket and the prefix of a lake in an object store.
    pub fn object(&self) -> Option<&ObjectUrl> {
        match &self.place {
            Place::Local(_) => None,
            Place::Object(url) => Some(url),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.local_path().is_some_and(|path| path.as_os_str().is_empty())
    }
}

impl fmt::Display for LakeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Local(path) if path.is_absolute() => write!(f, "file://{}", encode(&path.to_string_lossy())),
            Place::Local(path) => write!(f, "{}", path.display()),
            Place::Object(url) => write!(f, "{url}"),
        }
    }
}

/// `%20` and the like; a NUL cannot be part of a path.
fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| plain)?);
            rest = &tail[2..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// Only what would read back as something else.
fn encode(path: &str) -> String {
    path.replace('%', "%25").replace(' ', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_and_paths() {
        let path = |text: &str| LakeUrl::parse(text).unwrap().local_path().map(Path::to_owned);
        assert_eq!(path("file:///data/my%20lake"), Some(PathBuf::from("/data/my lake")));
        assert_eq!(LakeUrl::parse("file:///data/my%20lake").unwrap().to_string(), "file:///data/my%20lake");
        assert_eq!(LakeUrl::parse("file://localhost/data").unwrap().to_string(), "file:///data");
        assert_eq!(path("./lake"), Some(PathBuf::from("./lake")));
        assert_eq!(path("s3://bucket/x"), None);
        assert_eq!(LakeUrl::parse("s3a://bucket/x/").unwrap().to_string(), "s3://bucket/x");
        assert_eq!(LakeUrl::parse("hdfs://n/x"), Err(LakeUrlError::Later { scheme: "hdfs".into() }));
        for bad in [
            "",
            "s3://",
            "s3:///x",
            "gs://b//x",
            "file://data/lake",
            "http://x/y",
            "file:///a%2",
            "file:///a%zz",
            "file:///a%00",
            "file:///%+1",
        ] {
            assert!(LakeUrl::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn an_absolute_path_reads_back(path in "/\\PC{0,40}") {
            let url = LakeUrl::from_path(&path);
            prop_assert_eq!(LakeUrl::parse(&url.to_string()).unwrap(), url);
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,40}") {
            let _ = LakeUrl::parse(&text);
        }
    }
}
