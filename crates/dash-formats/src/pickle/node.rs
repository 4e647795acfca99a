//! Stores the objects of a pickle in an arena.

use super::{
    array::{DType, Id, PickleArray},
    globals::Global,
};
use bytes::Bytes;

/// An object.
#[derive(Debug)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Bytes),
    Bytes(Bytes),
    List(Vec<Id>),
    Tuple(Box<[Id]>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    DType(DType),
    Array(Box<PickleArray>),
}

/// All objects of a pickle.
#[derive(Debug)]
pub(super) struct Arena {
    pub(super) nodes: Vec<Node>,
    /// The pickled object.
    pub(super) root: Id,
}

impl Arena {
    pub(super) fn node(&self, id: Id) -> &Node {
        // The unpickler makes one id per node; an id without a node would be read as `None`.
        self.nodes.get(id as usize).unwrap_or(&Node::None)
    }
}
