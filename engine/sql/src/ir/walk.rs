//! Walks over relations: what a node produces, what it reads, what it depends on from outside.

use hashbrown::HashSet;

use super::{Col, ColId, CteBody, FrameBound, Rel, Scalar, ScalarKind, SortKey, SubqueryKind, TableFunction};

impl Rel {
    /// The columns that this relation produces, in order.
    pub fn columns(&self) -> Vec<Col> {
        match self {
            Rel::Unit => Vec::new(),
            Rel::Values { cols, .. } | Rel::SetOp { cols, .. } | Rel::CteScan { cols, .. } => cols.clone(),
            Rel::Scan(scan) => {
                let stored = scan.cols.iter().map(|(col, _)| *col);
                stored.chain(scan.row_key).chain(scan.tableoid).collect()
            }
            Rel::SystemScan { cols, .. } => cols.iter().map(|(col, _)| *col).collect(),
            Rel::FunctionScan { functions, ordinality } => {
                let columns = functions.iter().flat_map(|function| function.cols.iter().copied());
                columns.chain(*ordinality).collect()
            }
            Rel::Project { items, .. } => items.iter().map(|(col, _)| *col).collect(),
            Rel::ProjectSet { input, functions } => {
                let mut columns = input.columns();
                columns.extend(functions.iter().flat_map(|function| function.cols.iter().copied()));
                columns
            }
            Rel::Join { kind, left, right, .. } => {
                let mut columns = left.columns();
                if !matches!(kind, super::JoinKind::Semi | super::JoinKind::Anti) {
                    columns.extend(right.columns());
                }
                columns
            }
            Rel::Aggregate { groups, grouping, aggregates, .. } => {
                let groups = groups.iter().map(|(col, _)| *col);
                let grouping = grouping.iter().map(|(col, _)| *col);
                groups.chain(grouping).chain(aggregates.iter().map(|(col, _)| *col)).collect()
            }
            Rel::Window { input, functions } => {
                let mut columns = input.columns();
                columns.extend(functions.iter().map(|(col, _)| *col));
                columns
            }
            Rel::Filter { input, .. }
            | Rel::Sort { input, .. }
            | Rel::Limit { input, .. }
            | Rel::Distinct { input, .. }
            | Rel::LockRows { input, .. } => input.columns(),
            Rel::With { body, .. } => body.columns(),
            Rel::Modify(modify) => modify.returning.iter().map(|(col, _)| *col).collect(),
        }
    }

    /// Calls `f` on each input relation.
    pub fn for_each_input<'a>(&'a self, f: &mut dyn FnMut(&'a Rel)) {
        match self {
            Rel::Unit
            | Rel::Values { .. }
            | Rel::Scan(_)
            | Rel::SystemScan { .. }
            | Rel::FunctionScan { .. }
            | Rel::CteScan { .. }
            | Rel::Modify(_) => {}
            Rel::Filter { input, .. }
            | Rel::Project { input, .. }
            | Rel::ProjectSet { input, .. }
            | Rel::Aggregate { input, .. }
            | Rel::Window { input, .. }
            | Rel::Sort { input, .. }
            | Rel::Limit { input, .. }
            | Rel::Distinct { input, .. }
            | Rel::LockRows { input, .. } => f(input),
            Rel::Join { left, right, .. } => {
                f(left);
                f(right);
            }
            Rel::SetOp { left, right, .. } => {
                f(&left.0);
                f(&right.0);
            }
            Rel::With { ctes, body } => {
                for cte in ctes {
                    match &cte.body {
                        CteBody::Plain(rel, _) => f(rel),
                        CteBody::Recursive { base, step, .. } => {
                            f(&base.0);
                            f(&step.0);
                        }
                    }
                }
                f(body);
            }
        }
    }

    /// As [`Self::for_each_input`], to change the inputs.
    pub fn for_each_input_mut(&mut self, f: &mut dyn FnMut(&mut Rel)) {
        match self {
            Rel::Unit
            | Rel::Values { .. }
            | Rel::Scan(_)
            | Rel::SystemScan { .. }
            | Rel::FunctionScan { .. }
            | Rel::CteScan { .. }
            | Rel::Modify(_) => {}
            Rel::Filter { input, .. }
            | Rel::Project { input, .. }
            | Rel::ProjectSet { input, .. }
            | Rel::Aggregate { input, .. }
            | Rel::Window { input, .. }
            | Rel::Sort { input, .. }
            | Rel::Limit { input, .. }
            | Rel::Distinct { input, .. }
            | Rel::LockRows { input, .. } => f(input),
            Rel::Join { left, right, .. } => {
                f(left);
                f(right);
            }
            Rel::SetOp { left, right, .. } => {
                f(&mut left.0);
                f(&mut right.0);
            }
            Rel::With { ctes, body } => {
                for cte in ctes {
                    match &mut cte.body {
                        CteBody::Plain(rel, _) => f(rel),
                        CteBody::Recursive { base, step, .. } => {
                            f(&mut base.0);
                            f(&mut step.0);
                        }
                    }
                }
                f(body);
            }
        }
    }

    /// Calls `f` on each expression of this node (not of its inputs).
    pub fn for_each_scalar_mut(&mut self, f: &mut dyn FnMut(&mut Scalar)) {
        let functions = |functions: &mut Vec<TableFunction>, f: &mut dyn FnMut(&mut Scalar)| {
            functions.iter_mut().flat_map(|function| &mut function.args).for_each(f);
        };
        let keys = |keys: &mut Vec<SortKey>, f: &mut dyn FnMut(&mut Scalar)| {
            keys.iter_mut().for_each(|key| f(&mut key.expr));
        };
        match self {
            Rel::Unit
            | Rel::Scan(_)
            | Rel::SystemScan { .. }
            | Rel::SetOp { .. }
            | Rel::With { .. }
            | Rel::CteScan { .. }
            | Rel::LockRows { .. }
            | Rel::Modify(_)
            | Rel::Distinct { on: None, .. } => {}
            Rel::Values { rows, .. } => rows.iter_mut().flatten().for_each(f),
            Rel::FunctionScan { functions: list, .. } | Rel::ProjectSet { functions: list, .. } => {
                functions(list, f);
            }
            Rel::Filter { predicate, .. } => f(predicate),
            Rel::Project { items, .. } => items.iter_mut().for_each(|(_, scalar)| f(scalar)),
            Rel::Join { on, .. } => f(on),
            Rel::Aggregate { groups, aggregates, .. } => {
                groups.iter_mut().for_each(|(_, scalar)| f(scalar));
                for (_, aggregate) in aggregates {
                    aggregate.args.iter_mut().for_each(&mut *f);
                    keys(&mut aggregate.order_by, f);
                    aggregate.filter.iter_mut().for_each(&mut *f);
                }
            }
            Rel::Window { functions, .. } => {
                for (_, call) in functions {
                    call.args
                        .iter_mut()
                        .chain(&mut call.filter)
                        .chain(&mut call.partition_by)
                        .for_each(&mut *f);
                    keys(&mut call.order_by, f);
                    for bound in [&mut call.frame.start, &mut call.frame.end] {
                        if let FrameBound::Preceding(offset) | FrameBound::Following(offset) = bound {
                            f(offset);
                        }
                    }
                }
            }
            Rel::Sort { keys: list, .. } => keys(list, f),
            Rel::Limit { limit, offset, .. } => limit.iter_mut().chain(offset).for_each(f),
            Rel::Distinct { on: Some(on), .. } => on.iter_mut().for_each(f),
        }
    }

    /// Replaces columns everywhere below, subqueries included.
    pub fn substitute(&mut self, f: &dyn Fn(ColId) -> Option<Scalar>) {
        self.for_each_scalar_mut(&mut |scalar| scalar.substitute_deep(f));
        self.for_each_input_mut(&mut |input| input.substitute(f));
    }

    /// Adds the columns that this relation uses, anywhere, to one set, and those that it produces to another.
    fn collect(&mut self, used: &mut Vec<Col>, produced: &mut HashSet<ColId>) {
        produced.extend(self.columns().iter().map(|col| col.id));
        if let Rel::With { ctes, .. } = self {
            produced.extend(ctes.iter().flat_map(|cte| cte.cols.iter().map(|col| col.id)));
        }
        self.for_each_scalar_mut(&mut |scalar| scalar.collect(used, produced));
        self.for_each_input_mut(&mut |input| input.collect(used, produced));
    }

    /// The columns that this relation uses but does not produce: what it is correlated with.
    pub fn free_columns(&self) -> Vec<Col> {
        let mut used = Vec::new();
        let mut produced = HashSet::new();
        self.clone().collect(&mut used, &mut produced);
        let mut free: Vec<Col> = Vec::new();
        for col in used {
            if !produced.contains(&col.id) && free.iter().all(|other| other.id != col.id) {
                free.push(col);
            }
        }
        free
    }
}

impl Scalar {
    /// As [`Self::substitute`], in the relations of subqueries too.
    pub fn substitute_deep(&mut self, f: &dyn Fn(ColId) -> Option<Scalar>) {
        if let ScalarKind::Column(id) = self.kind {
            if let Some(replacement) = f(id) {
                *self = replacement;
            }
            return;
        }
        if let ScalarKind::Subquery(sub) = &mut self.kind {
            sub.rel.substitute(f);
            if let SubqueryKind::Any(test) | SubqueryKind::All(test) = &mut sub.kind {
                test.substitute_deep(f);
            }
            return;
        }
        self.for_each_child_mut(&mut |child| child.substitute_deep(f));
    }

    fn collect(&mut self, used: &mut Vec<Col>, produced: &mut HashSet<ColId>) {
        if let ScalarKind::Column(id) = self.kind {
            if id != ColId::ELEMENT {
                used.push(Col { id, ty: self.ty });
            }
            return;
        }
        if let ScalarKind::Subquery(sub) = &mut self.kind {
            sub.rel.collect(used, produced);
        }
        self.for_each_child_mut(&mut |child| child.collect(used, produced));
    }

    /// The columns used here, subqueries' free ones included.
    pub fn used_columns(&self) -> Vec<Col> {
        let mut used = Vec::new();
        let mut produced = HashSet::new();
        self.clone().collect(&mut used, &mut produced);
        let mut list: Vec<Col> = Vec::new();
        for col in used {
            if !produced.contains(&col.id) && list.iter().all(|other| other.id != col.id) {
                list.push(col);
            }
        }
        list
    }

    /// True if there is a subquery in this expression.
    pub fn has_subquery(&self) -> bool {
        self.any(&|scalar| matches!(scalar.kind, ScalarKind::Subquery(_)))
    }
}
