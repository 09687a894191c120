//! PostgreSQL's object identifiers, and the fixed ones of its built-in types.
//!
//! The numbers are part of the protocol: a client library decides by them how to decode a column, so they are
//! PostgreSQL's own (`pg_type.oid` of PostgreSQL 18). An array type is named after its element with `_ARRAY`.

use std::fmt;

/// An object identifier: the number by which the catalogs and the protocol name a type, table, function, ...
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Oid(pub u32);

impl Oid {
    /// No object (`InvalidOid`): an unspecified parameter type, a type without an array type, ...
    pub const INVALID: Oid = Oid(0);

    /// Whether this names an object at all.
    pub fn is_valid(self) -> bool {
        self.0 != 0
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl From<u32> for Oid {
    fn from(value: u32) -> Oid {
        Oid(value)
    }
}

/// `bool`.
pub const BOOL: Oid = Oid(16);
/// `bytea`.
pub const BYTEA: Oid = Oid(17);
/// `"char"`: one byte, not `char(n)` (that is [`BPCHAR`]).
pub const CHAR: Oid = Oid(18);
/// `name`.
pub const NAME: Oid = Oid(19);
/// `int8`.
pub const INT8: Oid = Oid(20);
/// `int2`.
pub const INT2: Oid = Oid(21);
/// `int2vector`.
pub const INT2VECTOR: Oid = Oid(22);
/// `int4`.
pub const INT4: Oid = Oid(23);
/// `regproc`.
pub const REGPROC: Oid = Oid(24);
/// `text`.
pub const TEXT: Oid = Oid(25);
/// `oid`.
pub const OID: Oid = Oid(26);
/// `tid`.
pub const TID: Oid = Oid(27);
/// `xid`.
pub const XID: Oid = Oid(28);
/// `cid`.
pub const CID: Oid = Oid(29);
/// `oidvector`.
pub const OIDVECTOR: Oid = Oid(30);
/// `pg_ddl_command`.
pub const PG_DDL_COMMAND: Oid = Oid(32);
/// `json`.
pub const JSON: Oid = Oid(114);
/// `xml`.
pub const XML: Oid = Oid(142);
/// Array of `xml`.
pub const XML_ARRAY: Oid = Oid(143);
/// `pg_node_tree`.
pub const PG_NODE_TREE: Oid = Oid(194);
/// Array of `json`.
pub const JSON_ARRAY: Oid = Oid(199);
/// Array of `pg_type`.
pub const PG_TYPE_ARRAY: Oid = Oid(210);
/// `table_am_handler`.
pub const TABLE_AM_HANDLER: Oid = Oid(269);
/// Array of `pg_attribute`.
pub const PG_ATTRIBUTE_ARRAY: Oid = Oid(270);
/// Array of `xid8`.
pub const XID8_ARRAY: Oid = Oid(271);
/// Array of `pg_proc`.
pub const PG_PROC_ARRAY: Oid = Oid(272);
/// Array of `pg_class`.
pub const PG_CLASS_ARRAY: Oid = Oid(273);
/// `index_am_handler`.
pub const INDEX_AM_HANDLER: Oid = Oid(325);
/// `point`.
pub const POINT: Oid = Oid(600);
/// `lseg`.
pub const LSEG: Oid = Oid(601);
/// `path`.
pub const PATH: Oid = Oid(602);
/// `box`.
pub const BOX: Oid = Oid(603);
/// `polygon`.
pub const POLYGON: Oid = Oid(604);
/// `line`.
pub const LINE: Oid = Oid(628);
/// Array of `line`.
pub const LINE_ARRAY: Oid = Oid(629);
/// `cidr`.
pub const CIDR: Oid = Oid(650);
/// Array of `cidr`.
pub const CIDR_ARRAY: Oid = Oid(651);
/// `float4`.
pub const FLOAT4: Oid = Oid(700);
/// `float8`.
pub const FLOAT8: Oid = Oid(701);
/// `unknown`.
pub const UNKNOWN: Oid = Oid(705);
/// `circle`.
pub const CIRCLE: Oid = Oid(718);
/// Array of `circle`.
pub const CIRCLE_ARRAY: Oid = Oid(719);
/// `macaddr8`.
pub const MACADDR8: Oid = Oid(774);
/// Array of `macaddr8`.
pub const MACADDR8_ARRAY: Oid = Oid(775);
/// `money`.
pub const MONEY: Oid = Oid(790);
/// Array of `money`.
pub const MONEY_ARRAY: Oid = Oid(791);
/// `macaddr`.
pub const MACADDR: Oid = Oid(829);
/// `inet`.
pub const INET: Oid = Oid(869);
/// Array of `bool`.
pub const BOOL_ARRAY: Oid = Oid(1000);
/// Array of `bytea`.
pub const BYTEA_ARRAY: Oid = Oid(1001);
/// Array of `char`.
pub const CHAR_ARRAY: Oid = Oid(1002);
/// Array of `name`.
pub const NAME_ARRAY: Oid = Oid(1003);
/// Array of `int2`.
pub const INT2_ARRAY: Oid = Oid(1005);
/// Array of `int2vector`.
pub const INT2VECTOR_ARRAY: Oid = Oid(1006);
/// Array of `int4`.
pub const INT4_ARRAY: Oid = Oid(1007);
/// Array of `regproc`.
pub const REGPROC_ARRAY: Oid = Oid(1008);
/// Array of `text`.
pub const TEXT_ARRAY: Oid = Oid(1009);
/// Array of `tid`.
pub const TID_ARRAY: Oid = Oid(1010);
/// Array of `xid`.
pub const XID_ARRAY: Oid = Oid(1011);
/// Array of `cid`.
pub const CID_ARRAY: Oid = Oid(1012);
/// Array of `oidvector`.
pub const OIDVECTOR_ARRAY: Oid = Oid(1013);
/// Array of `bpchar`.
pub const BPCHAR_ARRAY: Oid = Oid(1014);
/// Array of `varchar`.
pub const VARCHAR_ARRAY: Oid = Oid(1015);
/// Array of `int8`.
pub const INT8_ARRAY: Oid = Oid(1016);
/// Array of `point`.
pub const POINT_ARRAY: Oid = Oid(1017);
/// Array of `lseg`.
pub const LSEG_ARRAY: Oid = Oid(1018);
/// Array of `path`.
pub const PATH_ARRAY: Oid = Oid(1019);
/// Array of `box`.
pub const BOX_ARRAY: Oid = Oid(1020);
/// Array of `float4`.
pub const FLOAT4_ARRAY: Oid = Oid(1021);
/// Array of `float8`.
pub const FLOAT8_ARRAY: Oid = Oid(1022);
/// Array of `polygon`.
pub const POLYGON_ARRAY: Oid = Oid(1027);
/// Array of `oid`.
pub const OID_ARRAY: Oid = Oid(1028);
/// `aclitem`.
pub const ACLITEM: Oid = Oid(1033);
/// Array of `aclitem`.
pub const ACLITEM_ARRAY: Oid = Oid(1034);
/// Array of `macaddr`.
pub const MACADDR_ARRAY: Oid = Oid(1040);
/// Array of `inet`.
pub const INET_ARRAY: Oid = Oid(1041);
/// `bpchar`.
pub const BPCHAR: Oid = Oid(1042);
/// `varchar`.
pub const VARCHAR: Oid = Oid(1043);
/// `date`.
pub const DATE: Oid = Oid(1082);
/// `time`.
pub const TIME: Oid = Oid(1083);
/// `timestamp`.
pub const TIMESTAMP: Oid = Oid(1114);
/// Array of `timestamp`.
pub const TIMESTAMP_ARRAY: Oid = Oid(1115);
/// Array of `date`.
pub const DATE_ARRAY: Oid = Oid(1182);
/// Array of `time`.
pub const TIME_ARRAY: Oid = Oid(1183);
/// `timestamptz`.
pub const TIMESTAMPTZ: Oid = Oid(1184);
/// Array of `timestamptz`.
pub const TIMESTAMPTZ_ARRAY: Oid = Oid(1185);
/// `interval`.
pub const INTERVAL: Oid = Oid(1186);
/// Array of `interval`.
pub const INTERVAL_ARRAY: Oid = Oid(1187);
/// Array of `numeric`.
pub const NUMERIC_ARRAY: Oid = Oid(1231);
/// Array of `cstring`.
pub const CSTRING_ARRAY: Oid = Oid(1263);
/// `timetz`.
pub const TIMETZ: Oid = Oid(1266);
/// Array of `timetz`.
pub const TIMETZ_ARRAY: Oid = Oid(1270);
/// `bit`.
pub const BIT: Oid = Oid(1560);
/// Array of `bit`.
pub const BIT_ARRAY: Oid = Oid(1561);
/// `varbit`.
pub const VARBIT: Oid = Oid(1562);
/// Array of `varbit`.
pub const VARBIT_ARRAY: Oid = Oid(1563);
/// `numeric`.
pub const NUMERIC: Oid = Oid(1700);
/// `refcursor`.
pub const REFCURSOR: Oid = Oid(1790);
/// Array of `refcursor`.
pub const REFCURSOR_ARRAY: Oid = Oid(2201);
/// `regprocedure`.
pub const REGPROCEDURE: Oid = Oid(2202);
/// `regoper`.
pub const REGOPER: Oid = Oid(2203);
/// `regoperator`.
pub const REGOPERATOR: Oid = Oid(2204);
/// `regclass`.
pub const REGCLASS: Oid = Oid(2205);
/// `regtype`.
pub const REGTYPE: Oid = Oid(2206);
/// Array of `regprocedure`.
pub const REGPROCEDURE_ARRAY: Oid = Oid(2207);
/// Array of `regoper`.
pub const REGOPER_ARRAY: Oid = Oid(2208);
/// Array of `regoperator`.
pub const REGOPERATOR_ARRAY: Oid = Oid(2209);
/// Array of `regclass`.
pub const REGCLASS_ARRAY: Oid = Oid(2210);
/// Array of `regtype`.
pub const REGTYPE_ARRAY: Oid = Oid(2211);
/// `record`.
pub const RECORD: Oid = Oid(2249);
/// `cstring`.
pub const CSTRING: Oid = Oid(2275);
/// `any`.
pub const ANY: Oid = Oid(2276);
/// `anyarray`.
pub const ANYARRAY: Oid = Oid(2277);
/// `void`.
pub const VOID: Oid = Oid(2278);
/// `trigger`.
pub const TRIGGER: Oid = Oid(2279);
/// `language_handler`.
pub const LANGUAGE_HANDLER: Oid = Oid(2280);
/// `internal`.
pub const INTERNAL: Oid = Oid(2281);
/// `anyelement`.
pub const ANYELEMENT: Oid = Oid(2283);
/// Array of `record`.
pub const RECORD_ARRAY: Oid = Oid(2287);
/// `anynonarray`.
pub const ANYNONARRAY: Oid = Oid(2776);
/// Array of `txid_snapshot`.
pub const TXID_SNAPSHOT_ARRAY: Oid = Oid(2949);
/// `uuid`.
pub const UUID: Oid = Oid(2950);
/// Array of `uuid`.
pub const UUID_ARRAY: Oid = Oid(2951);
/// `txid_snapshot`.
pub const TXID_SNAPSHOT: Oid = Oid(2970);
/// `fdw_handler`.
pub const FDW_HANDLER: Oid = Oid(3115);
/// `pg_lsn`.
pub const PG_LSN: Oid = Oid(3220);
/// Array of `pg_lsn`.
pub const PG_LSN_ARRAY: Oid = Oid(3221);
/// `tsm_handler`.
pub const TSM_HANDLER: Oid = Oid(3310);
/// `pg_ndistinct`.
pub const PG_NDISTINCT: Oid = Oid(3361);
/// `pg_dependencies`.
pub const PG_DEPENDENCIES: Oid = Oid(3402);
/// `anyenum`.
pub const ANYENUM: Oid = Oid(3500);
/// `tsvector`.
pub const TSVECTOR: Oid = Oid(3614);
/// `tsquery`.
pub const TSQUERY: Oid = Oid(3615);
/// `gtsvector`.
pub const GTSVECTOR: Oid = Oid(3642);
/// Array of `tsvector`.
pub const TSVECTOR_ARRAY: Oid = Oid(3643);
/// Array of `gtsvector`.
pub const GTSVECTOR_ARRAY: Oid = Oid(3644);
/// Array of `tsquery`.
pub const TSQUERY_ARRAY: Oid = Oid(3645);
/// `regconfig`.
pub const REGCONFIG: Oid = Oid(3734);
/// Array of `regconfig`.
pub const REGCONFIG_ARRAY: Oid = Oid(3735);
/// `regdictionary`.
pub const REGDICTIONARY: Oid = Oid(3769);
/// Array of `regdictionary`.
pub const REGDICTIONARY_ARRAY: Oid = Oid(3770);
/// `jsonb`.
pub const JSONB: Oid = Oid(3802);
/// Array of `jsonb`.
pub const JSONB_ARRAY: Oid = Oid(3807);
/// `anyrange`.
pub const ANYRANGE: Oid = Oid(3831);
/// `event_trigger`.
pub const EVENT_TRIGGER: Oid = Oid(3838);
/// `int4range`.
pub const INT4RANGE: Oid = Oid(3904);
/// Array of `int4range`.
pub const INT4RANGE_ARRAY: Oid = Oid(3905);
/// `numrange`.
pub const NUMRANGE: Oid = Oid(3906);
/// Array of `numrange`.
pub const NUMRANGE_ARRAY: Oid = Oid(3907);
/// `tsrange`.
pub const TSRANGE: Oid = Oid(3908);
/// Array of `tsrange`.
pub const TSRANGE_ARRAY: Oid = Oid(3909);
/// `tstzrange`.
pub const TSTZRANGE: Oid = Oid(3910);
/// Array of `tstzrange`.
pub const TSTZRANGE_ARRAY: Oid = Oid(3911);
/// `daterange`.
pub const DATERANGE: Oid = Oid(3912);
/// Array of `daterange`.
pub const DATERANGE_ARRAY: Oid = Oid(3913);
/// `int8range`.
pub const INT8RANGE: Oid = Oid(3926);
/// Array of `int8range`.
pub const INT8RANGE_ARRAY: Oid = Oid(3927);
/// `jsonpath`.
pub const JSONPATH: Oid = Oid(4072);
/// Array of `jsonpath`.
pub const JSONPATH_ARRAY: Oid = Oid(4073);
/// `regnamespace`.
pub const REGNAMESPACE: Oid = Oid(4089);
/// Array of `regnamespace`.
pub const REGNAMESPACE_ARRAY: Oid = Oid(4090);
/// `regrole`.
pub const REGROLE: Oid = Oid(4096);
/// Array of `regrole`.
pub const REGROLE_ARRAY: Oid = Oid(4097);
/// `regcollation`.
pub const REGCOLLATION: Oid = Oid(4191);
/// Array of `regcollation`.
pub const REGCOLLATION_ARRAY: Oid = Oid(4192);
/// `int4multirange`.
pub const INT4MULTIRANGE: Oid = Oid(4451);
/// `nummultirange`.
pub const NUMMULTIRANGE: Oid = Oid(4532);
/// `tsmultirange`.
pub const TSMULTIRANGE: Oid = Oid(4533);
/// `tstzmultirange`.
pub const TSTZMULTIRANGE: Oid = Oid(4534);
/// `datemultirange`.
pub const DATEMULTIRANGE: Oid = Oid(4535);
/// `int8multirange`.
pub const INT8MULTIRANGE: Oid = Oid(4536);
/// `anymultirange`.
pub const ANYMULTIRANGE: Oid = Oid(4537);
/// `anycompatiblemultirange`.
pub const ANYCOMPATIBLEMULTIRANGE: Oid = Oid(4538);
/// `pg_brin_bloom_summary`.
pub const PG_BRIN_BLOOM_SUMMARY: Oid = Oid(4600);
/// `pg_brin_minmax_multi_summary`.
pub const PG_BRIN_MINMAX_MULTI_SUMMARY: Oid = Oid(4601);
/// `pg_mcv_list`.
pub const PG_MCV_LIST: Oid = Oid(5017);
/// `pg_snapshot`.
pub const PG_SNAPSHOT: Oid = Oid(5038);
/// Array of `pg_snapshot`.
pub const PG_SNAPSHOT_ARRAY: Oid = Oid(5039);
/// `xid8`.
pub const XID8: Oid = Oid(5069);
/// `anycompatible`.
pub const ANYCOMPATIBLE: Oid = Oid(5077);
/// `anycompatiblearray`.
pub const ANYCOMPATIBLEARRAY: Oid = Oid(5078);
/// `anycompatiblenonarray`.
pub const ANYCOMPATIBLENONARRAY: Oid = Oid(5079);
/// `anycompatiblerange`.
pub const ANYCOMPATIBLERANGE: Oid = Oid(5080);
/// Array of `int4multirange`.
pub const INT4MULTIRANGE_ARRAY: Oid = Oid(6150);
/// Array of `nummultirange`.
pub const NUMMULTIRANGE_ARRAY: Oid = Oid(6151);
/// Array of `tsmultirange`.
pub const TSMULTIRANGE_ARRAY: Oid = Oid(6152);
/// Array of `tstzmultirange`.
pub const TSTZMULTIRANGE_ARRAY: Oid = Oid(6153);
/// Array of `datemultirange`.
pub const DATEMULTIRANGE_ARRAY: Oid = Oid(6155);
/// Array of `int8multirange`.
pub const INT8MULTIRANGE_ARRAY: Oid = Oid(6157);
