//! The few operations on files that the log stands on, so that tests can make each of them fail.

use std::any::Any;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the file that keeps a second daemon away.
const LOCK: &str = "LOCK";

/// One file.
pub(super) trait File: Send + Sync {
    /// Reads from a position on, perhaps less than fits; nothing at the end.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes from a position on, all or, when something is wrong, perhaps a part only; tells how much.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize>;
    /// Cuts it off, or fills it up with zeros.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// How long it is.
    fn length(&self) -> io::Result<u64>;
    /// Makes its contents and its length durable. After a failure nothing is known of what was written since the
    /// last success, and a later success says nothing about it.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes what can be read from here on be what is durable: syncs, and then forgets what the system keeps in memory,
    /// which after a failed sync is not what the disk has.
    fn settle(&self) -> io::Result<()>;
}

/// The files of one folder.
pub(super) trait Files: Send + Sync {
    /// Keeps others away until what is returned is dropped. `WouldBlock` when another has done so.
    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>>;
    /// All names, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a new file; fails when there is one of that name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Opens a file to read it.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name, in place of the one that had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes all changes of names durable.
    fn sync(&self) -> io::Result<()>;
}

/// Reads until the buffer is full or the file ends; tells how much.
pub(super) fn read_up_to(file: &dyn File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, position + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes everything by one call. Half of it is a failure, though more calls might write the rest: the system may write a
/// sector to disk between two calls, and a crash would leave one that is neither as it was nor as it should be, which
/// would be taken for damage. Disks that are not full take all or nothing.
pub(super) fn write_whole(file: &dyn File, bytes: &[u8], position: u64) -> io::Result<()> {
    loop {
        match file.write_at(bytes, position) {
            Ok(written) if written == bytes.len() => return Ok(()),
            Ok(_) => {
                let reason = "the disk took a part of what was written";
                return Err(io::Error::new(ErrorKind::StorageFull, reason));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A folder of the operating system's.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder if need be.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            fs::create_dir_all(path)?;
            // Its own name, durable where it stands.
            if let Some(parent) = path.canonicalize()?.parent() {
                fs::File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self {
            path: path.to_owned(),
        })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Files for Folder {
    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut options = fs::OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(self.at(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(fs::TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?.map(|entry| entry.map(|it| it.file_name()));
        let names = names.collect::<io::Result<Vec<_>>>()?.into_iter();
        // A name that is not text is none of ours.
        Ok(names.filter_map(|name| name.into_string().ok()).collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        let options = options.read(true).write(true).create_new(true);
        Ok(Arc::new(options.open(self.at(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(fs::File::open(self.at(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.at(name))
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }
}

impl File for fs::File {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(self, bytes, position)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn settle(&self) -> io::Result<()> {
        self.sync_data()?;
        #[cfg(target_os = "linux")]
        rustix::fs::fadvise(self, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }
}
