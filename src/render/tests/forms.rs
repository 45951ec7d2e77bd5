//! Tests of representations from type facts.

use super::*;
use crate::json_type::{TypeClass, TypeFacts};

const INT4: u32 = 23;
const TEXT: u32 = 25;
const REGCLASS: u32 = 2205;
const INT2VECTOR: u32 = 22;
const USER_TYPE: u32 = 16_384;

fn facts(oid: u32, class: TypeClass) -> TypeFacts {
    TypeFacts { oid, class, has_json_cast: false, delimiter: b',', element: None }
}

fn array_of(element: TypeFacts) -> TypeFacts {
    TypeFacts { element: Some(Box::new(element)), ..facts(USER_TYPE + 1, TypeClass::Base) }
}

#[test]
fn classes_have_the_letters_of_the_catalog() {
    assert_eq!(TypeClass::from_typtype('e'), Some(TypeClass::Enum));
    assert_eq!(TypeClass::from_typtype('x'), None);
}

#[test]
fn a_user_defined_type_is_its_text_unless_it_has_a_cast_to_json() {
    for (letter, form) in [
        ('b', Some(JsonShape::Scalar(JsonType::String))),
        ('e', Some(JsonShape::Scalar(JsonType::String))),
        ('r', Some(JsonShape::Scalar(JsonType::String))),
        ('m', Some(JsonShape::Scalar(JsonType::String))),
        ('c', None),
        ('d', None),
        ('p', None),
    ] {
        let user_type = facts(USER_TYPE, TypeClass::from_typtype(letter).unwrap());
        assert_eq!(JsonShape::of(&user_type), form, "{letter}");
        let with_cast = TypeFacts { has_json_cast: true, ..user_type };
        assert_eq!(JsonShape::of(&with_cast), None, "{letter}");
        assert_eq!(JsonShape::of(&array_of(with_cast)), None, "{letter}");
    }
}

#[test]
fn built_in_types_are_identified_by_oid_whatever_their_casts() {
    let int4 = TypeFacts { has_json_cast: true, ..facts(INT4, TypeClass::Base) };
    assert_eq!(JsonShape::of(&int4), Some(JsonShape::Scalar(JsonType::Integer)));
    assert_eq!(JsonShape::of(&facts(REGCLASS, TypeClass::Base)), None);
    assert_eq!(JsonShape::of(&facts(USER_TYPE - 1, TypeClass::Base)), None);
    // The caller must resolve a domain first, whatever its OID.
    assert_eq!(JsonShape::of(&facts(INT4, TypeClass::Domain)), None);
}

#[test]
fn an_array_has_the_type_of_its_elements_and_their_delimiter() {
    let boxes = TypeFacts { delimiter: b';', ..facts(TEXT, TypeClass::Base) };
    let form = JsonShape::Array { element: JsonType::String, delimiter: b';' };
    assert_eq!(JsonShape::of(&array_of(boxes)), Some(form));
    assert_eq!(JsonShape::of(&array_of(facts(REGCLASS, TypeClass::Base))), None);
}

#[test]
fn arrays_in_arrays_and_vectors_are_not_rendered() {
    let int4s = array_of(facts(INT4, TypeClass::Base));
    assert_eq!(JsonShape::of(&array_of(int4s)), None);
    let vector = TypeFacts { oid: INT2VECTOR, ..array_of(facts(21, TypeClass::Base)) };
    assert_eq!(JsonShape::of(&vector), None);
    assert_eq!(JsonShape::of(&array_of(vector)), None);
}
