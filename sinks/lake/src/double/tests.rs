//! The double does what it says: each fault, and a journal that tells what really happened.

use super::*;
use crate::{LocalLake, Placed, block_on, place};

fn lake(faults: Faults) -> (tempfile::TempDir, FaultyLake<LocalLake>) {
    let dir = tempfile::tempdir().unwrap();
    let lake = LocalLake::open(dir.path(), 2).unwrap();
    (dir, FaultyLake::new(lake, faults))
}

fn unknown<T>(answer: Result<T, LakeError>) -> bool {
    matches!(answer, Err(LakeError::Unknown { .. }))
}

fn not_done<T>(answer: Result<T, LakeError>) -> bool {
    matches!(answer, Err(LakeError::NotDone { .. }))
}

#[test]
fn each_fault_has_the_effect_that_it_names() {
    let (_dir, lake) = lake(Faults::none());
    let stands = |path: &str| block_on(lake.inner().size(path)).unwrap().is_some();
    for by_publish in [false, true] {
        let call = if by_publish { Call::Publish } else { Call::Create };
        let put = |path: &str, fault: Fault| {
            lake.faults().on(call, 1, fault);
            block_on(async {
                if !by_publish {
                    return lake.create(path, Bytes::from("x")).await;
                }
                let mut file = lake.stage().unwrap();
                file.write(b"x").unwrap();
                file.publish(path).await
            })
        };
        let name = |what: &str| format!("{by_publish}/{what}");
        assert!(not_done(put(&name("not-done"), Fault::NotDone)) && !stands(&name("not-done")));
        assert!(unknown(put(&name("never"), Fault::NeverCame)) && !stands(&name("never")));
        assert!(unknown(put(&name("lost"), Fault::AnswerLost)) && stands(&name("lost")));
        assert!(unknown(put(&name("late"), Fault::Late(1000))) && !stands(&name("late")));
        assert_eq!(block_on(lake.land_late()), 1);
        assert!(stands(&name("late")), "the draft is gone, its request was under way");
    }
    let late: Vec<_> = lake.faults().journal().into_iter().filter(|effect| effect.late).collect();
    assert_eq!(late.len(), 2);
    assert!(late.iter().all(|effect| effect.answer == Answer::Created && effect.bytes == 1));
    assert_eq!(late[0].content, late[1].content);
    assert_eq!(lake.faults().injected(), 8);
    assert!(lake.faults().written_twice().is_empty());
}

#[test]
fn a_late_create_arrives_after_so_many_calls_and_loses_against_whoever_was_there() {
    let (_dir, lake) = lake(Faults::none());
    lake.faults().on(Call::Create, 1, Fault::Late(2));
    block_on(async {
        assert!(unknown(lake.create("a", Bytes::from("slow")).await));
        assert_eq!(lake.read("a").await.unwrap(), None);
        assert_eq!(lake.create("a", Bytes::from("fast")).await.unwrap(), Created::Created);
        assert_eq!(lake.read("a").await.unwrap().unwrap(), "fast");
    });
    let answers: Vec<_> = lake.faults().journal().iter().map(|effect| (effect.answer, effect.late)).collect();
    assert_eq!(answers, [(Answer::Created, false), (Answer::Exists, true)]);
}

#[test]
fn a_stop_never_answers() {
    let (_dir, lake) = lake(Faults::none());
    lake.faults().on(Call::Create, 1, Fault::StopBefore).on(Call::Create, 2, Fault::StopAfter);
    block_on(async {
        for (path, stands) in [("before", false), ("after", true)] {
            let wait = std::time::Duration::from_millis(300);
            assert!(tokio::time::timeout(wait, lake.create(path, Bytes::new())).await.is_err());
            assert_eq!(lake.size(path).await.unwrap().is_some(), stands);
        }
    });
}

#[test]
fn reads_fail_and_listings_break_off() {
    let (_dir, lake) = lake(Faults::none());
    block_on(async {
        for path in ["t/1", "t/2", "t/3"] {
            lake.create(path, Bytes::from("x")).await.unwrap();
        }
        lake.faults().on(Call::Read, 1, Fault::NotDone).on(Call::Size, 1, Fault::NotDone);
        lake.faults().on(Call::ReadRange, 1, Fault::NotDone).on(Call::Settle, 1, Fault::NotDone);
        lake.faults().on(Call::List, 1, Fault::Midway(2)).on(Call::List, 2, Fault::NotDone);
        lake.faults().on(Call::Settle, 2, Fault::AnswerLost);
        assert!(not_done(lake.read("t/1").await));
        assert!(not_done(lake.size("t/1").await));
        assert!(not_done(lake.read_range("t/1", 0..1).await));
        assert!(not_done(lake.settle("t/1").await));
        assert!(unknown(lake.settle("t/1").await));
        lake.settle("t/1").await.unwrap();
        let shown: Vec<_> = lake.list("t", None).await.unwrap().collect().await;
        assert!(shown.len() == 3 && shown[..2].iter().all(Result::is_ok) && shown[2].is_err(), "{shown:?}");
        assert!(not_done(lake.list("t", None).await.map(drop)));
        let shown: Vec<_> = lake.list("t", None).await.unwrap().collect().await;
        assert!(shown.len() == 3 && shown.iter().all(Result::is_ok), "{shown:?}");
    });
}

#[test]
fn a_write_that_fails_spends_the_draft() {
    let (_dir, lake) = lake(Faults::none());
    lake.faults().on(Call::Write, 2, Fault::NotDone);
    let mut file = lake.stage().unwrap();
    file.write(b"one").unwrap();
    assert!(!file.spent());
    assert!(not_done(file.write(b"two")));
    assert!(file.spent());
    assert!(not_done(block_on(file.publish("t/x"))));
    assert_eq!(block_on(lake.size("t/x")).unwrap(), None);
}

#[test]
fn the_journal_finds_a_name_that_was_written_twice() {
    let faults = Faults::none();
    let effect = |answer, path: &str| Effect {
        call: Call::Create,
        path: path.into(),
        answer,
        bytes: 0,
        content: 0,
        late: false,
    };
    faults.note(effect(Answer::Created, "a"));
    faults.note(effect(Answer::Exists, "a"));
    faults.note(effect(Answer::Created, "b"));
    faults.note(effect(Answer::Deleted, "b"));
    faults.note(effect(Answer::Created, "b"));
    assert_eq!(faults.written_twice(), Vec::<String>::new());
    faults.note(effect(Answer::Created, "a"));
    assert_eq!(faults.written_twice(), ["a"]);
}

#[test]
fn the_same_seed_gives_the_same_faults() {
    let run = |seed| {
        let (_dir, lake) = lake(Faults::seeded(seed, Rates::all(0.15)));
        block_on(async {
            let mut told = Vec::new();
            for n in 0..60 {
                let answer = lake.create(&format!("t/{}", n % 40), Bytes::from(n.to_string())).await;
                told.push(Answer::of(&answer));
                told.push(if lake.read("t/1").await.is_ok() { Answer::Exists } else { Answer::NotDone });
            }
            (told, lake.faults().injected(), lake.faults().journal())
        })
    };
    let (told, injected, journal) = run(7);
    assert!(injected > 20, "{injected}");
    assert_eq!((told.clone(), injected, journal), run(7));
    assert_ne!(told, run(8).0);
}

/// Several writers place the same names until they know: nothing is lost, and nothing written twice.
#[test]
fn placing_under_any_faults_ends_with_one_content_that_everybody_agrees_on() {
    for seed in 0..40 {
        let (_dir, lake) = lake(Faults::seeded(seed, Rates::all(0.12)));
        let writer = |n: usize| {
            let lake = lake.clone();
            async move {
                let mut agreed = Vec::new();
                for name in 0..6 {
                    let (path, content) = (format!("_landfall/x/{name}"), Bytes::from(format!("writer {n}")));
                    agreed.push(loop {
                        match place(&lake, &path, content.clone()).await {
                            Ok(Placed::Created | Placed::Same) => break content.clone(),
                            Ok(Placed::Other(found)) => break found,
                            Err(LakeError::Refused { .. }) => panic!("nothing here is refused"),
                            Err(_) => tokio::task::yield_now().await,
                        }
                    });
                }
                agreed
            }
        };
        let agreed = block_on(future::join_all((0..3).map(writer)));
        block_on(lake.land_late());
        assert_eq!(agreed[0], agreed[1], "seed {seed}");
        assert_eq!(agreed[0], agreed[2], "seed {seed}");
        for (name, content) in agreed[0].iter().enumerate() {
            let stands = block_on(lake.inner().read(&format!("_landfall/x/{name}"))).unwrap();
            assert_eq!(stands.as_ref(), Some(content), "seed {seed}");
        }
        assert!(lake.faults().written_twice().is_empty(), "seed {seed}");
        assert!(lake.faults().injected() > 0, "seed {seed}");
    }
}
