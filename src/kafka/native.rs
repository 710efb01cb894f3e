//! Owners of librdkafka's objects. What must be released before what is a property of these types:
//! a queue and a topic hold their client, so that the client goes last (the other order hangs).
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka_sys as sys;

use super::KafkaError;

/// The error codes that this room tells apart. Plain numbers: a broker may answer with a code that the
/// binding's enum does not know, and such a value must never be made into the enum.
pub(super) mod code {
    pub const BAD_MSG: i32 = -199;
    pub const BAD_COMPRESSION: i32 = -198;
    pub const DESTROY: i32 = -197;
    pub const TRANSPORT: i32 = -195;
    pub const RESOLVE: i32 = -193;
    pub const PARTITION_EOF: i32 = -191;
    pub const UNKNOWN_PARTITION: i32 = -190;
    pub const UNKNOWN_TOPIC: i32 = -188;
    pub const ALL_BROKERS_DOWN: i32 = -187;
    pub const INVALID_ARG: i32 = -186;
    pub const TIMED_OUT: i32 = -185;
    pub const SSL: i32 = -181;
    pub const WAIT_COORD: i32 = -180;
    pub const IN_PROGRESS: i32 = -178;
    pub const PREV_IN_PROGRESS: i32 = -177;
    pub const STATE: i32 = -172;
    pub const AUTHENTICATION: i32 = -169;
    pub const TIMED_OUT_QUEUE: i32 = -166;
    pub const WAIT_CACHE: i32 = -164;
    pub const FATAL: i32 = -150;
    pub const UNKNOWN_BROKER: i32 = -146;
    pub const NOT_CONFIGURED: i32 = -145;
    pub const AUTO_OFFSET_RESET: i32 = -140;
    pub const LOG_TRUNCATION: i32 = -139;
    pub const DESTROY_BROKER: i32 = -137;
    pub const ASSIGN_PARTITIONS: i32 = -175;
    pub const REVOKE_PARTITIONS: i32 = -174;
    pub const OFFSET_OUT_OF_RANGE: i32 = 1;
    pub const INVALID_MSG: i32 = 2;
    pub const UNKNOWN_TOPIC_OR_PART: i32 = 3;
    pub const TOPIC_AUTHORIZATION_FAILED: i32 = 29;
}

// The same functions as in the binding, but with the error code as the number that it is (see `code`).
unsafe extern "C" {
    #[link_name = "rd_kafka_error_code"]
    fn error_code(error: *const sys::rd_kafka_error_t) -> c_int;
    #[link_name = "rd_kafka_event_error"]
    fn event_error(event: *const sys::rd_kafka_event_t) -> c_int;
    #[link_name = "rd_kafka_err2str"]
    fn err2str(code: c_int) -> *const c_char;
}

/// librdkafka's text for an error code.
pub(super) fn describe(code: i32) -> String {
    // SAFETY: takes any number, and returns a static string (or a per-thread one that is copied at once).
    unsafe { text(err2str(code)) }
}

/// Copies a C string; null is empty.
///
/// # Safety
/// `ptr` is null or points to a string that ends with a zero byte.
pub(super) unsafe fn text(ptr: *const c_char) -> String {
    if ptr.is_null() {
        return String::new();
    }
    // SAFETY: by the contract of this function.
    unsafe { CStr::from_ptr(ptr) }.to_string_lossy().into_owned()
}

/// A C string from text of ours or of the user's; a zero byte inside is an error.
pub(super) fn c_string(text: &str) -> Result<CString, KafkaError> {
    CString::new(text).map_err(|_| KafkaError::Config(format!("{text:?} holds a zero byte")))
}

/// Milliseconds for librdkafka, at least 1: 0 would mean "do not wait" or "for ever".
pub(super) fn millis(wait: Duration) -> c_int {
    c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX).max(1)
}

/// Takes an error object and frees it; null is success.
///
/// # Safety
/// `error` is null or an error object that the caller owns.
pub(super) unsafe fn take_error(error: *mut sys::rd_kafka_error_t) -> Option<(i32, String)> {
    if error.is_null() {
        return None;
    }
    // SAFETY: not null, owned by the caller, and not used after its destruction.
    unsafe {
        let found = look_at_error(error);
        sys::rd_kafka_error_destroy(error);
        found
    }
}

/// Reads an error object that belongs to somebody else.
///
/// # Safety
/// `error` is null or a live error object.
pub(super) unsafe fn look_at_error(error: *const sys::rd_kafka_error_t) -> Option<(i32, String)> {
    if error.is_null() {
        return None;
    }
    // SAFETY: not null and alive.
    let (code, text) = unsafe { (error_code(error), text(sys::rd_kafka_error_string(error))) };
    (code != 0).then_some((code, text))
}

/// A configuration under construction.
pub(super) struct Conf(*mut sys::rd_kafka_conf_t);

/// How librdkafka refused a property.
pub(super) enum ConfRefusal {
    Unknown(String),
    Invalid(String),
}

impl Conf {
    pub fn new() -> Conf {
        // SAFETY: takes nothing; librdkafka aborts rather than return null.
        Conf(unsafe { sys::rd_kafka_conf_new() })
    }

    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfRefusal> {
        let (Ok(name_c), Ok(value_c)) = (CString::new(name), CString::new(value)) else {
            return Err(ConfRefusal::Invalid(format!("{name} holds a zero byte")));
        };
        let mut reason: [c_char; 512] = [0; 512];
        // SAFETY: the configuration is owned and alive, the strings end with zero, the buffer's size is told.
        let answer = unsafe {
            sys::rd_kafka_conf_set(self.0, name_c.as_ptr(), value_c.as_ptr(), reason.as_mut_ptr(), reason.len())
        };
        // SAFETY: librdkafka ends what it writes into the buffer with zero; it was zero before.
        let reason = unsafe { text(reason.as_ptr()) };
        match answer {
            sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => Ok(()),
            sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_UNKNOWN => Err(ConfRefusal::Unknown(reason)),
            sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_INVALID => Err(ConfRefusal::Invalid(reason)),
        }
    }

    /// The names of all properties that librdkafka knows and that have a value.
    pub fn names(&self) -> Vec<String> {
        let mut count = 0;
        // SAFETY: the configuration is alive; the dump is `count` strings in pairs, freed below.
        unsafe {
            let dump = sys::rd_kafka_conf_dump(self.0, &mut count);
            let names = (0..count).step_by(2).map(|at| text(*dump.add(at))).collect();
            sys::rd_kafka_conf_dump_free(dump, count);
            names
        }
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: owned, alive, and never used again.
            unsafe { sys::rd_kafka_conf_destroy(self.0) }
        }
    }
}

/// An error that librdkafka reported about a whole client, not about a partition.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub code: i32,
    pub text: String,
}

/// A librdkafka instance of the consumer type. It has threads of its own; dropping it waits for them.
pub(super) struct Client {
    rk: *mut sys::rd_kafka_t,
    brokers: String,
    trouble: Mutex<Option<Trouble>>,
}

// SAFETY: an `rd_kafka_t` may be used from any thread at once; librdkafka locks inside.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// Starts the client's threads; does not wait for a broker.
    pub fn new(conf: Conf, brokers: String) -> Result<Arc<Client>, KafkaError> {
        Client::hearing(sys::RD_KAFKA_EVENT_ERROR, conf, brokers)
    }

    /// A client that is to join its group: it is told which partitions are given to it and taken from it.
    pub fn member(conf: Conf, brokers: String) -> Result<Arc<Client>, KafkaError> {
        Client::hearing(sys::RD_KAFKA_EVENT_ERROR | sys::RD_KAFKA_EVENT_REBALANCE, conf, brokers)
    }

    fn hearing(events: c_int, mut conf: Conf, brokers: String) -> Result<Arc<Client>, KafkaError> {
        let mut reason: [c_char; 512] = [0; 512];
        // SAFETY: `conf` is owned; on success librdkafka takes it over, and the wrapper is emptied below, so
        // that it is freed exactly once. The callback has the signature that is asked for and is static.
        let rk = unsafe {
            sys::rd_kafka_conf_set_log_cb(conf.0, Some(super::log::librdkafka_log));
            sys::rd_kafka_conf_set_events(conf.0, events);
            let consumer = sys::rd_kafka_type_t::RD_KAFKA_CONSUMER;
            sys::rd_kafka_new(consumer, conf.0, reason.as_mut_ptr(), reason.len())
        };
        if rk.is_null() {
            // SAFETY: the buffer ends with zero.
            return Err(KafkaError::Config(unsafe { text(reason.as_ptr()) }));
        }
        conf.0 = std::ptr::null_mut();
        Ok(Arc::new(Client { rk, brokers, trouble: Mutex::new(None) }))
    }

    pub fn raw(&self) -> *mut sys::rd_kafka_t {
        self.rk
    }

    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Takes one error off the client's own queue, and remembers it for [`Client::unreachable`].
    pub fn next_trouble(&self) -> Option<Trouble> {
        // SAFETY: the client is alive. The queue's reference is given back at once, before the event is used:
        // events live on their own.
        let event = unsafe {
            let main = sys::rd_kafka_queue_get_main(self.rk);
            let event = sys::rd_kafka_queue_poll(main, 0);
            sys::rd_kafka_queue_destroy(main);
            event
        };
        if event.is_null() {
            return None;
        }
        // SAFETY: not null, owned here, destroyed after its last use.
        let trouble = unsafe {
            let trouble = Trouble { code: event_error(event), text: text(sys::rd_kafka_event_error_string(event)) };
            sys::rd_kafka_event_destroy(event);
            trouble
        };
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble.clone());
        Some(trouble)
    }

    /// Throws away old errors, so that the next ones are of the call that follows.
    pub fn forget_troubles(&self) {
        while self.next_trouble().is_some() {}
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The error for "no answer", with what librdkafka last said about the connection.
    pub fn unreachable(&self, what: &str, waited: Duration) -> KafkaError {
        let mut code = code::TIMED_OUT;
        while let Some(trouble) = self.next_trouble() {
            if matches!(trouble.code, code::AUTHENTICATION | code::SSL) {
                code = trouble.code;
            }
        }
        let last = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let last = last.map(|trouble| format!(": {}", trouble.text)).unwrap_or_default();
        let text = format!("{what}: no answer from {} within {:.1} s{last}", self.brokers, waited.as_secs_f64());
        KafkaError::sort(code, text)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: the last owner is gone, and queues and topics are owners, so nothing of this client is left.
        // No group was joined, or it was left before: see `membership`.
        unsafe { sys::rd_kafka_destroy_flags(self.rk, sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE) }
    }
}

/// A queue: a consumer's, or one of our own in which answers of the admin API arrive.
pub(super) struct Queue {
    ptr: *mut sys::rd_kafka_queue_t,
    _client: Arc<Client>,
}

// SAFETY: librdkafka's queues lock inside.
unsafe impl Send for Queue {}

impl Queue {
    pub fn new(client: &Arc<Client>) -> Queue {
        // SAFETY: the client is alive, and stays so as long as this queue holds it.
        Queue { ptr: unsafe { sys::rd_kafka_queue_new(client.raw()) }, _client: client.clone() }
    }

    /// The queue in which everything of a consumer arrives: records and ends of all its partitions, and its
    /// errors. (Queues of single partitions must not be forwarded by hand: librdkafka undoes that when a
    /// partition is stopped, at a time of its own, and does not redo it when it is started again.)
    pub fn of_consumer(client: &Arc<Client>) -> Result<Queue, KafkaError> {
        // SAFETY: the client is alive, and stays so as long as this queue holds it.
        let ptr = unsafe { sys::rd_kafka_queue_get_consumer(client.raw()) };
        if ptr.is_null() {
            return Err(KafkaError::Config("the consumer has no queue: it has no group.id".into()));
        }
        Ok(Queue { ptr, _client: client.clone() })
    }

    pub fn raw(&self) -> *mut sys::rd_kafka_queue_t {
        self.ptr
    }

    /// Waits for an event: the answer of an admin call, or what a consumer is told.
    pub fn event(&self, wait: Duration) -> Option<Event> {
        // SAFETY: the queue is alive; the event is owned by the wrapper.
        let ptr = unsafe { sys::rd_kafka_queue_poll(self.ptr, millis(wait)) };
        (!ptr.is_null()).then_some(Event(ptr))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: owned, alive; the client is released after this.
        unsafe { sys::rd_kafka_queue_destroy(self.ptr) }
    }
}

/// An event, destroyed with this.
pub(super) struct Event(*mut sys::rd_kafka_event_t);

impl Event {
    pub fn raw(&self) -> *mut sys::rd_kafka_event_t {
        self.0
    }

    /// One of librdkafka's `RD_KAFKA_EVENT_…`.
    pub fn kind(&self) -> c_int {
        // SAFETY: the event is alive.
        unsafe { sys::rd_kafka_event_type(self.0) }
    }

    pub fn error(&self) -> Option<(i32, String)> {
        // SAFETY: the event is alive.
        let code = unsafe { event_error(self.0) };
        // SAFETY: as above.
        (code != 0).then(|| (code, unsafe { text(sys::rd_kafka_event_error_string(self.0)) }))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: owned and alive.
        unsafe { sys::rd_kafka_event_destroy(self.0) }
    }
}

/// A topic's object. Held as long as its address is used to recognise messages.
pub(super) struct Topic {
    ptr: *mut sys::rd_kafka_topic_t,
    _client: Arc<Client>,
}

// SAFETY: only its address is used, and its destruction may happen on any thread.
unsafe impl Send for Topic {}

impl Topic {
    pub fn new(client: &Arc<Client>, name: &CStr) -> Result<Topic, KafkaError> {
        // SAFETY: the client and the string are alive; a null configuration means the default.
        let ptr = unsafe { sys::rd_kafka_topic_new(client.raw(), name.as_ptr(), std::ptr::null_mut()) };
        if ptr.is_null() {
            return Err(KafkaError::Config(format!("topic {name:?} is refused by librdkafka")));
        }
        Ok(Topic { ptr, _client: client.clone() })
    }

    pub fn address(&self) -> usize {
        self.ptr as usize
    }

    pub fn raw(&self) -> *mut sys::rd_kafka_topic_t {
        self.ptr
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: owned; the client is released after this.
        unsafe { sys::rd_kafka_topic_destroy(self.ptr) }
    }
}
