//! What is configured, and what is called, wrongly and rightly.

use super::{command, complained, said};
use crate::harness::{ADMIN, INGEST_KEY, program};

#[tokio::test]
async fn check_config_tells_every_fault_at_once_and_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let faults = [
        ("MIMAMORI_HTTP__LISTEN", "nowhere"),
        ("MIMAMORI_HTTP__HEADER_TIMEOUT", "soon"),
        ("MIMAMORI_LIVE__MAX_CONSOLES", "-3"),
        ("MIMAMORI_JOURNAL__MAX_BYTES", "much"),
        ("MIMAMORI_RECORDS__URL", "mysql://127.0.0.1/x"),
        ("MIMAMORI_NO__SUCH_KEY", "1"),
    ];

    for arguments in [["check-config"], ["serve"]] {
        let output = command(dir.path(), &arguments, &faults).await;

        assert_eq!(output.status.code(), Some(2), "{}", complained(&output));
        let complaint = complained(&output).to_ascii_lowercase();
        for key in [
            "http.listen",
            "http.header_timeout",
            "live.max_consoles",
            "journal.max_bytes",
            "records.url",
            "no",
        ] {
            assert!(
                complaint.contains(key),
                "{key} is not named in:\n{complaint}"
            );
        }
        assert!(!complaint.contains("panicked"), "{complaint}");
        assert_eq!(said(&output), "");
    }
}

#[tokio::test]
async fn check_config_accepts_the_defaults_and_shows_no_secret() {
    let dir = tempfile::tempdir().unwrap();

    let output = command(dir.path(), &["check-config"], &[]).await;

    assert!(output.status.success(), "{}", complained(&output));
    let all = said(&output) + &complained(&output);
    assert!(!all.contains(ADMIN) && !all.contains(INGEST_KEY), "{all}");
}

#[tokio::test]
async fn a_file_and_the_environment_and_a_file_of_a_secret_are_read_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(
        &file,
        "[http]\nlisten = \"127.0.0.1:1\"\nheader_timeout = \"3s\"\n",
    )
    .unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "adm_from_a_file_0123456789abcdef\n").unwrap();

    let output = program(dir.path())
        .args(["check-config", "--config", file.to_str().unwrap()])
        .env_remove("MIMAMORI_AUTH__ADMIN_TOKEN")
        .env("MIMAMORI_AUTH__ADMIN_TOKEN_FILE", &secret)
        .output()
        .await
        .unwrap();

    assert!(output.status.success(), "{}", complained(&output));
    let missing = command(
        dir.path(),
        &["check-config", "--config", "/no/such/file.toml"],
        &[],
    )
    .await;
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        complained(&missing).contains("/no/such/file.toml"),
        "{}",
        complained(&missing)
    );
}

#[tokio::test]
async fn a_wrong_call_exits_with_2_and_help_with_0() {
    let dir = tempfile::tempdir().unwrap();

    for wrong in [&["no-such-command"][..], &["serve", "--no-such-flag"], &[]] {
        let output = command(dir.path(), wrong, &[]).await;
        assert_eq!(
            output.status.code(),
            Some(2),
            "{wrong:?}: {}",
            complained(&output)
        );
    }
    for word in [
        "serve",
        "migrate",
        "check-config",
        "link",
        "simulate",
        "replay",
        "journal",
    ] {
        let output = command(dir.path(), &[word, "--help"], &[]).await;
        assert!(output.status.success(), "{word}: {}", complained(&output));
        assert!(said(&output).len() > 80, "{word}");
    }
}
