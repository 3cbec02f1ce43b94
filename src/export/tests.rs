//! The files, read back with parsers that are not ours.

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::RowAccessor;
use proptest::prelude::*;

use super::table::Cell;
use super::*;

/// A file of these rows in the columns of sessions: two texts, two times, a number.
fn file(format: Format, rows: &[Row]) -> Bytes {
    let mut writer = Writer::new(format, table::columns(What::Sessions)).unwrap();
    let mut whole = Vec::new();
    for page in rows.chunks(1_000) {
        writer.rows(page).unwrap();
        whole.extend_from_slice(&writer.take().unwrap());
    }
    writer.finish().unwrap();
    whole.extend_from_slice(&writer.take().unwrap());
    Bytes::from(whole)
}

fn row(id: &str, student: Option<&str>, events: Option<i64>) -> Row {
    vec![
        Cell::Text(id.to_owned()),
        student.map_or(Cell::Nothing, |text| Cell::Text(text.to_owned())),
        Cell::Time(1_795_305_600_123),
        Cell::Nothing,
        events.map_or(Cell::Nothing, Cell::Number),
    ]
}

/// The records behind the line of names, with what a spreadsheet would see.
fn parsed(file: &[u8]) -> Vec<::csv::StringRecord> {
    let text = file
        .strip_prefix(b"\xEF\xBB\xBF")
        .expect("a byte order mark");
    let mut reader = ::csv::ReaderBuilder::new().from_reader(text);
    let names: Vec<_> = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(names, ["id", "student", "begun", "ended", "events"]);
    reader.records().map(Result::unwrap).collect()
}

const HOSTILE: [&str; 19] = [
    "﹦1+1",
    "⁺1",
    "％x",
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1+1",
    "＠x",
    "'=1",
    "'",
    "a,b;c\"d\"\r\ne",
    "\"",
    "",
    "\u{202e}evil\u{fffd}",
    "|calc",
];

#[test]
fn no_cell_is_a_formula_and_every_text_can_be_had_back() {
    let rows: Vec<Row> = HOSTILE
        .iter()
        .map(|text| row(text, None, Some(-3)))
        .collect();

    let records = parsed(&file(Format::Csv, &rows));

    assert_eq!(records.len(), HOSTILE.len());
    for (record, text) in records.iter().zip(HOSTILE) {
        let cell = &record[0];
        let begins = cell.chars().next();
        assert!(
            !begins.is_some_and(|first| "=+-@\t\r\n＝＋－＠﹦⁺|%％".contains(first)),
            "{cell:?}"
        );
        assert_eq!(cell.strip_prefix('\'').unwrap_or(cell), text);
        assert_eq!(&record[2], "2026-11-22T00:00:00.123Z");
        assert_eq!((&record[1], &record[4]), ("", "-3"));
    }
}

#[test]
fn lines_end_and_texts_are_quoted_as_the_rfc_says() {
    let file = file(Format::Csv, &[row("a\"b", Some(""), None)]);

    let text = std::str::from_utf8(&file).unwrap();
    assert_eq!(
        text,
        "\u{feff}id,student,begun,ended,events\r\n\"a\"\"b\",\"\",2026-11-22T00:00:00.123Z,,\r\n"
    );
}

#[test]
fn parquet_has_its_columns_typed_and_its_groups_bounded() {
    let rows: Vec<Row> = (0..45_000)
        .map(|n| {
            let hostile = HOSTILE[n % HOSTILE.len()];
            row(
                hostile,
                (n % 3 == 0).then_some("stu_1"),
                Some(i64::try_from(n).unwrap()),
            )
        })
        .collect();

    let reader = SerializedFileReader::new(file(Format::Parquet, &rows)).unwrap();

    let metadata = reader.metadata();
    let groups: Vec<_> = metadata
        .row_groups()
        .iter()
        .map(|group| group.num_rows())
        .collect();
    assert_eq!(groups, [20_000, 20_000, 5_000]);
    let schema = metadata.file_metadata().schema();
    let begun = schema.get_fields()[2].get_basic_info().logical_type_ref();
    assert!(format!("{begun:?}").contains("Timestamp"), "{begun:?}");
    let mut count = 0_usize;
    for (n, read) in reader.get_row_iter(None).unwrap().enumerate() {
        let read = read.unwrap();
        assert_eq!(read.get_string(0).unwrap(), HOSTILE[n % HOSTILE.len()]);
        assert_eq!(read.get_string(1).is_ok(), n % 3 == 0);
        assert_eq!(read.get_timestamp_millis(2).unwrap(), 1_795_305_600_123);
        assert_eq!(read.get_long(4).unwrap(), i64::try_from(n).unwrap());
        count += 1;
    }
    assert_eq!(count, 45_000);
}

#[test]
fn a_file_without_rows_is_a_file() {
    assert_eq!(parsed(&file(Format::Csv, &[])).len(), 0);
    let reader = SerializedFileReader::new(file(Format::Parquet, &[])).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
}

proptest! {
    #[test]
    fn any_text_comes_back(texts in proptest::collection::vec("[ -~\\r\\n\\t＝あ'\"=+@]{0,12}", 1..20)) {
        let rows: Vec<Row> = texts.iter().map(|text| row(text, Some(text), None)).collect();

        let records = parsed(&file(Format::Csv, &rows));

        prop_assert_eq!(records.len(), texts.len());
        for (record, text) in records.iter().zip(&texts) {
            prop_assert_eq!(record[0].strip_prefix('\'').unwrap_or(&record[0]), text);
        }
    }
}
