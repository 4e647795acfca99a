//! Kernels for NVIDIA cards, and what launches them.
//!
//! A kernel is a function of a file in `kernels/`. It is compiled twice: to PTX, for cards (feature `cuda`), and as
//! C++ with a header that turns blocks and threads into loops, for its twin on the processor (feature `twin`). The
//! operations of this crate know nothing of either: they reserve memory and launch kernels on a [`Card`], so that the
//! twin tests them whole, and not only the kernels.
//!
//! ```
//! # #[cfg(feature = "twin")] {
//! use dash_kernels::{Card, Twin, add};
//! let twin = Card::Twin(Twin::default());
//! let (a, b) = (twin.upload(&[1.0f32, 2.0]).unwrap(), twin.upload(&[10.0f32, 20.0]).unwrap());
//! let sum = add(&twin, twin.read(&a), twin.read(&b)).unwrap();
//! assert_eq!(twin.download(&sum).unwrap(), [11.0, 22.0]);
//! # }
//! ```

#![cfg_attr(
    not(any(feature = "cuda", feature = "twin")),
    allow(
        unused_variables,
        unreachable_code,
        dead_code,
        reason = "a program without cards never gets that far"
    )
)]

mod card;
mod cut;
mod dense;
mod elementwise;
mod fft;
#[cfg(feature = "cuda")]
mod functions;
mod kernel;
mod loss;
mod mixture;
mod norm;
mod optimiser;
mod question;
#[cfg(feature = "cuda")]
mod staging;
mod taps;
mod tensor;
mod transform;
#[cfg(feature = "twin")]
mod twin;

pub use card::{Argument, Card, Error, Launch, Memory, Number, Read, open};
pub use cut::{Cut, Run, Runs};
pub use dense::{Dense, DenseMethod, DenseSizes};
pub use elementwise::{add, dropout, mean_backward, mean_forward};
pub use kernel::Kernel;
pub use loss::{LossAndGradient, class_loss, field_loss, label_loss, scale_by};
pub use mixture::{MixtureTable, mixing_coefficients, mixing_gradient, treated_gradient};
pub use norm::{Norm, NormGradients};
pub use optimiser::{Descent, clip_scale};
pub use question::Question;
pub use taps::{Convolution, Depthwise, MOST_TAPS, Method, channel_sums};
pub use tensor::{Operand, tensor_on};
#[cfg(feature = "twin")]
pub use twin::{Twin, card_for, instead_of_the_processor};
