use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;
use crate::config::{Fault, Faults, Origin};

fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(std::iter::once(&"mimamori").chain(words))
}

fn usage(words: &[&str]) -> String {
    Failure::usage(&parse(words).unwrap_err()).to_string()
}

#[test]
fn what_is_wrong_with_an_address_is_told_without_the_secret_in_it() {
    for (words, told) in [
        (
            &["import", "cell-monitor", "mysql://u:hush'hush@h/d"][..],
            "invalid value for '<DATABASE>': it does not begin with postgres://",
        ),
        (
            &[
                "import",
                "cell-monitor",
                "postgres://u@h/d",
                "postgres://u:hush@h/d",
            ],
            "an address more than is expected",
        ),
        (
            &["simulate", "--url", "//h/k/hush/api/v1/events"],
            "invalid value for '--url <INGEST_ADDRESS>': relative URL",
        ),
    ] {
        let line = usage(words);

        assert!(line.starts_with(told) && !line.contains("hush"), "{line}");
    }
    // what holds no secret is shown
    assert!(usage(&["export", "--from", "soon"]).contains("soon"));
}

/// Every command with its path: `["journal", "inspect"]`.
fn commands() -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![(Vec::new(), Arguments::command())];
    while let Some((path, command)) = open.pop() {
        for child in command.get_subcommands() {
            let mut path: Vec<String> = path.clone();
            path.push(child.get_name().to_owned());
            found.push(path.clone());
            open.push((path, child.clone()));
        }
    }
    found.sort();
    found
}

#[test]
fn the_words_of_the_contract_are_there() {
    let names: Vec<_> = commands().iter().map(|path| path.join(" ")).collect();

    assert_eq!(
        names,
        [
            "backup",
            "check-config",
            "erase",
            "export",
            "health",
            "import",
            "import cell-monitor",
            "journal",
            "journal inspect",
            "link",
            "migrate",
            "replay",
            "research",
            "restore",
            "serve",
            "simulate"
        ]
    );
    Arguments::command().debug_assert();
}

#[test]
fn every_command_explains_itself_with_an_example() {
    for path in commands() {
        let mut words: Vec<&str> = path.iter().map(String::as_str).collect();
        words.push("--help");

        let help = parse(&words).unwrap_err();

        assert_eq!(help.kind(), ErrorKind::DisplayHelp);
        let help = help.to_string();
        let example = format!("mimamori {}", path.join(" "));
        assert!(
            help.contains("Example:") && help.contains(&example),
            "{help}"
        );
    }
}

#[test]
fn every_argument_is_explained() {
    let mut open = vec![Arguments::command()];
    while let Some(command) = open.pop() {
        for argument in command.get_arguments() {
            assert!(
                argument.get_help().is_some(),
                "{} {argument}",
                command.get_name()
            );
        }
        open.extend(command.get_subcommands().cloned());
    }
}

#[test]
fn a_wrong_call_is_one_line_that_names_what_is_wrong() {
    let cases: [(&[&str], &str); 7] = [
        (&[], "a command is missing"),
        (&["srve"], "'srve'"),
        (&["serve", "--confg", "x"], "--confg"),
        (&["simulate"], "--url"),
        (&["simulate", "--url", "nowhere"], "nowhere"),
        (
            &["simulate", "--url", "http://h", "--speed", "0"],
            "not a number from 0.01",
        ),
        (&["replay", "--url", "http://h"], "<FILE>"),
    ];
    for (words, part) in cases {
        let line = usage(words);

        assert!(line.contains(part), "{line}");
        assert!(
            !line.contains('\n') && line.ends_with("see --help"),
            "{line}"
        );
    }
}

#[test]
fn exit_codes_tell_a_wrong_call_from_a_failure() {
    let faults = Faults(vec![Fault {
        key: "http.listen".to_owned(),
        value: None,
        rule: "an address".to_owned(),
        reason: "none".to_owned(),
        origin: Origin::Default,
    }]);
    let code = |failure: Failure| format!("{:?}", failure.exit_code());
    let two = format!("{:?}", ExitCode::from(2));

    assert_eq!(code(Failure::Usage(String::new())), two);
    assert_eq!(code(Failure::Configuration(faults)), two);
    assert_eq!(
        code(anyhow::anyhow!("x").into()),
        format!("{:?}", ExitCode::FAILURE)
    );
}

#[test]
fn a_failure_is_one_line_with_its_causes() {
    let cause = std::io::Error::other("the disk\nis gone");
    let failure = Failure::from(anyhow::Error::new(cause).context("./data/keys"));

    assert_eq!(failure.to_string(), "./data/keys: the disk is gone");
}

#[test]
fn a_cause_that_was_said_is_not_said_again() {
    #[derive(Debug, thiserror::Error)]
    #[error("./data/journal: {0}")]
    struct Twice(#[source] std::io::Error);

    let failure = Failure::from(anyhow::Error::new(Twice(std::io::Error::other(
        "it is gone",
    ))));

    assert_eq!(failure.to_string(), "./data/journal: it is gone");
}

mod addresses_for_people {
    use super::super::addresses::{bases, ingest, sign_in};
    use crate::keys::Secret;

    #[test]
    fn a_public_url_goes_before_the_socket() {
        let url = "https://hub.example/services/mimamori/".parse().unwrap();

        let bases = bases("0.0.0.0:8000".parse().unwrap(), Some(&url));

        assert_eq!(bases, ["https://hub.example/services/mimamori"]);
        let key = Secret::new("KEY".to_owned());
        assert_eq!(
            ingest(&bases[0], &key),
            "https://hub.example/services/mimamori/k/KEY/api/v1/events"
        );
        assert_eq!(
            sign_in(&bases[0], &key),
            "https://hub.example/services/mimamori/#token=KEY"
        );
    }

    #[test]
    fn one_address_is_printed_as_it_is() {
        assert_eq!(
            bases("127.0.0.1:81".parse().unwrap(), None),
            ["http://127.0.0.1:81"]
        );
        assert_eq!(
            bases("[::1]:81".parse().unwrap(), None),
            ["http://[::1]:81"]
        );
    }

    #[test]
    fn a_server_on_every_address_prints_some_that_can_be_reached() {
        let bases = bases("0.0.0.0:81".parse().unwrap(), None);

        assert!(!bases.is_empty());
        assert!(
            bases
                .iter()
                .all(|base| !base.contains("0.0.0.0") && base.ends_with(":81"))
        );
    }
}
