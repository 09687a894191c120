//! INSERT: `transformInsertStmt`.

use shardforge_types::{Datum, PgError, PgResult, SqlState, oid};

use super::Target;
use crate::bind::binder::{Binder, Clause, ColKind, Level};
use crate::bind::scope::NsItem;
use crate::bind::select::QueryCol;
use crate::bind::types::column_ty;
use crate::ir::{Col, Modify, ModifyOp, Rel, Scalar, Ty};
use crate::parse::ast::{self, Expr};

/// What a statement gives a column.
enum Given {
    /// A value over the source's columns.
    Value(Scalar),
    /// DEFAULT.
    Default,
}

impl Binder<'_> {
    /// INSERT with everything that belongs to it.
    pub fn insert(&mut self, stmt: &ast::InsertStmt) -> PgResult<(Modify, Vec<QueryCol>)> {
        if let Some(with) = &stmt.with {
            self.with_clause(with)?;
        }
        if stmt.on_conflict.as_ref().is_some_and(|c| c.update.is_some() && c.infer.is_none()) {
            let pos = stmt.on_conflict.as_ref().map_or(stmt.pos, |c| c.pos);
            let message = "ON CONFLICT DO UPDATE requires inference specification or constraint name";
            return Err(PgError::new(SqlState::SYNTAX_ERROR, message)
                .hint("For example, ON CONFLICT (column_name).")
                .at(pos));
        }
        let target = self.target_table(&stmt.relation, "insert into")?;
        let columns = self.insert_columns(stmt, &target)?;
        let (source, given) = match &stmt.source {
            None => (Rel::Unit, Vec::new()),
            Some(select) if is_plain_values(select) => self.insert_values(stmt, select, &target, &columns)?,
            Some(select) => self.insert_select(stmt, select, &target, &columns)?,
        };
        let values = self.row_values(stmt, &target, &columns, given)?;
        let on_conflict = match &stmt.on_conflict {
            Some(clause) => Some(self.on_conflict(clause, &target)?),
            None => None,
        };
        self.level().namespace = vec![NsItem::visible(target.rte)];
        let (returning, cols) = self.returning(stmt.returning.as_ref(), &target, target.new)?;
        let updates = on_conflict.as_ref().is_some_and(|c| c.update.is_some());
        let uses_old = target.cols(target.old).iter().any(|(col, _)| self.meta(col.id).used);
        let old_cols = if updates || uses_old { target.cols(target.old) } else { Vec::new() };
        let ctes = std::mem::take(&mut self.level().bound_ctes);
        let modify = Modify {
            ctes: self.count_references(ctes),
            new_cols: target.cols(target.new),
            old_cols,
            table: target.table,
            op: ModifyOp::Insert { source, values, on_conflict },
            returning,
        };
        Ok((modify, cols))
    }

    /// The attributes that are given values, in order (`checkInsertTargets`).
    fn insert_columns(&mut self, stmt: &ast::InsertStmt, target: &Target) -> PgResult<Vec<i16>> {
        if stmt.columns.is_empty() {
            return Ok(target.table.live_columns().map(|(attnum, _)| attnum).collect());
        }
        let mut columns = Vec::with_capacity(stmt.columns.len());
        for column in &stmt.columns {
            let attnum = self.target_column(target, column)?;
            if columns.contains(&attnum) && !column.path.is_empty() {
                let message = "INSERT into several parts of a column is not supported";
                return Err(PgError::not_supported(message).hint("Insert the whole value.").at(column.pos));
            }
            if columns.contains(&attnum) {
                let message = format!("column \"{}\" specified more than once", column.name);
                return Err(PgError::new(SqlState::DUPLICATE_COLUMN, message).at(column.pos));
            }
            columns.push(attnum);
        }
        Ok(columns)
    }

    /// A value of the i-th column named, or of a part of it, as a value of the whole column.
    fn given_value(
        &mut self,
        stmt: &ast::InsertStmt,
        target: &Target,
        (i, attnum): (usize, i16),
        value: Scalar,
    ) -> PgResult<Scalar> {
        let column = target.table.column(attnum);
        match stmt.columns.get(i).filter(|column| !column.path.is_empty()) {
            None => self.assign(value, &column.name, column_ty(column)),
            Some(part) => {
                let nothing = Scalar::constant(Datum::Null, column_ty(column));
                self.assign_part(nothing, &column.name, &part.path, value)
            }
        }
    }

    /// The number of values must fit the number of columns (`transformInsertRow`).
    fn check_row_width(&self, stmt: &ast::InsertStmt, columns: usize, positions: &[u32]) -> PgResult<()> {
        let given = positions.len();
        if given > columns {
            let message = "INSERT has more expressions than target columns";
            return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(positions[columns]));
        }
        if !stmt.columns.is_empty() && given < columns {
            let message = "INSERT has more target columns than expressions";
            return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(stmt.columns[given].pos));
        }
        Ok(())
    }

    /// VALUES as the source: each value is cast to its column's type where it stands.
    fn insert_values(
        &mut self,
        stmt: &ast::InsertStmt,
        select: &ast::SelectStmt,
        target: &Target,
        columns: &[i16],
    ) -> PgResult<(Rel, Vec<Given>)> {
        let clause = if select.values.len() == 1 { Clause::InsertValues } else { Clause::Values };
        let width = select.values[0].len();
        let mut rows: Vec<Vec<Option<Scalar>>> = Vec::with_capacity(select.values.len());
        for row in &select.values {
            if row.len() != width {
                let message = "VALUES lists must all be the same length";
                let at = row.first().map_or(select.pos, Expr::start);
                return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(at));
            }
            let positions: Vec<u32> = row.iter().map(Expr::start).collect();
            self.check_row_width(stmt, columns.len(), &positions)?;
            let mut bound = Vec::with_capacity(width);
            for (i, (expr, attnum)) in row.iter().zip(columns).enumerate() {
                let is_part = stmt.columns.get(i).is_some_and(|column| !column.path.is_empty());
                bound.push(match expr {
                    Expr::SetToDefault(_) if is_part => {
                        let message = "cannot set an array element to DEFAULT";
                        return Err(PgError::not_supported(message).at(expr.start()));
                    }
                    Expr::SetToDefault(_) => None,
                    expr => {
                        let value = self.expr_in(expr, clause)?;
                        let value = Scalar { pos: Some(expr.start()), ..value };
                        Some(self.given_value(stmt, target, (i, *attnum), value)?)
                    }
                });
            }
            rows.push(bound);
        }
        if !self.level().set_calls.is_empty() {
            return self.insert_sets(rows);
        }
        // A column that is DEFAULT in every row is as good as not given.
        let mut given = Vec::with_capacity(width);
        let mut cols: Vec<Col> = Vec::with_capacity(width);
        let mut kept = vec![false; width];
        for (i, attnum) in columns.iter().take(width).enumerate() {
            if rows.iter().all(|row| row[i].is_none()) {
                given.push(Given::Default);
                continue;
            }
            kept[i] = true;
            self.check_generated(stmt, target, *attnum)?;
            let col = self.new_col(column_ty(target.table.column(*attnum)), ColKind::From);
            cols.push(col);
            given.push(Given::Value(Scalar::column(col.id, col.ty)));
        }
        let mut plain = Vec::with_capacity(rows.len());
        for row in rows {
            let mut values = Vec::with_capacity(cols.len());
            for (i, value) in row.into_iter().enumerate().filter(|(i, _)| kept[*i]) {
                values.push(match value {
                    Some(value) => value,
                    None => self.column_default(&target.table, columns[i])?,
                });
            }
            plain.push(values);
        }
        Ok((Rel::Values { cols, rows: plain }, given))
    }

    /// One row with set-returning functions in it: as many rows as they yield.
    fn insert_sets(&mut self, mut rows: Vec<Vec<Option<Scalar>>>) -> PgResult<(Rel, Vec<Given>)> {
        let row = rows.pop().unwrap_or_default();
        let rel = self.expand_sets(Rel::Unit);
        let given = row.into_iter().map(|value| value.map_or(Given::Default, Given::Value)).collect();
        Ok((rel, given))
    }

    /// A query as the source.
    fn insert_select(
        &mut self,
        stmt: &ast::InsertStmt,
        select: &ast::SelectStmt,
        target: &Target,
        columns: &[i16],
    ) -> PgResult<(Rel, Vec<Given>)> {
        let mut query = self.nested(Level::new(), |b| b.select(select, false))?;
        let positions: Vec<u32> = query.cols.iter().map(|c| c.pos).collect();
        self.check_row_width(stmt, columns.len(), &positions)?;
        let mut given = Vec::with_capacity(query.cols.len());
        for (i, attnum) in columns.iter().take(query.cols.len()).enumerate() {
            self.check_generated(stmt, target, *attnum)?;
            let column = target.table.column(*attnum);
            let ty = column_ty(column);
            let source = &query.cols[i];
            let is_part = stmt.columns.get(i).is_some_and(|column| !column.path.is_empty());
            if source.col.ty.oid == oid::UNKNOWN && !is_part {
                // A literal takes the column's type where it stands.
                self.coerce_output(&mut query, i, Ty::new(ty.oid), "INSERT")?;
            }
            let source = &query.cols[i];
            let value = Scalar { pos: Some(source.pos), ..Scalar::column(source.col.id, source.col.ty) };
            given.push(Given::Value(self.given_value(stmt, target, (i, *attnum), value)?));
        }
        Ok((query.rel, given))
    }

    /// Generated columns take no values, identity columns that are ALWAYS do so only when told.
    fn check_generated(&self, stmt: &ast::InsertStmt, target: &Target, attnum: i16) -> PgResult<()> {
        let column = target.table.column(attnum);
        let refuse = |detail: String| {
            let message = format!("cannot insert a non-DEFAULT value into column \"{}\"", column.name);
            PgError::new(SqlState::GENERATED_ALWAYS, message).detail(detail)
        };
        if column.generated {
            return Err(refuse(format!("Column \"{}\" is a generated column.", column.name)));
        }
        if column.identity.is_some_and(|i| i.always) && stmt.overriding.is_none() {
            let detail =
                format!("Column \"{}\" is an identity column defined as GENERATED ALWAYS.", column.name);
            return Err(refuse(detail).hint("Use OVERRIDING SYSTEM VALUE to override."));
        }
        Ok(())
    }

    /// One value a live column: the given one, else the default.
    fn row_values(
        &mut self,
        stmt: &ast::InsertStmt,
        target: &Target,
        columns: &[i16],
        given: Vec<Given>,
    ) -> PgResult<Vec<(i16, Scalar)>> {
        let mut given: Vec<(i16, Given)> = columns.iter().copied().zip(given).collect();
        let live: Vec<i16> = target.table.live_columns().map(|(attnum, _)| attnum).collect();
        let mut values = Vec::with_capacity(live.len());
        for attnum in live {
            let place = given.iter().position(|(a, _)| *a == attnum);
            let value = match place.map(|place| given.swap_remove(place).1) {
                Some(Given::Value(value)) if !self.overrides_user(stmt, target, attnum) => value,
                _ => self.column_default(&target.table, attnum)?,
            };
            values.push((attnum, value));
        }
        Ok(values)
    }

    /// OVERRIDING USER VALUE: identity columns ignore what is given.
    fn overrides_user(&self, stmt: &ast::InsertStmt, target: &Target, attnum: i16) -> bool {
        stmt.overriding == Some(ast::Overriding::User) && target.table.column(attnum).identity.is_some()
    }
}

/// VALUES and nothing else.
fn is_plain_values(select: &ast::SelectStmt) -> bool {
    !select.values.is_empty()
        && select.order_by.is_empty()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.locking.is_empty()
        && select.with.is_none()
}
