//! Where the shell's lines come from: a person with an editor and a history, or a stream.

use std::borrow::Cow;
use std::io::{self, BufRead};
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{ColorMode, DefaultEditor, Editor, Helper};

/// One line of input, or why there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its end.
    Text(String),
    /// Ctrl-C: forget what was typed.
    Interrupted,
    /// There is nothing more.
    End,
}

/// A source of lines.
pub trait Input {
    /// The next line; `prompt` is for people.
    fn line(&mut self, prompt: &str) -> io::Result<Line>;

    /// Keeps a statement for the arrow keys.
    fn remember(&mut self, _statement: &str) {}

    /// Whether a person is typing.
    fn is_interactive(&self) -> bool {
        false
    }
}

/// Lines of a file, of a pipe, or of a text.
pub struct Stream<R>(pub R);

impl<R: BufRead> Input for Stream<R> {
    fn line(&mut self, _prompt: &str) -> io::Result<Line> {
        let mut bytes = vec![];
        if self.0.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(Line::End);
        }
        if bytes.ends_with(b"\n") {
            bytes.pop();
        }
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Line::Text(text)),
            Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the input is not UTF-8")),
        }
    }
}

/// A person at a terminal.
pub struct Terminal {
    editor: DefaultEditor,
    history: Option<PathBuf>,
}

impl Terminal {
    /// Opens the terminal and the history of earlier times.
    pub fn open() -> io::Result<Terminal> {
        let mut editor = DefaultEditor::new().map_err(as_io)?;
        let history = history_file();
        if let Some(history) = &history {
            // At the first start there is none.
            let _ = editor.load_history(history);
        }
        Ok(Terminal { editor, history })
    }
}

impl Input for Terminal {
    fn line(&mut self, prompt: &str) -> io::Result<Line> {
        match self.editor.readline(prompt) {
            Ok(line) => Ok(Line::Text(line)),
            Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(error) => Err(as_io(error)),
        }
    }

    fn remember(&mut self, statement: &str) {
        // A history that cannot be kept is no reason to stop.
        let _ = self.editor.add_history_entry(statement);
        if let Some(history) = &self.history {
            let _ = self.editor.save_history(history);
        }
    }

    fn is_interactive(&self) -> bool {
        true
    }
}

/// Asks for a password without showing it; `None` if the person gives up.
pub fn ask_password(prompt: &str) -> io::Result<Option<String>> {
    let mut editor = Editor::<Hidden, DefaultHistory>::new().map_err(as_io)?;
    editor.set_helper(Some(Hidden));
    editor.set_color_mode(ColorMode::Forced);
    editor.set_auto_add_history(false);
    match editor.readline(prompt) {
        Ok(password) => Ok(Some(password)),
        Err(ReadlineError::Interrupted | ReadlineError::Eof) => Ok(None),
        Err(error) => Err(as_io(error)),
    }
}

/// Shows nothing of what is typed.
struct Hidden;

impl Highlighter for Hidden {
    fn highlight<'l>(&self, _line: &'l str, _pos: usize) -> Cow<'l, str> {
        Cow::Borrowed("")
    }

    fn highlight_char(&self, _line: &str, _pos: usize, kind: CmdKind) -> bool {
        kind != CmdKind::MoveCursor
    }
}

impl Completer for Hidden {
    type Candidate = String;
}

impl Hinter for Hidden {
    type Hint = String;
}

impl Validator for Hidden {}

impl Helper for Hidden {}

fn as_io(error: ReadlineError) -> io::Error {
    match error {
        ReadlineError::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// `$XDG_STATE_HOME/shardforge/history`, or below `~/.local/state`.
fn history_file() -> Option<PathBuf> {
    let state = match std::env::var_os("XDG_STATE_HOME") {
        Some(state) => PathBuf::from(state),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".local/state"),
    };
    let folder = state.join("shardforge");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}
