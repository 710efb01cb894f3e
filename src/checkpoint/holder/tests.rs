//! A holder and those who ask it.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use landfall_sink::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::checkpoint::Swap;

/// An engine of nothing but a store.
struct Engine {
    store: SledStore,
}

fn born(topic: &str) -> Checkpoint {
    let stream = Stream { cluster: "c".into(), topic: topic.into(), topic_id: Some("id".into()), partition: 3 };
    Checkpoint::birth(stream, 100, crate::ambient::random_id()).unwrap()
}

#[async_trait]
impl Handler for Engine {
    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, Failure> {
        Ok(every_checkpoint(&self.store).await?)
    }

    async fn resolve(&self, resolve: Resolve) -> Result<Checkpoint, Failure> {
        let records = self.checkpoints().await?;
        let named =
            |record: &&Checkpoint| record.stream.topic == resolve.topic && record.stream.partition == resolve.partition;
        let record = records.iter().find(named).ok_or_else(|| Failure::refused("no such stream"))?;
        let nonce = crate::ambient::random_id();
        let new = record.resolve(resolve.span, resolve.decision, "layout", nonce).map_err(Failure::refused)?;
        match self.store.swap(Some(record.version), &new).await? {
            Swap::Won => Ok(new),
            Swap::Lost => Err(Failure::refused("lost")),
        }
    }

    async fn status(&self) -> Result<serde_json::Value, Failure> {
        Ok(serde_json::json!({"lag": 7}))
    }
}

async fn running(path: &Path) -> Server {
    let store = SledStore::open(path).unwrap();
    for topic in ["orders", "payments"] {
        store.swap(None, &born(topic)).await.unwrap();
    }
    let lock = store.lock().clone();
    serve(lock, Arc::new(Engine { store })).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_holder_is_asked_and_an_idle_store_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    assert!(matches!(open_or_ask(&path).await.unwrap(), Inspection::Absent));
    let server = running(&path).await;
    let mode = std::fs::metadata(path.join(SOCKET)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let found = open_or_ask(&path).await.unwrap();
    assert_eq!(found.checkpoints().await.unwrap().len(), 2);
    let Inspection::Running(client) = found else { panic!("not running") };
    assert_eq!(client.held_by().pid, std::process::id());
    assert_eq!(client.status().await.unwrap(), serde_json::json!({"lag": 7}));
    let resolve =
        Resolve { topic: "orders".into(), partition: 3, span: Span::new(100, 200), decision: Resolution::Gap };
    let record = client.resolve(resolve.clone()).await.unwrap();
    assert_eq!(record.planned[0].resolved, Some(Resolution::Gap));
    let Err(StoreError::Refused { message, .. }) = client.resolve(resolve).await else { panic!("decided twice") };
    assert!(message.contains("orders/3") && message.contains("[100, 200)"), "{message}");

    drop(server);
    assert!(!path.join(SOCKET).exists());
    let found = open_or_ask(&path).await.unwrap();
    assert!(matches!(found, Inspection::Idle(_)));
    assert!(found.checkpoints().await.unwrap().contains(&record));
    assert!(matches!(client.status().await, Err(StoreError::NotDone { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_of_a_dead_process_stops_nobody() {
    let directory = tempfile::tempdir().unwrap();
    drop(SledStore::open(directory.path()).unwrap());
    // As a killed process leaves it: a socket that nobody listens on, and the beginnings of another.
    drop(std::os::unix::net::UnixListener::bind(directory.path().join(SOCKET)).unwrap());
    std::fs::create_dir(directory.path().join("socket.new")).unwrap();
    std::fs::write(directory.path().join("socket.new/socket"), "").unwrap();
    assert!(matches!(open_or_ask(directory.path()).await.unwrap(), Inspection::Idle(_)));
    let _server = running(directory.path()).await;
    assert!(matches!(open_or_ask(directory.path()).await.unwrap(), Inspection::Running(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_path_is_reached_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("long".repeat(40)).join("state".repeat(20));
    let _server = running(&path).await;
    let found = open_or_ask(&path).await.unwrap();
    assert!(matches!(found, Inspection::Running(_)));
    assert_eq!(found.checkpoints().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_versions_and_noise_are_answered_and_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let _server = running(directory.path()).await;
    let noise = [
        (b"{\"landfall\":2,\"request\":{\"ask\":\"who\"}}\n".to_vec(), "version 2"),
        (b"\xff\xfe\n".to_vec(), "not a request"),
        (b"{\"landfall\":1,\"request\":{\"ask\":\"dance\"}}\n".to_vec(), "not a request"),
        (vec![b'x'; 70 << 10], "not a request"),
    ];
    for (bytes, expected) in noise {
        let mut connection = tokio::net::UnixStream::connect(directory.path().join(SOCKET)).await.unwrap();
        // The holder may hang up before it has read everything.
        drop(connection.write_all(&bytes).await);
        drop(connection.shutdown().await);
        let mut answer = Vec::new();
        drop(connection.read_to_end(&mut answer).await);
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("\"answer\":\"failed\"") && answer.contains(expected), "{answer}");
    }
    assert!(Client::connect(directory.path()).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_is_sorted() {
    let directory = tempfile::tempdir().unwrap();
    let listener = tokio::net::UnixListener::bind(directory.path().join(SOCKET)).unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut some = [0; 16];
            drop(connection.read(&mut some).await); // and ends without a word
        }
    });
    let resolve = Resolve { topic: "t".into(), partition: 0, span: Span::new(0, 1), decision: Resolution::Gap };
    let asked = ask(directory.path(), &Request::Resolve(resolve)).await;
    assert!(matches!(asked, Err(StoreError::Unknown { .. })), "it may have happened");
    let asked = ask(directory.path(), &Request::Status).await;
    assert!(matches!(asked, Err(StoreError::NotDone { .. })));
}
