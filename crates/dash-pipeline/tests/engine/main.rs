//! The engine with stages that only leave files: what runs, what is reused, what a failure stops, what reports show.

#![allow(clippy::unwrap_used, reason = "tests")]

mod failures;
mod reports;
mod reuse;
mod support;
