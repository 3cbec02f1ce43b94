//! Secrets as files: made whole or not at all, readable by their owner only.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::Secret;
use super::secret::{from_hex, hex, random_bytes};
use crate::files::sync_dir;

/// Why the secrets could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file system refused.
    #[error("cannot read or write {path}: {source}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else than a secret.
    #[error("{path} must hold {rule}; put it back from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it must hold.
        rule: &'static str,
    },
    /// A node that makes no secrets was not given one.
    #[error(
        "{key} is not set and {path} is not there: a node that only serves consoles needs the secrets of the node with serve.role = \"all\", in its configuration or as copies of those files"
    )]
    NotGiven {
        /// What could be set instead.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The same text would be the admin token and the ingest key.
    #[error("auth.admin_token and auth.ingest_key must differ")]
    OneForTwo,
}

pub(super) fn create_dir(dir: &Path) -> Result<(), KeysError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .and_then(|()| fs::set_permissions(dir, Permissions::from_mode(0o700)))
        .map_err(|source| at(dir, source))
}

/// The secret in this file, made at random if there is no file.
pub(super) fn secret(path: &Path, prefix: &str) -> Result<Secret, KeysError> {
    as_secret(
        path,
        read_or_make(path, || Secret::random(prefix).expose().to_owned())?,
    )
}

/// The secret in this file, which could also be given as this key.
pub(super) fn given_secret(path: &Path, key: &'static str) -> Result<Secret, KeysError> {
    as_secret(path, read_given(path, key)?)
}

fn read_given(path: &Path, key: &'static str) -> Result<String, KeysError> {
    read(path)?.ok_or_else(|| KeysError::NotGiven {
        key,
        path: path.to_owned(),
    })
}

fn as_secret(path: &Path, text: String) -> Result<Secret, KeysError> {
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(KeysError::Damaged {
            path: path.to_owned(),
            rule: "one word",
        });
    }
    Ok(Secret::new(text))
}

/// The 32 bytes in this file, made at random if there is no file.
pub(super) fn key(path: &Path) -> Result<[u8; 32], KeysError> {
    as_key(path, &read_or_make(path, || hex(&random_bytes::<32>()))?)
}

/// The 32 bytes in this file, which could also be given as this key.
pub(super) fn given_key(path: &Path, key: &'static str) -> Result<[u8; 32], KeysError> {
    as_key(path, &read_given(path, key)?)
}

fn as_key(path: &Path, text: &str) -> Result<[u8; 32], KeysError> {
    from_hex(text).ok_or_else(|| KeysError::Damaged {
        path: path.to_owned(),
        rule: "64 hexadecimal digits",
    })
}

fn read_or_make(path: &Path, make: impl FnOnce() -> String) -> Result<String, KeysError> {
    if let Some(text) = read(path)? {
        return Ok(text);
    }
    let text = make();
    match write_new(path, &text) {
        Ok(()) => Ok(text),
        // another start was quicker: its secret is the one on disk, so it is ours too
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read(path)?.ok_or_else(|| at(path, error))
        }
        Err(error) => Err(at(path, error)),
    }
}

fn read(path: &Path) -> Result<Option<String>, KeysError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path, error)),
    };
    tighten(path).map_err(|source| at(path, source))?;
    Ok(Some(text.trim().to_owned()))
}

/// A secret that others could read is made private again, and said.
fn tighten(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(
            file = %path.display(),
            "a file with a secret could be read by others; it is private now"
        );
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let written = write_beside(path, text)?;
    let moved = match renameat_with(CWD, &written, CWD, path, RenameFlags::NOREPLACE) {
        // some network file systems can't; the server's lock file makes the race unlikely
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(&written, path),
        other => other.map_err(io::Error::from),
    };
    if moved.is_err() {
        // best effort: what is left behind is a secret that nobody uses
        let _ = fs::remove_file(&written);
    }
    moved?;
    sync_parent(path)
}

/// Puts a private file with this text in the place of another, whole or not at all.
pub(crate) fn replace_file(path: &Path, text: &str) -> io::Result<()> {
    let written = write_beside(path, text)?;
    fs::rename(&written, path)?;
    sync_parent(path)
}

fn write_beside(path: &Path, text: &str) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}", hex(&random_bytes::<8>())));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all());
    if let Err(error) = written {
        // half of it is of no use, and nobody would take it away
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    Ok(beside)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

fn at(path: &Path, source: io::Error) -> KeysError {
    KeysError::File {
        path: path.to_owned(),
        source,
    }
}
