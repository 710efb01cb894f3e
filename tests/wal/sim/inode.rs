//! One file of the simulated disk: what the running system reads, what would survive a power cut, and what lies between.

use std::collections::BTreeMap;

use rand::Rng;
use rand::rngs::StdRng;

pub const SECTOR: usize = 512;
pub const BLOCK: usize = 4096;
pub type Sector = [u8; SECTOR];

#[derive(Clone, Default)]
pub struct Inode {
    pub seen: Vec<u8>,
    pub stored: Vec<u8>,
    /// Every version of a sector that was written since the last sync, oldest first. A cut may leave any of them.
    pub unsynced: BTreeMap<usize, Vec<Sector>>,
    /// Lengths that were set and not synced.
    pub lengths: Vec<usize>,
}

impl Inode {
    pub fn of(bytes: Vec<u8>) -> Inode {
        Inode { seen: bytes.clone(), stored: bytes, ..Inode::default() }
    }

    pub fn write(&mut self, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        self.seen[at..end].copy_from_slice(bytes);
        for sector in at / SECTOR..end.div_ceil(SECTOR) {
            let now = self.sector(sector);
            self.unsynced.entry(sector).or_default().push(now);
        }
    }

    fn sector(&self, sector: usize) -> Sector {
        let mut bytes = [0; SECTOR];
        let from = sector * SECTOR;
        let len = self.seen.len().saturating_sub(from).min(SECTOR);
        bytes[..len].copy_from_slice(&self.seen[from..from + len]);
        bytes
    }

    pub fn set_len(&mut self, len: usize) {
        self.seen.resize(len, 0);
        self.lengths.push(len);
        self.unsynced.retain(|sector, _| sector * SECTOR < len);
    }

    /// What fdatasync owes: the data, and a length that lets it be read. A length beyond that stays unsynced.
    pub fn sync_data(&mut self) {
        if self.lengths.iter().any(|len| *len < self.stored.len()) {
            return self.sync_all();
        }
        for (sector, versions) in std::mem::take(&mut self.unsynced) {
            let Some(last) = versions.last() else { continue };
            let end = ((sector + 1) * SECTOR).min(self.seen.len());
            if self.stored.len() < end {
                self.stored.resize(end, 0);
            }
            put(&mut self.stored, sector, last);
        }
    }

    pub fn sync_all(&mut self) {
        self.stored.clone_from(&self.seen);
        self.unsynced.clear();
        self.lengths.clear();
    }

    /// What a failed writeback does on Linux: some of the pages are written, all of them are clean from then on.
    pub fn lose_unsynced(&mut self, rng: &mut StdRng) {
        for (sector, versions) in std::mem::take(&mut self.unsynced) {
            if let Some(last) = versions.last()
                && rng.random_bool(0.3)
            {
                put(&mut self.stored, sector, last);
            }
        }
    }

    /// The file after a power cut. `chance` is that of each unsynced sector to have been written.
    pub fn after_cut(&self, rng: &mut StdRng, chance: f64) -> Vec<u8> {
        let mut image = self.stored.clone();
        let lengths =
            if rng.random_bool(chance) { self.lengths.len() } else { rng.random_range(0..=self.lengths.len()) };
        self.lengths[..lengths].iter().for_each(|len| image.resize(*len, 0));
        for (sector, versions) in &self.unsynced {
            if rng.random_bool(chance) {
                put(&mut image, *sector, &versions[rng.random_range(0..versions.len())]);
            }
        }
        image
    }
}

/// A sector lands in a file as far as the file goes.
pub fn put(image: &mut [u8], sector: usize, bytes: &Sector) {
    let from = sector * SECTOR;
    let len = image.len().saturating_sub(from).min(SECTOR);
    if len > 0 {
        image[from..from + len].copy_from_slice(&bytes[..len]);
    }
}
