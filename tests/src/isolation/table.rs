//! Rows as libpq's `PQprint` shows them, with a header and aligned columns.

use std::fmt::Write;

/// A result with columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows, each with a value (or NULL) for each column.
    pub rows: Vec<Vec<Option<String>>>,
}

impl Table {
    /// Appends its text: columns whose values all look like numbers are set to the right; NULL is empty.
    pub fn print(&self, out: &mut String) {
        if self.columns.is_empty() {
            return;
        }
        let column =
            |i: usize| self.rows.iter().filter_map(move |r| r[i].as_deref()).filter(|v| !v.is_empty());
        let layout: Vec<(usize, bool)> = (0..self.columns.len())
            .map(|i| {
                let width = column(i).map(width).fold(width(&self.columns[i]), usize::max);
                (width, column(i).all(looks_numeric))
            })
            .collect();
        let line = |out: &mut String, values: &mut dyn Iterator<Item = &str>| {
            for (i, (value, (columns, right))) in values.zip(&layout).enumerate() {
                let separator = if i > 0 { "|" } else { "" };
                let blanks = " ".repeat(columns - width(value));
                let (before, after) = if *right { (blanks.as_str(), "") } else { ("", blanks.as_str()) };
                let _ = write!(out, "{separator}{before}{value}{after}");
            }
            out.push('\n');
        };
        line(out, &mut self.columns.iter().map(String::as_str));
        let rules: Vec<String> = layout.iter().map(|(columns, _)| "-".repeat(*columns)).collect();
        let _ = writeln!(out, "{}", rules.join("+"));
        for row in &self.rows {
            line(out, &mut row.iter().map(|v| v.as_deref().unwrap_or("")));
        }
        let plural = if self.rows.len() == 1 { "" } else { "s" };
        let _ = writeln!(out, "({} row{plural})\n", self.rows.len());
    }
}

/// In bytes, as `PQprint` counts.
fn width(value: &str) -> usize {
    value.len()
}

fn looks_numeric(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_digit() || b".Ee -".contains(&b))
        && !value.starts_with(['E', 'e'])
        && value.ends_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(columns: &[&str], rows: &[&[Option<&str>]]) -> String {
        let columns = columns.iter().map(|&c| c.to_owned()).collect();
        let rows = rows.iter().map(|r| r.iter().map(|v| v.map(str::to_owned)).collect()).collect();
        let mut out = String::new();
        Table { columns, rows }.print(&mut out);
        out
    }

    #[test]
    fn aligned_by_what_values_look_like() {
        assert_eq!(
            printed(
                &["id", "name", "balance"],
                &[&[Some("1"), Some("a"), Some("-5.5")], &[Some("22"), None, None]]
            ),
            "id|name|balance\n--+----+-------\n 1|a   |   -5.5\n22|    |       \n(2 rows)\n\n"
        );
        assert_eq!(printed(&["flag"], &[&[Some("t")]]), "flag\n----\nt   \n(1 row)\n\n");
        assert_eq!(printed(&["a"], &[]), "a\n-\n(0 rows)\n\n");
        assert_eq!(printed(&[], &[&[]]), "");
    }
}
