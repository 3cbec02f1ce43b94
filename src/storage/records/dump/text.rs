//! Rows as `COPY` writes them in text: fields between tabs, a line a row.
//!
//! <https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.2>

use std::borrow::Cow;

/// A field that is absent.
pub(super) const ABSENT: &[u8] = b"\\N";

/// What is written with a backslash, and the letter behind it.
const ESCAPED: [(u8, u8); 7] = [
    (b'\\', b'\\'),
    (0x08, b'b'),
    (0x0c, b'f'),
    (b'\n', b'n'),
    (b'\r', b'r'),
    (b'\t', b't'),
    (0x0b, b'v'),
];

/// Adds a field.
pub(super) fn put(line: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut written = 0;
    for (place, byte) in bytes.iter().enumerate() {
        if let Some((_, letter)) = ESCAPED.iter().find(|(plain, _)| plain == byte) {
            line.extend_from_slice(&bytes[written..place]);
            line.extend_from_slice(&[b'\\', *letter]);
            written = place + 1;
        }
    }
    line.extend_from_slice(&bytes[written..]);
}

/// The fields of a line without its end; nothing for one that is absent.
pub(super) fn fields(line: &[u8]) -> impl Iterator<Item = Option<Cow<'_, [u8]>>> {
    line.split(|byte| *byte == b'\t')
        .map(|field| (field != ABSENT).then(|| plain(field)))
}

fn plain(field: &[u8]) -> Cow<'_, [u8]> {
    if !field.contains(&b'\\') {
        return Cow::Borrowed(field);
    }
    let mut out = Vec::with_capacity(field.len());
    let mut bytes = field.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            out.push(*byte);
        } else if let Some(letter) = bytes.next() {
            let known = ESCAPED.iter().find(|(_, written)| written == letter);
            out.push(known.map_or(*letter, |(plain, _)| *plain));
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_is_read_again(texts in prop::collection::vec(prop::option::of("\\PC*|[\\x00-\\x1f\\\\N]*"), 1..6)) {
            let mut line = Vec::new();
            for (place, text) in texts.iter().enumerate() {
                if place > 0 {
                    line.push(b'\t');
                }
                match text {
                    Some(text) => put(&mut line, text),
                    None => line.extend_from_slice(ABSENT),
                }
            }

            let read: Vec<_> = fields(&line).collect();

            prop_assert!(!line.contains(&b'\n'));
            let expected: Vec<_> = texts.iter().map(|text| text.as_deref().map(str::as_bytes)).collect();
            let read: Vec<_> = read.iter().map(Option::as_deref).collect();
            prop_assert_eq!(read, expected);
        }
    }

    #[test]
    fn a_text_that_looks_absent_is_not() {
        let mut line = Vec::new();

        put(&mut line, "\\N");

        assert_eq!(line, b"\\\\N");
        assert_eq!(fields(&line).next().unwrap().as_deref(), Some(&b"\\N"[..]));
    }
}
