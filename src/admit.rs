//! Identity, limits and room: what is refused is refused here, or never.
//!
//! Decoded events become records of the journal. Each accepted one carries
//! what makes it the same as another: a hash of (classroom, student, event
//! id), and one of what it says. The journal answers by these whether it is
//! new, a duplicate or a conflict, and [`Admission::settle`] turns its
//! verdicts into the answer to the client. Nothing of this remembers anything.

use std::fmt;

use mimamori_actors::domain::{
    AcceptedEvent, ClassroomId, Event, EventId, Record, Rejection, StudentId,
};
use mimamori_actors::ports::{Identity, NewRecord, Verdict};
use serde::Serialize;
use unicode_normalization::UnicodeNormalization;

use crate::decode::{Code, Element, MAX_PAYLOAD_BYTES, Refused, cut, write_canonical};
use crate::privacy::without_code;

/// Most events' records have fewer bytes as JSON.
const USUAL_JSON_BYTES: usize = 1024;
/// As long as an event id may be that is repeated in an answer.
const MAX_REPEATED_ID: usize = 128;

/// The secret that students' ids are computed with, so that nobody who sees an
/// id can try addresses until one fits.
#[derive(Clone)]
pub struct StudentKey([u8; 32]);

impl StudentKey {
    /// From the secret's bytes. Another secret makes every student a new one.
    pub const fn from_bytes(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// The student behind an address, the same one in every classroom: 96 bits
    /// of a keyed hash over the address in NFKC, in lower case, trimmed.
    pub fn student(&self, address: &str) -> StudentId {
        let folded: String = if address.is_ascii() {
            address.to_ascii_lowercase()
        } else {
            let composed: String = address.nfkc().collect();
            // to lower case may decompose again
            composed.to_lowercase().nfkc().collect()
        };
        let hash = blake3::keyed_hash(&self.0, folded.trim().as_bytes()).to_hex();
        StudentId::new(format!("stu_{}", &hash[..24]))
    }
}

impl fmt::Debug for StudentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StudentKey(…)")
    }
}

/// The events of one request on their way into the journal.
#[derive(Debug)]
pub struct Admission {
    /// To be appended as one batch, in the order of the request.
    pub records: Vec<NewRecord>,
    sent: Vec<Sent>,
    /// Whether the classroom stores code: otherwise it is dropped here, before anything is written.
    keeps_code: bool,
}

#[derive(Debug)]
enum Sent {
    Event(EventId),
    Refused(RejectedEvent),
}

/// What became of the events of one request: the three add up to what was sent.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// New ones, on disk.
    pub accepted: usize,
    /// Those that were on disk before.
    pub duplicates: usize,
    /// Those that were refused, in the order of the request.
    pub rejected: Vec<RejectedEvent>,
}

/// A refused event as the client is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectedEvent {
    /// Its index in the request.
    pub index: u32,
    /// What the client called it, if that may be repeated.
    pub event_id: Option<String>,
    /// Why, for programs.
    #[serde(serialize_with = "code_name")]
    pub code: Code,
    /// Why, for a person.
    pub detail: &'static str,
    /// Where: `/index/field`.
    pub pointer: String,
}

fn code_name<S: serde::Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.as_str())
}

impl RejectedEvent {
    fn new(index: u32, code: Code, field: Option<&str>, event_id: Option<&str>) -> Self {
        Self {
            index,
            event_id: event_id.filter(|id| may_be_repeated(id)).map(str::to_owned),
            code,
            detail: code.detail(),
            pointer: field.map_or_else(|| format!("/{index}"), |field| format!("/{index}/{field}")),
        }
    }

    /// As it is kept for inspection.
    fn record(&self, classroom: &ClassroomId, payload: &str) -> NewRecord {
        NewRecord {
            record: Record::Rejection(Rejection {
                classroom: classroom.clone(),
                index: self.index,
                code: self.code.as_str().to_owned(),
                detail: self.detail.to_owned(),
                pointer: self.pointer.clone(),
                event_id: self.event_id.clone(),
                payload: cut(payload, MAX_PAYLOAD_BYTES).to_owned(),
            }),
            identity: None,
            json: None,
        }
    }
}

/// Whether an event id is harmless enough to stand in an answer.
fn may_be_repeated(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_REPEATED_ID
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

impl Admission {
    /// An admission of up to this many events.
    pub fn with_capacity(events: usize) -> Self {
        Self {
            records: Vec::with_capacity(events),
            sent: Vec::with_capacity(events),
            keeps_code: true,
        }
    }

    /// Of a classroom that stores no code: what follows is kept without it, and
    /// nothing is kept of what a refused event said.
    #[must_use]
    pub fn keeping_code(mut self, keeps_code: bool) -> Self {
        self.keeps_code = keeps_code;
        self
    }

    /// Takes the next event of the request, or keeps why it is not taken.
    pub fn admit(
        &mut self,
        classroom: &ClassroomId,
        key: &StudentKey,
        element: &Element<'_>,
        decoded: Result<Event, Refused>,
    ) {
        match decoded {
            Ok(event) => {
                let event = if self.keeps_code {
                    event
                } else {
                    without_code(event)
                };
                self.sent.push(Sent::Event(event.id.clone()));
                self.records.push(accepted(classroom, key, event));
            }
            Err(refused) => {
                let rejected = RejectedEvent::new(
                    self.next_index(),
                    refused.code,
                    refused.field,
                    refused.event_id.as_deref(),
                );
                let payload = payload_of(element, self.keeps_code);
                self.records.push(rejected.record(classroom, payload));
                self.sent.push(Sent::Refused(rejected));
            }
        }
    }

    fn next_index(&self) -> u32 {
        u32::try_from(self.sent.len()).unwrap_or(u32::MAX)
    }

    /// Whether there are events and all of them are refused already.
    pub fn is_all_refused(&self) -> bool {
        !self.sent.is_empty()
            && self
                .sent
                .iter()
                .all(|sent| matches!(sent, Sent::Refused(_)))
    }

    /// What became of each event, by the journal's verdicts on the records,
    /// and the conflicts among them as records to be kept for inspection.
    ///
    /// `verdicts` may be empty if no record was an event.
    pub fn settle(
        self,
        classroom: &ClassroomId,
        elements: &[Element<'_>],
        verdicts: &[Verdict],
    ) -> (Outcome, Vec<NewRecord>) {
        let mut outcome = Outcome::default();
        let mut conflicts = Vec::new();
        for ((index, sent), element) in (0..).zip(self.sent).zip(elements) {
            let payload = payload_of(element, self.keeps_code);
            let verdict = verdicts.get(index as usize);
            match (sent, verdict) {
                (Sent::Refused(rejected), _) => outcome.rejected.push(rejected),
                (Sent::Event(id), Some(Verdict::Conflict) | None) => {
                    let field = Some("eventId");
                    let rejected =
                        RejectedEvent::new(index, Code::Conflict, field, Some(id.as_str()));
                    conflicts.push(rejected.record(classroom, payload));
                    outcome.rejected.push(rejected);
                }
                (Sent::Event(_), Some(Verdict::Accepted(_))) => outcome.accepted += 1,
                (Sent::Event(_), Some(Verdict::Duplicate)) => outcome.duplicates += 1,
            }
        }
        (outcome, conflicts)
    }
}

/// What is kept of a refused event.
fn payload_of<'a>(element: &'a Element<'_>, keeps_code: bool) -> &'a str {
    if keeps_code { element.as_sent() } else { "" }
}

/// What stands behind the event in the JSON of a record.
const TAIL: &[u8] = b"}}";

fn accepted(classroom: &ClassroomId, key: &StudentKey, event: Event) -> NewRecord {
    let student = key.student(&event.address);
    let (json, content) = as_kept(classroom, &student, &event);
    let identity = Identity {
        key: key_of(classroom, &student, &event),
        content,
    };
    NewRecord {
        record: Record::Event(Box::new(AcceptedEvent {
            classroom: classroom.clone(),
            student,
            event,
        })),
        identity: Some(identity),
        json: Some(json),
    }
}

/// The JSON of the record, and the hash of the event in it: both want the same
/// text, and writing it is what admitting an event costs most.
fn as_kept(classroom: &ClassroomId, student: &StudentId, event: &Event) -> (Vec<u8>, [u8; 16]) {
    let mut json = head_of(classroom, student);
    let from = json.len();
    write_canonical(&mut json, event);
    let content = short_hash(&[&json[from..]]);
    json.extend_from_slice(TAIL);
    (json, content)
}

/// Whether this text of a record is, byte by byte, what the identity beside it was computed from.
pub(crate) fn is_as_admitted(event: &AcceptedEvent, text: &[u8], identity: &Identity) -> bool {
    let (head, key) = (
        head_of(&event.classroom, &event.student),
        key_of(&event.classroom, &event.student, &event.event),
    );
    let content = text
        .strip_prefix(&*head)
        .and_then(|rest| rest.strip_suffix(TAIL));
    key == identity.key && content.is_some_and(|content| short_hash(&[content]) == identity.content)
}

fn key_of(classroom: &ClassroomId, student: &StudentId, event: &Event) -> [u8; 16] {
    identity_key(classroom, student, &event.id)
}

/// What the index of identities knows an event by.
pub(crate) fn identity_key(
    classroom: &ClassroomId,
    student: &StudentId,
    event: &EventId,
) -> [u8; 16] {
    short_hash(&[
        classroom.as_str().as_bytes(),
        student.as_str().as_bytes(),
        event.as_str().as_bytes(),
    ])
}

/// The JSON of a record before its event.
fn head_of(classroom: &ClassroomId, student: &StudentId) -> Vec<u8> {
    let mut json = Vec::with_capacity(USUAL_JSON_BYTES);
    json.extend_from_slice(br#"{"event":{"classroom":"#);
    write_text(&mut json, classroom.as_str());
    json.extend_from_slice(br#","student":"#);
    write_text(&mut json, student.as_str());
    json.extend_from_slice(br#","event":"#);
    json
}

fn write_text(json: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(json, text).expect("a text is JSON and memory takes all bytes");
}

/// 128 bits of a hash over the parts, each with its length first: ("ab", "c") is not ("a", "bc").
fn short_hash(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    short
}

#[cfg(test)]
mod tests {
    use mimamori_actors::domain::Position;

    use super::*;
    use crate::decode::{cell_monitor, split};

    const KEY: StudentKey = StudentKey::from_bytes([7; 32]);

    fn classroom() -> ClassroomId {
        ClassroomId::new("default")
    }

    fn admit(body: &str) -> Admission {
        let events = split(body.as_bytes()).unwrap();
        let mut admission = Admission::with_capacity(events.elements.len());
        for element in &events.elements {
            admission.admit(&classroom(), &KEY, element, cell_monitor::decode(element));
        }
        admission
    }

    fn event(id: &str, address: &str, code: &str) -> String {
        format!(
            r#"{{"eventId":"{id}","eventType":"cell_executed","code":"{code}",
                "eventTime":"2026-11-21T22:25:44Z","emailAddress":"{address}"}}"#
        )
    }

    fn identity(event: &str) -> Identity {
        admit(&format!("[{event}]")).records[0].identity.unwrap()
    }

    #[test]
    fn one_address_is_one_student_however_it_is_written() {
        let student = KEY.student("hanako@example.ac.jp");

        assert_eq!(student.as_str().len(), 28);
        for same in [
            " Hanako@Example.AC.JP",
            "ｈａｎａｋｏ＠example.ac.jp\u{3000}",
        ] {
            assert_eq!(KEY.student(same), student, "{same}");
        }
        assert_ne!(KEY.student("taro@example.ac.jp"), student);
        let other_key = StudentKey::from_bytes([8; 32]);
        assert_ne!(other_key.student("hanako@example.ac.jp"), student);
    }

    #[test]
    fn the_key_is_never_shown() {
        assert_eq!(format!("{KEY:?}"), "StudentKey(…)");
    }

    #[test]
    fn an_identity_is_classroom_student_and_event_id_and_its_content_the_rest() {
        let first = identity(&event("e1", "a@x", "1"));

        assert_eq!(identity(&event("e1", "A@x ", "1")), first);
        assert_ne!(identity(&event("e2", "a@x", "1")).key, first.key);
        assert_ne!(identity(&event("e1", "b@x", "1")).key, first.key);
        let other = identity(&event("e1", "a@x", "2"));
        assert_eq!(other.key, first.key);
        assert_ne!(other.content, first.content);
    }

    #[test]
    fn the_json_that_goes_into_the_journal_is_that_of_the_record() {
        let odd = r#"{"eventId":"e\"\\\u0001","eventType":"cell_executed","code":"a\nb\u2028",
            "eventTime":"2026-11-21T22:25:44Z","emailAddress":"a@x","userName":"山田 \"花子\"",
            "executionDurationMs":0.1,"result":["a","b"],"unknown":{"b":[1,null],"a":"\u0000"}}"#;

        for admitted in admit(&format!("[{},{odd}]", event("e1", "a@x", "1"))).records {
            let json = admitted.json.expect("an event brings its text");
            assert_eq!(
                String::from_utf8(json).unwrap(),
                serde_json::to_string(&admitted.record).unwrap()
            );
        }
    }

    #[test]
    fn a_text_is_told_from_any_other_by_the_identity_beside_it() {
        let admitted = admit(&format!("[{}]", event("e1", "a@x", "1")))
            .records
            .remove(0);
        let (text, identity) = (admitted.json.unwrap(), admitted.identity.unwrap());
        let Record::Event(kept) = admitted.record else {
            panic!("an event was admitted");
        };

        assert!(is_as_admitted(&kept, &text, &identity));
        for place in 0..text.len() {
            let mut other = text.clone();
            other[place] ^= 1;

            assert!(!is_as_admitted(&kept, &other, &identity), "byte {place}");
        }
    }

    #[test]
    fn the_parts_of_an_identity_do_not_run_into_each_other() {
        assert_ne!(short_hash(&[b"ab", b"c"]), short_hash(&[b"a", b"bc"]));
    }

    #[test]
    fn the_order_of_fields_is_no_content() {
        let one = r#"{"eventType":"help","userId":"a","eventTime":"2026-11-21T22:25:44Z",
            "eventId":"e","metadata":{"a":1,"b":{"c":1,"d":2}}}"#;
        let other = r#"{"metadata":{"b":{"d":2,"c":1},"a":1},"eventId":"e",
            "eventTime":"2026-11-21T22:25:44.000+00:00","userId":"A","eventType":"help"}"#;

        assert_eq!(identity(one), identity(other));
    }

    #[test]
    fn verdicts_become_the_answer_in_the_order_of_the_request() {
        let good = event("e1", "a@x", "1");
        let body = format!(r#"[{good},5,{good},{{"eventId":"a b"}},{good}]"#);
        let events = split(body.as_bytes()).unwrap();
        let accepted = Verdict::Accepted(Position(1));
        let verdicts = [
            accepted,
            accepted,
            Verdict::Conflict,
            accepted,
            Verdict::Duplicate,
        ];
        let admission = admit(&body);
        let (outcome, conflicts) = admission.settle(&classroom(), &events.elements, &verdicts);

        assert_eq!((outcome.accepted, outcome.duplicates), (1, 1));
        let told: Vec<_> = outcome
            .rejected
            .iter()
            .map(|rejected| {
                let id = rejected.event_id.as_deref();
                (rejected.pointer.as_str(), rejected.code.as_str(), id)
            })
            .collect();
        let expected = [
            ("/1", "not_an_object", None),
            ("/2/eventId", "conflict", Some("e1")),
            ("/3/eventType", "unknown_type", None),
        ];
        assert_eq!(told, expected);
        let Record::Rejection(conflict) = &conflicts[0].record else {
            panic!("{conflicts:?}");
        };
        assert_eq!(conflict.payload, good);
    }

    #[test]
    fn a_refused_event_is_kept_as_sent_up_to_64_kib() {
        let long = format!(r#"[["x{}"]]"#, "é".repeat(MAX_PAYLOAD_BYTES));
        let admission = admit(&long);

        let Record::Rejection(rejection) = &admission.records[0].record else {
            panic!("{:?}", admission.records);
        };
        assert!(admission.is_all_refused());
        assert_eq!(rejection.payload.len(), MAX_PAYLOAD_BYTES - 1);
        assert!(rejection.payload.starts_with("[\"xé"));
    }
}
