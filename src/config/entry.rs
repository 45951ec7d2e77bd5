//! A value as it was written.

use super::error::Place;

/// What was written, before anyone asked what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Text(String),
    List(Vec<String>),
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) written: Written,
    pub(super) place: Place,
}
