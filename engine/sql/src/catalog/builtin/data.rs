//! The data files, as `tools/catalog-data.sh` wrote them.

macro_rules! files {
    ($($name:ident = $file:literal;)*) => {
        $(pub(crate) const $name: &str = include_str!(concat!("../../../data/catalog/", $file, ".tsv"));)*

        /// Every data file, by the name of its catalog.
        pub(crate) const FILES: &[(&str, &str)] = &[$(($file, $name)),*];
    };
}

files! {
    PG_AGGREGATE = "pg_aggregate";
    PG_AM = "pg_am";
    PG_AMOP = "pg_amop";
    PG_AMPROC = "pg_amproc";
    PG_ATTRIBUTE = "pg_attribute";
    PG_AUTH_MEMBERS = "pg_auth_members";
    PG_AUTHID = "pg_authid";
    PG_CAST = "pg_cast";
    PG_CLASS = "pg_class";
    PG_COLLATION = "pg_collation";
    PG_CONSTRAINT = "pg_constraint";
    PG_CONVERSION = "pg_conversion";
    PG_DESCRIPTION = "pg_description";
    PG_INDEX = "pg_index";
    PG_LANGUAGE = "pg_language";
    PG_NAMESPACE = "pg_namespace";
    PG_OPCLASS = "pg_opclass";
    PG_OPERATOR = "pg_operator";
    PG_OPFAMILY = "pg_opfamily";
    PG_PROC = "pg_proc";
    PG_RANGE = "pg_range";
    PG_SETTINGS = "pg_settings";
    PG_SHDESCRIPTION = "pg_shdescription";
    PG_TABLESPACE = "pg_tablespace";
    PG_TS_CONFIG = "pg_ts_config";
    PG_TS_CONFIG_MAP = "pg_ts_config_map";
    PG_TS_DICT = "pg_ts_dict";
    PG_TS_PARSER = "pg_ts_parser";
    PG_TS_TEMPLATE = "pg_ts_template";
    PG_TYPE = "pg_type";
    VIEW_DEFINITIONS = "view_definitions";
}
