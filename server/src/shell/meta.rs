//! Backslash commands: the few that a shell cannot do without. `\d` and its kin are plain queries on the
//! catalogs, as in psql.

/// What a line that begins with a backslash asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meta {
    /// Leave.
    Quit,
    /// List the commands.
    Help,
    /// Forget what was typed.
    Reset,
    /// Switch a setting of the shell; `None` toggles it.
    Switch(Switch, Option<bool>),
    /// Say who is connected to what.
    ConnectionInfo,
    /// Run a file.
    Include(String),
    /// Print a text.
    Echo(String),
    /// Run queries, each under a title; empty results are left out except for the first.
    Describe(Vec<(String, String)>),
    /// There is no such command, or it lacks something.
    Invalid(String),
}

/// A setting of the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// `\timing`
    Timing,
    /// `\x`
    Expanded,
    /// `\t`
    TuplesOnly,
}

/// What `\?` prints.
pub const HELP: &str = "\
\\d [NAME]      describe a table, or list tables, views, sequences
\\dt \\di \\dv    list tables, indexes, views
\\dn \\du \\l     list schemas, roles, databases
\\x [on|off]    one line a column
\\t [on|off]    only the values
\\timing [on|off]
\\i FILE        run a file
\\r             forget what was typed
\\echo TEXT
\\conninfo      who is connected to what
\\q             leave
";

/// Understands a line that begins with a backslash.
pub fn parse(line: &str) -> Meta {
    let line = line.trim().trim_end_matches(';');
    let (command, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let switch = |switch| match argument {
        "" => Meta::Switch(switch, None),
        "on" => Meta::Switch(switch, Some(true)),
        "off" => Meta::Switch(switch, Some(false)),
        other => Meta::Invalid(format!("expected on or off, not \"{other}\"")),
    };
    match command.trim_end_matches('+') {
        "\\q" | "\\quit" | "\\exit" => Meta::Quit,
        "\\?" | "\\h" | "\\help" => Meta::Help,
        "\\r" | "\\reset" => Meta::Reset,
        "\\timing" => switch(Switch::Timing),
        "\\x" => switch(Switch::Expanded),
        "\\t" => switch(Switch::TuplesOnly),
        "\\conninfo" => Meta::ConnectionInfo,
        "\\echo" => Meta::Echo(argument.to_owned()),
        "\\i" if argument.is_empty() => Meta::Invalid("\\i takes the name of a file".to_owned()),
        "\\i" => Meta::Include(argument.to_owned()),
        "\\d" if !argument.is_empty() => Meta::Describe(describe(argument)),
        "\\d" => relations("List of relations", "'r','p','v','m','S','f'", argument),
        "\\dt" => relations("List of tables", "'r','p'", argument),
        "\\dv" => relations("List of views", "'v','m'", argument),
        "\\di" => relations("List of indexes", "'i','I'", argument),
        "\\dn" => list(
            "List of schemas",
            "SELECT nspname AS \"Name\", pg_get_userbyid(nspowner) AS \"Owner\" FROM pg_catalog.pg_namespace \
             WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema' ORDER BY 1",
        ),
        "\\du" => list(
            "List of roles",
            "SELECT rolname AS \"Role name\", CASE WHEN rolsuper THEN 'superuser' ELSE '' END AS \"Attributes\", \
             CASE WHEN rolcanlogin THEN 'yes' ELSE 'no' END AS \"Login\" FROM pg_catalog.pg_roles \
             WHERE rolname NOT LIKE 'pg\\_%' ORDER BY 1",
        ),
        "\\l" => list(
            "List of databases",
            "SELECT datname AS \"Name\", pg_get_userbyid(datdba) AS \"Owner\" FROM pg_catalog.pg_database \
             ORDER BY 1",
        ),
        other => Meta::Invalid(format!("unknown command {other}; \\? lists them")),
    }
}

fn list(title: &str, query: &str) -> Meta {
    Meta::Describe(vec![(title.to_owned(), query.to_owned())])
}

fn relations(title: &str, kinds: &str, pattern: &str) -> Meta {
    let named = match pattern {
        "" => {
            "AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%'"
                .to_owned()
        }
        pattern => format!("AND c.relname LIKE {}", literal(&pattern.replace('*', "%"))),
    };
    list(
        title,
        &format!(
            "SELECT n.nspname AS \"Schema\", c.relname AS \"Name\", CASE c.relkind WHEN 'r' THEN 'table' \
             WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' \
             WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table' ELSE 'index' END AS \"Type\", \
             pg_get_userbyid(c.relowner) AS \"Owner\" FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ({kinds}) {named} ORDER BY 1, 2"
        ),
    )
}

fn describe(name: &str) -> Vec<(String, String)> {
    let table = format!("{}::pg_catalog.regclass", literal(name));
    let query = |title: &str, text: String| (title.to_owned(), text);
    vec![
        query(
            &format!("Relation {name}"),
            format!(
                "SELECT a.attname AS \"Column\", format_type(a.atttypid, a.atttypmod) AS \"Type\", \
                 CASE WHEN a.attnotnull THEN 'not null' ELSE '' END AS \"Nullable\", \
                 pg_get_expr(d.adbin, d.adrelid) AS \"Default\" FROM pg_catalog.pg_attribute a \
                 LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
                 WHERE a.attrelid = {table} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
            ),
        ),
        query(
            "Indexes",
            format!(
                "SELECT c.relname AS \"Name\", pg_get_indexdef(i.indexrelid) AS \"Definition\" \
                 FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
                 WHERE i.indrelid = {table} ORDER BY 1"
            ),
        ),
        query(
            "Constraints",
            format!(
                "SELECT conname AS \"Name\", pg_get_constraintdef(oid) AS \"Definition\" \
                 FROM pg_catalog.pg_constraint WHERE conrelid = {table} AND contype IN ('c', 'f') ORDER BY 1"
            ),
        ),
    ]
}

/// A string constant that holds `text`, whatever is in it.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_commands() {
        assert_eq!(parse("\\q"), Meta::Quit);
        assert_eq!(parse("  \\timing on ; "), Meta::Switch(Switch::Timing, Some(true)));
        assert_eq!(parse("\\x"), Meta::Switch(Switch::Expanded, None));
        assert_eq!(parse("\\i a b.sql"), Meta::Include("a b.sql".to_owned()));
        assert!(matches!(parse("\\frob"), Meta::Invalid(_)));
        assert!(matches!(parse("\\dt+"), Meta::Describe(queries) if queries.len() == 1));
        assert!(matches!(parse("\\d t"), Meta::Describe(queries) if queries.len() == 3));
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'"), "E'a\\\\'''");
    }
}
