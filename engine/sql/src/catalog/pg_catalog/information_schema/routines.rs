//! Functions and procedures.

use shardforge_types::Datum;

use super::columns::standard_name;
use super::{database, yes_or_no};
use crate::catalog::builtin::{ProcDesc, ProcKind, Volatility, builtin};
use crate::catalog::pg_catalog::views::{name_of, names};
use crate::catalog::pg_catalog::{Rows, SystemScan};

pub(super) fn routines(scan: &SystemScan<'_>, rows: &mut Rows) {
    let schemas = names(scan, "pg_namespace", "oid", "nspname");
    let languages = names(scan, "pg_language", "oid", "lanname");
    let found: Vec<&ProcDesc> = match scan.hint("routine_name") {
        Some(names) => names
            .iter()
            .filter_map(Datum::as_str)
            .flat_map(|n| builtin().procs_by_name(n).iter().copied())
            .collect(),
        None => builtin().procs().iter().collect(),
    };
    for proc in found {
        let schema = name_of(&schemas, &Datum::Oid(proc.namespace.0));
        let language = name_of(&languages, &Datum::Oid(proc.lang.0));
        let language = language.as_str().unwrap_or_default();
        let is_procedure = proc.kind == ProcKind::Procedure;
        rows.push(|r| {
            r.set("specific_catalog", database(scan)).set("specific_schema", schema.clone());
            r.set_with("specific_name", || format!("{}_{}", proc.name, proc.oid));
            r.set("routine_catalog", database(scan))
                .set("routine_schema", schema)
                .set("routine_name", proc.name);
            r.set(
                "routine_type",
                match proc.kind {
                    ProcKind::Function => Some("FUNCTION"),
                    ProcKind::Procedure => Some("PROCEDURE"),
                    ProcKind::Aggregate | ProcKind::Window => None,
                },
            );
            if let Some(result) = builtin().type_by_oid(proc.rettype).filter(|_| !is_procedure) {
                r.set_with("data_type", || standard_name(result)).set("type_udt_catalog", database(scan));
                r.set("type_udt_schema", name_of(&schemas, &Datum::Oid(result.namespace.0)));
                r.set("type_udt_name", &*result.name).set("dtd_identifier", "0");
                r.set("is_null_call", yes_or_no(proc.strict));
            }
            r.set("routine_body", if language == "sql" { "SQL" } else { "EXTERNAL" });
            r.set("routine_definition", &*proc.src)
                .set("external_name", (language == "c").then(|| &*proc.src));
            r.set("external_language", language.to_uppercase()).set("parameter_style", "GENERAL");
            r.set("is_deterministic", yes_or_no(proc.volatility == Volatility::Immutable));
            r.set("sql_data_access", "MODIFIES")
                .set("schema_level_routine", "YES")
                .set("max_dynamic_result_sets", 0i32);
            r.set("security_type", "INVOKER").set("as_locator", "NO").set("is_udt_dependent", "NO");
        });
    }
}
