//! Function calls: `ParseFuncOrColumn` and, for aggregates and window functions, `parse_agg.c`.
//!
//! A plain call becomes a [`ScalarKind::Call`]. Aggregates, window functions and set-returning functions are taken
//! out of the expression: the level that they belong to keeps them, and the expression refers to the column that
//! will hold their result.

use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState, oid};

use super::binder::{Binder, Clause, ColKind, SetCall};
use super::function::{Candidate, Lookup, Resolution, is_window, resolve};
use super::polymorphic;
use super::scope::{ColumnMatch, row_fields};
use super::types::{array_type, is_rowtype, type_name};
use super::walk::{same_aggregate, same_expr, visit};
use crate::catalog::builtin::{AggregateKind, CastContext, ProcDesc, ProcKind, builtin};
use crate::ir::{Aggregate, Col, Scalar, ScalarKind, TableFunction, Ty};
use crate::limits;
use crate::parse::ast::{self, Expr};

/// A call whose function is found and whose arguments are cast.
pub(super) struct BoundCall {
    pub proc: &'static ProcDesc,
    pub args: Vec<Scalar>,
    pub result: Oid,
    pub variadic: bool,
    /// How many arguments were written.
    pub written: usize,
}

impl Binder<'_> {
    /// A function call in an expression.
    pub fn func_call(&mut self, call: &ast::FuncCall) -> PgResult<Scalar> {
        let sets_before = self.level().set_calls.len();
        let (args, arg_names) = self.call_args(call)?;
        let filter = match &call.agg_filter {
            Some(filter) => {
                let filter = self.expr_in(filter, Clause::Filter)?;
                Some(self.coerce_to_boolean(filter, "FILTER")?)
            }
            None => None,
        };
        if let Some(column) = self.call_as_column(call, &args)? {
            return Ok(column);
        }
        let bound = match self.resolve_call(call, args, &arg_names)? {
            Ok(bound) => bound,
            Err(cast) => {
                self.refuse_decorations(call)?;
                return Ok(cast);
            }
        };
        match bound.proc.kind {
            ProcKind::Aggregate if call.over.is_some() => self.window_call(call, bound, filter),
            ProcKind::Window => self.window_call(call, bound, filter),
            ProcKind::Aggregate => self.aggregate_call(call, bound, filter),
            ProcKind::Procedure => {
                let signature = self.signature(call, &bound.args, &arg_names);
                Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, format!("{signature} is a procedure"))
                    .hint("To call a procedure, use CALL.")
                    .at(call.pos))
            }
            ProcKind::Function => {
                self.refuse_decorations(call)?;
                if bound.proc.retset {
                    self.set_call(call, bound, sets_before)
                } else {
                    Ok(self.plain_call(bound, Some(call.pos)))
                }
            }
        }
    }

    /// The call of an ordinary function.
    pub fn plain_call(&mut self, bound: BoundCall, pos: Option<u32>) -> Scalar {
        let call = crate::ir::Call { func: bound.proc.oid, args: bound.args, variadic: bound.variadic };
        Scalar { kind: ScalarKind::Call(Box::new(call)), ty: Ty::new(bound.result), pos }
    }

    /// Binds the arguments, positional ones first.
    pub fn call_args(&mut self, call: &ast::FuncCall) -> PgResult<(Vec<Scalar>, Vec<ast::Name>)> {
        let mut args = Vec::with_capacity(call.args.len());
        let mut names: Vec<ast::Name> = Vec::new();
        for arg in &call.args {
            match arg {
                Expr::NamedArg(named) => {
                    if names.contains(&named.name) {
                        let message = format!("argument name \"{}\" used more than once", named.name);
                        return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(named.pos));
                    }
                    names.push(named.name.clone());
                    args.push(self.expr(&named.arg)?);
                }
                arg if !names.is_empty() => {
                    let message = "positional argument cannot follow named argument";
                    return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(arg.start()));
                }
                arg => args.push(self.expr(arg)?),
            }
        }
        if call.within_group {
            for item in &call.agg_order {
                args.push(self.expr(&item.expr)?);
            }
        }
        Ok((args, names))
    }

    /// `f(row)` may mean the row's field `f`.
    fn call_as_column(&mut self, call: &ast::FuncCall, args: &[Scalar]) -> PgResult<Option<Scalar>> {
        let plain = call.agg_order.is_empty()
            && call.agg_filter.is_none()
            && !call.star
            && !call.distinct
            && !call.variadic
            && call.over.is_none();
        let ([name], [row], true) = (&call.name[..], args, plain) else { return Ok(None) };
        if !is_rowtype(self.cx, row.ty.oid) {
            return Ok(None);
        }
        let has_field = row_fields(self, row).is_some_and(|fields| fields.iter().any(|(f, _)| f == &**name));
        if !has_field {
            return Ok(None);
        }
        self.field(row.clone(), name, call.pos).map(Some)
    }

    /// `row.f` may mean `f(row)`.
    pub fn call_on_row(
        &mut self,
        depth: usize,
        rte: usize,
        name: &ast::Name,
        pos: u32,
    ) -> PgResult<Option<Scalar>> {
        if builtin().procs_by_name(name).is_empty() {
            return Ok(None);
        }
        debug_assert_eq!(self.levels[depth].rtes[rte].find_column(name), ColumnMatch::None);
        let row = self.whole_row(depth, rte, pos).expr;
        let names: ast::Names = std::iter::once(name.clone()).collect();
        let arg_types = [row.ty.oid];
        let lookup = Lookup { names: &names, arg_types: &arg_types, arg_names: &[], expand_variadic: true };
        match resolve(self.cx, &lookup, Some(&row)) {
            Resolution::Function(candidate)
                if candidate.proc.kind == ProcKind::Function && !candidate.proc.retset =>
            {
                let bound = self.finish_call(&candidate, vec![row], false, pos)?;
                Ok(Some(self.plain_call(bound, Some(pos))))
            }
            _ => Ok(None),
        }
    }

    /// Finds the function of a call and casts its arguments; a cast written as a call comes back finished.
    pub fn resolve_call(
        &mut self,
        call: &ast::FuncCall,
        args: Vec<Scalar>,
        arg_names: &[ast::Name],
    ) -> PgResult<Result<BoundCall, Scalar>> {
        limits::check_arguments(args.len()).map_err(|e| e.at(call.pos))?;
        let arg_types: Vec<Oid> = args.iter().map(|a| a.ty.oid).collect();
        let lookup =
            Lookup { names: &call.name, arg_types: &arg_types, arg_names, expand_variadic: !call.variadic };
        match resolve(self.cx, &lookup, args.first()) {
            Resolution::Function(candidate) => {
                Ok(Ok(self.finish_call(&candidate, args, call.variadic, call.pos)?))
            }
            Resolution::Coercion(target) => {
                let arg = args.into_iter().next();
                let arg = arg.ok_or_else(|| PgError::internal("a cast has an operand").at(call.pos))?;
                let cast = self.coerce_type(arg, target, -1, CastContext::Explicit)?;
                Ok(Err(Scalar { pos: Some(call.pos), ..cast }))
            }
            Resolution::Ambiguous => {
                let message = format!("function {} is not unique", self.signature(call, &args, arg_names));
                Err(PgError::new(SqlState::AMBIGUOUS_FUNCTION, message)
                    .hint("Could not choose a best candidate function. You might need to add explicit type casts.")
                    .at(call.pos))
            }
            Resolution::NotFound => Err(self.no_function(call, &args, arg_names)),
        }
    }

    fn no_function(&self, call: &ast::FuncCall, args: &[Scalar], arg_names: &[ast::Name]) -> PgError {
        if let [schema, _] = &call.name[..]
            && super::relation::find_schema(self.cx, schema).is_none()
        {
            return PgError::new(
                SqlState::INVALID_SCHEMA_NAME,
                format!("schema \"{schema}\" does not exist"),
            )
            .at(call.pos);
        }
        let message = format!("function {} does not exist", self.signature(call, args, arg_names));
        let hint = if !call.agg_order.is_empty() && !call.within_group {
            "No aggregate function matches the given name and argument types. Perhaps you misplaced ORDER BY; ORDER \
             BY must appear after all regular arguments of the aggregate."
        } else {
            "No function matches the given name and argument types. You might need to add explicit type casts."
        };
        PgError::new(SqlState::UNDEFINED_FUNCTION, message).hint(hint).at(call.pos)
    }

    fn signature(&self, call: &ast::FuncCall, args: &[Scalar], arg_names: &[ast::Name]) -> String {
        let positional = args.len().saturating_sub(arg_names.len());
        let args: Vec<String> = args
            .iter()
            .enumerate()
            .map(|(i, arg)| match i.checked_sub(positional).and_then(|i| arg_names.get(i)) {
                Some(name) => format!("{name} => {}", type_name(self.cx, arg.ty.oid)),
                None => type_name(self.cx, arg.ty.oid),
            })
            .collect();
        format!("{}({})", call.name.join("."), args.join(", "))
    }

    /// Casts the arguments to what the function wants, fills in defaults and gathers variadic arguments.
    pub fn finish_call(
        &mut self,
        candidate: &Candidate,
        args: Vec<Scalar>,
        variadic: bool,
        pos: u32,
    ) -> PgResult<BoundCall> {
        let proc = candidate.proc;
        let written = args.len();
        if variadic
            && proc.variadic == oid::ANY
            && args.last().is_none_or(|arg| super::types::element_type(self.cx, arg.ty.oid).is_none())
        {
            let at = args.last().and_then(|arg| arg.pos).unwrap_or(pos);
            let message = "VARIADIC argument must be an array";
            return Err(PgError::new(SqlState::DATATYPE_MISMATCH, message).at(at));
        }
        let mut declared = candidate.args.clone();
        declared.truncate(written);
        let actual: Vec<Oid> = args.iter().map(|a| a.ty.oid).collect();
        let result =
            polymorphic::resolve(self.cx, &actual, &mut declared, proc.rettype).map_err(|e| e.or_at(pos))?;
        let mut args = self.coerce_args(args, &declared)?;
        if candidate.default_count > 0 || candidate.arg_numbers.is_some() {
            args = self.place_args(candidate, args)?;
        }
        if candidate.variadic_count > 0 && proc.variadic != oid::ANY {
            let fixed = args.len() - candidate.variadic_count;
            let elems: Vec<Scalar> = args.split_off(fixed);
            let elem = declared[fixed];
            let array = array_type(self.cx, elem).ok_or_else(|| {
                let message = format!("could not find array type for data type {}", type_name(self.cx, elem));
                PgError::new(SqlState::UNDEFINED_OBJECT, message).at(pos)
            })?;
            let gathered = ScalarKind::Array { elems, nested: false };
            args.push(Scalar { kind: gathered, ty: Ty::new(array), pos: Some(pos) });
        }
        Ok(BoundCall { proc, args, result, variadic, written })
    }

    /// Brings named arguments into the function's order and fills in the defaults.
    fn place_args(&mut self, candidate: &Candidate, args: Vec<Scalar>) -> PgResult<Vec<Scalar>> {
        let proc = candidate.proc;
        let count = proc.args.len();
        let places = match &candidate.arg_numbers {
            Some(places) => places.clone(),
            None => (0..count).map(|i| (i < args.len()).then_some(i)).collect(),
        };
        let defaults = proc.defaults();
        let first_default = count - defaults.len();
        let mut args: Vec<Option<Scalar>> = args.into_iter().map(Some).collect();
        let mut placed = Vec::with_capacity(count);
        for (i, place) in places.into_iter().enumerate() {
            placed.push(match place {
                Some(number) => {
                    args[number].take().ok_or_else(|| PgError::internal("an argument is used once"))?
                }
                None => self.default_argument(&defaults[i - first_default], proc.args[i])?,
            });
        }
        Ok(placed)
    }

    fn default_argument(&mut self, sql: &str, ty: Oid) -> PgResult<Scalar> {
        let expr = crate::parse::parse_expression(sql)?;
        let value = self.nested(super::binder::Level::new(), |b| {
            b.level().clause = Clause::Standalone("DEFAULT expressions");
            b.expr(&expr)
        })?;
        let value = self.coerce_to_target(value, Ty::new(ty), CastContext::Assignment)?;
        let value = value.map_err(|_| PgError::internal(format!("default {sql} is of the wrong type")))?;
        Ok(Scalar { pos: None, ..value })
    }

    /// What only aggregates and window functions can have.
    fn refuse_decorations(&self, call: &ast::FuncCall) -> PgResult<()> {
        let name = call.name.join(".");
        let message = if call.star {
            format!("{name}(*) specified, but {name} is not an aggregate function")
        } else if call.distinct {
            format!("DISTINCT specified, but {name} is not an aggregate function")
        } else if call.within_group {
            format!("WITHIN GROUP specified, but {name} is not an aggregate function")
        } else if !call.agg_order.is_empty() {
            format!("ORDER BY specified, but {name} is not an aggregate function")
        } else if call.agg_filter.is_some() {
            format!("FILTER specified, but {name} is not an aggregate function")
        } else if call.over.is_some() {
            format!("OVER specified, but {name} is not a window function nor an aggregate function")
        } else {
            return Ok(());
        };
        Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message).at(call.pos))
    }

    fn aggregate_call(
        &mut self,
        call: &ast::FuncCall,
        bound: BoundCall,
        filter: Option<Scalar>,
    ) -> PgResult<Scalar> {
        let name = call.name.join(".");
        let wrong = |message: String| PgError::new(SqlState::WRONG_OBJECT_TYPE, message).at(call.pos);
        let desc = builtin().aggregate(bound.proc.oid);
        let desc = desc.ok_or_else(|| PgError::internal("an aggregate is in pg_aggregate").at(call.pos))?;
        let ordered_set = desc.kind != AggregateKind::Normal;
        if ordered_set && !call.within_group {
            let what = format!("WITHIN GROUP is required for ordered-set aggregate {name}");
            return Err(wrong(what));
        }
        if ordered_set && call.distinct {
            return Err(wrong("cannot use DISTINCT with WITHIN GROUP".into()));
        }
        if !ordered_set && call.within_group {
            return Err(wrong(format!(
                "{name} is not an ordered-set aggregate, so it cannot have WITHIN GROUP"
            )));
        }
        if bound.written == 0 && !call.star {
            return Err(wrong(format!("{name}(*) must be used to call a parameterless aggregate function")));
        }
        let mut args = bound.args;
        let order_by = if ordered_set {
            let direct = args.len() - call.agg_order.len().min(args.len());
            let ordered = args.split_off(direct);
            let mut keys = Vec::with_capacity(ordered.len());
            for (expr, item) in ordered.into_iter().zip(&call.agg_order) {
                keys.push(self.sort_key(expr, item)?);
            }
            keys
        } else {
            self.aggregate_order(call, &args)?
        };
        if call.distinct {
            for arg in &args {
                self.check_sortable(arg.ty.oid, arg.pos.or(Some(call.pos)), false)?;
            }
        }
        let aggregate = Aggregate {
            func: bound.proc.oid,
            args,
            distinct: call.distinct,
            order_by,
            filter,
            ty: Ty::new(bound.result),
        };
        let depth = self.check_aggregate(&aggregate, call.pos)?;
        let col = self.keep_aggregate(aggregate, depth);
        Ok(Scalar { pos: Some(call.pos), ..Scalar::column(col.id, col.ty) })
    }

    fn aggregate_order(
        &mut self,
        call: &ast::FuncCall,
        args: &[Scalar],
    ) -> PgResult<Vec<crate::ir::SortKey>> {
        let mut keys = Vec::with_capacity(call.agg_order.len());
        for item in &call.agg_order {
            let expr = self.expr(&item.expr)?;
            let expr = self.resolve_unknown(expr)?;
            if call.distinct && !args.iter().any(|arg| same_but_cast(arg, &expr)) {
                let message =
                    "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list";
                return Err(PgError::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(item.expr.start()));
            }
            keys.push(self.sort_key(expr, item)?);
        }
        Ok(keys)
    }

    /// Which level an aggregate belongs to: that of the innermost column in its arguments. Checks that it may stand
    /// there (`check_agglevels_and_constraints`).
    fn check_aggregate(&self, aggregate: &Aggregate, pos: u32) -> PgResult<u32> {
        let current = self.level_depth();
        let mut depth = 0;
        let exprs = || {
            let plain = aggregate.args.iter().chain(&aggregate.filter);
            plain.chain(aggregate.order_by.iter().map(|k| &k.expr))
        };
        for_each_column(exprs(), &mut |id, _| {
            let meta = self.meta(id);
            if meta.depth <= current {
                depth = depth.max(meta.depth);
            }
        });
        let depth = if depth == 0 { current } else { depth };
        let mut error = None;
        for_each_column(exprs(), &mut |id, at| {
            let meta = self.meta(id);
            let same = meta.depth == depth && error.is_none();
            let at = at.unwrap_or(pos);
            match meta.kind {
                ColKind::Group if same => {
                    error = Some(
                        PgError::new(SqlState::GROUPING_ERROR, "aggregate function calls cannot be nested")
                            .at(at),
                    );
                }
                ColKind::Window if same => {
                    let message = "aggregate function calls cannot contain window function calls";
                    error = Some(PgError::new(SqlState::GROUPING_ERROR, message).at(at));
                }
                ColKind::Set if same => {
                    let message = "aggregate function calls cannot contain set-returning function calls";
                    error = Some(
                        PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
                            .hint("You might be able to move the set-returning function into a LATERAL FROM item.")
                            .at(at),
                    );
                }
                _ => {}
            }
        });
        if let Some(error) = error {
            return Err(error);
        }
        self.check_aggregate_clause("aggregate functions", depth, pos)?;
        Ok(depth)
    }

    /// Aggregates and GROUPING() may stand in some clauses only.
    pub fn check_aggregate_clause(&self, what: &str, depth: u32, pos: u32) -> PgResult<()> {
        let clause = self.levels[depth as usize - 1].clause;
        match clause {
            Clause::Target
            | Clause::Having
            | Clause::OrderBy
            | Clause::DistinctOn
            | Clause::WindowPartition
            | Clause::WindowOrder => Ok(()),
            clause => {
                let message = format!("{what} are not allowed in {}", clause.name());
                Err(PgError::new(SqlState::GROUPING_ERROR, message).at(pos))
            }
        }
    }

    /// Notes an aggregate at its level, once if it occurs more than once.
    fn keep_aggregate(&mut self, aggregate: Aggregate, depth: u32) -> Col {
        let known = &self.levels[depth as usize - 1].aggregates;
        if let Some((col, _)) = known.iter().find(|(_, a)| same_aggregate(a, &aggregate)) {
            return *col;
        }
        let col = self.new_col(aggregate.ty, ColKind::Group);
        self.columns[col.id.0 as usize].depth = depth;
        self.levels[depth as usize - 1].aggregates.push((col, aggregate));
        col
    }

    /// `GROUPING(a, b)`.
    pub fn grouping_func(&mut self, call: &ast::GroupingFunc) -> PgResult<Scalar> {
        if call.args.len() > 31 {
            let message = "GROUPING must have fewer than 32 arguments";
            return Err(PgError::new(SqlState::TOO_MANY_ARGUMENTS, message).at(call.pos));
        }
        let args = self.exprs(&call.args)?;
        let mut depth = 0;
        for_each_column(args.iter(), &mut |id, _| depth = depth.max(self.meta(id).depth));
        let depth = if depth == 0 { self.level_depth() } else { depth };
        self.check_aggregate_clause("grouping operations", depth, call.pos)?;
        let col = self.new_col(Ty::new(oid::INT4), ColKind::Group);
        self.columns[col.id.0 as usize].depth = depth;
        self.levels[depth as usize - 1].grouping.push((col, args));
        Ok(Scalar { pos: Some(call.pos), ..Scalar::column(col.id, col.ty) })
    }

    /// A set-returning function outside FROM.
    fn set_call(&mut self, call: &ast::FuncCall, bound: BoundCall, sets_before: usize) -> PgResult<Scalar> {
        self.check_set_clause(call.pos)?;
        let arg_sets = &self.level().set_calls[sets_before..];
        let nesting = arg_sets.iter().map(|s| s.nesting + 1).max().unwrap_or(0);
        let fields = self.result_fields(&bound, call.pos)?;
        let name = bound.proc.name.to_owned();
        let pos = Some(call.pos);
        let level = self.level();
        if matches!(level.clause, Clause::OrderBy | Clause::GroupBy | Clause::DistinctOn)
            && let Some(col) = same_set_call(&level.set_calls, &bound)
        {
            // It means the one of the select list.
            return Ok(Scalar { pos, ..Scalar::column(col.id, col.ty) });
        }
        let (cols, value) = match fields {
            Some(fields) => {
                let cols: Vec<Col> = fields.iter().map(|(_, ty)| self.new_col(*ty, ColKind::Set)).collect();
                let row: Vec<Scalar> = cols.iter().map(|c| Scalar::column(c.id, c.ty)).collect();
                let names = fields.into_iter().map(|(name, _)| name.into()).collect();
                self.name_row_fields(&row, names);
                (cols, Scalar { kind: ScalarKind::Row(row), ty: Ty::new(bound.result), pos })
            }
            None => {
                let col = self.new_col(Ty::new(bound.result), ColKind::Set);
                (vec![col], Scalar { pos, ..Scalar::column(col.id, col.ty) })
            }
        };
        let function = TableFunction { func: bound.proc.oid, args: bound.args, cols, retset: true, name };
        self.level().set_calls.push(SetCall { function, nesting, pos: call.pos });
        Ok(value)
    }

    fn check_set_clause(&mut self, pos: u32) -> PgResult<()> {
        let clause = match self.level().clause {
            Clause::Target
            | Clause::OrderBy
            | Clause::GroupBy
            | Clause::DistinctOn
            | Clause::InsertValues
            | Clause::WindowPartition
            | Clause::WindowOrder => return Ok(()),
            Clause::FromFunction => {
                let message = "set-returning functions must appear at top level of FROM";
                return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(pos));
            }
            Clause::WindowFrame => "window definitions",
            clause => clause.name(),
        };
        let message = format!("set-returning functions are not allowed in {clause}");
        Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(pos))
    }

    /// The fields of a function's result, if it is a row of known shape.
    pub fn result_fields(&self, bound: &BoundCall, pos: u32) -> PgResult<Option<Vec<(String, Ty)>>> {
        if let Some(fields) = super::types::composite_fields(self.cx, bound.result) {
            return Ok(Some(fields));
        }
        if !bound.proc.has_outputs() || bound.result != oid::RECORD {
            return Ok(None);
        }
        let params = bound.proc.params();
        let inputs = params
            .iter()
            .filter(|p| !p.mode.is_output() || p.mode == crate::catalog::builtin::ArgMode::InOut);
        let declared: Vec<Oid> = inputs.map(|p| p.ty).collect();
        let actual: Vec<Oid> = bound.args.iter().map(|a| a.ty.oid).collect();
        let mut fields = Vec::new();
        for param in params.into_iter().filter(|p| p.mode.is_output()) {
            let ty = polymorphic::resolve(self.cx, &actual, &mut declared.clone(), param.ty)
                .map_err(|e| e.or_at(pos))?;
            let name = if param.name.is_empty() { format!("column{}", fields.len() + 1) } else { param.name };
            fields.push((name, Ty::new(ty)));
        }
        Ok(Some(fields))
    }

    /// Whether a call with OVER has nothing that windows do not take; and that a window function has OVER.
    pub fn check_over(&self, call: &ast::FuncCall, bound: &BoundCall) -> PgResult<()> {
        let wrong = |state: SqlState, message: String| Err(PgError::new(state, message).at(call.pos));
        let name = call.name.join(".");
        if call.over.is_none() {
            return wrong(
                SqlState::WRONG_OBJECT_TYPE,
                format!("window function {name} requires an OVER clause"),
            );
        }
        if call.within_group {
            return wrong(
                SqlState::WRONG_OBJECT_TYPE,
                format!("window function {name} cannot have WITHIN GROUP"),
            );
        }
        if call.distinct {
            return wrong(
                SqlState::FEATURE_NOT_SUPPORTED,
                "DISTINCT is not implemented for window functions".into(),
            );
        }
        if bound.proc.kind == ProcKind::Aggregate && bound.written == 0 && !call.star {
            return wrong(
                SqlState::WRONG_OBJECT_TYPE,
                format!("{name}(*) must be used to call a parameterless aggregate function"),
            );
        }
        if !call.agg_order.is_empty() {
            return wrong(
                SqlState::FEATURE_NOT_SUPPORTED,
                "aggregate ORDER BY is not implemented for window functions".into(),
            );
        }
        if is_window(bound.proc) && call.agg_filter.is_some() {
            return wrong(
                SqlState::FEATURE_NOT_SUPPORTED,
                "FILTER is not implemented for non-aggregate window functions".into(),
            );
        }
        Ok(())
    }
}

/// Calls `f` with each column used by the expressions, sub-selects included.
pub(super) fn for_each_column<'e>(
    exprs: impl Iterator<Item = &'e Scalar>,
    f: &mut dyn FnMut(crate::ir::ColId, Option<u32>),
) {
    for expr in exprs {
        visit(expr, &mut |e| {
            if let ScalarKind::Column(id) = e.kind
                && id != crate::ir::ColId::ELEMENT
            {
                f(id, e.pos);
            }
        });
    }
}

/// An argument was cast to the aggregate's type; ORDER BY was not.
fn same_but_cast(arg: &Scalar, order: &Scalar) -> bool {
    use super::walk::same_expr;
    if same_expr(arg, order) {
        return true;
    }
    match &arg.kind {
        ScalarKind::Relabel(inner) | ScalarKind::IoCast(inner) => same_but_cast(inner, order),
        ScalarKind::Call(call) if call.args.len() == 1 => same_but_cast(&call.args[0], order),
        ScalarKind::Const(Datum::Null) => false,
        _ => false,
    }
}

/// The column of a set-returning function that is called in the same way.
fn same_set_call(calls: &[SetCall], bound: &BoundCall) -> Option<Col> {
    let found = calls.iter().find(|call| {
        let function = &call.function;
        function.func == bound.proc.oid
            && function.args.len() == bound.args.len()
            && function.args.iter().zip(&bound.args).all(|(a, b)| same_expr(a, b))
    })?;
    match found.function.cols[..] {
        [col] => Some(col),
        _ => None,
    }
}
