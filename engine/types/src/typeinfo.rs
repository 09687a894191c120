//! The fixed facts about PostgreSQL's built-in types that need no catalog: name, array and element type, length.
//!
//! Generated from `pg_type` of PostgreSQL 18; ordered by oid, which [`TypeInfo::of`] relies on. Composite types of
//! the catalogs and user-defined types live in the catalog of the SQL layer.

use crate::oid::{self, Oid};

/// What is fixed about a built-in type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeInfo {
    /// `pg_type.oid`.
    pub oid: Oid,
    /// `pg_type.typname`, such as `int4` or `_int4`.
    pub name: &'static str,
    /// The type of arrays of this type; invalid where there is none.
    pub array: Oid,
    /// The element type of an array type (also of `name`, `point`, `int2vector`, as in `pg_type.typelem`).
    pub elem: Oid,
    /// `pg_type.typlen`: bytes, -1 for variable length, -2 for a C string. RowDescription carries it.
    pub len: i16,
    /// `pg_type.typcategory`: `N` numeric, `S` string, `D` date/time, `A` array, ...
    pub category: u8,
    /// `pg_type.typispreferred`: preferred within its category in overload resolution.
    pub preferred: bool,
}

impl TypeInfo {
    /// The built-in type with this oid.
    pub fn of(oid: Oid) -> Option<&'static TypeInfo> {
        match POSITIONS.get(oid.0 as usize).copied()? {
            0 => None,
            position => Some(&TYPES[position as usize - 1]),
        }
    }

    /// The built-in type with this `typname` (`int4`, not `integer`; `_int4` for its array).
    pub fn by_name(name: &str) -> Option<&'static TypeInfo> {
        TYPES.iter().find(|t| t.name == name)
    }

    /// Whether this is a true array type (`int4[]`; not `name`, which has an element type too).
    pub fn is_array(&self) -> bool {
        self.elem.is_valid() && self.len == -1 && self.category == b'A'
    }

    /// The name by which SQL knows the type: `integer` for `int4`, `text[]` for `_text` (`format_type`, no typmod).
    pub fn sql_name(&self) -> String {
        match TypeInfo::of(self.elem) {
            Some(elem) if self.is_array() && self.name.starts_with('_') => format!("{}[]", elem.sql_name()),
            _ => sql_alias(self.oid).unwrap_or(self.name).to_owned(),
        }
    }
}

/// By oid, the place in [`TYPES`] counted from 1, or 0: types are looked up for every value that is read or printed.
static POSITIONS: [u8; POSITIONS_LEN] = {
    assert!(TYPES.len() < 255);
    let mut positions = [0; POSITIONS_LEN];
    let mut i = 0;
    while i < TYPES.len() {
        positions[TYPES[i].oid.0 as usize] = i as u8 + 1;
        i += 1;
    }
    positions
};
const POSITIONS_LEN: usize = TYPES[TYPES.len() - 1].oid.0 as usize + 1;

/// The element type of an array type, if `ty` is a built-in array type.
pub fn element_type(ty: Oid) -> Option<Oid> {
    TypeInfo::of(ty).filter(|t| t.is_array()).map(|t| t.elem)
}

/// The type of arrays of `ty`, if there is one built in.
pub fn array_type(ty: Oid) -> Option<Oid> {
    TypeInfo::of(ty).map(|t| t.array).filter(|a| a.is_valid())
}

/// The name of a type for messages: the SQL name of a built-in type, else its oid in words.
pub fn type_name(ty: Oid) -> String {
    TypeInfo::of(ty).map_or_else(|| format!("type with OID {ty}"), TypeInfo::sql_name)
}

/// The SQL spelling of those types whose `typname` differs from it.
fn sql_alias(ty: Oid) -> Option<&'static str> {
    Some(match ty {
        oid::BOOL => "boolean",
        oid::CHAR => "\"char\"",
        oid::INT2 => "smallint",
        oid::INT4 => "integer",
        oid::INT8 => "bigint",
        oid::FLOAT4 => "real",
        oid::FLOAT8 => "double precision",
        oid::BPCHAR => "character",
        oid::VARCHAR => "character varying",
        oid::BIT => "bit",
        oid::VARBIT => "bit varying",
        oid::TIME => "time without time zone",
        oid::TIMETZ => "time with time zone",
        oid::TIMESTAMP => "timestamp without time zone",
        oid::TIMESTAMPTZ => "timestamp with time zone",
        oid::ANY => "\"any\"",
        _ => return None,
    })
}

const fn t(
    oid: u32,
    name: &'static str,
    array: u32,
    elem: u32,
    len: i16,
    category: u8,
    preferred: bool,
) -> TypeInfo {
    TypeInfo { oid: Oid(oid), name, array: Oid(array), elem: Oid(elem), len, category, preferred }
}

/// Every built-in base, pseudo, range and multirange type, ordered by oid.
#[rustfmt::skip]
pub static TYPES: &[TypeInfo] = &[
    t(16, "bool", 1000, 0, 1, b'B', true),
    t(17, "bytea", 1001, 0, -1, b'U', false),
    t(18, "char", 1002, 0, 1, b'Z', false),
    t(19, "name", 1003, 18, 64, b'S', false),
    t(20, "int8", 1016, 0, 8, b'N', false),
    t(21, "int2", 1005, 0, 2, b'N', false),
    t(22, "int2vector", 1006, 21, -1, b'A', false),
    t(23, "int4", 1007, 0, 4, b'N', false),
    t(24, "regproc", 1008, 0, 4, b'N', false),
    t(25, "text", 1009, 0, -1, b'S', true),
    t(26, "oid", 1028, 0, 4, b'N', true),
    t(27, "tid", 1010, 0, 6, b'U', false),
    t(28, "xid", 1011, 0, 4, b'U', false),
    t(29, "cid", 1012, 0, 4, b'U', false),
    t(30, "oidvector", 1013, 26, -1, b'A', false),
    t(32, "pg_ddl_command", 0, 0, 8, b'P', false),
    t(114, "json", 199, 0, -1, b'U', false),
    t(142, "xml", 143, 0, -1, b'U', false),
    t(143, "_xml", 0, 142, -1, b'A', false),
    t(194, "pg_node_tree", 0, 0, -1, b'Z', false),
    t(199, "_json", 0, 114, -1, b'A', false),
    t(210, "_pg_type", 0, 71, -1, b'A', false),
    t(269, "table_am_handler", 0, 0, 4, b'P', false),
    t(270, "_pg_attribute", 0, 75, -1, b'A', false),
    t(271, "_xid8", 0, 5069, -1, b'A', false),
    t(272, "_pg_proc", 0, 81, -1, b'A', false),
    t(273, "_pg_class", 0, 83, -1, b'A', false),
    t(325, "index_am_handler", 0, 0, 4, b'P', false),
    t(600, "point", 1017, 701, 16, b'G', false),
    t(601, "lseg", 1018, 600, 32, b'G', false),
    t(602, "path", 1019, 0, -1, b'G', false),
    t(603, "box", 1020, 600, 32, b'G', false),
    t(604, "polygon", 1027, 0, -1, b'G', false),
    t(628, "line", 629, 701, 24, b'G', false),
    t(629, "_line", 0, 628, -1, b'A', false),
    t(650, "cidr", 651, 0, -1, b'I', false),
    t(651, "_cidr", 0, 650, -1, b'A', false),
    t(700, "float4", 1021, 0, 4, b'N', false),
    t(701, "float8", 1022, 0, 8, b'N', true),
    t(705, "unknown", 0, 0, -2, b'X', false),
    t(718, "circle", 719, 0, 24, b'G', false),
    t(719, "_circle", 0, 718, -1, b'A', false),
    t(774, "macaddr8", 775, 0, 8, b'U', false),
    t(775, "_macaddr8", 0, 774, -1, b'A', false),
    t(790, "money", 791, 0, 8, b'N', false),
    t(791, "_money", 0, 790, -1, b'A', false),
    t(829, "macaddr", 1040, 0, 6, b'U', false),
    t(869, "inet", 1041, 0, -1, b'I', true),
    t(1000, "_bool", 0, 16, -1, b'A', false),
    t(1001, "_bytea", 0, 17, -1, b'A', false),
    t(1002, "_char", 0, 18, -1, b'A', false),
    t(1003, "_name", 0, 19, -1, b'A', false),
    t(1005, "_int2", 0, 21, -1, b'A', false),
    t(1006, "_int2vector", 0, 22, -1, b'A', false),
    t(1007, "_int4", 0, 23, -1, b'A', false),
    t(1008, "_regproc", 0, 24, -1, b'A', false),
    t(1009, "_text", 0, 25, -1, b'A', false),
    t(1010, "_tid", 0, 27, -1, b'A', false),
    t(1011, "_xid", 0, 28, -1, b'A', false),
    t(1012, "_cid", 0, 29, -1, b'A', false),
    t(1013, "_oidvector", 0, 30, -1, b'A', false),
    t(1014, "_bpchar", 0, 1042, -1, b'A', false),
    t(1015, "_varchar", 0, 1043, -1, b'A', false),
    t(1016, "_int8", 0, 20, -1, b'A', false),
    t(1017, "_point", 0, 600, -1, b'A', false),
    t(1018, "_lseg", 0, 601, -1, b'A', false),
    t(1019, "_path", 0, 602, -1, b'A', false),
    t(1020, "_box", 0, 603, -1, b'A', false),
    t(1021, "_float4", 0, 700, -1, b'A', false),
    t(1022, "_float8", 0, 701, -1, b'A', false),
    t(1027, "_polygon", 0, 604, -1, b'A', false),
    t(1028, "_oid", 0, 26, -1, b'A', false),
    t(1033, "aclitem", 1034, 0, 16, b'U', false),
    t(1034, "_aclitem", 0, 1033, -1, b'A', false),
    t(1040, "_macaddr", 0, 829, -1, b'A', false),
    t(1041, "_inet", 0, 869, -1, b'A', false),
    t(1042, "bpchar", 1014, 0, -1, b'S', false),
    t(1043, "varchar", 1015, 0, -1, b'S', false),
    t(1082, "date", 1182, 0, 4, b'D', false),
    t(1083, "time", 1183, 0, 8, b'D', false),
    t(1114, "timestamp", 1115, 0, 8, b'D', false),
    t(1115, "_timestamp", 0, 1114, -1, b'A', false),
    t(1182, "_date", 0, 1082, -1, b'A', false),
    t(1183, "_time", 0, 1083, -1, b'A', false),
    t(1184, "timestamptz", 1185, 0, 8, b'D', true),
    t(1185, "_timestamptz", 0, 1184, -1, b'A', false),
    t(1186, "interval", 1187, 0, 16, b'T', true),
    t(1187, "_interval", 0, 1186, -1, b'A', false),
    t(1231, "_numeric", 0, 1700, -1, b'A', false),
    t(1263, "_cstring", 0, 2275, -1, b'A', false),
    t(1266, "timetz", 1270, 0, 12, b'D', false),
    t(1270, "_timetz", 0, 1266, -1, b'A', false),
    t(1560, "bit", 1561, 0, -1, b'V', false),
    t(1561, "_bit", 0, 1560, -1, b'A', false),
    t(1562, "varbit", 1563, 0, -1, b'V', true),
    t(1563, "_varbit", 0, 1562, -1, b'A', false),
    t(1700, "numeric", 1231, 0, -1, b'N', false),
    t(1790, "refcursor", 2201, 0, -1, b'U', false),
    t(2201, "_refcursor", 0, 1790, -1, b'A', false),
    t(2202, "regprocedure", 2207, 0, 4, b'N', false),
    t(2203, "regoper", 2208, 0, 4, b'N', false),
    t(2204, "regoperator", 2209, 0, 4, b'N', false),
    t(2205, "regclass", 2210, 0, 4, b'N', false),
    t(2206, "regtype", 2211, 0, 4, b'N', false),
    t(2207, "_regprocedure", 0, 2202, -1, b'A', false),
    t(2208, "_regoper", 0, 2203, -1, b'A', false),
    t(2209, "_regoperator", 0, 2204, -1, b'A', false),
    t(2210, "_regclass", 0, 2205, -1, b'A', false),
    t(2211, "_regtype", 0, 2206, -1, b'A', false),
    t(2249, "record", 2287, 0, -1, b'P', false),
    t(2275, "cstring", 1263, 0, -2, b'P', false),
    t(2276, "any", 0, 0, 4, b'P', false),
    t(2277, "anyarray", 0, 0, -1, b'P', false),
    t(2278, "void", 0, 0, 4, b'P', false),
    t(2279, "trigger", 0, 0, 4, b'P', false),
    t(2280, "language_handler", 0, 0, 4, b'P', false),
    t(2281, "internal", 0, 0, 8, b'P', false),
    t(2283, "anyelement", 0, 0, 4, b'P', false),
    t(2287, "_record", 0, 2249, -1, b'P', false),
    t(2776, "anynonarray", 0, 0, 4, b'P', false),
    t(2949, "_txid_snapshot", 0, 2970, -1, b'A', false),
    t(2950, "uuid", 2951, 0, 16, b'U', false),
    t(2951, "_uuid", 0, 2950, -1, b'A', false),
    t(2970, "txid_snapshot", 2949, 0, -1, b'U', false),
    t(3115, "fdw_handler", 0, 0, 4, b'P', false),
    t(3220, "pg_lsn", 3221, 0, 8, b'U', false),
    t(3221, "_pg_lsn", 0, 3220, -1, b'A', false),
    t(3310, "tsm_handler", 0, 0, 4, b'P', false),
    t(3361, "pg_ndistinct", 0, 0, -1, b'Z', false),
    t(3402, "pg_dependencies", 0, 0, -1, b'Z', false),
    t(3500, "anyenum", 0, 0, 4, b'P', false),
    t(3614, "tsvector", 3643, 0, -1, b'U', false),
    t(3615, "tsquery", 3645, 0, -1, b'U', false),
    t(3642, "gtsvector", 3644, 0, -1, b'U', false),
    t(3643, "_tsvector", 0, 3614, -1, b'A', false),
    t(3644, "_gtsvector", 0, 3642, -1, b'A', false),
    t(3645, "_tsquery", 0, 3615, -1, b'A', false),
    t(3734, "regconfig", 3735, 0, 4, b'N', false),
    t(3735, "_regconfig", 0, 3734, -1, b'A', false),
    t(3769, "regdictionary", 3770, 0, 4, b'N', false),
    t(3770, "_regdictionary", 0, 3769, -1, b'A', false),
    t(3802, "jsonb", 3807, 0, -1, b'U', false),
    t(3807, "_jsonb", 0, 3802, -1, b'A', false),
    t(3831, "anyrange", 0, 0, -1, b'P', false),
    t(3838, "event_trigger", 0, 0, 4, b'P', false),
    t(3904, "int4range", 3905, 0, -1, b'R', false),
    t(3905, "_int4range", 0, 3904, -1, b'A', false),
    t(3906, "numrange", 3907, 0, -1, b'R', false),
    t(3907, "_numrange", 0, 3906, -1, b'A', false),
    t(3908, "tsrange", 3909, 0, -1, b'R', false),
    t(3909, "_tsrange", 0, 3908, -1, b'A', false),
    t(3910, "tstzrange", 3911, 0, -1, b'R', false),
    t(3911, "_tstzrange", 0, 3910, -1, b'A', false),
    t(3912, "daterange", 3913, 0, -1, b'R', false),
    t(3913, "_daterange", 0, 3912, -1, b'A', false),
    t(3926, "int8range", 3927, 0, -1, b'R', false),
    t(3927, "_int8range", 0, 3926, -1, b'A', false),
    t(4072, "jsonpath", 4073, 0, -1, b'U', false),
    t(4073, "_jsonpath", 0, 4072, -1, b'A', false),
    t(4089, "regnamespace", 4090, 0, 4, b'N', false),
    t(4090, "_regnamespace", 0, 4089, -1, b'A', false),
    t(4096, "regrole", 4097, 0, 4, b'N', false),
    t(4097, "_regrole", 0, 4096, -1, b'A', false),
    t(4191, "regcollation", 4192, 0, 4, b'N', false),
    t(4192, "_regcollation", 0, 4191, -1, b'A', false),
    t(4451, "int4multirange", 6150, 0, -1, b'R', false),
    t(4532, "nummultirange", 6151, 0, -1, b'R', false),
    t(4533, "tsmultirange", 6152, 0, -1, b'R', false),
    t(4534, "tstzmultirange", 6153, 0, -1, b'R', false),
    t(4535, "datemultirange", 6155, 0, -1, b'R', false),
    t(4536, "int8multirange", 6157, 0, -1, b'R', false),
    t(4537, "anymultirange", 0, 0, -1, b'P', false),
    t(4538, "anycompatiblemultirange", 0, 0, -1, b'P', false),
    t(4600, "pg_brin_bloom_summary", 0, 0, -1, b'Z', false),
    t(4601, "pg_brin_minmax_multi_summary", 0, 0, -1, b'Z', false),
    t(5017, "pg_mcv_list", 0, 0, -1, b'Z', false),
    t(5038, "pg_snapshot", 5039, 0, -1, b'U', false),
    t(5039, "_pg_snapshot", 0, 5038, -1, b'A', false),
    t(5069, "xid8", 271, 0, 8, b'U', false),
    t(5077, "anycompatible", 0, 0, 4, b'P', false),
    t(5078, "anycompatiblearray", 0, 0, -1, b'P', false),
    t(5079, "anycompatiblenonarray", 0, 0, 4, b'P', false),
    t(5080, "anycompatiblerange", 0, 0, -1, b'P', false),
    t(6150, "_int4multirange", 0, 4451, -1, b'A', false),
    t(6151, "_nummultirange", 0, 4532, -1, b'A', false),
    t(6152, "_tsmultirange", 0, 4533, -1, b'A', false),
    t(6153, "_tstzmultirange", 0, 4534, -1, b'A', false),
    t(6155, "_datemultirange", 0, 4535, -1, b'A', false),
    t(6157, "_int8multirange", 0, 4536, -1, b'A', false),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_ordered_and_closed() {
        assert!(TYPES.windows(2).all(|w| w[0].oid < w[1].oid));
        for ty in TYPES.iter().filter(|t| t.array.is_valid()) {
            assert_eq!(TypeInfo::of(ty.array).map(|a| a.elem), Some(ty.oid), "{}", ty.name);
        }
    }

    #[test]
    fn sql_names() {
        assert_eq!(type_name(oid::INT4), "integer");
        assert_eq!(type_name(oid::VARCHAR_ARRAY), "character varying[]");
        assert_eq!(type_name(oid::OIDVECTOR), "oidvector");
        assert_eq!(type_name(Oid(424_242)), "type with OID 424242");
        assert_eq!(element_type(oid::NAME), None);
        assert_eq!(element_type(oid::TEXT_ARRAY), Some(oid::TEXT));
    }
}
