//! Questions about a topic's settings, for the commands that people call.
#![allow(unsafe_code)]

use std::time::Duration;

use rdkafka_sys as sys;

use super::native::{c_string, text};
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
}
