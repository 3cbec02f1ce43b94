//! The secrets of this server: made at its first start, kept under `storage.dir`.
//!
//! Owns the directory `keys` (mode 0700) with one file a secret (mode 0600):
//! `admin-token`, `ingest-key` (of the classroom `default`), `signing-key`
//! (sign-in links and consoles' cookies) and `student-key` (students' ids). A
//! file that is there is never replaced; one that cannot be read stops the
//! start, because a new student key would make every student a stranger.
//! Taking `signing-key` away while the server is down signs everybody out.

mod files;
mod secret;
mod token;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mimamori_actors::domain::{ClassroomId, Timestamp};

use crate::config::{Config, Role};
pub use files::KeysError;
pub(crate) use files::replace_file;
pub use secret::Secret;
pub use token::{BadToken, SessionToken};
use token::{Kind, sign, verify};

/// What the key that signs is derived for (BLAKE3's `derive_key`): another use of the same secret gives another key.
const SIGNING_CONTEXT: &str = "mimamori 2026-11-22 sign-in links and sessions of consoles";

/// The same for what may be known of the key.
const FINGERPRINT_CONTEXT: &str = "mimamori 2026-11-22 fingerprint of the key that signs";

/// How long a sign-in link is good.
pub const LINK_LASTS: Duration = Duration::from_secs(10 * 60);
/// How long a console stays signed in.
pub const SESSION_LASTS: Duration = Duration::from_secs(12 * 60 * 60);

/// What a token that we know stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// The admin token.
    Admin,
    /// The ingest key of this classroom: writes events, nothing else.
    Ingest(ClassroomId),
    /// A sign-in link that is still good.
    Link,
    /// A console's cookie that is still good; it may have been signed out since.
    Session(SessionToken),
}

/// All secrets of this server.
pub struct Keys {
    dir: Option<PathBuf>,
    admin: Secret,
    ingest: Secret,
    classroom: ClassroomId,
    signing: [u8; 32],
    student: [u8; 32],
}

impl Keys {
    /// Reads the secrets under `storage_dir`, and makes those that are missing.
    ///
    /// A configured secret takes the place of its file, which is then neither read nor made.
    ///
    /// # Errors
    /// When a file can't be read, written or understood, or when one secret would stand for two things.
    pub fn load_or_create(
        storage_dir: &Path,
        configured_admin: Option<Secret>,
        configured_ingest: Option<Secret>,
    ) -> Result<Self, KeysError> {
        let dir = storage_dir.join("keys");
        files::create_dir(&dir)?;
        let admin = match configured_admin {
            Some(secret) => secret,
            None => files::secret(&dir.join("admin-token"), "adm_")?,
        };
        let ingest = match configured_ingest {
            Some(secret) => secret,
            None => files::secret(&dir.join("ingest-key"), "ing_")?,
        };
        if admin.matches(ingest.expose()) {
            return Err(KeysError::OneForTwo);
        }
        Ok(Self {
            signing: files::key(&dir.join("signing-key"))?,
            student: files::key(&dir.join("student-key"))?,
            classroom: ClassroomId::new("default"),
            dir: Some(dir),
            admin,
            ingest,
        })
    }

    /// The secrets as the configuration says: made where that is this node's to do.
    ///
    /// # Errors
    /// As [`Keys::load_or_create`]; and when a node that only serves consoles was not given them.
    pub fn of(config: &Config) -> Result<Self, KeysError> {
        let (dir, auth) = (&config.storage.dir, config.auth.clone());
        let mut keys = match config.serve.role {
            Role::All => Self::load_or_create(dir, auth.admin_token, auth.ingest_key)?,
            Role::Consoles => Self::given(dir, auth.admin_token, auth.signing_secret.is_some())?,
        };
        if let Some(secret) = &auth.signing_secret {
            keys.signing = blake3::derive_key(SIGNING_CONTEXT, secret.expose().as_bytes());
        }
        Ok(keys)
    }

    /// The secrets that another node made: none is made here. Ingest keys are of no use.
    fn given(
        storage_dir: &Path,
        configured_admin: Option<Secret>,
        is_signing_given: bool,
    ) -> Result<Self, KeysError> {
        let dir = storage_dir.join("keys");
        files::create_dir(&dir)?;
        let admin = match configured_admin {
            Some(secret) => secret,
            None => files::given_secret(&dir.join("admin-token"), "auth.admin_token")?,
        };
        let signing = if is_signing_given {
            secret::random_bytes()
        } else {
            files::given_key(&dir.join("signing-key"), "auth.signing_secret")?
        };
        Ok(Self {
            dir: Some(dir),
            admin,
            // an empty secret matches nothing
            ingest: Secret::new(""),
            classroom: ClassroomId::new("default"),
            signing,
            // nobody's id is made here
            student: secret::random_bytes(),
        })
    }

    /// Fresh secrets that are kept nowhere, for tests and tools.
    pub fn ephemeral() -> Self {
        Self {
            dir: None,
            admin: Secret::random("adm_"),
            ingest: Secret::random("ing_"),
            classroom: ClassroomId::new("default"),
            signing: secret::random_bytes(),
            student: secret::random_bytes(),
        }
    }

    /// Where they are kept; nothing for ephemeral ones.
    pub fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// May do everything.
    pub fn admin_token(&self) -> &Secret {
        &self.admin
    }

    /// Writes events into the classroom `default`; empty at a node that takes none in.
    pub fn ingest_key(&self) -> &Secret {
        &self.ingest
    }

    /// Turns students' addresses into opaque ids (a keyed hash).
    pub fn student_key(&self) -> &[u8; 32] {
        &self.student
    }

    /// What nodes know each other's signing key by; says nothing of the key.
    pub fn signing_fingerprint(&self) -> String {
        let derived = blake3::derive_key(FINGERPRINT_CONTEXT, &self.signing);
        secret::hex(&derived[..8])
    }

    /// A sign-in token for the console's address, good for [`LINK_LASTS`].
    pub fn new_link(&self, now: Timestamp) -> Secret {
        sign(&self.signing, Kind::Link, now.plus(LINK_LASTS)).0
    }

    /// A cookie's value, good for [`SESSION_LASTS`], and what it will be recognised by.
    pub fn new_session(&self, now: Timestamp) -> (Secret, SessionToken) {
        sign(&self.signing, Kind::Session, now.plus(SESSION_LASTS))
    }

    /// What this token stands for, compared in constant time.
    ///
    /// # Errors
    /// When it was never ours, or is too old.
    pub fn credential(&self, token: &str, now: Timestamp) -> Result<Credential, BadToken> {
        if self.admin.matches(token) {
            return Ok(Credential::Admin);
        }
        if self.ingest.matches(token) {
            return Ok(Credential::Ingest(self.classroom.clone()));
        }
        let (kind, session) = verify(&self.signing, token, now)?;
        Ok(match kind {
            Kind::Link => Credential::Link,
            Kind::Session => Credential::Session(session),
        })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
