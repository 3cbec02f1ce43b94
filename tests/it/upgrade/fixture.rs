//! Storage directories of earlier versions, and how one of this version is kept.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::answers::{Answers, ids};
use crate::harness::{
    Api, INGEST_KEY, PATIENCE, Run, Server, ensure, event, eventually, help, now, program, run,
};
use crate::recorded;

/// Small segments, so that a fixture has several.
const SMALL: &[(&str, &str)] = &[("MIMAMORI_JOURNAL__MAX_BYTES", "2MiB")];

/// A storage directory as some version left it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    /// Where it was found.
    #[serde(skip)]
    pub name: String,
    #[serde(skip)]
    archive: PathBuf,
    /// The answers are about the time before this moment.
    pub until: String,
    /// Ids of all events that were answered 202, in their order.
    pub acknowledged: Vec<String>,
    /// What the version itself answered.
    pub answers: Answers,
}

impl Kept {
    fn read(archive: &Path) -> Self {
        let answers = archive.with_extension("").with_extension("json.gz");
        let answers = GzDecoder::new(File::open(answers).unwrap());
        Self {
            name: archive.display().to_string(),
            archive: archive.to_owned(),
            ..serde_json::from_reader(answers).unwrap()
        }
    }

    /// A copy of the directory.
    pub fn unpack(&self) -> TempDir {
        let dir = TempDir::with_prefix("mimamori-it-").unwrap();
        tar(&["-xzf", self.archive.to_str().unwrap(), "-C"], dir.path());
        dir
    }

    fn write(&self, to: &Path, of: &Path) {
        let name = to.join(&self.name);
        let archive = name.with_extension("tar.gz");
        let unneeded = ["--exclude=./test.log", "--exclude=./server.lock"];
        // zeros that are allocated ahead take no room, here and unpacked
        let words = "--owner=0 --group=0 --numeric-owner --sparse --hole-detection=raw -czf";
        let archive = archive.to_str().unwrap();
        let mut command = Command::new("tar");
        command.args(unneeded).args(words.split(' ')).arg(archive);
        let status = command.arg("-C").arg(of).arg(".").status().unwrap();
        assert!(status.success(), "{status}");
        let answers = File::create(name.with_extension("json.gz")).unwrap();
        let mut answers = GzEncoder::new(answers, Compression::best());
        serde_json::to_writer_pretty(&mut answers, self).unwrap();
        answers.finish().unwrap();
    }
}

fn tar(words: &[&str], dir: &Path) {
    let status = Command::new("tar").args(words).arg(dir).status().unwrap();
    assert!(status.success(), "tar: {status}");
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats")
}

/// Every directory that was kept, the oldest first.
pub fn generations() -> Vec<Kept> {
    let mut found = Vec::new();
    for generation in std::fs::read_dir(folder()).unwrap() {
        let path = generation.unwrap().path();
        if path.is_dir() {
            for name in ["stopped.tar.gz", "killed.tar.gz"] {
                found.push(Kept::read(&path.join(name)));
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(found.len() >= 2, "{} fixtures", found.len());
    found
}

/// A lesson: what a real extension sent, an invented class, what was refused, help that ended and that did not.
async fn teach(server: &Server) {
    for request in recorded::requests() {
        assert!(request.post(server).await.status < 300);
    }
    let ingest = format!("{}/k/{INGEST_KEY}", server.base());
    let words = "simulate --students 8 --speed 40 --duration 4 --seed 7 --url";
    let simulated = program(server.dir())
        .args(words.split(' '))
        .arg(&ingest)
        .output();
    let simulated = simulated.await.unwrap();
    assert!(simulated.status.success(), "{simulated:?}");
    let api = server.api();
    let mut events = vec![help("h1", "aiko", true), help("h2", "aiko", false)];
    events.extend((0..3).map(|nth| run(&format!("e{nth}"), "ben", "hard", Run::Error)));
    events.push(help("h3", "ben", true));
    api.accepted(&events).await;
    let mixed = [
        event("r1", "no_such_type", "aiko"),
        event("o1", "notebook_opened", "aiko"),
    ];
    assert_eq!(api.ingest(&mixed).await.good()["accepted"], 1);
    // more than one segment is full
    for nth in 0..20 {
        let mut long = run(&format!("long-{nth}"), "chie", &format!("c{nth}"), Run::Ok);
        long["code"] = format!("{nth} + 0  # {}", "余白 ".repeat(1500)).into();
        api.accepted(&[long]).await;
    }
}

/// What is there, once all of it can be read.
async fn look(name: &str, api: &Api) -> Kept {
    // a writer tells how far it is behind when it looks: the last event was seen by it first
    let last = format!("last-of-{name}");
    api.accepted(&[event(&last, "notebook_opened", "aiko")])
        .await;
    eventually("the records have all", PATIENCE, async || {
        let events = api.all("/events?since=0", 1000).await;
        let newest = events.last().cloned().unwrap_or_default();
        ensure(newest["eventId"] == *last, || newest.to_string())
    })
    .await;
    // what the sessions conclude of it comes behind it
    api.after_housekeeping(1).await;
    let end = api.all("/events?since=0", 1000).await;
    let until = now();
    Kept {
        name: name.to_owned(),
        archive: PathBuf::new(),
        acknowledged: ids(&end),
        answers: Answers::of(api, &until).await,
        until,
    }
}

/// Set when the next generation is to be kept among the fixtures.
const KEEP: &str = "MIMAMORI_KEEP_FORMATS";

/// The next generation's folder; a temporary one unless it is to be kept.
fn next_folder(temporary: &Path) -> PathBuf {
    if std::env::var_os(KEEP).is_none() {
        return temporary.to_owned();
    }
    let generations = std::fs::read_dir(folder()).unwrap();
    let generations = generations.filter(|path| path.as_ref().unwrap().path().is_dir());
    let next = folder().join((generations.count() + 1).to_string());
    std::fs::create_dir_all(&next).unwrap();
    println!("writing {}", next.display());
    next
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_formats_of_this_version_can_be_kept_with_what_it_answered() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = next_folder(temporary.path());
    let mut server = Server::with(SMALL).await;
    teach(&server).await;
    let stopped = look("stopped", &server.api()).await;
    server.sigterm();
    assert!(server.ended(PATIENCE).await.success());
    stopped.write(&folder, server.dir());

    let mut server = server.start_again().await;
    let api = server.api();
    let more: Vec<_> = (0..30)
        .map(|nth| {
            run(
                &format!("more-{nth}"),
                "dai",
                &format!("c{}", nth % 4),
                Run::Ok,
            )
        })
        .collect();
    api.accepted(&more).await;
    let mut killed = look("killed", &api).await;
    let last: Vec<_> = (0..50)
        .map(|nth| run(&format!("last-{nth}"), "emi", "c0", Run::Ok))
        .collect();
    api.accepted(&last).await;
    server.kill9().await;
    killed.acknowledged.extend(ids(&last));
    killed.write(&folder, server.dir());

    for kept in ["stopped", "killed"] {
        let read = Kept::read(&folder.join(format!("{kept}.tar.gz")));
        assert!(read.acknowledged.len() > 50, "{kept}");
    }
}
