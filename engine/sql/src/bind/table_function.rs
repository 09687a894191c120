//! Functions in FROM: `transformRangeFunction`. One function or several side by side (ROWS FROM), with ordinality
//! and column definition lists.

use std::sync::Arc;

use shardforge_types::{Oid, PgError, PgResult, SqlState, oid};

use super::binder::{Binder, Clause, ColKind};
use super::call::{BoundCall, for_each_column};
use super::from::{FromItem, check_alias_count};
use super::scope::{Columns, Rte, RteColumn};
use super::target::column_name;
use super::types::{self, composite_fields};
use crate::catalog::builtin::ProcKind;
use crate::ir::{Col, ColId, Rel, Scalar, TableFunction, Ty};
use crate::parse::ast::{self, Expr};

/// A function of FROM with the names of its columns.
struct FromFunction {
    function: TableFunction,
    names: Vec<Arc<str>>,
    /// The result is one value, not a row.
    scalar: bool,
}

impl Binder<'_> {
    /// A function, or ROWS FROM, as an item of FROM.
    pub fn from_function(&mut self, range: &ast::RangeFunction) -> PgResult<FromItem> {
        // Functions in FROM see what is before them, with or without LATERAL.
        let outer_lateral = std::mem::replace(&mut self.level().lateral_active, true);
        let bound = self.in_clause(Clause::FromFunction, |b| b.range_functions(range));
        self.level().lateral_active = outer_lateral;
        let bound = match bound? {
            Ok(functions) => functions,
            Err(value) => return Ok(self.value_item(range, value)),
        };
        self.function_item(range, bound)
    }

    fn range_functions(&mut self, range: &ast::RangeFunction) -> PgResult<Result<Vec<FromFunction>, Scalar>> {
        let mut functions = Vec::with_capacity(range.functions.len());
        for (expr, defs) in &range.functions {
            let defs = if range.rows_from { defs } else { &range.column_defs };
            match expr {
                // unnest(a, b) stands for ROWS FROM (unnest(a), unnest(b)).
                Expr::FuncCall(call) if is_plain_unnest(call) && call.args.len() > 1 => {
                    for arg in &call.args {
                        let single = ast::FuncCall { args: vec![arg.clone()], ..(**call).clone() };
                        match self.range_function(&single, &[])? {
                            Ok(function) => functions.push(function),
                            Err(value) => return Ok(Err(value)),
                        }
                    }
                }
                Expr::FuncCall(call) => match self.range_function(call, defs)? {
                    Ok(function) => functions.push(function),
                    Err(value) => return Ok(Err(value)),
                },
                expr if range.functions.len() == 1 => return Ok(Err(self.expr(expr)?)),
                expr => {
                    return Err(PgError::not_supported("ROWS FROM takes function calls only")
                        .hint("Move the expression into a sub-select.")
                        .at(expr.start()));
                }
            }
        }
        Ok(Ok(functions))
    }

    /// One call; a cast written as a call is a plain value.
    fn range_function(
        &mut self,
        call: &ast::FuncCall,
        defs: &[ast::ColumnDefShort],
    ) -> PgResult<Result<FromFunction, Scalar>> {
        let (args, arg_names) = self.call_args(call)?;
        let bound = match self.resolve_call(call, args, &arg_names)? {
            Ok(bound) => bound,
            Err(value) => return Ok(Err(value)),
        };
        match bound.proc.kind {
            ProcKind::Function => {}
            ProcKind::Aggregate => {
                self.check_aggregate_clause("aggregate functions", self.level_depth(), call.pos)?;
            }
            ProcKind::Window => {
                let message = "window functions are not allowed in functions in FROM";
                return Err(PgError::new(SqlState::WINDOWING_ERROR, message).at(call.pos));
            }
            ProcKind::Procedure => {
                let message = format!("{} is a procedure", call.name.join("."));
                return Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message)
                    .hint("To call a procedure, use CALL.")
                    .at(call.pos));
            }
        }
        let (fields, scalar) = self.function_columns(call, &bound, defs)?;
        let cols: Vec<Col> = fields.iter().map(|(_, ty)| self.new_col(*ty, ColKind::From)).collect();
        let function = TableFunction {
            func: bound.proc.oid,
            args: bound.args,
            cols,
            retset: bound.proc.retset,
            name: bound.proc.name.to_owned(),
        };
        let names = fields.into_iter().map(|(name, _)| name).collect();
        Ok(Ok(FromFunction { function, names, scalar }))
    }

    fn function_columns(
        &mut self,
        call: &ast::FuncCall,
        bound: &BoundCall,
        defs: &[ast::ColumnDefShort],
    ) -> PgResult<(Vec<(Arc<str>, Ty)>, bool)> {
        let refuse =
            |message: &str| Err(PgError::new(SqlState::SYNTAX_ERROR, message.to_owned()).at(defs[0].pos));
        let fields = self.result_fields(bound, call.pos)?;
        if !defs.is_empty() {
            if fields.is_some() && bound.proc.has_outputs() {
                return refuse("a column definition list is redundant for a function with OUT parameters");
            }
            if fields.is_some() {
                return refuse(
                    "a column definition list is redundant for a function returning a named composite type",
                );
            }
            if bound.result != oid::RECORD {
                return refuse("a column definition list is only allowed for functions returning \"record\"");
            }
            let mut columns: Vec<(Arc<str>, Ty)> = Vec::with_capacity(defs.len());
            for def in defs {
                if columns.iter().any(|(name, _)| *name == def.name) {
                    let message = format!("column name \"{}\" specified more than once", def.name);
                    return Err(PgError::new(SqlState::DUPLICATE_COLUMN, message).at(def.pos));
                }
                columns.push((def.name.clone(), types::resolve_type_name(self.cx, &def.type_name)?));
            }
            return Ok((columns, false));
        }
        if let Some(fields) = fields {
            return Ok((fields.into_iter().map(|(name, ty)| (Arc::from(name), ty)).collect(), false));
        }
        if bound.result == oid::RECORD {
            let message = "a column definition list is required for functions returning \"record\"";
            return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(call.pos));
        }
        let outputs = if bound.proc.has_outputs() { bound.proc.output_columns() } else { Vec::new() };
        let name = match &outputs[..] {
            [single] if !single.name.is_empty() => Arc::from(single.name.as_str()),
            _ => column_name(&Expr::FuncCall(Box::new(call.clone()))),
        };
        Ok((vec![(name, Ty::new(bound.result))], true))
    }

    fn function_item(
        &mut self,
        range: &ast::RangeFunction,
        functions: Vec<FromFunction>,
    ) -> PgResult<FromItem> {
        let ordinality = range.ordinality.then(|| self.new_col(Ty::new(oid::INT8), ColKind::From));
        let mut columns: Vec<RteColumn> = Vec::new();
        for function in &functions {
            for (name, col) in function.names.iter().zip(&function.function.cols) {
                columns.push(list_column(name.clone(), *col));
            }
        }
        if let Some(col) = ordinality {
            columns.push(list_column(Arc::from("ordinality"), col));
        }
        let scalar = functions.len() == 1 && functions[0].scalar;
        let has_out_name = scalar
            && crate::catalog::builtin::builtin()
                .proc_by_oid(functions[0].function.func)
                .is_some_and(|p| p.has_outputs());
        let name: Arc<str> = match &range.alias {
            Some(alias) => {
                // The column of a scalar function is named by the alias.
                if scalar && !has_out_name {
                    columns[0].name = alias.name.clone();
                }
                check_alias_count(&alias.name, alias.columns.len(), columns.len())?;
                for (column, alias) in columns.iter_mut().zip(&alias.columns) {
                    column.name = alias.clone();
                }
                alias.name.clone()
            }
            None => Arc::from(functions.first().map_or("", |f| f.function.name.as_str())),
        };
        let depth = self.level_depth();
        let produced: Vec<ColId> =
            functions.iter().flat_map(|f| f.function.cols.iter().map(|c| c.id)).collect();
        let mut outer = Vec::new();
        for_each_column(functions.iter().flat_map(|f| &f.function.args), &mut |id, _| {
            if self.meta(id).depth == depth && !produced.contains(&id) && !outer.contains(&id) {
                outer.push(id);
            }
        });
        let rte = Rte {
            name,
            aliased: range.alias.is_some(),
            relation: None,
            columns: Columns::List(columns),
            is_join: false,
            scalar_function: scalar && ordinality.is_none(),
            is_query: false,
            is_cte: false,
        };
        let functions = functions.into_iter().map(|f| f.function).collect();
        let mut item = self.single_item(Rel::FunctionScan { functions, ordinality }, rte);
        item.outer = outer;
        Ok(item)
    }

    /// A value that is no function call (`FROM current_date`): one row.
    fn value_item(&mut self, range: &ast::RangeFunction, value: Scalar) -> FromItem {
        let name = match &range.alias {
            Some(alias) => alias.name.clone(),
            None => range.functions.first().map_or_else(|| Arc::from(""), |(expr, _)| column_name(expr)),
        };
        let fields = composite_fields(self.cx, value.ty.oid);
        let values: Vec<(Arc<str>, Scalar)> = match fields {
            Some(fields) => {
                let fields = fields.into_iter().enumerate();
                fields
                    .map(|(i, (name, ty))| (Arc::from(name), super::expr::take_field(value.clone(), i, ty)))
                    .collect()
            }
            None => vec![(name.clone(), value)],
        };
        let mut items = Vec::with_capacity(values.len());
        let mut columns = Vec::with_capacity(values.len());
        for (name, value) in values {
            let col = self.new_col(value.ty, ColKind::From);
            columns.push(list_column(name, col));
            items.push((col, value));
        }
        if let Some(alias) = &range.alias {
            for (column, alias) in columns.iter_mut().zip(&alias.columns) {
                column.name = alias.clone();
            }
        }
        let rel = Rel::Project { input: Box::new(Rel::Unit), items };
        let produced: Vec<ColId> = columns_ids(&columns);
        let outer = self.outer_columns(&rel, &produced);
        let rte = Rte {
            name,
            aliased: range.alias.is_some(),
            relation: None,
            scalar_function: columns.len() == 1,
            is_query: false,
            is_cte: false,
            columns: Columns::List(columns),
            is_join: false,
        };
        let mut item = self.single_item(rel, rte);
        item.outer = outer;
        item
    }
}

fn list_column(name: Arc<str>, col: Col) -> RteColumn {
    RteColumn { name, expr: Scalar::column(col.id, col.ty), origin: (Oid(0), 0) }
}

fn columns_ids(columns: &[RteColumn]) -> Vec<ColId> {
    columns
        .iter()
        .filter_map(|c| match c.expr.kind {
            crate::ir::ScalarKind::Column(id) => Some(id),
            _ => None,
        })
        .collect()
}

fn is_plain_unnest(call: &ast::FuncCall) -> bool {
    let name = match &call.name[..] {
        [name] => name,
        [schema, name] if **schema == *"pg_catalog" => name,
        _ => return false,
    };
    **name == *"unnest"
        && call.agg_order.is_empty()
        && call.agg_filter.is_none()
        && !call.star
        && !call.distinct
        && !call.variadic
        && call.over.is_none()
}
