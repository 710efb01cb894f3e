//! The requests as they go out: what became of the last one is noted, because the library's errors do not tell
//! a request that was never sent from one whose answer was lost.

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use std::cell::Cell;

/// What is known of a request after it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// There was no request: it failed before one was made.
    Nothing,
    /// No byte of it went out: there was no connection.
    NotSent,
    /// It was sent, at least in part, and no status came back.
    NoAnswer,
    Status(u16),
}

tokio::task_local! {
    static SEEN: Cell<Seen>;
}

/// Runs what makes requests, and says what the last of them came to.
pub(super) async fn watched<T>(work: impl Future<Output = T>) -> (T, Seen) {
    SEEN.scope(Cell::new(Seen::Nothing), async {
        let done = work.await;
        (done, SEEN.with(Cell::get))
    })
    .await
}

/// Makes clients that take notes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire;

impl HttpConnector for Wire {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Watching(ReqwestConnector::default().connect(options)?)))
    }
}

#[derive(Debug)]
struct Watching(HttpClient);

#[async_trait]
impl HttpService for Watching {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // Until it is known to have failed before anything was sent, it may have been.
        note(Seen::NoAnswer);
        let answer = self.0.execute(request).await;
        match &answer {
            Ok(response) => note(Seen::Status(response.status().as_u16())),
            Err(error) if error.kind() == HttpErrorKind::Connect => note(Seen::NotSent),
            Err(_) => {}
        }
        answer
    }
}

fn note(seen: Seen) {
    // Requests for credentials may be made outside of anything that is watched.
    let _ = SEEN.try_with(|cell| cell.set(seen));
}
