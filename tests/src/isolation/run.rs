//! Takes the permutations of a spec and writes down what comes of them.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::connection::{Connection, Event};
use super::spec::{Blocker, PermutationStep, Spec};
use super::table::Table;

/// How long to listen to a session before the server is asked whether it waits.
const POLL: Duration = Duration::from_millis(10);

/// What came of a spec.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    /// As `isolationtester` prints it.
    pub text: String,
    /// The same, to be looked into.
    pub permutations: Vec<PermutationRun>,
}

/// What came of a permutation.
#[derive(Debug, Clone, Default)]
pub struct PermutationRun {
    /// Its steps, in their order.
    pub steps: Vec<Outcome>,
}

/// What came of a step.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The step's name.
    pub name: String,
    /// Whether it was shown as waiting.
    pub waited: bool,
    /// The SQLSTATE it failed with.
    pub sqlstate: Option<String>,
    /// The results of its statements that give rows. NULL is empty.
    pub results: Vec<Vec<Vec<String>>>,
}

/// Why a spec could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No connection.
    #[error("{0}")]
    Connect(#[from] tokio_postgres::Error),
    /// A block of setup or teardown, or the question who waits, failed.
    #[error("{message}, of {sql}\nso far:\n{so_far}")]
    Failed {
        /// The server's message.
        message: String,
        /// What was asked of it.
        sql: String,
        /// The transcript up to there.
        so_far: String,
    },
    /// Something neither ends nor can be canceled, or steps wait for one another.
    #[error("{what} does not end\nso far:\n{so_far}")]
    Stuck {
        /// The step or block.
        what: String,
        /// The transcript up to there.
        so_far: String,
    },
}

/// Runs a spec in the database of the DSN. A step may run for `step_max`, without being seen to wait for another session,
/// before it is canceled.
pub async fn run(spec: &Spec, dsn: &str, step_max: Duration) -> Result<Transcript, RunError> {
    let mut links = vec![Link::open(dsn, "control").await?];
    for session in &spec.sessions {
        links.push(Link::open(dsn, &session.name).await?);
    }
    let text = format!("Parsed test spec with {} sessions\n", spec.sessions.len());
    let mut runner =
        Runner { spec, dsn, step_max, links, transcript: Transcript { text, permutations: Vec::new() } };
    for permutation in &spec.permutations {
        runner.permutation(permutation).await?;
    }
    Ok(runner.transcript)
}

/// A connection with what is known of it. The first is the runner's own; session `i` has link `i + 1`.
struct Link {
    connection: Connection,
    closed: bool,
    active: Option<Active>,
    answer: Answer,
    /// How many notices it got, ever.
    notices: usize,
    /// Notifications that are not shown yet: sender, channel and payload.
    notifications: Vec<(i32, String, String)>,
}

/// The step that a session takes.
struct Active {
    /// Its place in the permutation.
    at: usize,
    /// Links, and how many notices each must have got before the step is shown as completed.
    notices_wanted: Vec<(usize, usize)>,
}

/// What has come of the query that runs.
#[derive(Default)]
struct Answer {
    done: bool,
    /// What is to be shown of it.
    text: String,
    sqlstate: Option<String>,
    /// The first error's message.
    error: Option<String>,
    results: Vec<Table>,
    /// The rows of the last statement, if it gave any.
    last: Option<Table>,
}

/// How a step that was sent is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// For the first time: until it is done or waits.
    First,
    /// Once more.
    Again,
    /// Until it is done.
    Until,
}

impl Link {
    async fn open(dsn: &str, name: &str) -> Result<Link, tokio_postgres::Error> {
        Ok(Link {
            connection: Connection::open(dsn, name).await?,
            closed: false,
            active: None,
            answer: Answer::default(),
            notices: 0,
            notifications: Vec::new(),
        })
    }
}

struct Runner<'a> {
    spec: &'a Spec,
    dsn: &'a str,
    step_max: Duration,
    links: Vec<Link>,
    transcript: Transcript,
}

impl Runner<'_> {
    async fn permutation(&mut self, steps: &[PermutationStep]) -> Result<(), RunError> {
        let spec = self.spec;
        let outcome =
            |s: &PermutationStep| Outcome { name: spec.steps[s.step].name.clone(), ..Outcome::default() };
        let run = PermutationRun { steps: steps.iter().map(outcome).collect() };
        let names: Vec<&str> = run.steps.iter().map(|s| s.name.as_str()).collect();
        self.transcript.text.push_str(&format!("\nstarting permutation: {}\n", names.join(" ")));
        self.transcript.permutations.push(run);
        for (link, session) in (1..).zip(&spec.sessions) {
            self.listen(link);
            if self.links[link].closed {
                self.links[link] = Link::open(self.dsn, &session.name).await?;
            }
        }
        for setup in &spec.setups {
            self.execute(0, setup).await?;
        }
        for (link, session) in (1..).zip(&spec.sessions) {
            if let Some(setup) = &session.setup {
                self.execute(link, setup).await?;
            }
        }
        self.take_steps(steps).await?;
        for (link, session) in (1..).zip(&spec.sessions) {
            self.listen(link);
            if let Some(teardown) = &session.teardown
                && !self.links[link].closed
            {
                self.execute(link, teardown).await?;
            }
        }
        if let Some(teardown) = &spec.teardown {
            self.execute(0, teardown).await?;
        }
        Ok(())
    }

    async fn take_steps(&mut self, steps: &[PermutationStep]) -> Result<(), RunError> {
        let mut waiting: Vec<usize> = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let link = self.link_of(step);
            // Its session may still be at an earlier step: that has to end first.
            let begin = Instant::now();
            while let Some(Active { at: earlier, .. }) = self.links[link].active {
                if begin.elapsed() > 2 * self.step_max {
                    return Err(self.stuck(&self.spec.steps[steps[earlier].step].name));
                }
                if self.complete(steps, earlier, Look::Until).await? {
                    waiting.retain(|&w| w != earlier);
                }
                self.complete_all(steps, &mut waiting, Look::Again).await?;
            }
            self.send(link, &self.spec.steps[step.step].sql);
            let notices_wanted = step.blockers.iter().filter_map(|b| match *b {
                Blocker::Notices(other, n) => {
                    let other = self.spec.steps[other].session + 1;
                    Some((other, self.links[other].notices + n))
                }
                Blocker::Once | Blocker::Step(_) => None,
            });
            self.links[link].active = Some(Active { at, notices_wanted: notices_wanted.collect() });
            let done = self.complete(steps, at, Look::First).await?;
            self.complete_all(steps, &mut waiting, Look::Again).await?;
            if !done {
                waiting.push(at);
            }
        }
        self.complete_all(steps, &mut waiting, Look::Until).await?;
        match waiting.first() {
            Some(&at) => Err(self.stuck(&self.spec.steps[steps[at].step].name)),
            None => Ok(()),
        }
    }

    /// Looks at the steps that wait, until none of them is completed by the completion or a notice of another.
    async fn complete_all(
        &mut self,
        steps: &[PermutationStep],
        waiting: &mut Vec<usize>,
        look: Look,
    ) -> Result<(), RunError> {
        loop {
            let notices = |links: &[Link]| links.iter().map(|l| l.notices).sum::<usize>();
            let before = (waiting.len(), notices(&self.links));
            let mut still = Vec::new();
            for &at in waiting.iter() {
                if !self.complete(steps, at, look).await? {
                    still.push(at);
                }
            }
            *waiting = still;
            let held = waiting.iter().any(|&at| !steps[at].blockers.is_empty());
            if !held || before == (waiting.len(), notices(&self.links)) {
                return Ok(());
            }
        }
    }

    /// Whether the step is over, and shown as such.
    async fn complete(&mut self, steps: &[PermutationStep], at: usize, look: Look) -> Result<bool, RunError> {
        let step = &steps[at];
        let link = self.link_of(step);
        if look == Look::First && step.blockers.contains(&Blocker::Once) {
            self.show_waiting(step, at);
            return Ok(false);
        }
        let begin = Instant::now();
        let mut canceled = false;
        self.listen(link);
        while !self.links[link].answer.done {
            let event = timeout(POLL, self.links[link].connection.events.recv()).await;
            if let Ok(event) = event {
                self.note(link, event.unwrap_or(Event::Closed));
                continue;
            }
            if look != Look::Until && self.is_blocked(link).await? {
                // The answer may have come while the server was asked.
                self.listen(link);
                if self.links[link].answer.done {
                    break;
                }
                if look == Look::First {
                    self.show_waiting(step, at);
                }
                return Ok(false);
            }
            let name = &self.spec.steps[step.step].name;
            if begin.elapsed() > self.step_max && !canceled {
                canceled = true;
                let seconds = self.step_max.as_secs();
                self.transcript
                    .text
                    .push_str(&format!("isolationtester: canceling step {name} after {seconds} seconds\n"));
                self.links[link].connection.cancel().await?;
            }
            if begin.elapsed() > 2 * self.step_max {
                return Err(self.stuck(name));
            }
        }
        if self.is_held(steps, link) {
            if look == Look::First {
                self.show_waiting(step, at);
            }
            return Ok(false);
        }
        self.show_completed(step, at, link, look == Look::First);
        Ok(true)
    }

    /// Whether its blockers hold back a session's step that is done.
    fn is_held(&self, steps: &[PermutationStep], link: usize) -> bool {
        let Some(active) = &self.links[link].active else {
            return false;
        };
        let runs = |step: usize| {
            let other = &self.links[self.spec.steps[step].session + 1];
            other.active.as_ref().is_some_and(|a| steps[a.at].step == step)
        };
        steps[active.at].blockers.iter().any(|b| matches!(*b, Blocker::Step(other) if runs(other)))
            || active.notices_wanted.iter().any(|&(other, n)| self.links[other].notices < n)
    }

    /// Whether a session waits for another of the spec, as the server sees it.
    async fn is_blocked(&mut self, link: usize) -> Result<bool, RunError> {
        let pids: Vec<String> = self.links[1..].iter().map(|l| l.connection.pid.to_string()).collect();
        let pid = self.links[link].connection.pid;
        let sql = format!(
            "SELECT pg_catalog.pg_isolation_test_session_is_blocked({pid}, '{{{}}}'::int4[])",
            pids.join(",")
        );
        let answer = self.ask(0, &sql).await?;
        Ok(answer.is_some_and(|t| t.rows == [[Some("t".to_owned())]]))
    }

    /// Executes a block of setup or teardown, and shows its last rows.
    async fn execute(&mut self, link: usize, sql: &str) -> Result<(), RunError> {
        if let Some(table) = self.ask(link, sql).await? {
            table.print(&mut self.transcript.text);
        }
        Ok(())
    }

    /// The rows of the last of some statements that must not fail.
    async fn ask(&mut self, link: usize, sql: &str) -> Result<Option<Table>, RunError> {
        self.send(link, sql);
        while !self.links[link].answer.done {
            match timeout(self.step_max, self.links[link].connection.events.recv()).await {
                Ok(event) => self.note(link, event.unwrap_or(Event::Closed)),
                Err(_) => return Err(self.stuck(sql)),
            }
        }
        let answer = std::mem::take(&mut self.links[link].answer);
        match answer.error {
            Some(message) => {
                let so_far = self.transcript.text.clone();
                Err(RunError::Failed { message, sql: sql.to_owned(), so_far })
            }
            None => Ok(answer.last),
        }
    }

    fn send(&mut self, link: usize, sql: &str) {
        self.listen(link);
        let link = &mut self.links[link];
        // What a server said before it ended an idle connection answers the next query.
        if !link.closed {
            link.answer = Answer::default();
            link.connection.send(sql);
        }
    }

    /// Notes what has come.
    fn listen(&mut self, link: usize) {
        while let Ok(event) = self.links[link].connection.events.try_recv() {
            self.note(link, event);
        }
    }

    fn note(&mut self, index: usize, event: Event) {
        let link = &mut self.links[index];
        let answer = &mut link.answer;
        match event {
            Event::Rows(table) => {
                table.print(&mut answer.text);
                answer.results.push(table.clone());
                answer.last = Some(table);
            }
            Event::Done => answer.last = None,
            Event::Error { severity, sqlstate, message } => {
                answer.text.push_str(&format!("{severity}:  {message}\n"));
                answer.sqlstate.get_or_insert(sqlstate);
                answer.error.get_or_insert(message);
            }
            Event::Notice(text) => {
                link.notices += 1;
                // Shown at once, or after the results that it follows.
                let shown = if answer.text.is_empty() { &mut self.transcript.text } else { &mut answer.text };
                if let Some(session) = index.checked_sub(1) {
                    shown.push_str(&format!("{}: {text}", self.spec.sessions[session].name));
                }
            }
            Event::Notification { pid, channel, payload } => link.notifications.push((pid, channel, payload)),
            Event::Ready => answer.done = true,
            Event::Closed => {
                link.closed = true;
                answer.done = true;
                answer.error.get_or_insert_with(|| "the connection has ended".to_owned());
            }
        }
    }

    fn show_waiting(&mut self, step: &PermutationStep, at: usize) {
        let step = &self.spec.steps[step.step];
        self.transcript.text.push_str(&format!("step {}: {} <waiting ...>\n", step.name, step.sql));
        if let Some(run) = self.transcript.permutations.last_mut() {
            run.steps[at].waited = true;
        }
    }

    fn show_completed(&mut self, step: &PermutationStep, at: usize, link: usize, first: bool) {
        let step = &self.spec.steps[step.step];
        let what = if first { &step.sql } else { "<... completed>" };
        let link = &mut self.links[link];
        link.active = None;
        let answer = std::mem::take(&mut link.answer);
        let text = &mut self.transcript.text;
        text.push_str(&format!("step {}: {what}\n{}", step.name, answer.text));
        let notifications = std::mem::take(&mut link.notifications);
        for (pid, channel, payload) in notifications {
            let sender = self.links[1..].iter().position(|l| l.connection.pid == pid);
            let sender = sender.map_or_else(|| format!("PID {pid}"), |i| self.spec.sessions[i].name.clone());
            let receiver = &self.spec.sessions[step.session].name;
            let text = &mut self.transcript.text;
            text.push_str(&format!(
                "{receiver}: NOTIFY \"{channel}\" with payload \"{payload}\" from {sender}\n"
            ));
        }
        if let Some(run) = self.transcript.permutations.last_mut() {
            let values = |row: Vec<Option<String>>| row.into_iter().map(Option::unwrap_or_default).collect();
            run.steps[at].sqlstate = answer.sqlstate;
            run.steps[at].results =
                answer.results.into_iter().map(|t| t.rows.into_iter().map(values).collect()).collect();
        }
    }

    fn link_of(&self, step: &PermutationStep) -> usize {
        self.spec.steps[step.step].session + 1
    }

    fn stuck(&self, what: &str) -> RunError {
        RunError::Stuck { what: what.to_owned(), so_far: self.transcript.text.clone() }
    }
}
