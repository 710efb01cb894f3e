//! What may differ from one run to the next without changing any name: codec, level, sizes.

use landfall_sink::SinkError;
use parquet::basic::{Compression, ZstdLevel};

/// How pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Codec {
    #[default]
    Zstd,
    Snappy,
    Lz4,
    None,
}

impl std::str::FromStr for Codec {
    type Err = String;

    fn from_str(text: &str) -> Result<Codec, String> {
        match text {
            "zstd" => Ok(Codec::Zstd),
            "snappy" => Ok(Codec::Snappy),
            "lz4" => Ok(Codec::Lz4),
            "none" => Ok(Codec::None),
            other => Err(format!("{other:?} is not a codec (known: zstd, snappy, lz4, none)")),
        }
    }
}

/// Settings of the Parquet writer. None of them decides a name, so every run may choose its own.
#[derive(Debug, Clone)]
pub struct ParquetOptions {
    pub codec: Codec,
    /// The level of zstd; the other codecs have none.
    pub level: i32,
    /// A row group is closed when its encoded pages reach this. It is also what one batch may hold of
    /// encoded pages in memory, however large its range.
    pub row_group_bytes: usize,
    /// Rows stay raw until there are this many bytes of them; then they are encoded in one go. Measured at 100 B a record
    /// against encoding without slabs: 128 KiB costs a third more CPU, 512 KiB a fifth, 1 MiB less than a tenth.
    pub raw_bytes: usize,
    /// The release that writes: `landfall.version`.
    pub version: String,
}

impl Default for ParquetOptions {
    /// zstd level 1 is half the size of snappy and lz4 for a tenth more CPU; level 3 is slower and no smaller.
    fn default() -> ParquetOptions {
        ParquetOptions {
            codec: Codec::Zstd,
            level: 1,
            row_group_bytes: 16 << 20,
            raw_bytes: 1 << 20,
            version: env!("CARGO_PKG_VERSION").to_string(),
        }
    }
}

impl ParquetOptions {
    pub(crate) fn compression(&self) -> Result<Compression, SinkError> {
        Ok(match self.codec {
            Codec::Zstd => Compression::ZSTD(
                ZstdLevel::try_new(self.level)
                    .map_err(|_| SinkError::Refused(format!("zstd level {}: it must be 1 to 22", self.level)))?,
            ),
            Codec::Snappy => Compression::SNAPPY,
            Codec::Lz4 => Compression::LZ4_RAW,
            Codec::None => Compression::UNCOMPRESSED,
        })
    }
}
