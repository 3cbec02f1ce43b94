//! What only InfluxDB does.

use std::collections::HashSet;

use mimamori_actors::domain::SessionKey;
use mimamori_actors::ports::{Clock as _, StoreError};

use super::server::{Database, Influxd, database};
use super::*;
use crate::clock::SystemClock;

fn on(database: &Database) -> Series {
    Series::at(&at_url(&database.url())).unwrap()
}

/// Points of entries there are.
fn points(database: &Database) -> u64 {
    database.count("SELECT COUNT(position) FROM mimamori_events")
}

#[tokio::test]
async fn each_entry_is_one_point_however_often_it_is_written() {
    let database = database();
    let series = on(&database);
    let entries: Vec<_> = (1..=500).map(|n| executed(n % 3 + n, n % 7)).collect();

    for _ in 0..2 {
        series
            .write(&journal(), &entries, Position(500))
            .await
            .unwrap();
        on(&database)
            .write(&journal(), &entries[..250], Position(250))
            .await
            .unwrap();
    }

    let different: HashSet<_> = entries.iter().map(|it| it.position).collect();
    assert_eq!(points(&database), different.len() as u64);
}

#[tokio::test]
async fn a_database_that_is_gone_is_made_again_and_asked_how_far_it_is() {
    let database = database();
    let series = on(&database);
    series
        .write(&journal(), &batch(), Position(70))
        .await
        .unwrap();
    database.ask(&format!("DROP DATABASE {}", database.name));

    let lost = series
        .write(&journal(), &[executed(71, 1)], Position(71))
        .await;
    let forgot = series
        .write(&journal(), &[executed(71, 1)], Position(71))
        .await;
    let known = series.offset(&journal()).await.unwrap();
    let mut all = batch();
    all.push(executed(71, 1));
    series.write(&journal(), &all, Position(71)).await.unwrap();

    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    assert!(matches!(forgot, Err(StoreError::Forgot(_))), "{forgot:?}");
    assert_eq!(known, None);
    assert_eq!(points(&database), 6);
}

/// A run of a student in a team.
fn in_team(position: u64, of: u64, team: &str) -> Arc<Entry> {
    let mut run = execution(position, of);
    run.team = Some(team.to_owned());
    event(position, of, run)
}

#[tokio::test]
async fn a_point_that_is_written_again_keeps_the_team_that_it_had() {
    let database = database();
    let entries: Vec<_> = (1..=250)
        .map(|n| in_team(n, 1, &format!("team {n}")))
        .collect();
    let (first, second) = entries.split_at(150);
    let series = on(&database);
    series
        .write(&journal(), first, Position(150))
        .await
        .unwrap();
    series
        .write(&journal(), second, Position(250))
        .await
        .unwrap();

    // by a process that knows nothing of the first, and in another order
    let again = on(&database);
    again
        .write(&journal(), second, Position(250))
        .await
        .unwrap();
    again.write(&journal(), first, Position(250)).await.unwrap();

    assert_eq!(points(&database), 250);
    let teams = database.ask("SHOW TAG VALUES FROM mimamori_events WITH KEY = team");
    assert_eq!(teams.len(), 201);
    let others = "SELECT COUNT(position) FROM mimamori_events WHERE team = 'other'";
    assert_eq!(database.count(others), 50);
}

#[tokio::test]
async fn what_is_older_than_the_database_keeps_is_left_out_and_holds_nothing_up() {
    let database = database();
    database.ask(&format!("CREATE DATABASE {}", database.name));
    let name = &database.name;
    database.ask(&format!(
        "CREATE RETENTION POLICY short ON {name} DURATION 24h REPLICATION 1 DEFAULT"
    ));
    let year = std::time::Duration::from_secs(365 * 24 * 3600);
    let mut old = execution(1, 1);
    old.time = MORNING.minus(year);
    let mut old = Arc::unwrap_or_clone(event(1, 1, old));
    old.received_at = MORNING.minus(year);
    let mut new = execution(2, 1);
    new.time = SystemClock.now();
    let mut new = Arc::unwrap_or_clone(event(2, 1, new));
    new.received_at = SystemClock.now();
    let series = on(&database);

    let entries = [Arc::new(old), Arc::new(new)];
    series
        .write(&journal(), &entries, Position(2))
        .await
        .unwrap();

    assert_eq!(points(&database), 1);
    let again = on(&database);
    assert_eq!(again.reach(&journal()).await.unwrap(), Some(Position(2)));
}

#[tokio::test]
async fn a_person_s_points_go_up_to_a_position_and_nobody_else_s() {
    let database = database();
    let series = on(&database);
    let hostile = "it's a \\ \"team\", x=y";
    let mut entries: Vec<_> = (1..=60).map(|n| in_team(n, n % 3, hostile)).collect();
    entries.push(opened(61, 1));
    entries.push(opened(62, 2));
    entries.extend((63..=70).map(|n| executed(n, 1)));
    series
        .write(&journal(), &entries, Position(70))
        .await
        .unwrap();
    let person = SessionKey {
        classroom: room(),
        student: student(1),
    };

    for _ in 0..2 {
        let nothing = |_, _| Vec::new();
        let journal = journal();
        let erased = series.erase(&journal, &person, Position(65), nothing);
        erased.await.unwrap();
    }

    assert_eq!(points(&database), 70 - (20 + 1 + 3));
    let left = database.count(&format!(
        "SELECT COUNT(position) FROM mimamori_events WHERE student = '{}'",
        student(1)
    ));
    assert_eq!(left, 5);
    let buckets = first_hour(&series).await;
    assert_eq!(buckets.iter().map(|it| it.help).sum::<u64>(), 1);
    assert_eq!(buckets.iter().map(|it| it.executions).sum::<u64>(), 45);
}

#[tokio::test]
async fn names_that_only_an_erased_person_had_go_and_their_places_stay_taken() {
    let database = database();
    let series = on(&database);
    let entries = [
        in_team(1, 1, "theirs alone"),
        in_team(2, 1, "of both"),
        in_team(3, 2, "of both"),
    ];
    series
        .write(&journal(), &entries, Position(3))
        .await
        .unwrap();
    let person = SessionKey {
        classroom: room(),
        student: student(1),
    };
    let journal = journal();

    for _ in 0..2 {
        let erased = series.erase(&journal, &person, Position(3), |_, _| Vec::new());
        erased.await.unwrap();
    }
    let later = [in_team(4, 2, "another"), in_team(5, 2, "theirs alone")];
    series
        .write(&journal, &later[..1], Position(4))
        .await
        .unwrap();

    let chosen = || {
        let rows = database.ask("SELECT value FROM mimamori_tag_values WHERE label = 'team'");
        let names = rows.iter().filter_map(|row| row.rsplit(',').next());
        let mut names: Vec<_> = names.map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(chosen(), ["another", "of both", "unused  1"]);
    series
        .write(&journal, &later[1..], Position(5))
        .await
        .unwrap();
    assert_eq!(
        chosen(),
        ["another", "of both", "theirs alone", "unused  1"]
    );
}

#[tokio::test]
async fn nothing_is_left_to_erase_in_a_database_that_is_gone() {
    let database = database();
    let series = on(&database);
    let person = SessionKey {
        classroom: room(),
        student: student(1),
    };

    let journal = journal();
    let erased = series.erase(&journal, &person, Position(3), |_, _| Vec::new());

    erased.await.unwrap();
}

#[tokio::test]
async fn a_server_with_users_wants_the_right_password_and_says_so_without_it() {
    let server = Influxd::start_with_a_user("mimamori", "right:@/");
    let database = server.database();
    let with = |password: &str| {
        let login = format!("http://mimamori:{password}@");
        Series::at(&at_url(&database.url().replace("http://", &login))).unwrap()
    };

    let wrong = with("wrong").offset(&journal()).await;
    let right = with("right%3A%40%2F");
    let known = right.offset(&journal()).await.unwrap();
    right
        .write(&journal(), &batch(), Position(70))
        .await
        .unwrap();

    let told = wrong.unwrap_err().to_string();
    assert!(told.contains("401") && !told.contains("wrong"), "{told}");
    assert_eq!(known, None);
    assert_eq!(right.reach(&journal()).await.unwrap(), Some(Position(70)));
}

#[tokio::test]
async fn a_classroom_s_points_go_when_their_term_is_over() {
    let database = database();
    let series = on(&database);
    let entries: Vec<_> = (1..=60).map(|n| executed(n, n % 3)).collect();
    series
        .write(&journal(), &entries, Position(60))
        .await
        .unwrap();
    let elsewhere = ClassroomId::new("elsewhere");

    series.expire(&elsewhere, at(3600), 10).await.unwrap();
    for _ in 0..2 {
        let left = series.expire(&room(), at(21), 10).await.unwrap();
        assert_eq!(left, 0, "nothing is left to do");
    }

    assert_eq!(points(&database), 40);
}
