//! Parquet with typed columns, Snappy, and groups of rows that are bounded in rows and bytes.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::ExportError;
use super::table::{Cell, Column, Kind, Row};

/// A group of rows ends at so many rows …
const GROUP_ROWS: usize = 20_000;
/// … or so many bytes of text: it is in memory until it is written.
const GROUP_BYTES: usize = 16 * 1024 * 1024;

impl From<ParquetError> for ExportError {
    fn from(error: ParquetError) -> Self {
        Self::Format(error.to_string())
    }
}

pub(super) struct Parquet {
    file: SerializedFileWriter<Vec<u8>>,
    columns: Vec<Values>,
    rows: usize,
    bytes: usize,
}

/// The values of a column that are there, and for each row whether one is.
struct Values {
    there: Vec<i16>,
    values: Kept,
}

enum Kept {
    Texts(Vec<ByteArray>),
    /// Numbers and times.
    Numbers(Vec<i64>),
    Reals(Vec<f64>),
    Flags(Vec<bool>),
}

impl Parquet {
    pub(super) fn new(columns: &[Column]) -> Result<Self, ExportError> {
        let fields = columns.iter().map(field).collect::<Result<Vec<_>, _>>()?;
        let schema = Type::group_type_builder("mimamori")
            .with_fields(fields)
            .build()?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            // a footer of a few bytes a column and group
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_statistics_truncate_length(Some(32))
            .set_created_by(concat!("mimamori ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        Ok(Self {
            file: SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?,
            columns: columns.iter().map(Values::of).collect(),
            rows: 0,
            bytes: 0,
        })
    }

    pub(super) fn rows(&mut self, rows: &[Row]) -> Result<(), ExportError> {
        for row in rows {
            for (column, cell) in self.columns.iter_mut().zip(row) {
                self.bytes += column.push(cell)?;
            }
            self.rows += 1;
            if self.rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
                self.write_group()?;
            }
        }
        Ok(())
    }

    /// The last group and the footer.
    pub(super) fn finish(&mut self) -> Result<(), ExportError> {
        self.write_group()?;
        self.file.finish()?;
        Ok(())
    }

    pub(super) fn take(&mut self) -> Result<Bytes, ExportError> {
        let flushed = self.file.flush();
        flushed.map_err(|error| ExportError::Format(error.to_string()))?;
        // what is taken out was counted: the places in the footer stay right
        Ok(Bytes::from(std::mem::take(self.file.inner_mut())))
    }

    fn write_group(&mut self) -> Result<(), ExportError> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        for values in &mut self.columns {
            let Some(mut column) = group.next_column()? else {
                return Err(ExportError::Format("a column too many".to_owned()));
            };
            let there = std::mem::take(&mut values.there);
            match &mut values.values {
                Kept::Texts(values) => {
                    let values = std::mem::take(values);
                    column
                        .typed::<ByteArrayType>()
                        .write_batch(&values, Some(&there), None)?;
                }
                Kept::Numbers(values) => {
                    let values = std::mem::take(values);
                    column
                        .typed::<Int64Type>()
                        .write_batch(&values, Some(&there), None)?;
                }
                Kept::Reals(values) => {
                    let values = std::mem::take(values);
                    column
                        .typed::<DoubleType>()
                        .write_batch(&values, Some(&there), None)?;
                }
                Kept::Flags(values) => {
                    let values = std::mem::take(values);
                    column
                        .typed::<BoolType>()
                        .write_batch(&values, Some(&there), None)?;
                }
            }
            column.close()?;
        }
        group.close()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }
}

fn field(column: &Column) -> Result<Arc<Type>, ParquetError> {
    let (physical, logical) = match column.kind {
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Number => (Physical::INT64, None),
        Kind::Real => (Physical::DOUBLE, None),
        Kind::Flag => (Physical::BOOLEAN, None),
        Kind::Time => (
            Physical::INT64,
            Some(LogicalType::timestamp(true, TimeUnit::MILLIS)),
        ),
    };
    let field = Type::primitive_type_builder(column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()?;
    Ok(Arc::new(field))
}

impl Values {
    fn of(column: &Column) -> Self {
        Self {
            there: Vec::new(),
            values: match column.kind {
                Kind::Text => Kept::Texts(Vec::new()),
                Kind::Number | Kind::Time => Kept::Numbers(Vec::new()),
                Kind::Real => Kept::Reals(Vec::new()),
                Kind::Flag => Kept::Flags(Vec::new()),
            },
        }
    }

    /// Adds a cell; about how many bytes it takes.
    fn push(&mut self, cell: &Cell) -> Result<usize, ExportError> {
        let mut bytes = 10;
        match (&mut self.values, cell) {
            (_, Cell::Nothing) => {
                self.there.push(0);
                return Ok(2);
            }
            (Kept::Texts(texts), Cell::Text(text)) => {
                bytes += text.len();
                texts.push(ByteArray::from(text.as_str()));
            }
            (Kept::Numbers(numbers), Cell::Number(number) | Cell::Time(number)) => {
                numbers.push(*number);
            }
            (Kept::Reals(reals), Cell::Real(real)) => reals.push(*real),
            (Kept::Flags(flags), Cell::Flag(flag)) => flags.push(*flag),
            (
                Kept::Texts(_) | Kept::Numbers(_) | Kept::Reals(_) | Kept::Flags(_),
                Cell::Text(_) | Cell::Number(_) | Cell::Real(_) | Cell::Flag(_) | Cell::Time(_),
            ) => return Err(ExportError::Format("a cell of another kind".to_owned())),
        }
        self.there.push(1);
        Ok(bytes)
    }
}
