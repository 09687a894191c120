//! The elements of date and time templates: `YYYY`, `Month`, `HH24`, ...

/// A field of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Hour12,
    Hour24,
    Minute,
    Second,
    /// `FF1` to `FF6`.
    Fraction(u8),
    Millisecond,
    Microsecond,
    SecondOfDay,
    Meridiem,
    Era,
    /// The last so many digits of the year.
    Year(u8),
    YearWithComma,
    IsoYear(u8),
    Century,
    MonthName,
    MonthShort,
    Month,
    MonthRoman,
    DayName,
    DayShort,
    DayOfYear,
    Day,
    DayOfWeek,
    IsoDayOfWeek,
    IsoDayOfYear,
    WeekOfMonth,
    WeekOfYear,
    IsoWeek,
    Quarter,
    Julian,
    ZoneName,
    ZoneHours,
    ZoneMinutes,
    ZoneOffset,
    /// `FX`.
    Fixed,
}

/// A part of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Copied to the output.
    Literal(char),
    /// A value.
    Field {
        field: Field,
        /// FM: no padding.
        fill: bool,
        /// TH follows.
        ordinal_suffix: bool,
        /// Whether it is written in digits.
        numeric: bool,
    },
}

/// Field names, those that others begin with later. Names in upper case also match in lower case.
const NAMES: &[(&str, Field)] = &[
    ("A.D.", Field::Era),
    ("a.d.", Field::Era),
    ("B.C.", Field::Era),
    ("b.c.", Field::Era),
    ("A.M.", Field::Meridiem),
    ("a.m.", Field::Meridiem),
    ("P.M.", Field::Meridiem),
    ("p.m.", Field::Meridiem),
    ("AD", Field::Era),
    ("ad", Field::Era),
    ("BC", Field::Era),
    ("bc", Field::Era),
    ("AM", Field::Meridiem),
    ("am", Field::Meridiem),
    ("PM", Field::Meridiem),
    ("pm", Field::Meridiem),
    ("CC", Field::Century),
    ("DAY", Field::DayName),
    ("Day", Field::DayName),
    ("day", Field::DayName),
    ("DDD", Field::DayOfYear),
    ("DD", Field::Day),
    ("DY", Field::DayShort),
    ("Dy", Field::DayShort),
    ("dy", Field::DayShort),
    ("D", Field::DayOfWeek),
    ("FF1", Field::Fraction(1)),
    ("FF2", Field::Fraction(2)),
    ("FF3", Field::Fraction(3)),
    ("FF4", Field::Fraction(4)),
    ("FF5", Field::Fraction(5)),
    ("FF6", Field::Fraction(6)),
    ("FX", Field::Fixed),
    ("HH24", Field::Hour24),
    ("HH12", Field::Hour12),
    ("HH", Field::Hour12),
    ("IDDD", Field::IsoDayOfYear),
    ("ID", Field::IsoDayOfWeek),
    ("IW", Field::IsoWeek),
    ("IYYY", Field::IsoYear(4)),
    ("IYY", Field::IsoYear(3)),
    ("IY", Field::IsoYear(2)),
    ("I", Field::IsoYear(1)),
    ("J", Field::Julian),
    ("MI", Field::Minute),
    ("MM", Field::Month),
    ("MONTH", Field::MonthName),
    ("Month", Field::MonthName),
    ("month", Field::MonthName),
    ("MON", Field::MonthShort),
    ("Mon", Field::MonthShort),
    ("mon", Field::MonthShort),
    ("MS", Field::Millisecond),
    ("OF", Field::ZoneOffset),
    ("Q", Field::Quarter),
    ("RM", Field::MonthRoman),
    ("rm", Field::MonthRoman),
    ("SSSSS", Field::SecondOfDay),
    ("SSSS", Field::SecondOfDay),
    ("SS", Field::Second),
    ("TZH", Field::ZoneHours),
    ("TZM", Field::ZoneMinutes),
    ("TZ", Field::ZoneName),
    ("tz", Field::ZoneName),
    ("US", Field::Microsecond),
    ("WW", Field::WeekOfYear),
    ("W", Field::WeekOfMonth),
    ("Y,YYY", Field::YearWithComma),
    ("YYYY", Field::Year(4)),
    ("YYY", Field::Year(3)),
    ("YY", Field::Year(2)),
    ("Y", Field::Year(1)),
];

/// The field that a text starts with, and the length of its name. Names are written all in upper or all in lower case,
/// but for those that say how the value is to be written.
fn field(text: &str) -> Option<(Field, usize)> {
    let exact = NAMES.iter().find(|(name, _)| text.starts_with(name));
    let folded = || {
        NAMES.iter().find(|(name, _)| {
            text.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name))
                && text[..name.len()].bytes().all(|b| !b.is_ascii_uppercase())
        })
    };
    let (name, field) = match (exact, folded()) {
        (Some(exact), Some(folded)) if folded.0.len() > exact.0.len() => folded,
        (Some(exact), _) => exact,
        (None, folded) => folded?,
    };
    Some((*field, name.len()))
}

fn is_numeric(field: Field) -> bool {
    !matches!(
        field,
        Field::Meridiem
            | Field::Era
            | Field::MonthName
            | Field::MonthShort
            | Field::MonthRoman
            | Field::DayName
            | Field::DayShort
            | Field::ZoneName
            | Field::ZoneHours
            | Field::ZoneOffset
            | Field::Fixed
    )
}

/// The items of a template.
pub(super) fn items(template: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let mut rest = template;
    while let Some(c) = rest.chars().next() {
        let (mut fill, mut after) = (false, rest);
        loop {
            let prefix = after.get(..2).unwrap_or("");
            match prefix {
                "FM" | "fm" => fill = true,
                "TM" | "tm" => {}
                _ => break,
            }
            after = &after[2..];
        }
        if let Some((field, length)) = field(after) {
            after = &after[length..];
            let suffix = after.starts_with("TH") || after.starts_with("th");
            if suffix || after.starts_with("SP") {
                after = &after[2..];
            }
            items.push(Item::Field { field, fill, ordinal_suffix: suffix, numeric: is_numeric(field) });
            rest = after;
            continue;
        }
        if after.len() < rest.len() {
            rest = after;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '"' => {
                let mut chars = rest.chars();
                while let Some(c) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => items.extend(chars.next().map(Item::Literal)),
                        c => items.push(Item::Literal(c)),
                    }
                }
                rest = chars.as_str();
            }
            '\\' if rest.starts_with('"') => {
                items.push(Item::Literal('"'));
                rest = &rest[1..];
            }
            c => items.push(Item::Literal(c)),
        }
    }
    items
}
