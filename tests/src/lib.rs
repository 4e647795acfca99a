//! End-to-end tests of the `dash-nas` binary live in `tests/`.
