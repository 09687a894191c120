//! Errors about names that mean nothing, with PostgreSQL's guesses at what was meant (`parse_relation.c`:
//! errorMissingColumn, errorMissingRTE and the fuzzy search behind them).

use std::sync::Arc;

use shardforge_types::{PgError, SqlState};

use super::binder::Binder;
use super::scope::{ColumnMatch, Rte};

/// A name further away than this is no guess.
const DISTANCE_MAX: usize = 3;

/// The best guesses so far.
struct Guesses {
    distance: usize,
    first: Option<(Arc<str>, Arc<str>)>,
    second: Option<(Arc<str>, Arc<str>)>,
    /// Columns of exactly that name, which are out of reach: (level, relation).
    exact: Vec<(usize, usize)>,
}

impl Binder<'_> {
    /// 42703: there is no such column.
    pub fn missing_column(&self, relation: Option<&str>, name: &str, pos: u32) -> PgError {
        let message = match relation {
            Some(relation) => format!("column {relation}.{name} does not exist"),
            None => format!("column \"{name}\" does not exist"),
        };
        let error = PgError::new(SqlState::UNDEFINED_COLUMN, message).at(pos);
        let guesses = self.guess_columns(relation, name);
        match guesses.exact[..] {
            [] => {}
            [(level, rte)] => return self.explain_hidden_column(error, relation, name, level, rte),
            _ => {
                let error = error.detail(format!(
                    "There are columns named \"{name}\", but they are in tables that cannot be referenced from \
                     this part of the query."
                ));
                return if relation.is_none() {
                    error.hint("Try using a table-qualified name.")
                } else {
                    error
                };
            }
        }
        match (guesses.first, guesses.second) {
            (Some((r1, c1)), Some((r2, c2))) => error.hint(format!(
                "Perhaps you meant to reference the column \"{r1}.{c1}\" or the column \"{r2}.{c2}\"."
            )),
            (Some((r1, c1)), None) => {
                error.hint(format!("Perhaps you meant to reference the column \"{r1}.{c1}\"."))
            }
            _ => error,
        }
    }

    fn explain_hidden_column(
        &self,
        error: PgError,
        relation: Option<&str>,
        name: &str,
        level: usize,
        rte: usize,
    ) -> PgError {
        let table = &self.levels[level].rtes[rte].name;
        let error = error.detail(format!(
            "There is a column named \"{name}\" in table \"{table}\", but it cannot be referenced from this part of \
             the query."
        ));
        if self.visible_if_lateral(level, rte) {
            error.hint("To reference that column, you must mark this subquery with LATERAL.")
        } else if relation.is_none() && self.visible_if_qualified(level, rte) {
            error.hint("To reference that column, you must use a table-qualified name.")
        } else {
            error
        }
    }

    fn visible_if_lateral(&self, level: usize, rte: usize) -> bool {
        let level = &self.levels[level];
        let item = level.namespace.iter().find(|i| i.rte == rte);
        !level.lateral_active && item.is_some_and(|i| i.lateral_only && i.lateral_ok)
    }

    fn visible_if_qualified(&self, level: usize, rte: usize) -> bool {
        let item = self.levels[level].namespace.iter().find(|i| i.rte == rte);
        item.is_some_and(|i| i.rel_visible && !i.lateral_only)
    }

    fn guess_columns(&self, relation: Option<&str>, name: &str) -> Guesses {
        let mut guesses =
            Guesses { distance: DISTANCE_MAX + 1, first: None, second: None, exact: Vec::new() };
        for depth in (0..self.levels.len()).rev() {
            for (index, rte) in self.levels[depth].rtes.iter().enumerate().filter(|(_, r)| !r.is_join) {
                let penalty = relation.map_or(0, |relation| distance(relation, &rte.name));
                if penalty == 0 && rte.find_column(name) != ColumnMatch::None {
                    guesses.exact.push((depth, index));
                    continue;
                }
                guesses.consider(rte, name, penalty);
            }
            if self.levels[depth].barrier {
                break;
            }
        }
        guesses
    }

    /// 42P01: FROM has no such relation, or it is out of reach.
    pub fn missing_relation(&self, schema: Option<&str>, name: &str, pos: u32) -> PgError {
        let error = |message: String| PgError::new(SqlState::UNDEFINED_TABLE, message).at(pos);
        let Some((depth, index)) = self.find_hidden_relation(schema, name) else {
            return error(format!("missing FROM-clause entry for table \"{name}\""));
        };
        let rte = &self.levels[depth].rtes[index];
        let invalid = error(format!("invalid reference to FROM-clause entry for table \"{name}\""));
        let seen_by_alias = || {
            let found = self.find_rte(None, &rte.name, pos).ok().flatten();
            found == Some((depth, index))
        };
        if rte.aliased && *rte.name != *name && seen_by_alias() {
            return invalid.hint(format!("Perhaps you meant to reference the table alias \"{}\".", rte.name));
        }
        let invalid = invalid.detail(format!(
            "There is an entry for table \"{}\", but it cannot be referenced from this part of the query.",
            rte.name
        ));
        if self.visible_if_lateral(depth, index) {
            invalid.hint("To reference that table, you must mark this subquery with LATERAL.")
        } else {
            invalid
        }
    }

    /// A relation that has the name as its alias or as its real name, visible or not.
    fn find_hidden_relation(&self, schema: Option<&str>, name: &str) -> Option<(usize, usize)> {
        let real =
            super::relation::find_relation(self.cx, None, schema, name).ok().flatten().map(|f| f.oid());
        for depth in (0..self.levels.len()).rev() {
            for (index, rte) in self.levels[depth].rtes.iter().enumerate() {
                let is_it = rte.relation.as_ref().is_some_and(|(_, oid, _)| Some(*oid) == real);
                if is_it || (schema.is_none() && *rte.name == *name) {
                    return Some((depth, index));
                }
            }
            if self.levels[depth].barrier {
                break;
            }
        }
        None
    }
}

impl Guesses {
    fn consider(&mut self, rte: &Rte, name: &str, penalty: usize) {
        for (_, column) in rte.column_names() {
            if penalty > self.distance {
                return;
            }
            let away = distance(&column, name);
            if away > name.len() / 2 {
                continue;
            }
            let away = away + penalty;
            if away < self.distance {
                self.distance = away;
                self.first = Some((rte.name.clone(), column));
                self.second = None;
            } else if away == self.distance {
                if self.second.is_some() {
                    // Too many at the same distance: none of them is a good guess.
                    self.first = None;
                    self.second = None;
                    self.distance = away.saturating_sub(1);
                } else if self.first.is_some() {
                    self.second = Some((rte.name.clone(), column));
                } else {
                    self.first = Some((rte.name.clone(), column));
                }
            }
        }
    }
}

/// The Levenshtein distance, with equal costs for insertion, deletion and substitution.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn levenshtein() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
