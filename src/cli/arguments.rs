//! What can be written on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mimamori_actors::domain::{ClassroomId, Timestamp};

use crate::config::PostgresUrl;
use crate::moving::TimeZone;

/// A live monitor for programming classes in notebooks.
///
/// `mimamori serve` takes in what students' notebooks send and shows the class
/// live to its instructors. Configuration: built-in defaults, then the file
/// given with --config, then the environment (MIMAMORI_HTTP__LISTEN, …).
#[derive(Debug, Parser)]
#[command(
    name = "mimamori",
    version,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "Exit codes: 0 success, 2 a wrong call or configuration, 1 anything else.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Serve(Serve),
    CheckConfig(CheckConfig),
    Link(Link),
    Migrate(Migrate),
    Backup(Backup),
    Restore(Restore),
    Export(Export),
    Research(Research),
    Erase(Erase),
    Simulate(Simulate),
    Replay(Replay),
    Journal(Journal),
    Import(Import),
    Health(Health),
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub(super) struct ConfigFile {
    /// A file in TOML; only what differs from the defaults need stand in it.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// Serve: take in events, show the class.
///
/// With --role consoles it takes none in and keeps nothing: it shows the class
/// to consoles of its own, as the node that takes the events in tells it over
/// Redis (bus.url). It needs the secrets of that node (auth.admin_token,
/// auth.signing_secret, or copies of its keys directory) and, for history, its
/// PostgreSQL (records.url).
///
/// With a replica of that database in records.read_url, at either kind of node, reading
/// calls are answered there, and by the database itself while the replica is away or behind.
///
/// When the socket is open, one line is printed on standard output:
/// {"listening":"http://127.0.0.1:PORT"}. Logs go to standard error. SIGTERM or
/// Ctrl-C lets what is in hand finish and stops within 5 s; a second one stops
/// at once.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  mimamori serve --config /etc/mimamori/mimamori.toml\n  \
    MIMAMORI_HTTP__LISTEN=0.0.0.0:9000 mimamori serve\n  \
    MIMAMORI_BUS__URL=redis://cache.example/0 mimamori serve --role consoles"
)]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// What this node is there for; goes before serve.role of the configuration.
    #[arg(long, value_enum, value_name = "ROLE")]
    pub(super) role: Option<ServeRole>,
    /// Print the sign-in link and the ingest address, which hold secrets, also where standard error is no terminal.
    #[arg(long)]
    pub(super) print_links: bool,
}

/// What a node is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ServeRole {
    /// Takes events in, keeps them, and serves consoles.
    All,
    /// Serves consoles of what another node tells over the bus.
    Consoles,
}

impl ServeRole {
    /// As the configuration calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Consoles => "consoles",
        }
    }
}

/// Tell whether the configuration is right, and what is in force.
///
/// Prints every key with its value and where that stands, secrets left out; or
/// every fault, and exits with 2. Starts nothing and writes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  mimamori check-config --config /etc/mimamori/mimamori.toml")]
pub(super) struct CheckConfig {
    #[command(flatten)]
    pub(super) file: ConfigFile,
}

/// Print the ingest address and a fresh sign-in link.
///
/// The link is good for 10 minutes. The addresses are those of the server that
/// runs on this storage.dir, or else those that the configuration says. Use the
/// configuration that the server was started with.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  mimamori link\n  \
    mimamori simulate --url \"$(mimamori link --ingest)\"")]
pub(super) struct Link {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// Print the ingest address alone, without a word before it.
    #[arg(long, conflicts_with = "console")]
    pub(super) ingest: bool,
    /// Print the sign-in link alone, without a word before it.
    #[arg(long)]
    pub(super) console: bool,
}

/// Bring the tables of the records to this version.
///
/// `serve` does the same when it starts; this is for those who want to see it
/// done before. Refused while a server runs on this storage.dir.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  mimamori migrate --config /etc/mimamori/mimamori.toml")]
pub(super) struct Migrate {
    #[command(flatten)]
    pub(super) file: ConfigFile,
}

/// Write a backup of everything that is kept into a new directory.
///
/// Works while the server runs, without disturbing it, and without one. The
/// backup is of one moment: everything that was accepted before the command began
/// is in it. Records in PostgreSQL are part of it. DIR must not be there yet, or
/// be empty; it appears when the backup is whole and on disk. Until then it is
/// written beside it, as DIR.partial.
///
/// A backup holds what students wrote, their addresses, and the keys: keep it as
/// you keep those. Run it as the user of the server, or as root, with the
/// configuration that the server was started with.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  mimamori backup /var/backups/mimamori/2026-11-22\n  \
    mimamori backup --config /etc/mimamori/mimamori.toml --json \"/var/backups/mimamori/$(date +%F)\""
)]
pub(super) struct Backup {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// Where to: a directory that is not there yet.
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// Print what was taken as JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

/// Put a backup into an empty storage directory.
///
/// storage.dir and, if they are in PostgreSQL, the records must be empty; no
/// server may run. Every byte of the backup is checked before the first one is
/// written: one that is damaged, or of a later version, is refused by name. A
/// backup of records in SQLite can be restored into PostgreSQL and the other way
/// round: records.url says where to.
///
/// Cut short, at whatever point, it leaves a directory on which no server
/// starts; run it again. Who was erased since the backup was taken stays erased,
/// as far as the lists in storage.dir and beside the backup know.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  mimamori restore /var/backups/mimamori/2026-11-22\n  \
    MIMAMORI_STORAGE__DIR=/var/lib/mimamori mimamori restore /var/backups/mimamori/2026-11-22"
)]
pub(super) struct Restore {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// Where the backup is.
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// Print what was restored as JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

/// Export a classroom's history as a file, for spreadsheets or for analysis.
///
/// Executions and events go by the time that the reading calls go by (`at`), the
/// others by their beginning; without --from and --to, all there is. Students are
/// named by their opaque ids: no address and no name is in the file. Students
/// who are not for research (mimamori research) are left out, and how many is told
/// on standard error. CSV has a byte order mark, and an apostrophe before every text
/// that a spreadsheet might compute; Parquet has typed columns. The server that runs
/// on this storage.dir reads for it, two exports at a time, in constant memory; if none
/// runs, the records are opened here.
///
/// With --student it hands out everything that is kept about that student instead,
/// for themselves: one JSON document with address and name, sessions, executions with
/// code and output, events as they were sent, requests for help, alerts, refused
/// requests and dead letters of theirs. Opened here, the records may lack what was
/// accepted last before an unclean stop.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  mimamori export --what executions --format parquet --from 2026-10-01 --output autumn.parquet\n  \
    mimamori export --what help --format csv --output help.csv\n  \
    mimamori export --student hanako@example.ac.jp --output hanako.json"
)]
pub(super) struct Export {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// Everything about this student, for themselves: the address, however written, or the id (stu_…).
    #[arg(long, value_name = "ADDRESS|ID", conflicts_with_all = ["format", "what", "from", "to"])]
    pub(super) student: Option<String>,
    /// The classroom.
    #[arg(long, value_name = "ID", default_value = "default")]
    pub(super) classroom: String,
    /// csv or parquet.
    #[arg(long, value_name = "FORMAT", default_value = "csv", value_parser = ["csv", "parquet"])]
    pub(super) format: String,
    /// executions, events, sessions, help or lessons.
    #[arg(long, value_name = "WHAT", default_value = "executions", value_parser = ["executions", "events", "sessions", "help", "lessons"])]
    pub(super) what: String,
    /// From this time on: ISO 8601, without an offset it is UTC.
    #[arg(long, value_name = "TIME")]
    pub(super) from: Option<Timestamp>,
    /// Up to this time, exclusive.
    #[arg(long, value_name = "TIME")]
    pub(super) to: Option<Timestamp>,
    /// A file instead of standard output; it has its name only when it is whole. Into a device or a pipe it is written straight.
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

/// Set or tell whether what is kept of a student is for research.
///
/// Exports leave out the students who are not. It holds in every classroom, until
/// it is allowed again.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  mimamori research --student hanako@example.ac.jp --refuse\n  \
    mimamori research --student stu_0123456789abcdef01234567"
)]
pub(super) struct Research {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// The student: the address, however written, or the id (stu_…).
    #[arg(long, value_name = "ADDRESS|ID")]
    pub(super) student: String,
    /// It is for research.
    #[arg(long, conflicts_with = "refuse")]
    pub(super) allow: bool,
    /// It is not.
    #[arg(long)]
    pub(super) refuse: bool,
}

/// Erase everything that is kept about one student.
///
/// At once the student is in no answer and on no console any more. Then
/// everything about them is taken out of the records, the series, the journal,
/// its index of identities and the snapshots, and the command returns when
/// nothing is left but a line in storage.dir/erasures.jsonl, with their id and
/// no name. What they send after that is a new beginning. Doing it again
/// changes nothing; one that is cut short is finished by the next start.
///
/// Backups are not touched: a restore keeps to the list of erasures. Pieces in
/// journal/damaged may be anybody's and are removed: repair before, if you
/// want to (mimamori journal inspect --repair).
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  mimamori export --student hanako@example.ac.jp --output hanako.json\n  \
    mimamori erase --student hanako@example.ac.jp"
)]
pub(super) struct Erase {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// The student: the address, however written, or the id (stu_…).
    #[arg(long, value_name = "ADDRESS|ID")]
    pub(super) student: String,
    /// The classroom.
    #[arg(long, value_name = "ID", default_value = "default")]
    pub(super) classroom: String,
    /// Write the list of erasures there, too: the directory with the backups.
    #[arg(long, value_name = "DIR")]
    pub(super) also: Option<PathBuf>,
    /// Do not ask.
    #[arg(long)]
    pub(super) yes: bool,
}

/// Act as a class: post what its notebooks would send.
///
/// Students open their notebooks, work, fail, try again, run all cells, ask for
/// help; each event is its own request after a random delay, some come late or
/// twice, as from the real extension. Runs until Ctrl-C or --duration, then
/// prints a summary. Exits with 1 if an event was refused or lost for good.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  mimamori simulate --students 200 --url http://127.0.0.1:8000/k/KEY/api/v1/events\n  \
    mimamori simulate --speed 10 --duration 60 --seed 7 --url \"$(mimamori link --ingest)\""
)]
pub(super) struct Simulate {
    /// How many students.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) students: u32,
    /// How many times faster than a real class.
    #[arg(long, value_name = "X", default_value = "1", value_parser = speed)]
    pub(super) speed: f64,
    /// The ingest address, with its key.
    #[arg(long, value_name = "INGEST_ADDRESS")]
    pub(super) url: reqwest::Url,
    /// Stop after so many seconds; without it, at Ctrl-C.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) duration: Option<Duration>,
    /// The same seed gives the same class; without it, another one each time.
    #[arg(long, value_name = "SEED")]
    pub(super) seed: Option<u64>,
    /// Seconds between lines of progress.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(super) print_every: Duration,
}

/// Send recorded requests again.
///
/// Each FILE holds one request or a list of them, as JSON with method, path,
/// headers, recordedAt and body; of a directory its *.json files are taken in
/// the order of their names. Prints a line for each answer. Exits with 1 if one
/// is not 2xx.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  mimamori replay tests/fixtures/cell-monitor --url http://127.0.0.1:8000 --key KEY\n  \
    mimamori replay tests/fixtures/cell-monitor --url \"$(mimamori link --ingest)\" --speed 10"
)]
pub(super) struct Replay {
    /// Recorded requests: files, or directories of them.
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,
    /// The server; an ingest address is taken too.
    #[arg(long, value_name = "BASE")]
    pub(super) url: reqwest::Url,
    /// The ingest key, if it does not stand in the address.
    #[arg(long, value_name = "KEY")]
    pub(super) key: Option<String>,
    /// Keep the recorded pauses, so many times shorter; without it, no pauses.
    #[arg(long, value_name = "X", value_parser = speed)]
    pub(super) speed: Option<f64>,
}

/// Look into the journal.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  mimamori journal inspect ./data")]
pub(super) struct Journal {
    #[command(subcommand)]
    pub(super) command: JournalCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum JournalCommand {
    Inspect(Inspect),
}

/// Tell what the journal holds, what is damaged, and what was set aside.
///
/// Reads the segments, the pieces in journal/damaged and the index, with a
/// server running or without, and changes nothing. Exits with 1 if something is
/// damaged or missing.
///
/// --repair changes files, so no server may run. It does only what is certain:
/// an entry comes back, with its position, if one changed bit explains the
/// damage, or if it stands whole in journal/damaged; there you may also put
/// segment files of a backup, under their own names. The records then read the
/// journal again from there; live counters and the chart do not. A damaged
/// header of a segment is written anew. A damaged index is marked: the next
/// start fills it from the journal. Files in the making are removed. Damaged
/// bytes are kept in journal/damaged before anything is written in their place.
///
/// It does not bring back what was sent again since, nor guess: what stays
/// missing is named as lost, with its positions. An unfinished end is left to
/// the next start, which knows whether it was acknowledged. A second --repair
/// changes nothing more.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  mimamori journal inspect\n  mimamori journal inspect --json /var/lib/mimamori\n  \
    mimamori journal inspect --repair"
)]
pub(super) struct Inspect {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// The storage directory; by default the storage.dir of the configuration.
    #[arg(value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Put right what can be, a line for each thing; refused while a server runs.
    #[arg(long)]
    pub(super) repair: bool,
    /// Print what was found as JSON, for programs.
    #[arg(long, conflicts_with = "repair")]
    pub(super) json: bool,
}

/// Ask the running server whether it takes events.
///
/// Asks /readyz of the server that runs on this storage.dir, prints its answer,
/// and exits with 0 if it takes events (a store may be down then: the answer
/// names it), with 1 if it does not, or if none runs. Answers within 3 s.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  mimamori health")]
pub(super) struct Health {
    #[command(flatten)]
    pub(super) file: ConfigFile,
}

/// Bring over the history of the service that was here before.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  mimamori import cell-monitor postgres://reader@old-host/cellmonitor --dry-run"
)]
pub(super) struct Import {
    #[command(subcommand)]
    pub(super) from: ImportFrom,
}

#[derive(Debug, Subcommand)]
pub(super) enum ImportFrom {
    CellMonitor(FromCellMonitor),
}

/// From the PostgreSQL database of cell-monitor's FastAPI server.
///
/// Brings its students, teams, notebooks and cell executions into the records
/// and the series, where they show at the time when they happened; live
/// counters, alerts and lessons don't hear of them. The database is read in one
/// transaction and not changed. The same again adds only what is new since.
/// Executions whose student, address, notebook or time is missing are counted,
/// named and left out, and so is what is past its term and what was done by a
/// student before they were erased here. Prints what was there and what is new,
/// and exits with 1 if that does not add up. Refused while a server runs on this
/// storage.dir.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  mimamori import cell-monitor postgres://reader@old-host/cellmonitor --dry-run\n  \
    mimamori import cell-monitor postgres://reader@old-host/cellmonitor --time-zone Asia/Tokyo\n\n\
    A password may stand in the address, where others on this machine see it, in PGPASSWORD, or in ~/.pgpass."
)]
pub(super) struct FromCellMonitor {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// Its database: postgres://USER:PASSWORD@HOST:5432/DATABASE.
    #[arg(value_name = "DATABASE")]
    pub(super) source: PostgresUrl,
    /// Tell what would be brought, and keep nothing. Makes the tables of the records if they are not there.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Of which classroom it becomes history.
    #[arg(long, value_name = "ID", default_value = "default")]
    classroom: String,
    /// In which zone times stand that carry none.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub(super) time_zone: TimeZone,
}

impl FromCellMonitor {
    pub(super) fn classroom(&self) -> ClassroomId {
        ClassroomId::new(self.classroom.as_str())
    }
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.01..=10_000.0).contains(&speed) => Ok(speed),
        _ => Err("not a number from 0.01 to 10000".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.trim_end_matches('s').parse::<f64>() {
        Ok(seconds) if (0.1..=1_000_000.0).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err("not a number of seconds from 0.1 to 1000000".to_owned()),
    }
}
