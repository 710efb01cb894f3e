//! The S3 server of the tests, and the proxy that counts what is asked of it.

#[allow(dead_code)]
#[path = "../../tests/rig/liar.rs"]
mod liar;
#[allow(dead_code)]
#[path = "../../tests/rig/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "../../tests/rig/s3.rs"]
mod s3;

use std::path::Path;

use anyhow::Context;
use landfall::config::Properties;
pub use liar::Liar;
pub use s3::{BUCKET, Kind, S3Server};
use serde::{Deserialize, Serialize};

/// Where a lake is, and what it takes to reach it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Place {
    pub url: String,
    pub options: Vec<(String, String)>,
    /// Of the server, where there is one.
    pub port: Option<u16>,
}

impl Place {
    pub fn disk(lake: &Path) -> Place {
        Place { url: format!("file://{}", lake.display()), options: Vec::new(), port: None }
    }

    /// Payloads are not signed unless it is asked for.
    pub fn bucket(server: &S3Server, prefix: &str, signed: bool) -> Place {
        let given = S3Server::options(&server.endpoint());
        let mut options: Vec<(String, String)> =
            given.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        options.push(("aws_unsigned_payload".into(), (!signed).to_string()));
        Place { url: format!("s3://{BUCKET}/{prefix}"), options, port: Some(server.port) }
    }

    pub fn properties(&self) -> Properties {
        self.options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// The same lake behind a proxy of this process, which counts.
    pub fn counted(&self) -> anyhow::Result<(Place, Liar)> {
        let liar = Liar::before(self.port.context("only what goes to a bucket is counted")?);
        Ok((self.clone().through(liar.port), liar))
    }

    /// The same lake by another port.
    pub fn through(mut self, port: u16) -> Place {
        for (name, value) in &mut self.options {
            if name == "aws_endpoint" {
                *value = format!("http://127.0.0.1:{port}");
            }
        }
        self.port = self.port.map(|_| port);
        self
    }
}
