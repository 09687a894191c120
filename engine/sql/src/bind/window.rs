//! Window functions and window definitions: `transformWindowFuncCall` and `transformWindowDefinitions`.

use std::sync::Arc;

use shardforge_types::{Oid, PgError, PgResult, SqlState, oid};

use super::binder::{Binder, Clause, ColKind};
use super::call::{BoundCall, for_each_column};
use super::coerce::can_coerce_one;
use super::types::type_name;
use super::walk::{default_frame, uses_level};
use crate::catalog::builtin::CastContext;
use crate::ir::{Frame, FrameBound, FrameUnit, Scalar, SortKey, Ty, WindowCall};
use crate::parse::ast;

/// A window of the WINDOW clause.
#[derive(Clone, Debug)]
pub(super) struct NamedWindow {
    pub name: Arc<str>,
    pub spec: WindowSpec,
}

/// What a window is made of.
#[derive(Clone, Debug)]
pub(super) struct WindowSpec {
    pub partition_by: Vec<Scalar>,
    pub order_by: Vec<SortKey>,
    pub frame: Option<Frame>,
}

impl Binder<'_> {
    /// A call with OVER.
    pub fn window_call(
        &mut self,
        call: &ast::FuncCall,
        bound: BoundCall,
        filter: Option<Scalar>,
    ) -> PgResult<Scalar> {
        self.check_over(call, &bound)?;
        let pos = call.pos;
        let depth = self.level_depth();
        let mut nested = None;
        let mut set = None;
        for_each_column(bound.args.iter().chain(&filter), &mut |id, at| {
            let meta = self.meta(id);
            if meta.depth == depth && meta.kind == ColKind::Window {
                nested.get_or_insert(at.unwrap_or(pos));
            }
            if meta.depth == depth && meta.kind == ColKind::Set {
                set.get_or_insert(at.unwrap_or(pos));
            }
        });
        if let Some(at) = nested {
            let message = "window function calls cannot be nested";
            return Err(PgError::new(SqlState::WINDOWING_ERROR, message).at(at));
        }
        if let Some(at) = set {
            let message = "window function calls cannot contain set-returning function calls";
            return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
                .hint("You might be able to move the set-returning function into a LATERAL FROM item.")
                .at(at));
        }
        match self.level().clause {
            Clause::Target | Clause::OrderBy | Clause::DistinctOn => {}
            Clause::WindowPartition | Clause::WindowOrder | Clause::WindowFrame => {
                let message = "window functions are not allowed in window definitions";
                return Err(PgError::new(SqlState::WINDOWING_ERROR, message).at(pos));
            }
            clause => {
                let message = format!("window functions are not allowed in {}", clause.name());
                return Err(PgError::new(SqlState::WINDOWING_ERROR, message).at(pos));
            }
        }
        let over = call.over.as_ref().ok_or_else(|| PgError::internal("a window call has OVER").at(pos))?;
        let spec = self.over(over)?;
        let ty = Ty::new(bound.result);
        let call = WindowCall {
            func: bound.proc.oid,
            args: bound.args,
            filter,
            partition_by: spec.partition_by,
            order_by: spec.order_by,
            frame: spec.frame.unwrap_or_else(default_frame),
            ty,
        };
        let col = self.new_col(ty, ColKind::Window);
        self.level().window_calls.push((col, call));
        Ok(Scalar { pos: Some(pos), ..Scalar::column(col.id, ty) })
    }

    /// `OVER name` or `OVER (...)`.
    fn over(&mut self, over: &ast::WindowDef) -> PgResult<WindowSpec> {
        if let Some(name) = &over.name {
            let found = self.level().named_windows.iter().find(|w| w.name == *name).map(|w| w.spec.clone());
            return found.ok_or_else(|| no_window(name, over.pos));
        }
        self.window_spec(over)
    }

    /// The windows of the WINDOW clause, in order: each may build on the ones before.
    pub fn window_clause(&mut self, windows: &[ast::WindowDef]) -> PgResult<()> {
        for window in windows {
            let Some(name) = &window.name else { continue };
            if self.level().named_windows.iter().any(|w| w.name == *name) {
                let message = format!("window \"{name}\" is already defined");
                return Err(PgError::new(SqlState::WINDOWING_ERROR, message).at(window.pos));
            }
            let spec = self.window_spec(window)?;
            self.level().named_windows.push(NamedWindow { name: name.clone(), spec });
        }
        Ok(())
    }

    fn window_spec(&mut self, window: &ast::WindowDef) -> PgResult<WindowSpec> {
        let base = match &window.base {
            Some(name) => {
                let found =
                    self.level().named_windows.iter().find(|w| w.name == *name).map(|w| w.spec.clone());
                Some((name, found.ok_or_else(|| no_window(name, window.pos))?))
            }
            None => None,
        };
        let mut partition_by = Vec::with_capacity(window.partition_by.len());
        for expr in &window.partition_by {
            let expr = self.expr_in(expr, Clause::WindowPartition)?;
            let expr = self.resolve_unknown(expr)?;
            self.check_sortable(expr.ty.oid, expr.pos, false)?;
            partition_by.push(expr);
        }
        let mut order_by = Vec::with_capacity(window.order_by.len());
        for item in &window.order_by {
            let expr = self.expr_in(&item.expr, Clause::WindowOrder)?;
            let expr = self.resolve_unknown(expr)?;
            order_by.push(self.sort_key(expr, item)?);
        }
        if let Some((name, base)) = base {
            let cannot = |what: String| Err(PgError::new(SqlState::WINDOWING_ERROR, what).at(window.pos));
            if !partition_by.is_empty() {
                return cannot(format!("cannot override PARTITION BY clause of window \"{name}\""));
            }
            if !order_by.is_empty() && !base.order_by.is_empty() {
                return cannot(format!("cannot override ORDER BY clause of window \"{name}\""));
            }
            if base.frame.is_some() {
                let message = format!("cannot copy window \"{name}\" because it has a frame clause");
                return Err(PgError::new(SqlState::WINDOWING_ERROR, message).at(window.pos));
            }
            partition_by = base.partition_by;
            if order_by.is_empty() {
                order_by = base.order_by;
            }
        }
        let frame = match &window.frame {
            Some(frame) => Some(self.window_frame(frame, &order_by, window.pos)?),
            None => None,
        };
        Ok(WindowSpec { partition_by, order_by, frame })
    }

    fn window_frame(&mut self, frame: &ast::WindowFrame, order_by: &[SortKey], at: u32) -> PgResult<Frame> {
        if frame.exclude != ast::FrameExclusion::NoOthers {
            return Err(PgError::not_supported("EXCLUDE in a window frame is not supported")
                .hint("Leave the rows out with FILTER or a condition.")
                .at(frame.pos));
        }
        let error =
            |state: SqlState, message: &str| Err(PgError::new(state, message.to_owned()).at(frame.pos));
        use ast::FrameBound as B;
        match (&frame.start, &frame.end) {
            (B::UnboundedFollowing, _) => {
                return error(SqlState::WINDOWING_ERROR, "frame start cannot be UNBOUNDED FOLLOWING");
            }
            (_, B::UnboundedPreceding) => {
                return error(SqlState::WINDOWING_ERROR, "frame end cannot be UNBOUNDED PRECEDING");
            }
            (B::CurrentRow, B::Preceding(_)) => {
                return error(
                    SqlState::WINDOWING_ERROR,
                    "frame starting from current row cannot have preceding rows",
                );
            }
            (B::Following(_), B::Preceding(_)) => {
                return error(
                    SqlState::WINDOWING_ERROR,
                    "frame starting from following row cannot have preceding rows",
                );
            }
            (B::Following(_), B::CurrentRow) => {
                return error(
                    SqlState::WINDOWING_ERROR,
                    "frame starting from following row cannot end with current row",
                );
            }
            _ => {}
        }
        let unit = match frame.units {
            ast::FrameUnits::Rows => FrameUnit::Rows,
            ast::FrameUnits::Range => FrameUnit::Range,
            ast::FrameUnits::Groups => FrameUnit::Groups,
        };
        let offset = matches!(frame.start, B::Preceding(_) | B::Following(_))
            || matches!(frame.end, B::Preceding(_) | B::Following(_));
        if unit == FrameUnit::Range && offset && order_by.len() != 1 {
            let message = "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column";
            return Err(PgError::new(SqlState::WINDOWING_ERROR, message).at(at));
        }
        if unit == FrameUnit::Groups && order_by.is_empty() {
            let message = "GROUPS mode requires an ORDER BY clause";
            return Err(PgError::new(SqlState::WINDOWING_ERROR, message).at(at));
        }
        let key = order_by.first().map(|k| k.expr.ty.oid);
        Ok(Frame {
            unit,
            start: self.frame_bound(&frame.start, unit, key)?,
            end: self.frame_bound(&frame.end, unit, key)?,
        })
    }

    fn frame_bound(
        &mut self,
        bound: &ast::FrameBound,
        unit: FrameUnit,
        key: Option<Oid>,
    ) -> PgResult<FrameBound> {
        Ok(match bound {
            ast::FrameBound::UnboundedPreceding => FrameBound::UnboundedPreceding,
            ast::FrameBound::CurrentRow => FrameBound::CurrentRow,
            ast::FrameBound::UnboundedFollowing => FrameBound::UnboundedFollowing,
            ast::FrameBound::Preceding(offset) => {
                FrameBound::Preceding(self.frame_offset(offset, unit, key)?)
            }
            ast::FrameBound::Following(offset) => {
                FrameBound::Following(self.frame_offset(offset, unit, key)?)
            }
        })
    }

    fn frame_offset(&mut self, offset: &ast::Expr, unit: FrameUnit, key: Option<Oid>) -> PgResult<Scalar> {
        let at = offset.start();
        let name = match unit {
            FrameUnit::Rows => "ROWS",
            FrameUnit::Range => "RANGE",
            FrameUnit::Groups => "GROUPS",
        };
        let bound = self.expr_in(offset, Clause::WindowFrame)?;
        let depth = self.level_depth();
        if uses_level(self, &bound, depth) {
            let message = format!("argument of {name} must not contain variables");
            return Err(PgError::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(at));
        }
        if unit != FrameUnit::Range {
            return self.coerce_to_specific(bound, oid::INT8, name);
        }
        let key = key.unwrap_or(oid::INT8);
        let target = range_offset_type(key, bound.ty.oid).ok_or_else(|| {
            let message = format!(
                "RANGE with offset PRECEDING/FOLLOWING is not supported for column type {}",
                type_name(self.cx, key)
            );
            PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(at)
        })?;
        if !can_coerce_one(self.cx, bound.ty.oid, target, CastContext::Implicit) {
            let message = format!(
                "RANGE with offset PRECEDING/FOLLOWING is not supported for column type {} and offset type {}",
                type_name(self.cx, key),
                type_name(self.cx, bound.ty.oid)
            );
            return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
                .hint("Cast the offset value to an appropriate type.")
                .at(at));
        }
        self.coerce_type(bound, target, -1, CastContext::Implicit)
    }
}

/// The type of an offset for a RANGE over keys of a type: what the btree family's in_range function takes.
fn range_offset_type(key: Oid, offset: Oid) -> Option<Oid> {
    match key {
        oid::INT2 | oid::INT4 | oid::INT8 => Some(match offset {
            oid::INT2 | oid::INT4 | oid::INT8 => offset,
            _ if key == oid::INT2 => oid::INT4,
            _ => key,
        }),
        oid::FLOAT4 | oid::FLOAT8 => Some(oid::FLOAT8),
        oid::NUMERIC => Some(oid::NUMERIC),
        oid::DATE | oid::TIMESTAMP | oid::TIMESTAMPTZ | oid::INTERVAL | oid::TIME | oid::TIMETZ => {
            Some(oid::INTERVAL)
        }
        _ => None,
    }
}

fn no_window(name: &str, pos: u32) -> PgError {
    PgError::new(SqlState::UNDEFINED_OBJECT, format!("window \"{name}\" does not exist")).at(pos)
}
