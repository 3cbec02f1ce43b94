use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

const NOON: Timestamp = Timestamp::from_millis(1_795_000_000_000);

fn load(dir: &Path) -> Keys {
    Keys::load_or_create(dir, None, None).unwrap()
}

#[test]
fn secrets_are_made_once_and_found_again() {
    let dir = tempfile::tempdir().unwrap();

    let first = load(dir.path());
    let second = load(dir.path());

    assert_eq!(first.admin_token().expose(), second.admin_token().expose());
    assert_eq!(first.ingest_key().expose(), second.ingest_key().expose());
    assert_eq!(first.student_key(), second.student_key());
    let link = first.new_link(NOON);
    assert_eq!(
        second.credential(link.expose(), NOON),
        Ok(Credential::Link),
        "both sign alike"
    );
}

#[test]
fn only_the_owner_can_read_them() {
    let dir = tempfile::tempdir().unwrap();

    load(dir.path());

    let keys = dir.path().join("keys");
    assert_eq!(
        fs::metadata(&keys).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let files: Vec<_> = fs::read_dir(&keys).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 4, "four files and nothing left over");
    for file in files {
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.path());
    }
}

#[test]
fn a_secret_that_others_could_read_is_made_private_again() {
    let dir = tempfile::tempdir().unwrap();
    load(dir.path());
    let file = dir.path().join("keys/admin-token");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();

    load(dir.path());

    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn a_damaged_key_stops_the_start_instead_of_being_replaced() {
    let dir = tempfile::tempdir().unwrap();
    load(dir.path());
    let file = dir.path().join("keys/student-key");
    fs::write(&file, "abc").unwrap();

    let error = Keys::load_or_create(dir.path(), None, None).unwrap_err();

    assert!(error.to_string().contains("student-key"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "abc");
}

#[test]
fn an_empty_file_is_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    load(dir.path());
    fs::write(dir.path().join("keys/admin-token"), "\n").unwrap();

    assert!(matches!(
        Keys::load_or_create(dir.path(), None, None),
        Err(KeysError::Damaged { .. })
    ));
}

#[test]
fn a_configured_secret_takes_the_place_of_its_file() {
    let dir = tempfile::tempdir().unwrap();

    let keys = Keys::load_or_create(
        dir.path(),
        Some(Secret::new("mine")),
        Some(Secret::new("ours")),
    )
    .unwrap();

    assert_eq!(keys.credential("mine", NOON), Ok(Credential::Admin));
    assert_eq!(
        keys.credential("ours", NOON),
        Ok(Credential::Ingest(ClassroomId::new("default")))
    );
    assert!(!dir.path().join("keys/admin-token").exists());
}

#[test]
fn one_secret_does_not_stand_for_two_things() {
    let dir = tempfile::tempdir().unwrap();

    let same = Some(Secret::new("same"));

    assert!(matches!(
        Keys::load_or_create(dir.path(), same.clone(), same),
        Err(KeysError::OneForTwo)
    ));
}

#[test]
fn a_link_is_good_for_ten_minutes() {
    let keys = Keys::ephemeral();
    let link = keys.new_link(NOON);

    let last_moment = NOON.plus(LINK_LASTS).minus(Duration::from_millis(1));

    assert_eq!(
        keys.credential(link.expose(), last_moment),
        Ok(Credential::Link)
    );
    assert_eq!(
        keys.credential(link.expose(), NOON.plus(LINK_LASTS)),
        Err(BadToken::Expired)
    );
}

#[test]
fn a_token_changed_in_any_digit_is_unknown() {
    let keys = Keys::ephemeral();
    let (cookie, _) = keys.new_session(NOON);
    let text = cookie.expose();

    for at in 0..text.len() {
        let other = if &text[at..=at] == "0" { "1" } else { "0" };
        let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);

        assert_eq!(
            keys.credential(&changed, NOON),
            Err(BadToken::Unknown),
            "digit {at}"
        );
    }
}

#[test]
fn a_link_does_not_become_a_session_by_another_prefix() {
    let keys = Keys::ephemeral();
    let link = keys.new_link(NOON);

    let renamed = link.expose().replace("lnk_", "ses_");

    assert_eq!(keys.credential(&renamed, NOON), Err(BadToken::Unknown));
}

#[test]
fn another_servers_link_is_unknown() {
    let link = Keys::ephemeral().new_link(NOON);

    assert_eq!(
        Keys::ephemeral().credential(link.expose(), NOON),
        Err(BadToken::Unknown)
    );
}

#[test]
fn nothing_odd_is_taken_for_a_token() {
    let keys = Keys::ephemeral();

    for text in ["", "lnk_", "ses_", "adm_", "lnk_é", "ses_😀", "lnk_zz"] {
        assert_eq!(
            keys.credential(text, NOON),
            Err(BadToken::Unknown),
            "{text}"
        );
    }
}

#[test]
fn a_secret_never_prints() {
    let keys = Keys::ephemeral();

    let printed = format!("{keys:?} {} {:?}", keys.admin_token(), keys.ingest_key());

    assert!(!printed.contains(keys.admin_token().expose()));
    assert!(!printed.contains(keys.ingest_key().expose()));
}
