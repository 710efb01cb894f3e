//! A proxy between a client and an S3 server that lies: it loses answers after the effect, lets puts arrive when
//! their writer has given up, answers with a wrong status before or after the effect, and cuts bodies. It writes down
//! what the server really did.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// What is done to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// The server never sees it, and this status is the answer.
    Instead(u16),
    /// The server does it, and this status is the answer.
    After(u16),
    /// The connection ends before the server sees anything.
    DropBefore,
    /// The server does it, and the connection ends without an answer.
    DropAfter,
    /// The connection ends, and the server sees the request so many milliseconds later.
    Late(u64),
    /// The head of the answer and half of its body.
    Cut,
}

/// How often a request of a kind is lied about, between 0 and 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    pub puts: f64,
    pub reads: f64,
    pub lists: f64,
}

#[derive(Default)]
struct State {
    rates: Rates,
    rng: Option<StdRng>,
    /// (method, part of the target) → what happens to the next such request.
    script: Vec<(String, String, Lie)>,
    told: BTreeMap<String, usize>,
    /// Successful puts that the server made, by target.
    puts: HashMap<String, usize>,
    /// Requests, by method; a list is a method of its own.
    asked: BTreeMap<String, usize>,
    requests: usize,
}

/// One liar; it ends with the process.
#[derive(Clone)]
pub struct Liar {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Liar {
    /// Stands before the server on this port of 127.0.0.1, and is honest until it is told otherwise.
    pub fn before(server: u16) -> Liar {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let liar = Liar { port: listener.local_addr().expect("a port").port(), state: Arc::default() };
        let own = liar.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let liar = own.clone();
                std::thread::spawn(move || drop(liar.serve(client, server)));
            }
        });
        liar
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Lies by chance from now on.
    pub fn lie(&self, seed: u64, rates: Rates) {
        let mut state = self.state.lock().expect("liar");
        state.rng = Some(StdRng::seed_from_u64(seed));
        state.rates = rates;
    }

    /// Lies once, about the next request with this method whose target holds this text.
    pub fn once(&self, method: &str, part: &str, lie: Lie) -> &Liar {
        self.state.lock().expect("liar").script.push((method.into(), part.into(), lie));
        self
    }

    pub fn be_honest(&self) {
        let mut state = self.state.lock().expect("liar");
        state.rates = Rates::default();
        state.script.clear();
    }

    /// How often each lie was told.
    pub fn told(&self) -> BTreeMap<String, usize> {
        self.state.lock().expect("liar").told.clone()
    }

    pub fn lies(&self) -> usize {
        self.told().values().sum()
    }

    /// How many requests there were, by method; a list is a method of its own (`LIST`).
    pub fn asked(&self) -> BTreeMap<String, usize> {
        self.state.lock().expect("liar").asked.clone()
    }

    pub fn requests(&self) -> usize {
        self.state.lock().expect("liar").requests
    }

    /// Names that the server created more than once: there must never be one outside of `_landfall/probe`.
    pub fn written_twice(&self) -> Vec<String> {
        let state = self.state.lock().expect("liar");
        state.puts.iter().filter(|(_, times)| **times > 1).map(|(target, _)| target.clone()).collect()
    }

    /// What is to be done to this request.
    fn choose(&self, method: &str, target: &str) -> Option<Lie> {
        let mut state = self.state.lock().expect("liar");
        state.requests += 1;
        let kind = if target.contains("list-type=2") { "LIST" } else { method };
        *state.asked.entry(kind.to_owned()).or_default() += 1;
        let scripted = state.script.iter().position(|(m, part, _)| m == method && target.contains(part));
        let lie = match scripted {
            Some(found) => Some(state.script.remove(found).2),
            None => by_chance(&mut state, method, target),
        };
        if let Some(lie) = lie {
            *state.told.entry(format!("{method} {lie:?}")).or_default() += 1;
        }
        lie
    }

    /// One connection of a client, and one of its own to the server.
    fn serve(&self, client: TcpStream, server: u16) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut reader = BufReader::new(client.try_clone()?);
        let mut to_server = None;
        let mut client = client;
        while let Some(request) = Message::read(&mut reader)? {
            let (method, target) = request.asked();
            let lie = self.choose(&method, &target);
            match lie {
                Some(Lie::Instead(status)) => {
                    client.write_all(&answer(status, &method))?;
                    continue;
                }
                Some(Lie::DropBefore) => return client.shutdown(Shutdown::Both),
                Some(Lie::Late(after)) => {
                    client.shutdown(Shutdown::Both)?;
                    std::thread::sleep(Duration::from_millis(after));
                    return self.forward(&mut None, server, &request).map(drop);
                }
                _ => {}
            }
            let told = self.forward(&mut to_server, server, &request)?;
            match lie {
                Some(Lie::DropAfter) => return client.shutdown(Shutdown::Both),
                Some(Lie::After(status)) => client.write_all(&answer(status, &method))?,
                Some(Lie::Cut) => {
                    client.write_all(&told.head)?;
                    client.write_all(&told.body[..told.body.len() / 2])?;
                    return client.shutdown(Shutdown::Both);
                }
                _ => {
                    client.write_all(&told.head)?;
                    client.write_all(&told.body)?;
                }
            }
        }
        Ok(())
    }

    fn forward(
        &self,
        connection: &mut Option<BufReader<TcpStream>>,
        server: u16,
        request: &Message,
    ) -> io::Result<Message> {
        let (method, target) = request.asked();
        let reader = match connection {
            Some(reader) => reader,
            None => {
                let stream = TcpStream::connect(("127.0.0.1", server))?;
                stream.set_nodelay(true)?;
                connection.insert(BufReader::new(stream))
            }
        };
        reader.get_mut().write_all(&request.head)?;
        reader.get_mut().write_all(&request.body)?;
        let told = Message::answer(reader, &method)?;
        if method == "PUT" && told.status() == Some(200) {
            let name = target.split('?').next().unwrap_or_default().to_owned();
            *self.state.lock().expect("liar").puts.entry(name).or_default() += 1;
        }
        Ok(told)
    }
}

fn by_chance(state: &mut State, method: &str, target: &str) -> Option<Lie> {
    let rate = match method {
        "PUT" => state.rates.puts,
        _ if target.contains("list-type=2") => state.rates.lists,
        _ => state.rates.reads,
    };
    let rng = state.rng.as_mut()?;
    if !rng.random_bool(rate) {
        return None;
    }
    let status = [409, 412, 500, 503][rng.random_range(0..4)];
    Some(match (method, rng.random_range(0..6)) {
        ("PUT", 0) => Lie::Late(rng.random_range(5..600)),
        ("PUT" | "DELETE", 1) => Lie::DropBefore,
        ("PUT" | "DELETE", 2) => Lie::DropAfter,
        ("PUT" | "DELETE", 3 | 4) => Lie::After(status),
        ("PUT" | "DELETE", _) => Lie::Instead(status),
        (_, 0 | 1) => Lie::Cut,
        (_, 2) => Lie::DropBefore,
        (_, 3) => Lie::DropAfter,
        (_, _) => Lie::Instead(status),
    })
}

/// A request or an answer, letter by letter.
pub(super) struct Message {
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

impl Message {
    /// `None` where the other side has ended.
    pub fn read(from: &mut impl BufRead) -> io::Result<Option<Message>> {
        let Some(head) = head(from)? else { return Ok(None) };
        let body = body(from, &head, false)?;
        Ok(Some(Message { head, body }))
    }

    pub fn answer(from: &mut impl BufRead, method: &str) -> io::Result<Message> {
        let head = head(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = Message { head: head.clone(), body: Vec::new() }.status();
        let none = method == "HEAD" || matches!(status, Some(204 | 304));
        let body = body(from, &head, none)?;
        Ok(Message { head, body })
    }

    fn first_line(&self) -> String {
        String::from_utf8_lossy(&self.head).lines().next().unwrap_or_default().to_owned()
    }

    pub fn asked(&self) -> (String, String) {
        let line = self.first_line();
        let mut words = line.split(' ').map(str::to_owned);
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }

    pub fn status(&self) -> Option<u16> {
        self.first_line().split(' ').nth(1)?.parse().ok()
    }

    /// The body without the marks of its chunks.
    pub fn content(&self) -> Vec<u8> {
        if field(&self.head, "transfer-encoding").as_deref() != Some("chunked") {
            return self.body.clone();
        }
        let (mut content, mut rest) = (Vec::new(), self.body.as_slice());
        while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
            let size = usize::from_str_radix(String::from_utf8_lossy(&rest[..end]).trim(), 16).unwrap_or(0);
            content.extend_from_slice(&rest[end + 2..end + 2 + size]);
            rest = &rest[end + 4 + size..];
        }
        content
    }
}

fn head(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        if from.read_until(b'\n', &mut head)? == 0 {
            return if head.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        if head[before..] == *b"\r\n" {
            return Ok(Some(head));
        }
    }
}

fn body(from: &mut impl BufRead, head: &[u8], none: bool) -> io::Result<Vec<u8>> {
    let field = |name: &str| field(head, name);
    let mut body = Vec::new();
    if none {
        return Ok(body);
    }
    if field("transfer-encoding").as_deref() == Some("chunked") {
        loop {
            let at = body.len();
            from.read_until(b'\n', &mut body)?;
            let size = String::from_utf8_lossy(&body[at..]).trim().to_owned();
            let size = u64::from_str_radix(&size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            from.take(size + 2).read_to_end(&mut body)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    let length = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    from.take(length).read_to_end(&mut body)?;
    Ok(body)
}

/// The value of a header.
pub(super) fn field(head: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(head).into_owned();
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

/// In the words of S3.
fn answer(status: u16, method: &str) -> Vec<u8> {
    let code = match status {
        409 => "ConditionalRequestConflict",
        412 => "PreconditionFailed",
        503 => "SlowDown",
        401 | 403 => "AccessDenied",
        400 => "InvalidRequest",
        404 => "NotFound",
        501 => "NotImplemented",
        _ => "InternalError",
    };
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>a lie</Message></Error>");
    let length = if method == "HEAD" { 0 } else { body.len() };
    let head = format!("HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), &body.as_bytes()[..length]].concat()
}
