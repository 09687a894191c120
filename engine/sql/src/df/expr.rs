//! Expressions of physical plans.
//!
//! Column references, logic and comparisons of types whose Arrow order is PostgreSQL's become DataFusion's own
//! expressions, so that its joins and filters recognise them. Every other expression becomes one
//! [`RowExpr`]: the row evaluator run over a batch, which is the same code that the fast path runs.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, IsNotNullExpr, IsNullExpr, NotExpr};
use shardforge_types::codec::key::{self, KeyOrder};
use shardforge_types::{Datum, Oid, PgResult, oid};

use super::arrays::{ColumnBuilder, arrow_type, orders_natively, value_at};
use super::error::to_df;
use super::slots::Slots;
use crate::catalog::builtin::{BtreeStrategy, builtin};
use crate::exec::eval::{CompiledExpr, RowSource};
use crate::ir::{Col, ColId, Scalar, ScalarKind};

/// Lowers expressions over the columns of one input.
pub struct ExprLowering<'a> {
    /// The input's columns, in order.
    pub input: &'a [Col],
    /// Of the plan instance.
    pub slots: &'a Arc<Slots>,
}

impl ExprLowering<'_> {
    fn position(&self, id: ColId) -> Option<usize> {
        self.input.iter().position(|col| col.id == id)
    }

    /// Lowers an expression without subqueries.
    ///
    /// # Errors
    /// If it does not compile.
    pub fn lower(&self, scalar: &Scalar) -> PgResult<Arc<dyn PhysicalExpr>> {
        match &scalar.kind {
            ScalarKind::Column(id) => {
                if let Some(position) = self.position(*id) {
                    return Ok(Arc::new(Column::new(&format!("c{}", id.0), position)));
                }
            }
            ScalarKind::And(parts) | ScalarKind::Or(parts) if !parts.is_empty() => {
                let op = if matches!(scalar.kind, ScalarKind::And(_)) { Operator::And } else { Operator::Or };
                let mut lowered =
                    parts.iter().map(|part| self.lower(part)).collect::<PgResult<Vec<_>>>()?.into_iter();
                if let Some(first) = lowered.next() {
                    return Ok(lowered.fold(first, |left, right| Arc::new(BinaryExpr::new(left, op, right))));
                }
            }
            ScalarKind::Not(arg) => return Ok(Arc::new(NotExpr::new(self.lower(arg)?))),
            ScalarKind::IsNull { arg, negated } if arg.ty.oid != oid::RECORD && !is_composite(arg.ty.oid) => {
                let arg = self.lower(arg)?;
                return Ok(if *negated {
                    Arc::new(IsNotNullExpr::new(arg))
                } else {
                    Arc::new(IsNullExpr::new(arg))
                });
            }
            ScalarKind::Relabel(arg) if arrow_type(arg.ty.oid) == arrow_type(scalar.ty.oid) => {
                return self.lower(arg);
            }
            ScalarKind::Call(call) => {
                if let Some((op, left, right)) = comparison(call.func, &call.args)
                    && left.ty.oid == right.ty.oid
                    && orders_natively(left.ty.oid)
                {
                    return Ok(Arc::new(BinaryExpr::new(self.lower(left)?, op, self.lower(right)?)));
                }
            }
            _ => {}
        }
        self.row_expr(scalar, Output::Value(scalar.ty.oid))
    }

    /// An expression whose byte order and equality are those of the given one's type: what joins, groups and sorts
    /// compare.
    ///
    /// # Errors
    /// If it does not compile.
    pub fn lower_key(&self, scalar: &Scalar) -> PgResult<Arc<dyn PhysicalExpr>> {
        if orders_natively(scalar.ty.oid) {
            self.lower(scalar)
        } else {
            self.row_expr(scalar, Output::Key(scalar.ty.oid))
        }
    }

    fn row_expr(&self, scalar: &Scalar, output: Output) -> PgResult<Arc<dyn PhysicalExpr>> {
        let compiled = CompiledExpr::compile(scalar, &|id| self.position(id))?;
        let types = self.input.iter().map(|col| col.ty.oid).collect();
        Ok(Arc::new(RowExpr::new(compiled, types, output, self.slots.clone())))
    }
}

fn is_composite(ty: Oid) -> bool {
    use crate::catalog::builtin::TypeKind;
    match builtin().type_by_oid(ty) {
        Some(desc) => desc.kind == TypeKind::Composite,
        // A user's table's row type.
        None => true,
    }
}

/// The comparison that a function is, by the btree operator it implements.
pub fn comparison(func: Oid, args: &[Scalar]) -> Option<(Operator, &Scalar, &Scalar)> {
    let [left, right] = args else { return None };
    let op = match crate::storage::comparison_strategy(func) {
        Some(BtreeStrategy::Less) => Operator::Lt,
        Some(BtreeStrategy::LessEqual) => Operator::LtEq,
        Some(BtreeStrategy::Equal) => Operator::Eq,
        Some(BtreeStrategy::GreaterEqual) => Operator::GtEq,
        Some(BtreeStrategy::Greater) => Operator::Gt,
        None => return None,
    };
    Some((op, left, right))
}

/// What a row expression yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// The value, of this type.
    Value(Oid),
    /// Its memcomparable key; NULL stays NULL.
    Key(Oid),
}

/// The row evaluator over a batch.
pub struct RowExpr {
    /// Tells expressions apart, since compiled code cannot be compared.
    id: u64,
    expr: CompiledExpr,
    types: Arc<[Oid]>,
    output: Output,
    slots: Arc<Slots>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl RowExpr {
    fn new(expr: CompiledExpr, types: Arc<[Oid]>, output: Output, slots: Arc<Slots>) -> RowExpr {
        RowExpr { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), expr, types, output, slots }
    }

    fn run(&self, batch: &RecordBatch) -> PgResult<ColumnarValue> {
        let cx = self.slots.get()?;
        let output_type = match self.output {
            Output::Value(ty) => ty,
            Output::Key(_) => oid::BYTEA,
        };
        let mut builder = ColumnBuilder::new(output_type);
        let mut scratch = Vec::new();
        for row in 0..batch.num_rows() {
            let value = self.expr.eval(&BatchRow { batch, types: &self.types, row }, &cx.params, &cx.env)?;
            match self.output {
                Output::Key(ty) if !value.is_null() => {
                    scratch.clear();
                    key::encode(ty, KeyOrder::ASC, &value, &mut scratch);
                    builder.push(&Datum::bytea(&scratch[..]))?;
                }
                _ => builder.push(&value)?,
            }
        }
        Ok(ColumnarValue::Array(builder.finish()))
    }
}

/// One row of a batch.
pub struct BatchRow<'a> {
    /// The batch.
    pub batch: &'a RecordBatch,
    /// Types of its columns.
    pub types: &'a [Oid],
    /// Which row.
    pub row: usize,
}

impl RowSource for BatchRow<'_> {
    fn column(&self, index: usize) -> PgResult<Datum> {
        value_at(self.batch.column(index).as_ref(), self.types[index], self.row)
    }
}

impl fmt::Debug for RowExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row_expr#{}", self.id)
    }
}

impl fmt::Display for RowExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expression")
    }
}

impl PartialEq for RowExpr {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for RowExpr {}

impl Hash for RowExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl PhysicalExpr for RowExpr {
    fn data_type(&self, _input_schema: &Schema) -> DfResult<DataType> {
        Ok(match self.output {
            Output::Value(ty) => arrow_type(ty),
            Output::Key(_) => DataType::BinaryView,
        })
    }

    fn nullable(&self, _input_schema: &Schema) -> DfResult<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> DfResult<ColumnarValue> {
        self.run(batch).map_err(to_df)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        // Its columns are positions of the input: no rewrite may move it to another input.
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> DfResult<Arc<dyn PhysicalExpr>> {
        Ok(self)
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expression")
    }

    fn is_volatile_node(&self) -> bool {
        true
    }
}
