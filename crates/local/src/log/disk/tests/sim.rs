//! Files in memory that do what disks do: lose what was not synced, sector by sector, and fail at any call. Everything
//! follows from a seed.

use crate::log::disk::files::{File, Files};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use trellis_conformance::leases::Random;

const SECTOR: usize = 512;

/// What goes wrong, in percent of the calls that it can befall.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Odds {
    /// A write takes a part and says so.
    pub(super) short: u64,
    /// A write takes a part and fails: the disk is full, or broken.
    pub(super) write: u64,
    /// A sync fails. Some of what was written is on disk, the rest never will be, and the next sync succeeds.
    pub(super) sync: u64,
    /// Making, removing, cutting off or syncing names fails.
    pub(super) name: u64,
}

/// A disk whose promises are not kept, to see that the checks find it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    None,
    /// Syncing a file does nothing.
    Data,
    /// Syncing names does nothing.
    Names,
}

#[derive(Default)]
struct Contents {
    /// What a read sees.
    view: Vec<u8>,
    /// What is on disk.
    disk: Vec<u8>,
    /// Sectors of the view that the next sync has to write.
    dirty: BTreeSet<usize>,
}

type Shared = Arc<Mutex<Contents>>;

struct World {
    names: BTreeMap<String, Shared>,
    durable: BTreeMap<String, Shared>,
    /// Removed since names were synced the last time, however shortly they were there: they may come back.
    removed: BTreeMap<String, Shared>,
    random: Random,
    odds: Odds,
    lie: Lie,
    /// Calls until every call fails, as when the machine stops.
    stop_after: Option<u64>,
    locked: Arc<()>,
}

/// See the module.
#[derive(Clone)]
pub(super) struct Sim(Arc<Mutex<World>>);

struct SimFile {
    contents: Shared,
    world: Arc<Mutex<World>>,
}

fn broken() -> io::Error {
    io::Error::other("injected")
}

impl World {
    /// Counts a call; fails when the machine has stopped.
    fn call(&mut self) -> io::Result<()> {
        match &mut self.stop_after {
            Some(0) => Err(io::Error::other("stopped")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn fails(&mut self, percent: u64) -> bool {
        self.random.percent(percent)
    }
}

impl Contents {
    fn touch(&mut self, from: usize, to: usize) {
        self.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
    }

    fn write(&mut self, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        if self.view.len() < end {
            self.view.resize(end, 0);
        }
        self.view[at..end].copy_from_slice(bytes);
        self.touch(at, end);
    }

    /// Writes one sector of the view to the disk.
    fn flush(&mut self, sector: usize) {
        let from = sector * SECTOR;
        let to = (from + SECTOR).min(self.view.len());
        if from < to {
            if self.disk.len() < to {
                self.disk.resize(to, 0);
            }
            self.disk[from..to].copy_from_slice(&self.view[from..to]);
        }
    }

    fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            self.flush(sector);
        }
        self.disk.resize(self.view.len(), 0);
    }

    /// Some of what was not synced reaches the disk, and the rest still can.
    fn write_back(&mut self, random: &mut Random) {
        for sector in self.dirty.clone() {
            if random.percent(70) {
                self.flush(sector);
            }
        }
    }

    /// Any part of what was not synced reaches the disk, and the rest is lost.
    fn lose(&mut self, random: &mut Random) {
        for sector in std::mem::take(&mut self.dirty) {
            if random.percent(50) {
                self.flush(sector);
            }
        }
        if self.disk.len() > self.view.len() && random.percent(50) {
            self.disk.truncate(self.view.len());
        } else if self.disk.len() < self.view.len() && random.percent(50) {
            self.disk.resize(self.view.len(), 0);
        }
    }
}

impl Sim {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World {
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            removed: BTreeMap::new(),
            random: Random::new(seed),
            odds: Odds::default(),
            lie: Lie::None,
            stop_after: None,
            locked: Arc::new(()),
        })))
    }

    pub(super) fn odds(&self, odds: Odds) {
        self.0.lock().odds = odds;
    }

    pub(super) fn lie(&self, lie: Lie) {
        self.0.lock().lie = lie;
    }

    /// Runs `look` with nothing going wrong meanwhile.
    pub(super) fn quietly<T>(&self, look: impl FnOnce() -> T) -> T {
        let (odds, stop_after) = {
            let mut world = self.0.lock();
            (std::mem::take(&mut world.odds), world.stop_after.take())
        };
        let seen = look();
        let mut world = self.0.lock();
        (world.odds, world.stop_after) = (odds, stop_after);
        drop(world);
        seen
    }

    /// Stops the machine after so many more calls.
    pub(super) fn stop_after(&self, calls: u64) {
        self.0.lock().stop_after = Some(calls);
    }

    /// The process is gone and starts again; the system has kept what it had in memory.
    pub(super) fn kill(&self) {
        let mut world = self.0.lock();
        world.stop_after = None;
        world.odds = Odds::default();
    }

    /// The machine stops and starts again.
    pub(super) fn crash(&self) {
        self.kill();
        let mut world = self.0.lock();
        let world = &mut *world;
        // Names made and removed since the last sync may be there or not.
        let names = world.names.clone();
        let made = names
            .keys()
            .filter(|name| !world.durable.contains_key(*name));
        for name in made {
            if world.random.percent(50) {
                world.names.remove(name);
            }
        }
        for (name, contents) in std::mem::take(&mut world.removed) {
            if world.random.percent(50) {
                world.names.entry(name).or_insert(contents);
            }
        }
        world.durable = world.names.clone();
        for contents in world.names.values() {
            let mut contents = contents.lock();
            contents.lose(&mut world.random);
            contents.view = contents.disk.clone();
        }
    }

    /// Changes what is on disk.
    pub(super) fn alter(&self, name: &str, alter: impl FnOnce(&mut Vec<u8>)) {
        let world = self.0.lock();
        let mut contents = world.names[name].lock();
        alter(&mut contents.view);
        contents.disk = contents.view.clone();
    }

    /// Removes a file behind the log's back.
    pub(super) fn forget(&self, name: &str) {
        let mut world = self.0.lock();
        world.names.remove(name);
        world.durable.remove(name);
    }

    /// What is in a file.
    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        self.0.lock().names[name].lock().view.clone()
    }

    /// The same files, apart from these from now on.
    pub(super) fn copy(&self) -> Self {
        let world = self.0.lock();
        let copy = Self::new(1);
        for (name, contents) in &world.names {
            let view = contents.lock().view.clone();
            let contents = Contents {
                disk: view.clone(),
                view,
                dirty: BTreeSet::new(),
            };
            let contents = Arc::new(Mutex::new(contents));
            let mut other = copy.0.lock();
            other.names.insert(name.clone(), contents.clone());
            other.durable.insert(name.clone(), contents);
        }
        copy
    }
}

impl Files for Sim {
    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        let world = self.0.lock();
        if Arc::strong_count(&world.locked) > 1 {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(world.locked.clone()))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut world = self.0.lock();
        world.call()?;
        Ok(world.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut world = self.0.lock();
        world.call()?;
        let odds = world.odds.name;
        if world.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if world.fails(odds) {
            return Err(ErrorKind::StorageFull.into());
        }
        let contents = Shared::default();
        world.names.insert(name.to_owned(), contents.clone());
        Ok(Arc::new(SimFile {
            contents,
            world: self.0.clone(),
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut world = self.0.lock();
        world.call()?;
        let contents = world.names.get(name).cloned().ok_or(ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile {
            contents,
            world: self.0.clone(),
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.0.lock();
        world.call()?;
        let contents = world.names.remove(from).ok_or(ErrorKind::NotFound)?;
        world.names.insert(to.to_owned(), contents);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.0.lock();
        world.call()?;
        let odds = world.odds.name;
        if world.fails(odds) {
            return Err(broken());
        }
        let contents = world.names.remove(name).ok_or(ErrorKind::NotFound)?;
        world.removed.insert(name.to_owned(), contents);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.0.lock();
        world.call()?;
        let odds = world.odds.name;
        if world.fails(odds) {
            return Err(broken());
        }
        if world.lie != Lie::Names {
            world.durable = world.names.clone();
            world.removed.clear();
        }
        Ok(())
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.world.lock().call()?;
        let contents = self.contents.lock();
        let from = usize::try_from(position).unwrap().min(contents.view.len());
        let rest = &contents.view[from..];
        let size = rest.len().min(buffer.len());
        buffer[..size].copy_from_slice(&rest[..size]);
        Ok(size)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        let mut world = self.world.lock();
        world.call()?;
        let odds = world.odds;
        let at = usize::try_from(position).unwrap();
        let part = world.random.index(bytes.len() + 1);
        let mut contents = self.contents.lock();
        if world.random.percent(20) {
            // The system writes what it likes before it is told to.
            contents.write_back(&mut world.random);
        }
        if world.fails(odds.write) {
            // A write may fail although it is done.
            let part = if world.fails(40) { bytes.len() } else { part };
            contents.write(&bytes[..part], at);
            if world.fails(50) {
                contents.write_back(&mut world.random);
            }
            let full = world.random.percent(50);
            return Err(if full {
                ErrorKind::StorageFull.into()
            } else {
                broken()
            });
        }
        let size = if part > 0 && world.fails(odds.short) {
            part
        } else {
            bytes.len()
        };
        contents.write(&bytes[..size], at);
        Ok(size)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        world.call()?;
        let odds = world.odds.name;
        if world.fails(odds) {
            return Err(broken());
        }
        let length = usize::try_from(length).unwrap();
        let mut contents = self.contents.lock();
        contents.view.resize(length, 0);
        let beyond = length.div_ceil(SECTOR);
        contents.dirty.retain(|sector| *sector < beyond);
        contents.touch(length.saturating_sub(1), length);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        self.world.lock().call()?;
        Ok(self.contents.lock().view.len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.world.lock();
        world.call()?;
        let odds = world.odds.sync;
        let mut contents = self.contents.lock();
        if world.fails(odds) {
            contents.lose(&mut world.random);
            return Err(broken());
        }
        if world.lie != Lie::Data {
            contents.sync();
        }
        Ok(())
    }

    fn settle(&self) -> io::Result<()> {
        self.sync_data()?;
        let honest = self.world.lock().lie != Lie::Data;
        let mut contents = self.contents.lock();
        if honest {
            contents.view = contents.disk.clone();
        }
        Ok(())
    }
}
