//! Results as tables of text, laid out as psql does.
//!
//! ```text
//!    id | name
//!   ----+------
//!     1 | Ada
//!   (1 row)
//! ```

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use super::client::Column;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// One line a column instead of one line a row.
    pub expanded: bool,
    /// Only the values, without header and footer.
    pub tuples_only: bool,
}

/// A result with rows; `None` is NULL.
pub type Rows = Vec<Vec<Option<String>>>;

/// Lays a result out; ends with a line end, and a blank line unless only tuples are wanted.
pub fn format(columns: &[Column], rows: &Rows, style: Style) -> String {
    match (style.expanded, style.tuples_only) {
        (true, _) => expanded(columns, rows, style),
        (false, true) => unaligned(rows),
        (false, false) => aligned(columns, rows),
    }
}

/// Numbers are aligned to the right, by their type.
fn is_number(column: &Column) -> bool {
    // int8, int2, int4, oid, xid, cid, float4, float8, money, numeric
    matches!(column.type_oid, 20 | 21 | 23 | 26 | 28 | 29 | 700 | 701 | 790 | 1700)
}

fn unaligned(rows: &Rows) -> String {
    let mut text = String::new();
    for row in rows {
        let line: Vec<&str> = row.iter().map(|value| value.as_deref().unwrap_or("")).collect();
        text.push_str(&line.join("|"));
        text.push('\n');
    }
    text
}

fn lines(value: Option<&str>) -> Vec<&str> {
    value.unwrap_or("").split('\n').collect()
}

fn width_of(value: &str) -> usize {
    value.split('\n').map(UnicodeWidthStr::width).max().unwrap_or(0)
}

fn aligned(columns: &[Column], rows: &Rows) -> String {
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let cells = rows.iter().filter_map(|row| row.get(index)?.as_deref());
            cells.map(width_of).chain([column.name.width()]).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    let header = columns.iter().zip(&widths).map(|(column, width)| {
        let space = width - column.name.width();
        format!(" {}{}{} ", " ".repeat(space / 2), column.name, " ".repeat(space - space / 2))
    });
    push_line(&mut text, &header.collect::<Vec<_>>().join("|"));
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    push_line(&mut text, &rule.join("+"));
    for row in rows {
        push_row(&mut text, columns, &widths, row);
    }
    let noun = if rows.len() == 1 { "row" } else { "rows" };
    push_line(&mut text, &format!("({} {noun})", rows.len()));
    text.push('\n');
    text
}

/// A row takes as many lines as its highest value; `+` marks a value that goes on in the next line.
fn push_row(text: &mut String, columns: &[Column], widths: &[usize], row: &[Option<String>]) {
    let cells: Vec<Vec<&str>> = row.iter().map(|value| lines(value.as_deref())).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(1);
    for line in 0..height {
        let mut out = String::new();
        for (index, cell) in cells.iter().enumerate() {
            let part = cell.get(line).copied().unwrap_or("");
            let space = " ".repeat(widths[index].saturating_sub(part.width()));
            let (before, after) =
                if is_number(&columns[index]) { (space.as_str(), "") } else { ("", space.as_str()) };
            let more = if line + 1 < cell.len() { '+' } else { ' ' };
            let border = if index == 0 { "" } else { "|" };
            // Writing into a string does not fail.
            let _ = write!(out, "{border} {before}{part}{after}{more}");
        }
        push_line(text, &out);
    }
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

fn expanded(columns: &[Column], rows: &Rows, style: Style) -> String {
    let mut text = String::new();
    if rows.is_empty() && !style.tuples_only {
        return "(0 rows)\n\n".to_owned();
    }
    let names = columns.iter().map(|column| column.name.width()).max().unwrap_or(0);
    let values = rows.iter().flatten().flatten().map(|value| width_of(value)).max().unwrap_or(0);
    for (number, row) in rows.iter().enumerate() {
        if !style.tuples_only {
            let title = format!("-[ RECORD {} ]", number + 1);
            let mut rule = format!("{title:-<names$}", names = names + 1);
            if rule.len() == names + 1 {
                rule.push('+');
            }
            let width = (names + values + 3).max(rule.len());
            push_line(&mut text, &format!("{rule:-<width$}"));
        }
        for (column, value) in columns.iter().zip(row) {
            let parts = lines(value.as_deref());
            for (index, part) in parts.iter().enumerate() {
                let name = if index == 0 { column.name.as_str() } else { "" };
                let space = " ".repeat(names - name.width());
                let more = if index + 1 < parts.len() { "+" } else { "" };
                push_line(&mut text, &format!("{name}{space} | {part}{more}"));
            }
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(columns: &[(&str, u32)]) -> Vec<Column> {
        columns.iter().map(|(name, oid)| Column { name: (*name).to_owned(), type_oid: *oid }).collect()
    }

    fn rows(rows: &[&[Option<&str>]]) -> Rows {
        rows.iter().map(|row| row.iter().map(|value| value.map(str::to_owned)).collect()).collect()
    }

    #[test]
    fn tables_look_like_those_of_psql() {
        let columns = columns(&[("id", 23), ("name", 25)]);
        let rows = rows(&[&[Some("1"), Some("Ada")], &[Some("1000"), None], &[Some("2"), Some("東京\nb")]]);
        assert_eq!(
            format(&columns, &rows, Style::default()),
            "  id  | name\n------+------\n    1 | Ada\n 1000 |\n    2 | 東京+\n      | b\n(3 rows)\n\n"
        );
        assert_eq!(
            format(&columns, &rows, Style { expanded: true, tuples_only: false }),
            "-[ RECORD 1 ]\nid   | 1\nname | Ada\n-[ RECORD 2 ]\nid   | 1000\nname |\n\
             -[ RECORD 3 ]\nid   | 2\nname | 東京+\n     | b\n\n"
        );
        assert_eq!(
            format(&columns, &rows, Style { expanded: false, tuples_only: true }),
            "1|Ada\n1000|\n2|東京\nb\n"
        );
    }

    #[test]
    fn a_result_without_columns_or_rows() {
        assert_eq!(format(&[], &rows(&[&[]]), Style::default()), "\n\n\n(1 row)\n\n");
        assert_eq!(format(&columns(&[("a", 25)]), &vec![], Style::default()), " a\n---\n(0 rows)\n\n");
    }
}
