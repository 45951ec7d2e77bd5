//! The catalog's facts about types, from which the shapes of columns derive.

use std::collections::HashMap;

use highwater::json_type::{JsonShape, TypeClass, TypeFacts};
use highwater::wire::WalsenderConnection;

/// All types of a database, by OID.
pub(super) struct Types(HashMap<u32, CatalogType>);

/// A row of `pg_type`.
struct CatalogType {
    class: TypeClass,
    delimiter: u8,
    /// The type beneath a domain.
    base: u32,
    /// The type of a true array's elements.
    element: Option<u32>,
    has_json_cast: bool,
}

impl Types {
    pub(super) async fn read(connection: &mut WalsenderConnection) -> Self {
        let rows = connection
            .simple_query(
                "SELECT oid, typtype, typdelim, typbasetype,
                   CASE WHEN typsubscript = 'array_subscript_handler'::regproc THEN nullif(typelem, 0) END,
                   EXISTS (SELECT FROM pg_cast WHERE castsource = t.oid
                     AND casttarget = 'json'::regtype AND castmethod = 'f')
                 FROM pg_type t",
            )
            .await
            .unwrap();
        let by_oid = |row: Vec<Option<String>>| {
            let text = |index: usize| row[index].as_deref().unwrap();
            let described = CatalogType {
                class: TypeClass::from_typtype(text(1).parse().unwrap()).unwrap(),
                delimiter: text(2).as_bytes()[0],
                base: text(3).parse().unwrap(),
                element: row[4].as_deref().map(|oid| oid.parse().unwrap()),
                has_json_cast: text(5) == "t",
            };
            (text(0).parse().unwrap(), described)
        };
        Self(rows.into_iter().map(by_oid).collect())
    }

    pub(super) fn form(&self, oid: u32) -> Option<JsonShape> {
        JsonShape::of(&self.facts(oid))
    }

    fn facts(&self, oid: u32) -> TypeFacts {
        let described = &self.0[&oid];
        if described.class == TypeClass::Domain {
            return self.facts(described.base);
        }
        TypeFacts {
            oid,
            class: described.class,
            has_json_cast: described.has_json_cast,
            delimiter: described.delimiter,
            element: described.element.map(|element| Box::new(self.facts(element))),
        }
    }
}
