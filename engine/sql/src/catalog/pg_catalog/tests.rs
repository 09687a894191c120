use std::sync::Arc;

use shardforge_types::oid;

use super::*;
use crate::catalog::builtin::{TypeKind, builtin, system_relations};
use crate::catalog::well_known::{BOOTSTRAP_ROLE, POSTGRES_DATABASE, PUBLIC};
use crate::catalog::{
    Buckets, CheckDesc, Cluster, ColumnDesc, ColumnStats, DatabaseDesc, DefaultDesc, IndexColumn, IndexDesc,
    IndexKey, IndexState, NotNull, Persistence, Relation, RoleDesc, SchemaDesc, SequenceDesc, StorageId,
    TableDesc, TableKey, TableStats, ViewDesc,
};

fn column(name: &str, ty: Oid) -> ColumnDesc {
    let collation = builtin().type_by_oid(ty).map_or(Oid(0), |t| t.collation);
    ColumnDesc {
        name: name.into(),
        ty,
        typmod: -1,
        collation,
        dropped: false,
        not_null: None,
        default: None,
        missing: None,
        identity: None,
        generated: false,
    }
}

fn index(oid: u32, name: &str, keys: &[(IndexKey, Oid)]) -> IndexDesc {
    let key = |(key, ty): &(IndexKey, Oid)| IndexColumn {
        key: key.clone(),
        ty: *ty,
        desc: false,
        nulls_first: false,
    };
    IndexDesc {
        oid: Oid(oid),
        name: name.into(),
        storage: StorageId(oid),
        columns: keys.iter().map(key).collect(),
        include: Vec::new(),
        unique: false,
        nulls_not_distinct: false,
        primary: false,
        constraint: None,
        deferrable: false,
        initially_deferred: false,
        predicate: None,
        state: IndexState::Public,
        clustered: false,
        buckets: Buckets::ONE,
        options: Vec::new(),
    }
}

/// What these statements make:
/// ```sql
/// CREATE TABLE item (id int PRIMARY KEY, name varchar(20) NOT NULL DEFAULT 'x', price numeric(10,2) CHECK (price > 0));
/// CREATE UNIQUE INDEX item_lower ON item (lower(name) , price DESC) WHERE price > 1 AND id < 5;
/// CREATE VIEW cheap AS SELECT id FROM item; CREATE SEQUENCE counter;
/// ```
pub(crate) fn sample() -> CatalogSnapshot {
    let mut catalog = CatalogSnapshot::default();
    catalog.database = POSTGRES_DATABASE;
    let mut cluster = Cluster::default();
    let database = DatabaseDesc {
        oid: POSTGRES_DATABASE,
        name: "postgres".into(),
        owner: BOOTSTRAP_ROLE,
        allow_connections: true,
        is_template: false,
    };
    cluster.databases.insert(database.oid, Arc::new(database));
    let role = |oid, name: &str, superuser| RoleDesc {
        oid: Oid(oid),
        name: name.into(),
        password: None,
        superuser,
        inherit: true,
        create_role: superuser,
        create_db: superuser,
        login: true,
        replication: superuser,
        bypass_rls: superuser,
        connection_limit: -1,
        member_of: Vec::new(),
        valid_until: None,
    };
    for role in [role(10, "postgres", true), role(16390, "joe", false)] {
        cluster.roles.insert(role.oid, Arc::new(role));
    }
    catalog.cluster = Arc::new(cluster);
    for (oid, name) in
        [(PG_CATALOG, "pg_catalog"), (PUBLIC, "public"), (INFORMATION_SCHEMA, "information_schema")]
    {
        catalog.schemas.insert(oid, Arc::new(SchemaDesc { oid, name: name.into(), owner: BOOTSTRAP_ROLE }));
    }
    catalog.put_relation(Relation::Table(Arc::new(item())));
    catalog.put_relation(Relation::View(Arc::new(ViewDesc {
        oid: Oid(16410),
        row_type: Oid(16411),
        schema: PUBLIC,
        name: "cheap".into(),
        owner: BOOTSTRAP_ROLE,
        version: 1,
        columns: vec![("id".into(), oid::INT4, -1, Oid(0))],
        search_path: vec![PUBLIC],
        depends_on: Vec::new(),
        sql: "SELECT id FROM item".into(),
    })));
    catalog.put_relation(Relation::Sequence(Arc::new(SequenceDesc {
        oid: Oid(16412),
        schema: PUBLIC,
        name: "counter".into(),
        owner: BOOTSTRAP_ROLE,
        version: 1,
        generation: 0,
        ty: oid::INT8,
        start: 1,
        increment: 1,
        min: 1,
        max: i64::MAX,
        cache: 1,
        cycle: false,
        owned_by: None,
    })));
    catalog.comments.insert((Oid(1259), Oid(16400), 0), "things for sale".into());
    catalog.comments.insert((Oid(1259), Oid(16400), 2), "what it is called".into());
    let stats = ColumnStats {
        attnum: 1,
        n_distinct: -1.0,
        most_common: vec![("1".into(), 0.5)],
        ..ColumnStats::default()
    };
    let stats = TableStats { rows: 2.0, bytes: 100.0, columns: vec![stats] };
    catalog.stats.insert(Oid(16400), Arc::new(stats));
    catalog
}

fn item() -> TableDesc {
    let not_null = |oid, name: &str| Some(NotNull { oid: Oid(oid), name: name.into() });
    let id = ColumnDesc { not_null: not_null(16420, "item_id_not_null"), ..column("id", oid::INT4) };
    let name = ColumnDesc {
        typmod: 24,
        not_null: not_null(16421, "item_name_not_null"),
        default: Some(DefaultDesc { oid: Oid(16422), sql: "'x'::character varying".into() }),
        ..column("name", oid::VARCHAR)
    };
    let price = ColumnDesc { typmod: (10 << 16 | 2) + 4, ..column("price", oid::NUMERIC) };
    let mut primary = index(16403, "item_pkey", &[(IndexKey::Column(1), oid::INT4)]);
    (primary.unique, primary.primary, primary.constraint) = (true, true, Some(Oid(16404)));
    let lower = (IndexKey::Expression("lower((name)::text)".into()), oid::TEXT);
    let mut partial = index(16405, "item_lower", &[lower, (IndexKey::Column(3), oid::NUMERIC)]);
    partial.unique = true;
    (partial.columns[1].desc, partial.columns[1].nulls_first) = (true, true);
    partial.predicate = Some("((price > (1)::numeric) AND (id < 5))".into());
    TableDesc {
        oid: Oid(16400),
        row_type: Oid(16402),
        array_type: Oid(16401),
        schema: PUBLIC,
        name: "item".into(),
        owner: BOOTSTRAP_ROLE,
        version: 1,
        persistence: Persistence::Permanent,
        columns: vec![id, name, price],
        storage: StorageId(16400),
        key: TableKey::Primary,
        indexes: vec![primary, partial],
        checks: vec![CheckDesc {
            oid: Oid(16423),
            name: "item_price_check".into(),
            sql: "(price > (0)::numeric)".into(),
            validated: true,
        }],
        foreign_keys: Vec::new(),
        options: Vec::new(),
        buckets: Buckets::ONE,
    }
}

/// A session of the superuser with a few things going on.
struct Superuser;

impl SessionView for Superuser {
    fn user(&self) -> Oid {
        BOOTSTRAP_ROLE
    }

    fn search_path(&self) -> Vec<Oid> {
        vec![PG_CATALOG, PUBLIC]
    }

    fn setting(&self, name: &str) -> Option<String> {
        (name == "work_mem").then(|| "8192".to_owned())
    }

    fn activity(&self) -> Vec<Activity> {
        vec![Activity {
            pid: 7,
            database: POSTGRES_DATABASE,
            user: BOOTSTRAP_ROLE,
            state: "active",
            ..Activity::default()
        }]
    }

    fn prepared_statements(&self) -> Vec<PreparedStatement> {
        vec![PreparedStatement {
            name: "p".into(),
            parameter_types: vec![oid::INT4],
            ..PreparedStatement::default()
        }]
    }

    fn cursors(&self) -> Vec<Cursor> {
        vec![Cursor { name: "c".into(), ..Cursor::default() }]
    }

    fn locks(&self) -> Vec<HeldLock> {
        vec![HeldLock { locktype: "relation", relation: Some(Oid(16400)), ..HeldLock::default() }]
    }
}

/// The rows of a relation, wanted columns and hints by name.
fn select(schema: Oid, relation: &str, columns: &[&str], hints: &[(&str, Datum)]) -> Vec<Vec<Datum>> {
    let catalog = sample();
    let relation = system_relation_by_name(schema, relation).expect("a system relation");
    let attnum =
        |name: &str| i16::try_from(relation.column(name).expect("a column") + 1).expect("few columns");
    let columns: Vec<i16> = columns.iter().map(|c| attnum(c)).collect();
    let hint =
        |(column, value): &(&str, Datum)| Equality { attnum: attnum(column), values: vec![value.clone()] };
    let equalities: Vec<Equality> = hints.iter().map(hint).collect();
    scan(&SystemScan {
        catalog: &catalog,
        session: &Superuser,
        relation: relation.oid,
        columns: &columns,
        equalities: &equalities,
    })
}

fn shown(rows: &[Vec<Datum>]) -> Vec<String> {
    fn value(d: &Datum) -> String {
        match d {
            Datum::Null => "~".into(),
            Datum::Bool(b) => if *b { "t" } else { "f" }.into(),
            Datum::Char(c) => char::from(*c).to_string(),
            Datum::Text(text) => text.to_string(),
            Datum::Float4(n) => n.to_string(),
            Datum::Array(array) => {
                format!("{{{}}}", array.elements.iter().map(value).collect::<Vec<_>>().join(","))
            }
            other => other.as_i64().map_or_else(|| format!("{other:?}"), |n| n.to_string()),
        }
    }
    rows.iter().map(|row| row.iter().map(value).collect::<Vec<_>>().join("|")).collect()
}

/// Whether a value is of the representation that the column's type has.
fn fits(value: &Datum, ty: Oid) -> bool {
    let desc = builtin().type_by_oid(ty).expect("a known type");
    match value {
        Datum::Null => true,
        _ if desc.kind == TypeKind::Domain => fits(value, desc.basetype),
        Datum::Bool(_) => ty == oid::BOOL,
        Datum::Int2(_) => ty == oid::INT2,
        Datum::Int4(_) => ty == oid::INT4,
        Datum::Int8(_) => ty == oid::INT8,
        Datum::Float4(_) => ty == oid::FLOAT4,
        Datum::Float8(_) => ty == oid::FLOAT8,
        Datum::Char(_) => ty == oid::CHAR,
        Datum::Oid(_) => matches!(ty, oid::OID | oid::XID | oid::REGPROC | oid::REGTYPE),
        Datum::Text(_) => {
            matches!(ty, oid::TEXT | oid::NAME | oid::VARCHAR | oid::PG_NODE_TREE | oid::ACLITEM | oid::INET)
        }
        Datum::Timestamptz(_) => ty == oid::TIMESTAMPTZ,
        Datum::Interval(_) => ty == oid::INTERVAL,
        Datum::Array(array) => {
            ty == oid::ANYARRAY
                || (array.elem == desc.elem && array.elements.iter().all(|e| fits(e, array.elem)))
        }
        _ => false,
    }
}

#[test]
fn every_relation_can_be_read() {
    let catalog = sample();
    for relation in system_relations().iter().filter(|r| matches!(r.kind, b'r' | b'v')) {
        let columns: Vec<i16> = (1..).take(relation.columns.len()).collect();
        let rows = scan(&SystemScan {
            catalog: &catalog,
            session: &Superuser,
            relation: relation.oid,
            columns: &columns,
            equalities: &[],
        });
        for row in rows {
            for (value, column) in row.iter().zip(&relation.columns) {
                assert!(fits(value, column.ty), "{}.{} = {value:?}", relation.name, column.name);
                assert!(!value.is_null() || !column.not_null, "{}.{} is null", relation.name, column.name);
            }
        }
    }
}

#[test]
fn classes_by_hint() {
    let columns = ["oid", "relname", "relkind", "relnatts", "relchecks", "reltuples"];
    let user = select(PG_CATALOG, "pg_class", &columns, &[("relnamespace", Datum::Oid(PUBLIC.0))]);
    assert_eq!(
        shown(&user),
        [
            "16400|item|r|3|1|2",
            "16403|item_pkey|i|1|0|2",
            "16405|item_lower|i|2|0|2",
            "16410|cheap|v|1|0|-1",
            "16412|counter|S|3|0|1",
        ]
    );
    let found = select(PG_CATALOG, "pg_class", &["oid"], &[("relname", Datum::text("item_pkey"))]);
    assert_eq!(shown(&found), ["16403"]);
    let found = select(PG_CATALOG, "pg_class", &["relname"], &[("oid", Datum::Oid(1259))]);
    assert_eq!(shown(&found), ["pg_class"]);
}

#[test]
fn columns_of_a_table() {
    let columns =
        ["attnum", "attname", "atttypid", "atttypmod", "attlen", "attnotnull", "atthasdef", "attcollation"];
    let found = select(PG_CATALOG, "pg_attribute", &columns, &[("attrelid", Datum::Oid(16400))]);
    assert_eq!(
        shown(&found[6..]),
        ["1|id|23|-1|4|t|f|0", "2|name|1043|24|-1|t|t|100", "3|price|1700|655366|-1|f|f|0"]
    );
    let found = select(PG_CATALOG, "pg_attribute", &["attname"], &[("attrelid", Datum::Oid(16405))]);
    assert_eq!(shown(&found), ["lower", "price"]);
    let found = select(PG_CATALOG, "pg_attribute", &["attname"], &[("attrelid", Datum::Oid(826))]);
    assert_eq!(found.len(), 6 + 5);
}

#[test]
fn indexes_and_constraints() {
    let columns = ["indexrelid", "indkey", "indclass", "indoption", "indisunique", "indisprimary", "indpred"];
    let found = select(PG_CATALOG, "pg_index", &columns, &[("indrelid", Datum::Oid(16400))]);
    assert_eq!(
        shown(&found),
        [
            "16403|{1}|{1978}|{0}|t|t|~",
            "16405|{0,3}|{3126,3125}|{0,3}|t|f|((price > (1)::numeric) AND (id < 5))",
        ]
    );
    let columns = ["conname", "contype", "conkey", "conindid", "connoinherit"];
    let found = select(PG_CATALOG, "pg_constraint", &columns, &[("conrelid", Datum::Oid(16400))]);
    assert_eq!(
        shown(&found),
        [
            "item_pkey|p|{1}|16403|t",
            "item_id_not_null|n|{1}|0|f",
            "item_name_not_null|n|{2}|0|f",
            "item_price_check|c|{3}|0|f",
        ]
    );
}

#[test]
fn types_procs_and_settings_by_hint() {
    let found = select(PG_CATALOG, "pg_type", &["typname", "typtype"], &[("typrelid", Datum::Oid(16400))]);
    assert_eq!(shown(&found), ["item|c", "_item|b"]);
    let found = select(PG_CATALOG, "pg_type", &["oid"], &[("typname", Datum::text("int4"))]);
    assert_eq!(shown(&found), ["23"]);
    let found = select(PG_CATALOG, "pg_proc", &["oid", "proargtypes"], &[("proname", Datum::text("abs"))]);
    assert_eq!(found.len(), 6);
    let found = select(
        PG_CATALOG,
        "pg_settings",
        &["setting", "unit", "source"],
        &[("name", Datum::text("work_mem"))],
    );
    assert_eq!(shown(&found), ["8192|kB|session"]);
    let found = select(PG_CATALOG, "pg_roles", &["rolname"], &[("oid", Datum::Oid(16390))]);
    assert_eq!(shown(&found), ["joe"]);
}

#[test]
fn views_of_pg_catalog() {
    let found = select(
        PG_CATALOG,
        "pg_tables",
        &["schemaname", "tablename", "tableowner", "hasindexes"],
        &[("tablename", Datum::text("item"))],
    );
    assert_eq!(shown(&found), ["public|item|postgres|t"]);
    let found = select(PG_CATALOG, "pg_indexes", &["indexname"], &[("tablename", Datum::text("item"))]);
    assert_eq!(shown(&found), ["item_pkey", "item_lower"]);
    let found = select(PG_CATALOG, "pg_views", &["definition"], &[("viewname", Datum::text("cheap"))]);
    assert_eq!(shown(&found), [" SELECT id FROM item;"]);
    let found = select(PG_CATALOG, "pg_stats", &["attname", "n_distinct", "most_common_vals"], &[]);
    assert_eq!(shown(&found), ["id|-1|{1}"]);
}

#[test]
fn the_standards_views() {
    let columns = [
        "column_name",
        "ordinal_position",
        "column_default",
        "is_nullable",
        "data_type",
        "character_maximum_length",
        "numeric_precision",
        "numeric_scale",
        "udt_name",
    ];
    let found = select(INFORMATION_SCHEMA, "columns", &columns, &[("table_name", Datum::text("item"))]);
    assert_eq!(
        shown(&found),
        [
            "id|1|~|NO|integer|~|32|0|int4",
            "name|2|'x'::character varying|NO|character varying|20|~|~|varchar",
            "price|3|~|YES|numeric|~|10|2|numeric",
        ]
    );
    let columns = ["constraint_name", "constraint_type"];
    let found =
        select(INFORMATION_SCHEMA, "table_constraints", &columns, &[("table_name", Datum::text("item"))]);
    assert_eq!(
        shown(&found),
        [
            "item_pkey|PRIMARY KEY",
            "item_id_not_null|CHECK",
            "item_name_not_null|CHECK",
            "item_price_check|CHECK"
        ]
    );
    let columns = ["constraint_name", "column_name", "ordinal_position"];
    let found =
        select(INFORMATION_SCHEMA, "key_column_usage", &columns, &[("table_name", Datum::text("item"))]);
    assert_eq!(shown(&found), ["item_pkey|id|1"]);
    let found = select(
        INFORMATION_SCHEMA,
        "tables",
        &["table_name", "table_type"],
        &[("table_schema", Datum::text("public"))],
    );
    assert_eq!(shown(&found), ["item|BASE TABLE", "cheap|VIEW"]);
}
