//! The function library against answers recorded from PostgreSQL 18 (`expressions.tsv`, see `record.py`).
//!
//! Each select list is parsed, bound and run by [`plan`], a small executor for the relations that such a statement
//! needs, so that the functions are tested as they are used: through overload resolution, casts and folding.

mod plan;

use std::sync::Arc;

use parking_lot::Mutex;
use shardforge_types::datetime::TimeZone;
use shardforge_types::{IoEnv, Oid, PgError, PgResult};

use crate::bind::{BindContext, bind_statement};
use crate::catalog::well_known::{BOOTSTRAP_ROLE, INFORMATION_SCHEMA, PG_CATALOG, POSTGRES_DATABASE, PUBLIC};
use crate::catalog::{CatalogSnapshot, Cluster, DatabaseDesc, RoleDesc, SchemaDesc};
use crate::exec::env::{EvalEnv, SessionEnv};
use crate::func::random::Random;
use crate::func::to_text;
use crate::ir::StatementKind;

/// A catalog without user objects.
fn catalog() -> CatalogSnapshot {
    let role = RoleDesc {
        oid: BOOTSTRAP_ROLE,
        name: "postgres".to_owned(),
        password: None,
        superuser: true,
        inherit: true,
        create_role: true,
        create_db: true,
        login: true,
        replication: true,
        bypass_rls: true,
        connection_limit: -1,
        member_of: Vec::new(),
        valid_until: None,
    };
    let database = DatabaseDesc {
        oid: POSTGRES_DATABASE,
        name: "postgres".to_owned(),
        owner: BOOTSTRAP_ROLE,
        allow_connections: true,
        is_template: false,
    };
    let schemas =
        [(PG_CATALOG, "pg_catalog"), (PUBLIC, "public"), (INFORMATION_SCHEMA, "information_schema")];
    let schema = |(oid, name): (Oid, &str)| {
        (oid, Arc::new(SchemaDesc { oid, name: name.to_owned(), owner: BOOTSTRAP_ROLE }))
    };
    let cluster = Cluster {
        databases: [(POSTGRES_DATABASE, Arc::new(database))].into_iter().collect(),
        roles: [(BOOTSTRAP_ROLE, Arc::new(role))].into_iter().collect(),
    };
    let mut catalog = CatalogSnapshot::empty(POSTGRES_DATABASE, 0, Arc::new(cluster));
    catalog.schemas = schemas.into_iter().map(schema).collect();
    catalog
}

/// The environment that the answers were recorded in.
fn env() -> EvalEnv {
    let detached = EvalEnv::detached();
    let session = &detached.session;
    EvalEnv {
        io: Arc::new(IoEnv {
            time_zone: TimeZone::by_name("America/New_York").expect("a known time zone"),
            ..IoEnv::default()
        }),
        catalog: Arc::new(catalog()),
        search_path: Arc::new([PG_CATALOG, PUBLIC]),
        session: Arc::new(SessionEnv {
            session_user: BOOTSTRAP_ROLE,
            backend_pid: 1,
            temp_schema: None,
            client: None,
            server: None,
            settings: session.settings.clone(),
            sequences: session.sequences.clone(),
            host: session.host.clone(),
            random: Mutex::new(Random::from_seed(1)),
        }),
        user: BOOTSTRAP_ROLE,
        ..detached.clone()
    }
}

/// Runs a select list and writes its rows as `record.py` does.
fn answer(expression: &str, env: &EvalEnv) -> PgResult<String> {
    let sql = format!("SELECT {expression}");
    let parsed = crate::parse::parse(&sql)?;
    let bound = bind_statement(
        &parsed[0].stmt,
        &BindContext {
            catalog: &env.catalog,
            search_path: &env.search_path,
            user: env.user,
            database: "postgres",
            io: &env.io,
            param_types: Vec::new(),
            temp_schema: None,
        },
    )
    .map_err(|unbound| unbound.error)?;
    let StatementKind::Query(rel) = &bound.kind else { return Err(PgError::internal("not a query")) };
    let result = plan::run(rel, env)?;
    let mut rows = Vec::new();
    for row in &result.rows {
        let mut columns = Vec::new();
        for output in &bound.output {
            let at = result.cols.iter().position(|col| *col == output.col.id);
            let value = &row[at.ok_or_else(|| PgError::internal("an output column has no place"))?];
            columns.push(if value.is_null() {
                "\\N".to_owned()
            } else {
                to_text(output.col.ty.oid, value, env)?
            });
        }
        rows.push(columns.join("|"));
    }
    Ok(rows.join(";"))
}

#[test]
fn answers_are_those_of_postgresql() {
    let env = env();
    let (mut lines, mut wrong) = (0, Vec::new());
    for line in include_str!("expressions.tsv").lines() {
        let Some((expression, expected)) = line.split_once('\t').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        lines += 1;
        let found = match answer(expression, &env) {
            Ok(text) => text.replace('\t', "\\t"),
            Err(error) => format!("!{} {}", error.sqlstate, error.message),
        };
        if found != expected {
            wrong.push(format!("{expression}\n   expected {expected}\n   found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {lines} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// `setseed` makes the sequence that PostgreSQL makes.
#[test]
fn random_numbers_repeat() {
    let mut random = Random::from_fraction(0.5);
    assert_eq!(random.next_f64(), 0.985_167_717_534_799_9);
    assert_eq!(random.next_f64(), 0.825_301_858_027_981);
    assert_eq!(random.in_range(1, 1000), 133);
    assert_eq!(random.next_normal(), 0.478_213_857_328_245_95);
}
