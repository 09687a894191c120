//! The tables, in several shards from the beginning, and the places where more shards begin later.

use super::historian::STRIDE;
use super::numbers::Numbers;

/// Branches of the TPC-B part.
pub const BRANCHES: i64 = 4;
/// Its tellers.
pub const TELLERS: i64 = 40;
/// Its accounts.
pub const ACCOUNTS: i64 = 10_000;
/// Accounts of the bank.
pub const BANK: i64 = 1_000;
/// What each of them has at first.
pub const BALANCE: i64 = 1_000;
/// Codes of tickets are between 1 and this.
pub const CODES: i64 = 1_000_000;
/// Rows of the large transaction. With [`BULK_FILLER_BYTES`] they are more than a transaction keeps in memory.
pub const BULK_ROWS: i64 = 10_000;
/// Length of the text in each of these rows.
pub const BULK_FILLER_BYTES: i64 = 4_000;

/// The statements that make the tables and their shards.
pub fn setup() -> Vec<String> {
    let mut statements = vec![
        "CREATE TABLE branch (bid int PRIMARY KEY, balance int8 NOT NULL)".to_owned(),
        "CREATE TABLE teller (tid int PRIMARY KEY, balance int8 NOT NULL)".to_owned(),
        "CREATE TABLE account (aid int PRIMARY KEY, balance int8 NOT NULL)".to_owned(),
        "CREATE TABLE history (id int8, part int, tid int, bid int, aid int, delta int8, PRIMARY KEY (id, part))"
            .to_owned(),
        "CREATE TABLE bank (id int PRIMARY KEY, balance int8 NOT NULL)".to_owned(),
        "CREATE TABLE bank_move (id int8, part int, source int, target int, amount int8, PRIMARY KEY (id, part))"
            .to_owned(),
        "CREATE TABLE ticket (id int8 PRIMARY KEY, part int, code int8 NOT NULL CONSTRAINT ticket_code UNIQUE)"
            .to_owned(),
        "CREATE TABLE bulk (id int8, part int, filler text, PRIMARY KEY (id, part))".to_owned(),
        "CREATE TABLE list (id int8 PRIMARY KEY, elements int8[] NOT NULL)".to_owned(),
        "CREATE TABLE register (id int8 PRIMARY KEY, value int8 NOT NULL)".to_owned(),
        "CREATE TABLE cell (grp int8, id int8, value int8 NOT NULL, PRIMARY KEY (grp, id))".to_owned(),
        "CREATE INDEX history_account ON history (aid)".to_owned(),
        "CREATE INDEX bank_balance ON bank (balance)".to_owned(),
        "CREATE INDEX bulk_part ON bulk (part)".to_owned(),
        format!("INSERT INTO branch SELECT i, 0 FROM generate_series(1, {BRANCHES}) i"),
        format!("INSERT INTO teller SELECT i, 0 FROM generate_series(1, {TELLERS}) i"),
        format!("INSERT INTO account SELECT i, 0 FROM generate_series(1, {ACCOUNTS}) i"),
        format!("INSERT INTO bank SELECT i, {BALANCE} FROM generate_series(1, {BANK}) i"),
    ];
    let strides = format!("({STRIDE}), ({})", 2 * STRIDE);
    for (what, places) in [
        ("TABLE branch", "(1), (3)"),
        ("TABLE teller", "(1)"),
        ("TABLE account", "(1), (2500), (5000), (7500)"),
        ("TABLE history", "(1), (500, 0)"),
        ("INDEX history_account", "(3000)"),
        ("TABLE bank", "(1), (333), (667)"),
        ("INDEX bank_balance", "(1000)"),
        ("TABLE bank_move", "(1)"),
        ("INDEX ticket_code", "(1), (500000)"),
        ("TABLE list", strides.as_str()),
        ("TABLE register", strides.as_str()),
        ("TABLE cell", "(1)"),
        ("TABLE bulk", "(1)"),
        ("INDEX bulk_part", "(5000)"),
    ] {
        statements.push(format!("ALTER {what} SPLIT AT VALUES {places}"));
    }
    statements
}

/// A statement that splits something somewhere; transactions have got to number `now`.
pub fn random_split(numbers: &mut Numbers, now: i64) -> String {
    let recent = now - numbers.within(0..=1_000).min(now);
    let (what, place) = match numbers.within(0..=8) {
        0 => ("TABLE account", numbers.within(1..=ACCOUNTS).to_string()),
        1 => ("TABLE history", recent.to_string()),
        2 => ("INDEX history_account", numbers.within(1..=ACCOUNTS).to_string()),
        3 => ("TABLE bank", numbers.within(1..=BANK).to_string()),
        4 => ("INDEX bank_balance", numbers.within(BALANCE / 2..=2 * BALANCE).to_string()),
        5 => ("TABLE bank_move", format!("{recent}, 2")),
        6 => ("INDEX ticket_code", numbers.within(1..=CODES).to_string()),
        7 => ("TABLE bulk", format!("{now}, {}", numbers.within(1..=BULK_ROWS))),
        _ => ("INDEX bulk_part", numbers.within(1..=BULK_ROWS).to_string()),
    };
    format!("ALTER {what} SPLIT AT VALUES ({place})")
}
