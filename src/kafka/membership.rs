//! This process as a member of a consumer group: the group says whose turn it is to plan, and nothing else.
//!
//! One thread serves a client that never reads ([`super::member`]). Positions are never taken from the group: they are
//! the checkpoint's.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::group::Voice;
use super::member::{End, LEAVING, Member};
use super::native::{Client, Queue};
use super::{Kafka, KafkaError};

/// Long enough for a pause of the machine, short enough that the partitions of a lost one do not wait. A false
/// expiry does no harm: whoever plans, the checkpoint decides.
const SESSION: &str = "10000";
/// As often as landfall looks for topics, so that new partitions are soon somebody's.
const NEW_PARTITIONS: &str = "5000";

/// What the group has given to this process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// By topic and partition.
    pub partitions: BTreeSet<(String, i32)>,
    /// Whether the group has given anything, be it nothing.
    pub is_member: bool,
    /// Why the group cannot be used, as long as it is so.
    pub trouble: Option<KafkaError>,
}

/// A place in a group. Dropping it leaves the group, unless it is kept under a `group.instance.id` for the next start.
pub struct Membership {
    orders: Option<Sender<Vec<String>>>,
    /// Ends when the member has left and its client is gone.
    left: Receiver<()>,
}

impl Membership {
    /// The topics that this process could land.
    pub fn subscribe(&self, topics: Vec<String>) {
        if let Some(orders) = &self.orders {
            drop(orders.send(topics));
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.orders = None;
        // A client that does not come to its end holds up nobody.
        let _ended = self.left.recv_timeout(LEAVING + LEAVING);
    }
}

impl Kafka {
    /// Joins the group as soon as there are topics to subscribe to. `tell` hears of every change.
    pub fn join(&self, group: &str, tell: impl Fn(Share) + Send + 'static) -> Result<Membership, KafkaError> {
        let (orders, inbox) = channel();
        let mut member = self.member(group, inbox, Box::new(tell))?;
        let (kafka, group) = (self.clone(), group.to_owned());
        let (leaving, left) = channel();
        let thread = std::thread::Builder::new().name("group-member".into()).spawn(move || {
            let _leaving: Sender<()> = leaving;
            while member.serve() == End::Unreleased {
                // The coordinator keeps the place of a process of this name that was killed.
                member.wait_for_the_place();
                match kafka.member(&group, member.orders, member.tell) {
                    // The trouble stays until the place is given, so that it is told once.
                    Ok(another) => {
                        member = Member { topics: member.topics, share: member.share, told: member.told, ..another };
                    }
                    Err(error) => return tracing::error!("the group cannot be joined again: {error}"),
                }
            }
            let voice = kafka.group_client().take();
            drop((voice, member));
        });
        thread.map_err(|error| KafkaError::Other(format!("no thread for the group: {error}")))?;
        Ok(Membership { orders: Some(orders), left })
    }

    fn member(
        &self,
        group: &str,
        orders: Receiver<Vec<String>>,
        tell: Box<dyn Fn(Share) + Send>,
    ) -> Result<Member, KafkaError> {
        let settings = self.settings();
        let mut properties = vec![("group.id", group.to_owned()), ("max.poll.interval.ms", "300000".to_owned())];
        if !settings.is_led_by_the_broker() {
            properties.push(("partition.assignment.strategy", "cooperative-sticky".to_owned()));
            properties.push(("session.timeout.ms", SESSION.to_owned()));
        }
        let defaults = [("client.id", "landfall"), ("topic.metadata.refresh.interval.ms", NEW_PARTITIONS)];
        let not_given = defaults.into_iter().filter(|(key, _)| !settings.gives(key));
        properties.extend(not_given.map(|(key, value)| (key, value.to_owned())));
        properties.extend(settings.membership());
        let client = Client::member(settings.conf(&properties)?, settings.brokers().to_owned())?;
        let queue = Queue::of_consumer(&client)?;
        let voice = Voice { group: group.to_owned(), client: client.clone(), is_member: true };
        // Whoever spoke before goes without the lock: the end of a client takes its time.
        let before = self.group_client().replace(voice);
        drop(before);
        let (share, told, topics) = (Share::default(), Share::default(), Vec::new());
        Ok(Member { queue, client, orders, topics, share, told, tell, unreleased: false })
    }
}
