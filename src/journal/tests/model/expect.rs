//! What a client and a consumer may rely on, kept in plain maps.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mimamori_actors::domain::Position;
use mimamori_actors::ports::{AppendError, NewRecord, Verdict};

use super::actions::Pick;

pub(super) type Held = Result<(), String>;

/// An error that says what is broken, unless it holds.
pub(super) fn holds(is_so: bool, otherwise: impl FnOnce() -> String) -> Held {
    if is_so { Ok(()) } else { Err(otherwise()) }
}

/// What a request came to.
pub(super) type Answer = Result<Vec<Verdict>, AppendError>;

/// A record of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) name: String,
    pub(super) content: u8,
    pub(super) text: String,
}

impl Said {
    pub(super) fn record(&self) -> NewRecord {
        let content = self.content.to_string();
        NewRecord {
            identity: Some(super::super::identity(&self.name, &content)),
            ..super::super::saying(&self.name, &self.text)
        }
    }
}

/// What is known of a name.
#[derive(Debug, Clone, Copy)]
struct Known {
    content: u8,
    position: u64,
    /// What it rested on is gone: a second one may be taken for new.
    may_be_forgotten: bool,
}

/// A request that got no answer, or a bad one: all of it may be there, or nothing.
#[derive(Debug)]
struct Unanswered(Vec<(Said, bool)>);

impl Unanswered {
    /// How many of the entries from the front are this request, if they are.
    fn explains(&self, found: &[(u64, String)]) -> Option<usize> {
        let mut next = 0;
        for (said, must_be_there) in &self.0 {
            let is_next = found.get(next).is_some_and(|(position, text)| {
                *text == said.text && *position == found[0].0 + next as u64
            });
            if is_next {
                next += 1;
            } else if *must_be_there {
                return None;
            }
        }
        (next > 0).then_some(next)
    }
}

#[derive(Debug, Default)]
pub(super) struct Expected {
    /// What was acknowledged, or found after it was not, by position.
    entries: BTreeMap<u64, String>,
    known: HashMap<String, Known>,
    names: Vec<String>,
    unanswered: Vec<Unanswered>,
    /// A bit turned in their frames.
    damaged: BTreeSet<u64>,
    /// Positions that nobody was told of, skipped for good.
    skipped: BTreeSet<u64>,
    pub(super) end: u64,
    pub(super) oldest: u64,
}

impl Expected {
    /// What a request says.
    pub(super) fn say(&mut self, picks: &[Pick]) -> Vec<Said> {
        picks.iter().map(|pick| self.said(*pick)).collect()
    }

    fn said(&mut self, pick: Pick) -> Said {
        let (name, content, bytes) = match pick {
            Pick::Again { back, content } if !self.names.is_empty() => {
                let at = self.names.len() - 1 - back % self.names.len();
                (self.names[at].clone(), content, 20)
            }
            Pick::Again { .. } | Pick::Fresh(_) => {
                let name = format!("n{}", self.names.len());
                self.names.push(name.clone());
                let bytes = if let Pick::Fresh(bytes) = pick {
                    bytes
                } else {
                    20
                };
                (name, 0, bytes)
            }
        };
        let text = format!("{name}:{content}:{}", "x".repeat(bytes));
        Said {
            name,
            content,
            text,
        }
    }

    /// What became of the requests of one moment, in the order in which they were handed over.
    pub(super) fn answered(
        &mut self,
        answers: impl IntoIterator<Item = (Vec<Said>, Answer)>,
    ) -> Held {
        let mut doubtful: HashMap<String, u8> = HashMap::new();
        for (said, answer) in answers {
            match answer {
                Ok(verdicts) => {
                    holds(verdicts.len() == said.len(), || {
                        format!("{} verdicts for {} records", verdicts.len(), said.len())
                    })?;
                    for (said, verdict) in said.into_iter().zip(verdicts) {
                        self.judged(said, verdict, &doubtful)?;
                    }
                }
                Err(_) => self.not_answered(said, &mut doubtful),
            }
        }
        Ok(())
    }

    fn judged(&mut self, said: Said, verdict: Verdict, doubtful: &HashMap<String, u8>) -> Held {
        let known = self.known.get(&said.name);
        let stands = known.map(|known| known.content);
        let may_stand = stands.or(doubtful.get(&said.name).copied());
        let wrong = || {
            Err(format!(
                "{verdict:?} for {}:{}, of which was known: {known:?}",
                said.name, said.content
            ))
        };
        match verdict {
            Verdict::Accepted(Position(position)) => {
                if known.is_some_and(|known| !known.may_be_forgotten) || position <= self.end {
                    return wrong();
                }
                holds(!self.entries.contains_key(&position), || {
                    format!("position {position} was given twice")
                })?;
                self.stands(said, position);
                Ok(())
            }
            Verdict::Duplicate if may_stand == Some(said.content) => Ok(()),
            Verdict::Conflict if may_stand.is_some_and(|stands| stands != said.content) => Ok(()),
            Verdict::Duplicate | Verdict::Conflict => wrong(),
        }
    }

    fn stands(&mut self, said: Said, position: u64) {
        self.entries.insert(position, said.text);
        let known = Known {
            content: said.content,
            position,
            may_be_forgotten: false,
        };
        self.known.insert(said.name, known);
    }

    fn not_answered(&mut self, said: Vec<Said>, doubtful: &mut HashMap<String, u8>) {
        let mut records = Vec::new();
        for said in said {
            let is_new = !self.known.contains_key(&said.name) && !doubtful.contains_key(&said.name);
            if is_new {
                doubtful.insert(said.name.clone(), said.content);
            }
            records.push((said, is_new));
        }
        self.unanswered.push(Unanswered(records));
    }

    /// A bit turned in a frame of these positions.
    pub(super) fn damage(&mut self, first: u64, last: u64) {
        self.damaged.extend(first..=last);
        self.forget(|known| (first..=last).contains(&known.position));
    }

    /// The index was made anew: what it knew beyond the files, which begin with
    /// this position, is forgotten.
    pub(super) fn index_was_rebuilt(&mut self, oldest: u64) {
        self.forget(|known| known.position < oldest);
    }

    fn forget(&mut self, is_gone: impl Fn(&Known) -> bool) {
        for known in self.known.values_mut() {
            known.may_be_forgotten |= is_gone(known);
        }
    }

    /// Whether the last entry is damaged.
    pub(super) fn end_is_damaged(&self) -> bool {
        self.damaged.contains(&self.end)
    }

    pub(super) fn trimmed_to(&mut self, oldest: u64) {
        self.oldest = oldest;
        self.entries = self.entries.split_off(&oldest);
    }

    /// Everything that can be read, and the end. Says which positions are missing.
    pub(super) fn found(&mut self, found: &[(u64, String)], end: u64) -> Result<Vec<u64>, String> {
        holds(end >= self.end, || {
            format!("it ends at {end}, and had {}", self.end)
        })?;
        let is_new = |(position, _): &&(u64, String)| !self.entries.contains_key(position);
        let new: Vec<_> = found.iter().filter(is_new).cloned().collect();
        self.explain(&new)?;
        self.end = end;
        let mut missing = Vec::new();
        let mut expected = self.entries.iter().peekable();
        let mut found = found.iter().peekable();
        for position in self.oldest..=end {
            let stands = expected.next_if(|(at, _)| **at == position);
            let read = found.next_if(|(at, _)| *at == position);
            match (stands, read) {
                (Some((_, text)), Some((_, read))) => holds(text == read, || {
                    format!("at {position} stands {read:.20}, not {text:.20}")
                })?,
                (Some((_, text)), None) => {
                    holds(self.damaged.contains(&position), || {
                        format!("{position} is lost: {text:.20}")
                    })?;
                    missing.push(position);
                }
                (None, _) => missing.push(position),
            }
        }
        holds(found.next().is_none(), || {
            "entries stand out of their order".to_owned()
        })?;
        self.skipped
            .extend(missing.iter().filter(|at| !self.damaged.contains(at)));
        Ok(missing)
    }

    /// Entries that nobody was told of must be whole requests without an answer.
    fn explain(&mut self, mut new: &[(u64, String)]) -> Held {
        while let Some((position, text)) = new.first() {
            holds(!self.skipped.contains(position), || {
                format!("{position} was skipped, and now {text:.20} stands there")
            })?;
            let explained = self
                .unanswered
                .iter()
                .enumerate()
                .find_map(|(at, request)| request.explains(new).map(|entries| (at, entries)));
            let Some((at, entries)) = explained else {
                return Err(format!("{text:.20} at {position} is no whole request"));
            };
            let request = self.unanswered.remove(at);
            for (position, text) in &new[..entries] {
                let mut records = request.0.iter();
                if let Some((said, _)) = records.find(|(said, _)| said.text == *text) {
                    self.stands(said.clone(), *position);
                }
            }
            new = &new[entries..];
        }
        // what is not there now never comes
        self.unanswered.clear();
        Ok(())
    }

    /// What a consumer read between two positions.
    pub(super) fn read(&self, after: u64, through: u64, read: &[(u64, String)]) -> Held {
        let mut last = after;
        for (position, text) in read {
            holds(*position > last && *position <= through, || {
                format!("{position} after {last}, read through {through}")
            })?;
            last = *position;
            holds(self.entries.get(position) == Some(text), || {
                format!("read {text:.20} at {position}")
            })?;
        }
        let between = self.entries.range(after..=through.max(after));
        let mut expected = between.skip_while(|(position, _)| **position <= after);
        let lost = expected.find(|(position, _)| {
            !self.damaged.contains(position) && !read.iter().any(|(at, _)| at == *position)
        });
        holds(lost.is_none(), || format!("not read: {lost:?}"))
    }
}
