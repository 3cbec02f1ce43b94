use std::collections::BTreeSet;
use std::io::Write;

use super::*;

mod classrooms;
mod replica;

fn environment(pairs: &[(&str, &str)]) -> std::vec::IntoIter<(OsString, OsString)> {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    pairs.into_iter()
}

fn load(pairs: &[(&str, &str)]) -> Result<Config, Faults> {
    Config::load(None, environment(pairs)).map(|loaded| loaded.config)
}

fn file_with(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = load(&[]).unwrap();

    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(config.http.public_url, None);
    assert!(
        config.http.origins.is_empty()
            && config.http.trusted_proxies == crate::networks::Networks::default()
    );
    assert!(
        config
            .http
            .metrics_from
            .contains("127.0.0.1".parse().unwrap())
    );
    assert!(config.http.metrics_from.contains("::1".parse().unwrap()));
    assert_eq!(config.http.header_timeout, Duration::from_secs(10));
    assert_eq!(config.http.body_timeout, Duration::from_secs(20));
    assert_eq!(config.http.idle_timeout, Duration::from_secs(30));
    assert_eq!(config.http.max_connections, 18_000);
    assert_eq!(config.live.max_consoles, 15_000);
    assert_eq!(config.storage.dir, PathBuf::from("./data"));
    assert_eq!(config.storage.min_free_bytes, 512 << 20);
    assert_eq!(config.journal.max_bytes, 8 << 30);
    assert_eq!(config.ingest.dedup_days, 7);
    assert!(config.auth.admin_token.is_none() && config.auth.ingest_key.is_none());
    assert_eq!(config.log.format, LogFormat::Auto);
}

#[test]
fn the_default_file_has_every_key_and_no_other() {
    let defaults = Gathered::defaults();
    let keys: BTreeSet<_> = KEYS.iter().map(|key| key.name).collect();

    assert_eq!(defaults.faults, []);
    assert_eq!(
        defaults.values.keys().copied().collect::<BTreeSet<_>>(),
        keys
    );
}

#[test]
fn the_example_for_production_is_right() {
    let file = file_with(include_str!("../../config/production.example.toml"));

    let loaded = Config::load(Some(file.path()), environment(&[])).unwrap();

    assert_eq!(loaded.config.log.format, LogFormat::Json);
}

#[test]
fn the_environment_goes_before_the_file_and_the_file_before_the_defaults() {
    let file = file_with("[http]\nlisten = \"127.0.0.1:1\"\nmax_connections = 5\n");
    let variables = [("MIMAMORI_HTTP__LISTEN", "127.0.0.1:2")];

    let loaded = Config::load(Some(file.path()), environment(&variables)).unwrap();

    assert_eq!(loaded.config.http.listen.port(), 2);
    assert_eq!(loaded.config.http.max_connections, 5);
    assert_eq!(loaded.config.live.max_consoles, 15_000);
    let origin_of = |key| {
        let entry = loaded.provenance.iter().find(|(name, _, _)| *name == key);
        entry.unwrap().2.clone()
    };
    let variable = "MIMAMORI_HTTP__LISTEN".to_owned();
    assert_eq!(origin_of("http.listen"), Origin::Environment(variable));
    assert_eq!(
        origin_of("http.max_connections"),
        Origin::File(file.path().into())
    );
    assert_eq!(origin_of("log.format"), Origin::Default);
}

#[test]
fn every_kind_of_value_can_be_given_by_the_environment() {
    let config = load(&[
        ("MIMAMORI_HTTP__LISTEN", "[::1]:0"),
        (
            "MIMAMORI_HTTP__PUBLIC_URL",
            "https://hub.example/services/mimamori/",
        ),
        (
            "MIMAMORI_HTTP__ORIGINS",
            "https://a.example, http://b.example:8080/",
        ),
        ("MIMAMORI_HTTP__TRUSTED_PROXIES", "10.0.0.0/8,::1"),
        ("MIMAMORI_HTTP__METRICS_FROM", ""),
        ("MIMAMORI_HTTP__HEADER_TIMEOUT", "500ms"),
        ("MIMAMORI_HTTP__MAX_CONNECTIONS", "12"),
        ("MIMAMORI_STORAGE__MIN_FREE_BYTES", "0"),
        ("MIMAMORI_JOURNAL__MAX_BYTES", "64 MiB"),
        ("MIMAMORI_INGEST__DEDUP_DAYS", "30"),
        ("MIMAMORI_AUTH__INGEST_KEY", "class-2026"),
        (
            "MIMAMORI_RECORDS__URL",
            "postgres://m:hidden@db.example/records",
        ),
        ("MIMAMORI_RECORDS__MAX_CONNECTIONS", "4"),
        ("MIMAMORI_LOG__FORMAT", "json"),
    ])
    .unwrap();

    assert_eq!(config.http.listen.to_string(), "[::1]:0");
    assert_eq!(config.http.public_url.unwrap().path(), "/services/mimamori");
    assert_eq!(
        config.http.origins,
        ["https://a.example", "http://b.example:8080"]
    );
    assert!(
        config
            .http
            .trusted_proxies
            .contains("10.1.2.3".parse().unwrap())
    );
    assert!(config.http.metrics_from == crate::networks::Networks::default());
    assert_eq!(config.http.header_timeout, Duration::from_millis(500));
    assert_eq!(config.http.max_connections, 12);
    assert_eq!(config.storage.min_free_bytes, 0);
    assert_eq!(config.journal.max_bytes, 64 << 20);
    assert_eq!(config.ingest.dedup_days, 30);
    assert!(config.auth.ingest_key.is_some());
    assert_eq!(
        config.records.url.unwrap().to_string(),
        "PostgreSQL database records at db.example:5432"
    );
    assert_eq!(config.records.max_connections, 4);
    assert_eq!(config.log.format, LogFormat::Json);
}

/// Variable, wrong value, a part of the line that tells of it.
const WRONG: [(&str, &str, &str); 30] = [
    ("MIMAMORI_SERVE__ROLE", "ingest", "it is neither"),
    ("MIMAMORI_AUTH__SIGNING_SECRET", "hidden-7", "it is shorter"),
    (
        "MIMAMORI_HTTP__LISTEN",
        "localhost:8000",
        "\"localhost\" is not an IP address",
    ),
    (
        "MIMAMORI_HTTP__PUBLIC_URL",
        "ftp://x.example",
        "does not begin with http",
    ),
    (
        "MIMAMORI_HTTP__ORIGINS",
        "https://a.example/path",
        "it carries a path",
    ),
    (
        "MIMAMORI_HTTP__TRUSTED_PROXIES",
        "10.0.0.0/40",
        "\"10.0.0.0/40\": it is none of these",
    ),
    (
        "MIMAMORI_HTTP__METRICS_FROM",
        "everyone",
        "\"everyone\": it is none of these",
    ),
    ("MIMAMORI_HTTP__HEADER_TIMEOUT", "10", "it has no unit"),
    ("MIMAMORI_HTTP__BODY_TIMEOUT", "1ms", "less than 10 ms"),
    (
        "MIMAMORI_HTTP__IDLE_TIMEOUT",
        "30 sec",
        "\"sec\" is not a unit of time",
    ),
    ("MIMAMORI_HTTP__MAX_CONNECTIONS", "0", "0 is less than 1"),
    (
        "MIMAMORI_LIVE__MAX_CONSOLES",
        "many",
        "it is not a whole number",
    ),
    ("MIMAMORI_STORAGE__DIR", "", "it is empty"),
    (
        "MIMAMORI_STORAGE__MIN_FREE_BYTES",
        "512MB!",
        "\"MB!\" is not a unit of size",
    ),
    (
        "MIMAMORI_JOURNAL__MAX_BYTES",
        "99999999999TiB",
        "it is too large",
    ),
    (
        "MIMAMORI_INGEST__DEDUP_DAYS",
        "-7",
        "it is not a whole number",
    ),
    (
        "MIMAMORI_RECORDS__URL",
        "mysql://u:hidden-1@db/x",
        "it does not begin with postgres://",
    ),
    ("MIMAMORI_RECORDS__MAX_CONNECTIONS", "1", "1 is less than 2"),
    (
        "MIMAMORI_SERIES__URL",
        "http://hidden-2:8086",
        "it names no database",
    ),
    (
        "MIMAMORI_SERIES__TOKEN",
        "hidden-3 with space",
        "it holds another character",
    ),
    (
        "MIMAMORI_BUS__URL",
        "redis://hidden-4/first",
        "is not the number of a database",
    ),
    (
        "MIMAMORI_AUTH__ADMIN_TOKEN",
        "hidden-5-hidden-5\t",
        "it holds another character",
    ),
    (
        "MIMAMORI_AUTH__INGEST_KEY",
        "hidden-6/../x",
        "it holds another character",
    ),
    ("MIMAMORI_LOG__FORMAT", "xml", "it is none of them"),
    (
        "MIMAMORI_HTTP__LISTN",
        "127.0.0.1:1",
        "did you mean MIMAMORI_HTTP__LISTEN?",
    ),
    (
        "MIMAMORI_STORAGE__MAX_BYTES",
        "1",
        "did you mean MIMAMORI_JOURNAL__MAX_BYTES?",
    ),
    ("MIMAMORI_HTTP__FOO", "1", "there is none like that"),
    ("MIMAMORI_FOO__BARBAZ", "1", "there is none like that"),
    ("MIMAMORI_STORAGE_DIR", "/data", "two underscores"),
    (
        "MIMAMORI_LOG__FORMAT_FILE",
        "/etc/hostname",
        "only secrets are read from files",
    ),
];

#[test]
fn all_wrong_values_are_reported_at_once_each_with_key_rule_reason_and_place() {
    let variables: Vec<_> = WRONG
        .iter()
        .map(|(name, value, _)| (*name, *value))
        .collect();

    let faults = load(&variables).unwrap_err().0;

    assert_eq!(faults.len(), WRONG.len(), "{faults:#?}");
    for (variable, _, part) in WRONG {
        let line = faults
            .iter()
            .find(|fault| fault.origin == Origin::Environment(variable.to_owned()))
            .unwrap_or_else(|| panic!("{variable} is not reported"))
            .to_string();
        assert!(line.contains(part), "{line}");
        assert!(
            line.contains(variable) && line.contains("must be "),
            "{line}"
        );
        assert!(!line.contains('\n'), "{line}");
    }
}

#[test]
fn an_admin_token_that_can_be_guessed_is_a_fault() {
    let of = |token| load(&[("MIMAMORI_AUTH__ADMIN_TOKEN", token)]);

    let report = of("15-characters-x").unwrap_err().to_string();

    assert!(report.contains("it is shorter"), "{report}");
    assert!(of("of-16-characters").is_ok());
}

#[test]
fn no_fault_shows_a_secret() {
    let variables: Vec<_> = WRONG
        .iter()
        .map(|(name, value, _)| (*name, *value))
        .collect();

    let report = load(&variables).unwrap_err().to_string();

    assert!(!report.contains("hidden-"), "{report}");
    assert!(report.starts_with("the configuration has 30 faults:\n"));
}

#[test]
fn a_node_that_only_serves_consoles_needs_a_bus() {
    let role = ("MIMAMORI_SERVE__ROLE", "consoles");
    let bus = ("MIMAMORI_BUS__URL", "redis://:hidden@cache.example/3");

    let without = load(&[role]).unwrap_err().to_string();
    let with = load(&[role, bus]).unwrap();

    assert!(without.contains("is told over the bus"), "{without}");
    assert_eq!(with.serve.role, Role::Consoles);
    let shown = format!("{:?}", with.bus);
    assert!(shown.contains("cache.example") && !shown.contains("hidden"));
}

#[test]
fn what_signs_is_no_other_secret() {
    let same = "0123456789abcdef0123456789abcdef";

    let report = load(&[
        ("MIMAMORI_AUTH__SIGNING_SECRET", same),
        ("MIMAMORI_AUTH__INGEST_KEY", same),
    ]);

    let report = report.unwrap_err().to_string();
    assert!(report.contains("auth.signing_secret"), "{report}");
    assert!(!report.contains(same), "{report}");
}

#[test]
fn a_password_in_an_address_is_not_shown_either() {
    let report = load(&[(
        "MIMAMORI_HTTP__PUBLIC_URL",
        "https://me:hidden@hub.example/",
    )]);

    assert!(!report.unwrap_err().to_string().contains("hidden"));
}

#[test]
fn unknown_keys_and_wrong_kinds_in_the_file_are_faults() {
    let file = file_with(
        "loging = 3\n[http]\nlisten = 8000\nidle_timout = \"1s\"\norigins = \"https://a.example\"\n\
         max_connections = \"12\"\ntrusted_proxies = [1]\n[journal]\nmax_bytes = -1\n",
    );

    let report = Config::load(Some(file.path()), environment(&[]))
        .unwrap_err()
        .to_string();

    for part in [
        "loging",
        "http.listen = 8000",
        "did you mean http.idle_timeout?",
        "http.origins = \"https://a.example\"",
        "http.max_connections = \"12\"",
        "in the list it is a whole number",
        "journal.max_bytes = -1",
    ] {
        assert!(report.contains(part), "{part} is missing in {report}");
    }
    assert_eq!(report.lines().count(), 8, "{report}");
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_one_fault() {
    let missing = Config::load(Some(Path::new("/nowhere/m.toml")), environment(&[]));
    let torn = file_with("[http]\n\nlisten = \n");
    let torn = Config::load(Some(torn.path()), environment(&[]));

    let missing = missing.unwrap_err().to_string();
    let torn = torn.unwrap_err().to_string();

    assert!(missing.contains("--config (/nowhere/m.toml)"), "{missing}");
    assert!(torn.contains("line 3"), "{torn}");
    assert_eq!(
        (missing.lines().count(), torn.lines().count()),
        (2, 2),
        "{torn}"
    );
}

#[test]
fn a_secret_is_read_from_a_file_without_its_trailing_newline() {
    let file = file_with("a-good-key\n");
    let path = file.path().to_str().unwrap();

    let config = load(&[("MIMAMORI_AUTH__INGEST_KEY_FILE", path)]).unwrap();
    let same = load(&[
        ("MIMAMORI_AUTH__INGEST_KEY_FILE", path),
        ("MIMAMORI_AUTH__ADMIN_TOKEN", "a-good-key"),
    ]);

    assert!(config.auth.ingest_key.is_some());
    // proves the trimming: only equal texts are refused so
    assert!(same.unwrap_err().to_string().contains("they are the same"));
}

#[test]
fn the_address_of_the_records_is_read_from_a_file_and_not_shown() {
    let file = file_with("postgres://m:hidden@db.example/records\n");
    let path = file.path().to_str().unwrap();
    let variables = [("MIMAMORI_RECORDS__URL_FILE", path)];

    let loaded = Config::load(None, environment(&variables)).unwrap();

    let url = loaded.config.records.url.as_ref().unwrap();
    assert_eq!(url.expose(), "postgres://m:hidden@db.example/records");
    let shown = format!("{:?} {:?}", loaded.config, loaded.provenance);
    assert!(!shown.contains("hidden"), "{shown}");
}

#[test]
fn a_secret_file_that_cannot_be_used_is_a_fault() {
    let empty = file_with("\n");
    let path = empty.path().to_str().unwrap();

    let twice = load(&[
        ("MIMAMORI_AUTH__INGEST_KEY_FILE", path),
        ("MIMAMORI_AUTH__INGEST_KEY", "key"),
        ("MIMAMORI_AUTH__ADMIN_TOKEN_FILE", "/nowhere/token"),
        ("MIMAMORI_SERIES__TOKEN_FILE", path),
        ("MIMAMORI_RECORDS__URL_FILE", "/dev/zero"),
    ]);

    let report = twice.unwrap_err().to_string();
    assert!(report.contains("is set too"), "{report}");
    assert!(report.contains("more than 4096 bytes"), "{report}");
    assert!(report.contains("/nowhere/token: No such file"), "{report}");
    assert!(report.contains("it is empty"), "{report}");
}

#[test]
fn variables_of_other_programs_are_left_alone() {
    let others = [
        ("MIMAMORI_SERVICE_HOST", "10.0.0.1"),
        ("MIMAMORI_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
        ("MIMAMORI_TOKEN", "a student's"),
        ("MIMAMORI_LOG", "debug"),
        ("HTTP__LISTEN", "x"),
    ];

    assert!(load(&others).is_ok());
}

#[test]
fn a_token_and_a_user_for_the_series_are_one_too_many() {
    let url = "http://user:hidden@influx.example:8086/?db=m";

    let faults = load(&[
        ("MIMAMORI_SERIES__URL", url),
        ("MIMAMORI_SERIES__TOKEN", "hidden-token"),
    ]);

    let report = faults.unwrap_err().to_string();
    assert!(report.contains("series.token") && report.contains("both are given"));
    assert!(!report.contains("hidden"), "{report}");
}
