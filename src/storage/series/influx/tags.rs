//! The values of tags: few, clean, and chosen once.
//!
//! A tag of InfluxDB costs memory for each value, for good, and what students
//! type must not decide how many there are. So a classroom has at most
//! [`MOST_VALUES`] teams and notebooks of its own there, by who came first; the
//! rest is `other`. A point that is written again must get the value that it
//! had: what was chosen is kept in InfluxDB itself, before the points that use it.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use influxdb::WriteQuery;
use mimamori_actors::domain::ClassroomId;
use unicode_normalization::UnicodeNormalization;

use super::points::new;

/// Where the chosen values are.
pub(super) const VALUES: &str = "mimamori_tag_values";
/// Teams, and notebooks, of a classroom that have a value of their own.
pub(super) const MOST_VALUES: usize = 200;
/// What the others have.
const OTHER: &str = "other";
/// What stands for no name, or for one of which nothing is left.
const NONE: &str = "none";
/// What begins so is no name: none has two blanks beside each other.
const UNUSED: &str = "unused  ";
/// A longer value is cut, and a hash of it all says which it was.
const MOST_BYTES: usize = 128;
/// Classrooms whose values are in memory; they are read again when there are more.
const MOST_CLASSROOMS: usize = 256;
/// What is kept about points stands behind the time of all of them, in 2200: no
/// retention policy takes it away.
pub(super) const KEPT_AT: i64 = 7_258_118_400_000_000_000;

/// What is chosen a value for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Label {
    Notebook,
    Team,
}

impl Label {
    pub(super) const ALL: [Self; 2] = [Self::Notebook, Self::Team];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Notebook => "notebook",
            Self::Team => "team",
        }
    }

    /// As it stands in the database.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.as_str() == name)
    }
}

/// What was chosen, of the classrooms that were asked about.
#[derive(Debug, Default)]
pub(super) struct Tags {
    chosen: HashMap<ClassroomId, HashMap<Label, HashSet<String>>>,
    /// Chosen since the last look, in their order: to be kept before they are used.
    fresh: Vec<WriteQuery>,
}

impl Tags {
    /// Forgets everything: what is in the database counts.
    pub(super) fn clear(&mut self) {
        self.chosen.clear();
        self.fresh.clear();
    }

    /// Whether what was chosen for this classroom is known.
    pub(super) fn know(&self, classroom: &ClassroomId) -> bool {
        self.chosen.contains_key(classroom)
    }

    /// What is in the database for this classroom.
    pub(super) fn learn(&mut self, classroom: &ClassroomId, values: Vec<(Label, String)>) {
        let room = self.chosen.entry(classroom.clone()).or_default();
        for (label, value) in values {
            room.entry(label).or_default().insert(value);
        }
    }

    /// Makes room for the classrooms of another batch.
    pub(super) fn make_room(&mut self) {
        if self.chosen.len() >= MOST_CLASSROOMS {
            self.chosen.clear();
        }
    }

    /// The value for a name, the one that it had before if it had one. `place` is that of its
    /// entry: no other entry has it.
    pub(super) fn choose(
        &mut self,
        classroom: &ClassroomId,
        label: Label,
        name: Option<&str>,
        place: i64,
    ) -> String {
        let value = clean(name.unwrap_or_default());
        if value == NONE || value == OTHER {
            return value;
        }
        let room = self.chosen.entry(classroom.clone()).or_default();
        let values = room.entry(label).or_default();
        if values.contains(&value) {
            return value;
        }
        if values.len() >= MOST_VALUES {
            metrics::counter!("mimamori_series_other_tags_total").increment(1);
            return OTHER.to_owned();
        }
        values.insert(value.clone());
        self.fresh.push(kept(classroom, label, &value, place));
        value
    }

    /// What is to be kept before the points that use it.
    pub(super) fn take_fresh(&mut self) -> Vec<WriteQuery> {
        std::mem::take(&mut self.fresh)
    }
}

/// One choice, under the place of the entry that it was made for: the same again is the same point.
fn kept(classroom: &ClassroomId, label: Label, value: &str, place: i64) -> WriteQuery {
    new(VALUES, KEPT_AT.saturating_add(place))
        .add_tag("classroom", of_classroom(classroom))
        .add_tag("label", label.as_str())
        .add_field("value", value)
}

/// What stands in the place of a value that no point has any more, which was chosen at this
/// `time`. It keeps the place: were another name chosen for it, the points that have
/// `other` for that name would be written a second time with another tag.
pub(super) fn unused(classroom: &ClassroomId, label: Label, time: i64) -> WriteQuery {
    let number = time.saturating_sub(KEPT_AT);
    new(VALUES, time)
        .add_tag("classroom", of_classroom(classroom))
        .add_tag("label", label.as_str())
        .add_field("value", format!("{UNUSED}{number}"))
}

/// Whether this is no value, but what stands in the place of one.
pub(super) fn is_unused(value: &str) -> bool {
    value.starts_with(UNUSED)
}

/// A name as a tag: composed as names are compared, without what breaks lines or turns
/// the direction of text, no quotes nor backslashes (they cannot be told from escapes),
/// never empty and not long. Names that differ in these only have one value.
fn clean(name: &str) -> String {
    let composed: String = name.nfkc().filter_map(cleaned).collect();
    let words: Vec<_> = composed.split_whitespace().collect();
    let mut value = words.join(" ");
    if value.len() > MOST_BYTES {
        let hash = blake3::hash(value.as_bytes()).to_hex();
        value.truncate(value.floor_char_boundary(MOST_BYTES));
        // writing into a String can't fail
        let _ = write!(value, "…{}", &hash[..8]);
    }
    if value.is_empty() {
        return NONE.to_owned();
    }
    value
}

fn cleaned(c: char) -> Option<char> {
    match c {
        '\\' => Some('/'),
        '"' => Some('\''),
        c if c.is_control() || c.is_whitespace() => Some(' '),
        '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' => None,
        c => Some(c),
    }
}

/// A classroom as a tag: no two of them have the same one, whatever their ids hold.
pub(super) fn of_classroom(classroom: &ClassroomId) -> String {
    let mut tag = String::with_capacity(classroom.as_str().len());
    for byte in classroom.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            tag.push(char::from(byte));
        } else {
            // writing into a String can't fail
            let _ = write!(tag, "%{byte:02X}");
        }
    }
    if tag.is_empty() {
        tag.push('%');
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> ClassroomId {
        ClassroomId::new(name)
    }

    #[test]
    fn a_tag_holds_nothing_that_ends_a_line_or_a_value_or_turns_it_around() {
        for (name, expected) in [
            ("week1/課題 1.ipynb", "week1/課題 1.ipynb"),
            ("a\nevents,x=y z=1i", "a events,x=y z=1i"),
            ("C:\\notes\\", "C:/notes/"),
            ("a \"quoted\" name", "a 'quoted' name"),
            ("\u{0}\u{7}\u{85}\u{2028}", "none"),
            ("   ", "none"),
            ("", "none"),
            ("team\u{202e}\u{200f}\u{200b}", "team"),
            ("か\u{3099}", "が"),
            ("ﾁｰﾑＡ", "チームA"),
        ] {
            assert_eq!(clean(name), expected, "{name:?}");
        }
    }

    #[test]
    fn long_names_are_cut_and_still_differ() {
        let [one, two] = ["a", "b"].map(|end| clean(&format!("{}{end}", "課題".repeat(5_000))));

        assert!(one.len() <= MOST_BYTES + 11, "{}", one.len());
        assert_ne!(one, two);
    }

    #[test]
    fn no_two_classrooms_have_the_same_tag() {
        let rooms = [
            "a b",
            "a%20b",
            "a",
            "A",
            "",
            "%",
            "が",
            "か\u{3099}",
            "a\nb",
            "a,b=c",
        ];

        let tags: HashSet<_> = rooms.iter().map(|name| of_classroom(&room(name))).collect();

        assert_eq!(tags.len(), rooms.len());
        assert_eq!(of_classroom(&room("2026-ws_python.1")), "2026-ws_python.1");
    }

    #[test]
    fn the_first_200_of_a_classroom_have_values_of_their_own() {
        let mut tags = Tags::default();
        let mut choose =
            |room: &ClassroomId, label, name: &str| tags.choose(room, label, Some(name), 1);

        for n in 0..MOST_VALUES {
            assert_eq!(
                choose(&room("a"), Label::Team, &format!("t{n}")),
                format!("t{n}")
            );
        }

        assert_eq!(choose(&room("a"), Label::Team, "one more"), OTHER);
        assert_eq!(choose(&room("a"), Label::Team, "t7"), "t7");
        assert_eq!(choose(&room("a"), Label::Team, "\n"), NONE);
        assert_eq!(choose(&room("a"), Label::Notebook, "one more"), "one more");
        assert_eq!(choose(&room("b"), Label::Team, "one more"), "one more");
        assert_eq!(tags.take_fresh().len(), MOST_VALUES + 2);
        assert!(tags.take_fresh().is_empty());
    }
}
