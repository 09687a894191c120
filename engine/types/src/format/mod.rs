//! `to_char`: dates, times, intervals and numbers written by a template.
//!
//! A template is a text with patterns in it (`YYYY-MM-DD`, `FM999,990.00`); what is no pattern is copied. The patterns,
//! their modifiers and their oddities are PostgreSQL's (`formatting.c`), down to the blanks it leaves.

mod datetime;
mod number;

pub use datetime::{interval_to_char, timestamp_to_char, timestamptz_to_char};
pub use number::{float_to_char, int_to_char, numeric_to_char};

/// The ending of an ordinal number: `st`, `nd`, `rd`, `th`. `digits` ends with the number's last digits.
fn ordinal(digits: &[u8]) -> &'static str {
    let (last, before) = match digits {
        [.., before, last] => (*last, *before),
        [last] => (*last, b'0'),
        [] => (b'0', b'0'),
    };
    match last {
        _ if before == b'1' => "th",
        b'1' => "st",
        b'2' => "nd",
        b'3' => "rd",
        _ => "th",
    }
}

/// Reads a text in double quotes, whose opening quote is behind us: answers the text and what follows. A backslash takes
/// the next character as it is; without a closing quote, the text ends with the template.
fn quoted(template: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = template.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => text.extend(chars.next()),
            c => text.push(c),
        }
    }
    (text, chars.as_str())
}
