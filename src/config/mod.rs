//! What a person configures: one TOML file, the environment, or a program's builder.
//!
//! [`Config`] is the plain typed result. [`Config::load`] reads a file: an unknown key, a wrong type, a variable
//! that is not set are errors with line and column and the nearest known key, all of them at once. [`keys`] is the
//! one list of every setting; `docs/configuration.md` and `landfall.example.toml` are made from it.

mod check;
mod env;
mod error;
mod interpolate;
pub mod keys;
mod lake_url;
mod load;
mod properties;
mod read;
pub mod reference;
mod settings;
mod suggest;
#[cfg(test)]
mod tests;
mod topics;
pub mod units;
mod value;

pub use env::Env;
pub use error::{ConfigError, Place, Problem, ProblemKind};
pub use lake_url::{LakeUrl, LakeUrlError};
pub use properties::{Properties, is_secret};
pub use settings::{
    Assignment, CheckpointSettings, Codec, Config, Format, Kafka, LakeSettings, Limits, Mode, OnGap, Parquet, Roll,
    Source, Start, StoreKind,
};
pub use topics::{TopicPattern, TopicSelector, check_name as check_topic_name, is_internal};
