//! Certificates that are made for a test.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

fn openssl(dir: &Path, words: &str) {
    let output = Command::new("openssl")
        .args(words.split(' '))
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is there: scripts/test.sh installs it");
    assert!(output.status.success(), "{words}: {output:?}");
}

/// `NAME.crt` of an authority, and its key.
fn authority(dir: &Path, name: &str) {
    openssl(
        dir,
        &format!(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.crt \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign"
        ),
    );
}

/// `server.crt` for this machine, signed by the authority `ours`; and `other`, which signed nothing.
pub fn certificates() -> TempDir {
    let dir = TempDir::with_prefix("mimamori-tls-").unwrap();
    let path = dir.path();
    authority(path, "ours");
    authority(path, "other");
    openssl(
        path,
        "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr",
    );
    std::fs::write(
        path.join("names"),
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
    )
    .unwrap();
    openssl(
        path,
        "x509 -req -days 2 -in server.csr -CA ours.crt -CAkey ours.key -CAcreateserial -extfile names -out server.crt",
    );
    // the server runs as another user; it is a certificate of a test
    let all_read = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, all_read(0o755)).unwrap();
    std::fs::set_permissions(path.join("server.key"), all_read(0o644)).unwrap();
    dir
}
