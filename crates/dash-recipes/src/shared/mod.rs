//! Holds what several recipes share.

pub(crate) mod cifar_edition;
pub(crate) mod classification;
pub(crate) mod mel;
pub(crate) mod numpy_random;
pub(crate) mod pickle;
