//! Quality values: how much of each a client wants (RFC 9110, 12.4.2).

/// The quality among an item's parameters; 1 when there is none, 0 when it can't be read.
pub(crate) fn of<'a>(mut parameters: impl Iterator<Item = &'a str>) -> f32 {
    let q = parameters.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
    q.map_or(1.0, |q| q.trim().parse().unwrap_or(0.0))
}
