//! Scalar expressions.

use shardforge_types::{Datum, Oid, oid};

use super::{ColId, Rel};

/// A PostgreSQL type as an expression has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ty {
    /// Oid in `pg_type`.
    pub oid: Oid,
    /// Type modifier as in `atttypmod`; -1 when there is none.
    pub typmod: i32,
    /// Collation oid; 0 for types that have none.
    pub collation: Oid,
}

impl Ty {
    /// A type without modifier, with the default collation if it is a collatable string type.
    pub fn new(oid: Oid) -> Self {
        let collation = match oid {
            oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::UNKNOWN => Self::DEFAULT_COLLATION,
            oid::NAME => Self::C_COLLATION,
            _ => Oid(0),
        };
        Ty { oid, typmod: -1, collation }
    }

    /// The same type with another modifier.
    pub fn with_typmod(self, typmod: i32) -> Self {
        Ty { typmod, ..self }
    }

    /// `pg_collation`'s "default".
    pub const DEFAULT_COLLATION: Oid = Oid(100);
    /// `pg_collation`'s "C".
    pub const C_COLLATION: Oid = Oid(950);
}

/// A typed expression.
#[derive(Clone, Debug)]
pub struct Scalar {
    /// What is computed.
    pub kind: ScalarKind,
    /// The type of the result.
    pub ty: Ty,
    /// Byte position in the statement's text, for errors raised at bind time.
    pub pos: Option<u32>,
}

/// The forms of a scalar.
#[derive(Clone, Debug)]
pub enum ScalarKind {
    /// A column of the input, or of an enclosing relation (correlation).
    Column(ColId),
    /// A constant, already of type `ty`.
    Const(Datum),
    /// Statement parameter `$n`, counted from 0.
    Param(u16),
    /// A call of a function of `pg_proc`: operators and function casts are calls as well.
    Call(Box<Call>),
    /// n-ary AND, three-valued.
    And(Vec<Scalar>),
    /// n-ary OR, three-valued.
    Or(Vec<Scalar>),
    /// NOT, three-valued.
    Not(Box<Scalar>),
    /// `arg IS [NOT] NULL`. For rows PostgreSQL's all-fields rule applies.
    IsNull {
        /// What is tested.
        arg: Box<Scalar>,
        /// IS NOT NULL.
        negated: bool,
    },
    /// `arg IS [NOT] TRUE/FALSE/UNKNOWN`.
    BoolTest {
        /// What is tested.
        arg: Box<Scalar>,
        /// Some(true): TRUE, Some(false): FALSE, None: UNKNOWN.
        value: Option<bool>,
        /// IS NOT ...
        negated: bool,
    },
    /// `left IS DISTINCT FROM right`; `eq` is the equality operator's function.
    Distinct {
        /// Function oid of the equality operator.
        eq: Oid,
        /// Left operand.
        left: Box<Scalar>,
        /// Right operand.
        right: Box<Scalar>,
        /// IS NOT DISTINCT FROM.
        negated: bool,
    },
    /// CASE WHEN c THEN r ... ELSE e END; a simple CASE is expanded to this by the binder.
    Case {
        /// Conditions (boolean) and their results, in order.
        whens: Vec<(Scalar, Scalar)>,
        /// ELSE, a NULL constant if absent.
        otherwise: Box<Scalar>,
    },
    /// First argument that is not null, evaluated lazily.
    Coalesce(Vec<Scalar>),
    /// NULLIF(left, right), with the function of the equality operator.
    NullIf {
        /// Function oid of the equality operator.
        eq: Oid,
        /// The value returned.
        left: Box<Scalar>,
        /// What makes it null; converted for the comparison by the binder.
        right: Box<Scalar>,
    },
    /// GREATEST (`greatest`) or LEAST of the arguments that are not null, by btree order of `ty`.
    MinMax {
        /// GREATEST rather than LEAST.
        greatest: bool,
        /// Arguments, all of type `ty`.
        args: Vec<Scalar>,
    },
    /// Conversion through text output and input of the target type (also a length coercion of it).
    IoCast(Box<Scalar>),
    /// Binary-compatible conversion: the datum stays, the type changes.
    Relabel(Box<Scalar>),
    /// Applies the type modifier of `ty` (varchar(n), numeric(p,s), timestamp(p), ...).
    ApplyTypmod {
        /// What is coerced; of the same base type.
        arg: Box<Scalar>,
        /// Explicit casts truncate silently where assignment casts raise 22001.
        explicit: bool,
    },
    /// Element-wise cast of an array; `elem` maps the element in [`ColId::ELEMENT`].
    ArrayMap {
        /// The array.
        arg: Box<Scalar>,
        /// Expression over [`ColId::ELEMENT`].
        elem: Box<Scalar>,
    },
    /// ARRAY[...]; nested constructors make further dimensions.
    Array {
        /// Elements, or arrays of one dimension less when `nested`.
        elems: Vec<Scalar>,
        /// Elements are arrays.
        nested: bool,
    },
    /// `arg[i][j]` or, when a bound pair is given, a slice.
    Subscript {
        /// The array (or jsonb later).
        arg: Box<Scalar>,
        /// One entry a dimension.
        indexes: Vec<SubscriptIndex>,
    },
    /// The array with an element or a slice of it replaced: `SET a[i] = value`.
    SubscriptSet {
        /// The array before; may be NULL.
        arg: Box<Scalar>,
        /// One entry a dimension.
        indexes: Vec<SubscriptIndex>,
        /// The element, or an array of what the slice will hold.
        value: Box<Scalar>,
    },
    /// ROW(...).
    Row(Vec<Scalar>),
    /// Field of a composite value, counted from 0.
    Field {
        /// The composite.
        arg: Box<Scalar>,
        /// Which field.
        index: usize,
    },
    /// `left op ANY/ALL (array)`.
    ArrayOp {
        /// Function oid of the operator.
        func: Oid,
        /// ANY (true) or ALL.
        any: bool,
        /// Scalar operand.
        left: Box<Scalar>,
        /// Array operand.
        array: Box<Scalar>,
    },
    /// `left IN (list)` where all list items are of the same type; any = IN, else NOT IN is Not(..).
    InList {
        /// Function oid of the equality operator.
        eq: Oid,
        /// Scalar operand.
        left: Box<Scalar>,
        /// Items.
        list: Vec<Scalar>,
    },
    /// A subquery in an expression.
    Subquery(Box<Subquery>),
}

/// A subscript or a slice bound pair.
#[derive(Clone, Debug)]
pub enum SubscriptIndex {
    /// `[i]`
    Index(Scalar),
    /// `[l:u]`
    Slice(Option<Scalar>, Option<Scalar>),
}

/// A function call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Oid in `pg_proc`.
    pub func: Oid,
    /// Arguments after casts; VARIADIC arguments are gathered into an array by the binder unless the
    /// function is VARIADIC "any".
    pub args: Vec<Scalar>,
    /// For VARIADIC "any" functions: the call was written with the VARIADIC keyword.
    pub variadic: bool,
}

/// A subquery in an expression.
#[derive(Clone, Debug)]
pub struct Subquery {
    /// How it is used.
    pub kind: SubqueryKind,
    /// The subquery; correlated if it uses columns that it does not produce.
    pub rel: Rel,
    /// Its output columns, in order.
    pub cols: Vec<ColId>,
}

/// How a subquery is used.
#[derive(Clone, Debug)]
pub enum SubqueryKind {
    /// `(SELECT x)`: no row is NULL, two rows are error 21000.
    Scalar,
    /// `EXISTS (SELECT ...)`.
    Exists,
    /// `left op ANY (SELECT ...)`: `test` is a boolean over the subquery's columns and the outer ones.
    Any(Box<Scalar>),
    /// `left op ALL (SELECT ...)`: `test` as for ANY.
    All(Box<Scalar>),
    /// `ARRAY(SELECT x)`.
    Array,
}

impl Scalar {
    /// A constant.
    pub fn constant(value: Datum, ty: Ty) -> Self {
        Scalar { kind: ScalarKind::Const(value), ty, pos: None }
    }

    /// A boolean constant.
    pub fn bool(value: bool) -> Self {
        Self::constant(Datum::Bool(value), Ty::new(oid::BOOL))
    }

    /// A column reference.
    pub fn column(id: ColId, ty: Ty) -> Self {
        Scalar { kind: ScalarKind::Column(id), ty, pos: None }
    }

    /// A function call.
    pub fn call(func: Oid, args: Vec<Scalar>, ty: Ty) -> Self {
        Scalar { kind: ScalarKind::Call(Box::new(Call { func, args, variadic: false })), ty, pos: None }
    }

    /// The conjunction of the given conditions; TRUE for none.
    pub fn and(mut conditions: Vec<Scalar>) -> Self {
        match conditions.len() {
            0 => Self::bool(true),
            1 => conditions.swap_remove(0),
            _ => Scalar { kind: ScalarKind::And(conditions), ty: Ty::new(oid::BOOL), pos: None },
        }
    }

    /// Splits a conjunction into its parts.
    pub fn conjuncts(self) -> Vec<Scalar> {
        match self.kind {
            ScalarKind::And(parts) => parts.into_iter().flat_map(Scalar::conjuncts).collect(),
            ScalarKind::Const(Datum::Bool(true)) => Vec::new(),
            _ => vec![self],
        }
    }

    /// Calls `f` on each direct child expression. Relations of subqueries are not entered; the test of
    /// ANY/ALL is.
    pub fn for_each_child<'a>(&'a self, f: &mut dyn FnMut(&'a Scalar)) {
        match &self.kind {
            ScalarKind::Column(_) | ScalarKind::Const(_) | ScalarKind::Param(_) => {}
            ScalarKind::Call(call) => call.args.iter().for_each(f),
            ScalarKind::And(args)
            | ScalarKind::Or(args)
            | ScalarKind::Coalesce(args)
            | ScalarKind::Row(args)
            | ScalarKind::MinMax { args, .. }
            | ScalarKind::Array { elems: args, .. } => args.iter().for_each(f),
            ScalarKind::Not(arg)
            | ScalarKind::IsNull { arg, .. }
            | ScalarKind::BoolTest { arg, .. }
            | ScalarKind::IoCast(arg)
            | ScalarKind::Relabel(arg)
            | ScalarKind::ApplyTypmod { arg, .. }
            | ScalarKind::Field { arg, .. } => f(arg),
            ScalarKind::Distinct { left, right, .. } | ScalarKind::NullIf { left, right, .. } => {
                f(left);
                f(right);
            }
            ScalarKind::ArrayMap { arg, elem } => {
                f(arg);
                f(elem);
            }
            ScalarKind::ArrayOp { left, array, .. } => {
                f(left);
                f(array);
            }
            ScalarKind::InList { left, list, .. } => {
                f(left);
                list.iter().for_each(f);
            }
            ScalarKind::Case { whens, otherwise } => {
                for (condition, result) in whens {
                    f(condition);
                    f(result);
                }
                f(otherwise);
            }
            ScalarKind::Subscript { arg, indexes } => {
                f(arg);
                for index in indexes {
                    match index {
                        SubscriptIndex::Index(i) => f(i),
                        SubscriptIndex::Slice(lower, upper) => {
                            lower.iter().chain(upper).for_each(&mut *f);
                        }
                    }
                }
            }
            ScalarKind::SubscriptSet { arg, indexes, value } => {
                f(arg);
                for index in indexes {
                    match index {
                        SubscriptIndex::Index(i) => f(i),
                        SubscriptIndex::Slice(lower, upper) => {
                            lower.iter().chain(upper).for_each(&mut *f);
                        }
                    }
                }
                f(value);
            }
            ScalarKind::Subquery(sub) => match &sub.kind {
                SubqueryKind::Any(test) | SubqueryKind::All(test) => f(test),
                SubqueryKind::Scalar | SubqueryKind::Exists | SubqueryKind::Array => {}
            },
        }
    }

    /// As [`Self::for_each_child`], to change the children. Relations of subqueries are not entered; the test of
    /// ANY/ALL is.
    pub fn for_each_child_mut(&mut self, f: &mut dyn FnMut(&mut Scalar)) {
        match &mut self.kind {
            ScalarKind::Column(_) | ScalarKind::Const(_) | ScalarKind::Param(_) => {}
            ScalarKind::Call(call) => call.args.iter_mut().for_each(f),
            ScalarKind::And(args)
            | ScalarKind::Or(args)
            | ScalarKind::Coalesce(args)
            | ScalarKind::Row(args)
            | ScalarKind::MinMax { args, .. }
            | ScalarKind::Array { elems: args, .. } => args.iter_mut().for_each(f),
            ScalarKind::Not(arg)
            | ScalarKind::IsNull { arg, .. }
            | ScalarKind::BoolTest { arg, .. }
            | ScalarKind::IoCast(arg)
            | ScalarKind::Relabel(arg)
            | ScalarKind::ApplyTypmod { arg, .. }
            | ScalarKind::Field { arg, .. } => f(arg),
            ScalarKind::Distinct { left, right, .. } | ScalarKind::NullIf { left, right, .. } => {
                f(left);
                f(right);
            }
            ScalarKind::ArrayMap { arg, elem } => {
                f(arg);
                f(elem);
            }
            ScalarKind::ArrayOp { left, array, .. } => {
                f(left);
                f(array);
            }
            ScalarKind::InList { left, list, .. } => {
                f(left);
                list.iter_mut().for_each(f);
            }
            ScalarKind::Case { whens, otherwise } => {
                for (condition, result) in whens {
                    f(condition);
                    f(result);
                }
                f(otherwise);
            }
            ScalarKind::Subscript { arg, indexes } => {
                f(arg);
                for index in indexes {
                    match index {
                        SubscriptIndex::Index(i) => f(i),
                        SubscriptIndex::Slice(lower, upper) => {
                            lower.iter_mut().chain(upper).for_each(&mut *f);
                        }
                    }
                }
            }
            ScalarKind::SubscriptSet { arg, indexes, value } => {
                f(arg);
                for index in indexes {
                    match index {
                        SubscriptIndex::Index(i) => f(i),
                        SubscriptIndex::Slice(lower, upper) => {
                            lower.iter_mut().chain(upper).for_each(&mut *f);
                        }
                    }
                }
                f(value);
            }
            ScalarKind::Subquery(sub) => match &mut sub.kind {
                SubqueryKind::Any(test) | SubqueryKind::All(test) => f(test),
                SubqueryKind::Scalar | SubqueryKind::Exists | SubqueryKind::Array => {}
            },
        }
    }

    /// Replaces columns by what `f` gives for them, everywhere but inside the relations of subqueries.
    pub fn substitute(&mut self, f: &dyn Fn(ColId) -> Option<Scalar>) {
        if let ScalarKind::Column(id) = self.kind {
            if let Some(replacement) = f(id) {
                *self = replacement;
            }
            return;
        }
        self.for_each_child_mut(&mut |child| child.substitute(f));
    }

    /// True if this or any child satisfies the test; relations of subqueries are not entered.
    pub fn any(&self, test: &dyn Fn(&Scalar) -> bool) -> bool {
        if test(self) {
            return true;
        }
        let mut found = false;
        self.for_each_child(&mut |child| found = found || child.any(test));
        found
    }
}
