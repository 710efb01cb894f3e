//! What becomes of answers that are lost, wrong, late or cut: by a proxy between the lake and a real server.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use landfall_lake::{Created, Lake, LakeError, ObjectLake};

use crate::liar::{Liar, Lie};
use crate::object::lake;
use crate::s3::S3Server;

fn behind_a_liar() -> (Liar, ObjectLake) {
    let liar = Liar::before(S3Server::shared().port);
    let lake = lake(&liar.endpoint());
    (liar, lake)
}

async fn published(lake: &ObjectLake, path: &str, content: &[u8]) -> Result<Created, LakeError> {
    let mut file = lake.stage().unwrap();
    file.write(content).unwrap();
    file.publish(path).await
}

async fn names(lake: &ObjectLake) -> Result<Vec<String>, LakeError> {
    let listing: Vec<_> = lake.list("", None).await?.collect().await;
    listing.into_iter().map(|entry| entry.map(|entry| entry.path)).collect()
}

/// Whatever one answer was, the writer learns whether the name is its own.
#[test]
fn every_answer_but_a_clear_success_is_read_back() {
    let statuses = [304, 400, 403, 408, 409, 412, 429, 500, 501, 503];
    let after = statuses.map(Lie::After);
    let again = [409, 412, 429, 500, 503].map(Lie::Instead);
    let others = [Lie::DropBefore, Lie::DropAfter, Lie::Late(200), Lie::Cut];
    crate::run(async {
        let (liar, lake) = behind_a_liar();
        for lie in after.into_iter().chain(again).chain(others) {
            let path = format!("own/{lie:?}");
            liar.once("PUT", "/own/", lie);
            assert_eq!(lake.create(&path, Bytes::from(path.clone())).await.unwrap(), Created::Created, "{lie:?}");
            assert_eq!(lake.read(&path).await.unwrap().unwrap(), path, "{lie:?}");

            let path = format!("file/{lie:?}");
            liar.once("PUT", "/file/", lie);
            let answer = published(&lake, &path, &[7; 200_000]).await.unwrap();
            assert_eq!(answer, Created::Created, "{lie:?}");

            let path = format!("others/{lie:?}");
            assert_eq!(lake.create(&path, Bytes::from("first")).await.unwrap(), Created::Created);
            liar.once("PUT", "/others/", lie);
            assert_eq!(lake.create(&path, Bytes::from("second")).await.unwrap(), Created::Exists, "{lie:?}");
            assert_eq!(lake.read(&path).await.unwrap().unwrap(), "first");
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(liar.lies(), 3 * 19);
        assert!(liar.written_twice().is_empty(), "{:?}", liar.written_twice());
    });
}

/// Another process removes the names of its probe while they are looked at.
#[test]
fn a_name_that_goes_while_it_is_looked_at_does_not_fail_a_sweep() {
    crate::run(async {
        let (liar, lake) = behind_a_liar();
        lake.create("_landfall/probe/another", Bytes::new()).await.unwrap();
        liar.once("HEAD", "probe/another", Lie::Instead(404));
        assert_eq!(lake.sweep().await.unwrap(), 0);
        assert_eq!(liar.lies(), 1);
        assert_eq!(names(&lake).await.unwrap(), ["_landfall/probe/another"], "its clock is gone");
    });
}

/// A refusal that is certain is told as such, and nothing stands.
#[test]
fn what_certainly_did_not_happen_is_told_as_not_done() {
    crate::run(async {
        let (liar, lake) = behind_a_liar();
        for status in [400, 403] {
            liar.once("PUT", "/x", Lie::Instead(status));
            let answer = lake.create("x", Bytes::new()).await;
            assert!(matches!(answer, Err(LakeError::NotDone { .. })), "{status}: {answer:?}");
        }
        liar.once("PUT", "/x", Lie::Instead(501));
        let answer = lake.create("x", Bytes::new()).await;
        assert!(matches!(answer, Err(LakeError::Refused { .. })), "{answer:?}");
        assert_eq!(lake.read("x").await.unwrap(), None);
    });
}

/// A look that fails says nothing: not "absent", and not "mine".
#[test]
fn when_the_look_fails_too_the_outcome_is_unknown() {
    crate::run(async {
        let (liar, lake) = behind_a_liar();
        for (number, look) in [403, 401, 400].into_iter().enumerate() {
            for put in [Lie::After(500), Lie::Instead(503), Lie::DropBefore, Lie::DropAfter, Lie::After(412)] {
                let path = format!("x/{number}/{put:?}");
                liar.once("PUT", "/x/", put).once("HEAD", "/x/", Lie::Instead(look));
                let answer = lake.create(&path, Bytes::from("1")).await;
                assert!(matches!(answer, Err(LakeError::Unknown { .. })), "{put:?}, then {look}: {answer:?}");
            }
        }
        // Nothing ever answers: it may be under way.
        for _ in 0..4 {
            liar.once("PUT", "/late", Lie::Late(50));
        }
        let answer = lake.create("late", Bytes::from("1")).await;
        // One of them came before the last look, or none of them is known.
        assert!(matches!(answer, Ok(Created::Created) | Err(LakeError::Unknown { .. })), "{answer:?}");
        assert!(liar.written_twice().is_empty());
    });
}

#[test]
fn reads_are_whole_or_an_error() {
    crate::run(async {
        let (liar, lake) = behind_a_liar();
        let content: Bytes = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        lake.create("t/x", content.clone()).await.unwrap();
        for lie in [Lie::Cut, Lie::DropBefore, Lie::DropAfter, Lie::Instead(500), Lie::Instead(503), Lie::After(409)] {
            liar.once("GET", "/t/x", lie);
            assert!(lake.read("t/x").await.unwrap().unwrap() == content, "{lie:?}");
            liar.once("GET", "/t/x", lie);
            assert!(lake.read_range("t/x", 1000..200_000).await.unwrap() == content.slice(1000..200_000), "{lie:?}");
            liar.once("HEAD", "/t/x", lie);
            assert_eq!(lake.size("t/x").await.unwrap(), Some(300_000), "{lie:?}");
        }
        for status in [403, 404] {
            // Neither says that the object is absent: the 404 does not name it.
            liar.once("GET", "/t/x", Lie::Instead(status));
            let answer = lake.read("t/x").await;
            assert!(matches!(answer, Err(LakeError::NotDone { .. })), "{status}: {answer:?}");
        }
        // A HEAD has no words; the object is asked for once more.
        liar.once("HEAD", "/t/x", Lie::Instead(404));
        assert_eq!(lake.size("t/x").await.unwrap(), Some(300_000));
        for _ in 0..4 {
            liar.once("GET", "/t/x", Lie::Cut);
        }
        assert!(matches!(lake.read("t/x").await, Err(LakeError::NotDone { .. })));
    });
}

#[test]
fn listings_are_complete_or_an_error() {
    crate::run(async {
        let (liar, lake) = behind_a_liar();
        let made: Vec<_> = (0..1500).map(|n| format!("_landfall/v/{n:08}")).collect();
        for portion in made.chunks(100) {
            let creates = portion.iter().map(|path| lake.create(path, Bytes::from_static(b"x")));
            assert!(futures::future::join_all(creates).await.into_iter().all(|made| made.is_ok()));
        }
        for page in ["list-type=2", "continuation-token"] {
            for lie in [Lie::Cut, Lie::DropBefore, Lie::DropAfter, Lie::Instead(500), Lie::Instead(503)] {
                liar.once("GET", page, lie);
                assert_eq!(names(&lake).await.unwrap(), made, "{page}: {lie:?}");
            }
            for _ in 0..4 {
                liar.once("GET", page, Lie::Instead(503));
            }
            assert!(matches!(names(&lake).await, Err(LakeError::NotDone { .. })), "{page}");
            liar.once("GET", page, Lie::Instead(403));
            assert!(matches!(names(&lake).await, Err(LakeError::NotDone { .. })), "{page}");
        }
        for lie in [Lie::After(500), Lie::DropAfter, Lie::Instead(503), Lie::DropBefore] {
            liar.once("DELETE", "/v/", lie);
            lake.delete("_landfall/v/00000000").await.unwrap();
        }
        assert_eq!(names(&lake).await.unwrap(), made[1..]);
    });
}

/// Chance strikes everything at once, and writers of the same names still agree.
#[test]
fn writers_agree_under_any_lies() {
    crate::run(async {
        for seed in 0..6 {
            let (liar, lake) = behind_a_liar();
            liar.lie(seed, crate::liar::Rates { puts: 0.3, reads: 0.15, lists: 0.15 });
            let writer = |n: usize| {
                let lake = &lake;
                async move {
                    let mut agreed = Vec::new();
                    for name in 0..8 {
                        let (path, content) = (format!("_landfall/x/{name}"), Bytes::from(format!("writer {n}")));
                        agreed.push(loop {
                            match landfall_lake::place(lake, &path, content.clone()).await {
                                Ok(landfall_lake::Placed::Other(found)) => break found,
                                Ok(_) => break content,
                                Err(LakeError::Refused { message, .. }) => panic!("{message}"),
                                Err(_) => {}
                            }
                        });
                    }
                    agreed
                }
            };
            let agreed = futures::future::join_all((0..3).map(writer)).await;
            tokio::time::sleep(Duration::from_millis(700)).await;
            assert!(agreed[0] == agreed[1] && agreed[0] == agreed[2], "seed {seed}");
            liar.be_honest();
            for (name, content) in agreed[0].iter().enumerate() {
                let stands = lake.read(&format!("_landfall/x/{name}")).await.unwrap();
                assert_eq!(stands.as_ref(), Some(content), "seed {seed}");
            }
            assert!(liar.lies() > 5, "seed {seed}: {:?}", liar.told());
            assert!(liar.written_twice().is_empty(), "seed {seed}: {:?}", liar.written_twice());
        }
    });
}

/// Sequential creates prove nothing: the second of these passes them.
#[test]
fn a_server_that_is_not_good_enough_is_refused_by_the_probe() {
    use crate::forgetful::{Forgetful, Forgets};
    crate::run(async {
        let cases = [
            (Forgets::Conditions, "creation is not exclusive"),
            (Forgets::OtherWriters, "creation is not exclusive"),
            (Forgets::NewNames, "does not show a name that was just created"),
        ];
        for (forgets, word) in cases {
            let server = Forgetful::start(forgets);
            let error = landfall_lake::probe(&lake(&server.endpoint())).await.unwrap_err();
            assert!(matches!(error, LakeError::Refused { .. }), "{forgets:?}: {error:?}");
            assert!(error.to_string().contains(word), "{forgets:?}: {error}");
        }
        let server = Forgetful::start(Forgets::Nothing);
        let proved = landfall_lake::probe(&lake(&server.endpoint())).await.unwrap();
        assert_eq!((proved.races, proved.writers), (50, 20));
    });
}
