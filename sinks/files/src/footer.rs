//! The end of a file, read by ranges: what it says of itself without reading its rows.

use landfall_lake::{Lake, LakeError};
use parquet::file::metadata::{FooterTail, ParquetMetaData, ParquetMetaDataReader};

use crate::errors::decoding;
use crate::metadata::{FileMetadata, NotOurs};

/// Enough for the footer of most files, so that one read does.
const TAIL: u64 = 32 << 10;
/// The length and the magic at the very end.
const END: usize = 8;
/// A footer of 32,767 row groups, the most that there can be, is smaller than this.
const LARGEST: u64 = 256 << 20;

#[derive(Debug)]
pub(crate) enum FooterError {
    /// It could not be read: nothing is known.
    Unread(LakeError),
    /// It was read, and is something else.
    NotOurs(NotOurs),
}

pub(crate) struct Footer {
    pub parquet: ParquetMetaData,
    pub file: FileMetadata,
}

pub(crate) async fn read(lake: &dyn Lake, path: &str, size: u64) -> Result<Footer, FooterError> {
    let tail = range(lake, path, size.saturating_sub(TAIL)..size).await?;
    let length = length(&tail, size).map_err(FooterError::NotOurs)?;
    let bytes = if length as usize + END <= tail.len() {
        tail.slice(tail.len() - END - length as usize..tail.len() - END)
    } else {
        range(lake, path, size - END as u64 - length..size - END as u64).await?
    };
    parse(&bytes).map_err(FooterError::NotOurs)
}

/// Exactly these bytes: fewer would be taken for a damaged file.
async fn range(lake: &dyn Lake, path: &str, range: std::ops::Range<u64>) -> Result<bytes::Bytes, FooterError> {
    let asked = range.end - range.start;
    let bytes = lake.read_range(path, range).await.map_err(FooterError::Unread)?;
    if bytes.len() as u64 != asked {
        let short = format!("{} bytes were read where {asked} were asked for", bytes.len());
        return Err(FooterError::Unread(LakeError::unknown(path, short)));
    }
    Ok(bytes)
}

/// How long the footer is that ends before the last eight bytes.
fn length(tail: &[u8], size: u64) -> Result<u64, NotOurs> {
    let end = tail.last_chunk::<END>().ok_or_else(|| NotOurs(format!("it has only {size} bytes")))?;
    let end = FooterTail::try_new(end).map_err(|error| NotOurs(error.to_string()))?;
    let length = end.metadata_length() as u64;
    if end.is_encrypted_footer() || length > LARGEST || length + 2 * END as u64 - 4 > size {
        return Err(NotOurs(format!("its footer cannot be {length} bytes long")));
    }
    Ok(length)
}

/// Parses a footer of any origin.
fn parse(bytes: &[u8]) -> Result<Footer, NotOurs> {
    let parquet = decoding(|| ParquetMetaDataReader::decode_metadata(bytes)).map_err(NotOurs)?;
    let none = Vec::new();
    let pairs = parquet.file_metadata().key_value_metadata().unwrap_or(&none);
    let file = FileMetadata::parse(pairs)?;
    Ok(Footer { parquet, file })
}
