//! The first half of reading dates, times and intervals: a text is split into fields, and words are looked up.
//!
//! PostgreSQL (`datetime.c`) splits by the look of the characters before it knows what the parts mean; `2024-01-02` is
//! one field and `Jan 2 2024` three. Errors depend on that division, so ours is the same.

/// What a field looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldKind {
    /// Digits, perhaps with a decimal point.
    Number,
    /// Digits or letters with `-`, `/` or `.` between them.
    Date,
    /// Digits with colons.
    Time,
    /// Letters.
    Word,
    /// A sign and letters.
    SignedWord,
    /// A sign and digits: a zone, or a signed number of an interval.
    Signed,
}

/// A field of a date or interval text, in lower case.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub kind: FieldKind,
    pub text: String,
}

/// Splits a text into fields. `None` where a character fits nowhere, or the text is too long to be a date.
pub(crate) fn split(text: &str) -> Option<Vec<Field>> {
    const FIELDS_MAX: usize = 25;
    let bytes = text.as_bytes();
    let mut fields = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if is_space(byte) {
            at += 1;
            continue;
        }
        let mut scan = Scan { bytes, at, text: String::new() };
        let kind = if byte.is_ascii_digit() {
            scan.after_digit()
        } else if byte == b'.' {
            scan.take();
            scan.take_digits();
            FieldKind::Number
        } else if byte.is_ascii_alphabetic() {
            scan.after_letter()
        } else if byte == b'+' || byte == b'-' {
            scan.after_sign()?
        } else if byte.is_ascii_punctuation() {
            at += 1;
            continue;
        } else {
            return None;
        };
        at = scan.at;
        if fields.len() >= FIELDS_MAX {
            return None;
        }
        fields.push(Field { kind, text: scan.text });
    }
    Some(fields)
}

fn is_space(byte: u8) -> bool {
    crate::io::scalar::is_space(byte)
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    text: String,
}

impl Scan<'_> {
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn take(&mut self) {
        self.text.push(self.peek().to_ascii_lowercase() as char);
        self.at += 1;
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.at < self.bytes.len() && wanted(self.peek()) {
            self.take();
        }
    }

    fn take_digits(&mut self) {
        self.take_while(|b| b.is_ascii_digit());
    }

    fn after_digit(&mut self) -> FieldKind {
        self.take_digits();
        let delimiter = self.peek();
        match delimiter {
            b':' => {
                self.take();
                self.take_while(|b| b.is_ascii_digit() || b == b':' || b == b'.');
                FieldKind::Time
            }
            b'-' | b'/' | b'.' => {
                self.take();
                if self.peek().is_ascii_digit() {
                    self.take_digits();
                    if self.peek() == delimiter {
                        self.take();
                        self.take_while(|b| b.is_ascii_digit() || b == delimiter);
                        return FieldKind::Date;
                    }
                    if delimiter == b'.' { FieldKind::Number } else { FieldKind::Date }
                } else {
                    self.take_while(|b| b.is_ascii_alphanumeric() || b == delimiter);
                    FieldKind::Date
                }
            }
            _ => FieldKind::Number,
        }
    }

    /// A word; with punctuation in it, a date with a month's name or the name of a zone.
    fn after_letter(&mut self) -> FieldKind {
        self.take_while(|b| b.is_ascii_alphabetic());
        let next = self.peek();
        let goes_on = matches!(next, b'-' | b'/' | b'.')
            || ((next == b'+' || next.is_ascii_digit()) && keyword(&self.text).is_none());
        if !goes_on {
            return FieldKind::Word;
        }
        self.take_while(|b| {
            matches!(b, b'+' | b'-' | b'/' | b'_' | b'.' | b':') || b.is_ascii_alphanumeric()
        });
        FieldKind::Date
    }

    fn after_sign(&mut self) -> Option<FieldKind> {
        self.take();
        while is_space(self.peek()) {
            self.at += 1;
        }
        if self.peek().is_ascii_digit() {
            self.take();
            self.take_while(|b| b.is_ascii_digit() || matches!(b, b':' | b'.' | b'-'));
            Some(FieldKind::Signed)
        } else if self.peek().is_ascii_alphabetic() {
            self.take_while(|b| b.is_ascii_alphabetic());
            Some(FieldKind::SignedWord)
        } else {
            None
        }
    }
}

/// What a word means in a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    /// 1 to 12.
    Month(i32),
    Weekday,
    Am,
    Pm,
    Ad,
    Bc,
    Now,
    Today,
    Tomorrow,
    Yesterday,
    /// Midnight UTC.
    AllBalls,
    Epoch,
    Infinity,
    MinusInfinity,
    /// `DST` after the name of a zone.
    DaylightModifier,
    /// `T` before a time.
    TimePrefix,
    /// `J` or `JD` before a Julian day.
    Julian,
    /// A word that means nothing, such as `at`.
    Ignored,
    /// A unit: known, but without place in a date.
    Unit,
}

/// The meaning of a word in lower case. Words count by their first ten characters.
pub(crate) fn keyword(word: &str) -> Option<Keyword> {
    let word = word.get(..10).unwrap_or(word);
    Some(match word {
        "jan" | "january" => Keyword::Month(1),
        "feb" | "february" => Keyword::Month(2),
        "mar" | "march" => Keyword::Month(3),
        "apr" | "april" => Keyword::Month(4),
        "may" => Keyword::Month(5),
        "jun" | "june" => Keyword::Month(6),
        "jul" | "july" => Keyword::Month(7),
        "aug" | "august" => Keyword::Month(8),
        "sep" | "sept" | "september" => Keyword::Month(9),
        "oct" | "october" => Keyword::Month(10),
        "nov" | "november" => Keyword::Month(11),
        "dec" | "december" => Keyword::Month(12),
        "sun" | "sunday" | "mon" | "monday" | "tue" | "tues" | "tuesday" | "wed" | "weds" | "wednesday"
        | "thu" | "thur" | "thurs" | "thursday" | "fri" | "friday" | "sat" | "saturday" => Keyword::Weekday,
        "am" => Keyword::Am,
        "pm" => Keyword::Pm,
        "ad" => Keyword::Ad,
        "bc" => Keyword::Bc,
        "now" => Keyword::Now,
        "today" => Keyword::Today,
        "tomorrow" => Keyword::Tomorrow,
        "yesterday" => Keyword::Yesterday,
        "allballs" => Keyword::AllBalls,
        "epoch" => Keyword::Epoch,
        "infinity" | "+infinity" => Keyword::Infinity,
        "-infinity" => Keyword::MinusInfinity,
        "dst" => Keyword::DaylightModifier,
        "t" => Keyword::TimePrefix,
        "j" | "jd" | "julian" => Keyword::Julian,
        "at" | "on" => Keyword::Ignored,
        "d" | "dow" | "doy" | "h" | "isodow" | "isoyear" | "m" | "mm" | "s" | "y" => Keyword::Unit,
        _ => return None,
    })
}

/// A unit of time, as intervals, `extract` and `date_trunc` name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds.
    Microsecond,
    /// Milliseconds.
    Millisecond,
    /// Seconds.
    Second,
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
    /// Days.
    Day,
    /// Weeks.
    Week,
    /// Months.
    Month,
    /// Quarters of a year.
    Quarter,
    /// Years.
    Year,
    /// Decades.
    Decade,
    /// Centuries.
    Century,
    /// Millennia.
    Millennium,
}

/// The unit that a word in lower case names.
pub(crate) fn unit(word: &str) -> Option<Unit> {
    let word = word.get(..10).unwrap_or(word);
    Some(match word {
        "us" | "usec" | "usecs" | "useconds" | "microsecon" => Unit::Microsecond,
        "ms" | "msec" | "msecs" | "mseconds" | "millisecon" => Unit::Millisecond,
        "s" | "sec" | "secs" | "second" | "seconds" => Unit::Second,
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minute,
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Hour,
        "d" | "day" | "days" => Unit::Day,
        "w" | "week" | "weeks" => Unit::Week,
        "mon" | "mons" | "month" | "months" => Unit::Month,
        "qtr" | "quarter" => Unit::Quarter,
        "y" | "yr" | "yrs" | "year" | "years" => Unit::Year,
        "dec" | "decs" | "decade" | "decades" => Unit::Decade,
        "c" | "cent" | "century" | "centuries" => Unit::Century,
        "mil" | "mils" | "millennia" | "millennium" => Unit::Millennium,
        _ => return None,
    })
}

/// Digits (and a sign) at the start of a text, as a number, and what follows. `None` if there are none; what is too long
/// for an `i64` is some number beyond it.
pub(crate) fn leading_int(text: &str) -> Option<(i128, &str)> {
    let sign = usize::from(text.starts_with(['+', '-']));
    let digits = text[sign..].bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    let (number, rest) = text.split_at(sign + digits);
    let beyond = if number.starts_with('-') { i128::MIN } else { i128::MAX };
    Some((number.parse().unwrap_or(beyond), rest))
}

/// The microseconds in the fraction `.5`, rounded; `None` if it is something else.
pub(crate) fn fraction_micros(text: &str) -> Option<i32> {
    let digits = text.strip_prefix('.')?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction = if digits.is_empty() { 0.0 } else { text.parse::<f64>().ok()? };
    Some((fraction * 1_000_000.0).round_ties_even() as i32)
}
