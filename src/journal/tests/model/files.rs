//! What happens to files while nothing runs, and where frames stand in them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;

use super::actions::Loss;
use super::disk::Unsynced;
use crate::journal::scan::{Found, Scanner};
use crate::journal::segment::{self, SEGMENT_HEADER_BYTES};

/// What a disk writes at once, or not at all.
const SECTOR: u64 = 512;

/// A frame in its file.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) path: PathBuf,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Every whole frame, in order.
pub(super) fn frames(journal: &Path) -> Vec<Frame> {
    let mut frames = Vec::new();
    for (_, path) in segment::list(journal).unwrap() {
        // a journal that runs may have let it go meanwhile
        let Ok(file) = File::open(&path) else {
            continue;
        };
        let length = file.metadata().unwrap().len();
        let mut scanner = Scanner::new(&file, SEGMENT_HEADER_BYTES, length);
        while let Some(found) = scanner.next().unwrap() {
            if let Found::Frame { offset, header } = found {
                frames.push(Frame {
                    path: path.clone(),
                    offset,
                    bytes: header.frame_bytes() as u64,
                    first: header.first.0,
                    last: header.last().0,
                });
            }
        }
    }
    frames
}

/// Flips a bit; false if the journal has let the file go meanwhile.
pub(super) fn flip(path: &Path, at: u64, bit: u64) -> bool {
    let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else {
        return false;
    };
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, at).unwrap();
    true
}

/// Takes what stands behind `from`.
pub(super) fn lose_behind(path: &Path, from: u64, is_cut: bool) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    if is_cut {
        file.set_len(from).unwrap();
    } else {
        zero(&file, from, length);
    }
}

/// Copies a directory, holes as holes: libraries allocate far more than they use.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if let Err(error) = copy_file(&path, &target) {
            // what vanishes meanwhile was temporary
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{}", path.display());
        }
    }
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = File::create(to)?;
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut at = 0;
    while at < length {
        let Ok(data) = rustix::fs::seek(&source, SeekFrom::Data(at)) else {
            break;
        };
        let hole = rustix::fs::seek(&source, SeekFrom::Hole(data))?;
        source.seek(io::SeekFrom::Start(data))?;
        target.seek(io::SeekFrom::Start(data))?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut source)
            .take(hole - data)
            .read_to_end(&mut bytes)?;
        target.write_all(&bytes)?;
        at = hole;
    }
    Ok(())
}

/// The names of the files with their inodes, to find in a copy what was written to the original.
pub(super) fn inodes(dir: &Path) -> Vec<(u64, PathBuf)> {
    fs::read_dir(dir)
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.unwrap();
            Some((entry.metadata().ok()?.ino(), entry.file_name().into()))
        })
        .collect()
}

/// Takes from a file what a power loss takes.
pub(super) fn lose(path: &Path, unsynced: Unsynced, loss: &Loss) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let Unsynced { at, bytes, .. } = unsynced;
    match loss {
        Loss::Nothing => {}
        Loss::Behind { thousandth, is_cut } => {
            let from = at + bytes * thousandth / 1000;
            if *is_cut {
                file.set_len(from).unwrap();
            } else {
                zero(&file, from, at + bytes);
            }
        }
        Loss::Sectors(bits) => {
            let mut from = at;
            for nth in 0.. {
                let to = ((from / SECTOR + 1) * SECTOR).min(at + bytes);
                if bits >> (nth % 64) & 1 == 1 {
                    zero(&file, from, to);
                }
                from = to;
                if from >= at + bytes {
                    break;
                }
            }
        }
    }
}

fn zero(file: &File, from: u64, to: u64) {
    let length = usize::try_from(to - from).unwrap();
    file.write_all_at(&vec![0; length], from).unwrap();
}

/// Overwrites a few bytes in files of the directory.
pub(super) fn damage(dir: &Path, seed: u64) {
    let mut files: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for (nth, path) in files.iter().enumerate() {
        if path.is_dir() {
            damage(path, seed.rotate_left(7));
        } else if seed >> (nth % 64) & 1 == 1 {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            let end = rustix::fs::seek(&file, SeekFrom::End(0)).unwrap();
            let used = end.min(4096);
            if used > 0 {
                file.write_all_at(&[0xA5; 3], seed.rotate_left(13) % used)
                    .unwrap();
            }
        }
    }
}
