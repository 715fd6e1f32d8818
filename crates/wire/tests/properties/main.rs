//! What holds for any input.

mod corpus;
mod invariants;
mod packet;
mod sip;
