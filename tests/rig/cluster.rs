//! Several brokers that are one cluster, so that leaders can be killed.

use super::broker::{Address, cluster_id};
use super::{Admin, Broker};

pub struct Cluster {
    pub brokers: Vec<Broker>,
}

impl Cluster {
    /// `nodes` brokers that replicate to one another, all of them ready.
    pub fn start(nodes: usize) -> Cluster {
        let addresses: Vec<Address> = (1..=nodes).map(Address::free).collect();
        let id = cluster_id();
        let brokers: Vec<Broker> = std::thread::scope(|scope| {
            let format = |address| Broker::format(address, &addresses, &id, &[("num.partitions", "1")]);
            let threads: Vec<_> = addresses.iter().map(|address| scope.spawn(move || format(address))).collect();
            threads.into_iter().map(|thread| thread.join().expect("formatted")).collect()
        });
        brokers.iter().for_each(Broker::launch);
        brokers.iter().for_each(Broker::await_ready);
        Cluster { brokers }
    }

    pub fn bootstrap(&self) -> String {
        self.brokers.iter().map(Broker::bootstrap).collect::<Vec<_>>().join(",")
    }

    pub fn admin(&self) -> Admin {
        Admin::new(&self.bootstrap())
    }

    /// The broker that leads a partition now.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<&Broker> {
        let node = self.admin().leader(topic, partition)?;
        self.brokers.iter().find(|broker| i32::try_from(broker.address.node) == Ok(node))
    }
}
