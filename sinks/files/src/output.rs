//! The staged file as the Parquet library sees it: a `Write` that keeps the lake's own error.

use std::io::{self, Write};

use landfall_lake::{Lake, LakeError, Staged};
use landfall_sink::SinkError;

use crate::errors::sorted;

/// Pages are gathered to this before they go to the lake, so that a file takes hundreds of calls of the
/// operating system instead of tens of thousands. The memory lives only while a row group is written.
const GATHER: usize = 256 << 10;

pub(crate) struct Output {
    /// `None` once the finished file has been taken out.
    staged: Option<Box<dyn Staged>>,
    gathered: Vec<u8>,
    /// `io::Error` cannot say whether something happened; this can.
    failed: Option<LakeError>,
}

impl Output {
    pub fn new(lake: &dyn Lake) -> Result<Output, SinkError> {
        Ok(Output { staged: Some(lake.stage().map_err(sorted)?), gathered: Vec::new(), failed: None })
    }

    /// Hands everything to the lake and frees the memory.
    pub fn settle(&mut self) -> Result<(), SinkError> {
        let result = self.hand_over();
        self.gathered = Vec::new();
        result.map_err(|error| self.error(error))
    }

    /// What the lake said when `error` came up.
    pub fn error(&mut self, error: impl ToString) -> SinkError {
        match self.failed.take() {
            Some(failed) => sorted(failed),
            None => SinkError::Refused(format!("writing Parquet: {}", error.to_string())),
        }
    }

    /// The staged file, when the last byte of it is written.
    pub fn take(&mut self) -> Option<Box<dyn Staged>> {
        self.staged.take()
    }

    fn hand_over(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let gathered = std::mem::take(&mut self.gathered);
        let result = self.write_through(&gathered);
        self.gathered = gathered;
        self.gathered.clear();
        result
    }

    fn write_through(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(staged) = &mut self.staged else {
            return Err(io::Error::other("the file is finished"));
        };
        staged.write(bytes).map_err(|error| {
            let text = error.to_string();
            self.failed = Some(error);
            io::Error::other(text)
        })
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.gathered.len() + bytes.len() > GATHER {
            self.hand_over()?;
        }
        if bytes.len() >= GATHER {
            self.write_through(bytes)?;
        } else {
            self.gathered.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    /// The library flushes after every row group; [`Output::settle`] is called then as well.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
