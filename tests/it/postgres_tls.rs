//! The records behind TLS, with certificates that are made for the test.

use std::process::Stdio;

use tokio::time::timeout;

use crate::harness::postgres::{PASSWORD, Postgres, ask};
use crate::harness::{PATIENCE, Run, Server, certificates, ensure, eventually, program, run};

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
