//! Who is in a consumer group, and what each member was given: for the commands that people call.
//!
//! Every broker is asked for its groups, which needs no coordinator (see `group`). Of a group that the broker leads
//! (KIP-848) they tell its name alone; only then the admin API's question is asked.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::{c_char, c_int};
use std::time::Duration;

use rdkafka_sys as sys;

use super::native::{c_string, code, describe, look_at_error, millis, text};
use super::partitions::rows;
use super::{Kafka, KafkaError};

/// A process in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its `group.instance.id`, or the name that the coordinator gave to it.
    pub name: String,
    pub host: String,
    /// By topic and partition.
    pub partitions: BTreeSet<(String, i32)>,
}

/// What the brokers tell of a group.
enum Told {
    Members(Vec<GroupMember>),
    /// There is a group of that name, of another kind than the one that they were asked for.
    OtherKind,
}

impl Kafka {
    /// The members of a group; one that nobody knows, or that this principal may not see, has none.
    pub fn members(&self, group: &str, wait: Duration) -> Result<Vec<GroupMember>, KafkaError> {
        match self.listed(group, wait)? {
            Told::Members(members) => Ok(members),
            Told::OtherKind => self.described(group, wait),
        }
    }

    fn listed(&self, group: &str, wait: Duration) -> Result<Told, KafkaError> {
        self.client().forget_troubles();
        let group_c = c_string(group)?;
        let what = question(group);
        let mut found = std::ptr::null();
        // SAFETY: client and string are alive; `found` is freed below where the call gave one.
        let answer = unsafe { list_groups(self.client().raw(), group_c.as_ptr(), &mut found, millis(wait)) };
        if found.is_null() {
            return match answer {
                0 => Ok(Told::Members(Vec::new())),
                code::TIMED_OUT | code::TRANSPORT => Err(self.client().unreachable(&what, wait)),
                code => Err(KafkaError::sort(code, format!("{what}: {}", describe(code)))),
            };
        }
        // SAFETY: the list holds `group_cnt` groups; what is reached is copied, and it is freed once, here.
        let groups: Vec<(i32, bool, Vec<GroupMember>)> = unsafe {
            let groups = (0..(*found).group_cnt as usize).map(|at| (*found).groups.add(at));
            let named = groups.filter(|one| text((**one).group) == group);
            let groups = named
                .map(|one| {
                    let code = (&raw const (*one).err).cast::<i32>().read();
                    let members = (0..(*one).member_cnt as usize).map(|at| listed_member((*one).members.add(at)));
                    (code, text((*one).state) == "Dead", members.collect())
                })
                .collect();
            sys::rd_kafka_group_list_destroy(found);
            groups
        };
        let refused = groups.iter().find(|(code, ..)| !matches!(*code, 0 | NO_SUCH_GROUP));
        let other_kind = groups.iter().any(|(code, is_dead, _)| *code == NO_SUCH_GROUP || *is_dead);
        let members: Vec<GroupMember> = groups.iter().flat_map(|(.., members)| members).cloned().collect();
        match (refused, answer) {
            (Some((code, ..)), _) => Err(KafkaError::sort(*code, format!("{what}: {}", describe(*code)))),
            (None, _) if !members.is_empty() => Ok(Told::Members(members)),
            (None, _) if other_kind => Ok(Told::OtherKind),
            // Not every broker answered, and the one that knows the group may be among the others.
            (None, PARTIAL) => Err(self.client().unreachable(&what, wait)),
            (None, _) => Ok(Told::Members(members)),
        }
    }

    fn described(&self, group: &str, wait: Duration) -> Result<Vec<GroupMember>, KafkaError> {
        let what = question(group);
        let group_c = c_string(group)?;
        let mut name = group_c.as_ptr();
        let operation = sys::RDKafkaAdminOp::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
        let event = self.ask(&what, operation, None, None, wait, |rk, options, queue| {
            // SAFETY: all are alive during the call, which copies the name.
            unsafe { sys::rd_kafka_DescribeConsumerGroups(rk, &mut name, 1, options, queue) };
        })?;
        // SAFETY: the event is alive, and is the answer to the call above; everything below belongs to it and is
        // copied.
        unsafe {
            let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event.raw());
            if result.is_null() {
                return Err(KafkaError::Other(format!("{what}: an answer to another question")));
            }
            let mut count = 0;
            let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
            let mut members = Vec::new();
            for group in (0..count).map(|at| *groups.add(at)) {
                if let Some((code, text)) = look_at_error(sys::rd_kafka_ConsumerGroupDescription_error(group)) {
                    if code == NO_SUCH_GROUP {
                        continue;
                    }
                    return Err(KafkaError::sort(code, format!("{what}: {text}")));
                }
                let count = sys::rd_kafka_ConsumerGroupDescription_member_count(group);
                members.extend((0..count).map(|at| {
                    let member = sys::rd_kafka_ConsumerGroupDescription_member(group, at);
                    let instance = text(sys::rd_kafka_MemberDescription_group_instance_id(member));
                    let id = text(sys::rd_kafka_MemberDescription_consumer_id(member));
                    let given = sys::rd_kafka_MemberDescription_assignment(member);
                    let given = rows(sys::rd_kafka_MemberAssignment_partitions(given));
                    GroupMember {
                        name: if instance.is_empty() { id } else { instance },
                        host: host(&text(sys::rd_kafka_MemberDescription_host(member))),
                        partitions: given.into_iter().map(|row| (row.topic, row.partition)).collect(),
                    }
                }));
            }
            Ok(members)
        }
    }
}

fn question(group: &str) -> String {
    format!("asking for the members of the consumer group {group}")
}

/// # Safety
/// `member` is alive.
unsafe fn listed_member(member: *const sys::rd_kafka_group_member_info) -> GroupMember {
    // SAFETY: alive by contract; the assignment is `member_assignment_size` bytes long.
    unsafe {
        let size = usize::try_from((*member).member_assignment_size).unwrap_or(0);
        let given = match (*member).member_assignment.is_null() {
            true => &[][..],
            false => std::slice::from_raw_parts((*member).member_assignment.cast::<u8>(), size),
        };
        GroupMember {
            name: named(&text((*member).member_id), &text((*member).client_id)),
            host: host(&text((*member).client_host)),
            partitions: assignment(given).unwrap_or_default(),
        }
    }
}

/// A coordinator names a member by its `group.instance.id`, or else its `client.id`, and a UUID behind it.
fn named(member: &str, client: &str) -> String {
    const UUID: usize = 37;
    let split = member.len().checked_sub(UUID).and_then(|at| member.split_at_checked(at));
    match split {
        Some((instance, uuid)) if uuid.starts_with('-') && instance != client => instance.to_owned(),
        _ => member.to_owned(),
    }
}

/// The broker writes an address as Java does.
fn host(told: &str) -> String {
    told.trim_start_matches('/').to_owned()
}

/// The consumer protocol's assignment: a version, then topics, each with its partitions.
fn assignment(mut bytes: &[u8]) -> Option<BTreeSet<(String, i32)>> {
    let mut partitions = BTreeSet::new();
    take::<2>(&mut bytes)?;
    for _ in 0..i32::from_be_bytes(take(&mut bytes)?) {
        let length = usize::try_from(i16::from_be_bytes(take(&mut bytes)?)).ok()?;
        let (topic, rest) = bytes.split_at_checked(length)?;
        let topic = String::from_utf8(topic.to_vec()).ok()?;
        bytes = rest;
        for _ in 0..i32::from_be_bytes(take(&mut bytes)?) {
            partitions.insert((topic.clone(), i32::from_be_bytes(take(&mut bytes)?)));
        }
    }
    Some(partitions)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

// The same function as in the binding, but with the error code as the number that it is (see `native::code`).
unsafe extern "C" {
    #[link_name = "rd_kafka_list_groups"]
    fn list_groups(
        rk: *mut sys::rd_kafka_t,
        group: *const c_char,
        found: *mut *const sys::rd_kafka_group_list,
        timeout_ms: c_int,
    ) -> c_int;
}

const NO_SUCH_GROUP: i32 = 69;
const PARTIAL: i32 = -158;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_as_the_consumer_protocol_writes_it() {
        let bytes = [&[0, 3, 0, 0, 0, 1, 0, 2], &b"ab"[..], &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0]].concat();
        let expected = BTreeSet::from([("ab".to_owned(), 0), ("ab".to_owned(), 7)]);
        assert_eq!(assignment(&bytes), Some(expected));
        assert_eq!(assignment(&bytes[..15]), None);
        assert_eq!(assignment(&[]), None);
    }

    #[test]
    fn a_member_is_called_by_its_instance_id_where_it_has_one() {
        let uuid = "b1e7a1cc-6a4f-4b9f-8a50-0123456789ab";
        assert_eq!(named(&format!("landfall-0-{uuid}"), "rdkafka"), "landfall-0");
        assert_eq!(named(&format!("rdkafka-{uuid}"), "rdkafka"), format!("rdkafka-{uuid}"));
        assert_eq!(named("short", "rdkafka"), "short");
    }
}
