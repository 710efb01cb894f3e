//! From librdkafka's messages to the columns of their slots: the hot loop.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use landfall_sink::envelope::timestamp_type;
use rdkafka_sys as sys;

use super::KafkaError;
use super::columns::{Columns, Full, Record};
use super::cursor::{Ending, Verdict};
use super::native::{Client, Queue, code, millis, text};
use super::reader::{Event, Fault, Notice, Reading, Slot, Turn};

/// Messages asked for in one call.
const BATCH: usize = 2_048;
/// A poll ends when it brought this much, so that the engine's budget is looked at often.
const TURN_ROWS: usize = 16_384;
const TURN_BYTES: usize = 4 << 20;
/// How often the client's own queue is looked at.
const TROUBLES_EVERY: Duration = Duration::from_millis(50);

/// Room for the pointers of one call; empty between calls.
struct Batch(Vec<*mut sys::rd_kafka_message_t>);

// SAFETY: it holds pointers during `poll` only, which has the reader for itself.
unsafe impl Send for Batch {}

pub(super) struct Delivery {
    slots: Vec<Option<Reading>>,
    by_partition: HashMap<(usize, i32), Slot>,
    /// The partition of the message before: messages come in runs.
    last: Option<(usize, i32, Slot)>,
    batch: Batch,
    turns: u64,
    looked: Option<Instant>,
    down: bool,
    /// Faults found while assigning, for the next poll.
    late: Vec<(Slot, Fault)>,
    /// What a slot that is not read shows.
    nothing: Columns,
}

impl Default for Delivery {
    fn default() -> Delivery {
        Delivery {
            slots: Vec::new(),
            by_partition: HashMap::new(),
            last: None,
            batch: Batch(vec![std::ptr::null_mut(); BATCH]),
            turns: 0,
            looked: None,
            down: false,
            late: Vec::new(),
            nothing: Columns::default(),
        }
    }
}

impl Delivery {
    pub fn reading(&self, slot: Slot) -> Option<&Reading> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub fn holds(&self, slot: Slot) -> bool {
        self.reading(slot).is_some()
    }

    pub fn columns(&mut self, slot: Slot) -> &mut Columns {
        match self.slots.get_mut(slot as usize) {
            Some(Some(reading)) => &mut reading.columns,
            _ => {
                self.nothing = Columns::default();
                &mut self.nothing
            }
        }
    }

    pub fn enter(&mut self, slot: Slot, reading: Reading) -> Result<(), KafkaError> {
        let key = (reading.address, reading.partition);
        if self.by_partition.contains_key(&key) || self.holds(slot) {
            let text = format!("{}/{} is already being read by this reader", reading.topic, reading.partition);
            return Err(KafkaError::Other(text));
        }
        self.by_partition.insert(key, slot);
        let at = slot as usize;
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, || None);
        }
        self.slots[at] = Some(reading);
        Ok(())
    }

    pub fn forget(&mut self, slots: &[Slot]) {
        self.last = None;
        for slot in slots {
            if let Some(reading) = self.slots.get_mut(*slot as usize).and_then(Option::take) {
                self.by_partition.remove(&(reading.address, reading.partition));
            }
            self.late.retain(|(late, _)| late != slot);
        }
    }

    /// A fault of a partition that is told by the next poll; nothing more is delivered from now on.
    pub fn fault_later(&mut self, topic: &str, partition: i32, code: i32, text: String) {
        let found = self.slots.iter_mut().enumerate().find_map(|(slot, reading)| {
            let reading = reading.as_mut()?;
            (&*reading.topic == topic && reading.partition == partition).then_some((slot as Slot, reading))
        });
        if let Some((slot, reading)) = found {
            reading.cursor.fault();
            self.late.push((slot, fault(code, text)));
        }
    }

    pub fn poll(&mut self, queue: &Queue, client: &Client, wait: Duration, turn: &mut Turn) -> usize {
        self.turns += 1;
        turn.events.extend(self.late.drain(..).map(|(slot, fault)| (slot, Event::Fault(fault))));
        self.look_for_troubles(client, turn);
        let (mut rows, mut bytes) = (0, 0);
        let mut count = consume(queue, Duration::ZERO, &mut self.batch.0);
        if count == 0 && !wait.is_zero() && turn.events.is_empty() {
            // A full batch would be waited for as long as `wait`; the first message ends the wait instead.
            count = consume(queue, wait, &mut self.batch.0[..1]);
        }
        while count > 0 {
            for at in 0..count {
                let message = std::mem::replace(&mut self.batch.0[at], std::ptr::null_mut());
                // SAFETY: librdkafka gave `count` messages to us; each is alive until it is destroyed here.
                unsafe {
                    if let Some(size) = self.deliver(message, turn) {
                        rows += 1;
                        bytes += size;
                    }
                    sys::rd_kafka_message_destroy(message);
                }
            }
            if rows >= TURN_ROWS || bytes >= TURN_BYTES {
                break;
            }
            count = consume(queue, Duration::ZERO, &mut self.batch.0);
        }
        rows
    }

    /// Puts one message where it belongs; the size of the row if it became one.
    ///
    /// # Safety
    /// `message` is a live message of this reader's client.
    #[inline]
    unsafe fn deliver(&mut self, message: *mut sys::rd_kafka_message_t, turn: &mut Turn) -> Option<usize> {
        // SAFETY: alive by contract. The code is read as a number, see `native::code`.
        let (code, key, offset) = unsafe {
            let code = (&raw const (*message).err).cast::<i32>().read();
            (code, ((*message).rkt as usize, (*message).partition), (*message).offset)
        };
        if code != 0 {
            // SAFETY: as above.
            unsafe { self.undelivered(message, code, key, offset, turn) };
            return None;
        }
        let slot = match self.last {
            Some((topic, partition, slot)) if (topic, partition) == key => slot,
            _ => {
                let slot = *self.by_partition.get(&key)?;
                self.last = Some((key.0, key.1, slot));
                slot
            }
        };
        if self.down {
            self.down = false;
            turn.notices.push(Notice::Recovered);
        }
        let turns = self.turns;
        let reading = self.slots.get_mut(slot as usize)?.as_mut()?;
        // SAFETY: as above.
        let epoch = unsafe { sys::rd_kafka_message_leader_epoch(message) };
        let verdict = reading.cursor.record(offset, epoch);
        let mut size = None;
        if matches!(verdict, Verdict::Row | Verdict::LastRow) {
            // SAFETY: as above.
            match unsafe { append(&mut reading.columns, message, epoch) } {
                Ok(bytes) => size = Some(bytes),
                Err(Full) => {
                    reading.cursor.fault();
                    let text = format!(
                        "{}/{}: more than 2 GiB were read and not taken; limits.memory is too large",
                        reading.topic, reading.partition
                    );
                    turn.events.push((slot, Event::Fault(Fault::Other(text))));
                    return None;
                }
            }
            if reading.turn != turns {
                reading.turn = turns;
                turn.touched.push(slot);
            }
        }
        if matches!(verdict, Verdict::LastRow | Verdict::Beyond) {
            turn.events.push((slot, Event::Stop));
        }
        size
    }

    /// A message that is none: the end of a partition, or an error.
    ///
    /// # Safety
    /// `message` is alive.
    #[cold]
    unsafe fn undelivered(
        &mut self,
        message: *mut sys::rd_kafka_message_t,
        code: i32,
        key: (usize, i32),
        offset: i64,
        turn: &mut Turn,
    ) {
        if code == code::PARTITION_EOF {
            let Some(slot) = self.by_partition.get(&key).copied() else {
                return;
            };
            if self.down {
                self.down = false;
                turn.notices.push(Notice::Recovered);
            }
            if let Some(Some(reading)) = self.slots.get_mut(slot as usize) {
                match reading.cursor.end_of_partition(offset) {
                    Ending::Stop => turn.events.push((slot, Event::Stop)),
                    Ending::End(end) => turn.events.push((slot, Event::End(end))),
                    Ending::Ignored => {}
                }
            }
            return;
        }
        // SAFETY: alive by contract; the topic's name, where there is a topic, lives as long as the message.
        let (why, topic) = unsafe {
            let topic = (*message).rkt;
            let name = if topic.is_null() { String::new() } else { text(sys::rd_kafka_topic_name(topic)) };
            (text(sys::rd_kafka_message_errstr(message)), name)
        };
        if topic.is_empty() {
            if let Some(notice) = notice(code, why) {
                turn.notices.push(notice);
            }
            return;
        }
        // An error of a topic as a whole has no partition, and voids all of them.
        for (at, reading) in self.slots.iter_mut().enumerate() {
            let Some(reading) = reading else { continue };
            let meant = *reading.topic == *topic && (key.1 < 0 || reading.partition == key.1);
            if meant && !reading.cursor.is_over() {
                reading.cursor.fault();
                let text = format!("{}/{}: {why}", reading.topic, reading.partition);
                turn.events.push((at as Slot, Event::Fault(fault(code, text))));
            }
        }
    }

    fn look_for_troubles(&mut self, client: &Client, turn: &mut Turn) {
        let now = Instant::now();
        if self.looked.is_some_and(|last| now.duration_since(last) < TROUBLES_EVERY) {
            return;
        }
        self.looked = Some(now);
        while let Some(trouble) = client.next_trouble() {
            if trouble.code == code::ALL_BROKERS_DOWN {
                if !self.down {
                    turn.notices.push(Notice::BrokersDown(trouble.text));
                }
                self.down = true;
            } else if let Some(notice) = notice(trouble.code, trouble.text) {
                turn.notices.push(notice);
            }
        }
    }
}

/// Fills the front of `room` with messages, waiting for all of it at most `wait`; zero does not wait.
fn consume(queue: &Queue, wait: Duration, room: &mut [*mut sys::rd_kafka_message_t]) -> usize {
    let wait = if wait.is_zero() { 0 } else { millis(wait) };
    // SAFETY: the queue is alive, and `room` is as long as is told.
    let count = unsafe { sys::rd_kafka_consume_batch_queue(queue.raw(), wait, room.as_mut_ptr(), room.len()) };
    usize::try_from(count).unwrap_or(0)
}

/// Copies a message to the end of the columns; the bytes of its payload.
///
/// # Safety
/// `message` is a live message without an error.
#[inline]
unsafe fn append(columns: &mut Columns, message: *mut sys::rd_kafka_message_t, epoch: i32) -> Result<usize, Full> {
    let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: alive by contract; key and payload, where not null, are as long as is told, and are copied
    // before the message is destroyed.
    let record = unsafe {
        let timestamp = sys::rd_kafka_message_timestamp(message, &mut kind);
        Record {
            offset: (*message).offset,
            timestamp,
            timestamp_type: match kind {
                sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => timestamp_type::NONE,
                sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => timestamp_type::CREATE,
                sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => timestamp_type::APPEND,
            },
            key: bytes((*message).key, (*message).key_len),
            value: bytes((*message).payload, (*message).len),
        }
    };
    columns.push(&record, epoch)?;
    // SAFETY: as above.
    let headers = unsafe { append_headers(columns, message) };
    // Also where the headers did not fit: the columns stay of one length.
    columns.end_row();
    Ok(record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers?)
}

/// # Safety
/// `message` is alive.
#[inline]
unsafe fn append_headers(columns: &mut Columns, message: *mut sys::rd_kafka_message_t) -> Result<usize, Full> {
    let mut headers = std::ptr::null_mut();
    // SAFETY: alive by contract; the headers belong to the message.
    let answer = unsafe { sys::rd_kafka_message_headers(message, &mut headers) };
    if answer != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || headers.is_null() {
        return Ok(0);
    }
    let mut size = 0;
    for at in 0.. {
        let (mut name, mut value, mut length) = (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: the headers are alive; an index beyond the last answers with an error. The name ends with
        // zero (librdkafka ends it so), the value is `length` bytes.
        unsafe {
            let answer = sys::rd_kafka_header_get_all(headers, at, &mut name, &mut value, &mut length);
            if answer != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                break;
            }
            let name = std::ffi::CStr::from_ptr(name).to_bytes();
            columns.push_header(name, bytes(value.cast_mut(), length))?;
            size += name.len() + length;
        }
    }
    Ok(size)
}

/// # Safety
/// `ptr` is null or points to `length` bytes that live as long as `'a`.
#[inline]
unsafe fn bytes<'a>(ptr: *mut std::ffi::c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: by contract.
    (!ptr.is_null()).then(|| unsafe { std::slice::from_raw_parts(ptr.cast::<u8>(), length) })
}

fn fault(code: i32, text: String) -> Fault {
    match code {
        code::AUTO_OFFSET_RESET | code::LOG_TRUNCATION | code::OFFSET_OUT_OF_RANGE => Fault::OutOfRange(text),
        code::BAD_MSG | code::BAD_COMPRESSION | code::INVALID_MSG => Fault::Corrupt(text),
        _ => match KafkaError::sort(code, text) {
            KafkaError::Missing(text) => Fault::Missing(text),
            KafkaError::NotAuthorized(text) => Fault::NotAuthorized(text),
            KafkaError::Unreachable(text)
            | KafkaError::Config(text)
            | KafkaError::Fatal(text)
            | KafkaError::Other(text) => Fault::Other(text),
        },
    }
}

/// What an error of the whole client is worth telling.
fn notice(code: i32, text: String) -> Option<Notice> {
    match code {
        code::FATAL => Some(Notice::Fatal(text)),
        code::ALL_BROKERS_DOWN => Some(Notice::BrokersDown(text)),
        code::AUTHENTICATION | code::SSL => Some(Notice::Authentication(text)),
        // The coordinator is asked for by librdkafka, not by us; positions do not depend on it.
        code::WAIT_COORD | 14..=16 => None,
        _ => Some(Notice::Broker(text)),
    }
}
