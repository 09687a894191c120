//! EXPLAIN [ANALYZE]: which path a statement takes, and why.

use std::sync::Arc;

use shardforge_types::{Datum, PgError, PgResult, SqlState, oid};

use super::PgSession;
use super::execute::Execution;
use super::utility::text_output;
use crate::ir::{OutputColumn, Ty};
use crate::parse::ast::{DefArg, DefElem, ExplainStmt, Statement};
use crate::plan::{Collect, PlannedKind, QueryCursor};

/// Options of EXPLAIN.
#[derive(Clone, Copy, Default)]
struct Options {
    analyze: bool,
    verbose: bool,
    costs: bool,
    summary: Option<bool>,
    timing: bool,
    format: Format,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Format {
    #[default]
    Text,
    Json,
}

/// The value of a boolean option (`defGetBoolean`).
pub fn boolean_option(option: &DefElem) -> PgResult<bool> {
    match &option.arg {
        None => return Ok(true),
        Some(DefArg::Boolean(flag)) => return Ok(*flag),
        Some(DefArg::Integer(number @ (0 | 1))) => return Ok(*number == 1),
        Some(DefArg::String(text)) => match text.to_ascii_lowercase().as_str() {
            "true" | "on" => return Ok(true),
            "false" | "off" => return Ok(false),
            _ => {}
        },
        Some(_) => {}
    }
    Err(PgError::new(SqlState::SYNTAX_ERROR, format!("{} requires a Boolean value", option.name)))
}

impl Options {
    fn parse(list: &[DefElem]) -> PgResult<Options> {
        let mut options = Options { costs: true, timing: true, ..Options::default() };
        let mut needs_analyze = None;
        for option in list {
            match &*option.name {
                "analyze" => options.analyze = boolean_option(option)?,
                "verbose" => options.verbose = boolean_option(option)?,
                "costs" => options.costs = boolean_option(option)?,
                "timing" => {
                    options.timing = boolean_option(option)?;
                    needs_analyze = needs_analyze.or(options.timing.then_some("TIMING"));
                }
                "summary" => options.summary = Some(boolean_option(option)?),
                "wal" => needs_analyze = needs_analyze.or(boolean_option(option)?.then_some("WAL")),
                "buffers" | "settings" | "generic_plan" | "memory" => {
                    boolean_option(option)?;
                }
                "serialize" => needs_analyze = needs_analyze.or(Some("SERIALIZE")),
                "format" => {
                    let text = match &option.arg {
                        Some(DefArg::String(text)) => text.to_string(),
                        Some(DefArg::Type(ty)) => {
                            ty.names.last().map(ToString::to_string).unwrap_or_default()
                        }
                        _ => String::new(),
                    };
                    options.format = match text.as_str() {
                        "text" => Format::Text,
                        "json" => Format::Json,
                        "xml" | "yaml" => {
                            return Err(PgError::not_supported(format!(
                                "EXPLAIN format \"{text}\" is not supported yet"
                            ))
                            .hint("Use text or json."));
                        }
                        _ => {
                            return Err(PgError::new(
                                SqlState::INVALID_PARAMETER_VALUE,
                                format!("unrecognized value for EXPLAIN option \"format\": \"{text}\""),
                            )
                            .at(option.pos));
                        }
                    };
                }
                name => {
                    return Err(PgError::new(
                        SqlState::SYNTAX_ERROR,
                        format!("unrecognized EXPLAIN option \"{name}\""),
                    )
                    .at(option.pos));
                }
            }
        }
        match needs_analyze {
            Some(name) if !options.analyze => Err(PgError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("EXPLAIN option {name} requires ANALYZE"),
            )),
            _ => Ok(options),
        }
    }
}

impl PgSession {
    /// Result columns of EXPLAIN.
    pub(super) fn explain_columns(stmt: &ExplainStmt) -> Vec<OutputColumn> {
        let mut columns = text_output(&["QUERY PLAN"]);
        if Options::parse(&stmt.options).is_ok_and(|options| options.format == Format::Json) {
            columns[0].col.ty = Ty::new(oid::JSON);
        }
        columns
    }

    /// EXPLAIN.
    ///
    /// # Errors
    /// What planning raises; with ANALYZE, what running raises.
    pub(super) async fn explain(
        &mut self,
        stmt: &ExplainStmt,
        sql: &Arc<str>,
        params: &Arc<[Datum]>,
        types: &[Ty],
    ) -> PgResult<Execution> {
        let options = Options::parse(&stmt.options)?;
        let types: Vec<_> = types.iter().map(|ty| ty.oid).collect();
        let (prepared, params) = match &stmt.query {
            Statement::Execute(execute) => self.execute_target(execute)?,
            Statement::CreateTableAs(create) => match &create.query {
                Statement::Execute(execute) => self.execute_target(execute)?,
                query => {
                    let query = Arc::new(query.clone());
                    (Arc::new(self.prepare(sql.clone(), Some(query), &types).await?), params.clone())
                }
            },
            Statement::DeclareCursor(declare) => {
                let query = Arc::new(Statement::Select(declare.query.clone()));
                (Arc::new(self.prepare(sql.clone(), Some(query), &types).await?), params.clone())
            }
            query => (
                Arc::new(self.prepare(sql.clone(), Some(Arc::new(query.clone())), &types).await?),
                params.clone(),
            ),
        };
        if !prepared.stmt.as_deref().is_some_and(super::statement::is_planned) {
            return Err(PgError::not_supported("EXPLAIN of this statement is not supported"));
        }
        let planning_began = self.engine.clock_micros();
        // Whoever looks at a plan holds the tables in it, as who runs it would.
        let planned = self.plan_with_locks(&prepared).await?;
        let planning = self.engine.clock_micros() - planning_began;
        let mut lines = match &planned.kind {
            PlannedKind::Query(plan) => plan.explain(options.verbose),
            PlannedKind::Modify(word, plan) => plan.explain(word, options.verbose),
        };
        let mut execution_ms = None;
        if options.analyze {
            let began = self.engine.clock_micros();
            let mut execution = self.start(&prepared, params).await?;
            let rows = self.drain(&mut execution).await?;
            let elapsed = (self.engine.clock_micros() - began) as f64 / 1000.0;
            execution_ms = Some(elapsed);
            if let Some(first) = lines.first_mut() {
                let time =
                    if options.timing { format!("actual time={elapsed:.3} ") } else { "actual ".to_owned() };
                first.push_str(&format!(" ({time}rows={rows} loops=1)"));
            }
        }
        if options.summary.unwrap_or(options.analyze) {
            lines.push(format!("Planning Time: {:.3} ms", planning as f64 / 1000.0));
            if let Some(elapsed) = execution_ms {
                lines.push(format!("Execution Time: {elapsed:.3} ms"));
            }
        }
        let rows = match options.format {
            Format::Text => lines.into_iter().map(|line| vec![Datum::text(line)]).collect(),
            Format::Json => vec![vec![Datum::text(as_json(&lines))]],
        };
        let mut result = self.text_rows(&["QUERY PLAN"], rows, "EXPLAIN");
        result.output = Self::explain_columns(stmt).into();
        Ok(result)
    }

    /// Runs an execution to its end and counts its rows.
    async fn drain(&mut self, execution: &mut Execution) -> PgResult<u64> {
        let Some((mut cursor, cx)) = execution.cursor.take().map(|running| *running) else { return Ok(0) };
        let types: Arc<[_]> = execution.output.iter().map(|column| column.col.ty.oid).collect();
        let mut rows = 0;
        loop {
            let mut sink = Collect::new(types.clone());
            let progress = QueryCursor::fetch(&mut cursor, &cx, 4096, &mut sink).await?;
            rows += progress.rows as u64;
            self.check_canceled()?;
            if progress.done {
                return Ok(rows);
            }
        }
    }
}

/// The lines as JSON: one plan with its text lines.
fn as_json(lines: &[String]) -> String {
    let plan = serde_json::json!([{ "Plan": { "Node Type": lines.first().map_or("", |line| line.trim()), "Lines": lines } }]);
    serde_json::to_string_pretty(&plan).unwrap_or_default()
}
