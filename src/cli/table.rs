//! Tables for people, on standard output.

use crate::config::units::show_number;

/// Columns that are as wide as they need to be; numbers stand right.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    title: &'static str,
    right: bool,
}

impl Table {
    /// A title that starts with `>` makes a column of numbers.
    pub fn new(titles: &[&'static str]) -> Table {
        let column = |title: &&'static str| match title.strip_prefix('>') {
            Some(title) => Column { title, right: true },
            None => Column { title, right: false },
        };
        Table { columns: titles.iter().map(column).collect(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<String> = cells.into_iter().map(|cell| clean(&cell)).collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    /// Every line ends with a line break, none with spaces.
    pub fn render(&self) -> String {
        let titles: Vec<String> = self.columns.iter().map(|column| column.title.to_string()).collect();
        let lines = || std::iter::once(&titles).chain(&self.rows);
        let widest = |index: usize| lines().map(|line| line[index].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(widest).collect();
        let mut out = String::new();
        for line in lines() {
            let cells = line.iter().zip(&self.columns).zip(&widths).map(|((cell, column), &width)| {
                if column.right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            out.push('\n');
        }
        out
    }
}

/// Text from outside must not move the cursor of a terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `1234567` as `1_234_567`, as it could stand in a configuration.
pub fn number(value: impl Into<i128>) -> String {
    let value: i128 = value.into();
    let digits = show_number(u64::try_from(value.unsigned_abs()).unwrap_or(u64::MAX));
    if value < 0 { format!("-{digits}") } else { digits }
}

/// Bytes in the unit in which they are a number that people can read.
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if value < 1024 {
        return format!("{value} B");
    }
    let mut amount = value as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1023.95 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// `[100, 200) [300, 400)`, or nothing.
pub fn spans(spans: &[landfall_sink::Span]) -> String {
    spans.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// A value, or `-` where there is none.
pub fn or_dash<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".into(), show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["topic", ">next", "state"]);
        table.row(["orders".into(), number(1234567), "landing".into()]);
        table.row(["pay\u{1b}[2J".into(), number(-5), String::new()]);
        let expected = "topic         next  state\n\
                        orders   1_234_567  landing\n\
                        pay [2J         -5\n";
        assert_eq!(table.render(), expected);
    }

    #[test]
    fn sizes_people_can_read() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(128 << 20), "128.0 MiB");
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        assert_eq!(number(999), "999");
        assert_eq!(number(1000), "1_000");
    }
}
