//! The programs are in `examples/`; this crate itself is empty.
