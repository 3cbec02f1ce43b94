//! A file system so small that a test can fill it.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

const DISK_BYTES: u64 = 96 << 20;

/// A small disk; unmounted when it is dropped.
pub struct SmallDisk {
    mounted_at: PathBuf,
    /// Gone with this.
    #[allow(dead_code, reason = "it is dropped")]
    dir: TempDir,
}

impl SmallDisk {
    /// In memory. Nothing, with one line, where mounting is refused.
    pub fn in_memory() -> Option<Self> {
        Self::in_memory_of(DISK_BYTES)
    }

    /// As [`SmallDisk::in_memory`], of this size.
    pub fn in_memory_of(bytes: u64) -> Option<Self> {
        Self::mounted(|_| {
            let size = format!("size={bytes}");
            Ok(["-t", "tmpfs", "-o", &size, "tmpfs"]
                .map(Into::into)
                .to_vec())
        })
    }

    /// As [`SmallDisk::in_memory`], for so many files and directories: it is full of them
    /// whatever it says is free.
    pub fn in_memory_of_files(files: usize) -> Option<Self> {
        Self::mounted(|_| {
            let size = format!("size={DISK_BYTES},nr_inodes={files}");
            Ok(["-t", "tmpfs", "-o", &size, "tmpfs"]
                .map(Into::into)
                .to_vec())
        })
    }

    /// As disks are: an ext4 image, of which nothing is reserved. Nothing, with one line, where mounting is refused.
    pub fn ext4() -> Option<Self> {
        Self::mounted(|dir| {
            let image = dir.join("disk");
            let made = File::create(&image).and_then(|file| file.set_len(DISK_BYTES));
            made.map_err(|error| error.to_string())?;
            said(
                Command::new("mkfs.ext4")
                    .args(["-q", "-m", "0"])
                    .arg(&image),
            )?;
            Ok(vec!["-o".into(), "loop".into(), image.into()])
        })
    }

    fn mounted(words: impl FnOnce(&Path) -> Result<Vec<OsString>, String>) -> Option<Self> {
        let dir = TempDir::with_prefix("mimamori-full-").unwrap();
        let mounted_at = dir.path().join("mounted");
        fs::create_dir(&mounted_at).unwrap();
        let mounted = words(dir.path())
            .and_then(|words| said(Command::new("mount").args(words).arg(&mounted_at)));
        if let Err(reason) = mounted {
            // past the capture of a test that passes: who reads the run is to know
            let line = format!("a full disk was not tried, mounting is refused here: {reason}\n");
            io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        }
        Some(Self { mounted_at, dir })
    }

    /// Where the server has its files.
    pub fn data(&self) -> PathBuf {
        self.mounted_at.join("data")
    }

    /// The file system itself, which other users may look into.
    pub fn open_to_all(&self) -> &Path {
        let all_read = Permissions::from_mode(0o755);
        fs::set_permissions(self.dir.path(), all_read).unwrap();
        &self.mounted_at
    }

    /// Leaves so many bytes.
    pub fn fill_but(&self, bytes: usize) -> PathBuf {
        let kept = self.mounted_at.join("kept");
        fs::write(&kept, vec![b'x'; bytes]).unwrap();
        let path = self.mounted_at.join("of-another-process");
        let mut filler = File::create(&path).unwrap();
        for _ in 0..3 {
            write_until_full(&mut filler);
        }
        fs::remove_file(kept).unwrap();
        path
    }

    /// A file that takes everything that is free, and all that becomes free, until it is removed.
    pub fn fill(&self) -> Filler {
        let path = self.mounted_at.join("of-another-process");
        let is_over = Arc::new(AtomicBool::new(false));
        let (into, over) = (path.clone(), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            let mut file = File::create(into).unwrap();
            while !over.load(Ordering::SeqCst) {
                write_until_full(&mut file);
                thread::sleep(Duration::from_millis(2));
            }
        });
        Filler {
            path,
            is_over,
            thread: Some(thread),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // gone from the tree at once, even if something that was killed has yet to close its files
        let unmounted = said(Command::new("umount").arg("--lazy").arg(&self.mounted_at));
        assert!(unmounted.is_ok() || thread::panicking(), "{unmounted:?}");
    }
}

fn said(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn write_until_full(file: &mut File) {
    for bytes in [1 << 20, 4096, 1] {
        let chunk = vec![b'x'; bytes];
        loop {
            match file.write(&chunk) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// The other process.
pub struct Filler {
    path: PathBuf,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Filler {
    /// Everything that it took is free again.
    pub fn give_back(mut self) {
        self.end().unwrap();
        fs::remove_file(&self.path).unwrap();
    }

    fn end(&mut self) -> thread::Result<()> {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // nobody gave back: a test ends early, and says why itself
        let _ = self.end();
    }
}
