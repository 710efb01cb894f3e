//! The raw envelope: the columns of a Kafka record, as every reader of the lake sees them.

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// Positions of the columns in [`schema`].
pub mod column {
    pub const TOPIC: usize = 0;
    pub const PARTITION: usize = 1;
    pub const OFFSET: usize = 2;
    pub const TIMESTAMP: usize = 3;
    pub const TIMESTAMP_TYPE: usize = 4;
    pub const KEY: usize = 5;
    pub const VALUE: usize = 6;
    pub const HEADERS: usize = 7;
}

/// `timestamp_type` as in Spark's Kafka source.
pub mod timestamp_type {
    /// The broker gave none; `timestamp` is null.
    pub const NONE: i32 = -1;
    pub const CREATE: i32 = 0;
    pub const APPEND: i32 = 1;
}

/// The fields of one header: a key, and a value that may be null.
pub fn header_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)])
}

/// The element of the `headers` list; order and repetitions are kept.
pub fn header_item() -> Field {
    Field::new("element", DataType::Struct(header_fields()), false)
}

/// The schema of the raw envelope.
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("topic", DataType::Utf8, false),
            Field::new("partition", DataType::Int32, false),
            Field::new("offset", DataType::Int64, false),
            Field::new("timestamp", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
            Field::new("timestamp_type", DataType::Int32, false),
            Field::new("key", DataType::Binary, true),
            Field::new("value", DataType::Binary, true),
            Field::new("headers", DataType::List(Arc::new(header_item())), false),
        ]))
    });
    SCHEMA.clone()
}
