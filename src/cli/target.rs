//! Where a command's file goes: one that is whole or not there, or straight into what is no file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::tools::simulate::ctrl_c;

/// Dropped before it is finished, it leaves no file, and what was there before as it was.
pub(super) enum Target {
    /// Standard output, a device, a pipe: it has what was written as it was written.
    Straight(Box<dyn Write + Send>),
    /// A file, of its owner alone, that gets its name when it is whole.
    File {
        file: File,
        making: PathBuf,
        path: PathBuf,
        is_whole: bool,
    },
}

/// Where it is to go.
pub(super) enum Place {
    /// Open already: to open a pipe takes until somebody reads it.
    Straight(Box<dyn Write + Send>),
    /// There will be a file.
    File(PathBuf),
}

impl Place {
    /// Standard output, or what is at this path: a link stays one, and leads to the new file.
    pub(super) fn of(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Self::Straight(Box::new(io::stdout())));
        };
        let named = || path.display().to_string();
        let there = match fs::metadata(path) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
                return Ok(Self::File(path.to_owned()));
            }
            Err(error) => return Err(error).with_context(named),
        };
        anyhow::ensure!(
            !there.is_dir(),
            "{}: it is a directory, name a file in it",
            named()
        );
        if there.is_file() {
            return Ok(Self::File(fs::canonicalize(path).with_context(named)?));
        }
        // to put a file into its place would take away what others need
        let open = OpenOptions::new().write(true).open(path);
        Ok(Self::Straight(Box::new(open.with_context(named)?)))
    }

    /// What `write` makes of it, whole; a signal ends it, and then there is no file.
    ///
    /// # Errors
    /// Of `write`, of the file, or the signal.
    pub(super) async fn written<T>(
        self,
        write: impl AsyncFnOnce(&mut Target) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let is_file = matches!(self, Self::File(_));
        let writing = async {
            let mut target = self.begin()?;
            let told = write(&mut target).await?;
            target.finish()?;
            anyhow::Ok(told)
        };
        tokio::select! {
            biased;
            // heard before the file is begun: half of one is taken away again
            () = ctrl_c(), if is_file => anyhow::bail!("ended by a signal, nothing was exported"),
            done = writing => done,
        }
    }

    /// Ready to be written to.
    fn begin(self) -> anyhow::Result<Target> {
        let path = match self {
            Self::Straight(out) => return Ok(Target::Straight(out)),
            Self::File(path) => path,
        };
        // a name of our own: two that write to one file don't mix, the last one whole stays
        let mut making = path.as_os_str().to_owned();
        making.push(format!(".{}.part", std::process::id()));
        let making = PathBuf::from(making);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&making)
            .with_context(|| making.display().to_string())?;
        Ok(Target::File {
            file,
            making,
            path,
            is_whole: false,
        })
    }
}

impl Target {
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Self::Straight(out) => out.write_all(piece),
            Self::File { file, .. } => file.write_all(piece),
        }
    }

    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        match &mut self {
            Self::Straight(out) => out.flush()?,
            Self::File {
                file,
                making,
                path,
                is_whole,
            } => {
                file.sync_all()?;
                fs::rename(making, &*path).with_context(|| path.display().to_string())?;
                *is_whole = true;
            }
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Self::File {
            making,
            is_whole: false,
            ..
        } = self
        {
            // half a file is none
            let _ = fs::remove_file(making);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn begin(path: &Path) -> anyhow::Result<Target> {
        Place::of(Some(path))?.begin()
    }

    fn written(path: &Path) {
        let mut target = begin(path).unwrap();
        target.write(b"all ").unwrap();
        target.write(b"of it").unwrap();
        target.finish().unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let all = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = all
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.csv");
        fs::write(&path, "before").unwrap();

        let mut target = begin(&path).unwrap();
        target.write(b"half").unwrap();
        let meanwhile = fs::read_to_string(&path).unwrap();
        drop(target);
        let after = fs::read_to_string(&path).unwrap();
        written(&path);

        assert_eq!((&*meanwhile, &*after), ("before", "before"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "all of it");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(names(dir.path()), ["out.csv"]);
    }

    #[test]
    fn a_link_stays_one_and_leads_to_the_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "before").unwrap();
        symlink(&file, &link).unwrap();

        written(&link);

        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "all of it");
        fs::remove_file(&file).unwrap();
        assert!(begin(&link).is_err(), "it leads nowhere");
        assert_eq!(names(dir.path()), ["link"]);
    }

    #[test]
    fn a_pipe_is_written_into_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).unwrap()
        });

        written(&pipe);

        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
        assert_eq!(reader.join().unwrap(), "all of it");
        assert_eq!(names(dir.path()), ["pipe"]);
    }

    #[test]
    fn a_directory_is_told_as_one() {
        let dir = tempfile::tempdir().unwrap();

        let told = begin(dir.path()).err().unwrap().to_string();

        assert!(
            told.ends_with("it is a directory, name a file in it"),
            "{told}"
        );
    }
}
