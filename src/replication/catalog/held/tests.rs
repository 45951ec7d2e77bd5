//! Which columns are served, and what is refused.
