//! The stage `tune`: searches hyperparameters by short trainings that all start from the same weights.
//!
//! ```
//! let tune = dash_core::pipeline::Tune::default();
//! // Outermost first: learning rate, dropout, weight decay, momentum (DASH, section 8).
//! let grid = dash_tune::grid(&tune);
//! assert_eq!(grid.len(), 24);
//! assert_eq!((grid[1].learning_rate, grid[1].momentum), (0.1, 0.99));
//! ```

mod error;
mod grid;
mod table;
mod trial;
mod tune;

pub use error::Error;
pub use grid::{TrialOutcome, grid, search};
pub use tune::{Selection, tune};
