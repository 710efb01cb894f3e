//! Who owns the lake: `_landfall/owner/<n>.json`, of which the highest number counts.

use std::fmt;
use std::sync::Arc;

use futures::TryStreamExt;
use landfall_lake::Lake;
use serde::{Deserialize, Serialize};

use super::document::{self, establish, point};
use super::layouts::Layouts;
use super::{Origin, OriginError, paths};
use crate::ambient;
use crate::checkpoint::lake::{names, newest_tree};
use crate::checkpoint::state::Format;
use crate::checkpoint::{CheckpointStore, LakeStore, Seat};

/// What an owner says of itself, so that a refused process can tell a person where to look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerAbout {
    pub host: String,
    /// The directory of the store, or another name of where it is.
    pub path: String,
    /// The release that claimed the lake.
    pub version: String,
}

#[derive(Serialize, Deserialize)]
struct HandedOver {
    format: Format,
}

/// One owner object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub format: Format,
    pub number: u64,
    /// The lake's own id: the same in every owner object of a lake.
    pub lake: String,
    /// Kind and id of the checkpoint store.
    pub kind: String,
    pub store: String,
    /// The id of the store whose records this one took over as they were: a migration that may be under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(flatten)]
    pub about: OwnerAbout,
    pub since_ms: i64,
}

impl Owner {
    /// What a checkpoint store has to know of it.
    pub fn seat(&self) -> Seat {
        let Owner { number, kind, store, lake, .. } = self.clone();
        Seat { number, kind, store, lake }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OwnerAbout { host, path, version } = &self.about;
        write!(f, "{} store {} at {path} on host {host}, since ", self.kind, self.store)?;
        match jiff::Timestamp::from_millisecond(self.since_ms) {
            Ok(since) => write!(f, "{since}")?,
            Err(_) => write!(f, "{} ms", self.since_ms)?,
        }
        write!(f, " (landfall {version}, owner {})", self.number)
    }
}

impl Origin {
    /// Makes `store` the owner of a lake that has none, or finds that it is the owner already. The store's
    /// own id is durable before this is called; the lake's id is remembered by the store at the end.
    pub async fn claim(
        lake: Arc<dyn Lake>,
        store: &dyn CheckpointStore,
        about: OwnerAbout,
    ) -> Result<Origin, OriginError> {
        let remembered = store.lake_id().await?;
        let owner = match newest_owner(lake.as_ref()).await? {
            Some(owner) => owner,
            None => {
                is_that_lake(lake.as_ref(), None, remembered.as_deref())?;
                first_owner(lake.as_ref(), store, about.clone()).await?
            }
        };
        is_that_lake(lake.as_ref(), Some(&owner), remembered.as_deref())?;
        if !store.owns(&owner.seat()) {
            return Err(other_owner(lake.as_ref(), owner, store, &about));
        }
        store.seat(&owner.seat());
        point("birth.after_owner")?;
        if remembered.is_none() {
            store.remember_lake(&owner.lake).await?;
        }
        Ok(Origin::of(lake, owner))
    }

    /// A lake as it is, whoever owns it: for commands that only read.
    pub async fn open(lake: Arc<dyn Lake>) -> Result<Origin, OriginError> {
        match newest_owner(lake.as_ref()).await? {
            Some(owner) => Ok(Origin::of(lake, owner)),
            None => Err(OriginError::NoLake { lake: lake.url().into() }),
        }
    }

    /// Refuses unless the store with this id (`None`: there is none) is the owner. `about` says where it is looked for.
    pub(crate) fn is_of(&self, store: Option<&str>, about: &OwnerAbout) -> Result<(), OriginError> {
        if store == Some(self.owner.store.as_str()) {
            return Ok(());
        }
        let same_place = self.owner.about.host == about.host && self.owner.about.path == about.path;
        Err(owned_by(self.lake.as_ref(), self.owner.clone(), same_place, false))
    }

    /// Refuses unless the lake keeps its checkpoints itself.
    pub(crate) fn is_its_own(&self, about: &OwnerAbout) -> Result<(), OriginError> {
        let store = LakeStore::new(self.lake.clone());
        if store.owns(&self.owner.seat()) {
            return Ok(());
        }
        Err(other_owner(self.lake.as_ref(), self.owner.clone(), &store, about))
    }

    /// The id of a lake, also where the objects that say who owns it are gone.
    pub(crate) async fn lake_id_of(lake: &dyn Lake) -> Result<String, OriginError> {
        match newest_owner(lake).await? {
            Some(owner) => Ok(owner.lake),
            None => id_of_layouts(lake).await,
        }
    }

    /// Makes `store` the owner under a new number, for a rebuild: what a former owner still sends for its own
    /// number lands beside. Only with `take_over` where another store owns the lake.
    pub(crate) async fn own_anew(
        lake: Arc<dyn Lake>,
        store: &dyn CheckpointStore,
        about: OwnerAbout,
        take_over: bool,
    ) -> Result<Origin, OriginError> {
        let remembered = store.lake_id().await?;
        let newest = newest_owner(lake.as_ref()).await?;
        let (number, id) = match newest {
            Some(owner) => {
                is_that_lake(lake.as_ref(), Some(&owner), remembered.as_deref())?;
                if !store.owns(&owner.seat()) {
                    if !take_over {
                        return Err(other_owner(lake.as_ref(), owner, store, &about));
                    }
                    nothing_of_old(store).await?;
                }
                (next_number(&owner)?, owner.lake)
            }
            // The owner's objects were lost; the layouts repeat the lake's id.
            None => {
                let id = id_of_layouts(lake.as_ref()).await?;
                if remembered.as_ref().is_some_and(|remembered| *remembered != id) {
                    is_that_lake(lake.as_ref(), None, remembered.as_deref())?;
                }
                // Trees that a former owner left must not become this one's.
                (newest_tree(lake.as_ref()).await?.unwrap_or(0) + 1, id)
            }
        };
        let own = new_owner(number, id, store, about.clone());
        establish(lake.as_ref(), &paths::owner(number), &own).await?;
        let owner = match newest_owner(lake.as_ref()).await? {
            Some(owner) if owner == own => owner,
            Some(other) => return Err(other_owner(lake.as_ref(), other, store, &about)),
            None => return Err(OriginError::NoLake { lake: lake.url().into() }),
        };
        store.seat(&owner.seat());
        point("rebuild.after_owner")?;
        if remembered.is_none() {
            store.remember_lake(&owner.lake).await?;
        }
        Ok(Origin::of(lake, owner))
    }

    /// Makes `to` the owner under the next number, in the place of `from`, whose records are copied into it next.
    pub(crate) async fn hand_over(
        &self,
        from: &dyn CheckpointStore,
        to: &dyn CheckpointStore,
        about: OwnerAbout,
    ) -> Result<Origin, OriginError> {
        let lake = self.lake.as_ref();
        let number = next_number(&self.owner)?;
        let own = new_owner(number, self.owner.lake.clone(), to, about.clone());
        let own = Owner { from: Some(from.id().into()), ..own };
        establish(lake, &paths::owner(number), &own).await?;
        match newest_owner(lake).await? {
            Some(owner) if owner == own => {
                to.seat(&own.seat());
                point("migrate.after_owner")?;
                Ok(Origin::of(self.lake.clone(), owner))
            }
            Some(other) => Err(other_owner(lake, other, to, &about)),
            None => Err(OriginError::NoLake { lake: lake.url().into() }),
        }
    }

    /// Goes on with a hand-over to this owner that was stopped.
    pub(crate) fn continue_as(self, to: &dyn CheckpointStore) -> Result<Origin, OriginError> {
        let seat = self.owner.seat();
        if !to.owns(&seat) {
            return Err(OriginError::Refused(format!("lake {}: its owner is another kind of store", self.lake.url())));
        }
        to.seat(&seat);
        Ok(self)
    }

    /// Whether the hand-over to this owner has been completed: its records live on here, and those of the store
    /// before are history.
    pub(crate) async fn is_handed_over(&self) -> Result<bool, OriginError> {
        let path = paths::migrated(self.owner.number);
        Ok(document::fetch::<HandedOver>(self.lake.as_ref(), &path).await?.is_some())
    }

    pub(crate) async fn handed_over(&self) -> Result<(), OriginError> {
        let done = HandedOver { format: document::FORMAT };
        establish(self.lake.as_ref(), &paths::migrated(self.owner.number), &done).await.map(drop)
    }

    /// Refuses when another store has become the owner since.
    pub async fn still_owner(&self) -> Result<(), OriginError> {
        match newest_owner(self.lake.as_ref()).await? {
            Some(owner) if owner == self.owner => Ok(()),
            Some(other) => Err(OriginError::OtherOwner {
                lake: self.lake.url().into(),
                owner: Box::new(other),
                hint: String::new(),
                moves: false,
            }),
            None => Err(OriginError::NoLake { lake: self.lake.url().into() }),
        }
    }
}

/// Creates the first owner object and returns the one that counts then, which may be another's.
async fn first_owner(lake: &dyn Lake, store: &dyn CheckpointStore, about: OwnerAbout) -> Result<Owner, OriginError> {
    let born = lake.list(paths::GENESIS, None).await?.try_next().await?.is_some();
    if born || lake.list(names::CHECKPOINTS, None).await?.try_next().await?.is_some() {
        let url = lake.url();
        return Err(OriginError::Refused(format!(
            "lake {url}: streams were born in it, but the object below _landfall/owner/ that says who owns it is gone. \
             Restore it, or run `landfall rebuild`"
        )));
    }
    let own = new_owner(1, ambient::random_id(), store, about);
    establish(lake, &paths::owner(1), &own).await?;
    newest_owner(lake).await?.ok_or_else(|| OriginError::NoLake { lake: lake.url().into() })
}

fn new_owner(number: u64, lake: String, store: &dyn CheckpointStore, about: OwnerAbout) -> Owner {
    let (kind, store) = (store.kind().into(), store.id().into());
    Owner { format: document::FORMAT, number, lake, kind, store, from: None, about, since_ms: ambient::now_ms() }
}

fn next_number(owner: &Owner) -> Result<u64, OriginError> {
    let full = || OriginError::unreadable(&paths::owner(owner.number), "no number is left after it");
    owner.number.checked_add(1).ok_or_else(full)
}

/// A store that owned this lake before another did still has the plans of that time. What the other one has
/// landed since may have other bounds, so executing them would land records twice.
async fn nothing_of_old(store: &dyn CheckpointStore) -> Result<(), OriginError> {
    let streams = store.streams().await?;
    let Some(stream) = streams.first() else {
        return Ok(());
    };
    let (kind, count) = (store.kind(), streams.len());
    Err(OriginError::Refused(format!(
        "the {kind} store has {count} checkpoints already ({stream} …), of a time before the present owner: a lake is \
         taken over with an empty store. Give `checkpoint.path` a new directory"
    )))
}

/// Every layout repeats the id of its lake.
async fn id_of_layouts(lake: &dyn Lake) -> Result<String, OriginError> {
    let layouts = Layouts::default().all(lake).await?;
    let Some(shown) = layouts.first().map(|layout| layout.lake.clone()) else {
        return Err(OriginError::NoLake { lake: lake.url().into() });
    };
    match layouts.iter().find(|layout| layout.lake != shown) {
        None => Ok(shown),
        Some(other) => Err(OriginError::Refused(format!(
            "lake {}: no object below _landfall/owner/ says which lake it is, and its layouts are of the lakes {shown} \
             and {}",
            lake.url(),
            other.lake
        ))),
    }
}

/// The owner object with the highest number; the lower ones are history.
async fn newest_owner(lake: &dyn Lake) -> Result<Option<Owner>, OriginError> {
    let mut entries = lake.list(paths::OWNERS, None).await?;
    let mut newest = None;
    while let Some(entry) = entries.try_next().await? {
        newest = newest.max(paths::parse_owner(&entry.path));
    }
    let Some(number) = newest else {
        return Ok(None);
    };
    let path = paths::owner(number);
    let owner: Owner = match document::fetch(lake, &path).await? {
        Some(owner) => owner,
        None => return Err(OriginError::unreadable(&path, "it was listed, and is gone")),
    };
    if owner.number != number {
        return Err(OriginError::unreadable(&path, format!("it says that its number is {}", owner.number)));
    }
    Ok(Some(owner))
}

fn is_that_lake(lake: &dyn Lake, owner: Option<&Owner>, remembered: Option<&str>) -> Result<(), OriginError> {
    let Some(remembered) = remembered else {
        return Ok(());
    };
    let shown = match owner {
        Some(owner) if owner.lake == remembered => return Ok(()),
        Some(owner) => format!("and this one has lake id {}", owner.lake),
        None => "and this place shows no lake id".into(),
    };
    Err(OriginError::WrongLake { lake: lake.url().into(), remembered: remembered.into(), shown })
}

fn other_owner(lake: &dyn Lake, owner: Owner, store: &dyn CheckpointStore, about: &OwnerAbout) -> OriginError {
    let same_place = owner.about.host == about.host && owner.about.path == about.path && owner.kind == store.kind();
    let moves = owner.kind == "sled" && store.kind() == names::KIND;
    owned_by(lake, owner, same_place, moves)
}

fn owned_by(lake: &dyn Lake, owner: Owner, same_place: bool, moves: bool) -> OriginError {
    let hint = if same_place {
        " The host and the path are those of this store: the one that was there has been deleted or replaced."
    } else {
        ""
    };
    OriginError::OtherOwner { lake: lake.url().into(), owner: Box::new(owner), hint: hint.into(), moves }
}
