//! `_landfall/layouts/<digest>.json`: every layout that a plan of this lake was ever frozen with.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt;
use landfall_lake::Lake;
use landfall_sink::Layout;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::document::{self, establish};
use super::{Origin, OriginError, paths};
use crate::checkpoint::state::Format;

#[derive(Serialize, Deserialize)]
struct Document {
    format: Format,
    layout: Layout,
}

/// The layouts that were read or recorded in this process, by digest.
#[derive(Default)]
pub(crate) struct Layouts {
    known: Mutex<BTreeMap<String, Arc<Layout>>>,
    /// Set once all that stood in the lake were read.
    listed: std::sync::atomic::AtomicBool,
}

impl Origin {
    /// Records a layout before the first plan that uses it; returns its digest.
    pub async fn record_layout(&self, layout: &Layout) -> Result<String, OriginError> {
        if layout.lake != self.lake_id() {
            return Err(OriginError::Refused(format!(
                "a layout of lake {} cannot be used in lake {}",
                layout.lake,
                self.lake_id()
            )));
        }
        let digest = layout.digest();
        let mut known = self.layouts.known.lock().await;
        if known.contains_key(&digest) {
            return Ok(digest);
        }
        let path = paths::layout(&digest);
        let own = Document { format: document::FORMAT, layout: layout.clone() };
        if let Some(stands) = establish(self.lake.as_ref(), &path, &own).await?
            && stands.layout != own.layout
        {
            return Err(OriginError::unreadable(&path, "it holds another layout than its name says"));
        }
        known.insert(digest.clone(), Arc::new(layout.clone()));
        Ok(digest)
    }

    /// The layout that a plan was frozen with.
    pub async fn layout(&self, digest: &str) -> Result<Arc<Layout>, OriginError> {
        let mut known = self.layouts.known.lock().await;
        if let Some(layout) = known.get(digest) {
            return Ok(layout.clone());
        }
        let layout = read(self.lake.as_ref(), digest).await?;
        known.insert(digest.into(), layout.clone());
        Ok(layout)
    }

    /// Every layout of this lake, as of now.
    pub async fn layouts(&self) -> Result<Vec<Arc<Layout>>, OriginError> {
        self.layouts.all(self.lake.as_ref()).await
    }

    /// Every layout, from memory once they have been listed: what other processes record later is missing.
    pub(crate) async fn layouts_since_start(&self) -> Result<Vec<Arc<Layout>>, OriginError> {
        use std::sync::atomic::Ordering::Relaxed;
        if !self.layouts.listed.load(Relaxed) {
            self.layouts.all(self.lake.as_ref()).await?;
            self.layouts.listed.store(true, Relaxed);
        }
        Ok(self.layouts.known.lock().await.values().cloned().collect())
    }
}

impl Layouts {
    pub(crate) async fn all(&self, lake: &dyn Lake) -> Result<Vec<Arc<Layout>>, OriginError> {
        let mut known = self.known.lock().await;
        let mut entries = lake.list(paths::LAYOUTS, None).await?;
        while let Some(entry) = entries.try_next().await? {
            let Some(digest) = paths::parse_layout(&entry.path) else { continue };
            if !known.contains_key(digest) {
                let layout = read(lake, digest).await?;
                known.insert(digest.into(), layout);
            }
        }
        Ok(known.values().cloned().collect())
    }
}

async fn read(lake: &dyn Lake, digest: &str) -> Result<Arc<Layout>, OriginError> {
    let path = paths::layout(digest);
    let Some(found) = document::fetch::<Document>(lake, &path).await? else {
        return Err(OriginError::unreadable(&path, "this layout of a plan is gone"));
    };
    if found.layout.digest() != digest {
        return Err(OriginError::unreadable(&path, "it holds another layout than its name says"));
    }
    Ok(Arc::new(found.layout))
}
