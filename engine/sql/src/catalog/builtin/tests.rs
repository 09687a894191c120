use shardforge_types::oid;

use super::*;
use crate::catalog::well_known::{FIRST_USER_OID, INFORMATION_SCHEMA, PG_CATALOG, PUBLIC};

fn operator(name: &str, left: Oid, right: Oid) -> &'static OperatorDesc {
    builtin().operator_exact(name, left, right).expect("the operator exists")
}

#[test]
fn every_file_is_loaded_and_consistent() {
    let b = builtin();
    assert!(b.types().len() > 600 && b.procs().len() > 3400 && b.operators().len() > 790);
    for ty in b.types() {
        assert!(ty.oid < FIRST_USER_OID);
        assert!(ty.array.0 == 0 || b.type_by_oid(ty.array).is_some_and(|a| a.elem == ty.oid), "{}", ty.name);
        assert!(b.proc_by_oid(ty.input).is_some() && b.proc_by_oid(ty.output).is_some(), "{}", ty.name);
    }
    for proc in b.procs() {
        assert!(b.type_by_oid(proc.rettype).is_some(), "{}", proc.name);
        assert!(proc.args.iter().all(|a| b.type_by_oid(*a).is_some()), "{}", proc.name);
        assert_eq!(proc.defaults().len(), usize::from(proc.ndefaults), "{}", proc.name);
        assert_eq!(b.aggregate(proc.oid).is_some(), proc.kind == ProcKind::Aggregate, "{}", proc.name);
        let inputs =
            proc.params().iter().filter(|p| !matches!(p.mode, ArgMode::Out | ArgMode::Table)).count();
        assert!(proc.kind == ProcKind::Procedure || inputs == proc.args.len(), "{}", proc.name);
    }
    for op in b.operators() {
        assert!(b.proc_by_oid(op.code).is_some(), "{}", op.name);
        assert!(
            op.commutator.0 == 0 || b.operator(op.commutator).is_some_and(|c| c.left == op.right),
            "{}",
            op.name
        );
    }
    for cast in b.casts() {
        assert_eq!(cast.func.0 != 0, cast.method == CastMethod::Function);
    }
}

#[test]
fn lookups() {
    let b = builtin();
    assert_eq!(b.type_by_name(PG_CATALOG, "int4").map(|t| t.oid), Some(oid::INT4));
    assert!(b.type_by_name(PUBLIC, "int4").is_none());
    let lower: Vec<Oid> = b.procs_by_name("lower").iter().map(|p| p.args[0]).collect();
    assert_eq!(lower, [oid::TEXT, oid::ANYRANGE, oid::ANYMULTIRANGE]);
    assert_eq!(operator("+", oid::INT4, oid::INT4).result, oid::INT4);
    assert_eq!(operator("-", Oid(0), oid::INT8).result, oid::INT8);
    let cast = b.cast(oid::INT8, oid::INT4).expect("a cast");
    assert_eq!((cast.context, cast.method), (CastContext::Assignment, CastMethod::Function));
    assert!(
        CastContext::Implicit < CastContext::Assignment && CastContext::Assignment < CastContext::Explicit
    );
}

#[test]
fn parameters_and_defaults() {
    let b = builtin();
    let make_interval = b.procs_by_name("make_interval")[0];
    assert_eq!(make_interval.ndefaults, 7);
    assert_eq!(make_interval.defaults()[0], "0");
    assert_eq!(make_interval.params()[6].name, "secs");
    let keywords = b.procs_by_name("pg_get_keywords")[0];
    let columns: Vec<String> = keywords.output_columns().into_iter().map(|p| p.name).collect();
    assert_eq!(columns, ["word", "catcode", "barelabel", "catdesc", "baredesc"]);
    assert!(keywords.has_outputs() && keywords.retset);
    let concat = b.procs_by_name("concat")[0];
    assert_eq!((concat.variadic, concat.params()[0].mode), (oid::ANY, ArgMode::Variadic));
}

#[test]
fn orderings() {
    let b = builtin();
    let int4 = b.ordering(oid::INT4).expect("int4 is ordered");
    assert_eq!(b.operator(int4.lt).map(|o| o.name), Some("<"));
    assert_eq!(b.proc_by_oid(int4.cmp).map(|p| p.name), Some("btint4cmp"));
    assert_eq!(b.ordering(oid::VARCHAR).map(|o| o.intype), Some(oid::TEXT));
    assert_eq!(b.ordering(oid::INT4_ARRAY).map(|o| o.intype), Some(oid::ANYARRAY));
    assert_eq!(b.ordering(oid::NAME).map(|o| o.intype), Some(oid::NAME));
    assert_eq!(b.ordering(oid::REGCLASS).map(|o| o.intype), Some(oid::OID));
    assert!(b.ordering(oid::JSON).is_none() && b.ordering(oid::POINT).is_none());
    let less = operator("<", oid::TEXT, oid::TEXT);
    let (family, strategy) = b.btree_strategy(less.oid).expect("a btree operator");
    assert_eq!((b.opfamily(family).map(|f| f.name), strategy), (Some("text_ops"), BtreeStrategy::Less));
}

#[test]
fn binary_coercion() {
    let b = builtin();
    assert!(b.is_binary_coercible(oid::VARCHAR, oid::TEXT));
    assert!(!b.is_binary_coercible(oid::INT4, oid::INT8));
    assert!(b.is_binary_coercible(oid::INT4_ARRAY, oid::ANYARRAY));
    assert!(!b.is_binary_coercible(oid::NAME, oid::ANYARRAY));
    assert!(b.is_binary_coercible(oid::REGCLASS, oid::OID));
}

#[test]
fn relations_and_settings() {
    let class = system_relation_by_name(PG_CATALOG, "pg_class").expect("pg_class");
    assert_eq!((class.oid, class.kind, class.columns.len()), (Oid(1259), b'r', 34));
    assert_eq!(class.columns[1].name, "relname");
    assert!(class.columns[1].not_null);
    assert!(system_relation_by_name(INFORMATION_SCHEMA, "tables").is_some_and(|v| v.kind == b'v'));
    let work_mem = setting("WORK_MEM").expect("work_mem");
    assert_eq!((work_mem.unit, work_mem.integer_range()), (Some("kB"), Some((64, 2_147_483_647))));
    assert_eq!(setting("datestyle").map(|s| s.name), Some("DateStyle"));
}
