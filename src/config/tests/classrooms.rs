//! Classrooms and what holds for the people in them.

use super::*;

#[test]
fn a_classroom_that_says_nothing_is_as_the_installation_has_it() {
    let file = file_with(
        "[privacy]\nretention = \"400d\"\ncontact = \"office@example.ac.jp\"\n\
         [classrooms.default]\nname = \"プログラミング演習\"\n",
    );

    let loaded = Config::load(Some(file.path()), environment(&[])).unwrap();
    let narrower = [
        ("MIMAMORI_CLASSROOMS__DEFAULT__RETENTION", "30d"),
        ("MIMAMORI_CLASSROOMS__DEFAULT__STORE_CODE", "false"),
        ("MIMAMORI_CLASSROOMS__DEFAULT__CONTACT", "hanako"),
    ];
    let narrower = Config::load(Some(file.path()), environment(&narrower)).unwrap();

    let day = Duration::from_secs(86_400);
    let classroom = loaded.config.classrooms.all()[0].clone();
    assert_eq!(
        (classroom.retention, classroom.keeps_code),
        (Some(400 * day), true)
    );
    assert_eq!(classroom.name, "プログラミング演習");
    assert_eq!(classroom.contact, "office@example.ac.jp");
    let classroom = narrower.config.classrooms.all()[0].clone();
    assert_eq!(
        (classroom.retention, classroom.keeps_code),
        (Some(30 * day), false)
    );
    assert_eq!(classroom.contact, "hanako");
    assert_eq!(
        load(&[]).unwrap().classrooms,
        Classrooms::default(),
        "kept for ever, with code"
    );
}

#[test]
fn a_classroom_keeps_nothing_longer_than_the_installation() {
    let longer = load(&[
        ("MIMAMORI_PRIVACY__RETENTION", "30d"),
        ("MIMAMORI_CLASSROOMS__DEFAULT__RETENTION", "31d"),
    ]);

    let told = longer.unwrap_err().to_string();

    assert!(
        told.contains("classrooms.default.retention = \"31d\""),
        "{told}"
    );
    assert!(told.contains("no longer than privacy.retention"), "{told}");
}

#[test]
fn there_is_no_other_classroom_yet() {
    let file = file_with("[classrooms.physics]\nname = \"x\"\nretention = 3\n");

    let in_file = Config::load(Some(file.path()), environment(&[])).unwrap_err();
    let variable = "MIMAMORI_CLASSROOMS__PHYSICS__STORE_CODE";
    let in_environment = load(&[(variable, "false")]).unwrap_err();
    let misspelt = load(&[("MIMAMORI_CLASSROOMS__DEFAULT__STORECODE", "false")]).unwrap_err();

    for (faults, key) in [(in_file, "classrooms.physics"), (in_environment, variable)] {
        let told = faults.to_string();
        assert_eq!(faults.0.len(), 1, "{told}");
        assert!(told.contains(key), "{told}");
        assert!(
            told.contains("this version has only that classroom"),
            "{told}"
        );
    }
    let told = misspelt.to_string();
    let meant = "did you mean MIMAMORI_CLASSROOMS__DEFAULT__STORE_CODE?";
    assert!(told.contains(meant), "{told}");
}

#[test]
fn what_is_no_term_no_flag_or_no_text_is_a_fault() {
    for (key, value, part) in [
        ("PRIVACY__RETENTION", "30", "it has no unit"),
        ("PRIVACY__RETENTION", "0d", "0 is less than 1"),
        ("PRIVACY__RETENTION", "36501d", "more than 36500"),
        ("PRIVACY__RETENTION", "6m", "\"m\" is not the unit d"),
        ("PRIVACY__CONTACT", "a\u{1b}[2J", "control character"),
        ("CLASSROOMS__DEFAULT__STORE_CODE", "off", "it is neither"),
        ("CLASSROOMS__DEFAULT__NAME", "a\nb", "control character"),
    ] {
        let told = load(&[(&format!("MIMAMORI_{key}"), value)]).unwrap_err();

        assert!(told.to_string().contains(part), "{told}");
    }
}
