//! The asking side of the socket.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::address::Address;
use super::{Request, Resolve, Response, SOCKET, VERSION};
use crate::checkpoint::lock::{HeldBy, StateLock};
use crate::checkpoint::{Checkpoint, StoreError};

/// As long as a holder may take to swap on a slow disk.
const PATIENCE: Duration = Duration::from_secs(60);
const LONGEST_RESPONSE: u64 = 1 << 30;

/// A process that holds a store.
#[derive(Debug, Clone)]
pub struct Client {
    directory: PathBuf,
    held_by: HeldBy,
}

impl Client {
    /// Reaches the holder of a state directory, or `None` where nobody serves.
    pub async fn connect(directory: &Path) -> Result<Option<Client>, StoreError> {
        match ask(directory, &Request::Who).await? {
            Some(Response::Who(held_by)) => Ok(Some(Client { directory: directory.to_owned(), held_by })),
            Some(other) => Err(unexpected(directory, other)),
            None => Ok(None),
        }
    }

    pub fn held_by(&self) -> &HeldBy {
        &self.held_by
    }

    pub async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        match self.ask(Request::Checkpoints).await? {
            Response::Checkpoints(records) => Ok(records),
            other => Err(unexpected(&self.directory, other)),
        }
    }

    pub async fn resolve(&self, resolve: Resolve) -> Result<Checkpoint, StoreError> {
        match self.ask(Request::Resolve(resolve)).await? {
            Response::Resolved(record) => Ok(*record),
            other => Err(unexpected(&self.directory, other)),
        }
    }

    pub async fn status(&self) -> Result<serde_json::Value, StoreError> {
        match self.ask(Request::Status).await? {
            Response::Status(status) => Ok(status),
            other => Err(unexpected(&self.directory, other)),
        }
    }

    async fn ask(&self, request: Request) -> Result<Response, StoreError> {
        let ended = || StoreError::NotDone {
            store: self.directory.display().to_string(),
            message: format!("{} has ended: try again", self.held_by),
        };
        ask(&self.directory, &request).await?.ok_or_else(ended)
    }
}

fn unexpected(directory: &Path, response: Response) -> StoreError {
    let store = directory.display().to_string();
    match response {
        Response::Failed(failure) => failure.into_store_error(store),
        _ => StoreError::Refused { store, message: "its holder answered another question".into() },
    }
}

#[derive(Serialize)]
struct Question<'a> {
    landfall: u32,
    request: &'a Request,
}

/// Asks whoever serves in a state directory. `None`: nobody does.
pub async fn ask(directory: &Path, request: &Request) -> Result<Option<Response>, StoreError> {
    let store = || directory.display().to_string();
    let connected = match Address::new(directory, SOCKET) {
        Ok(address) => UnixStream::connect(address.path()).await,
        Err(error) => Err(error),
    };
    let connection = match connected {
        Ok(connection) => connection,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        // A killed process leaves its socket behind: only the lock tells whether anybody is there.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let Err(StoreError::Locked { holder, .. }) = StateLock::borrow(directory, Duration::ZERO) else {
                return Ok(None);
            };
            let message = format!("its holder, {holder}, runs as another user: run this command as that user");
            return Err(StoreError::Refused { store: store(), message });
        }
        Err(error) => return Err(StoreError::NotDone { store: store(), message: format!("its socket: {error}") }),
    };
    let exchanged = match tokio::time::timeout(PATIENCE, exchange(connection, request)).await {
        Ok(exchanged) => exchanged,
        Err(_) => Err(Error::new(ErrorKind::TimedOut, "no answer within a minute")),
    };
    exchanged.map(Some).map_err(|error| {
        let message = format!("its holder did not answer: {error}");
        match request {
            Request::Resolve(_) => StoreError::Unknown { store: store(), message },
            _ => StoreError::NotDone { store: store(), message },
        }
    })
}

async fn exchange(mut connection: UnixStream, request: &Request) -> std::io::Result<Response> {
    let mut line = serde_json::to_vec(&Question { landfall: VERSION, request })?;
    line.push(b'\n');
    connection.write_all(&line).await?;
    let mut answer = Vec::new();
    BufReader::new(connection.take(LONGEST_RESPONSE)).read_until(b'\n', &mut answer).await?;
    if answer.last() != Some(&b'\n') {
        return Err(Error::new(ErrorKind::UnexpectedEof, "it ended in the middle"));
    }
    #[derive(Deserialize)]
    struct Answered {
        landfall: u32,
        response: serde_json::Value,
    }
    let answered: Answered = serde_json::from_slice(&answer)?;
    if answered.landfall != VERSION {
        return Err(Error::other(format!("it speaks version {}, and this release {VERSION}", answered.landfall)));
    }
    Ok(serde_json::from_value(answered.response)?)
}
