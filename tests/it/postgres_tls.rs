//! The records behind TLS, with certificates that are made for the test.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tokio::time::timeout;

use crate::harness::postgres::{PASSWORD, Postgres, ask};
use crate::harness::{PATIENCE, Run, Server, ensure, eventually, program, run};

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
fn certificates() -> TempDir {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_used_that_shows_the_right_certificate_and_no_other() {
    let made = certificates();
    let postgres = Postgres::start_with_tls(made.path());
    let url = postgres.database();
    let asking = |authority: &str, host: &str| {
        let file = made.path().join(format!("{authority}.crt"));
        let url = url.replace("127.0.0.1", host);
        format!("{url}?sslmode=verify-full&sslrootcert={}", file.display())
    };

    let right = asking("ours", "127.0.0.1");
    let server = Server::with(&[("MIMAMORI_RECORDS__URL", &right)]).await;
    server.api().accepted(&[run("e1", "s", "c", Run::Ok)]).await;
    eventually("it is in the database", PATIENCE, async || {
        let counted = ask(&right, "SELECT COUNT(*) FROM events");
        ensure(counted == "1", || counted)
    })
    .await;
    let plain = "SELECT COUNT(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
         WHERE application_name = 'mimamori' AND NOT ssl";
    assert_eq!(ask(&right, plain), "0");
    drop(server);

    let told = refused(&asking("other", "127.0.0.1")).await;
    assert!(told.contains("certificate"), "{told}");
    // 127.0.0.2 is this machine too, and not in the certificate
    let told = refused(&asking("ours", "127.0.0.2")).await;
    assert!(told.contains("certificate"), "{told}");
}

/// The line with which a start ends.
async fn refused(url: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let starting = program(dir.path())
        .arg("serve")
        .env("MIMAMORI_RECORDS__URL", url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output();
    let output = timeout(PATIENCE, starting).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!told.contains(PASSWORD), "{told}");
    told.trim().lines().last().unwrap().to_owned()
}
