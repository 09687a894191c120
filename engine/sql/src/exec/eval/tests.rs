use super::*;
use crate::catalog::builtin::builtin;
use crate::ir::{ScalarKind, Ty};
use shardforge_types::{Oid, SqlState, oid};

/// An operator call on operands of built-in types.
fn op(name: &str, left: Scalar, right: Scalar) -> Scalar {
    let operator = builtin().operator_exact(name, left.ty.oid, right.ty.oid).unwrap();
    Scalar::call(operator.code, vec![left, right], Ty::new(operator.result))
}

fn int(value: i32) -> Scalar {
    Scalar::constant(Datum::Int4(value), Ty::new(oid::INT4))
}

fn column(id: u32, ty: Oid) -> Scalar {
    Scalar::column(ColId(id), Ty::new(ty))
}

fn boolean(kind: ScalarKind) -> Scalar {
    Scalar { kind, ty: Ty::new(oid::BOOL), pos: None }
}

fn compile(scalar: &Scalar) -> CompiledExpr {
    CompiledExpr::compile(scalar, &|id| Some(id.0 as usize)).unwrap()
}

fn eval(scalar: &Scalar, row: &[Datum]) -> PgResult<Datum> {
    compile(scalar).eval(&row.to_vec(), &[], EvalEnv::detached())
}

#[test]
fn constants_fold_and_errors_wait() {
    let sum = op("+", int(1), op("*", int(2), int(3)));
    assert_eq!(compile(&sum).as_const(), Some(&Datum::Int4(7)));

    let failing = op("/", int(1), int(0));
    assert!(compile(&failing).as_const().is_none());
    assert_eq!(eval(&failing, &[]).unwrap_err().sqlstate, SqlState::DIVISION_BY_ZERO);

    let guarded = Scalar {
        kind: ScalarKind::Case {
            whens: vec![(op("=", column(0, oid::INT4), int(1)), failing)],
            otherwise: Box::new(int(5)),
        },
        ty: Ty::new(oid::INT4),
        pos: None,
    };
    assert_eq!(eval(&guarded, &[Datum::Int4(2)]).unwrap(), Datum::Int4(5));
    assert!(eval(&guarded, &[Datum::Int4(1)]).is_err());
}

#[test]
fn strict_functions_skip_null() {
    let sum = op("+", column(0, oid::INT4), int(1));
    assert_eq!(eval(&sum, &[Datum::Null]).unwrap(), Datum::Null);
    assert_eq!(eval(&sum, &[Datum::Int4(i32::MAX)]).unwrap_err().message, "integer out of range");
}

#[test]
fn connectives_are_three_valued_and_lazy() {
    let failing = op("=", op("/", int(1), int(0)), int(1));
    let null = || Scalar::constant(Datum::Null, Ty::new(oid::BOOL));
    let and = boolean(ScalarKind::And(vec![null(), Scalar::bool(false), failing.clone()]));
    assert_eq!(eval(&and, &[]).unwrap(), Datum::Bool(false));
    let or = boolean(ScalarKind::Or(vec![null(), Scalar::bool(true), failing]));
    assert_eq!(eval(&or, &[]).unwrap(), Datum::Bool(true));
    let and = boolean(ScalarKind::And(vec![null(), Scalar::bool(true)]));
    assert_eq!(eval(&and, &[]).unwrap(), Datum::Null);
}

#[test]
fn long_lists_are_hashed() {
    let eq = builtin().operator_exact("=", oid::INT4, oid::INT4).unwrap().code;
    let list = |with_null: bool| {
        let mut list: Vec<Scalar> = (0..100).map(|i| int(i * 2)).collect();
        if with_null {
            list.push(Scalar::constant(Datum::Null, Ty::new(oid::INT4)));
        }
        boolean(ScalarKind::InList { eq, left: Box::new(column(0, oid::INT4)), list })
    };
    assert!(format!("{:?}", compile(&list(false))).contains("InSet"));
    assert_eq!(eval(&list(false), &[Datum::Int4(42)]).unwrap(), Datum::Bool(true));
    assert_eq!(eval(&list(false), &[Datum::Int4(43)]).unwrap(), Datum::Bool(false));
    assert_eq!(eval(&list(true), &[Datum::Int4(43)]).unwrap(), Datum::Null);
    assert_eq!(eval(&list(true), &[Datum::Null]).unwrap(), Datum::Null);
}

#[test]
fn casts_through_text() {
    let cast = Scalar {
        kind: ScalarKind::IoCast(Box::new(Scalar::constant(Datum::text("pg_class"), Ty::new(oid::TEXT)))),
        ty: Ty::new(oid::REGCLASS),
        pos: None,
    };
    assert!(compile(&cast).as_const().is_none(), "regclass depends on the catalog");
    assert_eq!(eval(&cast, &[]).unwrap(), Datum::Oid(1259));
    let back = Scalar { kind: ScalarKind::IoCast(Box::new(cast)), ty: Ty::new(oid::TEXT), pos: None };
    assert_eq!(eval(&back, &[]).unwrap(), Datum::text("pg_class"));
}

/// A guard against slow dispatch: hundreds of nanoseconds a call would be a defect.
#[test]
fn a_call_costs_nanoseconds() {
    let sum = compile(&op("+", column(0, oid::INT4), column(1, oid::INT4)));
    let row = vec![Datum::Int4(1), Datum::Int4(2)];
    let rounds = 20_000;
    // The best of several runs: the machine may be busy with something else.
    let run = || {
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            std::hint::black_box(sum.eval(std::hint::black_box(&row), &[], EvalEnv::detached()).unwrap());
        }
        start.elapsed().as_nanos() / rounds
    };
    let nanos = (0..10).map(|_| run()).min().unwrap();
    println!("int4 + int4: {nanos} ns");
    assert!(nanos < 2_000, "{nanos} ns");
}
