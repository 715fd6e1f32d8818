//! The invariants are those of the property tests, which also replay the corpus on stable Rust.

#[path = "../../crates/wire/tests/properties/invariants.rs"]
pub mod invariants;
