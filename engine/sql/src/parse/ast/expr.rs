//! Expressions, type names, and the small clauses that occur inside them.
//!
//! What PostgreSQL's grammar rewrites into function calls is rewritten here too: `EXTRACT`, `POSITION`,
//! `SUBSTRING`, `OVERLAY`, `TRIM`, `NORMALIZE`, `AT TIME ZONE`, `OVERLAPS`, `IS NORMALIZED` are
//! [`FuncCall`]s on `pg_catalog` names with [`FuncFormat::SqlSyntax`], so that the binder knows one form of call.

use super::{Name, Names, SelectStmt, SortBy, WindowDef};

/// An expression as written, before any name is looked up.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// `a`, `t.a`, `t.*`, `*`.
    ColumnRef(ColumnRef),
    /// A literal.
    Const(Const),
    /// `$1`.
    ParamRef(ParamRef),
    /// An operator applied to one or two operands, and what the grammar treats as such.
    AExpr(Box<AExpr>),
    /// `AND`, `OR`, `NOT`.
    BoolExpr(Box<BoolExpr>),
    /// `x IS [NOT] NULL`.
    NullTest(Box<NullTest>),
    /// `x IS [NOT] TRUE | FALSE | UNKNOWN`.
    BooleanTest(Box<BooleanTest>),
    /// `CASE ... END`.
    CaseExpr(Box<CaseExpr>),
    /// `COALESCE(a, b, ...)`.
    CoalesceExpr(Box<CoalesceExpr>),
    /// `GREATEST(...)`, `LEAST(...)`.
    MinMaxExpr(Box<MinMaxExpr>),
    /// `x::t`, `CAST(x AS t)`, `t 'literal'`.
    TypeCast(Box<TypeCast>),
    /// `x COLLATE c`.
    CollateClause(Box<CollateClause>),
    /// A function call.
    FuncCall(Box<FuncCall>),
    /// `(SELECT ...)`, `EXISTS (...)`, `x IN (SELECT ...)`, `x op ANY (SELECT ...)`, `ARRAY(SELECT ...)`.
    SubLink(Box<SubLink>),
    /// `ARRAY[a, b, ...]`, and the nested `[...]` inside one.
    ArrayExpr(Box<ArrayExpr>),
    /// `ROW(a, b)` or `(a, b)`.
    RowExpr(Box<RowExpr>),
    /// `x[1]`, `x[1:2]`, `(x).f`, `(x).*`.
    Indirection(Box<Indirection>),
    /// `CURRENT_DATE`, `CURRENT_USER` and their kin.
    SqlValueFunction(SqlValueFunction),
    /// `DEFAULT` in a VALUES list or the right side of an assignment.
    SetToDefault(SetToDefault),
    /// `GROUPING(a, b)`.
    GroupingFunc(Box<GroupingFunc>),
    /// `WHERE CURRENT OF cursor`.
    CurrentOf(CurrentOf),
    /// `(a, b) = (SELECT ...)` or `= ROW(...)` in UPDATE's SET: one column of a shared source.
    MultiAssignRef(Box<MultiAssignRef>),
    /// `MERGE_ACTION()`.
    MergeSupportFunc(MergeSupportFunc),
    /// `name => value` in a call's arguments.
    NamedArg(Box<NamedArg>),
    /// `x IS [NOT] JSON ...`.
    JsonIsPredicate(Box<JsonIsPredicate>),
    /// An SQL/JSON or XML constructor or query function, kept by name with its arguments.
    SqlJsonXml(Box<SqlJsonXml>),
}

impl Expr {
    /// The node's own position: an operator's for [`AExpr`], `[`'s or the operand's for indirections.
    pub fn pos(&self) -> u32 {
        match self {
            Expr::ColumnRef(e) => e.pos,
            Expr::Const(e) => e.pos,
            Expr::ParamRef(e) => e.pos,
            Expr::AExpr(e) => e.pos,
            Expr::BoolExpr(e) => e.pos,
            Expr::NullTest(e) => e.pos,
            Expr::BooleanTest(e) => e.pos,
            Expr::CaseExpr(e) => e.pos,
            Expr::CoalesceExpr(e) => e.pos,
            Expr::MinMaxExpr(e) => e.pos,
            Expr::TypeCast(e) => e.pos,
            Expr::CollateClause(e) => e.pos,
            Expr::FuncCall(e) => e.pos,
            Expr::SubLink(e) => e.pos,
            Expr::ArrayExpr(e) => e.pos,
            Expr::RowExpr(e) => e.pos,
            Expr::Indirection(e) => e.pos,
            Expr::SqlValueFunction(e) => e.pos,
            Expr::SetToDefault(e) => e.pos,
            Expr::GroupingFunc(e) => e.pos,
            Expr::CurrentOf(e) => e.pos,
            Expr::MultiAssignRef(e) => e.pos,
            Expr::MergeSupportFunc(e) => e.pos,
            Expr::NamedArg(e) => e.pos,
            Expr::JsonIsPredicate(e) => e.pos,
            Expr::SqlJsonXml(e) => e.pos,
        }
    }

    /// The position where the expression's text begins, as PostgreSQL's `exprLocation` has it: of the leftmost of
    /// the node and its first operand. Errors about a whole expression point here.
    pub fn start(&self) -> u32 {
        match self {
            Expr::AExpr(e) => e.left.as_ref().map_or(e.pos, |l| e.pos.min(l.start())),
            Expr::BoolExpr(e) => e.args.first().map_or(e.pos, |l| e.pos.min(l.start())),
            Expr::NullTest(e) => e.pos.min(e.arg.start()),
            Expr::BooleanTest(e) => e.pos.min(e.arg.start()),
            Expr::TypeCast(e) => e.pos.min(e.arg.start()).min(e.type_name.pos),
            Expr::CollateClause(e) => e.arg.as_ref().map_or(e.pos, |a| e.pos.min(a.start())),
            Expr::FuncCall(e) => e.args.first().map_or(e.pos, |a| e.pos.min(a.start())),
            Expr::SubLink(e) => e.test.as_ref().map_or(e.pos, |t| e.pos.min(t.start())),
            Expr::Indirection(e) => e.arg.start(),
            Expr::NamedArg(e) => e.pos.min(e.arg.start()),
            Expr::JsonIsPredicate(e) => e.pos.min(e.arg.start()),
            other => other.pos(),
        }
    }
}

/// `a`, `t.a`, `s.t.a`; with `star`, `t.*` or (without names) `*`.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnRef {
    /// The dotted names.
    pub names: Names,
    /// Whether `*` follows the names.
    pub star: bool,
    /// Byte position.
    pub pos: u32,
}

/// A literal.
#[derive(Debug, Clone, PartialEq)]
pub struct Const {
    /// Its value, not yet typed.
    pub value: Value,
    /// Byte position.
    pub pos: u32,
}

/// What a literal holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An integer literal that fits 32 bits.
    Integer(i32),
    /// Any other number, in decimal text without underscores: int8 if it is an integer that fits 64 bits,
    /// otherwise numeric. Integers in hexadecimal, octal or binary keep their prefix (`0x...`).
    Float(Name),
    /// `TRUE`, `FALSE`.
    Boolean(bool),
    /// A string literal of any kind, decoded.
    String(Name),
    /// `B'0101'` as `b0101`, `X'1f'` as `x1f`.
    BitString(Name),
    /// `NULL`.
    Null,
}

/// `$n`.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamRef {
    /// The number after `$`.
    pub number: u32,
    /// Byte position.
    pub pos: u32,
}

/// Which form an [`AExpr`] has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AExprKind {
    /// A normal operator.
    Op,
    /// `left op ANY (array)`.
    OpAny,
    /// `left op ALL (array)`.
    OpAll,
    /// `IS DISTINCT FROM`; the name is `=`.
    Distinct,
    /// `IS NOT DISTINCT FROM`; the name is `=`.
    NotDistinct,
    /// `NULLIF(left, right)`; the name is `=`.
    NullIf,
    /// `[NOT] IN (list)`; the name is `=` or `<>`, the list is in [`AExpr::list`].
    In,
    /// `[NOT] LIKE`; the name is `~~` or `!~~`.
    Like,
    /// `[NOT] ILIKE`; the name is `~~*` or `!~~*`.
    ILike,
    /// `[NOT] SIMILAR TO`; the name is `~` or `!~`, the right side calls `similar_to_escape`.
    SimilarTo,
    /// `BETWEEN`: the bounds are in [`AExpr::list`].
    Between,
    /// `NOT BETWEEN`.
    NotBetween,
    /// `BETWEEN SYMMETRIC`.
    BetweenSym,
    /// `NOT BETWEEN SYMMETRIC`.
    NotBetweenSym,
}

/// An operator with its operands.
#[derive(Debug, Clone, PartialEq)]
pub struct AExpr {
    /// Which form.
    pub kind: AExprKind,
    /// The operator's name; several parts when `OPERATOR(schema.op)` was written.
    pub name: Names,
    /// The left operand; absent for a prefix operator.
    pub left: Option<Expr>,
    /// The right operand; absent when `list` holds it.
    pub right: Option<Expr>,
    /// The items of `IN (...)`, or the two bounds of a BETWEEN.
    pub list: Vec<Expr>,
    /// Byte position of the operator.
    pub pos: u32,
}

/// Which connective a [`BoolExpr`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoolOp {
    /// `AND`.
    And,
    /// `OR`.
    Or,
    /// `NOT`.
    Not,
}

/// `AND` and `OR` chains are flattened: `a AND b AND c` has three arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct BoolExpr {
    /// The connective.
    pub op: BoolOp,
    /// Two or more arguments, one for NOT.
    pub args: Vec<Expr>,
    /// Byte position of the (first) connective.
    pub pos: u32,
}

/// `arg IS [NOT] NULL`, `arg ISNULL`, `arg NOTNULL`.
#[derive(Debug, Clone, PartialEq)]
pub struct NullTest {
    /// What is tested.
    pub arg: Expr,
    /// Whether NOT was written.
    pub negated: bool,
    /// Byte position of IS.
    pub pos: u32,
}

/// What a [`BooleanTest`] asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoolTestKind {
    /// `IS TRUE`.
    IsTrue,
    /// `IS NOT TRUE`.
    IsNotTrue,
    /// `IS FALSE`.
    IsFalse,
    /// `IS NOT FALSE`.
    IsNotFalse,
    /// `IS UNKNOWN`.
    IsUnknown,
    /// `IS NOT UNKNOWN`.
    IsNotUnknown,
}

/// `arg IS TRUE` and its kin.
#[derive(Debug, Clone, PartialEq)]
pub struct BooleanTest {
    /// What is tested.
    pub arg: Expr,
    /// For what.
    pub kind: BoolTestKind,
    /// Byte position of IS.
    pub pos: u32,
}

/// `CASE [arg] WHEN ... THEN ... [ELSE ...] END`.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseExpr {
    /// The value that the WHENs are compared with.
    pub arg: Option<Expr>,
    /// The branches, at least one.
    pub whens: Vec<CaseWhen>,
    /// The ELSE branch.
    pub default: Option<Expr>,
    /// Byte position.
    pub pos: u32,
}

/// One branch of a CASE.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseWhen {
    /// The condition, or the value to compare with.
    pub when: Expr,
    /// The result.
    pub then: Expr,
    /// Byte position of WHEN.
    pub pos: u32,
}

/// `COALESCE(...)`.
#[derive(Debug, Clone, PartialEq)]
pub struct CoalesceExpr {
    /// At least one argument.
    pub args: Vec<Expr>,
    /// Byte position.
    pub pos: u32,
}

/// `GREATEST(...)` or `LEAST(...)`.
#[derive(Debug, Clone, PartialEq)]
pub struct MinMaxExpr {
    /// Whether it is GREATEST.
    pub greatest: bool,
    /// At least one argument.
    pub args: Vec<Expr>,
    /// Byte position.
    pub pos: u32,
}

/// A cast in any of its spellings.
#[derive(Debug, Clone, PartialEq)]
pub struct TypeCast {
    /// What is cast.
    pub arg: Expr,
    /// To what.
    pub type_name: TypeName,
    /// Byte position of `::`, of `CAST`, or of the type name in `t 'literal'`.
    pub pos: u32,
}

/// `arg COLLATE name`; without `arg` it is a column's or index column's collation.
#[derive(Debug, Clone, PartialEq)]
pub struct CollateClause {
    /// The expression, in an expression.
    pub arg: Option<Expr>,
    /// The collation.
    pub name: Names,
    /// Byte position of COLLATE.
    pub pos: u32,
}

/// Whether a call was written as a call or in SQL's own syntax; rule printing cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FuncFormat {
    /// `f(x)`.
    ExplicitCall,
    /// `EXTRACT(year FROM x)` and the like.
    SqlSyntax,
}

/// A function call, aggregate or window call.
#[derive(Debug, Clone, PartialEq)]
pub struct FuncCall {
    /// The function's name.
    pub name: Names,
    /// Its arguments; [`Expr::NamedArg`]s come last.
    pub args: Vec<Expr>,
    /// `agg(x ORDER BY y)`, or the order of WITHIN GROUP.
    pub agg_order: Vec<SortBy>,
    /// `FILTER (WHERE ...)`.
    pub agg_filter: Option<Expr>,
    /// Whether `agg_order` was written as WITHIN GROUP.
    pub within_group: bool,
    /// `f(*)`.
    pub star: bool,
    /// `f(DISTINCT x)`.
    pub distinct: bool,
    /// Whether the last argument is marked VARIADIC.
    pub variadic: bool,
    /// OVER.
    pub over: Option<WindowDef>,
    /// How it was written.
    pub format: FuncFormat,
    /// Byte position of the name.
    pub pos: u32,
}

/// Which kind of sub-select.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubLinkKind {
    /// `EXISTS (SELECT ...)`.
    Exists,
    /// `test op ALL (SELECT ...)`.
    All,
    /// `test op ANY (SELECT ...)` and `test IN (SELECT ...)`.
    Any,
    /// `(SELECT ...)` as a value (or as a row to compare with).
    Expr,
    /// `ARRAY(SELECT ...)`.
    Array,
}

/// A sub-select in an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct SubLink {
    /// Which kind.
    pub kind: SubLinkKind,
    /// The left side of ANY, ALL and IN. `NOT IN` is a NOT over this node.
    pub test: Option<Expr>,
    /// The operator of ANY and ALL; empty for IN, which means `=`.
    pub op_name: Names,
    /// The query.
    pub subselect: Box<SelectStmt>,
    /// Byte position.
    pub pos: u32,
}

/// `ARRAY[...]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrayExpr {
    /// The elements; nested brackets are [`Expr::ArrayExpr`] again.
    pub elements: Vec<Expr>,
    /// Byte position of ARRAY, or of the bracket in a nested one.
    pub pos: u32,
}

/// `ROW(...)` or `(a, b)`.
#[derive(Debug, Clone, PartialEq)]
pub struct RowExpr {
    /// The fields.
    pub args: Vec<Expr>,
    /// Whether the word ROW was written.
    pub explicit: bool,
    /// Byte position.
    pub pos: u32,
}

/// A value followed by subscripts and field selections.
#[derive(Debug, Clone, PartialEq)]
pub struct Indirection {
    /// The value.
    pub arg: Expr,
    /// What is taken of it, from left to right.
    pub path: Vec<IndirectionElem>,
    /// Byte position of the first element of the path.
    pub pos: u32,
}

/// One step of an [`Indirection`].
#[derive(Debug, Clone, PartialEq)]
pub enum IndirectionElem {
    /// `.name`.
    Field(Name),
    /// `.*`.
    Star,
    /// `[index]`.
    Subscript(Expr),
    /// `[lower:upper]`, either bound optional.
    Slice(Option<Expr>, Option<Expr>),
}

/// Which value a [`SqlValueFunction`] yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlValueFunctionOp {
    /// `CURRENT_DATE`.
    CurrentDate,
    /// `CURRENT_TIME[(n)]`.
    CurrentTime,
    /// `CURRENT_TIMESTAMP[(n)]`.
    CurrentTimestamp,
    /// `LOCALTIME[(n)]`.
    Localtime,
    /// `LOCALTIMESTAMP[(n)]`.
    Localtimestamp,
    /// `CURRENT_ROLE`.
    CurrentRole,
    /// `CURRENT_USER`.
    CurrentUser,
    /// `USER`.
    User,
    /// `SESSION_USER`.
    SessionUser,
    /// `CURRENT_CATALOG`.
    CurrentCatalog,
    /// `CURRENT_SCHEMA`.
    CurrentSchema,
}

/// A parameterless function with its own keyword.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlValueFunction {
    /// Which one.
    pub op: SqlValueFunctionOp,
    /// The precision of the time functions.
    pub precision: Option<i32>,
    /// Byte position.
    pub pos: u32,
}

/// `DEFAULT`.
#[derive(Debug, Clone, PartialEq)]
pub struct SetToDefault {
    /// Byte position.
    pub pos: u32,
}

/// `GROUPING(...)`.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupingFunc {
    /// The grouping expressions.
    pub args: Vec<Expr>,
    /// Byte position.
    pub pos: u32,
}

/// `CURRENT OF cursor`.
#[derive(Debug, Clone, PartialEq)]
pub struct CurrentOf {
    /// The cursor's name.
    pub cursor: Name,
    /// Byte position.
    pub pos: u32,
}

/// `(a, b) = source`: column `index` (from 0) of `count`. Only the first holds the source.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiAssignRef {
    /// The source, in the reference of index 0; the following references share it.
    pub source: Option<Expr>,
    /// Which column, from 0.
    pub index: u32,
    /// How many columns there are.
    pub count: u32,
    /// Byte position of the source.
    pub pos: u32,
}

/// `MERGE_ACTION()`.
#[derive(Debug, Clone, PartialEq)]
pub struct MergeSupportFunc {
    /// Byte position.
    pub pos: u32,
}

/// `name => value`.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedArg {
    /// The parameter's name.
    pub name: Name,
    /// Its value.
    pub arg: Expr,
    /// Byte position of the name.
    pub pos: u32,
}

/// `arg IS [NOT] JSON [VALUE | ARRAY | OBJECT | SCALAR] [WITH UNIQUE KEYS]`.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonIsPredicate {
    /// What is tested.
    pub arg: Expr,
    /// For which kind of JSON value.
    pub item: JsonItemType,
    /// `WITH UNIQUE KEYS`.
    pub unique_keys: bool,
    /// Whether NOT was written.
    pub negated: bool,
    /// Byte position of IS.
    pub pos: u32,
}

/// The kinds that IS JSON tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonItemType {
    /// Any JSON value.
    Any,
    /// An object.
    Object,
    /// An array.
    Array,
    /// A scalar.
    Scalar,
}

/// `JSON_OBJECT(...)`, `XMLELEMENT(...)` and the like: recognised, and kept as text.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlJsonXml {
    /// The function's name, in lower case.
    pub name: Name,
    /// The text between the parentheses.
    pub text: Name,
    /// Byte position.
    pub pos: u32,
}

/// A type as written.
#[derive(Debug, Clone, PartialEq)]
pub struct TypeName {
    /// Its name; what SQL's own syntax names is already mapped (`INTEGER` is `pg_catalog.int4`).
    pub names: Names,
    /// `SETOF`.
    pub setof: bool,
    /// `table.column%TYPE`.
    pub pct_type: bool,
    /// The modifiers in parentheses, as written; INTERVAL's fields are an integer constant with PostgreSQL's mask,
    /// followed by the precision if there is one.
    pub typmods: Vec<Expr>,
    /// One entry for each array dimension: its written bound, or -1.
    pub array_bounds: Vec<i32>,
    /// Byte position.
    pub pos: u32,
}
