//! CREATE SEQUENCE and ALTER SEQUENCE.

use shardforge_kv::{ObjectLockMode, SequenceState};
use shardforge_types::{Oid, PgError, PgResult, SqlState, oid, type_name};

use super::{check_free, names};
use crate::catalog::builtin::builtin;
use crate::catalog::well_known::PG_CATALOG;
use crate::catalog::{Change, Relation, RelationDesc, SequenceDesc};
use crate::parse::ast::{AlterSeqStmt, CreateSeqStmt, DefArg, DefElem};
use crate::session::PgSession;
use crate::session::error::from_kv;

/// Options of a sequence as written; `None`: not written.
#[derive(Clone, Debug)]
pub struct SequenceOptions {
    ty: Oid,
    ty_given: bool,
    start: Option<i64>,
    increment: Option<i64>,
    /// `Some(None)`: NO MINVALUE.
    min: Option<Option<i64>>,
    max: Option<Option<i64>>,
    cache: Option<i64>,
    cycle: Option<bool>,
    restart: Option<Option<i64>>,
    owned_by: Option<Vec<String>>,
}

impl SequenceOptions {
    /// The defaults of a sequence of an integer type.
    pub fn of_type(ty: Oid) -> SequenceOptions {
        SequenceOptions {
            ty,
            ty_given: false,
            start: None,
            increment: None,
            min: None,
            max: None,
            cache: None,
            cycle: None,
            restart: None,
            owned_by: None,
        }
    }

    /// RESTART.
    pub fn restart(&mut self) {
        self.restart = Some(None);
    }

    /// Takes in written options.
    ///
    /// # Errors
    /// 42601 for an option given twice, 22023 for a bad type.
    pub fn apply(&mut self, options: &[DefElem]) -> PgResult<()> {
        let mut seen: Vec<&str> = Vec::new();
        for option in options {
            if seen.contains(&&*option.name) {
                return Err(
                    PgError::new(SqlState::SYNTAX_ERROR, "conflicting or redundant options").at(option.pos)
                );
            }
            seen.push(&option.name);
            let number = || number_of(option);
            match &*option.name {
                "as" => {
                    self.ty_given = true;
                    let name = match &option.arg {
                        Some(DefArg::Type(name)) => name.names.last().map(|n| &**n),
                        Some(DefArg::String(name)) => Some(&**name),
                        _ => None,
                    };
                    self.ty = match name {
                        Some("int2" | "smallint") => oid::INT2,
                        Some("int4" | "integer" | "int") => oid::INT4,
                        Some("int8" | "bigint") => oid::INT8,
                        Some(name) if builtin().type_by_name(PG_CATALOG, name).is_none() => {
                            let message = format!("type \"{name}\" does not exist");
                            return Err(PgError::new(SqlState::UNDEFINED_OBJECT, message));
                        }
                        _ => return Err(invalid("sequence type must be smallint, integer, or bigint")),
                    };
                }
                "increment" => self.increment = number()?,
                "start" => self.start = number()?,
                "restart" => self.restart = Some(number()?),
                "minvalue" => self.min = Some(number()?),
                "maxvalue" => self.max = Some(number()?),
                "cache" => self.cache = number()?,
                "cycle" => self.cycle = Some(!matches!(option.arg, Some(DefArg::Boolean(false)))),
                "owned_by" => {
                    if let Some(DefArg::Names(names)) = &option.arg {
                        self.owned_by = Some(names.iter().map(ToString::to_string).collect());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn number_of(option: &DefElem) -> PgResult<Option<i64>> {
    match &option.arg {
        None => Ok(None),
        Some(DefArg::Integer(n)) => Ok(Some(i64::from(*n))),
        Some(DefArg::Float(text) | DefArg::String(text)) => text.parse().map(Some).map_err(|_| {
            PgError::new(
                SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                format!("value \"{text}\" is out of range for type bigint"),
            )
        }),
        Some(_) => {
            Err(PgError::new(SqlState::SYNTAX_ERROR, format!("{} requires a numeric value", option.name)))
        }
    }
}

fn invalid(message: impl Into<String>) -> PgError {
    PgError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn type_range(ty: Oid) -> (i64, i64) {
    match ty {
        oid::INT2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        oid::INT4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    }
}

/// Fills in a descriptor from options, over the values that it has.
fn fill_in(desc: &mut SequenceDesc, options: &SequenceOptions, is_new: bool) -> PgResult<()> {
    let (type_min, type_max) = type_range(options.ty);
    let type_changed = options.ty_given && options.ty != desc.ty;
    let old_range = type_range(desc.ty);
    let (was_min, was_max) = (!is_new && desc.min == old_range.0, !is_new && desc.max == old_range.1);
    if is_new || options.ty_given {
        desc.ty = options.ty;
    }
    if let Some(increment) = options.increment {
        if increment == 0 {
            return Err(invalid("INCREMENT must not be zero"));
        }
        desc.increment = increment;
    }
    let ascending = desc.increment > 0;
    match options.max {
        Some(Some(max)) => desc.max = max,
        _ if type_changed && was_max => desc.max = type_max,
        _ if is_new || options.max.is_some() => desc.max = if ascending { type_max } else { -1 },
        _ => {}
    }
    match options.min {
        Some(Some(min)) => desc.min = min,
        _ if type_changed && was_min => desc.min = type_min,
        _ if is_new || options.min.is_some() => desc.min = if ascending { 1 } else { type_min },
        _ => {}
    }
    for (value, what) in [(desc.max, "MAXVALUE"), (desc.min, "MINVALUE")] {
        if value < type_min || value > type_max {
            return Err(invalid(format!(
                "{what} ({value}) is out of range for sequence data type {}",
                type_name(desc.ty)
            )));
        }
    }
    if desc.min >= desc.max {
        return Err(invalid(format!("MINVALUE ({}) must be less than MAXVALUE ({})", desc.min, desc.max)));
    }
    match options.start {
        Some(start) => desc.start = start,
        None if is_new => desc.start = if ascending { desc.min } else { desc.max },
        None => {}
    }
    if desc.start < desc.min {
        return Err(invalid(format!(
            "START value ({}) cannot be less than MINVALUE ({})",
            desc.start, desc.min
        )));
    }
    if desc.start > desc.max {
        return Err(invalid(format!(
            "START value ({}) cannot be greater than MAXVALUE ({})",
            desc.start, desc.max
        )));
    }
    if let Some(cache) = options.cache {
        if cache <= 0 {
            return Err(invalid(format!("CACHE ({cache}) must be greater than zero")));
        }
        desc.cache = cache;
    }
    if let Some(cycle) = options.cycle {
        desc.cycle = cycle;
    }
    Ok(())
}

/// The descriptor of a new sequence.
///
/// # Errors
/// 22023.
pub async fn describe(
    session: &mut PgSession,
    schema: Oid,
    name: String,
    options: &SequenceOptions,
) -> PgResult<SequenceDesc> {
    let mut desc = SequenceDesc {
        oid: session.engine.next_oid().await?,
        schema,
        name,
        owner: session.user,
        version: 1,
        generation: 0,
        ty: options.ty,
        start: 1,
        increment: 1,
        min: 1,
        max: i64::MAX,
        cache: 1,
        cycle: false,
        owned_by: None,
    };
    fill_in(&mut desc, options, true)?;
    Ok(desc)
}

/// CREATE SEQUENCE.
///
/// # Errors
/// Whatever it raises.
pub async fn create(session: &mut PgSession, stmt: &CreateSeqStmt) -> PgResult<()> {
    let schema = names::creation_schema(session, &stmt.sequence)?;
    let name = stmt.sequence.name.to_string();
    session.lock_name(schema, &name).await?;
    let catalog = session.catalog();
    if let Err(error) = check_free(&catalog, schema, &name) {
        if stmt.if_not_exists {
            session.notice(format!("relation \"{name}\" already exists, skipping"));
            return Ok(());
        }
        return Err(error);
    }
    let mut options = SequenceOptions::of_type(oid::INT8);
    options.apply(&stmt.options)?;
    let mut desc = describe(session, schema, name, &options).await?;
    desc.owned_by = owner(session, &options, None).await?;
    session.record(Change::PutRelation(RelationDesc::Sequence(desc)))
}

async fn owner(
    session: &mut PgSession,
    options: &SequenceOptions,
    current: Option<(Oid, i16, bool)>,
) -> PgResult<Option<(Oid, i16, bool)>> {
    let Some(names) = &options.owned_by else { return Ok(current) };
    let (column, table) = match &names[..] {
        [none] if none == "none" => return Ok(None),
        [table @ .., column] if !table.is_empty() => (column, table),
        _ => {
            return Err(PgError::new(SqlState::SYNTAX_ERROR, "invalid OWNED BY option")
                .hint("Specify OWNED BY table.column or OWNED BY NONE."));
        }
    };
    let table: Vec<crate::parse::ast::Name> = table.iter().map(|name| name.as_str().into()).collect();
    let range = crate::parse::ast::RangeVar::from_names(&table, 0)?;
    let table = session.lock_table_by_name(&range, ObjectLockMode::AccessShare).await?;
    match table.column_by_name(column) {
        Some((attnum, _)) => Ok(Some((table.oid, attnum, false))),
        None => Err(PgError::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{column}\" of relation \"{}\" does not exist", table.name),
        )),
    }
}

/// ALTER SEQUENCE.
///
/// # Errors
/// Whatever it raises.
pub async fn alter(session: &mut PgSession, stmt: &AlterSeqStmt) -> PgResult<()> {
    let Some(relation) = names::find_relation_if_exists(session, &stmt.sequence)? else {
        if stmt.if_exists {
            session.notice(format!("relation \"{}\" does not exist, skipping", stmt.sequence.name));
            return Ok(());
        }
        return names::find_relation(session, &stmt.sequence).map(|_| ());
    };
    let Relation::Sequence(sequence) = relation else {
        return Err(PgError::new(
            SqlState::WRONG_OBJECT_TYPE,
            format!("\"{}\" is not a sequence", relation.name()),
        ));
    };
    let mut desc = lock(session, sequence.oid).await?;
    let mut options = SequenceOptions::of_type(desc.ty);
    options.apply(&stmt.options)?;
    desc.owned_by = owner(session, &options, desc.owned_by).await?;
    change(session, desc, &options).await
}

/// Locks a sequence against nextval and other changes; answers its newest descriptor.
///
/// # Errors
/// 42P01 if it has been dropped meanwhile; what the lock raises.
pub async fn lock(session: &mut PgSession, sequence: Oid) -> PgResult<SequenceDesc> {
    let wait = session.lock_wait();
    session.lock_table(sequence, ObjectLockMode::ShareRowExclusive, wait).await?;
    match session.catalog().relation(sequence) {
        Some(Relation::Sequence(desc)) => Ok(SequenceDesc::clone(desc)),
        _ => Err(PgError::new(
            SqlState::UNDEFINED_TABLE,
            format!("could not open relation with OID {}", sequence.0),
        )),
    }
}

/// Applies options to an existing sequence, which is locked. The counter is copied under a new name, so that the change takes
/// effect for others, and can be undone, with the transaction.
///
/// # Errors
/// 22023.
pub async fn change(
    session: &mut PgSession,
    mut desc: SequenceDesc,
    options: &SequenceOptions,
) -> PgResult<()> {
    fill_in(&mut desc, options, false)?;
    let store = session.engine.store.clone();
    let state = store.sequence_state(desc.counter()).await.map_err(from_kv)?;
    desc.generation += 1;
    desc.version += 1;
    let state = match options.restart {
        Some(value) => Some(SequenceState { last: value.unwrap_or(desc.start), is_called: false }),
        None => state,
    };
    if let Some(state) = state {
        if state.last < desc.min || state.last > desc.max {
            let (word, bound, than) = if state.last < desc.min {
                ("less", desc.min, "MINVALUE")
            } else {
                ("greater", desc.max, "MAXVALUE")
            };
            return Err(invalid(format!(
                "RESTART value ({}) cannot be {word} than {than} ({bound})",
                state.last
            )));
        }
        store.set_sequence(desc.counter(), state.last, state.is_called).await.map_err(from_kv)?;
    }
    session.record(Change::PutRelation(RelationDesc::Sequence(desc)))
}
