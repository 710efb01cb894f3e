//! The suite that every lake must pass, whatever is below it: a disk, an object store, a double that behaves.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt};
use landfall_lake::{Created, Lake, LakeError, Placed, Staged, place};

use crate::run::ensure;

type Checked = BoxFuture<'static, Result<(), String>>;
type LakeCase = (&'static str, fn(Arc<dyn Lake>) -> Checked);

const ALL: &[LakeCase] = &[
    ("a created object is read back, whole and in part", |lake| created_and_read(lake).boxed()),
    ("a staged file has no name until it is published", |lake| staged_and_published(lake).boxed()),
    ("a dropped file leaves nothing", |lake| dropped(lake).boxed()),
    ("a published file cannot change, and is found when it is published again", |lake| published_again(lake).boxed()),
    ("an empty file takes its name", |lake| empty(lake).boxed()),
    ("an object is read with the tag that a listing shows, and another has another", |lake| tagged(lake).boxed()),
    ("of many writers one creates the name", |lake| races(lake).boxed()),
    ("placing tells the same from another", |lake| placing(lake).boxed()),
    ("only what lies below _landfall/ is deleted", |lake| deletes(lake).boxed()),
    ("paths that leave the lake are refused", |lake| paths(lake).boxed()),
    ("odd names are kept letter by letter", |lake| odd_names(lake).boxed()),
    ("a listing is complete, in order, and below a directory", |lake| listing(lake).boxed()),
    ("a listing of many names, from anywhere on", |lake| many_names(lake).boxed()),
    ("a listing shows at once what was created and deleted", |lake| listed_at_once(lake).boxed()),
    ("sweeping and settling change nothing that stands", |lake| swept(lake).boxed()),
    ("the probe passes", |lake| probed(lake).boxed()),
];

/// Runs every case on a lake of its own, and panics with a table where one fails.
pub async fn lake_conformance(backend: &str, fresh: impl Fn() -> Arc<dyn Lake>) {
    let mut table = String::new();
    let mut failed = 0;
    for (name, case) in ALL {
        let started = std::time::Instant::now();
        let result = case(fresh()).await;
        let verdict = match &result {
            Ok(()) => "ok".to_owned(),
            Err(why) => format!("FAILED: {why}"),
        };
        failed += usize::from(result.is_err());
        table.push_str(&format!("{backend:24} {name:72} {:>6} ms  {verdict}\n", started.elapsed().as_millis()));
    }
    print!("{table}");
    assert!(failed == 0, "{failed} of {} cases failed:\n{table}", ALL.len());
}

fn told(error: LakeError) -> String {
    format!("unexpected error: {error} ({error:?})")
}

fn is_refused<T: std::fmt::Debug>(what: &str, answer: Result<T, LakeError>) -> Result<(), String> {
    ensure(matches!(answer, Err(LakeError::Refused { .. })), || format!("{what} was not refused: {answer:?}"))
}

fn is<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    ensure(found == expected, || format!("{what}: {found:?} instead of {expected:?}"))
}

async fn names(lake: &dyn Lake, prefix: &str, after: Option<&str>) -> Result<Vec<String>, String> {
    let mut listing = lake.list(prefix, after).await.map_err(told)?;
    let mut names = Vec::new();
    while let Some(entry) = listing.next().await {
        names.push(entry.map_err(told)?.path);
    }
    Ok(names)
}

fn staged(lake: &dyn Lake, content: &[u8]) -> Result<Box<dyn Staged>, String> {
    let mut file = lake.stage().map_err(told)?;
    for chunk in content.chunks(70_001) {
        file.write(chunk).map_err(told)?;
    }
    Ok(file)
}

async fn created_and_read(lake: Arc<dyn Lake>) -> Result<(), String> {
    is("an absent name", lake.read("a/b.json").await.map_err(told)?, None)?;
    is("the size of an absent name", lake.size("a/b.json").await.map_err(told)?, None)?;
    is("the first create", lake.create("a/b.json", Bytes::from("content")).await.map_err(told)?, Created::Created)?;
    is("the second create", lake.create("a/b.json", Bytes::from("other")).await.map_err(told)?, Created::Exists)?;
    is("the same again", lake.create("a/b.json", Bytes::from("content")).await.map_err(told)?, Created::Exists)?;
    is("the content", lake.read("a/b.json").await.map_err(told)?, Some(Bytes::from("content")))?;
    is("the size", lake.size("a/b.json").await.map_err(told)?, Some(7))?;
    is("a range", lake.read_range("a/b.json", 2..5).await.map_err(told)?, Bytes::from("nte"))?;
    is("a range up to the end", lake.read_range("a/b.json", 6..7).await.map_err(told)?, Bytes::from("t"))?;
    is("an empty range", lake.read_range("a/b.json", 7..7).await.map_err(told)?, Bytes::new())?;
    for (path, range) in [("a/b.json", 5..8), ("a/b.json", 9..12), ("a/c.json", 0..1)] {
        let answer = lake.read_range(path, range.clone()).await;
        let not_done = matches!(answer, Err(LakeError::NotDone { .. }));
        ensure(not_done, || format!("bytes {range:?} of {path}: {answer:?}"))?;
    }
    is("a name below a name", lake.read("a/b.json/c").await.map_err(told)?, None)
}

fn large() -> Vec<u8> {
    (0..9_000_017u32).map(|n| (n % 251) as u8).collect()
}

async fn staged_and_published(lake: Arc<dyn Lake>) -> Result<(), String> {
    for (path, content) in [("t/0/large", large()), ("t/0/small", b"small".to_vec())] {
        let mut file = staged(&*lake, &content)?;
        is("before it is published", lake.size(path).await.map_err(told)?, None)?;
        is("publishing", file.publish(path).await.map_err(told)?, Created::Created)?;
        ensure(!file.spent(), || "a published file is spent".into())?;
        drop(file);
        let read = lake.read(path).await.map_err(told)?;
        ensure(read.as_deref() == Some(&content[..]), || format!("{path} holds other bytes than were written"))?;
        let end = content.len() as u64;
        let tail = lake.read_range(path, end - 3..end).await.map_err(told)?;
        is("the tail", &tail[..], &content[content.len() - 3..])?;
    }
    is("the names", names(&*lake, "", None).await?, vec!["t/0/large".to_owned(), "t/0/small".to_owned()])
}

async fn dropped(lake: Arc<dyn Lake>) -> Result<(), String> {
    drop(staged(&*lake, &large())?);
    drop(staged(&*lake, b"small")?);
    is("the names", names(&*lake, "", None).await?, vec![])
}

async fn published_again(lake: Arc<dyn Lake>) -> Result<(), String> {
    let mut first = staged(&*lake, b"first")?;
    is("the first publication", first.publish("t/x").await.map_err(told)?, Created::Created)?;
    is("the same file again", first.publish("t/x").await.map_err(told)?, Created::Exists)?;
    is_refused("writing on", first.write(b"more"))?;
    let mut late = staged(&*lake, b"second")?;
    is("another file", late.publish("t/x").await.map_err(told)?, Created::Exists)?;
    is("under another name", late.publish("t/y").await.map_err(told)?, Created::Created)?;
    is("what stands", lake.read("t/x").await.map_err(told)?, Some(Bytes::from("first")))?;
    is("what stands", lake.read("t/y").await.map_err(told)?, Some(Bytes::from("second")))
}

async fn empty(lake: Arc<dyn Lake>) -> Result<(), String> {
    is("publishing", staged(&*lake, b"")?.publish("t/empty").await.map_err(told)?, Created::Created)?;
    is("creating it", lake.create("t/empty", Bytes::from("x")).await.map_err(told)?, Created::Exists)?;
    is("its size", lake.size("t/empty").await.map_err(told)?, Some(0))?;
    is("its content", lake.read("t/empty").await.map_err(told)?, Some(Bytes::new()))?;
    is("the names", names(&*lake, "t", None).await?, vec!["t/empty".to_owned()])
}

async fn tagged(lake: Arc<dyn Lake>) -> Result<(), String> {
    let path = "_landfall/tagged/x";
    let mut tags = Vec::new();
    for content in ["one", "two"] {
        is("creating", lake.create(path, Bytes::from(content)).await.map_err(told)?, Created::Created)?;
        let mut listing = lake.list("_landfall/tagged", None).await.map_err(told)?;
        let listed = listing.next().await.transpose().map_err(told)?.and_then(|entry| entry.tag);
        let read = lake.read_tagged(path).await.map_err(told)?;
        is("what is read", read.as_ref().map(|read| read.content.clone()), Some(Bytes::from(content)))?;
        is("its tag", read.and_then(|read| read.tag), listed.clone())?;
        tags.push(listed);
        lake.delete(path).await.map_err(told)?;
    }
    is("an object that is gone", lake.read_tagged(path).await.map_err(told)?, None)?;
    ensure(tags[0].is_none() || tags[0] != tags[1], || format!("two objects have the tag {:?}", tags[0]))
}

async fn races(lake: Arc<dyn Lake>) -> Result<(), String> {
    for round in 0..12 {
        let path = format!("race/{}/{round}", round % 3);
        let size = [100, 256 << 10][round % 2];
        let attempts = (0..20u8).map(|writer| {
            let (lake, path) = (lake.clone(), path.clone());
            async move {
                let content = vec![writer; size];
                if writer % 2 == 0 {
                    return lake.create(&path, content.into()).await.map_err(told);
                }
                staged(&*lake, &content)?.publish(&path).await.map_err(told)
            }
        });
        let answers: Vec<Created> = join_all(attempts).await.into_iter().collect::<Result<_, _>>()?;
        let winners: Vec<usize> = (0..20).filter(|writer| answers[*writer] == Created::Created).collect();
        ensure(winners.len() == 1, || format!("{path} was created by {winners:?}"))?;
        let stands = lake.read(&path).await.map_err(told)?.unwrap_or_default();
        let whole = stands.len() == size && stands.iter().all(|byte| usize::from(*byte) == winners[0]);
        ensure(whole, || format!("{path} does not hold the bytes of its creator"))?;
    }
    Ok(())
}

async fn placing(lake: Arc<dyn Lake>) -> Result<(), String> {
    let put = |content: &'static str| place(&*lake, "_landfall/x", Bytes::from(content));
    is("the first", put("one").await.map_err(told)?, Placed::Created)?;
    is("the same", put("one").await.map_err(told)?, Placed::Same)?;
    is("another", put("two").await.map_err(told)?, Placed::Other(Bytes::from("one")))
}

async fn deletes(lake: Arc<dyn Lake>) -> Result<(), String> {
    lake.create("t/x", Bytes::from("data")).await.map_err(told)?;
    lake.create("_landfall/probe/x", Bytes::from("probe")).await.map_err(told)?;
    for path in ["t/x", "_landfall/../t/x", "_landfall/lock", "_landfallx", "_landfall/tmp/x"] {
        is_refused(path, lake.delete(path).await)?;
    }
    lake.delete("_landfall/probe/x").await.map_err(told)?;
    lake.delete("_landfall/probe/x").await.map_err(told)?;
    let many = ["_landfall/probe/many/1", "_landfall/probe/many/2", "_landfall/probe/many/3"].map(String::from);
    for path in &many[..2] {
        lake.create(path, Bytes::from_static(b"x")).await.map_err(told)?;
    }
    // Absent is success, here too.
    lake.delete_many(&many).await.map_err(told)?;
    for path in &many {
        if lake.size(path).await.map_err(told)?.is_some() {
            return Err(format!("{path} is still there"));
        }
    }
    is_refused("a/1", lake.delete_many(&["_landfall/probe/x".into(), "a/1".into()]).await)?;
    lake.delete_many(&[]).await.map_err(told)?;
    is("what is left", names(&*lake, "", None).await?, vec!["t/x".to_owned()])
}

async fn paths(lake: Arc<dyn Lake>) -> Result<(), String> {
    for path in ["", "/x", "../x", "a/../x", "a//x", "a/", "./x", "a\0b", "_landfall/tmp/x", "_landfall/lock"] {
        is_refused(path, lake.create(path, Bytes::new()).await)?;
    }
    is_refused("publishing", staged(&*lake, b"x")?.publish("../x").await)
}

async fn odd_names(lake: Arc<dyn Lake>) -> Result<(), String> {
    let mut odd: Vec<String> =
        ["topic=a b/dt=2026-11-21", "100%", "a%20b", "ä-ß-日本", "x+y&z", "q?#!", "~.txt", "(1)'*"]
            .iter()
            .map(|name| format!("odd/{name}"))
            .collect();
    for name in &odd {
        is(name, lake.create(name, Bytes::from(name.clone())).await.map_err(told)?, Created::Created)?;
    }
    for name in &odd {
        is(name, lake.read(name).await.map_err(told)?, Some(Bytes::from(name.clone())))?;
    }
    odd.sort();
    is("the names", names(&*lake, "odd", None).await?, odd)
}

async fn listing(lake: Arc<dyn Lake>) -> Result<(), String> {
    let mut stand: Vec<String> = ["a-b/x", "a/b", "a/c/d", "a.b", "a0", "ab/c", "b", "a/c-d"].map(str::to_owned).into();
    for path in &stand {
        lake.create(path, Bytes::from(path.clone())).await.map_err(told)?;
    }
    stand.sort();
    is("everything", names(&*lake, "", None).await?, stand.clone())?;
    let below: Vec<_> = stand.iter().filter(|path| path.starts_with("a/")).cloned().collect();
    is("below a", names(&*lake, "a", None).await?, below.clone())?;
    is("below a/", names(&*lake, "a/", None).await?, below)?;
    is("below a name", names(&*lake, "b", None).await?, vec![])?;
    is("below nothing", names(&*lake, "nothing/there", None).await?, vec![])?;
    for after in ["a", "a-b/x", "a/b", "a/c", "a0", "zzz", "a/c/d"] {
        let rest: Vec<_> = stand.iter().filter(|path| path.as_str() > after).cloned().collect();
        is(&format!("after {after}"), names(&*lake, "", Some(after)).await?, rest)?;
    }
    let mut listing = lake.list("a", None).await.map_err(told)?;
    while let Some(entry) = listing.next().await {
        let entry = entry.map_err(told)?;
        is(&entry.path, entry.size, entry.path.len() as u64)?;
    }
    Ok(())
}

async fn many_names(lake: Arc<dyn Lake>) -> Result<(), String> {
    let name = |n: usize| format!("many/{}/{:020}", n % 2, n * 7919 % 2203);
    let mut all: Vec<String> = (0..2203).map(name).collect();
    for portion in all.chunks(64) {
        let made = portion.iter().map(|path| lake.create(path, Bytes::from_static(b"x")));
        for answer in join_all(made).await {
            is("a create", answer.map_err(told)?, Created::Created)?;
        }
    }
    all.sort();
    is("how many", names(&*lake, "many", None).await?.len(), all.len())?;
    for at in [0, 999, 1000, 1001, 2202] {
        is(&format!("after number {at}"), names(&*lake, "many", Some(&all[at])).await?, all[at + 1..].to_vec())?;
    }
    Ok(())
}

async fn listed_at_once(lake: Arc<dyn Lake>) -> Result<(), String> {
    let mut stand = Vec::new();
    for n in 0..60 {
        let path = format!("_landfall/checkpoints/{n:020}.json");
        if n % 2 == 0 {
            lake.create(&path, Bytes::from("{}")).await.map_err(told)?;
        } else {
            staged(&*lake, b"{}")?.publish(&path).await.map_err(told)?;
        }
        stand.push(path);
        if n % 3 == 2 {
            let gone = stand.remove(0);
            lake.delete(&gone).await.map_err(told)?;
        }
        is("the versions", names(&*lake, "_landfall/checkpoints", None).await?, stand.clone())?;
    }
    Ok(())
}

async fn swept(lake: Arc<dyn Lake>) -> Result<(), String> {
    let stand = ["_landfall/probe/x", "_landfall/x", "t/x"];
    for path in stand {
        lake.create(path, Bytes::from("x")).await.map_err(told)?;
    }
    let _open = staged(&*lake, &large())?;
    is("what was swept", lake.sweep().await.map_err(told)?, 0)?;
    lake.settle("t/x").await.map_err(told)?;
    is("the names", names(&*lake, "", None).await?, stand.map(str::to_owned).to_vec())
}

async fn probed(lake: Arc<dyn Lake>) -> Result<(), String> {
    landfall_lake::probe(&*lake).await.map_err(told)?;
    is("what it left", names(&*lake, "", None).await?, vec![])
}
