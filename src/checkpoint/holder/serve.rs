//! The holder's side of the socket.

use std::fs::{DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet};

use super::address::Address;
use super::{Failure, Handler, Request, Response, SOCKET, VERSION};
use crate::checkpoint::StoreError;
use crate::checkpoint::lock::StateLock;
use crate::checkpoint::rules::sort_io;

/// A question is short.
const LONGEST_REQUEST: u64 = 64 << 10;
/// Nobody keeps a connection that says nothing.
const IDLE: Duration = Duration::from_secs(30);

/// Answers until it is dropped. It shares the lock, so that no later holder's socket is taken away.
pub struct Server {
    task: AbortHandle,
    lock: Arc<StateLock>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        drop(std::fs::remove_file(self.lock.directory().join(SOCKET)));
    }
}

/// Serves other commands in the state directory whose lock is held. Within a tokio runtime.
pub fn serve(lock: Arc<StateLock>, handler: Arc<dyn Handler>) -> Result<Server, StoreError> {
    let store = lock.directory().display().to_string();
    let listener = listen(lock.directory()).map_err(|error| sort_io(&store, "its socket", error))?;
    let task = tokio::spawn(accept(listener, lock.clone(), handler)).abort_handle();
    Ok(Server { task, lock })
}

/// Binds where nobody else can look, and moves the socket into its place in one step.
fn listen(directory: &Path) -> std::io::Result<UnixListener> {
    let new = directory.join("socket.new");
    match std::fs::remove_dir_all(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => DirBuilder::new().mode(0o700).create(&new)?,
    }
    let address = Address::new(&new, SOCKET)?;
    let listener = UnixListener::bind(address.path())?;
    std::fs::set_permissions(new.join(SOCKET), Permissions::from_mode(0o600))?;
    std::fs::rename(new.join(SOCKET), directory.join(SOCKET))?;
    std::fs::remove_dir(&new)?;
    Ok(listener)
}

async fn accept(listener: UnixListener, lock: Arc<StateLock>, handler: Arc<dyn Handler>) {
    let mut connections = JoinSet::new(); // dropped, and so ended, with this task
    loop {
        match listener.accept().await {
            Ok((connection, _)) => {
                let (lock, handler) = (lock.clone(), handler.clone());
                connections.spawn(async move { drop(converse(connection, &lock, &*handler).await) });
            }
            // Too many open files, most likely: it passes.
            Err(error) => {
                tracing::warn!(%error, "another command could not be answered");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(mut connection: UnixStream, lock: &StateLock, handler: &dyn Handler) -> std::io::Result<()> {
    let (reader, mut writer) = connection.split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(LONGEST_REQUEST);
        tokio::time::timeout(IDLE, limited.read_until(b'\n', &mut line)).await??;
        if line.is_empty() {
            return Ok(());
        }
        let response = match read_request(&line) {
            Ok(request) => answer(request, lock, handler).await,
            Err(failure) => Response::Failed(failure),
        };
        let mut text = serde_json::to_vec(&Answer { landfall: VERSION, response })?;
        text.push(b'\n');
        // Who asks and never reads does not keep the answer for ever.
        tokio::time::timeout(IDLE, writer.write_all(&text)).await??;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
    }
}

#[derive(Serialize)]
struct Answer {
    landfall: u32,
    response: Response,
}

fn read_request(line: &[u8]) -> Result<Request, Failure> {
    #[derive(Deserialize)]
    struct Asked {
        landfall: u32,
        request: serde_json::Value,
    }
    let not_understood = |error: serde_json::Error| Failure::refused(format!("not a request: {error}"));
    let asked: Asked = serde_json::from_slice(line).map_err(not_understood)?;
    if asked.landfall != VERSION {
        return Err(Failure::refused(format!(
            "the running process speaks version {VERSION} on its socket, and was asked in version {}: use the same \
             release for both",
            asked.landfall
        )));
    }
    serde_json::from_value(asked.request).map_err(not_understood)
}

async fn answer(request: Request, lock: &StateLock, handler: &dyn Handler) -> Response {
    let answered = match request {
        Request::Who => Ok(Response::Who(lock.held_by().clone())),
        Request::Checkpoints => handler.checkpoints().await.map(Response::Checkpoints),
        Request::Resolve(resolve) => handler.resolve(resolve).await.map(|record| Response::Resolved(Box::new(record))),
        Request::Status => handler.status().await.map(Response::Status),
    };
    answered.unwrap_or_else(Response::Failed)
}
