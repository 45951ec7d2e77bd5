//! The built-in types, by OID.

use super::JsonType;

/// The representation of a built-in type; `None` for those omitted and for types that are not built in.
///
/// The list is explicit, so that a type of a future PostgreSQL is not guessed. Omitted on purpose: `regclass`
/// and the like and `aclitem`, whose output contains names that can change and depend on `search_path`;
/// `int2vector` and `oidvector`, arrays printed without braces and meant for catalogs; true arrays, whose
/// elements' type decides.
///
/// Source: `src/include/catalog/pg_type.dat`; these OIDs never change.
pub(super) fn kind(type_oid: u32) -> Option<JsonType> {
    match type_oid {
        // int8, int2, int4
        20 | 21 | 23 => Some(JsonType::Integer),
        // float4, float8, numeric
        700 | 701 | 1700 => Some(JsonType::Number),
        16 => Some(JsonType::Boolean),
        114 => Some(JsonType::Json),
        3802 => Some(JsonType::Jsonb),
        1114 => Some(JsonType::Timestamp),
        1184 => Some(JsonType::Timestamptz),
        1082 => Some(JsonType::Date),
        _ => is_printed_as_string(type_oid).then_some(JsonType::String),
    }
}

/// Whether `to_jsonb` quotes the type's text output.
fn is_printed_as_string(type_oid: u32) -> bool {
    matches!(
        type_oid,
        // bytea, "char", name, text, bpchar, varchar
        17 | 18 | 19 | 25 | 1042 | 1043
        // oid, tid, xid, cid, xid8, pg_lsn, txid_snapshot, pg_snapshot
        | 26 | 27 | 28 | 29 | 5069 | 3220 | 2970 | 5038
        // uuid, xml, money, refcursor
        | 2950 | 142 | 790 | 1790
        // time, timetz, interval
        | 1083 | 1266 | 1186
        // bit, varbit
        | 1560 | 1562
        // inet, cidr, macaddr, macaddr8
        | 869 | 650 | 829 | 774
        // point, lseg, path, box, polygon, line, circle
        | 600 | 601 | 602 | 603 | 604 | 628 | 718
        // tsvector, tsquery, jsonpath
        | 3614 | 3615 | 4072
        // int4range, numrange, tsrange, tstzrange, daterange, int8range
        | 3904 | 3906 | 3908 | 3910 | 3912 | 3926
        // int4multirange, nummultirange, tsmultirange, tstzmultirange, datemultirange, int8multirange
        | 4451 | 4532 | 4533 | 4534 | 4535 | 4536
    )
}

/// Whether the type is `int2vector` or `oidvector`, which `to_jsonb` treats as arrays.
pub(super) fn is_vector(type_oid: u32) -> bool {
    matches!(type_oid, 22 | 30)
}
