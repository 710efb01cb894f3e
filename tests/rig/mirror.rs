//! The objects of a bucket, fetched into a directory that the checker can read: for servers that do not keep each
//! object as a file. It signs and asks by itself, so it sees what any reader of the bucket sees.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use regex::Regex;
use sha2::{Digest, Sha256};

use super::liar::Message;
use super::s3::{ACCESS, BUCKET, SECRET};

/// What a listing says of an object.
struct Listed {
    size: u64,
    modified: SystemTime,
}

/// One prefix of a bucket, and the directory that shows it.
pub struct Mirror {
    port: u16,
    prefix: String,
    into: PathBuf,
}

impl Mirror {
    pub fn new(port: u16, prefix: &str, into: &Path) -> Mirror {
        Mirror { port, prefix: format!("{prefix}/"), into: into.into() }
    }

    /// Afterwards the directory is as the bucket: names that are gone are gone, and what has changed has changed.
    pub fn refresh(&self) {
        let listed = self.list();
        for (name, object) in &listed {
            let path = self.into.join(name);
            let stands = std::fs::metadata(&path).is_ok_and(|stands| {
                (stands.len(), stands.modified().expect("a time")) == (object.size, object.modified)
            });
            if !stands {
                self.fetch(name, object, &path);
            }
        }
        let mut open = vec![self.into.clone()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = path.strip_prefix(&self.into).expect("below").to_string_lossy().into_owned();
                if path.is_dir() {
                    open.push(path);
                } else if !listed.contains_key(&name) {
                    std::fs::remove_file(path).expect("what is gone from the bucket");
                }
            }
        }
    }

    pub fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.into);
    }

    fn fetch(&self, name: &str, object: &Listed, path: &Path) {
        let (status, body) = self.get(&format!("/{BUCKET}/{}{name}", self.prefix), "");
        if status == 404 {
            // Deleted since the list, as old checkpoints are.
            return;
        }
        assert_eq!((status, body.len() as u64), (200, object.size), "{name}");
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(path, body).expect("a copy");
        File::options().write(true).open(path).and_then(|file| file.set_modified(object.modified)).expect("its time");
    }

    fn list(&self) -> BTreeMap<String, Listed> {
        let contents = Regex::new(r"<Contents>(.*?)</Contents>").expect("a pattern");
        let field = |text: &str, name: &str| {
            let begin = text.split(&format!("<{name}>")).nth(1)?;
            begin.split(&format!("</{name}>")).next().map(str::to_owned)
        };
        let mut listed = BTreeMap::new();
        let mut token = String::new();
        loop {
            let prefix = encoded(&self.prefix, true);
            let query = if token.is_empty() {
                format!("list-type=2&prefix={prefix}")
            } else {
                format!("continuation-token={}&list-type=2&prefix={prefix}", encoded(&token, true))
            };
            let (status, body) = self.get(&format!("/{BUCKET}"), &query);
            let text = String::from_utf8_lossy(&body).replace('\n', "");
            assert_eq!(status, 200, "{text}");
            for found in contents.captures_iter(&text) {
                let of = |name: &str| field(&found[1], name).unwrap_or_else(|| panic!("no {name} in {}", &found[1]));
                let modified: jiff::Timestamp = of("LastModified").parse().expect("a time");
                let key = of("Key");
                let name = key.strip_prefix(&self.prefix).expect("the prefix").to_owned();
                listed.insert(name, Listed { size: of("Size").parse().expect("a size"), modified: modified.into() });
            }
            match field(&text, "NextContinuationToken") {
                Some(next) => token = next,
                None => return listed,
            }
        }
    }

    /// Again while a server that was just started says that it is not ready.
    fn get(&self, path: &str, query: &str) -> (u16, Vec<u8>) {
        let began = Instant::now();
        loop {
            let answer = self.get_once(path, query);
            if answer.0 != 503 || began.elapsed() > Duration::from_secs(30) {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A signed GET on a connection of its own.
    fn get_once(&self, path: &str, query: &str) -> (u16, Vec<u8>) {
        let (path, host) = (encoded(path, false), format!("127.0.0.1:{}", self.port));
        let head = signed(&path, query, &host, jiff::Timestamp::now());
        let stream = TcpStream::connect(&host).expect("the server");
        (&stream).write_all(head.as_bytes()).expect("the server");
        let answer = Message::answer(&mut BufReader::new(stream), "GET").expect("an answer");
        (answer.status().expect("a status"), answer.content())
    }
}

/// The head of a GET, signed as version 4 of Amazon's signature wants it.
fn signed(path: &str, query: &str, host: &str, now: jiff::Timestamp) -> String {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let (day, empty) = (&stamp[..8], hex(&Sha256::digest(b"")));
    let names = "host;x-amz-content-sha256;x-amz-date";
    let headers = format!("host:{host}\nx-amz-content-sha256:{empty}\nx-amz-date:{stamp}\n");
    let canonical = format!("GET\n{path}\n{query}\n{headers}\n{names}\n{empty}");
    let scope = format!("{day}/us-east-1/s3/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let steps = [day, "us-east-1", "s3", "aws4_request", &text];
    let key = format!("AWS4{SECRET}").into_bytes();
    let signature = hex(&steps.iter().fold(key, |key, step| hmac(&key, step.as_bytes())));
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nx-amz-date: {stamp}\r\nx-amz-content-sha256: {empty}\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential={ACCESS}/{scope}, SignedHeaders={names}, Signature={signature}\r\n\
         Connection: close\r\n\r\n"
    )
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let padded = |with: u8| block.map(|byte| byte ^ with).to_vec();
    let inner = Sha256::digest([padded(0x36), text.to_vec()].concat());
    Sha256::digest([padded(0x5c), inner.to_vec()].concat()).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Percent-encoded as the signature wants it; in a path the slashes stay.
fn encoded(text: &str, slashes: bool) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || (byte == b'/' && !slashes);
    text.bytes().map(|byte| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") }).collect()
}
