//! A lake that throws data away: what landing costs without the store. Only this program can make one.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use landfall_lake::{Created, Lake, LakeError, LocalLake, Staged};

use crate::rig::elsewhere::Elsewhere;

/// Beside the real lake of the same directory, which keeps what is not data.
pub fn lake(root: &Path) -> Result<Arc<dyn Lake>, LakeError> {
    std::fs::create_dir_all(root).map_err(|error| LakeError::not_done(root.display().to_string(), error))?;
    Ok(Arc::new(Elsewhere::new(LocalLake::open_to_read(root, 1)?, || Box::new(Nowhere))))
}

struct Nowhere;

#[async_trait]
impl Staged for Nowhere {
    fn write(&mut self, _bytes: &[u8]) -> Result<(), LakeError> {
        Ok(())
    }

    async fn publish(&mut self, _path: &str) -> Result<Created, LakeError> {
        Ok(Created::Created)
    }
}
