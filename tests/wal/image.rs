//! Small file systems of their own, in images in memory: they can lose their power, run full, and stand on a disk that
//! fails. Only root may mount them; where that is not so the tests say that they were skipped.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::tool::say;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
        }
    }

    /// The least that its mkfs accepts, and some room.
    fn bytes(self) -> u64 {
        match self {
            Kind::Ext4 => 64 << 20,
            Kind::Xfs => 320 << 20,
        }
    }
}

/// A mount, undone when it is dropped, also by a panic.
#[derive(Debug)]
pub struct Mount {
    pub at: PathBuf,
}

impl Mount {
    pub fn tmpfs(at: &Path, bytes: u64) -> Result<Mount, String> {
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(at))?;
        Ok(Mount { at: at.into() })
    }

    fn image(kind: Kind, image: &Path, at: &Path, options: &str) -> Result<Mount, String> {
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        let options = format!("loop{options}");
        run(Command::new("mount").args(["-t", kind.name(), "-o", &options]).arg(image).arg(at))?;
        Ok(Mount { at: at.into() })
    }

    /// Until not one byte more fits.
    pub fn fill(&self) {
        self.leave(64 << 10);
        let mut other = File::options().append(true).open(self.other()).expect("a file");
        while other.write_all(&[0x55; 4096]).and_then(|()| other.sync_data()).is_ok() {}
    }

    /// Somebody else takes all but so many bytes. Before a log is there: what is freed later is then enough to go on with,
    /// however far the log gets while the machine has no time for the test.
    pub fn leave(&self, bytes: u64) {
        let other = File::options().create(true).append(true).open(self.other()).expect("a file");
        let taken = other.metadata().expect("a file").len();
        let stat = rustix::fs::statvfs(&self.at).expect("room");
        let more = (stat.f_bavail * stat.f_frsize).saturating_sub(bytes);
        if more > 0 {
            let _ = rustix::fs::fallocate(&other, rustix::fs::FallocateFlags::empty(), taken, more);
        }
    }

    /// Deletes what filled it.
    pub fn free(&self) {
        std::fs::remove_file(self.other()).expect("the file that filled the disk");
    }

    fn other(&self) -> PathBuf {
        self.at.join("somebody-else")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A process that was killed may hold it for a moment.
        for _ in 0..200 {
            if run(Command::new("umount").arg(&self.at)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = run(Command::new("umount").arg("-l").arg(&self.at));
    }
}

/// A file system on a loop device over an image in memory.
pub struct Image {
    kind: Kind,
    path: PathBuf,
    options: &'static str,
    mount: Option<Mount>,
    // The order matters: what the image lies on goes last.
    memory: Mount,
    _directory: tempfile::TempDir,
}

impl Image {
    /// `None`, and a word about it, where this machine or user cannot have one.
    pub fn new(kind: Kind) -> Option<Image> {
        Image::on(kind, kind.bytes() + (16 << 20), kind.bytes(), &[], "")
    }

    /// An image of `bytes` on a memory that holds only `memory` of them.
    pub fn on(kind: Kind, memory: u64, bytes: u64, mkfs: &[&str], options: &'static str) -> Option<Image> {
        match Image::make(kind, memory, bytes, mkfs, options) {
            Ok(image) => Some(image),
            Err(why) => {
                say(&format!("skipped: no {} image on a loop device: {why}", kind.name()));
                None
            }
        }
    }

    fn make(kind: Kind, memory: u64, bytes: u64, mkfs: &[&str], options: &'static str) -> Result<Image, String> {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(|error| error.to_string())?;
        let memory = Mount::tmpfs(&directory.path().join("memory"), memory)?;
        let path = memory.at.join("image");
        let made = File::create(&path).and_then(|file| file.set_len(bytes));
        made.map_err(|error| error.to_string())?;
        let quiet: &[&str] = match kind {
            Kind::Ext4 => &["-q", "-F"],
            Kind::Xfs => &["-q", "-f"],
        };
        run(Command::new(format!("mkfs.{}", kind.name())).args(quiet).args(mkfs).arg(&path))?;
        let mut image = Image { kind, path, options, mount: None, memory, _directory: directory };
        image.mount()?;
        Ok(image)
    }

    fn mount(&mut self) -> Result<(), String> {
        let at = self.path.with_file_name("mounted");
        let mount = Mount::image(self.kind, &self.path, &at, self.options)?;
        write_by_pages(&mount.at)?;
        self.mount = Some(mount);
        Ok(())
    }

    pub fn at(&self) -> &Path {
        &self.mounted().at
    }

    pub fn mounted(&self) -> &Mount {
        self.mount.as_ref().expect("a mounted image")
    }

    /// The memory that the image lies on gets another size.
    pub fn resize_memory(&self, bytes: u64) {
        let options = format!("remount,size={bytes}");
        run(Command::new("mount").args(["-o", &options]).arg(&self.memory.at)).expect("another size");
    }

    /// Everything that was not synced is gone from now on, and every call fails. `log_flushed`: the journal is
    /// written out first, without the data that it speaks of.
    pub fn cut_power(&self, log_flushed: bool) {
        let directory = File::open(self.at()).expect("the mount");
        let how: u32 = if log_flushed { 1 } else { 2 };
        const FS_IOC_SHUTDOWN: libc::Ioctl = 0x8004_587d_u32 as libc::Ioctl;
        // SAFETY: the call reads one u32, which lives until it returns.
        #[allow(unsafe_code)]
        let answer = unsafe { libc::ioctl(directory.as_raw_fd(), FS_IOC_SHUTDOWN, &how) };
        assert_eq!(answer, 0, "the file system cannot be shut down: {}", std::io::Error::last_os_error());
    }

    /// As after a boot: everything that was cached is read from the image again.
    pub fn mount_again(&mut self) {
        self.mount = None;
        let started = Instant::now();
        while let Err(why) = self.mount() {
            assert!(started.elapsed() < Duration::from_secs(20), "the image cannot be mounted again: {why}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A loop device takes a write of several pages for done when the file below it took only some of them: it would lie
/// about a disk that is full. A request of one page is written or fails.
fn write_by_pages(at: &Path) -> Result<(), String> {
    let mounts = std::fs::read_to_string("/proc/mounts").map_err(|error| error.to_string())?;
    let at = at.display().to_string();
    let device = mounts.lines().rev().find(|line| line.split(' ').nth(1) == Some(&at));
    let name = device.and_then(|line| line.split(' ').next()?.strip_prefix("/dev/")).ok_or("no loop device")?;
    let most = format!("/sys/block/{name}/queue/max_sectors_kb");
    std::fs::write(&most, "4").map_err(|error| format!("{most}: {error}"))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
    if output.status.success() { Ok(()) } else { Err(format!("{:?}: {said}", command.get_program())) }
}
