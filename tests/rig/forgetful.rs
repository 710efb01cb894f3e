//! S3 servers that are not good enough: in memory, without signatures, and each forgets something that landfall
//! rests on. One of them forgets nothing, to show that the others are refused for that alone.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::{self, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::liar::{Message, field};

/// What a server forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgets {
    Nothing,
    /// Takes every put, whatever its condition: the last one wins.
    Conditions,
    /// Looks, waits a little, and then writes: exclusive only while nobody else comes.
    OtherWriters,
    /// A listing shows a new name only after a while.
    NewNames,
}

struct Object {
    content: Vec<u8>,
    mark: Option<String>,
    made: Instant,
}

#[derive(Clone)]
pub struct Forgetful {
    pub port: u16,
    forgets: Forgets,
    objects: Arc<Mutex<BTreeMap<String, Object>>>,
}

impl Forgetful {
    pub fn start(forgets: Forgets) -> Forgetful {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let server = Forgetful { port, forgets, objects: Arc::default() };
        let own = server.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = own.clone();
                std::thread::spawn(move || drop(server.serve(client)));
            }
        });
        server
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut reader = BufReader::new(client.try_clone()?);
        while let Some(request) = Message::read(&mut reader)? {
            let (method, target) = request.asked();
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            // `/bucket/key`
            let key = path.trim_start_matches('/').split_once('/').map(|(_, key)| key).unwrap_or_default();
            let answer = match method.as_str() {
                "PUT" => self.put(key, &request),
                "GET" if query.contains("list-type=2") => self.list(query),
                "GET" | "HEAD" => self.get(key, &method),
                "DELETE" => {
                    self.objects.lock().expect("objects").remove(key);
                    told("204 No Content", "", b"", true)
                }
                _ => told("405 Method Not Allowed", "", b"", true),
            };
            client.write_all(&answer)?;
        }
        Ok(())
    }

    fn stands(&self, key: &str) -> bool {
        self.objects.lock().expect("objects").contains_key(key)
    }

    fn put(&self, key: &str, request: &Message) -> Vec<u8> {
        let conditional = field(&request.head, "if-none-match").as_deref() == Some("*");
        let looked = self.stands(key);
        if self.forgets == Forgets::OtherWriters {
            std::thread::sleep(Duration::from_millis(3));
        }
        let mut objects = self.objects.lock().expect("objects");
        let stands = if self.forgets == Forgets::OtherWriters { looked } else { objects.contains_key(key) };
        if conditional && stands && self.forgets != Forgets::Conditions {
            let body = b"<Error><Code>PreconditionFailed</Code></Error>";
            return told("412 Precondition Failed", "", body, false);
        }
        let mark = field(&request.head, "x-amz-meta-landfallput");
        objects.insert(key.to_owned(), Object { content: request.body.clone(), mark, made: Instant::now() });
        told("200 OK", &format!("ETag: {}\r\n", tag(&request.body)), b"", false)
    }

    fn get(&self, key: &str, method: &str) -> Vec<u8> {
        let objects = self.objects.lock().expect("objects");
        let Some(object) = objects.get(key) else {
            return told("404 Not Found", "", b"<Error><Code>NoSuchKey</Code></Error>", method == "HEAD");
        };
        let mark = object.mark.as_ref().map_or(String::new(), |mark| format!("x-amz-meta-landfallput: {mark}\r\n"));
        let tag = tag(&object.content);
        let head = format!("ETag: {tag}\r\nLast-Modified: Sat, 21 Nov 2026 05:00:00 GMT\r\n{mark}");
        told("200 OK", &head, &object.content, method == "HEAD")
    }

    fn list(&self, query: &str) -> Vec<u8> {
        let of = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().replace("%2F", "/")
        };
        let (prefix, after) = (of("prefix"), of("start-after"));
        let objects = self.objects.lock().expect("objects");
        let shown = |(key, object): &(&String, &Object)| {
            let new = self.forgets == Forgets::NewNames && object.made.elapsed() < Duration::from_millis(200);
            key.starts_with(&prefix) && **key > after && !new
        };
        let contents: String = objects
            .iter()
            .filter(shown)
            .map(|(key, object)| {
                let (size, tag) = (object.content.len(), tag(&object.content));
                format!(
                    "<Contents><Key>{key}</Key><LastModified>2026-11-21T05:00:00.000Z</LastModified>\
                     <ETag>{tag}</ETag><Size>{size}</Size></Contents>"
                )
            })
            .collect();
        let body = format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>");
        told("200 OK", "Content-Type: application/xml\r\n", body.as_bytes(), false)
    }
}

/// An answer; `bare` ones have a length and no body.
fn told(status: &str, head: &str, body: &[u8], bare: bool) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), if bare { b"" } else { body }].concat()
}

/// Of an object with this content.
fn tag(content: &[u8]) -> String {
    let mut hash = DefaultHasher::new();
    content.hash(&mut hash);
    format!("\"{:016x}\"", hash.finish())
}
