//! The format of a spec, and what is wrong with one that is not.
//!
//! ```text
//! spec        = { "setup" block } [ "teardown" block ] session { session } { permutation }
//! session     = "session" name [ "setup" block ] { "step" name block } [ "teardown" block ]
//! permutation = "permutation" step { step }
//! step        = name [ "(" blocker { "," blocker } ")" ]
//! blocker     = "*" | name | name "notices" number
//! block       = "{" SQL without a closing brace "}"
//! ```
//!
//! A name is an identifier or stands in double quotes; `#` begins a comment that ends with its line. Without a
//! permutation, all orders are taken that keep the order of the steps within each session.

/// A spec, its names resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Run before each permutation, each block as one query.
    pub setups: Vec<String>,
    /// Run after each permutation.
    pub teardown: Option<String>,
    /// The sessions, each a connection.
    pub sessions: Vec<Session>,
    /// All steps of all sessions.
    pub steps: Vec<Step>,
    /// The orders to take the steps in.
    pub permutations: Vec<Vec<PermutationStep>>,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its name, as notices show it.
    pub name: String,
    /// Run in it before each permutation.
    pub setup: Option<String>,
    /// Run in it after each permutation.
    pub teardown: Option<String>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name, unique in the spec.
    pub name: String,
    /// Which session takes it, by its position.
    pub session: usize,
    /// What it sends, as one query.
    pub sql: String,
}

/// A step of a permutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermutationStep {
    /// Which step, by its position in [`Spec::steps`].
    pub step: usize,
    /// What must be over before its completion is shown.
    pub blockers: Vec<Blocker>,
}

/// Holds back the completion of a step, so that the order of what is shown does not depend on time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocker {
    /// `(*)`: it is shown as waiting at first, however soon it is done.
    Once,
    /// `(step)`: until that step, of another session, is over.
    Step(usize),
    /// `(step notices n)`: until that step's session has sent so many notices, counted from the launch.
    Notices(usize, usize),
}

/// Why a text is no spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct SpecError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
}

impl Spec {
    /// Reads a spec.
    pub fn parse(text: &str) -> Result<Spec, SpecError> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0 };
        let mut spec = Spec {
            setups: Vec::new(),
            teardown: None,
            sessions: Vec::new(),
            steps: Vec::new(),
            permutations: Vec::new(),
        };
        while parser.keyword("setup") {
            spec.setups.push(parser.block()?);
        }
        if parser.keyword("teardown") {
            spec.teardown = Some(parser.block()?);
        }
        while parser.keyword("session") {
            parser.session(&mut spec)?;
        }
        if spec.sessions.is_empty() {
            return Err(parser.error("a session is expected"));
        }
        while parser.keyword("permutation") {
            let permutation = parser.permutation(&spec)?;
            spec.permutations.push(permutation);
        }
        if parser.at < parser.tokens.len() {
            return Err(parser.error("a permutation, or the end, is expected"));
        }
        if spec.permutations.is_empty() {
            spec.permutations = all_orders(&spec);
        } else if let Some(step) = spec.unused_step() {
            return Err(parser.error(format!("no permutation has the step {step:?}")));
        }
        Ok(spec)
    }

    fn unused_step(&self) -> Option<&str> {
        let used = |i| self.permutations.iter().flatten().any(|p| p.step == i);
        (0..self.steps.len()).find(|&i| !used(i)).map(|i| self.steps[i].name.as_str())
    }

    fn step(&self, name: &str) -> Option<usize> {
        self.steps.iter().position(|s| s.name == name)
    }
}

/// All ways to merge the sessions' steps, the earlier sessions' first.
fn all_orders(spec: &Spec) -> Vec<Vec<PermutationStep>> {
    fn extend(piles: &mut [Vec<usize>], taken: &mut Vec<usize>, orders: &mut Vec<Vec<PermutationStep>>) {
        if piles.iter().all(Vec::is_empty) {
            orders.push(taken.iter().map(|&step| PermutationStep { step, blockers: Vec::new() }).collect());
            return;
        }
        for session in 0..piles.len() {
            if let Some(step) = piles[session].pop() {
                taken.push(step);
                extend(piles, taken, orders);
                taken.pop();
                piles[session].push(step);
            }
        }
    }
    let of = |session| (0..spec.steps.len()).rev().filter(|&i| spec.steps[i].session == session).collect();
    let mut piles: Vec<Vec<usize>> = (0..spec.sessions.len()).map(of).collect();
    let mut orders = Vec::new();
    extend(&mut piles, &mut Vec::new(), &mut orders);
    orders
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Number(usize),
    Block(String),
    Sign(char),
}

/// What a block of SQL is shown without, at its ends. Its ends of lines are shown.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\u{c}'];

/// The tokens, each with its line.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>, SpecError> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let error = |problem: &str| SpecError { line, problem: problem.to_owned() };
        let (token, length) = match c {
            '#' => (None, rest.find('\n').unwrap_or(rest.len())),
            c if c.is_whitespace() => (None, c.len_utf8()),
            '{' => {
                let end = rest.find('}').ok_or_else(|| error("a block of SQL does not end"))?;
                (Some(Token::Block(rest[1..end].trim_matches(BLANKS).to_owned())), end + 1)
            }
            '"' => {
                let end = rest[1..].find('"').ok_or_else(|| error("a name in quotes does not end"))? + 1;
                (Some(Token::Quoted(rest[1..end].to_owned())), end + 1)
            }
            '(' | ')' | ',' | '*' => (Some(Token::Sign(c)), 1),
            c if c.is_ascii_digit() => {
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                let number = rest[..end].parse().map_err(|_| error("a number is too large"))?;
                (Some(Token::Number(number)), end)
            }
            c if is_word(c) => {
                let end =
                    rest.find(|c: char| !is_word(c) && !c.is_ascii_digit() && c != '$').unwrap_or(rest.len());
                (Some(Token::Word(rest[..end].to_owned())), end)
            }
            c => return Err(error(&format!("unexpected character {c:?}"))),
        };
        tokens.extend(token.map(|token| (line, token)));
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
}

impl Parser {
    fn session(&mut self, spec: &mut Spec) -> Result<(), SpecError> {
        let name = self.name("the session's name")?;
        let position = spec.sessions.len();
        let setup = if self.keyword("setup") { Some(self.block()?) } else { None };
        while self.keyword("step") {
            let name = self.name("the step's name")?;
            if spec.step(&name).is_some() {
                return Err(self.error(format!("there are two steps {name:?}")));
            }
            let sql = self.block()?;
            spec.steps.push(Step { name, session: position, sql });
        }
        if spec.steps.last().is_none_or(|s| s.session != position) {
            return Err(self.error(format!("the session {name:?} has no step")));
        }
        let teardown = if self.keyword("teardown") { Some(self.block()?) } else { None };
        spec.sessions.push(Session { name, setup, teardown });
        Ok(())
    }

    fn permutation(&mut self, spec: &Spec) -> Result<Vec<PermutationStep>, SpecError> {
        let mut steps = Vec::new();
        while let Some((_, Token::Word(_) | Token::Quoted(_))) = self.tokens.get(self.at) {
            if self.is_keyword("permutation") {
                break;
            }
            let step = self.step(spec)?;
            let mut blockers = Vec::new();
            if self.sign('(') {
                loop {
                    let blocker = self.blocker(spec)?;
                    if let Blocker::Step(other) | Blocker::Notices(other, _) = blocker
                        && spec.steps[other].session == spec.steps[step].session
                    {
                        return Err(self.error("a step cannot wait for its own session"));
                    }
                    blockers.push(blocker);
                    if self.sign(')') {
                        break;
                    }
                    if !self.sign(',') {
                        return Err(self.error("a comma or a closing parenthesis is expected"));
                    }
                }
            }
            steps.push(PermutationStep { step, blockers });
        }
        if steps.is_empty() {
            return Err(self.error("a permutation has no step"));
        }
        Ok(steps)
    }

    fn blocker(&mut self, spec: &Spec) -> Result<Blocker, SpecError> {
        if self.sign('*') {
            return Ok(Blocker::Once);
        }
        let step = self.step(spec)?;
        if !self.keyword("notices") {
            return Ok(Blocker::Step(step));
        }
        match self.next() {
            Some(Token::Number(n)) => Ok(Blocker::Notices(step, n)),
            _ => Err(self.error("a number of notices is expected")),
        }
    }

    fn step(&mut self, spec: &Spec) -> Result<usize, SpecError> {
        let name = self.name("a step's name")?;
        spec.step(&name).ok_or_else(|| self.error(format!("there is no step {name:?}")))
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at)?.1.clone();
        self.at += 1;
        Some(token)
    }

    fn is_keyword(&self, word: &str) -> bool {
        matches!(self.tokens.get(self.at), Some((_, Token::Word(w))) if w == word)
    }

    fn keyword(&mut self, word: &str) -> bool {
        let found = self.is_keyword(word);
        self.at += usize::from(found);
        found
    }

    fn sign(&mut self, sign: char) -> bool {
        let found = matches!(self.tokens.get(self.at), Some((_, Token::Sign(s))) if *s == sign);
        self.at += usize::from(found);
        found
    }

    fn name(&mut self, what: &str) -> Result<String, SpecError> {
        match self.next() {
            Some(Token::Word(name) | Token::Quoted(name)) => Ok(name),
            _ => Err(self.error(format!("{what} is expected"))),
        }
    }

    fn block(&mut self) -> Result<String, SpecError> {
        match self.next() {
            Some(Token::Block(sql)) => Ok(sql),
            _ => Err(self.error("a block of SQL in braces is expected")),
        }
    }

    /// At the last token read.
    fn error(&self, problem: impl Into<String>) -> SpecError {
        let line = self.tokens.get(self.at.saturating_sub(1)).map_or(1, |t| t.0);
        SpecError { line, problem: problem.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_a_spec_can_say() {
        let spec = Spec::parse(
            "# a comment\n\
             setup { CREATE TABLE t (a int); }\nsetup\n{\n  SELECT 1;\n}\nteardown { DROP TABLE t; }\n\
             session s1 setup { BEGIN; }\nstep a { SELECT\n 1; }\nstep \"b c\" { COMMIT; } teardown { SELECT 2; }\n\
             session \"s 2\" step d { SELECT 3; }\n\
             permutation a d(*) \"b c\"\npermutation a \"b c\" (d, d notices 2) d",
        )
        .expect("a spec");
        assert_eq!(spec.setups, ["CREATE TABLE t (a int);", "\n  SELECT 1;\n"]);
        assert_eq!(spec.teardown.as_deref(), Some("DROP TABLE t;"));
        assert_eq!(spec.sessions[0].setup.as_deref(), Some("BEGIN;"));
        assert_eq!(spec.sessions[0].teardown.as_deref(), Some("SELECT 2;"));
        assert_eq!(spec.sessions[1], Session { name: "s 2".to_owned(), setup: None, teardown: None });
        let steps: Vec<_> = spec.steps.iter().map(|s| (s.name.as_str(), s.session, s.sql.as_str())).collect();
        assert_eq!(steps, [("a", 0, "SELECT\n 1;"), ("b c", 0, "COMMIT;"), ("d", 1, "SELECT 3;")]);
        let step = |step, blockers| PermutationStep { step, blockers };
        assert_eq!(spec.permutations[0], [step(0, vec![]), step(2, vec![Blocker::Once]), step(1, vec![])]);
        assert_eq!(spec.permutations[1][1], step(1, vec![Blocker::Step(2), Blocker::Notices(2, 2)]));
    }

    #[test]
    fn all_orders_without_a_permutation() {
        let spec = Spec::parse("session x step a {1} step b {2} session y step c {3}").expect("a spec");
        let orders: Vec<Vec<_>> = spec
            .permutations
            .iter()
            .map(|p| p.iter().map(|s| spec.steps[s.step].name.as_str()).collect())
            .collect();
        assert_eq!(orders, [["a", "b", "c"], ["a", "c", "b"], ["c", "a", "b"]]);
    }

    #[test]
    fn what_is_wrong() {
        let problem = |text: &str| Spec::parse(text).expect_err("no spec").to_string();
        assert_eq!(problem(""), "line 1: a session is expected");
        assert_eq!(problem("session x\nstep a { SELECT"), "line 2: a block of SQL does not end");
        assert_eq!(problem("session x step a {1}\nstep a {2}"), "line 2: there are two steps \"a\"");
        assert_eq!(problem("session x step a {1} permutation b"), "line 1: there is no step \"b\"");
        assert_eq!(
            problem("session x step a {1} step b {2} permutation a"),
            "line 1: no permutation has the step \"b\""
        );
        assert_eq!(
            problem("session x step a {1} step b {2} permutation a (b) b"),
            "line 1: a step cannot wait for its own session"
        );
        assert_eq!(problem("session x\npermutation a"), "line 1: the session \"x\" has no step");
        assert_eq!(problem("session x step a {1} ;"), "line 1: unexpected character ';'");
    }
}
