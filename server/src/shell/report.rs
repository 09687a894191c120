//! Errors and notices as text, with the place in the statement marked.
//!
//! ```text
//!   ERROR:  column "x" does not exist
//!   LINE 2:   where x = 1
//!                   ^
//!   HINT:  ...
//! ```

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::client::Report;

/// Columns of a line of the statement that are shown around the place.
const EXCERPT_COLUMNS: usize = 70;

/// The report's text, ending with a line end. `sql` is what was sent.
pub fn format(report: &Report, sql: &str) -> String {
    let mut text = format!("{}:  {}\n", report.severity, report.message);
    if let Some(position) = report.position {
        text.push_str(&excerpt(sql, position));
    }
    let fields = [("DETAIL", &report.detail), ("HINT", &report.hint), ("CONTEXT", &report.context)];
    for (name, value) in fields {
        if let Some(value) = value {
            text.push_str(&format!("{name}:  {value}\n"));
        }
    }
    text
}

/// The line of the statement that holds a position, and a caret below it.
fn excerpt(sql: &str, position: usize) -> String {
    let Some(before) = position.checked_sub(1).filter(|before| *before <= sql.chars().count()) else {
        return String::new();
    };
    let byte = sql.char_indices().nth(before).map_or(sql.len(), |(byte, _)| byte);
    let number = sql[..byte].matches('\n').count() + 1;
    let start = sql[..byte].rfind('\n').map_or(0, |end| end + 1);
    let end = sql[byte..].find('\n').map_or(sql.len(), |length| byte + length);
    // A tab would make the caret's column a guess.
    let left = sql[start..byte].replace('\t', " ");
    let right = sql[byte..end].replace(['\t', '\r'], " ");
    let (left, cut_left) = keep_end(&left, EXCERPT_COLUMNS * 2 / 3);
    let (right, cut_right) = keep_start(&right, EXCERPT_COLUMNS - left.width());
    let dots = |cut| if cut { "..." } else { "" };
    let head = format!("LINE {number}: {}{left}", dots(cut_left));
    format!("{head}{right}{}\n{}^\n", dots(cut_right), " ".repeat(head.width()))
}

fn keep_start(text: &str, columns: usize) -> (&str, bool) {
    let mut width = 0;
    for (at, c) in text.char_indices() {
        width += c.width().unwrap_or(0);
        if width > columns {
            return (&text[..at], true);
        }
    }
    (text, false)
}

fn keep_end(text: &str, columns: usize) -> (&str, bool) {
    let mut width = 0;
    for (at, c) in text.char_indices().rev() {
        width += c.width().unwrap_or(0);
        if width > columns {
            return (&text[at + c.len_utf8()..], true);
        }
    }
    (text, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(position: Option<usize>) -> Report {
        Report {
            severity: "ERROR".to_owned(),
            message: "no".to_owned(),
            hint: Some("try".to_owned()),
            position,
            ..Report::default()
        }
    }

    #[test]
    fn the_caret_stands_below_the_place() {
        assert_eq!(
            format(&report(Some(15)), "select 'é',\n  x from t"),
            "ERROR:  no\nLINE 2:   x from t\n          ^\nHINT:  try\n"
        );
        assert_eq!(
            format(&report(Some(7)), "select"),
            "ERROR:  no\nLINE 1: select\n              ^\nHINT:  try\n"
        );
        assert_eq!(format(&report(Some(99)), "select"), "ERROR:  no\nHINT:  try\n");
        assert_eq!(format(&report(Some(0)), "select"), "ERROR:  no\nHINT:  try\n");
        let wide = format!("select '東京', {} x, {}", "1,".repeat(60), "2,".repeat(60));
        let text = format(&report(wide.find(" x").map(|byte| wide[..byte].chars().count() + 2)), &wide);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1].find(" x,").map(|at| at + 1), lines[2].find('^'), "{text}");
        assert!(lines[1].len() < 100 && lines[1].ends_with("..."), "{text}");
    }
}
