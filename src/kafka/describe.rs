//! Questions about a topic's settings and a group's members, for the commands that people call.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::time::Duration;

use rdkafka_sys as sys;

use super::native::{c_string, code, describe, millis, text};
use super::{Kafka, KafkaError};

impl Kafka {
    /// The value of a topic's setting, such as `cleanup.policy`; `None` where the broker does not know it.
    pub fn topic_setting(&self, topic: &str, name: &str, wait: Duration) -> Result<Option<String>, KafkaError> {
        let topic_c = c_string(topic)?;
        let what = format!("reading {name} of topic {topic}");
        let operation = sys::RDKafkaAdminOp::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
        let event = self.ask(&what, operation, None, None, wait, |rk, options, queue| {
            // SAFETY: all are alive during the call; librdkafka copies the resource, which is destroyed here.
            unsafe {
                let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
                let mut resource = sys::rd_kafka_ConfigResource_new(kind, topic_c.as_ptr());
                sys::rd_kafka_DescribeConfigs(rk, &mut resource, 1, options, queue);
                sys::rd_kafka_ConfigResource_destroy(resource);
            }
        })?;
        // SAFETY: the event is alive, and is the answer to the call above; everything below belongs to it.
        unsafe {
            let result = sys::rd_kafka_event_DescribeConfigs_result(event.raw());
            if result.is_null() {
                return Err(KafkaError::Other(format!("{what}: an answer to another question")));
            }
            let mut count = 0;
            let resources = sys::rd_kafka_DescribeConfigs_result_resources(result, &mut count);
            for at in 0..count {
                let resource = *resources.add(at);
                let refused = sys::rd_kafka_ConfigResource_error_string(resource);
                if !refused.is_null() {
                    return Err(KafkaError::Other(format!("{what}: {}", text(refused))));
                }
                let mut count = 0;
                let entries = sys::rd_kafka_ConfigResource_configs(resource, &mut count);
                for at in 0..count {
                    let entry = *entries.add(at);
                    if text(sys::rd_kafka_ConfigEntry_name(entry)) == name {
                        return Ok(Some(text(sys::rd_kafka_ConfigEntry_value(entry))));
                    }
                }
            }
        }
        Ok(None)
    }

    /// How many members a consumer group has; a group that nobody knows, or that this principal may not see, has
    /// none. Every broker is asked for its groups, as the admin API's question must not be used (see `group`).
    pub fn members(&self, group: &str, wait: Duration) -> Result<usize, KafkaError> {
        self.client().forget_troubles();
        let group_c = c_string(group)?;
        let what = format!("asking for the members of the consumer group {group}");
        let mut found = std::ptr::null();
        // SAFETY: client and string are alive; `found` is freed below where the call gave one.
        let answer = unsafe { list_groups(self.client().raw(), group_c.as_ptr(), &mut found, millis(wait)) };
        if found.is_null() {
            return match answer {
                0 => Ok(0),
                code::TIMED_OUT | code::TRANSPORT => Err(self.client().unreachable(&what, wait)),
                code => Err(KafkaError::sort(code, format!("{what}: {}", describe(code)))),
            };
        }
        // SAFETY: the list holds `group_cnt` groups; what is reached is copied, and it is freed once, here.
        let groups: Vec<(String, i32, usize)> = unsafe {
            let groups = (0..(*found).group_cnt as usize).map(|at| {
                let one = (*found).groups.add(at);
                let code = (&raw const (*one).err).cast::<i32>().read();
                (text((*one).group), code, (*one).member_cnt as usize)
            });
            let groups = groups.collect();
            sys::rd_kafka_group_list_destroy(found);
            groups
        };
        let members = groups.iter().filter(|(name, ..)| name == group).map(|(.., members)| members).sum();
        let refused = groups.iter().find(|(name, code, _)| name == group && !matches!(*code, 0 | NO_SUCH_GROUP));
        match (refused, answer) {
            (Some((_, code, _)), _) => Err(KafkaError::sort(*code, format!("{what}: {}", describe(*code)))),
            // Not every broker answered, and the one that knows the group may be among the others.
            (None, PARTIAL) if members == 0 => Err(self.client().unreachable(&what, wait)),
            (None, _) => Ok(members),
        }
    }
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
