//! Lakes made by hand, good ones and damaged ones, to see that the checker sees.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, ListBuilder, StringBuilder, StructBuilder};
use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow_schema::{DataType, Field, Fields};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::Record;
use super::journal::{Entry, Fate, Journal, key_crc};

/// A file under way: everything about it can be made wrong before it is written.
#[derive(Debug, Clone)]
pub struct HandMade {
    pub topic: String,
    pub partition: i32,
    pub from: i64,
    pub until: i64,
    pub rows: Vec<(i64, Record)>,
    pub metadata: Vec<(&'static str, String)>,
}

impl HandMade {
    /// `[from, until)` of one stream with a row for every offset.
    pub fn new(topic: &str, partition: i32, from: i64, until: i64) -> HandMade {
        let rows: Vec<_> = (from..until).map(|offset| (offset, Record::numbered(offset as usize))).collect();
        let metadata = vec![
            ("landfall.version", "0".to_owned()),
            ("landfall.cluster", "c".into()),
            ("landfall.topic", topic.into()),
            ("landfall.topic_id", "t".into()),
            ("landfall.partition", partition.to_string()),
            ("landfall.from", from.to_string()),
            ("landfall.until", until.to_string()),
            ("landfall.rows", rows.len().to_string()),
            ("landfall.gaps", "[]".into()),
            ("landfall.isolation", "read_committed".into()),
            ("landfall.checksum", "crc32c:00000000".into()),
        ];
        HandMade { topic: topic.into(), partition, from, until, rows, metadata }
    }

    pub fn set(&mut self, key: &str, value: &str) -> &mut HandMade {
        let pair = self.metadata.iter_mut().find(|(name, _)| *name == key).expect("a key");
        pair.1 = value.into();
        self
    }

    /// Acknowledges the records of the file.
    pub fn acknowledge_in(&self, journal: &Journal) {
        for (offset, record) in &self.rows {
            let entry = Entry {
                content: record.content(),
                key: key_crc(record.key.as_deref()),
                timestamp: record.timestamp,
                fate: Fate::Committed,
            };
            journal.acknowledged(&self.topic, self.partition, *offset, entry);
        }
    }

    pub fn path(&self, root: &Path) -> PathBuf {
        let name = format!("{:020}-{:020}.parquet", self.from, self.until);
        root.join(&self.topic).join(self.partition.to_string()).join(name)
    }

    pub fn write(&self, root: &Path) -> PathBuf {
        let path = self.path(root);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        let pairs = self.metadata.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone()));
        let properties = WriterProperties::builder().set_key_value_metadata(Some(pairs.collect())).build();
        let batch = self.batch();
        let file = File::create(&path).expect("a file");
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
        writer.write(&batch).expect("rows");
        writer.close().expect("a footer");
        path
    }

    fn batch(&self) -> RecordBatch {
        let rows = || self.rows.iter();
        let columns: Vec<(&str, ArrayRef, bool)> = vec![
            ("topic", Arc::new(StringArray::from_iter_values(rows().map(|_| &self.topic))), false),
            ("partition", Arc::new(Int32Array::from_iter_values(rows().map(|_| self.partition))), false),
            ("offset", Arc::new(Int64Array::from_iter_values(rows().map(|(offset, _)| *offset))), false),
            ("timestamp", Arc::new(timestamps(&self.rows)), true),
            ("timestamp_type", Arc::new(Int32Array::from_iter_values(rows().map(|_| 0))), false),
            ("key", Arc::new(rows().map(|(_, record)| record.key.clone()).collect::<arrow_array::BinaryArray>()), true),
            (
                "value",
                Arc::new(rows().map(|(_, record)| record.value.clone()).collect::<arrow_array::BinaryArray>()),
                true,
            ),
            ("headers", headers(&self.rows), false),
        ];
        RecordBatch::try_from_iter_with_nullable(columns).expect("a batch")
    }
}

fn timestamps(rows: &[(i64, Record)]) -> TimestampMillisecondArray {
    TimestampMillisecondArray::from_iter_values(rows.iter().map(|(_, record)| record.timestamp)).with_timezone("UTC")
}

fn headers(rows: &[(i64, Record)]) -> ArrayRef {
    let fields =
        Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)]);
    let item = Field::new("element", DataType::Struct(fields.clone()), false);
    let pairs = StructBuilder::new(fields, vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())]);
    let mut lists = ListBuilder::new(pairs).with_field(item);
    for (_, record) in rows {
        for (key, value) in &record.headers {
            let pair = lists.values();
            pair.field_builder::<StringBuilder>(0).expect("keys").append_value(key);
            pair.field_builder::<BinaryBuilder>(1).expect("values").append_option(value.as_deref());
            pair.append(true);
        }
        lists.append(true);
    }
    Arc::new(lists.finish())
}
