//! Names that stay, and files that have an end: what several rooms ask of the file system.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// Makes the names in a directory stay, whatever happens to the power.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The text of what is there, a pipe or a device too, if it has at most so many bytes.
pub(crate) fn short_text(path: &Path, most_bytes: u64) -> io::Result<String> {
    text_within(File::open(path)?, most_bytes)
}

/// As [`short_text`], of a file only: whoever made the directory may have put something there that has no end.
pub(crate) fn text_of_file(path: &Path, most_bytes: u64) -> io::Result<String> {
    // or opening a pipe that nobody writes to waits for whoever does
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    text_within(file, most_bytes)
}

fn text_within(file: File, most_bytes: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(most_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most_bytes {
        let reason = format!("it has more than {most_bytes} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text"))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn what_has_no_end_is_read_so_far_and_refused() {
        let endless = short_text(Path::new("/dev/zero"), 4096).unwrap_err();
        let no_file = text_of_file(Path::new("/dev/zero"), 4096).unwrap_err();

        assert_eq!(endless.to_string(), "it has more than 4096 bytes");
        assert_eq!(no_file.to_string(), "it is no file");
    }

    #[test]
    fn a_pipe_that_nobody_writes_to_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();

        let refused = text_of_file(&pipe, 4096).unwrap_err();

        assert_eq!(refused.to_string(), "it is no file");
    }

    #[test]
    fn a_text_as_long_as_may_be_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        std::fs::write(&path, "abcd").unwrap();

        assert_eq!(text_of_file(&path, 4).unwrap(), "abcd");
        assert_eq!(short_text(&path, 4).unwrap(), "abcd");
        assert!(text_of_file(&path, 3).is_err());
    }
}
