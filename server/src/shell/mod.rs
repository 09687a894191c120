//! `shardforge sql`: a shell, and a way to run statements from scripts.
//!
//! It is a client like any other: it connects over the network and works with a PostgreSQL server as well.
//!
//! ```text
//!   input (terminal | file | pipe) -> split (statements) | meta (backslash commands)
//!       -> client (simple query protocol) -> table, report -> stdout, stderr
//! ```

mod client;
mod input;
mod meta;
mod report;
mod split;
mod table;

use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use client::{Client, Event, Report};
use input::{Input, Line, Stream, Terminal};
use meta::{Meta, Switch};
use split::Open;
use table::Style;
use tokio::runtime::Runtime;

use crate::cli::Sql;

const DEFAULT_DSN: &str = "postgresql://postgres@127.0.0.1:5432/postgres";
/// Files may include files, this deep.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Why the shell cannot go on. An SQL error is not among them.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The DSN cannot be understood.
    #[error("invalid connection string: {0}")]
    Dsn(tokio_postgres::Error),
    /// Nobody answers at the address.
    #[error("cannot connect to {address}: {error}")]
    Connect {
        /// The address.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The server turned the connection away.
    #[error("{}:  {}", .0.severity, .0.message)]
    Refused(Box<Report>),
    /// The server asks for a password and none was given.
    #[error("the server asks for a password")]
    NoPassword,
    /// The server asks for something that this client does not know.
    #[error("the server asks for an authentication that is not supported")]
    UnknownAuthentication,
    /// The DSN insists on encryption.
    #[error("sslmode=require: encrypted connections are not supported")]
    NoTls,
    /// The DSN names a socket in the file system.
    #[error("unix sockets are not supported: {}", .0.display())]
    UnixSocket(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The connection, the input or the output has failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ShellError {
    /// What may help.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            ShellError::Connect { .. } => "is the server running? `shardforge start` runs one",
            ShellError::NoPassword => {
                "write it in the DSN (postgresql://USER:PASSWORD@HOST/DB), or set PGPASSWORD"
            }
            ShellError::Dsn(_) => "such as postgresql://postgres@127.0.0.1:5432/postgres",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// Runs the command.
pub fn run(args: Sql) -> Result<ExitCode, ShellError> {
    let variable = std::env::var("SHARDFORGE_DSN").ok();
    let dsn = args.dsn.or(variable).unwrap_or_else(|| DEFAULT_DSN.to_owned());
    let mut config: tokio_postgres::Config = dsn.parse().map_err(ShellError::Dsn)?;
    if config.get_password().is_none()
        && let Ok(password) = std::env::var("PGPASSWORD")
    {
        config.password(password);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = match runtime.block_on(Client::connect(&config)) {
        Err(ShellError::NoPassword) if io::stdin().is_terminal() => {
            let Some(password) = input::ask_password("password: ")? else { return Ok(ExitCode::FAILURE) };
            config.password(password);
            runtime.block_on(Client::connect(&config))?
        }
        outcome => outcome?,
    };
    let style = Style { expanded: false, tuples_only: args.tuples_only };
    let mut shell = Shell { runtime, client, style, timing: false, failed: false, catch_interrupts: false };

    let outcome = shell.run(&args.commands, &args.files);
    let failed = shell.failed;
    let Shell { runtime, client, .. } = shell;
    match outcome {
        Ok(()) => runtime.block_on(client.terminate()),
        // `shardforge sql ... | head` is no failure.
        Err(ShellError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => return Err(error),
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

struct Shell {
    runtime: Runtime,
    client: Client,
    style: Style,
    timing: bool,
    /// An SQL error has occurred.
    failed: bool,
    /// Ctrl-C stops the statement and not the shell.
    catch_interrupts: bool,
}

/// Whether to go on reading.
#[derive(PartialEq, Eq)]
enum Next {
    More,
    Leave,
}

impl Shell {
    fn run(&mut self, commands: &[String], files: &[PathBuf]) -> Result<(), ShellError> {
        for command in commands {
            if command.trim_start().starts_with('\\') {
                self.meta(command, &mut String::new(), 0)?;
            } else {
                self.execute(command, &mut Stream(io::empty()))?;
            }
        }
        for file in files {
            self.file(file, 0)?;
        }
        if !commands.is_empty() || !files.is_empty() {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return self.read(&mut Stream(io::stdin().lock()), 0);
        }
        self.catch_interrupts = true;
        let version = self.client.parameter("server_version").unwrap_or("unknown").to_owned();
        println!("shardforge sql {}, server version {version}", env!("CARGO_PKG_VERSION"));
        println!("\\? for help, \\q to leave");
        let outcome = self.read(&mut Terminal::open()?, 0);
        // A shell that was used by hand has told its errors already.
        self.failed = false;
        outcome
    }

    fn file(&mut self, path: &Path, depth: usize) -> Result<(), ShellError> {
        if path == Path::new("-") {
            return self.read(&mut Stream(io::stdin().lock()), depth);
        }
        let file =
            File::open(path).map_err(|error| ShellError::Unreadable { path: path.to_owned(), error })?;
        self.read(&mut Stream(BufReader::new(file)), depth)
    }

    /// Reads to the end of the input and runs what it says.
    fn read(&mut self, input: &mut dyn Input, depth: usize) -> Result<(), ShellError> {
        let mut buffer = String::new();
        let mut open = Open::Nothing;
        loop {
            let line = match input.line(&self.prompt(open))? {
                Line::Text(line) => line,
                Line::Interrupted => {
                    buffer.clear();
                    open = Open::Nothing;
                    continue;
                }
                Line::End => break,
            };
            let in_text = matches!(open, Open::Quote | Open::Name | Open::Dollar | Open::Comment);
            if !in_text && line.trim_start().starts_with('\\') {
                if input.is_interactive() {
                    input.remember(line.trim());
                }
                if self.meta(&line, &mut buffer, depth)? == Next::Leave {
                    return Ok(());
                }
                if buffer.is_empty() {
                    open = Open::Nothing;
                }
                continue;
            }
            buffer.push_str(&line);
            buffer.push('\n');
            open = loop {
                match split::take_statement(&mut buffer) {
                    Ok(statement) => {
                        input.remember(&statement);
                        self.execute(&statement, input)?;
                    }
                    Err(open) => break open,
                }
            };
            if open == Open::Nothing {
                buffer.clear();
            }
        }
        if !buffer.trim().is_empty() && !input.is_interactive() {
            self.execute(buffer.trim(), input)?;
        }
        Ok(())
    }

    fn prompt(&self, open: Open) -> String {
        let transaction = match self.client.status {
            b'T' => "*",
            b'E' => "!",
            _ => "",
        };
        format!("{}{}{transaction}# ", self.client.database, open.mark())
    }

    /// Runs a backslash command; `buffer` is what was typed before it.
    fn meta(&mut self, line: &str, buffer: &mut String, depth: usize) -> Result<Next, ShellError> {
        match meta::parse(line) {
            Meta::Quit => return Ok(Next::Leave),
            Meta::Help => print!("{}", meta::HELP),
            Meta::Reset => buffer.clear(),
            Meta::Echo(text) => println!("{text}"),
            Meta::ConnectionInfo => {
                println!("database \"{}\", user \"{}\"", self.client.database, self.client.user);
            }
            Meta::Switch(switch, value) => {
                let (name, state) = match switch {
                    Switch::Timing => ("timing", &mut self.timing),
                    Switch::Expanded => ("expanded", &mut self.style.expanded),
                    Switch::TuplesOnly => ("tuples only", &mut self.style.tuples_only),
                };
                *state = value.unwrap_or(!*state);
                println!("{name} is {}", if *state { "on" } else { "off" });
            }
            Meta::Include(path) if depth < INCLUDE_DEPTH_MAX => {
                if let Err(error @ ShellError::Unreadable { .. }) = self.file(Path::new(&path), depth + 1) {
                    self.complain(&error.to_string());
                }
            }
            Meta::Include(_) => self.complain("files include each other too deep"),
            Meta::Describe(queries) => {
                for (index, (title, query)) in queries.iter().enumerate() {
                    if !self.describe(title, query, index == 0)? {
                        break;
                    }
                }
            }
            Meta::Invalid(problem) => self.complain(&problem),
        }
        Ok(Next::More)
    }

    fn complain(&mut self, problem: &str) {
        eprintln!("{problem}");
        self.failed = true;
    }

    /// Runs a catalog query and prints its result under a title; false if it failed.
    fn describe(&mut self, title: &str, query: &str, even_if_empty: bool) -> Result<bool, ShellError> {
        let outcome = self.runtime.block_on(async {
            let (mut columns, mut rows, mut error) = (vec![], vec![], None);
            self.client.query(query).await?;
            loop {
                match self.client.next().await? {
                    Event::Columns(found) => columns = found,
                    Event::Row(row) => rows.push(row),
                    Event::Error(report) => error = Some(report),
                    Event::Ready => return Ok::<_, io::Error>((columns, rows, error)),
                    _ => {}
                }
            }
        })?;
        let (columns, rows, error) = outcome;
        if let Some(report) = error {
            self.complain(report::format(&Report { position: None, ..report }, query).trim_end());
            return Ok(false);
        }
        if even_if_empty || !rows.is_empty() {
            let text = table::format(&columns, &rows, self.style);
            write!(io::stdout().lock(), "{title}\n{text}")?;
        }
        Ok(true)
    }

    /// Runs SQL and prints its results. `input` also holds the data of COPY FROM STDIN.
    fn execute(&mut self, sql: &str, input: &mut dyn Input) -> Result<(), ShellError> {
        let began = Instant::now();
        let client = &mut self.client;
        let (style, catch_interrupts) = (self.style, self.catch_interrupts);
        let failed = self.runtime.block_on(answer(client, sql, input, style, catch_interrupts))?;
        self.failed |= failed;
        if self.timing {
            println!("time: {:.3} ms", began.elapsed().as_secs_f64() * 1_000.0);
        }
        Ok(())
    }
}

/// Sends a query and prints its answer; true if it failed.
async fn answer(
    client: &mut Client,
    sql: &str,
    input: &mut dyn Input,
    style: Style,
    catch_interrupts: bool,
) -> Result<bool, ShellError> {
    let cancel_key = client.cancel_key.clone();
    let mut out = io::stdout().lock();
    let mut failed = false;
    let mut result = None;
    client.query(sql).await?;
    loop {
        let event = tokio::select! {
            biased;
            event = client.next() => event?,
            Ok(()) = tokio::signal::ctrl_c(), if catch_interrupts => {
                cancel_key.cancel().await?;
                continue;
            }
        };
        match event {
            Event::Columns(columns) => result = Some((columns, vec![])),
            Event::Row(row) => {
                if let Some((_, rows)) = &mut result {
                    rows.push(row);
                }
            }
            Event::Tag(tag) => match result.take() {
                Some((columns, rows)) => {
                    write!(out, "{}", table::format(&columns, &rows, style))?;
                    // RETURNING: the rows, and what was done.
                    if !tag.starts_with("SELECT") && !style.tuples_only && tag.contains(' ') {
                        writeln!(out, "{tag}")?;
                    }
                }
                None if style.tuples_only => {}
                None => writeln!(out, "{tag}")?,
            },
            Event::Notice(notice) => {
                out.flush()?;
                eprint!("{}", report::format(&notice, sql));
            }
            Event::Error(error) => {
                out.flush()?;
                failed = true;
                result = None;
                eprint!("{}", report::format(&error, sql));
            }
            Event::CopyIn => copy_in(client, input).await?,
            Event::CopyData(data) => out.write_all(&data)?,
            Event::Ready => {
                out.flush()?;
                return Ok(failed);
            }
        }
    }
}

/// Sends the lines up to `\.` or the end of the input.
async fn copy_in(client: &mut Client, input: &mut dyn Input) -> Result<(), ShellError> {
    if input.is_interactive() {
        println!("enter the data, then \\. on a line of its own (Ctrl-C gives up)");
    }
    loop {
        match input.line("> ")? {
            Line::Text(line) if line == "\\." => break,
            Line::Text(mut line) => {
                line.push('\n');
                client.copy_data(line.as_bytes()).await?;
            }
            Line::Interrupted => return Ok(client.copy_fail("given up by the user").await?),
            Line::End => break,
        }
    }
    Ok(client.copy_done().await?)
}
