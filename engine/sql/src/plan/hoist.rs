//! Subqueries of writing statements.
//!
//! New values, ON CONFLICT's expressions and RETURNING are evaluated row by row while rows are written, where no
//! query can run. A subquery among them is therefore computed by the query that feeds the write, as one more
//! column; what stays behind is a reference to that column. As in PostgreSQL, it sees the statement's snapshot.

use shardforge_types::{PgError, PgResult};

use crate::ir::{Col, ColId, Modify, ModifyOp, Rel, Scalar, ScalarKind};

/// Ids of the columns made here: above those of the binder, below those of the lowering.
const FIRST_COLUMN: u32 = 1 << 29;

/// Moves the subqueries of a write's expressions into its source.
///
/// # Errors
/// 0A000 for a subquery over the row being written.
pub fn hoist_subqueries(modify: &mut Modify) -> PgResult<()> {
    let Modify { op, returning, .. } = modify;
    let (source, mut scalars): (&mut Rel, Vec<&mut Scalar>) = match op {
        ModifyOp::Insert { source, values, on_conflict } => {
            let mut scalars: Vec<&mut Scalar> = values.iter_mut().map(|(_, value)| value).collect();
            if let Some(update) = on_conflict.as_mut().and_then(|conflict| conflict.update.as_mut()) {
                scalars.extend(update.assignments.iter_mut().map(|(_, value)| value));
                scalars.extend(update.filter.as_mut());
            }
            (source, scalars)
        }
        ModifyOp::Update { source, assignments, .. } => {
            (source, assignments.iter_mut().map(|(_, value)| value).collect())
        }
        ModifyOp::Delete { source, .. } => (source, Vec::new()),
    };
    scalars.extend(returning.iter_mut().map(|(_, value)| value));
    if !scalars.iter().any(|scalar| scalar.has_subquery()) {
        return Ok(());
    }
    let available = source.columns();
    let mut hoisted = Vec::new();
    for scalar in scalars {
        replace(scalar, &available, &mut hoisted)?;
    }
    let kept = available.iter().map(|col| (*col, Scalar::column(col.id, col.ty)));
    let items = kept.chain(hoisted).collect();
    let input = Box::new(std::mem::replace(source, Rel::Unit));
    *source = Rel::Project { input, items };
    Ok(())
}

fn replace(scalar: &mut Scalar, available: &[Col], hoisted: &mut Vec<(Col, Scalar)>) -> PgResult<()> {
    if matches!(scalar.kind, ScalarKind::Subquery(_)) {
        if scalar.used_columns().iter().any(|used| available.iter().all(|col| col.id != used.id)) {
            return Err(PgError::not_supported(
                "a subquery that refers to the row being written is not supported here",
            )
            .hint("Compute the value in the query that the rows come from."));
        }
        let col = Col { id: ColId(FIRST_COLUMN + hoisted.len() as u32), ty: scalar.ty };
        let reference = Scalar::column(col.id, col.ty);
        hoisted.push((col, std::mem::replace(scalar, reference)));
        return Ok(());
    }
    let mut result = Ok(());
    scalar.for_each_child_mut(&mut |child| {
        if result.is_ok() {
            result = replace(child, available, hoisted);
        }
    });
    result
}
