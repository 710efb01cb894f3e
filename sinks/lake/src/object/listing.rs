//! Listings, page by page: complete and in order, or an error.

use std::collections::VecDeque;

use futures::stream::{self, Stream};
use object_store::ObjectMeta;
use object_store::list::PaginatedListOptions;

use super::Inner;
use super::asking::deadline;
use super::reading::tag;
use crate::{Entry, LakeError};

/// Where a listing stands.
struct Pages {
    prefix: String,
    after: Option<String>,
    /// Of the next page; `None` before the first one.
    token: Option<String>,
    ended: bool,
    /// The last path that was shown.
    last: String,
    ready: VecDeque<Entry>,
}

impl Inner {
    /// The entries below a directory, after a path. The first page is asked for before this returns.
    pub(super) async fn entries<'a>(
        &'a self,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<impl Stream<Item = Result<Entry, LakeError>> + Send + use<'a>, LakeError> {
        let below = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        // A path before the directory would start the listing too early, and be no harm; one behind it ends it.
        let after = after.filter(|after| !after.is_empty()).map(str::to_owned);
        let mut pages =
            Pages { prefix: below, after, token: None, ended: false, last: String::new(), ready: VecDeque::new() };
        self.page(&mut pages).await?;
        Ok(stream::try_unfold(pages, move |mut pages| async move {
            while pages.ready.is_empty() && !pages.ended {
                self.page(&mut pages).await?;
            }
            Ok(pages.ready.pop_front().map(|entry| (entry, pages)))
        }))
    }

    async fn page(&self, pages: &mut Pages) -> Result<(), LakeError> {
        let prefix = format!("{}{}", self.prefix, pages.prefix);
        let ask = || {
            let options = PaginatedListOptions {
                offset: pages.after.as_ref().map(|after| format!("{}{after}", self.prefix)),
                page_token: pages.token.clone(),
                ..PaginatedListOptions::default()
            };
            let prefix = Some(prefix.as_str()).filter(|prefix| !prefix.is_empty());
            self.once(deadline(0), self.store.list_paginated(prefix, options))
        };
        let whole = || LakeError::not_done(&prefix, "there is nothing that could be listed: is the bucket there?");
        let page = self.asked(&prefix, ask).await?.ok_or_else(whole)?;
        for object in page.result.objects {
            self.take(pages, object)?;
        }
        if page.page_token.is_some() && page.page_token == pages.token {
            return Err(LakeError::not_done(&prefix, "the store shows the same page of a listing again and again"));
        }
        pages.ended = page.page_token.is_none();
        pages.token = page.page_token;
        Ok(())
    }

    fn take(&self, pages: &mut Pages, object: ObjectMeta) -> Result<(), LakeError> {
        let size = object.size;
        let path =
            object.location.as_ref().strip_prefix(self.prefix.as_str()).filter(|path| path.starts_with(&pages.prefix));
        // A marker that some tools make for a directory is shown without its slash: it is no object of a lake.
        let Some(path) = path else { return Ok(()) };
        if pages.after.as_deref().is_some_and(|after| path <= after) {
            return Ok(());
        }
        if path <= pages.last.as_str() {
            if size == 0 {
                return Ok(());
            }
            let message =
                format!("the store lists {path} after {}: nothing is certain that follows from it", pages.last);
            return Err(LakeError::refused(&self.url, message));
        }
        pages.last = path.to_owned();
        pages.ready.push_back(Entry { path: path.to_owned(), size, tag: tag(object.e_tag.as_deref()) });
        Ok(())
    }
}
