//! Functions: pg_proc and pg_aggregate.

use std::borrow::Cow;

use hashbrown::HashMap;
use shardforge_types::Oid;

use super::data;
use super::tsv::{Row, Tsv, array_elements, columns};

/// `pg_proc.prokind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProcKind {
    /// A function.
    Function,
    /// A procedure, for CALL.
    Procedure,
    /// An aggregate; see [`AggregateDesc`].
    Aggregate,
    /// A window function.
    Window,
}

/// `pg_proc.provolatile`: what a plan may assume of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Volatility {
    /// The same arguments give the same result for ever.
    Immutable,
    /// The same arguments give the same result within one statement.
    Stable,
    /// Anything may happen.
    Volatile,
}

/// How an argument of a function is passed: `pg_proc.proargmodes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgMode {
    /// IN
    In,
    /// OUT
    Out,
    /// INOUT
    InOut,
    /// VARIADIC
    Variadic,
    /// A column of RETURNS TABLE.
    Table,
}

impl ArgMode {
    /// Whether it is a column of the result.
    pub fn is_output(self) -> bool {
        matches!(self, Self::Out | Self::InOut | Self::Table)
    }
}

/// A row of pg_proc. Fields are named as the columns are, without `pro`.
#[derive(Clone, Debug)]
pub struct ProcDesc {
    /// The function's oid.
    pub oid: Oid,
    /// Its name.
    pub name: &'static str,
    /// The schema's oid.
    pub namespace: Oid,
    /// The type of the elements that a variadic last argument collects (`any` for VARIADIC "any"), or 0.
    pub variadic: Oid,
    /// Function, procedure, aggregate or window function.
    pub kind: ProcKind,
    /// Whether a null argument makes the result null.
    pub strict: bool,
    /// Whether it returns a set.
    pub retset: bool,
    /// What a plan may assume of the result.
    pub volatility: Volatility,
    /// The type of the result.
    pub rettype: Oid,
    /// The types of the input arguments.
    pub args: Box<[Oid]>,
    /// How many of the last arguments have a default: see [`ProcDesc::defaults`].
    pub ndefaults: u16,
    /// The C function, or the text of an SQL function in quotes; empty when [`ProcDesc::sql_body`] has it.
    pub src: Cow<'static, str>,
    /// The oid of the language: 12 internal, 13 C, 14 SQL.
    pub lang: Oid,
    rare: Option<Box<RareFields>>,
}

/// What most functions have not.
#[derive(Clone, Debug)]
struct RareFields {
    all_args: Option<&'static str>,
    modes: Option<&'static str>,
    names: Option<Cow<'static, str>>,
    defaults: Option<Cow<'static, str>>,
    sql_body: Option<Cow<'static, str>>,
}

/// One parameter of a function, inputs and outputs alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcParam {
    /// The name, or empty.
    pub name: String,
    /// The type.
    pub ty: Oid,
    /// How it is passed.
    pub mode: ArgMode,
}

impl ProcDesc {
    /// All parameters in order, outputs included.
    pub fn params(&self) -> Vec<ProcParam> {
        let rare = self.rare.as_deref();
        let types: Vec<Oid> = match rare.and_then(|r| r.all_args) {
            Some(list) => {
                array_elements(list).iter().flatten().filter_map(|n| n.parse().ok().map(Oid)).collect()
            }
            None => self.args.to_vec(),
        };
        let modes = rare.and_then(|r| r.modes).map(array_elements).unwrap_or_default();
        let mut names =
            rare.and_then(|r| r.names.as_deref()).map(array_elements).unwrap_or_default().into_iter();
        let mode = |i: usize| match modes.get(i).and_then(|m| m.as_deref()) {
            Some("o") => ArgMode::Out,
            Some("b") => ArgMode::InOut,
            Some("v") => ArgMode::Variadic,
            Some("t") => ArgMode::Table,
            _ => ArgMode::In,
        };
        let params = types.into_iter().enumerate();
        params
            .map(|(i, ty)| ProcParam { name: names.next().flatten().unwrap_or_default(), ty, mode: mode(i) })
            .collect()
    }

    /// The columns of the result of a function with OUT parameters.
    pub fn output_columns(&self) -> Vec<ProcParam> {
        self.params().into_iter().filter(|p| p.mode.is_output()).collect()
    }

    /// Whether it has OUT, INOUT or TABLE parameters.
    pub fn has_outputs(&self) -> bool {
        self.rare.as_ref().is_some_and(|r| r.modes.is_some_and(|m| m.contains(['o', 'b', 't'])))
    }

    /// The default expressions of the last [`ProcDesc::ndefaults`] arguments, as SQL text.
    pub fn defaults(&self) -> Vec<String> {
        let defaults = self.rare.as_ref().and_then(|r| r.defaults.as_deref());
        defaults.map(array_elements).unwrap_or_default().into_iter().flatten().collect()
    }

    /// The body of an SQL function in the standard's form (`RETURN ...`), if it has one.
    pub fn sql_body(&self) -> Option<&str> {
        self.rare.as_ref()?.sql_body.as_deref()
    }
}

/// `pg_aggregate.aggkind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateKind {
    /// An ordinary aggregate.
    Normal,
    /// `percentile_cont(f) WITHIN GROUP (ORDER BY x)`.
    OrderedSet,
    /// `rank(v) WITHIN GROUP (ORDER BY x)`.
    Hypothetical,
}

/// A row of pg_aggregate.
#[derive(Clone, Debug)]
pub struct AggregateDesc {
    /// The oid of the aggregate in pg_proc.
    pub oid: Oid,
    /// The kind of aggregate.
    pub kind: AggregateKind,
    /// How many direct arguments stand before WITHIN GROUP.
    pub num_direct_args: u16,
    /// The transition function.
    pub transfn: Oid,
    /// The final function, or 0.
    pub finalfn: Oid,
    /// Merges two states, or 0.
    pub combinefn: Oid,
    /// The operator whose first row by order is the result (min, max), or 0.
    pub sortop: Oid,
    /// The type of the state.
    pub transtype: Oid,
    /// The first state in text form.
    pub initval: Option<&'static str>,
}

/// All built-in functions, found by oid and by name.
#[derive(Debug)]
pub(super) struct Procs {
    pub all: &'static [ProcDesc],
    pub by_oid: HashMap<Oid, &'static ProcDesc>,
    pub by_name: HashMap<&'static str, Vec<&'static ProcDesc>>,
    pub aggregates: HashMap<Oid, AggregateDesc>,
}

impl Procs {
    pub fn load() -> Self {
        let all: &'static [ProcDesc] = Vec::leak(load_procs());
        let mut by_name: HashMap<&'static str, Vec<&'static ProcDesc>> = HashMap::with_capacity(all.len());
        for proc in all {
            by_name.entry(proc.name).or_default().push(proc);
        }
        Self { all, by_oid: all.iter().map(|p| (p.oid, p)).collect(), by_name, aggregates: load_aggregates() }
    }
}

fn load_procs() -> Vec<ProcDesc> {
    let tsv = Tsv::new(data::PG_PROC);
    columns!(
        tsv: oid, proname, pronamespace, prolang, provariadic, prokind, proisstrict, proretset, provolatile,
        pronargdefaults, prorettype, proargtypes, proallargtypes, proargmodes, proargnames, proargdefaults, prosrc,
        prosqlbody
    );
    let rare = |row: &Row| {
        let columns = [proallargtypes, proargmodes, proargnames, proargdefaults, prosqlbody];
        columns.iter().any(|c| row.raw(*c).is_some()).then(|| {
            Box::new(RareFields {
                all_args: row.raw(proallargtypes),
                modes: row.raw(proargmodes),
                names: row.text(proargnames),
                defaults: row.text(proargdefaults),
                sql_body: row.text(prosqlbody),
            })
        })
    };
    let proc = |row: Row| ProcDesc {
        oid: row.oid(oid),
        name: row.name(proname),
        namespace: row.oid(pronamespace),
        variadic: row.oid(provariadic),
        kind: match row.char(prokind) {
            b'p' => ProcKind::Procedure,
            b'a' => ProcKind::Aggregate,
            b'w' => ProcKind::Window,
            _ => ProcKind::Function,
        },
        strict: row.bool(proisstrict),
        retset: row.bool(proretset),
        volatility: match row.char(provolatile) {
            b'i' => Volatility::Immutable,
            b's' => Volatility::Stable,
            _ => Volatility::Volatile,
        },
        rettype: row.oid(prorettype),
        args: row.oids(proargtypes),
        ndefaults: row.number(pronargdefaults),
        src: row.text(prosrc).unwrap_or_default(),
        lang: row.oid(prolang),
        rare: rare(&row),
    };
    tsv.iter().map(proc).collect()
}

fn load_aggregates() -> HashMap<Oid, AggregateDesc> {
    let tsv = Tsv::new(data::PG_AGGREGATE);
    columns!(
        tsv: aggfnoid, aggkind, aggnumdirectargs, aggtransfn, aggfinalfn, aggcombinefn, aggsortop, aggtranstype,
        agginitval
    );
    let aggregate = |row: Row| AggregateDesc {
        oid: row.oid(aggfnoid),
        kind: match row.char(aggkind) {
            b'o' => AggregateKind::OrderedSet,
            b'h' => AggregateKind::Hypothetical,
            _ => AggregateKind::Normal,
        },
        num_direct_args: row.number(aggnumdirectargs),
        transfn: row.oid(aggtransfn),
        finalfn: row.oid(aggfinalfn),
        combinefn: row.oid(aggcombinefn),
        sortop: row.oid(aggsortop),
        transtype: row.oid(aggtranstype),
        initval: row.raw(agginitval),
    };
    tsv.iter().map(aggregate).map(|a| (a.oid, a)).collect()
}
